// SPDX-License-Identifier: GPL-2.0
/*
 * The way of an I/O: a request comes in by ->queue_rq, is described to the
 * server, delivered by task work, and ended by the server's commit.
 *
 *   submitter            server's task work           server's command
 *   ARMED -> BUSY
 *   descriptor written
 *   BUSY -> QUEUED  ---> QUEUED -> BUSY
 *                        WRITE data copied
 *                        BUSY -> SERVER, CQE  ------> SERVER -> BUSY
 *                                                     READ data copied
 *                                                     BUSY -> ARMED
 *                                                     request ended
 */
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "io.h"

/* A WRITE of which no byte can be copied is tried again. */
#define UBLK_COPY_RETRY_MS	3

/* Tasks to wake by one list of requests before the first has to be. */
#define UBLK_MAX_CHAINS		8

/* What a command on ublkcN remembers about itself while the driver holds it. */
struct ublk_io_pdu {
	struct ublk_queue	*q;
	struct ublk_slot	*slot;
};

/* The fields of a command, read once: the ring is shared with userspace. */
struct ublk_io_args {
	u16	q_id;
	u16	tag;
	s32	result;
	u64	addr;
	u64	auto_word;
};

static struct ublk_io_pdu *ublk_io_pdu(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct ublk_io_pdu);
}

/*
 * Ending requests. All of it runs with bottom halves off: the last reference to
 * a file may go with a bio, and must not be dropped in the server's own context,
 * which could be what the release of that file waits for.
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
 * The current task, a server, has not done all of @rq, which will start anew and
 * be as young as the day it came. An unprivileged server must not make use of
 * that for longer than it may keep a request.
 */
static void ublk_rq_count_repeat(struct request *rq)
{
	struct ublk_queue *q = rq->mq_hctx->driver_data;
	struct ublk_rq_pdu *pdu = blk_mq_rq_to_pdu(rq);

	if (!ublk_dev_has(q->dev, UBLK_F_UNPRIVILEGED_DEV))
		return;
	if (!(rq->rq_flags & RQF_DONTPREP)) {
		rq->rq_flags |= RQF_DONTPREP;
		pdu->since = jiffies;
	} else if (time_after(jiffies, pdu->since + rq->q->rq_timeout)) {
		send_sig(SIGKILL, current, 1);
	}
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
	if (ublk_rq_update(rq, status, bytes)) {
		ublk_rq_count_repeat(rq);
		ublk_rq_requeue(rq, 0);
	} else {
		__blk_mq_end_request(rq, status);
	}
	local_bh_enable();
}

/* May a request that was taken from its server go through the queue again? */
static bool ublk_rq_may_repeat(const struct ublk_device *dev, bool delivered)
{
	return READ_ONCE(dev->nosrv) == UBLK_NOSRV_HOLD &&
		(!delivered || ublk_dev_has(dev, UBLK_F_USER_RECOVERY_REISSUE));
}

/*
 * A request will not be answered by the server it went to. The policy that counts
 * is that of this moment. A requeued request that still nobody serves is held by
 * ->queue_rq; under a policy that has changed since, it is not.
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
		ublk_rq_dispose(q, slot, rq, slot->end == UBLK_END_SEEN);
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

/**
 * ublk_slot_finish_soon - end a request, perhaps together with others
 * @q:		queue of the slot
 * @slot:	as for ublk_slot_finish()
 * @ends:	list for requests that have succeeded, or NULL; the caller must not
 *		wait for anybody before ublk_ends_flush()
 */
void ublk_slot_finish_soon(struct ublk_queue *q, struct ublk_slot *slot,
			   struct io_comp_batch *ends)
{
	struct request *rq = slot->rq;

	if (slot->end != UBLK_END_ANSWERED || slot->status != BLK_STS_OK ||
	    slot->len != blk_rq_bytes(rq) || blk_integrity_rq(rq) ||
	    !blk_mq_add_to_batch(rq, ends, false, ublk_ends_flush))
		ublk_slot_finish(q, slot);
}

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

