// SPDX-License-Identifier: MIT
/*
 * machine_daemon.c - `minivmm device`: a machine that is one virtio device and no guest.
 *
 *	main loop	signals, the vhost-user server (devices/daemon/)
 *	iothreads	the queues: one a queue or pair of queues, as long as there are processors
 *
 * How it works: the device is the same that a VM has, and so is the engine that serves its queues. What is
 * a transport there is the server here, and guest memory comes from the front end.
 *
 * What takes privileges comes first, on the only thread there is: the image or the peer and the socket are
 * opened. Then the privileges go (privileges.c), the threads and the device are made, and at last nothing
 * but serving is allowed any more (sandbox.c).
 *
 * Threads: the main loop runs on the calling thread.
 */
#include "vmm/machine_daemon.h"
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/loop.h"
#include "minivmm/mem.h"
#include "minivmm/peer.h"
#include "minivmm/unix_socket.h"
#include "minivmm/vhost_user_server.h"
#include "minivmm/virtio.h"
#include "vmm/config_daemon.h"
#include "vmm/privileges.h"
#include "vmm/sandbox.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STATUS_OK    0
#define STATUS_USAGE 2

/* The most that a front end may choose. QEMU goes to 1024. */
#define QUEUE_SIZE 1024
/* A chain may not be longer than the ring, whose size the front end chooses: QEMU has 128 of a disk's. */
#define SEG_MAX 126
#define BACKLOG 8

struct daemon {
	const struct daemon_config *cfg;
	struct mem mem;
	struct loop *loop;
	struct loop **iothread;
	u32 niothreads, nstarted;
	struct machine_env env;
	struct loop_fd signals;
	struct unix_door door;
	struct image *image; /* until the device has it; */
	struct peer *peer;   /* likewise */
	struct virtio_dev *v;
	struct vhost_user_server *server;
};

/* ---- the main loop ---- */

static void signals_ready(struct loop_fd *lf, u32 events)
{
	struct daemon *d = container_of(lf, struct daemon, signals);

	(void)events;
	loop_quit(d->loop);
}

/* What has gone through so far. */
static void tell_frames(struct daemon *d)
{
	struct virtio_net_stats s, rx = { 0 }, tx = { 0 };

	for (u32 i = 0; i < d->v->nqueues; i++) {
		struct virtio_net_stats *sum = i % 2 ? &tx : &rx;

		virtio_net_stats(d->v, i, &s);
		sum->frames += s.frames;
		sum->dropped += s.dropped;
	}
	log_info("the front end has left; frames since the start: %llu sent by guests, %llu "
		 "received, "
		 "%llu and %llu dropped",
		 (unsigned long long)tx.frames, (unsigned long long)rx.frames,
		 (unsigned long long)tx.dropped, (unsigned long long)rx.dropped);
}

static void front_end_gone(void *arg)
{
	struct daemon *d = arg;

	if (!d->cfg->socket)
		loop_quit(d->loop);
	else if (d->cfg->kind == DEVICE_NET)
		tell_frames(d);
}

static int watch_signals(struct daemon *d)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	d->signals = (struct loop_fd){ .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
				       .ready = signals_ready };
	return d->signals.fd < 0 ? -errno : loop_add(d->loop, &d->signals, EPOLLIN);
}

struct binding {
	u32 cpu;
	int err;
};

static void bind_thread(void *arg)
{
	struct binding *b = arg;
	u32 n = b->cpu + 1;
	cpu_set_t *set = CPU_ALLOC(n);

	if (!set) {
		b->err = -ENOMEM;
		return;
	}
	CPU_ZERO_S(CPU_ALLOC_SIZE(n), set);
	CPU_SET_S(b->cpu, CPU_ALLOC_SIZE(n), set);
	b->err = sched_setaffinity(0, CPU_ALLOC_SIZE(n), set) < 0 ? -errno : 0;
	CPU_FREE(set);
}

/* Bind each thread to its CPU. */
static int bind_iothreads(struct daemon *d)
{
	const struct daemon_config *cfg = d->cfg;

	for (u32 i = 0; cfg->npoll_cpus && i < d->niothreads; i++) {
		struct binding b = { .cpu = cfg->poll_cpu[i % cfg->npoll_cpus] };

		loop_call(d->iothread[i], bind_thread, &b);
		if (b.err) {
			log_err("--poll: CPU %u: %s", b.cpu,
				b.err == -EINVAL ? "there is none, or we may not use it"
						 : strerror(-b.err));
			return b.err;
		}
	}
	return 0;
}

