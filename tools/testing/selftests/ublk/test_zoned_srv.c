// SPDX-License-Identifier: GPL-2.0
/*
 * The zoned target of the library, judged by programs that know zones but not
 * ublk, and by the data that is left when its server is killed.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "testzoned.h"

#define BLOCK		4096U
#define ZONE_BLOCKS	(TZ_BYTES / BLOCK)
#define ACTIVE		(TZ_OPEN + 1)	/* zones that may be open or closed */

/* The file behind the disk is memory, and outlives servers. */
static int spawn_zoned(struct testdev *td, struct ublk_options *opts)
{
	static char path[32];	/* for the servers that follow, too */

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd_create("zones", 0));
	opts->target = &ublk_zoned_target;
	opts->file = path;
	if (!opts->size) {
		opts->size = TD_SIZE;
		opts->zoned.zone_bytes = TZ_BYTES;
		opts->zoned.conventional = TZ_CONVENTIONAL;
		opts->zoned.max_open = TZ_OPEN;
		opts->zoned.max_active = ACTIVE;
	}
	return td_spawn(td, opts);
}

FIXTURE(served)
{
	struct testdev td;
	char dev[32];
};

FIXTURE_VARIANT(served)
{
	unsigned int queues;
	unsigned int threads;
	__u64 flags;
	enum ublk_mode mode;
};

FIXTURE_VARIANT_ADD(served, with_user_copy) {
	.queues = 1, .threads = 1, .mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, with_zero_copy_by_four_threads) {
	.queues = 2, .threads = 2, .mode = UBLK_MODE_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(served, with_auto_buf) {
	.queues = 1, .threads = 1, .mode = UBLK_MODE_AUTO_BUF,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_user_copy) {
	.queues = 2, .threads = 2, .mode = UBLK_MODE_USER_COPY,
	.flags = UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_auto_buf) {
	.queues = 1, .threads = 1, .mode = UBLK_MODE_AUTO_BUF,
	.flags = UBLK_F_BATCH_IO,
};

FIXTURE_SETUP(served)
{
	struct ublk_options opts;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_ZONED | variant->flags);
	ublk_options_init(&opts);
	opts.queues = variant->queues;
	opts.threads = variant->threads;
	opts.depth = 16;
	opts.flags = variant->flags;
	opts.mode = variant->mode;
	ASSERT_EQ(0, spawn_zoned(&self->td, &opts));
	sprintf(self->dev, "/dev/ublkb%d", self->td.id);
}

FIXTURE_TEARDOWN_PARENT(served)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

static int run_fio(const char *dev, const char *mode, const char *jobs,
		   const char *extra)
{
	char file[48];
	const char *const argv[] = {
		"fio", "--name=zones", "--thread", "--direct=1", "--minimal",
		"--ioengine=io_uring", "--iodepth=8", "--bs=64k", "--zonemode=zbd",
		"--size=2M", "--offset=8M", "--offset_increment=8M",
		"--job_max_open_zones=2", "--verify=crc32c", "--verify_fatal=1",
		"--verify_state_save=0", "--randseed=7", file, mode, jobs, extra,
		NULL,
	};

	snprintf(file, sizeof(file), "--filename=%s", dev);
	return td_run(argv);
}

