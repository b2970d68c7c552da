// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_server.c - the vhost-user server: what a front end asks for, and what none gets away
 * with. Tests with a number _i run with split (0) and packed rings (1).
 */
#include "tests/unit/vhost_user_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PROTOCOL (1ULL << VHOST_USER_F_PROTOCOL_FEATURES)

/* Ask for `n` times 64 random bytes on ring 0. */
static void ask(u32 n)
{
	const struct ring_buf buf = { VU_DATA, 64 };

	for (u32 i = 0; i < n; i++)
		ck_assert_int_ge(ring_add(&vu.ring[0], &buf, 0, 1, false), 0);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	vu_settle();
}

static u32 answered(void)
{
	u32 n = 0, len;

	for (; ring_get(&vu.ring[0], &len) >= 0; n++)
		ck_assert_uint_eq(len, 64);
	return n;
}

/* What GET_VRING_BASE gives. */
static u32 base(void)
{
	struct vhost_user_msg m;

	vu_state(VHOST_USER_GET_VRING_BASE, 0, 0);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.size, sizeof(m.vring));
	return m.vring.num;
}

/* ---- what works ---- */

START_TEST(a_ring_is_served)
{
	vu_begin(vu_rng, _i);
	vu_up();
	ask(3);
	ck_assert_uint_eq(answered(), 3);
	ck_assert(vu_signalled(vu.call));
	vu_alive();
	vu_end();
}

START_TEST(a_stopped_ring_tells_where_it_stands_and_goes_on_from_there)
{
	u32 at;

	vu_begin(vu_rng, _i);
	vu_up();
	ask(3);
	ck_assert_uint_eq(answered(), 3);
	at = base();
	ck_assert_uint_eq(at, _i ? 0x80038003 : 3);
	ask(2);
	ck_assert_uint_eq(answered(), 0);
	vu_ring(0, at);
	ck_assert_uint_eq(answered(), 2);
	ck_assert_uint_eq(base(), _i ? 0x80058005 : 5);
	/* As DPDK gives it: half of it. */
	vu_ring(0, _i ? 0x8005 : 5);
	ask(1);
	ck_assert_uint_eq(answered(), 1);
	vu_end();
}

START_TEST(a_ring_goes_on_where_a_dead_back_end_has_stopped_using)
{
	vu_begin(vu_rng, _i);
	vu_up();
	ask(3);
	ck_assert_uint_eq(answered(), 3);
	base();
	ask(2);
	/* Two had been taken and not used. */
	vu_ring(0, _i ? 0x80038005 : 5);
	ck_assert_uint_eq(answered(), 2);
	vu_end();
}

START_TEST(a_disabled_ring_waits)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_enable(0, false);
	ask(2);
	ck_assert_uint_eq(answered(), 0);
	vu_enable(0, true);
	ck_assert_uint_eq(answered(), 2);
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
	const u32 first = _i ? 0x80008000 : 0;
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
	vu_ring(0, _i ? 0x80008000 : 0);
	ask(1);
	ck_assert_uint_eq(answered(), 1);
	vu_end();
}

START_TEST(nobody_is_called_without_an_eventfd)
{
	int other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	vu_begin(vu_rng, _i);
	vu_up();
	vu_fd(VHOST_USER_SET_VRING_CALL, 0, -1);
	ask(1);
	ck_assert_uint_eq(answered(), 1);
	ck_assert(!vu_signalled(vu.call));
	/* A new one is signalled at once: there may have been something for it. */
	vu_fd(VHOST_USER_SET_VRING_CALL, 0, other);
	ck_assert(vu_signalled(other));
	ask(1);
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
	ck_assert_uint_eq(answered(), 0);
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, -1);
	ck_assert_uint_eq(answered(), 1);
	ck_assert(!ask_silently());
	ck_assert_uint_eq(answered(), 1);
	/* With one it is kicked again. */
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, vu.kick);
	ck_assert(ask_silently());
	ck_assert_uint_eq(answered(), 0);
	ask(0);
	ck_assert_uint_eq(answered(), 1);
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
	ask(1);
	ck_assert_uint_eq(answered(), 1);
	vu_send(VHOST_USER_REM_MEM_REG, 0, &slot, sizeof(slot), NULL, 0);
	vu_memory(); /* all of it anew */
	ask(1);
	ck_assert_uint_eq(answered(), 1);
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
	vu_ring(0, _i ? 0x80008000 : 0);
	ask(1);
	ck_assert_uint_eq(answered(), 1);
	close(pair[0]);
	close(pair[1]);
	vu_end();
}

