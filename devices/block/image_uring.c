// SPDX-License-Identifier: MIT
/*
 * image_uring.c - a queue whose requests are run by the kernel, through an io_uring of its own.
 *
 *	submit ──> waiting ──turn──> SQE ──io_uring_enter──> CQE ──turn──> done()
 *	               ^──────────── (another step) <─────────────┘
 *
 * How it works: everything happens in a turn, at a kick and when the ring's eventfd says that there
 * are completions. A turn hands all that waits to the kernel with one system call and takes all
 * that is completed, and again until there is neither. What the kernel can do at once, like a read
 * from the page cache, is completed in the same system call: kick, one io_uring_enter(), done().
 * So that such completions do not wake the loop for nothing, the eventfd is off during a turn. At its
 * end it is switched on and only then the ring is looked at for the last time.
 *
 * There is room in the ring for all completions of what the kernel has in hand, and more is not handed
 * to it; requests beyond wait, so that none can get lost.
 *
 * One sync at a time (see sync_fd): those that come while one is in flight share the next, since it may
 * have begun before the last write did.
 *
 * io_uring can't discard on a block device; these requests go to a pool of threads.
 *
 * Threads: the loop's.
 */
#include "devices/block/image_internal.h"

#include "minivmm/loop.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SQ_ENTRIES 256

/* Larger requests are not tried on the loop's thread: copying them from the page cache takes long. */
#define INLINE_MAX (4 * MIB)

/* Completions need no interruption of the thread: it comes by in the kernel anyway (Linux 5.19). */
#define RING_FLAGS IORING_SETUP_COOP_TASKRUN

struct uring {
	struct image_queue q;
	struct io_uring ring;
	bool have_ring;
	struct loop_fd event;	  /* eventfd: there are completions */
	struct image_queue *pool; /* for what io_uring can't do, or NULL */
	struct image_list waiting;
	struct image_list syncs;   /* to be synced next */
	struct image_list syncing; /* by the one sync in flight: not empty while there is one */
	u32 inkernel;		   /* SQEs made and not completed */
	u32 undone;		   /* submitted, and done() not called */
	bool turning;
};

/* A ring that does not begin before ring_begin(). */
static int ring_init(struct io_uring *ring)
{
	unsigned int flags = IORING_SETUP_R_DISABLED; /* Linux 5.10 */
	int err = io_uring_queue_init(SQ_ENTRIES, ring, flags | RING_FLAGS);

	return err == -EINVAL ? io_uring_queue_init(SQ_ENTRIES, ring, flags) : err;
}

/* Not all liburings of these days have a function for each request. */
static int ring_register(struct io_uring *ring, u32 request, const void *arg, u32 n)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, request, arg, n) < 0 ? -errno : 0;
}

/*
 * Let the ring do what fill_sqe() asks for, and nothing else: what a ring does goes past a seccomp filter,
 * and a ring can open files and sockets.
 */
static int ring_begin(struct io_uring *ring)
{
	struct io_uring_restriction only[] = {
		{ .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_ASYNC },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_READV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_WRITEV },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FSYNC },
		{ .opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = IORING_OP_FALLOCATE },
	};
	int err = ring_register(ring, IORING_REGISTER_RESTRICTIONS, only, ARRAY_SIZE(only));

	return err ? err : ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int image_uring_probe(void)
{
	struct io_uring ring;
	int err = ring_init(&ring);

	if (err)
		return err;
	err = ring_begin(&ring);
	io_uring_queue_exit(&ring);
	return err;
}

static void fill_sqe(struct io_uring_sqe *sqe, const struct image_step *s)
{
	switch (s->op) {
	case STEP_READ:
		io_uring_prep_readv(sqe, s->fd, s->iov, s->niov, s->off);
		break;
	case STEP_WRITE:
		io_uring_prep_writev2(sqe, s->fd, s->iov, s->niov, s->off, s->flags);
		break;
	case STEP_SYNC:
		io_uring_prep_fsync(sqe, s->fd, IORING_FSYNC_DATASYNC);
		break;
	case STEP_FALLOCATE:
		io_uring_prep_fallocate(sqe, s->fd, s->flags, s->off, s->len);
		break;
	case STEP_BLKDISCARD:
		assert(!"a discard on a block device is the pool's");
	}
}

static void make_sqe(struct uring *u, const struct image_step *s, void *data, bool async)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	fill_sqe(sqe, s);
	io_uring_sqe_set_data(sqe, data);
	if (async)
		sqe->flags |= IOSQE_ASYNC;
	u->inkernel++;
}

/* The list's elements, all the same step, had this result. fill() knows whether they are done. */
static void step_done(struct uring *u, struct image_list *l, int res)
{
	struct image_req *r;

	while ((r = image_list_take(l))) {
		image_step_done(r, res);
		image_list_add(&u->waiting, r);
	}
}

static bool has_room(struct uring *u)
{
	return u->inkernel < u->ring.cq.ring_entries && io_uring_sq_space_left(&u->ring);
}

/* Make SQEs of what waits, as far as there is room. Returns how many requests turned out to be done. */
static u32 fill(struct uring *u)
{
	struct image_step s;
	struct image_req *r;
	u32 ndone = 0;

	while (u->waiting.first && has_room(u)) {
		r = image_list_take(&u->waiting);
		if (!image_next_step(r, &s)) {
			u->undone--;
			ndone++;
			r->done(r, r->result);
		} else if (s.op == STEP_SYNC) {
			image_list_add(&u->syncs, r);
		} else {
			make_sqe(u, &s, r, r->op == IMAGE_WRITE_ZEROES || r->len > INLINE_MAX);
		}
	}
	if (u->syncs.first && !u->syncing.first && has_room(u)) {
		u->syncing = u->syncs;
		u->syncs.first = NULL;
		s = (struct image_step){ .op = STEP_SYNC, .fd = u->q.sync_fd };
		make_sqe(u, &s, &u->syncing, false);
	}
	return ndone;
}

