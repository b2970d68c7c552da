// SPDX-License-Identifier: MIT
/*
 * test_virtio.c - the virtio core: status, features, configuration. The device is echo.c, by its
 * registers, on each transport and with both ring formats: number _i says which.
 */
#include "tests/unit/echo_rig.h"

#include <linux/virtio_ring.h>
#include <string.h>

static struct vdrv d;

/* A request of 8 bytes in queue `q`. */
static void submit(u32 q)
{
	const struct ring_buf buf[2] = { { vdrv_alloc(&d, 8), 8 }, { vdrv_alloc(&d, 8), 8 } };

	vdrv_submit(&d, q, buf, 1, 1);
}

static void check_works(u32 q)
{
	const struct ring_buf buf[2] = { { vdrv_alloc(&d, 8), 8 }, { vdrv_alloc(&d, 8), 8 } };

	ck_assert_uint_eq(vdrv_request(&d, q, buf, 1, 1), 8);
}

/* ---- status ---- */

START_TEST(status_bits_are_only_added)
{
	echo_plug(&d, _i, false);
	vdrv_set_status(&d, ACK);
	ck_assert_uint_eq(vdrv_status(&d), ACK);
	vdrv_set_status(&d, DRIVER);
	ck_assert_uint_eq(vdrv_status(&d), ACK | DRIVER);
	vdrv_set_status(&d, NEEDS_RESET | 0x30); /* ours, and none at all */
	ck_assert_uint_eq(vdrv_status(&d), ACK | DRIVER);
	vdrv_set_status(&d, FAILED);
	ck_assert_uint_eq(vdrv_status(&d), ACK | DRIVER | FAILED);
	vdrv_set_status(&d, 0);
	ck_assert_uint_eq(vdrv_status(&d), 0);
	expect_silence();
	vdrv_free(&d);
}

START_TEST(driver_ok_counts_once)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	vdrv_set_status(&d, STATUS_RUNNING);
	vdrv_set_status(&d, DRIVER_OK);
	ck_assert_uint_eq(echo_calls(d.v).driver_ok, 1);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(driver_ok_without_features_ok_starts_nothing)
{
	echo_plug(&d, _i, false);
	vdrv_set_status(&d, ACK | DRIVER);
	vdrv_queue_up(&d, 0, 16);
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d), ACK | DRIVER | NEEDS_RESET);
	expect_said("echo: the guest's driver broke a rule");
	vdrv_set_status(&d, DRIVER_OK); /* once more, and it is told once */
	submit(0);
	vdrv_settle(&d);
	echo_expect_no_answer(&d, 0);
	ck_assert(!vdrv_config_called(&d)); /* none before DRIVER_OK (2.1.2) */
	ck_assert_uint_eq(echo_calls(d.v).driver_ok, 0);
	expect_silence();
	vdrv_start(&d, ~0ULL);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(driver_ok_comes_too_late_for_a_device_that_needs_a_reset)
{
	echo_plug(&d, _i, false);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	virtio_needs_reset(d.v, "for this test");
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d), ACK | DRIVER | FEATURES_OK | NEEDS_RESET);
	ck_assert_uint_eq(echo_calls(d.v).driver_ok, 0);
	vdrv_free(&d);
}

START_TEST(a_device_at_rest_needs_no_reset)
{
	echo_plug(&d, _i, false);
	virtio_needs_reset(d.v, "for this test");
	ck_assert_uint_eq(vdrv_status(&d), 0);
	expect_silence();
	vdrv_free(&d);
}

START_TEST(a_needed_reset_is_told_once)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	virtio_needs_reset(d.v, "first");
	virtio_needs_reset(d.v, "second");
	expect_said("first");
	vdrv_wait_config_called(&d);
	vdrv_settle(&d);
	ck_assert(!vdrv_config_called(&d));
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING | NEEDS_RESET);
	vdrv_free(&d);
}

