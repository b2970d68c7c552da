// SPDX-License-Identifier: MIT
/*
 * socket.c - a UNIX stream socket as a network cable: to another minivmm, to QEMU (`-netdev stream`),
 * to passt.
 *
 *	  length (32 bits, big-endian) │ frame │ length │ frame │ ...       in both directions
 *
 * How it works: a stream knows no frames, so any read and any write may end in the middle of one.
 *
 *	send      writes length and frame straight from the guest's memory. What did not fit is kept in
 *	          `rest`, goes out first, and until then the socket is full.
 *	receive   reads as much as there is into `in`, and hands out the frames in it one by one.
 *
 * While `in` has a whole frame, or while nobody is there and what is sent goes nowhere, there is
 * something to tell that the socket doesn't: `held`, an eventfd that always is ready, does.
 *
 * Whoever is at the other end comes and goes. A server listens, and lets in one at a time while
 * the others wait. A client that is left tries again. When the other end hangs up, what it had sent is
 * taken into `in`, so that it arrives. A length that no frame has means that the other end does not
 * speak as we do: it is left.
 *
 * Threads: the queue's loop moves frames, the main loop watches over who is there; `lock` is between
 * them, and not held while anything of the device's is called. `changed` calls the main loop when the
 * queue's loop has found that the connection is gone.
 */
#include "devices/net/frame.h"
#include "minivmm/log.h"
#include "minivmm/unix_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BACKLOG	 8
#define RETRY_MS 200
#define LEN_SIZE sizeof(u32)
#define TOLD_MAX 16	     /* the other end must not fill the log */
#define IN_SIZE	 (256 * KIB) /* what a sender's socket buffer holds, and a frame */

_Static_assert(IN_SIZE > 2 * (LEN_SIZE + FRAME_ETH_MAX), "a frame fits wherever it begins");

struct sock {
	struct peer peer;
	struct peer_queue queue;

	/* Fixed after creation. */
	struct sockaddr_un addr;
	bool server;
	struct loop *main_loop;

	/* Main loop's. */
	struct loop_fd door;	/* server: listens; watched while there is room for somebody */
	bool door_open;		/* it is watched */
	struct loop_fd hangup;	/* a duplicate of the connection, for its EPOLLHUP; or -1 */
	struct loop_fd changed; /* eventfd */
	struct loop_fd retry;	/* timerfd */
	bool told_up;		/* what link_changed() was last told */
	bool trouble_told;	/* that nobody can be let in */
	u64 path_dev, path_ino; /* server: the file that we made; 0: none */

	pthread_mutex_t lock; /* guards all below */
	struct loop *loop;    /* the queue's, while it is attached */
	struct loop_fd conn;  /* -1: nobody is there */
	u32 conn_events;      /* 0: not watched */
	struct loop_fd held;  /* always ready */
	bool held_watched;
	u32 want;
	bool nonsense_told;	   /* a bad length; until a good frame comes */
	u32 ntold;		   /* how often that was */
	u8 *rest;		   /* LEN_SIZE + FRAME_ETH_MAX */
	size_t rest_pos, rest_end; /* what of it is to be sent */
	u8 *in;			   /* IN_SIZE */
	size_t in_pos, in_end;	   /* what of it is to be handed out */
};

static struct sock *sock_of(struct peer *p)
{
	return container_of(p, struct sock, peer);
}

/* ---- frames; the lock is held ---- */

/* Watch for what is wanted, on the queue's loop. */
static void watch(struct sock *s);

/* The length of the frame that `in` begins with; -1: it has not come yet, -2: no frame has it. */
static ssize_t next_frame(const struct sock *s)
{
	u32 len;

	if (s->in_end - s->in_pos < LEN_SIZE)
		return -1;
	memcpy(&len, s->in + s->in_pos, LEN_SIZE);
	len = ntohl(len);
	if (len > FRAME_ETH_MAX)
		return -2;
	return s->in_end - s->in_pos - LEN_SIZE >= len ? (ssize_t)len : -1;
}

