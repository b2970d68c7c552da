/* SPDX-License-Identifier: MIT */
/*
 * conformance.h - the suite that every virtio device passes, over {PCI with MSI-X, PCI with INTx, MMIO}
 * x {split, packed}. A device brings a row and adds it to the table in test_conformance.c.
 */
#ifndef TESTS_UNIT_CONFORMANCE_H
#define TESTS_UNIT_CONFORMANCE_H

#include "tests/unit/virtio_driver.h"

struct conformance_device {
	const char *name;
	u32 id;		/* VIRTIO_ID_... */
	u32 nqueues;	/* of the device that create() makes */
	u32 config_len; /* bytes of configuration space */
	u64 features;	/* of the device type, all of which must be offered */
	/* The device with options `o`, on `env`. As virtio_*_create(). */
	int (*create)(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o);
	/* What create() needed besides (files, streams) goes away. The device is gone. NULL: nothing. */
	void (*cleanup)(void);
	/*
	 * The driver is ready (vdrv_start() with all features offered): make one valid request, wait
	 * for its completion (vdrv_request()) and check the result. Called often, also after resets.
	 */
	void (*request)(struct vdrv *d);
	u32 queue; /* the queue that request() uses: the one that hostile rings are put in */
};

extern const struct conformance_device conformance_rng, conformance_echo, conformance_blk,
	conformance_console, conformance_net;

#endif
