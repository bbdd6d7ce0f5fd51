// SPDX-License-Identifier: GPL-2.0
/*
 * STOP_DEV, TRY_STOP_DEV, DEL_DEV and DEL_DEV_ASYNC, in each state.
 */
#include <signal.h>

#include "fixture.h"

TD_FIXTURE(added, td_add);
TD_FIXTURE(attached, td_add_attached);
TD_FIXTURE(fetched, td_add_fetched);
TD_FIXTURE(live, td_go_live);

static int stop(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_STOP_DEV, 0);
}

/* The device itself is meant, not its id, which the kernel may give again. */
static bool is_deleted(void *arg)
{
	struct testdev *td = arg;
	struct ublksrv_ctrl_dev_info info;

	return ublk_get_info(&td->ctrl, td->id, &info) == -ENODEV;
}

static bool has_node(struct testdev *td)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/ublk-char/ublkc%d", td->id);
	return access(path, F_OK) == 0;
}

/* -- STOP ------------------------------------------------------------------ */

TEST_F(added, stop_succeeds_on_a_device_never_started)
{
	EXPECT_EQ(0, stop(&self->td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(&self->td));
}

TEST_F(live, stop_removes_the_disk)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	EXPECT_EQ(0, stop(td));
	EXPECT_TRUE(td_disk_is_gone(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(live, stop_keeps_the_node)
{
	td_close_disk(&self->td);
	ASSERT_EQ(0, stop(&self->td));
	EXPECT_TRUE(has_node(&self->td));
}

TEST_F(live, stop_succeeds_twice)
{
	td_close_disk(&self->td);
	ASSERT_EQ(0, stop(&self->td));
	EXPECT_EQ(0, stop(&self->td));
}

TEST_F(live, stop_succeeds_while_the_disk_is_open)
{
	EXPECT_EQ(0, stop(&self->td));
	EXPECT_TRUE(td_disk_is_gone(&self->td));
}

TEST_F(live, stop_aborts_the_idle_fetches)
{
	struct testdev *td = &self->td;
	int tag;

	td_close_disk(td);
	ASSERT_EQ(0, stop(td));
	for (tag = 0; tag < 4; tag++)
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
}

TEST_F(fetched, stop_aborts_the_fetches_of_a_device_never_started)
{
	struct testdev *td = &self->td;
	int tag;

	ASSERT_EQ(0, stop(td));
	for (tag = 0; tag < 4; tag++)
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
}

TEST_F(fetched, stop_refuses_fetches_from_then_on)
{
	ASSERT_EQ(0, stop(&self->td));
	EXPECT_EQ(-ENODEV, td_fetch(&self->td, 0, 0));
}

TEST_F(attached, stop_refuses_the_first_fetch_too)
{
	ASSERT_EQ(0, stop(&self->td));
	EXPECT_EQ(-ENODEV, td_fetch(&self->td, 0, 0));
}

TEST_F(fetched, stop_refuses_commits_from_then_on)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, stop(td));
	EXPECT_EQ(-EBUSY, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0, 0,
				    0, (unsigned long)td_buf(td, 0, 0)));
}

/* A live server is given the chance to finish what it has begun. */
TEST_F(live, stop_waits_for_the_server_to_finish)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	client = td_read(td, buf, 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));

	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(live, stop_needs_a_capability)
{
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, stop(&self->td));
}

/* -- TRY_STOP -------------------------------------------------------------- */

static int try_stop(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_TRY_STOP_DEV, 0);
}

/* udev opens a new disk, too, so an unused one may be busy for a moment. */
static bool is_stopped_by_try(void *arg)
{
	return try_stop(arg) == 0;
}

TEST_F(added, try_stop_finds_no_disk)
{
	EXPECT_EQ(-ENODEV, try_stop(&self->td));
}

TEST_F(live, try_stop_finds_no_disk_after_stop)
{
	td_close_disk(&self->td);
	ASSERT_EQ(0, stop(&self->td));
	EXPECT_EQ(-ENODEV, try_stop(&self->td));
}

TEST_F(live, try_stop_refuses_an_open_disk)
{
	EXPECT_EQ(-EBUSY, try_stop(&self->td));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(&self->td));
}

TEST_F(live, try_stop_stops_an_unused_disk)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_TRUE(td_poll_until(is_stopped_by_try, td));
	EXPECT_TRUE(td_disk_is_gone(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(live, try_stop_that_was_refused_leaves_the_disk_usable)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(-EBUSY, try_stop(td));
	td_close_disk(td);
	EXPECT_EQ(0, td_open_disk(td));
}

static int open_disk_as_nobody(void *arg)
{
	int fd;

	if (setresuid(65534, 65534, 65534))
		return 255;
	fd = td_open_node(arg, O_RDONLY);
	return fd < 0 ? -fd : 0;
}

/* The ban on opens ends with the disk that it was for. */
TEST_F(live, disk_can_be_opened_by_anyone_when_started_after_try_stop)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_TRUE(td_poll_until(is_stopped_by_try, td));
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	ASSERT_EQ(0, td_make_node(td, 0666));
	EXPECT_EQ(0, td_in_child(open_disk_as_nobody, td));
	td_remove_node(td);
}