static void ublk_slot_fail(struct ublk_slot *slot, blk_status_t status)
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

/* A fault may wait for one of the requests in @ends, so they go first. */
static unsigned int ublk_copy_answer(struct request *rq, u64 addr, unsigned int len,
				     struct io_comp_batch *ends)
{
	unsigned int copied;

	if (ends && !rq_list_empty(&ends->req_list)) {
		pagefault_disable();
		copied = ublk_copy_from_server(rq, addr, len);
		pagefault_enable();
		if (copied == len)
			return copied;
		ublk_ends_flush(ends);
	}
	return ublk_copy_from_server(rq, addr, len);
}

/* Copy mode: the answer to a READ comes with its data. */
static void ublk_slot_answer_copy(struct ublk_slot *slot, s32 result, u64 addr,
				  struct io_comp_batch *ends)
{
	struct request *rq = slot->rq;
	unsigned int copied;

	copied = ublk_copy_answer(rq, addr, result, ends);
	if (copied < result)
		copied = round_down(copied, queue_logical_block_size(rq->q));
	ublk_slot_done(slot, copied);
}

/**
 * ublk_slot_answer - settle how a request ends, by its server's answer
 * @q:		queue of the slot
 * @slot:	BUSY slot of the request
 * @result:	bytes or a negative errno, as the server says
 * @addr:	copy mode: where the data of a READ is, in the current task's memory
 * @ends:	requests to end before this waits for a fault, or NULL
 *
 * Context: may fault and so sleep.
 */
void ublk_slot_answer(struct ublk_queue *q, struct ublk_slot *slot, s32 result, u64 addr,
		      struct io_comp_batch *ends)
{
	if (result < 0)
		ublk_slot_fail(slot, errno_to_blk_status(result));
	else if (slot->op == UBLK_IO_OP_ZONE_APPEND &&
		 !ublk_zoned_appended(slot->rq, result, addr))
		ublk_slot_fail(slot, BLK_STS_IOERR);
	else if (slot->op != UBLK_IO_OP_READ && slot->op != UBLK_IO_OP_WRITE)
		ublk_slot_settle(slot, BLK_STS_OK, blk_rq_bytes(slot->rq));
	else if (result > slot->len)
		ublk_slot_fail(slot, BLK_STS_IOERR);
	else if (slot->op == UBLK_IO_OP_WRITE)
		ublk_slot_done(slot, result ?: slot->len);
	else if (q->mode == UBLK_MODE_COPY && !slot->in_shmem)
		ublk_slot_answer_copy(slot, result, addr, ends);
	else
		ublk_slot_done(slot, result);
}

/*
 * Holding commands.
 */

static void ublk_cmd_complete(struct io_uring_cmd *cmd, int result)
{
	io_uring_cmd_done(cmd, result, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);
}

static void ublk_cmd_abort_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	ublk_cmd_complete(io_uring_cmd_from_tw(tw_req), UBLK_IO_RES_ABORT);
}

/**
 * ublk_cmd_abort - hand a command back from outside of its ring's lock
 * @cmd:	command that is the caller's alone
 */
void ublk_cmd_abort(struct io_uring_cmd *cmd)
{
	io_uring_cmd_complete_in_task(cmd, ublk_cmd_abort_tw);
}

static void ublk_slot_hold(struct ublk_queue *q, struct ublk_slot *slot,
			   struct io_uring_cmd *cmd, u64 buf)
{
	*ublk_io_pdu(cmd) = (struct ublk_io_pdu) { q, slot };
	slot->cmd = cmd;
	slot->ring = io_uring_cmd_ctx_handle(cmd);
	slot->buf = buf;
}

/**
 * ublk_slot_rearm - offer a BUSY slot to submitters
 * @s:		the session; if it takes no more requests, the slot is cancelled
 * @q:		queue of the slot
 * @slot:	slot with its command, which is cancelable and is then handed back;
 *		in batch mode it has none
 * @owing:	how the request ends is settled
 * @issue_flags: io_uring's
 *
 * Return: what ublk_slot_leave() returns.
 */
