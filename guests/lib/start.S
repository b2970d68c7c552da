/* SPDX-License-Identifier: MIT */
/*
 * start.S - from the first instruction to C, for the boot CPU and for all others.
 *
 *	boot CPU   PVH: 32-bit protected mode, paging off, ebx = hvm_start_info --> start32 --\
 *	                                                                                       long_mode --> C
 *	other CPUs SIPI: 16-bit real mode at AP_TRAMPOLINE --> ap_start16 --> ap_start32 -----/
 *
 * How it works: long mode needs page tables before it can be entered (Intel SDM volume 3, 10.8.5),
 * so they are not built but stand in the file, as does the GDT: the first 4 GiB, mapped 1:1 by large
 * pages. What lies above, a 64-bit BAR, mem.c maps when a guest asks for it. All CPUs use the same
 * tables.
 *
 * Source: the Xen project's "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc).
 */
#include "layout.h"

#define CODE32	0x08
#define CODE64	0x10
#define DATA	0x18

#define CR0_PE	   (1 << 0)
#define CR0_PG	   (1 << 31)
#define CR4_PAE	   (1 << 5)
#define EFER	   0xc0000080
#define EFER_LME   (1 << 8)

#define PTE_P	   (1 << 0)
#define PTE_W	   (1 << 1)
#define PTE_LARGE  (1 << 7)

/* XEN_ELFNOTE_PHYS32_ENTRY: the physical address of the 32-bit entry point. */
	.section .note.Xen, "a", @note
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	start32

	.text
	.code32
	.globl	start32
start32:
	cli
	cld
	lgdt	gdt_pointer
	ljmp	$CODE32, $1f
1:	movl	$boot_stack_top, %esp
	movl	%ebx, %edi		/* lib_main(start_info) */
	movl	$lib_main, %esi
	jmp	long_mode

ap_start32:
	movl	ap_stack_top, %esp
	movl	ap_cpu, %edi		/* ap_main(cpu) */
	movl	$ap_main, %esi
	/* fall through */

/* In: esp = the stack, edi = the argument, esi = the C function. Intel SDM volume 3, 10.8.5. */
long_mode:
	movw	$DATA, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	xorl	%eax, %eax
	movw	%ax, %fs
	movw	%ax, %gs

	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$(CR0_PG | CR0_PE), %eax
	movl	%eax, %cr0
	ljmp	$CODE64, $1f

	.code64
1:	movl	%esp, %esp		/* the upper halves are undefined after the switch */
	movl	%edi, %edi
	movl	%esi, %esi
	call	*%rsi
2:	cli				/* a CPU whose function is done sleeps for good */
	hlt
	jmp	2b

/*
 * Where a started CPU begins, in real mode, cs = AP_TRAMPOLINE / 16. smp.c copies this below 1 MiB;
 * everything it refers to is the original above 1 MiB, which 32-bit operands reach even here, but
 * for the pointer to the GDT, which goes along.
 */
	.section .rodata
	.code16
	.globl	ap_start16, ap_start16_end
ap_start16:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	2f - ap_start16
	movl	%cr0, %eax
	orl	$CR0_PE, %eax
	movl	%eax, %cr0
	ljmpl	$CODE32, $3f
2:	.word	gdt_end - gdt - 1
	.long	gdt
ap_start16_end:

	.text
	.code32
3:	movw	$DATA, %ax
	movw	%ax, %ds
	jmp	ap_start32
	.code64

	.section .rodata
	.balign	8
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt

	.data
	.balign	8
gdt:	.quad	0
	.quad	0x00cf9b000000ffff	/* CODE32: base 0, limit 4 GiB, ring 0 */
	.quad	0x00af9b000000ffff	/* CODE64 */
	.quad	0x00cf93000000ffff	/* DATA */
gdt_end:

/* The page tables: one PML4 entry, four PDPT entries, 4 * 512 large pages of 2 MiB. */
	.balign	4096
	.globl	pml4
pml4:	.quad	pdpt + (PTE_P | PTE_W)
	.fill	511, 8, 0
pdpt:	.quad	pd + 0x0000 + (PTE_P | PTE_W)
	.quad	pd + 0x1000 + (PTE_P | PTE_W)
	.quad	pd + 0x2000 + (PTE_P | PTE_W)
	.quad	pd + 0x3000 + (PTE_P | PTE_W)
	.fill	508, 8, 0
pd:
	.set	page, 0
	.rept	4 * 512
	.quad	page + (PTE_P | PTE_W | PTE_LARGE)
	.set	page, page + 0x200000
	.endr

/* How smp.c tells the CPU that it starts where its stack is and what its number is. */
	.globl	ap_stack_top, ap_cpu
ap_stack_top:
	.quad	0
ap_cpu:	.quad	0

	.bss
	.balign	16
	.skip	STACK_SIZE
boot_stack_top:

	.section .note.GNU-stack, "", @progbits
