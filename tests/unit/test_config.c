// SPDX-License-Identifier: MIT
/*
 * test_config.c - the command line: every option good, bad, missing, twice; one line when refused.
 */
#include "tests/unit/unit.h"
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX 16

static struct config cfg;

/* Parse the words of `line`, after `minivmm`; a word may be quoted by '...'. */
static int parse(const char *line)
{
	static char copy[1024];
	char *argv[ARGS_MAX] = { "minivmm" }, *p = copy;
	int argc = 1;

	config_free(&cfg);
	snprintf(copy, sizeof(copy), "%s", line);
	while (*p) {
		char end = *p == '\'' ? '\'' : ' ';

		ck_assert_int_lt(argc, ARGS_MAX - 1);
		argv[argc++] = p += end == '\'';
		p += strcspn(p, (char[]){ end, '\0' });
		if (*p)
			*p++ = '\0';
		p += strspn(p, " ");
	}
	return config_parse(&cfg, argc, argv);
}

static void good(const char *line)
{
	int err = parse(line);

	ck_assert_msg(err == 0, "%s: \"%s\"", line, said_text());
	expect_silence();
}

static void bad(const char *line, const char *why)
{
	ck_assert_msg(parse(line) == -EINVAL, "%s: accepted", line);
	ck_assert_msg(said_once(why), "%s: \"%s\" does not have \"%s\"", line, said_text(), why);
	ck_assert_ptr_null(cfg.cmdline);
	ck_assert_ptr_null(cfg.data_dir);
}

static void setup(void)
{
	cfg = (struct config){ 0 };
	unsetenv("MINIVMM_DATA");
}

static void teardown(void)
{
	config_free(&cfg);
}

START_TEST(a_kernel_is_all_it_takes)
{
	good("--kernel bzImage");
	ck_assert_str_eq(cfg.kernel, "bzImage");
	ck_assert_ptr_null(cfg.initrd);
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0");
	ck_assert_uint_eq(cfg.cpus, 1);
	ck_assert_uint_eq(cfg.memory, 512 * MIB);
	ck_assert(!cfg.hugepages);
	ck_assert_int_eq(cfg.serial.kind, STREAM_STDIO);
	ck_assert(!cfg.no_reboot);
	ck_assert(!cfg.test_device);
}

START_TEST(no_kernel_is_refused)
{
	bad("", "no --kernel");
	bad("--cpus 2", "no --kernel");
}

START_TEST(every_option_is_taken_in_any_order)
{
	good("--test-device --memory 1G --serial none --cpus 3 --no-reboot --cmdline quiet "
	     "--initrd i --kernel k");
	ck_assert_str_eq(cfg.kernel, "k");
	ck_assert_str_eq(cfg.initrd, "i");
	ck_assert_str_eq(cfg.cmdline, "quiet");
	ck_assert_uint_eq(cfg.cpus, 3);
	ck_assert_uint_eq(cfg.memory, GIB);
	ck_assert_int_eq(cfg.serial.kind, STREAM_NONE);
	ck_assert(cfg.no_reboot);
	ck_assert(cfg.test_device);
}

START_TEST(a_value_may_follow_an_equals_sign)
{
	good("--kernel=k --cpus=2 --memory=1G,hugepages=off --serial=file=out");
	ck_assert_str_eq(cfg.kernel, "k");
	ck_assert_uint_eq(cfg.cpus, 2);
	ck_assert_uint_eq(cfg.memory, GIB);
	ck_assert_str_eq(cfg.serial.path, "out");
}

static const char *const options[] = { "--kernel", "--initrd", "--cmdline",  "--cpus",
				       "--memory", "--serial", "--iothreads" };

START_TEST(an_option_without_its_value_is_refused)
{
	char line[64], why[64];

	snprintf(line, sizeof(line), "%s", options[_i]);
	snprintf(why, sizeof(why), "%s needs a value", options[_i]);
	bad(line, why);
}

