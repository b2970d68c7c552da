// SPDX-License-Identifier: MIT
/*
 * host.c - the PCI host bridge: configuration access, BAR decoding, address assignment.
 *
 * How it works: a configuration access comes in by one of two ways and leaves by one,
 *
 *	CF8h = 1 | bus | slot | fn | reg, then CFCh..CFFh   (PIO) --\
 *	                                                             config_read / config_write
 *	ECAM: bus << 20 | slot << 15 | fn << 12 | reg      (MMIO) --/      on the slot's pci_dev
 *
 * and after a write to the command register or a BAR, decode_bars() puts on the buses what the
 * guest now wants there. A BAR that would overlap something else stays off the bus, and comes on
 * as soon as its place is free.
 *
 * Threads: `lock` guards everything below it and every device's configuration and MSI-X table.
 */
#include "devices/pci/pci_internal.h"
#include "minivmm/log.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CF8_ENABLE    (1u << 31)
#define ECAM_SIZE     (1 * MIB)
#define MEM32_LARGEST (256 * MIB) /* BARs larger than this go above 4 GiB where they can */

struct pci_host {
	struct device dev;
	struct pci_dev bridge; /* 00:00.0 */
	const struct machine_env *env;
	struct pci_map map; /* fixed after create */
	struct bus_range cf8, ecam;

	pthread_mutex_t lock;
	u32 address; /* what CF8h holds */
	struct pci_dev *slot[PCI_SLOTS];
};

void pci_host_lock(struct pci_host *h)
{
	if (h)
		pthread_mutex_lock(&h->lock);
}

void pci_host_unlock(struct pci_host *h)
{
	if (h)
		pthread_mutex_unlock(&h->lock);
}

/* Take off the bus each BAR that is on it and should not be, or not there. */
static void undecode_bars(struct pci_dev *d)
{
	for (u32 i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &d->bar[i];

		if (bar->range.bus &&
		    (!pci_bar_decoded(d, i) || bar->range.base != pci_bar_addr(d, i)))
			bus_del(&bar->range);
	}
}

static void decode_missing_bars(struct pci_dev *d)
{
	for (u32 i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &d->bar[i];

		if (bar->range.bus || !pci_bar_decoded(d, i))
			continue;
		bar->range.base = pci_bar_addr(d, i);
		/* A refusal leaves it off: two at one address is the guest's mistake, and usually
		 * a short one, while it sizes or moves them. */
		if (bar->kind != PCI_BAR_IO)
			bus_add(d->env->mmio, &bar->range);
		else if (d->env->pio)
			bus_add(d->env->pio, &bar->range);
	}
}

static void decode_bars(struct pci_host *h)
{
	for (u32 s = 0; s < PCI_SLOTS; s++) {
		if (h->slot[s])
			undecode_bars(h->slot[s]);
	}
	for (u32 s = 0; s < PCI_SLOTS; s++) {
		if (h->slot[s])
			decode_missing_bars(h->slot[s]);
	}
}

/* The device at bus 0, `slot`, function 0, or NULL. */
static struct pci_dev *dev_at(struct pci_host *h, u32 bus, u32 slot, u32 fn)
{
	struct pci_dev *d;

	if (bus || fn)
		return NULL;
	pci_host_lock(h);
	d = h->slot[slot];
	pci_host_unlock(h);
	return d;
}

static u32 config_read(struct pci_dev *d, u32 off, u32 len)
{
	u32 value;

	if (!d)
		return bytes_mask(len);
	if (d->ops->config_read)
		d->ops->config_read(d, off, len);
	pci_host_lock(d->host);
	value = pci_config_load(d, off, len);
	pci_host_unlock(d->host);
	return value;
}

static void config_write(struct pci_dev *d, u32 off, u32 len, u32 value)
{
	if (!d)
		return;
	pci_host_lock(d->host);
	pci_config_store(d, off, len, value);
	if (ranges_overlap(off, len, PCI_COMMAND, 2)) {
		pci_intx_update(d);
		decode_bars(d->host);
	}
	if (ranges_overlap(off, len, PCI_BASE_ADDRESS_0, 4 * PCI_BARS))
		decode_bars(d->host);
	if (d->msix_cap && ranges_overlap(off, len, d->msix_cap + PCI_MSIX_FLAGS, 2))
		pci_msix_control_written(d);
	pci_host_unlock(d->host);
	if (d->ops->config_written)
		d->ops->config_written(d, off, len);
}

