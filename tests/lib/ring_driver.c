// SPDX-License-Identifier: MIT
/*
 * ring_driver.c - a virtqueue from the driver's side. See ring_driver.h.
 *
 * How it works: at r->cfg.desc the ring's three areas, each on a cache line of its own; behind them,
 * on a page's boundary, an indirect table of TABLE_MAX descriptors for each id.
 *
 * What the driver knows of a chain it keeps to itself, by id: a driver, too, must not believe what
 * stands in memory that the other side writes. Split: the id is the head descriptor, and free
 * descriptors are a list; with IN_ORDER they are taken in ring order (2.7.5), which then is the order
 * of the list. Packed: ids are free numbers, and places are taken in ring order.
 *
 * Barriers: the other ends of the pairs that devices/virtio/vq_split.c and vq_packed.c name.
 */
#include "tests/lib/ring_driver.h"

#include "minivmm/mem.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define TABLE_MAX  64
#define LINE	   64

#define DESC_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  (1u << VRING_PACKED_DESC_F_USED)
#define WRAP	   (1u << VRING_PACKED_EVENT_F_WRAP_CTR)

struct chain_info {
	u16 ndesc; /* places in the ring (packed), in the table (split); 0: the id is free */
	u16 last;  /* split: the chain's last descriptor */
};

struct ring_driver_state {
	u8 *desc, *driver, *device, *tables;
	u64 tables_gpa;
	enum ring_calls calls;

	struct chain_info *info; /* by id */
	u16 *next;		 /* free ids: a list; split: chains are lists, too */
	u16 free, free_tail;	 /* its ends, if nfree */
	u32 nfree;		 /* descriptors (split), places (packed) */
	u16 *place_len;		 /* packed: places of the list that begins here */
	u32 inflight;

	struct vq_pos pos; /* avail: next to fill; used: next to look at */
	u16 published;	   /* where `avail` stood at the last publication */
	u16 batch;	   /* added since then: entries (split), places (packed) */
	u16 head_flags;	   /* packed: of the first descriptor of the batch */
};

static u16 size_of(const struct ring_driver *r)
{
	return r->cfg.size;
}

/* ---- positions in a packed ring: bit 15 is the wrap counter ---- */

static u16 place(u16 pos)
{
	return pos & ~WRAP;
}

static u16 pos_after(const struct ring_driver *r, u16 pos, u32 n)
{
	u32 off = place(pos) + n;

	return off < size_of(r) ? pos + n : (off - size_of(r)) | (~pos & WRAP);
}

/* Places from `base` to `pos` in a circle of two laps. */
static u32 pos_ahead(const struct ring_driver *r, u16 pos, u16 base)
{
	u32 n = place(pos) + 2 * size_of(r) - place(base);

	if ((pos ^ base) & WRAP)
		n += size_of(r);
	return n % (2 * size_of(r));
}

/* ---- the areas ---- */

static struct vring_avail *avail_of(const struct ring_driver *r)
{
	return (struct vring_avail *)r->state->driver;
}

static struct vring_used *used_of(const struct ring_driver *r)
{
	return (struct vring_used *)r->state->device;
}

static u16 *used_event(const struct ring_driver *r)
{
	return &avail_of(r)->ring[size_of(r)];
}

static u16 *avail_event(const struct ring_driver *r)
{
	return (u16 *)&used_of(r)->ring[size_of(r)];
}

static struct vring_packed_desc *packed_desc(const struct ring_driver *r, u16 pos)
{
	return (struct vring_packed_desc *)r->state->desc + place(pos);
}

static struct vring_packed_desc_event *driver_event(const struct ring_driver *r)
{
	return (struct vring_packed_desc_event *)r->state->driver;
}

static struct vring_packed_desc_event *device_event(const struct ring_driver *r)
{
	return (struct vring_packed_desc_event *)r->state->device;
}

static u32 area_len(const struct ring_driver *r, int area)
{
	u32 size = size_of(r);

	if (area == 0)
		return 16 * size;
	if (r->cfg.packed)
		return 4;
	return area == 1 ? 6 + 2 * size : 6 + 8 * size;
}

