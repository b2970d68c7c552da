// SPDX-License-Identifier: MIT
/*
 * switch_rig.c - see switch_rig.h.
 */
#include "tests/unit/switch_rig.h"
#include "minivmm/datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define PROGRAM	   UNIT_OUT "/../minivmm" /* of an instrumented build */
#define BUSY_TRIES 2000			  /* of 100 us each */

const char *const path_names[] = { "inproc", "vhost-user", "vhost-net" };

/* `minivmm device`, with the tap or the image in its hands. */
struct device_process {
	struct vhost_user_process process;
	const struct path_world *w;
	pid_t pid;
};

/* A data path, and what belongs to it. */
struct made {
	struct datapath *path;
	struct peer *stand_in;
	struct device_process p;
};

/* A process is known by its address, so these stay where they are. */
static struct made slot[2];
static u32 serving; /* which of them serves the device */

/* ---- the process ---- */

static void become_device(const struct path_world *w, int sock)
{
	char fd[16], what[32];
	char *const argv[] = {
		"minivmm",  "device",		w->tap ? "net" : "blk",	      "--fd", fd,
		"--queues", w->tap ? "1" : "2", w->tap ? "--peer" : "--file", what,   NULL
	};
	int file[2] = { -1, -1 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (w->tap)
		file[0] = peer_fd(w->tap->queue(w->tap, 0));
	else
		image_fds(w->image, file);
	snprintf(fd, sizeof(fd), "%d", sock);
	snprintf(what, sizeof(what), file[1] < 0 ? "fd=%d" : "fd=%d:%d", file[0], file[1]);
	close_range(STDERR_FILENO + 1, ~0U, 1 << 2 /* CLOSE_RANGE_CLOEXEC */);
	fcntl(sock, F_SETFD, 0);
	for (u32 i = 0; i < 2 && file[i] >= 0; i++)
		fcntl(file[i], F_SETFD, 0);
	execv(PROGRAM, argv);
	execv("./minivmm", argv);
	_exit(127);
}

static void process_end(struct vhost_user_process *process)
{
	struct device_process *p = container_of(process, struct device_process, process);

	if (!p->pid)
		return;
	kill(p->pid, SIGKILL);
	while (waitpid(p->pid, NULL, 0) < 0) /* who waits in loop_call() signals us */
		ck_assert_int_eq(errno, EINTR);
	p->pid = 0;
}

static int process_start(struct vhost_user_process *process)
{
	struct device_process *p = container_of(process, struct device_process, process);
	int pair[2];

	ck_assert_int_eq(p->pid, 0); /* the first one has not gone */
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	p->pid = fork();
	if (p->pid == 0)
		become_device(p->w, pair[1]);
	ck_assert_int_gt(p->pid, 0);
	close(pair[1]);
	return pair[0];
}

/* ---- a data path ---- */

const char *path_missing(enum path_kind kind)
{
	if (kind == PATH_VHOST_NET && access("/dev/vhost-net", R_OK | W_OK) < 0)
		return "/dev/vhost-net can't be opened";
	if (kind == PATH_VHOST_USER && access(PROGRAM, X_OK) < 0 && access("./minivmm", X_OK) < 0)
		return "no ./minivmm: make";
	return NULL;
}

static int make_vhost_user_net(struct made *m, const struct path_world *w,
			       const struct machine_env *env)
{
	const struct vhost_user_net_options o = { .process = &m->p.process,
						  .npairs = 1,
						  .queue_size = w->d->v->queue[0].size_max,
						  .packed = w->packed };

	return vhost_user_net_create(&m->path, &m->stand_in, env, &o);
}

static int make_vhost_user_blk(struct made *m, const struct path_world *w,
			       const struct machine_env *env)
{
	const struct vhost_user_blk_options o = { .v = w->d->v,
						  .process = &m->p.process,
						  .packed = w->packed };

	return vhost_user_blk_create(&m->path, env, &o);
}

static void make(struct made *m, const struct path_world *w, enum path_kind kind)
{
	const struct machine_env *env = w->d->v->env;
	int err = 0;

	*m = (struct made){ .p.w = w };
	m->p.process = (struct vhost_user_process){ .name = "the process",
						    .start = process_start,
						    .end = process_end };
	if (kind == PATH_VHOST_NET)
		err = vhost_net_create(&m->path, env, w->tap);
	if (kind == PATH_VHOST_USER)
		err = w->tap ? make_vhost_user_net(m, w, env) : make_vhost_user_blk(m, w, env);
	ck_assert_msg(!err, "%s: %s; logged: %s", path_names[kind], strerror(-err), said_text());
}

/* The device is not at it. */
static void unmake(struct made *m)
{
	datapath_destroy(m->path);
	m->path = NULL;
	if (m->stand_in)
		peer_destroy(m->stand_in);
	m->stand_in = NULL;
	process_end(&m->p.process);
}

/* ---- on the main loop ---- */

struct wanted {
	const struct path_world *w;
	enum path_kind kind;
	struct virtio_switch s;
};

static void limit(void *arg)
{
	struct wanted *want = arg;
	struct made *m = &slot[!serving];

	make(m, want->w, want->kind);
	if (m->path)
		virtio_limit_features(want->w->d->v, m->path);
	unmake(m);
}

void path_limit(const struct path_world *w, enum path_kind kind)
{
	struct wanted want = { .w = w, .kind = kind };

	loop_call(w->d->v->env->loop, limit, &want);
}

static void switch_path(void *arg)
{
	struct wanted *want = arg;
	struct made *next = &slot[!serving], *old = &slot[serving];
	struct virtio_dev *v = want->w->d->v;
	struct datapath *path;
	int err = -EBUSY;

	make(next, want->w, want->kind);
	for (u32 n = 0; n < BUSY_TRIES && err == -EBUSY; n++) {
		if (n)
			usleep(100);
		path = next->path;
		err = virtio_switch_path(v, &path, &want->s);
	}
	ck_assert_msg(!err, "to %s: %s; logged: %s", path_names[want->kind], strerror(-err),
		      said_text());
	ck_assert_ptr_eq(path, old->path);
	unmake(old);
	serving = !serving;
	if (want->w->tap)
		virtio_net_restore_peer(v);
}

struct virtio_switch path_switch(const struct path_world *w, enum path_kind kind)
{
	struct wanted want = { .w = w, .kind = kind };

	loop_call(w->d->v->env->loop, switch_path, &want);
	return want.s;
}

void path_end(void)
{
	slot[serving].path = NULL; /* the device has freed it */
	unmake(&slot[serving]);
}
