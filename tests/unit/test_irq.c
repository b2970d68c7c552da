// SPDX-License-Identifier: MIT
/*
 * test_irq.c - lines, and the three routes of an irq: masked, message, notify.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static struct rig r;
static struct irq irq;

static const struct msi_msg msg_a = { .addr = 0xfee00000, .data = 0x41 };
static const struct msi_msg msg_b = { .addr = 0xfee01000, .data = 0x42 };
static const struct msi_msg msg_c = { .addr = 0xfee02000, .data = 0x43 };

static u32 sent(const struct msi_msg *msg)
{
	return fake_vm_count(&r.vm, msg->addr, msg->data);
}

static void setup(void)
{
	rig_init(&r);
	ck_assert_int_eq(irq_init(&irq, r.env.irqchip), 0);
}

static void teardown(void)
{
	irq_destroy(&irq);
	rig_free(&r);
}

START_TEST(a_line_drives_its_input)
{
	struct irq_line line;

	irq_line_init(&line, r.env.irqchip, 5);
	ck_assert_uint_eq(r.vm.edges, 0);
	irq_line_set(&line, true);
	ck_assert(r.vm.level[5]);
	irq_line_set(&line, true); /* as it is: no second edge */
	ck_assert_uint_eq(r.vm.edges, 1);
	irq_line_set(&line, false);
	ck_assert(!r.vm.level[5]);
	irq_line_set(&line, false);
	ck_assert_uint_eq(r.vm.edges, 2);
}

START_TEST(a_shared_line_is_high_while_anybody_holds_it)
{
	struct irq_line one, two, other;

	irq_line_init(&one, r.env.irqchip, 16);
	irq_line_init(&two, r.env.irqchip, 16);
	irq_line_init(&other, r.env.irqchip, 17);
	irq_line_set(&one, true);
	irq_line_set(&two, true);
	irq_line_set(&one, false);
	ck_assert(r.vm.level[16]);
	ck_assert(!r.vm.level[17]);
	irq_line_set(&two, false);
	ck_assert(!r.vm.level[16]);
	ck_assert_uint_eq(r.vm.edges, 2);
}

START_TEST(a_line_set_while_detached_is_kept)
{
	struct irq_line line;

	irqchip_attach(r.env.irqchip, NULL, NULL);
	irq_line_init(&line, r.env.irqchip, IRQ_LINES - 1);
	irq_line_set(&line, true);
	irq_line_set(&line, false);
	irqchip_attach(r.env.irqchip, &fake_vm_ops, &r.vm);
	irq_line_set(&line, true);
	ck_assert(r.vm.level[IRQ_LINES - 1]);
}

START_TEST(a_new_irq_is_masked_with_nothing_pending)
{
	ck_assert(!irq_pending(&irq));
	ck_assert_uint_eq(r.vm.nlisteners, 0);
	ck_assert_uint_eq(r.vm.route_calls, 0);
}

START_TEST(a_masked_signal_is_pending_and_then_sent_once)
{
	irq_raise(&irq);
	irq_raise(&irq);
	ck_assert(irq_pending(&irq));
	ck_assert_uint_eq(fake_vm_total(&r.vm), 0);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_uint_eq(sent(&msg_a), 1);
	ck_assert(!irq_pending(&irq));
	irq_mask(&irq);
	ck_assert(!irq_pending(&irq));
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_uint_eq(fake_vm_total(&r.vm), 0);
}

START_TEST(a_routed_signal_is_sent)
{
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	for (u32 i = 0; i < 3; i++) {
		irq_raise(&irq);
		ck_assert_uint_eq(sent(&msg_a), 1);
	}
	ck_assert(!irq_pending(&irq));
}

START_TEST(anyone_can_signal_through_the_fd)
{
	int fd = irq_fd(&irq);

	eventfd_write(fd, 1);
	ck_assert(irq_pending(&irq));
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_uint_eq(sent(&msg_a), 1);
	irq_mask(&irq);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_b), 0);
	ck_assert_int_eq(irq_fd(&irq), fd); /* for life */
	eventfd_write(fd, 7);
	ck_assert_uint_eq(sent(&msg_b), 1);
}

START_TEST(what_is_pending_can_be_cleared)
{
	irq_raise(&irq);
	irq_clear(&irq);
	ck_assert(!irq_pending(&irq));
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_uint_eq(fake_vm_total(&r.vm), 0);
}

START_TEST(a_clear_takes_nothing_from_a_routed_irq)
{
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_raise(&irq);
	irq_clear(&irq);
	ck_assert_uint_eq(sent(&msg_a), 1);
}

START_TEST(a_new_message_takes_the_place_of_the_old)
{
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_b), 0);
	ck_assert_uint_eq(r.vm.nroutes, 1);
	ck_assert_uint_eq(r.vm.nlisteners, 1);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg_b), 1);
	ck_assert_uint_eq(fake_vm_total(&r.vm), 0);
}

