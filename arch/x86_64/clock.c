// SPDX-License-Identifier: MIT
/*
 * clock.c - the guest's clocks over a pause: kvmclock and the TSC.
 *
 * How it works: a Linux guest takes the time from kvmclock or, where the host's TSC is good, from its own
 * TSC. Both go on while no vCPU runs. So both are set back by the length of the pause before the guest
 * goes on:
 *
 *	kvmclock	KVM_GET_CLOCK at its beginning, KVM_SET_CLOCK at its end: one for the whole VM
 *	TSC		its distance from the host's (KVM_VCPU_TSC_OFFSET, Linux 5.16), less what the
 *			host's has counted meanwhile; all vCPUs by the same amount, so they stay in step
 *
 * KVM computes the first from the second, hence the order: TSCs first.
 *
 * A watchdog in the guest compares clocks of different kinds. KVM_KVMCLOCK_CTRL sets a flag beside the
 * guest's kvmclock by which it knows that it was stopped, and forgives.
 *
 * Guests without kvmclock, and a KVM that lacks one of these calls, do without: the time jumps.
 */
#include "minivmm/arch.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <x86intrin.h>

/* What older headers lack. */
#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL   0
#define KVM_VCPU_TSC_OFFSET 0
#endif

void arch_clock_hold(int vm_fd, struct arch_clock *c)
{
	struct kvm_clock_data data = { 0 };

	c->common = ioctl(vm_fd, KVM_GET_CLOCK, &data) == 0;
	c->guest = data.clock;
	c->counter = arch_clock_now();
}

u64 arch_clock_now(void)
{
	return __rdtsc();
}

void arch_vcpu_clock_release(int vcpu_fd, const struct arch_clock *c, u64 now)
{
	u64 offset;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	if (ioctl(vcpu_fd, KVM_GET_DEVICE_ATTR, &attr) == 0) {
		offset -= now - c->counter;
		ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr);
	}
	ioctl(vcpu_fd, KVM_KVMCLOCK_CTRL, 0);
}

void arch_clock_release(int vm_fd, const struct arch_clock *c)
{
	const struct kvm_clock_data data = { .clock = c->guest };

	if (c->common)
		ioctl(vm_fd, KVM_SET_CLOCK, &data);
}
