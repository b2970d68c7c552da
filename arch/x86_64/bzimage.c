// SPDX-License-Identifier: MIT
/*
 * bzimage.c - load a Linux bzImage and enter it by its 64-bit entry point.
 *
 * How it works (Linux, Documentation/arch/x86/boot.rst):
 *
 *	file offset 0          real-mode boot code, (setup_sects + 1) * 512 bytes: not run by us;
 *	            1F1h         the setup header in it is the kernel's and our common ground
 *	            ...        the kernel proper: decompressor + compressed vmlinux
 *
 *	guest       ZERO_PAGE  struct boot_params: the header, copied from the file, with our
 *answers CMDLINE load       the kernel proper; the 64-bit entry is 200h further on top        the
 *initrd
 *
 * The kernel asks for `pref_address` and for `init_size` bytes of room from there; there it need
 * not move itself before it decompresses.
 *
 * Every header field is the file's word and is checked here before it is used.
 */
#include "arch/x86_64/boot.h"
#include "arch/x86_64/layout.h"
#include "minivmm/log.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#define HEADER_OFFSET	 0x1f1
#define HEADER_MAGIC	 0x53726448 /* "HdrS" */
#define BOOT_FLAG_OFFSET 0x1fe
#define BOOT_FLAG	 0xaa55
#define MAGIC_OFFSET	 0x202
#define PROTOCOL_MIN	 0x020c /* 2.12: xloadflags, the 64-bit entry */
#define SECTOR		 512ULL
#define ENTRY_64	 0x200
#define LOADER_UNDEFINED 0xff
#define IDENTITY_MAPPED	 (1 * GIB) /* by our page tables: kernel and zero page must lie there */

bool bzimage_probe(const struct boot *b)
{
	u16 boot_flag;
	u32 magic;

	return boot_read(b, BOOT_FLAG_OFFSET, &boot_flag, 2) == 0 && boot_flag == BOOT_FLAG &&
	       boot_read(b, MAGIC_OFFSET, &magic, 4) == 0 && magic == HEADER_MAGIC;
}

/* "kernel FILE: ..." and -ENOEXEC. */
static int refuse(const struct boot *b, const char *why)
{
	log_err("kernel %s: %s", b->files->kernel, why);
	return -ENOEXEC;
}

static int check_header(const struct boot *b, const struct setup_header *h)
{
	if (h->version < PROTOCOL_MIN)
		return refuse(b, "its boot protocol is older than 2.12 (Linux 3.8)");
	if (!(h->loadflags & LOADED_HIGH))
		return refuse(b, "a zImage, not a bzImage");
	if (!(h->xloadflags & XLF_KERNEL_64))
		return refuse(b, "it has no 64-bit entry point: not an x86-64 kernel");
	if (h->relocatable_kernel &&
	    (!h->kernel_alignment || (h->kernel_alignment & (h->kernel_alignment - 1))))
		return refuse(b, "its header is damaged (kernel_alignment)");
	return 0;
}

/* Where the kernel proper starts in the file, or 0 if the file ends before. */
static u64 proper_offset(const struct boot *b, const struct setup_header *h)
{
	u64 offset = ((h->setup_sects ? h->setup_sects : 4) + 1) * SECTOR;

	return offset < b->kernel_size ? offset : 0;
}

/*
 * Where the kernel goes. It unpacks itself at pref_address even if it was loaded lower, so that is
 * where it needs its room.
 */
static int choose_address(const struct boot *b, const struct setup_header *h, u64 need, u64 *addr)
{
	u64 room = b->mem->region[0].size;

	if (room > IDENTITY_MAPPED)
		room = IDENTITY_MAPPED;
	*addr = h->pref_address;
	if (h->relocatable_kernel && *addr < KERNEL_MIN_ADDR)
		*addr = ALIGN_UP(KERNEL_MIN_ADDR, h->kernel_alignment);
	if (*addr >= KERNEL_MIN_ADDR && range_inside(*addr, need, 0, room))
		return 0;
	log_err("kernel %s: it needs %llu MiB from %llu MiB on to unpack itself; give more "
		"--memory",
		b->files->kernel, (unsigned long long)(need / MIB + 1),
		(unsigned long long)(*addr / MIB));
	return -ENOMEM;
}

