// SPDX-License-Identifier: MIT
/*
 * vhost_user_link.c - which vhost-user back end there is, and what it says by itself.
 *
 *	   ┌── retry: after 50 ms, later half a second ─┐
 *	   v                                            │
 *	dial or accept ──> greeting: does it answer? ──> agree, hand over ──> there ──> hung up, or lost
 *
 * How it works: the first connection is waited for when the device is made. Later ones are the main
 * loop's, which must not wait for somebody who may never answer: it sends the first request and goes on;
 * only when there is an answer the rest is done in one go, each answer of which is waited for.
 *
 * Of the connection itself the main loop only watches the end. What the back end has to say unasked comes on
 * a socket of its own (BACKEND_REQ). It is answered before it is done: the back end may wait for that while we
 * wait for an answer of its.
 *
 * Threads: the main loop, or, at the creation, any while that does not run. See vhost_user.c.
 */
#include "devices/datapath/vhost_user_internal.h"
#include "minivmm/device.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/now.h"
#include "minivmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MIN_MS  50
#define RETRY_MAX_MS  500
#define STEADY_MS     1000  /* a back end that stays so long is no failed attempt */
#define WAIT_FIRST_MS 60000 /* for a back end that has to come */
#define WAIT_STEP_MS  100
#define CHANNEL_MS    1000 /* for the rest of a message that has begun */
#define PROCESS_MS    5000 /* at least, for what is agreed on with a process just started */

static void retry_in(struct vhost_user *vu, u32 ms)
{
	const struct itimerspec t = { .it_value = { .tv_sec = ms / 1000,
						    .tv_nsec = ms ? ms % 1000 * 1000000L : 1 } };

	timerfd_settime(vu->retry.fd, 0, &t, NULL);
}

/* Each attempt that fails is waited for longer. */
static void retry_later(struct vhost_user *vu)
{
	u32 ms = 2 * vu->retry_ms;

	vu->retry_ms = ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : ms;
	retry_in(vu, vu->retry_ms);
}

static void disconnect(struct vhost_user *vu)
{
	loop_forget(vu->env->loop, &vu->hangup);
	close(vu->conn.sock);
	vu->conn.sock = vu->hangup.fd = -1;
	vu->used = vu->has_memory = false;
	if (vu->o.process)
		vu->o.process->end(vu->o.process);
}

void vhost_user_link_drop(struct vhost_user *vu)
{
	disconnect(vu);
	if (now_ms() - vu->connected_at < STEADY_MS) {
		retry_later(vu); /* one that comes and goes at once must not keep us busy */
		return;
	}
	vu->retry_ms = 0;
	retry_in(vu, 0);
}

/* ---- the back end's own channel; main loop ---- */

static void close_channel(struct vhost_user *vu)
{
	if (vu->channel.fd < 0)
		return;
	loop_forget(vu->env->loop, &vu->channel);
	close(vu->channel.fd);
	vu->channel.fd = -1;
}

/* A channel for this connection. */
static int open_channel(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int pair[2], err;

	close_channel(vu);
	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	vhost_user_msg_init(&m, VHOST_USER_SET_BACKEND_REQ_FD);
	m.fd[0] = pair[1];
	m.nfds = 1;
	err = vhost_user_tell(&vu->conn, &m);
	close(pair[1]);
	vu->channel.fd = pair[0];
	/* Answers that nobody reads are not waited with. */
	if (!err && fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	if (!err)
		err = loop_add(vu->env->loop, &vu->channel, EPOLLIN);
	return err;
}

static void answer(struct vhost_user *vu, const struct vhost_user_msg *m, u64 result)
{
	struct vhost_user_msg reply;

	if (!(m->hdr.flags & VHOST_USER_NEED_REPLY))
		return;
	vhost_user_msg_init(&reply, m->hdr.request);
	reply.hdr.flags |= VHOST_USER_REPLY;
	reply.hdr.size = sizeof(reply.num);
	reply.num = result;
	if (vhost_user_send(vu->channel.fd, &reply))
		close_channel(vu);
}

static void reread_config(struct vhost_user *vu)
{
	u8 config[VHOST_USER_CONFIG_MAX];
	bool changed = false;

	pthread_mutex_lock(&vu->lock);
	if (vhost_user_connected(vu) && vu->o.config_len &&
	    !vhost_user_done(vu, vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len),
			     "the configuration space")) {
		memcpy(config, vu->config, vu->o.config_len);
		changed = true;
	}
	pthread_mutex_unlock(&vu->lock);
	if (changed && vu->o.config_changed)
		vu->o.config_changed(vu->o.owner, config);
}

