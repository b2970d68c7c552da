// SPDX-License-Identifier: MIT
/*
 * fuzz_net.c - fuzz target: what a guest's driver and what the network can do to the network device. One
 * with two queue pairs and a peer in memory, made once; the input is a row of steps, after which a reset
 * must bring the device back and leave memory alone.
 *
 * The input, a row of struct step, is cut off at its end: what is missing is zero. The guest's memory, all
 * of it writable to ACT_POKE, has buffers up to RINGS and then the rings, which are first laid out as a
 * driver would.
 *
 * What must hold: each frame that the peer is given has a header that makes sense for its length and for
 * what was negotiated (fake_peer.c checks that it is whole); none of a frame that was put in is cut off;
 * nothing makes the loop run on and on.
 */
#include "devices/virtio/net_internal.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/fake_peer.h"
#include "tests/lib/ring_driver.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STEPS_MAX  64
#define PAIRS	   2
#define NQUEUES	   (2 * PAIRS + 1)
#define QUEUE_SIZE 16
#define RAM	   (512 * KIB)
#define RINGS	   (128 * KIB)
#define MAC	   "\x02\x00\x00\x00\x00\x01"

enum act {
	ACT_START,   /* reset, negotiate features `which` and `value`, all queues, DRIVER_OK */
	ACT_SEND,    /* the header is `data`, then `off` bytes of memory, cut as `which` says */
	ACT_RECEIVE, /* buffers of `off` bytes, cut likewise, as many as `value` & 15 */
	ACT_COMMAND, /* class and command `off`, then `data`, repeated up to `which` bytes */
	ACT_CHAIN,   /* any chain on any queue */
	ACT_PUT,     /* a frame from the peer: header `data`, `off` bytes */
	ACT_POKE,    /* `value` anywhere in memory */
	ACT_KICK,
	ACT_RUN,  /* the loop */
	ACT_ROOM, /* the peer takes `value` frames more */
	ACT_LINK,
	ACT_CONFIG,
	ACT_STATUS,
	ACT_QUEUE, /* reset it, set it up anew */
	ACT_PAUSE,
	NACTS,
};

struct step {
	u8 act, which;
	u16 off;
	u32 value;
	u8 data[12];
} __attribute__((packed));

static struct machine_env env;
static struct mem mem;
static struct virtio_dev *v;
static struct fake_peer *peer;
static struct irq irq[NQUEUES + 1];
static struct ring_driver ring[NQUEUES];
static unsigned long sent, received, commands;
static u64 accepted;
static u8 *ram;

static void tell(void)
{
	fprintf(stderr, "fuzz_net: %lu frames sent, %lu received, %lu commands done\n", sent,
		received, commands);
}

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(env.loop);
}

/* Let the loop handle one batch of what waits. */
static void run_loop(void)
{
	struct loop_fd lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };

	must(loop_add(env.loop, &lf, EPOLLIN) == 0);
	loop_run(env.loop);
	loop_del(env.loop, &lf);
	close(lf.fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct virtio_options o = { .packed = true, .queue_size = QUEUE_SIZE };
	struct virtio_net_options net = { .mac = MAC, .npairs = PAIRS, .mtu = 1500 };

	(void)argc;
	(void)argv;
	mem_init(&mem);
	must(mem_add_ram(&mem, 0, RAM, false) == 0);
	ram = mem_ptr(&mem, 0, RAM);
	must(irqchip_create(&env.irqchip) == 0);
	must(loop_create(&env.loop) == 0);
	env.mem = &mem;
	env.io_loop = &env.loop;
	env.nio_loops = 1;
	peer = fake_peer_create(NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS, PAIRS, 0);
	must(peer);
	net.peer = fake_peer_base(peer);
	must(virtio_net_create(&v, &env, &o, &net) == 0);
	must(v->nqueues == NQUEUES);
	for (u32 i = 0; i <= NQUEUES; i++)
		must(irq_init(&irq[i], env.irqchip) == 0);
	virtio_attach(v, &irq[NQUEUES]);
	for (u32 i = 0; i < NQUEUES; i++)
		virtio_attach_queue(v, i, &irq[i]);
	atexit(tell);
	return 0;
}

