// SPDX-License-Identifier: MIT
/*
 * fuzz_vhost_user.c - fuzz target: a hostile back end of a vhost-user device.
 *
 * fuzz_vhost_user_steps.h has the input: what the driver does with the device, a disk of two queues, and what
 * is wrong with the back end's answers. The device is made anew for each input.
 *
 *	driver's steps ──> device ──> front end ──socket──> back end: a good answer, or as the input has it
 *
 * How it works: all is done on one thread. The front end waits for answers with poll(), and that is ours here:
 * it first has the back end answer. So an answer that does not come is one that never will, and nothing waits.
 * The timer that the front end connects again by is an eventfd, and goes off at once.
 *
 * What must hold: what the front end sends is well-formed; the driver can reset the device; at the end no
 * descriptor is left.
 */
#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/mem_log.h"
#include "minivmm/virtio.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_vhost_user_steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost_types.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#define QUEUES	   2
#define RING_SIZE  8
#define RECORD_LEN 4096
#define STEPS_MAX  128
#define KINDS	   4   /* of descriptors */
#define FDS_SPREAD 128 /* a leak has a number within so many of the lowest free one */
#define P(name)	   (1ULL << VHOST_USER_PROTOCOL_F_##name)
#define F(bit)	   VIRTIO_FEATURE(bit)

#define FEATURES                                                                               \
	(F(VIRTIO_F_VERSION_1) | F(VIRTIO_F_RING_PACKED) | F(VIRTIO_RING_F_INDIRECT_DESC) |    \
	 F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_BLK_F_MQ) | F(VHOST_USER_F_PROTOCOL_FEATURES) | \
	 F(VHOST_F_LOG_ALL))
#define PROTOCOL                                                                                   \
	(P(MQ) | P(REPLY_ACK) | P(BACKEND_REQ) | P(CONFIG) | P(INFLIGHT_SHMFD) | P(RESET_DEVICE) | \
	 P(STATUS) | P(LOG_SHMFD))

static struct machine_env env;
static struct mem mem;
static struct mem_log dirty;
static struct loop_fd stopper;
static struct irq config_irq, call[QUEUES];
static int listener, kind[KINDS];
static char path[64];

/* The back end, of one input. */
static struct {
	int sock, channel, error, record;
	bool deaf, inside;
	bool has_ring; /* this one has been handed one */
	u32 lives;     /* how many have been */
	u8 how;	       /* byte 0 of the input */
	u32 base[QUEUES];
	u64 status;
	const u8 *
		answers; /* the input: those of its entries that are answers are taken one by one */
	size_t left;
	u32 good; /* answers to be given before the next bad one */
} be;

static struct virtio_dev *v;
static unsigned long inputs, made, handed_over, came_back;

static void tell(void)
{
	fprintf(stderr,
		"fuzz_vhost_user: %lu devices were made, %lu got a back end for their rings, %lu "
		"another one, of %lu\n",
		made, handed_over, came_back, inputs);
}

