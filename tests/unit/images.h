/* SPDX-License-Identifier: MIT */
/*
 * images.h - the smallest valid bzImage and PVH ELF, made by hand: for the loader's unit tests and
 * as the fuzz target's seeds (tests/fuzz/make-seeds.c).
 */
#ifndef TESTS_IMAGES_H
#define TESTS_IMAGES_H

#include "minivmm/base.h"

#include <asm/bootparam.h>
#include <elf.h>

/*
 *	0	two sectors of set-up code with the header at 1F1h and the release string at 280h
 *	400h	the kernel proper: BZ_PROPER bytes, each its own offset in it
 */
#define BZ_SETUP	0x400
#define BZ_PROPER	0x300
#define BZ_SIZE		(BZ_SETUP + BZ_PROPER)
#define BZ_RELEASE	"6.1.0-unit"
#define BZ_PREF_ADDRESS (16 * MIB)
#define BZ_INIT_SIZE	(1 * MIB)

/* Fill BZ_SIZE bytes; returns the header in them. */
struct setup_header *bz_build(u8 *buf);

/*
 *	0	ELF header
 *	64	two program headers: PT_NOTE, PT_LOAD
 *	B0h	two notes: "Xen" 18 (the entry point) and, if `linux`, "Linux" 0x100
 *	100h	the segment: ELF_LOAD bytes, each its own offset in it
 */
#define ELF_NOTES    0xb0
#define ELF_DATA     0x100
#define ELF_LOAD     0x200
#define ELF_MEM	     0x3000 /* bytes in memory: the rest is bss */
#define ELF_SIZE     (ELF_DATA + ELF_LOAD)
#define ELF_PADDR    0x200000
#define ELF_ENTRY    0x200010
#define ELF_NOTE_LEN (12 + 4 + 4)

struct elf_image {
	Elf64_Ehdr eh;
	Elf64_Phdr note, load;
} __attribute__((packed));

/* Fill ELF_SIZE bytes; returns the headers in them. */
struct elf_image *elf_build(u8 *buf, bool linux_note);

#endif
