// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_reconnect.c - a vhost-user back end that goes, and the next one: what the driver sees with a record
 * of the requests in flight and without, what the next one has to offer, and whose the record is.
 */
#include "tests/unit/vhost_user_front.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

START_TEST(without_a_record_the_device_needs_a_reset)
{
	fe_start_with(_i, 0);
	fe_request(0, 1);
	be_end(&fe.be);
	fe_wait_until(vdrv_status(&fe.d) & NEEDS_RESET);
	said_forget();
	be_listen(&fe.be);
	fe_wait_until(be_get(&fe.be.connections) == 2);
	vdrv_start(&fe.d, ~0ULL);
	fe_wait_until(be_seen(&fe.be, VHOST_USER_SET_VRING_KICK) >= 4);
	fe_request(0, 2);
	fe_request(1, 3);
	fe_end();
}

START_TEST(with_a_record_the_queues_go_on)
{
	struct fe_req r;

	fe_begin(_i % VDRV_BUSES); /* split */
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	fe_start();
	for (u32 i = 0; i < 70; i++)
		fe_request(0, i);
	be_end(&fe.be);
	r = fe_submit(0, 9); /* while nobody is there */
	be_listen(&fe.be);
	fe_wait_all(0, &r, 1);
	ck_assert_uint_eq(be_get(&fe.be.last_base), 70);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_GET_INFLIGHT_FD), 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_INFLIGHT_FD), 2);
	fe_request(0, 10);
	fe_request(1, 11);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	said_forget();
	fe_end();
}

START_TEST(a_reset_while_nobody_is_there)
{
	struct fe_req r;

	fe_start_with(_i, BE_P(INFLIGHT_SHMFD));
	fe_request(0, 1);
	fe_lose();
	vdrv_start(&fe.d, ~0ULL);
	r = fe_submit(1, 5);
	be_listen(&fe.be);
	fe_wait_all(1, &r, 1);
	fe_request(0, 6);
	said_forget();
	fe_end();
}

START_TEST(the_next_back_end_must_offer_as_much)
{
	fe_start_with(_i % VDRV_BUSES, BE_P(INFLIGHT_SHMFD));
	/* As the live switch does: what is asked about is not all that a driver may accept. */
	fe.d.v->path->ops->features(fe.d.v->path, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	fe_request(0, 1);
	be_end(&fe.be);
	said_forget();
	fe.be.features &= ~1ULL;
	be_listen(&fe.be);
	fe_wait_until(be_get(&fe.be.connections) >= 3); /* tried again */
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_FEATURES), 1);
	be_end(&fe.be);
	fe.be.features |= 1;
	be_listen(&fe.be);
	fe_request(0, 2);
	said_forget();
	fe_end();
}

/* It keeps a record, of which the next one does not know. */
START_TEST(the_next_back_end_must_take_the_record)
{
	fe_start_with(_i % VDRV_BUSES, BE_P(INFLIGHT_SHMFD));
	fe_request(0, 1);
	be_end(&fe.be);
	fe.be.protocol &= ~BE_P(INFLIGHT_SHMFD);
	be_listen(&fe.be);
	fe_wait_until(be_get(&fe.be.connections) >= 3); /* tried again */
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_FEATURES), 1);
	ck_assert_ptr_nonnull(strstr(said_text(), "takes no record of requests in flight"));
	be_end(&fe.be);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	be_listen(&fe.be);
	fe_request(0, 2);
	said_forget();
	fe_end();
}

/* What was in flight in a queue that is reset while nobody is there must not come again in the next ring. */
START_TEST(a_queue_that_is_reset_leaves_no_record)
{
	u8 record[4096], full[4096];
	int fd;

	fe_start_with(_i, BE_P(INFLIGHT_SHMFD)); /* not MMIO */
	fe_request(0, 1);
	fd = dup(fe.be.record);
	memset(full, 0xff, sizeof(full));
	ck_assert_int_eq(pwrite(fd, full, sizeof(full), 0), sizeof(full));
	fe_lose();
	vdrv_queue_reset(&fe.d, 0);
	vdrv_queue_up(&fe.d, 0, 0);
	ck_assert_int_eq(pread(fd, record, sizeof(record), 0), sizeof(record));
	for (u32 i = 0; i < 16 + 64 * 16; i++)
		ck_assert_uint_eq(record[i], 0);
	ck_assert_int_eq(memcmp(record + 2048, full, 2048), 0); /* the other queue's */
	close(fd);
	be_listen(&fe.be);
	fe_request(0, 2);
	said_forget();
	fe_end();
}

/* What the record has can be finished by a back end alone: nobody else gets the queue. */
START_TEST(what_is_in_the_record_stays_with_the_back_ends)
{
	u32 unit = _i / VDRV_BUSES ? 32 : 16;
	struct virtio_switch s;
	struct datapath *path = NULL;
	int fd;

	fe_start_with(_i, BE_P(INFLIGHT_SHMFD));
	for (u32 i = 0; i < 5; i++)
		fe_request(0, i);
	fd = dup(fe.be.record);
	if (unit ==
	    32) { /* version, and where the ring stands: used_idx, old_used_idx, wrap counters */
		ck_assert_int_eq(pwrite(fd, "\1", 1, 8), 1);
		ck_assert_int_eq(pwrite(fd, "\5\0\5\0\1\1", 6, 16), 6);
		ck_assert_int_eq(pwrite(fd, "\1", 1, 2048 + 8), 1);
		ck_assert_int_eq(pwrite(fd, "\1\1", 2, 2048 + 20), 2);
	}
	be_end(&fe.be);
	fe_wait_until(said_text()[0]);
	said_forget();
	virtio_pause(fe.d.v);
	ck_assert_uint_eq(fe.d.v->queue[0].pos.avail, fe.d.v->queue[0].pos.used);
	virtio_resume(fe.d.v);
	ck_assert_int_eq(pwrite(fd, "\1", 1, 64 * unit), 1);
	ck_assert_int_eq(virtio_switch_path(fe.d.v, &path, &s), -EBUSY);
	ck_assert_ptr_null(path);
	ck_assert_int_eq(pwrite(fd, "\0", 1, 64 * unit), 1);
	close(fd);
	be_listen(&fe.be);
	fe_request(0, 8); /* on it goes, from where it was */
	fe_request(1, 9);
	ck_assert_uint_eq(be_get(&fe.be.last_base), unit == 32 ? 0x80058005 : 5);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	said_forget();
	fe_end();
}

Suite *vhost_user_reconnect_suite(void)
{
	const int modes = MODES;
	Suite *s = suite_create("vhost-user-reconnect");
	TCase *tc = tcase_create("vhost-user-reconnect");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, without_a_record_the_device_needs_a_reset, 0, modes);
	tcase_add_loop_test(tc, with_a_record_the_queues_go_on, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_while_nobody_is_there, 0, modes);
	tcase_add_loop_test(tc, the_next_back_end_must_offer_as_much, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_next_back_end_must_take_the_record, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_queue_that_is_reset_leaves_no_record, 0, VDRV_MMIO);
	tcase_add_loop_test(tc, what_is_in_the_record_stays_with_the_back_ends, 0, modes);
	suite_add_tcase(s, tc);
	return s;
}
