// SPDX-License-Identifier: MIT
/*
 * aml.c - see aml.h. Section numbers are those of ACPI 6.4.
 *
 * Every length is written in the two- or three-byte form of PkgLength (20.2.4), whether it needs
 * it or not, so that it can be filled in afterwards without moving anything.
 */
#include "arch/x86_64/aml.h"

#include <assert.h>
#include <string.h>

#define PKG_LEN_BYTES 3

void aml_init(struct aml *a, void *buf, u32 room)
{
	*a = (struct aml){ .buf = buf, .room = room };
}

void aml_bytes(struct aml *a, const void *p, u32 len)
{
	if (len > a->room - a->len) {
		a->full = true;
		return;
	}
	memcpy(a->buf + a->len, p, len);
	a->len += len;
}

void aml_byte(struct aml *a, u8 b)
{
	aml_bytes(a, &b, 1);
}

static void aml_u16(struct aml *a, u16 v)
{
	aml_bytes(a, &v, 2);
}

static void aml_u32(struct aml *a, u32 v)
{
	aml_bytes(a, &v, 4);
}

static void aml_u64(struct aml *a, u64 v)
{
	aml_bytes(a, &v, 8);
}

/* 20.2.2: one 4-character segment, after an optional root prefix. */
void aml_namestring(struct aml *a, const char *name)
{
	if (*name == '\\')
		aml_byte(a, *name++);
	assert(strlen(name) == 4);
	aml_bytes(a, name, 4);
}

static void open_pkg(struct aml *a)
{
	assert(a->depth < AML_DEPTH);
	a->open[a->depth++] = a->len;
	aml_bytes(a, "\0\0\0", PKG_LEN_BYTES);
}

/* The length counts itself: the low 4 bits in the first byte, whose top bits say "2 more". */
void aml_close(struct aml *a)
{
	u32 at = a->open[--a->depth];
	u32 len = a->len - at;

	if (a->full)
		return;
	assert(len < 1 << 20);
	a->buf[at] = 2 << 6 | (len & 0xf);
	a->buf[at + 1] = len >> 4;
	a->buf[at + 2] = len >> 12;
}

void aml_open_scope(struct aml *a, const char *name)
{
	aml_byte(a, 0x10); /* ScopeOp */
	open_pkg(a);
	aml_namestring(a, name);
}

void aml_open_device(struct aml *a, const char *name)
{
	aml_bytes(a, "\x5b\x82", 2); /* DeviceOp */
	open_pkg(a);
	aml_namestring(a, name);
}

void aml_open_method(struct aml *a, const char *name, u32 args, bool serialized)
{
	aml_byte(a, 0x14); /* MethodOp */
	open_pkg(a);
	aml_namestring(a, name);
	aml_byte(a, args | (serialized ? 8 : 0));
}

void aml_open_package(struct aml *a, u32 elements)
{
	aml_byte(a, 0x12); /* PackageOp */
	open_pkg(a);
	aml_byte(a, elements);
}

void aml_open_field(struct aml *a, const char *region, u8 flags)
{
	aml_bytes(a, "\x5b\x81", 2); /* FieldOp */
	open_pkg(a);
	aml_namestring(a, region);
	aml_byte(a, flags);
}

void aml_open_if(struct aml *a)
{
	aml_byte(a, 0xa0); /* IfOp; the predicate follows */
	open_pkg(a);
}

void aml_name(struct aml *a, const char *name)
{
	aml_byte(a, 0x08); /* NameOp */
	aml_namestring(a, name);
}

/* 20.2.3: the shortest form that holds the value. */
void aml_int(struct aml *a, u64 value)
{
	if (value <= 1) {
		aml_byte(a, value); /* ZeroOp, OneOp */
	} else if (value <= 0xff) {
		aml_byte(a, 0x0a);
		aml_byte(a, value);
	} else if (value <= 0xffff) {
		aml_byte(a, 0x0b);
		aml_u16(a, value);
	} else if (value <= 0xffffffff) {
		aml_byte(a, 0x0c);
		aml_u32(a, value);
	} else {
		aml_byte(a, 0x0e);
		aml_u64(a, value);
	}
}

static u32 hex_digit(char c)
{
	return c <= '9' ? c - '0' : c - 'A' + 10;
}