static void channel_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, channel);
	struct vhost_user_msg m;
	void *page = NULL;
	int err = 0;

	(void)events;
	if (lf->fd < 0)
		return;
	if (vhost_user_recv_within(lf->fd, &m, CHANNEL_MS)) {
		close_channel(vu);
		return;
	}
	if (m.hdr.request == VHOST_USER_BACKEND_VRING_HOST_NOTIFIER)
		err = vhost_user_notifier_check(vu, &m, &page);
	else if (m.hdr.request != VHOST_USER_BACKEND_CONFIG_CHANGE)
		err = -EOPNOTSUPP;
	vhost_user_close_fds(&m);
	answer(vu, &m, err != 0);
	if (err)
		return;
	if (m.hdr.request == VHOST_USER_BACKEND_CONFIG_CHANGE)
		reread_config(vu);
	else
		vhost_user_notifier_set(vu, m.area.vring & VHOST_USER_VRING_INDEX, page);
}

static void error_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, error);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	pthread_mutex_lock(&vu->lock);
	if (vu->dev)
		virtio_host_failed(vu->dev, "its back end has found a queue broken");
	pthread_mutex_unlock(&vu->lock);
}

static void fault_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, fault);
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	pthread_mutex_lock(&vu->lock);
	if (vu->relay && vhost_user_relay_lied_to(vu->relay)) /* not one before this */
		vhost_user_lose(vu, -EBADMSG);
	pthread_mutex_unlock(&vu->lock);
}

/* ---- who comes and goes; main loop, or at the creation ---- */

static bool has_hung_up(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) == 1;
}

static void hangup_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, hangup);

	(void)events;
	pthread_mutex_lock(&vu->lock);
	if (vhost_user_connected(vu) && has_hung_up(vu->conn.sock))
		vhost_user_lose(vu, -ECONNRESET);
	pthread_mutex_unlock(&vu->lock);
}

/* Is the back end one that this device can do with? Says what is missing, if anybody still listens. */
static int check_back_end(struct vhost_user *vu)
{
	u64 missing = (vu->o.needs | vu->offered) & ~vu->conn.features;
	bool few = vu->conn.queue_num && vu->conn.queue_num < vu->o.queue_num;
	bool no_config =
		vu->o.config_len && !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_CONFIG);
	bool no_record =
		vu->record >= 0 && !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);

	if (!missing && !few && !no_config && !no_record && vhost_user_log_fits(vu))
		return 0;
	if (vu->ntold++ >= VHOST_USER_TOLD_MAX)
		return -EOPNOTSUPP;
	if (missing)
		log_err("--%s: %s: the back end does not offer feature bit%s %#llx, which "
			"the device needs",
			vu->o.option, vu->where, missing & (missing - 1) ? "s" : "",
			(unsigned long long)missing);
	else if (few)
		log_err("--%s: %s: the back end has %u queues: give queues=%u, or start it "
			"with more",
			vu->o.option, vu->where, vu->conn.queue_num, vu->conn.queue_num);
	else if (no_config)
		log_err("--%s: %s: the back end has no configuration space, which the "
			"device needs",
			vu->o.option, vu->where);
	else if (no_record)
		log_err("--%s: %s: the back end takes no record of requests in flight "
			"(INFLIGHT_SHMFD), and the last one has left one",
			vu->o.option, vu->where);
	else
		log_err("--%s: %s: the back end can't log the pages that it writes "
			"(VHOST_F_LOG_ALL, LOG_SHMFD), which is asked for now",
			vu->o.option, vu->where);
	return -EOPNOTSUPP;
}

/* Does its configuration space suit the device? */
static int check_config(struct vhost_user *vu)
{
	char why[120];
	int err = vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len);

	if (err || !vu->o.fits ||
	    vu->o.fits(vu->o.owner, vu->conn.sock, vu->conn.features, vu->config, why, sizeof(why)))
		return err;
	if (vu->ntold++ < VHOST_USER_TOLD_MAX)
		log_err("--%s: %s: the back end's disk is not this one: %s", vu->o.option,
			vu->where, why);
	return -EOPNOTSUPP;
}

/* Agree with the back end at vu->conn.sock, which answers within `agree_ms` for that, and give it all that the last one
 * had. Returns 0, or an error of the connection's, or -EOPNOTSUPP after a message. */
