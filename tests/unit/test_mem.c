// SPDX-License-Identifier: MIT
/*
 * test_mem.c - guest memory: which ranges are RAM, and how bytes get there.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAM  0x100000ULL
#define SIZE 0x10000ULL
#define END  (RAM + SIZE)

static struct mem m;
static u32 fds;

/* One region at RAM. */
static void setup(void)
{
	fds = open_fds();
	mem_init(&m);
	ck_assert_int_eq(mem_add_ram(&m, RAM, SIZE, false), 0);
}

static void teardown(void)
{
	mem_destroy(&m);
	ck_assert_uint_eq(open_fds(), fds);
}

START_TEST(every_byte_of_a_region_is_reachable)
{
	u8 *first = mem_ptr(&m, RAM, SIZE);

	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_eq(mem_ptr(&m, RAM, 1), first);
	ck_assert_ptr_eq(mem_ptr(&m, END - 1, 1), first + SIZE - 1);
}

/* Who is handed the file, such as a vhost-user back end, can't make our next touch a SIGBUS. */
START_TEST(nobody_can_cut_a_region_short)
{
	ck_assert_int_lt(ftruncate(m.region[0].fd, 0), 0);
	ck_assert_int_eq(errno, EPERM);
	ck_assert_int_lt(fcntl(m.region[0].fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_uint_eq(*(u8 *)mem_ptr(&m, RAM, 1), 0);
}

START_TEST(one_byte_off_a_region_is_not)
{
	ck_assert_ptr_null(mem_ptr(&m, RAM - 1, 1));
	ck_assert_ptr_null(mem_ptr(&m, RAM - 1, 2));
	ck_assert_ptr_null(mem_ptr(&m, END, 1));
	ck_assert_ptr_null(mem_ptr(&m, END - 1, 2));
	ck_assert_ptr_null(mem_ptr(&m, RAM, SIZE + 1));
}

START_TEST(address_plus_length_may_not_wrap)
{
	ck_assert_ptr_null(mem_ptr(&m, RAM + 0x800, ~0ULL));
	ck_assert_ptr_null(mem_ptr(&m, RAM + 0x800, 0 - (RAM + 0x800)));
	ck_assert_ptr_null(mem_ptr(&m, RAM + 0x800, 1 - (RAM + 0x800) + RAM));
	ck_assert_ptr_null(mem_ptr(&m, ~0ULL, 2));
}

START_TEST(no_bytes_are_at_an_address_inside_or_at_the_end)
{
	ck_assert_ptr_nonnull(mem_ptr(&m, RAM, 0));
	ck_assert_ptr_nonnull(mem_ptr(&m, END, 0));
	ck_assert_ptr_null(mem_ptr(&m, END + 1, 0));
	ck_assert_ptr_null(mem_ptr(&m, RAM - 1, 0));
}

START_TEST(a_range_across_two_touching_regions_is_refused)
{
	ck_assert_int_eq(mem_add_ram(&m, END, SIZE, false), 0);
	ck_assert_ptr_nonnull(mem_ptr(&m, END - 1, 1));
	ck_assert_ptr_nonnull(mem_ptr(&m, END, 1));
	ck_assert_ptr_null(mem_ptr(&m, END - 1, 2));
	ck_assert_ptr_null(mem_ptr(&m, RAM, 2 * SIZE));
}

START_TEST(regions_stand_by_rising_address)
{
	ck_assert_int_eq(mem_add_ram(&m, 0, 0x1000, false), 0);
	ck_assert_int_eq(mem_add_ram(&m, 4 * GIB, 0x1000, false), 0);
	ck_assert_int_eq(mem_add_ram(&m, 2 * GIB, 0x1000, false), 0);
	ck_assert_uint_eq(m.nregions, 4);
	ck_assert_uint_eq(m.region[0].gpa, 0);
	ck_assert_uint_eq(m.region[1].gpa, RAM);
	ck_assert_uint_eq(m.region[2].gpa, 2 * GIB);
	ck_assert_uint_eq(m.region[3].gpa, 4 * GIB);
	ck_assert_uint_eq(mem_size(&m), SIZE + 3 * 0x1000);
}

START_TEST(a_region_may_end_with_the_address_space)
{
	ck_assert_int_eq(mem_add_ram(&m, 0 - 0x1000ULL, 0x1000, false), 0);
	ck_assert_ptr_nonnull(mem_ptr(&m, ~0ULL, 1));
	ck_assert_ptr_null(mem_ptr(&m, ~0ULL, 2));
}

static void refuses(u64 gpa, u64 size, bool huge, int err)
{
	u32 n = m.nregions, open = open_fds();

	ck_assert_int_eq(mem_add_ram(&m, gpa, size, huge), err);
	ck_assert_uint_eq(m.nregions, n);
	ck_assert_uint_eq(open_fds(), open);
}

START_TEST(regions_are_whole_pages)
{
	refuses(4 * GIB + 1, 0x1000, false, -EINVAL);
	refuses(4 * GIB, 0x1001, false, -EINVAL);
	refuses(4 * GIB, 0x800, false, -EINVAL);
}

START_TEST(a_region_of_nothing_is_refused)
{
	refuses(4 * GIB, 0, false, -EINVAL);
}

START_TEST(a_region_that_wraps_is_refused)
{
	refuses(0 - 0x1000ULL, 0x2000, false, -EINVAL);
}

START_TEST(overlapping_regions_are_refused)
{
	refuses(RAM, SIZE, false, -EEXIST);
	refuses(RAM - 0x1000, 0x2000, false, -EEXIST);
	refuses(END - 0x1000, 0x2000, false, -EEXIST);
	refuses(RAM + 0x1000, 0x1000, false, -EEXIST);
	refuses(0, 4 * GIB, false, -EEXIST);
}

START_TEST(there_is_a_limit_of_regions)
{
	for (u32 i = 1; i < MEM_REGIONS_MAX; i++)
		ck_assert_int_eq(mem_add_ram(&m, i * GIB, 0x1000, false), 0);
	refuses(100 * GIB, 0x1000, false, -ENOSPC);
}

START_TEST(huge_regions_are_whole_huge_pages)
{
	refuses(4 * GIB + 0x1000, 2 * MIB, true, -EINVAL);
	refuses(4 * GIB, 2 * MIB + 0x1000, true, -EINVAL);
	refuses(4 * GIB + MIB, MIB, true, -EINVAL);
}

START_TEST(huge_pages_that_the_host_lacks_are_refused_at_once)
{
	u32 open = open_fds();

	ck_assert_int_lt(mem_add_ram(&m, 4 * GIB, 1024 * GIB, true), 0);
	ck_assert_uint_eq(m.nregions, 1);
	ck_assert_uint_eq(open_fds(), open);
}

START_TEST(huge_pages_hold_what_is_loaded)
{
	char path[32];
	int fd;

	if (mem_add_ram(&m, 4 * GIB, 2 * MIB, true) < 0)
		skip_test("the host has no free huge page (vm.nr_hugepages)");
	fd = temp_file("0123456789", 10, path);
	ck_assert_int_eq(mem_load(&m, 4 * GIB + 5, fd, 2, 8), 0);
	ck_assert_mem_eq(mem_ptr(&m, 4 * GIB + 5, 8), "23456789", 8);
	ck_assert_int_eq(mem_load(&m, 4 * GIB, fd, 3, 8), -ENODATA);
	close(fd);
}

static bool all_zero(const u8 *p, u64 len)
{
	return !len || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Huge pages that are promised to a mapping and not touched yet. */
static long reserved_huge_pages(void)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

START_TEST(discarded_huge_pages_stay_reserved)
{
	long before = reserved_huge_pages();

	if (before < 0 || mem_add_ram(&m, 4 * GIB, 2 * MIB, true) < 0)
		skip_test("the host has no free huge page (vm.nr_hugepages)");
	ck_assert_int_eq(reserved_huge_pages(), before + 1);
	memset(mem_ptr(&m, 4 * GIB, 2 * MIB), 0xff, 2 * MIB);
	ck_assert_int_eq(reserved_huge_pages(), before);
	ck_assert_int_eq(mem_discard(&m), 0);
	ck_assert_int_eq(reserved_huge_pages(), before + 1);
	ck_assert(all_zero(mem_ptr(&m, 4 * GIB, 2 * MIB), 2 * MIB));
}

START_TEST(new_memory_costs_nothing_until_it_is_touched)
{
	struct stat st;

	ck_assert_int_eq(mem_add_ram(&m, 4 * GIB, 64 * GIB, false), 0);
	ck_assert_int_eq(fstat(m.region[1].fd, &st), 0);
	ck_assert_uint_eq(st.st_size, 64 * GIB);
	ck_assert_uint_eq(st.st_blocks, 0);
}

START_TEST(another_process_sees_a_region_through_its_fd)
{
	u8 *other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.region[0].fd, 0);

	ck_assert_ptr_ne(other, MAP_FAILED);
	ck_assert_int_eq(mem_write(&m, RAM + 0x1234, "hello", 5), 0);
	ck_assert_mem_eq(other + 0x1234, "hello", 5);
	munmap(other, SIZE);
}

START_TEST(a_write_is_done_wholly_or_not_at_all)
{
	u8 *last = mem_ptr(&m, END - 2, 2);

	ck_assert_int_eq(mem_write(&m, END - 2, "abc", 3), -EFAULT);
	ck_assert_mem_eq(last, "\0\0", 2);
	ck_assert_int_eq(mem_write(&m, END - 2, "ab", 2), 0);
	ck_assert_mem_eq(last, "ab", 2);
	ck_assert_int_eq(mem_write(&m, RAM - 1, "", 0), -EFAULT);
}

START_TEST(a_load_takes_any_offset_and_address)
{
	static u8 content[3 * 4096];
	int fd;

	for (u32 i = 0; i < sizeof(content); i++)
		content[i] = i * 7 + i / 256;
	fd = temp_file(content, sizeof(content), NULL);
	ck_assert_int_eq(mem_load(&m, RAM + 0x123, fd, 0x1005, 0x1f00), 0);
	ck_assert_mem_eq(mem_ptr(&m, RAM + 0x123, 0x1f00), content + 0x1005, 0x1f00);
	ck_assert_uint_eq(*(u8 *)mem_ptr(&m, RAM + 0x122, 1), 0);
	ck_assert_uint_eq(*(u8 *)mem_ptr(&m, RAM + 0x123 + 0x1f00, 1), 0);
	close(fd);
}

#define BIG (5 * MIB + 123) /* of a load: two huge pages and more */

/* By way of huge pages or not: the same bytes arrive, and none beside them. */
START_TEST(a_large_load_arrives_whole_wherever_it_stands)
{
	const u64 size = 10 * MIB + 4096; /* no whole number of huge pages */
	const u64 at[] = { 0, 4096, MIB - 1, MIB, 2 * MIB, 3 * MIB + 5, size - BIG };
	u32 *content = malloc(BIG + 1);
	u8 *ram;
	int fd;

	for (u32 i = 0; i < BIG / 4; i++)
		content[i] = i * 2654435761u;
	fd = temp_file(content, BIG, NULL);
	ck_assert_int_eq(mem_add_ram(&m, GIB, size, false), 0);
	ram = mem_ptr(&m, GIB, size);
	for (u32 i = 0; i < ARRAY_SIZE(at); i++) {
		ck_assert_int_eq(mem_load(&m, GIB + at[i], fd, 0, BIG), 0);
		ck_assert(memcmp(ram + at[i], content, BIG) == 0);
		ck_assert(all_zero(ram, at[i]));
		ck_assert(all_zero(ram + at[i] + BIG, size - BIG - at[i]));
		ck_assert_int_eq(mem_discard(&m), 0);
	}
	close(fd);
	free(content);
}

START_TEST(a_region_can_be_mapped_with_huge_pages)
{
	for (u32 i = 1; i < 4; i++) {
		ck_assert_int_eq(mem_add_ram(&m, i * GIB, i * 0x1000, false), 0);
		ck_assert_uint_eq((uintptr_t)mem_ptr(&m, i * GIB, 1) % (2 * MIB), 0);
	}
}

START_TEST(a_load_may_fill_a_region_to_its_end)
{
	int fd = temp_file("x", 1, NULL);

	ck_assert_int_eq(ftruncate(fd, SIZE + 1), 0);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 0, SIZE), 0);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 0, SIZE + 1), -EFAULT);
	ck_assert_int_eq(mem_load(&m, RAM + 1, fd, 0, SIZE), -EFAULT);
	close(fd);
}

