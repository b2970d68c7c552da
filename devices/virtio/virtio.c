// SPDX-License-Identifier: MIT
/*
 * virtio.c - what all virtio devices have in common: status, features, configuration space, queues.
 *
 * How it works. Virtual I/O Device (VIRTIO) 1.2; the driver brings a device up step by step (3.1.1),
 * and each step is a bit of the status register (2.1):
 *
 *	0 ──> ACKNOWLEDGE ──> DRIVER ──> FEATURES_OK ──> DRIVER_OK	the queues run
 *	^                                     │              │
 *	│                          refused: stays clear      │ a rule broken
 *	└──────────── 0 is written <────── NEEDS_RESET <─────┘
 *
 * Only a reset clears a bit. Before DRIVER_OK a queue is but a few registers; then each enabled one is
 * started by its data path (datapath.h). A reset first brings
 * all queues to rest and then lets the status read 0: nothing touches guest memory from then on.
 *
 * Whatever is wrong with a queue's registers is found when it starts, and is a DEVICE_NEEDS_RESET.
 *
 * Threads: see virtio.h. `lock` is taken before `config_lock`.
 */
#include "minivmm/virtio.h"
#include "devices/virtio/virtio_internal.h"
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define COMPLAINTS_MAX 16 /* a guest must not fill the log */

/* What every driver may use. */
#define COMMON_FEATURES                                                                     \
	(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | \
	 VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER) |      \
	 VIRTIO_FEATURE(VIRTIO_F_RING_RESET))

/* ---- making and freeing ---- */

/* The registers of a queue as after a reset. */
static void queue_clear(struct virtio_queue *q)
{
	q->size = q->size_max;
	q->desc = q->driver = q->device = 0;
	q->enabled = false;
}

static int queue_init(struct virtio_dev *v, u32 index, u16 size_max, u32 iothread)
{
	const struct machine_env *env = v->env;
	struct virtio_queue *q = &v->queue[index];
	u32 group = v->ops->loop_queues ? index / v->ops->loop_queues : index;

	q->dev = v;
	q->index = index;
	q->size_max = size_max;
	q->loop = env->io_loop[(iothread + group) % env->nio_loops];
	q->kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	queue_clear(q);
	return q->kickfd < 0 ? -errno : 0;
}

int virtio_dev_init(struct virtio_dev *v, const struct virtio_ops *ops,
		    const struct machine_env *env, const struct virtio_options *o, u32 nqueues,
		    u16 queue_size, u32 config_len)
{
	u16 size = o->queue_size ? o->queue_size : queue_size;

	assert(nqueues >= 1 && nqueues <= VIRTIO_QUEUES_MAX);
	assert(config_len <= VIRTIO_CONFIG_MAX);
	assert(size && size <= VQ_SIZE_MAX && !(size & (size - 1)));

	*v = (struct virtio_dev){ .ops = ops, .env = env, .config_len = config_len };
	v->pages = o->pages;
	v->offered = COMMON_FEATURES;
	if (o->packed)
		v->offered |= VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	v->queue = calloc(nqueues, sizeof(*v->queue));
	if (!v->queue)
		return -ENOMEM;
	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->config_lock, NULL);
	for (u32 i = 0; i < nqueues; i++) {
		int err = queue_init(v, i, size, o->iothread);

		if (err) {
			virtio_dev_destroy(v);
			return err;
		}
		v->nqueues++;
	}
	return 0;
}

void virtio_dev_destroy(struct virtio_dev *v)
{
	datapath_destroy(v->path);
	for (u32 i = 0; i < v->nqueues; i++)
		close(v->queue[i].kickfd);
	free(v->queue);
	v->queue = NULL;
	v->nqueues = 0;
	pthread_mutex_destroy(&v->config_lock);
	pthread_mutex_destroy(&v->lock);
}

void virtio_destroy(struct virtio_dev *v)
{
	v->ops->destroy(v);
}

void virtio_attach(struct virtio_dev *v, struct irq *config_irq)
{
	v->config_irq = config_irq;
}

