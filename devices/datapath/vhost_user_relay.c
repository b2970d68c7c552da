// SPDX-License-Identifier: MIT
/*
 * vhost_user_relay.c - we stand between the driver and a back end that keeps no record of what is in flight, so
 * that a back end that is killed takes no request with it. See vhost_user_relay.h.
 *
 *	driver                   this process                        back end
 *	  │  available ring ──> vq_get(): a chain, noted ──> available ring ──>│
 *	  │  (guest memory)      flight[], in its order      (relay's memory)  │ descriptors, buffers:
 *	  │<── used ring ─────── vq_put(), crossed out   <── used ring <───────│ in guest memory, by itself
 *
 * How it works. The back end is given the guest's descriptor table, and an available and a used ring in memory
 * of ours: heads of chains go there and come back, never data. To the driver we are a device like any other
 * (vq.h); to the back end we are a driver, which knows which heads are out. The descriptors are the guest's, who
 * may change them at any time, as with any back end: it has to check what it loads, and so do we, of both.
 *
 * When a back end has gone, what it has used by then is handed to the driver. The next one gets new rings in new
 * memory, from index 0 on, with what is still in flight made available in the order in which the driver had done
 * it. A back end that is not dead but hung keeps the old memory, which nobody looks at any more.
 *
 * Why that does no harm. A request can be done twice: if the back end did it, but was killed before it said so.
 * For a disk each request (read, write, flush, discard, write zeroes) has the same effect the second time, unless
 * something else was done to the same sectors in between. That would have to be a request which the driver made
 * after the first one was complete; but the driver has not seen it complete, since it is only now done again, and
 * once it has (vq_publish()) the request is crossed out and never again made available. Two requests in flight
 * at a time have no order that a driver could rely on. A disk's completed writes must have left the process that
 * is killed: they have if the image is a raw file, or if it is written through.
 *
 * Trust. The memory of the rings is shared with the back end, and through it with the guest, whose descriptors
 * can name it: what is loaded from there is loaded once and checked. A used element that is none of what is in
 * flight ends the connection, and tells nothing else. What the driver does wrong is its device's end.
 *
 * Notifications. Neither of our rings has EVENT_IDX; the driver's has if it wants to. Two pairs, each of which
 * stores its own word and then loads the other's, sequentially consistent:
 *
 *	kicks	publish(): avail.idx, then used.flags	| back end: used.flags, then avail.idx
 *	calls	give(): avail.flags, then used.idx	| back end: used.idx, then avail.flags
 *
 * Threads: the queue's loop handles kicks and calls; whoever connects and stops is on others. A ring's lock, which
 * is behind the data path's and never waited with, is for both; `broken` and used elements that lie are reported
 * from under it. Not the packed format: chains have other places there, and IN_ORDER neither.
 */
#include "devices/datapath/vhost_user_relay.h"
#include "minivmm/loop.h"
#include "minivmm/mem_log.h"
#include "minivmm/now.h"
#include "minivmm/virtio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* Beyond what any guest's physical address has bits for. */
#define RELAY_GPA  (1ULL << 52)
#define CACHE_LINE 64
#define LOOK_NS	   100000

/* A chain in flight, at the place of its head. They are a list, in the driver's order. */
struct flight {
	struct vq_chain chain;
	u64 number;	/* among all that were got */
	u16 next, prev; /* place `size` is the list's own */
	bool on;
};

struct relay_ring {
	/* Fixed after creation. */
	struct vhost_user_relay *relay;
	u32 index;

	bool watched;	     /* the device lock's: the queue's loop looks after it */
	struct loop_fd kick; /* the driver's */
	struct loop_fd call; /* the back end's: an eventfd, for good */
	pthread_mutex_t lock;

	/* Under the lock: the driver's side. */
	struct virtio_queue *q;
	struct vq vq;
	bool lives;	       /* vq runs; also while it is stopped with something in flight */
	u32 rings;	       /* which ring of the queue this is: q->rings */
	struct flight *flight; /* size + 1 */
	struct iovec *iov;     /* size: where the chain is that is being got */
	u32 nflight;
	u64 ngot; /* and not given back */
	const struct mem_log *log;

