/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what the fuzz targets share.
 *
 * A target is a libFuzzer program: LLVMFuzzerTestOneInput() is called with one input after another.
 * Memory errors are AddressSanitizer's to find; what else must hold, must() checks. tests/fuzz/run
 * runs them.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "minivmm/base.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* A fault ends the target, and libFuzzer keeps the input. */
#define must(condition)                                                                         \
	do {                                                                                    \
		if (!(condition)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                \
		}                                                                               \
	} while (0)

#endif
