// SPDX-License-Identifier: MIT
/*
 * machine_virtio.c - the virtio devices that the user asked for: what stands behind each (image,
 * streams), the device itself, its transport.
 *
 * How it works: images come first, streams after them, since that empties files; what makes the
 * terminal raw comes last of all.
 */
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/virtio.h"
#include "vmm/machine.h"
#include "vmm/machine_child.h"
#include "vmm/machine_switch.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#define MMIO_STEP 0x1000
#define MMIO_GSIS 4

_Static_assert(CONFIG_PORTS_MAX == VIRTIO_CONSOLE_PORTS_MAX, "as many as the device has");
_Static_assert(VIRTIO_MMIO_SIZE <= MMIO_STEP, "transports do not overlap");

int machine_describe_virtio(struct machine *m, u64 base, u32 gsi)
{
	struct platform *p = &m->platform;
	u32 n = 0;

	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		if (m->cfg->device[i].bus == DEVICE_ON_PCI)
			continue;
		p->node[p->nnodes++] = (struct platform_node){
			.kind = PLATFORM_VIRTIO_MMIO,
			.base = base + n * MMIO_STEP,
			.size = VIRTIO_MMIO_SIZE,
			.gsi = gsi + n % MMIO_GSIS,
		};
		n++;
	}
	return 0;
}

/* The n-th virtio-mmio transport's place. */
static const struct platform_node *mmio_node(const struct machine *m, u32 n)
{
	const struct platform_node *node = m->platform.node;

	while (node->kind != PLATFORM_VIRTIO_MMIO || n--)
		node++;
	return node;
}

int machine_refused(const char *option, int err)
{
	log_err("--%s: %s%s", option, strerror(-err),
		err == -EMFILE ? "; see ulimit -n: each queue takes some file descriptors" : "");
	return err;
}

static int create_disk(struct machine *m, const struct device_config *d,
		       const struct virtio_options *o, struct virtio_dev **v)
{
	const struct disk_config *cfg = &d->disk;
	const struct image_options image = {
		.path = cfg->file,
		.readonly = cfg->readonly,
		.direct = cfg->direct,
		.aio = cfg->aio,
		.lock = cfg->share ? IMAGE_OWNED : IMAGE_ALONE,
	};
	struct virtio_blk_options blk = {
		.writethrough = cfg->writethrough,
		.discard = cfg->discard,
		.serial = cfg->serial,
		.modest = d->switches,
	};
	u32 i = d - m->cfg->device;
	int err = image_open(&blk.image, &image);

	if (err) /* it has said why */
		return err;
	err = virtio_blk_create(v, &m->env, o, &blk);
	if (err)
		return machine_refused("disk", err);
	m->image[i] = blk.image;
	return d->switches ? machine_begin_switching(m, i, *v) : 0;
}

/* These two say themselves why they can't be made. */
static int create_vhost_user_disk(struct machine *m, const struct device_config *d,
				  const struct virtio_options *o, struct virtio_dev **v)
{
	struct virtio_vhost_user_options vu = {
		.option = "disk",
		.id = VIRTIO_ID_BLOCK,
		.path = d->disk.socket,
		.server = d->disk.server,
	};
	int err = vu.path ? 0 : machine_child_disk(m, d, &vu.process);

	if (err)
		return err;
	err = virtio_vhost_user_create(v, &m->env, o, &vu);
	if (err && vu.process)
		machine_explain_child(vu.process, err);
	return err;
}

static int create_vhost_user(struct machine *m, const struct vhost_user_config *cfg,
			     const struct virtio_options *o, struct virtio_dev **v)
{
	const struct virtio_vhost_user_options vu = {
		.option = "vhost-user",
		.id = cfg->id,
		.path = cfg->socket,
		.server = cfg->server,
		.tag = cfg->tag,
		.config_len = cfg->config_size,
	};

	return virtio_vhost_user_create(v, &m->env, o, &vu);
}

static int create_console(struct machine *m, const struct console_config *cfg,
			  struct stream *stream, const struct virtio_options *o,
			  struct virtio_dev **v)
{
	struct virtio_console_port port[CONFIG_PORTS_MAX];
	int err;

	for (u32 i = 0; i < cfg->nports; i++)
		port[i] = (struct virtio_console_port){ cfg->port[i].name, &stream[i] };
	err = virtio_console_create(v, &m->env, o, port, cfg->nports);
	if (err)
		return machine_refused("console", err);
	if (cfg->port[0].stream.kind == STREAM_STDIO) {
		m->window = *v;
		m->window_stream = stream;
	}
	return 0;
}

