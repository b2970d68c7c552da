// SPDX-License-Identifier: MIT
/*
 * loop.c - the epoll loop behind loop.h.
 *
 * How it works: loop_turn() takes a batch of events from epoll_wait() and calls each handler. A
 * handler may delete another one whose event is in the same batch; loop_del() therefore strikes
 * the deleted one from the batch in hand. Calls from other threads queue up in `calls` and an
 * eventfd wakes the loop to run them.
 *
 * With something to look at, epoll_wait() does not wait, and is asked only after some rounds of looking: it
 * costs as much as a dozen of frames.
 *
 * Calls come in groups, one for each queue, and it takes longer to wake up than to do what most of them ask for. So
 * after one the loop looks for more for a while before it sleeps (loop_stay_awake()).
 *
 * A thread of ours that does not answer a call may be held up in a system call, such as the write to an eventfd
 * that another process has made block: a signal from time to time ends that with EINTR.
 *
 * Threads: `lock` guards the fields below it; the batch belongs to the loop's thread.
 */
#include "minivmm/loop.h"
#include "minivmm/now.h"
#include "minivmm/trace.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NUDGE	 (SIGRTMIN + 1) /* vcpu.c has the one before */
#define NUDGE_NS 200000000L

#define AWAKE_NS 50000

#define BATCH	 32
#define ROUNDS	 32 /* of looking, between two looks at the descriptors */

/* One that is waited for. */
struct call {
	struct loop_post post;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
	bool done; /* atomic */
};

struct loop {
	int epfd;
	struct loop_fd wake; /* eventfd: calls are waiting, or quit */
	struct epoll_event batch[BATCH];
	int nbatch;
	struct trace_track track;    /* of who runs it */
	struct loop_poll *polls;     /* what there is to look at, */
	struct loop_poll *poll_next; /* and what comes after the one in hand */
	u64 awake_till;		     /* ns; 0: it sleeps when there is nothing to do */
	pthread_t started;	     /* the thread that loop_start() made, */
	bool own_thread;	     /* if it has */

	pthread_mutex_t lock;
	pthread_cond_t done;	 /* some call is done, the loop runs, or nobody acts for it */
	struct loop_post *calls; /* newest first */
	pthread_t thread;	 /* who runs the loop or acts for it */
	bool running;
	bool acting; /* it does not run, and a thread does a call of its own in its place */
	bool begun;  /* it runs or has run since loop_start() */
	bool quit;
};

static void wake_up(struct loop *l)
{
	eventfd_write(l->wake.fd, 1);
}

/* Run the waiting calls, oldest first. The lock is held, and dropped around each call. */
static void run_calls(struct loop *l)
{
	while (l->calls) {
		struct loop_post **last = &l->calls, *p;
		u64 began;

		while ((*last)->next)
			last = &(*last)->next;
		p = *last;
		*last = NULL;

		pthread_mutex_unlock(&l->lock);
		began = trace_begin(&l->track);
		p->fn(p); /* and it is gone */
		trace_end(&l->track, TRACE_CALL, began, 0, 0);
		pthread_mutex_lock(&l->lock);
	}
}

static void wake_ready(struct loop_fd *lf, u32 events)
{
	struct loop *l = container_of(lf, struct loop, wake);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	pthread_mutex_lock(&l->lock);
	run_calls(l);
	pthread_mutex_unlock(&l->lock);
	loop_stay_awake(l, AWAKE_NS);
}

int loop_create(struct loop **out)
{
	struct loop *l = calloc(1, sizeof(*l));
	pthread_condattr_t monotonic;
	int err;

	if (!l)
		return -ENOMEM;
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	l->wake = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				    .ready = wake_ready };
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	err = l->wake.fd < 0 || l->epfd < 0 ? -errno : loop_add(l, &l->wake, EPOLLIN);
	if (err) {
		loop_destroy(l);
		return err;
	}
	*out = l;
	return 0;
}

void loop_destroy(struct loop *l)
{
	if (!l)
		return;
	if (l->epfd >= 0)
		close(l->epfd);
	if (l->wake.fd >= 0)
		close(l->wake.fd);
	pthread_cond_destroy(&l->done);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

struct trace_track *loop_track(struct loop *l)
{
	return &l->track;
}

void loop_poll_add(struct loop *l, struct loop_poll *p)
{
	if (p->added)
		return;
	p->added = true;
	p->next = l->polls;
	l->polls = p;
}

void loop_poll_del(struct loop *l, struct loop_poll *p)
{
	struct loop_poll **at = &l->polls;

	if (!p->added)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	if (l->poll_next == p)
		l->poll_next = p->next;
	p->added = false;
}

static bool look_at_all(struct loop *l)
{
	bool found = false;

	for (struct loop_poll *p = l->polls; p; p = l->poll_next) {
		l->poll_next = p->next;
		found |= p->look(p);
	}
	return found;
}

void loop_stay_awake(struct loop *l, u64 ns)
{
	u64 till = now_ns() + ns;

	if (till > l->awake_till)
		l->awake_till = till;
}

static bool is_awake(struct loop *l)
{
	if (l->awake_till && now_ns() >= l->awake_till)
		l->awake_till = 0;
	return l->awake_till;
}

static void loop_turn(struct loop *l)
{
	u64 began;

	for (u32 i = 0; l->polls && i < ROUNDS; i++) {
		if (!look_at_all(l))
			loop_relax();
	}
	l->nbatch = epoll_wait(l->epfd, l->batch, BATCH, l->polls || is_awake(l) ? 0 : -1);
	if (!l->nbatch && !l->polls)
		sched_yield();
	began = l->nbatch > 0 ? trace_begin(&l->track) : 0;
	for (int i = 0; i < l->nbatch; i++) {
		struct loop_fd *lf = l->batch[i].data.ptr;

		if (lf)
			lf->ready(lf, l->batch[i].events);
	}
	trace_end(&l->track, TRACE_READY, began, l->nbatch, 0);
	l->nbatch = 0;
}

void loop_run(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->acting)
		pthread_cond_wait(&l->done, &l->lock);
	l->thread = pthread_self();
	l->running = true;
	l->begun = true;
	pthread_cond_broadcast(&l->done);
	while (!l->quit) {
		pthread_mutex_unlock(&l->lock);
		loop_turn(l);
		pthread_mutex_lock(&l->lock);
	}
	run_calls(l); /* nobody may be left waiting */
	l->running = false;
	l->quit = false;
	pthread_mutex_unlock(&l->lock);
}