START_TEST(a_load_from_a_file_that_ends_before_fails)
{
	int fd = temp_file("0123456789", 10, NULL);

	ck_assert_int_eq(mem_load(&m, RAM, fd, 0, 10), 0);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 0, 11), -ENODATA);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 10, 1), -ENODATA);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 11, 1), -ENODATA);
	ck_assert_int_eq(mem_load(&m, RAM, fd, ~0ULL, 2), -ENODATA);
	ck_assert_int_eq(mem_load(&m, RAM, fd, 0, 0), 0);
	close(fd);
}

START_TEST(a_load_from_what_is_no_file_fails)
{
	int ends[2], write_only;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_lt(mem_load(&m, RAM, ends[0], 0, 1), 0);
	ck_assert_int_eq(mem_load(&m, RAM, -1, 0, 1), -EBADF);
	close(ends[0]);
	close(ends[1]);
	write_only = open("/dev/null", O_WRONLY);
	ck_assert_int_lt(mem_load(&m, RAM, write_only, 0, 1), 0);
	close(write_only);
}

START_TEST(discarded_memory_reads_as_zeroes)
{
	struct stat st;

	memset(mem_ptr(&m, RAM, SIZE), 0xff, SIZE);
	ck_assert_int_eq(mem_discard(&m), 0);
	ck_assert_int_eq(fstat(m.region[0].fd, &st), 0);
	ck_assert_uint_eq(st.st_blocks, 0);
	ck_assert_uint_eq(st.st_size, SIZE);
	for (u32 i = 0; i < SIZE; i++)
		ck_assert_uint_eq(((u8 *)mem_ptr(&m, RAM, SIZE))[i], 0);
}

