// SPDX-License-Identifier: MIT
/*
 * test_msix.c - MSI-X (PCI 3.0, 6.8.2): the table, masks, pending bits, and INTx without it.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <sys/resource.h>

#define SLOT	 PCI_DEV_SLOT
#define SOURCES	 PCI_DEV_SOURCES
#define TABLE	 0xc0800000ULL
#define PBA	 (TABLE + 0x8000)
#define INTX_GSI (16 + SLOT % 4)

static struct pci_rig p;

static u32 control_reg(void)
{
	return p.unit.pci.msix_cap + PCI_MSIX_FLAGS;
}

static void set_control(u16 flags)
{
	cf8_set(&p, SLOT, control_reg(), 2, flags);
}

static u64 get(u64 addr, u32 len)
{
	return bus_read(p.r.env.mmio, addr, len);
}

static void set(u64 addr, u32 len, u64 value)
{
	bus_write(p.r.env.mmio, addr, len, value);
}

/* What vector v sends. */
#define ADDR(v) (0x1fee00000ULL + (v)*0x1000)
#define DATA(v) (0x4000u + (v))

static void program(u32 v)
{
	set(TABLE + 16 * v, 4, (u32)ADDR(v));
	set(TABLE + 16 * v + 4, 4, ADDR(v) >> 32);
	set(TABLE + 16 * v + 8, 4, DATA(v));
}

static void mask(u32 v, bool on)
{
	set(TABLE + 16 * v + 12, 4, on);
}

static u32 sent(u32 v)
{
	return fake_vm_count(&p.r.vm, ADDR(v), DATA(v));
}

static void raise_source(u32 src)
{
	irq_raise(pci_irq(&p.unit.pci, src));
}

/* The table in place and programmed; MSI-X on; all vectors open. */
static void setup(void)
{
	pci_rig_init(&p);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_0 + 16, 4, TABLE);
	cf8_set(&p, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (u32 v = 0; v < SOURCES; v++) {
		program(v);
		mask(v, false);
	}
	set_control(PCI_MSIX_FLAGS_ENABLE);
}

static void teardown(void)
{
	pci_rig_free(&p);
}

START_TEST(the_capability_describes_the_table)
{
	u32 cap = p.unit.pci.msix_cap;

	ck_assert_uint_eq(cf8_get(&p, SLOT, PCI_CAPABILITY_LIST, 1), cap);
	ck_assert_uint_eq(cf8_get(&p, SLOT, cap, 1), PCI_CAP_ID_MSIX);
	ck_assert_uint_eq(cf8_get(&p, SLOT, control_reg(), 2) & PCI_MSIX_FLAGS_QSIZE, SOURCES - 1);
	ck_assert_uint_eq(cf8_get(&p, SLOT, cap + PCI_MSIX_TABLE, 4), 4);
	ck_assert_uint_eq(cf8_get(&p, SLOT, cap + PCI_MSIX_PBA, 4), 0x8000 | 4);
	cf8_set(&p, SLOT, cap + PCI_MSIX_TABLE, 4, ~0u);
	ck_assert_uint_eq(cf8_get(&p, SLOT, cap + PCI_MSIX_TABLE, 4), 4);
}

START_TEST(only_enable_and_function_mask_are_writable)
{
	set_control(0xffff);
	ck_assert_uint_eq(cf8_get(&p, SLOT, control_reg(), 2),
			  PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL | (SOURCES - 1));
	set_control(0);
	ck_assert_uint_eq(cf8_get(&p, SLOT, control_reg(), 2), SOURCES - 1);
}

START_TEST(each_source_sends_its_vectors_message)
{
	for (u32 v = 0; v < SOURCES; v++) {
		raise_source(v);
		ck_assert_uint_eq(sent(v), 1);
		ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	}
}

START_TEST(a_masked_vector_pends_and_is_sent_once_when_unmasked)
{
	mask(1, true);
	raise_source(1);
	raise_source(1);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	ck_assert_uint_eq(get(PBA, 8), 1 << 1);
	mask(1, false);
	ck_assert_uint_eq(sent(1), 1);
	ck_assert_uint_eq(get(PBA, 8), 0);
	mask(1, true);
	mask(1, false);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
}

START_TEST(a_masked_vector_leaves_the_others_open)
{
	mask(1, true);
	raise_source(0);
	raise_source(2);
	ck_assert_uint_eq(sent(0), 1);
	ck_assert_uint_eq(sent(2), 1);
	ck_assert_uint_eq(get(PBA, 4), 0);
}

