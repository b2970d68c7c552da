/* SPDX-License-Identifier: MIT */
/*
 * stream_kind.h - between stream.c and the streams at whose other end people come and go:
 * stream_pty.c and stream_unix.c.
 *
 * How it works: while somebody is there, s->out is always watched, be it for nothing: a hang-up is
 * reported all the same. s->in is watched only while the owner wants to read, so that what somebody
 * sent before leaving waits for it. While nobody is there s->out is not watched (a hang-up would be
 * reported again and again), and s->bottomless tells the owner that its output goes nowhere.
 *
 * Threads: all hooks and functions are called with s->lock held.
 */
#ifndef VMM_STREAM_KIND_H
#define VMM_STREAM_KIND_H

#include "minivmm/stream.h"

struct stream_kind {
	/* Something happened at s->door. Returns whether somebody has come. Loop's thread. */
	bool (*opened)(struct stream *s);
	/* A hang-up was seen on s->out_fd: if it still is one, stream_left(). Loop's thread. */
	void (*hung_up)(struct stream *s);
	/* read() gives nothing more: from whoever has left, or at all. Any thread. */
	void (*input_ended)(struct stream *s);
};

/* Begin with `kind`, s->door.fd being open, and take ownership of it. Nobody is there. Returns 0 or
 * -errno. */
int stream_kind_init(struct stream *s, const struct stream_kind *kind);

/* Somebody is at the other end of s->out_fd, or no longer. Loop's thread. */
void stream_came(struct stream *s);
void stream_left(struct stream *s);

/* The input is `fd` from now on; -1: none. What it was is closed. */
void stream_set_input(struct stream *s, int fd);

/* stream_close() removes this file, unless it has become another one by then. Returns 0 or
 * -errno. */
int stream_owns_path(struct stream *s, const char *path);

#endif
