/* SPDX-License-Identifier: MIT */
/*
 * pci.h - the PCI host bridge and what a PCI device builds on.
 *
 * One bus, 32 slots, one function each, as in the PCI Local Bus Specification 3.0; configuration
 * space is reached by CF8h/CFCh (3.2.2.3.2) and by ECAM (PCI Express Base Specification, 7.2.2).
 *
 * A device embeds a `struct pci_dev`. In its create function it calls, in this order,
 *
 *	pci_dev_init()			ids, class, ops
 *	pci_bar_init()			for each BAR: size, kind, register ops
 *	pci_cap_add()			for each capability of its own
 *	pci_irqs_init()			how many interrupt sources, and where the MSI-X table stands
 *	pci_attach()			on the bus
 *
 * and in its reset and destroy ops pci_dev_reset() and pci_dev_destroy().
 *
 * Interrupts: a device has `n` sources, each a `struct irq` with an eventfd fixed for life. With
 * MSI-X on, source i is sent by the vector it is bound to (at first vector i); masking and the
 * pending bits are solved by the irq's route (irq.h). With MSI-X off, a signal arrives in the
 * device's intx() op, which sets whatever status bit the device has and pulls the INTx pin.
 *
 * Threads: vCPUs access configuration space and BARs at any time. The host bridge's lock guards the
 * configuration spaces and MSI-X tables; the ops run without it.
 */
#ifndef MINIVMM_PCI_H
#define MINIVMM_PCI_H

#include "minivmm/bus.h"
#include "minivmm/device.h"
#include "minivmm/irq.h"

#define PCI_SLOTS	32
#define PCI_BARS	6
#define PCI_CONFIG_SIZE 256
#define PCI_NO_VECTOR	0xffff

struct pci_host;
struct pci_dev;

enum pci_bar_kind {
	PCI_BAR_MEM32,
	PCI_BAR_MEM64, /* takes this BAR and the next */
	PCI_BAR_IO,
};

struct pci_bar {
	u64 size; /* bytes, a power of two; 0: no such BAR */
	enum pci_bar_kind kind;
	struct bus_range range; /* .bus is set while the guest has it decoded */
};

/* Optional hooks, called without the host's lock. */
struct pci_ops {
	/* The guest is about to read [off, off + len) of configuration space. */
	void (*config_read)(struct pci_dev *d, u32 off, u32 len);
	/* The guest has written there; what is writable has been taken over. */
	void (*config_written)(struct pci_dev *d, u32 off, u32 len);
	/* Source `src` was signalled and MSI-X is off. Main loop's thread. */
	void (*intx)(struct pci_dev *d, u32 src);
};

struct pci_source {
	struct irq irq;
	struct pci_dev *dev;
	u32 vector; /* or PCI_NO_VECTOR */
};

struct pci_dev {
	const char *name;
	const struct pci_ops *ops;
	const struct machine_env *env;
	struct pci_host *host;
	u32 slot;

	/* Under the host's lock. */
	u8 config[PCI_CONFIG_SIZE];
	u8 writable[PCI_CONFIG_SIZE]; /* the bits that the guest can write */
	u8 initial[PCI_CONFIG_SIZE];  /* what reset returns to */
	struct pci_bar bar[PCI_BARS];
	u32 cap_end; /* first free byte for a capability */
	u32 last_cap;

	struct irq_line pin; /* INTA# */
	bool intx_high;	     /* the device asserts INTx; what reaches the pin is filtered */

	u32 nsources;
	struct pci_source *source;
	u32 msix_cap; /* offset of the capability, 0: none */
	u32 nvectors;
	struct msix_entry *msix; /* the table, nvectors long */
	u32 msix_bar;
};

/* The class code as in the header: base class << 16 | sub-class << 8 | interface. */
struct pci_id {
	u16 vendor, device, subvendor, subdevice;
	u32 class;
	u8 revision;
};

/* Begin a device: all zero but the ids. `ops` and `env` outlive it; ops may be NULL. */
void pci_dev_init(struct pci_dev *d, const char *name, const struct machine_env *env,
		  const struct pci_id *id, const struct pci_ops *ops);

/* BAR `i`: `size` a power of two, at least 16 bytes. `ops` get `owner`. */
void pci_bar_init(struct pci_dev *d, u32 i, u64 size, enum pci_bar_kind kind,
		  const struct bus_ops *ops, void *owner);

/*
 * Add a capability of `len` bytes (with its 2-byte header) to the list. Returns its offset; the
 * caller fills d->config and d->writable behind the header. Running out of room is our own bug.
 */
u32 pci_cap_add(struct pci_dev *d, u8 id, u32 len);

/*
 * Give the device `n` interrupt sources, an INTA# pin and `n` MSI-X vectors whose table and pending
 * bits stand in BAR `msix_bar` (which this call makes). Returns 0 or -errno.
 */
int pci_irqs_init(struct pci_dev *d, u32 n, u32 msix_bar);

/* Source `src`'s irq: raise it, or give its fd away. */
struct irq *pci_irq(struct pci_dev *d, u32 src);

/* Bind a source to a vector of the MSI-X table, or to PCI_NO_VECTOR: then it is never sent. */
void pci_irq_bind(struct pci_dev *d, u32 src, u32 vector);

/* Bind it to no vector and drop what is pending: this function of the device was reset. */
void pci_irq_reset(struct pci_dev *d, u32 src);

/* Pull the INTx pin, or let go. Nothing reaches the guest while it has disabled INTx or uses
 * MSI-X. Any thread. */
void pci_intx_set(struct pci_dev *d, bool high);

/* Configuration space from the device's side, under the lock: for hooks. len is 1, 2 or 4. */
u32 pci_config_get(struct pci_dev *d, u32 off, u32 len);
void pci_config_set(struct pci_dev *d, u32 off, u32 len, u32 value);

/* Put it in the lowest free slot from `slot` up. Returns 0 or -ENOSPC. */
int pci_attach(struct pci_host *h, struct pci_dev *d, u32 slot);

/* Registers, BAR decoding, MSI-X and INTx as after power-on. */
void pci_dev_reset(struct pci_dev *d);

/* Take it off the bus and free what it holds. Also half-built. */
void pci_dev_destroy(struct pci_dev *d);

/* Where the host bridge decodes and what it hands out. Part of the board's address map. */
struct pci_map {
	u64 ecam;	       /* 1 MiB: bus 0 */
	u64 mem32, mem32_size; /* window for BARs below 4 GiB */
	u64 mem64, mem64_size; /* above; size 0: none */
	u64 io, io_size;       /* port window; size 0: none */
	u32 intx_gsi;	       /* INTA# of slot s arrives at intx_gsi + s % 4 */
};

/*
 * The host bridge itself, as the device in slot 0. `map` is copied.
 * Returns 0 and the bridge, and in *dev its struct device, or -errno.
 */
int pci_host_create(struct pci_host **out, struct device **dev, const struct machine_env *env,
		    const struct pci_map *map);

/*
 * Give every BAR an address in its window, as firmware would, so that a guest need not. Decoding
 * stays off. Call it when all devices are there and after each reset. Returns 0 or -ENOSPC.
 */
int pci_host_assign(struct pci_host *h);

#endif
