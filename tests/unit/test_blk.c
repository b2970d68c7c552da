// SPDX-License-Identifier: MIT
/*
 * test_blk.c - the block device as its driver sees it: the configuration, requests that read and write,
 * right and wrong, over both ring formats (the suite's loop variable). What all virtio devices have in
 * common, transports, resets and broken rings, is test_conformance.c's.
 */
#include "tests/unit/blk_rig.h"
#include "tests/unit/conformance.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <unistd.h>

/* ---- the configuration ---- */

START_TEST(the_configuration_describes_the_disk)
{
	disk.blk.discard = true;
	disk_begin(_i, DISK_ALL);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(capacity), 8), DISK_SECTORS);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(blk_size), 4), 512);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(seg_max), 4), 254);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(size_max), 4), MIB);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(physical_block_exp), 1), 3);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(min_io_size), 2), 8);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(num_queues), 2), 1);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 1);
	ck_assert_uint_gt(vdrv_config(&disk.d, DISK_CONFIG(max_discard_sectors), 4), 0);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(max_discard_seg), 4), 16);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(discard_sector_alignment), 4), 8);
	ck_assert_uint_gt(vdrv_config(&disk.d, DISK_CONFIG(max_write_zeroes_sectors), 4), 0);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(write_zeroes_may_unmap), 1), 1);
	ck_assert(vdrv_has(&disk.d, VIRTIO_BLK_F_DISCARD) &&
		  vdrv_has(&disk.d, VIRTIO_BLK_F_WRITE_ZEROES));
	ck_assert(!vdrv_has(&disk.d, VIRTIO_BLK_F_RO) && !vdrv_has(&disk.d, VIRTIO_BLK_F_MQ));
	vdrv_set_config(&disk.d, DISK_CONFIG(capacity), 4, 1); /* read-only */
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(capacity), 8), DISK_SECTORS);
	disk_end();
}

START_TEST(a_short_queue_has_room_for_fewer_segments)
{
	disk_make_image();
	vdrv_init(&disk.d, VDRV_MMIO, _i);
	disk.d.options.queue_size = 64;
	vdrv_plug(&disk.d, disk_create);
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(seg_max), 4), 62);
	ck_assert_uint_eq(disk_write_sector(1, 1), VIRTIO_BLK_S_OK);
	disk_end();
}

/* ---- reading and writing ---- */

START_TEST(sectors_are_read_and_written)
{
	u64 gpa;
	u8 *p;

	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 8192);
	p = vdrv_ptr(&disk.d, gpa, 8192);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_IN, 5, true, gpa, 1024), VIRTIO_BLK_S_OK);
	ck_assert(p[0] == 0x85 && p[511] == 0x85 && p[512] == 0x86 && p[1023] == 0x86 && !p[1024]);

	memset(p, 0x11, 8192);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_OUT, 100, false, gpa, 8192), VIRTIO_BLK_S_OK);
	disk_expect_sectors(0, 100, -1);
	disk_expect_sectors(100, 16, 0x11);
	disk_expect_sectors(116, DISK_SECTORS - 116, -1);
	ck_assert_uint_eq(disk_write_sector(DISK_SECTORS - 1, 0x22), VIRTIO_BLK_S_OK);
	disk_expect_sectors(DISK_SECTORS - 1, 1, 0x22);
	ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_IN, 0, true, 0, 0), VIRTIO_BLK_S_OK);
	disk_end();
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

	disk_begin(_i, DISK_ALL);
	out = vdrv_alloc(&disk.d, 16 + 1024);
	in = vdrv_alloc(&disk.d, 1024 + 1);
	for (u32 k = 0; k < 100; k++) {
		struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_OUT, .sector = k * 4 };
		u8 *p = vdrv_ptr(&disk.d, in, 1025);

		/* Write header and data, in whatever buffers they lie. */
		memcpy(vdrv_ptr(&disk.d, out, 16), &h, 16);
		memset(vdrv_ptr(&disk.d, out + 16, 1024), k, 1024);
		p[1024] = DISK_NO_STATUS;
		n = cut(buf, out, 16 + 1024, &seed);
		buf[n] = (struct ring_buf){ in + 1024, 1 };
		ck_assert_uint_eq(vdrv_request(&disk.d, 0, buf, n, 1), 1);
		ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
		disk_expect_sectors(k * 4, 2, k);

		/* Read it back, status and data in whatever buffers. */
		h.type = VIRTIO_BLK_T_IN;
		memcpy(vdrv_ptr(&disk.d, out, 16), &h, 16);
		memset(p, DISK_NO_STATUS, 1025);
		n = cut(buf, out, 16, &seed);
		nin = cut(buf + n, in, 1024 + 1, &seed);
		ck_assert_uint_eq(vdrv_request(&disk.d, 0, buf, n, nin), 1025);
		ck_assert_uint_eq(p[1024], VIRTIO_BLK_S_OK);
		ck_assert(p[0] == k && p[511] == k && p[512] == k && p[1023] == k);
	}
	disk_end();
}

