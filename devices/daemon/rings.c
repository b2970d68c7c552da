// SPDX-License-Identifier: MIT
/*
 * rings.c - the life of a ring of the front end's: what it has to be told before it is served.
 *
 * How it works. Vhost-user Protocol, "Ring states":
 *
 *	stopped ── SET_VRING_KICK ──> started ── SET_VRING_ENABLE 1 ──> started and enabled
 *	  ^                             │  ^────── SET_VRING_ENABLE 0 ──────┘
 *	  └────── GET_VRING_BASE ───────┘
 *
 * A ring is served (`running`) while it is started and enabled, and its size, its addresses and the features
 * are known. Whatever a message changes, rings_update() then starts and stops what that makes necessary; a
 * change under a ring that runs is made between a stop and a start, each of which keeps the position. So
 * the driver notices nothing.
 *
 * A ring that is started and disabled is to be processed "without causing any side effects": a transmit queue's
 * frames are thrown away, so that a driver that has them there when the queue is switched off gets its buffers
 * back. (o.discards says which rings are such.) Any other ring is not served, and what it has waits.
 *
 * Kick and call are the front end's eventfds. Each takes the place, by dup2(), of the one that the device
 * and its event loop know: the number stays, what is behind it changes. Files and sockets are not taken: a
 * socket, say, might be the front end's own end of the connection, which then would never be seen to end.
 * They do not block; but the front end may change that at any time. So only the queues' threads write to them,
 * which loop_call() frees from such a write; the main loop, which nobody could free, never does.
 *
 * Where a ring stands: SET_VRING_BASE says what is available next. What has been used is read from the ring
 * itself (split), or is in the other half (packed). They differ only if a back end before us has died with
 * requests in flight; then we go on from where it has used, and do those again.
 *
 * With a record of what is in flight (inflight.c) those are done again first, in their order. A ring that
 * GET_VRING_BASE stops has nothing in flight, and its record is as new.
 *
 * Threads: the main loop's; a start and a stop do their work on the queue's loop.
 */
#include "devices/daemon/server.h"
#include "devices/datapath/inproc.h"
#include "minivmm/datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- eventfds ---- */

/* Eventfds and their like are files of no type. */
bool ring_is_eventfd(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && !(st.st_mode & S_IFMT);
}

int fd_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

