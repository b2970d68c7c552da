// SPDX-License-Identifier: MIT
/*
 * vq_rig.c - memory with one ring in it. See test_vq.h.
 */
#include "tests/unit/test_vq.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void start(struct vq_rig *v)
{
	struct vq_pos pos = vq_pos_initial(v->ring.cfg.packed);

	ck_assert_int_eq(vq_start(&v->q, &v->mem, &v->ring.cfg, pos, v->callfd), 0);
}

void vq_rig_init(struct vq_rig *v, u32 variant, u16 size)
{
	struct vq_cfg cfg = {
		.size = size,
		.packed = variant & VQ_PACKED,
		.indirect = variant & VQ_INDIRECT,
		.event_idx = variant & VQ_EVENT_IDX,
		.in_order = variant & VQ_IN_ORDER,
	};

	memset(v, 0, sizeof(*v));
	v->fds = open_fds();
	mem_init(&v->mem);
	ck_assert_int_eq(mem_add_ram(&v->mem, VQ_RAM, VQ_END - VQ_RAM, false), 0);
	v->callfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(v->callfd, 0);
	ck_assert_int_eq(ring_driver_init(&v->ring, &v->mem, VQ_RING, &cfg), 0);
	start(v);
}

void vq_rig_restart(struct vq_rig *v)
{
	vq_stop(&v->q);
	ring_driver_reset(&v->ring);
	start(v);
}

void vq_rig_free(struct vq_rig *v)
{
	vq_stop(&v->q);
	ring_driver_free(&v->ring);
	mem_destroy(&v->mem);
	close(v->callfd);
	ck_assert_uint_eq(open_fds(), v->fds);
}

u64 vq_rig_calls(struct vq_rig *v)
{
	eventfd_t n;

	return eventfd_read(v->callfd, &n) < 0 ? 0 : n;
}

/* ---- a stream of chains, whose content tells which one it is ---- */

#define SEGMENTS_MAX 5

/* Chain number `n` has 1 to 5 segments; the first ones, at least one, are read. */
static u32 segments(u32 n)
{
	return n % SEGMENTS_MAX + 1;
}

static u32 readable(u32 n)
{
	return segments(n) - n % 2 * (segments(n) / 2);
}

/* Its buffers are at the place of its number modulo VQ_NBUFS. */
static struct ring_buf buffer(u32 n, u32 i)
{
	return (struct ring_buf){ .gpa = VQ_BUFS + (n % VQ_NBUFS * SEGMENTS_MAX + i) * 64,
				  .len = 8 + (n + i) % 50 };
}

int vq_rig_add(struct vq_rig *v, u32 n)
{
	struct ring_buf buf[SEGMENTS_MAX];

	for (u32 i = 0; i < segments(n); i++) {
		buf[i] = buffer(n, i);
		*(u32 *)mem_ptr(&v->mem, buf[i].gpa, 4) = n + i;
	}
	return ring_add(&v->ring, buf, readable(n), segments(n) - readable(n),
			v->ring.cfg.indirect);
}

/* This is chain `n`, whole and in the right place. */
static void check_chain(struct vq_rig *v, const struct vq_chain *c, u32 n)
{
	u32 out = 0, in = 0;

	ck_assert_uint_eq(c->nout, readable(n));
	ck_assert_uint_eq(c->nin, segments(n) - readable(n));
	for (u32 i = 0; i < segments(n); i++) {
		ck_assert_ptr_eq(c->iov[i].iov_base,
				 mem_ptr(&v->mem, buffer(n, i).gpa, buffer(n, i).len));
		ck_assert_uint_eq(c->iov[i].iov_len, buffer(n, i).len);
		ck_assert_uint_eq(*(u32 *)c->iov[i].iov_base, n + i);
		*(i < readable(n) ? &out : &in) += buffer(n, i).len;
	}
	ck_assert_uint_eq(c->out_len, out);
	ck_assert_uint_eq(c->in_len, in);
}

void vq_rig_get(struct vq_rig *v, struct vq_slot *s, u32 n)
{
	ck_assert_int_eq(vq_get(&v->q, vq_slot_chain(s)), 1);
	check_chain(v, &s->c, n);
}

u32 vq_rig_add_all(struct vq_rig *v, u32 n, int id[VQ_SLOTS])
{
	u32 count = 0;

	while ((id[count] = vq_rig_add(v, n + count)) >= 0)
		count++;
	ck_assert_int_eq(id[count], -ENOSPC);
	ck_assert_uint_gt(count, 0);
	ring_publish(&v->ring);
	return count;
}

void vq_rig_get_all(struct vq_rig *v, struct vq_slot *slot, u32 n, u32 count)
{
	for (u32 i = 0; i < count; i++)
		vq_rig_get(v, &slot[i], n + i);
	ck_assert_int_eq(vq_get(&v->q, vq_slot_chain(&slot[count])), 0);
}

void vq_rig_used(struct vq_rig *v, int id, u32 written)
{
	u32 len = ~0u;

	ck_assert_int_eq(ring_get(&v->ring, &len), id);
	ck_assert_uint_eq(len, written);
}

void vq_rig_nothing_used(struct vq_rig *v)
{
	u32 len;

	ck_assert_int_eq(ring_get(&v->ring, &len), -1);
}

bool vq_rig_trip(struct vq_rig *v, u32 n)
{
	struct vq_slot slot;
	int id = vq_rig_add(v, n);
	bool called;

	ck_assert_int_ge(id, 0);
	ring_publish(&v->ring);
	vq_rig_get(v, &slot, n);
	vq_put(&v->q, &slot.c, slot.c.in_len);
	called = vq_publish(&v->q);
	vq_rig_used(v, id, slot.c.in_len);
	vq_rig_nothing_used(v);
	return called;
}
