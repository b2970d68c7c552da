// SPDX-License-Identifier: MIT
/*
 * config_devices.c - the options that add a device: --disk, --console, --port, --rng.
 *
 * Each appends to cfg->device in the order of the command line, which is the order on the bus.
 */
#include "vmm/config_devices.h"
#include "minivmm/log.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISK_QUEUE_MIN 4

/* clang-format off: one setting a line */
static const struct subopt disk_subopts[] = {
	STRING("file", disk.file),
	SWITCH("readonly", disk.readonly),
	SWITCH("direct", disk.direct),
	CHOICE("aio", disk.aio, "auto|io_uring|threads"),
	CHOICE("cache", disk.writethrough, "writeback|writethrough"),
	SWITCH("discard", disk.discard),
	STRING("serial", disk.serial),
	CHOICE("datapath", disk.datapath, "inproc|vhost-user"),
	STRING("socket", disk.socket),
	SWITCH("server", disk.server),
	STRING("switch", switch_text),
	SWITCH("share", disk.share),
	{ .name = "queues", .type = SUBOPT_NUMBER, TO(queues), .min = 1, .max = VIRTIO_QUEUES_MAX },
	VIRTIO_SUBOPTS,
	{ .name = NULL },
};

static const struct subopt rng_subopts[] = {
	{ .name = "queues", .type = SUBOPT_NUMBER, TO(queues), .min = 1, .max = 1 },
	VIRTIO_SUBOPTS,
	{ .name = NULL },
};

/* A console has two queues a port, and two for control: nothing to choose. */
static const struct subopt console_subopts[] = { VIRTIO_SUBOPTS, { .name = NULL } };

static const struct subopt port_subopts[] = {
	{ .name = "name", .type = SUBOPT_STRING, .offset = offsetof(struct port_config, name) },
	{ .name = NULL },
};
/* clang-format on */

/* A copy of an option's value, to be cut up; it lives as long as the config. NULL after a message. */
static char *keep(struct config *cfg, const char *arg)
{
	char *text = cfg->nkept < ARRAY_SIZE(cfg->kept) ? strdup(arg) : NULL;

	if (text)
		cfg->kept[cfg->nkept++] = text;
	else
		log_err("%s: there is no room for more options", arg);
	return text;
}

struct device_config *config_add_device(struct config *cfg, const char *option, const char *arg,
					enum device_kind kind, char **text)
{
	struct device_config *d;

	if (cfg->ndevices == CONFIG_DEVICES_MAX) {
		log_err("--%s: there is room for %d devices", option, CONFIG_DEVICES_MAX);
		return NULL;
	}
	*text = keep(cfg, arg);
	if (!*text)
		return NULL;
	d = &cfg->device[cfg->ndevices++];
	*d = (struct device_config){ .kind = kind };
	return d;
}

/* ---- names ---- */

static const struct {
	const char *option, *name;
} kinds[] = {
	[DEVICE_DISK] = { "disk", "disk" },
	[DEVICE_CONSOLE] = { "console", "console" },
	[DEVICE_RNG] = { "rng", "rng" },
	[DEVICE_NET] = { "net", "net" },
	[DEVICE_VHOST_USER] = { "vhost-user", "vhost-user" },
};

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* As with QEMU: a letter, and then letters, digits, '-', '.' and '_'. */
static bool is_name(const char *id)
{
	size_t len = strlen(id);

	if (!is_letter(*id) || len > CONFIG_ID_MAX)
		return false;
	for (const char *c = id; *c; c++) {
		if (!is_letter(*c) && !strchr("0123456789-._", *c))
			return false;
	}
	return true;
}

static int check_name(const struct config *cfg, const struct device_config *d)
{
	const char *option = kinds[d->kind].option;

	if (!is_name(d->id)) {
		log_err("--%s: id=%s: a name is a letter, and then up to %d letters, digits, '-', "
			"'.' or '_'",
			option, d->id, CONFIG_ID_MAX - 1);
		return -EINVAL;
	}
	for (const struct device_config *other = cfg->device; other < d; other++) {
		const struct device_config *given = d->id == d->default_id ? other : d;

		if (strcmp(other->id, d->id) != 0)
			continue;
		if (other->id == other->default_id || d->id == d->default_id)
			log_err("--%s: id=%s is the name that another device has by default; give "
				"another",
				kinds[given->kind].option, d->id);
		else
			log_err("--%s: id=%s is given twice", option, d->id);
		return -EINVAL;
	}
	return 0;
}

int config_name_devices(struct config *cfg)
{
	u32 count[ARRAY_SIZE(kinds)] = { 0 };

	for (u32 i = 0; i < cfg->ndevices; i++) {
		struct device_config *d = &cfg->device[i];
		u32 n = count[d->kind]++;
		int err;

		snprintf(d->default_id, sizeof(d->default_id), "%s%u", kinds[d->kind].name, n);
		if (!d->id)
			d->id = d->default_id;
		err = check_name(cfg, d);
		if (err)
			return err;
	}
	return 0;
}

/* ---- options ---- */

