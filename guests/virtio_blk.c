// SPDX-License-Identifier: MIT
/*
 * virtio_blk.c - a driver for the block device (VIRTIO 1.2, 5.2), and what a disk must do.
 *
 * How it works: a request is a chain of three parts,
 *
 *	head (type, sector)  device reads  |  data  device reads, or writes  |  status  device writes
 *
 * and any number of requests can be on their way at a time, in several queues; the device finishes
 * them in the order it likes. A sector is 512 bytes always. We transfer blocks of 4 KiB.
 *
 * The disk is a file of text, lines of 16 bytes: a mark, and 14 digits, the number of the line in the
 * file; tests/guest/run makes it with mark 'i' and at the end looks whether it is as we say here
 * (BLOCK_...). So each line tells who wrote it, and where it belongs.
 *
 * A driver that breaks the rules makes its device stop, say so (DEVICE_NEEDS_RESET), and nothing
 * else: test_broken() does it in several ways. A second disk shows that the machine goes on.
 *
 * Read next: virtio_console.c.
 */
#include "virtio.h"

#define VIRTIO_BLK_NO_LEGACY
#include <linux/virtio_blk.h>
/* These two are in VIRTIO 1.2 as well as in the "legacy" part of that file. */
#define VIRTIO_BLK_F_FLUSH	9
#define VIRTIO_BLK_F_CONFIG_WCE 11

#define BLOCK			4096
#define SECTORS			(BLOCK / 512) /* in a block */
#define LINE			16
#define QUEUES_MAX		4
#define IN_FLIGHT		16
#define ANY			'?'  /* mark: whatever is there */
#define NO_STATUS		0xee /* a status that no device gives */

/* What becomes of the blocks; tests/guest/run knows it. All others stay as they are. */
#define BLOCK_WRITTEN	16 /* 16 of them, mark 'w' */
#define BLOCK_ZEROED	64 /* 4, zeroes, if the device offers it */
#define BLOCK_DISCARDED 72 /* 4, discarded if the device offers it; then mark 'd' */
#define BLOCK_PIECES	80 /* mark 'p' */
#define BLOCK_SURVIVED	81 /* mark 's' */
#define BLOCK_LAST(d)	((d)->sectors / SECTORS - 1) /* mark 'l' */

struct disk {
	struct virtio v;
	struct virtq queue[QUEUES_MAX];
	u32 nqueues;
	u64 sectors;
};

struct request {
	struct virtio_blk_outhdr head;
	u8 status;
	bool busy;
	u64 block;
	u8 *data;
};

static struct disk disk, other;
static struct request request[IN_FLIGHT];
static u8 data[IN_FLIGHT][BLOCK] __attribute__((aligned(BLOCK)));
static u8 expected[BLOCK];

/* ---- lines ---- */

union line {
	char text[LINE];
	u64 half[2]; /* copied as such: byte by byte takes long on a software KVM */
};

/* A block with lines of this mark; mark 0 is a block of zeroes. */
static void fill(u8 *p, u64 block, char mark)
{
	u64 number = block * (BLOCK / LINE), *half = (u64 *)p;
	union line line = { .text = { [0] = mark, [LINE - 1] = '\n' } };

	if (!mark) {
		memset(p, 0, BLOCK);
		return;
	}
	for (u32 i = LINE - 2; i >= 1; i--, number /= 10)
		line.text[i] = '0' + number % 10;
	for (u32 n = 0; n < BLOCK / LINE; n++) {
		u32 i = LINE - 2;

		*half++ = line.half[0];
		*half++ = line.half[1];
		while (++line.text[i] > '9') /* the next number */
			line.text[i--] = '0';
	}
}

static bool is(const u8 *p, u64 block, char mark)
{
	const u64 *a = (const u64 *)p, *b = (const u64 *)expected;
	u32 i = 0;

	fill(expected, block, mark);
	while (i < BLOCK / sizeof(*a) && a[i] == b[i])
		i++;
	return i == BLOCK / sizeof(*a);
}

/* ---- the driver ---- */

