// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_log.c - the log of written pages between front end and back end: as the device daemon marks it, and
 * as the front end asks a back end for it. The log itself: test_mem_log.c.
 */
#include "minivmm/mem_log.h"
#include "tests/unit/mem_log_rig.h"
#include "tests/unit/vhost_user_front.h"
#include "tests/unit/vhost_user_rig.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOG_ALL	     (1ULL << VHOST_F_LOG_ALL)
#define RING_PAGE    VU_RINGS /* ring 0 is smaller than a page */
#define ANOTHER_PAGE (VU_GPA + 2 * MIB)

static struct mem_log marks;

/* ---- the daemon; _i: split (0) and packed rings (1), unless it says otherwise ---- */

static void begin(struct virtio_dev *(*create)(const struct machine_env *env), bool packed)
{
	vu_begin(create, packed);
	ck_assert_int_eq(mem_log_create(&marks, &vu.ram), 0);
	vu_up();
	ck_assert_uint_eq(vu.features & LOG_ALL, LOG_ALL);
}

static void end(void)
{
	mem_log_close(&marks);
	vu_end();
}

static void share_log(void)
{
	const struct vhost_user_log l = { .mmap_size = marks.size };
	struct vhost_user_msg m;

	vu_send(VHOST_USER_SET_LOG_BASE, 0, &l, sizeof(l), &marks.fd, 1);
	vu_reply(&m);
	ck_assert_uint_eq(m.hdr.request, VHOST_USER_SET_LOG_BASE);
	ck_assert_uint_eq(m.hdr.size, 0);
	ck_assert_uint_eq(m.nfds, 0);
}

static void log_all(bool on)
{
	vu_num(VHOST_USER_SET_FEATURES, on ? vu.features | LOG_ALL : vu.features & ~LOG_ALL);
}

/* Have ring 0 marked as if it lay at `gpa`; 0: not at all. */
static void log_ring(u64 gpa)
{
	const struct vq_cfg *c = &vu.ring[0].cfg;
	const struct vhost_user_addr a = {
		.flags = gpa ? 1 << VHOST_VRING_F_LOG : 0,
		.desc = c->desc - VU_GPA + VU_USER,
		.avail = c->driver - VU_GPA + VU_USER,
		.used = c->device - VU_GPA + VU_USER,
		.log = gpa,
	};

	vu_addr(0, &a);
}

/* Have 64 bytes written to `gpa`. */
static void written_to(u64 gpa)
{
	vu_submit(gpa, 1);
	ck_assert_uint_eq(vu_answered(), 1);
}

START_TEST(what_the_daemon_writes_is_marked_while_that_is_asked_for)
{
	begin(vu_rng, _i);
	log_all(false);
	share_log();
	written_to(VU_DATA);
	ck_assert_uint_eq(marks_take_all(&marks), 0);
	for (u32 round = 0; round < 3; round++) { /* while it runs */
		log_all(true);
		log_ring(vu.ring[0].cfg.device);
		marks_take_all(&marks);
		written_to(VU_DATA + 4096 - 32); /* two pages */
		ck_assert(mem_log_take(&marks, VU_DATA));
		ck_assert(mem_log_take(&marks, VU_DATA + 4096));
		ck_assert(mem_log_take(&marks, RING_PAGE));
		ck_assert_uint_eq(marks_take_all(&marks), 0);
		log_all(false);
		marks_take_all(&marks); /* stopping writes to the ring */
		written_to(VU_DATA);
		ck_assert_uint_eq(marks_take_all(&marks), 0);
	}
	vu_alive();
	end();
}

START_TEST(the_used_ring_is_marked_where_and_when_the_front_end_says)
{
	begin(vu_rng, _i);
	share_log();
	log_all(true);
	log_ring(0);
	marks_take_all(&marks);
	written_to(VU_DATA);
	ck_assert(mem_log_take(&marks, VU_DATA));
	ck_assert_uint_eq(marks_take_all(&marks), 0);

	log_ring(ANOTHER_PAGE);
	marks_take_all(&marks);
	written_to(VU_DATA);
	ck_assert(mem_log_take(&marks, VU_DATA));
	ck_assert(mem_log_take(&marks, ANOTHER_PAGE));
	ck_assert_int_eq(mem_log_take(&marks, RING_PAGE), _i); /* used descriptors, packed */
	ck_assert_uint_eq(marks_take_all(&marks), 0);
	vu_alive();
	end();
}

START_TEST(the_front_end_is_told_of_new_marks)
{
	begin(vu_rng, _i);
	share_log();
	log_all(true);
	vu_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, &vu.err, 1);
	written_to(VU_DATA);
	ck_assert(vu_signalled(vu.err));
	written_to(VU_DATA); /* which is marked already */
	ck_assert(!vu_signalled(vu.err));
	marks_take_all(&marks);
	written_to(VU_DATA);
	ck_assert(vu_signalled(vu.err));
	vu_alive();
	end();
}

