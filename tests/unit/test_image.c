// SPDX-License-Identifier: MIT
/*
 * test_image.c - disk images: what is written is there, what can't be done is told, by io_uring and by
 * threads alike (the suite's loop variable).
 *
 * The image's loop runs on a thread of its own, and requests are made there.
 */
#include "devices/block/image_internal.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define IMAGE_LEN (4 * MIB)

static const enum image_aio kind[] = { IMAGE_AIO_IO_URING, IMAGE_AIO_THREADS };

static u32 fds;
static char path[64];
static struct image_options options;
static struct image *img;
static struct image_queue *queue;
static struct loop *l;
static u32 undone, batches; /* the loop's */
static sem_t all_done;

/* A request; `r` is what the test fills in. */
struct io {
	struct image_req r;
	struct iovec iov;
	u32 dones;
	int err;
};

static void io_done(struct image_req *r, int err)
{
	struct io *io = container_of(r, struct io, r);

	io->dones++;
	io->err = err;
	if (--undone == 0)
		sem_post(&all_done);
}

static void batch_done(void *arg)
{
	ck_assert_ptr_eq(arg, &batches);
	batches++;
}

struct batch {
	struct io *io;
	u32 n;
	bool drain;
};

static void run_batch(void *arg)
{
	struct batch *b = arg;

	undone = b->n;
	for (u32 i = 0; i < b->n; i++) {
		b->io[i].r.done = io_done;
		image_submit(queue, &b->io[i].r);
		ck_assert_uint_eq(b->io[i].dones, 0); /* never within image_submit() */
	}
	if (b->drain) {
		image_drain(queue);
		ck_assert_uint_eq(undone, 0);
	} else {
		image_kick(queue);
	}
}

/* Run `n` requests at once, each to its end. */
static void run_all(struct io *io, u32 n)
{
	struct batch b = { .io = io, .n = n };

	loop_call(l, run_batch, &b);
	sem_wait(&all_done);
	for (u32 i = 0; i < n; i++)
		ck_assert_uint_eq(io[i].dones, 1);
}

static void io_init(struct io *io, enum image_op op, u64 off, void *buf, u64 len)
{
	*io = (struct io){ .iov = { buf, len }, .r = { .op = op, .off = off, .len = len } };
	io->r.iov = &io->iov;
	io->r.niov = 1;
}

static int run_op(enum image_op op, u64 off, void *buf, u64 len)
{
	struct io io;

	io_init(&io, op, off, buf, len);
	run_all(&io, 1);
	return io.err;
}

static int zero(u64 off, u64 len, bool unmap)
{
	struct io io;

	io_init(&io, IMAGE_WRITE_ZEROES, off, NULL, len);
	io.r.unmap = unmap;
	run_all(&io, 1);
	return io.err;
}

static void fill(u8 *p, u64 len, u32 seed)
{
	for (u64 i = 0; i < len; i++)
		p[i] = (seed + i) * 2654435761u >> 13;
}

static void make_file(u64 len)
{
	int fd;

	strcpy(path, UNIT_OUT "/image-XXXXXX");
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, len), 0);
	close(fd);
}

/* Open what `options` say, with a queue on a running loop. */
static void start(void)
{
	ck_assert_int_eq(image_open(&img, &options), 0);
	ck_assert_int_eq(loop_create(&l), 0);
	ck_assert_int_eq(loop_start(l, "unit"), 0);
	ck_assert_int_eq(image_queue_create(&queue, img, l, batch_done, &batches), 0);
}

static void destroy_queue(void *arg)
{
	(void)arg;
	image_queue_destroy(queue);
}

static void stop(void)
{
	loop_call(l, destroy_queue, NULL);
	loop_stop(l);
	loop_destroy(l);
	image_close(img);
	img = NULL;
	queue = NULL;
	l = NULL;
}