/* Their loops; no thread runs them yet. */
static int create_iothreads(struct daemon *d)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	u32 n = d->cfg->queues < cpus ? d->cfg->queues : cpus > 0 ? cpus : 1;

	d->iothread = calloc(n, sizeof(*d->iothread));
	if (!d->iothread)
		return -ENOMEM;
	for (; d->niothreads < n; d->niothreads++) {
		int err = loop_create(&d->iothread[d->niothreads]);

		if (err)
			return err;
	}
	return 0;
}

static int start_iothreads(struct daemon *d)
{
	for (; d->nstarted < d->niothreads; d->nstarted++) {
		char name[20]; /* of which a thread has 15 */
		int err;

		snprintf(name, sizeof(name), "iothread%u", d->nstarted);
		err = loop_start(d->iothread[d->nstarted], name);
		if (err) {
			log_err("no thread can be started: %s", strerror(-err));
			return err;
		}
	}
	return bind_iothreads(d);
}

/* ---- the device ---- */

static int open_image(struct daemon *d)
{
	const struct disk_config *cfg = &d->cfg->disk;
	const struct image_options o = {
		.path = cfg->file,
		.readonly = cfg->readonly,
		.direct = cfg->direct,
		.aio = cfg->aio,
		.lock = cfg->share ? IMAGE_SHARED : IMAGE_ALONE,
		.opened = d->cfg->nfile_fds,
		.fd = { d->cfg->file_fd[0], d->cfg->nfile_fds > 1 ? (int)d->cfg->file_fd[1] : -1 },
	};
	int err = image_open(&d->image, &o);

	if (err) /* it has said why */
		return err;
	err = image_reserve(d->image, d->cfg->queues);
	if (err)
		log_err("--file %s: it can't be opened for each queue: %s", cfg->file,
			strerror(-err));
	return err;
}

static int create_disk(struct daemon *d)
{
	const struct disk_config *cfg = &d->cfg->disk;
	struct virtio_options o = {
		.packed = d->cfg->packed,
		.queues = d->cfg->queues,
		.queue_size = QUEUE_SIZE,
	};
	struct virtio_blk_options blk = {
		.image = d->image,
		.writethrough = cfg->writethrough,
		.discard = cfg->discard,
		.serial = cfg->serial,
		.seg_max = SEG_MAX,
	};
	int err;

	d->image = NULL;
	err = virtio_blk_create(&d->v, &d->env, &o, &blk);
	if (err)
		log_err("the disk can't be made: %s", strerror(-err));
	return err;
}

static int open_peer(struct daemon *d, struct peer **p)
{
	const struct daemon_config *cfg = d->cfg;
	struct peer_tap_options tap = {
		.name = cfg->peer == DAEMON_TAP ? cfg->target : NULL,
		.npairs = cfg->queues,
		.mtu = cfg->mtu,
	};
	const struct peer_user_options user = {
		.hostfwd = cfg->hostfwd.item,
		.nhostfwd = cfg->hostfwd.n,
		.restricted = cfg->restricted,
		.mtu = cfg->mtu,
	};
	const struct peer_socket_options socket = {
		.path = cfg->target,
		.server = cfg->server,
		.loop = d->loop,
	};
	int err = -EINVAL;

	for (u32 i = 0; i < cfg->npeer_fds; i++)
		tap.fd[i] = cfg->peer_fd[i];
	switch (cfg->peer) {
	case DAEMON_TAP:
	case DAEMON_FD:
		return peer_tap_open(p, &tap);
	case DAEMON_USER:
		return peer_user_open(p, &user);
	case DAEMON_SOCKET:
		return peer_socket_open(p, &socket);
	case DAEMON_NULL:
		err = peer_null_open(p, cfg->queues, cfg->source);
		break;
	case DAEMON_ECHO:
		err = peer_echo_open(p, cfg->queues);
		break;
	}
	if (err)
		log_err("--peer: %s", strerror(-err));
	return err;
}

static int create_net(struct daemon *d)
{
	struct virtio_options o = { .packed = d->cfg->packed, .queue_size = QUEUE_SIZE };
	struct virtio_net_options net = {
		.peer = d->peer,
		.mtu = d->cfg->mtu ? d->cfg->mtu : d->peer->mtu,
		.npairs = d->cfg->queues,
		.speed = VIRTIO_NET_UNKNOWN_SPEED,
		.duplex = 0xff,
		.rings_only = true,
	};
	int err;

	d->peer = NULL;
	err = virtio_net_create(&d->v, &d->env, &o, &net);
	if (err)
		log_err("the network device can't be made: %s", strerror(-err));
	return err;
}

/* The front end has `n` queues enabled. Frames are spread over the pairs that are. */
static void queues_enabled(struct virtio_dev *v, u32 n)
{
	virtio_net_set_pairs(v, n < 2 ? 1 : n / 2);
}

