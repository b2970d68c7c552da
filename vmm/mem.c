// SPDX-License-Identifier: MIT
/*
 * mem.c - guest memory from memfds. See mem.h for the picture.
 *
 * How it works: each region is one memfd, mapped shared and without reservation, so a guest of
 * many GiB costs only the pages that it touches. The kernel image and the initrd do not pass
 * through that mapping: mem_load() writes them into the memfd, by way of a small buffer. A write of
 * whole pages into a memfd neither clears the pages first nor takes a fault for each of them; a
 * mapping of the file, in the buffer's place, would take faults of its own.
 *
 * Better still are huge pages, for the loading as for the guest, whose page faults are our host's.
 * Regions are mapped so that they can be had. Where the host gives them to memfds that ask
 * (/sys/kernel/mm/transparent_hugepage/shmem_enabled says "advise") all of guest memory comes in
 * them. Most hosts say "never"; there, what mem_load() fills is made huge with MADV_COLLAPSE, which
 * needs nobody's leave, and then the file is read straight into the mapping.
 */
#include "minivmm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_SIZE (2 * MIB)
#define COPY_SIZE (128 * KIB) /* remains in a second-level cache from read to write */

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

void mem_init(struct mem *m)
{
	memset(m, 0, sizeof(*m));
}

static void region_close(struct mem_region *r)
{
	if (r->map)
		munmap(r->map, r->map_size);
	if (r->fd >= 0)
		close(r->fd);
}

void mem_destroy(struct mem *m)
{
	for (u32 i = 0; i < m->nregions; i++)
		region_close(&m->region[i]);
	m->nregions = 0;
}

/* `size` bytes of address space, from a huge page's boundary on. Returns it or NULL. */
static u8 *reserve(u64 size)
{
	u64 room = size + HUGE_SIZE;
	u8 *start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	u64 before;

	if (start == MAP_FAILED)
		return NULL;
	before = ALIGN_UP((uintptr_t)start, HUGE_SIZE) - (uintptr_t)start;
	if (before)
		munmap(start, before);
	munmap(start + before + size, HUGE_SIZE - before);
	return start + before;
}

/* Map the memfd at r->host, whatever is there. */
static int region_map(struct mem_region *r)
{
	/* hugetlb pages that run out later would be a SIGBUS in the guest: reserve them now. */
	if (mmap(r->host, r->size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED | (r->huge ? 0 : MAP_NORESERVE), r->fd, 0) == MAP_FAILED)
		return -errno;
	madvise(r->host, r->size, MADV_DONTDUMP); /* a core dump is about us, not the guest */
	madvise(r->host, r->size, MADV_HUGEPAGE); /* a wish: the host may not know or grant it */
	return 0;
}

static int region_open(struct mem_region *r)
{
	unsigned int flags =
		MFD_CLOEXEC | MFD_ALLOW_SEALING | (r->huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);

	r->fd = memfd_create("guest-ram", flags);
	if (r->fd < 0)
		return -errno;
	if (ftruncate(r->fd, r->size) < 0)
		return -errno;
	/* A data path in another process has the file, but must not take memory from under us. */
	if (fcntl(r->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	r->host = r->map = reserve(r->size);
	r->map_size = r->size;
	return r->host ? region_map(r) : -errno;
}

/* Map `size` bytes of a file that is somebody else's. In a file of huge pages all is in units of them. */
static int region_open_file(struct mem_region *r, int fd, u64 offset)
{
	u64 unit = PAGE_SIZE, start;
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !range_inside(offset, r->size, 0, st.st_size))
		return -EINVAL;
	if ((u64)st.st_blksize > unit && !(st.st_blksize & (st.st_blksize - 1)))
		unit = st.st_blksize;
	start = ALIGN_DOWN(offset, unit);
	r->map_size = ALIGN_UP(offset + r->size, unit) - start;
	map = mmap(NULL, r->map_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
	if (map == MAP_FAILED)
		return -errno;
	r->map = map;
	r->host = r->map + (offset - start);
	fcntl(fd, F_ADD_SEALS,
	      F_SEAL_SHRINK); /* a wish: not all files can be, or have to be any more */
	madvise(r->map, r->map_size, MADV_DONTDUMP);
	return 0;
}

/* Where a region at [gpa, gpa + size) has its place among the others. Returns that or -errno. */
static int place_of(const struct mem *m, u64 gpa, u64 size)
{
	u32 at = 0;

	if (!size || gpa + size - 1 < gpa)
		return -EINVAL;
	if (m->nregions == MEM_REGIONS_MAX)
		return -ENOSPC;
	for (u32 i = 0; i < m->nregions; i++) {
		const struct mem_region *r = &m->region[i];

		if (ranges_overlap(gpa, size, r->gpa, r->size))
			return -EEXIST;
		if (r->gpa < gpa)
			at = i + 1;
	}
	return at;
}

static void insert(struct mem *m, u32 at, const struct mem_region *r)
{
	memmove(&m->region[at + 1], &m->region[at], (m->nregions - at) * sizeof(*r));
	m->region[at] = *r;
	m->nregions++;
}

int mem_add_ram(struct mem *m, u64 gpa, u64 size, bool huge)
{
	u64 align = huge ? HUGE_SIZE : PAGE_SIZE;
	struct mem_region new = { .gpa = gpa, .size = size, .fd = -1, .huge = huge };
	int at = place_of(m, gpa, size), err;

	if (gpa % align || size % align)
		return -EINVAL;
	if (at < 0)
		return at;
	err = region_open(&new);
	if (err) {
		region_close(&new);
		return err;
	}
	insert(m, at, &new);
	return 0;
}

int mem_add_fd(struct mem *m, u64 gpa, u64 size, int fd, u64 offset)
{
	struct mem_region new = { .gpa = gpa, .size = size, .fd = -1 };
	int at = place_of(m, gpa, size), err;

	if (at < 0)
		return at;
	err = region_open_file(&new, fd, offset);
	if (!err)
		insert(m, at, &new);
	return err;
}

int mem_remove(struct mem *m, u64 gpa)
{
	for (u32 i = 0; i < m->nregions; i++) {
		struct mem_region *r = &m->region[i];

		if (r->gpa != gpa)
			continue;
		region_close(r);
		m->nregions--;
		memmove(r, r + 1, (m->nregions - i) * sizeof(*r));
		return 0;
	}
	return -ENOENT;
}

int mem_discard(struct mem *m)
{
	for (u32 i = 0; i < m->nregions; i++) {
		struct mem_region *r = &m->region[i];

		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, r->size) < 0)
			return -errno;
		if (r->huge) { /* their reservation is gone with the pages: make it anew */
			int err = region_map(r);

			if (err)
				return err;
		}
	}
	return 0;
}