/* Hand the SQEs to the kernel. False: it is out of memory, to be tried again later. */
static bool enter(struct uring *u)
{
	while (io_uring_sq_ready(&u->ring)) {
		int n = io_uring_submit(&u->ring);

		if (n == -EAGAIN || n == -EBUSY)
			return false;
		assert(n >= 0 || n == -EINTR);
	}
	return true;
}

/* Take the completions. Returns how many there were. */
static u32 reap(struct uring *u)
{
	struct io_uring_cqe *cqe;
	u32 n = 0;

	for (; io_uring_cq_ready(&u->ring) && io_uring_peek_cqe(&u->ring, &cqe) == 0; n++) {
		void *data = io_uring_cqe_get_data(cqe);
		struct image_list one = { 0 };
		int res = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		u->inkernel--;
		if (data != &u->syncing)
			image_list_add(&one, data);
		step_done(u, data == &u->syncing ? &u->syncing : &one, res);
	}
	return n;
}

/* The host is out of memory for what we hand it. Completions, if some are to come, wake the loop;
 * else it tries again, without taking a whole CPU for it. */
static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* Is there something that fill() could take? Requests that found the submission queue full. */
static bool can_fill(struct uring *u)
{
	return (u->waiting.first || (u->syncs.first && !u->syncing.first)) && has_room(u);
}

static void turn(struct uring *u)
{
	bool again, entered;
	u32 ndone;

	if (u->turning) /* a callback's kick: the turn in hand goes on anyway */
		return;
	u->turning = true;
	do {
		io_uring_cq_eventfd_toggle(&u->ring, false);
		do {
			ndone = fill(u);
			if (ndone && u->q.batch_done)
				u->q.batch_done(u->q.arg);
			entered = enter(u);
			again = reap(u) > 0 || ndone > 0 || (entered && can_fill(u));
		} while (again);
		io_uring_cq_eventfd_toggle(&u->ring, true);
		/* Pairs with the kernel's taking its completion lock between posting a completion and
		 * looking whether the eventfd is on: one of us sees the other's store. */
		atomic_thread_fence(memory_order_seq_cst);
	} while (io_uring_cq_ready(&u->ring));
	if (!entered && u->inkernel == io_uring_sq_ready(&u->ring)) {
		nap();
		eventfd_write(u->event.fd, 1);
	}
	u->turning = false;
}

static void uring_ready(struct loop_fd *lf, u32 events)
{
	(void)events; /* edge-triggered: the eventfd need not be read */
	turn(container_of(lf, struct uring, event));
}

static void uring_submit(struct image_queue *q, struct image_req *r)
{
	struct uring *u = container_of(q, struct uring, q);

	if (u->pool && r->op == IMAGE_DISCARD) {
		r->queue = u->pool;
		u->pool->ops->submit(u->pool, r);
		return;
	}
	image_list_add(&u->waiting, r);
	u->undone++;
}

static void uring_kick(struct image_queue *q)
{
	struct uring *u = container_of(q, struct uring, q);

	if (u->pool)
		u->pool->ops->kick(u->pool);
	turn(u);
}

static void uring_drain(struct image_queue *q)
{
	struct uring *u = container_of(q, struct uring, q);

	if (u->pool)
		u->pool->ops->drain(u->pool);
	turn(u);
	while (u->undone) {
		int n = io_uring_submit_and_wait(&u->ring, 1);

		if (n < 0 && n != -EINTR)
			nap();
		turn(u);
	}
}

static void uring_destroy(struct image_queue *q)
{
	struct uring *u = container_of(q, struct uring, q);

	if (u->pool)
		u->pool->ops->destroy(u->pool);
	if (u->have_ring)
		io_uring_queue_exit(&u->ring);
	if (u->event.fd >= 0) {
		loop_del(q->loop, &u->event);
		close(u->event.fd);
	}
	if (q->sync_fd >= 0)
		close(q->sync_fd);
	free(u);
}

static const struct image_queue_ops uring_ops = {
	.submit = uring_submit,
	.kick = uring_kick,
	.drain = uring_drain,
	.destroy = uring_destroy,
};

static void destroy_failed(void *u)
{
	uring_destroy(&((struct uring *)u)->q);
}

int image_uring_create(struct image_queue **out, const struct image_queue *common)
{
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	u->q = *common;
	u->q.ops = &uring_ops;
	u->q.sync_fd = -1;
	u->event = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				     .ready = uring_ready };
	err = u->event.fd < 0 ? -errno : loop_add(u->q.loop, &u->event, EPOLLIN | EPOLLET);
	if (!err)
		err = image_sync_open(&u->q);
	if (!err)
		err = ring_init(&u->ring);
	if (!err) {
		u->have_ring = true;
		err = io_uring_register_eventfd(&u->ring, u->event.fd);
	}
	if (!err)
		err = ring_begin(&u->ring);
	if (!err && u->q.img->blkdev)
		err = image_threads_create(&u->pool, common);
	if (err) { /* on the loop's thread: it may run, and have events in hand */
		loop_call(common->loop, destroy_failed, u);
		return err;
	}
	*out = &u->q;
	return 0;
}
