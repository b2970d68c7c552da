// SPDX-License-Identifier: MIT
/*
 * virtio_pci.c - virtio over PCI (VIRTIO 1.2, 4.1), driver's side.
 *
 * How it works: vendor-specific capabilities in the configuration space say where the registers
 * are, in which BAR and at what offset:
 *
 *	COMMON_CFG	struct virtio_pci_common_cfg: status, features, queues
 *	NOTIFY_CFG	the doorbells: base + queue_notify_off * notify_off_multiplier
 *	ISR_CFG		one byte: why the wired interrupt came; reading it clears it
 *	DEVICE_CFG	the configuration space of the device type
 *
 * Registers that a queue has are there once, for the queue that queue_select says.
 */
#include "virtio.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define VENDOR	      0x1af4
#define DEVICE_MODERN 0x1040 /* + device ID (4.1.2.1) */
#define DEVICE_LAST   0x107f

/* INTA# of slot s is wired to this input (_PRT in the DSDT; arch/x86_64/acpi.c). */
#define INTX_GSI(slot)	  (16 + (slot) % 4)

#define COMMON(v, field)  ((v)->regs + offsetof(struct virtio_pci_common_cfg, field))
#define CAP(at, field)	  ((at) + offsetof(struct virtio_pci_cap, field))
#define COMMON_Q_RESET(v) ((v)->regs + VIRTIO_PCI_COMMON_Q_RESET)

/* Where the structure of capability `at` lies in memory. */
static u64 structure(u32 slot, u32 at)
{
	u64 addr =
		pci_bar(slot, pci_read(slot, CAP(at, bar), 1)) + pci_read(slot, CAP(at, offset), 4);

	map_device(addr, pci_read(slot, CAP(at, length), 4));
	return addr;
}

