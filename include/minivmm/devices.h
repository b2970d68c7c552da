/* SPDX-License-Identifier: MIT */
/*
 * devices.h - how each kind of device is made. Only the machine (vmm/machine.c and the boards)
 * includes this file.
 *
 * Each function makes the device, puts its registers on the buses of `env`, which outlives it, and
 * returns 0 and the device in *dev, or -errno, which the caller reports.
 */
#ifndef MINIVMM_DEVICES_H
#define MINIVMM_DEVICES_H

#include "minivmm/device.h"

struct pci_host;
struct stream;

/* A 16550A at ports [base, base + 8), interrupt at `gsi`, talking to `stream`, which the caller
 * keeps and closes after the device is gone. */
int uart16550_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi,
		     struct stream *stream);

/* An MC146818 clock and CMOS RAM at ports [base, base + 2). */
int rtc_create(struct device **dev, const struct machine_env *env, u64 base);

/* The keyboard controller, of which a PC needs the reset line: port `base`. */
int i8042_create(struct device **dev, const struct machine_env *env, u64 base);

/* Sleep, reset and the power button (power_regs.h) at ports [base, base + POWER_REGS_LEN). */
int power_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi);

/* Press the button. Any thread. */
void power_press_button(struct device *dev);

/* The PCI test device (testdev_regs.h) in the first free slot. */
int testdev_create(struct device **dev, const struct machine_env *env, struct pci_host *host);

#endif
