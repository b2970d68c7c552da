/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_msg.h - the messages of the vhost-user protocol, as both ends need them.
 *
 *	front end (the VMM)  ── UNIX stream socket: messages, descriptors beside them ──>  back end (the device)
 *	                     <────────────── the back end's own channel ───────────────
 *
 * A message is a header, a payload of hdr.size bytes and up to 8 descriptors. All fields are in the byte
 * order of the host. Vhost-user Protocol, "Message Specification".
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_MSG_H
#define DEVICES_DATAPATH_VHOST_USER_MSG_H

#include "minivmm/base.h"

#include <stddef.h>

#define VHOST_USER_FDS_MAX     8
#define VHOST_USER_REGIONS_MAX 8 /* of one SET_MEM_TABLE */
#define VHOST_USER_CONFIG_MAX  256

/* vhost_user_hdr.flags */
#define VHOST_USER_VERSION	0x1
#define VHOST_USER_VERSION_MASK 0x3
#define VHOST_USER_REPLY	0x4
#define VHOST_USER_NEED_REPLY	0x8

/* Offered among the virtio features: there are protocol features, and rings start disabled. */
#define VHOST_USER_F_PROTOCOL_FEATURES 30

/* Protocol features, as bit numbers. */
enum {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
};

/* Requests of the front end. */
enum {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
};

/* Requests of the back end, on its own channel. */
enum {
	VHOST_USER_BACKEND_CONFIG_CHANGE = 2,
	VHOST_USER_BACKEND_VRING_HOST_NOTIFIER = 3,
};

struct vhost_user_hdr {
	u32 request, flags, size;
};

struct vhost_user_vring {
	u32 index, num;
};

/* Of SET_VRING_KICK, CALL and ERR, a u64: the index, and whether a descriptor comes with it. */
#define VHOST_USER_VRING_INDEX 0xffULL
#define VHOST_USER_VRING_NOFD  0x100ULL

/* Addresses are of the front end's process ("user addresses"); `log` is a guest physical address. */
struct vhost_user_addr {
	u32 index, flags;
	u64 desc, used, avail, log;
};

struct vhost_user_region {
	u64 gpa, size, user_addr, mmap_offset;
};

struct vhost_user_memory {
	u32 nregions, padding;
	struct vhost_user_region region[VHOST_USER_REGIONS_MAX];
};

struct vhost_user_mem_slot { /* ADD_MEM_REG, REM_MEM_REG */
	u64 padding;
	struct vhost_user_region region;
};

struct vhost_user_log {
	u64 mmap_size, mmap_offset;
};

struct vhost_user_inflight {
	u64 mmap_size, mmap_offset;
	u16 nqueues, queue_size;
};

struct vhost_user_config {
	u32 offset, size, flags;
	u8 data[VHOST_USER_CONFIG_MAX];
};

struct vhost_user_area { /* VRING_HOST_NOTIFIER */
	u64 vring, size, offset;
};

/* In memory: on the wire the payload follows the header without a gap. */
struct vhost_user_msg {
	struct vhost_user_hdr hdr;
	union {
		u64 num;
		struct vhost_user_vring vring;
		struct vhost_user_addr addr;
		struct vhost_user_memory memory;
		struct vhost_user_mem_slot slot;
		struct vhost_user_log log;
		struct vhost_user_inflight inflight;
		struct vhost_user_config config;
		struct vhost_user_area area;
	};
	/* Descriptors that came with it, or go with it; the others are -1. Not on the wire. */
	int fd[VHOST_USER_FDS_MAX];
	u32 nfds;
};

/*
 * Send `m` with its first m->nfds descriptors, which stay the caller's. Any thread, one at a time. Returns
 * 0, -ECONNRESET if the other end is gone, -EINVAL (hdr.size or nfds too big) or -errno: then part of it may
 * be out, and the connection is of no more use. The socket blocks, or has a time-out (SO_SNDTIMEO) that
 * gives -EAGAIN.
 */
int vhost_user_send(int sock, const struct vhost_user_msg *m);
/* Likewise, messages without descriptors that have been put together. */
int vhost_user_send_bytes(int sock, const void *buf, size_t len);

/*
 * Receive one message; of the payload, what did not come is zero. The descriptors in m->fd[] are closed on
 * exec, and the caller's to close. Waits until the message is whole, in vhost_user_recv_within() at most
 * `ms` (0: for ever). Any thread, one at a time. Returns 0, -ECONNRESET (end of the stream), -EPROTO (wrong
 * version, a payload that no request has, more descriptors than any message has), -ETIMEDOUT or -errno:
 * then there are no descriptors, and the connection is of no more use. What the fields say is not checked
 * here, nor whether hdr.size is the size that the request needs.
 */
int vhost_user_recv(int sock, struct vhost_user_msg *m);
int vhost_user_recv_within(int sock, struct vhost_user_msg *m, u32 ms);

/*
 * Receive the acknowledgements of `n` requests, at most VHOST_USER_ACKS_MAX, in their order; all together take at
 * most `ms` (0: for ever). Returns 0, -EREMOTEIO if any is a refusal, -EPROTO for anything else than these, or as
 * above.
 */
#define VHOST_USER_ACKS_MAX 32
int vhost_user_recv_acks(int sock, const u32 *request, u32 n, u32 ms);

/* Close the descriptors that came with `m`; it has none then. */
void vhost_user_close_fds(struct vhost_user_msg *m);

#define VHOST_USER_HDR_LEN sizeof(struct vhost_user_hdr)
#define VHOST_USER_PAYLOAD_MAX \
	(offsetof(struct vhost_user_msg, fd) - offsetof(struct vhost_user_msg, num))

#endif
