/* SPDX-License-Identifier: MIT */
/*
 * privileges.h - give up for good what this process may do beyond any other.
 */
#ifndef VMM_PRIVILEGES_H
#define VMM_PRIVILEGES_H

#include "minivmm/base.h"

#include <sys/types.h>

struct privileges_user {
	bool given; /* false: remain who we are */
	uid_t uid;
	gid_t gid;
};

/*
 * Become that user, in no other group than gid, and have no capability any more; nor will a program that is
 * run from here have any (no new privileges, an empty bounding set). Capabilities are a thread's: call it
 * while there is one thread, whose children then are as it is. Returns 0, or -errno after one line in the
 * log.
 */
int privileges_drop(const struct privileges_user *user);

#endif
