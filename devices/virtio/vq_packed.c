// SPDX-License-Identifier: MIT
/*
 * vq_packed.c - the packed ring, device side. Virtual I/O Device (VIRTIO) 1.2, section 2.8.
 *
 * How it works: one ring of descriptors that both sides write, and a word for each side's wish on
 * notifications.
 *
 *	descriptor ring		both      size x { addr, len, id, flags }
 *	driver event area	driver    off_wrap, flags: when to call
 *	device event area	device    off_wrap, flags: when to kick
 *
 * The driver fills places one after the other. A list of descriptors takes successive places, all
 * but the last with NEXT; or one place names an indirect table. The device writes one used descriptor
 * for it, with the id of the list, into the next place not yet used, and skips as many places as the
 * list had. Ids are the driver's own: the specification names no range (2.8.13), so any will do, and
 * all we do with them is to hand them back. Each side counts its laps by one bit, the wrap counter,
 * which begins with 1:
 *
 *	flags AVAIL  USED
 *	      wrap   !wrap	available in the lap `wrap`
 *	      wrap   wrap	used in the lap `wrap`
 *
 * Barriers. Flags hand the data over, by store-release and load-acquire:
 *
 *	available	driver's publication	packed_get()
 *	used		packed_publish()	driver's look
 *
 * Only the flags of the first descriptor are released: of a list, in the first case; of a batch, in
 * the second. The driver looks at places in order, so it finds the others when it has found that.
 *
 * Two pairs decide whether to notify, each side storing its own word and then loading the other's,
 * all sequentially consistent, so that at least one sees the other's store (as in vq_split.c):
 *
 *	kicks	packed_rearm(): event area, then descriptor flags   | driver: those, then the area
 *	calls	packed_publish(): descriptor flags, then event area | driver: the area, then those
 *
 * An event area has two words: off_wrap is stored before flags, and loaded after them.
 *
 * Threads: see vq.h.
 */
#include "devices/virtio/vq_internal.h"

#include <linux/virtio_ring.h>

#define DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP	   (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define LINE_DESCS (VQ_LINE / sizeof(struct vring_packed_desc)) /* as vq.first has */
#define EXPECT	   (2 * LINE_DESCS)
#define EVENT_MASK 3u /* the other bits of an event area's flags are reserved */

/* A descriptor in memory, as the guest aligned it: nothing is asked of indirect tables. */
struct unaligned_desc {
	struct vring_packed_desc d;
} __attribute__((packed));

/* What the device writes of a descriptor that it has used, `len`, `id` and `flags`, in one piece. */
struct used_word {
	u64 v;
} __attribute__((may_alias));

static struct vring_packed_desc *desc_of(const struct vq *q, u16 pos)
{
	return (struct vring_packed_desc *)q->desc + (pos & ~WRAP);
}

static struct vring_packed_desc_event *driver_event(const struct vq *q)
{
	return (struct vring_packed_desc_event *)q->driver;
}

static struct vring_packed_desc_event *device_event(const struct vq *q)
{
	return (struct vring_packed_desc_event *)q->device;
}

static void packed_areas(const struct vq_cfg *cfg, u32 len[3], u32 align[3])
{
	len[0] = 16 * cfg->size;
	align[0] = 16;
	len[1] = len[2] = 4;
	align[1] = align[2] = 4;
}

static bool packed_valid(const struct vq_cfg *cfg, struct vq_pos pos)
{
	return (pos.avail & ~WRAP) < cfg->size && pos.avail == pos.used;
}

/* `pos` moved on by n places, at most a lap; and back. */
static u16 pos_add(const struct vq *q, u16 pos, u32 n)
{
	u32 off = (pos & ~WRAP) + n;

	return off < q->cfg.size ? pos + n : (off - q->cfg.size) | (~pos & WRAP);
}

static u16 pos_sub(const struct vq *q, u16 pos, u32 n)
{
	return pos_add(q, pos, q->cfg.size - n) ^ WRAP;
}

/* How many places `pos` is ahead of `base`, in a circle of two laps. */
static u32 pos_ahead(const struct vq *q, u16 pos, u16 base)
{
	u32 size = q->cfg.size;
	u32 a = (pos & ~WRAP) + (pos & WRAP ? 0 : size);
	u32 b = (base & ~WRAP) + (base & WRAP ? 0 : size);

	return a >= b ? a - b : a + 2 * size - b;
}

/* Does a descriptor with these flags wait at `pos` for the device? 2.8.1 */
static bool is_available(u16 flags, u16 pos)
{
	return (flags & (DESC_AVAIL | DESC_USED)) == (pos & WRAP ? DESC_AVAIL : DESC_USED);
}

