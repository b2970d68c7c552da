// SPDX-License-Identifier: MIT
/*
 * fuzz_control.c - fuzz target: what a client of the control socket can do. Each input is all that one
 * client sends, in one piece or two, to a server in front of a machine that is none (fake_machine.h). A
 * stop that does not come about at once does so in the middle. Afterwards another client is answered.
 *
 * What comes back must be JSON, line by line, with all that QMP asks of it.
 */
#include "minivmm/loop.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/fake_machine.h"
#include "vmm/control.h"
#include "vmm/json.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HELLO  "{\"execute\":\"qmp_capabilities\"}"
#define STATUS "{\"execute\":\"query-status\"}"
#define TURNS  64

static struct loop *loop;
static struct control *c;
static struct fake_machine m;
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static unsigned long answers;

static void tell(void)
{
	control_destroy(c);
	fprintf(stderr, "fuzz_control: %lu requests answered\n", answers);
}

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(loop);
}

/* Let the loop handle what waits, a batch. */
static void run_loop(void)
{
	struct loop_fd lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };

	must(loop_add(loop, &lf, EPOLLIN) == 0);
	loop_run(loop);
	loop_del(loop, &lf);
	close(lf.fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/fuzz_control.%d", getpid());
	fake_machine_init(&m);
	must(loop_create(&loop) == 0);
	must(control_create(&c, loop, addr.sun_path, &fake_machine_ops, &m) == 0);
	atexit(tell);
	return 0;
}

static int come(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	run_loop();
	return fd;
}

static void check_line(const char *line, size_t len)
{
	json_error_t error;
	json_t *value = json_loadb(line, len, 0, &error);

	must(json_is_object(value));
	must(!json_object_get(value, "return") + !json_object_get(value, "error") +
		     !json_object_get(value, "event") + !json_object_get(value, "QMP") ==
	     3);
	answers += json_object_get(value, "return") != NULL;
	json_decref(value);
}

/* Read what there is, to the last line. */
static void hear(int fd)
{
	static char text[4 << 20];
	size_t len = 0;
	ssize_t n;

	for (u32 i = 0; i < TURNS; i++) {
		run_loop();
		n = recv(fd, text + len, sizeof(text) - len, 0);
		if (n == 0)
			break;
		if (n > 0)
			len += n;
		else if (i > 2)
			break;
	}
	for (char *at = text, *end; at < text + len; at = end + 1) {
		end = memchr(at, '\n', text + len - at);
		must(end && end > at && end[-1] == '\r');
		check_line(at, end - at);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	int fd = come();
	size_t half = size > 1 ? data[0] % size : 0;

	hear(fd);
	m.slow = size && data[0] & 1;
	m.paused = false;
	if (size && data[0] & 2)
		must(send(fd, HELLO, strlen(HELLO), MSG_NOSIGNAL) > 0);
	if (size > 1) {
		send(fd, data + 1, half, MSG_NOSIGNAL);
		hear(fd);
		control_stopped(c);
		send(fd, data + 1 + half, size - 1 - half, MSG_NOSIGNAL);
		hear(fd);
		control_stopped(c);
		hear(fd);
	}
	close(fd);
	run_loop();

	m.slow = false;
	fd = come();
	must(send(fd, HELLO STATUS, strlen(HELLO STATUS), MSG_NOSIGNAL) > 0);
	hear(fd);
	close(fd);
	run_loop();
	return 0;
}
