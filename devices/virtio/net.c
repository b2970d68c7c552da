// SPDX-License-Identifier: MIT
/*
 * net.c - the network device (VIRTIO 1.2, 5.1): Ethernet frames between the driver and a peer.
 *
 *	queue	 0	1	2	3	...	2N
 *		rx 0	tx 0	rx 1	tx 1		control, with N pairs (1 without MQ)
 *		 └──┬──┘	 └──┬──┘
 *	peer	 pair 0		 pair 1			tap, socket, ... (peer.h)
 *
 * How it works: this file makes the device, offers what device and peer can do, and calls whoever moves
 * frames: net_tx.c and net_rx.c, at the driver's kicks and when the peer is ready, net_ctrl.c for
 * commands. Both queues of a pair and the peer's side of it are on one loop, so nothing on the way of a
 * frame takes a lock.
 *
 * A turn of a queue's is bounded in frames and bytes: the loop has others to serve. When nothing is left
 * to do, the pair may look out for work for a while before it sleeps (poll_us), with kicks off: a sleep
 * and a wake-up cost more than a short wait. How long adapts: a sleep that was shorter than the longest
 * look-out makes the next one longer, any other makes it shorter, down to none at all.
 *
 * Threads: see net_internal.h. Where to read next: net_tx.c.
 */
#include "devices/datapath/inproc.h"
#include "devices/virtio/net_internal.h"
#include "minivmm/datapath.h"
#include "minivmm/log.h"
#include "minivmm/now.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG(f)  offsetof(struct virtio_net_config, f)
#define CONFIG_LEN CONFIG(rss_max_key_size)
#define MTU_MIN	   68 /* 5.1.4.1 */

/* Of the device itself, whatever the peer can do. */
#define OWN_FEATURES                                                                             \
	(NET_F(MAC) | NET_F(STATUS) | NET_F(MRG_RXBUF) | NET_F(CTRL_VQ) | NET_F(CTRL_RX) |       \
	 NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_VLAN) | NET_F(GUEST_ANNOUNCE) | NET_F(SPEED_DUPLEX) | \
	 NET_F(CTRL_GUEST_OFFLOADS))

/* Those that mean something without the control queue and the configuration. */
#define RINGS_FEATURES (NET_F(MRG_RXBUF) | NET_F(GUEST_ANNOUNCE))

/* 5.1.3.1: a feature, and those of which it requires one. */
static const struct {
	u64 feature, needs;
} requirements[] = {
	{ NET_F(GUEST_TSO4), NET_F(GUEST_CSUM) },
	{ NET_F(GUEST_TSO6), NET_F(GUEST_CSUM) },
	{ NET_F(GUEST_ECN), NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6) },
	{ NET_F(GUEST_USO4), NET_F(GUEST_CSUM) },
	{ NET_F(GUEST_USO6), NET_F(GUEST_CSUM) },
	{ NET_F(HOST_TSO4), NET_F(CSUM) },
	{ NET_F(HOST_TSO6), NET_F(CSUM) },
	{ NET_F(HOST_ECN), NET_F(HOST_TSO4) | NET_F(HOST_TSO6) },
	{ NET_F(HOST_USO), NET_F(CSUM) },
	{ NET_F(CTRL_RX), NET_F(CTRL_VQ) },
	{ NET_F(CTRL_VLAN), NET_F(CTRL_VQ) },
	{ NET_F(GUEST_ANNOUNCE), NET_F(CTRL_VQ) },
	{ NET_F(MQ), NET_F(CTRL_VQ) },
	{ NET_F(CTRL_MAC_ADDR), NET_F(CTRL_VQ) },
};

bool net_features_sound(u64 features)
{
	for (u32 i = 0; i < ARRAY_SIZE(requirements); i++) {
		if (features & requirements[i].feature && !(features & requirements[i].needs))
			return false;
	}
	return true;
}

/* ---- configuration ---- */

void net_config_set(struct net *net, u32 off, const void *buf, u32 len)
{
	struct virtio_dev *v = &net->v;

	pthread_mutex_lock(&v->config_lock);
	memcpy(v->config + off, buf, len);
	v->config_changed = true;
	pthread_mutex_unlock(&v->config_lock);
}

u16 net_status(const struct net *net)
{
	return (net->plugged && net->peer_up ? VIRTIO_NET_S_LINK_UP : 0) |
	       (net->announce ? VIRTIO_NET_S_ANNOUNCE : 0);
}

