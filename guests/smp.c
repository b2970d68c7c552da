// SPDX-License-Identifier: MIT
/*
 * smp.c - several CPUs: they start, share memory, and send each other interrupts.
 *
 * How it works: smp_start() (lib/smp.c) wakes the others by INIT and STARTUP. Each adds to a shared
 * counter, then sleeps and answers: whoever sends it a PING interrupt gets a PONG back.
 */
#include "guest.h"

#define VECTOR_PING   0x40
#define VECTOR_PONG   0x41
#define VECTOR_SELF   0x42

#define ROUNDS	      500

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_BSP (1 << 8)

static volatile u32 counter, careless; /* added to with and without `lock` */
static volatile u32 arrived, pings, pongs, selfs;
static volatile u32 pinged[CPUS_MAX];
static u32 boot_id;

/* What a CPU says about itself. */
struct identity {
	u32 apic, cpuid1, topology;
	bool has_topology, boot;
};
static struct identity identity[CPUS_MAX];

static void identify(u32 cpu)
{
	struct identity *i = &identity[cpu];

	i->apic = apic_id();
	i->cpuid1 = cpuid(1, 0).ebx >> 24;
	i->has_topology = cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx;
	i->topology = cpuid(0xb, 0).edx;
	i->boot = rdmsr(MSR_APIC_BASE) & APIC_BASE_BSP;
}

static void handle_ping(u32 vector)
{
	(void)vector;
	pinged[smp_cpu()]++;
	__atomic_fetch_add(&pings, 1, __ATOMIC_RELAXED);
	apic_send(boot_id, VECTOR_PONG);
}

static void handle_pong(u32 vector)
{
	(void)vector;
	pongs++;
}

static void handle_self(u32 vector)
{
	(void)vector;
	selfs++;
}

static void add(void)
{
	for (u32 i = 0; i < ROUNDS; i++) {
		__atomic_fetch_add(&counter, 1, __ATOMIC_RELAXED);
		careless++;
	}
	__atomic_fetch_add(&arrived, 1, __ATOMIC_RELEASE);
}

static void other_cpu(u32 cpu)
{
	identify(cpu);
	add();
	for (;;)
		irq_wait();
}

static void test_identities(u32 cpus)
{
	u32 wrong = 0, wrong_topology = 0, twice = 0, boot = 0;

	for (u32 a = 0; a < cpus; a++) {
		const struct identity *i = &identity[a];

		wrong += i->apic != smp_apic_id(a) || i->cpuid1 != (i->apic & 0xff);
		wrong_topology += i->has_topology && i->topology != i->apic;
		boot += i->boot;
		for (u32 b = 0; b < a; b++)
			twice += identity[b].apic == i->apic;
	}
	tap_eq(wrong, 0, "each CPU's APIC id is the one in MADT and CPUID leaf 1");
	if (identity[0].has_topology)
		tap_eq(wrong_topology, 0, "and the one in CPUID leaf 0Bh");
	else
		tap_skip("and the one in CPUID leaf 0Bh", "this CPU has no such leaf");
	tap_eq(twice, 0, "no two have the same");
	tap(boot == 1 && identity[0].boot,
	    "the first one and no other says that it is the boot CPU");
}

static void test_pings(u32 cpus)
{
	for (u32 cpu = 1; cpu < cpus; cpu++) {
		u32 before = pinged[cpu];

		pongs = 0;
		apic_send(smp_apic_id(cpu), VECTOR_PING);
		wait_for(&pongs, 1);
		tap(pongs == 1 && pinged[cpu] == before + 1, "CPU %u answers a ping", cpu);
	}
	pings = 0;
	apic_send(0, ICR_ALL_BUT_SELF | VECTOR_PING);
	wait_for(&pings, cpus - 1);
	wait_a_little();
	tap_eq(pings, cpus - 1, "a ping to all others reaches each once");
	tap_eq(pinged[0], 0, "and not the sender");
}

static void test_many_pings(u32 cpus)
{
	u32 n = 0;

	do {
		pongs = 0;
		apic_send(smp_apic_id(1 + n % (cpus - 1)), VECTOR_PING);
		if (!wait_for(&pongs, 1))
			break;
	} while (++n < 100);
	tap_eq(n, 100, "100 pings are answered one by one");
}

void guest_main(const struct hvm_start_info *info)
{
	u32 cpus;

	(void)info;
	boot_id = apic_id();
	irq_handle(VECTOR_PING, handle_ping);
	irq_handle(VECTOR_PONG, handle_pong);
	irq_handle(VECTOR_SELF, handle_self);
	printf("# %u CPU(s), %s\n", acpi.ncpus, apic_is_x2apic() ? "x2APIC" : "xAPIC");

	apic_send(0, ICR_SELF | VECTOR_SELF);
	tap(wait_for(&selfs, 1), "a CPU can interrupt itself");
	identify(0);
	cpus = smp_start(other_cpu);
	tap_eq(cpus, acpi.ncpus, "all CPUs of the MADT start");
	add();
	wait_for(&arrived, cpus);
	tap_eq(counter, cpus * ROUNDS, "no locked addition is lost");
	printf("# of those without lock, %u were\n", cpus * ROUNDS - careless);
	test_identities(cpus);
	if (cpus > 1) {
		test_pings(cpus);
		test_many_pings(cpus);
	}
	tap_end();
}
