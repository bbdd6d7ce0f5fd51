// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: how requests come to the server.
 *
 * Submitters append the tags of new requests to the queue's FIFO and wake a fetch
 * command (FETCH_IO_CMDS), which stays with the driver for as long as its ring and
 * the device live. Its task work takes tags out, copies the data of WRITEs, posts
 * the tags in one CQE, and goes on until the FIFO is empty.
 *
 * A fetch command is idle, on the list of its queue, or active: its task work is
 * pending or runs. Only its task work ends an active one. At most one active command
 * is the drainer, which submitters rely on to look into the FIFO. In copy mode it
 * gives that up when it has taken tags, so that several commands copy at the same
 * time. Whoever stops with tags left makes an idle command the next drainer.
 */
#include <linux/blk-mq.h>
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "io.h"

/* Tags that one CQE reports at most, and one look into the FIFO takes. */
#define UBLK_FETCH_TAGS		128

/* Buffers that one task work fills, before others of its task have their turn. */
#define UBLK_FETCH_ROUNDS	32

/* Tags of one list of requests that are appended to the FIFO at a time. */
#define UBLK_PUSH_TAGS		64

/**
 * enum ublk_fetch_state - where a fetch command is
 * @UBLK_FETCH_IDLE:	on ublk_batch::idle
 * @UBLK_FETCH_ACTIVE:	its task work, or whoever took it off the list, owns it
 */
enum ublk_fetch_state {
	UBLK_FETCH_IDLE,
	UBLK_FETCH_ACTIVE,
};

/**
 * struct ublk_fetch - what a fetch command remembers while the driver holds it
 * @node:	on ublk_batch::idle; under ublk_batch::lock
 * @q:		its queue
 * @group:	its buffer group
 * @state:	enum ublk_fetch_state; under ublk_batch::lock
 * @canceled:	io_uring wants it back; under the lock of its ring
 */
struct ublk_fetch {
	struct list_head	node;
	struct ublk_queue	*q;
	u16			group;
	u8			state;
	bool			canceled;
};

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

static struct ublk_fetch *ublk_fetch_of(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct ublk_fetch);
}

static struct io_uring_cmd *ublk_fetch_cmd(struct ublk_fetch *f)
{
	return container_of((void *)f, struct io_uring_cmd, pdu);
}

static void ublk_fetch_tw(struct io_tw_req tw_req, io_tw_token_t tw);

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
 */
void ublk_batch_wake(struct ublk_queue *q)
{
	ublk_batch_push(q, NULL, 0);
}

/* Take up to @max tags out of the FIFO. */
static unsigned int ublk_batch_pop(struct ublk_fetch *f, u16 *tags, unsigned int max)
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

/* Put tags back to the front, where they came from. */
static void ublk_batch_unpop(struct ublk_batch *b, const u16 *tags, unsigned int nr)
{
	guard(spinlock)(&b->lock);
	while (nr--)
		b->tags[--b->head & b->mask] = tags[nr];
}

/* Make @f the drainer, if there are tags and no other one. Returns whether it is. */
static bool ublk_batch_claim(struct ublk_batch *b, struct ublk_fetch *f)
{
	guard(spinlock)(&b->lock);
	if (b->drainer && b->drainer != f)
		return false;
	b->drainer = b->head != b->tail ? f : NULL;
	return b->drainer;
}

