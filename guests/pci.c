// SPDX-License-Identifier: MIT
/*
 * pci.c - PCI configuration space: the two ways in, the header, capabilities, and BARs that move.
 *
 * How it works: everything that an operating system does when it enumerates the bus is done here
 * once, on the host bridge (slot 0) and on the test device, whose registers show at once where its
 * BARs really are: BAR 0 has a magic value, BAR 1 has it at ports, BAR 2 reads as its own offset.
 *
 * Section numbers are those of the PCI Local Bus Specification 3.0. Read next: irq.c.
 */
#include "guest.h"
#include "minivmm/testdev_regs.h"

#include <linux/pci_regs.h>

#define CF8_ADDRESS	  0xcf8
#define CF8_DATA	  0xcfc
#define CF8_ENABLE	  (1u << 31)

#define HOST_BRIDGE_CLASS 0x0600

static void test_host_bridge(void)
{
	tap_eq(pci_cf8_read(0, PCI_CLASS_DEVICE, 2), HOST_BRIDGE_CLASS,
	       "slot 0 is the host bridge");
	tap(pci_cf8_read(0, PCI_VENDOR_ID, 2) != 0xffff, "and has a vendor");
}

/* Both ways lead to the same bytes, at each width and offset in it. */
static void test_two_ways(u32 slot, const char *name)
{
	for (u32 len = 1; len <= 4; len *= 2) {
		u32 differ = 0;

		for (u32 off = 0; off < 256; off += len)
			differ += pci_cf8_read(slot, off, len) != pci_ecam_read(slot, off, len);
		tap_eq(differ, 0, "%s: CF8 and ECAM agree on accesses of %u", name, len);
	}
}

/* A narrow read is a part of the dword: no width has a register of its own. */
static void test_widths(u32 slot)
{
	u32 wrong = 0;

	for (u32 off = 0; off < 64; off += 4) {
		u32 dword = pci_ecam_read(slot, off, 4);

		for (u32 i = 0; i < 4; i++) {
			wrong += pci_cf8_read(slot, off + i, 1) != (dword >> 8 * i & 0xff);
			wrong += pci_ecam_read(slot, off + i, 1) != (dword >> 8 * i & 0xff);
		}
		wrong += pci_cf8_read(slot, off + 2, 2) != dword >> 16;
		wrong += pci_ecam_read(slot, off + 2, 2) != dword >> 16;
	}
	tap_eq(wrong, 0, "bytes and words are parts of the dword");
}

/* Nobody answers for an empty slot, nor for functions and buses that do not exist. */
static void test_absent(void)
{
	u32 slot = PCI_SLOTS - 1, answers = 0;

	while (slot && pci_cf8_read(slot, PCI_VENDOR_ID, 4) != 0xffffffff)
		slot--;
	for (u32 off = 0; off < 256; off += 4) {
		answers += pci_cf8_read(slot, off, 4) != 0xffffffff;
		answers += pci_ecam_read(slot, off, 4) != 0xffffffff;
	}
	tap_eq(answers, 0, "empty slot %u reads as all ones", slot);
	tap_eq(pci_cf8_read(slot, PCI_VENDOR_ID, 1), 0xff, "a byte of it, too");
	tap_eq(pci_ecam_read(slot, PCI_VENDOR_ID, 2), 0xffff, "and a word");
	pci_cf8_write(slot, PCI_COMMAND, 2, 7);
	pci_ecam_write(slot, PCI_COMMAND, 2, 7);
	tap_eq(pci_cf8_read(slot, PCI_COMMAND, 2), 0xffff, "a write to it is lost");

	outl(CF8_ADDRESS, CF8_ENABLE | 1 << 8);
	tap_eq(inl(CF8_DATA), 0xffffffff, "the host bridge has no function 1");
	outl(CF8_ADDRESS, CF8_ENABLE | 1 << 16);
	tap_eq(inl(CF8_DATA), 0xffffffff, "there is no bus 1");
	tap_eq(mmio_read32(acpi.ecam + (1 << 12)), 0xffffffff, "nor a function 1 by ECAM");
}