static void *loop_thread(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void nudged(int sig)
{
	(void)sig; /* it has done its work */
}

int loop_start(struct loop *l, const char *name)
{
	const struct sigaction sa = { .sa_handler = nudged }; /* without SA_RESTART */
	int err;

	if (sigaction(NUDGE, &sa, NULL) < 0)
		return -errno;
	l->begun = false;
	err = pthread_create(&l->started, NULL, loop_thread, l);
	if (err)
		return -err;
	pthread_setname_np(l->started, name);
	l->own_thread = true;
	/* From now on a loop_call() must find it running. */
	pthread_mutex_lock(&l->lock);
	while (!l->begun)
		pthread_cond_wait(&l->done, &l->lock);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

void loop_quit(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->quit = true;
	pthread_mutex_unlock(&l->lock);
	wake_up(l);
}

void loop_stop(struct loop *l)
{
	loop_quit(l);
	pthread_join(l->started, NULL);
	l->own_thread = false;
}

int loop_add(struct loop *l, struct loop_fd *lf, u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = lf };

	return epoll_ctl(l->epfd, EPOLL_CTL_ADD, lf->fd, &ev) < 0 ? -errno : 0;
}

int loop_mod(struct loop *l, struct loop_fd *lf, u32 events)
{
	struct epoll_event ev = { .events = events, .data.ptr = lf };

	return epoll_ctl(l->epfd, EPOLL_CTL_MOD, lf->fd, &ev) < 0 ? -errno : 0;
}

void loop_forget(struct loop *l, struct loop_fd *lf)
{
	epoll_ctl(l->epfd, EPOLL_CTL_DEL, lf->fd, NULL);
}

void loop_del(struct loop *l, struct loop_fd *lf)
{
	loop_forget(l, lf);
	for (int i = 0; i < l->nbatch; i++) {
		if (l->batch[i].data.ptr == lf)
			l->batch[i].data.ptr = NULL;
	}
}

/* In the place of a loop that does not run. The lock is held, and dropped around the call. */
static void call_in_place(struct loop *l, struct loop_post *p)
{
	l->acting = true;
	l->thread = pthread_self();
	pthread_mutex_unlock(&l->lock);
	p->fn(p);
	pthread_mutex_lock(&l->lock);
	l->acting = false;
	pthread_cond_broadcast(&l->done);
}

void loop_post(struct loop *l, struct loop_post *p)
{
	bool wanted;

	pthread_mutex_lock(&l->lock);
	if ((l->running || l->acting) && pthread_equal(l->thread, pthread_self())) {
		pthread_mutex_unlock(&l->lock);
		p->fn(p);
		return;
	}
	while (l->acting)
		pthread_cond_wait(&l->done, &l->lock);
	wanted = l->running;
	if (wanted) {
		p->next = l->calls;
		l->calls = p;
	} else {
		call_in_place(l, p);
	}
	pthread_mutex_unlock(&l->lock);
	if (wanted) /* not before: it would wait for the lock first */
		wake_up(l);
}

void loop_unpost(struct loop *l, struct loop_post *p)
{
	struct loop_post **at = &l->calls;

	pthread_mutex_lock(&l->lock);
	while (*at && *at != p)
		at = &(*at)->next;
	if (*at)
		*at = p->next;
	pthread_mutex_unlock(&l->lock);
}

static void do_call(struct loop_post *p)
{
	struct call *c = container_of(p, struct call, post);
	struct loop *l = c->loop;

	c->fn(c->arg);
	pthread_mutex_lock(&l->lock);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE); /* and it is gone */
	pthread_cond_broadcast(&l->done);
	pthread_mutex_unlock(&l->lock);
}

static bool is_done(const struct call *c)
{
	return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE);
}

/* Most calls take less time than it takes to fall asleep and to be woken up. */
static bool done_soon(const struct call *c)
{
	u64 end = now_ns() + AWAKE_NS;

	while (!is_done(c) && now_ns() < end)
		sched_yield();
	return is_done(c);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call c = { .post = { .fn = do_call }, .loop = l, .fn = fn, .arg = arg };
	struct timespec until;

	loop_post(l, &c.post);
	if (done_soon(&c))
		return;
	pthread_mutex_lock(&l->lock);
	while (!is_done(&c)) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += NUDGE_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&l->done, &l->lock, &until) == ETIMEDOUT &&
		    !is_done(&c) && l->own_thread)
			pthread_kill(l->thread, NUDGE);
	}
	pthread_mutex_unlock(&l->lock);
}
