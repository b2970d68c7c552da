// SPDX-License-Identifier: MIT
/*
 * blkload.c - the load of the disk benchmark, run inside the guest.
 *
 *	blkload DEVICE read|write random|sequential BYTES DEPTH MILLISECONDS
 *
 * keeps DEPTH requests of BYTES bytes in flight on DEVICE, past the guest's page cache, and prints how
 * many microseconds of the time each took on average (the inverse of requests per second). At depth 1
 * it uses pread() and pwrite(), else the kernel's native asynchronous I/O, by its system calls since
 * that saves a library. Static, so that it is all that the guest needs.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 64
#define ALIGNMENT 4096

struct load {
	int fd;
	bool write, random;
	size_t bytes;
	int depth;
	uint64_t blocks, next; /* of the device; sequential: the next one */
	uint64_t seed;
	void *buf[DEPTH_MAX];
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static uint64_t next_offset(struct load *l)
{
	if (!l->random)
		return l->next++ % l->blocks * l->bytes;
	l->seed ^= l->seed >> 12; /* xorshift64*: each run asks for the same blocks */
	l->seed ^= l->seed << 25;
	l->seed ^= l->seed >> 27;
	return (l->seed * 0x2545f4914f6cdd1dULL >> 16) % l->blocks * l->bytes;
}

/* Both return how many requests were done by `end`. */
static uint64_t run_one(struct load *l, uint64_t end)
{
	uint64_t n = 0;

	for (; now_us() < end; n++) {
		uint64_t off = next_offset(l);
		ssize_t got = l->write ? pwrite(l->fd, l->buf[0], l->bytes, off)
				       : pread(l->fd, l->buf[0], l->bytes, off);

		if (got != (ssize_t)l->bytes)
			err(1, "request at %llu", (unsigned long long)off);
	}
	return n;
}

static void prepare(struct load *l, struct iocb *cb, int slot)
{
	*cb = (struct iocb){
		.aio_lio_opcode = l->write ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = l->fd,
		.aio_buf = (uintptr_t)l->buf[slot],
		.aio_nbytes = l->bytes,
		.aio_offset = next_offset(l),
		.aio_data = slot,
	};
}

static uint64_t run_many(struct load *l, uint64_t end)
{
	struct iocb cb[DEPTH_MAX], *batch[DEPTH_MAX];
	struct io_event event[DEPTH_MAX];
	aio_context_t ctx = 0;
	uint64_t done = 0;
	int n = l->depth;

	if (syscall(SYS_io_setup, DEPTH_MAX, &ctx) < 0)
		err(1, "io_setup");
	for (int i = 0; i < n; i++) {
		prepare(l, &cb[i], i);
		batch[i] = &cb[i];
	}
	while (now_us() < end) {
		if (syscall(SYS_io_submit, ctx, n, batch) != n)
			err(1, "io_submit");
		n = syscall(SYS_io_getevents, ctx, 1, l->depth, event, NULL);
		if (n < 1)
			err(1, "io_getevents");
		for (int i = 0; i < n; i++) {
			int slot = event[i].data;

			if (event[i].res != (int64_t)l->bytes)
				errx(1, "a request failed: %lld", (long long)event[i].res);
			prepare(l, &cb[slot], slot);
			batch[i] = &cb[slot];
		}
		done += n;
	}
	/* What is in flight is not counted. */
	return done;
}

int main(int argc, char **argv)
{
	static struct load l = { .seed = 88172645463325252ULL };
	uint64_t size, start, n;

	if (argc != 7)
		errx(2,
		     "Usage: blkload DEVICE read|write random|sequential BYTES DEPTH MILLISECONDS");
	l.write = strcmp(argv[2], "write") == 0;
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
	start = now_us();
	n = (l.depth == 1 ? run_one : run_many)(&l, start + strtoul(argv[6], NULL, 0) * 1000);
	if (!n)
		errx(1, "not one request was done");
	printf("%.2f\n", (double)(now_us() - start) / n);
	return 0;
}
