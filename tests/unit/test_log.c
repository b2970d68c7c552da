// SPDX-License-Identifier: MIT
/*
 * test_log.c - vmm/log.c itself, under other names, since tests/unit/log.c takes its place.
 */
#include "tests/unit/unit.h"

#include <string.h>
#include <unistd.h>

#define log_err	 real_log_err
#define log_warn real_log_warn
#define log_info real_log_info
void real_log_err(const char *fmt, ...);
void real_log_warn(const char *fmt, ...);
void real_log_info(const char *fmt, ...);
#include "vmm/log.c"

static int ends[2];
static char got[4096];

static void begin(void)
{
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
}

static const char *logged(void)
{
	ssize_t n = read(ends[0], got, sizeof(got) - 1);

	ck_assert_int_gt(n, 0);
	got[n] = '\0';
	return got;
}

START_TEST(a_message_is_one_line_with_our_name)
{
	begin();
	real_log_err("file %s: %d", "x", 5);
	ck_assert_str_eq(logged(), "minivmm: file x: 5\n");
	real_log_info("hello");
	ck_assert_str_eq(logged(), "minivmm: hello\n");
}

START_TEST(a_warning_says_so)
{
	begin();
	real_log_warn("beware");
	ck_assert_str_eq(logged(), "minivmm: warning: beware\n");
}

START_TEST(a_message_that_is_too_long_is_cut_and_still_one_line)
{
	char longest[3000];

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	begin();
	real_log_err("%s", longest);
	logged();
	ck_assert_uint_le(strlen(got), 1024);
	ck_assert_uint_ge(strlen(got), 1000);
	ck_assert_ptr_eq(strchr(got, '\n'), got + strlen(got) - 1);
}

START_TEST(a_closed_stderr_is_survived)
{
	close(STDERR_FILENO);
	real_log_err("nobody hears");
}

Suite *log_suite(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_test(t, a_message_is_one_line_with_our_name);
	tcase_add_test(t, a_warning_says_so);
	tcase_add_test(t, a_message_that_is_too_long_is_cut_and_still_one_line);
	tcase_add_test(t, a_closed_stderr_is_survived);
	suite_add_tcase(s, t);
	return s;
}
