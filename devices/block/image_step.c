// SPDX-License-Identifier: MIT
/*
 * image_step.c - what a request asks of the host, one call after the other.
 *
 *	read, write   ──> rest of it ──> rest of it ──┐
 *	discard       ──────────────────────────────>─┤
 *	write zeroes  ──> punch a hole                │
 *	                  or zero the range           ├──(fua)──> fdatasync ──> done
 *	                  or write zeroes, in pieces ─┤
 *	flush         ────────────────────────────────┘
 *
 * How it works: r->progress says how much of the range is done, the REQ_ flags which turns were
 * taken. A read or write that the host does only in part goes on behind the part. With O_DIRECT,
 * buffers that are not aligned are bounced piece by piece, and a range that is not goes through the
 * page cache: it then shares no block with an aligned one.
 *
 * Forced unit access: with O_DIRECT the write itself is made durable (RWF_DSYNC), which a disk can do
 * for these blocks alone. Through the page cache, write and sync are two steps, so that a full disk is
 * told from a sync that failed.
 *
 * A failed sync stays failed. The kernel reports lost pages once and then forgets them: a second
 * fdatasync() would succeed although data is gone. A second at the same time, too: see sync_fd.
 *
 * A file that somebody on the host makes shorter has lost data, and a write behind its new end would
 * make it long again, with zeroes where the data was. So its size is looked at before every step that
 * changes the file or says that it is safe, and a read notices by itself. It costs a fraction of a
 * microsecond, much less than the step. What remains is a truncation between the look and the step:
 * the next look sees it, unless the write ended where the image ends. Once seen, all fails.
 *
 * Threads: a request is in one thread's hands at a time; of the image, only the atomics change.
 */
#include "devices/block/image_internal.h"

#include "minivmm/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* How often the host may put a request off before we call it an error: the loop would spin. */
#define RETRIES_MAX 64

/* image_req.flags */
enum {
	REQ_FINISHED = 1,  /* result is final */
	REQ_SYNC = 2,	   /* the range is done, now fdatasync */
	REQ_BOUNCED = 4,   /* the step in hand is in r->bounce */
	REQ_PUNCHING = 8,  /* write zeroes: the step in hand punches a hole */
	REQ_BY_WRITES = 16 /* write zeroes: fallocate can't do it */
};

static struct image *image_of(const struct image_req *r)
{
	return r->queue->img;
}

static void finish(struct image_req *r, int err)
{
	static const char *const verb[] = {
		[IMAGE_READ] = "read",
		[IMAGE_WRITE] = "write",
		[IMAGE_FLUSH] = "flush",
		[IMAGE_DISCARD] = "discard",
		[IMAGE_WRITE_ZEROES] = "write zeroes",
	};
	struct image *img = image_of(r);

	r->result = err;
	r->flags |= REQ_FINISHED;
	free(r->bounce);
	r->bounce = NULL;
	/* Once, and not of what follows from an error that has a message of its own. */
	if (err && !img->cut && !img->flush_err && !atomic_exchange(&img->told, true))
		log_err("%s: can't %s at byte %llu: %s", img->path, verb[r->op],
			(unsigned long long)(r->off + r->progress), strerror(-err));
}

/* The file turned out to be shorter than it was. */
static void cut(struct image *img)
{
	if (atomic_exchange(&img->cut, true))
		return;
	log_err("%s: has been made shorter while in use: what was behind its end is lost, and all "
		"requests fail from now on",
		img->path);
}

/* Is it shorter? A file that is not on this host (NFS, FUSE) is not asked for, or the loop would wait
 * for the network: we see what this host knows. What can't be told here, the step itself will tell. */
static bool is_cut(struct image *img)
{
	struct statx sx;

	if (!img->cut && !img->blkdev &&
	    statx(img->fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE | STATX_TYPE, &sx) ==
		    0 &&
	    S_ISREG(sx.stx_mode) && sx.stx_size < img->size)
		cut(img);
	return img->cut;
}

/* What should be on stable storage is not, and nobody knows what else is not. */
static void sync_failed(struct image *img, int err)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&img->flush_err, &none, err))
		return;
	log_err("%s: can't be written back (%s): what the guest wrote may be lost, and its flushes "
		"fail from now on",
		img->path, strerror(-err));
}

/* The range is done. */
static void range_done(struct image_req *r, bool synced)
{
	if (r->fua && !synced)
		r->flags |= REQ_SYNC;
	else
		finish(r, 0);
}

