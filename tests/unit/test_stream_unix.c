// SPDX-License-Identifier: MIT
/*
 * test_stream_unix.c - a UNIX socket of our own, to which one client at a time connects.
 */
#include "tests/unit/stream_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct stream_rig r;

static void setup(void)
{
	stream_rig_init(&r);
	ck_assert_int_eq(stream_open_unix(&r.s, r.path), 0);
	expect_silence();
}

static void teardown(void)
{
	stream_rig_free(&r);
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(addr.sun_path, path);
	return addr;
}

static int knock(void)
{
	struct sockaddr_un addr = address(r.path);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* A client, which has been noticed. */
static int come(void)
{
	int fd = knock();

	stream_rig_settle(&r);
	return fd;
}

static void leave(int fd)
{
	close(fd);
	stream_rig_settle(&r);
}

static void send_text(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
	stream_rig_settle(&r);
}

static bool silent(int fd)
{
	char c;

	return read(fd, &c, 1) == -1 && errno == EAGAIN;
}

START_TEST(bytes_go_both_ways)
{
	int fd = come();

	stream_want_read(&r.s, true);
	send_text(fd, "to the guest");
	expect_input(&r, "to the guest");
	stream_rig_write(&r, "from the guest");
	expect_output(fd, "from the guest");
	ck_assert(stream_rig_idle());
	close(fd);
}

START_TEST(what_is_not_wanted_waits)
{
	int fd = come();

	send_text(fd, "abc");
	ck_assert_uint_eq(r.readable, 0);
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "abc");
	stream_want_read(&r.s, false);
	send_text(fd, "def");
	ck_assert_uint_eq(r.ngot, 0);
	close(fd);
}

START_TEST(with_nobody_there_output_is_dropped)
{
	static char much[1 << 20];
	int fd;

	ck_assert_uint_eq(stream_write(&r.s, much, sizeof(much)), sizeof(much));
	stream_want_write(&r.s, true);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 1);
	fd = come();
	ck_assert(silent(fd));
	stream_rig_write(&r, "new");
	expect_output(fd, "new");
	leave(fd);
	ck_assert_uint_eq(stream_write(&r.s, much, sizeof(much)), sizeof(much));
}

START_TEST(comings_and_goings_are_told)
{
	int fd;

	ck_assert(!stream_connected(&r.s));
	for (u32 i = 0; i < 10; i++) {
		fd = come();
		ck_assert(stream_connected(&r.s));
		ck_assert_uint_eq(r.connections, 2 * i + 1);
		leave(fd);
		ck_assert(!stream_connected(&r.s));
		ck_assert_uint_eq(r.connections, 2 * i + 2);
		ck_assert(stream_rig_idle());
	}
}

START_TEST(one_client_at_a_time)
{
	int one = come(), two = knock();

	send_text(two, "second");
	stream_want_read(&r.s, true);
	send_text(one, "first");
	expect_input(&r, "first");
	stream_rig_write(&r, "x");
	ck_assert(silent(two));
	ck_assert(stream_rig_idle()); /* though somebody waits at the door */
	leave(one);
	stream_rig_settle(&r);
	expect_input(&r, "second");
	stream_rig_write(&r, "y");
	expect_output(two, "y");
	close(two);
}

START_TEST(what_a_client_sent_before_leaving_arrives)
{
	int fd = come();

	send_text(fd, "last words");
	leave(fd);
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "last words");
	fd = come();
	send_text(fd, "new");
	expect_input(&r, "new");
	close(fd);
}

START_TEST(a_client_that_comes_and_goes_unnoticed_is_heard)
{
	int fd = knock();

	send_text(fd, "quick");
	close(fd);
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "quick");
	stream_rig_settle(&r);
	ck_assert(!stream_connected(&r.s));
	ck_assert(stream_rig_idle());
}

/* Nobody reads the input: it stays in order, and the output goes to who is there. */
START_TEST(the_next_client_gets_output_while_the_last_ones_input_waits)
{
	int one = come(), two, three;

	send_text(one, "1");
	leave(one);
	two = come();
	stream_rig_write(&r, "for two");
	expect_output(two, "for two");
	send_text(two, "2");
	leave(two);
	ck_assert(!stream_connected(&r.s));
	three = come();
	ck_assert(!stream_connected(&r.s)); /* its turn is when the first has been read */
	send_text(three, "3");
	ck_assert(stream_rig_idle());
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	stream_rig_settle(&r);
	expect_input(&r, "123");
	ck_assert(stream_connected(&r.s));
	stream_rig_write(&r, "for three");
	expect_output(three, "for three");
	close(three);
}

START_TEST(the_next_clients_input_follows_the_last_ones)
{
	int one = come(), two;

	send_text(one, "1");
	leave(one);
	two = come();
	send_text(two, "2");
	stream_want_read(&r.s, true);
	stream_rig_settle(&r);
	expect_input(&r, "12");
	send_text(two, "3");
	expect_input(&r, "3");
	leave(two);
	ck_assert(!stream_connected(&r.s));
	ck_assert(stream_rig_idle());
}

