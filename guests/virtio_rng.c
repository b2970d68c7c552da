// SPDX-License-Identifier: MIT
/*
 * virtio_rng.c - a driver for the entropy device (VIRTIO 1.2, 5.4), and how a ring is used: by
 * interrupt, by polling, with interrupts put off.
 *
 * How it works: the simplest of all virtio devices has one queue and no configuration. The driver
 * makes buffers available, the device fills them with random bytes, perhaps not to the end, and says
 * how many. So everything here that is not about random bytes is about virtqueues, and what is said
 * of them holds for each other device.
 *
 * Read next: lib/virtio.h and, in the order it gives, the files behind it; then virtio_blk.c.
 */
#include "virtio.h"

#define LEN 256

static struct virtio rng;
static struct virtq q;
static u8 data[VIRTQ_SIZE][LEN];

static bool start(void)
{
	if (!virtio_negotiate(&rng, 0) || !virtq_setup(&q, &rng, 0))
		return false;
	virtio_ready(&rng);
	return true;
}

/* A request for `n` chains of one buffer each. They are not waited for. */
static void ask(u32 n)
{
	for (u32 i = 0; i < n; i++) {
		struct virtq_buf buf = { data[i], LEN };

		memset(data[i], 0, LEN);
		virtq_add(&q, &buf, 0, 1, data[i]);
	}
	virtq_kick(&q);
}

/* One buffer of random bytes, by way of an interrupt. Returns how many there are. */
static u32 get(void)
{
	u32 len = 0;

	ask(1);
	if (!virtq_wait(&q) || virtq_take(&q, &len) != data[0])
		return 0;
	return len;
}

static bool all_zero(const u8 *p, u32 len)
{
	while (len && *p == 0) {
		p++;
		len--;
	}
	return len == 0;
}

static void test_bytes(void)
{
	static u8 first[LEN];
	u32 len = get();

	tap(len > 0 && len <= LEN, "a buffer of %u bytes gets %u", LEN, len);
	tap(!all_zero(data[0], len), "which are not all zero");
	memcpy(first, data[0], LEN);
	tap(get() > 0 && memcmp(first, data[0], LEN) != 0, "the next ones differ");
}

/* 2.6: what lies behind the length that is told must be as it was. */
static void test_length(void)
{
	struct virtq_buf buf = { data[0], 16 };
	u32 len = 0;

	memset(data[0], 0, LEN);
	virtq_add(&q, &buf, 0, 1, data[0]);
	virtq_kick(&q);
	tap(virtq_wait(&q) && virtq_take(&q, &len) == data[0], "a buffer of 16 bytes comes back");
	tap(len > 0 && len <= 16, "with %u", len);
	tap(all_zero(data[0] + len, LEN - len), "and nothing is written behind them");
}

/* A chain of several buffers is one buffer in pieces. */
static void test_chain(bool indirect)
{
	struct virtq_buf buf[3] = { { data[0], 8 }, { data[1], 100 }, { data[2], 28 } };
	u32 len = 0;

	for (u32 i = 0; i < 3; i++)
		memset(data[i], 0, LEN);
	q.use_indirect = indirect;
	virtq_add(&q, buf, 0, 3, &buf);
	virtq_kick(&q);
	tap(virtq_wait(&q) && virtq_take(&q, &len) == &buf, "a chain of 3 buffers, %s, comes back",
	    indirect ? "indirect" : "direct");
	tap(len > 8 && len <= 136, "with %u bytes", len);
	tap(!all_zero(data[0], 8) && !all_zero(data[1], len - 8 < 100 ? len - 8 : 100),
	    "which are in the buffers");
	tap(all_zero(data[0] + 8, LEN - 8) && all_zero(data[1] + 100, LEN - 100),
	    "and not between them");
	q.use_indirect = false;
}

/* How many of the chains that are out come back, each once, without sleeping. */
static u32 take_all(u32 want)
{
	u32 n = 0, len;

	while (n < want && virtq_poll(&q) && virtq_take(&q, &len) && len > 0)
		n++;
	return n;
}

/*
 * 2.6.7: all that a driver can say about interrupts, counted. One that was asked for, and then was not
 * needed because the chain was there already, may be on its way still: it does not count.
 */