START_TEST(what_lies_beyond_the_end_is_an_error_and_nothing_is_written)
{
	static const struct {
		u64 sector;
		u32 len;
	} bad[] = {
		{ DISK_SECTORS, 512 },
		{ DISK_SECTORS - 1, 1024 },
		{ 0, DISK_SECTORS * 512 + 512 },
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

	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, DISK_SECTORS * 512 + 512);
	for (u32 k = 0; k < ARRAY_SIZE(bad); k++) {
		u8 *p = vdrv_ptr(&disk.d, gpa, bad[k].len);

		memset(p, 0x33, bad[k].len);
		ck_assert_uint_eq(
			disk_request(VIRTIO_BLK_T_OUT, bad[k].sector, false, gpa, bad[k].len),
			VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(
			disk_request(VIRTIO_BLK_T_IN, bad[k].sector, true, gpa, bad[k].len),
			VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(p[0], 0); /* the bytes that it says it has written */
	}
	disk_expect_untouched();
	disk_end();
}

START_TEST(a_read_only_disk_is_not_written)
{
	u64 gpa;

	disk.file.readonly = true;
	disk.blk.discard = true;
	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 512);
	ck_assert(vdrv_has(&disk.d, VIRTIO_BLK_F_RO));
	ck_assert(!vdrv_has(&disk.d, VIRTIO_BLK_F_DISCARD) &&
		  !vdrv_has(&disk.d, VIRTIO_BLK_F_WRITE_ZEROES));
	ck_assert_uint_eq(disk_write_sector(3, 0x44), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_DISCARD, 0, false, gpa, 16),
			  VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_IN, 3, true, gpa, 512), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_OK);
	disk_expect_untouched();
	disk_end();
}

START_TEST(an_error_of_the_host_reaches_the_driver)
{
	u64 gpa;

	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 1024);
	ck_assert_int_eq(ftruncate(disk.fd, 10 * 512), 0);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_IN, 9, true, gpa, 1024), VIRTIO_BLK_S_IOERR);
	expect_said("made shorter");
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_IN, 8, true, gpa, 1024), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(disk_write_sector(DISK_SECTORS - 1, 1), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_IOERR);
	ck_assert_int_eq(lseek(disk.fd, 0, SEEK_END), 10 * 512);
	disk_end();
}

/* ---- other requests ---- */

START_TEST(the_id_is_20_bytes_and_padded_with_zeroes)
{
	u64 gpa;
	u8 *p;

	disk.blk.serial = "disk number 1";
	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 32);
	p = vdrv_ptr(&disk.d, gpa, 32);
	memset(p, 0x55, 32);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_GET_ID, 0, true, gpa, 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(p, "disk number 1\0\0\0\0\0\0\0\x55", 21);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_GET_ID, 0, true, gpa + 1, 4), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(p, "ddisk", 5);
	disk_end();
}

START_TEST(an_id_of_20_bytes_has_no_end)
{
	u64 gpa;

	disk.blk.serial = "01234567890123456789ab";
	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 32);
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_GET_ID, 0, true, gpa, 20), VIRTIO_BLK_S_OK);
	ck_assert_mem_eq(vdrv_ptr(&disk.d, gpa, 21), "01234567890123456789\0", 21);
	disk_end();
}

START_TEST(an_unknown_request_is_unsupported)
{
	static const u32 type[] = { 2, 3, 5, 7, 10, 14, 15, 0x80000000, 0x80000001, ~0u };
	u64 gpa;

	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 512);
	for (u32 k = 0; k < ARRAY_SIZE(type); k++) {
		ck_assert_uint_eq(disk_request(type[k], 0, false, gpa, 512), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(disk_request(type[k], 0, true, gpa, 512), VIRTIO_BLK_S_UNSUPP);
	}
	disk_expect_untouched();
	disk_end();
}

/* The same buffer over and over: what a driver asks for may be more than its memory. */
START_TEST(a_request_of_gigabytes_costs_no_more_than_another)
{
	struct ring_buf buf[62];
	u64 status, data;
	u8 *p;

	disk_begin(_i, DISK_ALL);
	status = vdrv_alloc(&disk.d, 1);
	data = vdrv_alloc(&disk.d, 32 * MIB);
	p = vdrv_ptr(&disk.d, data, 32 * MIB);
	memset(p, 0x99, 32 * MIB);
	for (u32 k = 0; k < 60; k++)
		buf[1 + k] = (struct ring_buf){ data, 32 * MIB };
	buf[61] = (struct ring_buf){ status, 1 };
	for (u32 k = 0; k < 2; k++) {
		buf[0] = (struct ring_buf){ disk_header(k ? VIRTIO_BLK_T_IN : 99, 0), 16 };
		ck_assert_uint_eq(vdrv_request(&disk.d, 0, buf, 1, 61), DISK_FILLED_MAX);
		ck_assert_uint_eq(*(u8 *)vdrv_ptr(&disk.d, status, 1),
				  k ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_UNSUPP);
		ck_assert(p[0] == 0 && p[DISK_FILLED_MAX - 1] == 0 && p[DISK_FILLED_MAX] == 0x99);
	}
	disk_end();
}

