/* SPDX-License-Identifier: MIT */
/*
 * vhost_user.h - the data path that is another process: a vhost-user back end at a UNIX socket.
 *
 * Threads: as in datapath.h. The functions here may be called from any thread but a handler that the
 * caller's own lock waits for; they wait for the back end's answer, at most timeout_ms for each.
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_H
#define DEVICES_DATAPATH_VHOST_USER_H

#include "minivmm/datapath.h"

struct machine_env;
struct vhost_user_process;
struct vhost_user;

struct vhost_user_options {
	const char *option; /* "disk": the one that asks for it, for messages */
	const char *path;   /* of the socket */
	struct vhost_user_process
		*process; /* devices.h: in the place of a socket; NULL: there is one */
	bool server;	  /* listen there; else connect */
	u32 nqueues;	  /* it serves queues 0 to nqueues - 1 */
	u32 queue_num;	  /* how many the back end must have, as it counts them itself */
	u16 queue_size;	  /* the largest that a queue can be */
	u32 config_len; /* bytes of configuration space that the back end must have; 0: it has none */
	u64 needs;	/* features that it must have */
	u64 ours;	/* features that it has no part in */
	u64 withheld;	/* features that nobody is offered, though it has them */
	/* A network device: the back end counts its queues in pairs. Without VIRTIO_NET_F_MQ there is one pair,
	 * and until use_pairs() one works. */
	bool net;
	u16 mtu; /* of a network device, as the driver is told; 0: it is not */
	/* Without a record of its own the used index tells what it has done: it uses chains in order. */
	bool in_order;
	/* A request can be done twice: vhost_user_relay.c says what that means. */
	bool repeatable;
	/* The transport can have a page of the back end's in the place of each doorbell. */
	bool pages;
	u32 timeout_ms; /* for each answer; 0: VHOST_USER_TIMEOUT_MS */

	/* A back end offers these features and has this configuration space (config_len bytes): why is it none for
	 * the device? Writes so to `why` and returns false. May take a config_lock. NULL: it need not be asked. */
	bool (*fits)(void *owner, int sock, u64 features, const u8 *config, char *why, size_t size);
	/* Called on the main loop, without a lock. NULL: nobody wants to know. */
	void (*config_changed)(void *owner, const u8 *config); /* config_len bytes */
	void (*link_changed)(void *owner, bool up);	       /* the back end has come or gone */
	void *owner;
};

#define VHOST_USER_TIMEOUT_MS 10000

/*
 * Connect to the back end, or wait for it to connect, and agree on what both can do. `env` and o->path
 * outlive it. Returns 0 and the data path in *path, or -errno after a line in the log.
 */
int vhost_user_create(struct datapath **path, const struct machine_env *env,
		      const struct vhost_user_options *o);

/* What the back end offers, of all virtio features. */
u64 vhost_user_features(struct datapath *path);

/* The configuration space as the back end last told it: o->config_len bytes. */
void vhost_user_config(struct datapath *path, u8 *config);

/* The driver has written these bytes; in `config`, what the configuration space is then. Any thread that
 * may wait. */
void vhost_user_config_written(struct datapath *path, u32 off, const u8 *buf, u32 len, u8 *config);

#endif
