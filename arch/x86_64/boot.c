// SPDX-License-Identifier: MIT
/*
 * boot.c - from files to a guest that can be started: kernel, command line, initrd, ACPI tables,
 * memory map, and the GDT and page tables that the first instruction runs on.
 *
 * How it works: arch_boot() opens the kernel, asks each loader whether it knows the format, lets
 * it load, and adds what every boot protocol needs. Where things lie is in layout.h. Read
 * bzimage.c and elf.c next.
 */
#include "arch/x86_64/boot.h"
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/layout.h"
#include "minivmm/initrd.h"
#include "minivmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int boot_read(const struct boot *b, u64 off, void *buf, u64 len)
{
	ssize_t n;

	if (!range_inside(off, len, 0, b->kernel_size))
		return -ENODATA;
	n = pread(b->kernel_fd, buf, len, off);
	if (n < 0)
		return -errno;
	return (u64)n == len ? 0 : -ENODATA;
}

/* Open a file that must be a regular one with something in it. Returns the fd or -errno. */
static int open_image(const char *what, const char *path, u64 *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = -errno;

		log_err("%s %s: %s", what, path, strerror(-err));
		if (fd >= 0)
			close(fd);
		return err;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		log_err("%s %s: %s", what, path,
			S_ISREG(st.st_mode) ? "the file is empty" : "not a regular file");
		close(fd);
		return -EINVAL;
	}
	*size = st.st_size;
	return fd;
}

/* The project's own initramfs: the one with this kernel's modules, else the plain one, else none.
 */
static int open_own_initramfs(const char *dir, const char *release, char *path, size_t room)
{
	if (release && *release) {
		snprintf(path, room, "%s/initramfs-%s.cpio", dir, release);
		if (access(path, R_OK) == 0)
			return 0;
	}
	snprintf(path, room, "%s/initramfs.cpio", dir);
	return access(path, R_OK) == 0 ? 0 : -ENOENT;
}

int boot_load_initrd(struct boot *b, u64 above, u64 limit, const char *release, bool linux_kernel)
{
	const char *fault = NULL;
	const char *path = b->files->initrd;
	const struct mem_region *low = &b->mem->region[0];
	char own[4096];
	u64 size, at;
	int fd, err;

	if (!path) {
		if (!linux_kernel || !b->files->data_dir)
			return 0;
		if (open_own_initramfs(b->files->data_dir, release, own, sizeof(own)) < 0) {
			log_warn("no initramfs in %s: `make` builds it, or give --initrd FILE",
				 b->files->data_dir);
			return 0;
		}
		path = own;
	}
	fd = open_image("initrd", path, &size);
	if (fd < 0)
		return fd;
	if (linux_kernel)
		fault = initrd_fault(fd, size);
	if (fault) {
		log_err("initrd %s: %s", path, fault);
		close(fd);
		return -EINVAL;
	}

	if (limit > low->size)
		limit = low->size;
	if (size > limit || ALIGN_DOWN(limit - size, PAGE_SIZE) < above) {
		log_err("initrd %s: its %llu KiB do not fit beside the kernel; give more --memory",
			path, (unsigned long long)(size / KIB));
		close(fd);
		return -ENOMEM;
	}
	at = ALIGN_DOWN(limit - size, PAGE_SIZE);
	err = mem_load(b->mem, at, fd, 0, size);
	close(fd);
	if (err) {
		log_err("initrd %s: %s", path, strerror(-err));
		return err;
	}
	b->initrd_addr = at;
	b->initrd_size = size;
	return 0;
}

int boot_load_cmdline(struct boot *b, u64 max)
{
	u64 len = strlen(b->files->cmdline) + 1;

	if (max > CMDLINE_MAX)
		max = CMDLINE_MAX;
	if (len > max) {
		log_err("--cmdline: %llu bytes are too long for this kernel, which takes %llu",
			(unsigned long long)(len - 1), (unsigned long long)(max - 1));
		return -EINVAL;
	}
	return mem_write(b->mem, CMDLINE_ADDR, b->files->cmdline, len);
}

