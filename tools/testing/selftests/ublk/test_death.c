// SPDX-License-Identifier: GPL-2.0
/*
 * The end of a server, without recovery: every request in flight fails, every
 * waiter returns, and what is left can be deleted or served anew.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fixture.h"

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(live, td_go_live);

static void hold_options(struct ublk_options *opts)
{
	ublk_options_init(opts);
	opts->target = &td_hold_target;
	opts->depth = 8;
	opts->flags = UBLK_F_NO_AUTO_PART_SCAN;
}

/* A server, in a process of its own, that sits on what goes into the area. */
static int spawn_holding(struct testdev *td)
{
	struct ublk_options opts;

	hold_options(&opts);
	return td_spawn(td, &opts);
}

TD_FIXTURE(held, spawn_holding);

static bool is_dead(void *arg)
{
	return td_state(arg) == UBLK_S_DEV_DEAD;
}

/* -- SIGKILL --------------------------------------------------------------- */

TEST_F(held, read_in_hand_fails)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F(held, write_in_hand_fails)
{
	struct testdev *td = &self->td;
	int client = td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);

	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

/*
 * Those that wait for a tag fail, too, or find a disk without sectors: none
 * is told of any data.
 */
TEST_F(held, io_that_waits_for_a_tag_fails_too)
{
	struct testdev *td = &self->td;
	int clients[40], i;

	for (i = 0; i < 40; i++)
		clients[i] = td_read(td, td_page_buf(4096, 0), 4096,
				     TD_AREA + i * 65536);
	ASSERT_EQ(0, td_wait_held(td, 8));
	ASSERT_EQ(0, td_kill_server(td));
	for (i = 0; i < 40; i++)
		EXPECT_GE(0, td_wait(td, clients[i]));
}

TEST_F(held, disk_goes_with_its_server)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

TEST_F(held, disk_goes_with_io_in_hand)
{
	struct testdev *td = &self->td;

	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

TEST_F(held, device_is_dead_and_has_no_server)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info info;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_poll_until(is_dead, td));
	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &info));
	EXPECT_EQ(-1, info.ublksrv_pid);
}

TEST_F(held, write_sent_later_fails)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_poll_until(is_dead, td));
	EXPECT_GT(0, td_wait(td, td_write(td, td_page_buf(4096, 0), 4096,
					  TD_AREA, 0)));
}

TEST_F(held, device_can_be_deleted_with_io_in_hand)
{
	struct testdev *td = &self->td;

	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_DEL_DEV, 0));
	ASSERT_TRUE(td_poll_until(td_disk_is_gone, td));
	td_close_disk(td);
	EXPECT_EQ(0, td_ctl_wait(td));
}

FIXTURE(waiting)
{
	struct testdev td;
};

FIXTURE_VARIANT(waiting)
{
	__u32 op;
};

FIXTURE_VARIANT_ADD(waiting, stop) { .op = UBLK_U_CMD_STOP_DEV };
FIXTURE_VARIANT_ADD(waiting, delete) { .op = UBLK_U_CMD_DEL_DEV_ASYNC };

TD_FIXTURE_OPS(waiting, spawn_holding);

TEST_F(waiting, command_ends_with_the_server)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, variant->op, 0));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(held, another_server_can_take_over_the_dead_device)
{
	struct testdev *td = &self->td;

	td->info.nr_hw_queues = 1;
	td->info.queue_depth = 8;
	td->info.max_io_buf_bytes = UBLK_DEFAULT_BUF;
	ASSERT_EQ(0, td_kill_server(td));
	td_close_disk(td);
	ASSERT_EQ(0, td_serve_again(td));
	ASSERT_EQ(0, td_open_disk(td));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
}

