/* SPDX-License-Identifier: MIT */
/*
 * net_rig.h - what the suites on the network device share: the device with a peer in memory, and the
 * driver's side of it.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include "devices/virtio/net_internal.h"
#include "tests/lib/fake_peer.h"
#include "tests/unit/virtio_driver.h"

#define NET_RX	   0
#define NET_TX	   1
#define NET_CTRL   2 /* with one pair, or without MQ */

#define NET_MODES  (VDRV_BUSES * 2)
#define NET_BUFS   64 /* chains of a queue */
#define NET_PIECES 24 /* segments of one of ours */

#define NET_MAC	   "\x52\x54\x00\x12\x34\x56"
#define NET_ALL	   (~0ULL)

struct net_chain {
	struct ring_buf buf[NET_PIECES];
	u32 n;
};

struct net_rig {
	struct vdrv d;
	struct virtio_net_options o; /* for net_rig_plug(); .peer is set there */
	u64 peer_features;	     /* likewise; at first all offloads */
	u16 peer_mtu;
	struct fake_peer *peer;
	bool destroyed;
	struct net_chain posted[VIRTIO_QUEUES_MAX][NET_BUFS]; /* by id */
	struct virtio_net_hdr_v1 hdr;			      /* of what net_received() gave */
	u8 got[PEER_FRAME_MAX];
};

/* A machine with bus and ring format number `mode`, and the usual options. */
void net_rig_init(struct net_rig *n, int mode);
/* The device with n->o. */
void net_rig_plug(struct net_rig *n);
/* All three: with the usual options, and a driver that accepts `features`. */
void net_rig_start(struct net_rig *n, int mode, u64 features);
void net_rig_free(struct net_rig *n);

/* As virtio_*_create(), for others than net_rig_plug(). */
int net_rig_create(struct net_rig *n, struct virtio_dev **v, const struct machine_env *env,
		   const struct virtio_options *o);

/* A frame of `len` bytes to be told from others by `number`, to the broadcast address, from NET_MAC.
 * Valid until the next call but one. */
const u8 *net_frame(u32 number, u32 len);

/* Give the device a buffer of `len` bytes; or one in `n` pieces. */
void net_post(struct net_rig *n, u32 q, u32 len);
void net_post_pieces(struct net_rig *n, u32 q, const u32 *len, u32 npieces);

/* The next frame on queue `q`, out of as many chains as its header says: its length without the header,
 * which is in n->hdr, itself in n->got. -1: there is none. */
int net_received(struct net_rig *n, u32 q);

/* net_frame(number, len) has been received, or nothing has. */
void net_expect(struct net_rig *n, u32 q, u32 number, u32 len);
void net_expect_nothing(struct net_rig *n, u32 q);

/* Let the driver send; `cut` != 0: in pieces, whose lengths come from it. */
void net_send(struct net_rig *n, u32 q, const struct virtio_net_hdr_v1 *hdr, const void *data,
	      u32 len, u32 cut);
/* How many chains came back from queue `q`. */
u32 net_sent(struct net_rig *n, u32 q);

/* The peer has got net_frame(number, len) with this header (NULL: all zeroes), or nothing. */
void net_expect_sent(struct net_rig *n, u32 pair, const struct virtio_net_hdr_v1 *hdr, u32 number,
		     u32 len);
void net_expect_nothing_sent(struct net_rig *n, u32 pair);

/* A control command on queue `q` with the data cut into pieces of `piece` bytes (0: in one). Returns the
 * answer. */
u8 net_command_on(struct net_rig *n, u32 q, u8 class, u8 command, const void *data, u32 len,
		  u32 piece);
u8 net_command(struct net_rig *n, u8 class, u8 command, const void *data, u32 len);

/* Cut [gpa, gpa + len) into pieces as `seed` has it. Returns how many, at most NET_PIECES. */
u32 net_cut(struct ring_buf *buf, u64 gpa, u32 len, u32 seed);

struct virtio_net_stats net_stats(struct net_rig *n, u32 q);

#endif
