// SPDX-License-Identifier: MIT
/*
 * json.c - stand-ins for the functions of jansson that we use. See json.h.
 *
 * The table of the library's functions is global, like the terminal's settings: a process loads a
 * library once.
 */
#include "vmm/json.h"
#include "minivmm/base.h"
#include "minivmm/log.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libjansson.so.4"

/* clang-format off: one function a line. Those that have no variable arguments: */
#define FUNCTIONS(X)                                                                               \
	X(json_t *, json_object, (void), ())                                                       \
	X(json_t *, json_array, (void), ())                                                        \
	X(json_t *, json_string, (const char *text), (text))                                       \
	X(json_t *, json_integer, (json_int_t value), (value))                                     \
	X(json_t *, json_true, (void), ())                                                         \
	X(json_t *, json_false, (void), ())                                                        \
	X(size_t, json_object_size, (const json_t *o), (o))                                        \
	X(json_t *, json_object_get, (const json_t *o, const char *key), (o, key))                 \
	X(int, json_object_set_new, (json_t * o, const char *key, json_t *value), (o, key, value)) \
	X(void *, json_object_iter, (json_t * o), (o))                                             \
	X(void *, json_object_iter_next, (json_t * o, void *iter), (o, iter))                      \
	X(const char *, json_object_iter_key, (void *iter), (iter))                                \
	X(json_t *, json_object_iter_value, (void *iter), (iter))                                  \
	X(void *, json_object_key_to_iter, (const char *key), (key))                               \
	X(size_t, json_array_size, (const json_t *a), (a))                                         \
	X(json_t *, json_array_get, (const json_t *a, size_t i), (a, i))                           \
	X(int, json_array_append_new, (json_t * a, json_t * value), (a, value))                    \
	X(const char *, json_string_value, (const json_t *s), (s))                                 \
	X(json_int_t, json_integer_value, (const json_t *i), (i))                                  \
	X(json_t *, json_loadb, (const char *text, size_t len, size_t flags, json_error_t *e),     \
	  (text, len, flags, e))                                                                   \
	X(char *, json_dumps, (const json_t *value, size_t flags), (value, flags))                 \
	X(void, json_delete, (json_t * value), (value))                                            \
	X(json_t *, json_vpack_ex,                                                                 \
	  (json_error_t * e, size_t flags, const char *fmt, va_list args), (e, flags, fmt, args))

static struct {
#define POINTER(type, name, parameters, arguments) type(*name) parameters;
	FUNCTIONS(POINTER)
} library;

#define STAND_IN(type, name, parameters, arguments) \
	type name parameters                        \
	{                                           \
		return library.name arguments;      \
	}
FUNCTIONS(STAND_IN)
/* clang-format on */

json_t *json_pack(const char *fmt, ...)
{
	va_list args;
	json_t *value;

	va_start(args, fmt);
	value = json_vpack_ex(NULL, 0, fmt, args);
	va_end(args);
	return value;
}

int json_load_library(const char *option)
{
	void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	bool found = handle;

	if (!handle) {
		log_err("%s needs " LIBRARY ": install it (Debian's package libjansson4)", option);
		return -ENOENT;
	}
#define FIND(type, name, parameters, arguments) \
	library.name = dlsym(handle, #name);    \
	found = found && library.name;
	FUNCTIONS(FIND)
	if (found)
		return 0;
	log_err("%s: this " LIBRARY " is too old: install version 2.3 or newer", option);
	return -ENOENT;
}

json_t *json_text(const char *text)
{
	json_t *value = json_string(text);
	char *copy = value ? NULL : strdup(text);

	for (char *c = copy; c && *c; c++) {
		if (*c & 0x80)
			*c = '?';
	}
	if (copy)
		value = json_string(copy);
	free(copy);
	return value;
}
