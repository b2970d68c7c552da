/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_conn.h - a connection to a vhost-user back end, from the front end's side: requests and what
 * is answered. What the requests are for is told in vhost_user.c.
 *
 * Threads: any, one at a time.
 */
#ifndef DEVICES_DATAPATH_VHOST_USER_CONN_H
#define DEVICES_DATAPATH_VHOST_USER_CONN_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/base.h"

struct mem;
struct mem_region;

struct vhost_user_conn {
	int sock; /* -1: none */
	u32 timeout_ms;
	bool notifiers; /* it may have host notifiers */
	u64 features; /* virtio features offered by the back end, and VHOST_USER_F_PROTOCOL_FEATURES */
	u64 protocol;  /* protocol features in force */
	u32 queue_num; /* how many queues the back end has; 0: it does not say */

	bool closes; /* when it refuses a request: so what is told ahead needs one answer, at the end */

	bool ahead;		       /* between vhost_user_go_ahead() and vhost_user_catch_up() */
	bool silent;		       /* something was told to which no answer comes */
	bool refused;		       /* a request of those that were told ahead */
	u32 nowed;		       /* acknowledgements that are still to come, */
	u32 owed[VHOST_USER_ACKS_MAX]; /* to these requests */
	u8 unsent[1024];	       /* requests without descriptors, which go together */
	u32 nunsent;		       /* bytes */
};

/*
 * All functions return 0 or an error. After -EREMOTEIO, the back end's refusal, the connection is as it
 * was; after any other it is of no more use: -ECONNRESET (hung up), -ETIMEDOUT (no answer within
 * timeout_ms), -EPROTO (an answer that is none) or another -errno.
 */

/* In words, to be put behind "the back end". */
const char *vhost_user_conn_why(int err);

/* A request without a payload yet. */
void vhost_user_msg_init(struct vhost_user_msg *m, u32 request);

/* Send `m` with those to come, in one piece if they fit and bring no descriptors, by vhost_user_send_rest() at the
 * latest. */
int vhost_user_send_later(struct vhost_user_conn *c, const struct vhost_user_msg *m);
int vhost_user_send_rest(struct vhost_user_conn *c);

/* Send `m`, and wait for the acknowledgement if the back end gives any (REPLY_ACK); not between the next two. */
int vhost_user_tell(struct vhost_user_conn *c, struct vhost_user_msg *m);

/* The same with a payload that is one number, or an index and a number. */
int vhost_user_tell_u64(struct vhost_user_conn *c, u32 request, u64 value);
int vhost_user_tell_vring(struct vhost_user_conn *c, u32 request, u32 index, u32 num);

/* The same for VRING_KICK, CALL and ERR. */
int vhost_user_tell_fd(struct vhost_user_conn *c, u32 request, u32 index, int fd);

/*
 * Several requests at once: in between, what is told is but sent (or kept for the next to be sent), and only after
 * VHOST_USER_ACKS_MAX requests waited for; vhost_user_catch_up() then waits for the acknowledgements that are
 * missing. It returns 0, -EREMOTEIO if any was refused, or the error after which nothing more can be had. All have
 * been done then, those behind a refused one, too. A back end that `closes` is asked for one answer only; if it has
 * refused any, that is -ECONNRESET, and nothing behind it has been done.
 */
void vhost_user_go_ahead(struct vhost_user_conn *c);
int vhost_user_catch_up(struct vhost_user_conn *c);

/* Have it answer something, whatever it is. */
int vhost_user_answers(struct vhost_user_conn *c);

/* Wait until the back end has done all that it was told. Nothing to do if it acknowledges each request. */
int vhost_user_sync(struct vhost_user_conn *c);

/*
 * Send `m` and receive into it what is answered: exactly `size` bytes of payload, and `nfds` descriptors,
 * which are the caller's to close.
 */
int vhost_user_ask(struct vhost_user_conn *c, struct vhost_user_msg *m, u32 size, u32 nfds);
/* Its second half: what is answered to `m`, the oldest request that vhost_user_send() has sent and that has no answer. */
int vhost_user_hear(struct vhost_user_conn *c, struct vhost_user_msg *m, u32 size, u32 nfds);
/* The same as vhost_user_ask(), and the payload may be anything. */
int vhost_user_ask_any(struct vhost_user_conn *c, struct vhost_user_msg *m);
int vhost_user_ask_u64(struct vhost_user_conn *c, u32 request, u64 *value);

/*
 * What stands at the beginning of every connection: features and protocol features, the owner, the number
 * of queues. sock and timeout_ms are set.
 */
int vhost_user_negotiate(struct vhost_user_conn *c);

static inline bool vhost_user_has(const struct vhost_user_conn *c, u32 protocol_feature)
{
	return c->protocol >> protocol_feature & 1;
}

/* All of the guest's memory, each region by its descriptor, and one more if `extra`. -ENOSPC: more than the
 * back end takes. */
int vhost_user_share_memory(struct vhost_user_conn *c, const struct mem *mem,
			    const struct mem_region *extra);

/* The first `len` bytes of the configuration space. -EREMOTEIO: the back end does not have so many. */
int vhost_user_get_config(struct vhost_user_conn *c, void *buf, u32 len);

/* The driver has written `len` bytes at `off`. */
int vhost_user_set_config(struct vhost_user_conn *c, u32 off, const void *buf, u32 len);

#endif
