// SPDX-License-Identifier: MIT
/*
 * config.c - the command line. The table `options` drives the parser and the refusal of
 * duplicates; --help is the manual.
 */
#include "vmm/config.h"
#include "minivmm/log.h"
#include "vmm/subopts.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef MINIVMM_VERSION
#define MINIVMM_VERSION "unknown"
#endif
#ifndef MINIVMM_DATA_DIR
#define MINIVMM_DATA_DIR "/usr/local/share/minivmm"
#endif

#define DEFAULT_MEMORY	(512 * MIB)
#define DEFAULT_CONSOLE "console=ttyS0"
#define VIRTIO_CONSOLE	"console=hvc0"
#define CPUS_MAX	4096 /* KVM's own limit is checked when the VM is made */
#define IOTHREADS_MAX	64

static const char help_text[] =
	"Usage: minivmm --kernel FILE [OPTION]...\n"
	"       minivmm device net|blk --socket PATH [OPTION]...\n"
	"       minivmm ctl SOCKET COMMAND [ARGUMENT]...\n"
	"       minivmm check\n"
	"\n"
	"Run a virtual machine on Linux KVM, with its serial port on this terminal.\n"
	"\n"
	"  --kernel FILE         Linux bzImage, or an ELF image with a PVH entry note\n"
	"  --initrd FILE         initial RAM disk; without it Linux gets minivmm's own small\n"
	"                        initramfs and ends at a shell prompt\n"
	"  --cmdline STR         kernel command line; \"" DEFAULT_CONSOLE
	"\" is put in front unless STR\n"
	"                        has a console= of its own\n"
	"  --cpus N              number of CPUs, from 1 to what KVM allows (default 1)\n"
	"  --memory SIZE[,hugepages=on|off]\n"
	"                        RAM in MiB, or with a suffix K, M, G or T (default 512M);\n"
	"                        hugepages=on takes it from the host's pool of 2 MiB pages\n"
	"  --serial stdio|none|pty|file=PATH|unix=PATH\n"
	"                        where the serial port goes (default stdio; none if a console\n"
	"                        has stdio): a new pseudo-terminal, a file, a UNIX socket that\n"
	"                        waits for clients\n"
	"  --disk file=IMAGE[,SETTING]...\n"
	"                        add a virtio disk, IMAGE being its raw content. Settings:\n"
	"                        readonly=on|off, direct=on|off (past the host's page cache),\n"
	"                        aio=auto|io_uring|threads, cache=writeback|writethrough,\n"
	"                        discard=on|off (default on), serial=ID, queues=N\n"
	"  --disk datapath=vhost-user,socket=PATH[,queues=N][,server=on|off]\n"
	"                        add a virtio disk that another process serves, such as\n"
	"                        qemu-storage-daemon, which listens at PATH (server=on: we do).\n"
	"                        file=IMAGE instead of socket=: minivmm starts that process.\n"
	"                        file=IMAGE,switch=inproc:vhost-user: it can be moved while the\n"
	"                        guest runs; share=on: to programs that lock the image, too\n"
	"  --console stdio|none|pty|file=PATH|unix=PATH[,SETTING]...\n"
	"                        add a virtio console; the first is the guest's hvc0\n"
	"  --port stdio|none|pty|file=PATH|unix=PATH,name=NAME\n"
	"                        add a port to the --console before it; Linux shows it as\n"
	"                        /dev/vport0p1, if the console is the first virtio device,\n"
	"                        udev as /dev/virtio-ports/NAME\n"
	"  --rng on[,SETTING]... add a virtio entropy device\n"
	"  --net tap=NAME|fd=N|user|socket=PATH|null|echo[,SETTING]...\n"
	"                        add a virtio network device, connected to: a tap, which is made\n"
	"                        if it does not exist; an open one; user-mode networking, which\n"
	"                        needs no privileges (the guest has 10.0.2.15 by DHCP, the host\n"
	"                        is 10.0.2.2); a UNIX socket, at whose other end is another\n"
	"                        minivmm, QEMU (-netdev stream) or passt; nobody (null,\n"
	"                        source=on|off: there always is a frame), or one's own frames,\n"
	"                        sent back (echo), both for benchmarks. Settings:\n"
	"                        mac=ADDRESS (default 52:54:00:12:34:56 and on),\n"
	"                        mtu=N (68 to 65535; user: to 65521), link=up|down,\n"
	"                        queues=N (pairs, 1 to 8, of a tap or a back end),\n"
	"                        datapath=inproc|vhost-net|vhost-user (who moves the frames:\n"
	"                        minivmm, the kernel if it is a tap, or a process that minivmm\n"
	"                        starts), switch=PATH:PATH... (those that it can be moved to "
	"while\n"
	"                        the guest runs, by minivmm ctl switch), auto=on (from inproc\n"
	"                        to vhost-net and back by the frames a second, auto-up=N and\n"
	"                        auto-down=N; default 20000 and 2000),\n"
	"                        antispoof=on|off (only frames from mac leave the guest),\n"
	"                        rate=N and pps=N (bits and frames a second in each direction,\n"
	"                        with K, M, G: thousands, ...), burst=SIZE (bytes at once),\n"
	"                        pcap=FILE (write all frames there, for tcpdump or Wireshark),\n"
	"                        poll-us=N (look out for work so long before sleeping),\n"
	"                        csum=, tso=, uso=, mrg=on|off (offer these features; default\n"
	"                        on), speed=MBITS, duplex=half|full|unknown (what\n"
	"                        the guest is told)\n"
	"                        user: hostfwd=tcp|udp:[HOSTADDR]:PORT-[GUESTADDR]:PORT (several\n"
	"                        times), restrict=on|off (nothing but that); socket:\n"
	"                        server=on|off (listen at PATH)\n"
	"  --net datapath=vhost-user,socket=PATH[,SETTING]...\n"
	"                        add a virtio network device that another process serves, such\n"
	"                        as DPDK, which listens at PATH (server=on: we do). Settings: as\n"
	"                        above, but for what looks at frames or limits them\n"
	"  --vhost-user type=fs|blk|net|rng|console|scsi|NUMBER,socket=PATH[,SETTING]...\n"
	"                        add a virtio device of any type, served by the vhost-user back\n"
	"                        end at PATH. Settings: queues=N (all that it has), tag=NAME (of\n"
	"                        a file system, if the back end has none), config-size=N (bytes\n"
	"                        of configuration space), server=on|off (listen at PATH)\n"
	"  --iothreads N         threads that serve the devices' queues, round-robin (default 1;\n"
	"                        0: the main thread does)\n"
	"  --control PATH        make a UNIX socket there, at which `minivmm ctl` and clients of\n"
	"                        QMP, QEMU's protocol, can ask and change the running machine\n"
	"  --trace FILE          write a timeline of kicks, batches, interrupts, exits and "
	"switches,\n"
	"                        the last 32768 events of each, to FILE when the run ends: for\n"
	"                        ui.perfetto.dev. (minivmm ctl trace: of a part of the run)\n"
	"  --no-reboot           end when the guest reboots\n"
	"  --test-device         add the PCI test device that the guests in guests/ use\n"
	"  -h, --help            show this text\n"
	"  -V, --version         show the version\n"
	"\n"
	"Every virtio device also has the settings bus=pci|mmio, packed=on|off (offer the packed\n"
	"ring format; default off), queue-size=N (a power of two) and id=NAME, by which the "
	"control\n"
	"socket knows it (default disk0, disk1, net0, ...). These options can be given several\n"
	"times; devices stand on their bus in the order given. A comma in a value is written\n"
	"twice. With a --disk there is no initramfs unless --initrd names one.\n"
	"\n"
	"Commands:\n"
	"  device                run a virtio device in a process of its own, behind a vhost-user\n"
	"                        socket; see minivmm device --help\n"
	"  ctl                   ask or change a machine that runs with --control; see minivmm "
	"ctl\n"
	"                        --help\n"
	"  check                 say what this machine offers for running guests, and what to do\n"
	"                        about each \"no\"; exit status 0 if Linux can boot here\n"
	"\n"
	"Keys on a terminal: Ctrl-A x ends minivmm, Ctrl-A p presses the power button, Ctrl-A h\n"
	"shows the keys, Ctrl-A Ctrl-A sends Ctrl-A to the guest.\n"
	"\n"
	"Signals: SIGTERM, SIGINT and SIGHUP press the guest's power button; a second one stops\n"
	"the machine at once. SIGUSR1 logs what the network devices' queues have done.\n"
	"\n"
	"Environment: MINIVMM_DATA  directory with minivmm's initramfs files\n"
	"\n"
	"Exit status: 0 the guest switched itself off (or rebooted with --no-reboot), or the user\n"
	"left; 1 the host failed while the guest ran; 2 a bad option or file, or no usable KVM:\n"
	"nothing ran; 3 the guest crashed (triple fault) or KVM could not go on; 128+N stopped at\n"
	"once by signal N.\n";

