// SPDX-License-Identifier: MIT
/*
 * test_trace.c - traces: the rings of events, also under threads that write while a file is made; the file;
 * what a queue, a loop and a live switch tell.
 */
#include "minivmm/trace.h"
#include "tests/unit/echo_rig.h"
#include "tests/unit/stub_path.h"
#include "vmm/json.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

static struct trace *t;
static struct trace_result r;
static char dir[32], path[64], why[160];
static u32 written, fds;

static void count(void *arg)
{
	__atomic_fetch_add((u32 *)arg, 1, __ATOMIC_SEQ_CST);
}

static void setup(void)
{
	fds = open_fds();
	ck_assert_int_eq(json_load_library("test"), 0);
	strcpy(dir, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/trace", dir);
	ck_assert_int_eq(trace_create(&t, count, &written), 0);
}

static void teardown(void)
{
	trace_destroy(t);
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_uint_eq(open_fds(), fds);
}

static void start(void)
{
	ck_assert_int_eq(trace_open(t, path, why, sizeof(why)), 0);
	ck_assert_int_eq(trace_start(t, why, sizeof(why)), 0);
}

/* Stop; the file is written then. */
static void stop_only(void)
{
	u32 before = written;

	ck_assert_int_eq(trace_stop(t), 0);
	ck_assert(trace_wait(t, &r));
	ck_assert_int_eq(r.err, 0);
	ck_assert_str_eq(r.path, path);
	ck_assert_uint_eq(written, before + 1);
}

/* The file as JSON. */
static json_t *read_file(void)
{
	json_error_t error;
	json_t *file;
	struct stat st;
	char *content;
	int fd;

	fd = open(path, O_RDONLY);
	ck_assert_int_eq(fstat(fd, &st), 0);
	content = malloc(st.st_size);
	ck_assert_int_eq(read(fd, content, st.st_size), st.st_size);
	close(fd);
	file = json_loadb(content, st.st_size, 0, &error);
	free(content);
	ck_assert_msg(file != NULL, "line %d: %s", error.line, error.text);
	return file;
}

static json_t *stop(void)
{
	stop_only();
	return read_file();
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Our json.c has no reals, since nothing else needs one. */
static double real(const json_t *value)
{
	char *digits = json_dumps(value, JSON_ENCODE_ANY);
	double n = digits ? strtod(digits, NULL) : -1;

	free(digits);
	return n;
}

static double microseconds(const json_t *o, const char *key)
{
	json_t *value = json_object_get(o, key);

	ck_assert(json_is_real(value));
	return real(value);
}

/* Event number `n` of the track called `name`, metadata aside; or NULL. */
static json_t *event(json_t *file, const char *name, size_t n)
{
	json_t *list = json_object_get(file, "traceEvents"), *e;
	json_int_t tid = -1;
	size_t i;

	json_array_foreach(list, i, e)
	{
		if (strcmp(text(e, "name"), "thread_name") == 0 &&
		    strcmp(text(json_object_get(e, "args"), "name"), name) == 0)
			tid = number(e, "tid");
		else if (strcmp(text(e, "ph"), "M") != 0 && number(e, "tid") == tid && !n--)
			return e;
	}
	return NULL;
}

/* There is one, with this name; its arguments. */
#define expect(file, track, n, what)                                         \
	({                                                                   \
		json_t *e_ = event(file, track, n);                          \
		ck_assert_msg(e_, "no event %zu of %s", (size_t)(n), track); \
		ck_assert_str_eq(text(e_, "name"), what);                    \
		json_object_get(e_, "args");                                 \
	})

static u64 now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

/* ---- the file ---- */

START_TEST(each_track_has_its_events_in_the_order_of_their_times)
{
	struct trace_track cpu = { 0 }, queue = { 0 }, idle = { 0 };
	u64 began, before, after;
	json_t *file, *e;

	trace_add(t, &cpu, "CPUs", "vcpu0");
	trace_add(t, &queue, "net0", "rx0");
	trace_add(t, &idle, "CPUs", "vcpu\"1\\");
	start();
	before = now_us();
	began = trace_begin(&cpu);
	ck_assert_uint_ne(began, 0);
	trace_mark(&cpu, TRACE_SIGNAL, 0, 0);
	trace_mark(&queue, TRACE_KICK, 0, 0);
	usleep(2000);
	trace_end(&cpu, TRACE_MMIO_WRITE, began, 0xfee00000, 4); /* around the signal */
	trace_mark(&queue, TRACE_SWITCH, (uintptr_t) "inproc", (uintptr_t) "vhost-net");
	after = now_us();
	file = stop();

	e = event(file, "vcpu0", 0);
	ck_assert_str_eq(text(e, "ph"), "X");
	ck_assert_str_eq(text(e, "cat"), "exit");
	ck_assert_str_eq(text(expect(file, "vcpu0", 0, "mmio-write"), "address"), "0xfee00000");
	ck_assert_int_eq(number(json_object_get(e, "args"), "bytes"), 4);
	ck_assert(microseconds(e, "ts") >= before - 1 && microseconds(e, "dur") >= 1990 &&
		  microseconds(e, "ts") + microseconds(e, "dur") <= after + 1);
	expect(file, "vcpu0", 1, "signal");
	ck_assert_str_eq(text(event(file, "vcpu0", 1), "ph"), "i");
	ck_assert(microseconds(event(file, "vcpu0", 1), "ts") >= microseconds(e, "ts"));
	ck_assert_ptr_null(event(file, "vcpu0", 2));
	expect(file, "rx0", 0, "kick");
	ck_assert_str_eq(text(expect(file, "rx0", 1, "switch"), "from"), "inproc");
	ck_assert_ptr_null(event(file, "vcpu\"1\\", 0));

	/* Groups are processes. */
	ck_assert_int_eq(number(event(file, "vcpu0", 0), "pid"), 1);
	ck_assert_int_eq(number(event(file, "rx0", 0), "pid"), 2);
	ck_assert_uint_eq(r.events, 4);
	ck_assert_int_eq(number(json_object_get(file, "otherData"), "events"), 4);
	ck_assert_int_eq(number(json_object_get(file, "otherData"), "dropped"), 0);
	json_decref(file);
}

START_TEST(without_a_trace_nothing_is_noted)
{
	struct trace_track track = { 0 };
	json_t *file;

	trace_mark(&track, TRACE_KICK, 0, 0);
	ck_assert_uint_eq(trace_begin(&track), 0);
	trace_end(&track, TRACE_SERVE, 0, 0, 0);
	trace_add(t, &track, "net0", "rx0");
	ck_assert_int_eq(trace_stop(t), -ENOENT);
	ck_assert(!trace_wait(t, &r));

	start();
	trace_mark(&track, TRACE_KICK, 0, 0);
	json_decref(stop());
	ck_assert_uint_eq(r.events, 1);
	trace_mark(&track, TRACE_KICK, 0, 0);

	/* The next one has its own events only. */
	start();
	trace_mark(&track, TRACE_BATCH, 7, 0);
	file = stop();
	ck_assert_int_eq(number(expect(file, "rx0", 0, "batch"), "chains"), 7);
	ck_assert_uint_eq(r.events, 1);
	ck_assert_uint_eq(r.dropped, 0);
	json_decref(file);
}

START_TEST(the_newest_events_take_the_place_of_the_oldest)
{
	struct trace_track track = { 0 };
	json_t *file;

	trace_add(t, &track, "net0", "rx0");
	for (u32 round = 0; round < 2; round++) {
		start();
		for (u32 i = 0; i < TRACE_EVENTS + 1000; i++)
			trace_mark(&track, TRACE_BATCH, i, 0);
		file = stop();
		/* The place that might be written at this moment is not counted on. */
		ck_assert_uint_eq(r.events, TRACE_EVENTS - 1);
		ck_assert_uint_eq(r.dropped, 1001);
		ck_assert_int_eq(number(expect(file, "rx0", 0, "dropped"), "events"), 1001);
		for (u32 i = 1; i < TRACE_EVENTS; i += 4001)
			ck_assert_int_eq(number(expect(file, "rx0", i, "batch"), "chains"),
					 1000 + i);
		ck_assert_int_eq(number(expect(file, "rx0", TRACE_EVENTS - 1, "batch"), "chains"),
				 TRACE_EVENTS + 999);
		ck_assert_int_eq(number(json_object_get(file, "otherData"), "dropped"), 1001);
		json_decref(file);
	}
}

START_TEST(what_is_no_file_is_refused)
{
	struct trace_track track = { 0 };
	char other[80];
	int fd;

	trace_add(t, &track, "net0", "rx0");
	ck_assert_int_eq(trace_open(t, "/no/such/dir/x", why, sizeof(why)), -ENOENT);
	ck_assert_str_eq(why, "No such file or directory");
	ck_assert_int_lt(trace_open(t, dir, why, sizeof(why)), 0);
	ck_assert_int_eq(trace_open(t, "/dev/null", why, sizeof(why)), -EINVAL);
	ck_assert_str_eq(why, "that is no regular file of yours");
	ck_assert_int_eq(mkfifo(path, 0600), 0); /* nobody reads it */
	ck_assert_int_eq(trace_open(t, path, why, sizeof(why)), -EINVAL);
	unlink(path);
	snprintf(other, sizeof(other), "%s/other", dir);
	fd = open(other, O_WRONLY | O_CREAT, 0600);
	close(fd);
	ck_assert_int_eq(symlink(other, path), 0);
	ck_assert_int_eq(trace_open(t, path, why, sizeof(why)), -EINVAL);
	unlink(path);
	unlink(other);
	ck_assert(!trace_runs(t) && !trace_on(&track));

	start();
	ck_assert_int_eq(trace_open(t, other, why, sizeof(why)), -EBUSY);
	ck_assert_ptr_nonnull(strstr(why, path));
	ck_assert_int_lt(access(other, F_OK), 0);
	ck_assert(trace_runs(t));
	json_decref(stop());
}

START_TEST(the_file_is_ours_alone_and_old_content_goes_at_the_stop)
{
	struct stat st;
	int fd;

	start();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	json_decref(stop());

	fd = open(path, O_WRONLY | O_TRUNC);
	ck_assert_int_eq(ftruncate(fd, 100000), 0);
	close(fd);
	start();
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 100000);
	json_decref(stop());

	/* One that is not begun leaves things as they were. */
	ck_assert_int_eq(trace_open(t, path, why, sizeof(why)), 0);
	trace_destroy(t);
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);
	trace_create(&t, count, &written);
	ck_assert_int_eq(trace_open(t, path, why, sizeof(why)), 0);
	trace_destroy(t);
	ck_assert_int_lt(access(path, F_OK), 0);
	trace_create(&t, count, &written);
}

