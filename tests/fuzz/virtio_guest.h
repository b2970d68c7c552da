/* SPDX-License-Identifier: MIT */
/*
 * virtio_guest.h - what the fuzz targets of the virtio transports share: a hostile guest, with its
 * memory and its steps from the input, on a machine with two devices, echo and rng.
 *
 * The input: a head, memory from address 0 on, and a row of steps, cut off at its end:
 *
 *	head	byte 0  bit 0: packed rings are offered
 *		2 bytes bytes of memory that follow
 *	step	byte 0	bits 3:0 what (enum virtio_act), bits 5:4 log2 of the size, bits 7:6 count: 1, 1,
 *			2 or 8 times
 *		byte 1	which: device (bit 0), queue (bits 3:1), event
 *		2 bytes	offset, 8 bytes value
 */
#ifndef TESTS_FUZZ_VIRTIO_GUEST_H
#define TESTS_FUZZ_VIRTIO_GUEST_H

#include "minivmm/devices.h"
#include "minivmm/mem.h"
#include "minivmm/virtio.h"
#include "tests/fuzz/fuzz.h"

#define GUEST_RAM     (64 * KIB)
#define GUEST_DEVICES 2 /* echo, rng */

struct guest_step {
	u8 head, which;
	u16 off;
	u64 value;
} __attribute__((packed));

enum virtio_act {
	VIRTIO_ACT_READ,
	VIRTIO_ACT_WRITE,
	VIRTIO_ACT_MEMORY, /* write to guest memory */
	VIRTIO_ACT_START,  /* all of the initialisation, with a ring at `offset` */
	VIRTIO_ACT_KICK,
	VIRTIO_ACT_EVENT,
	VIRTIO_ACT_OWN_READ, /* the target's own */
	VIRTIO_ACT_OWN_WRITE,
};

enum virtio_event {
	VIRTIO_EVENT_RUN,     /* the loop handles what waits */
	VIRTIO_EVENT_HOLD,    /* echo keeps chains from now on */
	VIRTIO_EVENT_RELEASE, /* echo answers them */
	VIRTIO_EVENT_CONFIG,  /* its configuration changes */
	VIRTIO_EVENT_PAUSE,   /* the rings are taken over, and back */
	VIRTIO_EVENT_QUEUE_RESET,
	VIRTIO_EVENT_RESET, /* of the machine */
	VIRTIO_EVENTS,
};

/* A register that both transports have. */
enum guest_reg {
	GUEST_DRIVER_SEL,
	GUEST_DRIVER_FEATURES,
	GUEST_STATUS,
	GUEST_QUEUE_SEL,
	GUEST_QUEUE_SIZE,
	GUEST_QUEUE_ENABLE,
	GUEST_QUEUE_RESET,
	GUEST_DESC,
	GUEST_DRIVER = GUEST_DESC + 2, /* each area has a low and a high half */
	GUEST_DEVICE = GUEST_DRIVER + 2,
	GUEST_REGS = GUEST_DEVICE + 2,
};

struct guest;

struct guest_transport {
	const char *name; /* of the target */
	struct {
		u32 off, len;
	} reg[GUEST_REGS];
	int (*create)(struct guest *g, u32 i);
	/* Before an input; after a reset of the machine. */
	void (*begin)(struct guest *g);
	/* Where the registers of device `i` are; the queue's doorbell. */
	u64 (*regs)(struct guest *g, u32 i);
	u64 (*doorbell)(struct guest *g, u32 i, u32 q);
	/* VIRTIO_ACT_OWN_*, for a write `value` is what to write. NULL: nothing of its own. */
	u64 (*own)(struct guest *g, bool write, u32 which, u32 off, u32 len, u64 value);
};

struct guest {
	const struct guest_transport *transport;
	struct machine_env env;
	struct mem mem;
	u8 *ram;
	struct virtio_dev *v[GUEST_DEVICES];
	struct device *dev[GUEST_DEVICES];
	u64 offered[GUEST_DEVICES];  /* with packed rings */
	u64 chains;		     /* of the inputs, echoed or filled */
	u64 inputs, started, served; /* how many; had a queue running at their end; had chains */
};

/* Also has the totals told at the process's end. One guest a process. */
void guest_init(struct guest *g, const struct guest_transport *transport);
void guest_run(struct guest *g, const u8 *data, size_t size);

#endif
