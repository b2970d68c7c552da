// SPDX-License-Identifier: MIT
/*
 * vq.c - a virtqueue from the device's side: what both ring formats have in common. See vq.h.
 *
 * How it works: a ring of `size` places is a circle on which four positions follow each other:
 *
 *	  published        pos.used             pos.avail          driver's own
 *	      │<── batch ──>│<──── in flight ────>│<── available ──>│
 *	      │<────────────── size - room ──────>│<──── at most room ────>│
 *
 * A chain takes one place (split) or as many as it has descriptors (packed). The driver may fill a
 * place anew only after it has seen it used, so what it makes available must fit into `room`: that
 * one number bounds the chains in flight, and with them everything here, whatever the guest does.
 *
 * In order (2.7.9, 2.8.8): chains are numbered as they are got. One that is put before its turn
 * waits in order[] until those before it are put; then all that waited behind follow.
 *
 * Polled: it is not the driver that vq_rearm() and vq_disarm() tell, but whoever looks for chains here. The
 * driver is told not to kick once, and then now and again: by event index (2.7.10) this says "not for the next
 * 2^16 chains".
 *
 * Threads: see vq.h. Memory shared with the driver is touched in vq_split.c and vq_packed.c only.
 */
#include "devices/virtio/vq_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define DISARM_EVERY 0x4000 /* of the positions of pos.avail */

/* A chain that was put too early. */
struct vq_order {
	u32 written;
	u16 id, ndesc;
	bool put;
};

int vq_break(struct vq *q, const char *why)
{
	q->broken = why;
	return -EINVAL;
}

void *vq_ptr_elsewhere(struct vq *q, u64 gpa, u64 len)
{
	void *host = mem_ptr(q->mem, gpa, len);

	for (u32 i = 0; host && i < q->mem->nregions; i++) {
		const struct mem_region *r = &q->mem->region[i];

		if (range_inside(gpa, len, r->gpa, r->size))
			q->region = r;
	}
	return host;
}

static const struct vq_format *format_of(const struct vq_cfg *cfg)
{
	return cfg->packed ? &vq_packed : &vq_split;
}

/* The host address of an area, or NULL. */
static void *area(const struct mem *mem, u64 gpa, u32 len, u32 align)
{
	return gpa % align ? NULL : mem_ptr(mem, gpa, len);
}

int vq_find_areas(struct vq_areas *areas, const struct mem *mem, const struct vq_cfg *cfg)
{
	u32 len[3], align[3];

	if (!cfg->size || cfg->size > VQ_SIZE_MAX ||
	    !format_of(cfg)->valid(cfg, vq_pos_initial(cfg->packed)))
		return -EINVAL;
	format_of(cfg)->areas(cfg, len, align);
	areas->desc = area(mem, cfg->desc, len[0], align[0]);
	areas->driver = area(mem, cfg->driver, len[1], align[1]);
	areas->device = area(mem, cfg->device, len[2], align[2]);
	return areas->desc && areas->driver && areas->device ? 0 : -EFAULT;
}

/* Tell the driver not to kick. */
static void disarm(struct vq *q)
{
	q->format->disarm(q);
	if (q->marks)
		vq_log_ring(q);
}

/* Tell it to, for the next chain. Is there one already? */
static bool arm(struct vq *q)
{
	bool ready = q->format->rearm(q);

	if (q->marks)
		vq_log_ring(q);
	return ready;
}

int vq_start(struct vq *q, const struct mem *mem, const struct vq_cfg *cfg, struct vq_pos pos,
	     int callfd)
{
	struct vq_areas areas;
	int err = vq_find_areas(&areas, mem, cfg);

	memset(q, 0, offsetof(struct vq, stats));
	q->callfd = -1;
	if (err)
		return err;
	q->batch_first = q->stats.chains;
	if (!format_of(cfg)->valid(cfg, pos) || (cfg->inflight && cfg->in_order))
		return -EINVAL;

	q->mem = mem;
	q->region = &mem->region[0];
	q->cfg = *cfg;
	q->desc = areas.desc;
	q->driver = areas.driver;
	q->device = areas.device;
	if (cfg->in_order) {
		q->order = calloc(cfg->size, sizeof(*q->order));
		if (!q->order)
			return -ENOMEM;
	}

	q->pos = pos;
	q->avail_seen = pos.avail;
	q->published = pos.used;
	q->room = cfg->size;
	q->callfd = callfd;
	q->format = format_of(cfg);
	if (cfg->inflight) {
		err = vq_record_open(q);
		if (err) {
			q->format = NULL;
			return err;
		}
	}
	if (cfg->log && vq_log_open(q)) {
		vq_record_close(q);
		free(q->order);
		q->order = NULL;
		q->format = NULL;
		return -ENOMEM;
	}
	if (cfg->polled) {
		q->disarmed = q->pos.avail;
		disarm(q);
	}
	return 0;
}

struct vq_pos vq_stop(struct vq *q)
{
	assert(q->format && !q->inflight);
	vq_publish(q);
	if (q->cfg.polled)
		arm(q);
	vq_log_close(q);
	free(q->order);
	q->order = NULL;
	if (q->record) { /* what was not even got again is not ahead */
		if (vq_record_waits(q))
			q->pos.avail = q->pos.used;
		vq_record_close(q);
	}
	q->format = NULL;
	return q->pos;
}

