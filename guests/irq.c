// SPDX-License-Identifier: MIT
/*
 * irq.c - a PCI device's interrupts: MSI-X messages, masks and pending bits, the INTx wire, and an
 * event's way through the VMM without the vCPU: doorbell -> ioeventfd -> loop -> irqfd -> vector.
 *
 * How it works: writing n to the test device's RAISE register signals its interrupt source n, which
 * stands for whatever a real device would have to report. With MSI-X on, source n sends the message
 * that the guest has written into entry n of the table; the message is a write to a local APIC.
 * With MSI-X off it comes out at the pin INTA#, a wire to the I/O APIC, and stays there until the
 * device is told to let go.
 *
 * What must never happen is an interrupt lost or doubled, so each test counts: it waits for the
 * interrupts that must come, then a little longer for those that must not.
 *
 * Section numbers are those of the PCI Local Bus Specification 3.0.
 */
#include "guest.h"
#include "minivmm/testdev_regs.h"

#include <linux/pci_regs.h>

#define VECTOR_MSI   0x40 /* source n arrives at VECTOR_MSI + n */
#define VECTOR_OTHER 0x50
#define VECTOR_INTX  0x51

/* INTA# of slot s is wired to this input (_PRT in the DSDT; arch/x86_64/acpi.c). */
#define INTX_GSI(slot) (16 + (slot) % 4)

static u64 regs, table, pba;
static u32 slot, msix;

static volatile u32 count[256];	   /* interrupts so far, by vector */
static volatile u32 cpu_of[256];   /* the CPU that took the last */
static volatile u32 release_after; /* the INTx handler lets go of the pin at this count */
static volatile u32 strays;	   /* INTx interrupts without a cause */
static volatile bool in_service;   /* see test_strays() */

static void handle(u32 vector)
{
	cpu_of[vector] = apic_id();
	in_service = apic_in_service(vector);
	count[vector]++;
}

/*
 * A wire is shared, so a handler first asks its device whether it was that one. A level is served
 * by making the device let go; if it does not, the interrupt comes again at its end.
 */
static void handle_intx(u32 vector)
{
	if (!mmio_read32(regs + TESTDEV_INTX)) {
		strays++;
		return;
	}
	count[vector]++;
	if (count[vector] >= release_after)
		mmio_write32(regs + TESTDEV_INTX, 0);
}

static void raise(u32 source)
{
	mmio_write32(regs + TESTDEV_RAISE, source);
}

static void forget(void)
{
	for (u32 i = 0; i < 256; i++)
		count[i] = 0;
}

/* `want` interrupts at `vector`, no more and no fewer, since forget(). */
static void expect(u32 vector, u32 want, const char *what)
{
	wait_for(&count[vector], want);
	wait_a_little();
	tap_eq(count[vector], want, "%s", what);
}

/* Entry `n` of the vector table (6.8.2.6): address, data, mask. */
static u32 entry_read(u32 n, u32 off)
{
	return mmio_read32(table + n * PCI_MSIX_ENTRY_SIZE + off);
}

static void entry_write(u32 n, u32 off, u32 value)
{
	mmio_write32(table + n * PCI_MSIX_ENTRY_SIZE + off, value);
}

static void entry_set(u32 n, u32 dest, u32 vector)
{
	entry_write(n, PCI_MSIX_ENTRY_LOWER_ADDR, MSI_ADDRESS(dest));
	entry_write(n, PCI_MSIX_ENTRY_UPPER_ADDR, 0);
	entry_write(n, PCI_MSIX_ENTRY_DATA, MSI_DATA(vector));
}

static void entry_mask(u32 n, bool masked)
{
	entry_write(n, PCI_MSIX_ENTRY_VECTOR_CTRL, masked);
}

static u32 pending(void)
{
	return mmio_read32(pba);
}

static void msix_control(u32 flags)
{
	pci_write(slot, msix + PCI_MSIX_FLAGS, 2, flags);
}

static void test_table(void)
{
	u32 unmasked = 0;

	for (u32 n = 0; n < TESTDEV_SOURCES; n++)
		unmasked += !(entry_read(n, PCI_MSIX_ENTRY_VECTOR_CTRL) & 1);
	tap_eq(unmasked, 0, "after reset each vector is masked (6.8.2.9)");
	entry_set(1, 0x12, 0x34);
	tap_eq(entry_read(1, PCI_MSIX_ENTRY_LOWER_ADDR), MSI_ADDRESS(0x12), "the table reads back");
	tap_eq(entry_read(1, PCI_MSIX_ENTRY_DATA), 0x34, "and the data");
	mmio_write64(table + PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA, 0x100000056);
	tap_eq(mmio_read64(table + PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_DATA), 0x100000056,
	       "so it does by 8 bytes");
}