START_TEST(an_empty_address_space_has_no_memory)
{
	struct mem none;

	mem_init(&none);
	ck_assert_ptr_null(mem_ptr(&none, 0, 0));
	ck_assert_uint_eq(mem_size(&none), 0);
	ck_assert_int_eq(mem_discard(&none), 0);
	mem_destroy(&none);
}

Suite *mem_suite(void)
{
	Suite *s = suite_create("mem");
	TCase *t = tcase_create("mem");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, every_byte_of_a_region_is_reachable);
	tcase_add_test(t, nobody_can_cut_a_region_short);
	tcase_add_test(t, one_byte_off_a_region_is_not);
	tcase_add_test(t, address_plus_length_may_not_wrap);
	tcase_add_test(t, no_bytes_are_at_an_address_inside_or_at_the_end);
	tcase_add_test(t, a_range_across_two_touching_regions_is_refused);
	tcase_add_test(t, regions_stand_by_rising_address);
	tcase_add_test(t, a_region_may_end_with_the_address_space);
	tcase_add_test(t, regions_are_whole_pages);
	tcase_add_test(t, a_region_of_nothing_is_refused);
	tcase_add_test(t, a_region_that_wraps_is_refused);
	tcase_add_test(t, overlapping_regions_are_refused);
	tcase_add_test(t, there_is_a_limit_of_regions);
	tcase_add_test(t, huge_regions_are_whole_huge_pages);
	tcase_add_test(t, huge_pages_that_the_host_lacks_are_refused_at_once);
	tcase_add_test(t, huge_pages_hold_what_is_loaded);
	tcase_add_test(t, discarded_huge_pages_stay_reserved);
	tcase_add_test(t, new_memory_costs_nothing_until_it_is_touched);
	tcase_add_test(t, another_process_sees_a_region_through_its_fd);
	tcase_add_test(t, a_write_is_done_wholly_or_not_at_all);
	tcase_add_test(t, a_load_takes_any_offset_and_address);
	tcase_add_test(t, a_large_load_arrives_whole_wherever_it_stands);
	tcase_add_test(t, a_region_can_be_mapped_with_huge_pages);
	tcase_add_test(t, a_load_may_fill_a_region_to_its_end);
	tcase_add_test(t, a_load_from_a_file_that_ends_before_fails);
	tcase_add_test(t, a_load_from_what_is_no_file_fails);
	tcase_add_test(t, discarded_memory_reads_as_zeroes);
	tcase_add_test(t, an_empty_address_space_has_no_memory);
	suite_add_tcase(s, t);
	return s;
}
