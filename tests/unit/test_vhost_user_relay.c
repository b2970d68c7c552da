// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_relay.c - disks at a back end that keeps no record of what is in flight: the front end relays
 * their rings (devices/datapath/vhost_user_relay.c). What is in flight when the back end goes, in which order it
 * comes again, and what either side may not do.
 *
 * The back end is fake_back_end.h's, which gives back in each chain what the driver sent in it.
 */
#include "tests/unit/echo_rig.h"
#include "tests/unit/fake_back_end.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SIZE	  64
#define LEN	  100
#define EVENT_IDX VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)

static struct vdrv d;
static struct back_end be;
static struct virtio_vhost_user_options opts;

/* One request, on its way or back. */
struct req {
	struct ring_buf buf[2];
	u8 byte;
	int id;
};

static int create(struct virtio_dev **v, const struct machine_env *env,
		  const struct virtio_options *o)
{
	return virtio_vhost_user_create(v, env, o, &opts);
}

static void begin(int bus, bool packed)
{
	vdrv_init(&d, bus, packed);
	d.options.queues = 2;
	d.options.queue_size = SIZE;
	be_begin(&be);
	be.features |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
	be.config_len = 60;
	opts = (struct virtio_vhost_user_options){ .option = "disk",
						   .id = VIRTIO_ID_BLOCK,
						   .path = be.path };
}

static void plug(int bus)
{
	begin(bus, false);
	be_listen(&be);
	vdrv_plug(&d, create);
	expect_said("the back end keeps no record");
	said_forget();
	vdrv_start(&d, ~0ULL);
}

static void end(void)
{
	if (d.dev)
		vdrv_unplug(&d);
	be_end(&be);
	unlink(be.path);
	vdrv_free(&d);
}

#define wait_until(what) vdrv_wait_until(&d, what)

static struct req submit(u32 q, u8 byte)
{
	struct req r = { .byte = byte };

	for (u32 i = 0; i < 2; i++)
		r.buf[i] = (struct ring_buf){ vdrv_alloc(&d, LEN), LEN };
	memset(vdrv_ptr(&d, r.buf[0].gpa, LEN), byte, LEN);
	r.id = vdrv_submit(&d, q, r.buf, 1, 1);
	vdrv_settle(&d);
	return r;
}

static void expect_done(const struct req *r)
{
	const u8 *in = vdrv_ptr(&d, r->buf[1].gpa, LEN);

	for (u32 i = 0; i < LEN; i++)
		ck_assert_uint_eq(in[i], r->byte);
}

/* One of `n` requests has come back, each no more than once: its id is -1 then. */
static void wait_one(u32 q, struct req *r, u32 n)
{
	u32 written, i = 0;
	int id = vdrv_wait(&d, q, &written);

	while (i < n && r[i].id != id)
		i++;
	ck_assert_uint_lt(i, n);
	ck_assert_uint_eq(written, LEN);
	expect_done(&r[i]);
	r[i].id = -1;
}

static void wait_all(u32 q, struct req *r, u32 n)
{
	for (u32 i = 0; i < n; i++)
		wait_one(q, r, n);
	echo_expect_no_answer(&d, q);
}

static void request(u32 q, u8 byte)
{
	struct req r = submit(q, byte);

	wait_all(q, &r, 1);
}

static void kill_it(void)
{
	be_end(&be);
	vdrv_settle(&d);
}

static void start_it(void)
{
	be_listen(&be);
}

/* The back end has got these bytes, in this order. */
static void expect_got(const u8 *byte, u32 n)
{
	wait_until(be_get(&be.ngot) >= n);
	ck_assert_uint_eq(be_get(&be.ngot), n);
	for (u32 i = 0; i < n; i++)
		ck_assert_uint_eq(be_get(&be.got[i]), byte[i]);
}

/* ---- as long as all is well ---- */

static void serves(u64 features)
{
	vdrv_start(&d, features);
	for (u32 i = 0; i < 4 * SIZE; i++)
		request(i % 2, i);
	for (u32 round = 0; round < 5; round++) {
		struct req r[30];

		for (u32 i = 0; i < ARRAY_SIZE(r); i++)
			r[i] = submit(0, i);
		wait_all(0, r, ARRAY_SIZE(r));
	}
}

