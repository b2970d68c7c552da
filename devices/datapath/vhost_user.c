// SPDX-License-Identifier: MIT
/*
 * vhost_user.c - the data path that is another process: a vhost-user back end. See vhost_user.h.
 *
 *	this process (front end)				back end
 *	features, memory, rings' addresses and positions ──────> by messages (vhost_user_conn.c)
 *	guest memory, kick and call eventfds	         ──────> by descriptors: used from then on
 *	new configuration, if it says so		 <────── on a channel of its own
 *
 * How it works: the back end maps the guest's memory, waits for the driver's kicks itself and calls the
 * driver itself; of a request we see nothing. What we know of a ring is how the driver set it up (`cfg`),
 * where it stood when we handed it over, and, from GET_VRING_BASE, where it stands when we take it back.
 *
 * When the back end goes away, or gives no answer or none that makes sense, the connection is closed, and
 * VMM and guest go on. We connect again, or accept again, twice a second. The next back end is told all
 * that the last one was. Its rings go on where the last chain was used, and it finds the chains in flight
 * in the record that the first one made (INFLIGHT_SHMFD): we keep the file and hand it on. Without such
 * a record that is possible only for a back end that uses chains in order; else what was in flight is not
 * known, and the device needs a reset.
 *
 *	start()  ──> told the back end ──> works ── stop() ──> GET_VRING_BASE: final
 *	   └──> there is none now ──────────^
 *
 * Threads: any, under `lock`, behind which an answer may be waited for. The main loop sees who comes and
 * goes, and what the back end says by itself; the hooks of struct vhost_user_options are called there.
 */
#include "devices/datapath/vhost_user_internal.h"
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/log.h"

#include <assert.h>
#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TOLD_MAX     16 /* a back end must not fill the log */
#define HAS_PROTOCOL (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

static struct vhost_user *vu_of(struct datapath *d)
{
	return container_of(d, struct vhost_user, path);
}

/* ---- losing the back end; the lock is held ---- */

static void drop_record(struct vhost_user *vu)
{
	if (vu->record >= 0)
		close(vu->record);
	vu->record = -1;
}

/* Can the next back end go on with this ring? */
static bool recoverable(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vq_pos pos;

	return (vu->record >= 0 || vu->o.in_order) &&
	       vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record, &vu->record_at,
				       &pos) == 0;
}

/* The back end is of no more use, `err` says why. */
void vhost_user_lose(struct vhost_user *vu, int err)
{
	bool lost = false;

	if (!vhost_user_connected(vu))
		return;
	vhost_user_link_drop(vu);
	vhost_user_log_lost(vu);
	if (vu->ntold++ < TOLD_MAX)
		log_warn("socket=%s: the back end %s%s", vu->o.path, vhost_user_conn_why(err),
			 err == -ECONNRESET ? "; waiting for the next" : ": disconnected");
	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct vhost_user_ring *r = &vu->ring[i];

		r->recover |= r->up;
		lost |= r->up && !recoverable(vu, i);
		r->up = false;
	}
	if (lost) {
		vu->given_up = true;
		virtio_host_failed(vu->dev, "its back end has gone, and with it the requests in "
					    "flight, of which it kept no record");
	}
}

/* The end of something that was tried with the back end: a refusal is told, anything else loses it. */
int vhost_user_done(struct vhost_user *vu, int err, const char *what)
{
	if (err == -EREMOTEIO || err == -ENOSPC)
		log_warn("socket=%s: %s: the back end %s", vu->o.path, what,
			 vhost_user_conn_why(err));
	else if (err)
		vhost_user_lose(vu, err);
	return err;
}

/* ---- handing over; the lock is held, there is a back end ---- */

/* The driver begins anew: so does a back end that was used before, if it knows how to. */
static int reset_back_end(struct vhost_user *vu)
{
	struct vhost_user_msg m;

	if (vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_STATUS, 0);
	if (!vu->used || !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_RESET_DEVICE))
		return 0;
	vhost_user_msg_init(&m, VHOST_USER_RESET_DEVICE);
	return vhost_user_tell(&vu->conn, &m);
}

static int set_status(struct vhost_user *vu, u32 status)
{
	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return 0;
	return vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_STATUS, status);
}

#define STATUS_FEATURES_OK \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static int set_features(struct vhost_user *vu)
{
	u64 status;
	int err = set_status(vu, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);

	if (!err)
		err = vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_FEATURES,
					  vhost_user_accepted(vu));
	if (!err)
		err = set_status(vu, STATUS_FEATURES_OK);
	if (err || !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return err;
	err = vhost_user_ask_u64(&vu->conn, VHOST_USER_GET_STATUS, &status);
	return err ? err : status & VIRTIO_CONFIG_S_FEATURES_OK ? 0 : -EREMOTEIO;
}

