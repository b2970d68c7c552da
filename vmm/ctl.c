// SPDX-License-Identifier: MIT
/*
 * ctl.c - `minivmm ctl`: one command for a machine that runs with --control, and its answer for people.
 *
 * How it works: connect, read the greeting, negotiate, send the command, read lines until the answer comes
 * (events may be in between). The table `commands` says which words make which request.
 *
 * `stats --watch` goes on until a signal ends it; it has the terminal's other screen then, which must not
 * stay. So signals are blocked and read from a descriptor, together with the socket.
 */
#include "vmm/ctl.h"
#include "minivmm/log.h"
#include "minivmm/unix_socket.h"
#include "vmm/subopts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EXIT_OK	       0
#define EXIT_REFUSED   1
#define EXIT_USAGE     2
#define EXIT_SIGNAL    (-1) /* never seen outside: a signal ended the watching */
#define ANSWER_MS      30000
#define LINE_MAX_BYTES (64 * MIB)
#define WATCH_MAX      3600

/* The terminal's other screen, without a cursor; and back. */
#define SCREEN_OTHER "\033[?1049h\033[?25l"
#define SCREEN_BACK  "\033[?25h\033[?1049l"
#define SCREEN_CLEAR "\033[H\033[2J"

static const char help_text[] =
	"Usage: minivmm ctl SOCKET COMMAND [ARGUMENT]...\n"
	"\n"
	"Ask or change a machine that runs with --control SOCKET.\n"
	"\n"
	"  status                does the guest run?\n"
	"  devices               its virtio devices: names, data paths, links, negotiated "
	"features\n"
	"  stats [--watch[=S]]   what CPUs and queues have done since the start; with --watch, "
	"what\n"
	"                        they do a second, anew each S seconds (default 1) until Ctrl-C\n"
	"  link NAME up|down     plug a network device's cable in, or pull it out\n"
	"  switch NAME PATH [SOCKET]\n"
	"                        move a network device or disk that was started with switch= to\n"
	"                        the data path inproc, vhost-net or vhost-user: at the back end\n"
	"                        that listens at SOCKET, or in a process of minivmm's own. Says\n"
	"                        for how long nobody served the device\n"
	"  trace start FILE      note kicks, batches, interrupts, exits to minivmm and switches "
	"from\n"
	"                        now on\n"
	"  trace stop            .. and write the last 32768 of each queue, CPU and thread to "
	"FILE, a\n"
	"                        timeline for ui.perfetto.dev\n"
	"  pause                 stop the guest: no CPU runs, its clocks stand still\n"
	"  resume                let it go on\n"
	"  powerdown             press the guest's power button\n"
	"  reset                 reset the machine, as a PC's reset button does\n"
	"  quit                  end minivmm at once, as if power had failed\n"
	"  raw JSON              send a request of the protocol, and print the answer as it "
	"comes,\n"
	"                        for example: raw '{\"execute\": \"query-block\"}'\n"
	"\n"
	"The columns of stats:\n"
	"  exits, halts, irqs    of each CPU, by KVM: all exits from the guest; those because it "
	"had\n"
	"                        nothing to do; interrupts it was given\n"
	"  to us                 exits that KVM could not serve itself: reads and writes of ports\n"
	"                        and memory-mapped registers, signals\n"
	"  chains                buffers of the driver's that the device has used\n"
	"  out-bytes, in-bytes   read from them, written to them\n"
	"  kicks, saved          times that a kick woke the device up; chains that came without "
	"one\n"
	"  irqs, saved           batches for which the driver was interrupted; those for which "
	"not\n"
	"  full, empty           batches before which the ring had no place left; times that the\n"
	"                        device had nothing left to do\n"
	"  dropped               frames\n"
	"  batch                 chains in a batch, on average\n"
	"Queues that the kernel or another process serves are not counted here.\n"
	"\n"
	"Programs use the socket itself: it speaks QMP, QEMU's protocol.\n"
	"\n"
	"Exit status: 0 done; 1 the machine refused, or is gone; 2 a bad command, or nobody\n"
	"listens at SOCKET.\n";

struct ctl {
	const char *path;
	int fd, signals; /* -1: none */
	char *buf;
	size_t len, room, line; /* [0 .. line) is the line that read_line() gave */
};

/* ---- lines ---- */

/* Wait for the socket. Returns 0 or an exit status, after a message but for EXIT_SIGNAL. */
static int wait_input(struct ctl *c)
{
	struct pollfd p[2] = { { c->fd, POLLIN, 0 }, { c->signals, POLLIN, 0 } };
	int n = poll(p, 2, ANSWER_MS);

	if (n > 0)
		return p[1].revents ? EXIT_SIGNAL : 0;
	log_err("ctl: %s does not answer", c->path);
	return EXIT_REFUSED;
}

