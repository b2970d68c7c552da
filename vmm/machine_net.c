// SPDX-License-Identifier: MIT
/*
 * machine_net.c - a network device: what it is connected to, what stands in between, the device.
 *
 *	virtio-net ── [pcap] ── [rate] ── tap, user, socket, null, echo
 *	    ├──────── vhost-net ─────────── tap
 *	    └──────── vhost-user ────────── what the back end has: a socket's, or a child (machine_child.c)
 *
 * With switch= the data path can change while the guest runs: machine_switch.c.
 */
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"
#include "vmm/machine.h"
#include "vmm/machine_child.h"
#include "vmm/machine_switch.h"

#include <errno.h>
#include <string.h>

#define FEATURE(name)  (1ULL << VIRTIO_NET_F_##name)
#define BITS_OF_A_BYTE 8
#define CSUM_FEATURES  (FEATURE(CSUM) | FEATURE(GUEST_CSUM))
#define TSO_FEATURES                                                                         \
	(FEATURE(HOST_TSO4) | FEATURE(HOST_TSO6) | FEATURE(HOST_ECN) | FEATURE(GUEST_TSO4) | \
	 FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN))
#define USO_FEATURES (FEATURE(HOST_USO) | FEATURE(GUEST_USO4) | FEATURE(GUEST_USO6))

static int open_peer(struct machine *m, const struct net_config *cfg, u32 npairs, struct peer **p)
{
	const struct peer_tap_options tap = {
		.name = cfg->peer == NET_TAP ? cfg->target : NULL,
		.fd = { cfg->fd },
		.npairs = npairs,
		.mtu = cfg->mtu,
	};
	const struct peer_user_options user = {
		.hostfwd = cfg->hostfwd.item,
		.nhostfwd = cfg->hostfwd.n,
		.restricted = cfg->restricted,
		.mtu = cfg->mtu,
	};
	const struct peer_socket_options socket = {
		.path = cfg->target,
		.server = cfg->server,
		.loop = m->loop,
	};

	switch (cfg->peer) {
	case NET_TAP:
	case NET_FD:
		return peer_tap_open(p, &tap);
	case NET_USER:
		return peer_user_open(p, &user);
	case NET_SOCKET:
		return peer_socket_open(p, &socket);
	case NET_NULL:
		return peer_null_open(p, npairs, cfg->source);
	case NET_ECHO:
		return peer_echo_open(p, npairs);
	case NET_BACK_END: /* see connect_net() */
		break;
	}
	return -EINVAL;
}

/* What stands between the device and its peer, the innermost first. */
static int decorate(const struct net_config *cfg, struct peer **p)
{
	const struct peer_rate_options rate = {
		.bytes = (cfg->bits + BITS_OF_A_BYTE - 1) / BITS_OF_A_BYTE,
		.burst_bytes = cfg->burst,
		.frames = cfg->frames,
	};
	int err = 0;

	if (rate.bytes || rate.frames)
		err = peer_rate(p, &rate);
	if (!err && cfg->pcap)
		err = peer_pcap(p, cfg->pcap);
	return err;
}

/* Feature bits that the user does not want. Segmentation needs checksums (5.1.3.1). */
static u64 features_off(const struct net_config *cfg)
{
	u64 off = 0;

	if (!cfg->csum)
		off |= CSUM_FEATURES;
	if (!cfg->csum || !cfg->tso)
		off |= TSO_FEATURES;
	if (!cfg->csum || !cfg->uso)
		off |= USO_FEATURES;
	if (!cfg->mrg)
		off |= FEATURE(MRG_RXBUF);
	return off;
}

/* A back end, or a process of our own. */
static int connect_vhost_user(struct machine *m, const struct device_config *d,
			      const struct virtio_options *o, u32 npairs, struct peer **peer,
			      struct datapath **path)
{
	struct vhost_user_net_options vu = {
		.path = d->net.target,
		.server = d->net.server,
		.npairs = npairs,
		.queue_size = o->queue_size ? o->queue_size : VIRTIO_NET_QUEUE_SIZE,
		.packed = o->packed,
		.pages = o->pages,
		.mtu = d->net.mtu,
	};
	int err = 0;

