// SPDX-License-Identifier: MIT
/*
 * test_auto_path.c - when a network device changes its data path by itself: the policy, fed with numbers of frames.
 */
#include "tests/unit/unit.h"
#include "vmm/auto_path.h"

#define MS 100 /* a sample */

static const struct auto_limits limits = { .up = 1000, .down = 100 };
static struct auto_state s;

static void setup(void)
{
	s = (struct auto_state){ 0 };
}

/* At `rate` frames a second: after how many samples is there advice, which has to be `advice`? 0: none in 1000. */
static u32 samples_until(enum auto_advice advice, bool offloaded, u32 rate)
{
	for (u32 i = 1; i <= 1000; i++) {
		enum auto_advice a =
			auto_path_step(&s, &limits, offloaded, (u64)rate * MS / 1000, MS);

		if (a == AUTO_STAY)
			continue;
		ck_assert_int_eq(a, advice);
		return i;
	}
	return 0;
}

/* So many samples at `rate`, without advice. */
static void stays(u32 n, bool offloaded, u32 rate)
{
	while (n--)
		ck_assert_int_eq(auto_path_step(&s, &limits, offloaded, (u64)rate * MS / 1000, MS),
				 AUTO_STAY);
}

START_TEST(it_goes_when_it_has_been_busy_for_long_enough)
{
	ck_assert_uint_eq(samples_until(AUTO_OFFLOAD, false, 1000), AUTO_BUSY_MS / MS);
	setup();
	ck_assert_uint_eq(samples_until(AUTO_OFFLOAD, false, 1000000), AUTO_BUSY_MS / MS);
	setup();
	ck_assert_uint_eq(samples_until(AUTO_STAY, false, 990), 0);
	ck_assert_uint_eq(samples_until(AUTO_STAY, true, 1000000), 0); /* it is there */
}

START_TEST(it_returns_when_it_has_been_idle_for_long_enough)
{
	ck_assert_uint_eq(samples_until(AUTO_RETURN, true, 0), AUTO_IDLE_MS / MS);
	setup();
	ck_assert_uint_eq(samples_until(AUTO_RETURN, true, 90), AUTO_IDLE_MS / MS);
	setup();
	ck_assert_uint_eq(samples_until(AUTO_STAY, true, 100), 0);
	ck_assert_uint_eq(samples_until(AUTO_STAY, false, 0), 0);
}

START_TEST(between_the_thresholds_nothing_changes)
{
	ck_assert_uint_eq(samples_until(AUTO_STAY, false, 500), 0);
	ck_assert_uint_eq(samples_until(AUTO_STAY, true, 500), 0);
}

/* One sample that is otherwise, and the time begins anew. */
START_TEST(a_burst_or_a_lull_is_not_enough)
{
	for (u32 i = 0; i < 50; i++) {
		stays(AUTO_BUSY_MS / MS - 1, false, 5000);
		stays(1, false, 500);
	}
	for (u32 i = 0; i < 5; i++) {
		stays(AUTO_IDLE_MS / MS - 1, true, 0);
		stays(1, true, 500);
	}
	ck_assert_uint_eq(samples_until(AUTO_RETURN, true, 0), AUTO_IDLE_MS / MS);
}

/* A rate that swings over one threshold, as long as it does not stay there, moves nothing to and fro. */
START_TEST(it_does_not_flap)
{
	u32 changes = 0;
	bool offloaded = false;

	for (u32 i = 0; i < 2000; i++) {
		u64 frames = i / 8 % 2 ? 110 : 5; /* 0.8 s at 1100 a second, then at 50 */
		enum auto_advice a = auto_path_step(&s, &limits, offloaded, frames, MS);

		changes += a != AUTO_STAY;
		offloaded = a == AUTO_OFFLOAD || (offloaded && a == AUTO_STAY);
	}
	ck_assert_uint_eq(changes, 0);
}

START_TEST(what_has_failed_is_tried_again_later)
{
	ck_assert_uint_eq(samples_until(AUTO_OFFLOAD, false, 5000), AUTO_BUSY_MS / MS);
	auto_path_failed(&s);
	ck_assert_uint_eq(samples_until(AUTO_OFFLOAD, false, 5000), AUTO_RETRY_MS / MS);
}

START_TEST(a_sample_may_be_of_any_length)
{
	ck_assert_int_eq(auto_path_step(&s, &limits, false, 2000, 2000), AUTO_OFFLOAD);
	setup();
	ck_assert_int_eq(auto_path_step(&s, &limits, false, 1999, 2000), AUTO_STAY);
	setup();
	ck_assert_int_eq(auto_path_step(&s, &limits, false, ~0ULL, ~0U), AUTO_OFFLOAD);
	ck_assert_int_eq(auto_path_step(&s, &limits, false, ~0ULL, ~0U), AUTO_OFFLOAD);
	setup();
	ck_assert_int_eq(auto_path_step(&s, &limits, true, 0, ~0U), AUTO_RETURN);
	setup();
	for (u32 i = 1; i < AUTO_BUSY_MS; i++)
		ck_assert_int_eq(auto_path_step(&s, &limits, false, 1, 1), AUTO_STAY);
	ck_assert_int_eq(auto_path_step(&s, &limits, false, 1, 1), AUTO_OFFLOAD);
}

Suite *auto_path_suite(void)
{
	Suite *suite = suite_create("auto-path");
	TCase *t = tcase_create("automatic data path");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, it_goes_when_it_has_been_busy_for_long_enough);
	tcase_add_test(t, it_returns_when_it_has_been_idle_for_long_enough);
	tcase_add_test(t, between_the_thresholds_nothing_changes);
	tcase_add_test(t, a_burst_or_a_lull_is_not_enough);
	tcase_add_test(t, it_does_not_flap);
	tcase_add_test(t, what_has_failed_is_tried_again_later);
	tcase_add_test(t, a_sample_may_be_of_any_length);
	suite_add_tcase(suite, t);
	return suite;
}