START_TEST(a_file_that_cannot_be_written_is_told_of)
{
	struct rlimit limit = { 4096, 4096 };
	struct trace_track track = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	trace_add(t, &track, "net0", "rx0");
	start();
	for (u32 i = 0; i < 1000; i++)
		trace_mark(&track, TRACE_BATCH, i, 0);
	ck_assert_int_eq(trace_stop(t), 0);
	ck_assert(trace_wait(t, &r));
	ck_assert_int_eq(r.err, -EFBIG);
	ck_assert_int_eq(trace_stop(t), -ENOENT);
}

/* ---- threads ---- */

#define WRITERS 3
#define ROUNDS	10

static struct trace_track tracks[WRITERS];
static bool enough, rest;

/* Numbers in their order, each in both words of an event. */
static void *write_numbers(void *arg)
{
	struct trace_track *track = arg;

	for (u64 i = 1; !__atomic_load_n(&enough, __ATOMIC_RELAXED); i++) {
		trace_mark(track, TRACE_PIO_READ, i, i);
		while (__atomic_load_n(&rest, __ATOMIC_RELAXED))
			usleep(1000);
	}
	return NULL;
}

/* No event is torn, and none is out of its order; of what there is none is missing. */
static u32 check_numbers(json_t *file, u32 writer)
{
	json_t *list = json_object_get(file, "traceEvents"), *e;
	json_int_t last = 0;
	double at = 0;
	size_t i;
	u32 n = 0;

	json_array_foreach(list, i, e)
	{
		json_t *args = json_object_get(e, "args");

		if (number(e, "tid") != writer + 1 || strcmp(text(e, "name"), "pio-read") != 0)
			continue;
		ck_assert_uint_eq(strtoull(text(args, "port"), NULL, 16), number(args, "bytes"));
		if (last)
			ck_assert_int_eq(number(args, "bytes"), last + 1);
		ck_assert(microseconds(e, "ts") >= at);
		at = microseconds(e, "ts");
		last = number(args, "bytes");
		n++;
	}
	return n;
}

