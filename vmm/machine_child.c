// SPDX-License-Identifier: MIT
/*
 * machine_child.c - a device in a process of its own that minivmm starts itself: `minivmm device` as a
 * child, with the tap or the image in its hands.
 *
 *	minivmm ── socketpair: vhost-user ── minivmm device net --fd 20 --peer fd=17:18
 *	   └── tap, image: opened here, inherited by the child
 *
 * How it works: what the device needs is opened here, so that what is wrong with it is told as for any
 * device, and a child that is started anew finds it as the last one left it: the tap keeps its addresses,
 * and the image stays locked, since the lock is the open file's, which both have. The data path
 * (devices/datapath/vhost_user_link.c) calls start() for the first connection and whenever the child has
 * gone, and end() when the connection is lost: one that does not answer may still be at work.
 *
 * The child inherits that, the socket and standard error, and nothing else. It ends when its socket is
 * closed; if minivmm dies it is killed (PR_SET_PDEATHSIG), and has lost the socket, too. It is in a process
 * group of its own: what a terminal's Ctrl-C means is for minivmm to say.
 *
 * Threads: the main loop's, but for end(), which whoever loses the connection calls. Between fork() and
 * execv() only async-signal-safe functions are called, since other threads run.
 */
#include "vmm/machine_child.h"
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4
#endif

#define END_MS	     2000 /* for a child to finish what it does */
#define STATUS_USAGE 2	  /* it has said why itself */

struct child {
	struct vhost_user_process process;
	struct child *next;
	const char *option;
	char name[160];
	char socket[12], queues[12]; /* its arguments, as text */
	char *what;		     /* likewise: --peer's or --file's; owned */
	bool net;
	int fd[PEER_PAIRS_MAX]; /* that it inherits */
	u32 nfds;
	pid_t pid; /* 0: there is none */

	/* Open as long as the machine lives. */
	struct image *image;
	struct peer *tap;
	bool lent; /* they are another's */
};

static struct child *child_of(struct vhost_user_process *p)
{
	return container_of(p, struct child, process);
}

/* ---- its life ---- */

static int reap(struct child *c)
{
	int status = 0;

	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
	return status;
}

/* In the child, until it is another program. */
static void become_device(const struct child *c, int sock, pid_t parent)
{
	char *const argv[] = {
		"minivmm",	   "device",   c->net ? "net" : "blk", "--fd",
		(char *)c->socket, "--queues", (char *)c->queues,      c->net ? "--peer" : "--file",
		c->what,	   NULL
	};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	setpgid(0, 0);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	fcntl(sock, F_SETFD, 0);
	for (u32 i = 0; i < c->nfds; i++)
		fcntl(c->fd[i], F_SETFD, 0);
	execv("/proc/self/exe", argv);
	_exit(127);
}

/* One whose connection was lost is of no more use, dead or not. */
static void child_kill(struct vhost_user_process *p)
{
	struct child *c = child_of(p);

	if (!c->pid)
		return;
	kill(c->pid, SIGKILL);
	reap(c);
}

static int child_start(struct vhost_user_process *p)
{
	struct child *c = child_of(p);
	pid_t parent = getpid();
	int pair[2];

	child_kill(p);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	snprintf(c->socket, sizeof(c->socket), "%d", pair[1]);
	c->pid = fork();
	if (c->pid == 0)
		become_device(c, pair[1], parent);
	close(pair[1]);
	if (c->pid > 0)
		return pair[0];
	c->pid = 0;
	close(pair[0]);
	return -EAGAIN;
}

/* Its socket is closed: it ends by itself, or it is ended. */
static void child_end(struct child *c)
{
	struct pollfd p = { .fd = c->pid ? pidfd_open(c->pid, 0) : -1, .events = POLLIN };

	if (c->pid && (p.fd < 0 || poll(&p, 1, END_MS) <= 0))
		kill(c->pid, SIGKILL);
	if (p.fd >= 0)
		close(p.fd);
	if (c->pid)
		reap(c);
	if (!c->lent) {
		image_close(c->image);
		peer_destroy(c->tap);
	}
	free(c->what);
	free(c);
}

void machine_explain_child(struct vhost_user_process *p, int err)
{
	struct child *c = child_of(p);
	int status;

	if (err != -ECONNRESET || !c->pid)
		return; /* that has been told */
	status = reap(c);
	if (WIFSIGNALED(status))
		log_err("--%s: %s was ended by SIG%s", c->option, c->name,
			sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != STATUS_USAGE)
		log_err("--%s: %s ended with status %d", c->option, c->name, WEXITSTATUS(status));
}

void machine_end_child(struct machine *m, struct vhost_user_process *p)
{
	struct child *c = child_of(p), **link = &m->children;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	child_end(c);
}

void machine_end_children(struct machine *m)
{
	while (m->children) {
		struct child *c = m->children;

		m->children = c->next;
		child_end(c);
	}
}

/* ---- making one ---- */

static struct child *child_create(struct machine *m, const struct device_config *d,
				  const char *kind, const char *of)
{
	struct child *c = calloc(1, sizeof(*c));

	if (!c) {
		log_err("--%s: %s", d->kind == DEVICE_NET ? "net" : "disk", strerror(ENOMEM));
		return NULL;
	}
	c->net = d->kind == DEVICE_NET;
	c->option = c->net ? "net" : "disk";
	snprintf(c->name, sizeof(c->name), "the process of %s%s", kind, of);
	snprintf(c->queues, sizeof(c->queues), "%u", d->queues ? d->queues : 1);
	c->process = (struct vhost_user_process){ .name = c->name,
						  .start = child_start,
						  .end = child_kill };
	c->next = m->children;
	m->children = c;
	return c;
}

