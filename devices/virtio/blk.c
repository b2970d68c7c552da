// SPDX-License-Identifier: MIT
/*
 * blk.c - the block device (VIRTIO 1.2, 5.2): a disk whose sectors are those of an image.
 *
 * A request is one chain: a header (type, first sector), data, and a status byte that the device
 * writes last.
 *
 *	device-readable                            device-writable
 *	| header 16 | data: write, ranges ... |    | data: read, id ...  | status 1 |
 *
 * How it works: blk_serve() takes every chain there is, turns each into a request of the image and
 * hands all to the host with one image_kick(). When the image has done some, in whatever order,
 * blk_done() writes their status bytes and puts the chains, and blk_batch_done() publishes them, with
 * at most one interrupt. A discard or write-zeroes has several ranges, done one after the other.
 *
 * How the driver cuts a request into buffers means nothing (2.6.4): the header is gathered, the status
 * is the last byte. A chain without room for either breaks the device. What else is wrong with a
 * request is told in its status.
 *
 * The cache: with VIRTIO_BLK_F_FLUSH a finished write may still be in the host's memory, until a
 * flush. Without it, or in writethrough mode (`writeback` in the configuration is 0), every write is
 * on the disk before it is reported (5.2.6.2).
 *
 * Threads: a struct blk_queue and all that it holds belong to its queue's loop, nothing is shared
 * between two; vCPUs set `writethrough`.
 * Where to read next: image.h.
 */
#include "devices/datapath/inproc.h"
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/virtio.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE	256
#define SECTOR		512
#define SEGMENTS_MAX	254 /* of data in a request; a page of descriptors, with the other two */
#define SEGMENT_SIZE	(1 * MIB) /* the driver's pieces: an advice (size_max) */
#define BLOCK_SIZE	4096	  /* what is best written at once, even if less is possible */
#define RANGES_MAX	16	  /* in a discard or write-zeroes */
#define MODEST_SEGMENTS 126
#define MODEST_RANGE	(16 * MIB) /* bytes in the one range of a discard or write-zeroes */
#define DISCARD_MAX	(1 * GIB)  /* bytes in such a range */
#define ZEROES_MAX	(32 * MIB) /* less: they may have to be written */

/* Above what size_max and seg_max allow, 254 MiB, since a driver need not accept them: the largest
 * that UEFI's asks for. */
#define DATA_MAX   (1 * GIB)
#define TURN_BYTES (16 * MIB) /* when a turn has taken as much data, the loop's others come first */
#define FILLED_MAX 4096	      /* of a request's buffers that we fill ourselves */

#define HEADER_LEN sizeof(struct virtio_blk_outhdr)
#define CONFIG_LEN offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define WRITEBACK  offsetof(struct virtio_blk_config, wce)

/* The buffers of a request: with a header in as many pieces as it has bytes. */
#define IOV_PER_REQ (HEADER_LEN + SEGMENTS_MAX + 1)

struct blk_queue;

struct blk_req {
	struct image_req io;
	struct blk_queue *bq;
	struct vq_chain chain;
	u8 *status;
	const struct iovec *in; /* the device-writable data */
	u32 nin;
	struct virtio_blk_discard_write_zeroes range[RANGES_MAX];
	u32 nranges, next_range;
	struct blk_req *next_free;
};

struct blk_queue {
	struct blk *blk;
	struct virtio_queue *q;
	struct image_queue *io;
	struct blk_req *req; /* one for each chain that can be in flight, and one to look with */
	struct iovec *iov;   /* theirs */
	struct blk_req *free;
};

struct blk {
	struct virtio_dev v;
	/* Fixed after creation. */
	struct image *image;
	u64 sectors;
	bool writethrough_default;
	char serial[VIRTIO_BLK_ID_BYTES];
	struct blk_queue *queue;

	atomic_bool writethrough; /* vCPUs write, loops read */
};

static struct blk *blk_of(struct virtio_dev *v)
{
	return container_of(v, struct blk, v);
}

/* ---- buffers ---- */

/* Move the first `len` bytes of the buffers to `to`. They have so many. Returns the first buffer that
 * is not empty now, or `n`. */
