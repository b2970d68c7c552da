/* SPDX-License-Identifier: MIT */
/*
 * config.h - the command line, as checked values.
 */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H

#include "minivmm/base.h"

enum serial_kind { SERIAL_STDIO, SERIAL_NONE, SERIAL_FILE };

struct config {
	const char *kernel;
	const char *initrd; /* NULL: our own initramfs, if data_dir has one */
	char *cmdline;	    /* owned */
	u32 cpus;
	u64 memory; /* bytes */
	bool hugepages;
	enum serial_kind serial;
	const char *serial_path;
	bool no_reboot;
	bool test_device;
	char *data_dir; /* owned; where initramfs*.cpio is */
};

/*
 * Read the options. Returns 0, or -EINVAL after one line that says what is wrong and how to mend
 * it. The strings of argv must outlive the config.
 */
int config_parse(struct config *cfg, int argc, char **argv);

/* Did the user ask for --help or --version? Prints it and returns true. */
bool config_help(int argc, char **argv);

void config_free(struct config *cfg);

#endif
