/* SPDX-License-Identifier: MIT */
/*
 * virtio_internal.h - what virtio.c (the registers of a device) and virtio_path.c (who serves its queues)
 * share.
 *
 * Threads: v->lock is held.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_INTERNAL_H
#define DEVICES_VIRTIO_VIRTIO_INTERNAL_H

#include "minivmm/virtio.h"

/* The driver's features are final: tell the data path. Returns 0 or -errno after a line in the log. */
int virtio_path_prepare(struct virtio_dev *v);

/* The first start of a queue since the driver set it up. If it can't, the device needs a reset. */
void virtio_queue_begin(struct virtio_queue *q);

/* Stop a queue, if it runs, and note where it stands. */
void virtio_queue_stop(struct virtio_queue *q);

/* Likewise all queues of the device. Returns which of them ran: bit i, queue i. */
u64 virtio_stop_all(struct virtio_dev *v);

#endif
