/* SPDX-License-Identifier: MIT */
/*
 * trace_internal.h - what trace.c, which keeps the events, and trace_write.c, which makes a file of them,
 * share.
 */
#ifndef VMM_TRACE_INTERNAL_H
#define VMM_TRACE_INTERNAL_H

#include "minivmm/trace.h"

#include <stdio.h>

/* An event, as it is kept and as it is copied. */
struct trace_entry {
	u64 at;	 /* trace_clock() */
	u64 how; /* how long it took, and in the top byte its kind */
	u64 a, b;
};

#define TRACE_KIND_SHIFT 56

/* The same moment on two clocks. */
struct trace_instant {
	u64 clock; /* trace_clock() */
	u64 ns;	   /* CLOCK_MONOTONIC */
};

struct trace_member {
	struct trace_track *track;
	struct trace_ring *ring; /* from the first start on */
	char group[32], name[32];
};

/*
 * Copy what `ring` has kept since its start, in the order of writing, to `to`, which has room for TRACE_EVENTS.
 * Its thread may still be writing. Returns how many; the rest is added to *dropped.
 */
u32 trace_copy(struct trace_ring *ring, struct trace_entry *to, u64 *dropped);

/* Write the file. Sets r->events and r->dropped. Returns 0 or -errno. Any thread. */
int trace_write(FILE *f, const struct trace_member *m, u32 n, struct trace_instant start,
		struct trace_instant stop, struct trace_result *r);

#endif
