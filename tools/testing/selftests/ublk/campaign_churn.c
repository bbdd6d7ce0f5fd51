// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that come and go, back to back from two threads of one process, with
 * udev at work on each: add, fetch, start, have the partition table read, read,
 * stop, delete. One cycle in four goes from start to stop without a pause, into
 * the middle of the scan.
 *
 * Fails if a cycle takes longer than the limit, if a task stays in D state for
 * longer than that, and if anything is refused or reads wrong. What is left
 * behind in the system is for the lab to see.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "campaign.h"

#define LANES		2
#define PART_BLOCK	256	/* where the partition begins */

static struct shared {
	struct camp_lane lanes[LANES];
	unsigned int next;
	unsigned int scans;
	unsigned int blocks;
} *shared;

static struct campaign campaign = {
	.name = "churn", .unit = "cycles", .rounds = 1000, .seconds = 30,
};

static bool has_partition(__u32 id)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/ublkb%u/ublkb%up1", id, id);
	return access(path, F_OK) == 0;
}

/* No deadline of its own: the cycle has one. */
static void await_scan(struct camp_lane *l, __u32 id)
{
	l->step = "SCAN";
	while (!has_partition(id))
		camp_nap(2000);
	__atomic_add_fetch(&shared->scans, 1, __ATOMIC_RELAXED);
}

static bool read_disk(struct camp_lane *l, __u32 id)
{
	char path[32], *buf = td_page_buf(CAMP_BLOCK, 0);
	bool good = false;
	int fd;

	l->step = "READ";
	snprintf(path, sizeof(path), "/dev/ublkb%u", id);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || pread(fd, buf, CAMP_BLOCK, PART_BLOCK * CAMP_BLOCK) !=
	    CAMP_BLOCK)
		snprintf(l->what, sizeof(l->what), "read of %s: %s", path,
			 strerror(errno));
	else
		good = camp_check(buf, PART_BLOCK, id, l->what,
				  sizeof(l->what));
	if (good)
		__atomic_add_fetch(&shared->blocks, 1, __ATOMIC_RELAXED);
	close(fd);
	munmap(buf, CAMP_BLOCK);
	return good;
}

static bool cycle(struct camp_lane *l, struct camp_server *cs,
		  unsigned int seed)
{
	bool hasty = camp_pick(&seed, 4) == 0, good = true;
	struct ublk_options opts;
	__u32 id;
	int ret;

	ublk_options_init(&opts);
	opts.target = &camp_mem_target;
	opts.queues = 1 + camp_pick(&seed, 2);
	opts.depth = 1 + camp_pick(&seed, 64);
	opts.threads = 1 + camp_pick(&seed, 2);
	opts.buf_bytes = TD_BUF_BYTES;

	l->step = "ADD to START";
	ret = ublk_server_start(&cs->srv, &opts);
	if (camp_lane_refused(l, ret))
		return false;
	id = cs->srv.info.dev_id;
	if (!hasty) {
		await_scan(l, id);
		camp_fill(cs->mem + PART_BLOCK * CAMP_BLOCK, PART_BLOCK, id);
		good = read_disk(l, id);
	}
	l->step = "STOP";
	ret = ublk_stop_dev(&cs->srv.ctrl, id);
	if (camp_lane_refused(l, ret))
		good = false;
	l->step = "DEL";
	ret = ublk_server_delete(&cs->srv);
	return !camp_lane_refused(l, ret) && good;
}

static void *run_lane(void *arg)
{
	struct camp_lane *l = arg;
	struct camp_server cs = { .size = CAMP_DISK };
	unsigned int round;

	cs.mem = mmap(NULL, cs.size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	camp_write_partition(cs.mem);
	for (;;) {
		round = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED);
		if (!camp_goes_on(&campaign, round))
			break;
		camp_lane_begin(l, round);
		if (!cycle(l, &cs, camp_seed(&campaign, round)))
			__atomic_store_n(&shared->next, campaign.first +
					 campaign.rounds, __ATOMIC_RELAXED);
		camp_lane_end(l);
	}
	return NULL;
}

static void churn(void)
{
	pthread_t threads[LANES];
	int i;

	for (i = 0; i < LANES; i++)
		pthread_create(&threads[i], NULL, run_lane, &shared->lanes[i]);
	for (i = 0; i < LANES; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

int main(int argc, char **argv)
{
	struct camp_lane sum;
	bool good;
	pid_t pid;

	camp_begin(&campaign, argc, argv);
	shared = camp_share(sizeof(*shared));
	shared->next = campaign.first;
	pid = camp_fork();
	if (!pid)
		churn();
	good = camp_watch(&pid, 1, shared->lanes, LANES, CAMP_LIMIT_MS, true);
	camp_sum_lanes(&sum, shared->lanes, LANES);
	return camp_end(&campaign, !good,
			"%u cycles, %u partition scans, %u blocks verified, longest cycle %u ms (%u ms of real time)",
			sum.ops, shared->scans, shared->blocks, sum.longest,
			sum.longest_real);
}
