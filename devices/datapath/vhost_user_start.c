// SPDX-License-Identifier: MIT
/*
 * vhost_user_start.c - a back end is given the rings, and gives them back. See vhost_user.c.
 *
 *	before		introduce	how large it is, whom to call, is it enabled; to ours: where it lies
 *	start	  1.	describe	where it lies, where it stands		all that are due, and then what is answered
 *		  2.	kick		with which it starts			likewise
 *	stop		GET_VRING_BASE	where it stands now			likewise
 *
 * How it works: at a live switch nobody serves the driver meanwhile, so what can be said before is, and what is
 * left goes together for all rings: there and back twice for a start (once with a process of our own and split rings),
 * once for a stop.
 *
 * Threads: any, under the data path's lock.
 */
#include "devices/datapath/vhost_user_internal.h"
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/now.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>

#define DRAIN_MS 1000

int vhost_user_enable_ring(struct vhost_user *vu, u32 index, bool on)
{
	if (!(vu->conn.features & 1ULL << VHOST_USER_F_PROTOCOL_FEATURES))
		return 0; /* such a ring always is */
	return vhost_user_tell_vring(&vu->conn, VHOST_USER_SET_VRING_ENABLE, index, on);
}

int vhost_user_set_addr(struct vhost_user *vu, const struct vhost_user_addr *addr)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_SET_VRING_ADDR);
	m.hdr.size = sizeof(m.addr);
	m.addr = *addr;
	/* The relay's rings are not the guest's. */
	m.addr.flags = vu->log && !vu->relay ? 1 << VHOST_VRING_F_LOG : 0;
	return vhost_user_tell(&vu->conn, &m);
}

/* What the back end is told of a ring. */
struct ring_ends {
	struct vhost_user_addr addr;
	u32 base;
	int kick, call;
};

/* The driver's ring. Returns 0 or -errno. */
static int direct_ends(struct vhost_user *vu, u32 index, struct ring_ends *ends)
{
	struct vhost_user_ring *r = &vu->ring[index];
	int err = vhost_user_ring_addr(vu->env->mem, &r->cfg, index, &ends->addr);

	if (!err && r->recover)
		err = vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record,
					      &vu->record_at, &r->pos);
	ends->base = vhost_user_ring_base(&r->cfg, r->pos);
	ends->kick = r->q->kickfd;
	ends->call = irq_fd(r->q->call);
	return err;
}

/* One of the relay's. */
static int relayed_ends(struct vhost_user *vu, u32 index, struct ring_ends *ends)
{
	ends->base = 0;
	return vhost_user_relay_connect(vu->relay, index, &ends->addr, &ends->kick, &ends->call);
}

/* Does the back end know already where the ring lies? */
static bool is_placed(const struct vhost_user_ring *r, const struct vhost_user_addr *addr)
{
	return r->told && r->told_place && memcmp(&r->told_addr, addr, sizeof(*addr)) == 0;
}

static int place_ring(struct vhost_user *vu, u32 index, const struct vhost_user_addr *addr)
{
	struct vhost_user_ring *r = &vu->ring[index];
	int err = vhost_user_set_addr(vu, addr);

	r->told_place = !err;
	r->told_addr = *addr;
	return err;
}

/* What can be told of a ring before it is known where it stands. As all here, returns 0 or an error; what it answers is
 * still to come. */
static int introduce_ring(struct vhost_user *vu, u32 index, u16 size, int call)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vhost_user_conn *c = &vu->conn;
	int err;

	if (r->told && r->told_size == size && r->told_call == call)
		return 0;
	r->told_place = false;
	err = vhost_user_tell_vring(c, VHOST_USER_SET_VRING_NUM, index, size);
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_ERR, index, vu->error.fd);
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_CALL, index, call);
	/* Before it starts, or what waits to be transmitted is discarded. Also if it is not to be enabled: the
	 * last driver's ring may have been. */
	if (!err)
		err = vhost_user_enable_ring(vu, index, !r->rests);
	r->told = !err;
	r->told_size = size;
	r->told_call = call;
	return err;
}

/* All but what makes it start. */
static int describe_ring(struct vhost_user *vu, u32 index, int *kick)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct ring_ends ends = { .base = 0 };
	int err = vu->relay ? relayed_ends(vu, index, &ends) : direct_ends(vu, index, &ends);

	*kick = ends.kick;
	if (!err)
		err = introduce_ring(vu, index, r->cfg.size, ends.call);
	/* The address last: there are back ends that then compare the base with the ring (DPDK). */
	if (!err)
		err = vhost_user_tell_vring(&vu->conn, VHOST_USER_SET_VRING_BASE, index, ends.base);
	return err || is_placed(&vu->ring[index], &ends.addr) ? err
							      : place_ring(vu, index, &ends.addr);
}

/* Our own process does not mind to know before where a ring of the driver's lies. */
static int introduce_place(struct vhost_user *vu, const struct virtio_queue *q)
{
	const struct vq_cfg cfg = {
		.size = q->size,
		.packed = vu->features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED),
		.desc = q->desc,
		.driver = q->driver,
		.device = q->device,
	};
	struct vhost_user_addr addr;

	if (!vu->o.process || vhost_user_ring_addr(vu->env->mem, &cfg, q->index, &addr))
		return 0;
	return place_ring(vu, q->index, &addr);
}

