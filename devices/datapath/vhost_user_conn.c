// SPDX-License-Identifier: MIT
/*
 * vhost_user_conn.c - a connection to a vhost-user back end: requests and what is answered. See
 * vhost_user_conn.h.
 *
 * How it works: a request has an answer of its own (GET_...), or is acknowledged if REPLY_ACK has been
 * negotiated, by zero or a refusal; not if it is told ahead, with others, to a back end that `closes`. Answers
 * come in the order of the requests, and whatever else comes is the answer to nothing. Who answers may be
 * anybody: request, flags, size and number of descriptors are compared with what must come before any of it is
 * used, and none is waited for longer than timeout_ms.
 */
#include "devices/datapath/vhost_user_conn.h"
#include "minivmm/mem.h"

#include <errno.h>
#include <string.h>

#define P(name)	     (1ULL << VHOST_USER_PROTOCOL_F_##name)
#define HAS_PROTOCOL (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

/* What we make use of if it is offered. */
#define KNOWN                                                                                      \
	(P(MQ) | P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG) | P(INFLIGHT_SHMFD) | P(RESET_DEVICE) | \
	 P(CONFIGURE_MEM_SLOTS) | P(STATUS) | P(RARP) | P(MTU) | P(LOG_SHMFD))

/* These two go together: a notifier comes with a descriptor. */
#define NOTIFIERS     (P(HOST_NOTIFIER) | P(BACKEND_SEND_FD))

#define CONFIG_HEADER offsetof(struct vhost_user_config, data)

const char *vhost_user_conn_why(int err)
{
	switch (err) {
	case -ECONNRESET:
		return "has gone";
	case -ETIMEDOUT:
	case -EAGAIN:
		return "does not answer";
	case -EPROTO:
		return "gives an answer that is none";
	case -EREMOTEIO:
		return "refuses a request";
	case -EBADMSG:
		return "uses a request that it was not given";
	case -ENOSPC:
		return "takes fewer memory regions than the guest has";
	default:
		return strerror(-err);
	}
}

void vhost_user_msg_init(struct vhost_user_msg *m, u32 request)
{
	memset(m, 0, sizeof(*m));
	m->hdr.request = request;
	m->hdr.flags = VHOST_USER_VERSION;
	for (u32 i = 0; i < VHOST_USER_FDS_MAX; i++)
		m->fd[i] = -1;
}

/* Wait for the answer to `request`. */
static int receive_reply(struct vhost_user_conn *c, struct vhost_user_msg *m, u32 request, u32 nfds)
{
	int err = vhost_user_recv_within(c->sock, m, c->timeout_ms);

	if (err)
		return err;
	if (m->hdr.request == request && m->hdr.flags & VHOST_USER_REPLY && m->nfds <= nfds)
		return 0;
	vhost_user_close_fds(m);
	return -EPROTO;
}

int vhost_user_send_rest(struct vhost_user_conn *c)
{
	u32 n = c->nunsent;

	c->nunsent = 0;
	return n ? vhost_user_send_bytes(c->sock, c->unsent, n) : 0;
}

int vhost_user_send_later(struct vhost_user_conn *c, const struct vhost_user_msg *m)
{
	u32 len = VHOST_USER_HDR_LEN + m->hdr.size;
	int err = 0;

	if (m->nfds || len > sizeof(c->unsent) - c->nunsent)
		err = vhost_user_send_rest(c);
	if (err)
		return err;
	if (m->nfds || len > sizeof(c->unsent))
		return vhost_user_send(c->sock, m);
	memcpy(c->unsent + c->nunsent, &m->hdr, VHOST_USER_HDR_LEN);
	memcpy(c->unsent + c->nunsent + VHOST_USER_HDR_LEN, &m->num, m->hdr.size);
	c->nunsent += len;
	return 0;
}

/* The acknowledgements that are owed. Returns 0, noting a refusal, or an error after which there are no more. */
static int collect(struct vhost_user_conn *c)
{
	int err = vhost_user_send_rest(c);

	if (!err)
		err = vhost_user_recv_acks(c->sock, c->owed, c->nowed, c->timeout_ms);
	c->nowed = 0;
	c->refused |= err == -EREMOTEIO;
	return err == -EREMOTEIO ? 0 : err;
}

