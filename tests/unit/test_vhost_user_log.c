// SPDX-License-Identifier: MIT
/*
 * test_vhost_user_log.c - the log of written pages: itself, as the device daemon marks it, as the front end asks
 * a back end for it, and as all queues of a device have it, whoever serves them. Tests with a number _i run with split (0) and packed rings (1), unless they say
 * otherwise.
 */
#include "minivmm/datapath.h"
#include "minivmm/mem_log.h"
#include "tests/unit/echo_rig.h"
#include "tests/unit/fake_back_end.h"
#include "tests/unit/stub_path.h"
#include "tests/unit/vhost_user_rig.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define LOG_ALL	     (1ULL << VHOST_F_LOG_ALL)
#define RING_PAGE    VU_RINGS /* ring 0 is smaller than a page */
#define ANOTHER_PAGE (VU_GPA + 2 * MIB)

static struct mem_log marks;

/* How many pages are marked; none is any more. */
static u32 take_all(void)
{
	u32 n = 0;

	for (u64 gpa = 0; gpa < marks.size * 8 * MEM_LOG_PAGE; gpa += MEM_LOG_PAGE)
		n += mem_log_take(&marks, gpa);
	return n;
}

/* ---- the log itself ---- */

static void make_log(struct mem *m, u64 gpa, u64 size)
{
	mem_init(m);
	ck_assert_int_eq(mem_add_ram(m, gpa, size, false), 0);
	ck_assert_int_eq(mem_log_create(&marks, m), 0);
}

static void free_log(struct mem *m)
{
	mem_log_close(&marks);
	mem_destroy(m);
}

START_TEST(a_page_is_marked_and_no_other)
{
	static const struct {
		u64 gpa, len, first, pages;
	} writes[] = {
		{ 0x1000, 1, 0x1000, 1 },
		{ 0x1fff, 1, 0x1000, 1 },
		{ 0x1fff, 2, 0x1000, 2 },
		{ 0x8000, 0x9000, 0x8000, 9 },
		{ 0x5000, 0, 0, 0 },
		{ 128 * MIB - 1, 1, 128 * MIB - 0x1000, 1 },
		{ 128 * MIB, 1, 0, 0 },
		{ 128 * MIB - 1, 9999, 128 * MIB - 0x1000, 1 },
		{ ~0ULL, 1, 0, 0 },
		{ ~0ULL - 1, 0x10000, 0, 0 },
		{ 0, 256 * MIB, 0, 128 * 256 },
	};
	struct mem m;

	make_log(&m, 0, 128 * MIB);
	for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
		ck_assert_int_eq(mem_log_mark(&marks, writes[i].gpa, writes[i].len),
				 writes[i].pages > 0);
		ck_assert(!mem_log_mark(&marks, writes[i].gpa, writes[i].len)); /* not anew */
		if (writes[i].pages)
			ck_assert_uint_eq(marks.map[writes[i].first / 4096 / 8] >>
							  writes[i].first / 4096 % 8 &
						  1,
					  1);
		ck_assert_uint_eq(take_all(), writes[i].pages);
	}
	free_log(&m);
}

START_TEST(it_has_room_for_the_memory)
{
	struct mem m, more;

	make_log(&m, 4 * GIB, MIB);
	ck_assert(mem_log_covers(&marks, &m));
	ck_assert_uint_ge(marks.size, (4 * GIB + MIB) / 4096 / 8);
	mem_init(&more);
	ck_assert_int_eq(mem_add_ram(&more, 8 * GIB, MIB, false), 0);
	ck_assert(!mem_log_covers(&marks, &more));
	mem_destroy(&more);
	free_log(&m);
}

START_TEST(one_that_can_not_be_is_refused)
{
	int fd = memfd_create("log", MFD_CLOEXEC), pipes[2];

	ck_assert_int_eq(ftruncate(fd, 8192), 0);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(mem_log_open(&marks, fd, 0, 0), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, fd, 0, 8193), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, fd, 4096, 4097), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, fd, 4095, 1), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, fd, ~4095ULL, 4096), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, fd, 4096, ~0ULL), -EINVAL);
	ck_assert_int_eq(mem_log_open(&marks, pipes[0], 0, 4096), -EINVAL);
	ck_assert_ptr_null(marks.map);
	ck_assert_int_eq(mem_log_open(&marks, fd, 4096, 4096), 0);
	mem_log_close(&marks);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
}

#define ROUNDS 50000

/* A page of its own, in a byte that all share: what one marks stays until it takes it. */
static void *mark_and_take(void *arg)
{
	u64 gpa = *(u64 *)arg, lost = 0;

	for (u32 i = 0; i < ROUNDS; i++) {
		lost += !mem_log_mark(&marks, gpa, 1);
		lost += !mem_log_take(&marks, gpa);
	}
	*(u64 *)arg = lost;
	return NULL;
}

