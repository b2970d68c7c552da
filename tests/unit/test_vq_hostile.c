// SPDX-License-Identifier: MIT
/*
 * test_vq_hostile.c - virtqueues: what a driver must not do breaks its queue, and only that; and what
 * looks odd but is allowed works.
 *
 * How it works: each case writes the ring by hand. RAM has two regions, with a hole between and
 * nothing behind.
 */
#include "tests/unit/test_vq.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define SIZE	 8

#define NEXT	 VRING_DESC_F_NEXT
#define WRITE	 VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT
#define AVAIL	 (1 << VRING_PACKED_DESC_F_AVAIL) /* in the first lap */

#define TABLE	 (VQ_BUFS + 0x40000) /* a table of our own */

/* Beyond the ring's RAM: a hole, and RAM again. */
#define RAM2	  (VQ_END + MIB)
#define RAM2_SIZE (6 * GIB)

static struct vq_rig v;
static struct vq_slot slot[VQ_SLOTS];

static void setup(u32 variant)
{
	vq_rig_init(&v, variant, SIZE);
	ck_assert_int_eq(mem_add_ram(&v.mem, RAM2, RAM2_SIZE, false), 0);
	vq_rig_restart(&v);
}

static struct vring_desc *split_desc(u64 table, u32 i)
{
	return mem_ptr(&v.mem, table + 16 * i, 16);
}

static struct vring_packed_desc *packed_desc(u64 table, u32 i)
{
	return mem_ptr(&v.mem, table + 16 * i, 16);
}

static void split(u64 table, u32 i, u64 addr, u32 len, u16 flags, u16 next)
{
	*split_desc(table, i) =
		(struct vring_desc){ .addr = addr, .len = len, .flags = flags, .next = next };
}

static void packed(u64 table, u32 i, u64 addr, u32 len, u16 flags, u16 id)
{
	*packed_desc(table, i) =
		(struct vring_packed_desc){ .addr = addr, .len = len, .flags = flags, .id = id };
}

/* Descriptor `i` of the ring; a packed one is available, with its place as its id. */
static void desc(u32 i, u64 addr, u32 len, u16 flags, u16 next)
{
	if (v.ring.cfg.packed)
		packed(v.ring.cfg.desc, i, addr, len, flags | AVAIL, i);
	else
		split(v.ring.cfg.desc, i, addr, len, flags, next);
}

/* Entry `i` of the table at TABLE. */
static void entry(u32 i, u64 addr, u32 len, u16 flags, u16 next)
{
	if (v.ring.cfg.packed)
		packed(TABLE, i, addr, len, flags, 0);
	else
		split(TABLE, i, addr, len, flags, next);
}

static struct vring_avail *avail(void)
{
	return mem_ptr(&v.mem, v.ring.cfg.driver, 6 + 2 * SIZE);
}

/* Split: offer the chain that begins at `head`. */
static void offer(u16 head)
{
	if (v.ring.cfg.packed)
		return;
	avail()->ring[avail()->idx % SIZE] = head;
	avail()->idx++;
}

/* ---- what breaks a queue ---- */

static void loop_of_one(void)
{
	desc(0, VQ_BUFS, 8, NEXT, 0);
	offer(0);
}

static void loop_of_all(void)
{
	for (u32 i = 0; i < SIZE; i++)
		desc(i, VQ_BUFS, 8, NEXT, (i + 1) % SIZE);
	offer(0);
}

static void loop_in_table(void)
{
	entry(0, VQ_BUFS, 8, NEXT, 1);
	entry(1, VQ_BUFS, 8, NEXT, 0);
	desc(0, TABLE, 32, INDIRECT, 0);
	offer(0);
}

static void table_longer_than_queue(void)
{
	for (u32 i = 0; i < SIZE + 1; i++)
		entry(i, VQ_BUFS, 8, i < SIZE ? NEXT : 0, i + 1);
	desc(0, TABLE, 16 * (SIZE + 1), INDIRECT, 0);
	offer(0);
}

