// SPDX-License-Identifier: MIT
/*
 * test_rate.c - token buckets, and a peer that limits another one. The clock is the test's: no real
 * time passes.
 */
#include "devices/net/bucket.h"
#include "devices/net/rate.h"
#include "tests/unit/peer_rig.h"
#include "tests/unit/peer_stub.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/timerfd.h>

#define SEC  1000000000ULL
#define MSEC 1000000ULL

/* ---- buckets ---- */

START_TEST(a_bucket_is_full_at_first_and_then_fills_at_its_rate)
{
	struct bucket b;

	bucket_init(&b, 1000, 50, 7 * SEC);
	ck_assert(bucket_open(&b, 7 * SEC));
	bucket_take(&b, 50);
	ck_assert(!bucket_open(&b, 7 * SEC));
	ck_assert(!bucket_open(&b, 7 * SEC + MSEC - 1));
	ck_assert(bucket_open(&b, 7 * SEC + MSEC));
	ck_assert_int_eq(b.n, 1);
	ck_assert(bucket_open(&b, 7 * SEC + 40 * MSEC));
	ck_assert_int_eq(b.n, 40);
	ck_assert(bucket_open(&b, 9 * SEC));
	ck_assert_int_eq(b.n, 50);
	bucket_take(&b, 60); /* debt */
	ck_assert(!bucket_open(&b, 9 * SEC + 10 * MSEC));
	ck_assert(bucket_open(&b, 9 * SEC + 11 * MSEC));
}

START_TEST(looking_often_neither_loses_nor_makes_tokens)
{
	static const u64 rates[] = { 1, 3, 7, 999, 1000003, 12500000000ULL, 125000000000ULL };

	for (u32 i = 0; i < ARRAY_SIZE(rates); i++) {
		u64 now = 0, step = 1 + 977 * i;
		struct bucket b;

		bucket_init(&b, rates[i], 1ULL << 40, 0);
		bucket_take(&b, 1ULL << 40);
		for (u32 k = 0; k < 100000; k++)
			bucket_open(&b, now += step);
		ck_assert_int_eq(b.n, (unsigned __int128)now * rates[i] / SEC);
	}
}

START_TEST(a_clock_that_another_thread_read_before_is_no_trouble)
{
	struct bucket b;

	bucket_init(&b, 1000, 10, SEC);
	bucket_take(&b, 10);
	ck_assert(bucket_open(&b, SEC + 5 * MSEC));
	ck_assert(bucket_open(&b, SEC + 3 * MSEC));
	ck_assert_int_eq(b.n, 5);
	ck_assert(bucket_open(&b, SEC + 6 * MSEC));
	ck_assert_int_eq(b.n, 6);
}

START_TEST(a_long_pause_gives_no_more_than_a_burst)
{
	struct bucket b;

	bucket_init(&b, 1000000000000ULL, 10, 0);
	ck_assert(bucket_open(&b, ~0ULL));
	ck_assert_int_eq(b.n, 10);
	bucket_return(&b, 5); /* was taken before */
	ck_assert(bucket_open(&b, ~0ULL));
	ck_assert_int_eq(b.n, 15);
	bucket_take(&b, 15);
	ck_assert(!bucket_open(&b, ~0ULL));
}

START_TEST(without_a_rate_a_bucket_is_always_open)
{
	struct bucket b;

	bucket_init(&b, 0, 0, 0);
	bucket_take(&b, ~0U);
	ck_assert(bucket_open(&b, 0));
}

START_TEST(one_wakes_up_when_it_is_open)
{
	static const u64 rates[] = { 1, 3, 1000, 1000003, 12500000000ULL };
	static const u64 bursts[] = { 1, 2, 1500, 1250000 };

	for (u32 i = 0; i < ARRAY_SIZE(rates) * ARRAY_SIZE(bursts); i++) {
		struct bucket b;
		u64 at;

		bucket_init(&b, rates[i % 5], bursts[i / 5], SEC);
		bucket_take(&b, bursts[i / 5] + 1000);
		ck_assert(!bucket_open(&b, SEC));
		at = bucket_wake_at(&b);
		ck_assert_uint_gt(at, SEC);
		ck_assert(bucket_open(&b, at));
		/* Not for each token at a high rate. */
		ck_assert_int_ge(b.n, 1);
		ck_assert_int_le(b.n, bursts[i / 5]);
		if (rates[i % 5] == 12500000000ULL && bursts[i / 5] == 1250000)
			ck_assert_int_ge(b.n, 625000);
	}
}

