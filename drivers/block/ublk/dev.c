// SPDX-License-Identifier: GPL-2.0
/*
 * Devices: their ids, their memory, how they are added, found and deleted.
 *
 * An id belongs to its device until the last reference is gone, which can be long
 * after DEL_DEV: an open ublkcN or disk keeps it. So an id never names two devices,
 * and a device that is on its way out can still be asked for.
 */
#include <linux/blk-mq.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/slab.h>
#include <linux/topology.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>

#include "slot.h"

/*
 * Devices added without privilege that may exist at a time. A deleted one does not count,
 * although its tag set may need a grace period more to go.
 */
unsigned int ublk_max_unprivileged = 64;

static atomic_t ublk_nr_unprivileged = ATOMIC_INIT(0);

/* Devices in memory; some have given their id back. */
static atomic_t ublk_nr_devices = ATOMIC_INIT(0);

static DEFINE_XARRAY_ALLOC(ublk_ids);
static dev_t ublk_ch_devt;

static const struct class ublk_class = {
	.name = "ublk-char",
};

/**
 * ublk_dev_register_class - prepare for devices
 *
 * Return: 0 or an error.
 */
int ublk_dev_register_class(void)
{
	int ret;

	ret = alloc_chrdev_region(&ublk_ch_devt, 0, UBLK_MAX_DEVICES, "ublk-char");
	if (ret)
		return ret;

	ret = class_register(&ublk_class);
	if (ret)
		unregister_chrdev_region(ublk_ch_devt, UBLK_MAX_DEVICES);
	return ret;
}

/**
 * ublk_dev_unregister_class - undo ublk_dev_register_class()
 */
void ublk_dev_unregister_class(void)
{
	class_unregister(&ublk_class);
	unregister_chrdev_region(ublk_ch_devt, UBLK_MAX_DEVICES);
}

static void ublk_tombstone_free(struct kref *ref)
{
	kfree(container_of(ref, struct ublk_tombstone, ref));
}

static void ublk_tombstone_put(struct ublk_tombstone *t)
{
	kref_put(&t->ref, ublk_tombstone_free);
}

/**
 * ublk_tombstone_get - prepare to wait for the end of a device
 * @dev:	the device
 *
 * Return: a reference for ublk_tombstone_wait().
 */
struct ublk_tombstone *ublk_tombstone_get(struct ublk_device *dev)
{
	kref_get(&dev->tombstone->ref);
	return dev->tombstone;
}

/**
 * ublk_tombstone_wait - wait until a device is gone and its id is free
 * @t:		reference, which is dropped
 *
 * Context: sleeps; the caller holds no reference to the device.
 * Return: 0 or -EINTR.
 */
int ublk_tombstone_wait(struct ublk_tombstone *t)
{
	int ret = wait_for_completion_interruptible(&t->gone);

	ublk_tombstone_put(t);
	return ret ? -EINTR : 0;
}

static void ublk_queue_free(struct ublk_queue *q)
{
	if (!q)
		return;
	ublk_coalesce_exit(&q->coalesce);
	vfree(q->descs);
	kvfree(q->batch);
	kvfree(q->slots);
	kvfree(q);
}

static int ublk_queue_node(const struct ublk_device *dev, unsigned int q_id)
{
	const struct blk_mq_queue_map *map = &dev->tag_set.map[HCTX_TYPE_DEFAULT];
	int cpu;

	for_each_possible_cpu(cpu)
		if (map->mq_map[cpu] == q_id)
			return cpu_to_node(cpu);
	return NUMA_NO_NODE;
}

static enum ublk_mode ublk_dev_mode(const struct ublk_device *dev)
{
	if (ublk_dev_has(dev, UBLK_F_AUTO_BUF_REG))
		return UBLK_MODE_AUTO;
	return ublk_dev_has(dev, UBLK_FEATURES_NO_COPY) ? UBLK_MODE_SERVER : UBLK_MODE_COPY;
}

static void ublk_queue_init(struct ublk_queue *q, struct ublk_device *dev,
			    unsigned int q_id)
{
	q->dev = dev;
	q->q_id = q_id;
	q->stride = dev->info.io_desc_size;
	q->mode = ublk_dev_mode(dev);
	q->get_data = ublk_dev_has(dev, UBLK_F_NEED_GET_DATA);
	q->unprivileged = ublk_dev_has(dev, UBLK_F_UNPRIVILEGED_DEV);
	q->shmem = dev->shmem;
	q->armed_word = UBLK_GATE_CLOSED;
	init_llist_head(&q->pending);
	for (unsigned int tag = 0; tag < q->depth; tag++)
		q->slots[tag].tag = tag;
}

static struct ublk_queue *ublk_queue_alloc(struct ublk_device *dev, unsigned int q_id)
{
	unsigned int depth = dev->info.queue_depth;
	int node = ublk_queue_node(dev, q_id);
	struct ublk_queue *q;