/* net->lock is held. */
static void tell_status(struct net *net)
{
	u16 status = net_status(net);

	__atomic_store_n(&net->cable, net->plugged, __ATOMIC_RELAXED);
	__atomic_store_n(&net->link, status & VIRTIO_NET_S_LINK_UP, __ATOMIC_RELAXED);
	virtio_config_update(&net->v, CONFIG(status), &status, sizeof(status));
}

void virtio_net_set_link(struct virtio_dev *v, bool up)
{
	struct net *net = net_of(v);

	pthread_mutex_lock(&net->lock);
	net->plugged = up;
	tell_status(net);
	pthread_mutex_unlock(&net->lock);
	if (v->path && v->path->ops->set_link)
		v->path->ops->set_link(v->path, up);
}

u32 virtio_net_rings(const struct virtio_dev *v)
{
	return v->nqueues / 2 * 2;
}

bool virtio_net_plugged(struct virtio_dev *v)
{
	return __atomic_load_n(&net_of(v)->cable, __ATOMIC_RELAXED);
}

void virtio_net_filter(struct virtio_dev *v, struct net_filter *f)
{
	struct net *net = net_of(v);

	pthread_mutex_lock(&net->lock);
	*f = net->filter;
	pthread_mutex_unlock(&net->lock);
}

static void peer_link_changed(struct peer *peer, bool up)
{
	struct net *net = peer->owner;

	pthread_mutex_lock(&net->lock);
	net->peer_up = up;
	tell_status(net);
	pthread_mutex_unlock(&net->lock);
}

void virtio_net_announce(struct virtio_dev *v)
{
	struct net *net = net_of(v);
	bool runs = virtio_status_read(v) & VIRTIO_CONFIG_S_DRIVER_OK;
	bool itself = virtio_has_feature(v, VIRTIO_NET_F_GUEST_ANNOUNCE);
	u8 mac[6];

	pthread_mutex_lock(&net->lock);
	if (runs && itself)
		net->announce = true;
	tell_status(net);
	memcpy(mac, net->filter.mac, sizeof(mac));
	pthread_mutex_unlock(&net->lock);
	if (runs && !itself && v->path && v->path->ops->announce)
		v->path->ops->announce(v->path, mac);
}

int net_set_offloads(struct net *net, u64 offloads)
{
	u64 old;
	int err;

	pthread_mutex_lock(&net->lock);
	old = net->offloads;
	/* At no time is there a frame that the receive queues do not expect. */
	__atomic_store_n(&net->offloads, old | offloads, __ATOMIC_RELAXED);
	err = peer_set_offloads(net->peer, offloads);
	__atomic_store_n(&net->offloads, err ? old : offloads, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&net->lock);
	return err;
}

void virtio_net_restore_peer(struct virtio_dev *v)
{
	struct net *net = net_of(v);

	pthread_mutex_lock(&net->lock);
	peer_set_offloads(net->peer, net->offloads);
	pthread_mutex_unlock(&net->lock);
}

static void path_use_pairs(struct net *net, u32 n)
{
	struct datapath *path = net->v.path;

	if (path && path->ops->use_pairs)
		path->ops->use_pairs(path, n);
}

int net_set_pairs(struct net *net, u32 n)
{
	u32 old = net->active;
	int err;

	/* At no time has the data path a pair whose peer's is off. */
	path_use_pairs(net, n < old ? n : old);
	err = n == old ? 0 : peer_set_pairs(net->peer, n);
	path_use_pairs(net, err ? old : n);
	if (err)
		return err;
	/* Pairs with active() in net_rx.c. */
	__atomic_store_n(&net->active, n, __ATOMIC_RELEASE);
	/* "The device MUST NOT queue packets on receive queues greater than virtqueue_pairs once it has placed
	 * the command in a used buffer": what is still under way ends before. */
	for (u32 i = n; i < old; i++) {
		pthread_mutex_lock(&net->pair[i].receiving);
		pthread_mutex_unlock(&net->pair[i].receiving);
	}
	for (u32 i = old; i < n; i++)
		virtio_queue_kick(&net->v, 2 * i);
	return 0;
}

int virtio_net_set_pairs(struct virtio_dev *v, u32 n)
{
	assert(n >= 1 && n <= net_of(v)->npairs);
	return net_set_pairs(net_of(v), n);
}