static int establish(struct vhost_user *vu, u32 agree_ms)
{
	u32 usual_ms = vu->conn.timeout_ms;
	int err;

	vu->conn.timeout_ms = agree_ms;
	err = vhost_user_negotiate(&vu->conn);
	vu->conn.timeout_ms = usual_ms;
	if (!err)
		err = check_back_end(vu);
	if (!err && vu->o.config_len)
		err = check_config(vu);
	if (!err)
		err = open_channel(vu);
	vu->hangup.fd = vu->conn.sock;
	if (!err)
		err = loop_add(vu->env->loop, &vu->hangup, EPOLLRDHUP);
	return err ? err : vhost_user_hand_over_all(vu);
}

/* The other end of the socket, if there is one now. Returns it or -errno. */
static int dial(struct vhost_user *vu)
{
	const struct timeval limit = { .tv_sec = vu->conn.timeout_ms / 1000,
				       .tv_usec = vu->conn.timeout_ms % 1000 * 1000 };
	int sock, err = 0;

	if (vu->o.process) {
		sock = vu->o.process->start(vu->o.process);
		if (sock < 0)
			return sock;
	} else if (vu->o.server) {
		sock = accept4(vu->door, NULL, NULL, SOCK_CLOEXEC);
	} else {
		sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (sock >= 0 && connect(sock, (struct sockaddr *)&vu->addr, sizeof(vu->addr)) < 0)
			err = -errno;
	}
	if (sock < 0)
		return -errno;
	if (!err && (fcntl(sock, F_SETFL, 0) < 0 ||
		     setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0))
		err = -errno;
	if (err)
		close(sock);
	return err ? err : sock;
}

static void tell_link(struct vhost_user *vu, bool up)
{
	if (up == vu->told_up)
		return;
	vu->told_up = up;
	if (vu->o.link_changed)
		vu->o.link_changed(vu->o.owner, up);
}

/* Somebody is there, and answers. */
static void take_up(struct vhost_user *vu, int sock)
{
	u8 config[VHOST_USER_CONFIG_MAX];
	bool up;
	int err;

	pthread_mutex_lock(&vu->lock);
	vu->conn.sock = sock;
	vu->connected_at = now_ms();
	err = establish(vu, vu->conn.timeout_ms);
	if (err && err != -EOPNOTSUPP) {
		vhost_user_lose(vu, err);
	} else if (err) {
		disconnect(vu);
		retry_later(vu);
	}
	up = vhost_user_connected(vu);
	memcpy(config, vu->config, sizeof(config));
	pthread_mutex_unlock(&vu->lock);
	if (!up)
		return;
	if (vu->ntold < VHOST_USER_TOLD_MAX)
		log_info("%s: the back end is back", vu->where);
	if (vu->o.config_len && vu->o.config_changed)
		vu->o.config_changed(vu->o.owner, config);
	tell_link(vu, true);
}

static void close_watched(struct vhost_user *vu, struct loop_fd *lf)
{
	loop_del(vu->env->loop, lf); /* also what is closed already may be in the loop's hands */
	if (lf->fd < 0)
		return;
	close(lf->fd);
	lf->fd = -1;
}

/* The first answer, or the end. */
static void greeting_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, greeting);
	struct vhost_user_msg m;
	int sock = lf->fd;

	(void)events;
	loop_del(vu->env->loop, lf);
	lf->fd = -1;
	if (vhost_user_recv_within(sock, &m, CHANNEL_MS)) {
		close(sock);
		retry_later(vu);
		return;
	}
	vhost_user_close_fds(&m);
	take_up(vu, sock);
}

/* The next back end, if there is one. It may not have the time yet to serve us, or never; the main loop
 * does not wait for its first answer. */
static void reconnect(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int sock = dial(vu);

	vhost_user_msg_init(&m, VHOST_USER_GET_FEATURES);
	if (sock >= 0 && vhost_user_send(sock, &m)) {
		close(sock);
		sock = -1;
	}
	vu->greeting.fd = sock;
	if (sock >= 0 && loop_add(vu->env->loop, &vu->greeting, EPOLLIN)) {
		close(sock);
		sock = vu->greeting.fd = -1;
	}
	if (sock < 0)
		retry_later(vu);
	else /* somebody else may be there by then */
		retry_in(vu, vu->conn.timeout_ms);
}

static void retry_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, retry);
	bool gone;
	u64 n;

	(void)events;
	if (read(lf->fd, &n, sizeof(n)) != sizeof(n))
		return;
	pthread_mutex_lock(&vu->lock);
	gone = !vhost_user_connected(vu);
	pthread_mutex_unlock(&vu->lock);
	if (!gone)
		return;
	close_watched(vu, &vu->greeting);
	close_channel(vu);
	tell_link(vu, false);
	reconnect(vu);
}

/* ---- beginning and end ---- */

