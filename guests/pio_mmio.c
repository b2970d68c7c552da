// SPDX-License-Identifier: MIT
/*
 * pio_mmio.c - register accesses: each width, at each alignment, on ports and in memory.
 *
 * How it works: a register access leaves the guest (KVM_EXIT_IO, KVM_EXIT_MMIO); the bus finds the
 * device and the guest goes on with the answer. What could go wrong on the way: the width, the
 * bytes above it, an access that straddles two pages or two devices, the repeated string
 * instructions, of which KVM hands several items over at once. The test device
 * (minivmm/testdev_regs.h) has a scratch register in memory and one at ports, and in BAR 2 memory
 * in which each place reads as its own offset, which shows where an access has really gone.
 *
 * Read next: pci.c, how the addresses came to be where they are.
 */
#include "guest.h"
#include "minivmm/testdev_regs.h"

#include <linux/pci_regs.h>

#define NOBODY_PORT 0x5f0	/* nothing is there on this machine */
#define NOBODY_MEM  0xdfff0000u /* nor there: the end of the window for BARs */

static u64 regs, offsets;
static u16 ports;

/* One byte after another, `n` times, by one instruction; and the same for the other forms. */
static void rep_outsb(u16 port, const void *src, u64 n)
{
	asm volatile("rep outsb" : "+S"(src), "+c"(n) : "d"(port) : "memory");
}

static void rep_outsl(u16 port, const void *src, u64 n)
{
	asm volatile("rep outsl" : "+S"(src), "+c"(n) : "d"(port) : "memory");
}

static void rep_insb(u16 port, void *dst, u64 n)
{
	asm volatile("rep insb" : "+D"(dst), "+c"(n) : "d"(port) : "memory");
}

static void rep_insw(u16 port, void *dst, u64 n)
{
	asm volatile("rep insw" : "+D"(dst), "+c"(n) : "d"(port) : "memory");
}

static void rep_insl(u16 port, void *dst, u64 n)
{
	asm volatile("rep insl" : "+D"(dst), "+c"(n) : "d"(port) : "memory");
}

static void rep_movsl(void *dst, u64 src, u64 n)
{
	asm volatile("rep movsl" : "+D"(dst), "+S"(src), "+c"(n)::"memory");
}

static void rep_movsq(void *dst, u64 src, u64 n)
{
	asm volatile("rep movsq" : "+D"(dst), "+S"(src), "+c"(n)::"memory");
}

static void rep_stosb(u64 dst, u8 byte, u64 n)
{
	asm volatile("rep stosb" : "+D"(dst), "+c"(n) : "a"(byte) : "memory");
}

static void test_memory_widths(void)
{
	u64 s = regs + TESTDEV_SCRATCH;

	tap_eq(mmio_read32(regs + TESTDEV_MAGIC), TESTDEV_MAGIC_VALUE, "memory: the magic value");
	mmio_write32(s, 0x44332211);
	tap_eq(mmio_read32(s), 0x44332211, "memory: 4 bytes written, 4 read");
	for (u32 i = 0; i < 4; i++)
		tap_eq(mmio_read8(s + i), 0x11 * (i + 1), "memory: byte %u of them", i);
	tap_eq(mmio_read16(s), 0x2211, "memory: 2 bytes at 0");
	tap_eq(mmio_read16(s + 1), 0x3322, "memory: 2 bytes at 1, unaligned");
	tap_eq(mmio_read16(s + 2), 0x4433, "memory: 2 bytes at 2");

	mmio_write8(s + 2, 0xaa);
	tap_eq(mmio_read32(s), 0x44aa2211, "memory: a byte written leaves the others");
	mmio_write16(s + 1, 0xbbcc);
	tap_eq(mmio_read32(s), 0x44bbcc11, "memory: so do 2 bytes, unaligned");

	mmio_write32(regs + TESTDEV_MAGIC, 0);
	tap_eq(mmio_read32(regs + TESTDEV_MAGIC), TESTDEV_MAGIC_VALUE,
	       "memory: a read-only register stays");
}

