// SPDX-License-Identifier: MIT
/*
 * config_daemon.c - the command line of `minivmm device`. The table `options` drives the parser; --help is
 * the manual.
 */
#include "vmm/config_daemon.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/virtio_blk.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FD_MIN	     3	   /* behind standard input, output and error */
#define CPUS_MAX     8192  /* that Linux knows */
#define MTU_MIN	     68	   /* VIRTIO 1.2, 5.1.4.1 */
#define USER_MTU_MAX 65521 /* libslirp's */

static const char help_text[] =
	"Usage: minivmm device net|blk --socket PATH [OPTION]...\n"
	"\n"
	"Run a virtio device in a process of its own, for the guest of another one: a VMM or any\n"
	"other program that speaks the vhost-user protocol as its front end (minivmm, QEMU, "
	"DPDK).\n"
	"The front end hands over the guest's memory and its rings; this process serves them.\n"
	"\n"
	"  net                   a network device; needs --peer\n"
	"  blk                   a disk; needs --file\n"
	"\n"
	"  --socket PATH         listen at this UNIX socket. One front end is served at a time; "
	"when\n"
	"                        it leaves the device is reset, and the next one is let in\n"
	"  --fd N                serve the front end at the other end of this open socket "
	"instead,\n"
	"                        and end when it leaves\n"
	"  --peer tap=NAME|fd=N[:N]...|user|socket=PATH|null|echo\n"
	"       [,SETTING]...\n"
	"                        what the network device is connected to: a tap, which is made if\n"
	"                        it does not exist; an open one, a descriptor for each pair of\n"
	"                        queues; user-mode networking, which needs no privileges; a UNIX\n"
	"                        socket with another minivmm, QEMU or passt at its other end;\n"
	"                        nobody, who takes everything, or who sends back what\n"
	"                        it gets (echo), for benchmarks.\n"
	"                        Settings: mtu=N; user: hostfwd=tcp|udp:[HOSTADDR]:PORT-\n"
	"                        [GUESTADDR]:PORT (several times), restrict=on|off (nothing but\n"
	"                        that); socket: server=on|off (listen at PATH); null:\n"
	"                        source=on|off (there always is a frame, of 60 bytes)\n"
	"  --file IMAGE|fd=N[:M][,SETTING]...\n"
	"                        the disk's raw content, or an open file with it (with direct=on\n"
	"                        N has O_DIRECT, and M not). Settings: readonly=on|off, "
	"direct=on|off\n"
	"                        (past the host's page cache), aio=auto|io_uring|threads,\n"
	"                        cache=writeback|writethrough, discard=on|off (default on),\n"
	"                        serial=ID, share=on|off (with a --disk that has share=on, too)\n"
	"  --queues N            queues of the disk (1 to 63), or pairs of queues of the network\n"
	"                        device (1 to 8, of a tap, null or echo); default 1. Each is "
	"served by "
	"a\n"
	"                        thread of its own, as long as there are processors\n"
	"  --packed on|off       offer the packed ring format, too (default on)\n"
	"  --poll[=CPU[,CPU]...] look for work without end instead of waiting for kicks: a "
	"processor\n"
	"                        each is busy while rings run. The queues' threads are bound to "
	"the\n"
	"                        CPUs in turn\n"
	"  --sandbox on|off      once set up, make no system calls but those that serving needs: "
	"no\n"
	"                        file is opened and no program run any more (default on). With\n"
	"                        --peer user files can still be read and connections made\n"
	"  --user NAME|UID[:GID] once image or tap and socket are open, become this user, in its\n"
	"                        group (or GID) alone; the socket is made that user's\n"
	"  -h, --help            show this text\n"
	"\n"
	"Once set up, a device has no capabilities (capabilities(7)), root's none either.\n"
	"\n"
	"A comma in a value is written twice. A front end that breaks the protocol, or hands over\n"
	"memory that can't be, loses its connection, after one line that says why.\n"
	"\n"
	"Signals: SIGTERM, SIGINT and SIGHUP end the device, and the socket is removed, if\n"
	"the user that it has become may do so in that folder; one that remains is replaced by "
	"the\n"
	"next device that listens there.\n"
	"\n"
	"Exit status: 0 ended by a signal, or with --fd by its front end; 1 the host failed; 2 a\n"
	"bad option or file: nothing ran.\n"
	"\n"
	"Example, with QEMU as the front end:\n"
	"  minivmm device blk --socket /tmp/blk.sock --file disk.img &\n"
	"  qemu-system-x86_64 -m 512 -object memory-backend-memfd,id=ram,size=512M,share=on \\\n"
	"      -numa node,memdev=ram -chardev socket,id=c,path=/tmp/blk.sock,reconnect=1 \\\n"
	"      -device vhost-user-blk-pci,chardev=c ...\n";

