// SPDX-License-Identifier: MIT
/*
 * vq_inflight.c - the record of what is in flight on a queue, by which a process that takes the place of
 * one that has died does again what that had begun. Vhost-user Protocol, "Inflight I/O tracking".
 *
 * How it works. The record lies in memory that outlives us, and is always such that whoever finds it knows:
 *
 *	split	desc[head]	{ inflight, next, counter }	the chain is still in the descriptor table
 *		used_idx, last_batch_head			up to where this is true
 *	packed	desc[entry]	{ inflight, next, last, num, counter; id, flags, len, addr }	the descriptors
 *								themselves: used ones take their places
 *		free_head, used_idx, wrap; old_...		new, and as of the last batch
 *
 * A batch of used chains is one step for the driver: the store of the used index, or of the first
 * descriptor's flags. Before it (vq_record_publish) the record says what will be; after it
 * (vq_record_published) that it is. Found between the two, the ring itself tells which side of the step it is
 * on: used_idx differs from the ring's (split), or old_used_idx has been used (packed).
 *
 * A chain that is got has to find the entries as of the last batch, so that is published before.
 *
 * Which entries are free, and which make a chain, we keep a copy of: the record itself may be scribbled on by
 * the other side, and is read when the queue starts only, each field once.
 *
 * Threads: the queue's.
 */
#include "devices/virtio/vq_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define WRAP	0x8000u

struct split_desc {
	u8 inflight, padding[5];
	u16 next;
	u64 counter;
};

struct split_region {
	u64 features;
	u16 version, desc_num, last_batch_head, used_idx;
	struct split_desc desc[];
};

struct packed_desc {
	u8 inflight, padding;
	u16 next, last, num;
	u64 counter;
	u16 id, flags;
	u32 len;
	u64 addr;
};

struct packed_region {
	u64 features;
	u16 version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	u8 used_wrap_counter, old_used_wrap_counter, padding[7];
	struct packed_desc desc[];
};

_Static_assert(sizeof(struct split_region) == 16 && sizeof(struct split_desc) == 16,
	       "as specified");
_Static_assert(sizeof(struct packed_region) == 32 && sizeof(struct packed_desc) == 32,
	       "as specified");

struct waiting { /* a chain that was in flight */
	u64 counter;
	u16 entry, num;
};

struct vq_record {
	union {
		struct split_region *split;
		struct packed_region *packed;
	};
	u64 counter; /* of the next chain */
	struct waiting *waiting;
	u32 nwaiting, next_waiting;
	u16 *batch; /* entries put and not published */
	u32 nbatch;
	/* Packed: our copy. */
	u16 *next, *last;
	u16 free_head;
	struct vring_packed_desc *desc; /* room for one chain */
};

/* What is before this in the program is in the record before what is behind it. A process that dies loses
 * no store, so the compiler's order is all there is to keep. */
