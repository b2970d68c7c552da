// SPDX-License-Identifier: MIT
/*
 * tap.c - a tap: a network interface of the host whose other side is a file descriptor.
 *
 *	guest ── virtio-net ── fd │ tap0 ── the host's network stack: bridge, routes, another guest
 *	                          │ (a queue of the interface is an fd: one a queue pair)
 *
 * How it works: with IFF_VNET_HDR each read and write is one frame behind a struct
 * virtio_net_hdr_v1, which is just what the guest's driver has in its buffers. So a frame goes
 * between them without a look inside, checksums and segmentation included: the guest leaves them to
 * the host's stack, which leaves them to the network card, or to nobody if the frame is for another
 * guest. What may be left to the guest in the other direction is for its driver to say
 * (TUNSETOFFLOAD).
 *
 * A tap that exists is taken and left behind (`ip tuntap add`: it can be used without root by its
 * owner); one that does not is made, brought up, and vanishes with its last fd.
 *
 * An fd whose interface is gone is in an error that epoll tells again and again. One whose queue is off
 * (TUNSETQUEUE) is not: it has nothing to read, and can be written to as ever. Neither is watched.
 *
 * The kernel takes what is sent at once, or drops it: a tap is full only if somebody has set a send
 * buffer (TUNSETSNDBUF) for it. What it has no memory for is lost, as on any wire.
 *
 * Threads: see peer.h; `lock` is for pairs that are switched on and off while their loops run.
 */
#include "devices/net/frame.h"
#include "minivmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define FEATURE(name) (1ULL << VIRTIO_NET_F_##name)

#define FEATURES_ALWAYS                                                                \
	(FEATURE(CSUM) | FEATURE(HOST_TSO4) | FEATURE(HOST_TSO6) | FEATURE(HOST_ECN) | \
	 FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN))
#define FEATURES_GUEST_USO (FEATURE(GUEST_USO4) | FEATURE(GUEST_USO6))
#define FEATURES_USO	   (FEATURES_GUEST_USO | FEATURE(HOST_USO))

struct tap_queue {
	struct peer_queue queue;
	struct loop_fd lf;

	/* Under the tap's lock. */
	struct loop *loop; /* the queue's while it is attached */
	bool on;	   /* TUNSETQUEUE */
	u32 want;
	u32 watched; /* epoll's events; 0: it is not watched */
};

struct tap {
	struct peer peer;
	char name[IFNAMSIZ];
	pthread_mutex_t lock;
	bool gone; /* under it: the interface was deleted */
	struct tap_queue q[PEER_PAIRS_MAX];
};

static struct tap_queue *tap_queue_of(struct peer_queue *q)
{
	return container_of(q, struct tap_queue, queue);
}

static struct tap *tap_of(struct peer *p)
{
	return container_of(p, struct tap, peer);
}

/* Watch the queue for what is wanted. The lock is held. */
static int watch(struct tap_queue *tq)
{
	const struct tap *t = tap_of(tq->queue.peer);
	u32 events = (tq->want & PEER_READ ? EPOLLIN : 0) | (tq->want & PEER_WRITE ? EPOLLOUT : 0);
	int err = 0;

	if (!tq->on || t->gone)
		events = 0;
	if (events == tq->watched || !tq->loop)
		return 0;
	if (!events)
		loop_forget(tq->loop, &tq->lf);
	else if (tq->watched)
		err = loop_mod(tq->loop, &tq->lf, events);
	else
		err = loop_add(tq->loop, &tq->lf, events);
	if (!err)
		tq->watched = events;
	return err;
}

/* Is the interface gone? The lock is held. */
static bool check_gone(struct tap *t, const struct tap_queue *tq)
{
	struct ifreq ifr;

	if (!t->gone && tq->on && ioctl(tq->lf.fd, TUNGETIFF, &ifr) < 0) {
		log_err("tap=%s: the interface was deleted; the guest's network is dead", t->name);
		t->gone = true;
	}
	return t->gone;
}

