// SPDX-License-Identifier: MIT
/*
 * pcap.c - a peer in front of another that writes what goes through to a file, in the format that
 * tcpdump and Wireshark read.
 *
 *	struct file_header, once     struct record_header, frame     struct record_header, frame ...
 *
 * How it works: a frame is written when the peer behind has taken or given it, by one writev() from
 * where it is, without its virtio-net header. So what the file has is what the guest's driver sees:
 * checksums that are yet to be computed, and frames that are yet to be segmented.
 *
 * The file is opened when the peer is made, and emptied when the capture begins: until then the machine
 * may still be refused, and then a file that was there stays as it is, and one that was not is removed.
 *
 * Writing waits for the host's file system (its page cache, usually). When the disk is full the
 * capture ends with a whole record, one line tells so, and the traffic goes on.
 *
 * Threads: the pairs' loops; `lock` keeps their records whole and in order.
 */
#include "devices/net/frame.h"
#include "minivmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC_NSEC	  0xa1b23c4d /* times in nanoseconds */
#define LINKTYPE_ETHERNET 1
#define SNAPLEN		  262144 /* no frame is longer */

struct file_header {
	u32 magic;
	u16 major, minor;
	u32 zone, accuracy; /* 0 */
	u32 snaplen;
	u32 linktype;
};

struct record_header {
	u32 sec, nsec;
	u32 captured, length; /* bytes here, and on the wire */
};

struct pcap_queue {
	struct peer_queue queue;
	struct peer_queue *inner;
};

struct pcap {
	struct peer peer;
	struct peer *inner;
	struct pcap_queue q[PEER_PAIRS_MAX];
	char *path;
	bool made; /* the file, by us */

	pthread_mutex_t lock; /* guards the following */
	bool begun;
	int fd;	    /* -1: the capture has ended */
	off_t size; /* of the file: whole records */
};

static struct pcap *pcap_of(struct peer *p)
{
	return container_of(p, struct pcap, peer);
}

static struct pcap_queue *pcap_queue_of(struct peer_queue *q)
{
	return container_of(q, struct pcap_queue, queue);
}

/* It can't go on: keep what is whole. The lock is held. */
static void end_capture(struct pcap *c, int err)
{
	log_err("pcap=%s: %s; the capture ends here", c->path, strerror(err));
	if (ftruncate(c->fd, c->size) < 0)
		log_warn("pcap=%s: its last record is not whole", c->path);
	close(c->fd);
	c->fd = -1;
}

/* Write the first `len` bytes of a frame, its header included. */
static void record(struct pcap *c, const struct iovec *iov, u32 niov, size_t len)
{
	struct iovec part[PEER_IOV_MAX + 1];
	struct record_header h;
	struct timespec t;
	size_t left;
	ssize_t n;
	u32 nparts;

	if (len < PEER_HDR_LEN || niov > PEER_IOV_MAX)
		return;
	len -= PEER_HDR_LEN;
	nparts = frame_skip(iov, niov, PEER_HDR_LEN, part + 1);
	left = len;
	for (u32 i = 1; i <= nparts; i++) {
		if (part[i].iov_len > left)
			part[i].iov_len = left;
		left -= part[i].iov_len;
	}
	part[0] = (struct iovec){ &h, sizeof(h) };

	pthread_mutex_lock(&c->lock);
	if (c->begun && c->fd >= 0) {
		clock_gettime(CLOCK_REALTIME, &t);
		h = (struct record_header){ t.tv_sec, t.tv_nsec, len, len };
		n = writev(c->fd, part, nparts + 1);
		if (n == (ssize_t)(sizeof(h) + len))
			c->size += n;
		else
			end_capture(c, n < 0 ? errno : ENOSPC);
	}
	pthread_mutex_unlock(&c->lock);
}

static int pcap_send(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	int err = peer_send(pcap_queue_of(q)->inner, iov, niov);

	if (!err)
		record(pcap_of(q->peer), iov, niov, frame_len(iov, niov));
	return err;
}

static ssize_t pcap_receive(struct peer_queue *q, const struct iovec *iov, u32 niov)
{
	ssize_t n;

	niov = niov < PEER_IOV_MAX ? niov : PEER_IOV_MAX;
	n = peer_receive(pcap_queue_of(q)->inner, iov, niov);
	if (n >= 0)
		record(pcap_of(q->peer), iov, niov, n);
	return n;
}

/* ---- the rest is the peer's behind ---- */

static void inner_ready(struct peer_queue *inner, u32 what)
{
	struct pcap_queue *pq = inner->owner;

	pq->queue.ready(&pq->queue, what);
}