enum option_id {
	OPT_SOCKET,
	OPT_FD,
	OPT_PEER,
	OPT_FILE,
	OPT_QUEUES,
	OPT_PACKED,
	OPT_POLL,
	OPT_SANDBOX,
	OPT_USER,
	OPT_COUNT
};

#define OPTION_BASE 256 /* beyond all letters */

static const struct option options[] = {
	[OPT_SOCKET] = { "socket", required_argument, NULL, OPTION_BASE + OPT_SOCKET },
	[OPT_FD] = { "fd", required_argument, NULL, OPTION_BASE + OPT_FD },
	[OPT_PEER] = { "peer", required_argument, NULL, OPTION_BASE + OPT_PEER },
	[OPT_FILE] = { "file", required_argument, NULL, OPTION_BASE + OPT_FILE },
	[OPT_QUEUES] = { "queues", required_argument, NULL, OPTION_BASE + OPT_QUEUES },
	[OPT_PACKED] = { "packed", required_argument, NULL, OPTION_BASE + OPT_PACKED },
	[OPT_POLL] = { "poll", optional_argument, NULL, OPTION_BASE + OPT_POLL },
	[OPT_SANDBOX] = { "sandbox", required_argument, NULL, OPTION_BASE + OPT_SANDBOX },
	[OPT_USER] = { "user", required_argument, NULL, OPTION_BASE + OPT_USER },
	[OPT_COUNT] = { 0 },
};

#define TO(field) .offset = offsetof(struct daemon_config, field)

/* clang-format off: one setting a line */
static const struct subopt peer_subopts[] = {
	{ .name = "mtu", .type = SUBOPT_NUMBER, TO(mtu), .min = MTU_MIN, .max = 65535 },
	{ .name = "hostfwd", .type = SUBOPT_LIST, TO(hostfwd) },
	{ .name = "restrict", .type = SUBOPT_SWITCH, TO(restricted) },
	{ .name = "server", .type = SUBOPT_SWITCH, TO(server) },
	{ .name = "source", .type = SUBOPT_SWITCH, TO(source) },
	{ .name = NULL },
};

static const struct subopt file_subopts[] = {
	{ .name = "readonly", .type = SUBOPT_SWITCH, TO(disk.readonly) },
	{ .name = "direct", .type = SUBOPT_SWITCH, TO(disk.direct) },
	{ .name = "aio", .type = SUBOPT_CHOICE, TO(disk.aio), .choices = "auto|io_uring|threads" },
	{ .name = "cache",
	  .type = SUBOPT_CHOICE,
	  TO(disk.writethrough),
	  .choices = "writeback|writethrough" },
	{ .name = "discard", .type = SUBOPT_SWITCH, TO(disk.discard) },
	{ .name = "serial", .type = SUBOPT_STRING, TO(disk.serial) },
	{ .name = "share", .type = SUBOPT_SWITCH, TO(disk.share) },
	{ .name = NULL },
};
/* clang-format on */

