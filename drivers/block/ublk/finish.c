// SPDX-License-Identifier: GPL-2.0
/*
 * How a request ends: its server's answer, or that there is none, and what the
 * block layer is told.
 */
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "io.h"
#include <trace/events/ublk.h>

/* With fewer commands in one submission, a plug costs more than it saves. */
#define UBLK_PLUG_MIN		4

/* End at this many; their clients want to go on. */
#define UBLK_PLUG_MAX		32

/* A larger request is not delayed: next to its copy, ending it alone costs little. */
#define UBLK_PLUG_MAX_BYTES	SZ_64K

/*
 * Answers. A slot that is BUSY learns how its request ends.
 */

static void ublk_slot_settle(struct ublk_slot *slot, blk_status_t status,
			     unsigned int bytes)
{
	slot->end = UBLK_END_ANSWERED;
	slot->status = status;
	slot->len = bytes;
}

/**
 * ublk_slot_fail - settle that a request fails
 * @slot:	BUSY slot of the request
 * @status:	why
 */
void ublk_slot_fail(struct ublk_slot *slot, blk_status_t status)
{
	ublk_slot_settle(slot, status, blk_rq_bytes(slot->rq));
}

/* A part counts in whole logical blocks; nobody can ask for the rest of one. */
static void ublk_slot_done(struct ublk_slot *slot, unsigned int bytes)
{
	if (!bytes || !IS_ALIGNED(bytes, queue_logical_block_size(slot->rq->q)))
		ublk_slot_fail(slot, BLK_STS_IOERR);
	else
		ublk_slot_settle(slot, BLK_STS_OK, bytes);
}

/* A page fault may depend on a request in @ends, so end those before one can happen. */
static unsigned int ublk_copy_answer(struct request *rq, u64 addr, unsigned int len,
				     struct io_comp_batch *ends)
{
	if (ends && !rq_list_empty(&ends->req_list)) {
		if (ublk_copy_from_server(rq, addr, len, false) == len)
			return len;
		ublk_ends_flush(ends);
	}
	return ublk_copy_from_server(rq, addr, len, true);
}

/*
 * Copy mode: the answer to a READ comes with its data. A server that is killed over
 * that has not answered.
 */
static void ublk_slot_answer_copy(struct ublk_queue *q, struct ublk_slot *slot,
				  unsigned int bytes, u64 addr, struct io_comp_batch *ends)
{
	struct request *rq = slot->rq;
	unsigned int copied;

	if (q->unprivileged) {
		if (ublk_copy_from_server(rq, addr, bytes, false) == bytes)
			ublk_slot_done(slot, bytes);
		else
			slot->end = UBLK_END_UNSETTLED;
		return;
	}

	copied = ublk_copy_answer(rq, addr, bytes, ends);
	if (copied < bytes) {
		copied = round_down(copied, queue_logical_block_size(rq->q));
		if (!copied && fatal_signal_pending(current)) {
			slot->end = UBLK_END_DELIVERED;
			return;
		}
	}
	ublk_slot_done(slot, copied);
}

static void ublk_slot_answer_rw(struct ublk_queue *q, struct ublk_slot *slot,
				unsigned int bytes, u64 addr, struct io_comp_batch *ends)
{
	if (bytes > slot->len)
		ublk_slot_fail(slot, BLK_STS_IOERR);
	else if (slot->op == UBLK_IO_OP_WRITE)
		ublk_slot_done(slot, bytes ?: slot->len);	/* 0 stands for all */
	else if (q->mode == UBLK_MODE_COPY && !slot->in_shmem)
		ublk_slot_answer_copy(q, slot, bytes, addr, ends);
	else
		ublk_slot_done(slot, bytes);
}

static void ublk_slot_answer(struct ublk_queue *q, struct ublk_slot *slot, s32 result,
			     u64 addr, struct io_comp_batch *ends)
{
	if (result < 0) {
		ublk_slot_fail(slot, errno_to_blk_status(result));
		return;
	}

	switch (slot->op) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_WRITE:
		ublk_slot_answer_rw(q, slot, result, addr, ends);
		return;
	case UBLK_IO_OP_ZONE_APPEND:
		if (!ublk_zoned_take_append(slot->rq, result, addr)) {
			ublk_slot_fail(slot, BLK_STS_IOERR);
			return;
		}
		break;
	}
	ublk_slot_settle(slot, BLK_STS_OK, blk_rq_bytes(slot->rq));
}

/*
 * Have the data of an answer brought into memory. An unprivileged server's may be in
 * a file of its own FUSE, which takes as long as it likes while no signal helps. So
 * the slot is the server's meanwhile: the timeout can take it. Returns the blocks that
 * can be had, in bytes.
 */
static s32 ublk_touch_answer(struct ublk_queue *q, struct ublk_slot *slot, s32 bytes,
			     u64 addr, struct io_comp_batch *ends)
{
	unsigned int block = queue_logical_block_size(slot->rq->q);

	ublk_slot_pass(q, slot, UBLK_SLOT_SERVER, 0);
	if (ends)
		ublk_ends_flush(ends);
	bytes -= fault_in_readable(u64_to_user_ptr(addr), bytes);
	return round_down(bytes, block);
}

