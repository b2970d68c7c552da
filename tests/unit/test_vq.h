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
#define VQ_END	 (VQ_RING + 0x2200000) /* 32768 tables */

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

/* Reset the queue: stop it, clear the ring, start it anew. */
void vq_rig_restart(struct vq_rig *v);

/* How often the driver was called since the last time. */
u64 vq_rig_calls(struct vq_rig *v);

/* Slots for all chains of a ring of 16, and one that is not there. */
#define VQ_SLOTS 17

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

/*
 * A stream of chains, whose number tells how many segments they have, which are read, where they lie
 * and what is in them; never more than VQ_NBUFS in flight.
 */

/* Add chain `n`: its id or -ENOSPC. */
int vq_rig_add(struct vq_rig *v, u32 n);

/* Add as many chains as fit, from number `n` on, and publish them; returns how many. `id` gets one
 * more value than that. */
u32 vq_rig_add_all(struct vq_rig *v, u32 n, int id[VQ_SLOTS]);

/* The device gets chain `n`, as it was added; or all of the `count` chains from `n` on. */
void vq_rig_get(struct vq_rig *v, struct vq_slot *s, u32 n);
void vq_rig_get_all(struct vq_rig *v, struct vq_slot *s, u32 n, u32 count);

/* The driver gets `id` back, with `written` bytes; or nothing. */
void vq_rig_used(struct vq_rig *v, int id, u32 written);
void vq_rig_nothing_used(struct vq_rig *v);

/* Chain `n` all the way; returns whether the driver was called. */
bool vq_rig_trip(struct vq_rig *v, u32 n);

#endif
