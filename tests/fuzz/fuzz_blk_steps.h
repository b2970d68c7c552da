/* SPDX-License-Identifier: MIT */
/*
 * fuzz_blk_steps.h - the inputs of the fuzz target blk, for it and for make-seeds.c: a row of requests,
 * cut off at its end; what is missing is zero.
 */
#ifndef TESTS_FUZZ_BLK_STEPS_H
#define TESTS_FUZZ_BLK_STEPS_H

#include "minivmm/base.h"

#include <linux/virtio_blk.h>

#define FUZZ_BLK_SECTORS 64

struct fuzz_blk_step {
	u8 how;	     /* FUZZ_BLK_... */
	u8 cuts;     /* how the buffers are cut; 0: not at all */
	u16 out_len; /* of the readable data behind the header, */
	u16 in_len;  /* and of the writable part with the status */
	struct virtio_blk_outhdr header;
	u8 data[32]; /* repeated */
} __attribute__((packed));

enum {
	FUZZ_BLK_ANY_TYPE = 1,	 /* else it is taken modulo something likely, */
	FUZZ_BLK_ANY_SECTOR = 2, /* and the sector, too */
	FUZZ_BLK_INDIRECT = 4,
	FUZZ_BLK_OVERLAP = 8,	    /* readable and writable buffers */
	FUZZ_BLK_RESET = 16,	    /* while it runs */
	FUZZ_BLK_SHORT = 32,	    /* the readable part is as short as `cuts` says */
	FUZZ_BLK_SECTORS_ONLY = 64, /* the data is whole sectors */
	FUZZ_BLK_PACKED = 128,	    /* the first request's: the packed ring */
};

#endif