START_TEST(who_does_not_read_holds_the_output_up)
{
	int fd = come();
	u32 total = stream_rig_fill(&r), seen = 0;

	ck_assert_uint_gt(total, 0);
	stream_want_write(&r.s, true);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 0);
	ck_assert(stream_rig_idle());
	drain_counting(fd, &seen);
	ck_assert_uint_eq(seen, total);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 1);
	close(fd);
}

START_TEST(who_leaves_holds_nothing_up)
{
	int fd = come();

	stream_rig_fill(&r);
	stream_want_write(&r.s, true);
	leave(fd);
	ck_assert_uint_eq(r.writable, 1);
	stream_rig_write(&r, "dropped");
	ck_assert(stream_rig_idle());
}

/* The owner finds the stream full, the client leaves, and only then the owner asks to be told. */
START_TEST(asking_for_room_when_all_have_left_is_answered)
{
	int fd = come();

	stream_rig_fill(&r);
	leave(fd);
	ck_assert_uint_eq(r.writable, 0);
	stream_want_write(&r.s, true);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 1);
}

START_TEST(waiting_for_room_goes_on_with_the_next_client)
{
	int fd = come();

	leave(fd);
	stream_want_write(&r.s, true); /* nobody there: room at once, but somebody comes first */
	fd = come();
	ck_assert_uint_eq(r.writable, 1);
	ck_assert(stream_rig_idle());
	close(fd);
}

START_TEST(a_client_that_sends_no_more_still_gets_output)
{
	int fd = come();

	stream_want_read(&r.s, true);
	send_text(fd, "end");
	shutdown(fd, SHUT_WR);
	stream_rig_settle(&r);
	expect_input(&r, "end");
	ck_assert(stream_rig_idle());
	stream_rig_write(&r, "go on");
	expect_output(fd, "go on");
	leave(fd);
	ck_assert(!stream_connected(&r.s));
	fd = come();
	send_text(fd, "next");
	expect_input(&r, "next");
	close(fd);
}

START_TEST(a_client_that_reads_no_more_is_no_trouble)
{
	int fd = come();

	shutdown(fd, SHUT_RD);
	stream_rig_settle(&r);
	stream_rig_write(&r, "dropped"); /* EPIPE, and no signal */
	stream_want_write(&r.s, true);
	stream_rig_settle(&r);
	ck_assert_uint_eq(r.writable, 1);
	stream_want_read(&r.s, true);
	send_text(fd, "still here");
	expect_input(&r, "still here");
	close(fd);
}

START_TEST(a_client_that_leaves_output_unread_is_no_trouble)
{
	int fd = come();

	stream_want_read(&r.s, true);
	stream_rig_write(&r, "not looked at");
	send_text(fd, "bye");
	leave(fd); /* ECONNRESET */
	expect_input(&r, "bye");
	ck_assert(stream_rig_idle());
	fd = come();
	ck_assert(stream_connected(&r.s));
	close(fd);
}

START_TEST(it_has_no_window)
{
	u16 columns, rows;

	ck_assert_int_eq(stream_window_size(&r.s, &columns, &rows), -ENOTTY);
}