static void tap_ready(struct loop_fd *lf, u32 events)
{
	struct tap_queue *tq = container_of(lf, struct tap_queue, lf);
	struct tap *t = tap_of(tq->queue.peer);
	u32 what = 0;

	pthread_mutex_lock(&t->lock);
	if (events & EPOLLERR && check_gone(t, tq))
		watch(tq);
	else if (tq->on)
		what = tq->want &
		       ((events & EPOLLIN ? PEER_READ : 0) | (events & EPOLLOUT ? PEER_WRITE : 0));
	pthread_mutex_unlock(&t->lock);
	if (what)
		tq->queue.ready(&tq->queue, what);
}

static int tap_attach(struct peer_queue *q)
{
	struct tap *t = tap_of(q->peer);

	pthread_mutex_lock(&t->lock);
	tap_queue_of(q)->loop = q->loop; /* watched as soon as something is wanted */
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static void tap_want(struct peer_queue *q, u32 what)
{
	struct tap_queue *tq = tap_queue_of(q);
	struct tap *t = tap_of(q->peer);

	pthread_mutex_lock(&t->lock);
	tq->want = what;
	watch(tq);
	pthread_mutex_unlock(&t->lock);
}

static void tap_detach(struct peer_queue *q)
{
	struct tap_queue *tq = tap_queue_of(q);
	struct tap *t = tap_of(q->peer);

	pthread_mutex_lock(&t->lock);
	tq->want = 0;
	watch(tq);
	loop_del(tq->loop, &tq->lf); /* no event in hand, either */
	tq->loop = NULL;
	pthread_mutex_unlock(&t->lock);
}

static int tap_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	/* EIO: it is down. EINVAL: the header makes no sense. ENOMEM, ENOBUFS: no memory, and no event
	 * would tell when there is. All are a frame lost on the wire. */
	return writev(tap_queue_of(q)->lf.fd, iov, niov) < 0 && errno == EAGAIN ? -EAGAIN : 0;
}

static ssize_t tap_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	ssize_t n = readv(tap_queue_of(q)->lf.fd, iov, niov < PEER_IOV_MAX ? niov : PEER_IOV_MAX);

	return n >= PEER_HDR_LEN ? n : -EAGAIN;
}

