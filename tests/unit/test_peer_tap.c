// SPDX-License-Identifier: MIT
/*
 * test_peer_tap.c - taps, in a network namespace of each test's own: frames in and out, offloads,
 * several queues, and what is refused.
 */
#include "tests/unit/peer_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FEATURE(name) (1ULL << VIRTIO_NET_F_##name)
#define GUEST_TSO     (FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6))

static struct peer_rig r;
static const char *why_not; /* taps can't be had here */

static void setup(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	why_not = fd < 0 ? "/dev/net/tun can't be opened" : own_network();
	if (fd >= 0)
		close(fd);
	peer_rig_init(&r);
}

static void teardown(void)
{
	peer_rig_free(&r);
}

#define needs_taps()                        \
	do {                                \
		if (why_not)                \
			skip_test(why_not); \
	} while (0)

static int try_tap(const char *name, u32 npairs)
{
	const struct peer_tap_options o = { .name = name, .npairs = npairs };
	struct peer *p = NULL;
	int err = peer_tap_open(&p, &o);

	if (!err)
		peer_rig_begin(&r, p);
	return err;
}

static void begin_tap(const char *name, u32 npairs)
{
	int err = try_tap(name, npairs);

	ck_assert_msg(err == 0, "%s: %d: %s", name, err, said_text());
	expect_silence();
}

/* A tap as somebody else makes it. Returns its fd. */
static int make_tap(const char *name, int flags)
{
	struct ifreq ifr = { .ifr_flags = flags };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	strcpy(ifr.ifr_name, name);
	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

/* One that stays, as by `ip tuntap add`. It goes with the namespace. */
static void make_persistent(const char *name, int flags)
{
	int fd = make_tap(name, IFF_TAP | IFF_NO_PI | flags);

	ck_assert_int_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
}

static int flags_of(const char *name)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcpy(ifr.ifr_name, name);
	ck_assert_int_eq(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	close(fd);
	return ifr.ifr_flags;
}

static void set_flags(const char *name, bool up)
{
	struct ifreq ifr = { .ifr_flags = up ? IFF_UP : 0 };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcpy(ifr.ifr_name, name);
	ck_assert_int_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* The host's side of the interface: all its frames, with a virtio-net header if that is wanted. */
static int host_side(const char *name, bool header)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET,
				    .sll_protocol = htons(ETH_P_ALL),
				    .sll_ifindex = if_nametoindex(name) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL)), yes = header;

	ck_assert_int_ge(fd, 0);
	if (header)
		ck_assert_int_eq(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof(yes)), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

START_TEST(frames_go_both_ways)
{
	u8 frame[1000], seen[2000];
	int fd;

	needs_taps();
	begin_tap("t0", 1);
	ck_assert(flags_of("t0") & IFF_UP);
	ck_assert_uint_eq(r.peer->mtu, 1500);
	fd = host_side("t0", false);

	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
	ck_assert_int_eq(recv(fd, seen, sizeof(seen), 0), sizeof(frame));
	ck_assert_mem_eq(seen, frame, sizeof(frame));

	make_frame(frame, sizeof(frame), 2);
	ck_assert_int_eq(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	peer_rig_expect(&r, 0, frame, sizeof(frame));
	for (u32 i = 0; i < 10; i++)
		ck_assert_uint_eq(r.frame[i], 0); /* the header, but num_buffers */
	peer_rig_expect_none(&r, 0);
	close(fd);
}

START_TEST(only_what_is_wanted_is_told)
{
	struct peer_queue *q;
	u8 frame[64];
	int fd;

	needs_taps();
	begin_tap("t0", 1);
	q = r.peer->queue(r.peer, 0);
	fd = host_side("t0", false);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads + r.writes, 0);
	peer_want(q, PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 1);
	peer_want(q, PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 1);
	ck_assert_uint_eq(r.reads, 1);
	r.quiet = false; /* as long as it is so */
	peer_want(q, PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_gt(r.reads, 2);
	peer_rig_expect(&r, 0, frame, sizeof(frame));
	r.reads = 0;
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0);
	close(fd);
}

START_TEST(what_has_no_room_is_cut_off)
{
	struct iovec iov[2] = { { r.frame, PEER_HDR_LEN }, { r.frame + PEER_HDR_LEN, 20 } };
	u8 frame[100];
	int fd;

	needs_taps();
	begin_tap("t0", 1);
	fd = host_side("t0", false);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(send(fd, frame, sizeof(frame), 0), sizeof(frame));
	ck_assert_int_eq(peer_receive(r.peer->queue(r.peer, 0), iov, 2), PEER_HDR_LEN + 20);
	ck_assert_mem_eq(r.frame + PEER_HDR_LEN, frame, 20);
	peer_rig_expect_none(&r, 0);
	close(fd);
}

