// SPDX-License-Identifier: MIT
/*
 * virtio_path.c - who serves a virtio device's queues, and the live switch from one data path to another.
 *
 *	start	q->pos ──> path ──> works ──> stop ──> q->pos
 *	switch	         old path ──> q->pos ──> new path	the driver notices nothing
 *
 * How the switch works. A data path gives back where a ring stands, and any other can go on from there. While
 * nobody has the ring the driver runs on: what it makes available waits in the ring, and that it kicked in the
 * eventfd.
 *
 *	1. ask		can the next one serve what the driver has negotiated? It is prepared. Up to here nothing
 *			has happened
 *	2. quiesce	all queues stop: nothing is in flight, q->pos is final
 *	3. hand over	the device type tells the next one what it has to know of its state
 *	4. restart	all queues start on the next one. If one can't, those that did stop again and all start on
 *			the old one, which is the same thing the other way round
 *	5. nudge	a kick and a call for each queue: the old one may have taken note of the driver's last kick
 *			and not served it, or have been about to call. One too many is harmless, a lost one is not
 *
 * All queues stop, also those that stay in-process such as the control queue: so no handler of the device
 * type runs while v->path changes.
 *
 * The log of written pages is whoever serves the queue's to keep, so it goes along: the next one has it before a
 * queue starts there.
 *
 * Threads: v->lock is held where virtio.h and virtio_internal.h say so.
 */
#include "devices/datapath/inproc.h"
#include "devices/virtio/virtio_internal.h"
#include "minivmm/datapath.h"
#include "minivmm/log.h"
#include "minivmm/mem.h"
#include "minivmm/mem_log.h"
#include "minivmm/now.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

void virtio_limit_features(struct virtio_dev *v, struct datapath *path)
{
	v->offered = path->ops->features(path, v->offered);
}

void virtio_set_path(struct virtio_dev *v, struct datapath *path)
{
	v->path = path;
	virtio_limit_features(v, path);
}

int virtio_path_prepare(struct virtio_dev *v)
{
	return v->path && v->path->ops->prepare ? v->path->ops->prepare(v->path, v) : 0;
}

/* ---- start and stop ---- */

static struct datapath *path_of(const struct virtio_queue *q)
{
	struct datapath *path = q->dev->path;

	return path && (path->queues >> q->index & 1) ? path : &inproc_path;
}

