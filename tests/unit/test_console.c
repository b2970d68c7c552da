// SPDX-License-Identifier: MIT
/*
 * test_console.c - the console between a driver, pipes and sockets. Most tests run on every
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

#define MULTIPORT    VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)
#define CONFIG_COLS  0
#define CONFIG_MAX   4
#define CONFIG_EMERG 8

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
	static char text[5000];
	ssize_t n;

	console_settle(&c);
	n = read(c.out, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void print(const char *text)
{
	console_submit(&c, CONSOLE_TX, text, strlen(text));
}

/* Take back what has been printed. Returns how many chains. */
static u32 printed(u32 q)
{
	u32 n = 0, len;

	while (ring_get(&c.d.q[q].ring, &len) >= 0) {
		ck_assert_uint_eq(len, 0);
		n++;
	}
	return n;
}

/* What the driver has received from queue `q`, in one buffer. */
#define expect_received(q, text)                                 \
	do {                                                     \
		u32 len_ = 0;                                    \
		const u8 *got_ = console_received(&c, q, &len_); \
		ck_assert_ptr_nonnull(got_);                     \
		ck_assert_uint_eq(len_, sizeof(text) - 1);       \
		ck_assert_mem_eq(got_, text, sizeof(text) - 1);  \
	} while (0)

static bool nothing_received(u32 q)
{
	u32 len;

	console_settle(&c);
	return !console_received(&c, q, &len);
}

START_TEST(output_comes_out)
{
	plug(_i, 1);
	print("hello, ");
	print("world\n");
	ck_assert_str_eq(shown(), "hello, world\n");
	ck_assert_uint_eq(printed(CONSOLE_TX), 2);
	unplug();
}

START_TEST(a_chain_of_many_pieces_comes_out_in_order)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz0123";
	struct ring_buf buf[10];

	plug(_i, 1);
	for (u32 i = 0; i < 10; i++) {
		buf[i] = (struct ring_buf){ vdrv_alloc(&c.d, 3), 3 };
		memcpy(vdrv_ptr(&c.d, buf[i].gpa, 3), text + 3 * i, 3);
	}
	ck_assert_uint_eq(vdrv_request(&c.d, CONSOLE_TX, buf, 10, 0), 0);
	ck_assert_str_eq(shown(), text);
	unplug();
}

START_TEST(input_comes_in)
{
	plug(_i, 1);
	console_post(&c, CONSOLE_RX, 16);
	console_post(&c, CONSOLE_RX, 16);
	ck_assert(nothing_received(CONSOLE_RX));
	ck_assert_int_eq(write(c.in, "ls\r", 3), 3);
	vdrv_wait_called(&c.d, CONSOLE_RX);
	expect_received(CONSOLE_RX, "ls\r");
	console_type(&c, "0123456789abcdefghij");
	expect_received(CONSOLE_RX, "0123456789abcdef"); /* the buffer's full 16 bytes */
	ck_assert(nothing_received(CONSOLE_RX));
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	expect_received(CONSOLE_RX, "ghij");
	unplug();
}

START_TEST(a_buffer_without_room_comes_back_empty)
{
	struct ring_buf buf;
	u32 len = 1;

	plug(_i, 1);
	buf = (struct ring_buf){ vdrv_alloc(&c.d, 8), 8 };
	vdrv_submit(&c.d, CONSOLE_RX, &buf, 1, 0);
	console_post(&c, CONSOLE_RX, 8);
	console_type(&c, "x");
	ck_assert_int_ge(ring_get(&c.d.q[CONSOLE_RX].ring, &len), 0);
	ck_assert_uint_eq(len, 0);
	expect_received(CONSOLE_RX, "x");
	unplug();
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
		printed(CONSOLE_TX);
		console_settle(&c);
		seen = check_shown(seen);
		if (between)
			between(seen);
	}
	printed(CONSOLE_TX);
	ck_assert_uint_eq(ring_inflight(&c.d.q[CONSOLE_TX].ring), 0);
}

START_TEST(no_output_is_lost_in_a_narrow_pipe)
{
	console_rig_init(&c, _i / 2, 1, _i % 2);
	vdrv_start(&c.d, ~0ULL);
	stream_out(NULL);
	unplug();
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
	plug(_i, 1);
	stream_out(take_over);
	unplug();
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
	unplug();
}

