// SPDX-License-Identifier: MIT
/*
 * test_peer_user.c - user-mode networking: the network that libslirp plays, with hand-made frames on
 * the guest's side and sockets on the loopback on the host's.
 */
#include "tests/unit/peer_rig.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GATEWAY	  0x0a000202
#define DNS	  0x0a000203
#define GUEST	  0x0a00020f
#define ETH	  14
#define ETH_IP	  0x0800
#define ETH_ARP	  0x0806
#define ETH_IP6	  0x86dd
#define ETHER_PAY (r.frame + PEER_HDR_LEN + ETH)

static const u8 guest_mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static struct peer_rig r;
static bool have_library;

static void setup(void)
{
	void *library = dlopen("libslirp.so.0", RTLD_NOW);

	have_library = library;
	peer_rig_init(&r);
}

static void teardown(void)
{
	peer_rig_free(&r);
}

#define needs_library()                                \
	do {                                           \
		if (!have_library)                     \
			skip_test("no libslirp here"); \
	} while (0)

static int try_user(const char *hostfwd, bool restricted)
{
	const struct peer_user_options o = { .hostfwd = &hostfwd,
					     .nhostfwd = hostfwd ? 1 : 0,
					     .restricted = restricted };
	struct peer *p = NULL;
	int err = peer_user_open(&p, &o);

	if (!err)
		peer_rig_begin(&r, p);
	return err;
}

static void begin_user(const char *hostfwd, bool restricted)
{
	int err = try_user(hostfwd, restricted);

	ck_assert_msg(err == 0, "%d: %s", err, said_text());
	expect_silence();
}

/* ---- frames ---- */

static void put16(u8 *p, u32 v)
{
	p[0] = v >> 8;
	p[1] = v;
}

