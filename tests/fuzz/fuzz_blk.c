// SPDX-License-Identifier: MIT
/*
 * fuzz_blk.c - fuzz target: requests to the block device from a hostile driver.
 *
 * fuzz_blk_steps.h has the input: a row of requests. Rings are sound here; fuzzing those is another's.
 *
 * What must hold: a model of the disk says for each request which status it gets and what then is on
 * the disk and in the driver's buffers, and that no byte beside them has changed. The image is a file
 * in memory, served by threads; it is made once. The device is there twice, with either ring format.
 */
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/virtio.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_blk_steps.h"
#include "tests/lib/ring_driver.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTORS	   FUZZ_BLK_SECTORS
#define DISK_LEN   (SECTORS * 512)
#define RAM_LEN	   (2 * MIB)
#define RING_GPA   0x1000
#define RING_SIZE  64
#define OUT_GPA	   0x110000
#define IN_GPA	   0x130000
#define AREA_LEN   0x10000 /* for each of them, what is not used is a guard */
#define FILLED_MAX 4096	   /* what the device itself fills of a request's data */
#define DATA_MAX   0x4000
#define STEPS_MAX  16
#define GUARD_BYTE 0xcc
#define SERIAL	   "fuzz"

/* What must come of a request. */
struct expected {
	bool broken; /* it is no request */
	bool any;    /* can't be said */
	u8 status;
	u8 in[DATA_MAX]; /* data */
};

struct disk {
	struct virtio_dev *v;
	struct irq config, call;
	struct ring_driver ring;
	int fd;
	u8 model[DISK_LEN];
};

static struct machine_env env;
static struct mem mem;
static struct loop *loops[1];
static struct disk disks[2];
static unsigned long done[3], of_type[16]; /* by status; of those that went well */

static void tell(void)
{
	fprintf(stderr,
		"fuzz_blk: %lu requests done (%lu read, %lu write, %lu flush, %lu id, %lu discard, "
		"%lu zero), %lu refused, %lu unsupported\n",
		done[0], of_type[VIRTIO_BLK_T_IN], of_type[VIRTIO_BLK_T_OUT],
		of_type[VIRTIO_BLK_T_FLUSH], of_type[VIRTIO_BLK_T_GET_ID],
		of_type[VIRTIO_BLK_T_DISCARD], of_type[VIRTIO_BLK_T_WRITE_ZEROES], done[1],
		done[2]);
}

