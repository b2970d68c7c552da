/* SPDX-License-Identifier: MIT */
/*
 * now.h - the time that has passed: CLOCK_MONOTONIC. Any thread.
 */
#ifndef MINIVMM_NOW_H
#define MINIVMM_NOW_H

#include "minivmm/base.h"

#include <time.h>

/* Nanoseconds. */
static inline u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static inline u64 now_ms(void)
{
	return now_ns() / 1000000;
}

#endif
