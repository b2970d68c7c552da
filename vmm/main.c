// SPDX-License-Identifier: MIT
/*
 * main.c - from the command line to a machine. The only file that ends the process.
 *
 * Where to read next: docs/tour.md has the order; machine.c is what this file calls.
 */
#include "vmm/check.h"
#include "vmm/config.h"
#include "vmm/config_daemon.h"
#include "vmm/ctl.h"
#include "vmm/machine.h"
#include "vmm/machine_daemon.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define EXIT_USAGE 2

/* Descriptors 0 to 2 must not become something of ours, whose contents we would print on. */
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/*
 * Signals that the main loop reads; every thread inherits that they are blocked. One that we were
 * started to ignore (nohup) stays ignored.
 */
static void block_signals(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGWINCH };
	struct sigaction sa;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		if (sigaction(signals[i], NULL, &sa) < 0 || sa.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	/* Errors of a write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

/* One heap for all threads. Else each thread's first malloc() or free() makes it one, with five system calls, and for a
 * thread that serves a queue that is when the queue stops: in the middle of a live switch. */
static void share_heap(void)
{
#ifdef M_ARENA_MAX
	mallopt(M_ARENA_MAX, 1);
#endif
}

/* `minivmm device`: argv[0] is that word. */
static int run_device(int argc, char **argv)
{
	struct daemon_config cfg;
	int status;

	if (daemon_config_help(argc, argv))
		return 0;
	if (daemon_config_parse(&cfg, argc, argv) < 0)
		return EXIT_USAGE;
	block_signals();
	status = daemon_run(&cfg);
	daemon_config_free(&cfg);
	return status;
}

int main(int argc, char **argv)
{
	struct config cfg;
	int status;

	fill_standard_fds();
	share_heap();
	if (argc > 1 && strcmp(argv[1], "device") == 0)
		return run_device(argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "ctl") == 0)
		return ctl_run(argc - 1, argv + 1);
	if (config_help(argc, argv))
		return 0;
	if (argc > 1 && strcmp(argv[1], "check") == 0)
		return check_run(argc - 1, argv + 1);
	if (config_parse(&cfg, argc, argv) < 0)
		return EXIT_USAGE;
	block_signals();
	status = machine_run(&cfg);
	config_free(&cfg);
	return status;
}
