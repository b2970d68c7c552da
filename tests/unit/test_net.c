// SPDX-License-Identifier: MIT
/*
 * test_net.c - the network device: what it offers, frames from the driver, and its loops; over both ring
 * formats (the suite's loop variable, unless it says more). Frames to the driver are test_net_rx.c's, the
 * control queue test_net_ctrl.c's; what all virtio devices have in common, test_conformance.c's.
 */
#include "tests/unit/conformance.h"
#include "tests/unit/net_rig.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG(f)    offsetof(struct virtio_net_config, f)
#define NEEDS_CSUM   VIRTIO_NET_HDR_F_NEEDS_CSUM
#define GSO(type)    VIRTIO_NET_HDR_GSO_##type
#define FORMAT(i)    ((i)*VDRV_BUSES) /* split or packed, on PCI with MSI-X */
#define NO_GUEST_GSO (NET_ALL & ~NET_GUEST_GSO & ~NET_F(GUEST_ECN))
#define NO_MRG	     (NET_ALL & ~NET_F(MRG_RXBUF))

static struct net_rig n;

static bool broken(void)
{
	return vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* Frame `number` for the driver to receive. */
static void put(u32 number, u32 len)
{
	fake_peer_put(n.peer, 0, NULL, net_frame(number, len), len);
}

static void send_plain(u32 number, u32 len)
{
	net_send(&n, NET_TX, NULL, net_frame(number, len), len, 0);
}

/* ---- what it is ---- */

START_TEST(the_configuration_describes_the_device)
{
	u64 offered;

	net_rig_init(&n, _i);
	n.o.mtu = 9000;
	n.o.speed = 10000;
	n.o.duplex = 1;
	net_rig_plug(&n);
	offered = vdrv_offered(&n.d);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac), 4), 0x12005452);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac) + 4, 2), 0x5634);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(status), 2), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(max_virtqueue_pairs), 2), 1);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mtu), 2), 9000);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(speed), 4), 10000);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(duplex), 1), 1);
	vdrv_set_config(&n.d, CONFIG(mac), 4, 0); /* 5.1.4: "read-only for a driver" */
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac), 4), 0x12005452);
	ck_assert(offered & NET_F(MTU) && offered & NET_F(CTRL_MAC_ADDR));
	ck_assert(!(offered & NET_F(MQ)));
	ck_assert_uint_eq(offered & NET_HOST_OFFLOADS, NET_HOST_OFFLOADS);
	ck_assert_uint_eq(offered & NET_GUEST_OFFLOADS, NET_GUEST_OFFLOADS);
	net_rig_free(&n);
}

START_TEST(no_more_is_offered_than_the_peer_can_do)
{
	static const struct {
		u64 peer, off, offered;
	} t[] = {
		{ 0, 0, 0 },
		{ NET_F(CSUM) | NET_F(HOST_TSO4), 0, NET_F(CSUM) | NET_F(HOST_TSO4) },
		/* 2.2.1: none without what it requires */
		{ NET_F(HOST_TSO4) | NET_F(HOST_ECN) | NET_F(GUEST_CSUM), 0, NET_F(GUEST_CSUM) },
		{ NET_GUEST_OFFLOADS, NET_F(GUEST_CSUM), 0 },
		{ NET_GUEST_OFFLOADS, NET_F(GUEST_TSO4) | NET_F(GUEST_TSO6),
		  NET_F(GUEST_CSUM) | NET_F(GUEST_USO4) | NET_F(GUEST_USO6) },
	};

	for (u32 k = 0; k < ARRAY_SIZE(t); k++) {
		net_rig_init(&n, FORMAT(_i));
		n.peer_features = t[k].peer;
		n.o.features_off = t[k].off;
		net_rig_plug(&n);
		ck_assert_uint_eq(vdrv_offered(&n.d) & (NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS),
				  t[k].offered);
		net_rig_free(&n);
	}
}