/* Requests are handled in their order, so any answer will do; who has refused one of them does not answer. */
static int hear_last(struct vhost_user_conn *c)
{
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_FEATURES);
	err = vhost_user_send_later(c, &m);
	if (!err)
		err = vhost_user_send_rest(c);
	return err ? err : vhost_user_hear(c, &m, sizeof(m.num), 0);
}

int vhost_user_tell(struct vhost_user_conn *c, struct vhost_user_msg *m)
{
	bool silent = c->ahead && c->closes;
	bool ack = !silent && vhost_user_has(c, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	int err;

	if (ack)
		m->hdr.flags |= VHOST_USER_NEED_REPLY;
	err = c->ahead ? vhost_user_send_later(c, m) : vhost_user_send(c->sock, m);
	if (err) { /* nothing more can be had */
		c->nowed = c->nunsent = 0;
		c->silent = false;
		return err;
	}
	c->silent |= silent;
	if (!ack)
		return 0;
	if (!c->ahead)
		return vhost_user_recv_acks(c->sock, &m->hdr.request, 1, c->timeout_ms);
	c->owed[c->nowed++] = m->hdr.request;
	return c->nowed < VHOST_USER_ACKS_MAX ? 0 : collect(c);
}

void vhost_user_go_ahead(struct vhost_user_conn *c)
{
	c->ahead = true;
	c->refused = false;
}

int vhost_user_catch_up(struct vhost_user_conn *c)
{
	int err = c->silent ? hear_last(c) : collect(c);

	c->ahead = c->silent = false;
	return err ? err : c->refused ? -EREMOTEIO : 0;
}

int vhost_user_tell_u64(struct vhost_user_conn *c, u32 request, u64 value)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, request);
	m.hdr.size = sizeof(m.num);
	m.num = value;
	return vhost_user_tell(c, &m);
}

int vhost_user_tell_vring(struct vhost_user_conn *c, u32 request, u32 index, u32 num)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, request);
	m.hdr.size = sizeof(m.vring);
	m.vring = (struct vhost_user_vring){ index, num };
	return vhost_user_tell(c, &m);
}

int vhost_user_tell_fd(struct vhost_user_conn *c, u32 request, u32 index, int fd)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, request);
	m.hdr.size = sizeof(m.num);
	m.num = index;
	m.fd[0] = fd;
	m.nfds = 1;
	return vhost_user_tell(c, &m);
}

int vhost_user_ask(struct vhost_user_conn *c, struct vhost_user_msg *m, u32 size, u32 nfds)
{
	int err = vhost_user_send(c->sock, m);

	return err ? err : vhost_user_hear(c, m, size, nfds);
}

int vhost_user_hear(struct vhost_user_conn *c, struct vhost_user_msg *m, u32 size, u32 nfds)
{
	int err = receive_reply(c, m, m->hdr.request, nfds);

	if (err)
		return err;
	if (m->hdr.size == size && m->nfds == nfds)
		return 0;
	vhost_user_close_fds(m);
	return -EPROTO;
}

int vhost_user_ask_any(struct vhost_user_conn *c, struct vhost_user_msg *m)
{
	int err = vhost_user_send(c->sock, m);

	return err ? err : receive_reply(c, m, m->hdr.request, 0);
}

int vhost_user_ask_u64(struct vhost_user_conn *c, u32 request, u64 *value)
{
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, request);
	err = vhost_user_ask(c, &m, sizeof(m.num), 0);
	*value = err ? 0 : m.num;
	return err;
}

int vhost_user_answers(struct vhost_user_conn *c)
{
	u64 features;

	return vhost_user_ask_u64(c, VHOST_USER_GET_FEATURES, &features);
}

/* Requests are handled in their order, so any answer will do. */
int vhost_user_sync(struct vhost_user_conn *c)
{
	return vhost_user_has(c, VHOST_USER_PROTOCOL_F_REPLY_ACK) ? 0 : vhost_user_answers(c);
}