/* The connection is over. The main loop sees to the next one. */
static void disconnect(struct sock *s)
{
	ssize_t len;

	if (s->conn.fd < 0)
		return;
	if (s->conn_events)
		loop_forget(s->loop, &s->conn);
	s->conn_events = 0;
	shutdown(s->conn.fd, SHUT_RDWR); /* `hangup` still has it open */
	close(s->conn.fd);
	s->conn.fd = -1;
	s->rest_pos = s->rest_end = 0;
	/* Whole frames stay; what is behind them would be taken for the next connection's. */
	for (size_t pos = s->in_pos;; s->in_pos += LEN_SIZE + len) {
		len = next_frame(s);
		if (len < 0) {
			s->in_end = s->in_pos;
			s->in_pos = pos;
			break;
		}
	}
	eventfd_write(s->changed.fd, 1);
	watch(s);
}

/* Read what there is, as far as it fits. false: there is nothing new. */
static bool read_more(struct sock *s)
{
	ssize_t n;

	if (s->conn.fd < 0)
		return false;
	if (IN_SIZE - s->in_end < LEN_SIZE + FRAME_ETH_MAX) {
		memmove(s->in, s->in + s->in_pos, s->in_end - s->in_pos);
		s->in_end -= s->in_pos;
		s->in_pos = 0;
	}
	if (s->in_end == IN_SIZE)
		return false;
	n = recv(s->conn.fd, s->in + s->in_end, IN_SIZE - s->in_end, MSG_DONTWAIT);
	if (n > 0)
		s->in_end += n;
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		disconnect(s);
	return n > 0;
}

/* The other end is gone: what it had sent is still to arrive. */
static void hang_up(struct sock *s)
{
	while (read_more(s))
		;
	disconnect(s);
}

/* Send what the last frame left. true: nothing is left now. */
static bool flush(struct sock *s)
{
	ssize_t n;

	if (s->rest_pos == s->rest_end)
		return true;
	n = send(s->conn.fd, s->rest + s->rest_pos, s->rest_end - s->rest_pos,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		s->rest_pos += n;
	else if (errno != EAGAIN && errno != EINTR)
		hang_up(s); /* which forgets the rest */
	return s->rest_pos == s->rest_end;
}

/* Is what is wanted there without the socket's doing? */
static bool is_held(const struct sock *s)
{
	return (s->want & PEER_READ && next_frame(s) != -1) ||
	       (s->want & PEER_WRITE && s->conn.fd < 0);
}

static void watch(struct sock *s)
{
	u32 events = 0;
	bool held;

	if (!s->loop)
		return;
	held = is_held(s);
	if (held && !s->held_watched)
		s->held_watched = loop_add(s->loop, &s->held, EPOLLIN) == 0;
	else if (!held && s->held_watched) {
		loop_forget(s->loop, &s->held);
		s->held_watched = false;
	}
	if (s->conn.fd < 0)
		return;
	if (s->want & PEER_READ)
		events |= EPOLLIN;
	if (s->want & PEER_WRITE || s->rest_pos < s->rest_end)
		events |= EPOLLOUT;
	if (events == s->conn_events)
		return;
	if (!events)
		loop_forget(s->loop, &s->conn);
	else if (s->conn_events)
		loop_mod(s->loop, &s->conn, events);
	else
		loop_add(s->loop, &s->conn, events);
	s->conn_events = events;
}

/* What is wanted and there, now that `events` were seen on the connection. */
static u32 what_is_there(struct sock *s, u32 events)
{
	u32 what = 0;

	if (next_frame(s) != -1 || events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		what |= PEER_READ;
	if (s->conn.fd < 0 || events & EPOLLOUT)
		what |= PEER_WRITE;
	return what & s->want;
}

static void conn_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, conn);
	u32 what = 0;

	pthread_mutex_lock(&s->lock);
	if (s->conn_events) { /* else it is an event of a connection that is gone */
		if (events & EPOLLOUT && !flush(s))
			events &= ~EPOLLOUT;
		watch(s);
		what = what_is_there(s, events);
	}
	pthread_mutex_unlock(&s->lock);
	if (what)
		s->queue.ready(&s->queue, what);
}

