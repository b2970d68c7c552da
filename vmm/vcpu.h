/* SPDX-License-Identifier: MIT */
/*
 * vcpu.h - the guest's processors, a thread each.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "minivmm/base.h"

struct boot_entry;
struct machine;
struct vcpus;

/*
 * Make all vCPUs of machine `m`'s VM on threads of their own, parked. It returns while they still
 * set themselves up; vcpus_start() waits for that. Returns 0 or -errno after a message.
 */
int vcpus_create(struct vcpus **out, struct machine *m);

/* Wait until all are there, put the first at `entry`, let them run. Returns 0 or -errno after a
 * message. */
int vcpus_start(struct vcpus *v, const struct boot_entry *entry);

/* Any thread, a vCPU's too: each vCPU stops before its next instruction in the guest. Does not wait
 * for that. */
void vcpus_request_pause(struct vcpus *v);

/* End all vCPU threads, running or parked, and free them. NULL is allowed. */
void vcpus_destroy(struct vcpus *v);

#endif
