/* SPDX-License-Identifier: MIT */
/*
 * mem_log_rig.h - what the suites on the log of written pages share: how much is marked, and whether what a device
 * writes for a driver is.
 */
#ifndef TESTS_UNIT_MEM_LOG_RIG_H
#define TESTS_UNIT_MEM_LOG_RIG_H

#include "minivmm/mem_log.h"
#include "tests/unit/virtio_driver.h"

/* How many pages of [gpa, end), or of all, are marked; none is any more. */
u32 marks_take(const struct mem_log *log, u64 gpa, u64 end);
u32 marks_take_all(const struct mem_log *log);

/* A request of 100 bytes in queue `q` of a device that echoes, whose buffers share no page with anything. Returns
 * where it has written. */
u64 marks_request(struct vdrv *d, u32 q);

/* Of a request in queue 0 and one in queue 1, all that is written is marked, and nothing else; or nothing is. */
void marks_expect(struct vdrv *d, const struct mem_log *log);
void marks_expect_none(struct vdrv *d, const struct mem_log *log);

#endif
