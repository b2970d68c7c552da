// SPDX-License-Identifier: MIT
/*
 * test_net_ctrl.c - the network device's control queue: every command, right and wrong, and what comes of
 * it for the frames. Over both ring formats (the suite's loop variable). Pairs of queues, link and
 * announcements: test_net_link.c.
 */
#include "tests/unit/net_rig.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG(f) offsetof(struct virtio_net_config, f)
#define FORMAT(i) ((i)*VDRV_BUSES)
#define OK	  VIRTIO_NET_OK
#define ERR	  VIRTIO_NET_ERR

#define COMMAND(class, command, data, len) \
	net_command(&n, VIRTIO_NET_CTRL_##class, VIRTIO_NET_CTRL_##class##_##command, data, len)

#define UNI	  "\x02\x00\x00\x00\x00\x01"
#define UNI2	  "\x02\x00\x00\x00\x00\x02"
#define MULTI	  "\x01\x00\x5e\x00\x00\x01"
#define MULTI2	  "\x01\x00\x5e\x00\x00\x02"
#define BROADCAST "\xff\xff\xff\xff\xff\xff"

static struct net_rig n;

static void start(int i, u64 features)
{
	net_rig_start(&n, FORMAT(i), features);
	for (u32 k = 0; k < 8; k++)
		net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
}

/* Is a frame for `mac`, with a tag if `vlan` >= 0, let through? */
static bool passes_tagged(const char *mac, int vlan)
{
	struct virtio_net_stats before = net_stats(&n, NET_RX), now;
	u8 frame[64];
	int len;

	memcpy(frame, net_frame(1, 64), 64);
	memcpy(frame, mac, 6);
	if (vlan >= 0) {
		memcpy(frame + 12, "\x81\x00", 2);
		frame[14] = 0xe0 | vlan >> 8; /* and a priority */
		frame[15] = vlan;
	}
	fake_peer_put(n.peer, 0, NULL, frame, 64);
	vdrv_settle(&n.d);
	len = net_received(&n, NET_RX);
	now = net_stats(&n, NET_RX);
	ck_assert_uint_eq(now.filtered - before.filtered, len < 0);
	if (len < 0)
		return false;
	ck_assert_mem_eq(n.got, frame, 64);
	net_post(&n, NET_RX, 2000);
	return true;
}

static bool passes(const char *mac)
{
	return passes_tagged(mac, -1);
}

static u8 mode(u8 command, u8 on)
{
	return net_command(&n, VIRTIO_NET_CTRL_RX, command, &on, 1);
}

/* Both tables, out of `nuni` and `nmulti` addresses, as the driver says them to be. */
static u32 table(u8 *to, u32 nuni, const char *uni, u32 nmulti, const char *multi)
{
	u32 len = 0;

	memcpy(to, &nuni, 4);
	len = 4;
	for (u32 k = 0; k < nuni; k++, len += 6) {
		memcpy(to + len, uni, 6);
		to[len + 5] += k;
		to[len + 4] += k >> 8;
	}
	memcpy(to + len, &nmulti, 4);
	len += 4;
	for (u32 k = 0; k < nmulti; k++, len += 6) {
		memcpy(to + len, multi, 6);
		to[len + 5] += k;
		to[len + 4] += k >> 8;
	}
	return len;
}

static u8 set_table(u32 nuni, const char *uni, u32 nmulti, const char *multi)
{
	static u8 data[8192];

	return COMMAND(MAC, TABLE_SET, data, table(data, nuni, uni, nmulti, multi));
}

/* ---- receive filtering ---- */

START_TEST(at_first_all_frames_pass)
{
	start(_i, NET_ALL);
	ck_assert(passes(NET_MAC) && passes(UNI) && passes(MULTI) && passes(BROADCAST));
	ck_assert(passes_tagged(UNI, 7) && passes_tagged(NET_MAC, 4095));
	net_rig_free(&n);
}

START_TEST(without_promiscuous_mode_only_our_frames_pass)
{
	start(_i, NET_ALL);
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	ck_assert(passes(NET_MAC) && passes(BROADCAST));
	ck_assert(!passes(UNI) && !passes(MULTI));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0x80), OK); /* "non-zero" */
	ck_assert(passes(UNI) && passes(MULTI));
	net_rig_free(&n);
}

