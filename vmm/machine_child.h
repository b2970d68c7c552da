/* SPDX-License-Identifier: MIT */
/*
 * machine_child.h - devices in processes of their own that minivmm starts itself.
 *
 * Threads: the main loop's.
 */
#ifndef VMM_MACHINE_CHILD_H
#define VMM_MACHINE_CHILD_H

#include "minivmm/base.h"

struct device_config;
struct image;
struct machine;
struct peer;
struct vhost_user_process;

/*
 * The process of the disk or network device `d`, with the image, tap or user-mode network that the device
 * is to have; not started yet. It is the machine's. In *mtu, that of what the device is connected to. Return
 * 0, or -errno after a message.
 */
int machine_child_disk(struct machine *m, const struct device_config *d,
		       struct vhost_user_process **p);
int machine_child_net(struct machine *m, const struct device_config *d,
		      struct vhost_user_process **p, u16 *mtu);

/* Likewise, for a device with this peer, a tap, or this image, which outlives the process. We and the process do not
 * use it at the same time. */
int machine_child_image(struct machine *m, const struct device_config *d, struct image *image,
			struct vhost_user_process **p);
int machine_child_tap(struct machine *m, const struct device_config *d, struct peer *tap,
		      struct vhost_user_process **p);

/* End it: its device has another data path. */
void machine_end_child(struct machine *m, struct vhost_user_process *p);

/* The device could not be made, for `err`: say why if it is the process that has gone without a word. */
void machine_explain_child(struct vhost_user_process *p, int err);

/* Wait for all of them to end. Their devices are gone. */
void machine_end_children(struct machine *m);

#endif