static void put32(u8 *p, u32 v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static u32 get16(const u8 *p)
{
	return p[0] << 8 | p[1];
}

static u32 get32(const u8 *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static u32 add_up(u32 sum, const u8 *p, u32 len)
{
	for (u32 i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	return sum;
}

static u16 fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void make_eth(u8 *f, u32 type)
{
	memset(f, 0xff, 6);
	memcpy(f + 6, guest_mac, 6);
	put16(f + 12, type);
}

/* Returns the length of the frame. */
static u32 make_arp(u8 *f, u32 op, u32 from, u32 to)
{
	memset(f, 0, 60);
	make_eth(f, ETH_ARP);
	put16(f + 14, 1);
	put16(f + 16, ETH_IP);
	put16(f + 18, 6 << 8 | 4);
	put16(f + 20, op);
	memcpy(f + 22, guest_mac, 6);
	put32(f + 28, from);
	put32(f + 38, to);
	return 60;
}

static u32 make_udp(u8 *f, u32 from, u32 sport, u32 to, u32 dport, const void *data, u32 len)
{
	u8 *ip = f + ETH, *udp = ip + 20;

	memset(f, 0, ETH + 28);
	make_eth(f, ETH_IP);
	ip[0] = 0x45;
	put16(ip + 2, 28 + len);
	ip[8] = 64;
	ip[9] = IPPROTO_UDP;
	put32(ip + 12, from);
	put32(ip + 16, to);
	put16(ip + 10, fold(add_up(0, ip, 20)));
	put16(udp, sport);
	put16(udp + 2, dport);
	put16(udp + 4, 8 + len);
	memcpy(udp + 8, data, len);
	return ETH + 28 + len;
}

static void send_frame(const u8 *f, u32 len)
{
	int err = peer_rig_send(&r, 0, f, len);

	for (u32 i = 0; err == -EAGAIN && i < 10000; i++) { /* it will have room */
		poll(NULL, 0, 1);
		err = peer_rig_send(&r, 0, f, len);
	}
	ck_assert_int_eq(err, 0);
}

/* Frames until one of this type comes; it is in r.frame then. Returns its length. */
static u32 wait_for(u32 type)
{
	u32 len;

	do
		len = peer_rig_wait(&r, 0);
	while (get16(r.frame + PEER_HDR_LEN + 12) != type);
	return len;
}

/* The host's answer to a question who it is: what was sent before has been seen by then. */
static void barrier(void)
{
	u8 f[60];

	send_frame(f, make_arp(f, 1, GUEST, GATEWAY));
	do
		wait_for(ETH_ARP);
	while (get16(ETHER_PAY + 6) != 2);
	ck_assert_uint_eq(get32(ETHER_PAY + 14), GATEWAY);
}

/* A socket on the loopback, and its port. */
static int host_socket(int type, u16 *port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static int host_connect(int type, u16 port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* A port that nobody has at the moment. */
static u16 free_port(int type)
{
	u16 port;

	close(host_socket(type, &port));
	return port;
}

/* ---- what it answers ---- */

START_TEST(the_gateway_answers_arp)
{
	needs_library();
	begin_user(NULL, false);
	ck_assert_uint_eq(r.peer->mtu, 1500);
	ck_assert_uint_eq(r.peer->features, 0);
	barrier();
	for (u32 i = 0; i < PEER_HDR_LEN; i++)
		ck_assert_uint_eq(r.frame[i], 0);
	ck_assert_mem_eq(ETHER_PAY + 18, guest_mac, 6);
}

/* The value of option `code` in a DHCP answer, as an address. */
static u32 dhcp_option(const u8 *bootp, const u8 *end, u32 code)
{
	for (const u8 *o = bootp + 240; o < end && *o != 255; o += 2 + o[1]) {
		if (*o == code)
			return o[1] == 1 ? o[2] : get32(o + 2);
	}
	return 0;
}

START_TEST(dhcp_gives_the_address_that_qemu_gives)
{
	u8 bootp[300] = { 1, 1, 6, 0, 1, 2, 3, 4 }, f[400], *b;
	u32 n;

	needs_library();
	begin_user(NULL, false);
	memcpy(bootp + 28, guest_mac, 6);
	put32(bootp + 236, 0x63825363);
	memcpy(bootp + 240, "\065\001\001\377", 4); /* DISCOVER */
	send_frame(f, make_udp(f, 0, 68, 0xffffffff, 67, bootp, sizeof(bootp)));
	do
		n = wait_for(ETH_IP);
	while (get16(ETHER_PAY + 22) != 68);
	b = ETHER_PAY + 28;
	ck_assert_mem_eq(b + 4, bootp + 4, 4);
	ck_assert_uint_eq(get32(b + 16), GUEST);
	ck_assert_uint_eq(dhcp_option(b, r.frame + PEER_HDR_LEN + n, 53), 2); /* OFFER */
	ck_assert_uint_eq(dhcp_option(b, r.frame + PEER_HDR_LEN + n, 1), 0xffffff00);
	ck_assert_uint_eq(dhcp_option(b, r.frame + PEER_HDR_LEN + n, 3), GATEWAY);
	ck_assert_uint_eq(dhcp_option(b, r.frame + PEER_HDR_LEN + n, 6), DNS);
}

START_TEST(an_ipv6_router_answers)
{
	static const u8 all_routers[] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 };
	static const u8 link_local[] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9 };
	u8 f[ETH + 40 + 8] = { 0 }, *ip = f + ETH, *icmp = ip + 40, *o;
	u32 n;

	needs_library();
	begin_user(NULL, false);
	make_eth(f, ETH_IP6);
	ip[0] = 0x60;
	ip[5] = 8;
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 255;
	memcpy(ip + 8, link_local, 16);
	memcpy(ip + 24, all_routers, 16);
	icmp[0] = ND_ROUTER_SOLICIT;
	put16(icmp + 2, fold(add_up(8 + IPPROTO_ICMPV6 + add_up(0, icmp, 8), ip + 8, 32)));
	send_frame(f, sizeof(f));
	do
		n = wait_for(ETH_IP6);
	while (ETHER_PAY[40] != ND_ROUTER_ADVERT);
	for (o = ETHER_PAY + 56; o[0] != ND_OPT_PREFIX_INFORMATION; o += 8 * o[1])
		ck_assert_int_lt(o - ETHER_PAY + ETH, n);
	ck_assert_uint_eq(get32(o + 16), 0xfec00000);
	ck_assert_uint_eq(o[2], 64);
}

/* ---- to the host, and from it ---- */

START_TEST(what_the_guest_sends_to_its_host_arrives_there)
{
	struct pollfd p = { .events = POLLIN };
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	u8 f[100];
	char word[10];
	u16 port;

	needs_library();
	begin_user(NULL, false);
	p.fd = host_socket(SOCK_DGRAM, &port);
	send_frame(f, make_udp(f, GUEST, 5000, GATEWAY, port, "hello", 5));
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	ck_assert_int_eq(recvfrom(p.fd, word, sizeof(word), 0, (void *)&from, &len), 5);
	ck_assert_mem_eq(word, "hello", 5);
	ck_assert_int_eq(sendto(p.fd, "answer", 6, 0, (void *)&from, len), 6);
	for (;;) { /* it asks who has the address first */
		peer_rig_wait(&r, 0);
		if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_ARP)
			send_frame(f, make_arp(f, 2, GUEST, GATEWAY));
		else if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_IP)
			break;
	}
	ck_assert_uint_eq(get16(ETHER_PAY + 20), port);
	ck_assert_uint_eq(get16(ETHER_PAY + 22), 5000);
	ck_assert_mem_eq(ETHER_PAY + 28, "answer", 6);
	close(p.fd);
}

START_TEST(restricted_nothing_leaves)
{
	u8 f[100], c;
	u16 port;
	int fd;

	needs_library();
	begin_user(NULL, true);
	fd = host_socket(SOCK_DGRAM, &port);
	send_frame(f, make_udp(f, GUEST, 5000, GATEWAY, port, "hello", 5));
	barrier();
	ck_assert_int_eq(recv(fd, &c, 1, 0), -1);
	close(fd);
}

/* A connection from the host to the guest begins: wait for its SYN. */
static void expect_syn(u32 port)
{
	u8 f[60];

	for (;;) {
		peer_rig_wait(&r, 0);
		if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_ARP && get32(ETHER_PAY + 24) == GUEST)
			send_frame(f, make_arp(f, 2, GUEST, GATEWAY));
		else if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_IP &&
			 ETHER_PAY[9] == IPPROTO_TCP)
			break;
	}
	ck_assert_uint_eq(get32(ETHER_PAY + 16), GUEST);
	ck_assert_uint_eq(get16(ETHER_PAY + 22), port);
	ck_assert_uint_eq(ETHER_PAY[33] & 0x3f, TH_SYN);
}

