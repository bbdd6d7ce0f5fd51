// SPDX-License-Identifier: GPL-2.0
/*
 * QUIESCE_DEV: what it refuses, what it waits for, that nothing has changed when
 * it fails, and the way from one living server to the next when it succeeds.
 */
#include <sched.h>
#include <signal.h>

#include "fixture.h"

#define DEPTH		4
#define TIMEOUT_MS	300

static int added(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE;
	return td_add(td);
}

static int live(struct testdev *td)
{
	td->info.flags |= UBLK_F_QUIESCE;
	return td_go_live_recoverable(td);
}

static int live_fail_io(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY_FAIL_IO;
	return live(td);
}

static int quiesced(struct testdev *td)
{
	td->info.flags |= UBLK_F_QUIESCE;
	return td_go_quiesced(td);
}

static int two_queues(struct testdev *td)
{
	td->info.nr_hw_queues = 2;
	return live(td);
}

TD_FIXTURE(without, td_go_live_recoverable);	/* the feature */
TD_FIXTURE(added, added);
TD_FIXTURE(live, live);
TD_FIXTURE(fail_io, live_fail_io);
TD_FIXTURE(quiesced, quiesced);
TD_FIXTURE(queues, two_queues);

static int quiesce(struct testdev *td, __u64 timeout_ms)
{
	return td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, timeout_ms);
}

static int send_read(struct testdev *td, int number)
{
	return td_read(td, td_page_buf(4096, 0), 4096, TD_AREA + number * 65536);
}

/* Puts every tag of the only queue into the hands of the server. */
static int take_all_tags(struct testdev *td, struct td_req reqs[DEPTH],
			 int clients[DEPTH])
{
	int i, ret = 0;

	for (i = 0; i < DEPTH; i++)
		clients[i] = send_read(td, i);
	for (i = 0; i < DEPTH && !ret; i++)
		ret = td_next(td, &reqs[i]);
	return ret;
}

/* -- refusals -------------------------------------------------------------- */

TEST_F(without, quiesce_is_refused_without_the_feature)
{
	EXPECT_EQ(-EOPNOTSUPP, quiesce(&self->td, 0));
}

TEST_F(added, quiesce_finds_no_disk_before_start)
{
	EXPECT_EQ(-ENODEV, quiesce(&self->td, 0));
}

TEST_F(live, quiesce_finds_no_disk_after_stop)
{
	td_close_disk(&self->td);
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, quiesce(&self->td, 0));
}

TEST_F(live, quiesce_needs_a_capability)
{
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, quiesce(&self->td, 0));
}

/* -- success --------------------------------------------------------------- */

TEST_F(live, quiesce_ends_the_idle_fetches)
{
	struct testdev *td = &self->td;
	int tag;

	ASSERT_EQ(0, quiesce(td, 0));
	for (tag = 0; tag < DEPTH; tag++)
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
}

TEST_F(live, device_stays_live_until_the_server_leaves)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, quiesce(td, 0));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	td_detach(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
}

TEST_F(fail_io, device_stays_live_until_the_server_leaves)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, quiesce(td, 0));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	td_detach(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_FAIL_IO));
}

TEST_F(live, quiesce_refuses_fetches_from_then_on)
{
	ASSERT_EQ(0, quiesce(&self->td, 0));
	ASSERT_EQ(-ENODEV, td_wait_end(&self->td, 0, 0));
	EXPECT_EQ(-ENODEV, td_fetch(&self->td, 0, 0));
}

TEST_F(live, quiesce_succeeds_twice)
{
	ASSERT_EQ(0, quiesce(&self->td, 0));
	EXPECT_EQ(0, quiesce(&self->td, 0));
}

TEST_F(live, next_server_does_not_come_before_the_last_has_left)
{
	ASSERT_EQ(0, quiesce(&self->td, 0));
	EXPECT_EQ(-EBUSY, td_ctl(&self->td, UBLK_U_CMD_START_USER_RECOVERY, 0));
}

TEST_F(live, read_waits_for_the_next_server)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, quiesce(td, 0));
	client = send_read(td, 0);
	td_settle(td, 100);
	EXPECT_FALSE(td_done(td, client));
	td_detach(td);
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(fail_io, read_fails_at_once)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, quiesce(td, 0));
	EXPECT_EQ(-EIO, td_wait(td, send_read(td, 0)));
}

TEST_F(fail_io, reads_work_again_with_the_next_server)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, quiesce(td, 0));
	td_detach(td);
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, send_read(td, 0)));
}

