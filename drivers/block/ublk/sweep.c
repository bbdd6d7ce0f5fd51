// SPDX-License-Identifier: GPL-2.0
/*
 * Taking requests and commands back from a server: because the device was
 * stopped, because the server is dead, or because it cannot die.
 *
 * Each slot is taken by itself, by the rules of slot.h, against whoever else may
 * want it. Nothing here waits for I/O, so any number of devices can lose their
 * servers at a time.
 */
#include <linux/blk-mq.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>

#include "io.h"

/* The caller has cancelled an armed slot, which has no command in batch mode. */
static void ublk_slot_abort_cmd(struct ublk_slot *slot)
{
	struct io_uring_cmd *cmd = slot->cmd;

	slot->cmd = NULL;
	if (cmd)
		ublk_cmd_abort(cmd);
}

/*
 * Settle the request of a slot that the caller has taken. Returns it, only to be
 * compared, if it has been dealt with; NULL if its last reference will see to that.
 */
static struct request *ublk_slot_give_up(struct ublk_queue *q, struct ublk_slot *slot,
					 enum ublk_end end)
{
	struct request *rq = slot->rq;

	slot->end = end;
	if (!ublk_slot_leave(q, slot, UBLK_SLOT_CANCELED, true))
		return NULL;
	ublk_slot_finish(q, slot);
	return rq;
}

/*
 * Hand back every command that waits for a request. In batch mode nothing will bring
 * the server the tags that are still in the FIFO, so their requests are taken back, too.
 */
static void ublk_queue_cancel_idle(struct ublk_queue *q)
{
	if (q->batch)
		ublk_batch_abort_idle(q);

	for (unsigned int tag = 0; tag < q->depth; tag++) {
		struct ublk_slot *slot = &q->slots[tag];

		if (ublk_slot_cancel(q, slot))
			ublk_slot_abort_cmd(slot);
		else if (q->batch && ublk_slot_take(q, slot, UBLK_SLOT_QUEUED))
			ublk_slot_give_up(q, slot, UBLK_END_UNDELIVERED);
	}
}

/*
 * Take slot, command and request away from the server. Returns what
 * ublk_slot_give_up() does; NULL also without a request, or if the slot is BUSY.
 */
static struct request *ublk_slot_sweep(struct ublk_queue *q, struct ublk_slot *slot)
{
	if (ublk_slot_cancel(q, slot)) {
		ublk_slot_abort_cmd(slot);
		return NULL;
	}
	if (ublk_slot_take(q, slot, UBLK_SLOT_QUEUED))
		return ublk_slot_give_up(q, slot, UBLK_END_UNDELIVERED);
	if (ublk_slot_take(q, slot, UBLK_SLOT_SERVER) ||
	    ublk_slot_take(q, slot, UBLK_SLOT_NEED_DATA))
		return ublk_slot_give_up(q, slot, UBLK_END_DELIVERED);
	return NULL;
}

/*
 * Nobody arms or claims a slot any more; one that is BUSY belongs to task work
 * that will see the death by itself.
 */
static void ublk_queue_sweep(struct ublk_queue *q)
{
	if (q->batch)
		ublk_batch_abort_idle(q);
	for (unsigned int tag = 0; tag < q->depth; tag++)
		ublk_slot_sweep(q, &q->slots[tag]);
}

/*
 * A request that waits for others has to be on its way before any command is handed
 * back: a server that is asked to leave may do so at once. Whoever is pushing, as task
 * work does, too, is in a read-side section.
 */
static void ublk_dev_push_waiting(struct ublk_device *dev)
{
	for (unsigned int i = 0; i < dev->nr_queues; i++)
		ublk_coalesce_flush(dev->queues[i]);
	synchronize_rcu_expedited();
}

/**
 * ublk_session_stop - take back the commands of a server that lives on
 * @s:	session of a device that gives it no more requests
 *
 * The server gets UBLK_IO_RES_ABORT for each command that waits for a request.
 *
 * Context: op, waits for grace periods.
 */
void ublk_session_stop(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	ublk_check(ublk_op_current(dev));
	if (!ublk_session_advance(s, UBLK_SESSION_STOPPING))
		return;
	synchronize_rcu_expedited();
	if (!ublk_dev_has(dev, UBLK_F_BATCH_IO))
		ublk_dev_push_waiting(dev);
	for (unsigned int i = 0; i < dev->nr_queues; i++) {
		ublk_queue_cancel_idle(dev->queues[i]);
		cond_resched();
	}
}