/* All that a driver can have changed, as for the first one. `any_vlan`: it can't filter VLANs. */
static void forget_driver(struct net *net, bool any_vlan)
{
	u16 status;

	pthread_mutex_lock(&net->lock);
	net->announce = false;
	status = net_status(net);
	net_filter_reset(&net->filter, net->mac);
	net->filter.any_vlan = any_vlan;
	__atomic_store_n(&net->filter_version, net->filter_version + 1, __ATOMIC_RELEASE);
	net_config_set(net, CONFIG(status), &status, sizeof(status));
	pthread_mutex_unlock(&net->lock);
	net_config_set(net, CONFIG(mac), net->mac, sizeof(net->mac));
}

static bool net_features_ok(struct virtio_dev *v, u64 features)
{
	if (net_of(v)->rings_only)
		features |= NET_F(CTRL_VQ); /* it is there, but not ours */
	return net_features_sound(features);
}

static void net_driver_ok(struct virtio_dev *v)
{
	struct net *net = net_of(v);
	u64 features = __atomic_load_n(&v->features, __ATOMIC_RELAXED);

	forget_driver(net, !(features & NET_F(CTRL_VLAN)));
	if (net_set_offloads(net, features & NET_GUEST_OFFLOADS) && !net->refused_told) {
		net->refused_told = true;
		log_warn("virtio-net: the %s peer refuses the guest's offloads, so there are none",
			 net->peer->ops->kind);
	}
}

static void net_reset(struct virtio_dev *v)
{
	struct net *net = net_of(v);

	forget_driver(net, true);
	net_set_offloads(net, 0);
	if (net->active != 1 && net_set_pairs(net, 1)) {
		log_warn("virtio-net: the %s peer still spreads frames over %u queues",
			 net->peer->ops->kind, net->active);
		__atomic_store_n(&net->active, 1, __ATOMIC_RELEASE);
	}
	for (u32 i = 0; i < net->npairs; i++)
		net_rx_reset(&net->pair[i]);
}

/* ---- queues ---- */

enum role { RX, TX, CONTROL, NONE };

/* 5.1.2: without MQ there is one pair, and other queues are not used. */
static enum role role_of(struct net *net, u32 index)
{
	u32 pairs = virtio_has_feature(&net->v, VIRTIO_NET_F_MQ) ? net->npairs : 1;

	if (index < 2 * pairs)
		return index % 2 ? TX : RX;
	if (index == 2 * pairs && virtio_has_feature(&net->v, VIRTIO_NET_F_CTRL_VQ))
		return CONTROL;
	return NONE;
}

void net_want(struct net_pair *p, u32 what, bool on)
{
	u32 want = on ? p->want | what : p->want & ~what;

	if (want == p->want)
		return;
	p->want = want;
	peer_want(p->peer, want);
}

/* The pair has been woken up: for how long is it to look out for more, after it has done its work? */
static u64 poll_time(struct net_pair *p, u64 now)
{
	u64 max = p->net->poll_ns_max;

	if (p->idle_since && now - p->idle_since < max)
		p->poll_ns = p->poll_ns ? p->poll_ns * 2 : max / 8;
	else
		p->poll_ns /= 2;
	if (p->poll_ns > max)
		p->poll_ns = max;
	if (p->poll_ns < max / 16)
		p->poll_ns = 0;
	return p->poll_ns;
}

/* Move frames in both directions until there have been none for as long as poll_time() says, or a turn
 * is over. */
static void pair_poll(struct net_pair *p)
{
	struct net_turn rx = net_turn_begin(), tx = net_turn_begin();
	u64 now = now_ns(), end = now + poll_time(p, now);

	if (p->rx.on)
		vq_disarm(&p->rx.q->vq);
	if (p->tx.on)
		vq_disarm(&p->tx.q->vq);
	do {
		u32 done = net_tx_run(p, &tx) + net_rx_run(p, &rx);

		if (net_turn_over(&rx) || net_turn_over(&tx) || net_needs_reset(p->net))
			break;
		if (!done)
			loop_relax();
		now = now_ns();
	} while (now < end);
	net_tx_rest(p);
	net_rx_rest(p);
	p->idle_since = now_ns();
}

