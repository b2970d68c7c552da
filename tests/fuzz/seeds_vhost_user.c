// SPDX-License-Identifier: MIT
/*
 * seeds_vhost_user.c - the first inputs of the vhost-user fuzz targets: whole sessions, with rings that
 * have something in them. Part of make-seeds.
 */
#include "tests/fuzz/seeds.h"

#include "devices/datapath/vhost_user_msg.h"
#include "tests/fuzz/fuzz_vhost_user_steps.h"

#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#define F(bit)	  (1ULL << (bit))
#define P(f)	  (1ULL << VHOST_USER_PROTOCOL_F_##f)

#define RING_SIZE FUZZ_VUS_RING_SIZE
#define DATA_AT	  0x8000
#define BASIC	  (F(VIRTIO_F_VERSION_1) | F(VHOST_USER_F_PROTOCOL_FEATURES))

static struct {
	u8 data[4096];
	size_t len;
} in;

static void step(struct fuzz_vus_step s, const void *bytes, u16 len)
{
	s.len = len;
	memcpy(in.data + in.len, &s, sizeof(s));
	in.len += sizeof(s);
	memcpy(in.data + in.len, bytes, len);
	in.len += len;
}

#define STEP(a, ...) step((struct fuzz_vus_step){ .act = FUZZ_VUS_##a, __VA_ARGS__ }, NULL, 0)

static void message(u32 request, u8 flags, u32 fds, const void *payload, u16 len)
{
	step(
		(struct fuzz_vus_step){
			.act = FUZZ_VUS_MESSAGE, .which = request, .flags = flags, .fds = fds },
		payload, len);
}

static void num(u32 request, u64 value, u32 fds)
{
	message(request, VHOST_USER_NEED_REPLY, fds, &value, sizeof(value));
}

static void vring(u32 request, u32 index, u32 value)
{
	const struct vhost_user_vring v = { index, value };

	message(request, 0, 0, &v, sizeof(v));
}

static void write_ram(u32 at, const void *bytes, u16 len)
{
	step((struct fuzz_vus_step){ .act = FUZZ_VUS_WRITE, .at = at }, bytes, len);
}

/* ---- what is in the rings ---- */

struct buffer {
	u32 at, len;
	u16 flags;
};

/* One chain of `n` buffers, at the ring's beginning, and available. */
static void chain(u32 ring, bool packed, const struct buffer *b, u32 n)
{
	struct vring_packed_desc p[4];
	struct vring_desc d[4];

	for (u32 i = 0; i < n; i++) {
		u16 flags = b[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0);

		d[i] = (struct vring_desc){ FUZZ_VUS_GPA + b[i].at, b[i].len, flags,
					    i + 1 < n ? i + 1 : 0 };
		p[i] = (struct vring_packed_desc){ FUZZ_VUS_GPA + b[i].at, b[i].len, 5,
						   flags | 1 << VRING_PACKED_DESC_F_AVAIL };
	}
	write_ram(FUZZ_VUS_RING(ring), packed ? (void *)p : d, n * 16);
	if (!packed) /* entry 0 is descriptor 0 */
		STEP(OFFER, .at = FUZZ_VUS_RING(ring) + 0x402);
}

static void read_disk(u32 ring, bool packed)
{
	const struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_IN, .sector = 3 };
	const struct buffer b[] = { { DATA_AT, 16, 0 },
				    { DATA_AT + 0x100, 512, VRING_DESC_F_WRITE },
				    { DATA_AT + 0x400, 1, VRING_DESC_F_WRITE } };

	write_ram(DATA_AT, &h, sizeof(h));
	chain(ring, packed, b, 3);
}

static void write_disk(u32 ring, bool packed)
{
	const struct virtio_blk_outhdr h = { .type = VIRTIO_BLK_T_OUT, .sector = 3 };
	const struct buffer b[] = { { DATA_AT, 16, 0 },
				    { DATA_AT + 0x100, 512, 0 },
				    { DATA_AT + 0x400, 1, VRING_DESC_F_WRITE } };

	write_ram(DATA_AT, &h, sizeof(h));
	chain(ring, packed, b, 3);
}

static void send_frame(u32 ring, bool packed)
{
	const struct buffer b[] = { { DATA_AT + 0x1000, 12, 0 }, { DATA_AT + 0x1100, 60, 0 } };

	chain(ring, packed, b, 2);
}

static void receive(u32 ring, bool packed)
{
	const struct buffer b[] = { { DATA_AT + 0x2000, 1600, VRING_DESC_F_WRITE } };

	chain(ring, packed, b, 1);
}

/* ---- sessions ---- */

/* Rings that are there from the start. */
static void begin_up(u8 how)
{
	in.data[0] = how | FUZZ_VUS_UP;
	in.len = 1;
}

