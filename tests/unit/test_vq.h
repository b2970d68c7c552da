/* SPDX-License-Identifier: MIT */
/*
 * test_vq.h - what the suites on virtqueues share: memory with one ring in it, and both sides of it.
 */
#ifndef TESTS_UNIT_TEST_VQ_H
#define TESTS_UNIT_TEST_VQ_H

#include "minivmm/vq.h"
#include "tests/lib/ring_driver.h"
#include "tests/unit/unit.h"

/* Guest memory: the buffers, the ring, and a hole behind it. */
#define VQ_RAM	 0x100000ULL
#define VQ_BUFS	 VQ_RAM
#define VQ_NBUFS 1024
#define VQ_RING	 (VQ_RAM + 0x80000)
#define VQ_END	 (VQ_RAM + 0x400000)

/* Bits of a variant's number. */
#define VQ_PACKED    1
#define VQ_INDIRECT  2
#define VQ_EVENT_IDX 4
#define VQ_IN_ORDER  8
#define VQ_VARIANTS  16

struct vq_rig {
	u32 fds;
	struct mem mem;
	struct ring_driver ring;
	struct vq q;
	int callfd;
};

/* A started queue of `size` descriptors; vq_rig_free() stops it. */
void vq_rig_init(struct vq_rig *v, u32 variant, u16 size);
void vq_rig_free(struct vq_rig *v);

/* How often the driver was called since the last time. */
u64 vq_rig_calls(struct vq_rig *v);

/* A chain with room for its segments. */
#define VQ_SEGMENTS 64

struct vq_slot {
	struct vq_chain c;
	struct iovec iov[VQ_SEGMENTS];
};

static inline struct vq_chain *vq_slot_chain(struct vq_slot *s)
{
	s->c = (struct vq_chain){ .iov = s->iov, .max = VQ_SEGMENTS };
	return &s->c;
}

#endif
