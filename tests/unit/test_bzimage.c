// SPDX-License-Identifier: MIT
/*
 * test_bzimage.c - the bzImage loader: good, truncated and hostile headers.
 */
#include "tests/unit/guest.h"
#include "tests/unit/images.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#define RAM (64 * MIB)

static struct guest g;
static u8 bz[BZ_SIZE];
static struct setup_header *h;

static void setup(void)
{
	guest_init(&g, RAM);
	h = bz_build(bz);
}

static void teardown(void)
{
	guest_free(&g);
}

static int boot(void)
{
	return guest_boot(&g, bz, BZ_SIZE);
}

static void refused(const char *why)
{
	ck_assert_int_eq(boot(), -ENOEXEC);
	expect_said(why);
}

START_TEST(it_is_entered_200h_into_the_kernel_proper)
{
	ck_assert_int_eq(boot(), 0);
	ck_assert(g.entry.long_mode);
	ck_assert_uint_eq(g.entry.pc, BZ_PREF_ADDRESS + 0x200);
	ck_assert_mem_eq(guest_at(&g, BZ_PREF_ADDRESS, BZ_PROPER), bz + BZ_SETUP, BZ_PROPER);
	expect_silence();
}

START_TEST(the_zero_page_has_the_files_header_with_our_answers)
{
	struct boot_params *z;

	h->hardware_subarch_data = 0x1122334455667788;
	ck_assert_int_eq(boot(), 0);
	z = guest_at(&g, g.entry.arg, sizeof(*z));
	ck_assert_uint_eq(z->hdr.version, h->version);
	ck_assert_uint_eq(z->hdr.hardware_subarch_data, 0x1122334455667788);
	ck_assert_uint_eq(z->hdr.setup_sects, h->setup_sects);
	ck_assert_uint_eq(z->hdr.type_of_loader, 0xff);
	ck_assert_uint_ne(z->acpi_rsdp_addr, 0);
	ck_assert_mem_eq(guest_at(&g, z->acpi_rsdp_addr, 8), "RSD PTR ", 8);
	ck_assert_uint_eq(z->sentinel, 0);
}

START_TEST(what_the_header_does_not_have_is_zero)
{
	struct boot_params *z;

	h->kernel_info_offset = 0x12345678; /* the last field, behind a header cut short */
	h->jump = 0xeb | (0x264 - 0x202) << 8;
	ck_assert_int_eq(boot(), 0);
	z = guest_at(&g, g.entry.arg, sizeof(*z));
	ck_assert_uint_eq(z->hdr.init_size, BZ_INIT_SIZE);
	ck_assert_uint_eq(z->hdr.kernel_info_offset, 0);
}

