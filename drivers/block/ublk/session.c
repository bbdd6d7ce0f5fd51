// SPDX-License-Identifier: GPL-2.0
/*
 * The server session: what is known of one server, how it becomes the device's
 * server, when its queues open for requests, and how far it is on its way out.
 */
#include <linux/capability.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "slot.h"
#include <trace/events/ublk.h>

/*
 * Gone: cannot do anything any more. Dying: was told to, will not answer, but can sleep
 * for long on its way.
 */

/**
 * ublk_pid_is_gone - is there no such process any more?
 * @pid:	the process; one that is dead but not reaped counts as gone
 *
 * Context: any.
 * Return: true if all of its threads are dead.
 */
bool ublk_pid_is_gone(struct pid *pid)
{
	struct task_struct *task;

	guard(rcu)();
	task = pid_task(pid, PIDTYPE_TGID);
	return !task || !atomic_read(&task->signal->live);
}

/**
 * ublk_pid_is_dying - is a process gone, or on its way out?
 * @pid:	the process
 *
 * Context: any.
 * Return: true if all of its threads are dead, or were told to die.
 */
bool ublk_pid_is_dying(struct pid *pid)
{
	struct task_struct *task;

	guard(rcu)();
	task = pid_task(pid, PIDTYPE_TGID);
	return !task || !atomic_read(&task->signal->live) ||
		(READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT);
}

/**
 * ublk_task_is_dying - is a thread gone, or on its way out?
 * @task:	the thread
 *
 * Context: any.
 * Return: true if it exits or dumps core, or if its process was told to die.
 */
bool ublk_task_is_dying(struct task_struct *task)
{
	return (READ_ONCE(task->flags) & (PF_EXITING | PF_POSTCOREDUMP)) ||
		(READ_ONCE(task->signal->flags) & SIGNAL_GROUP_EXIT);
}

static void ublk_session_free(struct kref *ref)
{
	struct ublk_session *s = container_of(ref, struct ublk_session, end_op.ref);

	if (s->mm)
		mmdrop(s->mm);
	put_pid(s->io_tgid);
	put_pid(s->pid);
	kvfree_rcu(s, rcu);
}

/**
 * ublk_session_alloc - a session for the current process
 * @dev:	the device
 *
 * The caller fills in the works and what @end_op runs.
 *
 * Return: the session, or NULL without memory.
 */
struct ublk_session *ublk_session_alloc(struct ublk_device *dev)
{
	struct ublk_session *s;

	s = kvzalloc(struct_size(s, fetched, dev->nr_queues), GFP_KERNEL_ACCOUNT);
	if (!s)
		return NULL;

	s->dev = dev;
	s->pid = get_pid(task_tgid(current));
	ublk_op_init(&s->end_op);
	s->end_op.free = ublk_session_free;
	s->end_op.must_run = true;
	return s;
}

/**
 * ublk_session_put - drop the reference that comes with ublk_session_alloc()
 * @s:	the session
 */
void ublk_session_put(struct ublk_session *s)
{
	kref_put(&s->end_op.ref, s->end_op.free);
}

/**
 * ublk_session_publish - make a session the server of its device
 * @s:	the session; a reference to the module and one to the device are taken for
 *	it, and dropped by ublk_session_retire()
 *
 * Context: process; does not sleep.
 * Return: 0; -EBUSY while there is another; -ENODEV after DEL_DEV.
 */
int ublk_session_publish(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	scoped_guard(spinlock, &dev->lock) {
		if (dev->deleted)
			return -ENODEV;
		if (ublk_dev_session(dev))
			return -EBUSY;
		s->gen = ++dev->gen;
		rcu_assign_pointer(dev->session, s);
	}
	__module_get(THIS_MODULE);
	get_device(&dev->dev);
	trace_ublk_session(dev->id, pid_nr(s->pid), s->gen, s->state);
	return 0;
}

/**
 * ublk_session_retire - make room for the next session
 * @s:	session that is over
 *
 * Context: op.
 */
void ublk_session_retire(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	ublk_check(ublk_op_current(dev));
	/* From here on the next server may open ublkcN, fetch, and open the gates. */
	scoped_guard(spinlock, &dev->lock)
		RCU_INIT_POINTER(dev->session, NULL);
	ublk_session_advance(s, UBLK_SESSION_ENDED);
	put_device(&dev->dev);
	module_put(THIS_MODULE);
}

static void ublk_gate_open(struct ublk_session *s, struct ublk_queue *q)
{
	lockdep_assert_held(&s->dev->lock);
	WRITE_ONCE(q->armed_word, ublk_word(UBLK_SLOT_ARMED, s->gen));
}

