// SPDX-License-Identifier: MIT
/*
 * exit_reset.c - resets the machine, by the way named on the command line:
 *
 *	how=acpi	the FADT's reset register
 *	how=i8042	the keyboard controller's pulse of the reset line, as the first PCs did
 *	from=ap		(with --cpus 2) it is not the boot CPU that does it
 *
 * It says "boot" each time, and whether memory is as at the first: a reset machine begins anew,
 * with nothing left of what the last life wrote.
 */
#include "guest.h"

#include <linux/serial_reg.h>

static u32 in_data = 0x900d, in_bss;
static bool by_i8042;

static void reset(u32 cpu)
{
	(void)cpu;
	if (by_i8042)
		reset_by_i8042();
	else
		reset_by_acpi();
	printf("still here\n"); /* no instruction may follow the one that resets */
}

void guest_main(const struct hvm_start_info *info)
{
	u32 *far = (u32 *)(1536 * KIB); /* in RAM, outside the image */
	bool fresh = in_data == 0x900d && !in_bss && !*far && !inb(UART_PORT + UART_SCR);

	printf("boot%s\n", fresh ? "" : ", not fresh");
	in_data = in_bss = *far = 1;
	outb(UART_PORT + UART_SCR, 1); /* a device's register that is zero after reset */
	by_i8042 = cmdline_has(info, "how=i8042");
	if (cmdline_has(info, "from=ap")) {
		smp_start(reset);
		for (;;)
			cpu_relax();
	}
	reset(0);
}
