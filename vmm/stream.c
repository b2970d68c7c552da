// SPDX-License-Identifier: MIT
/*
 * stream.c - byte streams over file descriptors: standard streams and files, and what all streams
 * have in common. See stream.h.
 *
 * How it works: O_NONBLOCK belongs to the open file, which standard input and output share with
 * the shell that started us, so it is not ours to set; a terminal or pipe is opened anew through
 * /proc/self/fd instead. What epoll does not take (a regular file, /dev/null) is always ready: an
 * eventfd that always is stands in for it. Streams at whose other end people come and go are told
 * apart by s->kind: see stream_kind.h.
 *
 * A terminal in raw mode with an escape key is read all the time, lest a guest that does not read
 * lock the user out: what the owner does not want yet waits in s->ahead. When that is full, only
 * the escape key and what follows it are still heeded.
 */
#include "minivmm/stream.h"
#include "minivmm/log.h"
#include "vmm/stream_kind.h"
#include "vmm/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ESCAPE_KEY 0x01	      /* Ctrl-A */
#define AHEAD_MAX  (64 * KIB) /* more than people paste: a guest that is only slow loses nothing */

static void read_ahead(struct stream *s);

static void in_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, in);
	bool want;

	(void)events;
	pthread_mutex_lock(&s->lock);
	want = s->want_read || !s->ahead;
	pthread_mutex_unlock(&s->lock);
	if (want)
		s->readable(s);
	else
		read_ahead(s);
}

static void held_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, held);

	(void)events;
	s->readable(s);
}

/* Whoever was at the other end seems to have left. */
static void hang_up(struct stream *s)
{
	bool left = false;

	pthread_mutex_lock(&s->lock);
	if (s->connected) {
		s->kind->hung_up(s);
		left = !s->connected;
	}
	pthread_mutex_unlock(&s->lock);
	if (left && s->connection)
		s->connection(s);
}

static void out_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, out);

	if (s->kind && (events & (EPOLLHUP | EPOLLERR)))
		hang_up(s); /* what the owner has yet to write, `bottomless` will take */
	else
		s->writable(s);
}

static void bottomless_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, bottomless);

	(void)events;
	s->writable(s);
}

static void door_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, door);
	bool came;

	(void)events;
	pthread_mutex_lock(&s->lock);
	came = s->kind->opened(s);
	pthread_mutex_unlock(&s->lock);
	if (came && s->connection)
		s->connection(s);
}

