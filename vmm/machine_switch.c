// SPDX-License-Identifier: MIT
/*
 * machine_switch.c - a network device or disk is moved from one data path to another while the guest runs.
 *
 *	the tap, ─┬── inproc		our own event loop
 *	the image ├── vhost-net		the kernel's worker, on the tap
 *		  └── vhost-user	a process of our own, which inherits tap or image; or a back end at a socket, which
 *					has a connection of its own, or the same image open once more
 *
 * How it works: the device is made with the tap as its peer, or with the image, whichever data path it begins with, and
 * both stay open here; only who reads and writes them changes. devices/virtio/virtio_path.c does the switch itself. Here
 * is what stands before it (the next path is made) and behind it (the last one is freed).
 *
 * The image's lock (devices/block/image.c) we keep as long as we live, whoever serves: so nobody gets in between two of
 * them, nor while a back end that has died is started again. A process of our own inherits it. A back end at a socket
 * locks for itself, and it does so when it is started, while we serve, and ends after we do again. So with share=on our
 * lock lets in writers that share, but not a second machine, and a back end without a lock on our image is refused.
 * Without share=on it has to be told not to lock. Whether it has our image is looked at besides (vhost_user_blk.c).
 *
 * At the start each of the paths is made once, to learn what it can serve: the driver is offered what all can.
 */
#include "vmm/machine_switch.h"
#include "minivmm/datapath.h"
#include "minivmm/devices.h"
#include "minivmm/image.h"
#include "minivmm/log.h"
#include "minivmm/peer.h"
#include "vmm/machine.h"
#include "vmm/machine_auto.h"
#include "vmm/machine_child.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_TRIES 20 /* a frame that waits for the driver's buffers */
#define BUSY_US	   500
#define ANSWER_MS  1000 /* for each of a back end's: the main loop waits */

static int fail(int err, char *why, size_t size, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, size, fmt, args);
	va_end(args);
	return err;
}

/* ---- a data path, and what belongs to it ---- */

static int make_for_net(struct machine *m, u32 i, struct machine_path *p)
{
	const struct device_config *d = &m->cfg->device[i];
	const struct vhost_user_net_options o = {
		.process = p->process,
		.path = p->socket,
		.npairs = 1,
		.queue_size = m->virtio[i]->queue[0].size_max,
		.packed = d->packed,
		.mtu = d->net.mtu,
		.timeout_ms = ANSWER_MS,
	};
	int err = vhost_user_net_create(&p->path, &p->stand_in, &m->env, &o);

	if (!err && d->switches >> PATH_INPROC & 1)
		machine_watch_back_end(m, i, p->stand_in);
	return err;
}

/* With share=on: does somebody else lock our image, as the back end at the socket should? */
static int check_image(struct machine *m, u32 i, const struct machine_path *p)
{
	const struct disk_config *cfg = &m->cfg->device[i].disk;

	if (!p->socket || !cfg->share || image_has_other_writer(m->image[i]))
		return 0;
	log_err("%s: the back end at %s has no lock on %s: it has another image, or is told not to "
		"lock",
		m->cfg->device[i].id, p->socket, cfg->file);
	return -ENOLCK;
}

static int make_for_disk(struct machine *m, u32 i, struct machine_path *p)
{
	const struct vhost_user_blk_options o = {
		.v = m->virtio[i],
		.process = p->process,
		.path = p->socket,
		.packed = m->cfg->device[i].packed,
		.timeout_ms = ANSWER_MS,
	};
	int err = vhost_user_blk_create(&p->path, &m->env, &o);

	return err ? err : check_image(m, i, p);
}

/* A process of our own, with what the device has. */
static int make_process(struct machine *m, u32 i, struct vhost_user_process **process)
{
	const struct device_config *d = &m->cfg->device[i];

	return d->kind == DEVICE_NET ? machine_child_tap(m, d, m->tap[i], process)
				     : machine_child_image(m, d, m->image[i], process);
}

static int make_vhost_user(struct machine *m, u32 i, const char *socket, struct machine_path *p)
{
	int err = 0;

	if (!socket)
		err = make_process(m, i, &p->process);
	else if (!(p->socket = strdup(socket)))
		err = -ENOMEM;
	if (!err)
		err = m->cfg->device[i].kind == DEVICE_NET ? make_for_net(m, i, p)
							   : make_for_disk(m, i, p);
	if (err && p->process)
		machine_explain_child(p->process, err);
	return err;
}

/* Free it. The device is not at it, or has freed the path itself. */
static void free_path(struct machine *m, struct machine_path *p)
{
	datapath_destroy(p->path);
	peer_destroy(p->stand_in);
	if (p->process)
		machine_end_child(m, p->process);
	free(p->socket);
	*p = (struct machine_path){ 0 };
}

