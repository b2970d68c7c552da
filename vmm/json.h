/* SPDX-License-Identifier: MIT */
/*
 * json.h - JSON, by the library jansson.
 *
 * The library is loaded when it is needed (dlopen), so that a start without a control socket costs
 * nothing. What we use of <jansson.h> is defined in json.c: each function calls the library's, after
 * json_load() has found it. So the rest of the program is written as with any library, and
 * https://jansson.readthedocs.io is the manual. A function that is not in json.c can't be used: the
 * program then does not link.
 */
#ifndef VMM_JSON_H
#define VMM_JSON_H

#include <jansson.h>

/* Load the library. Once is enough; main thread. Returns 0, or -ENOENT after a message for `option`. */
int json_load_library(const char *option);

/* A string that need not be UTF-8, such as a path: if it is not, what is no ASCII becomes "?". */
json_t *json_text(const char *text);

#endif
