// SPDX-License-Identifier: GPL-2.0
/*
 * START_DEV: what it refuses, what it waits for, what ends the wait, and that
 * it can be repeated.
 */
#include <signal.h>

#include "fixture.h"

TD_FIXTURE(added, td_add);
TD_FIXTURE(attached, td_add_attached);
TD_FIXTURE(fetched, td_add_fetched);
TD_FIXTURE(live, td_go_live);

static int start(struct testdev *td, __u64 pid)
{
	return td_ctl(td, UBLK_U_CMD_START_DEV, pid);
}

static int start_waiting(struct testdev *td)
{
	return td_ctl_send_to_wait(td, UBLK_U_CMD_START_DEV, getpid());
}

TEST_F(fetched, start_makes_a_live_disk)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start(td, getpid()));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	EXPECT_EQ(0, td_open_disk(td));
}

TEST_F(fetched, start_refuses_pid_0)
{
	EXPECT_EQ(-EINVAL, start(&self->td, 0));
}

TEST_F(fetched, start_refuses_a_negative_pid)
{
	EXPECT_EQ(-EINVAL, start(&self->td, -1));
}

TEST_F(fetched, start_refuses_a_pid_whose_low_half_is_negative)
{
	EXPECT_EQ(-EINVAL, start(&self->td, 0x80000000ULL | getpid()));
}

TEST_F(fetched, start_refuses_the_pid_of_another_process)
{
	EXPECT_EQ(-EINVAL, start(&self->td, getppid()));
}

TEST_F(fetched, start_refuses_a_pid_of_nobody)
{
	EXPECT_EQ(-EINVAL, start(&self->td, 0x3ffffff0));
}

TEST_F(fetched, start_can_be_repeated_after_a_refusal)
{
	ASSERT_EQ(-EINVAL, start(&self->td, getppid()));
	EXPECT_EQ(0, start(&self->td, getpid()));
}

TEST_F(added, start_refuses_a_device_without_parameters)
{
	EXPECT_EQ(-EINVAL, start(&self->td, getpid()));
}

TEST_F(added, start_refuses_a_device_whose_parameters_were_forgotten)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_set_params(td));
	td->params.basic.max_sectors = 0;
	ASSERT_EQ(-EINVAL, td_set_params(td));
	EXPECT_EQ(-EINVAL, start(td, getpid()));
}

TEST_F(live, start_refuses_a_live_device)
{
	EXPECT_EQ(-EEXIST, start(&self->td, getpid()));
}

/* The pid is looked at before the state. */
TEST_F(live, start_refuses_a_wrong_pid_first)
{
	EXPECT_EQ(-EINVAL, start(&self->td, getppid()));
}

TEST_F(fetched, start_refuses_a_stopping_server)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EBUSY, start(td, getpid()));
}

TEST_F(live, disk_held_open_after_stop_refuses_start)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EEXIST, start(td, getpid()));
}

/* -- waiting for the tags -------------------------------------------------- */

TEST_F(attached, start_waits_for_the_last_tag)
{
	struct testdev *td = &self->td;
	int tag;

	for (tag = 0; tag < 3; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	ASSERT_EQ(0, start_waiting(td));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 3));
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

TEST_F(attached, disk_has_the_parameters_of_the_end_of_the_wait)
{
	struct testdev *td = &self->td;
	struct ublk_ctrl ctrl;
	int tag;

	for (tag = 0; tag < 3; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	ASSERT_EQ(0, start_waiting(td));
	td->params.basic.dev_sectors *= 2;
	td->params.basic.max_sectors = 64;
	ASSERT_EQ(0, ublk_ctrl_open(&ctrl));
	ASSERT_EQ(0, ublk_set_params(&ctrl, td->id, &td->params));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 3));
	ASSERT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(2 * TD_SIZE >> 9, td_sysfs_number(td, "size"));
	EXPECT_EQ(32, td_sysfs_number(td, "queue/max_hw_sectors_kb"));
}

/* A task asleep in START must not outlive the signal that kills it. */
TEST_F(attached, start_lets_its_killed_caller_go)
{
	struct testdev *td = &self->td;
	pid_t pid = td_ctl_in_child(td, UBLK_U_CMD_START_DEV, getpid());

	ASSERT_LT(0, pid);
	ASSERT_TRUE(td_wait_asleep(td, pid, TD_IN_DRIVER));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
}

TEST_F(attached, start_works_after_an_interrupted_one)
{
	struct testdev *td = &self->td;
	pid_t pid = td_ctl_in_child(td, UBLK_U_CMD_START_DEV, getpid());

	ASSERT_LT(0, pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	ASSERT_EQ(UBLK_S_DEV_DEAD, td_state(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, start(td, getpid()));
}

TEST_F(attached, canceled_start_ends_in_eintr)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	td_ctl_cancel(td);
	EXPECT_EQ(-EINTR, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(attached, canceled_start_can_be_repeated)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	td_ctl_cancel(td);
	ASSERT_EQ(-EINTR, td_ctl_wait(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, start(td, getpid()));
}

/* -- what ends the wait, apart from the tags ------------------------------- */

TEST_F(attached, stop_with_a_server_ends_the_wait)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_STOP_DEV));
	EXPECT_EQ(-EBUSY, td_ctl_wait(td));
}

TEST_F(attached, delete_with_a_server_ends_the_wait)
{
	struct testdev *td = &self->td;
	int ret;

	ASSERT_EQ(0, start_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_DEL_DEV_ASYNC));
	ret = td_ctl_wait(td);
	EXPECT_TRUE(ret == -EBUSY || ret == -ENODEV)
		TH_LOG("START: %d", ret);
}

static int added_with_params(struct testdev *td)
{
	int ret = td_add(td);

	return ret ? ret : td_set_params(td);
}

TD_FIXTURE(serverless, added_with_params);

TEST_F(serverless, delete_without_a_server_ends_the_wait)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_DEL_DEV_ASYNC));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

TEST_F(serverless, stop_without_a_server_ends_the_wait)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_STOP_DEV));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

TEST_F(serverless, sync_delete_is_not_held_up_by_the_waiter)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_waiting(td));
	EXPECT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_DEL_DEV));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

/* It has opened the device, and dies before it fetches. */
TEST_F(serverless, death_of_the_server_ends_the_wait)
{
	struct testdev *td = &self->td;
	pid_t pid = td_open_in_child(td);

	ASSERT_LT(0, pid);
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_START_DEV, pid));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

/* START names a process that has not opened the node, and never will. */
TEST_F(serverless, death_of_a_process_that_never_opened_ends_the_wait)
{
	struct testdev *td = &self->td;
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(1);
	}
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_START_DEV, pid));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

/* An open disk keeps the device, which is still found by its id. */
TEST_F(live, start_of_a_deleted_device_does_not_wait)
{
	struct testdev *td = &self->td;
	int ret;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	td_detach(td);
	ret = start(td, getpid());
	EXPECT_TRUE(ret < 0 && ret != -ETIME) TH_LOG("START: %d", ret);
}

/* -- life after life ------------------------------------------------------- */

TEST_F(live, stopped_device_can_be_served_again)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

TEST_F(live, device_whose_server_left_can_be_served_again)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

TEST_F(attached, second_open_of_the_node_is_refused)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", self->td.id);
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(EBUSY, errno);
}

TEST_F(attached, node_does_not_seek)
{
	EXPECT_EQ(-1, lseek(self->td.cdev, 0, SEEK_CUR));
	EXPECT_EQ(ESPIPE, errno);
}

TEST_HARNESS_MAIN
