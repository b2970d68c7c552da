/* SPDX-License-Identifier: MIT */
/*
 * trace.h - a timeline of what happens: kicks, batches, interrupts, exits, switches.
 *
 * Whatever has something to tell has a track, which belongs to one thread at a time, as the queue or vCPU does
 * that it is part of:
 *
 *	struct vq { ...; struct trace_track track; };
 *	trace_mark(&q->track, TRACE_KICK, 0, 0);		a moment
 *	u64 began = trace_begin(&q->track);			a while
 *	...
 *	trace_end(&q->track, TRACE_SERVE, began, chains, 0);
 *
 * While nothing is traced each of these is a load and a branch. Else an event is written to the track's ring: no
 * lock, no system call, and nothing that waits for anybody. The ring has TRACE_EVENTS places; the newest events
 * take the place of the oldest, so that a trace tells of the time before it was stopped.
 *
 * A stop makes a file of all rings, in Chrome's trace format (trace_write.c), which ui.perfetto.dev and
 * chrome://tracing show.
 */
#ifndef MINIVMM_TRACE_H
#define MINIVMM_TRACE_H

#include "minivmm/base.h"

#include <time.h>

#define TRACE_EVENTS 32768 /* a track keeps: a power of two, of 32 bytes each */

struct trace;
struct trace_ring;

struct trace_track {
	struct trace_ring *ring; /* atomic; NULL: nothing is traced */
};

/* What happens, and what `a` and `b` say about it. */
enum trace_kind {
	/* a vCPU: an exit to us, from KVM_RUN's return until it has been served */
	TRACE_PIO_READ, /* port, bytes */
	TRACE_PIO_WRITE,
	TRACE_MMIO_READ, /* address, bytes */
	TRACE_MMIO_WRITE,
	TRACE_SIGNAL,
	TRACE_OTHER, /* KVM's exit reason */
	TRACE_PARK,  /* the guest is paused or ends */
	/* a queue that is served in-process */
	TRACE_KICK,
	TRACE_SERVE,	 /* chains */
	TRACE_BATCH,	 /* chains; the driver sees them */
	TRACE_INTERRUPT, /* and is called */
	/* a device's data path */
	TRACE_QUIESCE,
	TRACE_HAND_OVER,
	TRACE_RESTART,
	TRACE_SWITCH,	     /* two strings: from, to */
	TRACE_SWITCH_FAILED, /* likewise; all is as before */
	/* a thread with a loop */
	TRACE_READY, /* descriptors; their handlers run */
	TRACE_CALL,  /* loop_call() */
	TRACE_KINDS
};

/* Write an event: one that happens now, or one that began at `began`, a trace_clock(), and is over now. Track's
 * thread. Cold, so that whoever traces nothing has their calls out of the way. */
__attribute__((cold)) void trace_moment(struct trace_track *t, enum trace_kind kind, u64 a, u64 b);
__attribute__((cold)) void trace_while(struct trace_track *t, enum trace_kind kind, u64 began,
				       u64 a, u64 b);

/* The processor's own counter, which costs no system call. It runs evenly, and alike on all processors, on every
 * machine on which the kernel itself keeps the time by it. */
static inline u64 trace_clock(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	u64 ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
#else
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
#endif
}

static inline bool trace_on(const struct trace_track *t)
{
	return __builtin_expect(__atomic_load_n(&t->ring, __ATOMIC_RELAXED) != NULL, 0);
}

static inline void trace_mark(struct trace_track *t, enum trace_kind kind, u64 a, u64 b)
{
	if (trace_on(t))
		trace_moment(t, kind, a, b);
}

/* Returns what trace_end() wants to be told; 0: nothing is traced. */
static inline u64 trace_begin(const struct trace_track *t)
{
	return trace_on(t) ? trace_clock() : 0;
}

static inline void trace_end(struct trace_track *t, enum trace_kind kind, u64 began, u64 a, u64 b)
{
	if (__builtin_expect(began != 0, 0))
		trace_while(t, kind, began, a, b);
}

/* ---- for whoever starts and stops it: main loop's thread ---- */

/* What came of a trace. */
struct trace_result {
	const char *path; /* until the next start */
	u64 events;	  /* in the file */
	u64 dropped;	  /* that had to make room for newer ones */
	int err;	  /* -errno of writing the file */
};

/* Returns 0 or -ENOMEM. `written` is called when a file is complete, on a thread of the trace's own. */
int trace_create(struct trace **out, void (*written)(void *arg), void *arg);

/* Have `track` told of, as `name` in the group `group` (at most 31 bytes each). It and the strings that are its
 * events' outlive the trace, or the thread that writes to it has ended. Before the first start. Returns 0 or
 * -ENOMEM. */
int trace_add(struct trace *t, struct trace_track *track, const char *group, const char *name);

/*
 * Open `path`: a regular file of this process's user, or none, and then a new one for that user alone. What is in it
 * stays until the stop, and if there is no start, a file that was not there is removed again. trace_start() begins.
 * Both return 0, or -errno and why in `why`.
 */
int trace_open(struct trace *t, const char *path, char *why, size_t size);
int trace_start(struct trace *t, char *why, size_t size);

/* Stop, and have the file written on a thread of its own. Returns 0, or -ENOENT: nothing is traced. */
int trace_stop(struct trace *t);

/* Is something being traced? */
bool trace_runs(const struct trace *t);

/* The file that is being written is complete: wait for that, and tell how it went. False: none is. */
bool trace_wait(struct trace *t, struct trace_result *r);

/* No track of it is used any more. A trace that has not been stopped gets no file. NULL is allowed. */
void trace_destroy(struct trace *t);

#endif