/* The number of an open descriptor. */
static int parse_fd(const char *option, const char *arg, u32 *fd)
{
	const char *rest;
	u64 n;

	if (number_parse(arg, &n, &rest) || *rest || n < FD_MIN || n > INT_MAX) {
		log_err("--%s %s: give the number of an open file descriptor, from %d on", option,
			arg, FD_MIN);
		return -EINVAL;
	}
	*fd = n;
	return 0;
}

/* fd=N[:N]..., open descriptors: up to `max` of them. */
static int parse_fds(const char *option, const char *word, u32 *fd, u32 *n, u32 max)
{
	const char *rest = word + strlen("fd=");
	u64 value;

	*n = 0;
	while (*n < max && number_parse(rest, &value, &rest) == 0 && value >= FD_MIN &&
	       value <= INT_MAX) {
		fd[(*n)++] = value;
		if (!*rest)
			return 0;
		if (*rest++ != ':')
			break;
	}
	log_err("--%s %s: give up to %u numbers of open file descriptors, from %d on, such as "
		"fd=5:6",
		option, word, max, FD_MIN);
	return -EINVAL;
}

static int parse_peer_word(struct daemon_config *cfg, const char *word)
{
	if (strcmp(word, "user") == 0) {
		cfg->peer = DAEMON_USER;
	} else if (strcmp(word, "null") == 0) {
		cfg->peer = DAEMON_NULL;
	} else if (strcmp(word, "echo") == 0) {
		cfg->peer = DAEMON_ECHO;
	} else if (strncmp(word, "tap=", 4) == 0 && word[4]) {
		cfg->peer = DAEMON_TAP;
		cfg->target = word + 4;
	} else if (strncmp(word, "socket=", 7) == 0 && word[7]) {
		cfg->peer = DAEMON_SOCKET;
		cfg->target = word + 7;
	} else if (strncmp(word, "fd=", 3) == 0) {
		cfg->peer = DAEMON_FD;
		return parse_fds("peer", word, cfg->peer_fd, &cfg->npeer_fds, PEER_PAIRS_MAX);
	} else {
		log_err("--peer %s: give tap=NAME, fd=N, user, socket=PATH, null or echo", word);
		return -EINVAL;
	}
	return 0;
}

static int parse_peer(struct daemon_config *cfg, const char *arg)
{
	char *text = cfg->peer_text = strdup(arg);
	int err;

	if (!text)
		return -ENOMEM;
	err = parse_peer_word(cfg, subopts_word(&text));
	if (!err)
		err = subopts_parse("peer", text, peer_subopts, cfg);
	if (err)
		return err;
	if (cfg->server && cfg->peer != DAEMON_SOCKET) {
		log_err("--peer: server=on is for socket=PATH");
		return -EINVAL;
	}
	if ((cfg->hostfwd.n || cfg->restricted) && cfg->peer != DAEMON_USER) {
		log_err("--peer: hostfwd= and restrict= are for user");
		return -EINVAL;
	}
	if (cfg->source && cfg->peer != DAEMON_NULL) {
		log_err("--peer: source=on is for null");
		return -EINVAL;
	}
	if (cfg->peer == DAEMON_USER && cfg->mtu > USER_MTU_MAX) {
		log_err("--peer: mtu=%u: with user it is at most %d", cfg->mtu, USER_MTU_MAX);
		return -EINVAL;
	}
	return 0;
}

static int parse_file(struct daemon_config *cfg, const char *arg)
{
	char *text = cfg->file_text = strdup(arg);
	int err;

	if (!text)
		return -ENOMEM;
	cfg->disk.file = subopts_word(&text);
	if (!*cfg->disk.file) {
		log_err("--file: give the image's path");
		return -EINVAL;
	}
	if (strncmp(cfg->disk.file, "fd=", 3) == 0 &&
	    parse_fds("file", cfg->disk.file, cfg->file_fd, &cfg->nfile_fds, 2))
		return -EINVAL;
	err = subopts_parse("file", text, file_subopts, cfg);
	if (!err && cfg->disk.serial && strlen(cfg->disk.serial) > VIRTIO_BLK_ID_BYTES) {
		log_err("--file: serial=%s: at most %d bytes", cfg->disk.serial,
			VIRTIO_BLK_ID_BYTES);
		return -EINVAL;
	}
	return err;
}

