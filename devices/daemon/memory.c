// SPDX-License-Identifier: MIT
/*
 * memory.c - the front end's memory, as it hands it to us: a table of regions, each with a descriptor.
 *
 *	user_addr	where the front end has it mapped: its name in SET_VRING_ADDR
 *	gpa		where the guest has it: its name in descriptors
 *	fd, offset	where we get it from
 *
 * How it works: the regions go to a struct mem, which all device code reaches guest memory by; a ring's
 * user addresses are translated to guest physical ones once, when it starts.
 *
 * Nothing of a table is trusted: a region is refused if it is empty, wraps in any of its three address
 * spaces, overlaps another one, or is more than its file has (mem_add_fd).
 *
 * What can still be done: a file that can't be sealed (on hugetlbfs, or of a memfd made without
 * MFD_ALLOW_SEALING) can be cut short later, and then a touch is a SIGBUS, which would end us. Who does so
 * harms only its own device: sigbus.c puts a page of zeroes in the place of the one that is gone, and the
 * requests that io_uring or a system call does there fail with EFAULT.
 *
 * Threads: the main loop's; no ring runs meanwhile.
 */
#include "devices/daemon/server.h"

#include <errno.h>
#include <string.h>

bool memory_gpa(const struct server *s, u64 user_addr, u64 *gpa)
{
	for (u32 i = 0; i < s->nregions; i++) {
		const struct user_region *r = &s->region[i];

		if (range_inside(user_addr, 0, r->user_addr, r->size - 1)) {
			*gpa = r->gpa + (user_addr - r->user_addr);
			return true;
		}
	}
	return false;
}

void memory_forget(struct server *s)
{
	mem_destroy(s->mem);
	s->nregions = 0;
}

int memory_add(struct server *s, const struct vhost_user_region *r, int fd)
{
	int err;

	if (!r->size || r->user_addr + r->size - 1 < r->user_addr)
		return server_refuse(s, -EINVAL, "a region of 0x%llx bytes at user address 0x%llx",
				     (unsigned long long)r->size, (unsigned long long)r->user_addr);
	for (u32 i = 0; i < s->nregions; i++) {
		const struct user_region *o = &s->region[i];

		if (ranges_overlap(r->user_addr, r->size, o->user_addr, o->size))
			return server_refuse(s, -EEXIST,
					     "two regions overlap at user address 0x%llx",
					     (unsigned long long)r->user_addr);
	}
	err = mem_add_fd(s->mem, r->gpa, r->size, fd, r->mmap_offset);
	if (err)
		return server_refuse(s, err, "the region at guest address 0x%llx, 0x%llx bytes: %s",
				     (unsigned long long)r->gpa, (unsigned long long)r->size,
				     err == -EINVAL   ? "it wraps, or is more than its file"
				     : err == -EEXIST ? "it overlaps another"
				     : err == -ENOSPC ? "there are too many"
						      : strerror(-err));
	s->region[s->nregions++] = (struct user_region){ r->user_addr, r->gpa, r->size };
	return 0;
}

int memory_remove(struct server *s, const struct vhost_user_region *r)
{
	for (u32 i = 0; i < s->nregions; i++) {
		const struct user_region *o = &s->region[i];

		if (o->user_addr != r->user_addr || o->gpa != r->gpa || o->size != r->size)
			continue;
		mem_remove(s->mem, o->gpa);
		s->region[i] = s->region[--s->nregions];
		return 0;
	}
	return server_refuse(s, -ENOENT, "there is no region at guest address 0x%llx",
			     (unsigned long long)r->gpa);
}

int memory_set(struct server *s, const struct vhost_user_msg *m)
{
	int err = 0;

	memory_forget(s);
	for (u32 i = 0; i < m->memory.nregions && !err; i++)
		err = memory_add(s, &m->memory.region[i], m->fd[i]);
	return err;
}
