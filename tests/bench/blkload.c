// SPDX-License-Identifier: MIT
/*
 * blkload.c - the load of the disk benchmark, run inside the guest.
 *
 *	blkload DEVICE read|write|mixed random|sequential BYTES DEPTH MILLISECONDS
 *
 * keeps DEPTH requests of BYTES bytes in flight on DEVICE, past the guest's page cache, and prints the line of
 * latency.h. Of `mixed` three in ten write. At depth 1 it uses pread() and pwrite(), else the kernel's native
 * asynchronous I/O, by its system calls since that saves a library. Static, so that it is all that the guest
 * needs.
 */
#include "latency.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define ALIGNMENT 4096

struct load {
	int fd;
	bool write, mixed, random;
	size_t bytes;
	int depth;
	uint64_t blocks, next; /* of the device; sequential: the next one */
	uint64_t seed;
	struct latencies latencies;
	uint64_t since[DEPTH_MAX];
	void *buf[DEPTH_MAX];
};

static uint64_t next_offset(struct load *l)
{
	if (!l->random)
		return l->next++ % l->blocks * l->bytes;
	l->seed ^= l->seed >> 12; /* xorshift64*: each run asks for the same blocks */
	l->seed ^= l->seed << 25;
	l->seed ^= l->seed >> 27;
	return (l->seed * 0x2545f4914f6cdd1dULL >> 16) % l->blocks * l->bytes;
}

static bool next_is_write(struct load *l)
{
	return l->mixed ? l->seed / 3 % 10 < 3 : l->write;
}

/* Both run until `end`; what is in flight then does not count. */
static void run_one(struct load *l, uint64_t end)
{
	uint64_t now = now_ns();

	while (now < end) {
		uint64_t off = next_offset(l), before = now;
		ssize_t got = next_is_write(l) ? pwrite(l->fd, l->buf[0], l->bytes, off)
					       : pread(l->fd, l->buf[0], l->bytes, off);

		if (got != (ssize_t)l->bytes)
			err(1, "request at %llu", (unsigned long long)off);
		now = now_ns();
		latencies_add(&l->latencies, now - before);
	}
}

static void prepare(struct load *l, struct iocb *cb, int slot)
{
	uint64_t off = next_offset(l);

	*cb = (struct iocb){
		.aio_lio_opcode = next_is_write(l) ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = l->fd,
		.aio_buf = (uintptr_t)l->buf[slot],
		.aio_nbytes = l->bytes,
		.aio_offset = off,
		.aio_data = slot,
	};
	l->since[slot] = now_ns();
}

static void run_many(struct load *l, uint64_t end)
{
	struct iocb cb[DEPTH_MAX], *batch[DEPTH_MAX];
	struct io_event event[DEPTH_MAX];
	aio_context_t ctx = 0;
	int n = l->depth;

	if (syscall(SYS_io_setup, DEPTH_MAX, &ctx) < 0)
		err(1, "io_setup");
	for (int i = 0; i < n; i++) {
		prepare(l, &cb[i], i);
		batch[i] = &cb[i];
	}
	while (now_ns() < end) {
		uint64_t now;

		if (syscall(SYS_io_submit, ctx, n, batch) != n)
			err(1, "io_submit");
		n = syscall(SYS_io_getevents, ctx, 1, l->depth, event, NULL);
		if (n < 1)
			err(1, "io_getevents");
		now = now_ns();
		for (int i = 0; i < n; i++) {
			int slot = event[i].data;

			if (event[i].res != (int64_t)l->bytes)
				errx(1, "a request failed: %lld", (long long)event[i].res);
			latencies_add(&l->latencies, now - l->since[slot]);
			prepare(l, &cb[slot], slot);
			batch[i] = &cb[slot];
		}
	}
}

int main(int argc, char **argv)
{
	static struct load l = { .seed = 88172645463325252ULL };
	uint64_t size, start;

	if (argc != 7)
		errx(2, "Usage: blkload DEVICE read|write|mixed random|sequential BYTES DEPTH "
			"MILLISECONDS");
	l.write = strcmp(argv[2], "write") == 0;
	l.mixed = strcmp(argv[2], "mixed") == 0;
	l.random = strcmp(argv[3], "random") == 0;
	l.bytes = strtoul(argv[4], NULL, 0);
	l.depth = atoi(argv[5]);
	l.fd = open(argv[1], O_RDWR | O_DIRECT);
	if (l.fd < 0 || ioctl(l.fd, BLKGETSIZE64, &size) < 0)
		err(1, "%s", argv[1]);
	if (!l.bytes || l.bytes % 512 || size < l.bytes || l.depth < 1 || l.depth > DEPTH_MAX)
		errx(2, "BYTES is a multiple of 512, DEPTH at most %d", DEPTH_MAX);
	l.blocks = size / l.bytes;
	for (int i = 0; i < l.depth; i++) {
		l.buf[i] = aligned_alloc(ALIGNMENT, (l.bytes + ALIGNMENT - 1) & -ALIGNMENT);
		if (!l.buf[i])
			err(1, "memory");
		memset(l.buf[i], 'a' + i % 26, l.bytes);
	}
	latencies_init(&l.latencies);
	start = now_ns();
	(l.depth == 1 ? run_one : run_many)(&l, start + strtoull(argv[6], NULL, 0) * 1000000);
	latencies_print(&l.latencies, now_ns() - start);
	return 0;
}