/* In the file that is not the memory. */
static void log_pages(void)
{
	const struct vhost_user_log l = { .mmap_size = FUZZ_VUS_RAM };
	const u64 user = FUZZ_VUS_USER + FUZZ_VUS_RING(1);
	const struct vhost_user_addr a = { .index = 1,
					   .flags = 1 << VHOST_VRING_F_LOG,
					   .desc = user,
					   .avail = user + 0x400,
					   .used = user + 0x800,
					   .log = FUZZ_VUS_GPA + FUZZ_VUS_RING(1) + 0x800 };

	message(VHOST_USER_SET_LOG_BASE, 0, FUZZ_FD_SEALABLE, &l, sizeof(l));
	message(VHOST_USER_SET_LOG_FD, 0, FUZZ_FD_CALL, NULL, 0);
	message(VHOST_USER_SET_VRING_ADDR, 0, 0, &a, sizeof(a));
	num(VHOST_USER_SET_FEATURES,
	    BASIC | F(VHOST_F_LOG_ALL) |
		    (in.data[0] & FUZZ_VUS_PACKED ? F(VIRTIO_F_RING_PACKED) : 0),
	    0);
}

static void up(bool blk, bool packed)
{
	char name[32];

	begin_up((blk ? FUZZ_VUS_BLK : 0) | (packed ? FUZZ_VUS_PACKED : 0));
	for (u32 i = 0; i < 2; i++) {
		if (blk)
			i ? read_disk(i, packed) : write_disk(i, packed);
		else
			i ? send_frame(i, packed) : receive(i, packed);
		STEP(KICK, .which = i);
	}
	STEP(RUN);
	log_pages();
	if (!packed)
		STEP(OFFER, .at = FUZZ_VUS_RING(1) + 0x402);
	STEP(KICK, .which = 1);
	vring(VHOST_USER_GET_VRING_BASE, 0, 0);
	num(VHOST_USER_SET_VRING_KICK, 0, FUZZ_FD_KICK);
	snprintf(name, sizeof(name), "up-%s-%s", blk ? "blk" : "net", packed ? "packed" : "split");
	save_seed("vhost_user_server", name, in.data, in.len);
}

static void begin(bool blk, u64 features, u64 protocol)
{
	in.data[0] = blk ? FUZZ_VUS_BLK : 0;
	in.len = 1;
	message(VHOST_USER_GET_FEATURES, 0, 0, NULL, 0);
	message(VHOST_USER_SET_OWNER, 0, 0, NULL, 0);
	if (features & F(VHOST_USER_F_PROTOCOL_FEATURES)) {
		message(VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, NULL, 0);
		num(VHOST_USER_SET_PROTOCOL_FEATURES, protocol, 0);
	}
	num(VHOST_USER_SET_FEATURES, features, 0);
}

static struct vhost_user_region region(void)
{
	return (struct vhost_user_region){ FUZZ_VUS_GPA, FUZZ_VUS_RAM, FUZZ_VUS_USER, 0 };
}

static void memory_table(u32 kind)
{
	const struct vhost_user_memory t = { .nregions = 1, .region[0] = region() };

	message(VHOST_USER_SET_MEM_TABLE, 0, kind, &t, 8 + sizeof(t.region[0]));
}

static void memory_slots(void)
{
	struct vhost_user_mem_slot s = { .region = region() };

	message(VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0, NULL, 0);
	message(VHOST_USER_ADD_MEM_REG, VHOST_USER_NEED_REPLY, FUZZ_FD_RAM, &s, sizeof(s));
	s.region.gpa += FUZZ_VUS_RAM;
	s.region.user_addr += FUZZ_VUS_RAM;
	message(VHOST_USER_ADD_MEM_REG, VHOST_USER_NEED_REPLY, FUZZ_FD_SEALABLE, &s, sizeof(s));
	message(VHOST_USER_REM_MEM_REG, VHOST_USER_NEED_REPLY, 0, &s, sizeof(s));
}

static void ring_up(u32 i, u32 base, bool enable)
{
	const u64 user = FUZZ_VUS_USER + FUZZ_VUS_RING(i);
	const struct vhost_user_addr a = {
		.index = i, .desc = user, .avail = user + 0x400, .used = user + 0x800
	};

	vring(VHOST_USER_SET_VRING_NUM, i, RING_SIZE);
	vring(VHOST_USER_SET_VRING_BASE, i, base);
	message(VHOST_USER_SET_VRING_ADDR, 0, 0, &a, sizeof(a));
	num(VHOST_USER_SET_VRING_ERR, i, FUZZ_FD_CALL);
	num(VHOST_USER_SET_VRING_CALL, i, FUZZ_FD_CALL);
	num(VHOST_USER_SET_VRING_KICK, i, FUZZ_FD_KICK + i % 2);
	if (enable)
		vring(VHOST_USER_SET_VRING_ENABLE, i, 1);
}

