// SPDX-License-Identifier: MIT
/*
 * spin.c - a guest that never ends by itself and hears nothing: with how=hlt on the command line it
 * sleeps with interrupts off, else it runs in a circle. Only the VMM can stop it.
 */
#include "guest.h"

static void forever(u32 cpu)
{
	(void)cpu;
	for (;;)
		;
}

void guest_main(const struct hvm_start_info *info)
{
	printf("spinning\n");
	if (cmdline_has(info, "how=hlt"))
		asm volatile("1: cli; hlt; jmp 1b");
	smp_start(forever);
	forever(0);
}
