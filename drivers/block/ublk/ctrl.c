// SPDX-License-Identifier: GPL-2.0
/*
 * Commands on /dev/ublk-control: who may send them, what they bring along, and
 * the table that says which function each of them is.
 */
#include <linux/capability.h>
#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ublk.h"
#include <trace/events/ublk.h>

#define UBLK_MAX_PATH	4096

/**
 * struct ublk_ctrl - one command, its fields read once
 * @dev:	the device, with a reference; NULL if the command has none
 * @tombstone:	set by the command: wait for this when @dev has been put
 * @dev_id:	id that the caller named
 * @queue_id:	queue, or 0xffff
 * @len:	bytes at @arg
 * @path_len:	bytes of the device's path, with its end, at the start of @arg
 * @arg:	payload
 * @data:	inline argument
 */
struct ublk_ctrl {
	struct ublk_device	*dev;
	struct ublk_tombstone	*tombstone;
	u32			dev_id;
	u16			queue_id;
	u16			len;
	u16			path_len;
	void __user		*arg;
	u64			data;
};

/**
 * struct ublk_ctrl_row - what there is to know about a command
 * @run:	the command
 * @mask:	permission it takes on the node of an unprivileged device; that of
 *		GET_FEATURES is for other encodings of its number, which are looked up
 *		like any command
 * @inline_ok:	waits for nothing but the caller's path and memory, so it runs where
 *		it is submitted
 * @no_dev:	is not about an existing device
 * @wants_path:	identifies the device by its node even for the administrator
 */
struct ublk_ctrl_row {
	int	(*run)(struct ublk_ctrl *c);
	int	mask;
	bool	inline_ok;
	bool	no_dev;
	bool	wants_path;
};

static int ublk_ctrl_get_features(struct ublk_ctrl *c)
{
	u64 features = UBLK_FEATURES;

	if (c->len != UBLK_FEATURES_LEN || !c->arg)
		return -EINVAL;
	return copy_to_user(c->arg, &features, sizeof(features)) ? -EFAULT : 0;
}

static int ublk_ctrl_add_dev(struct ublk_ctrl *c)
{
	struct ublksrv_ctrl_dev_info info;

	if (c->len < sizeof(info) || !c->arg || c->queue_id != U16_MAX)
		return -EINVAL;
	if (copy_from_user(&info, c->arg, sizeof(info)))
		return -EFAULT;
	return ublk_dev_add(&info, c->dev_id, c->arg);
}

static int ublk_ctrl_del_dev_async(struct ublk_ctrl *c)
{
	return ublk_dev_delete(c->dev);
}

static int ublk_ctrl_del_dev(struct ublk_ctrl *c)
{
	int ret = ublk_dev_delete(c->dev);

	if (!ret)
		c->tombstone = ublk_tombstone_get(c->dev);
	return ret;
}

/* The process that the caller names, with a reference, or NULL. */
static struct pid *ublk_ctrl_get_pid(const struct ublk_ctrl *c)
{
	return (int)c->data > 0 ? find_get_pid((int)c->data) : NULL;
}

static int ublk_ctrl_start_dev(struct ublk_ctrl *c)
{
	struct pid *pid = ublk_ctrl_get_pid(c);

	return pid ? ublk_disk_start(c->dev, pid) : -EINVAL;
}

static int ublk_ctrl_start_recovery(struct ublk_ctrl *c)
{
	return ublk_recovery_start(c->dev);
}

static int ublk_ctrl_end_recovery(struct ublk_ctrl *c)
{
	struct pid *pid = ublk_ctrl_get_pid(c);

	return pid ? ublk_recovery_end(c->dev, pid) : -EINVAL;
}

static int ublk_ctrl_quiesce_dev(struct ublk_ctrl *c)
{
	return ublk_dev_quiesce(c->dev, c->data);
}

static int ublk_ctrl_stop_dev(struct ublk_ctrl *c)
{
	return ublk_disk_stop(c->dev);
}