START_TEST(a_driver_that_goes_on_breaking_rules_does_not_fill_the_log)
{
	const char *at;
	u32 lines = 0;

	echo_plug(&d, _i, false);
	for (u32 i = 0; i < 100; i++) {
		vdrv_reset(&d);
		vdrv_set_status(&d, ACK | DRIVER_OK);
		ck_assert_uint_eq(vdrv_status(&d), ACK | NEEDS_RESET);
	}
	for (at = said_text(); *at; at++)
		lines += *at == '\n';
	ck_assert_uint_ge(lines, 1);
	ck_assert_uint_le(lines, 16);
	vdrv_free(&d);
}

/* ---- features ---- */

static bool accepts(u64 features)
{
	vdrv_reset(&d);
	vdrv_set_status(&d, ACK | DRIVER);
	vdrv_write_features(&d, features);
	vdrv_set_status(&d, ACK | DRIVER | FEATURES_OK);
	return vdrv_status(&d) & FEATURES_OK;
}

START_TEST(the_device_type_can_refuse_a_subset)
{
	const u64 v1 = VIRTIO_FEATURE(VIRTIO_F_VERSION_1);

	echo_plug(&d, _i, false);
	ck_assert(accepts(v1));
	ck_assert(accepts(v1 | VIRTIO_FEATURE(ECHO_F_PLAIN)));
	ck_assert(!accepts(v1 | VIRTIO_FEATURE(ECHO_F_NEEDS_PLAIN)));
	ck_assert(accepts(v1 | VIRTIO_FEATURE(ECHO_F_PLAIN) | VIRTIO_FEATURE(ECHO_F_NEEDS_PLAIN)));
	vdrv_free(&d);
}

START_TEST(a_feature_that_is_not_offered_is_refused)
{
	echo_plug(&d, _i, false);
	for (u32 bit = 0; bit < 64; bit++) {
		u64 feature = VIRTIO_FEATURE(bit);

		if (!(vdrv_offered(&d) & feature))
			ck_assert(!accepts(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | feature));
	}
	ck_assert(!accepts(0));
	ck_assert(!accepts(vdrv_offered(&d) & ~VIRTIO_FEATURE(VIRTIO_F_VERSION_1)));
	vdrv_free(&d);
}

START_TEST(features_are_settled_by_features_ok)
{
	echo_plug(&d, _i, false);
	ck_assert(vdrv_negotiate(&d, VIRTIO_FEATURE(VIRTIO_F_VERSION_1)));
	vdrv_write_features(&d, ~0ULL);
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	ck_assert(virtio_has_feature(d.v, VIRTIO_F_VERSION_1));
	ck_assert(!virtio_has_feature(d.v, ECHO_F_PLAIN));
	vdrv_reset(&d);
	ck_assert(!virtio_has_feature(d.v, VIRTIO_F_VERSION_1));
	vdrv_free(&d);
}

/* ---- configuration space ---- */

START_TEST(the_driver_writes_what_is_writable)
{
	echo_plug(&d, _i, false);
	for (u32 len = 1; len <= 8; len *= 2) {
		for (u32 off = 0; off <= ECHO_CONFIG_LEN + 2; off++) {
			u8 want[32] = ECHO_CONFIG;

			vdrv_reset(&d);
			for (u32 i = off; i < off + len; i++) {
				if (i >= ECHO_WRITABLE && i < ECHO_CONFIG_LEN)
					want[i] = 0xa0 + i - off;
			}
			vdrv_set_config(&d, off, len, 0xa7a6a5a4a3a2a1a0ULL);
			for (u32 i = 0; i < 24; i++)
				ck_assert_uint_eq(vdrv_config(&d, i, 1), want[i]);
		}
	}
	vdrv_free(&d);
}

START_TEST(the_device_type_hears_of_writes)
{
	echo_plug(&d, _i, false);
	vdrv_set_config(&d, ECHO_WRITABLE, 4, 1);
	vdrv_set_config(&d, 0, 1, 1);
	ck_assert_uint_eq(echo_calls(d.v).config_written, 2);
	vdrv_set_config(&d, ECHO_CONFIG_LEN, 4, 1); /* none there */
	ck_assert_uint_eq(echo_calls(d.v).config_written, 2);
	vdrv_free(&d);
}