/* TUNSETOFFLOAD's word for what the driver takes. */
static unsigned int offload_flags(u64 features)
{
	unsigned int flags = TUN_F_CSUM;

	if (!(features & FEATURE(GUEST_CSUM))) /* the others stand on it */
		return 0;
	if (features & FEATURE(GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (features & FEATURE(GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (features & FEATURE(GUEST_ECN) && flags & (TUN_F_TSO4 | TUN_F_TSO6))
		flags |= TUN_F_TSO_ECN;
	if ((features & FEATURES_GUEST_USO) == FEATURES_GUEST_USO) /* both or none, says Linux */
		flags |= TUN_F_USO4 | TUN_F_USO6;
	return flags;
}

static int tap_set_offloads(struct peer *p, u64 features)
{
	unsigned int flags = offload_flags(features & p->features);

	/* The first queue is always on, and the flags are the interface's. */
	return ioctl(tap_of(p)->q[0].lf.fd, TUNSETOFFLOAD, flags) < 0 ? -errno : 0;
}

static int switch_queue(struct tap_queue *tq, bool on)
{
	struct ifreq ifr = { .ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE };

	if (tq->on == on)
		return 0;
	if (ioctl(tq->lf.fd, TUNSETQUEUE, &ifr) < 0)
		return -errno;
	tq->on = on;
	return watch(tq);
}

static int tap_set_pairs(struct peer *p, u32 npairs)
{
	struct tap *t = tap_of(p);
	int err = 0;

	pthread_mutex_lock(&t->lock);
	for (u32 i = 1; i < p->npairs && !err && !t->gone; i++)
		err = switch_queue(&t->q[i], i < npairs);
	pthread_mutex_unlock(&t->lock);
	return err;
}

static int tap_fd(const struct peer_queue *q)
{
	return container_of(q, struct tap_queue, queue)->lf.fd;
}

static void tap_destroy(struct peer *p)
{
	struct tap *t = tap_of(p);

	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		if (t->q[i].lf.fd >= 0)
			close(t->q[i].lf.fd);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static struct peer_queue *tap_queue(struct peer *p, u32 i)
{
	return &tap_of(p)->q[i].queue;
}

static const struct peer_ops tap_ops = {
	.kind = "tap",
	.attach = tap_attach,
	.detach = tap_detach,
	.send = tap_send,
	.receive = tap_receive,
	.want = tap_want,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
	.fd = tap_fd,
	.destroy = tap_destroy,
};

/* ---- opening ---- */

static int check_name(const char *name)
{
	if (!*name || strlen(name) >= IFNAMSIZ) {
		log_err("tap=%s: the name of an interface has 1 to %d bytes", name, IFNAMSIZ - 1);
		return -EINVAL;
	}
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/:%") ||
	    strcspn(name, " \t\n\v\f\r") != strlen(name)) {
		log_err("tap=%s: no name for an interface; use letters, digits, '-', '_' and '.'",
			name);
		return -EINVAL;
	}
	return 0;
}

static int open_tun(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	int err = errno;

	if (fd >= 0)
		return fd;
	log_err("tap=%s: /dev/net/tun: %s%s", name, strerror(err),
		err == EACCES || err == EPERM ? "; run as root, or let your user read and write it"
					      : "; modprobe tun");
	return -err;
}

static int set_iff(int fd, const char *name, bool many)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
					  (many ? IFF_MULTI_QUEUE : 0) };

	strcpy(ifr.ifr_name, name);
	return ioctl(fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

/* Why TUNSETIFF did not work. */
static void refuse(const char *name, int err, u32 npairs)
{
	switch (err) {
	case -EPERM:
		log_err("tap=%s: not permitted; as root: ip tuntap add %s mode tap%s user $USER, "
			"or run "
			"with CAP_NET_ADMIN",
			name, name, npairs > 1 ? " multi_queue" : "");
		break;
	case -EBUSY:
		log_err("tap=%s: in use by another program; end it, or choose another tap", name);
		break;
	case -E2BIG:
		log_err("tap=%s: it has no room for %u more queues; end who uses the others", name,
			npairs);
		break;
	case -EINVAL:
		log_err("tap=%s: an interface of this name exists and is no tap; choose another",
			name);
		break;
	case -EMLINK: /* ours: see open_first() */
		log_err("tap=%s: it has a single queue; give queues=1, or make it with: ip tuntap "
			"add "
			"%s mode tap multi_queue",
			name, name);
		break;
	default:
		log_err("tap=%s: %s", name, strerror(-err));
	}
}

/* The first queue. A tap must be taken as what it was made, with one queue or several. */
static int open_first(struct tap *t, u32 npairs)
{
	int err, fd = open_tun(t->name);

	if (fd < 0)
		return fd;
	err = set_iff(fd, t->name, npairs > 1);
	if (err == -EINVAL) {
		err = set_iff(fd, t->name, npairs == 1);
		if (npairs > 1 && (!err || err == -EBUSY))
			err = -EMLINK;
	}
	if (err) {
		refuse(t->name, err, npairs);
		close(fd);
		return err;
	}
	t->q[0].lf.fd = fd;
	return 0;
}

static int open_rest(struct tap *t, u32 npairs)
{
	for (u32 i = 1; i < npairs; i++) {
		int err, fd = open_tun(t->name);

		if (fd < 0)
			return fd;
		t->q[i].lf.fd = fd;
		err = set_iff(fd, t->name, true);
		if (err) {
			refuse(t->name, err, npairs);
			return err;
		}
	}
	return 0;
}

/* Returns 0, or -errno after a message. */
static int take_fd(struct tap *t, u32 i, int fd)
{
	struct ifreq ifr;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0) {
		log_err("fd=%d: not an open file descriptor; hand it down from the program that "
			"starts "
			"minivmm",
			fd);
		return -EBADF;
	}
	/* Until we know that it is a tap it may be anything, say a descriptor of this process's own. */
	if (ioctl(fd, TUNGETIFF, &ifr) < 0 || !(ifr.ifr_flags & IFF_TAP)) {
		log_err("fd=%d: not a tap; open /dev/net/tun and make it one by TUNSETIFF", fd);
		return -EINVAL;
	}
	/* It must have IFF_NO_PI as well, but the kernel uses that bit for something else here. */
	if (!(ifr.ifr_flags & IFF_VNET_HDR)) {
		log_err("fd=%d: this tap needs the flags IFF_VNET_HDR and IFF_NO_PI at TUNSETIFF",
			fd);
		return -EINVAL;
	}
	if (i && strncmp(t->name, ifr.ifr_name, IFNAMSIZ - 1) != 0) {
		log_err("fd=%d: a queue of another tap, %.*s, not of %s", fd, IFNAMSIZ,
			ifr.ifr_name, t->name);
		return -EINVAL;
	}
	t->q[i].lf.fd = fd;
	t->q[i].on = !(ifr.ifr_flags & IFF_DETACH_QUEUE); /* as who had it before has left it */
	memcpy(t->name, ifr.ifr_name, IFNAMSIZ - 1);
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int take_fds(struct tap *t, const struct peer_tap_options *o)
{
	int err = 0;

	for (u32 i = 0; i < o->npairs && !err; i++)
		err = take_fd(t, i, o->fd[i]);
	return err;
}

/* What every frame looks like from now on, and which offloads there are. */
static int set_up_header(struct tap *t)
{
	int fd = t->q[0].lf.fd, len = PEER_HDR_LEN, yes = 1;

	if (ioctl(fd, TUNSETVNETHDRSZ, &len) < 0 || ioctl(fd, TUNSETVNETLE, &yes) < 0)
		return -errno;
	t->peer.features = FEATURES_ALWAYS | FEATURES_USO;
	if (tap_set_offloads(&t->peer, t->peer.features) < 0)
		t->peer.features = FEATURES_ALWAYS; /* before Linux 6.2 */
	return tap_set_offloads(&t->peer, 0);
}

/* Make the interface that is ours ready for use. `fd` is any socket. */
static int bring_up(struct tap *t, int fd, u16 mtu)
{
	struct ifreq ifr = { .ifr_mtu = mtu };

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	if (mtu && ioctl(fd, SIOCSIFMTU, &ifr) < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) < 0)
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) < 0 ? -errno : 0;
}

/* What the interface is like. Returns 0, or -errno after a message. */
static int look_at_link(struct tap *t, int fd, u16 mtu)
{
	struct ifreq ifr = { 0 };

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	if (ioctl(fd, SIOCGIFFLAGS, &ifr) == 0 && !(ifr.ifr_flags & IFF_UP))
		log_warn("tap=%s: the interface is down; ip link set %s up", t->name, t->name);
	if (ioctl(fd, SIOCGIFMTU, &ifr) == 0)
		t->peer.mtu = ifr.ifr_mtu < 0xffff ? ifr.ifr_mtu : 0xffff;
	if (mtu <= t->peer.mtu)
		return 0;
	log_err("tap=%s: mtu=%u is more than the interface has; ip link set %s mtu %u", t->name,
		mtu, t->name, mtu);
	return -EINVAL;
}

/* Returns 0, or -errno after a message. */
static int set_up(struct tap *t, u16 mtu, bool made)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = fd < 0 ? -errno : set_up_header(t);

	if (!err && made)
		err = bring_up(t, fd, mtu);
	if (!err)
		err = tap_set_pairs(&t->peer, 1);
	if (err)
		log_err("tap=%s: %s", t->name, strerror(-err));
	else
		err = look_at_link(t, fd, mtu);
	if (fd >= 0)
		close(fd);
	return err;
}

static int open_named(struct tap *t, const struct peer_tap_options *o, bool *made)
{
	int err = check_name(o->name);

	if (err)
		return err;
	strcpy(t->name, o->name);
	*made = if_nametoindex(o->name) == 0;
	err = open_first(t, o->npairs);
	return err ? err : open_rest(t, o->npairs);
}

int peer_tap_open(struct peer **out, const struct peer_tap_options *o)
{
	struct tap *t = calloc(1, sizeof(*t));
	bool made = false;
	int err;

	if (!t) {
		log_err("tap: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->peer = (struct peer){ .ops = &tap_ops, .npairs = o->npairs, .queue = tap_queue };
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		t->q[i].queue = (struct peer_queue){ .peer = &t->peer, .index = i };
		t->q[i].lf = (struct loop_fd){ .fd = -1, .ready = tap_ready };
		t->q[i].on = i < o->npairs;
	}
	err = o->name ? open_named(t, o, &made) : take_fds(t, o);
	if (!err)
		err = set_up(t, o->mtu, made);
	if (err) {
		tap_destroy(&t->peer);
		return err;
	}
	*out = &t->peer;
	return 0;
}
