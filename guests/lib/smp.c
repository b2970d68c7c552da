// SPDX-License-Identifier: MIT
/*
 * smp.c - the other CPUs.
 *
 * How it works: after power-on they wait for two messages (Intel SDM volume 3, 9.4.4.1): INIT
 * resets one, STARTUP with vector v lets it begin in real mode at address v * 1000h. So a page
 * below 1 MiB is needed, and gets the few instructions of ap_start16 (start.S). We start one at a
 * time, so that one variable can say which stack and which number it has.
 */
#include "guest.h"

/* TSC ticks: a few ms after INIT, some seconds after STARTUP. */
#define INIT_WAIT  10000000ULL
#define START_WAIT 10000000000ULL

extern char ap_start16[], ap_start16_end[];
extern u64 ap_stack_top, ap_cpu; /* start.S reads them */

static u8 stack[CPUS_MAX][STACK_SIZE] __attribute__((aligned(16)));
static u32 id_of[CPUS_MAX];
static u32 cpus_up = 1;
static void (*function)(u32 cpu);

u32 smp_apic_id(u32 cpu)
{
	return id_of[cpu];
}

u32 smp_cpu(void)
{
	u32 id = apic_id(), cpu = 0;

	while (cpu < cpus_up && id_of[cpu] != id)
		cpu++;
	return cpu;
}

/* start.S comes here on a started CPU. */
void ap_main(u64 cpu)
{
	trap_load();
	apic_init();
	__atomic_store_n(&cpus_up, cpu + 1, __ATOMIC_RELEASE);
	function(cpu);
}

/* Until that many CPUs are up, or `ticks` have passed. */
static bool wait_up(u32 cpus, u64 ticks)
{
	u64 start = rdtsc();

	while (__atomic_load_n(&cpus_up, __ATOMIC_ACQUIRE) != cpus) {
		if (rdtsc() - start > ticks)
			return false;
		cpu_relax();
	}
	return true;
}

/* A second STARTUP is for CPUs that missed the first; one that runs takes no notice of it. */
static bool start_one(u32 cpu, u32 id)
{
	id_of[cpu] = id;
	ap_cpu = cpu;
	ap_stack_top = (u64)stack[cpu] + STACK_SIZE;
	apic_send(id, ICR_INIT);
	wait_up(cpu + 1, INIT_WAIT);
	for (int tries = 0; tries < 2; tries++) {
		apic_send(id, ICR_STARTUP | AP_TRAMPOLINE >> 12);
		if (wait_up(cpu + 1, START_WAIT))
			return true;
	}
	return false;
}

u32 smp_start(void (*fn)(u32 cpu))
{
	u32 self = apic_id(), cpu = 1;

	memcpy((void *)AP_TRAMPOLINE, ap_start16, ap_start16_end - ap_start16);
	id_of[0] = self;
	function = fn;
	for (u32 i = 0; i < acpi.ncpus; i++) {
		if (acpi.apic_id[i] == self)
			continue;
		if (!start_one(cpu, acpi.apic_id[i]))
			printf("# the CPU with APIC id %u does not start\n", acpi.apic_id[i]);
		else
			cpu++;
	}
	return cpu;
}
