// SPDX-License-Identifier: GPL-2.0
/*
 * The ops of a device: what adds, changes, stops or removes its disk, and may have to
 * wait for I/O, runs as an op, one after the other, in a kernel worker.
 *
 * So an op needs no lock against another, no command holds a lock while it waits,
 * and the task that waits for an op can be killed: a server that stops its own
 * device does not keep itself alive, and its death ends the I/O that the op waits
 * for.
 */
#include <linux/completion.h>
#include <linux/freezer.h>
#include <linux/jiffies.h>
#include <linux/pid.h>
#include <linux/slab.h>

#include "ublk.h"

/* How long to nap before looking again at what ends a wait. */
#define UBLK_NAP_JIFFIES	(HZ / 10)

static void ublk_op_free(struct kref *ref)
{
	struct ublk_op *op = container_of(ref, struct ublk_op, ref);

	put_pid(op->pid);
	kfree(op);
}

/**
 * ublk_op_init - prepare an op that is part of another object
 * @op:	the op; its owner sets @run, @free and @must_run next
 */
void ublk_op_init(struct ublk_op *op)
{
	INIT_LIST_HEAD(&op->node);
	kref_init(&op->ref);
	init_completion(&op->done);
}

/* Consumes a reference to the device, and with it, maybe, the device. */
static void ublk_ops_kick(struct ublk_device *dev)
{
	if (!queue_work(ublk_op_wq, &dev->ops_work))
		put_device(&dev->dev);
}

/**
 * ublk_op_post - queue an op behind the others of its device
 * @dev:	the device
 * @op:		the op; one reference goes to the queue
 *
 * The op may drop references to the device that the caller counts on: the caller has
 * to hold one of its own to use @dev afterwards.
 *
 * Context: process; does not sleep.
 */
void ublk_op_post(struct ublk_device *dev, struct ublk_op *op)
{
	get_device(&dev->dev);
	scoped_guard(spinlock, &dev->lock)
		list_add_tail(&op->node, &dev->ops);
	wake_up_all(&dev->wq);
	ublk_ops_kick(dev);
}

/**
 * ublk_ops_release - let the ops of a new device begin
 * @dev:	device that ADD_DEV has finished
 */
void ublk_ops_release(struct ublk_device *dev)
{
	get_device(&dev->dev);
	scoped_guard(spinlock, &dev->lock)
		dev->ops_held = false;
	ublk_ops_kick(dev);
}

static struct ublk_op *ublk_op_next(struct ublk_device *dev)
{
	struct ublk_op *op;

	guard(spinlock)(&dev->lock);
	if (dev->ops_held)
		return NULL;
	op = list_first_entry_or_null(&dev->ops, struct ublk_op, node);
	if (op)
		list_del_init(&op->node);
	return op;
}

/**
 * ublk_ops_work - run the ops of a device
 * @work:	ublk_device::ops_work; a reference to the device goes with it
 */
void ublk_ops_work(struct work_struct *work)
{
	struct ublk_device *dev = container_of(work, struct ublk_device, ops_work);
	struct ublk_op *op;

	while ((op = ublk_op_next(dev))) {
		op->result = op->run(dev, op);
		complete_all(&op->done);
		kref_put(&op->ref, op->free);
	}
	put_device(&dev->dev);
}

/**
 * ublk_op_current - does the caller run in the op queue of @dev?
 * @dev:	the device
 *
 * Return: true in an op of @dev.
 */
bool ublk_op_current(struct ublk_device *dev)
{
	return current_work() == &dev->ops_work;
}

/* Is an op of the same kind queued ahead of @op, with only must-run ops between? */
static bool ublk_op_repeats(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_op *earlier = op;

	lockdep_assert_held(&dev->lock);
	list_for_each_entry_continue_reverse(earlier, &dev->ops, node) {
		if (earlier->run == op->run)
			return true;
		if (!earlier->must_run)
			break;
	}
	return false;
}

