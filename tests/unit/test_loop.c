// SPDX-License-Identifier: MIT
/*
 * test_loop.c - events, and calls from other threads.
 *
 * Plain variables that only a loop's thread should touch are what ThreadSanitizer watches here.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct loop *l;
static u32 fds;

/* An eventfd and what happened to it. */
struct probe {
	struct loop_fd lf;
	u32 calls, events;
	struct probe *victim; /* whom `ready` deletes */
	bool keep;	      /* leave the eventfd as it is */
	bool quits;
	pthread_t thread;
};

static void probe_ready(struct loop_fd *lf, u32 events)
{
	struct probe *p = container_of(lf, struct probe, lf);
	eventfd_t n;

	p->calls++;
	p->events = events;
	p->thread = pthread_self();
	if (!p->keep)
		eventfd_read(lf->fd, &n);
	if (p->victim)
		loop_del(l, &p->victim->lf);
	if (p->quits)
		loop_quit(l);
}

static void probe_init(struct probe *p, u32 events)
{
	*p = (struct probe){ .lf = { .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
				     .ready = probe_ready } };
	ck_assert_int_eq(loop_add(l, &p->lf, events), 0);
}

static void probe_free(struct probe *p)
{
	loop_del(l, &p->lf);
	close(p->lf.fd);
}

static void ring(struct probe *p)
{
	ck_assert_int_eq(eventfd_write(p->lf.fd, 1), 0);
}

static void setup(void)
{
	fds = open_fds();
	ck_assert_int_eq(loop_create(&l), 0);
}

static void teardown(void)
{
	loop_destroy(l);
	l = NULL; /* else it would hide a leak */
	ck_assert_uint_eq(open_fds(), fds);
}

START_TEST(an_event_reaches_its_handler)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 0);
	ring(&p);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 1);
	ck_assert_uint_eq(p.events, EPOLLIN);
	probe_free(&p);
}

START_TEST(an_event_that_is_not_taken_comes_again)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	p.keep = true;
	ring(&p);
	loop_settle(l);
	ck_assert_uint_gt(p.calls, 1);
	probe_free(&p);
}

START_TEST(what_is_watched_for_can_change)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	ck_assert_int_eq(loop_mod(l, &p.lf, EPOLLOUT), 0);
	loop_settle(l);
	ck_assert_uint_gt(p.calls, 0);
	ck_assert_uint_eq(p.events, EPOLLOUT);
	ck_assert_int_eq(loop_mod(l, &p.lf, EPOLLIN), 0);
	p.calls = 0;
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 0);
	probe_free(&p);
}

START_TEST(a_deleted_fd_is_not_called)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	ring(&p);
	loop_del(l, &p.lf);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 0);
	loop_del(l, &p.lf); /* twice is harmless */
	ck_assert_int_eq(loop_mod(l, &p.lf, EPOLLIN), -ENOENT);
	close(p.lf.fd);
}

START_TEST(a_handler_can_delete_one_whose_event_is_in_hand)
{
	struct probe one, two;

	probe_init(&one, EPOLLIN);
	probe_init(&two, EPOLLIN);
	one.victim = &two;
	two.victim = &one;
	ring(&one);
	ring(&two);
	loop_settle(l);
	ck_assert_uint_eq(one.calls + two.calls, 1);
	close(one.lf.fd);
	close(two.lf.fd);
}

START_TEST(a_handler_can_delete_itself)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	p.victim = &p;
	p.keep = true;
	ring(&p);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 1);
	close(p.lf.fd);
}

START_TEST(a_forgotten_fd_can_be_watched_again)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	ring(&p);
	loop_forget(l, &p.lf);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 0);
	ck_assert_int_eq(loop_add(l, &p.lf, EPOLLIN), 0);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 1);
	probe_free(&p);
}

START_TEST(more_events_than_a_batch_holds_all_arrive)
{
	static struct probe p[100];

	for (u32 i = 0; i < ARRAY_SIZE(p); i++) {
		probe_init(&p[i], EPOLLIN);
		ring(&p[i]);
	}
	loop_settle(l);
	for (u32 i = 0; i < ARRAY_SIZE(p); i++) {
		ck_assert_uint_eq(p[i].calls, 1);
		probe_free(&p[i]);
	}
}

/* It is looked at again and again, and deletes itself, or the other one, at the end. */
struct looker {
	struct loop_poll poll;
	u32 looks, last;
	struct loop_poll *del;
};

static bool looker_look(struct loop_poll *p)
{
	struct looker *k = container_of(p, struct looker, poll);

	if (++k->looks == k->last)
		loop_poll_del(l, k->del);
	return false;
}

