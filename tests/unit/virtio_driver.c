// SPDX-License-Identifier: MIT
/*
 * virtio_driver.c - a driver for virtio devices over PCI and MMIO. See virtio_driver.h.
 *
 * How it works: reg_get() and reg_set() know where each transport has a register; what differs by
 * more than the place has an `if` on the bus. Guest memory is handed out from 1 MiB on and never
 * taken back.
 */
#include "tests/unit/virtio_driver.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_TURNS	 20000 /* of about a millisecond at most: then nothing will come any more */
#define STARTED_QUEUES	 64
#define MMIO_QUEUE_RESET 0x0c0

static bool on_pci(const struct vdrv *d)
{
	return d->bus != VDRV_MMIO;
}

static u64 mmio_get(struct vdrv *d, u64 addr, u32 len)
{
	return bus_read(d->rig->r.env.mmio, addr, len);
}

static void mmio_set(struct vdrv *d, u64 addr, u32 len, u64 value)
{
	bus_write(d->rig->r.env.mmio, addr, len, value);
}

/* A register that both transports have. */
struct reg {
	u32 pci, pci_len, mmio;
};

static const struct reg features_sel = { VIRTIO_PCI_COMMON_DFSELECT, 4,
					 VIRTIO_MMIO_DEVICE_FEATURES_SEL };
static const struct reg features_reg = { VIRTIO_PCI_COMMON_DF, 4, VIRTIO_MMIO_DEVICE_FEATURES };
static const struct reg driver_sel = { VIRTIO_PCI_COMMON_GFSELECT, 4,
				       VIRTIO_MMIO_DRIVER_FEATURES_SEL };
static const struct reg driver_features = { VIRTIO_PCI_COMMON_GF, 4, VIRTIO_MMIO_DRIVER_FEATURES };
static const struct reg status_reg = { VIRTIO_PCI_COMMON_STATUS, 1, VIRTIO_MMIO_STATUS };
static const struct reg generation = { VIRTIO_PCI_COMMON_CFGGENERATION, 1,
				       VIRTIO_MMIO_CONFIG_GENERATION };
static const struct reg queue_sel = { VIRTIO_PCI_COMMON_Q_SELECT, 2, VIRTIO_MMIO_QUEUE_SEL };
static const struct reg queue_max = { VIRTIO_PCI_COMMON_Q_SIZE, 2, VIRTIO_MMIO_QUEUE_NUM_MAX };
static const struct reg queue_size = { VIRTIO_PCI_COMMON_Q_SIZE, 2, VIRTIO_MMIO_QUEUE_NUM };
static const struct reg queue_enable = { VIRTIO_PCI_COMMON_Q_ENABLE, 2, VIRTIO_MMIO_QUEUE_READY };
static const struct reg queue_reset = { VIRTIO_PCI_COMMON_Q_RESET, 2, MMIO_QUEUE_RESET };
static const struct reg queue_areas[3][2] = {
	{ { VIRTIO_PCI_COMMON_Q_DESCLO, 4, VIRTIO_MMIO_QUEUE_DESC_LOW },
	  { VIRTIO_PCI_COMMON_Q_DESCHI, 4, VIRTIO_MMIO_QUEUE_DESC_HIGH } },
	{ { VIRTIO_PCI_COMMON_Q_AVAILLO, 4, VIRTIO_MMIO_QUEUE_AVAIL_LOW },
	  { VIRTIO_PCI_COMMON_Q_AVAILHI, 4, VIRTIO_MMIO_QUEUE_AVAIL_HIGH } },
	{ { VIRTIO_PCI_COMMON_Q_USEDLO, 4, VIRTIO_MMIO_QUEUE_USED_LOW },
	  { VIRTIO_PCI_COMMON_Q_USEDHI, 4, VIRTIO_MMIO_QUEUE_USED_HIGH } },
};

static u32 reg_get(struct vdrv *d, const struct reg *r)
{
	if (on_pci(d))
		return mmio_get(d, d->common + r->pci, r->pci_len);
	return mmio_get(d, d->base + r->mmio, 4);
}

static void reg_set(struct vdrv *d, const struct reg *r, u32 value)
{
	if (on_pci(d))
		mmio_set(d, d->common + r->pci, r->pci_len, value);
	else
		mmio_set(d, d->base + r->mmio, 4, value);
}

