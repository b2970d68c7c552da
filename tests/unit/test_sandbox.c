// SPDX-License-Identifier: MIT
/*
 * test_sandbox.c - what a device daemon can't do any more: the seccomp filter (vmm/sandbox.c) and the
 * privileges it has given up (vmm/privileges.c). Each test does it to a process of its own, its child, which
 * ends with the number of the first expectation that was not met.
 */
#include "minivmm/unix_socket.h"
#include "tests/unit/unit.h"
#include "vmm/privileges.h"
#include "vmm/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/sched.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

/* Run it in a child: its status. */
static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(fn());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "ended by signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* ---- the filter ---- */

/* A build with a sanitizer has no filter. */
static bool no_filter(const char *name)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	printf("SKIP %s: a build with a sanitizer has no seccomp filter\n", name);
	return true;
#else
	(void)name;
	return false;
#endif
}

/* As it takes no pointer that is one, a call that is let through fails in another way, or is harmless. */
struct forbidden {
	const char *name;
	long call, arg[3];
	int err;
};

static const char root[] = "/";

static const struct forbidden forbidden[] = {
	{ "openat", SYS_openat, { AT_FDCWD, (long)root, O_RDONLY }, EPERM },
	{ "socket", SYS_socket, { AF_UNIX, SOCK_STREAM, 0 }, EPERM },
	{ "connect", SYS_connect, { -1, 0, 0 }, EPERM },
	{ "bind", SYS_bind, { -1, 0, 0 }, EPERM },
	{ "execve", SYS_execve, { 0, 0, 0 }, EPERM },
	{ "execveat", SYS_execveat, { -1, 0, 0 }, EPERM },
	{ "ptrace", SYS_ptrace, { PTRACE_TRACEME, 0, 0 }, EPERM },
	{ "process_vm_writev", SYS_process_vm_writev, { 0, 0, 0 }, EPERM },
	{ "kill", SYS_kill, { -1, 0, 0 }, EPERM },
	{ "clone: a process", SYS_clone, { 0, 0, 0 }, EPERM },
	{ "mmap: a program", SYS_mmap, { 0, 4096, PROT_READ | PROT_EXEC }, EPERM },
	{ "mprotect: a program", SYS_mprotect, { 0, 4096, PROT_EXEC }, EPERM },
	{ "ioctl: another tap", SYS_ioctl, { -1, TUNSETIFF, 0 }, EPERM },
	{ "capset", SYS_capset, { 0, 0, 0 }, EPERM },
	{ "setuid", SYS_setuid, { 0, 0, 0 }, EPERM },
	{ "setresuid", SYS_setresuid, { 0, 0, 0 }, EPERM },
	{ "prctl", SYS_prctl, { PR_SET_KEEPCAPS, 1, 0 }, EPERM },
	{ "unshare", SYS_unshare, { 0, 0, 0 }, EPERM },
	{ "mount", SYS_mount, { 0, 0, 0 }, EPERM },
	{ "bpf", SYS_bpf, { 0, 0, 0 }, EPERM },
	{ "clone3", SYS_clone3, { 0, 0, 0 }, ENOSYS },
	{ "openat2", SYS_openat2, { AT_FDCWD, (long)root, 0 }, ENOSYS },
	{ "io_uring_setup", SYS_io_uring_setup, { 1, 0, 0 }, ENOSYS },
	{ "io_uring_register", SYS_io_uring_register, { -1, 0, 0 }, ENOSYS },
	{ "pidfd_getfd", SYS_pidfd_getfd, { -1, 0, 0 }, ENOSYS },
	{ "a call of tomorrow", 500, { 0, 0, 0 }, ENOSYS },
};

static int try_forbidden(void)
{
	if (sandbox_enter(0))
		return 255;
	for (u32 i = 0; i < ARRAY_SIZE(forbidden); i++) {
		const struct forbidden *f = &forbidden[i];

		errno = 0;
		if (syscall(f->call, f->arg[0], f->arg[1], f->arg[2], 0, 0, 0) >= 0 ||
		    errno != f->err)
			return i + 1;
	}
	return 0;
}

