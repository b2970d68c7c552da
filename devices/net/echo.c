// SPDX-License-Identifier: MIT
/*
 * echo.c - the peer that sends each frame back to where it came from. So what a measurement shows is the
 * way from the driver to the device and back, twice, and nothing behind it.
 *
 * How it works: frames wait in a ring of slots until they are received. When it is full the sender waits.
 *
 *	send ──> [ slot | slot | ... ] ──> receive		sent - received = how many wait
 *
 * No descriptor tells when there is something: as long as the owner wants what is there (frames, or
 * room), the loop looks. A frame that is longer than a slot (the peer has no offloads, so it is no
 * Ethernet frame of a usual size) is dropped.
 *
 * Threads: see peer.h; there is nothing that is shared.
 */
#include "minivmm/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS	 256
#define SLOT_LEN 2048

struct echo_queue {
	struct peer_queue pq;
	struct loop_poll poll;
	u32 want;
	u32 sent, received; /* modulo 2^32 */
	u32 len[SLOTS];
	u8 slot[SLOTS][SLOT_LEN];
};

struct echo_peer {
	struct peer peer;
	struct echo_queue queue[]; /* peer.npairs */
};

static struct echo_queue *echo_of(struct peer_queue *q)
{
	return container_of(q, struct echo_queue, pq);
}

/* What the owner wants and there is. */
static u32 there_is(const struct echo_queue *e)
{
	u32 what = 0;

	if (e->sent != e->received)
		what |= PEER_READ;
	if (e->sent - e->received < SLOTS)
		what |= PEER_WRITE;
	return what & e->want;
}

static void look_or_not(struct echo_queue *e)
{
	if (there_is(e))
		loop_poll_add(e->pq.loop, &e->poll);
	else
		loop_poll_del(e->pq.loop, &e->poll);
}

static bool echo_look(struct loop_poll *p)
{
	struct echo_queue *e = container_of(p, struct echo_queue, poll);
	u32 what = there_is(e);

	if (what)
		e->pq.ready(&e->pq, what);
	return what != 0;
}

/* What somebody else's driver sent before is no answer for this one. */
static int echo_attach(struct peer_queue *q)
{
	struct echo_queue *e = echo_of(q);

	e->want = e->sent = e->received = 0;
	return 0;
}

static void echo_detach(struct peer_queue *q)
{
	loop_poll_del(q->loop, &echo_of(q)->poll);
}

static int echo_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct echo_queue *e = echo_of(q);
	u32 at = e->sent % SLOTS, len = 0;

	if (e->sent - e->received == SLOTS)
		return -EAGAIN;
	for (u32 i = 0; i < niov; i++) {
		if (iov[i].iov_len > SLOT_LEN - len)
			return 0;
		memcpy(e->slot[at] + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	memset(e->slot[at], 0, PEER_HDR_LEN); /* what came by no offload */
	e->len[at] = len;
	e->sent++;
	look_or_not(e);
	return 0;
}

static ssize_t echo_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct echo_queue *e = echo_of(q);
	u32 at = e->received % SLOTS, done = 0;

	if (e->sent == e->received)
		return -EAGAIN;
	for (u32 i = 0; i < niov && done < e->len[at]; i++) {
		u32 left = e->len[at] - done, n = iov[i].iov_len < left ? iov[i].iov_len : left;

		memcpy(iov[i].iov_base, e->slot[at] + done, n);
		done += n;
	}
	e->received++;
	look_or_not(e);
	return done;
}

static void echo_want(struct peer_queue *q, u32 what)
{
	echo_of(q)->want = what;
	look_or_not(echo_of(q));
}

static void echo_destroy(struct peer *p)
{
	free(container_of(p, struct echo_peer, peer));
}

static struct peer_queue *echo_queue(struct peer *p, u32 i)
{
	return &container_of(p, struct echo_peer, peer)->queue[i].pq;
}

static const struct peer_ops echo_ops = {
	.kind = "echo",
	.attach = echo_attach,
	.detach = echo_detach,
	.send = echo_send,
	.receive = echo_receive,
	.want = echo_want,
	.destroy = echo_destroy,
};

int peer_echo_open(struct peer **out, u32 npairs)
{
	struct echo_peer *e = calloc(1, sizeof(*e) + npairs * sizeof(e->queue[0]));

	assert(npairs >= 1 && npairs <= PEER_PAIRS_MAX);
	if (!e)
		return -ENOMEM;
	e->peer = (struct peer){ .ops = &echo_ops, .npairs = npairs, .queue = echo_queue };
	for (u32 i = 0; i < npairs; i++) {
		e->queue[i].pq.peer = &e->peer;
		e->queue[i].pq.index = i;
		e->queue[i].poll.look = echo_look;
	}
	*out = &e->peer;
	return 0;
}
