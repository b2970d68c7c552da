// SPDX-License-Identifier: MIT
/*
 * net_rx.c - the network device's receive queues: frames from the peer to the driver. VIRTIO 1.2,
 * 5.1.6.3 and 5.1.6.4.
 *
 * How it works: frames are read straight into the driver's buffers. So chains are taken from the ring
 * before there is a frame: as many as the longest one that can come needs, or, without mergeable
 * buffers, one. What a frame leaves of them is there for the next one.
 *
 *	spare chains	| hdr |      chain 0      ||      chain 1      ||      chain 2      |  frame[]
 *			   │   \____________________ one readv() ____________________________/
 *			   │ our own: checked, completed (num_buffers), written last
 *
 *	a frame of so much  |=====================================|
 *				used			used, in part	     stays
 *
 * A frame that the driver does not want (net_filter.c) or must not see is simply not told of: the next
 * one is written over it. The last segment of each read is memory of our own, so nothing is ever cut
 * off: if a frame reaches into it, because the ring has run low, all of it moves there and is held until
 * there are more chains. Only a frame for which the driver never had room at once is dropped.
 *
 *	spare chains		asks the peer for frames, and the driver not to kick
 *	none, or a frame held	asks the driver to kick, and nothing of the peer
 *
 * Threads: the pair's loop; the filter comes from the control queue's, a copy at a time.
 * Where to read next: net_ctrl.c.
 */
#include "devices/virtio/net_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENTS_MAX (PEER_IOV_MAX - 2) /* for a frame, beside our own two */
#define LOOK_LEN     (NET_ETH_LEN + NET_VLAN_LEN)

/* On the way of every frame, so without calls: docs/performance.md, the device daemon, says what that gives. */
#define ON_THE_WAY inline __attribute__((always_inline))

static u32 min_u32(u32 a, u32 b)
{
	return a < b ? a : b;
}

static bool mergeable(const struct net_pair *p)
{
	return virtio_has_feature(&p->net->v, VIRTIO_NET_F_MRG_RXBUF);
}

static u64 offloads_on(const struct net *net)
{
	return __atomic_load_n(&net->offloads, __ATOMIC_RELAXED);
}

/* ---- spare chains ---- */

/* take_header_place() where they lie in pieces. */
static __attribute__((cold)) void take_header_pieces(struct net_rx *rx)
{
	u32 left = PEER_HDR_LEN;

	rx->nhdr = 0;
	while (left) {
		struct iovec *s = &rx->iov[rx->iov_first];
		u32 n = min_u32(s->iov_len, left);

		rx->hdr_at[rx->nhdr++] = (struct iovec){ s->iov_base, n };
		s->iov_base = (u8 *)s->iov_base + n;
		s->iov_len -= n;
		left -= n;
		if (!s->iov_len) {
			rx->iov_first++;
			rx->niov--;
			rx->chain[rx->first].nin--; /* of no use to the ring any more */
		}
	}
}

/* Take the header's bytes off the first spare chain, which has so many. */
static ON_THE_WAY void take_header_place(struct net_rx *rx)
{
	struct iovec *first = &rx->iov[rx->iov_first];

	if (first->iov_len <= PEER_HDR_LEN) {
		take_header_pieces(rx);
		return;
	}
	rx->hdr_at[0] = (struct iovec){ first->iov_base, PEER_HDR_LEN };
	rx->nhdr = 1;
	first->iov_base = (u8 *)first->iov_base + PEER_HDR_LEN;
	first->iov_len -= PEER_HDR_LEN;
}

/* Make room behind the spare chains for one more. iov[0] is always kept free. */
static ON_THE_WAY void compact(struct net_rx *rx)
{
	if (rx->first + rx->n == 2u * rx->q->size_max) {
		memmove(rx->chain, rx->chain + rx->first, rx->n * sizeof(*rx->chain));
		rx->first = 0;
	}
	if (rx->iov_first > SEGMENTS_MAX + rx->nsegments) {
		memmove(rx->iov + 1, rx->iov + rx->iov_first, rx->niov * sizeof(*rx->iov));
		rx->iov_first = 1;
	}
}

enum gathered {
	ENOUGH,
	RING_EMPTY, /* more may come */
	FULL,	    /* no more can be taken */
};

/* Get chains until there is room for `target` bytes. Without mergeable buffers one is all that a frame
 * can use. */
