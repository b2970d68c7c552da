/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_ring.h - one ring as a back end is told it, and where a ring stands whose back end has gone.
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_RING_H
#define DEVICES_DATAPATH_VHOST_USER_RING_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/vq.h"

struct mem;

/*
 * The addresses of a ring in our address space ("user addresses"), from the driver's. Returns 0, -EINVAL
 * (no size that a ring can have) or -EFAULT (an area is misaligned or not in guest memory).
 */
int vhost_user_ring_addr(const struct mem *mem, const struct vq_cfg *cfg, u32 index,
			 struct vhost_user_addr *addr);

/* What SET_VRING_BASE says, and what GET_VRING_BASE has said, of a ring at `pos`. */
u32 vhost_user_ring_base(const struct vq_cfg *cfg, struct vq_pos pos);

/* Returns 0 or -EPROTO: no position can be that. */
int vhost_user_ring_pos(const struct mem *mem, const struct vq_cfg *cfg, u32 base,
			struct vq_pos *pos);

/*
 * Where a ring stands that nobody serves: both indices are where the next used chain goes; those in flight
 * are for the back end to find in its record. A split ring says so itself; of a packed one it is in the
 * record, the file `fd` with the place `rec`, or -1. Returns 0, or -ENODATA: nobody knows.
 */
int vhost_user_ring_recover(const struct mem *mem, const struct vq_cfg *cfg, u32 index, int fd,
			    const struct vhost_user_inflight *rec, struct vq_pos *pos);

/* May the place that a back end gives a record of `nqueues` queues be one? */
bool vhost_user_record_sound(const struct vhost_user_inflight *rec, u32 nqueues);

/* Does the record say of queue `index` that something is in flight, or may it be? */
bool vhost_user_record_busy(int fd, const struct vhost_user_inflight *rec, u32 index,
			    const struct vq_cfg *cfg);

/* A position from `used` on with as much in flight as there can be. */
struct vq_pos vhost_user_ring_unknown(const struct vq_cfg *cfg, u16 used);

/* The driver has set queue `index` up anew: what the record says of it, and of at most `queue_size`
 * descriptors, is no more. */
void vhost_user_record_forget(int fd, const struct vhost_user_inflight *rec, u32 index, bool packed,
			      u16 queue_size);

#endif
