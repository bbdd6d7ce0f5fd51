// SPDX-License-Identifier: GPL-2.0
/*
 * ublkcN, the server's side of a device: how a server comes, maps the
 * descriptors, and the two ways in which it goes.
 *
 * Its file may be released: then no command of it is left. Before that its
 * process may be known to be dead, because the last thread closes its files; the
 * release can be a long way off then, behind an unmount that waits for this very
 * disk. In both cases the gates are closed, a grace period lets those through
 * who saw them open, if there can be any, and a sweep ends what the server owned.
 * Neither of them waits for I/O. What has to wait, the removal of the disk, is an op.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

#include "ublk.h"

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

/* The last step of a session: the disk goes with its server, or waits. */
static int ublk_session_end_op(struct ublk_device *dev, struct ublk_op *op)
{
	struct ublk_session *s = container_of(op, struct ublk_session, end_op);

	flush_rcu_work(&s->dead_work);
	if (!ublk_server_lost(dev))
		ublk_disk_remove(dev, false);
	ublk_session_reset(s);
	ublk_session_retire(s);
	return 0;
}

/**
 * ublk_ch_open - a server attaches
 * @inode:	of ublkcN
 * @file:	the open file
 *
 * Return: 0, -EBUSY while another server is attached or the last is not wound up yet,
 * -ENODEV after DEL_DEV, -ENOMEM.
 */
static int ublk_ch_open(struct inode *inode, struct file *file)
{
	struct ublk_device *dev = container_of(inode->i_cdev, struct ublk_device, cdev);
	struct ublk_session *s;
	int ret;

	s = ublk_session_alloc(dev);
	if (!s)
		return -ENOMEM;
	INIT_RCU_WORK(&s->dead_work, ublk_session_dead_work);
	INIT_RCU_WORK(&s->release_work, ublk_session_release_work);
	s->end_op.run = ublk_session_end_op;

	ret = ublk_session_publish(s);
	if (ret) {
		ublk_session_put(s);
		return ret;
	}
	file->private_data = s;
	/* ublk_ch_rw() honours IOCB_NOWAIT. */
	file->f_mode |= FMODE_NOWAIT;
	return 0;
}

/*
 * Can there be a request that saw a gate of this session open? A DEAD device has none
 * left, and START_DEV refuses a session that has to go.
 */
static bool ublk_session_may_owe(struct ublk_session *s)
{
	guard(spinlock)(&s->dev->lock);
	return s->dev->state != UBLK_S_DEV_DEAD;
}

/* Sweep when those who saw the gates open are through. */
static void ublk_session_queue_sweep(struct ublk_session *s, struct rcu_work *sweep)
{
	if (ublk_session_may_owe(s))
		queue_rcu_work(ublk_sweep_wq, sweep);
	else
		queue_work(ublk_sweep_wq, &sweep->work);
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
static int ublk_ch_flush(struct file *file, fl_owner_t id)
{
	struct ublk_session *s = file->private_data;

	if (ublk_server_dies(s) && ublk_session_advance(s, UBLK_SESSION_DEAD))
		ublk_session_queue_sweep(s, &s->dead_work);
	return 0;
}

/**
 * ublk_ch_release - the last reference to ublkcN is gone
 * @inode:	of ublkcN
 * @file:	the file
 *
 * Return: 0
 */
static int ublk_ch_release(struct inode *inode, struct file *file)
{
	struct ublk_session *s = file->private_data;

	ublk_session_advance(s, UBLK_SESSION_RELEASED);
	ublk_session_queue_sweep(s, &s->release_work);
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

/*
 * By page frame number: what madvise() would take out of a mapping of pages, nobody
 * could bring back. The mapping holds the file, and so the pages.
 */
static int ublk_queue_map(struct ublk_queue *q, struct vm_area_struct *vma)
{
	size_t size = ublk_queue_map_size(q);
	int ret;

	for (size_t at = 0; at < size; at += PAGE_SIZE) {
		ret = remap_pfn_range(vma, vma->vm_start + at,
				      vmalloc_to_pfn(q->descs + at), PAGE_SIZE,
				      vma->vm_page_prot);
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
 * Read-only for good: the driver would have to distrust what a server could write
 * here.
 *
 * Return: 0; -EINVAL for another process than the first to map, for an offset
 * beyond the last queue, or for any other length than the queue's; -EPERM for a
 * writable mapping; -ENOMEM.
 */
static int ublk_ch_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ublk_session *s = file->private_data;
	struct ublk_device *dev = s->dev;
	size_t queue_span = PAGE_ALIGN(UBLK_MAX_QUEUE_DEPTH * dev->queues[0]->stride);
	unsigned long q_id = vma->vm_pgoff / (queue_span >> PAGE_SHIFT);
	struct ublk_queue *q;

	if (!ublk_session_claim_mm(s, current->mm))
		return -EINVAL;
	if (vma->vm_flags & VM_WRITE)
		return -EPERM;
	if (q_id >= dev->nr_queues)
		return -EINVAL;

	q = dev->queues[array_index_nospec(q_id, dev->nr_queues)];
	if (vma->vm_end - vma->vm_start != ublk_queue_map_size(q))
		return -EINVAL;

	vm_flags_clear(vma, VM_MAYWRITE);
	return ublk_queue_map(q, vma);
}

#define UBLK_CH_FOPS(run)				\
	.owner		= THIS_MODULE,			\
	.open		= ublk_ch_open,			\
	.flush		= ublk_ch_flush,		\
	.release	= ublk_ch_release,		\
	.mmap		= ublk_ch_mmap,			\
	.read_iter	= ublk_ch_rw,			\
	.write_iter	= ublk_ch_rw,			\
	.uring_cmd	= run

const struct file_operations ublk_ch_fops = { UBLK_CH_FOPS(ublk_ch_uring_cmd) };
const struct file_operations ublk_batch_fops = { UBLK_CH_FOPS(ublk_batch_uring_cmd) };
