// SPDX-License-Identifier: MIT
/*
 * test_bus.c - who answers at which address, and doorbells as the bus itself rings them.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A range that keeps what is written and counts. */
struct dev {
	struct bus_range range;
	u64 off, value;
	u32 len, reads, writes;
	u64 answer;
	u8 written[64]; /* by offset, for single bytes */
};

static struct bus *mmio, *pio;
static struct dev a, b, c;

static u64 dev_read(void *owner, u64 off, u32 len)
{
	struct dev *d = owner;

	d->reads++;
	d->off = off;
	d->len = len;
	return d->answer + off;
}

static void dev_write(void *owner, u64 off, u32 len, u64 value)
{
	struct dev *d = owner;

	d->writes++;
	d->off = off;
	d->len = len;
	d->value = value;
	if (len == 1 && off < sizeof(d->written))
		d->written[off] = value;
}

static const struct bus_ops dev_ops = {
	.read = dev_read,
	.write = dev_write,
};

static int put(struct bus *bus, struct dev *d, u64 base, u64 len)
{
	d->range.name = "dev";
	d->range.ops = &dev_ops;
	d->range.owner = d;
	d->range.base = base;
	d->range.len = len;
	return bus_add(bus, &d->range);
}

static void setup(void)
{
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c, 0, sizeof(c));
	ck_assert_int_eq(bus_create(&mmio, BUS_MMIO), 0);
	ck_assert_int_eq(bus_create(&pio, BUS_PIO), 0);
}

static void teardown(void)
{
	struct dev *devs[] = { &a, &b, &c };

	for (u32 i = 0; i < ARRAY_SIZE(devs); i++) {
		bus_del(&devs[i]->range);
		bus_range_free(&devs[i]->range);
	}
	bus_destroy(mmio);
	bus_destroy(pio);
	mmio = pio = NULL; /* else they would hide a leak */
	memset(&a, 0, sizeof(a));
	memset(&b, 0, sizeof(b));
	memset(&c, 0, sizeof(c));
}

START_TEST(what_nobody_claims_reads_as_ones)
{
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 1), 0xff);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 2), 0xffff);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 4), 0xffffffff);
	ck_assert_uint_eq(bus_read(mmio, ~0ULL, 8), ~0ULL);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 3), 0xffffff);
	bus_write(mmio, 0x1000, 4, 5); /* and a write is harmless */
}

START_TEST(an_access_arrives_with_its_offset_and_size)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x100), 0);
	a.answer = 0x1122334455667700;
	ck_assert_uint_eq(bus_read(mmio, 0x1008, 8), 0x1122334455667708);
	ck_assert_uint_eq(a.len, 8);
	bus_write(mmio, 0x10fe, 2, 0xbeef);
	ck_assert_uint_eq(a.off, 0xfe);
	ck_assert_uint_eq(a.len, 2);
	ck_assert_uint_eq(a.value, 0xbeef);
}

START_TEST(bytes_above_the_access_are_cut_off)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x100), 0);
	a.answer = 0x1122334455667788;
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 1), 0x88);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 2), 0x7788);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 4), 0x55667788);
	bus_write(mmio, 0x1000, 2, 0x12345678);
	ck_assert_uint_eq(a.value, 0x5678);
}

START_TEST(an_access_across_an_end_is_nobodys)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	ck_assert_uint_eq(bus_read(mmio, 0x100e, 4), 0xffffffff);
	ck_assert_uint_eq(bus_read(mmio, 0xffe, 4), 0xffffffff);
	bus_write(mmio, 0x100f, 2, 0);
	bus_write(mmio, 0xfff, 2, 0);
	ck_assert_uint_eq(a.reads + a.writes, 0);
}

START_TEST(an_access_across_two_ranges_is_nobodys)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	ck_assert_int_eq(put(mmio, &b, 0x1010, 0x10), 0);
	ck_assert_uint_eq(bus_read(mmio, 0x100e, 4), 0xffffffff);
	bus_write(mmio, 0x100c, 8, 0);
	ck_assert_uint_eq(a.reads + a.writes + b.reads + b.writes, 0);
	bus_read(mmio, 0x100f, 1);
	bus_read(mmio, 0x1010, 1);
	ck_assert_uint_eq(a.reads, 1);
	ck_assert_uint_eq(b.reads, 1);
}

