// SPDX-License-Identifier: MIT
/*
 * trace.c - the events of a trace, from when they happen until a file is made of them. See trace.h.
 *
 * How it works: a track's ring has one writer, the thread to which the track belongs, and at times one reader.
 *
 *	written: 0 1 2 ...	  done - size		  done
 *		 ── gone ──────────────┤ the ring's places ├── the one that is being written takes the oldest's place
 *
 * The writer fills in the place and then counts `done` up. It never looks whether anybody reads. The reader takes
 * `done`, copies, and takes `done` again: by then the writer may be at event `done`, and not beyond, so what is as
 * old as event done - size or older may have been overwritten while it was copied, and is dropped.
 *
 * Barriers. Each word of an event is stored with release and loaded with acquire:
 *
 *	writer	done = n, then the words of event n	| reader: the words, then done
 *
 * A reader that sees a word of event n thus sees that n have been done, and drops the event whose place it took.
 * And `done` itself:
 *
 *	writer	the words of event n, then done = n + 1	| reader: done, then the words
 *
 * On x86-64 all of these are plain loads and stores.
 *
 * A stop takes the rings off the tracks. A thread that was just about to write may do so a little later: hence a
 * ring is kept until trace_destroy(), and the reader needs no writer to have stopped.
 *
 * Threads: events are written on the track's; the file is written by a thread of its own, `trace`, so that nobody
 * waits for the host's disk; all else is the main loop's.
 */
#include "minivmm/trace.h"
#include "vmm/trace_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(TRACE_KINDS < 1 << (64 - TRACE_KIND_SHIFT), "a kind has room");

#define PLACE(n) ((n) & (TRACE_EVENTS - 1))

struct trace_ring {
	u64 done;  /* events ever written; the writer's */
	u64 first; /* as it was at the start; the main loop's */
	u64 since; /* when that was */
	struct trace_entry place[TRACE_EVENTS];
};

struct trace {
	void (*written)(void *arg);
	void *arg;
	struct trace_member *member;
	u32 n;

	/* Of the trace that runs, or whose file is being written; the writing thread's meanwhile. */
	char *path; /* NULL: there has been none */
	int fd;	    /* -1: none is open */
	bool made;  /* that file, by us */
	struct trace_instant start, stop;
	struct trace_result result;

	bool runs, writes; /* the main loop's */
	pthread_t thread;  /* with `writes` */
};

/* ---- events ---- */

static void put_word(u64 *to, u64 value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static u64 get_word(const u64 *from)
{
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline void write_event(struct trace_track *t, enum trace_kind kind, u64 at, u64 ticks,
			       u64 a, u64 b)
{
	/* Pairs with attach(): what the ring is like from the start on. */
	struct trace_ring *ring = __atomic_load_n(&t->ring, __ATOMIC_ACQUIRE);
	struct trace_entry *e;
	u64 n;

	if (!ring)
		return; /* stopped in between */
	n = __atomic_load_n(&ring->done, __ATOMIC_RELAXED);
	e = &ring->place[PLACE(n)];
	put_word(&e->at, at);
	put_word(&e->how,
		 (u64)kind << TRACE_KIND_SHIFT | (ticks & ((1ULL << TRACE_KIND_SHIFT) - 1)));
	put_word(&e->a, a);
	put_word(&e->b, b);
	put_word(&ring->done, n + 1);
}

void trace_moment(struct trace_track *t, enum trace_kind kind, u64 a, u64 b)
{
	write_event(t, kind, trace_clock(), 0, a, b);
}

void trace_while(struct trace_track *t, enum trace_kind kind, u64 began, u64 a, u64 b)
{
	u64 now = trace_clock();

	write_event(t, kind, began, now > began ? now - began : 0 /* processors may differ */, a,
		    b);
}

u32 trace_copy(struct trace_ring *ring, struct trace_entry *to, u64 *dropped)
{
	u64 end = get_word(&ring->done), begin, kept;
	u32 n = 0;

	begin = end > TRACE_EVENTS ? end - TRACE_EVENTS : 0;
	if (begin < ring->first)
		begin = ring->first;
	for (u64 i = begin; i < end; i++) {
		const struct trace_entry *e = &ring->place[PLACE(i)];

		to[i - begin] = (struct trace_entry){
			.at = get_word(&e->at),
			.how = get_word(&e->how),
			.a = get_word(&e->a),
			.b = get_word(&e->b),
		};
	}
	kept = get_word(&ring->done); /* after the words */
	kept = kept >= TRACE_EVENTS ? kept - TRACE_EVENTS + 1 : 0;
	if (kept < begin)
		kept = begin;
	if (kept > end)
		kept = end;
	*dropped += kept - ring->first;
	for (u64 i = kept; i < end; i++) {
		/* Not what came late for the trace before this one. */
		if (to[i - begin].at >= ring->since)
			to[n++] = to[i - begin];
	}
	return n;
}

/* ---- start and stop ---- */

/* Now, on both clocks: of some tries the one that was not interrupted. */
static struct trace_instant now(void)
{
	struct trace_instant best = { 0 };
	u64 least = ~0ULL;

	for (u32 i = 0; i < 5; i++) {
		u64 before = trace_clock(), took;
		struct timespec t;

		clock_gettime(CLOCK_MONOTONIC, &t);
		took = trace_clock() - before;
		if (took >= least)
			continue;
		least = took;
		best = (struct trace_instant){ before + took / 2,
					       t.tv_sec * 1000000000ULL + t.tv_nsec };
	}
	return best;
}

int trace_create(struct trace **out, void (*written)(void *arg), void *arg)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->written = written;
	t->arg = arg;
	t->fd = -1;
	*out = t;
	return 0;
}

int trace_add(struct trace *t, struct trace_track *track, const char *group, const char *name)
{
	struct trace_member *member = reallocarray(t->member, t->n + 1, sizeof(*member));

	if (!member)
		return -ENOMEM;
	t->member = member;
	member += t->n++;
	*member = (struct trace_member){ .track = track };
	snprintf(member->group, sizeof(member->group), "%s", group);
	snprintf(member->name, sizeof(member->name), "%s", name);
	return 0;
}

/* A file that was there before. What is no file could keep us waiting, or be set off by being opened; who owns it reads
 * it. Returns it or -errno. */
static int open_old(const char *path)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), file = -EINVAL;
	char again[40];
	struct stat st;

	if (fd < 0)
		return -errno;
	snprintf(again, sizeof(again), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid()) {
		file = open(again, O_WRONLY | O_CLOEXEC);
		file = file < 0 ? -errno : file;
	}
	close(fd);
	return file;
}

