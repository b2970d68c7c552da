// SPDX-License-Identifier: MIT
/*
 * tap.c - test results in the Test Anything Protocol, for tests/guest/run to count.
 */
#include "guest.h"

static u32 number;

static void result(bool ok, const char *fmt, va_list ap)
{
	printf("%s %u - ", ok ? "ok" : "not ok", ++number);
	vprintf(fmt, ap);
}

void tap(bool ok, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(ok, fmt, ap);
	va_end(ap);
	printf("\n");
}

void tap_eq(u64 got, u64 want, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	result(got == want, fmt, ap);
	va_end(ap);
	if (got != want)
		printf(": got %lx, want %lx (hex)", got, want);
	printf("\n");
}

void tap_skip(const char *name, const char *why)
{
	printf("ok %u - %s # SKIP %s\n", ++number, name, why);
}

void tap_end(void)
{
	printf("1..%u\n", number);
}
