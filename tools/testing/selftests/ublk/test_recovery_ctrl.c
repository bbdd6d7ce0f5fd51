// SPDX-License-Identifier: GPL-2.0
/*
 * START_USER_RECOVERY and END_USER_RECOVERY in each state, and what the other
 * control commands say of a disk that has no server.
 */
#include <signal.h>

#include "fixture.h"

static int added_recoverable(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY;
	return td_add(td);
}

static int fetched_recoverable(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY;
	return td_add_fetched(td);
}

/* The next server has opened the node, and not fetched. */
static int reattached(struct testdev *td)
{
	int ret = td_go_quiesced(td);

	return ret ? ret : td_reattach(td);
}

static int refetched(struct testdev *td)
{
	int ret = reattached(td);

	return ret ? ret : td_fetch_all(td);
}

static int refetched_fail_io(struct testdev *td)
{
	int ret = td_go_fail_io(td);

	if (!ret)
		ret = td_reattach(td);
	return ret ? ret : td_fetch_all(td);
}

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(mortal, td_go_live);			/* without recovery */
TD_FIXTURE(added, added_recoverable);
TD_FIXTURE(fetched, fetched_recoverable);	/* never started */
TD_FIXTURE(live, td_go_live_recoverable);
TD_FIXTURE(quiesced, td_go_quiesced);
TD_FIXTURE(fail_io, td_go_fail_io);
TD_FIXTURE(reattached, reattached);
TD_FIXTURE(refetched, refetched);
TD_FIXTURE(refetched_fail_io, refetched_fail_io);

static int begin(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0);
}

/* A moment after the state has changed: the old server is gone for good. */
static bool is_vacant(void *arg)
{
	return begin(arg) == 0;
}

static int end(struct testdev *td, __u64 pid)
{
	return td_ctl(td, UBLK_U_CMD_END_USER_RECOVERY, pid);
}

static int end_waiting(struct testdev *td)
{
	return td_ctl_send_to_wait(td, UBLK_U_CMD_END_USER_RECOVERY, getpid());
}

/* -- START_USER_RECOVERY --------------------------------------------------- */

TEST_F(mortal, start_recovery_is_refused_without_recovery)
{
	EXPECT_EQ(-EINVAL, begin(&self->td));
}

TEST_F(mortal, start_recovery_is_refused_without_recovery_when_the_server_is_gone)
{
	td_detach(&self->td);
	ASSERT_TRUE(td_wait_state(&self->td, UBLK_S_DEV_DEAD));
	EXPECT_EQ(-EINVAL, begin(&self->td));
}

TEST_F(added, start_recovery_finds_a_device_never_started_busy)
{
	EXPECT_EQ(-EBUSY, begin(&self->td));
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(fetched, start_recovery_finds_a_server_never_started_busy)
{
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(live, start_recovery_finds_a_live_device_busy)
{
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(live, start_recovery_finds_a_stopped_device_busy)
{
	td_detach(&self->td);
	ASSERT_TRUE(td_wait_state(&self->td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(quiesced, start_recovery_succeeds)
{
	EXPECT_TRUE(td_poll_until(is_vacant, &self->td));
}

TEST_F(fail_io, start_recovery_succeeds)
{
	EXPECT_TRUE(td_poll_until(is_vacant, &self->td));
}

TEST_F(quiesced, start_recovery_succeeds_twice)
{
	ASSERT_TRUE(td_poll_until(is_vacant, &self->td));
	EXPECT_EQ(0, begin(&self->td));
}

TEST_F(quiesced, start_recovery_changes_nothing)
{
	ASSERT_TRUE(td_poll_until(is_vacant, &self->td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(&self->td));
}

TEST_F(reattached, start_recovery_finds_an_attached_server_busy)
{
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(refetched, start_recovery_finds_a_ready_server_busy)
{
	EXPECT_EQ(-EBUSY, begin(&self->td));
}

TEST_F(quiesced, start_recovery_needs_a_capability)
{
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, begin(&self->td));
}

/* A process that only holds the old server's files keeps the next one out. */
TEST_F(driver, start_recovery_waits_for_the_last_holder_of_the_node)
{
	struct testdev *td = &self->td;
	struct ublk_options opts;

	ublk_options_init(&opts);
	opts.target = &td_hold_target;
	opts.flags = UBLK_F_USER_RECOVERY | UBLK_F_NO_AUTO_PART_SCAN;
	td->heir = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(0, td_spawn(td, &opts));
	ASSERT_EQ(0, td_kill_server(td));
	td_settle(td, 200);
	EXPECT_EQ(-EBUSY, begin(td));
	ASSERT_EQ(0, kill(td->heir_pid, SIGKILL));
	EXPECT_TRUE(td_poll_until(is_vacant, td));
}

/* -- END_USER_RECOVERY ----------------------------------------------------- */

TEST_F(mortal, end_recovery_is_refused_without_recovery)
{
	EXPECT_EQ(-EINVAL, end(&self->td, getpid()));
}

TEST_F(live, end_recovery_finds_a_live_device_busy)
{
	EXPECT_EQ(-EBUSY, end(&self->td, getpid()));
}

TEST_F(fetched, end_recovery_finds_a_device_never_started_busy)
{
	EXPECT_EQ(-EBUSY, end(&self->td, getpid()));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(&self->td));
}

TEST_F(fetched, start_works_after_a_refused_end_recovery)
{
	ASSERT_EQ(-EBUSY, end(&self->td, getpid()));
	EXPECT_EQ(0, td_start(&self->td));
}

TEST_F(refetched, end_recovery_makes_the_device_live)
{
	EXPECT_EQ(0, end(&self->td, getpid()));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(&self->td));
}

TEST_F(refetched_fail_io, end_recovery_makes_the_device_live)
{
	EXPECT_EQ(0, end(&self->td, getpid()));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(&self->td));
}

TEST_F(quiesced, end_recovery_needs_no_start)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_attach_again(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, end(td, getpid()));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

TEST_F(refetched, end_recovery_finds_an_ended_recovery_busy)
{
	ASSERT_EQ(0, end(&self->td, getpid()));
	EXPECT_EQ(-EBUSY, end(&self->td, getpid()));
}

TEST_F(refetched, end_recovery_refuses_the_pid_of_another_process)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EINVAL, end(td, getppid()));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
	EXPECT_EQ(0, end(td, getpid()));
}

TEST_F(refetched, end_recovery_refuses_pid_0)
{
	EXPECT_EQ(-EINVAL, end(&self->td, 0));
}

TEST_F(refetched, end_recovery_refuses_a_stopped_device)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EBUSY, end(td, getpid()));
}