START_TEST(overlapping_ranges_are_refused_and_nothing_changes)
{
	static const struct {
		u64 base, len;
	} bad[] = { { 0x1000, 0x100 }, { 0x10ff, 1 },	  { 0xfff, 2 },
		    { 0x1010, 1 },     { 0x800, 0x1000 }, { 0, ~0ULL } };

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x100), 0);
	ck_assert_int_eq(put(mmio, &c, 0x3000, 0x100), 0);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_int_eq(put(mmio, &b, bad[i].base, bad[i].len), -EEXIST);
		ck_assert_ptr_null(b.range.bus);
	}
	ck_assert_uint_eq(bus_read(mmio, 0xfff, 1), 0xff);
	bus_read(mmio, 0x10ff, 1);
	bus_read(mmio, 0x3000, 1);
	ck_assert_uint_eq(a.reads, 1);
	ck_assert_uint_eq(c.reads, 1);
	ck_assert_uint_eq(b.reads, 0);
}

START_TEST(ranges_may_touch)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x100), 0);
	ck_assert_int_eq(put(mmio, &b, 0x1100, 0x100), 0);
	ck_assert_int_eq(put(mmio, &c, 0xf00, 0x100), 0);
}

START_TEST(empty_and_wrapping_ranges_are_refused)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0), -EINVAL);
	ck_assert_int_eq(put(mmio, &a, ~0ULL, 2), -EINVAL);
	ck_assert_int_eq(put(mmio, &a, 0x1000, ~0ULL), -EINVAL);
	ck_assert_int_eq(put(mmio, &a, ~0ULL - 0xf, 0x10), 0); /* the last bytes there are */
	bus_read(mmio, ~0ULL, 1);
	ck_assert_uint_eq(a.reads, 1);
	ck_assert_uint_eq(a.off, 0xf);
}

START_TEST(there_are_64_ki_ports)
{
	ck_assert_int_eq(put(pio, &a, 0x10000, 1), -EINVAL);
	ck_assert_int_eq(put(pio, &a, 0xffff, 2), -EINVAL);
	ck_assert_int_eq(put(pio, &a, 0xffff, 1), 0);
	ck_assert_int_eq(put(pio, &b, 0, 0xffff), 0);
}

START_TEST(a_range_is_on_one_bus_only)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	ck_assert_int_eq(bus_add(mmio, &a.range), -EEXIST);
	ck_assert_int_eq(bus_add(pio, &a.range), -EEXIST);
}

START_TEST(a_deleted_range_answers_no_more)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	bus_del(&a.range);
	ck_assert_ptr_null(a.range.bus);
	ck_assert_uint_eq(bus_read(mmio, 0x1000, 1), 0xff);
	bus_del(&a.range); /* twice is harmless */
	ck_assert_int_eq(put(mmio, &b, 0x1008, 0x10), 0);
	ck_assert_int_eq(put(mmio, &a, 0x1000, 8), 0);
}

START_TEST(an_odd_size_is_done_byte_by_byte)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	a.answer = 0x40;
	ck_assert_uint_eq(bus_read(mmio, 0x1001, 3), 0x434241);
	ck_assert_uint_eq(bus_read(mmio, 0x1001, 5), 0x4544434241);
	ck_assert_uint_eq(bus_read(mmio, 0x1001, 7), 0x47464544434241);
	bus_write(mmio, 0x1002, 7, 0xff77665544332211);
	ck_assert_uint_eq(a.writes, 7);
	ck_assert_uint_eq(a.len, 1);
	ck_assert_mem_eq(a.written + 2, "\x11\x22\x33\x44\x55\x66\x77\0", 8);
}

