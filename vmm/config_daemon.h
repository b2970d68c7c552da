/* SPDX-License-Identifier: MIT */
/*
 * config_daemon.h - the command line of `minivmm device`, as checked values.
 */
#ifndef VMM_CONFIG_DAEMON_H
#define VMM_CONFIG_DAEMON_H

#include "minivmm/base.h"
#include "minivmm/peer.h"
#include "vmm/config.h"
#include "vmm/privileges.h"

#define DAEMON_CPUS 64 /* as many as there may be threads */

enum daemon_peer {
	DAEMON_TAP,
	DAEMON_FD,
	DAEMON_USER,
	DAEMON_SOCKET,
	DAEMON_NULL,
	DAEMON_ECHO,
};

struct daemon_config {
	enum device_kind kind; /* DEVICE_NET or DEVICE_DISK */
	const char *socket;    /* NULL: `fd` */
	u32 fd;		       /* a connected socket */
	u32 queues;	       /* of a network device: pairs */
	bool packed;
	bool sandbox;
	struct privileges_user user;
	bool poll;
	u32 poll_cpu[DAEMON_CPUS]; /* of the queues' threads, in turn; npoll_cpus 0: any */
	u32 npoll_cpus;

	/* Of a network device. */
	enum daemon_peer peer;
	const char *target;			/* tap: name; socket: path */
	u32 npeer_fds, peer_fd[PEER_PAIRS_MAX]; /* of an open tap, one a pair */
	bool server, restricted, source;
	struct subopt_list hostfwd;
	u32 mtu;

	struct disk_config disk;
	u32 nfile_fds, file_fd[2]; /* its image is open; see image.h */

	/* Owned: what the strings above are cut from. */
	char *peer_text, *file_text;
};

/* The words behind `minivmm device`: argv[0] is "device". Returns 0, or -EINVAL after one line that says
 * what is wrong and how to mend it. The strings of argv must outlive the config. */
int daemon_config_parse(struct daemon_config *cfg, int argc, char **argv);
void daemon_config_free(struct daemon_config *cfg);

/* Did the user ask for --help? Prints it and returns true. */
bool daemon_config_help(int argc, char **argv);

#endif
