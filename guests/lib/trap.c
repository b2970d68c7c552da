// SPDX-License-Identifier: MIT
/*
 * trap.c - exceptions and interrupts: the interrupt descriptor table, and who handles what.
 *
 * How it works: trap_entry.S has an entry for each of the 256 vectors. They all arrive here, in
 * trap_dispatch(). A vector below 20h is an exception, and always a mistake: it is reported and the
 * machine is switched off. The others are interrupts: their handler is called, and then the local
 * APIC is told that it is done.
 */
#include "guest.h"

#define CODE64	     0x10 /* start.S */

#define TSC_PATIENCE 20000000000ULL /* some 8 s; how fast the counter runs is nobody's promise */
#define TSC_A_LITTLE 60000000ULL

/* Intel SDM volume 3, 6.14.1 */
struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset16;
	u32 offset32, reserved;
};

#define INTERRUPT_GATE 0x8e /* present, ring 0, interrupts off on entry */

extern char trap_entries[]; /* trap_entry.S: 16 bytes each */

static struct gate idt[256];
static void (*handler[256])(u32 vector);

void trap_load(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = { sizeof(idt) - 1, (u64)idt };

	asm volatile("lidt %0" ::"m"(idtr));
}

void trap_init(void)
{
	for (u32 v = 0; v < 256; v++) {
		u64 entry = (u64)trap_entries + 16 * v;

		idt[v] = (struct gate){
			.offset0 = entry,
			.selector = CODE64,
			.type = INTERRUPT_GATE,
			.offset16 = entry >> 16,
			.offset32 = entry >> 32,
		};
	}
	trap_load();
}

void irq_handle(u32 vector, void (*fn)(u32 vector))
{
	handler[vector] = fn;
}

static void report(const struct trap_frame *f)
{
	u64 cr2;

	asm volatile("mov %%cr2, %0" : "=r"(cr2));
	printf("\nBail out! %s %lu, error code %lx, rip %lx, cr2 %lx\n",
	       f->vector < VECTOR_FIRST ? "exception" : "unexpected interrupt", f->vector, f->error,
	       f->rip, cr2);
	printf("# rax %lx rbx %lx rcx %lx rdx %lx\n", f->rax, f->rbx, f->rcx, f->rdx);
	printf("# rsi %lx rdi %lx rbp %lx rsp %lx rflags %lx\n", f->rsi, f->rdi, f->rbp, f->rsp,
	       f->rflags);
}

/* Called by trap_entry.S. */
void trap_dispatch(const struct trap_frame *f)
{
	if (f->vector == VECTOR_SPURIOUS)
		return; /* no end of interrupt for this one (Intel SDM volume 3, 11.9) */
	if (f->vector < VECTOR_FIRST || !handler[f->vector]) {
		report(f);
		power_off();
	}
	handler[f->vector](f->vector);
	apic_eoi();
}

bool wait_for(volatile u32 *counter, u32 want)
{
	u64 start = rdtsc();

	irq_on();
	while (*counter != want && rdtsc() - start < TSC_PATIENCE)
		cpu_relax();
	irq_off();
	return *counter == want;
}

void wait_a_little(void)
{
	u64 start = rdtsc();

	irq_on();
	while (rdtsc() - start < TSC_A_LITTLE)
		cpu_relax();
	irq_off();
}
