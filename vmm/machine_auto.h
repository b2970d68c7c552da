/* SPDX-License-Identifier: MIT */
/*
 * machine_auto.h - network devices that change their data path without being told to.
 *
 * Threads: the main loop's.
 */
#ifndef VMM_MACHINE_AUTO_H
#define VMM_MACHINE_AUTO_H

#include "minivmm/base.h"

struct machine;
struct peer;

/* Before the devices are made: begin. Returns 0 or -errno. */
int machine_begin_auto(struct machine *m);

/* `peer` stands for what the vhost-user back end of device `i` is connected to: when that has gone, somebody else is to
 * serve the device. */
void machine_watch_back_end(struct machine *m, u32 i, struct peer *peer);

/* The devices are gone. */
void machine_end_auto(struct machine *m);

#endif
