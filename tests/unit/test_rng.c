// SPDX-License-Identifier: MIT
/*
 * test_rng.c - the entropy device: what a request and a turn may take. That it works at all is the
 * conformance suite's. Each test runs on every transport, with both ring formats; its number _i says
 * which.
 */
#include "tests/unit/virtio_driver.h"

#define MODES	   (VDRV_BUSES * 2)
#define CHUNK	   (64 * KIB)
#define TURN_BYTES MIB

static struct vdrv d;
static u64 data;

static void plug(int mode)
{
	vdrv_init(&d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	vdrv_plug(&d, virtio_rng_create);
	vdrv_start(&d, ~0ULL);
	vdrv_settle(&d);
	data = vdrv_alloc(&d, 2 * CHUNK);
}

/* Make `n` requests for `len` bytes available, all into the same buffer; nobody is kicked. */
static void ask(u32 n, u32 len)
{
	const struct ring_buf buf = { data, len };

	for (u32 i = 0; i < n; i++)
		ck_assert_int_ge(ring_add(&d.q[0].ring, &buf, 0, 1, false), 0);
	ring_publish(&d.q[0].ring);
}

/* How many come back, each with `len` bytes. */
static u32 answered(u32 len)
{
	u32 n = 0, written;

	for (; ring_get(&d.q[0].ring, &written) >= 0; n++)
		ck_assert_uint_eq(written, len);
	return n;
}

START_TEST(a_request_gets_a_bounded_amount)
{
	const u8 *end;

	plug(_i);
	end = vdrv_ptr(&d, data + CHUNK, CHUNK);
	ask(1, 2 * CHUNK);
	d.v->ops->serve(d.v, &d.v->queue[0]);
	ck_assert_uint_eq(answered(CHUNK), 1);
	for (u32 i = 0; i < CHUNK; i++)
		ck_assert_uint_eq(end[i], 0);
	vdrv_free(&d);
}

START_TEST(a_turn_takes_a_bounded_amount_and_goes_on_by_itself)
{
	plug(_i);
	ask(24, CHUNK);
	d.v->ops->serve(d.v, &d.v->queue[0]);
	ck_assert_uint_eq(answered(CHUNK), TURN_BYTES / CHUNK);
	vdrv_settle(&d);
	ck_assert_uint_eq(answered(CHUNK), 24 - TURN_BYTES / CHUNK);
	vdrv_free(&d);
}

Suite *rng_suite(void)
{
	Suite *s = suite_create("rng");
	TCase *t = tcase_create("rng");

	tcase_add_loop_test(t, a_request_gets_a_bounded_amount, 0, MODES);
	tcase_add_loop_test(t, a_turn_takes_a_bounded_amount_and_goes_on_by_itself, 0, MODES);
	suite_add_tcase(s, t);
	return s;
}