START_TEST(without_buffers_input_waits_outside)
{
	int n = 0;

	plug(_i, 1);
	console_type(&c, "abc");
	ck_assert_int_eq(ioctl(c.s[0].in_fd, FIONREAD, &n), 0);
	ck_assert_int_eq(n, 3);
	ck_assert(!c.s[0].want_read);
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	expect_received(CONSOLE_RX, "abc");
	unplug();
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
	plug(_i, 1);
	overfill();
	ck_assert(c.s[0].want_write);
	vdrv_reset(&c.d);
	ck_assert(!c.s[0].want_write);
	ck_assert_uint_gt(strlen(shown()), 0);
	ck_assert_str_eq(shown(), "");
	vdrv_start(&c.d, ~0ULL);
	print("a new life");
	ck_assert_str_eq(shown(), "a new life"); /* all of it */
	unplug();
}

START_TEST(a_queue_reset_in_mid_output_drops_the_rest)
{
	plug(_i, 1);
	overfill();
	vdrv_queue_reset(&c.d, CONSOLE_TX);
	ck_assert(!c.s[0].want_write);
	while (*shown())
		;
	vdrv_queue_up(&c.d, CONSOLE_TX, 16);
	print("a new ring");
	ck_assert_str_eq(shown(), "a new ring");
	unplug();
}

START_TEST(after_a_reset_input_touches_no_memory)
{
	struct ring_buf *buf;

	plug(_i, 1);
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
	expect_received(CONSOLE_RX, "late"); /* nothing is lost */
	unplug();
}

START_TEST(a_broken_ring_rests_the_whole_device)
{
	struct ring_buf bad = { VDRV_RAM, 8 };

	plug(_i, 1);
	console_post(&c, CONSOLE_RX, 16);
	console_settle(&c);
	vdrv_submit(&c.d, CONSOLE_TX, &bad, 1, 0);
	console_settle(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_said("virtio-console: the guest's driver broke a rule");
	console_type(&c, "x");
	ck_assert(nothing_received(CONSOLE_RX));
	vdrv_start(&c.d, ~0ULL);
	console_post(&c, CONSOLE_RX, 16);
	print("back");
	ck_assert_str_eq(shown(), "back");
	expect_received(CONSOLE_RX, "x");
	unplug();
}

/* The ring breaks when the stream's event finds the chain, not at a kick. */
START_TEST(a_ring_that_breaks_behind_our_back_is_noticed)
{
	struct ring_buf bad = { VDRV_RAM, 8 };

	plug(_i, 1);
	console_post(&c, CONSOLE_RX, 1);
	console_settle(&c);
	vdrv_submit(&c.d, CONSOLE_RX, &bad, 0, 1);
	console_settle(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	console_type(&c, "xy");
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert(!c.s[0].want_read);
	unplug();
}

/* ---- one port ---- */

START_TEST(a_single_console_has_no_control_queues)
{
	plug(_i, 1);
	ck_assert_uint_eq(vdrv_offered(&c.d) & MULTIPORT, 0);
	ck_assert_uint_eq(vdrv_queue_max(&c.d, 2), 0);
	unplug();
}

START_TEST(without_multiport_the_first_port_works)
{
	plug(_i, 3);
	vdrv_start(&c.d, ~MULTIPORT);
	console_post(&c, CONSOLE_RX, 16);
	console_type(&c, "in");
	expect_received(CONSOLE_RX, "in");
	print("out");
	ck_assert_str_eq(shown(), "out");
	unplug();
}

START_TEST(without_multiport_the_other_queues_do_nothing)
{
	struct virtio_console_control msg = { .event = VIRTIO_CONSOLE_DEVICE_READY, .value = 1 };

	plug(_i, 3);
	vdrv_start(&c.d, ~MULTIPORT);
	console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_submit(&c, CONSOLE_CONTROL_TX, &msg, sizeof(msg));
	console_submit(&c, 5, "x", 1);
	console_expect_silence(&c);
	ck_assert_uint_eq(printed(CONSOLE_CONTROL_TX) + printed(5), 0);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	unplug();
}

/* ---- the configuration space ---- */

START_TEST(a_resize_changes_the_configuration)
{
	plug(_i, 1);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 4), 0);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_MAX, 4), 1);
	vdrv_config_called(&c.d);
	virtio_console_resize(c.d.v, 0, 132, 43);
	vdrv_wait_config_called(&c.d);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 2), 132);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS + 2, 2), 43);
	virtio_console_resize(c.d.v, 0, 132, 43);
	vdrv_settle(&c.d);
	ck_assert(!vdrv_config_called(&c.d)); /* nothing has changed */
	vdrv_reset(&c.d);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 2), 132); /* the window is as it was */
	unplug();
}

