// SPDX-License-Identifier: MIT
/*
 * test_peer_socket.c - frames on a UNIX stream socket: cut anywhere, from an other end that may be
 * slow, hostile, or gone.
 */
#include "tests/unit/peer_rig.h"

#include <arpa/inet.h>
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

#define LEN_SIZE 4
#define ETH_MAX	 (PEER_FRAME_MAX - PEER_HDR_LEN)

static struct peer_rig r;
static char dir[32], path[64];

static void setup(void)
{
	strcpy(dir, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/net", dir);
	peer_rig_init(&r);
}

static void teardown(void)
{
	peer_rig_free(&r);
	ck_assert_int_eq(rmdir(dir), 0); /* it is empty */
}

static int try_socket(const char *where, bool server)
{
	const struct peer_socket_options o = { .path = where, .server = server, .loop = r.loop };
	struct peer *p = NULL;
	int err = peer_socket_open(&p, &o);

	if (!err)
		peer_rig_begin(&r, p);
	return err;
}

static void begin_server(void)
{
	ck_assert_int_eq(try_socket(path, true), 0);
	loop_settle(r.loop);
	expect_silence();
}

static void setup_server(void)
{
	setup();
	begin_server();
	ck_assert_uint_eq(r.downs, 1);
	ck_assert_uint_eq(r.ups, 0);
}

static struct sockaddr_un address(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(addr.sun_path, path);
	return addr;
}

static int knock(void)
{
	struct sockaddr_un addr = address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Somebody at the other end, who has been noticed. */
static int come(void)
{
	int fd = knock();

	loop_settle(r.loop);
	return fd;
}

static void leave(int fd)
{
	close(fd);
	loop_settle(r.loop);
}

static int listen_there(void)
{
	struct sockaddr_un addr = address();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 5), 0);
	return fd;
}

/* A frame as it is on the socket. Returns its length there. */
static u32 make_wire(u8 *wire, u32 len, u32 seed)
{
	u32 prefix = htonl(len);

	memcpy(wire, &prefix, LEN_SIZE);
	make_frame(wire + LEN_SIZE, len, seed);
	return LEN_SIZE + len;
}

static void put(int fd, const void *buf, u32 len)
{
	ck_assert_int_eq(write(fd, buf, len), len);
}

static void expect_frame(u32 len, u32 seed)
{
	static u8 frame[ETH_MAX];

	make_frame(frame, len, seed);
	peer_rig_expect(&r, 0, frame, len);
}

static int send_frame(u32 len, u32 seed)
{
	static u8 frame[ETH_MAX + 1];

	make_frame(frame, len, seed);
	return peer_rig_send(&r, 0, frame, len);
}

static void want(u32 what)
{
	peer_want(r.peer->queue(r.peer, 0), what);
}

START_TEST(a_frame_follows_its_length)
{
	u8 wire[2000], seen[2000];
	int fd = come();
	u32 n = make_wire(wire, 1000, 1);

	ck_assert_int_eq(send_frame(1000, 1), 0);
	ck_assert_int_eq(recv(fd, seen, sizeof(seen), MSG_DONTWAIT), n);
	ck_assert_mem_eq(seen, wire, n);
	put(fd, wire, n);
	expect_frame(1000, 1);
	for (u32 i = 0; i < PEER_HDR_LEN; i++)
		ck_assert_uint_eq(r.frame[i], 0);
	peer_rig_expect_none(&r, 0);
	close(fd);
}

START_TEST(the_stream_may_be_cut_anywhere)
{
	u8 wire[2000];
	u32 n = make_wire(wire, 60, 1), first = n;
	int fd = come();

	n += make_wire(wire + n, 14, 2);
	n += make_wire(wire + n, 333, 3);
	for (u32 cut = 1; cut < n; cut++) {
		u32 got = 0;

		put(fd, wire, cut);
		if (cut >= first)
			expect_frame(60, 1), got++;
		if (cut >= first + 18)
			expect_frame(14, 2), got++;
		peer_rig_expect_none(&r, 0);
		put(fd, wire + cut, n - cut);
		if (got < 1)
			expect_frame(60, 1);
		if (got < 2)
			expect_frame(14, 2);
		expect_frame(333, 3);
		peer_rig_expect_none(&r, 0);
	}
	for (u32 i = 0; i < n; i++) { /* or everywhere */
		put(fd, wire + i, 1);
		if (i + 1 == first)
			expect_frame(60, 1);
		else if (i + 1 == first + 18)
			expect_frame(14, 2);
		else if (i + 1 < n)
			peer_rig_expect_none(&r, 0);
	}
	expect_frame(333, 3);
	close(fd);
}

