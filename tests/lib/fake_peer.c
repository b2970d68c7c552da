// SPDX-License-Identifier: MIT
/*
 * fake_peer.c - see fake_peer.h.
 *
 * How it works: an eventfd on the pair's loop is readable as long as something is there that the device
 * wants to know of, so the loop sees what it would see of a socket.
 */
#include "tests/lib/fake_peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define must(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

struct frames {
	struct fake_frame *first, **last;
	u32 n;
};

struct fake_queue {
	struct peer_queue q;
	struct loop_fd lf;
	bool signalled, attached;
	struct frames in, out;
	u32 room, want;
	struct fake_peer_calls calls;
};

struct fake_peer {
	struct peer p;
	pthread_mutex_t lock; /* guards all below, and the queues' fields */
	u64 offloads;
	u32 npairs;
	int fail;
	bool *destroyed;
	struct fake_queue queue[PEER_PAIRS_MAX];
};

static struct fake_peer *fake_of(struct peer *p)
{
	return container_of(p, struct fake_peer, p);
}

static struct fake_queue *lock(struct fake_peer *f, u32 i)
{
	pthread_mutex_lock(&f->lock);
	return &f->queue[i];
}

static struct fake_queue *lock_queue(struct peer_queue *q)
{
	pthread_mutex_lock(&fake_of(q->peer)->lock);
	return container_of(q, struct fake_queue, q);
}

/* What can be told now. */
static u32 ready_for(const struct fake_queue *fq)
{
	return fq->want & ((fq->in.n ? PEER_READ : 0) | (fq->room ? PEER_WRITE : 0));
}

/* Keep the eventfd as what can be told. */
static void unlock(struct fake_peer *f, struct fake_queue *fq)
{
	eventfd_t n;

	if (fq && fq->attached && !!ready_for(fq) != fq->signalled) {
		fq->signalled = !fq->signalled;
		if (fq->signalled)
			eventfd_write(fq->lf.fd, 1);
		else
			eventfd_read(fq->lf.fd, &n);
	}
	pthread_mutex_unlock(&f->lock);
}

static void append(struct frames *l, struct fake_frame *frame)
{
	if (!l->first)
		l->last = &l->first;
	frame->next = NULL;
	*l->last = frame;
	l->last = &frame->next;
	l->n++;
}

static struct fake_frame *shift(struct frames *l)
{
	struct fake_frame *frame = l->first;

	if (frame) {
		l->first = frame->next;
		l->n--;
	}
	return frame;
}

static struct fake_frame *frame_new(u32 len)
{
	struct fake_frame *frame = malloc(sizeof(*frame) + len);

	must(frame);
	frame->len = len;
	return frame;
}

/* ---- the peer's side ---- */

static void fake_ready(struct loop_fd *lf, u32 events)
{
	struct fake_queue *fq = container_of(lf, struct fake_queue, lf);
	struct fake_peer *f = fake_of(fq->q.peer);
	u32 what;

	(void)events;
	pthread_mutex_lock(&f->lock);
	what = ready_for(fq);
	fq->calls.ready += !!what;
	unlock(f, fq);
	if (what)
		fq->q.ready(&fq->q, what);
}

static int fake_attach(struct peer_queue *q)
{
	struct fake_queue *fq = lock_queue(q);

	must(!fq->attached && q->loop && q->ready);
	fq->lf = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				   .ready = fake_ready };
	must(fq->lf.fd >= 0 && loop_add(q->loop, &fq->lf, EPOLLIN) == 0);
	fq->attached = true;
	unlock(fake_of(q->peer), fq);
	return 0;
}

static void fake_detach(struct peer_queue *q)
{
	struct fake_queue *fq = lock_queue(q);

	must(fq->attached);
	loop_del(q->loop, &fq->lf);
	close(fq->lf.fd);
	fq->attached = false;
	unlock(fake_of(q->peer), fq);
}

static int fake_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct fake_queue *fq = lock_queue(q);
	struct fake_frame *frame;
	u32 len = 0;
	int err = -EAGAIN;

	fq->calls.send++;
	must(fq->attached && niov >= 2 && niov <= PEER_IOV_MAX && iov[0].iov_len == PEER_HDR_LEN);
	for (u32 i = 0; i < niov; i++) {
		must(iov[i].iov_len);
		len += iov[i].iov_len;
	}
	must(len <= PEER_FRAME_MAX);
	if (fq->room) {
		if (fq->room != ~0u)
			fq->room--;
		frame = frame_new(len);
		len = 0;
		for (u32 i = 0; i < niov; i++) {
			memcpy(frame->data + len, iov[i].iov_base, iov[i].iov_len);
			len += iov[i].iov_len;
		}
		append(&fq->out, frame);
		err = 0;
	}
	unlock(fake_of(q->peer), fq);
	return err;
}

static ssize_t fake_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct fake_queue *fq = lock_queue(q);
	struct fake_frame *frame = shift(&fq->in);
	ssize_t len = -EAGAIN;

	fq->calls.receive++;
	must(fq->attached && niov >= 2 && niov <= PEER_IOV_MAX && iov[0].iov_len >= PEER_HDR_LEN);
	if (frame) {
		len = 0;
		for (u32 i = 0; i < niov; i++) {
			u32 part = frame->len - len;

			must(iov[i].iov_len);
			if (part > iov[i].iov_len)
				part = iov[i].iov_len;
			memcpy(iov[i].iov_base, frame->data + len, part);
			len += part;
		}
		must(len == frame->len); /* the device says that it never cuts any off */
		free(frame);
	}
	unlock(fake_of(q->peer), fq);
	return len;
}

