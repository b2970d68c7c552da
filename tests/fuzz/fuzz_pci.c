// SPDX-License-Identifier: MIT
/*
 * fuzz_pci.c - fuzz target: what a guest can do to the PCI bus. Host bridge and test device, made
 * once; the input is a row of accesses, after which a reset must bring all back.
 *
 * The input, a row of
 *
 *	byte 0	bits 2:0 what (enum act), bits 5:3 size - 1, bits 7:6 count: 1, 1, 2 or 8 times
 *	byte 1	which: slot, BAR or event
 *	2 bytes	offset
 *	8 bytes	value
 *
 * is cut off at its end: what is missing is zero.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/pci.h"
#include "tests/fuzz/fuzz.h"

#include <linux/pci_regs.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STEPS_MAX 64 /* an input longer than this would only be slow */
#define DEV_SLOT  1

enum act {
	ACT_CONFIG_READ,
	ACT_CONFIG_WRITE, /* by CF8h/CFCh */
	ACT_PORT,	  /* any port: an odd use of CF8h, the I/O BAR */
	ACT_ECAM_READ,
	ACT_ECAM_WRITE,
	ACT_BAR_READ,
	ACT_BAR_WRITE, /* of the test device, wherever it is now */
	ACT_EVENT,
};

static struct machine_env env;
static struct pci_host *host;
static struct device *host_dev, *testdev;
static struct pci_map map = {
	.ecam = 0xe0000000,
	.mem32 = 0xc0000000,
	.mem32_size = 512 * MIB,
	.mem64 = 32 * GIB,
	.mem64_size = 32 * GIB,
	.io = 0xc000,
	.io_size = 0x4000,
	.intx_gsi = 16,
};

/* What stands in for KVM. */
static bool level[IRQ_LINES];
static u32 nlisteners;
static unsigned long messages;

static u8 initial[2][PCI_CONFIG_SIZE]; /* configuration spaces after a reset */

static int fuzz_line(void *ctx, u32 gsi, bool on)
{
	(void)ctx;
	must(gsi < IRQ_LINES && level[gsi] != on);
	level[gsi] = on;
	return 0;
}

static int fuzz_routes(void *ctx, const u32 *gsi, const struct msi_msg *msg, u32 n)
{
	(void)ctx;
	(void)msg;
	must(n <= IRQ_MSI_MAX);
	for (u32 i = 0; i < n; i++) {
		must(gsi[i] >= IRQ_LINES);
		for (u32 k = 0; k < i; k++)
			must(gsi[i] != gsi[k]);
	}
	return 0;
}

static int fuzz_irqfd(void *ctx, u32 gsi, int fd, bool on)
{
	eventfd_t n;

	(void)ctx;
	must(gsi >= IRQ_LINES);
	must(on || nlisteners > 0);
	nlisteners += on ? 1 : -1;
	if (eventfd_read(fd, &n) == 0)
		messages++;
	return 0;
}

static const struct irqchip_ops fuzz_irqchip_ops = {
	.line = fuzz_line,
	.routes = fuzz_routes,
	.irqfd = fuzz_irqfd,
};

static void tell(void)
{
	fprintf(stderr, "fuzz_pci: %lu messages sent\n", messages);
}

static u32 config_get(u32 slot, u32 reg, u32 len)
{
	return bus_read(env.mmio, map.ecam + (slot << 15) + reg, len);
}

static void read_config(u32 slot, u8 *config)
{
	for (u32 i = 0; i < PCI_CONFIG_SIZE; i += 4) {
		u32 value = config_get(slot, i, 4);

		memcpy(config + i, &value, 4);
	}
}

static void reset(void)
{
	testdev->ops->reset(testdev);
	host_dev->ops->reset(host_dev);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	must(bus_create(&env.pio, BUS_PIO) == 0);
	must(bus_create(&env.mmio, BUS_MMIO) == 0);
	must(irqchip_create(&env.irqchip) == 0);
	must(loop_create(&env.loop) == 0);
	irqchip_attach(env.irqchip, &fuzz_irqchip_ops, NULL);
	must(pci_host_create(&host, &host_dev, &env, &map) == 0);
	must(testdev_create(&testdev, &env, host) == 0);
	for (u32 slot = 0; slot < 2; slot++)
		read_config(slot, initial[slot]);
	atexit(tell);
	return 0;
}

