// SPDX-License-Identifier: MIT
/*
 * test_blk.c - the block device as its driver sees it: every request, right and wrong, over both ring
 * formats (the suite's loop variable).
 *
 * The image is a file in memory that the tests look into. What all virtio devices have in common,
 * transports, resets and broken rings, is test_conformance.c's.
 */
#include "devices/block/image_internal.h"
#include "tests/unit/conformance.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SECTORS	   2048
#define CONFIG(f)  offsetof(struct virtio_blk_config, f)
#define FEATURE(f) VIRTIO_FEATURE(VIRTIO_BLK_F_##f)
#define ALL	   (~0ULL)
#define NO_STATUS  0xee
#define FILLED_MAX 4096 /* the device's: of a request that fails */

static struct vdrv d;
static int fd;
static char path[32];
static struct image_options file;
static struct virtio_blk_options blk;

static int create(struct virtio_dev **v, const struct machine_env *env,
		  const struct virtio_options *o)
{
	file.path = path;
	ck_assert_int_eq(image_open(&blk.image, &file), 0);
	return virtio_blk_create(v, env, o, &blk);
}

static void make_image(void)
{
	static u8 sector[512];

	fd = temp_file("", 0, path);
	for (u32 i = 0; i < SECTORS; i++) {
		memset(sector, i | 0x80, sizeof(sector));
		ck_assert_int_eq(pwrite(fd, sector, 512, i * 512), 512);
	}
}

/* What byte all of sector `i` is, or -1. */
static int sector_is(u32 i)
{
	u8 sector[512];

	ck_assert_int_eq(pread(fd, sector, 512, i * 512), 512);
	return memcmp(sector, sector + 1, 511) ? -1 : sector[0];
}

static void expect_sectors(u32 first, u32 n, int byte)
{
	for (u32 i = first; i < first + n; i++)
		ck_assert_int_eq(sector_is(i), byte < 0 ? (u8)(i | 0x80) : byte);
}

static void expect_untouched(void)
{
	expect_sectors(0, SECTORS, -1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), SECTORS * 512);
}

/* The device with `file` and `blk` as they are, up and running with `features`. */
static void begin(int i, u64 features)
{
	make_image();
	vdrv_init(&d, VDRV_PCI_MSIX, i);
	vdrv_plug(&d, create);
	vdrv_start(&d, features);
}

static void end(void)
{
	vdrv_free(&d);
	close(fd);
}

static u64 header(u32 type, u64 sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	u64 gpa = vdrv_alloc(&d, sizeof(h));

	memcpy(vdrv_ptr(&d, gpa, sizeof(h)), &h, sizeof(h));
	return gpa;
}

/* A request on queue `q` with `len` bytes of data at `gpa` that the device writes (`in`) or reads.
 * Returns its status. */
static u8 request_on(u32 q, u32 type, u64 sector, bool in, u64 gpa, u32 len)
{
	struct ring_buf buf[3] = { { header(type, sector), 16 } };
	u64 status = vdrv_alloc(&d, 1);
	u32 n = 1, nout, written;

	*(u8 *)vdrv_ptr(&d, status, 1) = NO_STATUS;
	if (len)
		buf[n++] = (struct ring_buf){ gpa, len };
	nout = in ? 1 : n;
	buf[n++] = (struct ring_buf){ status, 1 };
	written = vdrv_request(&d, q, buf, nout, n - nout);
	if (in && len > FILLED_MAX && *(u8 *)vdrv_ptr(&d, status, 1))
		ck_assert_uint_eq(written, FILLED_MAX); /* and the status */
	else
		ck_assert_uint_eq(written, (in ? len : 0) + 1);
	return *(u8 *)vdrv_ptr(&d, status, 1);
}

static u8 request(u32 type, u64 sector, bool in, u64 gpa, u32 len)
{
	return request_on(0, type, sector, in, gpa, len);
}

static u8 write_sector(u64 sector, u8 byte)
{
	u64 gpa = vdrv_alloc(&d, 512);

	memset(vdrv_ptr(&d, gpa, 512), byte, 512);
	return request(VIRTIO_BLK_T_OUT, sector, false, gpa, 512);
}

static u8 flush(void)
{
	return request(VIRTIO_BLK_T_FLUSH, 0, false, 0, 0);
}

/* ---- the configuration ---- */

