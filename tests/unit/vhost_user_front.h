/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_front.h - what the suites on the front end of vhost-user share: a device of two queues that the
 * back end of fake_back_end.h serves, with a driver. (The other side, our back end: vhost_user_rig.h.)
 *
 *	fe_begin(mode);		a machine and a back end: change fe.be, fe.o and fe.d.options now
 *	fe_start();		the back end listens, the device is plugged, a driver starts it
 *	fe_request(0, 7);
 *	be_end(&fe.be);		the back end goes,
 *	be_listen(&fe.be);	the next one comes
 *	fe_end();
 *
 * `mode` is transport and ring format, as echo_rig.h has them. The back end gives back in each chain what the
 * driver sent in it.
 */
#ifndef TESTS_UNIT_VHOST_USER_FRONT_H
#define TESTS_UNIT_VHOST_USER_FRONT_H

#include "minivmm/datapath.h"
#include "tests/unit/echo_rig.h"
#include "tests/unit/fake_back_end.h"

#define FE_SIZE	      64  /* descriptors of a queue */
#define FE_LEN	      100 /* bytes of a request, there and back */
#define FE_CONFIG_LEN 12

struct front_end {
	struct vdrv d; /* the device, and its driver */
	struct back_end be;
	struct virtio_vhost_user_options o;
};
extern struct front_end fe;

/* A device of type ECHO_ID. */
void fe_begin(int mode);
/* A disk. The back end keeps no record of what is in flight, so that split rings are relayed. */
void fe_begin_disk(int mode);

/* As virtio_*_create(), with fe.o. */
int fe_create(struct virtio_dev **v, const struct machine_env *env, const struct virtio_options *o);
/* The back end listens, and the device is plugged; fe_start(): a driver starts it. */
void fe_plug(void);
void fe_start(void);
/* fe_begin() and fe_start(), with these protocol features more. */
void fe_start_with(int mode, u64 protocol);
/* fe_begin_disk() and fe_start(), with split rings on transport `bus`: the front end says that it relays. */
void fe_start_disk(int bus);
/* Takes apart what there is, and checks that nothing is left. */
void fe_end(void);

/* The device can't be made, and a line says why. fe_end(). */
void fe_refused(const char *why);

/* The back end goes, and the front end has seen it. */
void fe_lose(void);

#define fe_wait_until(what) vdrv_wait_until(&fe.d, what)

/* One request, on its way or back: what is sent, and what is given to write to. */
struct fe_req {
	struct ring_buf buf[2];
	u8 byte; /* all that is sent */
	int id;
};

/* Make one available in queue `q`. */
struct fe_req fe_submit(u32 q, u8 byte);
/* One of `n` requests comes back as it was sent, each no more than once: its id is -1 then. */
void fe_wait_one(u32 q, struct fe_req *r, u32 n);
/* All of them do, and nothing else. */
void fe_wait_all(u32 q, struct fe_req *r, u32 n);
/* A request there and back, with its interrupt, and nothing else. */
void fe_request(u32 q, u8 byte);

#endif