void vhost_user_link_end(struct vhost_user *vu)
{
	struct stat st;

	if (vu->path_ino && lstat(vu->o.path, &st) == 0 && st.st_dev == vu->path_dev &&
	    st.st_ino == vu->path_ino)
		unlink(vu->o.path);
	if (vu->door >= 0)
		close(vu->door);
	close_watched(vu, &vu->hangup); /* which is the connection */
	close_watched(vu, &vu->channel);
	close_watched(vu, &vu->greeting);
	close_watched(vu, &vu->retry);
	close_watched(vu, &vu->error);
	close_watched(vu, &vu->fault);
}

/* A signal that would end the program waits for the machine to run. */
static bool is_signalled(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) ||
					 sigismember(&set, SIGHUP));
}

/* Listen, and wait for the first back end to connect. Returns its socket or -errno. */
static int await(struct vhost_user *vu)
{
	struct pollfd p = { .events = POLLIN };
	struct stat st;

	p.fd = vu->door = unix_listen(&vu->addr, 1);
	if (vu->door < 0)
		return vu->door;
	if (lstat(vu->o.path, &st) == 0) {
		vu->path_dev = st.st_dev;
		vu->path_ino = st.st_ino;
	}
	log_info("%s: waiting for the back end to connect", vu->where);
	for (u32 ms = 0; ms < WAIT_FIRST_MS && !is_signalled(); ms += WAIT_STEP_MS) {
		if (poll(&p, 1, WAIT_STEP_MS) > 0)
			return dial(vu);
	}
	return -ETIMEDOUT;
}

static int make_fds(struct vhost_user *vu)
{
	int err;

	vu->retry.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	vu->error.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu->fault.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vu->retry.fd < 0 || vu->error.fd < 0 || vu->fault.fd < 0)
		return -errno;
	err = loop_add(vu->env->loop, &vu->retry, EPOLLIN);
	if (!err)
		err = loop_add(vu->env->loop, &vu->error, EPOLLIN);
	return err ? err : loop_add(vu->env->loop, &vu->fault, EPOLLIN);
}

static const char *mend(const struct vhost_user *vu, int err)
{
	if (!vu->o.server && (err == -ENOENT || err == -ECONNREFUSED))
		return "; nobody listens there: start the back end first, or give server=on";
	if (vu->o.server && err == -ETIMEDOUT)
		return "; no back end has connected";
	return unix_mend(err);
}

int vhost_user_link_begin(struct vhost_user *vu)
{
	u32 agree_ms;
	int err = 0;

	if (vu->o.process) {
		snprintf(vu->where, sizeof(vu->where), "%s", vu->o.process->name);
	} else {
		snprintf(vu->where, sizeof(vu->where), "socket=%s", vu->o.path);
		err = unix_address(&vu->addr, vu->o.path);
	}

	vu->conn.sock = vu->door = -1;
	vu->conn.notifiers = vu->o.pages;
	vu->conn.closes = vu->o.process;
	vu->conn.timeout_ms = vu->o.timeout_ms ? vu->o.timeout_ms : VHOST_USER_TIMEOUT_MS;
	agree_ms = vu->conn.timeout_ms;
	vu->hangup = (struct loop_fd){ .fd = -1, .ready = hangup_ready };
	vu->channel = (struct loop_fd){ .fd = -1, .ready = channel_ready };
	vu->greeting = (struct loop_fd){ .fd = -1, .ready = greeting_ready };
	vu->retry = (struct loop_fd){ .fd = -1, .ready = retry_ready };
	vu->error = (struct loop_fd){ .fd = -1, .ready = error_ready };
	vu->fault = (struct loop_fd){ .fd = -1, .ready = fault_ready };
	vu->told_up = true;
	if (!err)
		err = make_fds(vu);
	if (!err) {
		vu->conn.sock = vu->o.server ? await(vu) : dial(vu);
		err = vu->conn.sock < 0 ? vu->conn.sock : 0;
	}
	if (err) {
		log_err("--%s: %s: %s%s", vu->o.option, vu->where, strerror(-err), mend(vu, err));
		return err;
	}
	vu->connected_at = now_ms();
	if (vu->o.process && agree_ms < PROCESS_MS)
		agree_ms = PROCESS_MS;
	err = establish(vu, agree_ms);
	if (vu->o.process && err == -ECONNRESET)
		return err; /* why it has gone is known to who has started it */
	if (err && err != -EOPNOTSUPP)
		log_err("--%s: %s: the back end %s; does it speak vhost-user, and for this "
			"kind of device?",
			vu->o.option, vu->where, vhost_user_conn_why(err));
	return err;
}
