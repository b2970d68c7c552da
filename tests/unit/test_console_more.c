// SPDX-License-Identifier: MIT
/*
 * test_console_more.c - the console's output when rings are hostile or new. Each test runs on every
 * transport, with both ring formats; its number _i says which.
 */
#include "tests/unit/console_rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static struct console_rig c;

static void plug(int mode, u32 nports)
{
	console_rig_init(&c, mode, nports, false);
	vdrv_start(&c.d, ~0ULL);
}

static void unplug(void)
{
	console_rig_free(&c);
}

/* What has come out of port 0. */
static const char *shown(void)
{
	static char text[8192];
	ssize_t n;

	console_settle(&c);
	n = read(c.out, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static u32 printed(u32 q)
{
	u32 n = 0, len;

	while (ring_get(&c.d.q[q].ring, &len) >= 0)
		n++;
	return n;
}

#define PORT1_TX 5
#define TURN	 (256 * KIB)
#define COST	 64
#define SERVES	 16 /* in one console_settle(): more than there are */

/* It stops between two chains, and nothing but itself calls it to go on. */
START_TEST(when_its_turn_is_over_it_goes_on_by_itself)
{
	const u32 len = TURN / 4 - COST;
	struct ring_buf buf;

	plug(_i, 2);
	console_handshake(&c);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, len), len };
	for (u32 i = 0; i < 6; i++)
		ck_assert_int_ge(ring_add(&c.d.q[PORT1_TX].ring, &buf, 1, 0, false), 0);
	ring_publish(&c.d.q[PORT1_TX].ring);
	vdrv_kick(&c.d, PORT1_TX);
	console_settle(&c);
	ck_assert_uint_eq(printed(PORT1_TX), 6);
	unplug();
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

	plug(_i, 1);
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
	unplug();
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

	while (*shown())
		;
	vdrv_queue_up(&c.d, CONSOLE_TX, 16);
	console_submit(&c, CONSOLE_TX, text, strlen(text));
	ck_assert_str_eq(shown(), text);
	ck_assert_uint_eq(printed(CONSOLE_TX), 1);
}

START_TEST(a_new_ring_begins_with_its_first_byte)
{
	char text[6001];

	plug(_i, 1);
	print_half(text);
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	print_on_a_new_ring();
	unplug();
}

START_TEST(so_it_does_when_it_was_paused_at_its_reset)
{
	char text[6001];

	plug(_i, 1);
	print_half(text);
	virtio_pause(c.d.v);
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	virtio_resume(c.d.v);
	print_on_a_new_ring();
	unplug();
}

START_TEST(a_pause_in_the_first_chain_changes_nothing)
{
	char text[6001] = "", seen[8192] = "";

	plug(_i, 1);
	print_half(text);
	virtio_pause(c.d.v);
	virtio_resume(c.d.v);
	console_settle(&c);
	for (u32 i = 0; i < 4; i++)
		strcat(seen, shown());
	ck_assert_str_eq(seen, text);
	ck_assert_uint_eq(printed(CONSOLE_TX), 1);
	unplug();
}

Suite *console_more_suite(void)
{
	Suite *su = suite_create("console_more");
	TCase *t = tcase_create("output");

	tcase_add_loop_test(t, when_its_turn_is_over_it_goes_on_by_itself, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_driver_that_sends_nothing_keeps_nobody_busy, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_new_ring_begins_with_its_first_byte, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, so_it_does_when_it_was_paused_at_its_reset, 0, CONSOLE_MODES);
	tcase_add_loop_test(t, a_pause_in_the_first_chain_changes_nothing, 0, CONSOLE_MODES);
	suite_add_tcase(su, t);
	return su;
}