START_TEST(what_is_polled_is_looked_at_without_end_beside_descriptors)
{
	struct looker k = { .poll.look = looker_look };
	struct probe p;

	probe_init(&p, EPOLLIN);
	loop_poll_add(l, &k.poll);
	loop_poll_add(l, &k.poll);
	ring(&p);
	loop_settle(l);
	ck_assert_uint_eq(p.calls, 1);
	ck_assert_uint_gt(k.looks, 1);
	loop_poll_del(l, &k.poll);
	loop_poll_del(l, &k.poll);
	k.looks = 0;
	loop_settle(l);
	ck_assert_uint_eq(k.looks, 0);
	probe_free(&p);
}

/* 0, 1: the first or the second deletes itself; 2, 3: the other one. */
START_TEST(what_is_polled_can_go_at_any_time)
{
	struct looker k[2] = { { .poll.look = looker_look }, { .poll.look = looker_look } };
	u32 who = _i % 2, victim = _i < 2 ? who : !who;

	loop_poll_add(l, &k[0].poll);
	loop_poll_add(l, &k[1].poll);
	k[who].last = 3;
	k[who].del = &k[victim].poll;
	loop_settle(l);
	loop_settle(l);
	ck_assert_uint_le(k[victim].looks, 3);
	ck_assert_uint_ge(k[victim].looks, 2);
	ck_assert_uint_gt(k[!victim].looks, 3);
	loop_poll_del(l, &k[!victim].poll);
}

static void call_ran(void *arg)
{
	*(bool *)arg = true;
}

START_TEST(a_loop_that_polls_is_called_and_stopped_like_any_other)
{
	struct looker k = { .poll.look = looker_look };
	bool ran = false;

	loop_poll_add(l, &k.poll);
	ck_assert_int_eq(loop_start(l, "poll"), 0);
	loop_call(l, call_ran, &ran);
	ck_assert(ran);
	loop_stop(l);
	loop_poll_del(l, &k.poll);
}

START_TEST(a_regular_file_is_refused)
{
	struct loop_fd lf = { .fd = temp_file("x", 1, NULL), .ready = probe_ready };

	ck_assert_int_eq(loop_add(l, &lf, EPOLLIN), -EPERM);
	close(lf.fd);
	lf.fd = -1;
	ck_assert_int_eq(loop_add(l, &lf, EPOLLIN), -EBADF);
	loop_del(l, &lf);
}

START_TEST(a_quit_before_the_run_ends_it_at_once)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	ring(&p);
	loop_quit(l);
	loop_run(l);
	ck_assert_uint_eq(p.calls, 0);
	loop_settle(l); /* and the loop can run again */
	ck_assert_uint_eq(p.calls, 1);
	probe_free(&p);
}

START_TEST(a_quit_ends_the_loop_after_the_events_in_hand)
{
	struct probe one, two;

	probe_init(&one, EPOLLIN);
	probe_init(&two, EPOLLIN);
	one.quits = two.quits = true;
	ring(&one);
	ring(&two);
	loop_run(l);
	ck_assert_uint_eq(one.calls, 1);
	ck_assert_uint_eq(two.calls, 1);
	probe_free(&one);
	probe_free(&two);
}

/* What a call did. */
struct order {
	u32 n;
	pthread_t thread;
	struct loop *inner; /* call into this loop too */
};

static void count(void *arg)
{
	struct order *o = arg;

	o->n++;
	o->thread = pthread_self();
}

static void count_and_call(void *arg)
{
	struct order *o = arg;

	count(o);
	loop_call(o->inner, count, o);
}

START_TEST(a_call_to_a_loop_that_does_not_run_is_a_plain_call)
{
	struct order o = { 0 };

	loop_call(l, count, &o);
	ck_assert_uint_eq(o.n, 1);
	ck_assert(pthread_equal(o.thread, pthread_self()));
}

struct look {
	struct probe *probe;
	u32 calls;
};

static void look(void *arg)
{
	struct look *k = arg;

	k->calls = k->probe->calls;
}

/* p->calls, read on the loop's thread. */
static u32 calls_seen(struct probe *p)
{
	struct look k = { .probe = p };

	loop_call(l, look, &k);
	return k.calls;
}

START_TEST(a_call_runs_on_the_loops_thread)
{
	struct order o = { 0 };
	struct probe p;

	probe_init(&p, EPOLLIN);
	ring(&p);
	ck_assert_int_eq(loop_start(l, "unit"), 0);
	loop_call(l, count, &o);
	while (!calls_seen(&p))
		;
	loop_stop(l);
	ck_assert(!pthread_equal(p.thread, pthread_self()));
	ck_assert(pthread_equal(o.thread, p.thread));
	probe_free(&p);
}