static int ublk_ctrl_try_stop_dev(struct ublk_ctrl *c)
{
	return ublk_disk_try_stop(c->dev);
}

static int ublk_ctrl_set_params(struct ublk_ctrl *c)
{
	return ublk_params_set(c->dev, c->arg, c->len);
}

static int ublk_ctrl_get_params(struct ublk_ctrl *c)
{
	return ublk_params_get(c->dev, c->arg, c->len);
}

static int ublk_ctrl_update_size(struct ublk_ctrl *c)
{
	return ublk_disk_resize(c->dev, c->data);
}

static int ublk_ctrl_get_dev_info(struct ublk_ctrl *c)
{
	struct ublksrv_ctrl_dev_info info;

	if (c->len < sizeof(info) || !c->arg)
		return -EINVAL;
	ublk_dev_get_info(c->dev, &info);
	return copy_to_user(c->arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static int ublk_ctrl_reg_buf(struct ublk_ctrl *c)
{
	return ublk_shmem_register(c->dev, c->arg, c->len);
}

static int ublk_ctrl_unreg_buf(struct ublk_ctrl *c)
{
	return ublk_shmem_unregister(c->dev, (int)c->data);
}

static void ublk_queue_cpus(const struct ublk_device *dev, u64 q_id, struct cpumask *cpus)
{
	const struct blk_mq_queue_map *map = &dev->tag_set.map[HCTX_TYPE_DEFAULT];
	int cpu;

	for_each_possible_cpu(cpu)
		if (map->mq_map[cpu] == q_id)
			cpumask_set_cpu(cpu, cpus);
}

static int ublk_ctrl_get_queue_affinity(struct ublk_ctrl *c)
{
	size_t size = min_t(size_t, c->len, cpumask_size());
	cpumask_var_t cpus;
	int ret = 0;

	if (c->len * BITS_PER_BYTE < nr_cpu_ids || c->len % sizeof(unsigned long) ||
	    !c->arg || c->data >= c->dev->nr_queues)
		return -EINVAL;
	if (!zalloc_cpumask_var(&cpus, GFP_KERNEL))
		return -ENOMEM;

	ublk_queue_cpus(c->dev, c->data, cpus);
	if (copy_to_user(c->arg, cpus, size) ||
	    clear_user(c->arg + size, c->len - size))
		ret = -EFAULT;
	free_cpumask_var(cpus);
	return ret;
}

static const struct ublk_ctrl_row ublk_ctrl_rows[] = {
	[UBLK_CMD_GET_QUEUE_AFFINITY] = {
		.run = ublk_ctrl_get_queue_affinity, .mask = MAY_READ, .inline_ok = true,
	},
	[UBLK_CMD_GET_DEV_INFO] = {
		.run = ublk_ctrl_get_dev_info, .mask = MAY_READ, .inline_ok = true,
	},
	[UBLK_CMD_ADD_DEV] = {
		.run = ublk_ctrl_add_dev, .no_dev = true,
	},
	[UBLK_CMD_DEL_DEV] = {
		.run = ublk_ctrl_del_dev, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_START_DEV] = {
		.run = ublk_ctrl_start_dev, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_STOP_DEV] = {
		.run = ublk_ctrl_stop_dev, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_SET_PARAMS] = {
		.run = ublk_ctrl_set_params, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_GET_PARAMS] = {
		.run = ublk_ctrl_get_params, .mask = MAY_READ,
	},
	[UBLK_CMD_START_USER_RECOVERY] = {
		.run = ublk_ctrl_start_recovery, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_END_USER_RECOVERY] = {
		.run = ublk_ctrl_end_recovery, .mask = MAY_READ | MAY_WRITE,
	},
	[UBLK_CMD_GET_DEV_INFO2] = {
		.run = ublk_ctrl_get_dev_info, .mask = MAY_READ, .inline_ok = true,
		.wants_path = true,
	},
	[_IOC_NR(UBLK_U_CMD_GET_FEATURES)] = {
		.run = ublk_ctrl_get_features, .mask = MAY_READ, .inline_ok = true,
		.no_dev = true,
	},
	[_IOC_NR(UBLK_U_CMD_DEL_DEV_ASYNC)] = {
		.run = ublk_ctrl_del_dev_async, .mask = MAY_READ | MAY_WRITE,
	},
	[_IOC_NR(UBLK_U_CMD_UPDATE_SIZE)] = {
		.run = ublk_ctrl_update_size, .mask = MAY_READ | MAY_WRITE,
	},
	[_IOC_NR(UBLK_U_CMD_QUIESCE_DEV)] = {
		.run = ublk_ctrl_quiesce_dev, .mask = MAY_READ | MAY_WRITE,
	},
	[_IOC_NR(UBLK_U_CMD_TRY_STOP_DEV)] = {
		.run = ublk_ctrl_try_stop_dev, .mask = MAY_READ | MAY_WRITE,
	},
	[_IOC_NR(UBLK_U_CMD_REG_BUF)] = {
		.run = ublk_ctrl_reg_buf, .mask = MAY_READ | MAY_WRITE,
	},
	[_IOC_NR(UBLK_U_CMD_UNREG_BUF)] = {
		.run = ublk_ctrl_unreg_buf, .mask = MAY_READ | MAY_WRITE,
	},
};

/* The row of a command number, all zeroes if there is no such command. */
static const struct ublk_ctrl_row *ublk_ctrl_row_of(unsigned int nr)
{
	static const struct ublk_ctrl_row none;

	if (nr >= ARRAY_SIZE(ublk_ctrl_rows))
		return &none;
	return &ublk_ctrl_rows[array_index_nospec(nr, ARRAY_SIZE(ublk_ctrl_rows))];
}

/*
 * Trust owner and mode of a node only where device nodes work: on a nodev mount, such
 * as a user's own FUSE, anybody can show a node with any number.
 */
static bool ublk_path_has_nodes(const struct path *path)
{
	return !(path->mnt->mnt_flags & MNT_NODEV) &&
		!(path->mnt->mnt_sb->s_iflags & SB_I_NODEV);
}

/*
 * Is @node a node of this device, and may the caller do with it what @mask says? One
 * that was removed belonged to an earlier device of the same number.
 */
static int ublk_ctrl_check_node(const struct ublk_device *dev, const struct path *node,
				int mask)
{
	struct inode *inode = d_backing_inode(node->dentry);

	if (!ublk_path_has_nodes(node) || !S_ISCHR(inode->i_mode) ||
	    inode->i_rdev != dev->dev.devt || d_unlinked(node->dentry))
		return -EPERM;
	return inode_permission(&nop_mnt_idmap, inode, mask) ? -EACCES : 0;
}

/* The path of the device's node comes before the payload, and is taken off. */
static int ublk_ctrl_take_path(struct ublk_ctrl *c, const struct ublk_ctrl_row *row,
			       struct path *node)
{
	char *name;
	int ret;

	if (!c->path_len || c->path_len > UBLK_MAX_PATH || c->path_len > c->len)
		return -EINVAL;
	name = memdup_user_nul(c->arg, c->path_len);
	if (IS_ERR(name))
		return PTR_ERR(name);

	ret = row->mask ? kern_path(name, LOOKUP_FOLLOW, node) : -EINVAL;
	kfree(name);
	c->arg += c->path_len;
	c->len -= c->path_len;
	return ret;
}

static int ublk_ctrl_find_dev(struct ublk_ctrl *c)
{
	c->dev = ublk_dev_find(c->dev_id);
	if (!c->dev)
		return -ENODEV;
	if (ublk_dev_has(c->dev, UBLK_F_UNPRIVILEGED_DEV) || capable(CAP_SYS_ADMIN))
		return 0;
	put_device(&c->dev->dev);
	return -EPERM;
}

/*
 * Get the device that the command is about, if the caller may send it. Reading and
 * looking up the path may block for ever, on a FUSE of the caller's own: hold no
 * reference to the device meanwhile, and look it up again afterwards.
 */
static int ublk_ctrl_get_dev(struct ublk_ctrl *c, const struct ublk_ctrl_row *row)
{
	struct path node;
	int ret;

	ret = ublk_ctrl_find_dev(c);
	if (ret)
		return ret;
	if (!row->wants_path && !ublk_dev_has(c->dev, UBLK_F_UNPRIVILEGED_DEV))
		return 0;

	put_device(&c->dev->dev);
	ret = ublk_ctrl_take_path(c, row, &node);
	if (ret)
		return ret;
	ret = ublk_ctrl_find_dev(c);
	if (!ret) {
		ret = ublk_ctrl_check_node(c->dev, &node, row->mask);
		if (ret)
			put_device(&c->dev->dev);
	}
	path_put(&node);
	return ret;
}

static int ublk_ctrl_run_on_dev(struct ublk_ctrl *c, const struct ublk_ctrl_row *row)
{
	int ret;

	ret = ublk_ctrl_get_dev(c, row);
	if (ret)
		return ret;

	ret = row->run && !row->no_dev ? row->run(c) : -EOPNOTSUPP;
	put_device(&c->dev->dev);
	if (c->tombstone)
		ret = ublk_tombstone_wait(c->tombstone);
	return ret;
}

/*
 * After the type, only the number of an encoding counts. GET_FEATURES has no plain
 * number and is compared whole.
 */
static int ublk_ctrl_dispatch(struct ublk_ctrl *c, u32 cmd_op)
{
	const struct ublk_ctrl_row *row = ublk_ctrl_row_of(_IOC_NR(cmd_op));

	if (cmd_op == UBLK_U_CMD_GET_FEATURES ||
	    _IOC_NR(cmd_op) == UBLK_CMD_ADD_DEV)
		return row->run(c);
	return ublk_ctrl_run_on_dev(c, row);
}

/**
 * ublk_ctrl_uring_cmd - a command on /dev/ublk-control
 * @cmd:	the command
 * @issue_flags: io_uring's
 *
 * A command that may sleep is not run from the submitting task: -EAGAIN makes
 * io_uring call again from a worker thread.
 *
 * Context: process; sleeps in a worker thread only, but for the caller's own path and
 * memory.
 * Return: the command's result; -EAGAIN; -EINVAL for an SQE of 64 bytes; -EOPNOTSUPP
 * for a command of another type.
 */
int ublk_ctrl_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct ublksrv_ctrl_cmd *sqe;
	u32 cmd_op = cmd->cmd_op;
	struct ublk_ctrl c = { };
	int ret;

	if ((issue_flags & IO_URING_F_NONBLOCK) &&
	    !ublk_ctrl_row_of(_IOC_NR(cmd_op))->inline_ok)
		return -EAGAIN;
	if (!(issue_flags & IO_URING_F_SQE128))
		return -EINVAL;
	if (!ublk_cmd_is_ours(cmd_op))
		return -EOPNOTSUPP;

	sqe = io_uring_sqe128_cmd(cmd->sqe, struct ublksrv_ctrl_cmd);
	c.dev_id = READ_ONCE(sqe->dev_id);
	c.queue_id = READ_ONCE(sqe->queue_id);
	c.len = READ_ONCE(sqe->len);
	c.path_len = READ_ONCE(sqe->dev_path_len);
	c.arg = u64_to_user_ptr(READ_ONCE(sqe->addr));
	c.data = READ_ONCE(sqe->data[0]);

	ret = ublk_ctrl_dispatch(&c, cmd_op);
	trace_ublk_ctrl(c.dev_id, cmd_op, ret);
	return ret;
}
