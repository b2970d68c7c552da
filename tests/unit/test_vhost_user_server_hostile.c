// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_server_hostile.c - the vhost-user server and a front end that is not to be trusted: memory that can't
 * be or is taken away, rings, descriptors that block or are of the wrong kind, records, and what is no message. The
 * front end loses its connection at most; the next one is served. Tests with a number _i say what it stands for, or
 * run with split (0) and packed rings (1).
 */
#include "tests/unit/vhost_user_rig.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- memory ---- */

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
	vu_base();
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

/* ---- rings ---- */

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

/* ---- descriptors ---- */

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

/* The queue's loop runs in a thread of its own. */
static void start_queue_thread(void)
{
	ck_assert_int_eq(loop_create(&vu_io_loop), 0);
	ck_assert_int_eq(loop_start(vu_io_loop, "queue"), 0);
}

static void end_queue_thread(void)
{
	loop_stop(vu_io_loop);
	loop_destroy(vu_io_loop);
}

static void wait_answer(void)
{
	u32 len;

	while (ring_get(&vu.ring[0], &len) < 0)
		sched_yield();
}

/* It clears O_NONBLOCK of a full eventfd behind our backs: the queue's thread is in its write to it for ever. */
START_TEST(a_front_end_whose_call_blocks_harms_itself_alone)
{
	start_queue_thread();
	vu_begin(vu_rng, _i);
	vu_up();
	vu_alive();
	vu_signalled(vu.call);
	ck_assert_int_eq(eventfd_write(vu.call, ~1ULL), 0);
	ck_assert_int_eq(fcntl(vu.call, F_SETFL, 0), 0);
	vu_submit(VU_DATA, 1);
	wait_answer();
	/* It can be told to stop. Then its driver waits, and nobody calls. */
	ck_assert_uint_eq((u16)vu_base(), _i ? 0x8001 : 1);
	vu_fd(VHOST_USER_SET_VRING_KICK, 0, vu.kick);
	vu_alive();
	vu_submit(VU_DATA, 1);
	wait_answer();
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
	vu_submit(VU_DATA, 1);
	wait_answer();
	vu_alive();
	vu_end();
	end_queue_thread();
}

/* Nor does the main loop write to one that blocks, or to a socket. */
START_TEST(what_else_blocks_is_not_waited_for_either)
{
	int pair[2], fd = eventfd(0, EFD_CLOEXEC);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	start_queue_thread();
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
	end_queue_thread();
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

/* ---- stops that come together ---- */

/* Two messages GET_VRING_BASE in one piece. Rings 1 and 3 are transmit rings of a network device. */
static const struct {
	u32 first, index;		 /* their rings */
	u32 flags;			 /* of the second */
	u32 len;			 /* of both */
	bool with_fd;			 /* the second comes with one, so in a piece of its own */
	bool one_runs;			 /* ring 1 alone */
	enum { OPEN, SHUT, CLOSED } end; /* what the front end does then */
	const char *why;		 /* it is refused; else it is answered, if it is whole */
} pairs[] = {
	{ .first = 1, .index = 3, .len = 40 },
	{ .first = 3, .index = 1, .len = 40 },
	{ .first = 1, .index = 1, .len = 40 },
	{ .first = 1, .index = 3, .len = 40, .one_runs = true },
	{ .first = 1,
	  .index = 3,
	  .len = 40,
	  .flags = VHOST_USER_REPLY,
	  .why = "a reply that nobody asked for" },
	{ .first = 1, .index = 99, .len = 40, .why = "there is no ring 99" },
	{ .first = 1,
	  .index = 3,
	  .len = 40,
	  .with_fd = true,
	  .why = "GET_VRING_BASE: 1 descriptors" },
	{ .first = 1, .index = 3, .len = 32, .end = SHUT },
	{ .first = 1, .index = 3, .len = 32, .end = CLOSED },
	{ .first = 1, .index = 3, .len = 40, .end = CLOSED },
};

static void send_pair(u32 n)
{
	const struct {
		struct vhost_user_hdr hdr;
		struct vhost_user_vring vring;
	} two[2] = {
		{ { VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION, 8 }, { pairs[n].first, 0 } },
		{ { VHOST_USER_GET_VRING_BASE, VHOST_USER_VERSION | pairs[n].flags, 8 },
		  { pairs[n].index, 0 } },
	};
	struct vhost_user_msg m = {
		.hdr = two[1].hdr, .vring = two[1].vring, .fd[0] = vu.kick, .nfds = 1
	};
	u32 len = pairs[n].with_fd ? 20 : pairs[n].len;

	ck_assert_int_eq(send(vu.sock, two, len, 0), len);
	if (pairs[n].with_fd) /* it comes with its own bytes; nobody has read the first yet */
		ck_assert_int_eq(vhost_user_send(vu.sock, &m), 0);
}

/* A ring that has sent `frames`. */
static u32 base_after(bool packed, u32 frames)
{
	return VU_FIRST_BASE(packed) + frames * (packed ? 0x10001 : 1);
}

static void expect_base(u32 ring, u32 base)
{
	struct vhost_user_msg m;

	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.request, VHOST_USER_GET_VRING_BASE);
	ck_assert_uint_eq(m.vring.index, ring);
	ck_assert_uint_eq(m.vring.num, base);
}

static void start_ring(u32 ring, u32 base)
{
	vu_ring(ring, base);
	vu_enable(ring, true);
}

