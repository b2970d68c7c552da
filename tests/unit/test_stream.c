// SPDX-License-Identifier: MIT
/*
 * test_stream.c - standard input and output as pipe, file, /dev/null, socket and terminal.
 */
#include "minivmm/stream.h"
#include "tests/unit/unit.h"
#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static struct loop *l;
static struct stream s;
static u32 fds;
static u32 readable, writable;
static char got[4096], keys[64];
static u32 ngot, nkeys;

/* Takes what there is. */
static void on_readable(struct stream *st)
{
	readable++;
	ngot += stream_read(st, got + ngot, sizeof(got) - ngot);
}

static void on_writable(struct stream *st)
{
	writable++;
	stream_want_write(st, false);
}

static void on_command(struct stream *st, char key)
{
	(void)st;
	keys[nkeys++] = key;
}

/* All that has been read so far. */
#define expect_got(text)                                       \
	do {                                                   \
		ck_assert_uint_eq(ngot, sizeof(text) - 1);     \
		ck_assert_mem_eq(got, text, sizeof(text) - 1); \
	} while (0)

static void setup(void)
{
	fds = open_fds();
	readable = writable = ngot = nkeys = 0;
	memset(got, 0, sizeof(got));
	memset(keys, 0, sizeof(keys));
	ck_assert_int_eq(loop_create(&l), 0);
	stream_init(&s, l);
}

static void teardown(void)
{
	stream_close(&s);
	loop_destroy(l);
	l = NULL; /* else it would hide a leak */
	ck_assert_uint_eq(open_fds(), fds);
}

/* Open the stream on two descriptors, which stay the caller's. */
static void open_on(int in, int out)
{
	s.readable = on_readable;
	s.writable = on_writable;
	stdio_begin(in, out);
	ck_assert_int_eq(stream_open_stdio(&s), 0);
	stdio_end();
}

/* Two pipes: in[] to the stream, out[] from it. */
static int in[2], out[2];

static void open_pipes(void)
{
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	open_on(in[0], out[1]);
}

