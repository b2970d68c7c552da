// SPDX-License-Identifier: MIT
/*
 * cpu.c - a vCPU's features (CPUID), first registers, MSRs, and its state after a crash.
 *
 * How it works: the guest is shown what KVM says it can do on this host (KVM_GET_SUPPORTED_CPUID)
 * and nothing else; only what depends on our own choices is changed, in cpuid_adjust(): the
 * topology (one package, `cpus` cores of one thread, APIC id = vCPU number), and no nested
 * virtualization. The boot CPU begins where the boot protocol says:
 *
 *	Linux 64-bit entry (Documentation/arch/x86/boot.rst)	long mode, paging on, 1:1
 *	PVH (xen/include/public/arch-x86/hvm/start_info.h)	32-bit protected mode, paging off
 *
 * The other CPUs wait for the guest's INIT and SIPI, which KVM handles.
 */
#include "arch/x86_64/layout.h"
#include "minivmm/arch.h"
#include "minivmm/log.h"
#include "minivmm/mem.h"

#include <cpuid.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define CPUID_MAX 256

#ifndef signature_HYGON_ebx
#define signature_HYGON_ebx 0x6f677948
#endif

#define CR0_PE			(1ULL << 0)
#define CR0_ET			(1ULL << 4)
#define CR0_NE			(1ULL << 5)
#define CR0_PG			(1ULL << 31)
#define CR4_PAE			(1ULL << 5)
#define EFER_LME		(1ULL << 8)
#define EFER_LMA		(1ULL << 10)

#define MSR_IA32_MISC_ENABLE	0x1a0
#define MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE	0x2ff
#define MTRR_ENABLE_WRITE_BACK	((1 << 11) | 6)

/* Selectors in the GDT that boot.c writes, as Linux's boot protocol names them. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18
#define BOOT_TR 0x20

/* Bits needed to number `n` things. */
static u32 bits_for(u32 n)
{
	u32 bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* AMD, or Hygon, which is AMD's design. */
static bool host_is_amd(void)
{
	u32 eax, ebx, ecx, edx;

	return __get_cpuid(0, &eax, &ebx, &ecx, &edx) &&
	       (ebx == signature_AMD_ebx || ebx == signature_HYGON_ebx);
}

/* CPUID leaves 0Bh and 1Fh: one level of threads, one of cores. */
static void cpuid_topology(struct kvm_cpuid_entry2 *e, u32 id, u32 cpus)
{
	e->ecx = e->index;
	e->edx = id; /* x2APIC id */
	e->eax = 0;
	e->ebx = 0;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= 1 << 8; /* SMT */
	} else if (e->index == 1) {
		e->eax = bits_for(cpus);
		e->ebx = cpus & 0xffff;
		e->ecx |= 2 << 8; /* core */
	}
}

static void cpuid_adjust(struct kvm_cpuid_entry2 *e, int kvm_fd, u32 id, u32 cpus)
{
	u32 shown = cpus < 256 ? cpus : 255;

	switch (e->function) {
	case 0x1:
		e->ebx = (e->ebx & 0x0000ffff) | (id & 0xff) << 24 | shown << 16;
		e->edx = cpus > 1 ? e->edx | 1u << 28
				  : e->edx & ~(1u << 28); /* HTT: ebx[23:16] counts */
		e->ecx |= 1u << 31;			  /* hypervisor present */
		e->ecx &= ~(1u << 5);			  /* no VMX */
		if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
			e->ecx |= 1u << 24; /* in our APICs, which are KVM's */
		break;
	case 0x4: /* Intel caches: cores in the package, threads that share each cache */
	case 0x8000001d:
		if (!(e->eax & 0x1f))
			break;	  /* no more caches */
		e->eax &= 0x3fff; /* the counts are the host's */
		if (e->function == 0x4)
			e->eax |= ((1u << bits_for(shown)) - 1) << 26;
		if (((e->eax >> 5) & 7) >= 3) /* the last level is shared by all cores */
			e->eax |= (shown - 1) << 14;
		break;
	case 0xb:
	case 0x1f:
		cpuid_topology(e, id, cpus);
		break;
	case 0x80000001:
		e->ecx &= ~(1u << 2); /* no SVM */
		if (cpus > 1 && host_is_amd())
			e->ecx |= 1u << 1; /* CmpLegacy: cores, not threads */
		e->ecx &= ~(1u << 22);	   /* TopologyExtensions: leaf 8000001Eh is not ours */
		break;
	case 0x80000008:
		if (host_is_amd()) /* reserved elsewhere */
			e->ecx = (e->ecx & ~0xf0ffu) | bits_for(shown) << 12 | (shown - 1);
		break;
	case 0x8000000a: /* SVM's own leaf */
	case 0x8000001e:
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	}
}

