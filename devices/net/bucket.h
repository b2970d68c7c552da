/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - a token bucket: it fills at a rate, up to `burst`, and what passes takes tokens out of it.
 *
 * How it works: something may pass while there is a token, and then takes as many as it is large, if
 * need be more than there are: the bucket goes into debt, and nothing passes until that is paid. So
 * a size need not be known beforehand, and one beyond the burst passes, too. In the long run the rate
 * is kept to the token.
 *
 * Times are nanoseconds of a clock that never goes back. The caller has the lock.
 */
#ifndef DEVICES_NET_BUCKET_H
#define DEVICES_NET_BUCKET_H

#include "minivmm/base.h"

struct bucket {
	u64 rate;   /* tokens a second; 0: no limit */
	u64 burst;  /* tokens at most, 1 at least */
	int64_t n;  /* tokens; negative: debt */
	u64 filled; /* the time at which it was filled last */
	u64 part;   /* of a token that had come by then, in billionths */
};

/* A full one. */
void bucket_init(struct bucket *b, u64 rate, u64 burst, u64 now);

/* Is there a token? */
bool bucket_open(struct bucket *b, u64 now);

/* Take `n` tokens out, or put them back. */
void bucket_take(struct bucket *b, u64 n);
void bucket_return(struct bucket *b, u64 n);

/*
 * The time at which to look again, while it is not open: when there are enough tokens that waking up is
 * worth while, for a millisecond's or half of a burst.
 */
u64 bucket_wake_at(const struct bucket *b);

#endif