	q = kzalloc_node(sizeof(*q), GFP_KERNEL_ACCOUNT, node);
	if (!q)
		return NULL;
	ublk_coalesce_init(&q->coalesce);
	/* A cache line each. */
	BUILD_BUG_ON(sizeof(*q->slots) != 64);
	q->slots = kvcalloc_node(depth, sizeof(*q->slots),
				 GFP_KERNEL_ACCOUNT | __GFP_NOWARN, node);
	q->descs = __vmalloc(PAGE_ALIGN((size_t)depth * dev->info.io_desc_size),
			     GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN);
	if (!q->slots || !q->descs)
		goto free_queue;
	if (ublk_dev_has(dev, UBLK_F_BATCH_IO)) {
		q->batch = ublk_batch_alloc(depth, node);
		if (!q->batch)
			goto free_queue;
	}

	q->depth = depth;
	ublk_queue_init(q, dev, q_id);
	return q;

free_queue:
	ublk_queue_free(q);
	return NULL;
}

static int ublk_dev_alloc_queues(struct ublk_device *dev)
{
	dev->queues = kvcalloc(dev->nr_queues, sizeof(*dev->queues), GFP_KERNEL_ACCOUNT);
	if (!dev->queues)
		return -ENOMEM;

	for (unsigned int i = 0; i < dev->nr_queues; i++) {
		dev->queues[i] = ublk_queue_alloc(dev, i);
		if (!dev->queues[i])
			return -ENOMEM;
	}
	return 0;
}

static int ublk_dev_alloc_tag_set(struct ublk_device *dev)
{
	struct blk_mq_tag_set *set = &dev->tag_set;
	int ret;

	set->ops = ublk_dev_has(dev, UBLK_F_BATCH_IO) ? &ublk_batch_mq_ops : &ublk_mq_ops;
	set->nr_hw_queues = dev->info.nr_hw_queues;
	set->queue_depth = dev->info.queue_depth;
	set->numa_node = NUMA_NO_NODE;
	set->driver_data = dev;
	set->cmd_size = sizeof(struct ublk_rq_pdu);
	/*
	 * STACKING: the server may need other devices, and a CPU that goes away
	 * does not wait for requests that only a frozen server can answer.
	 */
	set->flags = BLK_MQ_F_STACKING | BLK_MQ_F_NO_SCHED_BY_DEFAULT;

	ret = blk_mq_alloc_tag_set(set);
	if (ret)
		return ret;
	dev->nr_queues = set->nr_hw_queues;
	dev->info.nr_hw_queues = set->nr_hw_queues;
	return 0;
}

/* This waits for a grace period, which is no concern of who waits for the id. */
static void ublk_dev_free_work(struct work_struct *work)
{
	struct ublk_device *dev = container_of(work, struct ublk_device, free_work);

	if (dev->tag_set.tags)
		blk_mq_free_tag_set(&dev->tag_set);
	kfree(dev);
	atomic_dec_and_wake_up(&ublk_nr_devices);
}

static void ublk_dev_free(struct device *d)
{
	struct ublk_device *dev = container_of(d, struct ublk_device, dev);

	for (unsigned int i = 0; dev->queues && i < dev->nr_queues; i++)
		ublk_queue_free(dev->queues[i]);
	kvfree(dev->queues);
	ublk_shmem_free(dev->shmem);
	put_pid(dev->server_pid);

	if (ublk_dev_has(dev, UBLK_F_UNPRIVILEGED_DEV))
		atomic_dec(&ublk_nr_unprivileged);
	if (dev->id != UBLK_ID_AUTO)
		xa_erase(&ublk_ids, dev->id);
	complete_all(&dev->tombstone->gone);
	ublk_tombstone_put(dev->tombstone);
	queue_work(ublk_op_wq, &dev->free_work);
}

/* When this has succeeded, put_device() undoes it, and gives the charge back. */
static struct ublk_device *ublk_dev_alloc(const struct ublksrv_ctrl_dev_info *info)
{
	struct ublk_device *dev;

	dev = kzalloc_obj(*dev, GFP_KERNEL_ACCOUNT);
	if (!dev)
		return NULL;

	dev->tombstone = kzalloc_obj(*dev->tombstone, GFP_KERNEL_ACCOUNT);
	if (!dev->tombstone) {
		kfree(dev);
		return NULL;
	}
	kref_init(&dev->tombstone->ref);
	init_completion(&dev->tombstone->gone);