START_TEST(the_driver_cannot_resize_it)
{
	plug(_i, 1);
	vdrv_set_config(&c.d, CONFIG_COLS, 4, 0x11112222);
	vdrv_set_config(&c.d, CONFIG_MAX, 4, 7);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 4), 0);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_MAX, 4), 1);
	ck_assert_str_eq(shown(), "");
	unplug();
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
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 2), 101);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS + 2, 2), 37);
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
	vdrv_set_config(&c.d, CONFIG_EMERG, 4, 0x11223300 + 'o');
	vdrv_set_config(&c.d, CONFIG_EMERG, 1, 'o');
	vdrv_set_config(&c.d, CONFIG_EMERG, 2, 'p');
	vdrv_set_config(&c.d, CONFIG_EMERG + 1, 1, '!'); /* not the lower byte */
	vdrv_set_config(&c.d, CONFIG_EMERG, 1, 's');
	ck_assert_str_eq(shown(), "oops");
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_EMERG, 4), 0);
	unplug();
}

START_TEST(the_emergency_register_never_waits)
{
	plug(_i, 1);
	overfill();
	while (stream_write(&c.s[0], "y", 1))
		;
	vdrv_set_config(&c.d, CONFIG_EMERG, 4, '!'); /* no room: lost, and nobody is held up */
	ck_assert_ptr_null(strchr(shown(), '!'));
	unplug();
}

/* ---- several ports ---- */

START_TEST(ports_are_introduced_step_by_step)
{
	plug(_i, 3);
	ck_assert_uint_eq(vdrv_offered(&c.d) & MULTIPORT, MULTIPORT);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_MAX, 4), 3);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_expect_silence(&c);
	console_tell(&c, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < 3; i++)
		expect_told(&c, i, PORT_ADD, 1, "");
	console_expect_silence(&c);
	console_tell(&c, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(&c, 0, CONSOLE_PORT, 1, "");
	expect_told(&c, 0, PORT_OPEN, 1, "");
	console_expect_silence(&c);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(&c, 2, PORT_NAME, 1, "port.2");
	console_expect_silence(&c); /* nobody is at its other end */
	unplug();
}

START_TEST(a_port_is_added_once)
{
	plug(_i, 2);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	console_expect_silence(&c);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_told(&c, 0, PORT_ADD, 1, "");
	expect_told(&c, 1, PORT_ADD, 1, "");
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	console_expect_silence(&c);
	unplug();
}

START_TEST(messages_wait_for_buffers)
{
	plug(_i, 3);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < 3; i++) {
		console_expect_silence(&c);
		console_post(&c, CONSOLE_CONTROL_RX, 64);
		console_settle(&c);
		expect_told(&c, i, PORT_ADD, 1, "");
	}
	/* However often something happens, the last state is told once. */
	console_tell(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	for (u32 i = 0; i < 20; i++)
		close(console_connect(&c, 1));
	console_settle(&c);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_settle(&c);
	expect_told(&c, 1, PORT_NAME, 1, "port.1");
	expect_told(&c, 1, PORT_OPEN, 0, "");
	console_expect_silence(&c);
	unplug();
}