static void setup(void)
{
	fds = open_fds();
	sem_init(&all_done, 0, 0);
	make_file(IMAGE_LEN);
	options.path = path;
}

static void teardown(void)
{
	unlink(path);
	sem_destroy(&all_done);
	ck_assert_uint_eq(open_fds(), fds);
}

/* Does this host have what variant `i` needs? */
static bool have(u32 i)
{
	options.aio = kind[i];
	return kind[i] != IMAGE_AIO_IO_URING || image_uring_probe() == 0;
}

#define NEED(i)                                   \
	do {                                      \
		if (!have(i))                     \
			skip_test("no io_uring"); \
	} while (0)

/* ---- data ---- */

START_TEST(what_is_written_is_read_back)
{
	static u8 out[300000], in[300000];

	NEED(_i);
	start();
	ck_assert_uint_eq(image_size(img), IMAGE_LEN);
	ck_assert_uint_eq(image_block_size(img), 512);
	fill(out, sizeof(out), 1);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 512, out, 512), 0);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 4096, out, 299520), 0);
	ck_assert_int_eq(run_op(IMAGE_WRITE, IMAGE_LEN - 512, out, 512), 0);
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), 0);

	ck_assert_int_eq(run_op(IMAGE_READ, 4096, in, 299520), 0);
	ck_assert_mem_eq(in, out, 299520);
	ck_assert_int_eq(run_op(IMAGE_READ, IMAGE_LEN - 512, in, 512), 0);
	ck_assert_mem_eq(in, out, 512);
	ck_assert_int_eq(run_op(IMAGE_READ, 0, in, 1024), 0);
	ck_assert_mem_eq(in + 512, out, 512);
	ck_assert_int_eq(in[0] | in[511], 0);
	ck_assert_int_eq(run_op(IMAGE_READ, 0, NULL, 0), 0);
	stop();
	expect_silence();
}

START_TEST(more_segments_than_the_host_takes_at_once)
{
	static u8 out[(2 * IOV_MAX + 76) * 512], in[sizeof(out)];
	static struct iovec iov[sizeof(out) / 512];
	struct io io;

	NEED(_i);
	start();
	fill(out, sizeof(out), 2);
	for (u32 i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){ out + i * 512, 512 };
	io_init(&io, IMAGE_WRITE, 512, NULL, sizeof(out));
	io.r.iov = iov;
	io.r.niov = ARRAY_SIZE(iov);
	run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);

	for (u32 i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i].iov_base = in + (i * 512);
	io_init(&io, IMAGE_READ, 512, NULL, sizeof(in));
	io.r.iov = iov;
	io.r.niov = ARRAY_SIZE(iov);
	run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_mem_eq(in, out, sizeof(out));
	stop();
}

#define MANY 1000 /* more than the ring holds */

START_TEST(many_requests_at_once_all_finish)
{
	static struct io io[MANY];
	static u8 out[MANY][2048], in[MANY][2048];

	NEED(_i);
	start();
	for (u32 i = 0; i < MANY; i++) {
		fill(out[i], 2048, 1000 * i);
		io_init(&io[i], IMAGE_WRITE, i * 2048, out[i], 2048);
	}
	run_all(io, MANY);
	for (u32 i = 0; i < MANY; i++)
		io_init(&io[i], IMAGE_READ, i * 2048, in[i], 2048);
	run_all(io, MANY);
	for (u32 i = 0; i < MANY; i++)
		ck_assert_int_eq(io[i].err, 0);
	ck_assert_mem_eq(in, out, sizeof(out));
	stop();
	/* A batch at least for each, and no more than requests. */
	ck_assert_uint_ge(batches, 2);
	ck_assert_uint_le(batches, 2 * MANY);
}

