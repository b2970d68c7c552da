// SPDX-License-Identifier: MIT
/*
 * ring.c - what a chain costs on the device's side of a virtqueue: vq_get, vq_put, vq_publish.
 *
 *	ring [--rounds N] [--no-callgrind]
 *
 * How it works: no guest and no second thread. A driver (tests/lib/ring_driver.h) in the same thread
 * makes chains available, outside of the time taken; then serve() takes them off in batches, and
 * that is timed. Each chain has two segments, one to read and one to write; its data is not touched.
 * Interrupts are suppressed.
 *
 * A row is one kind of ring. A round measures all rows one after the other, ROUND_CHAINS chains each,
 * so that a machine which gets slower for a while does so for all. What is told is the median of the
 * rounds, and the 10th and 90th percentiles.
 *
 * With valgrind on the machine each row is run once more under callgrind, which counts the
 * instructions inside of serve(). Its run is this program with --row.
 */
#include "minivmm/mem.h"
#include "tests/lib/ring_driver.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX   1000
#define ROUND_CHAINS 16384
#define COUNT_CHAINS 65536 /* under callgrind */
#define BATCH_MAX    32
#define IN_FLIGHT    64 /* chains available at a time, unless all that fit */

struct row {
	bool packed, indirect;
	u16 batch, size;
	bool full;  /* all the chains that fit are available at a time */
	bool trace; /* it runs: an event a batch */

	struct mem mem;
	struct ring_driver ring;
	struct vq q;
	double ns[ROUNDS_MAX];
};

static struct row rows[] = {
	/* batch 1 and 32 */
	{ .packed = false, .indirect = false, .batch = 1, .size = 256 },
	{ .packed = false, .indirect = true, .batch = 1, .size = 256 },
	{ .packed = true, .indirect = false, .batch = 1, .size = 256 },
	{ .packed = true, .indirect = true, .batch = 1, .size = 256 },
	{ .packed = false, .indirect = false, .batch = 32, .size = 256 },
	{ .packed = false, .indirect = true, .batch = 32, .size = 256 },
	{ .packed = true, .indirect = false, .batch = 32, .size = 256 },
	{ .packed = true, .indirect = true, .batch = 32, .size = 256 },
	/* ... with a trace */
	{ .packed = false, .indirect = false, .batch = 1, .size = 256, .trace = true },
	{ .packed = true, .indirect = false, .batch = 1, .size = 256, .trace = true },
	{ .packed = false, .indirect = false, .batch = 32, .size = 256, .trace = true },
	{ .packed = true, .indirect = false, .batch = 32, .size = 256, .trace = true },
	/* queue sizes */
	{ .packed = false, .indirect = false, .batch = 32, .size = 1024 },
	{ .packed = false, .indirect = true, .batch = 32, .size = 1024 },
	{ .packed = true, .indirect = false, .batch = 32, .size = 1024 },
	{ .packed = true, .indirect = true, .batch = 32, .size = 1024 },
	{ .packed = false, .indirect = false, .batch = 32, .size = 4096 },
	{ .packed = false, .indirect = true, .batch = 32, .size = 4096 },
	{ .packed = true, .indirect = false, .batch = 32, .size = 4096 },
	{ .packed = true, .indirect = true, .batch = 32, .size = 4096 },
	{ .packed = false, .indirect = false, .batch = 32, .size = 32768 },
	{ .packed = false, .indirect = true, .batch = 32, .size = 32768 },
	{ .packed = true, .indirect = false, .batch = 32, .size = 32768 },
	{ .packed = true, .indirect = true, .batch = 32, .size = 32768 },
	/* ... with the whole ring made available before the device begins: out of the caches */
	{ .packed = false, .indirect = false, .batch = 32, .size = 32768, .full = true },
	{ .packed = false, .indirect = true, .batch = 32, .size = 32768, .full = true },
	{ .packed = true, .indirect = false, .batch = 32, .size = 32768, .full = true },
	{ .packed = true, .indirect = true, .batch = 32, .size = 32768, .full = true },
};

static void nothing(void *arg)
{
	(void)arg;
}

/* The trace gets no file: it is not stopped. */
static void begin_trace(struct row *r)
{
	char path[] = "/tmp/minivmm-ring-XXXXXX", why[160];
	struct trace *t;
	int fd = mkstemp(path);

	if (fd < 0 || trace_create(&t, nothing, NULL) ||
	    trace_add(t, &r->q.track, "ring", "queue") || trace_open(t, path, why, sizeof(why)) ||
	    trace_start(t, why, sizeof(why)))
		errx(1, "no trace");
	close(fd);
	unlink(path);
}

static void row_open(struct row *r)
{
	struct vq_cfg cfg = {
		.size = r->size, .packed = r->packed, .indirect = r->indirect, .event_idx = true
	};

	mem_init(&r->mem);
	if (mem_add_ram(&r->mem, 0, 64 * MIB, false) ||
	    ring_driver_init(&r->ring, &r->mem, MIB, &cfg) ||
	    vq_start(&r->q, &r->mem, &r->ring.cfg, vq_pos_initial(cfg.packed), -1))
		errx(1, "no ring of %u descriptors", r->size);
	ring_calls(&r->ring, RING_CALLS_OFF, 0);
	if (r->trace)
		begin_trace(r);
}

