// SPDX-License-Identifier: MIT
/*
 * echo.c - the echo device. See echo.h.
 *
 * How it works: chains got and not answered stand in `slot`, in the order of their gets. When the queue
 * comes to rest they are given back in the reverse order, so that whoever has the ring next gets them.
 */
#include "tests/lib/echo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS ECHO_SIZE

struct slot {
	struct vq_chain c;
	struct iovec iov[SEGMENTS];
};

struct echo {
	struct virtio_dev v;
	bool hold;		 /* atomic */
	u32 nheld;		 /* atomic: in all queues */
	struct echo_calls calls; /* atomic */

	/* By queue, its loop's. */
	u32 n[ECHO_QUEUES];
	struct slot slot[ECHO_QUEUES][ECHO_SIZE];
};

static struct echo *echo_of(struct virtio_dev *v)
{
	return container_of(v, struct echo, v);
}

static void count(u32 *n, u32 by)
{
	__atomic_fetch_add(n, by, __ATOMIC_SEQ_CST);
}

/* Byte `off` of `n` segments. */
static u8 *byte_at(const struct iovec *iov, u32 n, u32 off)
{
	u32 i = 0;

	while (i < n && off >= iov[i].iov_len)
		off -= iov[i++].iov_len;
	return (u8 *)iov[i].iov_base + off;
}

static void answer(struct virtio_queue *q, const struct vq_chain *c)
{
	u32 len = c->out_len < c->in_len ? c->out_len : c->in_len;

	for (u32 i = 0; i < len; i++)
		*byte_at(c->iov + c->nout, c->nin, i) = *byte_at(c->iov, c->nout, i);
	vq_put(&q->vq, c, len);
	count(&echo_of(q->dev)->calls.answers, 1);
}

static void echo_serve(struct virtio_dev *v, struct virtio_queue *q)
{
	struct echo *e = echo_of(v);
	struct slot *slot = e->slot[q->index];
	u32 *n = &e->n[q->index];

	do {
		while (*n < ECHO_SIZE) {
			struct slot *s = &slot[*n];

			s->c = (struct vq_chain){ .iov = s->iov, .max = SEGMENTS };
			if (vq_get(&q->vq, &s->c) <= 0)
				break;
			/* Behind one that is held all are, or it could not be given back. */
			if (*n || __atomic_load_n(&e->hold, __ATOMIC_SEQ_CST)) {
				(*n)++;
				count(&e->nheld, 1);
			} else {
				answer(q, &s->c);
			}
		}
		vq_publish(&q->vq);
	} while (*n < ECHO_SIZE && vq_rearm(&q->vq));
}

static void echo_quiesce(struct virtio_dev *v, struct virtio_queue *q)
{
	struct echo *e = echo_of(v);
	u32 *n = &e->n[q->index];

	count(&e->calls.quiesce, 1);
	while (*n) {
		vq_unget(&q->vq, &e->slot[q->index][--*n].c);
		count(&e->nheld, -1);
	}
}

static void release(void *arg)
{
	struct virtio_queue *q = arg;
	struct echo *e = echo_of(q->dev);
	u32 *n = &e->n[q->index];

	if (!q->vq.format)
		return; /* stopped: nothing is held */
	while (*n) {
		answer(q, &e->slot[q->index][--*n].c);
		count(&e->nheld, -1);
	}
	vq_publish(&q->vq);
}

static bool echo_features_ok(struct virtio_dev *v, u64 features)
{
	(void)v;
	return !(features & VIRTIO_FEATURE(ECHO_F_NEEDS_PLAIN)) ||
	       (features & VIRTIO_FEATURE(ECHO_F_PLAIN));
}

static void echo_driver_ok(struct virtio_dev *v)
{
	count(&echo_of(v)->calls.driver_ok, 1);
}

static void echo_config_written(struct virtio_dev *v, u32 off, u32 len)
{
	(void)off;
	count(&echo_of(v)->calls.config_written, len ? 1 : 0);
}

static void config_init(struct virtio_dev *v)
{
	pthread_mutex_lock(&v->config_lock);
	memcpy(v->config, ECHO_CONFIG, ECHO_CONFIG_LEN);
	pthread_mutex_unlock(&v->config_lock);
}

static void echo_reset(struct virtio_dev *v)
{
	count(&echo_of(v)->calls.reset, 1);
	config_init(v);
}

static void echo_destroy(struct virtio_dev *v)
{
	virtio_dev_destroy(v);
	free(echo_of(v));
}

static const struct virtio_ops echo_ops = {
	.name = "echo",
	.id = ECHO_ID,
	.pci_class = 0xff0000,
	.features_ok = echo_features_ok,
	.driver_ok = echo_driver_ok,
	.config_written = echo_config_written,
	.serve = echo_serve,
	.quiesce = echo_quiesce,
	.reset = echo_reset,
	.destroy = echo_destroy,
};

int echo_create(struct virtio_dev **v, const struct machine_env *env,
		const struct virtio_options *o)
{
	struct echo *e = calloc(1, sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	err = virtio_dev_init(&e->v, &echo_ops, env, o, ECHO_QUEUES, ECHO_SIZE, ECHO_CONFIG_LEN);
	if (err) {
		free(e);
		return err;
	}
	e->v.offered |= VIRTIO_FEATURE(ECHO_F_PLAIN) | VIRTIO_FEATURE(ECHO_F_NEEDS_PLAIN);
	config_init(&e->v);
	memset(e->v.config_writable + ECHO_WRITABLE, 0xff, ECHO_CONFIG_LEN - ECHO_WRITABLE);
	*v = &e->v;
	return 0;
}

void echo_hold(struct virtio_dev *v, bool on)
{
	__atomic_store_n(&echo_of(v)->hold, on, __ATOMIC_SEQ_CST);
}

u32 echo_held(struct virtio_dev *v)
{
	return __atomic_load_n(&echo_of(v)->nheld, __ATOMIC_SEQ_CST);
}

void echo_release(struct virtio_dev *v)
{
	for (u32 i = 0; i < ECHO_QUEUES; i++)
		loop_call(v->queue[i].loop, release, &v->queue[i]);
}

struct echo_calls echo_calls(struct virtio_dev *v)
{
	struct echo_calls *c = &echo_of(v)->calls;

	return (struct echo_calls){
		.driver_ok = __atomic_load_n(&c->driver_ok, __ATOMIC_SEQ_CST),
		.config_written = __atomic_load_n(&c->config_written, __ATOMIC_SEQ_CST),
		.reset = __atomic_load_n(&c->reset, __ATOMIC_SEQ_CST),
		.quiesce = __atomic_load_n(&c->quiesce, __ATOMIC_SEQ_CST),
		.answers = __atomic_load_n(&c->answers, __ATOMIC_SEQ_CST),
	};
}
