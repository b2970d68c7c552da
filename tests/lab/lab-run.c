// SPDX-License-Identifier: MIT
/*
 * lab-run: run QEMU as the lab host, hand it a job, and behave as if the job ran here.
 *
 *	lab-run [-q] [-v] [-t SECONDS] [-l LOG] RECORD... -- QEMU [ARGUMENT...]
 *
 * How it works
 *
 *	    stdin ──> thread ──> fd 10  in  ─┐
 *	    stdout <─ thread <── fd 11  out ─┤  QEMU's chardevs: virtio-serial ports of the lab host
 *	    stderr <─ thread <── fd 12  err ─┤  (lab-init.c tells what happens at their other end)
 *	    main  <────────────> fd 13  ctl ─┘
 *	    main  <── QEMU's stdout and stderr: the host's console ──> the log
 *
 * QEMU gets its ends as open descriptors, so there are no sockets in the file system to remove. The
 * records are for lab-init; lab-run adds "tty=" and "go". When the result has come, QEMU is killed:
 * the host is disposable. What the command wrote is then in our sockets, and the threads finish it.
 *
 * The log is a file without a name. It gets one only if the host fails, so that nothing is left
 * behind otherwise, whatever happens to us. If we are killed, QEMU is too (PR_SET_PDEATHSIG).
 *
 * If stdin and stdout are terminals and we are in the foreground, the terminal is put in raw mode:
 * every key goes to the lab host. Pressing Ctrl-] three times ends a host that no longer answers.
 *
 * Exit status: the command's; 128 + N if signal N ended it; 124 out of time; 125 the host failed.
 *
 * Threads: main owns everything but the three streams. A thread a stream, blocking; `ctl` takes
 * records from any of them (one write each).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_FD = 10, STREAMS = 3, CTL = 3, EXIT_TIMEOUT = 124, EXIT_HOST = 125 };

struct run {
	/* fixed after start */
	int sock[STREAMS + 1]; /* in, out, err, ctl: our ends */
	int console;	       /* QEMU's stdout and stderr */
	pid_t qemu;
	int interactive;
	int quiet, verbose, timeout;
	const char *log_name;
	struct timespec start;
	/* owner: main; `lost` is written by the output threads, read after joining them */
	int log;
	int ready;	     /* the command has started */
	int lost;	     /* errno of an output that could not be written, or 0 */
	char last_line[256]; /* of the console, for the message when QEMU fails */
	size_t last_len;
	pthread_t thread[STREAMS];
};

static struct termios saved_termios;
static volatile sig_atomic_t terminal_is_raw;

static void restore_terminal(void)
{
	if (terminal_is_raw)
		tcsetattr(0, TCSADRAIN, &saved_termios);
	terminal_is_raw = 0;
}

static void say(const char *fmt, ...)
{
	char buf[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	dprintf(2, "lab: %s%s\n", buf, terminal_is_raw ? "\r" : "");
}

static int elapsed_ms(const struct run *r)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - r->start.tv_sec) * 1000 + (now.tv_nsec - r->start.tv_nsec) / 1000000;
}

static int write_all(int fd, const char *buf, size_t len)
{
	for (ssize_t n; len; buf += n, len -= n) {
		n = write(fd, buf, len);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return -errno;
	}
	return 0;
}

