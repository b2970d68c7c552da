/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - a virtio driver in small: Virtual I/O Device (VIRTIO) 1.2, from the driver's side.
 *
 *	a guest            guests/virtio_rng.c, virtio_blk.c, virtio_console.c
 *	   |
 *	virtio.c           find a device, negotiate, take its interrupts; wait for a queue
 *	   |       \
 *	virtio_pci.c        virtio_split.c       the registers | the rings: one ops table each,
 *	virtio_mmio.c       virtio_packed.c      two ways to do the same thing
 *
 * In the order of use:
 *
 *	struct virtio v;				a driver's life, 3.1.1
 *	static struct virtq q;
 *
 *	virtio_find(&v, info, VIRTIO_ID_RNG, 0);	discover
 *	virtio_negotiate(&v, features);			reset, ACKNOWLEDGE, DRIVER, FEATURES_OK
 *	virtq_setup(&q, &v, 0);				queue by queue
 *	virtio_ready(&v);				DRIVER_OK
 *
 *	virtq_add(&q, buf, 0, 1, token);		a chain of buffers is the device's
 *	virtq_kick(&q);					tell it
 *	virtq_wait(&q);					sleep until one is used
 *	virtq_take(&q, &len);				its token, and it is ours again
 *
 * Words of the kernel command line: `split` refuses the packed format, `no_event_idx` refuses
 * VIRTIO_F_EVENT_IDX, `intx` leaves MSI-X off.
 *
 * A queue has one user, interrupts are off but in virtq_wait(), and interrupt handlers only count:
 * so there is no lock. The other side of the ring is the device, on a thread of the VMM.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include "guest.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#define VIRTQ_SIZE	  16 /* descriptors, unless virtio.queue_size says more: rings wrap early */
#define VIRTQ_MAX	  256
#define VIRTQ_CHAIN_MAX	  4  /* buffers in a chain */
#define VIRTIO_QUEUES	  15 /* of a device, that we can use */

#define VIRTIO_BIT(bit)	  (1ULL << (bit))

#define VIRTIO_IRQ_QUEUE  1 /* why a wired interrupt came (4.1.4.5, 4.2.2) */
#define VIRTIO_IRQ_CONFIG 2

struct virtio;
struct virtq;

/* What the two transports do differently. */
struct virtio_transport {
	const char *name;
	/* The n-th place where a device may be: is there one, and which (v->id)? -1: no more places. */
	int (*probe)(struct virtio *v, u32 n);
	void (*open)(struct virtio *v);	     /* make the place that was probed last ready for use */
	void (*irq_setup)(struct virtio *v); /* after each reset: the configuration's interrupt */
	u32 (*status)(struct virtio *v);
	void (*status_set)(struct virtio *v, u32 status);
	/* Bits 0-31 for `half` 0, 32-63 for 1. */
	u32 (*features)(struct virtio *v, u32 half);
	void (*features_set)(struct virtio *v, u32 half, u32 bits);
	u32 (*generation)(struct virtio *v); /* of the configuration space (2.5) */
	/* The largest size of queue `i`; 0: there is no such queue. */
	u32 (*queue_max)(struct virtio *v, u32 i);
	/* Tell the device where the areas lie, and enable the queue. Returns whether it is. */
	bool (*queue_enable)(struct virtio *v, struct virtq *q);
	/* Take the queue from the device (2.6.1); waits until that is done. */
	void (*queue_reset)(struct virtio *v, u32 i);
	void (*kick)(struct virtio *v, struct virtq *q);
	/* Wired interrupt: why, which also acknowledges it. 0: it was not this device. */
	u32 (*irq_reason)(struct virtio *v);
};

extern const struct virtio_transport virtio_pci, virtio_mmio;

struct virtio {
	const struct virtio_transport *transport;
	u32 id;	      /* the device ID (5) */
	u64 refuse;   /* features that the command line does without */
	u64 features; /* negotiated */
	bool no_msix;
	u32 queue_size; /* of queues set up from now on: at most so many descriptors */

	u64 regs;   /* the common configuration (PCI), all registers (MMIO) */
	u64 config; /* the configuration space of the device; any access width */

	/* PCI */
	u32 slot;
	u64 notify, isr;
	u32 notify_multiplier;
	u64 msix_table; /* 0: no MSI-X, but INTx */

	u32 gsi; /* wired interrupt */
	enum trigger trigger;

	/* MSI-X: the configuration's interrupt comes at `vector`, queue i's at `vector` + 1 + i. */
	u32 vector;
	struct virtq *queue[VIRTIO_QUEUES];
	volatile u32 config_calls; /* interrupts: the configuration, or the status, changed */
};

/* The n-th device with this device ID, those on PCI first. `v` is this device's for good. */
bool virtio_find(struct virtio *v, const struct hvm_start_info *info, u32 id, u32 n);

