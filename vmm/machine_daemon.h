/* SPDX-License-Identifier: MIT */
/*
 * machine_daemon.h - `minivmm device`: one virtio device in a process of its own.
 */
#ifndef VMM_MACHINE_DAEMON_H
#define VMM_MACHINE_DAEMON_H

struct daemon_config;

/*
 * Serve the device that `cfg` describes until a signal, or its only front end, ends it. The calling thread
 * becomes the main loop's; SIGTERM, SIGINT and SIGHUP must be blocked. Returns the process's exit status,
 * as the manual has it.
 */
int daemon_run(const struct daemon_config *cfg);

#endif