static bool start(struct disk *d)
{
	u64 config = d->v.config;
	u32 generation;

	d->nqueues = 1;
	if (!virtio_negotiate(&d->v, VIRTIO_BIT(VIRTIO_BLK_F_RO) | VIRTIO_BIT(VIRTIO_BLK_F_FLUSH) |
					     VIRTIO_BIT(VIRTIO_BLK_F_CONFIG_WCE) |
					     VIRTIO_BIT(VIRTIO_BLK_F_MQ) |
					     VIRTIO_BIT(VIRTIO_BLK_F_DISCARD) |
					     VIRTIO_BIT(VIRTIO_BLK_F_WRITE_ZEROES)))
		return false;
	do { /* 2.5.3: what takes several accesses may have changed between them */
		generation = d->v.transport->generation(&d->v);
		d->sectors = (u64)mmio_read32(config + 4) << 32 | mmio_read32(config);
	} while (d->v.transport->generation(&d->v) != generation);
	if (virtio_has(&d->v, VIRTIO_BLK_F_MQ))
		d->nqueues = mmio_read16(config + offsetof(struct virtio_blk_config, num_queues));
	if (d->nqueues > QUEUES_MAX)
		d->nqueues = QUEUES_MAX;
	for (u32 i = 0; i < d->nqueues; i++) {
		if (!virtq_setup(&d->queue[i], &d->v, i))
			return false;
	}
	virtio_ready(&d->v);
	return true;
}

/* Odd types are those that bring data to the device. */
static bool submit(struct virtq *q, struct request *r, u32 type, u64 sector, void *buf, u32 len)
{
	struct virtq_buf chain[3] = { { &r->head, sizeof(r->head) } };
	u32 n = 1;

	r->head = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
	r->status = NO_STATUS;
	if (len)
		chain[n++] = (struct virtq_buf){ buf, len };
	chain[n++] = (struct virtq_buf){ &r->status, 1 };
	return type % 2 ? virtq_add(q, chain, n - 1, 1, r) : virtq_add(q, chain, 1, n - 1, r);
}

/* One request alone, waited for. Returns its status. */
static u8 run(struct disk *d, u32 type, u64 sector, void *buf, u32 len)
{
	struct virtq *q = &d->queue[0];
	struct request *r = &request[0];
	u32 written;

	if (!submit(q, r, type, sector, buf, len))
		return NO_STATUS;
	virtq_kick(q);
	if (!virtq_wait(q) || virtq_take(q, &written) != r)
		return NO_STATUS;
	return r->status;
}

static bool read_is(struct disk *d, u64 block, char mark)
{
	memset(data[0], 0xa5, BLOCK);
	return run(d, VIRTIO_BLK_T_IN, block * SECTORS, data[0], BLOCK) == VIRTIO_BLK_S_OK &&
	       is(data[0], block, mark);
}

static u8 write(struct disk *d, u64 block, char mark)
{
	fill(data[0], block, mark);
	return run(d, VIRTIO_BLK_T_OUT, block * SECTORS, data[0], BLOCK);
}

/* ---- many requests ---- */

static struct request *free_request(void)
{
	for (u32 i = 0; i < IN_FLIGHT; i++) {
		if (!request[i].busy) {
			request[i].data = data[i];
			return &request[i];
		}
	}
	return NULL;
}

/* As many requests for blocks from `next` on as the queue takes. Returns the block after them. */
static u64 submit_many(struct virtq *q, u32 type, u64 next, u64 end, char mark)
{
	struct request *r;

	while (next < end && (r = free_request())) {
		if (type == VIRTIO_BLK_T_OUT)
			fill(r->data, next, mark);
		else
			r->data[0] = r->data[BLOCK - 1] = 0xa5;
		if (!submit(q, r, type, next * SECTORS, r->data, BLOCK))
			break;
		r->block = next++;
		r->busy = true;
	}
	virtq_kick(q);
	return next;
}

/* All that the queue gives back. Returns how many of them were good. */
static u32 collect(struct virtq *q, u32 type, char mark, u32 *returned)
{
	struct request *r;
	u32 good = 0, len;

	while ((r = virtq_take(q, &len))) {
		bool in = type == VIRTIO_BLK_T_IN;

		r->busy = false;
		++*returned;
		/* 2.6.8: the length is what the device wrote: the status, and what was read. */
		good += r->status == VIRTIO_BLK_S_OK && len == (in ? BLOCK + 1 : 1) &&
			(!in || mark == ANY || is(r->data, r->block, mark));
	}
	return good;
}