/* ---- the machine ---- */

void vdrv_init(struct vdrv *d, enum vdrv_bus bus, bool packed)
{
	memset(d, 0, sizeof(*d));
	d->bus = bus;
	d->options.packed = packed;
	d->rig = calloc(1, sizeof(*d->rig));
	d->owns_rig = true;
	d->slot = 2; /* the rig has a device of its own */
	d->base = 0xd0000000;
	d->gsi = 5;
	ck_assert_ptr_nonnull(d->rig);
	pci_rig_init(d->rig);
	ck_assert_int_eq(mem_add_ram(&d->rig->r.mem, 0, VDRV_RAM, false), 0);
	d->next = MIB;
}

void vdrv_init_beside(struct vdrv *d, struct vdrv *first)
{
	memset(d, 0, sizeof(*d));
	d->bus = first->bus;
	d->options = first->options;
	d->rig = first->rig;
	d->threads = first->threads;
	d->slot = first->slot + 1;
	d->base = first->base + VIRTIO_MMIO_SIZE;
	d->gsi = first->gsi + 1;
	d->next = VDRV_RAM / 2;
}

void vdrv_threads(struct vdrv *d)
{
	d->threads = true;
	ck_assert_int_eq(loop_create(&d->io_loop), 0);
	ck_assert_int_eq(loop_start(d->io_loop, "io"), 0);
	ck_assert_int_eq(loop_start(d->rig->r.env.loop, "main"), 0);
	d->main_runs = true;
	d->rig->r.env.io_loop = &d->io_loop;
}

void vdrv_plug(struct vdrv *d, int (*create)(struct virtio_dev **v, const struct machine_env *env,
					     const struct virtio_options *o))
{
	struct virtio_dev *v = NULL;

	ck_assert_int_eq(create(&v, &d->rig->r.env, &d->options), 0);
	vdrv_attach(d, v);
}

void vdrv_attach(struct vdrv *d, struct virtio_dev *v)
{
	const struct machine_env *env = &d->rig->r.env;

	d->v = v;
	if (on_pci(d))
		ck_assert_int_eq(virtio_pci_create(&d->dev, env, d->rig->host, v), 0);
	else
		ck_assert_int_eq(virtio_mmio_create(&d->dev, env, d->base, d->gsi, v), 0);
	vdrv_discover(d);
}

static void rings_free(struct vdrv *d)
{
	for (u32 i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (d->q[i].up)
			ring_driver_free(&d->q[i].ring);
		d->q[i].up = false;
	}
}

void vdrv_unplug(struct vdrv *d)
{
	if (d->main_runs)
		loop_stop(d->rig->r.env.loop);
	d->main_runs = false;
	if (d->dev)
		d->dev->ops->destroy(d->dev);
	d->dev = NULL;
}

void vdrv_free(struct vdrv *d)
{
	vdrv_unplug(d);
	rings_free(d);
	if (d->owns_rig) {
		if (d->io_loop) {
			loop_stop(d->io_loop);
			loop_destroy(d->io_loop);
		}
		pci_rig_free(d->rig);
		free(d->rig);
	}
	memset(d, 0, sizeof(*d)); /* no pointer in here may hide a leak */
}

/* ---- discovery ---- */

static u64 bar_addr(struct vdrv *d, u32 bar)
{
	u32 reg = PCI_BASE_ADDRESS_0 + 4 * bar;
	u64 low = cf8_get(d->rig, d->slot, reg, 4);

	if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64)
		low |= (u64)cf8_get(d->rig, d->slot, reg + 4, 4) << 32;
	return low & PCI_BASE_ADDRESS_MEM_MASK;
}

static u64 structure_addr(struct vdrv *d, u32 cap)
{
	return bar_addr(d, cf8_get(d->rig, d->slot, cap + VIRTIO_PCI_CAP_BAR, 1)) +
	       cf8_get(d->rig, d->slot, cap + VIRTIO_PCI_CAP_OFFSET, 4);
}

