// SPDX-License-Identifier: MIT
/*
 * vq_log.c - marking what a queue writes to guest memory, in a log of written pages (mem_log.h).
 *
 *	buffers		when the chain is put: by then the device has written them
 *	the ring	after each publication, and each change of what the driver is asked for
 *
 * How it works: a device may use up the segments of a chain while it works, so we keep a copy from vq_get() to
 * vq_put(), in a slot whose number goes with the chain. All of the writable part is marked, also what the
 * device did not need to fill. Of the ring, too, all that the device may write.
 *
 * Threads: the queue's. Others may look at the log and clear it at any time.
 */
#include "devices/virtio/vq_internal.h"
#include "minivmm/mem_log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#define NO_SLOT 0xffff

struct slot {
	struct iovec *iov; /* `room` of them, the first n in use */
	u32 n, room;
	u16 next; /* while it is free */
};

struct vq_marks {
	bool fresh; /* something was marked that nobody has been told of */
	u16 free;   /* the first free slot */
	struct slot slot[];
};

int vq_log_open(struct vq *q)
{
	u32 size = q->cfg.size;

	q->marks = calloc(1, sizeof(*q->marks) + size * sizeof(struct slot));
	if (!q->marks)
		return -ENOMEM;
	for (u32 i = 0; i < size; i++)
		q->marks->slot[i].next = i + 1 < size ? i + 1 : NO_SLOT;
	return 0;
}

void vq_log_close(struct vq *q)
{
	for (u32 i = 0; q->marks && i < q->cfg.size; i++)
		free(q->marks->slot[i].iov);
	free(q->marks);
	q->marks = NULL;
}

int vq_log_got(struct vq *q, struct vq_chain *c)
{
	struct slot *s = &q->marks->slot[q->marks->free];

	assert(q->marks->free != NO_SLOT); /* no more than cfg.size chains are in flight */
	if (c->nin > s->room) {
		struct iovec *iov = realloc(s->iov, c->nin * sizeof(*iov));

		if (!iov)
			return vq_break(q, "there is no memory for its log");
		s->iov = iov;
		s->room = c->nin;
	}
	s->n = c->nin;
	if (s->n)
		memcpy(s->iov, c->iov + c->nout, s->n * sizeof(*s->iov));
	c->slot = q->marks->free;
	q->marks->free = s->next;
	return 1;
}

void vq_log_unget(struct vq *q, const struct vq_chain *c)
{
	q->marks->slot[c->slot].next = q->marks->free;
	q->marks->free = c->slot;
}

static void mark(struct vq *q, u64 gpa, u64 len)
{
	q->marks->fresh |= mem_log_mark(q->cfg.log, gpa, len);
}

void vq_log_put(struct vq *q, const struct vq_chain *c)
{
	struct slot *s = &q->marks->slot[c->slot];
	u64 gpa;

	for (u32 i = 0; i < s->n; i++) {
		if (mem_gpa(q->mem, s->iov[i].iov_base, &gpa))
			mark(q, gpa, s->iov[i].iov_len);
	}
	vq_log_unget(q, c);
}

void vq_log_ring(struct vq *q)
{
	u32 len[3], align[3];

	if (q->cfg.log_ring) {
		q->format->areas(&q->cfg, len, align);
		mark(q, q->cfg.log_device, len[2]);
		if (q->cfg.packed) /* used descriptors take the places of available ones */
			mark(q, q->cfg.desc, len[0]);
	}
	if (q->marks->fresh && q->cfg.logfd >= 0 && eventfd_write(q->cfg.logfd, 1) < 0 &&
	    errno == EINTR) /* as of a call, see vq_publish() */
		q->cfg.logfd = -1;
	q->marks->fresh = false;
}