/*
 * 3.2.2.3.2: a dword write to CF8h is latched; any narrower access there is an ordinary one, to
 * some other device (at CF9h many machines have one), and must leave the address alone.
 */
static void test_address_register(void)
{
	u32 address = CF8_ENABLE | PCI_CLASS_REVISION;
	u32 class = pci_ecam_read(0, PCI_CLASS_REVISION, 4);

	outl(CF8_ADDRESS, address);
	tap_eq(inl(CF8_ADDRESS), address, "the address register reads back");
	outb(CF8_ADDRESS, 0x3c);
	tap_eq(inl(CF8_ADDRESS), address, "a byte written to it changes nothing");
	outw(CF8_ADDRESS + 2, 0);
	tap_eq(inl(CF8_ADDRESS), address, "nor do two");
	tap_eq(inl(CF8_DATA), class, "and the data register still shows what it selects");
	outl(CF8_ADDRESS, PCI_CLASS_REVISION);
	tap_eq(inl(CF8_DATA), 0xffffffff, "without the enable bit it shows nothing");
}

/* 6.2: writes must not change what describes the device; of command, only what it implements. */
static void test_read_only(u32 slot)
{
	static const u8 fixed[] = { PCI_VENDOR_ID, PCI_CLASS_REVISION, PCI_CARDBUS_CIS,
				    PCI_SUBSYSTEM_VENDOR_ID, PCI_CAPABILITY_LIST };
	u32 pin = pci_read(slot, PCI_INTERRUPT_PIN, 1);
	u32 header = pci_read(slot, PCI_HEADER_TYPE, 1);
	u32 status = pci_read(slot, PCI_STATUS, 2);

	for (u32 i = 0; i < ARRAY_SIZE(fixed); i++) {
		u32 old = pci_read(slot, fixed[i], 4);

		pci_write(slot, fixed[i], 4, ~old);
		tap_eq(pci_read(slot, fixed[i], 4), old, "register %02xh is read-only", fixed[i]);
	}
	pci_write(slot, PCI_HEADER_TYPE, 1, ~header & 0xff);
	tap_eq(pci_read(slot, PCI_HEADER_TYPE, 1), header, "so is the header type");
	pci_write(slot, PCI_INTERRUPT_PIN, 1, 4);
	tap_eq(pci_read(slot, PCI_INTERRUPT_PIN, 1), pin, "and the interrupt pin");
	pci_write(slot, PCI_STATUS, 2, 0xffff);
	tap_eq(pci_read(slot, PCI_STATUS, 2), status, "and the status");

	pci_write(slot, PCI_INTERRUPT_LINE, 1, 0xa5);
	tap_eq(pci_read(slot, PCI_INTERRUPT_LINE, 1), 0xa5, "the interrupt line is the guest's");

	/* 6.2.2: a device that never does parity, wait cycles, ... has zeroes there. */
	pci_write(slot, PCI_COMMAND, 2, 0xffff);
	tap_eq(pci_read(slot, PCI_COMMAND, 2),
	       PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
	       "the command register has the bits that the device implements");
	pci_write(slot, PCI_COMMAND, 2, 0);
	tap_eq(pci_read(slot, PCI_COMMAND, 2), 0, "and they can be cleared");
}