START_TEST(a_reset_stops_and_disables_all)
{
	vu_begin(vu_rng, _i);
	vu_up();
	vu_send(VHOST_USER_RESET_DEVICE, 0, NULL, 0, NULL, 0);
	ask(1);
	ck_assert_uint_eq(answered(), 0);
	vu_ring(0, _i ? 0x80008000 : 0);
	ck_assert_uint_eq(answered(), 0);
	vu_enable(0, true);
	ck_assert_uint_eq(answered(), 1);
	vu_end();
}

START_TEST(front_ends_come_and_go)
{
	u32 fds;

	vu_begin(vu_rng, _i);
	fds = open_fds();
	for (u32 i = 1; i <= 5; i++) {
		vu_up();
		ask(1);
		ck_assert_uint_eq(answered(), 1);
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

/* ---- what does not ---- */

/* Each is a table of one or two regions. `fd`: 0 the front end's memory, 1 a pipe. */
static const struct {
	const char *why;
	u32 nregions, nfds, fd;
	struct vhost_user_region region[2];
} tables[] = {
	{ "0 bytes", 1, 1, 0, { { VU_GPA, 0, VU_USER, 0 } } },
	{ "wraps", 1, 1, 0, { { 0 - 0x1000ULL, 0x2000, VU_USER, 0 } } },
	{ "at user address", 1, 1, 0, { { VU_GPA, 0x2000, 0 - 0x1000ULL, 0 } } },
	{ "more than its file", 1, 1, 0, { { VU_GPA, VU_RAM + 1, VU_USER, 0 } } },
	{ "more than its file", 1, 1, 0, { { VU_GPA, 0x1000, VU_USER, VU_RAM } } },
	{ "more than its file", 1, 1, 0, { { VU_GPA, 0x1000, VU_USER, 0 - 0x1000ULL } } },
	{ "more than its file", 1, 1, 0, { { VU_GPA, 0 - VU_GPA, 0, 0 } } },
	{ "more than its file", 1, 1, 1, { { VU_GPA, 0x1000, VU_USER, 0 } } },
	{ "overlaps another",
	  2,
	  2,
	  0,
	  { { VU_GPA, 0x2000, VU_USER, 0 }, { VU_GPA + 0x1000, 0x1000, 0, 0 } } },
	{ "two regions overlap",
	  2,
	  2,
	  0,
	  { { VU_GPA, 0x2000, VU_USER, 0 }, { 0, 0x1000, VU_USER + 0x1000, 0 } } },
	{ "2 regions with 1 descriptors", 2, 1, 0, { { VU_GPA, VU_RAM, VU_USER, 0 } } },
	{ "0 regions with 1 descriptors", 0, 1, 0, { { VU_GPA, VU_RAM, VU_USER, 0 } } },
	{ "9 regions", 9, 1, 0, { { VU_GPA, VU_RAM, VU_USER, 0 } } },
	{ "regions in", 4294967295u, 1, 0, { { VU_GPA, VU_RAM, VU_USER, 0 } } },
};

START_TEST(a_memory_table_that_can_not_be_ends_the_connection)
{
	struct vhost_user_memory t = { .nregions = tables[_i].nregions };
	int pipes[2], fds[2];

	vu_begin(vu_rng, false);
	ck_assert_int_eq(pipe(pipes), 0);
	fds[0] = fds[1] = tables[_i].fd ? pipes[0] : vu.ram.region[0].fd;
	memcpy(t.region, tables[_i].region, sizeof(tables[_i].region));
	vu_up();
	vu_send(VHOST_USER_SET_MEM_TABLE, 0, &t, sizeof(t), fds, tables[_i].nfds);
	if (tables[_i].nregions == 4294967295u)
		vu_closed("SET_MEM_TABLE: 4294967295 regions");
	else
		vu_closed(tables[_i].why);
	close(pipes[0]);
	close(pipes[1]);
	ck_assert_uint_eq(vu.rig.mem.nregions, 0);
	vu_connect();
	vu_alive();
	vu_end();
}

START_TEST(memory_that_is_cut_short_reads_as_zeroes)
{
	int fd;

	vu_begin(vu_rng, _i);
	ck_assert_int_eq(vhost_user_guard_memory(), 0);
	fd = memfd_create("unsealed", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(fd, VU_RAM), 0);
	ck_assert_int_ge(dup2(fd, vu.ram.region[0].fd), 0); /* ours is sealed */
	vu_up();
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	close(fd);
	eventfd_write(vu.kick, 1);
	vu_alive();
	base();
	vu_alive();
	vu_end();
}

START_TEST(a_memfd_that_can_be_is_sealed_against_that)
{
	struct vhost_user_memory t = { .nregions = 1, .region[0] = vu_region() };
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	vu_begin(vu_rng, false);
	ck_assert_int_eq(ftruncate(fd, VU_RAM), 0);
	vu_send(VHOST_USER_SET_MEM_TABLE, 0, &t, 8 + sizeof(t.region[0]), &fd, 1);
	vu_alive();
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	vu_end();
	close(fd);
}

START_TEST(there_is_an_end_to_memory_slots)
{
	struct vhost_user_mem_slot slot = { .region = { 0, 0x1000, 0, 0 } };

	vu_begin(vu_rng, false);
	vu_features(~0ULL);
	for (u32 i = 0; i < MEM_REGIONS_MAX; i++) {
		vu_send(VHOST_USER_ADD_MEM_REG, 0, &slot, sizeof(slot), &vu.ram.region[0].fd, 1);
		slot.region.gpa += 0x1000;
		slot.region.user_addr += 0x1000;
	}
	vu_alive();
	vu_send(VHOST_USER_ADD_MEM_REG, 0, &slot, sizeof(slot), &vu.ram.region[0].fd, 1);
	vu_closed("there are too many");
	vu_connect();
	vu_features(~0ULL);
	vu_send(VHOST_USER_REM_MEM_REG, 0, &slot, sizeof(slot), NULL, 0);
	vu_closed("there is no region");
	vu_end();
}

/* Messages about ring 0 of a device that is up. */
static const struct {
	const char *why;
	u32 request, index, num;
} states[] = {
	{ "SET_VRING_NUM: there is no ring 1", VHOST_USER_SET_VRING_NUM, 1, 64 },
	{ "GET_VRING_BASE: there is no ring", VHOST_USER_GET_VRING_BASE, 0xffffffff, 0 },
	{ "ring 0 has 0 descriptors", VHOST_USER_SET_VRING_NUM, 0, 0 },
	{ "ring 0 has 65536 descriptors", VHOST_USER_SET_VRING_NUM, 0, 65536 },
	{ "its size, position or record can't be", VHOST_USER_SET_VRING_NUM, 0, 63 },
	{ "the base 1000 of ring 0", VHOST_USER_SET_VRING_BASE, 0, 1000 },
	{ "enable ring 0: 2", VHOST_USER_SET_VRING_ENABLE, 0, 2 },
};

START_TEST(a_ring_that_can_not_be_ends_the_connection)
{
	vu_begin(vu_rng, false);
	vu_up();
	vu_state(states[_i].request, states[_i].index, states[_i].num);
	vu_closed(states[_i].why);
	vu_end();
}

START_TEST(a_ring_lies_in_the_memory_there_is)
{
	struct vhost_user_addr a = { .desc = VU_USER, .avail = VU_USER, .used = VU_USER };

	for (u32 i = 0; i < 4; i++) {
		static const u64 bad[] = { 0, ~0ULL, VU_USER + VU_RAM, VU_USER + VU_RAM - 16 };

		if (!i)
			vu_begin(vu_rng, false);
		else
			vu_connect();
		vu_up();
		a.desc = bad[i];
		vu_addr(0, &a);
		vu_closed("not in guest memory");
	}
	/* Looked at before it is started: for how far it is. */
	vu_connect();
	vu_up();
	vu_enable(0, false);
	vu_state(VHOST_USER_SET_VRING_BASE, 0, 0);
	a = (struct vhost_user_addr){ .desc = VU_USER, .avail = VU_USER, .used = VU_USER + 2 };
	vu_addr(0, &a);
	vu_enable(0, true);
	vu_closed("ring 0 is misaligned");
	vu_end();
}

START_TEST(descriptors_come_with_the_messages_that_have_some)
{
	int two[2];

	vu_begin(vu_rng, false);
	two[0] = two[1] = vu.kick;
	vu_send(VHOST_USER_SET_VRING_KICK, 0, &(u64){ 0 }, 8, NULL, 0);
	vu_closed("SET_VRING_KICK: 0 descriptors");
	vu_connect();
	vu_send(VHOST_USER_SET_VRING_CALL, 0, &(u64){ VHOST_USER_VRING_NOFD }, 8, two, 1);
	vu_closed("SET_VRING_CALL: 1 descriptors");
	vu_connect();
	vu_send(VHOST_USER_SET_VRING_ERR, 0, &(u64){ 0 }, 8, two, 2);
	vu_closed("SET_VRING_ERR: 2 descriptors");
	vu_connect();
	vu_send(VHOST_USER_GET_FEATURES, 0, NULL, 0, two, 1);
	vu_closed("GET_FEATURES: 1 descriptors");
	vu_connect();
	vu_up();
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, vu.ram.region[0].fd); /* can't be waited for */
	vu_closed("ring 0: it is no eventfd");
	vu_end();
}

/* It clears O_NONBLOCK of a full eventfd behind our backs: the queue's thread is in its write to it for ever. */
START_TEST(a_front_end_whose_call_blocks_harms_itself_alone)
{
	u32 len;

	ck_assert_int_eq(loop_create(&vu_io_loop), 0);
	ck_assert_int_eq(loop_start(vu_io_loop, "queue"), 0);
	vu_begin(vu_rng, _i);
	vu_up();
	vu_alive();
	vu_signalled(vu.call);
	ck_assert_int_eq(eventfd_write(vu.call, ~1ULL), 0);
	ck_assert_int_eq(fcntl(vu.call, F_SETFL, 0), 0);
	ask(1);
	while (ring_get(&vu.ring[0], &len) < 0)
		sched_yield();
	/* It can be told to stop. Then its driver waits, and nobody calls. */
	ck_assert_uint_eq((u16)base(), _i ? 0x8001 : 1);
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, vu.kick);
	vu_alive();
	ask(1);
	while (ring_get(&vu.ring[0], &len) < 0)
		sched_yield();
	close(vu.sock);
	vu_settle();
	ck_assert_uint_eq(vu.gone, 1);

	/* The next one is served. */
	ring_driver_free(&vu.ring[0]);
	vu.ring[0] = (struct ring_driver){ 0 };
	close(vu.call);
	vu.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vu_connect();
	vu_up();
	ask(1);
	while (ring_get(&vu.ring[0], &len) < 0)
		sched_yield();
	vu_alive();
	vu_end();
	loop_stop(vu_io_loop);
	loop_destroy(vu_io_loop);
}