START_TEST(the_configuration_describes_the_disk)
{
	blk.discard = true;
	begin(_i, ALL);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(capacity), 8), SECTORS);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(blk_size), 4), 512);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(seg_max), 4), 254);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(size_max), 4), MIB);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(physical_block_exp), 1), 3);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(min_io_size), 2), 8);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(num_queues), 2), 1);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 1);
	ck_assert_uint_gt(vdrv_config(&d, CONFIG(max_discard_sectors), 4), 0);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(max_discard_seg), 4), 16);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(discard_sector_alignment), 4), 8);
	ck_assert_uint_gt(vdrv_config(&d, CONFIG(max_write_zeroes_sectors), 4), 0);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(write_zeroes_may_unmap), 1), 1);
	ck_assert(vdrv_has(&d, VIRTIO_BLK_F_DISCARD) && vdrv_has(&d, VIRTIO_BLK_F_WRITE_ZEROES));
	ck_assert(!vdrv_has(&d, VIRTIO_BLK_F_RO) && !vdrv_has(&d, VIRTIO_BLK_F_MQ));
	vdrv_set_config(&d, CONFIG(capacity), 4, 1); /* read-only */
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(capacity), 8), SECTORS);
	end();
}

START_TEST(a_short_queue_has_room_for_fewer_segments)
{
	make_image();
	vdrv_init(&d, VDRV_MMIO, _i);
	d.options.queue_size = 64;
	vdrv_plug(&d, create);
	vdrv_start(&d, ALL);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(seg_max), 4), 62);
	ck_assert_uint_eq(write_sector(1, 1), VIRTIO_BLK_S_OK);
	end();
}

/* ---- reading and writing ---- */

START_TEST(sectors_are_read_and_written)
{
	u64 gpa;
	u8 *p;

	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 8192);
	p = vdrv_ptr(&d, gpa, 8192);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 5, true, gpa, 1024), VIRTIO_BLK_S_OK);
	ck_assert(p[0] == 0x85 && p[511] == 0x85 && p[512] == 0x86 && p[1023] == 0x86 && !p[1024]);

	memset(p, 0x11, 8192);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 100, false, gpa, 8192), VIRTIO_BLK_S_OK);
	expect_sectors(0, 100, -1);
	expect_sectors(100, 16, 0x11);
	expect_sectors(116, SECTORS - 116, -1);
	ck_assert_uint_eq(write_sector(SECTORS - 1, 0x22), VIRTIO_BLK_S_OK);
	expect_sectors(SECTORS - 1, 1, 0x22);
	ck_assert_uint_eq(flush(), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, true, 0, 0), VIRTIO_BLK_S_OK);
	end();
}

/* Cut [gpa, gpa + len) into pieces at random. Returns how many. */
static u32 cut(struct ring_buf *buf, u64 gpa, u32 len, u32 *seed)
{
	u32 n = 0;

	while (len) {
		u32 part = (*seed = *seed * 1103515245 + 12345) >> 16;

		part = n == 20 ? len : part % len + 1;
		buf[n++] = (struct ring_buf){ gpa, part };
		gpa += part;
		len -= part;
	}
	return n;
}

START_TEST(any_framing_does)
{
	struct ring_buf buf[64];
	u32 seed = 1, n, nin;
	u64 out, in;

	begin(_i, ALL);
	out = vdrv_alloc(&d, 16 + 1024);
	in = vdrv_alloc(&d, 1024 + 1);
	for (u32 k = 0; k < 100; k++) {
		struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_OUT, .sector = k * 4 };
		u8 *p = vdrv_ptr(&d, in, 1025);

		/* Write header and data, in whatever buffers they lie. */
		memcpy(vdrv_ptr(&d, out, 16), &h, 16);
		memset(vdrv_ptr(&d, out + 16, 1024), k, 1024);
		p[1024] = NO_STATUS;
		n = cut(buf, out, 16 + 1024, &seed);
		buf[n] = (struct ring_buf){ in + 1024, 1 };
		ck_assert_uint_eq(vdrv_request(&d, 0, buf, n, 1), 1);
		ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
		expect_sectors(k * 4, 2, k);

		/* Read it back, status and data in whatever buffers. */
		h.type = VIRTIO_BLK_T_IN;
		memcpy(vdrv_ptr(&d, out, 16), &h, 16);
		memset(p, NO_STATUS, 1025);
		n = cut(buf, out, 16, &seed);
		nin = cut(buf + n, in, 1024 + 1, &seed);
		ck_assert_uint_eq(vdrv_request(&d, 0, buf, n, nin), 1025);
		ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
		ck_assert(p[0] == k && p[511] == k && p[512] == k && p[1023] == k);
	}
	end();
}

