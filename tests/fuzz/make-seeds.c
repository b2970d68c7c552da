// SPDX-License-Identifier: MIT
/*
 * make-seeds.c - write the fuzz targets' first inputs, in a folder of DIR for each target.
 */
#include "minivmm/testdev_regs.h"
#include "tests/fuzz/fuzz_vq_steps.h"
#include "tests/unit/images.h"

#include <linux/pci_regs.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *dir;

static void save(const char *target, const char *name, const void *data, size_t size)
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
	save("kernel", "bzimage", buf, BZ_SIZE);
	h = bz_build(buf);
	h->pref_address = 1024 * MIB; /* must be moved */
	h->xloadflags = XLF_KERNEL_64;
	h->initrd_addr_max = 0xffffff;
	save("kernel", "bzimage-low", buf, BZ_SIZE);
	h = bz_build(buf);
	h->pref_address = MIB;
	save("kernel", "bzimage-lowest", buf, BZ_SIZE);
	elf_build(buf, true);
	save("kernel", "elf-linux", buf, ELF_SIZE);
	e = elf_build(buf, false);
	e->load.p_paddr = MIB;
	save("kernel", "elf-lowest", buf, ELF_SIZE);
	e = elf_build(buf, false);
	e->load.p_paddr = 4 * GIB;
	save("kernel", "elf-high", buf, ELF_SIZE);
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

	save("pci", "size-and-move", size_and_move, sizeof(size_and_move));
	save("pci", "msix", msix, sizeof(msix));
	save("pci", "intx", intx, sizeof(intx));
}

/* An input of the ring targets: size, features and steps. */
static void ring(const char *name, u8 size, u8 features, const struct fuzz_vq_step *step, size_t n)
{
	u8 buf[2 + 32 * sizeof(*step)] = { size, features };

	memcpy(buf + 2, step, n * sizeof(*step));
	save("vq_split", name, buf, 2 + n * sizeof(*step));
	buf[0] = 1 << size;
	save("vq_packed", name, buf, 2 + n * sizeof(*step));
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

	for (u8 features = 0; features < 8; features++) {
		char name[32];

		snprintf(name, sizeof(name), "direct-%u", features);
		ring(name, 3, features, direct, ARRAY_SIZE(direct));
		snprintf(name, sizeof(name), "indirect-%u", features);
		ring(name, 3, features, indirect, ARRAY_SIZE(indirect));
	}
}
/* One input of virtio_guest.c: a ring at 0 with one chain of 8 bytes to read and 8 to write. */
struct virtio_input {
	u8 packed;
	u16 ram_len;
	u8 ram[0x500];
	struct step step[8];
} __attribute__((packed));

enum { V_READ, V_WRITE, V_MEMORY, V_START, V_KICK, V_EVENT, V_OWN_READ, V_OWN_WRITE };
enum { V_RUN, V_HOLD, V_RELEASE, V_CONFIG, V_PAUSE, V_QUEUE_RESET, V_RESET };
#define V_SIZE(n)  ((u64)(n) << 32)
#define V_PACKED   (1 << 16)
#define V_INDIRECT (1 << 12)
#define V_EVENT_IX (1 << 13)
#define V_RING_RST (1 << 22)

static void virtio_split_ring(u8 *ram)
{
	struct vring_desc desc[2] = {
		{ .addr = 0x2000, .len = 8, .flags = VRING_DESC_F_NEXT, .next = 1 },
		{ .addr = 0x2100, .len = 8, .flags = VRING_DESC_F_WRITE },
	};
	u16 avail[] = { 0, 1, 0 };

	memcpy(ram, desc, sizeof(desc));
	memcpy(ram + 512, avail, sizeof(avail));
}

static void virtio_packed_ring(u8 *ram)
{
	struct vring_packed_desc desc[2] = {
		{ .addr = 0x2000,
		  .len = 8,
		  .flags = VRING_DESC_F_NEXT | 1 << VRING_PACKED_DESC_F_AVAIL },
		{ .addr = 0x2100,
		  .len = 8,
		  .flags = VRING_DESC_F_WRITE | 1 << VRING_PACKED_DESC_F_AVAIL },
	};

	memcpy(ram, desc, sizeof(desc));
}

static void virtio(const char *target)
{
	struct virtio_input in = { .ram_len = sizeof(in.ram) };

	virtio_split_ring(in.ram);
	in.step[0] = (struct step){ .head = V_START, .value = V_SIZE(4) | V_EVENT_IX | V_INDIRECT };
	in.step[1] = (struct step){ .head = V_EVENT, .which = V_RUN };
	in.step[2] = (struct step){ .head = V_EVENT, .which = V_CONFIG, .value = 7 };
	in.step[3] = (struct step){ .head = V_EVENT, .which = V_PAUSE };
	in.step[4] = (struct step){ .head = V_READ | 2 << 4, .off = 0x60 };
	save(target, "split", &in, sizeof(in));
	in.step[0].value = V_SIZE(4) | V_RING_RST;
	in.step[1] = (struct step){ .head = V_EVENT, .which = V_HOLD, .value = 1 };
	in.step[2] = (struct step){ .head = V_EVENT, .which = V_RUN };
	in.step[3] = (struct step){ .head = V_EVENT, .which = V_QUEUE_RESET };
	in.step[4] = (struct step){ .head = V_START, .value = V_SIZE(2) };
	in.step[5] = (struct step){ .head = V_KICK };
	in.step[6] = (struct step){ .head = V_EVENT, .which = V_RELEASE };
	in.step[7] = (struct step){ .head = V_EVENT, .which = V_RESET };
	save(target, "held", &in, sizeof(in));

	memset(&in, 0, sizeof(in));
	in.packed = 1;
	in.ram_len = sizeof(in.ram);
	virtio_packed_ring(in.ram);
	in.step[0] = (struct step){ .head = V_START, .which = 1, .value = V_SIZE(4) | V_PACKED };
	in.step[1] = (struct step){ .head = V_KICK, .which = 1 };
	in.step[2] = (struct step){ .head = V_EVENT, .which = V_RUN };
	in.step[3] = (struct step){ .head = V_OWN_WRITE | 1 << 4, .off = 4, .value = 0x406 };
	in.step[4] = (struct step){ .head = V_OWN_READ | 2 << 4, .off = 0x90 };
	save(target, "packed", &in, sizeof(in));
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

	save("net", "frames", s, sizeof(s));
	s[0].which = 15; /* packed */
	save("net", "frames-packed", s, sizeof(s));
	s[0].value = 0x8000; /* without mergeable buffers */
	save("net", "frames-single", s, sizeof(s));
	save("net", "commands", commands, sizeof(commands));
	commands[0].which = 9;
	save("net", "commands-packed", commands, sizeof(commands));
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
	virtio("virtio_pci");
	virtio("virtio_mmio");
	net();
	return 0;
}