START_TEST(without_a_control_queue_there_are_none_of_its_features)
{
	net_rig_init(&n, FORMAT(_i));
	n.o.features_off = NET_F(CTRL_VQ);
	net_rig_plug(&n);
	ck_assert_uint_eq(vdrv_offered(&n.d) &
				  (NET_F(CTRL_RX) | NET_F(CTRL_VLAN) | NET_F(CTRL_MAC_ADDR) |
				   NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_GUEST_OFFLOADS) |
				   NET_F(GUEST_ANNOUNCE) | NET_F(MQ)),
			  0);
	ck_assert_uint_eq(vdrv_queue_max(&n.d, NET_CTRL), 0);
	net_rig_free(&n);
}

START_TEST(a_feature_without_what_it_requires_is_refused)
{
	static const struct {
		u64 feature, needs;
	} t[] = {
		{ NET_F(GUEST_TSO4), NET_F(GUEST_CSUM) },
		{ NET_F(GUEST_TSO6), NET_F(GUEST_CSUM) },
		{ NET_F(GUEST_USO4), NET_F(GUEST_CSUM) },
		{ NET_F(GUEST_USO6), NET_F(GUEST_CSUM) },
		{ NET_F(GUEST_ECN), NET_F(GUEST_CSUM) | NET_F(GUEST_TSO6) },
		{ NET_F(HOST_TSO4), NET_F(CSUM) },
		{ NET_F(HOST_TSO6), NET_F(CSUM) },
		{ NET_F(HOST_USO), NET_F(CSUM) },
		{ NET_F(HOST_ECN), NET_F(CSUM) | NET_F(HOST_TSO4) },
		{ NET_F(CTRL_RX), NET_F(CTRL_VQ) },
		{ NET_F(CTRL_VLAN), NET_F(CTRL_VQ) },
		{ NET_F(GUEST_ANNOUNCE), NET_F(CTRL_VQ) },
		{ NET_F(MQ), NET_F(CTRL_VQ) },
		{ NET_F(CTRL_MAC_ADDR), NET_F(CTRL_VQ) },
	};
	u64 base = VIRTIO_FEATURE(VIRTIO_F_VERSION_1);

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 2;
	net_rig_plug(&n);
	for (u32 k = 0; k < ARRAY_SIZE(t); k++) {
		vdrv_reset(&n.d);
		ck_assert(!vdrv_negotiate(&n.d, base | t[k].feature));
		vdrv_reset(&n.d);
		ck_assert(vdrv_negotiate(&n.d, base | t[k].feature | t[k].needs));
		ck_assert_uint_eq(n.d.features & t[k].feature, t[k].feature);
	}
	net_rig_free(&n);
}

/* ---- transmitting ---- */

START_TEST(frames_are_sent_whatever_their_framing)
{
	net_rig_start(&n, _i, NET_ALL);
	for (u32 k = 0; k < 300; k++) {
		u32 len = k % 3 ? 14 + k * 5 : PEER_FRAME_MAX - PEER_HDR_LEN - k;

		net_send(&n, NET_TX, NULL, net_frame(k, len), len, k);
		vdrv_settle(&n.d);
		net_expect_sent(&n, 0, NULL, k, len);
		ck_assert_uint_eq(net_sent(&n, NET_TX), 1);
		if (k % 16 == 15) /* memory that was given is not taken back */
			n.d.next = 16 * MIB;
	}
	ck_assert_uint_eq(net_stats(&n, NET_TX).frames, 300);
	ck_assert_uint_eq(net_stats(&n, NET_TX).dropped, 0);
	net_rig_free(&n);
}

START_TEST(a_frame_of_more_segments_than_a_peer_takes_is_sent)
{
	static struct ring_buf buf[1500];
	u64 gpa;
	u8 *p;

	net_rig_init(&n, FORMAT(_i));
	n.d.options.queue_size = 2048;
	n.o.antispoof = true;
	net_rig_plug(&n);
	vdrv_reset(&n.d);
	ck_assert(vdrv_negotiate(&n.d, NET_ALL & ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)));
	vdrv_queue_up(&n.d, NET_TX, 2048);
	vdrv_driver_ok(&n.d);
	for (u32 len = 980; len <= 1500; len += 4) {
		gpa = vdrv_alloc(&n.d, len);
		p = vdrv_ptr(&n.d, gpa, len);
		memcpy(p + PEER_HDR_LEN, net_frame(len, len - PEER_HDR_LEN), len - PEER_HDR_LEN);
		for (u32 k = 0; k < len; k++)
			buf[k] = (struct ring_buf){ gpa + k, 1 };
		vdrv_request(&n.d, NET_TX, buf, len, 0);
		net_expect_sent(&n, 0, NULL, len, len - PEER_HDR_LEN);
	}
	net_rig_free(&n);
}

