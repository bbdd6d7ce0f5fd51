// SPDX-License-Identifier: GPL-2.0
/*
 * From one server to the next: when I/O flows again, servers that die while they
 * recover, and the ways to an end for a disk whose next server never comes.
 */
#include <sched.h>
#include <signal.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "fixture.h"

static int live_reissue(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY_REISSUE;
	return td_go_live_recoverable(td);
}

/* A disk whose fsync reaches the server. */
static int quiesced_cached(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return td_go_quiesced(td);
}

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(live, td_go_live_recoverable);
TD_FIXTURE(reissue, live_reissue);
TD_FIXTURE(quiesced, td_go_quiesced);
TD_FIXTURE(cached, quiesced_cached);
TD_FIXTURE(fail_io, td_go_fail_io);

static int send_read(struct testdev *td, int number)
{
	return td_read(td, td_page_buf(4096, 0), 4096, TD_AREA + number * 65536);
}

/* -- when I/O flows again -------------------------------------------------- */

TEST_F(quiesced, held_read_comes_with_the_end_of_recovery)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = send_read(td, 0);

	td_settle(td, 100);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_READ, req.op);
	EXPECT_EQ(TD_AREA >> 9, req.start);
	EXPECT_EQ(8, req.sectors);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(quiesced, held_write_brings_its_data)
{
	struct testdev *td = &self->td;
	void *data = td_page_buf(4096, 7);
	int client = td_write(td, data, 4096, TD_AREA, 0);
	struct td_req req;

	td_settle(td, 100);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, memcmp(req.buf, data, 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(reissue, reissued_write_brings_its_data_again)
{
	struct testdev *td = &self->td;
	void *data = td_page_buf(4096, 7);
	int client = td_write(td, data, 4096, TD_AREA, 0);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, memcmp(req.buf, data, 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

FIXTURE(either)
{
	struct testdev td;
};

FIXTURE_VARIANT(either)
{
	int (*lose_server)(struct testdev *td);
	int state;
};

FIXTURE_VARIANT_ADD(either, quiesced) {
	.lose_server = td_go_quiesced, .state = UBLK_S_DEV_QUIESCED,
};

FIXTURE_VARIANT_ADD(either, fail_io) {
	.lose_server = td_go_fail_io, .state = UBLK_S_DEV_FAIL_IO,
};

TD_FIXTURE_OPS(either, variant->lose_server);

/* A queue is open as soon as it is complete: END is for what was held. */
TEST_F(either, new_read_comes_before_the_end_of_recovery)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	client = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(variant->state, td_state(td));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(quiesced, held_read_does_not_come_before_the_end_of_recovery)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);

	td->answer_all = true;
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	td_settle(td, 200);
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(0, td_end_recovery(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(quiesced, read_is_held_until_the_queue_is_complete)
{
	struct testdev *td = &self->td;
	int client, tag;

	td->answer_all = true;
	ASSERT_EQ(0, td_reattach(td));
	for (tag = 0; tag < 3; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	client = send_read(td, 0);
	td_settle(td, 200);
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 3));
	ASSERT_EQ(0, td_end_recovery(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

static int two_queues_quiesced(struct testdev *td)
{
	td->info.nr_hw_queues = 2;
	return td_go_quiesced(td);
}

TD_FIXTURE(queues, two_queues_quiesced);

/* A task on one of these CPUs sends through this queue. */
static int move_to_queue(struct testdev *td, __u16 queue)
{
	cpu_set_t cpus;
	int ret = ublk_get_affinity(&td->ctrl, td->id, queue, &cpus,
				    sizeof(cpus));

	if (!ret && sched_setaffinity(0, sizeof(cpus), &cpus))
		ret = -errno;
	return ret;
}

TEST_F(queues, complete_queue_does_not_wait_for_the_other)
{
	struct testdev *td = &self->td;
	int here, there, tag;
	struct td_req req;

	if (td->info.nr_hw_queues < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, td_reattach(td));
	for (tag = 0; tag < 4; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	ASSERT_EQ(0, move_to_queue(td, 1));
	there = send_read(td, 1);
	ASSERT_EQ(0, move_to_queue(td, 0));
	here = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, req.queue);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, here));
	EXPECT_FALSE(td_done(td, there));
	td->answer_all = true;
	for (tag = 0; tag < 4; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 1, tag));
	ASSERT_EQ(0, td_end_recovery(td));
	EXPECT_EQ(4096, td_wait(td, there));
}

/* -- fsync ----------------------------------------------------------------- */

TEST_F(cached, held_fsync_comes_with_the_end_of_recovery)
{
	struct testdev *td = &self->td;
	int client = td_fsync(td);

	td->answer_all = true;
	td_settle(td, 100);
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(0, td_wait(td, client));
}

/* A server that ignores what START_USER_RECOVERY says, or does not send it. */
TEST_F(cached, fsync_is_not_stranded_by_an_end_without_a_start)
{
	struct testdev *td = &self->td;
	int client = td_fsync(td);

	td->answer_all = true;
	ASSERT_EQ(0, td_attach_again(td));
	EXPECT_EQ(-EBUSY, td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0));
	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, td_end_recovery(td));
	EXPECT_EQ(0, td_wait(td, client));
	EXPECT_EQ(0, td_wait(td, td_fsync(td)));
}

TEST_F(cached, fsync_is_not_stranded_by_an_end_in_a_second_round)
{
	struct testdev *td = &self->td;
	int client, round;

	td->answer_all = true;
	for (round = 0; round < 3; round++) {
		client = td_fsync(td);
		ASSERT_EQ(0, td_recover(td));
		EXPECT_EQ(0, td_wait(td, client));
		td_detach(td);
		ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	}
}

/* -- servers that die while they recover ----------------------------------- */

TEST_F(quiesced, servers_that_fetch_in_part_and_go_leave_a_recoverable_disk)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0), round, tag;

	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, td_reattach(td));
		for (tag = 0; tag < round; tag++)
			ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
		td_detach(td);
		EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
	}
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