/* Let the back end make a record of what is in flight, which we keep. */
static int get_record(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_INFLIGHT_FD);
	m.hdr.size = sizeof(m.inflight);
	m.inflight.nqueues = vu->o.nqueues;
	m.inflight.queue_size = vu->o.queue_size;
	err = vhost_user_ask(&vu->conn, &m, sizeof(m.inflight), 1);
	if (err)
		return err;
	vu->record = m.fd[0];
	vu->record_at = m.inflight;
	return 0;
}

static int set_record(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int err = 0;

	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	if (vu->record < 0)
		err = get_record(vu);
	if (err)
		return err;
	vhost_user_msg_init(&m, VHOST_USER_SET_INFLIGHT_FD);
	m.hdr.size = sizeof(m.inflight);
	m.inflight = vu->record_at;
	m.fd[0] = vu->record;
	m.nfds = 1;
	return vhost_user_tell(&vu->conn, &m);
}

/* All that comes before the rings. */
static int hand_over(struct vhost_user *vu)
{
	int err = reset_back_end(vu);

	if (!err)
		err = vhost_user_share_log(vu);
	if (!err)
		err = set_features(vu);
	if (!err && !vu->has_memory)
		err = vhost_user_share_memory(&vu->conn, vu->env->mem);
	if (!err)
		vu->has_memory = vu->used = true;
	if (!err)
		err = set_record(vu);
	return vhost_user_done(vu, err, "the driver's features");
}

static int enable(struct vhost_user *vu, u32 index, bool on)
{
	if (!(vu->conn.features & HAS_PROTOCOL))
		return 0; /* such a ring always is */
	return vhost_user_tell_vring(&vu->conn, VHOST_USER_SET_VRING_ENABLE, index, on);
}

int vhost_user_set_addr(struct vhost_user *vu, struct vhost_user_addr *addr)
{
	struct vhost_user_msg m;

	vhost_user_msg_init(&m, VHOST_USER_SET_VRING_ADDR);
	m.hdr.size = sizeof(m.addr);
	m.addr = *addr;
	m.addr.flags = vu->log ? 1 << VHOST_VRING_F_LOG : 0;
	return vhost_user_tell(&vu->conn, &m);
}

/* The ring starts with the kick descriptor: it comes last. */
static int tell_ring(struct vhost_user *vu, u32 index, struct vhost_user_addr *addr)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vhost_user_conn *c = &vu->conn;
	int err = vhost_user_tell_vring(c, VHOST_USER_SET_VRING_NUM, index, r->cfg.size);

	if (!err)
		err = vhost_user_tell_vring(c, VHOST_USER_SET_VRING_BASE, index,
					    vhost_user_ring_base(&r->cfg, r->pos));
	if (!err)
		err = vhost_user_set_addr(vu, addr);
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_ERR, index, vu->error.fd);
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_CALL, index, irq_fd(r->q->call));
	if (!err)
		err = vhost_user_tell_fd(c, VHOST_USER_SET_VRING_KICK, index, r->q->kickfd);
	if (!err && !r->rests)
		err = enable(vu, index, true);
	if (!err)
		err = set_status(vu, STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	return err;
}

/* Let the back end have a ring that was started. */
static int ring_up(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vhost_user_addr addr;
	int err = vhost_user_ring_addr(vu->env->mem, &r->cfg, index, &addr);

	if (!err && r->recover)
		err = vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record,
					      &vu->record_at, &r->pos);
	if (err)
		return err;
	r->up = true; /* from now on, if it fails, somebody may have touched the ring */
	err = tell_ring(vu, index, &addr);
	if (err)
		return vhost_user_done(vu, err, "setting up a queue");
	r->recover = false;
	/* What came while nobody had the ring, in either direction. */
	eventfd_write(r->q->kickfd, 1);
	irq_raise(r->q->call);
	return 0;
}

int vhost_user_hand_over_all(struct vhost_user *vu)
{
	int err = 0;

	if (!vu->prepared || vu->given_up)
		return 0;
	err = hand_over(vu);
	for (u32 i = 0; i < vu->o.nqueues && !err; i++) {
		if (vu->ring[i].q)
			err = ring_up(vu, i);
	}
	return err;
}

/* ---- the data path ---- */

static u64 vu_features(struct datapath *d, u64 offered)
{
	struct vhost_user *vu = vu_of(d);
	u64 can = offered & (vu->conn.features | vu->o.ours | VIRTIO_FEATURE(VIRTIO_F_RING_RESET));

	vu->offered = can & vu->conn.features;
	return can;
}

static int vu_prepare(struct datapath *d, u64 features)
{
	struct vhost_user *vu = vu_of(d);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	drop_record(vu);
	vu->features = features;
	vu->prepared = true;
	vu->given_up = false;
	if (vhost_user_connected(vu))
		err = hand_over(vu);
	if (err == -EREMOTEIO || err == -ENOSPC)
		vu->prepared = false;
	else
		err = 0; /* the next back end is told */
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static int vu_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
		    struct vq_pos pos)
{
	struct vhost_user *vu = vu_of(d);
	struct vhost_user_ring *r = &vu->ring[q->index];
	struct vhost_user_addr addr;
	int err = vhost_user_ring_addr(vu->env->mem, cfg, q->index, &addr);

