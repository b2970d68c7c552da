// SPDX-License-Identifier: MIT
/*
 * test_pci.c - configuration space by both ways, BARs as a guest sizes and moves them, INTx.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define SLOT	 PCI_DEV_SLOT
#define BAR(i)	 (PCI_BASE_ADDRESS_0 + 4 * (i))
#define NO_SLOT	 7
#define INTX_GSI (16 + SLOT % 4)

static struct pci_rig p;

static void setup(void)
{
	pci_rig_init(&p);
}

static void teardown(void)
{
	pci_rig_free(&p);
}

static u32 cfg(u32 reg, u32 len)
{
	return cf8_get(&p, SLOT, reg, len);
}

static void set_cfg(u32 reg, u32 len, u32 value)
{
	cf8_set(&p, SLOT, reg, len, value);
}

static void decode(bool on)
{
	set_cfg(PCI_COMMAND, 2, on ? PCI_COMMAND_MEMORY | PCI_COMMAND_IO : 0);
}

static u64 mmio(u64 addr)
{
	return bus_read(p.r.env.mmio, addr, 4);
}

static u64 port(u64 addr)
{
	return bus_read(p.r.env.pio, addr, 4);
}

#define ONES	0xffffffff
#define CLAIMED (PCI_UNIT_VALUE & 0xffffffff)

START_TEST(the_bridge_is_device_0)
{
	ck_assert_uint_eq(cf8_get(&p, 0, PCI_VENDOR_ID, 4), 0x00081b36);
	ck_assert_uint_eq(cf8_get(&p, 0, PCI_CLASS_DEVICE, 2), 0x0600);
	ck_assert_uint_eq(cf8_get(&p, 0, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_NORMAL);
}

START_TEST(a_header_holds_the_ids)
{
	ck_assert_uint_eq(cfg(PCI_VENDOR_ID, 2), 0x1234);
	ck_assert_uint_eq(cfg(PCI_DEVICE_ID, 2), 0x5678);
	ck_assert_uint_eq(cfg(PCI_SUBSYSTEM_VENDOR_ID, 2), 0x9abc);
	ck_assert_uint_eq(cfg(PCI_SUBSYSTEM_ID, 2), 0xdef0);
	ck_assert_uint_eq(cfg(PCI_CLASS_REVISION, 4), 0x02000003);
	ck_assert_uint_eq(cfg(PCI_INTERRUPT_PIN, 1), 1);
}

START_TEST(both_ways_see_the_same_bytes)
{
	set_cfg(PCI_INTERRUPT_LINE, 1, 0x5a);
	for (u32 reg = 0; reg < 256; reg++)
		ck_assert_uint_eq(cfg(reg, 1), ecam_get(&p, SLOT, reg, 1));
	for (u32 reg = 0; reg < 256; reg += 4) {
		u32 value = cfg(reg, 4);

		ck_assert_uint_eq(ecam_get(&p, SLOT, reg, 4), value);
		ck_assert_uint_eq(cfg(reg + 2, 2), value >> 16);
		ck_assert_uint_eq(ecam_get(&p, SLOT, reg, 2), value & 0xffff);
		ck_assert_uint_eq(cfg(reg + 3, 1), value >> 24);
	}
}

START_TEST(an_empty_slot_reads_as_ones)
{
	for (u32 len = 1; len <= 4; len *= 2) {
		ck_assert_uint_eq(cf8_get(&p, NO_SLOT, 0, len), bytes_mask(len));
		ck_assert_uint_eq(ecam_get(&p, NO_SLOT, 0, len), bytes_mask(len));
	}
	cf8_set(&p, NO_SLOT, PCI_COMMAND, 4, 0); /* and takes writes */
	ecam_set(&p, NO_SLOT, PCI_COMMAND, 4, 0);
}

START_TEST(other_functions_and_buses_are_empty)
{
	bus_write(p.r.env.pio, 0xcf8, 4, 1u << 31 | SLOT << 11 | 1 << 8);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcfc, 4), ONES);
	bus_write(p.r.env.pio, 0xcf8, 4, 1u << 31 | 1 << 16 | SLOT << 11);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcfc, 4), ONES);
	ck_assert_uint_eq(mmio(p.map.ecam + (SLOT << 15) + (1 << 12)), ONES);
	ck_assert_uint_eq(mmio(p.map.ecam + (32 << 15)), ONES); /* bus 1: not decoded */
}

