// SPDX-License-Identifier: MIT
/*
 * vhost_user_dev.c - a virtio device of any type, all of whose queues a vhost-user back end serves.
 *
 *	registers, transport	this process, as for every device
 *	configuration space	the back end's (GET_CONFIG), of which we keep a copy for the driver to read
 *	features		those of the back end
 *	queues			the back end's (devices/datapath/vhost_user.c)
 *
 * How it works: the driver sees what the back end offers, except for two things that are ours: how many
 * queues there are, which is the user's choice, so that the field that says so is filled in here; and
 * what a file system without a configuration space is called.
 *
 * Threads: the driver's writes on vCPUs, under the device's lock; the back end's changes on the main loop.
 */
#include "devices/datapath/vhost_user.h"
#include "minivmm/devices.h"
#include "minivmm/log.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE  128 /* as the back ends have it that say it nowhere */
#define FS_TAG_LEN  36
#define FS_QUEUES   36 /* offset of num_request_queues */
#define NO_FIELD    ~0U

#define BLK_F_ZONED 17 /* VIRTIO 1.3, 5.2.3; older headers lack it */

/* Feature bits 24 to 49 are not the device type's (6); those of them that a back end can have. */
#define TYPE_FEATURES (~(((1ULL << 50) - 1) & ~((1ULL << 24) - 1)))
#define RING_FEATURES                                                                       \
	(VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | \
	 VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER))
#define RING_FEATURE_PACKED VIRTIO_FEATURE(VIRTIO_F_RING_PACKED)

/* Those network features that need a control queue. */
#define NET_CTRL_FEATURES                                                                      \
	(VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_RX) |         \
	 VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VLAN) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_RX_EXTRA) | \
	 VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_ANNOUNCE) | VIRTIO_FEATURE(VIRTIO_NET_F_MQ) |       \
	 VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_MAC_ADDR) |                                          \
	 VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))

/* What we know of a type of device. */
struct type {
	u32 id;
	const char *name;
	u32 pci_class;
	u32 config_len;
	u32 queues;	     /* by default */
	u32 queues_at;	     /* where the configuration says (16 or 32 bits) how many there are */
	u32 queues_len;	     /* of that field */
	u32 queues_not;	     /* and how many of them it does not count */
	u64 single_features; /* not to be offered with the least number of queues */
};

/* clang-format off: one type a row */
static const struct type types[] = {
	{ VIRTIO_ID_BLOCK, "virtio-blk", 0x010000,
	  offsetof(struct virtio_blk_config, max_secure_erase_sectors), 1,
	  offsetof(struct virtio_blk_config, num_queues), 2, 0, VIRTIO_FEATURE(VIRTIO_BLK_F_MQ) },
	{ VIRTIO_ID_FS, "virtio-fs", 0x018000, FS_TAG_LEN + 4, 2, FS_QUEUES, 4, 1, 0 },
	{ VIRTIO_ID_NET, "virtio-net", 0x020000, offsetof(struct virtio_net_config, mtu), 2,
	  NO_FIELD, 0, 0, NET_CTRL_FEATURES },
	{ VIRTIO_ID_RNG, "virtio-rng", 0x00ff00, 0, 1, NO_FIELD, 0, 0, 0 },
	{ VIRTIO_ID_CONSOLE, "virtio-console", 0x078000, 12, 2, NO_FIELD, 0, 0, 0 },
	{ VIRTIO_ID_SCSI, "virtio-scsi", 0x010000, 36, 3, 0, 4, 2, 0 },
};
/* clang-format on */

struct offloaded {
	struct virtio_dev v;
	struct virtio_ops ops; /* id, name and class are the type's */
	struct type type;
	char tag[FS_TAG_LEN]; /* fs: fixed */
	bool has_config;      /* the back end has one */
};

static struct offloaded *offloaded_of(struct virtio_dev *v)
{
	return container_of(v, struct offloaded, v);
}

/* What the back end does not know of its configuration space. */
static void fill_in(struct offloaded *f, u8 *config)
{
	u32 n = f->v.nqueues - f->type.queues_not;

	if (f->type.queues_at != NO_FIELD && f->type.config_len)
		memcpy(config + f->type.queues_at, &n, f->type.queues_len);
	if (f->type.id == VIRTIO_ID_FS && f->tag[0])
		memcpy(config, f->tag, FS_TAG_LEN);
}

/* Main loop. */
static void config_changed(void *owner, const u8 *config)
{
	struct offloaded *f = owner;
	u8 now[VIRTIO_CONFIG_MAX];

	memcpy(now, config, f->type.config_len);
	fill_in(f, now);
	virtio_config_update(&f->v, 0, now, f->type.config_len);
}

/* The driver then reads what the back end has made of it. */
static void config_written(struct virtio_dev *v, u32 off, u32 len)
{
	struct offloaded *f = offloaded_of(v);
	u8 now[VIRTIO_CONFIG_MAX], written[VIRTIO_CONFIG_MAX];

	if (!f->has_config)
		return;
	pthread_mutex_lock(&v->config_lock);
	memcpy(written, v->config + off, len);
	pthread_mutex_unlock(&v->config_lock);
	vhost_user_config_written(v->path, off, written, len, now);
	fill_in(f, now);
	pthread_mutex_lock(&v->config_lock);
	memcpy(v->config, now, v->config_len);
	v->config_changed = true;
	pthread_mutex_unlock(&v->config_lock);
}

