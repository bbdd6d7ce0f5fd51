// SPDX-License-Identifier: GPL-2.0
/*
 * The device under test, and what brings it to life and to its end: see
 * testdev.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "testbatch.h"
#include "testclient.h"
#include "testhost.h"
#include "testserve.h"

bool td_init(struct testdev *td)
{
	unsigned int workers[2] = { 2 * TD_CLIENTS, 0 };

	memset(td, 0, sizeof(*td));
	td->id = -1;
	td->cdev = -1;
	td->bdev = -1;
	td->bdev_lock = -1;
	td->held = -1;
	if (ublk_ctrl_open(&td->ctrl))
		return false;
	/*
	 * A client that waits for a tag sits in a worker of io_uring, which a
	 * control command needs, too: there shall be enough for all of them.
	 */
	io_uring_register_iowq_max_workers(&td->ctrl.ring, workers);

	td->info = (struct ublksrv_ctrl_dev_info) {
		.dev_id = UBLK_AUTO_ID,
		.nr_hw_queues = 1,
		.queue_depth = 4,
		.max_io_buf_bytes = TD_BUF_BYTES,
		.flags = UBLK_F_NO_AUTO_PART_SCAN,
	};
	td->params = (struct ublk_params) {
		.len = sizeof(td->params),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 9,
			.io_min_shift = 9,
			.io_opt_shift = 9,
			.max_sectors = TD_BUF_BYTES >> UBLK_SECTOR_SHIFT,
			.dev_sectors = TD_SIZE >> UBLK_SECTOR_SHIFT,
		},
	};
	return true;
}

/*
 * One round: handle what is there, or sleep until something comes; false at the
 * deadline.
 */
bool td_pump(struct testdev *td, __u64 deadline)
{
	struct pollfd fds[] = {
		{ .fd = td->ctrl.ring.ring_fd, .events = POLLIN },
		{ .fd = td->serving ? td->ring.ring_fd : -1, .events = POLLIN },
		{ .fd = td->has_clients ? td->client_ring.ring_fd : -1,
		  .events = POLLIN },
		{ .fd = td->batch ? td->batch->ring.ring_fd : -1,
		  .events = POLLIN },
	};
	__u64 now = td_now_ms();

	if (now >= deadline)
		return false;
	poll(fds, sizeof(fds) / sizeof(*fds), deadline - now);
	td_drain_server(td);
	if (td->batch)
		tb_serve(td->batch);
	td_drain_clients(td);
	return true;
}

int td_settle(struct testdev *td, int ms)
{
	__u64 deadline = td_now_ms() + ms;

	while (td_pump(td, deadline))
		;
	return 0;
}

bool td_wait_asleep(struct testdev *td, pid_t pid, const char *what)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (!td_sleeps_in(pid, what)) {
		if (td_now_ms() > deadline)
			return false;
		td_settle(td, 5);
	}
	return true;
}

bool td_disk_is_gone(void *arg)
{
	struct testdev *td = arg;
	char path[32];

	snprintf(path, sizeof(path), "/sys/block/ublkb%d", td->id);
	return access(path, F_OK) != 0;
}

static bool is_gone(void *arg)
{
	struct testdev *td = arg;
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/ublk-char/ublkc%d", td->id);
	return access(path, F_OK) && td_disk_is_gone(td);
}

/* The path has to outlive the caller: a command may take its time. */
static void name_node(struct testdev *td, struct ublksrv_ctrl_cmd *cmd)
{
	if (!td->ctrl.by_path || cmd->len)
		return;
	snprintf(td->node, sizeof(td->node), "/dev/ublkc%d", td->id);
	cmd->addr = (unsigned long)td->node;
	cmd->len = sizeof(td->node);
	cmd->dev_path_len = sizeof(td->node);
}

/*
 * For the parent of a test, when all its processes are gone: no matter how the
 * test went, its device must let itself be deleted, and leave nothing behind.
 */
