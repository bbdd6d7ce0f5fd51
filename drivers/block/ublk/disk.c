// SPDX-License-Identifier: GPL-2.0
/*
 * The disk: made by START_DEV, resized, and taken down by STOP_DEV or with its
 * server. Everything that adds or removes it is an op, so none of it runs beside
 * another, and device->disk does not change under an op.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/pid.h>

#include "ublk.h"

/*
 * Opening the disk of an unprivileged device is for its owner and the
 * administrator: everyone else would be at the mercy of its server.
 */
static bool ublk_bdev_may_open(const struct ublk_device *dev)
{
	if (!ublk_dev_has(dev, UBLK_F_UNPRIVILEGED_DEV))
		return true;
	if (uid_eq(current_uid(), dev->owner_uid) &&
	    gid_eq(current_gid(), dev->owner_gid))
		return true;
	return capable(CAP_SYS_ADMIN);
}

static int ublk_bdev_open(struct gendisk *disk, blk_mode_t mode)
{
	struct ublk_device *dev = disk->private_data;

	lockdep_assert_held(&disk->open_mutex);
	if (!ublk_bdev_may_open(dev))
		return -EPERM;
	return dev->no_opens ? -ENXIO : 0;
}

/* The last opener of a removed disk has gone: START_DEV may make the next. */
static void ublk_bdev_free_disk(struct gendisk *disk)
{
	struct ublk_device *dev = disk->private_data;

	scoped_guard(spinlock, &dev->lock)
		dev->disk_used = false;
	put_device(&dev->dev);
}

static const struct block_device_operations ublk_bdev_fops = {
	.owner		= THIS_MODULE,
	.open		= ublk_bdev_open,
	.free_disk	= ublk_bdev_free_disk,
	.report_zones	= ublk_zoned_report,
};

/**
 * ublk_disk_scan_work - read the partition table
 * @work:	ublk_device::scan_work
 *
 * START_DEV may be sent by the very task that has to serve these reads, so they
 * cannot be part of it. The disk stays until this work is over or was cancelled.
 */
void ublk_disk_scan_work(struct work_struct *work)
{
	struct ublk_device *dev = container_of(work, struct ublk_device, scan_work);
	struct gendisk *disk = dev->disk;

	clear_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	mutex_lock(&disk->open_mutex);
	bdev_disk_changed(disk, false);
	mutex_unlock(&disk->open_mutex);

	WRITE_ONCE(dev->scanning, false);
	wake_up_all(&dev->wq);
}

static void ublk_disk_scan(struct ublk_device *dev, struct ublk_session *s)
{
	if (READ_ONCE(s->user_serves) || (dev->disk->flags & GENHD_FL_NO_PART))
		return;
	if (ublk_dev_has(dev, UBLK_F_NO_AUTO_PART_SCAN)) {
		clear_bit(GD_SUPPRESS_PART_SCAN, &dev->disk->state);
		return;
	}
	WRITE_ONCE(dev->scanning, true);
	queue_work(ublk_op_wq, &dev->scan_work);
}

/* May @pid's disk come now? Takes the parameters that hold at this moment. */
static int ublk_disk_claim(struct ublk_device *dev, struct pid *pid,
			   struct ublk_params *params)
{
	int ret;

	guard(spinlock)(&dev->lock);
	ret = ublk_server_check_pid(dev, pid);
	if (ret)
		return ret;
	if (dev->disk_used)
		return -EEXIST;
	ret = ublk_server_check_ready(dev);
	if (ret)
		return ret;
	if (!(dev->params.types & UBLK_PARAM_TYPE_BASIC))
		return -EINVAL;

	*params = dev->params;
	dev->disk_used = true;
	ublk_dev_set_state(dev, UBLK_S_DEV_LIVE, pid);
	return 0;
}

/* The end of LIVE: no request is left, and none of those is under way who had one. */
static void ublk_disk_gone(struct ublk_device *dev)
{
	synchronize_rcu_expedited();
	guard(spinlock)(&dev->lock);
	dev->disk = NULL;
	ublk_dev_set_state(dev, UBLK_S_DEV_DEAD, NULL);
}

static void ublk_disk_unclaim(struct ublk_device *dev)
{
	ublk_disk_gone(dev);
	guard(spinlock)(&dev->lock);
	dev->disk_used = false;
}

/*
 * A scheduler, and throttling writeback by read latency, help rotational disks only:
 * how fast a server answers says little about its backend, and both cost every
 * request. sysfs can switch either on.
 */
static struct gendisk *ublk_disk_alloc_mq(struct ublk_device *dev,
					  struct queue_limits *lim)
{
	bool rotational = lim->features & BLK_FEAT_ROTATIONAL;
	struct gendisk *disk;

	if (rotational)
		dev->tag_set.flags &= ~BLK_MQ_F_NO_SCHED_BY_DEFAULT;
	else
		dev->tag_set.flags |= BLK_MQ_F_NO_SCHED_BY_DEFAULT;