/* ---- the peer ---- */

struct fake_clock {
	struct rate_clock clock;
	u64 ns;
	u64 at[PEER_PAIRS_MAX]; /* what its timers are set for; 0: not */
	int fd[PEER_PAIRS_MAX];
	u32 arms;
};

static struct peer_rig r;
static struct stub_peer *stub;
static struct fake_clock fake;

static u64 fake_now(const struct rate_clock *c)
{
	return __atomic_load_n(&container_of(c, struct fake_clock, clock)->ns, __ATOMIC_RELAXED);
}

static void fake_arm(const struct rate_clock *c, int fd, u64 at)
{
	struct fake_clock *f = container_of(c, struct fake_clock, clock);
	u32 i = 0;

	while (f->fd[i] && f->fd[i] != fd)
		i++;
	ck_assert_uint_lt(i, PEER_PAIRS_MAX);
	f->fd[i] = fd;
	f->at[i] = at;
	f->arms++;
}

/* Let time pass. Timers whose time has come ring. */
static void pass(u64 ns)
{
	const struct itimerspec soon = { .it_value = { .tv_nsec = 1 } };

	fake.ns += ns;
	for (u32 i = 0; i < PEER_PAIRS_MAX; i++) {
		if (!fake.at[i] || fake.at[i] > fake.ns)
			continue;
		fake.at[i] = 0;
		timerfd_settime(fake.fd[i], 0, &soon, NULL);
	}
	loop_settle(r.loop);
}

static void begin(const struct peer_rate_options *o, u32 npairs)
{
	struct peer *p;

	fake = (struct fake_clock){ .clock = { .now = fake_now, .arm = fake_arm }, .ns = 5 * SEC };
	peer_rig_init(&r);
	stub = stub_peer_create(npairs);
	p = &stub->peer;
	ck_assert_int_eq(peer_rate_by(&p, o, &fake.clock), 0);
	ck_assert_ptr_ne(p, &stub->peer);
	peer_rig_begin(&r, p);
}

static u8 frame[2000];

static u32 send_all(u32 queue, u32 len, u32 most)
{
	u32 n = 0;

	while (n < most && peer_rig_send(&r, queue, frame, len) == 0)
		n++;
	return n;
}

static u32 receive_all(u32 queue)
{
	u32 n = 0;

	while (peer_rig_receive(&r, queue) > 0)
		n++;
	return n;
}

static void want(u32 queue, u32 what)
{
	peer_want(r.peer->queue(r.peer, queue), what);
	loop_settle(r.loop);
}

START_TEST(frames_are_limited_in_each_direction)
{
	const struct peer_rate_options o = { .frames = 100, .burst_frames = 5 };

	begin(&o, 1);
	stub->q[0].waiting = 1000;
	ck_assert_uint_eq(send_all(0, 100, 1000), 5);
	ck_assert_uint_eq(receive_all(0), 5);
	pass(30 * MSEC);
	ck_assert_uint_eq(send_all(0, 1500, 1000), 3);
	ck_assert_uint_eq(receive_all(0), 3);
	pass(10 * SEC);
	ck_assert_uint_eq(send_all(0, 100, 1000), 5);
	peer_rig_free(&r);
}

START_TEST(bytes_are_limited_by_the_frame_without_its_header)
{
	const struct peer_rate_options o = { .bytes = 10000, .burst_bytes = 3000 };

	begin(&o, 1);
	ck_assert_uint_eq(send_all(0, 1000, 1000), 3);
	pass(50 * MSEC); /* 500 bytes: in debt by as many after the next */
	ck_assert_uint_eq(send_all(0, 1000, 1000), 1);
	pass(50 * MSEC);
	ck_assert_uint_eq(send_all(0, 1000, 1000), 0);
	pass(MSEC);
	ck_assert_uint_eq(send_all(0, 1000, 1000), 1);
	ck_assert_uint_eq(stub->q[0].sent, 5);

	stub->q[0].len = 1500;
	stub->q[0].waiting = 1000;
	ck_assert_uint_eq(receive_all(0), 2);
	pass(150 * MSEC);
	ck_assert_uint_eq(receive_all(0), 1);
	peer_rig_free(&r);
}

