// SPDX-License-Identifier: MIT
/*
 * test_switch_paths.c - the live switch between real data paths, without a guest: a network device on a tap and a
 * disk, moved to and fro between each two of inproc, vhost-user (`minivmm device` in a process of its own) and
 * vhost-net, with frames or requests in flight.
 *
 *	this thread	the driver, and what is at the other end of the tap. It looks at a queue only after the
 *			interrupt that it has asked for, and kicks only when it is asked to: so a wake-up that is
 *			lost is a standstill, and found
 *	switcher	has the main loop switch, now and then
 *
 * Frames are numbered: each arrives once, in its order. A block of the disk holds what was last written to it, and
 * each request is answered once. The driver notices nothing: features, configuration space, status are the same.
 *
 * What the driver may have felt is the gap. SWITCHES=200 says how often each way, SWITCH_GAPS=FILE where a line for
 * each switch goes: that is `make bench-switch` (tests/bench/switch).
 */
#include "tests/unit/switch_rig.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SWITCHES   10 /* each way */
#define WORK	   20 /* frames or requests between two switches */
#define PATIENCE_S 20
#define CONFIG_LEN 64

/* What moves through the device while it is switched. */
struct load {
	const char *name;
	u32 nqueues; /* that the driver waits for */
	void (*plug)(void);
	void (*begin)(void); /* the driver is ready */
	void (*arrived)(u32 q, int id, u32 written);
	void (*turn)(bool more); /* begin something new, and look at the other end */
	bool (*idle)(void);	 /* nothing is under way */
	void (*end)(void);
};

static struct vdrv d;
static struct path_world world;
static const struct load *load;
static u32 done; /* frames or requests, atomic */
static bool over;
static bool waits[4]; /* for an interrupt of queue i */

/* ---- the driver ---- */

static u64 seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void one_more(void)
{
	__atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
}

static void publish(u32 q)
{
	if (ring_publish(&d.q[q].ring))
		vdrv_kick(&d, q);
}

/* Take what has been used; then ask to be called for the next. */
static void look(u32 q)
{
	struct ring_driver *r = &d.q[q].ring;
	u32 written;
	int id;

	if (waits[q] && !vdrv_called(&d, q))
		return;
	do {
		while ((id = ring_get(r, &written)) >= 0)
			load->arrived(q, id, written);
		waits[q] = true;
	} while (ring_calls(r, RING_CALLS_ON, 0));
}

static void turn(bool more)
{
	for (u32 q = 0; q < load->nqueues; q++)
		look(q);
	load->turn(more);
	if (load->nqueues < d.v->nqueues)
		vdrv_called(&d, load->nqueues); /* the control queue is nudged, too */
}

/* ---- a network device ---- */

#define RX	   0
#define TX	   1
#define BUFS	   64
#define FRAME	   100
#define OUT_MAX	   16 /* frames under way to the host, and to the guest */
#define IN_MAX	   32
#define ETHER_TEST 0x88b5
#define HDR	   sizeof(struct virtio_net_hdr_v1)

struct frame {
	u8 dst[6], src[6];
	u16 type; /* ETHER_TEST, big-endian */
	u8 way;	  /* 'o'ut of the guest or 'i'n */
	u8 pad;
	u32 number;
	u8 fill[FRAME - 20];
};

static struct {
	int host; /* all frames of the interface */
	u64 rx[BUFS], tx[BUFS];
	u64 rx_of[BUFS * 4]; /* the buffer of a chain, by its id */
	u32 out_begun, out_used, out_come, in_begun, in_come;
} net;

static struct frame frame_of(u8 way, u32 number)
{
	struct frame f = { .src = "\x52\x54\x00\x12\x34\x56",
			   .type = htons(ETHER_TEST),
			   .way = way,
			   .number = number };

	memset(f.dst, 0xff, sizeof(f.dst));
	memset(f.fill, number, sizeof(f.fill));
	return f;
}

