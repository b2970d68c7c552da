// SPDX-License-Identifier: MIT
/*
 * image_rig.c - see image_rig.h.
 */
#include "tests/unit/image_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct image_rig rig;

/* ---- requests ---- */

static void io_done(struct image_req *r, int err)
{
	struct io *io = container_of(r, struct io, r);

	io->dones++;
	io->err = err;
	if (--rig.undone == 0)
		sem_post(&rig.all_done);
}

struct batch {
	struct io *io;
	u32 n;
	bool drain;
};

static void run_batch(void *arg)
{
	struct batch *b = arg;

	rig.undone = b->n;
	for (u32 i = 0; i < b->n; i++) {
		b->io[i].r.done = io_done;
		image_submit(rig.queue, &b->io[i].r);
		ck_assert_uint_eq(b->io[i].dones, 0); /* never within image_submit() */
	}
	if (b->drain) {
		image_drain(rig.queue);
		ck_assert_uint_eq(rig.undone, 0);
	} else {
		image_kick(rig.queue);
	}
}

void io_begin_all(struct io *io, u32 n)
{
	struct batch b = { .io = io, .n = n };

	loop_call(rig.loop, run_batch, &b);
}

void io_drain_all(struct io *io, u32 n)
{
	struct batch b = { .io = io, .n = n, .drain = true };

	loop_call(rig.loop, run_batch, &b);
	io_wait_all(io, n);
}

void io_wait_all(struct io *io, u32 n)
{
	sem_wait(&rig.all_done);
	for (u32 i = 0; i < n; i++)
		ck_assert_uint_eq(io[i].dones, 1);
}

void io_run_all(struct io *io, u32 n)
{
	io_begin_all(io, n);
	io_wait_all(io, n);
}

void io_init(struct io *io, enum image_op op, u64 off, void *buf, u64 len)
{
	*io = (struct io){ .iov = { buf, len }, .r = { .op = op, .off = off, .len = len } };
	io->r.iov = &io->iov;
	io->r.niov = 1;
}

int io_run(enum image_op op, u64 off, void *buf, u64 len)
{
	struct io io;

	io_init(&io, op, off, buf, len);
	io_run_all(&io, 1);
	return io.err;
}

int io_zero(u64 off, u64 len, bool unmap)
{
	struct io io;

	io_init(&io, IMAGE_WRITE_ZEROES, off, NULL, len);
	io.r.unmap = unmap;
	io_run_all(&io, 1);
	return io.err;
}

/* ---- image and queue ---- */

static void batch_done(void *arg)
{
	ck_assert_ptr_eq(arg, &rig.batches);
	rig.batches++;
}

int image_rig_queue(void)
{
	return image_queue_create(&rig.queue, rig.img, rig.loop, batch_done, &rig.batches);
}

void image_rig_start(void)
{
	ck_assert_int_eq(image_open(&rig.img, &rig.options), 0);
	ck_assert_int_eq(loop_create(&rig.loop), 0);
	ck_assert_int_eq(loop_start(rig.loop, "unit"), 0);
	ck_assert_int_eq(image_rig_queue(), 0);
}

static void destroy_queue(void *arg)
{
	(void)arg;
	image_queue_destroy(rig.queue);
}

void image_rig_stop(void)
{
	loop_call(rig.loop, destroy_queue, NULL);
	loop_stop(rig.loop);
	loop_destroy(rig.loop);
	image_close(rig.img);
	rig.img = NULL;
	rig.queue = NULL;
	rig.loop = NULL;
}

static void make_file(u64 len)
{
	int fd;

	strcpy(rig.path, UNIT_OUT "/image-XXXXXX");
	fd = mkstemp(rig.path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, len), 0);
	close(fd);
}

void image_rig_setup(void)
{
	rig.fds = open_fds();
	sem_init(&rig.all_done, 0, 0);
	make_file(IMAGE_LEN);
	rig.options.path = rig.path;
}

void image_rig_teardown(void)
{
	unlink(rig.path);
	sem_destroy(&rig.all_done);
	ck_assert_uint_eq(open_fds(), rig.fds);
}

bool image_rig_engine(u32 i)
{
	rig.options.aio = i ? IMAGE_AIO_THREADS : IMAGE_AIO_IO_URING;
	return i || image_uring_probe() == 0;
}
