// SPDX-License-Identifier: MIT
/*
 * make-seeds.c - write the fuzz targets' first inputs, in a folder of DIR for each target.
 */
#include "minivmm/testdev_regs.h"
#include "tests/fuzz/fuzz_blk_steps.h"
#include "tests/fuzz/fuzz_vq_steps.h"
#include "tests/fuzz/seeds.h"
#include "tests/fuzz/virtio_guest.h"
#include "tests/unit/images.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *dir;

void save_seed(const char *target, const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, target);
	mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", dir, target, name);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void kernels(void)
{
	static u8 buf[BZ_SIZE + ELF_SIZE];
	struct setup_header *h;
	struct elf_image *e;

	bz_build(buf);
	save_seed("kernel", "bzimage", buf, BZ_SIZE);
	h = bz_build(buf);
	h->pref_address = 1024 * MIB; /* must be moved */
	h->xloadflags = XLF_KERNEL_64;
	h->initrd_addr_max = 0xffffff;
	save_seed("kernel", "bzimage-low", buf, BZ_SIZE);
	h = bz_build(buf);
	h->pref_address = MIB;
	save_seed("kernel", "bzimage-lowest", buf, BZ_SIZE);
	elf_build(buf, true);
	save_seed("kernel", "elf-linux", buf, ELF_SIZE);
	e = elf_build(buf, false);
	e->load.p_paddr = MIB;
	save_seed("kernel", "elf-lowest", buf, ELF_SIZE);
	e = elf_build(buf, false);
	e->load.p_paddr = 4 * GIB;
	save_seed("kernel", "elf-high", buf, ELF_SIZE);
}

/* One step of fuzz_pci.c. */
struct step {
	u8 head, which;
	u16 off;
	u64 value;
} __attribute__((packed));

enum { CONFIG_READ, CONFIG_WRITE, PORT, ECAM_READ, ECAM_WRITE, BAR_READ, BAR_WRITE, EVENT };
enum { RESET, ASSIGN, RUN_LOOP, DECODE };
#define HEAD(act, len) ((act) | ((len)-1) << 3)
#define DO(act, len, wh, ...)                                    \
	{                                                        \
		.head = HEAD(act, len), .which = wh, __VA_ARGS__ \
	}

#define MSIX_CONTROL (0x40 + PCI_MSIX_FLAGS)

static void pci(void)
{
	static const struct step size_and_move[] = {
		DO(CONFIG_WRITE, 4, 1, .off = PCI_BASE_ADDRESS_0, .value = 0xffffffff),
		DO(CONFIG_READ, 4, 1, .off = PCI_BASE_ADDRESS_0),
		DO(CONFIG_WRITE, 4, 1, .off = PCI_BASE_ADDRESS_0, .value = 0xc1000000),
		DO(ECAM_WRITE, 8, 8, .off = PCI_BASE_ADDRESS_2, .value = 0x900000000),
		DO(EVENT, 1, DECODE),
		DO(BAR_READ, 4, 0, .off = TESTDEV_MAGIC),
		DO(BAR_READ, 3, 2, .off = 0x1235),
		DO(BAR_WRITE, 5, 1, .off = 0, .value = 0x1122334455),
		DO(PORT, 4, 1, .off = 0xcf8),
	};
	static const struct step msix[] = {
		DO(EVENT, 1, DECODE),
		DO(BAR_WRITE, 8, 4, .off = 0, .value = 0xfee00000),
		DO(BAR_WRITE, 8, 4, .off = 8, .value = 0x41),
		DO(CONFIG_WRITE, 2, 1, .off = MSIX_CONTROL, .value = PCI_MSIX_FLAGS_ENABLE),
		DO(BAR_WRITE, 4, 0, .off = TESTDEV_RAISE, .value = 0),
		DO(BAR_WRITE, 4, 4, .off = 12, .value = 1),
		DO(BAR_WRITE, 4, 0, .off = TESTDEV_RAISE, .value = 0),
		DO(BAR_READ, 8, 4, .off = 0x8000),
		DO(BAR_WRITE, 4, 4, .off = 12, .value = 0),
		DO(CONFIG_WRITE, 2, 1, .off = MSIX_CONTROL, .value = PCI_MSIX_FLAGS_MASKALL),
		DO(EVENT, 1, RESET),
		DO(EVENT, 1, ASSIGN),
	};
	static const struct step intx[] = {
		DO(EVENT, 1, DECODE),
		DO(BAR_WRITE, 4, 0, .off = TESTDEV_RAISE, .value = 1),
		DO(EVENT, 1, RUN_LOOP),
		DO(CONFIG_WRITE, 2, 1, .off = PCI_COMMAND, .value = 0x407),
		DO(CONFIG_READ, 2, 1, .off = PCI_STATUS),
		DO(BAR_WRITE, 4, 0, .off = TESTDEV_BELL_RAISES, .value = 3),
		DO(BAR_WRITE, 2, 0, .off = TESTDEV_DOORBELL, .value = 0),
		DO(EVENT, 1, RUN_LOOP),
		DO(BAR_WRITE, 4, 0, .off = TESTDEV_INTX, .value = 0),
	};

	save_seed("pci", "size-and-move", size_and_move, sizeof(size_and_move));
	save_seed("pci", "msix", msix, sizeof(msix));
	save_seed("pci", "intx", intx, sizeof(intx));
}