START_TEST(a_drain_waits_for_all_and_tells_them_done)
{
	static struct io io[300];
	static u8 buf[300][4096];
	struct batch b = { .io = io, .n = 300, .drain = true };

	NEED(_i);
	start();
	for (u32 i = 0; i < 300; i++)
		io_init(&io[i], i % 7 ? IMAGE_WRITE : IMAGE_FLUSH, i * 4096, buf[i], 4096);
	loop_call(l, run_batch, &b); /* checks */
	ck_assert_uint_ge(batches, 1);
	for (u32 i = 0; i < 300; i++)
		ck_assert_uint_eq(io[i].dones, 1);
	stop();
}

static struct io chained[2];

static void chain_next(struct image_req *r, int err)
{
	ck_assert_int_eq(err, 0);
	if (r == &chained[0].r) {
		image_submit(queue, &chained[1].r);
		image_kick(queue);
	} else {
		sem_post(&all_done);
	}
}

static void start_chain(void *arg)
{
	(void)arg;
	image_submit(queue, &chained[0].r);
	image_kick(queue);
}

START_TEST(done_may_start_another_request)
{
	u8 buf[512] = { 1 };

	NEED(_i);
	start();
	for (u32 i = 0; i < 2; i++) {
		io_init(&chained[i], IMAGE_WRITE, 0, buf, 512);
		chained[i].r.done = chain_next;
	}
	loop_call(l, start_chain, NULL);
	sem_wait(&all_done);
	stop();
}

START_TEST(a_forced_write_is_done_like_any_other)
{
	u8 out[1024], in[1024];
	struct io io;

	NEED(_i);
	start();
	fill(out, sizeof(out), 3);
	io_init(&io, IMAGE_WRITE, 1024, out, sizeof(out));
	io.r.fua = true;
	run_all(&io, 1);
	ck_assert_int_eq(io.err, 0);
	ck_assert_int_eq(run_op(IMAGE_READ, 1024, in, sizeof(in)), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	stop();
}

/* ---- deallocation ---- */

static u64 allocated(void)
{
	struct stat st;

	ck_assert_int_eq(stat(options.path, &st), 0);
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

	ck_assert_int_eq(run_op(IMAGE_READ, off - 512, in, len + 1024), 0);
	ck_assert(all(in, 512, 0xff));
	ck_assert(all(in + 512, len, 0));
	ck_assert(all(in + 512 + len, 512, 0xff));
	free(in);
}

static void fill_image(void)
{
	u8 *ones = malloc(IMAGE_LEN);

	memset(ones, 0xff, IMAGE_LEN);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 0, ones, IMAGE_LEN), 0);
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), 0);
	free(ones);
}

START_TEST(a_discard_gives_the_space_back)
{
	u64 before;

	NEED(_i);
	start();
	if (!image_discard_granularity(img)) {
		stop();
		skip_test("this file system can't discard");
	}
	fill_image();
	before = allocated();
	ck_assert_int_eq(run_op(IMAGE_DISCARD, MIB, NULL, 2 * MIB), 0);
	ck_assert_uint_le(allocated(), before - 2 * MIB + 64 * KIB);
	ck_assert_uint_eq(image_size(img), IMAGE_LEN);
	expect_hole(MIB, 2 * MIB);
	stop();
}

START_TEST(zeroes_are_read_whether_unmapped_or_not)
{
	u64 before;

	NEED(_i);
	start();
	fill_image();
	before = allocated();
	ck_assert_int_eq(zero(MIB, MIB + 512, false), 0);
	expect_hole(MIB, MIB + 512);
	ck_assert_uint_ge(allocated(), before);
	ck_assert_int_eq(zero(2 * MIB + 1024, MIB, true), 0);
	expect_hole(2 * MIB + 1024, MIB);
	stop();
}

