// SPDX-License-Identifier: MIT
/*
 * test_control.c - the control socket: protocol, commands, events, clients that behave and that do not.
 */
#include "minivmm/trace.h"
#include "tests/lib/fake_machine.h"
#include "tests/unit/unit.h"
#include "vmm/control.h"
#include "vmm/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO "{\"execute\":\"qmp_capabilities\"}"

static struct loop *loop;
static struct control *c;
static struct fake_machine m;
static char dir[32], path[64], got[1 << 20];
static u32 fds;

static void setup(void)
{
	fds = open_fds();
	strcpy(dir, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control", dir);
	fake_machine_init(&m);
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_int_eq(control_create(&c, loop, path, &fake_machine_ops, &m), 0);
}

static void teardown(void)
{
	control_destroy(c);
	loop_destroy(loop);
	ck_assert_int_eq(rmdir(dir), 0); /* nothing is left in it */
	ck_assert_uint_eq(open_fds(), fds);
}

static int knock(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	loop_settle(loop);
	return fd;
}

/* All that has come since the last time. */
static const char *hear(int fd)
{
	size_t len = 0;
	ssize_t n;

	loop_settle(loop);
	while ((n = read(fd, got + len, sizeof(got) - 1 - len)) > 0) {
		len += n;
		loop_settle(loop);
	}
	got[len] = '\0';
	return got;
}

static const char *ask(int fd, const char *text)
{
	hear(fd);
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return hear(fd);
}

/* A client that may give commands. */
static int come(void)
{
	int fd = knock();

	ck_assert_str_eq(ask(fd, HELLO), "{\"return\": {}}\r\n");
	return fd;
}

static bool hung_up(int fd)
{
	char byte;

	hear(fd);
	return read(fd, &byte, 1) == 0 || errno == ECONNRESET;
}

#define expect(fd, text, answer) \
	ck_assert_msg(strstr(ask(fd, text), answer), "to %s came %s, not %s", text, got, answer)

/* ---- protocol ---- */

START_TEST(a_greeting_and_then_negotiation)
{
	int fd = knock();

	ck_assert_ptr_nonnull(strstr(hear(fd), "{\"QMP\": {\"version\": {\"qemu\": {\"major\": "));
	ck_assert_ptr_nonnull(strstr(got, "\"capabilities\": []}}\r\n"));
	expect(fd, "{\"execute\":\"query-status\"}", "\"CommandNotFound\"");
	expect(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[\"oob\"]}}",
	       "\"GenericError\"");
	expect(fd, "{\"execute\":\"qmp_capabilities\",\"arguments\":{\"enable\":[]}}",
	       "{\"return\": {}}");
	expect(fd, HELLO, "\"CommandNotFound\"");
	expect(fd, "{\"execute\":\"query-status\"}", "\"status\": \"running\"");
	close(fd);
}

START_TEST(an_answer_has_the_id_of_its_request)
{
	int fd = come();

	expect(fd, "{\"execute\":\"query-name\",\"id\":{\"a\":[1,null]}}",
	       "{\"return\": {}, \"id\": {\"a\": [1, null]}}\r\n");
	expect(fd, "{\"execute\":\"nothing\",\"id\":7}", "\"CommandNotFound\"");
	ck_assert_ptr_nonnull(strstr(got, "\"id\": 7}"));
	close(fd);
}

START_TEST(requests_need_no_line_each_and_may_come_in_pieces)
{
	static const char two[] = "{\"execute\":\"query-name\",\"id\":\"}{\\\"\"}\n {\"execute\":"
				  "\"query-name\",\"id\":2}";
	int fd = come();

	for (const char *p = two; *p; p++) {
		ck_assert_int_eq(write(fd, p, 1), 1);
		loop_settle(loop);
	}
	ck_assert_str_eq(hear(fd), "{\"return\": {}, \"id\": \"}{\\\"\"}\r\n"
				   "{\"return\": {}, \"id\": 2}\r\n");
	ask(fd, two);
	ck_assert_ptr_nonnull(strstr(got, "\"id\": 2}"));
	close(fd);
}

START_TEST(what_is_no_request_is_refused_and_the_next_one_answered)
{
	static const char *const bad[] = {
		"hello\n",
		"{]",
		"{\"execute\"}",
		"{\"execute\":3}",
		"{\"execute\":\"stop\",\"arguments\":[]}",
		"{\"execute\":\"stop\",\"more\":1}",
		"{\"execute\":\"stop\",\"arguments\":{\"x\":1}}",
		"{\"execute\":\"set_link\",\"arguments\":{\"name\":\"net0\"}}",
		"{\"execute\":\"set_link\",\"arguments\":{\"name\":3,\"up\":true}}",
		"{\"execute\":\"set_link\",\"arguments\":{\"name\":\"disk0\",\"up\":true}}",
		"{\"id\":1}",
		"{\"execute\": \"sto\x01",
		"{\"execute\": \"sto\xff",
		"{\"a\":\"\xc3\x28\"}",
		"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\n",
	};
	int fd = come();

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		expect(fd, bad[i], "\"class\": \"GenericError\"");
		ck_assert_ptr_eq(strstr(got, "\r\n") + 2, got + strlen(got)); /* one line */
		ck_assert_str_eq(ask(fd, "{\"execute\":\"query-name\"}"), "{\"return\": {}}\r\n");
	}
	ck_assert_uint_eq(m.stops, 0);
	expect(fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"x\",\"up\":true}}",
	       "{\"class\": \"DeviceNotFound\", \"desc\": \"Device 'x' not found\"}");
	close(fd);
}

/* ---- commands ---- */

START_TEST(commands_reach_the_machine)
{
	int fd = come();

	expect(fd, "{\"execute\":\"system_powerdown\"}", "return");
	expect(fd, "{\"execute\":\"system_reset\"}", "return");
	expect(fd, "{\"execute\":\"quit\"}", "return");
	expect(fd, "{\"execute\":\"set_link\",\"arguments\":{\"name\":\"net0\",\"up\":false}}",
	       "return");
	ck_assert(m.powerdowns == 1 && m.resets == 1 && m.quits == 1 && !m.link);
	close(fd);
}

START_TEST(a_device_is_moved_to_another_data_path)
{
	int fd = come();

	expect(fd,
	       "{\"execute\":\"x-minivmm-switch-datapath\",\"arguments\":"
	       "{\"device\":\"net0\",\"datapath\":\"inproc\"}}",
	       "{\"class\": \"GenericError\", \"desc\": \"not to inproc\"}");
	expect(fd,
	       "{\"execute\":\"x-minivmm-switch-datapath\",\"arguments\":"
	       "{\"device\":\"net7\",\"datapath\":\"inproc\"}}",
	       "DeviceNotFound");
	ck_assert(!m.kernel);
	expect(fd,
	       "{\"execute\":\"x-minivmm-switch-datapath\",\"arguments\":"
	       "{\"device\":\"net0\",\"datapath\":\"vhost-net\"}}",
	       "\"gap-us\": {\"total\": 22, \"quiesce\": 2, \"hand-over\": 1, \"restart\": 20}");
	ck_assert(m.kernel);
	close(fd);
}

START_TEST(a_trace_is_started_and_stopped)
{
	struct trace_result r = { "/t\xff", 5, 2, 0 };
	int fd = come(), other = come();

	expect(fd, "{\"execute\":\"x-minivmm-trace-stop\"}",
	       "{\"class\": \"GenericError\", \"desc\": \"nothing is being traced\"}");
	expect(fd, "{\"execute\":\"x-minivmm-trace-start\",\"arguments\":{\"filename\":\"/no/x\"}}",
	       "{\"class\": \"GenericError\", \"desc\": \"/no/x: not there\"}");
	expect(fd, "{\"execute\":\"x-minivmm-trace-start\"}", "\"GenericError\"");
	ck_assert(!m.traces);
	expect(fd, "{\"execute\":\"x-minivmm-trace-start\",\"arguments\":{\"filename\":\"/t\"}}",
	       "{\"return\": {}}");
	ck_assert(m.traces);
	ck_assert_str_eq(m.trace, "/t");
	expect(fd, "{\"execute\":\"x-minivmm-trace-stop\"}", "{\"return\": {}}");
	ck_assert(!m.traces);

	hear(other);
	control_traced(c, &r);
	ck_assert_ptr_nonnull(strstr(hear(other), "\"X_MINIVMM_TRACE\""));
	ck_assert_ptr_nonnull(strstr(got, "\"filename\": \"/t?\""));
	ck_assert_ptr_nonnull(strstr(got, "\"events\": 5"));
	ck_assert_ptr_nonnull(strstr(got, "\"dropped\": 2"));
	ck_assert_ptr_null(strstr(got, "error"));
	r.err = -ENOSPC;
	control_traced(c, &r);
	ck_assert_ptr_nonnull(strstr(hear(fd), "\"error\": \"No space left on device\""));
	close(fd);
	close(other);
}

START_TEST(all_queries_are_answered)
{
	int fd = come();
	json_error_t error;
	json_t *answer, *list;

	ask(fd, "{\"execute\":\"query-commands\"}");
	answer = json_loadb(got, strlen(got), 0, &error);
	list = json_object_get(answer, "return");
	ck_assert_uint_gt(json_array_size(list), 15);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name =
			json_string_value(json_object_get(json_array_get(list, i), "name"));
		char text[128];

		if ((strncmp(name, "query-", 6) != 0 && strncmp(name, "x-minivmm-", 10) != 0) ||
		    strstr(name, "switch") || strstr(name, "trace"))
			continue;
		snprintf(text, sizeof(text), "{\"execute\":\"%s\"%s}", name,
			 strcmp(name, "query-stats") == 0 ? ",\"arguments\":{\"target\":\"vcpu\"}"
							  : "");
		expect(fd, text, "{\"return\": ");
	}
	json_decref(answer);
	expect(fd, "{\"execute\":\"query-block\"}", "\"file\": \"disk?.img\"");
	expect(fd, "{\"execute\":\"query-block\"}", "\"virtual-size\": 4096");
	expect(fd, "{\"execute\":\"query-rx-filter\"}", "\"vlan-table\": [64]");
	expect(fd, "{\"execute\":\"query-cpus-fast\"}", "\"thread-id\": 101");
	close(fd);
}

