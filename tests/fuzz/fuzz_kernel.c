// SPDX-License-Identifier: MIT
/*
 * fuzz_kernel.c - fuzz target: the kernel-image loaders. The input is a kernel file.
 *
 * A file that is refused is one good outcome; one that boots is the other, and then what stands in
 * the guest's memory must be sound. Guest memory is made once: a loader may not depend on what the
 * last guest left there.
 */
#include "arch/x86_64/layout.h"
#include "minivmm/arch.h"
#include "minivmm/mem.h"
#include "tests/fuzz/fuzz.h"

#include <asm/bootparam.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_LOW	  (32 * MIB)
#define RAM_ABOVE (1 * MIB) /* from 4 GiB on */

static struct mem mem;
static struct platform platform;
static int kernel_fd, initrd_fd;
static char kernel_path[32], initrd_path[32];
static struct boot_files files = {
	.kernel = kernel_path,
	.initrd = initrd_path,
	.cmdline = "console=ttyS0",
};
static unsigned long booted;

static void tell(void)
{
	fprintf(stderr, "fuzz_kernel: %lu inputs booted\n", booted);
}

static int file(char *path)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	must(fd >= 0);
	sprintf(path, "/proc/self/fd/%d", fd);
	return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct span ram[2] = { { 0, RAM_LOW }, { RAM_HIGH, RAM_ABOVE } };

	(void)argc;
	(void)argv;
	mem_init(&mem);
	for (u32 i = 0; i < 2; i++)
		must(mem_add_ram(&mem, ram[i].base, ram[i].size, false) == 0);
	arch_pci_map(ram, 2, &platform.pci);
	platform.cpus = 1;
	kernel_fd = file(kernel_path);
	initrd_fd = file(initrd_path);
	must(pwrite(initrd_fd, "\x1f\x8b", 2, 0) == 2); /* the start of a gzip file */
	must(ftruncate(initrd_fd, 5000) == 0);
	atexit(tell);
	return 0;
}

static u8 sum(const void *p, u64 len)
{
	const u8 *b = p;
	u8 s = 0;

	while (len--)
		s += *b++;
	return s;
}

/* Is the initrd where the guest is told, whole and clear of everything else? */
static void check_initrd(u64 addr, u64 size)
{
	const u8 *p = mem_ptr(&mem, addr, size);

	must(size == 5000 && p && addr % PAGE_SIZE == 0);
	must(addr >= KERNEL_MIN_ADDR);
	must(p[0] == 0x1f && p[1] == 0x8b && p[size - 1] == 0);
}

static bool zero(u64 gpa, u64 end)
{
	const u8 *p = mem_ptr(&mem, gpa, end - gpa);

	return p[0] == 0 && memcmp(p, p + 1, end - gpa - 1) == 0;
}

static void check_guest(const struct boot_entry *entry)
{
	const u8 *rsdp = mem_ptr(&mem, ACPI_ADDR, 36);

	must(mem_ptr(&mem, entry->pc, 1));
	must(mem_ptr(&mem, entry->arg, PAGE_SIZE));
	/* No part of the kernel went below 1 MiB: not over our own things, not beside them. */
	must(zero(PAGE_TABLE_ADDR + 3 * PAGE_SIZE, CMDLINE_ADDR));
	must(zero(CMDLINE_ADDR + PAGE_SIZE, ACPI_ADDR));
	must(memcmp(rsdp, "RSD PTR ", 8) == 0 && sum(rsdp, 36) == 0);
	must(strcmp(mem_ptr(&mem, CMDLINE_ADDR, 100), files.cmdline) == 0);
	if (entry->long_mode) {
		const struct boot_params *z = mem_ptr(&mem, entry->arg, sizeof(*z));

		must(z->e820_entries <= E820_MAX_ENTRIES_ZEROPAGE);
		must(z->acpi_rsdp_addr == ACPI_ADDR);
		check_initrd(z->hdr.ramdisk_image, z->hdr.ramdisk_size);
	} else {
		const u32 *info = mem_ptr(&mem, entry->arg, 56);
		u64 list, module[2];

		must(info[0] == 0x336ec578 && info[3] == 1);
		memcpy(&list, info + 4, sizeof(list));
		must(mem_ptr(&mem, list, sizeof(module)));
		memcpy(module, mem_ptr(&mem, list, sizeof(module)), sizeof(module));
		check_initrd(module[0], module[1]);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct boot_entry entry;

	must(ftruncate(kernel_fd, size) == 0);
	must(pwrite(kernel_fd, data, size, 0) == (ssize_t)size);
	if (arch_boot(&mem, &files, &platform, &entry) == 0) {
		check_guest(&entry);
		booted++;
	}
	return 0;
}
