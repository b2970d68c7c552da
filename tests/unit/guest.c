// SPDX-License-Identifier: MIT
/*
 * guest.c - see guest.h.
 */
#include "tests/unit/guest.h"
#include "tests/unit/unit.h"

#include <unistd.h>

void guest_init(struct guest *g, u64 size)
{
	struct span ram[MEM_REGIONS_MAX];
	int n;

	*g = (struct guest){ .fds = open_fds(), .files = { .cmdline = "" } };
	mem_init(&g->mem);
	n = arch_ram_layout(size, ram);
	ck_assert_int_gt(n, 0);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(mem_add_ram(&g->mem, ram[i].base, ram[i].size, false), 0);
	arch_pci_map(ram, n, &g->platform.pci);
	g->platform.cpus = 1;
	g->platform.nnodes = 1;
	g->platform.node[0] =
		(struct platform_node){ .kind = PLATFORM_UART, .base = 0x3f8, .size = 8, .gsi = 4 };
}

void guest_free(struct guest *g)
{
	mem_destroy(&g->mem);
	ck_assert_uint_eq(open_fds(), g->fds);
	*g = (struct guest){ 0 };
}

int guest_boot(struct guest *g, const void *image, u64 len)
{
	char path[32];
	int fd = temp_file(image, len, path), err;

	g->files.kernel = path;
	err = arch_boot(&g->mem, &g->files, &g->platform, &g->entry);
	g->files.kernel = NULL;
	close(fd);
	return err;
}

void *guest_at(const struct guest *g, u64 gpa, u64 len)
{
	void *p = mem_ptr(&g->mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}
