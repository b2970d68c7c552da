// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_blk.c - a disk of ours that is moved to a vhost-user back end and back: which back end will do, and
 * what stays ours. The back end is that of fake_back_end.h, which gives back what it is sent: of a request its type as
 * the status.
 */
#include "minivmm/datapath.h"
#include "tests/unit/blk_rig.h"
#include "tests/unit/fake_back_end.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_LEN offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define TYPES                                                                      \
	(DISK_FEATURE(SIZE_MAX) | DISK_FEATURE(SEG_MAX) | DISK_FEATURE(BLK_SIZE) | \
	 DISK_FEATURE(FLUSH) | DISK_FEATURE(TOPOLOGY) | DISK_FEATURE(CONFIG_WCE) | \
	 DISK_FEATURE(MQ) | DISK_FEATURE(DISCARD) | DISK_FEATURE(WRITE_ZEROES))

static struct back_end be;
static struct be_process process;
static struct datapath *path; /* the next one, ours */
static struct virtio_switch s;

/* A disk with two queues, in-process, and a back end that can do as much as it. */
static void begin(int mode)
{
	disk_make_image();
	disk.blk.discard = disk.blk.modest = true;
	vdrv_init(&disk.d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	disk.d.options.queues = 2;
	vdrv_plug(&disk.d, disk_create);
	be_begin(&be);
	be.features |= TYPES;
	be.config_len = CONFIG_LEN;
	memcpy(be.config, disk.d.v->config, CONFIG_LEN);
}

static struct virtio_blk_config *config(void)
{
	return (struct virtio_blk_config *)be.config;
}

/* Make the data path. Returns 0 or -errno. */
static int connect_it(void)
{
	const struct vhost_user_blk_options o = {
		.v = disk.d.v,
		.process = process.be ? &process.process : NULL,
		.path = process.be ? NULL : be.path,
		.packed = disk.d.options.packed,
		.timeout_ms = 1000,
	};

	be_listen(&be);
	return vhost_user_blk_create(&path, &disk.d.rig->r.env, &o);
}

static void end(void)
{
	if (disk.d.dev)
		vdrv_unplug(&disk.d);
	be_end(&be);
	unlink(be.path);
	disk_end();
}

static int switch_to(struct datapath **next)
{
	return virtio_switch_path(disk.d.v, next, &s);
}

/* A request that the back end serves, or we. */
static void check_flush(u32 q, bool ours)
{
	u8 status = disk_request_on(q, VIRTIO_BLK_T_FLUSH, 0, false, 0, 0);

	ck_assert_uint_eq(status, ours ? VIRTIO_BLK_S_OK : VIRTIO_BLK_T_FLUSH);
}

/* The same with `protocol` features, for both ways of having what is in flight (the record, the relay). */
static void there_and_back(int mode, u64 protocol)
{
	begin(mode);
	be.protocol |= protocol;
	ck_assert_int_eq(connect_it(), 0);
	virtio_limit_features(disk.d.v, path);
	vdrv_start(&disk.d, DISK_ALL);
	for (u32 i = 0; i < 20; i++) {
		ck_assert_uint_eq(disk_write_sector(i, i), VIRTIO_BLK_S_OK);
		check_flush(1, true);
		ck_assert_int_eq(switch_to(&path), 0);
		ck_assert_ptr_null(path);
		check_flush(i % 2, false);
		ck_assert_int_eq(switch_to(&path), 0);
		ck_assert_ptr_nonnull(path);
	}
	ck_assert_uint_eq(disk_request(VIRTIO_BLK_T_FLUSH, 0, false, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert(!vdrv_config_called(&disk.d));
	datapath_destroy(path);
	for (u32 i = 0; i < 20; i++)
		disk_expect_sectors(i, 1, i);
}

START_TEST(with_a_record)
{
	there_and_back(_i, BE_P(INFLIGHT_SHMFD));
	expect_silence();
	end();
}

/* Whatever goes wrong at the back end while it is given the queues: the disk stays where it was. */
static const u32 told[] = { VHOST_USER_SET_VRING_NUM,  VHOST_USER_SET_VRING_BASE,
			    VHOST_USER_SET_VRING_ADDR, VHOST_USER_SET_VRING_ERR,
			    VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ENABLE };
static const u32 wrongs[] = { BE_REFUSE, BE_CLOSE, BE_SILENT, BE_OTHER_REQUEST };

static void fail_at(int mode, u32 request, u32 wrong)
{
	begin(mode);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	ck_assert_int_eq(connect_it(), 0);
	virtio_limit_features(disk.d.v, path);
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_uint_eq(disk_write_sector(3, 3), VIRTIO_BLK_S_OK);
	be_set(&be.bad_request, request);
	be_set(&be.bad, wrong);
	ck_assert_int_eq(switch_to(&path), -EIO);
	ck_assert_ptr_nonnull(path);
	check_flush(0, true);
	check_flush(1, true);
	be_set(&be.bad, BE_GOOD);
	datapath_destroy(path);
	disk_expect_sectors(3, 1, 3);
	ck_assert_uint_eq(vdrv_status(&disk.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	said_forget();
	end();
}

START_TEST(one_that_fails_at_the_start_of_its_queues_is_not_switched_to)
{
	fail_at(VDRV_PCI_MSIX + _i % 2 * VDRV_BUSES, told[_i / 2 % ARRAY_SIZE(told)],
		wrongs[_i / 2 / ARRAY_SIZE(told)]);
}

/* With the kick descriptor it has the rings, whatever it says: they are asked back. (Of one that says nothing, or what makes
 * no sense, nobody knows what it does with them; only a process of our own is ended.) */
START_TEST(one_that_refuses_the_kick_descriptor_is_not_switched_to)
{
	fail_at(VDRV_PCI_MSIX + _i % 2 * VDRV_BUSES, VHOST_USER_SET_VRING_KICK, BE_REFUSE);
}

/* Our own process ends the connection when it refuses something, as it does when it dies: before it has the kick descriptor,
 * or with it. (Where a packed ring stands is not known then.) */
START_TEST(our_own_process_that_leaves_is_not_switched_to)
{
	bool packed = _i % 2;

	be_process_init(&process, &be);
	if (_i / 2 < (int)ARRAY_SIZE(told))
		fail_at(VDRV_PCI_MSIX + packed * VDRV_BUSES, told[_i / 2], BE_CLOSE);
	else if (!packed)
		fail_at(VDRV_PCI_MSIX, VHOST_USER_SET_VRING_KICK, BE_CLOSE);
}

/* Not the packed format. */
START_TEST(with_the_relay)
{
	there_and_back(_i, 0);
	expect_said("a ring of our own");
	said_forget();
	end();
}

/* What the driver is offered: the cache mode can't be chosen. */
START_TEST(the_configuration_space_stays_ours)
{
	begin(_i);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	ck_assert_int_eq(connect_it(), 0);
	virtio_limit_features(disk.d.v, path);
	ck_assert_uint_eq(disk.d.v->offered & DISK_FEATURE(CONFIG_WCE), 0);
	ck_assert_uint_eq(disk.d.v->offered & TYPES, TYPES & ~DISK_FEATURE(CONFIG_WCE));
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_int_eq(switch_to(&path), 0);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(capacity), 8), DISK_SECTORS);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(seg_max), 4), 126);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(max_discard_seg), 4), 1);
	ck_assert_uint_eq(vdrv_config(&disk.d, DISK_CONFIG(max_discard_sectors), 4), 32768);
	vdrv_set_config(&disk.d, DISK_CONFIG(wce), 1, 0);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_CONFIG), 0);
	check_flush(0, false);
	end();
}

