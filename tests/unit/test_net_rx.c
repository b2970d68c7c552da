// SPDX-License-Identifier: MIT
/*
 * test_net_rx.c - the network device: frames to the driver, and queues that stop and go on; over both ring
 * formats (the suite's loop variable, unless it says more).
 */
#include "tests/unit/net_rig.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

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

/* ---- receiving ---- */

START_TEST(a_frame_is_received)
{
	net_rig_start(&n, _i, NET_ALL);
	net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(fake_peer_wants(n.peer, 0), PEER_READ);
	put(5, 1514);
	vdrv_wait_called(&n.d, NET_RX);
	net_expect(&n, NET_RX, 5, 1514);
	ck_assert_uint_eq(n.hdr.num_buffers, 1);
	ck_assert_uint_eq(n.hdr.flags | n.hdr.gso_type, 0);
	ck_assert_uint_eq(net_stats(&n, NET_RX).frames, 1);
	ck_assert_uint_eq(net_stats(&n, NET_RX).bytes, 1514);
	net_rig_free(&n);
}

START_TEST(a_long_frame_takes_several_buffers)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 60; k++)
		net_post(&n, NET_RX, 1536);
	put(1, 60000);
	put(2, 60);
	put(3, 1536 - PEER_HDR_LEN);
	put(4, 1536 - PEER_HDR_LEN + 1);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 60000);
	ck_assert_uint_eq(n.hdr.num_buffers, (60012 + 1535) / 1536);
	net_expect(&n, NET_RX, 2, 60);
	ck_assert_uint_eq(n.hdr.num_buffers, 1);
	net_expect(&n, NET_RX, 3, 1524);
	ck_assert_uint_eq(n.hdr.num_buffers, 1);
	net_expect(&n, NET_RX, 4, 1525);
	ck_assert_uint_eq(n.hdr.num_buffers, 2);
	net_expect_nothing(&n, NET_RX);
	net_rig_free(&n);
}

/* Chains of random lengths in random pieces; the header, too. */
static void post_oddly(u32 seed, u32 len)
{
	struct ring_buf buf[NET_PIECES];
	u32 piece[NET_PIECES], count = net_cut(buf, 0, len, seed);

	for (u32 k = 0; k < count; k++)
		piece[k] = buf[k].len;
	net_post_pieces(&n, NET_RX, piece, count);
}

START_TEST(buffers_may_be_of_any_layout)
{
	u32 seed = _i + 1, next = 0;

	net_rig_start(&n, FORMAT(_i % 2), _i < 2 ? NET_ALL : NO_MRG);
	for (u32 k = 0; k < 400; k++) {
		u32 most = _i < 2 ? 1200 : 300, len;

		while (ring_inflight(&n.d.q[NET_RX].ring) < 24) {
			seed = seed * 1103515245 + 12345;
			post_oddly(seed, (_i < 2 ? 12 : 314) + (seed >> 16) % 300);
		}
		seed = seed * 1103515245 + 12345;
		len = 14 + (seed >> 16) % (most - 14);
		put(k, len);
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, len);
		if (++next % 16 == 0 && n.d.next > 48 * MIB)
			n.d.next = 16 * MIB;
	}
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 0);
	net_rig_free(&n);
}

/* More segments than a read can have: the rest goes another way. */
START_TEST(a_buffer_of_very_many_pieces_is_filled)
{
	static struct ring_buf buf[1400];
	u64 gpa;

	net_rig_init(&n, FORMAT(_i % 2));
	n.d.options.queue_size = 2048;
	net_rig_plug(&n);
	vdrv_reset(&n.d);
	ck_assert(vdrv_negotiate(&n.d, (_i < 2 ? NET_ALL : NO_MRG) &
					       ~VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC)));
	vdrv_queue_up(&n.d, NET_RX, 2048);
	vdrv_driver_ok(&n.d);
	for (u32 len = 950; len < 1400; len += 7) {
		u32 written, data = len - PEER_HDR_LEN;

		gpa = vdrv_alloc(&n.d, len);
		for (u32 k = 0; k < len; k++)
			buf[k] = (struct ring_buf){ gpa + k, 1 };
		vdrv_submit(&n.d, NET_RX, buf, 0, len);
		put(len, data);
		vdrv_wait(&n.d, NET_RX, &written);
		ck_assert_uint_eq(written, len);
		ck_assert_uint_eq(*(u16 *)vdrv_ptr(&n.d, gpa + 10, 2), 1); /* num_buffers */
		ck_assert_mem_eq(vdrv_ptr(&n.d, gpa + PEER_HDR_LEN, data), net_frame(len, data),
				 data);
	}
	net_rig_free(&n);
}