int td_reap(struct testdev *td)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = td->id, .queue_id = -1 };
	struct ublk_ctrl ctrl;
	int ret, res = 0;

	if (td->server > 0)
		kill(td->server, SIGKILL);
	if (td->heir_pid > 0)
		kill(td->heir_pid, SIGKILL);
	if (td->id < 0)
		return 0;
	ret = ublk_ctrl_open(&ctrl);
	if (ret)
		return ret;
	name_node(td, &cmd);
	ret = ublk_ctrl_submit(&ctrl, UBLK_U_CMD_DEL_DEV, &cmd);
	if (!ret)
		ret = ublk_ctrl_wait(&ctrl, TD_REAP_MS, &res);
	/* A ring with a stuck command would keep this process from exiting. */
	if (ret)
		return ret;
	ublk_ctrl_close(&ctrl);
	/* Deleted by the test: the device is gone, or its node. */
	if (res && res != -ENODEV && res != -ENOENT)
		return res;
	return td_poll_until(is_gone, td) ? 0 : -ETIME;
}

static int ctl_send(struct testdev *td, __u32 op, const void *buf, __u16 len,
		    __u64 data)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id,
		.queue_id = -1,
		.addr = (unsigned long)buf,
		.len = len,
		.data[0] = data,
	};

	name_node(td, &cmd);
	return ublk_ctrl_submit(&td->ctrl, op, &cmd);
}

int td_ctl_send(struct testdev *td, __u32 op, __u64 data)
{
	return ctl_send(td, op, NULL, 0, data);
}

int td_ctl_send_to_wait(struct testdev *td, __u32 op, __u64 data)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	int ret = td_ctl_send(td, op, data);

	if (ret)
		return ret;
	/* A worker of io_uring begins it, which may have to be made first. */
	while (!io_uring_cq_ready(&td->ctrl.ring) && !td_sleeps_in(getpid(), TD_IN_DRIVER)) {
		if (td_now_ms() > deadline)
			return -ETIME;
		td_settle(td, 5);
	}
	td_settle(td, 200);
	return io_uring_cq_ready(&td->ctrl.ring) ? -EALREADY : 0;
}

int td_ctl_wait(struct testdev *td)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct io_uring_cqe *cqe;
	int res;

	while (io_uring_peek_cqe(&td->ctrl.ring, &cqe))
		if (!td_pump(td, deadline))
			return -ETIME;
	res = cqe->res;
	io_uring_cqe_seen(&td->ctrl.ring, cqe);
	return res;
}

void td_ctl_cancel(struct testdev *td)
{
	struct io_uring_sync_cancel_reg reg = {
		.fd = td->ctrl.fd,
		.flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};

	io_uring_register_sync_cancel(&td->ctrl.ring, &reg);
}

int td_ctl_beside(struct testdev *td, __u32 op)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = td->id, .queue_id = -1 };
	struct ublk_ctrl ctrl;
	int ret, res;

	ret = ublk_ctrl_open(&ctrl);
	if (!ret)
		ret = ublk_ctrl_submit(&ctrl, op, &cmd);
	if (!ret)
		ret = ublk_ctrl_wait(&ctrl, TD_DEADLINE_MS, &res);
	return ret ? ret : res;
}

struct child_cmd {
	struct ublksrv_ctrl_cmd cmd;
	__u32 op;
};

static int begin_ctl(void *arg)
{
	const struct child_cmd *c = arg;
	struct ublk_ctrl ctrl;
	int ret = ublk_ctrl_open(&ctrl);

	return ret ? ret : ublk_ctrl_submit(&ctrl, c->op, &c->cmd);
}

pid_t td_ctl_in_child(struct testdev *td, __u32 op, __u64 data)
{
	struct child_cmd c = {
		.cmd = { .dev_id = td->id, .queue_id = -1, .data[0] = data },
		.op = op,
	};

	return td_keep_child(begin_ctl, &c);
}

static int open_node(void *arg)
{
	struct testdev *td = arg;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	return open(path, O_RDWR) < 0 ? -errno : 0;
}