START_TEST(what_the_kernel_refuses_is_dropped)
{
	u8 frame[PEER_HDR_LEN + 60] = { [1] = 0x77 }; /* no gso_type */
	struct iovec iov = { frame, sizeof(frame) };

	needs_taps();
	begin_tap("t0", 1);
	ck_assert_int_eq(peer_send(r.peer->queue(r.peer, 0), &iov, 1), 0);
	iov.iov_len = PEER_HDR_LEN + 1; /* no Ethernet header */
	ck_assert_int_eq(peer_send(r.peer->queue(r.peer, 0), &iov, 1), 0);
	set_flags("t0", false);
	ck_assert_int_eq(peer_rig_send(&r, 0, frame, 60), 0);
}

/* A TCP segment of `payload` bytes, to be cut into pieces of 1000. */
static u32 make_big_tcp(u8 *buf, u32 payload)
{
	struct virtio_net_hdr *h = (void *)buf;
	u8 *eth = buf + sizeof(*h);
	struct iphdr *ip = (void *)(eth + 14);
	struct tcphdr *tcp = (void *)(ip + 1);
	u32 sum = 0;

	memset(buf, 0, sizeof(*h) + 54 + payload);
	make_frame(eth, 14, 0);
	eth[12] = 0x08;
	eth[13] = 0x00;
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = htons(40 + payload);
	ip->ttl = 64;
	ip->protocol = IPPROTO_TCP;
	ip->saddr = htonl(0x0a010101);
	ip->daddr = htonl(0x0a010102);
	for (u32 i = 0; i < 10; i++)
		sum += ((u16 *)ip)[i];
	ip->check = ~((sum & 0xffff) + (sum >> 16));
	tcp->source = tcp->dest = htons(80);
	tcp->doff = 5;
	tcp->ack = 1;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	h->gso_size = 1000;
	h->hdr_len = 54;
	h->csum_start = 34;
	h->csum_offset = 16;
	return sizeof(*h) + 54 + payload;
}

