// SPDX-License-Identifier: MIT
/*
 * requests.c - what each message of the front end asks for. Vhost-user Protocol, "Front-end message types".
 *
 * How it works: the table at the end has for each request how long its payload is, how many descriptors may
 * come with it, and the function that does it. All that is checked before, so a function finds a whole
 * payload; what is in it, it checks itself.
 *
 * A function returns 1 after it has made the message the reply, 0 if there is none (the caller then
 * acknowledges, if that was asked for), or -errno after server_refuse().
 *
 * Threads: the main loop's.
 */
#include "devices/daemon/server.h"
#include "devices/datapath/inproc.h"
#include "minivmm/datapath.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PF(name) (1ULL << VHOST_USER_PROTOCOL_F_##name)
#define PROTOCOL_FEATURES                                                           \
	(PF(MQ) | PF(REPLY_ACK) | PF(BACKEND_REQ) | PF(CONFIG) | PF(RESET_DEVICE) | \
	 PF(CONFIGURE_MEM_SLOTS) | PF(STATUS) | PF(LOG_SHMFD))
#define IN_HAND_TRIES 40
#define IN_HAND_US    500
#define CONFIG_HDR    offsetof(struct vhost_user_config, data)

static int reply_num(struct vhost_user_msg *m, u64 num)
{
	m->num = num;
	m->hdr.size = sizeof(m->num);
	return 1;
}

/* ---- features ---- */

/* Those that are the transport's. */
#define OUR_FEATURES (1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1ULL << VHOST_F_LOG_ALL)

/* With a record of what is in flight the rings can't be in order. */
static u64 offered(const struct server *s)
{
	u64 features = s->v->offered | OUR_FEATURES;

	return s->o.inflight ? features & ~VIRTIO_FEATURE(VIRTIO_F_IN_ORDER) : features;
}

static u64 protocol_offered(const struct server *s)
{
	return PROTOCOL_FEATURES | (s->o.inflight ? PF(INFLIGHT_SHMFD) : 0);
}

static int get_features(struct server *s, struct vhost_user_msg *m)
{
	return reply_num(m, offered(s));
}

/* Without VHOST_USER_F_PROTOCOL_FEATURES rings begin enabled. */
static int set_features(struct server *s, struct vhost_user_msg *m)
{
	u64 features = m->num & ~OUR_FEATURES;
	bool log_all = m->num >> VHOST_F_LOG_ALL & 1, same;

	if (m->num & ~offered(s))
		return server_refuse(s, -EINVAL, "features that were not offered: 0x%llx",
				     (unsigned long long)(m->num & ~offered(s)));
	if (m->num & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES) {
		s->begin_disabled = true;
	} else if (!s->features_given) {
		for (u32 i = 0; i < s->o.nqueues; i++)
			s->ring[i].enabled = true;
	}
	same = s->features_given && features == s->features;
	if (same && log_all == s->log_all)
		return 0;
	rings_hold(s);
	if (!same)
		device_reset(s);
	s->features = features;
	s->log_all = log_all;
	s->features_given = true;
	return rings_update(s);
}

static int get_protocol_features(struct server *s, struct vhost_user_msg *m)
{
	return reply_num(m, protocol_offered(s));
}

static int set_protocol_features(struct server *s, struct vhost_user_msg *m)
{
	if (m->num & ~protocol_offered(s))
		return server_refuse(s, -EINVAL, "protocol features that were not offered: 0x%llx",
				     (unsigned long long)(m->num & ~protocol_offered(s)));
	s->protocol = m->num;
	return 0;
}

static int get_queue_num(struct server *s, struct vhost_user_msg *m)
{
	return reply_num(m, s->o.nqueues / s->o.unit);
}

/* SET_OWNER says that a session begins, which we know. RESET_OWNER means nothing any more. */
static int nothing(struct server *s, struct vhost_user_msg *m)
{
	(void)s;
	(void)m;
	return 0;
}

/* ---- status ---- */

