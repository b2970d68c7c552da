/* SPDX-License-Identifier: MIT */
/*
 * trap_entry.S - the 256 entry points of the IDT, one every 16 bytes from trap_entries on.
 *
 * Each makes the stack look alike, an error code (zero where the processor pushes none) and the
 * vector, and all go on in trap_common, which saves the registers as a struct trap_frame (guest.h)
 * and calls trap_dispatch(frame). There is one privilege level and one stack, so there is no TSS.
 */
	.text
	.globl	trap_entries
	.balign	16
trap_entries:
	.set	vector, 0
	.rept	256
	.balign	16
	/* Intel SDM volume 3, table 6-1: 8, 10 to 14, 17, 21, 29 and 30 have an error code. */
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || \
		  vector == 21 || vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set	vector, vector + 1
	.endr

trap_common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	call	trap_dispatch
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp		/* vector and error code */
	iretq

	.section .note.GNU-stack, "", @progbits
