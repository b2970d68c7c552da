/* SPDX-License-Identifier: MIT */
/*
 * guest.h - what a bare-metal guest has to build on: the whole library in one header.
 *
 * A guest is one C file with a guest_main(). Before that runs, start.S has switched to 64-bit mode
 * and lib_main() has set up the serial port, the exceptions, what the ACPI tables say, and the
 * local APIC. Memory below 4 GiB is mapped 1:1, interrupts are off. When guest_main() returns, the
 * machine is powered off.
 *
 * Sections, one a file: io.h ports and memory-mapped registers, console.c printf, tap.c test
 * results, trap.c exceptions and interrupts, apic.c interrupt controllers, acpi.c tables, power.c,
 * pci.c, smp.c, mem.c.
 *
 * There is no allocator and no floating point; the library's state is in globals. One machine, one
 * program.
 */
#ifndef GUEST_H
#define GUEST_H

#include "io.h"
#include "layout.h"
#include "minivmm/base.h"

#include <stdarg.h>

/* ---- start ---- */

/* What PVH hands over (start_info.h of the Xen project), version 1. */
struct hvm_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	u32 memmap_entries, reserved;
};

/* The guest's own. The boot CPU runs it; see smp_start() for the others. */
void guest_main(const struct hvm_start_info *info);

/* Is `word` one of the words of the kernel command line? */
bool cmdline_has(const struct hvm_start_info *info, const char *word);

/* The decimal N of its word `name`=N, or `otherwise`. */
u32 cmdline_number(const struct hvm_start_info *info, const char *name, u32 otherwise);

/* ---- console.c: COM1, polled ---- */

#define UART_PORT 0x3f8

void serial_init(void);
void serial_put(char c);

/* %c %s %d %u %x %p %%, with `l` for 64 bits, and a width that may begin with 0. */
void printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void vprintf(const char *fmt, va_list ap);

/* ---- tap.c: test results, see https://testanything.org ---- */

