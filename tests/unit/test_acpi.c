// SPDX-License-Identifier: MIT
/*
 * test_acpi.c - the ACPI tables as a guest finds them, and as Intel's compiler judges them.
 *
 * The tables are written out, each to a file, and given to tests/unit/iasl-check.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/layout.h"
#include "minivmm/power_regs.h"
#include "tests/unit/guest.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef UNIT_OUT
#define UNIT_OUT "/tmp"
#endif

static const u32 cpus[] = { 1, 4, 254, 255, 256, 300 };

static struct guest g;
static u64 rsdp;

static void setup(void)
{
	guest_init(&g, 64 * MIB);
	g.platform.nnodes = 3;
	g.platform.node[1] =
		(struct platform_node){ .kind = PLATFORM_RTC, .base = 0x70, .size = 2 };
	g.platform.node[2] = (struct platform_node){
		.kind = PLATFORM_POWER, .base = 0x600, .size = POWER_REGS_LEN, .gsi = 9
	};
}

static void teardown(void)
{
	guest_free(&g);
}

static void add_virtio(u32 n)
{
	for (u32 i = 0; i < n; i++)
		g.platform.node[g.platform.nnodes++] = (struct platform_node){
			.kind = PLATFORM_VIRTIO_MMIO,
			.base = 0xf0000000 + 0x1000 * i,
			.size = 0x1000,
			.gsi = 20 + i % 4,
		};
}

static void build(u32 n)
{
	g.platform.cpus = n;
	ck_assert_int_eq(acpi_build(&g.mem, &g.platform, &rsdp), 0);
	expect_silence();
}

static u32 get32(u64 gpa)
{
	u32 v;

	memcpy(&v, guest_at(&g, gpa, 4), 4);
	return v;
}

static u64 get64(u64 gpa)
{
	u64 v;

	memcpy(&v, guest_at(&g, gpa, 8), 8);
	return v;
}

static u8 sum(u64 gpa, u64 len)
{
	const u8 *p = guest_at(&g, gpa, len);
	u8 s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* A table that is where it should be, with the right sum. */
static void good_table(u64 gpa, const char *signature)
{
	ck_assert(range_inside(gpa, 36, ACPI_ADDR, ACPI_SIZE));
	ck_assert_mem_eq(guest_at(&g, gpa, 4), signature, 4);
	ck_assert_uint_ge(get32(gpa + 4), 36);
	ck_assert(range_inside(gpa, get32(gpa + 4), ACPI_ADDR, ACPI_SIZE));
	ck_assert_uint_eq(sum(gpa, get32(gpa + 4)), 0);
	ck_assert_uint_eq(gpa % 16, 0);
}

static u64 xsdt(void)
{
	return get64(rsdp + 24);
}

static u64 table(const char *signature)
{
	u32 n = (get32(xsdt() + 4) - 36) / 8;

	for (u32 i = 0; i < n; i++) {
		u64 gpa = get64(xsdt() + 36 + 8 * i);

		if (memcmp(guest_at(&g, gpa, 4), signature, 4) == 0)
			return gpa;
	}
	ck_abort_msg("no %s", signature);
	return 0;
}

static u64 dsdt(void)
{
	return get64(table("FACP") + 140);
}

START_TEST(the_root_pointer_is_found_and_sums_to_zero)
{
	build(1);
	ck_assert_uint_eq(rsdp % 16, 0);
	ck_assert(range_inside(rsdp, 36, 0xe0000, 0x20000)); /* where a guest looks */
	ck_assert_mem_eq(guest_at(&g, rsdp, 8), "RSD PTR ", 8);
	ck_assert_uint_eq(*(u8 *)guest_at(&g, rsdp + 15, 1), 2); /* revision */
	ck_assert_uint_eq(get32(rsdp + 20), 36);
	ck_assert_uint_eq(sum(rsdp, 20), 0);
	ck_assert_uint_eq(sum(rsdp, 36), 0);
}

START_TEST(every_table_is_inside_the_area_and_sums_to_zero)
{
	build(cpus[_i]);
	good_table(xsdt(), "XSDT");
	ck_assert_uint_eq(get32(xsdt() + 4), 36 + 3 * 8);
	good_table(table("FACP"), "FACP");
	good_table(table("APIC"), "APIC");
	good_table(table("MCFG"), "MCFG");
	good_table(dsdt(), "DSDT");
}

START_TEST(tables_do_not_overlap)
{
	u64 at[6], len[6];

	build(300);
	at[0] = rsdp;
	len[0] = 36;
	at[1] = xsdt();
	at[2] = table("FACP");
	at[3] = table("APIC");
	at[4] = table("MCFG");
	at[5] = dsdt();
	for (u32 i = 1; i < 6; i++)
		len[i] = get32(at[i] + 4);
	for (u32 i = 0; i < 6; i++) {
		for (u32 k = 0; k < i; k++)
			ck_assert(!ranges_overlap(at[i], len[i], at[k], len[k]));
	}
}

