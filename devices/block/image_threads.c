// SPDX-License-Identifier: MIT
/*
 * image_threads.c - a queue whose requests are run by threads, for hosts without io_uring.
 *
 *	loop's thread                          workers, THREADS_MAX at most
 *	submit ──> fresh ──kick──> todo ────>  take one, run its steps
 *	done() <── deliver <────── finished <──┘   (an eventfd when the list was empty)
 *
 * How it works: a kick hands the fresh requests over and wakes as many idle workers as there are
 * requests, or starts new ones. A worker runs a request to its end with plain system calls.
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

struct pool {
	struct image_queue q;
	struct loop_fd event; /* eventfd: `finished` is no longer empty */
	struct image_list fresh;
	u32 nfresh;
	u32 inflight; /* submitted, and done() not called */
	pthread_t thread[THREADS_MAX];
	u32 nthreads;

	pthread_mutex_t lock;
	pthread_cond_t work; /* `todo` has something, or quit */
	pthread_cond_t some; /* `finished` has something */
	struct image_list todo, finished;
	u32 ntodo, nidle;
	bool quit;
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
		n = fdatasync(s->fd);
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

static void *worker(void *arg)
{
	struct pool *p = arg;
	struct image_req *r;
	struct image_step s;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->quit && !p->todo.first) {
			p->nidle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->nidle--;
		}
		r = image_list_take(&p->todo);
		if (!r)
			break;
		p->ntodo--;
		pthread_mutex_unlock(&p->lock);
		while (image_next_step(r, &s))
			image_step_done(r, run_step(&s));
		pthread_mutex_lock(&p->lock);
		if (!p->finished.first) {
			eventfd_write(p->event.fd, 1);
			pthread_cond_signal(&p->some);
		}
		image_list_add(&p->finished, r);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static int start_worker(struct pool *p)
{
	int err = pthread_create(&p->thread[p->nthreads], NULL, worker, p);

	if (err)
		return -err;
	pthread_setname_np(p->thread[p->nthreads], "image");
	p->nthreads++;
	return 0;
}

static void threads_submit(struct image_queue *q, struct image_req *r)
{
	struct pool *p = container_of(q, struct pool, q);

	image_list_add(&p->fresh, r);
	p->nfresh++;
	p->inflight++;
}

static void threads_kick(struct image_queue *q)
{
	struct pool *p = container_of(q, struct pool, q);
	struct image_req *r;
	u32 missing;

	if (!p->nfresh)
		return;
	pthread_mutex_lock(&p->lock);
	while ((r = image_list_take(&p->fresh)))
		image_list_add(&p->todo, r);
	p->ntodo += p->nfresh;
	missing = p->ntodo > p->nidle ? p->ntodo - p->nidle : 0;
	for (u32 i = 0; i < p->nfresh && i < p->nidle; i++)
		pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
	p->nfresh = 0;
	while (missing-- && p->nthreads < THREADS_MAX && start_worker(p) == 0)
		;
}

/* Call the done()s of what is finished. Returns whether there was any. */
static bool deliver(struct pool *p)
{
	struct image_list list;
	struct image_req *r;

	pthread_mutex_lock(&p->lock);
	list = p->finished;
	p->finished.first = NULL;
	pthread_mutex_unlock(&p->lock);
	if (!list.first)
		return false;
	while ((r = image_list_take(&list))) {
		p->inflight--;
		r->done(r, r->result);
	}
	if (p->q.batch_done)
		p->q.batch_done(p->q.arg);
	threads_kick(&p->q); /* what the callbacks submitted */
	return true;
}

static void threads_ready(struct loop_fd *lf, u32 events)
{
	struct pool *p = container_of(lf, struct pool, event);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	while (deliver(p))
		;
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
		deliver(p);
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

int image_threads_create(struct image_queue **out, const struct image_queue *common)
{
	struct pool *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->q = *common;
	p->q.ops = &threads_ops;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->some, NULL);
	p->event = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				     .ready = threads_ready };
	err = p->event.fd < 0 ? -errno : loop_add(p->q.loop, &p->event, EPOLLIN);
	if (!err)
		err = start_worker(p); /* at least one, or nothing would ever be done */
	if (err) {
		threads_destroy(&p->q);
		return err;
	}
	*out = &p->q;
	return 0;
}
