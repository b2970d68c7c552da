// SPDX-License-Identifier: MIT
/*
 * test_virtio_queue.c - the virtio core: queues, their interrupts, requests in flight, threads. The
 * device is echo.c, by its registers, on each transport and with both ring formats: number _i says
 * which.
 */
#include "tests/unit/echo_rig.h"

#include <linux/virtio_ring.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

static struct vdrv d;

/* One request of 8 bytes in queue `q`: submit it, wait for the answer. */
static u64 gave; /* where the answer to the last one goes */

static void submit(u32 q, const char *text)
{
	struct ring_buf buf[2] = { { vdrv_alloc(&d, 8), 8 }, { vdrv_alloc(&d, 8), 8 } };

	memcpy(vdrv_ptr(&d, buf[0].gpa, 8), text, 8);
	gave = buf[1].gpa;
	vdrv_submit(&d, q, buf, 1, 1);
}

static void check_answer(u32 q, const char *text)
{
	u32 written;

	vdrv_wait(&d, q, &written);
	ck_assert_uint_eq(written, 8);
	ck_assert_int_eq(memcmp(vdrv_ptr(&d, gave, 8), text, 8), 0);
}

static void check_works(u32 q)
{
	submit(q, "abcdefgh");
	vdrv_wait_called(&d, q);
	check_answer(q, "abcdefgh");
}

/* ---- queues ---- */

START_TEST(kicks_before_driver_ok_wait)
{
	echo_plug(&d, _i, false);
	vdrv_reset(&d);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_up(&d, 0, 16);
	submit(0, "too soon");
	vdrv_kick(&d, 0);
	vdrv_settle(&d);
	echo_expect_no_answer(&d, 0);
	vdrv_driver_ok(&d);
	check_answer(0, "too soon");
	vdrv_free(&d);
}

START_TEST(a_start_needs_no_kick)
{
	echo_plug(&d, _i, false);
	vdrv_reset(&d);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_up(&d, 0, 16);
	vdrv_driver_ok(&d);
	vdrv_queue_reset(&d, 0);
	vdrv_queue_up(&d, 0, 16);
	vdrv_settle(&d);     /* takes the kick that the start gave itself */
	d.q[0].doorbell = 0; /* no kick arrives */
	virtio_pause(d.v);
	submit(0, "no kicks");
	virtio_resume(d.v);
	check_answer(0, "no kicks");
	vdrv_free(&d);
}

START_TEST(a_queue_enabled_after_driver_ok_starts_at_once)
{
	echo_plug(&d, _i, false);
	vdrv_reset(&d);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_driver_ok(&d);
	vdrv_queue_up(&d, 1, 16);
	check_works(1);
	ck_assert(!vdrv_queue_enabled(&d, 0));
	vdrv_free(&d);
}