START_TEST(in_the_long_run_the_rate_is_kept)
{
	const struct peer_rate_options o = { .bytes = 1000000, .frames = 100000 };
	u64 begun;

	begin(&o, 1);
	stub->q[0].len = 999;
	stub->q[0].waiting = ~0U;
	begun = fake.ns;
	for (u32 i = 0; i < 3000; i++) {
		send_all(0, 777, ~0U);
		receive_all(0);
		pass(2 * MSEC + 12345);
	}
	/* A burst is 100 ms' worth. */
	ck_assert_uint_le(stub->q[0].sent * 777ULL, 100000 + (fake.ns - begun) / 1000 + 777);
	ck_assert_uint_ge(stub->q[0].sent * 777ULL, (fake.ns - begun) / 1000);
	ck_assert_uint_le(stub->q[0].received * 999ULL, 100000 + (fake.ns - begun) / 1000 + 999);
	ck_assert_uint_ge(stub->q[0].received * 999ULL, (fake.ns - begun) / 1000);
	peer_rig_free(&r);
}

START_TEST(the_owner_is_told_when_there_are_tokens_again)
{
	const struct peer_rate_options o = { .frames = 10, .burst_frames = 1 };

	begin(&o, 1);
	stub->q[0].waiting = 2;
	ck_assert_uint_eq(send_all(0, 100, 10), 1);
	want(0, PEER_WRITE);
	ck_assert_uint_eq(r.writes, 0);
	ck_assert_uint_eq(stub->q[0].want, 0); /* so nothing spins */
	pass(99 * MSEC);
	ck_assert_uint_eq(r.writes, 0);
	pass(MSEC);
	ck_assert_uint_eq(r.writes, 1);
	ck_assert_uint_eq(send_all(0, 100, 10), 1);

	want(0, PEER_READ);
	ck_assert_uint_eq(r.reads, 1);
	ck_assert_uint_eq(receive_all(0), 1);
	r.quiet = false;
	want(0, PEER_READ); /* there is one more, which has to wait */
	ck_assert_uint_eq(r.reads, 1);
	ck_assert_uint_eq(stub->q[0].want, 0);
	pass(100 * MSEC);
	ck_assert_uint_ge(r.reads, 2);
	ck_assert_uint_eq(receive_all(0), 1);
	peer_rig_free(&r);
}

START_TEST(one_direction_does_not_hold_up_the_other)
{
	const struct peer_rate_options o = { .frames = 1, .burst_frames = 1 };

	begin(&o, 1);
	ck_assert_uint_eq(send_all(0, 100, 10), 1);
	stub->q[0].waiting = 1;
	want(0, PEER_READ | PEER_WRITE);
	ck_assert_uint_eq(r.reads, 1);
	ck_assert_uint_eq(r.writes, 0);
	peer_rig_free(&r);
}

START_TEST(what_the_peer_behind_does_not_take_costs_nothing)
{
	const struct peer_rate_options o = {
		.bytes = 1000, .burst_bytes = 200, .frames = 2, .burst_frames = 2
	};

	begin(&o, 1);
	stub->q[0].full = true;
	for (u32 i = 0; i < 100; i++)
		ck_assert_int_eq(peer_rig_send(&r, 0, frame, 100), -EAGAIN);
	stub->q[0].full = false;
	ck_assert_uint_eq(send_all(0, 100, 10), 2);
	peer_rig_free(&r);
}

START_TEST(no_tokens_and_no_wish_set_no_timer)
{
	const struct peer_rate_options o = { .frames = 10, .burst_frames = 1 };

	begin(&o, 1);
	send_all(0, 100, 10);
	ck_assert_uint_eq(fake.arms, 0);
	want(0, PEER_WRITE);
	ck_assert_uint_eq(fake.at[0], 5 * SEC + 100 * MSEC);
	want(0, 0);
	ck_assert_uint_eq(fake.at[0], 0);
	peer_rig_free(&r);
}

START_TEST(the_limit_is_for_all_pairs_together)
{
	const struct peer_rate_options o = { .frames = 100, .burst_frames = 10 };

	begin(&o, 4);
	ck_assert_uint_eq(r.peer->npairs, 4);
	ck_assert_uint_eq(send_all(0, 100, 4), 4);
	ck_assert_uint_eq(send_all(3, 100, 100), 6);
	ck_assert_uint_eq(stub->q[0].sent, 4);
	ck_assert_uint_eq(stub->q[3].sent, 6);
	for (u32 i = 0; i < 4; i++)
		want(i, PEER_WRITE);
	pass(20 * MSEC);
	ck_assert_uint_eq(r.writes, 4); /* each may try */
	ck_assert_uint_eq(send_all(1, 100, 100), 2);
	ck_assert_uint_eq(send_all(2, 100, 100), 0);
	peer_rig_free(&r);
}