/* CF8h: the address register, a dword; CFCh to CFFh: the data. */
static struct pci_dev *cf8_dev(struct pci_host *h, u64 off, u32 len, u32 *reg)
{
	u32 address;

	pci_host_lock(h);
	address = h->address;
	pci_host_unlock(h);
	*reg = (address & 0xfc) + (off & 3);
	if (!(address & CF8_ENABLE) || (off & 3) + len > 4)
		return NULL;
	return dev_at(h, (address >> 16) & 0xff, (address >> 11) & 0x1f, (address >> 8) & 7);
}

static u64 cf8_read(void *owner, u64 off, u32 len)
{
	struct pci_host *h = owner;
	u64 value = ~0ULL;
	u32 reg;

	if (off >= 4) {
		struct pci_dev *d = cf8_dev(h, off, len, &reg);

		return config_read(d, reg, len > 4 ? 4 : len);
	}
	if (off == 0 && len == 4) {
		pci_host_lock(h);
		value = h->address;
		pci_host_unlock(h);
	}
	return value;
}

static void cf8_write(void *owner, u64 off, u32 len, u64 value)
{
	struct pci_host *h = owner;
	u32 reg;

	if (off >= 4) {
		struct pci_dev *d = cf8_dev(h, off, len, &reg);

		config_write(d, reg, len, value);
	} else if (off == 0 && len == 4) { /* anything but a dword is no access to this register */
		pci_host_lock(h);
		h->address = value & ~3u;
		pci_host_unlock(h);
	}
}

static const struct bus_ops cf8_ops = {
	.read = cf8_read,
	.write = cf8_write,
};

/* An access that crosses a dword, which ECAM forbids, or has 8 bytes is done in halves. */
static u64 ecam_read(void *owner, u64 off, u32 len)
{
	if ((off & 3) + len > 4) {
		u32 half = len / 2;

		return ecam_read(owner, off, half) | ecam_read(owner, off + half, half)
							     << (8 * half);
	}
	return config_read(dev_at(owner, off >> 20, (off >> 15) & 0x1f, (off >> 12) & 7),
			   off & 0xfff, len);
}

static void ecam_write(void *owner, u64 off, u32 len, u64 value)
{
	if ((off & 3) + len > 4) {
		u32 half = len / 2;

		ecam_write(owner, off, half, value & bytes_mask(half));
		ecam_write(owner, off + half, half, value >> (8 * half));
		return;
	}
	config_write(dev_at(owner, off >> 20, (off >> 15) & 0x1f, (off >> 12) & 7), off & 0xfff,
		     len, value);
}

static const struct bus_ops ecam_ops = {
	.read = ecam_read,
	.write = ecam_write,
};

int pci_attach(struct pci_host *h, struct pci_dev *d, u32 slot)
{
	while (slot < PCI_SLOTS && h->slot[slot])
		slot++;
	if (slot == PCI_SLOTS) {
		log_err("no PCI slot is left for %s", d->name);
		return -ENOSPC;
	}
	d->slot = slot;
	irq_line_init(&d->pin, d->env->irqchip, h->map.intx_gsi + slot % 4);
	memcpy(d->initial, d->config, sizeof(d->initial));
	d->host = h;
	pci_dev_reset(d);
	pci_host_lock(h);
	h->slot[slot] = d;
	pci_host_unlock(h);
	return 0;
}

void pci_dev_reset(struct pci_dev *d)
{
	pci_host_lock(d->host);
	memcpy(d->config, d->initial, sizeof(d->config));
	undecode_bars(d);
	pci_msix_reset(d);
	d->intx_high = false;
	pci_intx_update(d);
	pci_host_unlock(d->host);
}

