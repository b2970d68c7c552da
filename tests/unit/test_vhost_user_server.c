// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_server.c - the vhost-user server and a front end that keeps to the protocol: rings, memory, calls
 * and kicks, the configuration, records of what is in flight, front ends that come and go. Tests with a number _i run
 * with split (0) and packed rings (1). A front end that does not: test_vhost_user_server_hostile.c.
 */
#include "tests/unit/vhost_user_rig.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

START_TEST(a_ring_is_served)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_submit(VU_DATA, 3);
	ck_assert_uint_eq(vu_answered(), 3);
	ck_assert(vu_signalled(vu.call));
	vu_alive();
	vu_end();
}

START_TEST(a_stopped_ring_tells_where_it_stands_and_goes_on_from_there)
{
	u32 at;

	vu_begin(vu_rng, _i);
	vu_up();
	vu_submit(VU_DATA, 3);
	ck_assert_uint_eq(vu_answered(), 3);
	at = vu_base();
	ck_assert_uint_eq(at, _i ? 0x80038003 : 3);
	vu_submit(VU_DATA, 2);
	ck_assert_uint_eq(vu_answered(), 0);
	vu_ring(0, at);
	ck_assert_uint_eq(vu_answered(), 2);
	ck_assert_uint_eq(vu_base(), _i ? 0x80058005 : 5);
	/* As DPDK gives it: half of it. */
	vu_ring(0, _i ? 0x8005 : 5);
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_end();
}

START_TEST(a_ring_goes_on_where_a_dead_back_end_has_stopped_using)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_submit(VU_DATA, 3);
	ck_assert_uint_eq(vu_answered(), 3);
	vu_base();
	vu_submit(VU_DATA, 2);
	/* Two had been taken and not used. */
	vu_ring(0, _i ? 0x80038005 : 5);
	ck_assert_uint_eq(vu_answered(), 2);
	vu_end();
}

/* An entropy device that has something in hand the first `busy_times` it is asked. */
static u32 busy_times, asked;

static bool in_hand(const struct virtio_dev *v, const struct virtio_queue *q)
{
	(void)v;
	ck_assert_uint_eq(q->index, 0);
	return asked++ < busy_times;
}

static struct virtio_dev *busy_rng(const struct machine_env *env)
{
	static struct virtio_ops ops;
	struct virtio_dev *v = vu_rng(env);

	ops = *v->ops;
	ops.in_hand = in_hand;
	v->ops = &ops;
	return v;
}

START_TEST(a_ring_is_not_given_back_while_the_device_has_something_in_hand)
{
	asked = busy_times = 0;
	vu_begin(busy_rng, _i);
	vu_up();
	vu_submit(VU_DATA, 3);
	ck_assert_uint_eq(vu_answered(), 3);
	busy_times = 3;
	ck_assert_uint_eq(vu_base(), _i ? 0x80038003 : 3);
	ck_assert_uint_eq(asked, 4);
	/* But not for ever. */
	vu_ring(0, _i ? 0x80038003 : 3);
	vu_submit(VU_DATA, 1);
	busy_times = ~0u;
	ck_assert_uint_eq(vu_base(), _i ? 0x80048004 : 4);
	vu_end();
}

START_TEST(a_disabled_ring_waits)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_enable(0, false);
	vu_submit(VU_DATA, 2);
	ck_assert_uint_eq(vu_answered(), 0);
	vu_enable(0, true);
	ck_assert_uint_eq(vu_answered(), 2);
	vu_end();
}

/* A frame of zeroes on ring `i`. Does its buffer come back? */
static bool transmitted(u32 i)
{
	const struct ring_buf buf = { VU_DATA, 12 + 60 };
	u32 len;

	ck_assert_int_ge(ring_add(&vu.ring[i], &buf, 1, 0, false), 0);
	ring_publish(&vu.ring[i]);
	eventfd_write(vu.kick, 1);
	vu_settle();
	return ring_get(&vu.ring[i], &len) >= 0;
}

static void expect_frames(u64 frames, u64 dropped)
{
	struct virtio_net_stats s;

	virtio_net_stats(vu.v, 1, &s);
	ck_assert_uint_eq(s.frames, frames);
	ck_assert_uint_eq(s.dropped, dropped);
}