/* Not with the relay, whose ends are its own. */
int vhost_user_introduce_rings(struct vhost_user *vu, const struct virtio_dev *v)
{
	int err = 0, rest;

	if (vu->relay)
		return 0;
	vhost_user_go_ahead(&vu->conn);
	for (u32 i = 0; i < v->nqueues && !err; i++) {
		const struct virtio_queue *q = &v->queue[i];

		/* What is wrong with a size that can't be, start() says. */
		if (!q->enabled || !q->size || !(vu->path.queues >> i & 1))
			continue;
		err = introduce_ring(vu, i, q->size, irq_fd(q->call));
		if (!err)
			err = introduce_place(vu, q);
	}
	rest = vhost_user_catch_up(&vu->conn);
	return vhost_user_done(vu, err ? err : rest, "what the queues are");
}

static int describe_rings(struct vhost_user *vu, int kick[VIRTIO_QUEUES_MAX])
{
	int err = 0;

	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		if (vu->ring[i].due)
			err = describe_ring(vu, i, &kick[i]);
	}
	return err;
}

static int kick_rings(struct vhost_user *vu, const int kick[VIRTIO_QUEUES_MAX])
{
	int err = 0;

	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		if (!vu->ring[i].due)
			continue;
		/* From now on, whatever fails, somebody may have touched it. */
		vu->ring[i].up = true;
		err = vhost_user_tell_fd(&vu->conn, VHOST_USER_SET_VRING_KICK, i, kick[i]);
	}
	return err ? err
		   : vhost_user_set_status(vu, VHOST_USER_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
}

/*
 * A ring starts with the kick descriptor, so that comes when the back end has taken all else: if that takes too
 * long, it must not begin after we have given up. (One that takes the kick descriptors and does not say so may.) A
 * process of our own would not live so long. But it may die, and where a packed ring then stands is not to be seen from
 * the ring: so that is not touched before it is known that the process is there.
 */
static int tell_rings(struct vhost_user *vu)
{
	bool packed = vu->features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	int kick[VIRTIO_QUEUES_MAX], err, rest;

	vhost_user_go_ahead(&vu->conn);
	err = describe_rings(vu, kick);
	if (err || !vu->o.process || packed) {
		rest = vhost_user_catch_up(&vu->conn);
		if (err || rest)
			return err ? err : rest;
		vhost_user_go_ahead(&vu->conn);
	}
	err = kick_rings(vu, kick);
	rest = vhost_user_catch_up(&vu->conn);
	return err ? err : rest;
}

/* The back end has it. */
static void ring_goes_on(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];

	r->recover = false;
	if (vu->relay) {
		vhost_user_relay_serve(vu->relay, index);
		return;
	}
	vhost_user_notifier_up(vu, index);
	/* What came while nobody had the ring, in either direction. */
	eventfd_write(r->q->kickfd, 1);
	irq_raise(r->q->call);
}

int vhost_user_rings_up(struct vhost_user *vu)
{
	bool any = false;
	int err;

	for (u32 i = 0; i < vu->o.nqueues; i++)
		any |= vu->ring[i].due;
	if (!any)
		return 0;
	err = vhost_user_done(vu, tell_rings(vu), "setting up the queues");

	for (u32 i = 0; i < vu->o.nqueues; i++) {
		if (vu->ring[i].due && !err)
			ring_goes_on(vu, i);
		vu->ring[i].due = false;
	}
	return err;
}

static struct vhost_user_msg ask_for_base(u32 index)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_GET_VRING_BASE);
	m.hdr.size = sizeof(m.vring);
	m.vring.index = index;
	return m;
}

static int hear_base(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vhost_user_msg m = ask_for_base(index);
	int err = vhost_user_hear(&vu->conn, &m, sizeof(m.vring), 0);

	if (!err && m.vring.index != index)
		err = -EPROTO;
	if (!err)
		err = vhost_user_ring_pos(vu->env->mem, &r->cfg, m.vring.num, &r->pos);
	if (!err && vu->relay)
		err = vhost_user_relay_finish(vu->relay, index, m.vring.num, vu->conn.sock,
					      vu->conn.timeout_ms);
	return err;
}

/* All together take as long as one answer may. */
void vhost_user_rings_down(struct vhost_user *vu, u64 rings)
{
	struct vhost_user_conn *c = &vu->conn;
	u32 usual_ms = c->timeout_ms;
	u64 end, now;
	int err = 0;

	for (u32 i = 0; i < vu->o.nqueues; i++) {
		if (!vu->ring[i].up)
			rings &= ~(1ULL << i);
		else if (rings >> i & 1)
			vhost_user_notifier_drop(vu, i);
	}
	if (vu->relay)
		vhost_user_relay_drain(vu->relay, rings, c->sock, DRAIN_MS);
	end = now_ms() + usual_ms;
	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		struct vhost_user_msg m = ask_for_base(i);

		if (rings >> i & 1)
			err = vhost_user_send_later(c, &m);
	}
	if (!err)
		err = vhost_user_send_rest(c);
	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		if (!(rings >> i & 1))
			continue;
		now = now_ms();
		c->timeout_ms = now < end ? end - now : 1;
		err = hear_base(vu, i);
		vu->ring[i].up = err != 0;
		vu->ring[i].told = false; /* many forget whom to call */
	}
	c->timeout_ms = usual_ms;
	if (err)
		vhost_user_lose(vu, err);
}
