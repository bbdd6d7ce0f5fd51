// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that clients share with the server: a request whose data lies in it is
 * not copied, the server is told the place.
 *
 * REG_BUF pins the pages, so that from then on a page frame number names this
 * memory and nothing else. That is all the pins are for: the driver never touches
 * the pages, a request holds those that it needs by itself, and the server has a
 * mapping of its own.
 *
 * Submitters look up the data of each request under RCU. The tree holds runs: pages
 * that are consecutive both in memory and in the buffer. Each queue remembers the run
 * that it found last. A lookup beside a change of the tree may miss a run, and the
 * data is copied; what it finds is right. Removing a run needs no memory, so it cannot
 * fail.
 *
 * A buffer is live once all its runs are in the tree. UNREG_BUF makes it dead, waits
 * for a grace period, and then until the server has answered every request that it was
 * told to find there, so that memory unmapped afterwards is not met again. This wait
 * holds neither lock nor request and can be interrupted. Requests that are held for a
 * server have no place yet: they are looked up when they are dispatched.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/xarray.h>

#include "slot.h"

#define UBLK_SHMEM_MAX_BUFS	65536
#define UBLK_SHMEM_MAX_BYTES	SZ_4G

/* Pages to pin at a time: interrupts are off for as long as that takes. */
#define UBLK_SHMEM_PIN_PAGES	512

/* In the place of a buffer that is gone, while its index must not be used. */
#define UBLK_SHMEM_PARKED	xa_mk_value(0)

/**
 * struct ublk_shmem_run - pages that follow each other
 * @node:	in ublk_shmem::runs
 * @first:	page frame number of the first
 * @last:	of the last
 * @page:	number of the first in the buffer
 * @buf:	the buffer
 */
struct ublk_shmem_run {
	struct rb_node		node;
	unsigned long		first;
	unsigned long		last;
	unsigned long		page;
	struct ublk_shmem_buf	*buf;
};

/**
 * struct ublk_shmem_buf - what one REG_BUF has registered
 * @live:	requests may be told about it
 * @read_only:	the server cannot write to it
 * @index:	its number
 * @user:	who is charged for the pages, with a reference; NULL for nobody
 * @nr_pages:	pages
 * @rcu:	submitters may look at a buffer that is gone
 * @nr_runs:	number of @runs
 * @runs:	where the pages are
 */
struct ublk_shmem_buf {
	bool			live;
	bool			read_only;
	u32			index;
	struct user_struct	*user;
	unsigned long		nr_pages;
	struct rcu_head		rcu;
	unsigned long		nr_runs;
	struct ublk_shmem_run	runs[] __counted_by(nr_runs);
};

/**
 * struct ublk_shmem - the buffers of a device
 * @runs:	runs of all buffers, by page frame number; for RCU readers
 * @lock:	of the commands
 * @bufs:	buffers by index, or UBLK_SHMEM_PARKED
 */
struct ublk_shmem {
	struct rb_root		runs;
	/* Held by who changes this; not across a fault or a wait for I/O. */
	struct mutex		lock;
	struct xarray		bufs;
};

/**
 * ublk_shmem_alloc - prepare a device for UBLK_F_SHMEM_ZC
 *
 * Return: no buffers yet, or NULL without memory.
 */
struct ublk_shmem *ublk_shmem_alloc(void)
{
	struct ublk_shmem *sh = kzalloc_obj(*sh, GFP_KERNEL_ACCOUNT);

	if (!sh)
		return NULL;
	sh->runs = RB_ROOT;
	mutex_init(&sh->lock);
	xa_init_flags(&sh->bufs, XA_FLAGS_ALLOC);
	return sh;
}

/*
 * Pinned pages stay when the process that had them pinned has gone, so they are
 * charged to the user: else a limit for each process would be none.
 */
static int ublk_shmem_charge(unsigned long nr_pages, struct user_struct **payer)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = current_user();
	long charged = atomic_long_read(&user->locked_vm);

	*payer = NULL;
	if (capable(CAP_IPC_LOCK))
		return 0;
	do {
		if (charged + nr_pages > limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &charged,
					  charged + nr_pages));
	*payer = get_uid(user);
	return 0;
}

static void ublk_shmem_uncharge(unsigned long nr_pages, struct user_struct *payer)
{
	if (!payer)
		return;
	atomic_long_sub(nr_pages, &payer->locked_vm);
	free_uid(payer);
}