int ring_driver_init(struct ring_driver *r, const struct mem *mem, u64 gpa,
		     const struct vq_cfg *cfg)
{
	struct ring_driver_state *s;
	u64 tables;

	*r = (struct ring_driver){ .mem = mem, .cfg = *cfg };
	r->cfg.desc = gpa;
	r->cfg.driver = ALIGN_UP(r->cfg.desc + area_len(r, 0), LINE);
	r->cfg.device = ALIGN_UP(r->cfg.driver + area_len(r, 1), LINE);
	tables = ALIGN_UP(r->cfg.device + area_len(r, 2), PAGE_SIZE);
	r->end = tables + (cfg->indirect ? (u64)cfg->size * TABLE_MAX * 16 : 0);
	if (!mem_ptr(mem, gpa, r->end - gpa))
		return -EFAULT;

	s = r->state = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->info = calloc(cfg->size, sizeof(*s->info));
	s->next = calloc(cfg->size, sizeof(*s->next));
	s->place_len = calloc(cfg->size, sizeof(*s->place_len));
	if (!s->info || !s->next || !s->place_len) {
		ring_driver_free(r);
		return -ENOMEM;
	}
	s->desc = mem_ptr(mem, r->cfg.desc, area_len(r, 0));
	s->driver = mem_ptr(mem, r->cfg.driver, area_len(r, 1));
	s->device = mem_ptr(mem, r->cfg.device, area_len(r, 2));
	s->tables_gpa = tables;
	s->tables = mem_ptr(mem, tables, r->end - tables);
	ring_driver_reset(r);
	return 0;
}

void ring_driver_free(struct ring_driver *r)
{
	if (r->state) {
		free(r->state->info);
		free(r->state->next);
		free(r->state->place_len);
	}
	free(r->state);
	r->state = NULL;
}

void ring_driver_reset(struct ring_driver *r)
{
	struct ring_driver_state *s = r->state;

	memset(s->desc, 0, area_len(r, 0));
	memset(s->driver, 0, area_len(r, 1));
	memset(s->device, 0, area_len(r, 2));
	memset(s->info, 0, size_of(r) * sizeof(*s->info));
	memset(s->place_len, 0, size_of(r) * sizeof(*s->place_len));
	for (u32 i = 0; i < size_of(r); i++)
		s->next[i] = i + 1;
	s->free = 0;
	s->free_tail = size_of(r) - 1;
	s->nfree = size_of(r);
	s->inflight = 0;
	s->calls = RING_CALLS_ON;
	s->pos = vq_pos_initial(r->cfg.packed);
	s->published = s->pos.avail;
	s->batch = 0;
}

u32 ring_inflight(const struct ring_driver *r)
{
	return r->state->inflight;
}

/* ---- adding ---- */

/* Put the list of ids `first` to `last` among the free ones: in front, where they are still in the
 * cache, or behind if the order of descriptors is the ring's. */
static void ids_free(struct ring_driver *r, u16 first, u16 last, u32 n, bool was_empty)
{
	struct ring_driver_state *s = r->state;

	if (was_empty) {
		s->free = first;
		s->free_tail = last;
	} else if (r->cfg.in_order && !r->cfg.packed) {
		s->next[s->free_tail] = first;
		s->free_tail = last;
	} else {
		s->next[last] = s->free;
		s->free = first;
	}
	s->nfree += n;
}

/* Fill `id`'s table; returns its guest physical address. */
static u64 fill_table(struct ring_driver *r, u16 id, const struct ring_buf *buf, u32 nout, u32 nin)
{
	u64 off = (u64)id * TABLE_MAX * 16;

	for (u32 i = 0; i < nout + nin; i++) {
		bool last = i + 1 == nout + nin;
		u16 flags = i < nout ? 0 : VRING_DESC_F_WRITE;

		if (r->cfg.packed)
			((struct vring_packed_desc *)(r->state->tables + off))[i] =
				(struct vring_packed_desc){ .addr = buf[i].gpa,
							    .len = buf[i].len,
							    .flags = flags };
		else
			((struct vring_desc *)(r->state->tables + off))[i] = (struct vring_desc){
				.addr = buf[i].gpa,
				.len = buf[i].len,
				.flags = flags | (last ? 0 : VRING_DESC_F_NEXT),
				.next = last ? 0 : i + 1,
			};
	}
	return r->state->tables_gpa + off;
}

