/* SPDX-License-Identifier: MIT */
/*
 * aml.h - write ACPI Machine Language, the byte code of the DSDT.
 *
 * How it works (ACPI 6.4, chapter 20): a term is an opcode and its arguments. Terms that contain
 * others (scope, device, method, ...) carry their length in front; aml_open_*() leaves room for it
 * and aml_close() fills it in, so that the calls nest like the ASL they stand for:
 *
 *	aml_open_device(a, "UAR1");			Device (UAR1)
 *	aml_name(a, "_HID"); aml_eisaid(a, "PNP0501");	{ Name (_HID, EisaId ("PNP0501"))
 *	aml_close(a);					}
 */
#ifndef ARCH_X86_64_AML_H
#define ARCH_X86_64_AML_H

#include "minivmm/base.h"

#define AML_DEPTH 8

struct aml {
	u8 *buf;
	u32 len, room;
	bool full; /* something did not fit: the result is no good */
	u32 open[AML_DEPTH];
	u32 depth;
};

void aml_init(struct aml *a, void *buf, u32 room);
void aml_byte(struct aml *a, u8 b);
void aml_bytes(struct aml *a, const void *p, u32 len);

/* Terms that contain others, ended by aml_close(). A name is 4 characters, or "\\_SB_" rooted. */
void aml_open_scope(struct aml *a, const char *name);
void aml_open_device(struct aml *a, const char *name);
void aml_open_method(struct aml *a, const char *name, u32 args, bool serialized);
void aml_open_package(struct aml *a, u32 elements);
void aml_open_field(struct aml *a, const char *region, u8 flags);
void aml_open_if(struct aml *a);
void aml_close(struct aml *a);

/* Name (name, ...): the value follows. */
void aml_name(struct aml *a, const char *name);
void aml_namestring(struct aml *a, const char *name);

/* Values. */
void aml_int(struct aml *a, u64 value);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A03" */
void aml_string(struct aml *a, const char *s);

/* OperationRegion (name, SystemIO, port, len), and a field of `bits` bits within an open field. */
void aml_region_io(struct aml *a, const char *name, u16 port, u8 len);
void aml_field_unit(struct aml *a, const char *name, u32 bits);

/* Resource templates: Name (_CRS, ResourceTemplate () { ... }). */
void aml_open_crs(struct aml *a);
void aml_close_crs(struct aml *a);
void aml_crs_io(struct aml *a, u16 base, u8 len);
void aml_crs_mem32(struct aml *a, u32 base, u32 len);
void aml_crs_irq(struct aml *a, u32 gsi, bool level);
void aml_crs_bus(struct aml *a, u16 first, u16 last);
void aml_crs_window_io(struct aml *a, u32 base, u32 len);
void aml_crs_window_mem32(struct aml *a, u32 base, u32 len);
void aml_crs_window_mem64(struct aml *a, u64 base, u64 len);

#endif