/* Do what there is to do: PEER_READ to receive, PEER_WRITE to transmit. */
static void pair_run(struct net_pair *p, u32 what)
{
	struct net_turn rx = net_turn_begin(), tx = net_turn_begin();

	if (p->net->poll_ns_max) {
		pair_poll(p);
		return;
	}
	if (what & PEER_WRITE) {
		net_tx_run(p, &tx);
		net_tx_rest(p);
	}
	if (what & PEER_READ) {
		net_rx_run(p, &rx);
		net_rx_rest(p);
	}
}

static void pair_check(struct net_pair *p)
{
	if (p->rx.on)
		inproc_check(p->rx.q);
	if (p->tx.on)
		inproc_check(p->tx.q);
	if (net_needs_reset(p->net))
		net_want(p, PEER_READ | PEER_WRITE, false);
}

static void pair_ready(struct peer_queue *pq, u32 what)
{
	struct net_pair *p = pq->owner;

	if (!net_needs_reset(p->net))
		pair_run(p, what);
	pair_check(p);
}

static void net_serve(struct virtio_dev *v, struct virtio_queue *q)
{
	struct net *net = net_of(v);
	struct net_pair *p = &net->pair[q->index / 2];

	switch (role_of(net, q->index)) {
	case RX:
		net_rx_begin(p);
		pair_run(p, PEER_READ);
		pair_check(p);
		break;
	case TX:
		net_tx_begin(p);
		pair_run(p, PEER_WRITE);
		pair_check(p);
		break;
	case CONTROL:
		net_ctrl_serve(net, q);
		break;
	case NONE:
		break;
	}
}

static void net_quiesce(struct virtio_dev *v, struct virtio_queue *q)
{
	struct net *net = net_of(v);
	struct net_pair *p = &net->pair[q->index / 2];

	switch (role_of(net, q->index)) {
	case RX:
		net_rx_quiesce(p);
		break;
	case TX:
		net_tx_quiesce(p);
		break;
	case CONTROL:
	case NONE:
		break;
	}
}

static bool net_in_hand(const struct virtio_dev *v, const struct virtio_queue *q)
{
	const struct net *net = container_of(v, struct net, v);
	u32 pair = q->index / 2;

	return q->index % 2 == 0 && pair < net->npairs && net->pair[pair].rx.held;
}

static int net_path_changes(struct virtio_dev *v, struct datapath *next)
{
	struct net *net = net_of(v);

	if (next && next->ops->use_pairs)
		next->ops->use_pairs(next, net->active);
	if (next && next->ops->set_link)
		next->ops->set_link(next, net->plugged);
	return 0;
}

static u64 load(const u64 *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void virtio_net_stats(struct virtio_dev *v, u32 queue, struct virtio_net_stats *s)
{
	struct net_pair *p = &net_of(v)->pair[queue / 2];
	const struct virtio_net_stats *from = queue % 2 ? &p->tx.stats : &p->rx.stats;

	assert(queue < 2 * net_of(v)->npairs);
	*s = (struct virtio_net_stats){
		.frames = load(&from->frames),
		.bytes = load(&from->bytes),
		.dropped = load(&from->dropped),
		.filtered = load(&from->filtered),
	};
}

/* ---- making and freeing ---- */

/* What the device offers with this peer. */
static u64 features_of(const struct virtio_net_options *o)
{
	u64 features = o->peer->features & (NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS);

	features |= o->rings_only ? RINGS_FEATURES | NET_F(CTRL_VQ) : OWN_FEATURES;
	if (o->npairs > 1)
		features |= NET_F(MQ);
	if (o->mtu)
		features |= NET_F(MTU);
	if (!o->antispoof && !o->rings_only)
		features |= NET_F(CTRL_MAC_ADDR);
	features &= ~o->features_off;
	for (u32 i = 0; i < ARRAY_SIZE(requirements); i++) { /* the table is in their order */
		if (!(features & requirements[i].needs))
			features &= ~requirements[i].feature;
	}
	if (!(features & NET_F(CTRL_VQ)))
		features &= ~(NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_GUEST_OFFLOADS));
	if (o->rings_only)
		features &= ~NET_F(CTRL_VQ);
	return features;
}

static void set_config(struct net *net, const struct virtio_net_options *o)
{
	struct virtio_net_config c = {
		.status = VIRTIO_NET_S_LINK_UP,
		.max_virtqueue_pairs = net->npairs,
		.mtu = o->mtu,
		.speed = o->speed,
		.duplex = o->duplex,
	};

	memcpy(c.mac, net->mac, sizeof(c.mac));
	memcpy(net->v.config, &c, CONFIG_LEN);
}

