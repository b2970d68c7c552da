// SPDX-License-Identifier: MIT
/*
 * msix.c - MSI-X: the vector table, its masks and pending bits, and the device's interrupt sources.
 *
 * How it works (PCI 3.0, 6.8.2). The BAR holds the table and, from PBA_OFFSET on, the pending
 * bits. A vector is *open* when MSI-X is enabled and neither the function nor the vector is
 * masked. route_source() gives each source's irq its route:
 *
 *	MSI-X off			IRQ_NOTIFY, to the device's intx() op
 *	on, bound to an open vector	IRQ_MSI, the vector's message
 *	on, otherwise			IRQ_MASKED
 *
 * and that is all: a signal that arrives while masked waits in the irq's eventfd, which is what the
 * pending bit reports, and is sent when the route opens.
 *
 * Threads: the table is under the host's lock. Routing never waits for another thread.
 */
#include "devices/pci/pci_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#define PBA_OFFSET   0x8000 /* behind a table of 2048 vectors */
#define MSIX_BAR_LEN 0x10000

struct msix_entry {
	u32 addr_lo;
	u32 addr_hi;
	u32 data;
	u32 control; /* bit 0: masked */
};
_Static_assert(sizeof(struct msix_entry) == PCI_MSIX_ENTRY_SIZE, "PCI 3.0, 6.8.2.6");

static u16 msix_control(const struct pci_dev *d)
{
	u16 control;

	memcpy(&control, d->config + d->msix_cap + PCI_MSIX_FLAGS, 2);
	return control;
}

bool pci_msix_enabled(const struct pci_dev *d)
{
	return d->msix_cap && (msix_control(d) & PCI_MSIX_FLAGS_ENABLE);
}