static void stop_all(struct server *s)
{
	for (u32 i = 0; i < s->o.nqueues; i++)
		s->ring[i].started = false;
	rings_hold(s);
	device_reset(s);
	for (u32 i = 0; i < s->o.nqueues; i++) { /* what was in flight never was */
		if (inflight_of(&s->ring[i]))
			vq_inflight_clear(inflight_of(&s->ring[i]));
	}
}

static int get_status(struct server *s, struct vhost_user_msg *m)
{
	return reply_num(m, s->status | (virtio_status_read(s->v) & VIRTIO_CONFIG_S_NEEDS_RESET));
}

static int set_status(struct server *s, struct vhost_user_msg *m)
{
	if (m->num > 0xff)
		return server_refuse(s, -EINVAL, "a status of 0x%llx", (unsigned long long)m->num);
	s->status = m->num;
	if (!s->status)
		stop_all(s);
	return 0;
}

static int reset_device(struct server *s, struct vhost_user_msg *m)
{
	(void)m;
	stop_all(s);
	for (u32 i = 0; i < s->o.nqueues; i++)
		s->ring[i].enabled = !s->begin_disabled;
	s->status = 0;
	return 0;
}

/* ---- memory ---- */

static int set_mem_table(struct server *s, struct vhost_user_msg *m)
{
	int err;

	if (m->memory.nregions > VHOST_USER_REGIONS_MAX || m->nfds != m->memory.nregions)
		return server_refuse(s, -EINVAL, "%u regions with %u descriptors",
				     m->memory.nregions, m->nfds);
	if (m->hdr.size < offsetof(struct vhost_user_memory, region) +
				  m->memory.nregions * sizeof(m->memory.region[0]))
		return server_refuse(s, -EINVAL, "%u regions in %u bytes", m->memory.nregions,
				     m->hdr.size);
	rings_hold(s);
	err = memory_set(s, m);
	return err ? err : rings_update(s);
}

static int add_mem_reg(struct server *s, struct vhost_user_msg *m)
{
	int err;

	if (m->nfds != 1)
		return server_refuse(s, -EINVAL, "%u descriptors", m->nfds);
	rings_hold(s);
	err = memory_add(s, &m->slot.region, m->fd[0]);
	return err ? err : rings_update(s);
}

static int rem_mem_reg(struct server *s, struct vhost_user_msg *m)
{
	int err;

	rings_hold(s);
	err = memory_remove(s, &m->slot.region);
	return err ? err : rings_update(s);
}

static int get_max_mem_slots(struct server *s, struct vhost_user_msg *m)
{
	(void)s;
	return reply_num(m, MEM_REGIONS_MAX);
}

/* ---- rings ---- */

static struct ring *ring_of(struct server *s, u32 index)
{
	if (index < s->o.nqueues)
		return &s->ring[index];
	server_refuse(s, -EINVAL, "there is no ring %u", index);
	return NULL;
}

static int set_vring_num(struct server *s, struct vhost_user_msg *m)
{
	struct ring *r = ring_of(s, m->vring.index);

	if (!r)
		return -EINVAL;
	if (!m->vring.num || m->vring.num > r->q->size_max)
		return server_refuse(s, -EINVAL, "ring %u has %u descriptors; 1 to %u can be",
				     m->vring.index, m->vring.num, r->q->size_max);
	ring_hold(r);
	r->size = m->vring.num;
	return rings_update(s);
}

/* Have its first page be there before a driver waits for the ring to start. */
static void touch(struct server *s, u64 user_addr)
{
	const volatile u8 *p;
	u64 gpa;

	if (memory_gpa(s, user_addr, &gpa) && (p = mem_ptr(s->mem, gpa, 1)))
		(void)*p;
}

static int set_vring_addr(struct server *s, struct vhost_user_msg *m)
{
	struct ring *r = ring_of(s, m->addr.index);

	if (!r)
		return -EINVAL;
	ring_hold(r);
	r->addr = m->addr;
	r->placed = true;
	touch(s, r->addr.desc);
	touch(s, r->addr.avail);
	touch(s, r->addr.used);
	return rings_update(s);
}

