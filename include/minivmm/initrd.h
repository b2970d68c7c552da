/* SPDX-License-Identifier: MIT */
/*
 * initrd.h - does a file look like an initrd that Linux can unpack?
 */
#ifndef MINIVMM_INITRD_H
#define MINIVMM_INITRD_H

#include "minivmm/base.h"

/*
 * Look at the open file `fd` of `size` bytes: a cpio archive (its first one, to its end) or the
 * start of a compressed one, which is as far as can be seen without unpacking it.
 * Returns NULL, or what is wrong with it, to be printed behind its name.
 */
const char *initrd_fault(int fd, u64 size);

#endif
