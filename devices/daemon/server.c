// SPDX-License-Identifier: MIT
/*
 * server.c - the vhost-user server: the socket, the connection, one message after the other.
 *
 *	listen ──> a front end ──> message ──> requests.c ──> reply, acknowledgement or none
 *	   ^                          │
 *	   │         it leaves, or is refused something
 *	   └── the device is reset, its memory and rings forgotten
 *
 * How it works: while a front end is there nobody else is let in; who connects meanwhile waits in the
 * socket's backlog. A message that has begun is waited for, though not for long: MESSAGE_MS is how long a
 * front end that stalls can keep us from a signal.
 *
 * What the device has to say goes the other way, on the channel that the front end has made for it: that
 * its configuration has changed, which it also signals when it needs a reset.
 *
 * Threads: the main loop's.
 * Where to read next: requests.c, rings.c, memory.c.
 */
#include "devices/daemon/server.h"
#include "minivmm/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MS 1000
#define AWAKE_NS   200000 /* the next message, as a switch asks the last back end to stop */

struct vhost_user_server {
	struct server s;
};

int server_refuse(struct server *s, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- the connection ---- */

static void listen_on(struct server *s)
{
	if (s->listen.fd >= 0 && loop_add(s->loop, &s->listen, EPOLLIN))
		log_err("vhost-user: no further front end can be let in");
}

/* The front end is gone, or has to go: all is as it was before it came. */
static void disconnect(struct server *s)
{
	loop_del(s->loop, &s->client);
	close(s->client.fd);
	s->client.fd = -1;
	rings_forget(s);
	device_reset(s);
	memory_forget(s);
	inflight_forget(s);
	log_forget(s);
	if (s->back >= 0)
		close(s->back);
	s->back = -1;
	s->features = s->protocol = s->status = 0;
	s->features_given = s->begin_disabled = false;
}

static void client_gone(struct server *s)
{
	disconnect(s);
	listen_on(s);
	s->o.gone(s->o.arg);
}

static int reply(struct server *s, struct vhost_user_msg *m)
{
	m->hdr.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	return vhost_user_send(s->client.fd, m);
}

/* REPLY_ACK: zero is success. */
static int acknowledge(struct server *s, u32 request, bool failed)
{
	struct vhost_user_msg m = { .hdr = { .request = request, .size = sizeof(m.num) },
				    .num = failed };

	return reply(s, &m);
}

static void client_ready(struct loop_fd *lf, u32 events)
{
	struct server *s = container_of(lf, struct server, client);
	struct vhost_user_msg m;
	u32 request, flags;
	int err;

	(void)events;
	err = vhost_user_recv_within(lf->fd, &m, MESSAGE_MS);
	if (err) {
		if (err != -ECONNRESET)
			log_warn("vhost-user: the front end's message can't be read (%s): the "
				 "connection is closed",
				 err == -EPROTO ? "it is none of the protocol's" : strerror(-err));
		client_gone(s);
		return;
	}
	request = m.hdr.request;
	flags = m.hdr.flags;
	s->why[0] = '\0';
	err = server_handle(s, &m);
	if (err > 0) {
		int sent = reply(s, &m);

		err = sent ? server_refuse(s, sent, "no reply can be sent: %s", strerror(-sent))
			   : 0;
	} else if (flags & VHOST_USER_NEED_REPLY &&
		   s->protocol & 1ULL << VHOST_USER_PROTOCOL_F_REPLY_ACK) {
		int sent = acknowledge(s, request, err);

		if (!err && sent)
			err = server_refuse(s, sent, "no reply can be sent: %s", strerror(-sent));
	}
	vhost_user_close_fds(&m);
	loop_stay_awake(s->loop, AWAKE_NS);
	if (err) {
		log_warn("vhost-user: %s: %s: the connection is closed",
			 server_request_name(request), s->why);
		client_gone(s);
	}
}

static int connect_client(struct server *s, int fd)
{
	s->client.fd = fd;
	return loop_add(s->loop, &s->client, EPOLLIN);
}

static void listen_ready(struct loop_fd *lf, u32 events)
{
	struct server *s = container_of(lf, struct server, listen);
	int fd = accept4(lf->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) /* it has gone already, or there is no descriptor: it waits */
		return;
	loop_del(s->loop, lf);
	if (connect_client(s, fd)) {
		close(fd);
		s->client.fd = -1;
		listen_on(s);
	}
}

/* ---- from the device ---- */

/* Its configuration has changed, or it needs a reset. */
static void config_changed(struct irq *irq)
{
	struct server *s = container_of(irq, struct server, config_irq);
	struct vhost_user_msg m = { .hdr = { .request = VHOST_USER_BACKEND_CONFIG_CHANGE,
					     .flags = VHOST_USER_VERSION } };

	if (virtio_status_read(s->v) & VIRTIO_CONFIG_S_NEEDS_RESET) {
		for (u32 i = 0; i < s->o.nqueues; i++)
			ring_error(&s->ring[i]);
	}
	if (s->back < 0 || !(s->protocol & 1ULL << VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	/* Whether the socket blocks is the front end's to say. */
	if (send(s->back, &m.hdr, sizeof(m.hdr), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(m.hdr)) {
		log_warn("vhost-user: the front end does not read our requests: no more are made");
		close(s->back);
		s->back = -1;
	}
}

/* ---- making and freeing ---- */

static int create(struct server *s)
{
	int err = irqchip_create(&s->irqchip);

	if (!err)
		err = irq_init(&s->config_irq, s->irqchip);
	if (!err)
		err = irq_to_notify(&s->config_irq, s->loop, config_changed);
	if (!err)
		err = rings_create(s);
	if (err) {
		log_err("the vhost-user server can't be made: %s", strerror(-err));
		return err;
	}
	virtio_attach(s->v, &s->config_irq);
	if (s->listen.fd >= 0) {
		err = loop_add(s->loop, &s->listen, EPOLLIN);
	} else {
		fd_nonblocking(s->o.fd);
		err = connect_client(s, s->o.fd);
	}
	if (err)
		log_err("the vhost-user socket: %s", strerror(-err));
	return err;
}

int vhost_user_server_create(struct vhost_user_server **out,
			     const struct vhost_user_server_options *o)
{
	struct vhost_user_server *vs = calloc(1, sizeof(*vs));
	struct server *s = &vs->s;
	int err;

	if (!vs) {
		close(o->listener < 0 ? o->fd : o->listener);
		return -ENOMEM;
	}
	s->o = *o;
	s->v = o->v;
	s->mem = o->v->env->mem;
	s->loop = o->v->env->loop;
	s->listen = (struct loop_fd){ .fd = o->listener, .ready = listen_ready };
	s->client = (struct loop_fd){ .fd = -1, .ready = client_ready };
	s->back = s->logfd = -1;
	err = create(s);
	if (err) {
		if (o->listener < 0 && s->client.fd < 0)
			close(o->fd); /* it has not come so far */
		vhost_user_server_destroy(vs);
		return err;
	}
	*out = vs;
	return 0;
}

void vhost_user_server_destroy(struct vhost_user_server *vs)
{
	struct server *s;

	if (!vs)
		return;
	s = &vs->s;
	if (s->client.fd >= 0)
		disconnect(s);
	if (s->listen.fd >= 0) {
		loop_del(s->loop, &s->listen);
		close(s->listen.fd);
	}
	rings_destroy(s);
	irq_destroy(&s->config_irq);
	irqchip_destroy(s->irqchip);
	free(vs);
}