/* ---- the back end ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void hang_up(void)
{
	close_fd(&be.sock);
	close_fd(&be.channel);
	close_fd(&be.error);
}

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	const struct timespec now = { 0 };

	return fd >= 0 && ppoll(&p, 1, &now, NULL) == 1;
}

/* A message of `len` bytes, whatever its header says. */
static void send_bytes(int sock, const struct vhost_user_msg *m, size_t len, u32 nfds, int fd)
{
	u8 buf[VHOST_USER_HDR_LEN + VHOST_USER_PAYLOAD_MAX] = { 0 };
	struct iovec iov = { buf, len < sizeof(buf) ? len : sizeof(buf) };
	union {
		char buf[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (!len)
		return;
	memcpy(buf, &m->hdr, VHOST_USER_HDR_LEN);
	memcpy(buf + VHOST_USER_HDR_LEN, &m->num, VHOST_USER_PAYLOAD_MAX);
	if (nfds) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						  .cmsg_type = SCM_RIGHTS,
						  .cmsg_len = CMSG_LEN(nfds * sizeof(int)) };
		for (u32 i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(int));
	}
	(void)!sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static bool is_answer(const struct fuzz_vu_step *s)
{
	return s->act & 0x80;
}

static bool next_entry(const u8 **data, size_t *size, struct fuzz_vu_step *s)
{
	if (*size < sizeof(*s))
		return false;
	memcpy(s, *data, sizeof(*s));
	*data += sizeof(*s);
	*size -= sizeof(*s);
	return true;
}

/* What is wrong with the next answer. False: nothing. */
static bool next_answer(struct fuzz_vu_step *s)
{
	const u8 *data = be.answers;
	size_t left = be.left;

	do {
		if (!next_entry(&data, &left, s)) {
			be.left = 0;
			return false;
		}
	} while (!is_answer(s));
	if (be.good < (s->arg & 15)) {
		be.good++;
		return false;
	}
	be.good = 0;
	be.answers = data;
	be.left = left;
	return true;
}

/* Send `m`, the right answer, or what the input makes of it. */
static void answer(struct vhost_user_msg *m, u32 size)
{
	struct fuzz_vu_step s;
	u32 nfds = m->nfds;
	int fd = m->fd[0];
	size_t len;

	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	m->hdr.size = size;
	len = VHOST_USER_HDR_LEN + size;
	if (!next_answer(&s)) {
		send_bytes(be.sock, m, len, nfds, fd);
		return;
	}
	switch (FUZZ_VU_VALUE + (s.act & 0x7f) % (FUZZ_VU_ANSWERS - FUZZ_VU_VALUE)) {
	case FUZZ_VU_VALUE:
		s.off = size < 8 ? 0 : s.off % (size - 7);
		memcpy((u8 *)&m->num + s.off, &s.value, sizeof(s.value));
		break;
	case FUZZ_VU_SIZE:
		m->hdr.size = s.value;
		if (s.off & 1) /* and it is so long */
			len = VHOST_USER_HDR_LEN + s.value % VHOST_USER_PAYLOAD_MAX;
		break;
	case FUZZ_VU_REQUEST:
		m->hdr.request = s.value;
		break;
	case FUZZ_VU_FLAGS:
		m->hdr.flags = s.value;
		break;
	case FUZZ_VU_FDS:
		nfds = s.value & 15;
		fd = kind[s.off % KINDS];
		break;
	case FUZZ_VU_SILENT:
		return;
	case FUZZ_VU_CLOSE:
		send_bytes(be.sock, m, s.off % (len + 1), 0, -1);
		hang_up();
		return;
	case FUZZ_VU_TWICE:
		send_bytes(be.sock, m, len, nfds, fd);
		break;
	}
	send_bytes(be.sock, m, len, nfds, fd);
}

static void answer_num(struct vhost_user_msg *m, u64 value)
{
	m->num = value;
	answer(m, sizeof(m->num));
}

static void answer_record(struct vhost_user_msg *m)
{
	if (be.record < 0) {
		be.record = memfd_create("record", MFD_CLOEXEC);
		must(be.record >= 0 && ftruncate(be.record, RECORD_LEN) == 0);
	}
	m->inflight.mmap_size = RECORD_LEN;
	m->inflight.mmap_offset = 0;
	m->fd[0] = be.record;
	m->nfds = 1;
	answer(m, sizeof(m->inflight));
	m->nfds = 0;
	m->fd[0] = -1;
}

/* The descriptor that came with `m` is ours. */
static void keep(struct vhost_user_msg *m, int *fd)
{
	close_fd(fd);
	*fd = m->fd[0];
	m->fd[0] = -1;
	m->nfds = 0;
}

/* Returns whether it has been answered. */
static bool handle(struct vhost_user_msg *m)
{
	switch (m->hdr.request) {
	case VHOST_USER_GET_FEATURES:
		answer_num(m, FEATURES);
		return true;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		answer_num(m, PROTOCOL | (be.how & FUZZ_VU_SLOTS ? P(CONFIGURE_MEM_SLOTS) : 0));
		return true;
	case VHOST_USER_GET_QUEUE_NUM:
		answer_num(m, QUEUES);
		return true;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		answer_num(m, MEM_REGIONS_MAX);
		return true;
	case VHOST_USER_GET_STATUS:
		answer_num(m, be.status);
		return true;
	case VHOST_USER_SET_STATUS:
		be.status = m->num;
		return false;
	case VHOST_USER_SET_VRING_BASE:
		must(m->vring.index < QUEUES);
		be.base[m->vring.index] = m->vring.num;
		return false;
	case VHOST_USER_GET_VRING_BASE:
		must(m->vring.index < QUEUES);
		m->vring.num = be.base[m->vring.index];
		answer(m, sizeof(m->vring));
		return true;
	case VHOST_USER_GET_CONFIG:
		memset(m->config.data, 'c', m->config.size);
		answer(m, m->hdr.size);
		return true;
	case VHOST_USER_SET_LOG_BASE:
		vhost_user_close_fds(m);
		answer(m, 0);
		return true;
	case VHOST_USER_GET_INFLIGHT_FD:
		answer_record(m);
		return true;
	case VHOST_USER_SET_BACKEND_REQ_FD:
		keep(m, &be.channel);
		return false;
	case VHOST_USER_SET_VRING_ERR:
		keep(m, &be.error);
		return false;
	case VHOST_USER_SET_VRING_KICK:
		be.lives += !be.has_ring;
		be.has_ring = true;
		return false;
	}
	return false;
}

/* Descriptors that have to come with a request. */
static u32 fds_of(const struct vhost_user_msg *m)
{
	switch (m->hdr.request) {
	case VHOST_USER_SET_MEM_TABLE:
		return m->memory.nregions;
	case VHOST_USER_ADD_MEM_REG:
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
	case VHOST_USER_SET_BACKEND_REQ_FD:
	case VHOST_USER_SET_INFLIGHT_FD:
	case VHOST_USER_SET_LOG_BASE:
		return 1;
	default:
		return 0;
	}
}

static void take_request(void)
{
	struct vhost_user_msg m;
	bool wants;

	if (vhost_user_recv(be.sock, &m)) { /* it has gone */
		hang_up();
		return;
	}
	must((m.hdr.flags & ~VHOST_USER_NEED_REPLY) == VHOST_USER_VERSION);
	must(m.nfds == fds_of(&m));
	wants = m.hdr.flags & VHOST_USER_NEED_REPLY;
	if (!handle(&m) && wants && be.sock >= 0) {
		vhost_user_close_fds(&m);
		answer_num(&m, 0);
	}
	if (m.fd[0] >= 0 && m.fd[0] != be.record)
		vhost_user_close_fds(&m);
}

/* Answer what has been asked. */
static void back_end(void)
{
	be.inside = true;
	if (be.sock < 0 && !be.deaf) {
		be.sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		be.status = 0;
		be.has_ring = false;
	}
	while (!be.deaf && readable(be.sock))
		take_request();
	be.inside = false;
}

/* The front end waits for an answer: now it is there, or never. */
int poll(struct pollfd *fds, nfds_t n, int ms)
{
	const struct timespec now = { 0 };

	(void)ms;
	if (!be.inside)
		back_end();
	return ppoll(fds, n, &now, NULL);
}

int timerfd_create(clockid_t clock, int flags)
{
	(void)clock;
	(void)flags;
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
	(void)flags;
	(void)new;
	(void)old;
	return eventfd_write(fd, 1);
}

/* ---- the machine ---- */

static void stop(struct loop_fd *lf, u32 events)
{
	(void)lf;
	(void)events;
	loop_quit(env.loop);
}

/* Let the loop handle one batch of what waits. */
static void run_loop(void)
{
	back_end();
	loop_run(env.loop);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int pipes[2], fd;

	(void)argc;
	(void)argv;
	mem_init(&mem);
	must(mem_add_ram(&mem, 0, FUZZ_VU_RAM, false) == 0);
	must(mem_log_create(&dirty, &mem) == 0);
	must(irqchip_create(&env.irqchip) == 0);
	must(loop_create(&env.loop) == 0);
	stopper = (struct loop_fd){ .fd = eventfd(1, EFD_CLOEXEC), .ready = stop };
	must(loop_add(env.loop, &stopper, EPOLLIN) == 0);
	env.mem = &mem;
	env.io_loop = &env.loop;
	env.nio_loops = 1;
	must(irq_init(&config_irq, env.irqchip) == 0);
	for (u32 i = 0; i < QUEUES; i++)
		must(irq_init(&call[i], env.irqchip) == 0);

	must(pipe2(pipes, O_CLOEXEC | O_NONBLOCK) == 0);
	kind[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	kind[1] = memfd_create("any", MFD_CLOEXEC);
	kind[2] = pipes[0];
	kind[3] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(ftruncate(kind[1], RECORD_LEN) == 0);

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	sprintf(addr.sun_path, "/tmp/minivmm-fuzz-%d", getpid());
	must(bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	must(listen(listener, 64) == 0);
	fd = open(addr.sun_path, O_PATH | O_CLOEXEC);
	must(fd >= 0 && unlink(addr.sun_path) == 0); /* it has no name any more */
	sprintf(path, "/proc/self/fd/%d", fd);
	atexit(tell);
	return 0;
}

/* ---- steps ---- */

static void set_area(u32 q, u32 area, u64 gpa)
{
	virtio_queue_area_write(v, q, area % 3, 0, gpa);
	virtio_queue_area_write(v, q, area % 3, 32, gpa >> 32);
}

/* All of the initialisation (3.1.1). */
static void start(u64 without)
{
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	virtio_status_write(v, 0);
	must(virtio_status_read(v) == 0);
	virtio_status_write(v, status);
	for (u32 i = 0; i < 2; i++)
		virtio_driver_features_write(v, i,
					     virtio_features_read(v, i) & ~(without >> 32 * i));
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	for (u32 i = 0; i < QUEUES; i++) {
		virtio_queue_size_write(v, i, RING_SIZE);
		for (u32 area = 0; area < 3; area++)
			set_area(i, area, FUZZ_VU_RING(i) + area * 0x400);
		virtio_queue_enable(v, i);
	}
	virtio_status_write(v, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void say(const struct fuzz_vu_step *s)
{
	struct vhost_user_msg m = {
		.hdr = { .request = s->arg, .flags = s->value & 0xff, .size = s->off & 0x3ff }
	};

	if (be.channel < 0)
		return;
	m.hdr.flags ^= VHOST_USER_VERSION;
	send_bytes(be.channel, &m, VHOST_USER_HDR_LEN + m.hdr.size, s->value >> 8 & 15,
		   kind[s->value >> 12 & 3]);
}

static void act(const struct fuzz_vu_step *s)
{
	switch (s->act % FUZZ_VU_STEPS) {
	case FUZZ_VU_START:
		start(s->value);
		break;
	case FUZZ_VU_STATUS:
		virtio_status_write(v, s->value);
		break;
	case FUZZ_VU_QUEUE:
		set_area(s->arg % QUEUES, s->off, s->value);
		break;
	case FUZZ_VU_ENABLE:
		virtio_queue_enable(v, s->arg % QUEUES);
		break;
	case FUZZ_VU_QUEUE_RESET:
		virtio_queue_reset(v, s->arg % QUEUES);
		break;
	case FUZZ_VU_CONFIG:
		virtio_config_write(v, s->off % 128, &s->value, s->arg % 9);
		break;
	case FUZZ_VU_MEMORY:
		mem_write(&mem, s->off, &s->value, sizeof(s->value));
		break;
	case FUZZ_VU_PAUSE:
		virtio_pause(v);
		if (s->arg & 1)
			virtio_resume(v);
		break;
	case FUZZ_VU_RUN:
		run_loop();
		break;
	case FUZZ_VU_HANG_UP:
		hang_up();
		break;
	case FUZZ_VU_DEAF:
		be.deaf = s->arg & 1;
		break;
	case FUZZ_VU_SAY:
		say(s);
		run_loop();
		break;
	case FUZZ_VU_SHUT_UP:
		close_fd(&be.channel);
		break;
	case FUZZ_VU_ERROR:
		if (be.error >= 0)
			eventfd_write(be.error, 1);
		break;
	case FUZZ_VU_RECORD:
		if (be.record >= 0)
			(void)!pwrite(be.record, &s->value, sizeof(s->value), s->off % RECORD_LEN);
		break;
	case FUZZ_VU_LOG:
		v->path->ops->log_dirty(v->path, s->arg & 1 ? &dirty : NULL);
		break;
	}
	while (be.channel >= 0 && readable(be.channel)) { /* what it is answered there */
		u8 buf[256];

		if (read(be.channel, buf, sizeof(buf)) <= 0)
			close_fd(&be.channel);
	}
}

/* How many descriptors there are from `first` on. */
static u32 count_fds(int first)
{
	struct pollfd p[FDS_SPREAD];
	const struct timespec now = { 0 };
	u32 n = 0;

	for (u32 i = 0; i < FDS_SPREAD; i++)
		p[i] = (struct pollfd){ .fd = first + i };
	must(ppoll(p, FDS_SPREAD, &now, NULL) >= 0);
	for (u32 i = 0; i < FDS_SPREAD; i++)
		n += !(p[i].revents & POLLNVAL);
	return n;
}

static int make_device(void)
{
	const struct virtio_options o = { .packed = be.how & FUZZ_VU_PACKED,
					  .queues = QUEUES,
					  .queue_size = 64 };
	const struct virtio_vhost_user_options vu = { .option = "vhost-user",
						      .id = VIRTIO_ID_BLOCK,
						      .path = path };
	int err = virtio_vhost_user_create(&v, &env, &o, &vu);

	if (err)
		return err;
	virtio_attach(v, &config_irq);
	for (u32 i = 0; i < QUEUES; i++)
		virtio_attach_queue(v, i, &call[i]);
	return 0;
}

/* The driver comes to its end, whatever the back end has done. */
static void end_device(void)
{
	virtio_status_write(v, 0);
	must(virtio_status_read(v) == 0);
	virtio_destroy(v);
}

static void forget_back_end(void)
{
	int fd;

	hang_up();
	close_fd(&be.record);
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		close(fd);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	int lowest = dup(stopper.fd);
	struct fuzz_vu_step s;
	u32 before;

	if (!size)
		return 0;
	close(lowest);
	before = count_fds(lowest);
	memset(&be, 0, sizeof(be));
	memset(mem_ptr(&mem, 0, FUZZ_VU_RAM), 0, FUZZ_VU_RAM);
	be.sock = be.channel = be.error = be.record = -1;
	be.how = *data++;
	size--;
	be.answers = data;
	be.left = size;
	inputs++;
	if (!make_device()) {
		made++;
		for (u32 n = 0; n < STEPS_MAX && next_entry(&data, &size, &s); n++) {
			if (!is_answer(&s))
				act(&s);
		}
		end_device();
		handed_over += be.lives > 0;
		came_back += be.lives > 1;
	}
	forget_back_end();
	must(count_fds(lowest) == before);
	return 0;
}
