// SPDX-License-Identifier: MIT
/*
 * acpi.c - what the machine consists of, from the ACPI tables.
 *
 *	start_info -> RSDP -> XSDT -+-> FADT  reset and sleep registers, and -> DSDT
 *				    +-> MADT  CPUs, I/O APIC
 *				    +-> MCFG  where PCI configuration space lies in memory
 *
 * How it works: a table is a header (signature, length) and a body; only the fields used here are
 * named. Two facts stand in the DSDT alone, which is a program (AML): the sleep type for "off", and
 * the registers of the Generic Event Device, which brings the power button. An operating system
 * interprets the program. We look for the bytes that the declarations of those objects must
 * consist of, which does for a table that declares them plainly, as minivmm's does.
 *
 * Section numbers are those of ACPI 6.4.
 */
#include "guest.h"

struct acpi_info acpi;

struct header {
	char signature[4];
	u32 length;
	u8 rest[28];
} __attribute__((packed));

struct rsdp {
	u8 head[16];
	u32 rsdt;
	u32 length;
	u64 xsdt;
} __attribute__((packed));

/* 5.2.9: up to the fields that we use. */
struct fadt {
	struct header h;
	u32 firmware_ctrl, dsdt;
	u8 unused1[72];
	struct acpi_gas reset_reg;
	u8 reset_value;
	u8 unused2[11];
	u64 x_dsdt;
	struct acpi_gas unused3[8];
	struct acpi_gas sleep_control; /* from revision 5 on */
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, reset_reg) == 116, "5.2.9");
_Static_assert(offsetof(struct fadt, x_dsdt) == 140, "5.2.9");
_Static_assert(offsetof(struct fadt, sleep_control) == 244, "5.2.9");

/* 5.2.12 */
struct madt {
	struct header h;
	u32 lapic, flags;
} __attribute__((packed));

#define MADT_PCAT_COMPAT 1
#define MADT_LAPIC	 0
#define MADT_IOAPIC	 1
#define MADT_X2APIC	 9
#define LAPIC_ENABLED	 1

struct madt_entry {
	u8 type, length;
	union {
		struct {
			u8 uid, id;
			u32 flags;
		} __attribute__((packed)) lapic;
		struct {
			u8 id, reserved;
			u32 address, gsi;
		} __attribute__((packed)) ioapic;
		struct {
			u16 reserved;
			u32 id, flags;
		} __attribute__((packed)) x2apic;
	};
} __attribute__((packed));

struct mcfg {
	struct header h;
	u64 reserved;
	u64 address; /* of the first entry, which is segment 0 */
} __attribute__((packed));

static void add_cpu(u32 id, u32 flags)
{
	if ((flags & LAPIC_ENABLED) && acpi.ncpus < CPUS_MAX)
		acpi.apic_id[acpi.ncpus++] = id;
}

static void read_madt(const struct madt *m)
{
	const u8 *end = (const u8 *)m + m->h.length;
	const struct madt_entry *e;

	acpi.has_8259 = m->flags & MADT_PCAT_COMPAT;
	for (const u8 *p = (const u8 *)(m + 1); p < end; p += e->length) {
		e = (const struct madt_entry *)p;
		if (e->type == MADT_LAPIC)
			add_cpu(e->lapic.id, e->lapic.flags);
		else if (e->type == MADT_X2APIC)
			add_cpu(e->x2apic.id, e->x2apic.flags);
		else if (e->type == MADT_IOAPIC && !acpi.ioapic) {
			acpi.ioapic = e->ioapic.address;
			acpi.ioapic_gsi = e->ioapic.gsi;
		}
	}
}

/* The first place in [p, end) where `len` bytes equal `what`: the byte behind them. Or NULL. */
static const u8 *find(const u8 *p, const u8 *end, const char *what, size_t len)
{
	for (; p && (size_t)(end - p) >= len; p++) {
		if (*p == (u8)*what && memcmp(p, what, len) == 0)
			return p + len;
	}
	return NULL;
}

/* An integer constant (20.2.3). */
static u64 aml_integer(const u8 *p)
{
	u64 v = 0;

	switch (*p) {
	case 0x0a:
		memcpy(&v, p + 1, 1);
		return v;
	case 0x0b:
		memcpy(&v, p + 1, 2);
		return v;
	case 0x0c:
		memcpy(&v, p + 1, 4);
		return v;
	default:
		return *p; /* ZeroOp, OneOp */
	}
}

static void read_dsdt(const struct header *h)
{
	const u8 *p = (const u8 *)(h + 1), *end = (const u8 *)h + h->length;
	const u8 *ged = find(p, end, "ACPI0013", 8);
	const u8 *s5, *irq, *region;

	s5 = find(p, end, "_S5_\x12", 5);	 /* Name (_S5, Package ...) */
	irq = find(ged, end, "\x89\x06\x00", 3); /* 6.4.3.6: extended interrupt */
	region = find(ged, end, "\x5b\x80", 2);	 /* OperationRegion: name, space, address */
	if (s5) /* PkgLength, in as many more bytes as its top bits say; the number of elements */
		acpi.sleep_type = aml_integer(s5 + 1 + (*s5 >> 6) + 1);
	if (ged && irq && region) {
		memcpy(&acpi.event_gsi, irq + 2, 4);
		acpi.event_port = aml_integer(region + 4 + 1);
	}
}

static void read_fadt(const struct fadt *f)
{
	acpi.reset_reg = f->reset_reg;
	acpi.reset_value = f->reset_value;
	if (f->h.length > offsetof(struct fadt, sleep_control))
		acpi.sleep_control = f->sleep_control;
	read_dsdt((const struct header *)(f->x_dsdt ? f->x_dsdt : f->dsdt));
}

static void read_table(const struct header *h)
{
	if (memcmp(h->signature, "FACP", 4) == 0)
		read_fadt((const struct fadt *)h);
	else if (memcmp(h->signature, "APIC", 4) == 0)
		read_madt((const struct madt *)h);
	else if (memcmp(h->signature, "MCFG", 4) == 0)
		acpi.ecam = ((const struct mcfg *)h)->address;
}

void acpi_read(const struct hvm_start_info *info)
{
	const struct rsdp *r = (const struct rsdp *)info->rsdp_paddr;
	/* ACPI 1.0 had an RSDT of 32-bit addresses; the XSDT took its place and has 64-bit ones. */
	bool wide = r->xsdt;
	const struct header *root = (const struct header *)(wide ? r->xsdt : r->rsdt);

	for (u32 at = sizeof(*root); at < root->length; at += wide ? 8 : 4) {
		u64 table = 0;

		memcpy(&table, (const u8 *)root + at, wide ? 8 : 4);
		read_table((const struct header *)table);
	}
}
