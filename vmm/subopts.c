// SPDX-License-Identifier: MIT
/*
 * subopts.c - words between commas. A table says what keys there are and what their values look like.
 */
#include "vmm/subopts.h"
#include "minivmm/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 64 /* in one table: a bit each */

int number_parse(const char *s, u64 *value, const char **rest)
{
	char *end;

	if (*s < '0' || *s > '9') /* strtoull would take a sign and blanks */
		return -EINVAL;
	errno = 0;
	*value = strtoull(s, &end, 10);
	*rest = end;
	return -errno;
}

char *subopts_word(char **text)
{
	char *word = *text, *from = word, *to = word;

	*text = NULL;
	for (; *from; *to++ = *from++) {
		if (*from != ',')
			continue;
		if (from[1] != ',') {
			*text = from + 1;
			break;
		}
		from++;
	}
	*to = '\0';
	return word;
}

/* Which word of "a|b|c" is `value`? Its number, or -1. */
static int choice_index(const char *choices, const char *value)
{
	size_t len = strlen(value);

	for (int i = 0;; i++) {
		size_t n = strcspn(choices, "|");

		if (n == len && memcmp(choices, value, n) == 0)
			return i;
		if (!choices[n])
			return -1;
		choices += n + 1;
	}
}

static int set_number(const char *option, const struct subopt *k, const char *value, u32 *target)
{
	const char *rest;
	u64 n;

	if (number_parse(value, &n, &rest) || *rest || n < k->min || n > k->max ||
	    (k->type == SUBOPT_POWER && (n & (n - 1)))) {
		log_err("--%s: %s=%s: give a %s from %u to %u", option, k->name, value,
			k->type == SUBOPT_POWER ? "power of two" : "number", k->min, k->max);
		return -EINVAL;
	}
	*target = n;
	return 0;
}

/* A number with or without a unit, each `step` times the one before. */
static int set_amount(const char *option, const struct subopt *k, const char *value, u64 *target)
{
	static const char units[] = "KMG";
	u64 step = k->type == SUBOPT_SIZE ? 1024 : 1000, n;
	const char *rest, *unit;

	if (number_parse(value, &n, &rest) == 0 && n && n <= SUBOPT_AMOUNT_MAX) {
		unit = *rest ? strchr(units, toupper((unsigned char)*rest)) : NULL;
		for (const char *u = units; unit && u <= unit && n <= SUBOPT_AMOUNT_MAX; u++)
			n *= step;
		if (unit)
			rest++;
		if (!*rest && n <= SUBOPT_AMOUNT_MAX) {
			*target = n;
			return 0;
		}
	}
	log_err("--%s: %s=%s: give a number, or one with K, M or G, up to 1000G", option, k->name,
		value);
	return -EINVAL;
}

static int add_item(const char *option, const struct subopt *k, const char *value,
		    struct subopt_list *list)
{
	if (list->n == SUBOPT_LIST_MAX) {
		log_err("--%s: %s= can be given %d times", option, k->name, SUBOPT_LIST_MAX);
		return -EINVAL;
	}
	list->item[list->n++] = value;
	return 0;
}

static int set_value(const char *option, const struct subopt *k, const char *value, void *target)
{
	void *field = (char *)target + k->offset;
	int i;

	if (!*value && (k->type == SUBOPT_STRING || k->type == SUBOPT_LIST)) {
		log_err("--%s: %s= needs a value", option, k->name);
		return -EINVAL;
	}
	switch (k->type) {
	case SUBOPT_STRING:
		*(const char **)field = value;
		return 0;
	case SUBOPT_LIST:
		return add_item(option, k, value, field);
	case SUBOPT_AMOUNT:
	case SUBOPT_SIZE:
		return set_amount(option, k, value, field);
	case SUBOPT_SWITCH:
		i = choice_index("off|on", value);
		if (i < 0) {
			log_err("--%s: %s=%s: give on or off", option, k->name, value);
			return -EINVAL;
		}
		*(bool *)field = i;
		return 0;
	case SUBOPT_NUMBER:
	case SUBOPT_POWER:
		return set_number(option, k, value, field);
	case SUBOPT_CHOICE:
		i = choice_index(k->choices, value);
		if (i < 0) {
			log_err("--%s: %s=%s: give one of %s", option, k->name, value, k->choices);
			return -EINVAL;
		}
		*(u32 *)field = i;
		return 0;
	}
	return -EINVAL;
}

static void refuse_key(const char *option, const char *word, const struct subopt *table)
{
	char keys[512] = "";

	for (; table->name; table++) {
		strncat(keys, *keys ? ", " : "", sizeof(keys) - strlen(keys) - 1);
		strncat(keys, table->name, sizeof(keys) - strlen(keys) - 1);
	}
	log_err("--%s: '%s' is not one of its settings (%s)", option, word, keys);
}

int subopts_parse(const char *option, char *text, const struct subopt *table, void *target)
{
	u64 seen = 0;

	while (text) {
		char *word = subopts_word(&text), *value = strchr(word, '=');
		const struct subopt *k = table;
		int err;

		if (value)
			*value++ = '\0';
		while (k->name && strcmp(k->name, word) != 0)
			k++;
		if (!k->name) {
			refuse_key(option, word, table);
			return -EINVAL;
		}
		if (!value) {
			log_err("--%s: %s needs a value: %s=...", option, word, word);
			return -EINVAL;
		}
		if (seen & 1ULL << (k - table) % KEYS_MAX && k->type != SUBOPT_LIST) {
			log_err("--%s: %s= is given twice", option, word);
			return -EINVAL;
		}
		seen |= 1ULL << (k - table) % KEYS_MAX;
		err = set_value(option, k, value, target);
		if (err)
			return err;
	}
	return 0;
}
