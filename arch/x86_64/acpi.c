// SPDX-License-Identifier: MIT
/*
 * acpi.c - the ACPI tables: what firmware would tell the guest about the machine.
 *
 *	RSDP -> XSDT -+-> FADT -> DSDT	  the platform's kind; devices, in AML
 *		      +-> MADT		  CPUs, I/O APIC
 *		      +-> MCFG		  where ECAM is
 *
 * How it works: the machine is a *hardware-reduced* ACPI platform (ACPI 6.4, 4.1): no power
 * management timer, no SCI, no fixed events. Sleep and reset are single registers, and the power
 * button is an ordinary device whose event comes through a Generic Event Device (5.6.9): its
 * interrupt runs _EVT, which reads and so clears the events register, and notifies the button.
 *
 * The tables are built from `struct platform` alone, one after another in the area that layout.h
 * gives them; the RSDP stands first, where a guest without acpi_rsdp_addr would look for it.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/aml.h"
#include "arch/x86_64/layout.h"
#include "minivmm/log.h"
#include "minivmm/power_regs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define OEM_ID	     "MINIVM"
#define OEM_TABLE_ID "MINIVMM "

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem_id[6], oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4, 5.2.6");

struct acpi_rsdp {
	char signature[8];
	u8 checksum; /* of the first 20 bytes */
	char oem_id[6];
	u8 revision;
	u32 rsdt;
	u32 length;
	u64 xsdt;
	u8 extended_checksum;
	u8 reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4, 5.2.5.3");

struct acpi_gas {
	u8 space; /* 1: I/O ports */
	u8 bits, offset, access;
	u64 address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header h;
	u32 firmware_ctrl, dsdt;
	u8 reserved0, profile;
	u16 sci_int;
	u8 fixed_hardware1[61]; /* SMI to CENTURY: unused on a hardware-reduced platform */
	u16 boot_arch;
	u8 reserved1;
	u32 flags;
	struct acpi_gas reset_reg;
	u8 reset_value;
	u16 arm_boot_arch;
	u8 minor;
	u64 x_firmware_ctrl, x_dsdt;
	struct acpi_gas fixed_hardware2[8];
	struct acpi_gas sleep_control, sleep_status;
	u64 hypervisor;
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.4, 5.2.9");

#define FADT_POWER_BUTTON (1 << 4) /* a control-method button, not a fixed one */
#define FADT_SLEEP_BUTTON (1 << 5) /* likewise, that is: none */
#define FADT_RESET_REG	  (1 << 10)
#define FADT_HW_REDUCED	  (1 << 20)
#define BOOT_ARCH_NO_VGA  (1 << 2)
#define BOOT_ARCH_NO_ASPM (1 << 4)

struct madt_lapic {
	u8 type, length, uid, apic_id;
	u32 flags;
} __attribute__((packed));

struct madt_x2apic {
	u8 type, length;
	u16 reserved;
	u32 x2apic_id, flags, uid;
} __attribute__((packed));

struct madt_ioapic {
	u8 type, length, id, reserved;
	u32 address, gsi_base;
} __attribute__((packed));

struct mcfg_entry {
	u64 address;
	u16 segment;
	u8 first_bus, last_bus;
	u32 reserved;
} __attribute__((packed));

/* The area being filled. A table is begun, filled through `at`, and ended. */
struct tables {
	u8 *area;
	u64 used;
	bool full;
};

static void *put(struct tables *t, const void *p, u64 len)
{
	u8 *at = t->area + t->used;

	if (len > ACPI_SIZE - t->used) {
		t->full = true;
		return t->area; /* something to write on; the result is thrown away */
	}
	memcpy(at, p, len);
	t->used += len;
	return at;
}

static u64 addr_of(const struct tables *t, const void *p)
{
	return ACPI_ADDR + ((const u8 *)p - t->area);
}

static u8 checksum(const void *p, u64 len)
{
	const u8 *b = p;
	u8 sum = 0;

	while (len--)
		sum += *b++;
	return -sum;
}

static struct acpi_header header(const char *signature, u8 revision)
{
	struct acpi_header h = { .revision = revision, .oem_revision = 1, .creator_revision = 1 };

