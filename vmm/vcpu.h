/* SPDX-License-Identifier: MIT */
/*
 * vcpu.h - the guest's processors, a thread each.
 */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H

#include "minivmm/base.h"

#include <sys/types.h>

struct boot_entry;
struct machine;
struct vcpus;

/*
 * Make all vCPUs of machine `m`'s VM on threads of their own, parked. It returns while they still
 * set themselves up; vcpus_start() waits for that. Returns 0 or -errno after a message.
 */
int vcpus_create(struct vcpus **out, struct machine *m);

/* Wait until all are there and put the first at `entry`; they stay parked until vcpus_resume(). Returns 0
 * or -errno after a message. */
int vcpus_start(struct vcpus *v, const struct boot_entry *entry);

/* Any thread, a vCPU's too: each vCPU stops before its next instruction in the guest. Does not wait
 * for that: when all have, machine_parked() is called, by the last one's thread. */
void vcpus_request_pause(struct vcpus *v);

/* The same, for good. */
void vcpus_request_end(struct vcpus *v);

/* After a request to pause: have all parked? Then the guest's clocks are held from now on. Main loop's
 * thread. */
bool vcpus_hold(struct vcpus *v);

/* Let them run, with clocks that go on from where they were held; but not after an end. Main loop's
 * thread. */
void vcpus_resume(struct vcpus *v);

/* Why a vCPU came back from KVM_RUN to this process. */
enum vcpu_exit {
	VCPU_EXIT_PIO_READ,
	VCPU_EXIT_PIO_WRITE,
	VCPU_EXIT_MMIO_READ,
	VCPU_EXIT_MMIO_WRITE,
	VCPU_EXIT_SIGNAL, /* a request to pause, for example */
	VCPU_EXIT_OTHER,
	VCPU_EXITS
};

struct vcpu_stats {
	pid_t tid; /* of its thread */
	u64 exits[VCPU_EXITS];
};

/* What vCPU `i` has done since it was made; and for kvm_stats_each(), or -1. After vcpus_start(), any
 * thread. */
void vcpus_stats(const struct vcpus *v, u32 i, struct vcpu_stats *s);
int vcpus_stats_fd(const struct vcpus *v, u32 i);

/* End all vCPU threads, running or parked, and free them. NULL is allowed. */
void vcpus_destroy(struct vcpus *v);

#endif