/* -- DEL ------------------------------------------------------------------- */

TEST_F(added, delete_frees_the_id_before_it_returns)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
	EXPECT_TRUE(is_deleted(td));
	EXPECT_FALSE(has_node(td));
}

TEST_F(added, delete_of_a_deleted_device_finds_none)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
	EXPECT_EQ(-ENODEV, ublk_del_dev(&td->ctrl, td->id));
}

TEST_F(added, async_delete_frees_the_id_soon)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, ublk_del_dev_async(&td->ctrl, td->id));
	EXPECT_TRUE(td_poll_until(is_deleted, td));
}

TEST_F(live, delete_removes_disk_and_node)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_TRUE(td_disk_is_gone(td));
	EXPECT_FALSE(has_node(td));
}

TEST_F(live, delete_aborts_the_idle_fetches)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, 3));
}

TEST_F(attached, delete_waits_until_the_node_is_closed)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_DEL_DEV, 0));
	td_detach(td);
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_TRUE(is_deleted(td));
}

TEST_F(live, delete_waits_until_the_disk_is_closed)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_DEL_DEV, 0));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, 0));
	td_detach(td);
	td_settle(td, 200);
	ASSERT_EQ(0, io_uring_cq_ready(&td->ctrl.ring));
	td_close_disk(td);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(attached, deleted_device_is_found_by_its_id_until_it_is_free)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(attached, delete_succeeds_on_a_device_being_deleted)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
}

TEST_F(attached, deletion_stands_if_its_wait_is_interrupted)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_DEL_DEV, 0));
	td_ctl_cancel(td);
	EXPECT_EQ(-EINTR, td_ctl_wait(td));
	EXPECT_FALSE(has_node(td));
	td_detach(td);
	EXPECT_TRUE(td_poll_until(is_deleted, td));
}

/* -- one device does not hold up another ----------------------------------- */

/* A disk whose server sits on a request, with a STOP that waits for it. */
static int stuck_stop(struct testdev *td, struct td_req *req)
{
	int ret;

	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ret = td_next(td, req);
	return ret ? ret : td_ctl_send_to_wait(td, UBLK_U_CMD_DEL_DEV, 0);
}

TEST_F(live, stuck_delete_does_not_hold_up_another_device)
{
	struct ublksrv_ctrl_dev_info other = {
		.dev_id = UBLK_AUTO_ID, .nr_hw_queues = 1, .queue_depth = 1,
	};
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = UBLK_AUTO_ID, .queue_id = -1,
		.addr = (unsigned long)&other, .len = sizeof(other),
	};
	struct ublk_ctrl ctrl;
	struct td_req req;
	int res = -ETIME;

	ASSERT_EQ(0, stuck_stop(&self->td, &req));
	ASSERT_EQ(0, ublk_ctrl_open(&ctrl));
	ASSERT_EQ(0, ublk_ctrl_submit(&ctrl, UBLK_U_CMD_ADD_DEV, &cmd));
	EXPECT_EQ(0, ublk_ctrl_wait(&ctrl, TD_DEADLINE_MS, &res));
	if (!res && other.dev_id != UBLK_AUTO_ID)
		EXPECT_EQ(0, ublk_del_dev(&ctrl, other.dev_id));
	td_answer(&self->td, &req, 4096);
}

/* Everything that happens in the life of a disk, on another device. */
TEST_F(live, stuck_stop_does_not_hold_up_the_life_of_another_disk)
{
	static struct testdev other;
	struct td_req req;
	int client;

	ASSERT_EQ(0, stuck_stop(&self->td, &req));
	ASSERT_TRUE(td_init(&other));
	EXPECT_EQ(0, td_go_live(&other));
	client = td_read(&other, td_page_buf(4096, 0), 4096, 0);
	EXPECT_EQ(4096, td_wait(&other, client));
	td_close_disk(&other);
	EXPECT_EQ(0, td_ctl(&other, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(&other);
	EXPECT_EQ(0, ublk_del_dev(&other.ctrl, other.id));
	td_answer(&self->td, &req, 4096);
}

TEST_F(live, stray_fetch_does_not_wait_for_a_stuck_stop)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, stuck_stop(td, &req));
	EXPECT_EQ(-EBUSY, td_fetch(td, req.queue, req.tag));
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, 4096));
}

TEST_F(live, stuck_stop_lets_its_killed_caller_go)
{
	struct testdev *td = &self->td;
	struct td_req req;
	pid_t pid;

	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	pid = td_ctl_in_child(td, UBLK_U_CMD_STOP_DEV, 0);
	ASSERT_LT(0, pid);
	ASSERT_TRUE(td_wait_asleep(td, pid, TD_IN_DRIVER));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	td_answer(td, &req, 4096);
}

TEST_HARNESS_MAIN
