/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a byte stream to the world outside: what stands behind a UART or a console port.
 *
 * Nothing here blocks, and nothing is lost: the owner reads when it has room (stream_want_read)
 * and is told when what it could not write fits again (stream_want_write).
 *
 * Threads: the owner serialises its calls with a lock of its own. `readable` and `writable` are
 * called on the loop's thread without that lock.
 */
#ifndef MINIVMM_STREAM_H
#define MINIVMM_STREAM_H

#include "minivmm/base.h"
#include "minivmm/loop.h"

struct stream {
	/* Set by the owner after stream_init(). */
	void (*readable)(struct stream *s);
	void (*writable)(struct stream *s);
	void *owner;

	/* Keys after the escape key (Ctrl-A) on a terminal go here; NULL: there is no escape key.
	 * Called with the owner's lock held: it may not touch the owner. */
	void (*command)(struct stream *s, char key);
	void *command_arg;

	/* The stream's own. */
	struct loop *loop;
	int in_fd, out_fd;	/* -1: none */
	struct loop_fd in, out; /* what is watched: the same, or an eventfd for a regular file */
	bool want_read, want_write;
	bool out_may_block; /* it could not be opened anew with O_NONBLOCK */
	bool terminal;	    /* input is a terminal in raw mode */
	bool escaped;	    /* the last byte was the escape key */
};

/* Begin: neither input nor output, and what is written is dropped. Then at most one
 * stream_open_*(). */
void stream_init(struct stream *s, struct loop *loop);

/* Standard input and output, as they are or, a terminal, in raw mode until stream_close().
 * Returns 0 or -errno. */
int stream_open_stdio(struct stream *s);

/* Output to a file, which is made or emptied; no input. Returns 0 or -errno. */
int stream_open_file(struct stream *s, const char *path);

/* Loop's thread, or the loop does not run. Restores the terminal. */
void stream_close(struct stream *s);

/* Up to `len` bytes; returns how many, 0 if there are none now. The end of the input is not an
 * error: nothing more comes. */
size_t stream_read(struct stream *s, void *buf, size_t len);

/* Returns how many of `len` bytes were taken. An output that has gone away takes all. */
size_t stream_write(struct stream *s, const void *buf, size_t len);

/* Call readable() while there is input / writable() when there is room, or no longer. */
void stream_want_read(struct stream *s, bool want);
void stream_want_write(struct stream *s, bool want);

#endif
