// SPDX-License-Identifier: MIT
/*
 * console_rig.c - see console_rig.h.
 */
#include "tests/unit/console_rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void socket_path(struct console_rig *c, u32 port, char path[64])
{
	snprintf(path, 64, "%s/%u", c->dir, port);
}

/* Pipes as small as there are. */
static void open_pipes(struct console_rig *c)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fcntl(in[1], F_SETPIPE_SZ, 4096);
	fcntl(out[1], F_SETPIPE_SZ, 4096);
	stdio_begin(in[0], out[1]);
	ck_assert_int_eq(stream_open_stdio(&c->s[0]), 0);
	stdio_end();
	close(in[0]);
	close(out[1]);
	c->in = in[1];
	c->out = out[0];
	fcntl(c->in, F_SETFL, O_NONBLOCK);
	fcntl(c->out, F_SETFL, O_NONBLOCK);
}

int console_make(struct console_rig *c, struct virtio_dev **v, const struct machine_env *env,
		 const struct virtio_options *o, u32 nports)
{
	static char names[VIRTIO_CONSOLE_PORTS_MAX][16];
	struct virtio_console_port ports[VIRTIO_CONSOLE_PORTS_MAX] = { 0 };
	char path[64];

	c->nports = nports;
	strcpy(c->dir, "/tmp/minivmm-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(c->dir));
	for (u32 i = 0; i < nports; i++) {
		stream_init(&c->s[i], env->loop);
		ports[i].stream = &c->s[i];
		if (i == 0)
			continue;
		snprintf(names[i], sizeof(names[i]), "port.%u", i);
		ports[i].name = names[i];
		socket_path(c, i, path);
		ck_assert_int_eq(stream_open_unix(&c->s[i], path), 0);
	}
	open_pipes(c);
	return virtio_console_create(v, env, o, ports, nports);
}

void console_unmake(struct console_rig *c)
{
	for (u32 i = 0; i < c->nports; i++)
		stream_close(&c->s[i]);
	close(c->in);
	close(c->out);
	ck_assert_int_eq(rmdir(c->dir), 0);
}

void console_rig_init(struct console_rig *c, int mode, u32 nports, bool threads)
{
	struct virtio_dev *v = NULL;

	memset(c, 0, sizeof(*c));
	vdrv_init(&c->d, mode % VDRV_BUSES, mode >= VDRV_BUSES);
	if (threads)
		vdrv_threads(&c->d);
	ck_assert_int_eq(console_make(c, &v, &c->d.rig->r.env, &c->d.options, nports), 0);
	vdrv_attach(&c->d, v);
}

void console_rig_free(struct console_rig *c)
{
	vdrv_unplug(&c->d);
	console_unmake(c);
	vdrv_free(&c->d);
}

void console_plug(struct console_rig *c, int mode, u32 nports)
{
	console_rig_init(c, mode, nports, false);
	vdrv_start(&c->d, ~0ULL);
}

int console_connect(struct console_rig *c, u32 port)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char path[64];

	socket_path(c, port, path);
	strcpy(addr.sun_path, path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	console_settle(c);
	return fd;
}

void console_post(struct console_rig *c, u32 q, u32 len)
{
	struct ring_buf buf = { vdrv_alloc(&c->d, len), len };
	int id = vdrv_submit(&c->d, q, &buf, 0, 1);

	c->posted[q][id] = buf;
}

const u8 *console_received(struct console_rig *c, u32 q, u32 *len)
{
	int id = ring_get(&c->d.q[q].ring, len);
	struct ring_buf *buf;

	if (id < 0)
		return NULL;
	buf = &c->posted[q][id];
	ck_assert_uint_le(*len, buf->len);
	return vdrv_ptr(&c->d, buf->gpa, buf->len);
}

bool console_nothing_received(struct console_rig *c, u32 q)
{
	u32 len;

	console_settle(c);
	return !console_received(c, q, &len);
}

void console_submit(struct console_rig *c, u32 q, const void *text, u32 len)
{
	struct ring_buf buf = { vdrv_alloc(&c->d, len), len };

	memcpy(vdrv_ptr(&c->d, buf.gpa, len), text, len);
	vdrv_submit(&c->d, q, &buf, 1, 0);
}

void console_print(struct console_rig *c, const char *text)
{
	console_submit(c, CONSOLE_TX, text, strlen(text));
}

u32 console_printed(struct console_rig *c, u32 q)
{
	u32 n = 0, len;

	while (ring_get(&c->d.q[q].ring, &len) >= 0) {
		ck_assert_uint_eq(len, 0);
		n++;
	}
	return n;
}

const char *console_shown(struct console_rig *c)
{
	static char text[8192];
	ssize_t n;

	console_settle(c);
	n = read(c->out, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

void console_settle(struct console_rig *c)
{
	vdrv_settle(&c->d);
	if (c->d.bus == VDRV_PCI_MSIX)
		fake_vm_total(&c->d.rig->r.vm);
}

void console_type(struct console_rig *c, const char *text)
{
	ck_assert_int_eq(write(c->in, text, strlen(text)), strlen(text));
	console_settle(c);
}

void console_tell(struct console_rig *c, u32 id, u16 event, u16 value)
{
	struct virtio_console_control msg = { .id = id, .event = event, .value = value };
	u32 written;

	console_submit(c, CONSOLE_CONTROL_TX, &msg, sizeof(msg));
	vdrv_wait(&c->d, CONSOLE_CONTROL_TX, &written);
	ck_assert_uint_eq(written, 0);
	console_settle(c);
}

void console_expect(struct console_rig *c, u32 id, u16 event, u16 value, const void *tail, u32 len)
{
	struct virtio_console_control msg;
	const u8 *got;
	u32 n = 0;

	got = console_received(c, CONSOLE_CONTROL_RX, &n);
	ck_assert_ptr_nonnull(got);
	ck_assert_uint_eq(n, sizeof(msg) + len);
	memcpy(&msg, got, sizeof(msg));
	ck_assert_uint_eq(msg.event, event);
	ck_assert_uint_eq(msg.id, id);
	ck_assert_uint_eq(msg.value, value);
	ck_assert_mem_eq(got + sizeof(msg), tail, len);
}

void console_expect_silence(struct console_rig *c)
{
	u32 n;

	console_settle(c);
	ck_assert_ptr_null(console_received(c, CONSOLE_CONTROL_RX, &n));
}

void console_handshake(struct console_rig *c)
{
	u32 n;

	for (u32 i = 0; i < 32; i++)
		console_post(c, CONSOLE_CONTROL_RX, 64);
	console_tell(c, VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (u32 i = 0; i < c->nports; i++)
		console_tell(c, i, VIRTIO_CONSOLE_PORT_READY, 1);
	while (console_received(c, CONSOLE_CONTROL_RX, &n))
		console_post(c, CONSOLE_CONTROL_RX, 64);
	console_settle(c);
}
