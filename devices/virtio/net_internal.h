/* SPDX-License-Identifier: MIT */
/*
 * net_internal.h - what the files of the network device share.
 *
 *	net.c		the device: features, configuration space, the life of its queues
 *	net_tx.c	frames from the driver to the peer
 *	net_rx.c	frames from the peer to the driver
 *	net_ctrl.c	the control queue
 *	net_filter.c	which frames the driver wants
 *
 * Threads: a struct net_pair belongs to its loop. What loops share is atomic or under net->lock, behind
 * which nobody waits for anything but a virtio device's config_lock.
 */
#ifndef DEVICES_VIRTIO_NET_INTERNAL_H
#define DEVICES_VIRTIO_NET_INTERNAL_H

#include "minivmm/devices.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"

#include <linux/virtio_net.h>
#include <pthread.h>

/* What older headers lack. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO	56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#define NET_F(name) VIRTIO_FEATURE(VIRTIO_NET_F_##name)

/* What the peer has to be able to do: with frames sent to it, and with those received from it. */
#define NET_HOST_OFFLOADS \
	(NET_F(CSUM) | NET_F(HOST_TSO4) | NET_F(HOST_TSO6) | NET_F(HOST_ECN) | NET_F(HOST_USO))
#define NET_GUEST_OFFLOADS                                                              \
	(NET_F(GUEST_CSUM) | NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6) | NET_F(GUEST_ECN) | \
	 NET_F(GUEST_USO4) | NET_F(GUEST_USO6))
#define NET_GUEST_GSO \
	(NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6) | NET_F(GUEST_USO4) | NET_F(GUEST_USO6))

#define NET_ETH_LEN  14 /* addresses and type */
#define NET_VLAN_LEN 4	/* more with a VLAN tag */

/* Both a turn of the queue's and, of that, as much as is published at once. */
#define NET_TURN_FRAMES 128
#define NET_TURN_BYTES	(1 * MIB)
#define NET_BATCH	32

/* ---- net_filter.c: no state but in the struct, any thread ---- */

/* As after a reset: all pass. */
void net_filter_reset(struct net_filter *f, const u8 mac[6]);

/* Does the driver want the frame that begins with these `len` bytes: all of it, or 18 at least? */
bool net_filter_accepts(const struct net_filter *f, const u8 *frame, u32 len);

/* Let VLAN `id` < NET_VLANS pass or not. */
void net_filter_set_vlan(struct net_filter *f, u32 id, bool pass);

/* Is the frame's type that of a VLAN tag? */
static inline bool net_has_vlan(const u8 *frame, u32 len)
{
	return len >= NET_ETH_LEN + NET_VLAN_LEN && frame[12] == 0x81 && frame[13] == 0x00;
}

/* ---- queues ---- */

/* What is left of a turn. */
struct net_turn {
	u32 frames, bytes;
};

static inline struct net_turn net_turn_begin(void)
{
	return (struct net_turn){ .frames = NET_TURN_FRAMES, .bytes = NET_TURN_BYTES };
}

static inline bool net_turn_over(const struct net_turn *t)
{
	return !t->frames || !t->bytes;
}

static inline void net_turn_spend(struct net_turn *t, u32 bytes)
{
	t->frames--;
	t->bytes -= bytes < t->bytes ? bytes : t->bytes;
}

struct net_tx {
	struct virtio_queue *q;
	bool on;    /* the queue runs */
	bool stuck; /* the peer was full */
	u32 niov;   /* segments that a chain may have */
	struct iovec *iov;
	u8 *bounce; /* for a chain of more segments than a peer takes */
	struct virtio_net_stats stats;
};

/*
 * Spare chains: those got from the ring and not yet used, chain[first .. first + n). Their writable
 * segments are iov[iov_first .. iov_first + niov), without the bytes of the first one's header, whose
 * place is in hdr_at.
 */
struct net_rx {
	struct virtio_queue *q;
	bool on;
	struct vq_chain *chain;
	u32 first, n;
	struct iovec *iov;
	u32 iov_first, niov;
	struct iovec hdr_at[PEER_HDR_LEN];
	u32 nhdr;
	u64 room;      /* bytes in spare chains */
	u64 room_seen; /* the most there was at once, in this ring: */
	u32 rings;     /* q->rings at the last start */
	u32 nsegments; /* that a chain may have */

