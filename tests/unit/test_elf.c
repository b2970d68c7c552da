// SPDX-License-Identifier: MIT
/*
 * test_elf.c - the PVH ELF loader: good, truncated and hostile files.
 */
#include "tests/unit/guest.h"
#include "tests/unit/images.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define RAM (64 * MIB)

static struct guest g;
static u8 elf[ELF_SIZE];
static struct elf_image *e;

static void setup(void)
{
	guest_init(&g, RAM);
	e = elf_build(elf, true);
}

static void teardown(void)
{
	guest_free(&g);
}

static int boot(void)
{
	return guest_boot(&g, elf, ELF_SIZE);
}

static void refused(const char *why)
{
	ck_assert_int_eq(boot(), -ENOEXEC);
	expect_said(why);
}

static void out_of_ram(void)
{
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("lies outside RAM; give more --memory");
}

START_TEST(it_is_entered_where_its_note_says)
{
	ck_assert_int_eq(boot(), 0);
	ck_assert(!g.entry.long_mode);
	ck_assert_uint_eq(g.entry.pc, ELF_ENTRY);
	expect_silence();
}

START_TEST(a_segment_is_loaded_at_its_physical_address)
{
	u8 *p;

	e->load.p_vaddr = 0xffffffff81000000; /* does not count */
	ck_assert_int_eq(boot(), 0);
	p = guest_at(&g, ELF_PADDR, ELF_MEM);
	ck_assert_mem_eq(p, elf + ELF_DATA, ELF_LOAD);
	for (u32 i = ELF_LOAD; i < ELF_MEM; i++)
		ck_assert_uint_eq(p[i], 0); /* bss */
}

START_TEST(the_start_info_is_complete)
{
	char path[32];
	int fd = temp_file("\x1f\x8binitrd", 8, path); /* the start of a gzip file */
	u32 *info;
	u64 *module, *map;

	g.files.initrd = path;
	g.files.cmdline = "hello";
	ck_assert_int_eq(boot(), 0);
	close(fd);
	info = guest_at(&g, g.entry.arg, 56);
	ck_assert_uint_eq(info[0], 0x336ec578); /* magic */
	ck_assert_uint_eq(info[1], 1);		/* version */
	ck_assert_uint_eq(info[3], 1);		/* modules */
	module = guest_at(&g, *(u64 *)(info + 4), 32);
	ck_assert_uint_eq(module[0], RAM - 4096);
	ck_assert_uint_eq(module[1], 8);
	ck_assert_mem_eq(guest_at(&g, module[0], 8), "\x1f\x8binitrd", 8);
	ck_assert_str_eq(guest_at(&g, *(u64 *)(info + 6), 6), "hello");
	ck_assert_mem_eq(guest_at(&g, *(u64 *)(info + 8), 8), "RSD PTR ", 8);
	ck_assert_uint_eq(info[12], 4); /* memory map entries */
	map = guest_at(&g, *(u64 *)(info + 10), 4 * 24);
	ck_assert_uint_eq(map[0], 0);
	ck_assert_uint_eq(map[1], 0xa0000);
	ck_assert_uint_eq(map[2], 1);
	ck_assert_uint_eq(map[6], 1 * MIB);
	ck_assert_uint_eq(map[7], RAM - 1 * MIB);
}

START_TEST(an_initrd_stays_clear_of_the_segments)
{
	char path[32];
	int fd = temp_file("\x1f\x8b", 2, path);

	g.files.initrd = path;
	e->load.p_memsz = RAM - ELF_PADDR;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("do not fit beside the kernel");
	e->load.p_memsz = RAM - ELF_PADDR - 4096;
	ck_assert_int_eq(boot(), 0);
	close(fd);
}

START_TEST(a_segment_may_lie_above_4_gib)
{
	guest_free(&g);
	guest_init(&g, 4 * GIB);
	e->load.p_paddr = 4 * GIB;
	ck_assert_int_eq(boot(), 0);
	ck_assert_mem_eq(guest_at(&g, 4 * GIB, ELF_LOAD), elf + ELF_DATA, ELF_LOAD);
}