/* One ready event of the loop takes so much and no more. */
START_TEST(a_turn_takes_a_bounded_amount_of_data)
{
	static struct virtio_queue *q;
	u8 *status[20];
	u64 data;
	u32 done = 0;

	disk_begin(_i, DISK_ALL);
	q = &disk.d.v->queue[0];
	data = vdrv_alloc(&disk.d, MIB);
	for (u32 k = 0; k < ARRAY_SIZE(status); k++) {
		struct ring_buf buf[3] = { { disk_header(99, 0), 16 },
					   { data, MIB },
					   { vdrv_alloc(&disk.d, 1), 1 } };

		status[k] = vdrv_ptr(&disk.d, buf[2].gpa, 1);
		*status[k] = DISK_NO_STATUS;
		vdrv_submit(&disk.d, 0, buf, 1, 2);
	}
	disk.d.v->ops->serve(disk.d.v, q);
	for (u32 k = 0; k < ARRAY_SIZE(status); k++)
		done += *status[k] != DISK_NO_STATUS;
	ck_assert_uint_eq(done, 16);
	vdrv_settle(&disk.d); /* it has kicked itself */
	for (u32 k = 0; k < ARRAY_SIZE(status); k++)
		ck_assert_uint_eq(*status[k], VIRTIO_BLK_S_UNSUPP);
	disk_end();
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

	disk_make_image();
	vdrv_init(&disk.d, VDRV_PCI_MSIX, _i);
	disk.d.options.queue_size = SIZE;
	disk.file.aio = IMAGE_AIO_THREADS; /* nothing is done before the loop hears of it */
	vdrv_plug(&disk.d, disk_create);
	vdrv_start(&disk.d, DISK_ALL);
	cfg = &disk.d.v->queue[0].vq.cfg;
	ck_assert(cfg->size == SIZE && cfg->indirect);
	data = vdrv_alloc(&disk.d, SIZE * 512);
	for (u32 round = 0; round < 3; round++) {
		for (n = 0; n < SIZE; n++) {
			struct ring_buf buf[3] = { { disk_header(VIRTIO_BLK_T_IN, n), 16 },
						   { data + n * 512, 512 },
						   { vdrv_alloc(&disk.d, 1), 1 } };

			status[n] = vdrv_ptr(&disk.d, buf[2].gpa, 1);
			*status[n] = DISK_NO_STATUS;
			ck_assert_int_ge(ring_add(&disk.d.q[0].ring, buf, 1, 2, true), 0);
			ring_publish(&disk.d.q[0].ring);
		}
		for (u32 k = 0; k < 10; k++)
			disk.d.v->ops->serve(disk.d.v, &disk.d.v->queue[0]);
		ck_assert_uint_eq(disk.d.v->queue[0].vq.inflight, SIZE);
		for (u32 k = 0; k < SIZE; k++) {
			u32 written;

			vdrv_wait(&disk.d, 0, &written);
			ck_assert_uint_eq(written, 513);
		}
		for (u32 k = 0; k < SIZE; k++) {
			u8 *p = vdrv_ptr(&disk.d, data + k * 512, 512);

			ck_assert_uint_eq(*status[k], VIRTIO_BLK_S_OK);
			ck_assert(p[0] == (k | 0x80) && p[511] == (k | 0x80));
		}
	}
	disk_end();
}

START_TEST(a_chain_that_is_no_request_breaks_the_device)
{
	struct ring_buf buf[2];
	u64 gpa;

	disk_begin(_i, DISK_ALL);
	for (u32 k = 0; k < 2; k++) {
		gpa = disk_header(VIRTIO_BLK_T_FLUSH, 0);
		buf[0] = (struct ring_buf){ gpa, k ? 15 : 16 };
		buf[1] = (struct ring_buf){ vdrv_alloc(&disk.d, 1), 1 };
		vdrv_submit(&disk.d, 0, buf, 1, k); /* without a status; with half a header */
		vdrv_settle(&disk.d);
		ck_assert_uint_ne(vdrv_status(&disk.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
		expect_said("without header or status");
		said_forget();
		vdrv_start(&disk.d, DISK_ALL);
		ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_OK);
	}
	disk_end();
}

Suite *blk_suite(void)
{
	Suite *s = suite_create("blk");
	TCase *t = tcase_create("both");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, disk_setup, NULL);
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
	disk.file = (struct image_options){ 0 };
	disk.blk = (struct virtio_blk_options){ .discard = true, .serial = "unit" };
	disk_make_image();
	err = disk_create(v, env, &two);
	close(disk.fd); /* the device has its own */
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
	p[2047] = DISK_NO_STATUS;
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
	.config_len = DISK_CONFIG(max_secure_erase_sectors),
	.features = DISK_FEATURE(SIZE_MAX) | DISK_FEATURE(SEG_MAX) | DISK_FEATURE(BLK_SIZE) |
		    DISK_FEATURE(FLUSH) | DISK_FEATURE(TOPOLOGY) | DISK_FEATURE(CONFIG_WCE) |
		    DISK_FEATURE(MQ) | DISK_FEATURE(DISCARD) | DISK_FEATURE(WRITE_ZEROES),
	.create = conformance_create,
	.request = conformance_request,
	.queue = 1,
};
