// SPDX-License-Identifier: MIT
/*
 * test_console_ports.c - the console's ports and the control messages about them. Each test runs on
 * every transport, with both ring formats; its number _i says which.
 */
#include "tests/unit/console_rig.h"

#include <linux/virtio_config.h>
#include <string.h>
#include <unistd.h>

static struct console_rig c;

/* ---- several ports ---- */

START_TEST(ports_are_introduced_step_by_step)
{
	console_plug(&c, _i, 3);
	ck_assert_uint_eq(vdrv_offered(&c.d) & CONSOLE_MULTIPORT, CONSOLE_MULTIPORT);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_MAX, 4), 3);
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
	console_rig_free(&c);
}

START_TEST(a_port_is_added_once)
{
	console_plug(&c, _i, 2);
	for (u32 i = 0; i < 16; i++)
		console_post(&c, CONSOLE_CONTROL_RX, 64);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	console_expect_silence(&c);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect_told(&c, 0, PORT_ADD, 1, "");
	expect_told(&c, 1, PORT_ADD, 1, "");
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	console_expect_silence(&c);
	console_rig_free(&c);
}

START_TEST(messages_wait_for_buffers)
{
	console_plug(&c, _i, 3);
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
	console_rig_free(&c);
}

START_TEST(a_message_is_cut_to_its_buffer)
{
	u32 len;

	console_plug(&c, _i, 2);
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
	console_rig_free(&c);
}

START_TEST(a_message_may_lie_in_pieces)
{
	struct ring_buf buf[3];
	u8 msg[8] = { 0, 0, 0, 0, VIRTIO_CONSOLE_DEVICE_READY, 0, 1, 0 };
	u8 got[12];
	int id;
	u32 len;

	console_plug(&c, _i, 2);
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
	console_rig_free(&c);
}

START_TEST(somebody_at_the_other_end_opens_a_named_port)
{
	int fd;

	console_plug(&c, _i, 3);
	fd = console_connect(&c, 2);
	console_handshake(&c); /* with PORT_OPEN for port 2 among the rest */
	close(fd);
	console_settle(&c);
	expect_told(&c, 2, PORT_OPEN, 0, "");
	fd = console_connect(&c, 1);
	expect_told(&c, 1, PORT_OPEN, 1, "");
	console_expect_silence(&c);
	close(fd);
	console_rig_free(&c);
}

#define PORT2_RX 6
#define PORT2_TX 7

START_TEST(a_named_port_carries_data_both_ways)
{
	char text[16] = "";
	int fd;

	console_plug(&c, _i, 3);
	console_handshake(&c);
	fd = console_connect(&c, 2);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	console_post(&c, PORT2_RX, 16);
	ck_assert_int_eq(write(fd, "to the guest", 12), 12);
	console_settle(&c);
	expect_received(&c, PORT2_RX, "to the guest");
	console_submit(&c, PORT2_TX, "from it", 7);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 7);
	ck_assert_str_eq(text, "from it");
	ck_assert_str_eq(console_shown(&c), "");
	close(fd);
	console_rig_free(&c);
}

START_TEST(input_waits_until_the_guest_opens_the_port)
{
	int fd;

	console_plug(&c, _i, 3);
	console_handshake(&c);
	fd = console_connect(&c, 2);
	console_post(&c, PORT2_RX, 16);
	ck_assert_int_eq(write(fd, "early", 5), 5);
	ck_assert(console_nothing_received(&c, PORT2_RX));
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(&c, PORT2_RX, "early");
	console_post(&c, PORT2_RX, 16);
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_int_eq(write(fd, "late", 4), 4);
	ck_assert(console_nothing_received(&c, PORT2_RX));
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(&c, PORT2_RX, "late");
	close(fd);
	console_rig_free(&c);
}