TEST_F_TIMEOUT(served, fio_finds_what_four_jobs_wrote_all_over, 120)
{
	int ret = run_fio(self->dev, "--rw=randwrite", "--numjobs=4",
			  "--max_open_zones=8");

	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

static int spawn_plain(struct testdev *td)
{
	struct ublk_options opts;

	ublk_options_init(&opts);
	opts.depth = 16;
	return spawn_zoned(td, &opts);
}

TD_FIXTURE_WITH(plain, UBLK_F_ZONED, spawn_plain);

TEST_F_TIMEOUT(plain, fio_finds_what_it_wrote_zone_by_zone, 120)
{
	struct testdev *td = &self->td;
	char dev[32];
	int ret;

	sprintf(dev, "/dev/ublkb%d", td->id);
	ret = run_fio(dev, "--rw=write", "--numjobs=1", "--max_open_zones=4");
	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

static int blkzone(const struct testdev *td, const char *command,
		   unsigned int zone, unsigned int nr)
{
	char offset[16], count[16], dev[32];
	const char *const argv[] = {
		"blkzone", command, "-o", offset, "-c", count, dev, NULL,
	};

	snprintf(offset, sizeof(offset), "%u", zone * TZ_SECTORS);
	snprintf(count, sizeof(count), "%u", nr);
	snprintf(dev, sizeof(dev), "/dev/ublkb%d", td->id);
	return td_run(argv);
}

/* The condition of a zone, or a negative errno. */
static int zone_cond(const struct testdev *td, unsigned int zone)
{
	struct {
		struct blk_zone_report report;
		struct blk_zone zone;
	} arg = {
		.report = { .sector = zone * TZ_SECTORS, .nr_zones = 1 },
	};

	return ioctl(td->bdev, BLKREPORTZONE, &arg) ? -errno : arg.zone.cond;
}

TEST_F_TIMEOUT(plain, blkzone_takes_a_zone_through_its_conditions, 60)
{
	struct testdev *td = &self->td;
	const unsigned int zone = TZ_FIRST;
	void *data = td_page_buf(BLOCK, 1);
	int ret;

	ret = blkzone(td, "report", 0, TZ_NR);
	if (ret == -ENOENT)
		SKIP(return, "blkzone is not installed");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(BLK_ZONE_COND_NOT_WP, zone_cond(td, 0));
	EXPECT_EQ(BLK_ZONE_COND_EMPTY, zone_cond(td, zone));
	ASSERT_EQ(BLOCK, td_wait(td, td_write(td, data, BLOCK, TD_AREA, 0)));
	EXPECT_EQ(BLK_ZONE_COND_IMP_OPEN, zone_cond(td, zone));
	ASSERT_EQ(0, blkzone(td, "open", zone, 1));
	EXPECT_EQ(BLK_ZONE_COND_EXP_OPEN, zone_cond(td, zone));
	ASSERT_EQ(0, blkzone(td, "close", zone, 1));
	EXPECT_EQ(BLK_ZONE_COND_CLOSED, zone_cond(td, zone));
	ASSERT_EQ(0, blkzone(td, "finish", zone, 1));
	EXPECT_EQ(BLK_ZONE_COND_FULL, zone_cond(td, zone));
	ASSERT_EQ(0, blkzone(td, "reset", zone, 1));
	EXPECT_EQ(BLK_ZONE_COND_EMPTY, zone_cond(td, zone));
	ASSERT_EQ(0, blkzone(td, "finish", zone, 3));
	ASSERT_EQ(0, blkzone(td, "reset", 0, TZ_NR));
	EXPECT_EQ(BLK_ZONE_COND_EMPTY, zone_cond(td, zone + 2));
}

TEST_F(plain, write_beside_the_write_pointer_fails)
{
	void *data = td_page_buf(BLOCK, 1);
	struct testdev *td = &self->td;

	EXPECT_EQ(-EIO, td_wait(td, td_write(td, data, BLOCK, TD_AREA + BLOCK, 0)));
}

TEST_F(plain, conventional_zone_is_written_anywhere)
{
	char *data = td_page_buf(BLOCK, 1), *got = td_page_buf(BLOCK, 0);
	struct testdev *td = &self->td;

	ASSERT_EQ(BLOCK, td_wait(td, td_write(td, data, BLOCK, TZ_BYTES / 2, 0)));
	ASSERT_EQ(BLOCK, td_wait(td, td_read(td, got, BLOCK, TZ_BYTES / 2)));
	EXPECT_EQ(0, memcmp(data, got, BLOCK));
}

static int manage(struct testdev *td, unsigned long op, unsigned int first,
		  unsigned int nr)
{
	struct blk_zone_range range = {
		.sector = first * TZ_SECTORS, .nr_sectors = nr * TZ_SECTORS,
	};

	return ioctl(td->bdev, op, &range) ? -errno : 0;
}

TEST_F(plain, more_zones_than_may_be_open_cannot_be_opened)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, manage(td, BLKOPENZONE, TZ_FIRST, TZ_OPEN));
	EXPECT_EQ(-ETOOMANYREFS, manage(td, BLKOPENZONE, TZ_FIRST + TZ_OPEN, 1));
}