START_TEST(the_registers_of_an_enabled_queue_are_fixed)
{
	struct vq_cfg other = { .size = 8, .desc = 0x5000, .driver = 0x6000, .device = 0x7000 };

	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	vdrv_queue_write(&d, 0, &other);
	ck_assert_uint_eq(virtio_queue_size(d.v, 0), ECHO_SIZE);
	ck_assert_uint_eq(virtio_queue_area(d.v, 0, VIRTIO_DESC), d.q[0].ring.cfg.desc);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(the_registers_of_a_queue_hold_what_was_written)
{
	struct vq_cfg cfg = {
		.size = 8,
		.desc = 0x123456789abcde00,
		.driver = 0xfedcba9876543200,
		.device = 0x0f1e2d3c4b5a6900,
	};

	echo_plug(&d, _i, false);
	vdrv_queue_write(&d, 1, &cfg);
	ck_assert_uint_eq(virtio_queue_size(d.v, 1), 8);
	ck_assert_uint_eq(virtio_queue_area(d.v, 1, VIRTIO_DESC), cfg.desc);
	ck_assert_uint_eq(virtio_queue_area(d.v, 1, VIRTIO_DRIVER), cfg.driver);
	ck_assert_uint_eq(virtio_queue_area(d.v, 1, VIRTIO_DEVICE), cfg.device);
	ck_assert_uint_eq(virtio_queue_area(d.v, 0, VIRTIO_DESC), 0);
	vdrv_reset(&d);
	ck_assert_uint_eq(virtio_queue_size(d.v, 1), ECHO_SIZE);
	ck_assert_uint_eq(virtio_queue_area(d.v, 1, VIRTIO_DESC), 0);
	vdrv_free(&d);
}

START_TEST(a_queue_that_is_not_there_takes_nothing)
{
	struct vq_cfg cfg = { .size = 8, .desc = 0x1000, .driver = 0x2000, .device = 0x3000 };

	echo_plug(&d, _i, false);
	vdrv_reset(&d);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_driver_ok(&d);
	vdrv_queue_write(&d, ECHO_QUEUES, &cfg);
	ck_assert_uint_eq(vdrv_queue_max(&d, ECHO_QUEUES), 0);
	ck_assert(!vdrv_queue_enabled(&d, ECHO_QUEUES));
	vdrv_queue_reset(&d, ECHO_QUEUES);
	virtio_queue_kick(d.v, ECHO_QUEUES);
	ck_assert_uint_eq(virtio_queue_area(d.v, ECHO_QUEUES, VIRTIO_DESC), 0);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	vdrv_free(&d);
}

START_TEST(a_bad_size_is_told_when_the_queue_starts)
{
	static const u16 sizes[] = { 0, 3, 2 * ECHO_SIZE, 0xffff, 0x8000 };

	echo_plug(&d, _i, false);
	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vq_cfg cfg = {
			.size = sizes[i], .desc = MIB, .driver = 2 * MIB, .device = 3 * MIB
		};

		if (d.options.packed && sizes[i] == 3)
			continue; /* any size will do (2.8) */
		vdrv_reset(&d);
		ck_assert(vdrv_negotiate(&d, ~0ULL));
		vdrv_queue_write(&d, 0, &cfg);
		ck_assert_uint_eq(virtio_queue_size(d.v, 0), 0);
		vdrv_driver_ok(&d);
		ck_assert(vdrv_status(&d) & NEEDS_RESET);
		vdrv_wait_config_called(&d);
		expect_said("queue 0: bad size");
		said_forget();
	}
	vdrv_start(&d, ~0ULL);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(a_packed_ring_may_have_any_size)
{
	vdrv_init(&d, _i, true);
	vdrv_plug(&d, echo_create);
	for (u16 size = 2; size <= ECHO_SIZE; size += 5) {
		vdrv_reset(&d);
		ck_assert(vdrv_negotiate(&d, ~0ULL));
		vdrv_queue_up(&d, 0, size);
		vdrv_driver_ok(&d);
		for (u32 i = 0; i < 2 * size; i++)
			check_works(0);
	}
	vdrv_free(&d);
}

START_TEST(when_one_queue_breaks_the_others_rest)
{
	const struct ring_buf bad = { VDRV_RAM, 8 };

	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	vdrv_submit(&d, 0, &bad, 0, 1);
	vdrv_wait_config_called(&d);
	submit(1, "in vain!");
	vdrv_settle(&d);
	echo_expect_no_answer(&d, 1);
	expect_said("queue 0: ");
	vdrv_start(&d, ~0ULL);
	check_works(1);
	vdrv_free(&d);
}

/* ---- interrupts ---- */

START_TEST(the_driver_is_called_only_if_it_wants)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
	ring_calls(&d.q[0].ring, RING_CALLS_OFF, 0);
	submit(0, "quietly!");
	check_answer(0, "quietly!");
	vdrv_settle(&d);
	ck_assert(!vdrv_called(&d, 0));
	ring_calls(&d.q[0].ring, RING_CALLS_ON, 0);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(an_interrupt_that_a_reset_overtakes_is_dropped)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	irq_raise(d.v->queue[0].call);
	irq_raise(d.v->config_irq);
	vdrv_reset(&d);
	vdrv_settle(&d);
	ck_assert(!vdrv_level(&d));
	vdrv_start(&d, ~0ULL);
	vdrv_settle(&d);
	ck_assert(!vdrv_called(&d, 0));
	ck_assert(!vdrv_config_called(&d));
	check_works(0);
	vdrv_free(&d);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* The main loop has an interrupt in hand when a vCPU writes status 0. We are that vCPU, in the middle of
 * it: what is not noted now must not be noted later. */
START_TEST(an_interrupt_in_hand_does_not_outlive_a_reset)
{
	struct pollfd signal;

	echo_plug(&d, VDRV_PCI_INTX + _i, true);
	vdrv_start(&d, ~0ULL);
	signal = (struct pollfd){ .fd = irq_fd(d.v->queue[0].call), .events = POLLIN };
	pthread_mutex_lock(&d.v->config_lock);
	irq_raise(d.v->queue[0].call);
	while (poll(&signal, 1, 0) > 0)
		sched_yield();
	usleep(2000);
	ck_assert_uint_eq(__atomic_load_n(&d.v->isr, __ATOMIC_SEQ_CST), 0);
	__atomic_store_n(&d.v->status, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&d.v->config_lock);
	loop_call(d.rig->r.env.loop, nothing, NULL);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(__atomic_load_n(&d.v->isr, __ATOMIC_SEQ_CST), 0);
	vdrv_start(&d, ~0ULL);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(an_interrupt_that_a_queue_reset_overtakes_is_dropped)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	irq_raise(d.v->queue[0].call);
	if (d.bus == VDRV_PCI_MSIX) /* it was a message as soon as it was raised */
		ck_assert(vdrv_called(&d, 0));
	vdrv_queue_reset(&d, 0);
	vdrv_settle(&d);
	ck_assert(!vdrv_called(&d, 0));
	check_works(1);
	vdrv_free(&d);
}

/* ---- requests in flight ---- */

static void hold_some(u32 q, u32 n)
{
	echo_hold(d.v, true);
	for (u32 i = 0; i < n; i++)
		submit(q, "held....");
	for (u32 i = 0; i < 1000 && echo_held(d.v) < n; i++)
		vdrv_settle(&d);
	ck_assert_uint_eq(echo_held(d.v), n);
}

START_TEST(a_reset_with_requests_in_flight)
{
	echo_plug(&d, _i, false);
	for (u32 n = 0; n < 3; n++) {
		echo_hold(d.v, false);
		vdrv_start(&d, ~0ULL);
		check_works(0);
		hold_some(0, 5);
		vdrv_reset(&d);
		ck_assert_uint_eq(echo_held(d.v), 0);
		ck_assert_uint_eq(echo_calls(d.v).quiesce, 2 * (n + 1));
	}
	vdrv_free(&d);
}

START_TEST(a_device_is_destroyed_with_requests_in_flight)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	hold_some(0, 5);
	vdrv_free(&d);
}