/* A disk uses its segments up while it works. */
START_TEST(of_a_request_what_was_written_is_marked_and_what_was_read_is_not)
{
	struct virtio_blk_outhdr h = { .type = _i / 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN };
	const struct ring_buf buf[] = { { VU_DATA, sizeof(h) },
					{ VU_DATA + 0x2000, 1024 },
					{ VU_DATA + 0x4000, 512 },
					{ VU_DATA + 0x6000, 1 } };
	bool out = _i / 2;
	u32 len;

	begin(vu_blk, _i % 2);
	share_log();
	log_all(true);
	log_ring(0);
	mem_write(&vu.ram, VU_DATA, &h, sizeof(h));
	marks_take_all(&marks);
	ck_assert_int_ge(ring_add(&vu.ring[0], buf, out ? 3 : 1, out ? 1 : 3, false), 0);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	while (ring_get(&vu.ring[0], &len) < 0)
		vu_settle();
	ck_assert_uint_eq(len, out ? 1 : 1537);
	ck_assert_int_eq(mem_log_take(&marks, buf[1].gpa), !out);
	ck_assert_int_eq(mem_log_take(&marks, buf[2].gpa), !out);
	ck_assert(mem_log_take(&marks, buf[3].gpa));
	ck_assert_uint_eq(marks_take_all(&marks), 0);
	vu_alive();
	end();
}

START_TEST(the_next_front_end_has_no_log)
{
	begin(vu_rng, _i);
	share_log();
	log_all(true);
	log_ring(vu.ring[0].cfg.device);
	close(vu.sock);
	vu_connect();
	marks_take_all(&marks);
	ring_driver_reset(&vu.ring[0]);
	vu_up();
	written_to(VU_DATA);
	ck_assert_uint_eq(marks_take_all(&marks), 0);
	vu_alive();
	end();
}

START_TEST(a_log_that_can_not_be_ends_the_connection)
{
	static const struct {
		struct vhost_user_log l;
		u32 nfds;
		const char *why;
	} bad[] = {
		{ { .mmap_size = 4096 }, 0, "SET_LOG_BASE: 0 descriptors" },
		{ { .mmap_size = 1ULL << 40 }, 1, "they are not in the file" },
		{ { .mmap_size = 4096, .mmap_offset = 8 }, 1, "they are not in the file" },
		{ { .mmap_size = 32 }, 1, "the log of 0x20 bytes is too small" },
	};

	begin(vu_rng, false);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		vu_send(VHOST_USER_SET_LOG_BASE, 0, &bad[i].l, sizeof(bad[i].l), &marks.fd,
			bad[i].nfds);
		vu_closed(bad[i].why);
		vu_connect();
		ring_driver_reset(&vu.ring[0]);
		vu_up();
	}
	vu_send(VHOST_USER_SET_LOG_FD, 0, NULL, 0, &marks.fd, 1);
	vu_closed("SET_LOG_FD: the descriptor is no eventfd");
	end();
}

/* ---- the front end; _i is transport and ring format ---- */

static void plug(int mode, u64 without)
{
	fe_begin(mode);
	fe.be.features |= LOG_ALL;
	fe.be.features &= ~without;
	fe.be.protocol |= BE_P(INFLIGHT_SHMFD) | BE_P(STATUS);
	fe_plug();
	ck_assert_int_eq(mem_log_create(&marks, fe.d.rig->r.env.mem), 0);
}

/* A device that runs, and a back end that can log. */
static void start(int mode)
{
	plug(mode, 0);
	vdrv_start(&fe.d, ~0ULL);
}

static int log_dirty(const struct mem_log *l)
{
	return fe.d.v->path->ops->log_dirty(fe.d.v->path, l);
}

static void unplug(void)
{
	vdrv_unplug(&fe.d);
	mem_log_close(&marks);
	fe_end();
}

START_TEST(a_back_end_marks_while_it_is_asked_to)
{
	start(_i);
	for (u32 round = 0; round < 3; round++) {
		marks_expect_none(&fe.d, &marks);
		ck_assert_int_eq(log_dirty(&marks), 0);
		marks_expect(&fe.d, &marks);
		ck_assert_uint_eq(be_get(&fe.be.status), STATUS_RUNNING);
		if (round == 1) { /* across a new start, and a reset */
			virtio_pause(fe.d.v);
			virtio_resume(fe.d.v);
			marks_expect(&fe.d, &marks);
		} else if (round == 2) {
			vdrv_start(&fe.d, ~0ULL);
			marks_expect(&fe.d, &marks);
		}
		ck_assert_int_eq(log_dirty(NULL), 0);
	}
	marks_expect_none(&fe.d, &marks);
	ck_assert_uint_eq(vdrv_status(&fe.d), STATUS_RUNNING);
	expect_silence();
	unplug();
}

