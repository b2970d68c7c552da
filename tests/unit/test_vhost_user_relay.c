// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_relay.c - disks at a back end that keeps no record of what is in flight: the front end relays
 * their rings (devices/datapath/vhost_user_relay.c). What is in flight when the back end goes, in which order it
 * comes again, and where a ring stands when it stops. What neither side may do: test_vhost_user_relay_hostile.c.
 */
#include "tests/unit/mem_log_rig.h"
#include "tests/unit/vhost_user_front.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENT_IDX VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)

/* The back end has got these bytes, in this order. */
static void expect_got(const u8 *byte, u32 n)
{
	fe_wait_until(be_get(&fe.be.ngot) >= n);
	ck_assert_uint_eq(be_get(&fe.be.ngot), n);
	for (u32 i = 0; i < n; i++)
		ck_assert_uint_eq(be_get(&fe.be.got[i]), byte[i]);
}

/* The next back end comes, and keeps nothing. */
static void come_and_serve(void)
{
	be_set(&fe.be.hold, BE_HOLD_NONE);
	be_listen(&fe.be);
}

/* Queue 0 rests, and this is how far it is. */
static void expect_pos(u16 avail, u16 used)
{
	ck_assert_uint_eq(fe.d.v->queue[0].pos.avail, avail);
	ck_assert_uint_eq(fe.d.v->queue[0].pos.used, used);
}

/* ---- as long as all is well ---- */

static void serves(u64 features)
{
	vdrv_start(&fe.d, features);
	for (u32 i = 0; i < 4 * FE_SIZE; i++)
		fe_request(i % 2, i);
	for (u32 round = 0; round < 5; round++) {
		struct fe_req r[30];

		for (u32 i = 0; i < ARRAY_SIZE(r); i++)
			r[i] = fe_submit(0, i);
		fe_wait_all(0, r, ARRAY_SIZE(r));
	}
}

START_TEST(requests_are_served)
{
	fe_start_disk(_i);
	serves(~0ULL);
	ck_assert_uint_eq(fe.be.accepted & EVENT_IDX, 0);
	serves(~EVENT_IDX);
	expect_silence();
	fe_end();
}

START_TEST(what_is_offered)
{
	u64 in_order = VIRTIO_FEATURE(VIRTIO_F_IN_ORDER);
	u64 no_fields = VIRTIO_FEATURE(VIRTIO_BLK_F_SECURE_ERASE) | VIRTIO_FEATURE(17); /* zoned */

	fe_begin_disk(_i);
	fe.be.features |= in_order | no_fields;
	fe.be.features &= ~EVENT_IDX; /* the driver has it from us */
	fe_plug();
	ck_assert_uint_eq(vdrv_offered(&fe.d) & (EVENT_IDX | in_order | no_fields |
						 VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)),
			  EVENT_IDX);
	vdrv_start(&fe.d, ~0ULL);
	fe_request(0, 1);
	fe_end();
}

START_TEST(the_relays_memory_is_a_region_more)
{
	fe_begin_disk(_i);
	fe.be.protocol |= BE_P(CONFIGURE_MEM_SLOTS);
	fe.be.mem_slots = 2;
	fe_start();
	fe_request(0, 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_ADD_MEM_REG), 2);
	fe_end();
}

START_TEST(too_few_slots_for_it)
{
	fe_begin_disk(VDRV_PCI_MSIX);
	fe.be.protocol |= BE_P(CONFIGURE_MEM_SLOTS);
	fe.be.mem_slots = 1;
	fe_plug();
	said_forget();
	ck_assert(vdrv_negotiate(&fe.d, ~0ULL));
	vdrv_queue_up(&fe.d, 0, 0);
	vdrv_driver_ok(&fe.d);
	ck_assert_uint_eq(vdrv_status(&fe.d) & NEEDS_RESET, NEEDS_RESET);
	ck_assert_ptr_nonnull(strstr(said_text(), "takes fewer memory regions"));
	said_forget();
	fe_end();
}

START_TEST(a_record_of_the_back_ends_is_preferred)
{
	fe_begin_disk(_i);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	fe_start();
	fe_request(0, 1);
	ck_assert_uint_eq(fe.be.accepted & EVENT_IDX, EVENT_IDX);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_INFLIGHT_FD), 1);
	expect_silence();
	fe_end();
}

START_TEST(packed_rings_are_not_relayed)
{
	fe_begin_disk(VDRV_BUSES + _i);
	fe_plug();
	expect_said("not so without packed=on");
	vdrv_start(&fe.d, ~0ULL);
	fe_request(0, 1);
	fe_lose();
	fe_wait_until(vdrv_status(&fe.d) & NEEDS_RESET);
	said_forget();
	fe_end();
}

