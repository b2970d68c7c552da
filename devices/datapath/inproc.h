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

#include "minivmm/loop.h"
#include "minivmm/virtio.h"

/*
 * Serve q->vq from q->loop: watch q->kickfd, call ops->serve() at each kick and once now. A broken
 * ring is reported by virtio_needs_reset(). Returns 0 or what vq_start() or loop_add() refused.
 */
int inproc_start(struct virtio_queue *q, const struct vq_cfg *cfg, struct vq_pos pos);

/* Bring the queue to rest (ops->quiesce()) and return where it stands. */
struct vq_pos inproc_stop(struct virtio_queue *q);

/* After chains were put outside of serve(), e.g. on a completion: report a ring that broke. Queue's
 * loop. */
void inproc_check(struct virtio_queue *q);

#endif