START_TEST(what_it_does_not_know_is_the_peer_behinds)
{
	const struct peer_rate_options o = { .frames = 100 };
	bool destroyed = false;

	begin(&o, 2);
	stub->destroyed = &destroyed;
	ck_assert_uint_eq(r.peer->features, 0x55);
	ck_assert_uint_eq(r.peer->mtu, 1234);
	ck_assert_int_eq(peer_set_offloads(r.peer, 0x11), 0);
	ck_assert_uint_eq(stub->offloads, 0x11);
	ck_assert_int_eq(peer_set_pairs(r.peer, 2), 0);
	ck_assert_uint_eq(stub->pairs, 2);
	stub->peer.link_changed(&stub->peer, false);
	stub->peer.link_changed(&stub->peer, true);
	ck_assert_uint_eq(r.downs, 1);
	ck_assert_uint_eq(r.ups, 1);
	peer_rig_free(&r);
	ck_assert(destroyed);
}

static void *send_many(void *arg)
{
	struct iovec iov = { (u8[PEER_HDR_LEN + 100]){ 0 }, PEER_HDR_LEN + 100 };

	for (u32 i = 0; i < 20000; i++)
		peer_send(arg, &iov, 1);
	return NULL;
}

START_TEST(pairs_on_several_threads_share_it)
{
	const struct peer_rate_options o = { .bytes = 1000000, .burst_bytes = 500000 };
	pthread_t thread[4];
	u32 sent = 0;

	begin(&o, 4);
	for (u32 i = 0; i < 4; i++)
		ck_assert_int_eq(
			pthread_create(&thread[i], NULL, send_many, r.peer->queue(r.peer, i)), 0);
	for (u32 i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	for (u32 i = 0; i < 4; i++)
		sent += stub->q[i].sent;
	ck_assert_uint_eq(sent, 5000);
	peer_rig_free(&r);
}

START_TEST(the_real_clock_wakes_us_up)
{
	const struct peer_rate_options o = { .frames = 100, .burst_frames = 1 };
	struct peer *p;

	peer_rig_init(&r);
	stub = stub_peer_create(1);
	p = &stub->peer;
	ck_assert_int_eq(peer_rate(&p, &o), 0);
	peer_rig_begin(&r, p);
	stub->q[0].waiting = 3;
	want(0, PEER_READ);
	for (u32 i = 0; i < 3; i++) {
		peer_want(p->queue(p, 0), PEER_READ);
		ck_assert_uint_eq(peer_rig_wait(&r, 0), 100);
	}
	peer_rig_free(&r);
}

Suite *rate_suite(void)
{
	Suite *s = suite_create("rate");
	TCase *t = tcase_create("bucket");

	tcase_add_test(t, a_bucket_is_full_at_first_and_then_fills_at_its_rate);
	tcase_add_test(t, looking_often_neither_loses_nor_makes_tokens);
	tcase_add_test(t, a_clock_that_another_thread_read_before_is_no_trouble);
	tcase_add_test(t, a_long_pause_gives_no_more_than_a_burst);
	tcase_add_test(t, without_a_rate_a_bucket_is_always_open);
	tcase_add_test(t, one_wakes_up_when_it_is_open);
	suite_add_tcase(s, t);

	t = tcase_create("rate");
	tcase_add_test(t, frames_are_limited_in_each_direction);
	tcase_add_test(t, bytes_are_limited_by_the_frame_without_its_header);
	tcase_add_test(t, in_the_long_run_the_rate_is_kept);
	tcase_add_test(t, the_owner_is_told_when_there_are_tokens_again);
	tcase_add_test(t, one_direction_does_not_hold_up_the_other);
	tcase_add_test(t, what_the_peer_behind_does_not_take_costs_nothing);
	tcase_add_test(t, no_tokens_and_no_wish_set_no_timer);
	tcase_add_test(t, the_limit_is_for_all_pairs_together);
	tcase_add_test(t, what_it_does_not_know_is_the_peer_behinds);
	tcase_add_test(t, pairs_on_several_threads_share_it);
	tcase_add_test(t, the_real_clock_wakes_us_up);
	suite_add_tcase(s, t);
	return s;
}
