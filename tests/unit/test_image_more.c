// SPDX-License-Identifier: MIT
/*
 * test_image_more.c - disk images: opening and locking them, and a request's steps one by one.
 */
#include "tests/unit/image_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ---- */

static void expect_refused(const char *file, int err, const char *said)
{
	struct image_options o = { .path = file };

	ck_assert_int_eq(image_open(&rig.img, &o), err);
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
	struct image_options o = { .path = rig.path, .readonly = readonly };

	return image_open(out, &o);
}

START_TEST(an_image_has_one_writer_or_many_readers)
{
	struct image *other;

	ck_assert_int_eq(try_open(&rig.img, false), 0);
	ck_assert_int_eq(try_open(&other, false), -EBUSY);
	expect_said("locked by another program");
	said_forget();
	ck_assert_int_eq(try_open(&other, true), -EBUSY);
	expect_said("locked by a program that writes it");
	said_forget();
	image_close(rig.img);

	ck_assert_int_eq(try_open(&rig.img, true), 0);
	ck_assert_int_eq(try_open(&other, true), 0);
	image_close(other);
	ck_assert_int_eq(try_open(&other, false), -EBUSY);
	image_close(rig.img);
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
	int fd = open(rig.path, O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(try_open(&rig.img, false), 0); /* we write: nobody else may do anything */
	ck_assert_int_eq(qemu_holds(fd, 100), -EAGAIN);
	image_close(rig.img);

	ck_assert_int_eq(try_open(&rig.img, true), 0); /* we read */
	ck_assert_int_eq(qemu_holds(fd, 100), 0);
	ck_assert_int_eq(qemu_holds(fd, 201), 0);
	ck_assert_int_eq(qemu_looks(fd, 101), 0);	/* so may it */
	ck_assert_int_eq(qemu_looks(fd, 201), -EAGAIN); /* but not write */
	image_close(rig.img);

	ck_assert_int_eq(try_open(&rig.img, true), 0); /* it reads: so may we */
	image_close(rig.img);
	ck_assert_int_eq(try_open(&rig.img, false), -EBUSY);
	said_forget();
	ck_assert_int_eq(qemu_holds(fd, 101), 0); /* it writes */
	ck_assert_int_eq(try_open(&rig.img, true), -EBUSY);
	expect_said("locked by");
	close(fd);
}

static int try_sharing(struct image **out, enum image_lock lock)
{
	struct image_options o = { .path = rig.path, .lock = lock };

	return image_open(out, &o);
}

START_TEST(writers_that_share_an_image_have_one_owner)
{
	struct image *other, *third;

	ck_assert_int_eq(try_sharing(&rig.img, IMAGE_OWNED), 0);
	ck_assert(!image_has_other_writer(rig.img));
	ck_assert_int_eq(try_sharing(&other, IMAGE_OWNED), -EBUSY);
	expect_said("locked by a program that does not share it");
	said_forget();
	ck_assert_int_eq(try_sharing(&other, IMAGE_SHARED), 0);
	ck_assert_int_eq(try_sharing(&third, IMAGE_SHARED), 0);
	image_close(third);
	ck_assert(image_has_other_writer(rig.img) && image_has_other_writer(other));
	ck_assert_int_eq(try_open(&third, false), -EBUSY);
	ck_assert_int_eq(try_open(&third, true), -EBUSY);
	image_close(rig.img);
	ck_assert(!image_has_other_writer(other));
	ck_assert_int_eq(try_open(&third, false), -EBUSY); /* whoever is left keeps them out */
	ck_assert_int_eq(try_open(&third, true), -EBUSY);
	ck_assert_int_eq(try_sharing(&rig.img, IMAGE_OWNED), 0);
	image_close(rig.img);
	image_close(other);

	ck_assert_int_eq(try_open(&rig.img, false), 0);
	ck_assert_int_eq(try_sharing(&other, IMAGE_SHARED), -EBUSY);
	image_close(rig.img);
	ck_assert_int_eq(try_open(&rig.img, true), 0);
	ck_assert_int_eq(try_sharing(&other, IMAGE_SHARED), -EBUSY);
	ck_assert_int_eq(try_sharing(&other, IMAGE_OWNED), -EBUSY);
	image_close(rig.img);
	said_forget();
}

/* An export of qemu-storage-daemon's holds 100 and 101, and looks at 200 and 201. */
START_TEST(qemus_exports_are_let_in_by_who_shares)
{
	static const enum image_lock sharing[] = { IMAGE_SHARED, IMAGE_OWNED };

	for (u32 i = 0; i < ARRAY_SIZE(sharing); i++) {
		int fd = open(rig.path, O_RDWR | O_CLOEXEC);

		ck_assert_int_eq(try_sharing(&rig.img, sharing[i]), 0);
		ck_assert_int_eq(qemu_holds(fd, 100), 0);
		ck_assert_int_eq(qemu_holds(fd, 101), 0);
		ck_assert_int_eq(qemu_looks(fd, 200), 0);
		ck_assert_int_eq(qemu_looks(fd, 201), 0);
		ck_assert_int_eq(qemu_looks(fd, 203), -EAGAIN); /* it may not be resized */
		ck_assert(image_has_other_writer(rig.img));
		image_close(rig.img);

		ck_assert_int_eq(try_sharing(&rig.img, sharing[i]), 0); /* it was there before */
		ck_assert_int_eq(qemu_looks(fd, 101), -EAGAIN);		/* so nobody reads alone */
		image_close(rig.img);
		ck_assert_int_eq(qemu_holds(fd, 201), 0); /* one that does */
		ck_assert_int_eq(try_sharing(&rig.img, sharing[i]), -EBUSY);
		expect_said("locked by a program that does not share it");
		said_forget();
		close(fd);
	}
}

/* `fd`, and what is open as `readonly` and `direct` say. Returns as image_open(), which has `fd` then. */
static int try_fd(struct image **out, int fd, bool readonly, bool direct)
{
	struct image_options o = { .path = "fd=9",
				   .readonly = readonly,
				   .direct = direct,
				   .opened = true,
				   .fd = { fd, -1 } };

	return image_open(out, &o);
}

/* As a child of ours has it: it has the lock, too, and for as long as it lives. */
START_TEST(an_open_image_is_handed_on_with_its_lock)
{
	struct image *mine, *other;
	int fd[2];

	ck_assert_int_eq(try_open(&mine, false), 0);
	image_fds(mine, fd);
	ck_assert_int_eq(fd[1], -1);
	ck_assert_int_eq(try_fd(&rig.img, dup(fd[0]), false, false), 0);
	ck_assert_uint_eq(image_size(rig.img), IMAGE_LEN);
	expect_silence();
	image_close(mine);
	ck_assert_int_eq(try_open(&other, true), -EBUSY);
	said_forget();
	image_close(rig.img);
	ck_assert_int_eq(try_open(&other, false), 0);
	image_close(other);
}

START_TEST(an_fd_that_is_no_such_image_is_refused)
{
	ck_assert_int_eq(try_fd(&rig.img, open("/dev/null", O_RDWR), false, false), -EINVAL);
	expect_said("fd=9: is no file or block device");
	said_forget();
	ck_assert_int_eq(try_fd(&rig.img, open(rig.path, O_RDONLY), false, false), -EACCES);
	expect_said("is not open for writing; give readonly=on");
	said_forget();
	ck_assert_int_eq(try_fd(&rig.img, open(rig.path, O_WRONLY), true, false), -EACCES);
	expect_said("is not open for reading");
	said_forget();
	ck_assert_int_eq(try_fd(&rig.img, open(rig.path, O_RDWR), false, true), -EINVAL);
	expect_said("with direct=on give fd=N:M");
	said_forget();
	ck_assert_int_eq(try_fd(&rig.img, 1000, false, false), -EBADF);
	expect_said("fd=9: Bad file descriptor");
}

START_TEST(without_io_uring_there_are_threads)
{
	u8 buf[512] = { 7 };

	limit_fds(1);
	rig.options.aio = IMAGE_AIO_IO_URING;
	ck_assert_int_eq(image_open(&rig.img, &rig.options), -EMFILE);
	expect_said("use aio=threads");
	rig.options.aio = IMAGE_AIO_AUTO;
	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
	limit_fds(0);
	ck_assert_int_eq(rig.img->aio, IMAGE_AIO_THREADS);
	image_close(rig.img);

	rig.options.aio = IMAGE_AIO_AUTO;
	image_rig_start();
	ck_assert_int_eq(rig.img->aio,
			 image_uring_probe() ? IMAGE_AIO_THREADS : IMAGE_AIO_IO_URING);
	ck_assert_int_eq(io_run(IMAGE_WRITE, 0, buf, 512), 0);
	image_rig_stop();
}

START_TEST(without_a_large_ring_there_are_threads)
{
	u8 buf[512] = { 7 };

	if (image_uring_probe())
		skip_test("no io_uring");
	for (u32 k = 0; k < 2; k++) {
		rig.options.aio = k ? IMAGE_AIO_AUTO : IMAGE_AIO_IO_URING;
		ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
		ck_assert_int_eq(loop_create(&rig.loop), 0);
		ck_assert_int_eq(loop_start(rig.loop, "unit"), 0);
		limit_fds(2); /* an eventfd and the image: what the threads need */
		ck_assert_int_eq(image_rig_queue(), k ? 0 : -EMFILE);
		limit_fds(0);
		if (k)
			ck_assert_int_eq(io_run(IMAGE_WRITE, 0, buf, 512), 0);
		image_rig_stop();
	}
}

/* ---- syncs ---- */

#define WRITES	64
#define FLUSHES 16

static u8 synced[WRITES][4096];

/* All at once; each comes back once, with `err`. */
static void run_forced(int err)
{
	static struct io io[WRITES + FLUSHES];
	u32 n = 0;

	for (u32 i = 0; i < ARRAY_SIZE(io); i++) {
		if (i % 5 == 4) {
			io_init(&io[i], IMAGE_FLUSH, 0, NULL, 0);
			continue;
		}
		io_init(&io[i], IMAGE_WRITE, n * sizeof(synced[0]), synced[n], sizeof(synced[0]));
		io[i].r.fua = true;
		memset(synced[n], n + 1, sizeof(synced[0]));
		n++;
	}
	ck_assert_uint_eq(n, WRITES);
	io_run_all(io, ARRAY_SIZE(io));
	for (u32 i = 0; i < ARRAY_SIZE(io); i++)
		ck_assert_int_eq(io[i].err, err);
}

/* They wait for syncs together, and none is done without one. `_i` as image_rig_engine() has it. */
START_TEST(of_many_forced_writes_and_flushes_at_once_each_is_synced)
{
	static u8 in[sizeof(synced)];
	int fd, pipes[2];

	NEED_ENGINE(_i);
	image_rig_start();
	run_forced(0);
	expect_silence();
	fd = open(rig.path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(pread(fd, in, sizeof(in), 0), sizeof(in));
	ck_assert_mem_eq(in, synced, sizeof(synced));
	close(fd);

	ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
	ck_assert_int_eq(dup3(pipes[1], rig.queue->sync_fd, O_CLOEXEC),
			 rig.queue->sync_fd); /* can't */
	run_forced(-EINVAL);
	expect_said("flushes fail from now on");
	image_rig_stop();
	close(pipes[0]);
	close(pipes[1]);
}

/* ---- steps, by hand ---- */

static void begin_steps(struct io *io)
{
	rig.queue = calloc(1, sizeof(*rig.queue));
	rig.queue->img = rig.img;
	io->r.queue = rig.queue;
}

START_TEST(what_the_host_leaves_is_asked_for_again)
{
	u8 buf[3 * 512];
	struct iovec iov[3];
	struct image_step s;
	struct io io;

	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
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
	free(rig.queue);
	image_close(rig.img);
}

START_TEST(what_the_host_always_puts_off_is_an_error)
{
	static const int err[] = { -EAGAIN, -EINTR };
	struct image_step s;
	u8 buf[512];
	struct io io;

	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
	for (u32 k = 0; k < 2; k++) {
		u32 n = 0;

		io_init(&io, IMAGE_READ, 0, buf, 512);
		begin_steps(&io);
		for (; image_next_step(&io.r, &s); n++)
			image_step_done(&io.r, err[k]);
		ck_assert(n > 10 && n < 1000);
		ck_assert_int_eq(io.r.result, -EIO);
		free(rig.queue);
	}
	image_close(rig.img);
}

START_TEST(a_forced_write_is_synced_at_its_end)
{
	struct image_step s;
	u8 buf[512];
	struct io io;

	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
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
	ck_assert_int_eq(rig.img->flush_err, -EIO);
	free(rig.queue);
	image_close(rig.img);
}

START_TEST(a_forced_direct_write_is_one_step)
{
	struct image_step s;
	u8 *buf = aligned_alloc(4096, 4096);
	struct io io;

	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
	rig.img->direct = true;
	rig.img->mem_align = 512;
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
		io.r.queue = rig.queue;
		ck_assert(image_next_step(&io.r, &s));
		image_step_done(&io.r, k ? -EIO : -ENOSPC);
		ck_assert_int_eq(rig.img->flush_err, k ? -EIO : 0);
	}
	rig.img->direct = false;
	free(rig.queue);
	free(buf);
	image_close(rig.img);
}

Suite *image_more_suite(void)
{
	Suite *s = suite_create("image_more");
	TCase *t = tcase_create("once");

	tcase_add_checked_fixture(t, image_rig_setup, image_rig_teardown);
	tcase_add_test(t, a_bad_file_is_refused_and_the_fix_told);
	tcase_add_test(t, an_image_has_one_writer_or_many_readers);
	tcase_add_test(t, qemus_locks_are_respected_and_respect_ours);
	tcase_add_test(t, writers_that_share_an_image_have_one_owner);
	tcase_add_test(t, qemus_exports_are_let_in_by_who_shares);
	tcase_add_test(t, an_open_image_is_handed_on_with_its_lock);
	tcase_add_test(t, an_fd_that_is_no_such_image_is_refused);
	tcase_add_test(t, without_io_uring_there_are_threads);
	tcase_add_test(t, without_a_large_ring_there_are_threads);
	tcase_add_loop_test(t, of_many_forced_writes_and_flushes_at_once_each_is_synced, 0, 2);
	tcase_add_test(t, what_the_host_leaves_is_asked_for_again);
	tcase_add_test(t, what_the_host_always_puts_off_is_an_error);
	tcase_add_test(t, a_forced_write_is_synced_at_its_end);
	tcase_add_test(t, a_forced_direct_write_is_one_step);
	suite_add_tcase(s, t);
	return s;
}