static void fake_want(struct peer_queue *q, u32 what)
{
	struct fake_queue *fq = lock_queue(q);

	must(fq->attached && !(what & ~(PEER_READ | PEER_WRITE)));
	fq->want = what;
	fq->calls.want++;
	unlock(fake_of(q->peer), fq);
}

static int fake_set_offloads(struct peer *p, u64 features)
{
	struct fake_peer *f = fake_of(p);
	int err;

	lock(f, 0);
	must(!(features & ~p->features));
	err = f->fail;
	if (!err)
		f->offloads = features;
	unlock(f, NULL);
	return err;
}

static int fake_set_pairs(struct peer *p, u32 n)
{
	struct fake_peer *f = fake_of(p);
	int err;

	lock(f, 0);
	must(n >= 1 && n <= p->npairs);
	err = f->fail;
	if (!err)
		f->npairs = n;
	unlock(f, NULL);
	return err;
}

static void fake_destroy(struct peer *p)
{
	struct fake_peer *f = fake_of(p);
	struct fake_frame *frame;

	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		must(!f->queue[i].attached);
		while ((frame = shift(&f->queue[i].in)) || (frame = shift(&f->queue[i].out)))
			free(frame);
	}
	if (f->destroyed)
		*f->destroyed = true;
	pthread_mutex_destroy(&f->lock);
	free(f);
}

static struct peer_queue *fake_queue(struct peer *p, u32 i)
{
	must(i < p->npairs);
	return &fake_of(p)->queue[i].q;
}

static const struct peer_ops fake_ops = {
	.kind = "fake",
	.attach = fake_attach,
	.detach = fake_detach,
	.send = fake_send,
	.receive = fake_receive,
	.want = fake_want,
	.set_offloads = fake_set_offloads,
	.set_pairs = fake_set_pairs,
	.destroy = fake_destroy,
};

/* ---- the test's side ---- */

struct fake_peer *fake_peer_create(u64 features, u32 npairs, u16 mtu)
{
	struct fake_peer *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->p = (struct peer){ .ops = &fake_ops,
			      .features = features,
			      .npairs = npairs,
			      .mtu = mtu,
			      .queue = fake_queue };
	f->npairs = 1;
	pthread_mutex_init(&f->lock, NULL);
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		f->queue[i].q.peer = &f->p;
		f->queue[i].q.index = i;
		f->queue[i].room = ~0u;
	}
	return f;
}

struct peer *fake_peer_base(struct fake_peer *f)
{
	return &f->p;
}

void fake_peer_put(struct fake_peer *f, u32 i, const void *hdr, const void *data, u32 len)
{
	struct fake_frame *frame = frame_new(PEER_HDR_LEN + len);
	struct fake_queue *fq;

	memset(frame->data, 0, PEER_HDR_LEN);
	if (hdr)
		memcpy(frame->data, hdr, PEER_HDR_LEN);
	if (len)
		memcpy(frame->data + PEER_HDR_LEN, data, len);
	fq = lock(f, i);
	append(&fq->in, frame);
	unlock(f, fq);
}

struct fake_frame *fake_peer_take(struct fake_peer *f, u32 i)
{
	struct fake_queue *fq = lock(f, i);
	struct fake_frame *frame = shift(&fq->out);

	unlock(f, fq);
	return frame;
}

void fake_peer_set_room(struct fake_peer *f, u32 i, u32 n)
{
	struct fake_queue *fq = lock(f, i);

	fq->room = n;
	unlock(f, fq);
}

u32 fake_peer_waiting(struct fake_peer *f, u32 i)
{
	struct fake_queue *fq = lock(f, i);
	u32 n = fq->in.n;

	unlock(f, fq);
	return n;
}

u32 fake_peer_wants(struct fake_peer *f, u32 i)
{
	struct fake_queue *fq = lock(f, i);
	u32 want = fq->want;

	unlock(f, fq);
	return want;
}

struct fake_peer_calls fake_peer_calls(struct fake_peer *f, u32 i)
{
	struct fake_queue *fq = lock(f, i);
	struct fake_peer_calls calls = fq->calls;

	unlock(f, fq);
	return calls;
}

u64 fake_peer_offloads(struct fake_peer *f)
{
	u64 offloads;

	lock(f, 0);
	offloads = f->offloads;
	unlock(f, NULL);
	return offloads;
}

u32 fake_peer_pairs(struct fake_peer *f)
{
	u32 n;

	lock(f, 0);
	n = f->npairs;
	unlock(f, NULL);
	return n;
}

void fake_peer_fail(struct fake_peer *f, int err)
{
	lock(f, 0);
	f->fail = err;
	unlock(f, NULL);
}

void fake_peer_link(struct fake_peer *f, bool up)
{
	f->p.link_changed(&f->p, up);
}

void fake_peer_watch(struct fake_peer *f, bool *destroyed)
{
	f->destroyed = destroyed;
}
