// SPDX-License-Identifier: MIT
/*
 * console.c - virtio console: ports, each a pair of queues and a byte stream. VIRTIO 1.2, 5.3.
 *
 *	queue	0	1	2	3	4	5	...
 *		rx 0	tx 0	control	control	rx 1	tx 1
 *				to the	from the
 *				driver	driver
 *
 * How it works: no byte waits in the device. Output goes from the driver's buffer to the stream;
 * what the stream does not take stays in the ring, whose chain is given back with a note of how far
 * it got (`sent`), until the stream has room. Input is read from the stream into the driver's
 * buffers, and only while there are some. So each side waits for the other, and nothing is lost.
 *
 * A guest could keep one queue busy for ever, and with it the main loop: at most TURN bytes are
 * moved at a time.
 *
 * With several ports, or a named one, MULTIPORT is offered and the control queues carry messages.
 * Those to the driver wait as bits in port->pending until it has a buffer for them; the message is
 * made when it is sent. A console port is always open on our side; a named port is when somebody is
 * at the other end of its stream. With one console port there is no MULTIPORT: a resize is then
 * told by the configuration space, which all drivers understand alike. (Some of Linux's take the
 * columns and rows of a RESIZE message for each other; ours are in the order of 5.3.6.2.)
 *
 * Threads: the main loop, on which the streams live, serves all queues (--iothreads does not apply)
 * and owns all fields from `iov` on. vCPU threads come by loop_call().
 */
#include "devices/datapath/inproc.h"
#include "minivmm/devices.h"
#include "minivmm/stream.h"
#include "minivmm/virtio.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_SIZE 128
#define TURN	   (256 * KIB)
#define CHAIN_COST 64 /* of TURN, for a chain that is as good as empty */

#define CONTROL_RX 2 /* as the driver sees it: it receives */
#define CONTROL_TX 3

/* A bit of port->pending. */
#define MESSAGE(event) (1u << VIRTIO_CONSOLE_##event)

struct port {
	/* Fixed after create. */
	struct console *con;
	u32 id;
	const char *name; /* NULL: a console */
	struct stream *stream;
	struct virtio_queue *rx, *tx;

	/* The window, whatever the driver does; 0: not known. */
	u16 columns, rows;

	/* As far as the queues and the driver have got. */
	bool rx_on, tx_on; /* the queue runs */
	bool added;	   /* the driver has been told of the port */
	bool ready;	   /* and has it */
	bool guest_open;
	u32 pending; /* messages to send: MESSAGE() */
	u64 sent;    /* bytes of tx's next chain that the stream has taken */
	u16 sent_at; /* where that chain stands */
	u32 sent_of; /* and in which of tx's rings */
};

struct console {
	struct virtio_dev v;
	u32 nports; /* fixed after create */

	struct iovec *iov; /* for the chain in hand, of any queue */
	u32 niov;
	bool multiport;	 /* negotiated */
	bool control_on; /* CONTROL_RX runs */
	struct port port[VIRTIO_CONSOLE_PORTS_MAX];
};

static struct console *console_of(struct virtio_dev *v)
{
	return container_of(v, struct console, v);
}

/* 5.3.2 */
static u32 rx_of_port(u32 id)
{
	return id ? 2 * id + 2 : 0;
}

/* NULL: a control queue. */
static struct port *port_of_queue(struct console *con, u32 index)
{
	if (index < CONTROL_RX)
		return &con->port[0];
	return index <= CONTROL_TX ? NULL : &con->port[index / 2 - 1];
}

static struct vq_chain empty_chain(struct console *con)
{
	return (struct vq_chain){ .iov = con->iov, .max = con->niov };
}

