// SPDX-License-Identifier: MIT
/*
 * user.c - the tables that user mode needs.
 *
 *	GDT	start.S's segments, and behind them: user data, user code, the TSS
 *	TSS	the stack on which an interrupt in user mode arrives (Intel SDM volume 3, 8.7)
 *	IDT	what `hlt` in user mode leads to, which stands for two calls, to sleep and to return: user_entry.S
 *	pages	all of them may be used by user mode (5.6.1): there is nobody to protect
 *
 * How it works: user_run() leaves for user mode by IRETQ, and comes back by an exception: not every
 * software KVM knows SYSCALL, or INT.
 * Interrupts go to short entries of their own: each instruction of theirs costs a microsecond on a
 * software KVM, so they only count, and signal the end of interrupt to the x2APIC.
 */
#include "user.h"

#define PTE_P	     (1 << 0)
#define PTE_U	     (1 << 2)
#define PTE_LARGE    (1 << 7)
#define PTE_ADDR     0x000ffffffffff000
#define TABLE_LENGTH 512

#define CODE64	     0x10 /* start.S */
#define TSS	     0x30
#define GDT_LENGTH   8

#define GATE_KERNEL  0x8e
#define VECTOR_GP    13

struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset16;
	u32 offset32, reserved;
};

struct tss {
	u32 reserved;
	u64 rsp[3];
	u64 more[9];
	u16 reserved2, io_map;
} __attribute__((packed));

extern u64 pml4[TABLE_LENGTH];			    /* start.S */
extern char user_hlt_entry[], user_count_entries[]; /* user_entry.S */

struct tss user_tss = { .io_map = sizeof(struct tss) };
volatile u32 user_counter[USER_COUNTERS];

static u64 gdt[GDT_LENGTH] = {
	0,
	0x00cf9b000000ffff, /* as in start.S */
	0x00af9b000000ffff,
	0x00cf93000000ffff,
	0x00cff3000000ffff, /* user data */
	0x00affb000000ffff, /* user code */
};

static void allow_pages(u64 *table, u32 level)
{
	for (u32 i = 0; i < TABLE_LENGTH; i++) {
		if (!(table[i] & PTE_P))
			continue;
		table[i] |= PTE_U;
		if (level > 1 && !(table[i] & PTE_LARGE))
			allow_pages((u64 *)(table[i] & PTE_ADDR), level - 1);
	}
}

static void set_gate(u32 vector, u64 entry)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr;

	asm volatile("sidt %0" : "=m"(idtr));
	((struct gate *)idtr.base)[vector] = (struct gate){
		.offset0 = entry,
		.selector = CODE64,
		.type = GATE_KERNEL,
		.offset16 = entry >> 16,
		.offset32 = entry >> 32,
	};
}

void user_init(void)
{
	u64 base = (u64)&user_tss;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) gdtr = { sizeof(gdt) - 1, (u64)gdt };

	allow_pages(pml4, 4);
	asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	/* An available 64-bit TSS (8.2.3). */
	gdt[TSS / 8] = (sizeof(user_tss) - 1) | (base & 0xffffff) << 16 | 0x89ULL << 40 |
		       (base >> 24 & 0xff) << 56;
	gdt[TSS / 8 + 1] = base >> 32;
	asm volatile("lgdt %0; ltr %w1" ::"m"(gdtr), "r"(TSS) : "memory");
	set_gate(VECTOR_GP, (u64)user_hlt_entry);
	if (!apic_is_x2apic()) {
		printf("Bail out! no x2APIC\n");
		power_off();
	}
}

void user_count(u32 i, u32 vector)
{
	set_gate(vector, (u64)user_count_entries + 64 * i);
}
