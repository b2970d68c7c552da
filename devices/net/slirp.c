// SPDX-License-Identifier: MIT
/*
 * slirp.c - user-mode networking: libslirp plays a router, a DHCP and a DNS server for the guest, and
 * makes its connections from sockets of this process, as any program would. No privileges needed.
 *
 *	             pair[0]   a pair of    pair[1]
 *	queue's loop ──────── sequenced ──────── thread `user-net`: ppoll() ── sockets of the host
 *	                       packets             libslirp
 *
 *	10.0.2.2, fec0::2   the host         10.0.2.15 on   the guest, by DHCP
 *	10.0.2.3, fec0::3   DNS                             (the addresses are QEMU's)
 *
 * How it works: libslirp is made for one poll() loop, whose set of descriptors it fills in anew each
 * time and whose frames it wants at once. That is another kind of loop than ours, and its work is
 * slower than a disk's, so it gets a thread of its own. Between them is a socket pair that keeps
 * frames apart. Either direction is as full as the kernel's buffer: the device is told so by
 * -EAGAIN and EPOLLOUT; libslirp's thread waits, and so takes nothing from the host's sockets that
 * would have to be dropped, and nothing from the guest. Nothing is lost, and nothing grows.
 *
 * The library is loaded when it is needed (dlopen): starting without it costs those nothing who do
 * not use it.
 *
 * Threads: after user_start() libslirp is the thread's alone; `stop` ends it.
 */
#include "devices/net/frame.h"
#include "devices/net/hostfwd.h"
#include "minivmm/log.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIBRARY	      "libslirp.so.0"
#define NSEC_PER_MSEC 1000000
#define BATCH	      64 /* frames taken before the host's sockets have their turn */

/* What we call in the library. */
struct library {
	void *handle;
	typeof(slirp_new) *new;
	typeof(slirp_cleanup) *cleanup;
	typeof(slirp_input) *input;
	typeof(slirp_pollfds_fill) *pollfds_fill;
	typeof(slirp_pollfds_poll) *pollfds_poll;
	typeof(slirp_add_hostfwd) *add_hostfwd;
};

struct timer {
	SlirpTimerCb fn;
	void *arg;
	int64_t at; /* ms; -1: it is not set */
	struct timer *next;
};

struct user {
	struct peer peer;
	struct peer_queue queue;
	struct library lib;
	int pair[2]; /* ours, the thread's */
	int stop;    /* eventfd */
	bool started;
	pthread_t thread;

	/* Queue's loop. */
	struct loop_fd lf;
	u32 events; /* watched for; 0: not watched */

	/* The thread's. */
	Slirp *slirp;
	struct timer *timers;
	bool stopping;
	struct pollfd *fds; /* [0]: stop, [1]: pair[1], then libslirp's */
	u32 nfds, room;
	u8 frame[FRAME_ETH_MAX];
};

static struct user *user_of(struct peer *p)
{
	return container_of(p, struct user, peer);
}

/* ---- the device's side ---- */

static void user_ready(struct loop_fd *lf, u32 events)
{
	struct user *u = container_of(lf, struct user, lf);
	u32 what = 0;

	if (events & u->events & EPOLLIN)
		what |= PEER_READ;
	if (events & u->events & EPOLLOUT)
		what |= PEER_WRITE;
	if (what)
		u->queue.ready(&u->queue, what);
}

static void user_want(struct peer_queue *q, u32 what)
{
	struct user *u = user_of(q->peer);
	u32 events = (what & PEER_READ ? EPOLLIN : 0) | (what & PEER_WRITE ? EPOLLOUT : 0);

	if (events == u->events)
		return;
	if (!events)
		loop_del(q->loop, &u->lf);
	else if (u->events)
		loop_mod(q->loop, &u->lf, events);
	else
		loop_add(q->loop, &u->lf, events);
	u->events = events;
}

static void *user_thread(void *arg);