enum option_id {
	OPT_KERNEL,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_SERIAL,
	OPT_DISK,
	OPT_CONSOLE,
	OPT_PORT,
	OPT_RNG,
	OPT_NET,
	OPT_VHOST_USER,
	OPT_IOTHREADS,
	OPT_CONTROL,
	OPT_TRACE,
	OPT_NO_REBOOT,
	OPT_TEST_DEVICE,
	OPT_COUNT
};

#define OPTION_BASE 256 /* beyond all letters */

static const struct option options[] = {
	[OPT_KERNEL] = { "kernel", required_argument, NULL, OPTION_BASE + OPT_KERNEL },
	[OPT_INITRD] = { "initrd", required_argument, NULL, OPTION_BASE + OPT_INITRD },
	[OPT_CMDLINE] = { "cmdline", required_argument, NULL, OPTION_BASE + OPT_CMDLINE },
	[OPT_CPUS] = { "cpus", required_argument, NULL, OPTION_BASE + OPT_CPUS },
	[OPT_MEMORY] = { "memory", required_argument, NULL, OPTION_BASE + OPT_MEMORY },
	[OPT_SERIAL] = { "serial", required_argument, NULL, OPTION_BASE + OPT_SERIAL },
	[OPT_DISK] = { "disk", required_argument, NULL, OPTION_BASE + OPT_DISK },
	[OPT_CONSOLE] = { "console", required_argument, NULL, OPTION_BASE + OPT_CONSOLE },
	[OPT_PORT] = { "port", required_argument, NULL, OPTION_BASE + OPT_PORT },
	[OPT_RNG] = { "rng", required_argument, NULL, OPTION_BASE + OPT_RNG },
	[OPT_NET] = { "net", required_argument, NULL, OPTION_BASE + OPT_NET },
	[OPT_VHOST_USER] = { "vhost-user", required_argument, NULL, OPTION_BASE + OPT_VHOST_USER },
	[OPT_IOTHREADS] = { "iothreads", required_argument, NULL, OPTION_BASE + OPT_IOTHREADS },
	[OPT_CONTROL] = { "control", required_argument, NULL, OPTION_BASE + OPT_CONTROL },
	[OPT_TRACE] = { "trace", required_argument, NULL, OPTION_BASE + OPT_TRACE },
	[OPT_NO_REBOOT] = { "no-reboot", no_argument, NULL, OPTION_BASE + OPT_NO_REBOOT },
	[OPT_TEST_DEVICE] = { "test-device", no_argument, NULL, OPTION_BASE + OPT_TEST_DEVICE },
	[OPT_COUNT] = { 0 },
};

