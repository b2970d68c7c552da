/* SPDX-License-Identifier: MIT */
/*
 * power_regs.h - the registers of the power device (devices/platform/power.c), which the ACPI
 * tables describe to the guest (arch/x86_64/acpi.c). Offsets from its base port.
 */
#ifndef MINIVMM_POWER_REGS_H
#define MINIVMM_POWER_REGS_H

#define POWER_REG_SLEEP_CONTROL 0 /* ACPI 6.4, 4.8.3.7: bits 4:2 sleep type, bit 5 go */
#define POWER_REG_SLEEP_STATUS	1 /* bit 7: woken */
#define POWER_REG_RESET		2 /* POWER_RESET_VALUE resets the machine */
#define POWER_REG_EVENTS	3 /* read: the events since the last read, which lowers the line */
#define POWER_REGS_LEN		4

#define POWER_SLEEP_TYPE_S5	5 /* what \_S5 says: soft off */
#define POWER_SLEEP_ENABLE	(1 << 5)
#define POWER_RESET_VALUE	1
#define POWER_EVENT_BUTTON	(1 << 0)

#endif