static void test_messages(u32 self)
{
	for (u32 n = 0; n < TESTDEV_SOURCES; n++) {
		u32 all = 0;

		forget();
		raise(n);
		expect(VECTOR_MSI + n, 1, "MSI-X: a source is heard once");
		for (u32 i = 0; i < 256; i++)
			all += count[i];
		tap_eq(all, 1, "MSI-X: source %u at its own vector only", n);
		tap_eq(cpu_of[VECTOR_MSI + n], self, "MSI-X: and at the CPU in its message");
	}
}

/* 6.8.3: a masked vector is not sent; it sets its pending bit, and is sent when unmasked. */
static void test_vector_mask(u32 self)
{
	forget();
	entry_mask(1, true);
	tap_eq(pending(), 0, "vector mask: nothing is pending");
	raise(1);
	raise(1);
	expect(VECTOR_MSI + 1, 0, "vector mask: nothing is sent");
	tap_eq(pending(), 1 << 1, "vector mask: the pending bit is set");
	raise(2);
	expect(VECTOR_MSI + 2, 1, "vector mask: the others are sent");
	entry_mask(1, false);
	expect(VECTOR_MSI + 1, 1, "vector mask: what is pending is sent once, at the end of it");
	tap_eq(pending(), 0, "vector mask: and no longer pending");

	/* An operating system moves an interrupt in this way. */
	forget();
	entry_mask(1, true);
	raise(1);
	entry_set(1, self, VECTOR_OTHER);
	entry_mask(1, false);
	expect(VECTOR_OTHER, 1, "vector mask: a message changed meanwhile is sent as it is now");
	tap_eq(count[VECTOR_MSI + 1], 0, "vector mask: and not as it was");
	entry_set(1, self, VECTOR_MSI + 1);
}

static void test_function_mask(void)
{
	forget();
	msix_control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	raise(0);
	raise(3);
	expect(VECTOR_MSI + 0, 0, "function mask: nothing is sent");
	tap_eq(pending(), 1 << 0 | 1 << 3, "function mask: two are pending");
	entry_mask(3, true);
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	expect(VECTOR_MSI + 0, 1, "function mask: at its end the first is sent");
	expect(VECTOR_MSI + 3, 0, "function mask: the other is masked by itself still");
	tap_eq(pending(), 1 << 3, "function mask: and pending");
	entry_mask(3, false);
	expect(VECTOR_MSI + 3, 1, "function mask: until that mask is off, too");
}

/* 6.8.2.3: a function whose MSI-X is enabled must not use its pin. */
static void test_pin_with_msix(void)
{
	forget();
	mmio_write32(regs + TESTDEV_INTX, 1);
	expect(VECTOR_INTX, 0, "MSI-X on: the pin is out of use");
	mmio_write32(regs + TESTDEV_INTX, 0);
}

static void test_intx(void)
{
	forget();
	release_after = 1;
	raise(1);
	expect(VECTOR_INTX, 1, "MSI-X off: a source comes out at the pin");
	tap_eq(count[VECTOR_MSI + 1], 0, "MSI-X off: and as no message");
	tap_eq(mmio_read32(regs + TESTDEV_INTX), 0, "INTx: the handler made the device let go");

	forget();
	release_after = 3;
	mmio_write32(regs + TESTDEV_INTX, 1);
	expect(VECTOR_INTX, 3, "INTx: a level interrupts until it is gone");

	forget();
	release_after = 1;
	ioapic_mask(INTX_GSI(slot));
	mmio_write32(regs + TESTDEV_INTX, 1);
	expect(VECTOR_INTX, 0, "INTx: masked at the I/O APIC");
	ioapic_route(INTX_GSI(slot), apic_id(), VECTOR_INTX, LEVEL_LOW);
	expect(VECTOR_INTX, 1, "INTx: a level that is still there comes when the mask goes");
	raise(0);
	expect(VECTOR_INTX, 2, "INTx: and the next one, too");
}