/* The first of each kind counts (4.1.4.1). */
static void discover_cap(struct vdrv *d, u32 cap)
{
	u32 id = cf8_get(d->rig, d->slot, cap, 1);

	if (id == PCI_CAP_ID_MSIX)
		d->cap_msix = cap;
	if (id != PCI_CAP_ID_VNDR)
		return;
	switch (cf8_get(d->rig, d->slot, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->cap_common = cap;
		d->common = structure_addr(d, cap);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		d->cap_isr = cap;
		d->isr = structure_addr(d, cap);
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->cap_notify = cap;
		d->notify = structure_addr(d, cap);
		d->notify_mul = cf8_get(d->rig, d->slot, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->cap_config = cap;
		d->config = structure_addr(d, cap);
		d->config_len = cf8_get(d->rig, d->slot, cap + VIRTIO_PCI_CAP_LENGTH, 4);
		break;
	case VIRTIO_PCI_CAP_PCI_CFG:
		d->cap_pci = cap;
		break;
	}
}

u32 vdrv_msi_data(const struct vdrv *d, u32 v)
{
	return d->slot << 8 | v;
}

static void msix_on(struct vdrv *d)
{
	u32 n = (cf8_get(d->rig, d->slot, d->cap_msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) +
		1;
	u32 table = cf8_get(d->rig, d->slot, d->cap_msix + PCI_MSIX_TABLE, 4);

	d->msix_table = bar_addr(d, table & PCI_MSIX_TABLE_BIR) + (table & PCI_MSIX_TABLE_OFFSET);
	for (u32 v = 0; v < n; v++) {
		mmio_set(d, d->msix_table + 16 * v, 8, VDRV_MSI_ADDR);
		mmio_set(d, d->msix_table + 16 * v + 8, 8, vdrv_msi_data(d, v));
	}
	cf8_set(d->rig, d->slot, d->cap_msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static void discover_pci(struct vdrv *d)
{
	u32 cap;

	ck_assert_int_eq(pci_host_assign(d->rig->host), 0);
	cf8_set(d->rig, d->slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ck_assert_uint_eq(cf8_get(d->rig, d->slot, PCI_VENDOR_ID, 2), 0x1af4);
	d->id = cf8_get(d->rig, d->slot, PCI_DEVICE_ID, 2) - 0x1040;
	for (cap = cf8_get(d->rig, d->slot, PCI_CAPABILITY_LIST, 1); cap;
	     cap = cf8_get(d->rig, d->slot, cap + PCI_CAP_LIST_NEXT, 1))
		discover_cap(d, cap);
	ck_assert(d->common && d->isr && d->notify && d->cap_pci && d->cap_msix);
	if (d->bus == VDRV_PCI_MSIX)
		msix_on(d);
}

void vdrv_discover(struct vdrv *d)
{
	if (on_pci(d)) {
		discover_pci(d);
		return;
	}
	ck_assert_uint_eq(mmio_get(d, d->base, 4), 0x74726976);
	ck_assert_uint_eq(mmio_get(d, d->base + VIRTIO_MMIO_VERSION, 4), 2);
	d->id = mmio_get(d, d->base + VIRTIO_MMIO_DEVICE_ID, 4);
	d->config = d->base + VIRTIO_MMIO_CONFIG;
}

/* ---- registers ---- */

u32 vdrv_status(struct vdrv *d)
{
	return reg_get(d, &status_reg);
}

void vdrv_set_status(struct vdrv *d, u32 status)
{
	reg_set(d, &status_reg, status);
}

u64 vdrv_offered(struct vdrv *d)
{
	u64 features = 0;

	for (u32 sel = 0; sel < 2; sel++) {
		reg_set(d, &features_sel, sel);
		features |= (u64)reg_get(d, &features_reg) << (32 * sel);
	}
	return features;
}

void vdrv_write_features(struct vdrv *d, u64 features)
{
	for (u32 sel = 0; sel < 2; sel++) {
		reg_set(d, &driver_sel, sel);
		reg_set(d, &driver_features, features >> (32 * sel));
	}
}

u32 vdrv_generation(struct vdrv *d)
{
	return reg_get(d, &generation);
}

u64 vdrv_config(struct vdrv *d, u32 off, u32 len)
{
	return mmio_get(d, d->config + off, len);
}

void vdrv_set_config(struct vdrv *d, u32 off, u32 len, u64 value)
{
	mmio_set(d, d->config + off, len, value);
}

void vdrv_select(struct vdrv *d, u32 q)
{
	reg_set(d, &queue_sel, q);
}

u32 vdrv_queue_max(struct vdrv *d, u32 q)
{
	vdrv_select(d, q);
	return reg_get(d, &queue_max);
}

bool vdrv_queue_enabled(struct vdrv *d, u32 q)
{
	vdrv_select(d, q);
	return reg_get(d, &queue_enable);
}

void vdrv_queue_write(struct vdrv *d, u32 q, const struct vq_cfg *cfg)
{
	const u64 addr[3] = { cfg->desc, cfg->driver, cfg->device };

	vdrv_select(d, q);
	reg_set(d, &queue_size, cfg->size);
	for (u32 i = 0; i < 3; i++) {
		reg_set(d, &queue_areas[i][0], addr[i]);
		reg_set(d, &queue_areas[i][1], addr[i] >> 32);
	}
	d->q[q].doorbell = d->base + VIRTIO_MMIO_QUEUE_NOTIFY;
	if (on_pci(d))
		d->q[q].doorbell =
			d->notify +
			d->notify_mul * mmio_get(d, d->common + VIRTIO_PCI_COMMON_Q_NOFF, 2);
	if (d->bus == VDRV_PCI_MSIX)
		mmio_set(d, d->common + VIRTIO_PCI_COMMON_Q_MSIX, 2, 1 + q);
	reg_set(d, &queue_enable, 1);
}

void vdrv_queue_reset(struct vdrv *d, u32 q)
{
	vdrv_select(d, q);
	reg_set(d, &queue_reset, 1);
	ck_assert_uint_eq(reg_get(d, &queue_reset), 0);
	ck_assert_uint_eq(reg_get(d, &queue_enable), 0);
	if (d->q[q].up)
		ring_driver_free(&d->q[q].ring);
	d->q[q].up = false;
}

void vdrv_kick(struct vdrv *d, u32 q)
{
	mmio_set(d, d->q[q].doorbell, on_pci(d) ? 2 : 4, q);
}

/* ---- steps of the initialisation ---- */

bool vdrv_negotiate(struct vdrv *d, u64 wanted)
{
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	vdrv_set_status(d, status);
	status |= VIRTIO_CONFIG_S_DRIVER;
	vdrv_set_status(d, status);
	d->features = vdrv_offered(d) & wanted;
	vdrv_write_features(d, d->features);
	vdrv_set_status(d, status | VIRTIO_CONFIG_S_FEATURES_OK);
	return vdrv_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

void vdrv_queue_up(struct vdrv *d, u32 q, u16 size)
{
	struct vq_cfg cfg = {
		.size = size ? size : vdrv_queue_max(d, q),
		.packed = vdrv_has(d, VIRTIO_F_RING_PACKED),
		.indirect = vdrv_has(d, VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = vdrv_has(d, VIRTIO_RING_F_EVENT_IDX),
		.in_order = vdrv_has(d, VIRTIO_F_IN_ORDER),
	};

	ck_assert(!d->q[q].up);
	ck_assert_int_eq(ring_driver_init(&d->q[q].ring, &d->rig->r.mem, d->next, &cfg), 0);
	d->q[q].up = true;
	d->next = ALIGN_UP(d->q[q].ring.end, PAGE_SIZE);
	vdrv_queue_write(d, q, &d->q[q].ring.cfg);
}

void vdrv_driver_ok(struct vdrv *d)
{
	if (d->bus == VDRV_PCI_MSIX)
		mmio_set(d, d->common + VIRTIO_PCI_COMMON_MSIX, 2, 0);
	vdrv_set_status(d, vdrv_status(d) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void vdrv_start(struct vdrv *d, u64 wanted)
{
	vdrv_reset(d);
	ck_assert(vdrv_negotiate(d, wanted));
	for (u32 q = 0; q < VIRTIO_QUEUES_MAX; q++) {
		u32 max = vdrv_queue_max(d, q);

		if (max)
			vdrv_queue_up(d, q, max < STARTED_QUEUES ? max : STARTED_QUEUES);
	}
	vdrv_driver_ok(d);
	ck_assert_uint_eq(vdrv_status(d), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
						  VIRTIO_CONFIG_S_FEATURES_OK |
						  VIRTIO_CONFIG_S_DRIVER_OK);
}

void vdrv_reset(struct vdrv *d)
{
	vdrv_set_status(d, 0);
	ck_assert_uint_eq(vdrv_status(d), 0);
	d->features = 0;
	d->seen = 0;
	if (d->bus == VDRV_PCI_MSIX)
		fake_vm_total(&d->rig->r.vm);
	rings_free(d);
}

/* ---- requests ---- */

u64 vdrv_alloc(struct vdrv *d, u32 len)
{
	u64 gpa = d->next;

	d->next = ALIGN_UP(gpa + len, 64);
	memset(vdrv_ptr(d, gpa, len), 0, len);
	return gpa;
}

void *vdrv_ptr(struct vdrv *d, u64 gpa, u32 len)
{
	void *p = mem_ptr(&d->rig->r.mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

int vdrv_submit(struct vdrv *d, u32 q, const struct ring_buf *buf, u32 nout, u32 nin)
{
	struct ring_driver *r = &d->q[q].ring;
	bool indirect = r->cfg.indirect && ring_inflight(r) % 2 == 0;
	int id = ring_add(r, buf, nout, nin, indirect);

	ck_assert_int_ge(id, 0);
	if (ring_publish(r))
		vdrv_kick(d, q);
	return id;
}

int vdrv_wait(struct vdrv *d, u32 q, u32 *written)
{
	u32 len;

	for (u32 i = 0; i < WAIT_TURNS; i++) {
		int id = ring_get(&d->q[q].ring, written ? written : &len);

		if (id >= 0)
			return id;
		vdrv_settle(d);
		usleep(i < 10 ? 0 : 200);
	}
	ck_abort_msg("nothing comes back from queue %u", q);
}

u32 vdrv_request(struct vdrv *d, u32 q, const struct ring_buf *buf, u32 nout, u32 nin)
{
	int id = vdrv_submit(d, q, buf, nout, nin);
	u32 written;

	/* A driver that had looked first and asked to be called from the next one on might not be, for this. */
	vdrv_wait_called(d, q);
	ck_assert_int_eq(vdrv_wait(d, q, &written), id);
	return written;
}

/* ---- interrupts ---- */

void vdrv_settle(struct vdrv *d)
{
	if (d->threads)
		usleep(500);
	else
		loop_settle(d->rig->r.env.loop);
}

bool vdrv_level(struct vdrv *d)
{
	struct fake_vm *vm = &d->rig->r.vm;
	bool level;

	pthread_mutex_lock(&vm->lock);
	level = vm->level[on_pci(d) ? d->rig->map.intx_gsi + d->slot % 4 : d->gsi];
	pthread_mutex_unlock(&vm->lock);
	return level;
}

/* What an interrupt handler does: read why, and acknowledge. */
static void handle_wired(struct vdrv *d)
{
	u32 bits;

	if (!vdrv_level(d))
		return;
	if (on_pci(d)) {
		bits = mmio_get(d, d->isr, 1);
	} else {
		bits = mmio_get(d, d->base + VIRTIO_MMIO_INTERRUPT_STATUS, 4);
		mmio_set(d, d->base + VIRTIO_MMIO_INTERRUPT_ACK, 4, bits);
	}
	ck_assert(d->threads || (bits && !vdrv_level(d)));
	d->seen |= bits;
}

static bool called(struct vdrv *d, u32 vector, u32 bit)
{
	bool yes;

	if (d->bus == VDRV_PCI_MSIX)
		return fake_vm_count(&d->rig->r.vm, VDRV_MSI_ADDR, vdrv_msi_data(d, vector)) > 0;
	handle_wired(d);
	yes = d->seen & bit;
	d->seen &= ~bit;
	return yes;
}

bool vdrv_called(struct vdrv *d, u32 q)
{
	return called(d, 1 + q, VIRTIO_ISR_QUEUE);
}

bool vdrv_config_called(struct vdrv *d)
{
	return called(d, 0, VIRTIO_ISR_CONFIG);
}

static void wait_called(struct vdrv *d, u32 vector, u32 bit)
{
	for (u32 i = 0; i < WAIT_TURNS; i++) {
		if (called(d, vector, bit))
			return;
		vdrv_settle(d);
		usleep(i < 10 ? 0 : 200);
	}
	ck_abort_msg("no interrupt comes");
}

void vdrv_wait_called(struct vdrv *d, u32 q)
{
	wait_called(d, 1 + q, VIRTIO_ISR_QUEUE);
}

void vdrv_wait_config_called(struct vdrv *d)
{
	wait_called(d, 0, VIRTIO_ISR_CONFIG);
}
