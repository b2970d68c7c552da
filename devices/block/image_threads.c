// SPDX-License-Identifier: MIT
/*
 * image_threads.c - a queue whose requests are run by threads, for hosts without io_uring.
 *
 *	loop's thread                          workers, THREADS_MAX at most
 *	submit ──> fresh ──kick──> todo ────>  take one, run its steps ──> syncs ──> sync
 *	done() <── deliver <────── finished <──┴─────────────────────────────────────┘
 *				   (an eventfd when the list was empty)
 *
 * How it works: a kick reads at once what the host has in memory (RWF_NOWAIT), hands the other fresh
 * requests over and wakes one worker. A worker runs a request to its end with plain system calls; if
 * it leaves another behind, it first wakes the next worker, or starts one. So requests that take no
 * time do not cost a wake-up each, and those that do run side by side.
 *
 * One sync at a time (see sync_fd), for all requests together that wait for one: the worker that finds nobody
 * syncing does, again and again while there are such. The others leave theirs in `syncs` and go on. So what
 * is synced at once is not limited by how many workers there are. A request that comes while a sync runs is
 * of the next, as that one may have begun before its last write did.
 *
 * Threads: `lock` guards the fields below it; the others belong to the loop's thread.
 */
#include "devices/block/image_internal.h"

#include "minivmm/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define THREADS_MAX 16
#define NOW_MAX	    (1 * MIB) /* larger requests are not read at once: copying takes long, too */

struct pool {
	struct image_queue q;
	struct loop_fd event; /* eventfd: `finished` is no longer empty */
	struct image_list fresh;
	u32 inflight;	/* submitted, and done() not called */
	bool turning;	/* done()s are being called */
	bool no_nowait; /* the file system can't say that it would have to wait */

	pthread_mutex_t lock;
	pthread_cond_t work; /* `todo` has something, or quit */
	pthread_cond_t some; /* `finished` has something */
	struct image_list todo, syncs, finished;
	pthread_t thread[THREADS_MAX];
	u32 nthreads, nidle;
	bool quit;
	bool syncing;
	int sync_err; /* of the first that failed */
};

static int run_step(const struct image_step *s)
{
	u64 range[2] = { s->off, s->len };
	ssize_t n = 0;

	switch (s->op) {
	case STEP_READ:
		n = preadv(s->fd, s->iov, s->niov, s->off);
		break;
	case STEP_WRITE:
		n = pwritev2(s->fd, s->iov, s->niov, s->off, s->flags);
		break;
	case STEP_SYNC:
		do
			n = fdatasync(s->fd);
		while (n < 0 && errno == EINTR);
		break;
	case STEP_FALLOCATE:
		n = fallocate(s->fd, s->flags, s->off, s->len);
		break;
	case STEP_BLKDISCARD:
		n = ioctl(s->fd, BLKDISCARD, range);
		break;
	}
	return n < 0 ? -errno : (int)n;
}

/* Run a request's steps. False: it has to wait for a sync. */
static bool run(struct image_req *r)
{
	struct image_step s;

	while (image_next_step(r, &s)) {
		if (s.op == STEP_SYNC)
			return false;
		image_step_done(r, run_step(&s));
	}
	return true;
}

/* To be delivered. The lock is held, and dropped for a while. */
static void finish(struct pool *p, struct image_list *done)
{
	bool first = done->first && !p->finished.first;
	struct image_req *r;

	while ((r = image_list_take(done)))
		image_list_add(&p->finished, r);
	if (!first)
		return;
	pthread_cond_signal(&p->some);
	pthread_mutex_unlock(&p->lock); /* or the loop would wake up to wait for it */
	eventfd_write(p->event.fd, 1);
	pthread_mutex_lock(&p->lock);
}

/* Sync for all who wait for it. Likewise. */
static void sync_all(struct pool *p)
{
	p->syncing = true;
	while (p->syncs.first) {
		struct image_list wait = p->syncs, done = { 0 }, again = { 0 };
		int err = p->sync_err;
		struct image_req *r;

		p->syncs.first = NULL;
		pthread_mutex_unlock(&p->lock);
		if (!err)
			err = run_step(&(struct image_step){ .op = STEP_SYNC, .fd = p->q.sync_fd });
		while ((r = image_list_take(&wait))) {
			image_step_done(r, err);
			image_list_add(run(r) ? &done : &again, r);
		}
		pthread_mutex_lock(&p->lock);
		if (err != -EAGAIN) /* that is no loss, and tried again */
			p->sync_err = err;
		while ((r = image_list_take(&again)))
			image_list_add(&p->syncs, r);
		finish(p, &done);
	}
	p->syncing = false;
}

static int wake_worker(struct pool *p);

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct image_req *r;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct image_list done = { 0 };
		bool all;

		while (!p->quit && !p->todo.first) {
			p->nidle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->nidle--;
		}
		r = image_list_take(&p->todo);
		if (!r)
			break;
		if (p->todo.first)
			wake_worker(p);
		pthread_mutex_unlock(&p->lock);
		all = run(r);
		pthread_mutex_lock(&p->lock);
		image_list_add(all ? &done : &p->syncs, r);
		finish(p, &done);
		if (p->syncs.first && !p->syncing)
			sync_all(p);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Let one more worker look at `todo`, if there may be one more. The lock is held. Returns 0 or
 * -errno. */