void stream_init(struct stream *s, struct loop *loop)
{
	*s = (struct stream){
		.loop = loop,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.in_fd = -1,
		.out_fd = -1,
		.in = { .fd = -1, .ready = in_ready },
		.out = { .fd = -1, .ready = out_ready },
		.door = { .fd = -1, .ready = door_ready },
		.bottomless = { .fd = -1, .ready = bottomless_ready },
		.held = { .fd = -1, .ready = held_ready },
		.later = { .fd = -1 },
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

static bool is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Heed the escape key from now on. Returns 0 or -errno. */
static int watch_keys(struct stream *s)
{
	s->ahead = malloc(AHEAD_MAX);
	if (!s->ahead)
		return -ENOMEM;
	s->held.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	return s->held.fd < 0 ? -errno : loop_add(s->loop, &s->in, EPOLLIN);
}

int stream_open_stdio(struct stream *s)
{
	int err;

	s->in_fd = reopen(STDIN_FILENO, O_RDONLY);
	s->out_fd = reopen(STDOUT_FILENO, O_WRONLY);
	s->in.fd = s->in_fd;
	s->out.fd = s->out_fd;
	s->out_may_block =
		s->out_fd >= 0 && !(fcntl(s->out_fd, F_GETFL) & O_NONBLOCK) && !is_file(s->out_fd);
	if (s->in_fd >= 0 && isatty(STDIN_FILENO)) {
		err = terminal_raw();
		s->terminal = !err;
		if (!err && s->command)
			err = watch_keys(s);
		if (err) {
			log_err("the terminal: %s", strerror(-err));
			stream_close(s);
			return err;
		}
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

int stream_kind_init(struct stream *s, const struct stream_kind *kind)
{
	s->kind = kind;
	s->bottomless.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->bottomless.fd < 0)
		return -errno;
	return loop_add(s->loop, &s->door, EPOLLIN);
}

void stream_came(struct stream *s)
{
	s->connected = true;
	s->out.fd = s->out_fd;
	loop_del(s->loop, &s->bottomless);
	loop_add(s->loop, &s->out, s->want_write ? EPOLLOUT : 0);
}

void stream_left(struct stream *s)
{
	s->connected = false;
	loop_del(s->loop, &s->out);
	if (s->want_write)
		loop_add(s->loop, &s->bottomless, EPOLLIN);
}

void stream_set_input(struct stream *s, int fd)
{
	if (s->in_fd >= 0) {
		loop_forget(s->loop, &s->in);
		close(s->in_fd);
	}
	s->in_fd = fd;
	s->in.fd = fd;
	if (fd >= 0 && s->want_read)
		loop_add(s->loop, &s->in, EPOLLIN);
}

int stream_owns_path(struct stream *s, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	s->path = strdup(path);
	s->path_dev = st.st_dev;
	s->path_ino = st.st_ino;
	return s->path ? 0 : -ENOMEM;
}

static void remove_path(struct stream *s)
{
	struct stat st;

	if (s->path && lstat(s->path, &st) == 0 && st.st_dev == s->path_dev &&
	    st.st_ino == s->path_ino)
		unlink(s->path);
	free(s->path);
	s->path = NULL;
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

static void close_fd(struct stream *s, struct loop_fd *lf)
{
	if (lf->fd < 0)
		return;
	loop_del(s->loop, lf);
	close(lf->fd);
	lf->fd = -1;
}

void stream_close(struct stream *s)
{
	if (!s->loop)
		return;
	remove_path(s);
	close_side(s, &s->in, &s->in_fd);
	close_side(s, &s->out, &s->out_fd);
	close_fd(s, &s->door);
	close_fd(s, &s->later);
	close_fd(s, &s->bottomless);
	close_fd(s, &s->held);
	free(s->ahead);
	s->ahead = NULL;
	s->nahead = 0;
	s->kind = NULL;
	s->connected = false;
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

/* Tell the owner of what was read ahead, or no longer. */
static void offer_ahead(struct stream *s)
{
	if (s->want_read && s->nahead)
		loop_add(s->loop, &s->held, EPOLLIN);
	else
		loop_forget(s->loop, &s->held);
}

static void want_read(struct stream *s, bool want)
{
	if (s->in_fd < 0 && !s->kind && !s->ahead)
		return;
	if (want == s->want_read)
		return;
	s->want_read = want;
	if (s->ahead)
		offer_ahead(s);
	else if (want)
		watch(s, &s->in, EPOLLIN);
	else
		loop_forget(s->loop, &s->in);
}

void stream_want_read(struct stream *s, bool want)
{
	pthread_mutex_lock(&s->lock);
	want_read(s, want);
	pthread_mutex_unlock(&s->lock);
}

static void want_write(struct stream *s, bool want)
{
	struct loop_fd *lf = s->kind && !s->connected ? &s->bottomless : &s->out;

	if (lf->fd < 0 || want == s->want_write)
		return;
	s->want_write = want;
	if (s->connected)
		loop_mod(s->loop, lf, want ? EPOLLOUT : 0);
	else if (want)
		watch(s, lf, s->kind ? EPOLLIN : EPOLLOUT);
	else
		loop_forget(s->loop, lf);
}

void stream_want_write(struct stream *s, bool want)
{
	pthread_mutex_lock(&s->lock);
	want_write(s, want);
	pthread_mutex_unlock(&s->lock);
}

bool stream_connected(struct stream *s)
{
	bool connected;

	pthread_mutex_lock(&s->lock);
	connected = !s->kind || s->connected;
	pthread_mutex_unlock(&s->lock);
	return connected;
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

/* The end, or the other side has gone. */
static void end_input(struct stream *s)
{
	if (s->kind) {
		s->kind->input_ended(s);
		return;
	}
	want_read(s, false);
	loop_forget(s->loop, &s->in);
	close(s->in_fd);
	if (s->in.fd != s->in_fd)
		close(s->in.fd);
	s->in_fd = -1;
	s->in.fd = -1;
}

static size_t read_some(struct stream *s, void *buf, size_t len)
{
	ssize_t n;

	if (s->in_fd < 0 || !len)
		return 0;
	n = read(s->in_fd, buf, len);
	if (n > 0)
		return n;
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		end_input(s);
	return 0;
}

/* The owner does not want to read, but there may be a command in it. */
static void read_ahead(struct stream *s)
{
	u8 chunk[4096]; /* all that a terminal holds */
	size_t n, room;

	pthread_mutex_lock(&s->lock);
	n = read_some(s, chunk, sizeof(chunk));
	pthread_mutex_unlock(&s->lock);
	n = filter_escape(s, chunk, n);

	pthread_mutex_lock(&s->lock);
	room = AHEAD_MAX - s->nahead;
	if (n > room)
		n = room;
	memcpy(s->ahead + s->nahead, chunk, n);
	s->nahead += n;
	offer_ahead(s);
	pthread_mutex_unlock(&s->lock);
}

/* Take what was read ahead. */
static size_t take_ahead(struct stream *s, void *buf, size_t len)
{
	size_t n = len < s->nahead ? len : s->nahead;

	memcpy(buf, s->ahead, n);
	s->nahead -= n;
	memmove(s->ahead, s->ahead + n, s->nahead);
	offer_ahead(s);
	return n;
}

size_t stream_read(struct stream *s, void *buf, size_t len)
{
	bool ahead;
	size_t n;

	pthread_mutex_lock(&s->lock);
	ahead = s->nahead;
	n = ahead ? take_ahead(s, buf, len) : read_some(s, buf, len);
	pthread_mutex_unlock(&s->lock);
	return s->ahead && !ahead ? filter_escape(s, buf, n) : n;
}

static bool has_room(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1;
}

/* What is written is lost. Who has gone away does not miss it; a full disk is told, once. */
static void tell_loss(struct stream *s, int err)
{
	char link[32], name[256] = "output";
	ssize_t n;

	if (s->loss_told || (err != ENOSPC && err != EDQUOT && err != EFBIG && err != EIO))
		return;
	s->loss_told = true;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", s->out_fd);
	n = readlink(link, name, sizeof(name) - 1);
	if (n > 0)
		name[n] = '\0';
	log_err("%s: %s: output is lost", name, strerror(err));
}

static size_t write_some(struct stream *s, const void *buf, size_t len)
{
	ssize_t n;

	if (s->out_fd < 0 || (s->kind && !s->connected) || !len)
		return len;
	/* What could not be opened anew might block: then one byte at a time, if there is room. */
	if (s->out_may_block) {
		if (!has_room(s->out_fd))
			return 0;
		len = 1;
	}
	n = write(s->out_fd, buf, len);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		return 0;
	tell_loss(s, errno);
	return len;
}

size_t stream_write(struct stream *s, const void *buf, size_t len)
{
	size_t n;

	pthread_mutex_lock(&s->lock);
	n = write_some(s, buf, len);
	pthread_mutex_unlock(&s->lock);
	return n;
}

int stream_window_size(struct stream *s, u16 *columns, u16 *rows)
{
	struct winsize size = { 0 };

	pthread_mutex_lock(&s->lock);
	if (ioctl(s->out_fd, TIOCGWINSZ, &size) < 0)
		ioctl(s->in_fd, TIOCGWINSZ, &size);
	pthread_mutex_unlock(&s->lock);
	if (!size.ws_col || !size.ws_row)
		return -ENOTTY;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return 0;
}