START_TEST(a_disabled_transmit_queue_loses_its_frames)
{
	const u32 first = VU_FIRST_BASE(_i);
	struct vhost_user_msg m;

	vu_begin(vu_net, _i);
	vu_features(~0ULL);
	vu_memory();
	vu_ring(0, first);
	vu_ring(1, first);
	ck_assert(transmitted(1));
	expect_frames(0, 1);
	vu_enable(1, true);
	ck_assert(transmitted(1));
	expect_frames(1, 1);
	vu_enable(1, false);
	ck_assert(transmitted(1));
	expect_frames(1, 2);
	/* A receive queue waits; and a stopped ring is not looked at, whatever it is. */
	ck_assert(!transmitted(0));
	vu_state(VHOST_USER_GET_VRING_BASE, 1, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.vring.num & 0xffff, (first & 0xffff) + 3);
	ck_assert(!transmitted(1));
	expect_frames(1, 2);
	vu_alive();
	vu_end();
}

START_TEST(without_protocol_features_rings_begin_enabled)
{
	vu_begin(vu_rng, _i);
	vu_features(~PROTOCOL);
	vu_memory();
	vu_ring(0, VU_FIRST_BASE(_i));
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_end();
}

START_TEST(nobody_is_called_without_an_eventfd)
{
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	vu_begin(vu_rng, _i);
	vu_up();
	vu_fd(VHOST_USER_SET_VRING_CALL, 0, -1);
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	ck_assert(!vu_signalled(vu.call));
	/* A new one is signalled at once: there may have been something for it. */
	vu_fd(VHOST_USER_SET_VRING_CALL, 0, other);
	ck_assert(vu_signalled(other));
	vu_submit(VU_DATA, 1);
	ck_assert(vu_signalled(other));
	ck_assert(!vu_signalled(vu.call));
	vu_end();
	close(other);
}

/* Ask without a kick. Returns whether one was wanted. */
static bool ask_silently(void)
{
	const struct ring_buf buf = { VU_DATA, 64 };
	bool wanted;

	ck_assert_int_ge(ring_add(&vu.ring[0], &buf, 0, 1, false), 0);
	wanted = ring_publish(&vu.ring[0]);
	vu_settle();
	return wanted;
}

START_TEST(a_ring_without_a_kick_eventfd_is_polled)
{
	vu_begin(vu_rng, _i);
	vu_up();
	ck_assert(ask_silently());
	ck_assert_uint_eq(vu_answered(), 0);
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, -1);
	ck_assert_uint_eq(vu_answered(), 1);
	ck_assert(!ask_silently());
	ck_assert_uint_eq(vu_answered(), 1);
	/* With one it is kicked again. */
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, vu.kick);
	ck_assert(ask_silently());
	ck_assert_uint_eq(vu_answered(), 0);
	vu_submit(VU_DATA, 0);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_end();
}

START_TEST(memory_comes_and_goes_under_a_running_ring)
{
	struct vhost_user_mem_slot slot = { .region = { 0x80000000, MIB, 0x10000, 0 } };
	int fd = memfd_create("more", MFD_CLOEXEC);

	ck_assert_int_eq(ftruncate(fd, 2 * MIB), 0);
	vu_begin(vu_rng, _i);
	vu_up();
	ck_assert_uint_ge(vu_ask(VHOST_USER_GET_MAX_MEM_SLOTS), 8);
	slot.region.mmap_offset = 0x800;
	vu_send(VHOST_USER_ADD_MEM_REG, 0, &slot, sizeof(slot), &fd, 1);
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_send(VHOST_USER_REM_MEM_REG, 0, &slot, sizeof(slot), NULL, 0);
	vu_memory(); /* all of it anew */
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_alive();
	vu_end();
	close(fd);
}

START_TEST(success_is_acknowledged_if_that_was_asked_for)
{
	struct vhost_user_msg m;
	u64 features;

	vu_begin(vu_rng, false);
	vu_features(~0ULL);
	features = vu.features;
	vu_send(VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &features, 8, NULL, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.request, VHOST_USER_SET_FEATURES);
	ck_assert_uint_eq(m.num, 0);
	features = ~0ULL;
	vu_send(VHOST_USER_SET_FEATURES, VHOST_USER_NEED_REPLY, &features, 8, NULL, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.num, 1);
	vu_closed("SET_FEATURES: features that were not offered");
	vu_end();
}