/* The thread begins with the device: who opens us may still have privileges to give up. */
static int user_attach(struct peer_queue *q)
{
	struct user *u = user_of(q->peer);
	int err;

	if (u->started)
		return 0;
	err = -pthread_create(&u->thread, NULL, user_thread, u);
	if (err) {
		log_err("user networking: %s", strerror(-err));
		return err;
	}
	u->started = true;
	pthread_setname_np(u->thread, "user-net");
	return 0;
}

static void user_detach(struct peer_queue *q)
{
	user_want(q, 0);
}

static int user_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct iovec part[PEER_IOV_MAX];
	struct msghdr msg = { .msg_iov = part };
	size_t len = frame_len(iov, niov);

	if (niov > PEER_IOV_MAX || len < PEER_HDR_LEN + FRAME_ETH_LEN || len > PEER_FRAME_MAX)
		return 0;
	msg.msg_iovlen = frame_skip(iov, niov, PEER_HDR_LEN, part);
	if (sendmsg(user_of(q->peer)->pair[0], &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return 0;
	return errno == EAGAIN ? -EAGAIN : 0;
}

static ssize_t user_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct iovec part[PEER_IOV_MAX];
	struct msghdr msg = { .msg_iov = part };
	ssize_t n;

	msg.msg_iovlen =
		frame_skip(iov, niov < PEER_IOV_MAX ? niov : PEER_IOV_MAX, PEER_HDR_LEN, part);
	n = recvmsg(user_of(q->peer)->pair[0], &msg, MSG_DONTWAIT);
	if (n <= 0)
		return -EAGAIN;
	frame_clear_header(iov);
	return n + PEER_HDR_LEN;
}

/* ---- libslirp's callbacks; its thread, or before that is started ---- */

