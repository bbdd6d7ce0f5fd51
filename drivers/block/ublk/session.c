// SPDX-License-Identifier: GPL-2.0
/*
 * One open of ublkcN is one server: how it comes, how it maps the descriptors,
 * and the two ways in which it goes.
 *
 * Its file may be released: then no command of it is left. Before that its
 * process may be known to be dead, because the last thread closes its files; the
 * release can be a long way off then, behind an unmount that waits for this very
 * disk. In both cases the gates are closed, a grace period lets those through
 * who saw them open, and a sweep ends what the server owned. Neither of them
 * waits for I/O. What has to wait, the removal of the disk, is an op.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "slot.h"

static void ublk_session_free(struct kref *ref)
{
	struct ublk_session *s = container_of(ref, struct ublk_session, end_op.ref);

	if (s->mm)
		mmdrop(s->mm);
	put_pid(s->io_tgid);
	put_pid(s->pid);
	kvfree_rcu(s, rcu);
}

static void ublk_session_sweep(struct ublk_session *s)
{
	for (unsigned int i = 0; i < s->dev->nr_queues; i++)
		ublk_queue_sweep(s->dev->queues[i]);
}

static void ublk_session_dead_work(struct work_struct *work)
{
	struct ublk_session *s = container_of(to_rcu_work(work),
					      struct ublk_session, dead_work);

	ublk_session_sweep(s);
}

static void ublk_session_release_work(struct work_struct *work)
{
	struct ublk_session *s = container_of(to_rcu_work(work),
					      struct ublk_session, release_work);

	ublk_session_sweep(s);
	ublk_op_post(s->dev, &s->end_op);
}

/*
 * The last step of a session: without recovery the disk goes with its server.
 */
static int ublk_session_end_op(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_session *s = container_of(op, struct ublk_session, end_op);

	flush_rcu_work(&s->dead_work);
	ublk_disk_remove(dev, false);
	for (unsigned int i = 0; i < dev->nr_queues; i++)
		ublk_queue_reset(dev->queues[i]);

	scoped_guard(spinlock, &dev->lock)
		RCU_INIT_POINTER(dev->session, NULL);
	ublk_session_advance(s, UBLK_SESSION_ENDED);
	put_device(&dev->dev);
	module_put(THIS_MODULE);
	return 0;
}

static struct ublk_session *ublk_session_alloc(struct ublk_device *dev)
{
	struct ublk_session *s;

	s = kvzalloc(struct_size(s, fetched, dev->nr_queues), GFP_KERNEL_ACCOUNT);
	if (!s)
		return NULL;

	s->dev = dev;
	s->pid = get_pid(task_tgid(current));
	INIT_RCU_WORK(&s->dead_work, ublk_session_dead_work);
	INIT_RCU_WORK(&s->release_work, ublk_session_release_work);
	ublk_op_init(&s->end_op);
	s->end_op.run = ublk_session_end_op;
	s->end_op.free = ublk_session_free;
	s->end_op.must_run = true;
	return s;
}

static int ublk_session_publish(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	guard(spinlock)(&dev->lock);
	if (dev->deleted)
		return -ENODEV;
	if (ublk_dev_session(dev))
		return -EBUSY;
	s->gen = ++dev->gen;
	rcu_assign_pointer(dev->session, s);
	return 0;
}

/**
 * ublk_ch_open - a server attaches
 * @inode:	of ublkcN
 * @file:	the open file
 *
 * Return: 0, -EBUSY while another server is attached or its end is not through,
 * -ENODEV after DEL_DEV, -ENOMEM.
 */
