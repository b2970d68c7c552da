// SPDX-License-Identifier: MIT
/*
 * image.c - open a disk image, lock it, find out what it can do. See image.h.
 *
 * How it works: image_open() checks one thing after the other, each with a message that says how to
 * mend it. Then
 *
 *  - The lock. A writer locks the whole file, against everybody. A reader locks all but bytes 101 to
 *    200, so that writers of ours are kept out, and other readers are not: QEMU's tools lock single
 *    bytes from 100 on for what they do with the file, and from 200 on for what they let nobody else
 *    do. A reader of theirs holds 100 (it reads) and 201 (nobody may write) and looks whether 101 is
 *    held; a writer of theirs holds 101.
 *
 *    A writer that is to share the image (IMAGE_SHARED, IMAGE_OWNED) does as qemu-storage-daemon's
 *    exports: it holds 100 and 101, not 201, and looks whether somebody else holds 200 or 201. So those
 *    get in, and who wants the image for himself does not. The one whose guest has the disk
 *    (IMAGE_OWNED) also locks bytes 0 to 99, which keeps out a second such one, and our readers.
 *
 *	bytes		0-99	100,101	102-199	200	201	202	203	204-
 *	IMAGE_ALONE	write ------------------------------------------------->
 *	a reader	read -->100	-	-	read ------------------>
 *	IMAGE_SHARED	-	read	-	looks	looks	-	read	-
 *	IMAGE_OWNED	write	read	-	looks	looks	-	read	-
 *	QEMU's export	-	read	-	looks	looks	-	-	-
 *
 *  - O_DIRECT needs offsets, lengths and buffers in certain units: statx() tells (Linux 6.1), else
 *    reads are tried. What does not fit goes through a second descriptor without O_DIRECT.
 *
 *  - Discard. Punching a hole behind the end of a file changes nothing, and shows whether the file
 *    system can.
 *
 * Threads: all functions but the queue's may be called from any thread.
 * Next: image_step.c.
 */
#include "devices/block/image_internal.h"

#include "minivmm/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* QEMU's lock bytes: block/file-posix.c. */
#define QEMU_READS	100
#define QEMU_WRITES	101
#define QEMU_RESIZES	103
#define QEMU_NOT_READ	200
#define QEMU_NOT_WRITE	201
#define QEMU_NOT_RESIZE 203

static int lock_bytes(int fd, int cmd, int type, u64 first, u64 end)
{
	struct flock lk = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = first,
		.l_len = end ? end - first : 0, /* 0: to the end, however long the file gets */
	};

	if (fcntl(fd, cmd, &lk) < 0)
		return -errno;
	return cmd == F_OFD_GETLK && lk.l_type != F_UNLCK ? -EAGAIN : 0;
}

static int lock_for_reading(int fd)
{
	int err = lock_bytes(fd, F_OFD_SETLK, F_RDLCK, 0, QEMU_WRITES);

	if (!err)
		err = lock_bytes(fd, F_OFD_SETLK, F_RDLCK, QEMU_NOT_WRITE, 0);
	return err ? err : lock_bytes(fd, F_OFD_GETLK, F_WRLCK, QEMU_WRITES, QEMU_RESIZES + 1);
}

/* First lock, then look: of two who come at once one sees the other. */
static int lock_for_sharing(int fd, bool owned)
{
	int err = owned ? lock_bytes(fd, F_OFD_SETLK, F_WRLCK, 0, QEMU_READS) : 0;

	if (!err)
		err = lock_bytes(fd, F_OFD_SETLK, F_RDLCK, QEMU_READS, QEMU_WRITES + 1);
	if (!err)
		err = lock_bytes(fd, F_OFD_SETLK, F_RDLCK, QEMU_NOT_RESIZE, QEMU_NOT_RESIZE + 1);
	return err ? err : lock_bytes(fd, F_OFD_GETLK, F_WRLCK, QEMU_NOT_READ, QEMU_NOT_WRITE + 1);
}