START_TEST(marks_of_several_threads_do_not_undo_each_other)
{
	pthread_t thread[4];
	u64 arg[4];
	struct mem m;

	make_log(&m, 0, MIB);
	for (u32 i = 0; i < 4; i++) {
		arg[i] = 4096 * i;
		ck_assert_int_eq(pthread_create(&thread[i], NULL, mark_and_take, &arg[i]), 0);
	}
	for (u32 i = 0; i < 4; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_uint_eq(arg[i], 0);
	}
	ck_assert_uint_eq(take_all(), 0);
	free_log(&m);
}

/* ---- the daemon ---- */

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
	const struct ring_buf buf = { gpa, 64 };
	u32 len;

	ck_assert_int_ge(ring_add(&vu.ring[0], &buf, 0, 1, false), 0);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	vu_settle();
	ck_assert_int_ge(ring_get(&vu.ring[0], &len), 0);
	ck_assert_uint_eq(len, 64);
}

START_TEST(what_the_daemon_writes_is_marked_while_that_is_asked_for)
{
	begin(vu_rng, _i);
	log_all(false);
	share_log();
	written_to(VU_DATA);
	ck_assert_uint_eq(take_all(), 0);
	for (u32 round = 0; round < 3; round++) { /* while it runs */
		log_all(true);
		log_ring(vu.ring[0].cfg.device);
		take_all();
		written_to(VU_DATA + 4096 - 32); /* two pages */
		ck_assert(mem_log_take(&marks, VU_DATA));
		ck_assert(mem_log_take(&marks, VU_DATA + 4096));
		ck_assert(mem_log_take(&marks, RING_PAGE));
		ck_assert_uint_eq(take_all(), 0);
		log_all(false);
		take_all(); /* stopping writes to the ring */
		written_to(VU_DATA);
		ck_assert_uint_eq(take_all(), 0);
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
	take_all();
	written_to(VU_DATA);
	ck_assert(mem_log_take(&marks, VU_DATA));
	ck_assert_uint_eq(take_all(), 0);

	log_ring(ANOTHER_PAGE);
	take_all();
	written_to(VU_DATA);
	ck_assert(mem_log_take(&marks, VU_DATA));
	ck_assert(mem_log_take(&marks, ANOTHER_PAGE));
	ck_assert_int_eq(mem_log_take(&marks, RING_PAGE), _i); /* used descriptors, packed */
	ck_assert_uint_eq(take_all(), 0);
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
	take_all();
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
	take_all();
	ck_assert_int_ge(ring_add(&vu.ring[0], buf, out ? 3 : 1, out ? 1 : 3, false), 0);
	ring_publish(&vu.ring[0]);
	eventfd_write(vu.kick, 1);
	while (ring_get(&vu.ring[0], &len) < 0)
		vu_settle();
	ck_assert_uint_eq(len, out ? 1 : 1537);
	ck_assert_int_eq(mem_log_take(&marks, buf[1].gpa), !out);
	ck_assert_int_eq(mem_log_take(&marks, buf[2].gpa), !out);
	ck_assert(mem_log_take(&marks, buf[3].gpa));
	ck_assert_uint_eq(take_all(), 0);
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
	take_all();
	ring_driver_reset(&vu.ring[0]);
	vu_up();
	written_to(VU_DATA);
	ck_assert_uint_eq(take_all(), 0);
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

static struct vdrv d;
static struct back_end be;
static struct virtio_vhost_user_options opts;

static int create(struct virtio_dev **v, const struct machine_env *env,
		  const struct virtio_options *o)
{
	return virtio_vhost_user_create(v, env, o, &opts);
}

static void plug(int mode, u64 without)
{
	vdrv_init(&d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	d.options.queues = 2;
	d.options.queue_size = 64;
	be_begin(&be);
	be.features |= LOG_ALL;
	be.features &= ~without;
	be.protocol |= BE_P(INFLIGHT_SHMFD) | BE_P(STATUS);
	opts = (struct virtio_vhost_user_options){
		.option = "vhost-user", .id = ECHO_ID, .path = be.path, .config_len = 12
	};
	be_listen(&be);
	vdrv_plug(&d, create);
	ck_assert_int_eq(mem_log_create(&marks, d.rig->r.env.mem), 0);
}

static int log_dirty(const struct mem_log *l)
{
	return d.v->path->ops->log_dirty(d.v->path, l);
}

static void unplug(void)
{
	vdrv_unplug(&d);
	be_end(&be);
	unlink(be.path);
	mem_log_close(&marks);
	vdrv_free(&d);
}

/* Returns where 100 bytes have been written. */
static u64 request(u32 q)
{
	struct ring_buf pair[2];

	for (u32 i = 0; i < 2; i++) {
		d.next = ALIGN_UP(d.next, MEM_LOG_PAGE);
		pair[i] = (struct ring_buf){ vdrv_alloc(&d, 100), 100 };
	}
	ck_assert_uint_eq(vdrv_request(&d, q, pair, 1, 1), 100);
	return pair[1].gpa;
}

/* Two requests, and nothing but them. */
static void expect_marked(void)
{
	u64 gpa[2];

	take_all();
	for (u32 i = 0; i < 2; i++)
		gpa[i] = request(i);
	for (u32 i = 0; i < 2; i++) {
		ck_assert(mem_log_take(&marks, gpa[i]));
		ck_assert(mem_log_take(&marks, d.q[i].ring.cfg.device));
	}
	ck_assert_uint_le(take_all(), 4); /* the rest of the rings */
}

static void expect_unmarked(void)
{
	take_all();
	request(0);
	request(1);
	ck_assert_uint_eq(take_all(), 0);
}

START_TEST(a_back_end_marks_while_it_is_asked_to)
{
	plug(_i, 0);
	vdrv_start(&d, ~0ULL);
	for (u32 round = 0; round < 3; round++) {
		expect_unmarked();
		ck_assert_int_eq(log_dirty(&marks), 0);
		expect_marked();
		ck_assert_uint_eq(be_get(&be.status), STATUS_RUNNING);
		if (round == 1) { /* across a new start, and a reset */
			virtio_pause(d.v);
			virtio_resume(d.v);
			expect_marked();
		} else if (round == 2) {
			vdrv_start(&d, ~0ULL);
			expect_marked();
		}
		ck_assert_int_eq(log_dirty(NULL), 0);
	}
	expect_unmarked();
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	expect_silence();
	unplug();
}

START_TEST(before_there_is_a_driver_and_behind_its_back)
{
	plug(_i, 0);
	ck_assert_int_eq(log_dirty(&marks), 0);
	ck_assert_uint_eq(vdrv_offered(&d) & LOG_ALL, 0);
	vdrv_start(&d, ~0ULL);
	expect_marked();
	unplug();
}

START_TEST(the_next_back_end_marks_too)
{
	plug(_i, 0);
	vdrv_start(&d, ~0ULL);
	ck_assert_int_eq(log_dirty(&marks), 0);
	expect_marked();
	be_end(&be);
	vdrv_settle(&d);
	for (u32 i = 0; i < 2; i++) /* what the dead one may not have marked */
		ck_assert(mem_log_take(&marks, d.q[i].ring.cfg.device));
	be_listen(&be);
	request(0);
	request(1);
	ck_assert_uint_eq(be_seen(&be, VHOST_USER_SET_LOG_BASE), 2);
	expect_marked();
	said_forget();
	unplug();
}

START_TEST(the_next_back_end_has_to_be_able_to)
{
	plug(_i, 0);
	vdrv_start(&d, ~0ULL);
	ck_assert_int_eq(log_dirty(&marks), 0);
	be_end(&be);
	vdrv_settle(&d);
	said_forget();
	be.features &= ~LOG_ALL;
	be_listen(&be);
	while (!*said_text())
		vdrv_settle(&d);
	ck_assert_ptr_nonnull(strstr(said_text(), "can't log the pages that it writes"));
	be_end(&be);
	be.features |= LOG_ALL;
	be_listen(&be);
	expect_marked();
	said_forget();
	unplug();
}

/* Without acknowledgements, too, all that is written from then on is marked. */
START_TEST(the_log_has_begun_when_it_says_so)
{
	u64 now;

	plug(_i, 0);
	be.protocol &= ~BE_P(REPLY_ACK);
	be_end(&be);
	vdrv_settle(&d);
	be_listen(&be);
	vdrv_start(&d, ~0ULL);
	request(0);
	for (u32 round = 0; round < 5; round++) {
		ck_assert_int_eq(log_dirty(round % 2 ? NULL : &marks), 0);
		now = __atomic_load_n(&be.accepted, __ATOMIC_SEQ_CST);
		ck_assert_int_eq(!(now & LOG_ALL), round % 2);
	}
	said_forget();
	unplug();
}

START_TEST(what_can_not_be_logged_is_refused)
{
	struct mem_log small;

	plug(0, _i ? LOG_ALL : 0);
	vdrv_start(&d, ~0ULL);
	small = marks;
	small.size = 1;
	ck_assert_int_eq(log_dirty(&small), -EINVAL);
	ck_assert_int_eq(log_dirty(&marks), _i ? -EOPNOTSUPP : 0);
	request(0);
	expect_silence();
	unplug();
}

START_TEST(a_back_end_that_refuses_goes_on_without)
{
	plug(0, 0);
	vdrv_start(&d, ~0ULL);
	be_set(&be.bad, BE_REFUSE);
	be_set(&be.bad_request, VHOST_USER_SET_VRING_ADDR);
	be.bad_times = 1;
	ck_assert_int_eq(log_dirty(&marks), -EOPNOTSUPP);
	expect_unmarked();
	unplug();
}

/* ---- all queues of a device, whoever serves them; _i is transport and ring format ---- */

static struct stub_path stub;

static void plug_echo(int mode)
{
	echo_plug(&d, mode, false);
	vdrv_start(&d, ~0ULL);
	ck_assert_int_eq(mem_log_create(&marks, d.rig->r.env.mem), 0);
	stub_path_init(&stub);
}

static void unplug_echo(void)
{
	ck_assert_uint_eq(vdrv_status(&d), STATUS_RUNNING);
	expect_silence();
	vdrv_unplug(&d);
	mem_log_close(&marks);
	vdrv_free(&d);
}

START_TEST(what_is_served_in_process_is_marked)
{
	plug_echo(_i);
	for (u32 round = 0; round < 3; round++) {
		expect_unmarked();
		ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
		expect_marked();
		if (round == 1) {
			virtio_pause(d.v);
			virtio_resume(d.v);
		} else if (round == 2) {
			vdrv_start(&d, ~0ULL);
		}
		expect_marked();
		ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
	}
	expect_unmarked();
	unplug_echo();
}

START_TEST(while_paused_it_is_noted)
{
	plug_echo(_i);
	virtio_pause(d.v);
	ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
	ck_assert(!d.v->queue[0].running);
	virtio_resume(d.v);
	expect_marked();
	ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
	unplug_echo();
}

START_TEST(the_log_goes_along_with_a_switch)
{
	struct datapath *path = &stub.path;
	struct virtio_switch s;

	plug_echo(_i);
	ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), 0);
	ck_assert_ptr_eq(stub.log, &marks);
	expect_marked();
	path = NULL;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), 0);
	ck_assert_ptr_eq(path, &stub.path);
	ck_assert_ptr_null(stub.log);
	expect_marked();
	ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
	expect_unmarked();
	unplug_echo();
}

