// SPDX-License-Identifier: MIT
/*
 * sigbus.c - surviving a front end that cuts its memory short.
 *
 * How it works: a touch of a page that its file does not have any more is a SIGBUS with the address. The
 * handler puts a page of zeroes there, of our own, and the touch is done again. The ring or buffer reads as
 * zeroes from then on: the front end has broken its own device, and when it leaves the page goes with the
 * mapping it lies in. The page can't be executed, so that a file of the program that is cut short still is
 * the end of it.
 *
 * Threads: the handler runs on the thread that touched the page; it calls what is safe in a handler only.
 */
#include "minivmm/vhost_user_server.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#define HUGE_SIZE (2 * MIB)

static bool put_zeroes(u64 addr, u64 size)
{
	return mmap((void *)ALIGN_DOWN(addr, size), size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

static void page_gone(int sig, siginfo_t *info, void *context)
{
	u64 addr = (uintptr_t)info->si_addr;
	int saved = errno;

	(void)context;
	/* A mapping of huge pages has no place for a small one. */
	if (info->si_code != BUS_ADRERR ||
	    (!put_zeroes(addr, PAGE_SIZE) && !put_zeroes(addr, HUGE_SIZE)))
		signal(sig, SIG_DFL); /* the same touch ends us */
	errno = saved;
}

int vhost_user_guard_memory(void)
{
	struct sigaction sa = { .sa_sigaction = page_gone, .sa_flags = SA_SIGINFO };

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}