START_TEST(frames_that_came_at_once_are_told_until_all_are_taken)
{
	u8 wire[20 * 104];
	u32 n = 0;
	int fd = come();

	for (u32 i = 0; i < 20; i++)
		n += make_wire(wire + n, 100, i);
	put(fd, wire, n);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0); /* not wanted */
	for (u32 i = 0; i < 20; i++) {
		r.reads = 0;
		want(PEER_READ);
		loop_settle(r.loop);
		ck_assert_uint_ge(r.reads, 1);
		expect_frame(100, i);
	}
	r.reads = 0;
	want(PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0);
	close(fd);
}

START_TEST(the_longest_frame_passes_and_no_longer_one)
{
	static u8 wire[ETH_MAX + 2 * LEN_SIZE], seen[ETH_MAX + 2 * LEN_SIZE];
	u32 n = make_wire(wire, ETH_MAX, 1);
	int fd = come();

	put(fd, wire, n);
	expect_frame(ETH_MAX, 1);
	ck_assert_int_eq(send_frame(ETH_MAX, 1), 0);
	ck_assert_int_eq(recv(fd, seen, n, MSG_WAITALL), n);
	ck_assert_mem_eq(seen, wire, n);
	ck_assert_int_eq(send_frame(ETH_MAX + 1, 1), 0); /* dropped */
	ck_assert_int_eq(recv(fd, seen, sizeof(seen), MSG_DONTWAIT), -1);
	close(fd);
}

START_TEST(what_is_too_short_for_a_frame_is_none)
{
	u8 wire[100] = { 0 };
	u32 n = 0;
	int fd = come();

	for (u32 len = 0; len < 3; len++)
		n += make_wire(wire + n, len, 0);
	n += make_wire(wire + n, 13, 0);
	n += make_wire(wire + n, 14, 1);
	put(fd, wire, n);
	expect_frame(14, 1);
	peer_rig_expect_none(&r, 0);
	ck_assert_int_eq(send_frame(13, 0), 0);
	ck_assert_int_eq(recv(fd, wire, sizeof(wire), MSG_DONTWAIT), -1);
	close(fd);
}

START_TEST(a_length_that_no_frame_has_ends_the_connection)
{
	static const u32 lengths[] = { ETH_MAX + 1, 0x7fffffff, 0x80000000, 0xffffffff };
	u8 wire[200], c;

	want(PEER_READ);
	for (u32 i = 0; i < ARRAY_SIZE(lengths); i++) {
		u32 prefix = htonl(lengths[i]), n = make_wire(wire, 60, 1);
		int fd = come();

		memcpy(wire + n, &prefix, LEN_SIZE);
		put(fd, wire, n + LEN_SIZE + 50);
		expect_frame(60, 1);
		peer_rig_expect_none(&r, 0);
		expect_said("the other end sends no frames");
		ck_assert_int_le(recv(fd, &c, 1, 0), 0);
		loop_settle(r.loop);
		ck_assert_uint_eq(r.downs, i + 2);
		close(fd);
	}
	for (u32 i = 0; i < 5; i++) { /* again and again, with no good frame between: told by now */
		int fd = come();

		put(fd, "\377\377\377\377", LEN_SIZE);
		peer_rig_expect_none(&r, 0);
		leave(fd);
	}
	expect_silence();
	ck_assert_uint_eq(r.downs, ARRAY_SIZE(lengths) + 5 + 1);
}

START_TEST(who_sends_nonsense_again_and_again_does_not_fill_the_log)
{
	u8 wire[100];
	u32 n = make_wire(wire, 60, 1), told = 0;

	memset(wire + n, 0xff, LEN_SIZE);
	for (u32 i = 0; i < 50; i++) {
		int fd = come();

		put(fd, wire, n + LEN_SIZE);
		expect_frame(60, 1);
		peer_rig_expect_none(&r, 0);
		told += said_once("the other end sends no frames");
		leave(fd);
	}
	ck_assert_uint_ge(told, 1);
	ck_assert_uint_le(told, 16);
}

