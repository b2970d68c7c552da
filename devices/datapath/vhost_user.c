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
 * VMM and guest go on. We connect again, or accept again, at most half a second later. The next back end is told all
 * that the last one was. Its rings go on where the last chain was used, and it finds the chains in flight
 * in the record that the first one made (INFLIGHT_SHMFD): we keep the file and hand it on. Without such
 * a record that is possible only for a back end that uses chains in order, or if we keep the record
 * ourselves, for which its requests have to pass through us: vhost_user_relay.c, for disks. Else what was in
 * flight is not known, and the device needs a reset.
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
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MQ VIRTIO_FEATURE(VIRTIO_NET_F_MQ)

/* With the relay neither side can have these. */
#define RELAY_CANT (VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER))

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
	if (vu->ntold++ < VHOST_USER_TOLD_MAX)
		log_warn("%s: the back end %s%s", vu->where, vhost_user_conn_why(err),
			 err == -ECONNRESET ? "; waiting for the next" : ": disconnected");
	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct vhost_user_ring *r = &vu->ring[i];

		vhost_user_notifier_drop(vu, i);
		if (vu->relay)
			vhost_user_relay_disconnect(vu->relay, i);
		else
			r->recover |= r->up;
		lost |= r->recover && r->up && !recoverable(vu, i);
		r->up = r->told = r->due = false;
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
	if (err && err != -EREMOTEIO && err != -ENOSPC)
		vhost_user_lose(vu, err);
	else if (err && vu->ntold++ < VHOST_USER_TOLD_MAX)
		log_warn("%s: %s: the back end %s", vu->where, what, vhost_user_conn_why(err));
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

int vhost_user_set_status(struct vhost_user *vu, u32 status)
{
	if (!vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_STATUS))
		return 0;
	return vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_STATUS, status);
}

static int set_features(struct vhost_user *vu)
{
	u64 status;
	int err = vhost_user_set_status(vu, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);

	if (!err)
		err = vhost_user_tell_u64(&vu->conn, VHOST_USER_SET_FEATURES,
					  vhost_user_accepted(vu));
	if (!err)
		err = vhost_user_set_status(vu, VHOST_USER_FEATURES_OK);
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
	if (!vhost_user_record_sound(&m.inflight, vu->o.nqueues)) {
		vhost_user_close_fds(&m);
		return -EPROTO;
	}
	vu->record = m.fd[0];
	vu->record_at = m.inflight;
	return 0;
}