static void test_memory_8_bytes(void)
{
	u64 half = offsets + 0xffc;

	tap_eq(mmio_read64(offsets + 0x1238), 0x1238, "memory: 8 bytes");
	/* One instruction, but two pages, and so two accesses. */
	tap_eq(mmio_read64(half), 0x100000000ffc, "memory: 8 bytes across two pages");
	mmio_write32(regs + TESTDEV_SCRATCH, 0x55555555);
	mmio_write64(offsets, ~0ULL);
	tap_eq(mmio_read64(offsets), 0, "memory: 8 bytes written where nothing can be");
}

/* Instructions that do more than move: they read, change, write; or extend what they read. */
static void test_memory_instructions(void)
{
	u64 s = regs + TESTDEV_SCRATCH;
	u64 wide;
	u8 equal;

	mmio_write32(s, 0x00ff00f0);
	asm volatile("orl %1, (%0)" ::"r"(s), "r"(0x0f) : "memory", "cc");
	tap_eq(mmio_read32(s), 0x00ff00ff, "memory: or, read and written by one instruction");
	asm volatile("incl (%0)" ::"r"(s) : "memory", "cc");
	tap_eq(mmio_read32(s), 0x00ff0100, "memory: inc");
	asm volatile("movl $0x8000fffe, (%0)" ::"r"(s) : "memory");
	tap_eq(mmio_read32(s), 0x8000fffe, "memory: mov of a constant");
	asm volatile("movzbl (%1), %k0" : "=r"(wide) : "r"(s) : "memory");
	tap_eq(wide, 0xfe, "memory: movzx");
	asm volatile("movslq (%1), %0" : "=r"(wide) : "r"(s) : "memory");
	tap_eq(wide, 0xffffffff8000fffe, "memory: movsx");
	asm volatile("cmpl %2, (%1); sete %0"
		     : "=q"(equal)
		     : "r"(s), "r"(0x8000fffe)
		     : "memory", "cc");
	tap(equal, "memory: cmp");
	wide = 0x12345678;
	asm volatile("xchgl %k0, (%1)" : "+r"(wide) : "r"(s) : "memory");
	tap(wide == 0x8000fffe && mmio_read32(s) == 0x12345678, "memory: xchg");
}

static void test_memory_strings(void)
{
	u64 buf[8];
	bool good = true;

	rep_movsl(buf, offsets + 0x2000, 16);
	for (u32 i = 0; i < 16; i++)
		good &= ((u32 *)buf)[i] == 0x2000 + 4 * i;
	tap(good, "memory: rep movsl reads 16 places in turn");
	good = true;
	rep_movsq(buf, offsets + 0x2fe0, 8);
	for (u32 i = 0; i < 8; i++)
		good &= buf[i] == 0x2fe0 + 8 * i;
	tap(good, "memory: rep movsq reads across two pages");
	rep_stosb(regs + TESTDEV_SCRATCH, 0x5a, 4);
	tap_eq(mmio_read32(regs + TESTDEV_SCRATCH), 0x5a5a5a5a, "memory: rep stosb");
}

static void test_port_widths(void)
{
	tap_eq(inl(ports + 4), TESTDEV_MAGIC_VALUE, "ports: the magic value");
	outl(ports, 0x44332211);
	tap_eq(inl(ports), 0x44332211, "ports: 4 bytes written, 4 read");
	for (u32 i = 0; i < 4; i++)
		tap_eq(inb(ports + i), 0x11 * (i + 1), "ports: byte %u of them", i);
	tap_eq(inw(ports), 0x2211, "ports: 2 bytes at 0");
	tap_eq(inw(ports + 1), 0x3322, "ports: 2 bytes at 1, unaligned");
	tap_eq(inw(ports + 2), 0x4433, "ports: 2 bytes at 2");
	outb(ports + 3, 0xaa);
	outw(ports + 1, 0xbbcc);
	tap_eq(inl(ports), 0xaabbcc11, "ports: a byte and 2 bytes written leave the others");
}