/* What the server had in hand it may finish; it is asked for no more. */
TEST_F(live, commit_completes_the_request_and_ends_the_tag)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, quiesce(td, 0));
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(-ENODEV, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, commit_after_quiesce_brings_its_data)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0), *want = td_page_buf(4096, 5);
	int client = td_read(td, buf, 4096, TD_AREA);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, quiesce(td, 0));
	memcpy(req.buf, want, 4096);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(want, buf, 4096));
}

TEST_F(live, request_that_a_quiesced_server_leaves_behind_fails)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, quiesce(td, 0));
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
}

/* -- the wait -------------------------------------------------------------- */

/* A server whose tags are all in use could not be told. */
TEST_F(live, quiesce_waits_for_an_idle_tag)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], i;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	td_answer(td, &reqs[0], 4096);
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, reqs[0].tag));
	for (i = 1; i < DEPTH; i++)
		EXPECT_EQ(-ENODEV, td_answer(td, &reqs[i], 4096));
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
}

/* A request that comes meanwhile must not take the tag that is waited for. */
TEST_F(live, request_that_comes_during_the_wait_is_held)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], late, i;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	late = send_read(td, DEPTH);
	td_answer(td, &reqs[0], 4096);
	EXPECT_EQ(0, td_ctl_wait(td));
	for (i = 1; i < DEPTH; i++)
		td_answer(td, &reqs[i], 4096);
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
	EXPECT_FALSE(td_done(td, late));
	td_detach(td);
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, late));
}

TEST_F(queues, quiesce_waits_for_an_idle_tag_of_each_queue)
{
	struct testdev *td = &self->td;
	int clients[2 * DEPTH], i, n = td->info.nr_hw_queues * DEPTH;
	struct td_req reqs[2 * DEPTH];
	cpu_set_t cpus;

	if (td->info.nr_hw_queues < 2)
		SKIP(return, "needs two CPUs");
	for (i = 0; i < n; i++) {
		ASSERT_EQ(0, ublk_get_affinity(&td->ctrl, td->id, i / DEPTH,
					       &cpus, sizeof(cpus)));
		ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
		clients[i] = send_read(td, i);
	}
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, td_next(td, &reqs[i]));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	td_answer(td, &reqs[0], 4096);
	td_settle(td, 200);
	EXPECT_EQ(0, io_uring_cq_ready(&td->ctrl.ring));
	td_answer(td, &reqs[n - 1], 4096);
	EXPECT_EQ(0, td_ctl_wait(td));
	for (i = 1; i < n - 1; i++)
		td_answer(td, &reqs[i], 4096);
	for (i = 0; i < n; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
}

TEST_F(live, quiesce_gives_up_at_its_timeout)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH];
	__u64 begin;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	begin = td_now_ms();
	EXPECT_EQ(-EBUSY, quiesce(td, TIMEOUT_MS));
	EXPECT_LE(TIMEOUT_MS, td_now_ms() - begin);
}

/* Every tag works as before, the ones that were in hand and the late one's. */
static void check_io(struct __test_metadata *_metadata, struct testdev *td,
		     const struct td_req reqs[DEPTH], const int clients[DEPTH],
		     int late)
{
	int i;

	td->answer_all = true;
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(TD_PENDING, td_answer(td, &reqs[i], 4096));
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
	EXPECT_EQ(4096, td_wait(td, late));
	for (i = 0; i < 3 * DEPTH; i++)
		EXPECT_EQ(4096, td_wait(td, send_read(td, i)));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

/* One that was held meanwhile; the queue takes it when a tag is free. */
static int late_read(struct testdev *td)
{
	return send_read(td, DEPTH);
}

FIXTURE(either)
{
	struct testdev td;
};

FIXTURE_VARIANT(either)
{
	int (*go_live)(struct testdev *td);
};

FIXTURE_VARIANT_ADD(either, holds) { .go_live = live };
FIXTURE_VARIANT_ADD(either, fails) { .go_live = live_fail_io };

TD_FIXTURE_OPS(either, variant->go_live);

TEST_F(either, io_goes_on_after_a_timeout)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], late;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_QUIESCE_DEV, TIMEOUT_MS));
	td_settle(td, TIMEOUT_MS / 3);
	late = late_read(td);
	ASSERT_EQ(-EBUSY, td_ctl_wait(td));
	check_io(_metadata, td, reqs, clients, late);
}

TEST_F(live, quiesce_can_be_repeated_after_a_timeout)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH];

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(-EBUSY, quiesce(td, TIMEOUT_MS));
	ASSERT_EQ(TD_PENDING, td_answer(td, &reqs[0], 4096));
	EXPECT_EQ(0, quiesce(td, 0));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, reqs[0].tag));
}

TEST_F(live, io_goes_on_after_a_canceled_quiesce)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], late;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	late = late_read(td);
	td_ctl_cancel(td);
	EXPECT_EQ(-EINTR, td_ctl_wait(td));
	check_io(_metadata, td, reqs, clients, late);
}