/* In the ring and in the table together more than the queue's size. */
static void chain_and_table_longer_than_queue(void)
{
	for (u32 i = 0; i < 4; i++)
		entry(i, VQ_BUFS, 8, i < 3 ? NEXT : 0, i + 1);
	for (u32 i = 0; i < 5; i++)
		desc(i, VQ_BUFS, 8, NEXT, i + 1);
	desc(5, TABLE, 64, INDIRECT, 0);
	offer(0);
}

static void more_than_the_device_allows(void)
{
	for (u32 i = 0; i < VQ_SEGMENTS + 1; i++)
		entry(i, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 16 * (VQ_SEGMENTS + 1), INDIRECT, 0);
}

static void table_in_table(void)
{
	entry(0, TABLE + 16, 16, INDIRECT, 0);
	entry(1, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 32, INDIRECT, 0);
	offer(0);
}

static void table_that_is_the_ring(void)
{
	desc(0, v.ring.cfg.desc, 16 * SIZE, INDIRECT, 0);
	offer(0);
}

static void table_with_next(void)
{
	entry(0, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 16, INDIRECT | NEXT, 1);
	desc(1, VQ_BUFS, 8, 0, 0);
	offer(0);
}

static void table_after_others(void)
{
	entry(0, VQ_BUFS, 8, 0, 0);
	desc(0, VQ_BUFS, 8, NEXT, 1);
	desc(1, TABLE, 16, INDIRECT, 0);
}

static void table_without_feature(void)
{
	entry(0, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 16, INDIRECT, 0);
	offer(0);
}

static void table_empty(void)
{
	desc(0, TABLE, 0, INDIRECT, 0);
	offer(0);
}

static void table_odd(void)
{
	entry(0, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 24, INDIRECT, 0);
	offer(0);
}

static void table_outside(void)
{
	desc(0, VQ_END - 16, 32, INDIRECT, 0);
	offer(0);
}

static void table_wraps(void)
{
	desc(0, ~0ULL - 15, 32, INDIRECT, 0);
	offer(0);
}

static void table_next_out_of_range(void)
{
	entry(0, VQ_BUFS, 8, NEXT, 2);
	desc(0, TABLE, 32, INDIRECT, 0);
	offer(0);
}

static void buffer_outside(void)
{
	desc(0, RAM2 + RAM2_SIZE, 8, 0, 0);
	offer(0);
}

static void buffer_ends_outside(void)
{
	desc(0, RAM2 + RAM2_SIZE - 8, 9, 0, 0);
	offer(0);
}

static void buffer_over_a_hole(void)
{
	desc(0, VQ_END - 8, MIB + 16, WRITE, 0);
	offer(0);
}

static void buffer_wraps(void)
{
	desc(0, 0 - 0x1000ULL, 0x200000, 0, 0);
	offer(0);
}

static void second_buffer_outside(void)
{
	desc(0, VQ_BUFS, 8, NEXT, 1);
	desc(1, VQ_END, 1, 0, 0);
	offer(0);
}

static void table_buffer_outside(void)
{
	entry(0, VQ_END, 1, 0, 0);
	desc(0, TABLE, 16, INDIRECT, 0);
	offer(0);
}

static void longer_than_32_bits(void)
{
	desc(0, RAM2, 0x80000000, NEXT, 1);
	desc(1, RAM2, 0x7fffffff, WRITE | NEXT, 2);
	desc(2, RAM2, 1, WRITE, 0);
	offer(0);
}

static void length_zero(void)
{
	desc(0, VQ_BUFS, 0, 0, 0);
	offer(0);
}

static void second_length_zero(void)
{
	desc(0, VQ_BUFS, 8, NEXT, 1);
	desc(1, VQ_BUFS, 0, WRITE, 0);
	offer(0);
}

static void readable_after_writable(void)
{
	desc(0, VQ_BUFS, 8, NEXT | WRITE, 1);
	desc(1, VQ_BUFS, 8, 0, 0);
	offer(0);
}

