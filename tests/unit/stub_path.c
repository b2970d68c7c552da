// SPDX-License-Identifier: MIT
/* stub_path.c - see stub_path.h. */
#include "tests/unit/stub_path.h"
#include "devices/datapath/inproc.h"
#include "minivmm/virtio.h"
#include "tests/unit/unit.h"

static struct stub_path *stub_of(struct datapath *d)
{
	return container_of(d, struct stub_path, path);
}

static u64 features(struct datapath *d, u64 offered)
{
	return offered & ~stub_of(d)->cannot;
}

static int prepare(struct datapath *d, struct virtio_dev *v)
{
	(void)v;
	stub_of(d)->prepares++;
	return stub_of(d)->prepare_err;
}

static int start(struct datapath *d, struct virtio_queue *q, const struct vq_cfg *cfg,
		 struct vq_pos pos)
{
	struct stub_path *s = stub_of(d);
	int err = s->start_err && q->index == s->fail_at ? s->start_err : 0;
	struct vq_cfg logged = *cfg;

	ck_assert_ptr_null(cfg->log); /* that is not told with a queue */
	if (s->log) {
		logged.log = s->log;
		logged.logfd = -1;
		logged.log_ring = true;
		logged.log_device = cfg->device;
	}

	if (s->busy) /* it goes on with what it has got */
		pos.avail--;
	if (!err)
		err = inproc_path.ops->start(&inproc_path, q, &logged, pos);
	if (!err && s->lost_at_start)
		virtio_host_failed(q->dev, "a test says so");
	s->v = q->dev;
	s->starts += !err;
	s->running += !err;
	return err;
}

static void rouse(struct datapath *d)
{
	struct stub_path *s = stub_of(d);

	ck_assert_uint_ne(s->running, 0);
	s->rouses++;
	if (s->lost_at_rouse)
		virtio_host_failed(s->v, "a test says so");
}

static struct vq_pos stop(struct datapath *d, struct virtio_queue *q)
{
	struct stub_path *s = stub_of(d);
	struct vq_pos pos = inproc_path.ops->stop(&inproc_path, q);

	if (s->lost_at_stop)
		virtio_host_failed(q->dev, "a test says so");
	s->stops++;
	s->running--;
	if (s->busy || s->takes_one) /* it has got one that it has not put */
		pos.avail++;
	return pos;
}

static bool served(struct datapath *d)
{
	return !stub_of(d)->dead;
}

static void use_pairs(struct datapath *d, u32 pairs)
{
	stub_of(d)->pairs = pairs;
}

static void set_link(struct datapath *d, bool up)
{
	stub_of(d)->link = up;
}

/* It can only while nothing runs. */
static int log_dirty(struct datapath *d, const struct mem_log *log)
{
	struct stub_path *s = stub_of(d);

	if (log && s->log_err)
		return s->log_err;
	s->log = log;
	return 0;
}

static void destroy(struct datapath *d)
{
	stub_of(d)->destroyed = true;
}

static const struct datapath_ops ops = {
	.name = "stub",
	.features = features,
	.prepare = prepare,
	.start = start,
	.rouse = rouse,
	.stop = stop,
	.served = served,
	.use_pairs = use_pairs,
	.set_link = set_link,
	.log_dirty = log_dirty,
	.destroy = destroy,
};

void stub_path_init(struct stub_path *s)
{
	*s = (struct stub_path){ .path = { .ops = &ops, .queues = ~0ULL } };
}