/* KVM lists leaf 0Bh with its first levels at most: make sure levels 0, 1 and 2 (the end) exist. */
static u32 cpuid_complete(struct kvm_cpuid2 *c)
{
	u32 max_leaf = 0;
	u32 out = 0;

	for (u32 i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0)
			max_leaf = c->entries[i].eax;
		if (c->entries[i].function != 0xb && c->entries[i].function != 0x1f)
			c->entries[out++] = c->entries[i];
	}
	for (u32 leaf = 0xb; leaf <= max_leaf; leaf += 0x14) {
		for (u32 level = 0; level < 3 && out < CPUID_MAX; level++)
			c->entries[out++] = (struct kvm_cpuid_entry2){
				.function = leaf,
				.index = level,
				.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			};
		if (leaf == 0x1f)
			break;
	}
	return out;
}

static int cpuid_init(int kvm_fd, int vcpu_fd, u32 id, u32 cpus)
{
	union {
		struct kvm_cpuid2 head;
		u8 room[sizeof(struct kvm_cpuid2) + CPUID_MAX * sizeof(struct kvm_cpuid_entry2)];
	} c = { .head.nent = CPUID_MAX };

	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &c.head) < 0)
		return -errno;
	c.head.nent = cpuid_complete(&c.head);
	for (u32 i = 0; i < c.head.nent; i++)
		cpuid_adjust(&c.head.entries[i], kvm_fd, id, cpus);
	return ioctl(vcpu_fd, KVM_SET_CPUID2, &c.head) < 0 ? -errno : 0;
}

/* As firmware would leave them. */
static int msrs_init(int vcpu_fd)
{
	static const struct kvm_msr_entry msrs[] = {
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WRITE_BACK },
		{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING }, /* Intel's */
	};
	union {
		struct kvm_msrs head;
		u8 room[sizeof(struct kvm_msrs) + sizeof(msrs)];
	} m = { .head.nmsrs = ARRAY_SIZE(msrs) };

	memcpy(m.head.entries, msrs, sizeof(msrs));
	/* KVM stops at the first that it refuses; the last may be refused. */
	return ioctl(vcpu_fd, KVM_SET_MSRS, &m.head) < 1 ? -EIO : 0;
}

/* A flat 4 GiB segment of privilege level 0. */
static struct kvm_segment flat_segment(u16 selector, bool code, bool long_mode)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 11 : 3, /* execute/read or read/write, accessed */
		.present = 1,
		.s = 1,
		.l = code && long_mode,
		.db = !(code && long_mode),
		.g = 1,
	};
}

int arch_vcpu_boot(int vcpu_fd, const struct boot_entry *entry)
{
	struct kvm_segment data = flat_segment(BOOT_DS, false, entry->long_mode);
	struct kvm_regs regs = { .rip = entry->pc, .rflags = 2 };
	struct kvm_sregs s;
	int err;

	if (ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		goto refused;
	s.cs = flat_segment(BOOT_CS, true, entry->long_mode);
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){ .selector = BOOT_TR, .limit = 0x67, .type = 11, .present = 1 };
	s.gdt.base = GDT_ADDR;
	s.gdt.limit = 5 * 8 - 1;
	s.idt.base = 0;
	s.idt.limit = 0;
	s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	if (entry->long_mode) {
		s.cr0 |= CR0_PG;
		s.cr3 = PAGE_TABLE_ADDR;
		s.cr4 = CR4_PAE;
		s.efer = EFER_LME | EFER_LMA;
		regs.rsi = entry->arg;
	} else {
		regs.rbx = entry->arg;
	}
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &s) == 0 && ioctl(vcpu_fd, KVM_SET_REGS, &regs) == 0)
		return 0;
