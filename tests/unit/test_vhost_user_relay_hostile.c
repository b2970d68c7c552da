// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_relay_hostile.c - relayed rings (test_vhost_user_relay.c) between a back end that uses what it was
 * not given and a driver that breaks the rules: the one loses its connection, the other its device.
 */
#include "tests/unit/vhost_user_front.h"

#include <linux/virtio_ring.h>
#include <string.h>

/* ---- a back end that lies ---- */

START_TEST(a_lie_ends_the_connection_and_no_request)
{
	struct fe_req r[3];

	fe_start_disk(_i % VDRV_BUSES);
	for (u32 i = 0; i < 5; i++)
		fe_request(0, i);
	be_set(&fe.be.hold, BE_HOLD_EVEN);
	r[0] = fe_submit(0, 2);
	r[1] = fe_submit(0, 4);
	fe_wait_until(be_get(&fe.be.ngot) == 7);
	be_set(&fe.be.lie, 1 + _i / VDRV_BUSES);
	r[2] = fe_submit(0, BE_LIE_BEHIND); /* which is done, then comes the lie */
	fe_wait_one(0, r, 3);
	fe_wait_until(be_get(&fe.be.connections) == 2);
	ck_assert_ptr_nonnull(strstr(said_text(), "uses a request that it was not given"));
	be_set(&fe.be.hold, BE_HOLD_NONE);
	r[2] = fe_submit(0, 60);
	fe_wait_all(0, r, 3);
	fe_request(1, 3);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	said_forget();
	fe_end();
}

/* It says that it stopped where it never was. */
START_TEST(an_impossible_base_ends_the_connection)
{
	struct fe_req r;

	fe_start_disk(_i);
	fe_request(0, 1);
	be_set(&fe.be.base_off, 1000);
	virtio_pause(fe.d.v);
	expect_said("gives an answer that is none");
	be_set(&fe.be.base_off, 0);
	virtio_resume(fe.d.v);
	r = fe_submit(0, 2);
	fe_wait_all(0, &r, 1);
	said_forget();
	fe_end();
}

/* ---- a driver that breaks the rules ---- */

static struct vring_avail *avail(void)
{
	return vdrv_ptr(&fe.d, fe.d.q[0].ring.cfg.driver, 6 + 2 * FE_SIZE);
}

static void expect_broken(const char *why)
{
	vdrv_kick(&fe.d, 0);
	fe_wait_until(vdrv_status(&fe.d) & NEEDS_RESET);
	expect_said(why);
	said_forget();
	be_set(&fe.be.hold, BE_HOLD_NONE);
	vdrv_start(&fe.d, ~0ULL); /* the next driver finds a device that works */
	fe_request(0, 1);
	fe_request(1, 2);
	said_forget();
	fe_end();
}

START_TEST(an_index_that_jumps)
{
	fe_start_disk(_i);
	fe_request(0, 1);
	avail()->idx += FE_SIZE + 1;
	expect_broken("ahead by more than the queue size");
}

START_TEST(an_index_that_jumps_beyond_what_is_free)
{
	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 10; i++)
		fe_submit(0, i);
	fe_wait_until(be_get(&fe.be.ngot) == 10);
	avail()->idx += FE_SIZE - 9;
	expect_broken("ahead by more than the queue size");
}

START_TEST(a_head_out_of_range)
{
	fe_start_disk(_i);
	avail()->ring[0] = FE_SIZE;
	avail()->idx++;
	expect_broken("a descriptor index is out of range");
}

START_TEST(a_head_that_is_in_flight)
{
	u16 idx;

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	fe_submit(0, 1);
	fe_wait_until(be_get(&fe.be.ngot) == 1);
	idx = avail()->idx;
	avail()->ring[idx % FE_SIZE] = avail()->ring[(idx - 1) % FE_SIZE];
	avail()->idx++;
	expect_broken("made available that is in flight");
}

Suite *vhost_user_relay_hostile_suite(void)
{
	Suite *s = suite_create("vhost-user-relay-hostile");
	TCase *tc = tcase_create("vhost-user-relay-hostile");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, a_lie_ends_the_connection_and_no_request, 0, 4 * VDRV_BUSES);
	tcase_add_loop_test(tc, an_impossible_base_ends_the_connection, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_index_that_jumps, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_index_that_jumps_beyond_what_is_free, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_head_out_of_range, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_head_that_is_in_flight, 0, VDRV_BUSES);
	suite_add_tcase(s, tc);
	return s;
}
