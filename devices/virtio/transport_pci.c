// SPDX-License-Identifier: MIT
/*
 * transport_pci.c - virtio over the PCI bus (VIRTIO 1.2, 4.1): a device's registers as the guest of a
 * PC sees them. Modern only.
 *
 * How it works. Vendor-specific capabilities in configuration space say where in BAR 0 what stands:
 *
 *	BAR 0	0000h  COMMON	features, status, queue set-up (4.1.4.3)
 *		1000h  ISR	why INTA# is pulled; reading clears it (4.1.4.5)
 *		2000h  DEVICE	the device type's configuration space (4.1.4.6)
 *		3000h  NOTIFY	queue i's doorbell at + 4 * i (4.1.4.4); or in page i, for which somebody
 *				else's can be put (virtio_queue_set_page())
 *	BAR 2	MSI-X: the configuration's and each queue's interrupt can have a vector
 *	PCI_CFG, in configuration space: a window through which a guest without memory mappings,
 *		such as firmware, reaches the BARs (4.1.4.9)
 *
 * Most registers are virtio.c's; what stands here is selection, decoding and interrupts. A doorbell is
 * an eventfd that KVM writes: a kick is no exit to us. An interrupt is an eventfd that KVM reads, or,
 * with MSI-X off, our main loop, which then sets the ISR bit and pulls the pin.
 *
 * Threads: vCPUs access registers, the main loop raises INTx. `lock` guards the selectors and vectors,
 * and keeps ISR and pin together; the PCI host's lock and virtio.c's config_lock are taken inside of it,
 * virtio.c's lock outside only.
 */
#include "minivmm/devices.h"
#include "minivmm/pci.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define REGS_BAR   0
#define MSIX_BAR   2
#define REGS_SIZE  0x4000 /* at least */
#define AREA_SIZE  0x1000
#define COMMON_LEN (VIRTIO_PCI_COMMON_Q_RESET + 2)
#define NOTIFY_MUL 4

/* The last one can be longer. */
enum { AREA_COMMON, AREA_ISR, AREA_DEVICE, AREA_NOTIFY };

/* Interrupt sources of the PCI device. */
#define SOURCE_CONFIG	0
#define SOURCE_QUEUE(i) (1 + (i))

struct virtio_pci {
	struct device dev;
	struct pci_dev pci;
	struct virtio_dev *v;
	u32 cfg_cap; /* offset of the PCI_CFG capability */

	pthread_mutex_t lock; /* guards all below */
	u32 features_sel, driver_features_sel, queue_sel;
	u16 vector[SOURCE_QUEUE(VIRTIO_QUEUES_MAX)]; /* by source */
};

/* ---- interrupts ---- */

/* A source was signalled and MSI-X is off (4.1.5.3, 4.1.5.4). Main loop's thread. */
static void virtio_pci_intx(struct pci_dev *d, u32 src)
{
	struct virtio_pci *t = container_of(d, struct virtio_pci, pci);
	u32 bit = src == SOURCE_CONFIG ? VIRTIO_ISR_CONFIG : VIRTIO_ISR_QUEUE;

	pthread_mutex_lock(&t->lock);
	if (virtio_isr_set(t->v, bit))
		pci_intx_set(d, true);
	pthread_mutex_unlock(&t->lock);
}

/* "The device MUST reset ISR status to 0 on driver read" (4.1.4.5.1), which lets the pin go, too. */
static u32 isr_read(struct virtio_pci *t)
{
	u32 isr;

	pthread_mutex_lock(&t->lock);
	isr = __atomic_exchange_n(&t->v->isr, 0, __ATOMIC_SEQ_CST);
	pci_intx_set(&t->pci, false);
	pthread_mutex_unlock(&t->lock);
	return isr;
}

/* The source behind the selected queue's vector register; no source if there is no such queue. */
static u32 queue_source(const struct virtio_pci *t, u32 queue)
{
	return queue < t->v->nqueues ? SOURCE_QUEUE(queue) : t->pci.nsources;
}