START_TEST(zeroes_are_written_where_the_file_system_cant_make_them)
{
	char shm[32];
	int fd = temp_file("", 0, shm); /* tmpfs: no FALLOC_FL_ZERO_RANGE */

	if (!have(_i)) {
		close(fd);
		skip_test("no io_uring");
	}
	ck_assert_int_eq(ftruncate(fd, IMAGE_LEN), 0);
	options.path = shm;
	start();
	fill_image();
	ck_assert_int_eq(zero(512, 2 * MIB + 66048, false), 0);
	ck_assert(img->no_zero_range);
	expect_hole(512, 2 * MIB + 66048);
	ck_assert_int_eq(zero(3 * MIB, 512, false), 0);
	expect_hole(3 * MIB, 512);
	ck_assert_uint_ge(allocated(), IMAGE_LEN);
	img->no_punch = true; /* as on a file system without holes */
	ck_assert_int_eq(zero(3 * MIB + 1024, 512, true), 0);
	expect_hole(3 * MIB + 1024, 512);
	stop();
	close(fd);
}

/* ---- O_DIRECT ---- */

static bool start_direct(u32 i)
{
	int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);

	close(fd);
	if (fd < 0 || !have(i))
		return false;
	options.direct = true;
	start();
	return true;
}

START_TEST(direct_io_takes_any_buffer)
{
	u8 *out, *in;

	if (!start_direct(_i))
		skip_test("no io_uring, or no O_DIRECT in the build folder");
	ck_assert_uint_ge(image_block_size(img), 512);
	ck_assert_uint_le(image_block_size(img), 4096);
	out = aligned_alloc(4096, 3 * MIB);
	in = aligned_alloc(4096, 3 * MIB);
	fill(out, 3 * MIB, 4);
	for (u32 shift = 0; shift < 3; shift += 2) { /* 2: must be bounced, in pieces */
		ck_assert_int_eq(run_op(IMAGE_WRITE, 8192, out + shift, 2 * MIB + 8192), 0);
		memset(in, 0, 3 * MIB);
		ck_assert_int_eq(run_op(IMAGE_READ, 8192, in + shift, 2 * MIB + 8192), 0);
		ck_assert_mem_eq(in + shift, out + shift, 2 * MIB + 8192);
	}
	free(out);
	free(in);
	stop();
	expect_silence();
}

START_TEST(direct_io_takes_any_sector)
{
	u8 *out, *in;

	if (!start_direct(_i))
		skip_test("no io_uring, or no O_DIRECT in the build folder");
	img->block_size = img->mem_align = 4096; /* as on a disk with such sectors */
	out = aligned_alloc(4096, 64 * KIB);
	in = aligned_alloc(4096, 64 * KIB);
	fill(out, 64 * KIB, 5);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 0, out, 64 * KIB), 0);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 512, out, 1024), 0);
	ck_assert_int_eq(run_op(IMAGE_READ, 0, in, 64 * KIB), 0);
	ck_assert_mem_eq(in + 512, out, 1024);
	ck_assert_mem_eq(in + 1536, out + 1536, 64 * KIB - 1536);
	ck_assert_int_eq(run_op(IMAGE_READ, 1536, in, 512), 0);
	ck_assert_mem_eq(in, out + 1536, 512);
	ck_assert_int_eq(zero(512, 512, false), 0);
	free(out);
	free(in);
	stop();
}

/* ---- errors ---- */

START_TEST(a_truncated_image_fails_whatever_notices_first)
{
	static const enum image_op first[] = {
		IMAGE_READ, IMAGE_WRITE, IMAGE_FLUSH, IMAGE_DISCARD, IMAGE_WRITE_ZEROES,
	};
	u8 buf[8192] = { 1 };
	struct stat st;

	NEED(_i);
	for (u32 k = 0; k < ARRAY_SIZE(first); k++) {
		ck_assert_int_eq(truncate(path, IMAGE_LEN), 0);
		start();
		ck_assert_int_eq(truncate(path, 4096), 0);
		ck_assert_int_eq(run_op(IMAGE_READ, 0, buf, 4096), 0); /* it is there */
		ck_assert_int_eq(run_op(first[k], 0, buf, 8192), -EIO);
		expect_said("has been made shorter");
		said_forget();
		for (u32 op = 0; op < ARRAY_SIZE(first); op++)
			ck_assert_int_eq(run_op(first[op], 0, buf, 512), -EIO);
		ck_assert_int_eq(run_op(IMAGE_WRITE, IMAGE_LEN - 4096, buf, 4096), -EIO);
		expect_silence();
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_int_eq(st.st_size, 4096); /* and nobody made it long again */
		ck_assert_int_eq(truncate(path, IMAGE_LEN), 0);
		ck_assert_int_eq(run_op(IMAGE_READ, 0, buf, 512), -EIO);
		stop();
	}
}