static u32 take_front(struct iovec *iov, u32 n, void *to, u32 len)
{
	u8 *p = to;
	u32 i = 0;

	while (i < n) {
		u32 part = iov[i].iov_len < len ? iov[i].iov_len : len;

		memcpy(p, iov[i].iov_base, part);
		iov[i].iov_base = (u8 *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		p += part;
		len -= part;
		if (iov[i].iov_len)
			break;
		i++;
	}
	/* The guest may change its memory at any time: what we have is what we use. */
	atomic_signal_fence(memory_order_seq_cst);
	return i;
}

/* Set the request's writable data to the `len` bytes at `from`, and zeroes behind, up to FILLED_MAX:
 * buffers are as large as the driver likes, and the loop does it. Returns how many bytes are set. */
static u32 fill_in(struct blk_req *r, const void *from, u32 len)
{
	u32 done = 0;

	for (u32 i = 0; i < r->nin && done < FILLED_MAX; i++) {
		u32 room = FILLED_MAX - done;
		u32 n = r->in[i].iov_len < room ? r->in[i].iov_len : room;
		u32 part = done >= len ? 0 : n < len - done ? n : len - done;
		u8 *to = r->in[i].iov_base;

		if (part)
			memcpy(to, (const u8 *)from + done, part);
		memset(to + part, 0, n - part);
		done += n;
	}
	return done;
}

/* ---- requests ---- */

/* The end of a request, of whose writable data the first `filled` bytes are written. The used length
 * counts the status only if there is no gap before it: "the device MUST write at least len bytes ...
 * beginning at the first device-writable buffer" (2.7.8.2). */
static void finish(struct blk_req *r, u8 status, u32 filled)
{
	struct blk_queue *bq = r->bq;

	__atomic_store_n(r->status, status, __ATOMIC_RELAXED);
	vq_put(&bq->q->vq, &r->chain, filled + (filled == r->chain.in_len - 1));
	r->next_free = bq->free;
	bq->free = r;
}

static void finish_empty(struct blk_req *r, u8 status)
{
	finish(r, status, fill_in(r, NULL, 0));
}

/* Start the next range of a discard or write-zeroes. */
static void submit_range(struct blk_req *r)
{
	const struct virtio_blk_discard_write_zeroes *range = &r->range[r->next_range++];

	r->io.off = range->sector * SECTOR;
	r->io.len = (u64)range->num_sectors * SECTOR;
	r->io.unmap = range->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	image_submit(r->bq->io, &r->io);
}

static void blk_done(struct image_req *io, int err)
{
	struct blk_req *r = container_of(io, struct blk_req, io);

	if (!err && r->next_range < r->nranges) {
		submit_range(r);
		image_kick(r->bq->io);
	} else if (err || io->op != IMAGE_READ) {
		finish_empty(r, err ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
	} else {
		finish(r, VIRTIO_BLK_S_OK, io->len);
	}
}

static void blk_batch_done(void *arg)
{
	struct blk_queue *bq = arg;

	vq_publish(&bq->q->vq);
	inproc_check(bq->q);
}

static void submit(struct blk_req *r, enum image_op op)
{
	r->io.op = op;
	r->io.fua = op != IMAGE_READ && atomic_load(&r->bq->blk->writethrough);
	image_submit(r->bq->io, &r->io);
}

/* T_IN and T_OUT. "A driver MUST NOT submit a request which would cause a read or write beyond
 * capacity" (5.2.6.1), and data is a multiple of 512 bytes. */
static void start_read_write(struct blk_req *r, enum image_op op, u64 sector,
			     const struct iovec *iov, u32 niov, u64 len)
{
	const struct blk *blk = r->bq->blk;

	if (len % SECTOR || len > DATA_MAX ||
	    !range_inside(sector, len / SECTOR, 0, blk->sectors) ||
	    (op == IMAGE_WRITE && image_readonly(blk->image))) {
		finish_empty(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->io.off = sector * SECTOR;
	r->io.len = len;
	r->io.iov = iov;
	r->io.niov = niov;
	submit(r, op);
}

/* The status that the request deserves because of one range. */
static u8 check_range(const struct blk *blk, const struct virtio_blk_discard_write_zeroes *range,
		      enum image_op op)
{
	u32 known = op == IMAGE_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	u64 max = op == IMAGE_WRITE_ZEROES ? ZEROES_MAX : DISCARD_MAX;

	if (range->flags & ~known) /* "MUST set ... UNSUPP ... if any unknown flag is set" */
		return VIRTIO_BLK_S_UNSUPP;
	if (range->num_sectors > max / SECTOR ||
	    !range_inside(range->sector, range->num_sectors, 0, blk->sectors))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

/* T_DISCARD and T_WRITE_ZEROES, whose data is a list of ranges. All are checked before the first is
 * touched. */
static void start_ranges(struct blk_req *r, enum image_op op, struct iovec *iov, u32 niov, u32 len)
{
	const struct blk *blk = r->bq->blk;
	u32 n = len / sizeof(r->range[0]);
	u8 status = VIRTIO_BLK_S_OK;

	if (len % sizeof(r->range[0]) || n == 0 || n > RANGES_MAX)
		status = VIRTIO_BLK_S_IOERR;
	else
		take_front(iov, niov, r->range, len);
	for (u32 i = 0; !status && i < n; i++)
		status = check_range(blk, &r->range[i], op);
	if (status) {
		finish_empty(r, status);
		return;
	}
	r->nranges = n;
	r->io.op = op;
	r->io.fua = atomic_load(&blk->writethrough);
	submit_range(r);
}

static void start(struct blk_req *r, const struct virtio_blk_outhdr *h, struct iovec *out, u32 nout)
{
	struct blk *blk = r->bq->blk;
	u32 out_len = r->chain.out_len - HEADER_LEN;

	r->nranges = r->next_range = 0;
	switch (h->type) {
	case VIRTIO_BLK_T_IN:
		start_read_write(r, IMAGE_READ, h->sector, r->in, r->nin, r->chain.in_len - 1);
		return;
	case VIRTIO_BLK_T_OUT:
		start_read_write(r, IMAGE_WRITE, h->sector, out, nout, out_len);
		return;
	case VIRTIO_BLK_T_FLUSH:
		r->io.off = r->io.len = 0;
		submit(r, IMAGE_FLUSH);
		return;
	case VIRTIO_BLK_T_GET_ID:
		finish(r, VIRTIO_BLK_S_OK, fill_in(r, blk->serial, sizeof(blk->serial)));
		return;
	case VIRTIO_BLK_T_DISCARD:
		if (!virtio_has_feature(&blk->v, VIRTIO_BLK_F_DISCARD))
			break;
		start_ranges(r, IMAGE_DISCARD, out, nout, out_len);
		return;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (!virtio_has_feature(&blk->v, VIRTIO_BLK_F_WRITE_ZEROES))
			break;
		start_ranges(r, IMAGE_WRITE_ZEROES, out, nout, out_len);
		return;
	}
	finish_empty(r, VIRTIO_BLK_S_UNSUPP);
}

/* Take the chain apart and start what it asks for. False: it is no request at all. */
static bool begin(struct blk_req *r)
{
	struct vq_chain *c = &r->chain;
	struct iovec *in = c->iov + c->nout, *last;
	struct virtio_blk_outhdr h;
	u32 first;

	if (c->out_len < HEADER_LEN || !c->in_len)
		return false;
	r->in = in;
	r->nin = c->nin;
	while (!in[r->nin - 1].iov_len)
		r->nin--;
	last = &in[r->nin - 1];
	r->status = (u8 *)last->iov_base + --last->iov_len;
	if (!last->iov_len)
		r->nin--;

	first = take_front(c->iov, c->nout, &h, HEADER_LEN);
	start(r, &h, c->iov + first, c->nout - first);
	return true;
}

/* At most a whole ring and TURN_BYTES at a time: a guest that never stops asking is not alone on this
 * loop. What is left is the next turn's. */
static void blk_serve(struct virtio_dev *v, struct virtio_queue *q)
{
	struct blk_queue *bq = &blk_of(v)->queue[q->index];

	u64 bytes = 0;

	for (u32 n = 0; n < q->vq.cfg.size && bytes < TURN_BYTES; n++) {
		struct blk_req *r = bq->free;

		assert(r); /* see queue_create() */
		if (vq_get(&q->vq, &r->chain) <= 0)
			break;
		bq->free = r->next_free;
		bytes += (u64)r->chain.out_len + r->chain.in_len;
		if (begin(r))
			continue;
		vq_put(&q->vq, &r->chain, 0);
		r->next_free = bq->free;
		bq->free = r;
		virtio_needs_reset(v, "a request without header or status");
		break;
	}
	image_kick(bq->io);
	vq_publish(&q->vq);
	if (vq_rearm(&q->vq))
		virtio_queue_kick(v, q->index);
}

static void blk_quiesce(struct virtio_dev *v, struct virtio_queue *q)
{
	image_drain(blk_of(v)->queue[q->index].io);
	vq_publish(&q->vq);
}

int virtio_blk_fd(const struct virtio_dev *v)
{
	int fd[2];

	image_fds(container_of(v, struct blk, v)->image, fd);
	return fd[0];
}

/* What was lost with a flush that failed, or with a file that was cut, only our own image knows. */
static int blk_path_changes(struct virtio_dev *v, struct datapath *next)
{
	if (!next || !image_is_lost(blk_of(v)->image))
		return 0;
	log_err("virtio-blk: data has been lost, and another data path would not know; the disk "
		"stays "
		"where it is");
	return -EIO;
}

/* ---- configuration ---- */

static void set_writeback(struct virtio_dev *v, u8 writeback)
{
	pthread_mutex_lock(&v->config_lock);
	v->config[WRITEBACK] = writeback;
	pthread_mutex_unlock(&v->config_lock);
}

static void choose_cache_mode(struct blk *blk)
{
	struct virtio_dev *v = &blk->v;
	bool writethrough;

	if (virtio_has_feature(v, VIRTIO_BLK_F_CONFIG_WCE)) {
		pthread_mutex_lock(&v->config_lock);
		writethrough = !v->config[WRITEBACK];
		pthread_mutex_unlock(&v->config_lock);
	} else {
		writethrough =
			blk->writethrough_default || !virtio_has_feature(v, VIRTIO_BLK_F_FLUSH);
	}
	atomic_store(&blk->writethrough, writethrough);
}

/* 5.2.5.2: "If VIRTIO_BLK_F_CONFIG_WCE is negotiated but VIRTIO_BLK_F_FLUSH is not, the device MUST
 * initialize writeback to 0." */
static bool blk_features_ok(struct virtio_dev *v, u64 features)
{
	if (!(features & VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH)))
		set_writeback(v, 0);
	return true;
}

static void blk_driver_ok(struct virtio_dev *v)
{
	choose_cache_mode(blk_of(v));
}

static void blk_config_written(struct virtio_dev *v, u32 off, u32 len)
{
	if (range_inside(WRITEBACK, 1, off, len))
		choose_cache_mode(blk_of(v));
}

static void blk_reset(struct virtio_dev *v)
{
	set_writeback(v, !blk_of(v)->writethrough_default);
}

static u8 log2_of(u32 n)
{
	return 31 - __builtin_clz(n);
}

static void be_modest(struct virtio_blk_config *c)
{
	if (c->seg_max > MODEST_SEGMENTS)
		c->seg_max = MODEST_SEGMENTS;
	if (c->max_discard_seg) {
		c->max_discard_seg = 1;
		c->max_discard_sectors = MODEST_RANGE / SECTOR;
	}
	if (c->max_write_zeroes_seg) {
		c->max_write_zeroes_seg = 1;
		c->max_write_zeroes_sectors = MODEST_RANGE / SECTOR;
	}
}

static void offer(struct blk *blk, const struct virtio_blk_options *o)
{
	u32 block = image_block_size(blk->image);
	u32 granularity = image_discard_granularity(blk->image);
	u32 best = block > BLOCK_SIZE ? block : BLOCK_SIZE;
	u32 size = blk->v.queue[0].size_max;
	struct virtio_dev *v = &blk->v;
	struct virtio_blk_config c = {
		.capacity = blk->sectors,
		.size_max = SEGMENT_SIZE,
		/* A chain is at most as long as the ring (2.6), and two of it are not data. */
		.seg_max = size < 3		     ? 1
			   : size - 2 < SEGMENTS_MAX ? size - 2
						     : SEGMENTS_MAX,
		.blk_size = block,
		.physical_block_exp = log2_of(best / block),
		.min_io_size = best / block,
		.wce = !blk->writethrough_default,
		.num_queues = v->nqueues,
	};

	v->offered |= VIRTIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) |
		      VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) | VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH) |
		      VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) |
		      VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
	if (v->nqueues > 1)
		v->offered |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
	if (image_readonly(blk->image))
		v->offered |= VIRTIO_FEATURE(VIRTIO_BLK_F_RO);
	if (o->discard && !image_readonly(blk->image)) {
		v->offered |= VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
		c.max_write_zeroes_sectors = ZEROES_MAX / SECTOR;
		c.max_write_zeroes_seg = RANGES_MAX;
		c.write_zeroes_may_unmap = granularity != 0;
	}
	if (o->discard && granularity) {
		v->offered |= VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD);
		c.max_discard_sectors = DISCARD_MAX / SECTOR;
		c.max_discard_seg = RANGES_MAX;
		c.discard_sector_alignment = granularity / SECTOR;
	}
	if (o->seg_max && o->seg_max < c.seg_max)
		c.seg_max = o->seg_max;
	if (o->modest)
		be_modest(&c);
	memcpy(v->config, &c, CONFIG_LEN);
	v->config_writable[WRITEBACK] = 1;
}