START_TEST(what_the_driver_takes_is_left_to_it)
{
	static _Alignas(8) u8 big[70000];
	struct virtio_net_hdr_v1 *h = (void *)r.frame;
	u32 len = make_big_tcp(big, 5000);
	int fd;

	needs_taps();
	begin_tap("t0", 1);
	fd = host_side("t0", true);
	ck_assert_int_eq(peer_set_offloads(r.peer, GUEST_TSO), 0);
	ck_assert_int_eq(send(fd, big, len, 0), len);
	ck_assert_int_eq(peer_rig_receive(&r, 0), PEER_HDR_LEN + 54 + 5000);
	ck_assert_uint_eq(h->gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(h->gso_size, 1000);
	ck_assert_uint_eq(h->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(h->csum_start, 34);

	ck_assert_int_eq(peer_set_offloads(r.peer, FEATURE(GUEST_CSUM)), 0);
	ck_assert_int_eq(send(fd, big, len, 0), len);
	for (u32 i = 0; i < 5; i++) {
		ck_assert_int_eq(peer_rig_receive(&r, 0), PEER_HDR_LEN + 54 + 1000);
		ck_assert_uint_eq(h->gso_type, VIRTIO_NET_HDR_GSO_NONE);
	}
	peer_rig_expect_none(&r, 0);

	ck_assert_int_eq(peer_set_offloads(r.peer, FEATURE(GUEST_TSO4)),
			 0); /* without CSUM: none */
	ck_assert_int_eq(send(fd, big, len, 0), len);
	for (u32 i = 0; i < 5; i++) {
		ck_assert_int_eq(peer_rig_receive(&r, 0), PEER_HDR_LEN + 54 + 1000);
		ck_assert_uint_eq(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
	}
	close(fd);
}

START_TEST(what_the_driver_leaves_to_us_goes_out_as_it_is)
{
	static _Alignas(8) u8 big[70000], seen[70000];
	struct iovec iov[2] = { { r.frame, PEER_HDR_LEN }, { big + 10, 0 } };
	u32 len = make_big_tcp(big, 5000);
	int fd;

	needs_taps();
	begin_tap("t0", 1);
	fd = host_side("t0", true);
	memset(r.frame, 0, PEER_HDR_LEN);
	memcpy(r.frame, big, 10);
	iov[1].iov_len = len - 10;
	ck_assert_int_eq(peer_send(r.peer->queue(r.peer, 0), iov, 2), 0);
	ck_assert_int_eq(recv(fd, seen, sizeof(seen), 0), len);
	ck_assert_mem_eq(seen + 10, big + 10, len - 10);
	ck_assert_uint_eq(((struct virtio_net_hdr *)seen)->gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	close(fd);
}

START_TEST(the_features_are_those_of_the_kernel)
{
	u64 always = GUEST_TSO | FEATURE(GUEST_ECN) | FEATURE(CSUM) | FEATURE(HOST_TSO4) |
		     FEATURE(HOST_TSO6) | FEATURE(HOST_ECN);
	u64 uso = FEATURE(GUEST_USO4) | FEATURE(GUEST_USO6) | FEATURE(HOST_USO);

	needs_taps();
	begin_tap("t0", 1);
	ck_assert_uint_eq(r.peer->features & always, always);
	ck_assert((r.peer->features & uso) == uso || (r.peer->features & uso) == 0);
	ck_assert_uint_eq(r.peer->features & ~(always | uso), 0);
	for (u32 i = 0; i < 64; i++) /* whatever a driver takes of them */
		ck_assert_int_eq(peer_set_offloads(r.peer, r.peer->features & ~(1ULL << i)), 0);
}

/* UDP of 64 flows; the host spreads them by a hash. */
static void send_flows(int fd)
{
	_Alignas(8) u8 aligned[62];
	u8 *frame = aligned + 2; /* so that the IP header is */
	struct iphdr *ip = (void *)(frame + 14);
	struct udphdr *udp = (void *)(ip + 1);

	for (u32 i = 0; i < 64; i++) {
		memset(frame, 0, 60);
		make_frame(frame, 14, 0);
		frame[12] = 0x08;
		frame[13] = 0x00;
		ip->version = 4;
		ip->ihl = 5;
		ip->tot_len = htons(46);
		ip->protocol = IPPROTO_UDP;
		ip->saddr = htonl(0x0a010101 + i);
		ip->daddr = htonl(0x0a010102);
		udp->source = htons(1000 + i);
		udp->dest = htons(9);
		udp->len = htons(26);
		ck_assert_int_eq(send(fd, frame, 60, 0), 60);
	}
}

static u32 count_frames(u32 queue)
{
	u32 n = 0;

	while (peer_rig_receive(&r, queue) > 0)
		n++;
	return n;
}

START_TEST(frames_are_spread_over_the_pairs_that_are_on)
{
	u32 n[4], sum = 0;
	int fd;

	needs_taps();
	begin_tap("t0", 4);
	ck_assert_uint_eq(r.peer->npairs, 4);
	fd = host_side("t0", false);
	send_flows(fd);
	ck_assert_uint_eq(count_frames(0), 64); /* at first one */
	ck_assert_int_eq(peer_set_pairs(r.peer, 4), 0);
	send_flows(fd);
	for (u32 i = 0; i < 4; i++) {
		n[i] = count_frames(i);
		ck_assert_uint_gt(n[i], 0);
		sum += n[i];
	}
	ck_assert_uint_eq(sum, 64);
	ck_assert_int_eq(peer_set_pairs(r.peer, 2), 0);
	send_flows(fd);
	n[0] = count_frames(0);
	ck_assert_uint_gt(n[0], 0);
	ck_assert_uint_eq(n[0] + count_frames(1), 64);
	close(fd);
}

START_TEST(a_pair_that_is_off_is_quiet_and_comes_back)
{
	u8 frame[60];
	int fd;

	needs_taps();
	begin_tap("t0", 2);
	r.quiet = false;
	for (u32 i = 0; i < 2; i++)
		peer_want(r.peer->queue(r.peer, i), PEER_READ | PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_gt(r.writes, 0);
	ck_assert_uint_eq(r.reads, 0);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(peer_rig_send(&r, 1, frame, sizeof(frame)), 0); /* dropped */
	for (u32 i = 0; i < 2; i++)
		peer_want(r.peer->queue(r.peer, i), PEER_READ);
	ck_assert_int_eq(peer_set_pairs(r.peer, 2), 0);
	fd = host_side("t0", false);
	send_flows(fd);
	loop_settle(r.loop);
	ck_assert_uint_gt(r.reads_of[0], 0);
	ck_assert_uint_gt(r.reads_of[1], 0);
	ck_assert_int_eq(peer_set_pairs(r.peer, 1), 0);
	r.reads_of[1] = 0;
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads_of[1], 0);
	close(fd);
}

START_TEST(a_tap_that_we_made_goes_and_one_that_was_there_stays)
{
	needs_taps();
	make_persistent("old", 0);
	set_flags("old", true);
	begin_tap("old", 1);
	peer_rig_free(&r);
	ck_assert_uint_ne(if_nametoindex("old"), 0);
	peer_rig_init(&r);
	begin_tap("new", 2);
	ck_assert_uint_ne(if_nametoindex("new"), 0);
	peer_rig_free(&r);
	ck_assert_uint_eq(if_nametoindex("new"), 0);
	peer_rig_init(&r);
}

START_TEST(a_multi_queue_tap_serves_one_pair_or_several)
{
	needs_taps();
	make_persistent("mq", IFF_MULTI_QUEUE);
	set_flags("mq", true);
	begin_tap("mq", 1);
	peer_rig_free(&r);
	peer_rig_init(&r);
	begin_tap("mq", PEER_PAIRS_MAX);
}

START_TEST(a_tap_that_is_down_is_told)
{
	needs_taps();
	make_persistent("old", 0);
	ck_assert_int_eq(try_tap("old", 1), 0);
	expect_said("ip link set old up");
	ck_assert(!(flags_of("old") & IFF_UP));
}

START_TEST(the_mtu_is_the_interfaces)
{
	struct peer_tap_options o = { .name = "t0", .npairs = 1, .mtu = 9000 };
	struct peer *p;

	needs_taps();
	ck_assert_int_eq(peer_tap_open(&p, &o), 0); /* made: so set */
	ck_assert_uint_eq(p->mtu, 9000);
	peer_destroy(p);
	make_persistent("old", 0);
	set_flags("old", true);
	o.name = "old";
	ck_assert_int_eq(peer_tap_open(&p, &o), -EINVAL);
	expect_said("ip link set old mtu 9000");
	o.mtu = 1400;
	ck_assert_int_eq(peer_tap_open(&p, &o), 0);
	ck_assert_uint_eq(p->mtu, 1500);
	peer_destroy(p);
}

START_TEST(a_deleted_interface_is_told_once_and_spins_nothing)
{
	struct peer_queue *q;
	u8 frame[60];

	needs_taps();
	make_persistent("gone", 0);
	set_flags("gone", true);
	begin_tap("gone", 1);
	r.quiet = false;
	q = r.peer->queue(r.peer, 0);
	peer_want(q, PEER_READ);
	/* As by `ip link del`: the fd outlives its interface. */
	ck_assert_int_eq(system("ip link del gone 2>/dev/null"), 0);
	loop_settle(r.loop);
	expect_said("gone: the interface was deleted");
	r.reads = 0;
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(peer_rig_send(&r, 0, frame, sizeof(frame)), 0);
	peer_rig_expect_none(&r, 0);
	peer_want(q, PEER_READ | PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 0);
	expect_silence();
}

/* ---- refusals ---- */

START_TEST(a_name_that_no_interface_has_is_refused)
{
	ck_assert_int_eq(try_tap("sixteen-letters.", 1), -EINVAL);
	expect_said("has 1 to 15 bytes");
	ck_assert_int_eq(try_tap("", 1), -EINVAL);
	expect_said("has 1 to 15 bytes");
	ck_assert_int_eq(try_tap("a/b", 1), -EINVAL);
	expect_said("no name for an interface");
	ck_assert_int_eq(try_tap("a b", 1), -EINVAL);
	expect_said("no name for an interface");
	ck_assert_int_eq(try_tap("tap%d", 1), -EINVAL);
	expect_said("no name for an interface");
	ck_assert_int_eq(try_tap("..", 1), -EINVAL);
	expect_said("no name for an interface");
}

START_TEST(a_tap_in_use_is_refused)
{
	int fd;

	needs_taps();
	fd = make_tap("busy", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	ck_assert_int_eq(try_tap("busy", 1), -EBUSY);
	expect_said("tap=busy: in use by another program");
	close(fd);
}

START_TEST(several_pairs_need_a_tap_with_several_queues)
{
	needs_taps();
	make_persistent("one", 0);
	ck_assert_int_eq(try_tap("one", 2), -EMLINK);
	expect_said("ip tuntap add one mode tap multi_queue");
	ck_assert_uint_ne(if_nametoindex("one"), 0);
}

START_TEST(another_kind_of_interface_is_refused)
{
	int fd;

	needs_taps();
	ck_assert_int_eq(try_tap("lo", 1), -EINVAL);
	expect_said("tap=lo: an interface of this name exists and is no tap");
	fd = make_tap("tun0", IFF_TUN | IFF_NO_PI);
	ck_assert_int_eq(try_tap("tun0", 1), -EINVAL);
	expect_said("exists and is no tap");
	close(fd);
}

START_TEST(without_privileges_the_way_is_told)
{
	needs_taps();
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	if (access("/dev/net/tun", R_OK | W_OK) < 0) {
		ck_assert_int_eq(try_tap("t0", 1), -EACCES);
		expect_said("/dev/net/tun: Permission denied; run as root");
	} else {
		ck_assert_int_eq(try_tap("t0", 2), -EPERM);
		expect_said("ip tuntap add t0 mode tap multi_queue user $USER");
	}
}

static int try_fd(int fd)
{
	const struct peer_tap_options o = { .fd = { fd }, .npairs = 1 };
	struct peer *p = NULL;
	int err = peer_tap_open(&p, &o);

	if (!err)
		peer_rig_begin(&r, p);
	return err;
}

START_TEST(an_open_tap_is_taken)
{
	u8 frame[60];
	int fd, host;

	needs_taps();
	fd = make_tap("t0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	set_flags("t0", true);
	ck_assert_int_eq(try_fd(fd), 0);
	expect_silence();
	host = host_side("t0", false);
	make_frame(frame, sizeof(frame), 1);
	ck_assert_int_eq(send(host, frame, sizeof(frame), 0), sizeof(frame));
	peer_rig_expect(&r, 0, frame, sizeof(frame));
	peer_rig_expect_none(&r, 0); /* it does not block */
	close(host);
}

/* It is left as it is: a wrong number may be that of a descriptor which the program needs. */
static void refuse_fd(int fd, const char *why)
{
	int flags = fcntl(fd, F_GETFL);

	ck_assert_int_eq(try_fd(fd), -EINVAL);
	expect_said(why);
	ck_assert_int_eq(fcntl(fd, F_GETFL), flags);
	ck_assert_int_eq(close(fd), 0);
}

START_TEST(an_fd_that_is_no_tap_is_refused)
{
	needs_taps();
	ck_assert_int_eq(try_fd(1000), -EBADF);
	expect_said("fd=1000: not an open file descriptor");
	refuse_fd(open("/dev/null", O_RDWR), "not a tap");
	refuse_fd(open("/dev/net/tun", O_RDWR), "not a tap");
	refuse_fd(make_tap("tun0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR), "not a tap");
	refuse_fd(make_tap("t0", IFF_TAP | IFF_NO_PI), "IFF_VNET_HDR");
}

Suite *peer_tap_suite(void)
{
	Suite *s = suite_create("peer_tap");
	TCase *t = tcase_create("traffic");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, frames_go_both_ways);
	tcase_add_test(t, only_what_is_wanted_is_told);
	tcase_add_test(t, what_has_no_room_is_cut_off);
	tcase_add_test(t, what_the_kernel_refuses_is_dropped);
	tcase_add_test(t, what_the_driver_takes_is_left_to_it);
	tcase_add_test(t, what_the_driver_leaves_to_us_goes_out_as_it_is);
	tcase_add_test(t, the_features_are_those_of_the_kernel);
	tcase_add_test(t, frames_are_spread_over_the_pairs_that_are_on);
	tcase_add_test(t, a_pair_that_is_off_is_quiet_and_comes_back);
	tcase_add_test(t, a_deleted_interface_is_told_once_and_spins_nothing);
	suite_add_tcase(s, t);

	t = tcase_create("opening");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_tap_that_we_made_goes_and_one_that_was_there_stays);
	tcase_add_test(t, a_multi_queue_tap_serves_one_pair_or_several);
	tcase_add_test(t, a_tap_that_is_down_is_told);
	tcase_add_test(t, the_mtu_is_the_interfaces);
	tcase_add_test(t, a_name_that_no_interface_has_is_refused);
	tcase_add_test(t, a_tap_in_use_is_refused);
	tcase_add_test(t, several_pairs_need_a_tap_with_several_queues);
	tcase_add_test(t, another_kind_of_interface_is_refused);
	tcase_add_test(t, without_privileges_the_way_is_told);
	tcase_add_test(t, an_open_tap_is_taken);
	tcase_add_test(t, an_fd_that_is_no_tap_is_refused);
	suite_add_tcase(s, t);
	return s;
}
