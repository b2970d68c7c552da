// SPDX-License-Identifier: MIT
/*
 * images.c - see images.h.
 */
#include "tests/unit/images.h"

#include <string.h>

_Static_assert(sizeof(struct elf_image) == 64 + 2 * 56, "the notes stand right behind it");
_Static_assert(sizeof(struct elf_image) <= ELF_NOTES, "the notes stand behind it");

struct setup_header *bz_build(u8 *buf)
{
	struct setup_header *h = (void *)(buf + 0x1f1);

	memset(buf, 0, BZ_SIZE);
	*h = (struct setup_header){
		.setup_sects = BZ_SETUP / 512 - 1,
		.syssize = BZ_PROPER / 16,
		.boot_flag = 0xaa55,
		.jump = 0xeb | (0x1f1 + sizeof(*h) - 0x202) << 8,
		.header = 0x53726448,
		.version = 0x020f,
		.kernel_version = 0x80,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 2 * MIB,
		.relocatable_kernel = 1,
		.min_alignment = 21,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G,
		.cmdline_size = 2047,
		.pref_address = BZ_PREF_ADDRESS,
		.init_size = BZ_INIT_SIZE,
	};
	strcpy((char *)buf + 0x280, BZ_RELEASE " (unit@test) #1");
	for (u32 i = 0; i < BZ_PROPER; i++)
		buf[BZ_SETUP + i] = i;
	return h;
}

/* A note of `size` bytes; both name and contents are padded to 4. */
static u8 *put_note(u8 *at, const char *name, u32 type, const void *desc, u32 size)
{
	Elf64_Nhdr n = { .n_namesz = strlen(name) + 1, .n_descsz = size, .n_type = type };

	memcpy(at, &n, sizeof(n));
	memcpy(at + sizeof(n), name, n.n_namesz);
	at += sizeof(n) + ALIGN_UP(n.n_namesz, 4);
	memcpy(at, desc, size);
	return at + ALIGN_UP(size, 4);
}

struct elf_image *elf_build(u8 *buf, bool linux_note)
{
	struct elf_image *e = (void *)buf;
	u32 entry = ELF_ENTRY;
	u8 *end;

	memset(buf, 0, ELF_SIZE);
	end = put_note(buf + ELF_NOTES, "Xen", 18, &entry, sizeof(entry));
	if (linux_note)
		end = put_note(end, "Linux", 0x100, "", 1);
	e->eh = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = offsetof(struct elf_image, note),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
	};
	e->note = (Elf64_Phdr){
		.p_type = PT_NOTE,
		.p_offset = ELF_NOTES,
		.p_filesz = end - buf - ELF_NOTES,
		.p_memsz = end - buf - ELF_NOTES,
	};
	e->load = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = ELF_DATA,
		.p_paddr = ELF_PADDR,
		.p_filesz = ELF_LOAD,
		.p_memsz = ELF_MEM,
	};
	for (u32 i = 0; i < ELF_LOAD; i++)
		buf[ELF_DATA + i] = i;
	return e;
}