START_TEST(the_function_mask_holds_all_back)
{
	set_control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	mask(3, true);
	for (u32 v = 0; v < SOURCES; v++)
		raise_source(v);
	ck_assert_uint_eq(get(PBA, 8), (1 << SOURCES) - 1);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	set_control(PCI_MSIX_FLAGS_ENABLE);
	for (u32 v = 0; v < SOURCES - 1; v++)
		ck_assert_uint_eq(sent(v), 1);
	ck_assert_uint_eq(get(PBA, 8), 1 << 3); /* that one has a mask of its own */
	mask(3, false);
	ck_assert_uint_eq(sent(3), 1);
}

START_TEST(a_message_can_be_changed_while_masked)
{
	mask(0, true);
	raise_source(0);
	set(TABLE + 8, 4, 0x7777);
	mask(0, false);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, ADDR(0), 0x7777), 1);
	raise_source(0);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, ADDR(0), 0x7777), 1);
}

START_TEST(a_message_can_be_changed_while_open)
{
	set(TABLE + 8, 4, 0x7777); /* undefined by the specification; ours takes it at once */
	raise_source(0);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, ADDR(0), 0x7777), 1);
}

START_TEST(the_table_takes_dwords_and_qwords)
{
	ck_assert_uint_eq(get(TABLE + 16, 4), (u32)ADDR(1));
	ck_assert_uint_eq(get(TABLE + 16, 8), ADDR(1));
	ck_assert_uint_eq(get(TABLE + 24, 8), DATA(1));
	set(TABLE + 24, 8, 1ULL << 32 | 0x55);
	ck_assert_uint_eq(get(TABLE + 24, 4), 0x55);
	ck_assert_uint_eq(get(TABLE + 28, 4), 1);
	set(TABLE + 16, 8, 0x123456789abcdef0);
	ck_assert_uint_eq(get(TABLE + 20, 4), 0x12345678);
	raise_source(1);
	ck_assert_uint_eq(get(PBA, 4), 1 << 1); /* the qword masked it */
	mask(1, false);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, 0x123456789abcdef0, 0x55), 1);
}

START_TEST(other_accesses_to_the_table_have_no_effect)
{
	set(TABLE + 8, 1, 0xff);
	set(TABLE + 8, 2, 0xffff);
	set(TABLE + 6, 4, 0xffff);
	set(TABLE + 4, 8, ~0ULL);
	set(TABLE + 12, 8, ~0ULL); /* and not the next entry's mask either */
	ck_assert_uint_eq(get(TABLE, 8), ADDR(0));
	ck_assert_uint_eq(get(TABLE + 8, 8), DATA(0));
	ck_assert_uint_eq(get(TABLE + 16, 8), ADDR(1));
	ck_assert_uint_eq(get(TABLE + 8, 1), 0);
	ck_assert_uint_eq(get(TABLE + 2, 4), 0);
	ck_assert_uint_eq(get(TABLE + 4, 8), 0);
}

START_TEST(reserved_bits_and_places_are_zero)
{
	set(TABLE + 12, 4, ~0u);
	ck_assert_uint_eq(get(TABLE + 12, 4), 1);
	set(TABLE + 16 * SOURCES, 4, ~0u); /* one entry too far */
	ck_assert_uint_eq(get(TABLE + 16 * SOURCES, 4), 0);
	ck_assert_uint_eq(get(PBA - 8, 8), 0);
	ck_assert_uint_eq(get(PBA + 8, 8), 0);
	ck_assert_uint_eq(get(TABLE + 0xfff8, 8), 0);
}

START_TEST(pending_bits_are_read_only)
{
	mask(0, true);
	raise_source(0);
	set(PBA, 8, 0);
	set(PBA, 4, 0xfe);
	ck_assert_uint_eq(get(PBA, 8), 1);
	ck_assert_uint_eq(get(PBA + 4, 4), 0);
	mask(0, false);
	ck_assert_uint_eq(sent(0), 1);
}

START_TEST(off_a_signal_comes_out_as_intx)
{
	set_control(0);
	raise_source(2);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(p.unit.intx_calls, 1);
	ck_assert_uint_eq(p.unit.intx_src, 2);
	ck_assert(p.r.vm.level[INTX_GSI]);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
}

