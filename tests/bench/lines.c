// SPDX-License-Identifier: MIT
/*
 * lines.c - how long a line of memory takes from processor 0 to processor 1 and back: prints nanoseconds.
 *
 * How it works: two threads, each bound to its processor, count up one word in turns.
 */
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define TURNS 200000

static _Alignas(64) uint32_t word;

static void bind_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		err(1, "processor %d", cpu);
}

/* Wait for each number of this parity, and answer with the next. */
static void play(uint32_t first)
{
	for (uint32_t i = first; i < 2 * TURNS; i += 2) {
		while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != i)
			;
		__atomic_store_n(&word, i + 1, __ATOMIC_RELEASE);
	}
}

static void *other(void *arg)
{
	(void)arg;
	bind_to(1);
	play(1);
	return NULL;
}

int main(void)
{
	struct timespec a, b;
	pthread_t thread;

	bind_to(0);
	if (pthread_create(&thread, NULL, other, NULL))
		errx(1, "no thread");
	clock_gettime(CLOCK_MONOTONIC, &a);
	play(0);
	pthread_join(thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	printf("%.0f\n", ((b.tv_sec - a.tv_sec) * 1e9 + b.tv_nsec - a.tv_nsec) / TURNS);
	return 0;
}
