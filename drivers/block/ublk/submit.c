// SPDX-License-Identifier: GPL-2.0
/*
 * Submission: in any context that may not sleep, in an RCU read-side section.
 *
 * A request claims the slot of its tag, and the descriptor is written here, by
 * whoever submits: the server's task has only to be told. Requests that come
 * together wake it once.
 */
#include <linux/blk-mq.h>

#include "io.h"

/* Chains that one list of requests can build; one more pushes the first early. */
#define UBLK_MAX_CHAINS		8

struct ublk_chain {
	struct task_struct	*task;
	void			*ring;
	struct ublk_slot	*head;
	struct ublk_slot	*tail;
};

/* Only those that are used are written: to clear all of it would cost more. */
struct ublk_chains {
	unsigned int		nr;
	struct ublk_chain	chain[UBLK_MAX_CHAINS];
};

/*
 * A QUEUED slot may be swept at any moment, but its command stays: only the task work
 * pushed here completes it.
 */
static void ublk_chain_push(struct ublk_slot *head)
{
	io_uring_cmd_complete_in_task(head->cmd, ublk_deliver_tw);
}

static void ublk_chains_push(struct ublk_chains *cs)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		ublk_chain_push(cs->chain[i].head);
}

static void ublk_chains_add(struct ublk_chains *cs, struct ublk_slot *slot)
{
	struct ublk_chain *c;

	slot->next = NULL;
	for (c = cs->chain; c < cs->chain + cs->nr; c++) {
		if (c->ring == slot->ring && c->task == slot->task) {
			c->tail->next = slot;
			c->tail = slot;
			return;
		}
	}

	if (cs->nr == UBLK_MAX_CHAINS) {
		ublk_chain_push(cs->chain[0].head);
		c = cs->chain;
	} else {
		cs->nr++;
	}
	*c = (struct ublk_chain) { slot->task, slot->ring, slot, slot };
}

/**
 * ublk_rq_dispatch - claim the slot of a request, describe it to the server
 * @q:		queue of the request
 * @rq:		the request
 * @op:		its UBLK_IO_OP_*
 *
 * Context: RCU read-side section, which has to last until the slot has been pushed. A
 * slot that waits for others may outlive it: its command holds the file of the session,
 * and in batch mode a sweep finds its tag.
 * Return: true if the slot is QUEUED, and the caller has to push it; false if
 * nobody serves the tag.
 */
bool ublk_rq_dispatch(struct ublk_queue *q, struct request *rq, int op)
{
	struct ublk_slot *slot = &q->slots[rq->tag];

	if (!ublk_slot_claim(q, slot))
		return false;

	blk_mq_start_request(rq);
	slot->rq = rq;
	slot->op = op;
	ublk_slot_describe(q, slot);
	ublk_slot_pass(q, slot, UBLK_SLOT_QUEUED, 0);
	return true;
}

/* In the order in which they came. */
static void ublk_chains_add_all(struct ublk_chains *cs, struct llist_head *list)
{
	struct ublk_slot *slot, *next;

	if (llist_empty(list))
		return;
	llist_for_each_entry_safe(slot, next, llist_reverse_order(llist_del_all(list)),
				  pending)
		ublk_chains_add(cs, slot);
}

/**
 * ublk_queue_push_pending - push all requests that wait for others
 * @q:		queue of a device that is not in batch mode
 *
 * Context: submission, task work or process; does not sleep.
 */
void ublk_queue_push_pending(struct ublk_queue *q)
{
	struct ublk_chains cs __uninitialized;

	cs.nr = 0;
	ublk_chains_add_all(&cs, &q->coalesce.waiting);
	ublk_chains_add_all(&cs, &q->pending);
	ublk_chains_push(&cs);
}

/**
 * ublk_rq_unserved - nobody serves the tag of a request
 * @q:		its queue
 * @rq:		the request
 *
 * Whoever changes the policy waits for us, and kicks what we hold.
 *
 * Context: ->queue_rq
 * Return: what ->queue_rq has to return.
 */
