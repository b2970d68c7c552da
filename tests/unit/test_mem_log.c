// SPDX-License-Identifier: MIT
/*
 * test_mem_log.c - the log of written pages: itself, and as all queues of a device have it, whoever serves them. As
 * the protocol of vhost-user has it: test_vhost_user_log.c.
 */
#include "minivmm/datapath.h"
#include "minivmm/mem_log.h"
#include "tests/unit/echo_rig.h"
#include "tests/unit/mem_log_rig.h"
#include "tests/unit/stub_path.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static struct mem_log marks;

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
		ck_assert_uint_eq(marks_take_all(&marks), writes[i].pages);
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
	ck_assert_uint_eq(marks_take_all(&marks), 0);
	free_log(&m);
}

/* ---- all queues of a device, whoever serves them; _i is transport and ring format ---- */

static struct vdrv d;
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
		marks_expect_none(&d, &marks);
		ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
		marks_expect(&d, &marks);
		if (round == 1) {
			virtio_pause(d.v);
			virtio_resume(d.v);
		} else if (round == 2) {
			vdrv_start(&d, ~0ULL);
		}
		marks_expect(&d, &marks);
		ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
	}
	marks_expect_none(&d, &marks);
	unplug_echo();
}

START_TEST(while_paused_it_is_noted)
{
	plug_echo(_i);
	virtio_pause(d.v);
	ck_assert_int_eq(virtio_log_dirty(d.v, &marks), 0);
	ck_assert(!d.v->queue[0].running);
	virtio_resume(d.v);
	marks_expect(&d, &marks);
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
	marks_expect(&d, &marks);
	path = NULL;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), 0);
	ck_assert_ptr_eq(path, &stub.path);
	ck_assert_ptr_null(stub.log);
	marks_expect(&d, &marks);
	ck_assert_int_eq(virtio_log_dirty(d.v, NULL), 0);
	marks_expect_none(&d, &marks);
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
	marks_expect(&d, &marks);
	stub.log_err = 0;
	stub.start_err = -ENOMEM;
	ck_assert_int_eq(virtio_switch_path(d.v, &path, &s), -ENOMEM);
	ck_assert_ptr_null(stub.log);
	marks_expect(&d, &marks);
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
	marks_expect_none(&d, &marks);
	unplug_echo();
}

Suite *mem_log_suite(void)
{
	Suite *s = suite_create("mem_log");
	TCase *log = tcase_create("log"), *device = tcase_create("device");

	tcase_add_test(log, a_page_is_marked_and_no_other);
	tcase_add_test(log, it_has_room_for_the_memory);
	tcase_add_test(log, one_that_can_not_be_is_refused);
	tcase_add_test(log, marks_of_several_threads_do_not_undo_each_other);
	tcase_add_loop_test(device, what_is_served_in_process_is_marked, 0, MODES);
	tcase_add_loop_test(device, while_paused_it_is_noted, 0, MODES);
	tcase_add_loop_test(device, the_log_goes_along_with_a_switch, 0, MODES);
	tcase_add_loop_test(device, no_switch_to_a_path_that_can_not_mark, 0, MODES);
	tcase_add_loop_test(device, a_device_whose_path_can_not_is_as_it_was, 0, MODES);
	suite_add_tcase(s, log);
	suite_add_tcase(s, device);
	return s;
}