START_TEST(without_mergeable_buffers_a_frame_is_one_chain)
{
	net_rig_start(&n, FORMAT(_i), NO_MRG);
	for (u32 k = 0; k < 3; k++)
		net_post(&n, NET_RX, 1526);
	put(1, 1514);
	put(2, 1515); /* too long by a byte */
	put(3, 60000);
	put(4, 1514);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 1514);
	net_expect(&n, NET_RX, 4, 1514);
	ck_assert_uint_eq(n.hdr.num_buffers, 1);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 2);
	put(5, 60); /* the third is still there */
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 5, 60);
	net_rig_free(&n);
}

START_TEST(without_buffers_frames_wait_outside)
{
	struct fake_peer_calls before;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	put(0, 100);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(fake_peer_waiting(n.peer, 0), 1);
	for (u32 k = 0; k < 10; k++) {
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
		before = fake_peer_calls(n.peer, 0);
		vdrv_settle(&n.d);
		ck_assert_uint_eq(fake_peer_calls(n.peer, 0).ready, before.ready);
		put(k + 1, 100);
		net_post(&n, NET_RX, 128); /* which kicks */
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, 100);
	}
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 0);
	net_rig_free(&n);
}

START_TEST(no_kicks_are_asked_for_while_there_are_buffers)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	for (u32 k = 0; k < 10; k++) {
		ck_assert_int_ge(
			ring_add(&n.d.q[NET_RX].ring, &(struct ring_buf){ MIB, 2000 }, 0, 1, false),
			0);
		ck_assert(!ring_publish(&n.d.q[NET_RX].ring));
	}
	net_rig_free(&n);
}

START_TEST(a_frame_waits_for_buffers_that_the_driver_owes)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	put(1, 18 * 1000 - PEER_HDR_LEN);
	put(2, 5000); /* there are 2 buffers left, and it has seen more */
	put(3, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 18 * 1000 - PEER_HDR_LEN);
	net_expect_nothing(&n, NET_RX);
	for (u32 k = 0; k < 3; k++) {
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
		net_expect_nothing(&n, NET_RX);
		virtio_pause(n.d.v); /* which it survives */
		virtio_resume(n.d.v);
		net_expect_nothing(&n, NET_RX);
		net_post(&n, NET_RX, 1000);
	}
	net_expect_nothing(&n, NET_RX);
	net_post(&n, NET_RX, 1000);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 5000);
	net_post(&n, NET_RX, 1000);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 3, 60);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 0);
	net_rig_free(&n);
}

/* `count` buffers of `len` bytes, each one place of the ring. */
static void post_direct(u32 count, u32 len)
{
	for (u32 k = 0; k < count; k++) {
		struct ring_buf buf = { vdrv_alloc(&n.d, len), len };
		int id = ring_add(&n.d.q[NET_RX].ring, &buf, 0, 1, false);

		ck_assert_int_ge(id, 0);
		n.posted[NET_RX][id] = (struct net_chain){ { buf }, 1 };
	}
	ring_publish(&n.d.q[NET_RX].ring);
	vdrv_kick(&n.d, NET_RX);
}

/* A ring that is full, but of buffers that the driver is to get back. */
START_TEST(a_frame_waits_for_a_driver_that_has_just_been_given_others)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	post_direct(NET_BUFS, 1000);
	put(1, 60 * 1000 - PEER_HDR_LEN);
	put(2, 5000);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 60 * 1000 - PEER_HDR_LEN);
	post_direct(2, 1000);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 5000);
	net_rig_free(&n);
}

START_TEST(a_new_ring_is_judged_by_itself)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	post_direct(20, 1000);
	vdrv_settle(&n.d);
	vdrv_queue_reset(&n.d, NET_RX);
	vdrv_queue_up(&n.d, NET_RX, 32);
	post_direct(4, 1000);
	put(1, 5000); /* the last one had room for it */
	put(2, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 60);
	net_rig_free(&n);
}

