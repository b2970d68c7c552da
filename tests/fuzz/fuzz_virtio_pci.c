// SPDX-License-Identifier: MIT
/*
 * fuzz_virtio_pci.c - fuzz target: what a guest can do to virtio devices over PCI. virtio_guest.h has
 * the input; of its own this target has configuration space, so the PCI_CFG window, MSI-X and BARs.
 */
#include "minivmm/bus.h"
#include "minivmm/pci.h"
#include "tests/fuzz/virtio_guest.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>

#define NOTIFY	0x3000 /* transport_pci.c; the seeds' and unit tests' drivers look it up */
#define ECAM	0xe0000000ULL
#define SLOT(i) ((u64)(1 + (i)) << 15)

static struct guest g;
static struct pci_host *host;
static struct device *host_dev;
static const struct pci_map map = {
	.ecam = ECAM,
	.mem32 = 0xc0000000,
	.mem32_size = 512 * MIB,
	.intx_gsi = 16,
};

static int create(struct guest *guest, u32 i)
{
	if (!host)
		must(pci_host_create(&host, &host_dev, &guest->env, &map) == 0);
	return virtio_pci_create(&guest->dev[i], &guest->env, host, guest->v[i]);
}

static u32 config_get(u32 i, u32 reg)
{
	return bus_read(g.env.mmio, ECAM + SLOT(i) + reg, 4);
}

static void begin(struct guest *guest)
{
	host_dev->ops->reset(host_dev);
	must(pci_host_assign(host) == 0);
	for (u32 i = 0; i < GUEST_DEVICES; i++)
		bus_write(guest->env.mmio, ECAM + SLOT(i) + PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static u64 bar(u32 i, u32 n)
{
	return config_get(i, PCI_BASE_ADDRESS_0 + 4 * n) & ~0xfu;
}

static u64 regs(struct guest *guest, u32 i)
{
	(void)guest;
	return bar(i, 0) | (u64)config_get(i, PCI_BASE_ADDRESS_1) << 32;
}

static u64 doorbell(struct guest *guest, u32 i, u32 q)
{
	return regs(guest, i) + NOTIFY + 4 * q;
}

/* Bit 1 of `which`: the MSI-X BAR, or configuration space. */
static u64 own(struct guest *guest, bool write, u32 which, u32 off, u32 len, u64 value)
{
	u64 addr = which & 2 ? bar(which & 1, 2) + off : ECAM + SLOT(which & 1) + off % 256;

	if (!write)
		return bus_read(guest->env.mmio, addr, len);
	bus_write(guest->env.mmio, addr, len, value);
	return 0;
}

static const struct guest_transport transport = {
	.name = "virtio_pci",
	.reg = {
		[GUEST_DRIVER_SEL] = { VIRTIO_PCI_COMMON_GFSELECT, 4 },
		[GUEST_DRIVER_FEATURES] = { VIRTIO_PCI_COMMON_GF, 4 },
		[GUEST_STATUS] = { VIRTIO_PCI_COMMON_STATUS, 1 },
		[GUEST_QUEUE_SEL] = { VIRTIO_PCI_COMMON_Q_SELECT, 2 },
		[GUEST_QUEUE_SIZE] = { VIRTIO_PCI_COMMON_Q_SIZE, 2 },
		[GUEST_QUEUE_ENABLE] = { VIRTIO_PCI_COMMON_Q_ENABLE, 2 },
		[GUEST_QUEUE_RESET] = { VIRTIO_PCI_COMMON_Q_RESET, 2 },
		[GUEST_DESC] = { VIRTIO_PCI_COMMON_Q_DESCLO, 4 },
		[GUEST_DESC + 1] = { VIRTIO_PCI_COMMON_Q_DESCHI, 4 },
		[GUEST_DRIVER] = { VIRTIO_PCI_COMMON_Q_AVAILLO, 4 },
		[GUEST_DRIVER + 1] = { VIRTIO_PCI_COMMON_Q_AVAILHI, 4 },
		[GUEST_DEVICE] = { VIRTIO_PCI_COMMON_Q_USEDLO, 4 },
		[GUEST_DEVICE + 1] = { VIRTIO_PCI_COMMON_Q_USEDHI, 4 },
	},
	.create = create,
	.begin = begin,
	.regs = regs,
	.doorbell = doorbell,
	.own = own,
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