/* 6.7: a list of bounded length, dword-aligned, behind the header. */
static void test_capabilities(u32 slot)
{
	u32 at = pci_read(slot, PCI_CAPABILITY_LIST, 1), n = 0;
	bool aligned = true;

	tap(pci_read(slot, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST,
	    "the test device has capabilities");
	for (; at && n < 48; at = pci_read(slot, at + PCI_CAP_LIST_NEXT, 1), n++)
		aligned &= at >= 0x40 && at % 4 == 0;
	tap(!at && aligned, "the list ends, and its %u entries are where they may be", n);

	at = pci_find_cap(slot, PCI_CAP_ID_MSIX);
	tap(at, "MSI-X is on the list");
	tap_eq((pci_read(slot, at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1, TESTDEV_SOURCES,
	       "with the vectors of the device");
	tap_eq(pci_read(slot, at + PCI_MSIX_TABLE, 4) & PCI_MSIX_TABLE_BIR, 4,
	       "its table is in BAR 4");
	tap_eq(pci_find_cap(slot, 0xee), 0, "a capability that is not there is not found");
}

static void test_sizes(u32 slot)
{
	static const u64 want[6] = { 4 * KIB, 16, 64 * KIB };
	u32 low = pci_read(slot, PCI_BASE_ADDRESS_2, 4);

	for (u32 i = 0; i < 3; i++) {
		u64 before = pci_bar(slot, i);

		tap_eq(pci_bar_size(slot, i), want[i], "the size of BAR %u", i);
		tap_eq(pci_bar(slot, i), before, "which has its address again");
		tap(before && before % want[i] == 0, "and that is aligned to the size");
	}
	tap_eq(low & PCI_BASE_ADDRESS_MEM_TYPE_MASK, PCI_BASE_ADDRESS_MEM_TYPE_64,
	       "BAR 2 is of 64 bits");
	tap(pci_read(slot, PCI_BASE_ADDRESS_1, 4) & PCI_BASE_ADDRESS_SPACE_IO, "BAR 1 is of ports");
	tap_eq(pci_bar_size(slot, 5), 0, "there is no BAR 5");
}

/* Decoding: whether the device answers at its BARs at all (6.2.2). */
static void test_decoding(u32 slot)
{
	u64 regs = pci_bar(slot, 0);
	u16 ports = pci_bar(slot, 1);

	pci_write(slot, PCI_COMMAND, 2, 0);
	tap_eq(mmio_read32(regs), 0xffffffff, "memory does not answer while decoding is off");
	tap_eq(inl(ports + 4), 0xffffffff, "nor do the ports");
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	tap_eq(mmio_read32(regs), TESTDEV_MAGIC_VALUE, "memory alone on: memory answers");
	tap_eq(inl(ports + 4), 0xffffffff, "and the ports do not");
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_IO);
	tap_eq(inl(ports + 4), TESTDEV_MAGIC_VALUE, "ports alone on: they answer");
	tap_eq(mmio_read32(regs), 0xffffffff, "and memory does not");
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	tap_eq(mmio_read32(regs), TESTDEV_MAGIC_VALUE, "both on again");
}

/* Move BARs 0 and 1 away and back, with decoding on all the time. */
static void test_moving(u32 slot)
{
	u64 regs = pci_bar(slot, 0), new_regs = regs + 16 * MIB;
	u16 ports = pci_bar(slot, 1), new_ports = ports + 0x400;

	mmio_write32(regs + TESTDEV_SCRATCH, 0x600df00d);
	pci_bar_set(slot, 0, new_regs);
	tap_eq(mmio_read32(new_regs), TESTDEV_MAGIC_VALUE,
	       "BAR 0 moved: it answers at the new place");
	tap_eq(mmio_read32(regs), 0xffffffff, "and no longer at the old");
	tap_eq(mmio_read32(new_regs + TESTDEV_SCRATCH), 0x600df00d,
	       "its registers keep their values");
	pci_bar_set(slot, 0, regs);
	tap_eq(mmio_read32(regs), TESTDEV_MAGIC_VALUE, "and back");

	pci_bar_set(slot, 1, new_ports);
	tap_eq(inl(new_ports + 4), TESTDEV_MAGIC_VALUE, "BAR 1 moved: it answers at the new ports");
	tap_eq(inl(ports + 4), 0xffffffff, "and no longer at the old");
	pci_bar_set(slot, 1, ports);
	tap_eq(inl(ports + 4), TESTDEV_MAGIC_VALUE, "and back");

	/* The low bits of an address are not the register's, whatever is written. */
	pci_bar_set(slot, 0, regs | 0xff0);
	tap_eq(pci_bar(slot, 0), regs, "an address is rounded to the size of the BAR");
}

/*
 * The first address above 4 GiB and all RAM that is a multiple of 32 GiB: there, minivmm has its
 * window for 64-bit BARs (arch/x86_64/machine.c).
 */
static u64 high_window(const struct hvm_start_info *info)
{
	const struct {
		u64 addr, size;
		u32 type, reserved;
	} *map = (const void *)info->memmap_paddr;
	u64 top = 4 * GIB;

	for (u32 i = 0; i < info->memmap_entries; i++) {
		if (map[i].addr + map[i].size > top)
			top = map[i].addr + map[i].size;
	}
	return ALIGN_UP(top, 32 * GIB);
}

static void test_moving_high(u32 slot, u64 window)
{
	u64 old = pci_bar(slot, 2), high = window + 2 * GIB;

	map_device(old, 64 * KIB);
	map_device(high, 64 * KIB);
	map_device(high + 4 * GIB, 64 * KIB);
	tap_eq(mmio_read64(old + 0x4560), 0x4560, "BAR 2 answers where it is");
	pci_bar_set(slot, 2, high);
	tap_eq(mmio_read64(high + 0x4560), 0x4560, "and at %lx, above 4 GiB", high);
	tap_eq(mmio_read32(high + 0xfffc), 0xfffc, "up to its end");
	tap_eq(mmio_read32(high + 0x10000), 0xffffffff, "but not behind");
	tap_eq(mmio_read32(old), 0xffffffff, "and no longer at the old place");
	pci_write(slot, PCI_BASE_ADDRESS_3, 4, (high + 4 * GIB) >> 32);
	tap_eq(mmio_read64(high + 4 * GIB + 8), 8, "its upper half alone moves it, too");
	pci_bar_set(slot, 2, old);
	tap_eq(mmio_read64(old + 0x4560), 0x4560, "and back");
}

/* Two devices, or BARs, at one address: what answers is undefined, but it must come right again. */
static void test_overlap(u32 slot)
{
	u64 regs = pci_bar(slot, 0), offsets = pci_bar(slot, 2);

	pci_bar_set(slot, 0, offsets);
	mmio_read32(offsets);
	pci_bar_set(slot, 0, regs);
	tap_eq(mmio_read32(regs), TESTDEV_MAGIC_VALUE, "BAR 0 survives having lain over BAR 2");
	tap_eq(mmio_read32(offsets + 0x100), 0x100, "and so does BAR 2");
	pci_bar_set(slot, 2, regs);
	mmio_read32(regs);
	pci_bar_set(slot, 0, regs + 16 * MIB);
	tap_eq(mmio_read32(regs + 0x100), 0x100, "a place that gets free goes to who waits for it");
	pci_bar_set(slot, 2, offsets);
	pci_bar_set(slot, 0, regs);
}

void guest_main(const struct hvm_start_info *info)
{
	int slot = pci_find(TESTDEV_VENDOR, TESTDEV_DEVICE);

	test_host_bridge();
	tap(acpi.ecam, "the MCFG table says where ECAM is");
	if (acpi.ecam) {
		test_two_ways(0, "host bridge");
		test_widths(0);
		test_absent();
	}
	test_address_register();
	if (slot < 0) {
		tap_skip("all else", "no test device: start minivmm with --test-device");
		tap_end();
		return;
	}
	test_two_ways(slot, "test device");
	test_widths(slot);
	test_read_only(slot);
	test_capabilities(slot);
	test_sizes(slot);
	test_decoding(slot);
	test_moving(slot);
	test_moving_high(slot, high_window(info));
	test_overlap(slot);
	tap_end();
}