static void start(struct disk *k)
{
	struct virtio_dev *v = k->v;
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	const struct vq_cfg *c = &k->ring.cfg;

	virtio_status_write(v, 0);
	ring_driver_reset(&k->ring);
	virtio_status_write(v, status);
	for (u32 i = 0; i < 2; i++)
		virtio_driver_features_write(v, i, virtio_features_read(v, i));
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	virtio_status_write(v, status);
	must(virtio_status_read(v) == status);
	virtio_queue_size_write(v, 0, c->size);
	virtio_queue_area_write(v, 0, VIRTIO_DESC, 0, c->desc);
	virtio_queue_area_write(v, 0, VIRTIO_DRIVER, 0, c->driver);
	virtio_queue_area_write(v, 0, VIRTIO_DEVICE, 0, c->device);
	virtio_queue_enable(v, 0);
	virtio_status_write(v, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void create(struct disk *k, bool packed)
{
	struct virtio_options o = { .packed = packed };
	struct virtio_blk_options b = { .discard = true, .serial = SERIAL };
	struct image_options io = { .aio = IMAGE_AIO_THREADS };
	/* All that is offered is accepted. */
	struct vq_cfg cfg = { .size = RING_SIZE,
			      .packed = packed,
			      .indirect = true,
			      .event_idx = true,
			      .in_order = true };
	char path[32];

	k->fd = memfd_create("fuzz", MFD_CLOEXEC);
	must(k->fd >= 0 && ftruncate(k->fd, DISK_LEN) == 0);
	for (u32 i = 0; i < DISK_LEN; i++)
		k->model[i] = i / 512 + 1;
	must(pwrite(k->fd, k->model, DISK_LEN, 0) == DISK_LEN);
	sprintf(path, "/proc/self/fd/%d", k->fd);
	io.path = path;
	must(image_open(&b.image, &io) == 0);
	must(virtio_blk_create(&k->v, &env, &o, &b) == 0);
	must(irq_init(&k->config, env.irqchip) == 0);
	must(irq_init(&k->call, env.irqchip) == 0);
	virtio_attach(k->v, &k->config);
	virtio_attach_queue(k->v, 0, &k->call);
	must(ring_driver_init(&k->ring, &mem, RING_GPA, &cfg) == 0);
	must(k->ring.end <= OUT_GPA);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	mem_init(&mem);
	must(mem_add_ram(&mem, 0, RAM_LEN, false) == 0);
	must(irqchip_create(&env.irqchip) == 0);
	must(loop_create(&env.loop) == 0);
	loops[0] = env.loop;
	env.mem = &mem;
	env.io_loop = loops;
	env.nio_loops = 1;
	for (u32 i = 0; i < 2; i++)
		create(&disks[i], i);
	atexit(tell);
	return 0;
}

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(env.loop);
}

/* Let the loop handle one batch of what waits. */
static void run_loop(void)
{
	struct loop_fd lf = { .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };

	must(loop_add(env.loop, &lf, EPOLLIN) == 0);
	loop_run(env.loop);
	loop_del(env.loop, &lf);
	close(lf.fd);
}

static bool needs_reset(struct disk *k)
{
	return virtio_status_read(k->v) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- the model ---- */

static u8 model_ranges(struct disk *k, u32 type, const u8 *data, u32 len)
{
	struct virtio_blk_discard_write_zeroes r[16];
	u32 n = len / 16;

	if (!n || len % 16 || n > 16)
		return VIRTIO_BLK_S_IOERR;
	memcpy(r, data, len);
	for (u32 i = 0; i < n; i++) {
		if (r[i].flags > (type == VIRTIO_BLK_T_WRITE_ZEROES))
			return VIRTIO_BLK_S_UNSUPP;
		if (r[i].sector > SECTORS || r[i].num_sectors > SECTORS - r[i].sector)
			return VIRTIO_BLK_S_IOERR;
	}
	/* A discarded sector of this file reads as zeroes. */
	for (u32 i = 0; i < n; i++)
		memset(k->model + r[i].sector * 512, 0, r[i].num_sectors * 512);
	return VIRTIO_BLK_S_OK;
}

static void model(struct disk *k, const struct fuzz_blk_step *s, const u8 *out, u32 out_len,
		  u32 in_len, struct expected *e)
{
	const struct virtio_blk_outhdr header = s->header, *h = &header;
	u32 len = h->type == VIRTIO_BLK_T_IN ? in_len - 1 : out_len - 16;
	bool inside = len % 512 == 0 && h->sector <= SECTORS && len / 512 <= SECTORS - h->sector;

	memset(e, 0, sizeof(*e));
	e->broken = out_len < 16 || in_len < 1;
	e->any = s->how & FUZZ_BLK_OVERLAP;
	if (e->broken || e->any)
		return;
	switch (h->type) {
	case VIRTIO_BLK_T_IN:
		e->status = inside ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
		if (inside)
			memcpy(e->in, k->model + h->sector * 512, len);
		break;
	case VIRTIO_BLK_T_OUT:
		e->status = inside ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
		if (inside)
			memcpy(k->model + h->sector * 512, out + 16, len);
		break;
	case VIRTIO_BLK_T_FLUSH:
		break;
	case VIRTIO_BLK_T_GET_ID:
		memcpy(e->in, SERIAL, sizeof(SERIAL) < in_len ? sizeof(SERIAL) : in_len - 1);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		e->status = model_ranges(k, h->type, out + 16, len);
		break;
	default:
		e->status = VIRTIO_BLK_S_UNSUPP;
	}
}

/* What cannot be told is taken as it is; but the disk is as large as before. */
static void check_disk(struct disk *k, bool known)
{
	u8 now[DISK_LEN];

	must(lseek(k->fd, 0, SEEK_END) == DISK_LEN);
	must(pread(k->fd, now, DISK_LEN, 0) == DISK_LEN);
	if (known)
		must(memcmp(now, k->model, DISK_LEN) == 0);
	else
		memcpy(k->model, now, DISK_LEN);
}

/* ---- the driver ---- */

/* Cut [gpa, gpa + len) into at most `max` buffers. */
static u32 cut(struct ring_buf *buf, u32 max, u64 gpa, u32 len, u32 *seed)
{
	u32 n = 0;

	while (len) {
		u32 part = len;

		if (n + 1 < max && *seed) {
			*seed = *seed * 1103515245 + 12345;
			part = (*seed >> 16) % (*seed & 1 ? 24 : len) + 1;
			part = part < len ? part : len;
		}
		buf[n++] = (struct ring_buf){ gpa, part };
		gpa += part;
		len -= part;
	}
	return n;
}

static void check_guard(const u8 *area, u32 used)
{
	for (u32 i = used; i < used + 256; i++)
		must(area[i] == GUARD_BYTE);
}

/* Wait for the request to come back, or for the device to break. */
static u32 await(struct disk *k, u32 *written)
{
	for (;;) {
		int id = ring_get(&k->ring, written);

		if (id >= 0)
			return id;
		if (needs_reset(k))
			return ~0u;
		run_loop();
	}
}

static void act(struct disk *k, struct fuzz_blk_step *s)
{
	u8 *out = mem_ptr(&mem, OUT_GPA, AREA_LEN), *in = mem_ptr(&mem, IN_GPA, AREA_LEN);
	u32 out_len = 16 + s->out_len % DATA_MAX, in_len = s->in_len % DATA_MAX;
	u64 in_gpa = s->how & FUZZ_BLK_OVERLAP ? OUT_GPA + s->cuts : IN_GPA;
	static struct expected e;
	struct ring_buf buf[60];
	u32 seed = s->cuts, nout, nin, written, id;

	if (!(s->how & FUZZ_BLK_ANY_TYPE))
		s->header.type %= 16;
	if (!(s->how & FUZZ_BLK_ANY_SECTOR))
		s->header.sector %= SECTORS + 2;
	if (s->how & FUZZ_BLK_SHORT)
		out_len = s->cuts;
	if (!out_len && !in_len)
		return;
	if (s->how & FUZZ_BLK_SECTORS_ONLY) { /* whole sectors */
		out_len = ALIGN_DOWN(out_len, 512) + 16;
		in_len = ALIGN_DOWN(in_len, 512) + 1;
	}
	memset(out, GUARD_BYTE, AREA_LEN);
	memset(in, GUARD_BYTE, AREA_LEN);
	for (u32 i = 16; i < out_len; i++)
		out[i] = s->data[(i - 16) % sizeof(s->data)];
	memcpy(out, &s->header, 16 < out_len ? 16 : out_len);
	model(k, s, out, out_len, in_len, &e);

	nout = cut(buf, 30, OUT_GPA, out_len, &seed);
	nin = cut(buf + nout, 30, in_gpa, in_len, &seed);
	id = ring_add(&k->ring, buf, nout, nin, s->how & FUZZ_BLK_INDIRECT);
	must(id < RING_SIZE);
	ring_publish(&k->ring);
	virtio_queue_kick(k->v, 0);
	if (s->how & FUZZ_BLK_RESET) {
		run_loop();
		start(k); /* resets it */
		check_disk(k, false);
		return;
	}
	must(await(k, &written) == id || e.broken);
	if (e.broken) {
		must(needs_reset(k));
		start(k);
	} else if (!e.any) {
		bool read = s->header.type == VIRTIO_BLK_T_IN && e.status == VIRTIO_BLK_S_OK;
		u32 data = in_len - 1, filled = read || data < FILLED_MAX ? data : FILLED_MAX;

		must(written == filled + (filled == data));
		must(in[data] == e.status && e.status <= VIRTIO_BLK_S_UNSUPP);
		must(memcmp(in, e.in, filled) == 0);
		for (u32 i = filled; i < data; i++)
			must(in[i] == GUARD_BYTE);
		check_guard(in, in_len);
		check_guard(out, out_len);
		done[e.status]++;
		if (e.status == VIRTIO_BLK_S_OK)
			of_type[s->header.type]++;
	}
	check_disk(k, !e.any);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct disk *k = &disks[size && data[0] & FUZZ_BLK_PACKED];

	start(k);
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct fuzz_blk_step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		act(k, &s);
	}
	virtio_status_write(k->v, 0);
	return 0;
}