START_TEST(the_socket_is_gone_when_the_stream_closes)
{
	struct stat st;

	ck_assert_int_eq(lstat(r.path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	stream_close(&r.s);
	ck_assert_int_eq(lstat(r.path, &st), -1);
	stream_close(&r.s);
}

START_TEST(it_can_close_with_a_client_and_one_at_the_door)
{
	int one = come(), two = knock();

	send_text(one, "unread");
	stream_close(&r.s);
	ck_assert(!silent(one)); /* the end, or ECONNRESET */
	ck_assert(!silent(two));
	close(one);
	close(two);
}

START_TEST(a_socket_that_somebody_listens_on_is_refused)
{
	struct stream other;
	int fd;

	stream_init(&other, r.loop);
	ck_assert_int_eq(stream_open_unix(&other, r.path), -EADDRINUSE);
	expect_said("another program listens there");
	fd = come(); /* the first is as it was, and has had one visitor who left */
	stream_rig_settle(&r);
	stream_rig_write(&r, "here");
	expect_output(fd, "here");
	close(fd);
}

START_TEST(a_stale_socket_is_replaced)
{
	struct sockaddr_un addr;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	stream_rig_init(&r);
	addr = address(r.path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd); /* as by kill -9 */
	ck_assert_int_eq(stream_open_unix(&r.s, r.path), 0);
	fd = come();
	ck_assert(stream_connected(&r.s));
	close(fd);
	r.fds--; /* `fd` was open before stream_rig_init() */
	stream_rig_free(&r);
}

START_TEST(another_kind_of_file_is_left_alone)
{
	struct stat st;

	stream_rig_init(&r);
	ck_assert_int_eq(mknod(r.path, S_IFREG | 0600, 0), 0);
	ck_assert_int_eq(stream_open_unix(&r.s, r.path), -EEXIST);
	expect_said("is no socket; remove it");
	ck_assert_int_eq(lstat(r.path, &st), 0);
	ck_assert(S_ISREG(st.st_mode));
	unlink(r.path);
	stream_rig_free(&r);
}

START_TEST(a_path_that_cannot_be_is_told)
{
	char path[200];

	stream_rig_init(&r);
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	ck_assert_int_eq(stream_open_unix(&r.s, path), -ENAMETOOLONG);
	expect_said("at most 107 bytes");
	ck_assert_int_eq(stream_open_unix(&r.s, "/nonexistent/socket"), -ENOENT);
	expect_said("/nonexistent/socket: No such file");
	stream_rig_free(&r);
}

START_TEST(a_socket_that_is_somebody_elses_by_now_stays)
{
	struct stream other;

	unlink(r.path);
	stream_init(&other, r.loop);
	ck_assert_int_eq(stream_open_unix(&other, r.path), 0);
	stream_close(&r.s);
	close(knock()); /* still there */
	stream_close(&other);
}

static bool enough; /* atomic */

/* As a UART's vCPU does. */
static void *write_always(void *arg)
{
	static const char text[100];

	while (!__atomic_load_n(&enough, __ATOMIC_RELAXED)) {
		if (stream_write(&r.s, text, sizeof(text)) < sizeof(text))
			stream_want_write(&r.s, true);
	}
	return arg;
}

START_TEST(clients_come_and_go_while_another_thread_writes)
{
	struct pollfd p = { .events = POLLIN };
	pthread_t writer;
	char buf[4096];

	ck_assert_int_eq(loop_start(r.loop, "main"), 0);
	stream_want_read(&r.s, true);
	ck_assert_int_eq(pthread_create(&writer, NULL, write_always, NULL), 0);
	for (u32 i = 0; i < 50; i++) {
		p.fd = knock();
		ck_assert_int_eq(write(p.fd, "hello", 5), 5);
		for (u32 n = 0; n < i % 3; n++) { /* some leave at once, some don't */
			ck_assert_int_eq(poll(&p, 1, 10000), 1);
			ck_assert_int_gt(read(p.fd, buf, sizeof(buf)), 0);
		}
		close(p.fd);
	}
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
	loop_stop(r.loop);
	for (u32 i = 0; i < 50; i++)
		stream_rig_settle(&r);
	ck_assert_uint_eq(r.ngot, 50 * 5);
	ck_assert(!stream_connected(&r.s));
}

Suite *stream_unix_suite(void)
{
	Suite *su = suite_create("stream_unix");
	TCase *t = tcase_create("clients");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, bytes_go_both_ways);
	tcase_add_test(t, what_is_not_wanted_waits);
	tcase_add_test(t, with_nobody_there_output_is_dropped);
	tcase_add_test(t, comings_and_goings_are_told);
	tcase_add_test(t, one_client_at_a_time);
	tcase_add_test(t, what_a_client_sent_before_leaving_arrives);
	tcase_add_test(t, a_client_that_comes_and_goes_unnoticed_is_heard);
	tcase_add_test(t, the_next_client_gets_output_while_the_last_ones_input_waits);
	tcase_add_test(t, the_next_clients_input_follows_the_last_ones);
	tcase_add_test(t, who_does_not_read_holds_the_output_up);
	tcase_add_test(t, who_leaves_holds_nothing_up);
	tcase_add_test(t, asking_for_room_when_all_have_left_is_answered);
	tcase_add_test(t, waiting_for_room_goes_on_with_the_next_client);
	tcase_add_test(t, a_client_that_sends_no_more_still_gets_output);
	tcase_add_test(t, a_client_that_reads_no_more_is_no_trouble);
	tcase_add_test(t, a_client_that_leaves_output_unread_is_no_trouble);
	tcase_add_test(t, it_has_no_window);
	tcase_add_test(t, the_socket_is_gone_when_the_stream_closes);
	tcase_add_test(t, it_can_close_with_a_client_and_one_at_the_door);
	tcase_add_test(t, a_socket_that_somebody_listens_on_is_refused);
	tcase_add_test(t, a_socket_that_is_somebody_elses_by_now_stays);
	tcase_add_test(t, clients_come_and_go_while_another_thread_writes);
	suite_add_tcase(su, t);

	t = tcase_create("opening");
	tcase_add_test(t, a_stale_socket_is_replaced);
	tcase_add_test(t, another_kind_of_file_is_left_alone);
	tcase_add_test(t, a_path_that_cannot_be_is_told);
	suite_add_tcase(su, t);
	return su;
}
