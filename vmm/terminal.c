// SPDX-License-Identifier: MIT
/*
 * terminal.c - see terminal.h.
 *
 * The saved settings are the process's one piece of global state: a signal handler can reach
 * nothing else, and a process has but one terminal.
 */
#include "vmm/terminal.h"
#include "minivmm/base.h"

#include <errno.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

static struct termios saved;
static volatile sig_atomic_t is_raw;

void terminal_restore(void)
{
	sigset_t ttou, mask;

	if (!is_raw)
		return;
	/* In the background, where it would stop us, it is allowed to whoever blocks SIGTTOU. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &mask);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	is_raw = 0;
}

/* SA_RESETHAND has put the default action back: the second time it ends us as it should. */
static void fatal_signal(int sig)
{
	terminal_restore();
	raise(sig);
}

int terminal_raw(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS,  SIGILL,	  SIGFPE,  SIGABRT,
				     SIGQUIT, SIGTRAP, SIGSYS,	  SIGUSR1, SIGUSR2,
				     SIGALRM, SIGXCPU, SIGVTALRM, SIGPROF };
	struct sigaction sa = { .sa_handler = fatal_signal, .sa_flags = SA_RESETHAND | SA_NODEFER };
	struct termios raw;

	if (is_raw)
		return 0;
	if (tcgetattr(STDIN_FILENO, &saved) < 0)
		return -errno;
	raw = saved;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* our own messages end in a bare newline */
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
	is_raw = 1;
	return tcsetattr(STDIN_FILENO, TCSANOW, &raw) < 0 ? -errno : 0;
}