static void held_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, held);
	u32 what;

	(void)events;
	pthread_mutex_lock(&s->lock);
	what = what_is_there(s, 0);
	watch(s);
	pthread_mutex_unlock(&s->lock);
	if (what)
		s->queue.ready(&s->queue, what);
}

/* Length and frame, as far as they go. -EAGAIN: not a byte did. */
static int write_frame(struct sock *s, const struct iovec *iov, u32 niov, size_t len)
{
	struct iovec part[PEER_IOV_MAX + 1], left[PEER_IOV_MAX + 1];
	u32 prefix = htonl(len), nparts = frame_skip(iov, niov, PEER_HDR_LEN, part + 1) + 1;
	struct msghdr msg = { .msg_iov = part, .msg_iovlen = nparts };
	ssize_t n;

	part[0] = (struct iovec){ &prefix, LEN_SIZE };
	n = sendmsg(s->conn.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0) {
		if (errno == EAGAIN || errno == EINTR)
			return -EAGAIN;
		hang_up(s);
		return 0;
	}
	if ((size_t)n < LEN_SIZE + len) {
		s->rest_pos = 0;
		s->rest_end = frame_copy(s->rest, LEN_SIZE + len, left,
					 frame_skip(part, nparts, n, left));
	}
	return 0;
}

