/* SPDX-License-Identifier: MIT */
/*
 * vq_internal.h - what vq.c and the two ring formats, vq_split.c and vq_packed.c, share.
 *
 * vq.c keeps the books (who is in flight, in which order, what is published); a format knows how its
 * ring looks. Both formats walk a guest's descriptors and add one after the other to a chain with
 * vq_walk_add(), which checks all that the formats have in common.
 *
 * What the guest writes is loaded once, into a local: it may change at any moment. All sums are
 * checked against what we hold, never against a second look at the ring.
 */
#ifndef DEVICES_VIRTIO_VQ_INTERNAL_H
#define DEVICES_VIRTIO_VQ_INTERNAL_H

#include "minivmm/mem.h"
#include "minivmm/vq.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#define VQ_LINE 64 /* bytes that processors hand to each other at once */

/* A ring format. No hook but start() is called while the queue does not run. */
struct vq_format {
	/* Sizes and alignments of the three areas: desc, driver, device (2.7, 2.8). */
	void (*areas)(const struct vq_cfg *cfg, u32 len[3], u32 align[3]);
	/* May a queue of this size start here? */
	bool (*valid)(const struct vq_cfg *cfg, struct vq_pos pos);
	/* The next chain, as vq_get(): moves pos.avail and room, sets all of `c` but seq. */
	int (*get)(struct vq *q, struct vq_chain *c);
	/* A chain once more that has been got before, by what was in the ring: `desc` of `n` (packed), or the
	 * head `id` (split). As get(), but nothing moves. Returns 1 or -EINVAL. */
	int (*again)(struct vq *q, struct vq_chain *c, const struct vring_packed_desc *desc, u16 n,
		     u16 id);
	/* Move pos.avail back by a chain. */
	void (*unget)(struct vq *q, const struct vq_chain *c);
	/* Write a used element at pos.used, and move that and q->batch. The driver sees none before
	 * publish(). */
	void (*put)(struct vq *q, u16 id, u16 ndesc, u32 written);
	/* Let the driver see the batch, which is not empty. Returns whether it wants to be called. */
	bool (*publish)(struct vq *q);
	void (*disarm)(struct vq *q);
	/* Returns whether there is something at pos.avail, as looked up after arming. */
	bool (*rearm)(struct vq *q);
	bool (*ready)(struct vq *q);
	/* Has the driver filled all places that it may? A hint: one load. */
	bool (*full)(const struct vq *q);
};

extern const struct vq_format vq_split, vq_packed;

/* ---- vq_inflight.c: with q->record ---- */

/* Begin with the record of q->cfg: sets q->pos and q->room. Returns 0, -EINVAL (it can't be) or -ENOMEM. */
int vq_record_open(struct vq *q);
void vq_record_close(struct vq *q);
/* As vq_get(): what was in flight first. */
int vq_record_get(struct vq *q, struct vq_chain *c);
/* There are such ones to get. */
bool vq_record_waits(const struct vq *q);
void vq_record_put(struct vq *q, const struct vq_chain *c);
/* Around format->publish(). */
void vq_record_publish(struct vq *q);
void vq_record_published(struct vq *q);

/* ---- vq_log.c: with q->marks ---- */

int vq_log_open(struct vq *q);
void vq_log_close(struct vq *q);
/* A chain was got (returns 1, or -EINVAL: no memory for it), given back, put. */
int vq_log_got(struct vq *q, struct vq_chain *c);
void vq_log_unget(struct vq *q, const struct vq_chain *c);
void vq_log_put(struct vq *q, const struct vq_chain *c);
/* The ring was written. */
void vq_log_ring(struct vq *q);

/* The driver broke a rule. Returns -EINVAL. */
__attribute__((cold)) int vq_break(struct vq *q, const char *why);

/*
 * mem_ptr(), but quicker: nearly all buffers lie in one region, so that is where to look first.
 * vq_ptr_elsewhere() asks mem_ptr().
 */