struct posted {
	struct loop_post post;
	sem_t gone; /* the caller has gone on */
	bool done;
};

static void do_posted(struct loop_post *p)
{
	struct posted *f = container_of(p, struct posted, post);

	sem_wait(&f->gone);
	f->done = true;
}

static void see_posted(void *arg)
{
	struct posted *f = arg;

	ck_assert(f->done);
}

/* The caller goes on at once; who calls next finds it done. */
START_TEST(what_is_posted_is_not_waited_for)
{
	struct posted f = { .post = { .fn = do_posted } };

	sem_init(&f.gone, 0, 0);
	ck_assert_int_eq(loop_start(l, "unit"), 0);
	loop_post(l, &f.post);
	sem_post(&f.gone);
	loop_call(l, see_posted, &f);

	f.done = false; /* before the loop ends */
	sem_post(&f.gone);
	loop_post(l, &f.post);
	loop_stop(l);
	ck_assert(f.done);

	f.done = false; /* in place of a loop that does not run */
	sem_post(&f.gone);
	loop_post(l, &f.post);
	ck_assert(f.done);
}

static void *post_it(void *arg)
{
	struct posted *f = arg;

	loop_post(l, &f->post);
	return NULL;
}

/* While the loop's thread is here, another posts something. */
static void unpost_it(void *arg)
{
	struct posted *f = arg;
	pthread_t other;

	ck_assert_int_eq(pthread_create(&other, NULL, post_it, f), 0);
	pthread_join(other, NULL);
	loop_unpost(l, &f->post);
	loop_unpost(l, &f->post); /* harmless */
}

START_TEST(what_is_posted_can_be_called_off)
{
	struct posted f = { .post = { .fn = do_posted } };

	sem_init(&f.gone, 0, 1);
	ck_assert_int_eq(loop_start(l, "unit"), 0);
	loop_call(l, unpost_it, &f);
	loop_stop(l);
	ck_assert(!f.done);
}

START_TEST(from_loop_start_on_a_call_runs_on_the_loops_thread)
{
	for (u32 i = 0; i < 100; i++) {
		struct order o = { 0 };

		ck_assert_int_eq(loop_start(l, "unit"), 0);
		loop_call(l, count, &o);
		loop_stop(l);
		ck_assert_uint_eq(o.n, 1);
		ck_assert(!pthread_equal(o.thread, pthread_self()));
	}
}

START_TEST(a_quit_before_the_start_is_not_missed)
{
	struct probe p;

	probe_init(&p, EPOLLIN);
	ring(&p);
	loop_quit(l);
	ck_assert_int_eq(loop_start(l, "unit"), 0); /* ends before its first event */
	loop_stop(l);
	ck_assert_uint_eq(p.calls, 0);
	probe_free(&p);
}

START_TEST(a_call_from_within_a_call_runs_at_once)
{
	struct order o = { .inner = l };

	ck_assert_int_eq(loop_start(l, "unit"), 0);
	loop_call(l, count_and_call, &o);
	ck_assert_uint_eq(o.n, 2);
	loop_stop(l);
}

START_TEST(a_loop_can_call_into_another)
{
	struct order o = { 0 };

	ck_assert_int_eq(loop_create(&o.inner), 0);
	ck_assert_int_eq(loop_start(l, "outer"), 0);
	ck_assert_int_eq(loop_start(o.inner, "inner"), 0);
	loop_call(l, count_and_call, &o);
	ck_assert_uint_eq(o.n, 2);
	loop_stop(l);
	loop_stop(o.inner);
	loop_destroy(o.inner);
}

#define CALLERS 4
#define CALLS	200

static u32 unlocked; /* the loop thread's alone */

static void count_unlocked(void *arg)
{
	(void)arg;
	unlocked++;
}

static void *caller(void *arg)
{
	(void)arg;
	for (u32 i = 0; i < CALLS; i++)
		loop_call(l, count_unlocked, NULL);
	return NULL;
}

START_TEST(calls_of_many_threads_run_one_at_a_time)
{
	pthread_t thread[CALLERS];

	unlocked = 0;
	ck_assert_int_eq(loop_start(l, "unit"), 0);
	for (u32 i = 0; i < CALLERS; i++)
		pthread_create(&thread[i], NULL, caller, NULL);
	for (u32 i = 0; i < CALLERS; i++)
		pthread_join(thread[i], NULL);
	loop_stop(l);
	ck_assert_uint_eq(unlocked, CALLERS * CALLS);
}

static void *call_once(void *arg)
{
	loop_call(l, count, arg);
	return NULL;
}

