// SPDX-License-Identifier: MIT
/*
 * fake_back_end.c - see fake_back_end.h.
 */
#include "tests/unit/fake_back_end.h"
#include "minivmm/unix_socket.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_LEN 4096

static u32 get(const u32 *field)
{
	return __atomic_load_n(field, __ATOMIC_SEQ_CST);
}

void be_begin(struct back_end *be)
{
	memset(be, 0, sizeof(*be));
	snprintf(be->path, sizeof(be->path), "/tmp/minivmm-unit-be-%d", getpid());
	be->features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC |
		       1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << VIRTIO_F_RING_PACKED |
		       1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1;
	be->protocol = BE_P(MQ) | BE_P(REPLY_ACK) | BE_P(CONFIG) | BE_P(BACKEND_REQ) |
		       BE_P(RESET_DEVICE) | BE_P(LOG_SHMFD);
	be->queue_num = BE_QUEUES;
	be->mem_slots = MEM_REGIONS_MAX;
	be->config_len = 12;
	memcpy(be->config, "back end....", 12);
	be->listener = be->sock = be->channel = be->stop = be->record = -1;
}

/* ---- rings ---- */

static u64 gpa_of(struct back_end *be, u64 user, u64 len)
{
	for (u32 i = 0; i < be->mem.nregions; i++) {
		const struct mem_region *r = &be->mem.region[i];

		if (range_inside(user, len, be->user[i], r->size))
			return r->gpa + (user - be->user[i]);
	}
	return ~0ULL;
}

/* Copy what the driver sends into what it gave to write. */
static u32 echo(const struct vq_chain *c)
{
	u32 n = c->out_len < c->in_len ? c->out_len : c->in_len;

	if (n && c->nout == 1 && c->nin == 1)
		memcpy(c->iov[1].iov_base, c->iov[0].iov_base, n);
	return n;
}

static void put(struct be_ring *r, const struct vq_chain *c)
{
	vq_put(&r->vq, c, echo(c));
	r->last = c->id;
}

static void put_held(struct be_ring *r)
{
	for (u32 i = 0; i < r->nheld; i++)
		put(r, &r->held[i].chain);
	r->nheld = 0;
}

static bool is_held(struct back_end *be, u8 first)
{
	u32 hold = get(&be->hold);

	return hold == BE_HOLD_ALL || (hold == BE_HOLD_EVEN && first % 2 == 0);
}

static void note_got(struct back_end *be, const struct be_ring *r, u8 first)
{
	if (r != &be->ring[0] || be->ngot == BE_GOT_MAX)
		return;
	be_set(&be->got[be->ngot], first);
	be_set(&be->ngot, be->ngot + 1);
}

static void tell_lie(struct back_end *be, struct be_ring *r)
{
	u32 lie = r == &be->ring[0] ? __atomic_exchange_n(&be->lie, 0, __ATOMIC_SEQ_CST) : 0;
	struct vring_used *used = (struct vring_used *)r->vq.device;
	struct vring_used_elem *e;

	if (!lie)
		return;
	e = &used->ring[r->vq.pos.used % r->vq.cfg.size];
	*e = (struct vring_used_elem){ lie == BE_LIE_RANGE   ? 0x10000
				       : lie == BE_LIE_TWICE ? r->last
							     : r->vq.cfg.size - 1u,
				       0 };
	__atomic_store_n(&used->idx, r->vq.pos.used + (lie == BE_LIE_INDEX ? 40000 : 1),
			 __ATOMIC_SEQ_CST);
	eventfd_write(r->call, 1);
}

static void serve(struct back_end *be, struct be_ring *r)
{
	bool lie = false;

	vq_disarm(&r->vq);
	if (get(&be->hold) == BE_HOLD_NONE)
		put_held(r);
	do {
		while (r->nheld < BE_HELD_MAX) {
			struct vq_chain *c = &r->held[r->nheld].chain;
			u8 first = 0;

			*c = (struct vq_chain){ .iov = r->held[r->nheld].iov, .max = 4 };
			if (vq_get(&r->vq, c) <= 0)
				break;
			if (c->out_len)
				first = *(const u8 *)c->iov[0].iov_base;
			note_got(be, r, first);
			lie |= first == BE_LIE_BEHIND;
			if (is_held(be, first))
				r->nheld++;
			else
				put(r, c);
		}
		vq_publish(&r->vq);
	} while (r->nheld < BE_HELD_MAX && vq_rearm(&r->vq));
	if (lie)
		tell_lie(be, r);
}

