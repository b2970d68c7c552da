// SPDX-License-Identifier: MIT
/*
 * kvm_stats.c - read KVM's binary statistics. See kvm_stats.h.
 *
 * How it works: KVM gives a descriptor of a small file, which says itself what is in it.
 *
 *	| header | id | num_desc x descriptor, each with its name | values, u64, by desc.offset |
 */
#include "vmm/kvm_stats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* More than any KVM has: a bound for what we ask memory for. */
#define STATS_MAX      4096
#define VALUES_LEN_MAX (256 * KIB)
#define NAME_LEN_MAX   256

int kvm_stats_open(int fd)
{
	return ioctl(fd, KVM_GET_STATS_FD, NULL);
}

static int read_all(int fd, void *buf, size_t len, off_t at)
{
	return pread(fd, buf, len, at) == (ssize_t)len ? 0 : -EIO;
}

/* How many bytes of values there are; 0: too many. */
static u32 values_len(const struct kvm_stats_header *h, const char *descs, size_t size)
{
	u64 len = 0;

	for (u32 i = 0; i < h->num_desc; i++) {
		const struct kvm_stats_desc *d = (const struct kvm_stats_desc *)(descs + i * size);
		u64 end = (u64)d->offset + d->size * sizeof(u64);

		if (!d->size || d->offset % sizeof(u64) || end > VALUES_LEN_MAX)
			return 0;
		if (end > len)
			len = end;
	}
	return len;
}

/* The values come at once: a system call each would take the caller's time. */
static int tell_all(int fd, const struct kvm_stats_header *h, const char *descs, size_t size,
		    void (*each)(void *ctx, const struct kvm_stat *s), void *ctx)
{
	u32 len = values_len(h, descs, size);
	u64 *values = len ? malloc(len) : NULL;
	int err;

	if (!len)
		return h->num_desc ? -EIO : 0;
	if (!values)
		return -ENOMEM;
	err = read_all(fd, values, len, h->data_offset);
	for (u32 i = 0; i < h->num_desc && !err; i++) {
		const struct kvm_stats_desc *d = (const struct kvm_stats_desc *)(descs + i * size);

		each(ctx, &(const struct kvm_stat){
				  .name = d->name,
				  .flags = d->flags,
				  .exponent = d->exponent,
				  .bucket_size = d->bucket_size,
				  .n = d->size,
				  .value = values + d->offset / sizeof(u64),
			  });
	}
	free(values);
	return err;
}

int kvm_stats_each(int fd, void (*each)(void *ctx, const struct kvm_stat *s), void *ctx)
{
	struct kvm_stats_header h;
	size_t size;
	char *descs;
	int err;

	err = read_all(fd, &h, sizeof(h), 0);
	if (err || h.num_desc > STATS_MAX || h.name_size > NAME_LEN_MAX)
		return -EIO;
	size = sizeof(struct kvm_stats_desc) + h.name_size;
	descs = calloc(h.num_desc + 1, size);
	if (!descs)
		return -ENOMEM;
	err = read_all(fd, descs, h.num_desc * size, h.desc_offset);
	if (!err)
		err = tell_all(fd, &h, descs, size, each, ctx);
	free(descs);
	return err;
}
