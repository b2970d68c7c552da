// SPDX-License-Identifier: MIT
/*
 * ctl_table.c - what `minivmm ctl` prints in columns. See ctl.h.
 *
 * How it works: a table is a row of columns, each with the keys by which a value is found in an object of
 * the answer. With an earlier answer each value is the difference, a second.
 */
#include "vmm/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct column {
	const char *title;
	const char *key[2]; /* from outside to inside */
};

static const struct column cpu_columns[] = {
	{ "exits", { "kvm", "exits" } },	 { "halts", { "halts", NULL } },
	{ "irqs", { "kvm", "irq_injections" } }, { "to us: pio-r", { "exits", "pio-read" } },
	{ "pio-w", { "exits", "pio-write" } },	 { "mmio-r", { "exits", "mmio-read" } },
	{ "mmio-w", { "exits", "mmio-write" } }, { "signal", { "exits", "signal" } },
	{ "other", { "exits", "other" } },
};

static const struct column queue_columns[] = {
	{ "chains", { "chains", NULL } },	   { "out-bytes", { "out-bytes", NULL } },
	{ "in-bytes", { "in-bytes", NULL } },	   { "kicks", { "kicks", NULL } },
	{ "saved", { "kicks-saved", NULL } },	   { "irqs", { "interrupts", NULL } },
	{ "saved", { "interrupts-saved", NULL } }, { "full", { "ring-full", NULL } },
	{ "empty", { "ring-empty", NULL } },	   { "dropped", { "dropped", NULL } },
};

/* The member, or NULL. */
static const json_t *member(const json_t *o, const struct column *c)
{
	const json_t *value = json_object_get(o, c->key[0]);

	return c->key[1] ? json_object_get(value, c->key[1]) : value;
}

/* At most 7 characters. */
static void print_number(double n, int width)
{
	static const char units[] = " KMGTPE";
	u32 unit = 0;
	char text[32];

	if (n < 0)
		n = 0; /* it began anew in between */
	if (n < 999999.5) {
		snprintf(text, sizeof(text), "%.0f", n);
	} else {
		for (; n >= 999.5 && unit < sizeof(units) - 2; unit++)
			n /= 1000;
		snprintf(text, sizeof(text), "%.*f%c", n < 99.5 ? 1 : 0, n, units[unit]);
	}
	printf(" %*s", width, text);
}

static int width_of(const struct column *c)
{
	return strlen(c->title) > 7 ? strlen(c->title) : 7;
}

static void print_titles(const struct column *c, u32 n)
{
	for (u32 i = 0; i < n; i++)
		printf(" %*s", width_of(&c[i]), c[i].title);
}

static void print_values(const struct column *c, u32 n, const json_t *now, const json_t *before,
			 double seconds)
{
	for (u32 i = 0; i < n; i++) {
		const json_t *a = member(now, &c[i]), *b = member(before, &c[i]);
		double value;

		if (!a) {
			printf(" %*s", width_of(&c[i]), "-");
			continue;
		}
		value = json_integer_value(a);
		if (before)
			value = (value - json_integer_value(b)) / seconds;
		print_number(value, width_of(&c[i]));
	}
}

static const json_t *list(const json_t *o, const char *key)
{
	return json_object_get(o, key);
}

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "?";
}

static void print_cpus(const json_t *now, const json_t *before, double seconds)
{
	printf("%-25s", "CPU");
	print_titles(cpu_columns, ARRAY_SIZE(cpu_columns));
	printf("\n");
	for (size_t i = 0; i < json_array_size(list(now, "cpus")); i++) {
		const json_t *cpu = json_array_get(list(now, "cpus"), i);

		printf("%-25" PRIi64,
		       (int64_t)json_integer_value(json_object_get(cpu, "cpu-index")));
		print_values(cpu_columns, ARRAY_SIZE(cpu_columns), cpu,
			     before ? json_array_get(list(before, "cpus"), i) : NULL, seconds);
		printf("\n");
	}
}

/* Chains in a batch, on average. */
static void print_batch(const json_t *now, const json_t *before)
{
	const json_t *a = list(now, "batches"), *b = list(before, "batches");
	json_int_t chains = json_integer_value(json_object_get(now, "chains")) -
			    json_integer_value(json_object_get(before, "chains"));
	json_int_t batches = 0;

	for (size_t i = 0; i < json_array_size(a); i++)
		batches += json_integer_value(json_array_get(a, i)) -
			   json_integer_value(json_array_get(b, i));
	if (batches > 0 && chains > 0)
		printf(" %7.1f", (double)chains / batches);
	else
		printf(" %7s", "-");
}

