/* SPDX-License-Identifier: MIT */
/*
 * peer_rig.h - what the suites on network peers share: one peer on a loop, an owner that counts what it
 * is told, frames.
 */
#ifndef TESTS_UNIT_PEER_RIG_H
#define TESTS_UNIT_PEER_RIG_H

#include "minivmm/peer.h"
#include "tests/unit/unit.h"

struct peer_rig {
	u32 fds; /* open before */
	struct loop *loop;
	struct peer *peer;
	u32 reads, writes; /* told by ready(), of all queues */
	u32 reads_of[PEER_PAIRS_MAX];
	u32 ups, downs; /* told by link_changed() */
	bool quiet;	/* what is told is not wanted any more after that */
	_Alignas(8) u8 frame[PEER_FRAME_MAX + 1]; /* the last one received, with its header */
};

void peer_rig_init(struct peer_rig *r);

/* Take `p` over: the link's changes are told, all its queues are attached. */
void peer_rig_begin(struct peer_rig *r, struct peer *p);

/* The end: checks that nothing is left open. */
void peer_rig_free(struct peer_rig *r);

/* Send `len` bytes as a frame behind a header of zeroes, in several segments. */
int peer_rig_send(struct peer_rig *r, u32 queue, const void *frame, u32 len);

/* Receive into r->frame, in several segments. Returns as peer_receive(). */
ssize_t peer_rig_receive(struct peer_rig *r, u32 queue);

/* The next frame that comes to `queue` within ten seconds; its length without header. Runs the loop. */
u32 peer_rig_wait(struct peer_rig *r, u32 queue);

/* The next frame is this one; or there is none. */
void peer_rig_expect(struct peer_rig *r, u32 queue, const void *frame, u32 len);
#define peer_rig_expect_none(r, queue) ck_assert_int_eq(peer_rig_receive(r, queue), -EAGAIN)

/* An Ethernet frame of `len` bytes whose content follows from `seed`, between addresses that are ours. */
void make_frame(u8 *frame, u32 len, u32 seed);

#endif
