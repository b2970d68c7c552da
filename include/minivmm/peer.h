/* SPDX-License-Identifier: MIT */
/*
 * peer.h - the other end of a network device: where its frames go to and come from.
 *
 *	guest driver ── virtqueues ── virtio-net ── [pcap] ── [rate] ── tap, user, socket, null, echo
 *	                              devices/virtio/net.c    └─────── devices/net/ ───────┘
 *
 * A peer has one or more queue pairs. What moves is a frame: a struct virtio_net_hdr_v1 (VIRTIO 1.2,
 * 5.1.6; PEER_HDR_LEN bytes, little-endian) and then the Ethernet frame without its FCS. A peer that
 * has no use for the header (features == 0) ignores it when it sends and fills it with zeroes when it
 * receives; num_buffers is the device's to set.
 *
 * Nothing here waits. A peer that is full says so, and tells when there is room; one that has frames
 * tells while somebody wants them, and they stay where they are while nobody does.
 *
 * A peer may stand in front of another, and does one thing more: capture (peer_pcap), limit
 * (peer_rate).
 *
 * Threads: peer_send(), peer_receive(), peer_want() and the owner's callbacks belong to the queue
 * pair's loop; attach and detach to any thread while the pair is not used; the rest is said at each.
 */
#ifndef MINIVMM_PEER_H
#define MINIVMM_PEER_H

#include "minivmm/base.h"
#include "minivmm/loop.h"

#include <linux/virtio_net.h>
#include <sys/uio.h>

/* UDP segmentation, which headers before Linux 6.2 do not have. */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO	56
#endif

#define PEER_HDR_LEN   12
#define PEER_PAIRS_MAX 8
/* The longest frame with its header: one that the receiver is to segment, with a VLAN tag and by IPv6,
 * which does not count its own 40 bytes. */
#define PEER_FRAME_MAX (PEER_HDR_LEN + 14 + 4 + 40 + 65535)
/* The most segments of a frame: fewer than IOV_MAX, so that a peer can add some. */
#define PEER_IOV_MAX 1000

/* peer_want(); also what ready() is told. */
enum { PEER_READ = 1, PEER_WRITE = 2 };

struct peer;
struct peer_queue;

struct peer_ops {
	const char *kind; /* "tap" */
	/* See the functions below. NULL where noted. */
	int (*attach)(struct peer_queue *q);  /* q->loop is set */
	void (*detach)(struct peer_queue *q); /* of one that is attached */
	int (*send)(struct peer_queue *q, const struct iovec *iov, u32 niov);
	ssize_t (*receive)(struct peer_queue *q, const struct iovec *iov, u32 niov);
	void (*want)(struct peer_queue *q, u32 what);
	int (*set_offloads)(struct peer *p, u64 features); /* NULL: there are none */
	int (*set_pairs)(struct peer *p, u32 npairs);	   /* NULL: there is one */
	int (*fd)(const struct peer_queue *q);		   /* NULL: there is none */
	void (*destroy)(struct peer *p);		   /* all its queues are detached */
};

/* A kind of peer embeds it, and an array of its queues. */
struct peer_queue {
	struct peer *peer;
	u32 index;

	/* From peer_attach() to peer_detach(). */
	struct loop *loop;
	void (*ready)(struct peer_queue *q, u32 what);
	void *owner;
};

struct peer {
	/* Fixed after creation. */
	const struct peer_ops *ops;
	/*
	 * What it can do with a frame's header, as feature bits of virtio-net: VIRTIO_NET_F_CSUM and
	 * HOST_* for frames sent to it, GUEST_* for those received from it.
	 */
	u64 features;
	u32 npairs; /* 1 to PEER_PAIRS_MAX */
	u16 mtu;    /* of the link, or 0: not known */
	/* The i-th queue pair, i < npairs. */
	struct peer_queue *(*queue)(struct peer *p, u32 i);

	/* The device's, set before the first peer_attach(): the link is up or down. At first it is up; a
	 * peer to which nobody is connected yet says so as soon as the main loop runs. NULL: nobody
	 * wants to know. Main loop's thread. */
	void (*link_changed)(struct peer *p, bool up);
	void *owner;
};

/*
 * Use a queue pair from `loop`. q->ready(q, what) is called there when what peer_want() asked for has
 * come; at first it asks for nothing. Returns 0 or -errno.
 */
static inline int peer_attach(struct peer_queue *q, struct loop *loop,
			      void (*ready)(struct peer_queue *q, u32 what), void *owner)
{
	q->loop = loop;
	q->ready = ready;
	q->owner = owner;
	return q->peer->ops->attach(q);
}

/* On return ready() is not called any more. Loop's thread, or the loop does not run. */
static inline void peer_detach(struct peer_queue *q)
{
	q->peer->ops->detach(q);
}

