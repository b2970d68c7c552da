// SPDX-License-Identifier: MIT
/*
 * auto_path.c - see auto_path.h.
 */
#include "vmm/auto_path.h"

#define MS_A_SECOND 1000

/* How long it has been so, if it is. */
static u32 lasting(u32 before, bool now, u32 ms)
{
	if (!now)
		return 0;
	return before > ~0U - ms ? ~0U : before + ms;
}

enum auto_advice auto_path_step(struct auto_state *s, const struct auto_limits *l, bool offloaded,
				u64 frames, u32 ms)
{
	u64 rate = frames > ~0ULL / MS_A_SECOND ? ~0ULL : frames * MS_A_SECOND / ms;

	s->busy_ms = lasting(s->busy_ms, rate >= l->up, ms);
	s->idle_ms = lasting(s->idle_ms, rate < l->down, ms);
	s->wait_ms = s->wait_ms > ms ? s->wait_ms - ms : 0;
	if (s->wait_ms)
		return AUTO_STAY;
	if (!offloaded && s->busy_ms >= AUTO_BUSY_MS)
		return AUTO_OFFLOAD;
	if (offloaded && s->idle_ms >= AUTO_IDLE_MS)
		return AUTO_RETURN;
	return AUTO_STAY;
}

void auto_path_failed(struct auto_state *s)
{
	*s = (struct auto_state){ .wait_ms = AUTO_RETRY_MS };
}