START_TEST(a_full_disk_is_told_and_loses_nothing_acknowledged)
{
	static const char *const dir = UNIT_OUT;
	static u8 buf[64 * KIB], in[64 * KIB];
	char full[64], ballast[64];
	u64 end = 0;
	int err, fd;

	NEED(_i);
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
	options.path = full;
	start();
	for (;; end += sizeof(buf)) {
		fill(buf, sizeof(buf), end);
		err = run_op(IMAGE_WRITE, end, buf, sizeof(buf));
		if (err)
			break;
	}
	ck_assert_int_eq(err, -ENOSPC);
	ck_assert_uint_gt(end, 256 * KIB);
	expect_said("No space left");
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), 0);
	for (u64 off = 0; off < end; off += sizeof(buf)) {
		fill(buf, sizeof(buf), off);
		ck_assert_int_eq(run_op(IMAGE_READ, off, in, sizeof(in)), 0);
		ck_assert_mem_eq(in, buf, sizeof(in));
	}
	ck_assert_int_eq(unlink(ballast), 0);
	ck_assert_int_eq(run_op(IMAGE_WRITE, end, buf, 4096), 0); /* there is room again */
	stop();
	umount2(dir, MNT_DETACH);
}

START_TEST(a_flush_that_failed_once_fails_ever_after)
{
	u8 buf[512] = { 1 };
	struct io io;
	int pipes[2], file;

	NEED(_i);
	start();
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	file = fcntl(queue->sync_fd, F_DUPFD_CLOEXEC, 0);
	ck_assert_int_eq(dup3(pipes[1], queue->sync_fd, O_CLOEXEC), queue->sync_fd); /* can't */
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), -EINVAL);
	expect_said("flushes fail from now on");
	said_forget();
	ck_assert_int_eq(dup3(file, queue->sync_fd, O_CLOEXEC), queue->sync_fd);
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), -EINVAL);
	io_init(&io, IMAGE_WRITE, 0, buf, 512);
	io.r.fua = true;
	run_all(&io, 1);
	ck_assert_int_eq(io.err, -EINVAL);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 0, buf, 512), 0);
	expect_silence();
	stop();
	close(pipes[0]);
	close(pipes[1]);
	close(file);
}

START_TEST(of_many_flushes_at_once_none_hides_an_error)
{
	static struct io io[100];
	int pipes[2];

	NEED(_i);
	start();
	ck_assert_int_ne(queue->sync_fd, img->fd);
	for (u32 k = 0; k < 2; k++) {
		for (u32 i = 0; i < ARRAY_SIZE(io); i++)
			io_init(&io[i], IMAGE_FLUSH, 0, NULL, 0);
		run_all(io, ARRAY_SIZE(io));
		for (u32 i = 0; i < ARRAY_SIZE(io); i++)
			ck_assert_int_eq(io[i].err, k ? -EINVAL : 0);
		ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
		ck_assert_int_eq(dup3(pipes[1], queue->sync_fd, O_CLOEXEC), queue->sync_fd);
		close(pipes[0]);
		close(pipes[1]);
	}
	stop();
	expect_said("flushes fail from now on");
}