static u32 vector_read(struct virtio_pci *t, u32 src)
{
	u32 vector = VIRTIO_MSI_NO_VECTOR;

	pthread_mutex_lock(&t->lock);
	if (src < t->pci.nsources)
		vector = t->vector[src];
	pthread_mutex_unlock(&t->lock);
	return vector;
}

/* 4.1.5.1.2: a vector that can't be had reads back as NO_VECTOR. */
static void vector_write(struct virtio_pci *t, u32 src, u32 vector)
{
	if (src >= t->pci.nsources)
		return;
	if (vector >= t->pci.nvectors)
		vector = VIRTIO_MSI_NO_VECTOR;
	pthread_mutex_lock(&t->lock);
	t->vector[src] = vector;
	pci_irq_bind(&t->pci, src, vector);
	pthread_mutex_unlock(&t->lock);
}

/* After the source's queue, or the whole device, has come to rest. `lock` is held. */
static void source_reset(struct virtio_pci *t, u32 src)
{
	t->vector[src] = VIRTIO_MSI_NO_VECTOR;
	pci_irq_reset(&t->pci, src);
}

/* ---- the registers of COMMON ---- */

/* What is the transport's own as after creation. The device's status is 0. */
static void transport_reset(struct virtio_pci *t)
{
	pthread_mutex_lock(&t->lock);
	t->features_sel = t->driver_features_sel = t->queue_sel = 0;
	for (u32 i = 0; i < t->pci.nsources; i++)
		source_reset(t, i);
	pci_intx_set(&t->pci, false); /* virtio.c has cleared the ISR */
	pthread_mutex_unlock(&t->lock);
}

static void status_write(struct virtio_pci *t, u32 status)
{
	virtio_status_write(t->v, status);
	if (!status)
		transport_reset(t);
}

/* 4.1.4.3.1: the reset is complete when the write is; the register reads as 0 throughout. */
static void queue_reset_write(struct virtio_pci *t, u32 queue, u32 value)
{
	if (value != 1 || !virtio_has_feature(t->v, VIRTIO_F_RING_RESET) || queue >= t->v->nqueues)
		return;
	virtio_queue_reset(t->v, queue);
	pthread_mutex_lock(&t->lock);
	source_reset(t, SOURCE_QUEUE(queue));
	pthread_mutex_unlock(&t->lock);
}

static u32 selector(struct virtio_pci *t, const u32 *sel)
{
	u32 value;

	pthread_mutex_lock(&t->lock);
	value = *sel;
	pthread_mutex_unlock(&t->lock);
	return value;
}

static void select_write(struct virtio_pci *t, u32 *sel, u32 value)
{
	pthread_mutex_lock(&t->lock);
	*sel = value;
	pthread_mutex_unlock(&t->lock);
}

/*
 * "The driver MUST access each field using the natural access method" (4.1.3.1): only the right width
 * at the right offset is a register at all. Whatever else reads as zero and does nothing.
 */
#define REG(off, len) ((off) << 4 | (len))

