// SPDX-License-Identifier: MIT
/*
 * test_console.c - the console's data, and what it is with one port. Most tests run on every
 * transport, with both ring formats; their number _i says which.
 */
#include "tests/unit/conformance.h"
#include "tests/unit/console_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct console_rig c;

START_TEST(output_comes_out)
{
	console_plug(&c, _i, 1);
	console_print(&c, "hello, ");
	console_print(&c, "world\n");
	ck_assert_str_eq(console_shown(&c), "hello, world\n");
	ck_assert_uint_eq(console_printed(&c, CONSOLE_TX), 2);
	console_rig_free(&c);
}

START_TEST(a_chain_of_many_pieces_comes_out_in_order)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz0123";
	struct ring_buf buf[10];

	console_plug(&c, _i, 1);
	for (u32 i = 0; i < 10; i++) {
		buf[i] = (struct ring_buf){ vdrv_alloc(&c.d, 3), 3 };
		memcpy(vdrv_ptr(&c.d, buf[i].gpa, 3), text + 3 * i, 3);
	}
	ck_assert_uint_eq(vdrv_request(&c.d, CONSOLE_TX, buf, 10, 0), 0);
	ck_assert_str_eq(console_shown(&c), text);
	console_rig_free(&c);
}

START_TEST(input_comes_in)
{
	console_plug(&c, _i, 1);
	console_post(&c, CONSOLE_RX, 16);
	console_post(&c, CONSOLE_RX, 16);
	ck_assert(console_nothing_received(&c, CONSOLE_RX));
	ck_assert_int_eq(write(c.in, "ls\r", 3), 3);
	vdrv_wait_called(&c.d, CONSOLE_RX);
	expect_received(&c, CONSOLE_RX, "ls\r");
	console_type(&c, "0123456789abcdefghij");
	expect_received(&c, CONSOLE_RX, "0123456789abcdef"); /* the buffer's full 16 bytes */
	ck_assert(console_nothing_received(&c, CONSOLE_RX));
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	expect_received(&c, CONSOLE_RX, "ghij");
	console_rig_free(&c);
}

START_TEST(a_buffer_without_room_comes_back_empty)
{
	struct ring_buf buf;
	u32 len = 1;

	console_plug(&c, _i, 1);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, 8), 8 };
	vdrv_submit(&c.d, CONSOLE_RX, &buf, 1, 0);
	console_post(&c, CONSOLE_RX, 8);
	console_type(&c, "x");
	ck_assert_int_ge(ring_get(&c.d.q[CONSOLE_RX].ring, &len), 0);
	ck_assert_uint_eq(len, 0);
	expect_received(&c, CONSOLE_RX, "x");
	console_rig_free(&c);
}

/* Bytes that tell when one is missing, doubled or in the wrong place. */
static u8 byte_at(u64 n)
{
	return n * 31 + (n >> 8) * 17 + (n >> 16);
}

#define STREAMED (300 * KIB)

/* Print as far as there is room in the ring, in chains of 1 to 3 pieces of odd sizes. */
static u64 print_more(u64 at)
{
	static u8 text[7000];
	struct ring_buf buf[3];

	while (at < STREAMED && ring_inflight(&c.d.q[CONSOLE_TX].ring) < 8) {
		u32 pieces = 1 + at % 3;

		for (u32 i = 0; i < pieces; i++) {
			u32 len = 1 + (at * 7 + i) % 6999;

			for (u32 k = 0; k < len; k++)
				text[k] = byte_at(at + k);
			buf[i] = (struct ring_buf){ vdrv_alloc(&c.d, len), len };
			memcpy(vdrv_ptr(&c.d, buf[i].gpa, len), text, len);
			at += len;
		}
		vdrv_submit(&c.d, CONSOLE_TX, buf, pieces, 0);
	}
	return at;
}

/* Read at most 1500 bytes of what comes out. */
static u64 check_shown(u64 at)
{
	u8 text[1500];
	ssize_t n = read(c.out, text, sizeof(text));

	for (ssize_t i = 0; i < n; i++)
		ck_assert_uint_eq(text[i], byte_at(at + i));
	return n < 0 ? at : at + n;
}

static void stream_out(u32 (*between)(u64 at))
{
	u64 at = 0, seen = 0;

	while (at < STREAMED || seen < at) {
		at = print_more(at);
		console_printed(&c, CONSOLE_TX);
		console_settle(&c);
		seen = check_shown(seen);
		if (between)
			between(seen);
	}
	console_printed(&c, CONSOLE_TX);
	ck_assert_uint_eq(ring_inflight(&c.d.q[CONSOLE_TX].ring), 0);
}

