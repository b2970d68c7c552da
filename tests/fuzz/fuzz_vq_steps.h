/* SPDX-License-Identifier: MIT */
/*
 * fuzz_vq_steps.h - the inputs of the fuzz targets vq_split and vq_packed, for these and for
 * make-seeds.c. fuzz_vq.h says what they do.
 */
#ifndef TESTS_FUZZ_VQ_STEPS_H
#define TESTS_FUZZ_VQ_STEPS_H

#include "minivmm/base.h"

/* Guest memory. */
#define FUZZ_VQ_RAM	   0x3000
#define FUZZ_VQ_DESC	   0x400
#define FUZZ_VQ_DRIVER	   0x800
#define FUZZ_VQ_DEVICE	   0xa00
#define FUZZ_VQ_TABLE_AT   0x1000
#define FUZZ_VQ_TABLE_SIZE 64

/* An input is: byte 0 for the size, byte 1 for the features (1 indirect, 2 event_idx, 4 in_order), and
 * then a row of these, cut off at its end: what is missing is zero. */
struct fuzz_vq_step {
	u8 act; /* modulo FUZZ_VQ_ACTS */
	u8 which; /* WRITE: -; DESCRIPTOR: its index; OFFER: head; GET: max - 1; PUT: which in flight */
	u16 arg;   /* WRITE: address; DESCRIPTOR: flags, FUZZ_VQ_TABLE, _IN_TURN, next or id << 8 */
	u32 len;   /* DESCRIPTOR: length; PUT: written */
	u64 value; /* WRITE: 8 bytes; DESCRIPTOR: address */
} __attribute__((packed));

enum {
	FUZZ_VQ_WRITE,
	FUZZ_VQ_DESCRIPTOR,
	FUZZ_VQ_OFFER,
	FUZZ_VQ_GET,
	FUZZ_VQ_PUT,
	FUZZ_VQ_UNGET,
	FUZZ_VQ_PUBLISH,
	FUZZ_VQ_DISARM,
	FUZZ_VQ_REARM,
	FUZZ_VQ_TAKE_OVER,
	FUZZ_VQ_ACTS
};

#define FUZZ_VQ_TABLE	(1 << 3) /* not in the ring but in the table */
#define FUZZ_VQ_IN_TURN (1 << 4) /* packed: at the driver's place, made available */

#endif