START_TEST(the_address_register_is_a_dword)
{
	bus_write(p.r.env.pio, 0xcf8, 4, 0x80000813);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcf8, 4), 0x80000810); /* bits 1:0 are zero */
	bus_write(p.r.env.pio, 0xcf8, 1, 0x44);
	bus_write(p.r.env.pio, 0xcf8, 2, 0x4444);
	bus_write(p.r.env.pio, 0xcf9, 1, 0x44);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcf8, 4), 0x80000810);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcf8, 1), 0xff);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcf9, 1), 0xff);
}

START_TEST(without_the_enable_bit_the_data_port_is_dead)
{
	u8 line = cfg(PCI_INTERRUPT_LINE, 1);

	bus_write(p.r.env.pio, 0xcf8, 4, SLOT << 11 | PCI_INTERRUPT_LINE);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcfc, 4), ONES);
	bus_write(p.r.env.pio, 0xcfc, 1, 0x77);
	ck_assert_uint_eq(cfg(PCI_INTERRUPT_LINE, 1), line);
}

START_TEST(an_access_across_the_data_port_is_nobodys)
{
	bus_write(p.r.env.pio, 0xcf8, 4, 1u << 31 | SLOT << 11);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcfe, 4), ONES);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcfa, 4), ONES);
}

START_TEST(an_ecam_access_may_cross_dwords)
{
	ck_assert_uint_eq(ecam_get(&p, SLOT, PCI_VENDOR_ID, 8), cfg(0, 4) | (u64)cfg(4, 4) << 32);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 2, 4), 0x5678 | (cfg(4, 4) & 0xffff) << 16);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 1, 2), 0x7812);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 1, 4), (cfg(0, 4) >> 8 | cfg(4, 4) << 24));
	ecam_set(&p, SLOT, BAR(2), 8, 0x1234560000);
	ck_assert_uint_eq(cfg(BAR(2), 4) & ~0xfu, 0x34560000);
	ck_assert_uint_eq(cfg(BAR(3), 4), 0x12);
}

START_TEST(the_extended_space_of_a_conventional_device_reads_zero)
{
	ck_assert_uint_eq(ecam_get(&p, SLOT, 0x100, 4), 0);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 0xffc, 4), 0);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 0xfe, 4), cfg(0xfe, 2)); /* half inside */
	ecam_set(&p, SLOT, 0x100, 4, ~0u);
	ecam_set(&p, SLOT, 0xff8, 8, ~0ULL);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 0x100, 4), 0);
}

START_TEST(read_only_bits_stay)
{
	u32 first[16];

	for (u32 i = 0; i < 16; i++)
		first[i] = cfg(4 * i, 4);
	for (u32 i = 0; i < 64; i++) {
		if (i != 1 && (i < 4 || i > 9)) /* all but the command register and BARs */
			set_cfg(4 * i, 4, ~0u);
	}
	ck_assert_uint_eq(cfg(PCI_VENDOR_ID, 4), first[0]);
	ck_assert_uint_eq(cfg(PCI_CLASS_REVISION, 4), first[2]);
	ck_assert_uint_eq(cfg(PCI_CACHE_LINE_SIZE, 4), first[3] | 0xff);
	ck_assert_uint_eq(cfg(PCI_SUBSYSTEM_VENDOR_ID, 4), first[11]);
	ck_assert_uint_eq(cfg(PCI_ROM_ADDRESS, 4), 0);
	ck_assert_uint_eq(cfg(PCI_CAPABILITY_LIST, 4), first[13]);
	ck_assert_uint_eq(cfg(PCI_INTERRUPT_LINE, 4), first[15] | 0xff);
}