START_TEST(each_mode_does_what_it_says)
{
	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
	ck_assert(passes(MULTI) && !passes(UNI) && passes(NET_MAC));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1), OK);
	ck_assert(!passes(MULTI) && passes(BROADCAST));
	mode(VIRTIO_NET_CTRL_RX_NOMULTI, 0);
	mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 0);

	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), OK);
	ck_assert(passes(UNI) && !passes(MULTI));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOUNI, 1), OK);
	ck_assert(!passes(UNI) && !passes(NET_MAC) && passes(BROADCAST));
	mode(VIRTIO_NET_CTRL_RX_NOUNI, 0);

	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), OK);
	ck_assert(!passes(BROADCAST) && passes(NET_MAC));
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, 0);
	ck_assert(passes(BROADCAST));
	net_rig_free(&n);
}

START_TEST(the_tables_let_their_addresses_pass)
{
	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(set_table(1, UNI, 1, MULTI), OK);
	ck_assert(passes(UNI) && passes(MULTI) && passes(NET_MAC));
	ck_assert(!passes(UNI2) && !passes(MULTI2));
	ck_assert_uint_eq(set_table(2, UNI, 0, MULTI), OK);
	ck_assert(passes(UNI) && passes(UNI2) && !passes(MULTI));
	ck_assert_uint_eq(set_table(0, UNI, 2, MULTI), OK);
	ck_assert(!passes(UNI) && passes(MULTI) && passes(MULTI2));
	ck_assert_uint_eq(set_table(0, UNI, 0, MULTI), OK);
	ck_assert(!passes(UNI) && !passes(MULTI) && passes(NET_MAC));
	net_rig_free(&n);
}

/* As if the mode were allmulti, or alluni: the driver is to look itself. */
START_TEST(a_table_that_is_too_long_lets_all_pass)
{
	const char *last = "\x02\x00\x00\x00\x00\x40";

	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(set_table(NET_MACS_MAX, UNI, 0, MULTI), OK);
	ck_assert(passes(last) && !passes("\x02\x00\x00\x00\x00\x41"));
	ck_assert_uint_eq(set_table(NET_MACS_MAX + 1, UNI, 0, MULTI), OK);
	ck_assert(passes("\x22\x33\x44\x55\x66\x77") && !passes(MULTI));
	ck_assert_uint_eq(set_table(1, UNI, 600, MULTI), OK);
	ck_assert(passes("\x33\x33\x44\x55\x66\x77") && passes(UNI) && !passes(UNI2));
	ck_assert_uint_eq(set_table(0, UNI, 0, MULTI), OK);
	ck_assert(!passes(UNI) && !passes(MULTI));
	net_rig_free(&n);
}

START_TEST(a_table_that_is_not_whole_changes_nothing)
{
	static u8 data[1000];
	u32 len = table(data, 2, UNI, 3, MULTI), huge[] = { 1000, 0x2aaaaaab, 0x80000000, ~0u };

	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(set_table(1, UNI, 1, MULTI), OK);
	for (u32 k = 0; k < len; k++)
		ck_assert_uint_eq(COMMAND(MAC, TABLE_SET, data, k), ERR);
	ck_assert_uint_eq(COMMAND(MAC, TABLE_SET, data, len + 1), ERR);
	for (u32 k = 0; k < ARRAY_SIZE(huge); k++) {
		table(data, 2, UNI, 3, MULTI);
		memcpy(data + 4 + 12, &huge[k], 4); /* multicast */
		ck_assert_uint_eq(COMMAND(MAC, TABLE_SET, data, len), ERR);
		memcpy(data, &huge[k], 4);
		ck_assert_uint_eq(COMMAND(MAC, TABLE_SET, data, len), ERR);
	}
	/* 6 * 0x2aaaaaab is 2, modulo 2^32 */
	memcpy(data, "\xab\xaa\xaa\x2a\0\0\0\0\0\0", 10);
	ck_assert_uint_eq(COMMAND(MAC, TABLE_SET, data, 10), ERR);
	ck_assert(passes(UNI) && passes(MULTI) && !passes(UNI2) && !passes(MULTI2));
	net_rig_free(&n);
}

START_TEST(the_address_can_be_changed)
{
	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(COMMAND(MAC, ADDR_SET, MULTI, 6), ERR);
	ck_assert_uint_eq(COMMAND(MAC, ADDR_SET, UNI, 5), ERR);
	ck_assert_uint_eq(COMMAND(MAC, ADDR_SET, UNI, 6), OK);
	ck_assert(passes(UNI) && !passes(NET_MAC));
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac), 4), 0x00000002);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac) + 4, 2), 0x0100);
	vdrv_reset(&n.d);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac), 4), 0x12005452);
	net_rig_free(&n);
}

