// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: where new requests wait for a fetch command (FETCH_IO_CMDS).
 *
 * Submitters append the tags of new requests to the FIFO of the queue and wake a
 * fetch command. That is idle, on the list of its queue, or active: its task work is
 * pending or runs (batch_fetch.c). At most one active command is the drainer, which
 * submitters rely on to look into the FIFO. In copy mode it gives that up when it has
 * taken tags, so that several commands copy at the same time. Whoever stops with tags
 * left makes an idle command the next drainer.
 */
#include <linux/blk-mq.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "batch.h"
#include "io.h"

/* Tags of one list of requests that are appended to the FIFO at a time. */
#define UBLK_PUSH_TAGS		64

/**
 * struct ublk_batch - what a queue has in batch mode
 * @lock:	protects all of it
 * @idle:	fetch commands that wait for tags, the first goes first
 * @drainer:	fetch command that will look into the FIFO, or NULL
 * @head:	next tag to take, a running number
 * @tail:	next place to fill, a running number
 * @mask:	turns them into places
 * @tags:	the FIFO. It has a place for every tag, and a tag is in it once at
 *		most: while its slot is QUEUED, or after it was CANCELED
 */
struct ublk_batch {
	/* Leaf; submitters take it, too; never held across a wait. */
	spinlock_t		lock;
	struct list_head	idle;
	struct ublk_fetch	*drainer;
	u16			head;
	u16			tail;
	u16			mask;
	u16			tags[];
};

/* Or running numbers of 16 bits could not tell a full FIFO from an empty one. */
static_assert(UBLK_MAX_QUEUE_DEPTH <= 0x8000);

/**
 * ublk_batch_alloc - what a queue needs for batch mode
 * @depth:	number of its tags
 * @node:	where its memory is
 *
 * Return: NULL without memory; kvfree() undoes it.
 */
struct ublk_batch *ublk_batch_alloc(unsigned int depth, int node)
{
	unsigned int size = roundup_pow_of_two(depth);
	struct ublk_batch *b;

	b = kvzalloc_node(struct_size(b, tags, size), GFP_KERNEL_ACCOUNT, node);
	if (!b)
		return NULL;
	spin_lock_init(&b->lock);
	INIT_LIST_HEAD(&b->idle);
	b->mask = size - 1;
	return b;
}

/**
 * ublk_batch_reset - forget the tags that the last session has not taken
 * @q:		queue whose session is over
 */
void ublk_batch_reset(struct ublk_queue *q)
{
	struct ublk_batch *b = q->batch;

	guard(spinlock)(&b->lock);
	ublk_check(list_empty(&b->idle) && !b->drainer);
	b->head = b->tail;
}

/*
 * The FIFO of tags, and who empties it.
 */

/* Run the task work of @f, which is active. NULL is nobody. */
static void ublk_fetch_wake(struct ublk_fetch *f)
{
	if (f)
		io_uring_cmd_complete_in_task(ublk_fetch_cmd(f), ublk_fetch_tw);
}

/* Take an idle command off the list. Afterwards it is the caller's. */
static void ublk_fetch_activate(struct ublk_batch *b, struct ublk_fetch *f)
{
	lockdep_assert_held(&b->lock);
	ublk_check(f->state == UBLK_FETCH_IDLE);
	list_del(&f->node);
	f->state = UBLK_FETCH_ACTIVE;
}

/*
 * If there are tags and no drainer, make an idle command the drainer. The caller
 * passes it to ublk_fetch_wake().
 */
static struct ublk_fetch *ublk_batch_next_drainer(struct ublk_batch *b)
{
	struct ublk_fetch *f;

	lockdep_assert_held(&b->lock);
	if (b->drainer || b->head == b->tail || list_empty(&b->idle))
		return NULL;
	f = list_first_entry(&b->idle, struct ublk_fetch, node);
	ublk_fetch_activate(b, f);
	b->drainer = f;
	return f;
}

