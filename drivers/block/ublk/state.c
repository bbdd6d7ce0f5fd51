// SPDX-License-Identifier: GPL-2.0
/*
 * The states of a device: who serves its disk, and what becomes of I/O while
 * nobody does.
 *
 *            START_DEV             server goes, recovery asked for
 *   DEAD -----------------> LIVE ---------------------------------+
 *    ^                      |  ^                                  v
 *    |  STOP_DEV, DEL_DEV,  |  |      END_USER_RECOVERY       QUIESCED or
 *    +--- server goes ------+  +----------------------------- FAIL_IO
 *    |                                                            |
 *    +------------------- STOP_DEV, DEL_DEV ----------------------+
 *
 * A request whose tag nobody serves meets device->unserved. The policy is read in
 * RCU read-side sections, by ->queue_rq and by who takes requests away from a
 * server, and changed in one place here, which waits for a grace period and then
 * kicks the requests that are held: each of them either was held before the kick
 * or has seen the new policy.
 */
#include <linux/blk-mq.h>
#include <linux/pid.h>

#include "ublk.h"
#include <trace/events/ublk.h>

/* How often to look whether a process has died that was named, but never came. */
#define UBLK_DEATH_JIFFIES	HZ

/**
 * ublk_dev_set_state - change the state of a device
 * @dev:	the device, its lock held
 * @state:	UBLK_S_DEV_*
 * @server:	who serves the disk, or did; NULL for nobody
 *
 * Context: op.
 */
void ublk_dev_set_state(struct ublk_device *dev, u8 state, struct pid *server)
{
	lockdep_assert_held(&dev->lock);
	ublk_check(ublk_op_current(dev));
	trace_ublk_state(dev->id, dev->state, state);
	WRITE_ONCE(dev->state, state);
	get_pid(server);
	put_pid(dev->server_pid);
	dev->server_pid = server;
}

/**
 * ublk_unserved_policy - what a disk promises for the time without a server
 * @dev:	the device
 *
 * Return: the policy that holds from START_DEV on.
 */
enum ublk_unserved ublk_unserved_policy(const struct ublk_device *dev)
{
	if (ublk_dev_has(dev, UBLK_F_USER_RECOVERY) &&
	    !ublk_dev_has(dev, UBLK_F_USER_RECOVERY_FAIL_IO))
		return UBLK_UNSERVED_HOLD;
	return UBLK_UNSERVED_FAIL;
}

/**
 * ublk_unserved_apply - let held requests try again, under a policy that may be new
 * @dev:	device with a disk
 * @policy:	what becomes of those that still nobody serves
 *
 * Context: op; waits for a grace period.
 */
void ublk_unserved_apply(struct ublk_device *dev, enum ublk_unserved policy)
{
	ublk_check(ublk_op_current(dev));
	WRITE_ONCE(dev->unserved, policy);
	synchronize_rcu_expedited();
	blk_mq_kick_requeue_list(dev->disk->queue);
}

/**
 * ublk_server_check_pid - is it this process that serves the device?
 * @dev:	the device, its lock held
 * @pid:	the process
 *
 * Return: 0; -EINVAL if another one does, or none while @pid lives; -ENODEV if
 * the server has died.
 */
int ublk_server_check_pid(struct ublk_device *dev, struct pid *pid)
{
	struct ublk_session *s = ublk_dev_session(dev);

	lockdep_assert_held(&dev->lock);
	if (s && s->state < UBLK_SESSION_DEAD)
		return s->pid == pid ? 0 : -EINVAL;
	return !s && !ublk_pid_is_gone(pid) ? -EINVAL : -ENODEV;
}

/**
 * ublk_server_check_ready - has the server done its part?
 * @dev:	device that has passed ublk_server_check_pid(), its lock held
 *
 * Return: 0; -EBUSY if the server was told to stop; -ENODEV if the device was
 * deleted, or the server is another one than that waited for.
 */
int ublk_server_check_ready(struct ublk_device *dev)
{
	struct ublk_session *s = ublk_dev_session(dev);

	lockdep_assert_held(&dev->lock);
	if (s->state != UBLK_SESSION_OPEN)
		return -EBUSY;
	return dev->deleted || s->nr_ready != dev->nr_queues ? -ENODEV : 0;
}

/*
 * Is the wait for a server over? Returns 0 if not, 1 if the server has fetched every
 * tag or was told to stop, -ENODEV if none can come. @before is ublk_device::nr_stops
 * when the wait began.
 */
