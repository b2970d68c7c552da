// SPDX-License-Identifier: MIT
/*
 * peer_rig.c - a network peer and an owner. See peer_rig.h.
 */
#include "tests/unit/peer_rig.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#define FIRST_SEGMENT 20 /* the header, and the beginning of the frame */
#define STEP	      733

static void on_ready(struct peer_queue *q, u32 what)
{
	struct peer_rig *r = q->owner;

	if (what & PEER_READ) {
		r->reads++;
		r->reads_of[q->index]++;
	}
	if (what & PEER_WRITE)
		r->writes++;
	if (r->quiet)
		peer_want(q, 0);
}

static void on_link(struct peer *p, bool up)
{
	struct peer_rig *r = p->owner;

	if (up)
		r->ups++;
	else
		r->downs++;
}

void peer_rig_init(struct peer_rig *r)
{
	memset(r, 0, sizeof(*r));
	r->fds = open_fds();
	r->quiet = true;
	ck_assert_int_eq(loop_create(&r->loop), 0);
}

void peer_rig_begin(struct peer_rig *r, struct peer *p)
{
	r->peer = p;
	p->link_changed = on_link;
	p->owner = r;
	for (u32 i = 0; i < p->npairs; i++)
		ck_assert_int_eq(peer_attach(p->queue(p, i), r->loop, on_ready, r), 0);
}

void peer_rig_free(struct peer_rig *r)
{
	for (u32 i = 0; r->peer && i < r->peer->npairs; i++)
		peer_detach(r->peer->queue(r->peer, i));
	peer_destroy(r->peer);
	loop_destroy(r->loop);
	r->peer = NULL;
	r->loop = NULL;
	ck_assert_uint_eq(open_fds(), r->fds);
}

/* Cut `buf` into segments; the first has the header. */
static u32 cut(struct iovec *iov, u8 *buf, u32 len)
{
	u32 n = 0, at = 0, step = FIRST_SEGMENT;

	while (at < len) {
		u32 part = len - at < step ? len - at : step;

		iov[n++] = (struct iovec){ buf + at, part };
		at += part;
		step = STEP;
	}
	return n;
}

int peer_rig_send(struct peer_rig *r, u32 queue, const void *frame, u32 len)
{
	static u8 buf[PEER_HDR_LEN + 2 * PEER_FRAME_MAX];
	struct iovec iov[PEER_IOV_MAX];

	memset(buf, 0, PEER_HDR_LEN);
	memcpy(buf + PEER_HDR_LEN, frame, len);
	return peer_send(r->peer->queue(r->peer, queue), iov, cut(iov, buf, PEER_HDR_LEN + len));
}

ssize_t peer_rig_receive(struct peer_rig *r, u32 queue)
{
	struct iovec iov[PEER_IOV_MAX];

	memset(r->frame, 0xee, sizeof(r->frame));
	return peer_receive(r->peer->queue(r->peer, queue), iov,
			    cut(iov, r->frame, sizeof(r->frame)));
}

u32 peer_rig_wait(struct peer_rig *r, u32 queue)
{
	ssize_t n = -EAGAIN;

	for (u32 i = 0; n < 0 && i < 10000; i++) {
		n = peer_rig_receive(r, queue);
		if (n < 0) { /* a turn of the loop, which may have nothing to do */
			loop_settle(r->loop);
			poll(NULL, 0, 1);
		}
	}
	ck_assert_int_ge(n, PEER_HDR_LEN);
	return n - PEER_HDR_LEN;
}

void peer_rig_expect(struct peer_rig *r, u32 queue, const void *frame, u32 len)
{
	ck_assert_int_eq(peer_rig_receive(r, queue), PEER_HDR_LEN + len);
	ck_assert_mem_eq(r->frame + PEER_HDR_LEN, frame, len);
}

void make_frame(u8 *frame, u32 len, u32 seed)
{
	static const u8 head[] = { 0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6, 0x88, 0xb5 };

	for (u32 i = 0; i < len; i++)
		frame[i] = i < sizeof(head) ? head[i] : (i * 31 + seed * 7 + (i >> 8)) & 0xff;
}