static int parse_cpus(struct config *cfg, const char *arg)
{
	const char *rest;
	u64 n;

	if (number_parse(arg, &n, &rest) || *rest || n < 1 || n > CPUS_MAX) {
		log_err("--cpus %s: give a number from 1 to %d", arg, CPUS_MAX);
		return -EINVAL;
	}
	cfg->cpus = n;
	return 0;
}

/* SIZE without a suffix is in MiB. Stops at a comma. */
static int parse_size(const char *arg, u64 *bytes, const char **rest)
{
	static const char suffixes[] = "KMGT";
	u32 shift = 20;
	const char *s;
	u64 n;

	if (number_parse(arg, &n, rest))
		return -EINVAL;
	s = isalpha((unsigned char)**rest) ? strchr(suffixes, toupper((unsigned char)**rest))
					   : NULL;
	if (s) {
		shift = 10 * (s - suffixes + 1);
		(*rest)++;
	}
	if ((**rest && **rest != ',') || n > UINT64_MAX >> shift)
		return -EINVAL;
	*bytes = n << shift;
	return 0;
}

static int parse_memory(struct config *cfg, const char *arg)
{
	const char *rest;

	if (parse_size(arg, &cfg->memory, &rest)) {
		log_err("--memory %s: give a size such as 512M or 2G", arg);
		return -EINVAL;
	}
	if (strcmp(rest, ",hugepages=on") == 0) {
		cfg->hugepages = true;
	} else if (*rest && strcmp(rest, ",hugepages=off") != 0) {
		log_err("--memory %s: after the size only hugepages=on or hugepages=off can follow",
			arg);
		return -EINVAL;
	}
	if (cfg->memory % (cfg->hugepages ? 2 * MIB : PAGE_SIZE)) {
		log_err("--memory %s: not a multiple of %s", arg,
			cfg->hugepages ? "2 MiB, the size of a huge page" : "4 KiB, the page size");
		return -EINVAL;
	}
	return 0;
}

