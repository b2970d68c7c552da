/* SPDX-License-Identifier: MIT */
/*
 * latency.h - a load's times, and the line in which it tells them:
 *
 *	ops=N us=T p50=.. p99=.. p999=.. q=..
 *
 * `us` is the time of all in microseconds; q, for a curve, the times that 1, 5, 10, 20, ..., 90, 95, 99, 99.5 and
 * 99.9 per cent of the operations did not exceed, with semicolons between them.
 */
#ifndef TESTS_BENCH_LATENCY_H
#define TESTS_BENCH_LATENCY_H

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LATENCIES_MAX (1 << 22) /* the first ones; there are no more in some seconds */

struct latencies {
	float *us;
	uint64_t n; /* all, also those that are not kept */
};

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline void latencies_init(struct latencies *l)
{
	l->us = malloc(LATENCIES_MAX * sizeof(*l->us)); /* touched only as far as it is used */
	if (!l->us)
		err(1, "memory");
	l->n = 0;
}

static inline void latencies_add(struct latencies *l, uint64_t ns)
{
	if (l->n < LATENCIES_MAX)
		l->us[l->n] = ns / 1e3;
	l->n++;
}

static inline int latencies_compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static inline void latencies_print(struct latencies *l, uint64_t ns)
{
	static const double part[] = { .01, .05, .1, .2,  .3,  .4,   .5,  .6,
				       .7,  .8,	 .9, .95, .99, .995, .999 };
	uint64_t n = l->n < LATENCIES_MAX ? l->n : LATENCIES_MAX;

	if (!n)
		errx(1, "not one operation was done");
	qsort(l->us, n, sizeof(*l->us), latencies_compare);
#define LATENCY_AT(p) l->us[(uint64_t)((n - 1) * (p))]
	printf("ops=%llu us=%.0f p50=%.2f p99=%.2f p999=%.2f q=", (unsigned long long)l->n,
	       ns / 1e3, LATENCY_AT(.5), LATENCY_AT(.99), LATENCY_AT(.999));
	for (unsigned i = 0; i < sizeof(part) / sizeof(*part); i++)
		printf("%s%.2f", i ? ";" : "", LATENCY_AT(part[i]));
	printf("\n");
#undef LATENCY_AT
}

#endif