TEST_F(refetched, end_recovery_needs_a_capability)
{
	pid_t pid = getpid();

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, end(&self->td, pid));
}

TEST_F(reattached, end_recovery_waits_for_the_last_tag)
{
	struct testdev *td = &self->td;
	int tag;

	for (tag = 0; tag < 3; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	ASSERT_EQ(0, end_waiting(td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 3));
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

/* -- what else ends the wait ----------------------------------------------- */

TEST_F(reattached, canceled_end_recovery_ends_in_eintr)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, end_waiting(td));
	td_ctl_cancel(td);
	EXPECT_EQ(-EINTR, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
}

TEST_F(reattached, canceled_end_recovery_can_be_repeated)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, end_waiting(td));
	td_ctl_cancel(td);
	ASSERT_EQ(-EINTR, td_ctl_wait(td));
	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, end(td, getpid()));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
}

/* The child is dead when this returns 0. */
static int signal_ender(struct testdev *td, int signal)
{
	pid_t pid = td_ctl_in_child(td, UBLK_U_CMD_END_USER_RECOVERY, getpid());
	int ret;

	if (pid < 0)
		return pid;
	if (!td_wait_asleep(td, pid, TD_IN_DRIVER))
		return -ETIME;
	kill(pid, signal);
	ret = td_wait_exit(pid, TD_DEADLINE_MS);
	return ret == -EINTR ? 0 : ret;
}

FIXTURE(signalled)
{
	struct testdev td;
};

FIXTURE_VARIANT(signalled)
{
	int signal;
};

FIXTURE_VARIANT_ADD(signalled, sigint) { .signal = SIGINT };
FIXTURE_VARIANT_ADD(signalled, sigterm) { .signal = SIGTERM };
FIXTURE_VARIANT_ADD(signalled, sigkill) { .signal = SIGKILL };

TD_FIXTURE_OPS(signalled, reattached);

TEST_F(signalled, end_recovery_lets_its_caller_go)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, signal_ender(td, variant->signal));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
}

TEST_F(signalled, device_is_usable_after_the_signal)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, signal_ender(td, variant->signal));
	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, end(td, getpid()));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
}

TEST_F(signalled, tags_that_were_fetched_before_the_signal_count)
{
	struct testdev *td = &self->td;
	int tag;

	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 0));
	ASSERT_EQ(0, signal_ender(td, variant->signal));
	for (tag = 1; tag < 4; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	EXPECT_EQ(0, end(td, getpid()));
}

TEST_F(reattached, stop_ends_the_wait_of_end_recovery)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, end_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_STOP_DEV));
	EXPECT_EQ(-EBUSY, td_ctl_wait(td));
}

