/* SPDX-License-Identifier: MIT */
/*
 * blk_rig.h - what the suites on the block device share: a disk whose image is a file in memory that
 * the tests look into, and the driver's side of it. One at a time: each test is a process of its own.
 */
#ifndef TESTS_UNIT_BLK_RIG_H
#define TESTS_UNIT_BLK_RIG_H

#include "devices/block/image_internal.h"
#include "tests/unit/virtio_driver.h"

#include <linux/virtio_blk.h>

#define DISK_SECTORS	2048
#define DISK_CONFIG(f)	offsetof(struct virtio_blk_config, f)
#define DISK_FEATURE(f) VIRTIO_FEATURE(VIRTIO_BLK_F_##f)
#define DISK_ALL	(~0ULL)
#define DISK_NO_STATUS	0xee
#define DISK_FILLED_MAX 4096 /* the device's: of a request that fails */

extern struct disk {
	struct vdrv d;
	int fd; /* the image, in which sector n is full of bytes n | 80h */
	char path[32];
	struct image_options file; /* for disk_create() */
	struct virtio_blk_options blk;
} disk;

/* No options: a test's fixture. */
void disk_setup(void);

/* The device with disk.file and disk.blk as they are, up and running with `features`; `i` is 1 for
 * packed rings. */
void disk_begin(int i, u64 features);
void disk_end(void);

/* In steps: a new image, and a device on it (for vdrv_plug()). */
void disk_make_image(void);
int disk_create(struct virtio_dev **v, const struct machine_env *env,
		const struct virtio_options *o);

/* Sectors [first, first + n) are full of `byte`, or as they were (-1). */
void disk_expect_sectors(u32 first, u32 n, int byte);
void disk_expect_untouched(void);

/* A request's header in guest memory. Returns where. */
u64 disk_header(u32 type, u64 sector);

/* A request on queue `q` (0) with `len` bytes of data at `gpa` that the device writes (`in`) or reads.
 * Returns its status. */
u8 disk_request_on(u32 q, u32 type, u64 sector, bool in, u64 gpa, u32 len);
u8 disk_request(u32 type, u64 sector, bool in, u64 gpa, u32 len);
u8 disk_write_sector(u64 sector, u8 byte);
u8 disk_flush(void);

#endif
