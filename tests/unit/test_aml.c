// SPDX-License-Identifier: MIT
/*
 * test_aml.c - the AML writer, byte for byte where the DSDT's disassembly would not show it.
 */
#include "arch/x86_64/aml.h"
#include "tests/unit/unit.h"

#include <string.h>

static struct aml a;
static u8 buf[8192];

static void setup(void)
{
	memset(buf, 0xee, sizeof(buf));
	aml_init(&a, buf, sizeof(buf));
}

/* What has been written since the last time. */
#define wrote(bytes)                                             \
	do {                                                     \
		ck_assert_uint_eq(a.len, sizeof(bytes) - 1);     \
		ck_assert_mem_eq(buf, bytes, sizeof(bytes) - 1); \
		a.len = 0;                                       \
	} while (0)

START_TEST(an_integer_takes_its_shortest_form)
{
	aml_int(&a, 0);
	wrote("\x00");
	aml_int(&a, 1);
	wrote("\x01");
	aml_int(&a, 2);
	wrote("\x0a\x02");
	aml_int(&a, 0xff);
	wrote("\x0a\xff");
	aml_int(&a, 0x100);
	wrote("\x0b\x00\x01");
	aml_int(&a, 0xffff);
	wrote("\x0b\xff\xff");
	aml_int(&a, 0x10000);
	wrote("\x0c\x00\x00\x01\x00");
	aml_int(&a, 0xffffffff);
	wrote("\x0c\xff\xff\xff\xff");
	aml_int(&a, 0x100000000);
	wrote("\x0e\x00\x00\x00\x00\x01\x00\x00\x00");
	aml_int(&a, ~0ULL);
	wrote("\x0e\xff\xff\xff\xff\xff\xff\xff\xff");
}

START_TEST(an_eisa_id_is_packed)
{
	aml_eisaid(&a, "PNP0A03");
	wrote("\x0c\x41\xd0\x0a\x03");
	aml_eisaid(&a, "PNP0C0C");
	wrote("\x0c\x41\xd0\x0c\x0c");
}

START_TEST(a_string_ends_with_a_nul)
{
	aml_string(&a, "LNRO0005");
	wrote("\x0dLNRO0005\0");
}

START_TEST(a_name_may_be_rooted)
{
	aml_name(&a, "_HID");
	wrote("\x08_HID");
	aml_name(&a, "\\_S5_");
	wrote("\x08\\_S5_");
}

START_TEST(a_package_counts_itself_in_its_length)
{
	aml_open_package(&a, 2);
	aml_int(&a, 0);
	aml_int(&a, 5);
	aml_close(&a);
	wrote("\x12\x87\x00\x00\x02\x00\x0a\x05"); /* 3 + 1 + 1 + 2 bytes */
}

START_TEST(terms_nest)
{
	aml_open_scope(&a, "\\_SB_");
	aml_open_device(&a, "DEV0");
	aml_close(&a);
	aml_close(&a);
	wrote("\x10\x81\x01\x00\\_SB_\x5b\x82\x87\x00\x00"
	      "DEV0");
	ck_assert_uint_eq(a.depth, 0);
}

START_TEST(a_long_term_has_a_long_length)
{
	u32 len;

	aml_open_scope(&a, "\\_SB_");
	for (u32 i = 0; i < 5000; i++)
		aml_byte(&a, 0);
	aml_close(&a);
	len = (buf[1] & 0xf) | buf[2] << 4 | buf[3] << 12;
	ck_assert_uint_eq(buf[1] >> 6, 2);
	ck_assert_uint_eq(len, 3 + 5 + 5000);
	ck_assert_uint_eq(len, a.len - 1);
}

START_TEST(a_method_says_its_arguments)
{
	aml_open_method(&a, "_EVT", 1, true);
	aml_close(&a);
	wrote("\x14\x88\x00\x00_EVT\x09");
	aml_open_method(&a, "_STA", 0, false);
	aml_close(&a);
	wrote("\x14\x88\x00\x00_STA\x00");
}

START_TEST(a_resource_template_counts_its_bytes)
{
	aml_open_crs(&a);
	aml_crs_io(&a, 0x3f8, 8);
	aml_close_crs(&a);
	/* Name _CRS, Buffer of 6 + 10 bytes with its size 10 as a word */
	wrote("\x08_CRS\x11\x80\x01\x00\x0b\x0a\x00\x47\x01\xf8\x03\xf8\x03\x01\x08\x79\x00");
}

START_TEST(what_does_not_fit_is_not_written)
{
	aml_init(&a, buf, 5);
	aml_int(&a, 0x12345678);
	ck_assert(!a.full);
	aml_byte(&a, 1);
	ck_assert(a.full);
	ck_assert_uint_eq(a.len, 5);
	ck_assert_uint_eq(buf[5], 0xee);
}

START_TEST(every_term_survives_a_buffer_of_any_size)
{
	for (u32 room = 0; room < 200; room++) {
		memset(buf, 0xee, sizeof(buf));
		aml_init(&a, buf, room);
		aml_open_scope(&a, "\\_SB_");
		aml_open_device(&a, "DEV0");
		aml_name(&a, "_HID");
		aml_eisaid(&a, "PNP0A03");
		aml_open_crs(&a);
		aml_crs_bus(&a, 0, 0);
		aml_crs_window_io(&a, 0xc000, 0x4000);
		aml_crs_window_mem32(&a, 0xc0000000, 0x20000000);
		aml_crs_window_mem64(&a, 0x800000000, 0x800000000);
		aml_crs_irq(&a, 9, true);
		aml_close_crs(&a);
		aml_close(&a);
		aml_close(&a);
		ck_assert_uint_le(a.len, room);
		for (u32 i = room; i < 200; i++)
			ck_assert_uint_eq(buf[i], 0xee);
	}
	ck_assert(!a.full);
}

Suite *aml_suite(void)
{
	Suite *s = suite_create("aml");
	TCase *t = tcase_create("aml");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, an_integer_takes_its_shortest_form);
	tcase_add_test(t, an_eisa_id_is_packed);
	tcase_add_test(t, a_string_ends_with_a_nul);
	tcase_add_test(t, a_name_may_be_rooted);
	tcase_add_test(t, a_package_counts_itself_in_its_length);
	tcase_add_test(t, terms_nest);
	tcase_add_test(t, a_long_term_has_a_long_length);
	tcase_add_test(t, a_method_says_its_arguments);
	tcase_add_test(t, a_resource_template_counts_its_bytes);
	tcase_add_test(t, what_does_not_fit_is_not_written);
	tcase_add_test(t, every_term_survives_a_buffer_of_any_size);
	suite_add_tcase(s, t);
	return s;
}