	/* Under the lock: the back end's side. NULL: there is none. */
	struct vring_avail *avail;
	struct vring_used *used;
	u16 avail_idx, used_idx; /* next to make available, next to find used */
	int be_kick;		 /* -1: none */
	bool lied;
};

struct vhost_user_relay {
	u32 nqueues;
	u16 queue_size;
	int fault;
	struct mem_region region; /* fd -1: none */
	struct relay_ring ring[];
};

/* ---- what is in flight; the lock is held ---- */

static bool flights_make(struct relay_ring *r, u16 size)
{
	r->flight = calloc(size + 1, sizeof(*r->flight));
	r->iov = calloc(size, sizeof(*r->iov));
	if (!r->flight || !r->iov)
		return false;
	r->flight[size].next = r->flight[size].prev = size;
	r->nflight = 0;
	return true;
}

static void flights_free(struct relay_ring *r)
{
	free(r->flight);
	free(r->iov);
	r->flight = NULL;
	r->iov = NULL;
	r->nflight = 0;
}

/* The last of the list. */
static void flight_add(struct relay_ring *r, const struct vq_chain *c)
{
	struct flight *f = &r->flight[c->id], *list = &r->flight[r->vq.cfg.size];

	*f = (struct flight){
		.chain = *c,
		.number = r->ngot++,
		.on = true,
		.next = r->vq.cfg.size,
		.prev = list->prev,
	};
	r->flight[list->prev].next = c->id;
	list->prev = c->id;
	r->nflight++;
}

static void flight_remove(struct relay_ring *r, struct flight *f)
{
	r->flight[f->prev].next = f->next;
	r->flight[f->next].prev = f->prev;
	f->on = false;
	r->nflight--;
}

/* Something has been written to the driver's ring: the used ring, in which is also what it is asked for. */
static void mark(struct relay_ring *r)
{
	if (r->log)
		mem_log_mark(r->log, r->vq.cfg.device, 6 + 8 * (u64)r->vq.cfg.size);
}

/* ---- driver to back end; the lock is held, there is a back end ---- */

static void offer(struct relay_ring *r, u16 head)
{
	__atomic_store_n(&r->avail->ring[r->avail_idx & (r->vq.cfg.size - 1)], head,
			 __ATOMIC_RELAXED);
	r->avail_idx++;
}

/* Let the back end see what was offered, and kick it if it wants to be. */
static void publish(struct relay_ring *r)
{
	/* Pairs with the back end's look for chains, and with its asking to be kicked. */
	__atomic_store_n(&r->avail->idx, r->avail_idx, __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&r->used->flags, __ATOMIC_SEQ_CST) & VRING_USED_F_NO_NOTIFY))
		eventfd_write(r->be_kick, 1);
}

/* Returns why the driver has broken a rule, or NULL. */
static const char *take_all(struct relay_ring *r)
{
	struct vq_chain c = { .iov = r->iov, .max = r->vq.cfg.size };

	while (vq_get(&r->vq, &c) > 0) {
		if (r->flight[c.id].on)
			return "a chain is made available that is in flight";
		flight_add(r, &c);
		offer(r, c.id);
	}
	return vq_broken(&r->vq);
}