static void forward_tcp(bool restricted)
{
	u16 port = free_port(SOCK_STREAM);
	char text[64];
	int fd;

	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-:22", port);
	begin_user(text, restricted);
	fd = host_connect(SOCK_STREAM, port);
	expect_syn(22);
	close(fd);
}

START_TEST(a_forwarded_connection_comes_in)
{
	needs_library();
	forward_tcp(false);
}

START_TEST(a_forwarded_connection_comes_in_though_restricted)
{
	needs_library();
	forward_tcp(true);
}

START_TEST(forwarded_datagrams_come_in)
{
	u16 port = free_port(SOCK_DGRAM);
	char text[64];
	u8 f[60];
	int fd;

	needs_library();
	snprintf(text, sizeof(text), "udp:127.0.0.1:%u-10.0.2.15:53", port);
	begin_user(text, false);
	fd = host_connect(SOCK_DGRAM, port);
	ck_assert_int_eq(send(fd, "query", 5, 0), 5);
	for (;;) {
		peer_rig_wait(&r, 0);
		if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_ARP)
			send_frame(f, make_arp(f, 2, GUEST, GATEWAY));
		else if (get16(r.frame + PEER_HDR_LEN + 12) == ETH_IP)
			break;
	}
	ck_assert_uint_eq(get16(ETHER_PAY + 22), 53);
	ck_assert_mem_eq(ETHER_PAY + 28, "query", 5);
	close(fd);
}

/* ---- back-pressure ---- */

/* Ask and don't listen: at some time no more questions are taken. Returns how many were. */
static u32 ask_until_full(void)
{
	u32 n = 0;
	u8 f[60];

	for (u32 quiet = 0; quiet < 100;) {
		make_arp(f, 1, GUEST, GATEWAY);
		if (peer_rig_send(&r, 0, f, sizeof(f)) == 0) {
			n++;
			quiet = 0;
		} else {
			poll(NULL, 0, 1); /* it may be about to take some */
			quiet++;
		}
	}
	return n;
}

