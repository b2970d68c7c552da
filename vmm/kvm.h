/* SPDX-License-Identifier: MIT */
/*
 * kvm.h - /dev/kvm, and one virtual machine of it.
 *
 * A machine's reset closes the VM and makes a new one: whatever state KVM keeps, in however many
 * registers, is gone with it. What outlives it (memory, buses, interrupt sources) is attached to
 * the new one.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include "minivmm/bus.h"
#include "minivmm/irq.h"
#include "minivmm/mem.h"

struct vm {
	int kvm_fd;
	int vm_fd;
	u32 run_size; /* bytes of a vCPU's shared struct kvm_run */
};

/* Open /dev/kvm and check that it is one we can use. Returns the fd, or -errno after a message
 * that says what to do. */
int kvm_open(void);

/* The most vCPUs that a VM can have. */
u32 kvm_max_cpus(int kvm_fd);

/* A VM with its interrupt controllers and `mem` in it. Returns 0 or -errno after a message. */
int vm_create(struct vm *vm, int kvm_fd, const struct mem *mem, u32 cpus);
void vm_destroy(struct vm *vm);

/* Carries interrupts into the VM whose `struct vm` is the context. */
extern const struct irqchip_ops vm_irqchip_ops;

/* Puts pages of the MMIO bus into it, likewise: in the memory slots behind the RAM's. */
extern const struct bus_map_ops vm_map_ops;

#endif
