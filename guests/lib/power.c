// SPDX-License-Identifier: MIT
/*
 * power.c - switch the machine off, or reset it, by the registers that the FADT names.
 */
#include "guest.h"
#include "minivmm/power_regs.h"

#define I8042_COMMAND	  0x64
#define I8042_PULSE_RESET 0xfe

static void gas_write8(const struct acpi_gas *g, u8 value)
{
	if (g->space == 1)
		outb(g->address, value);
	else
		mmio_write8(g->address, value);
}

void reset_by_acpi(void)
{
	gas_write8(&acpi.reset_reg, acpi.reset_value);
}

void reset_by_i8042(void)
{
	outb(I8042_COMMAND, I8042_PULSE_RESET);
}

/* ACPI 6.4, 4.8.3.7: the sleep type and "go", in one write. A machine that is no hardware-reduced
 * platform has other registers, which we don't know: it is reset. */
void power_off(void)
{
	irq_off();
	if (acpi.sleep_control.address)
		gas_write8(&acpi.sleep_control, acpi.sleep_type << 2 | POWER_SLEEP_ENABLE);
	else
		reset_by_acpi();
	for (;;)
		asm volatile("hlt");
}