START_TEST(no_output_is_lost_in_a_narrow_pipe)
{
	console_rig_init(&c, _i / 2, 1, _i % 2);
	vdrv_start(&c.d, ~0ULL);
	stream_out(NULL);
	console_rig_free(&c);
}

static u32 take_over(u64 at)
{
	if (at % 3 == 0) {
		virtio_pause(c.d.v);
		virtio_resume(c.d.v);
	}
	return 0;
}

/* In the middle of a chain, too. */
START_TEST(no_output_is_lost_or_doubled_when_the_rings_change_hands)
{
	console_plug(&c, _i, 1);
	stream_out(take_over);
	console_rig_free(&c);
}

static u64 type_more(u64 at)
{
	u8 text[700];
	ssize_t n;

	for (u32 i = 0; i < sizeof(text); i++)
		text[i] = byte_at(at + i);
	n = write(c.in, text, sizeof(text));
	return n < 0 ? at : at + n;
}

/* Between two looks the driver has 0 to 5 buffers of odd sizes to offer. */
static void stream_in(void)
{
	u64 at = 0, seen = 0;
	const u8 *got;
	u32 len;

	for (u32 round = 0; seen < STREAMED; round++) {
		at = type_more(at);
		for (u32 i = 0; i < round % 6 && ring_inflight(&c.d.q[CONSOLE_RX].ring) < 16; i++)
			console_post(&c, CONSOLE_RX, 1 + (round * 13 + i) % 600);
		console_settle(&c);
		while ((got = console_received(&c, CONSOLE_RX, &len))) {
			ck_assert_uint_gt(len, 0);
			for (u32 i = 0; i < len; i++)
				ck_assert_uint_eq(got[i], byte_at(seen + i));
			seen += len;
		}
		if (round % 50 == 0 && !c.d.threads) {
			virtio_pause(c.d.v);
			virtio_resume(c.d.v);
		}
	}
}

START_TEST(no_input_is_lost_when_the_driver_is_slow)
{
	console_rig_init(&c, _i / 2, 1, _i % 2);
	vdrv_start(&c.d, ~0ULL);
	stream_in();
	console_rig_free(&c);
}

START_TEST(without_buffers_input_waits_outside)
{
	int n = 0;

	console_plug(&c, _i, 1);
	console_type(&c, "abc");
	ck_assert_int_eq(ioctl(c.s[0].in_fd, FIONREAD, &n), 0);
	ck_assert_int_eq(n, 3);
	ck_assert(!c.s[0].want_read);
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	expect_received(&c, CONSOLE_RX, "abc");
	console_rig_free(&c);
}

/* Fill the pipe with `x`, and more. Returns how many bytes were printed. */
static u32 overfill(void)
{
	static char text[3000];

	memset(text, 'x', sizeof(text));
	for (u32 i = 0; i < 4; i++)
		console_submit(&c, CONSOLE_TX, text, sizeof(text));
	console_settle(&c);
	return 4 * sizeof(text);
}

START_TEST(a_reset_in_mid_output_drops_the_rest)
{
	console_plug(&c, _i, 1);
	overfill();
	ck_assert(c.s[0].want_write);
	vdrv_reset(&c.d);
	ck_assert(!c.s[0].want_write);
	ck_assert_uint_gt(strlen(console_shown(&c)), 0);
	ck_assert_str_eq(console_shown(&c), "");
	vdrv_start(&c.d, ~0ULL);
	console_print(&c, "a new life");
	ck_assert_str_eq(console_shown(&c), "a new life"); /* all of it */
	console_rig_free(&c);
}

START_TEST(a_queue_reset_in_mid_output_drops_the_rest)
{
	console_plug(&c, _i, 1);
	overfill();
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	ck_assert(!c.s[0].want_write);
	while (*console_shown(&c))
		;
	vdrv_queue_up(&c.d, CONSOLE_TX, 16);
	console_print(&c, "a new ring");
	ck_assert_str_eq(console_shown(&c), "a new ring");
	console_rig_free(&c);
}

START_TEST(after_a_reset_input_touches_no_memory)
{
	struct ring_buf *buf;

	console_plug(&c, _i, 1);
	console_post(&c, CONSOLE_RX, 16);
	buf = &c.posted[CONSOLE_RX][0];
	for (u32 i = 0; i < CONSOLE_BUFS && !buf->len; i++)
		buf = &c.posted[CONSOLE_RX][i];
	console_settle(&c);
	vdrv_reset(&c.d);
	console_type(&c, "late");
	ck_assert_mem_eq(vdrv_ptr(&c.d, buf->gpa, 4), "\0\0\0\0", 4);
	vdrv_start(&c.d, ~0ULL);
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	expect_received(&c, CONSOLE_RX, "late"); /* nothing is lost */
	console_rig_free(&c);
}