static int set_record(struct vhost_user *vu)
{
	struct vhost_user_msg m;
	int err = 0;

	if (vu->relay || !vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
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

static int share_memory(struct vhost_user *vu)
{
	int err = vu->relay ? vhost_user_relay_renew(vu->relay) : 0;

	return err ? err
		   : vhost_user_share_memory(&vu->conn, vu->env->mem,
					     vu->relay ? vhost_user_relay_region(vu->relay) : NULL);
}

/* All that comes before the rings. */
static int hand_over(struct vhost_user *vu)
{
	int err = reset_back_end(vu);

	for (u32 i = 0; i < vu->o.nqueues; i++)
		vu->ring[i].told = false;
	if (!err)
		err = vhost_user_share_log(vu);
	if (!err)
		err = set_features(vu);
	if (!err)
		err = vhost_user_tell_mtu(vu);
	if (!err && !vu->has_memory)
		err = share_memory(vu);
	if (!err)
		vu->has_memory = vu->used = true;
	if (!err)
		err = set_record(vu);
	return vhost_user_done(vu, err, "the driver's features");
}

int vhost_user_hand_over_all(struct vhost_user *vu)
{
	int err;

	if (!vu->prepared || vu->given_up)
		return 0;
	err = hand_over(vu);
	if (err)
		return err;
	for (u32 i = 0; i < vu->o.nqueues; i++)
		vu->ring[i].due = vu->ring[i].q;
	return vhost_user_rings_up(vu);
}

/* ---- the data path ---- */

static u64 vu_features(struct datapath *d, u64 offered)
{
	struct vhost_user *vu = vhost_user_of(d);
	u64 can;

	pthread_mutex_lock(&vu->lock);
	can = vu->conn.features | vu->o.ours | VIRTIO_FEATURE(VIRTIO_F_RING_RESET);
	if (vu->relay)
		can = (can | VHOST_USER_RELAY_OURS) & ~RELAY_CANT;
	can &= offered & ~vu->o.withheld;
	/* Asked again for a live switch, it is about fewer features than the driver may accept later. */
	vu->offered |= can & vu->conn.features & ~vu->o.ours;
	if (vu->relay)
		vu->offered &= ~VHOST_USER_RELAY_OURS;
	pthread_mutex_unlock(&vu->lock);
	return can;
}

static int vu_prepare(struct datapath *d, struct virtio_dev *v)
{
	struct vhost_user *vu = vhost_user_of(d);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	drop_record(vu);
	for (u32 i = 0; i < vu->o.nqueues; i++)
		vu->ring[i].left = false;
	vu->features = v->features;
	if (vu->o.net) /* 5.1.2: without MQ, queue 2 is the control queue */
		d->queues = (1ULL << (v->features & MQ ? vu->o.nqueues : 2)) - 1;
	vu->prepared = true;
	vu->given_up = false;
	if (vhost_user_connected(vu))
		err = hand_over(vu);
	if (!err && vhost_user_connected(vu))
		err = vhost_user_introduce_rings(vu, v);
	if (err == -EREMOTEIO || err == -ENOSPC)
		vu->prepared = false;
	else
		err = 0; /* the next back end is told */
	pthread_mutex_unlock(&vu->lock);
	return err;
}

static int check_ring(struct vhost_user *vu, struct virtio_queue *q, const struct vq_cfg *cfg,
		      struct vq_pos pos)
{
	struct vhost_user_addr addr;

	return vu->relay ? vhost_user_relay_start(vu->relay, q, cfg, pos)
			 : vhost_user_ring_addr(vu->env->mem, cfg, q->index, &addr);
}

static int vu_start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
		    struct vq_pos pos)
{
	struct vhost_user *vu = vhost_user_of(d);
	struct vhost_user_ring *r = &vu->ring[q->index];
	int err = check_ring(vu, q, cfg, pos);
	bool again; /* nobody had it since it was stopped without a back end */

	if (err)
		return err;
	pthread_mutex_lock(&vu->lock);
	vu->dev = q->dev;
	again = r->left && r->rings == q->rings && memcmp(&r->pos, &pos, sizeof(pos)) == 0;
	if (r->left && r->rings != q->rings)
		vhost_user_record_forget(vu->record, &vu->record_at, q->index, cfg->packed,
					 vu->o.queue_size);
	r->q = q;
	r->cfg = *cfg;
	r->pos = pos;
	r->recover = again;
	r->left = r->up = false;
	r->due = vhost_user_connected(vu) && !vu->given_up;
	pthread_mutex_unlock(&vu->lock);
	return 0;
}

/* A refusal is the caller's to know; if the back end goes meanwhile, which is how our own process refuses, the
 * next one is told. */
static int vu_run(struct datapath *d)
{
	struct vhost_user *vu = vhost_user_of(d);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	if (vhost_user_connected(vu) && !vu->given_up)
		err = vhost_user_rings_up(vu);
	pthread_mutex_unlock(&vu->lock);
	return err == -EREMOTEIO ? -EIO : 0;
}

/* Our own process stays awake for a while after any message. */
static void vu_rouse(struct datapath *d)
{
	struct vhost_user *vu = vhost_user_of(d);
	int err = 0;

	pthread_mutex_lock(&vu->lock);
	if (vu->o.process && vhost_user_connected(vu))
		err = vhost_user_answers(&vu->conn);
	if (err)
		vhost_user_lose(vu, err);
	pthread_mutex_unlock(&vu->lock);
}

static void vu_stopping(struct datapath *d, struct virtio_dev *v, u64 queues)
{
	struct vhost_user *vu = vhost_user_of(d);

	(void)v;
	for (u32 i = 0; vu->relay && i < vu->o.nqueues; i++) {
		if (queues >> i & 1)
			vhost_user_relay_rest(vu->relay, i);
	}
	pthread_mutex_lock(&vu->lock);
	vhost_user_rings_down(vu, queues);
	pthread_mutex_unlock(&vu->lock);
}

/* Where a ring stands that no back end has any more. */
static struct vq_pos final_pos(struct vhost_user *vu, u32 index)
{
	struct vhost_user_ring *r = &vu->ring[index];

	if (vu->relay) {
		vhost_user_relay_disconnect(vu->relay, index);
		return vhost_user_relay_stop(vu->relay, index);
	}
	if (!r->recover)
		return r->pos;
	if (vhost_user_ring_recover(vu->env->mem, &r->cfg, index, vu->record, &vu->record_at,
				    &r->pos) ||
	    (!vu->o.in_order && vhost_user_record_busy(vu->record, &vu->record_at, index, &r->cfg)))
		return vhost_user_ring_unknown(&r->cfg, r->pos.used);
	return r->pos;
}

static struct vq_pos vu_stop(struct datapath *d, struct virtio_queue *q)
{
	struct vhost_user *vu = vhost_user_of(d);
	struct vhost_user_ring *r = &vu->ring[q->index];
	struct vq_pos pos;

	if (vu->relay)
		vhost_user_relay_rest(vu->relay, q->index);
	pthread_mutex_lock(&vu->lock);
	vhost_user_notifier_drop(vu, q->index);
	vhost_user_rings_down(vu, 1ULL << q->index);
	pos = final_pos(vu, q->index);
	*r = (struct vhost_user_ring){
		.pos = pos, .rests = r->rests, .left = r->recover, .rings = q->rings
	};
	pthread_mutex_unlock(&vu->lock);
	return pos;
}

/* ---- for the device ---- */

u64 vhost_user_features(struct datapath *path)
{
	return vhost_user_of(path)->conn.features;
}

void vhost_user_config(struct datapath *path, u8 *config)
{
	struct vhost_user *vu = vhost_user_of(path);

	pthread_mutex_lock(&vu->lock);
	memcpy(config, vu->config, vu->o.config_len);
	pthread_mutex_unlock(&vu->lock);
}

void vhost_user_config_written(struct datapath *path, u32 off, const u8 *buf, u32 len, u8 *config)
{
	struct vhost_user *vu = vhost_user_of(path);
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

void vhost_user_enable(struct vhost_user *vu, u32 n)
{
	bool told = false;

	for (u32 i = 0; i < vu->o.nqueues; i++) {
		struct vhost_user_ring *r = &vu->ring[i];

		if (r->rests == (i >= n))
			continue;
		r->rests = i >= n;
		r->told = false;
		if (!r->up)
			continue;
		vhost_user_done(vu, vhost_user_enable_ring(vu, i, !r->rests), "enabling a queue");
		told = true;
	}
	if (told && vhost_user_connected(vu)) /* those that rest do so on return */
		vhost_user_done(vu, vhost_user_sync(&vu->conn), "enabling a queue");
}

/* ---- making and freeing ---- */

static void vu_destroy(struct datapath *d)
{
	struct vhost_user *vu = vhost_user_of(d);

	vhost_user_link_end(vu);
	for (u32 i = 0; i < vu->o.nqueues; i++)
		vhost_user_notifier_drop(vu, i);
	vhost_user_relay_destroy(vu->relay);
	drop_record(vu);
	pthread_mutex_destroy(&vu->lock);
	free(vu);
}

static bool vu_served(struct datapath *d)
{
	struct vhost_user *vu = vhost_user_of(d);
	bool served;

	pthread_mutex_lock(&vu->lock);
	served = vhost_user_connected(vu) && !vu->given_up;
	pthread_mutex_unlock(&vu->lock);
	return served;
}

static const struct datapath_ops vu_ops = {
	.name = "vhost-user",
	.features = vu_features,
	.prepare = vu_prepare,
	.start = vu_start,
	.run = vu_run,
	.rouse = vu_rouse,
	.stopping = vu_stopping,
	.stop = vu_stop,
	.served = vu_served,
	.use_pairs = vhost_user_use_pairs,
	.set_link = vhost_user_set_link,
	.announce = vhost_user_announce,
	.log_dirty = vhost_user_log_dirty,
	.destroy = vu_destroy,
};

/* Now that it is known what the back end can do: does it need the relay, and can that serve? */
static int choose_relay(struct vhost_user *vu)
{
	int err;

	if (!vu->o.repeatable || vhost_user_has(&vu->conn, VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD))
		return 0;
	if (vu->o.needs & RELAY_CANT) {
		log_warn("%s: the back end keeps no record of the requests in flight: if it "
			 "goes, the device needs a reset; not so without packed=on",
			 vu->where);
		return 0;
	}
	err = vhost_user_relay_create(&vu->relay, vu->o.nqueues, vu->o.queue_size, vu->fault.fd);
	if (err)
		log_err("--%s: %s: %s", vu->o.option, vu->where, strerror(-err));
	else
		log_info("%s: the back end keeps no record of the requests in flight: they "
			 "go through a ring of our own, so that none is lost with it",
			 vu->where);
	return err;
}

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
	vu->pairs = 1;
	vu->link = true;
	if (o->net)
		vhost_user_enable(vu, 2);
	pthread_mutex_init(&vu->lock, NULL);
	err = vhost_user_link_begin(vu);
	if (!err)
		err = choose_relay(vu);
	if (err) {
		vu_destroy(&vu->path);
		return err;
	}
	*path = &vu->path;
	return 0;
}
