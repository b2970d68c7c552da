// SPDX-License-Identifier: MIT
/*
 * irq.c - lines, message routes and the eventfds behind them. See irq.h.
 *
 * How it works: KVM names every interrupt by a GSI. 0 to 23 are the wired inputs, from 24 on each
 * message route has one of its own. KVM takes its routing table only as a whole, so the chip keeps
 * the messages of all GSIs and hands over the table whenever one changes.
 *
 * Threads: an irq's lock guards its route and is taken before the chip's, which guards the tables
 * here. Signalling (irq_raise, or anyone's write to the eventfd) takes no lock.
 */
#include "minivmm/irq.h"
#include "minivmm/log.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct irqchip {
	pthread_mutex_t lock; /* guards all below */
	const struct irqchip_ops *ops;
	void *ctx;
	u32 holders[IRQ_LINES]; /* devices that hold the wire high */
	u32 nmsi;
	u32 gsi[IRQ_MSI_MAX];
	struct msi_msg msg[IRQ_MSI_MAX];
};

int irqchip_create(struct irqchip **out)
{
	struct irqchip *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	*out = c;
	return 0;
}

void irqchip_destroy(struct irqchip *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static int routes_changed(struct irqchip *c)
{
	return c->ops ? c->ops->routes(c->ctx, c->gsi, c->msg, c->nmsi) : 0;
}

void irqchip_attach(struct irqchip *c, const struct irqchip_ops *ops, void *ctx)
{
	pthread_mutex_lock(&c->lock);
	c->ops = ops;
	c->ctx = ctx;
	/* What the guest programs next may be what it had before: the new VM must know it too. */
	if (c->nmsi && routes_changed(c) < 0)
		log_err("KVM refuses the interrupt routes of the machine before its reset");
	pthread_mutex_unlock(&c->lock);
}

void irq_line_init(struct irq_line *l, struct irqchip *c, u32 gsi)
{
	*l = (struct irq_line){ .chip = c, .gsi = gsi };
}

void irq_line_set(struct irq_line *l, bool high)
{
	struct irqchip *c = l->chip;
	u32 *holders = &c->holders[l->gsi];

	pthread_mutex_lock(&c->lock);
	if (l->high != high) {
		bool was = *holders > 0;

		l->high = high;
		*holders += high ? 1 : -1;
		if (c->ops && was != (*holders > 0))
			c->ops->line(c->ctx, l->gsi, *holders > 0);
	}
	pthread_mutex_unlock(&c->lock);
}

/* The slot of `gsi` in the table; the chip's lock is held. */
static u32 slot_of(const struct irqchip *c, u32 gsi)
{
	u32 i = 0;

	while (i < c->nmsi && c->gsi[i] != gsi)
		i++;
	return i;
}

static u32 free_gsi(const struct irqchip *c)
{
	u32 gsi = IRQ_LINES;

	while (slot_of(c, gsi) < c->nmsi)
		gsi++;
	return gsi;
}

/* Route `*gsi` (0: a new one) to `msg`. */
static int msi_set(struct irqchip *c, u32 *gsi, const struct msi_msg *msg)
{
	struct msi_msg old = { 0 };
	int err = 0;
	u32 at;

	pthread_mutex_lock(&c->lock);
	at = *gsi ? slot_of(c, *gsi) : c->nmsi;
	if (at == c->nmsi) {
		if (at == IRQ_MSI_MAX) {
			err = -ENOSPC;
			goto out;
		}
		*gsi = free_gsi(c);
		c->gsi[at] = *gsi;
		c->msg[at] = (struct msi_msg){ 0 };
		c->nmsi++;
	} else if (c->msg[at].addr == msg->addr && c->msg[at].data == msg->data) {
		goto out;
	}
	old = c->msg[at];
	c->msg[at] = *msg;
	err = routes_changed(c);
	if (err)
		c->msg[at] = old; /* so that a second try is not taken for no change */
out:
	pthread_mutex_unlock(&c->lock);
	return err;
}

/* Forget the route of `gsi`. KVM's copy goes with the next change: nothing signals it any more. */
static void msi_forget(struct irqchip *c, u32 gsi)
{
	u32 at;

	pthread_mutex_lock(&c->lock);
	at = slot_of(c, gsi);
	if (at < c->nmsi) {
		c->nmsi--;
		c->gsi[at] = c->gsi[c->nmsi];
		c->msg[at] = c->msg[c->nmsi];
	}
	pthread_mutex_unlock(&c->lock);
}

static int msi_listen(struct irqchip *c, u32 gsi, int fd, bool on)
{
	int err = 0;

	pthread_mutex_lock(&c->lock);
	if (c->ops)
		err = c->ops->irqfd(c->ctx, gsi, fd, on);
	pthread_mutex_unlock(&c->lock);
	return err;
}

static bool take_signal(struct irq *irq)
{
	eventfd_t n;

	return eventfd_read(irq->watch.fd, &n) == 0;
}

/* On the loop: somebody signalled an IRQ_NOTIFY irq. */
static void watch_ready(struct loop_fd *lf, u32 events)
{
	struct irq *irq = container_of(lf, struct irq, watch);
	void (*notify)(struct irq * irq) = NULL;

	(void)events;
	pthread_mutex_lock(&irq->lock);
	if (irq->route == IRQ_NOTIFY && take_signal(irq))
		notify = irq->notify;
	pthread_mutex_unlock(&irq->lock);
	if (notify)
		notify(irq); /* unlocked: it may take its device's lock, which is held around
				irq_mask() */
}

int irq_init(struct irq *irq, struct irqchip *c)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	*irq = (struct irq){ .chip = c, .watch = { .fd = fd, .ready = watch_ready } };
	pthread_mutex_init(&irq->lock, NULL);
	return 0;
}

