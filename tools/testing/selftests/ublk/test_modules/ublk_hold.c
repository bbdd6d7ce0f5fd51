// SPDX-License-Identifier: GPL-2.0
/*
 * Holds the ublk driver where a test wants it, so that the test can do what might happen
 * meanwhile: the driver's trace events are the places, and no code of the driver's is
 * needed for it. /dev/ublk-hold is for the test, see ublk_hold.h.
 *
 * Who is held spins, as most events come where nothing may sleep. Where the kernel may be
 * preempted, others use the CPU meanwhile.
 */
#include <linux/completion.h>
#include <linux/fs.h>
#include <linux/kernel.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/tracepoint.h>
#include <linux/uaccess.h>

#include <trace/events/block.h>
#include <trace/events/ublk.h>

#include "ublk_hold.h"

/* Points that tests can have at a time. */
#define HOLD_POINTS	8

enum hold_state {
	HOLD_UNUSED,
	HOLD_IDLE,		/* a file, without a point */
	HOLD_ARMED,
	HOLD_REACHED,		/* somebody is held, or a watch has seen one */
	HOLD_EXPIRED,		/* somebody was, for too long */
};

/**
 * struct hold - one point
 * @lock:	protects all of it; any context
 * @state:	enum hold_state
 * @round:	how many times it was armed: who is held knows by it that it is over
 * @point:	where
 * @reached:	completed then
 */
struct hold {
	raw_spinlock_t		lock;
	u8			state;
	u32			round;
	struct ublk_hold_point	point;
	struct completion	reached;
};

static struct hold holds[HOLD_POINTS];

static bool hold_accepts(u32 want, u32 is)
{
	return want == UBLK_HOLD_ANY || want == is;
}

static bool hold_matches(const struct hold *h, const struct ublk_hold_point *here)
{
	const struct ublk_hold_point *p = &h->point;

	return h->state == HOLD_ARMED && p->event == here->event &&
		hold_accepts(p->dev_id, here->dev_id) && hold_accepts(p->tag, here->tag) &&
		hold_accepts(p->from, here->from) && hold_accepts(p->to, here->to);
}

/* Returns whether the caller is to be held, and in which round. */
static bool hold_reach(struct hold *h, const struct ublk_hold_point *here, u32 *round)
{
	bool watch;

	scoped_guard(raw_spinlock_irqsave, &h->lock) {
		if (!hold_matches(h, here))
			return false;
		if (h->point.skip) {
			h->point.skip--;
			return false;
		}
		h->state = HOLD_REACHED;
		*round = h->round;
		watch = h->point.watch;
	}
	complete_all(&h->reached);
	return !watch;
}

static bool hold_is_over(struct hold *h, u32 round, bool late)
{
	guard(raw_spinlock_irqsave)(&h->lock);
	if (h->round != round || h->state != HOLD_REACHED)
		return true;
	if (late)
		h->state = HOLD_EXPIRED;
	return late;
}

static void hold_spin(struct hold *h, u32 round)
{
	u64 end = ktime_get_mono_fast_ns() + (u64)UBLK_HOLD_MAX_MS * NSEC_PER_MSEC;

	while (!hold_is_over(h, round, ktime_get_mono_fast_ns() > end)) {
		if (preemptible() && !rcu_preempt_depth())
			cond_resched();
		cpu_relax();
	}
}

static void hold_here(const struct ublk_hold_point *here)
{
	u32 round;

	for (struct hold *h = holds; h < holds + HOLD_POINTS; h++)
		if (hold_reach(h, here, &round))
			hold_spin(h, round);
}

/*
 * The events.
 */

static void hold_slot(void *data, u32 dev_id, u16 q_id, u16 tag, u8 from, u8 to)
{
	hold_here(&(struct ublk_hold_point) {
		.event = UBLK_HOLD_SLOT, .dev_id = dev_id, .tag = tag, .from = from, .to = to,
	});
}

static void hold_session(void *data, u32 dev_id, pid_t server, u8 gen, u8 state)
{
	hold_here(&(struct ublk_hold_point) {
		.event = UBLK_HOLD_SESSION, .dev_id = dev_id, .to = state,
	});
}

static void hold_dispose(void *data, u32 dev_id, u16 q_id, u16 tag, u8 op, u64 sector,
			 u32 bytes, bool delivered, bool again)
{
	hold_here(&(struct ublk_hold_point) {
		.event = UBLK_HOLD_DISPOSE, .dev_id = dev_id, .tag = tag, .to = again,
	});
}

/* A disk may have a number that only looks like ours, so its name has to be it. */
static void hold_requeue(void *data, struct request *rq)
{
	struct gendisk *disk = rq->q->disk;
	unsigned int dev_id;
	char end;

	if (!disk || sscanf(disk->disk_name, "ublkb%u%c", &dev_id, &end) != 1)
		return;
	hold_here(&(struct ublk_hold_point) {
		.event = UBLK_HOLD_REQUEUE, .dev_id = dev_id, .tag = rq->tag,
	});
}

static const struct hold_probe {
	const char	*event;
	void		*fn;
} hold_probes[] = {
	{ "ublk_slot", hold_slot },
	{ "ublk_session", hold_session },
	{ "ublk_dispose", hold_dispose },
	{ "block_rq_requeue", hold_requeue },
};