START_TEST(the_command_register_has_four_writable_bits)
{
	set_cfg(PCI_COMMAND, 4, ~0u);
	ck_assert_uint_eq(cfg(PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
						       PCI_COMMAND_MASTER |
						       PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(cfg(PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	set_cfg(PCI_COMMAND, 1, 0); /* the low byte alone */
	ck_assert_uint_eq(cfg(PCI_COMMAND, 2), PCI_COMMAND_INTX_DISABLE);
}

START_TEST(capabilities_form_a_list)
{
	struct pci_unit u;
	u32 one, two, three;

	pci_unit_init(&u, &p.r.env);
	ck_assert_uint_eq(u.pci.config[PCI_CAPABILITY_LIST], 0);
	one = pci_cap_add(&u.pci, PCI_CAP_ID_VNDR, 5);
	two = pci_cap_add(&u.pci, PCI_CAP_ID_PM, 8);
	three = pci_cap_add(&u.pci, PCI_CAP_ID_EXP, 60);
	ck_assert_uint_eq(one, 0x40);
	ck_assert_uint_eq(two, 0x48); /* aligned to 4 */
	ck_assert_uint_eq(three, 0x50);
	ck_assert_uint_eq(u.pci.config[PCI_CAPABILITY_LIST], one);
	ck_assert_uint_eq(u.pci.config[one], PCI_CAP_ID_VNDR);
	ck_assert_uint_eq(u.pci.config[one + PCI_CAP_LIST_NEXT], two);
	ck_assert_uint_eq(u.pci.config[two + PCI_CAP_LIST_NEXT], three);
	ck_assert_uint_eq(u.pci.config[three], PCI_CAP_ID_EXP);
	ck_assert_uint_eq(u.pci.config[three + PCI_CAP_LIST_NEXT], 0);
	ck_assert_uint_eq(u.pci.config[PCI_STATUS], PCI_STATUS_CAP_LIST);
	pci_dev_destroy(&u.pci);
}

START_TEST(hooks_see_each_access)
{
	u32 reads = p.unit.config_reads, writes = p.unit.config_writes;

	cfg(0, 4);
	set_cfg(PCI_INTERRUPT_LINE, 1, 1);
	ck_assert_uint_eq(p.unit.config_reads, reads + 1);
	ck_assert_uint_eq(p.unit.config_writes, writes + 1);
	pci_config_set(&p.unit.pci, 0x80, 4, 0xcafe);
	ck_assert_uint_eq(pci_config_get(&p.unit.pci, 0x80, 2), 0xcafe);
	ck_assert_uint_eq(cfg(0x80, 4), 0xcafe);
}

/* Write ones and read back the size mask, as a driver does (PCI 3.0, 6.2.5.1). */
static u32 sized(u32 i)
{
	set_cfg(BAR(i), 4, ~0u);
	return cfg(BAR(i), 4);
}

START_TEST(bars_tell_their_size_and_kind)
{
	ck_assert_uint_eq(sized(0), 0xfffff000); /* 4 KiB of 32-bit memory */
	ck_assert_uint_eq(sized(1), 0xfff0 | PCI_BASE_ADDRESS_SPACE_IO);
	ck_assert_uint_eq(sized(2), 0xffff0000 | PCI_BASE_ADDRESS_MEM_TYPE_64 |
					    PCI_BASE_ADDRESS_MEM_PREFETCH);
	ck_assert_uint_eq(sized(3), 0xffffffff); /* the upper half */
	ck_assert_uint_eq(sized(4), 0xffff0000);
	ck_assert_uint_eq(sized(5), 0); /* none */
}

START_TEST(a_bar_beyond_4_gib_has_its_size_in_the_upper_half)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	pci_unit_bar(&u, 0, 8 * GIB, PCI_BAR_MEM64);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 5), 0);
	cf8_set(&p, 5, BAR(0), 4, ~0u);
	cf8_set(&p, 5, BAR(1), 4, ~0u);
	ck_assert_uint_eq(cf8_get(&p, 5, BAR(0), 4), 0x0c);
	ck_assert_uint_eq(cf8_get(&p, 5, BAR(1), 4), 0xfffffffe);
	pci_dev_destroy(&u.pci);
	ck_assert_uint_eq(cf8_get(&p, 5, 0, 4), ONES); /* gone */
}

START_TEST(a_bar_answers_only_while_decoded)
{
	set_cfg(BAR(0), 4, 0xc0100000);
	set_cfg(BAR(1), 4, 0xd000);
	ck_assert_uint_eq(mmio(0xc0100000), ONES);
	ck_assert_uint_eq(port(0xd000), ONES);
	set_cfg(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(mmio(0xc0100000), CLAIMED);
	ck_assert_uint_eq(port(0xd000), ONES);
	set_cfg(PCI_COMMAND, 2, PCI_COMMAND_IO);
	ck_assert_uint_eq(mmio(0xc0100000), ONES);
	ck_assert_uint_eq(port(0xd000), CLAIMED);
	decode(false);
	ck_assert_uint_eq(port(0xd000), ONES);
}

START_TEST(a_bar_gets_the_offset_in_it)
{
	decode(true);
	set_cfg(BAR(0), 4, 0xc0100000);
	bus_write(p.r.env.mmio, 0xc0100ffc, 4, 0xabcd);
	ck_assert_uint_eq(p.unit.last_off, 0xffc);
	ck_assert_uint_eq(p.unit.last_value, 0xabcd);
	ck_assert_uint_eq(mmio(0xc0101000), ONES); /* one beyond */
	ck_assert_uint_eq(mmio(0xc00ffffc), ONES); /* one before */
}

START_TEST(a_bar_moves_when_it_is_written)
{
	decode(true);
	set_cfg(BAR(0), 4, 0xc0100000);
	set_cfg(BAR(0), 4, 0xc0300fff); /* the low bits are not writable */
	ck_assert_uint_eq(cfg(BAR(0), 4), 0xc0300000);
	ck_assert_uint_eq(mmio(0xc0100000), ONES);
	ck_assert_uint_eq(mmio(0xc0300000), CLAIMED);
	set_cfg(BAR(1), 4, 0xd120);
	ck_assert_uint_eq(port(0xd120), CLAIMED);
	ck_assert_uint_eq(port(0xd12c), CLAIMED);
	ck_assert_uint_eq(port(0xd130), ONES);
}

START_TEST(a_64_bit_bar_moves_by_halves)
{
	decode(true);
	set_cfg(BAR(2), 4, 0xc1000000);
	set_cfg(BAR(3), 4, 0);
	ck_assert_uint_eq(mmio(0xc1000000), CLAIMED);
	set_cfg(BAR(3), 4, 0x9);
	ck_assert_uint_eq(mmio(0xc1000000), ONES);
	ck_assert_uint_eq(mmio(0x9c1000000), CLAIMED);
	set_cfg(BAR(2), 4, 0xc2000000);
	ck_assert_uint_eq(mmio(0x9c200fffc), CLAIMED);
}

START_TEST(a_decoded_bar_can_be_sized)
{
	decode(true);
	for (u32 i = 0; i < 5; i++) {
		u32 old = cfg(BAR(i), 4);

		sized(i);
		set_cfg(BAR(i), 4, old);
		ck_assert_uint_eq(cfg(BAR(i), 4), old);
	}
	set_cfg(BAR(0), 4, 0xc0100000);
	ck_assert_uint_eq(mmio(0xc0100000), CLAIMED);
}

START_TEST(of_two_bars_at_one_place_the_second_waits)
{
	u64 writes = p.unit.writes;

	decode(true);
	set_cfg(BAR(0), 4, 0xc0100000);
	set_cfg(BAR(3), 4, 0);
	set_cfg(BAR(2), 4, 0xc0100000); /* 64 KiB over the 4 KiB */
	ck_assert_uint_eq(mmio(0xc0100000), CLAIMED);
	ck_assert_uint_eq(mmio(0xc0101000), ONES); /* BAR 2's alone, but it is off the bus */
	set_cfg(BAR(0), 4, 0xc0300000);		   /* the place is free */
	ck_assert_uint_eq(mmio(0xc0101000), CLAIMED);
	ck_assert_uint_eq(mmio(0xc0300000), CLAIMED);
	ck_assert_uint_eq(p.unit.writes, writes);
}

START_TEST(two_bars_can_change_places)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	pci_unit_bar(&u, 0, 4 * KIB, PCI_BAR_MEM32);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 5), 0);
	set_cfg(BAR(0), 4, 0xc0100000);
	cf8_set(&p, 5, BAR(0), 4, 0xc0200000);
	decode(true);
	cf8_set(&p, 5, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	set_cfg(BAR(0), 4, 0xc0200000);
	cf8_set(&p, 5, BAR(0), 4, 0xc0100000);
	p.unit.reads = u.reads = 0;
	mmio(0xc0100000);
	ck_assert_uint_eq(u.reads, 1);
	mmio(0xc0200000);
	ck_assert_uint_eq(p.unit.reads, 1);
	pci_dev_destroy(&u.pci);
}

