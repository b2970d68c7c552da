// SPDX-License-Identifier: MIT
/*
 * test_image_uring.c - disk images by io_uring when the kernel has no more room, in its rings or in its
 * memory.
 *
 * How it works: the functions below take the place of liburing's own and can refuse to submit. And
 * an image whose descriptor is replaced by a socket can't be read before the test has written to it.
 */
#include "tests/unit/image_rig.h"

#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The loop's thread, as long as requests are in hand. */
static u32 refusals; /* of the next calls */
static int refusal;  /* -errno */
static u32 most;     /* at any time: submitted, and its completion not taken */
static u32 room;     /* for completions */
static int ring_fd;

static bool refused(void)
{
	if (!refusals)
		return false;
	refusals--;
	return true;
}

static void look(struct io_uring *ring)
{
	u32 taken = *ring->cq.khead, submitted = *ring->sq.ktail;

	if (submitted - taken > most)
		most = submitted - taken;
	room = ring->cq.ring_entries;
	ring_fd = ring->ring_fd;
}

int io_uring_submit(struct io_uring *ring)
{
	int (*submit)(struct io_uring * ring) = dlsym(RTLD_NEXT, "io_uring_submit");
	int n;

	if (refused())
		return refusal;
	n = submit(ring);
	look(ring);
	return n;
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
{
	int (*submit)(struct io_uring * ring, unsigned wait_nr) =
		dlsym(RTLD_NEXT, "io_uring_submit_and_wait");

	return refused() ? refusal : submit(ring, wait_nr);
}

static const int full[] = { -EAGAIN, -EBUSY };

START_TEST(what_the_kernel_has_no_memory_for_is_tried_again)
{
	u8 buf[512] = { 7 }, seen[512];

	NEED_ENGINE(0);
	image_rig_start();
	refusal = full[_i];
	refusals = 3;
	ck_assert_int_eq(io_run(IMAGE_WRITE, 512, buf, 512), 0);
	ck_assert_uint_eq(refusals, 0);
	refusals = 1;
	ck_assert_int_eq(io_run(IMAGE_READ, 512, seen, 512), 0);
	ck_assert_mem_eq(seen, buf, 512);
	image_rig_stop();
}

START_TEST(a_drain_tries_again_too)
{
	static struct io io[10];
	static u8 buf[10][512];

	NEED_ENGINE(0);
	image_rig_start();
	refusal = full[_i];
	refusals = 5;
	for (u32 i = 0; i < ARRAY_SIZE(io); i++)
		io_init(&io[i], IMAGE_WRITE, i * 512, buf[i], 512);
	io_drain_all(io, ARRAY_SIZE(io));
	ck_assert_uint_eq(refusals, 0);
	for (u32 i = 0; i < ARRAY_SIZE(io); i++)
		ck_assert_int_eq(io[i].err, 0);
	image_rig_stop();
}

#define MANY 700 /* more than both rings hold */

static struct io io[MANY];
static u8 in[MANY][512];
static int far; /* the other end of the image's socket */

/* All of `io` reads from a socket, in which there is nothing yet. */
static void start_on_socket(void)
{
	int pair[2];

	image_rig_start();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(dup2(pair[0], rig.img->fd), rig.img->fd);
	close(pair[0]);
	far = pair[1];
	for (u32 i = 0; i < MANY; i++)
		io_init(&io[i], IMAGE_READ, 0, in[i], 512); /* a socket knows no other place */
}

static void feed(u32 n)
{
	static const u8 text[512] = { 1, 2, 3 };

	for (u32 i = 0; i < n; i++)
		ck_assert_int_eq(write(far, text, sizeof(text)), sizeof(text));
}

static void stop_on_socket(u32 n)
{
	for (u32 i = 0; i < n; i++) {
		ck_assert_int_eq(io[i].err, 0);
		ck_assert_uint_eq(in[i][2], 3);
	}
	close(far);
	image_rig_stop();
}

static void check_room(void *arg)
{
	(void)arg;
	ck_assert_uint_eq(rig.undone, MANY);
	ck_assert_uint_lt(room, MANY);
	ck_assert_uint_eq(most, room);
}

START_TEST(no_more_is_handed_over_than_completions_have_room)
{
	NEED_ENGINE(0);
	start_on_socket();
	io_begin_all(io, MANY);
	loop_call(rig.loop, check_room, NULL);
	feed(MANY);
	io_wait_all(io, MANY);
	ck_assert_uint_eq(most, room);
	stop_on_socket(MANY);
}

static void submit_second(void *arg)
{
	(void)arg;
	io[1].r.done = io[0].r.done;
	rig.undone++;
	refusal = -EAGAIN;
	refusals = 1;
	image_submit(rig.queue, &io[1].r);
	image_kick(rig.queue);
	ck_assert_uint_eq(refusals, 0);
}

/* It is submitted when the first one's completion wakes the loop. */
START_TEST(what_is_refused_while_others_are_in_flight_follows_them)
{
	NEED_ENGINE(0);
	start_on_socket();
	io_begin_all(io, 1);
	loop_call(rig.loop, submit_second, NULL);
	feed(2);
	io_wait_all(io, 2);
	stop_on_socket(2);
}

/* A ring without restrictions would tell what it can do. */
START_TEST(a_ring_can_do_nothing_else)
{
	u8 probe[4096] = { 0 }, seen[512];

	NEED_ENGINE(0);
	image_rig_start();
	ck_assert_int_eq(io_run(IMAGE_READ, 512, seen, 512), 0);
	ck_assert_int_eq(syscall(SYS_io_uring_register, ring_fd, IORING_REGISTER_PROBE, probe, 8),
			 -1);
	ck_assert_int_eq(errno, EACCES);
	image_rig_stop();
}

Suite *image_uring_suite(void)
{
	Suite *s = suite_create("image_uring");
	TCase *t = tcase_create("full");

	tcase_add_checked_fixture(t, image_rig_setup, image_rig_teardown);
	tcase_add_loop_test(t, what_the_kernel_has_no_memory_for_is_tried_again, 0, 2);
	tcase_add_loop_test(t, a_drain_tries_again_too, 0, 2);
	tcase_add_test(t, no_more_is_handed_over_than_completions_have_room);
	tcase_add_test(t, what_is_refused_while_others_are_in_flight_follows_them);
	tcase_add_test(t, a_ring_can_do_nothing_else);
	suite_add_tcase(s, t);
	return s;
}
