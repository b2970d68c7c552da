/* SPDX-License-Identifier: MIT */
/*
 * boot.h - what the loaders (bzimage.c, elf.c) and boot.c share.
 *
 * A loader gets the open kernel file and the files that go with it, already placed or to be
 * placed; it fills guest memory and says where to start. All messages name the file.
 */
#ifndef ARCH_X86_64_BOOT_H
#define ARCH_X86_64_BOOT_H

#include "minivmm/arch.h"
#include "minivmm/mem.h"

struct e820_entry {
	u64 addr, size;
	u32 type;
};

#define E820_RAM      1
#define E820_RESERVED 2
#define E820_MAX      8

struct boot {
	struct mem *mem;
	const struct boot_files *files;
	int kernel_fd;
	u64 kernel_size; /* bytes in the file */
	u64 rsdp;	 /* guest address of the ACPI root pointer */
	u32 nmap;
	struct e820_entry map[E820_MAX];

	/* Filled by boot_load_initrd(). */
	u64 initrd_addr, initrd_size; /* size 0: none */
};

/* Is this file a bzImage / a Linux or other ELF image? Neither: the caller says so. */
bool bzimage_probe(const struct boot *b);
bool elf_probe(const struct boot *b);

/* Load it, its command line and its initrd. Return 0 or -errno after one line. */
int bzimage_load(struct boot *b, struct boot_entry *entry);
int elf_load(struct boot *b, struct boot_entry *entry);

/*
 * Put the initrd, if there is one, as high as possible below `limit` (exclusive), page-aligned and
 * not below `above`. For a Linux kernel it must be one that Linux can unpack; if the user named
 * none, our own initramfs is taken, the one for `release` (which may be NULL) if there is one. Any
 * other kernel gets just what the user named.
 */
int boot_load_initrd(struct boot *b, u64 above, u64 limit, const char *release, bool linux_kernel);

/* Put the command line, `max` bytes at most with its NUL, at CMDLINE_ADDR. */
int boot_load_cmdline(struct boot *b, u64 max);

/* Read `len` bytes of the kernel file at `off`: 0, or -ENODATA if it ends before, or -errno. */
int boot_read(const struct boot *b, u64 off, void *buf, u64 len);

#endif
