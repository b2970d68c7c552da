/* SPDX-License-Identifier: MIT */
/*
 * server.h - what the files of the vhost-user server share.
 *
 *	server.c	the socket, the connection, one message after the other
 *	requests.c	what each message asks for
 *	rings.c		the life of a ring
 *	memory.c	the front end's memory
 *	inflight.c	the record of what is in flight
 *	log.c		the log of written pages
 *	sigbus.c	memory that is cut short
 *
 * A function that refuses what the front end wants returns -errno, after server_refuse() has kept the
 * reason; the connection then ends with one line in the log.
 *
 * Threads: the main loop's.
 */
#ifndef DEVICES_DAEMON_SERVER_H
#define DEVICES_DAEMON_SERVER_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/irq.h"
#include "minivmm/mem.h"
#include "minivmm/mem_log.h"
#include "minivmm/vhost_user_server.h"
#include "minivmm/virtio.h"

/* As the front end has set it up. */
struct ring {
	struct server *s;
	struct virtio_queue *q;
	struct irq call; /* its eventfd is the front end's, or one that nobody listens to */

	u32 size;
	struct vhost_user_addr addr; /* user addresses */
	bool placed;		     /* there are some */
	struct vq_pos pos;	     /* while it does not run */
	bool base_given; /* .. and it is what the front end said, not yet compared to the ring */
	bool started;	 /* from SET_VRING_KICK to GET_VRING_BASE */
	bool enabled;
	bool running; /* served: started, enabled, and all there that it needs */
	int errfd;    /* -1: none */
};

/* A region as the front end sees it; struct mem has the same ones. */
struct user_region {
	u64 user_addr, gpa, size;
};

struct server {
	/* Fixed after creation. */
	struct vhost_user_server_options o;
	struct virtio_dev *v;
	struct mem *mem;
	struct loop *loop;
	struct loop_fd listen; /* -1: there is no further front end */
	struct irqchip *irqchip;
	struct irq config_irq;
	struct ring *ring; /* o.nqueues */

	/* Of the connection. */
	struct loop_fd client; /* -1: none */
	u64 features, protocol;
	bool features_given;
	bool begin_disabled; /* rings wait for SET_VRING_ENABLE */
	u32 status;
	int back; /* the channel for our own requests; -1: none */
	struct user_region region[MEM_REGIONS_MAX];
	u32 nregions;
	u8 *inflight; /* mapped; NULL: none */
	u64 inflight_size, inflight_step;
	u16 inflight_queues, inflight_queue_size;
	struct mem_log log;
	int logfd;     /* -1: none */
	bool log_all;  /* what is written is marked there */
	char why[160]; /* the reason of a refusal */
};

/* Keep why something is refused. Returns `err`. */
int server_refuse(struct server *s, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- requests.c ---- */

/* Do what `m` asks for. Returns 1 if `m` is the reply now, 0 if there is none, or -errno. What of m->fd[] is
 * still there after it is to be closed. */
int server_handle(struct server *s, struct vhost_user_msg *m);

const char *server_request_name(u32 request);

/* ---- rings.c ---- */

/* Make the rings, and free them. Returns 0 or -errno. */
int rings_create(struct server *s);
void rings_destroy(struct server *s);

/* Start or stop each ring, so that those run that are to. Returns 0 or -errno. */
int rings_update(struct server *s);

/* Stop a ring, or all, each where it stands, until rings_update(). */
void ring_hold(struct ring *r);
void rings_hold(struct server *s);

/* Stop all rings, and forget all that the front end said. */
void rings_forget(struct server *s);

/* May a front end have us take `fd` for an eventfd? */
bool ring_is_eventfd(int fd);

/* Have reads and writes of a descriptor not block. Returns 0 or -errno. */
int fd_nonblocking(int fd);

/* Put the front end's eventfd in the place of ours; -1: one that nobody listens to. Returns 0, -EINVAL (it is
 * none) or -errno. */
int ring_set_kick(struct ring *r, int fd);
int ring_set_call(struct ring *r, int fd);

/* Tell the front end that the ring is in error, if it wants to know. */
void ring_error(struct ring *r);

/* Bring the device up with the front end's features, if it is not. Returns 0 or an error after server_refuse(). */
int device_begin(struct server *s);
/* Have the device reset. No ring runs. */
void device_reset(struct server *s);

/* ---- memory.c ---- */

/* The whole table, in the place of the one there is; one region more; one less. No ring runs. Return 0 or
 * -errno; then the front end's memory is as it was, or all gone. */
int memory_set(struct server *s, const struct vhost_user_msg *m);
int memory_add(struct server *s, const struct vhost_user_region *r, int fd);
int memory_remove(struct server *s, const struct vhost_user_region *r);
void memory_forget(struct server *s);

/* The guest physical address of a user address. False: it is in no region. */
bool memory_gpa(const struct server *s, u64 user_addr, u64 *gpa);

/* ---- inflight.c ---- */

/* A new record for i->nqueues rings of i->queue_size; the rest of `i` is filled in. The descriptor is the
 * caller's, also on error if it is not -1. Use one; no ring runs. Forget it. Return 0 or -errno. */
int inflight_make(struct server *s, struct vhost_user_inflight *i, int *fd);
int inflight_set(struct server *s, const struct vhost_user_inflight *i, int fd);
void inflight_forget(struct server *s);

/* Is there a part of it for the ring, as it is? */
bool inflight_fits(const struct ring *r);

/* A ring's part of it, or NULL. */
void *inflight_of(const struct ring *r);

/* ---- log.c ---- */

/* Use this log; use this eventfd (-1: none), which is ours from now on; forget both. No ring runs. Return 0 or
 * -errno. */
int log_set(struct server *s, const struct vhost_user_log *l, int fd);
void log_set_fd(struct server *s, int fd);
void log_forget(struct server *s);

/* What a ring that starts has to mark. Returns 0 or -errno. */
int log_of(const struct ring *r, struct vq_cfg *cfg);

#endif