static int parse_queues(struct daemon_config *cfg, const char *arg)
{
	u32 max = cfg->kind == DEVICE_NET ? PEER_PAIRS_MAX : VIRTIO_QUEUES_MAX;
	const char *rest;
	u64 n;

	if (number_parse(arg, &n, &rest) || *rest || n < 1 || n > max) {
		log_err("--queues %s: give a number from 1 to %u", arg, max);
		return -EINVAL;
	}
	cfg->queues = n;
	return 0;
}

static int parse_switch(const char *option, const char *arg, bool *value)
{
	if (strcmp(arg, "on") != 0 && strcmp(arg, "off") != 0) {
		log_err("--%s %s: give on or off", option, arg);
		return -EINVAL;
	}
	*value = arg[1] == 'n';
	return 0;
}

/* `arg`: numbers with a comma between, or NULL. */
static int parse_poll(struct daemon_config *cfg, const char *arg)
{
	const char *rest = arg;

	cfg->poll = true;
	while (rest) {
		u64 n;

		if (number_parse(rest, &n, &rest) || (*rest && *rest != ',') || n >= CPUS_MAX ||
		    cfg->npoll_cpus == DAEMON_CPUS) {
			log_err("--poll=%s: give the numbers of up to %d CPUs, as in --poll=2,3",
				arg, DAEMON_CPUS);
			return -EINVAL;
		}
		cfg->poll_cpu[cfg->npoll_cpus++] = n;
		rest = *rest ? rest + 1 : NULL;
	}
	return 0;
}

/* The number of a user or group. All ones means "none" to the kernel. */
static bool parse_id(const char *text, u32 *id)
{
	const char *rest;
	u64 n;

	if (number_parse(text, &n, &rest) || *rest || n >= (u32)-1)
		return false;
	*id = n;
	return true;
}

static int refuse_user(const char *arg, const char *why)
{
	log_err("--user %s: %s", arg, why);
	return -EINVAL;
}

/* NAME or UID, and GID if it is another one than that user's own. */
static int parse_user(struct privileges_user *u, const char *arg)
{
	size_t len = strcspn(arg, ":");
	char name[64];
	const struct passwd *known;

	if (!len || len >= sizeof(name))
		return refuse_user(arg, "give a user's name or number, as in --user nobody");
	memcpy(name, arg, len);
	name[len] = '\0';
	u->given = true;
	if (parse_id(name, &u->uid)) {
		known = getpwuid(u->uid);
	} else {
		known = getpwnam(name);
		if (!known)
			return refuse_user(arg, "there is no user of this name; give its number");
		u->uid = known->pw_uid;
	}
	if (arg[len])
		return parse_id(arg + len + 1, &u->gid)
			       ? 0
			       : refuse_user(arg, "give a group's number behind the colon, as in "
						  "--user 1000:1000");
	if (!known)
		return refuse_user(arg, "no user with this number is known: give its group, too, "
					"as in --user 1000:1000");
	u->gid = known->pw_gid;
	return 0;
}

static int apply(struct daemon_config *cfg, enum option_id id, const char *arg)
{
	switch (id) {
	case OPT_SOCKET:
		cfg->socket = arg;
		return 0;
	case OPT_FD:
		return parse_fd("fd", arg, &cfg->fd);
	case OPT_PEER:
		return parse_peer(cfg, arg);
	case OPT_FILE:
		return parse_file(cfg, arg);
	case OPT_QUEUES:
		return parse_queues(cfg, arg);
	case OPT_PACKED:
		return parse_switch("packed", arg, &cfg->packed);
	case OPT_POLL:
		return parse_poll(cfg, arg);
	case OPT_SANDBOX:
		return parse_switch("sandbox", arg, &cfg->sandbox);
	case OPT_USER:
		return parse_user(&cfg->user, arg);
	case OPT_COUNT:
		break;
	}
	return -EINVAL;
}