START_TEST(requests_are_served)
{
	plug(_i);
	serves(~0ULL);
	ck_assert_uint_eq(be.accepted & EVENT_IDX, 0);
	serves(~EVENT_IDX);
	expect_silence();
	end();
}

START_TEST(what_is_offered)
{
	u64 in_order = VIRTIO_FEATURE(VIRTIO_F_IN_ORDER);
	u64 no_fields = VIRTIO_FEATURE(VIRTIO_BLK_F_SECURE_ERASE) | VIRTIO_FEATURE(17); /* zoned */

	begin(_i, false);
	be.features |= in_order | no_fields;
	be.features &= ~EVENT_IDX; /* the driver has it from us */
	be_listen(&be);
	vdrv_plug(&d, create);
	ck_assert_uint_eq(vdrv_offered(&d) & (EVENT_IDX | in_order | no_fields |
					      VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)),
			  EVENT_IDX);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	end();
}

START_TEST(the_relays_memory_is_a_region_more)
{
	begin(_i, false);
	be.protocol |= BE_P(CONFIGURE_MEM_SLOTS);
	be.mem_slots = 2;
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_ADD_MEM_REG), 2);
	end();
}

START_TEST(too_few_slots_for_it)
{
	begin(VDRV_PCI_MSIX, false);
	be.protocol |= BE_P(CONFIGURE_MEM_SLOTS);
	be.mem_slots = 1;
	be_listen(&be);
	vdrv_plug(&d, create);
	said_forget();
	ck_assert(vdrv_negotiate(&d, ~0ULL));
	vdrv_queue_up(&d, 0, 0);
	vdrv_driver_ok(&d);
	ck_assert_uint_eq(vdrv_status(&d) & NEEDS_RESET, NEEDS_RESET);
	ck_assert_ptr_nonnull(strstr(said_text(), "takes fewer memory regions"));
	said_forget();
	end();
}

START_TEST(a_record_of_the_back_ends_is_preferred)
{
	begin(_i, false);
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	ck_assert_uint_eq(be.accepted & EVENT_IDX, EVENT_IDX);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_INFLIGHT_FD), 1);
	expect_silence();
	end();
}

START_TEST(packed_rings_are_not_relayed)
{
	begin(_i, true);
	be_listen(&be);
	vdrv_plug(&d, create);
	expect_said("not so without packed=on");
	vdrv_start(&d, ~0ULL);
	request(0, 1);
	kill_it();
	wait_until(vdrv_status(&d) & NEEDS_RESET);
	said_forget();
	end();
}

/* The driver wants no call, and gets none; then it wants one for what was used meanwhile. */
START_TEST(the_driver_is_called_if_it_wants_to_be)
{
	struct ring_driver *ring = &d.q[0].ring;
	struct req r;
	u32 written;
	int id = -1;

	plug(_i / 2);
	vdrv_start(&d, _i % 2 ? ~0ULL : ~EVENT_IDX);
	vdrv_called(&d, 0);
	ring_calls(ring, RING_CALLS_OFF, 0);
	for (u32 i = 0; i < 10; i++) {
		r = submit(0, i);
		wait_until((id = ring_get(ring, &written)) >= 0);
		ck_assert_int_eq(id, r.id);
		vdrv_settle(&d);
		ck_assert(!vdrv_called(&d, 0));
	}
	ck_assert(!ring_calls(ring, RING_CALLS_ON, 1));
	r = submit(0, 77);
	vdrv_wait_called(&d, 0);
	wait_until((id = ring_get(ring, &written)) >= 0);
	ck_assert_int_eq(id, r.id);
	end();
}

/* The back end has got all of them: after a while it uses them. */
static void *use_them(void *arg)
{
	(void)arg;
	while (be_get(&be.ngot) < 3)
		sched_yield();
	usleep(20000);
	be_set(&be.hold, BE_HOLD_NONE);
	eventfd_write(be.ring[0].kick, 1);
	return NULL;
}

