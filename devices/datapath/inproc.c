// SPDX-License-Identifier: MIT
/*
 * inproc.c - the in-process data path: a queue served by an event loop of our own. See inproc.h.
 *
 * How it works: the loop watches the queue's kick eventfd. At a kick the queue asks for no further
 * ones (2.7.7, 2.8.10) and the device type serves it, until vq_rearm() says that all is done. A start
 * serves once itself, since the driver may have kicked whoever had the ring before, or before anybody
 * listened; and before anything else on the loop, so that a ring goes on even if it is stopped again and again. Kicks that come
 * while nobody watches wait in the eventfd. It is watched for edges, each kick being one, and never
 * read: a system call less.
 *
 * A queue that is polled asks for no kick at all: the loop looks for chains as long as the queue waits for
 * some. A kick is heard all the same. If the device is broken there is nothing to look for any more.
 *
 * Threads: all but the outermost functions run on the queue's loop.
 */
#include "devices/datapath/inproc.h"

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

struct transfer {
	struct virtio_queue *q;
	const struct vq_cfg *cfg;
	struct vq_pos pos;
	int err;
};

/* Returns the queue, which is to be served, or NULL. */
static void *start_on_loop(void *arg)
{
	struct transfer *t = arg;
	struct virtio_queue *q = t->q;
	struct vq_cfg cfg = *t->cfg;

	cfg.polled = q->polled;
	t->err = vq_start(&q->vq, q->dev->env->mem, &cfg, t->pos, irq_fd(q->call));
	if (t->err)
		return NULL;
	q->poll = (struct loop_poll){ .look = look };
	q->kick = (struct loop_fd){ .fd = q->kickfd, .ready = kick_ready };
	t->err = loop_add(q->loop, &q->kick, EPOLLIN | EPOLLET);
	if (t->err) {
		vq_stop(&q->vq);
		return NULL;
	}
	return q;
}

/* Whoever has it started need not wait for this. */
static void begin(void *arg)
{
	struct virtio_queue *q = arg;

	serve(q);
	if (q->polled)
		loop_poll_add(q->loop, &q->poll);
}

static int inproc_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
			struct vq_pos pos)
{
	struct transfer t = { .q = q, .cfg = cfg, .pos = pos };

	(void)d;
	loop_call_then(q->loop, start_on_loop, &t, begin);
	return t.err;
}

static void stop_on_loop(void *arg)
{
	struct transfer *t = arg;
	struct virtio_queue *q = t->q;

	loop_poll_del(q->loop, &q->poll);
	loop_del(q->loop, &q->kick);
	if (q->dev->ops->quiesce)
		q->dev->ops->quiesce(q->dev, q);
	t->pos = vq_stop(&q->vq);
}

static struct vq_pos inproc_stop(struct datapath *d, struct virtio_queue *q)
{
	struct transfer t = { .q = q };

	(void)d;
	loop_call(q->loop, stop_on_loop, &t);
	return t.pos;
}

static const struct datapath_ops inproc_ops = {
	.name = "inproc",
	.start = inproc_start,
	.stop = inproc_stop,
};

struct datapath inproc_path = { .ops = &inproc_ops, .queues = ~0ULL };