START_TEST(with_multiport_the_console_waits_for_its_opening_too)
{
	console_plug(&c, _i, 2);
	console_handshake(&c);
	console_post(&c, CONSOLE_RX, 16);
	console_type(&c, "x");
	ck_assert(console_nothing_received(&c, CONSOLE_RX));
	console_tell(&c, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(&c, CONSOLE_RX, "x");
	console_rig_free(&c);
}

START_TEST(output_that_nobody_sees_holds_nobody_up)
{
	static char text[3000];
	int fd;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	for (u32 i = 0; i < 500; i++) {
		console_submit(&c, 5, text, sizeof(text));
		console_settle(&c);
		ck_assert_uint_eq(console_printed(&c, 5), 1);
	}
	fd = console_connect(&c, 1);
	console_submit(&c, 5, "now", 3);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	close(fd);
	console_rig_free(&c);
}

START_TEST(a_client_that_leaves_lets_go_of_what_waits_for_it)
{
	static char text[30000];
	u32 n = 0;
	int fd;

	console_plug(&c, _i, 2);
	console_handshake(&c);
	fd = console_connect(&c, 1);
	for (u32 i = 0; i < 30; i++)
		console_submit(&c, 5, text, sizeof(text));
	console_settle(&c);
	n = console_printed(&c, 5);
	ck_assert_uint_lt(n, 30);
	close(fd);
	for (u32 i = 0; i < 10; i++)
		console_settle(&c);
	ck_assert_uint_eq(n + console_printed(&c, 5), 30);
	console_rig_free(&c);
}

START_TEST(a_resize_is_a_message_with_multiport)
{
	console_plug(&c, _i, 2);
	console_handshake(&c);
	virtio_console_resize(c.d.v, 0, 0x0102, 0x0304);
	console_settle(&c);
	expect_told(&c, 0, RESIZE, 1, "\x02\x01\x04\x03");
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_COLS, 4), 0x03040102);
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
	console_rig_free(&c);
}

START_TEST(messages_without_sense_are_ignored)
{
	static const u32 ids[] = { 0, 1, 2, 3, 29, 30, 31, 1u << 31, VIRTIO_CONSOLE_BAD_ID };
	u8 byte = 0;
	u32 len;

	console_plug(&c, _i, 3);
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
	ck_assert_uint_eq(console_printed(&c, CONSOLE_CONTROL_TX), 1);
	console_post(&c, CONSOLE_CONTROL_TX, 16); /* for the device to write: not its to use */
	console_settle(&c);
	ck_assert_ptr_nonnull(console_received(&c, CONSOLE_CONTROL_TX, &len));
	ck_assert_uint_eq(len, 0);
	console_expect_silence(&c);
	ck_assert_uint_eq(vdrv_status(&c.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	console_handshake(&c);
	console_print(&c, "fine");
	ck_assert_str_eq(console_shown(&c), "fine");
	expect_silence();
	console_rig_free(&c);
}

START_TEST(a_reset_makes_all_ports_new)
{
	int fd;

	console_plug(&c, _i, 3);
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
	ck_assert(console_nothing_received(&c, PORT2_RX));
	console_expect_silence(&c);
	console_tell(&c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < 3; i++)
		expect_told(&c, i, PORT_ADD, 1, "");
	console_tell(&c, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_received(&c, PORT2_RX, "x");
	close(fd);
	console_rig_free(&c);
}

START_TEST(there_can_be_thirty_ports)
{
	char text[4] = "";
	int fd;

	console_rig_init(&c, _i, VIRTIO_CONSOLE_PORTS_MAX, false);
	ck_assert_uint_eq(vdrv_config(&c.d, CONSOLE_CONFIG_MAX, 4), VIRTIO_CONSOLE_PORTS_MAX);
	vdrv_start(&c.d, ~0ULL);
	fd = console_connect(&c, 29);
	console_submit(&c, 61, "end", 3);
	console_settle(&c);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 3);
	ck_assert_str_eq(text, "end");
	close(fd);
	console_rig_free(&c);
}

#define TEST(name) tcase_add_loop_test(t, name, 0, CONSOLE_MODES)

Suite *console_ports_suite(void)
{
	Suite *su = suite_create("console_ports");
	TCase *t = tcase_create("ports");

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
