// SPDX-License-Identifier: MIT
/*
 * virtio_split.c - the split virtqueue, driver's side (VIRTIO 1.2, 2.7).
 *
 *	 descriptor area        driver area: "available"      device area: "used"
 *	+--------------------+  +-----------------------+    +-------------------------+
 *	| addr len flags next|  | flags idx             |    | flags idx               |
 *	|    ...             |<---- ring[size]: heads   |    | ring[size]: head, len   |
 *	|                    |  | used_event            |    | avail_event             |
 *	+--------------------+  +-----------------------+    +-------------------------+
 *	 written by the driver   by the driver                by the device
 *
 * How it works: a chain is a linked list of descriptors, named by its first, the head. The driver
 * puts heads into the available ring, the device puts them into the used ring when it is done. The
 * two indices count up for ever, modulo 65536; modulo the size they are places in the rings.
 *
 * When must one side wake the other? Without EVENT_IDX a flag says "no need to". With it each side
 * names the index at which it wants to be woken: used_event and avail_event, behind the rings.
 *
 * Read next: virtio_packed.c.
 */
#include "virtio.h"

static struct vring_desc *descs(struct virtq *q)
{
	return (struct vring_desc *)q->desc;
}

static struct vring_avail *avail(struct virtq *q)
{
	return (struct vring_avail *)q->driver;
}

static struct vring_used *used(struct virtq *q)
{
	return (struct vring_used *)q->device;
}

static u16 *used_event(struct virtq *q)
{
	return &avail(q)->ring[q->size];
}

static u16 *avail_event(struct virtq *q)
{
	return (u16 *)&used(q)->ring[q->size];
}

static void split_init(struct virtq *q)
{
	q->avail = q->used = q->kicked = 0;
}

static u16 take_free(struct virtq *q)
{
	q->free--;
	return virtq_take_free(q);
}

static void fill(struct vring_desc *d, const struct virtq_buf *buf, bool write, bool last, u16 next)
{
	d->addr = (u64)buf->data;
	d->len = buf->len;
	d->flags = (write ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT);
	d->next = next;
}

/* Descriptors from the ring's own table, linked. Returns the head. */
static u16 add_direct(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 n)
{
	u16 head = take_free(q), at = head;

	for (u32 i = 0; i < n; i++) {
		bool last = i == n - 1;
		u16 next = last ? 0 : take_free(q);

		fill(&descs(q)[at], &buf[i], i >= nout, last, next);
		at = next;
	}
	q->ndesc[head] = n;
	return head;
}

/* 2.7.5.3: one descriptor in the ring, which refers to a table of them elsewhere. */
static u16 add_indirect(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 n)
{
	u16 head = take_free(q);
	struct vring_desc *table = (struct vring_desc *)q->indirect[head];

	for (u32 i = 0; i < n; i++)
		fill(&table[i], &buf[i], i >= nout, i == n - 1, i + 1);
	descs(q)[head] = (struct vring_desc){
		.addr = (u64)table,
		.len = n * sizeof(*table),
		.flags = VRING_DESC_F_INDIRECT,
	};
	q->ndesc[head] = 1;
	return head;
}

static void split_add(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 nin, void *token)
{
	u32 n = nout + nin;
	u16 head;

	head = q->use_indirect ? add_indirect(q, buf, nout, n) : add_direct(q, buf, nout, n);
	q->token[head] = token;
	avail(q)->ring[q->avail & (q->size - 1)] = head; /* 2.7: a power of two */
	q->avail++;
	/* 2.7.13.3: the chain first, then the index. Pairs with the device's acquire load of it. */
	__atomic_store_n(&avail(q)->idx, q->avail, __ATOMIC_RELEASE);
}

static bool split_wants_kick(struct virtq *q)
{
	u16 old = q->kicked;

	q->kicked = q->avail;
	/*
	 * 2.7.13.4.1: what was added must be visible before we look whether a kick is wanted. Pairs
	 * with the device's barrier between asking for a kick and looking for more.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->event_idx)
		return !(__atomic_load_n(&used(q)->flags, __ATOMIC_RELAXED) &
			 VRING_USED_F_NO_NOTIFY);
	return vring_need_event(__atomic_load_n(avail_event(q), __ATOMIC_RELAXED), q->avail, old);
}

static bool split_has_used(struct virtq *q)
{
	/* Pairs with the device's release store: the entry, and the data, are there as well. */
	return __atomic_load_n(&used(q)->idx, __ATOMIC_ACQUIRE) != q->used;
}

static u32 split_take(struct virtq *q, u32 *len)
{
	const vring_used_elem_t *e = &used(q)->ring[q->used & (q->size - 1)];
	u32 head = e->id, at = head;

	*len = e->len;
	q->used++;
	if (head >= q->size || !q->token[head])
		return head; /* the caller complains */
	for (u32 i = 0; i < q->ndesc[head]; i++) {
		u16 next = descs(q)[at].next;

		virtq_give_free(q, at);
		q->free++;
		at = next;
	}
	return head;
}

/* 2.7.7. An index that has just been passed is one that won't come for a long time. */
static void split_call_after(struct virtq *q, u32 places)
{
	if (q->event_idx)
		__atomic_store_n(used_event(q), q->used + places - 1, __ATOMIC_RELAXED);
	else
		__atomic_store_n(&avail(q)->flags, places ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
				 __ATOMIC_RELAXED);
}

const struct virtq_format virtq_split = {
	.name = "split",
	.init = split_init,
	.add = split_add,
	.wants_kick = split_wants_kick,
	.has_used = split_has_used,
	.take = split_take,
	.call_after = split_call_after,
};