/* The driver wants no call, and gets none; then it wants one for what was used meanwhile. */
START_TEST(the_driver_is_called_if_it_wants_to_be)
{
	struct ring_driver *ring = &fe.d.q[0].ring;
	struct fe_req r;
	u32 written;
	int id = -1;

	fe_start_disk(_i / 2);
	vdrv_start(&fe.d, _i % 2 ? ~0ULL : ~EVENT_IDX);
	vdrv_called(&fe.d, 0);
	ring_calls(ring, RING_CALLS_OFF, 0);
	for (u32 i = 0; i < 10; i++) {
		r = fe_submit(0, i);
		fe_wait_until((id = ring_get(ring, &written)) >= 0);
		ck_assert_int_eq(id, r.id);
		vdrv_settle(&fe.d);
		ck_assert(!vdrv_called(&fe.d, 0));
	}
	ck_assert(!ring_calls(ring, RING_CALLS_ON, 1));
	r = fe_submit(0, 77);
	vdrv_wait_called(&fe.d, 0);
	fe_wait_until((id = ring_get(ring, &written)) >= 0);
	ck_assert_int_eq(id, r.id);
	fe_end();
}

/* The back end has got all of them: after a while it uses them. */
static void *use_them(void *arg)
{
	(void)arg;
	while (be_get(&fe.be.ngot) < 3)
		sched_yield();
	usleep(20000);
	be_set(&fe.be.hold, BE_HOLD_NONE);
	eventfd_write(fe.be.ring[0].kick, 1);
	return NULL;
}

/* It may forget what it has. */
START_TEST(it_is_asked_to_stop_when_it_has_nothing)
{
	pthread_t thread;
	struct fe_req r[3];

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 3; i++)
		r[i] = fe_submit(0, i + 1);
	vdrv_settle(&fe.d);
	ck_assert_int_eq(pthread_create(&thread, NULL, use_them, NULL), 0);
	while (be_get(&fe.be.ngot) < 3)
		sched_yield();
	virtio_pause(fe.d.v);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_GET_VRING_BASE), fe.d.v->nqueues);
	ck_assert_uint_eq(be_get(&fe.be.forgot), 0);
	virtio_resume(fe.d.v);
	fe_wait_all(0, r, 3);
	fe_end();
}

/* ---- the back end goes ---- */

START_TEST(what_is_in_flight_comes_again_in_its_order)
{
	static const u8 again[] = { 2, 4, 6, 8, 21, 22 };
	struct fe_req r[10], away[2];

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_EVEN);
	for (u32 i = 0; i < 9; i++)
		r[i] = fe_submit(0, i + 1);
	for (u32 i = 0; i < 5; i++)
		fe_wait_one(0, r, 9); /* the odd ones */
	fe_lose();
	away[0] = fe_submit(0, 21);
	away[1] = fe_submit(0, 22);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	be_listen(&fe.be);
	expect_got(again, ARRAY_SIZE(again));
	echo_expect_no_answer(&fe.d, 0);
	be_set(&fe.be.hold, BE_HOLD_NONE);
	for (u32 i = 0; i < 2; i++) /* what is new comes behind */
		r[2 * i] = away[i];
	r[9] = fe_submit(0, 99);
	for (u32 i = 0; i < 7; i++)
		fe_wait_one(0, r, 10);
	echo_expect_no_answer(&fe.d, 0);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	fe_end();
}

/* Again and again, each time in the middle of the ring, which wraps. */
START_TEST(nothing_is_lost_in_many_kills)
{
	fe_start_disk(_i);
	for (u32 round = 0; round < 6; round++) {
		struct fe_req r[2][25];

		be_set(&fe.be.hold, round % 3);
		for (u32 i = 0; i < 25; i++) {
			r[0][i] = fe_submit(0, round + i);
			r[1][i] = fe_submit(1, 2 * round + i);
		}
		fe_lose();
		come_and_serve();
		fe_wait_all(0, r[0], 25);
		fe_wait_all(1, r[1], 25);
	}
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	said_forget();
	fe_end();
}

/* The same with all loops in threads, and a driver that does not wait for the kill. */
START_TEST(nothing_is_lost_with_threads)
{
	fe_begin_disk(_i);
	vdrv_threads(&fe.d);
	fe_start();
	for (u32 round = 0; round < 6; round++) {
		struct fe_req r[40];

		be_set(&fe.be.hold, round % 2 ? BE_HOLD_EVEN : BE_HOLD_NONE);
		for (u32 i = 0; i < 20; i++)
			r[i] = fe_submit(0, round + i);
		be_end(&fe.be);
		for (u32 i = 20; i < 40; i++)
			r[i] = fe_submit(0, round + i);
		come_and_serve();
		fe_wait_all(0, r, 40);
	}
	said_forget();
	fe_end();
}