/* Put `fd` behind the number `place`; -1: an eventfd that nobody else has. */
static int replace(int place, int fd)
{
	int own = -1, err = 0;

	if (fd >= 0 && !ring_is_eventfd(fd))
		return -EINVAL;
	if (fd >= 0)
		err = fd_nonblocking(fd);
	else if ((own = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		err = -errno;
	if (err)
		return err;
	err = dup3(fd < 0 ? own : fd, place, O_CLOEXEC) < 0 ? -errno : 0;
	if (own >= 0)
		close(own);
	return err;
}

int ring_set_kick(struct ring *r, int fd)
{
	return replace(r->q->kickfd, fd); /* it does not run: nobody watches */
}

static void raise_call(void *arg)
{
	struct ring *r = arg;

	irq_raise(&r->call);
}

int ring_set_call(struct ring *r, int fd)
{
	int err = replace(irq_fd(&r->call), fd);

	/* A call just before went to the one that was there. One too many is harmless. */
	if (!err && fd >= 0 && r->running)
		loop_call(r->q->loop, raise_call, r);
	return err;
}

static void signal_error(void *arg)
{
	const struct ring *r = arg;

	eventfd_write(r->errfd, 1);
}

void ring_error(struct ring *r)
{
	if (r->errfd >= 0)
		loop_call(r->q->loop, signal_error, r);
}

/* ---- the device ---- */

void device_reset(struct server *s)
{
	virtio_status_write(s->v, 0);
}

int device_begin(struct server *s)
{
	struct virtio_dev *v = s->v;
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	if (virtio_status_read(v) & VIRTIO_CONFIG_S_NEEDS_RESET)
		return 0; /* it waits for the driver; its rings do nothing */
	if (virtio_status_read(v) & VIRTIO_CONFIG_S_DRIVER_OK)
		return 0;
	virtio_status_write(v, status);
	virtio_driver_features_write(v, 0, s->features);
	virtio_driver_features_write(v, 1, s->features >> 32);
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	if (!(virtio_status_read(v) & VIRTIO_CONFIG_S_FEATURES_OK))
		return server_refuse(s, -EINVAL, "the features 0x%llx do not go together",
				     (unsigned long long)s->features);
	virtio_status_write(v, status | VIRTIO_CONFIG_S_DRIVER_OK);
	return 0;
}

/* ---- start and stop ---- */

static bool packed(const struct server *s)
{
	return s->features & VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
}

/* The other half of the position that SET_VRING_BASE gave. */
static int find_used(struct ring *r, const struct vq_cfg *cfg)
{
	u16 *used = &r->pos.used, avail = r->pos.avail;

	if (!r->base_given)
		return 0;
	if (!packed(r->s)) {
		const struct vring_used *u = mem_ptr(r->s->mem, cfg->device, sizeof(*u));

		if (!u || cfg->device % VRING_USED_ALIGN_SIZE)
			return server_refuse(r->s, -EFAULT,
					     "ring %u is misaligned, or not in guest memory",
					     r->q->index);
		*used = __atomic_load_n(&u->idx, __ATOMIC_ACQUIRE);
		if ((u16)(avail - *used) > r->size)
			return server_refuse(r->s, -EINVAL,
					     "the base %u of ring %u, which stands at %u", avail,
					     r->q->index, *used);
	} else if (!*used) { /* DPDK gives one half only */
		*used = avail;
	}
	r->pos.avail = *used;
	r->base_given = false;
	return 0;
}

/* Is it to be emptied, and nothing else? */
static bool ring_discards(const struct ring *r)
{
	return !r->enabled && r->s->o.discards >> r->q->index & 1;
}

static int ring_start(struct ring *r)
{
	struct server *s = r->s;
	struct vq_cfg cfg = {
		.size = r->size,
		.packed = packed(s),
		.indirect = s->features & VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = s->features & VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX),
		.in_order = s->features & VIRTIO_FEATURE(VIRTIO_F_IN_ORDER),
	};
	int err = 0;

	if (!memory_gpa(s, r->addr.desc, &cfg.desc) || !memory_gpa(s, r->addr.avail, &cfg.driver) ||
	    !memory_gpa(s, r->addr.used, &cfg.device))
		return server_refuse(s, -EFAULT, "ring %u is not in guest memory", r->q->index);
	if (s->inflight && !inflight_fits(r)) /* it would lose requests, and nobody would know */
		return server_refuse(s, -EINVAL,
				     "ring %u has %u descriptors, and no place in the record of "
				     "what is in flight",
				     r->q->index, r->size);
	err = find_used(r, &cfg);
	if (!err)
		err = log_of(r, &cfg);
	if (!err)
		err = device_begin(s);
	if (err)
		return err;
	cfg.inflight = inflight_of(r);
	r->q->discard = ring_discards(r);
	err = inproc_path.ops->start(&inproc_path, r->q, &cfg, r->pos);
	if (err)
		return server_refuse(s, err, "ring %u: %s", r->q->index,
				     err == -EINVAL   ? "its size, position or record can't be"
				     : err == -EFAULT ? "it is not in guest memory"
						      : strerror(-err));
	r->running = true;
	return 0;
}

void ring_hold(struct ring *r)
{
	if (!r->running)
		return;
	r->pos = inproc_path.ops->stop(&inproc_path, r->q);
	r->running = false;
}

static bool ring_wanted(const struct ring *r)
{
	return r->started && (r->enabled || ring_discards(r)) && r->placed &&
	       r->s->features_given && r->s->nregions;
}

/* How many rings from the first on are enabled: the device spreads over those. */
static u32 count_enabled(const struct server *s)
{
	u32 n = 0;

	while (n < s->o.nqueues && s->ring[n].enabled)
		n++;
	return n;
}

int rings_update(struct server *s)
{
	int err = 0;

	for (u32 i = 0; i < s->o.nqueues; i++) {
		struct ring *r = &s->ring[i];

		if (!ring_wanted(r) || r->q->discard != ring_discards(r))
			ring_hold(r);
	}
	for (u32 i = 0; i < s->o.nqueues && !err; i++) {
		struct ring *r = &s->ring[i];

		if (ring_wanted(r) && !r->running)
			err = ring_start(r);
	}
	if (!err && s->o.enabled)
		s->o.enabled(s->v, count_enabled(s));
	return err;
}

void rings_hold(struct server *s)
{
	for (u32 i = 0; i < s->o.nqueues; i++)
		ring_hold(&s->ring[i]);
}

/* ---- making, forgetting, freeing ---- */

static void ring_clear(struct ring *r)
{
	if (r->errfd >= 0)
		close(r->errfd);
	r->errfd = -1;
	r->size = r->q->size_max;
	r->placed = r->started = r->enabled = r->base_given = false;
	r->pos = (struct vq_pos){ 0 };
}

void rings_forget(struct server *s)
{
	rings_hold(s);
	for (u32 i = 0; i < s->o.nqueues; i++) {
		ring_clear(&s->ring[i]);
		ring_set_kick(&s->ring[i], -1);
		ring_set_call(&s->ring[i], -1);
	}
}

int rings_create(struct server *s)
{
	s->ring = calloc(s->o.nqueues, sizeof(*s->ring));
	if (!s->ring)
		return -ENOMEM;
	for (u32 i = 0; i < s->o.nqueues; i++) {
		struct ring *r = &s->ring[i];
		int err;

		r->s = s;
		r->q = &s->v->queue[i];
		r->errfd = -1;
		ring_clear(r);
		err = irq_init(&r->call, s->irqchip);
		if (err)
			return err;
		virtio_attach_queue(s->v, i, &r->call);
	}
	return 0;
}

void rings_destroy(struct server *s)
{
	for (u32 i = 0; s->ring && i < s->o.nqueues; i++)
		irq_destroy(&s->ring[i].call);
	free(s->ring);
	s->ring = NULL;
}
