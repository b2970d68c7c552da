/* SPDX-License-Identifier: MIT */
/*
 * seeds.h - what the files of make-seeds share.
 */
#ifndef TESTS_FUZZ_SEEDS_H
#define TESTS_FUZZ_SEEDS_H

#include "minivmm/base.h"

#include <stddef.h>

/* Write the first input `name` of fuzz target `target`. */
void save_seed(const char *target, const char *name, const void *data, size_t size);

/* Those of the vhost-user targets. */
void vhost_user_seeds(void);

#endif