START_TEST(statistics_of_kvm_can_be_chosen)
{
	static const char both[] = "{\"return\": [{\"provider\": \"kvm\", \"stats\": [{\"name\": "
				   "\"halt_exits\", \"value\": 41}, {\"name\": "
				   "\"halt_wait_hist\", \"value\": [41, 42, 43]}]";
	int fd = come();

	expect(fd, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vm\"}}", both);
	expect(fd, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\"}}", both);
	ck_assert_ptr_nonnull(strstr(got, "\"qom-path\": \"/machine/cpu[0]\""));
	ck_assert_ptr_null(strstr(got, "cpu[1]")); /* has none */
	expect(fd,
	       "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vcpu\",\"vcpus\":[\"/"
	       "machine/cpu[7]\"]}}",
	       "{\"return\": []}");
	expect(fd,
	       "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vm\",\"providers\":[{"
	       "\"provider\":\"kvm\",\"names\":[\"halt_exits\"]}]}}",
	       "[{\"provider\": \"kvm\", \"stats\": [{\"name\": \"halt_exits\", \"value\": 41}]}]");
	expect(fd,
	       "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"vm\",\"providers\":[{"
	       "\"provider\":\"other\"}]}}",
	       "{\"return\": []}");
	expect(fd, "{\"execute\":\"query-stats\",\"arguments\":{\"target\":\"cat\"}}",
	       "GenericError");
	expect(fd, "{\"execute\":\"query-stats-schemas\"}",
	       "{\"name\": \"halt_wait_hist\", \"type\": \"log2-histogram\", \"exponent\": -9, "
	       "\"unit\": \"seconds\", \"base\": 10}");
	close(fd);
}