START_TEST(an_odd_size_across_an_end_reads_ones_outside)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	a.answer = 0;
	ck_assert_uint_eq(bus_read(mmio, 0x100e, 3), 0xff0f0e);
	bus_write(mmio, 0x100e, 3, 0x030201);
	ck_assert_uint_eq(a.writes, 2);
	ck_assert_mem_eq(a.written + 14, "\x01\x02", 2);
}

START_TEST(many_ranges_in_any_order_are_all_found)
{
	enum { N = 200 };
	static struct dev many[N];

	for (u32 i = 0; i < N; i++) { /* 83 and 200 have no common divisor */
		u32 k = i * 83 % N;

		ck_assert_int_eq(put(mmio, &many[k], 0x1000 + k * 0x20, 0x10), 0);
	}
	for (u32 i = 0; i < N; i += 3)
		bus_del(&many[i].range);
	for (u64 addr = 0x1000; addr < 0x1000 + N * 0x20; addr++)
		bus_write(mmio, addr, 1, 0);
	for (u32 i = 0; i < N; i++) {
		ck_assert_uint_eq(many[i].writes, i % 3 ? 0x10 : 0);
		bus_del(&many[i].range);
	}
}

static void move_write(void *owner, u64 off, u32 len, u64 value)
{
	struct dev *d = owner;

	dev_write(owner, off, len, value);
	bus_del(&d->range);
	d->range.base = value;
	ck_assert_int_eq(bus_add(mmio, &d->range), 0);
}

static const struct bus_ops move_ops = {
	.read = dev_read,
	.write = move_write,
};

START_TEST(a_register_write_may_move_its_own_range)
{
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	a.range.ops = &move_ops;
	bus_write(mmio, 0x1000, 4, 0x2000);
	bus_write(mmio, 0x1000, 4, 0x3000); /* nobody there any more */
	ck_assert_uint_eq(a.writes, 1);
	bus_write(mmio, 0x2000, 4, 0x1000);
	ck_assert_uint_eq(a.writes, 2);
}

/* What a doorbell's eventfd counted since the last time. */
static u64 rings(int fd)
{
	eventfd_t n = 0;

	eventfd_read(fd, &n);
	return n;
}

static int bell(struct dev *d, u64 off, u32 len, bool match, u64 value)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct bus_doorbell db = {
		.off = off, .len = len, .match = match, .value = value, .fd = fd
	};

	ck_assert_int_eq(bus_doorbell_add(&d->range, &db), 0);
	return fd;
}

START_TEST(a_doorbell_rings_instead_of_the_register)
{
	int fd;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	fd = bell(&a, 4, 4, false, 0);
	bus_write(mmio, 0x1004, 4, 123);
	bus_write(mmio, 0x1004, 4, 124);
	ck_assert_uint_eq(rings(fd), 2);
	ck_assert_uint_eq(a.writes, 0);
	ck_assert_uint_eq(bus_read(mmio, 0x1004, 4), 4); /* a read is no ring */
	ck_assert_uint_eq(rings(fd), 0);
}

START_TEST(a_doorbell_wants_its_offset_and_size)
{
	int fd;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	fd = bell(&a, 4, 4, false, 0);
	bus_write(mmio, 0x1004, 2, 0);
	bus_write(mmio, 0x1004, 8, 0);
	bus_write(mmio, 0x1002, 4, 0);
	bus_write(mmio, 0x1008, 4, 0);
	ck_assert_uint_eq(rings(fd), 0);
	ck_assert_uint_eq(a.writes, 4);
}

START_TEST(a_doorbell_of_length_0_takes_any_size)
{
	int fd;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	fd = bell(&a, 4, 0, false, 0);
	for (u32 len = 1; len <= 8; len *= 2)
		bus_write(mmio, 0x1004, len, 0);
	ck_assert_uint_eq(rings(fd), 4);
	ck_assert_uint_eq(a.writes, 0);
}

