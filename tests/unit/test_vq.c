// SPDX-License-Identifier: MIT
/*
 * test_vq.c - virtqueues: a driver (tests/lib/ring_driver.h) and a device on the two sides of a ring,
 * in every combination of ring format and features.
 */
#include "tests/unit/test_vq.h"

#include <errno.h>
#include <string.h>

static struct vq_rig v;

static void teardown(void)
{
	vq_rig_free(&v);
}

static struct vq_slot slot[VQ_SLOTS];

/* ---- chains ---- */

START_TEST(a_chain_makes_the_round_trip)
{
	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 500; n++) {
		ck_assert(!vq_ready(&v.q));
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 0);
		vq_rig_trip(&v, n);
	}
	ck_assert_uint_eq(v.q.stats.chains, 500);
	teardown();
}

START_TEST(nothing_is_seen_before_it_is_published)
{
	int id[2];

	vq_rig_init(&v, _i, 16);
	for (u32 n = 0; n < 100; n += 2) {
		id[0] = vq_rig_add(&v, n);
		id[1] = vq_rig_add(&v, n + 1);
		ck_assert(!vq_ready(&v.q));
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 0);
		ring_publish(&v.ring);
		ck_assert(vq_ready(&v.q));
		vq_rig_get_all(&v, slot, n, 2);
		vq_put(&v.q, &slot[0].c, 0);
		vq_put(&v.q, &slot[1].c, slot[1].c.in_len);
		vq_rig_nothing_used(&v);
		vq_publish(&v.q);
		vq_rig_used(&v, id[0], 0);
		vq_rig_used(&v, id[1], slot[1].c.in_len);
	}
	teardown();
}

START_TEST(full_rings_of_chains_of_all_lengths_wrap_around)
{
	int id[VQ_SLOTS];
	u32 n = 0;

	vq_rig_init(&v, _i, 16);
	for (u32 round = 0; round < 200; round++) {
		u32 count = vq_rig_add_all(&v, n, id);

		vq_rig_get_all(&v, slot, n, count);
		for (u32 i = 0; i < count; i++)
			vq_put(&v.q, &slot[i].c, slot[i].c.in_len);
		vq_publish(&v.q);
		for (u32 i = 0; i < count; i++)
			vq_rig_used(&v, id[i], slot[i].c.in_len);
		vq_rig_nothing_used(&v);
		n += count;
	}
	ck_assert_uint_eq(v.q.stats.chains, n);
	teardown();
}

/* As vq_rig_trip(&v, ), but of `nin` equal segments, and one look instead of many checks. */
static bool quick_trip(u32 nin, u32 written)
{
	static const struct ring_buf buf[3] = { { VQ_BUFS, 50 }, { VQ_BUFS, 50 }, { VQ_BUFS, 50 } };
	int id = ring_add(&v.ring, buf, 0, nin, v.ring.cfg.indirect);
	u32 len;

	ring_publish(&v.ring);
	if (vq_get(&v.q, vq_slot_chain(slot)) != 1 || slot->c.nin != nin)
		return false;
	vq_put(&v.q, &slot->c, written);
	vq_publish(&v.q);
	return ring_get(&v.ring, &len) == id && len == written && ring_get(&v.ring, &len) == -1;
}

START_TEST(sizes_from_one_to_the_largest_work)
{
	static const u16 sizes[] = { 1, 2, 256, VQ_SIZE_MAX, 3, 13, 1000, VQ_SIZE_MAX - 1 };
	u32 nsizes = _i & VQ_PACKED ? ARRAY_SIZE(sizes) : 4; /* 2.7: a power of two */

	for (u32 i = 0; i < nsizes; i++) {
		/* Twice round a small ring, once round a large one, and 2^16 entries of one. */
		u32 rounds = sizes[i] == 256 ? 33000 : sizes[i] > 1000 ? 9000 : 2 * sizes[i] + 1;

		vq_rig_init(&v, _i, sizes[i]);
		for (u32 k = 0; k < rounds; k++) {
			if (!quick_trip(1, k % 50) || (sizes[i] > 2 && !quick_trip(3, k % 50)))
				ck_abort_msg("size %u: chain %u", sizes[i], k);
		}
		teardown();
	}
}