START_TEST(an_option_given_twice_is_refused)
{
	static const char *const value[] = { "k", "i", "c", "1", "1G", "none", "1" };
	char line[64], why[64];

	snprintf(line, sizeof(line), "%s %s %s %s", options[_i], value[_i], options[_i], value[_i]);
	snprintf(why, sizeof(why), "%s is given twice", options[_i]);
	bad(line, why);
}

START_TEST(a_flag_given_twice_is_refused)
{
	bad("--kernel k --no-reboot --no-reboot", "--no-reboot is given twice");
	bad("--kernel k --test-device --test-device", "--test-device is given twice");
}

START_TEST(an_unknown_option_is_named)
{
	bad("--kernel k --nonsense", "unknown option --nonsense");
	bad("--kernel k --kernels", "unknown option --kernels");
	bad("--kernel k -x", "unknown option -x");
	bad("-z --kernel k", "unknown option -z");
}

START_TEST(several_unknown_letters_are_named)
{
	bad("-xz --kernel k", "-x");
	bad("--kernel k -xz", "-x");
}

START_TEST(a_flag_takes_no_value)
{
	bad("--kernel k --no-reboot=yes", "--no-reboot");
}

START_TEST(what_is_no_option_is_refused)
{
	bad("bzImage", "'bzImage' is not an option");
	bad("--kernel k initrd", "'initrd' is not an option");
	bad("--kernel k -- more", "'more' is not an option");
	bad("--kernel k ''", "'' is not an option");
}

START_TEST(cpus_is_a_number_from_1)
{
	good("--kernel k --cpus 1");
	good("--kernel k --cpus 4096");
	ck_assert_uint_eq(cfg.cpus, 4096);
	bad("--kernel k --cpus 0", "--cpus 0: give a number");
	bad("--kernel k --cpus 4097", "--cpus 4097: give a number");
	bad("--kernel k --cpus -1", "--cpus -1: give a number");
	bad("--kernel k --cpus two", "--cpus two: give a number");
	bad("--kernel k --cpus 2x", "--cpus 2x: give a number");
	bad("--kernel k --cpus ''", "--cpus : give a number");
	bad("--kernel k --cpus ' 2'", "give a number");
	bad("--kernel k --cpus '2 '", "give a number");
	bad("--kernel k --cpus 0x2", "give a number");
	bad("--kernel k --cpus +2", "give a number");
	bad("--kernel k --cpus 4294967297", "give a number");
	bad("--kernel k --cpus 18446744073709551617", "give a number");
}

static u64 memory(const char *size)
{
	char line[128];

	snprintf(line, sizeof(line), "--kernel k --memory %s", size);
	good(line);
	return cfg.memory;
}

START_TEST(memory_is_in_mib_or_has_a_suffix)
{
	ck_assert_uint_eq(memory("256"), 256 * MIB);
	ck_assert_uint_eq(memory("8192K"), 8 * MIB);
	ck_assert_uint_eq(memory("8192k"), 8 * MIB);
	ck_assert_uint_eq(memory("512M"), 512 * MIB);
	ck_assert_uint_eq(memory("512m"), 512 * MIB);
	ck_assert_uint_eq(memory("5G"), 5 * GIB);
	ck_assert_uint_eq(memory("5g"), 5 * GIB);
	ck_assert_uint_eq(memory("1T"), 1024 * GIB);
	ck_assert_uint_eq(memory("007M"), 7 * MIB);
}

START_TEST(a_bad_size_is_refused)
{
	static const char *const sizes[] = { "",    "M",  "-1",	  "+1",	 "1.5G", "1GB",
					     "1MM", "1P", "0x10", "1 G", "G1",	 "big",
					     "1;",  "1,", "1,,",  ",",	 "512_", "1\x0b" };

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++) {
		char line[64];

		snprintf(line, sizeof(line), "--kernel k --memory '%s'", sizes[i]);
		bad(line, "--memory ");
	}
}

START_TEST(a_blank_is_no_suffix)
{
	bad("--kernel k --memory '512 '", "give a size such as");
	bad("--kernel k --memory ' 512'", "give a size such as");
	bad("--kernel k --memory '512 ,hugepages=off'", "give a size such as");
}

