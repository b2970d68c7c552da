// SPDX-License-Identifier: MIT
/*
 * fuzz_console.c - fuzz target: what a guest's driver can do to the console, by control messages
 * and by its rings. A console with a port between two pipes and two ports on sockets, made once;
 * the input is a row of steps, after which a reset must bring the device back and leave memory
 * alone.
 *
 * The input, a row of
 *
 *	byte 0	what (enum act)
 *	byte 1	which queue, port or set of features
 *	2 bytes	offset, or length
 *	4 bytes	value
 *
 * is cut off at its end: what is missing is zero. The guest's memory, all of it writable to
 * ACT_POKE, has buffers up to RINGS and then the rings, which are first laid out as a driver would.
 */
#include "minivmm/devices.h"
#include "minivmm/irq.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/stream.h"
#include "minivmm/virtio.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/ring_driver.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define STEPS_MAX  64
#define NPORTS	   3
#define NQUEUES	   (2 * NPORTS + 2)
#define QUEUE_SIZE 8
#define RAM	   (256 * KIB)
#define RINGS	   (32 * KIB)
#define CONTROL_RX 2
#define CONTROL_TX 3

enum act {
	ACT_START,   /* reset, negotiate features `which`, all queues, DRIVER_OK */
	ACT_MESSAGE, /* a control message: id `which`, event `off`, value */
	ACT_READ,    /* a chain for the device to read: `off` bytes at `value` */
	ACT_WRITE,   /* one to write */
	ACT_POKE,    /* `value` anywhere in memory */
	ACT_KICK,
	ACT_RUN,    /* the loop */
	ACT_TYPE,   /* input for a port */
	ACT_DRAIN,  /* read its output */
	ACT_RESIZE, /* and somebody came or left */
	ACT_CONFIG,
	ACT_STATUS,
	ACT_QUEUE, /* reset it, set it up anew */
	ACT_PAUSE,
	NACTS,
};

struct step {
	u8 act, which;
	u16 off;
	u32 value;
} __attribute__((packed));

static struct machine_env env;
static struct mem mem;
static struct virtio_dev *v;
static struct irq irq[NQUEUES + 1];
static struct stream stream[NPORTS];
static int outside[NPORTS][2]; /* to write to and to read from */
static struct ring_driver ring[NQUEUES];
static unsigned long chains;
static u8 *ram;

static void tell(void)
{
	fprintf(stderr, "fuzz_console: %lu chains served\n", chains);
}

static void small_pipe(int fd[2])
{
	must(pipe2(fd, O_CLOEXEC) == 0);
	fcntl(fd[1], F_SETPIPE_SZ, 4096);
}

/* Standard input and output are the console's from now on. */
static void open_port0(void)
{
	int in[2], out[2];

	small_pipe(in);
	small_pipe(out);
	must(dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0);
	must(stream_open_stdio(&stream[0]) == 0);
	outside[0][0] = in[1];
	outside[0][1] = out[0];
}

/* A socket with a client that stays; its name may go. */
static void open_port(u32 i)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/fuzz_console.%d.%u", getpid(), i);
	must(stream_open_unix(&stream[i], addr.sun_path) == 0);
	must(connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	unlink(addr.sun_path);
	outside[i][0] = outside[i][1] = fd;
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

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct virtio_console_port ports[NPORTS] = { { .stream = &stream[0] },
						     { "org.minivmm.one", &stream[1] },
						     { "two", &stream[2] } };
	struct virtio_options o = { .packed = true, .queue_size = QUEUE_SIZE };

	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	mem_init(&mem);
	must(mem_add_ram(&mem, 0, RAM, false) == 0);
	ram = mem_ptr(&mem, 0, RAM);
	must(irqchip_create(&env.irqchip) == 0);
	must(loop_create(&env.loop) == 0);
	env.mem = &mem;
	env.io_loop = &env.loop;
	env.nio_loops = 1;
	for (u32 i = 0; i < NPORTS; i++)
		stream_init(&stream[i], env.loop);
	open_port0();
	open_port(1);
	open_port(2);
	must(virtio_console_create(&v, &env, &o, ports, NPORTS) == 0);
	for (u32 i = 0; i <= NQUEUES; i++)
		must(irq_init(&irq[i], env.irqchip) == 0);
	virtio_attach(v, &irq[NQUEUES]);
	for (u32 i = 0; i < NQUEUES; i++)
		virtio_attach_queue(v, i, &irq[i]);
	for (u32 i = 0; i < NPORTS; i++) {
		fcntl(outside[i][0], F_SETFL, O_NONBLOCK);
		fcntl(outside[i][1], F_SETFL, O_NONBLOCK);
	}
	run_loop();
	must(stream_connected(&stream[1]) && stream_connected(&stream[2]));
	atexit(tell);
	return 0;
}