int vhost_user_negotiate(struct vhost_user_conn *c)
{
	u64 known = KNOWN | (c->notifiers ? NOTIFIERS : 0), offered = 0, n = 0;
	int err;

	c->protocol = 0;
	c->queue_num = c->nowed = c->nunsent = 0;
	err = vhost_user_ask_u64(c, VHOST_USER_GET_FEATURES, &c->features);
	if (!err && c->features & HAS_PROTOCOL) {
		err = vhost_user_ask_u64(c, VHOST_USER_GET_PROTOCOL_FEATURES, &offered);
		if (!err) /* REPLY_ACK is not in force yet: this is not acknowledged */
			err = vhost_user_tell_u64(c, VHOST_USER_SET_PROTOCOL_FEATURES,
						  offered & known);
		c->protocol = offered & known;
	}
	if (!err) {
		struct vhost_user_msg m;

		vhost_user_msg_init(&m, VHOST_USER_SET_OWNER);
		err = vhost_user_tell(c, &m);
	}
	if (!err && vhost_user_has(c, VHOST_USER_PROTOCOL_F_MQ))
		err = vhost_user_ask_u64(c, VHOST_USER_GET_QUEUE_NUM, &n);
	c->queue_num = n > UINT32_MAX ? UINT32_MAX : n;
	return err;
}

/* ---- memory ---- */

static struct vhost_user_region region_of(const struct mem_region *r)
{
	return (struct vhost_user_region){
		.gpa = r->gpa,
		.size = r->size,
		.user_addr = (uintptr_t)r->host,
	};
}

/* One by one, each in a slot. */
static int fill_slots(struct vhost_user_conn *c, const struct mem_region *const *region, u32 n)
{
	u64 slots;
	int err = vhost_user_ask_u64(c, VHOST_USER_GET_MAX_MEM_SLOTS, &slots);

	if (!err && slots < n)
		err = -ENOSPC;
	for (u32 i = 0; i < n && !err; i++) {
		struct vhost_user_msg m;

		vhost_user_msg_init(&m, VHOST_USER_ADD_MEM_REG);
		m.hdr.size = sizeof(m.slot);
		m.slot.region = region_of(region[i]);
		m.fd[0] = region[i]->fd;
		m.nfds = 1;
		err = vhost_user_tell(c, &m);
	}
	return err;
}

/* All at once. */
static int set_table(struct vhost_user_conn *c, const struct mem_region *const *region, u32 n)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_SET_MEM_TABLE);
	if (n > VHOST_USER_REGIONS_MAX)
		return -ENOSPC;
	m.memory.nregions = m.nfds = n;
	for (u32 i = 0; i < n; i++) {
		m.memory.region[i] = region_of(region[i]);
		m.fd[i] = region[i]->fd;
	}
	m.hdr.size = offsetof(struct vhost_user_memory, region[0]) +
		     n * sizeof(struct vhost_user_region);
	return vhost_user_tell(c, &m);
}

int vhost_user_share_memory(struct vhost_user_conn *c, const struct mem *mem,
			    const struct mem_region *extra)
{
	const struct mem_region *region[MEM_REGIONS_MAX + 1];
	u32 n = 0;

	for (u32 i = 0; i < mem->nregions; i++)
		region[n++] = &mem->region[i];
	if (extra)
		region[n++] = extra;
	return vhost_user_has(c, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
		       ? fill_slots(c, region, n)
		       : set_table(c, region, n);
}

/* ---- configuration space ---- */

int vhost_user_get_config(struct vhost_user_conn *c, void *buf, u32 len)
{
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_CONFIG);
	m.hdr.size = CONFIG_HEADER + len;
	m.config.size = len;
	err = vhost_user_send(c->sock, &m);
	if (!err)
		err = receive_reply(c, &m, VHOST_USER_GET_CONFIG, 0);
	if (err)
		return err;
	if (!m.hdr.size || (m.hdr.size == CONFIG_HEADER && !m.config.size))
		return -EREMOTEIO; /* "uses zero length of payload to indicate an error" */
	if (m.hdr.size != CONFIG_HEADER + len || m.config.size != len || m.config.offset)
		return -EPROTO;
	memcpy(buf, m.config.data, len);
	return 0;
}

int vhost_user_set_config(struct vhost_user_conn *c, u32 off, const void *buf, u32 len)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_SET_CONFIG);
	m.hdr.size = CONFIG_HEADER + len;
	m.config.offset = off;
	m.config.size = len;
	memcpy(m.config.data, buf, len);
	return vhost_user_tell(c, &m);
}