START_TEST(a_message_is_cut_to_its_buffer)
{
	u32 len;

	plug(_i, 2);
	console_post(&c, CONSOLE_CONTROL_RX, 3);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	ck_assert_ptr_nonnull(console_received(&c, CONSOLE_CONTROL_RX, &len));
	ck_assert_uint_eq(len, 3);
	console_post(&c, CONSOLE_CONTROL_RX, 8);
	console_settle(&c);
	expect_told(&c, 1, PORT_ADD, 1, "");
	console_post(&c, CONSOLE_CONTROL_RX, 11);
	console_tell(&c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(&c, 1, PORT_NAME, 1, "por");
	unplug();
}

START_TEST(a_message_may_lie_in_pieces)
{
	struct ring_buf buf[3];
	u8 msg[8] = { 0, 0, 0, 0, VIRTIO_CONSOLE_DEVICE_READY, 0, 1, 0 };
	u8 got[12];
	int id;
	u32 len;

	plug(_i, 2);
	for (u32 i = 0; i < 3; i++)
		buf[i] = (struct ring_buf){ vdrv_alloc(&c.d, 3), 3 };
	id = vdrv_submit(&c.d, CONSOLE_CONTROL_RX, buf, 0, 3);
	for (u32 i = 0; i < 3; i++) {
		buf[i] = (struct ring_buf){ vdrv_alloc(&c.d, 3), 3 };
		memcpy(vdrv_ptr(&c.d, buf[i].gpa, 3), msg + 3 * i, i < 2 ? 3 : 2);
	}
	vdrv_submit(&c.d, CONSOLE_CONTROL_TX, buf, 3, 0);
	console_settle(&c);
	ck_assert_int_eq(ring_get(&c.d.q[CONSOLE_CONTROL_RX].ring, &len), id);
	ck_assert_uint_eq(len, 8);
	for (u32 i = 0; i < 3; i++) /* vdrv_alloc() goes up in steps of 64 bytes */
		memcpy(got + 3 * i, vdrv_ptr(&c.d, buf[0].gpa - 64 * (3 - i), 3), 3);
	ck_assert_uint_eq(got[4], VIRTIO_CONSOLE_PORT_ADD);
	ck_assert_uint_eq(got[6], 1);
	unplug();
}

START_TEST(somebody_at_the_other_end_opens_a_named_port)
{
	int fd;

	plug(_i, 3);
	fd = console_connect(&c, 2);
	console_handshake(&c); /* with PORT_OPEN for port 2 among the rest */
	close(fd);
	console_settle(&c);
	expect_told(&c, 2, PORT_OPEN, 0, "");
	fd = console_connect(&c, 1);
	expect_told(&c, 1, PORT_OPEN, 1, "");
	console_expect_silence(&c);
	close(fd);
	unplug();
}

#define PORT2_RX 6
#define PORT2_TX 7

START_TEST(a_named_port_carries_data_both_ways)
{
	char text[16] = "";
	int fd;

	plug(_i, 3);
	console_handshake(&c);
	fd = console_connect(&c, 2);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	console_post(&c, PORT2_RX, 16);
	ck_assert_int_eq(write(fd, "to the guest", 12), 12);
	console_settle(&c);
	expect_received(PORT2_RX, "to the guest");
	console_submit(&c, PORT2_TX, "from it", 7);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "from it");
	ck_assert_str_eq(shown(), "");
	close(fd);
	unplug();
}

START_TEST(input_waits_until_the_guest_opens_the_port)
{
	int fd;

	plug(_i, 3);
	console_handshake(&c);
	fd = console_connect(&c, 2);
	console_post(&c, PORT2_RX, 16);
	ck_assert_int_eq(write(fd, "early", 5), 5);
	ck_assert(nothing_received(PORT2_RX));
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(PORT2_RX, "early");
	console_post(&c, PORT2_RX, 16);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_int_eq(write(fd, "late", 4), 4);
	ck_assert(nothing_received(PORT2_RX));
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(PORT2_RX, "late");
	close(fd);
	unplug();
}

START_TEST(with_multiport_the_console_waits_for_its_opening_too)
{
	plug(_i, 2);
	console_handshake(&c);
	console_post(&c, CONSOLE_RX, 16);
	console_type(&c, "x");
	ck_assert(nothing_received(CONSOLE_RX));
	console_tell(&c, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(CONSOLE_RX, "x");
	unplug();
}

START_TEST(output_that_nobody_sees_holds_nobody_up)
{
	static char text[3000];
	int fd;

	plug(_i, 2);
	console_handshake(&c);
	for (u32 i = 0; i < 500; i++) {
		console_submit(&c, 5, text, sizeof(text));
		console_settle(&c);
		ck_assert_uint_eq(printed(5), 1);
	}
	fd = console_connect(&c, 1);
	console_submit(&c, 5, "now", 3);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	close(fd);
	unplug();
}

START_TEST(a_client_that_leaves_lets_go_of_what_waits_for_it)
{
	static char text[30000];
	u32 n = 0;
	int fd;

	plug(_i, 2);
	console_handshake(&c);
	fd = console_connect(&c, 1);
	for (u32 i = 0; i < 30; i++)
		console_submit(&c, 5, text, sizeof(text));
	console_settle(&c);
	n = printed(5);
	ck_assert_uint_lt(n, 30);
	close(fd);
	for (u32 i = 0; i < 10; i++)
		console_settle(&c);
	ck_assert_uint_eq(n + printed(5), 30);
	unplug();
}

START_TEST(a_resize_is_a_message_with_multiport)
{
	plug(_i, 2);
	console_handshake(&c);
	virtio_console_resize(c.d.v, 0, 0x0102, 0x0304);
	console_settle(&c);
	expect_told(&c, 0, RESIZE, 1, "\x02\x01\x04\x03");
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_COLS, 4), 0x03040102);
	virtio_console_resize(c.d.v, 1, 1, 2); /* no console */
	console_expect_silence(&c);
	/* A driver that comes later is told at once. */
	vdrv_start(&c.d, ~0ULL);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	console_tell(&c, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_told(&c, 0, PORT_ADD, 1, "");
	expect_told(&c, 1, PORT_ADD, 1, "");
	expect_told(&c, 0, CONSOLE_PORT, 1, "");
	expect_told(&c, 0, RESIZE, 1, "\x02\x01\x04\x03");
	expect_told(&c, 0, PORT_OPEN, 1, "");
	unplug();
}