START_TEST(a_bar_never_hides_what_is_not_pci)
{
	decode(true);
	set_cfg(BAR(0), 4, p.map.ecam);
	ck_assert_uint_eq(ecam_get(&p, SLOT, 0, 2), 0x1234);
	set_cfg(BAR(1), 4, 0xcf0); /* 16 ports, over CF8h */
	ck_assert_uint_eq(cfg(PCI_VENDOR_ID, 2), 0x1234);
	ck_assert_uint_eq(port(0xcf0), ONES);
}

START_TEST(every_bar_gets_an_address_of_its_own_in_its_window)
{
	u64 bar0 = cfg(BAR(0), 4) & ~0xfu, bar1 = cfg(BAR(1), 4) & ~3u;
	u64 bar2 = (cfg(BAR(2), 4) & ~0xfu) | (u64)cfg(BAR(3), 4) << 32;
	u64 bar4 = cfg(BAR(4), 4) & ~0xfu;

	ck_assert(range_inside(bar0, 4 * KIB, p.map.mem32, p.map.mem32_size));
	ck_assert(range_inside(bar1, 16, p.map.io, p.map.io_size));
	ck_assert(range_inside(bar2, 64 * KIB, p.map.mem32, p.map.mem32_size));
	ck_assert(range_inside(bar4, 64 * KIB, p.map.mem32, p.map.mem32_size));
	ck_assert(!ranges_overlap(bar0, 4 * KIB, bar2, 64 * KIB));
	ck_assert(!ranges_overlap(bar0, 4 * KIB, bar4, 64 * KIB));
	ck_assert(!ranges_overlap(bar2, 64 * KIB, bar4, 64 * KIB));
	ck_assert_uint_eq(bar2 % (64 * KIB), 0);
	ck_assert_uint_eq(cfg(PCI_COMMAND, 2), 0); /* decoding stays off */
	decode(true);
	ck_assert_uint_eq(mmio(bar0), CLAIMED);
	ck_assert_uint_eq(port(bar1), CLAIMED);
	ck_assert_uint_eq(mmio(bar2), CLAIMED);
	ck_assert_uint_eq(mmio(bar4 + 12), 1); /* vector 0 is masked */
}