/* Packed: the position of what is used is in the upper half. */
static int set_vring_base(struct server *s, struct vhost_user_msg *m)
{
	struct ring *r = ring_of(s, m->vring.index);

	if (!r)
		return -EINVAL;
	ring_hold(r);
	r->pos = (struct vq_pos){ .avail = m->vring.num, .used = m->vring.num >> 16 };
	r->base_given = true;
	return rings_update(s);
}

/* Whoever goes on with the ring does not get what the device has in hand for it. So it may go on for a little
 * longer, until the driver has given it what it waits for. */
static int stop_ring(struct server *s, struct ring *r)
{
	const struct virtio_dev *v = r->q->dev;

	for (u32 i = 0;; i++) {
		int err;

		r->started = false;
		err = rings_update(s);
		if (err || i == IN_HAND_TRIES || !v->ops->in_hand || !v->ops->in_hand(v, r->q))
			return err;
		r->started = true;
		err = rings_update(s);
		if (err)
			return err;
		usleep(IN_HAND_US);
	}
}

/* Those that the front end asks for next are asked to stop now, too, so that all threads do so at the same time.
 * (If this one then goes on for what it has in hand, they wait for their turn.) */
static void stop_with(struct server *s, const struct ring *r)
{
	struct {
		struct vhost_user_hdr hdr;
		struct vhost_user_vring vring;
	} next[VIRTIO_QUEUES_MAX];
	ssize_t len = recv(s->client.fd, next, sizeof(next), MSG_PEEK | MSG_DONTWAIT);
	u64 rings = 1ULL << r->q->index;

	for (u32 i = 0; len >= (ssize_t)((i + 1) * sizeof(next[0])); i++) {
		u32 index = next[i].vring.index;

		if (next[i].hdr.request != VHOST_USER_GET_VRING_BASE ||
		    next[i].hdr.size != sizeof(next[i].vring) || index >= s->o.nqueues ||
		    !s->ring[index].running)
			break;
		rings |= 1ULL << index;
	}
	inproc_path.ops->stopping(&inproc_path, s->v, rings);
}

static int get_vring_base(struct server *s, struct vhost_user_msg *m)
{
	struct ring *r = ring_of(s, m->vring.index);
	int err;

	if (!r)
		return -EINVAL;
	if (r->running)
		stop_with(s, r);
	err = r->started ? stop_ring(s, r) : 0;
	if (err)
		return err;
	ring_set_kick(r, -1);
	if (inflight_of(r) && r->pos.avail == r->pos.used)
		vq_inflight_clear(inflight_of(r));
	m->vring.num = r->pos.avail;
	if (s->features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED))
		m->vring.num |= (u32)r->pos.used << 16;
	m->hdr.size = sizeof(m->vring);
	return 1;
}

static int set_vring_enable(struct server *s, struct vhost_user_msg *m)
{
	struct ring *r = ring_of(s, m->vring.index);
	int err = 0;

	if (!r)
		return -EINVAL;
	if (m->vring.num > 1)
		return server_refuse(s, -EINVAL, "enable ring %u: %u", m->vring.index,
				     m->vring.num);
	r->enabled = m->vring.num;
	/* It starts soon. What takes time (a tap's offloads) is done before somebody waits for it. */
	if (r->enabled && s->features_given && s->nregions)
		err = device_begin(s);
	return err ? err : rings_update(s);
}

/* The ring and the descriptor (-1: none) of SET_VRING_KICK, CALL and ERR; NULL: refused. */
static struct ring *vring_fd(struct server *s, struct vhost_user_msg *m, int *fd)
{
	bool none = m->num & VHOST_USER_VRING_NOFD;

	if (m->nfds != !none) {
		server_refuse(s, -EINVAL, "%u descriptors", m->nfds);
		return NULL;
	}
	*fd = none ? -1 : m->fd[0];
	return ring_of(s, m->num & VHOST_USER_VRING_INDEX);
}

