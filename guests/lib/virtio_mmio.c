// SPDX-License-Identifier: MIT
/*
 * virtio_mmio.c - virtio over MMIO (VIRTIO 1.2, 4.2), driver's side.
 *
 * How it works: a device is 512 bytes of registers of 32 bits, the last 256 of which are its
 * configuration space, and one wired interrupt. Nothing on a bus announces it: Linux learns of it
 * from ACPI's DSDT, whose program we can't run, so we look where minivmm has such devices, one
 * behind the other (arch/x86_64/layout.h).
 */
#include "virtio.h"

#include <linux/virtio_mmio.h>

#define TRANSPORT(n)	 (0xf0000000 + 0x1000 * (u64)(n))
#define TRANSPORT_GSI(n) (20 + (n) % 4)
#define TRANSPORTS	 32

#define MAGIC		 0x74726976 /* "virt" */
#define QUEUE_RESET	 0x0c0	    /* not in older linux/virtio_mmio.h */

static u32 read(struct virtio *v, u32 reg)
{
	return mmio_read32(v->regs + reg);
}

static void write(struct virtio *v, u32 reg, u32 value)
{
	mmio_write32(v->regs + reg, value);
}

static void write_address(struct virtio *v, u32 low_reg, const void *p)
{
	write(v, low_reg, (u64)p);
	write(v, low_reg + 4, (u64)p >> 32);
}

/* Device ID 0 is a place without a device (4.2.2.2). */
static int probe(struct virtio *v, u32 n)
{
	if (n == TRANSPORTS)
		return -1;
	v->regs = TRANSPORT(n);
	if (read(v, VIRTIO_MMIO_MAGIC_VALUE) != MAGIC)
		return -1;
	if (read(v, VIRTIO_MMIO_VERSION) != 2 || read(v, VIRTIO_MMIO_DEVICE_ID) == 0)
		return 0;
	v->id = read(v, VIRTIO_MMIO_DEVICE_ID);
	v->gsi = TRANSPORT_GSI(n);
	return 1;
}

static void open(struct virtio *v)
{
	v->config = v->regs + VIRTIO_MMIO_CONFIG;
	v->trigger = LEVEL_HIGH;
}

/* There is one wire, and nothing to choose. */
static void irq_setup(struct virtio *v)
{
	(void)v;
}

static u32 status(struct virtio *v)
{
	return read(v, VIRTIO_MMIO_STATUS);
}

static void status_set(struct virtio *v, u32 status)
{
	write(v, VIRTIO_MMIO_STATUS, status);
}

static u32 features(struct virtio *v, u32 half)
{
	write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
	return read(v, VIRTIO_MMIO_DEVICE_FEATURES);
}

static void features_set(struct virtio *v, u32 half, u32 bits)
{
	write(v, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
	write(v, VIRTIO_MMIO_DRIVER_FEATURES, bits);
}

static u32 generation(struct virtio *v)
{
	return read(v, VIRTIO_MMIO_CONFIG_GENERATION);
}

static u32 queue_max(struct virtio *v, u32 i)
{
	write(v, VIRTIO_MMIO_QUEUE_SEL, i);
	return read(v, VIRTIO_MMIO_QUEUE_NUM_MAX);
}

static bool queue_enable(struct virtio *v, struct virtq *q)
{
	write(v, VIRTIO_MMIO_QUEUE_SEL, q->index);
	write(v, VIRTIO_MMIO_QUEUE_NUM, q->size);
	write_address(v, VIRTIO_MMIO_QUEUE_DESC_LOW, q->desc);
	write_address(v, VIRTIO_MMIO_QUEUE_AVAIL_LOW, q->driver);
	write_address(v, VIRTIO_MMIO_QUEUE_USED_LOW, q->device);
	write(v, VIRTIO_MMIO_QUEUE_READY, 1);
	return read(v, VIRTIO_MMIO_QUEUE_READY) == 1;
}

/* 4.2.2.2: it reads 1 until the device is done. */
static void queue_reset(struct virtio *v, u32 i)
{
	write(v, VIRTIO_MMIO_QUEUE_SEL, i);
	write(v, QUEUE_RESET, 1);
	while (read(v, QUEUE_RESET))
		cpu_relax();
}

static void kick(struct virtio *v, struct virtq *q)
{
	write(v, VIRTIO_MMIO_QUEUE_NOTIFY, q->index);
}

/* Acknowledged before the rings are looked at: what comes later interrupts again. */
static u32 irq_reason(struct virtio *v)
{
	u32 reason = read(v, VIRTIO_MMIO_INTERRUPT_STATUS);

	write(v, VIRTIO_MMIO_INTERRUPT_ACK, reason);
	return reason;
}

const struct virtio_transport virtio_mmio = {
	.name = "mmio",
	.probe = probe,
	.open = open,
	.irq_setup = irq_setup,
	.status = status,
	.status_set = status_set,
	.features = features,
	.features_set = features_set,
	.generation = generation,
	.queue_max = queue_max,
	.queue_enable = queue_enable,
	.queue_reset = queue_reset,
	.kick = kick,
	.irq_reason = irq_reason,
};
