// SPDX-License-Identifier: MIT
/*
 * vhost_net.c - the vhost-net data path: a tap's frames moved by the host's kernel.
 *
 *	driver ── kick ──> q->kickfd ──────────> worker of the kernel's ──> queue of the tap
 *	   ^      (KVM's ioeventfd)	          │ reads and writes the rings, and the frames,
 *	   └───── call <── irq_fd(q->call) <──────┘ in this process's memory
 *		  (KVM's irqfd)
 *
 * How it works: /dev/vhost-net (<linux/vhost.h>) is opened once for each pair of queues, and each has a
 * worker. It is told the guest's memory and the features by prepare(), and the four facts of a ring by
 * start(). What makes a ring run is its backend, the tap's queue, and what stops it is a backend of -1:
 * the kernel then waits for its worker and for what is still being sent without a copy, so that on return
 * nothing is in flight. The control queue stays in-process.
 *
 * A ring has its backend while it has been started, its pair is in use, the link is up and the driver has
 * broken no rule. It goes before a pair's queue of the tap is switched off and comes after that is on: so
 * what the worker has already fetched goes with it, and nothing is received by a pair any more once the
 * driver has been told that it is not in use (5.1.6.5.5).
 *
 * What the kernel does not do:
 *  - the packed format; and IN_ORDER before Linux 6.17;
 *  - filter what is received (5.1.6.5.1 to .3). So CTRL_RX, CTRL_RX_EXTRA and CTRL_VLAN are not offered,
 *    and the driver gets all that the tap has;
 *  - set num_buffers without MRG_RXBUF, before Linux 6.14; drivers do not look at it then.
 * GET_BACKEND_FEATURES is about an IOMMU's translations, which there are none of here.
 *
 * A rule broken by the driver, such as a descriptor that points nowhere, makes the kernel signal the
 * ring's error eventfd, which we watch. It does so, too, when the tap has been deleted and the driver sends.
 *
 * Threads: see datapath.h. `lock` is for those, the control queue's loop, the main loop and the one that
 * watches the errors; a virtio device's config_lock is taken behind it, and nothing else.
 */
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/mem_log.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE	    "/dev/vhost-net"
#define RINGS_MAX   (2 * PEER_PAIRS_MAX)
#define FEATURE(b)  VIRTIO_FEATURE(b)
#define NET_F(name) VIRTIO_FEATURE(VIRTIO_NET_F_##name)

/* Those that need the kernel's part; all others are the tap's or the control queue's. */
#define KERNEL_FEATURES                                                       \
	(FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | \
	 FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_F_IN_ORDER) |      \
	 FEATURE(VIRTIO_F_RING_PACKED) | NET_F(MRG_RXBUF))
#define FILTER_FEATURES (NET_F(CTRL_RX) | NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_VLAN))

struct ring {
	/* Fixed after creation. */
	struct vhost_net *net;
	u32 index;
	struct loop_fd error;

	/* Under the lock. */
	struct virtio_queue *q; /* it has been started, or NULL */
	void *desc, *avail;	/* where it lies */
	struct vring_used *used;
	u64 used_gpa;
	bool on; /* it has its backend */
};

struct vhost_net {
	struct datapath path;
	/* Fixed after creation. */
	const struct mem *mem;
	struct loop *loop;
	struct peer *peer;
	u32 npairs;
	int fd[PEER_PAIRS_MAX];
	u64 kernel; /* the features that it knows */
	struct ring ring[RINGS_MAX];

	pthread_mutex_t lock;
	u64 features; /* that the kernel has been told, without the log's */
	u32 pairs;    /* in use */
	bool link;
	bool broken; /* by the driver, or by the host: no ring runs before the next driver */
	const struct mem_log *log;
};

static struct vhost_net *net_of(struct datapath *d)
{
	return container_of(d, struct vhost_net, path);
}

static int fd_of(const struct ring *r)
{
	return r->net->fd[r->index / 2];
}

/* A ring's place in its vhost device. */
static u32 place_of(const struct ring *r)
{
	return r->index % 2;
}

