// SPDX-License-Identifier: MIT
/*
 * main.c - from the command line to a machine. The only file that ends the process.
 *
 * Where to read next: docs/tour.md has the order; machine.c is what this file calls.
 */
#include "vmm/check.h"
#include "vmm/config.h"
#include "vmm/machine.h"

#include <signal.h>
#include <string.h>

#define EXIT_USAGE 2

/* Signals that the main loop reads; every thread inherits that they are blocked. */
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN); /* a peer that closes is an error code, not our end */
}

int main(int argc, char **argv)
{
	struct config cfg;
	int status;

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
