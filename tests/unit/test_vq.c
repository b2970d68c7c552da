// SPDX-License-Identifier: MIT
/*
 * test_vq.c - virtqueues: a driver (tests/lib/ring_driver.h) and a device on the two sides of a ring,
 * in every combination of ring format and features.
 */
#include "tests/unit/test_vq.h"

#include <errno.h>
#include <string.h>

static struct vq_rig v;

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

/* Its buffers are at the place of its number modulo BUFFERS. */
static struct ring_buf buffer(u32 n, u32 i)
{
	return (struct ring_buf){ .gpa = VQ_BUFS + (n % VQ_NBUFS * SEGMENTS_MAX + i) * 64,
				  .len = 8 + (n + i) % 50 };
}

static int add(u32 n)
{
	struct ring_buf buf[SEGMENTS_MAX];

	for (u32 i = 0; i < segments(n); i++) {
		buf[i] = buffer(n, i);
		*(u32 *)mem_ptr(&v.mem, buf[i].gpa, 4) = n + i;
	}
	return ring_add(&v.ring, buf, readable(n), segments(n) - readable(n), v.ring.cfg.indirect);
}

/* This is chain `n`, whole and in the right place. */
static void check_chain(const struct vq_chain *c, u32 n)
{
	u32 out = 0, in = 0;

	ck_assert_uint_eq(c->nout, readable(n));
	ck_assert_uint_eq(c->nin, segments(n) - readable(n));
	for (u32 i = 0; i < segments(n); i++) {
		ck_assert_ptr_eq(c->iov[i].iov_base,
				 mem_ptr(&v.mem, buffer(n, i).gpa, buffer(n, i).len));
		ck_assert_uint_eq(c->iov[i].iov_len, buffer(n, i).len);
		ck_assert_uint_eq(*(u32 *)c->iov[i].iov_base, n + i);
		*(i < readable(n) ? &out : &in) += buffer(n, i).len;
	}
	ck_assert_uint_eq(c->out_len, out);
	ck_assert_uint_eq(c->in_len, in);
}

static void get(struct vq_slot *s, u32 n)
{
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(s)), 1);
	check_chain(&s->c, n);
}

static void setup(int i)
{
	vq_rig_init(&v, i, 16);
}

static void teardown(void)
{
	vq_rig_free(&v);
}

static struct vq_slot slot[64];

START_TEST(a_chain_makes_the_round_trip)
{
	u32 len;
	int id;

	setup(_i);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 0);
	for (u32 n = 0; n < 500; n++) {
		id = add(n);
		ck_assert_int_ge(id, 0);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 0);
		ring_publish(&v.ring);
		get(slot, n);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot + 1)), 0);
		vq_put(&v.q, &slot->c, slot->c.in_len);
		ck_assert_int_eq(ring_get(&v.ring, &len), -1);
		vq_publish(&v.q);
		ck_assert_int_eq(ring_get(&v.ring, &len), id);
		ck_assert_uint_eq(len, slot->c.in_len);
		ck_assert_int_eq(ring_get(&v.ring, &len), -1);
	}
	ck_assert_uint_eq(v.q.stats.chains, 500);
	teardown();
}

Suite *vq_suite(void)
{
	Suite *s = suite_create("vq");
	TCase *tc = tcase_create("vq");

	tcase_add_loop_test(tc, a_chain_makes_the_round_trip, 0, VQ_VARIANTS);
	suite_add_tcase(s, tc);
	return s;
}
