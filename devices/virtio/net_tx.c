// SPDX-License-Identifier: MIT
/*
 * net_tx.c - the network device's transmit queues: frames from the driver to the peer. VIRTIO 1.2,
 * 5.1.6.2.
 *
 * How it works: a chain is a header and a frame, cut into buffers in whatever way (2.6.4).
 *
 *	driver's buffers    | hdr 12 | Ethernet 14 | ...		|   ...   |
 *			       │ copied   │ copied, if it is looked at
 *	to the peer	    | hdr 12 | Ethernet 14 | ... the rest, where it lies	|
 *
 * The header is checked and made plain: a peer never sees one that says more than was negotiated or
 * points outside of its frame. What can't be sent so is dropped and counted; the driver gets its chain
 * back all the same.
 *
 * A peer that is full is not asked again until it has room; the chain goes back into the ring, and the
 * driver is asked not to kick. When the ring is empty it is asked to.
 *
 * Threads: the pair's loop. Where to read next: net_rx.c.
 */
#include "devices/virtio/net_internal.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define HEADS 2 /* segments that we put in front: header, Ethernet header */

/* What we send our own copy of. */
struct heads {
	struct virtio_net_hdr_v1 hdr;
	u8 eth[NET_ETH_LEN];
};

/* Move the first `len` bytes of the segments from `*first` on to `to`. There are so many; *first is
 * then the first segment that is not empty. */
static void take_front(struct iovec *iov, u32 *first, void *to, u32 len)
{
	u8 *p = to;

	while (len) {
		struct iovec *s = &iov[*first];
		u32 n = s->iov_len < len ? s->iov_len : len;

		memcpy(p, s->iov_base, n);
		s->iov_base = (u8 *)s->iov_base + n;
		s->iov_len -= n;
		p += n;
		len -= n;
		if (!s->iov_len)
			++*first;
	}
	/* The guest may change its memory at any time: what we have is what we use. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* Has the driver negotiated what a header's gso_type asks for? */
static bool gso_allowed(struct virtio_dev *v, u8 type)
{
	bool ecn = type & VIRTIO_NET_HDR_GSO_ECN;

	switch (type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return virtio_has_feature(v, VIRTIO_NET_F_HOST_TSO4) &&
		       (!ecn || virtio_has_feature(v, VIRTIO_NET_F_HOST_ECN));
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return virtio_has_feature(v, VIRTIO_NET_F_HOST_TSO6) &&
		       (!ecn || virtio_has_feature(v, VIRTIO_NET_F_HOST_ECN));
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		return virtio_has_feature(v, VIRTIO_NET_F_HOST_USO) && !ecn;
	}
	return false;
}

/*
 * Make the header of a frame of `len` bytes plain. Returns whether it can be sent.
 *
 * 5.1.6.2.2: "The device MUST ignore flag bits that it does not recognize", and "MUST NOT rely on
 * hdr_len to be correct". num_buffers has no meaning here.
 */
static bool check_header(struct virtio_dev *v, struct virtio_net_hdr_v1 *h, u32 len)
{
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (!h->flags)
		h->csum_start = h->csum_offset = 0;
	else if (!virtio_has_feature(v, VIRTIO_NET_F_CSUM) ||
		 (u32)h->csum_start + h->csum_offset + sizeof(u16) > len)
		return false;
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->hdr_len = h->gso_size = 0;
		return true;
	}
	if (h->hdr_len > len)
		h->hdr_len = len;
	/* "If gso_type differs from NONE, the driver MUST also set NEEDS_CSUM" */
	return h->flags && h->gso_size && gso_allowed(v, h->gso_type);
}

/* May the frame, of which `eth` is the beginning, go out? */
static bool check_frame(struct net_pair *p, struct heads *h, u32 len)
{
	struct net *net = p->net;

	return len >= NET_ETH_LEN && len <= PEER_FRAME_MAX - PEER_HDR_LEN &&
	       __atomic_load_n(&net->link, __ATOMIC_RELAXED) && check_header(&net->v, &h->hdr, len);
}