static void take(struct relay_ring *r)
{
	const char *broken = NULL;
	char why[128];

	if (!r->avail || virtio_status_read(r->q->dev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	do {
		u16 before = r->avail_idx;

		vq_disarm(&r->vq);
		broken = take_all(r);
		if (r->avail_idx != before)
			publish(r);
	} while (!broken && vq_rearm(&r->vq));
	mark(r);
	if (!broken)
		return;
	snprintf(why, sizeof(why), "queue %u: %s", r->index, broken);
	virtio_needs_reset(r->q->dev, why);
}

/* ---- back end to driver; likewise ---- */

/* The back end is not to be believed: nothing more is taken from it. */
static void lied_to(struct relay_ring *r)
{
	r->avail = NULL;
	r->used = NULL;
	r->lied = true;
	eventfd_write(r->relay->fault, 1);
}

/* One used element. False: it can't be. */
static bool give_one(struct relay_ring *r)
{
	struct vring_used_elem *e = &r->used->ring[r->used_idx & (r->vq.cfg.size - 1)];
	u32 head = __atomic_load_n(&e->id, __ATOMIC_RELAXED);
	u32 written = __atomic_load_n(&e->len, __ATOMIC_RELAXED);
	struct flight *f = &r->flight[head < r->vq.cfg.size ? head : r->vq.cfg.size];

	if (!f->on)
		return false;
	r->used_idx++;
	flight_remove(r, f);
	vq_put(&r->vq, &f->chain, written < f->chain.in_len ? written : f->chain.in_len);
	return true;
}

static void give(struct relay_ring *r)
{
	u16 idx;

	if (!r->used)
		return;
	__atomic_store_n(&r->avail->flags, VRING_AVAIL_F_NO_INTERRUPT, __ATOMIC_RELAXED);
	idx = __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE); /* back end's publication */
	do {
		/* No more than what is in flight, so this ends. */
		bool sound = true;

		while (sound && r->used_idx != idx)
			sound = give_one(r);
		vq_publish(&r->vq);
		mark(r);
		if (!sound) {
			lied_to(r);
			return;
		}
		/* Pairs with the back end's publication, and its look whether to call. */
		__atomic_store_n(&r->avail->flags, 0, __ATOMIC_SEQ_CST);
		idx = __atomic_load_n(&r->used->idx, __ATOMIC_SEQ_CST);
	} while (r->used_idx != idx);
}

/* ---- the queue's loop; edge-triggered: the eventfds need not be read ---- */

static void kick_ready(struct loop_fd *lf, u32 events)
{
	struct relay_ring *r = container_of(lf, struct relay_ring, kick);

	(void)events;
	pthread_mutex_lock(&r->lock);
	take(r);
	pthread_mutex_unlock(&r->lock);
}

static void call_ready(struct loop_fd *lf, u32 events)
{
	struct relay_ring *r = container_of(lf, struct relay_ring, call);

	(void)events;
	pthread_mutex_lock(&r->lock);
	give(r);
	pthread_mutex_unlock(&r->lock);
}

static void unwatch(void *arg)
{
	struct relay_ring *r = arg;

	loop_del(r->q->loop, &r->kick);
	loop_del(r->q->loop, &r->call);
}

static int watch(struct relay_ring *r)
{
	struct loop *loop = r->q->loop;
	int err;

	r->kick.fd = r->q->kickfd;
	err = loop_add(loop, &r->kick, EPOLLIN | EPOLLET);
	if (!err)
		err = loop_add(loop, &r->call, EPOLLIN | EPOLLET);
	if (err)
		loop_call(loop, unwatch, r);
	r->watched = !err;
	return err;
}

/* ---- the memory of the back end's rings ---- */

/* In a queue's part: the used ring, and at the next cache line the available one. */
static u64 avail_at(u16 size)
{
	return ALIGN_UP(6 + 8 * (u64)size, CACHE_LINE);
}

static u64 part_size(const struct vhost_user_relay *relay)
{
	return ALIGN_UP(avail_at(relay->queue_size) + 6 + 2 * (u64)relay->queue_size, PAGE_SIZE);
}

static void region_close(struct mem_region *region)
{
	if (region->host)
		munmap(region->host, region->size);
	if (region->fd >= 0)
		close(region->fd);
	*region = (struct mem_region){ .fd = -1 };
}

static int region_open(struct mem_region *region)
{
	region->fd = memfd_create("vhost-user-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (region->fd < 0 || ftruncate(region->fd, region->size) < 0)
		return -errno;
	/* Whoever else has the file could cut it short, and what is gone is a SIGBUS. */
	if (fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	region->host = mmap(NULL, region->size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
	if (region->host != MAP_FAILED)
		return 0;
	region->host = NULL;
	return -errno;
}

int vhost_user_relay_renew(struct vhost_user_relay *relay)
{
	int err;

	region_close(&relay->region);
	relay->region.gpa = RELAY_GPA;
	relay->region.size = relay->nqueues * part_size(relay);
	err = region_open(&relay->region);
	if (err)
		region_close(&relay->region);
	return err;
}

const struct mem_region *vhost_user_relay_region(const struct vhost_user_relay *relay)
{
	return &relay->region;
}

/* ---- a back end comes and goes ---- */

int vhost_user_relay_connect(struct vhost_user_relay *relay, u32 index,
			     struct vhost_user_addr *addr, int *kick, int *call)
{
	struct relay_ring *r = &relay->ring[index];
	u64 part = part_size(relay);
	u8 *host = relay->region.host + index * part;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	u16 size;

	if (fd < 0)
		return -errno;
	pthread_mutex_lock(&r->lock);
	assert(r->lives && r->be_kick < 0);
	size = r->vq.cfg.size;
	memset(host, 0, part);
	r->used = (struct vring_used *)host;
	r->avail = (struct vring_avail *)(host + avail_at(size));
	r->avail_idx = r->used_idx = 0;
	r->be_kick = fd; /* a new one: a back end that still lives takes no kick from the next */
	r->lied = false;
	for (u16 i = r->flight[size].next; i != size; i = r->flight[i].next)
		offer(r, i);
	publish(r);
	*addr = (struct vhost_user_addr){
		.index = index,
		.desc = (uintptr_t)r->vq.desc,
		.avail = (uintptr_t)r->avail,
		.used = (uintptr_t)r->used,
		.log = relay->region.gpa + index * part,
	};
	pthread_mutex_unlock(&r->lock);
	*kick = fd;
	*call = r->call.fd;
	return 0;
}

void vhost_user_relay_serve(struct vhost_user_relay *relay, u32 index)
{
	struct relay_ring *r = &relay->ring[index];

	pthread_mutex_lock(&r->lock);
	take(r);
	if (r->be_kick >= 0)
		eventfd_write(r->be_kick, 1);
	pthread_mutex_unlock(&r->lock);
}

void vhost_user_relay_disconnect(struct vhost_user_relay *relay, u32 index)
{
	struct relay_ring *r = &relay->ring[index];

	pthread_mutex_lock(&r->lock);
	give(r);
	/* It may live and have been slow only: what it has not taken yet it is not to find later. */
	if (r->avail)
		__atomic_store_n(&r->avail->idx, r->used_idx, __ATOMIC_SEQ_CST);
	r->avail = NULL;
	r->used = NULL;
	r->lied = false;
	if (r->be_kick >= 0)
		close(r->be_kick);
	r->be_kick = -1;
	pthread_mutex_unlock(&r->lock);
}

bool vhost_user_relay_lied_to(struct vhost_user_relay *relay)
{
	bool lied = false;

	for (u32 i = 0; i < relay->nqueues; i++) {
		struct relay_ring *r = &relay->ring[i];

		pthread_mutex_lock(&r->lock);
		lied |= r->lied;
		pthread_mutex_unlock(&r->lock);
	}
	return lied;
}

void vhost_user_relay_log(struct vhost_user_relay *relay, const struct mem_log *log)
{
	for (u32 i = 0; i < relay->nqueues; i++) {
		pthread_mutex_lock(&relay->ring[i].lock);
		relay->ring[i].log = log;
		pthread_mutex_unlock(&relay->ring[i].lock);
	}
}

/* ---- start and stop ---- */

/* The driver's side is no more. The lock is held. */
static void forget(struct relay_ring *r)
{
	if (r->lives)
		vq_abandon(&r->vq);
	r->lives = false;
	flights_free(r);
}

static int begin(struct relay_ring *r, const struct vq_cfg *cfg, struct vq_pos pos)
{
	int err;

	forget(r);
	if (cfg->packed || cfg->in_order || cfg->size > r->relay->queue_size)
		return -EINVAL;
	err = vq_start(&r->vq, r->q->dev->env->mem, cfg, pos, irq_fd(r->q->call));
	if (err)
		return err;
	r->lives = true;
	r->rings = r->q->rings;
	if (flights_make(r, cfg->size))
		return 0;
	forget(r);
	return -ENOMEM;
}

int vhost_user_relay_start(struct vhost_user_relay *relay, struct virtio_queue *q,
			   const struct vq_cfg *cfg, struct vq_pos pos)
{
	struct relay_ring *r = &relay->ring[q->index];
	int err = 0;

	pthread_mutex_lock(&r->lock);
	r->q = q;
	if (!r->lives || r->rings != q->rings)
		err = begin(r, cfg, pos);
	pthread_mutex_unlock(&r->lock);
	if (err)
		return err;
	err = watch(r);
	if (err)
		vhost_user_relay_stop(relay, q->index);
	return err;
}

void vhost_user_relay_rest(struct vhost_user_relay *relay, u32 index)
{
	struct relay_ring *r = &relay->ring[index];

	if (r->watched)
		loop_call(r->q->loop, unwatch, r);
	r->watched = false;
}

/* Between two looks at the back end's ring: its call can't be waited for, since it may take that back. Returns 0,
 * -ECONNRESET (the back end has gone) or -ETIMEDOUT (it is `end`). */
static int wait_a_little(int sock, u64 end)
{
	const struct timespec limit = { .tv_nsec = LOOK_NS };
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	if (ppoll(&p, 1, &limit, NULL) > 0)
		return -ECONNRESET;
	return now_ms() >= end ? -ETIMEDOUT : 0;
}

void vhost_user_relay_drain(struct vhost_user_relay *relay, u64 rings, int sock, u32 ms)
{
	u64 end = now_ms() + ms;

	for (u32 i = 0; i < relay->nqueues; i++) {
		struct relay_ring *r = &relay->ring[i];

		if (!(rings >> i & 1))
			continue;
		pthread_mutex_lock(&r->lock);
		do
			give(r);
		while (r->used && r->nflight && !wait_a_little(sock, end));
		pthread_mutex_unlock(&r->lock);
	}
}

/*
 * "The back end must ... stop": most have used all that they took by then. Some use the last later, and call
 * nobody any more, so the ring is looked at.
 */
int vhost_user_relay_finish(struct vhost_user_relay *relay, u32 index, u16 base, int sock, u32 ms)
{
	struct relay_ring *r = &relay->ring[index];
	u64 end = now_ms() + ms;
	int err = 0;
	u16 left;

	pthread_mutex_lock(&r->lock);
	give(r);
	left = r->avail_idx - base; /* not taken */
	if (r->used && left > r->nflight)
		err = -EPROTO;
	while (!err && r->used && r->nflight > left) {
		err = wait_a_little(sock, end);
		give(r);
	}
	if (r->lied)
		err = -EBADMSG;
	pthread_mutex_unlock(&r->lock);
	return err;
}

/* Those in flight behind which none is done: the driver's ring says all of them, for whoever takes it next. */
static void give_back(struct relay_ring *r)
{
	const struct flight *list = &r->flight[r->vq.cfg.size];

	while (r->nflight) {
		struct flight *last = &r->flight[list->prev];

		if (last->number + 1 != r->ngot)
			return;
		vq_unget(&r->vq, &last->chain);
		r->ngot--;
		flight_remove(r, last);
	}
}

struct vq_pos vhost_user_relay_stop(struct vhost_user_relay *relay, u32 index)
{
	struct relay_ring *r = &relay->ring[index];
	struct vq_pos pos;

	pthread_mutex_lock(&r->lock);
	assert(r->be_kick < 0);
	give_back(r);
	pos = r->vq.pos;
	if (!r->nflight)
		forget(r);
	pthread_mutex_unlock(&r->lock);
	return pos;
}

/* ---- making and freeing ---- */

int vhost_user_relay_create(struct vhost_user_relay **out, u32 nqueues, u16 queue_size, int fault)
{
	struct vhost_user_relay *relay =
		calloc(1, sizeof(*relay) + nqueues * sizeof(relay->ring[0]));
	bool failed = false;

	if (!relay)
		return -ENOMEM;
	relay->nqueues = nqueues;
	relay->queue_size = queue_size;
	relay->fault = fault;
	relay->region.fd = -1;
	for (u32 i = 0; i < nqueues; i++) {
		struct relay_ring *r = &relay->ring[i];

		r->relay = relay;
		r->index = i;
		r->be_kick = -1;
		r->kick = (struct loop_fd){ .fd = -1, .ready = kick_ready };
		r->call = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
					    .ready = call_ready };
		failed |= r->call.fd < 0;
		pthread_mutex_init(&r->lock, NULL);
	}
	if (failed) {
		vhost_user_relay_destroy(relay);
		return -EMFILE;
	}
	*out = relay;
	return 0;
}

void vhost_user_relay_destroy(struct vhost_user_relay *relay)
{
	if (!relay)
		return;
	for (u32 i = 0; i < relay->nqueues; i++) {
		struct relay_ring *r = &relay->ring[i];

		forget(r);
		if (r->call.fd >= 0)
			close(r->call.fd);
		pthread_mutex_destroy(&r->lock);
	}
	region_close(&relay->region);
	free(relay);
}