/* 6.2.2 and 6.2.3: the disable bit keeps the pin quiet, but not the status bit. */
static void test_intx_disable(void)
{
	forget();
	release_after = 1;
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	tap(!(pci_read(slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT), "INTx status: clear");
	mmio_write32(regs + TESTDEV_INTX, 1);
	expect(VECTOR_INTX, 0, "INTx disable: nothing comes");
	tap(pci_read(slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, "INTx status: set all the same");
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	expect(VECTOR_INTX, 1, "INTx disable: at its end it comes");
	tap(!(pci_read(slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT), "INTx status: clear again");
}

/*
 * A doorbell's write goes to an eventfd in the kernel; the vCPU does not wait. The device's loop
 * wakes, counts, and signals source 2 through that source's eventfd: two threads, no exit.
 */
static void test_doorbell(void)
{
	u32 rings = mmio_read32(regs + TESTDEV_RINGS);

	forget();
	mmio_write32(regs + TESTDEV_BELL_RAISES, 2 + 1);
	mmio_write32(regs + TESTDEV_DOORBELL, 0);
	expect(VECTOR_MSI + 2, 1, "doorbell: comes back as an interrupt");
	tap_eq(mmio_read32(regs + TESTDEV_RINGS), rings + 1, "doorbell: the device counted it");
	mmio_write8(regs + TESTDEV_DOORBELL, 1);
	expect(VECTOR_MSI + 2, 2, "doorbell: by 1 byte");
	mmio_write16(regs + TESTDEV_DOORBELL, 2);
	expect(VECTOR_MSI + 2, 3, "doorbell: by 2 bytes");
	mmio_write64(regs + TESTDEV_DOORBELL, 3);
	expect(VECTOR_MSI + 2, 4, "doorbell: by 8 bytes");

	entry_mask(2, true);
	mmio_write32(regs + TESTDEV_DOORBELL, 0);
	expect(VECTOR_MSI + 2, 4, "doorbell: a masked vector stays quiet");
	tap_eq(pending(), 1 << 2, "doorbell: and is pending");
	entry_mask(2, false);
	expect(VECTOR_MSI + 2, 5, "doorbell: until it is unmasked");

	/* The doorbell is part of the BAR and moves with it. */
	pci_bar_set(slot, 0, regs + 16 * MIB);
	mmio_write32(regs + TESTDEV_DOORBELL, 0);
	expect(VECTOR_MSI + 2, 5, "doorbell: nobody hears it where the BAR was");
	mmio_write32(regs + 16 * MIB + TESTDEV_DOORBELL, 0);
	expect(VECTOR_MSI + 2, 6, "doorbell: but where the BAR is now");
	pci_bar_set(slot, 0, regs);
	mmio_write32(regs + TESTDEV_BELL_RAISES, 0);
}

/*
 * A level that has gone before the end of interrupt must not come again. Of software KVMs at least
 * one ends an interrupt by itself on delivery, when the level is still there, and it does come
 * again: the in-service bit, which is then clear in the handler, gives it away.
 */
static void test_strays(void)
{
	if (in_service)
		tap_eq(strays, 0, "INTx: none came without a cause");
	else
		tap_skip("INTx: none came without a cause",
			 "this KVM ends an interrupt when it delivers it");
}

/* Many in a row, each waited for: none is lost. */
static void test_row(void)
{
	u32 n = 0;

	forget();
	do {
		raise(n % TESTDEV_SOURCES);
		if (!wait_for(&count[VECTOR_MSI + n % TESTDEV_SOURCES], n / TESTDEV_SOURCES + 1))
			break;
	} while (++n < 200);
	tap_eq(n, 200, "200 interrupts in a row");
}

static void sleep_for_interrupts(u32 cpu)
{
	(void)cpu;
	for (;;)
		irq_wait();
}

static void test_other_cpu(void)
{
	if (smp_start(sleep_for_interrupts) < 2) {
		tap_skip("MSI-X: to another CPU", "there is only one: start minivmm with --cpus 2");
		return;
	}
	forget();
	entry_set(0, smp_apic_id(1), VECTOR_MSI);
	raise(0);
	expect(VECTOR_MSI, 1, "MSI-X: to another CPU, which sleeps");
	tap_eq(cpu_of[VECTOR_MSI], smp_apic_id(1), "MSI-X: it was that one");
}

/* 6.8.2.4: where the table or the pending bits stand: a BAR in the low 3 bits, an offset in it. */
static u64 bar_and_offset(u32 reg)
{
	return pci_bar(slot, reg & PCI_MSIX_TABLE_BIR) + (reg & PCI_MSIX_TABLE_OFFSET);
}

void guest_main(const struct hvm_start_info *info)
{
	int found = pci_find(TESTDEV_VENDOR, TESTDEV_DEVICE);
	u32 self = apic_id();

	(void)info;
	if (found < 0) {
		printf("1..0 # SKIP no test device: start minivmm with --test-device\n");
		return;
	}
	slot = found;
	msix = pci_find_cap(slot, PCI_CAP_ID_MSIX);
	regs = pci_bar(slot, 0);
	table = bar_and_offset(pci_read(slot, msix + PCI_MSIX_TABLE, 4));
	pba = bar_and_offset(pci_read(slot, msix + PCI_MSIX_PBA, 4));
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (u32 v = VECTOR_MSI; v <= VECTOR_OTHER; v++)
		irq_handle(v, handle);
	irq_handle(VECTOR_INTX, handle_intx);
	ioapic_route(INTX_GSI(slot), self, VECTOR_INTX, LEVEL_LOW);

	test_table();
	for (u32 n = 0; n < TESTDEV_SOURCES; n++) {
		entry_set(n, self, VECTOR_MSI + n);
		entry_mask(n, false);
	}
	test_intx();
	test_intx_disable();
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	test_messages(self);
	test_vector_mask(self);
	test_function_mask();
	test_pin_with_msix();
	test_doorbell();
	test_row();
	msix_control(0);
	test_intx();
	test_strays();
	msix_control(PCI_MSIX_FLAGS_ENABLE);
	test_other_cpu();
	tap_end();
}