START_TEST(a_back_end_may_do_more_or_not_say)
{
	begin(VDRV_PCI_MSIX);
	config()->size_max = 0; /* as qemu-storage-daemon */
	config()->seg_max = 1000;
	config()->max_discard_seg = 100;
	config()->blk_size = 0;
	ck_assert_int_eq(connect_it(), 0);
	datapath_destroy(path);
	said_forget();
	end();
}

static void refused(const char *why)
{
	ck_assert_int_eq(connect_it(), -EOPNOTSUPP);
	expect_said(why);
	said_forget();
	vdrv_start(&disk.d, DISK_ALL); /* all is as before */
	check_flush(0, true);
	end();
}

START_TEST(a_disk_of_another_size_is_refused)
{
	begin(VDRV_PCI_MSIX);
	config()->capacity++;
	refused("not this one: it has 2049 sectors, and not 2048");
}

START_TEST(larger_blocks_are_refused)
{
	begin(VDRV_PCI_MSIX);
	config()->blk_size = 4096;
	refused("its blocks have 4096 bytes, and not 512");
}

START_TEST(a_disk_that_cannot_be_written_is_refused)
{
	begin(VDRV_PCI_MSIX);
	be.features |= DISK_FEATURE(RO);
	refused("it can't be written");
}

START_TEST(lower_limits_are_refused)
{
	static const struct {
		u32 off;
		const char *why;
	} limit[] = {
		{ DISK_CONFIG(size_max), "size_max is 1048575, and the driver may use 1048576" },
		{ DISK_CONFIG(seg_max), "seg_max is 125, and the driver may use 126" },
		{ DISK_CONFIG(max_discard_sectors), "max_discard_sectors is 32767, and" },
		{ DISK_CONFIG(max_write_zeroes_sectors), "max_write_zeroes_sectors is 32767" },
	};
	u32 value;

	begin(VDRV_PCI_MSIX);
	memcpy(&value, be.config + limit[_i].off, sizeof(value));
	value--;
	memcpy(be.config + limit[_i].off, &value, sizeof(value));
	refused(limit[_i].why);
}

