// SPDX-License-Identifier: MIT
/*
 * control_qmp.c - the QEMU Machine Protocol: from the text of a request to that of its answer. QEMU's
 * docs/interop/qmp-spec.rst is the specification.
 *
 *	server	{"QMP": {"version": ..., "capabilities": []}}
 *	client	{"execute": "qmp_capabilities"}			nothing else is allowed before
 *	server	{"return": {}}
 *	client	{"execute": NAME, "arguments": {...}, "id": ANY}
 *	server	{"return": VALUE, "id": ANY}	or	{"error": {"class": ..., "desc": ...}, "id": ANY}
 *	server	{"event": NAME, "data": {...}, "timestamp": {...}}	at any time
 *
 * How it works: a request is parsed, and checked against the row of the table that its command has,
 * arguments and all, before anything is done. Answers come in the order of the requests: while one is
 * under way (`stop` waits for the CPUs) no other is begun.
 */
#include "vmm/control_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CAPABILITIES "qmp_capabilities"

/* What is no QEMU has a low version, and says in `package` what it is. */
json_t *qmp_version(void)
{
	char package[128];

	snprintf(package, sizeof(package), "minivmm %s", config_version());
	return json_pack("{s:{s:i,s:i,s:i},s:s}", "qemu", "major", 0, "minor", 1, "micro", 0,
			 "package", package);
}

json_t *qmp_greeting(void)
{
	return json_pack("{s:{s:o,s:[]}}", "QMP", "version", qmp_version(), "capabilities");
}

json_t *qmp_event(const char *name, json_t *data)
{
	struct timespec now;
	json_t *event;

	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:{s:I,s:I},s:s}", "timestamp", "seconds", (json_int_t)now.tv_sec,
			  "microseconds", (json_int_t)now.tv_nsec / 1000, "event", name);
	if (data)
		json_object_set_new(event, "data", data);
	return event;
}

json_t *qmp_refuse(const char *class, const char *why)
{
	return json_pack("{s:{s:s,s:o}}", "error", "class", class, "desc", json_text(why));
}

json_t *call_fail(struct control_call *call, const char *class, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(call->why, sizeof(call->why), fmt, args);
	va_end(args);
	call->error = class;
	return NULL;
}

/* ---- a request ---- */

static const char *type_name(json_type type)
{
	switch (type) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	default:
		return "true or false";
	}
}

static bool is_type(const json_t *value, json_type type)
{
	return json_typeof(value) == type || (type == JSON_TRUE && json_is_false(value));
}

static const struct control_arg *find_arg(const struct control_command *cmd, const char *name)
{
	for (u32 i = 0; i < ARRAY_SIZE(cmd->arg) && cmd->arg[i].name; i++) {
		if (strcmp(cmd->arg[i].name, name) == 0)
			return &cmd->arg[i];
	}
	return NULL;
}

/* Are the arguments those that the command takes? False after call_fail(). */
static bool check_args(struct control_call *call, const struct control_command *cmd)
{
	const char *key;
	json_t *value;

	if (call->args) {
		json_object_foreach(call->args, key, value)
		{
			const struct control_arg *arg = find_arg(cmd, key);

			if (!arg) {
				call_fail(call, "GenericError", "%s takes no argument '%s'",
					  cmd->name, key);
				return false;
			}
			if (!is_type(value, arg->type)) {
				call_fail(call, "GenericError", "argument '%s' has to be %s", key,
					  type_name(arg->type));
				return false;
			}
		}
	}
	for (u32 i = 0; i < ARRAY_SIZE(cmd->arg) && cmd->arg[i].name; i++) {
		if (cmd->arg[i].required && !json_object_get(call->args, cmd->arg[i].name)) {
			call_fail(call, "GenericError", "argument '%s' is missing",
				  cmd->arg[i].name);
			return false;
		}
	}
	return true;
}

static const struct control_command *find_command(const char *name)
{
	for (const struct control_command *cmd = control_commands; cmd->name; cmd++) {
		if (strcmp(cmd->name, name) == 0)
			return cmd;
	}
	return NULL;
}

/* We have no capabilities that could be enabled. */
static json_t *negotiate(struct control_call *call, struct control_session *s)
{
	static const struct control_command cmd = { .name = CAPABILITIES,
						    .arg = { { "enable", JSON_ARRAY, false } } };
	json_t *wanted;

	if (!check_args(call, &cmd))
		return NULL;
	wanted = json_object_get(call->args, "enable");
	if (json_array_size(wanted))
		return call_fail(call, "GenericError", "there are no capabilities to be enabled");
	s->negotiated = true;
	return json_object();
}

static json_t *run(struct control_call *call, struct control_session *s, const char *name)
{
	const struct control_command *cmd = find_command(name);

	if (!s->negotiated && strcmp(name, CAPABILITIES) == 0)
		return negotiate(call, s);
	if (!s->negotiated)
		return call_fail(call, "CommandNotFound", "begin with " CAPABILITIES);
	if (!cmd)
		return call_fail(call, "CommandNotFound", "there is no command '%s' now", name);
	return check_args(call, cmd) ? cmd->run(call) : NULL;
}

/* The request is an object: find what to execute, and do it. */
static json_t *execute(struct control_call *call, struct control_session *s, json_t *request)
{
	const char *key, *name = NULL;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		if (strcmp(key, "execute") == 0) {
			name = json_string_value(value);
			if (!name)
				return call_fail(call, "GenericError",
						 "'execute' has to be a string");
		} else if (strcmp(key, "arguments") == 0) {
			if (!json_is_object(value))
				return call_fail(call, "GenericError",
						 "'arguments' has to be an object");
			call->args = value;
		} else if (strcmp(key, "id") != 0) {
			return call_fail(call, "GenericError", "a request has no member '%s'", key);
		}
	}
	if (!name)
		return call_fail(call, "GenericError", "a request needs 'execute'");
	return run(call, s, name);
}

static json_t *with_id(json_t *answer, json_t *id)
{
	if (id)
		json_object_set_new(answer, "id", json_incref(id));
	return answer;
}

json_t *qmp_request(struct control *c, struct control_session *s, const char *text, u32 len)
{
	struct control_call call = { .c = c };
	json_t *request, *value, *id, *answer;
	json_error_t error;
	char why[JSON_ERROR_TEXT_LENGTH + 32];

	request = json_loadb(text, len, 0, &error);
	if (!request) {
		snprintf(why, sizeof(why), "no JSON: %s", error.text);
		return qmp_refuse("GenericError", why);
	}
	call.ops = control_ops_of(c, &call.machine);
	id = json_object_get(request, "id");
	value = execute(&call, s, request);
	if (call.later) {
		s->later = true;
		s->later_id = json_incref(id);
		answer = NULL;
	} else if (value) {
		answer = with_id(json_pack("{s:o}", "return", value), id);
	} else {
		answer = with_id(qmp_refuse(call.error ? call.error : "GenericError",
					    call.error ? call.why : "out of memory"),
				 id);
	}
	json_decref(request);
	return answer;
}

json_t *qmp_answer_later(struct control_session *s)
{
	json_t *answer = with_id(json_pack("{s:{}}", "return"), s->later_id);

	json_decref(s->later_id);
	s->later_id = NULL;
	s->later = false;
	return answer;
}
