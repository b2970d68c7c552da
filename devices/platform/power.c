// SPDX-License-Identifier: MIT
/*
 * power.c - sleep and reset registers of a hardware-reduced ACPI platform, and the power button.
 *
 * The registers are in power_regs.h, what the guest is told about them in arch/x86_64/acpi.c.
 * A press sets a bit in the events register and holds the interrupt line high until the guest
 * reads, and so clears, the events.
 */
#include "minivmm/bus.h"
#include "minivmm/devices.h"
#include "minivmm/irq.h"
#include "minivmm/power_regs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct power_dev {
	struct device dev;
	struct bus_range range;
	struct irq_line irq;
	struct power *power; /* the machine */

	pthread_mutex_t lock;
	u8 events;
};

static u64 power_read(void *owner, u64 off, u32 len)
{
	struct power_dev *p = owner;
	u8 events;

	(void)len;
	if (off != POWER_REG_EVENTS)
		return 0;
	pthread_mutex_lock(&p->lock);
	events = p->events;
	p->events = 0;
	irq_line_set(&p->irq, false);
	pthread_mutex_unlock(&p->lock);
	return events;
}

static void power_write(void *owner, u64 off, u32 len, u64 value)
{
	struct power_dev *p = owner;

	(void)len;
	value &= 0xff;
	if (off == POWER_REG_SLEEP_CONTROL && (value & POWER_SLEEP_ENABLE) &&
	    ((value >> 2) & 7) == POWER_SLEEP_TYPE_S5)
		p->power->request(p->power, POWER_OFF);
	else if (off == POWER_REG_RESET && value == POWER_RESET_VALUE)
		p->power->request(p->power, POWER_RESET);
}

static const struct bus_ops power_bus_ops = {
	.read = power_read,
	.write = power_write,
};

static void power_reset(struct device *dev)
{
	struct power_dev *p = container_of(dev, struct power_dev, dev);

	pthread_mutex_lock(&p->lock);
	p->events = 0;
	irq_line_set(&p->irq, false);
	pthread_mutex_unlock(&p->lock);
}

static void power_destroy(struct device *dev)
{
	struct power_dev *p = container_of(dev, struct power_dev, dev);

	bus_del(&p->range);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static const struct device_ops power_ops = {
	.name = "power",
	.reset = power_reset,
	.destroy = power_destroy,
};

void power_press_button(struct device *dev)
{
	struct power_dev *p = container_of(dev, struct power_dev, dev);

	pthread_mutex_lock(&p->lock);
	p->events |= POWER_EVENT_BUTTON;
	irq_line_set(&p->irq, true);
	pthread_mutex_unlock(&p->lock);
}

int power_create(struct device **dev, const struct machine_env *env, u64 base, u32 gsi)
{
	struct power_dev *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	p->dev.ops = &power_ops;
	p->power = env->power;
	pthread_mutex_init(&p->lock, NULL);
	irq_line_init(&p->irq, env->irqchip, gsi);
	p->range = (struct bus_range){
		.name = "power",
		.ops = &power_bus_ops,
		.owner = p,
		.base = base,
		.len = POWER_REGS_LEN,
	};
	err = bus_add(env->pio, &p->range);
	if (err) {
		power_destroy(&p->dev);
		return err;
	}
	*dev = &p->dev;
	return 0;
}
