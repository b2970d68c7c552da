/* SPDX-License-Identifier: MIT */
/*
 * irq.h - interrupts, from whoever has one to the guest's interrupt controller.
 *
 * Two things a device can hold:
 *
 *  - an `irq_line`: a wire to the interrupt controller, high or low, which several devices may
 *    share (the wire is high while any of them holds it high). UART, INTx pins.
 *
 *  - an `irq`: one event source, signalled by writing an eventfd, which is the same for the
 *    device's whole life. The kernel's vhost worker or another process can signal it as well as
 *    we. What a signal does is the irq's *route*:
 *
 *	route		who listens to the eventfd	a signal
 *	IRQ_MASKED	nobody				stays in the eventfd: that is the pending
 *bit IRQ_MSI		KVM (irqfd)			is a message (addr, data), sent by the
 *kernel IRQ_NOTIFY	our event loop			calls notify(), which e.g. raises a line
 *
 *    Going from IRQ_MASKED to any other route delivers what is pending. So MSI-X masking (PCI
 *    Local Bus 3.0, 6.8.2) needs no bookkeeping: the pending bit cannot get lost or be doubled.
 *
 * The `irqchip` stands between these and KVM: it numbers the message routes (GSIs) and knows which
 * irqs listen where, so that a reset machine's new VM can take over the same irqs.
 */
#ifndef MINIVMM_IRQ_H
#define MINIVMM_IRQ_H

#include "minivmm/base.h"
#include "minivmm/loop.h"

#include <pthread.h>

struct irqchip;

/* An MSI message as the guest programmed it. */
struct msi_msg {
	u64 addr;
	u32 data;
};

/* What carries interrupts into the guest: KVM, or a test. Each returns 0 or -errno. */
struct irqchip_ops {
	/* Drive the interrupt controller's input `gsi`. Any thread. */
	int (*line)(void *ctx, u32 gsi, bool level);
	/* Make the message routes `gsi[i]` -> `msg[i]` the ones in force, all at once. */
	int (*routes)(void *ctx, const u32 *gsi, const struct msi_msg *msg, u32 n);
	/* Let a signal of eventfd `fd` send the message of `gsi` from now on, or no longer. A
	 * signal already in the eventfd is sent at once; one that comes after "no longer" stays in
	 * it. */
	int (*irqfd)(void *ctx, u32 gsi, int fd, bool on);
};

#define IRQ_LINES   24 /* wired inputs: GSI 0 to 23 */
#define IRQ_MSI_MAX 1024

/* Make an interrupt chip with nothing behind it yet. Returns 0 or -ENOMEM. */
int irqchip_create(struct irqchip **out);
void irqchip_destroy(struct irqchip *c);

/*
 * Attach to `ops` (NULL: detach). No irq may be routed as a message and no line be high: this is
 * the moment between two lives of the machine, when all devices have been reset.
 */
void irqchip_attach(struct irqchip *c, const struct irqchip_ops *ops, void *ctx);

/* One device's hold on a wire. Any thread may set it. */
struct irq_line {
	struct irqchip *chip;
	u32 gsi;
	bool high; /* this device's level; the chip's lock guards it */
};

/* `gsi` is below IRQ_LINES. */
void irq_line_init(struct irq_line *l, struct irqchip *c, u32 gsi);

/* Hold the wire high, or let go of it. */
void irq_line_set(struct irq_line *l, bool high);

enum irq_route { IRQ_MASKED, IRQ_MSI, IRQ_NOTIFY };

struct irq {
	struct irqchip *chip; /* fixed after irq_init */
	pthread_mutex_t lock; /* guards the route and what belongs to it */
	enum irq_route route;
	bool complained; /* a refused message has been logged */
	u32 gsi;	 /* of the message, 0 while there is none */
	struct loop *loop;
	struct loop_fd watch; /* .fd is the eventfd */
	void (*notify)(struct irq *irq);
};

/* A masked irq with a new eventfd. Returns 0 or -errno. */
int irq_init(struct irq *irq, struct irqchip *c);

/* Mask it and close its eventfd. Harmless on one that irq_init() refused or that is zeroed. */
void irq_destroy(struct irq *irq);

/* Signal it. Any thread. */
void irq_raise(struct irq *irq);

/* Its eventfd, fixed for the irq's life: for whoever signals it in our place. */
int irq_fd(const struct irq *irq);

/* Is a signal waiting for the mask to go? Always false but when masked. */
bool irq_pending(struct irq *irq);

/* Drop what is pending: the device was reset. Only when masked. */
void irq_clear(struct irq *irq);

/* Set the route. What is pending goes to the new one. Each returns 0 or -errno, and then the irq is
 * masked. `notify` runs on the loop's thread. */
void irq_mask(struct irq *irq);
int irq_to_msi(struct irq *irq, const struct msi_msg *msg);
int irq_to_notify(struct irq *irq, struct loop *loop, void (*notify)(struct irq *irq));

#endif