static void close_pipes(void)
{
	stream_close(&s);
	for (u32 i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

START_TEST(input_is_read_when_it_is_wanted)
{
	open_pipes();
	ck_assert_int_eq(write(in[1], "abc", 3), 3);
	loop_settle(l);
	ck_assert_uint_eq(readable, 0);
	stream_want_read(&s, true);
	loop_settle(l);
	expect_got("abc");
	stream_want_read(&s, false);
	ck_assert_int_eq(write(in[1], "d", 1), 1);
	loop_settle(l);
	expect_got("abc");
	stream_want_read(&s, true);
	loop_settle(l);
	expect_got("abcd");
	close_pipes();
}

START_TEST(a_read_takes_no_more_than_it_has_room_for)
{
	char buf[4] = "";

	open_pipes();
	ck_assert_uint_eq(stream_read(&s, buf, 3), 0); /* nothing there yet: no wait */
	ck_assert_int_eq(write(in[1], "abcdef", 6), 6);
	ck_assert_uint_eq(stream_read(&s, buf, 0), 0);
	ck_assert_uint_eq(stream_read(&s, buf, 3), 3);
	ck_assert_str_eq(buf, "abc");
	close_pipes();
}

START_TEST(the_end_of_the_input_is_quiet)
{
	open_pipes();
	stream_want_read(&s, true);
	ck_assert_int_eq(write(in[1], "end", 3), 3);
	close(in[1]);
	in[1] = -1;
	loop_settle(l);
	expect_got("end");
	readable = 0;
	loop_settle(l); /* no busy loop on the closed pipe */
	ck_assert_uint_eq(readable, 0);
	stream_want_read(&s, true); /* harmless */
	ck_assert_uint_eq(stream_read(&s, got, 1), 0);
	ck_assert_uint_eq(stream_write(&s, "x", 1), 1); /* output goes on */
	close_pipes();
}

/* A socket can't be opened anew: ours is a copy, and the one it was made from stays open. */
START_TEST(the_end_of_a_sockets_input_is_quiet_too)
{
	int ends[2], null = open("/dev/null", O_WRONLY);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	open_on(ends[0], null);
	stream_want_read(&s, true);
	ck_assert_int_eq(write(ends[1], "end", 3), 3);
	close(ends[1]);
	loop_settle(l);
	expect_got("end");
	readable = 0;
	loop_settle(l);
	ck_assert_uint_eq(readable, 0);
	stream_close(&s);
	close(ends[0]);
	close(null);
}

START_TEST(a_full_pipe_takes_no_more_until_it_is_read)
{
	static char chunk[1000], drain[100000];
	size_t total = 0, n;

	open_pipes();
	do {
		n = stream_write(&s, chunk, sizeof(chunk));
		total += n;
	} while (n);
	ck_assert_uint_gt(total, 0);
	stream_want_write(&s, true);
	loop_settle(l);
	ck_assert_uint_eq(writable, 0);
	ck_assert_int_gt(read(out[0], drain, sizeof(drain)), 0);
	loop_settle(l);
	ck_assert_uint_eq(writable, 1);
	ck_assert_uint_eq(stream_write(&s, "x", 1), 1);
	close_pipes();
}

START_TEST(our_non_blocking_mode_is_not_the_shells)
{
	open_pipes();
	ck_assert_int_eq(fcntl(in[0], F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(out[1], F_GETFL) & O_NONBLOCK, 0);
	close_pipes();
}

START_TEST(output_that_nobody_reads_any_more_is_dropped)
{
	open_pipes();
	close(out[0]);
	out[0] = -1;
	ck_assert_uint_eq(stream_write(&s, "abc", 3), 3);
	close_pipes();
}

START_TEST(a_file_is_read_to_its_end)
{
	int file = temp_file("from a file", 11, NULL), null = open("/dev/null", O_WRONLY);

	open_on(file, null);
	stream_want_read(&s, true);
	loop_settle(l);
	expect_got("from a file");
	stream_close(&s);
	close(file);
	close(null);
}

START_TEST(reading_a_file_can_pause)
{
	int file = temp_file("0123456789", 10, NULL), null = open("/dev/null", O_WRONLY);

	open_on(file, null);
	stream_want_read(&s, true);
	stream_want_read(&s, false);
	loop_settle(l);
	ck_assert_uint_eq(ngot, 0);
	stream_want_read(&s, true);
	loop_settle(l);
	expect_got("0123456789");
	stream_close(&s);
	close(file);
	close(null);
}

START_TEST(dev_null_is_an_empty_input_and_a_bottomless_output)
{
	int null = open("/dev/null", O_RDWR);

	open_on(null, null);
	stream_want_read(&s, true);
	loop_settle(l);
	ck_assert_uint_eq(readable, 1);
	ck_assert_uint_eq(ngot, 0);
	for (u32 i = 0; i < 1000; i++)
		ck_assert_uint_ge(stream_write(&s, got, 100), 1);
	stream_want_write(&s, true);
	loop_settle(l);
	ck_assert_uint_eq(writable, 1);
	stream_close(&s);
	close(null);
}

/* Write all of it, as a UART would: again and again. */
static void write_all(const char *text)
{
	size_t len = strlen(text);

	for (u32 tries = 0; len; tries++) {
		size_t n = stream_write(&s, text, len);

		ck_assert_uint_lt(tries, 1000);
		text += n;
		len -= n;
	}
}

START_TEST(output_goes_into_a_redirected_file)
{
	int file = temp_file("", 0, NULL), null = open("/dev/null", O_RDONLY);
	char content[32] = "";

	open_on(null, file);
	write_all("hello, file");
	ck_assert_int_eq(pread(file, content, sizeof(content), 0), 11);
	ck_assert_str_eq(content, "hello, file");
	stream_close(&s);
	close(file);
	close(null);
}

START_TEST(a_socket_that_is_full_does_not_block_us)
{
	int ends[2], null = open("/dev/null", O_RDONLY);
	static char chunk[4096], drain[1 << 20];
	u64 total = 0, n;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	open_on(null, ends[1]);
	do {
		n = stream_write(&s, chunk, sizeof(chunk));
		total += n;
	} while (n);
	ck_assert_uint_gt(total, 0);
	stream_want_write(&s, true);
	loop_settle(l);
	ck_assert_uint_eq(writable, 0);
	while (recv(ends[0], drain, sizeof(drain), MSG_DONTWAIT) > 0)
		;
	loop_settle(l);
	ck_assert_uint_eq(writable, 1);
	stream_close(&s);
	close(ends[0]);
	close(ends[1]);
	close(null);
}

START_TEST(closed_standard_streams_are_no_input_and_no_output)
{
	open_on(-1, -1);
	ck_assert_uint_eq(stream_write(&s, "abc", 3), 3);
	ck_assert_uint_eq(stream_read(&s, got, 3), 0);
	stream_want_read(&s, true);
	stream_want_write(&s, true);
	loop_settle(l);
	ck_assert_uint_eq(readable + writable, 0);
	stream_close(&s);
}

START_TEST(a_stream_without_ends_takes_all_and_gives_nothing)
{
	ck_assert_uint_eq(stream_write(&s, "abc", 3), 3);
	ck_assert_uint_eq(stream_read(&s, got, 3), 0);
}

START_TEST(an_output_file_is_made_or_emptied)
{
	char dir[] = "/tmp/minivmm-unit-XXXXXX", path[64], content[32] = "";
	struct stat st;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/serial", dir);
	for (u32 round = 0; round < 2; round++) {
		stream_init(&s, l);
		ck_assert_int_eq(stream_open_file(&s, path), 0);
		write_all(round ? "2nd" : "the first");
		stream_close(&s);
	}
	fd = open(path, O_RDONLY);
	ck_assert_int_eq(read(fd, content, sizeof(content)), 3);
	ck_assert_str_eq(content, "2nd");
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777 & ~0644, 0);
	close(fd);
	unlink(path);
	rmdir(dir);
}

START_TEST(an_output_file_that_cannot_be_made_is_named)
{
	stream_init(&s, l);
	ck_assert_int_eq(stream_open_file(&s, "/nonexistent/serial"), -ENOENT);
	expect_said("/nonexistent/serial: No such file");
	stream_init(&s, l);
	ck_assert_int_eq(stream_open_file(&s, "/"), -EISDIR);
	expect_said("/: Is a directory");
}

START_TEST(closing_twice_is_harmless)
{
	open_pipes();
	stream_close(&s);
	stream_close(&s);
	close_pipes();
}

/* A terminal: we type on `master`; `slave` is the program's end. */
static int master, slave;
static struct termios before;

static void open_terminal(bool with_keys)
{
	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	s.readable = on_readable;
	s.writable = on_writable;
	s.command = with_keys ? on_command : NULL;
	stdio_begin(slave, slave);
	ck_assert_int_eq(stream_open_stdio(&s), 0);
	stream_want_read(&s, true);
}

/* To be called with the slave still standard input: that is what is restored. */
static void close_terminal(void)
{
	stream_close(&s);
	stdio_end();
	close(master);
	close(slave);
}

/* What is typed passes through a kernel worker: wait until all of it is there. */
static void type(const char *text)
{
	struct pollfd p = { .fd = slave, .events = POLLIN };
	int n = 0;

	ck_assert_int_eq(write(master, text, strlen(text)), strlen(text));
	while (n < (int)strlen(text)) {
		ck_assert_int_eq(poll(&p, 1, 10000), 1);
		ck_assert_int_eq(ioctl(slave, FIONREAD, &n), 0);
	}
	loop_settle(l);
}

static bool is_raw(int fd)
{
	struct termios t;

	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool is_as_before(int fd)
{
	struct termios t;

	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	return t.c_iflag == before.c_iflag && t.c_oflag == before.c_oflag &&
	       t.c_cflag == before.c_cflag && t.c_lflag == before.c_lflag &&
	       memcmp(t.c_cc, before.c_cc, sizeof(t.c_cc)) == 0;
}

START_TEST(a_terminal_is_raw_until_the_stream_closes)
{
	open_terminal(true);
	ck_assert(is_raw(slave));
	stream_close(&s);
	ck_assert(is_as_before(slave));
	close_terminal();
}

START_TEST(a_terminal_can_be_opened_again)
{
	open_terminal(true);
	stream_close(&s);
	stream_init(&s, l);
	ck_assert_int_eq(stream_open_stdio(&s), 0);
	ck_assert(is_raw(slave));
	stream_close(&s);
	ck_assert(is_as_before(slave));
	close_terminal();
}

START_TEST(keys_arrive_one_by_one_without_a_newline)
{
	open_terminal(true);
	type("a");
	expect_got("a");
	type("\x03\x04\r"); /* Ctrl-C, Ctrl-D and Enter are the guest's */
	expect_got("a\x03\x04\r");
	close_terminal();
}

START_TEST(output_reaches_the_terminal)
{
	char seen[16] = "";

	open_terminal(true);
	write_all("hello");
	for (ssize_t n = 0; n < 5; n += read(master, seen + n, sizeof(seen) - n))
		;
	ck_assert_str_eq(seen, "hello");
	close_terminal();
}

START_TEST(the_key_after_the_escape_key_is_a_command)
{
	open_terminal(true);
	type("one\x01xtwo");
	expect_got("onetwo");
	ck_assert_str_eq(keys, "x");
	close_terminal();
}

START_TEST(the_escape_key_is_remembered_from_read_to_read)
{
	open_terminal(true);
	type("\x01");
	ck_assert_uint_eq(ngot, 0);
	ck_assert_uint_eq(nkeys, 0);
	type("p");
	ck_assert_uint_eq(ngot, 0);
	ck_assert_str_eq(keys, "p");
	type("q");
	expect_got("q");
	close_terminal();
}

START_TEST(the_escape_key_twice_is_sent_once)
{
	open_terminal(true);
	type("\x01\x01x\x01\x01\x01h");
	expect_got("\x01x\x01");
	ck_assert_str_eq(keys, "h");
	close_terminal();
}

START_TEST(without_commands_the_escape_key_is_the_guests)
{
	open_terminal(false);
	type("\x01x");
	expect_got("\x01x");
	close_terminal();
}

START_TEST(from_a_pipe_the_escape_key_is_the_guests)
{
	s.command = on_command;
	open_pipes();
	stream_want_read(&s, true);
	ck_assert_int_eq(write(in[1], "\x01x", 2), 2);
	loop_settle(l);
	expect_got("\x01x");
	ck_assert_uint_eq(nkeys, 0);
	close_pipes();
}

START_TEST(a_terminal_that_hangs_up_is_the_end_of_the_input)
{
	open_terminal(true);
	close(master);
	loop_settle(l);
	readable = 0;
	loop_settle(l);
	ck_assert_uint_eq(readable, 0);
	close_terminal();
}

/* In a child with a raw terminal: end it by `sig`. Returns what ended it. */
static int die_by(int sig)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (terminal_raw() < 0 || !is_raw(slave))
			_exit(99);
		raise(sig);
		_exit(98);
	}
	ck_assert_int_gt(child, 0);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	return WTERMSIG(status);
}

START_TEST(a_fatal_signal_restores_the_terminal_and_still_kills)
{
	static const int fatal[] = { SIGABRT, SIGSEGV, SIGBUS,	SIGILL, SIGFPE,
				     SIGQUIT, SIGTRAP, SIGALRM, SIGSYS, SIGUSR1 };

	ck_assert_int_eq(openpty(&master, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	stdio_begin(slave, slave);
	for (u32 i = 0; i < ARRAY_SIZE(fatal); i++) {
		ck_assert_int_eq(die_by(fatal[i]), fatal[i]);
		ck_assert(is_as_before(slave));
	}
	stdio_end();
	close(master);
	close(slave);
}

START_TEST(restoring_what_is_not_raw_is_harmless)
{
	terminal_restore();
}

START_TEST(what_is_no_terminal_cannot_be_raw)
{
	int null = open("/dev/null", O_RDWR);

	stdio_begin(null, null);
	ck_assert_int_eq(terminal_raw(), -ENOTTY);
	stdio_end();
	close(null);
}

Suite *stream_suite(void)
{
	Suite *su = suite_create("stream");
	TCase *t = tcase_create("stream");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, input_is_read_when_it_is_wanted);
	tcase_add_test(t, a_read_takes_no_more_than_it_has_room_for);
	tcase_add_test(t, the_end_of_the_input_is_quiet);
	tcase_add_test(t, the_end_of_a_sockets_input_is_quiet_too);
	tcase_add_test(t, a_full_pipe_takes_no_more_until_it_is_read);
	tcase_add_test(t, our_non_blocking_mode_is_not_the_shells);
	tcase_add_test(t, output_that_nobody_reads_any_more_is_dropped);
	tcase_add_test(t, a_file_is_read_to_its_end);
	tcase_add_test(t, reading_a_file_can_pause);
	tcase_add_test(t, dev_null_is_an_empty_input_and_a_bottomless_output);
	tcase_add_test(t, output_goes_into_a_redirected_file);
	tcase_add_test(t, a_socket_that_is_full_does_not_block_us);
	tcase_add_test(t, closed_standard_streams_are_no_input_and_no_output);
	tcase_add_test(t, a_stream_without_ends_takes_all_and_gives_nothing);
	tcase_add_test(t, an_output_file_is_made_or_emptied);
	tcase_add_test(t, an_output_file_that_cannot_be_made_is_named);
	tcase_add_test(t, closing_twice_is_harmless);
	suite_add_tcase(su, t);

	t = tcase_create("terminal");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_terminal_is_raw_until_the_stream_closes);
	tcase_add_test(t, a_terminal_can_be_opened_again);
	tcase_add_test(t, keys_arrive_one_by_one_without_a_newline);
	tcase_add_test(t, output_reaches_the_terminal);
	tcase_add_test(t, the_key_after_the_escape_key_is_a_command);
	tcase_add_test(t, the_escape_key_is_remembered_from_read_to_read);
	tcase_add_test(t, the_escape_key_twice_is_sent_once);
	tcase_add_test(t, without_commands_the_escape_key_is_the_guests);
	tcase_add_test(t, from_a_pipe_the_escape_key_is_the_guests);
	tcase_add_test(t, a_terminal_that_hangs_up_is_the_end_of_the_input);
	tcase_add_test(t, a_fatal_signal_restores_the_terminal_and_still_kills);
	tcase_add_test(t, restoring_what_is_not_raw_is_harmless);
	tcase_add_test(t, what_is_no_terminal_cannot_be_raw);
	suite_add_tcase(su, t);
	return su;
}
