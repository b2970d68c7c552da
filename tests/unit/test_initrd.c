// SPDX-License-Identifier: MIT
/*
 * test_initrd.c - which files look like an initrd that Linux can unpack.
 */
#include "minivmm/initrd.h"
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static u8 cpio[1024];
static u64 len;

/* Append an entry, of at most 100 bytes of data. */
static void entry(const char *name, u32 size)
{
	len += sprintf((char *)cpio + len,
		       "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0100644, 0,
		       0, 1, 0, size, 0, 0, 0, 0, (u32)strlen(name) + 1, 0);
	strcpy((char *)cpio + len, name);
	len = ALIGN_UP(len + strlen(name) + 1, 4);
	len = ALIGN_UP(len + size, 4);
}

/* Two files and the end. */
static void setup(void)
{
	memset(cpio, 0, sizeof(cpio));
	len = 0;
	entry("init", 33);
	entry("a", 0);
	entry("TRAILER!!!", 0);
}

static const char *fault_of(const void *content, u64 size)
{
	int fd = temp_file(content, size, NULL);
	const char *fault = initrd_fault(fd, size);

	close(fd);
	return fault;
}

static void faulty(const void *content, u64 size, const char *why)
{
	const char *fault = fault_of(content, size);

	ck_assert_msg(fault && strstr(fault, why), "%s", fault ? fault : "accepted");
}

START_TEST(a_cpio_archive_is_good)
{
	ck_assert_ptr_null(fault_of(cpio, len));
	cpio[5] = '2'; /* 070702: with checksums */
	ck_assert_ptr_null(fault_of(cpio, len));
}

START_TEST(what_follows_the_first_archive_is_not_looked_at)
{
	memset(cpio + len, 0xff, sizeof(cpio) - len);
	ck_assert_ptr_null(fault_of(cpio, sizeof(cpio)));
}

START_TEST(every_compression_of_linux_is_good)
{
	static const struct {
		const char *bytes;
		u32 len;
	} magic[] = {
		{ "\x1f\x8b\x08\x00", 4 }, { "BZh9", 4 },    { "\x5d\x00\x00\x80", 4 },
		{ "\xfd\x37zXZ\x00", 6 },  { "\x89LZO", 4 }, { "\x02\x21\x4c\x18", 4 },
		{ "\x28\xb5\x2f\xfd", 4 },
	};

	for (u32 i = 0; i < ARRAY_SIZE(magic); i++)
		ck_assert_ptr_null(fault_of(magic[i].bytes, magic[i].len));
}

START_TEST(anything_else_is_not)
{
	faulty("hello", 5, "neither a cpio archive");
	faulty("", 0, "neither a cpio archive");
	faulty("070707", 6, "neither a cpio archive"); /* the old portable format */
	faulty("\x1f", 1, "neither a cpio archive");
	faulty("\x7f"
	       "ELF",
	       4, "neither a cpio archive");
}

START_TEST(a_truncated_archive_is_seen_wherever_it_ends)
{
	/* The padding behind the last name may be missing. */
	u64 whole = len - 3;

	for (u64 size = 6; size < whole; size++)
		faulty(cpio, size, "truncated");
}

START_TEST(an_archive_without_its_last_entry_is_truncated)
{
	len = 0;
	entry("init", 33);
	faulty(cpio, len, "truncated");
}

START_TEST(a_damaged_entry_is_seen)
{
	cpio[ALIGN_UP(110 + 5, 4) + 36] ^= 0xff; /* the second one's magic */
	faulty(cpio, len, "damaged");
}

START_TEST(a_number_that_is_none_is_seen)
{
	cpio[54] = 'g'; /* file size */
	faulty(cpio, len, "truncated");
	setup();
	cpio[94] = ' '; /* name size */
	faulty(cpio, len, "truncated");
}

START_TEST(sizes_as_large_as_can_be_are_seen)
{
	memset(cpio + 54, 'f', 8);
	memset(cpio + 94, 'F', 8);
	faulty(cpio, len, "truncated");
}

/* Every byte of the archive, damaged: an answer, and no endless search for the end. */
START_TEST(a_hostile_archive_gets_an_answer)
{
	static const u8 hostile[] = { 0, '0', 'f', 0xff };
	u32 bad = 0;

	for (u64 off = 0; off < len; off++) {
		for (u32 i = 0; i < ARRAY_SIZE(hostile); i++) {
			u8 was = cpio[off];

			cpio[off] = hostile[i];
			bad += fault_of(cpio, len) != NULL;
			cpio[off] = was;
		}
	}
	ck_assert_uint_gt(bad, 0);
}

START_TEST(what_cannot_be_read_says_so)
{
	int ends[2];
	const char *fault;

	ck_assert_int_eq(pipe(ends), 0);
	fault = initrd_fault(ends[1], 100);
	ck_assert_ptr_nonnull(fault);
	ck_assert_ptr_nonnull(strstr(fault, "can't be read"));
	close(ends[0]);
	close(ends[1]);
}

Suite *initrd_suite(void)
{
	Suite *s = suite_create("initrd");
	TCase *t = tcase_create("initrd");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_cpio_archive_is_good);
	tcase_add_test(t, what_follows_the_first_archive_is_not_looked_at);
	tcase_add_test(t, every_compression_of_linux_is_good);
	tcase_add_test(t, anything_else_is_not);
	tcase_add_test(t, a_truncated_archive_is_seen_wherever_it_ends);
	tcase_add_test(t, an_archive_without_its_last_entry_is_truncated);
	tcase_add_test(t, a_damaged_entry_is_seen);
	tcase_add_test(t, a_number_that_is_none_is_seen);
	tcase_add_test(t, sizes_as_large_as_can_be_are_seen);
	tcase_add_test(t, a_hostile_archive_gets_an_answer);
	tcase_add_test(t, what_cannot_be_read_says_so);
	suite_add_tcase(s, t);
	return s;
}
