// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU goes offline while requests wait for the next server. blk-mq waits for those that
 * a queue of that CPU has given to a driver; what no server has got must not keep it.
 */
#include "fixture.h"

#define BYTES	4096

static const char online[] = "/sys/devices/system/cpu/cpu1/online";

FIXTURE(live)
{
	struct testdev td;
};

/* Each CPU has a queue of its own. */
static int go_live(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	td->info.nr_hw_queues = 2;
	return td_go_live(td);
}

FIXTURE_SETUP(live)
{
	int ret;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
	if (access(online, W_OK) || td_take_cpu(0))
		SKIP(return, "kernel without CPU hotplug, or one CPU");
	ret = go_live(&self->td);
	if (ret)
		td_drop(&self->td);
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN_PARENT(live)
{
	EXPECT_EQ(0, access(online, W_OK) ? 0 : td_write_text(online, "1"));
	EXPECT_EQ(0, td_reap(&self->td));
}

static int go_offline(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(td_write_text(online, "0") ? 1 : 0);
	return td_wait_exit(pid, TD_DEADLINE_MS);
}

/* Does a queue lose its last CPU, the one that is to go? */
static bool ends_with_cpu(const struct testdev *td, __u16 queue)
{
	char attr[32], cpus[64];

	snprintf(attr, sizeof(attr), "mq/%u/cpu_list", queue);
	return !td_sysfs_string(td, attr, cpus, sizeof(cpus)) && !strcmp(cpus, "1");
}

TEST_F(live, cpu_goes_offline_while_its_request_waits_for_the_next_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_take_other_cpu());
	client = td_read_arrived(td, &req, td_page_buf(BYTES, 0), BYTES);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, td_take_cpu(0));
	ASSERT_TRUE(ends_with_cpu(td, req.queue));
	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	EXPECT_EQ(0, go_offline());

	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(TD_AREA >> 9, req.start);
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, BYTES));
	EXPECT_EQ(BYTES, td_wait(td, client));
}

TEST_HARNESS_MAIN
