/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_server.h - a virtio device behind a vhost-user socket: the protocol's back end.
 *
 *	front end: a VMM, DPDK	── socket ──>	server	transport of ──>	struct virtio_dev
 *	   its guest's memory and rings, by descriptor		served by the inproc engine
 *
 * The server stands where a transport stands otherwise: it owns the device's memory map, hands it the
 * features and starts and stops its queues as the front end says. One front end at a time; the next one
 * that connects waits until the first is gone, and finds the device reset.
 *
 * A front end that breaks the protocol loses its connection, after one line in the log.
 *
 * Threads: all on the main loop's; queues are served on their own loops.
 */
#ifndef MINIVMM_VHOST_USER_SERVER_H
#define MINIVMM_VHOST_USER_SERVER_H

#include "minivmm/base.h"

struct virtio_dev;
struct vhost_user_server;

struct vhost_user_server_options {
	struct virtio_dev *v; /* without a transport; the caller's, and outlives the server */
	int listener;	      /* a socket that listens and does not block; -1: `fd` */
	int fd;		      /* a connected socket; no other front end comes */
	u32 nqueues;	      /* the front end's, the first of the device's */
	u32 unit;	      /* so many queues are one to GET_QUEUE_NUM: 2 for a network device */
	u64 discards; /* rings, by their bits, that are emptied while they are started and disabled */
	bool poll;    /* wait for no kick; else so with rings that have no eventfd for it */
	bool inflight; /* keep a record of what is in flight, if the front end holds it */
	/* The first `n` queues are enabled; told again and again. NULL: nobody wants to know. */
	void (*enabled)(struct virtio_dev *v, u32 n);
	/* The front end is gone; with `fd` there is no other. */
	void (*gone)(void *arg);
	void *arg;
};

/* What a network device discards: 5.1.2, the transmit queues are the odd ones. */
#define VHOST_USER_TRANSMITS 0xaaaaaaaaaaaaaaaaULL

/* The socket is the server's from now on, also on error. Returns 0, or -errno after one line in the log. */
int vhost_user_server_create(struct vhost_user_server **out,
			     const struct vhost_user_server_options *o);

/* Have the process survive front ends that cut the file of their memory short (SIGBUS): what is gone reads
 * as zeroes. Returns 0 or -errno. */
int vhost_user_guard_memory(void);

/* Ends the connection, too. The loops still run, or don't any more. NULL is allowed. */
void vhost_user_server_destroy(struct vhost_user_server *s);

#endif
