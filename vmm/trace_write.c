// SPDX-License-Identifier: MIT
/*
 * trace_write.c - a trace's file: JSON in Chrome's trace event format, the kind with an object around.
 *
 *	{ "traceEvents": [
 *	    { "ph": "M", "pid": 2, "tid": 5, "name": "thread_name", "args": { "name": "rx0" } },
 *	    { "ph": "X", "pid": 2, "tid": 5, "cat": "queue", "name": "serve", "ts": 81.25, "dur": 3.1, "args": ... },
 *	    ... ],
 *	  "otherData": { "events": ..., "dropped": ... } }
 *
 * How it works: a group is a process there (`pid`), a track a thread of it (`tid`, counted over all groups). One
 * track's events come after another's, each sorted by time. `ts` and `dur` are microseconds, `ts` of
 * CLOCK_MONOTONIC: the processor's counter has been read together with that clock at the start and at the stop, and
 * in between it is taken to run evenly. A track that has lost events begins with one that says so.
 */
#include "vmm/trace_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What `a` and `b` are. */
enum form { FORM_NONE, FORM_NUMBER, FORM_ADDRESS, FORM_TEXT };

static const struct {
	const char *category, *name;
	bool moment;
	struct {
		enum form form;
		const char *name;
	} arg[2];
} kinds[TRACE_KINDS] = {
	[TRACE_PIO_READ] = { "exit",
			     "pio-read",
			     false,
			     { { FORM_ADDRESS, "port" }, { FORM_NUMBER, "bytes" } } },
	[TRACE_PIO_WRITE] = { "exit",
			      "pio-write",
			      false,
			      { { FORM_ADDRESS, "port" }, { FORM_NUMBER, "bytes" } } },
	[TRACE_MMIO_READ] = { "exit",
			      "mmio-read",
			      false,
			      { { FORM_ADDRESS, "address" }, { FORM_NUMBER, "bytes" } } },
	[TRACE_MMIO_WRITE] = { "exit",
			       "mmio-write",
			       false,
			       { { FORM_ADDRESS, "address" }, { FORM_NUMBER, "bytes" } } },
	[TRACE_SIGNAL] = { "exit", "signal", true, { { 0 } } },
	[TRACE_OTHER] = { "exit", "other", false, { { FORM_NUMBER, "reason" } } },
	[TRACE_PARK] = { "exit", "parked", false, { { 0 } } },
	[TRACE_KICK] = { "queue", "kick", true, { { 0 } } },
	[TRACE_SERVE] = { "queue", "serve", false, { { FORM_NUMBER, "chains" } } },
	[TRACE_BATCH] = { "queue", "batch", true, { { FORM_NUMBER, "chains" } } },
	[TRACE_INTERRUPT] = { "queue", "interrupt", false, { { 0 } } },
	[TRACE_QUIESCE] = { "switch", "quiesce", false, { { 0 } } },
	[TRACE_HAND_OVER] = { "switch", "hand over", false, { { 0 } } },
	[TRACE_RESTART] = { "switch", "restart", false, { { 0 } } },
	[TRACE_SWITCH] = { "switch",
			   "switch",
			   false,
			   { { FORM_TEXT, "from" }, { FORM_TEXT, "to" } } },
	[TRACE_SWITCH_FAILED] = { "switch",
				  "switch failed",
				  false,
				  { { FORM_TEXT, "from" }, { FORM_TEXT, "to" } } },
	[TRACE_READY] = { "thread", "ready", false, { { FORM_NUMBER, "descriptors" } } },
	[TRACE_CALL] = { "thread", "call", false, { { 0 } } },
};

struct writer {
	FILE *f;
	struct trace_instant start;
	double ns_per_tick;
	bool comma;
};

/* Begin an object in the list. */
static void begin(struct writer *w, const char *ph, u32 pid, u32 tid)
{
	fprintf(w->f, "%s\n{\"ph\":\"%s\",\"pid\":%u,\"tid\":%u", w->comma ? "," : "", ph, pid,
		tid);
	w->comma = true;
}

static void put_text(struct writer *w, const char *s)
{
	fputc('"', w->f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(w->f, "\\%c", *s);
		else if ((u8)*s < ' ' || (u8)*s > '~')
			fputc('?', w->f);
		else
			fputc(*s, w->f);
	}
	fputc('"', w->f);
}

static void put_name(struct writer *w, const char *what, u32 pid, u32 tid, const char *name)
{
	begin(w, "M", pid, tid);
	fprintf(w->f, ",\"name\":\"%s\",\"args\":{\"name\":", what);
	put_text(w, name);
	fputs("}}", w->f);
}

