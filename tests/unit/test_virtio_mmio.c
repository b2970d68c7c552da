// SPDX-License-Identifier: MIT
/*
 * test_virtio_mmio.c - what only the MMIO transport has: its register block, QueueReady, the shared
 * interrupt line and its acknowledgement.
 */
#include "tests/lib/echo.h"
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <string.h>

static struct vdrv d;

static void setup(void)
{
	vdrv_init(&d, VDRV_MMIO, false);
	vdrv_plug(&d, echo_create);
}

static void teardown(void)
{
	vdrv_free(&d);
}

static u64 get(u32 reg, u32 len)
{
	return bus_read(d.rig->r.env.mmio, d.base + reg, len);
}

static void set(u32 reg, u32 len, u64 value)
{
	bus_write(d.rig->r.env.mmio, d.base + reg, len, value);
}

START_TEST(it_says_who_it_is)
{
	ck_assert_uint_eq(get(VIRTIO_MMIO_MAGIC_VALUE, 4), 0x74726976);
	ck_assert_uint_eq(get(VIRTIO_MMIO_VERSION, 4), 2);
	ck_assert_uint_eq(get(VIRTIO_MMIO_DEVICE_ID, 4), ECHO_ID);
	ck_assert_uint_eq(get(VIRTIO_MMIO_VENDOR_ID, 4), 0x1af4);
}

START_TEST(it_has_no_shared_memory)
{
	for (u32 id = 0; id < 3; id++) {
		set(VIRTIO_MMIO_SHM_SEL, 4, id);
		for (u32 reg = VIRTIO_MMIO_SHM_LEN_LOW; reg <= VIRTIO_MMIO_SHM_BASE_HIGH; reg += 4)
			ck_assert_uint_eq(get(reg, 4), 0xffffffff);
	}
}

START_TEST(registers_take_32_bits_only)
{
	for (u32 reg = 0; reg < VIRTIO_MMIO_CONFIG; reg++) {
		for (u32 len = 1; len <= 8; len *= 2) {
			if (len == 4 && reg % 4 == 0)
				continue;
			if (reg + len > VIRTIO_MMIO_CONFIG)
				continue;
			ck_assert_uint_eq(get(reg, len), 0);
			set(reg, len, 0x0101010101010101ULL);
		}
	}
	ck_assert_uint_eq(get(VIRTIO_MMIO_STATUS, 4), 0);
	ck_assert_uint_eq(virtio_queue_area(d.v, 0, VIRTIO_DESC), 0);
}

START_TEST(write_only_and_unused_registers_read_zero)
{
	static const u32 regs[] = {
		VIRTIO_MMIO_DEVICE_FEATURES_SEL,
		VIRTIO_MMIO_DRIVER_FEATURES,
		VIRTIO_MMIO_DRIVER_FEATURES_SEL,
		VIRTIO_MMIO_QUEUE_SEL,
		VIRTIO_MMIO_QUEUE_NUM,
		VIRTIO_MMIO_QUEUE_NOTIFY,
		VIRTIO_MMIO_INTERRUPT_ACK,
		VIRTIO_MMIO_QUEUE_DESC_LOW,
		VIRTIO_MMIO_QUEUE_USED_HIGH,
		0x028,
		0x03c,
		0x040,
		0x0c0,
		0x0c4,
	};

	for (u32 i = 0; i < ARRAY_SIZE(regs); i++) {
		set(regs[i], 4, 1);
		ck_assert_uint_eq(get(regs[i], 4), 0);
	}
}

START_TEST(features_beyond_the_63rd_are_not_there)
{
	for (u32 sel = 2; sel; sel *= 2) {
		set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, 4, sel);
		ck_assert_uint_eq(get(VIRTIO_MMIO_DEVICE_FEATURES, 4), 0);
	}
}

/* ---- queues ---- */

static void submit(u32 q)
{
	const struct ring_buf buf = { vdrv_alloc(&d, 8), 8 };

	vdrv_submit(&d, q, &buf, 1, 0);
}

static void request(u32 q)
{
	u32 written;

	submit(q);
	vdrv_wait(&d, q, &written);
	vdrv_settle(&d);
}

START_TEST(queue_ready_0_stops_the_queue)
{
	u32 written;

	vdrv_start(&d, ~0ULL);
	echo_hold(d.v, true);
	submit(0);
	vdrv_settle(&d);
	ck_assert_uint_eq(echo_held(d.v), 1);
	set(VIRTIO_MMIO_QUEUE_SEL, 4, 0);
	set(VIRTIO_MMIO_QUEUE_READY, 4, 0);
	ck_assert_uint_eq(get(VIRTIO_MMIO_QUEUE_READY, 4), 0);
	ck_assert_uint_eq(echo_held(d.v), 0);
	echo_hold(d.v, false);
	vdrv_kick(&d, 0);
	vdrv_settle(&d);
	ck_assert_int_eq(ring_get(&d.q[0].ring, &written), -1);
	request(1);
}

