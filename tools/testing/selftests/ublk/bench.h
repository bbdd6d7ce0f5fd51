/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs of the benchmark share: looking at the system, and giving up.
 */
#ifndef UBLK_BENCH_H
#define UBLK_BENCH_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline void bench_check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		strerror(-ret));
	exit(1);
}

static inline uint64_t bench_number(const char *arg)
{
	char *end;
	uint64_t n = strtoull(arg, &end, 0);

	bench_check(!*arg || *end ? -EINVAL : 0, arg);
	return n;
}

static inline uint64_t bench_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Adds up number @field of the lines of @path that begin with @word. */
static inline uint64_t bench_sum_field(const char *path, const char *word,
				       unsigned int field)
{
	FILE *file = fopen(path, "r");
	uint64_t sum = 0;
	char line[4096];
	unsigned int i;
	char *at;

	bench_check(file ? 0 : -errno, path);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, word, strlen(word)))
			continue;
		for (at = line, i = 0; at && i < field; i++)
			at = strchr(at + 1, ' ');
		if (at)
			sum += strtoull(at, NULL, 10);
	}
	fclose(file);
	return sum;
}

/*
 * Time for which CPUs have run any task, in ns. A task is charged when it leaves
 * its CPU, so leave it.
 */
static inline uint64_t bench_busy(void)
{
	const struct timespec moment = { .tv_nsec = 1000 };

	nanosleep(&moment, NULL);
	return bench_sum_field("/proc/schedstat", "cpu", 7);
}

#endif