	if (d->net.peer != NET_BACK_END)
		err = machine_child_net(m, d, &vu.process, &vu.mtu);
	if (err)
		return err;
	err = vhost_user_net_create(path, peer, &m->env, &vu);
	if (err && vu.process)
		machine_explain_child(vu.process, err);
	return err;
}

/* What the device is connected to, and who else moves the frames; NULL: nobody. On success *path is the
 * caller's, and the peer is what it is made with. */
static int connect_net(struct machine *m, const struct device_config *d,
		       const struct virtio_options *o, u32 npairs, struct peer **peer,
		       struct datapath **path)
{
	const struct net_config *cfg = &d->net;
	int err;

	*path = NULL;
	if (cfg->datapath == PATH_VHOST_USER && !d->switches)
		return connect_vhost_user(m, d, o, npairs, peer, path);
	err = open_peer(m, cfg, npairs, peer);
	if (err)
		return err;
	err = decorate(cfg, peer);
	if (!err && cfg->datapath == PATH_VHOST_NET && !d->switches)
		err = vhost_net_create(path, &m->env, *peer);
	if (err)
		peer_destroy(*peer);
	return err;
}

int machine_create_net(struct machine *m, const struct device_config *d,
		       const struct virtio_options *o, struct virtio_dev **v)
{
	static const u8 duplex[] = {
		[NET_DUPLEX_UNKNOWN] = 0xff, [NET_DUPLEX_HALF] = 0, [NET_DUPLEX_FULL] = 1
	};
	const struct net_config *cfg = &d->net;
	struct virtio_net_options net = {
		.antispoof = cfg->antispoof,
		.npairs = d->queues ? d->queues : 1,
		.poll_us = cfg->poll_us,
		.speed = cfg->speed ? cfg->speed : VIRTIO_NET_UNKNOWN_SPEED,
		.duplex = duplex[cfg->duplex],
		.features_off = features_off(cfg),
	};
	struct datapath *path;
	int err = connect_net(m, d, o, net.npairs, &net.peer, &path);

	if (err) /* it has said why */
		return err;
	memcpy(net.mac, cfg->mac, sizeof(net.mac));
	net.mtu = cfg->mtu ? cfg->mtu : net.peer->mtu;
	err = virtio_net_create(v, &m->env, o, &net);
	if (err) {
		datapath_destroy(path);
		return machine_refused("net", err);
	}
	if (path)
		virtio_set_path(*v, path);
	if (d->switches) {
		m->tap[d - m->cfg->device] = net.peer;
		err = machine_begin_switching(m, d - m->cfg->device, *v);
		if (err)
			return err;
	}
	if (cfg->link_down)
		virtio_net_set_link(*v, false);
	if (cfg->pcap)
		m->capture[m->ncaptures++] = net.peer;
	return 0;
}

static void report(const struct device_config *d, struct virtio_dev *v)
{
	for (u32 q = 0; q < virtio_net_rings(v); q++) {
		struct virtio_net_stats s;
		struct vq_stats ring;

		virtio_net_stats(v, q, &s);
		vq_stats_read(&v->queue[q].vq.stats, &ring);
		log_info("%s %s %u: frames %llu bytes %llu dropped %llu filtered %llu kicks %llu "
			 "calls %llu",
			 d->id, q % 2 ? "tx" : "rx", q / 2, (unsigned long long)s.frames,
			 (unsigned long long)s.bytes, (unsigned long long)s.dropped,
			 (unsigned long long)s.filtered, (unsigned long long)ring.kicks,
			 (unsigned long long)ring.calls);
	}
}

void machine_report_net(struct machine *m)
{
	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		if (virtio_is_net(m->virtio[i]))
			report(&m->cfg->device[i], m->virtio[i]);
	}
}

int machine_begin_captures(struct machine *m)
{
	int err = 0;

	for (u32 i = 0; i < m->ncaptures && !err; i++)
		err = peer_pcap_begin(m->capture[i]);
	return err;
}