START_TEST(a_full_ring_comes_again)
{
	const struct ring_buf buf = { 0x1000, FE_LEN };
	bool back[FE_SIZE] = { false };

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < FE_SIZE; i++)
		vdrv_submit(&fe.d, 0, &buf, 1, 0);
	fe_wait_until(be_get(&fe.be.ngot) == FE_SIZE);
	fe_lose();
	come_and_serve();
	for (u32 i = 0; i < FE_SIZE; i++) {
		int id = vdrv_wait(&fe.d, 0, NULL);

		ck_assert(!back[id]);
		back[id] = true;
	}
	fe_request(0, 1);
	fe_end();
}

START_TEST(the_next_back_end_may_keep_a_record)
{
	struct fe_req r;

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	r = fe_submit(0, 1);
	fe_wait_until(be_get(&fe.be.ngot) == 1);
	fe_lose();
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	come_and_serve();
	fe_wait_all(0, &r, 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_GET_INFLIGHT_FD), 0);
	fe_end();
}

/* ---- stop and start ---- */

START_TEST(a_stop_waits_for_what_is_in_flight)
{
	struct fe_req r[5];

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 5; i++)
		r[i] = fe_submit(0, i);
	fe_wait_until(be_get(&fe.be.ngot) == 5);
	virtio_pause(fe.d.v);
	expect_pos(5, 5);
	fe_wait_all(0, r, 5);
	be_set(&fe.be.hold, BE_HOLD_NONE);
	r[0] = fe_submit(0, 9); /* it rests */
	echo_expect_no_answer(&fe.d, 0);
	virtio_resume(fe.d.v);
	fe_wait_all(0, r, 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_KICK), 4);
	fe_end();
}

START_TEST(a_stop_without_a_back_end_keeps_it)
{
	static const u8 again[] = { 2, 4, 7 };
	struct fe_req r[5];

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_EVEN);
	for (u32 i = 0; i < 4; i++)
		r[i] = fe_submit(0, i + 1);
	fe_wait_one(0, r, 4);
	fe_wait_one(0, r, 4);
	fe_lose();
	virtio_pause(fe.d.v);
	expect_pos(3, 2); /* the last one is in the ring, as it was */
	r[4] = fe_submit(0, 7);
	virtio_resume(fe.d.v);
	virtio_pause(fe.d.v);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	be_listen(&fe.be);
	fe_wait_until(be_get(&fe.be.connections) == 2);
	virtio_resume(fe.d.v);
	expect_got(again, 3);
	be_set(&fe.be.hold, BE_HOLD_NONE);
	fe_request(1, 1);
	vdrv_kick(&fe.d, 0);
	be_set(&fe.be.lie, BE_LIE_NONE);
	r[0] = fe_submit(0, 11);
	for (u32 i = 0; i < 4; i++)
		fe_wait_one(0, r, 5);
	fe_end();
}

/* Nobody else can go on where a request is in flight behind which others are done; the relay can. */
START_TEST(what_only_the_relay_can_finish_stays_with_it)
{
	struct datapath *path = NULL;
	struct virtio_switch s;
	struct fe_req r[2];

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_EVEN);
	r[0] = fe_submit(0, 2);
	r[1] = fe_submit(0, 3);
	fe_wait_one(0, r, 2);
	fe_lose();
	ck_assert_int_eq(virtio_switch_path(fe.d.v, &path, &s), -EBUSY);
	ck_assert_ptr_null(path);
	come_and_serve();
	fe_wait_one(0, r, 2);
	fe_request(0, 5);
	fe_end();
}

/* What the driver's ring still says all of, anybody can. */
START_TEST(what_is_in_flight_at_the_end_is_given_back)
{
	struct fe_req r[3];

	fe_start_disk(_i);
	fe_request(0, 1);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 3; i++)
		r[i] = fe_submit(0, 2 + i);
	fe_wait_until(be_get(&fe.be.ngot) == 4);
	fe_lose();
	virtio_pause(fe.d.v);
	expect_pos(1, 1);
	come_and_serve();
	virtio_resume(fe.d.v);
	fe_wait_all(0, r, 3);
	fe_end();
}

/* An old one is not taken for the last, however often the ring has come round. */
START_TEST(an_old_request_is_not_the_last)
{
	struct fe_req r;

	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_EVEN);
	r = fe_submit(0, 2);
	for (u32 i = 0; i < FE_SIZE; i++)
		fe_request(0, 1);
	fe_lose();
	virtio_pause(fe.d.v);
	expect_pos(FE_SIZE + 1, FE_SIZE);
	virtio_resume(fe.d.v);
	come_and_serve();
	fe_wait_one(0, &r, 1);
	fe_end();
}