/* A header, and what the peer sees of it. All features are negotiated but `without`; the frame is of 100
 * bytes. */
static const struct {
	u64 without;
	struct virtio_net_hdr_v1 in;
	bool sent;
	struct virtio_net_hdr_v1 out;
} headers[] = {
	/* flags, gso_type, hdr_len, gso_size, {{csum_start, csum_offset}}, num_buffers */
	{ 0, { 0, 0, 0, 0, { { 0, 0 } }, 0 }, true, { 0, 0, 0, 0, { { 0, 0 } }, 0 } },
	{ 0, { 0, 0, 9, 8, { { 7, 6 } }, 5 }, true, { 0, 0, 0, 0, { { 0, 0 } }, 0 } },
	{ 0, { 0xfe, 0, 0, 0, { { 7, 6 } }, 5 }, true, { 0, 0, 0, 0, { { 0, 0 } }, 0 } },
	{ 0, { 1, 0, 0, 0, { { 34, 16 } }, 0 }, true, { 1, 0, 0, 0, { { 34, 16 } }, 0 } },
	{ 0, { 0xff, 0, 4, 4, { { 34, 16 } }, 9 }, true, { 1, 0, 0, 0, { { 34, 16 } }, 0 } },
	{ 0, { 1, 0, 0, 0, { { 82, 16 } }, 0 }, true, { 1, 0, 0, 0, { { 82, 16 } }, 0 } },
	{ 0, { 1, 0, 0, 0, { { 83, 16 } }, 0 }, false, { 0 } },
	{ 0, { 1, 0, 0, 0, { { 0xffff, 0xffff } }, 0 }, false, { 0 } },
	{ 0, { 1, 0, 0, 0, { { 0xffff, 1 } }, 0 }, false, { 0 } },
	{ NET_F(CSUM), { 1, 0, 0, 0, { { 34, 16 } }, 0 }, false, { 0 } },
	{ 0, { 1, 1, 54, 40, { { 34, 16 } }, 0 }, true, { 1, 1, 54, 40, { { 34, 16 } }, 0 } },
	{ 0, { 1, 1, 9999, 40, { { 34, 16 } }, 0 }, true, { 1, 1, 100, 40, { { 34, 16 } }, 0 } },
	{ 0, { 1, 1, 54, 0, { { 34, 16 } }, 0 }, false, { 0 } },
	{ 0, { 0, 1, 54, 40, { { 34, 16 } }, 0 }, false, { 0 } },
	{ NET_F(HOST_TSO4), { 1, 1, 54, 40, { { 34, 16 } }, 0 }, false, { 0 } },
	{ 0, { 1, 0x81, 54, 40, { { 34, 16 } }, 0 }, true, { 1, 0x81, 54, 40, { { 34, 16 } }, 0 } },
	{ NET_F(HOST_ECN), { 1, 0x81, 54, 40, { { 34, 16 } }, 0 }, false, { 0 } },
	{ 0, { 1, 4, 74, 20, { { 54, 16 } }, 0 }, true, { 1, 4, 74, 20, { { 54, 16 } }, 0 } },
	{ 0, { 1, 0x84, 74, 20, { { 54, 16 } }, 0 }, true, { 1, 0x84, 74, 20, { { 54, 16 } }, 0 } },
	{ NET_F(HOST_TSO6), { 1, 4, 74, 20, { { 54, 16 } }, 0 }, false, { 0 } },
	{ NET_F(HOST_ECN), { 1, 0x84, 74, 20, { { 54, 16 } }, 0 }, false, { 0 } },
	{ 0, { 1, 5, 42, 20, { { 34, 6 } }, 0 }, true, { 1, 5, 42, 20, { { 34, 6 } }, 0 } },
	{ 0, { 1, 0x85, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } },
	{ NET_F(HOST_USO), { 1, 5, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } },
	{ 0, { 1, 3, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } }, /* UFO is not offered */
	{ 0, { 1, 0x80, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } },
	{ 0, { 1, 2, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } },
	{ 0, { 1, 0x7f, 42, 20, { { 34, 6 } }, 0 }, false, { 0 } },
};

