// SPDX-License-Identifier: MIT
/*
 * test_switch.c - the live switch of a device's data path: what is refused, what is rolled back, what the
 * next data path is told. That requests pass whatever is switched when, each device type shows in
 * test_conformance.c; with the kernel's and other processes' data paths see tests/linux/.
 */
#include "tests/unit/echo_rig.h"
#include "tests/unit/net_rig.h"
#include "tests/unit/stub_path.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

static struct vdrv d;
static struct stub_path stub[2];
static struct virtio_switch s;

static void setup(void)
{
	stub_path_init(&stub[0]);
	stub_path_init(&stub[1]);
}

/* Switch to `to` (NULL: in-process); what is switched from has to be `from`, and is the caller's. */
static int switch_to(struct virtio_dev *v, struct stub_path *to, struct stub_path *from)
{
	struct datapath *next = to ? &to->path : NULL, *path = next;
	int err = virtio_switch_path(v, &path, &s);

	ck_assert_ptr_eq(path, err ? next : from ? &from->path : NULL);
	return err;
}

/* A request of 8 bytes in each queue of the echo device, and its interrupt. */
static void check_works(void)
{
	for (u32 q = 0; q < ECHO_QUEUES; q++) {
		struct ring_buf buf[2] = { { vdrv_alloc(&d, 8), 8 }, { vdrv_alloc(&d, 8), 8 } };

		memcpy(vdrv_ptr(&d, buf[0].gpa, 8), "abcdefgh", 8);
		ck_assert_uint_eq(vdrv_request(&d, q, buf, 1, 1), 8);
		ck_assert_mem_eq(vdrv_ptr(&d, buf[1].gpa, 8), "abcdefgh", 8);
	}
}

static void begin(int mode)
{
	echo_plug(&d, mode, false);
	vdrv_start(&d, ~0ULL);
	check_works();
}

/* The device works, served by `path` (NULL: in-process), and the driver has not heard of anything. */
static void check_served_by(struct stub_path *path)
{
	ck_assert_ptr_eq(d.v->path, path ? &path->path : NULL);
	for (u32 i = 0; i < ARRAY_SIZE(stub); i++)
		ck_assert_uint_eq(stub[i].running, &stub[i] == path ? ECHO_QUEUES : 0);
	check_works();
	ck_assert(!vdrv_config_called(&d));
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	expect_silence();
}

START_TEST(there_and_back)
{
	begin(_i);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	check_served_by(&stub[0]);
	ck_assert_uint_eq(stub[0].prepares, 1);
	ck_assert_int_eq(switch_to(d.v, &stub[1], &stub[0]), 0);
	check_served_by(&stub[1]);
	ck_assert(!stub[0].destroyed);
	ck_assert_int_eq(switch_to(d.v, NULL, &stub[1]), 0);
	check_served_by(NULL);
	vdrv_free(&d);
	ck_assert(!stub[1].destroyed);
}

START_TEST(the_time_without_service_is_told)
{
	begin(_i);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	ck_assert_uint_gt(s.quiesce_ns, 0);
	ck_assert_uint_gt(s.restart_ns, 0);
	vdrv_free(&d);
	ck_assert(stub[0].destroyed);
}

/* Each queue in turn can't start on the next path; the position before which it is put is not at rest. */
START_TEST(it_rolls_back_when_a_queue_cannot_start)
{
	static const int errors[] = { -EIO, -EINVAL, -EFAULT, -ENOMEM };

	begin(_i);
	for (u32 k = 0; k < ECHO_QUEUES * ARRAY_SIZE(errors); k++) {
		stub[0].fail_at = k % ECHO_QUEUES;
		stub[0].start_err = errors[k / ECHO_QUEUES];
		ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), stub[0].start_err);
		ck_assert_uint_eq(stub[0].starts, stub[0].stops);
		check_served_by(NULL);
	}
	ck_assert_int_eq(switch_to(d.v, &stub[1], NULL), 0);
	ck_assert_int_eq(switch_to(d.v, &stub[0], &stub[1]), -ENOMEM);
	check_served_by(&stub[1]);
	vdrv_free(&d);
}

