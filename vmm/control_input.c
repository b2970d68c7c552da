// SPDX-License-Identifier: MIT
/*
 * control_input.c - cut a client's bytes into JSON texts. See control_internal.h.
 *
 * QMP does not say where a request ends but by its brackets: some clients send a newline behind it, others
 * nothing. So brackets are counted, outside of strings. Whether what is between them is JSON is for the
 * parser to say, which therefore never sees more than CONTROL_INPUT_MAX bytes, nested CONTROL_DEPTH_MAX
 * deep at most.
 *
 *	{"execute": "stop"} {"execute":"query-status"}\n  hello?\n  {...
 *	└─────── 1 ───────┘ └───────── 1 ────────────┘    └skipped┘
 *
 * A client that has lost its way sends a control character: whatever was begun is then forgotten
 * (qmp-spec, "Forcing the JSON parser into known-good state").
 */
#include "vmm/control_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int control_input_init(struct control_input *in)
{
	*in = (struct control_input){ .buf = malloc(CONTROL_INPUT_MAX) };
	return in->buf ? 0 : -ENOMEM;
}

char *control_input_room(struct control_input *in, u32 *room)
{
	if (in->begin)
		memmove(in->buf, in->buf + in->begin, in->len - in->begin);
	in->len -= in->begin;
	in->at -= in->begin;
	in->begin = 0;
	*room = CONTROL_INPUT_MAX - in->len;
	return in->buf + in->len;
}

/* Forget what has been begun; go on behind it. */
static void start_over(struct control_input *in)
{
	in->begin = in->at;
	in->depth = 0;
	in->string = in->escape = false;
}

static bool blank(u8 c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Between texts. Returns 0 or -EPROTO. */
static int between(struct control_input *in, u8 c)
{
	int err = 0;

	if (c == '\n') {
		in->junk = false;
	} else if (c == '{' && !in->junk) {
		in->depth = 1;
		return 0;
	} else if (!blank(c) && !in->junk) {
		in->junk = true;
		err = -EPROTO;
	}
	in->begin = in->at;
	return err;
}

/* In a text. Returns 1: it is complete; 0 or -EPROTO. */
static int inside(struct control_input *in, u8 c)
{
	if (in->string) {
		if (in->escape)
			in->escape = false;
		else if (c == '\\')
			in->escape = true;
		else if (c == '"')
			in->string = false;
		return 0;
	}
	switch (c) {
	case '"':
		in->string = true;
		return 0;
	case '{':
	case '[':
		if (++in->depth <= CONTROL_DEPTH_MAX)
			return 0;
		start_over(in);
		in->junk = true;
		return -EPROTO;
	case '}':
	case ']':
		return --in->depth == 0;
	}
	return 0;
}

int control_input_next(struct control_input *in, const char **text, u32 *len)
{
	while (in->at < in->len) {
		u8 c = in->buf[in->at++];
		int found;

		if ((c < ' ' && !blank(c)) || c == 0xff) {
			start_over(in);
			in->junk = false;
			return -EPROTO;
		}
		found = in->depth ? inside(in, c) : between(in, c);
		if (found > 0) {
			*text = in->buf + in->begin;
			*len = in->at - in->begin;
			in->begin = in->at;
		}
		if (found)
			return found;
	}
	return in->len - in->begin == CONTROL_INPUT_MAX ? -E2BIG : 0;
}