TEST_F(reattached, delete_ends_the_wait_of_end_recovery)
{
	struct testdev *td = &self->td;
	int ret;

	ASSERT_EQ(0, end_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_DEL_DEV_ASYNC));
	ret = td_ctl_wait(td);
	EXPECT_TRUE(ret == -EBUSY || ret == -ENODEV) TH_LOG("END: %d", ret);
}

TEST_F(quiesced, delete_without_a_server_ends_the_wait_of_end_recovery)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_EQ(0, end_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_DEL_DEV));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

TEST_F(quiesced, stop_without_a_server_ends_the_wait_of_end_recovery)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, end_waiting(td));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_STOP_DEV));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
}

/* It has opened the node, and then does nothing. */
TEST_F(quiesced, death_of_the_next_server_ends_the_wait_of_end_recovery)
{
	struct testdev *td = &self->td;
	pid_t pid;

	ASSERT_TRUE(td_poll_until(is_vacant, td));
	pid = td_open_in_child(td);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_END_USER_RECOVERY, pid));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
}

/* -- GET_DEV_INFO ---------------------------------------------------------- */

static int shown_pid(struct testdev *td)
{
	struct ublksrv_ctrl_dev_info info = { };
	int ret = ublk_get_info(&td->ctrl, td->id, &info);

	return ret ? ret : info.ublksrv_pid;
}

TEST_F(quiesced, info_shows_the_old_server_while_it_lives)
{
	EXPECT_EQ(getpid(), shown_pid(&self->td));
}

TEST_F(fail_io, info_shows_the_old_server_while_it_lives)
{
	EXPECT_EQ(getpid(), shown_pid(&self->td));
}

static int spawn_recoverable(struct testdev *td)
{
	struct ublk_options opts;

	ublk_options_init(&opts);
	opts.flags = UBLK_F_USER_RECOVERY | UBLK_F_NO_AUTO_PART_SCAN;
	opts.depth = 4;
	return td_spawn(td, &opts);
}

TD_FIXTURE(spawned, spawn_recoverable);

TEST_F(spawned, info_shows_no_server_when_it_is_dead)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(td->server, shown_pid(td));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	EXPECT_EQ(-1, shown_pid(td));
}

/* Its parent has not asked how it ended. */
TEST_F(spawned, info_shows_no_server_when_it_is_a_zombie)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, kill(td->server, SIGKILL));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	EXPECT_EQ(-1, shown_pid(td));
	EXPECT_EQ(0, td_kill_server(td));
}

TEST_F(spawned, info_does_not_show_the_next_server_before_the_end)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(-1, shown_pid(td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
	ASSERT_EQ(0, end(td, getpid()));
	EXPECT_EQ(getpid(), shown_pid(td));
}

TEST_F(quiesced, info_shows_no_server_after_stop)
{
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-1, shown_pid(&self->td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(&self->td));
}

/* -- other commands -------------------------------------------------------- */

TEST_F(quiesced, parameters_cannot_be_set)
{
	EXPECT_EQ(-EACCES, td_set_params(&self->td));
}

TEST_F(fail_io, parameters_cannot_be_set)
{
	EXPECT_EQ(-EACCES, td_set_params(&self->td));
}

TEST_F(quiesced, parameters_can_be_read)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(td->params.basic.dev_sectors, p.basic.dev_sectors);
}

TEST_F(quiesced, disk_can_be_resized)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, 4096));
	EXPECT_EQ(4096, td_sysfs_number(td, "size"));
}

TEST_F(refetched, start_finds_the_disk)
{
	EXPECT_EQ(-EEXIST, td_start(&self->td));
	EXPECT_EQ(0, end(&self->td, getpid()));
}

TEST_F(refetched_fail_io, start_finds_the_disk)
{
	EXPECT_EQ(-EEXIST, td_start(&self->td));
}

TEST_F(reattached, second_open_of_the_node_is_refused)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", self->td.id);
	EXPECT_EQ(-1, open(path, O_RDWR));
	EXPECT_EQ(EBUSY, errno);
}

TEST_F(quiesced, try_stop_refuses_an_open_disk)
{
	EXPECT_EQ(-EBUSY, td_ctl(&self->td, UBLK_U_CMD_TRY_STOP_DEV, 0));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(&self->td));
}

/* udev opens a new disk, too, so an unused one may be busy for a moment. */
static bool is_stopped_by_try(void *arg)
{
	return td_ctl(arg, UBLK_U_CMD_TRY_STOP_DEV, 0) == 0;
}

/* With FAIL_IO, as udev would wait with the disk open where reads are held. */
TEST_F(fail_io, try_stop_stops_an_unused_disk)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_TRUE(td_poll_until(is_stopped_by_try, td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_HARNESS_MAIN