	atomic_inc(&ublk_nr_devices);
	dev->id = UBLK_ID_AUTO;
	dev->info = *info;
	dev->flags = info->flags;
	dev->owner_uid = current_uid();
	dev->owner_gid = current_gid();
	dev->ops_held = true;
	spin_lock_init(&dev->lock);
	INIT_LIST_HEAD(&dev->ops);
	init_waitqueue_head(&dev->wq);
	INIT_WORK(&dev->ops_work, ublk_ops_work);
	INIT_WORK(&dev->scan_work, ublk_disk_scan_work);
	INIT_WORK(&dev->free_work, ublk_dev_free_work);

	device_initialize(&dev->dev);
	dev->dev.release = ublk_dev_free;
	return dev;
}

/*
 * Reserve an id, or name who has to be waited for first: a device that cannot be found
 * any more, but has its id still.
 */
static int ublk_id_try_insert(u32 id, struct ublk_tombstone **t)
{
	struct ublk_device *dev;
	int ret;

	*t = NULL;
	xa_lock(&ublk_ids);
	ret = __xa_insert(&ublk_ids, id, NULL, GFP_KERNEL);
	if (ret == -EBUSY) {
		dev = xa_load(&ublk_ids, id);
		if (dev && !kref_read(&dev->dev.kobj.kref))
			*t = ublk_tombstone_get(dev);
	}
	xa_unlock(&ublk_ids);
	return ret;
}

/*
 * Who was told that there is no such device may add one: wait for the moment between
 * its last reference and the end of its id.
 */
static int ublk_id_insert(u32 id)
{
	struct ublk_tombstone *t;
	int ret;

	while ((ret = ublk_id_try_insert(id, &t)) && t) {
		wait_for_completion(&t->gone);
		ublk_tombstone_put(t);
	}
	return ret;
}

/* A reserved id is taken for others, but nobody finds a device by it. */
static int ublk_id_reserve(u32 wanted, u32 *id)
{
	u32 got = wanted;
	int ret, taken;

	if (wanted == UBLK_ID_AUTO) {
		taken = -ENOSPC;
		ret = xa_alloc(&ublk_ids, &got, NULL,
			       XA_LIMIT(0, UBLK_MAX_DEVICES - 1), GFP_KERNEL);
	} else {
		taken = -EEXIST;
		ret = ublk_id_insert(wanted);
	}
	if (!ret)
		*id = got;
	return ret == -EBUSY ? taken : ret;
}

static bool ublk_unprivileged_charge(void)
{
	if (atomic_inc_return(&ublk_nr_unprivileged) <= READ_ONCE(ublk_max_unprivileged))
		return true;
	atomic_dec(&ublk_nr_unprivileged);
	return false;
}

/*
 * Copy mode cannot serve zones: a commit has one address, which cannot be both the
 * next buffer and the sector of an append, and a report has no buffer.
 */
static bool ublk_dev_zones_ok(const struct ublk_device *dev)
{
	if (!ublk_dev_has(dev, UBLK_F_ZONED))
		return true;
	return IS_ENABLED(CONFIG_BLK_DEV_ZONED) &&
		ublk_dev_has(dev, UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY);
}

static int ublk_dev_build(struct ublk_device *dev)
{
	int ret;

	ret = ublk_id_reserve(dev->info.dev_id, &dev->id);
	if (ret)
		return ret;
	dev->info.dev_id = dev->id;
	if (!ublk_dev_zones_ok(dev))
		return -EINVAL;

	ret = ublk_dev_alloc_tag_set(dev);
	if (ret)
		return ret;
	if (ublk_dev_has(dev, UBLK_F_SHMEM_ZC)) {
		dev->shmem = ublk_shmem_alloc();
		if (!dev->shmem)
			return -ENOMEM;
	}
	ret = ublk_dev_alloc_queues(dev);
	if (ret)
		return ret;

	dev->dev.class = &ublk_class;
	dev->dev.parent = ublk_misc.this_device;
	dev->dev.devt = MKDEV(MAJOR(ublk_ch_devt), dev->id);
	cdev_init(&dev->cdev, ublk_dev_has(dev, UBLK_F_BATCH_IO) ?
		  &ublk_batch_fops : &ublk_ch_fops);
	dev->cdev.owner = THIS_MODULE;
	return dev_set_name(&dev->dev, "ublkc%u", dev->id);
}

/*
 * The id can be found before the node exists, so that who sees the node can ask
 * for the device; ops wait until both are there. As soon as it is found, @dev may be
 * deleted: hold a reference until the end.
 */
static int ublk_dev_publish(struct ublk_device *dev)
{
	int ret;

	get_device(&dev->dev);
	xa_store(&ublk_ids, dev->id, dev, GFP_KERNEL);
	ret = cdev_device_add(&dev->cdev, &dev->dev);
	if (ret) {
		scoped_guard(spinlock, &dev->lock)
			dev->deleted = true;
		put_device(&dev->dev);
	}
	ublk_ops_release(dev);
	put_device(&dev->dev);
	return ret;
}