START_TEST(a_frame_that_the_driver_never_had_room_for_is_dropped)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 4; k++)
		net_post(&n, NET_RX, 1000);
	put(1, 5000);
	put(2, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 60);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 1);
	net_rig_free(&n);
}

/* It is the last one of a turn: that is no reason to keep it until the driver kicks, which it need not. */
START_TEST(a_frame_without_room_at_the_end_of_a_turn_is_dropped)
{
	const u32 len = 60000, most = PEER_FRAME_MAX - PEER_HDR_LEN;
	const u32 count = NET_TURN_BYTES / (len + PEER_HDR_LEN);

	net_rig_start(&n, FORMAT(_i), NO_GUEST_GSO);
	for (u32 k = 0; k < count; k++)
		net_post(&n, NET_RX, PEER_HDR_LEN + len);
	net_post(&n, NET_RX, 100);
	vdrv_settle(&n.d); /* from here on there are no kicks */
	for (u32 k = 0; k < count; k++)
		put(k, len);
	put(100, most);
	put(101, 60);
	ck_assert_uint_gt(count * (len + PEER_HDR_LEN) + most, NET_TURN_BYTES);
	vdrv_settle(&n.d);
	for (u32 k = 0; k < count; k++)
		net_expect(&n, NET_RX, k, len);
	net_expect(&n, NET_RX, 101, 60);
	net_expect_nothing(&n, NET_RX);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 1);
	net_rig_free(&n);
}

/* It had larger buffers once; now the ring is full of small ones, and nothing more can come. */
START_TEST(a_frame_for_which_a_full_ring_has_no_room_is_dropped)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	net_post(&n, NET_RX, 60000);
	vdrv_settle(&n.d);
	put(1, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 60);
	post_direct(NET_BUFS, 100);
	put(2, NET_BUFS * 100);
	put(3, NET_BUFS * 100 - PEER_HDR_LEN);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 3, NET_BUFS * 100 - PEER_HDR_LEN);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 1);
	net_rig_free(&n);
}

START_TEST(a_buffer_without_room_for_a_header_breaks_the_device)
{
	struct ring_buf buf;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 3; k++) {
		net_post(&n, NET_RX, 2000);
		buf = (struct ring_buf){ vdrv_alloc(&n.d, 64), k ? 11 : 64 };
		vdrv_submit(&n.d, NET_RX, &buf, !k, !!k); /* none of it to write; too short */
		put(1, 60);
		vdrv_settle(&n.d);
		ck_assert(broken());
		expect_said("without room for a header");
		said_forget();
		put(2, 60);
		vdrv_settle(&n.d);
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0); /* and it does not spin */
		vdrv_start(&n.d, NET_ALL);
		net_post(&n, NET_RX, 2000);
		net_post(&n, NET_RX, 2000);
		vdrv_settle(&n.d);
		while (net_received(&n, NET_RX) >= 0)
			ck_assert(n.got[6] == 0x52);
		ck_assert_uint_eq(fake_peer_waiting(n.peer, 0), 0);
	}
	net_rig_free(&n);
}

/* What a peer may say in a header, and what the driver sees of it. */
static const struct {
	u64 on; /* of NET_GUEST_OFFLOADS */
	struct virtio_net_hdr_v1 in;
	bool passed;
	u8 flags, gso_type;
} peer_headers[] = {
	{ 0, { .flags = 2 }, true, 0, 0 },
	{ 0, { .flags = 1 }, false, 0, 0 },
	{ NET_F(GUEST_CSUM), { .flags = 0xff }, true, 3, 0 },
	{ NET_F(GUEST_CSUM), { .flags = 1, .gso_type = 1 }, false, 0, 0 },
	{ NET_GUEST_OFFLOADS & ~NET_F(GUEST_TSO4), { .flags = 1, .gso_type = 1 }, false, 0, 0 },
	{ NET_GUEST_OFFLOADS & ~NET_F(GUEST_TSO6), { .flags = 1, .gso_type = 4 }, false, 0, 0 },
	{ NET_GUEST_OFFLOADS & ~NET_F(GUEST_ECN), { .flags = 1, .gso_type = 0x81 }, false, 0, 0 },
	{ NET_GUEST_OFFLOADS, { .flags = 1, .gso_type = 1 }, true, 1, 1 },
	{ NET_GUEST_OFFLOADS, { .flags = 1, .gso_type = 0x84 }, true, 1, 0x84 },
	{ NET_GUEST_OFFLOADS & ~NET_F(GUEST_USO4), { .flags = 1, .gso_type = 5 }, true, 1, 5 },
	{ NET_GUEST_OFFLOADS & ~NET_F(GUEST_USO4) & ~NET_F(GUEST_USO6),
	  { .flags = 1, .gso_type = 5 },
	  false,
	  0,
	  0 },
	{ NET_GUEST_OFFLOADS, { .flags = 1, .gso_type = 3 }, false, 0, 0 },
};