refused:
	err = -errno;
	log_err("KVM refuses the first CPU's registers: %s", strerror(-err));
	return err;
}

int arch_vcpu_init(int kvm_fd, int vcpu_fd, u32 id, u32 cpus)
{
	int err = cpuid_init(kvm_fd, vcpu_fd, id, cpus);

	if (!err)
		err = msrs_init(vcpu_fd);
	if (err)
		log_err("CPU %u: KVM refuses its features: %s", id, strerror(-err));
	return err;
}

static void dump_segment(const char *name, const struct kvm_segment *s)
{
	fprintf(stderr, "  %s %04x base %016llx limit %08x type %x dpl %u%s%s\n", name, s->selector,
		s->base, s->limit, s->type, s->dpl,
		s->l	? " 64-bit"
		: s->db ? " 32-bit"
			: " 16-bit",
		s->present ? "" : " not present");
}

/* The bytes at the program counter, as far as its page translates to RAM. */
static void dump_code(int vcpu_fd, u64 rip, u64 cs_base, const struct mem *mem)
{
	struct kvm_translation t = { .linear_address = rip + cs_base };
	const u8 *code = NULL;
	u64 len = 16;

	if (PAGE_SIZE - t.linear_address % PAGE_SIZE < len)
		len = PAGE_SIZE - t.linear_address % PAGE_SIZE;
	if (ioctl(vcpu_fd, KVM_TRANSLATE, &t) == 0 && t.valid)
		code = mem_ptr(mem, t.physical_address, len);
	fprintf(stderr, "  code:");
	if (!code)
		fprintf(stderr, " (not mapped)");
	for (u64 i = 0; code && i < len; i++)
		fprintf(stderr, " %02x", code[i]);
	fprintf(stderr, "\n");
}

void arch_vcpu_dump(int vcpu_fd, u32 id, const struct mem *mem)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0) {
		log_err("CPU %u: its registers can't be read: %s", id, strerror(errno));
		return;
	}
	fprintf(stderr, "CPU %u:\n", id);
	fprintf(stderr, "  rip %016llx rflags %016llx\n", r.rip, r.rflags);
	fprintf(stderr, "  rax %016llx rbx %016llx rcx %016llx rdx %016llx\n", r.rax, r.rbx, r.rcx,
		r.rdx);
	fprintf(stderr, "  rsi %016llx rdi %016llx rsp %016llx rbp %016llx\n", r.rsi, r.rdi, r.rsp,
		r.rbp);
	fprintf(stderr, "  r8  %016llx r9  %016llx r10 %016llx r11 %016llx\n", r.r8, r.r9, r.r10,
		r.r11);
	fprintf(stderr, "  r12 %016llx r13 %016llx r14 %016llx r15 %016llx\n", r.r12, r.r13, r.r14,
		r.r15);
	fprintf(stderr, "  cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx\n", s.cr0, s.cr2, s.cr3,
		s.cr4);
	fprintf(stderr, "  efer %016llx apic %016llx\n", s.efer, s.apic_base);
	dump_segment("cs", &s.cs);
	dump_segment("ss", &s.ss);
	dump_segment("ds", &s.ds);
	dump_segment("tr", &s.tr);
	fprintf(stderr, "  gdt  base %016llx limit %04x\n", s.gdt.base, s.gdt.limit);
	fprintf(stderr, "  idt  base %016llx limit %04x\n", s.idt.base, s.idt.limit);
	dump_code(vcpu_fd, r.rip, s.cs.base, mem);
	if (r.rip == 0xfff0 && s.cs.selector == 0xf000)
		fprintf(stderr,
			"  (the state after a reset: with SVM, KVM resets a CPU before it reports "
			"its triple fault)\n");
}