/* ---- making and freeing ---- */

static int queue_create(struct blk *blk, u32 index)
{
	struct blk_queue *bq = &blk->queue[index];
	u32 size;

	bq->blk = blk;
	bq->q = &blk->v.queue[index];
	/* The ring bounds the chains in flight. When all are, a kick still makes us look for another. */
	size = bq->q->size_max + 1;
	bq->req = calloc(size, sizeof(*bq->req));
	bq->iov = calloc((size_t)size * IOV_PER_REQ, sizeof(*bq->iov));
	if (!bq->req || !bq->iov)
		return -ENOMEM;
	for (u32 i = 0; i < size; i++) {
		struct blk_req *r = &bq->req[i];

		r->bq = bq;
		r->io.done = blk_done;
		r->chain.iov = bq->iov + (size_t)i * IOV_PER_REQ;
		r->chain.max = IOV_PER_REQ;
		r->next_free = bq->free;
		bq->free = r;
	}
	return image_queue_create(&bq->io, blk->image, bq->q->loop, blk_batch_done, bq);
}

static void queue_destroy(void *arg)
{
	struct blk_queue *bq = arg;

	image_queue_destroy(bq->io);
	free(bq->req);
	free(bq->iov);
}

static void blk_destroy(struct virtio_dev *v)
{
	struct blk *blk = blk_of(v);

	for (u32 i = 0; blk->queue && i < v->nqueues; i++)
		loop_call(v->queue[i].loop, queue_destroy, &blk->queue[i]);
	image_close(blk->image);
	virtio_dev_destroy(v);
	free(blk->queue);
	free(blk);
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.pci_class = 0x010000, /* mass storage, SCSI: what QEMU says, too */
	.features_ok = blk_features_ok,
	.driver_ok = blk_driver_ok,
	.config_written = blk_config_written,
	.serve = blk_serve,
	.quiesce = blk_quiesce,
	.path_changes = blk_path_changes,
	.reset = blk_reset,
	.destroy = blk_destroy,
};

int virtio_blk_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o, const struct virtio_blk_options *b)
{
	struct blk *blk = calloc(1, sizeof(*blk));
	u32 nqueues = o->queues ? o->queues : 1;
	int err = -ENOMEM;

	if (blk)
		err = virtio_dev_init(&blk->v, &blk_ops, env, o, nqueues, QUEUE_SIZE, CONFIG_LEN);
	if (err) {
		free(blk);
		image_close(b->image);
		return err;
	}
	blk->image = b->image;
	blk->sectors = image_size(b->image) / SECTOR;
	blk->writethrough_default = b->writethrough;
	if (b->serial)
		memcpy(blk->serial, b->serial, strnlen(b->serial, sizeof(blk->serial)));
	offer(blk, b);
	blk->queue = calloc(nqueues, sizeof(*blk->queue));
	err = blk->queue ? 0 : -ENOMEM;
	for (u32 i = 0; !err && i < nqueues; i++)
		err = queue_create(blk, i);
	if (err) {
		blk_destroy(&blk->v);
		return err;
	}
	*v = &blk->v;
	return 0;
}