/* An input of the ring targets: size, features and steps. */
static void ring(const char *name, u8 size, u8 features, const struct fuzz_vq_step *step, size_t n)
{
	u8 buf[2 + 32 * sizeof(*step)] = { size, features };

	memcpy(buf + 2, step, n * sizeof(*step));
	save_seed("vq_split", name, buf, 2 + n * sizeof(*step));
	buf[0] = 1 << size;
	save_seed("vq_packed", name, buf, 2 + n * sizeof(*step));
}

#define STEP(a, ...)                            \
	{                                       \
		.act = FUZZ_VQ_##a, __VA_ARGS__ \
	}
/* Descriptor `i` of the ring, in turn if packed: its id and its link are the next one's index. */
#define DESC(i, flags, a, n)                                                                      \
	STEP(DESCRIPTOR, .which = i, .arg = (flags) | FUZZ_VQ_IN_TURN | ((i) + 1) << 8, .len = n, \
	     .value = a)
#define ENTRY(i, flags, a, n)                                                                   \
	STEP(DESCRIPTOR, .which = i, .arg = (flags) | FUZZ_VQ_TABLE | ((i) + 1) << 8, .len = n, \
	     .value = a)

static void rings(void)
{
	static const struct fuzz_vq_step direct[] = {
		STEP(REARM),
		DESC(0, VRING_DESC_F_NEXT, 0x2000, 16),
		DESC(1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0x2100, 512),
		DESC(2, VRING_DESC_F_WRITE, 0x20000, 1),
		STEP(OFFER, .which = 0),
		DESC(3, 0, 0x2200, 1),
		STEP(OFFER, .which = 3),
		STEP(GET, .which = 9),
		STEP(GET, .which = 9),
		STEP(UNGET),
		STEP(GET, .which = 9),
		STEP(PUT, .which = 1, .len = 0),
		STEP(PUT, .which = 0, .len = 513),
		STEP(PUBLISH),
		STEP(REARM),
		STEP(TAKE_OVER),
		DESC(4, 0, 0x2200, 1),
		STEP(OFFER, .which = 4),
		STEP(GET),
		STEP(DISARM),
	};
	static const struct fuzz_vq_step indirect[] = {
		ENTRY(0, VRING_DESC_F_NEXT, 0x2000, 16),
		ENTRY(1, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0x2100, 512),
		ENTRY(2, VRING_DESC_F_WRITE, 0x2400, 1),
		DESC(0, VRING_DESC_F_INDIRECT, FUZZ_VQ_TABLE_AT, 48),
		STEP(OFFER, .which = 0),
		DESC(1, VRING_DESC_F_INDIRECT, FUZZ_VQ_TABLE_AT, 48),
		STEP(OFFER, .which = 1),
		STEP(GET, .which = 9),
		STEP(GET, .which = 9),
		STEP(PUT, .which = 1, .len = 513),
		STEP(PUBLISH),
		STEP(WRITE, .arg = FUZZ_VQ_DRIVER, .value = 0x100000001),
		STEP(PUT, .which = 0, .len = 513),
		STEP(PUBLISH),
	};

	/* The ring as its own table: an endless chain, were it not for the rule against nesting. */
	static const struct fuzz_vq_step own_table[] = {
		DESC(0, VRING_DESC_F_INDIRECT, FUZZ_VQ_DESC, 48),
		STEP(OFFER, .which = 0),
		STEP(GET, .which = 9),
	};

	ring("own-table", 3, 1, own_table, ARRAY_SIZE(own_table));
	for (u8 features = 0; features < 8; features++) {
		char name[32];

		snprintf(name, sizeof(name), "direct-%u", features);
		ring(name, 3, features, direct, ARRAY_SIZE(direct));
		snprintf(name, sizeof(name), "indirect-%u", features);
		ring(name, 3, features, indirect, ARRAY_SIZE(indirect));
	}
}