START_TEST(a_queue_reset_with_requests_in_flight)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	hold_some(0, 5);
	vdrv_queue_reset(&d, 0);
	ck_assert_uint_eq(echo_held(d.v), 0);
	echo_hold(d.v, false);
	check_works(1); /* nobody has reset this one */
	vdrv_queue_up(&d, 0, 32);
	check_works(0);
	vdrv_free(&d);
}

START_TEST(a_queue_reset_needs_its_feature)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~VIRTIO_FEATURE(VIRTIO_F_RING_RESET));
	vdrv_select(&d, 0);
	bus_write(d.rig->r.env.mmio, (d.common ? d.common + 58 : d.base + 0xc0), d.common ? 2 : 4,
		  1);
	ck_assert(vdrv_queue_enabled(&d, 0));
	check_works(0);
	vdrv_free(&d);
}

/* The ring with requests in flight goes to somebody else, who answers them. */
START_TEST(a_take_over_with_requests_in_flight)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	for (u32 n = 0; n < 40; n++) { /* at many places of the ring */
		hold_some(0, 5);
		virtio_pause(d.v);
		ck_assert_uint_eq(echo_held(d.v), 0);
		echo_hold(d.v, false);
		submit(0, "the last");
		vdrv_settle(&d);
		echo_expect_no_answer(&d, 0);
		virtio_resume(d.v);
		for (u32 i = 0; i < 5; i++)
			vdrv_wait(&d, 0, NULL);
		check_answer(0, "the last");
		vdrv_wait_called(&d, 0);
	}
	vdrv_free(&d);
}

START_TEST(chains_answered_late_and_backwards_come_back_all)
{
	echo_plug(&d, _i, false);
	vdrv_start(&d, ~0ULL);
	for (u32 n = 0; n < 40; n++) {
		hold_some(0, 7);
		echo_release(d.v);
		for (u32 i = 0; i < 7; i++)
			vdrv_wait(&d, 0, NULL);
		vdrv_wait_called(&d, 0);
	}
	vdrv_free(&d);
}