	struct virtio_net_hdr_v1 hdr; /* of the frame in hand */
	u32 held;		      /* its length, if it waits in `frame` for more chains */
	u8 *frame;		      /* PEER_FRAME_MAX bytes */

	struct net_filter filter; /* the device's, as of filter_seen */
	u32 filter_seen;
	struct virtio_net_stats stats;
};

struct net_pair {
	struct net *net;
	u32 index;
	struct peer_queue *peer;
	u32 want; /* what the peer has been asked for */
	/* Held while frames are received: who takes it after net->active has changed knows that the pair
	 * goes by it. Nothing is waited for behind it. */
	pthread_mutex_t receiving;
	struct net_rx rx;
	struct net_tx tx;

	/* Busy polling: for how long at the moment, and when it last came to an end. */
	u64 poll_ns, idle_since;
};

struct net {
	struct virtio_dev v;
	/* Fixed after creation. */
	struct peer *peer;
	u8 mac[6];
	bool antispoof, rings_only;
	u16 mtu;
	u64 poll_ns_max;
	u32 npairs;
	struct net_pair *pair;

	bool refused_told; /* under v.lock: once, a guest must not fill the log */

	struct iovec *ctrl_iov; /* the control queue's loop */
	u32 nctrl_iov;

	/* Atomic. */
	u64 offloads; /* NET_GUEST_OFFLOADS that are on */
	u32 active;   /* queue pairs that receive */
	u32 cable;    /* it is in: else nothing is received */
	u32 link;     /* there is one: else nothing is sent */

	/* Under `lock`. */
	pthread_mutex_t lock;
	bool plugged, peer_up, announce;
	struct net_filter filter;
	u32 filter_version; /* also read without the lock */
};

/* ---- net.c ---- */

static inline struct net *net_of(struct virtio_dev *v)
{
	return container_of(v, struct net, v);
}

/* After this no queue of the device is touched any more, though loops still watch the peer. */
static inline bool net_needs_reset(struct net *net)
{
	return virtio_status_read(&net->v) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Receive by the first `n` pairs, which there are. Serialised by the caller. Returns 0 or -errno. */
int net_set_pairs(struct net *net, u32 n);

/* Is what each feature requires among `features`, too (5.1.3.1)? */
bool net_features_sound(u64 features);

/* Ask the peer for PEER_READ or PEER_WRITE, or no longer. Pair's loop. */
void net_want(struct net_pair *p, u32 what, bool on);

/* Change the configuration space without telling the driver. Any thread. */
void net_config_set(struct net *net, u32 off, const void *buf, u32 len);

/* The status field, from link and announcement; net->lock is held. */
u16 net_status(const struct net *net);

/* Use these offloads (NET_GUEST_OFFLOADS) from now on. Serialised by the caller: the control queue's loop,
 * or no queue runs. Returns 0 or -errno: then nothing has changed. */
int net_set_offloads(struct net *net, u64 offloads);

/* Receive by the first `n` pairs from now on. Serialised as above. Returns 0 or -errno: then nothing has
 * changed. */
int net_set_pairs(struct net *net, u32 n);

/* ---- net_tx.c, net_rx.c: pair's loop ---- */

/* Move frames until there are none, or the turn is over. Returns how many chains or frames have been
 * looked at. */
u32 net_tx_run(struct net_pair *p, struct net_turn *t);
u32 net_rx_run(struct net_pair *p, struct net_turn *t);

/* Ask whoever has to tell when it goes on: driver or peer. */
void net_tx_rest(struct net_pair *p);
void net_rx_rest(struct net_pair *p);

/* The queue runs (also when it did already), and comes to rest. */
void net_tx_begin(struct net_pair *p);
void net_rx_begin(struct net_pair *p);
void net_tx_quiesce(struct net_pair *p);
void net_rx_quiesce(struct net_pair *p);

/* Forget what was meant for the last driver. No queue runs; any thread. */
void net_rx_reset(struct net_pair *p);

/* Buffers. Returns 0 or -ENOMEM; _free() also of what is half made. */
int net_tx_alloc(struct net_tx *tx, struct virtio_queue *q);
int net_rx_alloc(struct net_rx *rx, struct virtio_queue *q);
void net_tx_free(struct net_tx *tx);
void net_rx_free(struct net_rx *rx);

/* ---- net_ctrl.c: the control queue's loop ---- */

void net_ctrl_serve(struct net *net, struct virtio_queue *q);

#endif