/* A frame for the guest: wait until it has room. */
static ssize_t cb_send(const void *buf, size_t len, void *opaque)
{
	struct user *u = opaque;
	struct pollfd fds[] = { { .fd = u->stop, .events = POLLIN },
				{ .fd = u->pair[1], .events = POLLOUT } };

	while (!u->stopping && len >= FRAME_ETH_LEN &&
	       send(u->pair[1], buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			break;
		poll(fds, ARRAY_SIZE(fds), -1);
		u->stopping = fds[0].revents;
	}
	return len;
}

/* The guest sent nonsense, which it may do as often as it likes: nobody else is to hear of it. */
static void cb_guest_error(const char *msg, void *opaque)
{
	(void)msg;
	(void)opaque;
}

static int64_t cb_clock_get_ns(void *opaque)
{
	struct timespec t;

	(void)opaque;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *cb_timer_new(SlirpTimerCb fn, void *arg, void *opaque)
{
	struct user *u = opaque;
	struct timer *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct timer){ .fn = fn, .arg = arg, .at = -1, .next = u->timers };
	u->timers = t;
	return t;
}

static void cb_timer_free(void *timer, void *opaque)
{
	struct user *u = opaque;
	struct timer **p = &u->timers;

	while (*p && *p != timer)
		p = &(*p)->next;
	if (*p)
		*p = (*p)->next;
	free(timer);
}

static void cb_timer_mod(void *timer, int64_t at, void *opaque)
{
	(void)opaque;
	if (timer)
		((struct timer *)timer)->at = at;
}

/* We ask for all descriptors before each poll(), and nobody calls libslirp meanwhile. */
static void cb_poll_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

static void cb_notify(void *opaque)
{
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = cb_send,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock_get_ns,
	.timer_new = cb_timer_new,
	.timer_free = cb_timer_free,
	.timer_mod = cb_timer_mod,
	.register_poll_fd = cb_poll_fd,
	.unregister_poll_fd = cb_poll_fd,
	.notify = cb_notify,
};

/* ---- its thread ---- */

static const struct {
	int slirp;
	short poll;
} poll_events[] = {
	{ SLIRP_POLL_IN, POLLIN },   { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
	{ SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};

static int add_fd(struct user *u, int fd, short events)
{
	if (u->nfds == u->room) {
		u32 room = u->room ? 2 * u->room : 64;
		struct pollfd *fds = realloc(u->fds, room * sizeof(*fds));

		if (!fds)
			return -1;
		u->fds = fds;
		u->room = room;
	}
	u->fds[u->nfds] = (struct pollfd){ .fd = fd, .events = events };
	return u->nfds++;
}

static int add_poll(int fd, int events, void *opaque)
{
	short want = 0;

	for (size_t i = 0; i < ARRAY_SIZE(poll_events); i++) {
		if (events & poll_events[i].slirp)
			want |= poll_events[i].poll;
	}
	return add_fd(opaque, fd, want);
}

static int get_revents(int i, void *opaque)
{
	const struct user *u = opaque;
	int events = 0;

	for (size_t k = 0; i >= 0 && k < ARRAY_SIZE(poll_events); k++) {
		if (u->fds[i].revents & poll_events[k].poll)
			events |= poll_events[k].slirp;
	}
	return events;
}

/* Milliseconds until the first timer, `limit` at most. */
static int64_t until_timer(const struct user *u, int64_t limit)
{
	int64_t now = cb_clock_get_ns(NULL) / NSEC_PER_MSEC;

	for (const struct timer *t = u->timers; t; t = t->next) {
		int64_t left = t->at - now;

		if (t->at >= 0 && left < limit)
			limit = left > 0 ? left : 0;
	}
	return limit;
}

/* Call one timer that is due. false: none is. It may change the list. */
static bool run_timer(struct user *u)
{
	int64_t now = cb_clock_get_ns(NULL) / NSEC_PER_MSEC;

	for (struct timer *t = u->timers; t; t = t->next) {
		if (t->at < 0 || t->at > now)
			continue;
		t->at = -1;
		t->fn(t->arg);
		return true;
	}
	return false;
}

/* What the guest has sent. */
static void take_frames(struct user *u)
{
	for (u32 i = 0; i < BATCH && !u->stopping; i++) {
		ssize_t n = recv(u->pair[1], u->frame, sizeof(u->frame), MSG_DONTWAIT);

		if (n <= 0)
			return;
		u->lib.input(u->slirp, u->frame, n);
	}
}

static void *user_thread(void *arg)
{
	struct user *u = arg;

	while (!u->stopping) {
		uint32_t timeout = UINT32_MAX;
		struct timespec t;
		int64_t ms;
		int n;

		u->nfds = 0;
		add_fd(u, u->stop, POLLIN); /* room for these two was made before */
		add_fd(u, u->pair[1], POLLIN);
		u->lib.pollfds_fill(u->slirp, &timeout, add_poll, u);
		ms = until_timer(u, timeout);
		t = (struct timespec){ ms / 1000, ms % 1000 * NSEC_PER_MSEC };
		n = ppoll(u->fds, u->nfds, &t, NULL);
		if (n >= 0 && u->fds[0].revents)
			break;
		if (n > 0 && u->fds[1].revents)
			take_frames(u);
		u->lib.pollfds_poll(u->slirp, n < 0, get_revents, u);
		while (!u->stopping && run_timer(u))
			;
	}
	return NULL;
}

/* ---- making it, and its end ---- */

static int load(struct library *l)
{
	l->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!l->handle) {
		log_err("user networking needs " LIBRARY
			": install it (Debian's package libslirp0), or use tap= or socket=");
		return -ENOENT;
	}
	l->new = dlsym(l->handle, "slirp_new");
	l->cleanup = dlsym(l->handle, "slirp_cleanup");
	l->input = dlsym(l->handle, "slirp_input");
	l->pollfds_fill = dlsym(l->handle, "slirp_pollfds_fill");
	l->pollfds_poll = dlsym(l->handle, "slirp_pollfds_poll");
	l->add_hostfwd = dlsym(l->handle, "slirp_add_hostfwd");
	if (l->new && l->cleanup && l->input && l->pollfds_fill && l->pollfds_poll &&
	    l->add_hostfwd)
		return 0;
	log_err("user networking: this " LIBRARY " is not one that we know: %s", dlerror());
	return -ENOSYS;
}

/* The network as QEMU has it. */
static int begin_slirp(struct user *u, const struct peer_user_options *o)
{
	SlirpConfig cfg = {
		.version = 1,
		.restricted = o->restricted,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.if_mtu = u->peer.mtu,
		.if_mru = u->peer.mtu,
	};

	inet_pton(AF_INET, "10.0.2.0", &cfg.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &cfg.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &cfg.vhost);
	inet_pton(AF_INET, "10.0.2.15", &cfg.vdhcp_start);
	inet_pton(AF_INET, "10.0.2.3", &cfg.vnameserver);
	inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
	inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
	u->slirp = u->lib.new(&cfg, &callbacks, u);
	if (!u->slirp) {
		log_err("user networking: " LIBRARY " does not start");
		return -EINVAL;
	}
	/* Here alone it looks at the clock, without which what begins now would soon be too old. */
	u->lib.pollfds_poll(u->slirp, 1, get_revents, u);
	return 0;
}

static int add_forward(struct user *u, const char *text)
{
	struct hostfwd f;
	int err = hostfwd_parse(text, &f);

	if (err)
		return err;
	if (u->lib.add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) == 0)
		return 0;
	err = errno ? -errno : -EIO;
	log_err("hostfwd=%s: %s%s", text, strerror(-err),
		err == -EADDRINUSE ? "; choose another port, or end the program that has this one"
		: err == -EACCES   ? "; ports below 1024 need root: choose another"
				   : "");
	return err;
}

static int user_start(struct user *u, const struct peer_user_options *o)
{
	int err = load(&u->lib);

	if (err)
		return err;
	u->stop = eventfd(0, EFD_CLOEXEC);
	if (u->stop < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, u->pair) < 0) {
		err = -errno;
		log_err("user networking: %s", strerror(-err));
		return err;
	}
	u->lf.fd = u->pair[0];
	err = begin_slirp(u, o);
	for (u32 i = 0; i < o->nhostfwd && !err; i++)
		err = add_forward(u, o->hostfwd[i]);
	if (err)
		return err;
	return add_fd(u, -1, 0) < 0 ? -ENOMEM : 0;
}

