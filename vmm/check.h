/* SPDX-License-Identifier: MIT */
/* check.h - `minivmm check`: what this machine offers, and what to do about each "no". */
#ifndef VMM_CHECK_H
#define VMM_CHECK_H

/* Print the report. Returns the exit status: 0 if Linux can boot here, 1 if not, 2 bad usage. */
int check_run(int argc, char **argv);

#endif