/* Never called: no queue is served here. */
static void serve(struct virtio_dev *v, struct virtio_queue *q)
{
	(void)v;
	(void)q;
}

static void destroy(struct virtio_dev *v)
{
	virtio_dev_destroy(v);
	free(offloaded_of(v));
}

static struct type type_of(const struct virtio_vhost_user_options *opts)
{
	struct type t = { .id = opts->id,
			  .name = "virtio device",
			  .pci_class = 0x00ff00,
			  .queues = 1,
			  .queues_at = NO_FIELD };

	for (u32 i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].id == opts->id)
			t = types[i];
	}
	if (opts->config_len) {
		if (opts->config_len < t.config_len)
			t.queues_at = NO_FIELD;
		t.config_len = opts->config_len;
	}
	return t;
}

/* What the driver is offered of the back end's features. */
static u64 features_of(struct offloaded *f, const struct virtio_options *o, u64 back_end)
{
	u64 mask = TYPE_FEATURES | RING_FEATURES | (o->packed ? RING_FEATURE_PACKED : 0);

	if (f->v.nqueues == f->type.queues)
		mask &= ~f->type.single_features;
	/*
	 * Without this the driver takes it that there is a cache to be flushed (5.2.5.2). With it it goes by
	 * the configuration space, which says "none" at back ends that have one all the same
	 * (qemu-storage-daemon 7.2), and what it flushes nobody hears of.
	 */
	if (f->type.id == VIRTIO_ID_BLOCK)
		mask &= ~VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
	/* What such a request may do is in fields that there have to be. */
	if (f->type.id == VIRTIO_ID_BLOCK && f->type.config_len < sizeof(struct virtio_blk_config))
		mask &= ~(VIRTIO_FEATURE(VIRTIO_BLK_F_SECURE_ERASE) | VIRTIO_FEATURE(BLK_F_ZONED));
	return back_end & mask;
}

static int connect_to(struct offloaded *f, const struct machine_env *env,
		      const struct virtio_options *o, const struct virtio_vhost_user_options *opts)
{
	struct datapath *path;
	const struct vhost_user_options vu = {
		.option = opts->option,
		.path = opts->path,
		.process = opts->process,
		.server = opts->server,
		.nqueues = f->v.nqueues,
		.queue_num = f->v.nqueues,
		.queue_size = f->v.queue[0].size_max,
		.config_len = f->has_config ? f->type.config_len : 0,
		.needs = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
			 (o->packed ? RING_FEATURE_PACKED : 0) |
			 (f->type.id == VIRTIO_ID_BLOCK && f->v.nqueues > 1
				  ? VIRTIO_FEATURE(VIRTIO_BLK_F_MQ)
				  : 0),
		.repeatable = f->type.id == VIRTIO_ID_BLOCK,
		.pages = o->pages,
		.timeout_ms = opts->timeout_ms,
		.config_changed = config_changed,
		.owner = f,
	};
	int err = vhost_user_create(&path, env, &vu);

	if (err)
		return err;
	f->v.offered |= features_of(f, o, vhost_user_features(path));
	virtio_set_path(&f->v, path);
	if (f->has_config)
		vhost_user_config(path, f->v.config);
	fill_in(f, f->v.config);
	memset(f->v.config_writable, f->has_config ? 0xff : 0, f->v.config_len);
	return 0;
}

int virtio_vhost_user_create(struct virtio_dev **v, const struct machine_env *env,
			     const struct virtio_options *o,
			     const struct virtio_vhost_user_options *opts)
{
	struct offloaded *f = calloc(1, sizeof(*f));
	u32 nqueues;
	int err = -ENOMEM;

	if (f) {
		f->type = type_of(opts);
		nqueues = o->queues ? o->queues : f->type.queues;
		f->ops = (struct virtio_ops){
			.name = f->type.name,
			.id = f->type.id,
			.pci_class = f->type.pci_class,
			.config_written = config_written,
			.serve = serve,
			.destroy = destroy,
		};
		/* A file system whose name the user gives needs no configuration space. */
		f->has_config = f->type.config_len && !opts->tag;
		if (opts->tag) /* padded with NULs, without one at the end if it is as long (5.11.4) */
			memcpy(f->tag, opts->tag, strnlen(opts->tag, FS_TAG_LEN));
		err = virtio_dev_init(&f->v, &f->ops, env, o, nqueues, QUEUE_SIZE,
				      f->type.config_len);
	}
	if (err) {
		log_err("--%s: %s", opts->option, strerror(-err));
		free(f);
		return err;
	}
	err = connect_to(f, env, o, opts);
	if (err) {
		destroy(&f->v);
		return err;
	}
	*v = &f->v;
	return 0;
}
