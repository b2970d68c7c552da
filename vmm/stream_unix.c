// SPDX-License-Identifier: MIT
/*
 * stream_unix.c - a UNIX stream socket as a stream, with one client at a time. See stream.h and
 * stream_kind.h.
 *
 * How it works: the listening socket is the door. It is watched only while there is room for a
 * client: the others wait in its backlog. What a client sent before it left is still read, while
 * the next one already gets the output:
 *
 *	               in_fd            out_fd             in_older
 *	  nobody       -                -                  no
 *	  A came       A                A                  no
 *	  A left       A, to its end    -                  no
 *	  B came       A, to its end    B                  yes
 *	  A was read   B                B                  no
 *
 * Should B leave before A has been read, having sent something, B stays in out_fd until then and C
 * waits.
 */
#include "minivmm/log.h"
#include "minivmm/unix_socket.h"
#include "vmm/stream_kind.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BACKLOG	 8
#define RETRY_MS 100

/* We are out of descriptors or memory. The door would tell again and again: look away for a while. */
static void try_later(struct stream *s, int err)
{
	const struct itimerspec t = { .it_value = { .tv_nsec = RETRY_MS * 1000000L } };

	if (!s->refusal_told)
		log_err("%s: nobody can connect for now: %s", s->path, strerror(err));
	s->refusal_told = true;
	loop_del(s->loop, &s->door);
	timerfd_settime(s->later.fd, 0, &t, NULL);
}

static void later_ready(struct loop_fd *lf, u32 events)
{
	struct stream *s = container_of(lf, struct stream, later);
	u64 n;

	(void)events;
	pthread_mutex_lock(&s->lock);
	if (read(lf->fd, &n, sizeof(n)) > 0 && s->out_fd < 0)
		loop_add(s->loop, &s->door, EPOLLIN);
	pthread_mutex_unlock(&s->lock);
}

static bool unix_opened(struct stream *s)
{
	int fd, in = -1;

	if (s->out_fd >= 0)
		return false;
	fd = accept4(s->door.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return false;
	s->in_older = s->in_fd >= 0;
	if (fd >= 0 && !s->in_older)
		in = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || (in < 0 && !s->in_older)) {
		try_later(s, errno);
		s->in_older = false;
		if (fd >= 0)
			close(fd);
		return false;
	}
	s->refusal_told = false;
	loop_del(s->loop, &s->door);
	s->out_fd = fd;
	if (!s->in_older)
		stream_set_input(s, in);
	stream_came(s);
	return true;
}

/* Room for the next client. */
static void close_output(struct stream *s)
{
	close(s->out_fd);
	s->out_fd = -1;
	s->out.fd = -1;
	loop_add(s->loop, &s->door, EPOLLIN);
}

/* Has a client that has left sent something that nobody has read yet? */
static bool unread(int fd)
{
	char c;

	return recv(fd, &c, 1, MSG_PEEK) > 0;
}

static void unix_hung_up(struct stream *s)
{
	bool words = unread(s->out_fd);

	stream_left(s);
	if (s->in_older && words)
		return;
	if (!s->in_older && !words)
		stream_set_input(s, -1);
	s->in_older = false;
	close_output(s);
}

static void unix_input_ended(struct stream *s)
{
	int next = s->in_older ? fcntl(s->out_fd, F_DUPFD_CLOEXEC, 3) : -1;

	if (s->in_older && next < 0) {
		log_err("%s: a client is sent away: %s", s->path, strerror(errno));
		shutdown(s->out_fd, SHUT_RDWR); /* it hangs up, and another may come */
	}
	stream_set_input(s, next);
	if (s->in_older && !s->connected)
		close_output(s);
	s->in_older = false;
}

static const struct stream_kind unix_kind = {
	.opened = unix_opened,
	.hung_up = unix_hung_up,
	.input_ended = unix_input_ended,
};

static int listen_at(struct stream *s, const struct sockaddr_un *addr)
{
	int err, fd = unix_listen(addr, BACKLOG);

	if (fd < 0)
		return fd;
	s->door.fd = fd;
	err = stream_owns_path(s, addr->sun_path);
	if (err) {
		unlink(addr->sun_path);
		return err;
	}
	s->later.ready = later_ready;
	s->later.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = s->later.fd < 0 ? -errno : loop_add(s->loop, &s->later, EPOLLIN);
	return err ? err : stream_kind_init(s, &unix_kind);
}

int stream_open_unix(struct stream *s, const char *path)
{
	struct sockaddr_un addr;
	int err = unix_address(&addr, path);

	if (!err)
		err = listen_at(s, &addr);
	if (err) {
		log_err("%s: %s%s", path, strerror(-err), unix_mend(err));
		stream_close(s);
	}
	return err;
}
