// SPDX-License-Identifier: MIT
/*
 * test_testdev.c - the PCI test device, register by register: what the guests in guests/ rely on.
 */
#include "minivmm/devices.h"
#include "minivmm/testdev_regs.h"
#include "tests/unit/unit.h"

#include <linux/pci_regs.h>

#define SLOT  2 /* the rig's own device is in slot 1 */
#define REGS  0xc0100000ULL
#define PORTS 0xd000
#define WIDE  0x900000000ULL
#define TABLE 0xc0200000ULL
#define GSI   (16 + SLOT % 4)

static struct pci_rig p;
static struct device *dev;

static u64 get(u64 addr, u32 len)
{
	return bus_read(p.r.env.mmio, addr, len);
}

static void set(u64 addr, u32 len, u64 value)
{
	bus_write(p.r.env.mmio, addr, len, value);
}

static void place(void)
{
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_0, 4, REGS);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_1, 4, PORTS);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_2, 4, (u32)WIDE);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_3, 4, WIDE >> 32);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_4, 4, TABLE);
	cf8_set(&p, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
}

static void setup(void)
{
	pci_rig_init(&p);
	ck_assert_int_eq(testdev_create(&dev, &p.r.env, p.host), 0);
	place();
}

static void teardown(void)
{
	dev->ops->destroy(dev);
	dev = NULL; /* else it would hide a leak */
	pci_rig_free(&p);
}

START_TEST(it_takes_the_first_free_slot)
{
	ck_assert_uint_eq(cf8_get(&p, SLOT, 0, 4), (u32)TESTDEV_DEVICE << 16 | TESTDEV_VENDOR);
}

START_TEST(its_magic_is_in_memory_and_ports)
{
	ck_assert_uint_eq(get(REGS + TESTDEV_MAGIC, 4), TESTDEV_MAGIC_VALUE);
	ck_assert_uint_eq(bus_read(p.r.env.pio, PORTS + 4, 4), TESTDEV_MAGIC_VALUE);
	ck_assert_uint_eq(get(REGS + TESTDEV_MAGIC + 1, 2), (TESTDEV_MAGIC_VALUE >> 8) & 0xffff);
	set(REGS + TESTDEV_MAGIC, 4, 0);
	bus_write(p.r.env.pio, PORTS + 4, 4, 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_MAGIC, 4), TESTDEV_MAGIC_VALUE);
}

START_TEST(the_scratch_registers_take_any_width)
{
	set(REGS + TESTDEV_SCRATCH, 4, 0x44332211);
	set(REGS + TESTDEV_SCRATCH + 1, 1, 0xaa);
	set(REGS + TESTDEV_SCRATCH + 2, 2, 0xccbb);
	ck_assert_uint_eq(get(REGS + TESTDEV_SCRATCH, 4), 0xccbbaa11);
	ck_assert_uint_eq(get(REGS + TESTDEV_SCRATCH + 1, 2), 0xbbaa);
	bus_write(p.r.env.pio, PORTS, 4, 0x01020304);
	bus_write(p.r.env.pio, PORTS + 3, 1, 0xff);
	ck_assert_uint_eq(bus_read(p.r.env.pio, PORTS, 4), 0xff020304);
}

START_TEST(an_access_across_registers_reads_zero_and_writes_nothing)
{
	set(REGS + TESTDEV_SCRATCH, 4, 5);
	set(REGS + TESTDEV_SCRATCH + 2, 4, ~0u);
	set(REGS + TESTDEV_SCRATCH, 8, ~0ULL);
	ck_assert_uint_eq(get(REGS + TESTDEV_SCRATCH, 4), 5);
	ck_assert_uint_eq(get(REGS + TESTDEV_MAGIC + 2, 4), 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_MAGIC, 8), 0);
}

START_TEST(unused_registers_read_zero)
{
	ck_assert_uint_eq(get(REGS + 0x1c, 4), 0);
	ck_assert_uint_eq(get(REGS + 0xffc, 4), 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_RAISE, 4), 0);
	ck_assert_uint_eq(bus_read(p.r.env.pio, PORTS + 12, 4), 0);
}

START_TEST(the_wide_bar_gives_offsets)
{
	for (u64 off = 0; off < 0x10000; off += 0x1238)
		ck_assert_uint_eq(get(WIDE + off, 8), off);
	ck_assert_uint_eq(get(WIDE + 0xfffc, 4), 0xfffc);
	set(WIDE, 8, 5);
	ck_assert_uint_eq(get(WIDE + 1, 1), 0);
}

START_TEST(intx_is_held_by_a_register)
{
	set(REGS + TESTDEV_INTX, 4, 1);
	ck_assert(p.r.vm.level[GSI]);
	ck_assert_uint_eq(get(REGS + TESTDEV_INTX, 4), 1);
	set(REGS + TESTDEV_INTX, 4, 0);
	ck_assert(!p.r.vm.level[GSI]);
	ck_assert_uint_eq(get(REGS + TESTDEV_INTX, 4), 0);
}