pid_t td_open_in_child(struct testdev *td)
{
	return td_keep_child(open_node, td);
}

int td_ctl(struct testdev *td, __u32 op, __u64 data)
{
	int ret = td_ctl_send(td, op, data);

	return ret ? ret : td_ctl_wait(td);
}

int td_ctl_buf(struct testdev *td, __u32 op, const void *buf, __u16 len,
	       __u64 data)
{
	int ret = ctl_send(td, op, buf, len, data);

	return ret ? ret : td_ctl_wait(td);
}

int td_state(struct testdev *td)
{
	struct ublksrv_ctrl_dev_info info;
	int ret = ublk_get_info(&td->ctrl, td->id, &info);

	return ret ? ret : info.state;
}

struct awaited {
	struct testdev *td;
	unsigned int value;
};

static bool is_in_state(void *arg)
{
	struct awaited *a = arg;

	return td_state(a->td) == (int)a->value;
}

bool td_wait_state(struct testdev *td, int state)
{
	struct awaited a = { .td = td, .value = state };

	return td_poll_until(is_in_state, &a);
}

/* At least; udev may be reading the disk, too. */
static bool has_inflight(void *arg)
{
	struct awaited *a = arg;
	unsigned int reads, writes;
	char text[64];

	return !td_sysfs_string(a->td, "inflight", text, sizeof(text)) &&
		sscanf(text, "%u %u", &reads, &writes) == 2 &&
		reads + writes >= a->value;
}

bool td_wait_inflight(struct testdev *td, unsigned int count)
{
	struct awaited a = { .td = td, .value = count };

	return td_poll_until(has_inflight, &a);
}

int td_add(struct testdev *td)
{
	int ret = ublk_add_dev(&td->ctrl, &td->info);

	if (!ret)
		td->id = td->info.dev_id;
	return ret;
}

int td_set_params(struct testdev *td)
{
	return ublk_set_params(&td->ctrl, td->id, &td->params);
}

int td_start(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_START_DEV, getpid());
}

int td_go_live(struct testdev *td)
{
	int ret;

	ret = td_add(td);
	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	if (!ret)
		ret = td_fetch_all(td);
	if (!ret)
		ret = td_start(td);
	if (!ret)
		ret = td_open_disk(td);
	return ret;
}

/* For a set-up that failed half way: the device goes when the test has gone. */
void td_drop(struct testdev *td)
{
	if (td->id >= 0)
		ublk_del_dev_async(&td->ctrl, td->id);
}

struct start {
	struct testdev *td;
	int ret;
};

/* Or failed for another reason than a disk that is there. */
static bool is_started(void *arg)
{
	struct start *start = arg;

	start->ret = td_start(start->td);
	return start->ret != -EEXIST;
}

static bool can_attach(void *arg)
{
	return td_attach(arg) == 0;
}

int td_attach_again(struct testdev *td)
{
	return td_poll_until(can_attach, td) ? 0 : -EBUSY;
}

int td_serve_again(struct testdev *td)
{
	struct start start = { .td = td };
	int ret = td_attach_again(td);

	if (!ret)
		ret = td_fetch_all(td);
	if (ret)
		return ret;
	td_poll_until(is_started, &start);
	return start.ret;
}

static bool is_vacant(void *arg)
{
	struct testdev *td = arg;

	return td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0) != -EBUSY;
}

/* The device may be another process's: its shape is read anew. */
int td_reattach(struct testdev *td)
{
	int ret;

	if (!td_poll_until(is_vacant, td))
		return -EBUSY;
	ret = td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0);
	if (!ret)
		ret = ublk_get_info(&td->ctrl, td->id, &td->info);
	return ret ? ret : td_attach(td);
}

int td_end_recovery(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_END_USER_RECOVERY, getpid());
}

int td_recover(struct testdev *td)
{
	int ret = td_reattach(td);

	if (!ret)
		ret = td_fetch_all(td);
	return ret ? ret : td_end_recovery(td);
}