static int lock_as_asked(const struct image *img, enum image_lock lock)
{
	if (img->readonly)
		return lock_for_reading(img->fd);
	if (lock != IMAGE_ALONE)
		return lock_for_sharing(img->fd, lock == IMAGE_OWNED);
	return lock_bytes(img->fd, F_OFD_SETLK, F_WRLCK, 0, 0);
}

static int lock_image(const struct image *img, enum image_lock lock)
{
	const char *who = img->readonly		? "a program that writes it"
			  : lock == IMAGE_ALONE ? "another program"
						: "a program that does not share it";
	int err = lock_as_asked(img, lock);

	if (err == -EAGAIN || err == -EACCES) {
		log_err("%s: locked by %s; end it first%s", img->path, who,
			img->readonly || lock != IMAGE_ALONE
				? ""
				: ", or give readonly=on to all who use it");
		return -EBUSY;
	}
	if (err)
		log_warn("%s: can't be locked (%s); see to it that nobody else uses it", img->path,
			 strerror(-err));
	return 0;
}

bool image_has_other_writer(const struct image *img)
{
	return lock_bytes(img->fd, F_OFD_GETLK, F_WRLCK, QEMU_WRITES, QEMU_WRITES + 1) == -EAGAIN;
}

/* Say what is wrong with opening the file. */
static int open_failed(const struct image *img, int err)
{
	const char *fix = NULL;

	switch (err) {
	case ENOENT:
		log_err("%s: no such file; `truncate -s 10G %s` makes an empty disk", img->path,
			img->path);
		return -err;
	case EACCES:
	case EPERM:
		fix = img->readonly ? "allow reading it with chmod"
				    : "allow writing it with chmod, or use readonly=on";
		break;
	case EROFS:
		fix = "use readonly=on";
		break;
	case EBUSY:
		fix = "the host uses it: unmount it, or use readonly=on";
		break;
	case EINVAL:
		if (img->direct)
			fix = "its file system has no O_DIRECT: leave out direct=on";
		break;
	}
	log_err("%s: %s%s%s", img->path, strerror(err), fix ? "; " : "", fix ? fix : "");
	return -err;
}

static int open_file(struct image *img)
{
	int flags = O_CLOEXEC | (img->readonly ? O_RDONLY : O_RDWR);
	struct stat st;

	if (stat(img->path, &st) < 0)
		return open_failed(img, errno);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		log_err("%s: is %s; a disk is a file or a block device", img->path,
			S_ISDIR(st.st_mode) ? "a directory" : "a special file");
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	}
	img->blkdev = S_ISBLK(st.st_mode);
	if (img->blkdev && !img->readonly)
		flags |= O_EXCL; /* not what the host has mounted */
	img->fd = open(img->path, flags | (img->direct ? O_DIRECT : 0));
	if (img->fd < 0)
		return open_failed(img, errno);
	img->fd_cached = img->direct ? open(img->path, flags & ~O_EXCL) : img->fd;
	return img->fd_cached < 0 ? open_failed(img, errno) : 0;
}