/* 4.1.4: of several structures of one type the first is the one to use. */
static void find_structures(struct virtio *v)
{
	for (u32 at = pci_read(v->slot, PCI_CAPABILITY_LIST, 1); at;
	     at = pci_read(v->slot, at + PCI_CAP_LIST_NEXT, 1)) {
		if (pci_read(v->slot, at, 1) != PCI_CAP_ID_VNDR)
			continue;
		switch (pci_read(v->slot, CAP(at, cfg_type), 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			v->regs = v->regs ?: structure(v->slot, at);
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			if (v->notify)
				break;
			v->notify = structure(v->slot, at);
			v->notify_multiplier =
				pci_read(v->slot, at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			v->isr = v->isr ?: structure(v->slot, at);
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			v->config = v->config ?: structure(v->slot, at);
			break;
		}
	}
}

/* PCI 3.0, 6.8.2: entry `n` of the vector table, unmasked. */
static void set_vector(struct virtio *v, u32 n, u32 vector)
{
	u64 entry = v->msix_table + n * PCI_MSIX_ENTRY_SIZE;

	mmio_write32(entry + PCI_MSIX_ENTRY_LOWER_ADDR, MSI_ADDRESS(apic_id()));
	mmio_write32(entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
	mmio_write32(entry + PCI_MSIX_ENTRY_DATA, MSI_DATA(vector));
	mmio_write32(entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
}

static void find_msix(struct virtio *v)
{
	u32 at = pci_find_cap(v->slot, PCI_CAP_ID_MSIX), table;

	if (!at || v->no_msix)
		return;
	table = pci_read(v->slot, at + PCI_MSIX_TABLE, 4);
	v->msix_table =
		pci_bar(v->slot, table & PCI_MSIX_TABLE_BIR) + (table & PCI_MSIX_TABLE_OFFSET);
	map_device(v->msix_table, PCI_MSIX_ENTRY_SIZE * (VIRTIO_QUEUES + 1));
	pci_write(v->slot, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

static int pci_probe(struct virtio *v, u32 slot)
{
	u32 ids;

	if (slot >= PCI_SLOTS)
		return -1;
	ids = pci_read(slot, PCI_VENDOR_ID, 4);
	if ((ids & 0xffff) != VENDOR || ids >> 16 < DEVICE_MODERN || ids >> 16 > DEVICE_LAST)
		return 0;
	v->slot = slot;
	v->id = (ids >> 16) - DEVICE_MODERN;
	return 1;
}

static void pci_open(struct virtio *v)
{
	pci_write(v->slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	find_structures(v);
	find_msix(v);
	v->gsi = INTX_GSI(v->slot);
	v->trigger = LEVEL_LOW;
}

static void pci_irq_setup(struct virtio *v)
{
	if (!v->msix_table)
		return;
	set_vector(v, 0, v->vector);
	mmio_write16(COMMON(v, msix_config), 0);
}

static u32 pci_status(struct virtio *v)
{
	return mmio_read8(COMMON(v, device_status));
}

static void pci_status_set(struct virtio *v, u32 status)
{
	mmio_write8(COMMON(v, device_status), status);
}

static u32 pci_features(struct virtio *v, u32 half)
{
	mmio_write32(COMMON(v, device_feature_select), half);
	return mmio_read32(COMMON(v, device_feature));
}

static void pci_features_set(struct virtio *v, u32 half, u32 bits)
{
	mmio_write32(COMMON(v, guest_feature_select), half);
	mmio_write32(COMMON(v, guest_feature), bits);
}

static u32 pci_generation(struct virtio *v)
{
	return mmio_read8(COMMON(v, config_generation));
}

static u32 pci_queue_max(struct virtio *v, u32 i)
{
	mmio_write16(COMMON(v, queue_select), i);
	return mmio_read16(COMMON(v, queue_size));
}

static bool pci_queue_enable(struct virtio *v, struct virtq *q)
{
	mmio_write16(COMMON(v, queue_select), q->index);
	mmio_write16(COMMON(v, queue_size), q->size);
	mmio_write32(COMMON(v, queue_desc_lo), (u64)q->desc);
	mmio_write32(COMMON(v, queue_desc_hi), (u64)q->desc >> 32);
	mmio_write32(COMMON(v, queue_avail_lo), (u64)q->driver);
	mmio_write32(COMMON(v, queue_avail_hi), (u64)q->driver >> 32);
	mmio_write32(COMMON(v, queue_used_lo), (u64)q->device);
	mmio_write32(COMMON(v, queue_used_hi), (u64)q->device >> 32);
	if (v->msix_table) {
		set_vector(v, 1 + q->index, v->vector + 1 + q->index);
		mmio_write16(COMMON(v, queue_msix_vector), 1 + q->index);
		if (mmio_read16(COMMON(v, queue_msix_vector)) != 1 + q->index)
			return false;
	}
	q->doorbell = v->notify + v->notify_multiplier * mmio_read16(COMMON(v, queue_notify_off));
	mmio_write16(COMMON(v, queue_enable), 1);
	return mmio_read16(COMMON(v, queue_enable)) == 1;
}

/* 4.1.4.3.1: it reads 1 until the device is done. */
static void pci_queue_reset(struct virtio *v, u32 i)
{
	mmio_write16(COMMON(v, queue_select), i);
	mmio_write16(COMMON_Q_RESET(v), 1);
	while (mmio_read16(COMMON_Q_RESET(v)))
		cpu_relax();
}

static void pci_kick(struct virtio *v, struct virtq *q)
{
	(void)v;
	mmio_write16(q->doorbell, q->index);
}

static u32 pci_irq_reason(struct virtio *v)
{
	return mmio_read8(v->isr);
}

const struct virtio_transport virtio_pci = {
	.name = "pci",
	.probe = pci_probe,
	.open = pci_open,
	.irq_setup = pci_irq_setup,
	.status = pci_status,
	.status_set = pci_status_set,
	.features = pci_features,
	.features_set = pci_features_set,
	.generation = pci_generation,
	.queue_max = pci_queue_max,
	.queue_enable = pci_queue_enable,
	.queue_reset = pci_queue_reset,
	.kick = pci_kick,
	.irq_reason = pci_irq_reason,
};
