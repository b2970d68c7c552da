/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_internal.h - what the files of the data path share.
 *
 *	vhost_user.c		the data path: what a back end is handed, and takes over from another
 *	vhost_user_start.c	the rings: given to the back end, and given back
 *	vhost_user_link.c	which back end there is, and what it says by itself
 *	vhost_user_net.c	what a network device has besides
 *	vhost_user_log.c	the log of written pages
 *	vhost_user_notify.c	doorbells that are pages of the back end's
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_INTERNAL_H
#define DEVICES_DATAPATH_VHOST_USER_INTERNAL_H

#include "devices/datapath/vhost_user.h"
#include "devices/datapath/vhost_user_conn.h"
#include "devices/datapath/vhost_user_relay.h"
#include "minivmm/loop.h"
#include "minivmm/virtio.h"

#include <sys/un.h>

#define VHOST_USER_TOLD_MAX 16 /* a back end must not fill the log */

struct vhost_user_ring {
	struct virtio_queue *q; /* NULL: it has not been started */
	struct vq_cfg cfg;
	struct vq_pos pos; /* where it begins; or, stopped, where it was said to stand */
	bool told;	 /* the back end knows all of it that does not depend on where it stands: */
	u16 told_size;	 /* so many descriptors, */
	int told_call;	 /* whom to call, */
	bool told_place; /* and, if this is set, */
	struct vhost_user_addr told_addr; /* where it lies */
	bool due;			  /* the back end is to be told of it, by rings_up() */
	bool up;			  /* the back end has it */
	bool recover; /* the back end that had it has gone: `pos` is no longer true */
	bool rests;   /* not to be enabled */
	bool left; /* it was stopped without a back end: the record may have something in flight */
	u32 rings; /* of which of the queue's rings: q->rings */
};

struct vhost_user_notifier {
	void *page; /* mapped, or NULL */
	bool there; /* in the place of the queue's doorbell */
};

struct vhost_user {
	struct datapath path;

	/* Fixed after creation. */
	const struct machine_env *env;
	struct vhost_user_options o;
	char where[160]; /* the back end is, for messages */
	struct sockaddr_un addr;
	int door;			/* server: listens */
	u64 path_dev, path_ino;		/* server: the file that we made; 0: none */
	struct vhost_user_relay *relay; /* NULL: the back ends have the driver's rings themselves */

	/* Main loop's. */
	struct loop_fd hangup;	 /* the connection, for its end */
	struct loop_fd channel;	 /* the back end's own */
	struct loop_fd greeting; /* the connection, while it is not known whether anybody answers */
	struct loop_fd retry;	 /* timerfd */
	struct loop_fd error;	 /* eventfd: the back end has found a ring broken */
	struct loop_fd fault;	 /* eventfd: the relay has found the back end to lie */
	bool told_up;

	pthread_mutex_t lock; /* guards all below */
	struct vhost_user_conn conn;
	u32 ntold;		/* lines logged about back ends that went, or would not do */
	u64 connected_at;	/* ms */
	u32 retry_ms;		/* how long was waited for the last attempt; who knows that none is
				 * connected may change it */
	u64 offered;		/* what the driver can accept of the back end's features */
	u64 features;		/* what the driver has accepted */
	bool prepared;		/* `features` is valid */
	bool used;		/* this back end has been handed features before */
	bool has_memory;	/* this back end has the guest's memory */
	bool given_up;		/* until the driver begins anew: what was in flight is not known */
	u32 pairs;		/* of a network device: in use */
	bool link;		/* likewise: it is up */
	struct virtio_dev *dev; /* once a queue has been started */
	int record;		/* of what is in flight, or -1 */
	struct vhost_user_inflight record_at;
	const struct mem_log *log; /* written pages are marked there, or NULL */
	u8 config[VHOST_USER_CONFIG_MAX];
	struct vhost_user_ring ring[VIRTIO_QUEUES_MAX];
	struct vhost_user_notifier notifier[VIRTIO_QUEUES_MAX];
};

static inline bool vhost_user_connected(const struct vhost_user *vu)
{
	return vu->conn.sock >= 0;
}

/* ---- vhost_user.c; the lock is held ---- */

/* Give the back end all that the last one had. Returns 0, or an error of the connection's. */
int vhost_user_hand_over_all(struct vhost_user *vu);

