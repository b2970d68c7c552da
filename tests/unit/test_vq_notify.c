// SPDX-License-Identifier: MIT
/*
 * test_vq_notify.c - virtqueues: who calls and who kicks, and when. The three modes of the
 * specification (2.7.7, 2.7.10, 2.8.10), on, off and "at that descriptor", in both directions.
 */
#include "tests/unit/test_vq.h"

static struct vq_rig v;
static struct vq_slot slot[VQ_SLOTS];

static void teardown(void)
{
	vq_rig_free(&v);
}

/* ---- calls: three modes ---- */

START_TEST(calls_on_means_one_a_batch)
{
	vq_rig_init(&v, _i, 16);
	ring_calls(&v.ring, RING_CALLS_ON, 0);
	for (u32 n = 0; n < 200; n++) {
		int id[VQ_SLOTS];
		u32 count = vq_rig_add_all(&v, n, id), len;

		vq_rig_get_all(&v, slot, n, count);
		for (u32 i = 0; i < count; i++)
			vq_put(&v.q, &slot[i].c, 0);
		ck_assert(vq_publish(&v.q));
		ck_assert(!vq_publish(&v.q));
		ck_assert_uint_eq(vq_rig_calls(&v), 1);
		while (ring_get(&v.ring, &len) >= 0)
			;
	}
	ck_assert_uint_eq(v.q.stats.calls, 200);
	teardown();
}

START_TEST(calls_off_means_none)
{
	vq_rig_init(&v, _i, 16);
	ring_calls(&v.ring, RING_CALLS_OFF, 0);
	for (u32 n = 0; n < 1000; n++)
		ck_assert(!vq_rig_trip(&v, n));
	ck_assert_uint_eq(vq_rig_calls(&v), 0);
	ck_assert_uint_eq(v.q.stats.calls, 0);
	ring_calls(&v.ring, RING_CALLS_ON, 0);
	ck_assert(vq_rig_trip(&v, 0));
	teardown();
}

/* 1 to 5 chains, each a batch or all of them one, of which the `after`-th is asked for. */
START_TEST(calls_at_a_chain_come_with_that_chain_only)
{
	vq_rig_init(&v, _i | VQ_EVENT_IDX, 16);
	for (u32 n = 0; n < 2000; n += 5) {
		u32 after = n / 5 % 5 + 1, batch = n / 25 % 4 + 1, calls = 0;

		ck_assert(!ring_calls(&v.ring, RING_CALLS_AT, after));
		for (u32 i = 0; i < 5; i++)
			ck_assert_int_ge(vq_rig_add(&v, n + i), 0);
		ring_publish(&v.ring);
		vq_rig_get_all(&v, slot, n, 5);
		/* Positions of packed chains are known to the driver now. */
		ck_assert(!ring_calls(&v.ring, RING_CALLS_AT, after));
		for (u32 i = 0; i < 5; i++) {
			vq_put(&v.q, &slot[i].c, 0);
			if ((i + 1) % batch && i < 4)
				continue;
			if (vq_publish(&v.q)) {
				ck_assert_uint_ge(i + 1, after);
				ck_assert_uint_lt(i + 1 - after, batch);
				calls++;
			}
		}
		ck_assert_uint_eq(calls, 1);
		ck_assert_uint_eq(vq_rig_calls(&v), 1);
		for (u32 i = 0, len; i < 5; i++)
			ck_assert_int_ge(ring_get(&v.ring, &len), 0);
	}
	teardown();
}

START_TEST(who_asks_too_late_is_told_so)
{
	vq_rig_init(&v, _i, 16);
	ring_calls(&v.ring, RING_CALLS_OFF, 0);
	for (u32 n = 0; n < 100; n++) {
		u32 len;

		vq_rig_add(&v, n);
		ring_publish(&v.ring);
		vq_rig_get(&v, slot, n);
		ck_assert(!ring_calls(&v.ring, RING_CALLS_OFF, 0));
		vq_put(&v.q, &slot->c, 0);
		ck_assert(!vq_publish(&v.q));
		ck_assert(ring_calls(&v.ring, RING_CALLS_ON, 0));
		ck_assert_int_ge(ring_get(&v.ring, &len), 0);
	}
	teardown();
}

START_TEST(without_a_callfd_nobody_is_called)
{
	vq_rig_init(&v, _i, 16);
	vq_stop(&v.q);
	ck_assert_int_eq(vq_start(&v.q, &v.mem, &v.ring.cfg, vq_pos_initial(_i & VQ_PACKED), -1),
			 0);
	ring_calls(&v.ring, RING_CALLS_ON, 0);
	ck_assert(!vq_rig_trip(&v, 0));
	ck_assert_uint_eq(v.q.stats.calls, 0);
	teardown();
}

