// SPDX-License-Identifier: MIT
/*
 * test_console_more.c - the console when rings are hostile, greedy or new. Each test runs on every
 * transport, with both ring formats; its number _i says which.
 */
#include "tests/unit/console_rig.h"

#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static struct console_rig c;

#define PORT1_TX 5
#define TURN	 (256 * KIB)
#define COST	 64
#define SERVES	 16 /* in one console_settle(): more than there are */

/* It stops between two chains, and nothing but itself calls it to go on. */
START_TEST(when_its_turn_is_over_it_goes_on_by_itself)
{
	const u32 len = TURN / 4 - COST;
	struct ring_buf buf;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, len), len };
	for (u32 i = 0; i < 6; i++)
		ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 1, 0, false), 0);
	ring_publish(&c.d.q[PORT1_TX].ring);
	vdrv_kick(&c.d, PORT1_TX);
	console_settle(&c);
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 6);
	console_rig_free(&c);
}

/* One call of the device, by hand. */
static void serve(u32 q)
{
	c.d.v->ops->serve(c.d.v, &c.d.v->queue[q]);
}

START_TEST(a_turn_sends_a_bounded_amount_of_chains)
{
	const u32 len = TURN / 4 - COST;
	struct ring_buf buf;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, len), len };
	for (u32 i = 0; i < 6; i++)
		ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 1, 0, false), 0);
	ring_publish(&c.d.q[PORT1_TX].ring);
	serve(PORT1_TX);
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 4);
	serve(PORT1_TX);
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 2);
	console_rig_free(&c);
}

START_TEST(a_turn_sends_a_bounded_part_of_a_chain)
{
	struct ring_buf buf;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, 3 * TURN), 3 * TURN };
	ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 1, 0, false), 0);
	ring_publish(&c.d.q[PORT1_TX].ring);
	for (u32 i = 0; i < 3; i++) {
		ck_assert_uint_eq(console_printed(&c, PORT1_TX), 0);
		serve(PORT1_TX);
	}
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 1);
	console_rig_free(&c);
}

/* They cost something, too, or a guest could go on for ever with them. */
START_TEST(a_turn_takes_a_bounded_number_of_empty_chains)
{
	const u32 len = TURN - 10 * COST;
	struct ring_buf buf;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, len), len };
	ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 1, 0, false), 0);
	for (u32 i = 0; i < 20; i++) /* all for the device to write, none to send */
		ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 0, 1, false), 0);
	ring_publish(&c.d.q[PORT1_TX].ring);
	serve(PORT1_TX);
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 1 + 9);
	console_settle(&c);
	ck_assert_uint_eq(console_printed(&c, PORT1_TX), 11);
	console_rig_free(&c);
}

START_TEST(a_turn_receives_a_bounded_amount)
{
	static u8 text[2 * TURN];
	u32 len = 0;

	console_plug(&c, _i, 1);
	console_settle(&c);
	ck_assert_int_ge(fcntl(c.in, F_SETPIPE_SZ, sizeof(text)), (int)sizeof(text));
	ck_assert_int_eq(write(c.in, text, sizeof(text)), sizeof(text));
	console_post(&c, CONSOLE_RX, sizeof(text));
	console_post(&c, CONSOLE_RX, sizeof(text));
	c.s[0].readable(&c.s[0]);
	ck_assert_ptr_nonnull(console_received(&c, CONSOLE_RX, &len));
	ck_assert_uint_eq(len, TURN);
	ck_assert_ptr_null(console_received(&c, CONSOLE_RX, &len));
	console_settle(&c);
	ck_assert_ptr_nonnull(console_received(&c, CONSOLE_RX, &len));
	ck_assert_uint_eq(len, TURN);
	console_rig_free(&c);
}

START_TEST(a_turn_fills_a_bounded_number_of_empty_chains)
{
	static u8 text[TURN - 10 * COST];
	struct ring_buf buf;
	u32 n = 0, len;

	console_plug(&c, _i, 1);
	console_settle(&c);
	ck_assert_int_ge(fcntl(c.in, F_SETPIPE_SZ, sizeof(text)), (int)sizeof(text));
	ck_assert_int_eq(write(c.in, text, sizeof(text)), sizeof(text));
	buf = (struct ring_buf){ vdrv_alloc(&c.d, sizeof(text)), sizeof(text) };
	ck_assert_int_ge(ring_add(&c.d.q[CONSOLE_RX].ring, &buf, 0, 1, false), 0);
	for (u32 i = 0; i < 20; i++) /* without room */
		ck_assert_int_ge(ring_add(&c.d.q[CONSOLE_RX].ring, &buf, 1, 0, false), 0);
	ring_publish(&c.d.q[CONSOLE_RX].ring);
	c.s[0].readable(&c.s[0]);
	while (ring_get(&c.d.q[CONSOLE_RX].ring, &len) >= 0)
		n++;
	ck_assert_uint_eq(n, 1 + 9);
	console_rig_free(&c);
}