static const struct mem_region *region_of(const struct mem *m, u64 gpa, u64 len)
{
	for (u32 i = 0; i < m->nregions; i++) {
		const struct mem_region *r = &m->region[i];

		if (range_inside(gpa, len, r->gpa, r->size))
			return r;
	}
	return NULL;
}

void *mem_ptr(const struct mem *m, u64 gpa, u64 len)
{
	const struct mem_region *r = region_of(m, gpa, len);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

bool mem_gpa(const struct mem *m, const void *host, u64 *gpa)
{
	for (u32 i = 0; i < m->nregions; i++) {
		const struct mem_region *r = &m->region[i];

		if (range_inside((uintptr_t)host, 1, (uintptr_t)r->host, r->size)) {
			*gpa = r->gpa + ((const u8 *)host - r->host);
			return true;
		}
	}
	return false;
}

u64 mem_size(const struct mem *m)
{
	u64 sum = 0;

	for (u32 i = 0; i < m->nregions; i++)
		sum += m->region[i].size;
	return sum;
}

int mem_write(struct mem *m, u64 gpa, const void *src, u64 len)
{
	void *dst = mem_ptr(m, gpa, len);

	if (!dst)
		return -EFAULT;
	memcpy(dst, src, len);
	return 0;
}

/* The way into pages that are mapped anyway, and into hugetlb files, which have no write(). */
static int load_by_read(u8 *dst, int fd, u64 offset, u64 len)
{
	while (len) {
		ssize_t n = pread(fd, dst, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		dst += n;
		offset += n;
		len -= n;
	}
	return 0;
}

/*
 * Back what [at, at + len) fills at least half of with huge pages. Returns whether they are there;
 * the host may be out of them. MADV_COLLAPSE collapses only where there is a page already.
 */
static bool make_huge(const struct mem_region *r, u64 at, u64 len)
{
	u64 first = ALIGN_DOWN(at + HUGE_SIZE / 2, HUGE_SIZE);
	u64 end = ALIGN_DOWN(at + len + HUGE_SIZE / 2, HUGE_SIZE);

	if (end > r->size)
		end = ALIGN_DOWN(r->size, HUGE_SIZE);
	if (end <= first)
		return false;
	for (u64 i = first; i < end; i += HUGE_SIZE)
		(void)*(volatile u8 *)(r->host + i);
	return madvise(r->host + first, end - first, MADV_COLLAPSE) == 0;
}

static int write_all(int fd, u64 at, const u8 *src, u64 len)
{
	while (len) {
		ssize_t n = pwrite(fd, src, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		src += n;
		at += n;
		len -= n;
	}
	return 0;
}

static int load_by_write(const struct mem_region *r, u64 at, int fd, u64 offset, u64 len)
{
	u8 *buf = malloc(COPY_SIZE);
	int err = buf ? 0 : -ENOMEM;

	while (len && !err) {
		u64 n = len < COPY_SIZE ? len : COPY_SIZE;

		err = load_by_read(buf, fd, offset, n);
		if (!err)
			err = write_all(r->fd, at, buf, n);
		at += n;
		offset += n;
		len -= n;
	}
	free(buf);
	return err;
}

int mem_load(struct mem *m, u64 gpa, int fd, u64 offset, u64 len)
{
	const struct mem_region *r = region_of(m, gpa, len);
	struct stat st;
	u64 at;

	if (!r)
		return -EFAULT;
	if (!len)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!range_inside(offset, len, 0, st.st_size))
		return -ENODATA;
	at = gpa - r->gpa;
	if (r->huge || make_huge(r, at, len))
		return load_by_read(r->host + at, fd, offset, len);
	return load_by_write(r, at, fd, offset, len);
}
