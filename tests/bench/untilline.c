// SPDX-License-Identifier: MIT
/*
 * untilline.c - measure how long a command takes to print a line.
 *
 *	untilline [--timeout SECONDS] [--log FILE] TEXT -- COMMAND [ARGUMENT]...
 *
 * prints the milliseconds from exec to the moment when TEXT has come out of COMMAND's standard
 * output or error, and ends COMMAND. Exit status 3 if TEXT never comes; what did come goes to
 * standard error then. --log writes the output to FILE, each line behind its milliseconds.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_NO_LINE 3
#define OUTPUT_MAX   (1 << 20)

struct watch {
	const char *text;
	FILE *log;
	int fd;
	uint64_t start_us, deadline_us;
	char output[OUTPUT_MAX + 1];
	size_t len, line; /* bytes of output; where its last line begins */
};

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000ULL + t.tv_nsec / 1000;
}

static void become(char **argv, int out, volatile uint64_t *start)
{
	int null = open("/dev/null", O_RDONLY);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close(null);
	close(out);
	*start = now_us();
	execvp(argv[0], argv);
	err(127, "%s", argv[0]);
}

/* The last line may still be growing: it is looked through again each time. */
static bool found(struct watch *w)
{
	bool hit = strstr(w->output + w->line, w->text) != NULL;
	char *end;

	while ((end = strchr(w->output + w->line, '\n'))) {
		if (w->log)
			fprintf(w->log, "%9.1f %.*s\n", (now_us() - w->start_us) / 1e3,
				(int)(end - w->output - w->line), w->output + w->line);
		w->line = end + 1 - w->output;
	}
	return hit;
}

/* Returns when TEXT came, or 0. */
static uint64_t await_text(struct watch *w)
{
	while (w->len < OUTPUT_MAX && now_us() < w->deadline_us) {
		struct pollfd p = { .fd = w->fd, .events = POLLIN };
		uint64_t when;
		ssize_t n;

		if (poll(&p, 1, (w->deadline_us - now_us()) / 1000 + 1) != 1)
			return 0;
		n = read(w->fd, w->output + w->len, OUTPUT_MAX - w->len);
		when = now_us();
		if (n <= 0)
			return 0;
		for (ssize_t i = 0; i < n; i++) { /* so that it is a string */
			if (!w->output[w->len + i])
				w->output[w->len + i] = ' ';
		}
		w->len += n;
		w->output[w->len] = '\0';
		if (found(w))
			return when;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct watch w;
	volatile uint64_t *start = mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long timeout = 60;
	int i = 1, out[2];
	uint64_t when;
	pid_t pid;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--timeout") == 0)
			timeout = strtoul(argv[i + 1], NULL, 10);
		else if (strcmp(argv[i], "--log") == 0)
			w.log = fopen(argv[i + 1], "we");
	}
	if (argc < i + 3 || strcmp(argv[i + 1], "--") != 0)
		errx(2, "Usage: untilline [--timeout SECONDS] [--log FILE] TEXT -- COMMAND...");
	w.text = argv[i];
	if (start == MAP_FAILED || pipe2(out, O_CLOEXEC) < 0)
		err(1, "set-up");
	*start = now_us();
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0)
		become(argv + i + 2, out[1], start);
	close(out[1]);
	w.fd = out[0];
	w.start_us = *start;
	w.deadline_us = *start + timeout * 1000000;
	when = await_text(&w);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (!when) {
		fprintf(stderr, "%s\n", w.output);
		errx(EXIT_NO_LINE, "%s: '%s' never came", argv[i + 2], w.text);
	}
	printf("%.1f\n", (when - *start) / 1e3);
	return 0;
}