/* Whoever serves it; a packed ring does not tell. */
START_TEST(a_ring_tells_how_many_chains_are_done)
{
	bool split = _i < VDRV_BUSES;
	u16 used = 99;

	echo_plug(&d, _i, false);
	ck_assert_int_eq(virtio_queue_used(d.v, 0, &used), -ENOENT);
	vdrv_start(&d, ~0ULL);
	for (u32 i = 0; i < 10; i++) {
		struct stub_path *to = i % 2 ? NULL : &stub[0];

		check_works();
		ck_assert_int_eq(virtio_queue_used(d.v, 1, &used), split ? 0 : -EOPNOTSUPP);
		ck_assert_uint_eq(used, split ? i + 1 : 99);
		ck_assert_int_eq(switch_to(d.v, to, i % 2 ? &stub[0] : NULL), 0);
		ck_assert_str_eq(virtio_path_name(d.v), to ? "stub" : "inproc");
	}
	vdrv_reset(&d);
	ck_assert_int_eq(virtio_queue_used(d.v, 1, &used), -ENOENT);
	vdrv_free(&d);
}

START_TEST(it_rolls_back_when_something_is_in_flight)
{
	begin(_i);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	stub[0].busy = true;
	ck_assert_int_eq(switch_to(d.v, &stub[1], &stub[0]), -EBUSY);
	ck_assert_uint_eq(stub[1].starts, 0);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

START_TEST(what_cannot_be_prepared_is_not_begun)
{
	begin(_i);
	stub[0].prepare_err = -EIO;
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -EIO);
	ck_assert_uint_eq(stub[0].starts, 0);
	check_served_by(NULL);
	vdrv_free(&d);
}

/* A process that has died when it was to begin, or while it did. */
START_TEST(it_rolls_back_when_the_next_path_dies)
{
	begin(_i);
	stub[0].dead = true;
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -EIO);
	ck_assert_uint_eq(stub[0].starts, 0);
	check_served_by(NULL);
	stub[0].dead = false;
	stub[0].lost_at_start = true;
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -EIO);
	ck_assert_uint_eq(stub[0].starts, stub[0].stops);
	check_served_by(NULL);
	stub[0].lost_at_start = false;
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

/* It has taken something, and is gone. */
START_TEST(what_the_next_path_has_lost_is_not_passed_over)
{
	begin(_i);
	stub[0].lost_at_start = stub[0].takes_one = true;
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -ENOTRECOVERABLE);
	ck_assert_uint_eq(stub[0].running, 0);
	ck_assert(vdrv_status(&d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_said("the data path that was tried has gone");
	said_forget();
	vdrv_start(&d, ~0ULL);
	check_works();
	check_served_by(NULL);
	vdrv_free(&d);
}

/* What can go wrong with the next path, one step of the switch after another. */
static const struct fault {
	int prepare_err, start_err;
	u32 fail_at; /* the queue that can't start */
	bool dead, lost_at_start;
	u64 cannot;
	int err; /* what comes of it */
} faults[] = {
	{ .cannot = VIRTIO_FEATURE(VIRTIO_F_VERSION_1), .err = -EOPNOTSUPP },
	{ .prepare_err = -EIO, .err = -EIO },
	{ .dead = true, .err = -EIO },
	{ .start_err = -ENOMEM, .fail_at = 0, .err = -ENOMEM },
	{ .start_err = -EIO, .fail_at = ECHO_QUEUES - 1, .err = -EIO },
	{ .lost_at_start = true, .err = -EIO },
};

static void inject(struct stub_path *to, const struct fault *f)
{
	stub_path_init(to);
	to->prepare_err = f->prepare_err;
	to->start_err = f->start_err;
	to->fail_at = f->fail_at;
	to->dead = f->dead;
	to->lost_at_start = f->lost_at_start;
	to->cannot = f->cannot;
}

/* A request in each queue that nobody has looked at yet when the switch fails is answered, once. */
START_TEST(a_request_survives_a_fault_at_every_step)
{
	struct ring_buf buf[ECHO_QUEUES][2];
	u32 written, n = 0;

	begin(_i);
	for (u32 k = 0; k < 2 * ARRAY_SIZE(faults); k++) {
		const struct fault *f = &faults[k / 2];
		struct stub_path *from = k % 2 ? &stub[1] : NULL;

		if (from) {
			stub_path_init(from);
			ck_assert_int_eq(switch_to(d.v, from, NULL), 0);
		}
		for (u32 q = 0; q < ECHO_QUEUES; q++) {
			for (u32 i = 0; i < 2; i++)
				buf[q][i] = (struct ring_buf){ vdrv_alloc(&d, 8), 8 };
			memcpy(vdrv_ptr(&d, buf[q][0].gpa, 8), &(u64){ ++n }, 8);
			vdrv_submit(&d, q, buf[q], 1, 1);
		}
		inject(&stub[0], f);
		ck_assert_int_eq(switch_to(d.v, &stub[0], from), f->err);
		for (u32 q = 0; q < ECHO_QUEUES; q++) {
			vdrv_wait(&d, q, &written);
			ck_assert_uint_eq(written, 8);
			ck_assert_mem_eq(vdrv_ptr(&d, buf[q][1].gpa, 8),
					 vdrv_ptr(&d, buf[q][0].gpa, 8), 8);
			if (q == 0 || d.bus == VDRV_PCI_MSIX) /* or they share a wire */
				vdrv_wait_called(&d, q);
			echo_expect_no_answer(&d, q);
		}
		check_served_by(from);
		if (from)
			ck_assert_int_eq(switch_to(d.v, NULL, from), 0);
		fake_vm_total(&d.rig->r.vm);
	}
	vdrv_free(&d);
}

/* The roll-back is a start, too. */
START_TEST(a_roll_back_that_fails_is_told_of)
{
	begin(_i);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	stub[0].start_err = -EIO;
	stub[0].fail_at = 1;
	stub[1].start_err = -ENOMEM;
	ck_assert_int_eq(switch_to(d.v, &stub[1], &stub[0]), -ENOMEM);
	ck_assert_uint_eq(stub[1].running, 0);
	vdrv_wait_config_called(&d);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING | NEEDS_RESET);
	expect_said("queue 1: ");
	stub[0].start_err = 0;
	vdrv_start(&d, ~0ULL);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

static void old_path_dies(int mode, bool at_rouse)
{
	begin(mode);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	stub[0].rouses = 0;
	stub[0].lost_at_rouse = at_rouse;
	stub[0].lost_at_stop = !at_rouse;
	ck_assert_int_eq(switch_to(d.v, &stub[1], &stub[0]), -ENOTRECOVERABLE);
	ck_assert_uint_eq(stub[0].rouses, 1);
	ck_assert_uint_eq(stub[1].starts, 0);
	vdrv_wait_config_called(&d);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING | NEEDS_RESET);
	expect_said("its data path has failed");
	stub[0].lost_at_rouse = stub[0].lost_at_stop = false;
	vdrv_start(&d, ~0ULL);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

START_TEST(an_old_path_that_has_died_is_told_of)
{
	old_path_dies(_i, true);
	old_path_dies(_i, false);
}

START_TEST(a_path_that_lacks_a_feature_is_refused)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
	stub[0].cannot = VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
			 VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -EOPNOTSUPP);
	/* The driver has not accepted the other one. */
	ck_assert_uint_eq(s.missing, VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
	ck_assert_uint_eq(stub[0].prepares, 0);
	check_served_by(NULL);
	vdrv_free(&d);
}