START_TEST(who_does_not_read_holds_us_up_and_loses_nothing)
{
	static u8 wire[ETH_MAX + LEN_SIZE], seen[ETH_MAX + LEN_SIZE];
	u32 sent = 0, got = 0;
	int fd = come(), err;

	while ((err = send_frame(1000 + sent * 37 % 30000, sent)) == 0)
		sent++;
	ck_assert_int_eq(err, -EAGAIN);
	ck_assert_uint_gt(sent, 2);
	want(PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 0);
	while (got < sent) { /* by odd pieces; what is left of a frame follows by itself */
		u32 n = make_wire(wire, 1000 + got * 37 % 30000, got), at = 0;

		while (at < n) {
			u32 len = n - at < 1237 ? n - at : 1237;
			ssize_t m = recv(fd, seen + at, len, MSG_DONTWAIT);

			if (m < 0) {
				loop_settle(r.loop);
				m = recv(fd, seen + at, len, MSG_DONTWAIT);
			}
			ck_assert_int_gt(m, 0);
			at += m;
		}
		ck_assert_mem_eq(seen, wire, n);
		got++;
	}
	loop_settle(r.loop);
	ck_assert_int_eq(recv(fd, seen, 1, MSG_DONTWAIT), -1);
	ck_assert_uint_ge(r.writes, 1);
	ck_assert_int_eq(send_frame(100, 0), 0);
	close(fd);
}

START_TEST(with_nobody_there_frames_are_dropped)
{
	int fd;

	ck_assert_int_eq(send_frame(100, 0), 0);
	want(PEER_WRITE | PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 1);
	ck_assert_uint_eq(r.reads, 0);
	fd = come();
	while (send_frame(1000, 0) == 0)
		;
	r.writes = 0;
	want(PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 0);
	leave(fd); /* with all of it unread */
	loop_settle(r.loop);
	ck_assert_uint_ge(r.writes, 1);
	ck_assert_int_eq(send_frame(100, 0), 0);
}

START_TEST(the_link_is_up_while_somebody_is_there)
{
	for (u32 i = 0; i < 5; i++) {
		int fd = come();

		ck_assert_uint_eq(r.ups, i + 1);
		ck_assert_uint_eq(r.downs, i + 1);
		leave(fd);
		ck_assert_uint_eq(r.downs, i + 2);
	}
}

START_TEST(one_at_a_time)
{
	u8 wire[100];
	u32 n = make_wire(wire, 60, 1);
	int one = come(), two = knock();

	put(two, wire, n);
	loop_settle(r.loop);
	peer_rig_expect_none(&r, 0);
	ck_assert_uint_eq(r.ups, 1);
	leave(one);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.ups, 2);
	expect_frame(60, 1);
	close(two);
}

START_TEST(what_was_sent_before_leaving_arrives)
{
	static u8 wire[100 * 1004];
	u32 n = 0;
	int fd = come();

	for (u32 i = 0; i < 100; i++)
		n += make_wire(wire + n, 1000, i);
	put(fd, wire, n);
	leave(fd);
	ck_assert_uint_eq(r.downs, 2);
	for (u32 i = 0; i < 100; i++) {
		r.reads = 0;
		want(PEER_READ);
		loop_settle(r.loop);
		ck_assert_uint_ge(r.reads, 1);
		expect_frame(1000, i);
	}
	peer_rig_expect_none(&r, 0);
}

START_TEST(half_a_frame_is_not_the_next_connections)
{
	u8 wire[300];
	u32 n = make_wire(wire, 60, 1);
	int fd;

	make_wire(wire + n, 100, 2);
	for (u32 half = 1; half < 104; half += 9) {
		fd = come();
		put(fd, wire, n + half);
		leave(fd);
		fd = come();
		put(fd, wire + n, 104);
		expect_frame(60, 1);
		expect_frame(100, 2);
		peer_rig_expect_none(&r, 0);
		leave(fd);
	}
	/* The other way: what we could not send of a frame. */
	fd = come();
	while (send_frame(30000, 1) == 0)
		;
	leave(fd);
	fd = come();
	ck_assert_int_eq(send_frame(60, 1), 0);
	ck_assert_int_eq(recv(fd, wire, 1, MSG_DONTWAIT), 1);
	ck_assert_int_eq(recv(fd, wire + 1, 299, MSG_DONTWAIT), 63);
	ck_assert_uint_eq(wire[0] << 24 | wire[1] << 16 | wire[2] << 8 | wire[3], 60);
	close(fd);
}