/* The device: take `n` chains off in batches. callgrind counts in here. */
__attribute__((noinline)) static void serve(struct vq *q, u32 n, u32 batch)
{
	static struct iovec iov[BATCH_MAX][2];
	struct vq_chain c[BATCH_MAX];

	while (n) {
		u32 got = 0;

		while (got < batch && n) {
			c[got].iov = iov[got];
			c[got].max = 2;
			if (vq_get(q, &c[got]) <= 0)
				errx(1, "a chain is missing: %s", q->broken ? q->broken : "?");
			got++;
			n--;
		}
		for (u32 i = 0; i < got; i++)
			vq_put(q, &c[i], c[i].in_len);
		vq_publish(q);
	}
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* What reading the clock twice adds to a time: the least ever seen. */
static u64 clock_cost(void)
{
	u64 least = ~0ULL;

	for (int i = 0; i < 10000; i++) {
		u64 start = now(), t = now() - start;

		if (t < least)
			least = t;
	}
	return least;
}

/* Pass `n` chains through the ring; returns the ns that the device took. */
static u64 pass(struct row *r, u32 n, u64 clock)
{
	static const struct ring_buf buf[2] = { { .gpa = 0x1000, .len = 64 },
						{ .gpa = 0x2000, .len = 512 } };
	u64 sum = 0;

	while (n) {
		u32 added = 0, len;
		u64 start;

		while (added < n && (r->full || added < IN_FLIGHT) &&
		       ring_add(&r->ring, buf, 1, 1, r->indirect) >= 0)
			added++;
		ring_publish(&r->ring);
		start = now();
		serve(&r->q, added, r->batch);
		sum += now() - start - clock;
		while (ring_get(&r->ring, &len) >= 0)
			;
		ring_calls(&r->ring, RING_CALLS_OFF, 0); /* its word on that goes stale */
		n -= added;
	}
	return sum;
}

/* Instructions a chain in row `i`, or -1. */
static double instructions(u32 i)
{
	char command[512], line[256], self[256];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	double count = -1;
	FILE *f;

	if (len < 0)
		return -1;
	self[len] = '\0';
	snprintf(command, sizeof(command),
		 "valgrind --tool=callgrind --callgrind-out-file=/dev/null "
		 "--toggle-collect=serve '%s' --row %u 2>&1",
		 self, i);
	f = popen(command, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, "Collected : ");

		if (at)
			count = strtod(at + strlen("Collected : "), NULL) / COUNT_CHAINS;
	}
	if (f)
		pclose(f);
	return count;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void tell(u32 i, u32 rounds, bool callgrind)
{
	struct row *r = &rows[i];
	double count = callgrind ? instructions(i) : -1;

	qsort(r->ns, rounds, sizeof(*r->ns), compare);
	printf("%-6s  %-8s  %5u  %5u  %9s  %5s  %6.1f  %5.1f - %-5.1f",
	       r->packed ? "packed" : "split", r->indirect ? "indirect" : "direct", r->batch,
	       r->size, r->full ? "all" : "64", r->trace ? "on" : "off", r->ns[rounds / 2],
	       r->ns[rounds / 10], r->ns[rounds * 9 / 10]);
	if (count >= 0)
		printf("  %9.1f", count);
	printf("\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	bool callgrind = system("valgrind --version > /dev/null 2>&1") == 0;
	u32 rounds = 31;
	u64 clock = clock_cost();

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--row") == 0 && i + 1 < argc) {
			u32 n = atoi(argv[i + 1]) % ARRAY_SIZE(rows);

			row_open(&rows[n]);
			pass(&rows[n], COUNT_CHAINS, 0);
			return 0;
		} else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
			rounds = atoi(argv[++i]);
		} else if (strcmp(argv[i], "--no-callgrind") == 0) {
			callgrind = false;
		} else {
			rounds = 0;
		}
	}
	if (!rounds || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: ring [--rounds N] [--no-callgrind]\n");
		return 2;
	}

	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		row_open(&rows[i]);
	for (u32 round = 0; round <= rounds; round++) { /* the first one warms up */
		for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
			u64 ns = pass(&rows[i], ROUND_CHAINS, clock);

			rows[i].ns[round ? round - 1 : 0] = (double)ns / ROUND_CHAINS;
		}
	}
	printf("chains of 2 descriptors, %u rounds; reading the clock (%lu ns) is taken off\n\n"
	       "                                                    ns a chain         %s\n"
	       "ring    chains    batch   size  in flight  trace  median    10%% - 90%%%s\n",
	       rounds, (unsigned long)clock, callgrind ? "  instructions" : "",
	       callgrind ? "     a chain" : "");
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		tell(i, rounds, callgrind);
	return 0;
}