START_TEST(a_daemon_in_its_sandbox_opens_runs_and_reaches_nothing)
{
	int status;

	if (no_filter("a_daemon_in_its_sandbox_opens_runs_and_reaches_nothing"))
		return;
	status = in_child(try_forbidden);
	ck_assert_int_ne(status, 255);
	ck_assert_msg(status == 0, "%s was let through, or refused in another way",
		      forbidden[status ? status - 1 : 0].name);
}

static void *thread(void *arg)
{
	*(void **)arg = malloc(1 * MIB); /* a heap of its own */
	return NULL;
}

/* What a library does in passing, of which a device knows nothing. */
static int try_allowed(void)
{
	void *p = NULL;
	pthread_t t;
	FILE *f = tmpfile();
	struct stat st;

	if (!f || sandbox_enter(0))
		return 1;
	if (pthread_create(&t, NULL, thread, &p) || pthread_join(t, NULL) || !p)
		return 2;
	free(p);
	p = malloc(64 * MIB);
	if (!p || !(p = realloc(p, 128 * MIB)))
		return 3;
	free(p);
	if (fprintf(f, "%d", 1) != 1 || fflush(f) || fstat(fileno(f), &st) || fclose(f))
		return 4;
	if (sysconf(_SC_NPROCESSORS_ONLN) < 1)
		return 5;
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return 6;
	return 0;
}

START_TEST(a_daemon_in_its_sandbox_has_threads_and_memory)
{
	if (no_filter("a_daemon_in_its_sandbox_has_threads_and_memory"))
		return;
	ck_assert_int_eq(in_child(try_allowed), 0);
}

static int try_connect(void)
{
	if (sandbox_enter(SANDBOX_CONNECT))
		return 1;
	if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
		return 2;
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 || errno != EPERM ? 3 : 0;
}

static int try_internet(void)
{
	int fd;

	if (sandbox_enter(SANDBOX_INTERNET))
		return 1;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || bind(fd, NULL, 0) == 0)
		return 2;
	if (open("/dev/null", O_RDONLY) < 0)
		return 3;
	return open("/dev/null", O_RDWR) >= 0 || errno != EPERM ? 4 : 0;
}

START_TEST(a_peer_that_has_to_connect_can)
{
	if (no_filter("a_peer_that_has_to_connect_can"))
		return;
	ck_assert_int_eq(in_child(try_connect), 0);
	ck_assert_int_eq(in_child(try_internet), 0);
}

/* ---- privileges ---- */

/* Nothing at all, and no way to it. */
static int no_capabilities(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &hdr, caps) < 0)
		return 10;
	for (u32 i = 0; i < ARRAY_SIZE(caps); i++) {
		if (caps[i].effective | caps[i].permitted | caps[i].inheritable)
			return 11;
	}
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 12;
	caps[0].effective = caps[0].permitted = 1 << CAP_DAC_OVERRIDE;
	return syscall(SYS_capset, &hdr, caps) < 0 && errno == EPERM ? 0 : 13;
}

static int give_up(void)
{
	bool root = geteuid() == 0 && prctl(PR_CAPBSET_READ, CAP_SETPCAP, 0, 0, 0) == 1;
	int err = privileges_drop(&(struct privileges_user){ 0 });

	if (err)
		return 1;
	for (int cap = 0; root && cap <= CAP_LAST_CAP; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			return 2;
	}
	return no_capabilities();
}

START_TEST(whoever_we_are_we_have_no_capabilities)
{
	ck_assert_int_eq(in_child(give_up), 0);
}

