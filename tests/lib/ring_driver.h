/* SPDX-License-Identifier: MIT */
/*
 * ring_driver.h - a virtqueue from the driver's side, in plain memory: what a guest's driver does,
 * for the unit tests, fuzz targets and the ring benchmark. No KVM, no guest.
 *
 * Virtual I/O Device (VIRTIO) 1.2, 2.7 (split) and 2.8 (packed), the driver's requirements.
 *
 * Threads: one at a time; the device may work on the other side of the rings at the same time.
 */
#ifndef TESTS_RING_DRIVER_H
#define TESTS_RING_DRIVER_H

#include "minivmm/vq.h"

/* A buffer by its guest physical address. */
struct ring_buf {
	u64 gpa;
	u32 len;
};

/* What the driver asks of the device's interrupts. */
enum ring_calls {
	RING_CALLS_ON,
	RING_CALLS_OFF,
	RING_CALLS_AT, /* needs event_idx */
};

struct ring_driver {
	const struct mem *mem;
	struct vq_cfg cfg; /* complete: hand it to vq_start(), or its addresses to a transport */
	u64 end;	   /* the first guest address behind the rings and their indirect tables */
	struct ring_driver_state *state;
};

/*
 * Lay a ring out at `gpa` (4 KiB aligned): `cfg` gives size and features, the addresses are filled
 * in. With cfg->indirect there is also an indirect table of 64 entries for each descriptor.
 * Returns 0, -EFAULT (not enough guest memory) or -ENOMEM.
 */
int ring_driver_init(struct ring_driver *r, const struct mem *mem, u64 gpa,
		     const struct vq_cfg *cfg);
void ring_driver_free(struct ring_driver *r);

/* The ring as after a reset of its queue: nothing available, nothing used. */
void ring_driver_reset(struct ring_driver *r);

/*
 * Add a chain: buf[0 .. nout) for the device to read, the next `nin` for it to write; in an indirect
 * table if `indirect`. The device sees it at ring_publish(). Returns its id (below cfg.size, unused
 * until it comes back by ring_get()), or -ENOSPC.
 */
int ring_add(struct ring_driver *r, const struct ring_buf *buf, u32 nout, u32 nin, bool indirect);

/* Make what was added available. Returns whether the device wants a kick for it. */
bool ring_publish(struct ring_driver *r);

/* A chain that the device has used: its id, and in *len the bytes written. -1 if there is none. */
int ring_get(struct ring_driver *r, u32 *len);

/* Ask for interrupts as `mode` says; RING_CALLS_AT: when `after` more chains have been used (1: the
 * next). Returns true if there is something to ring_get() already. */
bool ring_calls(struct ring_driver *r, enum ring_calls mode, u16 after);

/* Chains added and not yet come back. */
u32 ring_inflight(const struct ring_driver *r);

#endif