static ON_THE_WAY enum gathered gather(struct net_pair *p, u32 target)
{
	struct net_rx *rx = &p->rx;
	bool one = !mergeable(p);

	while (rx->room < target) {
		struct vq_chain *c;

		if ((one && rx->n) || rx->niov >= SEGMENTS_MAX || rx->n == rx->q->size_max)
			return FULL;
		compact(rx);
		c = &rx->chain[rx->first + rx->n];
		c->iov = rx->iov + rx->iov_first + rx->niov;
		c->max = rx->nsegments;
		if (vq_get(&rx->q->vq, c) <= 0)
			return rx->q->vq.room ? RING_EMPTY : FULL;
		if (c->in_len < PEER_HDR_LEN) { /* 5.1.6.3.1: "at least the size of" the header */
			vq_unget(&rx->q->vq, c);
			virtio_needs_reset(&p->net->v,
					   "a receive buffer without room for a header");
			return RING_EMPTY;
		}
		if (c->nout)
			memmove(c->iov, c->iov + c->nout, c->nin * sizeof(*c->iov));
		rx->niov += c->nin;
		rx->room += c->in_len;
		if (rx->room > rx->room_seen)
			rx->room_seen = rx->room;
		if (!rx->n++)
			take_header_place(rx);
	}
	return ENOUGH;
}

/* write_header() where its place is in pieces. */
static __attribute__((cold)) void write_header_pieces(struct net_rx *rx, u16 nchains)
{
	const u8 *hdr = (const u8 *)&rx->hdr;

	rx->hdr.num_buffers = nchains;
	for (u32 i = 0; i < rx->nhdr; i++) {
		memcpy(rx->hdr_at[i].iov_base, hdr, rx->hdr_at[i].iov_len);
		hdr += rx->hdr_at[i].iov_len;
	}
}

/*
 * Write the frame's header, which says that it fills `nchains`. Mostly in one piece, and then the number goes
 * straight to its place: to load a word of which a part was just stored waits for that store and, as the
 * processor keeps their order, for all of the frame before it.
 */
static ON_THE_WAY void write_header(struct net_rx *rx, u16 nchains)
{
	u8 *to = rx->hdr_at[0].iov_base;

	if (rx->nhdr > 1) {
		write_header_pieces(rx, nchains);
		return;
	}
	memcpy(to, &rx->hdr, offsetof(struct virtio_net_hdr_v1, num_buffers));
	memcpy(to + offsetof(struct virtio_net_hdr_v1, num_buffers), &nchains, sizeof(nchains));
}

/* The frame in hand fills the first `len` bytes of the spare chains, but for its header: write that, and
 * put the chains. */
static ON_THE_WAY void use_chains(struct net_rx *rx, u32 len)
{
	u32 n = 0, left = len;

	while (left) {
		struct vq_chain *c = &rx->chain[rx->first + n++];
		u32 part = min_u32(c->in_len, left);

		vq_put(&rx->q->vq, c, part);
		rx->iov_first += c->nin;
		rx->niov -= c->nin;
		rx->room -= c->in_len;
		left -= part;
	}
	/* 5.1.6.4.1: the number of them, which is 1 without mergeable buffers. */
	write_header(rx, n);
	rx->first += n;
	rx->n -= n;
	if (rx->n) {
		take_header_place(rx);
	} else {
		rx->first = 0;
		rx->iov_first = 1;
	}
	vq_count(&rx->stats.frames, 1);
	vq_count(&rx->stats.bytes, len - PEER_HDR_LEN);
}

/* Copy `len` bytes between `buf` and the segments. Returns how many there were. */
static u32 copy_segments(const struct iovec *iov, u32 n, u8 *buf, u32 len, bool to_segments)
{
	u32 done = 0;

	for (u32 i = 0; i < n && done < len; i++) {
		u32 part = min_u32(iov[i].iov_len, len - done);

		if (to_segments)
			memcpy(iov[i].iov_base, buf + done, part);
		else
			memcpy(buf + done, iov[i].iov_base, part);
		done += part;
	}
	atomic_signal_fence(memory_order_seq_cst); /* what we have is what we use */
	return done;
}

/* ---- what the driver is to see ---- */

/* Does the driver know these offloads? Takes off what it need not know. */
static bool check_offloads(struct net *net, struct virtio_net_hdr_v1 *h)
{
	u64 on = offloads_on(net), need = 0;

	/* 5.1.6.4.1: without GUEST_CSUM "the device MUST set flags to zero" */
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM |
		    (on & NET_F(GUEST_CSUM) ? VIRTIO_NET_HDR_F_DATA_VALID : 0);
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		need |= NET_F(GUEST_CSUM);
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		need |= NET_F(GUEST_ECN);
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		need |= NET_F(GUEST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		need |= NET_F(GUEST_TSO6);
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4: /* which IP it is, the type does not say */
		if (!(on & (NET_F(GUEST_USO4) | NET_F(GUEST_USO6))))
			return false;
		break;
	default:
		return false;
	}
	return !(need & ~on);
}

/* Does the driver know what the header says? */
static ON_THE_WAY bool check_header(struct net *net, struct virtio_net_hdr_v1 *h)
{
	return !(h->flags | h->gso_type) || check_offloads(net, h);
}