START_TEST(chains_may_be_put_in_any_order)
{
	int id[VQ_SLOTS];
	u32 n = 0;

	vq_rig_init(&v, _i, 16);
	for (u32 round = 0; round < 100; round++) {
		u32 count = vq_rig_add_all(&v, n, id);

		vq_rig_get_all(&v, slot, n, count);
		for (u32 i = count; i-- > 0;)
			vq_put(&v.q, &slot[i].c, slot[i].c.in_len);
		vq_publish(&v.q);
		for (u32 i = 0; i < count; i++) {
			u32 k = _i & VQ_IN_ORDER ? i : count - 1 - i;

			vq_rig_used(&v, id[k], slot[k].c.in_len);
		}
		vq_rig_nothing_used(&v);
		n += count;
	}
	teardown();
}

START_TEST(in_order_an_early_put_waits_for_those_before_it)
{
	int id[3];

	vq_rig_init(&v, _i | VQ_IN_ORDER, 16);
	for (u32 n = 0; n < 120; n += 3) {
		for (u32 i = 0; i < 3; i++)
			id[i] = vq_rig_add(&v, n + i);
		ring_publish(&v.ring);
		vq_rig_get_all(&v, slot, n, 3);
		vq_put(&v.q, &slot[2].c, 0);
		ck_assert(!vq_publish(&v.q));
		vq_rig_nothing_used(&v);
		vq_put(&v.q, &slot[0].c, 0);
		vq_publish(&v.q);
		vq_rig_used(&v, id[0], 0);
		vq_rig_nothing_used(&v);
		vq_put(&v.q, &slot[1].c, 0);
		vq_publish(&v.q);
		vq_rig_used(&v, id[1], 0);
		vq_rig_used(&v, id[2], 0);
	}
	teardown();
}

START_TEST(what_is_given_back_comes_again)
{
	int id[VQ_SLOTS];
	u32 n = 0;

	vq_rig_init(&v, _i, 16);
	for (u32 round = 0; round < 100; round++) {
		u32 count = vq_rig_add_all(&v, n, id), kept = round % count;

		vq_rig_get_all(&v, slot, n, count);
		/* Some were put already, in between and out of order. */
		for (u32 i = kept; i-- > 0;)
			vq_put(&v.q, &slot[i].c, 0);
		for (u32 i = count; i-- > kept;)
			vq_unget(&v.q, &slot[i].c);
		vq_publish(&v.q);
		for (u32 i = kept; i < count; i++) {
			vq_rig_get(&v, &slot[i], n + i);
			vq_put(&v.q, &slot[i].c, 0);
		}
		vq_publish(&v.q);
		for (u32 i = 0; i < kept; i++)
			vq_rig_used(&v, id[_i & VQ_IN_ORDER ? i : kept - 1 - i], 0);
		for (u32 i = kept; i < count; i++)
			vq_rig_used(&v, id[i], 0);
		vq_rig_nothing_used(&v);
		n += count;
	}
	teardown();
}

START_TEST(direct_and_indirect_chains_mix)
{
	struct ring_buf buf[2] = { { .gpa = VQ_BUFS, .len = 10 },
				   { .gpa = VQ_BUFS + 100, .len = 20 } };

	vq_rig_init(&v, _i | VQ_INDIRECT, 16);
	for (u32 n = 0; n < 100; n++) {
		int id = ring_add(&v.ring, buf, 1, 1, n % 3 == 0);

		ring_publish(&v.ring);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
		ck_assert_uint_eq(slot->c.nout, 1);
		ck_assert_uint_eq(slot->c.nin, 1);
		ck_assert_uint_eq(slot->c.in_len, 20);
		vq_put(&v.q, &slot->c, n % 21);
		vq_publish(&v.q);
		vq_rig_used(&v, id, n % 21);
	}
	teardown();
}

/* ---- takeover ---- */

/* Somebody else goes on, who knows the position only. */
static void take_over(void)
{
	struct vq_pos pos = vq_stop(&v.q);

	memset(&v.q, 0xff, offsetof(struct vq, stats)); /* what counts goes on */
	ck_assert_int_eq(vq_start(&v.q, &v.mem, &v.ring.cfg, pos, v.callfd), 0);
}