static void send_record(const struct run *r, const char *fmt, ...)
{
	char buf[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	write_all(r->sock[CTL], buf, strlen(buf) + 1);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void kill_qemu(struct run *r)
{
	if (r->qemu > 0) {
		kill(r->qemu, SIGKILL);
		waitpid(r->qemu, NULL, 0);
	}
	r->qemu = -1;
}

/* The host failed: give the log a name, say where it is, leave. */
static void __attribute__((noreturn)) fail(struct run *r, int status, const char *what)
{
	char name[4096], self[64];
	const char *dir = getenv("TMPDIR");

	kill_qemu(r);
	restore_terminal();
	if (r->log_name) {
		snprintf(name, sizeof(name), "%s", r->log_name);
	} else {
		snprintf(name, sizeof(name), "%s/minivmm-lab-%d.log", dir ? dir : "/tmp", getpid());
		snprintf(self, sizeof(self), "/proc/self/fd/%d", r->log);
		unlink(name);
		if (linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0)
			snprintf(name, sizeof(name), "lost (%s)", strerror(errno));
	}
	say("%s (the host's console: %s)", what, name);
	exit(status);
}

/* The command has ended: pass on the rest of its output, then leave with its status. */
static void __attribute__((noreturn)) finish(struct run *r, int status)
{
	sigset_t all;

	kill_qemu(r);
	/* Whoever reads our output may never do so: let signals end us as usual. */
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	for (int i = 1; i < STREAMS; i++)
		pthread_join(r->thread[i], NULL);
	restore_terminal();
	if (r->lost) {
		say("the command's output could not be written: %s", strerror(r->lost));
		exit(EXIT_HOST);
	}
	exit(status);
}

/* A signal to us ends the host, then us, in the way the sender expects. */
static void __attribute__((noreturn)) die_of(struct run *r, int sig)
{
	sigset_t set;

	kill_qemu(r);
	restore_terminal();
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
	exit(128 + sig);
}

/* --- the streams ------------------------------------------------------------------------------ */

/* stdin to the host. Its end is passed on as the end of the socket. */
static void *pump_in(void *arg)
{
	struct run *r = arg;
	char buf[1 << 16];
	int escapes = 0;
	ssize_t n;

	while ((n = read(0, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; r->interactive && i < n; i++) {
			escapes = buf[i] == 0x1d ? escapes + 1 : 0;
			if (escapes == 3)
				kill(getpid(), SIGTERM);
		}
		if (write_all(r->sock[0], buf, n) < 0)
			break;
	}
	shutdown(r->sock[0], SHUT_WR);
	return NULL;
}

/* stdout or stderr from the host. If nobody takes it any more, tell the host, which closes the
 * command's end (it may then get SIGPIPE, as it would here); what is under way is dropped. */
static void pump_out(struct run *r, int fd)
{
	char buf[1 << 16];
	int open = 1, err;
	ssize_t n;

	while ((n = read(r->sock[fd], buf, sizeof(buf))) > 0) {
		err = open ? write_all(fd, buf, n) : 0;
		if (err) {
			open = 0;
			if (err != -EPIPE)
				r->lost = -err;
			send_record(r, "closed=%d", fd);
		}
	}
}

static void *pump_stdout(void *arg)
{
	pump_out(arg, 1);
	return NULL;
}

static void *pump_stderr(void *arg)
{
	pump_out(arg, 2);
	return NULL;
}

/* --- QEMU ------------------------------------------------------------------------------------- */

static void start_qemu(struct run *r, char **argv)
{
	int pair[2], theirs[STREAMS + 1], console[2], null;
	pid_t parent = getpid();
	sigset_t none;

	for (int i = 0; i <= STREAMS; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
			fail(r, EXIT_HOST, "cannot make a socket pair");
		r->sock[i] = pair[0];
		/* Out of the way of the numbers they shall have in QEMU. */
		theirs[i] = fcntl(pair[1], F_DUPFD_CLOEXEC, FIRST_FD + STREAMS + 1);
		close(pair[1]);
	}
	if (pipe2(console, O_CLOEXEC) < 0)
		fail(r, EXIT_HOST, "cannot make a pipe");
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	r->console = console[0];

	r->qemu = fork();
	if (r->qemu == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		setsid(); /* the terminal's signals are for us */
		dup2(null, 0);
		dup2(console[1], 1);
		dup2(console[1], 2);
		for (int i = 0; i <= STREAMS; i++)
			dup2(theirs[i], FIRST_FD + i);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execvp(argv[0], argv);
		fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	for (int i = 0; i <= STREAMS; i++)
		close(theirs[i]);
	close(console[1]);
	close(null);
	if (r->qemu < 0)
		fail(r, EXIT_HOST, "cannot fork");
}

/* Is there someone at the keyboard? Then send the keys as they are typed. */
static void set_up_terminal(struct run *r)
{
	struct winsize size = { .ws_row = 24, .ws_col = 80 };
	struct termios raw;
	int bits = 0;

	if (isatty(0) && isatty(1) && tcgetpgrp(0) == getpgrp() &&
	    tcgetattr(0, &saved_termios) == 0)
		r->interactive = 1;
	if (r->interactive) {
		bits = 3 | (isatty(2) ? 4 : 0);
		ioctl(0, TIOCGWINSZ, &size);
	}
	send_record(r, "tty=%d %d %d", bits, size.ws_row, size.ws_col);
	if (r->interactive) {
		raw = saved_termios;
		cfmakeraw(&raw);
		terminal_is_raw = 1;
		tcsetattr(0, TCSADRAIN, &raw);
	}
}

static void read_console(struct run *r)
{
	char buf[4096];
	ssize_t n = read(r->console, buf, sizeof(buf));

	if (n <= 0) {
		close(r->console);
		r->console = -1;
		return;
	}
	write_all(r->log, buf, n);
	if (r->verbose)
		write_all(2, buf, n);
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == '\n' || buf[i] == '\r') {
			r->last_len = 0;
		} else if (r->last_len < sizeof(r->last_line) - 1) {
			r->last_line[r->last_len++] = buf[i];
			r->last_line[r->last_len] = 0;
		}
	}
}

static void handle_record(struct run *r, const char *rec)
{
	static void *(*const pump[STREAMS])(void *) = { pump_in, pump_stdout, pump_stderr };
	char what[512];

	if (!strcmp(rec, "ready")) {
		r->ready = 1;
		if (!r->quiet)
			say("ready after %d ms", elapsed_ms(r));
		for (int i = 0; i < STREAMS; i++)
			pthread_create(&r->thread[i], NULL, pump[i], r);
	} else if (!strncmp(rec, "exit=", 5)) {
		finish(r, atoi(rec + 5));
	} else if (!strncmp(rec, "signal=", 7)) {
		finish(r, 128 + atoi(rec + 7));
	} else if (!strncmp(rec, "fail=", 5)) {
		snprintf(what, sizeof(what), "the host could not be set up: %s", rec + 5);
		fail(r, EXIT_HOST, what);
	}
}

static void read_ctl(struct run *r)
{
	static char buf[1024];
	static size_t have;
	char *start = buf, *nul, what[512];
	ssize_t n = read(r->sock[CTL], buf + have, sizeof(buf) - have);

	if (n <= 0) {
		while (r->console >= 0)
			read_console(r);
		if (r->ready)
			fail(r, EXIT_HOST, "the host stopped before the command ended");
		snprintf(what, sizeof(what), "the host did not start: %s", r->last_line);
		fail(r, EXIT_HOST, what);
	}
	have += n;
	for (; (nul = memchr(start, 0, buf + have - start)); start = nul + 1)
		handle_record(r, start);
	have = buf + have - start;
	memmove(buf, start, have);
}

static void handle_signal(struct run *r, int sigfd)
{
	struct signalfd_siginfo si;
	struct winsize size;

	if (read(sigfd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo != SIGWINCH)
		die_of(r, si.ssi_signo);
	if (r->interactive && ioctl(0, TIOCGWINSZ, &size) == 0)
		send_record(r, "winch=%d %d", size.ws_row, size.ws_col);
}

static void run_loop(struct run *r, int sigfd)
{
	char what[128];

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = r->sock[CTL], .events = POLLIN },
			{ .fd = r->console, .events = POLLIN },
			{ .fd = sigfd, .events = POLLIN },
		};
		int left = r->timeout ? r->timeout * 1000 - elapsed_ms(r) : -1;

		if (r->timeout && left <= 0) {
			snprintf(what, sizeof(what), "out of time after %d s%s", r->timeout,
				 r->ready ? "" : ": the host was not up yet");
			fail(r, EXIT_TIMEOUT, what);
		}
		if (poll(fds, 3, left) <= 0)
			continue;
		if (fds[2].revents)
			handle_signal(r, sigfd);
		if (fds[1].revents)
			read_console(r);
		if (fds[0].revents)
			read_ctl(r);
	}
}