static void count(void)
{
	for (u32 i = 0; i < NQUEUES; i++) {
		if (v->queue[i].running)
			chains += v->queue[i].vq.stats.chains;
	}
}

static void queue_up(u32 i)
{
	static const enum virtio_area areas[3] = { VIRTIO_DESC, VIRTIO_DRIVER, VIRTIO_DEVICE };
	const struct vq_cfg *cfg = &ring[i].cfg;
	const u64 addr[3] = { cfg->desc, cfg->driver, cfg->device };

	virtio_queue_size_write(v, i, cfg->size);
	for (u32 a = 0; a < 3; a++) {
		virtio_queue_area_write(v, i, areas[a], 0, addr[a]);
		virtio_queue_area_write(v, i, areas[a], 32, addr[a] >> 32);
	}
	virtio_queue_enable(v, i);
}

static void forget_rings(void)
{
	for (u32 i = 0; i < NQUEUES; i++) {
		if (ring[i].state)
			ring_driver_free(&ring[i]);
		ring[i] = (struct ring_driver){ 0 };
	}
}

static void start(u8 which)
{
	struct vq_cfg cfg = {
		.size = QUEUE_SIZE,
		.packed = which & 1,
		.indirect = which & 2,
		.event_idx = which & 4,
		.in_order = which & 8,
	};
	u64 features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
		       (u64)cfg.packed << VIRTIO_F_RING_PACKED |
		       (u64)cfg.indirect << VIRTIO_RING_F_INDIRECT_DESC |
		       (u64)cfg.event_idx << VIRTIO_RING_F_EVENT_IDX |
		       (u64)cfg.in_order << VIRTIO_F_IN_ORDER |
		       (u64) !(which & 16) << VIRTIO_CONSOLE_F_MULTIPORT;
	u32 status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
	u64 at = RINGS;

	count();
	virtio_status_write(v, 0);
	forget_rings();
	virtio_status_write(v, status);
	virtio_driver_features_write(v, 0, features);
	virtio_driver_features_write(v, 1, features >> 32);
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_FEATURES_OK);
	must(virtio_status_read(v) == status);
	for (u32 i = 0; i < NQUEUES; i++) {
		must(ring_driver_init(&ring[i], &mem, at, &cfg) == 0);
		at = ALIGN_UP(ring[i].end, PAGE_SIZE);
		queue_up(i);
	}
	virtio_status_write(v, status |= VIRTIO_CONFIG_S_DRIVER_OK);
	must(virtio_status_read(v) == status);
}

static void submit(u32 q, const struct ring_buf *buf, u32 nout, u32 nin)
{
	if (!ring[q].state ||
	    ring_add(&ring[q], buf, nout, nin, ring[q].cfg.indirect && nin % 2) < 0)
		return;
	if (ring_publish(&ring[q]))
		virtio_queue_kick(v, q);
}

static void tell_device(u64 at, u32 id, u16 event, u16 value)
{
	struct virtio_console_control msg = { id, event, value };
	struct ring_buf buf = { at, sizeof(msg) };

	memcpy(ram + at, &msg, sizeof(msg));
	submit(CONTROL_TX, &buf, 1, 0);
}

/* Mostly one that might have a meaning. */
static void message(const struct step *s)
{
	u32 id = s->which & 0x80 ? s->value : s->which % (NPORTS + 1);
	u16 event = s->off & 0x8000 ? s->off : s->off % 8;

	tell_device(8 * (s->value >> 24), id, event, s->value);
}