static void inflight(u32 request, u32 fds, u64 size)
{
	const struct vhost_user_inflight r = { .mmap_size = size,
					       .nqueues = 2,
					       .queue_size = RING_SIZE };

	message(request, 0, fds, &r, 20);
}

static void config(u32 request)
{
	struct vhost_user_config c = { .offset = 0, .size = 16 };

	message(request, 0, 0, &c, 12 + 16);
}

#define ALL_PROTOCOL                                                                               \
	(P(MQ) | P(REPLY_ACK) | P(CONFIG) | P(RESET_DEVICE) | P(CONFIGURE_MEM_SLOTS) | P(STATUS) | \
	 P(BACKEND_REQ))

static u64 ring_features(bool packed)
{
	return BASIC | F(VIRTIO_RING_F_INDIRECT_DESC) |
	       (packed ? F(VIRTIO_F_RING_PACKED) : F(VIRTIO_RING_F_EVENT_IDX));
}

static u32 base(bool packed)
{
	return packed ? 0x80008000 : 0;
}

static void net(bool packed)
{
	begin(false, ring_features(packed), ALL_PROTOCOL);
	message(VHOST_USER_GET_QUEUE_NUM, 0, 0, NULL, 0);
	message(VHOST_USER_SET_BACKEND_REQ_FD, 0, FUZZ_FD_CHANNEL, NULL, 0);
	memory_table(FUZZ_FD_RAM);
	receive(0, packed);
	send_frame(1, packed);
	for (u32 i = 0; i < 4; i++)
		ring_up(i, base(packed), true);
	if (!packed)
		STEP(OFFER, .at = FUZZ_VUS_RING(1) + 0x402);
	STEP(KICK, .which = 1);
	vring(VHOST_USER_SET_VRING_ENABLE, 1, 0);
	vring(VHOST_USER_GET_VRING_BASE, 1, 0);
	STEP(RUN);
	save_seed("vhost_user_server", packed ? "net-packed" : "net-split", in.data, in.len);
}

static void blk(bool packed)
{
	begin(true, ring_features(packed), ALL_PROTOCOL);
	num(VHOST_USER_SET_STATUS, 7, 0);
	config(VHOST_USER_GET_CONFIG);
	config(VHOST_USER_SET_CONFIG);
	memory_slots();
	write_disk(0, packed);
	ring_up(0, base(packed), true);
	STEP(RUN);
	message(VHOST_USER_GET_STATUS, 0, 0, NULL, 0);
	vring(VHOST_USER_GET_VRING_BASE, 0, 0);
	message(VHOST_USER_RESET_DEVICE, VHOST_USER_NEED_REPLY, 0, NULL, 0);
	read_disk(1, packed);
	ring_up(1, base(packed), true);
	STEP(KICK, .which = 1);
	num(VHOST_USER_SET_STATUS, 0, 0);
	save_seed("vhost_user_server", packed ? "blk-packed" : "blk-split", in.data, in.len);
}

/* A record is made; the next front end hands it back. `died`: as if with a request in flight. */
static void blk_inflight(bool packed, bool died)
{
	const u64 protocol = ALL_PROTOCOL | P(INFLIGHT_SHMFD);
	char name[32];

	begin(true, ring_features(packed), protocol);
	memory_table(FUZZ_FD_SEALABLE);
	inflight(VHOST_USER_GET_INFLIGHT_FD, 0, 0);
	inflight(VHOST_USER_SET_INFLIGHT_FD, FUZZ_FD_RECORD, packed ? 640 : 384);
	memory_table(FUZZ_FD_RAM);
	read_disk(0, packed);
	ring_up(0, base(packed), true);
	STEP(RUN);
	STEP(RECONNECT);
	if (died && !packed) {
		const u8 one = 1;

		step((struct fuzz_vus_step){ .act = FUZZ_VUS_WRITE, .which = 2, .at = 16 }, &one,
		     1);
	} else if (died) {
		const struct {
			u8 inflight, padding;
			u16 next, last, num;
			u64 counter;
			struct vring_packed_desc d;
		} entry = { .inflight = 1,
			    .next = 1,
			    .num = 1,
			    .d = { FUZZ_VUS_GPA + DATA_AT, 16, 5,
				   1 << VRING_PACKED_DESC_F_AVAIL } };

		step((struct fuzz_vus_step){ .act = FUZZ_VUS_WRITE, .which = 2, .at = 32 }, &entry,
		     sizeof(entry));
	}
	num(VHOST_USER_SET_PROTOCOL_FEATURES, protocol, 0);
	num(VHOST_USER_SET_FEATURES, ring_features(packed), 0);
	memory_table(FUZZ_FD_RAM);
	inflight(VHOST_USER_SET_INFLIGHT_FD, FUZZ_FD_RECORD, packed ? 640 : 384);
	ring_up(0, packed ? 0x80038003 : 1, true);
	STEP(RUN);
	snprintf(name, sizeof(name), "inflight-%s%s", packed ? "packed" : "split",
		 died ? "-died" : "");
	save_seed("vhost_user_server", name, in.data, in.len);
}