START_TEST(who_sends_no_more_has_left)
{
	u8 wire[100], c;
	u32 n = make_wire(wire, 60, 1);
	int fd = come();

	put(fd, wire, n);
	shutdown(fd, SHUT_WR);
	want(PEER_READ);
	loop_settle(r.loop);
	expect_frame(60, 1);
	peer_rig_expect_none(&r, 0);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.downs, 2);
	ck_assert_int_eq(recv(fd, &c, 1, 0), 0);
	close(fd);
}

START_TEST(the_file_goes_with_the_server)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	peer_rig_free(&r);
	ck_assert_int_eq(lstat(path, &st), -1);
	peer_rig_init(&r);
}

START_TEST(a_file_that_is_another_ones_stays)
{
	int fd;

	unlink(path);
	fd = listen_there();
	r.fds++;
	peer_rig_free(&r);
	close(knock());
	close(fd);
	unlink(path);
	peer_rig_init(&r);
}

/* ---- opening, clients ---- */

START_TEST(a_path_in_use_is_refused_and_a_dead_one_replaced)
{
	int fd = listen_there();

	ck_assert_int_eq(try_socket(path, true), -EADDRINUSE);
	expect_said("another program listens there");
	close(fd); /* as by kill -9 */
	begin_server();
	fd = come();
	ck_assert_uint_eq(r.ups, 1);
	close(fd);
}

START_TEST(paths_that_cannot_be_are_told)
{
	char lengthy[200];
	int fd;

	memset(lengthy, 'x', sizeof(lengthy));
	lengthy[108] = '\0';
	ck_assert_int_eq(try_socket(lengthy, true), -ENAMETOOLONG);
	expect_said("at most 107 bytes");
	ck_assert_int_eq(try_socket("/nonexistent/socket", true), -ENOENT);
	expect_said("socket=/nonexistent/socket: No such file or directory");
	ck_assert_int_eq(mknod(path, S_IFREG | 0600, 0), 0);
	ck_assert_int_eq(try_socket(path, true), -EEXIST);
	expect_said("is no socket");
	unlink(path);
	ck_assert_int_eq(try_socket(path, false), -ENOENT);
	expect_said("start the other end first, or give server=on");
	fd = listen_there();
	close(fd);
	ck_assert_int_eq(try_socket(path, false), -ECONNREFUSED);
	expect_said("start the other end first, or give server=on");
	unlink(path);
}

START_TEST(a_client_that_is_left_tries_again)
{
	struct pollfd p = { .events = POLLIN };
	int listener = listen_there(), fd;
	u8 wire[100];
	u32 n = make_wire(wire, 60, 1);

	ck_assert_int_eq(try_socket(path, false), 0);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.downs, 0); /* it is there from the beginning */
	fd = accept(listener, NULL, NULL);
	close(fd);
	close(listener);
	unlink(path);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.downs, 1);
	listener = listen_there();
	p.fd = listener;
	for (u32 i = 0; i < 10000 && poll(&p, 1, 1) == 0; i++)
		loop_settle(r.loop);
	fd = accept(listener, NULL, NULL);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.ups, 1);
	put(fd, wire, n);
	expect_frame(60, 1);
	expect_silence();
	close(fd);
	close(listener);
	unlink(path);
}

START_TEST(two_of_us_join)
{
	struct peer_rig b = { .quiet = true, .loop = r.loop };
	const struct peer_socket_options o = { .path = path, .loop = r.loop };
	u8 frame[1500];
	struct peer *p;

	begin_server();
	ck_assert_int_eq(peer_socket_open(&p, &o), 0);
	peer_rig_begin(&b, p);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.ups, 1);
	for (u32 i = 0; i < 1000; i++) {
		make_frame(frame, sizeof(frame), i);
		ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
		peer_rig_expect(&b, 0, frame, sizeof(frame));
		make_frame(frame, sizeof(frame), ~i);
		ck_assert_int_eq(peer_rig_send(&b, 0, frame, sizeof(frame)), 0);
		peer_rig_expect(&r, 0, frame, sizeof(frame));
	}
	peer_detach(p->queue(p, 0));
	peer_destroy(p);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.downs, 2);
}

/* ---- with threads ---- */

static struct {
	struct peer *peer;
	u32 frames; /* atomic */
	u8 frame[PEER_FRAME_MAX];
} far;

