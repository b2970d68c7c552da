// SPDX-License-Identifier: MIT
/*
 * test_vq_inflight.c - the record of what is in flight: a device that dies at any moment, and one that
 * takes its place. Whatever happens, the driver gets each chain back once, with its own buffer.
 *
 * Tests with a number _i run with split (0) and packed rings (1).
 */
#include "devices/virtio/vq_internal.h"
#include "tests/lib/ring_driver.h"
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#define SIZE   16
#define RAM    (2 * MIB)
#define DATA   MIB
#define ROUNDS 20000

static struct mem m;
static struct ring_driver drv;
static struct vq q;
static u64 record[256]; /* 2 KiB: more than either needs */

static struct chain {
	struct vq_chain c;
	struct iovec iov[4];
} got[SIZE];
static u32 ngot;

/* By the driver's id: the buffer it has given, 0: none. */
static u64 given[SIZE];

static void start(bool packed)
{
	struct vq_cfg cfg = drv.cfg;

	cfg.inflight = record;
	ck_assert_int_eq(vq_start(&q, &m, &cfg, vq_pos_initial(packed), -1), 0);
}

static void begin(bool packed)
{
	const struct vq_cfg cfg = { .size = SIZE, .packed = packed, .indirect = true };

	mem_init(&m);
	ck_assert_int_eq(mem_add_ram(&m, 0, RAM, false), 0);
	ck_assert_int_eq(ring_driver_init(&drv, &m, 0, &cfg), 0);
	ck_assert_uint_le(vq_inflight_size(packed, SIZE), sizeof(record));
	start(packed);
}

static void end(void)
{
	ring_driver_free(&drv);
	mem_destroy(&m);
}

/* The device is dead: all that it had in its own memory is gone. */
static void die(void)
{
	vq_record_close(&q);
	memset(&q, 0xff, sizeof(q));
	q.stats = (struct vq_stats){ 0 };
	q.track = (struct trace_track){ 0 };
	ngot = 0;
}

/* Add a chain of `n` descriptors at an address of its own. */
static void add(u32 n, bool indirect)
{
	static u32 serial;
	struct ring_buf buf[3];
	u64 at = DATA + (u64)(serial++ % 4096) * 64;
	int id;

	for (u32 i = 0; i < n; i++)
		buf[i] = (struct ring_buf){ at + i, 1 };
	id = ring_add(&drv, buf, 0, n, indirect);
	if (id < 0)
		return;
	ck_assert_uint_eq(given[id], 0);
	given[id] = at;
	ring_publish(&drv);
}

/* Take a chain. What comes is a buffer that was given and not used, once. */
static bool get(void)
{
	struct chain *g = &got[ngot];
	u64 at;
	u32 known = 0;

	if (ngot == SIZE)
		return false;
	g->c.iov = g->iov;
	g->c.max = ARRAY_SIZE(g->iov);
	if (vq_get(&q, &g->c) <= 0) {
		ck_assert_ptr_null(vq_broken(&q));
		return false;
	}
	at = (u8 *)g->iov[0].iov_base - m.region[0].host;
	for (u32 i = 0; i < SIZE; i++)
		known += given[i] == at;
	for (u32 i = 0; i < ngot; i++)
		known += got[i].iov[0].iov_base == g->iov[0].iov_base;
	ck_assert_uint_eq(known, 1);
	ngot++;
	return true;
}

/* Use one of the chains, any. The buffer gets a mark. */
static void put(u32 i)
{
	struct chain g = got[i];

	*(u8 *)g.iov[0].iov_base = 1;
	vq_put(&q, &g.c, 1);
	got[i] = got[--ngot];
	got[i].c.iov = got[i].iov;
}

/* What the driver sees used was given, and is marked. */
static u32 collect(void)
{
	u32 n = 0, len;
	int id;

	while ((id = ring_get(&drv, &len)) >= 0) {
		ck_assert_uint_ne(given[id], 0);
		ck_assert_uint_eq(m.region[0].host[given[id]], 1);
		m.region[0].host[given[id]] = 0;
		given[id] = 0;
		n++;
	}
	return n;
}

START_TEST(what_was_in_flight_comes_again_in_its_order)
{
	void *first[3];

	begin(_i);
	for (u32 i = 0; i < 4; i++)
		add(1 + i % 3, false);
	for (u32 i = 0; i < 4; i++)
		ck_assert(get());
	first[0] = got[0].iov[0].iov_base;
	first[1] = got[2].iov[0].iov_base;
	first[2] = got[3].iov[0].iov_base;
	put(1);
	vq_publish(&q);
	ck_assert_uint_eq(collect(), 1);
	add(2, true);
	die();
	start(_i);
	ck_assert(vq_ready(&q));
	for (u32 i = 0; i < 3; i++) {
		ck_assert(get());
		ck_assert_ptr_eq(got[i].iov[0].iov_base, first[i]);
	}
	ck_assert(get()); /* what came later */
	ck_assert(!get());
	while (ngot)
		put(0);
	vq_publish(&q);
	ck_assert_uint_eq(collect(), 4);
	vq_stop(&q);
	end();
}