START_TEST(who_does_not_listen_is_not_listened_to_and_nothing_is_lost)
{
	struct peer_queue *q;
	u32 asked, answers = 0;

	needs_library();
	begin_user(NULL, false);
	q = r.peer->queue(r.peer, 0);
	asked = ask_until_full();
	peer_want(q, PEER_WRITE);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.writes, 0);
	peer_want(q, PEER_READ);
	loop_settle(r.loop);
	ck_assert_uint_eq(r.reads, 1);
	while (answers < asked) {
		wait_for(ETH_ARP);
		answers += get16(ETHER_PAY + 6) == 2;
	}
	peer_want(q, PEER_WRITE);
	for (u32 i = 0; i < 10000 && !r.writes; i++) {
		loop_settle(r.loop);
		poll(NULL, 0, 1);
	}
	ck_assert_uint_ge(r.writes, 1);
	barrier();
}

START_TEST(it_can_end_while_it_waits_for_the_guest)
{
	needs_library();
	begin_user(NULL, false);
	ask_until_full();
}

START_TEST(nonsense_is_no_trouble)
{
	u8 f[1500];
	u32 x = 1;

	needs_library();
	begin_user(NULL, false);
	for (u32 i = 0; i < 3000; i++) {
		u32 len = ETH + i % 200, n;
		static const u16 types[] = { ETH_IP, ETH_ARP, ETH_IP6, 0x1234 };

		for (n = 0; n < len; n++)
			f[n] = (x = x * 1664525 + 1013904223) >> 24;
		put16(f + 12, types[i % 4]);
		f[ETH] = i % 4 == 2 ? 0x60 : 0x45;
		peer_rig_send(&r, 0, f, len);
		while (peer_rig_receive(&r, 0) > 0)
			;
	}
	peer_rig_send(&r, 0, f, 5); /* no frame */
	barrier();
}

/* ---- refusals ---- */

START_TEST(a_forward_that_is_none_is_refused)
{
	static const char *const bad[] = {
		"",
		"tcp",
		"tcp:",
		"tcp::22",
		"tcp::22-",
		"tcp:22-22",
		"tcp::22-22",
		"sctp::22-:22",
		":22-:22",
		"tcp::0-:22",
		"tcp::65536-:22",
		"tcp::22-:65536",
		"tcp::22-:0",
		"tcp::-1-:22",
		"tcp:: 22-:22",
		"tcp::22-:22x",
		"tcp:localhost:22-:22",
		"tcp:1.2.3:22-:22",
		"tcp::22-1.2.3.256:22",
		"tcp:1.2.3.4.5.6.7.8.9.10.11.12:22-:22",
		"tcp::99999999999999999999-:22",
	};

	needs_library();
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		ck_assert_msg(try_user(bad[i], false) == -EINVAL, "'%s' is taken", bad[i]);
		expect_said("such as tcp:127.0.0.1:2222-:22");
	}
}

START_TEST(a_port_in_use_is_told)
{
	char text[64];
	u16 port;
	int fd;

	needs_library();
	fd = host_socket(SOCK_STREAM, &port);
	ck_assert_int_eq(listen(fd, 1), 0);
	snprintf(text, sizeof(text), "tcp:127.0.0.1:%u-:22", port);
	ck_assert_int_eq(try_user(text, false), -EADDRINUSE);
	expect_said("Address already in use; choose another port");
	close(fd);
}

Suite *peer_user_suite(void)
{
	Suite *s = suite_create("peer_user");
	TCase *t = tcase_create("user");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, the_gateway_answers_arp);
	tcase_add_test(t, dhcp_gives_the_address_that_qemu_gives);
	tcase_add_test(t, an_ipv6_router_answers);
	tcase_add_test(t, what_the_guest_sends_to_its_host_arrives_there);
	tcase_add_test(t, restricted_nothing_leaves);
	tcase_add_test(t, a_forwarded_connection_comes_in);
	tcase_add_test(t, a_forwarded_connection_comes_in_though_restricted);
	tcase_add_test(t, forwarded_datagrams_come_in);
	tcase_add_test(t, who_does_not_listen_is_not_listened_to_and_nothing_is_lost);
	tcase_add_test(t, it_can_end_while_it_waits_for_the_guest);
	tcase_add_test(t, nonsense_is_no_trouble);
	tcase_add_test(t, a_forward_that_is_none_is_refused);
	tcase_add_test(t, a_port_in_use_is_told);
	suite_add_tcase(s, t);
	return s;
}
