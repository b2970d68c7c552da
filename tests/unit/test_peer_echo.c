// SPDX-License-Identifier: MIT
/*
 * test_peer_echo.c - the peer that sends back what it is sent.
 */
#include "tests/unit/peer_rig.h"

#include <errno.h>
#include <string.h>

#define LEN   60
#define SLOTS 256 /* devices/net/echo.c */

static struct peer_rig r;

static void setup(void)
{
	struct peer *p;

	peer_rig_init(&r);
	ck_assert_int_eq(peer_echo_open(&p, 2), 0);
	peer_rig_begin(&r, p);
}

static void teardown(void)
{
	peer_rig_free(&r);
}

static int send_frame(u32 queue, u32 len, u32 seed)
{
	u8 frame[4096];

	make_frame(frame, len, seed);
	return peer_rig_send(&r, queue, frame, len);
}

static void expect_frame(u32 queue, u32 len, u32 seed)
{
	u8 frame[4096];

	make_frame(frame, len, seed);
	peer_rig_expect(&r, queue, frame, len);
}

START_TEST(what_is_sent_comes_back_in_order)
{
	peer_rig_expect_none(&r, 0);
	ck_assert_int_eq(send_frame(0, LEN, 1), 0);
	ck_assert_int_eq(send_frame(0, 1514, 2), 0);
	ck_assert_int_eq(send_frame(1, LEN, 3), 0);
	expect_frame(0, LEN, 1);
	expect_frame(0, 1514, 2);
	peer_rig_expect_none(&r, 0);
	expect_frame(1, LEN, 3);
	peer_rig_expect_none(&r, 1);
}

START_TEST(a_full_one_takes_no_more_until_there_is_room)
{
	for (u32 i = 0; i < SLOTS; i++)
		ck_assert_int_eq(send_frame(0, LEN, i), 0);
	ck_assert_int_eq(send_frame(0, LEN, SLOTS), -EAGAIN);
	expect_frame(0, LEN, 0);
	ck_assert_int_eq(send_frame(0, LEN, SLOTS), 0);
	ck_assert_int_eq(send_frame(0, LEN, SLOTS), -EAGAIN);
	for (u32 i = 1; i <= SLOTS; i++)
		expect_frame(0, LEN, i);
	peer_rig_expect_none(&r, 0);
}

START_TEST(the_owner_is_told_of_what_it_wants_and_of_nothing_else)
{
	struct peer_queue *q = r.peer->queue(r.peer, 0);

	peer_want(q, 0);
	ck_assert_int_eq(send_frame(0, LEN, 1), 0);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads + r.writes, 0);
	peer_want(q, PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_gt(r.reads, 0);
	ck_assert_uint_eq(r.writes, 0);
	expect_frame(0, LEN, 1);
	r.reads = 0;
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0);
	peer_want(q, PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_gt(r.writes, 0);
}

START_TEST(a_frame_too_long_is_dropped)
{
	ck_assert_int_eq(send_frame(0, 2048, 1), 0);
	peer_rig_expect_none(&r, 0);
	ck_assert_int_eq(send_frame(0, LEN, 2), 0);
	expect_frame(0, LEN, 2);
}

Suite *peer_echo_suite(void)
{
	Suite *s = suite_create("peer_echo");
	TCase *t = tcase_create("echo");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_sent_comes_back_in_order);
	tcase_add_test(t, a_full_one_takes_no_more_until_there_is_room);
	tcase_add_test(t, the_owner_is_told_of_what_it_wants_and_of_nothing_else);
	tcase_add_test(t, a_frame_too_long_is_dropped);
	suite_add_tcase(s, t);
	return s;
}