/* `in` must leave alone what it does not read: al and ax are parts of rax, eax clears its top. */
static void test_port_registers(void)
{
	u64 a = 0x1122334455667788;

	outl(ports, 0xddccbbaa);
	asm volatile("inb %1, %%al" : "+a"(a) : "d"(ports));
	tap_eq(a, 0x11223344556677aa, "ports: inb changes al alone");
	asm volatile("inw %1, %%ax" : "+a"(a) : "d"(ports));
	tap_eq(a, 0x112233445566bbaa, "ports: inw changes ax alone");
	asm volatile("inl %1, %%eax" : "+a"(a) : "d"(ports));
	tap_eq(a, 0xddccbbaa, "ports: inl clears the top of rax");
}

static void test_port_strings(void)
{
	static u8 page_end[2 * 4096] __attribute__((aligned(4096)));
	static const char line[] = "# this line left by one rep outsb\n";
	u8 *across = page_end + 4096 - 8;
	u32 words[4] = { 1, 2, 3, 0xcafe };
	u16 *halves = (u16 *)(void *)words;
	bool good = true;
	u8 *back = across + 3;
	u64 n = 4;

	rep_outsb(UART_PORT, line, sizeof(line) - 1);
	rep_outsl(ports, words, 4);
	tap_eq(inl(ports), 0xcafe, "ports: rep outsl writes all, the last last");
	outl(ports, 0x12345678);
	rep_outsb(ports, words, 0);
	tap_eq(inl(ports), 0x12345678, "ports: rep outsb of nothing writes nothing");

	rep_insl(ports + 4, words, 4);
	for (u32 i = 0; i < 4; i++)
		good &= words[i] == TESTDEV_MAGIC_VALUE;
	tap(good, "ports: rep insl");
	rep_insw(ports, words, 8);
	for (u32 i = 0; i < 8; i++)
		good &= halves[i] == 0x5678;
	tap(good, "ports: rep insw");
	good = true;
	rep_insb(ports + 4, across, 16);
	for (u32 i = 0; i < 16; i++)
		good &= across[i] == (TESTDEV_MAGIC_VALUE & 0xff);
	tap(good && !across[-1] && !across[16], "ports: rep insb across two pages");

	memset(across, 0, 16);
	asm volatile("std; rep insb; cld" : "+D"(back), "+c"(n) : "d"(ports) : "memory", "cc");
	tap(across[0] == 0x78 && across[3] == 0x78 && !across[4] && back == across - 1,
	    "ports: rep insb backwards");
}

/* A bus that nobody drives reads as all ones, of the width asked for; writes are lost. */
static void test_nobody(void)
{
	tap_eq(inb(NOBODY_PORT), 0xff, "nobody's port: 1 byte");
	tap_eq(inw(NOBODY_PORT), 0xffff, "nobody's port: 2 bytes");
	tap_eq(inl(NOBODY_PORT), 0xffffffff, "nobody's port: 4 bytes");
	outl(NOBODY_PORT, 0);
	tap_eq(mmio_read8(NOBODY_MEM), 0xff, "nobody's memory: 1 byte");
	tap_eq(mmio_read16(NOBODY_MEM + 1), 0xffff, "nobody's memory: 2 bytes, unaligned");
	tap_eq(mmio_read32(NOBODY_MEM), 0xffffffff, "nobody's memory: 4 bytes");
	tap_eq(mmio_read64(NOBODY_MEM), ~0ULL, "nobody's memory: 8 bytes");
	mmio_write64(NOBODY_MEM, 0);
	tap_eq(mmio_read64(NOBODY_MEM), ~0ULL, "nobody's memory: not written");
	/* The device's ports end inside this access, so it is not the device's. */
	outl(ports + 14, 0);
	tap_eq(inl(ports + 14), 0xffffffff, "ports: an access that leaves the device is nobody's");
}

void guest_main(const struct hvm_start_info *info)
{
	int slot = pci_find(TESTDEV_VENDOR, TESTDEV_DEVICE);

	(void)info;
	if (slot < 0) {
		printf("1..0 # SKIP no test device: start minivmm with --test-device\n");
		return;
	}
	pci_write(slot, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	regs = pci_bar(slot, 0);
	ports = pci_bar(slot, 1);
	offsets = pci_bar(slot, 2);
	map_device(offsets, 64 * KIB);

	test_memory_widths();
	test_memory_8_bytes();
	test_memory_instructions();
	test_memory_strings();
	test_port_widths();
	test_port_registers();
	test_port_strings();
	test_nobody();
	tap_end();
}
