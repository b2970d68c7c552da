// SPDX-License-Identifier: MIT
/*
 * test_vq_stats.c - virtqueues: what they count, in all variants.
 */
#include "tests/unit/test_vq.h"

static struct vq_rig v;
static struct vq_slot slot[VQ_SLOTS];
static struct vq_stats before, now;

static void setup(u32 variant)
{
	vq_rig_init(&v, variant, 16);
	ring_calls(&v.ring, RING_CALLS_OFF, 0);
	vq_stats_read(&v.q.stats, &before);
}

static void teardown(void)
{
	vq_rig_free(&v);
}

static void look(void)
{
	vq_stats_read(&v.q.stats, &now);
}

static void offer(u32 n, u32 count)
{
	for (u32 i = 0; i < count; i++)
		ck_assert_int_ge(vq_rig_add(&v, n + i), 0);
	ring_publish(&v.ring);
}

/* The next `count` chains in one batch; each is said to have got one byte, if it has room. */
static u64 batch(u32 n, u32 count)
{
	u64 written = 0;
	u32 len;

	for (u32 i = 0; i < count; i++) {
		u32 part;

		vq_rig_get(&v, &slot[i], n + i);
		part = slot[i].c.in_len ? 1 : 0;

		written += part;
		vq_put(&v.q, &slot[i].c, part);
	}
	vq_publish(&v.q);
	while (ring_get(&v.ring, &len) >= 0)
		;
	return written;
}

START_TEST(chains_and_bytes_are_those_of_the_puts)
{
	u64 out = 0, in = 0;

	setup(_i);
	for (u32 n = 0; n < 100; n++) {
		offer(n, 1);
		vq_rig_get(&v, slot, n);
		out += slot->c.out_len;
		vq_unget(&v.q, &slot->c); /* which counts nothing */
		in += batch(n, 1);
	}
	look();
	ck_assert_uint_eq(now.chains - before.chains, 100);
	ck_assert_uint_eq(now.out_bytes - before.out_bytes, out);
	ck_assert_uint_eq(now.in_bytes - before.in_bytes, in);
	ck_assert_uint_gt(out, 0);
	ck_assert_uint_gt(in, 0);
	teardown();
}

START_TEST(a_batch_is_in_the_bucket_of_its_size)
{
	static const u32 sizes[] = { 1, 1, 2, 3, 1 }, bucket[3] = { 3, 2, 0 };
	u32 n = 0;

	setup(_i);
	for (u32 i = 0; i < ARRAY_SIZE(sizes); n += sizes[i++]) {
		offer(n, sizes[i]);
		batch(n, sizes[i]);
		ck_assert(!vq_publish(&v.q)); /* an empty one is none */
	}
	look();
	for (u32 i = 0; i < 3; i++)
		ck_assert_uint_eq(now.batch[i] - before.batch[i], bucket[i]);
	teardown();
}

START_TEST(calls_are_counted_and_so_are_those_saved)
{
	setup(_i);
	for (u32 n = 0; n < 10; n++) {
		offer(n, 1);
		batch(n, 1);
	}
	ring_calls(&v.ring, RING_CALLS_ON, 0);
	offer(10, 1);
	batch(10, 1);
	look();
	ck_assert_uint_eq(now.no_calls - before.no_calls, 10);
	ck_assert_uint_eq(now.calls - before.calls, 1);
	teardown();
}

START_TEST(a_full_ring_is_noticed_and_one_with_a_place_left_is_not)
{
	int id[VQ_SLOTS];
	u32 count, last = 0;

	setup(_i);
	offer(0, 1);
	batch(0, 1);
	look();
	ck_assert_uint_eq(now.full - before.full, 0);
	count = vq_rig_add_all(&v, 1, id);
	batch(1, 1);
	look();
	/* Else the driver may have run out of descriptors, or a chain not have fitted. */
	if (_i & VQ_INDIRECT)
		ck_assert_uint_eq(now.full - before.full, 1);
	last = now.full;
	batch(2, count - 1); /* one place is free */
	look();
	ck_assert_uint_eq(now.full, last);
	teardown();
}

START_TEST(arming_for_nothing_is_an_empty_queue)
{
	setup(_i);
	ck_assert(!vq_rearm(&v.q));
	ck_assert(!vq_rearm(&v.q));
	offer(0, 1);
	ck_assert(vq_rearm(&v.q));
	look();
	ck_assert_uint_eq(now.empty - before.empty, 2);
	batch(0, 1);
	teardown();
}

START_TEST(counters_go_on_over_a_restart)
{
	setup(_i);
	offer(0, 2);
	batch(0, 2);
	vq_rig_restart(&v);
	offer(0, 1);
	batch(0, 1);
	look();
	ck_assert_uint_eq(now.chains - before.chains, 3);
	ck_assert_uint_eq(now.batch[0] - before.batch[0], 1);
	ck_assert_uint_eq(now.batch[1] - before.batch[1], 1);
	teardown();
}

Suite *vq_stats_suite(void)
{
	Suite *s = suite_create("vq_stats");
	TCase *tc = tcase_create("vq_stats");

	tcase_add_loop_test(tc, chains_and_bytes_are_those_of_the_puts, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_batch_is_in_the_bucket_of_its_size, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, calls_are_counted_and_so_are_those_saved, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_full_ring_is_noticed_and_one_with_a_place_left_is_not, 0,
			    VQ_VARIANTS);
	tcase_add_loop_test(tc, arming_for_nothing_is_an_empty_queue, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, counters_go_on_over_a_restart, 0, VQ_VARIANTS);
	suite_add_tcase(s, tc);
	return s;
}