START_TEST(the_configuration_is_read_and_written)
{
	struct vhost_user_config c = { .offset = 0, .size = 8 };
	struct vhost_user_msg m;
	u64 capacity;

	vu_begin(vu_blk, false);
	vu_features(~0ULL);
	ck_assert_uint_eq(vu_ask(VHOST_USER_GET_QUEUE_NUM), 2);
	vu_send(VHOST_USER_GET_CONFIG, 0, &c, 12 + 8, NULL, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.size, 12 + 8);
	memcpy(&capacity, m.config.data, 8);
	ck_assert_uint_eq(capacity, 128);

	/* The capacity is not the driver's to write; writeback is. */
	memset(c.data, 0, sizeof(c.data));
	vu_send(VHOST_USER_SET_CONFIG, 0, &c, 12 + 8, NULL, 0);
	c = (struct vhost_user_config){ .offset = offsetof(struct virtio_blk_config, wce),
					.size = 1 };
	vu_send(VHOST_USER_SET_CONFIG, 0, &c, 12 + 1, NULL, 0);
	c = (struct vhost_user_config){ .size = sizeof(struct virtio_blk_config) };
	vu_send(VHOST_USER_GET_CONFIG, 0, &c, 12 + c.size, NULL, 0);
	vu_reply(&m);
	memcpy(&capacity, m.config.data, 8);
	ck_assert_uint_eq(capacity, 128);
	ck_assert_uint_eq(m.config.data[offsetof(struct virtio_blk_config, wce)], 0);
	vu_end();
}

START_TEST(a_broken_driver_is_told_of_on_every_way_there_is)
{
	struct vhost_user_msg m;
	int pair[2];

	vu_begin(vu_rng, _i);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vu_up();
	vu_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	vu_num(VHOST_USER_SET_STATUS, 0xf);
	ck_assert_uint_eq(vu_ask(VHOST_USER_GET_STATUS), 0xf);
	ring_add(&vu.ring[0], &(struct ring_buf){ 1ULL << 50, 64 }, 0, 1, false);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	vu_settle();
	expect_said("needs a reset");
	ck_assert(vu_signalled(vu.err));
	ck_assert_uint_eq(vu_ask(VHOST_USER_GET_STATUS), 0xf | VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert_int_eq(vhost_user_recv_within(pair[0], &m, 1), 0);
	ck_assert_uint_eq(m.hdr.request, VHOST_USER_BACKEND_CONFIG_CHANGE);

	/* And a reset mends it. */
	vu_num(VHOST_USER_SET_STATUS, 0);
	ck_assert_uint_eq(vu_ask(VHOST_USER_GET_STATUS), 0);
	ring_driver_reset(&vu.ring[0]);
	vu_ring(0, VU_FIRST_BASE(_i));
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 1);
	close(pair[0]);
	close(pair[1]);
	vu_end();
}

START_TEST(a_reset_stops_and_disables_all)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_send(VHOST_USER_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	vu_submit(VU_DATA, 1);
	ck_assert_uint_eq(vu_answered(), 0);
	vu_ring(0, VU_FIRST_BASE(_i));
	ck_assert_uint_eq(vu_answered(), 0);
	vu_enable(0, true);
	ck_assert_uint_eq(vu_answered(), 1);
	vu_end();
}

START_TEST(front_ends_come_and_go)
{
	u32 fds;

	vu_begin(vu_rng, _i);
	fds = open_fds();
	for (u32 i = 1; i <= 5; i++) {
		vu_up();
		vu_submit(VU_DATA, 1);
		ck_assert_uint_eq(vu_answered(), 1);
		close(vu.sock);
		vu_settle();
		ck_assert_uint_eq(vu.gone, i);
		ring_driver_reset(&vu.ring[0]);
		vu_connect();
		ck_assert_uint_eq(open_fds(), fds);
	}
	vu_alive();
	vu_end();
}

