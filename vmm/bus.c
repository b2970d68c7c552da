// SPDX-License-Identifier: MIT
/*
 * bus.c - address decoding for PIO and MMIO. See bus.h.
 *
 * How it works: the ranges stand in an array sorted by base address; an access finds its range by
 * bisection. No two ranges overlap, so at most one can match.
 *
 * Threads: `lock` is a read-write lock over the array and the doorbells. A vCPU holds it for
 * reading while it looks up a range, and copies out what it needs, so that the range's op runs
 * unlocked.
 */
#include "minivmm/bus.h"
#include "minivmm/log.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

struct bus {
	enum bus_kind kind;
	pthread_rwlock_t lock;

	/* Under the lock. */
	struct bus_range **range; /* by rising base */
	u32 nranges, room;
	int vm_fd;
	bool refusal_told; /* KVM refused a doorbell, and the user knows */
	const struct bus_map_ops *map;
	void *map_ctx;
	u64 slots[BUS_SLOTS_MAX / 64]; /* in use */
};

int bus_create(struct bus **out, enum bus_kind kind)
{
	struct bus *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->kind = kind;
	b->vm_fd = -1;
	pthread_rwlock_init(&b->lock, NULL);
	*out = b;
	return 0;
}

void bus_destroy(struct bus *b)
{
	if (!b)
		return;
	pthread_rwlock_destroy(&b->lock);
	free(b->range);
	free(b);
}

/* KVM has room for a thousand of them. One line for all: a guest moves its devices' registers, and
 * their doorbells with them, as often as it likes. */
static void tell_refusal(struct bus *b, const struct bus_range *r, int err)
{
	if (!b->refusal_told)
		log_warn("%s: no ioeventfd (%s); doorbells that KVM refuses go through an exit",
			 r->name, strerror(err));
	b->refusal_told = true;
}