	if (err)
		return err;
	pthread_mutex_lock(&vu->lock);
	vu->dev = q->dev;
	*r = (struct vhost_user_ring){ .q = q, .cfg = *cfg, .pos = pos, .rests = r->rests };
	if (vhost_user_connected(vu) && !vu->given_up)
		err = ring_up(vu, q->index);
	if (err == -EREMOTEIO) {
		*r = (struct vhost_user_ring){ .rests = r->rests };
		err = -EIO;
	} else {
		err = 0;
	}
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static int ring_down(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];
	struct vhost_user_msg m;
	int err;

	vhost_user_msg_init(&m, VHOST_USER_GET_VRING_BASE);
	m.hdr.size = sizeof(m.vring);
	m.vring.index = index;
	err = vhost_user_ask(&vu->conn, &m, sizeof(m.vring), 0);
	if (!err && m.vring.index != index)
		err = -EPROTO;
	if (!err)
		err = vhost_user_ring_pos(vu->env->mem, &r->cfg, m.vring.num, &r->pos);
	return err;
}

static struct vq_pos vu_stop(struct datapath *d, struct virtio_queue *q)
{
	struct vhost_user *vu = vu_of(d);
	struct vhost_user_ring *r = &vu->ring[q->index];
	struct vq_pos pos;

	pthread_mutex_lock(&vu->lock);
	if (r->up) {
		int err = ring_down(vu, q->index);

		if (err)
			vhost_user_lose(vu, err);
	}
	if (r->recover)
		vhost_user_ring_recover(vu->env->mem, &r->cfg, q->index, vu->record, &vu->record_at,
					&r->pos);
	pos = r->pos;
	*r = (struct vhost_user_ring){ .rests = r->rests };
	pthread_mutex_unlock(&vu->lock);
	return pos;
}

/* ---- for the device ---- */

u64 vhost_user_features(struct datapath *path)
{
	return vu_of(path)->conn.features;
}

void vhost_user_config(struct datapath *path, u8 *config)
{
	struct vhost_user *vu = vu_of(path);

	pthread_mutex_lock(&vu->lock);
	memcpy(config, vu->config, vu->o.config_len);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_config_written(struct datapath *path, u32 off, const u8 *buf, u32 len, u8 *config)
{
	struct vhost_user *vu = vu_of(path);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	/* The driver is not told of a refusal, but reads that nothing has changed. */
	if (vhost_user_connected(vu))
		err = vhost_user_set_config(&vu->conn, off, buf, len);
	if (vhost_user_connected(vu) && (!err || err == -EREMOTEIO))
		err = vhost_user_get_config(&vu->conn, vu->config, vu->o.config_len);
	if (err && err != -EREMOTEIO)
		vhost_user_lose(vu, err);
	memcpy(config, vu->config, vu->o.config_len);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_enable_queues(struct datapath *path, u32 n)
{
	struct vhost_user *vu = vu_of(path);

	pthread_mutex_lock(&vu->lock);
	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct vhost_user_ring *r = &vu->ring[i];

		if (r->rests == (i >= n))
			continue;
		r->rests = i >= n;
		if (r->up)
			vhost_user_done(vu, enable(vu, i, !r->rests), "enabling a queue");
	}
	pthread_mutex_unlock(&vu->lock);
}

/* ---- making and freeing ---- */

static void vu_destroy(struct datapath *d)
{
	struct vhost_user *vu = vu_of(d);

	vhost_user_link_end(vu);
	drop_record(vu);
	pthread_mutex_destroy(&vu->lock);
	free(vu);
}

static const struct datapath_ops vu_ops = {
	.name = "vhost-user",
	.features = vu_features,
	.prepare = vu_prepare,
	.start = vu_start,
	.stop = vu_stop,
	.log_dirty = vhost_user_log_dirty,
	.destroy = vu_destroy,
};

int vhost_user_create(struct datapath **path, const struct machine_env *env,
		      const struct vhost_user_options *o)
{
	struct vhost_user *vu = calloc(1, sizeof(*vu));
	int err;

	assert(o->nqueues && o->nqueues <= VIRTIO_QUEUES_MAX);
	assert(o->config_len <= VHOST_USER_CONFIG_MAX);
	if (!vu) {
		log_err("--%s: %s", o->option, strerror(ENOMEM));
		return -ENOMEM;
	}
	vu->path = (struct datapath){ .ops = &vu_ops, .queues = (1ULL << o->nqueues) - 1 };
	vu->env = env;
	vu->o = *o;
	vu->record = -1;
	pthread_mutex_init(&vu->lock, NULL);
	err = vhost_user_link_begin(vu);
	if (err) {
		vu_destroy(&vu->path);
		return err;
	}
	*path = &vu->path;
	return 0;
}