START_TEST(a_large_64_bit_bar_goes_above_4_gib)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	pci_unit_bar(&u, 0, 16 * GIB, PCI_BAR_MEM64);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 5), 0);
	ck_assert_int_eq(pci_host_assign(p.host), 0);
	ck_assert_uint_ge(cf8_get(&p, 5, BAR(1), 4), p.map.mem64 >> 32);
	ck_assert_uint_eq(cf8_get(&p, 5, BAR(1), 4) % 4, 0); /* 16 GiB */
	ck_assert_uint_eq(cf8_get(&p, 5, BAR(0), 4) & ~0xfu, 0);
	pci_dev_destroy(&u.pci);
}

START_TEST(a_64_bit_bar_goes_above_when_the_window_below_is_full)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	pci_unit_bar(&u, 0, 256 * MIB, PCI_BAR_MEM64);
	pci_unit_bar(&u, 2, 256 * MIB, PCI_BAR_MEM64);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 5), 0);
	ck_assert_int_eq(pci_host_assign(p.host), 0);
	ck_assert_uint_eq(cf8_get(&p, 5, BAR(1), 4), 0);
	ck_assert_uint_ge(cf8_get(&p, 5, BAR(3), 4), p.map.mem64 >> 32);
	pci_dev_destroy(&u.pci);
}

static void no_room_for(u64 size, enum pci_bar_kind kind)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	for (u32 i = 0; i < 4; i += 2)
		pci_unit_bar(&u, i, size, kind);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 5), 0);
	ck_assert_int_eq(pci_host_assign(p.host), -ENOSPC);
	expect_said("no room for BAR");
	pci_dev_destroy(&u.pci);
	ck_assert_int_eq(pci_host_assign(p.host), 0);
}

START_TEST(a_window_that_is_used_up_is_an_error)
{
	no_room_for(256 * MIB, PCI_BAR_MEM32);
	no_room_for(8 * KIB, PCI_BAR_IO);
	no_room_for(32 * GIB, PCI_BAR_MEM64);
}

