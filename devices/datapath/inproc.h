/* SPDX-License-Identifier: MIT */
/*
 * inproc.h - the in-process data path: a queue served by an event loop of our own.
 *
 * It starts from the four facts of a ring, configuration, position, kick and call eventfd, and gives
 * the position back when it stops.
 *
 * Threads: start and stop from any thread but a loop's that waits for this one. The queue is served on its loop.
 */
#ifndef DEVICES_DATAPATH_INPROC_H
#define DEVICES_DATAPATH_INPROC_H

#include "minivmm/datapath.h"
#include "minivmm/loop.h"
#include "minivmm/virtio.h"

/*
 * Its start() has q->vq served on q->loop, without waiting for it: q->kickfd is watched, ops->serve() called at each
 * kick and once at the start. It fails as vq_start() and loop_add() do. A broken ring is reported by virtio_needs_reset().
 * stop() brings the queue to rest by ops->quiesce(). One for all devices.
 */
extern struct datapath inproc_path;

/* A queue that start() was called for: when its loop began to serve it (now_ns()), which is waited for. Any thread. */
u64 inproc_begun_ns(struct virtio_queue *q);

/* After chains were put outside of serve(), e.g. on a completion: report a ring that broke. Queue's
 * loop. */
void inproc_check(struct virtio_queue *q);

#endif
