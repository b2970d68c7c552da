// SPDX-License-Identifier: MIT
/*
 * control.c - the control socket's clients. See control.h.
 *
 * How it works: a client's bytes go into a buffer of fixed size, from which control_input.c takes one
 * request after another; each is answered before the next one is looked at. What a client does not take at
 * once waits in a buffer of its own:
 *
 *	bytes waiting		what is done about it
 *	none			all is well
 *	OUTPUT_BUSY and more	no further request of this client is served, or read: that is up to it
 *	OUTPUT_MAX, by events	it is sent away
 *
 * So a client can make us hold some input, an answer and OUTPUT_MAX bytes of events, whatever it does. In a
 * turn it gets a little read and requests served for a millisecond; then the main loop has others to serve.
 *
 * `stop` is answered when all CPUs have parked. A CPU may need the main loop for that, so nobody waits: all
 * clients' requests rest meanwhile (`held`).
 *
 * A client that has to go is closed at once and freed in a later turn, when nobody can be using it.
 *
 * Threads: main loop's.
 */
#include "minivmm/log.h"
#include "minivmm/loop.h"
#include "minivmm/now.h"
#include "minivmm/trace.h"
#include "minivmm/unix_socket.h"
#include "vmm/control_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG	       16
#define CLIENTS_MAX    32
#define TURN_BYTES     4096
#define TURN_NS	       1000000
#define OUTPUT_BUSY    (64 * KIB)
#define OUTPUT_MAX     (1 * MIB)
#define COMPLAINTS_MAX 16 /* clients must not fill the log */

struct client {
	struct control *c;
	struct client *next;
	struct loop_fd lf;
	u32 events; /* watched for */
	struct control_session session;
	struct control_input in;
	bool ended; /* it sends no more */
	bool gone;  /* closed, to be freed */

	char *out; /* out[sent .. out_len) waits */
	size_t sent, out_len, out_room;
};

struct control {
	/* Fixed after creation. */
	struct loop *loop;
	const struct control_ops *ops;
	void *machine;
	struct sockaddr_un addr;
	dev_t dev; /* of the socket's file */
	ino_t ino;
	struct loop_fd door;
	struct loop_fd again; /* eventfd: there is more to do */

	struct client *clients;
	u32 nclients;
	int spare; /* a descriptor to give up when there are no others */
	bool held; /* a stop is under way */
	u32 complaints;
};

const struct control_ops *control_ops_of(struct control *c, void **machine)
{
	*machine = c->machine;
	return c->ops;
}

/* ---- a client's output ---- */

static void complain(struct control *c, const char *what)
{
	if (c->complaints++ < COMPLAINTS_MAX)
		log_warn("--control %s: %s", c->addr.sun_path, what);
}

static void look_again(struct control *c)
{
	eventfd_write(c->again.fd, 1);
}

static void send_away(struct client *cl)
{
	if (cl->gone)
		return;
	cl->gone = true;
	loop_del(cl->c->loop, &cl->lf);
	close(cl->lf.fd);
	look_again(cl->c);
}

static size_t waiting(const struct client *cl)
{
	return cl->out_len - cl->sent;
}

/* Write what the client takes. */
static void flush(struct client *cl)
{
	while (!cl->gone && waiting(cl)) {
		ssize_t n = send(cl->lf.fd, cl->out + cl->sent, waiting(cl), MSG_NOSIGNAL);

		if (n >= 0)
			cl->sent += n;
		else if (errno != EAGAIN && errno != EINTR)
			send_away(cl);
		else if (errno == EAGAIN)
			return;
	}
	cl->sent = cl->out_len = 0;
	if (cl->out_room > OUTPUT_BUSY) { /* an answer that was long is no reason to keep so much */
		free(cl->out);
		cl->out = NULL;
		cl->out_room = 0;
	}
}

static int make_room(struct client *cl, size_t len)
{
	size_t room = cl->out_room ? cl->out_room : 1024;
	char *out;

	if (cl->sent)
		memmove(cl->out, cl->out + cl->sent, waiting(cl));
	cl->out_len -= cl->sent;
	cl->sent = 0;
	while (room < cl->out_len + len)
		room *= 2;
	out = realloc(cl->out, room);
	if (!out)
		return -ENOMEM;
	cl->out = out;
	cl->out_room = room;
	return 0;
}

/* Send a line. */
static void send_text(struct client *cl, const char *text)
{
	size_t len = strlen(text);

	if (cl->gone)
		return;
	if (cl->out_room - cl->out_len < len + 2 && make_room(cl, len + 2)) {
		send_away(cl);
		return;
	}
	memcpy(cl->out + cl->out_len, text, len);
	memcpy(cl->out + cl->out_len + len, "\r\n", 2);
	cl->out_len += len + 2;
	flush(cl);
}