static int create_server(struct daemon *d)
{
	bool net = d->cfg->kind == DEVICE_NET;
	const struct vhost_user_server_options o = {
		.v = d->v,
		.listener = d->door.fd,
		.fd = d->cfg->fd,
		.nqueues = d->v->nqueues,
		.unit = net ? 2 : 1,
		.discards = net ? VHOST_USER_TRANSMITS : 0,
		.poll = d->cfg->poll,
		.inflight = !net, /* a frame that is lost is sent again, a request is not */
		.enabled = net ? queues_enabled : NULL,
		.gone = front_end_gone,
		.arg = d,
	};

	d->door.fd = -1;
	return vhost_user_server_create(&d->server, &o);
}

/* ---- privileges ---- */

static int open_socket(struct daemon *d)
{
	int err = d->cfg->socket ? unix_door_open(&d->door, d->cfg->socket, BACKLOG) : 0;

	if (err)
		log_err("--socket %s: %s%s", d->cfg->socket, strerror(-err), unix_mend(err));
	return err;
}

/* What front ends connect to is that user's, and so is the end of a network cable that is made here. */
static int give_sockets(struct daemon *d)
{
	const struct daemon_config *cfg = d->cfg;
	const struct privileges_user *u = &cfg->user;
	int err = 0;

	if (!u->given)
		return 0;
	if (cfg->socket)
		err = unix_door_give(&d->door, u->uid, u->gid);
	if (!err && cfg->kind == DEVICE_NET && cfg->peer == DAEMON_SOCKET && cfg->server)
		err = unix_give(cfg->target, u->uid, u->gid);
	if (err)
		log_err("--user: the socket can't be made that user's: %s%s", strerror(-err),
			err == -EPERM ? "; only root can" : "");
	return err;
}

/* Open all that may take privileges, and give them up. */
static int open_all(struct daemon *d)
{
	int err = d->cfg->kind == DEVICE_NET ? open_peer(d, &d->peer) : open_image(d);

	if (!err)
		err = open_socket(d);
	if (!err)
		err = give_sockets(d);
	return err ? err : privileges_drop(&d->cfg->user);
}

static int enter_sandbox(struct daemon *d)
{
	const struct daemon_config *cfg = d->cfg;
	bool net = cfg->kind == DEVICE_NET;
	u32 needs = net && cfg->peer == DAEMON_USER			? SANDBOX_INTERNET
		    : net && cfg->peer == DAEMON_SOCKET && !cfg->server ? SANDBOX_CONNECT
									: 0;

	if (cfg->socket || (net && cfg->server))
		needs |= SANDBOX_UNLINK;
	return cfg->sandbox ? sandbox_enter(needs) : 0;
}

static int create(struct daemon *d)
{
	int err = loop_create(&d->loop);

	if (!err)
		err = watch_signals(d);
	if (!err)
		err = vhost_user_guard_memory();
	if (!err)
		err = create_iothreads(d);
	if (err) {
		log_err("the device can't be made: %s", strerror(-err));
		return err;
	}
	d->env = (struct machine_env){
		.mem = &d->mem,
		.loop = d->loop,
		.io_loop = d->iothread,
		.nio_loops = d->niothreads,
	};
	err = open_all(d);
	if (!err)
		err = start_iothreads(d);
	if (!err)
		err = d->cfg->kind == DEVICE_NET ? create_net(d) : create_disk(d);
	if (!err)
		err = create_server(d);
	return err ? err : enter_sandbox(d);
}

static void remove_socket(struct daemon *d)
{
	int err = unix_door_close(&d->door);

	if (err)
		log_warn("--socket %s: it remains, since we may not remove it any more: %s",
			 d->cfg->socket, strerror(-err));
}

static void destroy(struct daemon *d)
{
	vhost_user_server_destroy(d->server);
	remove_socket(d);
	if (d->v)
		virtio_destroy(d->v);
	image_close(d->image);
	peer_destroy(d->peer);
	while (d->nstarted)
		loop_stop(d->iothread[--d->nstarted]);
	while (d->niothreads)
		loop_destroy(d->iothread[--d->niothreads]);
	free(d->iothread);
	mem_destroy(&d->mem);
	if (d->signals.fd >= 0) {
		loop_del(d->loop, &d->signals);
		close(d->signals.fd);
	}
	loop_destroy(d->loop);
}

int daemon_run(const struct daemon_config *cfg)
{
	struct daemon d = { .cfg = cfg, .signals.fd = -1, .door = { .fd = -1, .folder = -1 } };
	int err;

	mem_init(&d.mem);
	err = create(&d);
	if (!err)
		loop_run(d.loop);
	destroy(&d);
	return err ? STATUS_USAGE : STATUS_OK;
}
