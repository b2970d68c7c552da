// SPDX-License-Identifier: MIT
/*
 * frame.c - frames in segments of memory. See frame.h.
 */
#include "devices/net/frame.h"

#include <string.h>

size_t frame_len(const struct iovec *iov, u32 niov)
{
	size_t len = 0;

	for (u32 i = 0; i < niov; i++)
		len += iov[i].iov_len;
	return len;
}

u32 frame_skip(const struct iovec *iov, u32 niov, size_t skip, struct iovec *out)
{
	u32 n = 0;

	for (u32 i = 0; i < niov; i++) {
		if (skip >= iov[i].iov_len) {
			skip -= iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (u8 *)iov[i].iov_base + skip;
		out[n++].iov_len = iov[i].iov_len - skip;
		skip = 0;
	}
	return n;
}

size_t frame_fill(const struct iovec *iov, u32 niov, const void *buf, size_t len)
{
	size_t done = 0;

	for (u32 i = 0; i < niov && done < len; i++) {
		size_t n = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;

		memcpy(iov[i].iov_base, (const u8 *)buf + done, n);
		done += n;
	}
	return done;
}

size_t frame_copy(void *buf, size_t len, const struct iovec *iov, u32 niov)
{
	size_t done = 0;

	for (u32 i = 0; i < niov && done < len; i++) {
		size_t n = iov[i].iov_len < len - done ? iov[i].iov_len : len - done;

		memcpy((u8 *)buf + done, iov[i].iov_base, n);
		done += n;
	}
	return done;
}

void frame_clear_header(const struct iovec *iov)
{
	memset(iov[0].iov_base, 0, PEER_HDR_LEN);
}