void virtio_attach_queue(struct virtio_dev *v, u32 index, struct irq *call)
{
	v->queue[index].call = call;
}

/* ---- status ---- */

u32 virtio_status_read(struct virtio_dev *v)
{
	return __atomic_load_n(&v->status, __ATOMIC_ACQUIRE);
}

/* config_lock is held. */
static void status_set(struct virtio_dev *v, u32 status)
{
	__atomic_store_n(&v->status, status, __ATOMIC_RELEASE);
}

static void status_add(struct virtio_dev *v, u32 bits)
{
	pthread_mutex_lock(&v->config_lock);
	status_set(v, v->status | bits);
	pthread_mutex_unlock(&v->config_lock);
}

/* None before DRIVER_OK (2.1.2), nor after a reset. config_lock is held. */
static bool isr_set(struct virtio_dev *v, u32 bit)
{
	if (!(v->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return false;
	__atomic_fetch_or(&v->isr, bit, __ATOMIC_SEQ_CST);
	return true;
}

bool virtio_isr_set(struct virtio_dev *v, u32 bit)
{
	bool set;

	pthread_mutex_lock(&v->config_lock);
	set = isr_set(v, bit);
	pthread_mutex_unlock(&v->config_lock);
	return set;
}

/* A configuration change notification. config_lock is held. */
static void config_notify(struct virtio_dev *v)
{
	/* 4.1.4.5.1: the bit is set "before sending" the notification, MSI-X or not. */
	if (isr_set(v, VIRTIO_ISR_CONFIG))
		irq_raise(v->config_irq);
}

static void needs_reset(struct virtio_dev *v, const char *reason, const char *why)
{
	bool tell = false;

	pthread_mutex_lock(&v->config_lock);
	if (v->status && !(v->status & VIRTIO_CONFIG_S_NEEDS_RESET)) {
		status_set(v, v->status | VIRTIO_CONFIG_S_NEEDS_RESET);
		config_notify(v);
		tell = v->complaints++ < COMPLAINTS_MAX;
	}
	pthread_mutex_unlock(&v->config_lock);
	if (tell)
		log_warn("%s: %s, the device needs a reset: %s", v->ops->name, reason, why);
}

void virtio_needs_reset(struct virtio_dev *v, const char *why)
{
	needs_reset(v, "the guest's driver broke a rule", why);
}

void virtio_host_failed(struct virtio_dev *v, const char *why)
{
	u32 now = VIRTIO_SWITCHING;

	if (__atomic_compare_exchange_n(&v->switching, &now, VIRTIO_SWITCH_FAILED, false,
					__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
	    now == VIRTIO_SWITCH_FAILED)
		return;
	needs_reset(v, "the host can't go on", why);
}

/*
 * 3.1.1, step 5. "The device MUST NOT offer a feature which requires another feature which was not
 * offered" is settled at creation; a subset that can't work is features_ok()'s to refuse.
 */
static void accept_features(struct virtio_dev *v)
{
	u64 features = v->driver_features;

	if (features & ~v->offered || !(features & VIRTIO_FEATURE(VIRTIO_F_VERSION_1)))
		return; /* 2.2.2, 6.1: we don't speak the legacy interface */
	if (v->ops->features_ok && !v->ops->features_ok(v, features))
		return;
	__atomic_store_n(&v->features, features, __ATOMIC_RELAXED);
	status_add(v, VIRTIO_CONFIG_S_FEATURES_OK);
}

static void driver_ok(struct virtio_dev *v)
{
	u32 status = virtio_status_read(v);

	if (status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	if (!(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_needs_reset(v, "DRIVER_OK without FEATURES_OK");
		return;
	}
	if (virtio_path_prepare(v)) {
		virtio_host_failed(v, "its data path can't be prepared");
		return;
	}
	if (v->ops->driver_ok)
		v->ops->driver_ok(v);
	/* Before the queues start: an interrupt that finds the bit clear is dropped. */
	status_add(v, VIRTIO_CONFIG_S_DRIVER_OK);
	for (u32 i = 0; i < v->nqueues; i++) {
		if (v->queue[i].enabled)
			virtio_queue_begin(&v->queue[i]);
	}
}

/* 2.1: bits are only ever added, and NEEDS_RESET is ours. */
static void status_advance(struct virtio_dev *v, u32 status)
{
	u32 fresh = status & ~virtio_status_read(v);

	status_add(v, fresh & (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			       VIRTIO_CONFIG_S_FAILED));
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK)
		accept_features(v);
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(v);
}

static void device_reset(struct virtio_dev *v)
{
	virtio_stop_all(v);
	for (u32 i = 0; i < v->nqueues; i++)
		queue_clear(&v->queue[i]);
	if (v->ops->reset)
		v->ops->reset(v);
	v->driver_features = 0;
	__atomic_store_n(&v->features, 0, __ATOMIC_RELAXED);

	pthread_mutex_lock(&v->config_lock);
	v->config_changed = true; /* maybe, by ops->reset() */
	status_set(v, 0);
	__atomic_store_n(&v->isr, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&v->config_lock);
}

void virtio_status_write(struct virtio_dev *v, u32 status)
{
	pthread_mutex_lock(&v->lock);
	if (status)
		status_advance(v, status);
	else
		device_reset(v);
	pthread_mutex_unlock(&v->lock);
}

/* ---- features ---- */

u32 virtio_features_read(struct virtio_dev *v, u32 sel)
{
	return sel < 2 ? v->offered >> (32 * sel) : 0;
}

u32 virtio_driver_features_read(struct virtio_dev *v, u32 sel)
{
	u32 value;

	pthread_mutex_lock(&v->lock);
	value = sel < 2 ? v->driver_features >> (32 * sel) : 0;
	pthread_mutex_unlock(&v->lock);
	return value;
}

/* Replace the 32 bits of *reg from bit `shift` on. */
static void put_half(u64 *reg, u32 shift, u32 value)
{
	*reg = (*reg & ~(0xffffffffULL << shift)) | (u64)value << shift;
}

void virtio_driver_features_write(struct virtio_dev *v, u32 sel, u32 value)
{
	pthread_mutex_lock(&v->lock);
	if (sel < 2 && !(virtio_status_read(v) & VIRTIO_CONFIG_S_FEATURES_OK))
		put_half(&v->driver_features, 32 * sel, value);
	pthread_mutex_unlock(&v->lock);
}

/* ---- configuration space ---- */

void virtio_config_read(struct virtio_dev *v, u32 off, void *buf, u32 len)
{
	u8 *to = buf;

	pthread_mutex_lock(&v->config_lock);
	/* 4.1.4.3.1: a read of what has changed since the last one changes the generation. */
	if (v->config_changed)
		v->config_generation++;
	v->config_changed = false;
	for (u32 i = 0; i < len; i++)
		to[i] = off < v->config_len && i < v->config_len - off ? v->config[off + i] : 0;
	pthread_mutex_unlock(&v->config_lock);
}

void virtio_config_write(struct virtio_dev *v, u32 off, const void *buf, u32 len)
{
	const u8 *from = buf;

	if (off >= v->config_len)
		return;
	if (len > v->config_len - off)
		len = v->config_len - off;
	pthread_mutex_lock(&v->lock);
	pthread_mutex_lock(&v->config_lock);
	for (u32 i = 0; i < len; i++) {
		u8 mask = v->config_writable[off + i];

		v->config[off + i] = (v->config[off + i] & ~mask) | (from[i] & mask);
	}
	v->config_changed = true;
	pthread_mutex_unlock(&v->config_lock);
	if (v->ops->config_written)
		v->ops->config_written(v, off, len);
	pthread_mutex_unlock(&v->lock);
}

u32 virtio_config_generation(struct virtio_dev *v)
{
	u32 value;

	pthread_mutex_lock(&v->config_lock);
	value = v->config_generation;
	pthread_mutex_unlock(&v->config_lock);
	return value;
}

void virtio_config_update(struct virtio_dev *v, u32 off, const void *buf, u32 len)
{
	assert(range_inside(off, len, 0, v->config_len));
	pthread_mutex_lock(&v->config_lock);
	if (memcmp(v->config + off, buf, len)) {
		memcpy(v->config + off, buf, len);
		v->config_changed = true;
		config_notify(v);
	}
	pthread_mutex_unlock(&v->config_lock);
}

/* ---- queues ---- */

/* Queue `index` with the device locked, or NULL and not locked. */
static struct virtio_queue *queue_lock(struct virtio_dev *v, u32 index)
{
	if (index >= v->nqueues)
		return NULL;
	pthread_mutex_lock(&v->lock);
	return &v->queue[index];
}

static void queue_unlock(struct virtio_queue *q)
{
	pthread_mutex_unlock(&q->dev->lock);
}

u32 virtio_queue_size_max(struct virtio_dev *v, u32 index)
{
	return index < v->nqueues ? v->queue[index].size_max : 0;
}

u32 virtio_queue_size(struct virtio_dev *v, u32 index)
{
	struct virtio_queue *q = queue_lock(v, index);
	u32 size;

	if (!q)
		return 0;
	size = q->size;
	queue_unlock(q);
	return size;
}

/*
 * 4.1.4.3.1: without packed rings "the device MUST present either a value of 0 or a power of 2". So
 * what can't be becomes 0, which no queue starts with.
 */
void virtio_queue_size_write(struct virtio_dev *v, u32 index, u32 size)
{
	struct virtio_queue *q = queue_lock(v, index);

	if (!q)
		return;
	if (size > q->size_max)
		size = 0;
	if (!virtio_has_feature(v, VIRTIO_F_RING_PACKED) && (size & (size - 1)))
		size = 0;
	if (!q->enabled)
		q->size = size;
	queue_unlock(q);
}

static u64 *area_of(struct virtio_queue *q, enum virtio_area area)
{
	return area == VIRTIO_DESC ? &q->desc : area == VIRTIO_DRIVER ? &q->driver : &q->device;
}

u64 virtio_queue_area(struct virtio_dev *v, u32 index, enum virtio_area area)
{
	struct virtio_queue *q = queue_lock(v, index);
	u64 addr;

	if (!q)
		return 0;
	addr = *area_of(q, area);
	queue_unlock(q);
	return addr;
}

void virtio_queue_area_write(struct virtio_dev *v, u32 index, enum virtio_area area, u32 shift,
			     u32 value)
{
	struct virtio_queue *q = queue_lock(v, index);

	if (!q)
		return;
	if (!q->enabled)
		put_half(area_of(q, area), shift, value);
	queue_unlock(q);
}

bool virtio_queue_enabled(struct virtio_dev *v, u32 index)
{
	struct virtio_queue *q = queue_lock(v, index);
	bool enabled;

	if (!q)
		return false;
	enabled = q->enabled;
	queue_unlock(q);
	return enabled;
}

void virtio_queue_enable(struct virtio_dev *v, u32 index)
{
	struct virtio_queue *q = queue_lock(v, index);

	if (!q)
		return;
	if (!q->enabled) {
		q->enabled = true;
		if (virtio_status_read(v) & VIRTIO_CONFIG_S_DRIVER_OK)
			virtio_queue_begin(q);
	}
	queue_unlock(q);
}

void virtio_queue_reset(struct virtio_dev *v, u32 index)
{
	struct virtio_queue *q = queue_lock(v, index);

	if (!q)
		return;
	virtio_queue_stop(q);
	queue_clear(q);
	queue_unlock(q);
}

void virtio_queue_kick(struct virtio_dev *v, u32 index)
{
	if (index < v->nqueues)
		eventfd_write(v->queue[index].kickfd, 1);
}

int virtio_queue_set_page(struct virtio_dev *v, u32 index, void *page)
{
	return v->set_page ? v->set_page(v->transport, index, page) : -EOPNOTSUPP;
}
