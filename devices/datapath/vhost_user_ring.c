// SPDX-License-Identifier: MIT
/*
 * vhost_user_ring.c - see vhost_user_ring.h.
 *
 *	split	descriptor table 16 n	available ring 6 + 2 n	used ring 6 + 8 n	(2.7)
 *	packed	descriptor ring 16 n	driver area 4		device area 4		(2.8)
 */
#include "devices/datapath/vhost_user_ring.h"
#include "minivmm/mem.h"

#include <errno.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#define USED_IDX 2 /* in the used ring */

/* A queue's part of the record (Vhost-user Protocol, "Inflight I/O tracking"), packed. */
struct record_packed {
	u64 features;
	u16 version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	u8 used_wrap_counter, old_used_wrap_counter;
};

/* The user address of an area, or 0. */
static u64 area(const struct mem *mem, u64 gpa, u64 len, u64 align)
{
	return gpa % align ? 0 : (uintptr_t)mem_ptr(mem, gpa, len);
}

int vhost_user_ring_addr(const struct mem *mem, const struct vq_cfg *cfg, u32 index,
			 struct vhost_user_addr *addr)
{
	u64 n = cfg->size;

	if (!n || n > VQ_SIZE_MAX || (!cfg->packed && n & (n - 1)))
		return -EINVAL;
	*addr = (struct vhost_user_addr){
		.index = index,
		.desc = area(mem, cfg->desc, 16 * n, 16),
		.avail = cfg->packed ? area(mem, cfg->driver, 4, 4)
				     : area(mem, cfg->driver, 6 + 2 * n, 2),
		.used = cfg->packed ? area(mem, cfg->device, 4, 4)
				    : area(mem, cfg->device, 6 + 8 * n, 4),
		.log = cfg->device,
	};
	return addr->desc && addr->avail && addr->used ? 0 : -EFAULT;
}

u32 vhost_user_ring_base(const struct vq_cfg *cfg, struct vq_pos pos)
{
	return cfg->packed ? pos.avail | (u32)pos.used << 16 : pos.avail;
}

/* A split ring's used index, which the driver can write, too: any value is one. */
static u16 used_idx(const struct mem *mem, const struct vq_cfg *cfg)
{
	const u16 *idx = mem_ptr(mem, cfg->device + USED_IDX, sizeof(*idx));

	return idx ? __atomic_load_n(idx, __ATOMIC_ACQUIRE) : 0;
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

int vhost_user_ring_recover(const struct mem *mem, const struct vq_cfg *cfg, u32 index, int fd,
			    const struct vhost_user_inflight *rec, struct vq_pos *pos)
{
	struct record_packed r;
	struct stat st;
	u16 used;

	if (!cfg->packed) {
		used = used_idx(mem, cfg);
		*pos = (struct vq_pos){ used, used };
		return 0;
	}
	/* The file is the back end's: read, not mapped, and only if reading can't wait. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || index >= rec->nqueues)
		return -ENODATA;
	if (pread(fd, &r, sizeof(r), rec->mmap_offset + rec->mmap_size / rec->nqueues * index) !=
	    sizeof(r))
		return -ENODATA;
	if (r.version != 1 || r.old_used_idx >= cfg->size)
		return -ENODATA;
	used = r.old_used_idx | (r.old_used_wrap_counter ? 0x8000 : 0);
	*pos = (struct vq_pos){ used, used };
	return 0;
}
