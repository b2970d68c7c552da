// SPDX-License-Identifier: MIT
/*
 * vhost_user_msg.c - send and receive one message of the vhost-user protocol. See vhost_user_msg.h.
 *
 * How it works: header and payload go out by one sendmsg(), the descriptors with the first byte. They are
 * expected there, too: one that comes beside the payload is dropped by the kernel. A stream may deliver a
 * message in pieces, so what is received is put together until it is whole; all waits of one message share
 * one limit, so that a byte now and then does not make it last.
 */
#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/now.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define AWAKE_NS    50000
#define CONTROL_LEN CMSG_SPACE(VHOST_USER_FDS_MAX * sizeof(int))

int vhost_user_send_bytes(int sock, const void *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(sock, (const u8 *)buf + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return errno == EPIPE ? -ECONNRESET : -errno;
		if (n > 0)
			done += n;
	}
	return 0;
}

/* Send the first of these bytes, and with them the descriptors. Returns how many bytes, or -errno. */
static ssize_t send_fds(int sock, const int *fd, u32 nfds, void *buf, size_t len)
{
	union {
		char buf[CONTROL_LEN];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec iov = { buf, len };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = CMSG_SPACE(nfds * sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(c), fd, nfds * sizeof(int));
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n >= 0 ? n : errno == EPIPE ? -ECONNRESET : -errno;
}

int vhost_user_send(int sock, const struct vhost_user_msg *m)
{
	u8 bytes[VHOST_USER_HDR_LEN + VHOST_USER_PAYLOAD_MAX];
	size_t len = VHOST_USER_HDR_LEN + m->hdr.size;
	ssize_t n = 0;

	if (m->hdr.size > VHOST_USER_PAYLOAD_MAX || m->nfds > VHOST_USER_FDS_MAX)
		return -EINVAL;
	memcpy(bytes, &m->hdr, VHOST_USER_HDR_LEN);
	memcpy(bytes + VHOST_USER_HDR_LEN, &m->num, m->hdr.size);
	if (m->nfds)
		n = send_fds(sock, m->fd, m->nfds, bytes, len);
	return n < 0 ? n : vhost_user_send_bytes(sock, bytes + n, len - n);
}

void vhost_user_close_fds(struct vhost_user_msg *m)
{
	for (u32 i = 0; i < VHOST_USER_FDS_MAX; i++) {
		if (m->fd[i] >= 0)
			close(m->fd[i]);
		m->fd[i] = -1;
	}
	m->nfds = 0;
}

/* Keep the descriptors that came. Returns 0, or -EPROTO if there were more than there may be. */
static int take_fds(struct vhost_user_msg *m, struct msghdr *msg)
{
	int err = msg->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		u32 n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (u32 i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (m->nfds < VHOST_USER_FDS_MAX) {
				m->fd[m->nfds++] = fd;
				continue;
			}
			close(fd);
			err = -EPROTO;
		}
	}
	return err;
}

/* Wait until there is something to read. `end` is when to give up; 0: never. Most answers come sooner than a thread that
 * sleeps would be awake again, so at first we do not. */
static int wait_readable(int sock, u64 end)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	u64 now, awake_till = now_ns() + AWAKE_NS;
	int n;

	while (now_ns() < awake_till) {
		if (poll(&p, 1, 0) == 1)
			return 0;
		sched_yield();
	}
	do {
		now = end ? now_ms() : 0;
		n = poll(&p, 1, !end ? -1 : now < end ? (int)(end - now) : 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n ? 0 : -ETIMEDOUT;
}

/* Receive up to `len` bytes, waiting until `end` for the first. `msg` may ask for descriptors. Returns how many, or -errno. */
static ssize_t receive_some(int sock, void *buf, size_t len, struct msghdr *msg, u64 end)
{
	struct iovec iov = { buf, len };

	msg->msg_iov = &iov;
	msg->msg_iovlen = 1;
	for (;;) {
		ssize_t n = recvmsg(sock, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int err = 0;

		if (n > 0)
			return n;
		if (n == 0)
			return -ECONNRESET;
		if (errno == EAGAIN)
			err = wait_readable(sock, end);
		else if (errno != EINTR)
			err = -errno;
		if (err)
			return err;
	}
}

/* Receive exactly `len` bytes. Descriptors are kept if `fds`. */
static int receive(int sock, struct vhost_user_msg *m, void *buf, size_t len, bool fds, u64 end)
{
	union {
		char buf[CONTROL_LEN];
		struct cmsghdr align;
	} control;

	for (size_t done = 0; done < len;) {
		struct msghdr msg = { 0 };
		ssize_t n;

		if (fds) {
			msg.msg_control = control.buf;
			msg.msg_controllen = sizeof(control.buf);
		}
		n = receive_some(sock, (u8 *)buf + done, len - done, &msg, end);
		if (n < 0)
			return n;
		if (fds && take_fds(m, &msg))
			return -EPROTO;
		done += n;
	}
	return 0;
}

static int receive_all(int sock, struct vhost_user_msg *m, u64 end)
{
	int err = receive(sock, m, &m->hdr, VHOST_USER_HDR_LEN, true, end);

	if (err)
		return err;
	if ((m->hdr.flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION ||
	    m->hdr.size > VHOST_USER_PAYLOAD_MAX)
		return -EPROTO;
	return receive(sock, m, &m->num, m->hdr.size, false, end);
}

int vhost_user_recv_within(int sock, struct vhost_user_msg *m, u32 ms)
{
	int err;

	memset(m, 0, sizeof(*m));
	for (u32 i = 0; i < VHOST_USER_FDS_MAX; i++)
		m->fd[i] = -1;
	err = receive_all(sock, m, ms ? now_ms() + ms : 0);
	if (err)
		vhost_user_close_fds(m);
	return err;
}

#define ACK_LEN (VHOST_USER_HDR_LEN + sizeof(u64))

/* Is what has come of an acknowledgement, up to `len` bytes, one of `request`? */
static bool is_ack(const u8 *ack, size_t len, u32 request)
{
	struct vhost_user_hdr hdr;

	if (len < sizeof(hdr))
		return true;
	memcpy(&hdr, ack, sizeof(hdr));
	return hdr.request == request && hdr.size == sizeof(u64) && hdr.flags & VHOST_USER_REPLY &&
	       (hdr.flags & VHOST_USER_VERSION_MASK) == VHOST_USER_VERSION;
}

int vhost_user_recv_acks(int sock, const u32 *request, u32 n, u32 ms)
{
	u64 end = ms ? now_ms() + ms : 0, result, refused = 0;
	u8 acks[VHOST_USER_ACKS_MAX * ACK_LEN];
	u32 checked = 0;

	for (size_t done = 0; done < n * ACK_LEN;) {
		struct msghdr msg = { 0 };
		ssize_t got = receive_some(sock, acks + done, n * ACK_LEN - done, &msg, end);

		if (got < 0)
			return got;
		if (msg.msg_flags & MSG_CTRUNC)
			return -EPROTO;
		done += got;
		for (; checked < n; checked++) {
			const u8 *ack = acks + checked * ACK_LEN;

			if (!is_ack(ack, acks + done - ack, request[checked]))
				return -EPROTO;
			if (ack + ACK_LEN > acks + done)
				break;
			memcpy(&result, ack + VHOST_USER_HDR_LEN, sizeof(result));
			refused |= result;
		}
	}
	return refused ? -EREMOTEIO : 0;
}

int vhost_user_recv(int sock, struct vhost_user_msg *m)
{
	return vhost_user_recv_within(sock, m, 0);
}