/**
 * ublk_session_sweep - take back what a dead server leaves behind
 * @s:	session past UBLK_SESSION_STOPPING
 *
 * Context: process; who saw the gates open is through. Does not wait.
 */
void ublk_session_sweep(struct ublk_session *s)
{
	for (unsigned int i = 0; i < s->dev->nr_queues; i++) {
		ublk_queue_sweep(s->dev->queues[i]);
		cond_resched();
	}
}

static void ublk_queue_reset(struct ublk_queue *q)
{
	if (q->batch)
		ublk_batch_reset(q);
	for (unsigned int tag = 0; tag < q->depth; tag++) {
		struct ublk_slot *slot = &q->slots[tag];

		if (slot->task)
			put_task_struct(slot->task);
		WRITE_ONCE(slot->task, NULL);
		slot->cmd = NULL;
		ublk_slot_reset(q, slot);
	}
}

/**
 * ublk_session_reset - empty the slots for the next server
 * @s:	session that is over: released and swept
 *
 * Context: op.
 */
void ublk_session_reset(struct ublk_session *s)
{
	ublk_check(ublk_op_current(s->dev));
	for (unsigned int i = 0; i < s->dev->nr_queues; i++) {
		ublk_queue_reset(s->dev->queues[i]);
		cond_resched();
	}
}

/*
 * Take back all that @task holds, or in batch mode, without one, everybody.
 * Returns whether @rq was part of it.
 */
static bool ublk_queue_sweep_task(struct ublk_queue *q, struct task_struct *task,
				  const struct request *rq)
{
	bool found = false;

	for (unsigned int tag = 0; tag < q->depth; tag++) {
		struct ublk_slot *slot = &q->slots[tag];

		if (READ_ONCE(slot->task) == task)
			found |= ublk_slot_sweep(q, slot) == rq;
	}
	return found;
}

/*
 * Batch mode: any task of the server may answer any tag, so what counts is the death
 * of the process. While several processes serve, one of them may still answer; an
 * unprivileged server cannot claim that, or its requests would never end.
 */
static bool ublk_timeout_batch(struct ublk_session *s, struct ublk_queue *q, int tag,
			       const struct request *rq)
{
	struct pid *server = READ_ONCE(s->io_tgid) ?: s->pid;
	struct ublk_slot *slot = &q->slots[tag];
	/* Before the kill: who is told to die gets until the next tick to do so. */
	bool dying = ublk_pid_is_dying(server);

	if (q->unprivileged)
		kill_pid(server, SIGKILL, 1);
	if (ublk_slot_state(slot) == UBLK_SLOT_QUEUED)
		ublk_batch_nudge(q);
	if (!dying || (READ_ONCE(s->shared) && !q->unprivileged))
		return false;
	return ublk_queue_sweep_task(q, NULL, rq);
}

static bool ublk_timeout_task(struct ublk_queue *q, int tag, const struct request *rq)
{
	struct task_struct *task = READ_ONCE(q->slots[tag].task);

	if (!task)
		return false;
	if (q->unprivileged)
		send_sig(SIGKILL, task, 1);
	return ublk_task_is_dying(task) && ublk_queue_sweep_task(q, task, rq);
}

/**
 * ublk_mq_timeout - a request has been with the server for a while
 * @rq:	the request
 *
 * A server may take as long as it likes, but it may also be unable to die: one
 * of its threads sleeps on this very device, or dumps core to it. Its files are
 * then never released, and this tick is what ends its requests. An unprivileged
 * server has no right to sit on a request for longer.
 *
 * Context: blk-mq's timer, which holds a reference to @rq.
 * Return: BLK_EH_DONE if @rq was ended.
 */
enum blk_eh_timer_return ublk_mq_timeout(struct request *rq)
{
	struct ublk_queue *q = rq->mq_hctx->driver_data;
	int tag = READ_ONCE(rq->tag);
	struct ublk_session *s;
	bool ended;

	guard(rcu)();
	s = rcu_dereference(q->dev->session);
	if (!s || READ_ONCE(s->state) >= UBLK_SESSION_RELEASED ||
	    tag < 0 || tag >= q->depth)
		return BLK_EH_RESET_TIMER;

	ended = q->batch ? ublk_timeout_batch(s, q, tag, rq) : ublk_timeout_task(q, tag, rq);
	return ended ? BLK_EH_DONE : BLK_EH_RESET_TIMER;
}
