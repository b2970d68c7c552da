// SPDX-License-Identifier: MIT
/*
 * fuzz_vq_split.c - fuzz target: what a guest can do to a split virtqueue. See fuzz_vq.h.
 */
#define FUZZ_VQ_NAME   "fuzz_vq_split"
#define FUZZ_VQ_PACKED false

#include "tests/fuzz/fuzz_vq.h"
