// SPDX-License-Identifier: MIT
/*
 * exit_triple.c - a triple fault: an exception whose handler can't be reached, nor that of the
 * exception that follows from this (Intel SDM volume 3, 6.15, interrupt 8). A real processor shuts
 * down, which boards turn into a reset; minivmm takes it for what it nearly always is, a crash,
 * shows the registers, and ends with exit status 3.
 */
#include "guest.h"

void guest_main(const struct hvm_start_info *info)
{
	static const struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) no_idt;

	(void)info;
	printf("about to crash\n");
	asm volatile("lidt %0" : : "m"(no_idt));
	asm volatile("ud2" : : "a"(0x1badcafe)); /* something to find in the report */
}