/*
 * Send one frame: the header is the first PEER_HDR_LEN bytes of `iov`, in iov[0] alone. Returns 0 if
 * it was taken or had to be dropped (the peer refuses frames of this kind), or -EAGAIN: full, ask for
 * PEER_WRITE and send it again.
 */
static inline int peer_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	return q->peer->ops->send(q, iov, niov);
}

/*
 * The next frame with its header, put into `iov`, whose first segment has room for the header.
 * Returns its length with the header; what has no room is cut off. -EAGAIN: there is none now.
 */
static inline ssize_t peer_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	return q->peer->ops->receive(q, iov, niov);
}

/* Be told of PEER_READ (there are frames), PEER_WRITE (there is room), both or, 0, neither, as long as
 * it is so (level-triggered). */
static inline void peer_want(struct peer_queue *q, u32 what)
{
	q->peer->ops->want(q, what);
}

/*
 * What the driver accepted of `features`: frames received from now on use no offload (GUEST_*) that is
 * not in there. Any thread, serialised by the caller. Returns 0 or -errno.
 */
static inline int peer_set_offloads(struct peer *p, u64 features)
{
	return p->ops->set_offloads ? p->ops->set_offloads(p, features) : 0;
}

/* Spread what is received over the first `n` queue pairs; at first that is one. Threads and result as
 * above. */
static inline int peer_set_pairs(struct peer *p, u32 n)
{
	return p->ops->set_pairs ? p->ops->set_pairs(p, n) : 0;
}

/*
 * The pair's file descriptor, a tap's, for whoever moves its frames in our place: the kernel's vhost. It
 * stays the peer's. Nobody asks the pair for frames, or sends any, at the same time. -1: there is none. Any
 * thread.
 */
static inline int peer_fd(const struct peer_queue *q)
{
	return q->peer->ops->fd ? q->peer->ops->fd(q) : -1;
}

/* NULL is allowed. All queues are detached. Destroys the peer behind it, too. */
static inline void peer_destroy(struct peer *p)
{
	if (p)
		p->ops->destroy(p);
}

/*
 * The kinds. Each returns 0 and the peer, or -errno after one line in the log that says what is wrong
 * and how to mend it.
 */

struct peer_tap_options {
	const char
		*name; /* of the interface: taken if it exists, else made, and removed at the end */
	/* npairs open queues of a tap instead, if name is NULL; the peer's from now on if they can be used */
	int fd[PEER_PAIRS_MAX];
	u32 npairs;
	u16 mtu; /* of one that is made, and at least that of one that exists; 0: any */
};
int peer_tap_open(struct peer **out, const struct peer_tap_options *o);

#define PEER_USER_MTU 1500
/* User-mode networking: libslirp. No privileges needed. */
struct peer_user_options {
	/* each "tcp|udp:[HOSTADDR]:HOSTPORT-[GUESTADDR]:GUESTPORT" */
	const char *const *hostfwd;
	u32 nhostfwd;
	bool restricted; /* nothing leaves but what a forward lets in */
	u16 mtu;	 /* 0: PEER_USER_MTU */
};
int peer_user_open(struct peer **out, const struct peer_user_options *o);

/*
 * A UNIX stream socket on which each frame follows its length (32 bits, big-endian), as with QEMU's
 * `-netdev stream` and passt. A server lets one in at a time; a client that is left tries again. The
 * link is up while somebody is there. `loop` is the main loop.
 */
struct peer_socket_options {
	const char *path;
	bool server;
	struct loop *loop;
};
int peer_socket_open(struct peer **out, const struct peer_socket_options *o);

/* Nobody: takes all that is sent, and never has a frame or, as a source, always one of 60 bytes. For
 * benchmarks. */
int peer_null_open(struct peer **out, u32 npairs, bool source);

/* Sends each frame back to the pair that it came from, in order. For benchmarks and tests. */
int peer_echo_open(struct peer **out, u32 npairs);

/*
 * Write what goes through in either direction to `path`, in pcap format. Takes `*p` over on success and
 * stands in front of it. The file is left as it is until peer_pcap_begin(p) is called, of the peer that
 * peer_pcap() gave, once or several times: that empties it. Without that one that was not there before
 * does not stay. Returns 0, or -EIO after a message. Any thread.
 */
int peer_pcap(struct peer **p, const char *path);
int peer_pcap_begin(struct peer *p);

/*
 * Limit what goes through, in each direction: `bytes` (of Ethernet frames) and `frames` a second, 0:
 * no limit; after a pause, up to `burst_bytes` and `burst_frames` at once (0: 100 ms' worth, a whole
 * frame at least). Takes `*p` over on success and stands in front of it.
 */
struct peer_rate_options {
	u64 bytes, burst_bytes, frames, burst_frames;
};
int peer_rate(struct peer **p, const struct peer_rate_options *o);

#endif