START_TEST(a_header_is_made_plain_or_its_frame_dropped)
{
	u64 features = NET_ALL & ~headers[_i / 2].without;

	/* Nobody has it without what it requires. */
	if (headers[_i / 2].without & NET_F(CSUM))
		features &= ~NET_HOST_OFFLOADS;
	if (headers[_i / 2].without & (NET_F(HOST_TSO4) | NET_F(HOST_TSO6)))
		features &= ~NET_F(HOST_ECN);
	net_rig_start(&n, FORMAT(_i % 2), features);
	net_send(&n, NET_TX, &headers[_i / 2].in, net_frame(1, 100), 100, 0);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(net_sent(&n, NET_TX), 1);
	if (headers[_i / 2].sent)
		net_expect_sent(&n, 0, &headers[_i / 2].out, 1, 100);
	net_expect_nothing_sent(&n, 0);
	ck_assert_uint_eq(net_stats(&n, NET_TX).dropped, !headers[_i / 2].sent);
	send_plain(2, 60); /* what comes behind goes out */
	vdrv_settle(&n.d);
	net_expect_sent(&n, 0, NULL, 2, 60);
	ck_assert(!broken());
	net_rig_free(&n);
}

/* As much as IPv6 can tell of (5.1.6.3 has it since VIRTIO 1.3), behind a VLAN tag. */
START_TEST(the_longest_frame_goes_both_ways)
{
	const struct virtio_net_hdr_v1 hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					       .gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
					       .hdr_len = 78,
					       .gso_size = 1440,
					       .csum_start = 58,
					       .csum_offset = 16 };
	const u32 len = 14 + 4 + 40 + 65535;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	net_send(&n, NET_TX, &hdr, net_frame(1, len), len, 0);
	vdrv_settle(&n.d);
	net_expect_sent(&n, 0, &hdr, 1, len);
	net_post(&n, NET_RX, PEER_HDR_LEN + len);
	fake_peer_put(n.peer, 0, &hdr, net_frame(2, len), len);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, len);
	ck_assert_uint_eq(n.hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV6);
	net_rig_free(&n);
}

START_TEST(a_frame_of_an_impossible_length_is_dropped)
{
	static const u32 len[] = { 0, 1, 13, PEER_FRAME_MAX - PEER_HDR_LEN + 1, MIB };
	struct ring_buf buf;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < ARRAY_SIZE(len); k++) {
		buf.len = PEER_HDR_LEN + len[k];
		buf.gpa = vdrv_alloc(&n.d, buf.len);
		ck_assert_uint_eq(vdrv_request(&n.d, NET_TX, &buf, 1, 0), 0);
		net_expect_nothing_sent(&n, 0);
		ck_assert_uint_eq(net_stats(&n, NET_TX).dropped, k + 1);
	}
	ck_assert(!broken());
	net_rig_free(&n);
}

START_TEST(a_chain_without_a_header_breaks_the_device)
{
	struct ring_buf buf[2];

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 2; k++) {
		buf[0] = (struct ring_buf){ vdrv_alloc(&n.d, 64), k ? 64 : 11 };
		vdrv_submit(&n.d, NET_TX, buf, !k, k); /* too short; not for us to read */
		vdrv_settle(&n.d);
		ck_assert(broken());
		expect_said("without its header");
		said_forget();
		vdrv_start(&n.d, NET_ALL);
		send_plain(k, 60);
		vdrv_settle(&n.d);
		net_expect_sent(&n, 0, NULL, k, 60);
	}
	net_rig_free(&n);
}