static void then(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

u64 vq_inflight_size(bool packed, u16 size)
{
	return packed ? sizeof(struct packed_region) + (u64)size * sizeof(struct packed_desc)
		      : sizeof(struct split_region) + (u64)size * sizeof(struct split_desc);
}

void vq_inflight_clear(void *inflight)
{
	((struct split_region *)inflight)->version = 0; /* the same place in both */
}

static int by_counter(const void *a, const void *b)
{
	const struct waiting *x = a, *y = b;

	return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static void add_waiting(struct vq_record *r, u64 counter, u16 entry, u16 num)
{
	r->waiting[r->nwaiting++] = (struct waiting){ counter, entry, num };
	if (counter >= r->counter)
		r->counter = counter + 1;
}

/* ---- split ---- */

static void split_begin(struct vq *q)
{
	struct split_region *s = q->record->split;

	memset(s, 0, vq_inflight_size(false, q->cfg.size));
	s->desc_num = q->cfg.size;
	s->used_idx = q->pos.used;
	then();
	s->version = VERSION;
}

static int split_recover(struct vq *q)
{
	struct split_region *s = q->record->split;
	u16 used = __atomic_load_n(&((struct vring_used *)q->device)->idx, __ATOMIC_ACQUIRE);
	u16 n = used - s->used_idx, i = s->last_batch_head, size = q->cfg.size;

	/* The last batch was seen, and not crossed out any more. */
	for (; n && n <= size; n--) {
		if (i >= size)
			return -EINVAL;
		s->desc[i].inflight = 0;
		i = s->desc[i].next;
	}
	if (n)
		return -EINVAL;
	then();
	s->used_idx = used;
	for (u32 k = 0; k < size; k++) {
		if (s->desc[k].inflight)
			add_waiting(q->record, s->desc[k].counter, k, 1);
	}
	q->pos.used = used;
	q->pos.avail = used + q->record->nwaiting;
	q->room -= q->record->nwaiting;
	return 0;
}

/* ---- packed ---- */

static void packed_begin(struct vq *q)
{
	struct packed_region *p = q->record->packed;

	memset(p, 0, vq_inflight_size(true, q->cfg.size));
	p->desc_num = q->cfg.size;
	p->used_idx = p->old_used_idx = q->pos.used & ~WRAP;
	p->used_wrap_counter = p->old_used_wrap_counter = !!(q->pos.used & WRAP);
	for (u32 i = 0; i < q->cfg.size; i++)
		p->desc[i].next = q->record->next[i] = i + 1; /* the last one's: the end */
	then();
	p->version = VERSION;
}

/* Was the batch that was being published seen by the driver? */
static bool packed_seen(const struct vq *q, u16 old_idx, bool old_wrap)
{
	const struct vring_packed_desc *d = (const struct vring_packed_desc *)q->desc + old_idx;
	u16 flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
	bool avail = flags >> VRING_PACKED_DESC_F_AVAIL & 1,
	     used = flags >> VRING_PACKED_DESC_F_USED & 1;

	return !(avail == old_wrap && used != old_wrap);
}

/* Take the chain of `num` entries from `head` on. False: it can't be. */
static bool packed_claim(struct vq *q, const struct packed_region *p, bool *taken, u16 head,
			 u16 num)
{
	u16 i = head;

	if (!num || num > q->cfg.size)
		return false;
	for (u16 k = 0; k < num; k++) {
		if (i >= q->cfg.size || taken[i])
			return false;
		taken[i] = true;
		q->record->last[head] = i;
		q->record->next[i] = p->desc[i].next;
		i = q->record->next[i];
	}
	return true;
}

/* All entries that no chain has are free. */
static void packed_free_list(struct vq *q, const bool *taken)
{
	struct vq_record *r = q->record;
	struct packed_region *p = r->packed;
	u16 head = q->cfg.size;

	for (u32 i = q->cfg.size; i-- > 0;) {
		if (taken[i])
			continue;
		p->desc[i].inflight = 0;
		p->desc[i].next = r->next[i] = head;
		head = i;
	}
	r->free_head = p->free_head = p->old_free_head = head;
}

/* Cross out the last batch, which the driver has seen: what was put in front of the old free list. */
static int packed_commit(struct vq *q)
{
	struct packed_region *p = q->record->packed;
	u16 i = p->free_head, end = p->old_free_head, last;

	for (u32 n = 0; i != end; n++) {
		if (i >= q->cfg.size || n == q->cfg.size)
			return -EINVAL;
		p->desc[i].inflight = 0;
		last = p->desc[i].last;
		if (last >= q->cfg.size)
			return -EINVAL;
		i = p->desc[last].next;
	}
	return 0;
}

static int packed_collect(struct vq *q, bool *taken, u32 *places)
{
	struct packed_region *p = q->record->packed;

	for (u32 i = 0; i < q->cfg.size; i++) {
		u16 num = p->desc[i].num;

		if (!p->desc[i].inflight)
			continue;
		if (!packed_claim(q, p, taken, i, num))
			return -EINVAL;
		add_waiting(q->record, p->desc[i].counter, i, num);
		*places += num;
	}
	return 0;
}

/* `pos` moved on by n places, at most a lap. */
static u16 pos_add(const struct vq *q, u16 pos, u32 n)
{
	u32 off = (pos & ~WRAP) + n;

	return off < q->cfg.size ? pos + n : (off - q->cfg.size) | (~pos & WRAP);
}

/*
 * Used descriptors of a batch that was never published may stand behind its first one. The driver, which has
 * not looked yet, would take them for ours as soon as the first is used: they are available again.
 */
static void packed_unpublish(struct vq *q, u32 places)
{
	u16 pos = q->pos.used;

	for (; places--; pos = pos_add(q, pos, 1)) {
		struct vring_packed_desc *d = (struct vring_packed_desc *)q->desc + (pos & ~WRAP);

		__atomic_store_n(
			&d->flags,
			1u << (pos & WRAP ? VRING_PACKED_DESC_F_AVAIL : VRING_PACKED_DESC_F_USED),
			__ATOMIC_RELEASE);
	}
}

static int packed_recover(struct vq *q)
{
	struct packed_region *p = q->record->packed;
	u16 idx = p->used_idx, old_idx = p->old_used_idx;
	bool wrap = p->used_wrap_counter & 1, old_wrap = p->old_used_wrap_counter & 1;
	u32 places = 0;
	bool *taken;
	int err = 0;

	if (idx >= q->cfg.size || old_idx >= q->cfg.size)
		return -EINVAL;
	if ((idx != old_idx || wrap != old_wrap) && packed_seen(q, old_idx, old_wrap)) {
		err = packed_commit(q);
	} else { /* roll back */
		idx = old_idx;
		wrap = old_wrap;
	}
	taken = calloc(q->cfg.size, sizeof(*taken));
	if (!taken)
		return -ENOMEM;
	if (!err)
		err = packed_collect(q, taken, &places);
	if (!err)
		packed_free_list(q, taken);
	free(taken);
	p->used_idx = p->old_used_idx = idx;
	p->used_wrap_counter = p->old_used_wrap_counter = wrap;
	q->pos.used = idx | (wrap ? WRAP : 0);
	if (err || places > q->room)
		return -EINVAL;
	q->pos.avail = pos_add(q, q->pos.used, places);
	q->room -= places;
	packed_unpublish(q, places);
	return 0;
}

/* Write the chain's descriptors down, which are still in the ring from `pos` on. */
static void packed_got(struct vq *q, struct vq_chain *c, u16 pos)
{
	struct vq_record *r = q->record;
	struct packed_region *p = r->packed;
	u16 head = r->free_head, i = head;

	for (u16 k = 0; k < c->ndesc; k++, pos = pos_add(q, pos, 1)) {
		const volatile struct vring_packed_desc *d =
			(struct vring_packed_desc *)q->desc + (pos & ~WRAP);

		p->desc[i].addr = d->addr;
		p->desc[i].len = d->len;
		p->desc[i].flags = d->flags;
		p->desc[i].id = d->id;
		p->desc[i].next = r->next[i];
		r->last[head] = i;
		i = r->next[i];
	}
	p->desc[head].last = r->last[head];
	p->desc[head].num = c->ndesc;
	p->desc[head].counter = r->counter++;
	then();
	p->desc[head].inflight = 1;
	p->free_head = p->old_free_head = r->free_head = i;
	c->entry = head;
}

static int packed_get_again(struct vq *q, struct vq_chain *c, const struct waiting *w)
{
	struct vq_record *r = q->record;
	const volatile struct packed_desc *d = NULL;
	u16 i = w->entry;

	for (u16 k = 0; k < w->num; k++, i = r->next[i]) {
		d = &r->packed->desc[i];
		r->desc[k] = (struct vring_packed_desc){
			.addr = d->addr, .len = d->len, .id = d->id, .flags = d->flags
		};
	}
	c->entry = w->entry;
	return q->format->again(q, c, r->desc, w->num, r->desc[w->num - 1].id);
}

static void packed_put(struct vq *q, u16 entry)
{
	struct vq_record *r = q->record;

	r->packed->desc[r->last[entry]].next = r->next[r->last[entry]] = r->free_head;
	r->packed->free_head = r->free_head = entry;
}

/* ---- both ---- */

void vq_record_close(struct vq *q)
{
	struct vq_record *r = q->record;

	if (!r)
		return;
	free(r->waiting);
	free(r->batch);
	free(r->next);
	free(r->last);
	free(r->desc);
	free(r);
	q->record = NULL;
}

int vq_record_open(struct vq *q)
{
	struct vq_record *r = calloc(1, sizeof(*r));
	u32 size = q->cfg.size;
	struct split_region *s = q->cfg.inflight;
	int err = -ENOMEM;

	if (!r)
		return -ENOMEM;
	q->record = r;
	r->split = s;
	r->waiting = calloc(size, sizeof(*r->waiting));
	r->batch = calloc(size, sizeof(*r->batch));
	r->next = calloc(size, sizeof(*r->next));
	r->last = calloc(size, sizeof(*r->last));
	r->desc = calloc(size, sizeof(*r->desc));
	if (!r->waiting || !r->batch || !r->next || !r->last || !r->desc)
		goto close;
	err = 0;
	if (!s->version) { /* the same places in both formats */
		q->cfg.packed ? packed_begin(q) : split_begin(q);
	} else {
		err = s->version != VERSION || s->desc_num != size ? -EINVAL
		      : q->cfg.packed				   ? packed_recover(q)
								   : split_recover(q);
	}
	if (err)
		goto close;
	qsort(r->waiting, r->nwaiting, sizeof(*r->waiting), by_counter);
	q->avail_seen = q->pos.avail;
	q->published = q->pos.used;
	return 0;
close:
	vq_record_close(q);
	return err;
}

bool vq_record_waits(const struct vq *q)
{
	return q->record->next_waiting < q->record->nwaiting;
}

static int get_again(struct vq *q, struct vq_chain *c)
{
	const struct waiting *w = &q->record->waiting[q->record->next_waiting++];

	return q->cfg.packed ? packed_get_again(q, c, w)
			     : q->format->again(q, c, NULL, 0, w->entry);
}

int vq_record_get(struct vq *q, struct vq_chain *c)
{
	struct vq_record *r = q->record;
	u16 pos;
	int got;

	if (vq_record_waits(q))
		return get_again(q, c);
	if (r->nbatch)
		vq_publish(q);
	pos = q->pos.avail;
	got = q->format->get(q, c);
	if (got <= 0)
		return got;
	if (q->cfg.packed) {
		packed_got(q, c, pos);
	} else {
		r->split->desc[c->id].counter = r->counter++;
		then();
		r->split->desc[c->id].inflight = 1;
	}
	return got;
}

void vq_record_put(struct vq *q, const struct vq_chain *c)
{
	struct vq_record *r = q->record;

	if (q->cfg.packed) {
		packed_put(q, c->entry);
		r->batch[r->nbatch++] = c->entry;
	} else {
		r->split->desc[c->id].next = r->split->last_batch_head;
		r->split->last_batch_head = c->id;
		r->batch[r->nbatch++] = c->id;
	}
	then();
}

void vq_record_publish(struct vq *q)
{
	struct packed_region *p = q->record->packed;

	if (q->cfg.packed) {
		p->used_idx = q->pos.used & ~WRAP;
		p->used_wrap_counter = !!(q->pos.used & WRAP);
	}
	then();
}

void vq_record_published(struct vq *q)
{
	struct vq_record *r = q->record;

	then();
	for (u32 i = 0; i < r->nbatch; i++) {
		if (q->cfg.packed)
			r->packed->desc[r->batch[i]].inflight = 0;
		else
			r->split->desc[r->batch[i]].inflight = 0;
	}
	r->nbatch = 0;
	then();
	if (q->cfg.packed) {
		r->packed->old_free_head = r->packed->free_head;
		r->packed->old_used_idx = r->packed->used_idx;
		r->packed->old_used_wrap_counter = r->packed->used_wrap_counter;
	} else {
		r->split->used_idx = q->pos.used;
	}
}