	disk = blk_mq_alloc_disk(&dev->tag_set, lim, NULL);
	if (!IS_ERR(disk) && !rotational)
		blk_queue_flag_set(QUEUE_FLAG_DISABLE_WBT_DEF, disk->queue);
	return disk;
}

static struct gendisk *ublk_disk_alloc(struct ublk_device *dev,
				       const struct ublk_params *params)
{
	struct queue_limits lim = { };
	struct gendisk *disk;

	ublk_params_to_limits(dev, params, &lim);
	disk = ublk_disk_alloc_mq(dev, &lim);
	if (IS_ERR(disk))
		return disk;

	snprintf(disk->disk_name, sizeof(disk->disk_name), "ublkb%u", dev->id);
	disk->fops = &ublk_bdev_fops;
	disk->private_data = dev;
	set_bit(GD_SUPPRESS_PART_SCAN, &disk->state);
	set_capacity(disk, params->basic.dev_sectors);
	set_disk_ro(disk, params->basic.attrs & UBLK_ATTR_READ_ONLY);
	return disk;
}

/*
 * The zones come from the server. If it was lost or stopped meanwhile, that is the
 * error to return: it is the cause.
 */
static int ublk_disk_prepare_zones(struct ublk_device *dev, struct gendisk *disk,
				   struct pid *pid)
{
	int ret = ublk_zoned_prepare(disk);

	if (!ret)
		return 0;
	guard(spinlock)(&dev->lock);
	return ublk_server_check_pid(dev, pid) ?: ublk_server_check_ready(dev) ?: ret;
}

static int ublk_disk_start_op(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_params params;
	struct gendisk *disk;
	int ret;

	ret = ublk_disk_claim(dev, op->pid, &params);
	if (ret)
		return ret;

	disk = ublk_disk_alloc(dev, &params);
	if (IS_ERR(disk)) {
		ret = PTR_ERR(disk);
		goto err_unclaim;
	}
	get_device(&dev->dev);
	ret = ublk_disk_prepare_zones(dev, disk, op->pid);
	if (ret)
		goto err_put_disk;

	dev->no_opens = false;
	WRITE_ONCE(dev->unserved, ublk_unserved_policy(dev));
	ret = add_disk(disk);
	if (ret)
		goto err_put_disk;

	scoped_guard(spinlock, &dev->lock)
		dev->disk = disk;
	ublk_disk_scan(dev, ublk_dev_session(dev));
	return 0;

err_put_disk:
	/* A disk that was not added is freed without a call to us. */
	WRITE_ONCE(dev->unserved, UBLK_UNSERVED_FAIL);
	put_disk(disk);
	put_device(&dev->dev);
err_unclaim:
	ublk_disk_unclaim(dev);
	return ret;
}

/**
 * ublk_disk_start - START_DEV: make the disk appear
 * @dev:	the device
 * @pid:	process that serves it; the reference is consumed
 *
 * Waits until that server has fetched every tag of every queue.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL without parameters, or if another process serves; -EEXIST
 * if there is a disk; -EBUSY if the server was told to stop; -ENODEV if it died,
 * or the device was stopped or deleted while none was attached; -EINTR; -ENOMEM;
 * whatever the block layer says, or what came of asking for the zones. Once it has begun
 * to ask, it goes on after -EINTR, until the device is stopped.
 */
int ublk_disk_start(struct ublk_device *dev, struct pid *pid)
{
	struct ublk_op op = { .run = ublk_disk_start_op, .pid = pid };
	unsigned int before;
	bool has_params;
	int ret;

	scoped_guard(spinlock, &dev->lock) {
		before = dev->nr_stops;
		has_params = dev->params.types & UBLK_PARAM_TYPE_BASIC;
	}
	ret = has_params ? ublk_server_wait(dev, pid, before) : -EINVAL;
	if (ret) {
		put_pid(pid);
		return ret;
	}
	return ublk_op_call(dev, &op);
}

/*
 * Write back while the disk has its capacity. Without a server that fails, and a
 * later fsync() reports it; blk_mark_disk_dead() would drop the pages without an
 * error.
 */
