/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a byte stream to the world outside: what stands behind a UART or a console port.
 *
 * Nothing here blocks, and nothing is lost while somebody is at the other end: the owner reads when
 * it has room (stream_want_read) and is told when what it could not write fits again
 * (stream_want_write). At the other end of a pseudo-terminal and of a UNIX socket people come and
 * go: while nobody is there, output is dropped, so that a guest never waits for somebody to look;
 * what somebody sent before leaving is still read.
 *
 * Threads: the owner serialises its calls of stream_read() and stream_write() with a lock of its
 * own, or makes them on the loop's thread alone; the loop's thread alone reads where there is an
 * escape key. `readable`, `writable` and `connection` are called on the loop's thread without that
 * lock.
 */
#ifndef MINIVMM_STREAM_H
#define MINIVMM_STREAM_H

#include "minivmm/base.h"
#include "minivmm/loop.h"

#include <pthread.h>

struct stream_kind;

struct stream {
	/* Set by the owner after stream_init(). */
	void (*readable)(struct stream *s);
	void (*writable)(struct stream *s);
	/* Somebody came or left (stream_connected). NULL: it makes no difference. */
	void (*connection)(struct stream *s);
	void *owner;

	/* Keys after the escape key (Ctrl-A) on a terminal go here, whether the owner wants to read
	 * or not; NULL: there is no escape key. Set before stream_open_stdio(). Loop's thread, maybe
	 * with the owner's lock held: it may not touch the owner. */
	void (*command)(struct stream *s, char key);
	void *command_arg;

	/* The stream's own. Fixed after stream_open_*(). */
	struct loop *loop;
	const struct stream_kind *kind; /* NULL: standard streams or a file */
	bool out_may_block;		/* it could not be opened anew with O_NONBLOCK */
	bool terminal;			/* input is a terminal in raw mode */
	char *path;			/* what stream_close() removes, or NULL */
	u64 path_dev, path_ino;		/* the file that it was */

	bool escaped; /* loop's thread: the last byte was the escape key */

	pthread_mutex_t lock;	/* guards all below */
	int in_fd, out_fd;	/* -1: none */
	struct loop_fd in, out; /* what is watched: the same, or an eventfd for a regular file */
	bool want_read, want_write;
	bool loss_told; /* a full disk was logged */

	/* A terminal with an escape key: what was read before the owner wanted it. NULL: another. */
	u8 *ahead;
	u32 nahead;
	struct loop_fd held; /* always ready; watched while there is some and the owner wants it */

	/* Where people come and go (kind != NULL). */
	bool connected;
	bool in_older;	      /* unix: the input is still that of a client that has left */
	struct loop_fd door;  /* tells that somebody may have come */
	struct loop_fd later; /* unix: a timer: try to let somebody in again */
	bool refusal_told;    /* unix: that it can't was logged */
	struct loop_fd
		bottomless; /* always ready: stands in for the output while nobody is there */
};

/* Begin: neither input nor output, and what is written is dropped. Then at most one
 * stream_open_*(). */
void stream_init(struct stream *s, struct loop *loop);

/* The following return 0 or -errno after a line in the log, and then the stream is as after
 * stream_init(). */

/* Standard input and output, as they are or, a terminal, in raw mode until stream_close(). */
int stream_open_stdio(struct stream *s);

/* Output to a file, which is made or emptied; no input. */
int stream_open_file(struct stream *s, const char *path);

/* A new pseudo-terminal in raw mode, whose name is logged. With `link`, also a symbolic link to it,
 * until stream_close(); an old link to a pseudo-terminal is replaced. */
int stream_open_pty(struct stream *s, const char *link);

/*
 * Listen on a UNIX stream socket at `path`, until stream_close(), and talk to one client at a time;
 * the others wait for their turn. A socket that nobody listens on any more is replaced.
 * -EADDRINUSE: somebody does; -EEXIST: another kind of file is there; -ENAMETOOLONG.
 */
int stream_open_unix(struct stream *s, const char *path);

/* Loop's thread, or the loop does not run. Restores the terminal, removes link or socket. */
void stream_close(struct stream *s);

/* Up to `len` bytes; returns how many, 0 if there are none now. The end of the input is not an
 * error: nothing more comes. */
size_t stream_read(struct stream *s, void *buf, size_t len);

/* Returns how many of `len` bytes were taken. An output that has gone away takes all. */
size_t stream_write(struct stream *s, const void *buf, size_t len);

/* Call readable() while there is input / writable() when there is room, or no longer. Any thread;
 * one call that is under way may still arrive. */
void stream_want_read(struct stream *s, bool want);
void stream_want_write(struct stream *s, bool want);

/* Is there somebody at the other end? Always so but for a pseudo-terminal or a socket. */
bool stream_connected(struct stream *s);

/* The size of the terminal at the other end, in characters. Returns 0, or -ENOTTY: it has none. It
 * may change whenever SIGWINCH comes. */
int stream_window_size(struct stream *s, u16 *columns, u16 *rows);

#endif
