/* SPDX-License-Identifier: MIT */
/*
 * mem.h - the guest's physical memory.
 *
 *   guest physical address (gpa)
 *   0          3 GiB       4 GiB                 (x86-64; other architectures: arch_ram_layout)
 *   |== RAM ====|.. PCI hole ..|== RAM =====...
 *       |                          |
 *    memfd 0                    memfd 1          one memfd a region, so that a data path in
 *       |                          |             another process can map it by its fd
 *    mmap, shared               mmap, shared     pages appear when they are first touched
 *
 * All code but the loader reaches guest memory through mem_ptr(), which answers only if the whole
 * range lies inside one region. A guest-supplied address is never used in any other way.
 *
 * Threads: regions are added while the machine is built and then fixed; after that every function
 * here may be called from any thread. What the guest's vCPUs write at the same time is the
 * caller's concern: load a guest field once, check it, then use it.
 */
#ifndef MINIVMM_MEM_H
#define MINIVMM_MEM_H

#include "minivmm/base.h"

#define MEM_REGIONS_MAX 32

struct mem_region {
	u64 gpa;  /* first guest physical address */
	u64 size; /* bytes, a multiple of the page size */
	u8 *host; /* where it is mapped in this process */
	int fd;	  /* the memfd; region byte 0 is file byte 0. -1: somebody else's (mem_add_fd) */
	bool huge;
	u8 *map; /* all that is mapped: host, or of a file, from the boundary of a page before it */
	u64 map_size;
};

struct mem {
	struct mem_region region[MEM_REGIONS_MAX]; /* by rising gpa, none touching another */
	u32 nregions;
};

/* Make `m` an empty address space. */
void mem_init(struct mem *m);

/* Unmap and close all regions. */
void mem_destroy(struct mem *m);

/*
 * Add `size` bytes of zeroed RAM at `gpa`, both multiples of the page size (2 MiB with `huge`,
 * which takes the pages from the host's hugetlb pool and reserves all of them now).
 * Returns 0, -EINVAL (alignment, wrap), -EEXIST (overlap), -ENOSPC (no region left) or the
 * host's error: -ENOMEM if the size can't be had.
 */
int mem_add_ram(struct mem *m, u64 gpa, u64 size, bool huge);

/*
 * Add RAM that another process made: `size` bytes of the file `fd` from `offset` on, at `gpa`. No alignment
 * is asked of any, and nothing of them is trusted. The descriptor stays the caller's, who may close it.
 * Returns 0, -EINVAL (nothing, a wrap, not a regular file, more than the file has), -EEXIST (overlap),
 * -ENOSPC or the host's error.
 *
 * The file may be cut short later, and then touching what is gone is a SIGBUS. If it is a memfd that lets
 * itself be sealed, it is sealed against that.
 */
int mem_add_fd(struct mem *m, u64 gpa, u64 size, int fd, u64 offset);

/* Take the region at `gpa` away. Nobody uses it. Returns 0 or -ENOENT. */
int mem_remove(struct mem *m, u64 gpa);

/* Give all pages back to the host: the RAM reads as zeroes again. No vCPU may be running. */
int mem_discard(struct mem *m);

/*
 * The host address of guest range [gpa, gpa + len), or NULL unless all of it lies inside one
 * region. `len` may be 0: then gpa itself must lie inside a region or at its end.
 */
void *mem_ptr(const struct mem *m, u64 gpa, u64 len);

/* The guest physical address of the byte at `host`. Returns false if it is in no region. */
bool mem_gpa(const struct mem *m, const void *host, u64 *gpa);

/* Bytes of RAM in all regions. */
u64 mem_size(const struct mem *m);

/* Copy `len` bytes into the guest. Returns 0 or -EFAULT if the range is not all RAM. */
int mem_write(struct mem *m, u64 gpa, const void *src, u64 len);

/*
 * Copy `len` bytes of the open file `fd`, from `offset` on, into the guest at `gpa`, in huge pages
 * where the host has some.
 * Returns 0, -EFAULT (the range is not all RAM), -ENODATA (the file ends before) or -errno.
 */
int mem_load(struct mem *m, u64 gpa, int fd, u64 offset, u64 len);

#endif
