// SPDX-License-Identifier: MIT
/*
 * vhost_user_log.c - the log of written pages at a vhost-user back end. Vhost-user Protocol, "Migration".
 *
 *	SET_LOG_BASE	the log, by its descriptor; answered
 *	SET_FEATURES	with VHOST_F_LOG_ALL
 *	SET_VRING_ADDR	of each ring, with VHOST_VRING_F_LOG
 *
 * How it works: the three go to the back end when the log begins, and to every back end that comes while there
 * is one; the last two once more, without the bits, when it ends. The driver and its device notice nothing.
 *
 * With the relay the back end marks the buffers, and we, who write to the driver's rings, those. The rings that
 * the back end has are no memory of the guest's.
 *
 * A back end that dies may have written to its rings without having marked that yet, so we mark them. What it
 * wrote to buffers whose chains it has not returned, the next one writes again.
 *
 * Threads: see vhost_user.c.
 */
#include "devices/datapath/vhost_user_internal.h"
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/mem_log.h"

#include <errno.h>
#include <linux/vhost_types.h>

#define LOG_ALL	     (1ULL << VHOST_F_LOG_ALL)
#define HAS_PROTOCOL (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

u64 vhost_user_accepted(const struct vhost_user *vu)
{
	u64 features = vu->features & ~(vu->relay ? VHOST_USER_RELAY_OURS : 0);

	return (features & vu->conn.features) | (vu->conn.features & HAS_PROTOCOL) |
	       (vu->log ? LOG_ALL : 0);
}

static bool can_log(const struct vhost_user *vu)
{
	return vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_LOG_SHMFD) &&
	       vu->conn.features & LOG_ALL;
}

bool vhost_user_log_fits(const struct vhost_user *vu)
{
	return !vu->log || can_log(vu);
}

/* Some answer with nothing, some with a number: what counts is that there is an answer. */
static int set_log_base(struct vhost_user *vu)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_SET_LOG_BASE);
	m.hdr.size = sizeof(m.log);
	m.log = (struct vhost_user_log){ .mmap_size = vu->log->size };
	m.fd[0] = vu->log->fd;
	m.nfds = 1;
	return vhost_user_ask_any(&vu->conn, &m);
}

int vhost_user_share_log(struct vhost_user *vu)
{
	if (!vu->log)
		return 0;
	return can_log(vu) ? set_log_base(vu) : -EREMOTEIO;
}

/* Begin or end under a back end that works. */
static int tell_log(struct vhost_user *vu)
{
	int err = vhost_user_share_log(vu);

	if (!err)
		err = vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_FEATURES,
					  vhost_user_accepted(vu));
	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		struct vhost_user_addr addr;

		if (!vu->ring[i].up || vu->relay)
			continue;
		err = vhost_user_ring_addr(vu->env->mem, &vu->ring[i].cfg, i, &addr);
		if (!err)
			err = vhost_user_set_addr(vu, &addr);
	}
	return err ? err : vhost_user_sync(&vu->conn);
}

static void keep_log(struct vhost_user *vu, const struct mem_log *log)
{
	vu->log = log;
	for (u32 i = 0; i < vu->o.nqueues; i++) /* it is part of where a ring lies */
		vu->ring[i].told_place = false;
	if (vu->relay)
		vhost_user_relay_log(vu->relay, log);
}

static int begin(struct vhost_user *vu, const struct mem_log *log)
{
	int err = 0;

	if (!mem_log_covers(log, vu->env->mem))
		return -EINVAL;
	if (vhost_user_connected(vu) && !can_log(vu))
		return -EOPNOTSUPP;
	keep_log(vu, log);
	if (vhost_user_connected(vu) && vu->used)
		err = tell_log(vu);
	if (err == -EREMOTEIO) {
		keep_log(vu, NULL);
		tell_log(vu);
		return -EOPNOTSUPP;
	}
	if (err) /* the next one is told */
		vhost_user_lose(vu, err);
	return 0;
}

static void end(struct vhost_user *vu)
{
	int err = 0;

	keep_log(vu, NULL);
	if (vhost_user_connected(vu) && vu->used)
		err = tell_log(vu);
	if (err)
		vhost_user_lose(vu, err);
}

int vhost_user_log_dirty(struct datapath *d, const struct mem_log *log)
{
	struct vhost_user *vu = container_of(d, struct vhost_user, path);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	if (log)
		err = begin(vu, log);
	else if (vu->log)
		end(vu);
	pthread_mutex_unlock(&vu->lock);
	return err;
}

void vhost_user_log_lost(struct vhost_user *vu)
{
	for (u32 i = 0; vu->log && !vu->relay && i < vu->o.nqueues; i++) {
		const struct vq_cfg *c = &vu->ring[i].cfg;

		if (!vu->ring[i].up)
			continue;
		mem_log_mark(vu->log, c->device, c->packed ? 4 : 6 + 8 * c->size);
		if (c->packed)
			mem_log_mark(vu->log, c->desc, 16 * c->size);
	}
}