static void queue_up(u32 i)
{
	static const enum virtio_area areas[3] = { VIRTIO_DESC, VIRTIO_DRIVER, VIRTIO_DEVICE };
	const struct vq_cfg *cfg = &ring[i].cfg;
	const u64 addr[3] = { cfg->desc, cfg->driver, cfg->device };

	virtio_queue_size_write(v, i, cfg->size);
	for (u32 a = 0; a < 3; a++) {
		virtio_queue_area_write(v, i, areas[a], 0, addr[a]);
		virtio_queue_area_write(v, i, areas[a], 32, addr[a] >> 32);
	}
	virtio_queue_enable(v, i);
}

static void forget_rings(void)
{
	for (u32 i = 0; i < NQUEUES; i++) {
		if (ring[i].state)
			ring_driver_free(&ring[i]);
		ring[i] = (struct ring_driver){ 0 };
	}
}

/* Ring features as `which` says, and the device's without those in `off`, as far as that can be. */
static void start(u8 which, u64 off)
{
	struct vq_cfg cfg = {
		.size = QUEUE_SIZE,
		.packed = which & 1,
		.indirect = which & 2,
		.event_idx = which & 4,
		.in_order = which & 8,
	};
	u64 own = v->offered & ((1ULL << 24) - 1 | 0x1ffULL << 52);
	u64 features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
		       (u64)cfg.packed << VIRTIO_F_RING_PACKED |
		       (u64)cfg.indirect << VIRTIO_RING_F_INDIRECT_DESC |
		       (u64)cfg.event_idx << VIRTIO_RING_F_EVENT_IDX |
		       (u64)cfg.in_order << VIRTIO_F_IN_ORDER;
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	u64 at = RINGS;

	virtio_status_write(v, 0);
	forget_rings();
	virtio_status_write(v, status);
	accepted = features | (own & ~(off & 0xffffff) & ~(off >> 24 << 52));
	if (!net_features_sound(accepted)) {
		virtio_driver_features_write(v, 0, accepted);
		virtio_driver_features_write(v, 1, accepted >> 32);
		virtio_status_write(v, status | VIRTIO_CONFIG_S_FEATURES_OK);
		must(virtio_status_read(v) == status); /* refused */
		accepted = features | own;
	}
	virtio_driver_features_write(v, 0, accepted);
	virtio_driver_features_write(v, 1, accepted >> 32);
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	must(virtio_status_read(v) == status);
	for (u32 i = 0; i < NQUEUES; i++) {
		must(ring_driver_init(&ring[i], &mem, at, &cfg) == 0);
		at = ALIGN_UP(ring[i].end, PAGE_SIZE);
		queue_up(i);
	}
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_DRIVER_OK);
	must(virtio_status_read(v) == status);
}

static void submit(u32 q, const struct ring_buf *buf, u32 nout, u32 nin, bool indirect)
{
	if (!ring[q].state ||
	    ring_add(&ring[q], buf, nout, nin, indirect && ring[q].cfg.indirect) < 0)
		return;
	if (ring_publish(&ring[q]))
		virtio_queue_kick(v, q);
}

/* Cut [gpa, gpa + len) into at most `max` buffers, bytes at first if that is wanted. */
static u32 cut(struct ring_buf *buf, u32 max, u64 gpa, u32 len, u8 how)
{
	u32 n = 0, seed = how;

	while (len) {
		u32 part = n + 1 == max || !(how & 7) ? len : how & 1 ? 1 : seed % len + 1;

		seed = seed * 1103515245 + 12345;
		buf[n++] = (struct ring_buf){ gpa, part };
		gpa += part;
		len -= part;
	}
	return n;
}

static void send_frame(const struct step *s)
{
	u32 at = s->value % (RINGS / 4), len = PEER_HDR_LEN + s->off % (RINGS / 2);
	struct ring_buf buf[QUEUE_SIZE];

	memcpy(ram + at, s->data, PEER_HDR_LEN);
	submit(s->value >> 31 ? 3 : 1, buf, cut(buf, 12, at, len, s->which), 0, s->which & 0x80);
}