__attribute__((cold)) void *vq_ptr_elsewhere(struct vq *q, u64 gpa, u64 len);

static inline void *vq_ptr(struct vq *q, u64 gpa, u64 len)
{
	const struct mem_region *r = q->region;

	if (range_inside(gpa, len, r->gpa, r->size))
		return r->host + (gpa - r->gpa);
	return vq_ptr_elsewhere(q, gpa, len);
}

/* Have a line fetched that will be written: for x86-64, __builtin_prefetch() would fetch it to be read, and
 * the write would ask for it once more. */
static inline void vq_fetch_to_write(const void *p)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const u8 *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/*
 * The descriptor of a chain that will be got soon: have the beginning of its buffer, where the headers are,
 * fetched meanwhile. A line that another processor has changed takes as long to come as all the rest of a
 * chain; where the sides wait for each other's kicks, that is no time, so only polled queues do it. It is a
 * hint, and nothing of it is kept: a wrong one does no harm.
 */
static inline void vq_expect(const struct vq *q, u64 addr, bool writable)
{
	const struct mem_region *r = q->region;

	if (!range_inside(addr, 2 * VQ_LINE, r->gpa, r->size))
		return;
	if (writable) {
		vq_fetch_to_write(r->host + (addr - r->gpa));
		vq_fetch_to_write(r->host + (addr - r->gpa) + VQ_LINE);
	} else {
		__builtin_prefetch(r->host + (addr - r->gpa));
	}
}

/*
 * A chain on its way. A format walks the descriptors with one of these in its own frame, where the
 * compiler keeps it in registers, and hands it over when it is complete.
 */
struct vq_walk {
	u32 n, len;	   /* segments and bytes so far */
	u32 nout, out_len; /* ... before the first writable one, */
	bool writable;	   /* if there was one */
};

/* Add the buffer of one descriptor. Returns 0 or -EINVAL, and then the queue is broken. */
static inline int vq_walk_add(struct vq *q, struct vq_walk *w, const struct vq_chain *c, u64 addr,
			      u32 len, bool writable)
{
	void *host = vq_ptr(q, addr, len);

	if (w->n == c->max)
		return vq_break(q, "a chain has more descriptors than the device allows");
	if (!len)
		return vq_break(q, "a descriptor has no length");
	if (!host)
		return vq_break(q, "a buffer is outside of memory");
	if (writable != w->writable) {
		if (!writable) /* 2.7.4.2, 2.8.17 */
			return vq_break(q, "a readable descriptor follows a writable one");
		w->writable = true;
		w->nout = w->n;
		w->out_len = w->len;
	}
	if (__builtin_add_overflow(w->len, len, &w->len)) /* 2.7.5.2 */
		return vq_break(q, "a chain is longer than 32 bits can tell");
	c->iov[w->n++] = (struct iovec){ .iov_base = host, .iov_len = len };
	return 0;
}

/* The chain is complete. It takes `ndesc` places in the ring. */
static inline void vq_walk_end(const struct vq_walk *w, struct vq_chain *c, u16 id, u16 ndesc)
{
	c->nout = w->writable ? w->nout : w->n;
	c->out_len = w->writable ? w->out_len : w->len;
	c->nin = w->n - c->nout;
	c->in_len = w->len - c->out_len;
	c->id = id;
	c->ndesc = ndesc;
}

/*
 * The indirect table of `len` bytes at `addr`, of `entry` bytes each. Returns its host address, or
 * NULL, and then the queue is broken.
 */
static inline const void *vq_table(struct vq *q, u64 addr, u32 len, u32 entry)
{
	const void *table = NULL;

	if (!q->cfg.indirect)
		vq_break(q, "an indirect descriptor, which was not negotiated");
	else if (len == 0 || len % entry)
		vq_break(q, "an indirect table of no whole number of descriptors");
	else if (!(table = vq_ptr(q, addr, len)))
		vq_break(q, "an indirect table is outside of memory");
	return table;
}

#endif
