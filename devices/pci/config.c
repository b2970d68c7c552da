// SPDX-License-Identifier: MIT
/*
 * config.c - a PCI device's configuration space: header, capabilities, BARs, INTx.
 *
 * How it works: the 256 bytes stand in `config`; `writable` says bit by bit what the guest can
 * change, so most registers need no code at all. A BAR is the best example: its low bits, up to
 * its size, are not writable and read as zero, and that is how the guest finds out the size
 * (PCI 3.0, 6.2.5.1).
 *
 *	00h  device id | vendor id		10h..24h  BAR 0..5
 *	04h  status    | command		34h       first capability
 *	08h  class     | revision		3Ch       interrupt pin | line
 *	0Ch  ... header type ...		40h..     capabilities
 *
 * What a write sets off, host.c does: it re-decodes the BARs, msix.c routes the vectors again.
 */
#include "devices/pci/pci_internal.h"
#include "minivmm/log.h"

#include <assert.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#define CAPS_START 0x40

static void put16(u8 *p, u16 v)
{
	memcpy(p, &v, 2);
}

static void put32(u8 *p, u32 v)
{
	memcpy(p, &v, 4);
}

static u16 get16(const u8 *p)
{
	u16 v;

	memcpy(&v, p, 2);
	return v;
}

void pci_dev_init(struct pci_dev *d, const char *name, const struct machine_env *env,
		  const struct pci_id *id, const struct pci_ops *ops)
{
	static const struct pci_ops no_ops;

	*d = (struct pci_dev){ .name = name, .env = env, .ops = ops ? ops : &no_ops };
	d->cap_end = CAPS_START;

	put16(d->config + PCI_VENDOR_ID, id->vendor);
	put16(d->config + PCI_DEVICE_ID, id->device);
	put16(d->config + PCI_SUBSYSTEM_VENDOR_ID, id->subvendor);
	put16(d->config + PCI_SUBSYSTEM_ID, id->subdevice);
	put32(d->config + PCI_CLASS_REVISION, id->class << 8 | id->revision);
	d->config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_NORMAL;

	put16(d->writable + PCI_COMMAND,
	      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	d->writable[PCI_CACHE_LINE_SIZE] = 0xff; /* scratch for the guest, as on real devices */
	d->writable[PCI_INTERRUPT_LINE] = 0xff;
}

void pci_bar_init(struct pci_dev *d, u32 i, u64 size, enum pci_bar_kind kind,
		  const struct bus_ops *ops, void *owner)
{
	struct pci_bar *bar = &d->bar[i];
	u8 *reg = d->config + PCI_BASE_ADDRESS_0 + 4 * i;
	u8 *mask = d->writable + PCI_BASE_ADDRESS_0 + 4 * i;

	assert(size >= 16 && !(size & (size - 1)));
	assert(i + (kind == PCI_BAR_MEM64) < PCI_BARS);
	bar->size = size;
	bar->kind = kind;
	bar->range = (struct bus_range){ .name = d->name, .ops = ops, .owner = owner, .len = size };

	put32(mask, ~(u32)(size - 1));
	if (kind == PCI_BAR_IO) {
		put32(reg, PCI_BASE_ADDRESS_SPACE_IO);
		put32(mask, ~(u32)(size - 1) & 0xffff); /* ports have 16 bits */
	} else if (kind == PCI_BAR_MEM64) {
		put32(reg, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
		put32(mask + 4, ~(u32)((size - 1) >> 32));
	}
}

u32 pci_cap_add(struct pci_dev *d, u8 id, u32 len)
{
	u32 at = d->cap_end;

	assert(at + len <= PCI_CONFIG_SIZE);
	d->config[at + PCI_CAP_LIST_ID] = id;
	d->config[d->last_cap ? d->last_cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST] = at;
	d->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	d->last_cap = at;
	d->cap_end = ALIGN_UP(at + len, 4);
	return at;
}

u64 pci_bar_addr(const struct pci_dev *d, u32 i)
{
	const u8 *reg = d->config + PCI_BASE_ADDRESS_0 + 4 * i;
	u64 addr = 0;

	memcpy(&addr, reg, d->bar[i].kind == PCI_BAR_MEM64 ? 8 : 4);
	return addr & ~(d->bar[i].size - 1);
}

void pci_bar_set_addr(struct pci_dev *d, u32 i, u64 addr)
{
	u8 *reg = d->config + PCI_BASE_ADDRESS_0 + 4 * i;
	u64 old = 0;
	u32 len = d->bar[i].kind == PCI_BAR_MEM64 ? 8 : 4;

	memcpy(&old, reg, len);
	addr |= old & (d->bar[i].size - 1);
	memcpy(reg, &addr, len);
}

bool pci_bar_decoded(const struct pci_dev *d, u32 i)
{
	u16 command = get16(d->config + PCI_COMMAND);

	if (!d->bar[i].size)
		return false;
	return command & (d->bar[i].kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

u32 pci_config_load(const struct pci_dev *d, u32 off, u32 len)
{
	u32 value = 0;

	if (off >= PCI_CONFIG_SIZE) /* the extended space of a conventional device */
		return 0;
	memcpy(&value, d->config + off, len);
	return value;
}

void pci_config_store(struct pci_dev *d, u32 off, u32 len, u32 value)
{
	if (off >= PCI_CONFIG_SIZE)
		return;
	for (u32 i = 0; i < len; i++) {
		u8 mask = d->writable[off + i];

		d->config[off + i] = (d->config[off + i] & ~mask) | ((value >> (8 * i)) & mask);
	}
}

u32 pci_config_get(struct pci_dev *d, u32 off, u32 len)
{
	u32 value;

	pci_host_lock(d->host);
	value = pci_config_load(d, off, len);
	pci_host_unlock(d->host);
	return value;
}

void pci_config_set(struct pci_dev *d, u32 off, u32 len, u32 value)
{
	pci_host_lock(d->host);
	memcpy(d->config + off, &value, len);
	pci_host_unlock(d->host);
}

/* The pin shows what the device asserts, unless INTx is disabled or MSI-X in use. */
void pci_intx_update(struct pci_dev *d)
{
	u16 command = get16(d->config + PCI_COMMAND);

	if (!d->config[PCI_INTERRUPT_PIN])
		return;
	d->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
	if (d->intx_high)
		d->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	irq_line_set(&d->pin,
		     d->intx_high && !(command & PCI_COMMAND_INTX_DISABLE) && !pci_msix_enabled(d));
}

void pci_intx_set(struct pci_dev *d, bool high)
{
	pci_host_lock(d->host);
	d->intx_high = high;
	pci_intx_update(d);
	pci_host_unlock(d->host);
}
