// SPDX-License-Identifier: MIT
/*
 * fuzz_virtio_mmio.c - fuzz target: what a guest can do to virtio devices over MMIO. virtio_guest.h has
 * the input.
 */
#include "tests/fuzz/virtio_guest.h"

#include <linux/virtio_mmio.h>

#define BASE(i)	    (0xd0000000ULL + (i)*VIRTIO_MMIO_SIZE)
#define QUEUE_RESET 0x0c0
#define GSI	    5 /* shared */

static struct guest g;

static int create(struct guest *guest, u32 i)
{
	return virtio_mmio_create(&guest->dev[i], &guest->env, BASE(i), GSI, guest->v[i]);
}

static void begin(struct guest *guest)
{
	(void)guest;
}

static u64 regs(struct guest *guest, u32 i)
{
	(void)guest;
	return BASE(i);
}

static u64 doorbell(struct guest *guest, u32 i, u32 q)
{
	(void)q;
	return regs(guest, i) + VIRTIO_MMIO_QUEUE_NOTIFY;
}

static const struct guest_transport transport = {
	.name = "virtio_mmio",
	.reg = {
		[GUEST_DRIVER_SEL] = { VIRTIO_MMIO_DRIVER_FEATURES_SEL, 4 },
		[GUEST_DRIVER_FEATURES] = { VIRTIO_MMIO_DRIVER_FEATURES, 4 },
		[GUEST_STATUS] = { VIRTIO_MMIO_STATUS, 4 },
		[GUEST_QUEUE_SEL] = { VIRTIO_MMIO_QUEUE_SEL, 4 },
		[GUEST_QUEUE_SIZE] = { VIRTIO_MMIO_QUEUE_NUM, 4 },
		[GUEST_QUEUE_ENABLE] = { VIRTIO_MMIO_QUEUE_READY, 4 },
		[GUEST_QUEUE_RESET] = { QUEUE_RESET, 4 },
		[GUEST_DESC] = { VIRTIO_MMIO_QUEUE_DESC_LOW, 4 },
		[GUEST_DESC + 1] = { VIRTIO_MMIO_QUEUE_DESC_HIGH, 4 },
		[GUEST_DRIVER] = { VIRTIO_MMIO_QUEUE_AVAIL_LOW, 4 },
		[GUEST_DRIVER + 1] = { VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 4 },
		[GUEST_DEVICE] = { VIRTIO_MMIO_QUEUE_USED_LOW, 4 },
		[GUEST_DEVICE + 1] = { VIRTIO_MMIO_QUEUE_USED_HIGH, 4 },
	},
	.create = create,
	.begin = begin,
	.regs = regs,
	.doorbell = doorbell,
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	guest_init(&g, &transport);
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	guest_run(&g, data, size);
	return 0;
}
