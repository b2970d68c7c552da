// SPDX-License-Identifier: MIT
/*
 * test_stream_pty.c - a pseudo-terminal of our own, to which people attach.
 */
#include "tests/unit/stream_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static struct stream_rig r;
static char name[64]; /* /dev/pts/N */

static void setup(void)
{
	stream_rig_init(&r);
	ck_assert_int_eq(stream_open_pty(&r.s, NULL), 0);
	ck_assert_int_eq(ptsname_r(r.s.in_fd, name, sizeof(name)), 0);
	said_forget();
}

static void teardown(void)
{
	stream_rig_free(&r);
}

static int attach(void)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);

	ck_assert_int_ge(fd, 0);
	stream_rig_settle(&r);
	return fd;
}

static void leave(int fd)
{
	close(fd);
	stream_rig_settle(&r);
}

/* What is typed or shown passes through a kernel worker: wait for it. */
static void wait_for(int fd, u32 len)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = 0;

	while (n < (int)len) {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		ck_assert_int_eq(ioctl(fd, FIONREAD, &n), 0);
	}
}

static void type(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	wait_for(r.s.in_fd, strlen(text));
	stream_rig_settle(&r);
}

static bool is_raw(int fd)
{
	struct termios t;

	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG)) && !(t.c_oflag & OPOST);
}

START_TEST(its_name_and_how_to_attach_are_told)
{
	struct stat st;

	stream_rig_init(&r);
	ck_assert_int_eq(stream_open_pty(&r.s, NULL), 0);
	ck_assert_int_eq(ptsname_r(r.s.in_fd, name, sizeof(name)), 0);
	ck_assert_int_eq(stat(name, &st), 0);
	ck_assert_ptr_nonnull(strstr(said_text(), name));
	expect_said("attach with: screen /dev/pts/");
	stream_rig_free(&r);
}

START_TEST(what_is_typed_arrives)
{
	int fd = attach();

	stream_want_read(&r.s, true);
	type(fd, "a\x01\x03\r");
	expect_input(&r, "a\x01\x03\r");
	ck_assert(stream_rig_idle());
	close(fd);
}

START_TEST(what_is_not_wanted_waits)
{
	int fd = attach();

	type(fd, "abc");
	ck_assert_uint_eq(r.readable, 0);
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "abc");
	close(fd);
}

START_TEST(output_is_shown_as_it_is)
{
	int fd = attach();

	stream_rig_write(&r, "hello\n");
	wait_for(fd, 6);
	expect_output(fd, "hello\n");
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.ngot, 0); /* no echo */
	close(fd);
}

START_TEST(it_is_raw_again_when_all_have_left)
{
	struct termios t;
	int fd = attach();

	ck_assert(is_raw(fd));
	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	t.c_lflag |= ICANON | ECHO;
	ck_assert_int_eq(tcsetattr(fd, TCSANOW, &t), 0);
	leave(fd);
	fd = attach();
	ck_assert(is_raw(fd));
	close(fd);
}

START_TEST(nobody_attached_is_quiet)
{
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	ck_assert(stream_rig_idle());
	leave(attach());
	ck_assert(stream_rig_idle());
	ck_assert_uint_eq(r.ngot, 0);
}

START_TEST(comings_and_goings_are_told)
{
	int one, two;

	ck_assert(!stream_connected(&r.s));
	one = attach();
	ck_assert(stream_connected(&r.s));
	ck_assert_uint_eq(r.connections, 1);
	two = attach();
	leave(one);
	ck_assert(stream_connected(&r.s)); /* the other is still there */
	ck_assert_uint_eq(r.connections, 1);
	leave(two);
	ck_assert(!stream_connected(&r.s));
	ck_assert_uint_eq(r.connections, 2);
	one = attach();
	ck_assert(stream_connected(&r.s));
	ck_assert_uint_eq(r.connections, 3);
	close(one);
}

START_TEST(a_quick_change_is_no_leaving)
{
	int fd = attach();

	close(fd);
	fd = attach();
	ck_assert(stream_connected(&r.s));
	stream_want_read(&r.s, true);
	type(fd, "x");
	expect_input(&r, "x");
	leave(fd);
	ck_assert(!stream_connected(&r.s));
}

START_TEST(what_nobody_sees_is_dropped)
{
	static char much[100000];
	char c;
	int fd;

	memset(much, 'x', sizeof(much));
	ck_assert_uint_eq(stream_write(&r.s, much, sizeof(much)), sizeof(much));
	fd = attach();
	ck_assert_int_eq(read(fd, &c, 1), -1);
	stream_rig_write(&r, "new");
	wait_for(fd, 3);
	expect_output(fd, "new");
	leave(fd);
	ck_assert_uint_eq(stream_write(&r.s, much, sizeof(much)), sizeof(much));
}

/* Let the loop run until the stream is writable, reading from the terminal meanwhile. */
static void drain_until_writable(int fd, u32 *next)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (!r.writable) {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		drain_counting(fd, next);
		stream_rig_settle(&r);
	}
}