/* `value` is gone afterwards. Without it there is no memory, and the client would wait for ever. */
static void send_value(struct client *cl, json_t *value)
{
	char *text = value ? json_dumps(value, JSON_ENSURE_ASCII) : NULL;

	if (text)
		send_text(cl, text);
	else
		send_away(cl);
	free(text);
	json_decref(value);
}

/* ---- a client's input ---- */

static bool may_serve(const struct client *cl)
{
	return !cl->gone && !cl->c->held && waiting(cl) < OUTPUT_BUSY;
}

/* Serve one request of those that are there. False: there is none. */
static bool serve_one(struct client *cl)
{
	const char *text;
	u32 len;
	json_t *answer;
	int got = control_input_next(&cl->in, &text, &len);

	switch (got) {
	case 0:
		return false;
	case -E2BIG:
		complain(cl->c, "a client is sent away: its request is too long");
		send_value(cl, qmp_refuse("GenericError", "the request is too long"));
		send_away(cl);
		return false;
	case -EPROTO:
		send_value(cl, qmp_refuse("GenericError", "no request: give {\"execute\": ...}"));
		return true;
	}
	answer = qmp_request(cl->c, &cl->session, text, len);
	if (answer || !cl->session.later)
		send_value(cl, answer);
	else
		cl->c->held = true;
	return true;
}

/* Watch for what we have a use for. */
static void watch(struct client *cl)
{
	u32 events = 0, room;

	if (cl->gone)
		return;
	control_input_room(&cl->in, &room);
	if (!cl->ended && room && may_serve(cl))
		events |= EPOLLIN;
	if (waiting(cl))
		events |= EPOLLOUT;
	if (events != cl->events)
		loop_mod(cl->c->loop, &cl->lf, events);
	cl->events = events;
}

/* One request, and more until that moment. */
static void serve(struct client *cl, u64 until)
{
	bool more;

	do
		more = may_serve(cl) && serve_one(cl);
	while (more && now_ns() < until);
	if (more)
		look_again(cl->c);
	else if (cl->ended && may_serve(cl) && !waiting(cl))
		send_away(cl); /* all that it asked is answered */
	watch(cl);
}

static void read_some(struct client *cl)
{
	u32 room;
	char *to = control_input_room(&cl->in, &room);
	ssize_t n;

	if (cl->ended || !room || !may_serve(cl))
		return;
	n = recv(cl->lf.fd, to, room < TURN_BYTES ? room : TURN_BYTES, 0);
	if (n > 0)
		cl->in.len += n;
	else if (n == 0)
		cl->ended = true;
	else if (errno != EAGAIN && errno != EINTR)
		send_away(cl);
}

static void client_ready(struct loop_fd *lf, u32 events)
{
	struct client *cl = container_of(lf, struct client, lf);

	/* Nobody is there any more who could read an answer. */
	if (events & EPOLLERR || (events & EPOLLHUP && !(cl->events & EPOLLIN))) {
		send_away(cl);
		return;
	}
	flush(cl);
	read_some(cl);
	serve(cl, now_ns() + TURN_NS);
}

/* ---- all of them ---- */

static void client_free(struct client *cl)
{
	json_decref(cl->session.later_id);
	free(cl->in.buf);
	free(cl->out);
	free(cl);
}

static void again_ready(struct loop_fd *lf, u32 events)
{
	struct control *c = container_of(lf, struct control, again);
	struct client **at = &c->clients;
	u64 until = now_ns() + TURN_NS;
	eventfd_t n;

	(void)events;
	eventfd_read(lf->fd, &n);
	for (struct client *cl = c->clients; cl; cl = cl->next)
		serve(cl, until);
	while (*at) {
		struct client *cl = *at;

		if (!cl->gone) {
			at = &cl->next;
			continue;
		}
		*at = cl->next;
		c->nclients--;
		client_free(cl);
	}
}

static void welcome(struct control *c, int fd)
{
	struct client *cl = calloc(1, sizeof(*cl));
	int err = cl ? control_input_init(&cl->in) : -ENOMEM;

	if (!err) {
		cl->c = c;
		cl->lf = (struct loop_fd){ .fd = fd, .ready = client_ready };
		cl->events = EPOLLIN;
		err = loop_add(c->loop, &cl->lf, EPOLLIN);
	}
	if (err) {
		complain(c, strerror(-err));
		if (cl)
			client_free(cl);
		close(fd);
		return;
	}
	cl->next = c->clients;
	c->clients = cl;
	c->nclients++;
	send_value(cl, qmp_greeting());
	watch(cl);
}

