// SPDX-License-Identifier: MIT
/*
 * config_vhost_user.c - the option that adds a device of any type, served by another process:
 * --vhost-user.
 */
#include "minivmm/log.h"
#include "minivmm/virtio.h"
#include "vmm/config_devices.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define ID_MAX	   63 /* a PCI device ID is 0x1040 + this, up to 0x107f (4.1.2.1) */
#define FS_TAG_MAX 36 /* 5.11.4 */

/* clang-format off: one setting a line */
static const struct subopt vhost_user_subopts[] = {
	STRING("type", vhost_user.type),
	STRING("socket", vhost_user.socket),
	STRING("tag", vhost_user.tag),
	SWITCH("server", vhost_user.server),
	{ .name = "config-size",
	  .type = SUBOPT_NUMBER,
	  TO(vhost_user.config_size),
	  .min = 1,
	  .max = VIRTIO_CONFIG_MAX },
	{ .name = "queues", .type = SUBOPT_NUMBER, TO(queues), .min = 1, .max = VIRTIO_QUEUES_MAX },
	VIRTIO_SUBOPTS,
	{ .name = NULL },
};

static const struct {
	const char *name;
	u32 id;
	u32 queues_min;
} types[] = {
	{ "fs", VIRTIO_ID_FS, 2 },	     { "blk", VIRTIO_ID_BLOCK, 1 },
	{ "net", VIRTIO_ID_NET, 2 },	     { "rng", VIRTIO_ID_RNG, 1 },
	{ "console", VIRTIO_ID_CONSOLE, 2 }, { "scsi", VIRTIO_ID_SCSI, 3 },
};
/* clang-format on */

static int parse_type(struct device_config *d)
{
	struct vhost_user_config *vu = &d->vhost_user;
	u32 queues_min = 1;
	const char *rest;
	u64 n;

	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		if (strcmp(vu->type, types[i].name) == 0)
			vu->id = types[i].id;
	}
	if (!vu->id && !number_parse(vu->type, &n, &rest) && !*rest && n <= ID_MAX)
		vu->id = n;
	if (!vu->id) {
		log_err("--vhost-user: type=%s: give fs, blk, net, rng, console, scsi or a device "
			"ID from "
			"1 to %d",
			vu->type, ID_MAX);
		return -EINVAL;
	}
	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		if (vu->id == types[i].id)
			queues_min = types[i].queues_min;
	}
	if (d->queues && d->queues < queues_min) {
		log_err("--vhost-user: queues=%u: type=%s has %u at least", d->queues, vu->type,
			queues_min);
		return -EINVAL;
	}
	return 0;
}

int config_vhost_user(struct config *cfg, const char *arg)
{
	char *text;
	struct device_config *d =
		config_add_device(cfg, "vhost-user", arg, DEVICE_VHOST_USER, &text);
	int err;

	if (!d)
		return -EINVAL;
	err = subopts_parse("vhost-user", text, vhost_user_subopts, d);
	if (err)
		return err;
	if (!d->vhost_user.type || !d->vhost_user.socket) {
		log_err("--vhost-user %s: give type= and socket=PATH, where the back end is", arg);
		return -EINVAL;
	}
	err = parse_type(d);
	if (err)
		return err;
	if (d->vhost_user.tag &&
	    (d->vhost_user.id != VIRTIO_ID_FS || strlen(d->vhost_user.tag) > FS_TAG_MAX)) {
		log_err("--vhost-user: tag=%s: the name of a file system (type=fs), at most %d "
			"bytes",
			d->vhost_user.tag, FS_TAG_MAX);
		return -EINVAL;
	}
	return 0;
}