static int create(struct machine *m, const struct device_config *d, struct stream *stream,
		  const struct virtio_options *o, struct virtio_dev **v)
{
	int err;

	switch (d->kind) {
	case DEVICE_DISK:
		if (d->disk.datapath == DISK_VHOST_USER && !d->switches)
			return create_vhost_user_disk(m, d, o, v);
		return create_disk(m, d, o, v);
	case DEVICE_CONSOLE:
		return create_console(m, &d->console, stream, o, v);
	case DEVICE_RNG:
		err = virtio_rng_create(v, &m->env, o);
		return err ? machine_refused("rng", err) : 0;
	case DEVICE_NET:
		return machine_create_net(m, d, o, v);
	case DEVICE_VHOST_USER:
		return create_vhost_user(m, &d->vhost_user, o, v);
	}
	return -EINVAL;
}

/* A stream for each port, not open yet. */
static int begin_ports(struct machine *m)
{
	u32 n = 0;

	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		if (m->cfg->device[i].kind == DEVICE_CONSOLE)
			n += m->cfg->device[i].console.nports;
	}
	m->port = calloc(n + 1, sizeof(*m->port));
	if (!m->port)
		return -ENOMEM;
	for (m->nports = 0; m->nports < n; m->nports++)
		stream_init(&m->port[m->nports], m->loop);
	return 0;
}

/* Open the ports that are standard input and output, or all others. */
static int open_ports(struct machine *m, bool stdio)
{
	struct stream *s = m->port;

	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		const struct console_config *c = &m->cfg->device[i].console;

		if (m->cfg->device[i].kind != DEVICE_CONSOLE)
			continue;
		for (u32 p = 0; p < c->nports; p++, s++) {
			int err = 0;

			if ((c->port[p].stream.kind == STREAM_STDIO) == stdio)
				err = machine_open_stream(m, s, &c->port[p].stream);
			if (err)
				return err;
		}
	}
	return 0;
}

/* Is it another process's, which may have doorbells of its own? */
static bool has_back_end(const struct device_config *d)
{
	return d->kind == DEVICE_VHOST_USER ||
	       (d->kind == DEVICE_DISK && d->disk.datapath == DISK_VHOST_USER && d->disk.socket) ||
	       (d->kind == DEVICE_NET && d->net.datapath == PATH_VHOST_USER &&
		d->net.peer == NET_BACK_END);
}

static int build_device(struct machine *m, const struct device_config *d, struct stream *stream,
			u32 *nmmio, u32 *nqueues)
{
	const struct virtio_options o = {
		.packed = d->packed,
		.queues = d->queues,
		.queue_size = d->queue_size,
		.iothread = *nqueues,
		.pages = d->bus == DEVICE_ON_PCI && has_back_end(d),
	};
	struct virtio_dev *v;
	struct device *dev;
	int err = create(m, d, stream, &o, &v);

	if (err)
		return err;
	if (d->bus == DEVICE_ON_PCI) {
		err = virtio_pci_create(&dev, &m->env, m->pci, v);
	} else {
		const struct platform_node *node = mmio_node(m, (*nmmio)++);

		err = virtio_mmio_create(&dev, &m->env, node->base, node->gsi, v);
	}
	if (err) {
		log_err("%s: %s", v->ops->name, strerror(-err));
		virtio_destroy(v);
		return err;
	}
	*nqueues += v->nqueues;
	m->virtio[d - m->cfg->device] = v;
	machine_add(m, dev);
	return 0;
}

int machine_build_virtio(struct machine *m)
{
	struct stream *stream;
	u32 nmmio = 0, nqueues = 0;
	int err = begin_ports(m);

	stream = m->port;
	for (u32 i = 0; i < m->cfg->ndevices && !err; i++) {
		const struct device_config *d = &m->cfg->device[i];

		err = build_device(m, d, stream, &nmmio, &nqueues);
		if (d->kind == DEVICE_CONSOLE)
			stream += d->console.nports;
	}
	if (!err)
		err = open_ports(m, false);
	if (!err)
		err = open_ports(m, true);
	if (!err)
		machine_window_changed(m);
	return err;
}

void machine_window_changed(struct machine *m)
{
	u16 columns, rows;

	if (m->window && stream_window_size(m->window_stream, &columns, &rows) == 0)
		virtio_console_resize(m->window, 0, columns, rows);
}