START_TEST(before_the_features_are_settled_all_that_is_offered_counts)
{
	echo_plug(&d, _i, false);
	stub[0].cannot = VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -EOPNOTSUPP);
	ck_assert_uint_eq(s.missing, VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
	virtio_limit_features(d.v, &stub[0].path);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	ck_assert_uint_eq(stub[0].prepares, 0);
	vdrv_start(&d, ~0ULL);
	ck_assert(!vdrv_has(&d, VIRTIO_RING_F_EVENT_IDX));
	ck_assert_uint_eq(stub[0].prepares, 1);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

START_TEST(a_device_that_waits_for_a_reset_is_left_alone)
{
	begin(_i);
	virtio_needs_reset(d.v, "a test says so");
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), -ENOTRECOVERABLE);
	ck_assert_uint_eq(stub[0].prepares, 0);
	vdrv_start(&d, ~0ULL);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	check_works();
	vdrv_free(&d);
}

START_TEST(a_paused_device_goes_on_with_the_new_path)
{
	begin(_i);
	virtio_pause(d.v);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	ck_assert_uint_eq(stub[0].starts, 0);
	virtio_resume(d.v);
	check_served_by(&stub[0]);
	vdrv_free(&d);
}

START_TEST(a_request_made_while_nobody_serves_is_served)
{
	struct ring_buf buf[2];
	u32 written;

	begin(_i);
	for (u32 k = 0; k < 3 * ECHO_SIZE; k++) {
		buf[0] = (struct ring_buf){ vdrv_alloc(&d, 8), 8 };
		buf[1] = (struct ring_buf){ vdrv_alloc(&d, 8), 8 };
		vdrv_submit(&d, 0, buf, 1, 1); /* the loop, which we are, has not looked yet */
		ck_assert_int_eq(switch_to(d.v, k % 2 ? NULL : &stub[0], k % 2 ? &stub[0] : NULL),
				 0);
		vdrv_wait(&d, 0, &written);
		ck_assert_uint_eq(written, 8);
		vdrv_wait_called(&d, 0);
		fake_vm_total(&d.rig->r.vm); /* the other queue's, too */
	}
	vdrv_free(&d);
}