bool ublk_slot_rearm(struct ublk_session *s, struct ublk_queue *q,
		     struct ublk_slot *slot, bool owing, unsigned int issue_flags)
{
	struct io_uring_cmd *cmd = slot->cmd;
	bool finish;

	scoped_guard(rcu) {
		if (ublk_session_may_arm(s))
			return ublk_slot_leave(q, slot, UBLK_SLOT_ARMED, owing);
	}
	slot->cmd = NULL;
	finish = ublk_slot_leave(q, slot, UBLK_SLOT_CANCELED, owing);
	if (cmd)
		io_uring_cmd_done(cmd, UBLK_IO_RES_ABORT, issue_flags);
	return finish;
}

static u32 ublk_desc_flags(blk_opf_t opf)
{
	u32 flags = 0;

	if (opf & REQ_FAILFAST_DEV)
		flags |= UBLK_IO_F_FAILFAST_DEV;
	if (opf & REQ_FAILFAST_TRANSPORT)
		flags |= UBLK_IO_F_FAILFAST_TRANSPORT;
	if (opf & REQ_FAILFAST_DRIVER)
		flags |= UBLK_IO_F_FAILFAST_DRIVER;
	if (opf & REQ_META)
		flags |= UBLK_IO_F_META;
	if (opf & REQ_FUA)
		flags |= UBLK_IO_F_FUA;
	if (opf & REQ_NOUNMAP)
		flags |= UBLK_IO_F_NOUNMAP;
	if (opf & REQ_SWAP)
		flags |= UBLK_IO_F_SWAP;
	if (opf & REQ_INTEGRITY)
		flags |= UBLK_IO_F_INTEGRITY;
	return flags;
}

static u32 ublk_desc_op_flags(const struct ublk_slot *slot)
{
	return slot->op | ublk_desc_flags(slot->rq->cmd_flags) |
		(slot->in_shmem ? UBLK_IO_F_SHMEM_ZC : 0);
}

/*
 * Delivery: in the server's task, under its ring's lock.
 */

/**
 * ublk_tw_is_late - is the task that runs this on its way out?
 * @tw:		what io_uring says of it
 *
 * Return: true if its memory may be gone, or not be that of the server at all,
 * and what it is given will never be answered.
 */
bool ublk_tw_is_late(io_tw_token_t tw)
{
	return tw.cancel || fatal_signal_pending(current) ||
		(READ_ONCE(current->signal->flags) & SIGNAL_GROUP_EXIT) ||
		(current->flags & PF_POSTCOREDUMP);
}

static void ublk_deliver_cancel(struct ublk_queue *q, struct ublk_slot *slot,
				struct io_uring_cmd *cmd)
{
	slot->cmd = NULL;
	slot->end = UBLK_END_UNSEEN;
	ublk_slot_pass(q, slot, UBLK_SLOT_CANCELED, 0);
	ublk_cmd_complete(cmd, UBLK_IO_RES_ABORT);
	ublk_slot_finish(q, slot);
}

/* No byte of a WRITE could be copied: keep the command, try again later. */
static void ublk_deliver_retry(struct ublk_session *s, struct ublk_queue *q,
			       struct ublk_slot *slot, unsigned int issue_flags)
{
	struct request *rq = slot->rq;

	ublk_rq_count_repeat(rq);
	if (q->batch)
		WRITE_ONCE(slot->copier, NULL);
	ublk_slot_rearm(s, q, slot, false, issue_flags);
	ublk_rq_requeue(rq, UBLK_COPY_RETRY_MS);
}

/*
 * Copy the data of a WRITE, or as many whole blocks of it as can be, and tell
 * the server how much that is. Returns false if it is nothing.
 */
static bool ublk_deliver_data(struct ublk_queue *q, struct ublk_slot *slot, u64 addr)
{
	struct request *rq = slot->rq;
	unsigned int copied;

	copied = ublk_copy_to_server(rq, addr, slot->len);
	if (likely(copied == slot->len))
		return true;

	copied = round_down(copied, queue_logical_block_size(rq->q));
	if (!copied)
		return false;

	slot->len = copied;
	ublk_slot_desc(q, slot)->nr_sectors = copied >> SECTOR_SHIFT;
	return true;
}

