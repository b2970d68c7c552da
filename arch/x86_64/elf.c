// SPDX-License-Identifier: MIT
/*
 * elf.c - load an ELF kernel and enter it by PVH.
 *
 * How it works (Xen, "x86/HVM direct boot ABI", docs/misc/pvh.pandoc): an ELF note of name "Xen",
 * type 18 (XEN_ELFNOTE_PHYS32_ENTRY) holds the physical address of a 32-bit entry point; ebx points
 * to a struct hvm_start_info:
 *
 *	PVH_INFO_ADDR	start_info -> command line, module list, memory map, RSDP
 *	          +64	one module: the initrd
 *	          +96	the memory map
 *
 * Every number in the file is checked before it is used: a segment goes into RAM from 1 MiB on, so
 * it can't overwrite what we put below.
 */
#include "arch/x86_64/boot.h"
#include "arch/x86_64/layout.h"
#include "minivmm/log.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PVH_MAGIC	  0x336ec578
#define NOTE_PHYS32_ENTRY 18
#define NOTES_MAX	  (64 * KIB)
#define PHDRS_MAX	  64

/* Version 1 of the structures; all fields little-endian. */
struct pvh_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	u32 memmap_entries, reserved;
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "hvm_start_info, version 1");

struct pvh_module {
	u64 paddr, size, cmdline_paddr, reserved;
};

struct pvh_memmap_entry {
	u64 addr, size;
	u32 type, reserved;
};

struct pvh_page {
	struct pvh_start_info info;
	u64 pad;
	struct pvh_module initrd;
	struct pvh_memmap_entry map[E820_MAX];
};

/* What the notes said. */
struct elf_notes {
	bool has_entry, linux_kernel;
	u32 entry;
};

bool elf_probe(const struct boot *b)
{
	Elf64_Ehdr eh;

	return boot_read(b, 0, &eh, sizeof(eh)) == 0 && memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0 &&
	       eh.e_ident[EI_CLASS] == ELFCLASS64 && eh.e_ident[EI_DATA] == ELFDATA2LSB &&
	       eh.e_machine == EM_X86_64 && (eh.e_type == ET_EXEC || eh.e_type == ET_DYN);
}

static int refuse(const struct boot *b, const char *why)
{
	log_err("kernel %s: %s", b->files->kernel, why);
	return -ENOEXEC;
}

/* One PT_NOTE segment, `size` bytes at `p`: a row of {header, name, descriptor}, each padded to 4.
 */
static void scan_notes(const u8 *p, u64 size, struct elf_notes *notes)
{
	while (size >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		const u8 *name = p + sizeof(n);
		u64 name_room, desc_room;

		memcpy(&n, p, sizeof(n));
		name_room = ALIGN_UP(n.n_namesz, 4);
		desc_room = ALIGN_UP(n.n_descsz, 4);
		if (name_room + desc_room > size - sizeof(n))
			return;
		if (n.n_namesz == 4 && memcmp(name, "Xen", 4) == 0 &&
		    n.n_type == NOTE_PHYS32_ENTRY && n.n_descsz >= 4) {
			memcpy(&notes->entry, name + name_room, 4);
			notes->has_entry = true;
		}
		if (n.n_namesz == 6 && memcmp(name, "Linux", 6) == 0)
			notes->linux_kernel = true;
		p += sizeof(n) + name_room + desc_room;
		size -= sizeof(n) + name_room + desc_room;
	}
}

static int read_notes(const struct boot *b, const Elf64_Phdr *ph, struct elf_notes *notes)
{
	u8 *buf;
	int err;

	if (ph->p_filesz > NOTES_MAX)
		return refuse(b, "its notes are larger than 64 KiB");
	buf = malloc(ph->p_filesz + 1);
	if (!buf)
		return -ENOMEM;
	err = boot_read(b, ph->p_offset, buf, ph->p_filesz);
	if (err)
		err = refuse(b, "the file is truncated");
	else
		scan_notes(buf, ph->p_filesz, notes);
	free(buf);
	return err;
}

/* Load one segment; *end becomes the highest address used below 4 GiB. RAM is zero already: no bss
 * to clear. */
