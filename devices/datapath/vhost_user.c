// SPDX-License-Identifier: MIT
/*
 * vhost_user.c - the data path that is another process: a vhost-user back end. See vhost_user.h.
 *
 *	this process (front end)				back end
 *	features, memory, rings' addresses and positions ──────> by messages (vhost_user_conn.c)
 *	guest memory, kick and call eventfds	         ──────> by descriptors: used from then on
 *	new configuration, if it says so		 <────── on a channel of its own
 *
 * How it works: the back end maps the guest's memory, waits for the driver's kicks itself and calls the
 * driver itself; of a request we see nothing. What we know of a ring is how the driver set it up (`cfg`),
 * where it stood when we handed it over, and, from GET_VRING_BASE, where it stands when we take it back.
 *
 * When the back end goes away, or gives no answer or none that makes sense, the connection is closed, and
 * VMM and guest go on. We connect again, or accept again, twice a second. The next back end is told all
 * that the last one was. Its rings go on where the last chain was used, and it finds the chains in flight
 * in the record that the first one made (INFLIGHT_SHMFD): we keep the file and hand it on. Without such
 * a record that is possible only for a back end that uses chains in order; else what was in flight is not
 * known, and the device needs a reset.
 *
 *	start()  ──> told the back end ──> works ── stop() ──> GET_VRING_BASE: final
 *	   └──> there is none now ──────────^
 *
 * Threads: any, under `lock`, behind which an answer may be waited for. The main loop sees who comes and
 * goes, and what the back end says by itself; the hooks of struct vhost_user_options are called there.
 */
#include "devices/datapath/vhost_user.h"
#include "devices/datapath/vhost_user_conn.h"
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/log.h"
#include "minivmm/unix_socket.h"
#include "minivmm/virtio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define RETRY_MS      500
#define WAIT_FIRST_MS 60000 /* for a back end that has to come */
#define WAIT_STEP_MS  100
#define CHANNEL_MS    1000 /* for the rest of a message that has begun */
#define TOLD_MAX      16   /* a back end must not fill the log */

#define HAS_PROTOCOL  (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

struct ring {
	struct virtio_queue *q; /* NULL: it has not been started */
	struct vq_cfg cfg;
	struct vq_pos pos; /* where it begins */
	bool up;	   /* the back end has it */
	bool recover;	   /* the back end that had it has gone: `pos` is no longer true */
	bool rests;	   /* not to be enabled */
};

struct vhost_user {
	struct datapath path;

	/* Fixed after creation. */
	const struct machine_env *env;
	struct vhost_user_options o;
	struct sockaddr_un addr;
	int door;		/* server: listens */
	u64 path_dev, path_ino; /* server: the file that we made; 0: none */
	u64 offered;		/* what the driver can have accepted of the back end's features */

	/* Main loop's. */
	struct loop_fd hangup;	 /* the connection, for its end */
	struct loop_fd channel;	 /* the back end's own */
	struct loop_fd greeting; /* the connection, while it is not known whether anybody answers */
	struct loop_fd retry;	 /* timerfd */
	struct loop_fd error;	 /* eventfd: the back end has found a ring broken */
	bool told_up;

	pthread_mutex_t lock; /* guards all below */
	struct vhost_user_conn conn;
	u32 ntold;		/* lines logged about back ends that went */
	u64 features;		/* what the driver has accepted */
	bool prepared;		/* `features` is valid */
	bool used;		/* this back end has been handed features before */
	bool has_memory;	/* this back end has the guest's memory */
	bool given_up;		/* until the driver begins anew: what was in flight is not known */
	struct virtio_dev *dev; /* once a queue has been started */
	int record;		/* of what is in flight, or -1 */
	struct vhost_user_inflight record_at;
	u8 config[VHOST_USER_CONFIG_MAX];
	struct ring ring[VIRTIO_QUEUES_MAX];
};

