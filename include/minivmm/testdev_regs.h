/* SPDX-License-Identifier: MIT */
/*
 * testdev_regs.h - the registers of the PCI test device (devices/pci/testdev.c), shared with the
 * bare-metal guests that use it.
 *
 * BAR 0, memory, 4 KiB: the registers below, 32 bits each; the doorbell takes any width
 * BAR 1, ports, 16 bytes: a scratch register of 32 bits at 0, the magic at 4
 * BAR 2, 64-bit memory, 64 KiB: each aligned read of 4 or 8 bytes gives its own offset
 * BAR 4, memory: MSI-X table and pending bits, TESTDEV_SOURCES vectors
 */
#ifndef MINIVMM_TESTDEV_REGS_H
#define MINIVMM_TESTDEV_REGS_H

#define TESTDEV_VENDOR	    0x1b36
#define TESTDEV_DEVICE	    0x00ff /* not assigned; and not of 1af4, which Linux takes for virtio */

#define TESTDEV_MAGIC	    0x00 /* read: TESTDEV_MAGIC_VALUE */
#define TESTDEV_SCRATCH	    0x04 /* read and write, any width */
#define TESTDEV_RAISE	    0x08 /* write n: signal interrupt source n, below TESTDEV_SOURCES */
#define TESTDEV_INTX	    0x0c /* write 1/0: hold INTA# high / let go; read: is it held? */
#define TESTDEV_DOORBELL    0x10 /* write anything: an ioeventfd, counted by the device's loop */
#define TESTDEV_RINGS	    0x14 /* read: wake-ups counted so far (several rings can be one) */
#define TESTDEV_BELL_RAISES 0x18 /* n + 1: each wake-up signals source n; 0: none */

#define TESTDEV_MAGIC_VALUE 0x4454564d /* "MVTD" */
#define TESTDEV_SOURCES	    4

#endif