START_TEST(too_few_queues_are_refused)
{
	begin(VDRV_PCI_MSIX);
	be.queue_num = 1;
	refused("has 1 queues");
}

/* It can't flush: nothing is missing until the driver wants to. */
START_TEST(a_feature_that_is_missing_is_named)
{
	begin(VDRV_PCI_MSIX);
	be.features &= ~DISK_FEATURE(FLUSH);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	vdrv_start(&disk.d, ~(DISK_FEATURE(CONFIG_WCE) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER)));
	ck_assert_int_eq(connect_it(), 0);
	ck_assert_int_eq(switch_to(&path), -EOPNOTSUPP);
	ck_assert_uint_eq(s.missing, DISK_FEATURE(FLUSH));
	check_flush(0, true);
	datapath_destroy(path);
	end();
}

/* A back end that comes in the place of one that has gone, with another disk. */
START_TEST(the_next_back_end_is_looked_at_as_well)
{
	begin(VDRV_PCI_MSIX);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	ck_assert_int_eq(connect_it(), 0);
	virtio_limit_features(disk.d.v, path);
	vdrv_start(&disk.d, DISK_ALL);
	ck_assert_int_eq(switch_to(&path), 0);
	be_end(&be);
	unlink(be.path);
	config()->capacity--;
	be_listen(&be);
	vdrv_wait_until(&disk.d, strstr(said_text(), "it has 2047 sectors, and not 2048"));
	be_end(&be);
	unlink(be.path);
	config()->capacity++;
	be_listen(&be);
	check_flush(0, false);
	said_forget();
	end();
}

/* What we have lost no other would know of. */
START_TEST(a_disk_that_has_lost_data_stays)
{
	begin(VDRV_PCI_MSIX);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	ck_assert_int_eq(connect_it(), 0);
	virtio_limit_features(disk.d.v, path);
	vdrv_start(&disk.d, DISK_ALL);
	atomic_store(&disk.blk.image->flush_err, -EIO);
	ck_assert_int_eq(switch_to(&path), -EIO);
	expect_said("data has been lost");
	ck_assert_uint_eq(disk_flush(), VIRTIO_BLK_S_IOERR);
	said_forget();
	datapath_destroy(path);
	end();
}

Suite *vhost_user_blk_suite(void)
{
	Suite *suite = suite_create("vhost-user-blk");
	TCase *t = tcase_create("vhost-user disk");

	tcase_set_timeout(t, 30);
	tcase_add_checked_fixture(t, disk_setup, NULL);
	tcase_add_loop_test(t, with_a_record, 0, 2 * VDRV_BUSES);
	tcase_add_loop_test(t, one_that_fails_at_the_start_of_its_queues_is_not_switched_to, 0,
			    2 * ARRAY_SIZE(told) * ARRAY_SIZE(wrongs));
	tcase_add_loop_test(t, one_that_refuses_the_kick_descriptor_is_not_switched_to, 0, 2);
	tcase_add_loop_test(t, our_own_process_that_leaves_is_not_switched_to, 0,
			    2 * ARRAY_SIZE(told) + 2);
	tcase_add_loop_test(t, with_the_relay, 0, VDRV_BUSES);
	tcase_add_loop_test(t, the_configuration_space_stays_ours, 0, 2 * VDRV_BUSES);
	tcase_add_test(t, a_back_end_may_do_more_or_not_say);
	tcase_add_test(t, a_disk_of_another_size_is_refused);
	tcase_add_test(t, larger_blocks_are_refused);
	tcase_add_test(t, a_disk_that_cannot_be_written_is_refused);
	tcase_add_loop_test(t, lower_limits_are_refused, 0, 4);
	tcase_add_test(t, too_few_queues_are_refused);
	tcase_add_test(t, a_feature_that_is_missing_is_named);
	tcase_add_test(t, the_next_back_end_is_looked_at_as_well);
	tcase_add_test(t, a_disk_that_has_lost_data_stays);
	suite_add_tcase(suite, t);
	return suite;
}