static struct vhost_user *vu_of(struct datapath *d)
{
	return container_of(d, struct vhost_user, path);
}

static bool connected(const struct vhost_user *vu)
{
	return vu->conn.sock >= 0;
}

static void retry_in(struct vhost_user *vu, u32 ms)
{
	const struct itimerspec t = { .it_value = { .tv_nsec = ms ? ms * 1000000L : 1 } };

	timerfd_settime(vu->retry.fd, 0, &t, NULL);
}

/* ---- losing the back end; the lock is held ---- */

static void drop_record(struct vhost_user *vu)
{
	if (vu->record >= 0)
		close(vu->record);
	vu->record = -1;
}

static void disconnect(struct vhost_user *vu)
{
	loop_forget(vu->env->loop, &vu->hangup);
	close(vu->conn.sock);
	vu->conn.sock = vu->hangup.fd = -1;
	vu->used = vu->has_memory = false;
}

/* Can the next back end go on with this ring? */
static bool recoverable(struct vhost_user *vu, u32 index)
{
	struct ring *r = &vu->ring[index];
	struct vq_pos pos;

	return (vu->record >= 0 || vu->o.in_order) &&
	       vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record, &vu->record_at,
				       &pos) == 0;
}

/* The back end is of no more use, `err` says why. */
static void lose(struct vhost_user *vu, int err)
{
	bool lost = false;

	if (!connected(vu))
		return;
	disconnect(vu);
	if (vu->ntold++ < TOLD_MAX)
		log_warn("socket=%s: the back end %s%s", vu->o.path, vhost_user_conn_why(err),
			 err == -ECONNRESET ? "; waiting for the next" : ": disconnected");
	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct ring *r = &vu->ring[i];

		r->recover |= r->up;
		lost |= r->up && !recoverable(vu, i);
		r->up = false;
	}
	if (lost) {
		vu->given_up = true;
		virtio_host_failed(vu->dev, "its back end has gone, and with it the requests in "
					      "flight, of which it kept no record");
	}
	retry_in(vu, 0);
}

/* The end of something that was tried with the back end: a refusal is told, anything else loses it. */
static int done(struct vhost_user *vu, int err, const char *what)
{
	if (err == -EREMOTEIO || err == -ENOSPC)
		log_warn("socket=%s: %s: the back end %s", vu->o.path, what,
			 vhost_user_conn_why(err));
	else if (err)
		lose(vu, err);
	return err;
}

/* ---- handing over; the lock is held, there is a back end ---- */

/* The driver begins anew: so does a back end that was used before, if it knows how to. */
static int reset_back_end(struct vhost_user *vu)
{
	struct vhost_user_msg m;

	if (vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_STATUS, 0);
	if (!vu->used || !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
		return 0;
	vhost_user_msg_init(&m, VHOST_USER_RESET_DEVICE);
	return vhost_user_tell(&vu->conn, &m);
}

static int set_status(struct vhost_user *vu, u32 status)
{
	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return 0;
	return vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_STATUS, status);
}

#define STATUS_FEATURES_OK \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static int set_features(struct vhost_user *vu)
{
	u64 status,
		features = (vu->features & vu->conn.features) | (vu->conn.features & HAS_PROTOCOL);
	int err = set_status(vu, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);

	if (!err)
		err = vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_FEATURES, features);
	if (!err)
		err = set_status(vu, STATUS_FEATURES_OK);
	if (err || !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return err;
	err = vhost_user_ask_u64(&vu->conn, VHOST_USER_GET_STATUS, &status);
	return err ? err : status & VIRTIO_CONFIG_S_FEATURES_OK ? 0 : -EREMOTEIO;
}

/* Let the back end make a record of what is in flight, which we keep. */
static int get_record(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_INFLIGHT_FD);
	m.hdr.size = sizeof(m.inflight);
	m.inflight.nqueues = vu->o.nqueues;
	m.inflight.queue_size = vu->o.queue_size;
	err = vhost_user_ask(&vu->conn, &m, sizeof(m.inflight), 1);
	if (err)
		return err;
	vu->record = m.fd[0];
	vu->record_at = m.inflight;
	return 0;
}

