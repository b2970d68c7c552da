/* SPDX-License-Identifier: MIT */
/*
 * peer_stub.h - the peer behind one that is tested: it gives as many frames as it is told to, of one
 * length, counts what is sent to it, and keeps the last.
 *
 * Threads: as peer.h says; the counters of a pair are its loop's.
 */
#ifndef TESTS_UNIT_PEER_STUB_H
#define TESTS_UNIT_PEER_STUB_H

#include "minivmm/peer.h"

struct stub_queue {
	struct peer_queue queue;
	struct loop_fd always; /* eventfd: ready */
	bool watched;
	u32 want;
	u32 waiting, len; /* so many frames to be received, so long without header */
	bool full;
	u32 received, sent; /* frames */
	u64 sent_bytes;	    /* with headers */
	u8 last[PEER_FRAME_MAX];
};

struct stub_peer {
	struct peer peer;
	struct stub_queue q[PEER_PAIRS_MAX];
	u64 offloads;
	u32 pairs;
	bool *destroyed; /* told here if not NULL */
};

struct stub_peer *stub_peer_create(u32 npairs);

/* Look again at what there is. Not while the loop runs. */
void stub_peer_changed(struct stub_peer *s);

#endif