/* It may forget what it has. */
START_TEST(it_is_asked_to_stop_when_it_has_nothing)
{
	pthread_t thread;
	struct req r[3];

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 3; i++)
		r[i] = submit(0, i + 1);
	vdrv_settle(&d);
	ck_assert_int_eq(pthread_create(&thread, NULL, use_them, NULL), 0);
	while (be_get(&be.ngot) < 3)
		sched_yield();
	virtio_pause(d.v);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_GET_VRING_BASE), d.v->nqueues);
	ck_assert_uint_eq(be_get(&be.forgot), 0);
	virtio_resume(d.v);
	wait_all(0, r, 3);
	end();
}

/* ---- the back end goes ---- */

START_TEST(what_is_in_flight_comes_again_in_its_order)
{
	static const u8 again[] = { 2, 4, 6, 8, 21, 22 };
	struct req r[10], away[2];

	plug(_i);
	be_set(&be.hold, BE_HOLD_EVEN);
	for (u32 i = 0; i < 9; i++)
		r[i] = submit(0, i + 1);
	for (u32 i = 0; i < 5; i++)
		wait_one(0, r, 9); /* the odd ones */
	kill_it();
	away[0] = submit(0, 21);
	away[1] = submit(0, 22);
	be_set(&be.hold, BE_HOLD_ALL);
	start_it();
	expect_got(again, ARRAY_SIZE(again));
	echo_expect_no_answer(&d, 0);
	be_set(&be.hold, BE_HOLD_NONE);
	for (u32 i = 0; i < 2; i++) /* what is new comes behind */
		r[2 * i] = away[i];
	r[9] = submit(0, 99);
	for (u32 i = 0; i < 7; i++)
		wait_one(0, r, 10);
	echo_expect_no_answer(&d, 0);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	end();
}

/* Again and again, each time in the middle of the ring, which wraps. */
START_TEST(nothing_is_lost_in_many_kills)
{
	plug(_i);
	for (u32 round = 0; round < 6; round++) {
		struct req r[2][25];

		be_set(&be.hold, round % 3);
		for (u32 i = 0; i < 25; i++) {
			r[0][i] = submit(0, round + i);
			r[1][i] = submit(1, 2 * round + i);
		}
		kill_it();
		be_set(&be.hold, BE_HOLD_NONE);
		start_it();
		wait_all(0, r[0], 25);
		wait_all(1, r[1], 25);
	}
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	said_forget();
	end();
}

/* The same with all loops in threads, and a driver that does not wait for the kill. */
START_TEST(nothing_is_lost_with_threads)
{
	begin(_i, false);
	vdrv_threads(&d);
	be_listen(&be);
	vdrv_plug(&d, create);
	vdrv_start(&d, ~0ULL);
	for (u32 round = 0; round < 6; round++) {
		struct req r[40];

		be_set(&be.hold, round % 2 ? BE_HOLD_EVEN : BE_HOLD_NONE);
		for (u32 i = 0; i < 20; i++)
			r[i] = submit(0, round + i);
		be_end(&be);
		for (u32 i = 20; i < 40; i++)
			r[i] = submit(0, round + i);
		be_set(&be.hold, BE_HOLD_NONE);
		start_it();
		wait_all(0, r, 40);
	}
	said_forget();
	end();
}

START_TEST(a_full_ring_comes_again)
{
	const struct ring_buf buf = { 0x1000, LEN };
	bool back[SIZE] = { false };

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < SIZE; i++)
		vdrv_submit(&d, 0, &buf, 1, 0);
	wait_until(be_get(&be.ngot) == SIZE);
	kill_it();
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	for (u32 i = 0; i < SIZE; i++) {
		int id = vdrv_wait(&d, 0, NULL);

		ck_assert(!back[id]);
		back[id] = true;
	}
	request(0, 1);
	end();
}

START_TEST(the_next_back_end_may_keep_a_record)
{
	struct req r;

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	r = submit(0, 1);
	wait_until(be_get(&be.ngot) == 1);
	kill_it();
	be.protocol |= BE_P(INFLIGHT_SHMFD);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	wait_all(0, &r, 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_GET_INFLIGHT_FD), 0);
	end();
}

