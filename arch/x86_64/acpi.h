/* SPDX-License-Identifier: MIT */
/*
 * acpi.h - the ACPI tables of the machine.
 */
#ifndef ARCH_X86_64_ACPI_H
#define ARCH_X86_64_ACPI_H

#include "minivmm/arch.h"
#include "minivmm/mem.h"

/*
 * Write RSDP, XSDT, FADT, DSDT, MADT and MCFG for platform `p` into the ACPI area (layout.h).
 * Returns 0 and the RSDP's guest address, or -ENOSPC with a message if they don't fit.
 */
int acpi_build(struct mem *mem, const struct platform *p, u64 *rsdp);

#endif