static int parse_iothreads(struct config *cfg, const char *arg)
{
	const char *rest;
	u64 n;

	if (number_parse(arg, &n, &rest) || *rest || n > IOTHREADS_MAX) {
		log_err("--iothreads %s: give a number from 0 to %d", arg, IOTHREADS_MAX);
		return -EINVAL;
	}
	cfg->iothreads = n;
	return 0;
}

static int parse_control(struct config *cfg, const char *arg)
{
	if (!*arg) {
		log_err("--control needs the path of a socket to be made");
		return -EINVAL;
	}
	cfg->control = arg;
	return 0;
}

static int parse_trace(struct config *cfg, const char *arg)
{
	if (!*arg) {
		log_err("--trace needs the path of a file to be made");
		return -EINVAL;
	}
	cfg->trace = arg;
	return 0;
}

static const struct device_config *find_console(const struct config *cfg)
{
	for (u32 i = 0; i < cfg->ndevices; i++) {
		if (cfg->device[i].kind == DEVICE_CONSOLE)
			return &cfg->device[i];
	}
	return NULL;
}

/* Standard input and output are for one only: the serial port, unless a console wants them. */
static int share_stdio(struct config *cfg, bool serial_given)
{
	u32 users = 0;

	for (u32 i = 0; i < cfg->ndevices; i++) {
		const struct device_config *d = &cfg->device[i];

		for (u32 p = 0; d->kind == DEVICE_CONSOLE && p < d->console.nports; p++)
			users += d->console.port[p].stream.kind == STREAM_STDIO;
	}
	if (users && !serial_given)
		cfg->serial.kind = STREAM_NONE;
	if (users + (cfg->serial.kind == STREAM_STDIO) <= 1)
		return 0;
	log_err("only one of --serial, --console and --port can have stdio");
	return -EINVAL;
}

/* The console= that the user did not give. */
static int make_cmdline(struct config *cfg, const char *given)
{
	bool has_console =
		given && (strncmp(given, "console=", 8) == 0 || strstr(given, " console="));
	const char *console = cfg->serial.kind != STREAM_NONE ? DEFAULT_CONSOLE
			      : find_console(cfg)	      ? VIRTIO_CONSOLE
							      : NULL;
	int n;

	if (has_console || !console)
		n = asprintf(&cfg->cmdline, "%s", given ? given : "");
	else
		n = asprintf(&cfg->cmdline, "%s%s%s", console, given ? " " : "",
			     given ? given : "");
	if (n < 0)
		cfg->cmdline = NULL;
	return n < 0 ? -ENOMEM : 0;
}

static bool has_disk(const struct config *cfg)
{
	for (u32 i = 0; i < cfg->ndevices; i++) {
		if (cfg->device[i].kind == DEVICE_DISK)
			return true;
	}
	return false;
}

/* Our data: named by the environment, beside the program as `make` leaves it, or installed. */
static int find_data_dir(struct config *cfg)
{
	const char *env = getenv("MINIVMM_DATA");
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	int len = -1;

	if (has_disk(cfg)) /* the guest's root is there */
		return 0;
	if (env && *env) {
		len = asprintf(&cfg->data_dir, "%s", env);
	} else if (n > 0) {
		exe[n] = '\0';
		len = asprintf(&cfg->data_dir, "%s/build/initramfs", dirname(exe));
		if (len >= 0 && access(cfg->data_dir, X_OK) < 0) {
			free(cfg->data_dir);
			len = -1;
		}
	}
	if (len < 0)
		len = asprintf(&cfg->data_dir, "%s", MINIVMM_DATA_DIR);
	if (len < 0)
		cfg->data_dir = NULL;
	return len < 0 ? -ENOMEM : 0;
}