START_TEST(threads_write_while_a_file_is_made)
{
	pthread_t thread[WRITERS];
	u32 events = 0;

	for (u32 i = 0; i < WRITERS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "writer%u", i);
		trace_add(t, &tracks[i], "threads", name);
		pthread_create(&thread[i], NULL, write_numbers, &tracks[i]);
	}
	for (u32 round = 0; round < ROUNDS; round++) {
		json_t *file;

		start();
		usleep(round % 2 ? 20000 : 200);
		stop_only();
		__atomic_store_n(&rest, true,
				 __ATOMIC_RELAXED); /* the processors are for who reads */
		file = read_file();
		for (u32 i = 0; i < WRITERS; i++)
			events += check_numbers(file, i);
		json_decref(file);
		__atomic_store_n(&rest, false, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&enough, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < WRITERS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_gt(events, 1000);
}

/* ---- what a device tells ---- */

static struct vdrv d;

static void request(u32 q)
{
	struct ring_buf buf[2] = { { vdrv_alloc(&d, 8), 8 }, { vdrv_alloc(&d, 8), 8 } };

	ck_assert_uint_eq(vdrv_request(&d, q, buf, 1, 1), 8);
}

/* Does the event lie in the other one? */
static void check_inside(const json_t *inner, const json_t *outer)
{
	double began = microseconds(inner, "ts"), from = microseconds(outer, "ts");
	json_t *dur = json_object_get(inner, "dur");
	double took = dur ? real(dur) : 0;

	ck_assert(began >= from);
	ck_assert(began + took <= from + microseconds(outer, "dur") + 0.002);
}

START_TEST(a_queue_tells_of_kick_service_batch_and_interrupt)
{
	json_t *file;

	echo_plug(&d, _i, false);
	trace_add(t, &d.v->queue[1].vq.track, "echo0", "q1");
	trace_add(t, loop_track(d.v->queue[1].loop), "threads", "loop");
	vdrv_start(&d, ~0ULL);
	request(1);
	start();
	request(0);
	request(1);
	file = stop();
	request(1);

	expect(file, "q1", 0, "kick");
	ck_assert_int_eq(number(expect(file, "q1", 1, "serve"), "chains"), 1);
	ck_assert_int_eq(number(expect(file, "q1", 2, "batch"), "chains"), 1);
	expect(file, "q1", 3, "interrupt");
	ck_assert_ptr_null(event(file, "q1", 4));
	check_inside(event(file, "q1", 2), event(file, "q1", 1));
	check_inside(event(file, "q1", 3), event(file, "q1", 1));
	json_decref(file);
	vdrv_free(&d);
}

START_TEST(loops_tell_of_handlers_and_calls)
{
	json_t *file;
	bool called = false, ready = false;

	echo_plug(&d, VDRV_MMIO, true);
	trace_add(t, loop_track(d.v->queue[0].loop), "threads", "loop");
	vdrv_start(&d, ~0ULL);
	start();
	request(0);
	virtio_pause(d.v);
	virtio_resume(d.v);
	virtio_pause(d.v); /* the loop has told of the one before */
	virtio_resume(d.v);
	file = stop();
	for (u32 i = 0; event(file, "loop", i); i++) {
		called |= strcmp(text(event(file, "loop", i), "name"), "call") == 0;
		ready |= strcmp(text(event(file, "loop", i), "name"), "ready") == 0;
	}
	ck_assert(called && ready);
	json_decref(file);
	vdrv_free(&d);
}

static int move(struct stub_path *to)
{
	struct datapath *next = to ? &to->path : NULL;
	struct virtio_switch s;

	return virtio_switch_path(d.v, &next, &s);
}

START_TEST(a_switch_tells_of_its_steps)
{
	static const char *const steps[] = { "quiesce", "hand over", "restart" };
	struct stub_path stub;
	json_t *file, *args;

	stub_path_init(&stub);
	echo_plug(&d, VDRV_PCI_MSIX, false);
	trace_add(t, &d.v->track, "echo0", "data path");
	vdrv_start(&d, ~0ULL);
	start();
	ck_assert_int_eq(move(&stub), 0);
	stub.dead = true;
	ck_assert_int_eq(move(NULL), 0);
	ck_assert_int_eq(move(&stub), -EIO); /* is refused before it begins */
	stub.dead = false;
	stub.start_err = -ENOMEM;
	ck_assert_int_eq(move(&stub), -ENOMEM);
	file = stop();

	for (u32 k = 0; k < 3; k++) {
		args = expect(file, "data path", 4 * k, k < 2 ? "switch" : "switch failed");
		ck_assert_str_eq(text(args, "from"), k == 1 ? "stub" : "inproc");
		ck_assert_str_eq(text(args, "to"), k == 1 ? "inproc" : "stub");
		for (u32 i = 0; i < ARRAY_SIZE(steps); i++) {
			expect(file, "data path", 4 * k + 1 + i, steps[i]);
			check_inside(event(file, "data path", 4 * k + 1 + i),
				     event(file, "data path", 4 * k));
		}
	}
	ck_assert_ptr_null(event(file, "data path", 12));
	json_decref(file);
	vdrv_free(&d);
}

Suite *trace_suite(void)
{
	Suite *s = suite_create("trace");
	TCase *tc = tcase_create("trace");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, each_track_has_its_events_in_the_order_of_their_times);
	tcase_add_test(tc, without_a_trace_nothing_is_noted);
	tcase_add_test(tc, the_newest_events_take_the_place_of_the_oldest);
	tcase_add_test(tc, what_is_no_file_is_refused);
	tcase_add_test(tc, the_file_is_ours_alone_and_old_content_goes_at_the_stop);
	tcase_add_test(tc, a_file_that_cannot_be_written_is_told_of);
	tcase_add_test(tc, threads_write_while_a_file_is_made);
	tcase_add_loop_test(tc, a_queue_tells_of_kick_service_batch_and_interrupt, 0, MODES);
	tcase_add_test(tc, loops_tell_of_handlers_and_calls);
	tcase_add_test(tc, a_switch_tells_of_its_steps);
	suite_add_tcase(s, tc);
	return s;
}