START_TEST(statistics_of_queues_name_who_counts)
{
	int fd = come();

	expect(fd, "{\"execute\":\"x-minivmm-stats\",\"arguments\":{\"device\":\"net0\"}}",
	       "\"chains\": 10");
	ck_assert_ptr_nonnull(strstr(got, "\"kicks-saved\": 6"));
	ck_assert_ptr_nonnull(strstr(got, "\"batches\": [0, 5, 0,"));
	ck_assert_ptr_nonnull(strstr(got, "\"frames\": 9"));
	ck_assert_ptr_nonnull(strstr(got, "\"name\": \"q1\", \"size\": 256, \"counted\": false}"));
	ck_assert_ptr_null(strstr(got, "disk0"));
	ck_assert_ptr_nonnull(
		strstr(got, "\"last-gap-us\": {\"total\": 22, \"quiesce\": 2, \"hand-over\": "
			    "1, \"restart\": 20}, \"longest-gap-us\": 41}"));
	expect(fd, "{\"execute\":\"x-minivmm-stats\",\"arguments\":{\"device\":\"disk0\"}}",
	       "disk0");
	ck_assert_ptr_null(strstr(got, "gap-us"));
	close(fd);
}

/* ---- stop, events ---- */

START_TEST(a_stop_is_answered_when_it_has_come_about)
{
	int fd = come(), other = come();

	m.slow = true;
	ck_assert_str_eq(ask(fd, "{\"execute\":\"stop\",\"id\":1}{\"execute\":\"cont\",\"id\":2}"),
			 "");
	ck_assert_str_eq(ask(other, "{\"execute\":\"query-status\"}"), ""); /* it waits, too */
	ck_assert_uint_eq(m.conts, 0);
	control_stopped(c);
	hear(fd);
	ck_assert_ptr_nonnull(strstr(got, "\"event\": \"STOP\""));
	ck_assert(strstr(got, "\"STOP\"") < strstr(got, "\"id\": 1}"));
	ck_assert(strstr(got, "\"id\": 1}") < strstr(got, "\"RESUME\""));
	ck_assert(strstr(got, "\"RESUME\"") < strstr(got, "\"id\": 2}"));
	ck_assert_ptr_nonnull(strstr(hear(other), "\"running\""));
	ck_assert_uint_eq(m.conts, 1);
	close(fd);
	close(other);
}

