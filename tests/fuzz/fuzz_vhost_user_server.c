// SPDX-License-Identifier: MIT
/*
 * fuzz_vhost_user_server.c - fuzz target: a hostile front end of the device daemon.
 *
 * fuzz_vhost_user_steps.h has the input: messages with descriptors of all kinds, what stands in the shared
 * memory and in the record of what is in flight, kicks, files that are cut short, connections that come and
 * go. Behind the server are a network device of two pairs with nothing at its other end, and a disk in
 * memory; they are made once.
 *
 * What must hold: a message has the answer that it has to have, or ends the connection. When a front end has
 * gone, no descriptor and no mapping of its is left, and the next one finds the server as the first did.
 *
 * All is done on one thread, the loop's, step by step: the same input does the same each time.
 */
#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/peer.h"
#include "minivmm/unix_socket.h"
#include "minivmm/vhost_user_server.h"
#include "minivmm/virtio.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_vhost_user_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define PAIRS	  2
#define DISK_LEN  (32 * KIB)
#define STEPS_MAX 128
#define P(name)	  (1ULL << VHOST_USER_PROTOCOL_F_##name)
#define PROTOCOL                                                               \
	(P(MQ) | P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG) | P(RESET_DEVICE) | \
	 P(CONFIGURE_MEM_SLOTS) | P(STATUS) | P(LOG_SHMFD))
#define FDS_SPREAD 256 /* a leak has a number within so many of the lowest free one */

struct daemon {
	struct machine_env env;
	struct mem mem;
	struct virtio_dev *v;
	const struct virtio_ops *own; /* the device's */
	struct virtio_ops ops;	      /* the same, but that we see what is served */
	struct vhost_user_server *server;
	char path[64]; /* of the socket, whose file has no name any more */
	u64 offered, protocol;
	unsigned gone; /* how many front ends have left */
};

static struct daemon daemons[2]; /* net, blk */
static struct loop *loop;
static struct loop_fd stopper;
static int fixed[FUZZ_FDS]; /* descriptors that are always the same */

/* Of one input. */
static struct {
	struct daemon *d;
	int sock;	 /* the front end's end; -1: not connected */
	unsigned before; /* how many front ends had left then */
	int channel;
	int fd[FUZZ_FDS];
	u8 *ram;
	u8 how; /* byte 0 */
	u64 answer;
	bool served, used;
} in;

static unsigned long inputs, with_ring, with_chain;

static void tell(void)
{
	fprintf(stderr,
		"fuzz_vhost_user_server: %lu inputs had a ring run, %lu a chain used, of %lu\n",
		with_ring, with_chain, inputs);
}

/* ---- the daemon ---- */

/* A ring that runs is served, at its start at least. */
static void serve(struct virtio_dev *v, struct virtio_queue *q)
{
	in.d->own->serve(v, q);
	in.served = true;
	in.used |= q->vq.stats.chains > 0;
}

static void quiesce(struct virtio_dev *v, struct virtio_queue *q)
{
	if (in.d->own->quiesce)
		in.d->own->quiesce(v, q);
	in.used |= q->vq.stats.chains > 0;
}

static void gone(void *arg)
{
	struct daemon *d = arg;

	d->gone++;
}

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(loop);
}

/* Let the loop handle one batch of what waits. */
static void run_loop(void)
{
	loop_run(loop);
}

static struct virtio_dev *create_net(struct daemon *d)
{
	struct virtio_options o = { .packed = true, .queue_size = 256 };
	struct virtio_net_options net = { .npairs = PAIRS,
					  .speed = VIRTIO_NET_UNKNOWN_SPEED,
					  .duplex = 0xff,
					  .rings_only = true };
	struct virtio_dev *v;

	must(peer_null_open(&net.peer, PAIRS, false) == 0);
	must(virtio_net_create(&v, &d->env, &o, &net) == 0);
	return v;
}