/* The back end is of no more use, `err` says why. */
void vhost_user_lose(struct vhost_user *vu, int err);

/* The end of something that was tried with the back end: a refusal is told, anything else loses it. Returns
 * `err`. */
int vhost_user_done(struct vhost_user *vu, int err, const char *what);

#define VHOST_USER_FEATURES_OK \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

/* Tell the back end of the device's status, if it wants to know. Returns 0, or an error of the connection's. */
int vhost_user_set_status(struct vhost_user *vu, u32 status);

/* Let queues 0 to n - 1 work and the others rest. */
void vhost_user_enable(struct vhost_user *vu, u32 n);

static inline struct vhost_user *vhost_user_of(struct datapath *d)
{
	return container_of(d, struct vhost_user, path);
}

/* ---- vhost_user_start.c; the lock is held, there is a back end ---- */

/* Tell it what there is to say of the queues of `v` that are enabled before they start. Returns 0, or an error after
 * vhost_user_done(), as the next. */
int vhost_user_introduce_rings(struct vhost_user *vu, const struct virtio_dev *v);

/* Let it have the rings that are due. A ring that is `up` after an error may have been touched: vhost_user_rings_down(). */
int vhost_user_rings_up(struct vhost_user *vu);

/* It gives these rings back (bit i: ring i), those that it has: then they stand at ring[i].pos. If it does not, it is
 * lost. */
void vhost_user_rings_down(struct vhost_user *vu, u64 rings);

/* Tell it that ring `index` is to work or to rest, and where it lies. Return 0 or an error of the connection's. */
int vhost_user_enable_ring(struct vhost_user *vu, u32 index, bool on);
int vhost_user_set_addr(struct vhost_user *vu, const struct vhost_user_addr *addr);

/* ---- vhost_user_net.c ---- */

/* As in datapath.h. */
void vhost_user_use_pairs(struct datapath *d, u32 pairs);
void vhost_user_set_link(struct datapath *d, bool up);
void vhost_user_announce(struct datapath *d, const u8 mac[6]);

/* The driver has accepted its features: tell the back end what the driver is told of the MTU. Returns 0, or
 * an error of the connection's. The lock is held. */
int vhost_user_tell_mtu(struct vhost_user *vu);

/* With the relay: features that are between the driver and us alone. */
#define VHOST_USER_RELAY_OURS VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX)

/* ---- vhost_user_log.c; the lock is held ---- */

/* Tell a back end of the log that there is, before its features; nothing if there is none. Returns 0 or an
 * error of the connection's. */
int vhost_user_share_log(struct vhost_user *vu);

/* Can the back end log, or is there no log? */
bool vhost_user_log_fits(const struct vhost_user *vu);

/* The features of SET_FEATURES: those that were accepted, and the transport's. */
u64 vhost_user_accepted(const struct vhost_user *vu);

/* The back end has gone: mark what it may have written and not marked, which are its rings. */
void vhost_user_log_lost(struct vhost_user *vu);

/* datapath_ops.log_dirty() */
int vhost_user_log_dirty(struct datapath *d, const struct mem_log *log);

/* ---- vhost_user_notify.c ---- */

/* Is this message, on the back end's channel, one about a host notifier that can be? Returns 0 and its page, or NULL
 * if there is to be none any more; or -errno. Without the lock. */
int vhost_user_notifier_check(const struct vhost_user *vu, const struct vhost_user_msg *m,
			      void **page);

/* The page of queue `index` is this, from vhost_user_notifier_check(). Without the lock. */
void vhost_user_notifier_set(struct vhost_user *vu, u32 index, void *page);

/* The back end has ring `index`: its page, if there is one, takes the doorbell's place. The lock is held. */
void vhost_user_notifier_up(struct vhost_user *vu, u32 index);

/* The page, if there is one, is no more. The lock is held. */
void vhost_user_notifier_drop(struct vhost_user *vu, u32 index);

/* ---- vhost_user_link.c ---- */

/* Begin: connect, or wait for the back end, and agree with it. Returns 0, or -errno after a message. */
int vhost_user_link_begin(struct vhost_user *vu);

/* The end, also of what is half made. The main loop's thread, or it does not run. */
void vhost_user_link_end(struct vhost_user *vu);

/* Close the connection, and look for the next back end at once. The lock is held. */
void vhost_user_link_drop(struct vhost_user *vu);

#endif