/* A next server that fetches @tags tags and is killed. */
static int fetch_and_be_killed(struct testdev *td, unsigned int tags)
{
	static struct testdev mine;
	unsigned int tag;
	int fds[2], ret;
	pid_t pid;
	char c;

	if (pipe(fds))
		return -errno;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!td_init(&mine))
			_exit(1);
		mine.id = td->id;
		ret = td_reattach(&mine);
		for (tag = 0; !ret && tag < tags; tag++)
			if (td_fetch(&mine, 0, tag) != TD_PENDING)
				ret = -EINVAL;
		if (!ret && write(fds[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &c, 1) != 1)
		return -ECHILD;
	close(fds[0]);
	kill(pid, SIGKILL);
	ret = td_wait_exit(pid, TD_DEADLINE_MS);
	return ret == -EINTR ? 0 : ret;
}

TEST_F(quiesced, servers_killed_after_some_fetches_leave_a_recoverable_disk)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);
	unsigned int tags;

	for (tags = 0; tags <= 4; tags++)
		ASSERT_EQ(0, fetch_and_be_killed(td, tags));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, disk_survives_many_servers)
{
	struct testdev *td = &self->td;
	int round;

	td->answer_all = true;
	for (round = 0; round < 10; round++) {
		EXPECT_EQ(4096, td_wait(td, send_read(td, round)));
		td_detach(td);
		ASSERT_EQ(0, td_recover(td));
	}
	EXPECT_EQ(4096, td_wait(td, send_read(td, 0)));
}

TEST_F(reissue, read_goes_from_server_to_server_until_one_answers)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0), round;
	struct td_req req;

	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, td_next(td, &req));
		EXPECT_EQ(TD_AREA >> 9, req.start);
		td_detach(td);
		ASSERT_EQ(0, td_recover(td));
	}
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

/* It was given a new request, before its END, and goes. */
TEST_F(quiesced, read_in_the_hands_of_a_server_that_dies_in_recovery_fails)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	client = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(UBLK_S_DEV_QUIESCED, td_state(td));
}

TEST_F(reissue, read_in_the_hands_of_a_server_that_dies_in_recovery_is_reissued)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	td_detach(td);
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	client = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(fail_io, reads_fail_as_before_when_the_next_server_dies_in_recovery)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	td_detach(td);
	ASSERT_EQ(0, td_reattach(td));
	EXPECT_EQ(UBLK_S_DEV_FAIL_IO, td_state(td));
	EXPECT_EQ(-EREMOTEIO, td_wait(td, send_read(td, 0)));
}

TEST_F(fail_io, reads_work_again_after_recovery)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(-EREMOTEIO, td_wait(td, send_read(td, 0)));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(4096, td_wait(td, send_read(td, 0)));
}

/* -- another end ----------------------------------------------------------- */

TEST_F(quiesced, stopped_disk_can_be_served_anew)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
	td_close_disk(td);
	ASSERT_EQ(0, td_serve_again(td));
	ASSERT_EQ(0, td_open_disk(td));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, send_read(td, 0)));
}

