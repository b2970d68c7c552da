// SPDX-License-Identifier: MIT
/*
 * vhost_user_ring.c - see vhost_user_ring.h.
 */
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <unistd.h>

/* A queue's part of the record (Vhost-user Protocol, "Inflight I/O tracking"), packed. */
struct record_packed {
	u64 features;
	u16 version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	u8 used_wrap_counter, old_used_wrap_counter;
};

/* In either format a head and `size` entries, all as long, which begin with whether they are in flight. */
#define RECORD_UNIT(packed) ((packed) ? 32 : 16)

int vhost_user_ring_addr(const struct mem *mem, const struct vq_cfg *cfg, u32 index,
			 struct vhost_user_addr *addr)
{
	struct vq_areas areas;
	int err = vq_find_areas(&areas, mem, cfg);

	if (err)
		return err;
	*addr = (struct vhost_user_addr){
		.index = index,
		.desc = (uintptr_t)areas.desc,
		.avail = (uintptr_t)areas.driver,
		.used = (uintptr_t)areas.device,
		.log = cfg->device,
	};
	return 0;
}

u32 vhost_user_ring_base(const struct vq_cfg *cfg, struct vq_pos pos)
{
	return cfg->packed ? pos.avail | (u32)pos.used << 16 : pos.avail;
}

/* A split ring's used index, which the driver can write, too: any value is one. */
static u16 used_idx(const struct mem *mem, const struct vq_cfg *cfg)
{
	struct vq_areas areas;

	if (vq_find_areas(&areas, mem, cfg))
		return 0;
	return __atomic_load_n(&((struct vring_used *)areas.device)->idx, __ATOMIC_ACQUIRE);
}

static bool is_packed_pos(const struct vq_cfg *cfg, u16 pos)
{
	return (pos & 0x7fff) < cfg->size;
}

int vhost_user_ring_pos(const struct mem *mem, const struct vq_cfg *cfg, u32 base,
			struct vq_pos *pos)
{
	if (!cfg->packed) {
		*pos = (struct vq_pos){ base, used_idx(mem, cfg) };
		return base > UINT16_MAX ? -EPROTO : 0;
	}
	*pos = (struct vq_pos){ base & 0xffff, base >> 16 };
	if (!pos->used) /* DPDK gives one half only; nothing is in flight, so they are the same */
		pos->used = pos->avail;
	return is_packed_pos(cfg, pos->avail) && is_packed_pos(cfg, pos->used) ? 0 : -EPROTO;
}

/* ---- the record: the back end's file, so it is read and written, not mapped ---- */

/* Nobody else can make us wait for such a file. */
static bool is_memory(int fd)
{
	return fd >= 0 && fcntl(fd, F_GET_SEALS) >= 0;
}

static off_t part_of(const struct vhost_user_inflight *rec, u32 index)
{
	return rec->mmap_offset + rec->mmap_size / rec->nqueues * index;
}

bool vhost_user_record_sound(const struct vhost_user_inflight *rec, u32 nqueues)
{
	u64 end;

	return rec->nqueues >= nqueues &&
	       !__builtin_add_overflow(rec->mmap_offset, rec->mmap_size, &end) && end <= INT64_MAX;
}

bool vhost_user_record_busy(int fd, const struct vhost_user_inflight *rec, u32 index,
			    const struct vq_cfg *cfg)
{
	u32 unit = RECORD_UNIT(cfg->packed);

	if (!is_memory(fd))
		return true;
	for (u32 i = 1; i <= cfg->size; i++) {
		u8 inflight;

		if (pread(fd, &inflight, 1, part_of(rec, index) + (off_t)unit * i) != 1 || inflight)
			return true;
	}
	return false;
}

struct vq_pos vhost_user_ring_unknown(const struct vq_cfg *cfg, u16 used)
{
	u16 round = cfg->packed ? 0x8000 : cfg->size; /* packed: the wrap counter */

	return (struct vq_pos){ used + round, used };
}

void vhost_user_record_forget(int fd, const struct vhost_user_inflight *rec, u32 index, bool packed,
			      u16 queue_size)
{
	static const u8 zero[4096];
	u64 left = vq_inflight_size(packed, queue_size);
	off_t at;

	if (!is_memory(fd))
		return;
	at = part_of(rec, index);
	if (left > rec->mmap_size / rec->nqueues)
		left = rec->mmap_size / rec->nqueues;
	while (left) {
		ssize_t n = pwrite(fd, zero, left < sizeof(zero) ? left : sizeof(zero), at);

		if (n <= 0)
			return;
		left -= n;
		at += n;
	}
}

int vhost_user_ring_recover(const struct mem *mem, const struct vq_cfg *cfg, u32 index, int fd,
			    const struct vhost_user_inflight *rec, struct vq_pos *pos)
{
	struct record_packed r;
	u16 used;

	if (!cfg->packed) {
		used = used_idx(mem, cfg);
		*pos = (struct vq_pos){ used, used };
		return 0;
	}
	if (!is_memory(fd) || pread(fd, &r, sizeof(r), part_of(rec, index)) != sizeof(r))
		return -ENODATA;
	if (r.version != 1 || r.old_used_idx >= cfg->size)
		return -ENODATA;
	used = r.old_used_idx | (r.old_used_wrap_counter ? 0x8000 : 0);
	*pos = (struct vq_pos){ used, used };
	return 0;
}
