// SPDX-License-Identifier: MIT
/*
 * apic.c - the interrupt controllers: a local APIC in each CPU, one I/O APIC for wired interrupts.
 *
 *	devices' wires --> I/O APIC --\
 *	devices' messages (MSI) --------+--> local APIC of the CPU named in the message --> vector
 *	other CPUs' messages (IPI) ---/
 *
 * How it works: a local APIC has the same registers in two ways. The older, xAPIC, has them in
 * memory, 16 bytes apart (Intel SDM volume 3, 11.4.1); x2APIC has them as model-specific registers
 * 800h and up (11.12.1.2), which a hypervisor handles faster, and a wider APIC id. apic_read() and
 * apic_write() are all that differs, and the interrupt command register.
 */
#include "guest.h"

#define MSR_APIC_BASE	  0x1b
#define APIC_BASE_ENABLE  (1 << 11)
#define APIC_BASE_X2APIC  (1 << 10)
#define MSR_X2APIC	  0x800
#define CPUID1_ECX_X2APIC (1 << 21)

/* Registers, by xAPIC offset / 16 (table 11-1). */
#define REG_ID		0x02
#define REG_TPR		0x08
#define REG_EOI		0x0b
#define REG_SPURIOUS	0x0f
#define REG_ISR		0x10 /* 8 registers of 32 bits */
#define REG_ICR		0x30
#define REG_ICR_HIGH	0x31
#define REG_LVT_TIMER	0x32
#define REG_LVT_LINT0	0x35
#define REG_LVT_LINT1	0x36
#define REG_TIMER_COUNT 0x38
#define REG_TIMER_DIV	0x3e

#define SPURIOUS_ENABLE (1 << 8)
#define LVT_MASKED	(1 << 16)
#define ICR_PENDING	(1 << 12)
#define TIMER_DIV_1	0xb
#define TIMER_KHZ	1000000 /* 1 GHz, which KVM and QEMU both have; real ones have less */

static u64 base; /* of the xAPIC's registers; 0: x2APIC */

static u32 apic_read(u32 reg)
{
	return base ? mmio_read32(base + 16 * reg) : (u32)rdmsr(MSR_X2APIC + reg);
}

static void apic_write(u32 reg, u32 value)
{
	if (base)
		mmio_write32(base + 16 * reg, value);
	else
		wrmsr(MSR_X2APIC + reg, value);
}

/*
 * The pair of 8259s of old PCs would answer, too, at vectors that are exceptions. Their output
 * comes in at LINT0, which firmware has left open as a "virtual wire" (11.5.1 and the
 * MultiProcessor Specification 1.4, 3.6.2.2); closing it leaves the I/O APIC alone.
 */
void apic_init(void)
{
	u64 msr = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	if (cpuid(1, 0).ecx & CPUID1_ECX_X2APIC) {
		wrmsr(MSR_APIC_BASE, msr);
		wrmsr(MSR_APIC_BASE, msr | APIC_BASE_X2APIC);
	} else {
		wrmsr(MSR_APIC_BASE, msr);
		base = msr & 0x000ffffffffff000;
	}
	apic_write(REG_LVT_LINT0, LVT_MASKED);
	apic_write(REG_LVT_LINT1, LVT_MASKED);
	apic_write(REG_TPR, 0);
	apic_write(REG_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
	if (acpi.has_8259) {
		outb(0x21, 0xff);
		outb(0xa1, 0xff);
	}
}

bool apic_is_x2apic(void)
{
	return !base;
}

u32 apic_id(void)
{
	return base ? apic_read(REG_ID) >> 24 : apic_read(REG_ID);
}

void apic_eoi(void)
{
	apic_write(REG_EOI, 0);
}

bool apic_in_service(u32 vector)
{
	return apic_read(REG_ISR + vector / 32) >> vector % 32 & 1;
}

void apic_send(u32 dest, u32 low)
{
	if (!base) {
		/* In x2APIC mode the register is one of 64 bits, and WRMSR does not wait for
		 * earlier stores (11.12.3), which the other CPU is to see. */
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		wrmsr(MSR_X2APIC + REG_ICR, (u64)dest << 32 | low);
		return;
	}
	apic_write(REG_ICR_HIGH, dest << 24);
	apic_write(REG_ICR, low); /* this write sends */
	while (apic_read(REG_ICR) & ICR_PENDING)
		cpu_relax();
}

/* The timer counts down once, then interrupts (11.5.4); a count of 0 stops it. */
void apic_alarm(u32 vector, u32 ms)
{
	apic_write(REG_TIMER_DIV, TIMER_DIV_1);
	apic_write(REG_LVT_TIMER, vector);
	apic_write(REG_TIMER_COUNT, ms * TIMER_KHZ);
}

/*
 * The I/O APIC (Intel 82093AA data sheet, 3.1 and 3.2): a register's number goes to offset 0, its
 * value is at offset 10h. Input n has the registers 10h + 2n (vector, mode, mask) and 11h + 2n
 * (CPU).
 */
#define IOAPIC_SELECT	 0x00
#define IOAPIC_WINDOW	 0x10
#define IOAPIC_REDIR	 0x10
#define REDIR_ACTIVE_LOW (1 << 13)
#define REDIR_LEVEL	 (1 << 15)
#define REDIR_MASKED	 (1 << 16)

static void ioapic_write(u32 reg, u32 value)
{
	mmio_write32(acpi.ioapic + IOAPIC_SELECT, reg);
	mmio_write32(acpi.ioapic + IOAPIC_WINDOW, value);
}

void ioapic_route(u32 gsi, u32 dest, u32 vector, enum trigger trigger)
{
	u32 reg = IOAPIC_REDIR + 2 * (gsi - acpi.ioapic_gsi);
	u32 mode = trigger == EDGE_HIGH ? 0 : REDIR_LEVEL;

	if (trigger == LEVEL_LOW)
		mode |= REDIR_ACTIVE_LOW;
	ioapic_write(reg + 1, dest << 24);
	ioapic_write(reg, mode | vector);
}

void ioapic_mask(u32 gsi)
{
	ioapic_write(IOAPIC_REDIR + 2 * (gsi - acpi.ioapic_gsi), REDIR_MASKED);
}