/* Writable memory has to be so for the caller, and must not be copied on write. */
static int ublk_shmem_pin(const struct ublk_shmem_buf_reg *reg, struct page **pages,
			  unsigned long nr_pages)
{
	unsigned int flags = FOLL_LONGTERM;
	unsigned long done = 0;
	int got;

	if (!(reg->flags & UBLK_SHMEM_BUF_READ_ONLY))
		flags |= FOLL_WRITE;
	do {
		got = pin_user_pages_fast(reg->addr + done * PAGE_SIZE,
					  min(nr_pages - done, UBLK_SHMEM_PIN_PAGES),
					  flags, pages + done);
		if (got <= 0)
			break;
		done += got;
		cond_resched();
	} while (done < nr_pages);

	if (done == nr_pages)
		return 0;
	unpin_user_pages(pages, done);
	return done || !got ? -EFAULT : got;
}

/* Does page @i go on where the one before it ends? */
static bool ublk_page_follows(struct page **pages, unsigned long i)
{
	return i && pages[i] == pages[i - 1] + 1 &&
		page_to_pfn(pages[i]) == page_to_pfn(pages[i - 1]) + 1;
}

static struct ublk_shmem_buf *ublk_shmem_buf_describe(struct page **pages,
						      unsigned long nr_pages)
{
	struct ublk_shmem_buf *buf;
	struct ublk_shmem_run *run;
	unsigned long nr_runs = 0;

	for (unsigned long i = 0; i < nr_pages; i++)
		nr_runs += !ublk_page_follows(pages, i);

	buf = kvzalloc_flex(*buf, runs, nr_runs, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!buf)
		return NULL;
	buf->nr_runs = nr_runs;
	buf->nr_pages = nr_pages;

	run = buf->runs;
	for (unsigned long i = 0; i < nr_pages; i++) {
		unsigned long pfn = page_to_pfn(pages[i]);

		if (i && !ublk_page_follows(pages, i))
			run++;
		if (!run->buf)
			*run = (struct ublk_shmem_run) {
				.first = pfn, .page = i, .buf = buf,
			};
		run->last = pfn;
	}
	return buf;
}

static struct ublk_shmem_buf *ublk_shmem_buf_alloc(const struct ublk_shmem_buf_reg *reg)
{
	unsigned long nr_pages = reg->len >> PAGE_SHIFT;
	struct ublk_shmem_buf *buf;
	struct page **pages;
	int ret;

	pages = kvmalloc_array(nr_pages, sizeof(*pages),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pages)
		return ERR_PTR(-ENOMEM);
	ret = ublk_shmem_pin(reg, pages, nr_pages);
	if (ret) {
		buf = ERR_PTR(ret);
	} else {
		buf = ublk_shmem_buf_describe(pages, nr_pages);
		if (!buf) {
			unpin_user_pages(pages, nr_pages);
			buf = ERR_PTR(-ENOMEM);
		}
	}
	kvfree(pages);
	return buf;
}

/* Nobody finds the buffer any more, but who found it may still look at it. */
static void ublk_shmem_buf_free(struct ublk_shmem_buf *buf)
{
	for (unsigned long i = 0; i < buf->nr_runs; i++) {
		struct ublk_shmem_run *run = &buf->runs[i];

		unpin_user_page_range_dirty_lock(pfn_to_page(run->first),
						 run->last - run->first + 1, false);
		cond_resched();
	}
	ublk_shmem_uncharge(buf->nr_pages, buf->user);
	kvfree_rcu(buf, rcu);
}

static struct ublk_shmem_run *ublk_shmem_run_of(const struct rb_node *node)
{
	return rb_entry(node, struct ublk_shmem_run, node);
}

/* Runs that share a page are the same to the tree, so it takes only one of them. */
static int ublk_shmem_cmp_runs(struct rb_node *node, const struct rb_node *other)
{
	const struct ublk_shmem_run *a = ublk_shmem_run_of(node);
	const struct ublk_shmem_run *b = ublk_shmem_run_of(other);

	if (a->last < b->first)
		return -1;
	return a->first > b->last;
}

static int ublk_shmem_cmp_pfn(const void *key, const struct rb_node *node)
{
	const struct ublk_shmem_run *run = ublk_shmem_run_of(node);
	unsigned long pfn = *(const unsigned long *)key;

	if (pfn < run->first)
		return -1;
	return pfn > run->last;
}

