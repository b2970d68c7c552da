/* SPDX-License-Identifier: MIT */
/*
 * fuzz_vhost_user_steps.h - the inputs of the two vhost-user fuzz targets, for them and for their seeds
 * (seeds_vhost_user.c). All are cut off at their end.
 *
 *	vhost_user_server	what a front end does to the device daemon:
 *		byte 0	FUZZ_VUS_BLK, ...
 *		a row of steps, each with `len` bytes behind it
 *	vhost_user		what a back end answers to the VMM:
 *		byte 0	FUZZ_VU_...
 *		a row of steps and answers, in any order: a step is done in its turn; an answer waits for
 *		a request, and those for which there is none are answered well
 */
#ifndef TESTS_FUZZ_VHOST_USER_STEPS_H
#define TESTS_FUZZ_VHOST_USER_STEPS_H

#include "minivmm/base.h"

/* ---- vhost_user_server ---- */

/* Byte 0. */
#define FUZZ_VUS_BLK 1 /* the disk, not the network device */
#define FUZZ_VUS_UP \
	2 /* every connection begins with memory and rings 0 and 1 that run: packed ones, or */
#define FUZZ_VUS_PACKED 4 /* split */

/* The front end's memory: a file, with its names for both sides. */
#define FUZZ_VUS_RAM  (64 * KIB)
#define FUZZ_VUS_GPA  0x100000ULL
#define FUZZ_VUS_USER 0x7f0000000000ULL

/* Where ring `i` lies in it; its areas at 0, 0x400, 0x800. */
#define FUZZ_VUS_RING(i)   (0x1000 + (i)*0x1000)
#define FUZZ_VUS_RING_SIZE 8

struct fuzz_vus_step {
	u8 act;	  /* FUZZ_VUS_... */
	u8 which; /* MESSAGE: the request; else as said there */
	u8 flags; /* MESSAGE: of the header, with the version turned over; FUZZ_VUS_OTHER_SIZE ... */
	u8 unused;
	u32 fds; /* MESSAGE: 8 kinds of descriptors, 4 bits each, up to the first 0 */
	u32 at;
	u16 len; /* bytes behind this */
} __attribute__((packed));

enum {
	FUZZ_VUS_MESSAGE,
	FUZZ_VUS_WRITE, /* the bytes to offset `at` of file `which`: RAM, SEALABLE or RECORD */
	FUZZ_VUS_KICK,	/* eventfd `which` % 2 */
	FUZZ_VUS_RUN,	/* the loop handles what waits */
	FUZZ_VUS_CUT,	/* RAM or RECORD to `at` bytes */
	FUZZ_VUS_RECONNECT,
	FUZZ_VUS_RAW,	/* the bytes as they are, and no more from this front end */
	FUZZ_VUS_OFFER, /* add 1 to the u16 at `at` in RAM: an available index */
	FUZZ_VUS_ACTS
};

/* fuzz_vus_step.flags, beside the protocol's */
#define FUZZ_VUS_OTHER_SIZE 0x80 /* the header says `at` */
#define FUZZ_VUS_MANY_FDS   0x40 /* each descriptor three times */

/* Kinds of descriptors. */
enum {
	FUZZ_FD_NONE,
	FUZZ_FD_RAM,	  /* can be cut short */
	FUZZ_FD_SEALABLE, /* as large; can be sealed against that */
	FUZZ_FD_KICK,	  /* eventfds */
	FUZZ_FD_KICK_1,
	FUZZ_FD_CALL,
	FUZZ_FD_PIPE_OUT,
	FUZZ_FD_PIPE_IN,
	FUZZ_FD_DEV_NULL,
	FUZZ_FD_CHANNEL, /* a socket */
	FUZZ_FD_RECORD,	 /* what GET_INFLIGHT_FD has given */
	FUZZ_FD_SELF,	 /* the front end's end of the connection */
	FUZZ_FD_EPOLL,
	FUZZ_FD_READONLY, /* RAM */
	FUZZ_FD_FOLDER,
	FUZZ_FD_TIMER,
	FUZZ_FDS
};

/* ---- vhost_user ---- */

#define FUZZ_VU_PACKED	1 /* byte 0: packed rings are asked for, */
#define FUZZ_VU_SLOTS	2 /* and memory goes slot by slot */

#define FUZZ_VU_RAM	(64 * KIB)		 /* the guest's, from address 0 on */
#define FUZZ_VU_RING(i) (0x1000ULL + (i)*0x1000) /* as START sets it up: areas at 0, 0x400, 0x800 */

struct fuzz_vu_step {
	u8 act; /* FUZZ_VU_... */
	u8 arg;
	u16 off;
	u64 value;
} __attribute__((packed));

enum {
	/* What the driver does. */
	FUZZ_VU_START, /* all of its initialisation, without the features `value` */
	FUZZ_VU_STATUS,
	FUZZ_VU_QUEUE,	/* area `off` of queue `arg` */
	FUZZ_VU_ENABLE, /* queue `arg` */
	FUZZ_VU_QUEUE_RESET,
	FUZZ_VU_CONFIG, /* 8 bytes at `off` */
	FUZZ_VU_MEMORY, /* 8 bytes at `off` */
	/* And its machine. */
	FUZZ_VU_PAUSE, /* arg & 1: and resume */
	FUZZ_VU_RUN,   /* the loop handles what waits */
	/* What the back end does unasked. */
	FUZZ_VU_HANG_UP,
	FUZZ_VU_DEAF, /* arg & 1: from now on it takes no connection, and hears nothing */
	FUZZ_VU_SAY, /* on its own channel: request `arg`, `off` & 0x3ff bytes, value: flags, descriptors */
	FUZZ_VU_SHUT_UP, /* close that channel */
	FUZZ_VU_ERROR,	 /* signal a broken queue */
	FUZZ_VU_RECORD,	 /* 8 bytes at `off` of the record */
	FUZZ_VU_LOG,	 /* arg & 1: the machine wants written pages marked, or no longer */
	FUZZ_VU_STEPS,

	/* What is wrong with an answer, after arg & 15 more good ones. */
	FUZZ_VU_VALUE = 0x80, /* its bytes from `off` on */
	FUZZ_VU_SIZE,
	FUZZ_VU_REQUEST,
	FUZZ_VU_FLAGS,
	FUZZ_VU_FDS, /* there are value & 15 of kind `off` */
	FUZZ_VU_SILENT,
	FUZZ_VU_CLOSE, /* after the first `off` bytes, which may be none */
	FUZZ_VU_TWICE,
	FUZZ_VU_ANSWERS
};

#endif