/* ---- the virtio transports: inputs of virtio_guest.c ---- */

static struct {
	u8 data[4096];
	size_t len;
} in;

/* Packed rings are offered or not; memory from address 0 on. */
static void begin(bool packed, const void *ram, u16 len)
{
	in.data[0] = packed;
	memcpy(in.data + 1, &len, 2);
	memcpy(in.data + 3, ram, len);
	in.len = 3 + len;
}

static void add(const struct guest_step *s)
{
	memcpy(in.data + in.len, s, sizeof(*s));
	in.len += sizeof(*s);
}

/* `size` is log2 of the access's. */
#define ADD(act, size, ...) \
	add(&(struct guest_step){ .head = VIRTIO_ACT_##act | (size) << 4, __VA_ARGS__ })
#define ADD_EVENT(event, ...) ADD(EVENT, 0, .which = VIRTIO_EVENT_##event, __VA_ARGS__)

/* Device and queue of a step. */
#define WHICH(device, queue) ((device) | (queue) << 1)

/* The value of a START step: the ring's size, and features. */
#define RING(n)	     ((u64)(n) << 32)
#define F_INDIRECT   (1 << 12)
#define F_EVENT_IDX  (1 << 13)
#define F_PACKED     (1 << 16)
#define F_IN_ORDER   (1 << 17)
#define F_RING_RESET (1 << 22)

#define RING_SIZE    4
#define AVAIL_RING   512 /* behind a START step's ring at 0 */
#define TABLE	     0x1000

/* What a driver writes for one chain of 8 bytes to read and 8 to write, direct (two descriptors) or in a
 * table at TABLE. Returns the bytes. */
static u32 chain(void *out, bool packed, bool in_table)
{
	struct vring_packed_desc p[2] = {
		{ .addr = 0x2000, .len = 8, .flags = VRING_DESC_F_NEXT },
		{ .addr = 0x2100, .len = 8, .flags = VRING_DESC_F_WRITE }
	};
	struct vring_desc d[2] = {
		{ .addr = 0x2000, .len = 8, .flags = VRING_DESC_F_NEXT, .next = 1 },
		{ .addr = 0x2100, .len = 8, .flags = VRING_DESC_F_WRITE }
	};

	for (u32 i = 0; packed && i < 2; i++)
		p[i].flags |= in_table ? 0 : 1 << VRING_PACKED_DESC_F_AVAIL;
	memcpy(out, packed ? (void *)p : d, sizeof(d));
	return sizeof(d);
}

/* The one descriptor of a table. */
static u32 table_desc(void *out, bool packed)
{
	struct vring_packed_desc p = { .addr = TABLE,
				       .len = 32,
				       .flags = VRING_DESC_F_INDIRECT |
						1 << VRING_PACKED_DESC_F_AVAIL };
	struct vring_desc d = { .addr = TABLE, .len = 32, .flags = VRING_DESC_F_INDIRECT };

	memcpy(out, packed ? (void *)&p : &d, sizeof(d));
	return sizeof(d);
}

/* Memory with a ring at 0: packed, two chains wait in it; split, one will by offer(). */
static void begin_ring(bool packed, bool indirect)
{
	u8 ram[64], table[64];
	u32 len = indirect ? table_desc(ram, packed) : chain(ram, packed, false);
	u64 word;

	memcpy(ram + len, ram, len);
	begin(packed, ram, packed ? 2 * len : len);
	if (!indirect)
		return;
	len = chain(table, packed, true);
	for (u32 i = 0; i < len; i += 8) {
		memcpy(&word, table + i, 8);
		ADD(MEMORY, 3, .off = TABLE + i, .value = word);
	}
}

/* The available ring: `n` chains so far, all with head 0. Packed ones are known by themselves. */
static void offer(bool packed, u16 n)
{
	if (!packed)
		ADD(MEMORY, 3, .off = AVAIL_RING, .value = (u64)n << 16);
}

/* Everything between a start and a reset, for device 0 (echo) or 1 (rng). */
static void virtio_lives(const char *target, bool packed, u32 features)
{
	bool indirect = features & F_INDIRECT;
	u64 ring = RING(RING_SIZE) | features | (packed ? F_PACKED : 0);
	char name[64];

	for (u32 device = 0; device < 2; device++) {
		u32 which = WHICH(device, 0);

		begin_ring(packed, indirect);
		offer(packed, 1);
		ADD(START, 0, .which = which, .value = ring);
		ADD_EVENT(RUN);
		ADD_EVENT(PAUSE, .value = device);
		ADD_EVENT(CONFIG, .value = 7);
		offer(packed, 2); /* once more the same */
		ADD(KICK, 0, .which = which);
		ADD_EVENT(RUN);
		snprintf(name, sizeof(name), "%s-%x-%u", packed ? "packed" : "split", features,
			 device);
		save_seed(target, name, in.data, in.len);
	}
	begin_ring(packed, indirect);
	ADD(START, 0, .which = WHICH(0, 1), .value = ring | F_RING_RESET);
	ADD_EVENT(HOLD, .value = 1);
	offer(packed, 1);
	ADD(KICK, 0, .which = WHICH(0, 1));
	ADD_EVENT(RUN);
	ADD_EVENT(RELEASE);
	offer(packed, 2);
	ADD(KICK, 0, .which = WHICH(0, 1));
	ADD_EVENT(PAUSE);
	ADD_EVENT(QUEUE_RESET, .value = WHICH(0, 1));
	ADD_EVENT(RUN);
	snprintf(name, sizeof(name), "held-%s-%x", packed ? "packed" : "split", features);
	save_seed(target, name, in.data, in.len);
}

/* A register of a transport, and log2 of its size. */
struct reg {
	u16 off;
	u8 size;
};

struct regs {
	const char *target;
	struct reg status, driver_sel, driver_features, queue_sel, queue_size, queue_enable;
	struct reg area[3]; /* their low halves; the high ones follow */
	u16 notify;
};

static void set(struct reg r, u32 value)
{
	ADD(WRITE, r.size, .off = r.off, .value = value);
}

/* All of the initialisation (3.1.1) register by register. */
static void virtio_handshake(const struct regs *r, bool packed)
{
	const u32 features[2] = { 0, 1 | packed << (VIRTIO_F_RING_PACKED - 32) }; /* VERSION_1 */
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	begin_ring(packed, false);
	offer(packed, 1);
	set(r->status, 0);
	set(r->status, status);
	set(r->status, status |= VIRTIO_CONFIG_S_DRIVER);
	for (u32 i = 0; i < 2; i++) {
		set(r->driver_sel, i);
		set(r->driver_features, features[i]);
	}
	set(r->status, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	ADD(READ, r->status.size, .off = r->status.off);
	set(r->queue_sel, 0);
	set(r->queue_size, RING_SIZE);
	for (u32 i = 0; i < 3; i++) {
		set(r->area[i], AVAIL_RING * i);
		set((struct reg){ r->area[i].off + 4, 2 }, 0);
	}
	set(r->queue_enable, 1);
	set(r->status, status | VIRTIO_CONFIG_S_DRIVER_OK);
	set((struct reg){ r->notify, 2 }, 0);
	ADD_EVENT(RUN);
	save_seed(r->target, packed ? "handshake-packed" : "handshake-split", in.data, in.len);
}

/* By PCI's configuration space: INTx off, a look at a capability. */
static void virtio_pci_config(void)
{
	begin_ring(false, false);
	offer(false, 1);
	ADD(START, 0, .value = RING(RING_SIZE));
	ADD_EVENT(RUN);
	ADD(OWN_WRITE, 1, .off = PCI_COMMAND,
	    .value = PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	ADD(OWN_READ, 2, .off = 0x90);
	ADD(OWN_WRITE, 3, .which = 2, .off = 0, .value = 0xfee00000);
	ADD_EVENT(RUN);
	save_seed("virtio_pci", "config", in.data, in.len);
}

static void virtio(const struct regs *r)
{
	static const u32 features[] = { 0, F_EVENT_IDX, F_INDIRECT,
					F_INDIRECT | F_EVENT_IDX | F_IN_ORDER };

	for (u32 packed = 0; packed < 2; packed++) {
		for (u32 i = 0; i < ARRAY_SIZE(features); i++)
			virtio_lives(r->target, packed, features[i]);
		virtio_handshake(r, packed);
	}
}

static void transports(void)
{
	static const struct regs pci = {
		.target = "virtio_pci",
		.status = { VIRTIO_PCI_COMMON_STATUS, 0 },
		.driver_sel = { VIRTIO_PCI_COMMON_GFSELECT, 2 },
		.driver_features = { VIRTIO_PCI_COMMON_GF, 2 },
		.queue_sel = { VIRTIO_PCI_COMMON_Q_SELECT, 1 },
		.queue_size = { VIRTIO_PCI_COMMON_Q_SIZE, 1 },
		.queue_enable = { VIRTIO_PCI_COMMON_Q_ENABLE, 1 },
		.area = { { VIRTIO_PCI_COMMON_Q_DESCLO, 2 },
			  { VIRTIO_PCI_COMMON_Q_AVAILLO, 2 },
			  { VIRTIO_PCI_COMMON_Q_USEDLO, 2 } },
		.notify = 0x3000,
	};
	static const struct regs mmio = {
		.target = "virtio_mmio",
		.status = { VIRTIO_MMIO_STATUS, 2 },
		.driver_sel = { VIRTIO_MMIO_DRIVER_FEATURES_SEL, 2 },
		.driver_features = { VIRTIO_MMIO_DRIVER_FEATURES, 2 },
		.queue_sel = { VIRTIO_MMIO_QUEUE_SEL, 2 },
		.queue_size = { VIRTIO_MMIO_QUEUE_NUM, 2 },
		.queue_enable = { VIRTIO_MMIO_QUEUE_READY, 2 },
		.area = { { VIRTIO_MMIO_QUEUE_DESC_LOW, 2 },
			  { VIRTIO_MMIO_QUEUE_AVAIL_LOW, 2 },
			  { VIRTIO_MMIO_QUEUE_USED_LOW, 2 } },
		.notify = VIRTIO_MMIO_QUEUE_NOTIFY,
	};

	virtio(&pci);
	virtio(&mmio);
	virtio_pci_config();
}

/* ---- the block device ---- */

static void blk(void)
{
	struct fuzz_blk_step s[] = {
		{ .out_len = 1024,
		  .in_len = 1,
		  .header = { VIRTIO_BLK_T_OUT, 0, 5 },
		  .data = "abc" },
		{ .in_len = 1024 + 1, .header = { VIRTIO_BLK_T_IN, 0, 5 } },
		{ .in_len = 1, .header = { VIRTIO_BLK_T_FLUSH, 0, 0 } },
		{ .in_len = 20 + 1, .header = { VIRTIO_BLK_T_GET_ID, 0, 0 } },
		{ .out_len = 32, .in_len = 1, .header = { VIRTIO_BLK_T_DISCARD, 0, 0 } },
		{ .out_len = 16, .in_len = 1, .header = { VIRTIO_BLK_T_WRITE_ZEROES, 0, 0 } },
		{ .in_len = 512 + 1, .header = { VIRTIO_BLK_T_IN, 0, FUZZ_BLK_SECTORS } },
		{ .in_len = 8, .header = { 3, 0, 0 } },
	};
	struct virtio_blk_discard_write_zeroes ranges[2] = { { .sector = 8, .num_sectors = 8 },
							     { .sector = 3, .num_sectors = 1 } };
	char name[32];

	memcpy(s[4].data, ranges, sizeof(ranges));
	memcpy(s[5].data, ranges, sizeof(ranges));
	for (u32 packed = 0; packed < 2; packed++) {
		for (u32 cut = 0; cut < 2; cut++) {
			for (u32 i = 0; i < ARRAY_SIZE(s); i++) {
				s[i].cuts = cut * (i + 1);
				s[i].how = (cut ? FUZZ_BLK_INDIRECT : 0) |
					   (packed && i == 0 ? FUZZ_BLK_PACKED : 0);
			}
			snprintf(name, sizeof(name), "%s-%s", packed ? "packed" : "split",
				 cut ? "pieces" : "whole");
			save_seed("blk", name, s, sizeof(s));
		}
	}
	for (u32 i = 0; i < ARRAY_SIZE(s);
	     i++) { /* one by one: short ones are changed to more use */
		snprintf(name, sizeof(name), "type-%u", i);
		s[i].how = 0;
		save_seed("blk", name, &s[i], sizeof(s[i]));
	}
}

/* One step of fuzz_net.c. */
struct net_step {
	u8 act, which;
	u16 off;
	u32 value;
	u8 data[12];
} __attribute__((packed));

enum { N_START, N_SEND, N_RECEIVE, N_COMMAND, N_CHAIN, N_PUT, N_POKE, N_KICK, N_RUN, N_ROOM };

static void net(void)
{
	static struct net_step s[] = {
		{ .act = N_START, .which = 6 },
		{ .act = N_RECEIVE, .off = 1600, .value = 12 << 24 | 0x8000 },
		{ .act = N_SEND, .off = 1000 }, /* a plain frame; one to be checksummed; TSO */
		{ .act = N_SEND, .off = 1000, .which = 7, .data = { 1, 0, 0, 0, 0, 0, 34, 0, 16 } },
		{ .act = N_SEND,
		  .off = 30000,
		  .which = 0x82,
		  .data = { 1, 1, 54, 0, 100, 0, 34, 0, 16 } },
		{ .act = N_PUT, .off = 1400 },
		{ .act = N_RUN },
		{ .act = N_PUT, .off = 9000, .data = { 1, 1, 54, 0, 100 } },
		{ .act = N_RUN },
		{ .act = N_ROOM, .value = 1 },
		{ .act = N_SEND, .off = 60 },
		{ .act = N_SEND, .off = 60 },
		{ .act = N_RUN },
		{ .act = N_ROOM, .value = 0x100 },
		{ .act = N_RUN },
	};
	static struct net_step commands[] = {
		{ .act = N_START, .which = 0 },
		{ .act = N_RECEIVE, .off = 1600, .value = 12 << 24 | 0x8000 },
		{ .act = N_COMMAND, .which = 1, .off = 0 }, /* promiscuous mode off */
		{ .act = N_PUT, .off = 60, .value = 0x05000081 },
		{ .act = N_COMMAND, .which = 14, .off = 1, .data = { 1, 0, 0, 0, 2 } },
		{ .act = N_COMMAND, .which = 6, .off = 0x11, .data = { 2 } },
		{ .act = N_COMMAND, .which = 2, .off = 2, .value = 1, .data = { 5 } },
		{ .act = N_COMMAND, .which = 2, .off = 4, .data = { 2 } },
		{ .act = N_RECEIVE, .off = 1600, .value = 0x81008000 },
		{ .act = N_PUT, .which = 3, .off = 60 },
		{ .act = N_COMMAND, .which = 8, .off = 5, .data = { 2 } },
		{ .act = N_PUT, .off = 60, .value = 0x05000081 },
		{ .act = N_RUN },
	};

	save_seed("net", "frames", s, sizeof(s));
	s[0].which = 15; /* packed */
	save_seed("net", "frames-packed", s, sizeof(s));
	s[0].value = 0x8000; /* without mergeable buffers */
	save_seed("net", "frames-single", s, sizeof(s));
	save_seed("net", "commands", commands, sizeof(commands));
	commands[0].which = 9;
	save_seed("net", "commands-packed", commands, sizeof(commands));
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: make-seeds DIR\n");
		return 2;
	}
	dir = argv[1];
	mkdir(dir, 0777);
	kernels();
	pci();
	rings();
	transports();
	blk();
	net();
	vhost_user_seeds();
	return 0;
}
