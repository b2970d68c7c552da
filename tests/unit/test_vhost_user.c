// SPDX-License-Identifier: MIT
/*
 * test_vhost_user.c - the front end of vhost-user and a back end that behaves: what it is asked and told, what the
 * driver is offered, the configuration space, and which back ends are refused. A back end that goes:
 * test_vhost_user_reconnect.c; one that is not to be trusted: test_vhost_user_hostile.c.
 */
#include "tests/unit/vhost_user_front.h"

#include <linux/virtio_ring.h>

START_TEST(the_back_end_serves_the_queues)
{
	fe_start_with(_i, 0);
	for (u32 i = 0; i < 300; i++)
		fe_request(i % 2, i);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_OWNER), 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_MEM_TABLE), 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_ENABLE), 2);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_ERR), 2);
	expect_silence();
	fe_end();
}

START_TEST(it_is_offered_what_the_back_end_offers)
{
	u64 ours = VIRTIO_FEATURE(VIRTIO_F_RING_RESET);

	fe_begin(_i);
	fe.be.features |= 1ULL << 3 | 1ULL << 26 | 1ULL << 24 | 1ULL << 33 | 1ULL << 51;
	fe_plug();
	ck_assert_uint_eq(vdrv_offered(&fe.d),
			  (1ULL << 0 | 1ULL << 3 | 1ULL << 51 | 1ULL << VIRTIO_F_VERSION_1 |
			   1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |
			   (_i >= VDRV_BUSES ? 1ULL << VIRTIO_F_RING_PACKED : 0) | ours));
	vdrv_start(&fe.d, 1ULL << 0 | 1ULL << VIRTIO_F_VERSION_1 | ours);
	ck_assert_uint_eq(fe.be.accepted, 1ULL << 0 | 1ULL << VIRTIO_F_VERSION_1 |
						  1ULL << VHOST_USER_F_PROTOCOL_FEATURES);
	fe_end();
}

START_TEST(a_queue_goes_on_where_it_was_stopped)
{
	fe_start_with(_i, 0);
	for (u32 round = 0; round < 5; round++) {
		for (u32 i = 0; i < 30; i++)
			fe_request(0, i);
		virtio_pause(fe.d.v);
		virtio_resume(fe.d.v);
	}
	ck_assert_uint_ge(be_seen(&fe.be, VHOST_USER_GET_VRING_BASE), 10);
	fe_end();
}

START_TEST(after_a_reset_it_begins_anew)
{
	fe_begin(_i);
	fe_plug();
	for (u32 round = 0; round < 3; round++) {
		vdrv_start(&fe.d, ~0ULL);
		for (u32 i = 0; i < 10; i++)
			fe_request(i % 2, i);
		vdrv_reset(&fe.d);
	}
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_RESET_DEVICE), 2);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_MEM_TABLE), 1);
	fe_end();
}

START_TEST(a_queue_that_is_reset_can_be_set_up_again)
{
	if (_i % VDRV_BUSES == VDRV_MMIO)
		skip_test("virtio-mmio cannot reset a queue");
	fe_start_with(_i, 0);
	fe_request(0, 1);
	vdrv_queue_reset(&fe.d, 0);
	vdrv_queue_up(&fe.d, 0, 0);
	fe_request(0, 2);
	fe_request(1, 3);
	fe_end();
}

START_TEST(memory_goes_by_slots_if_the_back_end_wants_that)
{
	fe_start_with(_i, BE_P(CONFIGURE_MEM_SLOTS));
	fe_request(0, 7);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_ADD_MEM_REG), 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_MEM_TABLE), 0);
	fe_end();
}

START_TEST(the_status_is_told_if_the_back_end_wants_that)
{
	fe_start_with(_i, BE_P(STATUS));
	ck_assert_uint_eq(be_get(&fe.be.status), STATUS_RUNNING);
	fe_request(0, 7);
	fe_end();
}

START_TEST(a_back_end_without_extensions_will_do)
{
	fe_begin(_i);
	fe.be.features &= ~(1ULL << VHOST_USER_F_PROTOCOL_FEATURES);
	fe.be.protocol = 0;
	fe.o.config_len = 0;
	fe_start();
	fe_request(0, 1);
	fe_request(1, 2);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_GET_PROTOCOL_FEATURES), 0);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_ENABLE), 0);
	fe_end();
}

