// SPDX-License-Identifier: MIT
/*
 * inflight.c - the record of requests in flight, which the front end keeps for us: should we die, the one
 * that takes our place gets it back. Vhost-user Protocol, "Inflight I/O tracking".
 *
 *	| ring 0: vq_inflight_size(), rounded up to 64 | ring 1 | ...
 *
 * How it works: we make a file in memory, all zeroes, and the front end holds it. Each ring then writes down
 * what is in flight in its part (devices/virtio/vq_inflight.c).
 *
 * Threads: the main loop's; no ring runs meanwhile.
 */
#include "devices/daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALIGNMENT 64

static u64 stride(const struct server *s, u16 size)
{
	bool packed = s->features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);

	return ALIGN_UP(vq_inflight_size(packed, size), ALIGNMENT);
}

static int check(struct server *s, const struct vhost_user_inflight *i)
{
	if (i->nqueues && i->nqueues <= s->o.nqueues && i->queue_size &&
	    i->queue_size <= s->v->queue[0].size_max)
		return 0;
	return server_refuse(s, -EINVAL, "%u rings of %u descriptors", i->nqueues, i->queue_size);
}

int inflight_make(struct server *s, struct vhost_user_inflight *i, int *fd)
{
	int err = check(s, i);

	if (err)
		return err;
	i->mmap_offset = 0;
	i->mmap_size = i->nqueues * stride(s, i->queue_size);
	*fd = memfd_create("in-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, i->mmap_size) < 0)
		return server_refuse(s, -errno, "%s", strerror(errno));
	fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK);
	return 0;
}

void inflight_forget(struct server *s)
{
	if (s->inflight)
		munmap(s->inflight, s->inflight_size);
	s->inflight = NULL;
}

int inflight_set(struct server *s, const struct vhost_user_inflight *i, int fd)
{
	struct stat st;
	void *map;
	u64 step;
	int err = check(s, i);

	if (err)
		return err;
	step = stride(s, i->queue_size);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || i->mmap_size < i->nqueues * step ||
	    i->mmap_offset % PAGE_SIZE ||
	    !range_inside(i->mmap_offset, i->mmap_size, 0, st.st_size))
		return server_refuse(s, -EINVAL, "0x%llx bytes from 0x%llx on are not in the file",
				     (unsigned long long)i->mmap_size,
				     (unsigned long long)i->mmap_offset);
	map = mmap(NULL, i->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, i->mmap_offset);
	if (map == MAP_FAILED)
		return server_refuse(s, -errno, "%s", strerror(errno));
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK); /* see memory.c */
	inflight_forget(s);
	s->inflight = map;
	s->inflight_size = i->mmap_size;
	s->inflight_step = step;
	s->inflight_queues = i->nqueues;
	s->inflight_queue_size = i->queue_size;
	/* Before a driver waits for a ring to start. */
	madvise(map, i->nqueues * step, MADV_POPULATE_WRITE);
	return 0;
}

bool inflight_fits(const struct ring *r)
{
	const struct server *s = r->s;

	return r->q->index < s->inflight_queues && r->size <= s->inflight_queue_size &&
	       stride(s, s->inflight_queue_size) <= s->inflight_step;
}

void *inflight_of(const struct ring *r)
{
	const struct server *s = r->s;

	if (!s->inflight || !inflight_fits(r))
		return NULL;
	return s->inflight + r->q->index * s->inflight_step;
}