noinline blk_status_t ublk_rq_unserved(struct ublk_queue *q, struct request *rq)
{
	switch (READ_ONCE(q->dev->unserved)) {
	case UBLK_UNSERVED_HOLD:
		blk_mq_requeue_request(rq, false);
		return BLK_STS_OK;
	case UBLK_UNSERVED_FAIL_TARGET:
		return BLK_STS_TARGET;
	default:
		return BLK_STS_IOERR;
	}
}

static bool ublk_queue_has_pending(const struct ublk_queue *q)
{
	return !llist_empty(&q->pending) || !llist_empty(&q->coalesce.waiting);
}

/*
 * Push a slot, or have it wait for those that come with it, or may come soon. The
 * server's own task needs no waking.
 */
static void ublk_queue_push(struct ublk_queue *q, struct ublk_slot *slot, bool last)
{
	if (last && slot->task != current && ublk_coalesce_try_wait(q)) {
		if (llist_add(&slot->pending, &q->coalesce.waiting))
			ublk_coalesce_start(&q->coalesce);
	} else if (last && !ublk_queue_has_pending(q)) {
		slot->next = NULL;
		ublk_chain_push(slot);
	} else {
		llist_add(&slot->pending, &q->pending);
		if (last)
			ublk_queue_push_pending(q);
	}
}

static blk_status_t ublk_mq_queue_rq(struct blk_mq_hw_ctx *hctx,
				     const struct blk_mq_queue_data *bd)
{
	struct ublk_queue *q = hctx->driver_data;
	struct ublk_slot *slot = &q->slots[bd->rq->tag];
	int op = ublk_desc_op(bd->rq);
	blk_status_t status = BLK_STS_OK;

	if (unlikely(op < 0))
		status = BLK_STS_IOERR;
	else if (likely(ublk_rq_dispatch(q, bd->rq, op)))
		ublk_queue_push(q, slot, bd->last);
	else
		status = ublk_rq_unserved(q, bd->rq);

	if (bd->last && !llist_empty(&q->pending))
		ublk_queue_push_pending(q);
	return status;
}

static void ublk_mq_commit_rqs(struct blk_mq_hw_ctx *hctx)
{
	ublk_queue_push_pending(hctx->driver_data);
}

/* What cannot be dispatched stays on the list and comes back by ->queue_rq. */
static void ublk_mq_queue_rqs(struct rq_list *list)
{
	struct ublk_chains cs __uninitialized;
	struct rq_list left = { };
	struct request *rq;

	cs.nr = 0;
	while ((rq = rq_list_pop(list))) {
		struct ublk_queue *q = rq->mq_hctx->driver_data;
		struct ublk_slot *slot = &q->slots[rq->tag];
		int op = ublk_desc_op(rq);

		if (op >= 0 && ublk_rq_dispatch(q, rq, op))
			ublk_chains_add(&cs, slot);
		else
			rq_list_add_tail(&left, rq);
	}
	ublk_chains_push(&cs);
	*list = left;
}

/**
 * ublk_mq_init_hctx - tie a hardware queue to our queue
 * @hctx:	hardware queue
 * @driver_data: the device
 * @index:	number of both
 *
 * Return: 0
 */
int ublk_mq_init_hctx(struct blk_mq_hw_ctx *hctx, void *driver_data, unsigned int index)
{
	struct ublk_device *dev = driver_data;

	hctx->driver_data = dev->queues[index];
	return 0;
}

const struct blk_mq_ops ublk_mq_ops = {
	.queue_rq	= ublk_mq_queue_rq,
	.queue_rqs	= ublk_mq_queue_rqs,
	.commit_rqs	= ublk_mq_commit_rqs,
	.init_hctx	= ublk_mq_init_hctx,
	.timeout	= ublk_mq_timeout,
};