static void map_add(struct boot *b, u64 addr, u64 end, u32 type)
{
	if (end > addr)
		b->map[b->nmap++] =
			(struct e820_entry){ .addr = addr, .size = end - addr, .type = type };
}

/* The memory map that the guest is told. */
static void make_map(struct boot *b)
{
	const struct mem_region *low = &b->mem->region[0];

	map_add(b, 0, LOW_RAM_END, E820_RAM);
	map_add(b, ACPI_ADDR, FIRMWARE_END, E820_RESERVED);
	map_add(b, KERNEL_MIN_ADDR, low->size, E820_RAM);
	map_add(b, ECAM_ADDR, ECAM_ADDR + ECAM_SIZE, E820_RESERVED);
	if (b->mem->nregions > 1)
		map_add(b, RAM_HIGH, RAM_HIGH + b->mem->region[1].size, E820_RAM);
}

/*
 * A GDT with the boot protocol's selectors (boot.rst: __BOOT_CS 10h, __BOOT_DS 18h) and page
 * tables that map the first GiB to itself with 2 MiB pages. PVH needs neither but has no objection.
 */
static int make_cpu_tables(struct boot *b, bool long_mode)
{
	const u64 gdt[5] = {
		[2] = long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff, /* code */
		[3] = 0x00cf93000000ffff,				   /* data */
		[4] = 0x00008b0000000067, /* a TSS, as VMX demands */
	};
	u64 *pml4 = mem_ptr(b->mem, PAGE_TABLE_ADDR, 3 * PAGE_SIZE);
	u64 *pdpt, *pd;

	if (!pml4 || mem_write(b->mem, GDT_ADDR, gdt, sizeof(gdt)) < 0)
		return -EFAULT;
	if (!long_mode)
		return 0;
	pdpt = pml4 + 512;
	pd = pdpt + 512;
	pml4[0] = (PAGE_TABLE_ADDR + PAGE_SIZE) | 3; /* present, writable */
	pdpt[0] = (PAGE_TABLE_ADDR + 2 * PAGE_SIZE) | 3;
	for (u64 i = 0; i < 512; i++)
		pd[i] = i * 2 * MIB | 0x83; /* and a large page */
	return 0;
}

/*
 * What stands for a BIOS. On a hardware-reduced platform Linux reboots by EFI or else, in real
 * mode, by a jump to FFFF:0000, and never tries the reset register: so here is the keyboard
 * controller's reset command.
 */
static int make_reset_vector(struct boot *b)
{
	static const u8 code[] = {
		0xb0, 0xfe, /* mov al, 0xfe */
		0xe6, 0x64, /* out 0x64, al */
		0xf4,	    /* hlt */
		0xeb, 0xfd, /* jmp to the hlt */
	};

	return mem_write(b->mem, RESET_VECTOR_ADDR, code, sizeof(code));
}

static int load_kernel(struct boot *b, struct boot_entry *entry)
{
	if (bzimage_probe(b))
		return bzimage_load(b, entry);
	if (elf_probe(b))
		return elf_load(b, entry);
	log_err("kernel %s: neither a bzImage nor an x86-64 ELF image", b->files->kernel);
	return -ENOEXEC;
}

int arch_boot(struct mem *mem, const struct boot_files *files, const struct platform *platform,
	      struct boot_entry *entry)
{
	struct boot b = { .mem = mem, .files = files };
	int err;

	b.kernel_fd = open_image("kernel", files->kernel, &b.kernel_size);
	if (b.kernel_fd < 0)
		return b.kernel_fd;
	make_map(&b);
	err = acpi_build(mem, platform, &b.rsdp);
	if (!err)
		err = load_kernel(&b, entry);
	if (!err)
		err = make_cpu_tables(&b, entry->long_mode);
	if (!err)
		err = make_reset_vector(&b);
	close(b.kernel_fd);
	return err;
}