/* One result: "ok 3 - name", with name as printf() would print it. */
void tap(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `got` must equal `want`; if not, both are printed. */
void tap_eq(u64 got, u64 want, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* What can't be tested here counts as passed, with the reason. */
void tap_skip(const char *name, const char *why);

/* The plan, "1..N", comes last: without it a test that died halfway is no success. */
void tap_end(void);

/* ---- trap.c: exceptions and interrupts ---- */

#define VECTOR_FIRST	0x20 /* below are the processor's own exceptions */
#define VECTOR_SPURIOUS 0xff

/* As trap_entry.S leaves it on the stack. */
struct trap_frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/*
 * Build the IDT and load it. An exception that nobody expects prints what and where, and powers
 * off: the test plan is then missing.
 */
void trap_init(void);
void trap_load(void); /* on each further CPU */

/* Call fn(vector) for interrupts at `vector` (from VECTOR_FIRST up), on any CPU, interrupts off.
 * The end of interrupt is signalled after it. */
void irq_handle(u32 vector, void (*fn)(u32 vector));

static inline void irq_on(void)
{
	asm volatile("sti" ::: "memory");
}

static inline void irq_off(void)
{
	asm volatile("cli" ::: "memory");
}

/* Sleep until an interrupt has run. Interrupts are off before and after; `sti` takes effect only
 * after the next instruction, so the one that is waited for can't slip in before the `hlt`. */
static inline void irq_wait(void)
{
	asm volatile("sti; hlt; cli" ::: "memory");
}

/*
 * Spin with interrupts on until *counter has become `want` or patience is over, some 8 seconds
 * (trap.c). Returns whether it has.
 */
bool wait_for(volatile u32 *counter, u32 want);

/* Spin with interrupts on for about 20 ms: for an interrupt that must not come. */
void wait_a_little(void);

/* ---- apic.c: local APICs and I/O APIC ---- */

/* On each CPU: switch its local APIC on, as x2APIC where there is one. */
void apic_init(void);
u32 apic_id(void);
bool apic_is_x2apic(void);
void apic_eoi(void);

/* In a handler: does the local APIC show `vector` as in service, as it should until apic_eoi()? */
bool apic_in_service(u32 vector);

/* Interrupt this CPU at `vector` once, in about `ms` milliseconds, at most 4000; 0: not any more. */
void apic_alarm(u32 vector, u32 ms);

/* Interrupt command register (Intel SDM volume 3, 11.6.1): `low` is a vector or one of these. */
#define ICR_INIT	 0x4500
#define ICR_STARTUP	 0x4600
#define ICR_SELF	 0x44000
#define ICR_ALL_BUT_SELF 0xc4000
void apic_send(u32 dest, u32 low);

/* The address and data of the message that interrupts CPU `dest` at `vector` (11.11). */
#define MSI_ADDRESS(dest) (0xfee00000u | (dest) << 12)
#define MSI_DATA(vector)  ((u32)(vector))

enum trigger { EDGE_HIGH, LEVEL_HIGH, LEVEL_LOW };

/* Deliver wired interrupt `gsi` to CPU `dest` at `vector`; mask it. */
void ioapic_route(u32 gsi, u32 dest, u32 vector, enum trigger trigger);
void ioapic_mask(u32 gsi);

/* ---- acpi.c: what firmware tells ---- */

#define CPUS_MAX 64

/* Generic Address Structure (ACPI 6.4, 5.2.3.2). space 1: ports, 0: memory; address 0: none */
struct acpi_gas {
	u8 space, bits, offset, access;
	u64 address;
} __attribute__((packed));

struct acpi_info {
	u32 ncpus;
	u32 apic_id[CPUS_MAX]; /* the boot CPU's is somewhere among them */
	u64 ioapic;
	u32 ioapic_gsi; /* its input 0 */
	bool has_8259;
	u64 ecam; /* of bus 0; 0: none */
	struct acpi_gas reset_reg, sleep_control;
	u8 reset_value, sleep_type; /* sleep_type: of S5 */
	u16 event_port;		    /* of the Generic Event Device; 0: none */
	u32 event_gsi;
};
extern struct acpi_info acpi;

void acpi_read(const struct hvm_start_info *info);

/* ---- power.c ---- */

void power_off(void) __attribute__((noreturn));
void reset_by_acpi(void);
void reset_by_i8042(void);

/* ---- pci.c: configuration space ---- */

/* Bus 0, function 0 of `slot`. `len` is 1, 2 or 4. By ports: */
u32 pci_cf8_read(u32 slot, u32 off, u32 len);
void pci_cf8_write(u32 slot, u32 off, u32 len, u32 value);
/* by memory, if acpi.ecam: */
u32 pci_ecam_read(u32 slot, u32 off, u32 len);
void pci_ecam_write(u32 slot, u32 off, u32 len, u32 value);
/* by whichever there is. */
u32 pci_read(u32 slot, u32 off, u32 len);
void pci_write(u32 slot, u32 off, u32 len, u32 value);

#define PCI_SLOTS 32

/* The slot of the first device with these ids, or -1. */
int pci_find(u32 vendor, u32 device);

/* The offset of capability `id`, or 0. */
u32 pci_find_cap(u32 slot, u32 id);

/* The address in BAR `i`, memory or ports, of 32 or 64 bits; and the same the other way round. */
u64 pci_bar(u32 slot, u32 i);
void pci_bar_set(u32 slot, u32 i, u64 addr);

/* The size of BAR `i`, found as in PCI 3.0, 6.2.5.1; 0: no such BAR. Decoding is off meanwhile. */
u64 pci_bar_size(u32 slot, u32 i);

/* ---- smp.c ---- */

/*
 * Start all other CPUs, one after another. Each calls fn(cpu), with its number 1, 2, ...,
 * interrupts off, and sleeps for good when that returns. Returns how many CPUs run, with this one.
 */
u32 smp_start(void (*fn)(u32 cpu));

/* The APIC id of CPU `cpu`, and the number of the calling one; this works after smp_start(). */
u32 smp_apic_id(u32 cpu);
u32 smp_cpu(void);

/* ---- mem.c ---- */

/* Map [phys, phys + size) 1:1 and uncached, if it lies above 4 GiB; below all is mapped anyway. */
void map_device(u64 phys, u64 size);

void *memcpy(void *dst, const void *src, size_t n);
void *memset(void *dst, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
