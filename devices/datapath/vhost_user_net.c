// SPDX-License-Identifier: MIT
/*
 * vhost_user_net.c - a network device whose frames a vhost-user back end moves: DPDK, `minivmm device net`.
 *
 *	registers, configuration space, control queue	devices/virtio/net.c, as with any data path
 *	receive and transmit queues			the back end's (vhost_user.c)
 *	what the queues are connected to		the back end's; here a peer stands for it
 *
 * How it works: the device is made with a peer that has the back end's offloads and moves no frame. Its
 * link is whether there is a back end, so that the guest sees the cable pulled out while there is none.
 * A pair of queues that is not in use, or all while the link is down, is disabled (SET_VRING_ENABLE 0).
 *
 * The control queue is ours, but what its commands are about may be not: no back end filters what is
 * received or changes its offloads while it runs, so the driver is not offered to ask for that.
 *
 * In these back ends frames are used in their order, so of a split ring the used index says where the next
 * back end begins. The frames in flight are lost or doubled, as they may be on any wire.
 *
 * Threads: see vhost_user.c.
 */
#include "devices/datapath/vhost_user_internal.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define NET_F(name) VIRTIO_FEATURE(VIRTIO_NET_F_##name)
#define OURS                                                                               \
	(NET_F(MAC) | NET_F(STATUS) | NET_F(CTRL_VQ) | NET_F(CTRL_MAC_ADDR) | NET_F(MTU) | \
	 NET_F(GUEST_ANNOUNCE) | NET_F(SPEED_DUPLEX))
#define WITHHELD \
	(NET_F(CTRL_RX) | NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_VLAN) | NET_F(CTRL_GUEST_OFFLOADS))

/* ---- the data path's hooks ---- */

/* The lock is held. */
static void update(struct vhost_user *vu)
{
	vhost_user_enable(vu, vu->link ? 2 * vu->pairs : 0);
}

void vhost_user_use_pairs(struct datapath *d, u32 pairs)
{
	struct vhost_user *vu = vhost_user_of(d);

	pthread_mutex_lock(&vu->lock);
	vu->pairs = pairs;
	update(vu);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_set_link(struct datapath *d, bool up)
{
	struct vhost_user *vu = vhost_user_of(d);

	pthread_mutex_lock(&vu->lock);
	vu->link = up;
	update(vu);
	pthread_mutex_unlock(&vu->lock);
}

/* "For guests that do not support GUEST_ANNOUNCE"; "The first 6 bytes of the payload contain the mac
 * address". */
void vhost_user_announce(struct datapath *d, const u8 mac[6])
{
	struct vhost_user *vu = vhost_user_of(d);
	u64 payload = 0;

	memcpy(&payload, mac, 6);
	pthread_mutex_lock(&vu->lock);
	if (vhost_user_connected(vu) && vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_RARP))
		vhost_user_done(vu, vhost_user_tell_u64(&vu->conn, VHOST_USER_SEND_RARP, payload),
				"announcing the guest");
	pthread_mutex_unlock(&vu->lock);
}

/* "Only when VIRTIO_NET_F_MTU has been successfully negotiated" */
int vhost_user_tell_mtu(struct vhost_user *vu)
{
	int err;

	if (!vu->o.mtu || !(vu->features & vu->conn.features & NET_F(MTU)) ||
	    !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_MTU))
		return 0;
	err = vhost_user_tell_u64(&vu->conn, VHOST_USER_NET_SET_MTU, vu->o.mtu);
	if (err == -EREMOTEIO)
		log_warn("%s: the back end refuses mtu=%u", vu->where, vu->o.mtu);
	return err;
}

/* ---- the peer ---- */

struct stand_in {
	struct peer peer;
	struct peer_queue queue[PEER_PAIRS_MAX];
};

static int nothing_to_attach(struct peer_queue *q)
{
	(void)q;
	return 0;
}

static void nothing_to_detach(struct peer_queue *q)
{
	(void)q;
}

/* Never called: no queue is served here. */
static int send_nothing(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	(void)q;
	(void)iov;
	(void)niov;
	return 0;
}

static ssize_t receive_nothing(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	(void)q;
	(void)iov;
	(void)niov;
	return -EAGAIN;
}

static void want_nothing(struct peer_queue *q, u32 what)
{
	(void)q;
	(void)what;
}

static void stand_in_destroy(struct peer *p)
{
	free(container_of(p, struct stand_in, peer));
}

static struct peer_queue *stand_in_queue(struct peer *p, u32 i)
{
	return &container_of(p, struct stand_in, peer)->queue[i];
}

static const struct peer_ops stand_in_ops = {
	.kind = "vhost-user",
	.attach = nothing_to_attach,
	.detach = nothing_to_detach,
	.send = send_nothing,
	.receive = receive_nothing,
	.want = want_nothing,
	.destroy = stand_in_destroy,
};

static struct stand_in *stand_in_create(u32 npairs)
{
	struct stand_in *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->peer = (struct peer){ .ops = &stand_in_ops, .npairs = npairs, .queue = stand_in_queue };
	for (u32 i = 0; i < npairs; i++)
		s->queue[i] = (struct peer_queue){ .peer = &s->peer, .index = i };
	return s;
}

/* The back end has come or gone. Main loop. */
static void link_changed(void *owner, bool up)
{
	struct stand_in *s = owner;

	if (s->peer.link_changed)
		s->peer.link_changed(&s->peer, up);
}

int vhost_user_net_create(struct datapath **d, struct peer **peer, const struct machine_env *env,
			  const struct vhost_user_net_options *o)
{
	struct stand_in *s = stand_in_create(o->npairs);
	const struct vhost_user_options vu = {
		.option = "net",
		.path = o->path,
		.process = o->process,
		.server = o->server,
		.nqueues = 2 * o->npairs,
		.queue_num = o->npairs,
		.queue_size = o->queue_size,
		.needs = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
			 (o->packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0) |
			 (o->npairs > 1 ? NET_F(MQ) : 0),
		.ours = OURS,
		.withheld = WITHHELD,
		.in_order = true,
		.net = true,
		.mtu = o->mtu,
		.pages = o->pages,
		.timeout_ms = o->timeout_ms,
		.link_changed = link_changed,
		.owner = s,
	};
	int err;

	assert(o->npairs >= 1 && o->npairs <= PEER_PAIRS_MAX);
	if (!s) {
		log_err("--net: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	err = vhost_user_create(d, env, &vu);
	if (err) {
		free(s);
		return err;
	}
	s->peer.features = vhost_user_features(*d);
	s->peer.mtu = o->mtu;
	*peer = &s->peer;
	return 0;
}
