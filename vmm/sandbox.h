/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - take away from this process what it does not need any more.
 */
#ifndef VMM_SANDBOX_H
#define VMM_SANDBOX_H

#include "minivmm/base.h"

/* What is needed beside the descriptors there are. */
enum {
	SANDBOX_CONNECT = 1,  /* connect to a UNIX socket anew */
	SANDBOX_UNLINK = 4,   /* remove its socket's file at the end */
	SANDBOX_INTERNET = 2, /* libslirp: sockets of the internet, and files to read */
};

/*
 * From now on, for all threads there are and will be: no new privileges (a set-user-ID program gives none),
 * and no system call but those that serving needs; any other fails with EPERM. `needs` says what more there
 * is. A build with a sanitizer, which has needs of its own, is left as it is. Returns 0, or -errno after one
 * line in the log. Any thread, once.
 */
int sandbox_enter(u32 needs);

#endif