static void add_split(struct ring_driver *r, u16 head, const struct ring_buf *buf, u32 nout, u32 n,
		      u16 indirect)
{
	struct ring_driver_state *s = r->state;
	struct vring_desc *desc = (struct vring_desc *)s->desc;
	u16 id = head;

	for (u32 i = 0; i < n; i++) {
		bool last = i + 1 == n;

		desc[id] = (struct vring_desc){
			.addr = buf[i].gpa,
			.len = buf[i].len,
			.flags = (i < nout ? 0 : VRING_DESC_F_WRITE) | indirect |
				 (last ? 0 : VRING_DESC_F_NEXT),
			.next = last ? 0 : s->next[id],
		};
		s->info[head].last = id;
		id = s->next[id];
	}
	s->free = id;
	s->info[head].ndesc = n;
	avail_of(r)->ring[s->pos.avail++ & (size_of(r) - 1)] = head;
	s->batch++;
}

static void add_packed(struct ring_driver *r, u16 id, const struct ring_buf *buf, u32 nout, u32 n,
		       u16 indirect)
{
	struct ring_driver_state *s = r->state;

	s->free = s->next[id];
	s->info[id].ndesc = n;
	s->place_len[place(s->pos.avail)] = n;
	for (u32 i = 0; i < n; i++) {
		struct vring_packed_desc *d = packed_desc(r, s->pos.avail);
		u16 flags = (i < nout ? 0 : VRING_DESC_F_WRITE) | indirect |
			    (i + 1 == n ? 0 : VRING_DESC_F_NEXT) |
			    (s->pos.avail & WRAP ? DESC_AVAIL : DESC_USED);

		d->addr = buf[i].gpa;
		d->len = buf[i].len;
		d->id = id;
		if (!s->batch)
			s->head_flags = flags;
		else
			__atomic_store_n(&d->flags, flags, __ATOMIC_RELAXED);
		s->pos.avail = pos_after(r, s->pos.avail, 1);
		s->batch++;
	}
}

int ring_add(struct ring_driver *r, const struct ring_buf *buf, u32 nout, u32 nin, bool indirect)
{
	struct ring_driver_state *s = r->state;
	u32 n = indirect ? 1 : nout + nin;
	struct ring_buf table;
	u16 id = s->free;

	assert(nout + nin && (!indirect || r->cfg.indirect));
	if (n > s->nfree || nout + nin > (indirect ? TABLE_MAX : size_of(r)))
		return -ENOSPC;
	if (indirect) {
		table = (struct ring_buf){ .gpa = fill_table(r, id, buf, nout, nin),
					   .len = (nout + nin) * 16 };
		buf = &table;
		nout = 1;
	}
	if (r->cfg.packed)
		add_packed(r, id, buf, nout, n, indirect ? VRING_DESC_F_INDIRECT : 0);
	else
		add_split(r, id, buf, nout, n, indirect ? VRING_DESC_F_INDIRECT : 0);
	s->nfree -= n;
	s->inflight++;
	return id;
}

/* ---- publishing ---- */

static bool split_kick(struct ring_driver *r)
{
	struct ring_driver_state *s = r->state;
	u16 event;

	/* Pairs with split_look(), and with split_rearm(). */
	__atomic_store_n(&avail_of(r)->idx, s->pos.avail, __ATOMIC_SEQ_CST);
	if (!r->cfg.event_idx)
		return !(__atomic_load_n(&used_of(r)->flags, __ATOMIC_SEQ_CST) &
			 VRING_USED_F_NO_NOTIFY);
	event = __atomic_load_n(avail_event(r), __ATOMIC_SEQ_CST);
	return (u16)(event - s->published) < s->batch;
}

static bool packed_kick(struct ring_driver *r)
{
	struct ring_driver_state *s = r->state;
	struct vring_packed_desc_event *e = device_event(r);
	u16 flags;

	/* Pairs with packed_get(), and with packed_rearm(). */
	__atomic_store_n(&packed_desc(r, s->published)->flags, s->head_flags, __ATOMIC_SEQ_CST);
	flags = __atomic_load_n(&e->flags, __ATOMIC_SEQ_CST);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !r->cfg.event_idx)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	return pos_ahead(r, __atomic_load_n(&e->off_wrap, __ATOMIC_SEQ_CST), s->published) <
	       s->batch;
}

bool ring_publish(struct ring_driver *r)
{
	struct ring_driver_state *s = r->state;
	bool kick;

	if (!s->batch)
		return false;
	kick = r->cfg.packed ? packed_kick(r) : split_kick(r);
	s->published = s->pos.avail;
	s->batch = 0;
	return kick;
}

/* ---- getting back ---- */

