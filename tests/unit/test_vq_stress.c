// SPDX-License-Identifier: MIT
/*
 * test_vq_stress.c - virtqueues: a driver's thread and a device's thread on the two sides of one ring,
 * each asleep whenever it has nothing to do. A notification lost is a thread that sleeps for ever: the
 * test gives up after SLEEP_MAX. Under ThreadSanitizer, a barrier missed is a report.
 */
#include "tests/unit/test_vq.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CHAINS	  30000
#define PHASE	  1000	/* chains, of one way of working */
#define SPINS	  20000 /* looks before who spins goes to sleep */
#define SIZE	  16
#define HELD_MAX  4
#define SLEEP_MAX 20000 /* ms */

static struct vq_rig v;
static int kickfd;
static u32 kicks;

/* Wait for a notification. Returns false if none comes. */
static bool sleep_on(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	eventfd_t n;

	return poll(&p, 1, SLEEP_MAX) == 1 && eventfd_read(fd, &n) == 0;
}

/*
 * A notification is lost in the few nanoseconds in which one side looks a last time before it sleeps
 * while the other publishes. That they meet there takes one that answers at once, not from its sleep:
 * so now the one spins, now the other, and now none. And it takes one that arms just when the answer
 * comes, which is a few hundred nanoseconds after it published: so it waits for a while that varies.
 */
enum { DRIVER_SPINS, DEVICE_SPINS, NONE_SPINS, SPIN_MODES };

static u32 spins(u32 chain, u32 who)
{
	return chain / PHASE % SPIN_MODES == who ? SPINS : 0;
}

static void wait_a_little(u32 chain)
{
	for (volatile u32 i = chain * 37 % 509; i; i--)
		;
}

/* ---- device ---- */

static u32 held;
static struct vq_slot slot[HELD_MAX];

/* Answer: the request's number, plus one. */
static void put(struct vq_slot *s)
{
	u32 *in = s->c.iov[1].iov_base;

	*in = *(u32 *)s->c.iov[0].iov_base + 1;
	vq_put(&v.q, &s->c, 4);
}

/* Put all that are held, the last one first. */
static u32 put_held(void)
{
	u32 n = held;

	while (held)
		put(&slot[--held]);
	return n;
}

/* There is a chain, seen while spinning or after arming; in both cases no kick may come. */
static bool more(u32 done)
{
	if (spins(done, DRIVER_SPINS))
		wait_a_little(done);
	for (u32 n = spins(done, DEVICE_SPINS); n; n--) {
		if (vq_ready(&v.q))
			return true;
	}
	return vq_rearm(&v.q);
}

static void *device(void *arg)
{
	u32 done = 0;

	(void)arg;
	while (done < CHAINS) {
		vq_disarm(&v.q);
		do {
			while (vq_get(&v.q, vq_slot_chain(&slot[held])) > 0) {
				if (++held < done % HELD_MAX + 1)
					continue;
				done += put_held();
				if (done % 3 == 0)
					vq_publish(&v.q);
			}
			done += put_held();
			vq_publish(&v.q);
		} while (more(done));
		if (done < CHAINS && !sleep_on(kickfd))
			return "the device was not kicked";
	}
	return vq_broken(&v.q) ? "the queue broke" : NULL;
}

/* ---- driver ---- */

static u32 number[SIZE]; /* of the chain, by id */

/* Its buffers: the device reads the number from the first, and answers in the second. */
static struct ring_buf buffer(u32 n, u32 i)
{
	return (struct ring_buf){ .gpa = VQ_BUFS + n % VQ_NBUFS * 128 + i * 64, .len = 4 };
}

/* Add chain `n`. Returns whether there was room. */
static bool add(u32 n)
{
	struct ring_buf buf[2] = { buffer(n, 0), buffer(n, 1) };
	int id;

	*(u32 *)mem_ptr(&v.mem, buf[0].gpa, 4) = n;
	id = ring_add(&v.ring, buf, 1, 1, v.ring.cfg.indirect);
	if (id < 0)
		return false;
	number[id] = n;
	return true;
}

/* Look at an answer. */
static bool right(int id, u32 len)
{
	u32 *answer = mem_ptr(&v.mem, buffer(number[id], 1).gpa, 4);

	return len == 4 && *answer == number[id] + 1;
}

static void publish(void)
{
	if (!ring_publish(&v.ring))
		return;
	kicks++;
	eventfd_write(kickfd, 1);
}

/* Add and publish some: one at a time while somebody spins, so that the other waits for it. */
static u32 send(u32 sent)
{
	u32 burst = sent / PHASE % SPIN_MODES == NONE_SPINS ? sent % SIZE + 1 : 1, n = 0;

	while (n < burst && sent + n < CHAINS && add(sent + n))
		n++;
	publish();
	return n;
}

/* Take back what is there. Returns whether the answers are right. */
static bool take(u32 *back)
{
	u32 len;
	int id;

	while ((id = ring_get(&v.ring, &len)) >= 0) {
		if (!right(id, len))
			return false;
		++*back;
	}
	return true;
}

/* Ask to be called. Returns true if there is something already. */
static bool arm(u32 sent)
{
	if (spins(sent, DEVICE_SPINS))
		wait_a_little(sent);
	if (v.ring.cfg.event_idx && sent % 2) /* when half of them are back */
		return ring_calls(&v.ring, RING_CALLS_AT, (ring_inflight(&v.ring) + 1) / 2);
	return ring_calls(&v.ring, RING_CALLS_ON, 0);
}

static const char *driver(void)
{
	u32 sent = 0, back = 0;

	while (back < CHAINS) {
		u32 before = back, looks = spins(sent, DRIVER_SPINS) + 1;

		ring_calls(&v.ring, RING_CALLS_OFF, 0);
		sent += send(sent);
		while (looks-- && back == before) {
			if (!take(&back))
				return "a wrong answer";
		}
		if (!ring_inflight(&v.ring) || arm(sent))
			continue;
		if (!sleep_on(v.callfd))
			return "the driver was not called";
	}
	return NULL;
}

START_TEST(no_notification_is_lost)
{
	const char *why, *device_why;
	pthread_t thread;

	vq_rig_init(&v, _i, SIZE);
	kickfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(pthread_create(&thread, NULL, device, NULL), 0);
	why = driver();
	if (why)
		ck_abort_msg("%s", why);
	pthread_join(thread, (void **)&device_why);
	ck_assert_msg(!device_why, "%s", device_why);
	ck_assert_uint_eq(v.q.stats.chains, CHAINS);
	/* Both did sleep: it was not all done by looking. */
	ck_assert_uint_gt(kicks, CHAINS / 1000);
	ck_assert_uint_gt(v.q.stats.calls, CHAINS / 1000);
	close(kickfd);
	vq_rig_free(&v);
}

Suite *vq_stress_suite(void)
{
	Suite *s = suite_create("vq_stress");
	TCase *tc = tcase_create("vq_stress");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, no_notification_is_lost, 0, VQ_VARIANTS);
	suite_add_tcase(s, tc);
	return s;
}
