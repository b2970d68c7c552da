// SPDX-License-Identifier: MIT
/*
 * transport_mmio.c - virtio over MMIO (VIRTIO 1.2, 4.2): a block of registers and one interrupt line,
 * for machines without PCI, and for the simplest drivers.
 *
 * How it works. Most registers are virtio.c's; what stands here is selection, decoding and interrupts:
 *
 *	000h  who I am		030h..0a7h  queue set-up, QueueNotify at 050h
 *	010h  features		060h, 064h  InterruptStatus, InterruptACK
 *	070h  Status		100h..	    the device type's configuration space
 *
 * QueueNotify has a doorbell for each queue, which KVM tells apart by the value written: a kick is no
 * exit to us. In the other direction the queues signal eventfds, and the main loop turns a signal into
 * a status bit and a level on the line, which the driver's acknowledgement takes back.
 *
 * Threads: vCPUs access registers, the main loop raises interrupts. `lock` guards the selectors, and
 * keeps InterruptStatus and the line together: one that arrives between an acknowledgement and the
 * fall of the line raises it again.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdlib.h>

#define MAGIC	    0x74726976 /* "virt" */
#define VERSION	    2
#define VENDOR	    0x1af4
#define QUEUE_RESET 0x0c0 /* VIRTIO 1.2; not in the kernel's header */

struct mmio_irq {
	struct irq irq;
	struct virtio_mmio *transport;
	u32 bit; /* of InterruptStatus */
};

struct virtio_mmio {
	struct device dev;
	const struct machine_env *env;
	struct virtio_dev *v;
	struct bus_range regs;
	struct mmio_irq irq[1 + VIRTIO_QUEUES_MAX]; /* configuration, queues */

	pthread_mutex_t lock; /* guards all below */
	struct irq_line line;
	u32 features_sel, driver_features_sel, queue_sel;
};

/* ---- interrupts ---- */

/* The line is high while InterruptStatus has a bit set. `lock` is held. */
static void line_update(struct virtio_mmio *t)
{
	irq_line_set(&t->line, __atomic_load_n(&t->v->isr, __ATOMIC_SEQ_CST) != 0);
}

/* Main loop's thread. */
static void mmio_irq_notify(struct irq *irq)
{
	struct mmio_irq *i = container_of(irq, struct mmio_irq, irq);
	struct virtio_mmio *t = i->transport;

	pthread_mutex_lock(&t->lock);
	virtio_isr_set(t->v, i->bit);
	line_update(t);
	pthread_mutex_unlock(&t->lock);
}

static void interrupt_ack(struct virtio_mmio *t, u32 bits)
{
	pthread_mutex_lock(&t->lock);
	__atomic_fetch_and(&t->v->isr, ~bits, __ATOMIC_SEQ_CST);
	line_update(t);
	pthread_mutex_unlock(&t->lock);
}

/* Drop what is pending, and listen. */
static int irq_restart(struct virtio_mmio *t, u32 i)
{
	struct irq *irq = &t->irq[i].irq;

	irq_mask(irq);
	irq_clear(irq);
	return irq_to_notify(irq, t->env->loop, mmio_irq_notify);
}

/* ---- registers ---- */

static void status_write(struct virtio_mmio *t, u32 status)
{
	virtio_status_write(t->v, status);
	if (status)
		return;
	for (u32 i = 0; i < 1 + t->v->nqueues; i++)
		irq_restart(t, i);
	pthread_mutex_lock(&t->lock);
	t->features_sel = t->driver_features_sel = t->queue_sel = 0;
	line_update(t); /* virtio.c has cleared InterruptStatus */
	pthread_mutex_unlock(&t->lock);
}

static void queue_reset(struct virtio_mmio *t, u32 queue)
{
	if (queue >= t->v->nqueues)
		return;
	virtio_queue_reset(t->v, queue);
	irq_restart(t, 1 + queue);
}

/* The reset is complete when the write is; the register reads as 0 throughout. */
static void queue_reset_write(struct virtio_mmio *t, u32 queue, u32 value)
{
	if (value == 1 && virtio_has_feature(t->v, VIRTIO_F_RING_RESET))
		queue_reset(t, queue);
}

/* "To stop using the queue the driver MUST write zero (0x0) to this QueueReady" (4.2.2.2). */
static void queue_ready_write(struct virtio_mmio *t, u32 queue, u32 value)
{
	if (value == 1)
		virtio_queue_enable(t->v, queue);
	else if (value == 0)
		queue_reset(t, queue);
}

static u32 selector(struct virtio_mmio *t, const u32 *sel)
{
	u32 value;

	pthread_mutex_lock(&t->lock);
	value = *sel;
	pthread_mutex_unlock(&t->lock);
	return value;
}

static void select_write(struct virtio_mmio *t, u32 *sel, u32 value)
{
	pthread_mutex_lock(&t->lock);
	*sel = value;
	pthread_mutex_unlock(&t->lock);
}

static u32 reg_read(struct virtio_mmio *t, u32 off)
{
	struct virtio_dev *v = t->v;

	switch (off) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return v->ops->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_features_read(v, selector(t, &t->features_sel));
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return virtio_queue_size_max(v, selector(t, &t->queue_sel));
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_queue_enabled(v, selector(t, &t->queue_sel));
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return __atomic_load_n(&v->isr, __ATOMIC_SEQ_CST);
	case VIRTIO_MMIO_STATUS:
		return virtio_status_read(v);
	case VIRTIO_MMIO_SHM_LEN_LOW: /* no device has shared memory: length and base are -1 */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return ~0u;
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return virtio_config_generation(v);
	}
	return 0;
}