/* Read and check, or write, blocks [first, end) on all queues. Returns how many were good. */
static u32 transfer(struct disk *d, u32 type, u64 first, u64 end, char mark)
{
	u32 good = 0, returned = 0;
	u64 next = first;

	memset(request, 0, sizeof(request));
	while (returned < end - first) {
		u32 before = returned;

		for (u32 i = 0; i < d->nqueues; i++)
			next = submit_many(&d->queue[i], type, next, end, mark);
		for (u32 i = 0; i < d->nqueues; i++)
			good += collect(&d->queue[i], type, mark, &returned);
		if (returned != before)
			continue;
		for (u32 i = 0; i < d->nqueues; i++) { /* nothing yet: sleep on the first in use */
			if (d->queue[i].free == d->queue[i].size)
				continue;
			if (!virtq_wait(&d->queue[i]))
				return good;
			break;
		}
	}
	return good;
}

/* ---- the tests ---- */

static void test_config(struct disk *d)
{
	u64 at = d->v.config, bytes = 0;

	printf("# %lu sectors of 512 bytes, %u queue(s) of up to %u, features %lx\n", d->sectors,
	       d->nqueues, d->queue[0].max, virtio_offered(&d->v));
	for (u32 i = 0; i < 8; i++)
		bytes |= (u64)mmio_read8(at + i) << 8 * i;
	tap_eq(bytes, d->sectors, "the capacity by bytes");
	tap_eq((u64)mmio_read32(at + 4) << 32 | mmio_read32(at), d->sectors, "and by 4 bytes");
	tap_eq(mmio_read16(at) | mmio_read16(at + 2) << 16, (u32)d->sectors, "and by 2");
	mmio_write32(at, 1);
	tap_eq(mmio_read64(at), d->sectors, "is not the driver's to write");
	tap_eq(d->v.transport->queue_max(&d->v, 63), 0, "there is no queue 63");
}

static void test_id(struct disk *d)
{
	char id[VIRTIO_BLK_ID_BYTES + 1] = { 0 };
	u8 status = run(d, VIRTIO_BLK_T_GET_ID, 0, id, VIRTIO_BLK_ID_BYTES);

	tap_eq(status, VIRTIO_BLK_S_OK, "the disk has a serial number");
	printf("# it is \"%s\"\n", id);
}

static void test_many(struct disk *d)
{
	u64 first = BLOCK_WRITTEN, end = first + 16;

	tap_eq(transfer(d, VIRTIO_BLK_T_IN, 0, 16, 'i'), 16, "16 blocks are as the host made them");
	tap_eq(transfer(d, VIRTIO_BLK_T_OUT, first, end, 'x'), 16, "16 blocks are written");
	tap_eq(transfer(d, VIRTIO_BLK_T_IN, first, end, 'x'), 16, "and read back");
	if (virtio_has(&d->v, VIRTIO_RING_F_INDIRECT_DESC)) {
		for (u32 i = 0; i < d->nqueues; i++)
			d->queue[i].use_indirect = true;
	}
	tap_eq(transfer(d, VIRTIO_BLK_T_OUT, first, end, 'w'), 16, "written over, indirect");
	tap_eq(transfer(d, VIRTIO_BLK_T_IN, first, end, 'w'), 16, "and read back");
	for (u32 i = 0; i < d->nqueues; i++)
		d->queue[i].use_indirect = false;
	tap(read_is(d, first - 1, 'i') && read_is(d, end, 'i'), "the blocks around are untouched");
	for (u32 i = 0; i < d->nqueues; i++)
		printf("# queue %u: %u kicks, %u interrupts\n", i, d->queue[i].kicks,
		       d->queue[i].calls);
}

/*
 * As many requests as the ring takes, and kicks that nobody asked for: a device must stand both. With
 * queue-size=N, N up to VIRTQ_SIZE, the device's own ring is full as well.
 */
static void test_full(struct disk *d)
{
	struct virtq *q = &d->queue[0];
	u32 asked = 0, good = 0, returned = 0;

	memset(request, 0, sizeof(request));
	q->use_indirect = virtio_has(&d->v, VIRTIO_RING_F_INDIRECT_DESC);
	for (u32 round = 0; round < 10; round++) {
		asked += submit_many(q, VIRTIO_BLK_T_IN, 0, IN_FLIGHT, ANY);
		for (u32 i = 0; i < 10; i++)
			d->v.transport->kick(&d->v, q);
		while (returned < asked && virtq_wait(q))
			good += collect(q, VIRTIO_BLK_T_IN, ANY, &returned);
	}
	q->use_indirect = false;
	tap_eq(good, asked, "%u reads with the ring full, and too many kicks", asked);
}