/* ---- kicks: three modes ---- */

/* Add and publish chain `n`; returns whether the driver would kick. */
static bool offer(u32 n)
{
	ck_assert_int_ge(vq_rig_add(&v, n), 0);
	return ring_publish(&v.ring);
}

/* The device takes and returns all there is. */
static void serve(void)
{
	u32 len;

	while (vq_get(&v.q, vq_slot_chain(slot)) > 0)
		vq_put(&v.q, &slot->c, 0);
	vq_publish(&v.q);
	while (ring_get(&v.ring, &len) >= 0)
		;
}

START_TEST(a_disarmed_queue_is_not_kicked)
{
	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 1000; n++) {
		vq_disarm(&v.q);
		ck_assert(!offer(n));
		ck_assert(!offer(n));
		serve();
	}
	teardown();
}

START_TEST(an_armed_queue_is_kicked_for_the_next_chain)
{
	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 1000; n++) {
		ck_assert(!vq_rearm(&v.q));
		ck_assert(offer(n));
		/* With event_idx "at that descriptor", without it "always". */
		ck_assert_int_eq(offer(n), !(_i & VQ_EVENT_IDX));
		serve();
		ck_assert_int_eq(offer(n), !(_i & VQ_EVENT_IDX));
		serve();
	}
	teardown();
}

START_TEST(arming_too_late_tells_so)
{
	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 200; n++) {
		vq_disarm(&v.q);
		ck_assert(!offer(n));
		ck_assert(vq_rearm(&v.q));
		vq_rig_get(&v, slot, n);
		ck_assert(!vq_rearm(&v.q));
		vq_unget(&v.q, &slot->c);
		ck_assert(vq_rearm(&v.q));
		serve();
	}
	teardown();
}

START_TEST(one_kick_is_enough_for_a_batch)
{
	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 300; n++) {
		int id[VQ_SLOTS];
		u32 count = 0;

		ck_assert(!vq_rearm(&v.q));
		while ((id[count] = vq_rig_add(&v, n + count)) >= 0)
			count++;
		ck_assert(ring_publish(&v.ring));
		ck_assert(!ring_publish(&v.ring));
		serve();
	}
	teardown();
}

/* More than 2^16 of them: so far an event index says "not yet". */
START_TEST(a_polled_queue_is_never_kicked_until_it_stops)
{
	struct vq_pos pos;

	vq_rig_init(&v, _i, 16);
	v.ring.cfg.polled = true;
	vq_rig_restart(&v);
	for (u32 n = 0; n < 70000; n++) {
		ck_assert(!vq_waits(&v.q));
		ck_assert(!vq_rearm(&v.q)); /* nobody is asked, so there is no "too late" */
		ck_assert(!vq_waits(&v.q));
		ck_assert_int_ge(vq_rig_add(&v, n), 0);
		ck_assert(!ring_publish(&v.ring));
		ck_assert(vq_waits(&v.q));
		vq_disarm(&v.q);
		vq_rig_get(&v, &slot[0], n);
		vq_put(&v.q, &slot[0].c, 0);
		vq_publish(&v.q);
		ck_assert_int_ge(ring_get(&v.ring, &(u32){ 0 }), 0);
	}
	pos = vq_stop(&v.q);
	ck_assert_int_ge(vq_rig_add(&v, 0), 0);
	ck_assert(ring_publish(&v.ring));
	ck_assert_int_eq(vq_start(&v.q, &v.mem, &v.ring.cfg, pos, v.callfd), 0);
	teardown();
}

Suite *vq_notify_suite(void)
{
	Suite *s = suite_create("vq_notify");
	TCase *tc = tcase_create("vq_notify");

	tcase_add_loop_test(tc, calls_on_means_one_a_batch, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, calls_off_means_none, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, calls_at_a_chain_come_with_that_chain_only, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, who_asks_too_late_is_told_so, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, without_a_callfd_nobody_is_called, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_disarmed_queue_is_not_kicked, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, an_armed_queue_is_kicked_for_the_next_chain, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, arming_too_late_tells_so, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, one_kick_is_enough_for_a_batch, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_polled_queue_is_never_kicked_until_it_stops, 0, VQ_VARIANTS);
	suite_add_tcase(s, tc);
	return s;
}