static int pcap_attach(struct peer_queue *q)
{
	return peer_attach(pcap_queue_of(q)->inner, q->loop, inner_ready, pcap_queue_of(q));
}

static void pcap_detach(struct peer_queue *q)
{
	peer_detach(pcap_queue_of(q)->inner);
}

static void pcap_want(struct peer_queue *q, u32 what)
{
	peer_want(pcap_queue_of(q)->inner, what);
}

static int pcap_set_offloads(struct peer *p, u64 features)
{
	return peer_set_offloads(pcap_of(p)->inner, features);
}

static int pcap_set_pairs(struct peer *p, u32 npairs)
{
	return peer_set_pairs(pcap_of(p)->inner, npairs);
}

static void inner_link_changed(struct peer *inner, bool up)
{
	struct pcap *c = inner->owner;

	if (c->peer.link_changed)
		c->peer.link_changed(&c->peer, up);
}

/* Remove the file, if it still is the one that we made. */
static void remove_file(struct pcap *c)
{
	struct stat there, ours;

	if (lstat(c->path, &there) == 0 && fstat(c->fd, &ours) == 0 &&
	    there.st_dev == ours.st_dev && there.st_ino == ours.st_ino)
		unlink(c->path);
}

static void pcap_destroy(struct peer *p)
{
	struct pcap *c = pcap_of(p);

	peer_destroy(c->inner);
	if (c->made && !c->begun)
		remove_file(c);
	if (c->fd >= 0)
		close(c->fd);
	pthread_mutex_destroy(&c->lock);
	free(c->path);
	free(c);
}

static struct peer_queue *pcap_queue(struct peer *p, u32 i)
{
	return &pcap_of(p)->q[i].queue;
}

static const struct peer_ops pcap_ops = {
	.kind = "pcap",
	.attach = pcap_attach,
	.detach = pcap_detach,
	.send = pcap_send,
	.receive = pcap_receive,
	.want = pcap_want,
	.set_offloads = pcap_set_offloads,
	.set_pairs = pcap_set_pairs,
	.destroy = pcap_destroy,
};

/* ---- opening ---- */

/* The file, as it is. Returns its descriptor, or -errno after a message. */
static int open_file(const char *path, bool *made)
{
	struct stat st;
	int err, fd;

	*made = stat(path, &st) < 0;
	/* Another kind of file might make the traffic wait. */
	if (!*made && !S_ISREG(st.st_mode)) {
		log_err("pcap=%s: not a regular file; choose another path", path);
		return -EINVAL;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0600);
	if (fd < 0) {
		err = -errno;
		log_err("pcap=%s: %s", path, strerror(-err));
		return err;
	}
	return fd;
}

int peer_pcap_begin(struct peer *p)
{
	static const struct file_header header = {
		.magic = MAGIC_NSEC,
		.major = 2,
		.minor = 4,
		.snaplen = SNAPLEN,
		.linktype = LINKTYPE_ETHERNET,
	};
	struct pcap *c = pcap_of(p);
	int err = 0;

	pthread_mutex_lock(&c->lock);
	if (!c->begun &&
	    (ftruncate(c->fd, 0) < 0 || write(c->fd, &header, sizeof(header)) != sizeof(header)))
		err = -EIO;
	else
		c->begun = true;
	pthread_mutex_unlock(&c->lock);
	if (err)
		log_err("pcap=%s: can't be written to: is the disk full?", c->path);
	return err;
}

int peer_pcap(struct peer **p, const char *path)
{
	struct pcap *c = calloc(1, sizeof(*c));
	char *copy = strdup(path);
	int fd = -ENOMEM;

	if (c && copy)
		fd = open_file(path, &c->made);
	else
		log_err("pcap=%s: %s", path, strerror(ENOMEM));
	if (fd < 0) {
		free(copy);
		free(c);
		return fd;
	}
	c->peer = (struct peer){
		.ops = &pcap_ops,
		.features = (*p)->features,
		.npairs = (*p)->npairs,
		.mtu = (*p)->mtu,
		.queue = pcap_queue,
	};
	c->inner = *p;
	c->path = copy;
	c->fd = fd;
	c->size = sizeof(struct file_header);
	pthread_mutex_init(&c->lock, NULL);
	for (u32 i = 0; i < c->peer.npairs; i++) {
		c->q[i].queue = (struct peer_queue){ .peer = &c->peer, .index = i };
		c->q[i].inner = (*p)->queue(*p, i);
	}
	c->inner->link_changed = inner_link_changed;
	c->inner->owner = c;
	*p = &c->peer;
	return 0;
}