/* @f ends, so it cannot be the drainer any more. */
static void ublk_batch_leave(struct ublk_batch *b, struct ublk_fetch *f)
{
	struct ublk_fetch *next;

	scoped_guard(spinlock, &b->lock) {
		if (b->drainer == f)
			b->drainer = NULL;
		next = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(next);
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
 * ublk_batch_can_be_told - is a command here that can tell the server to go?
 * @q:		queue whose gate is closed, so that no tags come
 *
 * Return: true if a fetch command is idle, and no tag waits for one.
 */
bool ublk_batch_can_be_told(const struct ublk_queue *q)
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
	if (bd->last && ublk_coalesce(q))
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

/*
 * Delivery: task work of a fetch command, under its ring's lock.
 */

/* Returns false if there is nothing to tell the server. */
static bool ublk_batch_deliver(struct ublk_session *s, struct ublk_fetch *f, u16 tag,
			       unsigned int issue_flags)
{
	struct ublk_queue *q = f->q;
	struct ublk_slot *slot = &q->slots[tag];

	if (unlikely(q->unprivileged))
		ublk_touch_buf(slot, slot->buf);
	/* Taken by a sweep since. */
	if (!ublk_slot_take(q, slot, UBLK_SLOT_QUEUED))
		return false;
	if (!ublk_deliver_prepare(s, q, slot, ublk_fetch_cmd(f), issue_flags))
		return false;
	ublk_slot_pass(q, slot, UBLK_SLOT_SERVER, slot->lent);
	return true;
}

/*
 * The CQE with @tag could not be posted. Unless a sweep, or a server that guessed the
 * tag, has moved the slot on, the request goes back: true if @tag belongs into the
 * FIFO again, false if the session is over and the request was ended here.
 */
static bool ublk_batch_undeliver(struct ublk_session *s, struct ublk_fetch *f, u16 tag,
				 unsigned int issue_flags)
{
	struct ublk_queue *q = f->q;
	struct ublk_slot *slot = &q->slots[tag];

	if (!ublk_slot_take(q, slot, UBLK_SLOT_SERVER))
		return false;
	if (q->mode == UBLK_MODE_AUTO)
		ublk_auto_take_back(slot, ublk_fetch_cmd(f), issue_flags);
	if (ublk_slot_is_used(slot)) {
		if (ublk_slot_leave(q, slot, UBLK_SLOT_SERVER, false))
			ublk_slot_finish(q, slot);
		return false;
	}

	ublk_slot_describe(q, slot);
	scoped_guard(rcu) {
		if (ublk_session_is_open(s)) {
			ublk_slot_pass(q, slot, UBLK_SLOT_QUEUED, 0);
			return true;
		}
	}
	slot->end = UBLK_END_UNDELIVERED;
	ublk_slot_pass(q, slot, UBLK_SLOT_CANCELED, 0);
	ublk_slot_finish(q, slot);
	return false;
}

static void ublk_batch_revert(struct ublk_session *s, struct ublk_fetch *f, u16 *tags,
			      unsigned int nr, unsigned int issue_flags)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < nr; i++)
		if (ublk_batch_undeliver(s, f, tags[i], issue_flags))
			tags[left++] = tags[i];
	ublk_batch_unpop(f->q->batch, tags, left);
}

/* Deliver the requests of @tags, keep the tags to report. Returns their number. */
static unsigned int ublk_batch_deliver_all(struct ublk_session *s, struct ublk_fetch *f,
					   u16 *tags, unsigned int nr,
					   unsigned int issue_flags)
{
	unsigned int told = 0, i;

	for (i = 0; i < nr && !fatal_signal_pending(current); i++)
		if (ublk_batch_deliver(s, f, tags[i], issue_flags))
			tags[told++] = tags[i];
	ublk_batch_unpop(f->q->batch, tags + i, nr - i);
	return told;
}

/* Give a buffer back that has not been used. */
static void ublk_fetch_recycle(struct ublk_fetch *f, struct io_br_sel *sel,
			       unsigned int issue_flags)
{
	sel->val = 0;
	io_uring_mshot_cmd_post_cqe(ublk_fetch_cmd(f), sel, issue_flags);
}

/* Returns whether the server can read there which tags it was given. */
static bool ublk_fetch_report(struct ublk_fetch *f, struct io_br_sel *sel,
			      const u16 *tags, unsigned int nr, unsigned int issue_flags)
{
	size_t bytes = nr * sizeof(*tags);

	if (fatal_signal_pending(current) || copy_to_user(sel->addr, tags, bytes)) {
		ublk_fetch_recycle(f, sel, issue_flags);
		return false;
	}
	sel->val = bytes;
	return !io_uring_mshot_cmd_post_cqe(ublk_fetch_cmd(f), sel, issue_flags);
}

/*
 * Fill one buffer. The buffer comes first, as it says how many tags to take.
 * Returns false if the command has to end, for it could not.
 */
static bool ublk_fetch_round(struct ublk_session *s, struct ublk_fetch *f,
			     unsigned int issue_flags)
{
	u16 tags[UBLK_FETCH_TAGS] __uninitialized;
	size_t len = sizeof(tags);
	struct io_br_sel sel;
	unsigned int nr;

	sel = io_uring_cmd_buffer_select(ublk_fetch_cmd(f), f->group, &len, issue_flags);
	if (!sel.addr)
		return false;
	if (len < sizeof(*tags)) {
		ublk_fetch_recycle(f, &sel, issue_flags);
		return false;
	}

	nr = ublk_batch_pop(f, tags, len / sizeof(*tags));
	nr = ublk_batch_deliver_all(s, f, tags, nr, issue_flags);
	if (!nr) {
		ublk_fetch_recycle(f, &sel, issue_flags);
		return true;
	}
	if (ublk_fetch_report(f, &sel, tags, nr, issue_flags))
		return true;
	ublk_batch_revert(s, f, tags, nr, issue_flags);
	return false;
}