static void print_queue(const json_t *device, const json_t *now, const json_t *before,
			double seconds)
{
	printf("%-12s %-12s", word(device, "device"), word(now, "name"));
	if (!json_is_true(json_object_get(now, "counted"))) {
		printf(" not counted: %s serves it\n", word(device, "datapath"));
		return;
	}
	print_values(queue_columns, ARRAY_SIZE(queue_columns), now, before, seconds);
	print_batch(now, before);
	printf("\n");
}

static void print_queues(const json_t *now, const json_t *before, double seconds)
{
	printf("%-12s %-12s", "DEVICE", "QUEUE");
	print_titles(queue_columns, ARRAY_SIZE(queue_columns));
	printf(" %7s\n", "batch");
	for (size_t i = 0; i < json_array_size(list(now, "devices")); i++) {
		const json_t *device = json_array_get(list(now, "devices"), i);
		const json_t *old = before ? json_array_get(list(before, "devices"), i) : NULL;

		for (size_t q = 0; q < json_array_size(list(device, "queues")); q++)
			print_queue(device, json_array_get(list(device, "queues"), q),
				    old ? json_array_get(list(old, "queues"), q) : NULL, seconds);
	}
}

/* Of the devices that can be moved to another data path. */
static void print_switches(const json_t *now)
{
	for (size_t i = 0; i < json_array_size(list(now, "devices")); i++) {
		const json_t *d = json_array_get(list(now, "devices"), i);
		const json_t *n = json_object_get(d, "switches"), *last = list(d, "last-gap-us");

		if (!n)
			continue;
		printf("\n%s: %" PRIi64 " switches, %s serves it", word(d, "device"),
		       (int64_t)json_integer_value(n), word(d, "datapath"));
		if (last)
			printf("; without service: the last %" PRIi64 " us, the longest %" PRIi64
			       " us",
			       (int64_t)json_integer_value(json_object_get(last, "total")),
			       (int64_t)json_integer_value(json_object_get(d, "longest-gap-us")));
		printf("\n");
	}
}

void ctl_print_stats(const json_t *now, const json_t *before)
{
	double seconds = (json_integer_value(json_object_get(now, "time-ns")) -
			  json_integer_value(json_object_get(before, "time-ns"))) /
			 1e9;

	if (seconds <= 0)
		before = NULL;
	print_cpus(now, before, seconds);
	printf("\n");
	print_queues(now, before, seconds);
	print_switches(now);
}

void ctl_print_devices(const json_t *devices)
{
	printf("%-12s %-14s %-5s %-10s %6s %6s %-5s %s\n", "DEVICE", "TYPE", "BUS", "DATAPATH",
	       "QUEUES", "RING", "LINK", "FEATURES");
	for (size_t i = 0; i < json_array_size(devices); i++) {
		const json_t *d = json_array_get(devices, i);
		bool packed = json_is_true(json_object_get(d, "packed"));
		const json_t *link = json_object_get(d, "link");

		printf("%-12s %-14s %-5s %-10s %6" PRIi64 " %6s %-5s %s\n", word(d, "device"),
		       word(d, "type"), word(d, "bus"), word(d, "datapath"),
		       (int64_t)json_integer_value(json_object_get(d, "queues")),
		       packed ? "packed" : "split", link ? json_string_value(link) : "-",
		       word(d, "negotiated"));
	}
}

static int64_t gap(const json_t *done, const char *part)
{
	return json_integer_value(json_object_get(json_object_get(done, "gap-us"), part));
}

void ctl_print_switch(const char *name, const json_t *done)
{
	printf("%s: %s -> %s, %" PRIi64 " us without service (quiesce %" PRIi64
	       ", hand over %" PRIi64 ", restart %" PRIi64 ")\n",
	       name, word(done, "from"), word(done, "to"), gap(done, "total"), gap(done, "quiesce"),
	       gap(done, "hand-over"), gap(done, "restart"));
}

void ctl_print_trace(const json_t *done)
{
	printf("%s: %" PRIi64 " events; %" PRIi64 " had to make room for them\n",
	       word(done, "filename"), (int64_t)json_integer_value(json_object_get(done, "events")),
	       (int64_t)json_integer_value(json_object_get(done, "dropped")));
}