void vq_abandon(struct vq *q)
{
	vq_log_close(q);
	free(q->order);
	q->order = NULL;
	vq_record_close(q);
	q->format = NULL;
}

/* The number after `seq`. */
static u16 seq_after(const struct vq *q, u16 seq)
{
	return seq + 1 == q->cfg.size ? 0 : seq + 1;
}

int vq_get(struct vq *q, struct vq_chain *c)
{
	int got;

	if (q->broken)
		return 0;
	got = q->record ? vq_record_get(q, c) : q->format->get(q, c);
	if (got > 0 && q->marks)
		got = vq_log_got(q, c);
	if (got > 0) {
		c->seq = q->get_seq;
		q->get_seq = seq_after(q, q->get_seq);
		q->inflight++;
	}
	return got;
}

void vq_unget(struct vq *q, const struct vq_chain *c)
{
	assert(q->inflight && seq_after(q, c->seq) == q->get_seq && !q->record);
	q->get_seq = c->seq;
	q->inflight--;
	if (q->marks)
		vq_log_unget(q, c);
	q->format->unget(q, c);
}

/* Not inlined: the compiler would load all of the chain at once, which waits for all that was stored before
 * its parts (see write_header() in net_rx.c). */
static __attribute__((noinline)) void put_early(struct vq *q, const struct vq_chain *c, u32 written)
{
	struct vq_order *o = &q->order[c->seq];

	assert(!o->put);
	*o = (struct vq_order){ .written = written, .id = c->id, .ndesc = c->ndesc, .put = true };
}

static void put_in_order(struct vq *q, const struct vq_chain *c, u32 written)
{
	struct vq_order *o;

	if (c->seq != q->put_seq) {
		put_early(q, c, written);
		return;
	}
	q->format->put(q, c->id, c->ndesc, written);
	q->put_seq = seq_after(q, q->put_seq);
	for (o = &q->order[q->put_seq]; o->put; o = &q->order[q->put_seq]) {
		o->put = false;
		q->format->put(q, o->id, o->ndesc, o->written);
		q->put_seq = seq_after(q, q->put_seq);
	}
}

void vq_put(struct vq *q, const struct vq_chain *c, u32 written)
{
	assert(q->inflight && written <= c->in_len);
	q->inflight--;
	vq_count(&q->stats.chains, 1);
	vq_count(&q->stats.out_bytes, c->out_len);
	vq_count(&q->stats.in_bytes, written);
	if (q->marks)
		vq_log_put(q, c);
	if (q->record)
		vq_record_put(q, c);
	if (q->cfg.in_order)
		put_in_order(q, c, written);
	else
		q->format->put(q, c->id, c->ndesc, written);
}

/* The chains put since the last batch are one. In order, some of them may have been put before. */
static void count_batch(struct vq *q)
{
	u64 n = q->stats.chains - q->batch_first;
	u32 bucket = n ? 63 - __builtin_clzll(n) : 0;

	q->batch_first = q->stats.chains;
	trace_mark(&q->track, TRACE_BATCH, n, 0);
	vq_count(&q->stats.batch[bucket < VQ_BATCHES ? bucket : VQ_BATCHES - 1], 1);
	if (!q->broken && q->format->full(q))
		vq_count(&q->stats.full, 1);
}

bool vq_publish(struct vq *q)
{
	u64 began;
	bool call;

	if (!q->batch)
		return false;
	count_batch(q);
	if (q->record)
		vq_record_publish(q);
	call = q->format->publish(q);
	if (q->record)
		vq_record_published(q);
	if (q->marks)
		vq_log_ring(q);
	q->published = q->pos.used;
	q->room += q->batch;
	q->batch = 0;
	if (!call || q->callfd < 0) {
		vq_count(&q->stats.no_calls, 1);
		return false;
	}
	began = trace_begin(&q->track);
	/* EAGAIN: a call is waiting already. EINTR: who has the eventfd, too, has made it block, and we are
	 * wanted elsewhere (loop_call()). He has called himself off. */
	if (eventfd_write(q->callfd, 1) < 0 && errno == EINTR)
		q->callfd = -1;
	trace_end(&q->track, TRACE_INTERRUPT, began, 0, 0);
	vq_count(&q->stats.calls, 1);
	return true;
}

void vq_disarm(struct vq *q)
{
	q->waits = false;
	if (!q->cfg.polled)
		disarm(q);
}

bool vq_rearm(struct vq *q)
{
	if (q->broken)
		return false;
	if (q->cfg.polled) {
		if ((u16)(q->pos.avail - q->disarmed) >= DISARM_EVERY) {
			q->disarmed = q->pos.avail;
			disarm(q);
		}
		q->waits = true;
		return false;
	}
	if (arm(q) || (q->record && vq_record_waits(q)))
		return true;
	vq_count(&q->stats.empty, 1);
	return false;
}

bool vq_ready(struct vq *q)
{
	return !q->broken && (q->format->ready(q) || (q->record && vq_record_waits(q)));
}

void vq_stats_read(const struct vq_stats *s, struct vq_stats *copy)
{
	const u64 *from = (const u64 *)s;
	u64 *to = (u64 *)copy;

	_Static_assert(sizeof(*s) % sizeof(u64) == 0, "counters only");
	for (u32 i = 0; i < sizeof(*s) / sizeof(u64); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}
