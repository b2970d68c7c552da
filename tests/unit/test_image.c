// SPDX-License-Identifier: MIT
/*
 * test_image.c - disk images: what is written is there, what can't be done is told, by io_uring and by
 * threads alike (the suite's loop variable).
 */
#include "tests/unit/image_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

static void fill(u8 *p, u64 len, u32 seed)
{
	for (u64 i = 0; i < len; i++)
		p[i] = (seed + i) * 2654435761u >> 13;
}

/* ---- data ---- */

START_TEST(what_is_written_is_read_back)
{
	static u8 out[300000], in[300000];

	NEED_ENGINE(_i);
	image_rig_start();
	ck_assert_uint_eq(image_size(rig.img), IMAGE_LEN);
	ck_assert_uint_eq(image_block_size(rig.img), 512);
	fill(out, sizeof(out), 1);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 512, out, 512), 0);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 4096, out, 299520), 0);
	ck_assert_int_eq(io_run(IMAGE_WRITE, IMAGE_LEN - 512, out, 512), 0);
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), 0);

	ck_assert_int_eq(io_run(IMAGE_READ, 4096, in, 299520), 0);
	ck_assert_mem_eq(in, out, 299520);
	ck_assert_int_eq(io_run(IMAGE_READ, IMAGE_LEN - 512, in, 512), 0);
	ck_assert_mem_eq(in, out, 512);
	ck_assert_int_eq(io_run(IMAGE_READ, 0, in, 1024), 0);
	ck_assert_mem_eq(in + 512, out, 512);
	ck_assert_int_eq(in[0] | in[511], 0);
	ck_assert_int_eq(io_run(IMAGE_READ, 0, NULL, 0), 0);
	image_rig_stop();
	expect_silence();
}

START_TEST(more_segments_than_the_host_takes_at_once)
{
	static u8 out[(2 * IOV_MAX + 76) * 512], in[sizeof(out)];
	static struct iovec iov[sizeof(out) / 512];
	struct io io;

	NEED_ENGINE(_i);
	image_rig_start();
	fill(out, sizeof(out), 2);
	for (u32 i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){ out + i * 512, 512 };
	io_init(&io, IMAGE_WRITE, 512, NULL, sizeof(out));
	io.r.iov = iov;
	io.r.niov = ARRAY_SIZE(iov);
	io_run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);

	for (u32 i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i].iov_base = in + (i * 512);
	io_init(&io, IMAGE_READ, 512, NULL, sizeof(in));
	io.r.iov = iov;
	io.r.niov = ARRAY_SIZE(iov);
	io_run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_mem_eq(in, out, sizeof(out));
	image_rig_stop();
}

#define MANY 1000 /* more than the ring holds */

START_TEST(many_requests_at_once_all_finish)
{
	static struct io io[MANY];
	static u8 out[MANY][2048], in[MANY][2048];

	NEED_ENGINE(_i);
	image_rig_start();
	for (u32 i = 0; i < MANY; i++) {
		fill(out[i], 2048, 1000 * i);
		io_init(&io[i], IMAGE_WRITE, i * 2048, out[i], 2048);
	}
	io_run_all(io, MANY);
	for (u32 i = 0; i < MANY; i++)
		io_init(&io[i], IMAGE_READ, i * 2048, in[i], 2048);
	io_run_all(io, MANY);
	for (u32 i = 0; i < MANY; i++)
		ck_assert_int_eq(io[i].err, 0);
	ck_assert_mem_eq(in, out, sizeof(out));
	image_rig_stop();
	/* A batch at least for each, and no more than requests. */
	ck_assert_uint_ge(rig.batches, 2);
	ck_assert_uint_le(rig.batches, 2 * MANY);
}

START_TEST(a_drain_waits_for_all_and_tells_them_done)
{
	static struct io io[300];
	static u8 buf[300][4096];

	NEED_ENGINE(_i);
	image_rig_start();
	for (u32 i = 0; i < 300; i++)
		io_init(&io[i], i % 7 ? IMAGE_WRITE : IMAGE_FLUSH, i * 4096, buf[i], 4096);
	io_drain_all(io, 300); /* checks */
	ck_assert_uint_ge(rig.batches, 1);
	image_rig_stop();
}

static struct io chained[2];

static void chain_next(struct image_req *r, int err)
{
	ck_assert_int_eq(err, 0);
	if (r == &chained[0].r) {
		image_submit(rig.queue, &chained[1].r);
		image_kick(rig.queue);
	} else {
		sem_post(&rig.all_done);
	}
}

static void start_chain(void *arg)
{
	(void)arg;
	image_submit(rig.queue, &chained[0].r);
	image_kick(rig.queue);
}

