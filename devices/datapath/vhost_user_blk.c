// SPDX-License-Identifier: MIT
/*
 * vhost_user_blk.c - the data path of a disk of ours by a vhost-user back end that has the same image, for a while.
 *
 *	registers, configuration space	this process: blk.c's, whoever serves
 *	queues				the back end's (vhost_user.c)
 *
 * How it works: the driver has been told by our configuration space how large the disk is, and how large its
 * requests may be. So a back end must have the same disk, and be able to do at least that much; what it says beyond
 * that nobody hears of. A back end that comes in the place of one that has gone is looked at in the same way.
 *
 * The same disk: as large as ours, and, as far as can be seen, our file: /proc tells which files the process has open
 * at whose socket we are. It does not tell of another user's, or of one that has handed its socket to a child.
 *
 * The cache mode (VIRTIO_BLK_F_CONFIG_WCE) is nobody's to choose: a back end may have its own mind about it
 * (vhost_user_dev.c). Without that feature a driver that has FLUSH takes it that there is a cache, and flushes
 * (5.2.5.2).
 *
 * Threads: see vhost_user.c.
 */
#include "devices/datapath/vhost_user.h"
#include "minivmm/devices.h"
#include "minivmm/virtio.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BLK_F(name) VIRTIO_FEATURE(VIRTIO_BLK_F_##name)
/* Those that say which fields of the configuration space there are. */
#define OURS	   (BLK_F(SIZE_MAX) | BLK_F(SEG_MAX) | BLK_F(BLK_SIZE) | BLK_F(TOPOLOGY))
#define CONFIG_LEN offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define SECTOR	   512

/* A limit of the driver's requests, in a 32-bit field. */
struct limit {
	const char *name;
	u32 off;
	u32 feature; /* whoever has the field offers it */
};

#define LIMIT(name, feature)                                                             \
	{                                                                                \
#name, offsetof(struct virtio_blk_config, name), VIRTIO_BLK_F_##feature, \
	}

static const struct limit limits[] = {
	LIMIT(size_max, SIZE_MAX),
	LIMIT(seg_max, SEG_MAX),
	LIMIT(max_discard_sectors, DISCARD),
	LIMIT(max_discard_seg, DISCARD),
	LIMIT(max_write_zeroes_sectors, WRITE_ZEROES),
	LIMIT(max_write_zeroes_seg, WRITE_ZEROES),
};

static u32 field(const u8 *config, u32 off)
{
	u32 value;

	memcpy(&value, config + off, sizeof(value));
	return value;
}

static bool has_bit(u64 features, u32 bit)
{
	return features >> bit & 1;
}

/* Can it do what we have told the driver? 0 in a field is no limit. */
static bool limit_fits(const struct limit *l, u64 ours, u64 theirs, const u8 *config,
		       const u8 *told, char *why, size_t size)
{
	u32 can = field(config, l->off), may = field(told, l->off);

	if (!has_bit(ours, l->feature) || !has_bit(theirs, l->feature) || !can || can >= may)
		return true;
	snprintf(why, size, "%s is %u, and the driver may use %u", l->name, can, may);
	return false;
}

static bool is_same_disk(u64 ours, u64 theirs, const u8 *config, const u8 *told, char *why,
			 size_t size)
{
	struct virtio_blk_config can, has;
	u32 unit;

	memcpy(&can, config, CONFIG_LEN);
	memcpy(&has, told, CONFIG_LEN);
	unit = has_bit(theirs, VIRTIO_BLK_F_BLK_SIZE) && can.blk_size ? can.blk_size : SECTOR;
	if (can.capacity != has.capacity)
		snprintf(why, size, "it has %llu sectors, and not %llu",
			 (unsigned long long)can.capacity, (unsigned long long)has.capacity);
	else if (has.blk_size % unit)
		snprintf(why, size, "its blocks have %u bytes, and not %u", unit, has.blk_size);
	else if (has_bit(theirs, VIRTIO_BLK_F_RO) && !has_bit(ours, VIRTIO_BLK_F_RO))
		snprintf(why, size, "it can't be written");
	else
		return true;
	return false;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Is it known that the process at the other end of `sock` has not opened this file? */
static bool lacks_file(int sock, const struct stat *file)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	struct dirent *entry;
	bool found = false;
	char path[40];
	DIR *dir;

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)peer.pid);
	dir = opendir(path);
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir))) {
		struct stat st;

		found = fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && is_same_file(&st, file);
	}
	closedir(dir);
	return !found;
}

/* struct vhost_user_options.fits() */
static bool fits(void *owner, int sock, u64 features, const u8 *config, char *why, size_t size)
{
	struct virtio_dev *v = owner;
	u8 told[CONFIG_LEN];
	struct stat file;

	pthread_mutex_lock(&v->config_lock);
	memcpy(told, v->config, sizeof(told));
	pthread_mutex_unlock(&v->config_lock);
	if (!is_same_disk(v->offered, features, config, told, why, size))
		return false;
	for (u32 i = 0; i < ARRAY_SIZE(limits); i++) {
		if (!limit_fits(&limits[i], v->offered, features, config, told, why, size))
			return false;
	}
	if (fstat(virtio_blk_fd(v), &file) < 0 || !lacks_file(sock, &file))
		return true;
	snprintf(why, size, "it has not opened this disk's file");
	return false;
}

int vhost_user_blk_create(struct datapath **d, const struct machine_env *env,
			  const struct vhost_user_blk_options *o)
{
	const struct vhost_user_options vu = {
		.option = "disk",
		.path = o->path,
		.process = o->process,
		.nqueues = o->v->nqueues,
		.queue_num = o->v->nqueues,
		.queue_size = o->v->queue[0].size_max,
		.config_len = CONFIG_LEN,
		.needs = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) |
			 (o->packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0) |
			 (o->v->nqueues > 1 ? BLK_F(MQ) : 0),
		.ours = OURS,
		.withheld = BLK_F(CONFIG_WCE),
		.repeatable = true,
		.timeout_ms = o->timeout_ms,
		.fits = fits,
		.owner = o->v,
	};

	return vhost_user_create(d, env, &vu);
}
