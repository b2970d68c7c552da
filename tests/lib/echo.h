/* SPDX-License-Identifier: MIT */
/*
 * echo.h - a virtio device for tests: it copies what the driver sends into what the driver gave to
 * write, at once or, on demand, much later. So a test can have requests in flight at any moment.
 */
#ifndef TESTS_ECHO_H
#define TESTS_ECHO_H

#include "minivmm/virtio.h"

#define ECHO_ID		   63
#define ECHO_QUEUES	   2
#define ECHO_SIZE	   64
#define ECHO_CONFIG	   "echo\1\2\3\4...."
#define ECHO_CONFIG_LEN	   12
#define ECHO_WRITABLE	   8 /* from here on the driver may write */
#define ECHO_F_PLAIN	   0 /* a feature */
#define ECHO_F_NEEDS_PLAIN 1 /* one that the device refuses without the other */

int echo_create(struct virtio_dev **v, const struct machine_env *env,
		const struct virtio_options *o);

/* From now on keep what comes; or no longer. Any thread. */
void echo_hold(struct virtio_dev *v, bool on);
/* How many chains it keeps. */
u32 echo_held(struct virtio_dev *v);
/* Answer all that it keeps, the last one first. Not on a queue's loop. */
void echo_release(struct virtio_dev *v);
/* How often each hook was called, and chains were answered. */
struct echo_calls {
	u32 driver_ok, config_written, reset, quiesce, answers;
};
struct echo_calls echo_calls(struct virtio_dev *v);

#endif