static int read_more(struct ctl *c)
{
	ssize_t n;
	int err = wait_input(c);

	if (err)
		return err;
	if (c->len == c->room) {
		size_t room = c->room ? 2 * c->room : 4096;
		char *buf = room <= LINE_MAX_BYTES ? realloc(c->buf, room) : NULL;

		if (!buf) {
			log_err("ctl: %s: an answer without an end", c->path);
			return EXIT_REFUSED;
		}
		c->buf = buf;
		c->room = room;
	}
	n = recv(c->fd, c->buf + c->len, c->room - c->len, 0);
	if (n <= 0) {
		log_err("ctl: %s: the machine is gone", c->path);
		return EXIT_REFUSED;
	}
	c->len += n;
	return 0;
}

/* The next line, as JSON. Returns 0 or an exit status, as above. */
static int read_json(struct ctl *c, json_t **value)
{
	json_error_t error;
	char *end;

	c->len -= c->line;
	if (c->len) /* at first there is no buffer either */
		memmove(c->buf, c->buf + c->line, c->len);
	c->line = 0;
	while (!c->len || !(end = memchr(c->buf, '\n', c->len))) {
		int err = read_more(c);

		if (err)
			return err;
	}
	c->line = end - c->buf + 1;
	*value = json_loadb(c->buf, c->line, 0, &error);
	if (*value)
		return 0;
	log_err("ctl: %s: that is no control socket of ours, nor QEMU's", c->path);
	return EXIT_REFUSED;
}

static int send_text(struct ctl *c, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

		if (n < 0) {
			log_err("ctl: %s: the machine is gone", c->path);
			return EXIT_REFUSED;
		}
		text += n;
		len -= n;
	}
	return 0;
}

/* The answer to what has been sent; events are passed over. */
static int read_answer(struct ctl *c, json_t **answer)
{
	for (;;) {
		int err = read_json(c, answer);

		if (err)
			return err;
		if (json_object_get(*answer, "return") || json_object_get(*answer, "error"))
			return 0;
		json_decref(*answer);
		*answer = NULL;
	}
}

/* Have `request`, which is gone afterwards, executed. Returns 0 and what it returned, or an exit status. */
static int execute(struct ctl *c, json_t *request, json_t **value)
{
	char *text = json_dumps(request, 0);
	json_t *answer = NULL, *error;
	int err = text ? send_text(c, text) : EXIT_REFUSED;

	free(text);
	json_decref(request);
	if (!err)
		err = read_answer(c, &answer);
	if (err)
		return err;
	error = json_object_get(answer, "error");
	if (error) {
		const char *why = json_string_value(json_object_get(error, "desc"));

		log_err("ctl: %s", why ? why : "refused");
		err = EXIT_REFUSED;
	} else if (value) {
		*value = json_incref(json_object_get(answer, "return"));
	}
	json_decref(answer);
	return err;
}

static json_t *request(const char *name)
{
	return json_pack("{s:s}", "execute", name);
}

/* ---- commands ---- */

static int do_status(struct ctl *c, char **argv)
{
	json_t *value;
	int err = execute(c, request("query-status"), &value);
	const char *status;

	(void)argv;
	if (err)
		return err;
	status = json_string_value(json_object_get(value, "status"));
	printf("%s\n", status ? status : "unknown");
	json_decref(value);
	return 0;
}

static int do_devices(struct ctl *c, char **argv)
{
	json_t *value;
	int err = execute(c, request("x-minivmm-query-datapath"), &value);

	(void)argv;
	if (err)
		return err;
	ctl_print_devices(value);
	json_decref(value);
	return 0;
}

static int do_link(struct ctl *c, char **argv)
{
	bool up = strcmp(argv[1], "up") == 0;

	if (!up && strcmp(argv[1], "down") != 0) {
		log_err("ctl: link %s %s: give up or down", argv[0], argv[1]);
		return EXIT_USAGE;
	}
	return execute(c,
		       json_pack("{s:s,s:{s:o,s:b}}", "execute", "set_link", "arguments", "name",
				 json_text(argv[0]), "up", up),
		       NULL);
}