static int set_record(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int err = 0;

	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	if (vu->record < 0)
		err = get_record(vu);
	if (err)
		return err;
	vhost_user_msg_init(&m, VHOST_USER_SET_INFLIGHT_FD);
	m.hdr.size = sizeof(m.inflight);
	m.inflight = vu->record_at;
	m.fd[0] = vu->record;
	m.nfds = 1;
	return vhost_user_tell(&vu->conn, &m);
}

/* All that comes before the rings. */
static int hand_over(struct vhost_user *vu)
{
	int err = reset_back_end(vu);

	if (!err)
		err = set_features(vu);
	if (!err && !vu->has_memory)
		err = vhost_user_share_memory(&vu->conn, vu->env->mem);
	if (!err)
		vu->has_memory = vu->used = true;
	if (!err)
		err = set_record(vu);
	return done(vu, err, "the driver's features");
}

static int enable(struct vhost_user *vu, u32 index, bool on)
{
	if (!(vu->conn.features & HAS_PROTOCOL))
		return 0; /* such a ring always is */
	return vhost_user_tell_vring(&vu->conn, VHOST_USER_SET_VRING_ENABLE, index, on);
}

/* The ring starts with the kick descriptor: it comes last. */
static int tell_ring(struct vhost_user *vu, u32 index, struct vhost_user_addr *addr)
{
	struct ring *r = &vu->ring[index];
	struct vhost_user_conn *c = &vu->conn;
	struct vhost_user_msg m;
	int err = vhost_user_tell_vring(c, VHOST_USER_SET_VRING_NUM, index, r->cfg.size);

	if (!err)
		err = vhost_user_tell_vring(c, VHOST_USER_SET_VRING_BASE, index,
					    vhost_user_ring_base(&r->cfg, r->pos));
	if (!err) {
		vhost_user_msg_init(&m, VHOST_USER_SET_VRING_ADDR);
		m.hdr.size = sizeof(m.addr);
		m.addr = *addr;
		err = vhost_user_tell(c, &m);
	}
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_ERR, index, vu->error.fd);
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_CALL, index, irq_fd(r->q->call));
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_KICK, index, r->q->kickfd);
	if (!err && !r->rests)
		err = enable(vu, index, true);
	if (!err)
		err = set_status(vu, STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	return err;
}

/* Let the back end have a ring that was started. */
static int ring_up(struct vhost_user *vu, u32 index)
{
	struct ring *r = &vu->ring[index];
	struct vhost_user_addr addr;
	int err = vhost_user_ring_addr(vu->env->mem, &r->cfg, index, &addr);

	if (!err && r->recover)
		err = vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record,
					      &vu->record_at, &r->pos);
	if (err)
		return err;
	r->up = true; /* from now on, if it fails, somebody may have touched the ring */
	err = tell_ring(vu, index, &addr);
	if (err)
		return done(vu, err, "setting up a queue");
	r->recover = false;
	/* What came while nobody had the ring, in either direction. */
	eventfd_write(r->q->kickfd, 1);
	irq_raise(r->q->call);
	return 0;
}

/* ---- the data path ---- */

static u64 vu_features(struct datapath *d, u64 offered)
{
	struct vhost_user *vu = vu_of(d);
	u64 can = offered & (vu->conn.features | vu->o.ours | VIRTIO_FEATURE(VIRTIO_F_RING_RESET));

	vu->offered = can & vu->conn.features;
	return can;
}