static void net_plug(void)
{
	const struct peer_tap_options tap = { .name = "t0", .npairs = 1 };
	struct virtio_net_options o = { .npairs = 1,
					.speed = VIRTIO_NET_UNKNOWN_SPEED,
					.duplex = 0xff,
					.mac = "\x52\x54\x00\x12\x34\x56" };
	struct sockaddr_ll addr = { .sll_family = AF_PACKET, .sll_protocol = htons(ETHER_TEST) };
	struct virtio_dev *v;

	ck_assert_int_eq(peer_tap_open(&o.peer, &tap), 0);
	world.tap = o.peer;
	d.options.queue_size = BUFS * 2;
	ck_assert_int_eq(virtio_net_create(&v, &d.rig->r.env, &d.options, &o), 0);
	vdrv_attach(&d, v);
	net.host = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETHER_TEST));
	addr.sll_ifindex = if_nametoindex("t0");
	ck_assert_int_eq(bind(net.host, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void net_post(u64 gpa)
{
	const struct ring_buf buf = { gpa, 2000 };
	int id = ring_add(&d.q[RX].ring, &buf, 0, 1, false);

	ck_assert_int_ge(id, 0);
	net.rx_of[id] = gpa;
}

static void net_begin(void)
{
	for (u32 i = 0; i < BUFS; i++) {
		net.rx[i] = vdrv_alloc(&d, 2000);
		net.tx[i] = vdrv_alloc(&d, HDR + FRAME);
		net_post(net.rx[i]);
	}
	publish(RX);
}

static void net_arrived(u32 q, int id, u32 written)
{
	const struct frame f = frame_of('i', net.in_come);

	if (q == TX) {
		ck_assert_uint_eq(written, 0);
		net.out_used++;
		return;
	}
	ck_assert_uint_eq(written, HDR + FRAME);
	ck_assert_msg(memcmp(vdrv_ptr(&d, net.rx_of[id] + HDR, FRAME), &f, FRAME) == 0,
		      "not frame %u in, but %u", net.in_come,
		      ((struct frame *)vdrv_ptr(&d, net.rx_of[id] + HDR, FRAME))->number);
	net.in_come++;
	one_more();
	net_post(net.rx_of[id]);
	publish(RX);
}

static void net_out(void)
{
	u64 gpa = net.tx[net.out_begun % BUFS];
	const struct ring_buf buf = { gpa, HDR + FRAME };
	struct frame f = frame_of('o', net.out_begun);

	memset(vdrv_ptr(&d, gpa, HDR), 0, HDR);
	memcpy(vdrv_ptr(&d, gpa + HDR, FRAME), &f, FRAME);
	ck_assert_int_ge(ring_add(&d.q[TX].ring, &buf, 1, 0, net.out_begun % 2 && vdrv_has(&d, 28)),
			 0);
	net.out_begun++;
	publish(TX);
}

/* What has come to the host; it also sees what it sends itself. */
static void host_look(void)
{
	struct frame f, want;

	while (recv(net.host, &f, sizeof(f), 0) == sizeof(f)) {
		if (f.way != 'o')
			continue;
		want = frame_of('o', net.out_come);
		ck_assert_msg(memcmp(&f, &want, FRAME) == 0, "not frame %u out, but %u",
			      net.out_come, f.number);
		net.out_come++;
		one_more();
	}
}

static void net_turn(bool more)
{
	host_look();
	if (!more)
		return;
	if (net.out_begun - net.out_come < OUT_MAX && net.out_begun - net.out_used < OUT_MAX)
		net_out();
	if (net.in_begun - net.in_come < IN_MAX) {
		struct frame f = frame_of('i', net.in_begun);

		ck_assert_int_eq(send(net.host, &f, FRAME, 0), FRAME);
		net.in_begun++;
	}
}

static bool net_idle(void)
{
	return net.out_come == net.out_begun && net.out_used == net.out_begun &&
	       net.in_come == net.in_begun;
}

static void net_end(void)
{
	close(net.host);
}

/* ---- a disk ---- */

#define DISK_QUEUES 2
#define DEPTH	    8 /* requests in flight, each on blocks of its own */
#define BLOCKS	    8 /* each */
#define BLOCK	    4096

static struct {
	int fd;
	struct request {
		u64 header, data, status;
		bool busy, write;
		u32 n;		  /* requests done */
		u32 last[BLOCKS]; /* written there */
	} r[DEPTH];
	int slot_of[DISK_QUEUES][256]; /* by the chain's id; -1: none */
	u32 under_way;
} blk;

static u32 block_of(const struct request *r)
{
	return (r - blk.r) * BLOCKS + r->n / 2 % BLOCKS;
}

static void fill(u32 *words, u32 block, u32 generation)
{
	for (u32 i = 0; i < BLOCK / 4; i += 2) {
		words[i] = block;
		words[i + 1] = generation;
	}
}

static void check_block(const u32 *words, u32 block, u32 generation)
{
	u32 want[BLOCK / 4];

	fill(want, block, generation);
	ck_assert_msg(memcmp(words, want, BLOCK) == 0,
		      "block %u is block %u of generation %u, not %u", block, words[0], words[1],
		      generation);
}

static void blk_plug(void)
{
	u32 words[BLOCK / 4];
	struct image_options file = { 0 };
	struct virtio_blk_options o = { .modest = true };
	struct virtio_dev *v;
	char path[32];

	blk.fd = temp_file("", 0, path);
	for (u32 i = 0; i < DEPTH * BLOCKS; i++) {
		fill(words, i, 0);
		ck_assert_int_eq(pwrite(blk.fd, words, BLOCK, i * BLOCK), BLOCK);
	}
	file.path = path;
	ck_assert_int_eq(image_open(&o.image, &file), 0);
	world.image = o.image;
	d.options.queues = DISK_QUEUES;
	ck_assert_int_eq(virtio_blk_create(&v, &d.rig->r.env, &d.options, &o), 0);
	vdrv_attach(&d, v);
}

static void blk_begin(void)
{
	for (u32 i = 0; i < DEPTH; i++) {
		blk.r[i].header = vdrv_alloc(&d, 16);
		blk.r[i].data = vdrv_alloc(&d, BLOCK);
		blk.r[i].status = vdrv_alloc(&d, 1);
	}
	memset(blk.slot_of, -1, sizeof(blk.slot_of));
}

/* A write of the next block by the next number, and then a read of the same. */
static void submit(struct request *r)
{
	struct virtio_blk_outhdr h = { .sector = block_of(r) * (BLOCK / 512) };
	u32 q = (r - blk.r) % DISK_QUEUES;
	const struct ring_buf buf[3] = { { r->header, 16 }, { r->data, BLOCK }, { r->status, 1 } };
	int id;

	r->write = r->n % 2 == 0;
	h.type = r->write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
	memcpy(vdrv_ptr(&d, r->header, 16), &h, sizeof(h));
	if (r->write)
		fill(vdrv_ptr(&d, r->data, BLOCK), block_of(r), r->n + 1);
	else
		memset(vdrv_ptr(&d, r->data, BLOCK), 0xee, BLOCK);
	*(u8 *)vdrv_ptr(&d, r->status, 1) = 0xee;
	id = ring_add(&d.q[q].ring, buf, r->write ? 2 : 1, r->write ? 1 : 2,
		      r->n % 3 && vdrv_has(&d, 28));
	ck_assert(id >= 0 && id < (int)ARRAY_SIZE(blk.slot_of[q]));
	ck_assert_int_eq(blk.slot_of[q][id], -1);
	blk.slot_of[q][id] = r - blk.r;
	r->busy = true;
	blk.under_way++;
	publish(q);
}

static void blk_arrived(u32 q, int id, u32 written)
{
	struct request *r;

	ck_assert_msg(blk.slot_of[q][id] >= 0, "chain %d comes twice", id);
	r = &blk.r[blk.slot_of[q][id]];
	blk.slot_of[q][id] = -1;
	ck_assert_uint_eq(*(u8 *)vdrv_ptr(&d, r->status, 1), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(written, r->write ? 1 : BLOCK + 1);
	if (r->write)
		r->last[r->n / 2 % BLOCKS] = r->n + 1;
	else
		check_block(vdrv_ptr(&d, r->data, BLOCK), block_of(r), r->last[r->n / 2 % BLOCKS]);
	r->n++;
	r->busy = false;
	blk.under_way--;
	one_more();
}

static void blk_turn(bool more)
{
	for (u32 i = 0; more && i < DEPTH; i++) {
		if (!blk.r[i].busy)
			submit(&blk.r[i]);
	}
}

static bool blk_idle(void)
{
	return !blk.under_way;
}

/* What is in the file in the end. */
static void blk_end(void)
{
	u32 words[BLOCK / 4];

	for (u32 i = 0; i < DEPTH * BLOCKS; i++) {
		ck_assert_int_eq(pread(blk.fd, words, BLOCK, i * BLOCK), BLOCK);
		check_block(words, i, blk.r[i / BLOCKS].last[i % BLOCKS]);
	}
	close(blk.fd);
}

/* ---- switching ---- */

static const struct load loads[] = {
	{ "net", 2, net_plug, net_begin, net_arrived, net_turn, net_idle, net_end },
	{ "blk", DISK_QUEUES, blk_plug, blk_begin, blk_arrived, blk_turn, blk_idle, blk_end },
};

/* The kernel has no packed rings, and no disks. */
static const struct variant {
	const struct load *load;
	bool packed;
	enum path_kind pair[2];
} variants[] = {
	{ &loads[0], false, { PATH_INPROC, PATH_VHOST_USER } },
	{ &loads[0], true, { PATH_INPROC, PATH_VHOST_USER } },
	{ &loads[0], false, { PATH_VHOST_USER, PATH_VHOST_USER } },
	{ &loads[0], true, { PATH_VHOST_USER, PATH_VHOST_USER } },
	{ &loads[0], false, { PATH_INPROC, PATH_VHOST_NET } },
	{ &loads[0], false, { PATH_VHOST_USER, PATH_VHOST_NET } },
	{ &loads[0], false, { PATH_VHOST_NET, PATH_VHOST_NET } },
	{ &loads[1], false, { PATH_INPROC, PATH_VHOST_USER } },
	{ &loads[1], true, { PATH_INPROC, PATH_VHOST_USER } },
	{ &loads[1], false, { PATH_VHOST_USER, PATH_VHOST_USER } },
	{ &loads[1], true, { PATH_VHOST_USER, PATH_VHOST_USER } },
};

static const enum path_kind *pair;

static void note(FILE *f, enum path_kind from, enum path_kind to, const struct virtio_switch *s)
{
	if (f)
		fprintf(f, "%s %s %s %s %llu %llu %llu\n", load->name,
			world.packed ? "packed" : "split", path_names[from], path_names[to],
			(unsigned long long)s->quiesce_ns, (unsigned long long)s->hand_over_ns,
			(unsigned long long)s->restart_ns);
}

static void *switch_all(void *arg)
{
	const char *name = getenv("SWITCH_GAPS"), *times = getenv("SWITCHES");
	u32 n = 2 * (times ? atoi(times) : SWITCHES);
	FILE *f = name ? fopen(name, "a") : NULL;

	(void)arg;
	for (u32 i = 0; i < n; i++) {
		u32 before = __atomic_load_n(&done, __ATOMIC_SEQ_CST);
		struct virtio_switch s = path_switch(&world, pair[!(i % 2)]);

		note(f, pair[i % 2], pair[!(i % 2)], &s);
		while (__atomic_load_n(&done, __ATOMIC_SEQ_CST) - before < WORK)
			usleep(100);
	}
	if (f)
		fclose(f);
	__atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
	return NULL;
}

/* What the driver can see of its device, apart from queues. */
static void see(u8 config[CONFIG_LEN])
{
	for (u32 i = 0; i < CONFIG_LEN; i++)
		config[i] = vdrv_config(&d, i, 1);
}

/* Until the switcher is done, and then until nothing is under way. */
static void work(void)
{
	u64 end = seconds() + PATIENCE_S;
	u32 last = 0;

	for (;;) {
		bool more = !__atomic_load_n(&over, __ATOMIC_SEQ_CST);
		u32 n = __atomic_load_n(&done, __ATOMIC_SEQ_CST);

		turn(more);
		if (!more && load->idle())
			return;
		if (n != last)
			end = seconds() + PATIENCE_S;
		else
			usleep(20); /* as a CPU does that waits for an interrupt */
		last = n;
		ck_assert_msg(seconds() < end, "a standstill after %u", n);
	}
}

static void check_switches(void)
{
	u8 before[CONFIG_LEN], after[CONFIG_LEN];
	u32 generation, status;
	pthread_t thread;

	path_limit(&world, pair[0]);
	path_limit(&world, pair[1]);
	vdrv_start(&d, ~0ULL);
	path_switch(&world, pair[0]);
	load->begin();
	see(before);
	generation = vdrv_generation(&d);
	status = vdrv_status(&d);

	ck_assert_int_eq(pthread_create(&thread, NULL, switch_all, NULL), 0);
	work();
	pthread_join(thread, NULL);

	see(after);
	ck_assert_mem_eq(before, after, CONFIG_LEN);
	ck_assert_uint_eq(vdrv_generation(&d), generation);
	ck_assert_uint_eq(vdrv_status(&d), status);
	ck_assert(!vdrv_config_called(&d));
	ck_assert(vdrv_has(&d, VIRTIO_F_RING_PACKED) == world.packed);
	ck_assert_uint_eq(d.v->features, d.features);
	expect_silence();
}

START_TEST(nothing_is_lost_and_nothing_comes_twice)
{
	const char *missing;

	pair = variants[_i].pair;
	load = variants[_i].load;
	world = (struct path_world){ .d = &d, .packed = variants[_i].packed };
	missing = path_missing(pair[0]);
	if (!missing)
		missing = path_missing(pair[1]);
	if (!missing && load == &loads[0])
		missing = access("/dev/net/tun", R_OK | W_OK) < 0 ? "/dev/net/tun can't be opened"
								  : own_network();
	if (missing)
		skip_test(missing);

	vdrv_init(&d, VDRV_PCI_MSIX, world.packed);
	vdrv_threads(&d);
	load->plug();
	check_switches();
	vdrv_unplug(&d);
	path_end();
	load->end();
	vdrv_free(&d);
}

Suite *switch_paths_suite(void)
{
	Suite *s = suite_create("switch-paths");
	TCase *t = tcase_create("pairs");

	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, nothing_is_lost_and_nothing_comes_twice, 0, ARRAY_SIZE(variants));
	suite_add_tcase(s, t);
	return s;
}