START_TEST(a_matching_doorbell_wants_its_value)
{
	int two, three;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	two = bell(&a, 0, 2, true, 2);
	three = bell(&a, 0, 2, true, 3);
	bus_write(mmio, 0x1000, 2, 3);
	ck_assert_uint_eq(rings(two), 0);
	ck_assert_uint_eq(rings(three), 1);
	bus_write(mmio, 0x1000, 2, 0x10002); /* the bytes above do not count */
	ck_assert_uint_eq(rings(two), 1);
	bus_write(mmio, 0x1000, 2, 4);
	ck_assert_uint_eq(a.writes, 1);
	ck_assert_uint_eq(a.value, 4);
}

START_TEST(a_doorbell_moves_with_its_range)
{
	int fd;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	fd = bell(&a, 4, 4, false, 0);
	bus_del(&a.range);
	bus_write(mmio, 0x1004, 4, 0);
	ck_assert_uint_eq(rings(fd), 0);
	a.range.base = 0x5000;
	ck_assert_int_eq(bus_add(mmio, &a.range), 0);
	bus_write(mmio, 0x1004, 4, 0);
	ck_assert_uint_eq(rings(fd), 0);
	bus_write(mmio, 0x5004, 4, 0);
	ck_assert_uint_eq(rings(fd), 1);
}

START_TEST(a_doorbell_can_be_hung_before_the_range_is_on_the_bus)
{
	int fd;

	a.range.len = 0x10;
	fd = bell(&a, 4, 4, false, 0);
	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	bus_write(mmio, 0x1004, 4, 0);
	ck_assert_uint_eq(rings(fd), 1);
}

START_TEST(a_doorbell_outside_its_range_or_of_an_odd_size_is_refused)
{
	static const struct bus_doorbell bad[] = {
		{ .off = 0x10, .len = 1 },  { .off = 0xd, .len = 4 },	 { .off = 0x10, .len = 0 },
		{ .off = ~0ULL, .len = 1 }, { .off = 0, .len = 3 },	 { .off = 0, .len = 16 },
		{ .off = 0, .len = 5 },	    { .off = 0, .match = true },
	};

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_int_eq(bus_doorbell_add(&a.range, &bad[i]), -EINVAL);
	bell(&a, 0xf, 0, false, 0);
	bell(&a, 0xc, 4, false, 0);
}

START_TEST(a_deleted_doorbell_rings_no_more)
{
	int one, two;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	one = bell(&a, 0, 2, true, 1);
	two = bell(&a, 0, 2, true, 2);
	bus_doorbell_del(&a.range, one);
	bus_write(mmio, 0x1000, 2, 1);
	bus_write(mmio, 0x1000, 2, 2);
	ck_assert_uint_eq(rings(one), 0);
	ck_assert_uint_eq(rings(two), 1);
	ck_assert_uint_eq(a.writes, 1);
	bus_doorbell_del(&a.range, 12345); /* none of that fd: nothing happens */
}

START_TEST(there_is_a_limit_of_doorbells)
{
	struct bus_doorbell db = { .len = 2, .match = true, .fd = 1 };

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	for (u32 i = 0; i < BUS_DOORBELLS_MAX; i++) {
		db.value = i;
		ck_assert_int_eq(bus_doorbell_add(&a.range, &db), 0);
	}
	ck_assert_int_eq(bus_doorbell_add(&a.range, &db), -ENOSPC);
	bus_doorbell_del(&a.range, 1); /* all are of one fd */
	ck_assert_int_eq(bus_doorbell_add(&a.range, &db), 0);
}

/* An eventfd stands in for a VM that takes none. */
START_TEST(doorbells_that_kvm_refuses_ring_all_the_same_and_are_told_of_once)
{
	int vm = eventfd(0, EFD_CLOEXEC), fd;

	ck_assert_int_eq(put(mmio, &a, 0x1000, 0x10), 0);
	fd = bell(&a, 0, 2, false, 0);
	bell(&a, 4, 2, false, 0);
	expect_silence();
	bus_attach_vm(mmio, vm);
	expect_said("dev: no ioeventfd");
	for (u32 i = 0; i < 3; i++) { /* as a guest does that moves a device */
		bus_del(&a.range);
		ck_assert_int_eq(bus_add(mmio, &a.range), 0);
		bus_write(mmio, 0x1000, 2, 0);
		ck_assert_uint_eq(rings(fd), 1);
	}
	bell(&a, 8, 2, false, 0);
	bus_attach_vm(mmio, -1);
	expect_silence();
	close(vm);
}