START_TEST(before_there_is_a_driver_and_behind_its_back)
{
	plug(_i, 0);
	ck_assert_int_eq(log_dirty(&marks), 0);
	ck_assert_uint_eq(vdrv_offered(&fe.d) & LOG_ALL, 0);
	vdrv_start(&fe.d, ~0ULL);
	marks_expect(&fe.d, &marks);
	unplug();
}

START_TEST(the_next_back_end_marks_too)
{
	start(_i);
	ck_assert_int_eq(log_dirty(&marks), 0);
	marks_expect(&fe.d, &marks);
	fe_lose();
	for (u32 i = 0; i < 2; i++) /* what the dead one may not have marked */
		ck_assert(mem_log_take(&marks, fe.d.q[i].ring.cfg.device));
	be_listen(&fe.be);
	marks_request(&fe.d, 0);
	marks_request(&fe.d, 1);
	ck_assert_uint_eq(be_seen(&fe.be, VHOST_USER_SET_LOG_BASE), 2);
	marks_expect(&fe.d, &marks);
	said_forget();
	unplug();
}

START_TEST(the_next_back_end_has_to_be_able_to)
{
	start(_i);
	ck_assert_int_eq(log_dirty(&marks), 0);
	fe_lose();
	said_forget();
	fe.be.features &= ~LOG_ALL;
	be_listen(&fe.be);
	fe_wait_until(*said_text());
	ck_assert_ptr_nonnull(strstr(said_text(), "can't log the pages that it writes"));
	be_end(&fe.be);
	fe.be.features |= LOG_ALL;
	be_listen(&fe.be);
	marks_expect(&fe.d, &marks);
	said_forget();
	unplug();
}

/* Without acknowledgements, too, all that is written from then on is marked. */
START_TEST(the_log_has_begun_when_it_says_so)
{
	u64 now;

	plug(_i, 0);
	fe.be.protocol &= ~BE_P(REPLY_ACK); /* the next one's */
	fe_lose();
	be_listen(&fe.be);
	vdrv_start(&fe.d, ~0ULL);
	marks_request(&fe.d, 0);
	for (u32 round = 0; round < 5; round++) {
		ck_assert_int_eq(log_dirty(round % 2 ? NULL : &marks), 0);
		now = __atomic_load_n(&fe.be.accepted, __ATOMIC_SEQ_CST);
		ck_assert_int_eq(!(now & LOG_ALL), round % 2);
	}
	said_forget();
	unplug();
}

START_TEST(what_can_not_be_logged_is_refused)
{
	struct mem_log small;

	plug(0, _i ? LOG_ALL : 0);
	vdrv_start(&fe.d, ~0ULL);
	small = marks;
	small.size = 1;
	ck_assert_int_eq(log_dirty(&small), -EINVAL);
	ck_assert_int_eq(log_dirty(&marks), _i ? -EOPNOTSUPP : 0);
	marks_request(&fe.d, 0);
	expect_silence();
	unplug();
}

START_TEST(a_back_end_that_refuses_goes_on_without)
{
	start(0);
	be_set(&fe.be.bad, BE_REFUSE);
	be_set(&fe.be.bad_request, VHOST_USER_SET_VRING_ADDR);
	fe.be.bad_times = 1;
	ck_assert_int_eq(log_dirty(&marks), -EOPNOTSUPP);
	marks_expect_none(&fe.d, &marks);
	unplug();
}

Suite *vhost_user_log_suite(void)
{
	Suite *s = suite_create("vhost_user_log");
	TCase *daemon = tcase_create("daemon"), *front = tcase_create("front end");

	tcase_add_loop_test(daemon, what_the_daemon_writes_is_marked_while_that_is_asked_for, 0, 2);
	tcase_add_loop_test(daemon, the_used_ring_is_marked_where_and_when_the_front_end_says, 0,
			    2);
	tcase_add_loop_test(daemon, the_front_end_is_told_of_new_marks, 0, 2);
	tcase_add_loop_test(daemon,
			    of_a_request_what_was_written_is_marked_and_what_was_read_is_not, 0, 4);
	tcase_add_loop_test(daemon, the_next_front_end_has_no_log, 0, 2);
	tcase_add_test(daemon, a_log_that_can_not_be_ends_the_connection);
	tcase_add_loop_test(front, a_back_end_marks_while_it_is_asked_to, 0, MODES);
	tcase_add_loop_test(front, before_there_is_a_driver_and_behind_its_back, 0, MODES);
	tcase_add_loop_test(front, the_next_back_end_marks_too, 0, VDRV_BUSES);
	tcase_add_loop_test(front, the_next_back_end_has_to_be_able_to, 0, VDRV_BUSES);
	tcase_add_loop_test(front, the_log_has_begun_when_it_says_so, 0, VDRV_BUSES);
	tcase_add_loop_test(front, what_can_not_be_logged_is_refused, 0, 2);
	tcase_add_test(front, a_back_end_that_refuses_goes_on_without);
	suite_add_tcase(s, daemon);
	suite_add_tcase(s, front);
	return s;
}