static int vu_prepare(struct datapath *d, u64 features)
{
	struct vhost_user *vu = vu_of(d);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	drop_record(vu);
	vu->features = features;
	vu->prepared = true;
	vu->given_up = false;
	if (connected(vu))
		err = hand_over(vu);
	if (err == -EREMOTEIO || err == -ENOSPC)
		vu->prepared = false;
	else
		err = 0; /* the next back end is told */
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static int vu_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
		    struct vq_pos pos)
{
	struct vhost_user *vu = vu_of(d);
	struct ring *r = &vu->ring[q->index];
	struct vhost_user_addr addr;
	int err = vhost_user_ring_addr(vu->env->mem, cfg, q->index, &addr);

	if (err)
		return err;
	pthread_mutex_lock(&vu->lock);
	vu->dev = q->dev;
	*r = (struct ring){ .q = q, .cfg = *cfg, .pos = pos, .rests = r->rests };
	if (connected(vu) && !vu->given_up)
		err = ring_up(vu, q->index);
	if (err == -EREMOTEIO) {
		*r = (struct ring){ .rests = r->rests };
		err = -EIO;
	} else {
		err = 0;
	}
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static int ring_down(struct vhost_user *vu, u32 index)
{
	struct ring *r = &vu->ring[index];
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_VRING_BASE);
	m.hdr.size = sizeof(m.vring);
	m.vring.index = index;
	err = vhost_user_ask(&vu->conn, &m, sizeof(m.vring), 0);
	if (!err && m.vring.index != index)
		err = -EPROTO;
	if (!err)
		err = vhost_user_ring_pos(vu->env->mem, &r->cfg, m.vring.num, &r->pos);
	return err;
}

static struct vq_pos vu_stop(struct datapath *d, struct virtio_queue *q)
{
	struct vhost_user *vu = vu_of(d);
	struct ring *r = &vu->ring[q->index];
	struct vq_pos pos;

	pthread_mutex_lock(&vu->lock);
	if (r->up) {
		int err = ring_down(vu, q->index);

		if (err)
			lose(vu, err);
	}
	if (r->recover)
		vhost_user_ring_recover(vu->env->mem, &r->cfg, q->index, vu->record, &vu->record_at,
					&r->pos);
	pos = r->pos;
	*r = (struct ring){ .rests = r->rests };
	pthread_mutex_unlock(&vu->lock);
	return pos;
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
	if (connected(vu) && vu->o.config_len &&
	    !done(vu, vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len),
		  "the configuration space")) {
		memcpy(config, vu->config, vu->o.config_len);
		changed = true;
	}
	pthread_mutex_unlock(&vu->lock);
	if (changed && vu->o.config_changed)
		vu->o.config_changed(vu->o.owner, config);
}

/* It is answered before it is done: the back end may wait for that, and we may have to wait for an answer
 * of the back end's. */
static void channel_ready(struct loop_fd *lf, u32 events)
{
	struct vhost_user *vu = container_of(lf, struct vhost_user, channel);
	struct vhost_user_msg m;
	bool known;

	(void)events;
	if (lf->fd < 0)
		return;
	if (vhost_user_recv_within(lf->fd, &m, CHANNEL_MS)) {
		close_channel(vu);
		return;
	}
	vhost_user_close_fds(&m);
	known = m.hdr.request == VHOST_USER_BACKEND_CONFIG_CHANGE;
	answer(vu, &m, !known);
	if (known)
		reread_config(vu);
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
	if (connected(vu) && has_hung_up(vu->conn.sock))
		lose(vu, -ECONNRESET);
	pthread_mutex_unlock(&vu->lock);
}