static void ring_start(struct back_end *be, struct be_ring *r)
{
	bool packed = be->accepted >> VIRTIO_F_RING_PACKED & 1;
	struct vq_cfg cfg = {
		.size = r->num,
		.packed = packed,
		.indirect = be->accepted >> VIRTIO_RING_F_INDIRECT_DESC & 1,
		.event_idx = be->accepted >> VIRTIO_RING_F_EVENT_IDX & 1,
		.desc = gpa_of(be, r->desc, 16 * r->num),
		.driver = gpa_of(be, r->avail, 4),
		.device = gpa_of(be, r->used, 4),
	};
	struct vq_pos pos = { r->base, packed ? r->base >> 16 : r->base };

	if (be->log.map && be->accepted >> VHOST_F_LOG_ALL & 1) {
		cfg.log = &be->log;
		cfg.logfd = -1;
		cfg.log_ring = r->flags & 1 << VHOST_VRING_F_LOG;
		cfg.log_device = r->log;
	}
	r->running = vq_start(&r->vq, &be->mem, &cfg, pos, r->call) == 0;
	if (r->running)
		serve(be, r);
}

/* Gives back what it still has. */
static u32 ring_stop(struct back_end *be, struct be_ring *r)
{
	struct vq_pos pos = { r->base, r->base >> 16 };
	bool packed = be->accepted >> VIRTIO_F_RING_PACKED & 1;

	if (r->running) {
		put_held(r);
		pos = vq_stop(&r->vq);
	}
	r->running = false;
	return packed ? pos.avail | (u32)pos.used << 16 : pos.avail;
}

/* What a ring has to mark changes while it runs. */
static void ring_again(struct back_end *be, struct be_ring *r)
{
	if (!r->running)
		return;
	r->base = ring_stop(be, r);
	ring_start(be, r);
}

/* ---- messages ---- */

static void count(struct back_end *be, u32 request)
{
	if (request < BE_REQUESTS)
		__atomic_fetch_add(&be->seen[request], 1, __ATOMIC_SEQ_CST);
}

/* Whoever has the answer finds the request counted. */
static void reply(struct back_end *be, struct vhost_user_msg *m, u32 size)
{
	u8 junk[600] = { 0 };
	int fds[9];
	u32 bad = m->hdr.request == get(&be->bad_request) ? get(&be->bad) : BE_GOOD;

	if (bad && be->bad_times && !--be->bad_times)
		be_set(&be->bad, BE_GOOD);

	count(be, m->hdr.request);
	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	m->hdr.size = size;
	switch (bad) {
	case BE_SILENT:
		return;
	case BE_CLOSE:
		shutdown(be->sock, SHUT_RDWR);
		return;
	case BE_SHORT:
		m->hdr.size--;
		break;
	case BE_LONG:
		m->hdr.size = VHOST_USER_PAYLOAD_MAX + 1;
		memcpy(junk, &m->hdr, sizeof(m->hdr));
		send(be->sock, junk, sizeof(m->hdr) + m->hdr.size, MSG_NOSIGNAL);
		return;
	case BE_OTHER_REQUEST:
		m->hdr.request++;
		break;
	case BE_NO_FLAG:
		m->hdr.flags = VHOST_USER_VERSION;
		break;
	case BE_VERSION:
		m->hdr.flags ^= 3;
		break;
	case BE_AN_FD:
		m->fd[m->nfds++] = be->stop;
		break;
	case BE_HALF:
		send(be->sock, &m->hdr, 6, MSG_NOSIGNAL);
		shutdown(be->sock, SHUT_RDWR);
		return;
	case BE_REFUSE:
		m->num = 1;
		break;
	case BE_MANY_FDS: {
		union {
			char buf[CMSG_SPACE(sizeof(fds))];
			struct cmsghdr c;
		} control = { .c = { .cmsg_level = SOL_SOCKET,
				     .cmsg_type = SCM_RIGHTS,
				     .cmsg_len = CMSG_LEN(sizeof(fds)) } };
		struct iovec iov[2] = { { &m->hdr, sizeof(m->hdr) }, { &m->num, size } };
		struct msghdr msg = { .msg_iov = iov,
				      .msg_iovlen = 2,
				      .msg_control = control.buf,
				      .msg_controllen = sizeof(control.buf) };

		for (u32 i = 0; i < 9; i++)
			fds[i] = be->stop;
		memcpy(CMSG_DATA(&control.c), fds, sizeof(fds));
		sendmsg(be->sock, &msg, MSG_NOSIGNAL);
		return;
	}
	}
	vhost_user_send(be->sock, m);
	if (bad == BE_AN_FD)
		m->fd[m->nfds - 1] = -1; /* it stays ours */
	m->nfds = 0;
}