static int call(int fd, unsigned long request, const void *arg)
{
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static int set_state(const struct ring *r, unsigned long request, u32 value)
{
	return call(fd_of(r), request,
		    &(struct vhost_vring_state){ .index = place_of(r), .num = value });
}

static int set_file(const struct ring *r, unsigned long request, int fd)
{
	return call(fd_of(r), request,
		    &(struct vhost_vring_file){ .index = place_of(r), .fd = fd });
}

/* ---- the backend ---- */

static bool should_run(const struct ring *r)
{
	const struct vhost_net *n = r->net;

	return r->q && !n->broken && n->link && r->index / 2 < n->pairs;
}

/* Give the ring its backend, or take it away. Returns 0 or -errno; taking away does not fail. */
static int ring_update(struct ring *r)
{
	struct peer *peer = r->net->peer;
	bool on = should_run(r);
	int err;

	if (on == r->on)
		return 0;
	err = set_file(r, VHOST_NET_SET_BACKEND,
		       on ? peer_fd(peer->queue(peer, r->index / 2)) : -1);
	if (on && err)
		return err;
	r->on = on;
	/* The driver may have kicked before anybody listened, and an interface that is down does not tell
	 * the worker that it can send. */
	if (on)
		eventfd_write(r->q->kickfd, 1);
	return 0;
}

static void take_all_away(struct vhost_net *n)
{
	n->broken = true;
	for (u32 i = 0; i < 2 * n->npairs; i++)
		ring_update(&n->ring[i]);
}

/* All rings, after a change that no driver can be told of by a return value. */
static void update_all(struct vhost_net *n)
{
	char why[64];

	for (u32 i = 0; i < 2 * n->npairs; i++) {
		int err = ring_update(&n->ring[i]);

		if (!err)
			continue;
		snprintf(why, sizeof(why), "vhost-net: queue %u: %s", i, strerror(-err));
		virtio_host_failed(n->ring[i].q->dev, why);
		take_all_away(n);
		return;
	}
}

static void vhost_net_use_pairs(struct datapath *d, u32 pairs)
{
	struct vhost_net *n = net_of(d);

	pthread_mutex_lock(&n->lock);
	n->pairs = pairs;
	update_all(n);
	pthread_mutex_unlock(&n->lock);
}

static void vhost_net_set_link(struct datapath *d, bool up)
{
	struct vhost_net *n = net_of(d);

	pthread_mutex_lock(&n->lock);
	n->link = up;
	update_all(n);
	pthread_mutex_unlock(&n->lock);
}

/* Has the ring's tap been deleted? Its queue is in an error then. */
static bool tap_is_gone(const struct ring *r)
{
	struct peer *peer = r->net->peer;
	struct pollfd p = { .fd = peer_fd(peer->queue(peer, r->index / 2)) };

	return poll(&p, 1, 0) == 1 && p.revents & POLLERR;
}

/* The kernel has found a rule broken in this ring, or can't send any more. Loop's thread. */
static void error_ready(struct loop_fd *lf, u32 events)
{
	struct ring *r = container_of(lf, struct ring, error);
	struct vhost_net *n = r->net;
	char why[64];
	eventfd_t count;

	(void)events;
	pthread_mutex_lock(&n->lock);
	/* One from before the ring was stopped is no more: ring_end(). */
	if (eventfd_read(lf->fd, &count) == 0 && r->q && !n->broken) {
		if (tap_is_gone(r)) {
			virtio_host_failed(r->q->dev, "vhost-net: the tap was deleted");
		} else {
			snprintf(why, sizeof(why), "queue %u: vhost-net can't serve what is in it",
				 r->index);
			virtio_needs_reset(r->q->dev, why);
		}
		take_all_away(n);
	}
	pthread_mutex_unlock(&n->lock);
}

/* ---- features and memory ---- */

static u64 vhost_net_features(struct datapath *d, u64 offered)
{
	return offered & ~FILTER_FEATURES & (net_of(d)->kernel | ~KERNEL_FEATURES);
}

static int set_features(const struct vhost_net *n, int fd)
{
	u64 features = n->features | (n->log ? FEATURE(VHOST_F_LOG_ALL) : 0);

	return call(fd, VHOST_SET_FEATURES, &features);
}

static int set_mem_table(const struct vhost_net *n, int fd)
{
	u64 room[(sizeof(struct vhost_memory) +
		  MEM_REGIONS_MAX * sizeof(struct vhost_memory_region)) /
		 sizeof(u64)] = { 0 };
	struct vhost_memory *table = (void *)room;

	table->nregions = n->mem->nregions;
	for (u32 i = 0; i < n->mem->nregions; i++) {
		const struct mem_region *r = &n->mem->region[i];

		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};
	}
	return call(fd, VHOST_SET_MEM_TABLE, table);
}