START_TEST(a_read_only_image_is_not_written)
{
	u8 buf[512] = { 1 };

	NEED(_i);
	options.readonly = true;
	start();
	ck_assert(image_readonly(img));
	ck_assert_uint_eq(image_discard_granularity(img), 0);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 0, buf, 512), -EROFS);
	ck_assert_int_eq(run_op(IMAGE_DISCARD, 0, NULL, 512), -EROFS);
	ck_assert_int_eq(zero(0, 512, true), -EROFS);
	ck_assert_int_eq(run_op(IMAGE_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(run_op(IMAGE_READ, 0, buf, 512), 0);
	ck_assert_uint_eq(buf[0], 0);
	stop();
}

/* ---- steps, by hand ---- */

static void begin_steps(struct io *io)
{
	queue = calloc(1, sizeof(*queue));
	queue->img = img;
	io->r.queue = queue;
}

START_TEST(what_the_host_leaves_is_asked_for_again)
{
	u8 buf[3 * 512];
	struct iovec iov[3];
	struct image_step s;
	struct io io;

	ck_assert_int_eq(image_open(&img, &options), 0);
	for (u32 i = 0; i < 3; i++)
		iov[i] = (struct iovec){ buf + i * 512, 512 };
	io_init(&io, IMAGE_READ, 4096, NULL, sizeof(buf));
	io.r.iov = iov;
	io.r.niov = 3;
	begin_steps(&io);
	ck_assert(image_next_step(&io.r, &s));
	ck_assert(s.off == 4096 && s.iov == iov && s.niov == 3);
	image_step_done(&io.r, 700); /* to the middle of the second */
	ck_assert(image_next_step(&io.r, &s));
	ck_assert(s.off == 4796 && s.niov == 1);
	ck_assert(s.iov->iov_base == buf + 700 && s.iov->iov_len == 324);
	image_step_done(&io.r, -EINTR); /* again */
	ck_assert(image_next_step(&io.r, &s));
	ck_assert(s.off == 4796);
	image_step_done(&io.r, 324);
	ck_assert(image_next_step(&io.r, &s));
	ck_assert(s.off == 4096 + 1024 && s.iov == iov + 2 && s.niov == 1);
	image_step_done(&io.r, 512);
	ck_assert(!image_next_step(&io.r, &s));
	ck_assert_int_eq(io.r.result, 0);
	free(queue);
	image_close(img);
}

START_TEST(what_the_host_always_puts_off_is_an_error)
{
	static const int err[] = { -EAGAIN, -EINTR };
	struct image_step s;
	u8 buf[512];
	struct io io;

	ck_assert_int_eq(image_open(&img, &options), 0);
	for (u32 k = 0; k < 2; k++) {
		u32 n = 0;

		io_init(&io, IMAGE_READ, 0, buf, 512);
		begin_steps(&io);
		for (; image_next_step(&io.r, &s); n++)
			image_step_done(&io.r, err[k]);
		ck_assert(n > 10 && n < 1000);
		ck_assert_int_eq(io.r.result, -EIO);
		free(queue);
	}
	image_close(img);
}

START_TEST(a_forced_write_is_synced_at_its_end)
{
	struct image_step s;
	u8 buf[512];
	struct io io;

	ck_assert_int_eq(image_open(&img, &options), 0);
	io_init(&io, IMAGE_WRITE, 0, buf, 512);
	io.r.fua = true;
	begin_steps(&io);
	ck_assert(image_next_step(&io.r, &s));
	ck_assert_int_eq(s.op, STEP_WRITE);
	image_step_done(&io.r, 512);
	ck_assert(image_next_step(&io.r, &s));
	ck_assert_int_eq(s.op, STEP_SYNC);
	image_step_done(&io.r, -EIO);
	ck_assert(!image_next_step(&io.r, &s));
	ck_assert_int_eq(io.r.result, -EIO);
	ck_assert_int_eq(img->flush_err, -EIO);
	free(queue);
	image_close(img);
}

START_TEST(a_forced_direct_write_is_one_step)
{
	struct image_step s;
	u8 *buf = aligned_alloc(4096, 4096);
	struct io io;

	ck_assert_int_eq(image_open(&img, &options), 0);
	img->direct = true;
	img->mem_align = 512;
	io_init(&io, IMAGE_WRITE, 0, buf, 4096);
	io.r.fua = true;
	begin_steps(&io);
	ck_assert(image_next_step(&io.r, &s));
	ck_assert_int_eq(s.flags, RWF_DSYNC);
	image_step_done(&io.r, 1000); /* all but whole blocks is done again */
	ck_assert(image_next_step(&io.r, &s));
	ck_assert_uint_eq(s.off, 512);
	image_step_done(&io.r, 3584);
	ck_assert(!image_next_step(&io.r, &s));
	ck_assert_int_eq(io.r.result, 0);

	for (u32 k = 0; k < 2; k++) { /* what fails is a sync, unless it is for want of space */
		io_init(&io, IMAGE_WRITE, 0, buf, 4096);
		io.r.fua = true;
		io.r.queue = queue;
		ck_assert(image_next_step(&io.r, &s));
		image_step_done(&io.r, k ? -EIO : -ENOSPC);
		ck_assert_int_eq(img->flush_err, k ? -EIO : 0);
	}
	img->direct = false;
	free(queue);
	free(buf);
	image_close(img);
}

/* ---- opening ---- */

static void expect_refused(const char *file, int err, const char *said)
{
	struct image_options o = { .path = file };

	ck_assert_int_eq(image_open(&img, &o), err);
	expect_said(said);
	said_forget();
}

START_TEST(a_bad_file_is_refused_and_the_fix_told)
{
	char odd[32];
	int fd = temp_file("12345", 5, odd);

	expect_refused("/no/such/file", -ENOENT, "truncate -s 10G");
	expect_refused("/", -EISDIR, "a directory");
	expect_refused("/dev/null", -EINVAL, "a special file");
	expect_refused(odd, -EINVAL, "truncate -s %512");
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	expect_refused(odd, -EINVAL, "is empty");
	close(fd);
}

static int try_open(struct image **out, bool readonly)
{
	struct image_options o = { .path = path, .readonly = readonly };

	return image_open(out, &o);
}

START_TEST(an_image_has_one_writer_or_many_readers)
{
	struct image *other;

	ck_assert_int_eq(try_open(&img, false), 0);
	ck_assert_int_eq(try_open(&other, false), -EBUSY);
	expect_said("locked by another program");
	said_forget();
	ck_assert_int_eq(try_open(&other, true), -EBUSY);
	expect_said("locked by a program that writes it");
	said_forget();
	image_close(img);

	ck_assert_int_eq(try_open(&img, true), 0);
	ck_assert_int_eq(try_open(&other, true), 0);
	image_close(other);
	ck_assert_int_eq(try_open(&other, false), -EBUSY);
	image_close(img);
}

/* What QEMU does with byte `at` of `fd`. Returns 0 or -EAGAIN. */
static int qemu_holds(int fd, u64 at)
{
	struct flock lk = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lk) < 0 ? -errno : 0;
}