START_TEST(no_switch_to_a_path_that_can_not_mark)
{
	struct datapath *path = &stub.path;
	struct virtio_switch s;

	plug_echo(_i);
	ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
	stub.log_err = -EOPNOTSUPP;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), -EIO);
	ck_assert_uint_eq(stub.starts, 0);
	expect_marked();
	stub.log_err = 0;
	stub.start_err = -ENOMEM;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), -ENOMEM);
	ck_assert_ptr_null(stub.log);
	expect_marked();
	unplug_echo();
}

START_TEST(a_device_whose_path_can_not_is_as_it_was)
{
	struct datapath *path = &stub.path;
	struct virtio_switch s;
	struct mem_log small;

	plug_echo(_i);
	small = marks;
	small.size = 1;
	ck_assert_int_eq(virtio_log_dirty(d.v, &small), -EINVAL);
	stub.path.queues = 1; /* the other one is served in-process */
	stub.log_err = -EOPNOTSUPP;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), 0);
	ck_assert_int_eq(virtio_log_dirty(d.v, &marks), -EOPNOTSUPP);
	expect_unmarked();
	unplug_echo();
}

Suite *vhost_user_log_suite(void)
{
	Suite *s = suite_create("vhost_user_log");
	TCase *log = tcase_create("log"), *daemon = tcase_create("daemon"),
	      *front = tcase_create("front end"), *device = tcase_create("device");

	tcase_add_test(log, a_page_is_marked_and_no_other);
	tcase_add_test(log, it_has_room_for_the_memory);
	tcase_add_test(log, one_that_can_not_be_is_refused);
	tcase_add_test(log, marks_of_several_threads_do_not_undo_each_other);
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
	suite_add_tcase(s, log);
	suite_add_tcase(s, daemon);
	suite_add_tcase(s, front);
	tcase_add_loop_test(device, what_is_served_in_process_is_marked, 0, MODES);
	tcase_add_loop_test(device, while_paused_it_is_noted, 0, MODES);
	tcase_add_loop_test(device, the_log_goes_along_with_a_switch, 0, MODES);
	tcase_add_loop_test(device, no_switch_to_a_path_that_can_not_mark, 0, MODES);
	tcase_add_loop_test(device, a_device_whose_path_can_not_is_as_it_was, 0, MODES);
	suite_add_tcase(s, device);
	return s;
}
