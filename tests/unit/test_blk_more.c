// SPDX-License-Identifier: MIT
/*
 * test_blk_more.c - the block device: discarding and zeroing, when a write has reached the disk, queues
 * and threads, over both ring formats (the suite's loop variable).
 */
#include "tests/unit/blk_rig.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* ---- discard and write-zeroes ---- */

struct range {
	u64 sector;
	u32 n, flags;
};

static u8 ranges(u32 type, const struct range *r, u32 n)
{
	u64 gpa = vdrv_alloc(&disk.d, n * sizeof(*r));

	memcpy(vdrv_ptr(&disk.d, gpa, n * sizeof(*r)), r, n * sizeof(*r));
	return disk_request(type, 0, false, gpa, n * sizeof(*r));
}

#define RANGES(type, ...)                                            \
	ranges(VIRTIO_BLK_T_##type, (struct range[]){ __VA_ARGS__ }, \
	       sizeof((struct range[]){ __VA_ARGS__ }) / sizeof(struct range))

START_TEST(all_ranges_are_zeroed)
{
	disk.blk.discard = true;
	disk_begin(_i, DISK_ALL);
	ck_assert_uint_eq(RANGES(WRITE_ZEROES, { 10, 3, 0 }, { 100, 1000, 1 }, { 2047, 1, 0 }),
			  VIRTIO_BLK_S_OK);
	disk_expect_sectors(0, 10, -1);
	disk_expect_sectors(10, 3, 0);
	disk_expect_sectors(13, 87, -1);
	disk_expect_sectors(100, 1000, 0);
	disk_expect_sectors(1100, 947, -1);
	disk_expect_sectors(2047, 1, 0);

	ck_assert_uint_eq(RANGES(DISCARD, { 16, 64, 0 }, { 2000, 40, 0 }), VIRTIO_BLK_S_OK);
	disk_expect_sectors(16, 64, 0);
	disk_expect_sectors(80, 20, -1);
	disk_expect_sectors(1100, 900, -1);
	disk_expect_sectors(2000, 40, 0);
	ck_assert_uint_eq(RANGES(DISCARD, { 5, 0, 0 }), VIRTIO_BLK_S_OK);
	disk_end();
}

START_TEST(a_list_with_one_bad_range_does_nothing)
{
	static const u32 type[] = { VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES };
	static struct range many[17];
	u64 gpa;

	disk.blk.discard = true;
	disk_begin(_i, DISK_ALL);
	gpa = vdrv_alloc(&disk.d, 64);
	for (u32 k = 0; k < 2; k++) {
		struct range beyond[] = { { 0, 8, 0 }, { DISK_SECTORS - 1, 2, 0 } };
		struct range far[] = { { 0, 8, 0 }, { 1ULL << 55, 1, 0 } };
		struct range wrap[] = { { 0, 8, 0 }, { ~0ULL, 2, 0 } };
		struct range flags[] = { { 0, 8, 0 }, { 8, 8, 2 } };

		ck_assert_uint_eq(ranges(type[k], beyond, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], far, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], wrap, 2), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(ranges(type[k], flags, 2), VIRTIO_BLK_S_UNSUPP);
		ck_assert_uint_eq(ranges(type[k], many, 17), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(disk_request(type[k], 0, false, gpa, 15), VIRTIO_BLK_S_IOERR);
		ck_assert_uint_eq(disk_request(type[k], 0, false, gpa, 0), VIRTIO_BLK_S_IOERR);
	}
	/* "MUST set ... UNSUPP for discard commands if the unmap flag is set" */
	ck_assert_uint_eq(RANGES(DISCARD, { 0, 8, 1 }), VIRTIO_BLK_S_UNSUPP);
	disk_expect_untouched();
	disk_end();
}

START_TEST(discard_must_be_negotiated)
{
	disk.blk.discard = true;
	disk_begin(_i, DISK_ALL & ~DISK_FEATURE(DISCARD) & ~DISK_FEATURE(WRITE_ZEROES));
	ck_assert_uint_eq(RANGES(DISCARD, { 0, 8, 0 }), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(RANGES(WRITE_ZEROES, { 0, 8, 0 }), VIRTIO_BLK_S_UNSUPP);
	disk_expect_untouched();
	disk_end();
}

/* ---- the cache ---- */

/* With no flush possible any more, a write fails if and only if it has to reach the disk. */
static bool writes_through(void)
{
	u8 status;

	disk.blk.image->told = true; /* no line about it */
	disk.blk.image->flush_err = -EIO;
	status = disk_write_sector(1, 0x66);
	ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_IOERR);
	disk.blk.image->flush_err = 0;
	return status != VIRTIO_BLK_S_OK;
}