START_TEST(a_header_longer_than_we_know_is_fine)
{
	h->jump = 0xffeb;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(zero_setup_sectors_mean_four)
{
	static u8 five[5 * 512 + BZ_PROPER];

	h->setup_sects = 0;
	memcpy(five, bz, BZ_SETUP);
	memset(five + 5 * 512, 0xaa, BZ_PROPER);
	ck_assert_int_eq(guest_boot(&g, five, sizeof(five)), 0);
	ck_assert_uint_eq(*(u8 *)guest_at(&g, BZ_PREF_ADDRESS, 1), 0xaa);
}

START_TEST(it_needs_its_room_where_it_unpacks_itself)
{
	h->pref_address = RAM - BZ_INIT_SIZE + 4096;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
	h->pref_address = RAM - BZ_INIT_SIZE;
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(g.entry.pc, RAM - BZ_INIT_SIZE + 0x200);
}

START_TEST(only_if_it_is_relocatable)
{
	h->pref_address = RAM;
	h->relocatable_kernel = 0;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
}

START_TEST(it_stays_below_1_gib_and_above_1_mib)
{
	guest_free(&g);
	guest_init(&g, 2 * GIB);
	h->pref_address = GIB;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
	h->pref_address = 0x7000; /* our own tables */
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(g.entry.pc, 2 * MIB + 0x200); /* 1 MiB, aligned as it asks */
	h->pref_address = GIB - BZ_INIT_SIZE;
	ck_assert_int_eq(boot(), 0);
	ck_assert_uint_eq(g.entry.pc, GIB - BZ_INIT_SIZE + 0x200);
}

START_TEST(one_that_needs_more_room_than_there_is_is_refused)
{
	h->init_size = 63 * MIB;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("needs 64 MiB from");
	h->init_size = ~0u;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
	h->init_size = RAM - BZ_PREF_ADDRESS;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(without_an_init_size_the_file_decides)
{
	h->init_size = 0;
	h->pref_address = RAM - BZ_PROPER;
	ck_assert_int_eq(boot(), 0);
	h->pref_address = RAM - BZ_PROPER + 1;
	h->relocatable_kernel = 0;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
}

START_TEST(an_address_that_wraps_is_refused)
{
	h->relocatable_kernel = 0;
	h->pref_address = ~0ULL;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
	h->pref_address = 0 - (u64)BZ_INIT_SIZE;
	ck_assert_int_eq(boot(), -ENOMEM);
	expect_said("give more --memory");
}

START_TEST(an_old_protocol_is_refused)
{
	h->version = 0x020b;
	refused("older than 2.12");
	h->version = 0x020c;
	ck_assert_int_eq(boot(), 0);
}

START_TEST(a_zimage_is_refused)
{
	h->loadflags &= ~LOADED_HIGH;
	refused("a zImage");
}

START_TEST(a_32_bit_kernel_is_refused)
{
	h->xloadflags &= ~XLF_KERNEL_64;
	refused("no 64-bit entry point");
}

START_TEST(an_alignment_that_is_no_power_of_two_is_refused)
{
	h->kernel_alignment = 0;
	refused("kernel_alignment");
	h->kernel_alignment = 3 * MIB;
	refused("kernel_alignment");
	h->relocatable_kernel = 0; /* then it does not count */
	ck_assert_int_eq(boot(), 0);
}

START_TEST(without_its_magic_it_is_no_bzimage)
{
	h->header++;
	refused("neither a bzImage nor");
	bz_build(bz);
	h->boot_flag = 0;
	refused("neither a bzImage nor");
}

START_TEST(a_size_beyond_the_file_is_refused)
{
	h->syssize++;
	refused("truncated");
	h->syssize = ~0u;
	refused("truncated");
	h->syssize = 0; /* some boot loaders' images say nothing */
	ck_assert_int_eq(boot(), 0);
}

START_TEST(setup_sectors_beyond_the_file_are_refused)
{
	h->setup_sects = 255;
	refused("truncated");
}

START_TEST(a_truncated_file_is_refused_wherever_it_ends)
{
	for (u32 len = 1; len <= BZ_SIZE - 16; len++) {
		ck_assert_int_eq(guest_boot(&g, bz, len), -ENOEXEC);
		ck_assert_msg(said_once("kernel "), "%u bytes: \"%s\"", len, said_text());
	}
	/* syssize counts 16 bytes at a time */
	ck_assert_int_eq(guest_boot(&g, bz, BZ_SIZE - 15), 0);
}

/* Every single byte of the header, damaged: it boots, or one line says why not. */
START_TEST(a_hostile_header_boots_or_is_refused_in_one_line)
{
	static const u8 hostile[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

	for (u32 off = 0x1f1; off < 0x1f1 + sizeof(*h); off++) {
		for (u32 i = 0; i < ARRAY_SIZE(hostile); i++) {
			bz_build(bz);
			bz[off] = hostile[i];
			if (boot() < 0)
				ck_assert_msg(said_once("kernel /proc/") ||
						      said_once("--cmdline: 0 bytes"),
					      "byte %#x = %#x: \"%s\"", off, hostile[i],
					      said_text());
			else
				expect_silence();
		}
	}
}

Suite *bzimage_suite(void)
{
	Suite *s = suite_create("bzimage");
	TCase *t = tcase_create("bzimage");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, it_is_entered_200h_into_the_kernel_proper);
	tcase_add_test(t, the_zero_page_has_the_files_header_with_our_answers);
	tcase_add_test(t, what_the_header_does_not_have_is_zero);
	tcase_add_test(t, a_header_longer_than_we_know_is_fine);
	tcase_add_test(t, zero_setup_sectors_mean_four);
	tcase_add_test(t, it_needs_its_room_where_it_unpacks_itself);
	tcase_add_test(t, only_if_it_is_relocatable);
	tcase_add_test(t, it_stays_below_1_gib_and_above_1_mib);
	tcase_add_test(t, one_that_needs_more_room_than_there_is_is_refused);
	tcase_add_test(t, without_an_init_size_the_file_decides);
	tcase_add_test(t, an_address_that_wraps_is_refused);
	tcase_add_test(t, an_old_protocol_is_refused);
	tcase_add_test(t, a_zimage_is_refused);
	tcase_add_test(t, a_32_bit_kernel_is_refused);
	tcase_add_test(t, an_alignment_that_is_no_power_of_two_is_refused);
	tcase_add_test(t, without_its_magic_it_is_no_bzimage);
	tcase_add_test(t, a_size_beyond_the_file_is_refused);
	tcase_add_test(t, setup_sectors_beyond_the_file_are_refused);
	tcase_add_test(t, a_truncated_file_is_refused_wherever_it_ends);
	tcase_add_test(t, a_hostile_header_boots_or_is_refused_in_one_line);
	suite_add_tcase(s, t);
	return s;
}
