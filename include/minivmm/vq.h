/* SPDX-License-Identifier: MIT */
/*
 * vq.h - a virtqueue from the device's side: one API over split and packed rings.
 *
 * Virtual I/O Device (VIRTIO) 1.2, sections 2.6 (virtqueues), 2.7 (split), 2.8 (packed).
 *
 *	        driver (guest)                               device (we)
 *	             │  makes chains available  ───────────>  vq_get()      one chain, zero-copy
 *	             │                                        vq_unget()    ... not now after all
 *	             │                                        vq_put()      ... done, `written` bytes
 *	             │  <─────────────────── sees them used   vq_publish()  all puts at once, and at
 *	             │                                                      most one interrupt
 *	             │  kicks, or not, as told  <──────────   vq_disarm(), vq_rearm()
 *
 * A ring is four facts: its `cfg` (where it lies; the guest's registers), its `pos` (how far both
 * sides are: all that moves when somebody else takes the ring over), the kick eventfd and the call
 * eventfd. vq_start() takes three of them (who waits for the kick is the caller's business),
 * vq_stop() gives `pos` back.
 *
 * A guest that breaks the rules breaks its queue: vq_get() says so once with -EINVAL, vq_broken()
 * says why, and the queue gives nothing more until it is started anew.
 *
 * Threads: a queue belongs to one thread from vq_start() to vq_stop(). The other side, a vCPU or a
 * test's thread, only shares the rings with it.
 */
#ifndef MINIVMM_VQ_H
#define MINIVMM_VQ_H

#include "minivmm/base.h"
#include "minivmm/trace.h"

#include <sys/uio.h>

struct mem;
struct mem_log;
struct mem_region;
struct vq_format;
struct vq_marks;
struct vq_order;
struct vq_record;

#define VQ_SIZE_MAX 32768 /* 2.7, 2.8 */

/* How the driver set the queue up. Fixed while the queue runs. */
struct vq_cfg {
	u16 size; /* descriptors: 1 to VQ_SIZE_MAX, a power of two if split */
	/* Negotiated features. */
	bool packed, indirect, event_idx, in_order;
	/* The device looks for chains itself (vq_waits()): the driver is never asked to kick. */
	bool polled;
	/* Guest physical addresses: descriptor table, available ring and used ring if split (2.7);
	 * descriptor ring, driver and device event suppression if packed (2.8). */
	u64 desc, driver, device;
	/* The queue's region of a record of what is in flight (vhost-user, "Inflight I/O tracking"), in
	 * memory that outlives us: vq_inflight_size() bytes at a multiple of 8. NULL: none is kept. */
	void *inflight;
	/* Mark in `log` the pages that are written, and then signal `logfd`, unless that is -1. Of the ring
	 * itself only with log_ring: the device area as if it lay at guest address log_device. NULL: nothing is
	 * marked, and the others mean nothing. */
	const struct mem_log *log;
	int logfd;
	bool log_ring;
	u64 log_device;
};

/*
 * Where the next chain to get and the next chain to put stand. Split: the free-running 16-bit
 * indices. Packed: the offset in bits 0-14, the wrap counter in bit 15. This is also what vhost's
 * GET_VRING_BASE carries (avail, and used << 16 if packed).
 */
struct vq_pos {
	u16 avail, used;
};

/* Where a queue stands that the driver has just set up. */
static inline struct vq_pos vq_pos_initial(bool packed)
{
	return packed ? (struct vq_pos){ 0x8000, 0x8000 } : (struct vq_pos){ 0, 0 };
}

/* One chain of buffers, as pointers into guest memory. */
struct vq_chain {
	/* The caller's, set before vq_get(): room for `max` segments. */
	struct iovec *iov;
	u32 max;

	/* By vq_get(): iov[0 .. nout) is for the device to read, iov[nout .. nout + nin) to write. */
	u32 nout, nin;
	u32 out_len, in_len; /* bytes in all */

	/* The queue's own. */
	u16 id;	   /* split: head descriptor; packed: buffer id, any value */
	u16 ndesc; /* places taken in the ring */
	u16 seq;   /* its place in the order of gets, modulo the queue's size */
	u16 entry; /* packed: its first entry in the record of what is in flight */
	u16 slot;  /* with a log: where its segments are kept */
};

/*
 * What a queue has done; see vq_count(). The driver may see several puts at once: that is a batch.
 */
#define VQ_BATCHES 16
struct vq_stats {
	u64 chains;    /* put */
	u64 out_bytes; /* in them, for the device to read */
	u64 in_bytes;  /* written by the device */
	u64 calls;     /* batches for which the driver was called */
	u64 no_calls; /* and those for which it was not: it did not want to be, or there is no eventfd */
	u64 full; /* batches before which the driver had filled all places of the ring. (With chains of
			* several descriptors there, it may have run out of them before.) */
	u64 empty; /* times that the device had nothing left to get, and asked for a kick */
	u64 kicks; /* times that a kick's eventfd woke the device up; counted by the data path */
	/* Batches of 1, 2 to 3, 4 to 7, ... chains; those of more than the last in the last. */
	u64 batch[VQ_BATCHES];
};

/*
 * Counters have one writer, the thread that the queue belongs to, so neither lock nor locked instruction
 * is needed; any thread may read them by vq_stats_read(), each as it is at some moment.
 */