static int load_segment(struct boot *b, const Elf64_Phdr *ph, u64 *end)
{
	int err;

	if (!ph->p_memsz)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return refuse(b, "a segment is longer in the file than in memory");
	if (ph->p_paddr < KERNEL_MIN_ADDR)
		return refuse(b, "a segment lies below 1 MiB");
	if (!mem_ptr(b->mem, ph->p_paddr, ph->p_memsz)) {
		log_err("kernel %s: a segment (%#llx, %#llx bytes) lies outside RAM; give more "
			"--memory",
			b->files->kernel, (unsigned long long)ph->p_paddr,
			(unsigned long long)ph->p_memsz);
		return -ENOMEM;
	}
	err = mem_load(b->mem, ph->p_paddr, b->kernel_fd, ph->p_offset, ph->p_filesz);
	if (err == -ENODATA)
		return refuse(b, "the file is truncated");
	if (err) {
		log_err("kernel %s: %s", b->files->kernel, strerror(-err));
		return err;
	}
	if (ph->p_paddr < RAM_HIGH && ph->p_paddr + ph->p_memsz > *end)
		*end = ph->p_paddr + ph->p_memsz;
	return 0;
}

static int load_segments(struct boot *b, struct elf_notes *notes, u64 *end)
{
	Elf64_Phdr ph[PHDRS_MAX];
	Elf64_Ehdr eh;
	int err = boot_read(b, 0, &eh, sizeof(eh));

	if (err || eh.e_phentsize != sizeof(ph[0]) || eh.e_phnum > PHDRS_MAX ||
	    boot_read(b, eh.e_phoff, ph, eh.e_phnum * sizeof(ph[0])))
		return refuse(b, "its program headers are damaged");
	for (u32 i = 0; i < eh.e_phnum && !err; i++) {
		if (ph[i].p_type == PT_NOTE)
			err = read_notes(b, &ph[i], notes);
		else if (ph[i].p_type == PT_LOAD)
			err = load_segment(b, &ph[i], end);
	}
	return err;
}

static int fill_start_info(struct boot *b)
{
	struct pvh_page *p = mem_ptr(b->mem, PVH_INFO_ADDR, sizeof(*p));

	if (!p)
		return -EFAULT;
	*p = (struct pvh_page){
		.info = {
			.magic = PVH_MAGIC,
			.version = 1,
			.nr_modules = b->initrd_size ? 1 : 0,
			.modlist_paddr = PVH_INFO_ADDR + offsetof(struct pvh_page, initrd),
			.cmdline_paddr = CMDLINE_ADDR,
			.rsdp_paddr = b->rsdp,
			.memmap_paddr = PVH_INFO_ADDR + offsetof(struct pvh_page, map),
			.memmap_entries = b->nmap,
		},
		.initrd = { .paddr = b->initrd_addr, .size = b->initrd_size },
	};
	for (u32 i = 0; i < b->nmap; i++) {
		p->map[i].addr = b->map[i].addr;
		p->map[i].size = b->map[i].size;
		p->map[i].type = b->map[i].type;
	}
	return 0;
}

int elf_load(struct boot *b, struct boot_entry *entry)
{
	struct elf_notes notes = { 0 };
	u64 end = 0;
	int err = load_segments(b, &notes, &end);

	if (err)
		return err;
	if (!notes.has_entry)
		return refuse(b, "it has no PVH entry note; Linux has one with CONFIG_PVH=y");
	if (!mem_ptr(b->mem, notes.entry, 1))
		return refuse(b, "its entry point lies outside RAM");
	/* Linux takes an initrd below 4 GiB here; a bare-metal guest gets one only if it was named.
	 */
	err = boot_load_initrd(b, ALIGN_UP(end, PAGE_SIZE), RAM_LOW_MAX, NULL, notes.linux_kernel);
	if (!err)
		err = boot_load_cmdline(b, CMDLINE_MAX);
	if (!err)
		err = fill_start_info(b);
	if (err)
		return err;
	*entry = (struct boot_entry){ .pc = notes.entry, .arg = PVH_INFO_ADDR };
	return 0;
}