/* Queue 0 is new: the next back end gets what is made available now, and nothing else. */
static void expect_a_new_start(void)
{
	static const u8 fresh[] = { 50 };
	struct fe_req r = fe_submit(0, 50);

	come_and_serve();
	fe_wait_all(0, &r, 1);
	expect_got(fresh, 1);
}

START_TEST(a_reset_forgets_it)
{
	fe_start_disk(_i);
	be_set(&fe.be.hold, BE_HOLD_ALL);
	fe_submit(0, 1);
	fe_submit(0, 2);
	fe_wait_until(be_get(&fe.be.ngot) == 2);
	fe_lose();
	vdrv_start(&fe.d, ~0ULL);
	expect_a_new_start();
	fe_end();
}

START_TEST(a_reset_of_the_queue_forgets_it)
{
	fe_start_disk(_i); /* not MMIO */
	be_set(&fe.be.hold, BE_HOLD_ALL);
	fe_submit(0, 1);
	fe_wait_until(be_get(&fe.be.ngot) == 1);
	fe_lose();
	vdrv_queue_reset(&fe.d, 0);
	vdrv_queue_up(&fe.d, 0, 0);
	expect_a_new_start();
	fe_end();
}

/* ---- the log of written pages ---- */

/* The pages of one request are marked, or not: its answer by the back end, its used element by us. */
static void expect_marks(const struct mem_log *log, bool marked)
{
	struct fe_req r;

	marks_take_all(log);
	fe.d.next = ALIGN_UP(fe.d.next, MEM_LOG_PAGE);
	r = fe_submit(0, 1);
	fe_wait_all(0, &r, 1);
	fe.d.next = ALIGN_UP(fe.d.next, MEM_LOG_PAGE);
	ck_assert_int_eq(mem_log_take(log, r.buf[1].gpa), marked);
	ck_assert_int_eq(mem_log_take(log, fe.d.q[0].ring.cfg.device), marked);
	ck_assert_uint_eq(marks_take(log, r.buf[1].gpa, fe.d.next), 0);
}

START_TEST(what_is_relayed_is_marked)
{
	struct mem_log log;

	fe_begin_disk(_i);
	fe.be.features |= 1ULL << VHOST_F_LOG_ALL;
	fe_plug();
	said_forget();
	vdrv_start(&fe.d, ~0ULL);
	ck_assert_int_eq(mem_log_create(&log, fe.d.rig->r.env.mem), 0);
	expect_marks(&log, false);
	for (u32 round = 0; round < 3; round++) {
		ck_assert_int_eq(virtio_log_dirty(fe.d.v, &log), 0);
		expect_marks(&log, true);
		/* Not the ring that the back end has: it is no memory of the guest's. */
		ck_assert_uint_eq(be_get(&fe.be.addr_flags), 0);
		if (round == 1) {
			fe_lose();
			be_listen(&fe.be);
			fe_request(0, 7);
			ck_assert_uint_eq(be_get(&fe.be.addr_flags), 0);
			expect_marks(&log, true);
		} else if (round == 2) {
			vdrv_start(&fe.d, ~0ULL);
			expect_marks(&log, true);
		}
		ck_assert_int_eq(virtio_log_dirty(fe.d.v, NULL), 0);
		expect_marks(&log, false);
	}
	said_forget();
	mem_log_close(&log);
	fe_end();
}

Suite *vhost_user_relay_suite(void)
{
	Suite *s = suite_create("vhost-user-relay");
	TCase *tc = tcase_create("vhost-user-relay");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, requests_are_served, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_offered, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_relays_memory_is_a_region_more, 0, VDRV_BUSES);
	tcase_add_test(tc, too_few_slots_for_it);
	tcase_add_loop_test(tc, a_record_of_the_back_ends_is_preferred, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, packed_rings_are_not_relayed, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_driver_is_called_if_it_wants_to_be, 0, 2 * VDRV_BUSES);
	tcase_add_loop_test(tc, it_is_asked_to_stop_when_it_has_nothing, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_in_flight_comes_again_in_its_order, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, nothing_is_lost_in_many_kills, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, nothing_is_lost_with_threads, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_full_ring_comes_again, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_next_back_end_may_keep_a_record, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_stop_waits_for_what_is_in_flight, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_stop_without_a_back_end_keeps_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_only_the_relay_can_finish_stays_with_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_in_flight_at_the_end_is_given_back, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_old_request_is_not_the_last, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_forgets_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_of_the_queue_forgets_it, 0, VDRV_MMIO);
	tcase_add_loop_test(tc, what_is_relayed_is_marked, 0, VDRV_BUSES);
	suite_add_tcase(s, tc);
	return s;
}