static void ublk_fetch_end(struct ublk_fetch *f, int result, unsigned int issue_flags)
{
	ublk_batch_leave(f->q->batch, f);
	io_uring_cmd_done(ublk_fetch_cmd(f), result, issue_flags);
}

/* False if the session takes no more requests. */
static bool ublk_fetch_try_park(struct ublk_session *s, struct ublk_fetch *f)
{
	struct ublk_batch *b = f->q->batch;
	struct ublk_fetch *next;

	guard(rcu)();
	if (!ublk_session_is_open(s))
		return false;
	scoped_guard(spinlock, &b->lock) {
		f->state = UBLK_FETCH_IDLE;
		list_add_tail(&f->node, &b->idle);
		next = ublk_batch_next_drainer(b);
	}
	ublk_fetch_wake(next);
	return true;
}

/* Wait for tags, or end if the session takes no more requests. */
static void ublk_fetch_park(struct ublk_session *s, struct ublk_fetch *f,
			    unsigned int issue_flags)
{
	if (!ublk_fetch_try_park(s, f))
		ublk_fetch_end(f, UBLK_IO_RES_ABORT, issue_flags);
}

static void ublk_fetch_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	const unsigned int flags = IO_URING_CMD_TASK_WORK_ISSUE_FLAGS;
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	struct ublk_session *s = cmd->file->private_data;
	struct ublk_fetch *f = ublk_fetch_of(cmd);
	unsigned int rounds = UBLK_FETCH_ROUNDS;

	ublk_coalesce_server_runs(f->q);
	do {
		/* Somebody else's memory may be here, or none. */
		if (f->canceled || ublk_tw_is_late(tw)) {
			ublk_fetch_end(f, UBLK_IO_RES_ABORT, flags);
			return;
		}
		if (!rounds--) {
			ublk_fetch_wake(f);
			return;
		}
		if (!ublk_fetch_round(s, f, flags)) {
			ublk_fetch_end(f, -ENOBUFS, flags);
			return;
		}
	} while (ublk_batch_claim(f->q->batch, f));
	ublk_fetch_park(s, f, flags);
}

/**
 * ublk_batch_cancel_fetch - io_uring wants a fetch command back
 * @cmd:	the command
 * @issue_flags: io_uring's
 *
 * An active command is on its way through task work; io_uring asks again until it
 * has come out.
 */
void ublk_batch_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ublk_fetch *f = ublk_fetch_of(cmd);
	struct ublk_batch *b = f->q->batch;

	scoped_guard(spinlock, &b->lock) {
		if (f->state != UBLK_FETCH_IDLE) {
			f->canceled = true;
			return;
		}
		ublk_fetch_activate(b, f);
	}
	io_uring_cmd_done(cmd, UBLK_IO_RES_ABORT, issue_flags);
}

/**
 * ublk_batch_fetch - FETCH_IO_CMDS
 * @s:		the session
 * @q:		the queue
 * @cmd:	the command
 * @args:	its argument
 * @issue_flags: io_uring's
 *
 * Context: under the lock of the ring of @cmd.
 * Return: -EIOCBQUEUED while the driver holds @cmd; -EINVAL; -ENODEV if the session
 * takes no more requests.
 */
int ublk_batch_fetch(struct ublk_session *s, struct ublk_queue *q,
		     struct io_uring_cmd *cmd, const struct ublk_batch_args *args,
		     unsigned int issue_flags)
{
	struct ublk_fetch *f = ublk_fetch_of(cmd);

	if (!(cmd->flags & IORING_URING_CMD_MULTISHOT) ||
	    args->elem_bytes != sizeof(u16) || args->flags)
		return -EINVAL;
	if (!ublk_session_is_open(s))
		return -ENODEV;

	ublk_session_note_process(s);
	*f = (struct ublk_fetch) {
		.q	= q,
		.group	= READ_ONCE(cmd->sqe->buf_group),
		.state	= UBLK_FETCH_ACTIVE,
	};
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	ublk_fetch_park(s, f, issue_flags);
	return -EIOCBQUEUED;
}

const struct blk_mq_ops ublk_batch_mq_ops = {
	.queue_rq	= ublk_batch_queue_rq,
	.queue_rqs	= ublk_batch_queue_rqs,
	.init_hctx	= ublk_mq_init_hctx,
	.timeout	= ublk_mq_timeout,
};
