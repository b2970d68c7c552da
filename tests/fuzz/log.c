// SPDX-License-Identifier: MIT
/*
 * log.c - takes the place of vmm/log.c in the fuzz targets: a message is made, so that its
 * arguments are looked at, and dropped; or told, with FUZZ_LOG in the environment.
 */
#include "minivmm/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void make(const char *fmt, va_list ap)
{
	char line[1024];

	vsnprintf(line, sizeof(line), fmt, ap);
	if (getenv("FUZZ_LOG"))
		fprintf(stderr, "%s\n", line);
}

void log_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	make(fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	make(fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	make(fmt, ap);
	va_end(ap);
}
