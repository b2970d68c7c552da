/* SPDX-License-Identifier: MIT */
/*
 * guest.h - a guest's memory and files, for the tests of what is loaded into it.
 */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include "minivmm/arch.h"
#include "minivmm/mem.h"

struct guest {
	struct mem mem;
	struct platform platform;
	struct boot_files files;
	struct boot_entry entry;
	u32 fds; /* open before */
};

/* `size` bytes of RAM, one CPU, a UART, no files. */
void guest_init(struct guest *g, u64 size);
void guest_free(struct guest *g);

/* Boot a kernel file of these bytes. Returns what arch_boot() does. */
int guest_boot(struct guest *g, const void *image, u64 len);

/* What stands at `gpa`; the test fails if it is not RAM. */
void *guest_at(const struct guest *g, u64 gpa, u64 len);

#endif
