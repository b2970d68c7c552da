/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_relay.h - the rings of a device whose back end keeps no record of what is in flight: we stand
 * between the driver and it, and keep the record ourselves. See vhost_user_relay.c.
 *
 *	start ──> connect ──> serve ──> ...the loop... ──> rest ──> finish ──> stop
 *	            ^                        │
 *	            └────── disconnect <─────┘ the back end has gone
 *
 * Threads: all functions under the lock of the vhost-user data path, but create() and destroy(), and
 * start(), rest() and stop(), which are called under the device's lock.
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_RELAY_H
#define DEVICES_DATAPATH_VHOST_USER_RELAY_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/mem.h"
#include "minivmm/vq.h"

struct mem_log;
struct vhost_user_relay;
struct virtio_queue;

/*
 * For `nqueues` queues of at most `queue_size` descriptors. `fault` is an eventfd, which is signalled when a
 * ring has found the back end to lie: vhost_user_relay_lied_to() tells. Returns 0 or -ENOMEM.
 */
int vhost_user_relay_create(struct vhost_user_relay **out, u32 nqueues, u16 queue_size, int fault);

/* No ring has been started, or all are stopped again. NULL is allowed. */
void vhost_user_relay_destroy(struct vhost_user_relay *relay);

/* Memory for the rings of a new connection; no ring is connected. Returns 0 or -errno. */
int vhost_user_relay_renew(struct vhost_user_relay *relay);

/* That memory, which belongs into the table of the back end. It lies where no guest has any. */
const struct mem_region *vhost_user_relay_region(const struct vhost_user_relay *relay);

/*
 * Begin to serve the driver's side of `q`: its kicks wait until there is a back end. What was in flight when
 * this ring was stopped still is. Returns 0 or as datapath_ops.start().
 */
int vhost_user_relay_start(struct vhost_user_relay *relay, struct virtio_queue *q,
			   const struct vq_cfg *cfg, struct vq_pos pos);

/*
 * A ring for the back end, from index 0 on, with all that is in flight made available in it, in its first
 * order. Returns 0 and what the back end is to be told, or -errno. The descriptors stay the relay's.
 */
int vhost_user_relay_connect(struct vhost_user_relay *relay, u32 index,
			     struct vhost_user_addr *addr, int *kick, int *call);

/* The back end has the ring: kick it, with what the driver has made available meanwhile. */
void vhost_user_relay_serve(struct vhost_user_relay *relay, u32 index);

/* The back end has gone. What it has used is handed to the driver. Harmless if it is not connected. */
void vhost_user_relay_disconnect(struct vhost_user_relay *relay, u32 index);

/* Has a ring found that the back end that is connected uses what it was not given? */
bool vhost_user_relay_lied_to(struct vhost_user_relay *relay);

/* Mark in `log` what is written to the drivers' rings; NULL: no longer. Buffers are the back end's to mark. */
void vhost_user_relay_log(struct vhost_user_relay *relay, const struct mem_log *log);

/* Look after the ring no more. Waits for the queue's loop: without the data path's lock. */
void vhost_user_relay_rest(struct vhost_user_relay *relay, u32 index);

/*
 * These rings (bit i: ring i) rest: wait until the back end has used all that is made available, at most `ms`, and
 * as long as the connection `sock` stands. There are back ends that forget what is in flight when they are asked to
 * stop (qemu-storage-daemon 7.2: with GET_VRING_BASE the call eventfd is closed, and with the first completion
 * after that the device is broken).
 */
void vhost_user_relay_drain(struct vhost_user_relay *relay, u64 rings, int sock, u32 ms);

/*
 * The ring rests, and the back end has stopped it and says that `base` is the next that it would take: wait for
 * what it had taken, at most `ms`, as long as the connection `sock` stands. Returns 0, -EPROTO (it can't be
 * there), -EBADMSG (it lied), -ECONNRESET or -ETIMEDOUT.
 */
int vhost_user_relay_finish(struct vhost_user_relay *relay, u32 index, u16 base, int sock, u32 ms);

/* The ring rests, and is not connected: where it stands. What was got last is given back to the driver's ring;
 * what is still in flight, behind which there are chains that are done, is kept for the next start. */
struct vq_pos vhost_user_relay_stop(struct vhost_user_relay *relay, u32 index);

#endif
