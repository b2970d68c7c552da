/* SPDX-License-Identifier: MIT */
/*
 * user.h - run a function in user mode (CPL 3), where a software KVM, which emulates the kernel's
 * instructions one by one, lets the processor run on its own.
 *
 * In user mode interrupts are on, all memory and all devices' registers can be reached, and ports,
 * MSRs, `hlt`, and so printf(), can't. Interrupts must come at vectors given to user_count().
 */
#ifndef GUEST_USER_H
#define GUEST_USER_H

#include "guest.h"

#define USER_COUNTERS 4

/* Interrupts so far at the vectors given to user_count(i, ...). */
extern volatile u32 user_counter[USER_COUNTERS];

/* Once, before all else, and after all map_device(): tables and segments for user mode. */
void user_init(void);

/* Make interrupts at `vector` count in user_counter[i], and do nothing else. */
void user_count(u32 i, u32 vector);

/* Call fn(arg) in user mode; returns when it does. Not to be nested. */
void user_run(void (*fn)(void *arg), void *arg);

/* In user mode: sleep (`hlt`) until an interrupt, unless *counter differs from `old` already. */
static inline void user_sleep(const volatile u32 *counter, u32 old)
{
	asm volatile("hlt" ::"D"(counter), "S"(old) : "memory", "cc");
}

#endif