TEST_F(live, io_goes_on_when_the_caller_of_quiesce_is_killed)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], late;
	pid_t pid;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	pid = td_ctl_in_child(td, UBLK_U_CMD_QUIESCE_DEV, 0);
	ASSERT_LT(0, pid);
	ASSERT_TRUE(td_wait_asleep(td, pid, TD_IN_DRIVER));
	late = late_read(td);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	check_io(_metadata, td, reqs, clients, late);
}

TEST_F(live, stop_ends_the_wait_of_quiesce)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = self->td.id, .queue_id = -1,
	};
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], i, res;
	struct ublk_ctrl ctrl;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	ASSERT_EQ(0, ublk_ctrl_open(&ctrl));
	ASSERT_EQ(0, ublk_ctrl_submit(&ctrl, UBLK_U_CMD_STOP_DEV, &cmd));
	EXPECT_EQ(-EBUSY, td_ctl_wait(td));
	for (i = 0; i < DEPTH; i++)
		td_answer(td, &reqs[i], 4096);
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
	EXPECT_EQ(0, ublk_ctrl_wait(&ctrl, TD_DEADLINE_MS, &res));
	EXPECT_EQ(0, res);
}

TEST_F(live, death_of_the_server_ends_the_wait_of_quiesce)
{
	struct testdev *td = &self->td;
	struct td_req reqs[DEPTH];
	int clients[DEPTH], i, ret;

	ASSERT_EQ(0, take_all_tags(td, reqs, clients));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	td_detach(td);
	ret = td_ctl_wait(td);
	EXPECT_TRUE(ret == 0 || ret == -EBUSY) TH_LOG("QUIESCE: %d", ret);
	for (i = 0; i < DEPTH; i++)
		EXPECT_EQ(-EIO, td_wait(td, clients[i]));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, send_read(td, 0)));
}

/* -- devices that are not live --------------------------------------------- */

TEST_F(quiesced, quiesce_succeeds_without_a_server)
{
	EXPECT_EQ(0, quiesce(&self->td, 0));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(&self->td));
}

TEST_F(quiesced, quiesce_ends_the_fetches_of_a_server_that_recovers)
{
	struct testdev *td = &self->td;
	int tag;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, quiesce(td, 0));
	for (tag = 0; tag < DEPTH; tag++)
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
	EXPECT_EQ(-EBUSY, td_end_recovery(td));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
}

TEST_F(quiesced, disk_can_be_recovered_after_a_quiesced_recovery)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, quiesce(td, 0));
	td_detach(td);
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, stop_ends_a_quiesced_device)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, quiesce(td, 0));
	client = send_read(td, 0);
	td_settle(td, 100);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

/* -- from one server to the next ------------------------------------------- */

TEST_F(live, disk_goes_from_server_to_server)
{
	struct testdev *td = &self->td;
	int round, client;

	td->answer_all = true;
	for (round = 0; round < 5; round++) {
		ASSERT_EQ(4096, td_wait(td, send_read(td, 0)));
		ASSERT_EQ(0, quiesce(td, 0));
		client = send_read(td, 1);
		td_detach(td);
		ASSERT_EQ(0, td_recover(td));
		EXPECT_EQ(4096, td_wait(td, client));
	}
}

static int loop_server(struct testdev *td)
{
	static char path[32];
	struct ublk_options opts;

	snprintf(path, sizeof(path), "/proc/self/fd/%d",
		 memfd_create("disk", 0));
	ublk_options_init(&opts);
	opts.target = &ublk_loop_target;
	opts.file = path;
	opts.size = TD_SIZE;
	opts.depth = 8;
	opts.flags = UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE |
		     UBLK_F_NO_AUTO_PART_SCAN;
	return td_spawn(td, &opts);
}

TD_FIXTURE(loaded, loop_server);

/* Under load no write may fail: all of them are answered, or never sent. */
TEST_F(loaded, no_write_fails_from_one_server_to_the_next)
{
	enum { WRITES = 96, BYTES = 16384 };
	struct testdev *td = &self->td;
	int clients[WRITES], i;

	for (i = 0; i < WRITES; i++)
		clients[i] = td_write(td, td_page_buf(BYTES, i + 1), BYTES,
				      TD_AREA + i * BYTES, 0);
	ASSERT_EQ(0, quiesce(td, 0));
	/* The library's server ends when its last command has come back. */
	EXPECT_EQ(0, td_wait_exit(td->server, TD_DEADLINE_MS));
	td->server = 0;
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	for (i = 0; i < WRITES; i++)
		EXPECT_EQ(BYTES, td_wait(td, clients[i]));
}

TEST_HARNESS_MAIN
