// SPDX-License-Identifier: MIT
/*
 * blk_rig.c - see blk_rig.h.
 */
#include "tests/unit/blk_rig.h"

#include <string.h>
#include <unistd.h>

struct disk disk;

void disk_setup(void)
{
	disk.file = (struct image_options){ 0 };
	disk.blk = (struct virtio_blk_options){ 0 };
}

int disk_create(struct virtio_dev **v, const struct machine_env *env,
		const struct virtio_options *o)
{
	disk.file.path = disk.path;
	ck_assert_int_eq(image_open(&disk.blk.image, &disk.file), 0);
	return virtio_blk_create(v, env, o, &disk.blk);
}

void disk_make_image(void)
{
	static u8 sector[512];

	disk.fd = temp_file("", 0, disk.path);
	for (u32 i = 0; i < DISK_SECTORS; i++) {
		memset(sector, i | 0x80, sizeof(sector));
		ck_assert_int_eq(pwrite(disk.fd, sector, 512, i * 512), 512);
	}
}

/* What byte all of sector `i` is, or -1. */
static int sector_is(u32 i)
{
	u8 sector[512];

	ck_assert_int_eq(pread(disk.fd, sector, 512, i * 512), 512);
	return memcmp(sector, sector + 1, 511) ? -1 : sector[0];
}

void disk_expect_sectors(u32 first, u32 n, int byte)
{
	for (u32 i = first; i < first + n; i++)
		ck_assert_int_eq(sector_is(i), byte < 0 ? (u8)(i | 0x80) : byte);
}

void disk_expect_untouched(void)
{
	disk_expect_sectors(0, DISK_SECTORS, -1);
	ck_assert_int_eq(lseek(disk.fd, 0, SEEK_END), DISK_SECTORS * 512);
}

/* The device with `file` and `blk` as they are, up and running with `features`. */
void disk_begin(int i, u64 features)
{
	disk_make_image();
	vdrv_init(&disk.d, VDRV_PCI_MSIX, i);
	vdrv_plug(&disk.d, disk_create);
	vdrv_start(&disk.d, features);
}

void disk_end(void)
{
	vdrv_free(&disk.d);
	close(disk.fd);
}

u64 disk_header(u32 type, u64 sector)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };
	u64 gpa = vdrv_alloc(&disk.d, sizeof(h));

	memcpy(vdrv_ptr(&disk.d, gpa, sizeof(h)), &h, sizeof(h));
	return gpa;
}

/* A request on queue `q` with `len` bytes of data at `gpa` that the device writes (`in`) or reads.
 * Returns its status. */
u8 disk_request_on(u32 q, u32 type, u64 sector, bool in, u64 gpa, u32 len)
{
	struct ring_buf buf[3] = { { disk_header(type, sector), 16 } };
	u64 status = vdrv_alloc(&disk.d, 1);
	u32 n = 1, nout, written;

	*(u8 *)vdrv_ptr(&disk.d, status, 1) = DISK_NO_STATUS;
	if (len)
		buf[n++] = (struct ring_buf){ gpa, len };
	nout = in ? 1 : n;
	buf[n++] = (struct ring_buf){ status, 1 };
	written = vdrv_request(&disk.d, q, buf, nout, n - nout);
	if (in && len > DISK_FILLED_MAX && *(u8 *)vdrv_ptr(&disk.d, status, 1))
		ck_assert_uint_eq(written, DISK_FILLED_MAX); /* and the status */
	else
		ck_assert_uint_eq(written, (in ? len : 0) + 1);
	return *(u8 *)vdrv_ptr(&disk.d, status, 1);
}

u8 disk_request(u32 type, u64 sector, bool in, u64 gpa, u32 len)
{
	return disk_request_on(0, type, sector, in, gpa, len);
}

u8 disk_write_sector(u64 sector, u8 byte)
{
	u64 gpa = vdrv_alloc(&disk.d, 512);

	memset(vdrv_ptr(&disk.d, gpa, 512), byte, 512);
	return disk_request(VIRTIO_BLK_T_OUT, sector, false, gpa, 512);
}

u8 disk_flush(void)
{
	return disk_request(VIRTIO_BLK_T_FLUSH, 0, false, 0, 0);
}
