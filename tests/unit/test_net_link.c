// SPDX-License-Identifier: MIT
/*
 * test_net_link.c - the network device's pairs of queues, its link, and announcements. Over both ring formats
 * (the suite's loop variable).
 */
#include "tests/unit/net_rig.h"

#include <linux/virtio_config.h>
#include <string.h>

#define CONFIG(f) offsetof(struct virtio_net_config, f)
#define FORMAT(i) ((i)*VDRV_BUSES)
#define OK	  VIRTIO_NET_OK
#define ERR	  VIRTIO_NET_ERR

static struct net_rig n;

/* ---- pairs of queues ---- */

START_TEST(pairs_are_set)
{
	u16 pairs;

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 4;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(max_virtqueue_pairs), 2), 4);
	for (u32 k = 0; k < 4; k++)
		net_post(&n, 2 * k, 2000);
	for (u32 k = 0; k < 4; k++)
		fake_peer_put(n.peer, k, NULL, net_frame(k, 60), 60);
	vdrv_settle(&n.d);
	net_expect(&n, 0, 0, 60);
	for (u32 k = 1; k < 4; k++) {
		net_expect_nothing(&n, 2 * k); /* 5.1.6.5.6: one at first */
		ck_assert_uint_eq(fake_peer_wants(n.peer, k), 0);
	}
	for (pairs = 0; pairs < 0x8001; pairs += pairs < 8 ? 1 : 0x7ff8) {
		if (pairs && pairs <= 4)
			continue;
		ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 2, 0), ERR);
	}
	pairs = 3;
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 1, 0), ERR);
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 1, &pairs, 2, 0), ERR); /* RSS */
	fake_peer_fail(n.peer, -12);
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 2, 0), ERR);
	fake_peer_fail(n.peer, 0);
	ck_assert_uint_eq(fake_peer_pairs(n.peer), 1);
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 2, 1), OK);
	ck_assert_uint_eq(fake_peer_pairs(n.peer), 3);
	vdrv_settle(&n.d);
	net_expect(&n, 2, 1, 60);
	net_expect(&n, 4, 2, 60);
	net_expect_nothing(&n, 6);

	pairs = 1;
	net_post(&n, 2, 2000);
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 2, 0), OK);
	fake_peer_put(n.peer, 1, NULL, net_frame(9, 60), 60);
	net_expect_nothing(&n, 2);
	for (u32 k = 0; k < 4; k++) {
		net_send(&n, 2 * k + 1, NULL, net_frame(k, 60), 60, 0);
		vdrv_settle(&n.d);
		net_expect_sent(&n, k, NULL, k, 60);
	}
	pairs = 2;
	ck_assert_uint_eq(net_command_on(&n, 8, 4, 0, &pairs, 2, 0), OK);
	vdrv_settle(&n.d);
	net_expect(&n, 2, 9, 60);
	vdrv_reset(&n.d);
	ck_assert_uint_eq(fake_peer_pairs(n.peer), 1);
	net_rig_free(&n);
}

/* 5.1.6.5.6: with the answer it is certain that a pair that was turned off gets nothing any more. So while
 * one is receiving there is none. */
START_TEST(pairs_are_off_before_the_answer)
{
	struct ring_buf buf[2];
	u64 command;
	u32 written;
	u8 *p;

	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 2;
	vdrv_threads(&n.d);
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL);
	ck_assert_uint_eq(net_command_on(&n, 4, 4, 0, "\2\0", 2, 0), OK);

	command = vdrv_alloc(&n.d, 5);
	p = vdrv_ptr(&n.d, command, 5);
	memcpy(p, "\4\0\1\0\xee", 5);
	buf[0] = (struct ring_buf){ command, 4 };
	buf[1] = (struct ring_buf){ command + 4, 1 };
	pthread_mutex_lock(&net_of(n.d.v)->pair[1].receiving);
	vdrv_submit(&n.d, 4, buf, 1, 1);
	while (__atomic_load_n(&net_of(n.d.v)->active, __ATOMIC_ACQUIRE) != 1)
		vdrv_settle(&n.d);
	for (u32 k = 0; k < 40; k++) {
		vdrv_settle(&n.d);
		ck_assert_uint_eq(__atomic_load_n(&p[4], __ATOMIC_ACQUIRE), 0xee);
	}
	pthread_mutex_unlock(&net_of(n.d.v)->pair[1].receiving);
	vdrv_wait(&n.d, 4, &written);
	ck_assert_uint_eq(p[4], OK);
	net_rig_free(&n);
}