/* Hand a doorbell to KVM, or take it back. Without KVM's help bus_write() rings it. */
static void bell_in_kvm(struct bus *b, const struct bus_range *r, const struct bus_doorbell *bell,
			bool on)
{
	struct kvm_ioeventfd io = {
		.addr = r->base + bell->off,
		.len = bell->len,
		.fd = bell->fd,
		.datamatch = bell->value,
		.flags = (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN) |
			 (bell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (b->kind == BUS_PIO ? KVM_IOEVENTFD_FLAG_PIO : 0),
	};

	if (b->vm_fd >= 0 && ioctl(b->vm_fd, KVM_IOEVENTFD, &io) < 0 && on)
		tell_refusal(b, r, errno);
}

static void bells_in_kvm(struct bus *b, const struct bus_range *r, bool on)
{
	for (u32 i = 0; i < r->nbells; i++)
		bell_in_kvm(b, r, &r->bells[i], on);
}

void bus_attach_vm(struct bus *b, int vm_fd)
{
	pthread_rwlock_wrlock(&b->lock);
	for (u32 i = 0; i < b->nranges; i++)
		bells_in_kvm(b, b->range[i], false);
	b->vm_fd = vm_fd;
	for (u32 i = 0; i < b->nranges; i++)
		bells_in_kvm(b, b->range[i], true);
	pthread_rwlock_unlock(&b->lock);
}

/* ---- pages; the lock is held ---- */

static int slot_take(struct bus *b)
{
	for (u32 i = 0; i < BUS_SLOTS_MAX; i++) {
		u64 bit = 1ULL << i % 64;

		if (b->slots[i / 64] & bit)
			continue;
		b->slots[i / 64] |= bit;
		return i;
	}
	return -ENOSPC;
}

static void page_unmap(struct bus *b, const struct bus_range *r, struct bus_page *p)
{
	if (p->slot < 0)
		return;
	b->map->map(b->map_ctx, p->slot, r->base + p->off, NULL);
	b->slots[p->slot / 64] &= ~(1ULL << p->slot % 64);
	p->slot = -1;
}

/* A page that can't be had is none: the doorbell is still there. So it is where the guest has put its RAM, too. */
static void page_map(struct bus *b, const struct bus_range *r, struct bus_page *p)
{
	if (!b->map || !p->host || (r->base + p->off) % PAGE_SIZE)
		return;
	p->slot = slot_take(b);
	if (p->slot < 0 || !b->map->map(b->map_ctx, p->slot, r->base + p->off, p->host))
		return;
	b->slots[p->slot / 64] &= ~(1ULL << p->slot % 64);
	p->slot = -1;
}

static void pages_map(struct bus *b, const struct bus_range *r, bool on)
{
	for (u32 i = 0; r->pages && i < BUS_PAGES_MAX; i++) {
		if (on)
			page_map(b, r, &r->pages[i]);
		else
			page_unmap(b, r, &r->pages[i]);
	}
}

void bus_attach_map(struct bus *b, const struct bus_map_ops *ops, void *ctx)
{
	pthread_rwlock_wrlock(&b->lock);
	for (u32 i = 0; i < b->nranges; i++)
		pages_map(b, b->range[i], false);
	b->map = ops;
	b->map_ctx = ctx;
	for (u32 i = 0; i < b->nranges; i++)
		pages_map(b, b->range[i], true);
	pthread_rwlock_unlock(&b->lock);
}

/* The entry for `off`, or one that is free, or NULL. */
static struct bus_page *page_at(struct bus_range *r, u64 off)
{
	struct bus_page *found = NULL;

	for (u32 i = 0; i < BUS_PAGES_MAX; i++) {
		struct bus_page *p = &r->pages[i];

		if (p->host && p->off == off)
			return p;
		if (!p->host && !found)
			found = p;
	}
	return found;
}

static int page_set(struct bus *b, struct bus_range *r, u64 off, void *host)
{
	struct bus_page *p;

	if (!r->pages && host) {
		r->pages = calloc(BUS_PAGES_MAX, sizeof(*r->pages));
		for (u32 i = 0; r->pages && i < BUS_PAGES_MAX; i++)
			r->pages[i].slot = -1;
	}
	if (!r->pages)
		return host ? -ENOMEM : 0;
	p = page_at(r, off);
	if (!p)
		return -ENOSPC;
	page_unmap(b, r, p);
	p->off = off;
	p->host = host;
	if (r->bus == b)
		page_map(b, r, p);
	return 0;
}

int bus_page_set(struct bus *b, struct bus_range *r, u64 off, void *host)
{
	int err;

	if (off % PAGE_SIZE || !range_inside(off, PAGE_SIZE, 0, r->len))
		return -EINVAL;
	pthread_rwlock_wrlock(&b->lock);
	err = page_set(b, r, off, host);
	pthread_rwlock_unlock(&b->lock);
	return err;
}

/* ---- ranges ---- */

/* The index of the first range whose base lies above `addr`. */
static u32 first_above(const struct bus *b, u64 addr)
{
	u32 lo = 0, hi = b->nranges;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (b->range[mid]->base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Where in the array `r` belongs, or -EEXIST if a neighbour is in its way. */
static int place_for(const struct bus *b, const struct bus_range *r)
{
	u32 at = first_above(b, r->base);

	if (at > 0) {
		const struct bus_range *below = b->range[at - 1];

		if (ranges_overlap(r->base, r->len, below->base, below->len))
			return -EEXIST;
	}
	if (at < b->nranges) {
		const struct bus_range *above = b->range[at];

		if (ranges_overlap(r->base, r->len, above->base, above->len))
			return -EEXIST;
	}
	return at;
}

static int make_room(struct bus *b)
{
	u32 room = b->room ? b->room * 2 : 16;
	struct bus_range **more;

	if (b->nranges < b->room)
		return 0;
	more = realloc(b->range, room * sizeof(*more));
	if (!more)
		return -ENOMEM;
	b->range = more;
	b->room = room;
	return 0;
}

static int add_locked(struct bus *b, struct bus_range *r)
{
	int at = place_for(b, r);

	if (at < 0)
		return at;
	if (make_room(b) < 0)
		return -ENOMEM;
	memmove(&b->range[at + 1], &b->range[at], (b->nranges - at) * sizeof(r));
	b->range[at] = r;
	b->nranges++;
	r->bus = b;
	bells_in_kvm(b, r, true);
	pages_map(b, r, true);
	return 0;
}

int bus_add(struct bus *b, struct bus_range *r)
{
	int err;

	if (!r->len || r->base + (r->len - 1) < r->base)
		return -EINVAL;
	if (b->kind == BUS_PIO && !range_inside(r->base, r->len, 0, 64 * KIB))
		return -EINVAL;
	pthread_rwlock_wrlock(&b->lock);
	err = r->bus ? -EEXIST : add_locked(b, r);
	pthread_rwlock_unlock(&b->lock);
	return err;
}

void bus_del(struct bus_range *r)
{
	struct bus *b = r->bus;

	if (!b)
		return;
	pthread_rwlock_wrlock(&b->lock);
	for (u32 i = 0; i < b->nranges; i++) {
		if (b->range[i] != r)
			continue;
		pages_map(b, r, false);
		bells_in_kvm(b, r, false);
		b->nranges--;
		memmove(&b->range[i], &b->range[i + 1], (b->nranges - i) * sizeof(r));
		r->bus = NULL;
		break;
	}
	pthread_rwlock_unlock(&b->lock);
}

void bus_range_free(struct bus_range *r)
{
	free(r->bells);
	free(r->pages);
	r->pages = NULL;
	r->bells = NULL;
	r->nbells = 0;
}

/* A range's owner adds, deletes and rings from one thread at a time; the bus's readers do not. */
static void range_lock(struct bus_range *r)
{
	if (r->bus)
		pthread_rwlock_wrlock(&r->bus->lock);
}

static void range_unlock(struct bus_range *r)
{
	if (r->bus)
		pthread_rwlock_unlock(&r->bus->lock);
}

int bus_doorbell_add(struct bus_range *r, const struct bus_doorbell *bell)
{
	u32 len = bell->len;
	int err = 0;

	if ((len & (len - 1)) || len > 8 || (bell->match && !len) ||
	    !range_inside(bell->off, len ? len : 1, 0, r->len))
		return -EINVAL;
	range_lock(r);
	if (!r->bells)
		r->bells = calloc(BUS_DOORBELLS_MAX, sizeof(*r->bells));
	if (!r->bells) {
		err = -ENOMEM;
	} else if (r->nbells == BUS_DOORBELLS_MAX) {
		err = -ENOSPC;
	} else {
		r->bells[r->nbells++] = *bell;
		if (r->bus)
			bell_in_kvm(r->bus, r, bell, true);
	}
	range_unlock(r);
	return err;
}

void bus_doorbell_del(struct bus_range *r, int fd)
{
	u32 kept = 0;

	range_lock(r);
	for (u32 i = 0; i < r->nbells; i++) {
		if (r->bells[i].fd != fd)
			r->bells[kept++] = r->bells[i];
		else if (r->bus)
			bell_in_kvm(r->bus, r, &r->bells[i], false);
	}
	r->nbells = kept;
	range_unlock(r);
}

/* The eventfd that a write rings, or -1. */
static int bell_rung(const struct bus_range *r, u64 off, u32 len, u64 value)
{
	for (u32 i = 0; i < r->nbells; i++) {
		const struct bus_doorbell *bell = &r->bells[i];

		if (bell->off == off && (!bell->len || bell->len == len) &&
		    (!bell->match || bell->value == value))
			return bell->fd;
	}
	return -1;
}

/* Find the range that covers the whole access; the read lock is held. */
static const struct bus_range *range_at(const struct bus *b, u64 addr, u32 len)
{
	u32 at = first_above(b, addr);
	const struct bus_range *r;

	if (at == 0)
		return NULL;
	r = b->range[at - 1];
	return range_inside(addr, len, r->base, r->len) ? r : NULL;
}

static bool len_is_plain(u32 len)
{
	return len == 1 || len == 2 || len == 4 || len == 8;
}

u64 bus_read(struct bus *b, u64 addr, u32 len)
{
	const struct bus_ops *ops = NULL;
	const struct bus_range *r;
	void *owner = NULL;
	u64 value = 0, off = 0;

	if (!len_is_plain(len)) { /* KVM splits an access at a page's end: 3 bytes can come */
		for (u32 i = 0; i < len; i++)
			value |= bus_read(b, addr + i, 1) << (8 * i);
		return value;
	}
	pthread_rwlock_rdlock(&b->lock);
	r = range_at(b, addr, len);
	if (r) {
		ops = r->ops;
		owner = r->owner;
		off = addr - r->base;
	}
	pthread_rwlock_unlock(&b->lock);
	return (ops ? ops->read(owner, off, len) : ~0ULL) & bytes_mask(len);
}

void bus_write(struct bus *b, u64 addr, u32 len, u64 value)
{
	const struct bus_ops *ops = NULL;
	const struct bus_range *r;
	void *owner = NULL;
	u64 off = 0;
	int bell = -1;

	if (!len_is_plain(len)) {
		for (u32 i = 0; i < len; i++)
			bus_write(b, addr + i, 1, (value >> (8 * i)) & 0xff);
		return;
	}
	value &= bytes_mask(len);
	pthread_rwlock_rdlock(&b->lock);
	r = range_at(b, addr, len);
	if (r) {
		ops = r->ops;
		owner = r->owner;
		off = addr - r->base;
		bell = bell_rung(r, off, len, value);
		if (bell >= 0) /* under the lock: bus_doorbell_del() may be followed by close() */
			eventfd_write(bell, 1);
	}
	pthread_rwlock_unlock(&b->lock);
	if (ops && bell < 0)
		ops->write(owner, off, len, value);
}