static void reg_write(struct virtio_mmio *t, u32 off, u32 value)
{
	u32 queue = selector(t, &t->queue_sel);
	struct virtio_dev *v = t->v;

	switch (off) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		select_write(t, &t->features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		select_write(t, &t->driver_features_sel, value);
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_driver_features_write(v, selector(t, &t->driver_features_sel), value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		select_write(t, &t->queue_sel, value);
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		virtio_queue_size_write(v, queue, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		queue_ready_write(t, queue, value);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY: /* of a queue that is not there: the others have doorbells */
		virtio_queue_kick(v, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		interrupt_ack(t, value);
		break;
	case VIRTIO_MMIO_STATUS:
		status_write(t, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
		virtio_queue_area_write(v, queue, VIRTIO_DESC, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		virtio_queue_area_write(v, queue, VIRTIO_DESC, 32, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
		virtio_queue_area_write(v, queue, VIRTIO_DRIVER, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		virtio_queue_area_write(v, queue, VIRTIO_DRIVER, 32, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
		virtio_queue_area_write(v, queue, VIRTIO_DEVICE, 0, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		virtio_queue_area_write(v, queue, VIRTIO_DEVICE, 32, value);
		break;
	case QUEUE_RESET:
		queue_reset_write(t, queue, value);
		break;
	}
}

/* "The driver MUST only use 32 bit wide and aligned reads and writes" (4.2.2.2), except in the
 * configuration space. Whatever else reads as zero and does nothing. */
static u64 regs_read(void *owner, u64 off, u32 len)
{
	struct virtio_mmio *t = owner;
	u64 value = 0;

	if (off >= VIRTIO_MMIO_CONFIG)
		virtio_config_read(t->v, off - VIRTIO_MMIO_CONFIG, &value, len);
	else if (len == 4)
		value = reg_read(t, off);
	return value;
}

static void regs_write(void *owner, u64 off, u32 len, u64 value)
{
	struct virtio_mmio *t = owner;

	if (off >= VIRTIO_MMIO_CONFIG)
		virtio_config_write(t->v, off - VIRTIO_MMIO_CONFIG, &value, len);
	else if (len == 4)
		reg_write(t, off, value);
}

static const struct bus_ops regs_ops = {
	.read = regs_read,
	.write = regs_write,
};

/* ---- making it ---- */

static void virtio_mmio_reset(struct device *dev)
{
	status_write(container_of(dev, struct virtio_mmio, dev), 0);
}

static void free_transport(struct virtio_mmio *t)
{
	bus_del(&t->regs);
	bus_range_free(&t->regs);
	for (u32 i = 0; i < ARRAY_SIZE(t->irq); i++)
		irq_destroy(&t->irq[i].irq);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static void virtio_mmio_destroy(struct device *dev)
{
	struct virtio_mmio *t = container_of(dev, struct virtio_mmio, dev);
	struct virtio_dev *v = t->v;

	status_write(t, 0); /* and the line is low */
	free_transport(t);  /* first: its doorbells name the device's kick eventfds */
	virtio_destroy(v);
}

static const struct device_ops virtio_mmio_ops = {
	.name = "virtio-mmio",
	.reset = virtio_mmio_reset,
	.destroy = virtio_mmio_destroy,
};

static int make_irq(struct virtio_mmio *t, u32 i, u32 bit)
{
	int err = irq_init(&t->irq[i].irq, t->env->irqchip);

	if (err)
		return err;
	t->irq[i].transport = t;
	t->irq[i].bit = bit;
	return irq_restart(t, i);
}

static int build(struct virtio_mmio *t)
{
	struct virtio_dev *v = t->v;
	int err = make_irq(t, 0, VIRTIO_ISR_CONFIG);

	if (err)
		return err;
	virtio_attach(v, &t->irq[0].irq);
	for (u32 i = 0; i < v->nqueues; i++) {
		struct bus_doorbell bell = { .off = VIRTIO_MMIO_QUEUE_NOTIFY,
					     .len = 4,
					     .match = true,
					     .value = i,
					     .fd = v->queue[i].kickfd };

		err = make_irq(t, 1 + i, VIRTIO_ISR_QUEUE);
		if (!err)
			err = bus_doorbell_add(&t->regs, &bell);
		if (err)
			return err;
		virtio_attach_queue(v, i, &t->irq[1 + i].irq);
	}
	return bus_add(t->env->mmio, &t->regs);
}

int virtio_mmio_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi,
		       struct virtio_dev *v)
{
	struct virtio_mmio *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->dev.ops = &virtio_mmio_ops;
	t->env = env;
	t->v = v;
	t->regs = (struct bus_range){ .name = v->ops->name,
				      .ops = &regs_ops,
				      .owner = t,
				      .base = base,
				      .len = VIRTIO_MMIO_SIZE };
	pthread_mutex_init(&t->lock, NULL);
	irq_line_init(&t->line, env->irqchip, gsi);
	err = build(t);
	if (err) {
		free_transport(t);
		return err;
	}
	*dev = &t->dev;
	return 0;
}
