// SPDX-License-Identifier: MIT
/*
 * rate.c - a peer in front of another that limits what goes through: bytes and frames a second, in
 * each direction.
 *
 *	device ── want ──► [ bucket open? ]── yes: ask the peer behind
 *	                                   └─ no:  set the timer; when it rings, ask the peer behind
 *
 * How it works: each direction has two token buckets (bucket.h), one that counts bytes and one that
 * counts frames, for all queue pairs together. Where one of them is closed, the peer looks full, or as
 * if it had no frames: -EAGAIN, and the peer behind is not asked to tell, so nothing spins. A
 * timer is set for the time when there will be tokens again. Frames wait where they are, in the guest's
 * queue or the peer's.
 *
 * Threads: a pair's fields belong to its loop; `lock` guards the buckets.
 */
#include "devices/net/rate.h"
#include "devices/net/bucket.h"
#include "devices/net/frame.h"
#include "minivmm/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NSEC	   1000000000ULL
#define BURST_PART 10 /* of a second: what may come at once if nothing else is said */

struct limit {
	struct bucket bytes, frames;
};

struct rate_queue {
	struct peer_queue queue;
	struct peer_queue *inner;
	struct loop_fd timer;
	u64 armed; /* for this time; 0: not */
	u32 want, inner_want;
};

struct rate {
	struct peer peer;
	struct peer *inner;
	const struct rate_clock *clock;
	struct rate_queue q[PEER_PAIRS_MAX];

	pthread_mutex_t lock; /* guards the following */
	struct limit in, out;
};

static struct rate *rate_of(struct peer *p)
{
	return container_of(p, struct rate, peer);
}

static struct rate_queue *rate_queue_of(struct peer_queue *q)
{
	return container_of(q, struct rate_queue, queue);
}

/* ---- a direction's limit; the lock is held ---- */

static bool limit_open(struct limit *l, u64 now)
{
	bool bytes = bucket_open(&l->bytes, now);

	return bucket_open(&l->frames, now) && bytes;
}

static void limit_take(struct limit *l, size_t bytes)
{
	bucket_take(&l->bytes, bytes);
	bucket_take(&l->frames, 1);
}

static void limit_return(struct limit *l, size_t bytes)
{
	bucket_return(&l->bytes, bytes);
	bucket_return(&l->frames, 1);
}

/* When a closed one is worth another look. */
static u64 limit_wake_at(struct limit *l, u64 now)
{
	u64 bytes = bucket_open(&l->bytes, now) ? 0 : bucket_wake_at(&l->bytes);
	u64 frames = bucket_open(&l->frames, now) ? 0 : bucket_wake_at(&l->frames);

	return bytes > frames ? bytes : frames;
}

/* ---- pair's loop ---- */

/* Which of these directions are open? *wake_at: when to look at one that isn't, 0: all are. */
static u32 open_ones(struct rate *r, u32 what, u64 *wake_at)
{
	struct limit *limit[] = { &r->in, &r->out };
	static const u32 direction[] = { PEER_READ, PEER_WRITE };
	u32 open = 0;
	u64 now;

	*wake_at = 0;
	pthread_mutex_lock(&r->lock);
	now = r->clock->now(r->clock);
	for (u32 i = 0; i < ARRAY_SIZE(limit); i++) {
		u64 at;

		if (!(what & direction[i]))
			continue;
		if (limit_open(limit[i], now)) {
			open |= direction[i];
			continue;
		}
		at = limit_wake_at(limit[i], now);
		if (!*wake_at || at < *wake_at)
			*wake_at = at;
	}
	pthread_mutex_unlock(&r->lock);
	return open;
}

/* Ask the peer behind for what is wanted and open, and the timer for the rest. */
static void ask(struct rate_queue *rq)
{
	struct rate *r = rate_of(rq->queue.peer);
	u64 at;
	u32 want = open_ones(r, rq->want, &at);

	if (want != rq->inner_want)
		peer_want(rq->inner, want);
	rq->inner_want = want;
	if (at != rq->armed)
		r->clock->arm(r->clock, rq->timer.fd, at);
	rq->armed = at;
}

static void timer_ready(struct loop_fd *lf, u32 events)
{
	struct rate_queue *rq = container_of(lf, struct rate_queue, timer);
	u64 n;

	(void)events;
	if (read(lf->fd, &n, sizeof(n)) < 0)
		return;
	rq->armed = 0;
	ask(rq);
}

static void inner_ready(struct peer_queue *inner, u32 what)
{
	struct rate_queue *rq = inner->owner;
	u64 at;

	what = open_ones(rate_of(rq->queue.peer), what & rq->want, &at);
	if (at)
		ask(rq);
	if (what)
		rq->queue.ready(&rq->queue, what);
}

static int rate_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct rate *r = rate_of(q->peer);
	size_t len = frame_len(iov, niov) - PEER_HDR_LEN;
	bool open;
	int err;

	pthread_mutex_lock(&r->lock);
	open = limit_open(&r->out, r->clock->now(r->clock));
	if (open)
		limit_take(&r->out, len);
	pthread_mutex_unlock(&r->lock);
	if (!open)
		return -EAGAIN;
	err = peer_send(rate_queue_of(q)->inner, iov, niov);
	if (err) {
		pthread_mutex_lock(&r->lock);
		limit_return(&r->out, len);
		pthread_mutex_unlock(&r->lock);
	}
	return err;
}