static void transmit(u32 ring)
{
	const struct ring_buf buf = { VU_DATA, 12 + 60 };
	u32 len;

	ck_assert_int_ge(ring_add(&vu.ring[ring], &buf, 1, 0, false), 0);
	ring_publish(&vu.ring[ring]);
	eventfd_write(vu.kick, 1);
	do
		vu_settle();
	while (ring_get(&vu.ring[ring], &len) < 0);
}

/* Both rings run and have sent `frames`: they send one more, stop where they should, and again. */
static void expect_both_run(bool packed, u32 frames)
{
	for (u32 n = frames + 1; n < frames + 3; n++) {
		for (u32 ring = 1; ring <= 3; ring += 2)
			transmit(ring);
		for (u32 ring = 1; ring <= 3; ring += 2) {
			vu_state(VHOST_USER_GET_VRING_BASE, ring, 0);
			expect_base(ring, base_after(packed, n));
			start_ring(ring, base_after(packed, n));
		}
	}
	vu_alive();
}

static void both_up(bool packed, bool one_runs)
{
	vu_features(~0ULL);
	vu_memory();
	start_ring(1, VU_FIRST_BASE(packed));
	transmit(1);
	if (one_runs)
		return;
	start_ring(3, VU_FIRST_BASE(packed));
	transmit(3);
}

/* What it has asked for is answered, and the front end goes on. */
static void expect_answers(u32 n, bool packed)
{
	expect_base(pairs[n].first, base_after(packed, 1));
	expect_base(pairs[n].index, pairs[n].one_runs ? 0 : base_after(packed, 1));
	if (pairs[n].one_runs) {
		start_ring(3, VU_FIRST_BASE(packed));
		transmit(3);
	} else if (pairs[n].index != pairs[n].first) {
		start_ring(pairs[n].index, base_after(packed, 1));
	}
	start_ring(pairs[n].first, base_after(packed, 1));
}

/* It is refused, or has left; the next one comes. */
static void expect_gone(u32 n, bool packed)
{
	if (pairs[n].why) {
		vu_closed(pairs[n].why);
	} else {
		if (pairs[n].end == SHUT)
			expect_base(pairs[n].first, base_after(packed, 1));
		while (!vu.gone)
			vu_settle();
		if (pairs[n].end == SHUT) {
			expect_silence();
			close(vu.sock);
		} else {
			expect_said("GET_VRING_BASE: no reply can be sent");
		}
		said_forget();
	}
	ck_assert_uint_eq(vu.gone, 1);
	ring_driver_reset(&vu.ring[1]);
	ring_driver_reset(&vu.ring[3]);
	vu_connect();
	both_up(packed, false);
}

/* Of _i, bit 0: packed rings; bit 1: the queues have a thread of their own; the rest: which pair. */
START_TEST(rings_that_are_stopped_together_each_stop_once_or_go_on)
{
	u32 n = _i / 4;
	bool packed = _i & 1, thread = _i & 2;

	if (thread)
		start_queue_thread();
	vu_begin(vu_net, packed);
	both_up(packed, pairs[n].one_runs);
	vu_alive();
	send_pair(n);
	if (pairs[n].end == SHUT)
		ck_assert_int_eq(shutdown(vu.sock, SHUT_WR), 0);
	else if (pairs[n].end == CLOSED)
		close(vu.sock);
	if (pairs[n].why || pairs[n].end != OPEN)
		expect_gone(n, packed);
	else
		expect_answers(n, packed);
	expect_both_run(packed, 1);
	vu_end();
	if (thread)
		end_queue_thread();
}

/* ---- records, messages, the configuration ---- */

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

Suite *vhost_user_server_hostile_suite(void)
{
	Suite *s = suite_create("vhost_user_server_hostile");
	TCase *tc = tcase_create("hostile");

	tcase_add_loop_test(tc, a_memory_table_that_can_not_be_ends_the_connection, 0,
			    ARRAY_SIZE(tables));
	tcase_add_loop_test(tc, memory_that_is_cut_short_reads_as_zeroes, 0, 2);
	tcase_add_test(tc, a_memfd_that_can_be_is_sealed_against_that);
	tcase_add_test(tc, there_is_an_end_to_memory_slots);
	tcase_add_loop_test(tc, a_ring_that_can_not_be_ends_the_connection, 0, ARRAY_SIZE(states));
	tcase_add_test(tc, a_ring_lies_in_the_memory_there_is);
	tcase_add_test(tc, descriptors_come_with_the_messages_that_have_some);
	tcase_add_loop_test(
		tc, a_front_end_that_gives_its_own_socket_for_an_eventfd_is_seen_to_leave, 0, 3);
	tcase_add_loop_test(tc, a_front_end_whose_call_blocks_harms_itself_alone, 0, 2);
	tcase_add_test(tc, what_else_blocks_is_not_waited_for_either);
	tcase_add_loop_test(tc, rings_that_are_stopped_together_each_stop_once_or_go_on, 0,
			    4 * ARRAY_SIZE(pairs));
	tcase_add_test(tc, nor_is_its_own_socket_taken_for_a_channel_to_it);
	tcase_add_test(tc, a_record_that_there_is_no_room_for_leaves_no_descriptor);
	tcase_add_test(tc, what_is_no_message_ends_the_connection);
	tcase_add_test(tc, the_configuration_has_an_end);
	tcase_add_loop_test(tc, a_ring_without_a_place_in_the_record_is_refused, 0, 2);
	tcase_add_test(tc, other_flags_of_a_descriptor_are_left_alone);
	suite_add_tcase(s, tc);
	return s;
}