START_TEST(address_or_data_alone_make_a_new_message)
{
	struct msi_msg msg = msg_a;

	ck_assert_int_eq(irq_to_msi(&irq, &msg), 0);
	msg.data++;
	ck_assert_int_eq(irq_to_msi(&irq, &msg), 0);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg), 1);
	msg.addr += 1ULL << 32;
	ck_assert_int_eq(irq_to_msi(&irq, &msg), 0);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg), 1);
}

START_TEST(the_same_message_again_leaves_the_table_alone)
{
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_mask(&irq);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_uint_eq(r.vm.route_calls, 1);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg_a), 1);
}

START_TEST(each_irq_has_a_gsi_of_its_own_above_the_wires)
{
	struct irq two;

	ck_assert_int_eq(irq_init(&two, r.env.irqchip), 0);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	ck_assert_int_eq(irq_to_msi(&two, &msg_a), 0); /* the same message, even */
	ck_assert_uint_eq(r.vm.nroutes, 2);
	ck_assert_uint_ne(r.vm.gsi[0], r.vm.gsi[1]);
	ck_assert_uint_ge(r.vm.gsi[0], IRQ_LINES);
	ck_assert_uint_ge(r.vm.gsi[1], IRQ_LINES);
	irq_raise(&two);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg_a), 2);
	irq_destroy(&two);
}

START_TEST(a_destroyed_irqs_gsi_is_used_again)
{
	struct irq two, three;
	u32 gsi;

	ck_assert_int_eq(irq_init(&two, r.env.irqchip), 0);
	ck_assert_int_eq(irq_init(&three, r.env.irqchip), 0);
	ck_assert_int_eq(irq_to_msi(&two, &msg_b), 0);
	gsi = two.gsi;
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_destroy(&two);
	ck_assert_int_eq(irq_to_msi(&three, &msg_c), 0);
	ck_assert_uint_eq(three.gsi, gsi);
	ck_assert_uint_eq(r.vm.nroutes, 2);
	irq_raise(&irq);
	irq_raise(&three);
	ck_assert_uint_eq(sent(&msg_a), 1);
	ck_assert_uint_eq(sent(&msg_c), 1);
	irq_destroy(&three);
}

START_TEST(a_message_that_kvm_refuses_leaves_the_irq_masked)
{
	r.vm.fail_routes = -ENOMEM;
	irq_raise(&irq);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), -ENOMEM);
	expect_said("MSI");
	ck_assert(irq_pending(&irq)); /* and nothing is lost */
	ck_assert_uint_eq(r.vm.nlisteners, 0);

	r.vm.fail_irqfd = -EBUSY;
	ck_assert_int_eq(irq_to_msi(&irq, &msg_b), -EBUSY);
	expect_silence(); /* an irq complains once: a guest could go on for ever */
	ck_assert(irq_pending(&irq));
	ck_assert_int_eq(irq_to_msi(&irq, &msg_b), 0);
	ck_assert_uint_eq(sent(&msg_b), 1);
}

START_TEST(a_message_that_kvm_refused_can_be_tried_again)
{
	r.vm.fail_routes = -ENOMEM;
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), -ENOMEM);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_raise(&irq);
	ck_assert_uint_eq(sent(&msg_a), 1);
	ck_assert_uint_eq(r.vm.unrouted, 0);
}

START_TEST(a_new_message_that_kvm_refuses_masks_the_irq)
{
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	r.vm.fail_routes = -ENOMEM;
	ck_assert_int_eq(irq_to_msi(&irq, &msg_b), -ENOMEM);
	irq_raise(&irq);
	ck_assert_uint_eq(fake_vm_total(&r.vm), 0);
	ck_assert(irq_pending(&irq));
}

/* A reset machine: all devices masked, a new VM that knows no routes, the guest programs the same
 * messages as before. */
START_TEST(a_new_vm_gets_the_routes_too)
{
	static struct fake_vm next;

	next = (struct fake_vm){ 0 };
	pthread_mutex_init(&next.lock, NULL);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_mask(&irq);
	irqchip_attach(r.env.irqchip, NULL, NULL);
	irqchip_attach(r.env.irqchip, &fake_vm_ops, &next);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	irq_raise(&irq);
	ck_assert_uint_eq(fake_vm_count(&next, msg_a.addr, msg_a.data), 1);
	ck_assert_uint_eq(next.unrouted, 0);
	irq_mask(&irq);
}

static struct irq *notified;
static atomic_uint notifications;

static void notify(struct irq *i)
{
	notified = i;
	atomic_fetch_add(&notifications, 1);
}

START_TEST(a_notify_route_calls_the_loop)
{
	atomic_store(&notifications, 0);
	ck_assert_int_eq(irq_to_notify(&irq, r.env.loop, notify), 0);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(notifications, 0);
	irq_raise(&irq);
	irq_raise(&irq);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(notifications, 1);
	ck_assert_ptr_eq(notified, &irq);
	ck_assert(!irq_pending(&irq));
}

