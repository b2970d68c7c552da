// SPDX-License-Identifier: MIT
/*
 * ringbench.c - what a ring costs: chains a second, round trip, kicks and interrupts of a virtio
 * network device or disk, without an operating system's own work.
 *
 * How it works: a row keeps `depth` chains in flight for a while, and takes the time of each from the
 * moment when it is made available to the moment when it is found used.
 *
 *	net-tx		frames that nobody wants: a short one a chain
 *	net-rx		frames that come by themselves, from a peer that is a source
 *	net-rtt		a frame out, its answer in: an ARP request (RFC 826), which a tap of the
 *			host answers as 10.0.0.1, and a peer that echoes sends back as it is
 *	blk-read	4 KiB at a random place
 *	blk-write
 *
 * each twice: `poll` looks at the ring without end and asks for no interrupt, `irq` sleeps until one
 * comes. Between two rows the device is reset. The loop runs in user mode (lib/user.h), where a
 * software KVM is as fast as any; only the kicks, the interrupts and the sleep are not.
 *
 * One line a row, for a program to read:
 *
 *	ringbench row=net-tx mode=poll depth=64 ops=N ns=T kicks=K calls=C p50=NS p99=NS p999=NS max=NS all=M
 *
 * ops chains took T ns in all (the first eighth of the time does not count: with it there were M), with K kicks and
 * C interrupts; half of them took no longer than p50, and so on. A row that stops ends with `failed=1`.
 *
 * Words of the command line: a row's name, poll, irq, depth=1, depth=16, depth=64 (several; none of a kind: all
 * that any peer can do),
 * ms=N a row (300; at most 1000), step (before each row, and at the end, say "ringbench next" and wait
 * for a key), and those of virtio.h.
 */
#include "user.h"
#include "virtio.h"

#include <linux/serial_reg.h>
#include <linux/virtio_blk.h>

#define QUEUE_SIZE     256
#define DEPTH_MAX      64
#define MS_MAX	       1000
#define PATIENCE_MS    3000 /* apic_alarm() takes 4000 */

#define HDR_LEN	       12 /* struct virtio_net_hdr_v1 */
#define FRAME_LEN      60
#define ROOM	       2048
#define SECTOR	       512
#define BLOCK	       4096

#define ETHERTYPE_ARP  0x0806
#define ETHERTYPE_TEST 0x88b5 /* for experiments (IEEE Std 802, 9.2.3) */

/* KVM's clock: Documentation/virt/kvm/x86/msr.rst. */
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
struct pvclock {
	u32 version, pad;
	u64 tsc, ns;
	u32 mul;
	int8_t shift;
	u8 flags, pad2[2];
} __attribute__((aligned(32)));

/* A histogram of times: 32 classes for each power of two, so that none is wider than 3 %. */
#define FINE	5
#define CLASSES (60 << FINE)

/* A chain's buffers, and when it was made available. */
struct slot {
	u64 since;
	struct virtq_buf buf[3];
	u32 nout, nin;
	struct virtio_blk_outhdr blk;
	u8 status;
};

struct row {
	const char *name;
	struct virtio *dev;
	struct virtq *give, *take;	/* the same, or transmit and receive */
	void (*prepare)(struct row *r); /* the slots */

	bool poll;
	u32 depth;
	u64 warm_ticks, ticks;

	/* Results. */
	u64 ops, warm_ops, spent;
	u32 kicks, calls;
	bool failed;
	u32 answers; /* since the start, of net-rtt */
	bool draining;
};

enum { COUNT_TAKE, COUNT_OTHER, COUNT_ALARM }; /* user_counter[] */
#define VECTOR_ALARM 0xe8
#define VECTOR_LOOK  0xe9

static struct virtio net, blk;
static struct virtq rx, tx, requests;
static struct slot slot[QUEUE_SIZE], answer[QUEUE_SIZE];
static u8 data[DEPTH_MAX][BLOCK] __attribute__((aligned(BLOCK)));
static u8 room[QUEUE_SIZE][ROOM] __attribute__((aligned(64)));
static u32 histogram[CLASSES];
static struct pvclock clock;
static u64 blocks, seed = 88172645463325252ULL;

/* ---- times ---- */

static u64 to_ns(u64 ticks)
{
	ticks = clock.shift < 0 ? ticks >> -clock.shift : ticks << clock.shift;
	return ((unsigned __int128)ticks * clock.mul) >> 32;
}

