// SPDX-License-Identifier: MIT
/*
 * peer_stub.c - a peer without anything behind it. See peer_stub.h.
 */
#include "tests/unit/peer_stub.h"
#include "tests/unit/peer_rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct stub_queue *stub_of(struct peer_queue *q)
{
	return container_of(q, struct stub_queue, queue);
}

static u32 there_is(const struct stub_queue *s)
{
	return s->want & ((s->waiting ? PEER_READ : 0) | (s->full ? 0 : PEER_WRITE));
}

static void watch(struct stub_queue *s)
{
	bool on = s->queue.loop && there_is(s);

	if (on && !s->watched)
		loop_add(s->queue.loop, &s->always, EPOLLIN);
	else if (!on && s->watched)
		loop_del(s->queue.loop, &s->always);
	s->watched = on;
}

static void always_ready(struct loop_fd *lf, u32 events)
{
	struct stub_queue *s = container_of(lf, struct stub_queue, always);
	u32 what = there_is(s);

	(void)events;
	if (what)
		s->queue.ready(&s->queue, what);
	watch(s);
}

static int stub_attach(struct peer_queue *q)
{
	(void)q;
	return 0;
}

static void stub_want(struct peer_queue *q, u32 what)
{
	stub_of(q)->want = what;
	watch(stub_of(q));
}

static void stub_detach(struct peer_queue *q)
{
	stub_want(q, 0);
	q->loop = NULL;
}

static int stub_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct stub_queue *s = stub_of(q);
	u32 at = 0;

	if (s->full)
		return -EAGAIN;
	for (u32 i = 0; i < niov; at += iov[i++].iov_len)
		memcpy(s->last + at, iov[i].iov_base, iov[i].iov_len);
	s->sent++;
	s->sent_bytes += at;
	return 0;
}

static ssize_t stub_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	struct stub_queue *s = stub_of(q);
	u32 at = 0, len = PEER_HDR_LEN + s->len;

	if (!s->waiting)
		return -EAGAIN;
	s->waiting--;
	memset(s->last, 0, PEER_HDR_LEN);
	make_frame(s->last + PEER_HDR_LEN, s->len, s->received++);
	for (u32 i = 0; i < niov && at < len; i++) {
		u32 n = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;

		memcpy(iov[i].iov_base, s->last + at, n);
		at += n;
	}
	return at;
}

static int stub_set_offloads(struct peer *p, u64 features)
{
	container_of(p, struct stub_peer, peer)->offloads = features;
	return 0;
}

static int stub_set_pairs(struct peer *p, u32 n)
{
	container_of(p, struct stub_peer, peer)->pairs = n;
	return 0;
}

static void stub_destroy(struct peer *p)
{
	struct stub_peer *s = container_of(p, struct stub_peer, peer);

	for (u32 i = 0; i < PEER_PAIRS_MAX; i++)
		close(s->q[i].always.fd);
	if (s->destroyed)
		*s->destroyed = true;
	free(s);
}

static struct peer_queue *stub_queue(struct peer *p, u32 i)
{
	return &container_of(p, struct stub_peer, peer)->q[i].queue;
}

static const struct peer_ops stub_ops = {
	.kind = "stub",
	.attach = stub_attach,
	.detach = stub_detach,
	.send = stub_send,
	.receive = stub_receive,
	.want = stub_want,
	.set_offloads = stub_set_offloads,
	.set_pairs = stub_set_pairs,
	.destroy = stub_destroy,
};

struct stub_peer *stub_peer_create(u32 npairs)
{
	struct stub_peer *s = calloc(1, sizeof(*s));

	ck_assert_ptr_nonnull(s);
	s->peer = (struct peer){ .ops = &stub_ops,
				 .features = 0x55,
				 .npairs = npairs,
				 .mtu = 1234,
				 .queue = stub_queue };
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		s->q[i].queue = (struct peer_queue){ .peer = &s->peer, .index = i };
		s->q[i].always =
			(struct loop_fd){ .fd = eventfd(1, EFD_CLOEXEC), .ready = always_ready };
		s->q[i].len = 100;
	}
	return s;
}

void stub_peer_changed(struct stub_peer *s)
{
	for (u32 i = 0; i < s->peer.npairs; i++)
		watch(&s->q[i]);
}
