// SPDX-License-Identifier: MIT
/*
 * inproc.c - the in-process data path: a queue served by an event loop of our own. See inproc.h.
 *
 * How it works: the loop watches the queue's kick eventfd. At a kick the queue asks for no further
 * ones (2.7.7, 2.8.10) and the device type serves it, until vq_rearm() says that all is done. A start
 * serves once itself, since the driver may have kicked whoever had the ring before, or before anybody
 * listened; and before anything else on the loop, so that a ring goes on even if it is stopped again and again.
 * Kicks that come while nobody watches wait in the eventfd. It is watched for edges, each kick being one, and never
 * read: a system call less.
 *
 * A queue that is polled asks for no kick at all: the loop looks for chains as long as the queue waits for
 * some. A kick is heard all the same. If the device is broken there is nothing to look for any more.
 *
 * Threads: start(), stopping() and stop() on any; the rest on the queue's loop.
 */
#include "devices/datapath/inproc.h"
#include "minivmm/now.h"

#include <linux/virtio_config.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

void inproc_check(struct virtio_queue *q)
{
	const char *broken = vq_broken(&q->vq);
	char why[128];

	if (!broken)
		return;
	snprintf(why, sizeof(why), "queue %u: %s", q->index, broken);
	virtio_needs_reset(q->dev, why);
}

static void serve(struct virtio_queue *q)
{
	u64 began, chains;

	if (virtio_status_read(q->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return; /* one queue broken: the others of its device rest, too */
	began = trace_begin(&q->vq.track);
	chains = q->vq.stats.chains;
	vq_disarm(&q->vq);
	q->dev->ops->serve(q->dev, q);
	trace_end(&q->vq.track, TRACE_SERVE, began, q->vq.stats.chains - chains, 0);
	inproc_check(q);
}

static void kick_ready(struct loop_fd *lf, u32 events)
{
	struct virtio_queue *q = container_of(lf, struct virtio_queue, kick);

	(void)events; /* edge-triggered: the eventfd need not be read */
	vq_count(&q->vq.stats.kicks, 1);
	trace_mark(&q->vq.track, TRACE_KICK, 0, 0);
	serve(q);
}

static bool look(struct loop_poll *p)
{
	struct virtio_queue *q = container_of(p, struct virtio_queue, poll);

	if (!vq_waits(&q->vq))
		return false;
	serve(q);
	if (virtio_status_read(q->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		loop_poll_del(q->loop, p);
	return true;
}

/* It has been started: the first of what is posted to the loop. */
static void begin(struct loop_post *p)
{
	struct virtio_queue *q = container_of(p, struct virtio_queue, begin);

	q->begun_ns = now_ns();
	serve(q);
	if (q->polled)
		loop_poll_add(q->loop, &q->poll);
}

/* Nobody serves the queue, so all but that can be done here, and nobody waits for the loop. */
static int inproc_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
			struct vq_pos pos)
{
	struct vq_cfg served = *cfg;
	int err;

	(void)d;
	served.polled = q->polled;
	err = vq_start(&q->vq, q->dev->env->mem, &served, pos, irq_fd(q->call));
	if (err)
		return err;
	q->poll = (struct loop_poll){ .look = look };
	q->kick = (struct loop_fd){ .fd = q->kickfd, .ready = kick_ready };
	q->begin = (struct loop_post){ .fn = begin };
	err = loop_add(q->loop, &q->kick, EPOLLIN | EPOLLET);
	if (err) {
		vq_stop(&q->vq);
		return err;
	}
	loop_post(q->loop, &q->begin);
	return 0;
}

static void end(struct loop_post *p)
{
	struct virtio_queue *q = container_of(p, struct virtio_queue, end);

	loop_unpost(q->loop, &q->begin); /* if this is the loop that has asked for it */
	loop_poll_del(q->loop, &q->poll);
	loop_del(q->loop, &q->kick);
	if (q->dev->ops->quiesce)
		q->dev->ops->quiesce(q->dev, q);
	q->end_pos = vq_stop(&q->vq);
	__atomic_store_n(&q->ended, true, __ATOMIC_RELEASE);
}

static void ask_to_end(struct virtio_queue *q)
{
	if (q->ending)
		return;
	q->ending = true;
	q->ended = false;
	q->end = (struct loop_post){ .fn = end };
	loop_post(q->loop, &q->end);
}

/* All of them, before any is waited for: those on one loop stop one after another, and on several at the same time. */
static void inproc_stopping(struct datapath *d, struct virtio_dev *v, u64 queues)
{
	(void)d;
	for (u32 i = 0; i < v->nqueues; i++) {
		if (queues >> i & 1)
			ask_to_end(&v->queue[i]);
	}
}

static void nothing(void *arg)
{
	(void)arg;
}

static struct vq_pos inproc_stop(struct datapath *d, struct virtio_queue *q)
{
	(void)d;
	ask_to_end(q);
	if (!__atomic_load_n(&q->ended, __ATOMIC_ACQUIRE))
		loop_call(q->loop, nothing, NULL); /* which comes after it */
	q->ending = false;
	return q->end_pos;
}

u64 inproc_begun_ns(struct virtio_queue *q)
{
	loop_call(q->loop, nothing, NULL); /* which comes after it */
	return q->begun_ns;
}

static const struct datapath_ops inproc_ops = {
	.name = "inproc",
	.start = inproc_start,
	.stopping = inproc_stopping,
	.stop = inproc_stop,
};

struct datapath inproc_path = { .ops = &inproc_ops, .queues = ~0ULL };