static int do_switch(struct ctl *c, char **argv)
{
	json_t *args = json_pack("{s:o,s:o}", "device", json_text(argv[0]), "datapath",
				 json_text(argv[1])),
	       *value;
	int err;

	if (argv[2])
		json_object_set_new(args, "socket", json_text(argv[2]));
	err = execute(
		c,
		json_pack("{s:s,s:o}", "execute", "x-minivmm-switch-datapath", "arguments", args),
		&value);
	if (err)
		return err;
	ctl_print_switch(argv[0], value);
	json_decref(value);
	return 0;
}

/* `path` as the machine, whose directory is another one, has to have it. */
static json_t *absolute(const char *path)
{
	char *dir = *path == '/' ? strdup("") : getcwd(NULL, 0), *full = NULL;
	json_t *text = NULL;

	if (dir && asprintf(&full, "%s%s%s", dir, *dir ? "/" : "", path) >= 0) {
		text = json_text(full);
		free(full);
	}
	free(dir);
	return text;
}

/* Wait until the file is there. */
static int wait_traced(struct ctl *c)
{
	for (;;) {
		json_t *line = NULL, *data;
		const char *event, *error;
		int err = read_json(c, &line);

		if (err)
			return err;
		event = json_string_value(json_object_get(line, "event"));
		if (!event || strcmp(event, "X_MINIVMM_TRACE") != 0) {
			json_decref(line);
			continue;
		}
		data = json_object_get(line, "data");
		error = json_string_value(json_object_get(data, "error"));
		if (error)
			log_err("ctl: trace: %s", error);
		else
			ctl_print_trace(data);
		json_decref(line);
		return error ? EXIT_REFUSED : 0;
	}
}

static int do_trace(struct ctl *c, char **argv)
{
	int err;

	if (strcmp(argv[0], "start") == 0 && argv[1])
		return execute(c,
			       json_pack("{s:s,s:{s:o}}", "execute", "x-minivmm-trace-start",
					 "arguments", "filename", absolute(argv[1])),
			       NULL);
	if (strcmp(argv[0], "stop") == 0 && !argv[1]) {
		err = execute(c, request("x-minivmm-trace-stop"), NULL);
		return err ? err : wait_traced(c);
	}
	log_err("ctl: trace takes start and a file, or stop; see minivmm ctl --help");
	return EXIT_USAGE;
}

static int do_pause(struct ctl *c, char **argv)
{
	(void)argv;
	return execute(c, request("stop"), NULL);
}

static int do_resume(struct ctl *c, char **argv)
{
	(void)argv;
	return execute(c, request("cont"), NULL);
}

static int do_powerdown(struct ctl *c, char **argv)
{
	(void)argv;
	return execute(c, request("system_powerdown"), NULL);
}

static int do_reset(struct ctl *c, char **argv)
{
	(void)argv;
	return execute(c, request("system_reset"), NULL);
}

static int do_quit(struct ctl *c, char **argv)
{
	(void)argv;
	return execute(c, request("quit"), NULL);
}

/* As it comes: what fails is printed, too. */
static int do_raw(struct ctl *c, char **argv)
{
	json_t *answer = NULL, *given = json_loadb(argv[0], strlen(argv[0]), 0, NULL);
	int err;

	if (!json_is_object(given)) {
		log_err("ctl: raw %s: that is no object in JSON", argv[0]);
		json_decref(given);
		return EXIT_USAGE;
	}
	json_decref(given);
	err = send_text(c, argv[0]);
	if (!err)
		err = read_answer(c, &answer);
	if (err)
		return err;
	fwrite(c->buf, 1, c->line, stdout);
	if (json_object_get(answer, "error"))
		err = EXIT_REFUSED;
	json_decref(answer);
	return err;
}

/* ---- stats ---- */

/* Let signals that end a program be read. */
static int catch_signals(struct ctl *c)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	c->signals = signalfd(-1, &set, SFD_CLOEXEC);
	return c->signals < 0 ? EXIT_REFUSED : 0;
}

/* Returns 0 when the time is up, or EXIT_SIGNAL. */
static int sleep_for(struct ctl *c, u32 seconds)
{
	struct pollfd p = { c->signals, POLLIN, 0 };

	return poll(&p, 1, seconds * 1000) ? EXIT_SIGNAL : 0;
}

static int watch(struct ctl *c, u32 seconds, bool screen)
{
	json_t *now, *before = NULL;
	int err;

	while (!(err = execute(c, request("x-minivmm-stats"), &now))) {
		if (screen)
			printf(SCREEN_CLEAR "%s, a second; Ctrl-C ends\n\n", c->path);
		ctl_print_stats(now, before);
		if (!screen)
			printf("\n");
		fflush(stdout);
		json_decref(before);
		before = now;
		err = sleep_for(c, seconds);
		if (err || ferror(stdout))
			break;
	}
	json_decref(before);
	return err;
}