START_TEST(slots_are_handed_out_in_order_until_none_is_left)
{
	static struct pci_unit u[PCI_SLOTS];

	for (u32 i = 2; i < PCI_SLOTS; i++) {
		pci_unit_init(&u[i], &p.r.env);
		ck_assert_int_eq(pci_attach(p.host, &u[i].pci, 1), 0);
		ck_assert_uint_eq(u[i].pci.slot, i);
		ck_assert_uint_eq(cf8_get(&p, i, 0, 2), 0x1234);
	}
	pci_unit_init(&u[0], &p.r.env);
	ck_assert_int_eq(pci_attach(p.host, &u[0].pci, 1), -ENOSPC);
	expect_said("no PCI slot");
	pci_dev_destroy(&u[0].pci); /* half-built */
	pci_dev_destroy(&u[9].pci);
	pci_unit_init(&u[9], &p.r.env);
	ck_assert_int_eq(pci_attach(p.host, &u[9].pci, 1), 0);
	ck_assert_uint_eq(u[9].pci.slot, 9);
	for (u32 i = 2; i < PCI_SLOTS; i++)
		pci_dev_destroy(&u[i].pci);
}

START_TEST(intx_reaches_its_gsi)
{
	pci_intx_set(&p.unit.pci, true);
	ck_assert(p.r.vm.level[INTX_GSI]);
	ck_assert_uint_eq(cfg(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	pci_intx_set(&p.unit.pci, false);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	ck_assert_uint_eq(cfg(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}

START_TEST(disabled_intx_shows_in_the_status_only)
{
	set_cfg(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	pci_intx_set(&p.unit.pci, true);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	ck_assert_uint_eq(cfg(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	set_cfg(PCI_COMMAND, 2, 0);
	ck_assert(p.r.vm.level[INTX_GSI]);
	set_cfg(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	ck_assert(!p.r.vm.level[INTX_GSI]);
}

START_TEST(slots_share_four_wires)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	ck_assert_int_eq(pci_irqs_init(&u.pci, 1, 0), 0);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, SLOT + 4), 0);
	pci_intx_set(&u.pci, true);
	pci_intx_set(&p.unit.pci, true);
	pci_intx_set(&u.pci, false);
	ck_assert(p.r.vm.level[INTX_GSI]);
	pci_intx_set(&p.unit.pci, false);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	pci_dev_destroy(&u.pci);
}

START_TEST(a_device_without_irqs_has_no_pin)
{
	struct pci_unit u;

	pci_unit_init(&u, &p.r.env);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, SLOT + 4), 0);
	ck_assert_uint_eq(cf8_get(&p, SLOT + 4, PCI_INTERRUPT_PIN, 1), 0);
	pci_intx_set(&u.pci, true);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	pci_dev_destroy(&u.pci);
}

START_TEST(a_reset_brings_all_back)
{
	u8 first[PCI_CONFIG_SIZE];

	pci_dev_reset(&p.unit.pci); /* as it was before the BARs were assigned */
	for (u32 i = 0; i < PCI_CONFIG_SIZE; i++)
		first[i] = cfg(i, 1);
	decode(true);
	set_cfg(BAR(0), 4, 0xc0100000);
	set_cfg(BAR(1), 4, 0xd000);
	set_cfg(PCI_INTERRUPT_LINE, 1, 0x44);
	set_cfg(PCI_CACHE_LINE_SIZE, 1, 0x44);
	pci_intx_set(&p.unit.pci, true);
	pci_dev_reset(&p.unit.pci);
	for (u32 i = 0; i < PCI_CONFIG_SIZE; i++)
		ck_assert_uint_eq(cfg(i, 1), first[i]);
	ck_assert_uint_eq(mmio(0xc0100000), ONES);
	ck_assert_uint_eq(port(0xd000), ONES);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	ck_assert_int_eq(pci_host_assign(p.host), 0);
	decode(true);
	ck_assert_uint_eq(mmio(cfg(BAR(0), 4)), CLAIMED);
}

START_TEST(a_reset_bridge_forgets_the_address)
{
	bus_write(p.r.env.pio, 0xcf8, 4, 0x80000810);
	p.host_dev->ops->reset(p.host_dev);
	ck_assert_uint_eq(bus_read(p.r.env.pio, 0xcf8, 4), 0);
	ck_assert_uint_eq(cf8_get(&p, 0, 0, 4), 0x00081b36);
}

START_TEST(a_machine_without_ports_has_ecam_only)
{
	struct pci_host *host;
	struct device *dev;
	struct machine_env env = p.r.env;
	struct pci_map map = p.map;
	struct pci_unit u;

	env.pio = NULL;
	map.ecam = 0x4000000000;
	map.io_size = 0;
	ck_assert_int_eq(pci_host_create(&host, &dev, &env, &map), 0);
	pci_unit_init(&u, &env);
	pci_unit_bar(&u, 0, 16, PCI_BAR_IO);
	ck_assert_int_eq(pci_attach(host, &u.pci, 3), 0);
	ck_assert_uint_eq(mmio(map.ecam + (3 << 15)), 0x56781234);
	bus_write(env.mmio, map.ecam + (3 << 15) + PCI_COMMAND, 2, PCI_COMMAND_IO);
	ck_assert_int_eq(pci_host_assign(host), -ENOSPC);
	expect_said("no room for BAR 0 (16 bytes)");
	pci_dev_destroy(&u.pci);
	dev->ops->destroy(dev);
}

START_TEST(a_bridge_on_taken_addresses_is_refused)
{
	struct pci_host *host;
	struct device *dev;

	ck_assert_int_lt(pci_host_create(&host, &dev, &p.r.env, &p.map), 0);
	ck_assert_uint_eq(cf8_get(&p, 0, 0, 4), 0x00081b36); /* the first one is there still */
}

Suite *pci_suite(void)
{
	Suite *s = suite_create("pci");
	TCase *t = tcase_create("pci-config");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_bridge_is_device_0);
	tcase_add_test(t, a_header_holds_the_ids);
	tcase_add_test(t, both_ways_see_the_same_bytes);
	tcase_add_test(t, an_empty_slot_reads_as_ones);
	tcase_add_test(t, other_functions_and_buses_are_empty);
	tcase_add_test(t, the_address_register_is_a_dword);
	tcase_add_test(t, without_the_enable_bit_the_data_port_is_dead);
	tcase_add_test(t, an_access_across_the_data_port_is_nobodys);
	tcase_add_test(t, an_ecam_access_may_cross_dwords);
	tcase_add_test(t, the_extended_space_of_a_conventional_device_reads_zero);
	tcase_add_test(t, read_only_bits_stay);
	tcase_add_test(t, the_command_register_has_four_writable_bits);
	tcase_add_test(t, capabilities_form_a_list);
	tcase_add_test(t, hooks_see_each_access);
	suite_add_tcase(s, t);

	t = tcase_create("pci-bars");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, bars_tell_their_size_and_kind);
	tcase_add_test(t, a_bar_beyond_4_gib_has_its_size_in_the_upper_half);
	tcase_add_test(t, a_bar_answers_only_while_decoded);
	tcase_add_test(t, a_bar_gets_the_offset_in_it);
	tcase_add_test(t, a_bar_moves_when_it_is_written);
	tcase_add_test(t, a_64_bit_bar_moves_by_halves);
	tcase_add_test(t, a_decoded_bar_can_be_sized);
	tcase_add_test(t, of_two_bars_at_one_place_the_second_waits);
	tcase_add_test(t, two_bars_can_change_places);
	tcase_add_test(t, a_bar_never_hides_what_is_not_pci);
	tcase_add_test(t, every_bar_gets_an_address_of_its_own_in_its_window);
	tcase_add_test(t, a_large_64_bit_bar_goes_above_4_gib);
	tcase_add_test(t, a_64_bit_bar_goes_above_when_the_window_below_is_full);
	tcase_add_test(t, a_window_that_is_used_up_is_an_error);
	suite_add_tcase(s, t);

	t = tcase_create("pci-slots");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, slots_are_handed_out_in_order_until_none_is_left);
	tcase_add_test(t, intx_reaches_its_gsi);
	tcase_add_test(t, disabled_intx_shows_in_the_status_only);
	tcase_add_test(t, slots_share_four_wires);
	tcase_add_test(t, a_device_without_irqs_has_no_pin);
	tcase_add_test(t, a_reset_brings_all_back);
	tcase_add_test(t, a_reset_bridge_forgets_the_address);
	tcase_add_test(t, a_machine_without_ports_has_ecam_only);
	tcase_add_test(t, a_bridge_on_taken_addresses_is_refused);
	suite_add_tcase(s, t);
	return s;
}