/* Are buffers and lengths fit for O_DIRECT? */
static bool aligned(const struct image *img, const struct iovec *iov, u32 niov)
{
	for (u32 i = 0; i < niov; i++) {
		if ((uintptr_t)iov[i].iov_base & (img->mem_align - 1) ||
		    iov[i].iov_len & (img->block_size - 1))
			return false;
	}
	return true;
}

/* Copy `len` bytes between r->bounce and the request's buffers from r->progress on. */
static void bounce_copy(struct image_req *r, u64 len)
{
	const struct iovec *v = r->iov;
	u64 skip = r->progress;
	u8 *p = r->bounce;

	for (; len; v++) {
		u64 n = v->iov_len;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		n = n - skip < len ? n - skip : len;
		if (r->op == IMAGE_READ)
			memcpy((u8 *)v->iov_base + skip, p, n);
		else
			memcpy(p, (u8 *)v->iov_base + skip, n);
		skip = 0;
		p += n;
		len -= n;
	}
}

static bool bounce(struct image_req *r, struct image_step *s)
{
	u64 len = r->len - r->progress;

	if (len > IMAGE_BOUNCE_MAX)
		len = IMAGE_BOUNCE_MAX;
	if (!r->bounce)
		r->bounce = aligned_alloc(IMAGE_ALIGN_MAX, ALIGN_UP(len, IMAGE_ALIGN_MAX));
	if (!r->bounce) {
		finish(r, -ENOMEM);
		return false;
	}
	if (r->op == IMAGE_WRITE)
		bounce_copy(r, len);
	r->flags |= REQ_BOUNCED;
	r->part = (struct iovec){ r->bounce, len };
	s->iov = &r->part;
	s->niov = 1;
	return true;
}

/* Is the range one that O_DIRECT can't access? */
static bool off_grid(const struct image_req *r)
{
	return (r->off | r->len) & (image_of(r)->block_size - 1);
}

static bool next_read_write(struct image_req *r, struct image_step *s)
{
	const struct image *img = image_of(r);
	u64 skip = r->progress;
	u32 i = 0;

	while (skip && skip >= r->iov[i].iov_len)
		skip -= r->iov[i++].iov_len;
	*s = (struct image_step){
		.op = r->op == IMAGE_READ ? STEP_READ : STEP_WRITE,
		.fd = img->fd,
		.off = r->off + r->progress,
		.iov = r->iov + i,
		.niov = r->niov - i < IOV_MAX ? r->niov - i : IOV_MAX,
	};
	if (skip) { /* what is left of a segment goes alone */
		r->part =
			(struct iovec){ (u8 *)r->iov[i].iov_base + skip, r->iov[i].iov_len - skip };
		s->iov = &r->part;
		s->niov = 1;
	}
	if (!img->direct)
		return true;
	if (off_grid(r)) {
		s->fd = img->fd_cached;
		return true;
	}
	if (r->op == IMAGE_WRITE && r->fua)
		s->flags = RWF_DSYNC;
	return aligned(img, s->iov, s->niov) || bounce(r, s);
}

static void read_write_done(struct image_req *r, int res)
{
	struct image *img = image_of(r);
	bool on_grid = img->direct && !off_grid(r);

	if (res < 0) {
		/* A durable write includes a sync; not to blame are a full disk, and a request that the
		 * host does not take. */
		if (r->op == IMAGE_WRITE && r->fua && on_grid && res != -ENOSPC && res != -EINVAL &&
		    res != -EOPNOTSUPP)
			sync_failed(img, res);
		finish(r, res);
		return;
	}
	if (on_grid)
		res = ALIGN_DOWN(res, img->block_size);
	if (res == 0) {
		if (r->op == IMAGE_READ)
			cut(img);
		finish(r, -EIO);
		return;
	}
	if (r->flags & REQ_BOUNCED && r->op == IMAGE_READ)
		bounce_copy(r, res);
	r->flags &= ~REQ_BOUNCED;
	r->progress += res;
	assert(r->progress <= r->len);
	if (r->progress == r->len)
		range_done(r, on_grid);
}

static void next_discard(struct image_req *r, struct image_step *s)
{
	const struct image *img = image_of(r);

	*s = (struct image_step){
		.op = img->blkdev ? STEP_BLKDISCARD : STEP_FALLOCATE,
		.fd = img->fd,
		.flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		.off = r->off,
		.len = r->len,
	};
}

