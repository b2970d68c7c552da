// SPDX-License-Identifier: MIT
/*
 * stream.c - byte streams over file descriptors. See stream.h.
 *
 * How it works: O_NONBLOCK belongs to the open file, which standard input and output share with
 * the shell that started us, so it is not ours to set; a terminal or pipe is opened anew through
 * /proc/self/fd instead. What epoll does not take (a regular file, /dev/null) is always ready: an
 * eventfd that always is stands in for it.
 */
#include "minivmm/stream.h"
#include "minivmm/log.h"
#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define ESCAPE_KEY 0x01 /* Ctrl-A */

static void in_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, in);

	(void)events;
	s->readable(s);
}

static void out_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, out);

	(void)events;
	s->writable(s);
}

void stream_init(struct stream *s, struct loop *loop)
{
	*s = (struct stream){
		.loop = loop,
		.in_fd = -1,
		.out_fd = -1,
		.in = { .fd = -1, .ready = in_ready },
		.out = { .fd = -1, .ready = out_ready },
	};
}

/* Our own open file of descriptor `fd`, not blocking where it can be had. Returns it or -errno. */
static int reopen(int fd, int mode)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode))
		own = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (own < 0)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return own < 0 ? -errno : own;
}

int stream_open_stdio(struct stream *s)
{
	int err;

	s->in_fd = reopen(STDIN_FILENO, O_RDONLY);
	s->out_fd = reopen(STDOUT_FILENO, O_WRONLY);
	s->in.fd = s->in_fd;
	s->out.fd = s->out_fd;
	s->out_may_block = s->out_fd >= 0 && !(fcntl(s->out_fd, F_GETFL) & O_NONBLOCK);
	if (s->in_fd >= 0 && isatty(STDIN_FILENO)) {
		err = terminal_raw();
		if (err) {
			log_err("the terminal: %s", strerror(-err));
			stream_close(s);
			return err;
		}
		s->terminal = true;
	}
	return 0; /* closed at the start is fine: no input, or no output */
}

int stream_open_file(struct stream *s, const char *path)
{
	s->out_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
	s->out.fd = s->out_fd;
	if (s->out_fd < 0) {
		int err = -errno;

		log_err("%s: %s", path, strerror(-err));
		return err;
	}
	return 0;
}

static void close_side(struct stream *s, struct loop_fd *lf, int *fd)
{
	if (lf->fd >= 0)
		loop_del(s->loop, lf);
	if (lf->fd >= 0 && lf->fd != *fd)
		close(lf->fd);
	if (*fd >= 0)
		close(*fd);
	lf->fd = -1;
	*fd = -1;
}

void stream_close(struct stream *s)
{
	if (!s->loop)
		return;
	close_side(s, &s->in, &s->in_fd);
	close_side(s, &s->out, &s->out_fd);
	if (s->terminal)
		terminal_restore();
	s->terminal = false;
}

/* Watch a side; what epoll refuses is always ready, and so is its stand-in. */
static void watch(struct stream *s, struct loop_fd *lf, u32 events)
{
	if (lf->fd >= 0 && loop_add(s->loop, lf, events) == -EPERM) {
		lf->fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
		if (lf->fd >= 0)
			loop_add(s->loop, lf, EPOLLIN);
	}
}

void stream_want_read(struct stream *s, bool want)
{
	if (s->in_fd < 0 || want == s->want_read)
		return;
	s->want_read = want;
	if (want)
		watch(s, &s->in, EPOLLIN);
	else
		loop_forget(s->loop, &s->in);
}

void stream_want_write(struct stream *s, bool want)
{
	if (s->out_fd < 0 || want == s->want_write)
		return;
	s->want_write = want;
	if (want)
		watch(s, &s->out, EPOLLOUT);
	else
		loop_forget(s->loop, &s->out);
}

/* Take the escape key and what follows it out of the input. Returns what is left. */
static size_t filter_escape(struct stream *s, u8 *buf, size_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < len; i++) {
		if (s->escaped) {
			s->escaped = false;
			if (buf[i] == ESCAPE_KEY)
				buf[kept++] = buf[i];
			else
				s->command(s, buf[i]);
		} else if (buf[i] == ESCAPE_KEY) {
			s->escaped = true;
		} else {
			buf[kept++] = buf[i];
		}
	}
	return kept;
}

size_t stream_read(struct stream *s, void *buf, size_t len)
{
	ssize_t n;

	if (s->in_fd < 0 || !len)
		return 0;
	n = read(s->in_fd, buf, len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) { /* the end, or the other side has gone */
		stream_want_read(s, false);
		close(s->in_fd);
		if (s->in.fd != s->in_fd)
			close(s->in.fd);
		s->in_fd = -1;
		s->in.fd = -1;
		return 0;
	}
	return s->terminal && s->command ? filter_escape(s, buf, n) : (size_t)n;
}

static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1;
}

size_t stream_write(struct stream *s, const void *buf, size_t len)
{
	ssize_t n;

	if (s->out_fd < 0 || !len)
		return len;
	/* What could not be opened anew might block: then one byte at a time, if there is room. */
	if (s->out_may_block) {
		if (!has_room(s->out_fd))
			return 0;
		len = 1;
	}
	n = write(s->out_fd, buf, len);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : len;
	return n;
}