static void give_buffers(const struct step *s)
{
	u32 at = s->value % RINGS, len = s->off % (RAM - RINGS) + 1;
	struct ring_buf buf[QUEUE_SIZE];

	for (u32 i = 0; i <= (s->value >> 24 & 15); i++)
		submit(s->value >> 31 ? 2 : 0, buf, 0, cut(buf, 14, at, len, s->which),
		       s->which & 0x80);
}

/* Mostly one that might have a meaning. */
static void command(const struct step *s)
{
	u32 q = accepted & NET_F(MQ) ? NQUEUES - 1 : 2, len = 2 + s->which;
	struct ring_buf buf[QUEUE_SIZE];
	u8 *to = ram + 0x400;
	u32 n;

	to[0] = s->off & 0x8000 ? s->off : s->off % 7;
	to[1] = s->off & 0x8000 ? s->off >> 8 : (s->off >> 4) % 7;
	for (u32 i = 0; i < s->which; i++)
		to[2 + i] = s->data[i % sizeof(s->data)];
	n = cut(buf, 12, 0x400, len, s->value);
	buf[n] = (struct ring_buf){ 0x300, 1 };
	ram[0x300] = 0xee;
	submit(q, buf, n, 1, s->value & 0x100);
	run_loop();
	commands += ram[0x300] == VIRTIO_NET_OK;
}

static void chain(const struct step *s)
{
	struct ring_buf buf[2] = { { s->value % RAM, s->off }, { (s->value >> 16) % RAM, 9 } };
	u32 nout = s->which >> 6 & 1, nin = s->which >> 7;

	if (nout + nin)
		submit(s->which % NQUEUES, buf, nout, nin, s->which & 0x20);
}

static void put(const struct step *s)
{
	u32 len = s->off % (PEER_FRAME_MAX - PEER_HDR_LEN + 1);
	static u8 frame[PEER_FRAME_MAX];

	memcpy(frame, s->which & 1 ? "\xff\xff\xff\xff\xff\xff" : MAC, 6);
	memcpy(frame + 12, &s->value, 4);
	fake_peer_put(peer, s->which >> 1 & 1, s->which & 0x80 ? NULL : s->data, frame, len);
}

/* What the peer got is what peer.h says, whatever the driver wrote. */
static void check_sent(void)
{
	struct fake_frame *f;
	struct virtio_net_hdr_v1 h;

	for (u32 i = 0; i < PAIRS; i++) {
		while ((f = fake_peer_take(peer, i))) {
			u32 len = f->len - PEER_HDR_LEN, type;

			memcpy(&h, f->data, sizeof(h));
			type = h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
			must(len >= NET_ETH_LEN && !h.num_buffers);
			must(!(h.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM));
			must(!h.flags || (u32)h.csum_start + h.csum_offset + 2 <= len);
			must(h.gso_type ? h.flags && h.gso_size && h.hdr_len <= len
					: !h.gso_size && !h.hdr_len);
			must(!h.gso_type || type == VIRTIO_NET_HDR_GSO_TCPV4 ||
			     type == VIRTIO_NET_HDR_GSO_TCPV6 || type == VIRTIO_NET_HDR_GSO_UDP_L4);
			free(f);
			sent++;
		}
	}
}

static void config(const struct step *s)
{
	u8 buf[8];

	memcpy(buf, s->data, 8);
	virtio_config_write(v, s->off % 24, buf, s->which % 8 + 1);
	virtio_config_read(v, s->off % 24, buf, s->which % 8 + 1);
}

