// SPDX-License-Identifier: MIT
/*
 * board_x86_64.c - the PC's devices and where they stand.
 *
 *	ports		GSI	device
 *	0064			i8042 (reset only)
 *	0070-0071		CMOS clock
 *	03F8-03FF	4	COM1, a 16550A
 *	0600-0603	9	power: sleep, reset, button
 *	0CF8-0CFF		PCI configuration
 *	C000-FFFF		PCI BARs
 *			16-19	PCI INTA#
 *			20-23	virtio-mmio transports
 *
 * Memory addresses are in arch/x86_64/layout.h.
 */
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/power_regs.h"
#include "vmm/machine.h"

#include <string.h>

#define COM1_BASE	 0x3f8
#define COM1_GSI	 4
#define RTC_BASE	 0x70
#define RTC_LEN		 2
#define I8042_CMD	 0x64
#define POWER_BASE	 0x600
#define POWER_GSI	 9

#define VIRTIO_MMIO_BASE 0xf0000000
#define VIRTIO_MMIO_GSI	 20

static void describe(struct platform *p, enum platform_kind kind, u64 base, u64 size, u32 gsi)
{
	p->node[p->nnodes++] =
		(struct platform_node){ .kind = kind, .base = base, .size = size, .gsi = gsi };
}

int board_describe(struct machine *m)
{
	struct platform *p = &m->platform;

	describe(p, PLATFORM_UART, COM1_BASE, 8, COM1_GSI);
	describe(p, PLATFORM_RTC, RTC_BASE, RTC_LEN, 0);
	describe(p, PLATFORM_POWER, POWER_BASE, POWER_REGS_LEN, POWER_GSI);
	return machine_describe_virtio(m, VIRTIO_MMIO_BASE, VIRTIO_MMIO_GSI);
}

/* The machine takes the device `d`, if there was no error in making it. */
static int own(struct machine *m, struct device *d, const char *name, int err)
{
	if (err)
		log_err("%s: %s", name, strerror(-err));
	else
		machine_add(m, d);
	return err;
}

int board_build(struct machine *m)
{
	struct device *d = NULL;
	int err;

	err = pci_host_create(&m->pci, &d, &m->env, &m->platform.pci);
	err = own(m, d, "PCI host bridge", err);
	if (err)
		return err;
	err = power_create(&d, &m->env, POWER_BASE, POWER_GSI);
	err = own(m, d, "power", err);
	if (err)
		return err;
	m->power_dev = d;
	err = i8042_create(&d, &m->env, I8042_CMD);
	err = own(m, d, "i8042", err);
	if (err)
		return err;
	err = rtc_create(&d, &m->env, RTC_BASE);
	err = own(m, d, "rtc", err);
	if (err)
		return err;
	if (m->cfg->test_device) {
		err = testdev_create(&d, &m->env, m->pci);
		err = own(m, d, "pci-testdev", err);
		if (err)
			return err;
	}

	err = machine_build_virtio(m);
	if (err)
		return err;

	/* Last: from here on the terminal is raw, and a message above would have been a mess. */
	err = machine_open_stream(m, &m->serial, &m->cfg->serial);
	if (err)
		return err;
	err = uart16550_create(&d, &m->env, COM1_BASE, COM1_GSI, &m->serial);
	return own(m, d, "uart16550", err);
}
