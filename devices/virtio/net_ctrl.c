// SPDX-License-Identifier: MIT
/*
 * net_ctrl.c - the network device's control queue. VIRTIO 1.2, 5.1.6.5.
 *
 * How it works: a chain is a command, and room for the answer, which is given last.
 *
 *	| class 1 | command 1 | data ... |    | VIRTIO_NET_OK or _ERR 1 |
 *
 * How it is cut into buffers means nothing, so it is read with a cursor. A command changes all that it
 * is about or nothing. What was not negotiated, is not known or makes no sense is answered with an
 * error; only a chain that is no command at all breaks the device.
 *
 * A new filter is made aside and then put in the place of the old one; the receive queues see by its
 * version that they have to take a copy (net_rx.c).
 *
 * Threads: the control queue's loop.
 */
#include "devices/virtio/net_internal.h"

#include <stdatomic.h>
#include <string.h>

#define TURN_COMMANDS 32

/* What is left to read of a command. */
struct cursor {
	const struct iovec *iov;
	u32 off;  /* in the first segment */
	u32 left; /* bytes in all */
};

/* Copy the next `len` bytes to `buf`, or skip them if that is NULL. False: there are not so many. */
static bool take(struct cursor *c, void *buf, u32 len)
{
	u8 *to = buf;

	if (len > c->left)
		return false;
	c->left -= len;
	while (len) {
		u32 n = c->iov->iov_len - c->off < len ? c->iov->iov_len - c->off : len;

		if (to) {
			memcpy(to, (u8 *)c->iov->iov_base + c->off, n);
			to += n;
		}
		len -= n;
		c->off += n;
		if (c->off == c->iov->iov_len) {
			c->iov++;
			c->off = 0;
		}
	}
	atomic_signal_fence(memory_order_seq_cst); /* what we have is what we use */
	return true;
}

static void set_filter(struct net *net, const struct net_filter *f)
{
	pthread_mutex_lock(&net->lock);
	net->filter = *f;
	/* Pairs with filter_now(). */
	__atomic_store_n(&net->filter_version, net->filter_version + 1, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&net->lock);
}

static bool has(struct net *net, u32 bit)
{
	return virtio_has_feature(&net->v, bit);
}

/* ---- the classes: each returns whether it did as it was told ---- */

/* 5.1.6.5.1 */
static bool rx_mode(struct net *net, u8 command, struct cursor *c)
{
	struct net_filter f = net->filter;
	bool *const mode[] = {
		&f.promisc, &f.allmulti, &f.alluni, &f.nomulti, &f.nouni, &f.nobcast
	};
	u8 on;

	if (command >= ARRAY_SIZE(mode) || !take(c, &on, 1))
		return false;
	if (!has(net, command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
							     : VIRTIO_NET_F_CTRL_RX_EXTRA))
		return false;
	*mode[command] = on;
	set_filter(net, &f);
	return true;
}

/* A table of addresses behind their number. One that is too long is but counted. */
static bool take_table(struct cursor *c, u8 (*table)[6], u32 *n)
{
	u32 count;

	if (!take(c, &count, sizeof(count)) || count > c->left / 6)
		return false;
	*n = count > NET_MACS_MAX ? NET_MACS_MAX + 1 : count;
	return take(c, count > NET_MACS_MAX ? NULL : table, count * 6);
}

/* 5.1.6.5.2 */
static bool set_mac(struct net *net, u8 command, struct cursor *c)
{
	struct net_filter f = net->filter;

	switch (command) {
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		if (!has(net, VIRTIO_NET_F_CTRL_RX) || !take_table(c, f.uni, &f.nuni) ||
		    !take_table(c, f.multi, &f.nmulti) || c->left)
			return false;
		break;
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		if (!has(net, VIRTIO_NET_F_CTRL_MAC_ADDR) || !take(c, f.mac, 6) || f.mac[0] & 1)
			return false;
		net_config_set(net, offsetof(struct virtio_net_config, mac), f.mac, 6);
		break;
	default:
		return false;
	}
	set_filter(net, &f);
	return true;
}

/* 5.1.6.5.3 */
static bool set_vlan(struct net *net, u8 command, struct cursor *c)
{
	struct net_filter f = net->filter;
	u16 id;

	if (command > VIRTIO_NET_CTRL_VLAN_DEL || !has(net, VIRTIO_NET_F_CTRL_VLAN) ||
	    !take(c, &id, sizeof(id)) || id >= NET_VLANS)
		return false;
	net_filter_set_vlan(&f, id, command == VIRTIO_NET_CTRL_VLAN_ADD);
	set_filter(net, &f);
	return true;
}

/* 5.1.6.5.4: the driver has announced itself. */
static bool announced(struct net *net, u8 command)
{
	bool was;
	u16 status;

	if (command != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !has(net, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	pthread_mutex_lock(&net->lock);
	was = net->announce;
	net->announce = false;
	status = net_status(net);
	net_config_set(net, offsetof(struct virtio_net_config, status), &status, sizeof(status));
	pthread_mutex_unlock(&net->lock);
	return was;
}

/* 5.1.6.5.6 */
static bool set_pairs(struct net *net, u8 command, struct cursor *c)
{
	u16 n;

	if (command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !has(net, VIRTIO_NET_F_MQ) ||
	    !take(c, &n, sizeof(n)) || !n || n > net->npairs)
		return false;
	return net_set_pairs(net, n) == 0;
}

/* 5.1.6.5.8 */
static bool set_offloads(struct net *net, u8 command, struct cursor *c)
{
	u64 features = __atomic_load_n(&net->v.features, __ATOMIC_RELAXED), on;

	if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !has(net, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !take(c, &on, sizeof(on)) ||
	    on & ~(features & NET_GUEST_OFFLOADS) || !net_features_sound(on))
		return false;
	return net_set_offloads(net, on) == 0;
}

static bool handle(struct net *net, struct cursor *c)
{
	struct virtio_net_ctrl_hdr h;

	take(c, &h, sizeof(h));
	switch (h.class) {
	case VIRTIO_NET_CTRL_RX:
		return rx_mode(net, h.cmd, c);
	case VIRTIO_NET_CTRL_MAC:
		return set_mac(net, h.cmd, c);
	case VIRTIO_NET_CTRL_VLAN:
		return set_vlan(net, h.cmd, c);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return announced(net, h.cmd);
	case VIRTIO_NET_CTRL_MQ:
		return set_pairs(net, h.cmd, c);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return set_offloads(net, h.cmd, c);
	}
	return false;
}

/* At most TURN_COMMANDS at a time: a guest that never stops is not alone on this loop. */
void net_ctrl_serve(struct net *net, struct virtio_queue *q)
{
	struct vq_chain chain = { .iov = net->ctrl_iov, .max = net->nctrl_iov };

	for (u32 n = 0; n < TURN_COMMANDS && vq_get(&q->vq, &chain) > 0; n++) {
		struct cursor c = { .iov = chain.iov, .left = chain.out_len };
		u8 *ack = chain.in_len ? chain.iov[chain.nout].iov_base : NULL;

		if (!ack || chain.out_len < sizeof(struct virtio_net_ctrl_hdr)) {
			vq_put(&q->vq, &chain, 0);
			virtio_needs_reset(&net->v, "a control command without class or answer");
			break;
		}
		__atomic_store_n(ack, handle(net, &c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR,
				 __ATOMIC_RELAXED);
		vq_put(&q->vq, &chain, 1);
	}
	vq_publish(&q->vq);
	if (vq_rearm(&q->vq))
		virtio_queue_kick(&net->v, q->index);
}