static int parse_options(struct daemon_config *cfg, int argc, char **argv, bool seen[OPT_COUNT])
{
	opterr = 0; /* the messages are ours */
	optind = 0; /* start anew, also in tests */
	for (;;) {
		int id = getopt_long(argc, argv, "+:", options, NULL), err;

		if (id == -1)
			break;
		if (id == ':') {
			log_err("%s needs a value; see minivmm device --help", argv[optind - 1]);
			return -EINVAL;
		}
		if (id == '?') {
			log_err("unknown option %s; see minivmm device --help", argv[optind - 1]);
			return -EINVAL;
		}
		id -= OPTION_BASE;
		if (seen[id]) {
			log_err("--%s is given twice", options[id].name);
			return -EINVAL;
		}
		seen[id] = true;
		err = apply(cfg, id, optarg);
		if (err)
			return err;
	}
	if (optind < argc) {
		log_err("'%s' is not an option; see minivmm device --help", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* What the options together must be. */
static int check(const struct daemon_config *cfg, const bool seen[OPT_COUNT])
{
	bool net = cfg->kind == DEVICE_NET;
	const char *problem = NULL;

	if (seen[OPT_SOCKET] == seen[OPT_FD])
		problem =
			"give --socket PATH, at which front ends connect (or --fd N, but not both)";
	else if (net && !seen[OPT_PEER])
		problem = "a network device needs a --peer: tap=NAME, fd=N, user, socket=PATH, "
			  "null or echo";
	else if (!net && !seen[OPT_FILE])
		problem = "a disk needs a --file IMAGE";
	else if (net && seen[OPT_FILE])
		problem = "--file is for a disk: minivmm device blk";
	else if (!net && seen[OPT_PEER])
		problem = "--peer is for a network device: minivmm device net";
	else if (net && cfg->peer == DAEMON_FD && cfg->queues != cfg->npeer_fds)
		problem = "--peer fd=N[:N]...: give as many descriptors as --queues has pairs";
	else if (net && cfg->queues > 1 && cfg->peer != DAEMON_TAP && cfg->peer != DAEMON_FD &&
		 cfg->peer != DAEMON_NULL && cfg->peer != DAEMON_ECHO)
		problem = "--queues: only a tap=NAME, fd=N:N, null and echo have several pairs of "
			  "queues";
	if (!problem)
		return 0;
	log_err("%s", problem);
	return -EINVAL;
}

int daemon_config_parse(struct daemon_config *cfg, int argc, char **argv)
{
	bool seen[OPT_COUNT] = { false };
	const char *kind = argc > 1 ? argv[1] : "";
	int err;

	*cfg = (struct daemon_config){
		.queues = 1, .packed = true, .sandbox = true, .disk.discard = true
	};
	if (strcmp(kind, "net") == 0) {
		cfg->kind = DEVICE_NET;
	} else if (strcmp(kind, "blk") == 0) {
		cfg->kind = DEVICE_DISK;
	} else {
		log_err("device%s%s: give net or blk; see minivmm device --help", *kind ? " " : "",
			kind);
		return -EINVAL;
	}
	err = parse_options(cfg, argc - 1, argv + 1, seen);
	if (!err)
		err = check(cfg, seen);
	if (err)
		daemon_config_free(cfg);
	return err;
}

void daemon_config_free(struct daemon_config *cfg)
{
	free(cfg->peer_text);
	free(cfg->file_text);
	cfg->peer_text = cfg->file_text = NULL;
}

bool daemon_config_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help_text, stdout);
			return true;
		}
	}
	return false;
}
