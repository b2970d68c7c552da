// SPDX-License-Identifier: MIT
/*
 * hello.c - the smallest guest: it prints a line, and returning from guest_main() switches the
 * machine off.
 */
#include "guest.h"

void guest_main(const struct hvm_start_info *info)
{
	printf("Hello from a guest with %u CPU(s). The command line is \"%s\".\n", acpi.ncpus,
	       (const char *)info->cmdline_paddr);
}