START_TEST(what_lies_beyond_the_end_is_an_error_and_nothing_is_written)
{
	static const struct {
		u64 sector;
		u32 len;
	} bad[] = {
		{ SECTORS, 512 },
		{ SECTORS - 1, 1024 },
		{ 0, SECTORS * 512 + 512 },
		{ ~0ULL, 512 },
		{ ~0ULL - 1, 1024 },
		{ 1ULL << 55, 512 },
		{ 1ULL << 63, 512 },
		{ (1ULL << 55) + 5, 512 },
		{ 5, 511 },
		{ 5, 513 },
		{ 5, 1 },
	};
	u64 gpa;

	begin(_i, ALL);
	gpa = vdrv_alloc(&d, SECTORS * 512 + 512);
	for (u32 k = 0; k < ARRAY_SIZE(bad); k++) {
		u8 *p = vdrv_ptr(&d, gpa, bad[k].len);

		memset(p, 0x33, bad[k].len);
		ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, bad[k].sector, false, gpa, bad[k].len),
				  VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, bad[k].sector, true, gpa, bad[k].len),
				  VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(p[0], 0); /* the bytes that it says it has written */
	}
	expect_untouched();
	end();
}

START_TEST(a_read_only_disk_is_not_written)
{
	u64 gpa;

	file.readonly = true;
	blk.discard = true;
	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 512);
	ck_assert(vdrv_has(&d, VIRTIO_BLK_F_RO));
	ck_assert(!vdrv_has(&d, VIRTIO_BLK_F_DISCARD) && !vdrv_has(&d, VIRTIO_BLK_F_WRITE_ZEROES));
	ck_assert_uint_eq(write_sector(3, 0x44), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_DISCARD, 0, false, gpa, 16), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 3, true, gpa, 512), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(flush(), VIRTIO_BLK_S_OK);
	expect_untouched();
	end();
}

START_TEST(an_error_of_the_host_reaches_the_driver)
{
	u64 gpa;

	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 1024);
	ck_assert_int_eq(ftruncate(fd, 10 * 512), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 9, true, gpa, 1024), VIRTIO_BLK_S_IOERR);
	expect_said("made shorter");
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 8, true, gpa, 1024), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(write_sector(SECTORS - 1, 1), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(flush(), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 10 * 512);
	end();
}

/* ---- other requests ---- */

START_TEST(the_id_is_20_bytes_and_padded_with_zeroes)
{
	u64 gpa;
	u8 *p;

	blk.serial = "disk number 1";
	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 32);
	p = vdrv_ptr(&d, gpa, 32);
	memset(p, 0x55, 32);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, true, gpa, 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(p, "disk number 1\0\0\0\0\0\0\0\x55", 21);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, true, gpa + 1, 4), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(p, "ddisk", 5);
	end();
}

START_TEST(an_id_of_20_bytes_has_no_end)
{
	u64 gpa;

	blk.serial = "01234567890123456789ab";
	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 32);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, true, gpa, 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(vdrv_ptr(&d, gpa, 21), "01234567890123456789\0", 21);
	end();
}

START_TEST(an_unknown_request_is_unsupported)
{
	static const u32 type[] = { 2, 3, 5, 7, 10, 14, 15, 0x80000000, 0x80000001, ~0u };
	u64 gpa;

	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 512);
	for (u32 k = 0; k < ARRAY_SIZE(type); k++) {
		ck_assert_uint_eq(request(type[k], 0, false, gpa, 512), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(request(type[k], 0, true, gpa, 512), VIRTIO_BLK_S_UNSUPP);
	}
	expect_untouched();
	end();
}