/*
 * Register the pages, or tell the server that it has to help itself. Returns false
 * if it did not offer that: the request has failed, the command is kept.
 */
static bool ublk_deliver_auto(struct ublk_session *s, struct ublk_queue *q,
			      struct ublk_slot *slot, struct io_uring_cmd *cmd,
			      unsigned int issue_flags)
{
	if (!ublk_auto_lend(q, slot, cmd, issue_flags))
		return true;

	if (ublk_auto_has_fallback(slot)) {
		ublk_slot_desc(q, slot)->op_flags = ublk_desc_op_flags(slot) |
						    UBLK_IO_F_NEED_REG_BUF;
		return true;
	}

	ublk_slot_fail(slot, BLK_STS_IOERR);
	if (ublk_slot_rearm(s, q, slot, true, issue_flags))
		ublk_slot_finish(q, slot);
	return false;
}

static bool ublk_slot_wants_get_data(const struct ublk_queue *q,
				     const struct ublk_slot *slot)
{
	return q->get_data && slot->op == UBLK_IO_OP_WRITE && !slot->in_shmem;
}

/**
 * ublk_deliver_prepare - do for the data of a request what comes before delivery
 * @s:		the session
 * @q:		queue of the slot
 * @slot:	BUSY slot
 * @cmd:	command that the request is delivered with
 * @issue_flags: io_uring's
 *
 * Context: in the server's task, under the lock of its ring; may fault.
 * Return: true if the slot may be passed on to the server, with a reference if it
 * is lent; false if the request has been dealt with, and its slot.
 */
bool ublk_deliver_prepare(struct ublk_session *s, struct ublk_queue *q,
			  struct ublk_slot *slot, struct io_uring_cmd *cmd,
			  unsigned int issue_flags)
{
	switch (q->mode) {
	case UBLK_MODE_COPY:
		if (slot->op != UBLK_IO_OP_WRITE || slot->in_shmem ||
		    ublk_slot_wants_get_data(q, slot) ||
		    ublk_deliver_data(q, slot, slot->buf))
			return true;
		ublk_deliver_retry(s, q, slot, issue_flags);
		return false;
	case UBLK_MODE_AUTO:
		return ublk_deliver_auto(s, q, slot, cmd, issue_flags);
	default:
		return true;
	}
}

static void ublk_deliver(struct ublk_session *s, struct ublk_queue *q,
			 struct ublk_slot *slot, bool late)
{
	const unsigned int flags = IO_URING_CMD_TASK_WORK_ISSUE_FLAGS;
	struct io_uring_cmd *cmd = slot->cmd;
	bool get_data;

	/* Taken by a sweep since: only the command is left to hand back. */
	if (!ublk_slot_take(q, slot, UBLK_SLOT_QUEUED)) {
		slot->cmd = NULL;
		ublk_cmd_complete(cmd, UBLK_IO_RES_ABORT);
		return;
	}

	if (unlikely(late)) {
		ublk_deliver_cancel(q, slot, cmd);
		return;
	}

	if (!ublk_deliver_prepare(s, q, slot, cmd, flags))
		return;
	get_data = ublk_slot_wants_get_data(q, slot);

	slot->cmd = NULL;
	ublk_slot_pass(q, slot, get_data ? UBLK_SLOT_NEED_DATA : UBLK_SLOT_SERVER,
		       slot->lent);
	io_uring_cmd_done(cmd, get_data ? UBLK_IO_RES_NEED_GET_DATA : UBLK_IO_RES_OK, flags);
}

/*
 * One task work carries a chain of slots, of any queues, whose commands belong
 * to the same task and ring. The next slot is read first: a delivered one is
 * the server's, and may be in another chain at once.
 */