/* That the probes fit the events, the compiler can only see here. */
static void __maybe_unused hold_check_probes(void)
{
	check_trace_callback_type_ublk_slot(hold_slot);
	check_trace_callback_type_ublk_session(hold_session);
	check_trace_callback_type_ublk_dispose(hold_dispose);
	check_trace_callback_type_block_rq_requeue(hold_requeue);
}

static void hold_attach(struct tracepoint *tp, bool attach)
{
	for (int i = 0; i < ARRAY_SIZE(hold_probes); i++) {
		if (strcmp(tp->name, hold_probes[i].event))
			continue;
		if (attach)
			WARN_ON(tracepoint_probe_register(tp, hold_probes[i].fn, NULL));
		else
			tracepoint_probe_unregister(tp, hold_probes[i].fn, NULL);
	}
}

/* Those of the kernel itself: of the block layer, and of a driver that is built in. */
static void hold_attach_builtin(struct tracepoint *tp, void *attach)
{
	hold_attach(tp, attach);
}

/* Called for what is there already, too, and for each at the end. */
static int hold_module_event(struct notifier_block *nb, unsigned long event, void *data)
{
	const struct tp_module *tp_mod = data;
	const struct module *mod = tp_mod->mod;

	for (unsigned int i = 0; i < mod->num_tracepoints; i++)
		hold_attach(tracepoint_ptr_deref(&mod->tracepoints_ptrs[i]),
			    event == MODULE_STATE_COMING);
	return NOTIFY_OK;
}

static struct notifier_block hold_module_nb = {
	.notifier_call = hold_module_event,
};

/*
 * The file.
 */

static int hold_open(struct inode *inode, struct file *file)
{
	for (struct hold *h = holds; h < holds + HOLD_POINTS; h++) {
		guard(raw_spinlock_irqsave)(&h->lock);
		if (h->state != HOLD_UNUSED)
			continue;
		h->state = HOLD_IDLE;
		file->private_data = h;
		return nonseekable_open(inode, file);
	}
	return -EBUSY;
}

/* Returns the state up to now. */
static enum hold_state hold_set(struct hold *h, enum hold_state to)
{
	enum hold_state was;

	guard(raw_spinlock_irqsave)(&h->lock);
	was = h->state;
	h->state = to;
	return was;
}

static int hold_arm(struct hold *h, const void __user *arg)
{
	struct ublk_hold_point point;

	if (copy_from_user(&point, arg, sizeof(point)))
		return -EFAULT;
	hold_set(h, HOLD_IDLE);
	reinit_completion(&h->reached);
	guard(raw_spinlock_irqsave)(&h->lock);
	h->point = point;
	h->round++;
	h->state = HOLD_ARMED;
	return 0;
}

static int hold_wait(struct hold *h, unsigned long ms)
{
	long left;

	left = wait_for_completion_interruptible_timeout(&h->reached, msecs_to_jiffies(ms));
	if (left < 0)
		return left;
	return left || completion_done(&h->reached) ? 0 : -ETIME;
}

static int hold_release_point(struct hold *h)
{
	switch (hold_set(h, HOLD_IDLE)) {
	case HOLD_REACHED:
		return 0;
	case HOLD_EXPIRED:
		return -ETIME;
	default:
		return -ENOENT;
	}
}

static long hold_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct hold *h = file->private_data;

	switch (cmd) {
	case UBLK_HOLD_ARM:
		return hold_arm(h, (const void __user *)arg);
	case UBLK_HOLD_WAIT:
		return hold_wait(h, arg);
	case UBLK_HOLD_RELEASE:
		return hold_release_point(h);
	default:
		return -ENOTTY;
	}
}

static int hold_close(struct inode *inode, struct file *file)
{
	hold_set(file->private_data, HOLD_UNUSED);
	return 0;
}

static const struct file_operations hold_fops = {
	.owner		= THIS_MODULE,
	.open		= hold_open,
	.release	= hold_close,
	.unlocked_ioctl	= hold_ioctl,
};

static struct miscdevice hold_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ublk-hold",
	.mode	= 0600,
	.fops	= &hold_fops,
};

/* Files keep the module, so nobody is held when it goes. */
static void hold_detach_all(void)
{
	unregister_tracepoint_module_notifier(&hold_module_nb);
	for_each_kernel_tracepoint(hold_attach_builtin, NULL);
	tracepoint_synchronize_unregister();
}

static int __init hold_init(void)
{
	int ret;

	for (struct hold *h = holds; h < holds + HOLD_POINTS; h++) {
		raw_spin_lock_init(&h->lock);
		init_completion(&h->reached);
	}
	for_each_kernel_tracepoint(hold_attach_builtin, holds);
	ret = register_tracepoint_module_notifier(&hold_module_nb);
	if (!ret)
		ret = misc_register(&hold_misc);
	if (ret)
		hold_detach_all();
	return ret;
}

static void __exit hold_exit(void)
{
	misc_deregister(&hold_misc);
	hold_detach_all();
}

module_init(hold_init);
module_exit(hold_exit);

MODULE_DESCRIPTION("Holds the ublk driver at points that tests name");
MODULE_LICENSE("GPL");
