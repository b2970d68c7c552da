// SPDX-License-Identifier: MIT
/*
 * net_rig.c - see net_rig.h.
 */
#include "tests/unit/net_rig.h"

#include <stdlib.h>
#include <string.h>

void net_rig_init(struct net_rig *n, int mode)
{
	memset(n, 0, sizeof(*n));
	vdrv_init(&n->d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	n->o = (struct virtio_net_options){ .npairs = 1,
					    .speed = VIRTIO_NET_UNKNOWN_SPEED,
					    .duplex = 0xff };
	memcpy(n->o.mac, NET_MAC, 6);
	n->peer_features = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
}

int net_rig_create(struct net_rig *n, struct virtio_dev **v, const struct machine_env *env,
		   const struct virtio_options *o)
{
	n->peer = fake_peer_create(n->peer_features, n->o.npairs, n->peer_mtu);
	ck_assert_ptr_nonnull(n->peer);
	n->destroyed = false;
	fake_peer_watch(n->peer, &n->destroyed);
	n->o.peer = fake_peer_base(n->peer);
	return virtio_net_create(v, env, o, &n->o);
}

void net_rig_plug(struct net_rig *n)
{
	struct virtio_dev *v = NULL;

	ck_assert_int_eq(net_rig_create(n, &v, &n->d.rig->r.env, &n->d.options), 0);
	vdrv_attach(&n->d, v);
}

void net_rig_start(struct net_rig *n, int mode, u64 features)
{
	net_rig_init(n, mode);
	net_rig_plug(n);
	vdrv_start(&n->d, features);
}

void net_rig_free(struct net_rig *n)
{
	vdrv_unplug(&n->d);
	ck_assert(n->destroyed);
	vdrv_free(&n->d);
}

const u8 *net_frame(u32 number, u32 len)
{
	static u8 frames[2][PEER_FRAME_MAX];
	static u32 turn;
	u8 *f = frames[turn++ % 2];

	ck_assert_uint_le(len, PEER_FRAME_MAX);
	for (u32 i = 0; i < len; i++)
		f[i] = number * 7 + i + i / 251;
	memset(f, 0xff, 6);
	memcpy(f + 6, NET_MAC, 6);
	f[12] = 0x08;
	f[13] = 0x00;
	return f;
}

u32 net_cut(struct ring_buf *buf, u64 gpa, u32 len, u32 seed)
{
	u32 n = 0;

	while (len) {
		u32 part;

		seed = seed * 1103515245 + 12345;
		part = n == NET_PIECES - 1 ? len : (seed >> 16) % len + 1;
		if (seed >> 30 == 0 && n < NET_PIECES - 1)
			part = 1;
		buf[n++] = (struct ring_buf){ gpa, part };
		gpa += part;
		len -= part;
	}
	return n;
}

/* ---- receiving ---- */

void net_post_pieces(struct net_rig *n, u32 q, const u32 *len, u32 npieces)
{
	struct ring_driver *r = &n->d.q[q].ring;
	struct net_chain c = { .n = npieces };
	int id;

	ck_assert_uint_le(npieces, NET_PIECES);
	for (u32 i = 0; i < npieces; i++)
		c.buf[i] = (struct ring_buf){ vdrv_alloc(&n->d, len[i]), len[i] };
	/* Many pieces would soon fill the ring. */
	id = ring_add(r, c.buf, 0, npieces,
		      r->cfg.indirect && (npieces > 3 || ring_inflight(r) % 2 == 0));
	ck_assert_int_ge(id, 0);
	if (ring_publish(r))
		vdrv_kick(&n->d, q);
	n->posted[q][id] = c;
}

void net_post(struct net_rig *n, u32 q, u32 len)
{
	net_post_pieces(n, q, &len, 1);
}

/* Append what a used chain holds to n->got, behind `at` bytes. Returns the bytes, or -1. */
static int take_chain(struct net_rig *n, u32 q, u32 at)
{
	u32 written, left;
	int id = ring_get(&n->d.q[q].ring, &written);

	if (id < 0)
		return -1;
	left = written;
	for (u32 i = 0; left; i++) {
		const struct ring_buf *b = &n->posted[q][id].buf[i];
		u32 part = left < b->len ? left : b->len;

		ck_assert_uint_lt(i, n->posted[q][id].n);
		ck_assert_uint_le(at + part, sizeof(n->got));
		memcpy(n->got + at, vdrv_ptr(&n->d, b->gpa, part), part);
		at += part;
		left -= part;
	}
	return written;
}

int net_received(struct net_rig *n, u32 q)
{
	int len = take_chain(n, q, 0);

	if (len < 0)
		return -1;
	ck_assert_int_ge(len, PEER_HDR_LEN);
	memcpy(&n->hdr, n->got, PEER_HDR_LEN);
	ck_assert_uint_ge(n->hdr.num_buffers, 1);
	for (u32 i = 1; i < n->hdr.num_buffers; i++) {
		int more = take_chain(n, q, len);

		ck_assert_int_gt(more, 0); /* all of a frame is published at once */
		len += more;
	}
	memmove(n->got, n->got + PEER_HDR_LEN, len - PEER_HDR_LEN);
	return len - PEER_HDR_LEN;
}

void net_expect(struct net_rig *n, u32 q, u32 number, u32 len)
{
	ck_assert_int_eq(net_received(n, q), len);
	ck_assert_msg(memcmp(n->got, net_frame(number, len), len) == 0, "not frame %u", number);
}

void net_expect_nothing(struct net_rig *n, u32 q)
{
	vdrv_settle(&n->d);
	ck_assert_int_eq(net_received(n, q), -1);
}

/* ---- sending ---- */

void net_send(struct net_rig *n, u32 q, const struct virtio_net_hdr_v1 *hdr, const void *data,
	      u32 len, u32 cut)
{
	static const struct virtio_net_hdr_v1 none;
	u64 gpa = vdrv_alloc(&n->d, PEER_HDR_LEN + len);
	struct ring_buf buf[NET_PIECES] = { { gpa, PEER_HDR_LEN + len } };
	u8 *p = vdrv_ptr(&n->d, gpa, PEER_HDR_LEN + len);

	memcpy(p, hdr ? hdr : &none, PEER_HDR_LEN);
	if (len)
		memcpy(p + PEER_HDR_LEN, data, len);
	vdrv_submit(&n->d, q, buf, cut ? net_cut(buf, gpa, PEER_HDR_LEN + len, cut) : 1, 0);
}

u32 net_sent(struct net_rig *n, u32 q)
{
	u32 count = 0, len;

	while (ring_get(&n->d.q[q].ring, &len) >= 0) {
		ck_assert_uint_eq(len, 0);
		count++;
	}
	return count;
}

void net_expect_sent(struct net_rig *n, u32 pair, const struct virtio_net_hdr_v1 *hdr, u32 number,
		     u32 len)
{
	static const struct virtio_net_hdr_v1 none;
	struct fake_frame *f = fake_peer_take(n->peer, pair);

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(f->len, PEER_HDR_LEN + len);
	ck_assert_mem_eq(f->data, hdr ? hdr : &none, PEER_HDR_LEN);
	ck_assert_msg(memcmp(f->data + PEER_HDR_LEN, net_frame(number, len), len) == 0,
		      "not frame %u", number);
	free(f);
}

void net_expect_nothing_sent(struct net_rig *n, u32 pair)
{
	vdrv_settle(&n->d);
	ck_assert_ptr_null(fake_peer_take(n->peer, pair));
}

/* ---- control ---- */

u8 net_command_on(struct net_rig *n, u32 q, u8 class, u8 command, const void *data, u32 len,
		  u32 piece)
{
	u64 gpa = vdrv_alloc(&n->d, 2 + len), ack = vdrv_alloc(&n->d, 1);
	static struct ring_buf buf[64];
	u8 *p = vdrv_ptr(&n->d, gpa, 2 + len);
	u32 left = 2 + len, nout = 0;

	p[0] = class;
	p[1] = command;
	if (len)
		memcpy(p + 2, data, len);
	*(u8 *)vdrv_ptr(&n->d, ack, 1) = 0xee;
	while (left) {
		u32 part = !piece || left < piece || nout == 62 ? left : piece;

		buf[nout++] = (struct ring_buf){ gpa, part };
		gpa += part;
		left -= part;
	}
	buf[nout] = (struct ring_buf){ ack, 1 };
	ck_assert_uint_eq(vdrv_request(&n->d, q, buf, nout, 1), 1);
	return *(u8 *)vdrv_ptr(&n->d, ack, 1);
}

u8 net_command(struct net_rig *n, u8 class, u8 command, const void *data, u32 len)
{
	return net_command_on(n, NET_CTRL, class, command, data, len, 0);
}

struct virtio_net_stats net_stats(struct net_rig *n, u32 q)
{
	struct virtio_net_stats s;

	virtio_net_stats(n->d.v, q, &s);
	return s;
}