static bool vector_open(const struct pci_dev *d, u32 vector)
{
	return vector < d->nvectors && !(msix_control(d) & PCI_MSIX_FLAGS_MASKALL) &&
	       !(d->msix[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

static void source_notify(struct irq *irq)
{
	struct pci_source *s = container_of(irq, struct pci_source, irq);

	s->dev->ops->intx(s->dev, s - s->dev->source);
}

static void route_source(struct pci_source *s)
{
	struct pci_dev *d = s->dev;

	if (!pci_msix_enabled(d)) {
		if (!d->ops->intx)
			irq_mask(&s->irq);
		else if (s->irq.route != IRQ_NOTIFY)
			irq_to_notify(&s->irq, d->env->loop, source_notify);
	} else if (vector_open(d, s->vector)) {
		const struct msix_entry *e = &d->msix[s->vector];
		struct msi_msg msg = { .addr = (u64)e->addr_hi << 32 | e->addr_lo,
				       .data = e->data };

		irq_to_msi(&s->irq, &msg);
	} else {
		irq_mask(&s->irq);
	}
}

static void route_all(struct pci_dev *d)
{
	for (u32 i = 0; i < d->nsources; i++)
		route_source(&d->source[i]);
}

static void route_vector(struct pci_dev *d, u32 vector)
{
	for (u32 i = 0; i < d->nsources; i++) {
		if (d->source[i].vector == vector)
			route_source(&d->source[i]);
	}
}

static bool vector_pending(const struct pci_dev *d, u32 vector)
{
	for (u32 i = 0; i < d->nsources; i++) {
		if (d->source[i].vector == vector && irq_pending(&d->source[i].irq))
			return true;
	}
	return false;
}

/* One aligned dword of the table or the pending bits; reserved ones read as zero. */
static u32 bar_dword(const struct pci_dev *d, u64 off)
{
	u32 value = 0;

	if (off < d->nvectors * sizeof(struct msix_entry)) {
		memcpy(&value, (const u8 *)d->msix + off, 4);
	} else if (off >= PBA_OFFSET && off < PBA_OFFSET + ALIGN_UP(d->nvectors, 64) / 8) {
		u32 first = (off - PBA_OFFSET) * 8;

		for (u32 i = 0; i < 32 && first + i < d->nvectors; i++)
			value |= (u32)vector_pending(d, first + i) << i;
	}
	return value;
}

/*
 * "For all accesses to MSI-X Table and MSI-X PBA fields, software must use aligned full DWORD or
 * aligned full QWORD transactions; otherwise, the result is undefined." Ours: zero, no effect.
 */
static bool access_is_legal(u64 off, u32 len)
{
	return (len == 4 || len == 8) && off % len == 0;
}

static u64 msix_bar_read(void *owner, u64 off, u32 len)
{
	struct pci_dev *d = owner;
	u64 value = 0;

	if (!access_is_legal(off, len))
		return 0;
	pci_host_lock(d->host);
	value = bar_dword(d, off);
	if (len == 8)
		value |= (u64)bar_dword(d, off + 4) << 32;
	pci_host_unlock(d->host);
	return value;
}

static void table_write(struct pci_dev *d, u64 off, u32 value)
{
	if (off % sizeof(struct msix_entry) == PCI_MSIX_ENTRY_VECTOR_CTRL)
		value &= PCI_MSIX_ENTRY_CTRL_MASKBIT; /* the other bits are reserved */
	memcpy((u8 *)d->msix + off, &value, 4);
}

static void msix_bar_write(void *owner, u64 off, u32 len, u64 value)
{
	struct pci_dev *d = owner;

	if (!access_is_legal(off, len) || off >= d->nvectors * sizeof(struct msix_entry))
		return; /* the pending bits are read-only */
	pci_host_lock(d->host);
	table_write(d, off, value);
	if (len == 8)
		table_write(d, off + 4, value >> 32);
	route_vector(d, off / sizeof(struct msix_entry));
	pci_host_unlock(d->host);
}

static const struct bus_ops msix_bar_ops = {
	.read = msix_bar_read,
	.write = msix_bar_write,
};

int pci_irqs_init(struct pci_dev *d, u32 n, u32 msix_bar)
{
	u32 cap;

	assert(n >= 1 && n <= PBA_OFFSET / sizeof(struct msix_entry));
	d->source = calloc(n, sizeof(*d->source));
	d->msix = calloc(n, sizeof(*d->msix));
	if (!d->source || !d->msix)
		return -ENOMEM;
	for (u32 i = 0; i < n; i++) {
		int err = irq_init(&d->source[i].irq, d->env->irqchip);

		if (err)
			return err;
		d->source[i].dev = d;
		d->nsources++;
	}

	d->nvectors = n;
	d->msix_bar = msix_bar;
	pci_bar_init(d, msix_bar, MSIX_BAR_LEN, PCI_BAR_MEM32, &msix_bar_ops, d);
	cap = pci_cap_add(d, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	memcpy(d->config + cap + PCI_MSIX_FLAGS, &(u16){ n - 1 }, 2);
	memcpy(d->writable + cap + PCI_MSIX_FLAGS,
	       &(u16){ PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL }, 2);
	memcpy(d->config + cap + PCI_MSIX_TABLE, &(u32){ msix_bar }, 4);
	memcpy(d->config + cap + PCI_MSIX_PBA, &(u32){ PBA_OFFSET | msix_bar }, 4);
	d->msix_cap = cap;
	d->config[PCI_INTERRUPT_PIN] = 1; /* INTA# */
	return 0;
}

struct irq *pci_irq(struct pci_dev *d, u32 src)
{
	return &d->source[src].irq;
}

void pci_irq_bind(struct pci_dev *d, u32 src, u32 vector)
{
	pci_host_lock(d->host);
	d->source[src].vector = vector;
	route_source(&d->source[src]);
	pci_host_unlock(d->host);
}

void pci_irq_reset(struct pci_dev *d, u32 src)
{
	struct pci_source *s = &d->source[src];

	pci_host_lock(d->host);
	irq_mask(&s->irq);
	irq_clear(&s->irq);
	s->vector = PCI_NO_VECTOR;
	route_source(s);
	pci_host_unlock(d->host);
}

/* The guest wrote the capability's message control: enable or function mask may have changed. */
void pci_msix_control_written(struct pci_dev *d)
{
	route_all(d);
	pci_intx_update(d);
}

void pci_msix_reset(struct pci_dev *d)
{
	for (u32 i = 0; i < d->nvectors; i++)
		d->msix[i] = (struct msix_entry){ .control = PCI_MSIX_ENTRY_CTRL_MASKBIT };
	for (u32 i = 0; i < d->nsources; i++) {
		struct pci_source *s = &d->source[i];

		irq_mask(&s->irq);
		irq_clear(&s->irq);
		s->vector = i;
		route_source(s);
	}
}

void pci_msix_destroy(struct pci_dev *d)
{
	for (u32 i = 0; i < d->nsources; i++)
		irq_destroy(&d->source[i].irq);
	free(d->source);
	free(d->msix);
	d->source = NULL;
	d->msix = NULL;
	d->nsources = 0;
}
