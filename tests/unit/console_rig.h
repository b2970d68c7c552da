/* SPDX-License-Identifier: MIT */
/*
 * console_rig.h - what the suites on the console share: a console whose port 0 lies between two
 * pipes and whose other ports are UNIX sockets, and the driver's side of it.
 */
#ifndef TESTS_UNIT_CONSOLE_RIG_H
#define TESTS_UNIT_CONSOLE_RIG_H

#include "minivmm/stream.h"
#include "tests/unit/virtio_driver.h"

#include <linux/virtio_console.h>

#define CONSOLE_RX	   0
#define CONSOLE_TX	   1
#define CONSOLE_CONTROL_RX 2
#define CONSOLE_CONTROL_TX 3

#define CONSOLE_MODES	   (VDRV_BUSES * 2)
#define CONSOLE_BUFS	   64

#define CONSOLE_MULTIPORT  VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT)

/* Offsets in the configuration space. */
#define CONSOLE_CONFIG_COLS  0
#define CONSOLE_CONFIG_MAX   4
#define CONSOLE_CONFIG_EMERG 8

struct console_rig {
	struct vdrv d;
	u32 nports;
	struct stream s[VIRTIO_CONSOLE_PORTS_MAX];
	int in, out; /* we write to `in` and read from `out`, and neither blocks */
	char dir[32];
	struct ring_buf posted[VIRTIO_QUEUES_MAX][CONSOLE_BUFS]; /* by id */
};

/* A console of `nports` ports on transport and ring format number `mode`. Ports from 1 on are
 * called "port.N". */
void console_rig_init(struct console_rig *c, int mode, u32 nports, bool threads);
void console_rig_free(struct console_rig *c);

/* The same without threads, and up and running with all features. */
void console_plug(struct console_rig *c, int mode, u32 nports);

/* Create it with `env` and streams as above, which are closed by the second. */
int console_make(struct console_rig *c, struct virtio_dev **v, const struct machine_env *env,
		 const struct virtio_options *o, u32 nports);
void console_unmake(struct console_rig *c);

/* Connect to the socket of port `port`. */
int console_connect(struct console_rig *c, u32 port);

/* Give the device a buffer of `len` bytes to write to. */
void console_post(struct console_rig *c, u32 q, u32 len);

/* What it has written: the next buffer to come back, and its length. NULL: there is none. */
const u8 *console_received(struct console_rig *c, u32 q, u32 *len);

/* Lets the loop run: nothing has been written. */
bool console_nothing_received(struct console_rig *c, u32 q);

/* What the driver has received from queue `q`, in one buffer. */
#define expect_received(c, q, text)                               \
	do {                                                      \
		u32 len_ = 0;                                     \
		const u8 *got_ = console_received((c), q, &len_); \
		ck_assert_ptr_nonnull(got_);                      \
		ck_assert_uint_eq(len_, sizeof(text) - 1);        \
		ck_assert_mem_eq(got_, text, sizeof(text) - 1);   \
	} while (0)

/* Make `text` available for the device to read. */
void console_submit(struct console_rig *c, u32 q, const void *text, u32 len);

/* The same for the string `text` and port 0. */
void console_print(struct console_rig *c, const char *text);

/* Take back what was made available to be read. Returns how many chains. */
u32 console_printed(struct console_rig *c, u32 q);

/* What has come out of port 0, until the next call. Lets the loop run before. */
const char *console_shown(struct console_rig *c);

/* Let the loop run, and forget what interrupts there were. */
void console_settle(struct console_rig *c);

/* Type `text` into port 0. */
void console_type(struct console_rig *c, const char *text);

/* Send a control message and take it back. */
void console_tell(struct console_rig *c, u32 id, u16 event, u16 value);

/* The next control message is this, followed by `tail`. */
#define expect_told(c, id, event, value, tail) \
	console_expect(c, id, VIRTIO_CONSOLE_##event, value, tail, sizeof(tail) - 1)
void console_expect(struct console_rig *c, u32 id, u16 event, u16 value, const void *tail, u32 len);

/* There is none. */
void console_expect_silence(struct console_rig *c);

/* With MULTIPORT: buffers for control messages, DEVICE_READY, and PORT_READY for all ports. All
 * that they bring has been received. */
void console_handshake(struct console_rig *c);

#endif