/* Dirty pages of a dead disk are lost, and nobody waits for them. */
TEST_F(held, close_returns_with_dirty_data)
{
	struct testdev *td = &self->td;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	fd = open(path, O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ(65536, pwrite(fd, td_page_buf(65536, 1), 65536, TD_AREA));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-1, fsync(fd));
	close(fd);
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

/* -- who else holds /dev/ublkcN -------------------------------------------- */

/* Starts a server, and a process that inherits its files and outlives it. */
static int spawn_with_heir(struct testdev *td, pid_t *heir)
{
	struct ublk_options opts;
	pid_t *shared;
	int ret;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	hold_options(&opts);
	td->heir = shared;
	ret = td_spawn(td, &opts);
	*heir = *shared;
	return ret;
}

TEST_F(driver, io_in_hand_fails_although_another_process_has_the_node_open)
{
	struct testdev *td = &self->td;
	pid_t heir;
	int client;

	ASSERT_EQ(0, spawn_with_heir(td, &heir));
	ASSERT_LT(0, heir);
	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(0, kill(heir, SIGKILL));
}

TEST_F(driver, device_lives_until_the_last_holder_of_its_node_is_gone)
{
	struct testdev *td = &self->td;
	pid_t heir;

	ASSERT_EQ(0, spawn_with_heir(td, &heir));
	td_close_disk(td);
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_DEL_DEV, 0));
	td_settle(td, 200);
	EXPECT_EQ(0, io_uring_cq_ready(&td->ctrl.ring));
	ASSERT_EQ(0, kill(heir, SIGKILL));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* The round of a dead server can never be completed. */
TEST_F(driver, start_for_a_dead_server_ends_although_its_node_is_held)
{
	struct testdev *td = &self->td;
	pid_t heir, server;
	int ret;

	ASSERT_EQ(0, spawn_with_heir(td, &heir));
	server = td->server;
	td_close_disk(td);
	ASSERT_EQ(0, td_kill_server(td));
	ret = td_ctl(td, UBLK_U_CMD_START_DEV, server);
	EXPECT_TRUE(ret < 0 && ret != -ETIME) TH_LOG("START: %d", ret);
	EXPECT_EQ(0, kill(heir, SIGKILL));
}

struct sharer {
	struct testdev *td;
	int *ring_fd;		/* in memory of both processes */
};

/* The device of the test is in such memory, too, but its mappings are not. */
static int fetch_and_tell(void *arg)
{
	const struct sharer *sharer = arg;
	struct testdev td = *sharer->td;

	if (td_attach(&td) || td_fetch_all(&td))
		return -EIO;
	*sharer->ring_fd = td.ring.ring_fd;
	return 0;
}

/* The pid of a server that serves no disk yet; *@ring is its ring, in our hands, too. */
static pid_t spawn_and_share_ring(struct testdev *td, int *ring)
{
	struct sharer sharer = { .td = td };
	pid_t pid;
	int fd;

	sharer.ring_fd = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = td_keep_child(fetch_and_tell, &sharer);
	if (pid < 0)
		return pid;
	fd = syscall(SYS_pidfd_open, pid, 0);
	*ring = syscall(SYS_pidfd_getfd, fd, *sharer.ring_fd, 0);
	close(fd);
	return *ring < 0 ? -errno : pid;
}

/* The ring keeps its commands, and they keep the node. */
TEST_F(driver, device_can_be_deleted_while_the_ring_of_its_dead_server_lives)
{
	struct testdev *td = &self->td;
	pid_t server;
	int ring;

	ASSERT_EQ(0, td_add(td));
	server = spawn_and_share_ring(td, &ring);
	ASSERT_LT(0, server);
	ASSERT_EQ(0, kill(server, SIGKILL));
	ASSERT_EQ(-EINTR, td_wait_exit(server, TD_DEADLINE_MS));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV, 0));
	close(ring);
}

/* -- a server that closes and lives on ------------------------------------- */

TEST_F(live, io_in_hand_fails_when_the_server_closes)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F(live, disk_goes_when_the_server_closes)
{
	td_detach(&self->td);
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, &self->td));
	EXPECT_TRUE(td_poll_until(is_dead, &self->td));
}

TEST_F(driver, flush_in_hand_fails_when_the_server_closes)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	ASSERT_EQ(0, td_go_live(td));
	client = td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_FLUSH, req.op);
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F(driver, server_that_fetched_half_its_tags_leaves_a_deletable_device)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_add_attached(td));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 0));
	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 2));
	td_detach(td);
	EXPECT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
}

