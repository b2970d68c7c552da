// SPDX-License-Identifier: MIT
/*
 * mem_log.c - a log of written pages. See mem_log.h.
 *
 * How it works: each mark is an atomic operation on the byte it is in, also where it is there already. A look
 * beforehand could see a mark of old, and what was written be seen by others only after that mark has been
 * taken away.
 */
#include "minivmm/mem_log.h"
#include "minivmm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* How many bytes of log the memory needs. */
static u64 size_for(const struct mem *m)
{
	u64 end = 0;

	for (u32 i = 0; i < m->nregions; i++) {
		const struct mem_region *r = &m->region[i];
		u64 last = (r->gpa + (r->size - 1)) / MEM_LOG_PAGE / 8 + 1;

		end = last > end ? last : end;
	}
	return end;
}

int mem_log_open(struct mem_log *l, int fd, u64 offset, u64 size)
{
	struct stat st;
	void *map;

	*l = (struct mem_log){ .fd = -1 };
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || !size || offset % PAGE_SIZE ||
	    !range_inside(offset, size, 0, st.st_size))
		return -EINVAL;
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
	if (map == MAP_FAILED)
		return -errno;
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); /* a wish: not all files can be */
	l->map = map;
	l->size = size;
	return 0;
}

int mem_log_create(struct mem_log *l, const struct mem *m)
{
	u64 size = ALIGN_UP(size_for(m), PAGE_SIZE);
	int fd = memfd_create("dirty-log", MFD_CLOEXEC | MFD_ALLOW_SEALING), err;

	*l = (struct mem_log){ .fd = -1 };
	if (fd < 0)
		return -errno;
	err = ftruncate(fd, size) < 0 ? -errno : mem_log_open(l, fd, 0, size);
	if (err)
		close(fd);
	else
		l->fd = fd;
	return err;
}

void mem_log_close(struct mem_log *l)
{
	if (!l->map)
		return;
	munmap(l->map, l->size);
	if (l->fd >= 0)
		close(l->fd);
	*l = (struct mem_log){ .fd = -1 };
}

bool mem_log_covers(const struct mem_log *l, const struct mem *m)
{
	return l->size >= size_for(m);
}

bool mem_log_mark(const struct mem_log *l, u64 gpa, u64 len)
{
	u64 page = gpa / MEM_LOG_PAGE, last = (gpa + (len - 1)) / MEM_LOG_PAGE;
	bool fresh = false;

	for (; len && page <= last && page / 8 < l->size; page++) {
		u8 bit = 1u << page % 8;

		fresh |= !(__atomic_fetch_or(&l->map[page / 8], bit, __ATOMIC_SEQ_CST) & bit);
	}
	return fresh;
}

bool mem_log_take(const struct mem_log *l, u64 gpa)
{
	u64 page = gpa / MEM_LOG_PAGE;
	u8 bit = 1u << page % 8;

	return page / 8 < l->size &&
	       __atomic_fetch_and(&l->map[page / 8], ~bit, __ATOMIC_SEQ_CST) & bit;
}