/**
 * ublk_slot_take_answer - take a slot from its server, with the answer
 * @q:		queue of the slot
 * @slot:	slot of the request; settled how that ends, on return
 * @result:	bytes or a negative errno, as the server says
 * @addr:	copy mode: where the data of a READ is, in the current task's memory;
 *		for a ZONE_APPEND, the sector at which its data begins
 * @ends:	requests to end before this waits for a fault, or NULL
 *
 * Context: may fault and so sleep.
 * Return: true if the slot is BUSY; false if the server does not own it, or not any
 * more.
 */
bool ublk_slot_take_answer(struct ublk_queue *q, struct ublk_slot *slot, s32 result,
			   u64 addr, struct io_comp_batch *ends)
{
	while (ublk_slot_take(q, slot, UBLK_SLOT_SERVER)) {
		ublk_slot_answer(q, slot, result, addr, ends);
		if (likely(slot->end != UBLK_END_UNSETTLED))
			return true;

		result = ublk_touch_answer(q, slot, result, addr, ends);
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return false;
}

/*
 * Ending requests.
 *
 * All of it runs with bottom halves off: the last reference to a file may go with
 * a bio, and must not be dropped in the server's own context, which could be what
 * the release of that file waits for.
 */

/*
 * Send a request through the queue again. It may be over, and the disk gone,
 * before the kick: hence the reference.
 */
static void ublk_rq_requeue(struct request *rq, unsigned int delay_ms)
{
	struct request_queue *disk_queue = rq->q;

	percpu_ref_get(&disk_queue->q_usage_counter);
	blk_mq_requeue_request(rq, false);
	blk_mq_delay_kick_requeue_list(disk_queue, delay_ms);
	percpu_ref_put(&disk_queue->q_usage_counter);
}

/*
 * Requeueing restarts the timer of @rq, so an unprivileged server could keep a
 * request for ever by doing a little of it each time. So once a request has been under
 * way for longer than one timeout, its server is killed. current is that server: only
 * copy mode gets this far, as an unprivileged device lends no pages.
 */
static void ublk_rq_kill_stalling_server(struct request *rq)
{
	struct ublk_queue *q = rq->mq_hctx->driver_data;
	struct ublk_rq_pdu *pdu = blk_mq_rq_to_pdu(rq);

	if (!q->unprivileged)
		return;
	if (!(rq->rq_flags & RQF_DONTPREP)) {
		rq->rq_flags |= RQF_DONTPREP;
		pdu->since = jiffies;
	} else if (time_after(jiffies, pdu->since + rq->q->rq_timeout)) {
		send_sig(SIGKILL, current, 1);
	}
}

/**
 * ublk_rq_requeue_rest - send what its server has left undone through the queue again
 * @rq:		request of which the server has not done all
 * @delay_ms:	not before so many milliseconds
 *
 * Context: in the server's task, if that is unprivileged; does not sleep.
 */
void ublk_rq_requeue_rest(struct request *rq, unsigned int delay_ms)
{
	ublk_rq_kill_stalling_server(rq);
	/* Its first bio was advanced, and has to stay the first: no merges. */
	if (blk_integrity_rq(rq))
		rq->rq_flags |= RQF_DONTPREP;
	ublk_rq_requeue(rq, delay_ms);
}

/* Returns whether there is more of @rq. */
static bool ublk_rq_update(struct request *rq, blk_status_t status,
			   unsigned int bytes)
{
	if (unlikely(blk_integrity_rq(rq)))
		return ublk_integrity_update(rq, status, bytes);
	return blk_update_request(rq, status, bytes);
}

static void ublk_rq_finish(struct request *rq, blk_status_t status,
			   unsigned int bytes)
{
	local_bh_disable();
	if (ublk_rq_update(rq, status, bytes))
		ublk_rq_requeue_rest(rq, 0);
	else
		__blk_mq_end_request(rq, status);
	local_bh_enable();
}

/* May a request that was taken from its server go through the queue again? */
static bool ublk_rq_may_repeat(const struct ublk_device *dev, bool delivered)
{
	return READ_ONCE(dev->unserved) == UBLK_UNSERVED_HOLD &&
		(!delivered || ublk_dev_has(dev, UBLK_F_USER_RECOVERY_REISSUE));
}

/*
 * The server will not answer this request. Whether it is repeated is decided by the
 * policy of this moment; ->queue_rq applies the policy again when the request comes
 * back, so no change in between is missed.
 */
static void ublk_rq_dispose(struct ublk_queue *q, struct ublk_slot *slot,
			    struct request *rq, bool delivered)
{
	bool again;

	guard(rcu)();
	again = ublk_rq_may_repeat(q->dev, delivered);
	trace_ublk_dispose(q->dev->id, q->q_id, slot->tag, slot->op, blk_rq_pos(rq),
			   blk_rq_bytes(rq), delivered, again);
	if (again)
		ublk_rq_requeue(rq, 0);
	else
		ublk_rq_finish(rq, BLK_STS_IOERR, blk_rq_bytes(rq));
}

/**
 * ublk_slot_finish - end a request in the way that its slot says
 * @q:		queue of the slot
 * @slot:	slot that is in other hands by now; the request keeps its tag, so
 *		what the slot says of it stands
 *
 * What becomes of a request that is not answered is decided here, and not when
 * the server was lost: both can be far apart.
 *
 * Context: process or task work; does not sleep.
 */
void ublk_slot_finish(struct ublk_queue *q, struct ublk_slot *slot)
{
	struct request *rq = slot->rq;

	if (slot->end == UBLK_END_ANSWERED)
		ublk_rq_finish(rq, slot->status, slot->len);
	else
		ublk_rq_dispose(q, slot, rq, slot->end == UBLK_END_DELIVERED);
}

/**
 * ublk_ends_flush - end the requests of a list
 * @ends:	list that ublk_slot_finish_soon() has filled; empty afterwards
 *
 * Context: like ublk_slot_finish().
 */
void ublk_ends_flush(struct io_comp_batch *ends)
{
	if (rq_list_empty(&ends->req_list))
		return;
	local_bh_disable();
	blk_mq_end_request_batch(ends);
	local_bh_enable();
}

/* Put a request on a list of those that have succeeded, if that is how it ends. */
static __always_inline bool ublk_slot_join(const struct ublk_slot *slot,
					   struct io_comp_batch *ends)
{
	struct request *rq = slot->rq;

	return slot->end == UBLK_END_ANSWERED && slot->status == BLK_STS_OK &&
		slot->len == blk_rq_bytes(rq) && !blk_integrity_rq(rq) &&
		blk_mq_add_to_batch(rq, ends, false, ublk_ends_flush);
}

/**
 * ublk_slot_finish_soon - end a request, perhaps together with others
 * @q:		queue of the slot
 * @slot:	as for ublk_slot_finish()
 * @ends:	list for requests that have succeeded, or NULL; the caller must not
 *		wait for anybody before ublk_ends_flush()
 *
 * Context: like ublk_slot_finish().
 */
void ublk_slot_finish_soon(struct ublk_queue *q, struct ublk_slot *slot,
			   struct io_comp_batch *ends)
{
	if (!ublk_slot_join(slot, ends))
		ublk_slot_finish(q, slot);
}

/*
 * Requests that are answered in one go, each by a command of its own, end together,
 * which costs less than to end each.
 *
 * Around commands that are submitted together, io_uring puts a plug, and what
 * waits on it ends with it. A task that has to sleep gives its plug away first, so
 * that no request waits for what its server waits for.
 */

/**
 * struct ublk_plugged - requests that wait on a plug
 * @cb:		on the plug for as long as there are any
 * @ends:	the requests, of any queues
 * @nr:		so many
 */
struct ublk_plugged {
	struct blk_plug_cb	cb;
	struct io_comp_batch	ends;
	unsigned int		nr;
};

static void ublk_unplug(struct blk_plug_cb *cb, bool from_schedule)
{
	struct ublk_plugged *p = container_of(cb, struct ublk_plugged, cb);

	ublk_ends_flush(&p->ends);
	kfree(p);
}

/* Ours is usually the newest callback of the plug. NULL without memory. */
static struct ublk_plugged *ublk_plugged_get(struct blk_plug *plug)
{
	struct blk_plug_cb *cb;

	cb = list_first_entry_or_null(&plug->cb_list, struct blk_plug_cb, list);
	if (!cb || cb->callback != ublk_unplug)
		cb = blk_check_plugged(ublk_unplug, NULL, sizeof(struct ublk_plugged));
	return cb ? container_of(cb, struct ublk_plugged, cb) : NULL;
}

/*
 * Would ublk_slot_join() take it? Asked before a callback is allocated for it. A large
 * request does not wait, either.
 */
static bool ublk_rq_may_wait(const struct request *rq)
{
	return !rq->end_io && !(rq->rq_flags & RQF_SCHED_TAGS) &&
		blk_rq_bytes(rq) <= UBLK_PLUG_MAX_BYTES;
}

/**
 * ublk_slot_finish_plugged - end a request, perhaps with the plug of this task
 * @q:		queue of the slot
 * @slot:	as for ublk_slot_finish()
 *
 * Context: process; does not sleep.
 */
void ublk_slot_finish_plugged(struct ublk_queue *q, struct ublk_slot *slot)
{
	struct ublk_plugged *p = NULL;

	if (current->plug && current->plug->nr_ios >= UBLK_PLUG_MIN &&
	    ublk_rq_may_wait(slot->rq))
		p = ublk_plugged_get(current->plug);
	if (!p || !ublk_slot_join(slot, &p->ends)) {
		ublk_slot_finish(q, slot);
		return;
	}

	if (++p->nr == UBLK_PLUG_MAX) {
		list_del(&p->cb.list);
		ublk_unplug(&p->cb, false);
	}
}
