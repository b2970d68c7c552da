// SPDX-License-Identifier: MIT
/*
 * virtio_console.c - a driver for the console device (VIRTIO 1.2, 5.3): ports that say hello and send
 * back, in upper case, what they receive. Ctrl-D (EOT) on the console ends it.
 *
 * How it works: a port is a pair of queues, one for buffers to receive into, one for what is sent:
 *
 *	queue	0	1	2		3		4	5	...
 *		rx 0	tx 0	control rx	control tx	rx 1	tx 1
 *
 * With VIRTIO_CONSOLE_F_MULTIPORT the control queues carry messages about the ports:
 *
 *	driver				device
 *	DEVICE_READY      ---------->
 *			  <----------   PORT_ADD	for each port
 *	PORT_READY        ---------->
 *			  <----------   CONSOLE_PORT, or PORT_NAME and the name
 *	PORT_OPEN         ---------->
 *			  <----------   PORT_OPEN	somebody is at the other end
 *
 * Without it there is port 0, which is a console, and no control queue. The results go to the serial
 * port, as in all guests.
 */
#include "virtio.h"

#include <linux/virtio_console.h>

#define PORTS_MAX  3
#define BUFFERS	   8 /* posted for receiving, on each queue */
#define LEN	   64
#define EOT	   4

#define CONTROL_RX 2
#define CONTROL_TX 3

/* A control message, and what may follow it (5.3.6.2). */
struct message {
	struct virtio_console_control c;
	char text[LEN - sizeof(struct virtio_console_control)];
};

struct port {
	bool added, console, open;
	char name[LEN];
	struct virtq rx, tx;
	u8 in[BUFFERS][LEN], out[LEN];
	u32 received;
};

static struct virtio con;
static struct port port[PORTS_MAX];
static u32 nports;
static struct virtq control_rx, control_tx;
static struct message in[BUFFERS];

/* Give the device a buffer to receive into. */
static void post(struct virtq *q, void *data)
{
	struct virtq_buf buf = { data, LEN };

	virtq_add(q, &buf, 0, 1, data);
}

static bool setup_rx(struct virtq *q, u32 index, void *buffers)
{
	if (!virtq_setup(q, &con, index))
		return false;
	for (u32 i = 0; i < BUFFERS; i++)
		post(q, (u8 *)buffers + i * LEN);
	return true;
}

/* Send, and wait until it is sent. */
static bool send(struct virtq *q, const void *data, u32 len)
{
	struct virtq_buf buf = { (void *)data, len };
	u32 written;

	return virtq_add(q, &buf, 1, 0, q) && (virtq_kick(q), virtq_wait(q)) &&
	       virtq_take(q, &written) == q;
}

static bool start(void)
{
	u64 config;
	bool fine;

	if (!virtio_negotiate(&con, VIRTIO_BIT(VIRTIO_CONSOLE_F_MULTIPORT) |
					    VIRTIO_BIT(VIRTIO_CONSOLE_F_SIZE) |
					    VIRTIO_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE)))
		return false;
	config = con.config + offsetof(struct virtio_console_config, max_nr_ports);
	nports = virtio_has(&con, VIRTIO_CONSOLE_F_MULTIPORT) ? mmio_read32(config) : 1;
	if (nports > PORTS_MAX)
		nports = PORTS_MAX;
	fine = true;
	for (u32 i = 0; i < nports; i++) {
		u32 rx = i ? 2 * i + 2 : 0; /* 5.3.2 */

		fine &= setup_rx(&port[i].rx, rx, port[i].in) &&
			virtq_setup(&port[i].tx, &con, rx + 1);
	}
	if (virtio_has(&con, VIRTIO_CONSOLE_F_MULTIPORT))
		fine &= setup_rx(&control_rx, CONTROL_RX, in) &&
			virtq_setup(&control_tx, &con, CONTROL_TX);
	virtio_ready(&con);
	for (u32 i = 0; i < nports; i++)
		virtq_kick(&port[i].rx);
	return fine;
}

/* ---- control messages ---- */

static bool tell(u32 id, u16 event, u16 value)
{
	struct virtio_console_control c = { .id = id, .event = event, .value = value };

	return send(&control_tx, &c, sizeof(c));
}

static void handle_message(const struct message *m, u32 len)
{
	struct port *p = m->c.id < nports ? &port[m->c.id] : NULL;
	const u16 *size = (const u16 *)m->text;
	u32 text = len - sizeof(m->c);

	if (!p || len < sizeof(m->c) || len > sizeof(*m)) {
		printf("# a message of %u bytes for port %u\n", len, m->c.id);
		return;
	}
	switch (m->c.event) {
	case VIRTIO_CONSOLE_PORT_ADD:
		p->added = true;
		tell(m->c.id, VIRTIO_CONSOLE_PORT_READY, 1);
		break;
	case VIRTIO_CONSOLE_CONSOLE_PORT:
		p->console = true;
		tell(m->c.id, VIRTIO_CONSOLE_PORT_OPEN, 1);
		break;
	case VIRTIO_CONSOLE_PORT_NAME:
		memcpy(p->name, m->text, text);
		tell(m->c.id, VIRTIO_CONSOLE_PORT_OPEN, 1);
		break;
	case VIRTIO_CONSOLE_RESIZE:
		printf("# port %u: %u columns, %u rows\n", m->c.id, size[0], size[1]);
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		p->open = m->c.value;
		printf("# port %u: %s at the other end\n", m->c.id, p->open ? "open" : "closed");
		break;
	default:
		printf("# port %u: message %u\n", m->c.id, m->c.event);
	}
}