/* The oldest way: no protocol features, rings enabled from the start; memory that goes away. */
static void plain(void)
{
	static const u8 two_and_a_half[30] = { 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0,
					       0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1 };

	begin(true, F(VIRTIO_F_VERSION_1), 0);
	memory_table(FUZZ_FD_RAM);
	read_disk(0, false);
	ring_up(0, 0, false);
	STEP(CUT, .at = 0x2000);
	STEP(OFFER, .at = FUZZ_VUS_RING(0) + 0x402);
	STEP(KICK);
	save_seed("vhost_user_server", "plain-cut", in.data, in.len);
	in.len = 1;
	step((struct fuzz_vus_step){ .act = FUZZ_VUS_RAW }, two_and_a_half, sizeof(two_and_a_half));
	save_seed("vhost_user_server", "raw", in.data, in.len);
}

/* ---- what a back end answers ---- */

#define VU(a, ...)                              \
	{                                       \
		.act = FUZZ_VU_##a, __VA_ARGS__ \
	}

static void back_end(const char *name, u8 how, const struct fuzz_vu_step *s, size_t n)
{
	in.data[0] = how;
	memcpy(in.data + 1, s, n * sizeof(*s));
	save_seed("vhost_user", name, in.data, 1 + n * sizeof(*s));
}

static void back_ends(void)
{
	static const struct fuzz_vu_step life[] = {
		VU(START),
		VU(CONFIG, .arg = 1, .off = 32, .value = 1),
		VU(LOG, .arg = 1),
		VU(SAY, .arg = VHOST_USER_BACKEND_CONFIG_CHANGE, .value = VHOST_USER_NEED_REPLY),
		VU(PAUSE, .arg = 1),
		VU(QUEUE_RESET, .arg = 1),
		VU(QUEUE, .arg = 1, .off = 0, .value = FUZZ_VU_RING(1)),
		VU(ENABLE, .arg = 1),
		VU(MEMORY, .off = FUZZ_VU_RING(0) + 0x802, .value = 5),
		VU(START),
		VU(LOG),
		VU(ERROR),
		VU(RUN),
	};
	static const struct fuzz_vu_step again[] = {
		VU(START),
		VU(RECORD, .off = 8, .value = 0x0000000300080001),
		VU(HANG_UP),
		VU(RUN),
		VU(RUN),
		VU(RUN),
		VU(PAUSE, .arg = 1),
		VU(DEAF, .arg = 1),
		VU(HANG_UP),
		VU(RUN),
		VU(PAUSE, .arg = 1),
		VU(START),
		VU(DEAF),
		VU(RUN),
		VU(RUN),
		VU(RUN),
		VU(SHUT_UP),
		VU(RUN),
	};
	static const struct fuzz_vu_step bad[] = {
		VU(VALUE, .value = 1ULL << VHOST_USER_F_PROTOCOL_FEATURES),
		VU(VALUE, .arg = 1, .value = P(MQ) | P(CONFIG) | P(INFLIGHT_SHMFD)),
		VU(SIZE, .arg = 3, .value = 4),
		VU(REQUEST, .arg = 6, .value = 2),
		VU(FLAGS, .arg = 12, .value = VHOST_USER_VERSION),
		VU(FDS, .arg = 15, .off = 1, .value = 2),
		VU(SILENT, .arg = 14),
		VU(CLOSE, .arg = 13, .off = 14),
		VU(TWICE, .arg = 9),
		VU(VALUE, .arg = 15, .off = 8, .value = 0xffffffffffffffff),
	};
	char name[32];

	for (u8 how = 0; how < 4; how++) {
		snprintf(name, sizeof(name), "life-%u", how);
		back_end(name, how, life, ARRAY_SIZE(life));
		snprintf(name, sizeof(name), "again-%u", how);
		back_end(name, how, again, ARRAY_SIZE(again));
	}
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		struct fuzz_vu_step s[1 + ARRAY_SIZE(again)];

		s[0] = bad[i];
		memcpy(s + 1, again, sizeof(again));
		snprintf(name, sizeof(name), "bad-%u", i);
		back_end(name, i & 3, s, ARRAY_SIZE(s));
	}
}

/* ---- all of them ---- */

void vhost_user_seeds(void)
{
	back_ends();
	for (u32 packed = 0; packed < 2; packed++) {
		net(packed);
		blk(packed);
		up(false, packed);
		up(true, packed);
		blk_inflight(packed, false);
		blk_inflight(packed, true);
	}
	plain();
}