START_TEST(antispoof_lets_only_our_own_address_out)
{
	u8 other[60];

	net_rig_init(&n, FORMAT(_i));
	n.o.antispoof = true;
	net_rig_plug(&n);
	ck_assert(!(vdrv_offered(&n.d) & NET_F(CTRL_MAC_ADDR))); /* nor can it be changed */
	vdrv_start(&n.d, NET_ALL);
	for (u32 k = 0; k < 60; k++) {
		memcpy(other, net_frame(k, 60), 60);
		other[6 + k % 6] ^= 1 << k % 8;
		net_send(&n, NET_TX, NULL, other, 60, k);
		net_send(&n, NET_TX, NULL, net_frame(k, 14 + k), 14 + k, k);
		vdrv_settle(&n.d);
		net_expect_sent(&n, 0, NULL, k, 14 + k);
		net_expect_nothing_sent(&n, 0);
		ck_assert_uint_eq(net_sent(&n, NET_TX), 2);
	}
	ck_assert_uint_eq(net_stats(&n, NET_TX).dropped, 60);
	net_rig_free(&n);
}

START_TEST(a_full_peer_is_left_alone_until_it_has_room)
{
	struct fake_peer_calls before;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	fake_peer_set_room(n.peer, 0, 3);
	for (u32 k = 0; k < 40; k++)
		send_plain(k, 60 + k);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(net_sent(&n, NET_TX), 3);
	ck_assert_uint_eq(fake_peer_wants(n.peer, 0) & PEER_WRITE, PEER_WRITE);
	before = fake_peer_calls(n.peer, 0);
	for (u32 k = 0; k < 5; k++)
		vdrv_settle(&n.d);
	ck_assert_uint_eq(fake_peer_calls(n.peer, 0).send, before.send);
	for (u32 k = 40; k < 50; k++) { /* and no kick is asked for */
		ck_assert_int_ge(
			ring_add(&n.d.q[NET_TX].ring, &(struct ring_buf){ MIB, 64 }, 1, 0, false),
			0);
		ck_assert(!ring_publish(&n.d.q[NET_TX].ring));
	}
	for (u32 k = 0; k < 3; k++)
		net_expect_sent(&n, 0, NULL, k, 60 + k);
	fake_peer_set_room(n.peer, 0, 10);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(net_sent(&n, NET_TX), 10);
	fake_peer_set_room(n.peer, 0, ~0u);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(net_sent(&n, NET_TX), 37);
	for (u32 k = 3; k < 40; k++)
		net_expect_sent(&n, 0, NULL, k, 60 + k);
	ck_assert_uint_eq(fake_peer_wants(n.peer, 0) & PEER_WRITE, 0);
	ck_assert_uint_eq(net_stats(&n, NET_TX).dropped, 0);
	net_rig_free(&n);
}