static int qemu_looks(int fd, u64 at)
{
	struct flock lk = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1 };

	ck_assert_int_eq(fcntl(fd, F_OFD_GETLK, &lk), 0);
	return lk.l_type == F_UNLCK ? 0 : -EAGAIN;
}

START_TEST(qemus_locks_are_respected_and_respect_ours)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(try_open(&img, false), 0); /* we write: nobody else may do anything */
	ck_assert_int_eq(qemu_holds(fd, 100), -EAGAIN);
	image_close(img);

	ck_assert_int_eq(try_open(&img, true), 0); /* we read */
	ck_assert_int_eq(qemu_holds(fd, 100), 0);
	ck_assert_int_eq(qemu_holds(fd, 201), 0);
	ck_assert_int_eq(qemu_looks(fd, 101), 0);	/* so may it */
	ck_assert_int_eq(qemu_looks(fd, 201), -EAGAIN); /* but not write */
	image_close(img);

	ck_assert_int_eq(try_open(&img, true), 0); /* it reads: so may we */
	image_close(img);
	ck_assert_int_eq(try_open(&img, false), -EBUSY);
	said_forget();
	ck_assert_int_eq(qemu_holds(fd, 101), 0); /* it writes */
	ck_assert_int_eq(try_open(&img, true), -EBUSY);
	expect_said("locked by");
	close(fd);
}

