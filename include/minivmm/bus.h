/* SPDX-License-Identifier: MIT */
/*
 * bus.h - who answers at which address.
 *
 * One structure serves both of a machine's buses, port I/O (PIO, x86 only) and memory-mapped I/O
 * (MMIO). A device embeds a `struct bus_range` for each block of registers and adds it; a PCI
 * device's ranges move when the guest writes its BARs. An access that no range covers wholly reads
 * as all ones and writes to nowhere, like a bus that nobody drives.
 *
 * A *doorbell* is an address in a range whose write only signals an eventfd. With KVM the kernel
 * does that itself (KVM_IOEVENTFD), without an exit to us; the bus does the same for a write that
 * reaches it all the same.
 *
 * A *page* is memory that lies in the place of a part of a range: as long as the VM has it there, the guest's
 * accesses go to it, without an exit, and reach neither op nor doorbell. A doorbell stays where it is, so that it
 * rings again as soon as the page is gone, or if KVM won't have it.
 *
 * Threads: everything here may be called from any thread. The ops run on the calling vCPU's
 * thread, several at a time, and without the bus's lock, so that a register write may move ranges.
 * Hence an op may run once more shortly after bus_del() on another thread: the owner of a range
 * lives until the vCPUs have stopped.
 */
#ifndef MINIVMM_BUS_H
#define MINIVMM_BUS_H

#include "minivmm/base.h"

struct bus;

struct bus_ops {
	/*
	 * One access of `len` bytes (1, 2, 4 or 8) at offset `off` of the range, wholly inside it
	 * but aligned only as the guest pleases. A read's bytes above `len` are ignored; a write's
	 * value has zeroes there.
	 */
	u64 (*read)(void *owner, u64 off, u32 len);
	void (*write)(void *owner, u64 off, u32 len, u64 value);
};

struct bus_doorbell {
	u64 off;    /* from the start of the range */
	u32 len;    /* 1, 2, 4 or 8: only a write of that size; 0: a write of any size */
	bool match; /* only a write of `value` (needs a len) */
	u64 value;
	int fd; /* the eventfd to signal */
};

#define BUS_DOORBELLS_MAX 64 /* in one range */
#define BUS_PAGES_MAX	  64 /* likewise */
#define BUS_SLOTS_MAX	  1024

struct bus_page {
	u64 off;    /* from the start of the range */
	void *host; /* NULL: none */
	int slot;   /* of the VM's; -1: it is not there */
};

struct bus_range {
	/* Set by the owner before bus_add(). */
	const char *name;
	const struct bus_ops *ops;
	void *owner;
	u64 base;
	u64 len;

	/* The bus's own, under its lock. */
	struct bus *bus; /* the bus it is on, or NULL */
	struct bus_doorbell *bells;
	u32 nbells;
	struct bus_page *pages; /* BUS_PAGES_MAX, or NULL */
};

/* Put the page at `host` at guest physical address `gpa`, as number `slot` (0 to BUS_SLOTS_MAX - 1); NULL: take
 * it away. Returns 0 or -errno. */
struct bus_map_ops {
	int (*map)(void *ctx, u32 slot, u64 gpa, void *host);
};

enum bus_kind { BUS_PIO, BUS_MMIO };

/*
 * Make an empty bus. Returns 0 or -ENOMEM. A doorbell becomes a KVM ioeventfd as long as a VM is
 * attached.
 */
int bus_create(struct bus **out, enum bus_kind kind);
void bus_destroy(struct bus *b);

/* Hand all pages to the VM by `ops` (NULL: there is none), having taken them back from the one before. */
void bus_attach_map(struct bus *b, const struct bus_map_ops *ops, void *ctx);

/* Hand all doorbells to the VM `vm_fd`, or take them back from the one before (-1). */
void bus_attach_vm(struct bus *b, int vm_fd);

/*
 * Put a range on the bus. Returns 0, -EINVAL (empty, wraps, or past 64 KiB on PIO), -EEXIST (has
 * an address in common with another range; nothing is changed) or -ENOMEM.
 */
int bus_add(struct bus *b, struct bus_range *r);

/* Take a range off its bus. Its doorbells stay with it. Off already: nothing happens. */
void bus_del(struct bus_range *r);

/* Free the range's doorbells and pages; it must be off the bus. */
void bus_range_free(struct bus_range *r);

/* Add a doorbell to a range, on a bus or not yet. Returns 0, -EINVAL, -ENOSPC or -ENOMEM. */
int bus_doorbell_add(struct bus_range *r, const struct bus_doorbell *bell);

/* Remove the doorbells of `r` that signal `fd`. */
void bus_doorbell_del(struct bus_range *r, int fd);

/*
 * Have the page at `host`, which outlives this, in the place of the page at `off` of the range, which is on the
 * bus `b`, will be or was; NULL: no longer, and on return the VM does not have it. Where addresses are no multiple
 * of the page size it has none. Returns 0, -EINVAL (not a page inside the range), -ENOSPC or -ENOMEM.
 */
int bus_page_set(struct bus *b, struct bus_range *r, u64 off, void *host);

/*
 * One access by a vCPU. `len` is 1 to 8; what no range covers reads as all ones. bus_write() drops
 * what no range covers.
 */
u64 bus_read(struct bus *b, u64 addr, u32 len);
void bus_write(struct bus *b, u64 addr, u32 len, u64 value);

#endif
