// SPDX-License-Identifier: MIT
/*
 * testdev.c - the PCI test device: every mechanism of the bus, and nothing else.
 *
 * It is the smallest complete PCI device here and the one to read first: registers in memory, in
 * ports and above 4 GiB, interrupt sources by MSI-X and by INTA#, and a doorbell that goes from
 * the guest to the device's loop by an ioeventfd, and back by an irqfd. testdev_regs.h has the
 * registers; the bare-metal guests in guests/ use them to prove all this.
 *
 * Threads: vCPUs call the register ops; the doorbell is counted on the main loop.
 */
#include "minivmm/devices.h"
#include "minivmm/pci.h"
#include "minivmm/testdev_regs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct testdev {
	struct device dev;
	struct pci_dev pci;
	struct loop_fd bell;

	pthread_mutex_t lock; /* guards all below */
	u32 scratch, io_scratch;
	u32 rings;
	u32 bell_raises;
	bool intx;
};

static void set_intx(struct testdev *t, bool high)
{
	pthread_mutex_lock(&t->lock);
	t->intx = high;
	pci_intx_set(&t->pci, high); /* under the lock: register and pin must not come apart */
	pthread_mutex_unlock(&t->lock);
}

/* A source was signalled and MSI-X is off: it comes out at the pin. Main loop's thread. */
static void testdev_intx(struct pci_dev *d, u32 src)
{
	(void)src;
	set_intx(container_of(d, struct testdev, pci), true);
}

/* The guest rang. Main loop's thread. */
static void bell_ready(struct loop_fd *lf, u32 events)
{
	struct testdev *t = container_of(lf, struct testdev, bell);
	u32 raises;
	eventfd_t n;

	(void)events;
	if (eventfd_read(lf->fd, &n) < 0)
		return;
	pthread_mutex_lock(&t->lock);
	t->rings++;
	raises = t->bell_raises;
	pthread_mutex_unlock(&t->lock);
	if (raises)
		irq_raise(pci_irq(&t->pci, raises - 1));
}

/* Bytes [off % 4, + len) of a 32-bit register. An access that leaves it reads zero, writes not. */
static u64 reg_get(u32 reg, u64 off, u32 len)
{
	return off % 4 + len > 4 ? 0 : reg >> (8 * (off % 4));
}

static void reg_put(u32 *reg, u64 off, u32 len, u64 value)
{
	u32 shift = 8 * (off % 4);
	u32 mask = (u32)bytes_mask(len) << shift;

	if (off % 4 + len <= 4)
		*reg = (*reg & ~mask) | ((u32)value << shift & mask);
}

static u64 regs_read(void *owner, u64 off, u32 len)
{
	struct testdev *t = owner;
	u32 reg = 0;

	pthread_mutex_lock(&t->lock);
	switch (ALIGN_DOWN(off, 4)) {
	case TESTDEV_MAGIC:
		reg = TESTDEV_MAGIC_VALUE;
		break;
	case TESTDEV_SCRATCH:
		reg = t->scratch;
		break;
	case TESTDEV_INTX:
		reg = t->intx;
		break;
	case TESTDEV_RINGS:
		reg = t->rings;
		break;
	case TESTDEV_BELL_RAISES:
		reg = t->bell_raises;
		break;
	}
	pthread_mutex_unlock(&t->lock);
	return reg_get(reg, off, len);
}

static void regs_write(void *owner, u64 off, u32 len, u64 value)
{
	struct testdev *t = owner;

	switch (off) {
	case TESTDEV_RAISE:
		if (value < TESTDEV_SOURCES)
			irq_raise(pci_irq(&t->pci, value));
		return;
	case TESTDEV_INTX:
		set_intx(t, value & 1);
		return;
	case TESTDEV_BELL_RAISES:
		pthread_mutex_lock(&t->lock);
		t->bell_raises = value <= TESTDEV_SOURCES ? value : 0;
		pthread_mutex_unlock(&t->lock);
		return;
	}
	if (ALIGN_DOWN(off, 4) == TESTDEV_SCRATCH) {
		pthread_mutex_lock(&t->lock);
		reg_put(&t->scratch, off, len, value);
		pthread_mutex_unlock(&t->lock);
	}
}

