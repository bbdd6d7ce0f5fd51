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

/* What a thread does at this moment, for the one who watches. */
struct lane {
	const char *step;
	unsigned int round;
	__u64 since;		/* campaign's clock at the begin of the cycle */
	unsigned int cycles;
	unsigned int scans;
	unsigned int blocks;
	unsigned int longest;
	unsigned int longest_real;
	char what[160];		/* why it gave up */
};

static struct shared {
	struct lane lanes[LANES];
	unsigned int next;
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
static void await_scan(struct lane *l, __u32 id)
{
	l->step = "SCAN";
	while (!has_partition(id))
		camp_nap(2000);
	l->scans++;
}

static bool read_disk(struct lane *l, __u32 id)
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
	l->blocks += good;
	close(fd);
	munmap(buf, CAMP_BLOCK);
	return good;
}

static int refused(struct lane *l, const char *step, int ret)
{
	if (ret && !l->what[0])
		snprintf(l->what, sizeof(l->what), "%s: %s", step,
			 strerror(-ret));
	return ret;
}

static bool cycle(struct lane *l, struct camp_server *cs, unsigned int seed)
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
	if (refused(l, l->step, ret))
		return false;
	id = cs->srv.info.dev_id;
	if (!hasty) {
		await_scan(l, id);
		camp_fill(cs->mem + PART_BLOCK * CAMP_BLOCK, PART_BLOCK, id);
		good = read_disk(l, id);
	}
	l->step = "STOP";
	ret = ublk_stop_dev(&cs->srv.ctrl, id);
	if (refused(l, l->step, ret))
		good = false;
	l->step = "DEL";
	ret = ublk_server_delete(&cs->srv);
	return !refused(l, l->step, ret) && good;
}

static void *run_lane(void *arg)
{
	struct lane *l = arg;
	struct camp_server cs = { .size = CAMP_DISK };
	unsigned int took;
	__u64 begin;

	cs.mem = mmap(NULL, cs.size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	camp_write_partition(cs.mem);
	for (;;) {
		l->round = __atomic_fetch_add(&shared->next, 1, __ATOMIC_RELAXED);
		if (!camp_goes_on(&campaign, l->round))
			break;
		begin = td_now_ms();
		__atomic_store_n(&l->since, camp_ms(), __ATOMIC_RELEASE);
		if (!cycle(l, &cs, camp_seed(&campaign, l->round))) {
			__atomic_store_n(&shared->next, campaign.first +
					 campaign.rounds, __ATOMIC_RELAXED);
			break;
		}
		l->cycles++;
		took = camp_ms() - l->since;
		if (took > l->longest)
			l->longest = took;
		took = td_now_ms() - begin;
		if (took > l->longest_real)
			l->longest_real = took;
	}
	__atomic_store_n(&l->since, 0, __ATOMIC_RELEASE);
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
}

static bool lane_is_late(const struct lane *l)
{
	__u64 since = __atomic_load_n(&l->since, __ATOMIC_ACQUIRE);

	if (!since || camp_ms() - since <= CAMP_LIMIT_MS)
		return false;
	camp_say("cycle %u has been going on for %llu ms, now in %s", l->round,
		 camp_ms() - since, l->step);
	return true;
}

/* Returns when the process has ended, or when it is known that it does not. */
static bool watch(pid_t pid)
{
	__u64 told = td_now_ms();
	bool failed = false;
	int i, ret;

	while ((ret = camp_wait_exit(pid, 1000)) == -ETIME && !failed) {
		for (i = 0; i < LANES; i++)
			failed |= lane_is_late(&shared->lanes[i]);
		if (camp_watch_sleepers())
			failed = true;
		if (td_now_ms() - told < 60000)
			continue;
		told = td_now_ms();
		camp_say("%u cycles", shared->lanes[0].cycles +
			 shared->lanes[1].cycles);
	}
	if (failed) {
		camp_show_sleepers();
		kill(pid, SIGKILL);
		if (ret == -ETIME && camp_wait_exit(pid, CAMP_LIMIT_MS) == -ETIME)
			camp_say("the servers cannot even be killed");
	} else if (ret) {
		camp_say("the servers crashed");
	}
	return failed || ret;
}

int main(int argc, char **argv)
{
	struct lane sum = { };
	bool failed;
	pid_t pid;
	int i;

	camp_begin(&campaign, argc, argv);
	shared = camp_share(sizeof(*shared));
	shared->next = campaign.first;
	pid = camp_fork();
	if (!pid) {
		churn();
		_exit(0);
	}
	failed = watch(pid);
	for (i = 0; i < LANES; i++) {
		struct lane *l = &shared->lanes[i];

		if (l->what[0]) {
			camp_say("cycle %u: %s", l->round, l->what);
			failed = true;
		}
		sum.cycles += l->cycles;
		sum.scans += l->scans;
		sum.blocks += l->blocks;
		if (l->longest > sum.longest)
			sum.longest = l->longest;
		if (l->longest_real > sum.longest_real)
			sum.longest_real = l->longest_real;
	}
	return camp_end(&campaign, failed,
			"%u cycles, %u partition scans, %u blocks verified, longest cycle %u ms (%u ms of real time)",
			sum.cycles, sum.scans, sum.blocks, sum.longest,
			sum.longest_real);
}