int ublk_ch_open(struct inode *inode, struct file *file)
{
	struct ublk_device *dev = container_of(inode->i_cdev, struct ublk_device, cdev);
	struct ublk_session *s;
	int ret;

	s = ublk_session_alloc(dev);
	if (!s)
		return -ENOMEM;

	ret = ublk_session_publish(s);
	if (ret) {
		ublk_session_free(&s->end_op.ref);
		return ret;
	}

	/* Both are dropped at the end of the session, after the file's own. */
	__module_get(THIS_MODULE);
	get_device(&dev->dev);
	file->private_data = s;
	trace_ublk_session(dev->id, pid_nr(s->pid), s->gen, s->state);
	return 0;
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
 * Return: false if the session was there already.
 */
bool ublk_session_advance(struct ublk_session *s, enum ublk_session_state to)
{
	struct ublk_device *dev = s->dev;

	scoped_guard(spinlock, &dev->lock) {
		if (to <= s->state)
			return false;
		WRITE_ONCE(s->state, to);
		if (to != UBLK_SESSION_ENDED)
			ublk_gates_close(dev);
	}
	trace_ublk_session(dev->id, pid_nr(s->pid), s->gen, to);
	wake_up_all(&dev->wq);
	return true;
}

/**
 * ublk_session_stop - take back the commands of a server that lives on
 * @s:	session of a device whose disk is gone
 *
 * The server gets UBLK_IO_RES_ABORT for each command that waits for a request.
 *
 * Context: op, waits for a grace period.
 */
void ublk_session_stop(struct ublk_session *s)
{
	struct ublk_device *dev = s->dev;

	if (!ublk_session_advance(s, UBLK_SESSION_STOPPING))
		return;
	synchronize_rcu_expedited();
	for (unsigned int i = 0; i < dev->nr_queues; i++)
		ublk_queue_cancel_idle(dev->queues[i]);
}

/**
 * ublk_session_count_fetch - a slot has left UBLK_SLOT_EMPTY
 * @s:	the session
 * @q:	queue of the slot
 *
 * The last tag of a queue opens the queue for requests, the last queue lets
 * START_DEV go on.
 */
void ublk_session_count_fetch(struct ublk_session *s, struct ublk_queue *q)
{
	struct ublk_device *dev = s->dev;

	atomic_inc(&s->nr_fetched);
	if (atomic_inc_return(&s->fetched[q->q_id]) != q->depth)
		return;

	scoped_guard(spinlock, &dev->lock) {
		if (ublk_session_may_arm(s))
			WRITE_ONCE(q->armed_word, ublk_word(UBLK_SLOT_ARMED, s->gen));
		s->nr_ready++;
	}
	wake_up_all(&dev->wq);
}

/*
 * Is this the last thread of the one process that serves the device? Then what
 * that process owns will not be answered, whoever else has the file open.
 */
static bool ublk_server_dies(const struct ublk_session *s)
{
	return (current->flags & PF_EXITING) &&
		!atomic_read(&current->signal->live) &&
		READ_ONCE(s->io_tgid) == task_tgid(current) &&
		!READ_ONCE(s->shared);
}

/**
 * ublk_ch_flush - a descriptor of ublkcN is closed
 * @file:	the open file
 * @id:		who closes it
 *
 * Return: 0
 */
int ublk_ch_flush(struct file *file, fl_owner_t id)
{
	struct ublk_session *s = file->private_data;

	if (ublk_server_dies(s) && ublk_session_advance(s, UBLK_SESSION_DEAD))
		queue_rcu_work(ublk_sweep_wq, &s->dead_work);
	return 0;
}

/**
 * ublk_ch_release - the last reference to ublkcN is gone
 * @inode:	of ublkcN
 * @file:	the file
 *
 * Return: 0
 */
int ublk_ch_release(struct inode *inode, struct file *file)
{
	struct ublk_session *s = file->private_data;

	ublk_session_advance(s, UBLK_SESSION_RELEASED);
	queue_rcu_work(ublk_sweep_wq, &s->release_work);
	return 0;
}

/* The first task to map the descriptors decides whose memory they belong in. */
static bool ublk_session_claim_mm(struct ublk_session *s, struct mm_struct *mm)
{
	struct mm_struct *first = cmpxchg(&s->mm, NULL, mm);

	if (!first)
		mmgrab(mm);
	return !first || first == mm;
}

/* Bytes of a queue's descriptors, as they are mapped. */
static size_t ublk_queue_map_size(const struct ublk_queue *q)
{
	return PAGE_ALIGN((size_t)q->depth * q->stride);
}

static int ublk_queue_map(struct ublk_queue *q, struct vm_area_struct *vma)
{
	size_t size = ublk_queue_map_size(q);
	int ret;

	for (size_t at = 0; at < size; at += PAGE_SIZE) {
		ret = vm_insert_page(vma, vma->vm_start + at,
				     vmalloc_to_page(q->descs + at));
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * ublk_ch_mmap - map the descriptors of one queue
 * @file:	ublkcN
 * @vma:	the offset chooses the queue; each has room for as many tags as a
 *		queue may ever have
 *
 * The mapping can be read and stays so: what a server could write here, the
 * driver would have to distrust.
 *
 * Return: 0; -EINVAL for another process than the first to map, for an offset
 * beyond the last queue, or for any other length than the queue's; -EPERM for a
 * writable mapping; -ENOMEM.
 */
int ublk_ch_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ublk_session *s = file->private_data;
	struct ublk_device *dev = s->dev;
	size_t slot_size = PAGE_ALIGN(UBLK_MAX_QUEUE_DEPTH * dev->queues[0]->stride);
	u64 q_id = div_u64((u64)vma->vm_pgoff << PAGE_SHIFT, slot_size);
	struct ublk_queue *q;

	if (!ublk_session_claim_mm(s, current->mm))
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (q_id >= dev->nr_queues)
		return -EINVAL;

	q = dev->queues[q_id];
	if (vma->vm_end - vma->vm_start != ublk_queue_map_size(q))
		return -EINVAL;

	vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYWRITE);
	return ublk_queue_map(q, vma);
}