START_TEST(vlans_are_filtered)
{
	u16 id;

	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert(passes(NET_MAC) && !passes_tagged(NET_MAC, 0) && !passes_tagged(NET_MAC, 100));
	for (id = 0; id < 4096; id += 315)
		ck_assert_uint_eq(COMMAND(VLAN, ADD, &id, 2), OK);
	id = 630;
	ck_assert_uint_eq(COMMAND(VLAN, DEL, &id, 2), OK);
	ck_assert_uint_eq(COMMAND(VLAN, DEL, &id, 2), OK);
	for (int k = 0; k < 4096; k += 105)
		ck_assert_int_eq(passes_tagged(NET_MAC, k), k % 315 == 0 && k != 630);
	ck_assert(!passes_tagged(UNI, 315));
	id = 4096;
	ck_assert_uint_eq(COMMAND(VLAN, ADD, &id, 2), ERR);
	ck_assert_uint_eq(COMMAND(VLAN, DEL, &id, 2), ERR);
	ck_assert_uint_eq(COMMAND(VLAN, ADD, &id, 1), ERR);
	ck_assert_uint_eq(net_command(&n, VIRTIO_NET_CTRL_VLAN, 2, &id, 2), ERR);
	net_rig_free(&n);
}

/* One that reaches beyond the buffers at hand, too. */
START_TEST(a_long_frame_is_filtered)
{
	static u8 frame[5000];

	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	fake_peer_put(n.peer, 0, NULL, net_frame(1, 13000), 13000);
	memcpy(frame, net_frame(2, 5000), 5000);
	memcpy(frame, UNI, 6);
	fake_peer_put(n.peer, 0, NULL, frame, 5000);
	fake_peer_put(n.peer, 0, NULL, net_frame(3, 60), 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 13000);
	net_expect(&n, NET_RX, 3, 60);
	ck_assert_uint_eq(net_stats(&n, NET_RX).filtered, 1);
	net_rig_free(&n);
}

START_TEST(without_vlan_filtering_all_tags_pass)
{
	start(_i, NET_ALL & ~NET_F(CTRL_VLAN));
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert(passes_tagged(NET_MAC, 0) && passes_tagged(NET_MAC, 77));
	net_rig_free(&n);
}

START_TEST(a_reset_makes_the_filter_new)
{
	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	ck_assert(!passes(BROADCAST));
	vdrv_start(&n.d, NET_ALL);
	for (u32 k = 0; k < 8; k++)
		net_post(&n, NET_RX, 2000);
	ck_assert(passes(BROADCAST) && passes(UNI));
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert(passes(BROADCAST) && !passes(UNI));
	net_rig_free(&n);
}

/* ---- other commands ---- */

START_TEST(offloads_are_set)
{
	static const u64 bad[] = {
		NET_F(CSUM),
		NET_F(GUEST_CSUM) | NET_F(GUEST_USO4), /* not negotiated */
		NET_F(GUEST_TSO4),		       /* without its checksums */
		NET_F(GUEST_CSUM) | NET_F(GUEST_ECN),
		NET_F(GUEST_CSUM) | 1ULL << 63,
		~0ULL,
	};
	struct virtio_net_hdr_v1 gso = { .flags = 1, .gso_type = 1, .gso_size = 100 };
	u64 all = NET_GUEST_OFFLOADS & ~NET_F(GUEST_USO4), on;

	start(_i, NET_ALL & ~NET_F(GUEST_USO4));
	ck_assert_uint_eq(fake_peer_offloads(n.peer), all);
	for (u32 k = 0; k < ARRAY_SIZE(bad); k++)
		ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &bad[k], 8), ERR);
	on = NET_F(GUEST_CSUM);
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &on, 7), ERR);
	ck_assert_uint_eq(net_command(&n, 5, 1, &on, 8), ERR);
	fake_peer_fail(n.peer, -22);
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &on, 8), ERR);
	fake_peer_fail(n.peer, 0);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), all);
	fake_peer_put(n.peer, 0, &gso, net_frame(1, 200), 200);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 200);

	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &on, 8), OK);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), on);
	fake_peer_put(n.peer, 0, &gso, net_frame(2, 200), 200); /* was on its way */
	net_expect_nothing(&n, NET_RX);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 1);
	on = 0;
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &on, 8), OK);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), 0);
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &all, 8), OK);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), all);
	net_rig_free(&n);
}