/* Nor does the main loop write to one that blocks, or to a socket. */
START_TEST(what_else_blocks_is_not_waited_for_either)
{
	int pair[2], fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(loop_create(&vu_io_loop), 0);
	ck_assert_int_eq(loop_start(vu_io_loop, "queue"), 0);
	vu_begin(vu_rng, false);
	vu_up();
	vu_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &pair[1], 1);
	vu_fd(VHOST_USER_SET_VRING_ERR, 0, fd);
	vu_alive();
	ck_assert_int_eq(eventfd_write(fd, ~1ULL), 0);
	while (send(pair[1], "x", 1, MSG_DONTWAIT) == 1)
		;
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
	ck_assert_int_eq(fcntl(pair[1], F_SETFL, 0), 0);
	virtio_needs_reset(vu.v, "as the test says");
	expect_said("as the test says");
	said_forget();
	vu_settle();
	expect_said("does not read our requests");
	close(vu.sock);
	vu.sock = -1;
	vu_settle();
	ck_assert_uint_eq(vu.gone, 1);
	vu_end();
	close(fd);
	close(pair[0]);
	close(pair[1]);
	loop_stop(vu_io_loop);
	loop_destroy(vu_io_loop);
}

START_TEST(a_front_end_that_gives_its_own_socket_for_an_eventfd_is_seen_to_leave)
{
	static const u32 request[] = { VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL,
				       VHOST_USER_SET_VRING_ERR };

	vu_begin(vu_rng, false);
	vu_up();
	vu_fd(request[_i], 0, vu.sock);
	vu_closed("ring 0: it is no eventfd");
	ck_assert_uint_eq(vu.gone, 1);
	vu_connect();
	vu_alive();
	vu_end();
}

