// SPDX-License-Identifier: MIT
/*
 * stats.c - the table at the end of a benchmark.
 *
 *	stats BASE UNIT < FILE		a table; n.s.: not significant
 *	stats --json < FILE		all that there is, each candidate beside each
 *
 * FILE has a heading and then a line a run, "round,candidate,time,value,...". Prints for each
 * candidate the number of runs, the median of `time` with the 10th and 90th percentiles, its ratio
 * to BASE with a 95% confidence interval, and the medians of the further columns.
 *
 * How it works: the machine's speed changes from minute to minute, so what is compared are runs of the same round: the
 * ratio is the median of the rounds' ratios. Its interval is the sign test's, which asks nothing of how they are
 * distributed: of n sorted ratios, from the k-th to the k-th last, with the largest k for which at most 5% of n tosses
 * of a coin have fewer than k heads, or fewer than k tails. A round in which a candidate failed has no line for it.
 *
 * A difference is significant if it is at least as large as the interval is wide, the interval does not hold 1, and
 * there are at least ROUNDS_MIN rounds that have both: with fewer, even if the same one wins each time, chance does
 * that once in 2^(n-1) times, which is more than 5%.
 */
#include <err.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 16
#define ROUNDS_MAX     10000
#define COLUMNS_MAX    24
#define ROUNDS_MIN     6
#define NAME_MAX_LEN   64

struct candidate {
	char name[NAME_MAX_LEN];
	double *value[COLUMNS_MAX]; /* by round; NAN where there is none */
};

struct table {
	struct candidate c[CANDIDATES_MAX];
	char column[COLUMNS_MAX][NAME_MAX_LEN];
	int ncandidates, ncolumns, nrounds;
};

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The value below which `part` of the n sorted values lie, between neighbours in proportion. */
static double quantile(const double *v, int n, double part)
{
	double at = part * (n - 1);
	int i = (int)at;

	if (n == 0)
		return NAN;
	return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[i];
}

/* The values of all rounds that have one, each divided by `base`'s if that is not NULL, sorted, into `out`. Returns how
 * many. */
static int gather(const struct table *t, const double *value, const double *base, double *out)
{
	int n = 0;

	for (int i = 0; i < t->nrounds; i++) {
		double v = base ? value[i] / base[i] : value[i];

		if (!isnan(v))
			out[n++] = v;
	}
	qsort(out, n, sizeof(*out), compare);
	return n;
}

static double median(const struct table *t, const double *value, const double *base)
{
	static double sorted[ROUNDS_MAX];
	int n = gather(t, value, base, sorted);

	return quantile(sorted, n, 0.5);
}

/* How likely n tosses of a coin have exactly k heads. */
static double heads(int n, int k)
{
	return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) - n * log(2));
}

/* Of the median ratio to `base`; of the median value itself if that is NULL. */
static void interval(const struct table *t, const double *value, const double *base, double *low,
		     double *high)
{
	static double sorted[ROUNDS_MAX];
	int n = gather(t, value, base, sorted), k = 0;
	double outside = 2 * heads(n, 0);

	*low = *high = NAN;
	if (n == 0)
		return;
	while (outside + 2 * heads(n, k + 1) <= 0.05) {
		k++;
		outside += 2 * heads(n, k);
	}
	*low = sorted[k];
	*high = sorted[n - 1 - k];
}

static struct candidate *find(struct table *t, const char *name)
{
	struct candidate *c = t->c;

	while (c < t->c + t->ncandidates && strcmp(c->name, name) != 0)
		c++;
	if (c == t->c + CANDIDATES_MAX)
		errx(1, "more than %d candidates", CANDIDATES_MAX);
	if (c < t->c + t->ncandidates)
		return c;
	t->ncandidates++;
	if (strlen(name) >= sizeof(c->name))
		errx(1, "%s: too long a name", name);
	strcpy(c->name, name);
	for (int i = 0; i < t->ncolumns; i++) {
		c->value[i] = malloc(ROUNDS_MAX * sizeof(double));
		if (!c->value[i])
			err(1, "memory");
		for (int k = 0; k < ROUNDS_MAX; k++)
			c->value[i][k] = NAN;
	}
	return c;
}

static void read_heading(struct table *t, char *line)
{
	char *word = strtok(line, ",\n");

	for (int i = 0; word; i++, word = strtok(NULL, ",\n")) {
		if (i < 2)
			continue; /* round, candidate */
		if (t->ncolumns == COLUMNS_MAX)
			errx(1, "more than %d columns", COLUMNS_MAX);
		snprintf(t->column[t->ncolumns++], NAME_MAX_LEN, "%s", word);
	}
	if (!t->ncolumns)
		errx(1, "the heading names no column");
}

static void read_run(struct table *t, char *line)
{
	char *word = strtok(line, ",\n");
	int round = word ? atoi(word) : -1;
	struct candidate *c;

	word = strtok(NULL, ",\n");
	if (!word || round < 0 || round >= ROUNDS_MAX)
		errx(1, "a run has no round from 0 to %d, or no candidate", ROUNDS_MAX - 1);
	c = find(t, word);
	for (int i = 0; i < t->ncolumns && (word = strtok(NULL, ",\n")); i++)
		c->value[i][round] = strtod(word, NULL);
	if (round >= t->nrounds)
		t->nrounds = round + 1;
}