static int refuse_fd(struct server *s, const struct ring *r, int err)
{
	return server_refuse(s, err, "the descriptor for ring %u: %s", r->q->index,
			     err == -EINVAL ? "it is no eventfd" : strerror(-err));
}

static int set_vring_kick(struct server *s, struct vhost_user_msg *m)
{
	int fd, err;
	struct ring *r = vring_fd(s, m, &fd);

	if (!r)
		return -EINVAL;
	ring_hold(r);
	err = ring_set_kick(r, fd);
	if (err)
		return refuse_fd(s, r, err);
	if (!r->started)
		r->q->rings++;
	r->started = true;
	r->q->polled = s->o.poll || fd < 0;
	return rings_update(s);
}

static int set_vring_call(struct server *s, struct vhost_user_msg *m)
{
	int fd, err;
	struct ring *r = vring_fd(s, m, &fd);

	if (!r)
		return -EINVAL;
	err = ring_set_call(r, fd);
	return err ? refuse_fd(s, r, err) : 0;
}

static int set_vring_err(struct server *s, struct vhost_user_msg *m)
{
	int fd;
	struct ring *r = vring_fd(s, m, &fd);

	if (!r)
		return -EINVAL;
	if (fd >= 0 && !ring_is_eventfd(fd))
		return refuse_fd(s, r, -EINVAL);
	if (r->errfd >= 0)
		close(r->errfd);
	r->errfd = fd;
	if (fd >= 0) {
		fd_nonblocking(fd);
		m->fd[0] = -1; /* ours */
	}
	return 0;
}

/* ---- configuration space ---- */

static int check_config(struct server *s, const struct vhost_user_msg *m)
{
	const struct vhost_user_config *c = &m->config;

	if (c->size <= VHOST_USER_CONFIG_MAX && m->hdr.size >= CONFIG_HDR + c->size &&
	    range_inside(c->offset, c->size, 0, VHOST_USER_CONFIG_MAX))
		return 0;
	return server_refuse(s, -EINVAL, "%u bytes from %u on", c->size, c->offset);
}

/* What lies beyond the device's own reads as zero. */
static int get_config(struct server *s, struct vhost_user_msg *m)
{
	int err = check_config(s, m);

	if (err)
		return err;
	virtio_config_read(s->v, m->config.offset, m->config.data, m->config.size);
	m->hdr.size = CONFIG_HDR + m->config.size;
	return 1;
}

/* The device itself leaves alone what is not the driver's to write. */
static int set_config(struct server *s, struct vhost_user_msg *m)
{
	int err = check_config(s, m);

	if (!err)
		virtio_config_write(s->v, m->config.offset, m->config.data, m->config.size);
	return err;
}

/* Is `fd` the front end's end of a connection to us? As long as we had that open nobody would see it end. One
 * of a socket pair has no name; but then no other front end waits for that. */
static bool is_other_end(const struct server *s, int fd)
{
	struct sockaddr_un ours = { 0 }, peer = { 0 };
	socklen_t len = sizeof(ours), peer_len = sizeof(peer);

	return getsockname(s->client.fd, (struct sockaddr *)&ours, &len) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
	       len > sizeof(ours.sun_family) && len == peer_len && memcmp(&ours, &peer, len) == 0;
}

static int set_backend_req_fd(struct server *s, struct vhost_user_msg *m)
{
	if (m->nfds != 1)
		return server_refuse(s, -EINVAL, "%u descriptors", m->nfds);
	if (is_other_end(s, m->fd[0]))
		return server_refuse(s, -EINVAL, "the descriptor is this connection's own end");
	if (s->back >= 0)
		close(s->back);
	s->back = m->fd[0];
	m->fd[0] = -1; /* ours */
	return 0;
}

/* ---- in flight ---- */

