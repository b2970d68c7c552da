/* SPDX-License-Identifier: MIT */
/*
 * inproc.h - the in-process data path: a queue served by an event loop of our own.
 *
 * It starts from the four facts of a ring, configuration, position, kick and call eventfd, and gives
 * the position back when it stops.
 *
 * Threads: start and stop from any thread but a loop's that waits for this one; they do their work
 * on the queue's loop.
 */
#ifndef DEVICES_DATAPATH_INPROC_H
#define DEVICES_DATAPATH_INPROC_H

#include "minivmm/datapath.h"
#include "minivmm/loop.h"
#include "minivmm/virtio.h"

/*
 * Its start() serves q->vq from q->loop: it watches q->kickfd, calls ops->serve() at each kick and once at
 * the start, and fails as vq_start() and loop_add() do. A broken ring is reported by virtio_needs_reset().
 * stop() brings the queue to rest by ops->quiesce(). One for all devices.
 */
extern struct datapath inproc_path;

/* After chains were put outside of serve(), e.g. on a completion: report a ring that broke. Queue's
 * loop. */
void inproc_check(struct virtio_queue *q);

#endif
