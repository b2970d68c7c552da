// SPDX-License-Identifier: MIT
/*
 * mem.c - guest memory from memfds. See mem.h for the picture.
 *
 * How it works: each region is one memfd, mapped shared and without reservation, so a guest of
 * many GiB costs only the pages that it touches. The kernel image and the initrd do not pass
 * through that mapping: mem_load() maps the *file* and writes it into the memfd. A write of whole
 * pages into a memfd neither clears the pages first nor takes a fault for each of them, which
 * makes it the fastest of the ways in (docs/performance.md has the figures).
 */
#include "minivmm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_SIZE (2 * MIB)

void mem_init(struct mem *m)
{
	memset(m, 0, sizeof(*m));
}

static void region_close(struct mem_region *r)
{
	if (r->host)
		munmap(r->host, r->size);
	if (r->fd >= 0)
		close(r->fd);
}

void mem_destroy(struct mem *m)
{
	for (u32 i = 0; i < m->nregions; i++)
		region_close(&m->region[i]);
	m->nregions = 0;
}

static int region_open(struct mem_region *r)
{
	unsigned int flags = MFD_CLOEXEC | (r->huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
	void *host;

	r->fd = memfd_create("guest-ram", flags);
	if (r->fd < 0)
		return -errno;
	if (ftruncate(r->fd, r->size) < 0)
		return -errno;
	/* hugetlb pages that run out later would be a SIGBUS in the guest: reserve them now. */
	host = mmap(NULL, r->size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | (r->huge ? 0 : MAP_NORESERVE), r->fd, 0);
	if (host == MAP_FAILED)
		return -errno;
	r->host = host;
	madvise(host, r->size, MADV_DONTDUMP); /* a core dump is about us, not the guest */
	return 0;
}

int mem_add_ram(struct mem *m, u64 gpa, u64 size, bool huge)
{
	u64 align = huge ? HUGE_SIZE : PAGE_SIZE;
	struct mem_region new = { .gpa = gpa, .size = size, .fd = -1, .huge = huge };
	u32 at = 0;
	int err;

	if (!size || gpa % align || size % align || gpa + size - 1 < gpa)
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

	err = region_open(&new);
	if (err) {
		region_close(&new);
		return err;
	}
	memmove(&m->region[at + 1], &m->region[at], (m->nregions - at) * sizeof(new));
	m->region[at] = new;
	m->nregions++;
	return 0;
}

int mem_discard(struct mem *m)
{
	for (u32 i = 0; i < m->nregions; i++) {
		struct mem_region *r = &m->region[i];

		if (fallocate(r->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, r->size) < 0)
			return -errno;
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

/* hugetlb files have no write(): read the file into the mapping instead. */
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

/* A file that shrinks meanwhile makes pwrite() fail with EFAULT: no SIGBUS can come of it. */
static int load_by_write(const struct mem_region *r, u64 at, const u8 *src, u64 len)
{
	while (len) {
		ssize_t n = pwrite(r->fd, src, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EFAULT ? -ENODATA : -errno;
		src += n;
		at += n;
		len -= n;
	}
	return 0;
}

int mem_load(struct mem *m, u64 gpa, int fd, u64 offset, u64 len)
{
	const struct mem_region *r = region_of(m, gpa, len);
	u64 skip = offset % PAGE_SIZE;
	struct stat st;
	u8 *map;
	int err;

	if (!r)
		return -EFAULT;
	if (!len)
		return 0;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!range_inside(offset, len, 0, st.st_size))
		return -ENODATA;
	if (r->huge)
		return load_by_read(r->host + (gpa - r->gpa), fd, offset, len);

	map = mmap(NULL, len + skip, PROT_READ, MAP_SHARED, fd, offset - skip);
	if (map == MAP_FAILED)
		return -errno;
	err = load_by_write(r, gpa - r->gpa, map + skip, len);
	munmap(map, len + skip);
	return err;
}
