// SPDX-License-Identifier: MIT
/*
 * fuzz_vq_packed.c - fuzz target: what a guest can do to a packed virtqueue. See fuzz_vq.h.
 */
#include "tests/fuzz/fuzz_vq.h"

static void tell(void)
{
	fprintf(stderr, "fuzz_vq_packed: %lu chains\n", fuzz_vq_chains);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_vq_init();
	atexit(tell);
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	return fuzz_vq(data, size, true);
}
