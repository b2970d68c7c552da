// SPDX-License-Identifier: MIT
/*
 * config_switch.c - what --net and --disk have in common: the data paths that a device can be moved to
 * while the guest runs (switch=A:B:C).
 */
#include "minivmm/log.h"
#include "vmm/config.h"

#include <errno.h>
#include <string.h>

static const char *const names[PATH_KINDS] = {
	[PATH_INPROC] = "inproc",
	[PATH_VHOST_NET] = "vhost-net",
	[PATH_VHOST_USER] = "vhost-user",
};

const char *config_path_name(u32 kind)
{
	return names[kind];
}

/* As config_path_kind(), of `len` characters. */
static int kind_of(const char *name, size_t len)
{
	for (u32 i = 0; i < PATH_KINDS; i++) {
		if (strlen(names[i]) == len && strncmp(names[i], name, len) == 0)
			return i;
	}
	return -1;
}

int config_path_kind(const char *name)
{
	return kind_of(name, strlen(name));
}

u32 config_path(const struct device_config *d)
{
	if (d->kind == DEVICE_NET)
		return d->net.datapath;
	return d->disk.datapath == DISK_VHOST_USER ? PATH_VHOST_USER : PATH_INPROC;
}

static bool can_have(const struct device_config *d, int kind)
{
	return kind >= 0 && (d->kind == DEVICE_NET || kind != PATH_VHOST_NET);
}

int config_switches(const char *option, struct device_config *d)
{
	const char *at = d->switch_text;

	while (at) {
		size_t len = strcspn(at, ":");
		int kind = kind_of(at, len);

		if (!can_have(d, kind)) {
			log_err("--%s: switch=%s: give %s, with colons between them", option,
				d->switch_text,
				d->kind == DEVICE_NET ? "some of inproc, vhost-net and vhost-user"
						      : "inproc and vhost-user");
			return -EINVAL;
		}
		d->switches |= 1U << kind;
		at = at[len] ? at + len + 1 : NULL;
	}
	if (d->switches)
		d->switches |= 1U << config_path(d);
	return 0;
}