static void act(const struct step *s)
{
	u32 q = s->which % NQUEUES;

	switch (s->act % NACTS) {
	case ACT_START:
		start(s->which, s->value);
		break;
	case ACT_SEND:
		send_frame(s);
		break;
	case ACT_RECEIVE:
		give_buffers(s);
		break;
	case ACT_COMMAND:
		command(s);
		break;
	case ACT_CHAIN:
		chain(s);
		break;
	case ACT_PUT:
		put(s);
		break;
	case ACT_POKE:
		memcpy(ram + (s->which << 16 | s->off) % (RAM - 4), &s->value, 4);
		break;
	case ACT_KICK:
		virtio_queue_kick(v, q);
		break;
	case ACT_RUN:
		run_loop();
		break;
	case ACT_ROOM:
		fake_peer_set_room(peer, s->which & 1, s->value & 0x100 ? ~0u : s->value & 15);
		break;
	case ACT_LINK:
		if (s->which & 1)
			virtio_net_announce(v);
		else if (s->which & 2)
			fake_peer_link(peer, s->value & 1);
		else
			virtio_net_set_link(v, s->value & 1);
		break;
	case ACT_CONFIG:
		config(s);
		break;
	case ACT_STATUS:
		virtio_status_write(v, s->value & 0xff);
		break;
	case ACT_QUEUE:
		virtio_queue_reset(v, q);
		if (ring[q].state) {
			ring_driver_reset(&ring[q]);
			queue_up(q);
		}
		break;
	case ACT_PAUSE:
		virtio_pause(v);
		virtio_resume(v);
		break;
	}
	check_sent();
}

static u32 waiting(void)
{
	return fake_peer_waiting(peer, 0) + fake_peer_waiting(peer, 1);
}

/* After a reset nothing of it touches memory, whatever happens outside; and it works again: whatever the
 * peer still has is received, or dropped. */
static void check_reset(void)
{
	static u8 before[RAM];
	struct ring_buf buf = { 0, 1600 };
	struct virtio_net_stats s;
	u8 frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	u32 len = 0;

	virtio_status_write(v, 0);
	must(virtio_status_read(v) == 0);
	memcpy(before, ram, RAM);
	for (u32 i = 0; i < PAIRS; i++) {
		must(fake_peer_wants(peer, i) == 0);
		fake_peer_set_room(peer, i, ~0u);
	}
	fake_peer_put(peer, 0, NULL, frame, sizeof(frame));
	for (u32 i = 0; i < NQUEUES; i++)
		virtio_queue_kick(v, i);
	run_loop();
	must(memcmp(before, ram, RAM) == 0);
	virtio_net_set_link(v, true);
	fake_peer_link(peer, true);

	start(0, 0);
	for (u32 i = 0; i < 2000 && fake_peer_waiting(peer, 0); i++) {
		submit(0, &buf, 0, 1, false);
		run_loop();
		while (ring_get(&ring[0], &len) >= 0)
			;
	}
	must(fake_peer_waiting(peer, 0) == 0);
	must(len == PEER_HDR_LEN + sizeof(frame)); /* the last one */
	memset(ram, 0, 128);
	buf.len = 64;
	submit(1, &buf, 1, 0, false);
	run_loop();
	run_loop();
	must(ring_get(&ring[1], &len) >= 0 && !len);
	check_sent();
	virtio_net_stats(v, 0, &s);
	received = s.frames;
	virtio_status_write(v, 0);
	forget_rings();
}

/* What the second pair has not received. */
static void drain_peer(void)
{
	struct ring_buf buf[2] = { { 0, PEER_FRAME_MAX }, { 0x300, 1 } };
	u32 len;

	if (!waiting())
		return;
	start(0, 0);
	memcpy(ram + 0x400, "\x04\x00\x02\x00", 4); /* VQ_PAIRS_SET */
	submit(NQUEUES - 1, (struct ring_buf[]){ { 0x400, 4 }, { 0x300, 1 } }, 1, 1, false);
	for (u32 i = 0; i < 2000 && waiting(); i++) {
		submit(2, buf, 0, 1, false);
		run_loop();
		while (ring_get(&ring[2], &len) >= 0)
			;
	}
	must(waiting() == 0);
	virtio_status_write(v, 0);
	forget_rings();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	accepted = 0;
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		act(&s);
	}
	check_reset();
	drain_peer();
	v->complaints = 0;
	memset(ram, 0, RAM);
	return 0;
}