/* There is no descriptor for whoever knocks: use the spare one to send him away. Else the door would tell
 * of him again and again. */
static void turn_away(struct control *c)
{
	int fd;

	complain(c, "no file descriptor for a client; see ulimit -n");
	close(c->spare);
	fd = accept4(c->door.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	c->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void door_ready(struct loop_fd *lf, u32 events)
{
	struct control *c = container_of(lf, struct control, door);
	int fd = accept4(lf->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE))
		turn_away(c);
	if (fd < 0)
		return;
	if (c->nclients < CLIENTS_MAX) {
		welcome(c, fd);
		return;
	}
	complain(c, "a client is sent away: there are too many");
	close(fd);
}

void control_send_event(struct control *c, const char *name, json_t *data)
{
	json_t *event = qmp_event(name, data);
	char *text = event ? json_dumps(event, JSON_ENSURE_ASCII) : NULL;

	for (struct client *cl = c->clients; text && cl; cl = cl->next) {
		if (cl->gone || !cl->session.negotiated)
			continue;
		send_text(cl, text);
		if (waiting(cl) > OUTPUT_MAX) {
			complain(c, "a client is sent away: it does not read what it is told");
			send_away(cl);
		}
		watch(cl);
	}
	free(text);
	json_decref(event);
}

void control_event(struct control *c, const char *name)
{
	if (c)
		control_send_event(c, name, NULL);
}

void control_event_end(struct control *c, const char *name, bool guest, const char *reason)
{
	if (c)
		control_send_event(c, name,
				   json_pack("{s:b,s:s}", "guest", guest, "reason", reason));
}

void control_traced(struct control *c, const struct trace_result *r)
{
	json_t *data;

	if (!c)
		return;
	data = json_pack("{s:o,s:I,s:I}", "filename", json_text(r->path), "events",
			 (json_int_t)r->events, "dropped", (json_int_t)r->dropped);
	if (r->err)
		json_object_set_new(data, "error", json_string(strerror(-r->err)));
	control_send_event(c, "X_MINIVMM_TRACE", data);
}

void control_stopped(struct control *c)
{
	control_event(c, "STOP");
	c->held = false;
	for (struct client *cl = c->clients; cl; cl = cl->next) {
		if (!cl->session.later)
			continue;
		send_value(cl, qmp_answer_later(&cl->session));
		watch(cl);
	}
	look_again(c);
}

/* ---- making it, and its end ---- */

static int open_door(struct control *c, const char *path)
{
	struct stat st;
	int fd, err = unix_address(&c->addr, path);

	if (err)
		return err;
	fd = unix_listen_private(&c->addr, BACKLOG);
	if (fd < 0)
		return fd;
	c->door = (struct loop_fd){ .fd = fd, .ready = door_ready };
	if (lstat(path, &st) < 0)
		return -errno;
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	return loop_add(c->loop, &c->door, EPOLLIN);
}

int control_create(struct control **out, struct loop *loop, const char *path,
		   const struct control_ops *ops, void *machine)
{
	struct control *c;
	int err = json_load_library("--control");

	if (err)
		return err;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->loop = loop;
	c->ops = ops;
	c->machine = machine;
	c->door.fd = -1;
	c->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	c->again = (struct loop_fd){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
				     .ready = again_ready };
	err = c->again.fd < 0 || c->spare < 0 ? -errno : loop_add(loop, &c->again, EPOLLIN);
	if (!err)
		err = open_door(c, path);
	if (err) {
		log_err("--control %s: %s%s", path, strerror(-err), unix_mend(err));
		control_destroy(c);
		return err;
	}
	*out = c;
	return 0;
}

static void close_watched(struct control *c, struct loop_fd *lf)
{
	if (lf->fd < 0)
		return;
	loop_del(c->loop, lf);
	close(lf->fd);
}

/* Nobody else may have put another file there meanwhile. */
static void remove_path(const struct control *c)
{
	struct stat st;

	if (c->door.fd >= 0 && lstat(c->addr.sun_path, &st) == 0 && st.st_dev == c->dev &&
	    st.st_ino == c->ino)
		unlink(c->addr.sun_path);
}

void control_destroy(struct control *c)
{
	if (!c)
		return;
	remove_path(c);
	while (c->clients) {
		struct client *cl = c->clients;

		c->clients = cl->next;
		flush(cl);
		send_away(cl);
		client_free(cl);
	}
	close_watched(c, &c->door);
	close_watched(c, &c->again);
	if (c->spare >= 0)
		close(c->spare);
	free(c);
}