START_TEST(nor_is_its_own_socket_taken_for_a_channel_to_it)
{
	vu_begin(vu_rng, false);
	vu_features(~0ULL);
	vu_send(VHOST_USER_SET_BACKEND_REQ_FD, 0, NULL, 0, &vu.sock, 1);
	vu_closed("this connection's own end");
	vu_end();
}

/* vu_end() sees that it is not there any more. */
START_TEST(a_record_that_there_is_no_room_for_leaves_no_descriptor)
{
	const struct vhost_user_inflight i = { .nqueues = 1, .queue_size = VU_SIZE };
	const struct rlimit none = { 0, RLIM_INFINITY }, any = { RLIM_INFINITY, RLIM_INFINITY };

	vu_begin(vu_rng, false);
	vu_features(~0ULL);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
	vu_send(VHOST_USER_GET_INFLIGHT_FD, 0, &i, sizeof(i), NULL, 0);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &any), 0);
	vu_closed("GET_INFLIGHT_FD: File too large");
	vu_end();
}

START_TEST(what_is_no_message_ends_the_connection)
{
	static const u32 headers[][3] = { { 1, 0, 0 }, { 1, 2, 0 }, { 1, 1, 0xffffffff } };

	vu_begin(vu_rng, false);
	for (u32 i = 0; i < ARRAY_SIZE(headers); i++) {
		ck_assert_int_eq(send(vu.sock, headers[i], 12, 0), 12);
		vu_closed("it is none of the protocol's");
		vu_connect();
	}
	vu_send(0, 0, NULL, 0, NULL, 0);
	vu_closed("request 0 is not known");
	vu_connect();
	vu_send(0x7fffffff, 0, NULL, 0, NULL, 0);
	vu_closed("is not known");
	vu_connect();
	vu_send(VHOST_USER_GET_FEATURES, VHOST_USER_REPLY, NULL, 0, NULL, 0);
	vu_closed("a reply that nobody asked for");
	vu_connect();
	vu_send(VHOST_USER_SET_FEATURES, 0, NULL, 0, NULL, 0);
	vu_closed("SET_FEATURES: 0 bytes, of 8");
	vu_connect();
	vu_send(VHOST_USER_GET_CONFIG, 0, &(struct vhost_user_config){ 0 }, 12, NULL, 0);
	vu_closed("its protocol feature was not accepted");
	vu_end();
}