START_TEST(a_raised_source_without_msix_is_intx)
{
	set(REGS + TESTDEV_RAISE, 4, 2);
	loop_settle(p.r.env.loop);
	ck_assert(p.r.vm.level[GSI]);
	ck_assert_uint_eq(get(REGS + TESTDEV_INTX, 4), 1);
}

static void msix_on(void)
{
	u32 cap = cf8_get(&p, SLOT, PCI_CAPABILITY_LIST, 1);

	for (u32 v = 0; v < TESTDEV_SOURCES; v++) {
		set(TABLE + 16 * v, 8, 0xfee00000);
		set(TABLE + 16 * v + 8, 8, 0x40 + v);
	}
	cf8_set(&p, SLOT, cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
}

START_TEST(a_raised_source_with_msix_is_a_message)
{
	msix_on();
	for (u32 v = 0; v < TESTDEV_SOURCES; v++) {
		set(REGS + TESTDEV_RAISE, 4, v);
		ck_assert_uint_eq(fake_vm_count(&p.r.vm, 0xfee00000, 0x40 + v), 1);
	}
	set(REGS + TESTDEV_RAISE, 4, TESTDEV_SOURCES); /* no such source */
	set(REGS + TESTDEV_RAISE, 4, ~0u);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
}

START_TEST(the_doorbell_is_counted_by_the_loop)
{
	ck_assert_uint_eq(get(REGS + TESTDEV_RINGS, 4), 0);
	set(REGS + TESTDEV_DOORBELL, 2, 7);
	loop_settle(p.r.env.loop);
	set(REGS + TESTDEV_DOORBELL, 4, 0);
	set(REGS + TESTDEV_DOORBELL, 1, 0); /* two rings, one wake-up */
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(get(REGS + TESTDEV_RINGS, 4), 2);
}

START_TEST(the_doorbell_can_raise_a_source)
{
	msix_on();
	set(REGS + TESTDEV_BELL_RAISES, 4, 3 + 1);
	ck_assert_uint_eq(get(REGS + TESTDEV_BELL_RAISES, 4), 4);
	set(REGS + TESTDEV_DOORBELL, 4, 0);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, 0xfee00000, 0x43), 1);
	set(REGS + TESTDEV_BELL_RAISES, 4, TESTDEV_SOURCES + 1); /* none such: off */
	ck_assert_uint_eq(get(REGS + TESTDEV_BELL_RAISES, 4), 0);
	set(REGS + TESTDEV_DOORBELL, 4, 0);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
}

START_TEST(the_doorbell_moves_with_its_bar)
{
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_0, 4, 0xc0300000);
	set(REGS + TESTDEV_DOORBELL, 4, 0);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(get(0xc0300000 + TESTDEV_RINGS, 4), 0);
	set(0xc0300000 + TESTDEV_DOORBELL, 4, 0);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(get(0xc0300000 + TESTDEV_RINGS, 4), 1);
}

START_TEST(a_reset_brings_all_back)
{
	msix_on();
	set(REGS + TESTDEV_SCRATCH, 4, 5);
	set(REGS + TESTDEV_INTX, 4, 1);
	set(REGS + TESTDEV_BELL_RAISES, 4, 1);
	set(REGS + TESTDEV_DOORBELL, 4, 1); /* not counted yet */
	bus_write(p.r.env.pio, PORTS, 4, 5);
	dev->ops->reset(dev);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(get(REGS, 4), 0xffffffff);
	ck_assert(!p.r.vm.level[GSI]);
	place();
	ck_assert_uint_eq(get(REGS + TESTDEV_SCRATCH, 4), 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_INTX, 4), 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_BELL_RAISES, 4), 0);
	ck_assert_uint_eq(get(REGS + TESTDEV_RINGS, 4), 0);
	ck_assert_uint_eq(bus_read(p.r.env.pio, PORTS, 4), 0);
}

Suite *testdev_suite(void)
{
	Suite *s = suite_create("testdev");
	TCase *t = tcase_create("testdev");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, it_takes_the_first_free_slot);
	tcase_add_test(t, its_magic_is_in_memory_and_ports);
	tcase_add_test(t, the_scratch_registers_take_any_width);
	tcase_add_test(t, an_access_across_registers_reads_zero_and_writes_nothing);
	tcase_add_test(t, unused_registers_read_zero);
	tcase_add_test(t, the_wide_bar_gives_offsets);
	tcase_add_test(t, intx_is_held_by_a_register);
	tcase_add_test(t, a_raised_source_without_msix_is_intx);
	tcase_add_test(t, a_raised_source_with_msix_is_a_message);
	tcase_add_test(t, the_doorbell_is_counted_by_the_loop);
	tcase_add_test(t, the_doorbell_can_raise_a_source);
	tcase_add_test(t, the_doorbell_moves_with_its_bar);
	tcase_add_test(t, a_reset_brings_all_back);
	suite_add_tcase(s, t);
	return s;
}