static int vhost_net_prepare(struct datapath *d, struct virtio_dev *v)
{
	struct vhost_net *n = net_of(d);
	u64 old = n->features;
	int err = 0;

	pthread_mutex_lock(&n->lock);
	n->features = v->features & KERNEL_FEATURES;
	for (u32 i = 0; i < n->npairs && !err; i++) {
		err = set_mem_table(n, n->fd[i]);
		if (!err)
			err = set_features(n, n->fd[i]);
	}
	if (err) {
		log_err(DEVICE ": memory and features: %s", strerror(-err));
		n->features = old;
	} else {
		/* 5.1.2: without MQ, queue 2 is the control queue. */
		d->queues = (1ULL << (v->features & NET_F(MQ) ? 2 * n->npairs : 2)) - 1;
		n->broken = false;
	}
	pthread_mutex_unlock(&n->lock);
	return err;
}

/* ---- a ring ---- */

/* Find the ring that `cfg`, the guest's word, describes. Returns 0 or as datapath_ops.start(). */
static int find_ring(struct ring *r, const struct vq_cfg *cfg)
{
	struct vq_areas areas;
	int err = vq_find_areas(&areas, r->net->mem, cfg);

	if (err)
		return err;
	r->desc = areas.desc;
	r->avail = areas.driver;
	r->used = areas.device;
	r->used_gpa = cfg->device;
	return 0;
}

static int set_addr(const struct ring *r)
{
	const struct vhost_vring_addr addr = {
		.index = place_of(r),
		.flags = r->net->log ? 1 << VHOST_VRING_F_LOG : 0,
		.desc_user_addr = (uintptr_t)r->desc,
		.avail_user_addr = (uintptr_t)r->avail,
		.used_user_addr = (uintptr_t)r->used,
		.log_guest_addr = r->used_gpa,
	};

	return call(fd_of(r), VHOST_SET_VRING_ADDR, &addr);
}

static int set_up_ring(struct ring *r, u16 size, struct vq_pos pos)
{
	int err = set_state(r, VHOST_SET_VRING_NUM, size);

	/* The kernel takes the other half of the position from the ring. */
	__atomic_store_n(&r->used->idx, pos.used, __ATOMIC_RELEASE);
	if (!err)
		err = set_state(r, VHOST_SET_VRING_BASE, pos.avail);
	if (!err)
		err = set_addr(r);
	if (!err)
		err = set_file(r, VHOST_SET_VRING_ERR, r->error.fd);
	if (!err)
		err = set_file(r, VHOST_SET_VRING_CALL, irq_fd(r->q->call));
	if (!err)
		err = set_file(r, VHOST_SET_VRING_KICK, r->q->kickfd);
	return err ? err : ring_update(r);
}

/* The ring, started or in part, is the kernel's no more. */
static void ring_end(struct ring *r)
{
	eventfd_t count;

	r->q = NULL;
	ring_update(r);
	set_file(r, VHOST_SET_VRING_KICK, -1); /* kicks wait for the next one who listens */
	set_file(r, VHOST_SET_VRING_CALL, -1);
	eventfd_read(r->error.fd, &count);
}

static int vhost_net_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
			   struct vq_pos pos)
{
	struct vhost_net *n = net_of(d);
	struct ring *r = &n->ring[q->index];
	int err;

	pthread_mutex_lock(&n->lock);
	err = pos.avail != pos.used ? -EINVAL : find_ring(r, cfg);
	if (!err) {
		r->q = q;
		err = set_up_ring(r, cfg->size, pos);
		if (err)
			ring_end(r);
		if (err == -EINVAL || err == -EFAULT) /* not the driver's fault */
			err = -EIO;
	}
	pthread_mutex_unlock(&n->lock);
	return err;
}

static struct vq_pos vhost_net_stop(struct datapath *d, struct virtio_queue *q)
{
	struct vhost_net *n = net_of(d);
	struct ring *r = &n->ring[q->index];
	struct vhost_vring_state base = { .index = place_of(r) };
	struct vq_pos pos;

	pthread_mutex_lock(&n->lock);
	ring_end(r);
	call(fd_of(r), VHOST_GET_VRING_BASE, &base);
	/* If the two differ the driver has written where it must not: the next start says so. */
	pos = (struct vq_pos){ base.num, __atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) };
	pthread_mutex_unlock(&n->lock);
	return pos;
}

/* ---- the log ---- */

/* Tell the kernel of n->log, or that there is none. */
static int tell_log(struct vhost_net *n)
{
	u64 base = n->log ? (uintptr_t)n->log->map : 0;
	int err = 0;

	for (u32 i = 0; i < n->npairs && !err; i++) {
		if (n->log)
			err = call(n->fd[i], VHOST_SET_LOG_BASE, &base);
		if (!err)
			err = set_features(n, n->fd[i]);
	}
	for (u32 i = 0; i < 2 * n->npairs && !err; i++) {
		if (n->ring[i].q)
			err = set_addr(&n->ring[i]);
	}
	return err;
}

