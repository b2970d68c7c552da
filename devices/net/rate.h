/* SPDX-License-Identifier: MIT */
/*
 * rate.h - the clock of peer_rate(), for those who have another one (tests).
 */
#ifndef DEVICES_NET_RATE_H
#define DEVICES_NET_RATE_H

#include "minivmm/peer.h"

struct rate_clock {
	/* Nanoseconds since some time. Any thread. */
	u64 (*now)(const struct rate_clock *c);
	/* Let the timerfd become readable at this time; 0: not at all. Pair's loop. */
	void (*arm)(const struct rate_clock *c, int timerfd, u64 at);
};

/* peer_rate() with a clock, which outlives the peer. */
int peer_rate_by(struct peer **p, const struct peer_rate_options *o,
		 const struct rate_clock *clock);

#endif