static void open_log(struct run *r)
{
	const char *dir = getenv("TMPDIR");

	if (r->log_name)
		r->log = open(r->log_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	else
		r->log = open(dir ? dir : "/tmp", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0644);
	if (r->log < 0) {
		say("%s: %s", r->log_name ? r->log_name : "log", strerror(errno));
		exit(EXIT_HOST);
	}
}

int main(int argc, char **argv)
{
	static struct run r;
	sigset_t set;
	int opt, i;

	while ((opt = getopt(argc, argv, "+qvt:l:")) != -1) {
		switch (opt) {
		case 'q':
			r.quiet = 1;
			break;
		case 'v':
			r.verbose = 1;
			break;
		case 't':
			r.timeout = atoi(optarg);
			break;
		case 'l':
			r.log_name = optarg;
			break;
		default:
			return 2;
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &r.start);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTTIN, SIG_IGN); /* in the background, stdin is at its end */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGWINCH);
	sigprocmask(SIG_BLOCK, &set, NULL);
	open_log(&r);

	for (i = optind; i < argc && strcmp(argv[i], "--"); i++)
		;
	if (i + 1 >= argc)
		return 2;
	start_qemu(&r, argv + i + 1);
	atexit(restore_terminal);
	for (int rec = optind; rec < i; rec++)
		write_all(r.sock[CTL], argv[rec], strlen(argv[rec]) + 1);
	set_up_terminal(&r);
	send_record(&r, "go");
	run_loop(&r, signalfd(-1, &set, SFD_CLOEXEC));
	return 0;
}