static void ublk_batch_push(struct ublk_queue *q, const u16 *tags, unsigned int nr)
{
	struct ublk_batch *b = q->batch;
	struct ublk_fetch *f;

	scoped_guard(spinlock, &b->lock) {
		for (unsigned int i = 0; i < nr; i++)
			b->tags[b->tail++ & b->mask] = tags[i];
		f = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(f);
}

/* Append the tag of a request that may wait for others. */
static void ublk_batch_push_later(struct ublk_queue *q, u16 tag)
{
	struct ublk_batch *b = q->batch;
	bool first;

	scoped_guard(spinlock, &b->lock) {
		first = b->head == b->tail;
		b->tags[b->tail++ & b->mask] = tag;
	}
	if (first)
		ublk_coalesce_start(&q->coalesce);
}

/**
 * ublk_batch_wake - see to it that a fetch command looks into the FIFO
 * @q:		queue of a device in batch mode
 *
 * Context: any; does not sleep.
 */
void ublk_batch_wake(struct ublk_queue *q)
{
	ublk_batch_push(q, NULL, 0);
}

/**
 * ublk_batch_pop - take tags out of the FIFO
 * @f:		active fetch command
 * @tags:	filled in
 * @max:	number of tags to take at most
 *
 * Return: the number of tags.
 */
unsigned int ublk_batch_pop(struct ublk_fetch *f, u16 *tags, unsigned int max)
{
	struct ublk_batch *b = f->q->batch;
	struct ublk_fetch *next = NULL;
	unsigned int nr = 0;

	scoped_guard(spinlock, &b->lock) {
		while (nr < max && b->head != b->tail)
			tags[nr++] = b->tags[b->head++ & b->mask];
		if (f->q->mode == UBLK_MODE_COPY && b->drainer == f) {
			b->drainer = NULL;
			next = ublk_batch_next_drainer(b);
		}
	}
	ublk_fetch_wake(next);
	return nr;
}

/**
 * ublk_batch_unpop - put tags back to the front, where they came from
 * @f:		active fetch command
 * @tags:	the tags
 * @nr:		their number
 *
 * Does not wake anybody: @f has to look into the FIFO again, or to end.
 */
void ublk_batch_unpop(struct ublk_fetch *f, const u16 *tags, unsigned int nr)
{
	struct ublk_batch *b = f->q->batch;

	guard(spinlock)(&b->lock);
	while (nr--)
		b->tags[--b->head & b->mask] = tags[nr];
}

/**
 * ublk_batch_claim - be the drainer, if there are tags and no other drainer
 * @f:		active fetch command
 *
 * Return: whether @f is the drainer, and has to look into the FIFO.
 */
bool ublk_batch_claim(struct ublk_fetch *f)
{
	struct ublk_batch *b = f->q->batch;

	guard(spinlock)(&b->lock);
	if (b->drainer && b->drainer != f)
		return false;
	b->drainer = b->head != b->tail ? f : NULL;
	return b->drainer;
}

/**
 * ublk_batch_leave - stop being the drainer for good
 * @f:		active fetch command that ends
 */
void ublk_batch_leave(struct ublk_fetch *f)
{
	struct ublk_batch *b = f->q->batch;
	struct ublk_fetch *next;

	scoped_guard(spinlock, &b->lock) {
		if (b->drainer == f)
			b->drainer = NULL;
		next = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(next);
}

/**
 * ublk_batch_park - let a fetch command wait for tags
 * @f:		active fetch command, of a session that is open
 *
 * Context: RCU read-side section that has seen ublk_session_is_open(). If there are
 * tags, @f may be active again on return.
 */
void ublk_batch_park(struct ublk_fetch *f)
{
	struct ublk_batch *b = f->q->batch;
	struct ublk_fetch *next;

	scoped_guard(spinlock, &b->lock) {
		f->state = UBLK_FETCH_IDLE;
		list_add_tail(&f->node, &b->idle);
		next = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(next);
}

/**
 * ublk_batch_unpark - take a fetch command that waits for tags off the list
 * @f:		fetch command
 *
 * Return: false if it is active; else it is the caller's.
 */
bool ublk_batch_unpark(struct ublk_fetch *f)
{
	struct ublk_batch *b = f->q->batch;

	guard(spinlock)(&b->lock);
	if (f->state != UBLK_FETCH_IDLE)
		return false;
	ublk_fetch_activate(b, f);
	return true;
}

/**
 * ublk_batch_nudge - let another fetch command be the drainer
 * @q:		queue of a device in batch mode, in which a tag has waited for long
 *
 * The drainer's task may be busy or dead, so that its task work does not run. If it
 * runs later, it finds the FIFO empty or another drainer.
 */
void ublk_batch_nudge(struct ublk_queue *q)
{
	struct ublk_batch *b = q->batch;
	struct ublk_fetch *next;

	scoped_guard(spinlock, &b->lock) {
		b->drainer = NULL;
		next = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(next);
}

/**
 * ublk_batch_has_idle_fetch - is a command here that can ask the server to leave?
 * @q:		queue whose gate is closed, so that no tags come
 *
 * Return: true if a fetch command is idle, and no tag waits for one.
 */
bool ublk_batch_has_idle_fetch(const struct ublk_queue *q)
{
	struct ublk_batch *b = q->batch;

	guard(spinlock)(&b->lock);
	return !list_empty(&b->idle) && b->head == b->tail;
}

/**
 * ublk_batch_abort_idle - hand back the fetch commands that wait for tags
 * @q:		queue whose session takes no more requests, a grace period after
 *		that became known
 *
 * Active ones see to it themselves. There are as many as the server likes.
 *
 * Context: process.
 */
void ublk_batch_abort_idle(struct ublk_queue *q)
{
	struct ublk_batch *b = q->batch;
	struct ublk_fetch *f;

	do {
		scoped_guard(spinlock, &b->lock) {
			f = list_first_entry_or_null(&b->idle, struct ublk_fetch, node);
			if (f)
				ublk_fetch_activate(b, f);
		}
		if (f)
			ublk_cmd_abort(ublk_fetch_cmd(f));
		cond_resched();
	} while (f);
}

/*
 * Submission.
 */

static blk_status_t ublk_batch_queue_rq(struct blk_mq_hw_ctx *hctx,
					const struct blk_mq_queue_data *bd)
{
	struct ublk_queue *q = hctx->driver_data;
	int op = ublk_desc_op(bd->rq);
	u16 tag = bd->rq->tag;

	if (unlikely(op < 0))
		return BLK_STS_IOERR;
	if (!ublk_rq_dispatch(q, bd->rq, op))
		return ublk_rq_unserved(q, bd->rq);
	if (bd->last && ublk_coalesce_try_wait(q))
		ublk_batch_push_later(q, tag);
	else
		ublk_batch_push(q, &tag, 1);
	return BLK_STS_OK;
}

/* What cannot be dispatched stays on the list and comes back by ->queue_rq. */
static void ublk_batch_queue_rqs(struct rq_list *list)
{
	u16 tags[UBLK_PUSH_TAGS] __uninitialized;
	struct ublk_queue *q = NULL;
	struct rq_list left = { };
	unsigned int nr = 0;
	struct request *rq;

	while ((rq = rq_list_pop(list))) {
		int op = ublk_desc_op(rq);
		u16 tag = rq->tag;

		if (nr && (q != rq->mq_hctx->driver_data || nr == ARRAY_SIZE(tags))) {
			ublk_batch_push(q, tags, nr);
			nr = 0;
		}
		q = rq->mq_hctx->driver_data;
		if (op >= 0 && ublk_rq_dispatch(q, rq, op))
			tags[nr++] = tag;
		else
			rq_list_add_tail(&left, rq);
	}
	if (nr)
		ublk_batch_push(q, tags, nr);
	*list = left;
}

const struct blk_mq_ops ublk_batch_mq_ops = {
	.queue_rq	= ublk_batch_queue_rq,
	.queue_rqs	= ublk_batch_queue_rqs,
	.init_hctx	= ublk_mq_init_hctx,
	.timeout	= ublk_mq_timeout,
};