START_TEST(a_kick_is_32_bits_and_names_a_queue)
{
	u32 written;

	vdrv_start(&d, ~0ULL);
	vdrv_settle(&d);
	d.q[1].doorbell = 0; /* submit() kicks nobody */
	submit(1);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 2, 1);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 8, 1);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 4, 0);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 4, ECHO_QUEUES);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 4, 0x10001);
	vdrv_settle(&d);
	ck_assert_int_eq(ring_get(&d.q[1].ring, &written), -1);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 4, 1);
	vdrv_wait(&d, 1, &written);
}

/* ---- interrupts ---- */

START_TEST(the_line_is_high_until_all_is_acknowledged)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	virtio_config_update(d.v, 0, "x", 1);
	vdrv_settle(&d);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), 3);
	set(VIRTIO_MMIO_INTERRUPT_ACK, 4, VIRTIO_MMIO_INT_VRING);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), VIRTIO_MMIO_INT_CONFIG);
	set(VIRTIO_MMIO_INTERRUPT_ACK, 4, 0xfffffff0); /* none of ours */
	ck_assert(vdrv_level(&d));
	set(VIRTIO_MMIO_INTERRUPT_ACK, 4, VIRTIO_MMIO_INT_CONFIG);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), 0);
}

START_TEST(an_interrupt_after_the_status_was_read_is_not_lost)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), VIRTIO_MMIO_INT_VRING);
	irq_raise(d.v->queue[1].call); /* has not arrived when ... */
	set(VIRTIO_MMIO_INTERRUPT_ACK, 4, VIRTIO_MMIO_INT_VRING);
	vdrv_settle(&d);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), VIRTIO_MMIO_INT_VRING);
}

START_TEST(a_reset_lets_the_line_go)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert(vdrv_level(&d));
	vdrv_set_status(&d, 0);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), 0);
}

/* As one that the main loop had in hand while a vCPU reset the device, and came up behind it. */
START_TEST(an_interrupt_that_a_reset_has_overtaken_is_dropped)
{
	vdrv_start(&d, ~0ULL);
	vdrv_set_status(&d, 0);
	irq_raise(d.v->config_irq);
	irq_raise(d.v->queue[1].call);
	vdrv_settle(&d);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), 0);
	vdrv_start(&d, ~0ULL);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(VIRTIO_MMIO_INTERRUPT_STATUS, 4), 0);
	request(0);
	ck_assert(vdrv_level(&d));
}

START_TEST(a_device_that_goes_lets_the_line_go)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert(vdrv_level(&d));
	d.dev->ops->destroy(d.dev);
	d.dev = NULL;
	ck_assert(!vdrv_level(&d));
}

START_TEST(two_devices_may_share_a_line)
{
	struct vdrv other;

	vdrv_init_beside(&other, &d);
	other.gsi = d.gsi;
	vdrv_plug(&other, echo_create);
	vdrv_start(&d, ~0ULL);
	vdrv_start(&other, ~0ULL);
	request(0);
	virtio_config_update(other.v, 0, "x", 1);
	vdrv_settle(&d);
	set(VIRTIO_MMIO_INTERRUPT_ACK, 4, 3);
	ck_assert(vdrv_level(&d)); /* the other's */
	bus_write(d.rig->r.env.mmio, other.base + VIRTIO_MMIO_INTERRUPT_ACK, 4, 3);
	ck_assert(!vdrv_level(&d));
	vdrv_free(&other);
}

START_TEST(at_a_place_that_is_taken_the_device_stays_the_callers)
{
	struct virtio_options o = { 0 };
	struct virtio_dev *v;
	struct device *dev;

	ck_assert_int_eq(virtio_rng_create(&v, &d.rig->r.env, &o), 0);
	ck_assert_int_eq(virtio_mmio_create(&dev, &d.rig->r.env, d.base + 0x100, 6, v), -EEXIST);
	virtio_destroy(v);
}

Suite *virtio_mmio_suite(void)
{
	Suite *s = suite_create("virtio-mmio");
	TCase *t = tcase_create("virtio-mmio");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, it_says_who_it_is);
	tcase_add_test(t, it_has_no_shared_memory);
	tcase_add_test(t, registers_take_32_bits_only);
	tcase_add_test(t, write_only_and_unused_registers_read_zero);
	tcase_add_test(t, features_beyond_the_63rd_are_not_there);
	tcase_add_test(t, queue_ready_0_stops_the_queue);
	tcase_add_test(t, a_kick_is_32_bits_and_names_a_queue);
	tcase_add_test(t, the_line_is_high_until_all_is_acknowledged);
	tcase_add_test(t, an_interrupt_after_the_status_was_read_is_not_lost);
	tcase_add_test(t, a_reset_lets_the_line_go);
	tcase_add_test(t, an_interrupt_that_a_reset_has_overtaken_is_dropped);
	tcase_add_test(t, a_device_that_goes_lets_the_line_go);
	tcase_add_test(t, two_devices_may_share_a_line);
	tcase_add_test(t, at_a_place_that_is_taken_the_device_stays_the_callers);
	suite_add_tcase(s, t);
	return s;
}
