// SPDX-License-Identifier: MIT
/*
 * initrd.c - see initrd.h. A damaged initrd would only show as a kernel panic after boot, far from
 * its cause.
 *
 * How it works: the formats are those of Linux, Documentation/driver-api/early-userspace/
 * buffer-format.rst, with the compressions of lib/decompress.c. A newc archive is a row of
 *
 *	header, 110 characters: magic 070701, then 13 numbers of 8 hex digits
 *	name, namesize bytes, padded to 4
 *	data, filesize bytes, padded to 4
 *
 * that ends with an entry called TRAILER!!!. What follows it, often a second, compressed archive,
 * is not looked at.
 */
#include "minivmm/initrd.h"

#include <string.h>
#include <unistd.h>

#define HEADER_LEN  110
#define FILESIZE_AT 54
#define NAMESIZE_AT 94
#define TRAILER	    "TRAILER!!!"

static const struct {
	const char *magic;
	size_t len;
} compressed[] = {
	{ "\x1f\x8b", 2 },	   /* gzip */
	{ "\x1f\x9e", 2 },	   /* gzip, old */
	{ "BZh", 3 },		   /* bzip2 */
	{ "\x5d\x00\x00", 3 },	   /* lzma */
	{ "\xfd\x37zXZ", 5 },	   /* xz */
	{ "\x89LZO", 4 },	   /* lzo */
	{ "\x02\x21\x4c\x18", 4 }, /* lz4 */
	{ "\x28\xb5\x2f\xfd", 4 }, /* zstd */
};

/* 8 hex digits; anything else counts as a number too large for any file. */
static u64 hex8(const char *s)
{
	u64 v = 0;

	for (int i = 0; i < 8; i++) {
		char c = s[i] | 0x20;

		if (s[i] >= '0' && s[i] <= '9')
			v = v << 4 | (s[i] - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (c - 'a' + 10);
		else
			return UINT64_MAX / 4;
	}
	return v;
}

static const char *cpio_fault(int fd, u64 size)
{
	u64 at = 0;

	for (;;) {
		char head[HEADER_LEN + sizeof(TRAILER)];
		u64 namesize, filesize;
		ssize_t n = pread(fd, head, sizeof(head), at);

		if (n < HEADER_LEN)
			return "the cpio archive is truncated";
		if (memcmp(head, "070701", 6) != 0 && memcmp(head, "070702", 6) != 0)
			return "the cpio archive is damaged";
		namesize = hex8(head + NAMESIZE_AT);
		filesize = hex8(head + FILESIZE_AT);
		if (namesize == sizeof(TRAILER) && n == sizeof(head) &&
		    memcmp(head + HEADER_LEN, TRAILER, sizeof(TRAILER)) == 0)
			return NULL;
		at = ALIGN_UP(at + HEADER_LEN + namesize, 4);
		at = ALIGN_UP(at + filesize, 4);
		if (at > size)
			return "the cpio archive is truncated";
	}
}

const char *initrd_fault(int fd, u64 size)
{
	char magic[6] = { 0 };

	if (pread(fd, magic, sizeof(magic), 0) < 0)
		return "it can't be read";
	if (memcmp(magic, "070701", 6) == 0 || memcmp(magic, "070702", 6) == 0)
		return cpio_fault(fd, size);
	for (size_t i = 0; i < ARRAY_SIZE(compressed); i++) {
		if (memcmp(magic, compressed[i].magic, compressed[i].len) == 0)
			return NULL;
	}
	return "neither a cpio archive (newc) nor one compressed in a way that Linux knows";
}