TEST_F(driver, server_that_fetched_half_its_tags_can_come_back)
{
	struct testdev *td = &self->td;
	int round;

	ASSERT_EQ(0, td_add_attached(td));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, round));
		td_detach(td);
		ASSERT_EQ(0, td_attach_again(td));
	}
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, td_start(td));
}

/* -- a server that stops itself -------------------------------------------- */

FIXTURE(suicide)
{
	struct testdev td;
};

FIXTURE_VARIANT(suicide)
{
	__u32 op;
	__u64 flags;
};

FIXTURE_VARIANT_ADD(suicide, stop) { .op = UBLK_U_CMD_STOP_DEV };

FIXTURE_VARIANT_ADD(suicide, delete) { .op = UBLK_U_CMD_DEL_DEV };

FIXTURE_VARIANT_ADD(suicide, stop_with_recovery) {
	.op = UBLK_U_CMD_STOP_DEV, .flags = UBLK_F_USER_RECOVERY,
};

FIXTURE_VARIANT_ADD(suicide, stop_with_reissue) {
	.op = UBLK_U_CMD_STOP_DEV,
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
};

FIXTURE_VARIANT_ADD(suicide, delete_with_reissue) {
	.op = UBLK_U_CMD_DEL_DEV,
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
};

TD_FIXTURE_OPS(suicide, td_no_device);

/*
 * The command waits for a request in the hands of the very process that sent
 * it, in one of that process's io_uring workers. Its death must not wait for
 * the command.
 */
static void stop_myself(__u32 op, __u64 flags, int ready)
{
	static struct testdev mine;
	struct testdev *td = &mine;
	struct ublk_ctrl ctrl;
	struct ublksrv_ctrl_cmd cmd = { .queue_id = -1 };
	struct td_req req;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!td_init(td))
		_exit(1);
	td->info.flags |= flags;
	if (td_go_live(td))
		_exit(1);
	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	cmd.dev_id = td->id;
	if (td_next(td, &req) || ublk_ctrl_open(&ctrl) ||
	    ublk_ctrl_submit(&ctrl, op, &cmd))
		_exit(1);
	if (!td_wait_asleep(td, getpid(), TD_IN_DRIVER))
		_exit(1);
	if (write(ready, &td->id, sizeof(td->id)) != sizeof(td->id))
		_exit(1);
	pause();
	_exit(1);
}

static bool is_dead_or_deleted(void *arg)
{
	int state = td_state(arg);

	return state == UBLK_S_DEV_DEAD || state == -ENODEV;
}

TEST_F(suicide, server_that_waits_for_its_own_command_can_be_killed)
{
	struct testdev *td = &self->td;
	int fds[2], id;
	pid_t pid;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	pid = fork();
	if (!pid)
		stop_myself(variant->op, variant->flags, fds[1]);
	close(fds[1]);
	ASSERT_EQ(sizeof(id), read(fds[0], &id, sizeof(id)));
	td->id = id;
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_TRUE(td_poll_until(is_dead_or_deleted, td));
}

/* -- commands after the end ------------------------------------------------ */

TEST_F(held, try_stop_finds_no_disk)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_poll_until(td_disk_is_gone, td));
	EXPECT_EQ(-ENODEV, td_ctl(td, UBLK_U_CMD_TRY_STOP_DEV, 0));
}

TEST_F(held, stop_succeeds_on_a_dead_device)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_poll_until(is_dead, td));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
}

TEST_F(held, start_for_the_dead_server_is_refused)
{
	struct testdev *td = &self->td;
	pid_t server = td->server;
	int ret;

	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_poll_until(is_dead, td));
	ret = td_ctl(td, UBLK_U_CMD_START_DEV, server);
	EXPECT_TRUE(ret == -EINVAL || ret == -ENODEV) TH_LOG("START: %d", ret);
}

TEST_HARNESS_MAIN
