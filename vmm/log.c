// SPDX-License-Identifier: MIT
/*
 * log.c - see log.h. Each line is formatted on the stack and leaves in one write(), so that lines
 * of several threads do not mix.
 */
#include "minivmm/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void log_line(const char *prefix, const char *fmt, va_list ap)
{
	char line[1024];
	size_t room = sizeof(line) - 1; /* one byte for the newline */
	int n = snprintf(line, room, "minivmm: %s", prefix);
	int m = vsnprintf(line + n, room - n, fmt, ap);

	if (m > 0)
		n = strlen(line);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0) {
		/* Nowhere left to say it. */
	}
}

void log_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("", fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("warning: ", fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line("", fmt, ap);
	va_end(ap);
}