START_TEST(a_batch_of_frames_is_one_kick_and_one_interrupt)
{
	struct ring_buf buf = { 0 };
	struct virtio_net_stats before, now;
	struct vq_stats ring_before, ring_now;

	net_rig_start(&n, FORMAT(_i), NET_ALL & ~VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
	vdrv_settle(&n.d);
	buf = (struct ring_buf){ vdrv_alloc(&n.d, 72), 72 };
	before = net_stats(&n, NET_TX);
	vq_stats_read(&n.d.v->queue[NET_TX].vq.stats, &ring_before);
	for (u32 k = 0; k < NET_BATCH - 1; k++)
		ck_assert_int_ge(ring_add(&n.d.q[NET_TX].ring, &buf, 1, 0, false), 0);
	ck_assert(ring_publish(&n.d.q[NET_TX].ring));
	vdrv_kick(&n.d, NET_TX);
	vdrv_settle(&n.d);
	now = net_stats(&n, NET_TX);
	ck_assert_uint_eq(now.frames - before.frames, NET_BATCH - 1);
	ck_assert_uint_eq(now.bytes - before.bytes, (NET_BATCH - 1) * 60);
	vq_stats_read(&n.d.v->queue[NET_TX].vq.stats, &ring_now);
	ck_assert_uint_eq(ring_now.kicks - ring_before.kicks, 1);
	ck_assert_uint_eq(ring_now.calls - ring_before.calls, 1);
	ck_assert_uint_eq(ring_now.chains - ring_before.chains, NET_BATCH - 1);
	ck_assert_uint_eq(ring_now.out_bytes - ring_before.out_bytes, (NET_BATCH - 1) * 72);
	ck_assert_uint_eq(ring_now.batch[4] - ring_before.batch[4], 1); /* 16 to 31 */
	ck_assert_uint_eq(fake_vm_total(&n.d.rig->r.vm), 1);

	before = net_stats(&n, NET_RX);
	for (u32 k = 0; k < NET_BATCH - 1; k++)
		net_post(&n, NET_RX, 1600);
	vdrv_settle(&n.d);
	vq_stats_read(&n.d.v->queue[NET_RX].vq.stats, &ring_before);
	fake_vm_total(&n.d.rig->r.vm);
	for (u32 k = 0; k < NET_BATCH - 1; k++)
		put(k, 1500);
	vdrv_settle(&n.d);
	now = net_stats(&n, NET_RX);
	ck_assert_uint_eq(now.frames - before.frames, NET_BATCH - 1);
	vq_stats_read(&n.d.v->queue[NET_RX].vq.stats, &ring_now);
	ck_assert_uint_eq(ring_now.calls - ring_before.calls, 1);
	ck_assert_uint_eq(ring_now.in_bytes - ring_before.in_bytes, (NET_BATCH - 1) * 1512);
	ck_assert_uint_eq(fake_vm_total(&n.d.rig->r.vm), 1);
	net_rig_free(&n);
}

START_TEST(a_turn_is_bounded)
{
	struct ring_buf buf;
	u32 turn = NET_TURN_BYTES / 60000 + 1;

	net_rig_start(&n, FORMAT(_i), NO_MRG);
	vdrv_settle(&n.d);
	buf = (struct ring_buf){ vdrv_alloc(&n.d, 60000), 60000 };
	for (u32 k = 0; k < 40; k++)
		vdrv_submit(&n.d, NET_TX, &buf, 1, 0);
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_TX]);
	ck_assert_uint_eq(net_stats(&n, NET_TX).frames, turn);
	for (u32 k = 0; k < 40; k++)
		vdrv_submit(&n.d, NET_RX, &buf, 0, 1);
	for (u32 k = 0; k < 40; k++)
		put(k, 60000 - PEER_HDR_LEN);
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_RX]);
	ck_assert_uint_eq(net_stats(&n, NET_RX).frames, turn);
	for (u32 k = 0; k < 4; k++)
		vdrv_settle(&n.d); /* it goes on by itself */
	ck_assert_uint_eq(net_stats(&n, NET_TX).frames, 40);
	ck_assert_uint_eq(net_stats(&n, NET_RX).frames, 40);
	net_rig_free(&n);
}

START_TEST(a_turn_is_bounded_in_frames)
{
	struct ring_buf buf;

	net_rig_init(&n, FORMAT(_i));
	n.d.options.queue_size = 256;
	net_rig_plug(&n);
	vdrv_reset(&n.d);
	ck_assert(vdrv_negotiate(&n.d, NET_ALL));
	vdrv_queue_up(&n.d, NET_RX, 256);
	vdrv_queue_up(&n.d, NET_TX, 256);
	vdrv_driver_ok(&n.d);
	vdrv_settle(&n.d);
	buf = (struct ring_buf){ vdrv_alloc(&n.d, 72), 72 };
	for (u32 k = 0; k < 200; k++) {
		vdrv_submit(&n.d, NET_TX, &buf, 1, 0);
		vdrv_submit(&n.d, NET_RX, &buf, 0, 1);
		fake_peer_put(n.peer, 0, NULL, net_frame(k, 60), 60);
	}
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_TX]);
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_RX]);
	ck_assert_uint_eq(net_stats(&n, NET_TX).frames, NET_TURN_FRAMES);
	ck_assert_uint_eq(net_stats(&n, NET_RX).frames, NET_TURN_FRAMES);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(net_stats(&n, NET_TX).frames, 200);
	ck_assert_uint_eq(net_stats(&n, NET_RX).frames, 200);
	net_rig_free(&n);
}

