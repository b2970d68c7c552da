/* SPDX-License-Identifier: MIT */
/*
 * config_rig.h - what the suites on command lines share.
 */
#ifndef TESTS_UNIT_CONFIG_RIG_H
#define TESTS_UNIT_CONFIG_RIG_H

#include "tests/unit/unit.h"
#include "vmm/config.h"

#define CONFIG_WORDS_MAX 80

/* The words of `line` behind the `n` that stand in argv, which has room for CONFIG_WORDS_MAX. They are valid until
 * the next call. Returns how many there are then. */
int config_words(char **argv, int n, const char *line);

/* `line` has been parsed, with this result: well, and nothing was said; or it was refused by one line with `why`. */
void config_expect_good(int err, const char *line);
void config_expect_bad(int err, const char *line, const char *why);

/* The machine's command line: "--kernel k " and the words of `line`, parsed into config_rig. */
extern struct config config_rig;
void config_good(const char *line);
void config_bad(const char *line, const char *why);
void config_rig_init(void);
void config_rig_free(void);

#endif