static u64 to_ticks(u64 ns)
{
	u64 ticks = (ns << 16) / ((clock.mul >> 16) ?: 1);

	return clock.shift < 0 ? ticks << -clock.shift : ticks >> clock.shift;
}

static u32 class_of(u64 ticks)
{
	u32 top;

	if (ticks < 1 << FINE)
		return ticks;
	top = 63 - __builtin_clzl(ticks);
	return ((top - FINE + 1) << FINE) + ((ticks >> (top - FINE)) & ((1 << FINE) - 1));
}

/* The middle of a class. */
static u64 ticks_of(u32 class)
{
	u32 shift = class >> FINE;

	if (!shift)
		return class;
	return ((1ULL << FINE | (class & ((1 << FINE) - 1))) << (shift - 1)) +
	       ((1ULL << shift) >> 2);
}

/* The time that `per_mille` of the chains did not exceed. */
static u64 quantile(u64 ops, u32 per_mille)
{
	u64 rank = (ops * per_mille + 999) / 1000, seen = 0;
	u32 i = 0;

	while (i < CLASSES - 1 && (seen += histogram[i]) < rank)
		i++;
	return to_ns(ticks_of(i));
}

/* ---- what goes through the rings ---- */

static void put_frame(u8 *frame, u16 type)
{
	static const u8 head[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56,
	};
	/* Ethernet, IPv4, request; from us, 10.0.0.2; who is 10.0.0.1? */
	static const u8 arp[] = {
		0,  1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0x00, 0x12, 0x34, 0x56,
		10, 0, 0, 2, 0, 0, 0, 0, 0,    0,    10,   0,	 0,    1,
	};

	memset(frame, 0, FRAME_LEN);
	memcpy(frame, head, sizeof(head));
	frame[12] = type >> 8;
	frame[13] = type;
	if (type == ETHERTYPE_ARP)
		memcpy(frame + 14, arp, sizeof(arp));
}

static void prepare_frames(u16 type)
{
	for (u32 i = 0; i < DEPTH_MAX; i++) {
		memset(data[i], 0, HDR_LEN);
		put_frame(data[i] + HDR_LEN, type);
		slot[i] = (struct slot){ .buf = { { data[i], HDR_LEN + FRAME_LEN } }, .nout = 1 };
	}
}

static void prepare_tx(struct row *r)
{
	(void)r;
	prepare_frames(ETHERTYPE_TEST);
}

static void prepare_rx(struct row *r)
{
	(void)r;
	for (u32 i = 0; i < QUEUE_SIZE; i++)
		slot[i] = (struct slot){ .buf = { { room[i], ROOM } }, .nin = 1 };
}

static void prepare_rtt(struct row *r)
{
	(void)r;
	prepare_frames(ETHERTYPE_ARP);
	for (u32 i = 0; i < QUEUE_SIZE; i++)
		answer[i] = (struct slot){ .buf = { { room[i], ROOM } }, .nin = 1 };
}

static void prepare_blk(struct row *r, bool write)
{
	(void)r;
	for (u32 i = 0; i < DEPTH_MAX; i++) {
		struct slot *s = &slot[i];

		*s = (struct slot){ .nout = write ? 2 : 1, .nin = write ? 1 : 2 };
		s->blk.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
		s->buf[0] = (struct virtq_buf){ &s->blk, sizeof(s->blk) };
		s->buf[1] = (struct virtq_buf){ data[i], BLOCK };
		s->buf[2] = (struct virtq_buf){ &s->status, 1 };
	}
}

static void prepare_read(struct row *r)
{
	prepare_blk(r, false);
}

static void prepare_write(struct row *r)
{
	prepare_blk(r, true);
}

/* Make it available, at another place of the disk each time (xorshift64*). */
static void give(struct row *r, struct slot *s)
{
	if (r->dev == &blk) {
		seed ^= seed >> 12;
		seed ^= seed << 25;
		seed ^= seed >> 27;
		s->blk.sector =
			(u32)((seed * 0x2545f4914f6cdd1dULL) >> 32) % blocks * (BLOCK / SECTOR);
	}
	s->since = rdtsc();
	virtq_add(r->give, s->buf, s->nout, s->nin, s);
}

/* ---- the loop, in user mode ---- */

static bool too_late(void)
{
	return user_counter[COUNT_ALARM] != 0;
}