static void put_args(struct writer *w, u32 kind, const u64 value[2])
{
	fputs(",\"args\":{", w->f);
	for (u32 i = 0; i < 2 && kinds[kind].arg[i].form != FORM_NONE; i++) {
		fprintf(w->f, "%s\"%s\":", i ? "," : "", kinds[kind].arg[i].name);
		switch (kinds[kind].arg[i].form) {
		case FORM_NONE:
		case FORM_NUMBER:
			fprintf(w->f, "%" PRIu64, value[i]);
			break;
		case FORM_ADDRESS:
			fprintf(w->f, "\"0x%" PRIx64 "\"", value[i]);
			break;
		case FORM_TEXT:
			put_text(w, (const char *)(uintptr_t)value[i]);
			break;
		}
	}
	fputs("}}", w->f);
}

/* Nanoseconds as microseconds. */
static void put_time(struct writer *w, const char *key, u64 ns)
{
	fprintf(w->f, ",\"%s\":%" PRIu64 ".%03u", key, ns / 1000, (u32)(ns % 1000));
}

static void put_at(struct writer *w, u64 clock)
{
	put_time(w, "ts", w->start.ns + (u64)((clock - w->start.clock) * w->ns_per_tick));
}

static void put_event(struct writer *w, u32 pid, u32 tid, const struct trace_entry *e)
{
	u32 kind = e->how >> TRACE_KIND_SHIFT;
	u64 ticks = e->how & ((1ULL << TRACE_KIND_SHIFT) - 1), value[2] = { e->a, e->b };

	begin(w, kinds[kind].moment ? "i" : "X", pid, tid);
	fprintf(w->f, ",\"cat\":\"%s\",\"name\":\"%s\"", kinds[kind].category, kinds[kind].name);
	put_at(w, e->at);
	if (kinds[kind].moment)
		fputs(",\"s\":\"t\"", w->f); /* it is this thread's alone */
	else
		put_time(w, "dur", (u64)(ticks * w->ns_per_tick));
	put_args(w, kind, value);
}

static void put_dropped(struct writer *w, u32 pid, u32 tid, u64 clock, u64 dropped)
{
	begin(w, "i", pid, tid);
	put_at(w, clock);
	fprintf(w->f,
		",\"s\":\"t\",\"cat\":\"trace\",\"name\":\"dropped\",\"args\":{\"events\":%" PRIu64
		"}}",
		dropped);
}

/* What took a while is written when it is over, behind what has happened in it. */
static int compare(const void *x, const void *y)
{
	const struct trace_entry *a = x, *b = y;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	/* What began at the same time and takes longer is around the other. */
	return (a->how << 8 < b->how << 8) - (a->how << 8 > b->how << 8);
}

/* The number of m[at]'s group: groups are counted as they appear. */
static u32 group_of(const struct trace_member *m, u32 at, bool *fresh)
{
	u32 first = 0, n = 1;

	while (strcmp(m[first].group, m[at].group) != 0)
		first++;
	*fresh = first == at;
	for (u32 i = 0; i < first; i++) {
		bool again = false;

		for (u32 j = 0; j < i; j++)
			again |= strcmp(m[i].group, m[j].group) == 0;
		n += !again;
	}
	return n;
}

static void put_track(struct writer *w, const struct trace_member *m, u32 at,
		      struct trace_entry *copy, struct trace_result *r)
{
	u64 dropped = 0;
	u32 n = m[at].ring ? trace_copy(m[at].ring, copy, &dropped) : 0, tid = at + 1, pid;
	bool fresh;

	qsort(copy, n, sizeof(*copy), compare);
	pid = group_of(m, at, &fresh);
	if (fresh)
		put_name(w, "process_name", pid, tid, m[at].group);
	put_name(w, "thread_name", pid, tid, m[at].name);
	if (dropped)
		put_dropped(w, pid, tid, n ? copy[0].at : w->start.clock, dropped);
	for (u32 i = 0; i < n; i++)
		put_event(w, pid, tid, &copy[i]);
	r->events += n;
	r->dropped += dropped;
}

int trace_write(FILE *f, const struct trace_member *m, u32 n, struct trace_instant start,
		struct trace_instant stop, struct trace_result *r)
{
	struct trace_entry *copy = calloc(TRACE_EVENTS, sizeof(*copy));
	struct writer w = { .f = f, .start = start };

	if (!copy)
		return -ENOMEM;
	if (stop.clock > start.clock)
		w.ns_per_tick = (double)(stop.ns - start.ns) / (stop.clock - start.clock);
	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", f);
	for (u32 i = 0; i < n && !ferror(f); i++)
		put_track(&w, m, i, copy, r);
	fprintf(f,
		"\n],\"otherData\":{\"clock\":\"CLOCK_MONOTONIC\",\"events\":%" PRIu64
		",\"dropped\":%" PRIu64 "}}\n",
		r->events, r->dropped);
	free(copy);
	errno = 0;
	if (fflush(f) || ferror(f))
		return errno ? -errno : -EIO;
	return 0;
}