START_TEST(who_does_not_look_holds_the_output_up)
{
	struct pollfd p = { .events = POLLIN };
	int fd = attach();
	u32 total = stream_rig_fill(&r), seen = 0;

	ck_assert_uint_gt(total, 0);
	p.fd = fd;
	ck_assert_uint_eq(stream_write(&r.s, "x", 1), 0);
	stream_want_write(&r.s, true);
	drain_until_writable(fd, &seen);
	while (seen < total) {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		drain_counting(fd, &seen);
	}
	ck_assert_uint_eq(seen, total);
	stream_rig_settle(&r);
	ck_assert(stream_rig_idle());
	close(fd);
}

START_TEST(who_leaves_holds_nothing_up)
{
	int fd = attach();

	stream_rig_fill(&r);
	stream_want_write(&r.s, true);
	leave(fd);
	ck_assert_uint_eq(r.writable, 1);
	stream_rig_write(&r, "dropped");
	stream_want_write(&r.s, true); /* always room */
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 2);
	ck_assert(stream_rig_idle());
}

START_TEST(what_was_typed_before_leaving_arrives)
{
	int fd = attach();

	ck_assert_int_eq(write(fd, "last words", 10), 10);
	wait_for(r.s.in_fd, 10);
	leave(fd);
	ck_assert(stream_rig_idle()); /* it waits */
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "last words");
	ck_assert(stream_rig_idle());
	fd = attach();
	type(fd, "new");
	expect_input(&r, "new");
	close(fd);
}

START_TEST(the_window_size_is_the_attached_terminals)
{
	struct winsize size = { .ws_col = 132, .ws_row = 43 };
	int fd = attach();
	u16 columns, rows;

	ck_assert_int_eq(stream_window_size(&r.s, &columns, &rows), -ENOTTY); /* not set: 0 x 0 */
	ck_assert_int_eq(ioctl(fd, TIOCSWINSZ, &size), 0);
	ck_assert_int_eq(stream_window_size(&r.s, &columns, &rows), 0);
	ck_assert_uint_eq(columns, 132);
	ck_assert_uint_eq(rows, 43);
	close(fd);
}

START_TEST(a_link_leads_to_it)
{
	char target[64] = "";
	int fd;

	stream_rig_init(&r);
	ck_assert_int_eq(symlink("/dev/pts/99999", r.path), 0); /* left by an earlier run */
	ck_assert_int_eq(stream_open_pty(&r.s, r.path), 0);
	expect_said("attach with: screen /tmp/");
	ck_assert_int_eq(ptsname_r(r.s.in_fd, name, sizeof(name)), 0);
	ck_assert_int_gt(readlink(r.path, target, sizeof(target) - 1), 0);
	ck_assert_str_eq(target, name);
	fd = open(r.path, O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	stream_rig_settle(&r);
	ck_assert(stream_connected(&r.s));
	close(fd);
	stream_rig_free(&r); /* finds the folder empty */
}

START_TEST(what_is_no_link_to_a_terminal_is_left_alone)
{
	char target[64] = "";

	stream_rig_init(&r);
	ck_assert_int_eq(symlink("/etc/passwd", r.path), 0);
	ck_assert_int_eq(stream_open_pty(&r.s, r.path), -EEXIST);
	expect_said("remove it, or choose another name");
	ck_assert_int_gt(readlink(r.path, target, sizeof(target) - 1), 0);
	ck_assert_str_eq(target, "/etc/passwd");
	unlink(r.path);
	ck_assert_int_eq(stream_open_pty(&r.s, "/nonexistent/link"), -ENOENT);
	expect_said("/nonexistent/link: No such file");
	stream_rig_free(&r);
}

START_TEST(a_link_that_is_somebody_elses_by_now_stays)
{
	stream_rig_init(&r);
	ck_assert_int_eq(stream_open_pty(&r.s, r.path), 0);
	unlink(r.path);
	ck_assert_int_eq(mkdir(r.path, 0700), 0);
	stream_close(&r.s);
	ck_assert_int_eq(rmdir(r.path), 0);
	stream_rig_free(&r);
}

Suite *stream_pty_suite(void)
{
	Suite *su = suite_create("stream_pty");
	TCase *t = tcase_create("attached");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_typed_arrives);
	tcase_add_test(t, what_is_not_wanted_waits);
	tcase_add_test(t, output_is_shown_as_it_is);
	tcase_add_test(t, it_is_raw_again_when_all_have_left);
	tcase_add_test(t, nobody_attached_is_quiet);
	tcase_add_test(t, comings_and_goings_are_told);
	tcase_add_test(t, a_quick_change_is_no_leaving);
	tcase_add_test(t, what_nobody_sees_is_dropped);
	tcase_add_test(t, who_does_not_look_holds_the_output_up);
	tcase_add_test(t, who_leaves_holds_nothing_up);
	tcase_add_test(t, what_was_typed_before_leaving_arrives);
	tcase_add_test(t, the_window_size_is_the_attached_terminals);
	suite_add_tcase(su, t);

	t = tcase_create("opening");
	tcase_add_test(t, its_name_and_how_to_attach_are_told);
	tcase_add_test(t, a_link_leads_to_it);
	tcase_add_test(t, what_is_no_link_to_a_terminal_is_left_alone);
	tcase_add_test(t, a_link_that_is_somebody_elses_by_now_stays);
	suite_add_tcase(su, t);
	return su;
}