/* All that a well-behaved driver does at first. */
static void handshake(void)
{
	for (u32 i = 0; i < QUEUE_SIZE; i++) {
		struct ring_buf buf = { 1024 + 32 * i, 32 };

		submit(CONTROL_RX, &buf, 0, 1);
	}
	tell_device(0, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	run_loop();
	for (u32 i = 0; i < NPORTS; i++)
		tell_device(8 + 8 * i, i, VIRTIO_CONSOLE_PORT_READY, 1);
	for (u32 i = 0; i < NPORTS; i++)
		tell_device(32 + 8 * i, i, VIRTIO_CONSOLE_PORT_OPEN, 1);
	run_loop();
}

/* In one piece or in two. */
static void chain(const struct step *s, bool write)
{
	struct ring_buf buf[2] = { { s->value % RAM, s->off }, { (s->value >> 16) % RAM, 9 } };
	u32 n = 1 + (s->which >> 7);

	submit(s->which % NQUEUES, buf, write ? 0 : n, write ? n : 0);
}

static void type(const struct step *s)
{
	static u8 text[4096];
	ssize_t n = write(outside[s->which % NPORTS][0], text, s->off % sizeof(text));

	(void)n;
}

static void drain(u32 port)
{
	static u8 text[65536];

	while (read(outside[port][1], text, sizeof(text)) > 0)
		;
}

static void config(const struct step *s)
{
	u8 buf[8];

	memcpy(buf, &s->value, 4);
	memcpy(buf + 4, &s->value, 4);
	virtio_config_write(v, s->off % 16, buf, s->which % 8 + 1);
	virtio_config_read(v, s->off % 16, buf, s->which % 8 + 1);
}

static void act(const struct step *s)
{
	u32 q = s->which % NQUEUES;

	switch (s->act % NACTS) {
	case ACT_START:
		start(s->which);
		if (s->which & 32)
			handshake();
		break;
	case ACT_MESSAGE:
		message(s);
		break;
	case ACT_READ:
		chain(s, false);
		break;
	case ACT_WRITE:
		chain(s, true);
		break;
	case ACT_POKE:
		memcpy(ram + (s->which << 16 | s->off) % (RAM - 4), &s->value, 4);
		break;
	case ACT_KICK:
		virtio_queue_kick(v, q);
		break;
	case ACT_RUN:
		run_loop();
		break;
	case ACT_TYPE:
		type(s);
		break;
	case ACT_DRAIN:
		drain(s->which % NPORTS);
		break;
	case ACT_RESIZE:
		virtio_console_resize(v, s->which % NPORTS, s->off, s->value);
		stream[s->which % NPORTS].connection(&stream[s->which % NPORTS]);
		break;
	case ACT_CONFIG:
		config(s);
		break;
	case ACT_STATUS:
		virtio_status_write(v, s->value & 0xff);
		break;
	case ACT_QUEUE:
		virtio_queue_reset(v, q);
		if (ring[q].state) {
			ring_driver_reset(&ring[q]);
			queue_up(q);
		}
		break;
	case ACT_PAUSE:
		virtio_pause(v);
		virtio_resume(v);
		break;
	}
}

/* After a reset nothing of it touches memory, whatever happens outside; and it works again. */
static void check_reset(void)
{
	static u8 before[RAM];
	struct step keys = { .off = 10 };
	struct ring_buf buf = { 0, 16 };

	count();
	virtio_status_write(v, 0);
	must(virtio_status_read(v) == 0);
	memcpy(before, ram, RAM);
	for (keys.which = 0; keys.which < NPORTS; keys.which++) {
		must(!stream[keys.which].want_read && !stream[keys.which].want_write);
		drain(keys.which);
		type(&keys);
	}
	run_loop();
	must(memcmp(before, ram, RAM) == 0);

	start(16);
	submit(0, &buf, 0, 1);
	submit(1, &buf, 1, 0);
	for (u32 i = 0; i < 3; i++)
		run_loop();
	must(ring_get(&ring[0], &buf.len) >= 0 && buf.len);
	must(ring_get(&ring[1], &buf.len) >= 0 && !buf.len);
	virtio_status_write(v, 0);
	forget_rings();
}

/* What has been typed and not been read. */
static void drain_input(void)
{
	static u8 text[65536];

	for (u32 i = 0; i < NPORTS; i++) {
		while (stream_read(&stream[i], text, sizeof(text)))
			;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	for (u32 n = 0; size && n < STEPS_MAX; n++) {
		struct step s = { 0 };
		size_t len = size < sizeof(s) ? size : sizeof(s);

		memcpy(&s, data, len);
		data += len;
		size -= len;
		act(&s);
	}
	check_reset();
	drain_input();
	for (u32 i = 0; i < NPORTS; i++)
		drain(i);
	memset(ram, 0, RAM);
	return 0;
}