/* The kernel's release, "6.1.0-32-cloud-amd64", from the version string that the header points to.
 */
static void read_release(const struct boot *b, const struct setup_header *h, char *out, u64 room)
{
	u64 at = (u64)h->kernel_version + 0x200;
	u64 len = room - 1;

	out[0] = '\0';
	if (!h->kernel_version || at >= b->kernel_size)
		return;
	if (len > b->kernel_size - at)
		len = b->kernel_size - at;
	if (boot_read(b, at, out, len) < 0)
		len = 0;
	out[len] = '\0';
	out[strcspn(out, " /\n")] = '\0'; /* it becomes part of a file name */
}

static int fill_zero_page(struct boot *b, const struct setup_header *file_header)
{
	struct boot_params *p = mem_ptr(b->mem, ZERO_PAGE_ADDR, sizeof(*p));

	if (!p)
		return -EFAULT;
	memset(p, 0, sizeof(*p));
	p->hdr = *file_header;
	p->hdr.type_of_loader = LOADER_UNDEFINED;
	p->hdr.cmd_line_ptr = CMDLINE_ADDR;
	p->hdr.ramdisk_image = b->initrd_addr;
	p->hdr.ramdisk_size = b->initrd_size;
	p->ext_ramdisk_image = b->initrd_addr >> 32;
	p->ext_ramdisk_size = b->initrd_size >> 32;
	p->acpi_rsdp_addr = b->rsdp;
	p->e820_entries = b->nmap;
	for (u32 i = 0; i < b->nmap; i++) {
		p->e820_table[i].addr = b->map[i].addr;
		p->e820_table[i].size = b->map[i].size;
		p->e820_table[i].type = b->map[i].type;
	}
	return 0;
}

/*
 * The header as the file has it. It is as long as its second byte, a jump over it, says; what a
 * newer protocol has behind our struct stays zero.
 */
static int read_header(const struct boot *b, struct setup_header *h)
{
	u8 jump[2];
	u64 len;
	int err = boot_read(b, 0x200, jump, sizeof(jump));

	if (err)
		return err;
	len = 0x202 + jump[1] - HEADER_OFFSET;
	if (len > sizeof(*h))
		len = sizeof(*h);
	memset(h, 0, sizeof(*h));
	return boot_read(b, HEADER_OFFSET, h, len);
}

int bzimage_load(struct boot *b, struct boot_entry *entry)
{
	struct setup_header h;
	u64 offset, size, need, addr, initrd_limit;
	char release[128];
	int err = read_header(b, &h);

	if (err)
		return refuse(b, "the file ends inside its header");
	err = check_header(b, &h);
	if (err)
		return err;
	offset = proper_offset(b, &h);
	if (!offset || h.syssize * 16ULL > ALIGN_UP(b->kernel_size - offset, 16))
		return refuse(b, "the file is truncated");
	size = b->kernel_size - offset;
	need = size > h.init_size ? size : h.init_size;
	err = choose_address(b, &h, need, &addr);
	if (err)
		return err;
	err = mem_load(b->mem, addr, b->kernel_fd, offset, size);
	if (err) {
		log_err("kernel %s: %s", b->files->kernel, strerror(-err));
		return err;
	}

	read_release(b, &h, release, sizeof(release));
	initrd_limit = h.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G ? ~0ULL : h.initrd_addr_max + 1ULL;
	err = boot_load_initrd(b, addr + need, initrd_limit, release, true);
	if (!err)
		err = boot_load_cmdline(b, h.cmdline_size + 1ULL);
	if (!err)
		err = fill_zero_page(b, &h);
	if (err)
		return err;
	*entry = (struct boot_entry){ .pc = addr + ENTRY_64,
				      .arg = ZERO_PAGE_ADDR,
				      .long_mode = true };
	return 0;
}