/* ---- stop and start ---- */

START_TEST(a_stop_waits_for_what_is_in_flight)
{
	struct req r[5];

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 5; i++)
		r[i] = submit(0, i);
	wait_until(be_get(&be.ngot) == 5);
	virtio_pause(d.v);
	ck_assert_uint_eq(d.v->queue[0].pos.avail, 5);
	ck_assert_uint_eq(d.v->queue[0].pos.used, 5);
	wait_all(0, r, 5);
	be_set(&be.hold, BE_HOLD_NONE);
	r[0] = submit(0, 9); /* it rests */
	echo_expect_no_answer(&d, 0);
	virtio_resume(d.v);
	wait_all(0, r, 1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_VRING_KICK), 4);
	end();
}

START_TEST(a_stop_without_a_back_end_keeps_it)
{
	static const u8 again[] = { 2, 4, 7 };
	struct req r[5];

	plug(_i);
	be_set(&be.hold, BE_HOLD_EVEN);
	for (u32 i = 0; i < 4; i++)
		r[i] = submit(0, i + 1);
	wait_one(0, r, 4);
	wait_one(0, r, 4);
	kill_it();
	virtio_pause(d.v);
	ck_assert_uint_eq(d.v->queue[0].pos.avail, 3); /* the last one is in the ring, as it was */
	ck_assert_uint_eq(d.v->queue[0].pos.used, 2);
	r[4] = submit(0, 7);
	virtio_resume(d.v);
	virtio_pause(d.v);
	be_set(&be.hold, BE_HOLD_ALL);
	start_it();
	wait_until(be_get(&be.connections) == 2);
	virtio_resume(d.v);
	expect_got(again, 3);
	be_set(&be.hold, BE_HOLD_NONE);
	request(1, 1);
	vdrv_kick(&d, 0);
	be_set(&be.lie, BE_LIE_NONE);
	r[0] = submit(0, 11);
	for (u32 i = 0; i < 4; i++)
		wait_one(0, r, 5);
	end();
}

/* Nobody else can go on where a request is in flight behind which others are done; the relay can. */
START_TEST(what_only_the_relay_can_finish_stays_with_it)
{
	struct datapath *path = NULL;
	struct virtio_switch s;
	struct req r[2];

	plug(_i);
	be_set(&be.hold, BE_HOLD_EVEN);
	r[0] = submit(0, 2);
	r[1] = submit(0, 3);
	wait_one(0, r, 2);
	kill_it();
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), -EBUSY);
	ck_assert_ptr_null(path);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	wait_one(0, r, 2);
	request(0, 5);
	end();
}

/* What the driver's ring still says all of, anybody can. */
START_TEST(what_is_in_flight_at_the_end_is_given_back)
{
	struct req r[3];

	plug(_i);
	request(0, 1);
	be_set(&be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 3; i++)
		r[i] = submit(0, 2 + i);
	wait_until(be_get(&be.ngot) == 4);
	kill_it();
	virtio_pause(d.v);
	ck_assert_uint_eq(d.v->queue[0].pos.avail, 1);
	ck_assert_uint_eq(d.v->queue[0].pos.used, 1);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	virtio_resume(d.v);
	wait_all(0, r, 3);
	end();
}

/* An old one is not taken for the last, however often the ring has come round. */
START_TEST(an_old_request_is_not_the_last)
{
	struct req r;

	plug(_i);
	be_set(&be.hold, BE_HOLD_EVEN);
	r = submit(0, 2);
	for (u32 i = 0; i < SIZE; i++)
		request(0, 1);
	kill_it();
	virtio_pause(d.v);
	ck_assert_uint_eq(d.v->queue[0].pos.avail, SIZE + 1);
	ck_assert_uint_eq(d.v->queue[0].pos.used, SIZE);
	virtio_resume(d.v);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	wait_one(0, &r, 1);
	end();
}