static void watch_gone(void *arg)
{
	struct irq *irq = arg;

	loop_del(irq->loop, &irq->watch);
}

void irq_destroy(struct irq *irq)
{
	if (!irq->chip)
		return;
	irq_mask(irq);
	if (irq->loop) /* an event in hand may still be on its way to watch_ready() */
		loop_call(irq->loop, watch_gone, irq);
	if (irq->gsi)
		msi_forget(irq->chip, irq->gsi);
	close(irq->watch.fd);
	pthread_mutex_destroy(&irq->lock);
	irq->chip = NULL;
}

void irq_raise(struct irq *irq)
{
	eventfd_write(irq->watch.fd, 1);
}

int irq_fd(const struct irq *irq)
{
	return irq->watch.fd;
}

bool irq_pending(struct irq *irq)
{
	struct pollfd p = { .fd = irq->watch.fd, .events = POLLIN };
	bool pending;

	pthread_mutex_lock(&irq->lock);
	pending = irq->route == IRQ_MASKED && poll(&p, 1, 0) == 1;
	pthread_mutex_unlock(&irq->lock);
	return pending;
}

void irq_clear(struct irq *irq)
{
	pthread_mutex_lock(&irq->lock);
	if (irq->route == IRQ_MASKED)
		take_signal(irq);
	pthread_mutex_unlock(&irq->lock);
}

/* The irq's lock is held. */
static void mask_locked(struct irq *irq)
{
	if (irq->route == IRQ_MSI)
		msi_listen(irq->chip, irq->gsi, irq->watch.fd, false);
	else if (irq->route == IRQ_NOTIFY)
		loop_forget(irq->loop, &irq->watch);
	irq->route = IRQ_MASKED;
}

void irq_mask(struct irq *irq)
{
	pthread_mutex_lock(&irq->lock);
	mask_locked(irq);
	pthread_mutex_unlock(&irq->lock);
}

int irq_to_msi(struct irq *irq, const struct msi_msg *msg)
{
	int err;

	pthread_mutex_lock(&irq->lock);
	if (irq->route == IRQ_NOTIFY)
		mask_locked(irq);
	err = msi_set(irq->chip, &irq->gsi, msg);
	if (!err && irq->route == IRQ_MASKED) {
		err = msi_listen(irq->chip, irq->gsi, irq->watch.fd, true);
		if (!err)
			irq->route = IRQ_MSI;
	}
	if (err) {
		if (!irq->complained) /* once: a guest can program nonsense without end */
			log_err("an MSI route: %s", strerror(-err));
		irq->complained = true;
		mask_locked(irq);
	}
	pthread_mutex_unlock(&irq->lock);
	return err;
}

int irq_to_notify(struct irq *irq, struct loop *loop, void (*notify)(struct irq *irq))
{
	int err;

	pthread_mutex_lock(&irq->lock);
	mask_locked(irq);
	irq->loop = loop;
	irq->notify = notify;
	err = loop_add(loop, &irq->watch, EPOLLIN);
	if (!err)
		irq->route = IRQ_NOTIFY;
	pthread_mutex_unlock(&irq->lock);
	return err;
}
