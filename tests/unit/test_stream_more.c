// SPDX-License-Identifier: MIT
/*
 * test_stream_more.c - streams in need: a terminal whose guest does not read, a full disk, no
 * descriptors, a quick change on a pseudo-terminal.
 */
#include "tests/unit/stream_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct stream_rig r;

static void setup(void)
{
	stream_rig_init(&r);
}

static void teardown(void)
{
	stream_rig_free(&r);
}

/* ---- a terminal with an escape key ---- */

static int master, slave;
static char keys[64];
static u32 nkeys;

static void on_command(struct stream *s, char key)
{
	(void)s;
	keys[nkeys++] = key;
}

static void open_terminal(void)
{
	stream_rig_init(&r);
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	r.s.command = on_command;
	stdio_begin(slave, slave);
	ck_assert_int_eq(stream_open_stdio(&r.s), 0);
}

/* The slave is still standard input: that is what is restored. */
static void close_terminal(void)
{
	stream_close(&r.s);
	stdio_end();
	close(master);
	close(slave);
	stream_rig_free(&r);
}

/* What is typed passes through a kernel worker: wait until all of it is there. */
static void type(const void *text, u32 len)
{
	struct pollfd p = { .fd = slave, .events = POLLIN };
	int n = 0;

	ck_assert_int_eq(write(master, text, len), len);
	while (n < (int)len) {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		ck_assert_int_eq(ioctl(slave, FIONREAD, &n), 0);
	}
	stream_rig_settle(&r);
}

#define TYPE(text) type(text, sizeof(text) - 1)

START_TEST(a_command_works_when_nobody_reads)
{
	TYPE("\x01x");
	ck_assert_str_eq(keys, "x");
	ck_assert_uint_eq(r.readable, 0);
	ck_assert(stream_rig_idle());
}

START_TEST(a_command_works_when_nobody_reads_any_more)
{
	stream_want_read(&r.s, true);
	TYPE("a");
	expect_input(&r, "a");
	stream_want_read(&r.s, false);
	r.readable = 0;
	TYPE("b\x01");
	TYPE("x");
	ck_assert_str_eq(keys, "x");
	ck_assert_uint_eq(r.readable, 0);
	ck_assert(stream_rig_idle());
}

START_TEST(what_was_typed_before_waits)
{
	TYPE("one \x01\x01");
	TYPE("two ");
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "one \x01two ");
	ck_assert(stream_rig_idle());
	TYPE("three");
	expect_input(&r, "three");
	ck_assert(stream_rig_idle());
}

/* As a UART does: 16 bytes at a time, and now and then it does not want any. */
static void read_little(struct stream *s)
{
	r.readable++;
	r.ngot += stream_read(s, r.got + r.ngot, r.readable % 2 ? 16 : 1);
	stream_want_read(s, false);
}

START_TEST(a_slow_reader_gets_all_in_order)
{
	u8 text[20000];
	u32 typed = 0;

	for (u32 i = 0; i < sizeof(text); i++)
		text[i] = 2 + i % 251;
	r.s.readable = read_little;
	while (r.ngot < sizeof(text)) {
		if (typed < sizeof(text)) {
			type(text + typed, 1000);
			typed += 1000;
		}
		for (u32 i = 0; i < 40; i++) {
			stream_want_read(&r.s, true);
			stream_rig_settle(&r);
		}
	}
	ck_assert_uint_eq(r.ngot, sizeof(text));
	ck_assert_mem_eq(r.got, text, sizeof(text));
	ck_assert_uint_eq(nkeys, 0);
}

START_TEST(a_command_works_when_no_more_can_wait)
{
	static char text[2000];

	memset(text, 'x', sizeof(text));
	for (u32 i = 0; i < 50; i++)
		type(text, sizeof(text));
	TYPE("\x01p");
	ck_assert_str_eq(keys, "p");
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	for (u32 i = 0; i < 4; i++)
		stream_rig_settle(&r);
	ck_assert_uint_eq(r.ngot, sizeof(r.got)); /* the first of it */
	r.ngot = 0;
	TYPE("y");
	expect_input(&r, "y");
}

START_TEST(a_terminal_that_hangs_up_unread_is_quiet)
{
	TYPE("last words");
	close(master);
	stream_rig_settle(&r);
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "last words");
	ck_assert(stream_rig_idle());
	master = -1;
}

/* ---- a full disk ---- */

START_TEST(a_full_disk_is_told_once)
{
	ck_assert_int_eq(stream_open_file(&r.s, "/dev/full"), 0);
	stream_rig_write(&r, "one");
	expect_said("/dev/full: No space left on device");
	stream_rig_write(&r, "two");
	expect_silence();
}

Suite *stream_more_suite(void)
{
	Suite *su = suite_create("stream_more");
	TCase *t = tcase_create("keys");

	tcase_add_checked_fixture(t, open_terminal, close_terminal);
	tcase_add_test(t, a_command_works_when_nobody_reads);
	tcase_add_test(t, a_command_works_when_nobody_reads_any_more);
	tcase_add_test(t, what_was_typed_before_waits);
	tcase_add_test(t, a_slow_reader_gets_all_in_order);
	tcase_add_test(t, a_command_works_when_no_more_can_wait);
	tcase_add_test(t, a_terminal_that_hangs_up_unread_is_quiet);
	suite_add_tcase(su, t);

	t = tcase_create("need");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_full_disk_is_told_once);
	suite_add_tcase(su, t);
	return su;
}