START_TEST(the_driver_sees_no_header_that_it_does_not_know)
{
	u32 k = _i / 2;

	net_rig_start(&n, FORMAT(_i % 2), (NET_ALL & ~NET_GUEST_OFFLOADS) | peer_headers[k].on);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), peer_headers[k].on);
	net_post(&n, NET_RX, 2000);
	fake_peer_put(n.peer, 0, &peer_headers[k].in, net_frame(1, 100), 100);
	vdrv_settle(&n.d);
	ck_assert_int_eq(net_received(&n, NET_RX), peer_headers[k].passed ? 100 : -1);
	if (peer_headers[k].passed) {
		ck_assert_uint_eq(n.hdr.flags, peer_headers[k].flags);
		ck_assert_uint_eq(n.hdr.gso_type, peer_headers[k].gso_type);
	}
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, !peer_headers[k].passed);
	net_rig_free(&n);
}

START_TEST(what_is_longer_than_the_mtu_is_dropped)
{
	struct virtio_net_hdr_v1 gso = { .flags = 1, .gso_type = 1, .gso_size = 1000 };
	u8 tagged[1019];

	net_rig_init(&n, FORMAT(_i));
	n.o.mtu = 1000;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	for (u32 k = 0; k < 8; k++)
		net_post(&n, NET_RX, 2000);
	put(1, 1014);
	put(2, 1015);
	memcpy(tagged, net_frame(3, 1019), 1019);
	memcpy(tagged + 12, "\x81\x00\x00\x05", 4);
	fake_peer_put(n.peer, 0, NULL, tagged, 1018);
	fake_peer_put(n.peer, 0, NULL, tagged, 1019);
	fake_peer_put(n.peer, 0, &gso, net_frame(4, 5000), 5000);
	put(5, 13); /* no Ethernet frame */
	put(6, 0);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 1014);
	ck_assert_int_eq(net_received(&n, NET_RX), 1018);
	ck_assert_mem_eq(n.got, tagged, 1018);
	net_expect(&n, NET_RX, 4, 5000);
	net_expect_nothing(&n, NET_RX);
	ck_assert_uint_eq(net_stats(&n, NET_RX).dropped, 4);
	net_rig_free(&n);
}

/* ---- stopping and going on ---- */

START_TEST(no_frame_is_lost_when_the_rings_change_hands)
{
	u32 seed = 1, sent = 0, put_n = 0, seen = 0, got = 0;

	net_rig_start(&n, FORMAT(_i % 2), _i < 2 ? NET_ALL : NO_MRG);
	for (u32 k = 0; k < 3000; k++) {
		seed = seed * 1103515245 + 12345;
		switch ((seed >> 16) % 7) {
		case 0:
			if (ring_inflight(&n.d.q[NET_RX].ring) < 20)
				net_post(&n, NET_RX, 1600);
			break;
		case 1:
			put(put_n, 100 + put_n % 1000);
			put_n++;
			break;
		case 2:
			if (ring_inflight(&n.d.q[NET_TX].ring) < 30)
				send_plain(sent++, 60);
			break;
		case 3:
			virtio_pause(n.d.v);
			virtio_resume(n.d.v);
			break;
		case 4:
			fake_peer_set_room(n.peer, 0, (seed >> 20) % 4);
			break;
		case 5:
			vdrv_settle(&n.d);
			break;
		case 6:
			while (net_received(&n, NET_RX) >= 0) {
				ck_assert_mem_eq(n.got, net_frame(got, 100), 100);
				got++;
			}
			net_sent(&n, NET_TX);
			break;
		}
		if (n.d.next > 48 * MIB)
			n.d.next = 16 * MIB;
	}
	fake_peer_set_room(n.peer, 0, ~0u);
	for (u32 k = 0; k < 200 && got < put_n; k++) {
		vdrv_settle(&n.d);
		while (net_received(&n, NET_RX) >= 0) {
			ck_assert_mem_eq(n.got, net_frame(got, 100), 100);
			got++;
		}
		while (ring_inflight(&n.d.q[NET_RX].ring) < 20)
			net_post(&n, NET_RX, 1600);
	}
	vdrv_settle(&n.d);
	ck_assert_uint_eq(got, put_n);
	for (; seen < sent; seen++)
		net_expect_sent(&n, 0, NULL, seen, 60);
	net_rig_free(&n);
}