static void reply_u64(struct back_end *be, struct vhost_user_msg *m, u64 value)
{
	m->num = value;
	reply(be, m, sizeof(m->num));
}

static void add_region(struct back_end *be, const struct vhost_user_region *from, int fd)
{
	struct mem_region *r = &be->mem.region[be->mem.nregions];

	r->gpa = from->gpa;
	r->size = from->size;
	r->host = mmap(NULL, from->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, from->mmap_offset);
	r->fd = -1;
	be->user[be->mem.nregions++] = from->user_addr;
}

static void give_record(struct back_end *be, struct vhost_user_msg *m)
{
	if (be->record < 0) {
		be->record = memfd_create("record", MFD_CLOEXEC);
		if (ftruncate(be->record, RECORD_LEN) < 0)
			be->record = -1;
	}
	m->inflight.mmap_size = RECORD_LEN + be->record_lie.mmap_size;
	m->inflight.mmap_offset = be->record_lie.mmap_offset;
	m->inflight.nqueues += be->record_lie.nqueues;
	m->fd[0] = be->record;
	m->nfds = 1;
	reply(be, m, sizeof(m->inflight));
	m->fd[0] = -1;
}

static void give_config(struct back_end *be, struct vhost_user_msg *m)
{
	u32 size = m->hdr.size;

	if (m->config.size > be->config_len) {
		reply(be, m, 0);
		return;
	}
	for (u32 i = 0; i < m->config.size; i++)
		m->config.data[i] = __atomic_load_n(&be->config[i], __ATOMIC_SEQ_CST);
	reply(be, m, size);
}

static void be_enable(struct back_end *be, u32 index, bool on)
{
	if (on && be->ring[index % BE_QUEUES].running && !(be->enabled >> index & 1))
		be_set(&be->late, be->late + 1);
	if (on)
		__atomic_fetch_or(&be->enabled, 1U << index, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&be->enabled, ~(1U << index), __ATOMIC_SEQ_CST);
}

