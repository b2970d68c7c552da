// SPDX-License-Identifier: MIT
/*
 * blkverify.c - a load on a disk that finds out whether every request was done, run inside the guest.
 *
 *	blkverify DEVICE BLOCKS DEPTH
 *
 * keeps DEPTH requests in flight on the first BLOCKS blocks of 4 KiB, past the guest's page cache, until
 * SIGTERM: writes and reads by turns as chance will have it, and now and then a flush among them. Then it reads
 * every block once more.
 *
 * How it works: a block is full of its own number and its generation, which every write of it makes one more. No
 * block is in two requests at a time, so what a read must find is known. A request that is lost, or done again
 * after a later one to the same block, is found by the next read. It prints "round N" whenever BLOCKS requests
 * more are done: who kills the back end sees by that that all goes on.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK	    4096
#define WORDS	    (BLOCK / sizeof(uint64_t))
#define DEPTH_MAX   64
#define FLUSH_EVERY 40

struct slot {
	struct iocb cb;
	uint64_t *buf;
	uint32_t block;
};

static struct {
	int fd;
	uint32_t blocks, depth;
	uint32_t *generation; /* of each block, as its last write has it */
	bool *busy;
	struct slot slot[DEPTH_MAX];
	aio_context_t ctx;
	uint64_t seed, done;
} l = { .seed = 88172645463325252ULL };

static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static uint64_t chance(void)
{
	l.seed ^= l.seed >> 12; /* xorshift64* */
	l.seed ^= l.seed << 25;
	l.seed ^= l.seed >> 27;
	return l.seed * 0x2545f4914f6cdd1dULL >> 16;
}

static uint64_t word_of(uint32_t block, uint32_t i)
{
	return (uint64_t)l.generation[block] << 32 | (block << 9 ^ i);
}

static void verify(const uint64_t *buf, uint32_t block)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		if (buf[i] != word_of(block, i))
			errx(1, "block %u, word %u: %#llx in the place of %#llx", block, i,
			     (unsigned long long)buf[i], (unsigned long long)word_of(block, i));
	}
}

static uint32_t idle_block(void)
{
	uint32_t block = chance() % l.blocks;

	while (l.busy[block])
		block = (block + 1) % l.blocks;
	return block;
}

static void submit(struct slot *s, uint32_t opcode)
{
	struct iocb *cb = &s->cb;

	s->cb = (struct iocb){ .aio_lio_opcode = opcode,
			       .aio_fildes = l.fd,
			       .aio_data = s - l.slot };
	if (opcode != IOCB_CMD_FDSYNC) {
		s->block = idle_block();
		l.busy[s->block] = true;
		cb->aio_buf = (uintptr_t)s->buf;
		cb->aio_nbytes = BLOCK;
		cb->aio_offset = (uint64_t)s->block * BLOCK;
	}
	if (opcode == IOCB_CMD_PWRITE) {
		l.generation[s->block]++;
		for (uint32_t i = 0; i < WORDS; i++)
			s->buf[i] = word_of(s->block, i);
	}
	if (syscall(SYS_io_submit, l.ctx, 1, &cb) != 1)
		err(1, "io_submit");
}

static void submit_any(struct slot *s)
{
	uint64_t n = chance();

	submit(s, n % FLUSH_EVERY == 0 ? IOCB_CMD_FDSYNC
		  : n & 1	       ? IOCB_CMD_PWRITE
				       : IOCB_CMD_PREAD);
}

static void complete(struct slot *s, long long res)
{
	uint32_t opcode = s->cb.aio_lio_opcode;

	if (res != (opcode == IOCB_CMD_FDSYNC ? 0 : BLOCK))
		errx(1, "a request of kind %u failed: %lld", opcode, res);
	if (opcode == IOCB_CMD_FDSYNC)
		return;
	if (opcode == IOCB_CMD_PREAD)
		verify(s->buf, s->block);
	l.busy[s->block] = false;
	if (++l.done % l.blocks == 0) {
		printf("round %llu\n", (unsigned long long)(l.done / l.blocks));
		fflush(stdout);
	}
}

static void run(void)
{
	struct io_event event[DEPTH_MAX];
	uint32_t inflight = l.depth;

	for (uint32_t i = 0; i < l.depth; i++)
		submit_any(&l.slot[i]);
	while (inflight) {
		int n = syscall(SYS_io_getevents, l.ctx, 1, DEPTH_MAX, event, NULL);

		for (int i = 0; i < n; i++) {
			struct slot *s = &l.slot[event[i].data];

			complete(s, event[i].res);
			if (stopped)
				inflight--;
			else
				submit_any(s);
		}
	}
}

/* One after the other: the first writes, and the last reads. */
static void sweep(bool write)
{
	uint64_t *buf = l.slot[0].buf;

	for (uint32_t block = 0; block < l.blocks; block++) {
		for (uint32_t i = 0; i < WORDS && write; i++)
			buf[i] = word_of(block, i);
		if ((write ? pwrite(l.fd, buf, BLOCK, (off_t)block * BLOCK)
			   : pread(l.fd, buf, BLOCK, (off_t)block * BLOCK)) != BLOCK)
			err(1, "block %u", block);
		verify(buf, block);
	}
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = stop };

	if (argc != 4)
		errx(2, "Usage: blkverify DEVICE BLOCKS DEPTH");
	l.blocks = atoi(argv[2]);
	l.depth = atoi(argv[3]);
	if (l.depth < 1 || l.depth > DEPTH_MAX || l.blocks < 2 * l.depth)
		errx(2, "DEPTH is at most %d, and at most half of BLOCKS", DEPTH_MAX);
	l.fd = open(argv[1], O_RDWR | O_DIRECT);
	if (l.fd < 0 || syscall(SYS_io_setup, DEPTH_MAX, &l.ctx) < 0)
		err(1, "%s", argv[1]);
	l.generation = calloc(l.blocks, sizeof(*l.generation));
	l.busy = calloc(l.blocks, sizeof(*l.busy));
	for (uint32_t i = 0; i < l.depth; i++) {
		if (!(l.slot[i].buf = aligned_alloc(BLOCK, BLOCK)))
			err(1, "memory");
	}
	if (!l.generation || !l.busy)
		err(1, "memory");
	sigaction(SIGTERM, &sa, NULL);
	sweep(true);
	run();
	sweep(false);
	printf("verified %llu\n", (unsigned long long)l.done);
	return 0;
}