START_TEST(at_rest_no_buffer_is_kept)
{
	const struct vq *vq;

	net_rig_start(&n, FORMAT(_i), NET_ALL);
	vq = &n.d.v->queue[NET_RX].vq;
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(vq->inflight, 20);
	virtio_pause(n.d.v);
	ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
	ck_assert_uint_eq(n.d.v->queue[NET_RX].pos.avail, n.d.v->queue[NET_RX].pos.used);
	put(1, 5000);
	net_expect_nothing(&n, NET_RX);
	virtio_resume(n.d.v);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 1, 5000);
	ck_assert_uint_eq(vq->inflight, 14);
	net_rig_free(&n);
}

START_TEST(one_queue_of_a_pair_is_reset_and_the_other_goes_on)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	for (u32 k = 0; k < 3; k++) {
		vdrv_queue_reset(&n.d, NET_RX);
		put(k, 60);
		send_plain(k, 60);
		vdrv_settle(&n.d);
		net_expect_sent(&n, 0, NULL, k, 60);
		ck_assert_uint_eq(fake_peer_waiting(n.peer, 0), 1);
		vdrv_queue_up(&n.d, NET_RX, 32);
		net_post(&n, NET_RX, 2000);
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, 60);

		fake_peer_set_room(n.peer, 0, 0);
		send_plain(k, 60);
		vdrv_settle(&n.d);
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), PEER_WRITE);
		vdrv_queue_reset(&n.d, NET_TX); /* drops it */
		ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
		fake_peer_set_room(n.peer, 0, ~0u);
		net_post(&n, NET_RX, 2000);
		put(k, 60);
		vdrv_settle(&n.d);
		net_expect(&n, NET_RX, k, 60);
		net_expect_nothing_sent(&n, 0);
		vdrv_queue_up(&n.d, NET_TX, 32);
	}
	net_rig_free(&n);
}

START_TEST(after_a_reset_nothing_of_the_last_driver_is_left)
{
	net_rig_start(&n, FORMAT(_i), NET_ALL);
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	put(1, 18 * 1000 - PEER_HDR_LEN);
	put(2, 5000); /* is held */
	vdrv_settle(&n.d);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), NET_GUEST_OFFLOADS);
	vdrv_reset(&n.d);
	ck_assert_uint_eq(fake_peer_offloads(n.peer), 0);
	ck_assert_uint_eq(fake_peer_wants(n.peer, 0), 0);
	vdrv_start(&n.d, NO_GUEST_GSO);
	for (u32 k = 0; k < 20; k++)
		net_post(&n, NET_RX, 1000);
	put(3, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 3, 60);
	net_rig_free(&n);
}

START_TEST(a_peer_that_refuses_the_offloads_is_used_without)
{
	struct virtio_net_hdr_v1 gso = { .flags = 1, .gso_type = 1, .gso_size = 100 };

	net_rig_init(&n, FORMAT(_i));
	net_rig_plug(&n);
	fake_peer_fail(n.peer, -22);
	vdrv_start(&n.d, NET_ALL);
	expect_said("refuses the guest's offloads");
	net_post(&n, NET_RX, 2000);
	fake_peer_put(n.peer, 0, &gso, net_frame(1, 1000), 1000);
	put(2, 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 60);
	vdrv_start(&n.d, NET_ALL); /* told once, or a guest could fill the log */
	expect_silence();
	net_rig_free(&n);
}

/* Frames that `pair` has seen, whatever became of them. */
static u64 seen(u32 pair)
{
	struct virtio_net_stats s = net_stats(&n, 2 * pair);

	return s.frames + s.filtered + s.dropped;
}