START_TEST(a_frame_that_waits_is_dropped_if_its_offload_goes)
{
	struct virtio_net_hdr_v1 gso = { .flags = 1, .gso_type = 1, .gso_size = 100 };
	u64 none = 0;

	start(_i, NET_ALL);
	fake_peer_put(n.peer, 0, NULL, net_frame(1, 13000), 13000);
	fake_peer_put(n.peer, 0, &gso, net_frame(2, 5000), 5000); /* there is one buffer left */
	fake_peer_put(n.peer, 0, NULL, net_frame(3, 60), 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 13000);
	net_expect_nothing(&n, NET_RX);
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &none, 8), OK);
	for (u32 k = 0; k < 3; k++)
		net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 3, 60);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 1);
	net_rig_free(&n);
}

START_TEST(what_was_not_negotiated_is_an_error)
{
	u64 zero = 0;

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 2;
	net_rig_plug(&n);
	vdrv_start(&n.d, VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | NET_F(CTRL_VQ) |
				 VIRTIO_FEATURE(VIRTIO_F_RING_PACKED));
	for (u8 k = 0; k < 8; k++)
		ck_assert_uint_eq(mode(k, 0), ERR);
	ck_assert_uint_eq(set_table(0, UNI, 0, MULTI), ERR);
	ck_assert_uint_eq(COMMAND(MAC, ADDR_SET, UNI, 6), ERR);
	ck_assert_uint_eq(COMMAND(VLAN, ADD, &zero, 2), ERR);
	ck_assert_uint_eq(COMMAND(ANNOUNCE, ACK, NULL, 0), ERR);
	ck_assert_uint_eq(COMMAND(MQ, VQ_PAIRS_SET, "\x01", 2), ERR);
	ck_assert_uint_eq(COMMAND(GUEST_OFFLOADS, SET, &zero, 8), ERR);
	vdrv_start(&n.d, NET_ALL & ~NET_F(CTRL_RX_EXTRA) & ~NET_F(MQ));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 0), OK);
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLUNI, 0), ERR);
	net_rig_free(&n);
}

/* ---- hostile commands ---- */

START_TEST(unknown_commands_are_an_error)
{
	static u8 data[64];

	start(_i, NET_ALL);
	for (u32 class = 0; class < 256; class += class < 8 ? 1 : 31) {
		for (u32 command = class < 6 ? 6 : 0; command < 256;
		     command += command < 10 ? 1 : 41)
			ck_assert_uint_eq(net_command(&n, class, command, data, class % 5 * 16),
					  ERR);
	}
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	net_rig_free(&n);
}

START_TEST(a_command_may_lie_in_any_pieces)
{
	static u8 data[200];
	u32 len = table(data, 2, UNI, 3, MULTI);

	start(_i, NET_ALL);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	for (u32 piece = 1; piece < 12; piece++) {
		ck_assert_uint_eq(net_command_on(&n, NET_CTRL, VIRTIO_NET_CTRL_MAC,
						 VIRTIO_NET_CTRL_MAC_TABLE_SET, data, len, piece),
				  OK);
		ck_assert(passes(UNI2) && passes(MULTI2));
		ck_assert_uint_eq(set_table(0, UNI, 0, MULTI), OK);
		ck_assert(!passes(UNI2) && !passes(MULTI2));
	}
	net_rig_free(&n);
}

/* What the device may write is one byte, the first, whatever room there is. */
START_TEST(the_answer_is_one_byte)
{
	struct ring_buf buf[3];
	u8 *p;

	start(_i, NET_ALL);
	buf[0] = (struct ring_buf){ vdrv_alloc(&n.d, 3), 3 };
	buf[1] = (struct ring_buf){ vdrv_alloc(&n.d, 16), 16 };
	buf[2] = (struct ring_buf){ vdrv_alloc(&n.d, 16), 16 };
	p = vdrv_ptr(&n.d, buf[1].gpa, 16);
	memset(p, 0xcc, 16);
	ck_assert_uint_eq(vdrv_request(&n.d, NET_CTRL, buf, 1, 2), 1);
	ck_assert(p[0] == OK && p[1] == 0xcc);
	net_rig_free(&n);
}