START_TEST(a_paused_device_starts_when_it_is_resumed)
{
	echo_plug(&d, _i, false);
	vdrv_reset(&d);
	virtio_pause(d.v);
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_up(&d, 0, 16);
	vdrv_driver_ok(&d);
	vdrv_queue_up(&d, 1, 16);
	submit(0, "sleeping");
	vdrv_settle(&d);
	echo_expect_no_answer(&d, 0);
	virtio_resume(d.v);
	check_answer(0, "sleeping");
	check_works(1);
	virtio_pause(d.v);
	vdrv_reset(&d);
	virtio_resume(d.v);
	vdrv_start(&d, ~0ULL);
	check_works(0);
	vdrv_free(&d);
}

/* ---- on threads ---- */

/* 2.1.2, 2.6.1: when the status reads 0, guest memory is the guest's alone. */
START_TEST(nothing_touches_guest_memory_after_a_reset)
{
	static u8 before[512 * KIB];

	echo_plug(&d, _i, true);
	for (u32 n = 0; n < 20; n++) {
		void *memory = vdrv_ptr(&d, MIB, sizeof(before));

		d.next = MIB;
		memset(memory, 0, sizeof(before));
		vdrv_start(&d, ~0ULL & ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
		for (u32 i = 0; i < 30; i++) {
			submit(0, "hurry up");
			submit(1, "hurry up");
		}
		ck_assert_uint_lt(d.next, MIB + sizeof(before));
		vdrv_set_status(&d, 0);
		memcpy(before, memory, sizeof(before));
		for (u32 i = 0; i < 4; i++) {
			vdrv_kick(&d, 0);
			vdrv_settle(&d);
		}
		ck_assert_int_eq(memcmp(before, memory, sizeof(before)), 0);
	}
	vdrv_free(&d);
}

/* A driver that looks at the ring only when it is called waits for ever if one call is lost. */
START_TEST(no_interrupt_is_lost)
{
	echo_plug(&d, _i, true);
	vdrv_start(&d, ~0ULL);
	for (u32 n = 0; n < 500; n++) {
		ring_calls(&d.q[n % 2].ring, RING_CALLS_ON, 0);
		submit(n % 2, "call me!");
		vdrv_wait_called(&d, n % 2);
		while (ring_get(&d.q[n % 2].ring, &(u32){ 0 }) < 0)
			vdrv_wait_called(&d, n % 2);
	}
	vdrv_free(&d);
}

#define TEST(name) tcase_add_loop_test(t, name, 0, MODES)

Suite *virtio_queue_suite(void)
{
	Suite *s = suite_create("virtio-queue");
	TCase *t = tcase_create("queues");

	TEST(kicks_before_driver_ok_wait);
	TEST(a_start_needs_no_kick);
	TEST(a_queue_enabled_after_driver_ok_starts_at_once);
	TEST(the_registers_of_an_enabled_queue_are_fixed);
	TEST(the_registers_of_a_queue_hold_what_was_written);
	TEST(a_queue_that_is_not_there_takes_nothing);
	TEST(a_bad_size_is_told_when_the_queue_starts);
	tcase_add_loop_test(t, a_packed_ring_may_have_any_size, 0, VDRV_BUSES);
	TEST(when_one_queue_breaks_the_others_rest);
	suite_add_tcase(s, t);

	t = tcase_create("interrupts");
	TEST(the_driver_is_called_only_if_it_wants);
	TEST(an_interrupt_that_a_reset_overtakes_is_dropped);
	tcase_add_loop_test(t, an_interrupt_in_hand_does_not_outlive_a_reset, 0, 2);
	TEST(an_interrupt_that_a_queue_reset_overtakes_is_dropped);
	suite_add_tcase(s, t);

	t = tcase_create("in flight");
	TEST(a_reset_with_requests_in_flight);
	TEST(a_device_is_destroyed_with_requests_in_flight);
	TEST(a_queue_reset_with_requests_in_flight);
	TEST(a_queue_reset_needs_its_feature);
	TEST(a_take_over_with_requests_in_flight);
	TEST(chains_answered_late_and_backwards_come_back_all);
	TEST(a_paused_device_starts_when_it_is_resumed);
	suite_add_tcase(s, t);

	t = tcase_create("threads");
	tcase_set_timeout(t, 60);
	TEST(nothing_touches_guest_memory_after_a_reset);
	TEST(no_interrupt_is_lost);
	suite_add_tcase(s, t);
	return s;
}