START_TEST(a_size_that_overflows_is_refused)
{
	bad("--kernel k --memory 18446744073709551616", "give a size such as");
	bad("--kernel k --memory 18446744073709551615", "give a size such as");
	bad("--kernel k --memory 17592186044416M", "give a size such as");
	bad("--kernel k --memory 16777216T", "give a size such as");
	ck_assert_uint_eq(memory("16777215T"), 16777215ULL << 40);
}

START_TEST(memory_is_whole_pages)
{
	bad("--kernel k --memory 8191K", "not a multiple of 4 KiB");
	ck_assert_uint_eq(memory("8188K"), 8188 * KIB);
}

START_TEST(huge_pages_are_asked_for_behind_the_size)
{
	ck_assert_uint_eq(memory("1G,hugepages=on"), GIB);
	ck_assert(cfg.hugepages);
	memory("1G,hugepages=off");
	ck_assert(!cfg.hugepages);
	memory("64,hugepages=on");
	ck_assert(cfg.hugepages);
	bad("--kernel k --memory 1G,hugepages", "after the size");
	bad("--kernel k --memory 1G,hugepages=", "after the size");
	bad("--kernel k --memory 1G,hugepages=yes", "after the size");
	bad("--kernel k --memory 1G,hugepages=on,", "after the size");
	bad("--kernel k --memory 1G,", "after the size");
	bad("--kernel k --memory 1G,color=red", "after the size");
	bad("--kernel k --memory hugepages=on", "give a size such as");
	bad("--kernel k --memory 3M,hugepages=on", "not a multiple of 2 MiB");
}

START_TEST(serial_goes_to_one_of_five)
{
	good("--kernel k --serial stdio");
	ck_assert_int_eq(cfg.serial.kind, STREAM_STDIO);
	good("--kernel k --serial none");
	ck_assert_int_eq(cfg.serial.kind, STREAM_NONE);
	good("--kernel k --serial file=a=b,c");
	ck_assert_int_eq(cfg.serial.kind, STREAM_FILE);
	ck_assert_str_eq(cfg.serial.path, "a=b,c");
	good("--kernel k --serial pty");
	ck_assert_int_eq(cfg.serial.kind, STREAM_PTY);
	good("--kernel k --serial unix=s");
	ck_assert_int_eq(cfg.serial.kind, STREAM_UNIX);
	ck_assert_str_eq(cfg.serial.path, "s");
	bad("--kernel k --serial ''", "give stdio, none, pty, file=PATH or unix=PATH");
	bad("--kernel k --serial tty", "give stdio, none, pty, file=PATH or unix=PATH");
	bad("--kernel k --serial file", "give stdio, none, pty, file=PATH or unix=PATH");
	bad("--kernel k --serial file=", "give stdio, none, pty, file=PATH or unix=PATH");
	bad("--kernel k --serial stdio2", "give stdio, none, pty, file=PATH or unix=PATH");
	bad("--kernel k --serial STDIO", "give stdio, none, pty, file=PATH or unix=PATH");
}

START_TEST(a_console_is_put_in_front_of_the_command_line)
{
	good("--kernel k --cmdline 'quiet panic=1'");
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0 quiet panic=1");
	good("--kernel k --cmdline 'noconsole=1'");
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0 noconsole=1");
	good("--kernel k --cmdline ''");
	ck_assert_str_eq(cfg.cmdline, "console=ttyS0 ");
}

START_TEST(unless_there_is_one_or_no_serial_port)
{
	good("--kernel k --cmdline console=tty0");
	ck_assert_str_eq(cfg.cmdline, "console=tty0");
	good("--kernel k --cmdline 'quiet console=hvc0'");
	ck_assert_str_eq(cfg.cmdline, "quiet console=hvc0");
	good("--kernel k --serial none --cmdline quiet");
	ck_assert_str_eq(cfg.cmdline, "quiet");
	good("--kernel k --serial none");
	ck_assert_str_eq(cfg.cmdline, "");
}

