/* SPDX-License-Identifier: MIT */
/*
 * layout.h - the PC's guest physical address map.
 *
 *	0000_0500  GDT for the boot CPU			  \
 *	0000_6000  PVH start info				   |  written before boot; the guest
 *	0000_7000  Linux boot parameters ("zero page")	   |  may overwrite all of it once it
 *	0000_9000  page tables, 3 pages: first GiB, 1:1    |  has its own
 *	0002_0000  kernel command line			  /
 *	000A_0000  no RAM for the guest: PC tradition
 *	000E_0000  ACPI tables (and where the RSDP is looked for)
 *	000F_FFF0  reset vector: a guest that jumps to "the BIOS" to reboot gets a reset
 *	0010_0000  RAM: the kernel, the initrd at the top
 *	C000_0000  PCI memory window, 512 MiB
 *	E000_0000  ECAM, 1 MiB: PCI bus 0
 *	F000_0000  virtio-mmio transports
 *	FEC0_0000  I/O APIC; FEE0_0000 local APICs
 *	FFFB_C000  used by KVM on Intel hosts, 4 pages
 *	1_0000_0000  RAM above 3 GiB goes on here
 *	...          64-bit PCI window, where the host's address width leaves room
 */
#ifndef ARCH_X86_64_LAYOUT_H
#define ARCH_X86_64_LAYOUT_H

#include "minivmm/base.h"

#define GDT_ADDR	  0x500ULL
#define PVH_INFO_ADDR	  0x6000ULL
#define ZERO_PAGE_ADDR	  0x7000ULL
#define PAGE_TABLE_ADDR	  0x9000ULL
#define CMDLINE_ADDR	  0x20000ULL
#define CMDLINE_MAX	  0x10000ULL
#define LOW_RAM_END	  0xa0000ULL
#define ACPI_ADDR	  0xe0000ULL
#define ACPI_SIZE	  0x1fff0ULL
#define RESET_VECTOR_ADDR 0xffff0ULL
#define FIRMWARE_END	  0x100000ULL
#define KERNEL_MIN_ADDR	  0x100000ULL
#define RAM_LOW_MAX	  0xc0000000ULL
#define PCI_MEM32	  0xc0000000ULL
#define PCI_MEM32_SIZE	  0x20000000ULL
#define ECAM_ADDR	  0xe0000000ULL
#define ECAM_SIZE	  0x100000ULL
#define PCI_MEM64_SIZE	  (32 * GIB)
#define IOAPIC_ADDR	  0xfec00000ULL
#define LAPIC_ADDR	  0xfee00000ULL
#define KVM_IDENTITY_MAP  0xfffbc000ULL
#define KVM_TSS		  0xfffbd000ULL
#define RAM_HIGH	  0x100000000ULL

#define PCI_IO		  0xc000
#define PCI_IO_SIZE	  0x4000
#define PCI_INTX_GSI	  16

#endif