/* ",KEY=VALUE", with the commas in VALUE written twice. */
static void put_setting(FILE *f, const char *key, const char *value)
{
	fprintf(f, ",%s=", key);
	for (; *value; value++)
		fprintf(f, *value == ',' ? ",," : "%c", *value);
}

static void put_fds(FILE *f, const struct child *c)
{
	fprintf(f, "fd=%d", c->fd[0]);
	for (u32 i = 1; i < c->nfds; i++)
		fprintf(f, ":%d", c->fd[i]);
}

static void put_disk(FILE *f, const struct child *c, const struct disk_config *cfg)
{
	static const char *const aio[] = { [IMAGE_AIO_AUTO] = "auto",
					   [IMAGE_AIO_IO_URING] = "io_uring",
					   [IMAGE_AIO_THREADS] = "threads" };

	put_fds(f, c);
	fprintf(f, ",readonly=%s,direct=%s,aio=%s,cache=%s,discard=%s",
		cfg->readonly ? "on" : "off", cfg->direct ? "on" : "off", aio[cfg->aio],
		cfg->writethrough ? "writethrough" : "writeback", cfg->discard ? "on" : "off");
	if (cfg->share)
		put_setting(f, "share", "on");
	if (cfg->serial)
		put_setting(f, "serial", cfg->serial);
}

static void put_net(FILE *f, const struct child *c, const struct net_config *cfg)
{
	if (c->tap)
		put_fds(f, c);
	else
		fprintf(f, "user");
	if (cfg->mtu)
		fprintf(f, ",mtu=%u", cfg->mtu);
	for (u32 i = 0; i < cfg->hostfwd.n; i++)
		put_setting(f, "hostfwd", cfg->hostfwd.item[i]);
	if (cfg->restricted)
		put_setting(f, "restrict", "on");
}

/* What it is told of the device. */
static int describe(struct child *c, const struct device_config *d)
{
	size_t len;
	FILE *f = open_memstream(&c->what, &len);

	if (!f) {
		log_err("--%s: %s", c->option, strerror(errno));
		return -ENOMEM;
	}
	if (c->net)
		put_net(f, c, &d->net);
	else
		put_disk(f, c, &d->disk);
	return fclose(f) ? -ENOMEM : 0;
}

static void inherit_image(struct child *c, struct image *image)
{
	c->image = image;
	image_fds(image, c->fd);
	c->nfds = c->fd[1] >= 0 ? 2 : 1;
}

int machine_child_disk(struct machine *m, const struct device_config *d,
		       struct vhost_user_process **p)
{
	const struct image_options o = {
		.path = d->disk.file,
		.readonly = d->disk.readonly,
		.direct = d->disk.direct,
		.aio = d->disk.aio,
	};
	struct child *c = child_create(m, d, "", o.path);
	struct image *image;
	int err = c ? image_open(&image, &o) : -ENOMEM;

	if (err) /* it has said why */
		return err;
	inherit_image(c, image);
	*p = &c->process;
	return describe(c, d);
}

int machine_child_image(struct machine *m, const struct device_config *d, struct image *image,
			struct vhost_user_process **p)
{
	struct child *c = child_create(m, d, "", d->disk.file);

	if (!c)
		return -ENOMEM;
	c->lent = true;
	inherit_image(c, image);
	*p = &c->process;
	return describe(c, d);
}

static void inherit_tap(struct child *c, u32 npairs)
{
	for (c->nfds = 0; c->nfds < npairs; c->nfds++)
		c->fd[c->nfds] = peer_fd(c->tap->queue(c->tap, c->nfds));
}

/* All queues of the tap, in the child's reach. */
static int open_tap(struct child *c, const struct device_config *d)
{
	const struct peer_tap_options o = {
		.name = d->net.peer == NET_TAP ? d->net.target : NULL,
		.fd = { d->net.fd },
		.npairs = d->queues ? d->queues : 1,
		.mtu = d->net.mtu,
	};
	int err = peer_tap_open(&c->tap, &o);

	if (!err)
		inherit_tap(c, o.npairs);
	return err;
}

static struct child *net_child(struct machine *m, const struct device_config *d)
{
	char fd[12];

	snprintf(fd, sizeof(fd), "%u", d->net.fd);
	switch (d->net.peer) {
	case NET_TAP:
		return child_create(m, d, "tap=", d->net.target);
	case NET_FD:
		return child_create(m, d, "fd=", fd);
	default:
		return child_create(m, d, "user", "");
	}
}

int machine_child_tap(struct machine *m, const struct device_config *d, struct peer *tap,
		      struct vhost_user_process **p)
{
	struct child *c = net_child(m, d);

	if (!c)
		return -ENOMEM;
	c->tap = tap;
	c->lent = true;
	inherit_tap(c, tap->npairs);
	*p = &c->process;
	return describe(c, d);
}

int machine_child_net(struct machine *m, const struct device_config *d,
		      struct vhost_user_process **p, u16 *mtu)
{
	struct child *c = net_child(m, d);
	int err = 0;

	if (!c)
		return -ENOMEM;
	if (d->net.peer != NET_USER)
		err = open_tap(c, d);
	if (err)
		return err;
	*mtu = d->net.mtu ? d->net.mtu : c->tap ? c->tap->mtu : PEER_USER_MTU;
	*p = &c->process;
	return describe(c, d);
}
