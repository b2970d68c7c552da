// SPDX-License-Identifier: MIT
/*
 * fuzz_vq_packed.c - fuzz target: what a guest can do to a packed virtqueue. See fuzz_vq.h.
 */
#define FUZZ_VQ_NAME   "fuzz_vq_packed"
#define FUZZ_VQ_PACKED true

#include "tests/fuzz/fuzz_vq.h"