static struct vring_packed_desc desc_load(const void *table, u32 i)
{
	const volatile struct unaligned_desc *p = (const volatile struct unaligned_desc *)table + i;

	return (struct vring_packed_desc){
		.addr = p->d.addr, .len = p->d.len, .id = p->d.id, .flags = p->d.flags
	};
}

/* All of the indirect table that a descriptor with these `flags` names. */
static inline int packed_indirect(struct vq *q, struct vq_walk *w, struct vq_chain *c, u64 addr,
				  u32 len, u16 flags)
{
	const void *table;

	if (flags & VRING_DESC_F_NEXT || w->n) /* 2.8.19 */
		return vq_break(q, "an indirect descriptor in a list of others");
	table = vq_table(q, addr, len, sizeof(struct vring_packed_desc));
	if (!table)
		return -EINVAL;
	for (u32 i = 0; i < len / sizeof(struct vring_packed_desc); i++) {
		struct vring_packed_desc e = desc_load(table, i);

		/* 2.8.7: flags but WRITE are ignored, so there is no table in a table. */
		if (vq_walk_add(q, w, c, e.addr, e.len, e.flags & VRING_DESC_F_WRITE))
			return -EINVAL;
	}
	return 0;
}

/* Get the list at pos.avail, whose first descriptor was seen to have these `flags`. */
static int packed_walk(struct vq *q, struct vq_chain *c, u16 flags)
{
	struct vq_walk w = { 0 };
	u16 pos = q->pos.avail;

	for (u32 ndesc = 1; ndesc <= q->room; ndesc++) {
		const struct vring_packed_desc *d = desc_of(q, pos);
		u64 addr = __atomic_load_n(&d->addr, __ATOMIC_RELAXED);
		u32 len = __atomic_load_n(&d->len, __ATOMIC_RELAXED);
		u16 id = __atomic_load_n(&d->id, __ATOMIC_RELAXED);

		if (ndesc > 1) {
			flags = __atomic_load_n(&d->flags, __ATOMIC_RELAXED);
			if (!is_available(flags, pos)) /* 2.8.12 */
				return vq_break(q, "a list goes on where nothing is available");
		}
		if (flags & VRING_DESC_F_INDIRECT) {
			if (packed_indirect(q, &w, c, addr, len, flags))
				return -EINVAL;
		} else if (vq_walk_add(q, &w, c, addr, len, flags & VRING_DESC_F_WRITE)) {
			return -EINVAL;
		}
		pos = pos_add(q, pos, 1);
		if (!(flags & VRING_DESC_F_NEXT)) {
			vq_walk_end(&w, c, id, ndesc);
			q->pos.avail = pos;
			return 0;
		}
	}
	return vq_break(q, "a list is longer than the free part of the ring");
}

/* At the beginning of a line that is available to its end: what is in one further on. (A look at it sooner
 * would take it away from a driver that is writing there.) */
static inline void packed_expect(struct vq *q)
{
	u16 pos = q->pos.avail;
	const struct vring_packed_desc *d = desc_of(q, pos);

	if (pos % LINE_DESCS || (pos & ~WRAP) + EXPECT + LINE_DESCS > q->cfg.size ||
	    !is_available(__atomic_load_n(&d[LINE_DESCS - 1].flags, __ATOMIC_RELAXED), pos))
		return;
	vq_fetch_to_write(d + EXPECT);
	for (u32 i = EXPECT; i < EXPECT + LINE_DESCS; i++) {
		u16 flags = __atomic_load_n(&d[i].flags, __ATOMIC_RELAXED);

		if (!is_available(flags, pos))
			return;
		vq_expect(q, __atomic_load_n(&d[i].addr, __ATOMIC_RELAXED),
			  flags & VRING_DESC_F_WRITE);
	}
}

static int packed_get(struct vq *q, struct vq_chain *c)
{
	/* Pairs with the driver's publication: its first descriptor's flags come last. */
	u16 flags = __atomic_load_n(&desc_of(q, q->pos.avail)->flags, __ATOMIC_ACQUIRE);

	if (!is_available(flags, q->pos.avail))
		return 0;
	if (q->cfg.polled)
		packed_expect(q);
	if (packed_walk(q, c, flags))
		return -EINVAL;
	q->room -= c->ndesc;
	return 1;
}

