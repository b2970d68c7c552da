// SPDX-License-Identifier: MIT
/*
 * log.c - takes the place of vmm/log.c in the unit tests: keeps what is logged, one line each.
 */
#include "minivmm/log.h"
#include "tests/unit/unit.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char text[4096], shown[4096];
static u32 lines;

static void keep(const char *fmt, va_list ap)
{
	size_t used;

	pthread_mutex_lock(&lock);
	used = strlen(text);
	if (used < sizeof(text) - 2) { /* room for a newline and the end */
		vsnprintf(text + used, sizeof(text) - used - 1, fmt, ap);
		strcat(text, "\n");
	}
	lines++;
	pthread_mutex_unlock(&lock);
}

void log_err(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(fmt, ap);
	va_end(ap);
}

void log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(fmt, ap);
	va_end(ap);
}

void log_info(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	keep(fmt, ap);
	va_end(ap);
}

void said_forget(void)
{
	pthread_mutex_lock(&lock);
	text[0] = '\0';
	lines = 0;
	pthread_mutex_unlock(&lock);
}

const char *said_text(void)
{
	pthread_mutex_lock(&lock);
	memcpy(shown, text, sizeof(shown));
	pthread_mutex_unlock(&lock);
	return shown;
}

bool said_once(const char *part)
{
	bool once;

	said_text();
	pthread_mutex_lock(&lock);
	/* A message with a newline of its own would be two lines. */
	once = lines == 1 && strchr(text, '\n') == text + strlen(text) - 1 && strstr(text, part);
	pthread_mutex_unlock(&lock);
	if (once)
		said_forget();
	return once;
}
