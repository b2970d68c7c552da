/* SPDX-License-Identifier: MIT */
/*
 * stream_rig.h - what the suites on streams where people come and go share: a stream on a loop of
 * its own, an owner that reads all there is, and a folder for its files.
 */
#ifndef TESTS_UNIT_STREAM_RIG_H
#define TESTS_UNIT_STREAM_RIG_H

#include "minivmm/stream.h"
#include "tests/unit/unit.h"

struct stream_rig {
	u32 fds;
	struct loop *loop;
	struct stream s;
	u32 readable, writable, connections; /* calls */
	char got[65536];
	u32 ngot;
	char dir[32], path[64]; /* path: a name in it, nothing there yet */
};

/* The stream is made ready for stream_open_*(). */
void stream_rig_init(struct stream_rig *r);

/* Closes it, and checks that it has left nothing behind. */
void stream_rig_free(struct stream_rig *r);

void stream_rig_settle(struct stream_rig *r);

/* After stream_rig_settle(): is there nothing left for the loop to do? If there is, it spins. */
bool stream_rig_idle(void);

/* All that has been read since the last time. */
#define expect_input(r, text)                                       \
	do {                                                        \
		ck_assert_uint_eq((r)->ngot, sizeof(text) - 1);     \
		ck_assert_mem_eq((r)->got, text, sizeof(text) - 1); \
		(r)->ngot = 0;                                      \
	} while (0)

/* Write all of `text`, which has room. */
void stream_rig_write(struct stream_rig *r, const char *text);

/* Write counting bytes until no more fit. Returns how many. */
u32 stream_rig_fill(struct stream_rig *r);

/* Read from `fd`, which does not block, all there is; checks the counting from *next on. Returns
 * how many. */
u32 drain_counting(int fd, u32 *next);

/* What `fd` has: exactly `text`. */
#define expect_output(fd, text)                                  \
	do {                                                     \
		char seen_[256];                                 \
		ssize_t n_ = read(fd, seen_, sizeof(seen_));     \
		ck_assert_int_eq(n_, sizeof(text) - 1);          \
		ck_assert_mem_eq(seen_, text, sizeof(text) - 1); \
	} while (0)

#endif
