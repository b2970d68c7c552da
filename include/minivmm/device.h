/* SPDX-License-Identifier: MIT */
/*
 * device.h - what every device is, and what a machine offers it.
 *
 * A device embeds a `struct device`; its *_create() function takes a `struct machine_env`, makes
 * the device, puts its registers on the buses and returns the struct device, which the machine
 * owns from then on.
 */
#ifndef MINIVMM_DEVICE_H
#define MINIVMM_DEVICE_H

#include "minivmm/base.h"

struct bus;
struct device;
struct irqchip;
struct loop;
struct mem;

/* What a guest can ask of its machine by way of a device. */
enum power_event {
	POWER_OFF,   /* ACPI S5, PSCI SYSTEM_OFF */
	POWER_RESET, /* keyboard controller, ACPI reset register, PSCI SYSTEM_RESET */
};

struct power {
	/* Any thread, usually a vCPU's in an exit. The caller's vCPU runs no further instruction.
	 */
	void (*request)(struct power *p, enum power_event event);
};

/* The machine as a device sees it. Fixed after creation. */
struct machine_env {
	struct mem *mem;
	struct bus *pio; /* NULL where the architecture has none */
	struct bus *mmio;
	struct irqchip *irqchip;
	struct loop *loop; /* the main loop */
	/* Where queues are served: at least one, the main loop itself if there are no iothreads. */
	struct loop *const *io_loop;
	u32 nio_loops;
	struct power *power;
};

struct device_ops {
	const char *name; /* the kind: "uart16550" */
	/*
	 * Back to the state after creation, as by the machine's reset. No vCPU runs. Afterwards
	 * the device holds no line high, none of its irqs is routed as a message or has anything
	 * pending, and it touches no guest memory. Main loop's thread.
	 */
	void (*reset)(struct device *d);
	/* Free it and all it holds, also half-built. No vCPU runs. */
	void (*destroy)(struct device *d);
};

struct device {
	const struct device_ops *ops;
	struct device *next; /* the machine's list, newest first */
};

#endif