static int ublk_wait_ended(struct ublk_device *dev, struct pid *pid, unsigned int before)
{
	struct ublk_session *s;
	bool stopped;

	guard(spinlock)(&dev->lock);
	s = ublk_dev_session(dev);
	if (s && s->state < UBLK_SESSION_DEAD)
		return s->nr_ready == dev->nr_queues ||
			s->state == UBLK_SESSION_STOPPING;

	stopped = !s && (dev->deleted || dev->nr_stops != before);
	return stopped || ublk_pid_is_gone(pid) ? -ENODEV : 0;
}

/**
 * ublk_server_wait - wait until a server has fetched every tag
 * @dev:	the device
 * @pid:	process that is to be the server
 * @before:	ublk_device::nr_stops when the command began
 *
 * The server wakes us when it comes and when it leaves. A process that was named
 * but has not opened ublkcN can die without a word to us, so look at it from
 * time to time.
 *
 * Context: sleeps.
 * Return: 0, also if the server was told to stop; -ENODEV if it died, or the
 * device was stopped or deleted while none was attached; -EINTR.
 */
int ublk_server_wait(struct ublk_device *dev, struct pid *pid, unsigned int before)
{
	int ret = 0;
	long left;

	do {
		left = wait_event_interruptible_timeout(dev->wq,
							(ret = ublk_wait_ended(dev, pid, before)),
							UBLK_DEATH_JIFFIES);
	} while (!left);
	if (left < 0)
		return -EINTR;
	return ret < 0 ? ret : 0;
}

/**
 * ublk_server_lost - the server has gone for good
 * @dev:	the device
 *
 * Context: op, after the server's requests were taken back.
 * Return: true if the disk stays for another server; else the caller has to
 * remove it.
 */
bool ublk_server_lost(struct ublk_device *dev)
{
	bool fail_io = ublk_dev_has(dev, UBLK_F_USER_RECOVERY_FAIL_IO);

	ublk_check(ublk_op_current(dev));
	if (!ublk_dev_has(dev, UBLK_F_USER_RECOVERY))
		return false;

	if (dev->state == UBLK_S_DEV_LIVE) {
		if (fail_io)
			ublk_unserved_apply(dev, UBLK_UNSERVED_FAIL_TARGET);
		guard(spinlock)(&dev->lock);
		ublk_dev_set_state(dev, fail_io ? UBLK_S_DEV_FAIL_IO : UBLK_S_DEV_QUIESCED,
				   dev->server_pid);
	}
	return true;
}

static bool ublk_dev_wants_server(const struct ublk_device *dev)
{
	return dev->state == UBLK_S_DEV_QUIESCED || dev->state == UBLK_S_DEV_FAIL_IO;
}

/**
 * ublk_recovery_start - START_USER_RECOVERY: may a new server come?
 * @dev:	the device
 *
 * Return: 0; -EINVAL without UBLK_F_USER_RECOVERY; -EBUSY while the old server
 * is attached, or if none is missing.
 */
int ublk_recovery_start(struct ublk_device *dev)
{
	if (!ublk_dev_has(dev, UBLK_F_USER_RECOVERY))
		return -EINVAL;

	guard(spinlock)(&dev->lock);
	return ublk_dev_session(dev) || !ublk_dev_wants_server(dev) ? -EBUSY : 0;
}

static int ublk_recovery_end_op(struct ublk_device *dev, struct ublk_op *op)
{
	int ret;

	scoped_guard(spinlock, &dev->lock) {
		ret = ublk_server_check_pid(dev, op->pid);
		if (ret)
			return ret;
		if (!ublk_dev_wants_server(dev))
			return -EBUSY;
		ret = ublk_server_check_ready(dev);
		if (ret)
			return ret;
		ublk_dev_set_state(dev, UBLK_S_DEV_LIVE, op->pid);
	}
	ublk_unserved_apply(dev, ublk_unserved_policy(dev));
	return 0;
}

/**
 * ublk_recovery_end - END_USER_RECOVERY: the new server takes over
 * @dev:	the device
 * @pid:	the new server; the reference is consumed
 *
 * Waits until that server has fetched every tag of every queue, then lets go of
 * the requests that were held for it.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL without UBLK_F_USER_RECOVERY, or if another process serves;
 * -EBUSY if no server is missing, or the new one was told to stop; -ENODEV if it
 * died, or the device was stopped or deleted before it came; -EINTR; -ENOMEM.
 */
int ublk_recovery_end(struct ublk_device *dev, struct pid *pid)
{
	struct ublk_op op = { .run = ublk_recovery_end_op, .pid = pid };
	unsigned int before;
	int ret = -EINVAL;

	scoped_guard(spinlock, &dev->lock)
		before = dev->nr_stops;
	if (ublk_dev_has(dev, UBLK_F_USER_RECOVERY))
		ret = ublk_server_wait(dev, pid, before);
	if (ret) {
		put_pid(pid);
		return ret;
	}
	return ublk_op_call(dev, &op);
}