START_TEST(a_segment_of_nothing_is_no_segment)
{
	e->load.p_filesz = e->load.p_memsz = 0;
	e->load.p_paddr = ~0ULL;
	e->load.p_offset = ~0ULL;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_segment_of_bss_alone_needs_no_file)
{
	e->load.p_filesz = 0;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(other_segments_do_not_count)
{
	e->load.p_type = PT_GNU_STACK;
	e->load.p_paddr = 0;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_segment_below_1_mib_is_refused)
{
	e->load.p_paddr = 1 * MIB - 1;
	refused("below 1 MiB");
	e->load.p_paddr = 0;
	refused("below 1 MiB");
	e->load.p_paddr = 1 * MIB;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_segment_outside_ram_is_refused)
{
	e->load.p_paddr = RAM;
	out_of_ram();
	e->load.p_paddr = RAM - ELF_MEM + 1;
	out_of_ram();
	e->load.p_paddr = ~0ULL;
	out_of_ram();
	e->load.p_paddr = 0 - (u64)ELF_MEM;
	out_of_ram();
	e->load.p_paddr = RAM - ELF_MEM;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_segment_across_the_pci_hole_is_refused)
{
	guest_free(&g);
	guest_init(&g, 5 * GIB);
	e->load.p_memsz = 4 * GIB;
	out_of_ram();
}

START_TEST(a_segment_longer_in_the_file_than_in_memory_is_refused)
{
	e->load.p_memsz = ELF_LOAD - 1;
	refused("longer in the file than in memory");
	e->load.p_memsz = ELF_LOAD;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_segment_beyond_the_file_is_refused)
{
	e->load.p_offset++;
	refused("truncated");
	e->load.p_offset = ~0ULL;
	refused("truncated");
	e->load.p_offset = 0 - (u64)ELF_LOAD;
	refused("truncated");
}

START_TEST(without_a_note_it_is_refused)
{
	e->note.p_type = PT_NULL;
	refused("no PVH entry note");
	e->eh.e_phnum = 0;
	refused("no PVH entry note");
}

START_TEST(another_vendors_note_18_does_not_count)
{
	memcpy(elf + ELF_NOTES + 12, "Xem", 4);
	refused("no PVH entry note");
}

START_TEST(a_note_of_another_type_does_not_count)
{
	elf[ELF_NOTES + 8] = 17;
	refused("no PVH entry note");
}

START_TEST(a_note_too_short_for_an_address_does_not_count)
{
	elf[ELF_NOTES + 4] = 3;
	refused("no PVH entry note");
}

START_TEST(a_note_whose_lengths_leave_the_segment_does_not_count)
{
	static const u32 lengths[] = { 5, 0x1000, 0x7fffffff, 0xfffffffc, 0xffffffff };

	for (u32 i = 0; i < ARRAY_SIZE(lengths); i++) {
		e = elf_build(elf, false);
		memcpy(elf + ELF_NOTES, &lengths[i], 4); /* n_namesz */
		refused("no PVH entry note");
		e = elf_build(elf, false);
		memcpy(elf + ELF_NOTES + 4, &lengths[i], 4); /* n_descsz */
		refused("no PVH entry note");
	}
}

START_TEST(a_note_segment_cut_short_does_not_count)
{
	for (u32 len = 0; len < ELF_NOTE_LEN; len++) {
		e->note.p_filesz = len;
		refused("no PVH entry note");
	}
	e->note.p_filesz = ELF_NOTE_LEN;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(the_note_is_found_behind_others)
{
	Elf64_Nhdr other = { .n_namesz = 5, .n_descsz = 3, .n_type = 18 };

	e->eh.e_phnum = 1;
	memmove(elf + ELF_NOTES + 24, elf + ELF_NOTES, ELF_NOTE_LEN);
	memcpy(elf + ELF_NOTES, &other, sizeof(other));
	memcpy(elf + ELF_NOTES + 12, "Xen!\0\0\0\0\x12\x34\x56\0", 12);
	e->note.p_filesz = 24 + ELF_NOTE_LEN;
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(g.entry.pc, ELF_ENTRY);
}

START_TEST(notes_without_an_end_are_refused)
{
	e->note.p_filesz = 64 * KIB + 1;
	refused("larger than 64 KiB");
	e->note.p_filesz = ~0ULL;
	refused("larger than 64 KiB");
	e->note.p_filesz = 64 * KIB;
	refused("truncated");
	e->note.p_filesz = ELF_NOTE_LEN;
	e->note.p_offset = ~0ULL - 4;
	refused("truncated");
}

START_TEST(an_entry_outside_ram_is_refused)
{
	u32 entry = 0xfffffff0;

	memcpy(elf + ELF_NOTES + 16, &entry, 4);
	refused("entry point lies outside RAM");
	entry = RAM;
	memcpy(elf + ELF_NOTES + 16, &entry, 4);
	refused("entry point lies outside RAM");
}

START_TEST(damaged_program_headers_are_refused)
{
	e->eh.e_phentsize--;
	refused("program headers are damaged");
	e = elf_build(elf, true);
	e->eh.e_phnum = 65;
	refused("program headers are damaged");
	e->eh.e_phnum = 0xffff;
	refused("program headers are damaged");
	e->eh.e_phnum = 64; /* more than the file holds */
	refused("program headers are damaged");
	e = elf_build(elf, true);
	e->eh.e_phoff = ~0ULL;
	refused("program headers are damaged");
	e->eh.e_phoff = ELF_SIZE - 2 * sizeof(Elf64_Phdr) + 1;
	refused("program headers are damaged");
}

START_TEST(elf_files_of_other_machines_are_no_kernels)
{
	e->eh.e_machine = EM_AARCH64;
	refused("neither a bzImage nor an x86-64 ELF");
	e = elf_build(elf, true);
	e->eh.e_ident[EI_CLASS] = ELFCLASS32;
	refused("neither a bzImage nor an x86-64 ELF");
	e = elf_build(elf, true);
	e->eh.e_ident[EI_DATA] = ELFDATA2MSB;
	refused("neither a bzImage nor an x86-64 ELF");
	e = elf_build(elf, true);
	e->eh.e_type = ET_REL;
	refused("neither a bzImage nor an x86-64 ELF");
}

START_TEST(a_truncated_file_is_refused_wherever_it_ends)
{
	for (u32 len = 1; len < ELF_SIZE; len++) {
		ck_assert_int_eq(guest_boot(&g, elf, len), -ENOEXEC);
		ck_assert_msg(said_once("kernel "), "%u bytes: \"%s\"", len, said_text());
	}
}

/* Every single byte of the headers and notes, damaged: it boots, or one line says why not. */
START_TEST(a_hostile_file_boots_or_is_refused_in_one_line)
{
	static const u8 hostile[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

	for (u32 off = 0; off < ELF_DATA; off++) {
		for (u32 i = 0; i < ARRAY_SIZE(hostile); i++) {
			elf_build(elf, true);
			elf[off] = hostile[i];
			if (boot() < 0)
				ck_assert_msg(said_once("kernel /proc/"), "byte %#x = %#x: \"%s\"",
					      off, hostile[i], said_text());
			else
				expect_silence();
		}
	}
}

Suite *elf_suite(void)
{
	Suite *s = suite_create("elf");
	TCase *t = tcase_create("elf");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, it_is_entered_where_its_note_says);
	tcase_add_test(t, a_segment_is_loaded_at_its_physical_address);
	tcase_add_test(t, the_start_info_is_complete);
	tcase_add_test(t, an_initrd_stays_clear_of_the_segments);
	tcase_add_test(t, a_segment_may_lie_above_4_gib);
	tcase_add_test(t, a_segment_of_nothing_is_no_segment);
	tcase_add_test(t, a_segment_of_bss_alone_needs_no_file);
	tcase_add_test(t, other_segments_do_not_count);
	tcase_add_test(t, a_segment_below_1_mib_is_refused);
	tcase_add_test(t, a_segment_outside_ram_is_refused);
	tcase_add_test(t, a_segment_across_the_pci_hole_is_refused);
	tcase_add_test(t, a_segment_longer_in_the_file_than_in_memory_is_refused);
	tcase_add_test(t, a_segment_beyond_the_file_is_refused);
	tcase_add_test(t, without_a_note_it_is_refused);
	tcase_add_test(t, another_vendors_note_18_does_not_count);
	tcase_add_test(t, a_note_of_another_type_does_not_count);
	tcase_add_test(t, a_note_too_short_for_an_address_does_not_count);
	tcase_add_test(t, a_note_whose_lengths_leave_the_segment_does_not_count);
	tcase_add_test(t, a_note_segment_cut_short_does_not_count);
	tcase_add_test(t, the_note_is_found_behind_others);
	tcase_add_test(t, notes_without_an_end_are_refused);
	tcase_add_test(t, an_entry_outside_ram_is_refused);
	tcase_add_test(t, damaged_program_headers_are_refused);
	tcase_add_test(t, elf_files_of_other_machines_are_no_kernels);
	tcase_add_test(t, a_truncated_file_is_refused_wherever_it_ends);
	tcase_add_test(t, a_hostile_file_boots_or_is_refused_in_one_line);
	suite_add_tcase(s, t);
	return s;
}