/* ---- loops ---- */

START_TEST(both_queues_of_a_pair_share_a_loop)
{
	struct loop *loops[3];
	struct machine_env *env;

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 4;
	n.d.options.iothread = 1;
	env = &n.d.rig->r.env;
	for (u32 k = 0; k < 3; k++)
		ck_assert_int_eq(loop_create(&loops[k]), 0);
	env->io_loop = loops;
	env->nio_loops = 3;
	net_rig_plug(&n);
	for (u32 k = 0; k < 8; k++)
		ck_assert_ptr_eq(n.d.v->queue[k].loop, loops[(1 + k / 2) % 3]);
	vdrv_unplug(&n.d);
	for (u32 k = 0; k < 3; k++)
		loop_destroy(loops[k]);
	env->io_loop = &env->loop;
	env->nio_loops = 1;
	net_rig_free(&n);
}

#define TRAFFIC 3000

/* Frames both ways, as fast as the driver can: none is lost, none waits for ever. */
static void traffic(bool poll)
{
	struct ring_driver *rx, *tx;
	u32 put_n = 0, got = 0, added = 0, seen = 0, idle = 0, len;
	struct ring_buf buf[2];
	struct fake_frame *f;

	n.o.poll_us = poll ? 200 : 0;
	vdrv_threads(&n.d);
	net_rig_plug(&n);
	vdrv_start(&n.d, NO_MRG);
	rx = &n.d.q[NET_RX].ring;
	tx = &n.d.q[NET_TX].ring;
	buf[0] = (struct ring_buf){ vdrv_alloc(&n.d, 2000), 2000 };
	buf[1] = (struct ring_buf){ vdrv_alloc(&n.d, 72), 72 };
	while (got < TRAFFIC || seen < TRAFFIC) {
		u32 before = got + seen;

		if (put_n < TRAFFIC && put_n - got < 100)
			put(put_n++, 60);
		while (ring_inflight(rx) < 8)
			ring_add(rx, buf, 0, 1, false);
		if (ring_publish(rx))
			vdrv_kick(&n.d, NET_RX);
		if (added < TRAFFIC && ring_inflight(tx) < 32 &&
		    ring_add(tx, buf + 1, 1, 0, false) >= 0)
			added++;
		if (ring_publish(tx))
			vdrv_kick(&n.d, NET_TX);
		while (ring_get(rx, &len) >= 0) {
			ck_assert_uint_eq(len, 72);
			got++;
		}
		net_sent(&n, NET_TX);
		while ((f = fake_peer_take(n.peer, 0))) {
			seen++;
			free(f);
		}
		if (seen % 64 == 63) /* often full */
			fake_peer_set_room(n.peer, 0, 5);
		if (got + seen == before) {
			fake_peer_set_room(n.peer, 0, 100);
			ck_assert_uint_lt(idle++, 20000);
			vdrv_settle(&n.d);
		} else {
			idle = 0;
		}
	}
	net_rig_free(&n);
}

START_TEST(no_wake_up_is_lost)
{
	net_rig_init(&n, FORMAT(_i % 2));
	traffic(_i >= 2);
}

/* The look-out's own time is not what is tested: it sees work for which nobody wakes it. */
START_TEST(looking_out_for_work_finds_both_kinds)
{
	net_rig_init(&n, FORMAT(_i));
	n.o.poll_us = 1000;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	vdrv_settle(&n.d);
	for (u32 k = 0; k < 50; k++) {
		net_post(&n, NET_RX, 2000);
		put(k, 60);
		send_plain(k, 60);
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, 60);
		net_expect_sent(&n, 0, NULL, k, 60);
		ck_assert_uint_eq(net_sent(&n, NET_TX), 1);
	}
	/* Each alone: driver and peer are asked to tell when it has looked for long enough. */
	for (u32 k = 0; k < 10; k++) {
		net_post(&n, NET_RX, 2000);
		vdrv_settle(&n.d);
		put(k, 60);
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, 60);
	}
	for (u32 k = 0; k < 10; k++) {
		fake_peer_set_room(n.peer, 0, k % 2);
		send_plain(k, 60);
		vdrv_settle(&n.d);
		fake_peer_set_room(n.peer, 0, ~0u);
		vdrv_settle(&n.d);
		net_expect_sent(&n, 0, NULL, k, 60);
	}
	/* One wake-up serves the other queue, too. */
	net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	put(7, 60);
	n.d.v->ops->serve(n.d.v, &n.d.v->queue[NET_TX]);
	net_expect(&n, NET_RX, 7, 60);
	net_rig_free(&n);
}

