// SPDX-License-Identifier: MIT
/*
 * exit_power.c - the power button: it asks, and the guest switches itself off.
 *
 * How it works: on a hardware-reduced ACPI platform the button is reported by the Generic Event
 * Device (ACPI 6.4, 5.6.9): a level-triggered interrupt, and a register that says what has happened
 * and lets go of the wire when it is read. The VMM presses the button when it gets SIGTERM.
 */
#include "guest.h"
#include "minivmm/power_regs.h"

#define VECTOR_EVENT 0x40

static volatile u32 events, reports;

static void handle_event(u32 vector)
{
	u32 now = inb(acpi.event_port); /* this read lets go of the wire */

	(void)vector;
	reports += now != 0;
	events |= now;
}

void guest_main(const struct hvm_start_info *info)
{
	(void)info;
	if (!acpi.event_port) {
		printf("not ok - the DSDT has no Generic Event Device\n");
		return;
	}
	irq_handle(VECTOR_EVENT, handle_event);
	ioapic_route(acpi.event_gsi, apic_id(), VECTOR_EVENT, LEVEL_HIGH);
	printf("ready: events at port %x, GSI %u\n", acpi.event_port, acpi.event_gsi);
	while (!(events & POWER_EVENT_BUTTON))
		irq_wait();
	wait_a_little(); /* nothing more may come: one press is one report */
	printf("power button: reported %u time(s), events %x, now %x\n", reports, events,
	       inb(acpi.event_port));
}
