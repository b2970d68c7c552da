/* SPDX-License-Identifier: MIT */
/*
 * config_devices.h - what the files that read options for devices share.
 */
#ifndef VMM_CONFIG_DEVICES_H
#define VMM_CONFIG_DEVICES_H

#include "minivmm/vq.h"
#include "vmm/config.h"
#include "vmm/subopts.h"

/* Rows of a table of settings, each of which goes to a field of struct device_config. */
#define TO(field) .offset = offsetof(struct device_config, field)
#define STRING(k, f)                                    \
	{                                               \
		.name = k, .type = SUBOPT_STRING, TO(f) \
	}
#define SWITCH(k, f)                                    \
	{                                               \
		.name = k, .type = SUBOPT_SWITCH, TO(f) \
	}
#define CHOICE(k, f, words)                                               \
	{                                                                 \
		.name = k, .type = SUBOPT_CHOICE, TO(f), .choices = words \
	}

/* What every virtio device can be told. */
#define VIRTIO_SUBOPTS                                                                \
	STRING("id", id), CHOICE("bus", bus, "pci|mmio"), SWITCH("packed", packed),   \
	{                                                                             \
		.name = "queue-size", .type = SUBOPT_POWER, TO(queue_size), .min = 2, \
		.max = VQ_SIZE_MAX                                                    \
	}

/* The next device, of `kind`, and in *text the option's value to be cut up. NULL after a message. */
struct device_config *config_add_device(struct config *cfg, const char *option, const char *arg,
					enum device_kind kind, char **text);

#endif
