// SPDX-License-Identifier: MIT
/*
 * null.c - the peer that is nobody: it takes all that is sent, and never has a frame. So what a
 * measurement shows is the device and its rings alone.
 *
 * Threads: see peer.h; there is nothing that is shared.
 */
#include "minivmm/peer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct null_peer {
	struct peer peer;
	struct peer_queue queue[PEER_PAIRS_MAX];
};

static int null_attach(struct peer_queue *q)
{
	(void)q;
	return 0;
}

static void null_detach(struct peer_queue *q)
{
	(void)q;
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
	(void)q;
	(void)iov;
	(void)niov;
	return -EAGAIN;
}

/* It always has room, so nobody waits for that, and never a frame. */
static void null_want(struct peer_queue *q, u32 what)
{
	(void)q;
	(void)what;
}

static void null_destroy(struct peer *p)
{
	free(container_of(p, struct null_peer, peer));
}

static struct peer_queue *null_queue(struct peer *p, u32 i)
{
	return &container_of(p, struct null_peer, peer)->queue[i];
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

int peer_null_open(struct peer **out, u32 npairs)
{
	struct null_peer *n = calloc(1, sizeof(*n));

	assert(npairs >= 1 && npairs <= PEER_PAIRS_MAX);
	if (!n)
		return -ENOMEM;
	n->peer = (struct peer){ .ops = &null_ops, .npairs = npairs, .queue = null_queue };
	for (u32 i = 0; i < npairs; i++)
		n->queue[i] = (struct peer_queue){ .peer = &n->peer, .index = i };
	*out = &n->peer;
	return 0;
}