/* Returns 0 and what it needs in *p, or -errno after a message. */
static int make_path(struct machine *m, u32 i, u32 kind, const char *socket, struct machine_path *p)
{
	int err = 0;

	*p = (struct machine_path){ 0 };
	if (kind == PATH_VHOST_NET)
		err = vhost_net_create(&p->path, &m->env, m->tap[i]);
	if (kind == PATH_VHOST_USER)
		err = make_vhost_user(m, i, socket, p);
	if (err)
		free_path(m, p);
	return err;
}

/* ---- the start ---- */

static int begin(struct machine *m, u32 i)
{
	const struct device_config *d = &m->cfg->device[i];
	struct virtio_dev *v = m->virtio[i];
	struct machine_path p;

	for (u32 kind = PATH_VHOST_NET; kind <= PATH_VHOST_USER; kind++) {
		int err;

		if (!(d->switches >> kind & 1))
			continue;
		err = make_path(m, i, kind, NULL, &p);
		if (err)
			return err;
		virtio_limit_features(v, p.path);
		if (kind != config_path(d)) {
			free_path(m, &p);
			continue;
		}
		m->path[i] = p;
		virtio_set_path(v, p.path);
	}
	return 0;
}

int machine_begin_switching(struct machine *m, u32 i, struct virtio_dev *v)
{
	int err;

	m->virtio[i] = v;
	err = begin(m, i);
	if (!err)
		return 0;
	virtio_destroy(v);
	m->virtio[i] = NULL;
	return err;
}

void machine_end_switching(struct machine *m)
{
	for (u32 i = 0; i < m->cfg->ndevices; i++) {
		m->path[i].path = NULL; /* freed with the device */
		free_path(m, &m->path[i]);
	}
}

/* ---- the switch ---- */

static int explain(int err, const struct virtio_dev *v, const struct virtio_switch *s,
		   const char *to, char *why, size_t size)
{
	char names[160];

	switch (err) {
	case -EOPNOTSUPP:
		virtio_feature_names(v, s->missing, names, sizeof(names));
		return fail(err, why, size, "%s can't serve what the driver has: %s", to, names);
	case -EBUSY:
		return fail(err, why, size,
			    "a frame or request is under way that only the present data path can "
			    "finish; try again");
	case -ENOTRECOVERABLE:
		return fail(err, why, size, "the device waits for its driver to reset it");
	case -EIO:
		return fail(err, why, size, "%s could not be prepared or started; see the log", to);
	default:
		return fail(err, why, size, "%s: %s", to, strerror(-err));
	}
}

static int try_switch(struct virtio_dev *v, struct datapath *next, struct virtio_switch *s)
{
	int err = -EBUSY;

	for (u32 n = 0; n < BUSY_TRIES && err == -EBUSY; n++) {
		struct datapath *path = next;

		if (n)
			usleep(BUSY_US);
		err = virtio_switch_path(v, &path, s);
	}
	return err;
}

static void restore_peer(struct virtio_dev *v)
{
	if (virtio_is_net(v))
		virtio_net_restore_peer(v);
}

static u64 gap_ns(const struct virtio_switch *s)
{
	return s->quiesce_ns + s->hand_over_ns + s->restart_ns;
}

static void count_move(struct machine_moves *moves, const struct virtio_switch *s)
{
	moves->n++;
	moves->last = *s;
	if (gap_ns(s) > moves->longest_ns)
		moves->longest_ns = gap_ns(s);
}

int machine_switch(struct machine *m, u32 i, const char *to, const char *socket,
		   struct virtio_switch *s, char *why, size_t size)
{
	const struct device_config *d = &m->cfg->device[i];
	int kind = config_path_kind(to), err;
	struct virtio_dev *v = m->virtio[i];
	struct machine_path p;

	if (!d->switches)
		return fail(-EINVAL, why, size, "%s was not started with switch=", d->id);
	if (kind < 0 || !(d->switches >> kind & 1))
		return fail(-EINVAL, why, size, "%s was started with switch=%s, without %s", d->id,
			    d->switch_text, to);
	if (socket && kind != PATH_VHOST_USER)
		return fail(-EINVAL, why, size, "a socket is for vhost-user");
	err = make_path(m, i, kind, socket, &p);
	if (err) {
		restore_peer(v);
		return fail(err, why, size, "%s can't be had; see the log", to);
	}
	err = try_switch(v, p.path, s);
	if (err) {
		free_path(m, &p);
		restore_peer(v);
		return explain(err, v, s, to, why, size);
	}
	log_info("%s: %s serves it now, after %llu us without service", d->id, to,
		 (unsigned long long)gap_ns(s) / 1000);
	count_move(&m->moves[i], s);
	free_path(m, &m->path[i]);
	m->path[i] = p;
	restore_peer(v); /* the last one may have left its own settings */
	return 0;
}