static inline void vq_count(u64 *counter, u64 n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void vq_stats_read(const struct vq_stats *s, struct vq_stats *copy);

struct vq {
	/* Fixed while it runs. */
	const struct vq_format *format; /* NULL: stopped */
	const struct mem *mem;
	struct vq_cfg cfg;
	int callfd;
	u8 *desc, *driver, *device; /* the three areas, host addresses */

	/* Queue's thread. */
	const struct mem_region *region; /* where the last buffer was */
	struct vq_pos pos;		 /* avail: next to get; used: next to put */
	u16 avail_seen;			 /* split: the driver's index when last looked at */
	u16 published;			 /* where `used` stood at the last vq_publish() */
	u16 batch;			 /* puts not yet published: ring places */
	u16 room;			 /* ring places that the driver may fill beyond pos.avail */
	u16 inflight;			 /* chains got and not put */
	u64 first[4];		/* packed: the first places of the batch, as they will be, */
	u16 first_there;	/* and bit i: place i is used */
	u16 get_seq, put_seq;	/* order of gets, modulo size: next to get; in order: next to use */
	struct vq_order *order; /* in order: what was put too early, cfg.size entries */
	struct vq_record *record; /* what is in flight, or NULL */
	struct vq_marks *marks;	  /* with a log: what is to be marked, or NULL */
	const char *broken;	  /* why, or NULL */
	bool waits;		  /* polled: for the driver, since vq_rearm() */
	u16 disarmed;		  /* polled: where pos.avail stood at the last disarming */
	u64 batch_first;	  /* stats.chains before the batch */

	/* From start to start, the last members. */
	struct vq_stats stats;
	struct trace_track track;
};

/* Where the three areas of a ring lie in our memory. */
struct vq_areas {
	void *desc, *driver, *device;
};

/* Find them. Any thread. Returns 0, or -EINVAL or -EFAULT as vq_start(). */
int vq_find_areas(struct vq_areas *areas, const struct mem *mem, const struct vq_cfg *cfg);

/*
 * Begin at `pos` (vq_pos_initial() for a new ring), where nothing is in flight. `callfd` is the
 * eventfd that calls the driver, or -1: nobody is called. `q` must not be running; before its first start
 * q->stats and q->track are zeroed; the former goes on counting from start to start. Whether the driver kicks is left as it was:
 * get what is there and vq_rearm(). If cfg->polled it does not from now on, and does again from vq_stop() on.
 * Returns 0, -EINVAL (size or position not allowed), -EFAULT (an area is misaligned or not in guest
 * memory; 2.7 and 2.8 give the alignments) or -ENOMEM.
 */
int vq_start(struct vq *q, const struct mem *mem, const struct vq_cfg *cfg, struct vq_pos pos,
	     int callfd);

/*
 * End: publishes what was put and returns where the ring stands. No chain may be in flight: put or
 * unget all before.
 */
struct vq_pos vq_stop(struct vq *q);

/* End with chains in flight: they stay so, and what was put and not published is not seen. */
void vq_abandon(struct vq *q);

/*
 * The next available chain; it has at least one segment, and none is empty. Returns 1 and the chain,
 * 0 if there is none, or -EINVAL once if the driver broke a rule, or if the chain has more than
 * c->max segments; from then on 0. Never are more than cfg.size chains in flight.
 */
int vq_get(struct vq *q, struct vq_chain *c);

/* Give back the chain got last: vq_get() will give it again. Several in the reverse order of their
 * gets; none that was got after them may have been put. */
void vq_unget(struct vq *q, const struct vq_chain *c);

/*
 * Done with the chain; `written` bytes of its device-writable part were filled, from its start. The
 * driver sees it at vq_publish(), in the order of the puts (with in_order: of the gets).
 */
void vq_put(struct vq *q, const struct vq_chain *c, u32 written);

/* Let the driver see all that was put, and call it if it wants to be. Returns whether it did. */
bool vq_publish(struct vq *q);

/* Ask the driver not to kick (it may all the same). */
void vq_disarm(struct vq *q);

/* Ask the driver to kick for the next chain. Returns true if there is one already, for which no
 * kick may come: get it now. */
bool vq_rearm(struct vq *q);

/* Is there a chain to get? One load, no side effect. */
bool vq_ready(struct vq *q);

/* Of a polled queue: vq_rearm() has been called, which returned false and told nobody, and now there is a
 * chain to get. */
static inline bool vq_waits(struct vq *q)
{
	return q->waits && vq_ready(q);
}

/*
 * A record of what is in flight. With cfg->inflight, a chain is written down there from vq_get() until the
 * driver has seen it used. If the process dies meanwhile, whoever starts the queue with that record gets
 * those chains again, in their order and before all others; `pos` of the start then is of no use but for a
 * record that is empty (all zeroes, or vq_inflight_clear()ed). Such a queue can't be in order, and knows no
 * vq_unget().
 *
 * The record is shared with the other side, so nothing in it is trusted: vq_start() gives -EINVAL if it can't
 * be.
 */
u64 vq_inflight_size(bool packed, u16 size);
void vq_inflight_clear(void *inflight);

/* Why the queue is broken, or NULL. */
static inline const char *vq_broken(const struct vq *q)
{
	return q->broken;
}

#endif