/* Then no queue of it is touched any more, though the loop still watches the streams. */
static bool needs_reset(struct console *con)
{
	return virtio_status_read(&con->v) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void spend(u64 *budget, u64 cost)
{
	*budget -= cost < *budget ? cost : *budget;
}

/* ---- output ---- */

/* Give the stream what it takes of the chain, at most *budget bytes. Returns whether it was all. */
static bool send_chain(struct port *p, const struct vq_chain *c, u64 *budget)
{
	u64 begin = 0; /* of the segment, in the chain */

	for (u32 i = 0; i < c->nout; i++) {
		const u8 *base = c->iov[i].iov_base;
		u64 end = begin + c->iov[i].iov_len;

		while (p->sent < end) {
			u64 left = end - p->sent;
			size_t n = stream_write(p->stream, base + (p->sent - begin),
						left < *budget ? left : *budget);

			if (!n)
				return false;
			p->sent += n;
			*budget -= n;
		}
		begin = end;
	}
	p->sent = 0;
	return true;
}

/* Take what the driver sends: all of it, or as the stream has room, or enough for now. */
static void port_send(struct port *p)
{
	struct vq *vq = &p->tx->vq;
	struct vq_chain c = empty_chain(p->con);
	u64 budget = TURN;
	bool stuck = false;

	if (p->sent_at != vq->pos.avail || p->sent_of != p->tx->rings)
		p->sent = 0; /* it is another chain: the queue was reset (2.6.1), or moved on */
	do {
		while (budget && !stuck && vq_get(vq, &c) > 0) {
			stuck = !send_chain(p, &c, &budget);
			if (stuck)
				vq_unget(vq, &c);
			else
				vq_put(vq, &c, 0);
			spend(&budget, CHAIN_COST);
		}
		vq_publish(vq);
	} while (budget && !stuck && vq_rearm(vq));
	p->sent_at = vq->pos.avail;
	p->sent_of = p->tx->rings;
	if (stuck)
		vq_disarm(vq); /* a kick would tell us nothing new */
	if (!budget)
		virtio_queue_kick(p->tx->dev, p->tx->index);
	stream_want_write(p->stream, stuck && budget);
}

static void port_writable(struct stream *s)
{
	struct port *p = s->owner;

	if (!p->tx_on || needs_reset(p->con)) {
		stream_want_write(s, false);
		return;
	}
	port_send(p);
	inproc_check(p->tx);
}

/* ---- input ---- */

/* Read from the stream while the driver has room and listens, and only then. */
static void update_input(struct port *p)
{
	struct vq *vq = &p->rx->vq;
	bool want = p->rx_on && p->guest_open && (vq_ready(vq) || vq_rearm(vq));

	if (want)
		vq_disarm(vq); /* no kicks until all buffers are used up */
	stream_want_read(p->stream, want);
}

/* Read into the chain, at most *budget bytes. Returns how many. */
static u32 receive_chain(struct port *p, const struct vq_chain *c, u64 *budget)
{
	u32 len = 0;

	for (u32 i = c->nout; i < c->nout + c->nin; i++) {
		u64 room = c->iov[i].iov_len < *budget ? c->iov[i].iov_len : *budget;
		size_t n = stream_read(p->stream, c->iov[i].iov_base, room);

		len += n;
		*budget -= n;
		if (n < c->iov[i].iov_len)
			break;
	}
	return len;
}

static void port_readable(struct stream *s)
{
	struct port *p = s->owner;
	struct vq *vq = &p->rx->vq;
	struct vq_chain c = empty_chain(p->con);
	u64 budget = TURN;

	if (!p->rx_on || !p->guest_open || needs_reset(p->con)) {
		stream_want_read(s, false);
		return;
	}
	while (budget && vq_get(vq, &c) > 0) {
		u32 n = receive_chain(p, &c, &budget);

		if (!n && c.in_len) {
			vq_unget(vq, &c); /* that was all */
			break;
		}
		vq_put(vq, &c, n);
		spend(&budget, CHAIN_COST);
	}
	vq_publish(vq);
	update_input(p);
	inproc_check(p->rx);
}

/* ---- control messages (5.3.6.2) ---- */

/* A console never hangs up. */
static bool host_open(struct port *p)
{
	return !p->name || stream_connected(p->stream);
}

/* Copy to offset `off` of the chain's writable part, as far as there is room. Returns the offset
 * behind. */
static u32 chain_write(const struct vq_chain *c, u32 off, const void *buf, u32 len)
{
	const u8 *src = buf;
	u64 begin = 0;

	for (u32 i = c->nout; len && i < c->nout + c->nin; i++) {
		u64 end = begin + c->iov[i].iov_len;

		if (off < end) {
			u32 n = len < end - off ? len : end - off;

			memcpy((u8 *)c->iov[i].iov_base + (off - begin), src, n);
			src += n;
			off += n;
			len -= n;
		}
		begin = end;
	}
	return off;
}

/* Write the message and return its length. What the driver's buffer has no room for is cut off. */
static u32 write_message(struct port *p, u16 event, const struct vq_chain *c)
{
	struct virtio_console_control msg = { .id = p->id, .event = event, .value = 1 };
	u16 size[2] = { p->columns, p->rows };
	u32 len;

	if (event == VIRTIO_CONSOLE_PORT_OPEN)
		msg.value = host_open(p);
	len = chain_write(c, 0, &msg, sizeof(msg));
	if (event == VIRTIO_CONSOLE_RESIZE)
		len = chain_write(c, len, size, sizeof(size));
	if (event == VIRTIO_CONSOLE_PORT_NAME)
		len = chain_write(c, len, p->name, strlen(p->name));
	return len;
}

/* The message to send next, in the order in which a driver needs them. */
static bool next_message(struct console *con, struct port **p, u16 *event)
{
	static const u16 order[] = { VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
				     VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_RESIZE,
				     VIRTIO_CONSOLE_PORT_OPEN };

	for (u32 i = 0; i < con->nports; i++) {
		*p = &con->port[i];
		for (u32 k = 0; k < ARRAY_SIZE(order); k++) {
			*event = order[k];
			if ((*p)->pending & (1u << order[k]))
				return true;
		}
	}
	return false;
}

/* Send what is pending, as far as the driver has buffers: with the next ones it kicks. */
static void send_messages(struct console *con)
{
	struct virtio_queue *q = &con->v.queue[CONTROL_RX];
	struct vq_chain c = empty_chain(con);
	struct port *p;
	u16 event;

	if (!con->control_on || needs_reset(con))
		return;
	while (next_message(con, &p, &event)) {
		if (vq_get(&q->vq, &c) <= 0) {
			if (vq_rearm(&q->vq))
				continue;
			break;
		}
		vq_put(&q->vq, &c, write_message(p, event, &c));
		p->pending &= ~(1u << event);
		if (event == VIRTIO_CONSOLE_PORT_ADD)
			p->added = true;
	}
	vq_publish(&q->vq);
	inproc_check(q);
}

/* The driver has the port now, and is told all about it. */
static void port_ready(struct port *p)
{
	p->ready = true;
	p->pending |= p->name ? MESSAGE(PORT_NAME) : MESSAGE(CONSOLE_PORT);
	if (!p->name && p->columns)
		p->pending |= MESSAGE(RESIZE);
	if (host_open(p))
		p->pending |= MESSAGE(PORT_OPEN);
}

/* What makes no sense is ignored. */
static void handle_message(struct console *con, const struct virtio_console_control *msg)
{
	struct port *p = msg->id < con->nports ? &con->port[msg->id] : NULL;

	switch (msg->event) {
	case VIRTIO_CONSOLE_DEVICE_READY:
		/* 5.3.6.2.1: "MUST NOT specify a port which exists" */
		for (u32 i = 0; msg->value && i < con->nports; i++) {
			if (!con->port[i].added)
				con->port[i].pending |= MESSAGE(PORT_ADD);
		}
		break;
	case VIRTIO_CONSOLE_PORT_READY:
		if (p && p->added && msg->value)
			port_ready(p);
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		if (p) {
			p->guest_open = msg->value;
			update_input(p);
		}
		break;
	}
}

/* Copy the message from the chain's readable part. */
static bool read_message(const struct vq_chain *c, struct virtio_console_control *msg)
{
	u8 *dst = (u8 *)msg;
	size_t left = sizeof(*msg);

	for (u32 i = 0; left && i < c->nout; i++) {
		size_t n = c->iov[i].iov_len < left ? c->iov[i].iov_len : left;

		memcpy(dst, c->iov[i].iov_base, n);
		dst += n;
		left -= n;
	}
	return !left;
}

static void serve_control(struct console *con)
{
	struct virtio_queue *q = &con->v.queue[CONTROL_TX];
	struct vq_chain c = empty_chain(con);
	struct virtio_console_control msg;
	u64 budget = TURN;

	do {
		while (budget && vq_get(&q->vq, &c) > 0) {
			if (read_message(&c, &msg))
				handle_message(con, &msg);
			vq_put(&q->vq, &c, 0);
			spend(&budget, CHAIN_COST);
		}
		vq_publish(&q->vq);
	} while (budget && vq_rearm(&q->vq));
	if (!budget)
		virtio_queue_kick(q->dev, q->index);
	send_messages(con);
}

/* Somebody came to the stream's other end, or left. */
static void port_connection(struct stream *s)
{
	struct port *p = s->owner;

	if (!p->ready || !p->name)
		return;
	p->pending |= MESSAGE(PORT_OPEN);
	send_messages(p->con);
}

void virtio_console_resize(struct virtio_dev *v, u32 port, u16 columns, u16 rows)
{
	struct console *con = console_of(v);
	struct port *p = &con->port[port];
	u16 size[2] = { columns, rows };

	assert(port < con->nports);
	if (p->columns == columns && p->rows == rows)
		return;
	p->columns = columns;
	p->rows = rows;
	if (port == 0) /* 5.3.6: "This size applies to port 0 only" */
		virtio_config_update(v, offsetof(struct virtio_console_config, cols), size,
				     sizeof(size));
	if (p->ready && !p->name) {
		p->pending |= MESSAGE(RESIZE);
		send_messages(con);
	}
}

/* ---- the device ---- */

static void console_serve(struct virtio_dev *v, struct virtio_queue *q)
{
	struct console *con = console_of(v);
	struct port *p = port_of_queue(con, q->index);

	if (q->index >= CONTROL_RX && !con->multiport)
		return; /* 5.3.2: "other queues only exist if" */
	if (q->index == CONTROL_RX) {
		con->control_on = true;
		send_messages(con);
	} else if (q->index == CONTROL_TX) {
		serve_control(con);
	} else if (q == p->rx) {
		p->rx_on = true;
		update_input(p);
	} else {
		p->tx_on = true;
		port_send(p);
	}
}

static void console_quiesce(struct virtio_dev *v, struct virtio_queue *q)
{
	struct console *con = console_of(v);
	struct port *p = port_of_queue(con, q->index);

	if (q->index == CONTROL_RX) {
		con->control_on = false;
	} else if (p && q == p->rx) {
		p->rx_on = false;
		stream_want_read(p->stream, false);
	} else if (p) {
		p->tx_on = false;
		stream_want_write(p->stream, false);
	}
}

/* Main loop. */
static void forget_driver(void *arg)
{
	struct console *con = arg;

	con->multiport = false;
	for (u32 i = 0; i < con->nports; i++) {
		struct port *p = &con->port[i];

		p->added = p->ready = p->guest_open = false;
		p->pending = 0;
		p->sent = 0;
	}
}

static void console_reset(struct virtio_dev *v)
{
	loop_call(v->env->loop, forget_driver, console_of(v));
}

/* Without MULTIPORT there is no message by which a driver could open its port. Main loop. */
static void meet_driver(void *arg)
{
	struct console *con = arg;

	con->multiport = virtio_has_feature(&con->v, VIRTIO_CONSOLE_F_MULTIPORT);
	con->port[0].guest_open = !con->multiport;
}

static void console_driver_ok(struct virtio_dev *v)
{
	loop_call(v->env->loop, meet_driver, console_of(v));
}

struct emergency {
	struct stream *stream;
	u8 byte;
};

/* Main loop. */
static void emergency_write(void *arg)
{
	struct emergency *e = arg;

	stream_write(e->stream, &e->byte, 1);
}

/* 5.3.5.1: at any time, "the device SHOULD transmit the lower byte written to emerg_wr". */
static void console_config_written(struct virtio_dev *v, u32 off, u32 len)
{
	const u32 reg = offsetof(struct virtio_console_config, emerg_wr);
	struct emergency e = { .stream = console_of(v)->port[0].stream };

	if (!range_inside(reg, 1, off, len))
		return;
	pthread_mutex_lock(&v->config_lock);
	e.byte = v->config[reg];
	memset(v->config + reg, 0, sizeof(u32)); /* it can't be read back */
	pthread_mutex_unlock(&v->config_lock);
	loop_call(v->env->loop, emergency_write, &e);
}

static void console_destroy(struct virtio_dev *v)
{
	struct console *con = console_of(v);

	for (u32 i = 0; i < con->nports; i++) {
		struct stream *s = con->port[i].stream;

		stream_want_read(s, false);
		stream_want_write(s, false);
		s->connection = NULL;
	}
	virtio_dev_destroy(v);
	free(con->iov);
	free(con);
}

static const struct virtio_ops console_ops = {
	.name = "virtio-console",
	.id = VIRTIO_ID_CONSOLE,
	.pci_class = 0x078000, /* a communication controller of another kind */
	.driver_ok = console_driver_ok,
	.config_written = console_config_written,
	.serve = console_serve,
	.quiesce = console_quiesce,
	.reset = console_reset,
	.destroy = console_destroy,
};

static void port_init(struct console *con, u32 id, const struct virtio_console_port *from)
{
	struct port *p = &con->port[id];
	u32 rx = rx_of_port(id);

	*p = (struct port){
		.con = con,
		.id = id,
		.name = from->name,
		.stream = from->stream,
		.rx = &con->v.queue[rx],
		.tx = &con->v.queue[rx + 1],
	};
	stream_window_size(p->stream, &p->columns, &p->rows);
	p->stream->owner = p;
	p->stream->readable = port_readable;
	p->stream->writable = port_writable;
	p->stream->connection = port_connection;
}

/* 5.3.3, 5.3.4 */
static void config_init(struct console *con, bool multiport)
{
	struct virtio_console_config config = {
		.cols = con->port[0].columns,
		.rows = con->port[0].rows,
		.max_nr_ports = con->nports,
	};
	struct virtio_dev *v = &con->v;

	v->offered |= VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE) |
		      VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE);
	if (multiport)
		v->offered |= VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT);
	memcpy(v->config, &config, sizeof(config));
	memset(v->config_writable + offsetof(struct virtio_console_config, emerg_wr), 0xff,
	       sizeof(config.emerg_wr));
}

int virtio_console_create(struct virtio_dev **v, const struct machine_env *env,
			  const struct virtio_options *o, const struct virtio_console_port *ports,
			  u32 nports)
{
	struct console *con = calloc(1, sizeof(*con));
	bool multiport = nports > 1 || ports[0].name;
	int err;

	assert(nports >= 1 && nports <= VIRTIO_CONSOLE_PORTS_MAX);
	if (!con)
		return -ENOMEM;
	err = virtio_dev_init(&con->v, &console_ops, env, o, multiport ? 2 * nports + 2 : 2,
			      QUEUE_SIZE, sizeof(struct virtio_console_config));
	if (err) {
		free(con);
		return err;
	}
	con->niov = con->v.queue[0].size_max;
	con->iov = calloc(con->niov, sizeof(*con->iov));
	if (!con->iov) {
		console_destroy(&con->v);
		return -ENOMEM;
	}
	for (u32 i = 0; i < con->v.nqueues; i++)
		con->v.queue[i].loop = env->loop;
	con->nports = nports;
	for (u32 i = 0; i < nports; i++)
		port_init(con, i, &ports[i]);
	config_init(con, multiport);
	*v = &con->v;
	return 0;
}