START_TEST(the_next_one_waits_until_the_first_is_gone)
{
	int first, second;

	vu_begin(vu_rng, false);
	first = vu.sock;
	vu_connect();
	vu_send(VHOST_USER_GET_FEATURES, 0, NULL, 0, NULL, 0);
	second = vu.sock;
	ck_assert_int_eq(recv(second, &(char){ 0 }, 1, MSG_DONTWAIT), -1);
	vu.sock = first;
	vu_alive();
	close(first);
	vu_settle();
	vu.sock = second;
	vu_reply(&(struct vhost_user_msg){ 0 });
	vu_end();
}

/* Such a record in `fd` (-1: none) ends the connection; then there is another one. */
static void record_refused(const struct vhost_user_inflight *i, int fd, const char *why)
{
	vu_send(VHOST_USER_SET_INFLIGHT_FD, 0, i, sizeof(*i), &fd, fd >= 0);
	vu_closed(why);
	vu_connect();
	vu_features(~0ULL);
}

START_TEST(a_record_of_what_is_in_flight_is_made_and_taken_back)
{
	struct vhost_user_inflight i = { .nqueues = 2, .queue_size = VU_SIZE };
	struct vhost_user_msg m;
	int fd;

	vu_begin(vu_blk, _i);
	vu_features(~0ULL);
	vu_send(VHOST_USER_GET_INFLIGHT_FD, 0, &i, sizeof(i), NULL, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.nfds, 1);
	ck_assert_uint_ge(m.inflight.mmap_size, 2 * vq_inflight_size(_i, VU_SIZE));
	fd = m.fd[0];
	vu_send(VHOST_USER_SET_INFLIGHT_FD, 0, &m.inflight, sizeof(i), &fd, 1);
	vu_alive();

	/* More than there is, more than was said, none at all. */
	i = m.inflight;
	i.mmap_offset = PAGE_SIZE;
	record_refused(&i, fd, "are not in the file");
	i = m.inflight;
	i.mmap_size = 64;
	record_refused(&i, fd, "are not in the file");
	i = m.inflight;
	i.nqueues = 3;
	record_refused(&i, fd, "3 rings of 64 descriptors");
	record_refused(&i, -1, "SET_INFLIGHT_FD: 0 descriptors");
	close(fd);
	vu_end();
}

Suite *vhost_user_server_suite(void)
{
	Suite *s = suite_create("vhost_user_server");
	TCase *tc = tcase_create("service");

	tcase_add_loop_test(tc, a_ring_is_served, 0, 2);
	tcase_add_loop_test(tc, a_stopped_ring_tells_where_it_stands_and_goes_on_from_there, 0, 2);
	tcase_add_loop_test(tc, a_ring_goes_on_where_a_dead_back_end_has_stopped_using, 0, 2);
	tcase_add_loop_test(tc, a_ring_is_not_given_back_while_the_device_has_something_in_hand, 0,
			    2);
	tcase_add_loop_test(tc, a_disabled_ring_waits, 0, 2);
	tcase_add_loop_test(tc, a_disabled_transmit_queue_loses_its_frames, 0, 2);
	tcase_add_loop_test(tc, without_protocol_features_rings_begin_enabled, 0, 2);
	tcase_add_loop_test(tc, nobody_is_called_without_an_eventfd, 0, 2);
	tcase_add_loop_test(tc, a_ring_without_a_kick_eventfd_is_polled, 0, 2);
	tcase_add_loop_test(tc, memory_comes_and_goes_under_a_running_ring, 0, 2);
	tcase_add_test(tc, success_is_acknowledged_if_that_was_asked_for);
	tcase_add_test(tc, the_configuration_is_read_and_written);
	tcase_add_loop_test(tc, a_broken_driver_is_told_of_on_every_way_there_is, 0, 2);
	tcase_add_loop_test(tc, a_reset_stops_and_disables_all, 0, 2);
	tcase_add_loop_test(tc, front_ends_come_and_go, 0, 2);
	tcase_add_loop_test(tc, a_record_of_what_is_in_flight_is_made_and_taken_back, 0, 2);
	tcase_add_test(tc, the_next_one_waits_until_the_first_is_gone);
	suite_add_tcase(s, tc);
	return s;
}