static int apply(struct config *cfg, enum option_id id, const char *arg, const char **cmdline)
{
	switch (id) {
	case OPT_KERNEL:
		cfg->kernel = arg;
		return 0;
	case OPT_INITRD:
		cfg->initrd = arg;
		return 0;
	case OPT_CMDLINE:
		*cmdline = arg;
		return 0;
	case OPT_CPUS:
		return parse_cpus(cfg, arg);
	case OPT_MEMORY:
		return parse_memory(cfg, arg);
	case OPT_SERIAL:
		return config_stream("serial", arg, &cfg->serial);
	case OPT_DISK:
		return config_disk(cfg, arg);
	case OPT_CONSOLE:
		return config_console(cfg, arg);
	case OPT_PORT:
		return config_port(cfg, arg);
	case OPT_RNG:
		return config_rng(cfg, arg);
	case OPT_NET:
		return config_net(cfg, arg);
	case OPT_VHOST_USER:
		return config_vhost_user(cfg, arg);
	case OPT_IOTHREADS:
		return parse_iothreads(cfg, arg);
	case OPT_CONTROL:
		return parse_control(cfg, arg);
	case OPT_TRACE:
		return parse_trace(cfg, arg);
	case OPT_NO_REBOOT:
		cfg->no_reboot = true;
		return 0;
	case OPT_TEST_DEVICE:
		cfg->test_device = true;
		return 0;
	case OPT_COUNT:
		break;
	}
	return -EINVAL;
}

/* getopt_long() leaves in optopt what it does not like: a letter, one of our ids, or 0. */
static void refuse_option(const char *word)
{
	if (optopt >= OPTION_BASE)
		log_err("--%s takes no value", options[optopt - OPTION_BASE].name);
	else if (optopt)
		log_err("unknown option -%c; see minivmm --help", optopt);
	else
		log_err("unknown option %s; see minivmm --help", word);
}

static bool repeatable(enum option_id id)
{
	return id == OPT_DISK || id == OPT_CONSOLE || id == OPT_PORT || id == OPT_RNG ||
	       id == OPT_NET || id == OPT_VHOST_USER;
}

static int parse_options(struct config *cfg, int argc, char **argv, const char **cmdline,
			 bool seen[OPT_COUNT])
{

	opterr = 0; /* the messages are ours */
	optind = 0; /* start anew, also in tests */
	for (;;) {
		int id = getopt_long(argc, argv, "+:", options, NULL);
		int err;

		if (id == -1)
			break;
		if (id == ':') {
			log_err("%s needs a value; see minivmm --help", argv[optind - 1]);
			return -EINVAL;
		}
		if (id == '?') {
			refuse_option(argv[optind - 1]);
			return -EINVAL;
		}
		id -= OPTION_BASE;
		if (seen[id] && !repeatable(id)) {
			log_err("--%s is given twice", options[id].name);
			return -EINVAL;
		}
		seen[id] = true;
		err = apply(cfg, id, optarg, cmdline);
		if (err)
			return err;
	}
	if (optind < argc) {
		log_err("'%s' is not an option; see minivmm --help", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

int config_parse(struct config *cfg, int argc, char **argv)
{
	bool seen[OPT_COUNT] = { false };
	const char *cmdline = NULL;
	int err;

	*cfg = (struct config){ .cpus = 1, .memory = DEFAULT_MEMORY, .iothreads = 1 };
	err = parse_options(cfg, argc, argv, &cmdline, seen);
	if (!err && !cfg->kernel) {
		log_err("no --kernel FILE is given; see minivmm --help");
		err = -EINVAL;
	}
	if (!err)
		err = config_name_devices(cfg);
	if (!err)
		err = share_stdio(cfg, seen[OPT_SERIAL]);
	if (!err)
		err = make_cmdline(cfg, cmdline);
	if (!err)
		err = find_data_dir(cfg);
	if (err)
		config_free(cfg);
	return err;
}

void config_free(struct config *cfg)
{
	free(cfg->cmdline);
	free(cfg->data_dir);
	cfg->cmdline = NULL;
	cfg->data_dir = NULL;
	while (cfg->nkept)
		free(cfg->kept[--cfg->nkept]);
}

const char *config_version(void)
{
	return MINIVMM_VERSION;
}

bool config_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(help_text, stdout);
			return true;
		}
		if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-V") == 0) {
			printf("minivmm %s\n", MINIVMM_VERSION);
			return true;
		}
	}
	return false;
}
