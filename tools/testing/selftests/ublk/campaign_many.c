// SPDX-License-Identifier: GPL-2.0
/*
 * Many live devices, and one more that is stuck: its server sits on a request,
 * then somebody waits for it in STOP_DEV, then somebody else in DEL_DEV. The
 * others come, go, read and write all the while, and none of that may wait for
 * the stuck one. So it stays in each of these states until every thread that
 * works on the others has done two more operations, and an operation that does
 * not end by itself is a failure.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "campaign.h"
#include "testclient.h"
#include "testspawn.h"

#define FARMS		2	/* processes */
#define THREADS		4	/* in each of them */
#define LANES		(FARMS * THREADS)
#define LIMIT_MS	(3 * CAMP_LIMIT_MS)
#define DISK_BLOCKS	512	/* of which the second half is the servers' */

static struct shared {
	struct camp_lane lanes[LANES + 1];	/* the last one is stuck */
	unsigned int live;
	unsigned int most;
	unsigned int filled;	/* lanes that have all their devices */
	unsigned int added;
	unsigned int episodes;	/* of the stuck device */
	__u64 verified;
} *shared;

static struct campaign campaign = {
	.name = "many", .unit = "devices", .rounds = 24, .seconds = 25,
};

/* -- the others ------------------------------------------------------------ */

struct device {
	struct camp_server cs;
	__u32 gen;		/* of the block that clients write */
	bool live;
};

struct farmer {
	struct camp_lane *lane;
	unsigned int seed;
	struct device *devices;
	unsigned int nr;
	char *buf;
};

static void count_live(int change)
{
	unsigned int live = __atomic_add_fetch(&shared->live, change,
					       __ATOMIC_RELAXED);

	if (live > __atomic_load_n(&shared->most, __ATOMIC_RELAXED))
		__atomic_store_n(&shared->most, live, __ATOMIC_RELAXED);
}