/* 2.6.4: the device must not care how head and data are cut into buffers. */
static void test_pieces(struct disk *d)
{
	struct virtq *q = &d->queue[0];
	struct request *r = &request[0];
	struct virtq_buf out[4] = {
		{ &r->head, 10 }, { (u8 *)&r->head + 10, 6 }, { data[0], BLOCK }, { &r->status, 1 }
	};
	struct virtq_buf in[4] = { { &r->head, 16 },
				   { data[0], 1000 },
				   { data[0] + 1000, BLOCK - 1000 },
				   { &r->status, 1 } };
	u32 len = 0;

	r->head = (struct virtio_blk_outhdr){ VIRTIO_BLK_T_OUT, 0, BLOCK_PIECES * SECTORS };
	r->status = NO_STATUS;
	fill(data[0], BLOCK_PIECES, 'p');
	virtq_add(q, out, 3, 1, r);
	virtq_kick(q);
	tap(virtq_wait(q) && virtq_take(q, &len) == r && r->status == VIRTIO_BLK_S_OK,
	    "a head in two pieces");
	r->head.type = VIRTIO_BLK_T_IN;
	r->status = NO_STATUS;
	memset(data[0], 0, BLOCK);
	virtq_add(q, in, 1, 3, r);
	virtq_kick(q);
	tap(virtq_wait(q) && virtq_take(q, &len) == r && r->status == VIRTIO_BLK_S_OK &&
		    is(data[0], BLOCK_PIECES, 'p'),
	    "data in two pieces, cut anywhere");
}

/* 5.2.6.2: all of these fail, and no other request suffers. */
static void test_errors(struct disk *d)
{
	u64 end = d->sectors;

	tap_eq(run(d, VIRTIO_BLK_T_IN, end, data[0], BLOCK), VIRTIO_BLK_S_IOERR,
	       "a read behind the end is an error");
	tap_eq(run(d, VIRTIO_BLK_T_OUT, end, data[0], BLOCK), VIRTIO_BLK_S_IOERR, "so is a write");
	tap_eq(run(d, VIRTIO_BLK_T_OUT, end - SECTORS + 1, data[0], BLOCK), VIRTIO_BLK_S_IOERR,
	       "so is one that crosses the end");
	tap_eq(run(d, VIRTIO_BLK_T_IN, ~0ULL, data[0], BLOCK), VIRTIO_BLK_S_IOERR,
	       "so is a sector that can't be");
	tap_eq(run(d, VIRTIO_BLK_T_IN, 1ULL << 55, data[0], BLOCK), VIRTIO_BLK_S_IOERR,
	       "and one whose place in bytes is a small number again");
	tap_eq(run(d, VIRTIO_BLK_T_IN, 0, data[0], 100), VIRTIO_BLK_S_IOERR,
	       "so is a length that is no number of sectors");
	tap_eq(run(d, 0x7ffffffe, 0, data[0], BLOCK), VIRTIO_BLK_S_UNSUPP,
	       "a type that nobody knows is not supported");
	tap(read_is(d, 0, 'i'), "and the disk goes on");
}

static void test_end(struct disk *d)
{
	u64 last = BLOCK_LAST(d);

	tap_eq(write(d, last, 'l'), VIRTIO_BLK_S_OK, "the last block is written");
	tap(read_is(d, last, 'l'), "and read back");
}

