/* SPDX-License-Identifier: MIT */
/*
 * image_rig.h - what the suites on disk images share: an image in a file of its own, and a queue on it
 * whose loop runs on a thread, where requests are made. One at a time: each test is a process of its
 * own.
 */
#ifndef TESTS_UNIT_IMAGE_RIG_H
#define TESTS_UNIT_IMAGE_RIG_H

#include "devices/block/image_internal.h"
#include "tests/unit/unit.h"

#include <semaphore.h>

#define IMAGE_LEN (4 * MIB)

extern struct image_rig {
	char path[64];
	struct image_options options; /* with the path */
	struct image *img;
	struct image_queue *queue;
	struct loop *loop;
	u32 fds; /* open before */

	/* The loop's. */
	u32 undone, batches;
	sem_t all_done;
} rig;

/* A test's fixture: a new file of IMAGE_LEN zeroes; and the file is gone and nothing left open. */
void image_rig_setup(void);
void image_rig_teardown(void);

/* Open what rig.options say, with a queue on a running loop; and the reverse. */
void image_rig_start(void);
void image_rig_stop(void);

/* The queue alone. Returns 0 or -errno. */
int image_rig_queue(void);

/* Choose variant `i`, 0 for io_uring and 1 for threads. Does this host have it? */
bool image_rig_engine(u32 i);
#define NEED_ENGINE(i)                            \
	do {                                      \
		if (!image_rig_engine(i))         \
			skip_test("no io_uring"); \
	} while (0)

/* A request; `r` is what the test fills in. */
struct io {
	struct image_req r;
	struct iovec iov;
	u32 dones;
	int err;
};

void io_init(struct io *io, enum image_op op, u64 off, void *buf, u64 len);

/* Submit `n` requests at once, and kick; or drain. */
void io_begin_all(struct io *io, u32 n);
void io_drain_all(struct io *io, u32 n);
/* Wait for their end. */
void io_wait_all(struct io *io, u32 n);

/* To its end: `n` requests at once; one, returning its result; a write-zeroes. */
void io_run_all(struct io *io, u32 n);
int io_run(enum image_op op, u64 off, void *buf, u64 len);
int io_zero(u64 off, u64 len, bool unmap);

#endif