START_TEST(the_fadt_names_the_power_registers)
{
	u64 f;

	build(1);
	f = table("FACP");
	ck_assert_uint_eq(get32(f + 40), dsdt());
	ck_assert_uint_eq(get32(f + 112) & (1 << 20), 1 << 20); /* hardware-reduced */
	ck_assert_uint_eq(get32(f + 112) & (1 << 10), 1 << 10); /* reset register */
	ck_assert_uint_eq(get32(f + 116), 0x01000801);		/* one byte of I/O ports */
	ck_assert_uint_eq(get64(f + 120), 0x600 + POWER_REG_RESET);
	ck_assert_uint_eq(*(u8 *)guest_at(&g, f + 128, 1), POWER_RESET_VALUE);
	ck_assert_uint_eq(get64(f + 244 + 4), 0x600 + POWER_REG_SLEEP_CONTROL);
	ck_assert_uint_eq(get64(f + 256 + 4), 0x600 + POWER_REG_SLEEP_STATUS);
}

START_TEST(without_a_power_device_there_is_no_reset_register)
{
	g.platform.nnodes = 2;
	build(1);
	ck_assert_uint_eq(get32(table("FACP") + 112) & (1 << 10), 0);
	ck_assert_uint_eq(get64(table("FACP") + 120), 0);
}

/* Each CPU appears once, by its APIC id, in the form that can hold it. */
START_TEST(the_madt_lists_every_cpu_once)
{
	u64 madt, at, end;
	bool seen[300] = { false };
	u32 ioapics = 0, n = 0;

	build(cpus[_i]);
	madt = table("APIC");
	end = madt + get32(madt + 4);
	ck_assert_uint_eq(get32(madt + 36), LAPIC_ADDR);
	for (at = madt + 44; at < end; at += *(u8 *)guest_at(&g, at + 1, 1)) {
		const u8 *e = guest_at(&g, at, 2);
		u32 id = 0;

		ck_assert_uint_ge(e[1], 2);
		switch (e[0]) {
		case 0: /* local APIC */
			ck_assert_uint_eq(e[1], 8);
			id = e[3];
			ck_assert_uint_eq(e[2], id);
			ck_assert_uint_lt(id, 255);
			ck_assert_uint_eq(get32(at + 4), 1); /* enabled */
			break;
		case 9: /* x2APIC */
			ck_assert_uint_eq(e[1], 16);
			id = get32(at + 4);
			ck_assert_uint_eq(get32(at + 12), id);
			ck_assert_uint_ge(id, 255);
			ck_assert_uint_eq(get32(at + 8), 1);
			break;
		case 1:
			ioapics++;
			ck_assert_uint_eq(e[1], 12);
			ck_assert_uint_eq(get32(at + 4), IOAPIC_ADDR);
			ck_assert_uint_eq(get32(at + 8), 0);
			continue;
		default:
			ck_abort_msg("entry of type %u", e[0]);
		}
		ck_assert_uint_lt(id, cpus[_i]);
		ck_assert(!seen[id]);
		seen[id] = true;
		n++;
	}
	ck_assert_uint_eq(at, end);
	ck_assert_uint_eq(n, cpus[_i]);
	ck_assert_uint_eq(ioapics, 1);
}

START_TEST(the_mcfg_names_ecam)
{
	u64 m;

	build(1);
	m = table("MCFG");
	ck_assert_uint_eq(get32(m + 4), 60);
	ck_assert_uint_eq(get64(m + 44), g.platform.pci.ecam);
	ck_assert_uint_eq(get32(m + 52), 0); /* segment 0, bus 0 to 0 */
}

static bool dsdt_has(const void *bytes, u64 len)
{
	return memmem(guest_at(&g, dsdt(), get32(dsdt() + 4)), get32(dsdt() + 4), bytes, len);
}