static void user_destroy(struct peer *p)
{
	struct user *u = user_of(p);

	if (u->started) {
		eventfd_write(u->stop, 1);
		pthread_join(u->thread, NULL);
	}
	u->stopping = true; /* the end of its connections is for nobody */
	if (u->slirp)
		u->lib.cleanup(u->slirp);
	while (u->timers)
		cb_timer_free(u->timers, u);
	if (u->stop >= 0)
		close(u->stop);
	for (u32 i = 0; i < 2; i++) {
		if (u->pair[i] >= 0)
			close(u->pair[i]);
	}
	/* The library stays: another peer may come, and its glib can't go. */
	free(u->fds);
	free(u);
}

static struct peer_queue *user_queue(struct peer *p, u32 i)
{
	(void)i;
	return &user_of(p)->queue;
}

static const struct peer_ops user_ops = {
	.kind = "user",
	.attach = user_attach,
	.detach = user_detach,
	.send = user_send,
	.receive = user_receive,
	.want = user_want,
	.destroy = user_destroy,
};

int peer_user_open(struct peer **out, const struct peer_user_options *o)
{
	struct user *u = calloc(1, sizeof(*u));
	int err;

	if (!u) {
		log_err("user networking: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	u->peer = (struct peer){ .ops = &user_ops, .npairs = 1, .queue = user_queue };
	u->peer.mtu = o->mtu ? o->mtu : PEER_USER_MTU;
	u->queue.peer = &u->peer;
	u->lf = (struct loop_fd){ .fd = -1, .ready = user_ready };
	u->pair[0] = u->pair[1] = u->stop = -1;
	err = user_start(u, o);
	if (err) {
		user_destroy(&u->peer);
		return err;
	}
	*out = &u->peer;
	return 0;
}
