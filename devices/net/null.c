// SPDX-License-Identifier: MIT
/*
 * null.c - the peer that is nobody: it takes all that is sent, and has no frame, or always one. So what a
 * measurement shows is the device and its rings alone.
 *
 * How it works: a source has the same short frame at any time, for a pair that wants to receive. Nothing
 * tells of that but a look, so its loop does not sleep as long as it is wanted.
 *
 *	| header, all zeroes | ff:ff:ff:ff:ff:ff | 52:54:00:00:00:01 | 88b5 | 46 bytes, all zeroes |
 *
 * Threads: see peer.h; there is nothing that is shared.
 */
#include "minivmm/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_LEN 60 /* 64 bytes on a wire, with the FCS */

struct null_queue {
	struct peer_queue pq;
	struct loop_poll poll;
};

struct null_peer {
	struct peer peer;
	bool source;
	struct null_queue queue[PEER_PAIRS_MAX];
};

/* To all, from nobody, of a type for experiments (IEEE Std 802, 9.2.3). */
static const u8 frame[FRAME_LEN] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x00, 0x00, 0x01, 0x88, 0xb5,
};

static int null_attach(struct peer_queue *q)
{
	(void)q;
	return 0;
}

static void null_detach(struct peer_queue *q)
{
	loop_poll_del(q->loop, &container_of(q, struct null_queue, pq)->poll);
}

static int null_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	(void)q;
	(void)iov;
	(void)niov;
	return 0;
}

static ssize_t null_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	u32 done = 0;

	if (!container_of(q->peer, struct null_peer, peer)->source)
		return -EAGAIN;
	memset(iov[0].iov_base, 0, PEER_HDR_LEN);
	if (niov > 1 && iov[0].iov_len == PEER_HDR_LEN && iov[1].iov_len >= FRAME_LEN) {
		memcpy(iov[1].iov_base, frame, FRAME_LEN); /* of a length that the compiler knows */
		return PEER_HDR_LEN + FRAME_LEN;
	}
	for (u32 i = 0; i < niov && done < FRAME_LEN; i++) {
		u32 skip = i ? 0 : PEER_HDR_LEN;
		u32 n = iov[i].iov_len - skip < FRAME_LEN - done ? iov[i].iov_len - skip
								 : FRAME_LEN - done;

		memcpy((u8 *)iov[i].iov_base + skip, frame + done, n);
		done += n;
	}
	return PEER_HDR_LEN + done;
}

static bool null_look(struct loop_poll *p)
{
	struct peer_queue *q = &container_of(p, struct null_queue, poll)->pq;

	q->ready(q, PEER_READ);
	return true;
}

/* It always has room, so nobody waits for that. */
static void null_want(struct peer_queue *q, u32 what)
{
	struct null_queue *n = container_of(q, struct null_queue, pq);

	if (what & PEER_READ && container_of(q->peer, struct null_peer, peer)->source)
		loop_poll_add(q->loop, &n->poll);
	else
		loop_poll_del(q->loop, &n->poll);
}

static void null_destroy(struct peer *p)
{
	free(container_of(p, struct null_peer, peer));
}

static struct peer_queue *null_queue(struct peer *p, u32 i)
{
	return &container_of(p, struct null_peer, peer)->queue[i].pq;
}

static const struct peer_ops null_ops = {
	.kind = "null",
	.attach = null_attach,
	.detach = null_detach,
	.send = null_send,
	.receive = null_receive,
	.want = null_want,
	.destroy = null_destroy,
};

int peer_null_open(struct peer **out, u32 npairs, bool source)
{
	struct null_peer *n = calloc(1, sizeof(*n));

	assert(npairs >= 1 && npairs <= PEER_PAIRS_MAX);
	if (!n)
		return -ENOMEM;
	n->peer = (struct peer){ .ops = &null_ops, .npairs = npairs, .queue = null_queue };
	n->source = source;
	for (u32 i = 0; i < npairs; i++) {
		n->queue[i].pq = (struct peer_queue){ .peer = &n->peer, .index = i };
		n->queue[i].poll.look = null_look;
	}
	*out = &n->peer;
	return 0;
}
