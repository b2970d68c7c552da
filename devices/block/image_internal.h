/* SPDX-License-Identifier: MIT */
/*
 * image_internal.h - what the parts of a disk image share.
 *
 *	image.c		opens, locks and measures the file
 *	image_step.c	turns a request into steps: one host call each
 *	image_uring.c	runs steps on an io_uring
 *	image_threads.c	runs steps on a pool of threads
 *
 * A request may need more than one step: the host read less than asked, the file system can't zero a
 * range so that zeroes must be written, a write has to reach the disk. Both engines therefore do
 * nothing but
 *
 *	while (image_next_step(r, &step))
 *		image_step_done(r, run(&step));
 *
 * each in its own way, and at the end r->result is the request's.
 */
#ifndef DEVICES_BLOCK_IMAGE_INTERNAL_H
#define DEVICES_BLOCK_IMAGE_INTERNAL_H

#include "minivmm/image.h"

#include <stdatomic.h>

/* Where the zeroes come from that a write-zeroes writes if nothing better is there. */
#define IMAGE_ZEROES_LEN (64 * KIB)
#define IMAGE_ZEROES_IOV 16

/* The most that is bounced at a time: what a guest can make us allocate for a request. */
#define IMAGE_BOUNCE_MAX MIB

/* Strict enough for any O_DIRECT. */
#define IMAGE_ALIGN_MAX 4096

struct image {
	/* Fixed after image_open(). */
	char *path;
	int fd;	       /* with O_DIRECT if `direct` */
	int fd_cached; /* through the page cache; `fd` itself if not direct */
	u64 size;
	bool readonly, direct, blkdev;
	enum image_aio aio; /* IMAGE_AIO_IO_URING or _THREADS */
	bool any_aio;	    /* if it can't be had, the other will do */
	u32 block_size;	    /* of offsets and lengths */
	u32 mem_align;	    /* of buffers, if direct */
	u32 discard_granularity;
	void *zeroes; /* IMAGE_ZEROES_LEN, mapped read-only */
	struct iovec zeroes_iov[IMAGE_ZEROES_IOV];

	/* Opened in advance, for queues to come: whoever makes those. */
	int *spare;
	u32 nspare;

	/* Any thread. */
	atomic_int flush_err; /* -errno of the first flush that failed: all later ones fail, too */
	atomic_bool no_punch, no_zero_range; /* the file system can't */
	atomic_bool told;		     /* an error has been logged */
	atomic_bool cut; /* the file has been made shorter: nothing of it is to be trusted */
};

enum step_op { STEP_READ, STEP_WRITE, STEP_SYNC, STEP_FALLOCATE, STEP_BLKDISCARD };

/* One host call. `iov` stays as it is until image_step_done(). */
struct image_step {
	enum step_op op;
	int fd;
	int flags; /* RWF_..., or FALLOC_FL_... */
	u64 off, len;
	const struct iovec *iov;
	u32 niov;
};

/* What is to be done next for `r`. False: nothing, r->result is final. Any thread, one at a time a
 * request. */
bool image_next_step(struct image_req *r, struct image_step *s);

/* The step had this result: bytes, or 0, or -errno. */
void image_step_done(struct image_req *r, int res);

struct image_queue_ops {
	void (*submit)(struct image_queue *q, struct image_req *r);
	void (*kick)(struct image_queue *q);
	void (*drain)(struct image_queue *q);
	void (*destroy)(struct image_queue *q);
};

/* Embedded in an engine's queue. */
struct image_queue {
	const struct image_queue_ops *ops;
	struct image *img;
	struct loop *loop;
	void (*batch_done)(void *arg);
	void *arg;
	/*
	 * What is synced: the image, opened once more, or -1 if it is not written. The kernel tells a
	 * writeback error to each open file once. So each engine has its own, and only one sync at a
	 * time: of two on one file, one would be told and the other would succeed.
	 */
	int sync_fd;
};

/* Open q->sync_fd. Returns 0 or -errno. */
int image_sync_open(struct image_queue *q);

/* Requests in the order in which they came. */
struct image_list {
	struct image_req *first, *last;
};

static inline void image_list_add(struct image_list *l, struct image_req *r)
{
	r->next = NULL;
	if (l->first)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

static inline struct image_req *image_list_take(struct image_list *l)
{
	struct image_req *r = l->first;

	if (r)
		l->first = r->next;
	return r;
}

/* Both fill in the ops; image_queue_create() does the rest. */
int image_uring_create(struct image_queue **out, const struct image_queue *common);
int image_threads_create(struct image_queue **out, const struct image_queue *common);

/* Is there an io_uring to be had? 0 or -errno. */
int image_uring_probe(void);

#endif