/* Returns whether it has been answered. */
static bool handle(struct back_end *be, struct vhost_user_msg *m)
{
	struct be_ring *r = &be->ring[m->vring.index % BE_QUEUES];
	struct be_ring *fd_ring = &be->ring[(m->num & VHOST_USER_VRING_INDEX) % BE_QUEUES];
	bool again;

	switch (m->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		reply_u64(be, m, be->features);
		return true;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		reply_u64(be, m, be->protocol);
		return true;
	case VHOST_USER_SET_FEATURES:
		again = (be->accepted ^ m->num) == 1ULL << VHOST_F_LOG_ALL;
		__atomic_store_n(&be->accepted, m->num, __ATOMIC_SEQ_CST);
		for (u32 i = 0; again && i < BE_QUEUES; i++)
			ring_again(be, &be->ring[i]);
		return false;
	case VHOST_USER_SET_PROTOCOL_FEATURES:
		__atomic_store_n(&be->agreed, m->num, __ATOMIC_SEQ_CST);
		return false;
	case VHOST_USER_SET_LOG_BASE:
		mem_log_close(&be->log);
		mem_log_open(&be->log, m->fd[0], m->log.mmap_offset, m->log.mmap_size);
		vhost_user_close_fds(m);
		reply(be, m, 0);
		return true;
	case VHOST_USER_GET_QUEUE_NUM:
		reply_u64(be, m, be->queue_num);
		return true;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		reply_u64(be, m, be->mem_slots);
		return true;
	case VHOST_USER_GET_STATUS:
		reply_u64(be, m, be->status);
		return true;
	case VHOST_USER_SET_STATUS:
		be_set(&be->status, m->num);
		return false;
	case VHOST_USER_SET_MEM_TABLE:
		for (u32 i = 0; i < m->memory.nregions && i < m->nfds; i++)
			add_region(be, &m->memory.region[i], m->fd[i]);
		return false;
	case VHOST_USER_ADD_MEM_REG:
		add_region(be, &m->slot.region, m->fd[0]);
		return false;
	case VHOST_USER_SET_VRING_NUM:
		r->num = m->vring.num;
		return false;
	case VHOST_USER_SET_VRING_BASE:
		r->base = m->vring.num;
		if (m->vring.index == 0)
			be_set(&be->last_base, m->vring.num);
		return false;
	case VHOST_USER_SET_VRING_ADDR:
		again = r->desc == m->addr.desc && r->flags != m->addr.flags;
		r->desc = m->addr.desc;
		r->avail = m->addr.avail;
		r->used = m->addr.used;
		r->flags = m->addr.flags;
		if (m->addr.index == 0)
			be_set(&be->addr_flags, m->addr.flags);
		r->log = m->addr.log;
		if (again)
			ring_again(be, r);
		return false;
	case VHOST_USER_SET_VRING_CALL:
		if (fd_ring->call >= 0)
			close(fd_ring->call);
		fd_ring->call = m->fd[0];
		m->fd[0] = -1;
		return false;
	case VHOST_USER_SET_VRING_KICK:
		if (fd_ring->kick >= 0)
			close(fd_ring->kick);
		fd_ring->kick = m->fd[0];
		m->fd[0] = -1;
		ring_start(be, fd_ring);
		return false;
	case VHOST_USER_SET_VRING_ENABLE:
		be_enable(be, m->vring.index, m->vring.num);
		return false;
	case VHOST_USER_NET_SET_MTU:
		be_set(&be->mtu, m->num);
		return false;
	case VHOST_USER_SEND_RARP:
		__atomic_store_n(&be->rarp, m->num, __ATOMIC_SEQ_CST);
		return false;
	case VHOST_USER_GET_VRING_BASE:
		be_set(&be->forgot, be_get(&be->forgot) + r->nheld);
		m->vring.num = ring_stop(be, r) + get(&be->base_off);
		reply(be, m, sizeof(m->vring));
		return true;
	case VHOST_USER_SET_BACKEND_REQ_FD:
		if (be->channel >= 0)
			close(be->channel);
		__atomic_store_n(&be->channel, m->fd[0], __ATOMIC_SEQ_CST);
		m->fd[0] = -1;
		return false;
	case VHOST_USER_GET_CONFIG:
		give_config(be, m);
		return true;
	case VHOST_USER_SET_CONFIG: /* the first half is read-only */
		if (m->config.offset >= be->config_len / 2)
			memcpy(be->config + m->config.offset, m->config.data, m->config.size);
		return false;
	case VHOST_USER_GET_INFLIGHT_FD:
		give_record(be, m);
		return true;
	}
	return false;
}

static void hang_up(struct back_end *be)
{
	for (u32 i = 0; i < BE_QUEUES; i++) {
		struct be_ring *r = &be->ring[i];

		if (r->kick >= 0)
			close(r->kick);
		if (r->call >= 0)
			close(r->call);
		if (r->running) /* as if killed: nothing is put */
			vq_abandon(&r->vq);
		*r = (struct be_ring){ .kick = -1, .call = -1 };
	}
	for (u32 i = 0; i < be->mem.nregions; i++)
		munmap(be->mem.region[i].host, be->mem.region[i].size);
	be->mem.nregions = 0;
	be_set(&be->enabled, 0);
	mem_log_close(&be->log);
	if (be->sock >= 0)
		close(be->sock);
	if (be->channel >= 0)
		close(be->channel);
	be->sock = -1;
	__atomic_store_n(&be->channel, -1, __ATOMIC_SEQ_CST);
}

static void message(struct back_end *be)
{
	struct vhost_user_msg m;
	u32 request;
	bool need_reply, answered;

	if (vhost_user_recv(be->sock, &m)) {
		hang_up(be);
		return;
	}
	request = m.hdr.request;
	need_reply = m.hdr.flags & VHOST_USER_NEED_REPLY;
	answered = handle(be, &m);
	vhost_user_close_fds(&m);
	if (!answered && need_reply)
		reply_u64(be, &m, 0);
	else if (!answered)
		count(be, request);
	/* Nobody waits for what could be answered badly: so it leaves. */
	if (!answered && !need_reply && get(&be->bad) && request == get(&be->bad_request))
		hang_up(be);
}

