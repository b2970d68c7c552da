// SPDX-License-Identifier: MIT
/*
 * bucket.c - a token bucket. See bucket.h.
 */
#include "devices/net/bucket.h"

#define NSEC	  1000000000ULL
#define WORTH_PER 1000 /* a rate's thousandth: a millisecond */

void bucket_init(struct bucket *b, u64 rate, u64 burst, u64 now)
{
	*b = (struct bucket){ .rate = rate, .burst = burst, .n = burst, .filled = now };
}

static void fill(struct bucket *b, u64 now)
{
	unsigned __int128 part;

	if (now <= b->filled)
		return;
	part = (unsigned __int128)(now - b->filled) * b->rate + b->part;
	b->filled = now;
	if ((__int128)(part / NSEC) >= (__int128)b->burst - b->n) { /* the rest flows over */
		if (b->n < (int64_t)b->burst)
			b->n = b->burst;
		b->part = 0;
		return;
	}
	b->n += (int64_t)(part / NSEC);
	b->part = part % NSEC;
}

bool bucket_open(struct bucket *b, u64 now)
{
	if (!b->rate)
		return true;
	fill(b, now);
	return b->n > 0;
}

void bucket_take(struct bucket *b, u64 n)
{
	if (b->rate)
		b->n -= (int64_t)n;
}

void bucket_return(struct bucket *b, u64 n)
{
	if (b->rate)
		b->n += (int64_t)n;
}

u64 bucket_wake_at(const struct bucket *b)
{
	u64 worth = b->rate / WORTH_PER;
	unsigned __int128 need;

	if (worth > b->burst / 2)
		worth = b->burst / 2;
	if (!worth)
		worth = 1;
	if (b->n >= (int64_t)worth)
		return b->filled;
	need = (unsigned __int128)((int64_t)worth - b->n) * NSEC - b->part;
	return b->filled + (u64)((need + b->rate - 1) / b->rate);
}
