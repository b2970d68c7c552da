// SPDX-License-Identifier: MIT
/*
 * machine_virtio.c - the virtio devices that the user asked for: what stands behind each (image,
 * streams), the device itself, its transport.
 *
 * How it works: what can fail for the user's reasons is opened before any device is made, and what
 * makes the terminal raw last of all.
 */
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/virtio.h"
#include "vmm/machine.h"

#include <errno.h>
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

static int create_disk(struct machine *m, const struct disk_config *cfg,
		       const struct virtio_options *o, struct virtio_dev **v)
{
	const struct image_options image = {
		.path = cfg->file,
		.readonly = cfg->readonly,
		.direct = cfg->direct,
		.aio = cfg->aio,
	};
	struct virtio_blk_options blk = {
		.writethrough = cfg->writethrough,
		.discard = cfg->discard,
		.serial = cfg->serial,
	};
	int err = image_open(&blk.image, &image);

	return err ? err : virtio_blk_create(v, &m->env, o, &blk);
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
	if (!err && cfg->port[0].stream.kind == STREAM_STDIO)
		m->window = *v;
	return err;
}

static int create(struct machine *m, const struct device_config *d, struct stream *stream,
		  const struct virtio_options *o, struct virtio_dev **v)
{
	switch (d->kind) {
	case DEVICE_DISK:
		return create_disk(m, &d->disk, o, v);
	case DEVICE_CONSOLE:
		return create_console(m, &d->console, stream, o, v);
	case DEVICE_RNG:
		return virtio_rng_create(v, &m->env, o);
	}
	return -EINVAL;
}

/* Open the streams of all ports: first those that only may fail, then standard input and output. */
static int open_ports(struct machine *m)
{
	const struct config *cfg = m->cfg;

	for (u32 i = 0; i < cfg->ndevices; i++) {
		if (cfg->device[i].kind == DEVICE_CONSOLE)
			m->nports += cfg->device[i].console.nports;
	}
	m->port = calloc(m->nports + 1, sizeof(*m->port));
	if (!m->port) {
		m->nports = 0;
		return -ENOMEM;
	}
	for (u32 i = 0; i < m->nports; i++)
		stream_init(&m->port[i], m->loop);
	for (int stdio = 0; stdio <= 1; stdio++) {
		struct stream *s = m->port;

		for (u32 i = 0; i < cfg->ndevices; i++) {
			const struct console_config *c = &cfg->device[i].console;

			for (u32 p = 0; cfg->device[i].kind == DEVICE_CONSOLE && p < c->nports;
			     p++, s++) {
				int err = 0;

				if ((c->port[p].stream.kind == STREAM_STDIO) == stdio)
					err = machine_open_stream(m, s, &c->port[p].stream);
				if (err)
					return err;
			}
		}
	}
	return 0;
}

static int build_device(struct machine *m, const struct device_config *d, struct stream *stream,
			u32 *nmmio, u32 *nqueues)
{
	const struct virtio_options o = {
		.packed = d->packed,
		.queues = d->queues,
		.queue_size = d->queue_size,
		.iothread = *nqueues,
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
	machine_add(m, dev);
	return 0;
}

int machine_build_virtio(struct machine *m)
{
	struct stream *stream;
	u32 nmmio = 0, nqueues = 0;
	int err = open_ports(m);

	stream = m->port;
	for (u32 i = 0; i < m->cfg->ndevices && !err; i++) {
		const struct device_config *d = &m->cfg->device[i];

		err = build_device(m, d, stream, &nmmio, &nqueues);
		if (d->kind == DEVICE_CONSOLE)
			stream += d->console.nports;
	}
	if (!err)
		machine_window_changed(m);
	return err;
}

void machine_window_changed(struct machine *m)
{
	u16 columns, rows;

	if (m->window && stream_window_size(m->port, &columns, &rows) == 0)
		virtio_console_resize(m->window, 0, columns, rows);
}