/* ---- the conformance suite's row ---- */

static int conformance_create(struct virtio_dev **v, const struct machine_env *env,
			      const struct virtio_options *o)
{
	n.o = (struct virtio_net_options){ .npairs = 2, .mtu = 1500 };
	memcpy(n.o.mac, NET_MAC, 6);
	n.peer_features = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS;
	return net_rig_create(&n, v, env, o);
}

static void conformance_cleanup(void)
{
	ck_assert(n.destroyed);
}

static void conformance_request(struct vdrv *d)
{
	static u32 number;
	struct ring_buf buf = { vdrv_alloc(d, 72), 72 };
	struct fake_frame *f;

	/* After a reset a ring may have been sent anew, from its start. */
	while ((f = fake_peer_take(n.peer, 0)))
		free(f);
	number++;
	memcpy(vdrv_ptr(d, buf.gpa + PEER_HDR_LEN, 60), net_frame(number, 60), 60);
	ck_assert_uint_eq(vdrv_request(d, NET_TX, &buf, 1, 0), 0);
	net_expect_sent(&n, 0, NULL, number, 60);
}

const struct conformance_device conformance_net = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.nqueues = 5,
	.config_len = CONFIG(rss_max_key_size),
	.features = NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS | NET_F(MAC) | NET_F(STATUS) |
		    NET_F(MTU) | NET_F(MRG_RXBUF) | NET_F(CTRL_VQ) | NET_F(CTRL_RX) |
		    NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_VLAN) | NET_F(CTRL_MAC_ADDR) | NET_F(MQ) |
		    NET_F(GUEST_ANNOUNCE) | NET_F(CTRL_GUEST_OFFLOADS) | NET_F(SPEED_DUPLEX),
	.create = conformance_create,
	.cleanup = conformance_cleanup,
	.request = conformance_request,
	.queue = NET_TX,
};

#define TEST(name)     tcase_add_loop_test(t, name, 0, 2)
#define TEST_ALL(name) tcase_add_loop_test(t, name, 0, NET_MODES)

Suite *net_suite(void)
{
	Suite *su = suite_create("net");
	TCase *t = tcase_create("device");

	TEST_ALL(the_configuration_describes_the_device);
	TEST(no_more_is_offered_than_the_peer_can_do);
	TEST(without_a_control_queue_there_are_none_of_its_features);
	TEST(a_feature_without_what_it_requires_is_refused);
	suite_add_tcase(su, t);

	t = tcase_create("transmit");
	tcase_set_timeout(t, 60);
	TEST_ALL(frames_are_sent_whatever_their_framing);
	TEST(a_frame_of_more_segments_than_a_peer_takes_is_sent);
	tcase_add_loop_test(t, a_header_is_made_plain_or_its_frame_dropped, 0,
			    2 * ARRAY_SIZE(headers));
	TEST(the_longest_frame_goes_both_ways);
	TEST(a_frame_of_an_impossible_length_is_dropped);
	TEST(a_chain_without_a_header_breaks_the_device);
	TEST(antispoof_lets_only_our_own_address_out);
	TEST(a_full_peer_is_left_alone_until_it_has_room);
	TEST(a_batch_of_frames_is_one_kick_and_one_interrupt);
	TEST(a_turn_is_bounded);
	TEST(a_turn_is_bounded_in_frames);
	suite_add_tcase(su, t);

	t = tcase_create("loops");
	TEST(both_queues_of_a_pair_share_a_loop);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, no_wake_up_is_lost, 0, 4);
	TEST(looking_out_for_work_finds_both_kinds);
	suite_add_tcase(su, t);
	return su;
}
