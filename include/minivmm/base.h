/* SPDX-License-Identifier: MIT */
/*
 * base.h - the few types and macros that every file uses.
 *
 * minivmm runs on little-endian hosts only and offers little-endian (virtio 1.x) devices only, so
 * a guest's field is loaded as it stands, without byte swapping.
 */
#ifndef MINIVMM_BASE_H
#define MINIVMM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "little-endian hosts only");

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The object of which `ptr` is the member `member`. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define KIB				(1ULL << 10)
#define MIB				(1ULL << 20)
#define GIB				(1ULL << 30)

#define PAGE_SIZE			4096ULL

/* Round up or down to a multiple of `a`, a power of two. */
#define ALIGN_DOWN(x, a) ((x) & ~((u64)(a)-1))
#define ALIGN_UP(x, a)	 ALIGN_DOWN((x) + (u64)(a)-1, a)

/* Does [addr, addr + len) lie wholly inside [base, base + size)? No sum here can wrap. */
static inline bool range_inside(u64 addr, u64 len, u64 base, u64 size)
{
	return addr >= base && addr - base <= size && len <= size - (addr - base);
}

/* Have [a, a + alen) and [b, b + blen) an address in common? Neither range may itself wrap. */
static inline bool ranges_overlap(u64 a, u64 alen, u64 b, u64 blen)
{
	return a < b ? b - a < alen : a - b < blen;
}

/* All ones in the low `len` bytes: what a read that nobody answers gives. */
static inline u64 bytes_mask(u32 len)
{
	return len >= 8 ? ~0ULL : (1ULL << (len * 8)) - 1;
}

#endif