START_TEST(what_the_driver_sets_up_wrongly_breaks_the_device_alone)
{
	static const struct {
		u64 desc, driver, device;
	} wrong[] = {
		{ VDRV_RAM, 0x10000, 0x20000 },	   { 0x8000, VDRV_RAM - 2, 0x20000 },
		{ 0x8000, 0x10000, VDRV_RAM - 4 }, { 0x8008, 0x10000, 0x20000 },
		{ ~0ULL << 4, 0x10000, 0x20000 },  { 0x8000, 0x10001, 0x20000 },
		{ 0x8000, 0x10000, 0x20002 },	   { VDRV_RAM - 16, 0x10000, 0x20000 },
		{ 0x8000, ~0ULL - 3, 0x20000 },
	};
	struct vq_cfg cfg = { .size = 64,
			      .desc = wrong[_i].desc,
			      .driver = wrong[_i].driver,
			      .device = wrong[_i].device };

	fe_begin(VDRV_PCI_MSIX);
	fe_plug();
	ck_assert(vdrv_negotiate(&fe.d, ~0ULL));
	vdrv_queue_write(&fe.d, 0, &cfg);
	vdrv_driver_ok(&fe.d);
	ck_assert_uint_eq(vdrv_status(&fe.d) & NEEDS_RESET, NEEDS_RESET);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_VRING_ADDR), 0);
	expect_said("bad address");
	said_forget();
	vdrv_start(&fe.d, ~0ULL);
	fe_request(0, 1);
	fe_end();
}

/* ---- configuration space ---- */

START_TEST(the_configuration_space_is_the_back_ends)
{
	fe_begin(_i);
	fe_plug();
	ck_assert_uint_eq(vdrv_config(&fe.d, 0, 1), 'b');
	ck_assert_uint_eq(vdrv_config(&fe.d, 11, 1), '.');
	vdrv_start(&fe.d, ~0ULL);
	vdrv_set_config(&fe.d, 8, 1, 'x');
	ck_assert_uint_eq(vdrv_config(&fe.d, 8, 1), 'x');
	vdrv_set_config(&fe.d, 2, 1, 'x'); /* which the back end does not take */
	ck_assert_uint_eq(vdrv_config(&fe.d, 2, 1), 'c');
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_CONFIG), 2);
	fe_end();
}

START_TEST(the_driver_is_told_of_a_change)
{
	fe_start_with(_i, 0);
	fe_wait_until(be_seen(&fe.be, VHOST_USER_SET_BACKEND_REQ_FD) == 1);
	be_change_config(&fe.be, 'X');
	vdrv_wait_config_called(&fe.d);
	ck_assert_uint_eq(vdrv_config(&fe.d, 0, 1), 'X');
	fe_request(0, 1);
	fe_end();
}

/* ---- refusals ---- */

START_TEST(nobody_there)
{
	fe_begin(0);
	fe_refused("start the back end first, or give server=on");
}

START_TEST(a_back_end_without_virtio_1)
{
	fe_begin(0);
	fe.be.features &= ~(1ULL << VIRTIO_F_VERSION_1);
	be_listen(&fe.be);
	fe_refused("does not offer feature bit 0x100000000");
}

START_TEST(packed_rings_that_it_does_not_have)
{
	fe_begin(VDRV_BUSES);
	fe.be.features &= ~(1ULL << VIRTIO_F_RING_PACKED);
	be_listen(&fe.be);
	fe_refused("does not offer feature bit 0x400000000");
}

START_TEST(too_few_queues)
{
	fe_begin(0);
	fe.be.queue_num = 1;
	be_listen(&fe.be);
	fe_refused("has 1 queues: give queues=1");
}

START_TEST(no_configuration_space)
{
	fe_begin(0);
	fe.be.protocol &= ~BE_P(CONFIG);
	be_listen(&fe.be);
	fe_refused("has no configuration space");
}

START_TEST(too_little_of_it)
{
	fe_begin(0);
	fe.be.config_len = FE_CONFIG_LEN - 1;
	be_listen(&fe.be);
	fe_refused("the back end refuses a request");
}

Suite *vhost_user_suite(void)
{
	const int modes = MODES;
	Suite *s = suite_create("vhost-user");
	TCase *tc = tcase_create("vhost-user");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, the_back_end_serves_the_queues, 0, modes);
	tcase_add_loop_test(tc, it_is_offered_what_the_back_end_offers, 0, modes);
	tcase_add_loop_test(tc, a_queue_goes_on_where_it_was_stopped, 0, modes);
	tcase_add_loop_test(tc, after_a_reset_it_begins_anew, 0, modes);
	tcase_add_loop_test(tc, a_queue_that_is_reset_can_be_set_up_again, 0, modes);
	tcase_add_loop_test(tc, memory_goes_by_slots_if_the_back_end_wants_that, 0, modes);
	tcase_add_loop_test(tc, the_status_is_told_if_the_back_end_wants_that, 0, modes);
	tcase_add_loop_test(tc, a_back_end_without_extensions_will_do, 0, modes);
	tcase_add_loop_test(tc, what_the_driver_sets_up_wrongly_breaks_the_device_alone, 0, 9);
	tcase_add_loop_test(tc, the_configuration_space_is_the_back_ends, 0, modes);
	tcase_add_loop_test(tc, the_driver_is_told_of_a_change, 0, modes);
	tcase_add_test(tc, nobody_there);
	tcase_add_test(tc, a_back_end_without_virtio_1);
	tcase_add_test(tc, packed_rings_that_it_does_not_have);
	tcase_add_test(tc, too_few_queues);
	tcase_add_test(tc, no_configuration_space);
	tcase_add_test(tc, too_little_of_it);
	suite_add_tcase(s, tc);
	return s;
}