/* Each call either runs on the loop, or plainly once the loop has ended; none is lost. */
START_TEST(a_call_while_the_loop_quits_is_not_lost)
{
	for (u32 i = 0; i < 100; i++) {
		struct order o = { 0 };
		pthread_t thread;

		ck_assert_int_eq(loop_start(l, "unit"), 0);
		pthread_create(&thread, NULL, call_once, &o);
		loop_stop(l);
		pthread_join(thread, NULL);
		ck_assert_uint_eq(o.n, 1);
	}
}

/* Nobody runs the loop, then somebody does and stops again: `unlocked` is one thread's at any time. */
START_TEST(calls_from_before_to_after_a_run_run_one_at_a_time)
{
	pthread_t thread[CALLERS];

	unlocked = 0;
	for (u32 i = 0; i < CALLERS; i++)
		pthread_create(&thread[i], NULL, caller, NULL);
	for (u32 i = 0; i < 10; i++) {
		ck_assert_int_eq(loop_start(l, "unit"), 0);
		loop_call(l, count_unlocked, NULL);
		loop_stop(l);
	}
	for (u32 i = 0; i < CALLERS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_eq(unlocked, CALLERS * CALLS + 10);
}

START_TEST(destroying_no_loop_is_harmless)
{
	loop_destroy(NULL);
}

static int pipe_fd[2];
static ssize_t got;
static _Atomic int got_errno;

/* Nobody will ever write. */
static void read_for_ever(struct loop_fd *lf, u32 events)
{
	char byte;

	(void)events;
	loop_del(l, lf);
	got = read(pipe_fd[0], &byte, 1);
	got_errno = errno;
}

static void nothing(void *arg)
{
	*(bool *)arg = true;
}

START_TEST(a_call_frees_the_thread_from_a_system_call_that_blocks)
{
	struct loop_fd lf = { .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC),
			      .ready = read_for_ever };
	bool called = false;

	ck_assert_int_eq(pipe2(pipe_fd, O_CLOEXEC), 0);
	ck_assert_int_eq(loop_start(l, "stuck"), 0);
	ck_assert_int_eq(loop_add(l, &lf, EPOLLIN), 0);
	while (!got_errno) { /* the first one may come before the event */
		loop_call(l, nothing, &called);
		ck_assert(called);
	}
	ck_assert_int_eq(got, -1);
	ck_assert_int_eq(got_errno, EINTR);
	loop_stop(l);
	close(lf.fd);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

Suite *loop_suite(void)
{
	Suite *s = suite_create("loop");
	TCase *t = tcase_create("loop");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, an_event_reaches_its_handler);
	tcase_add_test(t, an_event_that_is_not_taken_comes_again);
	tcase_add_test(t, what_is_watched_for_can_change);
	tcase_add_test(t, a_deleted_fd_is_not_called);
	tcase_add_test(t, a_handler_can_delete_one_whose_event_is_in_hand);
	tcase_add_test(t, a_handler_can_delete_itself);
	tcase_add_test(t, a_forgotten_fd_can_be_watched_again);
	tcase_add_test(t, more_events_than_a_batch_holds_all_arrive);
	tcase_add_test(t, what_is_polled_is_looked_at_without_end_beside_descriptors);
	tcase_add_loop_test(t, what_is_polled_can_go_at_any_time, 0, 4);
	tcase_add_test(t, a_loop_that_polls_is_called_and_stopped_like_any_other);
	tcase_add_test(t, a_regular_file_is_refused);
	tcase_add_test(t, a_quit_before_the_run_ends_it_at_once);
	tcase_add_test(t, a_quit_ends_the_loop_after_the_events_in_hand);
	tcase_add_test(t, destroying_no_loop_is_harmless);
	suite_add_tcase(s, t);

	t = tcase_create("loop-calls");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_call_to_a_loop_that_does_not_run_is_a_plain_call);
	tcase_add_test(t, a_call_runs_on_the_loops_thread);
	tcase_add_test(t, what_is_posted_is_not_waited_for);
	tcase_add_test(t, what_is_posted_can_be_called_off);
	tcase_add_test(t, from_loop_start_on_a_call_runs_on_the_loops_thread);
	tcase_add_test(t, a_quit_before_the_start_is_not_missed);
	tcase_add_test(t, a_call_from_within_a_call_runs_at_once);
	tcase_add_test(t, a_loop_can_call_into_another);
	tcase_add_test(t, calls_of_many_threads_run_one_at_a_time);
	tcase_add_test(t, calls_from_before_to_after_a_run_run_one_at_a_time);
	tcase_add_test(t, a_call_while_the_loop_quits_is_not_lost);
	tcase_add_test(t, a_call_frees_the_thread_from_a_system_call_that_blocks);
	suite_add_tcase(s, t);
	return s;
}
