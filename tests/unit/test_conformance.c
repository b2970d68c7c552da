// SPDX-License-Identifier: MIT
/*
 * test_conformance.c - what every virtio device must pass, on every transport, with both ring formats.
 *
 * How it works: a test is run once for each row of `devices` times each of `modes`; its number _i says
 * which. To add a device, write its row (conformance.h) beside its own tests, and name it in `devices`.
 */
#include "tests/lib/echo.h"
#include "tests/unit/conformance.h"
#include "tests/unit/stub_path.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct conformance_device *const devices[] = {
	&conformance_rng,     &conformance_echo, &conformance_blk,
	&conformance_console, &conformance_net,
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
	vdrv_unplug(&d);
	if (dev->cleanup)
		dev->cleanup();
	vdrv_free(&d);
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

START_TEST(features_it_does_not_offer_are_refused)
{
	u64 offered, missing;

	plug(_i, false);
	offered = vdrv_offered(&d);
	missing = ~offered & (offered + 1); /* the lowest bit that is not offered */
	vdrv_set_status(&d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vdrv_write_features(&d, offered | missing);
	vdrv_set_status(&d, STATUS_NEGOTIATED);
	/* 2.2.2: "by not setting FEATURES_OK" */
	ck_assert_uint_eq(vdrv_status(&d), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vdrv_write_features(&d, offered & ~VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	vdrv_set_status(&d, STATUS_NEGOTIATED);
	ck_assert_uint_eq(vdrv_status(&d), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vdrv_write_features(&d, offered);
	vdrv_set_status(&d, STATUS_NEGOTIATED);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_NEGOTIATED);
	check_works();
	unplug();
}

START_TEST(a_driver_that_overlooks_the_refusal_is_told)
{
	plug(_i, false);
	vdrv_set_status(&d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	vdrv_write_features(&d, 0);
	vdrv_set_status(&d, STATUS_NEGOTIATED);
	vdrv_set_status(&d, STATUS_NEGOTIATED | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(vdrv_status(&d), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
						   VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_said("DRIVER_OK without FEATURES_OK");
	check_works();
	unplug();
}

/* Byte `off` of the configuration space; beyond it there are zeroes. */
static u8 config_byte(u32 off)
{
	u8 byte = vdrv_config(&d, off, 1);

	if (off >= dev->config_len)
		ck_assert_uint_eq(byte, 0);
	return byte;
}

START_TEST(its_configuration_reads_by_any_width_and_alignment)
{
	plug(_i, false);
	for (u32 off = 0; d.config && off < VIRTIO_MMIO_SIZE - 0x100 - 8; off++) {
		for (u32 len = 1; len <= 8; len *= 2) {
			u64 want = 0;

			for (u32 i = 0; i < len; i++)
				want |= (u64)config_byte(off + i) << (8 * i);
			ck_assert_uint_eq(vdrv_config(&d, off, len), want);
		}
	}
	unplug();
}

START_TEST(what_is_beyond_its_configuration_ignores_writes)
{
	plug(_i, false);
	for (u32 off = ALIGN_UP(dev->config_len, 8); d.config && off < 0xf8; off += 8) {
		vdrv_set_config(&d, off, 8, ~0ULL);
		ck_assert_uint_eq(vdrv_config(&d, off, 8), 0);
	}
	check_works();
	unplug();
}

/* The steps of 3.1.1; after each of them comes a reset. */
static void steps_up_to(u32 step)
{
	if (step == 0)
		return;
	vdrv_set_status(&d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	if (step == 1)
		return;
	vdrv_set_status(&d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	if (step == 2)
		return;
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	if (step == 3)
		return;
	vdrv_queue_up(&d, dev->queue, 0);
	if (step == 4)
		return;
	vdrv_driver_ok(&d);
	if (step == 5)
		return;
	vdrv_kick(&d, dev->queue);
	if (step == 6)
		return;
	vdrv_reset(&d);
	check_works();
}

START_TEST(it_can_be_reset_at_every_step)
{
	plug(_i, false);
	for (u32 step = 0; step < 8; step++) {
		vdrv_reset(&d);
		steps_up_to(step);
		vdrv_reset(&d);
		for (u32 q = 0; q < dev->nqueues; q++)
			ck_assert(!vdrv_queue_enabled(&d, q));
		vdrv_settle(&d);
		ck_assert(!vdrv_level(&d));
		check_works();
	}
	unplug();
}

START_TEST(it_can_be_reset_with_its_machine)
{
	plug(_i, false);
	for (u32 n = 0; n < 2; n++) {
		d.dev->ops->reset(d.dev);
		ck_assert(!vdrv_level(&d));
		ck_assert_uint_eq(d.rig->r.vm.nlisteners, 0);
		vdrv_discover(&d);
		ck_assert_uint_eq(vdrv_status(&d), 0);
		check_works();
	}
	unplug();
}

START_TEST(a_queue_can_be_reset_and_used_again)
{
	u16 size;

	plug(_i, false);
	check_works();
	for (size = 64; size >= 16; size /= 2) {
		vdrv_queue_reset(&d, dev->queue);
		ck_assert_uint_gt(vdrv_queue_max(&d, dev->queue), 0);
		vdrv_queue_up(&d, dev->queue, size);
		dev->request(&d);
	}
	unplug();
}

START_TEST(its_rings_can_be_taken_over_in_mid_stream)
{
	plug(_i, false);
	check_works();
	for (u32 i = 0; i < 150; i++) { /* at every place of the ring */
		virtio_pause(d.v);
		virtio_resume(d.v);
		dev->request(&d);
	}
	unplug();
}

/* The faults that a ring can have, as seen by a device: vq's own tests have them all. */
static void bad_address(void)
{
	const struct ring_buf bad[2] = { { VDRV_RAM + PAGE_SIZE, 64 }, { ~0ULL - 31, 64 } };

	vdrv_submit(&d, dev->queue, bad, 1, 1);
}

static void bad_ring(void)
{
	const struct vq_cfg *cfg = &d.q[dev->queue].ring.cfg;

	if (cfg->packed) { /* an indirect table of 7 bytes */
		struct vring_packed_desc *desc = vdrv_ptr(&d, cfg->desc, sizeof(*desc));

		desc->addr = MIB;
		desc->len = 7;
		desc->flags = VRING_DESC_F_INDIRECT | 1 << VRING_PACKED_DESC_F_AVAIL;
	} else { /* more entries than the ring has */
		((u16 *)vdrv_ptr(&d, cfg->driver, 4))[1] = cfg->size + 1;
	}
	vdrv_kick(&d, dev->queue);
}

START_TEST(a_hostile_ring_breaks_this_device_alone)
{
	static void (*const faults[])(void) = { bad_address, bad_ring };
	static struct vdrv neighbour;

	plug(_i, false);
	vdrv_init_beside(&neighbour, &d);
	vdrv_plug(&neighbour, virtio_rng_create);
	vdrv_start(&neighbour, ~0ULL);
	conformance_rng.request(&neighbour);
	for (u32 i = 0; i < ARRAY_SIZE(faults); i++) {
		vdrv_start(&d, ~0ULL);
		faults[i]();
		vdrv_wait_config_called(&d);
		ck_assert_uint_eq(vdrv_status(&d), STATUS_NEGOTIATED | VIRTIO_CONFIG_S_DRIVER_OK |
							   VIRTIO_CONFIG_S_NEEDS_RESET);
		expect_said("needs a reset: queue");
		said_forget();
		vdrv_kick(&d, dev->queue); /* in vain */
		vdrv_settle(&d);
		ck_assert(!vdrv_config_called(&d));
		expect_silence();
		conformance_rng.request(&neighbour);
		check_works();
	}
	vdrv_free(&neighbour);
	unplug();
}

START_TEST(a_queue_at_a_bad_address_does_not_start)
{
	static const struct vq_cfg bad[] = {
		{ .size = 16, .desc = VDRV_RAM, .driver = MIB, .device = 2 * MIB },
		{ .size = 16, .desc = MIB, .driver = VDRV_RAM - 2, .device = 2 * MIB },
		{ .size = 16, .desc = MIB, .driver = 2 * MIB, .device = ~0ULL - 3 },
		{ .size = 16, .desc = MIB + 8, .driver = 2 * MIB, .device = 3 * MIB },
	};

	plug(_i, false);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		vdrv_reset(&d);
		ck_assert(vdrv_negotiate(&d, ~0ULL));
		vdrv_queue_write(&d, dev->queue, &bad[i]);
		vdrv_driver_ok(&d);
		vdrv_wait_config_called(&d);
		ck_assert(vdrv_status(&d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		expect_said("bad address");
		said_forget();
		check_works();
	}
	unplug();
}

START_TEST(it_works_on_threads_of_their_own)
{
	plug(_i, true);
	for (u32 n = 0; n < 3; n++) {
		check_works();
		for (u32 i = 0; i < 30; i++)
			dev->request(&d);
		d.dev->ops->reset(d.dev);
		vdrv_discover(&d);
	}
	unplug();
}

START_TEST(its_data_path_can_be_switched_in_mid_stream)
{
	struct datapath *path;
	struct virtio_switch s;
	struct stub_path stub;

	plug(_i, false);
	check_works();
	stub_path_init(&stub);
	for (u32 i = 0; i < 150; i++) {
		path = i % 2 ? NULL : &stub.path;
		ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), 0);
		ck_assert_ptr_eq(path, i % 2 ? &stub.path : NULL);
		dev->request(&d);
		fake_vm_total(&d.rig->r.vm);
		ck_assert_uint_eq(stub.running, i % 2 ? 0 : d.v->nqueues);
	}
	ck_assert_uint_eq(stub.starts, stub.stops);
	unplug();
}

static bool over;
static u32 answered; /* requests */

/* A switch may interrupt the driver for each queue: so many a request, and somebody can count them. */
#define SWITCHES_A_REQUEST 3

static void *switch_paths(void *arg)
{
	struct virtio_dev *v = arg;
	struct stub_path stub[2];
	struct virtio_switch s;

	for (u32 i = 0; !__atomic_load_n(&over, __ATOMIC_RELAXED) || i % 3; i++) {
		struct datapath *path = i % 3 == 2 ? NULL : &stub[i % 3].path;

		while (i / SWITCHES_A_REQUEST > __atomic_load_n(&answered, __ATOMIC_RELAXED) &&
		       !__atomic_load_n(&over, __ATOMIC_RELAXED))
			sched_yield();
		if (path)
			stub_path_init(&stub[i % 3]);
		if (virtio_switch_path(v, &path, &s))
			return "a switch failed";
	}
	return NULL;
}

START_TEST(its_data_path_can_be_switched_at_any_moment)
{
	pthread_t thread;
	void *why;

	plug(_i, true);
	check_works();
	ck_assert_int_eq(pthread_create(&thread, NULL, switch_paths, d.v), 0);
	for (u32 i = 0; i < 100; i++) {
		dev->request(&d);
		fake_vm_total(&d.rig->r.vm);
		__atomic_fetch_add(&answered, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, &why);
	ck_assert_msg(!why, "%s", (const char *)why);
	unplug();
}

static void *take_over(void *arg)
{
	struct virtio_dev *v = arg;

	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		virtio_pause(v);
		virtio_resume(v);
	}
	return NULL;
}

START_TEST(its_rings_can_be_taken_over_at_any_moment)
{
	pthread_t thread;

	plug(_i, true);
	check_works();
	ck_assert_int_eq(pthread_create(&thread, NULL, take_over, d.v), 0);
	for (u32 i = 0; i < 100; i++)
		dev->request(&d);
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	unplug();
}

/* What a hostile guest's CPU does: steps of an initialisation, and anything else, in any order. */
#define HAMMERS	     3
#define HAMMER_STEPS 400

struct hammer {
	pthread_t thread;
	struct vdrv d;
	struct vq_cfg cfg;
	u32 seed;
};

static void hammer_step(struct hammer *h)
{
	struct vdrv *v = &h->d;
	u32 random = rand_r(&h->seed), q = random / 256 % (dev->nqueues + 1), off = random / 4096;

	switch (random % 13) {
	case 0:
		vdrv_set_status(v, 0);
		break;
	case 1:
	case 2:
		vdrv_negotiate(v, ~0ULL);
		break;
	case 3:
	case 4:
		vdrv_queue_write(v, q, &h->cfg);
		break;
	case 5:
	case 6:
		vdrv_driver_ok(v);
		break;
	case 7:
		vdrv_kick(v, q);
		break;
	case 8:
		vdrv_called(v, q);
		break;
	case 9:
		vdrv_config_called(v);
		break;
	case 10:
		vdrv_config(v, off % 16, 4);
		vdrv_generation(v);
		break;
	case 11: /* a register, if there is one */
		bus_write(v->rig->r.env.mmio, (v->common ? v->common : v->base) + off % 0x100,
			  1 << off % 4, random);
		break;
	case 12:
		bus_read(v->rig->r.env.mmio, (v->common ? v->common : v->base) + off % 0x2000,
			 1 << off % 4);
		break;
	}
}

static void *hammer(void *arg)
{
	struct hammer *h = arg;

	for (u32 i = 0; i < HAMMER_STEPS; i++) {
		hammer_step(h);
		fake_vm_total(&h->d.rig->r.vm);
	}
	return NULL;
}

START_TEST(it_survives_registers_hammered_by_several_cpus)
{
	static struct hammer h[HAMMERS];
	struct vq_cfg cfg;

	plug(_i, true);
	check_works();
	cfg = d.q[dev->queue].ring.cfg;
	vdrv_submit(&d, dev->queue, &(struct ring_buf){ MIB, 64 }, 0, 1); /* something is there */
	for (u32 i = 0; i < HAMMERS; i++) {
		h[i].d = d;
		h[i].cfg = cfg;
		h[i].seed = _i * HAMMERS + i;
		for (u32 q = 0; q < VIRTIO_QUEUES_MAX; q++)
			h[i].d.q[q].doorbell = d.q[0].doorbell;
	}
	for (u32 i = 0; i < HAMMERS; i++)
		ck_assert_int_eq(pthread_create(&h[i].thread, NULL, hammer, &h[i]), 0);
	for (u32 i = 0; i < HAMMERS; i++)
		pthread_join(h[i].thread, NULL);
	d.dev->ops->reset(d.dev);
	vdrv_discover(&d);
	fake_vm_total(&d.rig->r.vm);
	check_works();
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
	TEST(features_it_does_not_offer_are_refused);
	TEST(a_driver_that_overlooks_the_refusal_is_told);
	TEST(its_configuration_reads_by_any_width_and_alignment);
	TEST(what_is_beyond_its_configuration_ignores_writes);
	TEST(it_can_be_reset_at_every_step);
	TEST(it_can_be_reset_with_its_machine);
	TEST(a_queue_can_be_reset_and_used_again);
	TEST(its_rings_can_be_taken_over_in_mid_stream);
	TEST(its_data_path_can_be_switched_in_mid_stream);
	TEST(its_data_path_can_be_switched_at_any_moment);
	TEST(a_hostile_ring_breaks_this_device_alone);
	TEST(a_queue_at_a_bad_address_does_not_start);
	TEST(it_works_on_threads_of_their_own);
	TEST(its_rings_can_be_taken_over_at_any_moment);
	TEST(it_survives_registers_hammered_by_several_cpus);
	suite_add_tcase(s, t);
	return s;
}