static bool add(struct farmer *f, struct device *d)
{
	struct ublk_options opts;

	f->lane->step = "adding";
	ublk_options_init(&opts);
	opts.target = &camp_mem_target;
	opts.depth = 2;
	opts.buf_bytes = TD_BUF_BYTES;
	d->cs.size = DISK_BLOCKS * CAMP_BLOCK;
	d->cs.mem = mmap(NULL, d->cs.size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	d->gen = 0;
	if (camp_lane_refused(f->lane, ublk_server_start(&d->cs.srv, &opts)))
		return false;
	d->live = true;
	count_live(1);
	__atomic_add_fetch(&shared->added, 1, __ATOMIC_RELAXED);
	return true;
}

static bool drop(struct farmer *f, struct device *d)
{
	f->lane->step = "deleting";
	if (camp_lane_refused(f->lane, ublk_server_delete(&d->cs.srv)))
		return false;
	munmap(d->cs.mem, d->cs.size);
	d->live = false;
	count_live(-1);
	return true;
}

static __u32 block_of(const struct device *d)
{
	return 16 + d->cs.srv.info.dev_id % (DISK_BLOCKS - 32);
}

/* Seldom a write: each close after one keeps udev busy. */
static bool use(struct farmer *f, struct device *d)
{
	bool writes = !d->gen || camp_pick(&f->seed, 8) == 0, good;
	__u64 offset = (__u64)block_of(d) * CAMP_BLOCK;
	char path[32];
	int fd;

	f->lane->step = writes ? "writing" : "reading";
	snprintf(path, sizeof(path), "/dev/ublkb%u", d->cs.srv.info.dev_id);
	fd = open(path, (writes ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return !camp_lane_refused(f->lane, -errno);
	if (writes) {
		camp_fill(f->buf, block_of(d), ++d->gen);
		good = pwrite(fd, f->buf, CAMP_BLOCK, offset) == CAMP_BLOCK;
	} else {
		good = pread(fd, f->buf, CAMP_BLOCK, offset) == CAMP_BLOCK;
	}
	if (!good)
		camp_lane_refused(f->lane, -errno);
	else
		good = camp_check(writes ? d->cs.mem + offset : f->buf,
				  block_of(d), d->gen, f->lane->what,
				  sizeof(f->lane->what));
	close(fd);
	if (good)
		__atomic_add_fetch(&shared->verified, 1, __ATOMIC_RELAXED);
	return good;
}

/* One operation; false if it failed. */
static bool operate(struct farmer *f, struct device *d,
		    bool (*fn)(struct farmer *f, struct device *d))
{
	bool good;

	camp_lane_begin(f->lane, f->lane->round + 1);
	good = fn(f, d);
	camp_lane_end(f->lane);
	return good;
}

static bool work(struct farmer *f)
{
	unsigned int i, nr = 10 + 4 * f->nr;
	struct device *d;
	bool good = true;

	for (i = 0; i < nr && good && camp_goes_on(&campaign, campaign.first);
	     i++) {
		d = &f->devices[camp_pick(&f->seed, f->nr)];
		if (!d->live)
			good = operate(f, d, add);
		else
			good = operate(f, d, camp_pick(&f->seed, 4) ? use : drop);
	}
	return good;
}

static void set_idle(struct camp_lane *l, bool idle)
{
	__atomic_store_n(&l->idle, idle, __ATOMIC_RELEASE);
}

static void *run_farmer(void *arg)
{
	struct farmer *f = arg;
	bool good = true;
	unsigned int i;

	for (i = 0; i < f->nr && good; i++)
		good = operate(f, &f->devices[i], add);
	__atomic_add_fetch(&shared->filled, 1, __ATOMIC_RELEASE);
	/* All of them are to live at once. */
	while (__atomic_load_n(&shared->filled, __ATOMIC_ACQUIRE) < LANES) {
		set_idle(f->lane, true);
		camp_nap(10000);
	}
	set_idle(f->lane, false);
	if (f->nr && good)
		good = work(f);
	for (i = 0; i < f->nr; i++)
		if (f->devices[i].live && !operate(f, &f->devices[i], drop))
			break;
	set_idle(f->lane, true);
	return NULL;
}

static void farm(unsigned int number)
{
	struct farmer farmers[THREADS];
	pthread_t threads[THREADS];
	unsigned int i, lane;

	for (i = 0; i < THREADS; i++) {
		lane = number * THREADS + i;
		farmers[i] = (struct farmer) {
			.lane = &shared->lanes[lane],
			.seed = camp_seed(&campaign, lane),
			.nr = (campaign.rounds + lane) / LANES,
			.buf = td_page_buf(CAMP_BLOCK, 0),
		};
		farmers[i].devices = calloc(farmers[i].nr,
					    sizeof(struct device));
		pthread_create(&threads[i], NULL, run_farmer, &farmers[i]);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

/* -- the stuck one --------------------------------------------------------- */

static bool is_idle(const struct camp_lane *l)
{
	return __atomic_load_n(&l->idle, __ATOMIC_ACQUIRE);
}

/* The last one to have its devices never waits for others, so all is all. */
static bool lanes_have_ended(void)
{
	unsigned int i;

	for (i = 0; i < LANES; i++)
		if (!is_idle(&shared->lanes[i]))
			return false;
	return true;
}

/* Until each of the others has begun an operation and ended it. */
static void await_progress(void)
{
	unsigned int before[LANES], i;
	struct camp_lane *l;

	for (i = 0; i < LANES; i++)
		before[i] = __atomic_load_n(&shared->lanes[i].ops,
					    __ATOMIC_ACQUIRE);
	for (i = 0; i < LANES; i++) {
		l = &shared->lanes[i];
		while (__atomic_load_n(&l->ops, __ATOMIC_ACQUIRE) <
		       before[i] + 2 && !is_idle(l))
			camp_nap(10000);
	}
}

static int send_command(struct ublk_ctrl *ctrl, __u32 op, __u32 id)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = id, .queue_id = -1 };
	int ret = ublk_ctrl_open(ctrl);

	return ret ? ret : ublk_ctrl_submit(ctrl, op, &cmd);
}

/* A command that must have waited until now, and must not wait any longer. */
static int finish(struct ublk_ctrl *ctrl)
{
	int res, ret = camp_ctrl_wait(ctrl, LIMIT_MS, &res);

	if (ret == -ETIME)
		return ret;
	ublk_ctrl_close(ctrl);
	return ret ? ret : res;
}

static int hold(struct testdev *td)
{
	struct ublk_options opts;
	int ret;

	ublk_options_init(&opts);
	opts.target = &td_hold_target;
	opts.depth = 8;
	opts.flags = UBLK_F_NO_AUTO_PART_SCAN;
	ret = td_init(td) ? td_spawn(td, &opts) : -ENODEV;
	/* udev works on all these disks; for how long it may is our lane's limit. */
	while (ret == -ETIME || ret == -EWOULDBLOCK)
		ret = td_open_disk(td);
	if (ret)
		return ret;
	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	return camp_wait_input(td->held, LIMIT_MS) ? 0 : -ETIME;
}

/* One life of the stuck device. */
static int be_stuck(struct camp_lane *l)
{
	static struct testdev td;
	struct ublk_ctrl stop, del;
	int ret;

	l->step = "getting stuck";
	camp_lane_begin(l, shared->episodes);
	ret = hold(&td);
	camp_lane_end(l);
	if (ret)
		return ret;
	await_progress();
	ret = send_command(&stop, UBLK_U_CMD_STOP_DEV, td.id);
	if (ret)
		return ret;
	await_progress();
	ret = send_command(&del, UBLK_U_CMD_DEL_DEV, td.id);
	if (ret)
		return ret;
	await_progress();

	l->step = "getting free again";
	if (io_uring_cq_ready(&stop.ring) || io_uring_cq_ready(&del.ring))
		return -EPROTO;
	camp_lane_begin(l, shared->episodes);
	ret = td_kill_server(&td);
	td_close_disk(&td);
	ret = finish(&stop) ?: ret;
	ret = finish(&del) ?: ret;
	camp_lane_end(l);
	ublk_ctrl_close(&td.ctrl);
	close(td.held);
	shared->episodes++;
	return ret;
}

static void stick(void)
{
	struct camp_lane *l = &shared->lanes[LANES];

	while (!lanes_have_ended())
		if (camp_lane_refused(l, be_stuck(l)))
			break;
	_exit(0);
}

int main(int argc, char **argv)
{
	pid_t pids[FARMS + 1];
	struct camp_lane sum;
	bool good;
	int i;

	camp_begin(&campaign, argc, argv);
	shared = camp_share(sizeof(*shared));
	for (i = 0; i <= FARMS; i++) {
		pids[i] = camp_fork();
		if (!pids[i] && i < FARMS)
			farm(i);
		if (!pids[i])
			stick();
	}
	good = camp_watch(pids, FARMS + 1, shared->lanes, LANES + 1, LIMIT_MS,
			  false);
	if (good && shared->most < campaign.rounds) {
		camp_say("never more than %u devices at once", shared->most);
		good = false;
	}
	camp_sum_lanes(&sum, shared->lanes, LANES);
	return camp_end(&campaign, !good,
			"%u devices at once, %u added, %u times one was stuck, %u operations, %llu blocks verified, longest %u ms (%u ms of real time)",
			shared->most, shared->added, shared->episodes, sum.ops,
			(unsigned long long)shared->verified, sum.longest,
			sum.longest_real);
}
