/* SPDX-License-Identifier: MIT */
/*
 * mem_log.h - a log of written pages, for a machine that moves while it runs: which pages of guest memory
 * have to be copied once more.
 *
 *	page of 4 KiB at guest physical address `gpa`	bit gpa / 4096 % 8 of byte gpa / 4096 / 8
 *
 * That is the format of vhost and of vhost-user ("Migration"). The log is a memfd, so that whoever writes to
 * guest memory can mark its pages itself: the kernel, by the address; another process, by the descriptor.
 *
 * A page is marked after it has been written, and whoever copies clears the mark before he reads. So what is
 * written meanwhile is marked again.
 */
#ifndef MINIVMM_MEM_LOG_H
#define MINIVMM_MEM_LOG_H

#include "minivmm/base.h"

#define MEM_LOG_PAGE 4096

struct mem;

struct mem_log {
	u8 *map;  /* NULL: there is none */
	u64 size; /* bytes */
	int fd;	  /* the memfd, from its byte 0 on; -1: somebody else's */
};

/* An empty log with room for all of `m`. Returns 0 or -errno. */
int mem_log_create(struct mem_log *l, const struct mem *m);

/* The log that another process has made: `size` bytes of the file `fd` from `offset` on, a multiple of the
 * page size. Nothing of it is trusted; the descriptor stays the caller's, who may close it. Returns 0, -EINVAL
 * (nothing, not a regular file, more than the file has, misaligned) or -errno. */
int mem_log_open(struct mem_log *l, int fd, u64 offset, u64 size);

/* `l` may be empty, all zeroes. */
void mem_log_close(struct mem_log *l);

/* Has it room for all of `m`? */
bool mem_log_covers(const struct mem_log *l, const struct mem *m);

/* Mark the pages of [gpa, gpa + len), which have been written; where the log ends there is nothing to mark.
 * Any thread, any time. Returns whether there is one that was not marked. */
bool mem_log_mark(const struct mem_log *l, u64 gpa, u64 len);

/* Take the mark of the page at `gpa` away. Returns whether there was one. Any thread. */
bool mem_log_take(const struct mem_log *l, u64 gpa);

#endif
