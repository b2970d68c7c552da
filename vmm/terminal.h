/* SPDX-License-Identifier: MIT */
/*
 * terminal.h - raw mode for the terminal on standard input, undone on every way out.
 */
#ifndef VMM_TERMINAL_H
#define VMM_TERMINAL_H

/* Put standard input, a terminal, in raw mode; output keeps its newline translation. Also when a
 * fatal signal ends the process the terminal is restored. Returns 0 or -errno. */
int terminal_raw(void);

/* Back to what it was. Harmless when it is not raw. Async-signal-safe. */
void terminal_restore(void);

#endif