START_TEST(the_driver_chooses_the_cache_mode)
{
	disk_begin(_i, DISK_ALL);
	ck_assert(!writes_through());
	vdrv_set_config(&disk.d, DISK_CONFIG(wce), 1, 0);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	vdrv_set_config(&disk.d, DISK_CONFIG(wce), 1, 0xff);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 1);
	ck_assert(!writes_through());
	vdrv_set_config(&disk.d, DISK_CONFIG(wce), 1, 0);
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 1); /* as before */
	ck_assert(!writes_through());
	disk_end();
}

START_TEST(without_flush_every_write_reaches_the_disk)
{
	disk_begin(_i, DISK_ALL & ~DISK_FEATURE(FLUSH) & ~DISK_FEATURE(CONFIG_WCE));
	ck_assert(writes_through());
	vdrv_start(&disk.d, DISK_ALL & ~DISK_FEATURE(CONFIG_WCE));
	ck_assert(!writes_through());
	/* 5.2.5.2: "the device MUST initialize writeback to 0" */
	vdrv_start(&disk.d, DISK_ALL & ~DISK_FEATURE(FLUSH));
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	disk_end();
}

START_TEST(the_user_may_want_writethrough)
{
	disk.blk.writethrough = true;
	disk_begin(_i, DISK_ALL);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(wce), 1), 0);
	ck_assert(writes_through());
	vdrv_set_config(&disk.d, DISK_CONFIG(wce), 1, 1);
	ck_assert(!writes_through());
	vdrv_start(&disk.d, DISK_ALL & ~DISK_FEATURE(CONFIG_WCE));
	ck_assert(writes_through());
	disk_end();
}

/* ---- queues and threads ---- */

START_TEST(each_queue_serves_requests)
{
	u64 gpa;

	disk_make_image();
	vdrv_init(&disk.d, VDRV_PCI_MSIX, _i);
	vdrv_threads(&disk.d);
	disk.d.options.queues = 4;
	vdrv_plug(&disk.d, disk_create);
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert(vdrv_has(&disk.d, VIRTIO_BLK_F_MQ));
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(num_queues), 2), 4);
	gpa = vdrv_alloc(&disk.d, 512);
	for (u32 q = 0; q < 4; q++) {
		memset(vdrv_ptr(&disk.d, gpa, 512), q, 512);
		ck_assert_uint_eq(disk_request_on(q, VIRTIO_BLK_T_OUT, q, false, gpa, 512),
				  VIRTIO_BLK_S_OK);
		disk_expect_sectors(q, 1, q);
	}
	disk_end();
}

#define INFLIGHT 16

START_TEST(after_a_reset_nothing_arrives_any_more)
{
	struct ring_buf buf[3];
	u64 data;

	disk.file.aio = IMAGE_AIO_THREADS;
	disk_make_image();
	vdrv_init(&disk.d, VDRV_PCI_MSIX, _i);
	vdrv_threads(&disk.d);
	vdrv_plug(&disk.d, disk_create);
	data = vdrv_alloc(&disk.d, INFLIGHT * 16384);
	for (u32 round = 0; round < 10; round++) {
		u64 kept = disk.d.next;
		u8 *p = vdrv_ptr(&disk.d, data, INFLIGHT * 16384);

		vdrv_start(&disk.d, DISK_ALL);
		for (u32 k = 0; k < INFLIGHT; k++) {
			buf[0] = (struct ring_buf){ disk_header(VIRTIO_BLK_T_IN, k * 32), 16 };
			buf[1] = (struct ring_buf){ data + k * 16384, 16384 };
			buf[2] = (struct ring_buf){ vdrv_alloc(&disk.d, 1), 1 };
			vdrv_submit(&disk.d, 0, buf, 1, 2);
		}
		vdrv_reset(&disk.d);
		memset(p, 0x77, INFLIGHT * 16384);
		vdrv_settle(&disk.d);
		ck_assert(p[0] == 0x77 && memcmp(p, p + 1, INFLIGHT * 16384 - 1) == 0);
		disk.d.next = kept;
	}
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_uint_eq(disk_write_sector(0, 1), VIRTIO_BLK_S_OK);
	disk.file.aio = IMAGE_AIO_AUTO;
	disk_end();
}

Suite *blk_more_suite(void)
{
	Suite *s = suite_create("blk_more");
	TCase *t = tcase_create("both");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, disk_setup, NULL);
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