/* Is the back end one that this device can do with? Says what is missing. */
static int check_back_end(struct vhost_user *vu)
{
	u64 missing = (vu->o.needs | vu->offered) & ~vu->conn.features;

	if (missing) {
		log_err("--%s: socket=%s: the back end does not offer feature bit%s %#llx, which "
			"the device needs",
			vu->o.option, vu->o.path, missing & (missing - 1) ? "s" : "",
			(unsigned long long)missing);
		return -EOPNOTSUPP;
	}
	if (vu->conn.queue_num && vu->conn.queue_num < vu->o.queue_num) {
		log_err("--%s: socket=%s: the back end has %u queues: give queues=%u, or start it "
			"with more",
			vu->o.option, vu->o.path, vu->conn.queue_num, vu->conn.queue_num);
		return -EOPNOTSUPP;
	}
	if (vu->o.config_len && !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_CONFIG)) {
		log_err("--%s: socket=%s: the back end has no configuration space, which the "
			"device needs",
			vu->o.option, vu->o.path);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Agree with the back end at vu->conn.sock, and give it all that the last one had. Returns 0, or an error
 * of the connection's, or -EOPNOTSUPP after a message. */
static int establish(struct vhost_user *vu)
{
	int err = vhost_user_negotiate(&vu->conn);

	if (!err)
		err = check_back_end(vu);
	if (!err && vu->o.config_len)
		err = vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len);
	if (!err)
		err = open_channel(vu);
	vu->hangup.fd = vu->conn.sock;
	if (!err)
		err = loop_add(vu->env->loop, &vu->hangup, EPOLLRDHUP);
	if (!err && vu->prepared && !vu->given_up) {
		err = hand_over(vu);
		for (u32 i = 0; i < vu->o.nqueues && !err && connected(vu); i++) {
			if (vu->ring[i].q)
				err = ring_up(vu, i);
		}
	}
	return err;
}

/* The other end of the socket, if there is one now. Returns it or -errno. */
static int dial(struct vhost_user *vu)
{
	const struct timeval limit = { .tv_sec = vu->conn.timeout_ms / 1000,
				       .tv_usec = vu->conn.timeout_ms % 1000 * 1000 };
	int sock, err = 0;

	if (vu->o.server) {
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
	err = establish(vu);
	if (err && err != -EOPNOTSUPP)
		lose(vu, err);
	else if (err)
		disconnect(vu);
	up = connected(vu);
	memcpy(config, vu->config, sizeof(config));
	pthread_mutex_unlock(&vu->lock);
	if (!up) {
		retry_in(vu, RETRY_MS);
		return;
	}
	log_info("socket=%s: the back end is back", vu->o.path);
	if (vu->o.config_len && vu->o.config_changed)
		vu->o.config_changed(vu->o.owner, config);
	tell_link(vu, true);
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
		retry_in(vu, RETRY_MS);
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
	if (sock < 0)
		retry_in(vu, RETRY_MS);
	else
		loop_add(vu->env->loop, &vu->greeting, EPOLLIN);
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
	gone = !connected(vu);
	pthread_mutex_unlock(&vu->lock);
	if (!gone || vu->greeting.fd >= 0)
		return;
	close_channel(vu);
	tell_link(vu, false);
	reconnect(vu);
}

/* ---- for the device ---- */

u64 vhost_user_features(struct datapath *path)
{
	return vu_of(path)->conn.features;
}

void vhost_user_config(struct datapath *path, u8 *config)
{
	struct vhost_user *vu = vu_of(path);

	pthread_mutex_lock(&vu->lock);
	memcpy(config, vu->config, vu->o.config_len);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_config_written(struct datapath *path, u32 off, const u8 *buf, u32 len, u8 *config)
{
	struct vhost_user *vu = vu_of(path);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	if (connected(
		    vu)) /* the driver is not told of a refusal, but reads that nothing has changed */
		err = vhost_user_set_config(&vu->conn, off, buf, len);
	if (connected(vu) && (!err || err == -EREMOTEIO))
		err = vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len);
	if (err && err != -EREMOTEIO)
		lose(vu, err);
	memcpy(config, vu->config, vu->o.config_len);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_enable_queues(struct datapath *path, u32 n)
{
	struct vhost_user *vu = vu_of(path);

	pthread_mutex_lock(&vu->lock);
	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct ring *r = &vu->ring[i];

		if (r->rests == (i >= n))
			continue;
		r->rests = i >= n;
		if (r->up)
			done(vu, enable(vu, i, !r->rests), "enabling a queue");
	}
	pthread_mutex_unlock(&vu->lock);
}

/* ---- making and freeing ---- */

static void close_watched(struct vhost_user *vu, struct loop_fd *lf)
{
	if (lf->fd < 0)
		return;
	loop_del(vu->env->loop, lf);
	close(lf->fd);
}

static void vu_destroy(struct datapath *d)
{
	struct vhost_user *vu = vu_of(d);
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
	drop_record(vu);
	pthread_mutex_destroy(&vu->lock);
	free(vu);
}

static const struct datapath_ops vu_ops = {
	.name = "vhost-user",
	.features = vu_features,
	.prepare = vu_prepare,
	.start = vu_start,
	.stop = vu_stop,
	.destroy = vu_destroy,
};

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
	log_info("socket=%s: waiting for the back end to connect", vu->o.path);
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
	if (vu->retry.fd < 0 || vu->error.fd < 0)
		return -errno;
	err = loop_add(vu->env->loop, &vu->retry, EPOLLIN);
	return err ? err : loop_add(vu->env->loop, &vu->error, EPOLLIN);
}