START_TEST(who_leaves_before_its_answer_holds_up_nobody)
{
	int fd = come(), other = come();

	m.slow = true;
	ask(fd, "{\"execute\":\"stop\"}");
	close(fd);
	ask(other, "{\"execute\":\"query-status\"}");
	control_stopped(c);
	ck_assert_ptr_nonnull(strstr(hear(other), "\"paused\""));
	close(other);
}

START_TEST(events_go_to_all_who_have_negotiated)
{
	int a = come(), b = come(), quiet = knock();

	hear(quiet);
	control_event_end(c, "RESET", true, "guest-reset");
	ck_assert_ptr_nonnull(strstr(hear(a), "\"event\": \"RESET\", \"data\": {\"guest\": true, "
					      "\"reason\": \"guest-reset\"}}\r\n"));
	ck_assert_ptr_nonnull(strstr(got, "{\"timestamp\": {\"seconds\": "));
	ck_assert_ptr_nonnull(strstr(hear(b), "RESET"));
	ck_assert_str_eq(hear(quiet), "");
	close(a);
	close(b);
	close(quiet);
	control_event(NULL, "STOP"); /* is allowed */
}

/* ---- clients ---- */

START_TEST(the_socket_is_its_users_alone)
{
	struct control *second;
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(control_create(&second, loop, path, &fake_machine_ops, &m), -EADDRINUSE);
	expect_said("another program listens there");
	ck_assert_int_eq(stat(path, &st), 0); /* it is still there */
}

START_TEST(a_file_of_somebody_elses_stays)
{
	int fd;

	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	control_destroy(c);
	c = NULL;
	ck_assert_int_eq(unlink(path), 0);
}