START_TEST(switched_on_it_lets_go_of_the_pin)
{
	set_control(0);
	pci_intx_set(&p.unit.pci, true);
	ck_assert(p.r.vm.level[INTX_GSI]);
	set_control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert(!p.r.vm.level[INTX_GSI]);
	set_control(0);
	ck_assert(p.r.vm.level[INTX_GSI]);
	pci_intx_set(&p.unit.pci, false);
}

START_TEST(a_signal_on_its_way_to_intx_is_sent_when_msix_comes_on)
{
	set_control(0);
	raise_source(0); /* the loop has not seen it */
	set_control(PCI_MSIX_FLAGS_ENABLE);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(p.unit.intx_calls, 0);
	ck_assert_uint_eq(sent(0), 1);
}

START_TEST(the_table_can_be_programmed_while_off)
{
	set_control(0);
	set(TABLE + 8, 4, 0x99);
	ck_assert_uint_eq(get(TABLE + 8, 4), 0x99);
	raise_source(0);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	set_control(PCI_MSIX_FLAGS_ENABLE);
	raise_source(0);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, ADDR(0), 0x99), 1);
}

START_TEST(a_source_can_be_bound_to_another_vector)
{
	pci_irq_bind(&p.unit.pci, 0, 3);
	raise_source(0);
	raise_source(3);
	ck_assert_uint_eq(sent(3), 2);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	mask(3, true);
	raise_source(0);
	ck_assert_uint_eq(get(PBA, 8), 1 << 3);
	pci_irq_bind(&p.unit.pci, 0, 1); /* what is pending goes with it */
	ck_assert_uint_eq(sent(1), 1);
	ck_assert_uint_eq(get(PBA, 8), 0);
}

START_TEST(a_source_without_a_vector_is_not_sent)
{
	pci_irq_bind(&p.unit.pci, 0, PCI_NO_VECTOR);
	raise_source(0);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	ck_assert_uint_eq(get(PBA, 8), 0);
	pci_irq_bind(&p.unit.pci, 0, SOURCES); /* nor with one that does not exist */
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
	pci_irq_bind(&p.unit.pci, 0, 0);
	ck_assert_uint_eq(sent(0), 1);
}

START_TEST(moving_the_bar_keeps_the_table)
{
	mask(2, true);
	raise_source(2);
	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_0 + 16, 4, 0xc0900000);
	ck_assert_uint_eq(get(0xc0900000 + 16, 8), ADDR(1));
	ck_assert_uint_eq(get(0xc0908000, 8), 1 << 2);
	raise_source(0);
	ck_assert_uint_eq(sent(0), 1);
	cf8_set(&p, SLOT, PCI_COMMAND, 2, 0); /* undecoded, it still sends */
	raise_source(0);
	ck_assert_uint_eq(sent(0), 1);
}