START_TEST(without_multiqueue_the_third_queue_is_the_control_queue)
{
	net_rig_init(&n, FORMAT(_i));
	n.o.npairs = 4;
	net_rig_plug(&n);
	vdrv_start(&n.d, NET_ALL & ~NET_F(MQ));
	ck_assert_uint_eq(net_command(&n, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\0", 1),
			  OK);
	ck_assert_uint_eq(net_command(&n, VIRTIO_NET_CTRL_MQ, 0, "\x01", 2), ERR);
	net_send(&n, 3, NULL, net_frame(1, 60), 60, 0); /* these are not there */
	net_post(&n, 8, 2000);
	net_expect_nothing_sent(&n, 1);
	ck_assert_uint_eq(net_sent(&n, 3), 0);
	net_rig_free(&n);
}

/* ---- link and announcements ---- */

static void start(int i)
{
	net_rig_start(&n, FORMAT(i), NET_ALL);
	for (u32 k = 0; k < 8; k++)
		net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
}

static u8 acknowledge(void)
{
	return net_command(&n, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0);
}

static u32 status(void)
{
	return vdrv_config(&n.d, CONFIG(status), 2);
}

START_TEST(the_link_goes_down_and_up)
{
	start(_i);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	virtio_net_set_link(n.d.v, false);
	vdrv_wait_config_called(&n.d);
	ck_assert_uint_eq(status(), 0);
	fake_peer_link(n.peer, false); /* nothing new */
	ck_assert(!vdrv_config_called(&n.d));
	fake_peer_put(n.peer, 0, NULL, net_frame(1, 60), 60);
	net_send(&n, NET_TX, NULL, net_frame(1, 60), 60, 0);
	net_expect_nothing(&n, NET_RX);
	net_expect_nothing_sent(&n, 0);
	ck_assert_uint_eq(net_sent(&n, NET_TX), 1); /* dropped, not kept */
	ck_assert_uint_eq(net_stats(&n, NET_TX).dropped + net_stats(&n, NET_RX).dropped, 2);
	virtio_net_set_link(n.d.v, true);
	ck_assert(!vdrv_config_called(&n.d)); /* the peer has none */
	ck_assert_uint_eq(status(), 0);
	vdrv_reset(&n.d); /* has nothing to do with it */
	ck_assert_uint_eq(status(), 0);
	vdrv_start(&n.d, NET_ALL);
	fake_peer_link(n.peer, true);
	vdrv_wait_config_called(&n.d);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	net_post(&n, NET_RX, 2000);
	fake_peer_put(n.peer, 0, NULL, net_frame(2, 60), 60);
	vdrv_settle(&n.d);
	net_expect(&n, NET_RX, 2, 60);
	net_rig_free(&n);
}

/* The other end said goodbye and left. */
START_TEST(what_came_before_the_peers_link_went_down_arrives)
{
	start(_i);
	net_post(&n, NET_RX, 2000);
	vdrv_settle(&n.d);
	fake_peer_put(n.peer, 0, NULL, net_frame(1, 60), 60);
	fake_peer_link(n.peer, false);
	vdrv_settle(&n.d);
	ck_assert_uint_eq(status(), 0);
	net_expect(&n, NET_RX, 1, 60);
	net_rig_free(&n);
}

START_TEST(the_driver_is_asked_to_announce_itself)
{
	start(_i);
	ck_assert_uint_eq(acknowledge(), ERR); /* nobody has asked */
	virtio_net_announce(n.d.v);
	vdrv_wait_config_called(&n.d);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(net_command(&n, VIRTIO_NET_CTRL_ANNOUNCE, 1, NULL, 0), ERR);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(acknowledge(), OK);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	ck_assert(!vdrv_config_called(&n.d));
	virtio_net_announce(n.d.v);
	vdrv_reset(&n.d);
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	virtio_net_announce(n.d.v); /* there is no driver */
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	vdrv_start(&n.d, NET_ALL & ~NET_F(GUEST_ANNOUNCE));
	virtio_net_announce(n.d.v); /* this one can't */
	ck_assert_uint_eq(status(), VIRTIO_NET_S_LINK_UP);
	net_rig_free(&n);
}

#define TEST(name) tcase_add_loop_test(t, name, 0, 2)

Suite *net_link_suite(void)
{
	Suite *su = suite_create("net_link");
	TCase *t = tcase_create("pairs and link");

	tcase_set_timeout(t, 60);
	TEST(pairs_are_set);
	TEST(pairs_are_off_before_the_answer);
	TEST(without_multiqueue_the_third_queue_is_the_control_queue);
	TEST(the_link_goes_down_and_up);
	TEST(what_came_before_the_peers_link_went_down_arrives);
	TEST(the_driver_is_asked_to_announce_itself);
	suite_add_tcase(su, t);
	return su;
}