	memcpy(h.signature, signature, 4);
	memcpy(h.oem_id, OEM_ID, 6);
	memcpy(h.oem_table_id, OEM_TABLE_ID, 8);
	memcpy(h.creator_id, "MVMM", 4);
	return h;
}

static struct acpi_header *table_begin(struct tables *t, const char *signature, u8 revision)
{
	struct acpi_header h = header(signature, revision);

	t->used = ALIGN_UP(t->used, 16);
	return put(t, &h, sizeof(h));
}

/* Length and checksum; returns the table's guest address. */
static u64 table_end(struct tables *t, struct acpi_header *h)
{
	if (t->full)
		return 0;
	h->length = t->area + t->used - (u8 *)h;
	h->checksum = checksum(h, h->length);
	return addr_of(t, h);
}

static u64 make_madt(struct tables *t, const struct platform *p)
{
	struct acpi_header *h = table_begin(t, "APIC", 5);
	struct madt_ioapic ioapic = { .type = 1, .length = sizeof(ioapic), .address = IOAPIC_ADDR };
	u32 head[2] = { LAPIC_ADDR, 0 }; /* no dual 8259 to set up */

	put(t, head, sizeof(head));
	for (u32 i = 0; i < p->cpus; i++) {
		struct madt_lapic l = {
			.type = 0, .length = sizeof(l), .uid = i, .apic_id = i, .flags = 1
		};
		struct madt_x2apic x = {
			.type = 9, .length = sizeof(x), .x2apic_id = i, .uid = i, .flags = 1
		};

		if (i < 255)
			put(t, &l, sizeof(l));
		else
			put(t, &x, sizeof(x));
	}
	put(t, &ioapic, sizeof(ioapic));
	return table_end(t, h);
}

static u64 make_mcfg(struct tables *t, const struct platform *p)
{
	struct acpi_header *h = table_begin(t, "MCFG", 1);
	struct mcfg_entry e = { .address = p->pci.ecam, .first_bus = 0, .last_bus = 0 };
	u64 reserved = 0;

	put(t, &reserved, sizeof(reserved));
	put(t, &e, sizeof(e));
	return table_end(t, h);
}

/* _PRT: INTA# of each slot, at a fixed GSI (6.2.13). */
static void dsdt_prt(struct aml *a, const struct pci_map *pci)
{
	aml_name(a, "_PRT");
	aml_open_package(a, PCI_SLOTS);
	for (u32 slot = 0; slot < PCI_SLOTS; slot++) {
		aml_open_package(a, 4);
		aml_int(a, slot << 16 | 0xffff); /* any function */
		aml_int(a, 0);			 /* INTA# */
		aml_int(a, 0);			 /* no link device: the next is a GSI */
		aml_int(a, pci->intx_gsi + slot % 4);
		aml_close(a);
	}
	aml_close(a);
}

static void dsdt_pci(struct aml *a, const struct pci_map *pci)
{
	aml_open_device(a, "PCI0");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0A03");
	aml_name(a, "_UID");
	aml_int(a, 0);
	aml_name(a, "_SEG");
	aml_int(a, 0);
	aml_name(a, "_BBN");
	aml_int(a, 0);
	aml_name(a, "_CCA");
	aml_int(a, 1);
	aml_open_crs(a);
	aml_crs_bus(a, 0, 0);
	aml_crs_io(a, 0xcf8, 8);
	aml_crs_window_io(a, pci->io, pci->io_size);
	aml_crs_window_mem32(a, pci->mem32, pci->mem32_size);
	if (pci->mem64_size)
		aml_crs_window_mem64(a, pci->mem64, pci->mem64_size);
	aml_close_crs(a);
	dsdt_prt(a, pci);
	aml_close(a);

	/* Linux uses ECAM only where a motherboard device has it reserved. */
	aml_open_device(a, "MRES");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0C02");
	aml_name(a, "_UID");
	aml_int(a, 0);
	aml_open_crs(a);
	aml_crs_mem32(a, pci->ecam, ECAM_SIZE);
	aml_close_crs(a);
	aml_close(a);
}

static void dsdt_uart(struct aml *a, const struct platform_node *n, u32 nth)
{
	char name[5] = "COM1";

	name[3] += nth;
	aml_open_device(a, name);
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0501");
	aml_name(a, "_UID");
	aml_int(a, nth);
	aml_open_crs(a);
	aml_crs_io(a, n->base, n->size);
	aml_crs_irq(a, n->gsi, false);
	aml_close_crs(a);
	aml_close(a);
}

static void dsdt_rtc(struct aml *a, const struct platform_node *n)
{
	aml_open_device(a, "RTC_");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0B00");
	aml_open_crs(a);
	aml_crs_io(a, n->base, n->size);
	aml_close_crs(a);
	aml_close(a);
}

static void dsdt_virtio_mmio(struct aml *a, const struct platform_node *n, u32 nth)
{
	char name[5];

	snprintf(name, sizeof(name), "VR%02X", nth & 0xff);
	aml_open_device(a, name);
	aml_name(a, "_HID");
	aml_string(a, "LNRO0005");
	aml_name(a, "_UID");
	aml_int(a, nth);
	aml_name(a, "_CCA");
	aml_int(a, 1);
	aml_open_crs(a);
	aml_crs_mem32(a, n->base, n->size);
	aml_crs_irq(a, n->gsi, true);
	aml_close_crs(a);
	aml_close(a);
}

/*
 * The button and the event device:
 *
 *	Device (PWRB) { Name (_HID, EisaId ("PNP0C0C")) }
 *	Device (GED_) {
 *		Name (_HID, "ACPI0013")
 *		OperationRegion (PWRR, SystemIO, base + POWER_REG_EVENTS, 1)
 *		Field (PWRR, ByteAcc, NoLock, Preserve) { EVTS, 8 }
 *		Method (_EVT, 1, Serialized) {
 *			Local0 = EVTS
 *			If (Local0 & POWER_EVENT_BUTTON) { Notify (PWRB, 0x80) }
 *		}
 *	}
 */
static void dsdt_power(struct aml *a, const struct platform_node *n)
{
	aml_open_device(a, "PWRB");
	aml_name(a, "_HID");
	aml_eisaid(a, "PNP0C0C");
	aml_close(a);

	aml_open_device(a, "GED_");
	aml_name(a, "_HID");
	aml_string(a, "ACPI0013");
	aml_open_crs(a);
	aml_crs_irq(a, n->gsi, true);
	aml_close_crs(a);
	aml_region_io(a, "PWRR", n->base + POWER_REG_EVENTS, 1);
	aml_open_field(a, "PWRR", 1); /* ByteAcc */
	aml_field_unit(a, "EVTS", 8);
	aml_close(a);
	aml_open_method(a, "_EVT", 1, true);
	aml_byte(a, 0x70); /* StoreOp EVTS -> Local0 */
	aml_namestring(a, "EVTS");
	aml_byte(a, 0x60);
	aml_open_if(a);
	aml_bytes(a, "\x7b\x60", 2); /* AndOp Local0, ..., no target */
	aml_int(a, POWER_EVENT_BUTTON);
	aml_byte(a, 0);
	aml_byte(a, 0x86); /* NotifyOp */
	aml_namestring(a, "PWRB");
	aml_int(a, 0x80);
	aml_close(a);
	aml_close(a);
	aml_close(a);
}

/* Soft off, S5: the sleep type that SLEEP_CONTROL_REG takes (7.4.2.6). */
static void dsdt_s5(struct aml *a)
{
	aml_name(a, "\\_S5_");
	aml_open_package(a, 4);
	aml_int(a, POWER_SLEEP_TYPE_S5);
	for (int i = 0; i < 3; i++)
		aml_int(a, 0);
	aml_close(a);
}

static u64 make_dsdt(struct tables *t, const struct platform *p)
{
	struct acpi_header *h = table_begin(t, "DSDT", 2);
	u32 nuart = 0, nvirtio = 0;
	struct aml a;

	aml_init(&a, t->area + t->used, ACPI_SIZE - t->used);
	dsdt_s5(&a);
	aml_open_scope(&a, "\\_SB_");
	dsdt_pci(&a, &p->pci);
	for (u32 i = 0; i < p->nnodes; i++) {
		const struct platform_node *n = &p->node[i];

		switch (n->kind) {
		case PLATFORM_UART:
			dsdt_uart(&a, n, nuart++);
			break;
		case PLATFORM_RTC:
			dsdt_rtc(&a, n);
			break;
		case PLATFORM_POWER:
			dsdt_power(&a, n);
			break;
		case PLATFORM_VIRTIO_MMIO:
			dsdt_virtio_mmio(&a, n, nvirtio++);
			break;
		}
	}
	aml_close(&a);
	t->used += a.len;
	t->full |= a.full;
	return table_end(t, h);
}

static struct acpi_gas io_byte(u64 port)
{
	return (struct acpi_gas){ .space = 1, .bits = 8, .access = 1, .address = port };
}

static u64 make_fadt(struct tables *t, const struct platform *p, u64 dsdt)
{
	struct acpi_fadt f = {
		.h = header("FACP", 6),
		.minor = 4,
		.dsdt = dsdt,
		.x_dsdt = dsdt,
		.boot_arch = BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM,
		.flags = FADT_HW_REDUCED | FADT_POWER_BUTTON | FADT_SLEEP_BUTTON,
	};
	struct acpi_header *h;

	for (u32 i = 0; i < p->nnodes; i++) {
		u64 base = p->node[i].base;

		if (p->node[i].kind != PLATFORM_POWER)
			continue;
		f.flags |= FADT_RESET_REG;
		f.reset_reg = io_byte(base + POWER_REG_RESET);
		f.reset_value = POWER_RESET_VALUE;
		f.sleep_control = io_byte(base + POWER_REG_SLEEP_CONTROL);
		f.sleep_status = io_byte(base + POWER_REG_SLEEP_STATUS);
	}
	memcpy(&f.hypervisor, "minivmm", 8);
	t->used = ALIGN_UP(t->used, 16);
	h = put(t, &f, sizeof(f));
	return table_end(t, h);
}

int acpi_build(struct mem *mem, const struct platform *p, u64 *rsdp)
{
	struct tables t = { .area = mem_ptr(mem, ACPI_ADDR, ACPI_SIZE) };
	struct acpi_rsdp r = { .signature = "RSD PTR ", .revision = 2, .length = sizeof(r) };
	struct acpi_header *xsdt;
	u64 tables[3];

	if (!t.area)
		return -EFAULT;
	t.used = sizeof(r);
	tables[0] = make_fadt(&t, p, make_dsdt(&t, p));
	tables[1] = make_madt(&t, p);
	tables[2] = make_mcfg(&t, p);
	xsdt = table_begin(&t, "XSDT", 1);
	put(&t, tables, sizeof(tables));
	r.xsdt = table_end(&t, xsdt);
	if (t.full) {
		log_err("the ACPI tables of %u CPUs and %u devices don't fit", p->cpus, p->nnodes);
		return -ENOSPC;
	}

	memcpy(r.oem_id, OEM_ID, 6);
	r.checksum = checksum(&r, 20);
	r.extended_checksum = checksum(&r, sizeof(r));
	memcpy(t.area, &r, sizeof(r));
	*rsdp = ACPI_ADDR;
	return 0;
}