static const char *mend(const struct vhost_user *vu, int err)
{
	if (!vu->o.server && (err == -ENOENT || err == -ECONNREFUSED))
		return "; nobody listens there: start the back end first, or give server=on";
	if (vu->o.server && err == -ETIMEDOUT)
		return "; no back end has connected";
	return unix_mend(err);
}

static int begin(struct vhost_user *vu)
{
	const char *option = vu->o.option, *path = vu->o.path;
	int err = unix_address(&vu->addr, path);

	if (!err)
		err = make_fds(vu);
	if (!err) {
		vu->conn.sock = vu->o.server ? await(vu) : dial(vu);
		err = vu->conn.sock < 0 ? vu->conn.sock : 0;
	}
	if (err) {
		log_err("--%s: socket=%s: %s%s", option, path, strerror(-err), mend(vu, err));
		return err;
	}
	err = establish(vu);
	if (err && err != -EOPNOTSUPP)
		log_err("--%s: socket=%s: the back end %s; does it speak vhost-user, and for this "
			"kind of device?",
			option, path, vhost_user_conn_why(err));
	return err;
}

int vhost_user_create(struct datapath **path, const struct machine_env *env,
		      const struct vhost_user_options *o)
{
	struct vhost_user *vu = calloc(1, sizeof(*vu));
	int err;

	assert(o->nqueues && o->nqueues <= VIRTIO_QUEUES_MAX);
	assert(o->config_len <= VHOST_USER_CONFIG_MAX);
	if (!vu) {
		log_err("--%s: %s", o->option, strerror(ENOMEM));
		return -ENOMEM;
	}
	vu->path = (struct datapath){ .ops = &vu_ops, .queues = (1ULL << o->nqueues) - 1 };
	vu->env = env;
	vu->o = *o;
	vu->conn.sock = vu->door = vu->record = -1;
	vu->conn.timeout_ms = o->timeout_ms ? o->timeout_ms : VHOST_USER_TIMEOUT_MS;
	vu->hangup = (struct loop_fd){ .fd = -1, .ready = hangup_ready };
	vu->channel = (struct loop_fd){ .fd = -1, .ready = channel_ready };
	vu->greeting = (struct loop_fd){ .fd = -1, .ready = greeting_ready };
	vu->retry = (struct loop_fd){ .fd = -1, .ready = retry_ready };
	vu->error = (struct loop_fd){ .fd = -1, .ready = error_ready };
	vu->told_up = true;
	pthread_mutex_init(&vu->lock, NULL);
	err = begin(vu);
	if (err) {
		vu_destroy(&vu->path);
		return err;
	}
	*path = &vu->path;
	return 0;
}
