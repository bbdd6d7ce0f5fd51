// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that runs out: each step of a device's life may fail with an error, and
 * leaves a device that works as before, or none.
 *
 * Control commands are carried out by workers of io_uring and by the driver's
 * own, so it is their allocations that fail, and not the test's. Needs a kernel
 * with CONFIG_FAILSLAB.
 */
#include <ctype.h>
#include <dirent.h>

#include "fixture.h"

#define FAILSLAB	"/sys/kernel/debug/failslab/"

static int set_failslab(const char *knob, const char *value)
{
	char path[64];

	snprintf(path, sizeof(path), FAILSLAB "%s", knob);
	return td_write_text(path, value);
}

/* One of @percent allocations fails, in the tasks marked for it. */
static int start_failing(const char *percent)
{
	return set_failslab("task-filter", "Y") ?:
	       set_failslab("ignore-gfp-wait", "N") ?:
	       set_failslab("interval", "1") ?:
	       set_failslab("verbose", "0") ?:
	       set_failslab("times", "-1") ?:
	       set_failslab("probability", percent);
}

static bool comm_begins(const char *task_dir, const char *begin)
{
	char path[300], comm[32];

	snprintf(path, sizeof(path), "%s/comm", task_dir);
	return !td_read_text(path, comm, sizeof(comm)) &&
		!strncmp(comm, begin, strlen(begin));
}

/* Marks every task below @dir whose name begins like that. */
static void mark_tasks(const char *dir, const char *begin)
{
	char task[280], file[300];
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d && (entry = readdir(d))) {
		if (!isdigit(entry->d_name[0]))
			continue;
		snprintf(task, sizeof(task), "%s/%s", dir, entry->d_name);
		if (!comm_begins(task, begin))
			continue;
		snprintf(file, sizeof(file), "%s/make-it-fail", task);
		td_write_text(file, "1");
	}
	if (d)
		closedir(d);
}

/* They come and go, so do it often. */
static void mark_workers(void)
{
	mark_tasks("/proc/self/task", "iou-wrk");
	mark_tasks("/proc", "kworker/u");
}

FIXTURE(failing)
{
	struct testdev td;
};

FIXTURE_SETUP(failing)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	if (access(FAILSLAB, F_OK))
		SKIP(return, "kernel without failslab, or no debugfs");
	if (access("/proc/self/make-it-fail", F_OK))
		SKIP(return, "kernel without make-it-fail");
}

FIXTURE_TEARDOWN_PARENT(failing)
{
	set_failslab("probability", "0");
	set_failslab("task-filter", "N");
	EXPECT_EQ(0, td_reap(&self->td));
}

static int control(struct testdev *td, __u32 op, __u64 data)
{
	mark_workers();
	return td_ctl(td, op, data);
}

/* A disk that finds no memory for its name ends in -EINVAL. */
static bool is_lack_of_memory(int res)
{
	return res == -ENOMEM || res == -EINVAL;
}

/* Some times without memory, and again when it is back: nothing has changed. */
#define TRY(call)							\
({									\
	int ret_, tries_ = 6;						\
									\
	start_failing("5");						\
	do {								\
		if (tries_ == 1)					\
			set_failslab("probability", "0");		\
		ret_ = (call);						\
	} while (is_lack_of_memory(ret_) && --tries_);			\
	ret_;								\
})

static int add(struct testdev *td)
{
	mark_workers();
	td->info.dev_id = UBLK_AUTO_ID;
	return td_add(td);
}

/* From nothing to a live disk and back; every step as often as it takes. */
static int live_and_die(struct testdev *td)
{
	int ret;

	ret = TRY(add(td)) ?: TRY(td_set_params(td)) ?: TRY(td_attach(td)) ?:
	      td_fetch_all(td) ?:
	      TRY(control(td, UBLK_U_CMD_START_DEV, getpid()));
	if (ret)
		return ret;
	ret = control(td, UBLK_U_CMD_STOP_DEV, 0);
	td_detach(td);
	return ret ?: TRY(control(td, UBLK_U_CMD_DEL_DEV, 0));
}

TEST_F_TIMEOUT(failing, steps_can_be_repeated_until_they_succeed, 120)
{
	int round, ret = 0;

	for (round = 0; round < 5 && !ret; round++)
		ret = live_and_die(&self->td);
	EXPECT_EQ(0, ret);
}

/* A disk that could not be added must not be there when its server goes. */
TEST_F_TIMEOUT(failing, server_of_a_disk_that_could_not_be_added_can_go, 120)
{
	struct testdev *td = &self->td;
	int round, ret, failed = 0;

	for (round = 0; round < 8; round++) {
		td->info.dev_id = UBLK_AUTO_ID;
		ASSERT_EQ(0, td_add_fetched(td));
		ASSERT_EQ(0, start_failing("8"));
		ret = control(td, UBLK_U_CMD_START_DEV, getpid());
		ASSERT_EQ(0, set_failslab("probability", "0"));
		EXPECT_TRUE(!ret || is_lack_of_memory(ret))
			TH_LOG("START: %d", ret);
		failed += ret != 0;
		EXPECT_EQ(ret ? UBLK_S_DEV_DEAD : UBLK_S_DEV_LIVE, td_state(td));
		td_detach(td);
		ASSERT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
	}
	/* Else the memory has not run out, and nothing was tested. */
	EXPECT_LT(0, failed);
}

/* Recovery, resize and quiesce may fail; the disk is none the worse for it. */
TEST_F_TIMEOUT(failing, disk_keeps_working_whatever_command_fails, 120)
{
	struct testdev *td = &self->td;
	int round;

	td->info.flags |= UBLK_F_QUIESCE;
	ASSERT_EQ(0, td_go_live_recoverable(td));
	td->answer_all = true;
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, TRY(control(td, UBLK_U_CMD_UPDATE_SIZE,
					 (TD_SIZE >> 9) + 8 * round)));
		ASSERT_EQ(0, TRY(control(td, UBLK_U_CMD_QUIESCE_DEV, 0)));
		td_detach(td);
		ASSERT_EQ(0, TRY(td_reattach(td)));
		ASSERT_EQ(0, td_fetch_all(td));
		ASSERT_EQ(0, TRY(control(td, UBLK_U_CMD_END_USER_RECOVERY,
					 getpid())));
		ASSERT_EQ(0, set_failslab("probability", "0"));
		EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0),
						    4096, TD_AREA)));
	}
}

TEST_HARNESS_MAIN
