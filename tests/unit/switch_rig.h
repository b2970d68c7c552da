/* SPDX-License-Identifier: MIT */
/*
 * switch_rig.h - real data paths for a device of a test's, and the switch from one to another: in-process, the
 * kernel's vhost-net, and `minivmm device` in a process of its own.
 */
#ifndef TESTS_UNIT_SWITCH_RIG_H
#define TESTS_UNIT_SWITCH_RIG_H

#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/peer.h"
#include "tests/unit/virtio_driver.h"

enum path_kind { PATH_INPROC, PATH_VHOST_USER, PATH_VHOST_NET };
extern const char *const path_names[];

/* What all the data paths of the device are connected to: one of these. */
struct path_world {
	struct vdrv *d;
	struct peer *tap;
	struct image *image;
	bool packed;
};

/* Why there can be none of this kind here, or NULL. */
const char *path_missing(enum path_kind kind);

/* Have the device, not begun yet, offer only what this kind can serve, too. */
void path_limit(const struct path_world *w, enum path_kind kind);

/* Have it served by one of this kind from now on, in the way the program does. The main loop runs. Returns the time that
 * it took; it waits for what only the old path can finish. */
struct virtio_switch path_switch(const struct path_world *w, enum path_kind kind);

/* The device has gone, and its path with it. */
void path_end(void);

#endif