static void ublk_disk_fail_writeback(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long i;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, i, part) {
		if (!kobject_get_unless_zero(&part->bd_device.kobj))
			continue;
		rcu_read_unlock();
		sync_blockdev(part);
		put_device(&part->bd_device);
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/**
 * ublk_disk_remove - take the disk down
 * @dev:	the device
 * @served:	the server lives and can write back what is dirty
 *
 * Whatever nobody serves fails before anything waits for it.
 *
 * Context: op; waits for the I/O that is under way.
 */
void ublk_disk_remove(struct ublk_device *dev, bool served)
{
	struct gendisk *disk = dev->disk;

	ublk_check(ublk_op_current(dev));
	if (!disk)
		return;

	if (dev->unserved != UBLK_UNSERVED_FAIL)
		ublk_unserved_apply(dev, UBLK_UNSERVED_FAIL);
	cancel_work_sync(&dev->scan_work);
	WRITE_ONCE(dev->scanning, false);
	if (!served) {
		ublk_disk_fail_writeback(disk);
		blk_mark_disk_dead(disk);
	}
	del_gendisk(disk);

	ublk_disk_gone(dev);
	put_disk(disk);
}

/**
 * ublk_disk_take_down - what STOP_DEV does, and DEL_DEV does first
 * @dev:	the device
 *
 * Context: op; waits for the I/O that is under way.
 */
void ublk_disk_take_down(struct ublk_device *dev)
{
	struct ublk_session *s = ublk_dev_session(dev);
	bool served = s && ublk_session_is_open(s) && dev->state == UBLK_S_DEV_LIVE;

	/* A server that has not taken over yet shall not be given what is held. */
	if (s && !served)
		ublk_session_stop(s);
	ublk_disk_remove(dev, served);

	/*
	 * A new server may have opened ublkcN during the removal. It cannot leave now:
	 * the end of a session is an op, too.
	 */
	s = ublk_dev_session(dev);
	if (s)
		ublk_session_stop(s);

	scoped_guard(spinlock, &dev->lock)
		dev->nr_stops++;
	wake_up_all(&dev->wq);
}

static int ublk_disk_stop_op(struct ublk_device *dev, struct ublk_op *op)
{
	ublk_disk_take_down(dev);
	return 0;
}

/*
 * Succeeds if nobody has the disk open, and then bans opens, both under the mutex of
 * openers. Our own scan holds that mutex, so wait for it, unless another op is queued:
 * the reads of the scan may be held for a server that only that op lets in.
 */
static int ublk_disk_ban_opens(struct ublk_device *dev, const struct ublk_op *op)
{
	struct gendisk *disk = dev->disk;
	int ret = 0;

	if (!disk)
		return -ENODEV;
	wait_event_idle(dev->wq, !READ_ONCE(dev->scanning) ||
			ublk_op_is_unwanted(dev, op));
	if (!mutex_trylock(&disk->open_mutex))
		return -EBUSY;
	if (disk_openers(disk))
		ret = -EBUSY;
	else
		dev->no_opens = true;
	mutex_unlock(&disk->open_mutex);
	return ret;
}

static int ublk_disk_try_stop_op(struct ublk_device *dev, struct ublk_op *op)
{
	int ret = ublk_disk_ban_opens(dev, op);

	if (!ret)
		ublk_disk_take_down(dev);
	return ret;
}

/**
 * ublk_disk_stop - STOP_DEV
 * @dev:	the device
 *
 * Context: may sleep, for as long as the server needs for what it was given.
 * Return: 0, or -EINTR if the caller has to go; the device is stopped all the
 * same.
 */
int ublk_disk_stop(struct ublk_device *dev)
{
	struct ublk_op op = { .run = ublk_disk_stop_op, .must_run = true, .urgent = true };

	return ublk_op_call(dev, &op);
}

/**
 * ublk_disk_try_stop - TRY_STOP_DEV: stop unless the disk is in use
 * @dev:	the device
 *
 * Context: may sleep.
 * Return: 0; -ENODEV without a disk; -EBUSY if it or a partition is open; -EINTR if the
 * caller has to go: the device is stopped all the same, if it can be.
 */
int ublk_disk_try_stop(struct ublk_device *dev)
{
	struct ublk_op op = { .run = ublk_disk_try_stop_op, .must_run = true };

	return ublk_op_call(dev, &op);
}

static int ublk_disk_resize_op(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_params params;

	if (!dev->disk)
		return -ENODEV;
	if (ublk_dev_has(dev, UBLK_F_ZONED))
		return -EINVAL;

	scoped_guard(spinlock, &dev->lock)
		params = dev->params;
	/* GET_PARAMS may have left it there. */
	params.types &= ~UBLK_PARAM_TYPE_DEVT;
	params.basic.dev_sectors = op->arg;
	if (!op->arg || ublk_params_validate(dev, &params))
		return -EINVAL;

	scoped_guard(spinlock, &dev->lock)
		dev->params.basic.dev_sectors = op->arg;
	set_capacity_and_notify(dev->disk, op->arg);
	return 0;
}

/**
 * ublk_disk_resize - UPDATE_SIZE
 * @dev:	the device
 * @sectors:	new capacity, in units of 512 bytes
 *
 * Context: may sleep.
 * Return: 0, -ENODEV without a disk, -EINVAL for a capacity that the parameters
 * would not allow or that is 0, and for a zoned disk, -EINTR, -ENOMEM.
 */
int ublk_disk_resize(struct ublk_device *dev, u64 sectors)
{
	struct ublk_op op = { .run = ublk_disk_resize_op, .arg = sectors };

	return ublk_op_call(dev, &op);
}