static void ublk_deliver_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	struct ublk_session *s = cmd->file->private_data;
	struct ublk_slot *slot = ublk_io_pdu(cmd)->slot;
	bool late = ublk_tw_is_late(tw);

	while (slot) {
		struct ublk_slot *next = slot->next;
		struct ublk_queue *q = ublk_io_pdu(slot->cmd)->q;

		ublk_deliver(s, q, slot, late || fatal_signal_pending(current));
		slot = next;
	}
}

/*
 * Submission: in any context that may not sleep, in an RCU read-side section.
 */

struct ublk_chain {
	struct task_struct	*task;
	void			*ring;
	struct ublk_slot	*head;
	struct ublk_slot	*tail;
};

struct ublk_chains {
	unsigned int		nr;
	struct ublk_chain	chain[UBLK_MAX_CHAINS];
};

/*
 * The slots are QUEUED, but their commands are pinned: whoever takes one of the
 * slots away leaves its command to the task work pushed here.
 */
static void ublk_chain_push(struct ublk_chain *c)
{
	io_uring_cmd_complete_in_task(c->head->cmd, ublk_deliver_tw);
}

static void ublk_chains_push(struct ublk_chains *cs)
{
	for (unsigned int i = 0; i < cs->nr; i++)
		ublk_chain_push(&cs->chain[i]);
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
		ublk_chain_push(cs->chain);
		c = cs->chain;
	} else {
		cs->nr++;
	}
	*c = (struct ublk_chain) { slot->task, slot->ring, slot, slot };
}

/**
 * ublk_desc_op - what the server knows the operation of a request as
 * @rq:		the request
 *
 * Return: its UBLK_IO_OP_*, or -1 if ublk knows no such operation.
 */
int ublk_desc_op(const struct request *rq)
{
	switch (req_op(rq)) {
	case REQ_OP_READ:
		return UBLK_IO_OP_READ;
	case REQ_OP_WRITE:
		return UBLK_IO_OP_WRITE;
	case REQ_OP_FLUSH:
		return UBLK_IO_OP_FLUSH;
	case REQ_OP_DISCARD:
		return UBLK_IO_OP_DISCARD;
	case REQ_OP_WRITE_ZEROES:
		return UBLK_IO_OP_WRITE_ZEROES;
	case REQ_OP_ZONE_OPEN:
		return UBLK_IO_OP_ZONE_OPEN;
	case REQ_OP_ZONE_CLOSE:
		return UBLK_IO_OP_ZONE_CLOSE;
	case REQ_OP_ZONE_FINISH:
		return UBLK_IO_OP_ZONE_FINISH;
	case REQ_OP_ZONE_APPEND:
		return UBLK_IO_OP_ZONE_APPEND;
	case REQ_OP_ZONE_RESET:
		return UBLK_IO_OP_ZONE_RESET;
	case REQ_OP_ZONE_RESET_ALL:
		return UBLK_IO_OP_ZONE_RESET_ALL;
	case REQ_OP_DRV_IN:
		return UBLK_IO_OP_REPORT_ZONES;
	default:
		return -1;
	}
}

/**
 * ublk_slot_describe - tell the server what the request of a slot is
 * @q:		queue of the slot
 * @slot:	BUSY slot of a request that the server has not heard of
 */
void ublk_slot_describe(struct ublk_queue *q, struct ublk_slot *slot)
{
	struct ublksrv_io_desc *desc = ublk_slot_desc(q, slot);
	struct request *rq = slot->rq;
	u64 addr = slot->buf;

	if (q->shmem)
		ublk_shmem_match(q, slot, &addr);
	slot->len = blk_rq_bytes(rq);
	desc->op_flags = ublk_desc_op_flags(slot);
	desc->nr_sectors = blk_rq_sectors(rq);
	desc->start_sector = blk_rq_pos(rq);
	desc->addr = addr;
	if (unlikely(slot->op == UBLK_IO_OP_REPORT_ZONES))
		ublk_zoned_describe(rq, desc);
}