static int pair_create(struct net *net, u32 i)
{
	struct net_pair *p = &net->pair[i];
	struct peer_queue *pq = net->peer->queue(net->peer, i);
	int err;

	p->net = net;
	p->index = i;
	err = net_rx_alloc(&p->rx, &net->v.queue[2 * i]);
	if (!err)
		err = net_tx_alloc(&p->tx, &net->v.queue[2 * i + 1]);
	if (!err)
		err = peer_attach(pq, p->rx.q->loop, pair_ready, p);
	if (!err)
		p->peer = pq;
	return err;
}

static void detach(void *arg)
{
	peer_detach(arg);
}

static void pair_destroy(struct net_pair *p)
{
	if (p->peer)
		loop_call(p->peer->loop, detach, p->peer);
	net_rx_free(&p->rx);
	net_tx_free(&p->tx);
	pthread_mutex_destroy(&p->receiving);
}

static void net_destroy(struct virtio_dev *v)
{
	struct net *net = net_of(v);

	datapath_destroy(v->path); /* it has the peer's queues */
	v->path = NULL;
	for (u32 i = 0; net->pair && i < net->npairs; i++)
		pair_destroy(&net->pair[i]);
	peer_destroy(net->peer);
	pthread_mutex_destroy(&net->lock);
	virtio_dev_destroy(v);
	free(net->ctrl_iov);
	free(net->pair);
	free(net);
}

static const struct virtio_ops net_ops = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.pci_class = 0x020000, /* Ethernet */
	.loop_queues = 2,
	.features_ok = net_features_ok,
	.driver_ok = net_driver_ok,
	.serve = net_serve,
	.quiesce = net_quiesce,
	.in_hand = net_in_hand,
	.path_changes = net_path_changes,
	.reset = net_reset,
	.destroy = net_destroy,
};

bool virtio_is_net(const struct virtio_dev *v)
{
	return v->ops == &net_ops;
}

/* All that has to be made anew with a device; the peer is its already. */
static int net_init(struct net *net, const struct virtio_net_options *o)
{
	int err = 0;

	memcpy(net->mac, o->mac, sizeof(net->mac));
	net->antispoof = o->antispoof;
	net->rings_only = o->rings_only;
	net->mtu = o->mtu;
	net->poll_ns_max = o->poll_us * 1000ULL;
	net->active = net->cable = net->link = 1;
	net->plugged = net->peer_up = true;
	net->filter_version = 1;
	net_filter_reset(&net->filter, net->mac);
	set_config(net, o);
	net->nctrl_iov = net->v.queue[0].size_max;
	net->ctrl_iov = calloc(net->nctrl_iov, sizeof(*net->ctrl_iov));
	net->pair = calloc(net->npairs, sizeof(*net->pair));
	if (!net->ctrl_iov || !net->pair)
		return -ENOMEM;
	for (u32 i = 0; i < net->npairs; i++)
		pthread_mutex_init(&net->pair[i].receiving, NULL);
	net->peer->owner = net;
	net->peer->link_changed = peer_link_changed;
	for (u32 i = 0; !err && i < net->npairs; i++)
		err = pair_create(net, i);
	return err;
}

int virtio_net_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o, const struct virtio_net_options *opts)
{
	struct net *net = calloc(1, sizeof(*net));
	u64 features = features_of(opts);
	u32 npairs = features & NET_F(MQ) ? opts->npairs : 1;
	u32 nqueues = 2 * npairs + !!(features & NET_F(CTRL_VQ));
	int err = -ENOMEM;

	assert(opts->npairs >= 1 && opts->npairs <= opts->peer->npairs);
	assert(!opts->mtu || opts->mtu >= MTU_MIN);
	assert(!(opts->mac[0] & 1));
	if (net)
		err = virtio_dev_init(&net->v, &net_ops, env, o, nqueues, VIRTIO_NET_QUEUE_SIZE,
				      CONFIG_LEN);
	if (err) {
		free(net);
		peer_destroy(opts->peer);
		return err;
	}
	pthread_mutex_init(&net->lock, NULL);
	net->v.offered |= features;
	net->peer = opts->peer;
	net->npairs = npairs;
	err = net_init(net, opts);
	if (err) {
		net_destroy(&net->v);
		return err;
	}
	*v = &net->v;
	return 0;
}