static u32 common_read(struct virtio_pci *t, u32 off, u32 len)
{
	u32 queue = selector(t, &t->queue_sel);
	struct virtio_dev *v = t->v;

	switch (REG(off, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		return selector(t, &t->features_sel);
	case REG(VIRTIO_PCI_COMMON_DF, 4):
		return virtio_features_read(v, selector(t, &t->features_sel));
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		return selector(t, &t->driver_features_sel);
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		return virtio_driver_features_read(v, selector(t, &t->driver_features_sel));
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		return vector_read(t, SOURCE_CONFIG);
	case REG(VIRTIO_PCI_COMMON_NUMQ, 2):
		return v->nqueues;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		return virtio_status_read(v);
	case REG(VIRTIO_PCI_COMMON_CFGGENERATION, 1):
		return virtio_config_generation(v) & 0xff;
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		return queue;
	case REG(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		return virtio_queue_size(v, queue);
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		return vector_read(t, queue_source(t, queue));
	case REG(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		return virtio_queue_enabled(v, queue);
	case REG(VIRTIO_PCI_COMMON_Q_NOFF, 2):
		return queue < v->nqueues ? queue : 0;
	case REG(VIRTIO_PCI_COMMON_Q_DESCLO, 4):
		return virtio_queue_area(v, queue, VIRTIO_DESC);
	case REG(VIRTIO_PCI_COMMON_Q_DESCHI, 4):
		return virtio_queue_area(v, queue, VIRTIO_DESC) >> 32;
	case REG(VIRTIO_PCI_COMMON_Q_AVAILLO, 4):
		return virtio_queue_area(v, queue, VIRTIO_DRIVER);
	case REG(VIRTIO_PCI_COMMON_Q_AVAILHI, 4):
		return virtio_queue_area(v, queue, VIRTIO_DRIVER) >> 32;
	case REG(VIRTIO_PCI_COMMON_Q_USEDLO, 4):
		return virtio_queue_area(v, queue, VIRTIO_DEVICE);
	case REG(VIRTIO_PCI_COMMON_Q_USEDHI, 4):
		return virtio_queue_area(v, queue, VIRTIO_DEVICE) >> 32;
	}
	return 0;
}

static void common_write(struct virtio_pci *t, u32 off, u32 len, u32 value)
{
	u32 queue = selector(t, &t->queue_sel);
	struct virtio_dev *v = t->v;

	switch (REG(off, len)) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		select_write(t, &t->features_sel, value);
		break;
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		select_write(t, &t->driver_features_sel, value);
		break;
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		virtio_driver_features_write(v, selector(t, &t->driver_features_sel), value);
		break;
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		vector_write(t, SOURCE_CONFIG, value);
		break;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		status_write(t, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		select_write(t, &t->queue_sel, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		virtio_queue_size_write(v, queue, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_MSIX, 2):
		vector_write(t, queue_source(t, queue), value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		if (value == 1) /* "The driver MUST NOT write a 0" (4.1.4.3.2) */
			virtio_queue_enable(v, queue);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_DESCLO, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DESC, 0, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_DESCHI, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DESC, 32, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_AVAILLO, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DRIVER, 0, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_AVAILHI, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DRIVER, 32, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_USEDLO, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DEVICE, 0, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_USEDHI, 4):
		virtio_queue_area_write(v, queue, VIRTIO_DEVICE, 32, value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_RESET, 2):
		queue_reset_write(t, queue, value);
		break;
	}
}

/* ---- BAR 0 ---- */

static u32 notify_mul(const struct virtio_pci *t)
{
	return t->v->pages ? PAGE_SIZE : NOTIFY_MUL;
}

static u64 notify_off(const struct virtio_pci *t, u32 queue)
{
	return AREA_NOTIFY * AREA_SIZE + (u64)queue * notify_mul(t);
}

static u64 regs_size(const struct virtio_pci *t)
{
	u64 size = REGS_SIZE;

	while (size < notify_off(t, t->v->nqueues))
		size *= 2;
	return size;
}

static int set_page(void *transport, u32 index, void *page)
{
	struct virtio_pci *t = transport;

	return bus_page_set(t->pci.env->mmio, &t->pci.bar[REGS_BAR].range, notify_off(t, index),
			    page);
}

/* By PCI_CFG: the bus rings the doorbell itself. */
static void notify_write(struct virtio_pci *t, u64 off)
{
	if (off % notify_mul(t) == 0)
		virtio_queue_kick(t->v, off / notify_mul(t));
}

static u64 regs_read(void *owner, u64 off, u32 len)
{
	struct virtio_pci *t = owner;
	u64 value = 0;

	switch (off / AREA_SIZE) {
	case AREA_COMMON:
		return common_read(t, off, len);
	case AREA_ISR:
		return off % AREA_SIZE == 0 && len == 1 ? isr_read(t) : 0;
	case AREA_DEVICE:
		virtio_config_read(t->v, off % AREA_SIZE, &value, len);
		return value;
	}
	return 0;
}

static void regs_write(void *owner, u64 off, u32 len, u64 value)
{
	struct virtio_pci *t = owner;

	switch (off / AREA_SIZE) {
	case AREA_COMMON:
		common_write(t, off, len, value);
		break;
	case AREA_ISR:
		break;
	case AREA_DEVICE:
		virtio_config_write(t->v, off % AREA_SIZE, &value, len);
		break;
	default:
		notify_write(t, off - AREA_NOTIFY * AREA_SIZE);
		break;
	}
}

static const struct bus_ops regs_ops = {
	.read = regs_read,
	.write = regs_write,
};

/* ---- the PCI_CFG window ---- */

#define CFG_DATA offsetof(struct virtio_pci_cfg_cap, pci_cfg_data)

struct window {
	const struct bus_range *range;
	u32 off, len;
};

/* Where the window looks, if it looks into a BAR by an aligned access. */
static bool window_get(struct virtio_pci *t, struct window *w)
{
	u32 bar = pci_config_get(&t->pci, t->cfg_cap + VIRTIO_PCI_CAP_BAR, 1);

	w->off = pci_config_get(&t->pci, t->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 4);
	w->len = pci_config_get(&t->pci, t->cfg_cap + VIRTIO_PCI_CAP_LENGTH, 4);
	if (bar >= PCI_BARS || (w->len != 1 && w->len != 2 && w->len != 4) || w->off % w->len ||
	    !range_inside(w->off, w->len, 0, t->pci.bar[bar].size))
		return false;
	w->range = &t->pci.bar[bar].range;
	return true;
}

static bool touches_data(const struct virtio_pci *t, u32 off, u32 len)
{
	return ranges_overlap(off, len, t->cfg_cap + CFG_DATA, 4);
}

/* "Upon detecting driver read access to pci_cfg_data, the device MUST execute a read access" */
static void virtio_pci_config_read(struct pci_dev *d, u32 off, u32 len)
{
	struct virtio_pci *t = container_of(d, struct virtio_pci, pci);
	struct window w;

	if (touches_data(t, off, len) && window_get(t, &w))
		pci_config_set(d, t->cfg_cap + CFG_DATA, w.len,
			       w.range->ops->read(w.range->owner, w.off, w.len));
}

/* "... the device MUST execute a write access" with the first cap.length bytes. */
static void virtio_pci_config_written(struct pci_dev *d, u32 off, u32 len)
{
	struct virtio_pci *t = container_of(d, struct virtio_pci, pci);
	struct window w;

	if (touches_data(t, off, len) && window_get(t, &w))
		w.range->ops->write(w.range->owner, w.off, w.len,
				    pci_config_get(d, t->cfg_cap + CFG_DATA, w.len));
}

static const struct pci_ops virtio_pci_pci_ops = {
	.config_read = virtio_pci_config_read,
	.config_written = virtio_pci_config_written,
	.intx = virtio_pci_intx,
};

/* ---- making it ---- */

/* A virtio structure capability (4.1.4), `extra` bytes longer. Returns its offset. */
static u32 cap_add(struct virtio_pci *t, u8 type, u32 area, u32 length, u32 extra)
{
	struct virtio_pci_cap cap = {
		.cap_len = sizeof(cap) + extra,
		.cfg_type = type,
		.bar = REGS_BAR,
		.offset = area * AREA_SIZE,
		.length = length,
	};
	u32 at = pci_cap_add(&t->pci, PCI_CAP_ID_VNDR, cap.cap_len);

	/* Id and link are pci_cap_add()'s. */
	memcpy(t->pci.config + at + PCI_CAP_FLAGS, &cap.cap_len, sizeof(cap) - PCI_CAP_FLAGS);
	return at;
}

static void caps_add(struct virtio_pci *t)
{
	struct pci_dev *d = &t->pci;
	u32 at;

	cap_add(t, VIRTIO_PCI_CAP_COMMON_CFG, AREA_COMMON, COMMON_LEN, 0);
	cap_add(t, VIRTIO_PCI_CAP_ISR_CFG, AREA_ISR, 1, 0);
	if (t->v->config_len)
		cap_add(t, VIRTIO_PCI_CAP_DEVICE_CFG, AREA_DEVICE, t->v->config_len, 0);
	at = cap_add(t, VIRTIO_PCI_CAP_NOTIFY_CFG, AREA_NOTIFY, t->v->nqueues * notify_mul(t), 4);
	memcpy(d->config + at + VIRTIO_PCI_NOTIFY_CAP_MULT, &(u32){ notify_mul(t) }, 4);

	at = cap_add(t, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
	d->writable[at + VIRTIO_PCI_CAP_BAR] = 0xff;
	memset(d->writable + at + VIRTIO_PCI_CAP_OFFSET, 0xff, 4 + 4); /* and length */
	memset(d->writable + at + CFG_DATA, 0xff, 4);
	t->cfg_cap = at;
}

static void virtio_pci_reset(struct device *dev)
{
	struct virtio_pci *t = container_of(dev, struct virtio_pci, dev);

	virtio_status_write(t->v, 0);
	pci_dev_reset(&t->pci); /* MSI-X off; each source has the vector of its number */
	transport_reset(t);	/* none has */
}

static void free_transport(struct virtio_pci *t)
{
	pci_dev_destroy(&t->pci);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static void virtio_pci_destroy(struct device *dev)
{
	struct virtio_pci *t = container_of(dev, struct virtio_pci, dev);
	struct virtio_dev *v = t->v;

	virtio_status_write(v, 0);
	v->set_page = NULL;
	free_transport(t); /* first: its doorbells name the device's kick eventfds */
	virtio_destroy(v);
}

static const struct device_ops virtio_pci_ops = {
	.name = "virtio-pci",
	.reset = virtio_pci_reset,
	.destroy = virtio_pci_destroy,
};

static int build(struct virtio_pci *t, struct pci_host *host)
{
	struct virtio_dev *v = t->v;
	int err;

	pci_bar_init(&t->pci, REGS_BAR, regs_size(t), PCI_BAR_MEM64, &regs_ops, t);
	caps_add(t);
	err = pci_irqs_init(&t->pci, SOURCE_QUEUE(v->nqueues), MSIX_BAR);
	if (err)
		return err;
	virtio_attach(v, pci_irq(&t->pci, SOURCE_CONFIG));
	v->transport = t;
	v->set_page = v->pages ? set_page : NULL;
	for (u32 i = 0; i < v->nqueues; i++) {
		struct bus_doorbell bell = { .off = notify_off(t, i), .fd = v->queue[i].kickfd };

		virtio_attach_queue(v, i, pci_irq(&t->pci, SOURCE_QUEUE(i)));
		err = bus_doorbell_add(&t->pci.bar[REGS_BAR].range, &bell);
		if (err)
			return err;
	}
	return pci_attach(host, &t->pci, 1);
}

int virtio_pci_create(struct device **dev, const struct machine_env *env, struct pci_host *host,
		      struct virtio_dev *v)
{
	struct virtio_pci *t = calloc(1, sizeof(*t));
	/* 4.1.2: a non-transitional device has the ID 1040h + type and revision 1 or more, and a
	 * subsystem ID of 40h or more, so that no legacy driver takes it for its own. */
	const struct pci_id id = {
		.vendor = 0x1af4,
		.device = 0x1040 + v->ops->id,
		.subvendor = 0x1af4,
		.subdevice = 0x1040 + v->ops->id,
		.class = v->ops->pci_class,
		.revision = 1,
	};
	int err;

	if (!t)
		return -ENOMEM;
	t->dev.ops = &virtio_pci_ops;
	t->v = v;
	pthread_mutex_init(&t->lock, NULL);
	pci_dev_init(&t->pci, v->ops->name, env, &id, &virtio_pci_pci_ops);
	err = build(t, host);
	if (err) {
		v->set_page = NULL;
		free_transport(t);
		return err;
	}
	transport_reset(t);
	*dev = &t->dev;
	return 0;
}