/*
 * Reset and negotiate: of `features`, which the device type's driver knows, and the ring features,
 * which this library knows, all that the device offers. Returns whether it said FEATURES_OK.
 */
bool virtio_negotiate(struct virtio *v, u64 features);
bool virtio_try_features(struct virtio *v, u64 features); /* exactly these, offered or not */
void virtio_ready(struct virtio *v);
void virtio_reset(struct virtio *v);
u64 virtio_offered(struct virtio *v); /* the device's features */
u32 virtio_status(struct virtio *v);

static inline bool virtio_has(const struct virtio *v, u32 bit)
{
	return v->features & VIRTIO_BIT(bit);
}

/* One line of TAP comment: transport, ring format, interrupts. */
void virtio_print(const struct virtio *v, const char *name);

/* Sleep, at most some 4 seconds, until interrupts have made *calls differ from `old`. */
bool virtio_wait_calls(volatile u32 *calls, u32 old);

/* ---- virtqueues ---- */

struct virtq_buf {
	void *data;
	u32 len;
};

/* What the two ring formats do differently. */
struct virtq_format {
	const char *name;
	void (*init)(struct virtq *q);
	/* Make the chain available. There is room for it. */
	void (*add)(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 nin, void *token);
	/* Does the device want to hear of what was added since the last time? */
	bool (*wants_kick)(struct virtq *q);
	bool (*has_used)(struct virtq *q);
	/* The next used chain's id, and how many bytes were written into it. There is one. */
	u32 (*take)(struct virtq *q, u32 *len);
	/* Be called when `places` more places of the ring are used; 0: not at all. */
	void (*call_after)(struct virtq *q, u32 places);
};

extern const struct virtq_format virtq_split, virtq_packed;

struct virtq {
	/* The three areas of a ring (2.6), as large as either format needs them; virtio_split.c and
	 * virtio_packed.c say what is in them. */
	u8 desc[16 * VIRTQ_MAX] __attribute__((aligned(16)));
	u8 driver[2 * VIRTQ_MAX + 8] __attribute__((aligned(4)));
	u8 device[8 * VIRTQ_MAX + 8] __attribute__((aligned(4)));

	struct virtio *dev;
	const struct virtq_format *format;
	u16 index, size, max; /* size: that we use; max: the device's */
	bool event_idx;
	bool use_indirect; /* put chains into tables of their own (2.7.5.3); may be changed */
	u64 doorbell;	   /* PCI */

	u16 avail, used; /* the next place to add at, to take from, as the format counts */
	u16 kicked;	 /* where `avail` was at the last kick */
	u16 free;	 /* descriptors */
	u16 first_free;	 /* split: descriptors; packed: ids */
	u16 next_free[VIRTQ_MAX];

	/* By chain id. */
	void *token[VIRTQ_MAX]; /* NULL: no such chain */
	u16 ndesc[VIRTQ_MAX];

	u32 kicks;	    /* so far */
	volatile u32 calls; /* interrupts so far */

	u8 indirect[VIRTQ_MAX][16 * VIRTQ_CHAIN_MAX] __attribute__((aligned(16)));
};

static inline u16 virtq_take_free(struct virtq *q)
{
	u16 i = q->first_free;

	q->first_free = q->next_free[i];
	return i;
}

static inline void virtq_give_free(struct virtq *q, u16 i)
{
	q->next_free[i] = q->first_free;
	q->first_free = i;
}

/* Give the device its queue `index`. Between virtio_negotiate() and virtio_ready(), or after
 * virtq_reset(). */
bool virtq_setup(struct virtq *q, struct virtio *v, u32 index);

/* Take it away again, if VIRTIO_F_RING_RESET. What was in it is forgotten. */
void virtq_reset(struct virtq *q);

/*
 * A chain: `nout` buffers for the device to read, then `nin` for it to write. `token` is not NULL.
 * Returns false if the ring is full.
 */
bool virtq_add(struct virtq *q, const struct virtq_buf *buf, u32 nout, u32 nin, void *token);

/* Tell the device of what was added, if it wants to be told. Returns whether it did. */
bool virtq_kick(struct virtq *q);

/* Sleep until there is a used chain. False: none came within some 4 seconds. */
bool virtq_wait(struct virtq *q);

/* The same without an interrupt: the device is asked for none. */
bool virtq_poll(struct virtq *q);

/* The next used chain, in the order in which the device finished: the token, and how much it wrote.
 * NULL: none. */
void *virtq_take(struct virtq *q, u32 *len);

/* How many places in the ring a chain of `n` buffers takes, as virtq_call_after() counts. */
u32 virtq_places(const struct virtq *q, u32 n);

/* With EVENT_IDX: one interrupt when `places` more places are used. Without: for each. 0: none. */
void virtq_call_after(struct virtq *q, u32 places);

#endif