START_TEST(a_reset_masks_all_and_forgets_what_pends)
{
	mask(0, true);
	raise_source(0);
	pci_irq_bind(&p.unit.pci, 1, 2);
	pci_dev_reset(&p.unit.pci);
	loop_settle(p.r.env.loop);
	ck_assert_uint_eq(p.unit.intx_calls, 0);
	ck_assert_uint_eq(p.r.vm.nlisteners, 0);
	ck_assert_uint_eq(cf8_get(&p, SLOT, control_reg(), 2), SOURCES - 1);

	cf8_set(&p, SLOT, PCI_BASE_ADDRESS_0 + 16, 4, TABLE);
	cf8_set(&p, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (u32 v = 0; v < SOURCES; v++) {
		ck_assert_uint_eq(get(TABLE + 16 * v, 8), 0);
		ck_assert_uint_eq(get(TABLE + 16 * v + 8, 8), 1ULL << 32);
	}
	ck_assert_uint_eq(get(PBA, 8), 0);
	set_control(PCI_MSIX_FLAGS_ENABLE);
	program(1);
	mask(1, false);
	raise_source(1); /* bound to its own vector again */
	ck_assert_uint_eq(sent(1), 1);
	ck_assert_uint_eq(fake_vm_total(&p.r.vm), 0);
}

START_TEST(a_device_can_have_2048_vectors)
{
	struct pci_unit u;

	if (!allow_fds(2048 + 100))
		skip_test("the limit of open files is too low (ulimit -Hn)");
	pci_unit_init(&u, &p.r.env);
	ck_assert_int_eq(pci_irqs_init(&u.pci, 2048, 0), 0);
	ck_assert_int_eq(pci_attach(p.host, &u.pci, 6), 0);
	cf8_set(&p, 6, PCI_BASE_ADDRESS_0, 4, 0xc0a00000);
	cf8_set(&p, 6, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	cf8_set(&p, 6, u.pci.msix_cap + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	irq_raise(pci_irq(&u.pci, 2047));
	irq_raise(pci_irq(&u.pci, 64));
	ck_assert_uint_eq(get(0xc0a08000 + 8, 8), 1);
	ck_assert_uint_eq(get(0xc0a08000 + 2047 / 8 - 7, 8), 1ULL << 63);
	ck_assert_uint_eq(get(0xc0a08000 + 256, 8), 0);
	set(0xc0a00000 + 16 * 2047 + 8, 4, 0xabc);
	set(0xc0a00000 + 16 * 2047 + 12, 4, 0);
	ck_assert_uint_eq(fake_vm_count(&p.r.vm, 0, 0xabc), 1);
	pci_dev_destroy(&u.pci);
}

START_TEST(running_out_of_fds_leaves_a_device_that_can_be_destroyed)
{
	struct rlimit now, few = { .rlim_cur = 60, .rlim_max = 60 };
	struct pci_unit u;

	getrlimit(RLIMIT_NOFILE, &now);
	few.rlim_max = now.rlim_max;
	pci_unit_init(&u, &p.r.env);
	setrlimit(RLIMIT_NOFILE, &few);
	ck_assert_int_eq(pci_irqs_init(&u.pci, 100, 0), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &now);
	pci_dev_destroy(&u.pci);
}

/* Like a vCPU and a device at work: a driver masks and unmasks a vector while it is raised. */
static void *mask_and_unmask(void *arg)
{
	(void)arg;
	for (u32 i = 0; i < 200; i++) {
		mask(0, true);
		get(PBA, 8);
		mask(0, false);
		set_control(i % 8 ? PCI_MSIX_FLAGS_ENABLE : 0);
	}
	set_control(PCI_MSIX_FLAGS_ENABLE);
	return NULL;
}

START_TEST(masking_from_a_vcpu_while_the_device_raises)
{
	pthread_t vcpu;

	ck_assert_int_eq(loop_start(p.r.env.loop, "unit"), 0);
	pthread_create(&vcpu, NULL, mask_and_unmask, NULL);
	for (u32 i = 0; i < 500; i++) {
		raise_source(0);
		sent(0);
	}
	pthread_join(vcpu, NULL);
	loop_stop(p.r.env.loop);
	sent(0);
	raise_source(0); /* however it went, the next one comes through, once */
	ck_assert_uint_eq(sent(0), 1);
}

Suite *msix_suite(void)
{
	Suite *s = suite_create("msix");
	TCase *t = tcase_create("msix");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_capability_describes_the_table);
	tcase_add_test(t, only_enable_and_function_mask_are_writable);
	tcase_add_test(t, each_source_sends_its_vectors_message);
	tcase_add_test(t, a_masked_vector_pends_and_is_sent_once_when_unmasked);
	tcase_add_test(t, a_masked_vector_leaves_the_others_open);
	tcase_add_test(t, the_function_mask_holds_all_back);
	tcase_add_test(t, a_message_can_be_changed_while_masked);
	tcase_add_test(t, a_message_can_be_changed_while_open);
	tcase_add_test(t, the_table_takes_dwords_and_qwords);
	tcase_add_test(t, other_accesses_to_the_table_have_no_effect);
	tcase_add_test(t, reserved_bits_and_places_are_zero);
	tcase_add_test(t, pending_bits_are_read_only);
	tcase_add_test(t, off_a_signal_comes_out_as_intx);
	tcase_add_test(t, switched_on_it_lets_go_of_the_pin);
	tcase_add_test(t, a_signal_on_its_way_to_intx_is_sent_when_msix_comes_on);
	tcase_add_test(t, the_table_can_be_programmed_while_off);
	tcase_add_test(t, a_source_can_be_bound_to_another_vector);
	tcase_add_test(t, a_source_without_a_vector_is_not_sent);
	tcase_add_test(t, moving_the_bar_keeps_the_table);
	tcase_add_test(t, a_reset_masks_all_and_forgets_what_pends);
	tcase_add_test(t, a_device_can_have_2048_vectors);
	tcase_add_test(t, running_out_of_fds_leaves_a_device_that_can_be_destroyed);
	tcase_add_test(t, masking_from_a_vcpu_while_the_device_raises);
	suite_add_tcase(s, t);
	return s;
}
