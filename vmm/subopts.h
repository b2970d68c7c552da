/* SPDX-License-Identifier: MIT */
/*
 * subopts.h - the value of an option such as --disk: words between commas, most of them KEY=VALUE.
 * A comma inside a value is written twice, as with QEMU.
 */
#ifndef VMM_SUBOPTS_H
#define VMM_SUBOPTS_H

#include "minivmm/base.h"

enum subopt_type {
	SUBOPT_STRING, /* const char *: not empty */
	SUBOPT_SWITCH, /* bool: on or off */
	SUBOPT_NUMBER, /* u32 */
	SUBOPT_POWER,  /* u32, a power of two */
	SUBOPT_CHOICE, /* u32: which of the words in `choices` */
	SUBOPT_AMOUNT, /* u64 from 1 to SUBOPT_AMOUNT_MAX; K, M, G: times 1000, a million, ... */
	SUBOPT_SIZE,   /* the same, but K, M, G: times 1024, ... */
	SUBOPT_LIST,   /* struct subopt_list: strings, one each time the key is given */
};

#define SUBOPT_AMOUNT_MAX 1000000000000ULL
#define SUBOPT_LIST_MAX	  16

struct subopt_list {
	u32 n;
	const char *item[SUBOPT_LIST_MAX];
};

/* One key. A table of them ends with one that has no name. */
struct subopt {
	const char *name;
	enum subopt_type type;
	size_t offset;	     /* of the value, in the structure that is filled in */
	u32 min, max;	     /* of a number */
	const char *choices; /* "pci|mmio" */
};

/*
 * Cut the first word off `*text`, in place: *text then is what follows its comma, NULL behind the
 * last word. Returns the word, with double commas made single.
 */
char *subopts_word(char **text);

/*
 * Read the words of `text`, which is cut up and must live as long as the values, into `target`. What
 * is not given keeps the value that is there. Returns 0, or -EINVAL after one line that names
 * `option` and what is wrong: an unknown key, one given twice, a bad value.
 */
int subopts_parse(const char *option, char *text, const struct subopt *table, void *target);

/* A decimal number of digits only. Returns 0 and what follows it, or -EINVAL or -ERANGE. */
int number_parse(const char *s, u64 *value, const char **rest);

#endif