START_TEST(a_broken_ring_rests_the_whole_device)
{
	struct ring_buf bad = { VDRV_RAM, 8 };

	console_plug(&c, _i, 1);
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	vdrv_submit(&c.d, CONSOLE_TX, &bad, 1, 0);
	console_settle(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_said("virtio-console: the guest's driver broke a rule");
	console_type(&c, "x");
	ck_assert(console_nothing_received(&c, CONSOLE_RX));
	vdrv_start(&c.d, ~0ULL);
	console_post(&c, CONSOLE_RX, 16);
	console_print(&c, "back");
	ck_assert_str_eq(console_shown(&c), "back");
	expect_received(&c, CONSOLE_RX, "x");
	console_rig_free(&c);
}

/* The ring breaks when the stream's event finds the chain, not at a kick. */
START_TEST(a_ring_that_breaks_behind_our_back_is_noticed)
{
	struct ring_buf bad = { VDRV_RAM, 8 };

	console_plug(&c, _i, 1);
	console_post(&c, CONSOLE_RX, 1);
	console_settle(&c);
	vdrv_submit(&c.d, CONSOLE_RX, &bad, 0, 1);
	console_settle(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	console_type(&c, "xy");
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert(!c.s[0].want_read);
	console_rig_free(&c);
}

/* ---- one port ---- */

START_TEST(a_single_console_has_no_control_queues)
{
	console_plug(&c, _i, 1);
	ck_assert_uint_eq(vdrv_offered(&c.d) & CONSOLE_MULTIPORT, 0);
	ck_assert_uint_eq(vdrv_queue_max(&c.d, 2), 0);
	console_rig_free(&c);
}

START_TEST(without_multiport_the_first_port_works)
{
	console_plug(&c, _i, 3);
	vdrv_start(&c.d, ~CONSOLE_MULTIPORT);
	console_post(&c, CONSOLE_RX, 16);
	console_type(&c, "in");
	expect_received(&c, CONSOLE_RX, "in");
	console_print(&c, "out");
	ck_assert_str_eq(console_shown(&c), "out");
	console_rig_free(&c);
}

START_TEST(without_multiport_the_other_queues_do_nothing)
{
	struct virtio_console_control msg = { .event = VIRTIO_CONSOLE_DEVICE_READY, .value = 1 };

	console_plug(&c, _i, 3);
	vdrv_start(&c.d, ~CONSOLE_MULTIPORT);
	console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_submit(&c, CONSOLE_CONTROL_TX, &msg, sizeof(msg));
	console_submit(&c, 5, "x", 1);
	console_expect_silence(&c);
	ck_assert_uint_eq(console_printed(&c, CONSOLE_CONTROL_TX) + console_printed(&c, 5), 0);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	console_rig_free(&c);
}

/* ---- the configuration space ---- */

START_TEST(a_resize_changes_the_configuration)
{
	console_plug(&c, _i, 1);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 4), 0);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_MAX, 4), 1);
	vdrv_config_called(&c.d);
	virtio_console_resize(c.d.v, 0, 132, 43);
	vdrv_wait_config_called(&c.d);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 2), 132);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS + 2, 2), 43);
	virtio_console_resize(c.d.v, 0, 132, 43);
	vdrv_settle(&c.d);
	ck_assert(!vdrv_config_called(&c.d)); /* nothing has changed */
	vdrv_reset(&c.d);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 2),
			  132); /* the window is as it was */
	console_rig_free(&c);
}

START_TEST(the_driver_cannot_resize_it)
{
	console_plug(&c, _i, 1);
	vdrv_set_config(&c.d, CONSOLE_CONFIG_COLS, 4, 0x11112222);
	vdrv_set_config(&c.d, CONSOLE_CONFIG_MAX, 4, 7);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 4), 0);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_MAX, 4), 1);
	ck_assert_str_eq(console_shown(&c), "");
	console_rig_free(&c);
}