static int vhost_net_log_dirty(struct datapath *d, const struct mem_log *log)
{
	struct vhost_net *n = net_of(d);
	int err;

	if (log && !mem_log_covers(log, n->mem))
		return -EINVAL;
	pthread_mutex_lock(&n->lock);
	n->log = log;
	err = tell_log(n);
	if (err && log) {
		n->log = NULL;
		tell_log(n);
	}
	pthread_mutex_unlock(&n->lock);
	return err;
}

/* ---- making and freeing ---- */

static void forget_errors(void *arg)
{
	struct vhost_net *n = arg;

	for (u32 i = 0; i < 2 * n->npairs; i++)
		loop_del(n->loop, &n->ring[i].error);
}

static void vhost_net_destroy(struct datapath *d)
{
	struct vhost_net *n = net_of(d);

	loop_call(n->loop, forget_errors, n);
	for (u32 i = 0; i < n->npairs; i++) {
		if (n->fd[i] >= 0)
			close(n->fd[i]);
	}
	for (u32 i = 0; i < 2 * n->npairs; i++) {
		if (n->ring[i].error.fd >= 0)
			close(n->ring[i].error.fd);
	}
	pthread_mutex_destroy(&n->lock);
	free(n);
}

static const struct datapath_ops vhost_net_ops = {
	.name = "vhost-net",
	.features = vhost_net_features,
	.prepare = vhost_net_prepare,
	.start = vhost_net_start,
	.stop = vhost_net_stop,
	.use_pairs = vhost_net_use_pairs,
	.set_link = vhost_net_set_link,
	.log_dirty = vhost_net_log_dirty,
	.destroy = vhost_net_destroy,
};

/* Returns an fd that is ours alone, or -errno after a message. */
static int open_vhost(u64 *features)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC), err = errno;

	if (fd < 0) {
		log_err("datapath=vhost-net: " DEVICE ": %s; %s", strerror(err),
			err == EACCES || err == EPERM
				? "run as root, or let your user read and write it"
				: "modprobe vhost_net, or use datapath=inproc");
		return -err;
	}
	err = call(fd, VHOST_SET_OWNER, NULL);
	if (!err)
		err = call(fd, VHOST_GET_FEATURES, features);
	if (!err && !(*features & FEATURE(VIRTIO_F_VERSION_1)))
		err = -EOPNOTSUPP;
	if (!err)
		return fd;
	if (err == -ENOTTY)
		log_err("datapath=vhost-net: " DEVICE " is something else; modprobe vhost_net");
	else if (err == -EOPNOTSUPP)
		log_err("datapath=vhost-net: this kernel's serves only drivers older than VIRTIO "
			"1.0; use Linux 4.0 or newer, or datapath=inproc");
	else
		log_err("datapath=vhost-net: " DEVICE ": %s", strerror(-err));
	close(fd);
	return err;
}

/* Returns 0, or -errno after a message. */
static int add_pair(struct vhost_net *n, u32 i)
{
	int err;

	n->fd[i] = open_vhost(&n->kernel);
	if (n->fd[i] < 0)
		return n->fd[i];
	for (u32 k = 2 * i; k < 2 * i + 2; k++) {
		struct ring *r = &n->ring[k];

		r->error.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		err = r->error.fd < 0 ? -errno : loop_add(n->loop, &r->error, EPOLLIN);
		if (err) {
			log_err("datapath=vhost-net: %s", strerror(-err));
			return err;
		}
	}
	return 0;
}

int vhost_net_create(struct datapath **d, const struct machine_env *env, struct peer *peer)
{
	struct vhost_net *n = calloc(1, sizeof(*n));
	int err = 0;

	if (!n) {
		log_err("datapath=vhost-net: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	pthread_mutex_init(&n->lock, NULL);
	n->path = (struct datapath){ .ops = &vhost_net_ops, .queues = 3 };
	n->mem = env->mem;
	n->loop = env->loop;
	n->peer = peer;
	n->npairs = peer->npairs;
	n->pairs = 1;
	n->link = true;
	for (u32 i = 0; i < RINGS_MAX; i++)
		n->ring[i] = (struct ring){ .net = n,
					    .index = i,
					    .error = { .fd = -1, .ready = error_ready } };
	for (u32 i = 0; i < n->npairs; i++)
		n->fd[i] = -1;
	for (u32 i = 0; i < n->npairs && !err; i++)
		err = add_pair(n, i);
	if (err) {
		vhost_net_destroy(&n->path);
		return err;
	}
	*d = &n->path;
	return 0;
}