START_TEST(a_reset_forgets_it)
{
	static const u8 fresh[] = { 50 };
	struct req r;

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	submit(0, 1);
	submit(0, 2);
	wait_until(be_get(&be.ngot) == 2);
	kill_it();
	vdrv_start(&d, ~0ULL);
	r = submit(0, 50);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	wait_all(0, &r, 1);
	expect_got(fresh, 1);
	end();
}

START_TEST(a_reset_of_the_queue_forgets_it)
{
	static const u8 fresh[] = { 50 };
	struct req r;

	plug(_i); /* not MMIO */
	be_set(&be.hold, BE_HOLD_ALL);
	submit(0, 1);
	wait_until(be_get(&be.ngot) == 1);
	kill_it();
	vdrv_queue_reset(&d, 0);
	ring_driver_free(&d.q[0].ring);
	d.q[0].up = false;
	vdrv_queue_up(&d, 0, 0);
	r = submit(0, 50);
	be_set(&be.hold, BE_HOLD_NONE);
	start_it();
	wait_all(0, &r, 1);
	expect_got(fresh, 1);
	end();
}

/* ---- the log of written pages ---- */

/* The pages of one request are marked, or not: its answer by the back end, its used element by us. */
static void expect_marks(const struct mem_log *log, bool marked)
{
	struct req r;

	for (u64 gpa = 0; gpa < VDRV_RAM; gpa += MEM_LOG_PAGE)
		mem_log_take(log, gpa);
	d.next = ALIGN_UP(d.next, MEM_LOG_PAGE);
	r = submit(0, 1);
	wait_all(0, &r, 1);
	d.next = ALIGN_UP(d.next, MEM_LOG_PAGE);
	ck_assert_int_eq(mem_log_take(log, r.buf[1].gpa), marked);
	ck_assert_int_eq(mem_log_take(log, d.q[0].ring.cfg.device), marked);
	for (u64 gpa = r.buf[1].gpa; gpa < d.next; gpa += MEM_LOG_PAGE)
		ck_assert(!mem_log_take(log, gpa));
}

START_TEST(what_is_relayed_is_marked)
{
	struct mem_log log;

	begin(_i, false);
	be.features |= 1ULL << VHOST_F_LOG_ALL;
	be_listen(&be);
	vdrv_plug(&d, create);
	said_forget();
	vdrv_start(&d, ~0ULL);
	ck_assert_int_eq(mem_log_create(&log, d.rig->r.env.mem), 0);
	expect_marks(&log, false);
	for (u32 round = 0; round < 3; round++) {
		ck_assert_int_eq(virtio_log_dirty(d.v, &log), 0);
		expect_marks(&log, true);
		ck_assert_uint_eq(be_get(&be.addr_flags),
				  0); /* that ring is no memory of the guest's */
		if (round == 1) {
			kill_it();
			start_it();
			request(0, 7);
			ck_assert_uint_eq(be_get(&be.addr_flags), 0);
			expect_marks(&log, true);
		} else if (round == 2) {
			vdrv_start(&d, ~0ULL);
			expect_marks(&log, true);
		}
		ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
		expect_marks(&log, false);
	}
	said_forget();
	mem_log_close(&log);
	end();
}

/* ---- a back end that lies ---- */

START_TEST(a_lie_ends_the_connection_and_no_request)
{
	struct req r[3];

	plug(_i % VDRV_BUSES);
	for (u32 i = 0; i < 5; i++)
		request(0, i);
	be_set(&be.hold, BE_HOLD_EVEN);
	r[0] = submit(0, 2);
	r[1] = submit(0, 4);
	wait_until(be_get(&be.ngot) == 7);
	be_set(&be.lie, 1 + _i / VDRV_BUSES);
	r[2] = submit(0, BE_LIE_BEHIND); /* which is done, then comes the lie */
	wait_one(0, r, 3);
	wait_until(be_get(&be.connections) == 2);
	ck_assert_ptr_nonnull(strstr(said_text(), "uses a request that it was not given"));
	be_set(&be.hold, BE_HOLD_NONE);
	r[2] = submit(0, 60);
	wait_all(0, r, 3);
	request(1, 3);
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	said_forget();
	end();
}