START_TEST(a_death_while_a_batch_is_published_is_on_one_side_of_it)
{
	for (u32 seen = 0; seen < 2; seen++) {
		begin(_i);
		add(2, false);
		add(1, false);
		ck_assert(get() && get());
		put(0);
		vq_record_publish(&q);
		if (seen)
			q.format->publish(&q);
		die();
		ck_assert_uint_eq(collect(), seen);
		start(_i);
		for (u32 i = 0; i < 2 - seen; i++)
			ck_assert(get());
		ck_assert(!get());
		while (ngot)
			put(0);
		vq_publish(&q);
		ck_assert_uint_eq(collect(), 2 - seen);
		vq_stop(&q);
		vq_inflight_clear(record);
		end();
	}
}

START_TEST(no_chain_is_lost_or_used_twice_whenever_the_device_dies)
{
	u32 seed = 7, used = 0, deaths = 0;

	begin(_i);
	for (u32 n = 0; n < ROUNDS; n++) {
		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
			add(1 + rand_r(&seed) % 3, rand_r(&seed) % 2);
			break;
		case 2:
		case 3:
			get();
			break;
		case 4:
			if (ngot)
				put(rand_r(&seed) % ngot);
			break;
		case 5:
			vq_publish(&q);
			used += collect();
			break;
		case 6:
			if (rand_r(&seed) % 4)
				break;
			if (q.batch && rand_r(&seed) % 2) {
				vq_record_publish(&q);
				if (rand_r(&seed) % 2)
					q.format->publish(&q);
			}
			die();
			deaths++;
			start(_i);
			break;
		case 7: /* an orderly end, and the next one */
			while (ngot)
				put(0);
			vq_stop(&q);
			start(_i);
		}
	}
	while (get())
		;
	while (ngot)
		put(0);
	vq_stop(&q);
	used += collect();
	ck_assert_uint_eq(ring_inflight(&drv), 0);
	ck_assert_uint_gt(used, ROUNDS / 20);
	ck_assert_uint_gt(deaths, ROUNDS / 100);
	end();
}

START_TEST(a_record_that_was_scribbled_on_harms_nobody)
{
	static u8 rings[0x4000];
	u32 seed = 3, refused = 0;

	begin(_i);
	for (u32 n = 0; n < ROUNDS / 4; n++) {
		struct vq_cfg cfg = drv.cfg;
		struct chain *g = &got[0];
		u64 saved[ARRAY_SIZE(record)];

		cfg.inflight = record;
		add(1 + rand_r(&seed) % 3, rand_r(&seed) % 2);
		get();
		die();
		memcpy(saved, record, sizeof(record));
		memcpy(rings, m.region[0].host, 0x4000);
		for (u32 k = 0; k < 3; k++)
			((u8 *)record)[8 + rand_r(&seed) % (vq_inflight_size(_i, SIZE) - 8)] =
				rand_r(&seed);
		g->c = (struct vq_chain){ .iov = g->iov, .max = ARRAY_SIZE(g->iov) };
		if (vq_start(&q, &m, &cfg, vq_pos_initial(_i), -1)) {
			refused++;
		} else {
			while (vq_get(&q, &g->c) > 0)
				;
			die();
		}
		memcpy(record, saved, sizeof(record));
		memcpy(m.region[0].host, rings, 0x4000);
		start(_i);
		if (n % 8)
			continue;
		while (get())
			;
		while (ngot)
			put(0);
		vq_publish(&q);
		collect();
	}
	ck_assert_uint_gt(refused, 0);
	die();
	end();
}

Suite *vq_inflight_suite(void)
{
	Suite *s = suite_create("vq_inflight");
	TCase *t = tcase_create("record");

	tcase_add_loop_test(t, what_was_in_flight_comes_again_in_its_order, 0, 2);
	tcase_add_loop_test(t, a_death_while_a_batch_is_published_is_on_one_side_of_it, 0, 2);
	tcase_add_loop_test(t, no_chain_is_lost_or_used_twice_whenever_the_device_dies, 0, 2);
	tcase_add_loop_test(t, a_record_that_was_scribbled_on_harms_nobody, 0, 2);
	suite_add_tcase(s, t);
	return s;
}
