/* SPDX-License-Identifier: MIT */
/*
 * echo_rig.h - what the two suites on the virtio core share: the device of tests/lib/echo.h with a
 * driver, on each transport and with both ring formats, and short names for the bits of its status.
 */
#ifndef TESTS_UNIT_ECHO_RIG_H
#define TESTS_UNIT_ECHO_RIG_H

#include "tests/lib/echo.h"
#include "tests/unit/virtio_driver.h"

#include <linux/virtio_config.h>

#define MODES	       (VDRV_BUSES * 2)

#define ACK	       VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER	       VIRTIO_CONFIG_S_DRIVER
#define FEATURES_OK    VIRTIO_CONFIG_S_FEATURES_OK
#define DRIVER_OK      VIRTIO_CONFIG_S_DRIVER_OK
#define NEEDS_RESET    VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED	       VIRTIO_CONFIG_S_FAILED
#define STATUS_RUNNING (ACK | DRIVER | FEATURES_OK | DRIVER_OK)

/* The device on transport and ring format number `mode`; its loops in threads or not. */
static inline void echo_plug(struct vdrv *d, int mode, bool threads)
{
	vdrv_init(d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	if (threads)
		vdrv_threads(d);
	vdrv_plug(d, echo_create);
}

/* Queue `q` has given nothing back. */
static inline void echo_expect_no_answer(struct vdrv *d, u32 q)
{
	u32 written;

	ck_assert_int_eq(ring_get(&d->q[q].ring, &written), -1);
}

#endif