/* The frame's segments, in one piece. */
static void linearise(struct net_tx *tx, struct iovec *iov, u32 *n)
{
	u32 len = 0;

	for (u32 i = 0; i < *n; i++) {
		memcpy(tx->bounce + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	iov[0] = (struct iovec){ .iov_base = tx->bounce, .iov_len = len };
	*n = 1;
}

/* Send the chain's frame, or drop it. Returns 0, -EAGAIN if the peer is full, or -EPROTO: it is no
 * frame at all. */
static int send_chain(struct net_pair *p, const struct vq_chain *c)
{
	struct net_tx *tx = &p->tx;
	u32 len = c->out_len - PEER_HDR_LEN, first = HEADS, end = HEADS + c->nout, n;
	struct iovec *iov = tx->iov;
	struct heads h;

	if (c->out_len < PEER_HDR_LEN)
		return -EPROTO;
	take_front(iov, &first, &h.hdr, PEER_HDR_LEN);
	if (tx->q->discard || !check_frame(p, &h, len))
		goto drop;
	if (p->net->antispoof) {
		take_front(iov, &first, h.eth, NET_ETH_LEN);
		if (memcmp(h.eth + 6, p->net->mac, 6))
			goto drop;
	}
	n = end - first;
	if (n > PEER_IOV_MAX - HEADS)
		linearise(tx, iov + first, &n);
	if (p->net->antispoof) {
		iov[--first] = (struct iovec){ .iov_base = h.eth, .iov_len = NET_ETH_LEN };
		n++;
	}
	iov[--first] = (struct iovec){ .iov_base = &h.hdr, .iov_len = PEER_HDR_LEN };
	if (peer_send(p->peer, iov + first, n + 1) == -EAGAIN)
		return -EAGAIN;
	vq_count(&tx->stats.frames, 1);
	vq_count(&tx->stats.bytes, len);
	return 0;
drop:
	vq_count(&tx->stats.dropped, 1);
	return 0;
}

static void publish(struct net_tx *tx)
{
	vq_publish(&tx->q->vq);
}

u32 net_tx_run(struct net_pair *p, struct net_turn *t)
{
	struct net_tx *tx = &p->tx;
	struct vq_chain c = { .iov = tx->iov + HEADS, .max = tx->niov };
	u32 done = 0;
	int err = 0;

	if (!tx->on)
		return 0;
	tx->stuck = false;
	while (!net_turn_over(t) && vq_get(&tx->q->vq, &c) > 0) {
		err = send_chain(p, &c);
		if (err == -EAGAIN) {
			vq_unget(&tx->q->vq, &c);
			tx->stuck = true;
			break;
		}
		vq_put(&tx->q->vq, &c, 0);
		if (err) {
			virtio_needs_reset(&p->net->v, "a transmitted frame without its header");
			break;
		}
		net_turn_spend(t, c.out_len);
		if (++done % NET_BATCH == 0)
			publish(tx);
	}
	publish(tx);
	return done;
}

void net_tx_rest(struct net_pair *p)
{
	struct net_tx *tx = &p->tx;

	net_want(p, PEER_WRITE, tx->on && tx->stuck);
	/* A kick while the peer is full would tell us nothing new. */
	if (tx->on && !tx->stuck && vq_rearm(&tx->q->vq))
		virtio_queue_kick(&p->net->v, tx->q->index);
}

void net_tx_begin(struct net_pair *p)
{
	p->tx.on = true;
}

void net_tx_quiesce(struct net_pair *p)
{
	p->tx.on = p->tx.stuck = false;
	net_want(p, PEER_WRITE, false);
}

int net_tx_alloc(struct net_tx *tx, struct virtio_queue *q)
{
	tx->q = q;
	tx->niov = q->size_max; /* no chain is longer (2.6) */
	tx->iov = calloc(HEADS + tx->niov, sizeof(*tx->iov));
	tx->bounce = malloc(PEER_FRAME_MAX);
	return tx->iov && tx->bounce ? 0 : -ENOMEM;
}

void net_tx_free(struct net_tx *tx)
{
	free(tx->iov);
	free(tx->bounce);
}