/* 5.1.4.1: "MUST NOT pass received packets that exceed mtu (plus low level ethernet header length) size
 * with gso_type NONE or ECN" */
static bool fits_mtu(struct net *net, const struct virtio_net_hdr_v1 *h, const u8 *frame, u32 len)
{
	u32 max = NET_ETH_LEN + (u32)net->mtu;

	return len <= max || !virtio_has_feature(&net->v, VIRTIO_NET_F_MTU) ||
	       (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) ||
	       (len <= max + NET_VLAN_LEN && net_has_vlan(frame, len));
}

static __attribute__((cold)) void fetch_filter(struct net_pair *p)
{
	struct net *net = p->net;

	pthread_mutex_lock(&net->lock);
	p->rx.filter = net->filter;
	p->rx.filter_seen = net->filter_version;
	pthread_mutex_unlock(&net->lock);
}

/* The filter as it is now. */
static inline const struct net_filter *filter_now(struct net_pair *p)
{
	/* Pairs with the change of the filter: it comes first. */
	if (__atomic_load_n(&p->net->filter_version, __ATOMIC_ACQUIRE) != p->rx.filter_seen)
		fetch_filter(p);
	return &p->rx.filter;
}

/*
 * Does it depend on the first bytes of a frame whether it is delivered? They lie in the driver's memory, in
 * a line that another processor had until now: what has been written there waits for it aside, and a read
 * would make us wait, too.
 */
static bool must_look(const struct net_pair *p, const struct net_filter *f, u32 len)
{
	return !f->promisc || (len > NET_ETH_LEN + (u32)p->net->mtu &&
			       virtio_has_feature(&p->net->v, VIRTIO_NET_F_MTU));
}

/* May the frame in hand, of `len` bytes without its header, be delivered? `look` is its beginning, if
 * must_look(). */
static bool acceptable(struct net_pair *p, const struct net_filter *f, const u8 *look, u32 len)
{
	struct net *net = p->net;
	struct net_rx *rx = &p->rx;

	/* What a peer had before its link went down, such as the end of a connection, still arrives. */
	if (len < NET_ETH_LEN || !__atomic_load_n(&net->cable, __ATOMIC_RELAXED) ||
	    !check_header(net, &rx->hdr) || !fits_mtu(net, &rx->hdr, look, len)) {
		vq_count(&rx->stats.dropped, 1);
		return false;
	}
	if (!f->promisc && !net_filter_accepts(f, look, len)) {
		vq_count(&rx->stats.filtered, 1);
		return false;
	}
	return true;
}

/* ---- frames ---- */

/* The header's and those of the first `n` segments, at most PEER_FRAME_MAX. */
static u32 bytes_in(const struct net_rx *rx, u32 n)
{
	u64 room = PEER_HDR_LEN;

	if (n == rx->niov)
		room = rx->room;
	for (u32 i = 0; n < rx->niov && i < n; i++)
		room += rx->iov[rx->iov_first + i].iov_len;
	return room < PEER_FRAME_MAX ? room : PEER_FRAME_MAX;
}

/* Read a frame into the header, the spare chains and `frame`. Returns its length or -EAGAIN; *room is
 * what of it, with the header, may lie in the chains. */
static ssize_t receive(struct net_pair *p, u32 *room)
{
	struct net_rx *rx = &p->rx;
	u32 n = min_u32(rx->niov, SEGMENTS_MAX);
	struct iovec *iov = rx->iov + rx->iov_first - 1, behind = iov[n + 1];
	ssize_t len;

	*room = bytes_in(rx, n);
	iov[0] = (struct iovec){ &rx->hdr, PEER_HDR_LEN };
	iov[n + 1] = (struct iovec){ rx->frame + *room, PEER_FRAME_MAX - *room };
	len = peer_receive(p->peer, iov, n + (*room < PEER_FRAME_MAX ? 2 : 1));
	iov[n + 1] = behind;
	return len;
}

/* A frame that is too long for the spare chains: hold all of it. */
static void hold(struct net_rx *rx, u32 len, u32 room)
{
	copy_segments(rx->iov + rx->iov_first, rx->niov, rx->frame + PEER_HDR_LEN,
		      room - PEER_HDR_LEN, false);
	rx->held = len;
}

static void publish(struct net_rx *rx)
{
	vq_publish(&rx->q->vq);
}

