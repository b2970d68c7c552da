// SPDX-License-Identifier: MIT
/*
 * pci.c - PCI configuration space, of the 32 slots of bus 0.
 *
 * How it works: there are two ways to the same registers. The old one is a pair of ports, an
 * address and a window of 4 bytes (PCI 3.0, 3.2.2.3.2); two CPUs that use it need a lock. The new
 * one, ECAM, has all of it in memory, 4 KiB a function (PCI Express Base 3.0, 7.2.2); the MCFG
 * table says where.
 */
#include "guest.h"

#include <linux/pci_regs.h>

#define CF8_ADDRESS	0xcf8
#define CF8_DATA	0xcfc
#define CF8_ENABLE	(1u << 31)

#define ECAM_SLOT(slot) ((u64)(slot) << 15)

static void cf8_select(u32 slot, u32 off)
{
	outl(CF8_ADDRESS, CF8_ENABLE | slot << 11 | (off & 0xfc));
}

u32 pci_cf8_read(u32 slot, u32 off, u32 len)
{
	u16 port = CF8_DATA + (off & 3);

	cf8_select(slot, off);
	return len == 1 ? inb(port) : len == 2 ? inw(port) : inl(port);
}

void pci_cf8_write(u32 slot, u32 off, u32 len, u32 value)
{
	u16 port = CF8_DATA + (off & 3);

	cf8_select(slot, off);
	if (len == 1)
		outb(port, value);
	else if (len == 2)
		outw(port, value);
	else
		outl(port, value);
}

u32 pci_ecam_read(u32 slot, u32 off, u32 len)
{
	u64 at = acpi.ecam + ECAM_SLOT(slot) + off;

	return len == 1 ? mmio_read8(at) : len == 2 ? mmio_read16(at) : mmio_read32(at);
}

void pci_ecam_write(u32 slot, u32 off, u32 len, u32 value)
{
	u64 at = acpi.ecam + ECAM_SLOT(slot) + off;

	if (len == 1)
		mmio_write8(at, value);
	else if (len == 2)
		mmio_write16(at, value);
	else
		mmio_write32(at, value);
}

u32 pci_read(u32 slot, u32 off, u32 len)
{
	return acpi.ecam ? pci_ecam_read(slot, off, len) : pci_cf8_read(slot, off, len);
}

void pci_write(u32 slot, u32 off, u32 len, u32 value)
{
	if (acpi.ecam)
		pci_ecam_write(slot, off, len, value);
	else
		pci_cf8_write(slot, off, len, value);
}

int pci_find(u32 vendor, u32 device)
{
	for (u32 slot = 0; slot < PCI_SLOTS; slot++) {
		if (pci_read(slot, PCI_VENDOR_ID, 4) == (device << 16 | vendor))
			return slot;
	}
	return -1;
}

u32 pci_find_cap(u32 slot, u32 id)
{
	u32 at = 0;

	if (pci_read(slot, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST)
		at = pci_read(slot, PCI_CAPABILITY_LIST, 1);
	while (at && pci_read(slot, at + PCI_CAP_LIST_ID, 1) != id)
		at = pci_read(slot, at + PCI_CAP_LIST_NEXT, 1);
	return at;
}

static bool bar_is_io(u32 low)
{
	return low & PCI_BASE_ADDRESS_SPACE_IO;
}

static bool bar_is_64(u32 low)
{
	return !bar_is_io(low) &&
	       (low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64;
}

static u64 bar_address_bits(u32 low)
{
	return bar_is_io(low) ? PCI_BASE_ADDRESS_IO_MASK : PCI_BASE_ADDRESS_MEM_MASK;
}

/* The register or pair of registers, with the bits that say what kind it is. */
static u64 bar_raw(u32 slot, u32 i)
{
	u32 low = pci_read(slot, PCI_BASE_ADDRESS_0 + 4 * i, 4);

	if (!bar_is_64(low))
		return low;
	return (u64)pci_read(slot, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4) << 32 | low;
}

u64 pci_bar(u32 slot, u32 i)
{
	u64 raw = bar_raw(slot, i);

	return raw & bar_address_bits(raw);
}

void pci_bar_set(u32 slot, u32 i, u64 addr)
{
	u32 low = pci_read(slot, PCI_BASE_ADDRESS_0 + 4 * i, 4);

	pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * i, 4, addr);
	if (bar_is_64(low))
		pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4, addr >> 32);
}

u64 pci_bar_size(u32 slot, u32 i)
{
	u32 command = pci_read(slot, PCI_COMMAND, 2);
	u64 old = bar_raw(slot, i), ones;

	pci_write(slot, PCI_COMMAND, 2, command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY));
	pci_bar_set(slot, i, ~0ULL);
	ones = bar_raw(slot, i);
	pci_bar_set(slot, i, old);
	pci_write(slot, PCI_COMMAND, 2, command);

	ones &= bar_address_bits(ones);
	return ones & -ones; /* the lowest address bit that can be set */
}