static void ublk_gates_close(struct ublk_device *dev)
{
	lockdep_assert_held(&dev->lock);
	for (unsigned int i = 0; i < dev->nr_queues; i++)
		WRITE_ONCE(dev->queues[i]->armed_word, UBLK_GATE_CLOSED);
}

/**
 * ublk_session_advance - move a session towards its end
 * @s:	the session
 * @to:	state to reach
 *
 * From UBLK_SESSION_STOPPING on, no slot is armed and no request dispatched by
 * anyone who enters an RCU read-side section after this returns.
 *
 * Context: takes device->lock and wakes who waits for the server.
 * Return: false if the session was there already.
 */
bool ublk_session_advance(struct ublk_session *s, enum ublk_session_state to)
{
	struct ublk_device *dev = s->dev;

	scoped_guard(spinlock, &dev->lock) {
		if (to <= s->state)
			return false;
		WRITE_ONCE(s->state, to);
		/* After ENDED the gates may be the next session's. */
		if (to != UBLK_SESSION_ENDED)
			ublk_gates_close(dev);
	}
	trace_ublk_session(dev->id, pid_nr(s->pid), s->gen, to);
	wake_up_all(&dev->wq);
	return true;
}

/**
 * ublk_session_pause - dispatch nothing to the server for a while
 * @s:	session of a live device
 *
 * Context: op.
 */
void ublk_session_pause(struct ublk_session *s)
{
	ublk_check(ublk_op_current(s->dev));
	guard(spinlock)(&s->dev->lock);
	ublk_gates_close(s->dev);
}

/**
 * ublk_session_resume - undo ublk_session_pause()
 * @s:	session all of whose tags have been fetched
 *
 * Context: op.
 */
void ublk_session_resume(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	ublk_check(ublk_op_current(dev));
	guard(spinlock)(&dev->lock);
	for (unsigned int i = 0; ublk_session_is_open(s) && i < dev->nr_queues; i++)
		ublk_gate_open(s, dev->queues[i]);
}

/**
 * ublk_session_fetch_slot - take a slot that nobody has fetched yet
 * @s:		the session
 * @q:		queue of the slot
 * @slot:	the slot
 * @taken:	slots that the command has taken before; they count as fetched
 *
 * Return: 0 if the slot is BUSY now; -ENODEV if the session takes no more requests;
 * -EBUSY if all slots are fetched; -EINVAL if this one is.
 */
int ublk_session_fetch_slot(struct ublk_session *s, struct ublk_queue *q,
			    struct ublk_slot *slot, unsigned int taken)
{
	if (!ublk_session_is_open(s))
		return -ENODEV;
	if (atomic_read(&s->nr_fetched) + taken == s->dev->nr_queues * q->depth)
		return -EBUSY;
	return ublk_slot_fetch(q, slot, s->gen) ? 0 : -EINVAL;
}

/**
 * ublk_session_count_fetches - slots have left UBLK_SLOT_EMPTY for good
 * @s:	the session
 * @q:	queue of the slots
 * @nr:	number of slots
 *
 * The last tag of a queue opens the queue for requests, the last queue lets
 * START_DEV go on.
 *
 * Context: takes device->lock and wakes who waits for the server.
 */
void ublk_session_count_fetches(struct ublk_session *s, struct ublk_queue *q, int nr)
{
	struct ublk_device *dev = s->dev;

	atomic_add(nr, &s->nr_fetched);
	if (atomic_add_return(nr, &s->fetched[q->q_id]) != q->depth)
		return;

	scoped_guard(spinlock, &dev->lock) {
		if (ublk_session_is_open(s))
			ublk_gate_open(s, q);
		s->nr_ready++;
	}
	wake_up_all(&dev->wq);
}

/**
 * ublk_session_note_process - remember whose death is the server's
 * @s:	session that the current process takes part in
 */
void ublk_session_note_process(struct ublk_session *s)
{
	struct pid *tgid = task_tgid(current);
	struct pid *first = READ_ONCE(s->io_tgid);

	if (!first)
		first = cmpxchg(&s->io_tgid, NULL, tgid);
	if (!first)
		get_pid(tgid);
	else if (first != tgid && !READ_ONCE(s->shared))
		WRITE_ONCE(s->shared, true);
}

/**
 * ublk_session_note_user - remember if a task without CAP_SYS_ADMIN serves
 * @s:	session that the current task offers tags to
 */
void ublk_session_note_user(struct ublk_session *s)
{
	if (!READ_ONCE(s->user_serves) && !capable(CAP_SYS_ADMIN))
		WRITE_ONCE(s->user_serves, true);
}
