// SPDX-License-Identifier: MIT
/*
 * stream_pty.c - a pseudo-terminal as a stream. See stream.h and stream_kind.h.
 *
 * How it works: we hold the master; whoever opens the slave, /dev/pts/N, is connected. When all of
 * them have closed it, the master reports a hang-up. When somebody opens it again, it reports
 * nothing, so an inotify on the slave's name is the door.
 *
 * The slave is opened and closed once at the start: the master of one that has never been open does
 * not report a hang-up.
 */
#include "minivmm/log.h"
#include "vmm/stream_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#define NAME_MAX_LEN 64

static bool slave_open(const struct stream *s)
{
	struct pollfd p = { .fd = s->out_fd };

	return poll(&p, 1, 0) == 0;
}

/* No echo, no signals, no translation. Raw again when all have left, whatever they had set: a
 * terminal that echoes would send the guest its own output. */
static void make_raw(int fd)
{
	struct termios t;

	if (tcgetattr(fd, &t) == 0) {
		cfmakeraw(&t);
		tcsetattr(fd, TCSANOW, &t);
	}
}

/* It may have been forgotten when it ended; or it is still watched, since something is left. */
static void watch_input(struct stream *s)
{
	if (s->want_read)
		loop_add(s->loop, &s->in, EPOLLIN);
}

static bool pty_opened(struct stream *s)
{
	char events[4096];

	while (read(s->door.fd, events, sizeof(events)) > 0)
		;
	if (!slave_open(s))
		return false;
	watch_input(s);
	if (s->connected)
		return false;
	stream_came(s);
	return true;
}

static void pty_hung_up(struct stream *s)
{
	if (slave_open(s)) {
		watch_input(s); /* somebody else has come, and the door may have told already */
		return;
	}
	make_raw(s->out_fd);
	stream_left(s);
}

/* EIO: nobody is there, and all that they typed has been read. */
static void pty_input_ended(struct stream *s)
{
	loop_forget(s->loop, &s->in);
}

static const struct stream_kind pty_kind = {
	.opened = pty_opened,
	.hung_up = pty_hung_up,
	.input_ended = pty_input_ended,
};

/* The master, in raw mode, and the slave's name. */
static int open_master(struct stream *s, char name[NAME_MAX_LEN])
{
	int slave;

	s->in_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (s->in_fd < 0 || grantpt(s->in_fd) < 0 || unlockpt(s->in_fd) < 0)
		return -errno;
	s->out_fd = fcntl(s->in_fd, F_DUPFD_CLOEXEC, 3);
	if (s->out_fd < 0 || ptsname_r(s->in_fd, name, NAME_MAX_LEN) != 0)
		return -errno;
	s->in.fd = s->in_fd;
	s->out.fd = s->out_fd;
	make_raw(s->in_fd);
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0)
		return -errno;
	close(slave);
	return 0;
}

static int open_door(struct stream *s, const char *name)
{
	s->door.fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (s->door.fd < 0 || inotify_add_watch(s->door.fd, name, IN_OPEN) < 0)
		return -errno;
	return stream_kind_init(s, &pty_kind);
}

/* A link that an earlier run has left may go; nothing else may. */
static int make_link(struct stream *s, const char *name, const char *link)
{
	char old[PATH_MAX];
	ssize_t n = readlink(link, old, sizeof(old));

	if (n > 9 && memcmp(old, "/dev/pts/", 9) == 0)
		unlink(link);
	return symlink(name, link) < 0 ? -errno : stream_owns_path(s, link);
}

int stream_open_pty(struct stream *s, const char *link)
{
	char name[NAME_MAX_LEN] = "";
	int err = open_master(s, name);

	if (err) {
		log_err("no pseudo-terminal: %s", strerror(-err));
		goto close;
	}
	err = open_door(s, name);
	if (err) {
		log_err("%s: %s%s", name, strerror(-err),
			err == -EMFILE ? "; raise /proc/sys/fs/inotify/max_user_instances" : "");
		goto close;
	}
	err = link ? make_link(s, name, link) : 0;
	if (err) {
		log_err("%s: %s%s", link, strerror(-err),
			err == -EEXIST ? "; remove it, or choose another name for the link" : "");
		goto close;
	}
	log_info("pseudo-terminal %s%s%s (attach with: screen %s)", name, link ? ", link " : "",
		 link ? link : "", link ? link : name);
	return 0;
close:
	stream_close(s);
	return err;
}