START_TEST(done_may_start_another_request)
{
	u8 buf[512] = { 1 };

	NEED_ENGINE(_i);
	image_rig_start();
	for (u32 i = 0; i < 2; i++) {
		io_init(&chained[i], IMAGE_WRITE, 0, buf, 512);
		chained[i].r.done = chain_next;
	}
	loop_call(rig.loop, start_chain, NULL);
	sem_wait(&rig.all_done);
	image_rig_stop();
}

START_TEST(a_forced_write_is_done_like_any_other)
{
	u8 out[1024], in[1024];
	struct io io;

	NEED_ENGINE(_i);
	image_rig_start();
	fill(out, sizeof(out), 3);
	io_init(&io, IMAGE_WRITE, 1024, out, sizeof(out));
	io.r.fua = true;
	io_run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_int_eq(io_run(IMAGE_READ, 1024, in, sizeof(in)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	image_rig_stop();
}

/* ---- deallocation ---- */

static u64 allocated(void)
{
	struct stat st;

	ck_assert_int_eq(stat(rig.options.path, &st), 0);
	return st.st_blocks * 512;
}

static bool all(const u8 *p, u64 len, u8 byte)
{
	return p[0] == byte && memcmp(p, p + 1, len - 1) == 0;
}

/* Are bytes [off, off + len) zero, and those around them not? */
static void expect_hole(u64 off, u64 len)
{
	u8 *in = malloc(len + 1024);

	ck_assert_int_eq(io_run(IMAGE_READ, off - 512, in, len + 1024), 0);
	ck_assert(all(in, 512, 0xff));
	ck_assert(all(in + 512, len, 0));
	ck_assert(all(in + 512 + len, 512, 0xff));
	free(in);
}

static void fill_image(void)
{
	u8 *ones = malloc(IMAGE_LEN);

	memset(ones, 0xff, IMAGE_LEN);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 0, ones, IMAGE_LEN), 0);
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), 0);
	free(ones);
}

START_TEST(a_discard_gives_the_space_back)
{
	u64 before;

	NEED_ENGINE(_i);
	image_rig_start();
	if (!image_discard_granularity(rig.img)) {
		image_rig_stop();
		skip_test("this file system can't discard");
	}
	fill_image();
	before = allocated();
	ck_assert_int_eq(io_run(IMAGE_DISCARD, MIB, NULL, 2 * MIB), 0);
	ck_assert_uint_le(allocated(), before - 2 * MIB + 64 * KIB);
	ck_assert_uint_eq(image_size(rig.img), IMAGE_LEN);
	expect_hole(MIB, 2 * MIB);
	image_rig_stop();
}

START_TEST(zeroes_are_read_whether_unmapped_or_not)
{
	u64 before;

	NEED_ENGINE(_i);
	image_rig_start();
	fill_image();
	before = allocated();
	ck_assert_int_eq(io_zero(MIB, MIB + 512, false), 0);
	expect_hole(MIB, MIB + 512);
	ck_assert_uint_ge(allocated(), before);
	ck_assert_int_eq(io_zero(2 * MIB + 1024, MIB, true), 0);
	expect_hole(2 * MIB + 1024, MIB);
	image_rig_stop();
}

START_TEST(zeroes_are_written_where_the_file_system_cant_make_them)
{
	char shm[32];
	int fd = temp_file("", 0, shm); /* tmpfs: no FALLOC_FL_ZERO_RANGE */

	if (!image_rig_engine(_i)) {
		close(fd);
		skip_test("no io_uring");
	}
	ck_assert_int_eq(ftruncate(fd, IMAGE_LEN), 0);
	rig.options.path = shm;
	image_rig_start();
	fill_image();
	ck_assert_int_eq(io_zero(512, 2 * MIB + 66048, false), 0);
	ck_assert(rig.img->no_zero_range);
	expect_hole(512, 2 * MIB + 66048);
	ck_assert_int_eq(io_zero(3 * MIB, 512, false), 0);
	expect_hole(3 * MIB, 512);
	ck_assert_uint_ge(allocated(), IMAGE_LEN);
	rig.img->no_punch = true; /* as on a file system without holes */
	ck_assert_int_eq(io_zero(3 * MIB + 1024, 512, true), 0);
	expect_hole(3 * MIB + 1024, 512);
	image_rig_stop();
	close(fd);
}

/* ---- O_DIRECT ---- */

