/* SPDX-License-Identifier: MIT */
/*
 * user_entry.S - to user mode, back, and what interrupts it; user.c says how they belong together.
 */
#define DATA		0x18	/* start.S */
#define USER_DATA	0x23	/* user.c's GDT, with the privilege level */
#define USER_CODE	0x2b
#define RFLAGS		0x202	/* interrupts are on */
#define HLT		0xf4	/* the instruction */
#define VECTOR_GP	13
#define TSS_RSP0	4
#define X2APIC_EOI	0x80b
#define USER_STACK	0x2000

	.text
/* user_run(fn, arg). The kernel's stack goes on below what is saved here. */
	.globl	user_run
user_run:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, user_tss + TSS_RSP0
	movq	%rdi, %rax
	movq	%rsi, %rdi
	pushq	$USER_DATA
	pushq	$user_stack_top
	pushq	$RFLAGS
	pushq	$USER_CODE
	pushq	$1f
	iretq
1:	call	*%rax
	xorl	%edi, %edi
	hlt

/*
 * The general protection exception. In user mode `hlt` is one, and there is no other call to the kernel:
 * with rdi = NULL it is the end of user_run(), else it is user_sleep(rdi = counter, esi = old), which
 * sleeps in its place. `sti` takes effect behind the next instruction: an interrupt can't come between the
 * look at the counter and the `hlt`.
 */
	.globl	user_hlt_entry
user_hlt_entry:
	pushq	%rax
	movq	16(%rsp), %rax		/* above rax and the error code: rip */
	cmpb	$HLT, (%rax)
	popq	%rax
	jne	trap_entries + 16 * VECTOR_GP
	testq	%rdi, %rdi
	jz	2f
	addq	$8, %rsp		/* the error code */
	incq	(%rsp)			/* the instruction after `hlt` */
	cmpl	%esi, (%rdi)
	jne	1f
	sti
	hlt
	cli
1:	iretq
2:	movl	$DATA, %eax
	movw	%ax, %ss
	movq	user_tss + TSS_RSP0, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* Interrupts that are counted: 64 bytes each. */
	.globl	user_count_entries
	.balign	64
user_count_entries:
	.set	i, 0
	.rept	4
	.balign	64
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	incl	user_counter + 4 * i
	movl	$X2APIC_EOI, %ecx
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq
	.set	i, i + 1
	.endr

	.bss
	.balign	16
	.skip	USER_STACK
user_stack_top:

	.section .note.GNU-stack, "", @progbits