START_TEST(a_ring_can_be_taken_over_at_every_step)
{
	int id[VQ_SLOTS];

	vq_rig_init(&v, _i, 16);
	/* Other numbers of chains before and after, so that the wrap comes at each of the steps. */
	for (u32 n = 0, round = 0; round < 300; round++) {
		u32 count, first;

		take_over(); /* with nothing there */
		count = vq_rig_add_all(&v, n, id);
		first = round % count;
		take_over(); /* with chains available */
		for (u32 i = 0; i < first; i++)
			vq_rig_get(&v, &slot[i], n + i);
		for (u32 i = first; i-- > 0;)
			vq_put(&v.q, &slot[i].c, slot[i].c.in_len);
		if (round % 2)
			vq_publish(&v.q);
		take_over(); /* with chains put, published or not */
		vq_rig_get_all(&v, slot, n + first, count - first);
		for (u32 i = count - first; i-- > 0;)
			vq_unget(&v.q, &slot[i].c);
		take_over(); /* after giving back */
		for (u32 i = first; i < count; i++) {
			vq_rig_get(&v, &slot[0], n + i);
			vq_put(&v.q, &slot[0].c, 0);
			take_over(); /* after each */
		}
		for (u32 i = 0; i < count; i++) {
			u32 len;
			int k = i < first && !(_i & VQ_IN_ORDER) ? first - 1 - i : i;

			ck_assert_int_eq(ring_get(&v.ring, &len), id[k]);
		}
		vq_rig_nothing_used(&v);
		n += count;
	}
	teardown();
}

START_TEST(stopping_publishes_and_calls)
{
	vq_rig_init(&v, _i, 16);
	ring_calls(&v.ring, RING_CALLS_ON, 0);
	vq_rig_add(&v, 1);
	ring_publish(&v.ring);
	vq_rig_get(&v, slot, 1);
	vq_put(&v.q, &slot->c, 0);
	ck_assert_uint_eq(vq_rig_calls(&v), 0);
	take_over();
	ck_assert_uint_eq(vq_rig_calls(&v), 1);
	teardown();
}

/* ---- what can't be started ---- */

static int start_with(const struct vq_cfg *cfg, struct vq_pos pos)
{
	struct vq q = { 0 };
	int err = vq_start(&q, &v.mem, cfg, pos, -1);

	if (!err)
		vq_stop(&q);
	return err;
}

START_TEST(only_sizes_and_places_of_the_specification_start)
{
	bool packed = _i & VQ_PACKED;
	struct vq_pos pos = vq_pos_initial(packed);
	struct vq_cfg cfg;

	vq_rig_init(&v, _i, 16);
#define REFUSED(err, ...)                                     \
	do {                                                  \
		cfg = v.ring.cfg;                             \
		__VA_ARGS__;                                  \
		ck_assert_int_eq(start_with(&cfg, pos), err); \
	} while (0)
	REFUSED(-EINVAL, cfg.size = 0);
	REFUSED(-EINVAL, cfg.size = VQ_SIZE_MAX + 1);
	if (!packed)
		REFUSED(-EINVAL, cfg.size = 12);
	REFUSED(-EFAULT, cfg.desc += 8);
	REFUSED(-EFAULT, cfg.driver += 1);
	REFUSED(-EFAULT, cfg.device += 2);
	REFUSED(-EFAULT, cfg.desc = VQ_END - 16 * 16 + 16);
	REFUSED(-EFAULT, cfg.driver = VQ_END);
	REFUSED(-EFAULT, cfg.driver = VQ_END - (packed ? 0 : 36));
	REFUSED(-EFAULT, cfg.device = VQ_END - (packed ? 0 : 132));
	REFUSED(-EFAULT, cfg.desc = ~0ULL - 15);
	REFUSED(0, cfg.desc = VQ_END - 16 * 16);
	REFUSED(0, cfg.device = VQ_END - (packed ? 4 : 136));
	pos.avail++;
	REFUSED(-EINVAL, (void)cfg); /* in flight with whom? */
	pos.used++;
	REFUSED(0, (void)cfg);
	pos.avail = pos.used = 0x8010;
	REFUSED(packed ? -EINVAL : 0, (void)cfg);
#undef REFUSED
	teardown();
}

Suite *vq_suite(void)
{
	Suite *s = suite_create("vq");
	TCase *tc = tcase_create("vq");

	tcase_add_loop_test(tc, a_chain_makes_the_round_trip, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, nothing_is_seen_before_it_is_published, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, full_rings_of_chains_of_all_lengths_wrap_around, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, sizes_from_one_to_the_largest_work, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, chains_may_be_put_in_any_order, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, in_order_an_early_put_waits_for_those_before_it, 0, VQ_IN_ORDER);
	tcase_add_loop_test(tc, what_is_given_back_comes_again, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, direct_and_indirect_chains_mix, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_ring_can_be_taken_over_at_every_step, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, stopping_publishes_and_calls, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, only_sizes_and_places_of_the_specification_start, 0, VQ_VARIANTS);
	suite_add_tcase(s, tc);
	return s;
}