/* By io_uring, whose requests on a file in memory are done at once. */
static struct virtio_dev *create_blk(struct daemon *d)
{
	struct virtio_options o = { .packed = true, .queues = 2, .queue_size = 256 };
	struct virtio_blk_options b = { .discard = true, .seg_max = 126 };
	struct image_options io = { .aio = IMAGE_AIO_AUTO };
	int fd = memfd_create("disk", MFD_CLOEXEC);
	struct virtio_dev *v;
	char path[32];

	must(fd >= 0 && ftruncate(fd, DISK_LEN) == 0);
	sprintf(path, "/proc/self/fd/%d", fd);
	io.path = path;
	must(image_open(&b.image, &io) == 0);
	must(virtio_blk_create(&v, &d->env, &o, &b) == 0);
	close(fd);
	return v;
}

static void queues_enabled(struct virtio_dev *v, u32 n)
{
	virtio_net_set_pairs(v, n < 2 ? 1 : n / 2);
}

static void create(struct daemon *d, bool blk)
{
	struct sockaddr_un addr;
	struct vhost_user_server_options o = {
		.unit = blk ? 1 : 2,
		.inflight = blk,
		.enabled = blk ? NULL : queues_enabled,
		.gone = gone,
		.arg = d,
	};
	int fd;

	mem_init(&d->mem);
	d->env = (struct machine_env){
		.mem = &d->mem, .loop = loop, .io_loop = &loop, .nio_loops = 1
	};
	d->v = blk ? create_blk(d) : create_net(d);
	d->own = d->v->ops;
	d->ops = *d->own;
	d->ops.serve = serve;
	d->ops.quiesce = quiesce;
	d->v->ops = &d->ops;
	o.v = d->v;
	o.nqueues = d->v->nqueues;
	sprintf(d->path, "/tmp/minivmm-fuzz-%d-%u", getpid(), blk);
	must(unix_address(&addr, d->path) == 0);
	o.listener = unix_listen(&addr, 8);
	must(o.listener >= 0 && vhost_user_server_create(&d->server, &o) == 0);
	fd = open(d->path, O_PATH | O_CLOEXEC);
	must(fd >= 0 && unlink(d->path) == 0);
	sprintf(d->path, "/proc/self/fd/%d", fd);
	d->protocol = PROTOCOL | (blk ? P(INFLIGHT_SHMFD) : 0);
	d->offered = d->v->offered;
	if (blk)
		d->offered &= ~VIRTIO_FEATURE(VIRTIO_F_IN_ORDER);
	d->offered |= 1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1ULL << VHOST_F_LOG_ALL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int pipes[2];

	(void)argc;
	(void)argv;
	must(loop_create(&loop) == 0);
	stopper = (struct loop_fd){ .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };
	must(loop_add(loop, &stopper, EPOLLIN) == 0);
	must(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
	memset(fixed, -1, sizeof(fixed));
	fixed[FUZZ_FD_KICK] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fixed[FUZZ_FD_KICK_1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fixed[FUZZ_FD_CALL] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fixed[FUZZ_FD_PIPE_OUT] = pipes[0];
	fixed[FUZZ_FD_PIPE_IN] = pipes[1];
	fixed[FUZZ_FD_DEV_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	fixed[FUZZ_FD_EPOLL] = epoll_create1(EPOLL_CLOEXEC);
	fixed[FUZZ_FD_FOLDER] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixed[FUZZ_FD_TIMER] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	for (u32 i = 0; i < 2; i++)
		create(&daemons[i], i);
	atexit(tell);
	return 0;
}

/* ---- the front end's things ---- */

static int make_file(const char *name, unsigned flags)
{
	int fd = memfd_create(name, MFD_CLOEXEC | flags);

	must(fd >= 0 && ftruncate(fd, FUZZ_VUS_RAM) == 0);
	return fd;
}

/* What of another front end may still be in there. */
static void drain(int fd)
{
	u8 buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void make_things(void)
{
	char path[32];

	for (u32 i = 0; i < FUZZ_FDS; i++)
		in.fd[i] = fixed[i];
	drain(in.fd[FUZZ_FD_KICK]);
	drain(in.fd[FUZZ_FD_KICK_1]);
	drain(in.fd[FUZZ_FD_CALL]);
	drain(in.fd[FUZZ_FD_PIPE_OUT]);
	in.fd[FUZZ_FD_RAM] = make_file("ram", 0);
	in.fd[FUZZ_FD_SEALABLE] = make_file("sealable", MFD_ALLOW_SEALING);
	sprintf(path, "/proc/self/fd/%d", in.fd[FUZZ_FD_RAM]);
	in.fd[FUZZ_FD_READONLY] = open(path, O_RDONLY | O_CLOEXEC);
	must(in.fd[FUZZ_FD_READONLY] >= 0);
	in.channel = -1;
	in.sock = -1;
}

static void close_things(void)
{
	close(in.fd[FUZZ_FD_RAM]);
	close(in.fd[FUZZ_FD_SEALABLE]);
	close(in.fd[FUZZ_FD_READONLY]);
	if (in.fd[FUZZ_FD_RECORD] >= 0)
		close(in.fd[FUZZ_FD_RECORD]);
	if (in.fd[FUZZ_FD_CHANNEL] >= 0)
		close(in.fd[FUZZ_FD_CHANNEL]);
	if (in.channel >= 0)
		close(in.channel);
}

/* A descriptor of a kind, or -1. */
static int fd_of(u32 kind)
{
	int pair[2];

	if (kind == FUZZ_FD_SELF)
		return in.sock;
	if (kind == FUZZ_FD_CHANNEL && in.channel < 0) {
		must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
		in.channel = pair[0];
		in.fd[kind] = pair[1];
	}
	return in.fd[kind];
}

/* ---- the connection ---- */

static void hang_up(void)
{
	shutdown(in.sock, SHUT_RDWR); /* the server may have a descriptor of it */
	close(in.sock);
	in.sock = -1;
	while (in.d->gone == in.before)
		run_loop();
	/* Nothing of it is left. */
	must(in.d->mem.nregions == 0);
	must(virtio_status_read(in.d->v) == 0);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static void send_bytes(const void *buf, size_t len, const int *fds, u32 nfds)
{
	struct iovec iov = { (void *)buf, len };
	union {
		char buf[CMSG_SPACE(3 * VHOST_USER_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(nfds * sizeof(int)) };
		memcpy(CMSG_DATA(&control.align), fds, nfds * sizeof(int));
	}
	/* It may have shut its end, when it was told to take it for something else. */
	if (sendmsg(in.sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
		shutdown(in.sock, SHUT_WR);
}

/* What the server answers; false: nothing, or that the connection has ended. */
static bool take_answer(u32 request)
{
	struct vhost_user_msg m;

	if (in.sock < 0 || !readable(in.sock))
		return false;
	if (vhost_user_recv_within(in.sock, &m, 1)) {
		hang_up();
		return false;
	}
	must(m.hdr.request == request);
	must(m.hdr.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY));
	must(m.nfds == (request == VHOST_USER_GET_INFLIGHT_FD && m.hdr.size > sizeof(m.num)));
	if (m.nfds) {
		if (in.fd[FUZZ_FD_RECORD] >= 0)
			close(in.fd[FUZZ_FD_RECORD]);
		in.fd[FUZZ_FD_RECORD] = m.fd[0];
	}
	in.answer = m.num;
	return true;
}

static void request(u32 request, const void *payload, u32 len, int fd)
{
	u8 m[256];
	const struct vhost_user_hdr hdr = { request, VHOST_USER_VERSION, len };

	memcpy(m, &hdr, VHOST_USER_HDR_LEN);
	memcpy(m + VHOST_USER_HDR_LEN, payload, len);
	send_bytes(m, VHOST_USER_HDR_LEN + len, &fd, fd >= 0);
	run_loop();
}

/* Memory, and the first two rings. What is in them already the device may choke on; then it has broken. */
static void bring_up(void)
{
	bool packed = in.how & FUZZ_VUS_PACKED;
	const u64 features = 1ULL << VHOST_USER_F_PROTOCOL_FEATURES |
			     (VIRTIO_FEATURE(VIRTIO_F_VERSION_1)) |
			     (packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0);
	const u64 protocol = in.d->protocol;
	const struct vhost_user_memory t = {
		.nregions = 1, .region[0] = { FUZZ_VUS_GPA, FUZZ_VUS_RAM, FUZZ_VUS_USER, 0 }
	};

	request(VHOST_USER_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), -1);
	request(VHOST_USER_SET_FEATURES, &features, sizeof(features), -1);
	request(VHOST_USER_SET_MEM_TABLE, &t, 8 + sizeof(t.region[0]), in.fd[FUZZ_FD_RAM]);
	for (u32 i = 0; i < 2; i++) {
		const u64 user = FUZZ_VUS_USER + FUZZ_VUS_RING(i), index = i;
		const struct vhost_user_addr a = {
			.index = i, .desc = user, .avail = user + 0x400, .used = user + 0x800
		};
		const struct vhost_user_vring size = { i, FUZZ_VUS_RING_SIZE },
					      base = { i, packed ? 0x80008000 : 0 }, on = { i, 1 };

		request(VHOST_USER_SET_VRING_NUM, &size, sizeof(size), -1);
		request(VHOST_USER_SET_VRING_BASE, &base, sizeof(base), -1);
		request(VHOST_USER_SET_VRING_ADDR, &a, sizeof(a), -1);
		request(VHOST_USER_SET_VRING_CALL, &index, sizeof(index), in.fd[FUZZ_FD_CALL]);
		request(VHOST_USER_SET_VRING_KICK, &index, sizeof(index), in.fd[FUZZ_FD_KICK + i]);
		request(VHOST_USER_SET_VRING_ENABLE, &on, sizeof(on), -1);
	}
}

static void dial(void)
{
	const struct vhost_user_hdr ask = { VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0 };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	strcpy(addr.sun_path, in.d->path);
	in.sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	in.before = in.d->gone;
	must(in.sock >= 0 && connect(in.sock, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	run_loop();
	send_bytes(&ask, VHOST_USER_HDR_LEN, NULL, 0);
	run_loop();
	must(take_answer(VHOST_USER_GET_FEATURES) && in.answer == in.d->offered);
	if (in.how & FUZZ_VUS_UP)
		bring_up();
}

/* ---- steps ---- */

static void message(const struct fuzz_vus_step *s, const u8 *payload)
{
	struct {
		struct vhost_user_hdr hdr;
		u8 payload[1024];
	} m;
	bool other_size = s->flags & FUZZ_VUS_OTHER_SIZE;
	int fds[3 * VHOST_USER_FDS_MAX];
	u32 nfds = 0;
	u16 len = s->len < sizeof(m.payload) ? s->len : sizeof(m.payload);

	m.hdr = (struct vhost_user_hdr){ .request = s->which,
					 .flags = (s->flags & 0x3f) ^ VHOST_USER_VERSION,
					 .size = other_size ? s->at : len };
	memcpy(m.payload, payload, len);
	for (u32 kinds = s->fds; kinds & 15; kinds >>= 4) {
		int fd = fd_of(kinds & 15);

		for (u32 n = s->flags & FUZZ_VUS_MANY_FDS ? 3 : 1; fd >= 0 && n; n--)
			fds[nfds++] = fd;
	}
	send_bytes(&m, VHOST_USER_HDR_LEN + len, fds, nfds);
	if (other_size) { /* nobody waits for the rest */
		shutdown(in.sock, SHUT_WR);
		hang_up();
		return;
	}
	run_loop();
	take_answer(s->which);
}

/* Not beyond the end: that would make it longer. */
static void write_file(u32 which, u32 at, const u8 *bytes, u32 len)
{
	int fd = in.fd[which % 3 == 0	? FUZZ_FD_RAM
		       : which % 3 == 1 ? FUZZ_FD_SEALABLE
					: FUZZ_FD_RECORD];
	off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);

	if (size <= 0)
		return;
	at %= size;
	if (len > size - at)
		len = size - at;
	must(pwrite(fd, bytes, len, at) == len);
}

static void offer(u32 at)
{
	int fd = in.fd[FUZZ_FD_RAM];
	u16 index = 0;

	at %= FUZZ_VUS_RAM - 1;
	if (pread(fd, &index, sizeof(index), at) != sizeof(index))
		return;
	index++;
	must(pwrite(fd, &index, sizeof(index), at) == sizeof(index));
}

static void act(const struct fuzz_vus_step *s, const u8 *bytes)
{
	if (in.sock < 0)
		dial();
	switch (s->act % FUZZ_VUS_ACTS) {
	case FUZZ_VUS_MESSAGE:
		message(s, bytes);
		break;
	case FUZZ_VUS_WRITE:
		write_file(s->which, s->at, bytes, s->len);
		break;
	case FUZZ_VUS_KICK:
		eventfd_write(in.fd[FUZZ_FD_KICK + s->which % 2], 1);
		run_loop();
		break;
	case FUZZ_VUS_RUN:
		run_loop();
		break;
	case FUZZ_VUS_CUT: /* a sealed one is not */
		if (in.fd[s->which % 2 ? FUZZ_FD_RECORD : FUZZ_FD_RAM] >= 0)
			(void)!ftruncate(in.fd[s->which % 2 ? FUZZ_FD_RECORD : FUZZ_FD_RAM],
					 s->at % FUZZ_VUS_RAM);
		break;
	case FUZZ_VUS_RECONNECT:
		hang_up();
		break;
	case FUZZ_VUS_RAW:
		send_bytes(bytes, s->len, NULL, 0);
		shutdown(in.sock, SHUT_WR);
		run_loop();
		hang_up();
		break;
	case FUZZ_VUS_OFFER:
		offer(s->at);
		break;
	}
	if (in.channel >= 0)
		drain(in.channel);
}

/* How many descriptors there are from `first` on. */
static u32 count_fds(int first)
{
	struct pollfd p[FDS_SPREAD];
	u32 n = 0;

	for (u32 i = 0; i < FDS_SPREAD; i++)
		p[i] = (struct pollfd){ .fd = first + i };
	must(poll(p, FDS_SPREAD, 0) >= 0);
	for (u32 i = 0; i < FDS_SPREAD; i++)
		n += !(p[i].revents & POLLNVAL);
	return n;
}

/* Nobody has a writable mapping of the file: such a one could not be sealed so. */
static void check_unmapped(int fd)
{
	if (fd >= 0 && !(fcntl(fd, F_GET_SEALS) & F_SEAL_SEAL))
		must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	int lowest = dup(stopper.fd);
	u32 before;

	close(lowest);
	before = count_fds(lowest);
	if (!inputs) /* here, for libFuzzer has a handler of its own until then */
		must(vhost_user_guard_memory() == 0);
	memset(&in, 0, sizeof(in));
	in.how = size ? data[0] : 0;
	in.d = &daemons[in.how & FUZZ_VUS_BLK];
	make_things();
	if (size) {
		data++;
		size--;
	}
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct fuzz_vus_step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		if (s.len > size)
			s.len = size;
		act(&s, data);
		data += s.len;
		size -= s.len;
	}
	if (in.sock >= 0)
		hang_up();
	check_unmapped(in.fd[FUZZ_FD_SEALABLE]);
	check_unmapped(in.fd[FUZZ_FD_RECORD]);
	close_things();
	must(count_fds(lowest) == before);
	inputs++;
	with_ring += in.served;
	with_chain += in.used;
	return 0;
}
