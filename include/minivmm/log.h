/* SPDX-License-Identifier: MIT */
/*
 * log.h - one line on stderr, "minivmm: ...".
 *
 * House rule: an error is logged once, by the function that knows the context, and then travels
 * up as -errno. A message says what is wrong and, where the user can do something, what.
 */
#ifndef MINIVMM_LOG_H
#define MINIVMM_LOG_H

/* printf-style, without a newline at the end. Any thread; a line is written in one piece. */
void log_err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
