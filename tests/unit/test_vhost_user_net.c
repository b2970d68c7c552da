// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_net.c - a network device whose frames a vhost-user back end moves, that of
 * fake_back_end.h: it takes what is sent, and uses what it is given to receive into without a frame.
 */
#include "minivmm/datapath.h"
#include "tests/unit/fake_back_end.h"
#include "tests/unit/mem_log_rig.h"
#include "tests/unit/net_rig.h"

#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <unistd.h>

#define CONFIG(f) offsetof(struct virtio_net_config, f)
#define OFFLOADS  (NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS)
#define MQ_CTRL	  4 /* the control queue of two pairs */
#define NO_MQ	  (NET_ALL & ~NET_F(MQ))

static struct net_rig n;
static struct back_end be;
static struct vhost_user_net_options vu;

static int create(struct virtio_dev **v, const struct machine_env *env,
		  const struct virtio_options *o)
{
	struct datapath *path;
	int err = vhost_user_net_create(&path, &n.o.peer, env, &vu);

	if (err)
		return err;
	err = virtio_net_create(v, env, o, &n.o);
	if (err)
		datapath_destroy(path);
	else
		virtio_set_path(*v, path);
	return err;
}

/* A machine and a back end for `npairs`; `mode` is transport and ring format. */
static void begin(int mode, u32 npairs)
{
	net_rig_init(&n, mode);
	n.o.npairs = npairs;
	be_begin(&be);
	be.features |= OFFLOADS | NET_F(MRG_RXBUF) | NET_F(MQ);
	be.protocol = BE_P(MQ) | BE_P(REPLY_ACK) | BE_P(RARP) | BE_P(MTU) | BE_P(RESET_DEVICE);
	be.queue_num = BE_QUEUES / 2;
	vu = (struct vhost_user_net_options){
		.path = be.path, .npairs = npairs, .queue_size = 64, .packed = n.d.options.packed
	};
}

static void plug(void)
{
	be_listen(&be);
	vdrv_plug(&n.d, create);
}

/* All of it, with a driver that accepts all. */
static void start(int mode, u32 npairs)
{
	begin(mode, npairs);
	plug();
	vdrv_start(&n.d, NET_ALL);
}

static void end(void)
{
	if (n.d.dev)
		vdrv_unplug(&n.d);
	be_end(&be);
	unlink(be.path);
	vdrv_free(&n.d);
}

#define wait_until(what) vdrv_wait_until(&n.d, what)

static void send_frame(u32 q)
{
	u32 len;

	net_send(&n, q, NULL, net_frame(q, 100), 100, 0);
	vdrv_wait(&n.d, q, &len);
	ck_assert_uint_eq(len, 0);
}

static bool link_up(void)
{
	return vdrv_config(&n.d, CONFIG(status), 2) & VIRTIO_NET_S_LINK_UP;
}

/* To 02:00:00:00:00:09. */
static u8 set_mac(void)
{
	static const u8 mac[6] = { 2, 0, 0, 0, 0, 9 };

	return net_command(&n, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6);
}

static u8 use_pairs(u16 pairs)
{
	return net_command_on(&n, MQ_CTRL, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
			      &pairs, 2, 0);
}

START_TEST(the_back_end_has_the_frames)
{
	start(_i, 1);
	for (u32 i = 0; i < 100; i++)
		send_frame(NET_TX);
	net_post(&n, NET_RX, 2000);
	vdrv_wait(&n.d, NET_RX, NULL);
	ck_assert_uint_eq(be_get(&be.enabled), 3);
	/* Or it would have discarded what was waiting to be transmitted. */
	ck_assert_uint_eq(be_get(&be.late), 0);
	ck_assert(link_up());
	expect_silence();
	end();
}

START_TEST(the_control_queue_is_ours)
{
	start(_i, 1);
	ck_assert_uint_eq(set_mac(), VIRTIO_NET_OK);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mac) + 4, 2), 0x0900);
	end();
}

/* 5.1.2 */
START_TEST(without_mq_the_third_queue_is_the_control_queue)
{
	begin(_i, 2);
	plug();
	vdrv_start(&n.d, NO_MQ);
	ck_assert_uint_eq(set_mac(), VIRTIO_NET_OK);
	send_frame(NET_TX);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_KICK), 2);
	vdrv_start(&n.d, NET_ALL); /* and now it is not */
	vdrv_wait_until(&n.d, be_seen(&be, VHOST_USER_SET_VRING_KICK) == 2 + 4);
	ck_assert_uint_eq(use_pairs(2), VIRTIO_NET_OK);
	send_frame(3);
	end();
}