START_TEST(a_change_of_the_configuration_is_told)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	virtio_config_update(d.v, 4, "\x11\x22", 2);
	vdrv_wait_config_called(&d);
	ck_assert_uint_eq(vdrv_config(&d, 4, 2), 0x2211);
	virtio_config_update(d.v, 4, "\x11\x22", 2); /* no change */
	vdrv_settle(&d);
	ck_assert(!vdrv_config_called(&d));
	vdrv_free(&d);
}

START_TEST(before_driver_ok_nobody_is_told)
{
	echo_plug(&d, _i, false);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	virtio_config_update(d.v, 4, "\x11\x22", 2);
	vdrv_driver_ok(&d);
	vdrv_settle(&d);
	ck_assert(!vdrv_config_called(&d));
	ck_assert_uint_eq(vdrv_config(&d, 4, 2), 0x2211);
	vdrv_free(&d);
}

/* 4.1.4.3.1: a driver that reads the generation before and after never takes halves for a whole. */
START_TEST(the_generation_tells_of_a_change_between_two_reads)
{
	u32 before;

	echo_plug(&d, _i, false);
	for (u32 i = 0; i < 300; i++) { /* more changes than the register has values */
		before = vdrv_generation(&d);
		vdrv_config(&d, 0, 4);
		virtio_config_update(d.v, 4, &i, 4);
		vdrv_config(&d, 4, 4);
		ck_assert_uint_ne(vdrv_generation(&d), before);
	}
	before = vdrv_generation(&d);
	for (u32 i = 0; i < 10; i++)
		vdrv_config(&d, 0, 4);
	ck_assert_uint_eq(vdrv_generation(&d), before);
	for (u32 i = 0; i < 256; i++) /* a whole turn of the register with no read is one change */
		virtio_config_update(d.v, 4, &i, 4);
	vdrv_config(&d, 4, 4);
	ck_assert_uint_ne(vdrv_generation(&d), before);
	vdrv_free(&d);
}

START_TEST(a_reset_restores_the_configuration)
{
	u32 before;

	echo_plug(&d, _i, false);
	vdrv_set_config(&d, ECHO_WRITABLE, 4, 0x01020304);
	before = vdrv_generation(&d);
	vdrv_config(&d, 0, 4);
	vdrv_reset(&d);
	ck_assert_uint_eq(vdrv_config(&d, ECHO_WRITABLE, 4), 0x2e2e2e2e);
	ck_assert_uint_ne(vdrv_generation(&d), before);
	vdrv_free(&d);
}

#define TEST(name) tcase_add_loop_test(t, name, 0, MODES)

Suite *virtio_suite(void)
{
	Suite *s = suite_create("virtio");
	TCase *t = tcase_create("status");

	TEST(status_bits_are_only_added);
	TEST(driver_ok_counts_once);
	TEST(driver_ok_without_features_ok_starts_nothing);
	TEST(driver_ok_comes_too_late_for_a_device_that_needs_a_reset);
	TEST(a_device_at_rest_needs_no_reset);
	TEST(a_needed_reset_is_told_once);
	TEST(a_driver_that_goes_on_breaking_rules_does_not_fill_the_log);
	suite_add_tcase(s, t);

	t = tcase_create("features");
	TEST(the_device_type_can_refuse_a_subset);
	TEST(a_feature_that_is_not_offered_is_refused);
	TEST(features_are_settled_by_features_ok);
	suite_add_tcase(s, t);

	t = tcase_create("configuration");
	TEST(the_driver_writes_what_is_writable);
	TEST(the_device_type_hears_of_writes);
	TEST(a_change_of_the_configuration_is_told);
	TEST(before_driver_ok_nobody_is_told);
	TEST(the_generation_tells_of_a_change_between_two_reads);
	TEST(a_reset_restores_the_configuration);
	suite_add_tcase(s, t);

	return s;
}
