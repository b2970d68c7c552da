// SPDX-License-Identifier: MIT
/*
 * virtio_packed.c - the packed virtqueue, driver's side (VIRTIO 1.2, 2.8).
 *
 *	 descriptor area: one ring, which both sides write
 *	+--------------------------------------------------------------------+
 *	| addr len id flags | addr len id flags | ...                        |
 *	+--------------------------------------------------------------------+
 *	     ^ used: the next that the device will give back    ^ avail: the next that we fill
 *
 *	 driver area: when we want an interrupt    device area: when the device wants a kick
 *
 * How it works: the driver fills descriptors one behind the other; those of a chain follow each
 * other in the ring. The device overwrites the first one of a chain that it has finished with the
 * chain's id and length, and goes on behind the chain. If it finishes out of order it writes to a
 * descriptor whose own chain is still in work; so the driver remembers its chains by id.
 *
 * Whose is a descriptor? Two bits of it, AVAIL and USED, against a wrap counter, a bit that each
 * side flips at each of its rounds, starting with 1 (2.8.1): available is AVAIL = counter, USED =
 * the opposite; used is both = counter. So nothing has to be cleared from round to round.
 *
 * A position in the ring is an offset and that counter, here and in the event areas: bits 0-14 and
 * bit 15 of a u16.
 */
#include "virtio.h"

#define WRAP	    (1u << VRING_PACKED_EVENT_F_WRAP_CTR)
#define OFFSET(pos) ((pos) & (WRAP - 1))

#define AVAIL_BIT   (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED_BIT    (1u << VRING_PACKED_DESC_F_USED)

static struct vring_packed_desc *descs(struct virtq *q)
{
	return (struct vring_packed_desc *)q->desc;
}

static struct vring_packed_desc_event *driver_event(struct virtq *q)
{
	return (struct vring_packed_desc_event *)q->driver;
}

static struct vring_packed_desc_event *device_event(struct virtq *q)
{
	return (struct vring_packed_desc_event *)q->device;
}

static u16 advance(const struct virtq *q, u16 pos, u32 n)
{
	u32 off = OFFSET(pos) + n;

	return off < q->size ? (pos & WRAP) | off : ((pos & WRAP) ^ WRAP) | (off - q->size);
}

static void packed_init(struct virtq *q)
{
	q->avail = q->used = q->kicked = WRAP;
}

static void fill(struct vring_packed_desc *d, const struct virtq_buf *buf, u16 id)
{
	d->addr = (u64)buf->data;
	d->len = buf->len;
	d->id = id;
}

/* The bits that make the descriptor at `pos` available. */
static u16 avail_bits(u16 pos)
{
	return pos & WRAP ? AVAIL_BIT : USED_BIT;
}

/*
 * The flags of a descriptor give it away, and the first gives the whole chain away (2.8.17): it
 * comes last. Pairs with the device's acquire load of it.
 */
static void give(struct virtq *q, u16 pos, u16 flags)
{
	__atomic_store_n(&descs(q)[OFFSET(pos)].flags, flags | avail_bits(pos), __ATOMIC_RELEASE);
}

static void add_direct(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 n, u16 id)
{
	u16 first = q->avail, first_flags = 0;

	for (u32 i = 0; i < n; i++) {
		u16 flags =
			(i >= nout ? VRING_DESC_F_WRITE : 0) | (i < n - 1 ? VRING_DESC_F_NEXT : 0);

		fill(&descs(q)[OFFSET(q->avail)], &buf[i], id);
		if (i == 0)
			first_flags = flags;
		else
			give(q, q->avail, flags);
		q->avail = advance(q, q->avail, 1);
	}
	q->ndesc[id] = n;
	give(q, first, first_flags);
}

/* 2.8.8: one descriptor in the ring, which refers to a table of them elsewhere. There, only WRITE
 * counts: the table's length says how many they are. */
static void add_indirect(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 n, u16 id)
{
	struct vring_packed_desc *table = (struct vring_packed_desc *)q->indirect[id];
	struct virtq_buf all = { table, n * sizeof(*table) };

	for (u32 i = 0; i < n; i++) {
		fill(&table[i], &buf[i], 0);
		table[i].flags = i >= nout ? VRING_DESC_F_WRITE : 0;
	}
	fill(&descs(q)[OFFSET(q->avail)], &all, id);
	q->ndesc[id] = 1;
	give(q, q->avail, VRING_DESC_F_INDIRECT);
	q->avail = advance(q, q->avail, 1);
}

static void packed_add(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 nin, void *token)
{
	u16 id = virtq_take_free(q);

	q->token[id] = token;
	if (q->use_indirect)
		add_indirect(q, buf, nout, nout + nin, id);
	else
		add_direct(q, buf, nout, nout + nin, id);
	q->free -= q->ndesc[id];
}

/* Is the position `event` one of those from `old` up to, but not with, `now`? All of them are taken
 * relative to `now`, as places that lie that far back. */
static bool passed(const struct virtq *q, u16 event, u16 now, u16 old)
{
	u32 round = 2 * q->size, at = OFFSET(now) + (now & WRAP ? 0 : q->size);
	u32 event_at = OFFSET(event) + (event & WRAP ? 0 : q->size);
	u32 old_at = OFFSET(old) + (old & WRAP ? 0 : q->size);
	u32 back = (at + round - event_at) % round;

	return back > 0 && back <= (at + round - old_at) % round;
}

static bool packed_wants_kick(struct virtq *q)
{
	u16 old = q->kicked, flags, event;

	q->kicked = q->avail;
	/* As in split_wants_kick(): our descriptors before our look at the device's wish. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&device_event(q)->flags, __ATOMIC_ACQUIRE);
	event = __atomic_load_n(&device_event(q)->off_wrap, __ATOMIC_RELAXED);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	return passed(q, event, q->avail, old);
}

static bool packed_has_used(struct virtq *q)
{
	/* Pairs with the device's release store: id, length and data are there as well. */
	u16 flags = __atomic_load_n(&descs(q)[OFFSET(q->used)].flags, __ATOMIC_ACQUIRE);
	bool counter = q->used & WRAP;

	return !!(flags & AVAIL_BIT) == counter && !!(flags & USED_BIT) == counter;
}

static u32 packed_take(struct virtq *q, u32 *len)
{
	const struct vring_packed_desc *d = &descs(q)[OFFSET(q->used)];
	u32 id = d->id;

	*len = d->len;
	if (id >= q->size || !q->token[id])
		return id; /* the caller complains */
	virtq_give_free(q, id);
	q->free += q->ndesc[id];
	q->used = advance(q, q->used, q->ndesc[id]);
	return id;
}

/* 2.8.10. The position first, then the flags that make it count. */
static void packed_call_after(struct virtq *q, u32 places)
{
	u16 flags = VRING_PACKED_EVENT_FLAG_DISABLE;

	if (places && q->event_idx) {
		__atomic_store_n(&driver_event(q)->off_wrap, advance(q, q->used, places - 1),
				 __ATOMIC_RELAXED);
		flags = VRING_PACKED_EVENT_FLAG_DESC;
	} else if (places) {
		flags = VRING_PACKED_EVENT_FLAG_ENABLE;
	}
	__atomic_store_n(&driver_event(q)->flags, flags, __ATOMIC_RELEASE);
}

const struct virtq_format virtq_packed = {
	.name = "packed",
	.init = packed_init,
	.add = packed_add,
	.wants_kick = packed_wants_kick,
	.has_used = packed_has_used,
	.take = packed_take,
	.call_after = packed_call_after,
};
