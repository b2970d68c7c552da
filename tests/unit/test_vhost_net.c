// SPDX-License-Identifier: MIT
/*
 * test_vhost_net.c - the data path by the kernel's vhost-net: a network device on a real tap and a real
 * /dev/vhost-net, in a network namespace of each test's own, and the driver's side of its rings in memory
 * of ours. The kernel is not to be told from a guest's.
 *
 * Where there is no /dev/vhost-net only the refusals run; tests/linux/vhost runs all in the lab host.
 */
#include "minivmm/datapath.h"
#include "minivmm/mem_log.h"
#include "tests/unit/net_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define RX	 0
#define TX	 1
#define POST_LEN 2000
#define PAIRS	 4
#define CTRL_MQ	 (2 * PAIRS) /* the control queue of a device with so many */
#define OK	 0

static struct net_rig n;
static const char *why_not; /* vhost-net can't be had here */
static int host = -1;	    /* the host's side of the tap */

static void setup(void)
{
	why_not = NULL;
	if (access("/dev/vhost-net", R_OK | W_OK) < 0)
		why_not = "/dev/vhost-net can't be opened";
	else if (access("/dev/net/tun", R_OK | W_OK) < 0)
		why_not = "/dev/net/tun can't be opened";
	else
		why_not = own_network();
}

#define needs_vhost()                       \
	do {                                \
		if (why_not)                \
			skip_test(why_not); \
	} while (0)

