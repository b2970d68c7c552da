// SPDX-License-Identifier: MIT
/*
 * log.c - the log of written pages, by which the front end moves a machine that runs. Vhost-user Protocol,
 * "Migration".
 *
 *	SET_LOG_BASE	the log itself, shared memory that the front end has made
 *	SET_LOG_FD	an eventfd to be signalled when something has been marked; optional
 *	SET_FEATURES	with VHOST_F_LOG_ALL: what is written from now on is marked; without: no longer
 *	SET_VRING_ADDR	with VHOST_VRING_F_LOG: in the used ring, too, as if it lay where `log` says
 *
 * How it works: a ring that runs is stopped and started again at each of these messages, so what it marks is
 * fixed while it runs (struct vq_cfg); devices/virtio/vq_log.c does the marking.
 *
 * Threads: the main loop's; no ring runs meanwhile.
 */
#include "devices/daemon/server.h"

#include <errno.h>
#include <linux/vhost_types.h>
#include <string.h>
#include <unistd.h>

int log_set(struct server *s, const struct vhost_user_log *l, int fd)
{
	struct mem_log log;
	int err = mem_log_open(&log, fd, l->mmap_offset, l->mmap_size);

	if (err)
		return server_refuse(s, err, "0x%llx bytes from 0x%llx on: %s",
				     (unsigned long long)l->mmap_size,
				     (unsigned long long)l->mmap_offset,
				     err == -EINVAL ? "they are not in the file" : strerror(-err));
	mem_log_close(&s->log);
	s->log = log;
	return 0;
}

void log_set_fd(struct server *s, int fd)
{
	if (s->logfd >= 0)
		close(s->logfd);
	s->logfd = fd;
}

void log_forget(struct server *s)
{
	mem_log_close(&s->log);
	log_set_fd(s, -1);
	s->log_all = false;
}

int log_of(const struct ring *r, struct vq_cfg *cfg)
{
	struct server *s = r->s;

	if (!s->log_all || !s->log.map)
		return 0;
	if (!mem_log_covers(&s->log, s->mem))
		return server_refuse(s, -EINVAL, "the log of 0x%llx bytes is too small",
				     (unsigned long long)s->log.size);
	cfg->log = &s->log;
	cfg->logfd = s->logfd;
	cfg->log_ring = r->addr.flags & 1 << VHOST_VRING_F_LOG;
	cfg->log_device = r->addr.log;
	return 0;
}