/* Start an enabled queue at q->pos. As datapath_ops.start(). */
static int start(struct virtio_queue *q)
{
	struct virtio_dev *v = q->dev;
	struct datapath *path = path_of(q);
	struct vq_cfg cfg = {
		.size = q->size,
		.packed = virtio_has_feature(v, VIRTIO_F_RING_PACKED),
		.indirect = virtio_has_feature(v, VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = virtio_has_feature(v, VIRTIO_RING_F_EVENT_IDX),
		.in_order = virtio_has_feature(v, VIRTIO_F_IN_ORDER),
		.desc = q->desc,
		.driver = q->driver,
		.device = q->device,
	};
	int err;

	if (path == &inproc_path && v->log) { /* others have been told of it */
		cfg.log = v->log;
		cfg.logfd = -1;
		cfg.log_ring = true;
		cfg.log_device = q->device;
	}
	err = path->ops->start(path, q, &cfg, q->pos);
	q->running = !err;
	return err;
}

/* Those that have been started are served. */
static int run(struct datapath *path)
{
	return path && path->ops->run ? path->ops->run(path) : 0;
}

/* Likewise, and if it can't, that is the end until the driver resets the device. */
static void queue_start(struct virtio_queue *q)
{
	char why[64];
	int err;

	if (q->dev->paused)
		return;
	err = start(q);
	if (!err)
		err = run(path_of(q));
	if (!err)
		return;
	virtio_queue_stop(q);
	snprintf(why, sizeof(why), "queue %u: %s", q->index,
		 err == -EINVAL	  ? "bad size"
		 : err == -EFAULT ? "bad address"
				  : strerror(-err));
	if (err == -EINVAL || err == -EFAULT)
		virtio_needs_reset(q->dev, why);
	else
		virtio_host_failed(q->dev, why);
}

void virtio_queue_stop(struct virtio_queue *q)
{
	struct datapath *path = path_of(q);

	if (!q->running)
		return;
	q->pos = path->ops->stop(path, q);
	q->running = false;
}

static void stopping(struct datapath *path, struct virtio_dev *v, u64 queues)
{
	if (queues && path->ops->stopping)
		path->ops->stopping(path, v, queues);
}

u64 virtio_stop_all(struct virtio_dev *v)
{
	u64 inproc = 0, other = 0;

	for (u32 i = 0; i < v->nqueues; i++) {
		if (v->queue[i].running)
			*(path_of(&v->queue[i]) == &inproc_path ? &inproc : &other) |= 1ULL << i;
	}
	stopping(&inproc_path, v, inproc);
	stopping(v->path, v, other);
	for (u32 i = 0; i < v->nqueues; i++)
		virtio_queue_stop(&v->queue[i]);
	return inproc | other;
}

void virtio_queue_begin(struct virtio_queue *q)
{
	q->pos = vq_pos_initial(virtio_has_feature(q->dev, VIRTIO_F_RING_PACKED));
	q->rings++;
	queue_start(q);
}

void virtio_pause(struct virtio_dev *v)
{
	pthread_mutex_lock(&v->lock);
	v->paused = true;
	virtio_stop_all(v);
	pthread_mutex_unlock(&v->lock);
}

void virtio_resume(struct virtio_dev *v)
{
	pthread_mutex_lock(&v->lock);
	v->paused = false;
	for (u32 i = 0; i < v->nqueues; i++) {
		struct virtio_queue *q = &v->queue[i];

		if (q->enabled && !q->running &&
		    (virtio_status_read(v) & VIRTIO_CONFIG_S_DRIVER_OK))
			queue_start(q);
	}
	pthread_mutex_unlock(&v->lock);
}

/* ---- the log of written pages ---- */

/* As datapath_ops.log_dirty(); NULL: in-process. */
static int path_log(struct datapath *path, const struct mem_log *log)
{
	if (path && path->ops->log_dirty)
		return path->ops->log_dirty(path, log);
	return path && log ? -EOPNOTSUPP : 0;
}

/* The queues of `queues`, which are in-process, go on with `log`, all or none. */
static int restart_with_log(struct virtio_dev *v, u64 queues, const struct mem_log *log)
{
	const struct mem_log *old = v->log;
	int err = 0;

	for (u32 i = 0; i < v->nqueues; i++) {
		if (queues >> i & 1)
			virtio_queue_stop(&v->queue[i]);
	}
	v->log = log;
	for (u32 i = 0; i < v->nqueues && !err; i++) {
		if (queues >> i & 1)
			err = start(&v->queue[i]);
	}
	if (!err)
		return 0;
	v->log = old;
	for (u32 i = 0; i < v->nqueues; i++) {
		if (!(queues >> i & 1))
			continue;
		virtio_queue_stop(&v->queue[i]);
		queue_start(&v->queue[i]);
	}
	return err;
}

static u64 running_in_process(const struct virtio_dev *v)
{
	u64 queues = 0;

	for (u32 i = 0; i < v->nqueues; i++) {
		if (v->queue[i].running && path_of(&v->queue[i]) == &inproc_path)
			queues |= 1ULL << i;
	}
	return queues;
}

int virtio_log_dirty(struct virtio_dev *v, const struct mem_log *log)
{
	int err = 0;

	pthread_mutex_lock(&v->lock);
	if (log && !mem_log_covers(log, v->env->mem))
		err = -EINVAL;
	if (!err)
		err = path_log(v->path, log);
	if (!err) {
		err = restart_with_log(v, running_in_process(v), log);
		if (err)
			path_log(v->path, v->log);
	}
	pthread_mutex_unlock(&v->lock);
	return err;
}

/* ---- what is done, whoever serves ---- */

const char *virtio_path_name(const struct virtio_dev *v)
{
	return v->path ? v->path->ops->name : "inproc";
}

/* 2.7.8: le16 flags, le16 idx. */
#define USED_LEN 4
#define USED_IDX 2

int virtio_queue_used(struct virtio_dev *v, u32 index, u16 *used)
{
	const struct virtio_queue *q = &v->queue[index];
	const u8 *ring = NULL;
	int err = 0;

	/* Who has the lock may be waiting for this very loop. */
	if (pthread_mutex_trylock(&v->lock))
		return -EAGAIN;
	if (virtio_has_feature(v, VIRTIO_F_RING_PACKED))
		err = -EOPNOTSUPP;
	else if (!q->running || !(ring = mem_ptr(v->env->mem, q->device, USED_LEN)))
		err = -ENOENT;
	else
		*used = __atomic_load_n((const u16 *)(ring + USED_IDX), __ATOMIC_RELAXED);
	pthread_mutex_unlock(&v->lock);
	return err;
}

/* ---- the live switch ---- */

/* What the driver has, or may still accept, and `path` can't serve. */
static u64 missing_in(struct virtio_dev *v, struct datapath *path)
{
	bool settled = virtio_status_read(v) & VIRTIO_CONFIG_S_FEATURES_OK;
	u64 features = settled ? v->features : v->offered;

	return path ? features & ~path->ops->features(path, features) : 0;
}

static const char *name_of(struct datapath *path)
{
	return path ? path->ops->name : inproc_path.ops->name;
}

static bool is_served(struct datapath *path)
{
	return !path || !path->ops->served || path->ops->served(path);
}

/* Step 1. */
static int ask(struct virtio_dev *v, struct datapath *next, struct virtio_switch *s)
{
	u32 status = virtio_status_read(v);
	bool ready = status & VIRTIO_CONFIG_S_DRIVER_OK;

	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return -ENOTRECOVERABLE;
	s->missing = missing_in(v, next);
	if (s->missing)
		return -EOPNOTSUPP;
	if (v->log && path_log(next, v->log))
		return -EIO;
	if (ready && next && next->ops->prepare && next->ops->prepare(next, v))
		return -EIO;
	if (!is_served(next))
		return -EIO;
	return 0;
}

/* Start these queues on v->path, all or none. */
static int start_all(struct virtio_dev *v, u64 queues)
{
	int err = 0;

	for (u32 i = 0; i < v->nqueues && !err; i++) {
		if (queues >> i & 1)
			err = start(&v->queue[i]);
	}
	if (!err)
		err = run(v->path);
	if (err)
		virtio_stop_all(v);
	return err;
}

/* Is nothing in flight in any of these, nor in hand? Whoever gives a ring back with something in flight has
 * a reason of its own. */
/* Nothing of what the driver made available is in flight. */
static bool all_used(const struct virtio_dev *v, u64 queues)
{
	for (u32 i = 0; i < v->nqueues; i++) {
		const struct virtio_queue *q = &v->queue[i];

		if (queues >> i & 1 && q->pos.avail != q->pos.used)
			return false;
	}
	return true;
}

/* Nor has the device taken anything that is still to go to the driver. */
static bool at_rest(const struct virtio_dev *v, u64 queues)
{
	for (u32 i = 0; i < v->nqueues; i++) {
		if (v->ops->in_hand && v->ops->in_hand(v, &v->queue[i]))
			return false;
	}
	return all_used(v, queues);
}

static void nudge(struct virtio_dev *v, u64 queues)
{
	for (u32 i = 0; i < v->nqueues; i++) {
		if (!(queues >> i & 1))
			continue;
		eventfd_write(v->queue[i].kickfd, 1);
		irq_raise(v->queue[i].call);
	}
}

/* From now on a failure of the host's is but noted. */
static void begin_trial(struct virtio_dev *v)
{
	__atomic_store_n(&v->switching, VIRTIO_SWITCHING, __ATOMIC_SEQ_CST);
}

/* Has there been one? */
static bool end_trial(struct virtio_dev *v)
{
	return __atomic_exchange_n(&v->switching, VIRTIO_NOT_SWITCHING, __ATOMIC_SEQ_CST) ==
	       VIRTIO_SWITCH_FAILED;
}

/* Start the queues on v->path, the next one, which may be another process that dies meanwhile. */
static int try_all(struct virtio_dev *v, u64 queues)
{
	int err;

	begin_trial(v);
	err = start_all(v, queues);
	if (!err && (!is_served(v->path) ||
		     __atomic_load_n(&v->switching, __ATOMIC_SEQ_CST) == VIRTIO_SWITCH_FAILED)) {
		virtio_stop_all(v);
		err = -EIO;
	}
	end_trial(v);
	return err;
}

/* When all of these queues were served: those in-process begin when their loops come to it. */
static u64 all_served_ns(struct virtio_dev *v, u64 queues)
{
	u64 at = now_ns();

	for (u32 i = 0; i < v->nqueues; i++) {
		struct virtio_queue *q = &v->queue[i];

		if (queues >> i & 1 && path_of(q) == &inproc_path && inproc_begun_ns(q) > at)
			at = q->begun_ns;
	}
	return at;
}

/* Steps 3 and 4. */
static int move(struct virtio_dev *v, struct datapath *next, u64 queues, struct virtio_switch *s)
{
	struct datapath *old = v->path;
	u64 began = now_ns(), traced = trace_begin(&v->track);
	int err = at_rest(v, queues) ? 0 : -EBUSY;

	if (!err && v->ops->path_changes)
		err = v->ops->path_changes(v, next);
	if (!err)
		v->path = next;
	s->hand_over_ns = now_ns() - began;
	trace_end(&v->track, TRACE_HAND_OVER, traced, 0, 0);
	traced = trace_begin(&v->track);
	if (!err)
		err = try_all(v, queues);
	trace_end(&v->track, TRACE_RESTART, traced, 0, 0);
	if (!err) {
		s->restart_ns = all_served_ns(v, queues) - began - s->hand_over_ns;
		return 0;
	}
	v->path = old;
	if (err != -EBUSY && !all_used(v, queues)) { /* it has begun, and gone */
		virtio_host_failed(
			v, "the data path that was tried has gone, and where the queues stand is "
			   "not known");
		return -ENOTRECOVERABLE;
	}
	for (u32 i = 0; i < v->nqueues; i++) {
		if (queues >> i & 1)
			queue_start(&v->queue[i]);
	}
	return err;
}

static void rouse(struct datapath *path)
{
	if (path && path->ops->rouse)
		path->ops->rouse(path);
}

static void trace_switch(struct virtio_dev *v, u64 traced, struct datapath *from,
			 struct datapath *to, int err)
{
	trace_end(&v->track, err ? TRACE_SWITCH_FAILED : TRACE_SWITCH, traced,
		  (uintptr_t)name_of(from), (uintptr_t)name_of(to));
}

int virtio_switch_path(struct virtio_dev *v, struct datapath **path, struct virtio_switch *s)
{
	struct datapath *next = *path, *old = NULL;
	u64 queues, began, traced = 0;
	int err;

	*s = (struct virtio_switch){ 0 };
	/* Who has the lock may be waiting for this very loop. */
	if (pthread_mutex_trylock(&v->lock))
		return -EBUSY;
	err = ask(v, next, s);
	if (!err) {
		old = v->path;
		begin_trial(v);
		rouse(old);
		traced = trace_begin(&v->track);
		began = now_ns();
		queues = virtio_stop_all(v);
		s->quiesce_ns = now_ns() - began;
		trace_end(&v->track, TRACE_QUIESCE, traced, 0, 0);
		if (end_trial(v)) { /* where the rings stand is not known */
			virtio_host_failed(v, "its data path has failed");
			err = -ENOTRECOVERABLE;
		}
	}
	if (!err) {
		*path = old;
		err = move(v, next, queues, s);
		nudge(v, queues);
	}
	trace_switch(v, traced, old, next, err);
	if (err)
		*path = next;
	if (v->log) /* who does not serve has nothing to mark */
		path_log(*path, NULL);
	pthread_mutex_unlock(&v->lock);
	return err;
}