START_TEST(the_configuration_has_an_end)
{
	static const u32 bad[][3] = {
		{ 0, 257, 12 }, { 250, 8, 20 }, { 0xffffffff, 1, 13 }, { 0, 8, 19 }
	};

	vu_begin(vu_blk, false);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vhost_user_config c = { .offset = bad[i][0], .size = bad[i][1] };

		vu_features(~0ULL);
		vu_send(VHOST_USER_SET_CONFIG, 0, &c, bad[i][2], NULL, 0);
		vu_closed("SET_CONFIG: ");
		vu_connect();
	}
	vu_end();
}

/* 0: of fewer descriptors than the ring has; 1: of fewer rings. */
START_TEST(a_ring_without_a_place_in_the_record_is_refused)
{
	struct vhost_user_inflight i = { .nqueues = 2 - _i, .queue_size = VU_SIZE >> !_i };
	struct vhost_user_msg m;
	int fd;

	vu_begin(vu_blk, false);
	vu_features(~0ULL);
	vu_memory();
	vu_send(VHOST_USER_GET_INFLIGHT_FD, 0, &i, sizeof(i), NULL, 0);
	vu_reply(&m);
	fd = m.fd[0];
	vu_send(VHOST_USER_SET_INFLIGHT_FD, 0, &m.inflight, sizeof(i), &fd, 1);
	vu_ring(_i, 0);
	vu_alive();
	vu_enable(_i, true);
	vu_closed("no place in the record");
	close(fd);
	vu_end();
}

