// SPDX-License-Identifier: MIT
/*
 * vq_split.c - the split ring, device side. Virtual I/O Device (VIRTIO) 1.2, section 2.7.
 *
 * How it works: three areas, each written by one side only.
 *
 *	descriptor table	driver    size x { addr, len, flags, next }
 *	available ring		driver    flags, idx, size x head, used_event
 *	used ring		device    flags, idx, size x { head, written }, avail_event
 *
 * A chain is a list of descriptors linked by `next`, its last one possibly naming an indirect table
 * with the rest (2.7.5.3). `idx` counts the entries ever written; modulo 2^16, and modulo size it is
 * the place of the next one. Each side writes its entries and then its idx: that is what publishes
 * them.
 *
 * Barriers. Two pairs hand data over, a store-release of an idx and the load-acquire of it:
 *
 *	avail.idx	driver's publication	split_look()
 *	used.idx	split_publish()		driver's look
 *
 * Two pairs decide whether to notify. Each side stores its own word and then loads the other's, all
 * four sequentially consistent, so that at least one sees the other's store: either the sleeper sees
 * the work, or the worker sees that somebody sleeps.
 *
 *	kicks	split_rearm(): avail_event or flags, then avail.idx   | driver: avail.idx, then those
 *	calls	split_publish(): used.idx, then used_event or flags   | driver: those, then used.idx
 *
 * Threads: see vq.h.
 */
#include "devices/virtio/vq_internal.h"

#include <linux/virtio_ring.h>

#define EXPECT 6

/* A descriptor in memory, as the guest aligned it: nothing is asked of indirect tables. */
struct unaligned_desc {
	struct vring_desc d;
} __attribute__((packed));

static struct vring_avail *avail_of(const struct vq *q)
{
	return (struct vring_avail *)q->driver;
}

static struct vring_used *used_of(const struct vq *q)
{
	return (struct vring_used *)q->device;
}

/* The driver's word on calls, behind its last entry; ours on kicks, behind ours (2.7.7, 2.7.10). */
static u16 *used_event(const struct vq *q)
{
	return &avail_of(q)->ring[q->cfg.size];
}

static u16 *avail_event(const struct vq *q)
{
	return (u16 *)&used_of(q)->ring[q->cfg.size];
}

static void split_areas(const struct vq_cfg *cfg, u32 len[3], u32 align[3])
{
	len[0] = 16 * cfg->size;
	align[0] = VRING_DESC_ALIGN_SIZE;
	len[1] = 6 + 2 * cfg->size;
	align[1] = VRING_AVAIL_ALIGN_SIZE;
	len[2] = 6 + 8 * cfg->size;
	align[2] = VRING_USED_ALIGN_SIZE;
}

static bool split_valid(const struct vq_cfg *cfg, struct vq_pos pos)
{
	return !(cfg->size & (cfg->size - 1)) && pos.avail == pos.used;
}

static struct vring_desc desc_load(const void *table, u32 i)
{
	const volatile struct unaligned_desc *p = (const volatile struct unaligned_desc *)table + i;

	return (struct vring_desc){
		.addr = p->d.addr, .len = p->d.len, .flags = p->d.flags, .next = p->d.next
	};
}

/* See what is available. Returns 1, 0 (nothing) or -EINVAL. */
static int split_look(struct vq *q)
{
	u16 idx = __atomic_load_n(&avail_of(q)->idx, __ATOMIC_ACQUIRE); /* driver's publication */

	if (idx == q->pos.avail)
		return 0;
	if ((u16)(idx - q->pos.avail) > q->room)
		return vq_break(q, "the available index is ahead by more than the queue size");
	q->avail_seen = idx;
	return 1;
}

/* Get the chain that begins at `head`. */
static int split_walk(struct vq *q, struct vq_chain *c, u16 head)
{
	struct vq_walk w = { 0 };
	const void *table = q->desc;
	u32 entries = q->cfg.size, i = head;
	bool in_table = false; /* not by its address: the ring, too, can be named as a table */

	do {
		struct vring_desc d;

		if (i >= entries)
			return vq_break(q, "a descriptor index is out of range");
		d = desc_load(table, i);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (in_table)
				return vq_break(q, "an indirect descriptor in an indirect table");
			if (d.flags & VRING_DESC_F_NEXT)
				return vq_break(q, "an indirect descriptor is not the last one");
			table = vq_table(q, d.addr, d.len, sizeof(d));
			if (!table)
				return -EINVAL;
			in_table = true;
			entries = d.len / sizeof(d);
			i = 0;
			continue;
		}
		if (vq_walk_add(q, &w, c, d.addr, d.len, d.flags & VRING_DESC_F_WRITE))
			return -EINVAL;
		if (!(d.flags & VRING_DESC_F_NEXT)) {
			vq_walk_end(&w, c, head, 1);
			return 0;
		}
		i = d.next;
	} while (w.n < q->cfg.size);
	return vq_break(q, "a chain loops, or is longer than the queue");
}

