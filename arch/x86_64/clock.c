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
 * The two must agree afterwards as before: a guest that sees them drift apart, by 0.1 ms in half a second,
 * gives up its TSC for good. So each reading is a pair of both at one moment. KVM_GET_CLOCK tells the TSC
 * that it went by; where it can't, and for CLOCK_REALTIME, the TSC is read before and after, until nothing
 * came between. KVM_SET_CLOCK takes what the kvmclock was at a given CLOCK_REALTIME, so it does not matter
 * when it comes.
 *
 * Another watchdog in the guest looks for processors that stand still. KVM_KVMCLOCK_CTRL sets a flag beside
 * the guest's kvmclock by which it knows that it was stopped, and forgives.
 *
 * Guests without kvmclock, and a KVM that lacks one of these calls, do without: the time jumps.
 */
#include "minivmm/arch.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <time.h>
#include <x86intrin.h>

/* How often a pair of clocks is read; the one whose readings are closest together counts. */
#define PAIR_TRIES 8

static int read_kvmclock(int vm_fd, struct kvm_clock_data *data)
{
	*data = (struct kvm_clock_data){ 0 };
	return ioctl(vm_fd, KVM_GET_CLOCK, data);
}

void arch_clock_hold(int vm_fd, struct arch_clock *c)
{
	u64 closest = ~0ull;

	*c = (struct arch_clock){ 0 };
	for (int i = 0; i < PAIR_TRIES; i++) {
		struct kvm_clock_data data;
		u64 before = __rdtsc();
		bool there = read_kvmclock(vm_fd, &data) == 0;
		u64 apart = __rdtsc() - before;

		if (there && data.flags & KVM_CLOCK_HOST_TSC) {
			before = data.host_tsc;
			apart = 0;
		}
		if (apart >= closest)
			continue;
		closest = apart;
		c->common = there;
		c->guest = data.clock;
		c->counter = before + apart / 2;
	}
}

void arch_clock_go_on(struct arch_clock *c)
{
	u64 closest = ~0ull;

	for (int i = 0; i < PAIR_TRIES; i++) {
		struct timespec now;
		u64 before = __rdtsc(), apart;

		clock_gettime(CLOCK_REALTIME, &now);
		apart = __rdtsc() - before;
		if (apart >= closest)
			continue;
		closest = apart;
		c->go_on = before + apart / 2;
		c->go_on_realtime = (u64)now.tv_sec * 1000000000 + (u64)now.tv_nsec;
	}
}

void arch_vcpu_clock_release(int vcpu_fd, const struct arch_clock *c)
{
	u64 offset;
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&offset,
	};

	if (ioctl(vcpu_fd, KVM_GET_DEVICE_ATTR, &attr) == 0) {
		offset -= c->go_on - c->counter;
		ioctl(vcpu_fd, KVM_SET_DEVICE_ATTR, &attr);
	}
	ioctl(vcpu_fd, KVM_KVMCLOCK_CTRL, 0);
}

void arch_clock_release(int vm_fd, const struct arch_clock *c)
{
	struct kvm_clock_data data = {
		.clock = c->guest,
		.flags = KVM_CLOCK_REALTIME,
		.realtime = c->go_on_realtime,
	};

	if (!c->common || ioctl(vm_fd, KVM_SET_CLOCK, &data) == 0)
		return;
	/* Linux before 5.16 knows no flags. */
	data.flags = 0;
	ioctl(vm_fd, KVM_SET_CLOCK, &data);
}