/* Is there something used? */
static bool used_ready(struct ring_driver *r)
{
	struct ring_driver_state *s = r->state;
	u16 flags;

	/* Pairs with split_publish(): sees what was used, or ring_calls() is seen. */
	if (!r->cfg.packed)
		return __atomic_load_n(&used_of(r)->idx, __ATOMIC_SEQ_CST) != s->pos.used;
	/* Pairs with packed_publish(), likewise. */
	flags = __atomic_load_n(&packed_desc(r, s->pos.used)->flags, __ATOMIC_SEQ_CST);
	return (flags & (DESC_AVAIL | DESC_USED)) ==
	       (s->pos.used & WRAP ? DESC_AVAIL | DESC_USED : 0);
}

/* Split with event_idx has no word for "always": ask for the next one again and again. */
static void calls_on_again(struct ring_driver *r)
{
	if (!r->cfg.packed && r->cfg.event_idx && r->state->calls == RING_CALLS_ON)
		__atomic_store_n(used_event(r), r->state->pos.used, __ATOMIC_SEQ_CST);
}

int ring_get(struct ring_driver *r, u32 *len)
{
	struct ring_driver_state *s = r->state;
	bool none_free = r->cfg.packed ? s->inflight == size_of(r) : s->nfree == 0;
	u32 id, n;

	if (!used_ready(r))
		return -1;
	if (r->cfg.packed) {
		struct vring_packed_desc *d = packed_desc(r, s->pos.used);

		id = d->id;
		*len = d->flags & VRING_DESC_F_WRITE ? d->len : 0;
	} else {
		struct vring_used_elem *e = &used_of(r)->ring[s->pos.used & (size_of(r) - 1)];

		id = e->id;
		*len = e->len;
	}
	assert(id < size_of(r) && s->info[id].ndesc); /* else the device made it up */
	n = s->info[id].ndesc;
	s->info[id].ndesc = 0;
	s->inflight--;
	if (r->cfg.packed) {
		s->pos.used = pos_after(r, s->pos.used, n);
		ids_free(r, id, id, n, none_free);
	} else {
		s->pos.used++;
		ids_free(r, id, s->info[id].last, n, none_free);
	}
	calls_on_again(r);
	return id;
}

/* ---- asking for interrupts ---- */

static void split_calls(struct ring_driver *r, enum ring_calls mode, u16 after)
{
	struct ring_driver_state *s = r->state;
	u16 event = s->pos.used;

	if (mode == RING_CALLS_AT)
		event += after - 1;
	else if (mode == RING_CALLS_OFF)
		event--; /* all of 2^16 away */
	/* Pairs with split_publish(): its used.idx, then what we store here. */
	if (r->cfg.event_idx)
		__atomic_store_n(used_event(r), event, __ATOMIC_SEQ_CST);
	else
		__atomic_store_n(&avail_of(r)->flags,
				 mode == RING_CALLS_OFF ? VRING_AVAIL_F_NO_INTERRUPT : 0,
				 __ATOMIC_SEQ_CST);
}

static void packed_calls(struct ring_driver *r, enum ring_calls mode, u16 after)
{
	struct ring_driver_state *s = r->state;
	struct vring_packed_desc_event *e = driver_event(r);
	u16 event = s->pos.used;
	u16 flags = VRING_PACKED_EVENT_FLAG_ENABLE;

	if (mode == RING_CALLS_AT) {
		for (u32 i = 1; i < after; i++) {
			u16 n = s->place_len[place(event)];

			event = pos_after(r, event, n ? n : 1);
		}
		__atomic_store_n(&e->off_wrap, event, __ATOMIC_SEQ_CST);
		flags = VRING_PACKED_EVENT_FLAG_DESC;
	} else if (mode == RING_CALLS_OFF) {
		flags = VRING_PACKED_EVENT_FLAG_DISABLE;
	}
	/* Pairs with packed_publish(): its descriptor flags, then what we store here. */
	__atomic_store_n(&e->flags, flags, __ATOMIC_SEQ_CST);
}

bool ring_calls(struct ring_driver *r, enum ring_calls mode, u16 after)
{
	assert(mode != RING_CALLS_AT || (r->cfg.event_idx && after));
	r->state->calls = mode;
	if (r->cfg.packed)
		packed_calls(r, mode, after);
	else
		split_calls(r, mode, after);
	return used_ready(r);
}