/* The host's side of the interface: all its frames. */
static void open_host_side(void)
{
	struct sockaddr_ll addr = { .sll_family = AF_PACKET,
				    .sll_protocol = htons(ETH_P_ALL),
				    .sll_ifindex = if_nametoindex("t0") };

	host = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
	ck_assert_int_ge(host, 0);
	ck_assert_int_eq(bind(host, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

/* `mode` as for net_rig_init(). */
static void plug(int mode, u32 npairs)
{
	const struct peer_tap_options tap = { .name = "t0", .npairs = npairs };
	struct virtio_dev *v;
	struct datapath *path;

	net_rig_init(&n, mode);
	vdrv_threads(&n.d);
	n.o.npairs = npairs;
	ck_assert_int_eq(peer_tap_open(&n.o.peer, &tap), 0);
	ck_assert_int_eq(virtio_net_create(&v, &n.d.rig->r.env, &n.d.options, &n.o), 0);
	ck_assert_int_eq(vhost_net_create(&path, &n.d.rig->r.env, n.o.peer), 0);
	virtio_set_path(v, path);
	vdrv_attach(&n.d, v);
	open_host_side();
}

static void unplug(void)
{
	close(host);
	vdrv_unplug(&n.d);
	vdrv_free(&n.d);
}

static void start(enum vdrv_bus bus)
{
	plug(bus, 1);
	vdrv_start(&n.d, ~0ULL);
}

/* A frame to the host: it arrives there, and the driver gets its chain back. Broadcasts, so that the
 * host's side sees what it has sent itself, too. */
static int host_gets(u32 number, u32 len)
{
	u8 seen[2000];

	for (u32 i = 0; i < 2000; i++) {
		ssize_t got = recv(host, seen, sizeof(seen), 0);

		if (got == len && memcmp(seen, net_frame(number, len), len) == 0)
			return 1;
		if (got < 0)
			usleep(500);
	}
	return 0;
}

static void host_sends(u32 number, u32 len)
{
	ck_assert_int_eq(send(host, net_frame(number, len), len, 0), len);
}

static int wait_received(u32 q)
{
	int len = -1;

	for (u32 i = 0; i < 4000 && len < 0; i++) {
		len = net_received(&n, q);
		if (len < 0)
			usleep(500);
	}
	return len;
}

/* One frame each way over pair `pair`, which is the only one that may receive. */
static void out_and_in(u32 pair, u32 number)
{
	u32 written;

	net_send(&n, 2 * pair + TX, NULL, net_frame(number, 100), 100, 0);
	ck_assert_int_ge(vdrv_wait(&n.d, 2 * pair + TX, &written), 0);
	ck_assert_uint_eq(written, 0);
	ck_assert_msg(host_gets(number, 100), "frame %u out", number);
	net_post(&n, 2 * pair + RX, POST_LEN);
	host_sends(number + 1, 200);
	ck_assert_int_eq(wait_received(2 * pair + RX), 200);
	ck_assert_mem_eq(n.got, net_frame(number + 1, 200), 200);
}

START_TEST(frames_go_both_ways)
{
	needs_vhost();
	start(_i);
	for (u32 i = 0; i < 600; i++) /* several times around the rings */
		out_and_in(0, i);
	vdrv_wait_called(&n.d, RX);
	expect_silence();
	unplug();
}

START_TEST(it_offers_what_the_kernel_can_serve)
{
	const u64 never = VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) | NET_F(CTRL_RX) |
			  NET_F(CTRL_RX_EXTRA) | NET_F(CTRL_VLAN);
	const u64 always =
		VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
		VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
		NET_F(MRG_RXBUF) | NET_F(MAC) | NET_F(STATUS) | NET_F(CTRL_VQ) | NET_F(MQ) |
		NET_F(CTRL_MAC_ADDR) | NET_F(CSUM) | NET_F(HOST_TSO4) | NET_F(GUEST_TSO4) |
		NET_F(CTRL_GUEST_OFFLOADS);
	u64 offered;

	needs_vhost();
	plug(VDRV_PCI_MSIX + VDRV_BUSES, PAIRS); /* packed=on, which can't be had */
	offered = vdrv_offered(&n.d);
	ck_assert_uint_eq(offered & never, 0);
	ck_assert_uint_eq(offered & always, always);
	unplug();
}

START_TEST(few_features_do)
{
	static const u64 sets[] = {
		0,
		VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX),
		VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
		~0ULL,
	};

	needs_vhost();
	plug(VDRV_PCI_MSIX, 1);
	for (u32 i = 0; i < ARRAY_SIZE(sets); i++) {
		vdrv_start(&n.d, sets[i] | NET_F(MRG_RXBUF) | VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
		for (u32 k = 0; k < 5; k++)
			out_and_in(0, 10 * i + k);
	}
	unplug();
}

/* num_buffers is not looked at: see vhost_net.c. */
START_TEST(it_works_without_mergeable_buffers)
{
	u32 written;

	needs_vhost();
	plug(VDRV_PCI_MSIX, 1);
	vdrv_start(&n.d, VIRTIO_FEATURE(VIRTIO_F_VERSION_1));
	for (u32 i = 0; i < 100; i++) {
		net_post(&n, RX, POST_LEN);
		host_sends(i, 200);
		ck_assert_int_ge(vdrv_wait(&n.d, RX, &written), 0);
		ck_assert_uint_eq(written, PEER_HDR_LEN + 200);
	}
	unplug();
}

/* Also what the driver does while nobody looks is found afterwards. */
START_TEST(its_rings_can_be_taken_over_in_mid_stream)
{
	u32 written;

	needs_vhost();
	start(_i);
	for (u32 i = 0; i < 300; i++) {
		virtio_pause(n.d.v);
		ck_assert_uint_eq(n.d.v->queue[TX].pos.avail, n.d.v->queue[TX].pos.used);
		ck_assert_uint_eq(n.d.v->queue[TX].pos.avail, (u16)(2 * i));
		net_post(&n, RX, POST_LEN);
		net_send(&n, TX, NULL, net_frame(i, 80), 80, 0);
		host_sends(i + 1, 90);
		virtio_resume(n.d.v);
		ck_assert_int_ge(vdrv_wait(&n.d, TX, &written), 0);
		ck_assert(host_gets(i, 80));
		ck_assert_int_eq(wait_received(RX), 90);
		out_and_in(0, i);
	}
	unplug();
}

START_TEST(a_paused_ring_rests)
{
	needs_vhost();
	start(VDRV_PCI_MSIX);
	out_and_in(0, 1);
	virtio_pause(n.d.v);
	net_post(&n, RX, POST_LEN);
	net_send(&n, TX, NULL, net_frame(3, 80), 80, 0);
	host_sends(4, 90);
	usleep(20000);
	ck_assert_uint_eq(net_sent(&n, TX), 0);
	ck_assert_int_eq(net_received(&n, RX), -1);
	virtio_resume(n.d.v);
	ck_assert(host_gets(3, 80));
	ck_assert_int_eq(wait_received(RX), 90);
	unplug();
}

static void set_up(bool up)
{
	struct ifreq ifr = { .ifr_flags = up ? IFF_UP : 0, .ifr_name = "t0" };

	ck_assert_int_eq(ioctl(host, SIOCSIFFLAGS, &ifr), 0);
}

/* The interface is down, and does not wake the kernel's worker. */
START_TEST(a_kick_that_nobody_heard_is_not_lost)
{
	u32 written;

	needs_vhost();
	start(VDRV_PCI_MSIX);
	out_and_in(0, 1);
	virtio_pause(n.d.v);
	set_up(false);
	net_send(&n, TX, NULL, net_frame(3, 80), 80, 0);
	virtio_resume(n.d.v);
	ck_assert_int_ge(vdrv_wait(&n.d, TX, &written), 0); /* and the frame is */
	set_up(true);
	unplug();
}

START_TEST(a_queue_can_be_reset_and_used_again)
{
	needs_vhost();
	start(VDRV_PCI_MSIX);
	for (u32 size = 64; size >= 2; size /= 2) {
		for (u32 q = RX; q <= TX; q++) {
			vdrv_queue_reset(&n.d, q);
			vdrv_queue_up(&n.d, q, size);
			for (u32 i = 0; i < 5; i++)
				out_and_in(0, size + i);
		}
	}
	unplug();
}

START_TEST(bad_queues_do_not_start)
{
	static const struct vq_cfg bad[] = {
		{ .size = 16, .desc = VDRV_RAM, .driver = MIB, .device = 2 * MIB },
		{ .size = 16, .desc = MIB, .driver = VDRV_RAM - 2, .device = 2 * MIB },
		{ .size = 16, .desc = MIB, .driver = 2 * MIB, .device = ~0ULL - 3 },
		{ .size = 16, .desc = MIB + 8, .driver = 2 * MIB, .device = 3 * MIB },
		{ .size = 16, .desc = MIB, .driver = 2 * MIB + 1, .device = 3 * MIB },
		{ .size = 16, .desc = MIB, .driver = 2 * MIB, .device = 3 * MIB + 2 },
	};

	needs_vhost();
	plug(VDRV_PCI_MSIX, 1);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		vdrv_reset(&n.d);
		ck_assert(vdrv_negotiate(&n.d, ~0ULL));
		vdrv_queue_write(&n.d, i % 2, &bad[i]);
		vdrv_driver_ok(&n.d);
		vdrv_wait_config_called(&n.d);
		ck_assert(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		expect_said(i % 2 ? "broke a rule, the device needs a reset: queue 1: bad address"
				  : "broke a rule, the device needs a reset: queue 0: bad address");
		vdrv_start(&n.d, ~0ULL);
		out_and_in(0, i);
	}
	unplug();
}

/* The kernel finds them, and tells by the error eventfd. */
START_TEST(a_hostile_ring_breaks_the_device_until_its_reset)
{
	const struct ring_buf nowhere = { VDRV_RAM + PAGE_SIZE, 64 };
	const struct ring_buf somewhere = { MIB, 64 };

	needs_vhost();
	start(VDRV_PCI_MSIX);
	for (u32 i = 0; i < 3; i++) {
		out_and_in(0, i);
		switch (i) {
		case 0:
			vdrv_submit(&n.d, TX, &nowhere, 1, 0);
			break;
		case 1: /* to be written, here */
			vdrv_submit(&n.d, TX, &somewhere, 0, 1);
			break;
		case 2: /* more entries than the ring has */
			((u16 *)vdrv_ptr(&n.d, n.d.q[TX].ring.cfg.driver, 4))[1] += 1000;
			vdrv_kick(&n.d, TX);
			break;
		}
		vdrv_wait_config_called(&n.d);
		ck_assert(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
		expect_said("queue 1: vhost-net can't serve what is in it");
		net_post(&n, RX, POST_LEN); /* the other one rests, too */
		host_sends(50, 60);
		usleep(20000);
		ck_assert_int_eq(net_received(&n, RX), -1);
		vdrv_start(&n.d, ~0ULL);
		net_post(&n, RX, POST_LEN);
		ck_assert_int_eq(wait_received(RX), 60); /* it waited in the tap */
		expect_silence();
	}
	unplug();
}

START_TEST(a_tap_that_is_deleted_is_told_of_and_not_the_drivers_fault)
{
	needs_vhost();
	start(VDRV_PCI_MSIX);
	out_and_in(0, 1);
	ck_assert_int_eq(system("ip link del t0"), 0);
	net_send(&n, TX, NULL, net_frame(1, 80), 80, 0);
	for (u32 i = 0; i < 2000 && !(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET); i++) {
		vdrv_settle(&n.d);
		usleep(500);
	}
	ck_assert(vdrv_status(&n.d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	expect_said(
		"the host can't go on, the device needs a reset: vhost-net: the tap was deleted");
	unplug();
}

START_TEST(a_used_index_that_the_driver_wrote_is_found)
{
	needs_vhost();
	start(VDRV_PCI_MSIX);
	out_and_in(0, 1);
	virtio_pause(n.d.v);
	n.d.v->queue[TX].pos.used += 5;
	virtio_resume(n.d.v);
	vdrv_wait_config_called(&n.d);
	expect_said("queue 1: bad size");
	vdrv_start(&n.d, ~0ULL);
	out_and_in(0, 2);
	unplug();
}

/* Where frames for the guest go: the pair that has one, or -1. */
static int pair_that_receives(void)
{
	for (u32 i = 0; i < 4000; i++) {
		for (u32 pair = 0; pair < PAIRS; pair++) {
			if (net_received(&n, 2 * pair) >= 0)
				return pair;
		}
		usleep(500);
	}
	return -1;
}

START_TEST(pairs_are_switched_on_and_off)
{
	static const u16 counts[] = { 4, 1, 3, 2, 4, 4, 1 };
	u32 written;

	needs_vhost();
	plug(VDRV_PCI_MSIX, PAIRS);
	vdrv_start(&n.d, ~0ULL);
	out_and_in(0, 1);
	for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
		ck_assert_uint_eq(net_command_on(&n, CTRL_MQ, 4, 0, &counts[i], 2, 0), OK);
		/* The tap sends a flow back to the queue that it came from; this is no flow. */
		for (u32 pair = 0; pair < counts[i]; pair++) {
			net_send(&n, 2 * pair + TX, NULL, net_frame(pair, 100), 100, 0);
			ck_assert_int_ge(vdrv_wait(&n.d, 2 * pair + TX, &written), 0);
			ck_assert(host_gets(pair, 100));
			net_post(&n, 2 * pair + RX, POST_LEN);
		}
		host_sends(7, 70);
		ck_assert_int_ge(pair_that_receives(), 0);
		/* All of them rest and go on. */
		virtio_pause(n.d.v);
		virtio_resume(n.d.v);
	}
	vdrv_start(&n.d, ~0ULL);
	out_and_in(0, 9);
	expect_silence();
	unplug();
}

START_TEST(a_pair_that_is_off_rests)
{
	const u16 two = 2;
	u32 written;

	needs_vhost();
	plug(VDRV_PCI_MSIX, PAIRS);
	vdrv_start(&n.d, ~0ULL);
	net_send(&n, 3, NULL, net_frame(1, 100), 100, 0);
	usleep(20000);
	ck_assert_uint_eq(net_sent(&n, 3), 0);
	ck_assert_uint_eq(net_command_on(&n, CTRL_MQ, 4, 0, &two, 2, 0), OK);
	ck_assert_int_ge(vdrv_wait(&n.d, 3, &written), 0);
	ck_assert(host_gets(1, 100));
	unplug();
}

START_TEST(without_multiqueue_the_third_queue_is_the_control_queue)
{
	const u8 mac[6] = { 0x52, 0x54, 0, 1, 2, 3 };

	needs_vhost();
	plug(VDRV_PCI_MSIX, PAIRS);
	vdrv_start(&n.d, ~NET_F(MQ));
	ck_assert_uint_eq(
		net_command_on(&n, 2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6, 0),
		OK);
	out_and_in(0, 1);
	unplug();
}

START_TEST(without_the_cable_nothing_moves)
{
	needs_vhost();
	start(VDRV_PCI_MSIX);
	out_and_in(0, 1);
	virtio_net_set_link(n.d.v, false);
	net_send(&n, TX, NULL, net_frame(3, 80), 80, 0);
	usleep(20000);
	ck_assert_uint_eq(net_sent(&n, TX), 0);
	virtio_net_set_link(n.d.v, true);
	ck_assert(host_gets(3, 80));
	ck_assert_int_ge(net_sent(&n, TX), 0);
	net_sent(&n, TX);
	out_and_in(0, 5);
	unplug();
}

static bool is_logged(const u8 *log, u64 gpa)
{
	u64 page = gpa / PAGE_SIZE;

	return __atomic_load_n(&log[page / 8], __ATOMIC_SEQ_CST) >> page % 8 & 1;
}

static u32 logged(const struct mem_log *log)
{
	u32 count = 0;

	for (u32 i = 0; i < log->size; i++)
		count += __builtin_popcount(log->map[i]);
	return count;
}

START_TEST(written_pages_are_logged_while_that_is_asked_for)
{
	struct mem_log log, small;
	struct datapath *path;
	u64 buf;

	needs_vhost();
	start(VDRV_PCI_MSIX);
	path = n.d.v->path;
	out_and_in(0, 1);
	ck_assert_int_eq(mem_log_create(&log, n.d.rig->r.env.mem), 0);
	small = log;
	small.size = 1;
	ck_assert_int_eq(path->ops->log_dirty(path, &small), -EINVAL);
	for (u32 round = 0; round < 3;
	     round++) { /* the second across a new start, the third a reset */
		memset(log.map, 0, log.size);
		ck_assert_int_eq(path->ops->log_dirty(path, &log), 0);
		if (round == 1) {
			virtio_pause(n.d.v);
			virtio_resume(n.d.v);
		} else if (round == 2) {
			vdrv_start(&n.d, ~0ULL);
		}
		n.d.next = ALIGN_UP(n.d.next, PAGE_SIZE);
		buf = n.d.next;
		net_post(&n, RX, POST_LEN);
		host_sends(2, 200);
		ck_assert_int_eq(wait_received(RX), 200);
		ck_assert(is_logged(log.map, buf));
		ck_assert(is_logged(log.map, n.d.q[RX].ring.cfg.device));
		ck_assert(!is_logged(log.map, buf + 2 * PAGE_SIZE));
		ck_assert_uint_lt(logged(&log), 8);
		ck_assert_int_eq(path->ops->log_dirty(path, NULL), 0);
		memset(log.map, 0, log.size);
		out_and_in(0, 3);
		ck_assert_uint_eq(logged(&log), 0);
	}
	mem_log_close(&log);
	unplug();
}

static bool over;

static void *flood(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		u8 frame[60];

		memset(frame, 0xff, sizeof(frame));
		send(host, frame, sizeof(frame), 0);
	}
	return NULL;
}

/* After a reset the kernel touches neither rings nor buffers. */
START_TEST(a_reset_under_load_is_final)
{
	pthread_t thread;
	u8 *used;

	needs_vhost();
	start(VDRV_PCI_MSIX);
	ck_assert_int_eq(pthread_create(&thread, NULL, flood, NULL), 0);
	for (u32 i = 0; i < 100; i++) {
		u64 gpa = n.d.q[RX].ring.cfg.device;
		static u8 before[6 + 8 * 256];

		for (u32 k = 0; k < 60; k++)
			net_post(&n, RX, POST_LEN);
		usleep(i * 20);
		vdrv_set_status(&n.d, 0);
		used = vdrv_ptr(&n.d, gpa, sizeof(before));
		memcpy(before, used, sizeof(before));
		usleep(1000);
		ck_assert_mem_eq(used, before, sizeof(before));
		n.d.next = 16 * MIB; /* the buffers are the driver's again */
		vdrv_start(&n.d, ~0ULL);
	}
	__atomic_store_n(&over, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	unplug();
}

/* ---- refusals, also where there is no vhost-net ---- */

#define needs_root()                                       \
	do {                                               \
		if (geteuid() || unshare(CLONE_NEWNS) < 0) \
			skip_test("not root");             \
	} while (0)

/* /dev with nothing in it but, perhaps, a vhost-net that is /dev/null in truth. */
static void make_dev(bool null, mode_t mode)
{
	ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	ck_assert_int_eq(mount("none", "/dev", "tmpfs", 0, "mode=755"), 0);
	if (!null)
		return;
	ck_assert_int_eq(mknod("/dev/vhost-net", S_IFCHR | mode, makedev(1, 3)), 0);
}

static void refused(int err, const char *why)
{
	static struct rig r;
	struct fake_peer *peer = fake_peer_create(0, 2, 0);
	struct datapath *path = NULL;

	rig_init(&r);
	ck_assert_int_eq(vhost_net_create(&path, &r.env, fake_peer_base(peer)), err);
	expect_said(why);
	peer_destroy(fake_peer_base(peer));
	rig_free(&r);
}

START_TEST(no_module_is_told)
{
	needs_root();
	make_dev(false, 0);
	refused(-ENOENT, "/dev/vhost-net: No such file or directory; modprobe vhost_net");
}

START_TEST(something_else_is_told)
{
	needs_root();
	make_dev(true, 0666);
	refused(-ENOTTY, "/dev/vhost-net is something else");
}

START_TEST(no_permission_is_told)
{
	needs_root();
	make_dev(true, 0600);
	ck_assert_int_eq(setresuid(65534, 65534, 65534), 0);
	refused(-EACCES, "/dev/vhost-net: Permission denied; run as root, or let your user");
}

Suite *vhost_net_suite(void)
{
	Suite *s = suite_create("vhost-net");
	TCase *t = tcase_create("vhost-net");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, frames_go_both_ways, 0, VDRV_BUSES);
	tcase_add_test(t, it_offers_what_the_kernel_can_serve);
	tcase_add_test(t, few_features_do);
	tcase_add_test(t, it_works_without_mergeable_buffers);
	tcase_add_loop_test(t, its_rings_can_be_taken_over_in_mid_stream, 0, VDRV_BUSES);
	tcase_add_test(t, a_paused_ring_rests);
	tcase_add_test(t, a_kick_that_nobody_heard_is_not_lost);
	tcase_add_test(t, a_queue_can_be_reset_and_used_again);
	tcase_add_test(t, bad_queues_do_not_start);
	tcase_add_test(t, a_hostile_ring_breaks_the_device_until_its_reset);
	tcase_add_test(t, a_used_index_that_the_driver_wrote_is_found);
	tcase_add_test(t, a_tap_that_is_deleted_is_told_of_and_not_the_drivers_fault);
	tcase_add_test(t, pairs_are_switched_on_and_off);
	tcase_add_test(t, a_pair_that_is_off_rests);
	tcase_add_test(t, without_multiqueue_the_third_queue_is_the_control_queue);
	tcase_add_test(t, without_the_cable_nothing_moves);
	tcase_add_test(t, written_pages_are_logged_while_that_is_asked_for);
	tcase_add_test(t, a_reset_under_load_is_final);
	suite_add_tcase(s, t);
	t = tcase_create("vhost-net-refusals");
	tcase_add_test(t, no_module_is_told);
	tcase_add_test(t, something_else_is_told);
	tcase_add_test(t, no_permission_is_told);
	suite_add_tcase(s, t);
	return s;
}
