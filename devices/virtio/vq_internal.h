/* SPDX-License-Identifier: MIT */
/*
 * vq_internal.h - what vq.c and the two ring formats, vq_split.c and vq_packed.c, share.
 *
 * vq.c keeps the books (who is in flight, in which order, what is published); a format knows how its
 * ring looks. Both formats walk a guest's descriptors and add one after the other to a chain with
 * vq_chain_add(), which checks all that the formats have in common.
 *
 * What the guest writes is loaded once, into a local: it may change at any moment. All sums are
 * checked against what we hold, never against a second look at the ring.
 */
#ifndef DEVICES_VIRTIO_VQ_INTERNAL_H
#define DEVICES_VIRTIO_VQ_INTERNAL_H

#include "minivmm/mem.h"
#include "minivmm/vq.h"

#include <errno.h>

/* A ring format. No hook but start() is called while the queue does not run. */
struct vq_format {
	/* Sizes and alignments of the three areas: desc, driver, device (2.7, 2.8). */
	void (*areas)(const struct vq_cfg *cfg, u32 len[3], u32 align[3]);
	/* May a queue of this size start here? */
	bool (*valid)(const struct vq_cfg *cfg, struct vq_pos pos);
	/* The next chain, as vq_get(): moves pos.avail and room, sets all of `c` but seq. */
	int (*get)(struct vq *q, struct vq_chain *c);
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
};

extern const struct vq_format vq_split, vq_packed;

/* The driver broke a rule. */
static inline int vq_break(struct vq *q, const char *why)
{
	q->broken = why;
	return -EINVAL;
}

/* Begin a chain. */
static inline void vq_chain_begin(struct vq_chain *c)
{
	c->nout = c->nin = 0;
	c->out_len = c->in_len = 0;
}

/* Add the buffer of one descriptor. Returns 0 or -EINVAL, and then the queue is broken. */
static inline int vq_chain_add(struct vq *q, struct vq_chain *c, u64 addr, u32 len, bool writable)
{
	u32 n = c->nout + c->nin;
	u32 total = c->out_len + c->in_len;
	void *host;

	if (n == c->max)
		return vq_break(q, "a chain has more descriptors than the device allows");
	if (len == 0)
		return vq_break(q, "a descriptor has no length");
	if (__builtin_add_overflow(total, len, &total)) /* 2.7.5.2 */
		return vq_break(q, "a chain is longer than 32 bits can tell");
	host = mem_ptr(q->mem, addr, len);
	if (!host)
		return vq_break(q, "a buffer is outside of memory");
	if (writable) {
		c->nin++;
		c->in_len += len;
	} else {
		if (c->nin) /* 2.7.4.2, 2.8.17 */
			return vq_break(q, "a readable descriptor follows a writable one");
		c->nout++;
		c->out_len += len;
	}
	c->iov[n] = (struct iovec){ .iov_base = host, .iov_len = len };
	return 0;
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
	else if (!(table = mem_ptr(q->mem, addr, len)))
		vq_break(q, "an indirect table is outside of memory");
	return table;
}

#endif
