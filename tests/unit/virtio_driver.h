/* SPDX-License-Identifier: MIT */
/*
 * virtio_driver.h - a virtio device on a machine without KVM, and a driver that knows it by its
 * registers alone: what a guest's driver does, over PCI and MMIO, in the unit tests.
 *
 *	static struct vdrv d;
 *
 *	vdrv_init(&d, VDRV_PCI_MSIX, false);
 *	vdrv_plug(&d, virtio_rng_create);	or: create it yourself and vdrv_attach()
 *	vdrv_start(&d, ~0ULL);			all the way to DRIVER_OK
 *	written = vdrv_request(&d, 0, &buf, 0, 1);
 *	vdrv_free(&d);
 *
 * Threads: by default no loop runs; vdrv_settle() lets the main loop, which is also the queues', handle
 * what waits. After vdrv_threads() main loop and queues have a thread each.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include "minivmm/devices.h"
#include "minivmm/virtio.h"
#include "tests/lib/ring_driver.h"
#include "tests/unit/unit.h"

#include <unistd.h>

enum vdrv_bus { VDRV_PCI_MSIX, VDRV_PCI_INTX, VDRV_MMIO };
#define VDRV_BUSES    3

#define VDRV_RAM      (64 * MIB)    /* from address 0 on */
#define VDRV_MSI_ADDR 0xfee00000ULL /* vector v sends VDRV_MSI_DATA + v */
#define VDRV_MSI_DATA 0x40

struct vdrv_queue {
	struct ring_driver ring;
	u64 doorbell;
	bool up;
};

struct vdrv {
	enum vdrv_bus bus;
	struct virtio_options options; /* for vdrv_plug(); .packed is set */
	struct pci_rig *rig;	       /* the machine */
	bool owns_rig;		       /* not a neighbour's */
	struct loop *io_loop;	       /* with threads */
	bool threads;
	bool main_runs; /* the main loop, in a thread */

	/* The device and where it is. */
	struct virtio_dev *v;
	struct device *dev;
	u32 slot;
	u64 base;
	u32 gsi;

	/* As discovered. PCI: where the structures are, 0: there is none. */
	u32 id;
	u64 common, isr, notify, config;
	u32 config_len, notify_mul;
	u32 cap_common, cap_isr, cap_notify, cap_config, cap_pci, cap_msix; /* capabilities */
	u64 msix_table;

	/* The driver's own. */
	u64 features; /* accepted */
	u32 seen;     /* interrupt status bits read and not yet asked for */
	u64 next;     /* guest memory free from here on */
	struct vdrv_queue q[VIRTIO_QUEUES_MAX];
};

/* A machine with guest memory, but no device yet. */
void vdrv_init(struct vdrv *d, enum vdrv_bus bus, bool packed);
/* Another device's driver on the machine of `first`, which is taken apart last. */
void vdrv_init_beside(struct vdrv *d, struct vdrv *first);
/* Let the loops run in threads. Before the device is made. */
void vdrv_threads(struct vdrv *d);
void vdrv_plug(struct vdrv *d, int (*create)(struct virtio_dev **v, const struct machine_env *env,
					     const struct virtio_options *o));
/* Give `v` the transport, and discover it. */
void vdrv_attach(struct vdrv *d, struct virtio_dev *v);
/* Takes the device apart; the main loop's thread, which would do it, has ended before. */
void vdrv_unplug(struct vdrv *d);
/* Takes device, if it is still there, and machine apart, and checks that nothing is left. */
void vdrv_free(struct vdrv *d);

/* PCI: places the BARs and finds the structures, with MSI-X programmed and on if that is the bus;
 * MMIO: magic, version, id. Again after a reset of the machine. */
void vdrv_discover(struct vdrv *d);

/* ---- registers ---- */

u32 vdrv_status(struct vdrv *d);
void vdrv_set_status(struct vdrv *d, u32 status);
u64 vdrv_offered(struct vdrv *d);
void vdrv_write_features(struct vdrv *d, u64 features);
u32 vdrv_generation(struct vdrv *d);

/* An access of `len` bytes (1, 2, 4, 8) to the configuration space. */
u64 vdrv_config(struct vdrv *d, u32 off, u32 len);
void vdrv_set_config(struct vdrv *d, u32 off, u32 len, u64 value);

void vdrv_select(struct vdrv *d, u32 q);
u32 vdrv_queue_max(struct vdrv *d, u32 q);
bool vdrv_queue_enabled(struct vdrv *d, u32 q);
/* Sets up and enables queue `q` with registers as in `cfg`. */
void vdrv_queue_write(struct vdrv *d, u32 q, const struct vq_cfg *cfg);
void vdrv_queue_reset(struct vdrv *d, u32 q);
void vdrv_kick(struct vdrv *d, u32 q);

/* ---- steps of the initialisation (3.1.1) ---- */

/* ACKNOWLEDGE, DRIVER, the features offered among `wanted`, FEATURES_OK. Has the device agreed? */
bool vdrv_negotiate(struct vdrv *d, u64 wanted);
/* A new ring of `size` descriptors (0: the largest) for queue `q`, enabled. */
void vdrv_queue_up(struct vdrv *d, u32 q, u16 size);
void vdrv_driver_ok(struct vdrv *d);
/* All of it: reset, negotiate, every queue there is (of at most 64), DRIVER_OK. */
void vdrv_start(struct vdrv *d, u64 wanted);
/* Status 0; the rings are forgotten. */
void vdrv_reset(struct vdrv *d);

/* ---- requests ---- */

/* `len` bytes of guest memory, zeroed, and where they are in ours. */
u64 vdrv_alloc(struct vdrv *d, u32 len);
void *vdrv_ptr(struct vdrv *d, u64 gpa, u32 len);

/* Make a chain available (direct, or in an indirect table by turns) and kick if the device wants it.
 * Returns its id. */
int vdrv_submit(struct vdrv *d, u32 q, const struct ring_buf *buf, u32 nout, u32 nin);
/* Wait for a used chain. Returns its id, and in *written what the device says. */
int vdrv_wait(struct vdrv *d, u32 q, u32 *written);
/* Both, and the interrupt must come. Returns the bytes written. */
u32 vdrv_request(struct vdrv *d, u32 q, const struct ring_buf *buf, u32 nout, u32 nin);

/* ---- interrupts ---- */

/* Let the loops handle what waits. With threads: a short sleep. */
void vdrv_settle(struct vdrv *d);
/* Let them until `what`: fails the test if that never is. */
#define vdrv_wait_until(d, what)                           \
	do {                                               \
		for (u32 i_ = 0; !(what); i_++) {          \
			ck_assert_uint_lt(i_, VDRV_TURNS); \
			vdrv_settle(d);                    \
			usleep(200);                       \
		}                                          \
	} while (0)
#define VDRV_TURNS 50000
/* Has queue `q`, or by INTx and MMIO any queue, called since the last time? Acknowledges. */
bool vdrv_called(struct vdrv *d, u32 q);
bool vdrv_config_called(struct vdrv *d);
/* Wait for such a call: fails the test if none comes. */
void vdrv_wait_called(struct vdrv *d, u32 q);
void vdrv_wait_config_called(struct vdrv *d);
/* What vector `v` sends to VDRV_MSI_ADDR. */
u32 vdrv_msi_data(const struct vdrv *d, u32 v);
/* Is the wired interrupt high? */
bool vdrv_level(struct vdrv *d);

/* Has this driver and device negotiated `bit`? */
static inline bool vdrv_has(const struct vdrv *d, u32 bit)
{
	return d->features & VIRTIO_FEATURE(bit);
}

#endif
