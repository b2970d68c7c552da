// SPDX-License-Identifier: MIT
/*
 * config_rig.c - see config_rig.h.
 */
#include "tests/unit/config_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct config config_rig;

int config_words(char **argv, int n, const char *line)
{
	static char copy[4096];

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *p = strtok(copy, " "); p; p = strtok(NULL, " ")) {
		ck_assert_int_lt(n, CONFIG_WORDS_MAX - 1);
		argv[n++] = p;
	}
	return n;
}

void config_expect_good(int err, const char *line)
{
	ck_assert_msg(err == 0, "%s: \"%s\"", line, said_text());
	expect_silence();
}

void config_expect_bad(int err, const char *line, const char *why)
{
	ck_assert_msg(err == -EINVAL, "%s: accepted", line);
	ck_assert_msg(said_once(why), "%s: \"%s\" does not have \"%s\"", line, said_text(), why);
}

static int parse(const char *line)
{
	char *argv[CONFIG_WORDS_MAX] = { "minivmm", "--kernel", "k" };
	int argc = config_words(argv, 3, line);

	config_free(&config_rig);
	return config_parse(&config_rig, argc, argv);
}

void config_good(const char *line)
{
	config_expect_good(parse(line), line);
}

void config_bad(const char *line, const char *why)
{
	config_expect_bad(parse(line), line, why);
}

void config_rig_init(void)
{
	config_rig = (struct config){ 0 };
}

void config_rig_free(void)
{
	config_free(&config_rig);
}