/* Deliver the frame that is held, or drop it. False: it has to wait for more chains. */
static __attribute__((noinline)) bool place_held(struct net_pair *p)
{
	struct net_rx *rx = &p->rx;
	u8 *data = rx->frame + PEER_HDR_LEN;
	u32 len = rx->held;
	bool known = check_header(p->net, &rx->hdr); /* still? */
	enum gathered g;

	publish(rx); /* a driver that is to give more gets back what it can */
	g = gather(p, len);

	if (g == ENOUGH && known) {
		rx->held = 0;
		copy_segments(rx->iov + rx->iov_first, rx->niov, data, len - PEER_HDR_LEN, true);
		use_chains(rx, len);
		return true;
	}
	/* A driver that had given so much before will again. */
	if (g == RING_EMPTY && known && len <= rx->room_seen)
		return false;
	vq_count(&rx->stats.dropped, 1);
	rx->held = 0;
	return true;
}

/* Move the peer's next frame. False: there is none. */
static bool receive_frame(struct net_pair *p, struct net_turn *t)
{
	struct net_rx *rx = &p->rx;
	const struct net_filter *filter;
	u8 look[LOOK_LEN] = { 0 };
	u32 room, data;
	ssize_t len = receive(p, &room);

	if (len < 0)
		return false;
	filter = filter_now(p);
	net_turn_spend(t, len);
	assert(len <= PEER_FRAME_MAX);
	data = len < PEER_HDR_LEN ? 0 : len - PEER_HDR_LEN;
	if ((u32)len > room) {
		hold(rx, len, room);
		memcpy(look, rx->frame + PEER_HDR_LEN, min_u32(data, LOOK_LEN));
	} else if (must_look(p, filter, data)) {
		copy_segments(rx->iov + rx->iov_first, rx->niov, look, min_u32(data, LOOK_LEN),
			      false);
	}
	if (!acceptable(p, filter, look, data))
		rx->held = 0;
	else if (!rx->held)
		use_chains(rx, len);
	return true;
}

/* As much as one frame may need. What is longer all the same is held. */
static u32 longest(const struct net *net)
{
	u32 mtu = net->mtu > net->peer->mtu ? net->mtu : net->peer->mtu;

	if (offloads_on(net) & NET_GUEST_GSO)
		return PEER_FRAME_MAX;
	return LOOK_LEN + PEER_HDR_LEN + (mtu > 1500 ? mtu : 1500);
}

/* May this queue be given frames? 5.1.6.5.6 */
static bool active(const struct net_pair *p)
{
	return p->rx.on && p->index < __atomic_load_n(&p->net->active, __ATOMIC_ACQUIRE);
}

u32 net_rx_run(struct net_pair *p, struct net_turn *t)
{
	struct net_rx *rx = &p->rx;
	u32 done = 0, target = longest(p->net);

	if (!rx->on)
		return 0;
	pthread_mutex_lock(&p->receiving);
	while (active(p)) {
		/* Also when the turn is over: whether it waits for chains must be known before we rest. */
		if (rx->held && !place_held(p))
			break;
		if (net_turn_over(t))
			break;
		gather(p, target);
		if (!rx->n || !receive_frame(p, t))
			break;
		if (++done % NET_BATCH == 0)
			publish(rx);
	}
	publish(rx);
	pthread_mutex_unlock(&p->receiving);
	return done;
}

void net_rx_rest(struct net_pair *p)
{
	struct net_rx *rx = &p->rx;
	bool dry = !rx->n || rx->held;

	net_want(p, PEER_READ, active(p) && !dry);
	if (active(p) && dry && vq_rearm(&rx->q->vq))
		virtio_queue_kick(&p->net->v, rx->q->index);
}

void net_rx_begin(struct net_pair *p)
{
	struct net_rx *rx = &p->rx;

	if (!rx->on && rx->rings != rx->q->rings)
		rx->room_seen = 0;
	rx->rings = rx->q->rings;
	rx->on = true;
}

void net_rx_quiesce(struct net_pair *p)
{
	struct net_rx *rx = &p->rx;

	rx->on = false;
	net_want(p, PEER_READ, false);
	while (rx->n)
		vq_unget(&rx->q->vq, &rx->chain[rx->first + --rx->n]);
	rx->first = rx->niov = rx->room = 0;
	rx->iov_first = 1;
}

void net_rx_reset(struct net_pair *p)
{
	p->rx.held = 0;
}

int net_rx_alloc(struct net_rx *rx, struct virtio_queue *q)
{
	rx->q = q;
	rx->nsegments = q->size_max; /* no chain is longer (2.6) */
	rx->iov_first = 1;
	rx->chain = calloc(2 * (u32)q->size_max, sizeof(*rx->chain));
	/* One in front; as far as compact() lets it go, and then what gather() adds; one behind. */
	rx->iov = calloc(2 + 2 * (SEGMENTS_MAX + (u64)rx->nsegments), sizeof(*rx->iov));
	rx->frame = malloc(PEER_FRAME_MAX);
	return rx->chain && rx->iov && rx->frame ? 0 : -ENOMEM;
}

void net_rx_free(struct net_rx *rx)
{
	free(rx->chain);
	free(rx->iov);
	free(rx->frame);
}