static atomic_bool stop;
static atomic_uint hits;

static u64 count_read(void *owner, u64 off, u32 len)
{
	(void)owner;
	(void)len;
	atomic_fetch_add(&hits, 1);
	return off;
}

static const struct bus_ops count_ops = {
	.read = count_read,
	.write = dev_write,
};

static void *reader(void *arg)
{
	u64 *addr = arg;

	while (!atomic_load(&stop)) {
		u64 value = bus_read(mmio, addr[0], 4);

		ck_assert(value == 0 || value == 0xffffffff);
		value = bus_read(mmio, addr[1], 4);
		ck_assert(value == 0 || value == 0xffffffff);
		bus_write(mmio, 0x9000, 4, 0); /* the doorbell */
	}
	return NULL;
}

START_TEST(ranges_move_while_other_threads_read)
{
	static u64 places[2] = { 0x1000, 0x2000 };
	pthread_t thread[3];
	int fd;

	atomic_store(&stop, false);
	atomic_store(&hits, 0);
	ck_assert_int_eq(put(mmio, &a, places[0], 0x10), 0);
	a.range.ops = &count_ops;
	ck_assert_int_eq(put(mmio, &b, 0x9000, 0x10), 0);
	fd = bell(&b, 0, 4, false, 0);
	for (u32 i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, reader, places);
	for (u32 i = 1; i < 500 || !atomic_load(&hits); i++) {
		bus_del(&a.range);
		a.range.base = places[i % 2];
		ck_assert_int_eq(bus_add(mmio, &a.range), 0);
	}
	atomic_store(&stop, true);
	for (u32 i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_gt(rings(fd), 0);
	ck_assert_uint_eq(b.writes, 0);
}

Suite *bus_suite(void)
{
	Suite *s = suite_create("bus");
	TCase *t = tcase_create("bus");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_nobody_claims_reads_as_ones);
	tcase_add_test(t, an_access_arrives_with_its_offset_and_size);
	tcase_add_test(t, bytes_above_the_access_are_cut_off);
	tcase_add_test(t, an_access_across_an_end_is_nobodys);
	tcase_add_test(t, an_access_across_two_ranges_is_nobodys);
	tcase_add_test(t, overlapping_ranges_are_refused_and_nothing_changes);
	tcase_add_test(t, ranges_may_touch);
	tcase_add_test(t, empty_and_wrapping_ranges_are_refused);
	tcase_add_test(t, there_are_64_ki_ports);
	tcase_add_test(t, a_range_is_on_one_bus_only);
	tcase_add_test(t, a_deleted_range_answers_no_more);
	tcase_add_test(t, an_odd_size_is_done_byte_by_byte);
	tcase_add_test(t, an_odd_size_across_an_end_reads_ones_outside);
	tcase_add_test(t, many_ranges_in_any_order_are_all_found);
	tcase_add_test(t, a_register_write_may_move_its_own_range);
	tcase_add_test(t, ranges_move_while_other_threads_read);
	suite_add_tcase(s, t);

	t = tcase_create("doorbells");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_doorbell_rings_instead_of_the_register);
	tcase_add_test(t, a_doorbell_wants_its_offset_and_size);
	tcase_add_test(t, a_doorbell_of_length_0_takes_any_size);
	tcase_add_test(t, a_matching_doorbell_wants_its_value);
	tcase_add_test(t, a_doorbell_moves_with_its_range);
	tcase_add_test(t, a_doorbell_can_be_hung_before_the_range_is_on_the_bus);
	tcase_add_test(t, a_doorbell_outside_its_range_or_of_an_odd_size_is_refused);
	tcase_add_test(t, a_deleted_doorbell_rings_no_more);
	tcase_add_test(t, there_is_a_limit_of_doorbells);
	tcase_add_test(t, doorbells_that_kvm_refuses_ring_all_the_same_and_are_told_of_once);
	suite_add_tcase(s, t);
	return s;
}