/* The file, and whether it is a new one, or -errno and why. */
static int open_file(const char *path, bool *made, char *why, size_t size)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_CREAT | O_EXCL, 0600);

	*made = fd >= 0;
	if (fd < 0)
		fd = errno == EEXIST ? open_old(path) : -errno;
	if (fd < 0)
		snprintf(why, size, "%s",
			 fd == -EINVAL ? "that is no regular file of yours" : strerror(-fd));
	return fd;
}

int trace_open(struct trace *t, const char *path, char *why, size_t size)
{
	char *copy;
	bool made;
	int fd;

	if (t->writes || t->fd >= 0) { /* while it writes, the file is its thread's */
		snprintf(why, size, "there is a trace already, to %s", t->path);
		return -EBUSY;
	}
	fd = open_file(path, &made, why, size);
	if (fd < 0)
		return fd;
	copy = strdup(path);
	if (!copy) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		close(fd);
		return -ENOMEM;
	}
	free(t->path);
	t->path = copy;
	t->fd = fd;
	t->made = made;
	return 0;
}

/* It has come to nothing. */
static void close_file(struct trace *t)
{
	if (t->fd < 0)
		return;
	close(t->fd);
	t->fd = -1;
	if (t->made)
		unlink(t->path);
}

/* A ring for each. They stay until the end. */
static int make_rings(struct trace *t)
{
	for (u32 i = 0; i < t->n; i++) {
		struct trace_member *m = &t->member[i];

		if (!m->ring)
			m->ring = calloc(
				1, sizeof(*m->ring)); /* pages that are not used cost nothing */
		if (!m->ring)
			return -ENOMEM;
	}
	return 0;
}

static void attach(struct trace *t)
{
	for (u32 i = 0; i < t->n; i++) {
		struct trace_member *m = &t->member[i];

		m->ring->first = get_word(&m->ring->done);
		m->ring->since = t->start.clock;
		__atomic_store_n(&m->track->ring, m->ring, __ATOMIC_RELEASE);
	}
}

int trace_start(struct trace *t, char *why, size_t size)
{
	if (make_rings(t)) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		close_file(t);
		return -ENOMEM;
	}
	t->runs = true;
	t->start = now();
	attach(t);
	return 0;
}

static int write_file(struct trace *t)
{
	FILE *f;
	int err;

	if (ftruncate(t->fd, 0) < 0)
		return -errno;
	f = fdopen(t->fd, "w");
	if (!f)
		return -errno;
	t->fd = -1; /* f has it */
	err = trace_write(f, t->member, t->n, t->start, t->stop, &t->result);
	if (fclose(f) && !err)
		err = -errno;
	return err;
}

static void *write_thread(void *arg)
{
	struct trace *t = arg;

	t->result.err = write_file(t);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	t->written(t->arg);
	return NULL;
}

int trace_stop(struct trace *t)
{
	if (!t->runs)
		return -ENOENT;
	for (u32 i = 0; i < t->n; i++)
		__atomic_store_n(&t->member[i].track->ring, NULL, __ATOMIC_RELEASE);
	t->stop = now();
	t->runs = false;
	t->writes = true;
	t->result = (struct trace_result){ .path = t->path };
	if (pthread_create(&t->thread, NULL, write_thread, t)) {
		t->writes = false;
		write_thread(t); /* then somebody has to wait */
		return 0;
	}
	pthread_setname_np(t->thread, "trace");
	return 0;
}

bool trace_runs(const struct trace *t)
{
	return t->runs;
}

bool trace_wait(struct trace *t, struct trace_result *r)
{
	if (t->writes)
		pthread_join(t->thread, NULL);
	else if (!t->result.path)
		return false;
	t->writes = false;
	*r = t->result;
	t->result.path = NULL;
	return true;
}

void trace_destroy(struct trace *t)
{
	struct trace_result r;

	if (!t)
		return;
	trace_wait(t, &r);
	if (t->runs && t->fd >= 0)
		close(t->fd);
	else
		close_file(t);
	for (u32 i = 0; i < t->n; i++)
		free(t->member[i].ring);
	free(t->member);
	free(t->path);
	free(t);
}
