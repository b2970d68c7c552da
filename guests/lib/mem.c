// SPDX-License-Identifier: MIT
/*
 * mem.c - the page tables above 4 GiB, and the four functions that a compiler takes for granted.
 */
#include "guest.h"

#define PTE_P	     (1 << 0)
#define PTE_W	     (1 << 1)
#define PTE_PWT	     (1 << 3)
#define PTE_PCD	     (1 << 4) /* with PWT: uncached (Intel SDM volume 3, 12.5.2.1) */
#define PTE_LARGE    (1 << 7)
#define PTE_ADDR     0x000ffffffffff000

#define LARGE_PAGE   (2 * MIB)
#define TABLES_MAX   8
#define TABLE_LENGTH 512

extern u64 pml4[TABLE_LENGTH]; /* start.S */

static u64 spare[TABLES_MAX][TABLE_LENGTH] __attribute__((aligned(4096)));
static u32 spare_used;

/* The table that entry `e` points to, made if there is none. NULL: no table is left. */
static u64 *table_below(u64 *e)
{
	if (!(*e & PTE_P)) {
		if (spare_used == TABLES_MAX)
			return NULL;
		*e = (u64)spare[spare_used++] | PTE_P | PTE_W;
	}
	return (u64 *)(*e & PTE_ADDR);
}

void map_device(u64 phys, u64 size)
{
	for (u64 at = ALIGN_DOWN(phys, LARGE_PAGE); at < phys + size; at += LARGE_PAGE) {
		u64 *pdpt, *pd = NULL;

		if (at < 4 * GIB)
			continue;
		pdpt = table_below(&pml4[at >> 39 & 511]);
		if (pdpt)
			pd = table_below(&pdpt[at >> 30 & 511]);
		if (!pd) {
			printf("Bail out! no page table is left to map %lx\n", at);
			power_off();
		}
		pd[at >> 21 & 511] = at | PTE_P | PTE_W | PTE_PWT | PTE_PCD | PTE_LARGE;
	}
}

/* By 8 bytes and then the rest by bytes: a software KVM emulates each of the steps. */
void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;
	size_t count = n / 8;

	asm volatile("rep movsq" : "+D"(d), "+S"(src), "+c"(count)::"memory");
	count = n % 8;
	asm volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(count)::"memory");
	return dst;
}

void *memset(void *dst, int byte, size_t n)
{
	void *d = dst;
	size_t count = n / 8;

	asm volatile("rep stosq"
		     : "+D"(d), "+c"(count)
		     : "a"((u8)byte * 0x0101010101010101ULL)
		     : "memory");
	count = n % 8;
	asm volatile("rep stosb" : "+D"(d), "+c"(count) : "a"(byte) : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}
