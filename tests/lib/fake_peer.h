/* SPDX-License-Identifier: MIT */
/*
 * fake_peer.h - a network peer in memory: frames are put in for the device to receive, and what it sends
 * is kept to be looked at. It checks that the device keeps to peer.h, and aborts if not.
 *
 * Threads: any, at any time.
 */
#ifndef TESTS_FAKE_PEER_H
#define TESTS_FAKE_PEER_H

#include "minivmm/peer.h"

struct fake_frame {
	struct fake_frame *next;
	u32 len; /* of all, header and frame */
	u8 data[];
};

struct fake_peer;

/* With these features, pairs and MTU; peer_destroy() is the device's. Returns NULL without memory. */
struct fake_peer *fake_peer_create(u64 features, u32 npairs, u16 mtu);

struct peer *fake_peer_base(struct fake_peer *f);

/* Let pair `i` receive `hdr` (PEER_HDR_LEN bytes, or NULL: zeroes) and the `len` bytes behind it. */
void fake_peer_put(struct fake_peer *f, u32 i, const void *hdr, const void *data, u32 len);

/* What was sent first on pair `i`, the caller's to free(), or NULL. */
struct fake_frame *fake_peer_take(struct fake_peer *f, u32 i);

/* Take `n` more frames and then be full, from the start ~0: never. */
void fake_peer_set_room(struct fake_peer *f, u32 i, u32 n);

/* Frames put and not yet received. */
u32 fake_peer_waiting(struct fake_peer *f, u32 i);

/* What the device wants to be told of. */
u32 fake_peer_wants(struct fake_peer *f, u32 i);

/* The device has called ready(), send(), receive(), ... so often. */
struct fake_peer_calls {
	u32 ready, send, receive, want;
};
struct fake_peer_calls fake_peer_calls(struct fake_peer *f, u32 i);

u64 fake_peer_offloads(struct fake_peer *f);
u32 fake_peer_pairs(struct fake_peer *f);
/* From now on set_offloads() and set_pairs() give this error. */
void fake_peer_fail(struct fake_peer *f, int err);

/* Call link_changed(). Main loop's thread. */
void fake_peer_link(struct fake_peer *f, bool up);

/* Set to true when the peer is destroyed. */
void fake_peer_watch(struct fake_peer *f, bool *destroyed);

#endif