START_TEST(what_was_asked_before_the_end_is_answered)
{
	static const char two[] = HELLO "{\"execute\":\"query-name\"}";
	int fd = knock();

	hear(fd);
	send(fd, two, strlen(two), MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	ck_assert_str_eq(hear(fd), "{\"return\": {}}\r\n{\"return\": {}}\r\n");
	ck_assert(hung_up(fd));
	close(fd);
}

START_TEST(a_request_that_does_not_end_is_refused)
{
	static char junk[100000];
	int fd = come();

	memset(junk, 'x', sizeof(junk));
	memcpy(junk, "{\"", 2);
	for (u32 i = 0; i < 10 && send(fd, junk + i, sizeof(junk) - i, MSG_NOSIGNAL) > 0; i++)
		loop_settle(loop);
	ck_assert_ptr_nonnull(strstr(hear(fd), "too long"));
	ck_assert(hung_up(fd));
	expect_said("too long");
	close(fd);
}

START_TEST(who_sends_and_does_not_read_is_not_read_either)
{
	static char many[64 * 100];
	int fd = come(), other = come();
	ssize_t n;
	u64 sent = 0;

	for (u32 i = 0; i + 28 < sizeof(many); i += 28)
		memcpy(many + i, "{\"execute\":\"query-commands\"}", 28);
	for (u32 i = 0; i < 1000; i++) {
		n = send(fd, many, sizeof(many) / 28 * 28, MSG_NOSIGNAL);
		if (n < 0)
			break;
		sent += n;
		loop_settle(loop);
	}
	ck_assert_int_eq(errno, EAGAIN); /* it is up to him now */
	ck_assert_uint_lt(sent, 2 * MIB);
	expect(other, "{\"execute\":\"query-status\"}", "running");
	expect_silence();
	close(fd);
	close(other);
}

START_TEST(who_reads_no_events_is_sent_away)
{
	int fd = come(), other = come();

	for (u32 i = 0; i < 50000; i++) {
		control_event(c, "POWERDOWN");
		if (i % 1000 == 0)
			hear(other);
	}
	expect_said("does not read");
	expect(other, "{\"execute\":\"query-status\"}", "running");
	ck_assert(hung_up(fd));
	close(fd);
	close(other);
}

START_TEST(there_are_clients_enough_and_not_more)
{
	int fd[33];

	for (u32 i = 0; i < 33; i++)
		fd[i] = knock();
	ck_assert(hung_up(fd[32]));
	expect_said("too many");
	expect(fd[0], HELLO, "return");
	close(fd[1]);
	loop_settle(loop);
	close(fd[32]);
	fd[32] = come(); /* there is room again */
	fd[1] = open("/dev/null", O_RDONLY);
	for (u32 i = 0; i < 33; i++)
		close(fd[i]);
}

Suite *control_suite(void)
{
	Suite *s = suite_create("control");
	TCase *tc = tcase_create("control");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_greeting_and_then_negotiation);
	tcase_add_test(tc, an_answer_has_the_id_of_its_request);
	tcase_add_test(tc, requests_need_no_line_each_and_may_come_in_pieces);
	tcase_add_test(tc, what_is_no_request_is_refused_and_the_next_one_answered);
	tcase_add_test(tc, commands_reach_the_machine);
	tcase_add_test(tc, a_device_is_moved_to_another_data_path);
	tcase_add_test(tc, a_trace_is_started_and_stopped);
	tcase_add_test(tc, all_queries_are_answered);
	tcase_add_test(tc, statistics_of_kvm_can_be_chosen);
	tcase_add_test(tc, statistics_of_queues_name_who_counts);
	tcase_add_test(tc, a_stop_is_answered_when_it_has_come_about);
	tcase_add_test(tc, who_leaves_before_its_answer_holds_up_nobody);
	tcase_add_test(tc, events_go_to_all_who_have_negotiated);
	tcase_add_test(tc, the_socket_is_its_users_alone);
	tcase_add_test(tc, a_file_of_somebody_elses_stays);
	tcase_add_test(tc, what_was_asked_before_the_end_is_answered);
	tcase_add_test(tc, a_request_that_does_not_end_is_refused);
	tcase_add_test(tc, who_sends_and_does_not_read_is_not_read_either);
	tcase_add_test(tc, who_reads_no_events_is_sent_away);
	tcase_add_test(tc, there_are_clients_enough_and_not_more);
	suite_add_tcase(s, tc);
	return s;
}
