// SPDX-License-Identifier: MIT
/*
 * vq_rig.c - memory with one ring in it. See test_vq.h.
 */
#include "tests/unit/test_vq.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

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
	ck_assert_int_eq(
		vq_start(&v->q, &v->mem, &v->ring.cfg, vq_pos_initial(cfg.packed), v->callfd), 0);
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
