// SPDX-License-Identifier: MIT
/*
 * privileges.c - give up for good what this process may do beyond any other.
 *
 * How it works: capabilities(7), "Capabilities and execution of programs by root".
 *
 *	bounding set	emptied first, as that takes a capability (CAP_SETPCAP): no program has any
 *	groups, user	setgroups(), setresgid(), setresuid(), in this order: the last one ends the right to
 *	capabilities	all three sets, and with them the ambient one: root, too, is an ordinary user then,
 *			though the one who owns the system's files
 *	no new privileges	set-user-ID programs give none
 *
 * Threads: see privileges.h. glibc makes setresuid() and its like known to all threads, capset(2) and
 * prctl(2) it does not.
 */
#include "vmm/privileges.h"
#include "minivmm/log.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* EPERM: we are nobody who could, and then the set counts for nothing. EINVAL: the last one was before. */
static void empty_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
}

static bool is_user(const struct privileges_user *user)
{
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	return getresuid(&ruid, &euid, &suid) == 0 && getresgid(&rgid, &egid, &sgid) == 0 &&
	       ruid == user->uid && euid == user->uid && suid == user->uid && rgid == user->gid &&
	       egid == user->gid && sgid == user->gid;
}

static int become(const struct privileges_user *user)
{
	if (setgroups(0, NULL) < 0 && !(errno == EPERM && is_user(user)))
		return -errno;
	if (setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return -errno;
	return is_user(user) ? 0 : -EPERM;
}

static int clear_capabilities(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { { 0 } };

	return syscall(SYS_capset, &hdr, none) < 0 ? -errno : 0;
}

int privileges_drop(const struct privileges_user *user)
{
	int err;

	empty_bounding_set();
	err = user->given ? become(user) : 0;
	if (err) {
		log_err("--user: we can't become user %u of group %u: %s%s", user->uid, user->gid,
			strerror(-err), err == -EPERM ? "; only root can" : "");
		return err;
	}
	err = clear_capabilities();
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		err = -errno;
	if (err)
		log_err("capabilities can't be given up: %s", strerror(-err));
	return err;
}
