// SPDX-License-Identifier: MIT
/*
 * machine.c - the PC around the CPUs: RAM layout, PCI windows, interrupt controllers.
 *
 * How it works: KVM models the two 8259s, the I/O APIC and the local APICs in the kernel. Their
 * wiring is KVM's own default: GSI n (0 to 15) is both input n of the 8259s and input n of the I/O
 * APIC; 16 to 23 are I/O APIC only. There is no timer chip (8254): a guest that KVM can run has the
 * local APIC's TSC deadline timer and the KVM clock, and the ACPI tables describe a
 * hardware-reduced platform, which promises no 8254.
 */
#include "arch/x86_64/layout.h"
#include "minivmm/arch.h"
#include "minivmm/log.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#define RAM_MIN (2 * MIB)

/* How many bits a physical address has on this host. */
static u32 phys_bits(void)
{
	u32 eax, ebx, ecx, edx;

	return __get_cpuid(0x80000008, &eax, &ebx, &ecx, &edx) ? eax & 0xff : 36;
}

int arch_ram_layout(u64 size, struct span *ram)
{
	u64 low = size < RAM_LOW_MAX ? size : RAM_LOW_MAX;

	if (size < RAM_MIN) {
		log_err("--memory: %llu KiB is too small; a PC needs at least 2M",
			(unsigned long long)(size / KIB));
		return -EINVAL;
	}
	if (size - low > (1ULL << phys_bits()) - RAM_HIGH) {
		log_err("--memory: %llu MiB is more than this CPU's %u address bits reach",
			(unsigned long long)(size / MIB), phys_bits());
		return -EINVAL;
	}
	ram[0] = (struct span){ .base = 0, .size = low };
	ram[1] = (struct span){ .base = RAM_HIGH, .size = size - low };
	return size > low ? 2 : 1;
}

void arch_pci_map(const struct span *ram, int nram, struct pci_map *map)
{
	u64 top = nram > 1 ? ram[1].base + ram[1].size : RAM_HIGH;
	u64 base = ALIGN_UP(top, PCI_MEM64_SIZE);

	*map = (struct pci_map){
		.ecam = ECAM_ADDR,
		.mem32 = PCI_MEM32,
		.mem32_size = PCI_MEM32_SIZE,
		.io = PCI_IO,
		.io_size = PCI_IO_SIZE,
		.intx_gsi = PCI_INTX_GSI,
	};
	if (range_inside(base, PCI_MEM64_SIZE, 0, 1ULL << phys_bits())) {
		map->mem64 = base;
		map->mem64_size = PCI_MEM64_SIZE;
	}
}

int arch_vm_init(int kvm_fd, int vm_fd, u32 cpus)
{
	u64 identity = KVM_IDENTITY_MAP;
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API,
		.args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
	};

	(void)kvm_fd;
	/* Intel hosts run real mode in an address range that the guest must not use. */
	if (ioctl(vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm_fd, KVM_SET_TSS_ADDR, KVM_TSS) < 0 || ioctl(vm_fd, KVM_CREATE_IRQCHIP) < 0) {
		int err = -errno;

		log_err("KVM can't make a PC's interrupt controllers: %s", strerror(-err));
		return err;
	}
	/* APIC ids from 255 on exist in x2APIC mode only, and 255 must not mean "all". */
	if (cpus > 255 && ioctl(vm_fd, KVM_ENABLE_CAP, &x2apic) < 0) {
		log_err("this KVM can't have more than 255 CPUs");
		return -EINVAL;
	}
	return 0;
}

u32 arch_wired_routes(struct kvm_irq_routing_entry *e)
{
	u32 n = 0;

	for (u32 gsi = 0; gsi < IRQ_LINES; gsi++) {
		if (gsi < 16)
			e[n++] = (struct kvm_irq_routing_entry){
				.gsi = gsi,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip.irqchip =
					gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				.u.irqchip.pin = gsi % 8,
			};
		e[n++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC,
			.u.irqchip.pin = gsi,
		};
	}
	return n;
}

void arch_msi_route(struct kvm_irq_routing_entry *e, u32 gsi, const struct msi_msg *msg)
{
	*e = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi.address_lo = msg->addr,
		.u.msi.address_hi = msg->addr >> 32,
		.u.msi.data = msg->data,
	};
}

/* The CPU itself says whether it has hardware virtualization. */
bool arch_boots_linux(const char **why)
{
	u32 eax, ebx, ecx, edx;
	bool vmx = __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 5));
	bool svm = __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 2));

	if (vmx || svm)
		return true;
	*why = "the CPU shows neither VT-x (vmx) nor SVM (svm): this KVM emulates kernel code in "
	       "software, far too slowly for Linux. Turn virtualization on in the firmware set-up, "
	       "or "
	       "nested virtualization in the outer host; or use the lab host: tests/lab/lab";
	return false;
}