static int pairs(const struct table *t, const double *a, const double *b)
{
	int n = 0;

	for (int i = 0; i < t->nrounds; i++)
		n += !isnan(a[i]) && !isnan(b[i]);
	return n;
}

/* The head of this file says when. `low`, `high`: the ratio's interval. */
static bool significant(const struct table *t, const struct candidate *c,
			const struct candidate *base, double low, double high)
{
	double ratio = median(t, c->value[0], base->value[0]);

	return pairs(t, c->value[0], base->value[0]) >= ROUNDS_MIN && (low > 1 || high < 1) &&
	       high - low <= fabs(ratio - 1);
}

static void print_row(const struct table *t, const struct candidate *c,
		      const struct candidate *base)
{
	static double sorted[ROUNDS_MAX];
	int n = gather(t, c->value[0], NULL, sorted);
	double low, high;

	printf("%-16s %5d %9.2f %9.2f %9.2f", c->name, n, quantile(sorted, n, 0.5),
	       quantile(sorted, n, 0.1), quantile(sorted, n, 0.9));
	if (c == base) {
		printf("   1.00                     ");
	} else {
		interval(t, c->value[0], base->value[0], &low, &high);
		printf("  %5.2f [%.2f to %.2f] %-4s",
		       median(t, c->value[0], base->value[0]), low, high,
		       significant(t, c, base, low, high) ? "" : "n.s.");
	}
	for (int i = 1; i < t->ncolumns; i++)
		printf(" %*.0f", (int)strlen(t->column[i]), median(t, c->value[i], NULL));
	printf("\n");
}

static void json_number(const char *before, const char *name, double v)
{
	if (isnan(v))
		printf("%s\"%s\":null", before, name);
	else
		printf("%s\"%s\":%.8g", before, name, v);
}

static void json_ratio(const struct table *t, const struct candidate *c,
		       const struct candidate *base)
{
	double low, high;

	interval(t, c->value[0], base->value[0], &low, &high);
	printf("\"%s\":{\"pairs\":%d", base->name, pairs(t, c->value[0], base->value[0]));
	json_number(",", "ratio", median(t, c->value[0], base->value[0]));
	json_number(",", "low", low);
	json_number(",", "high", high);
	printf(",\"significant\":%s}", significant(t, c, base, low, high) ? "true" : "false");
}

/* [{"candidate":, "runs":, "median":, "p10":, "p90":, "low":, "high":, "ratio":{OTHER:{...}}, "also":{COLUMN:}}] */
static void print_json(const struct table *t)
{
	static double sorted[ROUNDS_MAX];

	for (int i = 0; i < t->ncandidates; i++) {
		const struct candidate *c = &t->c[i];
		int n = gather(t, c->value[0], NULL, sorted);
		double low, high;
		bool first = true;

		printf("%s{\"candidate\":\"%s\",\"runs\":%d", i ? ",\n" : "[", c->name, n);
		json_number(",", "median", quantile(sorted, n, 0.5));
		json_number(",", "p10", quantile(sorted, n, 0.1));
		json_number(",", "p90", quantile(sorted, n, 0.9));
		interval(t, c->value[0], NULL, &low, &high);
		json_number(",", "low", n >= ROUNDS_MIN ? low : NAN);
		json_number(",", "high", n >= ROUNDS_MIN ? high : NAN);
		printf(",\"ratio\":{");
		for (int k = 0; k < t->ncandidates; k++) {
			if (k == i)
				continue;
			printf("%s", first ? "" : ",");
			json_ratio(t, c, &t->c[k]);
			first = false;
		}
		printf("},\"also\":{");
		for (int k = 1; k < t->ncolumns; k++)
			json_number(k > 1 ? "," : "", t->column[k], median(t, c->value[k], NULL));
		printf("}}");
	}
	printf("]\n");
}

int main(int argc, char **argv)
{
	static struct table t;
	struct candidate *base;
	char line[1024];
	bool json = argc == 2 && strcmp(argv[1], "--json") == 0;

	if (argc != 3 && !json)
		errx(2, "Usage: stats BASE UNIT < FILE | stats --json < FILE");
	if (!fgets(line, sizeof(line), stdin))
		errx(1, "no heading");
	read_heading(&t, line);
	while (fgets(line, sizeof(line), stdin))
		read_run(&t, line);
	if (json) {
		print_json(&t);
		return 0;
	}
	base = find(&t, argv[1]);
	printf("%-16s %5s %9s %9s %9s  %s [95%% interval]     ", "", "runs", argv[2], "10%", "90%",
	       "ratio");
	for (int i = 1; i < t.ncolumns; i++)
		printf(" %s", t.column[i]);
	printf("\n");
	for (int i = 0; i < t.ncandidates; i++)
		print_row(&t, &t.c[i], base);
	return 0;
}
