// SPDX-License-Identifier: MIT
/*
 * test_virtio_pci.c - what only the PCI transport has: capabilities, the PCI_CFG window, vectors, INTx.
 */
#include "tests/lib/echo.h"
#include "tests/unit/virtio_driver.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

static struct vdrv d;

static void plug(enum vdrv_bus bus)
{
	vdrv_init(&d, bus, false);
	vdrv_plug(&d, echo_create);
}

static void setup_msix(void)
{
	plug(VDRV_PCI_MSIX);
}

static void setup_intx(void)
{
	plug(VDRV_PCI_INTX);
}

static void teardown(void)
{
	vdrv_free(&d);
}

static u64 get(u64 addr, u32 len)
{
	return bus_read(d.rig->r.env.mmio, addr, len);
}

static void set(u64 addr, u32 len, u64 value)
{
	bus_write(d.rig->r.env.mmio, addr, len, value);
}

static u32 pci_get(u32 reg, u32 len)
{
	return cf8_get(d.rig, d.slot, reg, len);
}

static void pci_set(u32 reg, u32 len, u32 value)
{
	cf8_set(d.rig, d.slot, reg, len, value);
}

/* ---- what it looks like ---- */

START_TEST(it_is_a_modern_device)
{
	ck_assert_uint_eq(pci_get(PCI_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(pci_get(PCI_DEVICE_ID, 2), 0x1040 + ECHO_ID);
	ck_assert_uint_ge(pci_get(PCI_REVISION_ID, 1), 1);
	ck_assert_uint_ge(pci_get(PCI_SUBSYSTEM_ID, 2), 0x40);
	ck_assert_uint_eq(pci_get(PCI_CLASS_DEVICE, 2), 0xff00);
	ck_assert_uint_eq(pci_get(PCI_INTERRUPT_PIN, 1), 1);
}

static void check_structure(u32 cap, u32 cap_len, u32 length)
{
	u32 bar, off, len, size;

	ck_assert_uint_ne(cap, 0);
	ck_assert_uint_eq(pci_get(cap + PCI_CAP_FLAGS, 1), cap_len);
	bar = pci_get(cap + VIRTIO_PCI_CAP_BAR, 1);
	off = pci_get(cap + VIRTIO_PCI_CAP_OFFSET, 4);
	len = pci_get(cap + VIRTIO_PCI_CAP_LENGTH, 4);
	pci_set(PCI_BASE_ADDRESS_0 + 4 * bar, 4, ~0u);
	size = ~(pci_get(PCI_BASE_ADDRESS_0 + 4 * bar, 4) & ~0xfu) + 1;
	ck_assert_uint_eq(len, length);
	ck_assert_uint_eq(off % 4, 0);
	ck_assert(range_inside(off, len, 0, size));
}

START_TEST(its_structures_are_where_the_capabilities_say)
{
	check_structure(d.cap_common, sizeof(struct virtio_pci_cap), 60);
	check_structure(d.cap_isr, sizeof(struct virtio_pci_cap), 1);
	check_structure(d.cap_config, sizeof(struct virtio_pci_cap), ECHO_CONFIG_LEN);
	check_structure(d.cap_notify, sizeof(struct virtio_pci_notify_cap), 4 * ECHO_QUEUES);
	ck_assert_uint_eq(d.notify_mul, 4);
	ck_assert_uint_eq(pci_get(d.cap_pci + PCI_CAP_FLAGS, 1), sizeof(struct virtio_pci_cfg_cap));
}

START_TEST(without_a_configuration_there_is_no_device_capability)
{
	struct vdrv rng;

	vdrv_init_beside(&rng, &d);
	vdrv_plug(&rng, virtio_rng_create);
	ck_assert_uint_eq(rng.cap_config, 0);
	vdrv_free(&rng);
}

START_TEST(it_has_a_vector_for_each_queue_and_one_more)
{
	ck_assert_uint_eq(pci_get(d.cap_msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE,
			  ECHO_QUEUES);
}

/* Each register answers to one width; the other widths see nothing and do nothing. */
START_TEST(a_register_has_one_width)
{
	static const struct {
		u32 off, len;
	} regs[] = {
		{ VIRTIO_PCI_COMMON_DFSELECT, 4 },  { VIRTIO_PCI_COMMON_GFSELECT, 4 },
		{ VIRTIO_PCI_COMMON_GF, 4 },	    { VIRTIO_PCI_COMMON_MSIX, 2 },
		{ VIRTIO_PCI_COMMON_STATUS, 1 },    { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
		{ VIRTIO_PCI_COMMON_Q_DESCLO, 4 },  { VIRTIO_PCI_COMMON_Q_DESCHI, 4 },
		{ VIRTIO_PCI_COMMON_Q_AVAILLO, 4 }, { VIRTIO_PCI_COMMON_Q_AVAILHI, 4 },
		{ VIRTIO_PCI_COMMON_Q_USEDLO, 4 },  { VIRTIO_PCI_COMMON_Q_USEDHI, 4 },
	};

	for (u32 i = 0; i < ARRAY_SIZE(regs); i++) {
		u64 addr = d.common + regs[i].off;

		set(addr, regs[i].len, 1);
		ck_assert_uint_eq(get(addr, regs[i].len), 1);
		for (u32 len = 1; len <= 8; len *= 2) {
			if (len == regs[i].len)
				continue;
			ck_assert_uint_eq(get(addr, len), 0);
			set(addr, len, 2);
			ck_assert_uint_eq(get(addr, regs[i].len), 1);
		}
		set(addr, regs[i].len, 0);
	}
}

START_TEST(read_only_registers_stay)
{
	static const u32 regs[][2] = { { VIRTIO_PCI_COMMON_DF, 4 },
				       { VIRTIO_PCI_COMMON_NUMQ, 2 },
				       { VIRTIO_PCI_COMMON_CFGGENERATION, 1 },
				       { VIRTIO_PCI_COMMON_Q_NOFF, 2 },
				       { VIRTIO_PCI_COMMON_Q_NDATA, 2 } };

	ck_assert_uint_eq(get(d.common + VIRTIO_PCI_COMMON_NUMQ, 2), ECHO_QUEUES);
	vdrv_select(&d, 1);
	ck_assert_uint_eq(get(d.common + VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	for (u32 i = 0; i < ARRAY_SIZE(regs); i++) {
		u64 before = get(d.common + regs[i][0], regs[i][1]);

		set(d.common + regs[i][0], regs[i][1], ~before);
		ck_assert_uint_eq(get(d.common + regs[i][0], regs[i][1]), before);
	}
}

START_TEST(features_beyond_the_63rd_are_not_there)
{
	for (u32 sel = 2; sel; sel *= 2) {
		set(d.common + VIRTIO_PCI_COMMON_DFSELECT, 4, sel);
		ck_assert_uint_eq(get(d.common + VIRTIO_PCI_COMMON_DF, 4), 0);
		set(d.common + VIRTIO_PCI_COMMON_GFSELECT, 4, sel);
		set(d.common + VIRTIO_PCI_COMMON_GF, 4, ~0u);
		ck_assert_uint_eq(get(d.common + VIRTIO_PCI_COMMON_GF, 4), 0);
	}
}

START_TEST(queue_enable_takes_a_1_only)
{
	vdrv_start(&d, ~0ULL);
	set(d.common + VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	set(d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	ck_assert(vdrv_queue_enabled(&d, 0));
	vdrv_queue_reset(&d, 0);
	set(d.common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 2);
	ck_assert(!vdrv_queue_enabled(&d, 0));
}

/* ---- requests, for what follows ---- */

static void submit(u32 q)
{
	const struct ring_buf buf = { vdrv_alloc(&d, 8), 8 };

	vdrv_submit(&d, q, &buf, 1, 0);
}

static void request(u32 q)
{
	u32 written;

	submit(q);
	vdrv_wait(&d, q, &written);
	vdrv_settle(&d);
}

START_TEST(a_doorbell_of_any_width_rings)
{
	u32 written;

	vdrv_start(&d, ~0ULL);
	for (u32 len = 1; len <= 8; len *= 2) {
		u64 doorbell = d.q[1].doorbell;

		d.q[1].doorbell = 0; /* submit() kicks nobody */
		vdrv_settle(&d);
		submit(1);
		d.q[1].doorbell = doorbell;
		set(doorbell + 2, 1, 1); /* beside it: not a doorbell */
		vdrv_settle(&d);
		ck_assert_int_eq(ring_get(&d.q[1].ring, &written), -1);
		set(doorbell, len, 1);
		vdrv_wait(&d, 1, &written);
	}
}

/* ---- the PCI_CFG window ---- */

static void look(u32 bar, u32 off, u32 len)
{
	pci_set(d.cap_pci + VIRTIO_PCI_CAP_BAR, 1, bar);
	pci_set(d.cap_pci + VIRTIO_PCI_CAP_OFFSET, 4, off);
	pci_set(d.cap_pci + VIRTIO_PCI_CAP_LENGTH, 4, len);
}

/* By the window: a read or write of `len` bytes at `off` of the structure `cap`. */
static u32 window_get(u32 cap, u32 off, u32 len)
{
	look(pci_get(cap + VIRTIO_PCI_CAP_BAR, 1), pci_get(cap + VIRTIO_PCI_CAP_OFFSET, 4) + off,
	     len);
	return pci_get(d.cap_pci + sizeof(struct virtio_pci_cap), len);
}

static void window_set(u32 cap, u32 off, u32 len, u32 value)
{
	look(pci_get(cap + VIRTIO_PCI_CAP_BAR, 1), pci_get(cap + VIRTIO_PCI_CAP_OFFSET, 4) + off,
	     len);
	pci_set(d.cap_pci + sizeof(struct virtio_pci_cap), len, value);
}

START_TEST(the_window_reaches_every_structure)
{
	pci_set(PCI_COMMAND, 2, 0); /* the BARs are nowhere: the window needs them not */
	window_set(d.cap_common, VIRTIO_PCI_COMMON_STATUS, 1, 1);
	ck_assert_uint_eq(window_get(d.cap_common, VIRTIO_PCI_COMMON_STATUS, 1), 1);
	ck_assert_uint_eq(window_get(d.cap_common, VIRTIO_PCI_COMMON_NUMQ, 2), ECHO_QUEUES);
	window_set(d.cap_common, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x12345000);
	ck_assert_uint_eq(window_get(d.cap_common, VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x12345000);
	ck_assert_uint_eq(window_get(d.cap_config, 0, 4), 0x6f686365); /* "echo" */
	ck_assert_uint_eq(window_get(d.cap_config, 2, 2), 0x6f68);
	ck_assert_uint_eq(window_get(d.cap_config, 3, 1), 0x6f);
	window_set(d.cap_config, ECHO_WRITABLE + 2, 2, 0xbbaa);
	ck_assert_uint_eq(window_get(d.cap_config, ECHO_WRITABLE, 4), 0xbbaa2e2e);
	ck_assert_uint_eq(window_get(d.cap_isr, 0, 1), 0);
}

START_TEST(the_window_rings_doorbells)
{
	u64 doorbell;
	u32 written;

	vdrv_start(&d, ~0ULL);
	vdrv_settle(&d);
	doorbell = d.q[1].doorbell;
	d.q[1].doorbell = 0;
	submit(1);
	window_set(d.cap_notify, doorbell - d.notify, 2, 1);
	vdrv_wait(&d, 1, &written);
}

START_TEST(the_window_reaches_the_msix_table)
{
	u32 table = pci_get(d.cap_msix + PCI_MSIX_TABLE, 4);

	look(table & PCI_MSIX_TABLE_BIR, (table & PCI_MSIX_TABLE_OFFSET) + 16 + 8, 4);
	ck_assert_uint_eq(pci_get(d.cap_pci + 16, 4), vdrv_msi_data(&d, 1));
}

START_TEST(a_window_to_nowhere_does_nothing)
{
	static const struct {
		u32 bar, off, len;
	} bad[] = {
		{ 0, 0, 0 }, { 0, 0, 3 },      { 0, 0, 8 },	     { 0, 0, 0x100 },  { 0, 2, 4 },
		{ 0, 1, 2 }, { 0, 0x4000, 4 }, { 0, 0xfffffffc, 4 }, { 1, 0, 4 },      { 3, 0, 4 },
		{ 6, 0, 4 }, { 255, 0, 4 },    { 2, 0x10000, 4 },    { 0, 0x3fff, 2 }, { 5, 0, 1 },
	};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		look(bad[i].bar, bad[i].off, bad[i].len);
		pci_set(d.cap_pci + 16, 4, 0x5a5a5a5a);
		ck_assert_uint_eq(pci_get(d.cap_pci + 16, 4), 0x5a5a5a5a);
	}
	ck_assert_uint_eq(vdrv_status(&d), 0);
}

START_TEST(the_window_is_read_only_where_it_must_be)
{
	u32 head = pci_get(d.cap_pci, 4);

	pci_set(d.cap_pci, 4, ~head);
	ck_assert_uint_eq(pci_get(d.cap_pci, 4), head);
	pci_set(d.cap_common + VIRTIO_PCI_CAP_OFFSET, 4, ~0u);
	ck_assert_uint_eq(pci_get(d.cap_common + VIRTIO_PCI_CAP_OFFSET, 4), 0);
}

START_TEST(accesses_beside_the_data_do_not_open_the_window)
{
	vdrv_start(&d, ~0ULL);
	irq_raise(d.v->config_irq);
	look(pci_get(d.cap_isr + VIRTIO_PCI_CAP_BAR, 1),
	     pci_get(d.cap_isr + VIRTIO_PCI_CAP_OFFSET, 4), 1);
	virtio_config_update(d.v, 0, "x", 1); /* sets the ISR bit */
	for (u32 reg = d.cap_pci; reg < d.cap_pci + 16; reg += 4)
		pci_get(reg, 4);
	ck_assert_uint_eq(pci_get(d.cap_pci + 16, 1), VIRTIO_ISR_CONFIG);
	ck_assert_uint_eq(pci_get(d.cap_pci + 16, 1), 0);
}

/* ---- MSI-X ---- */

static u32 queue_vector(u32 q)
{
	vdrv_select(&d, q);
	return get(d.common + VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static void set_queue_vector(u32 q, u32 vector)
{
	vdrv_select(&d, q);
	set(d.common + VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
}

static u32 config_vector(void)
{
	return get(d.common + VIRTIO_PCI_COMMON_MSIX, 2);
}

static u32 messages(u32 vector)
{
	return fake_vm_count(&d.rig->r.vm, VDRV_MSI_ADDR, vdrv_msi_data(&d, vector));
}

static void check_unmapped(void)
{
	ck_assert_uint_eq(config_vector(), VIRTIO_MSI_NO_VECTOR);
	for (u32 q = 0; q < ECHO_QUEUES; q++)
		ck_assert_uint_eq(queue_vector(q), VIRTIO_MSI_NO_VECTOR);
}

START_TEST(after_a_reset_no_event_has_a_vector)
{
	check_unmapped();
	vdrv_start(&d, ~0ULL);
	ck_assert_uint_eq(config_vector(), 0);
	ck_assert_uint_eq(queue_vector(1), 2);
	vdrv_reset(&d);
	check_unmapped();
	vdrv_start(&d, ~0ULL);
	d.dev->ops->reset(d.dev);
	vdrv_discover(&d);
	check_unmapped();
}

START_TEST(a_vector_that_is_not_there_reads_back_as_none)
{
	static const u32 bad[] = { ECHO_QUEUES + 1, 0x800, 0xfffe, 0xffff };

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		set_queue_vector(0, ECHO_QUEUES);
		ck_assert_uint_eq(queue_vector(0), ECHO_QUEUES);
		set_queue_vector(0, bad[i]);
		ck_assert_uint_eq(queue_vector(0), VIRTIO_MSI_NO_VECTOR);
		set(d.common + VIRTIO_PCI_COMMON_MSIX, 2, 1);
		set(d.common + VIRTIO_PCI_COMMON_MSIX, 2, bad[i]);
		ck_assert_uint_eq(config_vector(), VIRTIO_MSI_NO_VECTOR);
	}
	set_queue_vector(ECHO_QUEUES, 0); /* no such queue */
	ck_assert_uint_eq(queue_vector(ECHO_QUEUES), VIRTIO_MSI_NO_VECTOR);
}

START_TEST(each_event_has_its_vector)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert_uint_eq(messages(1), 1);
	request(1);
	ck_assert_uint_eq(messages(2), 1);
	virtio_config_update(d.v, 0, "x", 1);
	ck_assert_uint_eq(messages(0), 1);
	ck_assert_uint_eq(fake_vm_total(&d.rig->r.vm), 0);
	ck_assert(!vdrv_level(&d));
}

START_TEST(events_may_share_a_vector)
{
	vdrv_start(&d, ~0ULL);
	set_queue_vector(0, 2);
	set(d.common + VIRTIO_PCI_COMMON_MSIX, 2, 2);
	request(0);
	request(1);
	virtio_config_update(d.v, 0, "x", 1);
	ck_assert_uint_eq(messages(2), 3);
	ck_assert_uint_eq(fake_vm_total(&d.rig->r.vm), 0);
}

START_TEST(an_event_without_a_vector_sends_nothing)
{
	vdrv_start(&d, ~0ULL);
	set_queue_vector(0, VIRTIO_MSI_NO_VECTOR);
	request(0);
	ck_assert_uint_eq(fake_vm_total(&d.rig->r.vm), 0);
	ck_assert(!vdrv_level(&d));
}

static u32 pending_bits(void)
{
	u32 pba = pci_get(d.cap_msix + PCI_MSIX_PBA, 4);

	return get((d.msix_table & ~0xfffULL) + (pba & PCI_MSIX_PBA_OFFSET), 4);
}

START_TEST(a_masked_vector_is_pending_until_it_is_unmasked)
{
	vdrv_start(&d, ~0ULL);
	set(d.msix_table + 16 * 1 + 12, 4, PCI_MSIX_ENTRY_CTRL_MASKBIT);
	request(0);
	request(0);
	ck_assert_uint_eq(fake_vm_total(&d.rig->r.vm), 0);
	ck_assert_uint_eq(pending_bits(), 1 << 1);
	set(d.msix_table + 16 * 1 + 12, 4, 0);
	ck_assert_uint_eq(messages(1), 1);
	ck_assert_uint_eq(pending_bits(), 0);
	request(0);
	ck_assert_uint_eq(messages(1), 1);
}

START_TEST(a_reset_drops_what_is_pending)
{
	vdrv_start(&d, ~0ULL);
	pci_set(d.cap_msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	request(0);
	virtio_config_update(d.v, 0, "x", 1);
	ck_assert_uint_eq(pending_bits(), 3);
	vdrv_set_status(&d, 0);
	ck_assert_uint_eq(pending_bits(), 0);
	pci_set(d.cap_msix + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	vdrv_start(&d, ~0ULL);
	ck_assert_uint_eq(fake_vm_total(&d.rig->r.vm), 0);
}

/* 4.1.4.5.1: the configuration bit is set "before sending" the notification, whatever sends it. */
START_TEST(a_configuration_change_sets_the_isr_with_msix_too)
{
	vdrv_start(&d, ~0ULL);
	virtio_config_update(d.v, 0, "x", 1);
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_CONFIG);
	ck_assert_uint_eq(get(d.isr, 1), 0);
	ck_assert_uint_eq(messages(0), 1);
}

/* ---- INTx ---- */

START_TEST(the_isr_is_cleared_by_reading)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(pci_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_QUEUE);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(pci_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert_uint_eq(get(d.isr, 1), 0);
}

START_TEST(the_isr_says_which_events_there_were)
{
	vdrv_start(&d, ~0ULL);
	virtio_config_update(d.v, 0, "x", 1);
	vdrv_settle(&d);
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_CONFIG);
	request(1);
	virtio_config_update(d.v, 0, "y", 1);
	vdrv_settle(&d);
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG);
}

START_TEST(the_isr_is_one_byte)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert_uint_eq(get(d.isr, 4), 0);
	ck_assert_uint_eq(get(d.isr + 1, 1), 0);
	set(d.isr, 1, 0xff);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_QUEUE);
}

START_TEST(an_interrupt_between_two_reads_of_the_isr_is_not_lost)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	request(1); /* while the first is not handled */
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_QUEUE);
	request(0);
	ck_assert(vdrv_level(&d));
	ck_assert_uint_eq(get(d.isr, 1), VIRTIO_ISR_QUEUE);
	ck_assert(!vdrv_level(&d));
}

START_TEST(a_disabled_intx_stays_low_and_comes_later)
{
	vdrv_start(&d, ~0ULL);
	pci_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	request(0);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(pci_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	pci_set(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ck_assert(vdrv_level(&d));
}

START_TEST(a_reset_lets_the_pin_go)
{
	vdrv_start(&d, ~0ULL);
	request(0);
	ck_assert(vdrv_level(&d));
	vdrv_set_status(&d, 0);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(d.isr, 1), 0);
	vdrv_start(&d, ~0ULL);
	request(0);
	d.dev->ops->reset(d.dev);
	ck_assert(!vdrv_level(&d));
}

/* As one that the main loop had in hand while a vCPU reset the device, and came up behind it. */
START_TEST(an_interrupt_that_a_reset_has_overtaken_is_dropped)
{
	vdrv_start(&d, ~0ULL);
	vdrv_set_status(&d, 0);
	irq_raise(d.v->config_irq);
	irq_raise(d.v->queue[1].call);
	vdrv_settle(&d);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(d.isr, 1), 0);
	vdrv_start(&d, ~0ULL);
	ck_assert(!vdrv_level(&d));
	ck_assert_uint_eq(get(d.isr, 1), 0);
	request(0);
	ck_assert(vdrv_level(&d));
}

/* ---- making it ---- */

START_TEST(without_a_slot_the_device_stays_the_callers)
{
	struct device *dev[PCI_SLOTS];
	struct virtio_options o = { 0 };
	struct virtio_dev *v;
	u32 n = 0;
	int err;

	for (;;) {
		ck_assert_int_eq(virtio_rng_create(&v, &d.rig->r.env, &o), 0);
		err = virtio_pci_create(&dev[n], &d.rig->r.env, d.rig->host, v);
		if (err)
			break;
		n++;
	}
	ck_assert_int_eq(err, -ENOSPC);
	expect_said("no PCI slot");
	ck_assert_uint_eq(n, PCI_SLOTS - 3);
	virtio_destroy(v);
	while (n--)
		dev[n]->ops->destroy(dev[n]);
}

Suite *virtio_pci_suite(void)
{
	Suite *s = suite_create("virtio-pci");
	TCase *t = tcase_create("registers");

	tcase_add_checked_fixture(t, setup_msix, teardown);
	tcase_add_test(t, it_is_a_modern_device);
	tcase_add_test(t, its_structures_are_where_the_capabilities_say);
	tcase_add_test(t, without_a_configuration_there_is_no_device_capability);
	tcase_add_test(t, it_has_a_vector_for_each_queue_and_one_more);
	tcase_add_test(t, a_register_has_one_width);
	tcase_add_test(t, read_only_registers_stay);
	tcase_add_test(t, features_beyond_the_63rd_are_not_there);
	tcase_add_test(t, queue_enable_takes_a_1_only);
	tcase_add_test(t, a_doorbell_of_any_width_rings);
	tcase_add_test(t, without_a_slot_the_device_stays_the_callers);
	suite_add_tcase(s, t);

	t = tcase_create("window");
	tcase_add_checked_fixture(t, setup_msix, teardown);
	tcase_add_test(t, the_window_reaches_every_structure);
	tcase_add_test(t, the_window_rings_doorbells);
	tcase_add_test(t, the_window_reaches_the_msix_table);
	tcase_add_test(t, a_window_to_nowhere_does_nothing);
	tcase_add_test(t, the_window_is_read_only_where_it_must_be);
	tcase_add_test(t, accesses_beside_the_data_do_not_open_the_window);
	suite_add_tcase(s, t);

	t = tcase_create("msix");
	tcase_add_checked_fixture(t, setup_msix, teardown);
	tcase_add_test(t, after_a_reset_no_event_has_a_vector);
	tcase_add_test(t, a_vector_that_is_not_there_reads_back_as_none);
	tcase_add_test(t, each_event_has_its_vector);
	tcase_add_test(t, events_may_share_a_vector);
	tcase_add_test(t, an_event_without_a_vector_sends_nothing);
	tcase_add_test(t, a_masked_vector_is_pending_until_it_is_unmasked);
	tcase_add_test(t, a_reset_drops_what_is_pending);
	tcase_add_test(t, a_configuration_change_sets_the_isr_with_msix_too);
	suite_add_tcase(s, t);

	t = tcase_create("intx");
	tcase_add_checked_fixture(t, setup_intx, teardown);
	tcase_add_test(t, the_isr_is_cleared_by_reading);
	tcase_add_test(t, the_isr_says_which_events_there_were);
	tcase_add_test(t, the_isr_is_one_byte);
	tcase_add_test(t, an_interrupt_between_two_reads_of_the_isr_is_not_lost);
	tcase_add_test(t, a_disabled_intx_stays_low_and_comes_later);
	tcase_add_test(t, an_interrupt_that_a_reset_has_overtaken_is_dropped);
	tcase_add_test(t, a_reset_lets_the_pin_go);
	suite_add_tcase(s, t);
	return s;
}