/* A ring with more messages than there may be in a turn. */
START_TEST(a_turn_takes_a_bounded_number_of_messages)
{
	struct virtio_console_control msg = { .id = 1, .event = 0xffff };
	const u32 max = TURN / COST;
	struct virtio_dev *v = NULL;
	struct ring_driver *ring;
	struct ring_buf buf;

	memset(&c, 0, sizeof(c));
	vdrv_init(&c.d, _i % VDRV_BUSES, _i >= VDRV_BUSES);
	c.d.options.queue_size = 2 * max;
	ck_assert_int_eq(console_make(&c, &v, &c.d.rig->r.env, &c.d.options, 2), 0);
	vdrv_attach(&c.d, v);
	ck_assert(vdrv_negotiate(&c.d, ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)));
	vdrv_queue_up(&c.d, CONSOLE_CONTROL_TX, 2 * max);
	vdrv_driver_ok(&c.d);
	console_settle(&c);
	ring = &c.d.q[CONSOLE_CONTROL_TX].ring;
	buf = (struct ring_buf){ vdrv_alloc(&c.d, sizeof(msg)), sizeof(msg) };
	memcpy(vdrv_ptr(&c.d, buf.gpa, sizeof(msg)), &msg, sizeof(msg));
	for (u32 i = 0; i < max + 10; i++)
		ck_assert_int_ge(ring_add(ring, &buf, 1, 0, false), 0);
	ring_publish(ring);
	serve(CONSOLE_CONTROL_TX);
	ck_assert_uint_eq(console_printed(&c, CONSOLE_CONTROL_TX), max);
	console_settle(&c);
	ck_assert_uint_eq(console_printed(&c, CONSOLE_CONTROL_TX), 10);
	console_rig_free(&c);
}

static atomic_bool enough;

/* A vCPU that makes chains without a byte to send available again as soon as it has them back. */
static void *send_nothing(void *arg)
{
	struct ring_driver *ring = &c.d.q[CONSOLE_TX].ring;
	const struct ring_buf *buf = arg;
	u32 len;

	while (!enough) {
		while (ring_get(ring, &len) >= 0)
			;
		while (ring_inflight(ring) < 100 && ring_add(ring, buf, 0, 1, false) >= 0)
			;
		if (ring_publish(ring))
			vdrv_kick(&c.d, CONSOLE_TX);
	}
	return NULL;
}

START_TEST(a_driver_that_sends_nothing_keeps_nobody_busy)
{
	struct ring_buf buf;
	pthread_t vcpu;

	console_plug(&c, _i, 1);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, 8), 8 };
	enough = false;
	ck_assert_int_eq(pthread_create(&vcpu, NULL, send_nothing, &buf), 0);
	for (u32 i = 0; i < 200; i++) {
		u64 before = c.d.v->queue[CONSOLE_TX].vq.stats.chains;

		console_settle(&c);
		before = c.d.v->queue[CONSOLE_TX].vq.stats.chains - before;
		ck_assert_uint_le(before, SERVES * (TURN / COST));
		sched_yield();
	}
	enough = true;
	pthread_join(vcpu, NULL);
	console_rig_free(&c);
}

/* 6000 bytes into a pipe of 4 KiB: the first chain of the ring is on its way. */
static void print_half(char *text)
{
	memset(text, 'x', 6000);
	text[5999] = '.';
	console_submit(&c, CONSOLE_TX, text, 6000);
	console_settle(&c);
	ck_assert(c.s[0].want_write);
}

static void print_on_a_new_ring(void)
{
	const char *text = "a new ring";

	while (*console_shown(&c))
		;
	vdrv_queue_up(&c.d, CONSOLE_TX, 16);
	console_submit(&c, CONSOLE_TX, text, strlen(text));
	ck_assert_str_eq(console_shown(&c), text);
	ck_assert_uint_eq(console_printed(&c, CONSOLE_TX), 1);
}

START_TEST(a_new_ring_begins_with_its_first_byte)
{
	char text[6001];

	console_plug(&c, _i, 1);
	print_half(text);
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	print_on_a_new_ring();
	console_rig_free(&c);
}

START_TEST(so_it_does_when_it_was_paused_at_its_reset)
{
	char text[6001];

	console_plug(&c, _i, 1);
	print_half(text);
	virtio_pause(c.d.v);
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	virtio_resume(c.d.v);
	print_on_a_new_ring();
	console_rig_free(&c);
}

START_TEST(a_pause_in_the_first_chain_changes_nothing)
{
	char text[6001] = "", seen[8192] = "";

	console_plug(&c, _i, 1);
	print_half(text);
	virtio_pause(c.d.v);
	virtio_resume(c.d.v);
	console_settle(&c);
	for (u32 i = 0; i < 4; i++)
		strcat(seen, console_shown(&c));
	ck_assert_str_eq(seen, text);
	ck_assert_uint_eq(console_printed(&c, CONSOLE_TX), 1);
	console_rig_free(&c);
}

Suite *console_more_suite(void)
{
	Suite *su = suite_create("console_more");
	TCase *t = tcase_create("turns");

	tcase_add_loop_test(t, when_its_turn_is_over_it_goes_on_by_itself, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_sends_a_bounded_amount_of_chains, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_sends_a_bounded_part_of_a_chain, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_takes_a_bounded_number_of_empty_chains, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_receives_a_bounded_amount, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_fills_a_bounded_number_of_empty_chains, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_turn_takes_a_bounded_number_of_messages, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_driver_that_sends_nothing_keeps_nobody_busy, 0, CONSOLE_MODES);
	suite_add_tcase(su, t);

	t = tcase_create("rings");
	tcase_add_loop_test(t, a_new_ring_begins_with_its_first_byte, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, so_it_does_when_it_was_paused_at_its_reset, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_pause_in_the_first_chain_changes_nothing, 0, CONSOLE_MODES);
	suite_add_tcase(su, t);
	return su;
}