START_TEST(a_reset_or_queue_reset_after_a_switch)
{
	begin(_i);
	ck_assert_int_eq(switch_to(d.v, &stub[0], NULL), 0);
	vdrv_queue_reset(&d, 1);
	ck_assert_uint_eq(stub[0].running, ECHO_QUEUES - 1);
	ck_assert_int_eq(switch_to(d.v, &stub[1], &stub[0]), 0);
	ck_assert_uint_eq(stub[1].running, ECHO_QUEUES - 1);
	vdrv_queue_up(&d, 1, 16);
	check_served_by(&stub[1]);
	vdrv_reset(&d);
	ck_assert_uint_eq(stub[1].running, 0);
	vdrv_start(&d, ~0ULL);
	check_served_by(&stub[1]);
	vdrv_free(&d);
}

/* ---- a network device ---- */

static struct net_rig n;

START_TEST(the_next_path_learns_pairs_and_link)
{
	const u8 two[] = { 2, 0 };

	net_rig_init(&n, _i);
	n.o.npairs = 4;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	ck_assert_int_eq(switch_to(n.d.v, &stub[0], NULL), 0);
	ck_assert_uint_eq(stub[0].pairs, 1);
	ck_assert(stub[0].link);
	ck_assert_int_eq(net_command_on(&n, 8, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
					two, sizeof(two), 0),
			 VIRTIO_NET_OK);
	virtio_net_set_link(n.d.v, false);
	ck_assert_int_eq(switch_to(n.d.v, &stub[1], &stub[0]), 0);
	ck_assert_uint_eq(stub[1].pairs, 2);
	ck_assert(!stub[1].link);
	net_rig_free(&n);
}

START_TEST(a_frame_in_hand_stays_until_the_driver_has_room)
{
	net_rig_start(&n, _i, NET_ALL);
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	for (u32 k = 1; k <= 3; k++)
		fake_peer_put(n.peer, 0, NULL, net_frame(k, k == 1 ? 17900 : 5000),
			      k == 1 ? 17900 : 5000);
	vdrv_settle(&n.d); /* of the second one it has read more than there is room for */
	ck_assert_int_eq(switch_to(n.d.v, &stub[0], NULL), -EBUSY);
	ck_assert_uint_eq(stub[0].starts, 0);
	net_expect(&n, NET_RX, 1, 17900);
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	vdrv_settle(&n.d);
	ck_assert_int_eq(switch_to(n.d.v, &stub[0], NULL), 0);
	net_expect(&n, NET_RX, 2, 5000);
	net_expect(&n, NET_RX, 3, 5000);
	net_rig_free(&n);
}

Suite *switch_suite(void)
{
	Suite *suite = suite_create("switch");
	TCase *t = tcase_create("device");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, there_and_back, 0, MODES);
	tcase_add_loop_test(t, the_time_without_service_is_told, 0, 1);
	tcase_add_loop_test(t, it_rolls_back_when_a_queue_cannot_start, 0, MODES);
	tcase_add_loop_test(t, a_ring_tells_how_many_chains_are_done, 0, MODES);
	tcase_add_loop_test(t, it_rolls_back_when_something_is_in_flight, 0, MODES);
	tcase_add_loop_test(t, what_cannot_be_prepared_is_not_begun, 0, MODES);
	tcase_add_loop_test(t, what_the_next_path_has_lost_is_not_passed_over, 0, MODES);
	tcase_add_loop_test(t, it_rolls_back_when_the_next_path_dies, 0, MODES);
	tcase_add_loop_test(t, a_request_survives_a_fault_at_every_step, 0, MODES);
	tcase_add_loop_test(t, a_roll_back_that_fails_is_told_of, 0, MODES);
	tcase_add_loop_test(t, an_old_path_that_has_died_is_told_of, 0, MODES);
	tcase_add_loop_test(t, a_path_that_lacks_a_feature_is_refused, 0, MODES);
	tcase_add_loop_test(t, before_the_features_are_settled_all_that_is_offered_counts, 0,
			    MODES);
	tcase_add_loop_test(t, a_device_that_waits_for_a_reset_is_left_alone, 0, MODES);
	tcase_add_loop_test(t, a_paused_device_goes_on_with_the_new_path, 0, MODES);
	tcase_add_loop_test(t, a_request_made_while_nobody_serves_is_served, 0, MODES);
	tcase_add_loop_test(t, a_reset_or_queue_reset_after_a_switch, 0, MODES);
	suite_add_tcase(suite, t);

	t = tcase_create("net");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, the_next_path_learns_pairs_and_link, 0, NET_MODES);
	tcase_add_loop_test(t, a_frame_in_hand_stays_until_the_driver_has_room, 0, NET_MODES);
	suite_add_tcase(suite, t);
	return suite;
}