/* A zone stays active when it is closed, if there is data in it. */
TEST_F(plain, more_zones_than_may_be_active_cannot_be_opened)
{
	char *data = td_page_buf(BLOCK, 1);
	struct testdev *td = &self->td;
	unsigned int i;

	for (i = 0; i < TZ_OPEN; i++)
		ASSERT_EQ(BLOCK, td_wait(td, td_write(td, data, BLOCK,
						      TD_AREA + i * TZ_BYTES, 0)));
	ASSERT_EQ(0, manage(td, BLKCLOSEZONE, TZ_FIRST, TZ_OPEN));
	ASSERT_EQ(0, manage(td, BLKOPENZONE, TZ_FIRST + TZ_OPEN, 1));
	EXPECT_EQ(-EOVERFLOW, manage(td, BLKOPENZONE, TZ_FIRST + ACTIVE, 1));
	ASSERT_EQ(0, manage(td, BLKFINISHZONE, TZ_FIRST, 1));
	EXPECT_EQ(0, manage(td, BLKOPENZONE, TZ_FIRST + ACTIVE, 1));
}

/* -- servers that are killed ----------------------------------------------- */

/* What processes share: blocks that were written for certain. */
struct ledger {
	bool stop;
	unsigned int reports;
	unsigned int writes;
	bool written[TZ_NR][ZONE_BLOCKS];
};

static void fill_block(char *buf, unsigned int zone, unsigned int block)
{
	__u64 i, *p = (__u64 *)buf;

	for (i = 0; i < BLOCK / sizeof(*p); i++)
		p[i] = ((__u64)zone << 48) + ((__u64)block << 32) + i + 1;
}

/* Where a zone stands, in blocks; -1 if nobody knows. */
static int write_pointer(const struct testdev *td, unsigned int zone)
{
	struct {
		struct blk_zone_report report;
		struct blk_zone zone;
	} arg = {
		.report = { .sector = zone * TZ_SECTORS, .nr_zones = 1 },
	};

	if (ioctl(td->bdev, BLKREPORTZONE, &arg))
		return -1;
	return (arg.zone.wp - arg.zone.start) * 512 / BLOCK;
}

/* Fills zones block by block, as far as that goes; a report tells how far. */
static void write_zones(const struct testdev *td, struct ledger *ledger)
{
	char *buf = td_page_buf(BLOCK, 0);
	unsigned int i;
	int block;

	for (i = 0; !__atomic_load_n(&ledger->stop, __ATOMIC_RELAXED); i++) {
		unsigned int zone = TZ_FIRST + i % TZ_OPEN;

		block = write_pointer(td, zone);
		if (block < 0 || block >= (int)ZONE_BLOCKS)
			continue;
		fill_block(buf, zone, block);
		if (pwrite(td->bdev, buf, BLOCK, (__u64)zone * TZ_BYTES +
			   block * BLOCK) == BLOCK)
			ledger->written[zone][block] = true;
		__atomic_add_fetch(&ledger->writes, 1, __ATOMIC_RELAXED);
	}
}

static void report_zones(const struct testdev *td, struct ledger *ledger)
{
	struct blk_zone_report *report = calloc(1, sizeof(*report) +
						TZ_NR * sizeof(struct blk_zone));

	while (!__atomic_load_n(&ledger->stop, __ATOMIC_RELAXED)) {
		report->sector = 0;
		report->nr_zones = TZ_NR;
		if (!ioctl(td->bdev, BLKREPORTZONE, report))
			__atomic_add_fetch(&ledger->reports, 1, __ATOMIC_RELAXED);
	}
}

