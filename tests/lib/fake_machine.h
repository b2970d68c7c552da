/* SPDX-License-Identifier: MIT */
/*
 * fake_machine.h - what stands behind a control socket in unit tests and the fuzz target: a machine of two
 * CPUs, a disk `disk0` and a network device `net0`, that notes what it is told.
 */
#ifndef TESTS_FAKE_MACHINE_H
#define TESTS_FAKE_MACHINE_H

#include "vmm/control.h"

struct fake_machine {
	bool paused;
	bool slow;   /* a stop does not come about at once */
	bool link;   /* of net0 */
	bool kernel; /* net0 is at vhost-net */
	bool traces;
	char trace[32]; /* to which file */
	u32 powerdowns, resets, quits, stops, conts;
	struct device_config device[2];
};

void fake_machine_init(struct fake_machine *f);
extern const struct control_ops fake_machine_ops;

#endif
