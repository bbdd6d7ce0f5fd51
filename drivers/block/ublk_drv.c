// SPDX-License-Identifier: GPL-2.0
/*
 * ublk: a userspace program as a block device.
 *
 * This file only loads and unloads the driver; drivers/block/ublk/ublk.h says
 * where everything else is.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/rcupdate.h>

#include "ublk/ublk.h"

#define CREATE_TRACE_POINTS
#include <trace/events/ublk.h>

/*
 * Ops, and the end of devices. They may wait for I/O, so each device that is stuck costs
 * a worker: no limit below the largest. Memory reclaim never waits for them.
 */
struct workqueue_struct *ublk_op_wq;

/*
 * What must make progress without memory: sweeps, and waking servers for requests that
 * have waited.
 */
struct workqueue_struct *ublk_sweep_wq;

static const struct file_operations ublk_ctrl_fops = {
	.owner		= THIS_MODULE,
	.open		= nonseekable_open,
	.uring_cmd	= ublk_ctrl_uring_cmd,
};

struct miscdevice ublk_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ublk-control",
	.fops	= &ublk_ctrl_fops,
};

static int __init ublk_init(void)
{
	int ret = -ENOMEM;

	ublk_sweep_wq = alloc_workqueue("ublk_sweep", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ublk_sweep_wq)
		return ret;
	ublk_op_wq = alloc_workqueue("ublk_op", WQ_UNBOUND, WQ_MAX_ACTIVE);
	if (!ublk_op_wq)
		goto err_sweep_wq;

	ret = ublk_dev_register_class();
	if (ret)
		goto err_op_wq;
	ret = misc_register(&ublk_misc);
	if (ret)
		goto err_class;
	return 0;

err_class:
	ublk_dev_unregister_class();
err_op_wq:
	destroy_workqueue(ublk_op_wq);
err_sweep_wq:
	destroy_workqueue(ublk_sweep_wq);
	return ret;
}

static void __exit ublk_exit(void)
{
	/* They are children of the control node. */
	ublk_dev_delete_all();
	misc_deregister(&ublk_misc);
	ublk_dev_unregister_class();
	destroy_workqueue(ublk_op_wq);
	destroy_workqueue(ublk_sweep_wq);
	/* Whoever freed the last device may still be on its way out of our text. */
	synchronize_rcu_tasks();
}

module_init(ublk_init);
module_exit(ublk_exit);

static int ublk_set_max_unprivileged(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 0, UBLK_MAX_DEVICES);
}

static const struct kernel_param_ops ublk_max_unprivileged_ops = {
	.set = ublk_set_max_unprivileged,
	.get = param_get_uint,
};

module_param_cb(ublks_max, &ublk_max_unprivileged_ops, &ublk_max_unprivileged, 0644);
MODULE_PARM_DESC(ublks_max, "Devices that unprivileged users may have at a time (default: 64)");

MODULE_DESCRIPTION("Userspace block device driver");
MODULE_LICENSE("GPL");