static int sock_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct sock *s = sock_of(q->peer);
	size_t len = frame_len(iov, niov);
	int err = 0;

	if (niov > PEER_IOV_MAX || len < PEER_HDR_LEN + FRAME_ETH_LEN || len > PEER_FRAME_MAX)
		return 0;
	pthread_mutex_lock(&s->lock);
	if (s->conn.fd >= 0) {
		err = flush(s) ? 0 : -EAGAIN;
		if (!err && s->conn.fd >= 0)
			err = write_frame(s, iov, niov, len - PEER_HDR_LEN);
		watch(s);
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

/* The next frame that is one. The lock is held. */
static ssize_t take_frame(struct sock *s, const struct iovec *iov, u32 niov)
{
	struct iovec part[PEER_IOV_MAX];
	ssize_t len;
	u8 *frame;

	do {
		do
			len = next_frame(s);
		while (len == -1 && read_more(s));
		if (len == -1)
			return -EAGAIN;
		if (len == -2) {
			if (!s->nonsense_told && s->ntold++ < TOLD_MAX)
				log_err("socket=%s: the other end sends no frames: a length beyond "
					"%d; "
					"disconnected",
					s->addr.sun_path, FRAME_ETH_MAX);
			s->nonsense_told = true;
			s->in_pos = s->in_end = 0;
			disconnect(s);
			return -EAGAIN;
		}
		frame = s->in + s->in_pos + LEN_SIZE;
		s->in_pos += LEN_SIZE + len;
	} while (len < FRAME_ETH_LEN); /* none */
	s->nonsense_told = false;
	frame_clear_header(iov);
	niov = frame_skip(iov, niov < PEER_IOV_MAX ? niov : PEER_IOV_MAX, PEER_HDR_LEN, part);
	return PEER_HDR_LEN + frame_fill(part, niov, frame, len);
}

static ssize_t sock_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct sock *s = sock_of(q->peer);
	ssize_t n;

	pthread_mutex_lock(&s->lock);
	n = take_frame(s, iov, niov);
	if (s->in_pos == s->in_end)
		s->in_pos = s->in_end = 0;
	watch(s);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void sock_want(struct peer_queue *q, u32 what)
{
	struct sock *s = sock_of(q->peer);

	pthread_mutex_lock(&s->lock);
	s->want = what;
	watch(s);
	pthread_mutex_unlock(&s->lock);
}

static int sock_attach(struct peer_queue *q)
{
	struct sock *s = sock_of(q->peer);

	pthread_mutex_lock(&s->lock);
	s->loop = q->loop;
	s->want = 0;
	watch(s);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void sock_detach(struct peer_queue *q)
{
	struct sock *s = sock_of(q->peer);

	pthread_mutex_lock(&s->lock);
	loop_del(s->loop, &s->held);
	if (s->conn.fd >= 0)
		loop_del(s->loop, &s->conn);
	s->held_watched = false;
	s->conn_events = 0;
	s->loop = NULL;
	pthread_mutex_unlock(&s->lock);
}

/* ---- who is there; main loop's thread ---- */

static void watch_door(struct sock *s, bool open)
{
	if (open && !s->door_open)
		loop_add(s->main_loop, &s->door, EPOLLIN);
	else if (!open && s->door_open)
		loop_del(s->main_loop, &s->door);
	s->door_open = open;
}

static void try_later(struct sock *s)
{
	const struct itimerspec t = { .it_value = { .tv_nsec = RETRY_MS * 1000000L } };

	timerfd_settime(s->retry.fd, 0, &t, NULL);
}

static void tell_link(struct sock *s, bool up)
{
	if (up == s->told_up)
		return;
	s->told_up = up;
	if (s->peer.link_changed)
		s->peer.link_changed(&s->peer, up);
}

/* Somebody is at the other end of `fd`. Takes it over, also on error, which is -errno. */
static int connected(struct sock *s, int fd)
{
	int err;

	s->hangup.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	err = s->hangup.fd < 0 ? -errno : loop_add(s->main_loop, &s->hangup, 0);
	if (err) {
		close(fd);
		if (s->hangup.fd >= 0)
			close(s->hangup.fd);
		s->hangup.fd = -1;
		return err;
	}
	watch_door(s, false);
	s->trouble_told = false;
	pthread_mutex_lock(&s->lock);
	s->conn.fd = fd;
	watch(s);
	pthread_mutex_unlock(&s->lock);
	tell_link(s, true);
	return 0;
}

/* The connection may be over: then begin to look for the next one. */
static void look_after(struct sock *s)
{
	bool up;

	pthread_mutex_lock(&s->lock);
	up = s->conn.fd >= 0;
	pthread_mutex_unlock(&s->lock);
	if (up)
		return;
	if (s->hangup.fd >= 0) {
		loop_del(s->main_loop, &s->hangup);
		close(s->hangup.fd);
		s->hangup.fd = -1;
	}
	tell_link(s, false);
	if (s->server)
		watch_door(s, true);
	else
		try_later(s);
}

static void hangup_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, hangup);

	(void)events;
	pthread_mutex_lock(&s->lock);
	hang_up(s);
	pthread_mutex_unlock(&s->lock);
	look_after(s);
}

static void changed_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, changed);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	look_after(s);
}

/* Out of descriptors or memory: the door would tell again and again, so look away for a while. */
static void trouble(struct sock *s, int err)
{
	if (!s->trouble_told)
		log_err("socket=%s: nobody can connect for now: %s", s->addr.sun_path,
			strerror(-err));
	s->trouble_told = true;
	watch_door(s, false);
	try_later(s);
}

static void door_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, door);
	int fd = accept4(lf->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	int err;

	(void)events;
	if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	err = fd < 0 ? -errno : connected(s, fd);
	if (err)
		trouble(s, err);
}

static int dial(struct sock *s)
{
	const struct sockaddr *sa = (const struct sockaddr *)&s->addr;
	int err, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, sa, sizeof(s->addr)) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return connected(s, fd);
}

static void retry_ready(struct loop_fd *lf, u32 events)
{
	struct sock *s = container_of(lf, struct sock, retry);
	u64 n;

	(void)events;
	if (read(lf->fd, &n, sizeof(n)) < 0 || s->hangup.fd >= 0)
		return;
	if (s->server)
		watch_door(s, true);
	else if (dial(s) < 0)
		try_later(s);
}

/* ---- making it, and its end ---- */