static int packed_again(struct vq *q, struct vq_chain *c, const struct vring_packed_desc *desc,
			u16 n, u16 id)
{
	struct vq_walk w = { 0 };

	for (u16 i = 0; i < n; i++) {
		const struct vring_packed_desc *d = &desc[i];

		if (d->flags & VRING_DESC_F_INDIRECT) {
			if (packed_indirect(q, &w, c, d->addr, d->len, d->flags))
				return -EINVAL;
		} else if (vq_walk_add(q, &w, c, d->addr, d->len, d->flags & VRING_DESC_F_WRITE)) {
			return -EINVAL;
		}
	}
	vq_walk_end(&w, c, id, n);
	return 1;
}

static void packed_unget(struct vq *q, const struct vq_chain *c)
{
	q->pos.avail = pos_sub(q, q->pos.avail, c->ndesc);
	q->room += c->ndesc;
}

static u64 *used_word(const struct vq *q, u16 pos)
{
	return &((struct used_word *)&desc_of(q, pos)->len)->v;
}

/*
 * The descriptors of the batch's first line wait for packed_publish(): the first one's flags must, and a
 * driver that waits for those has the line, so each store to it would have to fetch it anew.
 */
static void packed_put(struct vq *q, u16 id, u16 ndesc, u32 written)
{
	u16 flags = (q->pos.used & WRAP ? DESC_AVAIL | DESC_USED : 0) |
		    (written ? VRING_DESC_F_WRITE : 0);
	u64 word = written | (u64)id << 32 | (u64)flags << 48;

	if (q->batch < LINE_DESCS) {
		q->first[q->batch] = word;
		q->first_there |= 1u << q->batch;
	} else {
		__atomic_store_n(used_word(q, q->pos.used), word, __ATOMIC_RELAXED);
	}
	q->pos.used = pos_add(q, q->pos.used, ndesc);
	q->batch += ndesc;
}

static bool packed_publish(struct vq *q)
{
	struct vring_packed_desc_event *e = driver_event(q);
	struct vring_packed_desc *head;
	u16 flags, off_wrap;

	for (u16 i = 1; q->first_there >> i; i++) {
		if (q->first_there >> i & 1)
			__atomic_store_n(used_word(q, pos_add(q, q->published, i)), q->first[i],
					 __ATOMIC_RELAXED);
	}
	q->first_there = 0;
	head = desc_of(q, q->published);
	__atomic_store_n(&head->len, (u32)q->first[0], __ATOMIC_RELAXED);
	__atomic_store_n(&head->id, (u16)(q->first[0] >> 32), __ATOMIC_RELAXED);
	/* Pairs with the driver's look for used chains, and with its asking to be called. */
	__atomic_store_n(&head->flags, (u16)(q->first[0] >> 48), __ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&e->flags, __ATOMIC_SEQ_CST) & EVENT_MASK;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !q->cfg.event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	off_wrap = __atomic_load_n(&e->off_wrap, __ATOMIC_SEQ_CST);
	/* Is that place in this batch? 2.8.10 */
	return pos_ahead(q, off_wrap, q->published) < q->batch;
}

static void packed_disarm(struct vq *q)
{
	__atomic_store_n(&device_event(q)->flags, VRING_PACKED_EVENT_FLAG_DISABLE,
			 __ATOMIC_RELAXED);
}

static bool packed_rearm(struct vq *q)
{
	struct vring_packed_desc_event *e = device_event(q);
	u16 mode = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (q->cfg.event_idx) {
		__atomic_store_n(&e->off_wrap, q->pos.avail, __ATOMIC_SEQ_CST);
		mode = VRING_PACKED_EVENT_FLAG_DESC;
	}
	/* Pairs with the driver's publication: its descriptor flags, then what we store here. */
	__atomic_store_n(&e->flags, mode, __ATOMIC_SEQ_CST);
	return is_available(__atomic_load_n(&desc_of(q, q->pos.avail)->flags, __ATOMIC_SEQ_CST),
			    q->pos.avail);
}

static bool packed_ready(struct vq *q)
{
	return is_available(__atomic_load_n(&desc_of(q, q->pos.avail)->flags, __ATOMIC_RELAXED),
			    q->pos.avail);
}

/* If the last place that it may fill is, all are. */
static bool packed_full(const struct vq *q)
{
	u16 last;

	if (!q->room)
		return true;
	last = pos_add(q, q->pos.avail, q->room - 1);
	return is_available(__atomic_load_n(&desc_of(q, last)->flags, __ATOMIC_RELAXED), last);
}

const struct vq_format vq_packed = {
	.areas = packed_areas,
	.valid = packed_valid,
	.get = packed_get,
	.again = packed_again,
	.unget = packed_unget,
	.put = packed_put,
	.publish = packed_publish,
	.disarm = packed_disarm,
	.rearm = packed_rearm,
	.ready = packed_ready,
	.full = packed_full,
};
