// SPDX-License-Identifier: MIT
/*
 * test_conformance.c - what every virtio device must pass, on every transport, with both ring formats.
 *
 * How it works: a test is run once for each row of `devices` times each of `modes`; its number _i says
 * which. To add a device, write its row (conformance.h) beside its own tests, and name it in `devices`.
 */
#include "tests/unit/conformance.h"
#include "tests/unit/echo.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>

static const struct conformance_device *const devices[] = {
	&conformance_rng,
	&conformance_echo,
	&conformance_console,
};

#define MODES	 (VDRV_BUSES * 2)
#define VARIANTS ((int)ARRAY_SIZE(devices) * MODES)

#define STATUS_NEGOTIATED \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static const struct conformance_device *dev;
static struct vdrv d;

/* Begin test number `i`. */
static void plug(int i, bool threads)
{
	dev = devices[i / MODES];
	vdrv_init(&d, i % VDRV_BUSES, i % MODES >= VDRV_BUSES);
	if (threads)
		vdrv_threads(&d);
	vdrv_plug(&d, dev->create);
}

static void unplug(void)
{
	vdrv_free(&d);
	if (dev->cleanup)
		dev->cleanup();
}

/* The device works: from whatever state to a request done. */
static void check_works(void)
{
	vdrv_start(&d, ~0ULL);
	dev->request(&d);
}

START_TEST(it_is_discovered)
{
	plug(_i, false);
	ck_assert_uint_eq(d.id, dev->id);
	ck_assert_uint_eq(vdrv_status(&d), 0);
	if (d.bus != VDRV_MMIO)
		ck_assert_uint_eq(d.config_len, dev->config_len);
	for (u32 q = 0; q < dev->nqueues; q++) {
		ck_assert_uint_gt(vdrv_queue_max(&d, q), 0);
		ck_assert(!vdrv_queue_enabled(&d, q));
	}
	ck_assert_uint_eq(vdrv_queue_max(&d, dev->nqueues), 0);
	ck_assert_uint_eq(vdrv_queue_max(&d, 0xffff), 0);
	unplug();
}

START_TEST(it_offers_what_all_devices_do)
{
	u64 common = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
		     VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
		     VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER) |
		     VIRTIO_FEATURE(VIRTIO_F_RING_RESET);
	u64 offered;

	plug(_i, false);
	offered = vdrv_offered(&d);
	ck_assert_uint_eq(offered & common, common);
	ck_assert_uint_eq(!!(offered & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)), d.options.packed);
	ck_assert_uint_eq(offered & VIRTIO_FEATURE(VIRTIO_F_ACCESS_PLATFORM), 0);
	ck_assert_uint_eq(offered & dev->features, dev->features);
	unplug();
}

START_TEST(it_works)
{
	plug(_i, false);
	check_works();
	for (u32 i = 0; i < 200; i++) /* several times around the ring */
		dev->request(&d);
	unplug();
}

/* Without any of the optional ring features, and with each alone. */
START_TEST(it_works_with_few_features)
{
	const u64 base = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	static const u32 bits[] = { VIRTIO_F_VERSION_1, VIRTIO_RING_F_INDIRECT_DESC,
				    VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_IN_ORDER,
				    VIRTIO_F_RING_RESET };

	plug(_i, false);
	for (u32 i = 0; i < ARRAY_SIZE(bits); i++) {
		vdrv_start(&d, base | dev->features | VIRTIO_FEATURE(bits[i]));
		for (u32 n = 0; n < 3; n++)
			dev->request(&d);
	}
	unplug();
}

static void rng_request(struct vdrv *drv)
{
	struct ring_buf buf = { .gpa = vdrv_alloc(drv, 32), .len = 32 };
	static const u8 zero[32];

	ck_assert_uint_eq(vdrv_request(drv, 0, &buf, 0, 1), 32);
	ck_assert_int_ne(memcmp(vdrv_ptr(drv, buf.gpa, 32), zero, 32), 0);
}

const struct conformance_device conformance_rng = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.nqueues = 1,
	.create = virtio_rng_create,
	.request = rng_request,
};

static void echo_request(struct vdrv *drv)
{
	struct ring_buf buf[2] = { { vdrv_alloc(drv, 8), 8 }, { vdrv_alloc(drv, 8), 8 } };

	memcpy(vdrv_ptr(drv, buf[0].gpa, 8), "marmalad", 8);
	ck_assert_uint_eq(vdrv_request(drv, 1, buf, 1, 1), 8);
	ck_assert_int_eq(memcmp(vdrv_ptr(drv, buf[1].gpa, 8), "marmalad", 8), 0);
}

const struct conformance_device conformance_echo = {
	.name = "echo",
	.id = ECHO_ID,
	.nqueues = ECHO_QUEUES,
	.config_len = ECHO_CONFIG_LEN,
	.features = VIRTIO_FEATURE(ECHO_F_PLAIN) | VIRTIO_FEATURE(ECHO_F_NEEDS_PLAIN),
	.create = echo_create,
	.request = echo_request,
	.queue = 1,
};

#define TEST(name) tcase_add_loop_test(t, name, 0, VARIANTS)

Suite *conformance_suite(void)
{
	Suite *s = suite_create("conformance");
	TCase *t = tcase_create("devices");

	tcase_set_timeout(t, 60);
	TEST(it_is_discovered);
	TEST(it_offers_what_all_devices_do);
	TEST(it_works);
	TEST(it_works_with_few_features);
	suite_add_tcase(s, t);
	return s;
}
