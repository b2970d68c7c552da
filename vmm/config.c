// SPDX-License-Identifier: MIT
/*
 * config.c - the command line. The table `options` drives the parser and the refusal of
 * duplicates; --help is the manual.
 */
#include "vmm/config.h"
#include "minivmm/log.h"

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
#define CPUS_MAX	4096 /* KVM's own limit is checked when the VM is made */

static const char help_text[] =
	"Usage: minivmm --kernel FILE [OPTION]...\n"
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
	"  --serial stdio|none|file=PATH\n"
	"                        where the serial port goes (default stdio)\n"
	"  --no-reboot           end when the guest reboots\n"
	"  --test-device         add the PCI test device that the guests in guests/ use\n"
	"  -h, --help            show this text\n"
	"  -V, --version         show the version\n"
	"\n"
	"Commands:\n"
	"  check                 say what this machine offers for running guests, and what to do\n"
	"                        about each \"no\"; exit status 0 if Linux can boot here\n"
	"\n"
	"Keys on a terminal: Ctrl-A x ends minivmm, Ctrl-A p presses the power button, Ctrl-A h\n"
	"shows the keys, Ctrl-A Ctrl-A sends Ctrl-A to the guest.\n"
	"\n"
	"Signals: SIGTERM, SIGINT and SIGHUP press the guest's power button; a second one stops\n"
	"the machine at once.\n"
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
	[OPT_NO_REBOOT] = { "no-reboot", no_argument, NULL, OPTION_BASE + OPT_NO_REBOOT },
	[OPT_TEST_DEVICE] = { "test-device", no_argument, NULL, OPTION_BASE + OPT_TEST_DEVICE },
	[OPT_COUNT] = { 0 },
};

static int parse_number(const char *s, u64 *value, const char **rest)
{
	char *end;

	if (*s < '0' || *s > '9') /* strtoull would take a sign and blanks */
		return -EINVAL;
	errno = 0;
	*value = strtoull(s, &end, 10);
	*rest = end;
	return -errno;
}

static int parse_cpus(struct config *cfg, const char *arg)
{
	const char *rest;
	u64 n;

	if (parse_number(arg, &n, &rest) || *rest || n < 1 || n > CPUS_MAX) {
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

	if (parse_number(arg, &n, rest))
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

static int parse_serial(struct config *cfg, const char *arg)
{
	if (strcmp(arg, "stdio") == 0) {
		cfg->serial = SERIAL_STDIO;
	} else if (strcmp(arg, "none") == 0) {
		cfg->serial = SERIAL_NONE;
	} else if (strncmp(arg, "file=", 5) == 0 && arg[5]) {
		cfg->serial = SERIAL_FILE;
		cfg->serial_path = arg + 5;
	} else {
		log_err("--serial %s: give stdio, none or file=PATH", arg);
		return -EINVAL;
	}
	return 0;
}

/* The console= that the user did not give. */
static int make_cmdline(struct config *cfg, const char *given)
{
	bool has_console =
		given && (strncmp(given, "console=", 8) == 0 || strstr(given, " console="));
	int n;

	if (has_console || cfg->serial == SERIAL_NONE)
		n = asprintf(&cfg->cmdline, "%s", given ? given : "");
	else
		n = asprintf(&cfg->cmdline, "%s%s%s", DEFAULT_CONSOLE, given ? " " : "",
			     given ? given : "");
	if (n < 0)
		cfg->cmdline = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* Our data: named by the environment, beside the program as `make` leaves it, or installed. */
static int find_data_dir(struct config *cfg)
{
	const char *env = getenv("MINIVMM_DATA");
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	int len = -1;

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
		return parse_serial(cfg, arg);
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

static int parse_options(struct config *cfg, int argc, char **argv, const char **cmdline)
{
	bool seen[OPT_COUNT] = { false };

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
		if (seen[id]) {
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
	const char *cmdline = NULL;
	int err;

	*cfg = (struct config){ .cpus = 1, .memory = DEFAULT_MEMORY };
	err = parse_options(cfg, argc, argv, &cmdline);
	if (!err && !cfg->kernel) {
		log_err("no --kernel FILE is given; see minivmm --help");
		err = -EINVAL;
	}
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