/* It says that it stopped where it never was. */
START_TEST(an_impossible_base_ends_the_connection)
{
	struct req r;

	plug(_i);
	request(0, 1);
	be_set(&be.base_off, 1000);
	virtio_pause(d.v);
	expect_said("gives an answer that is none");
	be_set(&be.base_off, 0);
	virtio_resume(d.v);
	r = submit(0, 2);
	wait_all(0, &r, 1);
	said_forget();
	end();
}

/* ---- a driver that breaks the rules ---- */

static struct vring_avail *avail(void)
{
	return vdrv_ptr(&d, d.q[0].ring.cfg.driver, 6 + 2 * SIZE);
}

static void expect_broken(const char *why)
{
	vdrv_kick(&d, 0);
	wait_until(vdrv_status(&d) & NEEDS_RESET);
	expect_said(why);
	said_forget();
	be_set(&be.hold, BE_HOLD_NONE);
	vdrv_start(&d, ~0ULL); /* the next driver finds a device that works */
	request(0, 1);
	request(1, 2);
	said_forget();
	end();
}

START_TEST(an_index_that_jumps)
{
	plug(_i);
	request(0, 1);
	avail()->idx += SIZE + 1;
	expect_broken("ahead by more than the queue size");
}

START_TEST(an_index_that_jumps_beyond_what_is_free)
{
	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	for (u32 i = 0; i < 10; i++)
		submit(0, i);
	wait_until(be_get(&be.ngot) == 10);
	avail()->idx += SIZE - 9;
	expect_broken("ahead by more than the queue size");
}

START_TEST(a_head_out_of_range)
{
	plug(_i);
	avail()->ring[0] = SIZE;
	avail()->idx++;
	expect_broken("a descriptor index is out of range");
}

START_TEST(a_head_that_is_in_flight)
{
	u16 idx;

	plug(_i);
	be_set(&be.hold, BE_HOLD_ALL);
	submit(0, 1);
	wait_until(be_get(&be.ngot) == 1);
	idx = avail()->idx;
	avail()->ring[idx % SIZE] = avail()->ring[(idx - 1) % SIZE];
	avail()->idx++;
	expect_broken("made available that is in flight");
}

Suite *vhost_user_relay_suite(void)
{
	Suite *s = suite_create("vhost-user-relay");
	TCase *tc = tcase_create("vhost-user-relay");

	tcase_set_timeout(tc, 30);
	tcase_add_loop_test(tc, requests_are_served, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_offered, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_relays_memory_is_a_region_more, 0, VDRV_BUSES);
	tcase_add_test(tc, too_few_slots_for_it);
	tcase_add_loop_test(tc, a_record_of_the_back_ends_is_preferred, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, packed_rings_are_not_relayed, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_driver_is_called_if_it_wants_to_be, 0, 2 * VDRV_BUSES);
	tcase_add_loop_test(tc, it_is_asked_to_stop_when_it_has_nothing, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_in_flight_comes_again_in_its_order, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, nothing_is_lost_in_many_kills, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, nothing_is_lost_with_threads, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_full_ring_comes_again, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, the_next_back_end_may_keep_a_record, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_stop_waits_for_what_is_in_flight, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_stop_without_a_back_end_keeps_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_only_the_relay_can_finish_stays_with_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, what_is_in_flight_at_the_end_is_given_back, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_old_request_is_not_the_last, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_forgets_it, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_reset_of_the_queue_forgets_it, 0, VDRV_MMIO);
	tcase_add_loop_test(tc, what_is_relayed_is_marked, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_lie_ends_the_connection_and_no_request, 0, 4 * VDRV_BUSES);
	tcase_add_loop_test(tc, an_impossible_base_ends_the_connection, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_index_that_jumps, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, an_index_that_jumps_beyond_what_is_free, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_head_out_of_range, 0, VDRV_BUSES);
	tcase_add_loop_test(tc, a_head_that_is_in_flight, 0, VDRV_BUSES);
	suite_add_tcase(s, tc);
	return s;
}