TEST_F(quiesced, delete_waits_for_the_client_of_a_held_read)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);

	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_DEL_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
	td_settle(td, 100);
	EXPECT_EQ(0, io_uring_cq_ready(&td->ctrl.ring));
	td_close_disk(td);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(quiesced, stop_ends_a_server_that_recovers)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0), tag;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
	for (tag = 0; tag < 4; tag++)
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
}

/* A request that came before the END is waited for, like that of any server. */
TEST_F(quiesced, stop_waits_for_what_a_recovering_server_was_given)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	client = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

static int open_buffered(struct testdev *td)
{
	char path[32];

	/* The same node, without O_DIRECT. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", td->bdev);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* There is nobody to write it to, and none shall wait for him. */
TEST_F(quiesced, stop_returns_with_dirty_data)
{
	struct testdev *td = &self->td;
	int fd = open_buffered(td);

	ASSERT_LE(0, fd);
	ASSERT_EQ(65536, pwrite(fd, td_page_buf(65536, 1), 65536, TD_AREA));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
}

TEST_F(quiesced, fsync_after_stop_tells_of_lost_data)
{
	struct testdev *td = &self->td;
	int fd = open_buffered(td);

	ASSERT_LE(0, fd);
	ASSERT_EQ(65536, pwrite(fd, td_page_buf(65536, 1), 65536, TD_AREA));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-1, fsync(fd));
}

TEST_F(quiesced, stop_releases_a_client_that_syncs)
{
	struct testdev *td = &self->td;
	int fd = open_buffered(td);
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(65536, pwrite(fd, td_page_buf(65536, 1), 65536, TD_AREA));
	pid = fork();
	if (!pid)
		_exit(fsync(fd) ? errno : 0);
	ASSERT_TRUE(td_wait_asleep(td, pid, "fsync"));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(EIO, td_wait_exit(pid, TD_DEADLINE_MS));
}

/* Data that the page cache holds is not lost with the server. */
TEST_F(quiesced, dirty_data_goes_to_the_next_server)
{
	struct testdev *td = &self->td;
	void *data = td_page_buf(4096, 3);
	int fd = open_buffered(td);
	struct td_req req;
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(4096, pwrite(fd, data, 4096, TD_AREA));
	pid = fork();
	if (!pid)
		_exit(fsync(fd) ? errno : 0);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, memcmp(data, req.buf, 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(0, td_wait_exit(pid, TD_DEADLINE_MS));
}

/* What a live server can still take is not thrown away by a stop. */
TEST_F(live, stop_writes_dirty_data_first)
{
	struct testdev *td = &self->td;
	void *data = td_page_buf(4096, 3);
	int fd = open_buffered(td);
	struct td_req req;

	ASSERT_LE(0, fd);
	ASSERT_EQ(4096, pwrite(fd, data, 4096, TD_AREA));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_STOP_DEV, 0));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, memcmp(data, req.buf, 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(live, server_that_dies_while_a_stop_waits_for_it_takes_the_disk_along)
{
	struct testdev *td = &self->td;
	int client = send_read(td, 0);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

/* -- a server that waits for its own disk ---------------------------------- */

/* In a process of its own, whose ring this is. */
static int serve_and_open(void *arg)
{
	struct testdev *td = arg, mine = *td;
	int ret = ublk_ctrl_open(&mine.ctrl);

	if (!ret)
		ret = td_go_live_recoverable(&mine);
	td->id = mine.id;
	return ret;
}

/* Holds the mutex of openers until the server has answered, or somebody else has. */
static pid_t start_reading_partitions(const struct testdev *td)
{
	pid_t pid = fork();
	char path[32];
	int fd;

	if (pid)
		return pid;
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	_exit(fd < 0 || ioctl(fd, BLKRRPART) ? errno : 0);
}

/*
 * Its exit waits for the mutex, and the owner of that for a server. As a rule no other
 * one can come, for the node is still open.
 */
TEST_F(driver, stop_ends_a_server_that_cannot_die)
{
	struct testdev *td = &self->td;
	pid_t server, reader;

	server = td_keep_child(serve_and_open, td);
	ASSERT_LT(0, server);
	reader = start_reading_partitions(td);
	ASSERT_LT(0, reader);
	ASSERT_TRUE(td_wait_inflight(td, 1));
	ASSERT_EQ(0, kill(server, SIGKILL));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EINTR, td_wait_exit(server, TD_DEADLINE_MS));
	EXPECT_NE(-ETIME, td_wait_exit(reader, TD_DEADLINE_MS));
}

TEST_HARNESS_MAIN