START_TEST(a_terminals_size_is_known_from_the_start)
{
	struct winsize size = { .ws_col = 101, .ws_row = 37 };
	struct virtio_console_port port = { .stream = &c.s[0] };
	struct virtio_options o = { 0 };
	struct virtio_dev *v = NULL;
	int master, slave;

	memset(&c, 0, sizeof(c));
	vdrv_init(&c.d, VDRV_MMIO, false);
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, &size), 0);
	stdio_begin(slave, slave);
	stream_init(&c.s[0], c.d.rig->r.env.loop);
	ck_assert_int_eq(stream_open_stdio(&c.s[0]), 0);
	ck_assert_int_eq(virtio_console_create(&v, &c.d.rig->r.env, &o, &port, 1), 0);
	vdrv_attach(&c.d, v);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 2), 101);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS + 2, 2), 37);
	vdrv_unplug(&c.d);
	stream_close(&c.s[0]);
	stdio_end();
	close(master);
	close(slave);
	vdrv_free(&c.d);
}

START_TEST(the_emergency_register_works_on_a_device_that_does_not)
{
	console_rig_init(&c, _i, 1, false);
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG, 4, 0x11223300 + 'o');
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG, 1, 'o');
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG, 2, 'p');
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG + 1, 1, '!'); /* not the lower byte */
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG, 1, 's');
	ck_assert_str_eq(console_shown(&c), "oops");
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_EMERG, 4), 0);
	console_rig_free(&c);
}

START_TEST(the_emergency_register_never_waits)
{
	console_plug(&c, _i, 1);
	overfill();
	while (stream_write(&c.s[0], "y", 1))
		;
	vdrv_set_config(&c.d, CONSOLE_CONFIG_EMERG, 4,
			'!'); /* no room: lost, and nobody is held up */
	ck_assert_ptr_null(strchr(console_shown(&c), '!'));
	console_rig_free(&c);
}

/* ---- the conformance suite's row ---- */

static int conformance_create(struct virtio_dev **v, const struct machine_env *env,
			      const struct virtio_options *o)
{
	memset(&c, 0, sizeof(c));
	return console_make(&c, v, env, o, 2);
}

static void conformance_cleanup(void)
{
	console_unmake(&c);
}

static void conformance_request(struct vdrv *d)
{
	struct ring_buf buf = { vdrv_alloc(d, 8), 8 };
	char text[9] = "";

	memcpy(vdrv_ptr(d, buf.gpa, 8), "marmalad", 8);
	ck_assert_uint_eq(vdrv_request(d, CONSOLE_TX, &buf, 1, 0), 0);
	ck_assert_int_eq(read(c.out, text, 8), 8);
	ck_assert_str_eq(text, "marmalad");
}

const struct conformance_device conformance_console = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.nqueues = 6,
	.config_len = sizeof(struct virtio_console_config),
	.features = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE) | CONSOLE_MULTIPORT |
		    VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE),
	.create = conformance_create,
	.cleanup = conformance_cleanup,
	.request = conformance_request,
	.queue = CONSOLE_TX,
};

#define TEST(name) tcase_add_loop_test(t, name, 0, CONSOLE_MODES)

Suite *console_suite(void)
{
	Suite *su = suite_create("console");
	TCase *t = tcase_create("data");

	tcase_set_timeout(t, 60);
	TEST(output_comes_out);
	TEST(a_chain_of_many_pieces_comes_out_in_order);
	TEST(input_comes_in);
	TEST(a_buffer_without_room_comes_back_empty);
	tcase_add_loop_test(t, no_output_is_lost_in_a_narrow_pipe, 0, 2 * CONSOLE_MODES);
	TEST(no_output_is_lost_or_doubled_when_the_rings_change_hands);
	tcase_add_loop_test(t, no_input_is_lost_when_the_driver_is_slow, 0, 2 * CONSOLE_MODES);
	TEST(without_buffers_input_waits_outside);
	TEST(a_reset_in_mid_output_drops_the_rest);
	TEST(a_queue_reset_in_mid_output_drops_the_rest);
	TEST(after_a_reset_input_touches_no_memory);
	TEST(a_broken_ring_rests_the_whole_device);
	TEST(a_ring_that_breaks_behind_our_back_is_noticed);
	suite_add_tcase(su, t);

	t = tcase_create("single");
	TEST(a_single_console_has_no_control_queues);
	TEST(without_multiport_the_first_port_works);
	TEST(without_multiport_the_other_queues_do_nothing);
	TEST(a_resize_changes_the_configuration);
	TEST(the_driver_cannot_resize_it);
	tcase_add_test(t, a_terminals_size_is_known_from_the_start);
	TEST(the_emergency_register_works_on_a_device_that_does_not);
	TEST(the_emergency_register_never_waits);
	suite_add_tcase(su, t);
	return su;
}
