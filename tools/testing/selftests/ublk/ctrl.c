// SPDX-License-Identifier: GPL-2.0
/*
 * Control commands: each is one io_uring command on /dev/ublk-control, whose
 * 128-byte submission entry carries a struct ublksrv_ctrl_cmd.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ublk.h"

/* For commands that concern the device and not one of its queues. */
#define NO_QUEUE	((__u16)-1)

/* Room for the path of a node, which may be followed by any number of zeroes. */
#define PATH_BYTES	32

int ublk_ctrl_open(struct ublk_ctrl *ctrl)
{
	int ret;

	ctrl->by_path = false;
	ctrl->fd = open("/dev/ublk-control", O_RDWR | O_CLOEXEC);
	if (ctrl->fd < 0)
		return -errno;

	ret = io_uring_queue_init(4, &ctrl->ring, IORING_SETUP_SQE128);
	if (ret < 0) {
		close(ctrl->fd);
		ctrl->fd = -1;
		return ret;
	}
	/* A ring belongs to one process. */
	io_uring_ring_dontfork(&ctrl->ring);
	return 0;
}

void ublk_ctrl_close(struct ublk_ctrl *ctrl)
{
	if (ctrl->fd < 0)
		return;
	io_uring_queue_exit(&ctrl->ring);
	close(ctrl->fd);
	ctrl->fd = -1;
}

int ublk_ctrl_submit(struct ublk_ctrl *ctrl, __u32 op,
		     const struct ublksrv_ctrl_cmd *cmd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ctrl->ring);
	int ret;

	if (!sqe)
		return -EBUSY;
	/* A get_sqe() clears neither half of a 128-byte entry. */
	memset(sqe, 0, 2 * sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = ctrl->fd;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));

	ret = io_uring_submit(&ctrl->ring);
	return ret < 0 ? ret : 0;
}

/* -ETIME if no answer comes within @timeout_ms; a negative one means for ever. */
int ublk_ctrl_wait(struct ublk_ctrl *ctrl, int timeout_ms, int *res)
{
	struct __kernel_timespec ts = {
		.tv_sec = timeout_ms / 1000,
		.tv_nsec = timeout_ms % 1000 * 1000000LL,
	};
	struct io_uring_cqe *cqe;
	int ret;

	do {
		ret = io_uring_wait_cqe_timeout(&ctrl->ring, &cqe,
						timeout_ms < 0 ? NULL : &ts);
	} while (ret == -EINTR);
	if (ret < 0)
		return ret;

	*res = cqe->res;
	io_uring_cqe_seen(&ctrl->ring, cqe);
	return 0;
}

int ublk_ctrl_run(struct ublk_ctrl *ctrl, __u32 op,
		  const struct ublksrv_ctrl_cmd *cmd)
{
	int res, ret;

	ret = ublk_ctrl_submit(ctrl, op, cmd);
	if (!ret)
		ret = ublk_ctrl_wait(ctrl, -1, &res);
	return ret ? ret : res;
}

/*
 * Who may use the node of a device may command it, so the path of the node comes
 * first and the payload after it.
 */
static int run_by_path(struct ublk_ctrl *ctrl, __u32 op,
		       const struct ublksrv_ctrl_cmd *cmd)
{
	void *payload = (void *)(unsigned long)cmd->addr;
	struct ublksrv_ctrl_cmd longer = *cmd;
	char *buf = calloc(1, PATH_BYTES + cmd->len);
	int ret;

	if (!buf)
		return -ENOMEM;
	snprintf(buf, PATH_BYTES, "/dev/ublkc%u", cmd->dev_id);
	if (cmd->len)
		memcpy(buf + PATH_BYTES, payload, cmd->len);
	longer.addr = (unsigned long)buf;
	longer.len += PATH_BYTES;
	longer.dev_path_len = PATH_BYTES;

	ret = ublk_ctrl_run(ctrl, op, &longer);
	if (cmd->len && _IOC_DIR(op) == _IOC_READ)
		memcpy(payload, buf + PATH_BYTES, cmd->len);
	free(buf);
	return ret;
}

static int run(struct ublk_ctrl *ctrl, __u32 op,
	       const struct ublksrv_ctrl_cmd *cmd)
{
	return ctrl->by_path ? run_by_path(ctrl, op, cmd) :
			       ublk_ctrl_run(ctrl, op, cmd);
}

/* A command with a device, and with nothing else but up to one word of data. */
static int run_plain(struct ublk_ctrl *ctrl, __u32 op, __u32 id, __u64 data)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = id,
		.queue_id = NO_QUEUE,
		.data[0] = data,
	};

	return run(ctrl, op, &cmd);
}

/* A command with a device and a buffer. */
static int run_buf(struct ublk_ctrl *ctrl, __u32 op, __u32 id,
		   const void *buf, __u16 len)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = id,
		.queue_id = NO_QUEUE,
		.addr = (unsigned long)buf,
		.len = len,
	};

	return run(ctrl, op, &cmd);
}

int ublk_get_features(struct ublk_ctrl *ctrl, __u64 *features)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = UBLK_AUTO_ID,
		.queue_id = NO_QUEUE,
		.addr = (unsigned long)features,
		.len = UBLK_FEATURES_LEN,
	};

	return ublk_ctrl_run(ctrl, UBLK_U_CMD_GET_FEATURES, &cmd);
}