START_TEST(both_must_know_a_feature)
{
	u64 offered;

	begin(_i, 1);
	be.features &= ~(NET_F(CSUM) | NET_F(GUEST_TSO6) | NET_F(MRG_RXBUF));
	be.features |= NET_F(CTRL_RX) | NET_F(CTRL_VLAN) | NET_F(CTRL_RX_EXTRA) |
		       NET_F(CTRL_GUEST_OFFLOADS) | NET_F(RSS);
	n.o.features_off = NET_F(GUEST_USO4);
	plug();
	offered = vdrv_offered(&n.d);
	ck_assert_uint_eq(offered & OFFLOADS, NET_F(GUEST_CSUM) | NET_F(GUEST_TSO4) |
						      NET_F(GUEST_ECN) | NET_F(GUEST_USO6));
	/* What only we know: in the configuration, or by the control queue. */
	ck_assert_uint_eq(offered & ~OFFLOADS & 0xffffff,
			  (NET_F(MAC) | NET_F(STATUS) | NET_F(CTRL_VQ) | NET_F(CTRL_MAC_ADDR) |
			   NET_F(GUEST_ANNOUNCE)));
	ck_assert_uint_eq(offered & NET_F(RSS), 0);
	end();
}

START_TEST(pairs_of_queues_work_as_the_driver_says)
{
	begin(_i, 2);
	plug();
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(max_virtqueue_pairs), 2), 2);
	for (u32 round = 0; round < 2; round++) {
		vdrv_start(&n.d, NET_ALL);
		ck_assert_uint_eq(be_get(&be.enabled), 3);
		ck_assert_uint_eq(use_pairs(2), VIRTIO_NET_OK);
		ck_assert_uint_eq(be_get(&be.enabled), 15);
		send_frame(1);
		send_frame(3);
		ck_assert_uint_eq(use_pairs(1), VIRTIO_NET_OK);
		ck_assert_uint_eq(be_get(&be.enabled), 3);
		ck_assert_uint_eq(use_pairs(2), VIRTIO_NET_OK);
	}
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_RESET_DEVICE), 1);
	end();
}

/* 5.1.6.5.5: nothing is received any more once the driver has its answer. */
START_TEST(without_acknowledgements_they_rest_all_the_same)
{
	begin(_i, 2);
	be.protocol &= ~BE_P(REPLY_ACK);
	plug();
	vdrv_start(&n.d, NET_ALL);
	for (u32 round = 0; round < 20; round++) {
		ck_assert_uint_eq(use_pairs(2), VIRTIO_NET_OK);
		ck_assert_uint_eq(be_get(&be.enabled), 15);
		ck_assert_uint_eq(use_pairs(1), VIRTIO_NET_OK);
		ck_assert_uint_eq(be_get(&be.enabled), 3);
	}
	end();
}

START_TEST(without_a_link_all_rest)
{
	start(_i, 2);
	use_pairs(2);
	virtio_net_set_link(n.d.v, false);
	ck_assert_uint_eq(be_get(&be.enabled), 0);
	ck_assert(!link_up());
	use_pairs(1);
	ck_assert_uint_eq(be_get(&be.enabled), 0);
	virtio_net_set_link(n.d.v, true);
	ck_assert_uint_eq(be_get(&be.enabled), 3);
	ck_assert(link_up());
	end();
}

/* ---- what a network's back end alone is told ---- */

START_TEST(the_mtu_is_told)
{
	begin(_i, 1);
	n.o.mtu = vu.mtu = 9000;
	be.features |= NET_F(MTU);
	plug();
	vdrv_start(&n.d, NET_ALL);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mtu), 2), 9000);
	ck_assert_uint_eq(be_get(&be.mtu), 9000);
	vdrv_start(&n.d, NET_ALL & ~NET_F(MTU)); /* "only when negotiated" */
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_NET_SET_MTU), 1);
	end();
}

START_TEST(a_back_end_that_does_not_know_the_mtu_is_not_told)
{
	begin(_i, 1);
	n.o.mtu = vu.mtu = 9000;
	be.protocol &= ~BE_P(MTU);
	plug();
	vdrv_start(&n.d, NET_ALL);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(mtu), 2), 9000);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_NET_SET_MTU), 0);
	end();
}