/* Where the test device's BAR `i` is. */
static u64 bar_addr(u32 i)
{
	u32 low = config_get(DEV_SLOT, PCI_BASE_ADDRESS_0 + 4 * i, 4);

	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return low & PCI_BASE_ADDRESS_IO_MASK;
	if (low & PCI_BASE_ADDRESS_MEM_TYPE_64)
		return (low & ~0xfu) | (u64)config_get(DEV_SLOT, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4)
					       << 32;
	return low & ~0xfu;
}

static struct bus *bar_bus(u32 i)
{
	return i == 1 ? env.pio : env.mmio;
}

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(env.loop);
}

/* Let the main loop handle one batch of what waits. */
static void run_loop(void)
{
	struct loop_fd lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };

	must(loop_add(env.loop, &lf, EPOLLIN) == 0);
	loop_run(env.loop);
	loop_del(env.loop, &lf);
	close(lf.fd);
}

static void event(u32 which)
{
	switch (which % 4) {
	case 0:
		reset();
		break;
	case 1:
		must(pci_host_assign(host) == 0);
		break;
	case 2:
		run_loop();
		break;
	case 3: /* decode everything */
		bus_write(env.mmio, map.ecam + (DEV_SLOT << 15) + PCI_COMMAND, 2, 7);
		break;
	}
}

struct step {
	u8 head, which;
	u16 off;
	u64 value;
} __attribute__((packed));

static void act(const struct step *s, u64 off)
{
	u32 len = ((s->head >> 3) & 7) + 1;
	u64 mask = bytes_mask(len), value = 0;

	switch (s->head & 7) {
	case ACT_CONFIG_READ:
	case ACT_CONFIG_WRITE:
		bus_write(env.pio, 0xcf8, 4, 1u << 31 | (s->which & 3) << 11 | (off & 0xfc));
		if ((s->head & 7) == ACT_CONFIG_READ)
			value = bus_read(env.pio, 0xcfc + (off & 3), len);
		else
			bus_write(env.pio, 0xcfc + (off & 3), len, s->value);
		break;
	case ACT_PORT:
		if (s->which & 1)
			value = bus_read(env.pio, off & 0xffff, len);
		else
			bus_write(env.pio, off & 0xffff, len, s->value);
		break;
	case ACT_ECAM_READ:
		value = bus_read(env.mmio, map.ecam + ((u64)s->which << 12) + off, len);
		break;
	case ACT_ECAM_WRITE:
		bus_write(env.mmio, map.ecam + ((u64)s->which << 12) + off, len, s->value);
		break;
	case ACT_BAR_READ:
		value = bus_read(bar_bus(s->which % 6), bar_addr(s->which % 6) + off, len);
		break;
	case ACT_BAR_WRITE:
		bus_write(bar_bus(s->which % 6), bar_addr(s->which % 6) + off, len, s->value);
		break;
	case ACT_EVENT:
		event(s->which);
		break;
	}
	must((value & ~mask) == 0);
}

/* After a reset nothing of what the guest did is left. */
static void check_reset(void)
{
	u8 config[PCI_CONFIG_SIZE];
	u64 bar[6];

	for (u32 i = 0; i < 6; i++)
		bar[i] = bar_addr(i);
	reset();
	run_loop(); /* what was on its way must not arrive now */
	must(nlisteners == 0);
	for (u32 i = 0; i < IRQ_LINES; i++)
		must(!level[i]);
	for (u32 slot = 0; slot < 2; slot++) {
		read_config(slot, config);
		must(memcmp(config, initial[slot], sizeof(config)) == 0);
	}
	for (u32 i = 0; i < 6; i++) {
		if (!range_inside(bar[i], 8, map.ecam, 1 * MIB) && bar_bus(i) == env.mmio)
			must(bus_read(env.mmio, bar[i], 8) == ~0ULL);
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 counts[4] = { 1, 1, 2, 8 };

	must(pci_host_assign(host) == 0);
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		for (u32 i = 0; i < counts[s.head >> 6]; i++)
			act(&s, s.off + i);
	}
	check_reset();
	return 0;
}