/* An owner that reads all and answers each frame. Queue's loop. */
static void far_ready(struct peer_queue *q, u32 what)
{
	struct iovec iov = { far.frame, sizeof(far.frame) };
	ssize_t n;

	(void)what;
	while ((n = peer_receive(q, &iov, 1)) > 0) {
		struct iovec back = { far.frame, n };

		__atomic_fetch_add(&far.frames, 1, __ATOMIC_RELAXED);
		peer_send(q, &back, 1);
	}
}

static void far_link(struct peer *p, bool up)
{
	(void)p;
	(void)up;
}

static bool is_one_of(const u8 *frame, const u8 *wire, u32 n)
{
	u32 i = 0;

	while (i < n && memcmp(frame, wire + i * 104, 104) != 0)
		i++;
	return i < n;
}

START_TEST(they_come_and_go_while_frames_flow)
{
	struct peer_socket_options o = { .path = path, .server = true };
	struct loop *queue_loop;
	static u8 wire[50 * 104], seen[104];
	u32 n = 0;

	o.loop = r.loop;
	ck_assert_int_eq(loop_create(&queue_loop), 0);
	ck_assert_int_eq(peer_socket_open(&far.peer, &o), 0);
	far.peer->link_changed = far_link;
	ck_assert_int_eq(peer_attach(far.peer->queue(far.peer, 0), queue_loop, far_ready, NULL), 0);
	peer_want(far.peer->queue(far.peer, 0), PEER_READ);
	ck_assert_int_eq(loop_start(r.loop, "main"), 0);
	ck_assert_int_eq(loop_start(queue_loop, "queue"), 0);
	for (u32 i = 0; i < 50; i++)
		n += make_wire(wire + n, 100, i);
	for (u32 i = 0; i < 50; i++) {
		int fd = knock();

		put(fd, wire, n);
		for (u32 k = 0; k < i % 4; k++) { /* some leave at once, some don't */
			ck_assert_int_eq(recv(fd, seen, 104, MSG_WAITALL), 104);
			ck_assert(is_one_of(seen, wire, 50)); /* maybe the answer to another's */
		}
		close(fd);
	}
	for (u32 i = 0; i < 10000 && __atomic_load_n(&far.frames, __ATOMIC_RELAXED) < 2500; i++)
		poll(NULL, 0, 1);
	loop_stop(queue_loop);
	loop_stop(r.loop);
	ck_assert_uint_eq(far.frames, 50 * 50);
	peer_detach(far.peer->queue(far.peer, 0));
	peer_destroy(far.peer);
	loop_destroy(queue_loop);
}

Suite *peer_socket_suite(void)
{
	Suite *s = suite_create("peer_socket");
	TCase *t = tcase_create("server");

	tcase_add_checked_fixture(t, setup_server, teardown);
	tcase_add_test(t, a_frame_follows_its_length);
	tcase_add_test(t, the_stream_may_be_cut_anywhere);
	tcase_add_test(t, frames_that_came_at_once_are_told_until_all_are_taken);
	tcase_add_test(t, the_longest_frame_passes_and_no_longer_one);
	tcase_add_test(t, what_is_too_short_for_a_frame_is_none);
	tcase_add_test(t, a_length_that_no_frame_has_ends_the_connection);
	tcase_add_test(t, who_sends_nonsense_again_and_again_does_not_fill_the_log);
	tcase_add_test(t, who_does_not_read_holds_us_up_and_loses_nothing);
	tcase_add_test(t, with_nobody_there_frames_are_dropped);
	tcase_add_test(t, the_link_is_up_while_somebody_is_there);
	tcase_add_test(t, one_at_a_time);
	tcase_add_test(t, what_was_sent_before_leaving_arrives);
	tcase_add_test(t, half_a_frame_is_not_the_next_connections);
	tcase_add_test(t, who_sends_no_more_has_left);
	tcase_add_test(t, the_file_goes_with_the_server);
	tcase_add_test(t, a_file_that_is_another_ones_stays);
	suite_add_tcase(s, t);

	t = tcase_create("opening");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_path_in_use_is_refused_and_a_dead_one_replaced);
	tcase_add_test(t, paths_that_cannot_be_are_told);
	tcase_add_test(t, a_client_that_is_left_tries_again);
	tcase_add_test(t, two_of_us_join);
	tcase_add_test(t, they_come_and_go_while_frames_flow);
	suite_add_tcase(s, t);
	return s;
}
