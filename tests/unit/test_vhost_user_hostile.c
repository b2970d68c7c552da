// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_hostile.c - a vhost-user back end that is not to be trusted: bad answers, none, refusals, a record
 * that can't be. The device breaks at most, and works again once the back end behaves.
 */
#include "tests/unit/vhost_user_front.h"

#include <errno.h>
#include <string.h>

static struct be_process process;

static void as_process(void)
{
	fe.o.path = NULL;
	be_process_init(&process, &fe.be);
	fe.o.process = &process.process;
}

/* ---- at first ---- */

/* Those that any answer can be; the last can be only an acknowledgement. */
static const u32 asked_at_first[] = { VHOST_USER_GET_FEATURES, VHOST_USER_GET_PROTOCOL_FEATURES,
				      VHOST_USER_GET_QUEUE_NUM, VHOST_USER_GET_CONFIG,
				      VHOST_USER_SET_OWNER };

static void no_device(u32 asked, u32 bad)
{
	fe_begin(0);
	fe.o.timeout_ms = bad == BE_SILENT ? 1000 : 0;
	fe.be.bad = bad;
	fe.be.bad_request = asked;
	be_listen(&fe.be);
	fe_refused("the back end");
}

START_TEST(a_bad_answer_at_first_is_refused)
{
	for (u32 bad = BE_SILENT; bad < BE_REFUSE; bad++) {
		no_device(asked_at_first[_i], bad);
		said_forget();
	}
}

/* ---- later ---- */

/* The device works, then request `asked` is answered badly: no hang, no crash; when the back end
 * behaves again the device works again. */
static void bad_later(int mode, u32 asked, u32 bad, bool ours)
{
	fe_begin(mode);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	if (ours)
		as_process();
	fe.o.timeout_ms = bad == BE_SILENT ? 1000 : 0;
	fe_start();
	fe_request(0, 1);
	be_set(&fe.be.bad_request, asked);
	be_set(&fe.be.bad, bad);
	virtio_pause(fe.d.v);
	virtio_resume(fe.d.v);
	be_set(&fe.be.bad, BE_GOOD);
	vdrv_reset(&fe.d);
	vdrv_start(&fe.d, ~0ULL);
	fe_request(0, 2);
	fe_request(1, 3);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	said_forget();
	fe_end();
}

/* Of our own process, the last one is what it is asked in the end. */
static const u32 asked_later[] = { VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ADDR,
				   VHOST_USER_SET_VRING_KICK, VHOST_USER_GET_FEATURES };

static void bad_later_nth(int n, bool ours)
{
	u32 what = asked_later[n / BE_BAD_COUNT], bad = n % BE_BAD_COUNT;

	if (bad == BE_REFUSE &&
	    (what == VHOST_USER_GET_VRING_BASE || what == VHOST_USER_GET_FEATURES))
		bad = BE_GOOD; /* it is no acknowledgement */
	bad_later(VDRV_PCI_MSIX, what, bad, ours);
}

START_TEST(a_bad_answer_later_is_lived_through)
{
	bad_later_nth(_i, false);
}

START_TEST(a_bad_answer_of_our_own_process_is_lived_through)
{
	bad_later_nth(_i, true);
}

START_TEST(a_refused_queue_breaks_the_device)
{
	fe_begin(0);
	fe.be.bad = BE_REFUSE;
	fe.be.bad_request = VHOST_USER_SET_VRING_ADDR;
	fe_plug();
	ck_assert(vdrv_negotiate(&fe.d, ~0ULL));
	vdrv_queue_up(&fe.d, 0, 0);
	vdrv_driver_ok(&fe.d);
	ck_assert_uint_eq(vdrv_status(&fe.d) & NEEDS_RESET, NEEDS_RESET);
	said_forget();
	fe_end();
}

/* The back end would refuse it, and end the connection. */
START_TEST(a_bad_size_is_not_passed_on)
{
	const struct vq_cfg cfg = {
		.size = 3, .desc = 1 << 20, .driver = 2 << 20, .device = 3 << 20
	};

	fe_begin(_i);
	fe_plug();
	ck_assert(vdrv_negotiate(&fe.d, ~0ULL));
	vdrv_queue_write(&fe.d, 0, &cfg);
	vdrv_driver_ok(&fe.d);
	ck_assert_uint_eq(vdrv_status(&fe.d) & NEEDS_RESET, NEEDS_RESET);
	expect_said("queue 0: bad size");
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_NUM), 0);
	said_forget();
	fe_end();
}