START_TEST(an_mtu_can_be_refused)
{
	begin(_i, 1);
	n.o.mtu = vu.mtu = 9000;
	be.features |= NET_F(MTU);
	be.bad = BE_REFUSE;
	be.bad_request = VHOST_USER_NET_SET_MTU;
	plug();
	ck_assert(vdrv_negotiate(&n.d, NET_ALL));
	vdrv_driver_ok(&n.d);
	ck_assert_uint_eq(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET,
			  VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert_ptr_nonnull(strstr(said_text(), "the back end refuses mtu=9000"));
	said_forget();
	end();
}

/* A driver that can announces itself; for another one the back end does it. */
START_TEST(a_guest_is_announced)
{
	const u8 mac[8] = { 2, 0, 0, 0, 0, 9 };
	u64 payload;

	memcpy(&payload, mac, 8);
	begin(_i, 1);
	plug();
	virtio_net_announce(n.d.v); /* there is no guest yet */
	vdrv_start(&n.d, NET_ALL);
	virtio_net_announce(n.d.v);
	ck_assert_uint_eq(vdrv_config(&n.d, CONFIG(status), 2) & VIRTIO_NET_S_ANNOUNCE,
			  VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SEND_RARP), 0);
	vdrv_start(&n.d, NET_ALL & ~NET_F(GUEST_ANNOUNCE));
	set_mac();
	virtio_net_announce(n.d.v);
	wait_until(be_seen(&be, VHOST_USER_SEND_RARP) == 1); /* counted once it is answered */
	ck_assert_uint_eq(be.rarp, payload);
	end();
}

START_TEST(a_back_end_that_cannot_announce_is_not_asked)
{
	begin(_i, 1);
	be.protocol &= ~BE_P(RARP);
	plug();
	vdrv_start(&n.d, NET_ALL & ~NET_F(GUEST_ANNOUNCE));
	virtio_net_announce(n.d.v);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SEND_RARP), 0);
	end();
}

/* ---- the log of written pages: ours for the control queue, the back end's for the others ---- */

static void command_and_frames(const struct mem_log *log, bool marked)
{
	u64 from;

	marks_take_all(log);
	n.d.next = from = ALIGN_UP(n.d.next, MEM_LOG_PAGE);
	set_mac();
	n.d.next = ALIGN_UP(n.d.next, MEM_LOG_PAGE);
	ck_assert_int_eq(marks_take(log, from, n.d.next) > 0, marked); /* the answer */
	ck_assert_int_eq(mem_log_take(log, n.d.q[NET_CTRL].ring.cfg.device), marked);
	marks_take_all(log);

	from = n.d.next;
	net_post(&n, NET_RX, 2000);
	vdrv_wait(&n.d, NET_RX, NULL);
	n.d.next = ALIGN_UP(n.d.next, MEM_LOG_PAGE);
	ck_assert_int_eq(marks_take(log, from, n.d.next) > 0, marked);
	ck_assert_int_eq(mem_log_take(log, n.d.q[NET_RX].ring.cfg.device), marked);
}