/* Name (_HID, EisaId ("PNPxxxx")): PNP is 41D0h. */
static bool dsdt_has_pnp(u16 number)
{
	const u8 name[] = { '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, number >> 8, number & 0xff };

	return dsdt_has(name, sizeof(name));
}

START_TEST(the_dsdt_names_every_device)
{
	add_virtio(2);
	build(1);
	ck_assert(dsdt_has_pnp(0x0a03)); /* PCI host bridge */
	ck_assert(dsdt_has_pnp(0x0c02)); /* reserves ECAM */
	ck_assert(dsdt_has_pnp(0x0501)); /* 16550 */
	ck_assert(dsdt_has_pnp(0x0b00)); /* clock */
	ck_assert(dsdt_has_pnp(0x0c0c)); /* power button */
	ck_assert(dsdt_has("_HID\x0d"
			   "ACPI0013",
			   14)); /* event device */
	ck_assert(dsdt_has("VR00\x08_HID\x0dLNRO0005", 18));
	ck_assert(dsdt_has("VR01\x08_HID\x0dLNRO0005", 18));
	ck_assert(!dsdt_has("VR02", 4));
	ck_assert(dsdt_has("_S5_\x12", 5));
}

START_TEST(the_dsdt_leaves_out_what_is_not_there)
{
	g.platform.nnodes = 0;
	build(1);
	ck_assert(dsdt_has_pnp(0x0a03));
	ck_assert(!dsdt_has_pnp(0x0501));
	ck_assert(!dsdt_has_pnp(0x0b00));
	ck_assert(!dsdt_has_pnp(0x0c0c));
}

START_TEST(too_many_cpus_for_the_area_are_refused)
{
	g.platform.cpus = 10000;
	ck_assert_int_eq(acpi_build(&g.mem, &g.platform, &rsdp), -ENOSPC);
	expect_said("10000 CPUs");
	build(4096); /* the most that --cpus takes */
}

/* Whatever does not fit first, nothing is written behind the area. */
START_TEST(tables_never_leave_the_area)
{
	const u8 *behind = guest_at(&g, ACPI_ADDR + ACPI_SIZE, 64);
	u32 fit = 0, refused = 0;

	add_virtio(PLATFORM_NODES_MAX - 3);
	for (u32 n = 7000; n < 9000; n++) {
		g.platform.cpus = n;
		if (acpi_build(&g.mem, &g.platform, &rsdp) == 0)
			fit++;
		else
			refused++;
		said_forget();
		for (u32 i = 0; i < 64; i++)
			ck_assert_uint_eq(behind[i], 0);
	}
	ck_assert_uint_gt(fit, 0);
	ck_assert_uint_gt(refused, 0);
}

START_TEST(no_room_for_the_area_is_an_error)
{
	struct mem tiny;

	mem_init(&tiny);
	ck_assert_int_eq(mem_add_ram(&tiny, 0, ACPI_ADDR + 4096, false), 0);
	ck_assert_int_eq(acpi_build(&tiny, &g.platform, &rsdp), -EFAULT);
	mem_destroy(&tiny);
}

static void write_table(const char *dir, const char *name, u64 gpa, u32 len)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	f = fopen(path, "wb");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(guest_at(&g, gpa, len), 1, len, f), len);
	fclose(f);
}

/* The machines that are not just a number of CPUs. */
static void shape(const char *name)
{
	if (strcmp(name, "virtio-mmio") == 0)
		add_virtio(60);
	if (strcmp(name, "bare") == 0) {
		g.platform.nnodes = 0;
		g.platform.pci.mem64_size = 0;
	}
}

static const struct {
	const char *name;
	u32 cpus;
} machines[] = {
	{ "1", 1 }, { "4", 4 }, { "255", 255 }, { "300", 300 }, { "bare", 1 }, { "virtio-mmio", 2 },
};

START_TEST(intels_compiler_finds_nothing_wrong)
{
	char dir[128], command[256];
	int status;

	if (system("command -v iasl >/dev/null") != 0)
		skip_test("iasl is not installed (acpica-tools)");
	mkdir(UNIT_OUT, 0777);
	mkdir(UNIT_OUT "/acpi", 0777);
	snprintf(dir, sizeof(dir), UNIT_OUT "/acpi/%s", machines[_i].name);
	mkdir(dir, 0777);
	shape(machines[_i].name);
	build(machines[_i].cpus);
	write_table(dir, "xsdt", xsdt(), get32(xsdt() + 4));
	write_table(dir, "facp", table("FACP"), get32(table("FACP") + 4));
	write_table(dir, "apic", table("APIC"), get32(table("APIC") + 4));
	write_table(dir, "mcfg", table("MCFG"), get32(table("MCFG") + 4));
	write_table(dir, "dsdt", dsdt(), get32(dsdt() + 4));
	snprintf(command, sizeof(command), "tests/unit/iasl-check %s", dir);
	status = system(command);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Suite *acpi_suite(void)
{
	Suite *s = suite_create("acpi");
	TCase *t = tcase_create("acpi");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, the_root_pointer_is_found_and_sums_to_zero);
	tcase_add_loop_test(t, every_table_is_inside_the_area_and_sums_to_zero, 0,
			    ARRAY_SIZE(cpus));
	tcase_add_test(t, tables_do_not_overlap);
	tcase_add_test(t, the_fadt_names_the_power_registers);
	tcase_add_test(t, without_a_power_device_there_is_no_reset_register);
	tcase_add_loop_test(t, the_madt_lists_every_cpu_once, 0, ARRAY_SIZE(cpus));
	tcase_add_test(t, the_mcfg_names_ecam);
	tcase_add_test(t, the_dsdt_names_every_device);
	tcase_add_test(t, the_dsdt_leaves_out_what_is_not_there);
	tcase_add_test(t, too_many_cpus_for_the_area_are_refused);
	tcase_add_test(t, tables_never_leave_the_area);
	tcase_add_test(t, no_room_for_the_area_is_an_error);
	suite_add_tcase(s, t);

	t = tcase_create("acpi-iasl");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, intels_compiler_finds_nothing_wrong, 0, ARRAY_SIZE(machines));
	suite_add_tcase(s, t);
	return s;
}