/* The same buffer over and over: what a driver asks for may be more than its memory. */
START_TEST(a_request_of_gigabytes_costs_no_more_than_another)
{
	struct ring_buf buf[62];
	u64 status, data;
	u8 *p;

	begin(_i, ALL);
	status = vdrv_alloc(&d, 1);
	data = vdrv_alloc(&d, 32 * MIB);
	p = vdrv_ptr(&d, data, 32 * MIB);
	memset(p, 0x99, 32 * MIB);
	for (u32 k = 0; k < 60; k++)
		buf[1 + k] = (struct ring_buf){ data, 32 * MIB };
	buf[61] = (struct ring_buf){ status, 1 };
	for (u32 k = 0; k < 2; k++) {
		buf[0] = (struct ring_buf){ header(k ? VIRTIO_BLK_T_IN : 99, 0), 16 };
		ck_assert_uint_eq(vdrv_request(&d, 0, buf, 1, 61), FILLED_MAX);
		ck_assert_uint_eq(*(u8 *)vdrv_ptr(&d, status, 1),
				  k ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_UNSUPP);
		ck_assert(p[0] == 0 && p[FILLED_MAX - 1] == 0 && p[FILLED_MAX] == 0x99);
	}
	end();
}

/* One ready event of the loop takes so much and no more. */
START_TEST(a_turn_takes_a_bounded_amount_of_data)
{
	static struct virtio_queue *q;
	u8 *status[20];
	u64 data;
	u32 done = 0;

	begin(_i, ALL);
	q = &d.v->queue[0];
	data = vdrv_alloc(&d, MIB);
	for (u32 k = 0; k < ARRAY_SIZE(status); k++) {
		struct ring_buf buf[3] = { { header(99, 0), 16 },
					   { data, MIB },
					   { vdrv_alloc(&d, 1), 1 } };

		status[k] = vdrv_ptr(&d, buf[2].gpa, 1);
		*status[k] = NO_STATUS;
		vdrv_submit(&d, 0, buf, 1, 2);
	}
	d.v->ops->serve(d.v, q);
	for (u32 k = 0; k < ARRAY_SIZE(status); k++)
		done += *status[k] != NO_STATUS;
	ck_assert_uint_eq(done, 16);
	vdrv_settle(&d); /* it has kicked itself */
	for (u32 k = 0; k < ARRAY_SIZE(status); k++)
		ck_assert_uint_eq(*status[k], VIRTIO_BLK_S_UNSUPP);
	end();
}

/* All places of the ring in flight, and a driver that kicks all the same: the device looks for a chain
 * more, for which it needs a place, and finds none. */
START_TEST(kicks_while_the_whole_ring_is_in_flight_change_nothing)
{
	enum { SIZE = 32 };
	u8 *status[SIZE];
	struct vq_cfg *cfg;
	u64 data;
	u32 n = 0;

	make_image();
	vdrv_init(&d, VDRV_PCI_MSIX, _i);
	d.options.queue_size = SIZE;
	file.aio = IMAGE_AIO_THREADS; /* nothing is done before the loop hears of it */
	vdrv_plug(&d, create);
	vdrv_start(&d, ALL);
	cfg = &d.v->queue[0].vq.cfg;
	ck_assert(cfg->size == SIZE && cfg->indirect);
	data = vdrv_alloc(&d, SIZE * 512);
	for (u32 round = 0; round < 3; round++) {
		for (n = 0; n < SIZE; n++) {
			struct ring_buf buf[3] = { { header(VIRTIO_BLK_T_IN, n), 16 },
						   { data + n * 512, 512 },
						   { vdrv_alloc(&d, 1), 1 } };

			status[n] = vdrv_ptr(&d, buf[2].gpa, 1);
			*status[n] = NO_STATUS;
			ck_assert_int_ge(ring_add(&d.q[0].ring, buf, 1, 2, true), 0);
			ring_publish(&d.q[0].ring);
		}
		for (u32 k = 0; k < 10; k++)
			d.v->ops->serve(d.v, &d.v->queue[0]);
		ck_assert_uint_eq(d.v->queue[0].vq.inflight, SIZE);
		for (u32 k = 0; k < SIZE; k++) {
			u32 written;

			vdrv_wait(&d, 0, &written);
			ck_assert_uint_eq(written, 513);
		}
		for (u32 k = 0; k < SIZE; k++) {
			u8 *p = vdrv_ptr(&d, data + k * 512, 512);

			ck_assert_uint_eq(*status[k], VIRTIO_BLK_S_OK);
			ck_assert(p[0] == (k | 0x80) && p[511] == (k | 0x80));
		}
	}
	end();
}