static void test_cache(struct disk *d)
{
	u64 at = d->v.config + offsetof(struct virtio_blk_config, wce);

	if (virtio_has(&d->v, VIRTIO_BLK_F_FLUSH))
		tap_eq(run(d, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK, "flush");
	else
		tap_skip("flush", "the disk does not offer it");
	if (!virtio_has(&d->v, VIRTIO_BLK_F_CONFIG_WCE)) {
		tap_skip("cache mode", "the disk does not offer VIRTIO_BLK_F_CONFIG_WCE");
		return;
	}
	printf("# cache: %s\n", mmio_read8(at) ? "writeback" : "writethrough");
	for (u32 i = 0; i < 2; i++) {
		mmio_write8(at, i);
		tap_eq(mmio_read8(at), i, "cache mode %u", i);
		tap(transfer(d, VIRTIO_BLK_T_OUT, BLOCK_WRITTEN, BLOCK_WRITTEN + 8, 'w') == 8,
		    "and writes with it");
	}
}

static u8 range(struct disk *d, u32 type, u64 block, u32 blocks, u32 flags)
{
	struct virtio_blk_discard_write_zeroes r = { block * SECTORS, blocks * SECTORS, flags };

	return run(d, type, 0, &r, sizeof(r));
}

static void test_zeroes(struct disk *d)
{
	u64 first = BLOCK_ZEROED, beyond = BLOCK_LAST(d);

	if (!virtio_has(&d->v, VIRTIO_BLK_F_WRITE_ZEROES)) {
		tap_skip("write zeroes", "the disk does not offer it");
		return;
	}
	tap_eq(range(d, VIRTIO_BLK_T_WRITE_ZEROES, first, 2, 0), VIRTIO_BLK_S_OK, "write zeroes");
	tap_eq(range(d, VIRTIO_BLK_T_WRITE_ZEROES, first + 2, 2,
		     VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP),
	       VIRTIO_BLK_S_OK, "and unmap");
	tap_eq(transfer(d, VIRTIO_BLK_T_IN, first, first + 4, 0), 4, "zeroes are there");
	tap(read_is(d, first - 1, 'i') && read_is(d, first + 4, 'i'), "and not around");
	tap_eq(range(d, VIRTIO_BLK_T_WRITE_ZEROES, beyond, 2, 0), VIRTIO_BLK_S_IOERR,
	       "zeroes across the end are an error");
	tap_eq(range(d, VIRTIO_BLK_T_WRITE_ZEROES, first, 1, 1 << 5), VIRTIO_BLK_S_UNSUPP,
	       "a flag that nobody knows is not supported");
}

static void test_discard(struct disk *d)
{
	u64 first = BLOCK_DISCARDED;

	if (virtio_has(&d->v, VIRTIO_BLK_F_DISCARD)) {
		tap_eq(range(d, VIRTIO_BLK_T_DISCARD, first, 4, 0), VIRTIO_BLK_S_OK, "discard");
		tap_eq(range(d, VIRTIO_BLK_T_DISCARD, first, 1, 1), VIRTIO_BLK_S_UNSUPP,
		       "discard has no flags");
	} else {
		tap_skip("discard", "the disk does not offer it");
	}
	tap_eq(transfer(d, VIRTIO_BLK_T_OUT, first, first + 4, 'd'), 4, "written after a discard");
	tap(read_is(d, first - 1, 'i') && read_is(d, first + 4, 'i'), "nothing around is lost");
}

/* ---- breaking the rules ---- */

static void break_outside(struct virtq *q)
{
	submit(q, &request[0], VIRTIO_BLK_T_IN, 0, (void *)0x7ffffffff000, BLOCK);
}

static void break_wrap(struct virtq *q)
{
	submit(q, &request[0], VIRTIO_BLK_T_IN, 0, (void *)~0xfffULL, 2 * BLOCK);
}

/* A request that has no room for its status. */
static void break_status(struct virtq *q)
{
	struct virtq_buf buf = { &request[0].head, sizeof(request[0].head) };

	virtq_add(q, &buf, 1, 0, &request[0]);
}

/* A chain without end: split, a descriptor that is its own successor; packed, a ring of NEXT. It is whole before it is
 * made available: the device may look at any time, not only when it is kicked. */
static void break_loop(struct virtq *q)
{
	struct vring_desc *split = (struct vring_desc *)q->desc;
	struct vring_packed_desc *packed = (struct vring_packed_desc *)q->desc;
	struct vring_avail *avail = (struct vring_avail *)q->driver;
	u16 flags = VRING_DESC_F_NEXT | 1 << VRING_PACKED_DESC_F_AVAIL;

	q->avail++;
	if (q->format == &virtq_split) {
		for (u32 i = 0; i < q->size; i++)
			split[i] = (struct vring_desc){ (u64)data[0], 512, VRING_DESC_F_NEXT, i };
		avail->ring[0] = 0;
		__atomic_store_n(&avail->idx, q->avail, __ATOMIC_RELEASE);
		return;
	}
	for (u32 i = q->size; i-- > 0;) {
		packed[i].addr = (u64)data[0];
		packed[i].len = 512;
		__atomic_store_n(&packed[i].flags, flags, __ATOMIC_RELEASE);
	}
}

static void test_broken(struct disk *d)
{
	static const struct {
		const char *how;
		void (*fn)(struct virtq *q);
	} breaks[] = {
		{ "a buffer outside memory", break_outside },
		{ "a buffer whose address wraps", break_wrap },
		{ "a request without a status", break_status },
		{ "a chain without end", break_loop },
	};

	for (u32 i = 0; i < ARRAY_SIZE(breaks); i++) {
		u32 before = d->v.config_calls;

		/* Fresh rings, so that break_loop() knows what the first descriptor is. */
		tap(start(d), "%s", breaks[i].how);
		breaks[i].fn(&d->queue[0]);
		virtq_kick(&d->queue[0]);
		virtio_wait_calls(&d->v.config_calls, before);
		tap(d->v.config_calls != before, "... makes a configuration interrupt");
		tap(virtio_status(&d->v) & VIRTIO_CONFIG_S_NEEDS_RESET,
		    "... that means NEEDS_RESET");
		if (other.sectors)
			tap(read_is(&other, 1, 'i'), "... another disk does not care");
		tap(start(d) && virtio_status(&d->v) ==
					(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
					 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK),
		    "... a reset mends it");
		tap(write(d, BLOCK_SURVIVED, 's') == VIRTIO_BLK_S_OK &&
			    read_is(d, BLOCK_SURVIVED, 's'),
		    "... and the disk works");
	}
}

/* Reset with requests in flight: once it is acknowledged, nothing is written to memory (2.4). */
static void test_reset(struct disk *d)
{
	bool quiet = true, works = true;

	for (u32 i = 0; i < 5; i++) {
		memset(request, 0, sizeof(request));
		for (u32 n = 0; n < d->nqueues; n++)
			submit_many(&d->queue[n], VIRTIO_BLK_T_IN, 0, IN_FLIGHT, 'i');
		virtio_reset(&d->v);
		for (u32 n = 0; n < IN_FLIGHT; n++)
			data[n][0] = data[n][BLOCK - 1] = 0x5a;
		works &= start(d);
		wait_a_little();
		for (u32 n = 0; n < IN_FLIGHT; n++)
			quiet &= data[n][0] == 0x5a && data[n][BLOCK - 1] == 0x5a;
		works &= read_is(d, 0, 'i');
	}
	tap(quiet, "5 resets with requests in flight: nothing comes after them");
	tap(works, "and the disk works after each");
}

static void test_read_only(struct disk *d)
{
	tap_eq(write(d, 0, 'w'), VIRTIO_BLK_S_IOERR, "a read-only disk refuses a write");
	if (virtio_has(&d->v, VIRTIO_BLK_F_WRITE_ZEROES))
		tap_eq(range(d, VIRTIO_BLK_T_WRITE_ZEROES, 0, 1, 0), VIRTIO_BLK_S_IOERR,
		       "and zeroes");
	tap_eq(transfer(d, VIRTIO_BLK_T_IN, 0, 16, 'i'), 16, "but not to be read");
}

void guest_main(const struct hvm_start_info *info)
{
	if (!virtio_find(&disk.v, info, VIRTIO_ID_BLOCK, 0)) {
		printf("1..0 # SKIP no disk: start minivmm with --disk file=IMAGE\n");
		return;
	}
	tap(start(&disk), "the disk accepts its driver");
	virtio_print(&disk.v, "disk");
	test_config(&disk);
	test_id(&disk);
	if (virtio_has(&disk.v, VIRTIO_BLK_F_RO)) {
		test_read_only(&disk);
		tap_end();
		return;
	}
	test_many(&disk);
	test_full(&disk);
	test_pieces(&disk);
	test_errors(&disk);
	test_end(&disk);
	test_zeroes(&disk);
	test_discard(&disk);
	test_cache(&disk);
	if (virtio_find(&other.v, info, VIRTIO_ID_BLOCK, 1))
		tap(start(&other) && read_is(&other, 0, 'i'), "there is a second disk");
	test_broken(&disk);
	test_reset(&disk);
	if (virtio_has(&disk.v, VIRTIO_BLK_F_FLUSH))
		tap_eq(run(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), VIRTIO_BLK_S_OK,
		       "at the end, a flush");
	tap_end();
}