/* Until there is a used chain in r->take. False: none comes. */
static bool wait(struct row *r)
{
	struct virtq *q = r->take;

	if (r->poll) {
		while (!q->format->has_used(q) && !too_late())
			cpu_relax();
		return !too_late();
	}
	virtq_call_after(q, 1);
	while (!too_late()) {
		u32 old = user_counter[COUNT_TAKE];

		if (q->format->has_used(q)) {
			virtq_call_after(q, 0);
			return true;
		}
		user_sleep(&user_counter[COUNT_TAKE], old);
	}
	return false;
}

static void count(struct row *r, u64 ticks)
{
	r->ops++;
	histogram[class_of(ticks)]++;
}

/* One queue: what is used is made available again. */
static u32 turn_one(struct row *r)
{
	struct slot *s;
	u32 len, n = 0;

	while ((s = virtq_take(r->take, &len))) {
		count(r, rdtsc() - s->since);
		if (r->dev == &blk && s->status != VIRTIO_BLK_S_OK)
			r->failed = true;
		give(r, s);
		n++;
	}
	virtq_kick(r->give);
	return n;
}

static bool is_answer(const struct slot *s)
{
	const u8 *frame = (const u8 *)s->buf[0].data + HDR_LEN;

	return (frame[12] << 8 | frame[13]) == ETHERTYPE_ARP;
}

/* Two queues: answers come in the order of the questions. */
static u32 turn_two(struct row *r)
{
	struct slot *s, *asked;
	u32 len, n = 0;

	while ((s = virtq_take(&rx, &len))) {
		bool good = is_answer(s);

		virtq_add(&rx, s->buf, 0, 1, s);
		if (!good)
			continue;
		while (virtq_take(&tx, &len))
			;
		asked = &slot[r->answers++ % r->depth];
		n++;
		if (r->draining)
			continue;
		count(r, rdtsc() - asked->since);
		give(r, asked);
	}
	virtq_kick(&rx);
	virtq_kick(&tx);
	return n;
}

static void run(void *arg)
{
	struct row *r = arg;
	u64 start = rdtsc(), now = start;
	u32 kicks = 0, calls = 0;
	bool warm = false;

	virtq_call_after(r->take, 0);
	for (u32 i = 0; i < r->depth; i++)
		give(r, &slot[i]);
	virtq_kick(r->give);
	while (!r->failed && now - start < r->ticks) {
		if (!wait(r)) {
			r->failed = true;
			break;
		}
		if (r->give == r->take)
			turn_one(r);
		else
			turn_two(r);
		now = rdtsc();
		if (!warm && now - start >= r->warm_ticks) {
			warm = true;
			start = now;
			r->warm_ops = r->ops;
			r->ops = 0;
			memset(histogram, 0, sizeof(histogram));
			kicks = tx.kicks + rx.kicks + requests.kicks;
			calls = user_counter[COUNT_TAKE];
		}
	}
	r->spent = now - start;
	r->kicks = tx.kicks + rx.kicks + requests.kicks - kicks;
	r->calls = user_counter[COUNT_TAKE] - calls;
	/* What is on its way would come back in the next row, even behind a reset. */
	r->draining = true;
	for (u32 left = r->give == r->take ? 0 : r->depth; left && wait(r);)
		left -= turn_two(r);
}

/* ---- rows ---- */

static void nothing(u32 vector)
{
	(void)vector;
}

/* Says `what`. Asleep but for a look every few milliseconds, so that the waiting costs nothing that is counted. */
static void wait_for_key(const char *what)
{
	printf("ringbench %s\n", what);
	irq_handle(VECTOR_LOOK, nothing);
	while (!(inb(UART_PORT + UART_LSR) & UART_LSR_DR)) {
		apic_alarm(VECTOR_LOOK, 5);
		irq_wait();
	}
	while (inb(UART_PORT + UART_LSR) & UART_LSR_DR)
		inb(UART_PORT + UART_RX);
}

static bool setup_queue(struct virtq *q, struct virtio *v, u32 index, bool takes)
{
	user_count(takes ? COUNT_TAKE : COUNT_OTHER, v->vector + 1 + index);
	return virtq_setup(q, v, index);
}

static bool setup(struct row *r)
{
	r->dev->queue_size = QUEUE_SIZE;
	if (!virtio_negotiate(r->dev, 0))
		return false;
	user_count(COUNT_OTHER, r->dev->vector);
	if (r->dev == &blk) {
		if (!setup_queue(&requests, &blk, 0, true))
			return false;
	} else if (!setup_queue(&rx, &net, 0, r->take == &rx) ||
		   !setup_queue(&tx, &net, 1, r->take == &tx)) {
		return false;
	}
	virtio_ready(r->dev);
	for (u32 i = 0; r->give != r->take && i < rx.size; i++)
		virtq_add(&rx, answer[i].buf, 0, 1, &answer[i]);
	if (r->give != r->take) {
		virtq_call_after(&tx, 0);
		virtq_kick(&rx);
	}
	return true;
}

