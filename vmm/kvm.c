// SPDX-License-Identifier: MIT
/*
 * kvm.c - see kvm.h. KVM's calls are described in Linux, Documentation/virt/kvm/api.rst.
 */
#include "vmm/kvm.h"
#include "minivmm/arch.h"
#include "minivmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What we can't do without, and since which Linux it is there. */
static const struct {
	int cap;
	const char *name;
} needed[] = {
	{ KVM_CAP_IRQFD, "irqfd (2.6.32)" },
	{ KVM_CAP_IOEVENTFD, "ioeventfd (2.6.32)" },
	{ KVM_CAP_SIGNAL_MSI, "MSI (3.5)" },
	{ KVM_CAP_IMMEDIATE_EXIT, "immediate exit (4.12)" },
};

int kvm_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		int err = -errno;

		log_err("/dev/kvm: %s; %s ('minivmm check' says more)", strerror(-err),
			err == -EACCES
				? "run as root or join the group kvm"
				: "load kvm_intel or kvm_amd, or use the lab host: tests/lab/lab");
		return err;
	}
	if (ioctl(fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		log_err("/dev/kvm: not KVM's stable interface (version %d)", KVM_API_VERSION);
		close(fd);
		return -ENODEV;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) > 0)
			continue;
		log_err("/dev/kvm: this KVM lacks %s; use a newer Linux", needed[i].name);
		close(fd);
		return -ENODEV;
	}
	return fd;
}

u32 kvm_max_cpus(int kvm_fd)
{
	int max = ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	return max > 0 ? max : 4; /* api.rst: "assume 4" */
}

static int add_memory(int vm_fd, const struct mem *mem)
{
	for (u32 i = 0; i < mem->nregions; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = mem->region[i].gpa,
			.memory_size = mem->region[i].size,
			.userspace_addr = (uintptr_t)mem->region[i].host,
		};

		if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return -errno;
	}
	return 0;
}

int vm_create(struct vm *vm, int kvm_fd, const struct mem *mem, u32 cpus)
{
	int err, run_size;

	*vm = (struct vm){ .kvm_fd = kvm_fd, .vm_fd = -1 };
	run_size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_size > 0) {
		vm->run_size = run_size;
		vm->vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	}
	if (vm->vm_fd < 0) {
		err = -errno;
		log_err("KVM can't make a virtual machine: %s", strerror(-err));
		return err;
	}
	fcntl(vm->vm_fd, F_SETFD, FD_CLOEXEC);
	err = add_memory(vm->vm_fd, mem);
	if (err)
		log_err("KVM can't take the guest's memory: %s", strerror(-err));
	else
		err = arch_vm_init(kvm_fd, vm->vm_fd, cpus);
	if (err)
		vm_destroy(vm);
	return err;
}

void vm_destroy(struct vm *vm)
{
	if (vm->vm_fd >= 0)
		close(vm->vm_fd);
	vm->vm_fd = -1;
}

static int vm_line(void *ctx, u32 gsi, bool level)
{
	struct vm *vm = ctx;
	struct kvm_irq_level l = { .irq = gsi, .level = level };

	return ioctl(vm->vm_fd, KVM_IRQ_LINE, &l) < 0 ? -errno : 0;
}

static int vm_routes(void *ctx, const u32 *gsi, const struct msi_msg *msg, u32 n)
{
	struct vm *vm = ctx;
	struct kvm_irq_routing *r =
		calloc(1, sizeof(*r) + (ARCH_WIRED_MAX + n) * sizeof(r->entries[0]));
	int err = 0;

	if (!r)
		return -ENOMEM;
	r->nr = arch_wired_routes(r->entries);
	for (u32 i = 0; i < n; i++)
		arch_msi_route(&r->entries[r->nr++], gsi[i], &msg[i]);
	if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, r) < 0)
		err = -errno;
	free(r);
	return err;
}

static int vm_irqfd(void *ctx, u32 gsi, int fd, bool on)
{
	struct vm *vm = ctx;
	struct kvm_irqfd i = { .fd = fd, .gsi = gsi, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

	return ioctl(vm->vm_fd, KVM_IRQFD, &i) < 0 ? -errno : 0;
}

const struct irqchip_ops vm_irqchip_ops = {
	.line = vm_line,
	.routes = vm_routes,
	.irqfd = vm_irqfd,
};

static int vm_map(void *ctx, u32 slot, u64 gpa, void *host)
{
	struct vm *vm = ctx;
	struct kvm_userspace_memory_region r = {
		.slot = MEM_REGIONS_MAX + slot,
		.guest_phys_addr = gpa,
		.memory_size = host ? PAGE_SIZE : 0,
		.userspace_addr = (uintptr_t)host,
	};

	return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0 ? -errno : 0;
}

const struct bus_map_ops vm_map_ops = { .map = vm_map };
