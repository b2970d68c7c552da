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

#define CHAINS	  20000
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
				done += held;
				while (held)
					put(&slot[--held]); /* the last one first */
				if (done % 3 == 0)
					vq_publish(&v.q);
			}
			done += held;
			while (held)
				put(&slot[--held]);
			vq_publish(&v.q);
		} while (vq_rearm(&v.q));
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

static const char *driver(void)
{
	u32 sent = 0, back = 0;

	while (back < CHAINS) {
		u32 len, burst = sent % SIZE + 1;
		int id;

		ring_calls(&v.ring, RING_CALLS_OFF, 0);
		while (burst-- && sent < CHAINS && add(sent))
			sent++;
		publish();
		while ((id = ring_get(&v.ring, &len)) >= 0) {
			if (!right(id, len))
				return "a wrong answer";
			back++;
		}
		if (sent < CHAINS && ring_inflight(&v.ring) < SIZE / 2 && sent % 7)
			continue; /* more before it sleeps */
		if (!ring_inflight(&v.ring))
			continue;
		if (v.ring.cfg.event_idx && sent % 2) {
			/* Sleep until half of them are back. */
			if (ring_calls(&v.ring, RING_CALLS_AT, (ring_inflight(&v.ring) + 1) / 2))
				continue;
		} else if (ring_calls(&v.ring, RING_CALLS_ON, 0)) {
			continue;
		}
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