START_TEST(messages_without_sense_are_ignored)
{
	static const u32 ids[] = { 0, 1, 2, 3, 29, 30, 31, 1u << 31, VIRTIO_CONSOLE_BAD_ID };
	u8 byte = 0;
	u32 len;

	plug(_i, 3);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		/* Ready before it was added; and nothing that the device alone may say. */
		for (u32 event = VIRTIO_CONSOLE_PORT_ADD; event < 40; event++)
			console_tell(&c, ids[i], event, 1);
		console_tell(&c, ids[i], 0xffff, 0xffff);
	}
	console_submit(&c, CONSOLE_CONTROL_TX, &byte, 1);
	console_settle(&c);
	ck_assert_uint_eq(printed(CONSOLE_CONTROL_TX), 1);
	console_post(&c, CONSOLE_CONTROL_TX, 16); /* for the device to write: not its to use */
	console_settle(&c);
	ck_assert_ptr_nonnull(console_received(&c, CONSOLE_CONTROL_TX, &len));
	ck_assert_uint_eq(len, 0);
	console_expect_silence(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	console_handshake(&c);
	print("fine");
	ck_assert_str_eq(shown(), "fine");
	expect_silence();
	unplug();
}

START_TEST(a_reset_makes_all_ports_new)
{
	int fd;

	plug(_i, 3);
	console_handshake(&c);
	fd = console_connect(&c, 2);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	console_post(&c, PORT2_RX, 16);
	console_settle(&c);
	vdrv_start(&c.d, ~0ULL);
	ck_assert(stream_connected(&c.s[2])); /* the stream stays */
	console_post(&c, PORT2_RX, 16);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	ck_assert(nothing_received(PORT2_RX));
	console_expect_silence(&c);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < 3; i++)
		expect_told(&c, i, PORT_ADD, 1, "");
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(PORT2_RX, "x");
	close(fd);
	unplug();
}

START_TEST(there_can_be_thirty_ports)
{
	char text[4] = "";
	int fd;

	console_rig_init(&c, _i, VIRTIO_CONSOLE_PORTS_MAX, false);
	ck_assert_uint_eq(vdrv_config(&c.d, CONFIG_MAX, 4), VIRTIO_CONSOLE_PORTS_MAX);
	vdrv_start(&c.d, ~0ULL);
	fd = console_connect(&c, 29);
	console_submit(&c, 61, "end", 3);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	ck_assert_str_eq(text, "end");
	close(fd);
	unplug();
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
	.features = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE) | MULTIPORT |
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

	t = tcase_create("ports");
	tcase_set_timeout(t, 60);
	TEST(ports_are_introduced_step_by_step);
	TEST(a_port_is_added_once);
	TEST(messages_wait_for_buffers);
	TEST(a_message_is_cut_to_its_buffer);
	TEST(a_message_may_lie_in_pieces);
	TEST(somebody_at_the_other_end_opens_a_named_port);
	TEST(a_named_port_carries_data_both_ways);
	TEST(input_waits_until_the_guest_opens_the_port);
	TEST(with_multiport_the_console_waits_for_its_opening_too);
	TEST(output_that_nobody_sees_holds_nobody_up);
	TEST(a_client_that_leaves_lets_go_of_what_waits_for_it);
	TEST(a_resize_is_a_message_with_multiport);
	TEST(messages_without_sense_are_ignored);
	TEST(a_reset_makes_all_ports_new);
	TEST(there_can_be_thirty_ports);
	suite_add_tcase(su, t);
	return su;
}