static bool start_direct(u32 i)
{
	int fd = open(rig.path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	close(fd);
	if (fd < 0 || !image_rig_engine(i))
		return false;
	rig.options.direct = true;
	image_rig_start();
	return true;
}

START_TEST(direct_io_takes_any_buffer)
{
	u8 *out, *in;

	if (!start_direct(_i))
		skip_test("no io_uring, or no O_DIRECT in the build folder");
	ck_assert_uint_ge(image_block_size(rig.img), 512);
	ck_assert_uint_le(image_block_size(rig.img), 4096);
	out = aligned_alloc(4096, 3 * MIB);
	in = aligned_alloc(4096, 3 * MIB);
	fill(out, 3 * MIB, 4);
	for (u32 shift = 0; shift < 3; shift += 2) { /* 2: must be bounced, in pieces */
		ck_assert_int_eq(io_run(IMAGE_WRITE, 8192, out + shift, 2 * MIB + 8192), 0);
		memset(in, 0, 3 * MIB);
		ck_assert_int_eq(io_run(IMAGE_READ, 8192, in + shift, 2 * MIB + 8192), 0);
		ck_assert_mem_eq(in + shift, out + shift, 2 * MIB + 8192);
	}
	free(out);
	free(in);
	image_rig_stop();
	expect_silence();
}

START_TEST(direct_io_takes_any_sector)
{
	u8 *out, *in;

	if (!start_direct(_i))
		skip_test("no io_uring, or no O_DIRECT in the build folder");
	rig.img->block_size = rig.img->mem_align = 4096; /* as on a disk with such sectors */
	out = aligned_alloc(4096, 64 * KIB);
	in = aligned_alloc(4096, 64 * KIB);
	fill(out, 64 * KIB, 5);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 0, out, 64 * KIB), 0);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 512, out, 1024), 0);
	ck_assert_int_eq(io_run(IMAGE_READ, 0, in, 64 * KIB), 0);
	ck_assert_mem_eq(in + 512, out, 1024);
	ck_assert_mem_eq(in + 1536, out + 1536, 64 * KIB - 1536);
	ck_assert_int_eq(io_run(IMAGE_READ, 1536, in, 512), 0);
	ck_assert_mem_eq(in, out + 1536, 512);
	ck_assert_int_eq(io_zero(512, 512, false), 0);
	free(out);
	free(in);
	image_rig_stop();
}

/* ---- errors ---- */

START_TEST(a_truncated_image_fails_whatever_notices_first)
{
	static const enum image_op first[] = {
		IMAGE_READ, IMAGE_WRITE, IMAGE_FLUSH, IMAGE_DISCARD, IMAGE_WRITE_ZEROES,
	};
	u8 buf[8192] = { 1 };
	struct stat st;

	NEED_ENGINE(_i);
	for (u32 k = 0; k < ARRAY_SIZE(first); k++) {
		ck_assert_int_eq(truncate(rig.path, IMAGE_LEN), 0);
		image_rig_start();
		ck_assert_int_eq(truncate(rig.path, 4096), 0);
		ck_assert_int_eq(io_run(IMAGE_READ, 0, buf, 4096), 0); /* it is there */
		ck_assert_int_eq(io_run(first[k], 0, buf, 8192), -EIO);
		expect_said("has been made shorter");
		said_forget();
		for (u32 op = 0; op < ARRAY_SIZE(first); op++)
			ck_assert_int_eq(io_run(first[op], 0, buf, 512), -EIO);
		ck_assert_int_eq(io_run(IMAGE_WRITE, IMAGE_LEN - 4096, buf, 4096), -EIO);
		expect_silence();
		ck_assert_int_eq(stat(rig.path, &st), 0);
		ck_assert_int_eq(st.st_size, 4096); /* and nobody made it long again */
		ck_assert_int_eq(truncate(rig.path, IMAGE_LEN), 0);
		ck_assert_int_eq(io_run(IMAGE_READ, 0, buf, 512), -EIO);
		image_rig_stop();
	}
}

START_TEST(a_full_disk_is_told_and_loses_nothing_acknowledged)
{
	static const char *const dir = UNIT_OUT;
	static u8 buf[64 * KIB], in[64 * KIB];
	char full[64], ballast[64];
	u64 end = 0;
	int err, fd;

	NEED_ENGINE(_i);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=1M") < 0)
		skip_test("mounting a small file system takes root");
	snprintf(full, sizeof(full), "%s/full", dir);
	snprintf(ballast, sizeof(ballast), "%s/ballast", dir);
	fd = open(ballast, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_eq(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	close(fd);
	fd = open(full, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	ck_assert_int_eq(ftruncate(fd, IMAGE_LEN), 0);
	close(fd);
	rig.options.path = full;
	image_rig_start();
	for (;; end += sizeof(buf)) {
		fill(buf, sizeof(buf), end);
		err = io_run(IMAGE_WRITE, end, buf, sizeof(buf));
		if (err)
			break;
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_gt(end, 256 * KIB);
	expect_said("No space left");
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), 0);
	for (u64 off = 0; off < end; off += sizeof(buf)) {
		fill(buf, sizeof(buf), off);
		ck_assert_int_eq(io_run(IMAGE_READ, off, in, sizeof(in)), 0);
		ck_assert_mem_eq(in, buf, sizeof(in));
	}
	ck_assert_int_eq(unlink(ballast), 0);
	ck_assert_int_eq(io_run(IMAGE_WRITE, end, buf, 4096), 0); /* there is room again */
	image_rig_stop();
	umount2(dir, MNT_DETACH);
}

START_TEST(a_flush_that_failed_once_fails_ever_after)
{
	u8 buf[512] = { 1 };
	struct io io;
	int pipes[2], file;

	NEED_ENGINE(_i);
	image_rig_start();
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	file = fcntl(rig.queue->sync_fd, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(dup3(pipes[1], rig.queue->sync_fd, O_CLOEXEC),
			 rig.queue->sync_fd); /* can't */
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), -EINVAL);
	expect_said("flushes fail from now on");
	said_forget();
	ck_assert_int_eq(dup3(file, rig.queue->sync_fd, O_CLOEXEC), rig.queue->sync_fd);
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), -EINVAL);
	io_init(&io, IMAGE_WRITE, 0, buf, 512);
	io.r.fua = true;
	io_run_all(&io, 1);
	ck_assert_int_eq(io.err, -EINVAL);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 0, buf, 512), 0);
	expect_silence();
	image_rig_stop();
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