START_TEST(the_data_directory_can_be_named)
{
	setenv("MINIVMM_DATA", "/some/where", 1);
	good("--kernel k");
	ck_assert_str_eq(cfg.data_dir, "/some/where");
	setenv("MINIVMM_DATA", "", 1); /* as if it were not set */
	good("--kernel k");
	ck_assert_uint_gt(strlen(cfg.data_dir), 1);
}

START_TEST(parsing_twice_starts_anew)
{
	bad("--kernel k --cpus 0", "--cpus");
	good("--kernel k");
	ck_assert_uint_eq(cfg.cpus, 1);
	config_free(&cfg);
	config_free(&cfg);
}

/* What `argv` prints on standard output, or NULL if it is no question for help. */
static const char *help(int argc, char **argv)
{
	static char text[8192];
	int fd = temp_file("", 0, NULL);
	bool asked;
	ssize_t n;

	stdio_begin(STDIN_FILENO, fd);
	asked = config_help(argc, argv);
	fflush(stdout);
	stdio_end();
	n = pread(fd, text, sizeof(text) - 1, 0);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return asked ? text : NULL;
}

START_TEST(help_and_version_are_printed_wherever_they_stand)
{
	char *question[] = { "minivmm", "--kernel", "k", "--help" };
	char *version[] = { "minivmm", "-V" };

	ck_assert_ptr_nonnull(strstr(help(4, question), "Usage: minivmm"));
	ck_assert_int_eq(strncmp(help(2, version), "minivmm ", 8), 0);
	ck_assert_ptr_null(help(3, question));
}

START_TEST(help_names_every_option)
{
	char *question[] = { "minivmm", "-h" };
	const char *text = help(2, question);

	for (u32 i = 0; i < ARRAY_SIZE(options); i++)
		ck_assert_ptr_nonnull(strstr(text, options[i]));
	ck_assert_ptr_nonnull(strstr(text, "--disk"));
	ck_assert_ptr_nonnull(strstr(text, "--console"));
	ck_assert_ptr_nonnull(strstr(text, "--port"));
	ck_assert_ptr_nonnull(strstr(text, "--rng"));
	ck_assert_ptr_nonnull(strstr(text, "--no-reboot"));
	ck_assert_ptr_nonnull(strstr(text, "--test-device"));
}

Suite *config_suite(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_kernel_is_all_it_takes);
	tcase_add_test(t, no_kernel_is_refused);
	tcase_add_test(t, every_option_is_taken_in_any_order);
	tcase_add_test(t, a_value_may_follow_an_equals_sign);
	tcase_add_loop_test(t, an_option_without_its_value_is_refused, 0, ARRAY_SIZE(options));
	tcase_add_loop_test(t, an_option_given_twice_is_refused, 0, ARRAY_SIZE(options));
	tcase_add_test(t, a_flag_given_twice_is_refused);
	tcase_add_test(t, an_unknown_option_is_named);
	tcase_add_test(t, several_unknown_letters_are_named);
	tcase_add_test(t, a_flag_takes_no_value);
	tcase_add_test(t, what_is_no_option_is_refused);
	tcase_add_test(t, cpus_is_a_number_from_1);
	tcase_add_test(t, memory_is_in_mib_or_has_a_suffix);
	tcase_add_test(t, a_bad_size_is_refused);
	tcase_add_test(t, a_blank_is_no_suffix);
	tcase_add_test(t, a_size_that_overflows_is_refused);
	tcase_add_test(t, memory_is_whole_pages);
	tcase_add_test(t, huge_pages_are_asked_for_behind_the_size);
	tcase_add_test(t, serial_goes_to_one_of_five);
	tcase_add_test(t, a_console_is_put_in_front_of_the_command_line);
	tcase_add_test(t, unless_there_is_one_or_no_serial_port);
	tcase_add_test(t, the_data_directory_can_be_named);
	tcase_add_test(t, parsing_twice_starts_anew);
	tcase_add_test(t, help_and_version_are_printed_wherever_they_stand);
	tcase_add_test(t, help_names_every_option);
	suite_add_tcase(s, t);
	return s;
}