/**
 * ublk_rq_dispatch - claim the slot of a request, describe it to the server
 * @q:		queue of the request
 * @rq:		the request
 * @op:		its UBLK_IO_OP_*
 *
 * Context: RCU read-side section, which lasts until the slot has been pushed.
 * Return: true if the slot is QUEUED, and the caller has to push it; false if
 * nobody serves the tag.
 */
bool ublk_rq_dispatch(struct ublk_queue *q, struct request *rq, int op)
{
	struct ublk_slot *slot = &q->slots[rq->tag];

	if (!ublk_slot_dispatch(q, slot))
		return false;

	blk_mq_start_request(rq);
	slot->rq = rq;
	slot->op = op;
	ublk_slot_describe(q, slot);
	ublk_slot_pass(q, slot, UBLK_SLOT_QUEUED, 0);
	return true;
}

/* Push what waits on the queue, in the order in which it came. */
static void ublk_queue_push_pending(struct ublk_queue *q)
{
	struct ublk_slot *slot, *next;
	struct ublk_chains cs;

	cs.nr = 0;
	llist_for_each_entry_safe(slot, next,
				  llist_reverse_order(llist_del_all(&q->pending)),
				  pending)
		ublk_chains_add(&cs, slot);
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
	switch (READ_ONCE(q->dev->nosrv)) {
	case UBLK_NOSRV_HOLD:
		blk_mq_requeue_request(rq, false);
		return BLK_STS_OK;
	case UBLK_NOSRV_FAIL_TARGET:
		return BLK_STS_TARGET;
	default:
		return BLK_STS_IOERR;
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
		llist_add(&slot->pending, &q->pending);
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
	struct rq_list left = { };
	struct ublk_chains cs;
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

/*
 * Commands of the server. Every check comes before the first change, so a
 * command that fails has changed nothing and its tag is what it was.
 */

/*
 * What a server has to say about the data of the next request depends on the
 * mode. @any: it may leave that for later, or has other use for the address.
 */
static bool ublk_io_buf_ok(const struct ublk_queue *q, const struct ublk_io_args *args,
			   bool any)
{
	switch (q->mode) {
	case UBLK_MODE_COPY:
		return args->addr || any;
	case UBLK_MODE_AUTO:
		return (!args->addr || any) && ublk_auto_word_ok(args->auto_word);
	default:
		return !args->addr || any;
	}
}

static u64 ublk_io_buf(const struct ublk_queue *q, const struct ublk_io_args *args)
{
	return q->mode == UBLK_MODE_AUTO ? args->auto_word : args->addr;
}

static int ublk_io_fetch(struct ublk_session *s, struct ublk_queue *q,
			 struct ublk_slot *slot, struct io_uring_cmd *cmd,
			 const struct ublk_io_args *args, unsigned int issue_flags)
{
	struct ublk_device *dev = s->dev;

	if (!ublk_io_buf_ok(q, args, q->get_data))
		return -EINVAL;
	if (!ublk_session_may_arm(s))
		return -ENODEV;
	if (atomic_read(&s->nr_fetched) == dev->nr_queues * q->depth)
		return -EBUSY;
	if (!ublk_slot_fetch(q, slot, s->gen))
		return -EINVAL;

	ublk_slot_hold(q, slot, cmd, ublk_io_buf(q, args));
	WRITE_ONCE(slot->task, get_task_struct(current));
	ublk_session_note_process(s);
	ublk_session_note_right(s);
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	if (ublk_slot_rearm(s, q, slot, false, issue_flags))
		ublk_slot_finish(q, slot);
	ublk_session_count_fetches(s, q, 1);
	return -EIOCBQUEUED;
}

/* The address of a commit may be none, or that of what was appended. */
static bool ublk_commit_addr_is_free(const struct ublk_queue *q,
				     const struct ublk_slot *slot)
{
	return (q->get_data && slot->op != UBLK_IO_OP_READ) ||
		slot->op == UBLK_IO_OP_ZONE_APPEND;
}

/* May the current task commit the tag? */
static int ublk_io_check_owner(const struct ublk_slot *slot)
{
	if (READ_ONCE(slot->task) != current)
		return -EINVAL;

	switch (ublk_slot_state(slot)) {
	case UBLK_SLOT_SERVER:
	case UBLK_SLOT_NEED_DATA:
		return 0;
	default:
		return -EBUSY;
	}
}

static int ublk_io_commit(struct ublk_session *s, struct ublk_queue *q,
			  struct ublk_slot *slot, struct io_uring_cmd *cmd,
			  const struct ublk_io_args *args, unsigned int issue_flags)
{
	int ret;

	ret = ublk_io_check_owner(slot);
	if (ret)
		return ret;
	if (ublk_slot_state(slot) == UBLK_SLOT_NEED_DATA)
		return -EINVAL;
	if (!ublk_io_buf_ok(q, args, ublk_commit_addr_is_free(q, slot)))
		return -EINVAL;
	if (!ublk_slot_take(q, slot, UBLK_SLOT_SERVER))
		return -EBUSY;

	if (q->mode == UBLK_MODE_AUTO)
		ublk_auto_take_back(slot, cmd, issue_flags);
	ublk_slot_answer(q, slot, args->result, args->addr, NULL);

	ublk_slot_hold(q, slot, cmd, ublk_io_buf(q, args));
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	if (ublk_slot_rearm(s, q, slot, true, issue_flags))
		ublk_slot_finish_plugged(q, slot);
	return -EIOCBQUEUED;
}

static int ublk_io_get_data(struct ublk_session *s, struct ublk_queue *q,
			    struct ublk_slot *slot, struct io_uring_cmd *cmd,
			    const struct ublk_io_args *args, unsigned int issue_flags)
{
	int ret;

	ret = ublk_io_check_owner(slot);
	if (ret)
		return ret;
	if (ublk_slot_state(slot) == UBLK_SLOT_SERVER)
		return -EINVAL;
	if (!ublk_slot_take(q, slot, UBLK_SLOT_NEED_DATA))
		return -EBUSY;

	ublk_slot_desc(q, slot)->addr = args->addr;
	if (ublk_deliver_data(q, slot, args->addr)) {
		slot->buf = args->addr;
		ublk_slot_pass(q, slot, UBLK_SLOT_SERVER, 0);
		return UBLK_IO_RES_OK;
	}

	ublk_slot_hold(q, slot, cmd, args->addr);
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
	ublk_deliver_retry(s, q, slot, issue_flags);
	return -EIOCBQUEUED;
}

/* Any task may register; the one that serves the tag is told more if it cannot. */
static int ublk_io_register(struct ublk_queue *q, struct ublk_slot *slot,
			    struct io_uring_cmd *cmd, const struct ublk_io_args *args,
			    unsigned int issue_flags)
{
	if (ublk_io_check_owner(slot) == -EBUSY)
		return -EBUSY;
	return ublk_reg_lend(q, slot, cmd, args->addr, issue_flags);
}

/* A number that names no command: an owner is told first that it owns nothing. */
static int ublk_io_unknown(const struct ublk_slot *slot)
{
	return ublk_io_check_owner(slot) == -EBUSY ? -EBUSY : -EINVAL;
}

static int ublk_io_run_on_tag(struct ublk_session *s, struct io_uring_cmd *cmd,
			      const struct ublk_io_args *args, unsigned int issue_flags)
{
	struct ublk_device *dev = s->dev;
	struct ublk_slot *slot;
	struct ublk_queue *q;

	if (args->q_id >= dev->nr_queues)
		return -EINVAL;
	q = dev->queues[array_index_nospec(args->q_id, dev->nr_queues)];
	if (args->tag >= q->depth)
		return -EINVAL;
	slot = &q->slots[array_index_nospec(args->tag, q->depth)];

	switch (_IOC_NR(cmd->cmd_op)) {
	case UBLK_IO_FETCH_REQ:
		return ublk_io_fetch(s, q, slot, cmd, args, issue_flags);
	case UBLK_IO_COMMIT_AND_FETCH_REQ:
		return ublk_io_commit(s, q, slot, cmd, args, issue_flags);
	case UBLK_IO_NEED_GET_DATA:
		return ublk_io_get_data(s, q, slot, cmd, args, issue_flags);
	case _IOC_NR(UBLK_U_IO_REGISTER_IO_BUF):
		return ublk_io_register(q, slot, cmd, args, issue_flags);
	default:
		return ublk_io_unknown(slot);
	}
}

static int ublk_io_run(struct ublk_session *s, struct io_uring_cmd *cmd,
		       const struct ublk_io_args *args, unsigned int issue_flags)
{
	switch (_IOC_NR(cmd->cmd_op)) {
	case _IOC_NR(UBLK_U_IO_UNREGISTER_IO_BUF):
		return ublk_reg_take_back(s->dev, cmd, args->addr, issue_flags);
	default:
		return ublk_io_run_on_tag(s, cmd, args, issue_flags);
	}
}

static int ublk_io_issue(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct ublksrv_io_cmd *sqe = io_uring_sqe_cmd(cmd->sqe, struct ublksrv_io_cmd);
	struct ublk_session *s = cmd->file->private_data;
	struct ublk_io_args args = {
		.q_id	= READ_ONCE(sqe->q_id),
		.tag	= READ_ONCE(sqe->tag),
		.result	= READ_ONCE(sqe->result),
		.addr	= READ_ONCE(sqe->addr),
		.auto_word = READ_ONCE(cmd->sqe->addr),
	};
	int ret;

	ret = ublk_io_run(s, cmd, &args, issue_flags);
	if (ret < 0 && ret != -EIOCBQUEUED)
		trace_ublk_io_refused(s->dev->id, args.q_id, args.tag, cmd->cmd_op, ret);
	return ret;
}

static void ublk_io_issue_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	int ret = -ECANCELED;

	if (!tw.cancel)
		ret = ublk_io_issue(cmd, IO_URING_CMD_TASK_WORK_ISSUE_FLAGS);
	if (ret != -EIOCBQUEUED)
		ublk_cmd_complete(cmd, ret);
}

/*
 * io_uring wants @cmd back: its ring goes away, or its task has called exec.
 * A command that is not idle is on its way through task work; io_uring asks
 * again until it has come out.
 */
static void ublk_io_cancel(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ublk_io_pdu *pdu = ublk_io_pdu(cmd);

	if (!ublk_slot_cancel(pdu->q, pdu->slot))
		return;
	ublk_check(pdu->slot->cmd == cmd);
	pdu->slot->cmd = NULL;
	io_uring_cmd_done(cmd, UBLK_IO_RES_ABORT, issue_flags);
}

/**
 * ublk_ch_uring_cmd - a command of the server, or its cancellation
 * @cmd:	command on ublkcN
 * @issue_flags: io_uring's
 *
 * Commands belong to the task that submits them, so those that a worker thread
 * was given are sent back to it.
 *
 * Context: may fault on the server's buffer, so sleep, under uring_lock.
 * Return: -EIOCBQUEUED while the driver holds @cmd, else its result.
 */
int ublk_ch_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	if (unlikely(issue_flags & IO_URING_F_CANCEL)) {
		ublk_io_cancel(cmd, issue_flags);
		return 0;
	}
	if (!ublk_cmd_is_ours(cmd->cmd_op))
		return -EOPNOTSUPP;
	if (unlikely(issue_flags & IO_URING_F_UNLOCKED)) {
		io_uring_cmd_complete_in_task(cmd, ublk_io_issue_tw);
		return -EIOCBQUEUED;
	}
	return ublk_io_issue(cmd, issue_flags);
}

const struct blk_mq_ops ublk_mq_ops = {
	.queue_rq	= ublk_mq_queue_rq,
	.queue_rqs	= ublk_mq_queue_rqs,
	.commit_rqs	= ublk_mq_commit_rqs,
	.init_hctx	= ublk_mq_init_hctx,
	.timeout	= ublk_mq_timeout,
};