START_TEST(of_many_flushes_at_once_none_hides_an_error)
{
	static struct io io[100];
	int pipes[2];

	NEED_ENGINE(_i);
	image_rig_start();
	ck_assert_int_ne(rig.queue->sync_fd, rig.img->fd);
	for (u32 k = 0; k < 2; k++) {
		for (u32 i = 0; i < ARRAY_SIZE(io); i++)
			io_init(&io[i], IMAGE_FLUSH, 0, NULL, 0);
		io_run_all(io, ARRAY_SIZE(io));
		for (u32 i = 0; i < ARRAY_SIZE(io); i++)
			ck_assert_int_eq(io[i].err, k ? -EINVAL : 0);
		ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
		ck_assert_int_eq(dup3(pipes[1], rig.queue->sync_fd, O_CLOEXEC), rig.queue->sync_fd);
		close(pipes[0]);
		close(pipes[1]);
	}
	image_rig_stop();
	expect_said("flushes fail from now on");
}

START_TEST(a_read_only_image_is_not_written)
{
	u8 buf[512] = { 1 };

	NEED_ENGINE(_i);
	rig.options.readonly = true;
	image_rig_start();
	ck_assert(image_readonly(rig.img));
	ck_assert_uint_eq(image_discard_granularity(rig.img), 0);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 0, buf, 512), -EROFS);
	ck_assert_int_eq(io_run(IMAGE_DISCARD, 0, NULL, 512), -EROFS);
	ck_assert_int_eq(io_zero(0, 512, true), -EROFS);
	ck_assert_int_eq(io_run(IMAGE_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(io_run(IMAGE_READ, 0, buf, 512), 0);
	ck_assert_uint_eq(buf[0], 0);
	image_rig_stop();
}

Suite *image_suite(void)
{
	Suite *s = suite_create("image");
	TCase *both = tcase_create("both");

	tcase_set_timeout(both, 30);
	tcase_add_checked_fixture(both, image_rig_setup, image_rig_teardown);
	tcase_add_loop_test(both, what_is_written_is_read_back, 0, 2);
	tcase_add_loop_test(both, more_segments_than_the_host_takes_at_once, 0, 2);
	tcase_add_loop_test(both, many_requests_at_once_all_finish, 0, 2);
	tcase_add_loop_test(both, a_drain_waits_for_all_and_tells_them_done, 0, 2);
	tcase_add_loop_test(both, done_may_start_another_request, 0, 2);
	tcase_add_loop_test(both, a_forced_write_is_done_like_any_other, 0, 2);
	tcase_add_loop_test(both, a_discard_gives_the_space_back, 0, 2);
	tcase_add_loop_test(both, zeroes_are_read_whether_unmapped_or_not, 0, 2);
	tcase_add_loop_test(both, zeroes_are_written_where_the_file_system_cant_make_them, 0, 2);
	tcase_add_loop_test(both, direct_io_takes_any_buffer, 0, 2);
	tcase_add_loop_test(both, direct_io_takes_any_sector, 0, 2);
	tcase_add_loop_test(both, a_truncated_image_fails_whatever_notices_first, 0, 2);
	tcase_add_loop_test(both, a_full_disk_is_told_and_loses_nothing_acknowledged, 0, 2);
	tcase_add_loop_test(both, a_flush_that_failed_once_fails_ever_after, 0, 2);
	tcase_add_loop_test(both, of_many_flushes_at_once_none_hides_an_error, 0, 2);
	tcase_add_loop_test(both, a_read_only_image_is_not_written, 0, 2);
	suite_add_tcase(s, both);

	return s;
}
