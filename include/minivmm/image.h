/* SPDX-License-Identifier: MIT */
/*
 * image.h - a disk image: what stands behind a virtio-blk device. A file or a block device, read and
 * written asynchronously.
 *
 *	struct image          the open file: size, geometry, lock; shared by all queues
 *	struct image_queue    one event loop's way to it: an io_uring, or a pool of threads
 *	struct image_req      one request in flight, owned by the caller until done() has run
 *
 * An image is locked while it is open, for one writer, writers that agree to share it, or many readers, with
 * the open file description lock that QEMU's tools respect too. Whoever has been given the open file shares the
 * lock.
 *
 * Data that is lost stays lost: once the file has been made shorter, all requests fail, and once a
 * flush has failed, all flushes.
 *
 * Threads: an image_queue belongs to one loop's thread. An image may be used by all its queues.
 */
#ifndef MINIVMM_IMAGE_H
#define MINIVMM_IMAGE_H

#include "minivmm/base.h"

#include <sys/uio.h>

struct image;
struct image_queue;
struct loop;

enum image_aio { IMAGE_AIO_AUTO, IMAGE_AIO_IO_URING, IMAGE_AIO_THREADS };

/* Of an image that is written: who else may write it at the same time? Readers share it in any case. */
enum image_lock {
	IMAGE_ALONE,  /* nobody */
	IMAGE_SHARED, /* whoever shares it, too: minivmm with these, qemu-storage-daemon's exports */
	IMAGE_OWNED,  /* likewise, but nobody else with IMAGE_OWNED */
};

struct image_options {
	const char *path;
	bool readonly;
	enum image_lock lock;
	bool direct; /* O_DIRECT: past the host's page cache */
	enum image_aio aio;
	/* It is open already: fd[0] as `readonly` and `direct` say, fd[1] likewise but without O_DIRECT, -1 if not
	 * direct. They are the image's from now on, also on error; `path` is for messages. */
	bool opened;
	int fd[2];
};

enum image_op { IMAGE_READ, IMAGE_WRITE, IMAGE_FLUSH, IMAGE_DISCARD, IMAGE_WRITE_ZEROES };

struct image_req {
	/* Set by the caller. */
	enum image_op op;
	u64 off, len;		 /* bytes; inside the image. len is the sum of iov */
	const struct iovec *iov; /* read, write */
	u32 niov;
	bool fua;   /* write, discard, zeroes: on stable storage before done() */
	bool unmap; /* write zeroes: may deallocate */
	/*
	 * It is done, on the loop's thread: `err` is 0 or -errno. Less than all read or written is an
	 * error too (-EIO; -ENOSPC when the host's disk is full). The request is the caller's again.
	 */
	void (*done)(struct image_req *r, int err);

	/* The queue's own, from image_submit() to done(). */
	struct image_queue *queue;
	struct image_req *next;
	u64 progress;	   /* bytes done */
	void *bounce;	   /* aligned stand-in for the buffers, or NULL */
	struct iovec part; /* what is left of one buffer, or what is in `bounce` */
	int result;
	u32 flags;
	u32 retries;
};

/*
 * Open and lock. Returns 0 and the image, or -errno after one line that says what is wrong with the
 * file and how to mend it (missing, a directory, no permission, locked by another, not a multiple of
 * 512 bytes, io_uring asked for and not there).
 */
int image_open(struct image **out, const struct image_options *o);
/* All its queues are gone. NULL is allowed. */
void image_close(struct image *img);

u64 image_size(const struct image *img); /* bytes, when it was opened */
bool image_readonly(const struct image *img);
/* The open file, for another process: what image_options.fd is. They stay the image's. */
void image_fds(const struct image *img, int fd[2]);
/* Does somebody else hold the image's lock, sharing it, to write? */
bool image_has_other_writer(const struct image *img);
/* Has data been lost, so that all flushes or all requests fail? Nobody else knows it. */
bool image_is_lost(const struct image *img);
u32 image_block_size(const struct image *img); /* the unit it can be accessed in: 512 to 4096 */
/* The unit of discard and write-zeroes in bytes; 0: the file system can't discard. */
u32 image_discard_granularity(const struct image *img);

/* Open what so many queues to come need beside, while we may: for who gives up privileges before there are
 * any. Returns 0 or -errno. */
int image_reserve(struct image *img, u32 nqueues);

/* Returns 0 or -errno. `batch_done` runs on the loop's thread after each batch of done()s: the moment
 * to publish. May be NULL. */
int image_queue_create(struct image_queue **out, struct image *img, struct loop *loop,
		       void (*batch_done)(void *arg), void *arg);
/* Nothing in flight. NULL is allowed. Loop's thread, or the loop does not run. */
void image_queue_destroy(struct image_queue *q);

/* Start a request; never waits, and never calls done() before it returns. */
void image_submit(struct image_queue *q, struct image_req *r);
/*
 * Hand all submitted requests to the kernel: once a batch. What is done already, as when the host has
 * it in memory, gets its done() here, with batch_done() behind; neither is called recursively.
 */
void image_kick(struct image_queue *q);
/* Wait until every request is done, and call their done()s and batch_done(). */
void image_drain(struct image_queue *q);

#endif