static int wake_worker(struct pool *p)
{
	pthread_t *t = &p->thread[p->nthreads];
	int err;

	if (p->nidle) {
		pthread_cond_signal(&p->work);
		return 0;
	}
	if (p->nthreads == THREADS_MAX || p->quit)
		return 0;
	err = pthread_create(t, NULL, worker, p);
	if (err)
		return -err;
	pthread_setname_np(*t, "image");
	p->nthreads++;
	return 0;
}

static void threads_submit(struct image_queue *q, struct image_req *r)
{
	struct pool *p = container_of(q, struct pool, q);

	image_list_add(&p->fresh, r);
	p->inflight++;
}

/* Read it without waiting. False: the host would have to wait, or it is for a worker to find out what
 * is wrong. */
static bool read_now(struct pool *p, struct image_req *r)
{
	struct image_step s;
	ssize_t n;

	if (r->op != IMAGE_READ || r->len > NOW_MAX || p->q.img->direct || p->no_nowait)
		return false;
	while (image_next_step(r, &s)) {
		n = preadv2(s.fd, s.iov, s.niov, s.off, RWF_NOWAIT);
		if (n <= 0) {
			p->no_nowait = n < 0 && errno == EOPNOTSUPP;
			return false;
		}
		image_step_done(r, n);
	}
	return true;
}

/* Call the done()s. Returns whether there was any. */
static bool call_done(struct pool *p, struct image_list *l)
{
	struct image_req *r;

	if (!l->first)
		return false;
	while ((r = image_list_take(l))) {
		p->inflight--;
		r->done(r, r->result);
	}
	if (p->q.batch_done)
		p->q.batch_done(p->q.arg);
	return true;
}

/* Begin what is fresh. Returns whether some of it is done. */
static bool begin(struct pool *p)
{
	struct image_list now = { 0 }, later = { 0 };
	struct image_req *r;

	while ((r = image_list_take(&p->fresh)))
		image_list_add(read_now(p, r) ? &now : &later, r);
	if (later.first) {
		pthread_mutex_lock(&p->lock);
		while ((r = image_list_take(&later)))
			image_list_add(&p->todo, r);
		wake_worker(p);
		pthread_mutex_unlock(&p->lock);
	}
	return call_done(p, &now);
}

/* Take what the workers have finished. Returns whether there was any. */
static bool deliver(struct pool *p)
{
	struct image_list list;

	pthread_mutex_lock(&p->lock);
	list = p->finished;
	p->finished.first = NULL;
	pthread_mutex_unlock(&p->lock);
	return call_done(p, &list);
}

static void threads_kick(struct image_queue *q)
{
	struct pool *p = container_of(q, struct pool, q);

	if (p->turning) /* a callback's: what it submitted is begun after it */
		return;
	p->turning = true;
	while (begin(p))
		;
	p->turning = false;
}

static void turn(struct pool *p)
{
	bool again;

	p->turning = true;
	do {
		again = deliver(p);
		again |= begin(p);
	} while (again);
	p->turning = false;
}

static void threads_ready(struct loop_fd *lf, u32 events)
{
	struct pool *p = container_of(lf, struct pool, event);

	(void)events; /* edge-triggered: the eventfd need not be read */
	turn(p);
}

static void threads_drain(struct image_queue *q)
{
	struct pool *p = container_of(q, struct pool, q);

	threads_kick(q);
	while (p->inflight) {
		pthread_mutex_lock(&p->lock);
		while (!p->finished.first)
			pthread_cond_wait(&p->some, &p->lock);
		pthread_mutex_unlock(&p->lock);
		turn(p);
	}
}

static void threads_destroy(struct image_queue *q)
{
	struct pool *p = container_of(q, struct pool, q);

	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (u32 i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	if (p->event.fd >= 0) {
		loop_del(q->loop, &p->event);
		close(p->event.fd);
	}
	if (q->sync_fd >= 0)
		close(q->sync_fd);
	pthread_cond_destroy(&p->some);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct image_queue_ops threads_ops = {
	.submit = threads_submit,
	.kick = threads_kick,
	.drain = threads_drain,
	.destroy = threads_destroy,
};

static void destroy_failed(void *p)
{
	threads_destroy(&((struct pool *)p)->q);
}

int image_threads_create(struct image_queue **out, const struct image_queue *common)
{
	struct pool *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->q = *common;
	p->q.ops = &threads_ops;
	p->q.sync_fd = -1;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->some, NULL);
	p->event = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				     .ready = threads_ready };
	err = p->event.fd < 0 ? -errno : loop_add(p->q.loop, &p->event, EPOLLIN | EPOLLET);
	if (!err)
		err = image_sync_open(&p->q);
	pthread_mutex_lock(&p->lock);
	if (!err)
		err = wake_worker(p); /* at least one, or nothing would ever be done */
	pthread_mutex_unlock(&p->lock);
	if (err) { /* on the loop's thread: it may run, and have events in hand */
		loop_call(common->loop, destroy_failed, p);
		return err;
	}
	*out = &p->q;
	return 0;
}