/* A discard is a hint: one that can't be taken is no error. (A block device says -EINVAL to a range
 * that is not in its units.) */
static void discard_done(struct image_req *r, int res)
{
	if (res == -EOPNOTSUPP || res == -ENOSYS || (res == -EINVAL && image_of(r)->blkdev))
		res = 0;
	if (res)
		finish(r, res);
	else
		range_done(r, false);
}

static void next_zeroes(struct image_req *r, struct image_step *s)
{
	const struct image *img = image_of(r);
	u64 left = r->len - r->progress;

	*s = (struct image_step){ .off = r->off + r->progress, .len = left };
	s->fd = off_grid(r) ? img->fd_cached : img->fd;
	r->flags &= ~REQ_PUNCHING;
	if (!(r->flags & REQ_BY_WRITES) && r->unmap && !img->no_punch) {
		r->flags |= REQ_PUNCHING;
		s->op = STEP_FALLOCATE;
		s->flags = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	} else if (!(r->flags & REQ_BY_WRITES) && !img->no_zero_range) {
		s->op = STEP_FALLOCATE;
		s->flags = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	} else {
		u64 n = left / IMAGE_ZEROES_LEN;

		r->flags |= REQ_BY_WRITES;
		s->op = STEP_WRITE;
		s->iov = img->zeroes_iov;
		s->niov = n < IMAGE_ZEROES_IOV ? n : IMAGE_ZEROES_IOV;
		if (!n) {
			r->part = (struct iovec){ img->zeroes, left };
			s->iov = &r->part;
			s->niov = 1;
		}
	}
}

static void zeroes_done(struct image_req *r, int res)
{
	struct image *img = image_of(r);

	if (!(r->flags & REQ_BY_WRITES)) {
		if (res == -EINVAL && img->blkdev) /* not in the device's units */
			r->flags |= REQ_BY_WRITES;
		else if (res == -EOPNOTSUPP && r->flags & REQ_PUNCHING)
			img->no_punch = true;
		else if (res == -EOPNOTSUPP)
			img->no_zero_range = true;
		else if (res)
			finish(r, res);
		else
			range_done(r, false);
		return;
	}
	if (res > 0 && img->direct && !off_grid(r))
		res = ALIGN_DOWN(res, img->block_size);
	if (res <= 0) {
		finish(r, res ? res : -EIO);
		return;
	}
	r->progress += res;
	if (r->progress == r->len)
		range_done(r, false);
}

static bool next_sync(struct image_req *r, struct image_step *s)
{
	struct image *img = image_of(r);
	int err = img->flush_err;

	if (err || img->readonly) {
		finish(r, err);
		return false;
	}
	*s = (struct image_step){ .op = STEP_SYNC, .fd = r->queue->sync_fd };
	return true;
}

static void sync_done(struct image_req *r, int res)
{
	if (res < 0)
		sync_failed(image_of(r), res);
	finish(r, image_of(r)->flush_err);
}

bool image_next_step(struct image_req *r, struct image_step *s)
{
	if (r->flags & REQ_FINISHED)
		return false;
	if (r->op == IMAGE_READ ? image_of(r)->cut : is_cut(image_of(r))) {
		finish(r, -EIO);
		return false;
	}
	if (r->flags & REQ_SYNC || r->op == IMAGE_FLUSH)
		return next_sync(r, s);
	if (r->op != IMAGE_READ && image_of(r)->readonly) {
		finish(r, -EROFS);
		return false;
	}
	if (r->progress == r->len) { /* nothing was asked for */
		finish(r, 0);
		return false;
	}
	switch (r->op) {
	case IMAGE_READ:
	case IMAGE_WRITE:
		return next_read_write(r, s);
	case IMAGE_DISCARD:
		next_discard(r, s);
		break;
	case IMAGE_WRITE_ZEROES:
		next_zeroes(r, s);
		break;
	case IMAGE_FLUSH:
		break;
	}
	return true;
}

void image_step_done(struct image_req *r, int res)
{
	if (res == -EINTR || res == -EAGAIN) {
		if (++r->retries <= RETRIES_MAX)
			return; /* the same again */
		res = -EIO;
	}
	if (r->flags & REQ_SYNC || r->op == IMAGE_FLUSH)
		sync_done(r, res);
	else if (r->op == IMAGE_DISCARD)
		discard_done(r, res);
	else if (r->op == IMAGE_WRITE_ZEROES)
		zeroes_done(r, res);
	else
		read_write_done(r, res);
}
