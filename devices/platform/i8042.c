// SPDX-License-Identifier: MIT
/*
 * i8042.c - the keyboard controller's command port, for the one command that a machine without a
 * keyboard needs: FEh pulses the processor's reset line.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"

#include <errno.h>
#include <stdlib.h>

#define CMD_PULSE_RESET 0xfe

struct i8042 {
	struct device dev;
	struct bus_range range;
	struct power *power;
};

/* Status: nothing to read, ready for a command. */
static u64 i8042_read(void *owner, u64 off, u32 len)
{
	(void)owner;
	(void)off;
	(void)len;
	return 0;
}

static void i8042_write(void *owner, u64 off, u32 len, u64 value)
{
	struct i8042 *k = owner;

	(void)off;
	(void)len;
	if ((value & 0xff) == CMD_PULSE_RESET)
		k->power->request(k->power, POWER_RESET);
}

static const struct bus_ops i8042_bus_ops = {
	.read = i8042_read,
	.write = i8042_write,
};

static void i8042_reset(struct device *dev)
{
	(void)dev; /* it has no state */
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *k = container_of(dev, struct i8042, dev);

	bus_del(&k->range);
	free(k);
}

static const struct device_ops i8042_ops = {
	.name = "i8042",
	.reset = i8042_reset,
	.destroy = i8042_destroy,
};

int i8042_create(struct device **dev, const struct machine_env *env, u64 base)
{
	struct i8042 *k = calloc(1, sizeof(*k));
	int err;

	if (!k)
		return -ENOMEM;
	k->dev.ops = &i8042_ops;
	k->power = env->power;
	k->range = (struct bus_range){
		.name = "i8042", .ops = &i8042_bus_ops, .owner = k, .base = base, .len = 1
	};
	err = bus_add(env->pio, &k->range);
	if (err) {
		i8042_destroy(&k->dev);
		return err;
	}
	*dev = &k->dev;
	return 0;
}