/* The image is ours, or a back end's. */
static int check_image(const char *arg, const struct disk_config *disk)
{
	if (disk->datapath == DISK_VHOST_USER && disk->socket) {
		if (!disk->file && !disk->serial && !disk->readonly && !disk->direct &&
		    !disk->aio && !disk->writethrough && disk->discard)
			return 0;
		log_err("--disk %s: with socket=PATH, the image and what concerns it are the back "
			"end's to know",
			arg);
		return -EINVAL;
	}
	if (disk->socket || disk->server) {
		log_err("--disk %s: socket= and server= go with datapath=vhost-user and each other",
			arg);
		return -EINVAL;
	}
	if (!disk->file) {
		log_err("--disk %s: give file=PATH, the image%s", arg,
			disk->datapath == DISK_VHOST_USER ? ", or socket=PATH, where a back end is"
							  : "");
		return -EINVAL;
	}
	return 0;
}

/* To be moved, the image has to be ours; only then there are two that write it. */
static int check_sharing(const char *arg, const struct device_config *d)
{
	if (d->switches && d->disk.socket) {
		log_err("--disk %s: switch= is for file=PATH, an image that can change hands; "
			"minivmm "
			"ctl switch names the socket",
			arg);
		return -EINVAL;
	}
	if (d->disk.share && (!d->switches || d->disk.readonly)) {
		log_err("--disk %s: share=on is for switch=, and not for readonly=on, which is "
			"shared "
			"in any case",
			arg);
		return -EINVAL;
	}
	return 0;
}

int config_disk(struct config *cfg, const char *arg)
{
	char *text;
	struct device_config *d = config_add_device(cfg, "disk", arg, DEVICE_DISK, &text);
	int err;

	if (!d)
		return -EINVAL;
	d->disk.discard = true;
	err = subopts_parse("disk", text, disk_subopts, d);
	if (err)
		return err;
	err = check_image(arg, &d->disk);
	if (!err)
		err = config_switches("disk", d);
	if (!err)
		err = check_sharing(arg, d);
	if (err)
		return err;
	if (d->queue_size && d->queue_size < DISK_QUEUE_MIN) {
		log_err("--disk: queue-size=%u: a request takes 3 descriptors; give 4 or more",
			d->queue_size);
		return -EINVAL;
	}
	if (d->disk.serial && strlen(d->disk.serial) > VIRTIO_BLK_ID_BYTES) {
		log_err("--disk: serial=%s: at most %d bytes", d->disk.serial, VIRTIO_BLK_ID_BYTES);
		return -EINVAL;
	}
	return 0;
}

int config_rng(struct config *cfg, const char *arg)
{
	char *text;
	struct device_config *d = config_add_device(cfg, "rng", arg, DEVICE_RNG, &text);
	const char *word;

	if (!d)
		return -EINVAL;
	word = subopts_word(&text);
	if (strcmp(word, "off") == 0)
		cfg->ndevices--;
	else if (strcmp(word, "on") != 0) {
		log_err("--rng %s: give on or off, and settings after it", arg);
		return -EINVAL;
	}
	return subopts_parse("rng", text, rng_subopts, d);
}

int config_stream(const char *option, const char *word, struct stream_config *s)
{
	if (strcmp(word, "stdio") == 0)
		s->kind = STREAM_STDIO;
	else if (strcmp(word, "none") == 0)
		s->kind = STREAM_NONE;
	else if (strcmp(word, "pty") == 0)
		s->kind = STREAM_PTY;
	else if (strncmp(word, "file=", 5) == 0 && word[5])
		s->kind = STREAM_FILE;
	else if (strncmp(word, "unix=", 5) == 0 && word[5])
		s->kind = STREAM_UNIX;
	else {
		log_err("--%s %s: give stdio, none, pty, file=PATH or unix=PATH", option, word);
		return -EINVAL;
	}
	s->path = s->kind == STREAM_FILE || s->kind == STREAM_UNIX ? word + 5 : NULL;
	return 0;
}

int config_console(struct config *cfg, const char *arg)
{
	char *text;
	struct device_config *d = config_add_device(cfg, "console", arg, DEVICE_CONSOLE, &text);
	int err;

	if (!d)
		return -EINVAL;
	d->console.nports = 1;
	err = config_stream("console", subopts_word(&text), &d->console.port[0].stream);
	return err ? err : subopts_parse("console", text, console_subopts, d);
}

int config_port(struct config *cfg, const char *arg)
{
	struct device_config *d = cfg->ndevices ? &cfg->device[cfg->ndevices - 1] : NULL;
	struct port_config *port;
	char *text;
	int err;

	if (!d || d->kind != DEVICE_CONSOLE) {
		log_err("--port %s: give it after the --console that it belongs to", arg);
		return -EINVAL;
	}
	if (d->console.nports == CONFIG_PORTS_MAX) {
		log_err("--port: a console has at most %d ports", CONFIG_PORTS_MAX);
		return -EINVAL;
	}
	text = keep(cfg, arg);
	if (!text)
		return -EINVAL;
	port = &d->console.port[d->console.nports++];
	*port = (struct port_config){ 0 };
	err = config_stream("port", subopts_word(&text), &port->stream);
	if (!err)
		err = subopts_parse("port", text, port_subopts, port);
	if (!err && !port->name) {
		log_err("--port %s: give it a name: name=NAME", arg);
		err = -EINVAL;
	}
	for (u32 i = 1; !err && &d->console.port[i] < port; i++) {
		if (strcmp(d->console.port[i].name, port->name) == 0) {
			log_err("--port: name=%s is given twice", port->name);
			err = -EINVAL;
		}
	}
	return err;
}