static void ublk_shmem_erase(struct ublk_shmem *sh, struct ublk_shmem_buf *buf,
			     unsigned long nr_runs)
{
	for (unsigned long i = 0; i < nr_runs; i++) {
		rb_erase(&buf->runs[i].node, &sh->runs);
		cond_resched();
	}
}

static int ublk_shmem_insert(struct ublk_shmem *sh, struct ublk_shmem_buf *buf)
{
	for (unsigned long i = 0; i < buf->nr_runs; i++) {
		if (rb_find_add_rcu(&buf->runs[i].node, &sh->runs, ublk_shmem_cmp_runs)) {
			ublk_shmem_erase(sh, buf, i);
			return -EEXIST;
		}
		cond_resched();
	}
	return 0;
}

static int ublk_shmem_publish(struct ublk_shmem *sh, struct ublk_shmem_buf *buf)
{
	int ret;

	ret = xa_alloc(&sh->bufs, &buf->index, buf,
		       XA_LIMIT(0, UBLK_SHMEM_MAX_BUFS - 1), GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret == -EBUSY ? -ENOSPC : ret;
	ret = ublk_shmem_insert(sh, buf);
	if (ret) {
		xa_erase(&sh->bufs, buf->index);
		return ret;
	}
	WRITE_ONCE(buf->live, true);
	return buf->index;
}

/*
 * Memory that is needed under the lock must not be waited for by I/O: whoever
 * serves that may want the lock.
 */
static int ublk_shmem_lock(struct ublk_shmem *sh, unsigned int *noio)
{
	if (mutex_lock_interruptible(&sh->lock))
		return -EINTR;
	*noio = memalloc_noio_save();
	return 0;
}

static void ublk_shmem_unlock(struct ublk_shmem *sh, unsigned int noio)
{
	memalloc_noio_restore(noio);
	mutex_unlock(&sh->lock);
}

static int ublk_shmem_add(struct ublk_shmem *sh, struct ublk_shmem_buf *buf)
{
	unsigned int noio;
	int ret;

	ret = ublk_shmem_lock(sh, &noio);
	if (ret)
		return ret;
	ret = ublk_shmem_publish(sh, buf);
	ublk_shmem_unlock(sh, noio);
	return ret;
}

static int ublk_shmem_buf_check(const struct ublk_shmem_buf_reg *reg)
{
	if (reg->flags & ~UBLK_SHMEM_BUF_READ_ONLY || reg->reserved)
		return -EINVAL;
	if (!reg->len || reg->len > UBLK_SHMEM_MAX_BYTES ||
	    !PAGE_ALIGNED(reg->len) || !PAGE_ALIGNED(reg->addr))
		return -EINVAL;
	return reg->addr == (unsigned long)reg->addr ? 0 : -EFAULT;
}

/**
 * ublk_shmem_register - REG_BUF: share memory of the current task with a device
 * @dev:	the device
 * @arg:	a &struct ublk_shmem_buf_reg
 * @len:	bytes of it; what is missing counts as 0
 *
 * Context: may fault, so sleep for as long as the memory's owner likes.
 * Return: index of the buffer, the lowest that is free; -EOPNOTSUPP without
 * UBLK_F_SHMEM_ZC; -EFAULT, -EINVAL; -ENOMEM, also beyond RLIMIT_MEMLOCK; whatever
 * pinning the first pages says, or -EFAULT for the others; -ENOSPC; -EEXIST for
 * pages that are registered, or appear twice; -EINTR. Nothing has changed after an
 * error.
 */
int ublk_shmem_register(struct ublk_device *dev, void __user *arg, u32 len)
{
	struct ublk_shmem_buf_reg reg = { };
	struct user_struct *payer;
	struct ublk_shmem_buf *buf;
	int ret;

	if (!dev->shmem)
		return -EOPNOTSUPP;
	if (copy_from_user(&reg, arg, min_t(size_t, len, sizeof(reg))))
		return -EFAULT;
	ret = ublk_shmem_buf_check(&reg);
	if (ret)
		return ret;
	ret = ublk_shmem_charge(reg.len >> PAGE_SHIFT, &payer);
	if (ret)
		return ret;

	buf = ublk_shmem_buf_alloc(&reg);
	if (IS_ERR(buf)) {
		ublk_shmem_uncharge(reg.len >> PAGE_SHIFT, payer);
		return PTR_ERR(buf);
	}
	buf->user = payer;
	buf->read_only = reg.flags & UBLK_SHMEM_BUF_READ_ONLY;

	ret = ublk_shmem_add(dev->shmem, buf);
	if (ret < 0)
		ublk_shmem_buf_free(buf);
	return ret;
}

/* The queues forget a buffer that is not in the tree, a grace period ago. */
static void ublk_shmem_forget(struct ublk_device *dev, const struct ublk_shmem_buf *buf)
{
	for (unsigned int i = 0; i < dev->nr_queues; i++) {
		struct ublk_queue *q = dev->queues[i];
		struct ublk_shmem_run *run;

		guard(rcu)();
		run = rcu_dereference(q->shmem_hit);
		if (run && run->buf == buf)
			cmpxchg(&q->shmem_hit, RCU_INITIALIZER(run), NULL);
	}
}

/* No submitter finds @buf any more; its index stays taken until it is unparked. */
static void ublk_shmem_park(struct ublk_device *dev, struct ublk_shmem_buf *buf, u32 index)
{
	struct ublk_shmem *sh = dev->shmem;

	lockdep_assert_held(&sh->lock);
	WRITE_ONCE(buf->live, false);
	ublk_shmem_erase(sh, buf, buf->nr_runs);
	synchronize_rcu_expedited();
	ublk_shmem_forget(dev, buf);
	xa_store(&sh->bufs, index, UBLK_SHMEM_PARKED, GFP_KERNEL);
}

/* Returns 0 if the index is parked now: by us, or by a call that was interrupted. */
static int ublk_shmem_remove(struct ublk_device *dev, u32 index)
{
	struct ublk_shmem *sh = dev->shmem;
	struct ublk_shmem_buf *buf;
	unsigned int noio;
	bool parked;
	int ret;

	ret = ublk_shmem_lock(sh, &noio);
	if (ret)
		return ret;
	buf = xa_load(&sh->bufs, index);
	parked = xa_is_value(buf);
	if (buf && !parked)
		ublk_shmem_park(dev, buf, index);
	ublk_shmem_unlock(sh, noio);

	if (!buf)
		return -ENOENT;
	if (!parked)
		ublk_shmem_buf_free(buf);
	return 0;
}

/*
 * Does the server have a request that it was told to find in buffer @index? This reads
 * slots that others own. No submitter finds the buffer any more, so "no" is final; "yes"
 * may be out of date, and is asked again. A WRITE that was found is not announced, so
 * NEED_DATA is not among the states.
 */
static bool ublk_slot_is_in_shmem(const struct ublk_slot *slot, u32 index)
{
	if (!slot->in_shmem || READ_ONCE(slot->shmem_index) != index)
		return false;

	switch (ublk_slot_state(slot)) {
	case UBLK_SLOT_BUSY:
	case UBLK_SLOT_QUEUED:
	case UBLK_SLOT_SERVER:
		return true;
	default:
		return false;
	}
}

static bool ublk_shmem_is_in_use(const struct ublk_device *dev, u32 index)
{
	for (unsigned int i = 0; i < dev->nr_queues; i++) {
		const struct ublk_queue *q = dev->queues[i];

		for (unsigned int tag = 0; tag < q->depth; tag++)
			if (ublk_slot_is_in_shmem(&q->slots[tag], index))
				return true;
		cond_resched();
	}
	return false;
}

/* Returns 1 while the index is parked, 0 once it is not. */
static int ublk_shmem_try_unpark(struct ublk_device *dev, u32 index)
{
	struct ublk_shmem *sh = dev->shmem;
	unsigned int noio;
	bool parked;
	int ret;

	ret = ublk_shmem_lock(sh, &noio);
	if (ret)
		return ret;
	parked = xa_load(&sh->bufs, index) == UBLK_SHMEM_PARKED;
	if (parked && !ublk_shmem_is_in_use(dev, index)) {
		xa_erase(&sh->bufs, index);
		parked = false;
	}
	ublk_shmem_unlock(sh, noio);
	return parked;
}

/**
 * ublk_shmem_unregister - UNREG_BUF: take shared memory back
 * @dev:	the device
 * @index:	what REG_BUF has returned
 *
 * Requests that come from now on are not found in it. Those that were are waited
 * for; this is what an interruption ends, and what calling again goes on with.
 *
 * Context: may sleep, for as long as the server needs for what it was given.
 * Return: 0; -EOPNOTSUPP without UBLK_F_SHMEM_ZC; -EINVAL, -ENOENT; -EINTR, when
 * the buffer is gone and its index is not free yet.
 */
int ublk_shmem_unregister(struct ublk_device *dev, int index)
{
	int ret;

	if (!dev->shmem)
		return -EOPNOTSUPP;
	if (index < 0 || index >= UBLK_SHMEM_MAX_BUFS)
		return -EINVAL;

	ret = ublk_shmem_remove(dev, index);
	if (ret)
		return ret;
	while ((ret = ublk_shmem_try_unpark(dev, index)) > 0) {
		if (signal_pending(current))
			return -EINTR;
		schedule_timeout_interruptible(UBLK_POLL_JIFFIES);
	}
	return ret;
}

/**
 * ublk_shmem_free - the end of the buffers of a device
 * @sh:		buffers of a device that nobody can use any more, or NULL
 */
void ublk_shmem_free(struct ublk_shmem *sh)
{
	struct ublk_shmem_buf *buf;
	unsigned long index;

	if (!sh)
		return;
	xa_for_each(&sh->bufs, index, buf)
		if (!xa_is_value(buf))
			ublk_shmem_buf_free(buf);
	xa_destroy(&sh->bufs);
	kfree(sh);
}

/* The run with page @pfn, if the server may have it for this kind of request. */
static struct ublk_shmem_run *ublk_shmem_find(struct ublk_queue *q, unsigned long pfn,
					      bool is_write)
{
	struct ublk_shmem_run *run = rcu_dereference(q->shmem_hit);
	struct rb_node *node;

	if (!run || pfn < run->first || pfn > run->last || !READ_ONCE(run->buf->live)) {
		node = rb_find_rcu(&pfn, &q->shmem->runs, ublk_shmem_cmp_pfn);
		run = node ? ublk_shmem_run_of(node) : NULL;
	}
	if (!run || !READ_ONCE(run->buf->live) || (run->buf->read_only && !is_write))
		return NULL;
	return run;
}

/*
 * Where in its buffer a piece of memory begins that lies in one run; with that
 * run, or NULL.
 */
static struct ublk_shmem_run *ublk_shmem_locate(struct ublk_queue *q,
						const struct bio_vec *bv, bool is_write,
						u64 *offset)
{
	unsigned long pfn = page_to_pfn(bv->bv_page) + (bv->bv_offset >> PAGE_SHIFT);
	unsigned int in_page = offset_in_page(bv->bv_offset);
	struct ublk_shmem_run *run = ublk_shmem_find(q, pfn, is_write);

	if (!run || pfn + ((in_page + bv->bv_len - 1) >> PAGE_SHIFT) > run->last)
		return NULL;
	*offset = ((u64)(run->page + pfn - run->first) << PAGE_SHIFT) + in_page;
	return run;
}

/* One place for all data of @rq, in one buffer and without a gap. */
static struct ublk_shmem_run *ublk_shmem_find_rq(struct ublk_queue *q,
						 struct request *rq, u64 *start)
{
	bool is_write = op_is_write(req_op(rq));
	struct ublk_shmem_run *run = NULL;
	struct req_iterator it;
	struct bio_vec bv;
	u64 end = 0;

	rq_for_each_bvec(bv, rq, it) {
		struct ublk_shmem_buf *buf = run ? run->buf : NULL;
		u64 offset;

		run = ublk_shmem_locate(q, &bv, is_write, &offset);
		if (!run)
			return NULL;
		if (!buf)
			*start = offset;
		else if (run->buf != buf || offset != end)
			return NULL;
		end = offset + bv.bv_len;
	}
	return run;
}

/**
 * ublk_shmem_match - is the data of a request in shared memory?
 * @q:		queue of a device with UBLK_F_SHMEM_ZC
 * @slot:	BUSY slot of the request; told the answer
 *
 * A request that goes through the queue again is looked at again: the answer is
 * that of this delivery.
 *
 * Context: any.
 * Return: what the server reads as the address: the place of the data, if it is in
 * shared memory, and else what it has named itself.
 */
u64 ublk_shmem_match(struct ublk_queue *q, struct ublk_slot *slot)
{
	struct ublk_shmem_run *run = NULL;
	u64 offset;

	guard(rcu)();
	if (ublk_rq_has_data(slot->rq))
		run = ublk_shmem_find_rq(q, slot->rq, &offset);
	slot->in_shmem = !!run;
	if (!run)
		return slot->buf;

	WRITE_ONCE(slot->shmem_index, run->buf->index);
	if (rcu_access_pointer(q->shmem_hit) != run)
		rcu_assign_pointer(q->shmem_hit, run);
	return ublk_shmem_zc_addr(run->buf->index, offset);
}