/* 19.3.4: three letters of 5 bits and four hex digits, big-endian. */
void aml_eisaid(struct aml *a, const char *id)
{
	u32 v = (id[0] & 0x1f) << 26 | (id[1] & 0x1f) << 21 | (id[2] & 0x1f) << 16 |
		hex_digit(id[3]) << 12 | hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 |
		hex_digit(id[6]);

	aml_byte(a, 0x0c);
	aml_u32(a, __builtin_bswap32(v));
}

void aml_string(struct aml *a, const char *s)
{
	aml_byte(a, 0x0d);
	aml_bytes(a, s, strlen(s) + 1);
}

void aml_region_io(struct aml *a, const char *name, u16 port, u8 len)
{
	aml_bytes(a, "\x5b\x80", 2); /* OpRegionOp */
	aml_namestring(a, name);
	aml_byte(a, 1); /* SystemIO */
	aml_int(a, port);
	aml_int(a, len);
}

/* 20.2.5.2: a NameSeg and a PkgLength that counts bits; below 64 that is one byte. */
void aml_field_unit(struct aml *a, const char *name, u32 bits)
{
	assert(bits < 64);
	aml_bytes(a, name, 4);
	aml_byte(a, bits);
}

/* A buffer: BufferOp, length, then the size of the data, filled in by aml_close_crs(). */
void aml_open_crs(struct aml *a)
{
	aml_name(a, "_CRS");
	aml_byte(a, 0x11);
	open_pkg(a);
	aml_byte(a, 0x0b); /* WordPrefix */
	aml_u16(a, 0);
}

void aml_close_crs(struct aml *a)
{
	u32 data = a->open[a->depth - 1] + PKG_LEN_BYTES + 3;
	u16 size;

	aml_bytes(a, "\x79\x00", 2); /* 6.4.2.9: end tag, checksum not used */
	size = a->len - data;
	if (!a->full)
		memcpy(a->buf + data - 2, &size, 2);
	aml_close(a);
}

/* 6.4.2.5: I/O port descriptor, 16-bit decode. */
void aml_crs_io(struct aml *a, u16 base, u8 len)
{
	aml_bytes(a, "\x47\x01", 2);
	aml_u16(a, base);
	aml_u16(a, base);
	aml_byte(a, 1);
	aml_byte(a, len);
}

/* 6.4.3.4: fixed 32-bit memory range, writable. */
void aml_crs_mem32(struct aml *a, u32 base, u32 len)
{
	aml_bytes(a, "\x86\x09\x00\x01", 4);
	aml_u32(a, base);
	aml_u32(a, len);
}

/* 6.4.3.6: extended interrupt, one consumer, active high. */
void aml_crs_irq(struct aml *a, u32 gsi, bool level)
{
	aml_bytes(a, "\x89\x06\x00", 3);
	aml_byte(a, 1 | (level ? 0 : 2));
	aml_byte(a, 1);
	aml_u32(a, gsi);
}

/* 6.4.3.5.3: word address space; type 2 is bus numbers. Minimum and maximum are fixed. */
void aml_crs_bus(struct aml *a, u16 first, u16 last)
{
	aml_bytes(a, "\x88\x0d\x00\x02\x0c\x00", 6);
	aml_u16(a, 0);
	aml_u16(a, first);
	aml_u16(a, last);
	aml_u16(a, 0);
	aml_u16(a, last - first + 1);
}

/* 6.4.3.5.2: double word address space that the bridge passes on. */
static void dword_window(struct aml *a, u8 type, u8 type_flags, u32 base, u32 len)
{
	aml_bytes(a, "\x87\x17\x00", 3);
	aml_byte(a, type);
	aml_byte(a, 0x0c);
	aml_byte(a, type_flags);
	aml_u32(a, 0);
	aml_u32(a, base);
	aml_u32(a, base + len - 1);
	aml_u32(a, 0);
	aml_u32(a, len);
}

void aml_crs_window_io(struct aml *a, u32 base, u32 len)
{
	dword_window(a, 1, 3, base, len); /* the whole range, ISA and not */
}

void aml_crs_window_mem32(struct aml *a, u32 base, u32 len)
{
	dword_window(a, 0, 1, base, len); /* read-write, not cacheable */
}

/* 6.4.3.5.1: quad word address space. */
void aml_crs_window_mem64(struct aml *a, u64 base, u64 len)
{
	aml_bytes(a, "\x8a\x2b\x00\x00\x0c\x01", 6);
	aml_u64(a, 0);
	aml_u64(a, base);
	aml_u64(a, base + len - 1);
	aml_u64(a, 0);
	aml_u64(a, len);
}
