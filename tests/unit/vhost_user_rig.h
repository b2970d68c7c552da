/* SPDX-License-Identifier: MIT */
/*
 * vhost_user_rig.h - a front end that follows a script, and a device behind the vhost-user server: at the
 * two ends of a socket pair, without a VMM. No loop runs; vu_settle() lets the server do what waits.
 */
#ifndef TESTS_UNIT_VHOST_USER_RIG_H
#define TESTS_UNIT_VHOST_USER_RIG_H

#include "devices/datapath/vhost_user_msg.h"
#include "minivmm/devices.h"
#include "minivmm/vhost_user_server.h"
#include "minivmm/virtio.h"
#include "tests/lib/ring_driver.h"
#include "tests/unit/unit.h"

#define VU_GPA	 0x100000ULL /* the front end's memory: in the guest, and in its process */
#define VU_USER	 0x7f0000000000ULL
#define VU_RAM	 (4 * MIB)
#define VU_RINGS (VU_GPA + 0x1000)
#define VU_DATA	 (VU_GPA + MIB)
#define VU_SIZE	 64
#define VU_LEN	 64 /* bytes of a request of vu_submit() */

/* The base of a ring that has not been used: packed rings have wrap counters in it. */
#define VU_FIRST_BASE(packed) ((packed) ? 0x80008000 : 0)

struct vu {
	struct rig rig; /* the server's side */
	struct virtio_dev *v;
	struct vhost_user_server *server;
	u32 gone; /* how often a front end has left */

	int sock; /* the front end's side */
	struct mem ram;
	struct ring_driver ring[4];
	u32 nrings;
	int kick, call, err; /* of ring 0 */
	u64 features;
};
extern struct vu vu;

/* A device, the server, and a connection on which nothing has been said. vu_end() checks that nothing is
 * left. */
void vu_begin(struct virtio_dev *(*create)(const struct machine_env *env), bool packed);
void vu_end(void);

/* The queues' loop, if it is not the server's; set before vu_begin(). */
extern struct loop *vu_io_loop;

/* An entropy device of one queue, and a disk of 64 KiB with two, whose content is vu_disk. */
struct virtio_dev *vu_rng(const struct machine_env *env);
struct virtio_dev *vu_blk(const struct machine_env *env);
extern int vu_disk;

/* A network device of two pairs, whose frames go to nobody. */
struct virtio_dev *vu_net(const struct machine_env *env);

void vu_settle(void);

/* Send a message whose payload is `len` bytes, with descriptors. */
void vu_send(u32 request, u32 flags, const void *payload, u32 len, const int *fds, u32 nfds);
void vu_num(u32 request, u64 num);		/* a u64 */
void vu_state(u32 request, u32 index, u32 num); /* a vring state */
void vu_fd(u32 request, u32 index, int fd);	/* KICK, CALL, ERR; -1: none */
void vu_addr(u32 index, const struct vhost_user_addr *a);

/* The next message from the server. */
void vu_reply(struct vhost_user_msg *m);
u64 vu_ask(u32 request); /* a u64 for an empty request */

/* The connection is still there; or it is closed, after one line that has `part`. */
void vu_alive(void);
void vu_closed(const char *part);

/* In steps: features, the memory, ring `i`. vu_up() is all of it, with ring 0 enabled. */
void vu_features(u64 features);
void vu_memory(void);
void vu_ring(u32 i, u32 base);
void vu_enable(u32 i, bool on);
void vu_up(void);

/* Make `n` buffers of VU_LEN bytes at `gpa` available on ring 0, to be written, and kick. */
void vu_submit(u64 gpa, u32 n);
/* How many have come back since, each with VU_LEN bytes. */
u32 vu_answered(void);
/* Stop ring 0: what GET_VRING_BASE gives. */
u32 vu_base(void);

/* One region of the front end's memory. */
struct vhost_user_region vu_region(void);

/* One more front end, if there is none now. */
void vu_connect(void);

/* Has the eventfd been signalled? */
bool vu_signalled(int fd);

#endif