/* Is it what the options say? */
static int check_opened(struct image *img)
{
	int flags = fcntl(img->fd, F_GETFL), access = flags & O_ACCMODE;
	struct stat st;

	if (flags < 0 || fstat(img->fd, &st) < 0)
		return open_failed(img, errno);
	img->blkdev = S_ISBLK(st.st_mode);
	if (!S_ISREG(st.st_mode) && !img->blkdev) {
		log_err("%s: is no file or block device", img->path);
		return -EINVAL;
	}
	if (access == O_WRONLY || (access == O_RDONLY && !img->readonly)) {
		log_err("%s: is not open for %s", img->path,
			access == O_WRONLY ? "reading" : "writing; give readonly=on");
		return -EACCES;
	}
	if (!(flags & O_DIRECT) != !img->direct || img->direct != (img->fd_cached >= 0)) {
		log_err("%s: with direct=on give fd=N:M, N open with O_DIRECT and M without; else "
			"one fd=N without",
			img->path);
		return -EINVAL;
	}
	fcntl(img->fd, F_SETFD, FD_CLOEXEC);
	if (!img->direct)
		img->fd_cached = img->fd;
	else
		fcntl(img->fd_cached, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int measure(struct image *img)
{
	struct stat st;

	if (fstat(img->fd, &st) < 0)
		return open_failed(img, errno);
	img->size = st.st_size;
	if (img->blkdev && ioctl(img->fd, BLKGETSIZE64, &img->size) < 0)
		return open_failed(img, errno);
	if (img->size == 0) {
		log_err("%s: is empty; give it a size with `truncate -s 10G %s`", img->path,
			img->path);
		return -EINVAL;
	}
	if (img->size % 512) {
		log_err("%s: its size is not a multiple of 512 bytes; `truncate -s %%512 %s` "
			"rounds "
			"it up",
			img->path, img->path);
		return -EINVAL;
	}
	return 0;
}

/* Find img->block_size and mem_align for O_DIRECT by reading. */
static int probe_direct(struct image *img)
{
	void *buf = aligned_alloc(IMAGE_ALIGN_MAX, IMAGE_ALIGN_MAX);
	u32 unit = 512;

	if (!buf)
		return -ENOMEM;
	while (unit <= IMAGE_ALIGN_MAX && pread(img->fd, buf, unit, 0) < 0)
		unit *= 2;
	free(buf);
	img->block_size = img->mem_align = unit;
	return 0;
}

static int find_units(struct image *img)
{
	int err;

	img->block_size = 512;
	img->mem_align = 1;
	if (!img->direct)
		return 0;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(img->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    sx.stx_mask & STATX_DIOALIGN) {
		img->mem_align = sx.stx_dio_mem_align;
		img->block_size = sx.stx_dio_offset_align;
		if (!img->block_size)
			return open_failed(img, EINVAL);
		if (img->block_size < 512)
			img->block_size = 512;
	} else
#endif
	{
		err = probe_direct(img);
		if (err)
			return open_failed(img, -err);
	}
	if (img->block_size > IMAGE_ALIGN_MAX || img->mem_align > IMAGE_ALIGN_MAX) {
		log_err("%s: can't be read directly in units of %d bytes; leave out direct=on",
			img->path, IMAGE_ALIGN_MAX);
		return -EINVAL;
	}
	return 0;
}

/* A number from /sys/dev/block/MAJOR:MINOR/FILE; 0 if it is not there. */
static u32 sysfs_number(dev_t dev, const char *file)
{
	char path[96];
	u32 n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(dev), minor(dev), file);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%u", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static void find_discard(struct image *img)
{
	struct stat st;

	if (img->readonly || fstat(img->fd, &st) < 0)
		return;
	if (img->blkdev) {
		img->discard_granularity = sysfs_number(st.st_rdev, "queue/discard_granularity");
		if (!img->discard_granularity) /* a partition */
			img->discard_granularity =
				sysfs_number(st.st_rdev, "../queue/discard_granularity");
	} else if (fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, img->size,
			     IMAGE_ALIGN_MAX) == 0) {
		img->discard_granularity = st.st_blksize;
	}
	if (img->discard_granularity && img->discard_granularity < img->block_size)
		img->discard_granularity = img->block_size;
}

static int choose_aio(struct image *img)
{
	int err;

	if (img->aio == IMAGE_AIO_THREADS)
		return 0;
	err = image_uring_probe();
	if (err && img->aio == IMAGE_AIO_IO_URING) {
		log_err("%s: aio=io_uring: this host won't give us one (%s); use aio=threads",
			img->path, strerror(-err));
		return err;
	}
	img->aio = err ? IMAGE_AIO_THREADS : IMAGE_AIO_IO_URING;
	return 0;
}

static int map_zeroes(struct image *img)
{
	void *p = mmap(NULL, IMAGE_ZEROES_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return open_failed(img, errno);
	img->zeroes = p;
	for (u32 i = 0; i < IMAGE_ZEROES_IOV; i++)
		img->zeroes_iov[i] = (struct iovec){ p, IMAGE_ZEROES_LEN };
	return 0;
}

int image_open(struct image **out, const struct image_options *o)
{
	int (*const stages[])(struct image *) = {
		o->opened ? check_opened : open_file, measure, find_units, choose_aio, map_zeroes,
	};
	struct image *img = calloc(1, sizeof(*img));
	int err = 0;

	if (!img)
		return -ENOMEM;
	img->fd = o->opened ? o->fd[0] : -1;
	img->fd_cached = o->opened ? o->fd[1] : -1;
	img->readonly = o->readonly;
	img->direct = o->direct;
	img->aio = o->aio;
	img->any_aio = o->aio == IMAGE_AIO_AUTO;
	img->path = strdup(o->path);
	if (!img->path)
		err = -ENOMEM;
	for (u32 i = 0; !err && i < ARRAY_SIZE(stages); i++)
		err = stages[i](img);
	if (!err)
		err = lock_image(img, o->lock);
	if (err) {
		image_close(img);
		return err;
	}
	find_discard(img);
	*out = img;
	return 0;
}

void image_close(struct image *img)
{
	if (!img)
		return;
	if (img->zeroes)
		munmap(img->zeroes, IMAGE_ZEROES_LEN);
	while (img->nspare)
		close(img->spare[--img->nspare]);
	free(img->spare);
	if (img->fd_cached >= 0 && img->fd_cached != img->fd)
		close(img->fd_cached);
	if (img->fd >= 0)
		close(img->fd);
	free(img->path);
	free(img);
}

void image_fds(const struct image *img, int fd[2])
{
	fd[0] = img->fd;
	fd[1] = img->direct ? img->fd_cached : -1;
}

u64 image_size(const struct image *img)
{
	return img->size;
}

bool image_readonly(const struct image *img)
{
	return img->readonly;
}

bool image_is_lost(const struct image *img)
{
	return atomic_load(&img->flush_err) || atomic_load(&img->cut);
}

u32 image_block_size(const struct image *img)
{
	return img->block_size;
}

u32 image_discard_granularity(const struct image *img)
{
	return img->discard_granularity;
}

/* The image once more: an open file of its own. Returns it or -errno. */
static int open_again(const struct image *img)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", img->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int image_reserve(struct image *img, u32 nqueues)
{
	u32 n = nqueues * 2; /* a queue may have two engines */

	if (img->readonly)
		return 0;
	img->spare = calloc(n, sizeof(*img->spare));
	if (!img->spare)
		return -ENOMEM;
	for (; img->nspare < n; img->nspare++) {
		int fd = open_again(img);

		if (fd < 0)
			return fd;
		img->spare[img->nspare] = fd;
	}
	return 0;
}

int image_sync_open(struct image_queue *q)
{
	struct image *img = q->img;

	q->sync_fd = -1;
	if (img->readonly)
		return 0;
	q->sync_fd = img->nspare ? img->spare[--img->nspare] : open_again(img);
	return q->sync_fd < 0 ? q->sync_fd : 0;
}

int image_queue_create(struct image_queue **out, struct image *img, struct loop *loop,
		       void (*batch_done)(void *arg), void *arg)
{
	struct image_queue common = {
		.img = img,
		.loop = loop,
		.batch_done = batch_done,
		.arg = arg,
	};

	int err = -ENOSYS;

	if (img->aio != IMAGE_AIO_THREADS)
		err = image_uring_create(out, &common);
	/* The probe found a ring to be had, but perhaps not so large a one, or not so many. */
	if (err && (img->aio == IMAGE_AIO_THREADS || img->any_aio))
		err = image_threads_create(out, &common);
	return err;
}

void image_queue_destroy(struct image_queue *q)
{
	if (q)
		q->ops->destroy(q);
}

void image_submit(struct image_queue *q, struct image_req *r)
{
	assert(r->op == IMAGE_FLUSH || range_inside(r->off, r->len, 0, q->img->size));
	r->queue = q;
	r->progress = 0;
	r->bounce = NULL;
	r->result = 0;
	r->flags = 0;
	r->retries = 0;
	q->ops->submit(q, r);
}

void image_kick(struct image_queue *q)
{
	q->ops->kick(q);
}

void image_drain(struct image_queue *q)
{
	q->ops->drain(q);
}