static void readable_after_writable_in_table(void)
{
	entry(0, VQ_BUFS, 8, NEXT, 1);
	entry(1, VQ_BUFS, 8, NEXT | WRITE, 2);
	entry(2, VQ_BUFS, 8, 0, 0);
	desc(0, TABLE, 48, INDIRECT, 0);
	offer(0);
}

static void next_out_of_range(void)
{
	desc(0, VQ_BUFS, 8, NEXT, SIZE);
	offer(0);
}

static void head_out_of_range(void)
{
	desc(0, VQ_BUFS, 8, 0, 0);
	offer(SIZE);
}

static void head_far_out_of_range(void)
{
	offer(0xffff);
}

static void index_jumps(void)
{
	desc(0, VQ_BUFS, 8, 0, 0);
	avail()->idx = SIZE + 1;
}

static void index_jumps_back(void)
{
	avail()->idx = 0xffff;
}

static void list_goes_on_unavailable(void)
{
	desc(0, VQ_BUFS, 8, NEXT, 0);
	packed(v.ring.cfg.desc, 1, VQ_BUFS, 8, 0, 0);
}

static const struct hostile {
	u32 variant;
	void (*offer)(void);
	const char *why;
} hostile[] = {
	{ 0, loop_of_one, "a chain loops, or is longer" },
	{ 0, loop_of_all, "a chain loops, or is longer" },
	{ 0, next_out_of_range, "index is out of range" },
	{ 0, head_out_of_range, "index is out of range" },
	{ 0, head_far_out_of_range, "index is out of range" },
	{ 0, index_jumps, "ahead by more than the queue size" },
	{ 0, index_jumps_back, "ahead by more than the queue size" },
	{ VQ_INDIRECT, loop_in_table, "a chain loops, or is longer" },
	{ VQ_INDIRECT, table_longer_than_queue, "a chain loops, or is longer" },
	{ VQ_INDIRECT, chain_and_table_longer_than_queue, "a chain loops, or is longer" },
	{ VQ_INDIRECT, table_in_table, "in an indirect table" },
	{ VQ_INDIRECT, table_that_is_the_ring, "in an indirect table" },
	{ VQ_INDIRECT, table_with_next, "is not the last one" },
	{ VQ_INDIRECT, table_next_out_of_range, "index is out of range" },

	{ VQ_PACKED, loop_of_all, "a list is longer than the free part" },
	{ VQ_PACKED, list_goes_on_unavailable, "where nothing is available" },
	{ VQ_PACKED | VQ_INDIRECT, table_with_next, "in a list of others" },
	{ VQ_PACKED | VQ_INDIRECT, table_after_others, "in a list of others" },
	{ VQ_PACKED | VQ_INDIRECT, more_than_the_device_allows, "than the device allows" },

#define BOTH(variant, offer, why)                 \
	{ (variant), offer, why },                \
	{                                         \
		(variant) | VQ_PACKED, offer, why \
	}
	BOTH(0, table_without_feature, "not negotiated"),
	BOTH(VQ_INDIRECT, table_empty, "no whole number"),
	BOTH(VQ_INDIRECT, table_odd, "no whole number"),
	BOTH(VQ_INDIRECT, table_outside, "table is outside"),
	BOTH(VQ_INDIRECT, table_wraps, "table is outside"),
	BOTH(VQ_INDIRECT, table_buffer_outside, "buffer is outside"),
	BOTH(VQ_INDIRECT, readable_after_writable_in_table, "readable descriptor follows"),
	BOTH(0, buffer_outside, "buffer is outside"),
	BOTH(0, buffer_ends_outside, "buffer is outside"),
	BOTH(0, buffer_over_a_hole, "buffer is outside"),
	BOTH(0, buffer_wraps, "buffer is outside"),
	BOTH(0, second_buffer_outside, "buffer is outside"),
	BOTH(0, longer_than_32_bits, "longer than 32 bits"),
	BOTH(0, length_zero, "no length"),
	BOTH(0, second_length_zero, "no length"),
	BOTH(0, readable_after_writable, "readable descriptor follows"),
};

