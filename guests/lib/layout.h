/* SPDX-License-Identifier: MIT */
/*
 * layout.h - the numbers that the assembler and the C files of a guest share.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define STACK_SIZE    0x2000 /* of each CPU */
#define AP_TRAMPOLINE 0x8000 /* a page below 1 MiB that is free once the guest runs */

#endif