START_TEST(what_is_pending_goes_to_the_new_route_whichever_it_is)
{
	atomic_store(&notifications, 0);
	irq_raise(&irq);
	ck_assert_int_eq(irq_to_notify(&irq, r.env.loop, notify), 0);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(notifications, 1);

	irq_raise(&irq); /* the loop has not run */
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(notifications, 1);
	ck_assert_uint_eq(sent(&msg_a), 1);

	ck_assert_int_eq(irq_to_notify(&irq, r.env.loop, notify), 0);
	irq_raise(&irq);
	irq_mask(&irq);
	loop_settle(r.env.loop);
	ck_assert_uint_eq(notifications, 1);
	ck_assert(irq_pending(&irq));
}

START_TEST(an_irq_that_was_never_made_can_be_destroyed)
{
	struct irq none = { 0 };

	irq_destroy(&none);
	irq_destroy(&irq);
	irq_destroy(&irq);
}

/* Signals from a thread while another masks and unmasks: several may become one, but the last one
 * always arrives. */
static void *raiser(void *arg)
{
	for (u32 i = 0; i < 300; i++)
		irq_raise(arg);
	return NULL;
}

START_TEST(no_signal_is_lost_however_the_route_changes)
{
	pthread_t thread;

	atomic_store(&notifications, 0);
	ck_assert_int_eq(loop_start(r.env.loop, "unit"), 0);
	for (u32 round = 0; round < 20; round++) {
		pthread_create(&thread, NULL, raiser, &irq);
		for (u32 i = 0; i < 20; i++) {
			irq_mask(&irq);
			ck_assert_int_eq(irq_to_notify(&irq, r.env.loop, notify), 0);
			ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
			fake_vm_total(&r.vm);
		}
		irq_mask(&irq);
		pthread_join(thread, NULL);
		fake_vm_total(&r.vm); /* what was sent on the way does not matter */
		irq_raise(&irq);
		ck_assert(irq_pending(&irq));
		ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
		ck_assert_uint_eq(sent(&msg_a), 1);
	}
	irq_destroy(&irq); /* while the loop runs */
	loop_stop(r.env.loop);
}

START_TEST(there_is_a_limit_of_messages)
{
	static struct irq many[IRQ_MSI_MAX];

	if (!allow_fds(IRQ_MSI_MAX + 100))
		skip_test("the limit of open files is too low (ulimit -Hn)");
	irqchip_attach(r.env.irqchip, NULL, NULL); /* fake_vm has fewer listeners */
	for (u32 i = 0; i < IRQ_MSI_MAX; i++) {
		struct msi_msg msg = { .addr = 0xfee00000, .data = i };

		ck_assert_int_eq(irq_init(&many[i], r.env.irqchip), 0);
		ck_assert_int_eq(irq_to_msi(&many[i], &msg), 0);
		irq_mask(&many[i]);
	}
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), -ENOSPC);
	expect_said("MSI");
	irq_destroy(&many[500]);
	ck_assert_int_eq(irq_to_msi(&irq, &msg_a), 0);
	for (u32 i = 0; i < IRQ_MSI_MAX; i++)
		irq_destroy(&many[i]);
	irq_mask(&irq);
}

Suite *irq_suite(void)
{
	Suite *s = suite_create("irq");
	TCase *t = tcase_create("irq-lines");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_line_drives_its_input);
	tcase_add_test(t, a_shared_line_is_high_while_anybody_holds_it);
	tcase_add_test(t, a_line_set_while_detached_is_kept);
	suite_add_tcase(s, t);

	t = tcase_create("irq-routes");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_new_irq_is_masked_with_nothing_pending);
	tcase_add_test(t, a_masked_signal_is_pending_and_then_sent_once);
	tcase_add_test(t, a_routed_signal_is_sent);
	tcase_add_test(t, anyone_can_signal_through_the_fd);
	tcase_add_test(t, what_is_pending_can_be_cleared);
	tcase_add_test(t, a_clear_takes_nothing_from_a_routed_irq);
	tcase_add_test(t, a_new_message_takes_the_place_of_the_old);
	tcase_add_test(t, address_or_data_alone_make_a_new_message);
	tcase_add_test(t, the_same_message_again_leaves_the_table_alone);
	tcase_add_test(t, each_irq_has_a_gsi_of_its_own_above_the_wires);
	tcase_add_test(t, a_destroyed_irqs_gsi_is_used_again);
	tcase_add_test(t, a_message_that_kvm_refuses_leaves_the_irq_masked);
	tcase_add_test(t, a_message_that_kvm_refused_can_be_tried_again);
	tcase_add_test(t, a_new_message_that_kvm_refuses_masks_the_irq);
	tcase_add_test(t, a_new_vm_gets_the_routes_too);
	tcase_add_test(t, a_notify_route_calls_the_loop);
	tcase_add_test(t, what_is_pending_goes_to_the_new_route_whichever_it_is);
	tcase_add_test(t, an_irq_that_was_never_made_can_be_destroyed);
	tcase_add_test(t, no_signal_is_lost_however_the_route_changes);
	tcase_add_test(t, there_is_a_limit_of_messages);
	suite_add_tcase(s, t);
	return s;
}
