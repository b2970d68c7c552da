// SPDX-License-Identifier: MIT
/*
 * stream_rig.c - see stream_rig.h.
 */
#include "tests/unit/stream_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PRIME 251 /* the counting bytes repeat at no power of two */

static void on_readable(struct stream *s)
{
	struct stream_rig *r = s->owner;

	r->readable++;
	r->ngot += stream_read(s, r->got + r->ngot, sizeof(r->got) - r->ngot);
}

static void on_writable(struct stream *s)
{
	struct stream_rig *r = s->owner;

	r->writable++;
	stream_want_write(s, false);
}

static void on_connection(struct stream *s)
{
	struct stream_rig *r = s->owner;

	r->connections++;
}

void stream_rig_init(struct stream_rig *r)
{
	memset(r, 0, sizeof(*r));
	r->fds = open_fds();
	strcpy(r->dir, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/stream", r->dir);
	ck_assert_int_eq(loop_create(&r->loop), 0);
	stream_init(&r->s, r->loop);
	r->s.owner = r;
	r->s.readable = on_readable;
	r->s.writable = on_writable;
	r->s.connection = on_connection;
}

void stream_rig_free(struct stream_rig *r)
{
	stream_close(&r->s);
	loop_destroy(r->loop);
	r->loop = NULL;
	ck_assert_int_eq(rmdir(r->dir), 0); /* it is empty */
	ck_assert_uint_eq(open_fds(), r->fds);
}

void stream_rig_settle(struct stream_rig *r)
{
	loop_settle(r->loop);
}

/* The one event that is ready is what ended the last loop_settle(). */
bool stream_rig_idle(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct epoll_event ready[8];
	struct dirent *e;
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d))) {
		char path[300], target[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%s", e->d_name);
		if (readlink(path, target, sizeof(target) - 1) > 0 &&
		    strcmp(target, "anon_inode:[eventpoll]") == 0)
			n += epoll_wait(atoi(e->d_name), ready, ARRAY_SIZE(ready), 0);
	}
	closedir(d);
	ck_assert_int_ge(n, 1);
	return n == 1;
}

void stream_rig_write(struct stream_rig *r, const char *text)
{
	ck_assert_uint_eq(stream_write(&r->s, text, strlen(text)), strlen(text));
}

u32 stream_rig_fill(struct stream_rig *r)
{
	u8 chunk[1000];
	u32 total = 0;
	size_t n;

	do {
		for (u32 i = 0; i < sizeof(chunk); i++)
			chunk[i] = (total + i) % PRIME;
		n = stream_write(&r->s, chunk, sizeof(chunk));
		total += n;
	} while (n);
	return total;
}

u32 drain_counting(int fd, u32 *next)
{
	u8 chunk[4096];
	u32 begin = *next;
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			ck_assert_uint_eq(chunk[i], (*next)++ % PRIME);
	}
	return *next - begin;
}