START_TEST(what_is_written_in_any_queue_is_marked)
{
	struct mem_log log;

	begin(_i, 1);
	be.features |= 1ULL << VHOST_F_LOG_ALL;
	be.protocol |= BE_P(LOG_SHMFD);
	plug();
	vdrv_start(&n.d, NET_ALL);
	ck_assert_int_eq(mem_log_create(&log, n.d.rig->r.env.mem), 0);
	command_and_frames(&log, false);
	ck_assert_int_eq(virtio_log_dirty(n.d.v, &log), 0);
	command_and_frames(&log, true);
	vdrv_start(&n.d, NET_ALL);
	command_and_frames(&log, true);
	ck_assert_int_eq(virtio_log_dirty(n.d.v, NULL), 0);
	command_and_frames(&log, false);
	ck_assert_uint_eq(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	mem_log_close(&log);
	end();
}

/* ---- coming and going ---- */

/* Split rings: without a record of its own, where a ring stands is in the ring. */
START_TEST(the_link_is_down_while_nobody_is_there)
{
	start(_i, 2);
	use_pairs(2);
	for (u32 i = 0; i < 70; i++)
		send_frame(3);
	be_end(&be);
	wait_until(!link_up());
	ck_assert_uint_eq(use_pairs(1), VIRTIO_NET_OK); /* the guest goes on */
	net_send(&n, NET_TX, NULL, net_frame(1, 100), 100, 0);
	be_listen(&be);
	wait_until(link_up());
	vdrv_wait(&n.d, NET_TX, NULL);
	ck_assert_uint_eq(be_get(&be.enabled), 3);
	use_pairs(2);
	send_frame(3);
	ck_assert_uint_eq(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	said_forget();
	end();
}

START_TEST(a_packed_ring_without_a_record_needs_a_reset)
{
	start(VDRV_BUSES + _i, 1);
	send_frame(NET_TX);
	be_end(&be);
	wait_until(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	be_listen(&be);
	wait_until(link_up());
	vdrv_start(&n.d, NET_ALL);
	send_frame(NET_TX);
	said_forget();
	end();
}

/* What is ours need not be the next one's. */
START_TEST(the_next_back_end_may_know_less_of_what_is_ours)
{
	begin(_i, 1);
	be.features |= NET_F(GUEST_ANNOUNCE) | NET_F(CTRL_VQ) | NET_F(STATUS);
	plug();
	vdrv_start(&n.d, NET_ALL);
	be_end(&be);
	wait_until(!link_up());
	be.features &= ~(NET_F(GUEST_ANNOUNCE) | NET_F(CTRL_VQ) | NET_F(STATUS));
	be_listen(&be);
	wait_until(link_up());
	send_frame(NET_TX);
	said_forget();
	end();
}

/* ---- refusals ---- */

static void refused(const char *why)
{
	struct virtio_dev *v = NULL;

	be_listen(&be);
	ck_assert_int_lt(create(&v, &n.d.rig->r.env, &n.d.options), 0);
	expect_said(why);
	end();
}

START_TEST(too_few_pairs)
{
	begin(0, 2);
	be.queue_num = 1;
	refused("has 1 queues: give queues=1");
}

START_TEST(no_pairs)
{
	begin(0, 2);
	be.features &= ~NET_F(MQ);
	refused("does not offer feature bit 0x400000");
}

START_TEST(no_packed_rings)
{
	begin(VDRV_BUSES, 1);
	be.features &= ~(1ULL << VIRTIO_F_RING_PACKED);
	refused("does not offer feature bit 0x400000000");
}

Suite *vhost_user_net_suite(void)
{
	Suite *s = suite_create("vhost-user-net");
	TCase *t = tcase_create("vhost-user-net");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, the_back_end_has_the_frames, 0, NET_MODES);
	tcase_add_loop_test(t, the_control_queue_is_ours, 0, NET_MODES);
	tcase_add_loop_test(t, without_mq_the_third_queue_is_the_control_queue, 0, NET_MODES);
	tcase_add_loop_test(t, both_must_know_a_feature, 0, NET_MODES);
	tcase_add_loop_test(t, pairs_of_queues_work_as_the_driver_says, 0, NET_MODES);
	tcase_add_loop_test(t, without_acknowledgements_they_rest_all_the_same, 0, NET_MODES);
	tcase_add_loop_test(t, without_a_link_all_rest, 0, NET_MODES);
	tcase_add_loop_test(t, the_mtu_is_told, 0, NET_MODES);
	tcase_add_loop_test(t, a_back_end_that_does_not_know_the_mtu_is_not_told, 0, NET_MODES);
	tcase_add_loop_test(t, an_mtu_can_be_refused, 0, NET_MODES);
	tcase_add_loop_test(t, a_guest_is_announced, 0, NET_MODES);
	tcase_add_loop_test(t, a_back_end_that_cannot_announce_is_not_asked, 0, NET_MODES);
	tcase_add_loop_test(t, what_is_written_in_any_queue_is_marked, 0, NET_MODES);
	tcase_add_loop_test(t, the_link_is_down_while_nobody_is_there, 0, VDRV_BUSES);
	tcase_add_loop_test(t, a_packed_ring_without_a_record_needs_a_reset, 0, VDRV_BUSES);
	tcase_add_loop_test(t, the_next_back_end_may_know_less_of_what_is_ours, 0, VDRV_BUSES);
	tcase_add_test(t, too_few_pairs);
	tcase_add_test(t, no_pairs);
	tcase_add_test(t, no_packed_rings);
	suite_add_tcase(s, t);
	return s;
}
