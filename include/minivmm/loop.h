/* SPDX-License-Identifier: MIT */
/*
 * loop.h - an event loop: one thread, one epoll set.
 *
 * A file descriptor is watched by embedding a `struct loop_fd` in the object that owns it:
 *
 *	struct uart { ...; struct loop_fd in; };
 *	u->in = (struct loop_fd){ .fd = fd, .ready = uart_in_ready };
 *	loop_add(loop, &u->in, EPOLLIN);
 *
 * What belongs to a loop is touched by its thread alone, so it needs no lock. Another thread that
 * wants something done there uses loop_call(), which also is how a queue is brought to rest: when
 * the call returns, the loop was between two events.
 *
 * What has no descriptor to wait for is looked at again and again, by a `struct loop_poll`. A loop that has
 * one does not sleep.
 *
 * The main loop runs on the program's first thread (loop_run); further loops, one per iothread,
 * get a thread of their own (loop_start).
 */
#ifndef MINIVMM_LOOP_H
#define MINIVMM_LOOP_H

#include "minivmm/base.h"

struct loop;
struct trace_track;

struct loop_fd {
	int fd;
	/* Runs on the loop's thread; `events` as in epoll(7). May loop_del() any loop_fd. */
	void (*ready)(struct loop_fd *lf, u32 events);
};

struct loop_poll {
	/* Look once and do a bounded piece of work. Returns whether there was any. Runs on the loop's
	 * thread; may add and delete any. */
	bool (*look)(struct loop_poll *p);

	/* The loop's. All zeroes: it is not looked at. */
	struct loop_poll *next;
	bool added;
};

/* What is to be done on the loop's thread; embedded like the others. */
struct loop_post {
	void (*fn)(struct loop_post *p);

	struct loop_post *next; /* the loop's */
};

/* Make a loop that is not running yet. Returns 0 or -errno. */
int loop_create(struct loop **out);

/* The loop must not be running. NULL is allowed. */
void loop_destroy(struct loop *l);

/* Where it tells of the events and calls that it serves (trace.h). */
struct trace_track *loop_track(struct loop *l);

/* Run the loop on the calling thread until loop_quit(). */
void loop_run(struct loop *l);

/* Run the loop on a new thread called `name` (at most 15 bytes). Returns 0 or -errno. */
int loop_start(struct loop *l, const char *name);

/* Any thread: end the loop after the events in hand. */
void loop_quit(struct loop *l);

/* Quit a loop that loop_start() began and wait for its thread. */
void loop_stop(struct loop *l);

/*
 * Watch `lf->fd` for `events` (EPOLLIN, EPOLLOUT, ...; level-triggered without EPOLLET), or change what it is
 * watched for. Any thread. Return 0 or -errno (-EPERM: a regular file, which is always ready).
 */
int loop_add(struct loop *l, struct loop_fd *lf, u32 events);
int loop_mod(struct loop *l, struct loop_fd *lf, u32 events);

/*
 * Stop watching. loop_del() is for the loop's own thread (or while it does not run): `ready` is
 * not called again. loop_forget() is for any thread and does not wait: one event in hand may still
 * arrive. Harmless on what is not watched.
 */
void loop_del(struct loop *l, struct loop_fd *lf);
void loop_forget(struct loop *l, struct loop_fd *lf);

/*
 * Look for work from now on, and no longer. Descriptors and calls are still seen to, after some rounds of
 * looking. Loop's thread, or the loop does not run. Harmless if it is so already.
 */
void loop_poll_add(struct loop *l, struct loop_poll *p);
void loop_poll_del(struct loop *l, struct loop_poll *p);

/* More is to be expected soon: do not sleep for the next `ns` nanoseconds. Loop's thread. */
void loop_stay_awake(struct loop *l, u64 ns);

/* What to do in a loop that waits for another processor. */
static inline void loop_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/*
 * Run fn(arg) on the loop's thread and return when it is done. Any thread. On the loop's own thread
 * it is a plain call; while the loop does not run, too, one thread's at a time, and the loop does not
 * begin to run before it is done. A thread of loop_start()'s that does not come for a while is signalled, so that
 * a system call which blocks ends with EINTR: who gets that should not simply try again.
 */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

/*
 * Run p->fn on the loop's thread and do not wait for it. `p` is the loop's until `fn` is called: after the calls of
 * other threads that came before, and before those that come later. Where loop_call() would be a plain call, so is this.
 */
void loop_post(struct loop *l, struct loop_post *p);

/* Not any more, if it has not been called yet. Loop's thread, which does not wait for its own calls. */
void loop_unpost(struct loop *l, struct loop_post *p);

#endif