/* How long a frame is, is known when it is here. Then it is charged. */
static ssize_t rate_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct rate *r = rate_of(q->peer);
	ssize_t n;
	u64 at;

	if (!open_ones(r, PEER_READ, &at))
		return -EAGAIN;
	n = peer_receive(rate_queue_of(q)->inner, iov, niov);
	if (n >= PEER_HDR_LEN) {
		pthread_mutex_lock(&r->lock);
		limit_take(&r->in, n - PEER_HDR_LEN);
		pthread_mutex_unlock(&r->lock);
	}
	return n;
}

static void rate_want(struct peer_queue *q, u32 what)
{
	rate_queue_of(q)->want = what;
	ask(rate_queue_of(q));
}

static int rate_attach(struct peer_queue *q)
{
	struct rate_queue *rq = rate_queue_of(q);
	int err = loop_add(q->loop, &rq->timer, EPOLLIN);

	if (err)
		return err;
	rq->want = rq->inner_want = 0;
	err = peer_attach(rq->inner, q->loop, inner_ready, rq);
	if (err)
		loop_del(q->loop, &rq->timer);
	return err;
}

static void rate_detach(struct peer_queue *q)
{
	struct rate_queue *rq = rate_queue_of(q);

	peer_detach(rq->inner);
	loop_del(q->loop, &rq->timer);
	if (rq->armed)
		rate_of(q->peer)->clock->arm(rate_of(q->peer)->clock, rq->timer.fd, 0);
	rq->armed = 0;
}

/* ---- the rest is the peer's behind ---- */

static int rate_set_offloads(struct peer *p, u64 features)
{
	return peer_set_offloads(rate_of(p)->inner, features);
}

static int rate_set_pairs(struct peer *p, u32 npairs)
{
	return peer_set_pairs(rate_of(p)->inner, npairs);
}

static void inner_link_changed(struct peer *inner, bool up)
{
	struct rate *r = inner->owner;

	if (r->peer.link_changed)
		r->peer.link_changed(&r->peer, up);
}

static void free_rate(struct rate *r)
{
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		if (r->q[i].timer.fd >= 0)
			close(r->q[i].timer.fd);
	}
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void rate_destroy(struct peer *p)
{
	peer_destroy(rate_of(p)->inner);
	free_rate(rate_of(p));
}

static struct peer_queue *rate_queue(struct peer *p, u32 i)
{
	return &rate_of(p)->q[i].queue;
}

static const struct peer_ops rate_ops = {
	.kind = "rate",
	.attach = rate_attach,
	.detach = rate_detach,
	.send = rate_send,
	.receive = rate_receive,
	.want = rate_want,
	.set_offloads = rate_set_offloads,
	.set_pairs = rate_set_pairs,
	.destroy = rate_destroy,
};

/* ---- making it ---- */

static u64 real_now(const struct rate_clock *c)
{
	struct timespec t;

	(void)c;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC + t.tv_nsec;
}

static void real_arm(const struct rate_clock *c, int timerfd, u64 at)
{
	const struct itimerspec t = { .it_value = { at / NSEC, at % NSEC } };

	(void)c;
	timerfd_settime(timerfd, TFD_TIMER_ABSTIME, &t, NULL);
}

static u64 burst_of(u64 rate, u64 burst, u64 least)
{
	if (burst)
		return burst;
	return rate / BURST_PART > least ? rate / BURST_PART : least;
}

static void begin_limit(struct limit *l, const struct peer_rate_options *o, u64 now)
{
	bucket_init(&l->bytes, o->bytes, burst_of(o->bytes, o->burst_bytes, FRAME_ETH_MAX), now);
	bucket_init(&l->frames, o->frames, burst_of(o->frames, o->burst_frames, 1), now);
}

int peer_rate_by(struct peer **p, const struct peer_rate_options *o, const struct rate_clock *clock)
{
	struct rate *r = calloc(1, sizeof(*r));

	if (!r) {
		log_err("rate: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r->peer = (struct peer){
		.ops = &rate_ops,
		.features = (*p)->features,
		.npairs = (*p)->npairs,
		.mtu = (*p)->mtu,
		.queue = rate_queue,
	};
	r->inner = *p;
	r->clock = clock;
	pthread_mutex_init(&r->lock, NULL);
	begin_limit(&r->in, o, clock->now(clock));
	begin_limit(&r->out, o, clock->now(clock));
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++)
		r->q[i].timer = (struct loop_fd){ .fd = -1, .ready = timer_ready };
	for (u32 i = 0; i < r->peer.npairs; i++) {
		r->q[i].queue = (struct peer_queue){ .peer = &r->peer, .index = i };
		r->q[i].inner = (*p)->queue(*p, i);
		r->q[i].timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (r->q[i].timer.fd < 0) {
			int err = -errno;

			log_err("rate: %s", strerror(-err));
			free_rate(r);
			return err;
		}
	}
	r->inner->link_changed = inner_link_changed;
	r->inner->owner = r;
	*p = &r->peer;
	return 0;
}

int peer_rate(struct peer **p, const struct peer_rate_options *o)
{
	static const struct rate_clock real = { .now = real_now, .arm = real_arm };

	return peer_rate_by(p, o, &real);
}