START_TEST(a_record_that_can_be_nowhere)
{
	static const struct vhost_user_inflight lie[] = {
		{ .mmap_offset = ~0ULL - 100 },
		{ .mmap_offset = INT64_MAX },
		{ .mmap_size = ~0ULL - 8192, .mmap_offset = 16384 },
		{ .nqueues = (u16)-2 },
		{ .nqueues = (u16)-1 },
	};

	fe_begin(VDRV_PCI_MSIX);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	fe.be.record_lie = lie[_i];
	fe_start();
	ck_assert_ptr_nonnull(strstr(said_text(), "gives an answer that is none"));
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_INFLIGHT_FD), 0);
	said_forget();
	fe_end();
}

/* A back end that talks and does not listen. */
START_TEST(answers_that_nobody_reads)
{
	struct vhost_user_msg m = { .hdr = { 99, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 0 } };

	fe_start_with(_i, 0);
	fe_wait_until(be_seen(&fe.be, VHOST_USER_SET_BACKEND_REQ_FD) == 1);
	for (u32 i = 0; i < 5000 && !vhost_user_send(fe.be.channel, &m); i++)
		vdrv_settle(&fe.d);
	ck_assert_int_eq(vhost_user_send(fe.be.channel, &m), -ECONNRESET);
	fe_request(0, 1);
	fe_end();
}

static u32 times_said(const char *part)
{
	u32 n = 0;

	for (const char *p = said_text(); (p = strstr(p, part)); p++)
		n++;
	return n;
}

/* A driver that begins again and again does not fill the log. */
START_TEST(refusals_are_told_some_times)
{
	fe_begin(_i);
	fe.be.bad = BE_REFUSE;
	fe.be.bad_request = VHOST_USER_SET_FEATURES;
	fe_plug();
	for (u32 i = 0; i < 30; i++) {
		ck_assert(vdrv_negotiate(&fe.d, ~0ULL));
		vdrv_driver_ok(&fe.d);
		ck_assert_uint_eq(vdrv_status(&fe.d) & NEEDS_RESET, NEEDS_RESET);
		vdrv_reset(&fe.d);
	}
	ck_assert_uint_eq(times_said("refuses a request"), 16);
	said_forget();
	fe_end();
}

/* ---- a process ---- */

/* The back end as a process that the front end starts itself. */
START_TEST(a_process_that_does_not_answer_is_ended_before_its_rings_move)
{
	fe_begin(_i);
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD);
	as_process();
	fe.o.timeout_ms = 1000;
	fe_start();
	fe_request(0, 1);
	ck_assert_uint_eq(process.ended, 0);
	be_set(&fe.be.bad_request, VHOST_USER_GET_VRING_BASE);
	be_set(&fe.be.bad, BE_SILENT);
	virtio_pause(fe.d.v);
	ck_assert_uint_eq(process.ended, 1);
	be_set(&fe.be.bad, BE_GOOD);
	virtio_resume(fe.d.v);
	fe_wait_until(be_get(&fe.be.connections) == 2);
	fe_request(0, 2);
	said_forget();
	fe_end();
}

Suite *vhost_user_hostile_suite(void)
{
	Suite *s = suite_create("vhost-user-hostile");
	TCase *tc = tcase_create("vhost-user-hostile");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, a_bad_answer_at_first_is_refused, 0, ARRAY_SIZE(asked_at_first));
	tcase_add_loop_test(tc, a_bad_answer_later_is_lived_through, 0, 3 * BE_BAD_COUNT);
	tcase_add_loop_test(tc, a_bad_answer_of_our_own_process_is_lived_through, 0,
			    ARRAY_SIZE(asked_later) * BE_BAD_COUNT);
	tcase_add_loop_test(tc, a_process_that_does_not_answer_is_ended_before_its_rings_move, 0,
			    VDRV_BUSES);
	tcase_add_test(tc, a_refused_queue_breaks_the_device);
	tcase_add_loop_test(tc, a_bad_size_is_not_passed_on, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_record_that_can_be_nowhere, 0, 5);
	tcase_add_loop_test(tc, answers_that_nobody_reads, 0, MODES);
	tcase_add_loop_test(tc, refusals_are_told_some_times, 0, VDRV_BUSES);
	suite_add_tcase(s, tc);
	return s;
}
