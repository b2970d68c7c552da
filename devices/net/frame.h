/* SPDX-License-Identifier: MIT */
/*
 * frame.h - a frame in segments of memory, as peer_send() and peer_receive() have it (peer.h).
 */
#ifndef DEVICES_NET_FRAME_H
#define DEVICES_NET_FRAME_H

#include "minivmm/peer.h"

#define FRAME_ETH_LEN 14			      /* a frame that is shorter is none */
#define FRAME_ETH_MAX (PEER_FRAME_MAX - PEER_HDR_LEN) /* without the virtio-net header */

/* Bytes in all. */
size_t frame_len(const struct iovec *iov, u32 niov);

/* The segments behind the first `skip` bytes, put into `out`, which has room for `niov`. Returns how
 * many. */
u32 frame_skip(const struct iovec *iov, u32 niov, size_t skip, struct iovec *out);

/* Copy up to `len` bytes into the segments, or out of them. Return how many. */
size_t frame_fill(const struct iovec *iov, u32 niov, const void *buf, size_t len);
size_t frame_copy(void *buf, size_t len, const struct iovec *iov, u32 niov);

/* The header of a frame that has nothing to say in it. */
void frame_clear_header(const struct iovec *iov);

#endif