/**
 * ublk_op_is_unwanted - should an op that only waits give up?
 * @dev:	the device
 * @op:		the op, running
 *
 * What it waits for may be what a later op brings. device->wq is woken when the
 * answer changes.
 *
 * Return: true if its caller has left, or another op is queued.
 */
bool ublk_op_is_unwanted(struct ublk_device *dev, const struct ublk_op *op)
{
	guard(spinlock)(&dev->lock);
	return op->abandoned || !list_empty(&dev->ops);
}

/**
 * ublk_dev_is_to_stop - is an op queued that stops the device?
 * @dev:	the device
 *
 * An op that would wait for the server, for as long as that likes, asks this from
 * time to time.
 *
 * Context: takes device->lock; does not sleep.
 * Return: true if there is an urgent op.
 */
bool ublk_dev_is_to_stop(struct ublk_device *dev)
{
	struct ublk_op *op;

	guard(spinlock)(&dev->lock);
	list_for_each_entry(op, &dev->ops, node)
		if (op->urgent)
			return true;
	return false;
}

/*
 * The caller stops waiting. Drops an op that has not begun, unless it must run. One that
 * must run is dropped as well if another of its kind is ahead: otherwise a caller that
 * is killed in STOP_DEV again and again could fill the memory. A running op is told by
 * @abandoned. Returns whether the op was dropped.
 */
static bool ublk_op_abandon(struct ublk_device *dev, struct ublk_op *op)
{
	bool drop;

	scoped_guard(spinlock, &dev->lock) {
		op->abandoned = true;
		drop = !list_empty(&op->node) &&
			(!op->must_run || ublk_op_repeats(dev, op));
		if (drop)
			list_del_init(&op->node);
	}
	if (drop)
		kref_put(&op->ref, op->free);
	else
		wake_up_all(&dev->wq);
	return drop;
}

/*
 * A worker of io_uring is told by TIF_NOTIFY_SIGNAL that its ring or its process
 * is on the way out. Every other signal that reaches it wants it to stop for a
 * while, for a freezer or a debugger, and is no reason to fail a command that
 * cannot fail. There is no wait that tells the two apart, hence the naps.
 */
static int ublk_op_wait_through(struct ublk_op *op)
{
	long left;

	do {
		left = wait_for_completion_killable_timeout(&op->done, UBLK_NAP_JIFFIES);
		if (left < 0 || (!left && test_thread_flag(TIF_NOTIFY_SIGNAL)))
			return -EINTR;
		try_to_freeze();
	} while (!left);
	return 0;
}

static int ublk_op_wait(struct ublk_op *op)
{
	if (op->must_run)
		return ublk_op_wait_through(op);
	return wait_for_completion_interruptible(&op->done) ? -EINTR : 0;
}

/**
 * ublk_op_call - queue an op and wait for it
 * @dev:	the device
 * @template:	what to run, with its arguments; a pid in it is the op's
 *
 * Context: may sleep, for as long as I/O to the device takes.
 * Return: what the op returned; -EINTR if the caller has to go, in which case an op
 * that must run still does; -ENOMEM, but not for such an op.
 */
int ublk_op_call(struct ublk_device *dev, const struct ublk_op *template)
{
	struct ublk_op *op;
	int ret;

	op = kmemdup(template, sizeof(*op), GFP_KERNEL_ACCOUNT |
		     (template->must_run ? __GFP_NOFAIL : 0));
	if (!op) {
		put_pid(template->pid);
		return -ENOMEM;
	}
	ublk_op_init(op);
	op->free = ublk_op_free;

	kref_get(&op->ref);
	ublk_op_post(dev, op);

	ret = ublk_op_wait(op);
	/* It has begun and will soon be over: return its result, not -EINTR. */
	if (ret && !ublk_op_abandon(dev, op) && !op->must_run)
		ret = ublk_op_wait_through(op);
	if (!ret)
		ret = op->result;
	kref_put(&op->ref, op->free);
	return ret;
}