/* Let no more than `n` further file descriptors be had. */
static void limit_fds(u32 n)
{
	int next = dup(0);
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	close(next);
	files.rlim_cur = next + n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

START_TEST(without_io_uring_there_are_threads)
{
	struct rlimit files;
	u8 buf[512] = { 7 };

	getrlimit(RLIMIT_NOFILE, &files);
	limit_fds(1);
	options.aio = IMAGE_AIO_IO_URING;
	ck_assert_int_eq(image_open(&img, &options), -EMFILE);
	expect_said("use aio=threads");
	options.aio = IMAGE_AIO_AUTO;
	ck_assert_int_eq(image_open(&img, &options), 0);
	setrlimit(RLIMIT_NOFILE, &files);
	ck_assert_int_eq(img->aio, IMAGE_AIO_THREADS);
	image_close(img);

	options.aio = IMAGE_AIO_AUTO;
	start();
	ck_assert_int_eq(img->aio, image_uring_probe() ? IMAGE_AIO_THREADS : IMAGE_AIO_IO_URING);
	ck_assert_int_eq(run_op(IMAGE_WRITE, 0, buf, 512), 0);
	stop();
}

START_TEST(without_a_large_ring_there_are_threads)
{
	struct rlimit files;
	u8 buf[512] = { 7 };

	if (image_uring_probe())
		skip_test("no io_uring");
	getrlimit(RLIMIT_NOFILE, &files);
	for (u32 k = 0; k < 2; k++) {
		options.aio = k ? IMAGE_AIO_AUTO : IMAGE_AIO_IO_URING;
		ck_assert_int_eq(image_open(&img, &options), 0);
		ck_assert_int_eq(loop_create(&l), 0);
		ck_assert_int_eq(loop_start(l, "unit"), 0);
		limit_fds(2); /* an eventfd and the image: what the threads need */
		ck_assert_int_eq(image_queue_create(&queue, img, l, batch_done, &batches),
				 k ? 0 : -EMFILE);
		setrlimit(RLIMIT_NOFILE, &files);
		if (k)
			ck_assert_int_eq(run_op(IMAGE_WRITE, 0, buf, 512), 0);
		stop();
	}
}

Suite *image_suite(void)
{
	Suite *s = suite_create("image");
	TCase *both = tcase_create("both");
	TCase *once = tcase_create("once");

	tcase_set_timeout(both, 30);
	tcase_add_checked_fixture(both, setup, teardown);
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

	tcase_add_checked_fixture(once, setup, teardown);
	tcase_add_test(once, a_bad_file_is_refused_and_the_fix_told);
	tcase_add_test(once, an_image_has_one_writer_or_many_readers);
	tcase_add_test(once, qemus_locks_are_respected_and_respect_ours);
	tcase_add_test(once, without_io_uring_there_are_threads);
	tcase_add_test(once, without_a_large_ring_there_are_threads);
	tcase_add_test(once, what_the_host_leaves_is_asked_for_again);
	tcase_add_test(once, what_the_host_always_puts_off_is_an_error);
	tcase_add_test(once, a_forced_write_is_synced_at_its_end);
	tcase_add_test(once, a_forced_direct_write_is_one_step);
	suite_add_tcase(s, once);
	return s;
}