/* The queue is broken: says so once, and then gives nothing more. */
static void expect_broken(const char *why)
{
	ck_assert_ptr_null(vq_broken(&v.q));
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), -EINVAL);
	ck_assert_ptr_nonnull(vq_broken(&v.q));
	ck_assert_msg(strstr(vq_broken(&v.q), why) != NULL, "\"%s\"", vq_broken(&v.q));
	for (u32 i = 0; i < 3; i++) {
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 0);
		ck_assert(!vq_ready(&v.q));
		ck_assert(!vq_rearm(&v.q));
	}
}

/* A reset of the queue brings it back. */
static void expect_back(void)
{
	vq_rig_restart(&v);
	ck_assert_ptr_null(vq_broken(&v.q));
	for (u32 n = 0; n < 20; n++)
		vq_rig_trip(&v, n);
	vq_rig_free(&v);
}

START_TEST(a_hostile_ring_breaks)
{
	setup(hostile[_i].variant);
	hostile[_i].offer();
	expect_broken(hostile[_i].why);
	vq_publish(&v.q);
	expect_back();
}

START_TEST(chains_got_before_can_still_be_put)
{
	int id[2];

	setup(_i);
	id[0] = vq_rig_add(&v, 1);
	id[1] = vq_rig_add(&v, 2);
	ring_publish(&v.ring);
	vq_rig_get_all(&v, slot + 1, 1, 2);
	if (_i & VQ_PACKED)
		*packed_desc(v.ring.cfg.desc, v.q.pos.avail & 0x7fff) =
			(struct vring_packed_desc){ .flags = AVAIL };
	else
		avail()->idx = 100;
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), -EINVAL);
	vq_put(&v.q, &slot[1].c, 0);
	vq_put(&v.q, &slot[2].c, 0);
	vq_publish(&v.q);
	vq_rig_used(&v, id[0], 0);
	vq_rig_used(&v, id[1], 0);
	vq_rig_free(&v);
}

START_TEST(a_chain_of_more_segments_than_asked_for_breaks)
{
	static const struct ring_buf buf[3] = { { VQ_BUFS, 1 }, { VQ_BUFS, 2 }, { VQ_BUFS, 3 } };

	setup(_i);
	for (u32 i = 0; i < 2; i++)
		ck_assert_int_ge(ring_add(&v.ring, buf, 2, 1, _i & VQ_INDIRECT), 0);
	ring_publish(&v.ring);
	vq_slot_chain(slot)->max = 3;
	ck_assert_int_eq(vq_get(&v.q, &slot->c), 1);
	vq_unget(&v.q, &slot->c);
	slot->iov[2].iov_len = 1234;
	slot->c.max = 2;
	ck_assert_int_eq(vq_get(&v.q, &slot->c), -EINVAL);
	ck_assert_uint_eq(slot->iov[2].iov_len, 1234);
	expect_back();
}

/*
 * The driver makes more available than the ring has room for, though the device has put nothing back:
 * never are more than `size` chains in flight.
 */
START_TEST(places_in_flight_cannot_be_filled_again)
{
	setup(_i);
	for (u32 i = 0; i < SIZE; i++) {
		desc(i, VQ_BUFS, 8, 0, 0);
		offer(i);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot + i)), 1);
	}
	if (_i & VQ_PACKED) /* in the second lap USED means available */
		packed(v.ring.cfg.desc, 0, VQ_BUFS, 8, 1 << VRING_PACKED_DESC_F_USED, 0);
	offer(0);
	expect_broken(_i & VQ_PACKED ? "free part" : "ahead by more");
	for (u32 i = SIZE; i-- > 0;)
		vq_put(&v.q, &slot[i].c, 0);
	expect_back();
}

/* ... nor when it has put them and not published that. */
START_TEST(places_not_seen_used_cannot_be_filled_again)
{
	setup(_i);
	for (u32 i = 0; i < SIZE; i++) {
		desc(i, VQ_BUFS, 8, 0, 0);
		offer(i);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
		vq_put(&v.q, &slot->c, 0);
	}
	if (_i & VQ_PACKED)
		packed(v.ring.cfg.desc, 0, VQ_BUFS, 8, 1 << VRING_PACKED_DESC_F_USED, 0);
	offer(0);
	expect_broken(_i & VQ_PACKED ? "free part" : "ahead by more");
	expect_back();
}

