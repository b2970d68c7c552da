/* SPDX-License-Identifier: MIT */
/*
 * machine_switch.h - the data paths that a network device or disk can be moved to while the guest runs.
 *
 * Threads: the main loop's.
 */
#ifndef VMM_MACHINE_SWITCH_H
#define VMM_MACHINE_SWITCH_H

#include "minivmm/base.h"
#include "minivmm/virtio.h"

struct machine;

/*
 * Device `i`, which has just been made with `switch=` and m->tap[i] or m->image[i], is to offer only what each of the
 * data paths can serve, and to begin with the one that the configuration says. Returns 0, or -errno after a message; then
 * the device is freed.
 */
int machine_begin_switching(struct machine *m, u32 i, struct virtio_dev *v);

/*
 * Move device `i` to the data path called `to`; vhost-user: at the back end that listens at `socket`, or, if that is
 * NULL, in a process of our own. Returns 0; or -errno and the reason in `why`, and nothing has changed.
 */
int machine_switch(struct machine *m, u32 i, const char *to, const char *socket,
		   struct virtio_switch *s, char *why, size_t size);

/* The devices are gone: free what belonged to their data paths. */
void machine_end_switching(struct machine *m);

#endif