static void measure(struct row *r, u32 ms)
{
	r->ops = r->warm_ops = r->kicks = r->calls = 0;
	r->failed = r->draining = false;
	r->answers = 0;
	r->ticks = to_ticks(ms * 1000000ULL);
	r->warm_ticks = r->ticks / 8;
	memset(histogram, 0, sizeof(histogram));
	for (u32 i = 0; i < USER_COUNTERS; i++)
		user_counter[i] = 0;
	r->prepare(r);
	if (!setup(r)) {
		r->failed = true;
	} else {
		apic_alarm(VECTOR_ALARM, ms + PATIENCE_MS);
		user_run(run, r);
		apic_alarm(VECTOR_ALARM, 0);
	}
	virtio_reset(r->dev);
	printf("ringbench row=%s mode=%s depth=%u ops=%lu ns=%lu kicks=%u calls=%u p50=%lu p99=%lu "
	       "p999=%lu max=%lu all=%lu%s\n",
	       r->name, r->poll ? "poll" : "irq", r->depth, r->ops, to_ns(r->spent), r->kicks,
	       r->calls, quantile(r->ops, 500), quantile(r->ops, 990), quantile(r->ops, 999),
	       quantile(r->ops, 1000), r->ops + r->warm_ops, r->failed ? " failed=1" : "");
}

/* clang-format off: one row a line */
static struct row rows[] = {
	{ .name = "net-tx", .dev = &net, .give = &tx, .take = &tx, .prepare = prepare_tx },
	{ .name = "net-rx", .dev = &net, .give = &rx, .take = &rx, .prepare = prepare_rx },
	{ .name = "net-rtt", .dev = &net, .give = &tx, .take = &rx, .prepare = prepare_rtt },
	{ .name = "blk-read",
	  .dev = &blk,
	  .give = &requests,
	  .take = &requests,
	  .prepare = prepare_read },
	{ .name = "blk-write",
	  .dev = &blk,
	  .give = &requests,
	  .take = &requests,
	  .prepare = prepare_write },
};
/* clang-format on */

/* Is `word` wanted: named, or `usual` where none of its kind is named? */
static bool wanted(const struct hvm_start_info *info, const char *word, bool named, bool usual)
{
	return cmdline_has(info, word) || (!named && usual);
}

void guest_main(const struct hvm_start_info *info)
{
	static const u32 depths[] = { 1, 16, DEPTH_MAX };
	static const char *const depth_words[] = { "depth=1", "depth=16", "depth=64" };
	bool has_net = virtio_find(&net, info, VIRTIO_ID_NET, 0);
	bool has_blk = virtio_find(&blk, info, VIRTIO_ID_BLOCK, 0);
	u32 ms = cmdline_number(info, "ms", 300);
	bool step = cmdline_has(info, "step");
	bool modes = cmdline_has(info, "poll") || cmdline_has(info, "irq");
	bool some_depths = cmdline_number(info, "depth", 0), named = false;

	ms = ms > MS_MAX ? MS_MAX : ms;
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (u64)&clock | 1);
	if (!clock.mul || (!has_net && !has_blk)) {
		printf("Bail out! no %s\n", clock.mul ? "network device and no disk" : "KVM clock");
		return;
	}
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		named |= cmdline_has(info, rows[i].name);
	if (has_blk)
		blocks = mmio_read64(blk.config) * SECTOR / BLOCK;
	user_init();
	user_count(COUNT_ALARM, VECTOR_ALARM);
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++) {
		struct row *r = &rows[i];
		bool usual = r->take != &rx;

		if (!(r->dev == &net ? has_net : has_blk && blocks) ||
		    !wanted(info, r->name, named, usual))
			continue;
		for (u32 k = 0; k < 2 * ARRAY_SIZE(depths); k++) {
			r->depth = depths[k % ARRAY_SIZE(depths)];
			r->poll = k < ARRAY_SIZE(depths);
			if (wanted(info, depth_words[k % ARRAY_SIZE(depths)], some_depths, true) &&
			    wanted(info, r->poll ? "poll" : "irq", modes, true)) {
				if (step)
					wait_for_key("next");
				measure(r, ms);
			}
		}
		virtio_print(r->dev, r->name);
	}
	if (step)
		wait_for_key("last");
	printf("ringbench done\n");
}