START_TEST(other_flags_of_a_descriptor_are_left_alone)
{
	int kick = eventfd(0, EFD_CLOEXEC);

	vu_begin(vu_rng, false);
	vu_up();
	ck_assert_int_eq(fcntl(kick, F_SETFL, O_NOATIME), 0);
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, kick);
	vu_alive();
	ck_assert_int_eq(fcntl(kick, F_GETFL) & (O_NOATIME | O_NONBLOCK), O_NOATIME | O_NONBLOCK);
	vu_end();
	close(kick);
}

Suite *vhost_user_server_suite(void)
{
	Suite *s = suite_create("vhost_user_server");
	TCase *good = tcase_create("service"), *bad = tcase_create("hostile");

	tcase_add_loop_test(good, a_ring_is_served, 0, 2);
	tcase_add_loop_test(good, a_stopped_ring_tells_where_it_stands_and_goes_on_from_there, 0,
			    2);
	tcase_add_loop_test(good, a_ring_goes_on_where_a_dead_back_end_has_stopped_using, 0, 2);
	tcase_add_loop_test(good, a_disabled_ring_waits, 0, 2);
	tcase_add_loop_test(good, a_disabled_transmit_queue_loses_its_frames, 0, 2);
	tcase_add_loop_test(good, without_protocol_features_rings_begin_enabled, 0, 2);
	tcase_add_loop_test(good, nobody_is_called_without_an_eventfd, 0, 2);
	tcase_add_loop_test(good, a_ring_without_a_kick_eventfd_is_polled, 0, 2);
	tcase_add_loop_test(good, memory_comes_and_goes_under_a_running_ring, 0, 2);
	tcase_add_test(good, success_is_acknowledged_if_that_was_asked_for);
	tcase_add_test(good, the_configuration_is_read_and_written);
	tcase_add_loop_test(good, a_broken_driver_is_told_of_on_every_way_there_is, 0, 2);
	tcase_add_loop_test(good, a_reset_stops_and_disables_all, 0, 2);
	tcase_add_loop_test(good, front_ends_come_and_go, 0, 2);
	tcase_add_loop_test(good, a_record_of_what_is_in_flight_is_made_and_taken_back, 0, 2);
	tcase_add_test(good, the_next_one_waits_until_the_first_is_gone);
	tcase_add_loop_test(bad, a_memory_table_that_can_not_be_ends_the_connection, 0,
			    ARRAY_SIZE(tables));
	tcase_add_loop_test(bad, memory_that_is_cut_short_reads_as_zeroes, 0, 2);
	tcase_add_test(bad, a_memfd_that_can_be_is_sealed_against_that);
	tcase_add_test(bad, there_is_an_end_to_memory_slots);
	tcase_add_loop_test(bad, a_ring_that_can_not_be_ends_the_connection, 0, ARRAY_SIZE(states));
	tcase_add_test(bad, a_ring_lies_in_the_memory_there_is);
	tcase_add_test(bad, descriptors_come_with_the_messages_that_have_some);
	tcase_add_loop_test(
		bad, a_front_end_that_gives_its_own_socket_for_an_eventfd_is_seen_to_leave, 0, 3);
	tcase_add_loop_test(bad, a_front_end_whose_call_blocks_harms_itself_alone, 0, 2);
	tcase_add_test(bad, what_else_blocks_is_not_waited_for_either);
	tcase_add_test(bad, nor_is_its_own_socket_taken_for_a_channel_to_it);
	tcase_add_test(bad, a_record_that_there_is_no_room_for_leaves_no_descriptor);
	tcase_add_test(bad, what_is_no_message_ends_the_connection);
	tcase_add_test(bad, the_configuration_has_an_end);
	tcase_add_loop_test(bad, a_ring_without_a_place_in_the_record_is_refused, 0, 2);
	tcase_add_test(bad, other_flags_of_a_descriptor_are_left_alone);
	suite_add_tcase(s, good);
	suite_add_tcase(s, bad);
	return s;
}
