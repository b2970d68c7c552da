/* SPDX-License-Identifier: MIT */
/*
 * datapath.h - who serves the rings of a virtio device.
 *
 *	registers, features, configuration space, control queue	devices/virtio/: always ours
 *	   │ struct vq_cfg, struct vq_pos, kick and call eventfd
 *	data path	inproc		an event loop of ours		devices/datapath/inproc.c
 *			vhost-net	a worker of the kernel's	devices/datapath/vhost_net.c
 *			vhost-user	another process			devices/datapath/vhost_user.c
 *
 * A ring is four facts: where it lies (cfg), how far both sides are (pos), the eventfd that the driver
 * kicks (q->kickfd) and the one that calls the driver (irq_fd(q->call)). Every data path starts from
 * those four and gives `pos` back, so that any other can go on from there.
 *
 * A data path serves some of the queues of one device; the others, such as the control queue, are served
 * in-process.
 *
 * Threads: all functions are called under the device's lock, on a vCPU's thread or the main loop's; never
 * on an event loop that serves queues. The exceptions are said.
 */
#ifndef MINIVMM_DATAPATH_H
#define MINIVMM_DATAPATH_H

#include "minivmm/base.h"
#include "minivmm/vq.h"

struct datapath;
struct mem_log;
struct virtio_dev;
struct virtio_queue;

struct datapath_ops {
	const char *name; /* "vhost-net" */
	/* Which of the features `offered` it can serve. Asked at the device's creation, about all that it may
	 * offer, and at a live switch, about those that are in use. */
	u64 (*features)(struct datapath *d, u64 offered);
	/*
	 * The driver of `v` has accepted v->features and is ready: hand them and the guest's memory over, and what
	 * there is to say of the queues that are enabled before they start. Touches no ring. May be called again,
	 * while no queue runs; may set `queues` anew. Returns 0 or -errno after a line in the log; then nothing has
	 * changed. NULL: nothing to prepare.
	 */
	int (*prepare)(struct datapath *d, struct virtio_dev *v);
	/*
	 * Serve queue `q`, which does not run, from `pos` on, at once or when run() is called. All or nothing:
	 * returns 0 or -errno. -EINVAL and -EFAULT: the driver's set-up of the queue is wrong; any other: the host
	 * can't.
	 */
	int (*start)(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
		     struct vq_pos pos);
	/* The queues that have been started since the last time are all served from now on. Returns 0, or -errno if the
	 * host can't: then the caller stops them. NULL: start() has seen to it. */
	int (*run)(struct datapath *d);
	/* Its queues, which run, are stopped soon, and nobody is to wait for who sleeps: a process may wake up
	 * now. NULL: it makes no difference. */
	void (*rouse)(struct datapath *d);
	/* These queues of `v` (bit i: queue i), which run, are stopped next: what takes time can be done for all at once.
	 * NULL: it makes no difference. */
	void (*stopping)(struct datapath *d, struct virtio_dev *v, u64 queues);
	/* Stop a queue that runs: on return nothing is in flight, nothing touches guest memory for it, and
	 * the position is final. If whoever served it has gone with something in flight, avail and used differ,
	 * and nobody but this data path can go on. */
	struct vq_pos (*stop)(struct datapath *d, struct virtio_queue *q);
	/*
	 * Of a network device: the first `pairs` pairs of queues are in use, after a reset one; those of the
	 * peer are on. The others, though they have been started, rest and touch nothing. Any thread, also
	 * the control queue's loop. NULL: it need not know.
	 */
	void (*use_pairs)(struct datapath *d, u32 pairs);
	/* Of a network device: the link is up, as at first, or down; then all queues rest, as above. Main
	 * loop's thread. NULL: it need not know. */
	void (*set_link)(struct datapath *d, bool up);
	/* Of a network device: tell the network where `mac` is now, for a driver that can't do so itself
	 * (5.1.6.5.4). Main loop's thread. NULL: it can't. */
	void (*announce)(struct datapath *d, const u8 mac[6]);
	/* Is there somebody who serves its queues? NULL: always. */
	bool (*served)(struct datapath *d);
	/*
	 * Mark each page that is written from now on in `log` (mem_log_create()), in the queues that it serves,
	 * whether one runs already or not; NULL: no longer. The log outlives this until then. Returns 0; -EINVAL
	 * (it has no room for the guest's memory), -EOPNOTSUPP (who serves the queues can't) or -errno: then
	 * nothing is marked. NULL: it can't. Called by virtio_log_dirty(), which sees to the other queues.
	 */
	int (*log_dirty)(struct datapath *d, const struct mem_log *log);
	/* Free it. None of its queues runs. NULL: nothing to free. */
	void (*destroy)(struct datapath *d);
};

/* A kind of data path embeds it. */
struct datapath {
	const struct datapath_ops *ops;
	u64 queues; /* bit i: it serves queue i. Changed by prepare() only */
};

/* NULL is allowed. */
static inline void datapath_destroy(struct datapath *d)
{
	if (d && d->ops->destroy)
		d->ops->destroy(d);
}

#endif