/* Negotiates: the kernel writes what it grants into @info. */
int ublk_add_dev(struct ublk_ctrl *ctrl, struct ublksrv_ctrl_dev_info *info)
{
	int ret;

	ctrl->by_path = false;
	ret = run_buf(ctrl, UBLK_U_CMD_ADD_DEV, info->dev_id, info,
		      sizeof(*info));
	ctrl->by_path = !ret && (info->flags & UBLK_F_UNPRIVILEGED_DEV);
	return ret;
}

/* Returns when the number is free again. */
int ublk_del_dev(struct ublk_ctrl *ctrl, __u32 id)
{
	return run_plain(ctrl, UBLK_U_CMD_DEL_DEV, id, 0);
}

/* Returns once the deletion is under way. */
int ublk_del_dev_async(struct ublk_ctrl *ctrl, __u32 id)
{
	return run_plain(ctrl, UBLK_U_CMD_DEL_DEV_ASYNC, id, 0);
}

int ublk_get_info(struct ublk_ctrl *ctrl, __u32 id,
		  struct ublksrv_ctrl_dev_info *info)
{
	return run_buf(ctrl, UBLK_U_CMD_GET_DEV_INFO, id, info, sizeof(*info));
}

/*
 * The same of a device whose kind is not known, for this command takes the path
 * on both; those that follow take it if they have to.
 */
int ublk_get_info2(struct ublk_ctrl *ctrl, __u32 id,
		   struct ublksrv_ctrl_dev_info *info)
{
	int ret;

	ctrl->by_path = true;
	ret = run_buf(ctrl, UBLK_U_CMD_GET_DEV_INFO2, id, info, sizeof(*info));
	ctrl->by_path = !ret && (info->flags & UBLK_F_UNPRIVILEGED_DEV);
	return ret;
}

int ublk_set_params(struct ublk_ctrl *ctrl, __u32 id,
		    const struct ublk_params *params)
{
	return run_buf(ctrl, UBLK_U_CMD_SET_PARAMS, id, params,
		       sizeof(*params));
}

int ublk_get_params(struct ublk_ctrl *ctrl, __u32 id,
		    struct ublk_params *params)
{
	params->len = sizeof(*params);
	return run_buf(ctrl, UBLK_U_CMD_GET_PARAMS, id, params,
		       sizeof(*params));
}

/* Waits until every tag is fetched by process @pid, which must have ublkcN open. */
int ublk_start_dev(struct ublk_ctrl *ctrl, __u32 id, pid_t pid)
{
	return run_plain(ctrl, UBLK_U_CMD_START_DEV, id, pid);
}

int ublk_stop_dev(struct ublk_ctrl *ctrl, __u32 id)
{
	return run_plain(ctrl, UBLK_U_CMD_STOP_DEV, id, 0);
}

/* Stops only a disk that nobody has open. */
int ublk_try_stop_dev(struct ublk_ctrl *ctrl, __u32 id)
{
	return run_plain(ctrl, UBLK_U_CMD_TRY_STOP_DEV, id, 0);
}

int ublk_update_size(struct ublk_ctrl *ctrl, __u32 id, __u64 sectors)
{
	return run_plain(ctrl, UBLK_U_CMD_UPDATE_SIZE, id, sectors);
}

/* Is the device without a server, and may the next one come? -EBUSY if not. */
int ublk_start_user_recovery(struct ublk_ctrl *ctrl, __u32 id)
{
	return run_plain(ctrl, UBLK_U_CMD_START_USER_RECOVERY, id, 0);
}

/* Waits as ublk_start_dev() does, then lets go what was held for a server. */
int ublk_end_user_recovery(struct ublk_ctrl *ctrl, __u32 id, pid_t pid)
{
	return run_plain(ctrl, UBLK_U_CMD_END_USER_RECOVERY, id, pid);
}

/*
 * Tells the server to leave, in a way that the disk survives. Waits until it can
 * be told: 0 means for ever, else -EBUSY after @timeout_ms.
 */
int ublk_quiesce_dev(struct ublk_ctrl *ctrl, __u32 id, __u64 timeout_ms)
{
	return run_plain(ctrl, UBLK_U_CMD_QUIESCE_DEV, id, timeout_ms);
}

/* Returns the index of the buffer. */
int ublk_reg_buf(struct ublk_ctrl *ctrl, __u32 id,
		 const struct ublk_shmem_buf_reg *reg)
{
	return run_buf(ctrl, UBLK_U_CMD_REG_BUF, id, reg, sizeof(*reg));
}

/* Waits for requests that the server was told to find in the buffer. */
int ublk_unreg_buf(struct ublk_ctrl *ctrl, __u32 id, int index)
{
	return run_plain(ctrl, UBLK_U_CMD_UNREG_BUF, id, index);
}

/* CPUs of a queue: the one command that names its queue in the data word. */
int ublk_get_affinity(struct ublk_ctrl *ctrl, __u32 id, __u16 queue,
		      void *mask, __u16 len)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = id,
		.queue_id = NO_QUEUE,
		.data[0] = queue,
		.addr = (unsigned long)mask,
		.len = len,
	};

	return run(ctrl, UBLK_U_CMD_GET_QUEUE_AFFINITY, &cmd);
}