static int become_nobody(void)
{
	const struct privileges_user nobody = { .given = true, .uid = NOBODY, .gid = NOBODY - 1 };
	uid_t r, e, s;

	if (privileges_drop(&nobody))
		return 1;
	if (getresuid(&r, &e, &s) || r != NOBODY || e != NOBODY || s != NOBODY)
		return 2;
	if (getresgid(&r, &e, &s) || r != NOBODY - 1 || e != NOBODY - 1 || s != NOBODY - 1)
		return 3;
	if (getgroups(0, NULL) != 0)
		return 4;
	if (setuid(0) == 0)
		return 5;
	return no_capabilities();
}

/* Nobody, who is told to become someone else. */
static int refused(void)
{
	const struct privileges_user other = { .given = true, .uid = 1, .gid = 1 };

	if (setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	return privileges_drop(&other) == -EPERM && said_once("only root can") ? 0 : 2;
}

START_TEST(root_becomes_another_user_and_others_do_not)
{
	if (geteuid()) {
		printf("SKIP root_becomes_another_user_and_others_do_not: needs root\n");
		return;
	}
	ck_assert_int_eq(in_child(become_nobody), 0);
	ck_assert_int_eq(in_child(refused), 0);
}

/* ---- a socket's file, in a folder that is not ours any more ---- */

static char folder[32], path[64];

/* With a drop to nobody: can the file be removed? */
static int remove_as_nobody(void)
{
	const struct privileges_user nobody = { .given = true, .uid = NOBODY, .gid = NOBODY };
	struct unix_door d;

	if (unix_door_open(&d, path, 1) || unix_door_give(&d, NOBODY, NOBODY) ||
	    privileges_drop(&nobody))
		return 100;
	return -unix_door_close(&d);
}

START_TEST(a_socket_is_removed_by_the_user_that_owns_its_folder)
{
	struct unix_door d;
	struct stat st;

	strcpy(folder, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	ck_assert_int_eq(unix_door_open(&d, path, 1), 0);
	ck_assert_int_eq(unix_door_close(&d), 0);
	ck_assert_int_eq(access(path, F_OK), -1);
	/* Another file in its place is somebody else's. */
	ck_assert_int_eq(unix_door_open(&d, path, 1), 0);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mknod(path, S_IFSOCK | 0600, 0), 0);
	d.ino = ~0ULL; /* a new file may have the old one's number */
	ck_assert_int_eq(unix_door_give(&d, geteuid(), getegid()), -EEXIST);
	ck_assert_int_eq(unix_give(path, geteuid(), getegid()), 0);
	ck_assert_int_eq(unix_give(folder, geteuid(), getegid()), -EEXIST);
	ck_assert_int_eq(unix_door_close(&d), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(unlink(path), 0);
	if (geteuid() == 0) {
		ck_assert_int_eq(in_child(remove_as_nobody), EACCES);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_uid, NOBODY);
		ck_assert_int_eq(chown(folder, NOBODY, NOBODY), 0);
		ck_assert_int_eq(in_child(remove_as_nobody), 0); /* in the place of the stale one */
		ck_assert_int_eq(access(path, F_OK), -1);
	}
	ck_assert_int_eq(unix_door_open(&d, "", 1), -ENOENT);
	ck_assert_int_eq(rmdir(folder), 0);
}

Suite *sandbox_suite(void)
{
	Suite *s = suite_create("sandbox");
	TCase *filter = tcase_create("the filter"), *drop = tcase_create("privileges");

	tcase_add_test(filter, a_daemon_in_its_sandbox_opens_runs_and_reaches_nothing);
	tcase_add_test(filter, a_daemon_in_its_sandbox_has_threads_and_memory);
	tcase_add_test(filter, a_peer_that_has_to_connect_can);
	suite_add_tcase(s, filter);
	tcase_add_test(drop, whoever_we_are_we_have_no_capabilities);
	tcase_add_test(drop, root_becomes_another_user_and_others_do_not);
	tcase_add_test(drop, a_socket_is_removed_by_the_user_that_owns_its_folder);
	suite_add_tcase(s, drop);
	return s;
}