/* What is got when as many as EXPECT have been got before it. */
static inline void split_expect(const struct vq *q)
{
	const struct vring_avail *avail = avail_of(q);
	u16 mask = q->cfg.size - 1, at = q->pos.avail + EXPECT;
	struct vring_desc d;

	if ((u16)(q->avail_seen - q->pos.avail) <= EXPECT)
		return;
	d = desc_load(q->desc, __atomic_load_n(&avail->ring[at & mask], __ATOMIC_RELAXED) & mask);
	vq_expect(q, d.addr, d.flags & VRING_DESC_F_WRITE);
}

static int split_get(struct vq *q, struct vq_chain *c)
{
	u16 *ring = avail_of(q)->ring;
	int found;

	if (q->pos.avail == q->avail_seen) {
		found = split_look(q);
		if (found <= 0)
			return found;
	}
	if (q->cfg.polled)
		split_expect(q);
	if (split_walk(q, c,
		       __atomic_load_n(&ring[q->pos.avail & (q->cfg.size - 1)], __ATOMIC_RELAXED)))
		return -EINVAL;
	q->pos.avail++;
	q->room--;
	return 1;
}

static int split_again(struct vq *q, struct vq_chain *c, const struct vring_packed_desc *desc,
		       u16 n, u16 id)
{
	(void)desc;
	(void)n;
	return split_walk(q, c, id) ? -EINVAL : 1;
}

static void split_unget(struct vq *q, const struct vq_chain *c)
{
	(void)c;
	q->pos.avail--;
	q->room++;
}

static void split_put(struct vq *q, u16 id, u16 ndesc, u32 written)
{
	struct vring_used_elem *e = &used_of(q)->ring[q->pos.used & (q->cfg.size - 1)];

	if (q->cfg.polled && (uintptr_t)e % VQ_LINE < sizeof(*e)) /* the one after next */
		vq_fetch_to_write((u8 *)e + 2 * VQ_LINE);
	__atomic_store_n(&e->id, id, __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, written, __ATOMIC_RELAXED);
	q->pos.used++;
	q->batch += ndesc;
}

static bool split_publish(struct vq *q)
{
	u16 event;

	/* Pairs with the driver's look for used chains, and with its asking to be called. */
	__atomic_store_n(&used_of(q)->idx, q->pos.used, __ATOMIC_SEQ_CST);
	if (!q->cfg.event_idx)
		return !(__atomic_load_n(&avail_of(q)->flags, __ATOMIC_SEQ_CST) &
			 VRING_AVAIL_F_NO_INTERRUPT);
	event = __atomic_load_n(used_event(q), __ATOMIC_SEQ_CST);
	/* Is entry number `event` in this batch? 2.7.7.2 */
	return (u16)(event - q->published) < q->batch;
}

static void split_disarm(struct vq *q)
{
	if (q->cfg.event_idx) /* the entry before the next one: all of 2^16 away */
		__atomic_store_n(avail_event(q), (u16)(q->pos.avail - 1), __ATOMIC_RELAXED);
	else
		__atomic_store_n(&used_of(q)->flags, VRING_USED_F_NO_NOTIFY, __ATOMIC_RELAXED);
}

static bool split_rearm(struct vq *q)
{
	/* Pairs with the driver's publication: its avail.idx, then what we store here. */
	if (q->cfg.event_idx)
		__atomic_store_n(avail_event(q), q->pos.avail, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&used_of(q)->flags, 0, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&avail_of(q)->idx, __ATOMIC_SEQ_CST) != q->pos.avail;
}

static bool split_ready(struct vq *q)
{
	return __atomic_load_n(&avail_of(q)->idx, __ATOMIC_RELAXED) != q->pos.avail;
}

static bool split_full(const struct vq *q)
{
	u16 idx = __atomic_load_n(&avail_of(q)->idx, __ATOMIC_RELAXED);

	return (u16)(idx - q->pos.avail) >= q->room;
}

const struct vq_format vq_split = {
	.areas = split_areas,
	.valid = split_valid,
	.get = split_get,
	.again = split_again,
	.unget = split_unget,
	.put = split_put,
	.publish = split_publish,
	.disarm = split_disarm,
	.rearm = split_rearm,
	.ready = split_ready,
	.full = split_full,
};
