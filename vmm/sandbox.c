// SPDX-License-Identifier: MIT
/*
 * sandbox.c - a seccomp filter: the system calls that a device daemon makes once it is set up.
 *
 * How it works: all that a device works with it has by then: its socket, its image or tap, its threads. What
 * comes later comes as descriptors from the front end. So nothing has to be opened, run or connected to any
 * more, and the filter allows none of that: who takes the process over by a hole in it has its descriptors and
 * nothing else. It is a list of what is allowed. What is not fails with EPERM, for a library may try to
 * open a file for no better reason than to count processors; what Linux has had since 5.1 only, with ENOSYS:
 * a library that would rather use a new call than one on the list then does as it does on an older kernel.
 *
 *	all		the lists common[] and, by its request, ioctl(); threads; memory that is no program
 *	SANDBOX_CONNECT	socket(AF_UNIX) and connect(), for a peer that comes and goes
 *	SANDBOX_UNLINK	unlink(), for a socket's file that is to be gone at the end
 *	SANDBOX_INTERNET	sockets of the internet; openat() to read, since libslirp looks up the name servers
 *
 * libseccomp writes the filter, and gives it to all threads at once (TSYNC). The library is loaded when it is
 * needed, as libslirp is.
 *
 * Threads: see sandbox.h.
 */
#include "vmm/sandbox.h"
#include "minivmm/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LIBRARY "libseccomp.so.2"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

struct library {
	void *handle;
	typeof(seccomp_init) *init;
	typeof(seccomp_attr_set) *attr_set;
	typeof(seccomp_rule_add_array) *rule_add;
	typeof(seccomp_load) *load;
	typeof(seccomp_release) *release;
};

static const int common[] = {
	/* loops */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(timerfd_settime),
	/* descriptors there are, and those that front ends send */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(lseek),
	SCMP_SYS(dup3),
	SCMP_SYS(eventfd2),
	SCMP_SYS(accept4),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendto),
	SCMP_SYS(shutdown),
	/* an image */
	SCMP_SYS(pread64),
	SCMP_SYS(pwrite64),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(preadv2),
	SCMP_SYS(pwritev2),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fallocate),
	SCMP_SYS(io_uring_enter), /* of rings that can do no more than this: image_uring.c */
	/* memory: the front end's, the record of what is in flight, malloc() */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(brk),
	SCMP_SYS(memfd_create),
	SCMP_SYS(ftruncate),
	/* threads, signals, time, the end */
	SCMP_SYS(futex),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sched_yield),
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(getrandom),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(membarrier),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* An image has as many threads as it has requests at once: pthread_create() makes them when they are needed. */
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* Calls from this number on are Linux 5.1's and later; the numbers are the same on all processors. */
#define FIRST_NEW 424
#define LAST_NEW  511

static const u32 ioctls[] = { TUNGETIFF,  TUNSETOFFLOAD, TUNSETQUEUE,
			      BLKDISCARD, BLKZEROOUT,	 BLKGETSIZE64 };

static const int internet[] = {
	SCMP_SYS(connect),    SCMP_SYS(bind),	    SCMP_SYS(listen), SCMP_SYS(accept),
	SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(ioctl),  SCMP_SYS(stat),
};

static int load_library(struct library *l)
{
	l->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!l->handle) {
		log_err("the sandbox needs " LIBRARY
			": install it (Debian's package libseccomp2), or give --sandbox off");
		return -ENOENT;
	}
	l->init = dlsym(l->handle, "seccomp_init");
	l->attr_set = dlsym(l->handle, "seccomp_attr_set");
	l->rule_add = dlsym(l->handle, "seccomp_rule_add_array");
	l->load = dlsym(l->handle, "seccomp_load");
	l->release = dlsym(l->handle, "seccomp_release");
	if (l->init && l->attr_set && l->rule_add && l->load && l->release)
		return 0;
	log_err("the sandbox: this " LIBRARY " is not one that we know: %s", dlerror());
	return -ENOSYS;
}

static int allow_all(const struct library *l, scmp_filter_ctx f, const int *call, u32 n)
{
	int err = 0;

	for (u32 i = 0; i < n && !err; i++)
		err = l->rule_add(f, SCMP_ACT_ALLOW, call[i], 0, NULL);
	return err;
}

/* Allow a call if an argument, of which `mask` counts, has this value. */
static int allow_if(const struct library *l, scmp_filter_ctx f, int call, u32 arg, u64 mask,
		    u64 value)
{
	const struct scmp_arg_cmp cmp = {
		.arg = arg, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value
	};

	return l->rule_add(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

static bool is_common(int call)
{
	for (u32 i = 0; i < ARRAY_SIZE(common); i++) {
		if (common[i] == call)
			return true;
	}
	return false;
}

/* Newer spellings of older calls: there are none. */
static int hide_new(const struct library *l, scmp_filter_ctx f)
{
	int err = 0;

	for (int call = FIRST_NEW; call <= LAST_NEW && !err; call++) {
		if (!is_common(call))
			err = l->rule_add(f, SCMP_ACT_ERRNO(ENOSYS), call, 0, NULL);
	}
	return err;
}

static int add_rules(const struct library *l, scmp_filter_ctx f, u32 needs)
{
	int err = allow_all(l, f, common, ARRAY_SIZE(common));

	if (!err)
		err = hide_new(l, f);
	if (!err)
		err = allow_if(l, f, SCMP_SYS(clone), 0, THREAD_FLAGS, THREAD_FLAGS);
	if (!err)
		err = allow_if(l, f, SCMP_SYS(mmap), 2, PROT_EXEC, 0);
	if (!err)
		err = allow_if(l, f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
	if (!err) /* its own threads */
		err = allow_if(l, f, SCMP_SYS(tgkill), 0, ~0U, getpid());
	if (!err && needs & SANDBOX_UNLINK)
		err = l->rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 0, NULL);
	if (!err && needs & SANDBOX_UNLINK)
		err = l->rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(unlink), 0, NULL);
	if (!err && needs & SANDBOX_INTERNET) {
		err = allow_all(l, f, internet, ARRAY_SIZE(internet));
		if (!err)
			err = allow_if(l, f, SCMP_SYS(socket), 0, ~0U, AF_INET);
		if (!err)
			err = allow_if(l, f, SCMP_SYS(socket), 0, ~0U, AF_INET6);
		if (!err) /* to read, and nothing that makes a file */
			err = allow_if(l, f, SCMP_SYS(openat), 2, O_ACCMODE | O_CREAT | O_TRUNC,
				       O_RDONLY);
		return err;
	}
	for (u32 i = 0; i < ARRAY_SIZE(ioctls) && !err; i++)
		err = allow_if(l, f, SCMP_SYS(ioctl), 1, ~0U, ioctls[i]);
	if (!err && needs & SANDBOX_CONNECT) {
		err = allow_if(l, f, SCMP_SYS(socket), 0, ~0U, AF_UNIX);
		if (!err)
			err = l->rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(connect), 0, NULL);
	}
	return err;
}

int sandbox_enter(u32 needs)
{
	struct library l = { 0 };
	scmp_filter_ctx f;
	int err;

	if (SANITIZED)
		return 0;
	err = load_library(&l);
	if (err)
		goto close;
	f = l.init(SCMP_ACT_ERRNO(EPERM));
	err = f ? l.attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM; /* NNP is on by itself */
	if (!err)
		err = add_rules(&l, f, needs);
	if (!err)
		err = l.load(f);
	if (f)
		l.release(f);
	if (err)
		log_err("the sandbox can't be set up: %s", strerror(-err));
close:
	if (l.handle)
		dlclose(l.handle);
	return err;
}
