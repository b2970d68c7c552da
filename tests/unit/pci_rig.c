// SPDX-License-Identifier: MIT
/*
 * pci_rig.c - a host bridge and a device with one BAR of each kind. See unit.h.
 */
#include "tests/unit/unit.h"

#include <string.h>

static u64 bar_read(void *owner, u64 off, u32 len)
{
	struct pci_unit *u = owner;

	(void)len;
	u->last_off = off;
	u->reads++;
	return PCI_UNIT_VALUE;
}

static void bar_write(void *owner, u64 off, u32 len, u64 value)
{
	struct pci_unit *u = owner;

	(void)len;
	u->last_off = off;
	u->last_value = value;
	u->writes++;
}

static const struct bus_ops bar_ops = {
	.read = bar_read,
	.write = bar_write,
};

static void unit_config_read(struct pci_dev *d, u32 off, u32 len)
{
	(void)off;
	(void)len;
	container_of(d, struct pci_unit, pci)->config_reads++;
}

static void unit_config_written(struct pci_dev *d, u32 off, u32 len)
{
	(void)off;
	(void)len;
	container_of(d, struct pci_unit, pci)->config_writes++;
}

static void unit_intx(struct pci_dev *d, u32 src)
{
	struct pci_unit *u = container_of(d, struct pci_unit, pci);

	u->intx_calls++;
	u->intx_src = src;
	pci_intx_set(d, true);
}

static const struct pci_ops unit_ops = {
	.config_read = unit_config_read,
	.config_written = unit_config_written,
	.intx = unit_intx,
};

static const struct pci_id unit_id = {
	.vendor = 0x1234,
	.device = 0x5678,
	.subvendor = 0x9abc,
	.subdevice = 0xdef0,
	.class = 0x020000,
	.revision = 3,
};

void pci_unit_init(struct pci_unit *u, const struct machine_env *env)
{
	memset(u, 0, sizeof(*u));
	pci_dev_init(&u->pci, "unit", env, &unit_id, &unit_ops);
}

void pci_unit_bar(struct pci_unit *u, u32 i, u64 size, enum pci_bar_kind kind)
{
	pci_bar_init(&u->pci, i, size, kind, &bar_ops, u);
}

void pci_rig_init(struct pci_rig *p)
{
	memset(p, 0, sizeof(*p));
	rig_init(&p->r);
	p->map = (struct pci_map){
		.ecam = 0xe0000000,
		.mem32 = 0xc0000000,
		.mem32_size = 512 * MIB,
		.mem64 = 32 * GIB,
		.mem64_size = 32 * GIB,
		.io = 0xc000,
		.io_size = 0x4000,
		.intx_gsi = 16,
	};
	ck_assert_int_eq(pci_host_create(&p->host, &p->host_dev, &p->r.env, &p->map), 0);
	pci_unit_init(&p->unit, &p->r.env);
	pci_unit_bar(&p->unit, 0, 4 * KIB, PCI_BAR_MEM32);
	pci_unit_bar(&p->unit, 1, 16, PCI_BAR_IO);
	pci_unit_bar(&p->unit, 2, 64 * KIB, PCI_BAR_MEM64);
	ck_assert_int_eq(pci_irqs_init(&p->unit.pci, PCI_DEV_SOURCES, 4), 0);
	ck_assert_int_eq(pci_attach(p->host, &p->unit.pci, PCI_DEV_SLOT), 0);
	ck_assert_int_eq(pci_host_assign(p->host), 0);
}

void pci_rig_free(struct pci_rig *p)
{
	pci_dev_destroy(&p->unit.pci);
	p->host_dev->ops->destroy(p->host_dev);
	rig_free(&p->r);
	memset(p, 0, sizeof(*p));
}

static void cf8_select(struct pci_rig *p, u32 slot, u32 reg)
{
	bus_write(p->r.env.pio, 0xcf8, 4, 1u << 31 | slot << 11 | (reg & 0xfc));
}

u32 cf8_get(struct pci_rig *p, u32 slot, u32 reg, u32 len)
{
	cf8_select(p, slot, reg);
	return bus_read(p->r.env.pio, 0xcfc + (reg & 3), len);
}

void cf8_set(struct pci_rig *p, u32 slot, u32 reg, u32 len, u32 value)
{
	cf8_select(p, slot, reg);
	bus_write(p->r.env.pio, 0xcfc + (reg & 3), len, value);
}

u64 ecam_get(struct pci_rig *p, u32 slot, u32 reg, u32 len)
{
	return bus_read(p->r.env.mmio, p->map.ecam + (slot << 15) + reg, len);
}

void ecam_set(struct pci_rig *p, u32 slot, u32 reg, u32 len, u64 value)
{
	bus_write(p->r.env.mmio, p->map.ecam + (slot << 15) + reg, len, value);
}