/* ---- what is odd and allowed ---- */

START_TEST(the_longest_chain_is_as_long_as_the_queue)
{
	setup(_i);
	for (u32 i = 0; i < SIZE; i++)
		desc(i, VQ_BUFS, 8, i + 1 < SIZE ? NEXT : 0, i + 1);
	offer(0);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
	ck_assert_uint_eq(slot->c.nout, SIZE);
	vq_put(&v.q, &slot->c, 0);
	vq_rig_free(&v);
}

START_TEST(a_chain_may_have_all_but_one_of_2_to_the_32_bytes)
{
	setup(_i);
	desc(0, RAM2, 0x80000000, NEXT, 1);
	desc(1, RAM2, 0x7fffffff, WRITE, 0);
	offer(0);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
	ck_assert_uint_eq(slot->c.out_len, 0x80000000);
	ck_assert_uint_eq(slot->c.in_len, 0x7fffffff);
	ck_assert_ptr_eq(slot->iov[1].iov_base, mem_ptr(&v.mem, RAM2, 1));
	vq_put(&v.q, &slot->c, 0);
	vq_rig_free(&v);
}

/* 2.7.5.3.2 */
START_TEST(a_split_chain_may_end_in_a_table)
{
	setup(VQ_INDIRECT);
	desc(3, VQ_BUFS, 8, NEXT, 1);
	desc(1, TABLE, 48, INDIRECT, 0);
	entry(0, VQ_BUFS + 8, 9, NEXT, 2);
	entry(2, VQ_BUFS + 16, 10, WRITE, 0);
	offer(3);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
	ck_assert_uint_eq(slot->c.id, 3);
	ck_assert_uint_eq(slot->c.nout, 2);
	ck_assert_uint_eq(slot->c.out_len, 17);
	ck_assert_uint_eq(slot->c.nin, 1);
	ck_assert_uint_eq(slot->c.in_len, 10);
	vq_put(&v.q, &slot->c, 10);
	vq_rig_free(&v);
}

/* 2.7.5.3.2, 2.8.7 */
START_TEST(the_write_flag_of_a_table_is_ignored)
{
	setup(_i | VQ_INDIRECT);
	desc(0, TABLE, 16, INDIRECT | WRITE, 0);
	entry(0, VQ_BUFS, 8, 0, 0);
	offer(0);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
	ck_assert_uint_eq(slot->c.nout, 1);
	vq_put(&v.q, &slot->c, 0);
	vq_rig_free(&v);
}

/* 2.8.7 */
START_TEST(in_a_packed_table_only_the_write_flag_counts)
{
	setup(VQ_PACKED | VQ_INDIRECT);
	desc(0, TABLE, 32, INDIRECT, 0);
	packed(TABLE, 0, VQ_BUFS, 8, 0xffff & ~WRITE, 0xffff);
	packed(TABLE, 1, VQ_BUFS, 8, 0xffff, 0xffff);
	ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
	ck_assert_uint_eq(slot->c.nout, 1);
	ck_assert_uint_eq(slot->c.nin, 1);
	vq_put(&v.q, &slot->c, 0);
	vq_rig_free(&v);
}

/* 2.8.13: a buffer is known by its id, of which no more is said; a list's is in its last descriptor
 * (2.8.6). In order, too, where chains that are put early wait. */