static int watch_stats(struct ctl *c, u32 seconds)
{
	bool screen = isatty(STDOUT_FILENO);
	int err = catch_signals(c);

	if (err)
		return err;
	if (screen)
		printf(SCREEN_OTHER);
	err = watch(c, seconds, screen);
	if (screen)
		printf(SCREEN_BACK);
	fflush(stdout);
	return err == EXIT_SIGNAL ? EXIT_OK : err;
}

static int do_stats(struct ctl *c, char **argv)
{
	const char *rest = "";
	u64 seconds = 1;
	json_t *value;
	int err;

	if (argv[0] && strncmp(argv[0], "--watch", 7) == 0 && (!argv[0][7] || argv[0][7] == '=')) {
		if (argv[0][7] && (number_parse(argv[0] + 8, &seconds, &rest) || *rest ||
				   seconds < 1 || seconds > WATCH_MAX)) {
			log_err("ctl: stats %s: give seconds from 1 to %d", argv[0], WATCH_MAX);
			return EXIT_USAGE;
		}
		return watch_stats(c, seconds);
	}
	if (argv[0]) {
		log_err("ctl: stats takes no argument such as '%s'; give --watch or --watch=S",
			argv[0]);
		return EXIT_USAGE;
	}
	err = execute(c, request("x-minivmm-stats"), &value);
	if (err)
		return err;
	ctl_print_stats(value, NULL);
	json_decref(value);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(struct ctl *c, char **argv);
	int min, max; /* arguments */
	const char *usage;
} commands[] = {
	{ "status", do_status, 0, 0, "no argument" },
	{ "devices", do_devices, 0, 0, "no argument" },
	{ "stats", do_stats, 0, 1, "--watch or nothing" },
	{ "link", do_link, 2, 2, "a device's name, and up or down" },
	{ "switch", do_switch, 2, 3, "a device's name, a data path, and a socket or nothing" },
	{ "trace", do_trace, 1, 2, "start and a file, or stop" },
	{ "pause", do_pause, 0, 0, "no argument" },
	{ "resume", do_resume, 0, 0, "no argument" },
	{ "powerdown", do_powerdown, 0, 0, "no argument" },
	{ "reset", do_reset, 0, 0, "no argument" },
	{ "quit", do_quit, 0, 0, "no argument" },
	{ "raw", do_raw, 1, 1, "a request in JSON, as one argument" },
};

/* ---- the connection ---- */

static int connect_to(struct ctl *c)
{
	struct sockaddr_un addr;
	json_t *greeting = NULL;
	int err = unix_address(&addr, c->path);

	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!err && (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0))
		err = -errno;
	if (err) {
		log_err("ctl: %s: %s; is there a minivmm that runs with --control %s?", c->path,
			strerror(-err), c->path);
		return EXIT_USAGE;
	}
	err = read_json(c, &greeting);
	if (err)
		return err;
	if (!json_object_get(greeting, "QMP")) {
		log_err("ctl: %s: that is no control socket of ours, nor QEMU's", c->path);
		err = EXIT_REFUSED;
	}
	json_decref(greeting);
	return err ? err : execute(c, request("qmp_capabilities"), NULL);
}

/* The command's place in the table, or -1 after a message. */
static int find_command(int argc, char **argv)
{
	if (argc < 3) {
		log_err("ctl: give a socket and a command; see minivmm ctl --help");
		return -1;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		int given = argc - 3;

		if (strcmp(argv[2], commands[i].name) != 0)
			continue;
		if (given >= commands[i].min && given <= commands[i].max)
			return i;
		log_err("ctl: %s takes %s; see minivmm ctl --help", argv[2], commands[i].usage);
		return -1;
	}
	log_err("ctl: there is no command '%s'; see minivmm ctl --help", argv[2]);
	return -1;
}

int ctl_run(int argc, char **argv)
{
	struct ctl c = { .fd = -1, .signals = -1 };
	int i, err;

	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help_text, stdout);
			return EXIT_OK;
		}
	}
	i = find_command(argc, argv);
	if (i < 0 || json_load_library("ctl"))
		return EXIT_USAGE;
	c.path = argv[1];
	err = connect_to(&c);
	if (!err)
		err = commands[i].run(&c, argv + 3);
	if (c.fd >= 0)
		close(c.fd);
	if (c.signals >= 0)
		close(c.signals);
	free(c.buf);
	return err;
}