void pci_dev_destroy(struct pci_dev *d)
{
	if (d->host) {
		pci_host_lock(d->host);
		d->host->slot[d->slot] = NULL;
		pci_host_unlock(d->host);
	}
	for (u32 i = 0; i < PCI_BARS; i++) {
		bus_del(&d->bar[i].range);
		bus_range_free(&d->bar[i].range);
	}
	pci_msix_destroy(d);
}

/* Take `size` bytes, aligned to their size, from the window that *next walks through. */
static bool take(u64 *next, u64 end, u64 size, u64 *addr)
{
	u64 at = ALIGN_UP(*next, size);

	if (at < *next || !range_inside(at, size, 0, end))
		return false;
	*addr = at;
	*next = at + size;
	return true;
}

int pci_host_assign(struct pci_host *h)
{
	const struct pci_map *m = &h->map;
	u64 next32 = m->mem32, next64 = m->mem64, next_io = m->io;
	int err = 0;

	pci_host_lock(h);
	for (u32 n = 0; n < PCI_SLOTS * PCI_BARS; n++) {
		struct pci_dev *d = h->slot[n / PCI_BARS];
		struct pci_bar *bar = d ? &d->bar[n % PCI_BARS] : NULL;
		bool found = false;
		u64 addr = 0;

		if (!bar || !bar->size)
			continue;
		if (bar->kind == PCI_BAR_IO)
			found = take(&next_io, m->io + m->io_size, bar->size, &addr);
		else if (bar->size <= MEM32_LARGEST || bar->kind == PCI_BAR_MEM32)
			found = take(&next32, m->mem32 + m->mem32_size, bar->size, &addr);
		if (!found && bar->kind == PCI_BAR_MEM64)
			found = take(&next64, m->mem64 + m->mem64_size, bar->size, &addr);
		if (!found) {
			log_err("no room for BAR %u (%llu bytes) of %s", n % PCI_BARS,
				(unsigned long long)bar->size, d->name);
			err = -ENOSPC;
			break;
		}
		pci_bar_set_addr(d, n % PCI_BARS, addr);
	}
	pci_host_unlock(h);
	return err;
}

static void host_reset(struct device *dev)
{
	struct pci_host *h = container_of(dev, struct pci_host, dev);

	h->address = 0;
	pci_dev_reset(&h->bridge);
}

static void host_destroy(struct device *dev)
{
	struct pci_host *h = container_of(dev, struct pci_host, dev);

	bus_del(&h->cf8);
	bus_del(&h->ecam);
	pci_dev_destroy(&h->bridge);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static const struct device_ops host_ops = {
	.name = "pci-host",
	.reset = host_reset,
	.destroy = host_destroy,
};

/* Red Hat's generic PCIe host bridge: no driver needs to know more than its class. */
static const struct pci_id bridge_id = {
	.vendor = 0x1b36,
	.device = 0x0008,
	.subvendor = 0x1af4,
	.subdevice = 0x1100,
	.class = 0x060000,
};

int pci_host_create(struct pci_host **out, struct device **dev, const struct machine_env *env,
		    const struct pci_map *map)
{
	struct pci_host *h = calloc(1, sizeof(*h));
	int err;

	if (!h)
		return -ENOMEM;
	h->dev.ops = &host_ops;
	h->env = env;
	h->map = *map;
	pthread_mutex_init(&h->lock, NULL);
	pci_dev_init(&h->bridge, "pci-host", env, &bridge_id, NULL);
	h->cf8 = (struct bus_range){
		.name = "pci-cf8", .ops = &cf8_ops, .owner = h, .base = 0xcf8, .len = 8
	};
	h->ecam = (struct bus_range){ .name = "pci-ecam",
				      .ops = &ecam_ops,
				      .owner = h,
				      .base = map->ecam,
				      .len = ECAM_SIZE };

	err = pci_attach(h, &h->bridge, 0);
	if (!err && env->pio)
		err = bus_add(env->pio, &h->cf8);
	if (!err)
		err = bus_add(env->mmio, &h->ecam);
	if (err) {
		host_destroy(&h->dev);
		return err;
	}
	*out = h;
	*dev = &h->dev;
	return 0;
}