/**
 * ublk_dev_add - ADD_DEV
 * @info:	what the caller asks for; changed to what it gets
 * @header_id:	id in the command itself
 * @reply:	where the caller wants to read the answer
 *
 * Context: may sleep.
 * Return: 0; -EINVAL; -EPERM if the caller lacks CAP_SYS_ADMIN and does not ask for an
 * unprivileged device; -EACCES if there are too many of those; -EEXIST, -ENOSPC,
 * -ENOMEM, -EFAULT.
 */
int ublk_dev_add(struct ublksrv_ctrl_dev_info *info, u32 header_id, void __user *reply)
{
	bool privileged = capable(CAP_SYS_ADMIN);
	struct ublksrv_ctrl_dev_info answer;
	struct ublk_device *dev;
	int ret;

	ret = ublk_info_check(info, header_id, privileged);
	if (ret)
		return ret;
	ublk_info_grant(info, privileged);
	if ((info->flags & UBLK_F_UNPRIVILEGED_DEV) && !ublk_unprivileged_charge())
		return -EACCES;

	dev = ublk_dev_alloc(info);
	if (!dev) {
		if (info->flags & UBLK_F_UNPRIVILEGED_DEV)
			atomic_dec(&ublk_nr_unprivileged);
		return -ENOMEM;
	}

	ret = ublk_dev_build(dev);
	if (ret)
		goto err_put_dev;
	ublk_dev_get_info(dev, &answer);
	if (copy_to_user(reply, &answer, sizeof(answer))) {
		ret = -EFAULT;
		goto err_put_dev;
	}
	return ublk_dev_publish(dev);

err_put_dev:
	put_device(&dev->dev);
	return ret;
}

/**
 * ublk_dev_find - look a device up
 * @id:		its id
 *
 * Context: takes the lock of the id table; does not sleep.
 * Return: the device with a reference, or NULL. It may have been deleted.
 */
struct ublk_device *ublk_dev_find(u32 id)
{
	struct ublk_device *dev;

	xa_lock(&ublk_ids);
	dev = xa_load(&ublk_ids, id);
	if (dev && !kobject_get_unless_zero(&dev->dev.kobj))
		dev = NULL;
	xa_unlock(&ublk_ids);
	return dev;
}

/* The pid of the server as the current task may see it, -1 if not, or if it is dead. */
static pid_t ublk_dev_visible_pid(struct pid *pid)
{
	if (!pid || ublk_pid_is_gone(pid))
		return -1;
	return pid_vnr(pid) ?: -1;
}

/**
 * ublk_dev_get_info - describe a device
 * @dev:	the device
 * @info:	filled in; the pid is as the current task's namespace sees it, user and
 *		group are those of the initial user namespace
 *
 * Context: takes device->lock; does not sleep.
 */
void ublk_dev_get_info(struct ublk_device *dev, struct ublksrv_ctrl_dev_info *info)
{
	*info = dev->info;
	info->owner_uid = from_kuid(&init_user_ns, dev->owner_uid);
	info->owner_gid = from_kgid(&init_user_ns, dev->owner_gid);

	guard(spinlock)(&dev->lock);
	info->state = dev->state;
	info->ublksrv_pid = ublk_dev_visible_pid(dev->server_pid);
}

static int ublk_dev_delete_op(struct ublk_device *dev, struct ublk_op *op)
{
	scoped_guard(spinlock, &dev->lock) {
		if (dev->deleted)
			return 0;
		dev->deleted = true;
	}
	ublk_disk_take_down(dev);
	cdev_device_del(&dev->cdev, &dev->dev);
	/* Drop the reference of the id table. The op holds another. */
	put_device(&dev->dev);
	return 0;
}

/**
 * ublk_dev_delete - DEL_DEV: stop the device and take its node away
 * @dev:	the device
 *
 * Context: may sleep, for as long as the server needs for what it was given.
 * Return: 0, or -EINTR if the caller has to go; the device goes all the same.
 */
int ublk_dev_delete(struct ublk_device *dev)
{
	struct ublk_op op = {
		.run = ublk_dev_delete_op,
		.must_run = true,
		.urgent = true,
	};

	return ublk_op_call(dev, &op);
}

/**
 * ublk_dev_delete_all - delete every device and wait until its memory is freed
 *
 * Context: module exit: no command runs, and neither ublkcN nor disk is open.
 */
void ublk_dev_delete_all(void)
{
	unsigned long id = 0;
	void *entry;

	xa_for_each(&ublk_ids, id, entry) {
		struct ublk_device *dev = ublk_dev_find(id);

		if (!dev)
			continue;
		ublk_dev_delete(dev);
		put_device(&dev->dev);
	}
	wait_var_event(&ublk_nr_devices, !atomic_read(&ublk_nr_devices));
}
