/* SPDX-License-Identifier: MIT */
/*
 * ctl.h - `minivmm ctl`: a control socket's human face.
 */
#ifndef VMM_CTL_H
#define VMM_CTL_H

#include "minivmm/base.h"
#include "vmm/json.h"

/*
 * Do what argv says; argv[0] is the word "ctl". Returns the process's exit status: 0; 1 after a message:
 * the machine refused, or has gone; 2 after a message: a bad command, or nobody listens there.
 */
int ctl_run(int argc, char **argv);

/* Print devices (the answer of x-minivmm-query-datapath), or statistics (x-minivmm-stats): the totals, or
 * with `before`, an earlier answer, what was done a second since (ctl_table.c). */
void ctl_print_devices(const json_t *devices);
void ctl_print_stats(const json_t *now, const json_t *before);

/* Print how device `name` was moved: the answer of x-minivmm-switch-datapath. */
void ctl_print_switch(const char *name, const json_t *done);

/* The file of a trace, as X_MINIVMM_TRACE tells of it. */
void ctl_print_trace(const json_t *done);

#endif