/* All messages that are there. Returns whether there were any. */
static bool handle_messages(void)
{
	struct message *m;
	bool any = false;
	u32 len;

	while ((m = virtq_take(&control_rx, &len))) {
		handle_message(m, len);
		post(&control_rx, m);
		any = true;
	}
	virtq_kick(&control_rx);
	return any;
}

static u32 ports_known(void)
{
	u32 n = 0;

	for (u32 i = 0; i < nports; i++)
		n += port[i].added && (port[i].console || port[i].name[0]);
	return n;
}

static void test_ports(void)
{
	if (!virtio_has(&con, VIRTIO_CONSOLE_F_MULTIPORT)) {
		tap_skip("control messages",
			 "there is one port, and no VIRTIO_CONSOLE_F_MULTIPORT");
		port[0].open = true;
		return;
	}
	virtq_kick(&control_rx);
	tap(tell(VIRTIO_CONSOLE_BAD_ID, VIRTIO_CONSOLE_DEVICE_READY, 1), "the device hears of us");
	while (ports_known() < nports && virtq_wait(&control_rx))
		handle_messages();
	tap_eq(ports_known(), nports, "and tells of all its ports, %u", nports);
	tap(port[0].console, "port 0 is a console");
	for (u32 i = 1; i < nports; i++)
		printf("# port %u: named \"%s\"\n", i, port[i].name);
	tell(17, VIRTIO_CONSOLE_PORT_READY, 1);
	tap(tell(0, 99, 1), "a port and an event that nobody knows do no harm");
}

/* ---- data ---- */

static void test_size(void)
{
	if (virtio_has(&con, VIRTIO_CONSOLE_F_SIZE))
		printf("# the console has %u columns and %u rows\n", mmio_read16(con.config),
		       mmio_read16(con.config + 2));
}

/* 5.3.4: a byte at a time, without any queue. */
static void test_emergency(void)
{
	u64 at = con.config + offsetof(struct virtio_console_config, emerg_wr);

	if (!virtio_has(&con, VIRTIO_CONSOLE_F_EMERG_WRITE)) {
		tap_skip("emergency write", "the device does not offer it");
		return;
	}
	for (const char *s = "emergency\n"; *s; s++)
		mmio_write32(at, *s);
	tap(true, "emergency write: tests/guest/run looks whether it came");
}

/* A ring full of short buffers: they must come out in order. */
static void test_output(struct port *p)
{
	static char line[VIRTQ_SIZE][10];
	u32 n = 0, sent = 0, len;

	for (; n < p->tx.size; n++) {
		struct virtq_buf buf = { line[n], sizeof(line[n]) };

		memcpy(line[n], "line 0000\n", sizeof(line[n]));
		line[n][7] += n / 10;
		line[n][8] += n % 10;
		virtq_add(&p->tx, &buf, 1, 0, line[n]);
	}
	virtq_kick(&p->tx);
	while (sent < n && virtq_wait(&p->tx)) {
		while (virtq_take(&p->tx, &len) == line[sent])
			sent++;
	}
	tap_eq(sent, n, "%u lines are sent, in order", n);
}

/* Send back what is there. Returns 1 if there was something, 0 if not, -1 if that was all. */
static int echo(struct port *p)
{
	int any = 0;
	bool end = false;
	u32 len;
	u8 *in;

	while ((in = virtq_take(&p->rx, &len))) {
		for (u32 i = 0; i < len; i++) {
			end |= in[i] == EOT;
			p->out[i] = in[i] >= 'a' && in[i] <= 'z' ? in[i] - 'a' + 'A' : in[i];
		}
		p->received += len;
		send(&p->tx, p->out, len);
		post(&p->rx, in);
		any = 1;
	}
	if (any)
		virtq_kick(&p->rx);
	return end ? -1 : any;
}

/* Each queue is looked at after it was told to interrupt; if all have nothing, we can sleep. */
static void echo_until_end(void)
{
	for (;;) {
		bool any = false;

		for (u32 i = 0; i < nports; i++) {
			virtq_call_after(&port[i].rx, 1);
			switch (echo(&port[i])) {
			case -1:
				if (i == 0)
					return;
				/* fall through */
			case 1:
				any = true;
			}
		}
		if (virtio_has(&con, VIRTIO_CONSOLE_F_MULTIPORT)) {
			virtq_call_after(&control_rx, 1);
			any |= handle_messages();
		}
		if (!any)
			irq_wait();
	}
}

void guest_main(const struct hvm_start_info *info)
{
	if (!virtio_find(&con, info, VIRTIO_ID_CONSOLE, 0)) {
		printf("1..0 # SKIP no console: start minivmm with --console\n");
		return;
	}
	tap(start(), "the console accepts its driver");
	virtio_print(&con, "console");
	test_size();
	test_emergency();
	test_ports();
	test_output(&port[0]);
	for (u32 i = 1; i < nports; i++)
		tap(send(&port[i].tx, "hello from a port\n", 18), "port %u says hello", i);
	tap(send(&port[0].tx, "ready\n", 6), "ready");
	echo_until_end();
	for (u32 i = 0; i < nports; i++)
		printf("# port %u: %u bytes received, %u interrupts\n", i, port[i].received,
		       port[i].rx.calls);
	tap(send(&port[0].tx, "\n", 1), "the end");
	tap_end();
}