static int get_inflight_fd(struct server *s, struct vhost_user_msg *m)
{
	int err, fd = -1;

	err = inflight_make(s, &m->inflight, &fd);
	if (fd >= 0)
		m->fd[m->nfds++] = fd; /* closed once it is sent, or is not to be */
	if (err)
		return err;
	m->hdr.size = sizeof(m->inflight);
	return 1;
}

static int set_inflight_fd(struct server *s, struct vhost_user_msg *m)
{
	int err;

	if (m->nfds != 1)
		return server_refuse(s, -EINVAL, "%u descriptors", m->nfds);
	rings_hold(s);
	err = inflight_set(s, &m->inflight, m->fd[0]);
	return err ? err : rings_update(s);
}

/* ---- the log of written pages ---- */

/* "back-end must send a reply", and nobody expects anything in it. */
static int set_log_base(struct server *s, struct vhost_user_msg *m)
{
	int err;

	if (m->nfds != 1)
		return server_refuse(s, -EINVAL, "%u descriptors", m->nfds);
	rings_hold(s);
	err = log_set(s, &m->log, m->fd[0]);
	vhost_user_close_fds(m); /* it does not go back */
	m->hdr.size = 0;
	if (!err)
		err = rings_update(s);
	return err ? err : 1;
}

static int set_log_fd(struct server *s, struct vhost_user_msg *m)
{
	if (m->nfds && !ring_is_eventfd(m->fd[0]))
		return server_refuse(s, -EINVAL, "the descriptor is no eventfd");
	if (m->nfds)
		fd_nonblocking(m->fd[0]);
	rings_hold(s);
	log_set_fd(s, m->nfds ? m->fd[0] : -1);
	m->fd[0] = -1; /* ours */
	return rings_update(s);
}

/* ---- the table ---- */

struct request {
	const char *name;
	int (*handle)(struct server *s, struct vhost_user_msg *m);
	u32 size; /* of the payload, at least */
	u32 fds;  /* at most */
	u64 needs;
};

/* Without the padding at the structure's end. */
#define INFLIGHT (offsetof(struct vhost_user_inflight, queue_size) + sizeof(u16))
#define U64	 sizeof(u64)
#define VRING	 sizeof(struct vhost_user_vring)
#define LOG	 sizeof(struct vhost_user_log)
#define REGION	 sizeof(struct vhost_user_mem_slot)
#define TABLE	 offsetof(struct vhost_user_memory, region)