START_TEST(a_chain_that_is_no_command_breaks_the_device)
{
	struct ring_buf buf[2];

	for (u32 k = 0; k < 3; k++) {
		start(_i, NET_ALL);
		buf[0] = (struct ring_buf){ vdrv_alloc(&n.d, 8), k ? 8 : 1 };
		buf[1] = (struct ring_buf){ vdrv_alloc(&n.d, 1), 1 };
		/* half a class; nowhere to answer; nothing to read */
		vdrv_submit(&n.d, NET_CTRL, buf, k != 2, k != 1);
		vdrv_settle(&n.d);
		ck_assert(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		expect_said("a control command without class or answer");
		said_forget();
		fake_peer_put(n.peer, 0, NULL, net_frame(1, 60), 60);
		vdrv_settle(&n.d);
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
		vdrv_start(&n.d, NET_ALL);
		ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
		net_rig_free(&n);
	}
}

START_TEST(a_turn_of_commands_is_bounded)
{
	struct ring_buf buf[2];
	u8 *ack[60];
	u32 done = 0;

	start(_i, NET_ALL);
	buf[0] = (struct ring_buf){ vdrv_alloc(&n.d, 3), 3 };
	for (u32 k = 0; k < 30; k++) {
		buf[1] = (struct ring_buf){ vdrv_alloc(&n.d, 1), 1 };
		ack[k] = vdrv_ptr(&n.d, buf[1].gpa, 1);
		*ack[k] = 0xee;
		ck_assert_int_ge(ring_add(&n.d.q[NET_CTRL].ring, buf, 1, 1, false), 0);
	}
	for (u32 k = 30; k < 60; k++) {
		buf[1] = (struct ring_buf){ vdrv_alloc(&n.d, 1), 1 };
		ack[k] = vdrv_ptr(&n.d, buf[1].gpa, 1);
		*ack[k] = 0xee;
		if (n.d.q[NET_CTRL].ring.cfg.indirect)
			ck_assert_int_ge(ring_add(&n.d.q[NET_CTRL].ring, buf, 1, 1, true),
					 k < 34 ? 0 : -28);
	}
	ring_publish(&n.d.q[NET_CTRL].ring);
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_CTRL]);
	for (u32 k = 0; k < 60; k++)
		done += *ack[k] == OK;
	ck_assert_uint_eq(done, 32);
	vdrv_settle(&n.d);
	for (u32 k = 32; k < 34; k++)
		ck_assert_uint_eq(*ack[k], OK);
	net_rig_free(&n);
}

/* ---- the filter by itself ---- */

START_TEST(a_short_frame_is_not_read_beyond_its_end)
{
	struct net_filter f;
	u8 *frame = malloc(14);

	memcpy(frame, NET_MAC "\x02\x00\x00\x00\x00\x01\x81\x00", 14);
	net_filter_reset(&f, (const u8 *)NET_MAC);
	f.promisc = f.any_vlan = false;
	ck_assert(net_filter_accepts(&f, frame, 14)); /* no room for a tag */
	net_filter_set_vlan(&f, 4095, true);
	ck_assert_uint_eq(f.vlan[63], 1ULL << 63);
	net_filter_set_vlan(&f, 4095, false);
	ck_assert_uint_eq(f.vlan[63], 0);
	free(frame);
}

#define TEST(name) tcase_add_loop_test(t, name, 0, 2)

Suite *net_ctrl_suite(void)
{
	Suite *su = suite_create("net_ctrl");
	TCase *t = tcase_create("filter");

	tcase_set_timeout(t, 60);
	TEST(at_first_all_frames_pass);
	TEST(without_promiscuous_mode_only_our_frames_pass);
	TEST(each_mode_does_what_it_says);
	TEST(the_tables_let_their_addresses_pass);
	TEST(a_table_that_is_too_long_lets_all_pass);
	TEST(a_table_that_is_not_whole_changes_nothing);
	TEST(the_address_can_be_changed);
	TEST(vlans_are_filtered);
	TEST(a_long_frame_is_filtered);
	TEST(without_vlan_filtering_all_tags_pass);
	TEST(a_reset_makes_the_filter_new);
	tcase_add_test(t, a_short_frame_is_not_read_beyond_its_end);
	suite_add_tcase(su, t);

	t = tcase_create("commands");
	tcase_set_timeout(t, 60);
	TEST(offloads_are_set);
	TEST(a_frame_that_waits_is_dropped_if_its_offload_goes);
	TEST(what_was_not_negotiated_is_an_error);
	TEST(unknown_commands_are_an_error);
	TEST(a_command_may_lie_in_any_pieces);
	TEST(the_answer_is_one_byte);
	TEST(a_chain_that_is_no_command_breaks_the_device);
	TEST(a_turn_of_commands_is_bounded);
	suite_add_tcase(su, t);
	return su;
}