START_TEST(a_chain_that_is_no_request_breaks_the_device)
{
	struct ring_buf buf[2];
	u64 gpa;

	begin(_i, ALL);
	for (u32 k = 0; k < 2; k++) {
		gpa = header(VIRTIO_BLK_T_FLUSH, 0);
		buf[0] = (struct ring_buf){ gpa, k ? 15 : 16 };
		buf[1] = (struct ring_buf){ vdrv_alloc(&d, 1), 1 };
		vdrv_submit(&d, 0, buf, 1, k); /* without a status; with half a header */
		vdrv_settle(&d);
		ck_assert_uint_ne(vdrv_status(&d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
		expect_said("without header or status");
		said_forget();
		vdrv_start(&d, ALL);
		ck_assert_uint_eq(flush(), VIRTIO_BLK_S_OK);
	}
	end();
}

/* ---- discard and write-zeroes ---- */

struct range {
	u64 sector;
	u32 n, flags;
};

static u8 ranges(u32 type, const struct range *r, u32 n)
{
	u64 gpa = vdrv_alloc(&d, n * sizeof(*r));

	memcpy(vdrv_ptr(&d, gpa, n * sizeof(*r)), r, n * sizeof(*r));
	return request(type, 0, false, gpa, n * sizeof(*r));
}

#define RANGES(type, ...)                                            \
	ranges(VIRTIO_BLK_T_##type, (struct range[]){ __VA_ARGS__ }, \
	       sizeof((struct range[]){ __VA_ARGS__ }) / sizeof(struct range))

START_TEST(all_ranges_are_zeroed)
{
	blk.discard = true;
	begin(_i, ALL);
	ck_assert_uint_eq(RANGES(WRITE_ZEROES, { 10, 3, 0 }, { 100, 1000, 1 }, { 2047, 1, 0 }),
			  VIRTIO_BLK_S_OK);
	expect_sectors(0, 10, -1);
	expect_sectors(10, 3, 0);
	expect_sectors(13, 87, -1);
	expect_sectors(100, 1000, 0);
	expect_sectors(1100, 947, -1);
	expect_sectors(2047, 1, 0);

	ck_assert_uint_eq(RANGES(DISCARD, { 16, 64, 0 }, { 2000, 40, 0 }), VIRTIO_BLK_S_OK);
	expect_sectors(16, 64, 0);
	expect_sectors(80, 20, -1);
	expect_sectors(1100, 900, -1);
	expect_sectors(2000, 40, 0);
	ck_assert_uint_eq(RANGES(DISCARD, { 5, 0, 0 }), VIRTIO_BLK_S_OK);
	end();
}

START_TEST(a_list_with_one_bad_range_does_nothing)
{
	static const u32 type[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	static struct range many[17];
	u64 gpa;

	blk.discard = true;
	begin(_i, ALL);
	gpa = vdrv_alloc(&d, 64);
	for (u32 k = 0; k < 2; k++) {
		struct range beyond[] = { { 0, 8, 0 }, { SECTORS - 1, 2, 0 } };
		struct range far[] = { { 0, 8, 0 }, { 1ULL << 55, 1, 0 } };
		struct range wrap[] = { { 0, 8, 0 }, { ~0ULL, 2, 0 } };
		struct range flags[] = { { 0, 8, 0 }, { 8, 8, 2 } };

		ck_assert_uint_eq(ranges(type[k], beyond, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], far, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], wrap, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], flags, 2), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(ranges(type[k], many, 17), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(request(type[k], 0, false, gpa, 15), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(request(type[k], 0, false, gpa, 0), VIRTIO_BLK_S_IOERR);
	}
	/* "MUST set ... UNSUPP for discard commands if the unmap flag is set" */
	ck_assert_uint_eq(RANGES(DISCARD, { 0, 8, 1 }), VIRTIO_BLK_S_UNSUPP);
	expect_untouched();
	end();
}

START_TEST(discard_must_be_negotiated)
{
	blk.discard = true;
	begin(_i, ALL & ~FEATURE(DISCARD) & ~FEATURE(WRITE_ZEROES));
	ck_assert_uint_eq(RANGES(DISCARD, { 0, 8, 0 }), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(RANGES(WRITE_ZEROES, { 0, 8, 0 }), VIRTIO_BLK_S_UNSUPP);
	expect_untouched();
	end();
}

/* ---- the cache ---- */

/* With no flush possible any more, a write fails if and only if it has to reach the disk. */
static bool writes_through(void)
{
	u8 status;

	blk.image->told = true; /* no line about it */
	blk.image->flush_err = -EIO;
	status = write_sector(1, 0x66);
	ck_assert_uint_eq(flush(), VIRTIO_BLK_S_IOERR);
	blk.image->flush_err = 0;
	return status != VIRTIO_BLK_S_OK;
}

START_TEST(the_driver_chooses_the_cache_mode)
{
	begin(_i, ALL);
	ck_assert(!writes_through());
	vdrv_set_config(&d, CONFIG(wce), 1, 0);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	vdrv_set_config(&d, CONFIG(wce), 1, 0xff);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 1);
	ck_assert(!writes_through());
	vdrv_set_config(&d, CONFIG(wce), 1, 0);
	vdrv_start(&d, ALL);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 1); /* as before */
	ck_assert(!writes_through());
	end();
}

START_TEST(without_flush_every_write_reaches_the_disk)
{
	begin(_i, ALL & ~FEATURE(FLUSH) & ~FEATURE(CONFIG_WCE));
	ck_assert(writes_through());
	vdrv_start(&d, ALL & ~FEATURE(CONFIG_WCE));
	ck_assert(!writes_through());
	/* 5.2.5.2: "the device MUST initialize writeback to 0" */
	vdrv_start(&d, ALL & ~FEATURE(FLUSH));
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	end();
}

START_TEST(the_user_may_want_writethrough)
{
	blk.writethrough = true;
	begin(_i, ALL);
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	vdrv_set_config(&d, CONFIG(wce), 1, 1);
	ck_assert(!writes_through());
	vdrv_start(&d, ALL & ~FEATURE(CONFIG_WCE));
	ck_assert(writes_through());
	end();
}

/* ---- queues and threads ---- */

START_TEST(each_queue_serves_requests)
{
	u64 gpa;

	make_image();
	vdrv_init(&d, VDRV_PCI_MSIX, _i);
	vdrv_threads(&d);
	d.options.queues = 4;
	vdrv_plug(&d, create);
	vdrv_start(&d, ALL);
	ck_assert(vdrv_has(&d, VIRTIO_BLK_F_MQ));
	ck_assert_uint_eq(vdrv_config(&d, CONFIG(num_queues), 2), 4);
	gpa = vdrv_alloc(&d, 512);
	for (u32 q = 0; q < 4; q++) {
		memset(vdrv_ptr(&d, gpa, 512), q, 512);
		ck_assert_uint_eq(request_on(q, VIRTIO_BLK_T_OUT, q, false, gpa, 512),
				  VIRTIO_BLK_S_OK);
		expect_sectors(q, 1, q);
	}
	end();
}

#define INFLIGHT 16

START_TEST(after_a_reset_nothing_arrives_any_more)
{
	struct ring_buf buf[3];
	u64 data;

	file.aio = IMAGE_AIO_THREADS;
	make_image();
	vdrv_init(&d, VDRV_PCI_MSIX, _i);
	vdrv_threads(&d);
	vdrv_plug(&d, create);
	data = vdrv_alloc(&d, INFLIGHT * 16384);
	for (u32 round = 0; round < 10; round++) {
		u64 kept = d.next;
		u8 *p = vdrv_ptr(&d, data, INFLIGHT * 16384);

		vdrv_start(&d, ALL);
		for (u32 k = 0; k < INFLIGHT; k++) {
			buf[0] = (struct ring_buf){ header(VIRTIO_BLK_T_IN, k * 32), 16 };
			buf[1] = (struct ring_buf){ data + k * 16384, 16384 };
			buf[2] = (struct ring_buf){ vdrv_alloc(&d, 1), 1 };
			vdrv_submit(&d, 0, buf, 1, 2);
		}
		vdrv_reset(&d);
		memset(p, 0x77, INFLIGHT * 16384);
		vdrv_settle(&d);
		ck_assert(p[0] == 0x77 && memcmp(p, p + 1, INFLIGHT * 16384 - 1) == 0);
		d.next = kept;
	}
	vdrv_start(&d, ALL);
	ck_assert_uint_eq(write_sector(0, 1), VIRTIO_BLK_S_OK);
	file.aio = IMAGE_AIO_AUTO;
	end();
}

static void setup(void)
{
	file = (struct image_options){ 0 };
	blk = (struct virtio_blk_options){ 0 };
}

Suite *blk_suite(void)
{
	Suite *s = suite_create("blk");
	TCase *t = tcase_create("both");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, the_configuration_describes_the_disk, 0, 2);
	tcase_add_loop_test(t, a_short_queue_has_room_for_fewer_segments, 0, 2);
	tcase_add_loop_test(t, sectors_are_read_and_written, 0, 2);
	tcase_add_loop_test(t, any_framing_does, 0, 2);
	tcase_add_loop_test(t, what_lies_beyond_the_end_is_an_error_and_nothing_is_written, 0, 2);
	tcase_add_loop_test(t, a_read_only_disk_is_not_written, 0, 2);
	tcase_add_loop_test(t, an_error_of_the_host_reaches_the_driver, 0, 2);
	tcase_add_loop_test(t, the_id_is_20_bytes_and_padded_with_zeroes, 0, 2);
	tcase_add_loop_test(t, an_id_of_20_bytes_has_no_end, 0, 2);
	tcase_add_loop_test(t, an_unknown_request_is_unsupported, 0, 2);
	tcase_add_loop_test(t, a_request_of_gigabytes_costs_no_more_than_another, 0, 2);
	tcase_add_loop_test(t, a_turn_takes_a_bounded_amount_of_data, 0, 2);
	tcase_add_loop_test(t, kicks_while_the_whole_ring_is_in_flight_change_nothing, 0, 2);
	tcase_add_loop_test(t, a_chain_that_is_no_request_breaks_the_device, 0, 2);
	tcase_add_loop_test(t, all_ranges_are_zeroed, 0, 2);
	tcase_add_loop_test(t, a_list_with_one_bad_range_does_nothing, 0, 2);
	tcase_add_loop_test(t, discard_must_be_negotiated, 0, 2);
	tcase_add_loop_test(t, the_driver_chooses_the_cache_mode, 0, 2);
	tcase_add_loop_test(t, without_flush_every_write_reaches_the_disk, 0, 2);
	tcase_add_loop_test(t, the_user_may_want_writethrough, 0, 2);
	tcase_add_loop_test(t, each_queue_serves_requests, 0, 2);
	tcase_add_loop_test(t, after_a_reset_nothing_arrives_any_more, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

/* ---- the row in the conformance suite ---- */

static int conformance_create(struct virtio_dev **v, const struct machine_env *env,
			      const struct virtio_options *o)
{
	struct virtio_options two = *o;
	int err;

	two.queues = 2;
	file = (struct image_options){ 0 };
	blk = (struct virtio_blk_options){ .discard = true, .serial = "unit" };
	make_image();
	err = create(v, env, &two);
	close(fd); /* the device has its own */
	return err;
}

/* On the second queue: write, and read back. */
static void conformance_request(struct vdrv *dr)
{
	struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_OUT, .sector = 7 };
	u64 gpa = vdrv_alloc(dr, 2048);
	u8 *p = vdrv_ptr(dr, gpa, 2048);
	struct ring_buf buf[3] = { { gpa, 16 }, { gpa + 512, 512 }, { gpa + 2047, 1 } };

	memcpy(p, &h, sizeof(h));
	memset(p + 512, 0x5a, 512);
	p[2047] = NO_STATUS;
	ck_assert_uint_eq(vdrv_request(dr, 1, buf, 2, 1), 1);
	ck_assert_uint_eq(p[2047], VIRTIO_BLK_S_OK);

	h.type = VIRTIO_BLK_T_IN;
	memcpy(p, &h, sizeof(h));
	buf[1].gpa = gpa + 1024;
	ck_assert_uint_eq(vdrv_request(dr, 1, buf, 1, 2), 513);
	ck_assert_uint_eq(p[2047], VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(p + 1024, p + 512, 512);
}

const struct conformance_device conformance_blk = {
	.name = "blk",
	.id = VIRTIO_ID_BLOCK,
	.nqueues = 2,
	.config_len = CONFIG(max_secure_erase_sectors),
	.features = FEATURE(SIZE_MAX) | FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(FLUSH) |
		    FEATURE(TOPOLOGY) | FEATURE(CONFIG_WCE) | FEATURE(MQ) | FEATURE(DISCARD) |
		    FEATURE(WRITE_ZEROES),
	.create = conformance_create,
	.request = conformance_request,
	.queue = 1,
};