/* clang-format off: one request a line */
static const struct request requests[] = {
	[VHOST_USER_GET_FEATURES] = { "GET_FEATURES", get_features, 0, 0, 0 },
	[VHOST_USER_SET_FEATURES] = { "SET_FEATURES", set_features, U64, 0, 0 },
	[VHOST_USER_SET_OWNER] = { "SET_OWNER", nothing, 0, 0, 0 },
	[VHOST_USER_RESET_OWNER] = { "RESET_OWNER", nothing, 0, 0, 0 },
	[VHOST_USER_SET_MEM_TABLE] = { "SET_MEM_TABLE", set_mem_table, TABLE,
				       VHOST_USER_REGIONS_MAX, 0 },
	[VHOST_USER_SET_LOG_BASE] = { "SET_LOG_BASE", set_log_base, LOG, 1, PF(LOG_SHMFD) },
	[VHOST_USER_SET_LOG_FD] = { "SET_LOG_FD", set_log_fd, 0, 1, 0 },
	[VHOST_USER_SET_VRING_NUM] = { "SET_VRING_NUM", set_vring_num, VRING, 0, 0 },
	[VHOST_USER_SET_VRING_ADDR] = { "SET_VRING_ADDR", set_vring_addr,
					sizeof(struct vhost_user_addr), 0, 0 },
	[VHOST_USER_SET_VRING_BASE] = { "SET_VRING_BASE", set_vring_base, VRING, 0, 0 },
	[VHOST_USER_GET_VRING_BASE] = { "GET_VRING_BASE", get_vring_base, VRING, 0, 0 },
	[VHOST_USER_SET_VRING_KICK] = { "SET_VRING_KICK", set_vring_kick, U64, 1, 0 },
	[VHOST_USER_SET_VRING_CALL] = { "SET_VRING_CALL", set_vring_call, U64, 1, 0 },
	[VHOST_USER_SET_VRING_ERR] = { "SET_VRING_ERR", set_vring_err, U64, 1, 0 },
	[VHOST_USER_GET_PROTOCOL_FEATURES] = { "GET_PROTOCOL_FEATURES", get_protocol_features, 0, 0,
					       0 },
	[VHOST_USER_SET_PROTOCOL_FEATURES] = { "SET_PROTOCOL_FEATURES", set_protocol_features, U64,
					       0, 0 },
	[VHOST_USER_GET_QUEUE_NUM] = { "GET_QUEUE_NUM", get_queue_num, 0, 0, 0 },
	[VHOST_USER_SET_VRING_ENABLE] = { "SET_VRING_ENABLE", set_vring_enable, VRING, 0, 0 },
	[VHOST_USER_SET_BACKEND_REQ_FD] = { "SET_BACKEND_REQ_FD", set_backend_req_fd, 0, 1,
					    PF(BACKEND_REQ) },
	[VHOST_USER_GET_CONFIG] = { "GET_CONFIG", get_config, CONFIG_HDR, 0, PF(CONFIG) },
	[VHOST_USER_SET_CONFIG] = { "SET_CONFIG", set_config, CONFIG_HDR, 0, PF(CONFIG) },
	[VHOST_USER_GET_INFLIGHT_FD] = { "GET_INFLIGHT_FD", get_inflight_fd, INFLIGHT, 0,
					 PF(INFLIGHT_SHMFD) },
	[VHOST_USER_SET_INFLIGHT_FD] = { "SET_INFLIGHT_FD", set_inflight_fd, INFLIGHT, 1,
					 PF(INFLIGHT_SHMFD) },
	[VHOST_USER_RESET_DEVICE] = { "RESET_DEVICE", reset_device, 0, 0, PF(RESET_DEVICE) },
	[VHOST_USER_GET_MAX_MEM_SLOTS] = { "GET_MAX_MEM_SLOTS", get_max_mem_slots, 0, 0,
					   PF(CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_ADD_MEM_REG] = { "ADD_MEM_REG", add_mem_reg, REGION, 1,
				     PF(CONFIGURE_MEM_SLOTS) },
	/* "the back-end MAY accept messages with one file descriptor" */
	[VHOST_USER_REM_MEM_REG] = { "REM_MEM_REG", rem_mem_reg, REGION, 1,
				     PF(CONFIGURE_MEM_SLOTS) },
	[VHOST_USER_SET_STATUS] = { "SET_STATUS", set_status, U64, 0, PF(STATUS) },
	[VHOST_USER_GET_STATUS] = { "GET_STATUS", get_status, 0, 0, PF(STATUS) },
};
/* clang-format on */

static const struct request *request_of(u32 request)
{
	return request < ARRAY_SIZE(requests) && requests[request].name ? &requests[request] : NULL;
}

const char *server_request_name(u32 request)
{
	const struct request *r = request_of(request);

	return r ? r->name : "message";
}

int server_handle(struct server *s, struct vhost_user_msg *m)
{
	const struct request *r = request_of(m->hdr.request);

	if (!r)
		return server_refuse(s, -EPROTO, "request %u is not known", m->hdr.request);
	if (m->hdr.flags & VHOST_USER_REPLY)
		return server_refuse(s, -EPROTO, "a reply that nobody asked for");
	if (m->hdr.size < r->size)
		return server_refuse(s, -EPROTO, "%u bytes, of %u", m->hdr.size, r->size);
	if (m->nfds > r->fds)
		return server_refuse(s, -EPROTO, "%u descriptors", m->nfds);
	if (r->needs & ~s->protocol)
		return server_refuse(s, -EPROTO, "its protocol feature was not accepted");
	return r->handle(s, m);
}
