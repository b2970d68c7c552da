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
#include <sys/socket.h>
#include <sys/un.h>
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

/* ---- no descriptors ---- */

static int call_at_the_door(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, r.path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* The loop's stopper takes one descriptor. With _i == 1 there is one more: enough to accept the client,
 * but not for its input, too. */
START_TEST(without_descriptors_a_client_waits_or_calls_again)
{
	struct pollfd timer;
	int fd;

	ck_assert_int_eq(stream_open_unix(&r.s, r.path), 0);
	stream_want_read(&r.s, true);
	fd = call_at_the_door();
	limit_fds(1 + _i);
	for (u32 i = 0; i < 3; i++) {
		stream_rig_settle(&r);
		ck_assert(!stream_connected(&r.s));
		timer = (struct pollfd){ .fd = r.s.later.fd, .events = POLLIN };
		if (_i == 0)
			ck_assert_int_eq(poll(&timer, 1, 5000), 1);
	}
	expect_said("nobody can connect for now: Too many open files");
	limit_fds(0);
	if (_i) {
		ck_assert_int_eq(poll(&timer, 1, 5000), 1);
		close(fd);
		fd = call_at_the_door();
	}
	stream_rig_settle(&r);
	ck_assert(stream_connected(&r.s));
	ck_assert_int_eq(write(fd, "hello", 5), 5);
	stream_rig_settle(&r);
	expect_input(&r, "hello");
	close(fd);
}

/* The last client's words still wait to be read, and there is no descriptor for the next one. It gets
 * in later, and what each has sent comes in its turn. */
START_TEST(without_descriptors_the_next_client_waits_too)
{
	struct pollfd timer;
	int one, two;

	ck_assert_int_eq(stream_open_unix(&r.s, r.path), 0);
	one = call_at_the_door();
	stream_rig_settle(&r);
	ck_assert(stream_connected(&r.s));
	ck_assert_int_eq(write(one, "1", 1), 1);
	close(one);
	stream_rig_settle(&r);
	ck_assert(!stream_connected(&r.s));
	two = call_at_the_door();
	limit_fds(1);
	stream_rig_settle(&r);
	expect_said("nobody can connect for now: Too many open files");
	ck_assert(!stream_connected(&r.s));
	limit_fds(0);
	if (_i) { /* the first one's words are read meanwhile */
		stream_want_read(&r.s, true);
		stream_rig_settle(&r);
		expect_input(&r, "1");
		ck_assert(!stream_connected(&r.s));
	}
	timer = (struct pollfd){ .fd = r.s.later.fd, .events = POLLIN };
	ck_assert_int_eq(poll(&timer, 1, 5000), 1);
	stream_rig_settle(&r);
	ck_assert(stream_connected(&r.s));
	ck_assert_int_eq(write(two, "2", 1), 1);
	stream_want_read(&r.s, true);
	for (u32 i = 0; i < 3; i++)
		stream_rig_settle(&r);
	if (_i)
		expect_input(&r, "2");
	else
		expect_input(&r, "12");
	stream_rig_write(&r, "out");
	expect_output(two, "out");
	expect_silence();
	close(two);
}

/* ---- a quick change on a pseudo-terminal ---- */

static int late = -1;
static char name[64];

/* Reads to the end, and then somebody comes. */
static void read_and_open(struct stream *s)
{
	char c;

	if (stream_read(s, &c, 1) == 0 && late < 0)
		late = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	else if (late >= 0)
		r.got[r.ngot++] = c;
}

START_TEST(who_opens_it_before_its_hang_up_is_handled_is_heard)
{
	struct pollfd p;
	int fd;

	ck_assert_int_eq(stream_open_pty(&r.s, NULL), 0);
	ck_assert_int_eq(ptsname_r(r.s.in_fd, name, sizeof(name)), 0);
	r.s.readable = read_and_open;
	fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	stream_rig_settle(&r);
	ck_assert(stream_connected(&r.s));
	stream_want_read(&r.s, true);
	close(fd);
	stream_rig_settle(&r);
	ck_assert_int_ge(late, 0);
	ck_assert(stream_connected(&r.s));
	ck_assert_int_eq(write(late, "x", 1), 1);
	p = (struct pollfd){ .fd = r.s.in_fd, .events = POLLIN };
	ck_assert_int_eq(poll(&p, 1, 5000), 1);
	stream_rig_settle(&r);
	expect_input(&r, "x");
	close(late);
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
	tcase_add_loop_test(t, without_descriptors_a_client_waits_or_calls_again, 0, 2);
	tcase_add_loop_test(t, without_descriptors_the_next_client_waits_too, 0, 2);
	tcase_add_test(t, who_opens_it_before_its_hang_up_is_handled_is_heard);
	suite_add_tcase(su, t);
	return su;
}
