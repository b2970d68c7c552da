/* SPDX-License-Identifier: MIT */
/*
 * auto_path.h - when should a network device change its data path by itself? The policy alone, as a pure
 * function: vmm/machine_auto.c counts the frames and does what it says.
 *
 * Many frames are cheaper in the kernel's hands. Few are as well served by our own event loop, which filters and
 * counts them, and the kernel's worker is given back. So
 *
 *	in-process ──── `up` frames a second or more, for AUTO_BUSY_MS ────> vhost-net
 *	           <─── less than `down` a second, for AUTO_IDLE_MS ────────
 *
 * Between the two thresholds nothing changes, nor does a burst or a lull that is shorter. When a switch has failed the
 * next one is tried AUTO_RETRY_MS later.
 */
#ifndef VMM_AUTO_PATH_H
#define VMM_AUTO_PATH_H

#include "minivmm/base.h"

#define AUTO_BUSY_MS  1000
#define AUTO_IDLE_MS  5000
#define AUTO_RETRY_MS 10000

/* Frames a second, both directions together. */
#define AUTO_UP_DEFAULT	  20000
#define AUTO_DOWN_DEFAULT 2000

struct auto_limits {
	u32 up, down; /* down < up */
};

/* Zeroed at the start, and whenever the data path has changed. */
struct auto_state {
	u32 busy_ms; /* for so long `up` or more */
	u32 idle_ms; /* for so long less than `down` */
	u32 wait_ms; /* so long nothing is to be tried */
};

enum auto_advice { AUTO_STAY, AUTO_OFFLOAD, AUTO_RETURN };

/* In the last `ms` milliseconds (1 or more) `frames` went through the device, which the kernel serves, or
 * (`offloaded` is false) we. What should be done now? */
enum auto_advice auto_path_step(struct auto_state *s, const struct auto_limits *l, bool offloaded,
				u64 frames, u32 ms);

/* That could not be done. */
void auto_path_failed(struct auto_state *s);

#endif