START_TEST(a_packed_buffer_may_have_any_id)
{
	static const u16 ids[] = { SIZE, 0xffff, 0x8000, 0xffff };

	setup(_i | VQ_PACKED);
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		packed(v.ring.cfg.desc, 2 * i, VQ_BUFS, 8, AVAIL | NEXT, 0x1234);
		packed(v.ring.cfg.desc, 2 * i + 1, VQ_BUFS, 8, AVAIL | WRITE, ids[i]);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot + i)), 1);
	}
	for (u32 i = ARRAY_SIZE(ids); i-- > 0;)
		vq_put(&v.q, &slot[i].c, i);
	vq_publish(&v.q);
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		u32 k = _i & VQ_IN_ORDER ? i : ARRAY_SIZE(ids) - 1 - i;

		ck_assert_uint_eq(packed_desc(v.ring.cfg.desc, 2 * i)->id, ids[k]);
		ck_assert_uint_eq(packed_desc(v.ring.cfg.desc, 2 * i)->len, k);
	}
	vq_rig_free(&v);
}

START_TEST(a_table_may_lie_at_any_address)
{
	setup(_i | VQ_INDIRECT);
	for (u32 odd = 0; odd < SIZE; odd++) {
		struct vring_desc d = { .addr = VQ_BUFS + odd, .len = 8 + odd };

		desc(odd, TABLE + odd, 16, INDIRECT, 0);
		ck_assert_int_eq(mem_write(&v.mem, TABLE + odd, &d, sizeof(d)), 0);
		offer(odd);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
		ck_assert_uint_eq(slot->c.out_len, 8 + odd);
		ck_assert_ptr_eq(slot->iov[0].iov_base, mem_ptr(&v.mem, VQ_BUFS + odd, 1));
		vq_put(&v.q, &slot->c, 0);
	}
	vq_rig_free(&v);
}

START_TEST(buffers_may_lie_in_all_regions)
{
	setup(_i);
	for (u32 i = 0; i < SIZE; i++) {
		u64 addr = i % 3 ? RAM2 + i : VQ_BUFS + i;

		desc(i, addr, 8, 0, 0);
		offer(i);
		ck_assert_int_eq(vq_get(&v.q, vq_slot_chain(slot)), 1);
		ck_assert_ptr_eq(slot->iov[0].iov_base, mem_ptr(&v.mem, addr, 8));
		vq_put(&v.q, &slot->c, 0);
	}
	vq_rig_free(&v);
}

/* The third mode is for event_idx only, and a fourth is reserved: rather one call too many. */
START_TEST(odd_wishes_are_taken_for_calls_on)
{
	static const u16 odd[] = { VRING_PACKED_EVENT_FLAG_DESC, 3, 0xfffc };
	struct vring_packed_desc_event *e;

	setup(VQ_PACKED);
	e = mem_ptr(&v.mem, v.ring.cfg.driver, 4);
	for (u32 i = 0; i < ARRAY_SIZE(odd); i++) {
		e->flags = odd[i];
		e->off_wrap = 0xffff;
		ck_assert(vq_rig_trip(&v, i));
	}
	vq_rig_free(&v);
}

Suite *vq_hostile_suite(void)
{
	Suite *s = suite_create("vq_hostile");
	TCase *tc = tcase_create("vq_hostile");

	tcase_add_loop_test(tc, a_hostile_ring_breaks, 0, ARRAY_SIZE(hostile));
	tcase_add_loop_test(tc, chains_got_before_can_still_be_put, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_chain_of_more_segments_than_asked_for_breaks, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, places_in_flight_cannot_be_filled_again, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, places_not_seen_used_cannot_be_filled_again, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, the_longest_chain_is_as_long_as_the_queue, 0, 2);
	tcase_add_loop_test(tc, a_chain_may_have_all_but_one_of_2_to_the_32_bytes, 0, 2);
	tcase_add_test(tc, a_split_chain_may_end_in_a_table);
	tcase_add_loop_test(tc, the_write_flag_of_a_table_is_ignored, 0, 2);
	tcase_add_test(tc, in_a_packed_table_only_the_write_flag_counts);
	tcase_add_loop_test(tc, a_packed_buffer_may_have_any_id, 0, VQ_VARIANTS);
	tcase_add_loop_test(tc, a_table_may_lie_at_any_address, 0, 2);
	tcase_add_loop_test(tc, buffers_may_lie_in_all_regions, 0, 2);
	tcase_add_test(tc, odd_wishes_are_taken_for_calls_on);
	suite_add_tcase(s, tc);
	return s;
}
