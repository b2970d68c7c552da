// SPDX-License-Identifier: MIT
/*
 * machine_net.c - a network device: what it is connected to, what stands in between, the device.
 *
 *	virtio-net ── [pcap] ── [rate] ── tap, user, socket
 *	    └──────── vhost-net ─────────── tap
 */
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"
#include "vmm/machine.h"

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
		.fd = cfg->fd,
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

/* Have somebody else move the frames, if that is wanted. */
static int set_path(struct machine *m, const struct net_config *cfg, struct peer *peer,
		    struct virtio_dev *v)
{
	struct datapath *path;
	int err;

	if (cfg->datapath == NET_INPROC)
		return 0;
	err = vhost_net_create(&path, &m->env, peer);
	if (!err)
		virtio_set_path(v, path);
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
	int err = open_peer(m, cfg, net.npairs, &net.peer);

	if (err) /* it has said why */
		return err;
	err = decorate(cfg, &net.peer);
	if (err) {
		peer_destroy(net.peer);
		return err;
	}
	memcpy(net.mac, cfg->mac, sizeof(net.mac));
	net.mtu = cfg->mtu ? cfg->mtu : net.peer->mtu;
	err = virtio_net_create(v, &m->env, o, &net);
	if (err)
		return machine_refused("net", err);
	err = set_path(m, cfg, net.peer, *v);
	if (err) { /* it has said why */
		virtio_destroy(*v);
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
	for (u32 q = 0; q < v->nqueues / 2 * 2; q++) {
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
