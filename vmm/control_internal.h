/* SPDX-License-Identifier: MIT */
/*
 * control_internal.h - what the files of the control socket share. control.h has the picture.
 */
#ifndef VMM_CONTROL_INTERNAL_H
#define VMM_CONTROL_INTERNAL_H

#include "vmm/control.h"
#include "vmm/json.h"

/* The longest request, and how deep it may be nested. */
#define CONTROL_INPUT_MAX 65536
#define CONTROL_DEPTH_MAX 32

/* ---- control_input.c: JSON texts from bytes. Any thread, one at a time ---- */

struct control_input {
	char *buf; /* CONTROL_INPUT_MAX bytes */
	u32 len;   /* filled */
	u32 at;	   /* looked at so far */
	u32 begin; /* of the text that is not complete */
	u32 depth; /* in it; 0: between texts */
	bool string, escape;
	bool junk; /* between texts: all is skipped up to the end of the line */
};

/* Returns 0 or -ENOMEM; free() the buffer. */
int control_input_init(struct control_input *in);

/* Where to put more bytes: room for *room, which may be 0. Then add to in->len. What control_input_next()
 * gave is gone. */
char *control_input_room(struct control_input *in, u32 *room);

/*
 * The next object. Returns 1 and the text, which has balanced brackets outside of strings; 0: more bytes
 * are needed; -EPROTO: what is there begins no object, or goes too deep: it is skipped, so go on; -E2BIG: it
 * can't be held.
 */
int control_input_next(struct control_input *in, const char **text, u32 *len);

/* ---- control_qmp.c ---- */

/* What is known of a client between its requests. */
struct control_session {
	bool negotiated;
	json_t *later_id; /* of the request that is answered later, or NULL */
	bool later;
};

/* One request on its way. */
struct control_call {
	struct control *c;
	const struct control_ops *ops;
	void *machine;
	json_t *args;	   /* an object, checked against the command's table; or NULL */
	const char *error; /* class, or NULL: none so far */
	char why[256];
	bool later; /* it is answered by control_stopped() */
};

/* As in the greeting, and query-version. */
json_t *qmp_version(void);

/* A greeting; the answer to a request, or NULL if it comes later; an answer to what is no request. */
json_t *qmp_greeting(void);
json_t *qmp_request(struct control *c, struct control_session *s, const char *text, u32 len);
json_t *qmp_refuse(const char *class, const char *why);
/* The answer to the request that was to be answered later. */
json_t *qmp_answer_later(struct control_session *s);
json_t *qmp_event(const char *name, json_t *data);

/* The request fails. Returns NULL. */
json_t *call_fail(struct control_call *call, const char *class, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- control_commands.c, control_stats.c ---- */

struct control_arg {
	const char *name;
	json_type type; /* JSON_TRUE: a boolean */
	bool required;
};

struct control_command {
	const char *name;
	/* Returns the value to be returned, an empty object if there is none; or call_fail()'s. */
	json_t *(*run)(struct control_call *call);
	struct control_arg arg[4];
};

extern const struct control_command control_commands[]; /* ends with one without a name */

json_t *control_query_stats(struct control_call *call);
json_t *control_query_stats_schemas(struct control_call *call);
json_t *control_x_stats(struct control_call *call);

/* The number of the device called `name`, or -1 after call_fail(). */
int control_find_device(struct control_call *call, const char *name);

json_int_t control_microseconds(u64 ns);
/* How long nobody served the device, and with what. */
json_t *control_gap(const struct control_switch *s);

/* The path by which QMP names CPU `i`: 40 bytes. */
void control_cpu_path(u32 i, char *path);

/* ---- control.c ---- */

const struct control_ops *control_ops_of(struct control *c, void **machine);
/* `data` may be NULL, and is gone afterwards. */
void control_send_event(struct control *c, const char *name, json_t *data);

#endif
