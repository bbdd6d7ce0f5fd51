// SPDX-License-Identifier: GPL-2.0
/*
 * Disks behind an I/O scheduler: requests are sorted, merged, and given their tag
 * late. Clients that know what they wrote find it in every mode, whichever
 * scheduler it was, and when it or the server is another one from now on.
 */
#include "fixture.h"
#include "campaign.h"

#define MAX_NAMES	8
#define BLOCKS		40	/* to verify before the next change */

FIXTURE(served)
{
	struct testdev td;
	struct ublk_options opts;
	struct camp_io *io;
	pid_t clients;
	int nr;
	char names[MAX_NAMES][24];	/* of schedulers */
};

FIXTURE_VARIANT(served)
{
	unsigned int queues;
	unsigned int threads;
	__u64 flags;
	enum ublk_mode mode;
};

FIXTURE_VARIANT_ADD(served, with_copies_by_four_threads) {
	.queues = 2, .threads = 2,
};

FIXTURE_VARIANT_ADD(served, with_get_data) {
	.queues = 1, .threads = 1, .flags = UBLK_F_NEED_GET_DATA,
};

FIXTURE_VARIANT_ADD(served, with_user_copy) {
	.queues = 2, .threads = 1, .mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, with_zero_copy) {
	.queues = 2, .threads = 1, .mode = UBLK_MODE_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(served, with_auto_buf) {
	.queues = 2, .threads = 2, .mode = UBLK_MODE_AUTO_BUF,
};

FIXTURE_VARIANT_ADD(served, in_batches) {
	.queues = 2, .threads = 2, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_auto_buf) {
	.queues = 1, .threads = 2, .flags = UBLK_F_BATCH_IO,
	.mode = UBLK_MODE_AUTO_BUF,
};

/* What the kernel has besides none; true if there is any. */
static int list_schedulers(const struct testdev *td, char (*names)[24])
{
	char text[128], *name, *rest = text;
	int nr = 0;

	td_load_schedulers();
	if (td_sysfs_string(td, "queue/scheduler", text, sizeof(text)))
		return 0;
	while (nr < MAX_NAMES && (name = strsep(&rest, " []\n")))
		if (*name && strcmp(name, "none"))
			snprintf(names[nr++], sizeof(names[0]), "%s", name);
	return nr;
}

static pid_t start_clients(struct camp_io *io, __u32 id)
{
	pid_t pid;

	io->id = id;
	io->seed = 7;
	io->threads = 4;
	io->patient = true;
	pid = camp_fork();
	if (!pid) {
		camp_io_run(io);
		_exit(0);
	}
	return pid;
}

FIXTURE_SETUP(served)
{
	struct ublk_options *opts = &self->opts;
	static char path[32];

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd_create("disk", 0));
	ublk_options_init(opts);
	opts->target = &ublk_loop_target;
	opts->file = path;
	opts->size = CAMP_DISK;
	opts->queues = variant->queues;
	opts->threads = variant->threads;
	opts->depth = 8;
	opts->mode = variant->mode;
	opts->flags = variant->flags | UBLK_F_USER_RECOVERY |
		      UBLK_F_USER_RECOVERY_REISSUE;
	ASSERT_EQ(0, td_spawn(&self->td, opts));
	self->nr = list_schedulers(&self->td, self->names);
	if (!self->nr)
		SKIP(return, "kernel without I/O schedulers");
	self->io = camp_share(sizeof(*self->io));
	self->clients = start_clients(self->io, self->td.id);
}

FIXTURE_TEARDOWN_PARENT(served)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

struct progress {
	struct camp_io *io;
	__u64 verified;
};

static bool got_on(void *arg)
{
	struct progress *p = arg;

	return __atomic_load_n(&p->io->complaints, __ATOMIC_RELAXED) ||
	       __atomic_load_n(&p->io->verified, __ATOMIC_RELAXED) >= p->verified;
}

static bool wait_progress(struct camp_io *io)
{
	struct progress p = {
		.io = io,
		.verified = __atomic_load_n(&io->verified, __ATOMIC_RELAXED) + BLOCKS,
	};

	return td_poll_until(got_on, &p);
}

/*
 * 0 if all that was written was found. What the page cache reads ahead may be under way
 * still, so the disk is closed here, and not by the exit, with which the server dies.
 */
static int end_clients(struct testdev *td, struct camp_io *io, pid_t clients)
{
	int ret;

	__atomic_store_n(&io->stop, true, __ATOMIC_RELEASE);
	ret = td_wait_exit(clients, TD_REAP_MS);
	td_close_disk(td);
	return ret ? ret : -io->complaints;
}

TEST_F_TIMEOUT(served, schedulers_change_under_io, 120)
{
	struct testdev *td = &self->td;
	int i;

	for (i = 0; i < self->nr; i++) {
		ASSERT_EQ(0, td_sysfs_write(td, "queue/scheduler", self->names[i]));
		ASSERT_TRUE(wait_progress(self->io));
		ASSERT_EQ(0, td_sysfs_write(td, "queue/scheduler", "none"));
		ASSERT_TRUE(wait_progress(self->io));
	}
	EXPECT_EQ(0, end_clients(td, self->io, self->clients))
		TH_LOG("%s", self->io->what);
}

TEST_F_TIMEOUT(served, server_dies_behind_a_scheduler, 120)
{
	struct testdev *td = &self->td;
	int i;

	for (i = 0; i < self->nr; i++) {
		ASSERT_EQ(0, td_sysfs_write(td, "queue/scheduler", self->names[i]));
		ASSERT_TRUE(wait_progress(self->io));
		ASSERT_EQ(0, td_kill_server(td));
		ASSERT_EQ(0, td_spawn_recovery(td, &self->opts));
		ASSERT_TRUE(wait_progress(self->io));
	}
	EXPECT_EQ(0, end_clients(td, self->io, self->clients))
		TH_LOG("%s", self->io->what);
}

TEST_HARNESS_MAIN