static const struct bus_ops regs_ops = {
	.read = regs_read,
	.write = regs_write,
};

static u64 ports_read(void *owner, u64 off, u32 len)
{
	struct testdev *t = owner;
	u32 reg;

	pthread_mutex_lock(&t->lock);
	reg = off < 4 ? t->io_scratch : off < 8 ? TESTDEV_MAGIC_VALUE : 0;
	pthread_mutex_unlock(&t->lock);
	return reg_get(reg, off, len);
}

static void ports_write(void *owner, u64 off, u32 len, u64 value)
{
	struct testdev *t = owner;

	if (off >= 4)
		return;
	pthread_mutex_lock(&t->lock);
	reg_put(&t->io_scratch, off, len, value);
	pthread_mutex_unlock(&t->lock);
}

static const struct bus_ops ports_ops = {
	.read = ports_read,
	.write = ports_write,
};

static u64 offsets_read(void *owner, u64 off, u32 len)
{
	(void)owner;
	return len >= 4 && off % len == 0 ? off : 0;
}

static void offsets_write(void *owner, u64 off, u32 len, u64 value)
{
	(void)owner;
	(void)off;
	(void)len;
	(void)value;
}

static const struct bus_ops offsets_ops = {
	.read = offsets_read,
	.write = offsets_write,
};

static void testdev_reset(struct device *dev)
{
	struct testdev *t = container_of(dev, struct testdev, dev);
	eventfd_t n;

	pci_dev_reset(&t->pci);
	eventfd_read(t->bell.fd, &n);
	t->scratch = t->io_scratch = t->rings = t->bell_raises = 0;
	t->intx = false;
}

static void testdev_destroy(struct device *dev)
{
	struct testdev *t = container_of(dev, struct testdev, dev);

	pci_dev_destroy(&t->pci);
	if (t->bell.fd >= 0) {
		loop_del(t->pci.env->loop, &t->bell);
		close(t->bell.fd);
	}
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static const struct device_ops testdev_ops = {
	.name = "pci-testdev",
	.reset = testdev_reset,
	.destroy = testdev_destroy,
};

static const struct pci_ops testdev_pci_ops = {
	.intx = testdev_intx,
};

static const struct pci_id testdev_id = {
	.vendor = TESTDEV_VENDOR,
	.device = TESTDEV_DEVICE,
	.subvendor = TESTDEV_VENDOR,
	.subdevice = TESTDEV_DEVICE,
	.class = 0xff0000, /* unassigned */
};

static int build(struct testdev *t, const struct machine_env *env, struct pci_host *host)
{
	const struct bus_doorbell bell = { .off = TESTDEV_DOORBELL, .fd = t->bell.fd };
	int err;

	if (t->bell.fd < 0)
		return -EMFILE;
	pci_bar_init(&t->pci, 0, 4 * KIB, PCI_BAR_MEM32, &regs_ops, t);
	pci_bar_init(&t->pci, 1, 16, PCI_BAR_IO, &ports_ops, t);
	pci_bar_init(&t->pci, 2, 64 * KIB, PCI_BAR_MEM64, &offsets_ops, t);
	err = bus_doorbell_add(&t->pci.bar[0].range, &bell);
	if (!err)
		err = pci_irqs_init(&t->pci, TESTDEV_SOURCES, 4);
	if (!err)
		err = loop_add(env->loop, &t->bell, EPOLLIN);
	if (!err)
		err = pci_attach(host, &t->pci, 1);
	return err;
}

int testdev_create(struct device **dev, const struct machine_env *env, struct pci_host *host)
{
	struct testdev *t = calloc(1, sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->dev.ops = &testdev_ops;
	pthread_mutex_init(&t->lock, NULL);
	t->bell = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				    .ready = bell_ready };
	pci_dev_init(&t->pci, "pci-testdev", env, &testdev_id, &testdev_pci_ops);
	err = build(t, env, host);
	if (err) {
		testdev_destroy(&t->dev);
		return err;
	}
	*dev = &t->dev;
	return 0;
}
