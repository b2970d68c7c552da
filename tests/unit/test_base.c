// SPDX-License-Identifier: MIT
/*
 * test_base.c - address arithmetic that must not wrap.
 */
#include "tests/unit/unit.h"

START_TEST(a_range_is_inside_itself)
{
	ck_assert(range_inside(0x1000, 0x1000, 0x1000, 0x1000));
	ck_assert(range_inside(0, ~0ULL, 0, ~0ULL));
}

START_TEST(one_byte_off_either_end_is_outside)
{
	ck_assert(!range_inside(0xfff, 0x10, 0x1000, 0x1000));
	ck_assert(!range_inside(0x1ff1, 0x10, 0x1000, 0x1000));
	ck_assert(range_inside(0x1ff0, 0x10, 0x1000, 0x1000));
}

START_TEST(nothing_is_inside_up_to_the_end)
{
	ck_assert(range_inside(0x2000, 0, 0x1000, 0x1000));
	ck_assert(!range_inside(0x2001, 0, 0x1000, 0x1000));
	ck_assert(!range_inside(0xfff, 0, 0x1000, 0x1000));
}

START_TEST(address_plus_length_that_wraps_is_outside)
{
	ck_assert(!range_inside(0x1800, ~0ULL, 0x1000, 0x1000));
	ck_assert(!range_inside(0x1800, ~0ULL - 0x17ff, 0x1000, 0x1000));
	ck_assert(!range_inside(~0ULL, 2, ~0ULL - 0xfff, 0x1000));
	ck_assert(range_inside(~0ULL, 1, ~0ULL - 0xfff, 0x1000));
}

START_TEST(ranges_that_touch_do_not_overlap)
{
	ck_assert(!ranges_overlap(0, 0x10, 0x10, 0x10));
	ck_assert(!ranges_overlap(0x10, 0x10, 0, 0x10));
}

START_TEST(ranges_with_a_common_byte_overlap)
{
	ck_assert(ranges_overlap(0, 0x11, 0x10, 0x10));
	ck_assert(ranges_overlap(0x1f, 1, 0x10, 0x10));
	ck_assert(ranges_overlap(0x10, 0x10, 0x18, 1));
	ck_assert(ranges_overlap(0x18, 1, 0x10, 0x10));
	ck_assert(ranges_overlap(~0ULL, 1, ~0ULL - 0xf, 0x10));
}

START_TEST(bytes_mask_covers_the_low_bytes)
{
	ck_assert_uint_eq(bytes_mask(1), 0xff);
	ck_assert_uint_eq(bytes_mask(2), 0xffff);
	ck_assert_uint_eq(bytes_mask(4), 0xffffffff);
	ck_assert_uint_eq(bytes_mask(7), 0xffffffffffffff);
	ck_assert_uint_eq(bytes_mask(8), ~0ULL);
	ck_assert_uint_eq(bytes_mask(9), ~0ULL);
}

START_TEST(alignment_keeps_64_bits)
{
	ck_assert_uint_eq(ALIGN_UP(0x100000001ULL, 4096), 0x100001000ULL);
	ck_assert_uint_eq(ALIGN_DOWN(0x100001fffULL, 4096), 0x100001000ULL);
	ck_assert_uint_eq(ALIGN_UP((u32)0xffffffff, 4), 0x100000000ULL);
	ck_assert_uint_eq(ALIGN_UP(0x1000, 4096), 0x1000);
}

Suite *base_suite(void)
{
	Suite *s = suite_create("base");
	TCase *t = tcase_create("base");

	tcase_add_test(t, a_range_is_inside_itself);
	tcase_add_test(t, one_byte_off_either_end_is_outside);
	tcase_add_test(t, nothing_is_inside_up_to_the_end);
	tcase_add_test(t, address_plus_length_that_wraps_is_outside);
	tcase_add_test(t, ranges_that_touch_do_not_overlap);
	tcase_add_test(t, ranges_with_a_common_byte_overlap);
	tcase_add_test(t, bytes_mask_covers_the_low_bytes);
	tcase_add_test(t, alignment_keeps_64_bits);
	suite_add_tcase(s, t);
	return s;
}