/* Control queue and pair are on loops with threads of their own. */
START_TEST(a_command_that_is_answered_holds_for_what_comes_after)
{
	struct loop *loops[2];
	u16 pairs = 2;
	u8 frame[60];

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 2;
	vdrv_threads(&n.d);
	loops[0] = n.d.io_loop;
	ck_assert_int_eq(loop_create(&loops[1]), 0);
	ck_assert_int_eq(loop_start(loops[1], "io2"), 0);
	n.d.rig->r.env.io_loop = loops;
	n.d.rig->r.env.nio_loops = 2;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	ck_assert_ptr_ne(n.d.v->queue[2].loop, n.d.v->queue[4].loop);
	ck_assert_uint_eq(net_command_on(&n, 4, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2, 0), 0);
	memcpy(frame, net_frame(1, 60), 60);
	memcpy(frame, "\x02\x00\x00\x00\x00\x01", 6);
	for (u32 k = 0; k < 300; k++) {
		u8 promisc = k / 3 % 2;
		u64 before = seen(1), filtered = net_stats(&n, 2).filtered;

		while (ring_inflight(&n.d.q[2].ring) < 8)
			net_post(&n, 2, 2000);
		ck_assert_uint_eq(net_command_on(&n, 4, VIRTIO_NET_CTRL_RX, 0, &promisc, 1, 0), 0);
		fake_peer_put(n.peer, 1, NULL, frame, 60);
		for (u32 i = 0; seen(1) == before; i++) {
			ck_assert_uint_lt(i, 20000);
			vdrv_settle(&n.d);
		}
		ck_assert_uint_eq(net_stats(&n, 2).filtered - filtered, !promisc);
		if (promisc) {
			vdrv_wait_called(&n.d, 2);
			ck_assert_int_eq(net_received(&n, 2), 60);
		}
	}
	vdrv_unplug(&n.d);
	loop_stop(loops[1]);
	loop_destroy(loops[1]);
	net_rig_free(&n);
}

#define TEST(name)     tcase_add_loop_test(t, name, 0, 2)
#define TEST_MRG(name) tcase_add_loop_test(t, name, 0, 4) /* without mergeable buffers, too */
#define TEST_ALL(name) tcase_add_loop_test(t, name, 0, NET_MODES)

Suite *net_rx_suite(void)
{
	Suite *su = suite_create("net_rx");
	TCase *t;

	t = tcase_create("receive");
	tcase_set_timeout(t, 60);
	TEST_ALL(a_frame_is_received);
	TEST(a_long_frame_takes_several_buffers);
	TEST_MRG(buffers_may_be_of_any_layout);
	TEST_MRG(a_buffer_of_very_many_pieces_is_filled);
	TEST(without_mergeable_buffers_a_frame_is_one_chain);
	TEST(without_buffers_frames_wait_outside);
	TEST(no_kicks_are_asked_for_while_there_are_buffers);
	TEST(a_frame_waits_for_buffers_that_the_driver_owes);
	TEST(a_frame_waits_for_a_driver_that_has_just_been_given_others);
	TEST(a_new_ring_is_judged_by_itself);
	TEST(a_frame_that_the_driver_never_had_room_for_is_dropped);
	TEST(a_frame_without_room_at_the_end_of_a_turn_is_dropped);
	TEST(a_frame_for_which_a_full_ring_has_no_room_is_dropped);
	TEST(a_buffer_without_room_for_a_header_breaks_the_device);
	tcase_add_loop_test(t, the_driver_sees_no_header_that_it_does_not_know, 0,
			    2 * ARRAY_SIZE(peer_headers));
	TEST(what_is_longer_than_the_mtu_is_dropped);
	suite_add_tcase(su, t);

	t = tcase_create("life");
	tcase_set_timeout(t, 60);
	TEST_MRG(no_frame_is_lost_when_the_rings_change_hands);
	TEST(at_rest_no_buffer_is_kept);
	TEST(one_queue_of_a_pair_is_reset_and_the_other_goes_on);
	TEST(after_a_reset_nothing_of_the_last_driver_is_left);
	TEST(a_peer_that_refuses_the_offloads_is_used_without);
	TEST(a_command_that_is_answered_holds_for_what_comes_after);
	suite_add_tcase(su, t);
	return su;
}