static void *run(void *arg)
{
	struct back_end *be = arg;

	for (;;) {
		struct pollfd p[3 + BE_QUEUES] = { { be->stop, POLLIN, 0 },
						   { be->sock, POLLIN, 0 },
						   { be->sock < 0 ? be->listener : -1, POLLIN,
						     0 } };
		eventfd_t n;

		for (u32 i = 0; i < BE_QUEUES; i++)
			p[3 + i] = (struct pollfd){ be->ring[i].running ? be->ring[i].kick : -1,
						    POLLIN, 0 };
		if (poll(p, ARRAY_SIZE(p), -1) < 0)
			continue;
		if (p[0].revents) {
			eventfd_read(be->stop, &n); /* all that was done before be_end() has been */
			break;
		}
		for (u32 i = 0; i < BE_QUEUES; i++) {
			if (p[3 + i].revents) {
				eventfd_read(be->ring[i].kick, &n);
				serve(be, &be->ring[i]);
			}
		}
		if (p[1].revents)
			message(be);
		if (p[2].revents) {
			be->sock = accept4(be->listener, NULL, NULL, SOCK_CLOEXEC);
			__atomic_fetch_add(&be->connections, 1, __ATOMIC_SEQ_CST);
		}
	}
	hang_up(be);
	return NULL;
}

void be_listen(struct back_end *be)
{
	struct sockaddr_un addr;

	for (u32 i = 0; i < BE_QUEUES; i++)
		be->ring[i].kick = be->ring[i].call = -1;
	ck_assert_int_eq(unix_address(&addr, be->path), 0);
	be->ngot = 0;
	be->listener = unix_listen(&addr, 4);
	be->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_ge(be->listener, 0);
	ck_assert_int_ge(be->stop, 0);
	ck_assert_int_eq(pthread_create(&be->thread, NULL, run, be), 0);
	be->runs = true;
}

void be_end(struct back_end *be)
{
	if (!be->runs)
		return;
	eventfd_write(be->stop, 1);
	pthread_join(be->thread, NULL);
	close(be->stop);
	close(be->listener);
	if (be->record >= 0)
		close(be->record);
	be->record = be->stop = be->listener = -1;
	be->runs = false;
}

void be_change_config(struct back_end *be, u8 value)
{
	struct vhost_user_msg m = { .hdr = { VHOST_USER_BACKEND_CONFIG_CHANGE, VHOST_USER_VERSION,
					     0 } };

	__atomic_store_n(&be->config[0], value, __ATOMIC_SEQ_CST);
	ck_assert_int_eq(vhost_user_send(be->channel, &m), 0);
}

/* For the test's thread. */
static int channel_of(struct back_end *be)
{
	return __atomic_load_n(&be->channel, __ATOMIC_SEQ_CST);
}

void be_offer_page(struct back_end *be, const struct vhost_user_area *area, int fd)
{
	struct vhost_user_msg m = {
		.hdr = { VHOST_USER_BACKEND_VRING_HOST_NOTIFIER,
			 VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, sizeof(*area) },
		.area = *area,
		.fd = { fd },
		.nfds = fd >= 0,
	};

	ck_assert_int_eq(vhost_user_send(channel_of(be), &m), 0);
}

u64 be_answer(struct back_end *be)
{
	struct vhost_user_msg m;

	ck_assert_int_eq(vhost_user_recv_within(channel_of(be), &m, 10000), 0);
	ck_assert_uint_eq(m.hdr.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	ck_assert_uint_eq(m.hdr.size, sizeof(m.num));
	return m.num;
}

/* ---- as a process ---- */

static int start_process(struct vhost_user_process *process)
{
	struct be_process *p = container_of(process, struct be_process, process);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, p->be->path);
	ck_assert_int_eq(connect(sock, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return sock;
}

static void end_process(struct vhost_user_process *process)
{
	container_of(process, struct be_process, process)->ended++;
}

void be_process_init(struct be_process *p, struct back_end *be)
{
	*p = (struct be_process){
		.process = { .name = "process", .start = start_process, .end = end_process },
		.be = be
	};
}
