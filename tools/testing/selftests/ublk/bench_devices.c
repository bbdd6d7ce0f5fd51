// SPDX-License-Identifier: GPL-2.0
/*
 * bench_devices: what a device costs that does nothing.
 *
 * Makes a number of devices, starts them, stops them and deletes them, one step
 * for all of them after the other, and looks at the system after each step.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "ublk.h"

static const char usage[] =
"Usage: bench_devices [OPTION]...\n"
"Print what one of many devices costs.\n"
"\n"
"  -n N      devices at a time; default 20\n"
"  -q N      queues; default 1\n"
"  -d N      depth of each; default 128\n"
"\n"
"First the ns of all CPUs that were work, for each step. Then the bytes of memory\n"
"that a device takes before it has a server, in all and of each kind. Then the\n"
"same of a live one, with the ring of its server and the commands in it. Then\n"
"the time that passes for all steps with one device after the other.\n";

struct device {
	struct ublksrv_ctrl_dev_info info;
	struct io_uring ring;
	int cdev;
};

static struct ublk_ctrl ctrl;
static struct ublksrv_ctrl_dev_info wanted = {
	.nr_hw_queues = 1, .queue_depth = 128, .max_io_buf_bytes = 512 << 10,
	.flags = UBLK_F_NO_AUTO_PART_SCAN,
};

static void add(struct device *d)
{
	const struct ublk_params params = {
		.len = sizeof(params),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 12,
			.io_opt_shift = 12,
			.io_min_shift = 9,
			.max_sectors = wanted.max_io_buf_bytes >> UBLK_SECTOR_SHIFT,
			.dev_sectors = 1 << 20,
		},
	};

	d->info = wanted;
	d->info.dev_id = UBLK_AUTO_ID;
	bench_check(ublk_add_dev(&ctrl, &d->info), "ADD_DEV");
	bench_check(ublk_set_params(&ctrl, d->info.dev_id, &params), "SET_PARAMS");
}

static void fetch(struct device *d, __u16 queue, __u16 tag)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
	struct ublksrv_io_cmd *cmd;

	if (!sqe) {
		bench_check(io_uring_submit(&d->ring), "ring");
		sqe = io_uring_get_sqe(&d->ring);
		bench_check(sqe ? 0 : -ENOBUFS, "ring");
	}
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = d->cdev;
	sqe->cmd_op = UBLK_U_IO_FETCH_REQ;
	cmd = (struct ublksrv_io_cmd *)sqe->cmd;
	cmd->q_id = queue;
	cmd->tag = tag;
	cmd->addr = sysconf(_SC_PAGESIZE);
}

/* No request ever comes, so nobody looks at the address or the answers. */
static void start(struct device *d)
{
	unsigned int q, tag;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%u", d->info.dev_id);
	d->cdev = open(path, O_RDWR | O_CLOEXEC);
	bench_check(d->cdev < 0 ? -errno : 0, path);
	bench_check(io_uring_queue_init(256, &d->ring, 0), "ring");
	for (q = 0; q < d->info.nr_hw_queues; q++)
		for (tag = 0; tag < d->info.queue_depth; tag++)
			fetch(d, q, tag);
	bench_check(io_uring_submit(&d->ring), "ring");
	bench_check(ublk_start_dev(&ctrl, d->info.dev_id, getpid()), "START_DEV");
}

static void stop(struct device *d)
{
	bench_check(ublk_stop_dev(&ctrl, d->info.dev_id), "STOP_DEV");
	io_uring_queue_exit(&d->ring);
	close(d->cdev);
}

static void delete(struct device *d)
{
	bench_check(ublk_del_dev(&ctrl, d->info.dev_id), "DEL_DEV");
}

static const struct {
	const char *name;
	void (*run)(struct device *d);
	const char *memory;	/* what its memory is called then, if it is looked at */
} steps[] = {
	{ "add", add, "memory" }, { "start", start, "live" },
	{ "stop", stop }, { "delete", delete },
};

static const char * const kinds[] = { "MemFree", "Slab", "VmallocUsed", "Percpu" };

#define NR_STEPS	(sizeof(steps) / sizeof(*steps))
#define NR_KINDS	(sizeof(kinds) / sizeof(*kinds))

static void look_at_memory(long long *bytes)
{
	unsigned int i;

	for (i = 0; i < NR_KINDS; i++)
		bytes[i] = bench_sum_field("/proc/meminfo", kinds[i], 1) * 1024;
}

static void print_memory(const char *name, const long long *before,
			 const long long *after, unsigned int nr)
{
	unsigned int i;

	printf("%s all=%lld", name, (before[0] - after[0]) / (int)nr);
	for (i = 1; i < NR_KINDS; i++)
		printf(" %s=%lld", kinds[i], (after[i] - before[i]) / (int)nr);
	printf("\n");
}

static void run_steps(struct device *devices, unsigned int nr)
{
	long long before[NR_KINDS], after[NR_STEPS][NR_KINDS];
	unsigned int i, step;
	uint64_t busy;

	printf("life");
	look_at_memory(before);
	for (step = 0; step < NR_STEPS; step++) {
		busy = bench_busy();
		for (i = 0; i < nr; i++)
			steps[step].run(&devices[i]);
		printf(" %s=%llu", steps[step].name,
		       (unsigned long long)(bench_busy() - busy) / nr);
		if (steps[step].memory)
			look_at_memory(after[step]);
	}
	printf("\n");
	for (step = 0; step < NR_STEPS; step++)
		if (steps[step].memory)
			print_memory(steps[step].memory, before, after[step], nr);
}

/* Returns the time that passes for one. */
static uint64_t run_cycles(unsigned int nr)
{
	struct device d = { };
	unsigned int i, step;
	uint64_t ns = bench_now();

	for (i = 0; i < nr; i++)
		for (step = 0; step < NR_STEPS; step++)
			steps[step].run(&d);
	return (bench_now() - ns) / nr;
}

/* A started device is two files. */
static void allow_files(unsigned int nr)
{
	struct rlimit limit = { .rlim_cur = 2 * nr + 64, .rlim_max = 2 * nr + 64 };

	bench_check(setrlimit(RLIMIT_NOFILE, &limit) ? -errno : 0, "files");
}

int main(int argc, char **argv)
{
	struct device *devices;
	unsigned int nr = 20;
	int c;

	while ((c = getopt(argc, argv, "n:q:d:h")) >= 0) {
		switch (c) {
		case 'n':
			nr = bench_number(optarg);
			break;
		case 'q':
			wanted.nr_hw_queues = bench_number(optarg);
			break;
		case 'd':
			wanted.queue_depth = bench_number(optarg);
			break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c != 'h';
		}
	}
	devices = calloc(nr, sizeof(*devices));
	bench_check(devices && nr ? 0 : -ENOMEM, "memory");
	allow_files(nr);
	bench_check(ublk_ctrl_open(&ctrl), "/dev/ublk-control");
	/* What is only made once shall not count. */
	run_cycles(1);
	run_steps(devices, nr);
	printf("cycle all=%llu\n", (unsigned long long)run_cycles(10));
	return 0;
}
