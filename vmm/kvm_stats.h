/* SPDX-License-Identifier: MIT */
/*
 * kvm_stats.h - what KVM counts for a virtual machine and for each vCPU (Linux 5.14,
 * Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
 */
#ifndef VMM_KVM_STATS_H
#define VMM_KVM_STATS_H

#include "minivmm/base.h"

struct kvm_stat {
	const char *name;
	u32 flags;	 /* KVM_STATS_TYPE_..., KVM_STATS_UNIT_..., KVM_STATS_BASE_... */
	int exponent;	 /* of the base, by which a value is to be multiplied */
	u32 bucket_size; /* of a linear histogram */
	u32 n;		 /* values: more than one in a histogram */
	const u64 *value;
};

/*
 * The statistics of `fd`, a VM's or a vCPU's: a file descriptor to be closed, or -1: this KVM has none. A
 * vCPU's own thread: any other would wait for as long as the vCPU is in the guest.
 */
int kvm_stats_open(int fd);

/*
 * Call each() for all that is in `stats`; what it is given is gone when it returns. Any thread; waits for
 * nobody. Returns 0 or -errno.
 */
int kvm_stats_each(int stats, void (*each)(void *ctx, const struct kvm_stat *s), void *ctx);

#endif
