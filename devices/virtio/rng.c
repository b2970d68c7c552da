// SPDX-License-Identifier: MIT
/*
 * rng.c - the entropy device (VIRTIO 1.2, 5.4): the first virtio device to read.
 *
 * How it works: it has one queue and no configuration. The driver makes buffers available, the device
 * fills them with the host's random bytes and hands them back; that is all of it. What every device
 * file has, in the order of reading from the end: a create function, a table of hooks, the hooks.
 *
 * Threads: rng_serve() runs on the queue's loop. Where to read next: blk.c.
 */
#include "minivmm/devices.h"
#include "minivmm/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 256
#define CHUNK	   (64 * KIB) /* at most so much for a request: the loop has others to serve */
#define TURN_BYTES MIB	      /* and for all requests of a turn: some milliseconds */

struct rng {
	struct virtio_dev v;
	u32 nsegments;
	struct iovec segment[]; /* queue's loop: of the chain in hand */
};

/* Fill the chain's buffers, up to CHUNK bytes. Returns how many there are. */
static u32 fill(const struct vq_chain *c)
{
	u32 done = 0;

	for (u32 i = c->nout; i < c->nout + c->nin && done < CHUNK; i++) {
		size_t want = c->iov[i].iov_len < CHUNK - done ? c->iov[i].iov_len : CHUNK - done;
		ssize_t n = getrandom(c->iov[i].iov_base, want, 0);

		if (n < 0)
			break;
		done += n;
		if ((size_t)n < want)
			break; /* a signal; 5.4.6.1: at least one byte is enough */
	}
	return done;
}

/* At most a whole ring and TURN_BYTES at a time: a guest that never stops asking is not alone on this
 * loop. */
static void rng_serve(struct virtio_dev *v, struct virtio_queue *q)
{
	struct rng *rng = container_of(v, struct rng, v);
	struct vq_chain c = { .iov = rng->segment, .max = rng->nsegments };

	u32 bytes = 0, len;

	for (u32 n = 0; n < q->vq.cfg.size && bytes < TURN_BYTES && vq_get(&q->vq, &c) > 0; n++) {
		len = fill(&c);
		vq_put(&q->vq, &c, len);
		bytes += len;
	}
	vq_publish(&q->vq);
	if (vq_rearm(&q->vq))
		virtio_queue_kick(v, q->index);
}

static void rng_destroy(struct virtio_dev *v)
{
	virtio_dev_destroy(v);
	free(container_of(v, struct rng, v));
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.pci_class = 0x00ff00, /* no class fits */
	.serve = rng_serve,
	.destroy = rng_destroy,
};

int virtio_rng_create(struct virtio_dev **v, const struct machine_env *env,
		      const struct virtio_options *o)
{
	u32 size = o->queue_size ? o->queue_size : QUEUE_SIZE; /* no chain is longer (2.6) */
	struct rng *rng = calloc(1, sizeof(*rng) + size * sizeof(struct iovec));
	int err;

	if (!rng)
		return -ENOMEM;
	rng->nsegments = size;
	err = virtio_dev_init(&rng->v, &rng_ops, env, o, 1, QUEUE_SIZE, 0);
	if (err) {
		free(rng);
		return err;
	}
	*v = &rng->v;
	return 0;
}