static int serve(struct sock *s)
{
	int fd = unix_listen(&s->addr, BACKLOG);
	struct stat st;

	if (fd < 0)
		return fd;
	s->door.fd = fd;
	if (lstat(s->addr.sun_path, &st) < 0)
		return -errno;
	s->path_dev = st.st_dev;
	s->path_ino = st.st_ino;
	watch_door(s, true);
	return 0;
}

static int begin(struct sock *s, const struct peer_socket_options *o)
{
	int err = unix_address(&s->addr, o->path);

	if (err)
		return err;
	s->in = malloc(IN_SIZE);
	s->rest = malloc(LEN_SIZE + FRAME_ETH_MAX);
	if (!s->in || !s->rest)
		return -ENOMEM;
	s->held.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	s->changed.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->retry.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (s->held.fd < 0 || s->changed.fd < 0 || s->retry.fd < 0)
		return -errno;
	err = loop_add(s->main_loop, &s->changed, EPOLLIN);
	if (!err)
		err = loop_add(s->main_loop, &s->retry, EPOLLIN);
	if (err)
		return err;
	err = s->server ? serve(s) : dial(s);
	if (err == -EAGAIN) /* many wait there */
		err = 0;
	if (!err)
		eventfd_write(s->changed.fd, 1); /* the main loop looks how things are */
	return err;
}

static void close_watched(struct sock *s, struct loop_fd *lf)
{
	if (lf->fd < 0)
		return;
	loop_del(s->main_loop, lf);
	close(lf->fd);
}

static void sock_destroy(struct peer *p)
{
	struct sock *s = sock_of(p);
	struct stat st;

	if (s->path_ino && lstat(s->addr.sun_path, &st) == 0 && st.st_dev == s->path_dev &&
	    st.st_ino == s->path_ino)
		unlink(s->addr.sun_path);
	close_watched(s, &s->door);
	close_watched(s, &s->hangup);
	close_watched(s, &s->changed);
	close_watched(s, &s->retry);
	if (s->conn.fd >= 0)
		close(s->conn.fd);
	if (s->held.fd >= 0)
		close(s->held.fd);
	pthread_mutex_destroy(&s->lock);
	free(s->rest);
	free(s->in);
	free(s);
}

static struct peer_queue *sock_queue(struct peer *p, u32 i)
{
	(void)i;
	return &sock_of(p)->queue;
}

static const struct peer_ops sock_ops = {
	.kind = "socket",
	.attach = sock_attach,
	.detach = sock_detach,
	.send = sock_send,
	.receive = sock_receive,
	.want = sock_want,
	.destroy = sock_destroy,
};

static const char *mend(int err, bool server)
{
	if (!server && (err == -ENOENT || err == -ECONNREFUSED))
		return "; nobody listens there: start the other end first, or give server=on";
	return unix_mend(err);
}

int peer_socket_open(struct peer **out, const struct peer_socket_options *o)
{
	struct sock *s = calloc(1, sizeof(*s));
	int err;

	if (!s) {
		log_err("socket=%s: %s", o->path, strerror(ENOMEM));
		return -ENOMEM;
	}
	s->peer = (struct peer){ .ops = &sock_ops, .npairs = 1, .queue = sock_queue };
	s->queue.peer = &s->peer;
	s->server = o->server;
	s->main_loop = o->loop;
	s->told_up = true; /* as the device takes it to be */
	s->door = (struct loop_fd){ .fd = -1, .ready = door_ready };
	s->hangup = (struct loop_fd){ .fd = -1, .ready = hangup_ready };
	s->changed = (struct loop_fd){ .fd = -1, .ready = changed_ready };
	s->retry = (struct loop_fd){ .fd = -1, .ready = retry_ready };
	s->conn = (struct loop_fd){ .fd = -1, .ready = conn_ready };
	s->held = (struct loop_fd){ .fd = -1, .ready = held_ready };
	pthread_mutex_init(&s->lock, NULL);
	err = begin(s, o);
	if (err) {
		log_err("socket=%s: %s%s", o->path, strerror(-err), mend(err, o->server));
		sock_destroy(&s->peer);
		return err;
	}
	*out = &s->peer;
	return 0;
}