static pid_t fork_client(struct testdev *td, struct ledger *ledger,
			 void (*run)(const struct testdev *td, struct ledger *ledger))
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run(td, ledger);
	_exit(0);
}

struct progress {
	struct ledger *ledger;
	unsigned int reports;
	unsigned int writes;
};

static bool got_on(void *arg)
{
	struct progress *p = arg;

	return __atomic_load_n(&p->ledger->reports, __ATOMIC_RELAXED) >= p->reports &&
	       __atomic_load_n(&p->ledger->writes, __ATOMIC_RELAXED) >= p->writes;
}

static bool wait_progress(struct ledger *ledger)
{
	struct progress p = {
		.ledger = ledger,
		.reports = ledger->reports + 3,
		.writes = ledger->writes + 5,
	};

	return td_poll_until(got_on, &p);
}

static unsigned int count_lost(struct testdev *td, const struct ledger *ledger)
{
	char *want = td_page_buf(BLOCK, 0), *got = td_page_buf(BLOCK, 0);
	unsigned int zone, block, lost = 0;

	for (zone = 0; zone < TZ_NR; zone++) {
		for (block = 0; block < ZONE_BLOCKS; block++) {
			if (!ledger->written[zone][block])
				continue;
			fill_block(want, zone, block);
			lost += pread(td->bdev, got, BLOCK, (__u64)zone * TZ_BYTES +
				      block * BLOCK) != BLOCK ||
				memcmp(want, got, BLOCK);
		}
	}
	return lost;
}

FIXTURE(killed)
{
	struct testdev td;
};

FIXTURE_VARIANT(killed)
{
	enum ublk_mode mode;
	__u64 flags;
};

FIXTURE_VARIANT_ADD(killed, with_user_copy) {
	.mode = UBLK_MODE_USER_COPY, .flags = UBLK_F_USER_RECOVERY,
};

FIXTURE_VARIANT_ADD(killed, with_auto_buf) {
	.mode = UBLK_MODE_AUTO_BUF, .flags = UBLK_F_USER_RECOVERY,
};

FIXTURE_VARIANT_ADD(killed, in_batches_with_reissue) {
	.mode = UBLK_MODE_USER_COPY,
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
		 UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(killed, with_fail_io) {
	.mode = UBLK_MODE_ZERO_COPY,
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
};

FIXTURE_SETUP(killed)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
}

FIXTURE_TEARDOWN_PARENT(killed)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F_TIMEOUT(killed, written_blocks_are_there_after_every_server, 120)
{
	struct ublk_options opts;
	struct testdev *td = &self->td;
	struct ledger *ledger;
	pid_t writer, reporter;
	int round;

	REQUIRE_FEATURE(td, UBLK_F_ZONED | variant->flags);
	ublk_options_init(&opts);
	opts.mode = variant->mode;
	opts.flags = variant->flags;
	opts.depth = 8;
	ASSERT_EQ(0, spawn_zoned(td, &opts));
	ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	writer = fork_client(td, ledger, write_zones);
	reporter = fork_client(td, ledger, report_zones);
	for (round = 0; round < 2; round++) {
		ASSERT_TRUE(wait_progress(ledger));
		ASSERT_EQ(0, td_kill_server(td));
		ASSERT_EQ(0, td_spawn_recovery(td, &opts));
	}
	ASSERT_TRUE(wait_progress(ledger));
	__atomic_store_n(&ledger->stop, true, __ATOMIC_RELAXED);
	ASSERT_EQ(0, td_wait_exit(writer, TD_DEADLINE_MS));
	ASSERT_EQ(0, td_wait_exit(reporter, TD_DEADLINE_MS));
	EXPECT_EQ(0, count_lost(td, ledger));
}

TEST_HARNESS_MAIN
