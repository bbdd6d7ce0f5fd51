// SPDX-License-Identifier: GPL-2.0
/*
 * QUIESCE_DEV: ask a server that lives to leave, and so make room for the next one.
 *
 * The server hears of it by a command that comes back with UBLK_IO_RES_ABORT, so
 * each of its queues has to have one that waits, or to have lost them all already.
 * Under load all may be out with requests: then dispatch pauses, the requests that
 * come are held, and what the server commits stays idle. Either every queue gets
 * that far, or all goes on as if nothing had been.
 */
#include <linux/ktime.h>
#include <linux/minmax.h>

#include "slot.h"

/* For longer than this an unprivileged device must not hold requests. */
#define UBLK_MAX_HOLD_MS	30000

/* Later than any time; the sum with a time still fits into 64 bits. */
#define UBLK_FOREVER_MS		((u64)S64_MAX)

static u64 ublk_now_ms(void)
{
	return ktime_to_ms(ktime_get());
}

/* Is an idle command here that can ask the server to leave, or have all come back? */
static bool ublk_queue_can_notify(const struct ublk_queue *q)
{
	bool working = false;

	if (q->batch)
		return ublk_batch_has_idle_fetch(q);
	for (unsigned int tag = 0; tag < q->depth; tag++) {
		enum ublk_slot_state state = ublk_slot_state(&q->slots[tag]);

		if (state == UBLK_SLOT_ARMED)
			return true;
		working |= state != UBLK_SLOT_CANCELED;
	}
	return !working;
}

/* The gates are closed, so no idle command goes away. */
static bool ublk_session_can_notify(struct ublk_device *dev, const struct ublk_session *s)
{
	/* A dead one need not be asked. */
	if (READ_ONCE(s->state) >= UBLK_SESSION_DEAD)
		return true;
	for (unsigned int i = 0; i < dev->nr_queues; i++)
		if (!ublk_queue_can_notify(dev->queues[i]))
			return false;
	return true;
}

static int ublk_quiesce_wait(struct ublk_device *dev, const struct ublk_op *op,
			     const struct ublk_session *s)
{
	while (!READ_ONCE(op->abandoned)) {
		if (ublk_session_can_notify(dev, s))
			return 0;
		if (ublk_now_ms() >= op->arg || ublk_op_is_unwanted(dev, op))
			return -EBUSY;
		wait_event_idle_timeout(dev->wq, ublk_op_is_unwanted(dev, op),
					UBLK_POLL_JIFFIES);
	}
	return -EINTR;
}

static int ublk_dev_quiesce_op(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_session *s = ublk_dev_session(dev);
	int ret;

	if (!dev->disk)
		return -ENODEV;
	if (!s)
		return 0;
	if (dev->state != UBLK_S_DEV_LIVE || !ublk_session_is_open(s)) {
		ublk_session_stop(s);
		return 0;
	}

	/*
	 * The policy comes before the first request that meets a closed gate. Who
	 * saw it open has dispatched before the first look at what is idle.
	 */
	ublk_unserved_apply(dev, UBLK_UNSERVED_HOLD);
	ublk_session_pause(s);
	synchronize_rcu_expedited();

	ret = ublk_quiesce_wait(dev, op, s);
	if (ret) {
		ublk_session_resume(s);
		synchronize_rcu_expedited();
	} else {
		ublk_session_stop(s);
	}
	ublk_unserved_apply(dev, ublk_unserved_policy(dev));
	return ret;
}

/**
 * ublk_dev_quiesce - QUIESCE_DEV
 * @dev:	the device
 * @timeout_ms:	how long to wait for an idle command on every queue, in
 *		milliseconds; 0 for as long as it takes
 *
 * From then on the server may commit what it was given, but gets no more. New
 * requests are held or fail, as the recovery mode of the device has it. Once the
 * server closes ublkcN, the next one may come.
 *
 * Context: may sleep.
 * Return: 0, also if there is no server that would have to leave; -EOPNOTSUPP
 * without UBLK_F_QUIESCE; -ENODEV without a disk; -EBUSY at the timeout, or if
 * another op has to run meanwhile; -ENOMEM; nothing has changed then. -EINTR: the
 * caller was killed, the server may be leaving.
 */
int ublk_dev_quiesce(struct ublk_device *dev, u64 timeout_ms)
{
	u64 limit = ublk_dev_has(dev, UBLK_F_UNPRIVILEGED_DEV) ? UBLK_MAX_HOLD_MS :
								 UBLK_FOREVER_MS;
	struct ublk_op op = {
		.run = ublk_dev_quiesce_op,
		.arg = ublk_now_ms() + min(timeout_ms ?: limit, limit),
	};

	if (!ublk_dev_has(dev, UBLK_F_QUIESCE))
		return -EOPNOTSUPP;
	return ublk_op_call(dev, &op);
}