static void test_interrupts(void)
{
	u32 n = q.size, before;

	virtq_call_after(&q, 0);
	wait_a_little();
	before = q.calls;
	ask(n);
	tap_eq(take_all(n), n, "a ring full of buffers comes back by polling");
	wait_a_little();
	tap_eq(q.calls, before, "without an interrupt, as the driver wants none");

	for (u32 i = 0; i < 4; i++) {
		virtq_call_after(&q, 1);
		ask(1);
		virtio_wait_calls(&q.calls, before + i);
		wait_a_little();
		take_all(1);
	}
	tap_eq(q.calls, before + 4, "4 buffers, one by one: 4 interrupts");
	if (!virtio_has(&rng, VIRTIO_RING_F_EVENT_IDX)) {
		tap_skip("one interrupt for all of them", "VIRTIO_F_EVENT_IDX is not negotiated");
		return;
	}
	before = q.calls;
	virtq_call_after(&q, n * virtq_places(&q, 1));
	ask(n);
	virtio_wait_calls(&q.calls, before);
	wait_a_little();
	tap_eq(q.calls, before + 1, "%u buffers and the wish to hear of the last: 1 interrupt", n);
	n = 0;
	for (u32 len; virtq_take(&q, &len);)
		n++;
	tap_eq(n, q.size, "and all of them are there when it comes");
}

/* Rounds of different lengths, so that chains begin everywhere in the ring, also across its end. */
static void test_rounds(void)
{
	u32 asked = 0, got = 0;

	for (u32 i = 0; i < 40; i++) {
		u32 n = 1 + i * 7 % q.size;

		ask(n);
		asked += n;
		if (i % 4 == 0 && !virtq_wait(&q))
			break;
		got += take_all(n);
	}
	tap_eq(got, asked, "%u buffers in 40 rounds come back, each once", asked);
	printf("# %u kicks, %u interrupts so far\n", q.kicks, q.calls);
}

/* Reset with buffers in the ring: they are the driver's again at once (2.4). */
static void test_reset(void)
{
	bool fine = true;

	for (u32 i = 0; i < 10 && fine; i++) {
		ask(q.size);
		virtio_reset(&rng);
		memset(data, 0xa5, sizeof(data));
		fine = start() && get() > 0;
		for (u32 n = 1; n < VIRTQ_SIZE && fine; n++)
			fine = data[n][0] == 0xa5 && data[n][LEN - 1] == 0xa5;
	}
	tap(fine, "10 resets with buffers in flight: none is written to, and the device works");
}

/* 2.6.1: the same for the queue alone. */
static void test_queue_reset(void)
{
	if (!virtio_has(&rng, VIRTIO_F_RING_RESET)) {
		tap_skip("queue reset", "the device does not offer VIRTIO_F_RING_RESET");
		return;
	}
	ask(q.size);
	virtq_reset(&q);
	memset(data, 0xa5, sizeof(data));
	wait_a_little();
	tap(data[0][0] == 0xa5 && data[q.size - 1][0] == 0xa5, "a queue that is reset is at rest");
	tap(virtq_setup(&q, &rng, 0), "it can be enabled again");
	tap(get() > 0, "and works");
}

/* 2.2, 3.1.1: a set of features that does not fit together is refused. */
static void test_refusal(void)
{
	u64 wrong[] = { 0, 1ULL << 63 | VIRTIO_BIT(VIRTIO_F_VERSION_1) };

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++)
		tap(!virtio_try_features(&rng, wrong[i]), "features %lx are refused", wrong[i]);
	tap(start() && get() > 0, "after which a reset and the right ones are fine");
}

void guest_main(const struct hvm_start_info *info)
{
	if (!virtio_find(&rng, info, VIRTIO_ID_RNG, 0)) {
		printf("1..0 # SKIP no entropy device: start minivmm with --rng on\n");
		return;
	}
	tap(start(), "the device accepts its driver");
	virtio_print(&rng, "rng");
	test_bytes();
	test_length();
	test_chain(false);
	if (virtio_has(&rng, VIRTIO_RING_F_INDIRECT_DESC))
		test_chain(true);
	test_interrupts();
	test_rounds();
	test_reset();
	test_queue_reset();
	test_refusal();
	tap_end();
}
