// SPDX-License-Identifier: GPL-2.0
/*
 * The way of an I/O: a request comes in by ->queue_rq (submit.c), is described to
 * the server (desc.c), delivered by task work, and answered by the server's commit
 * (both here), which ends it (finish.c).
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
#include <linux/blk-mq.h>
#include <linux/nospec.h>
#include <linux/pagemap.h>
#include <linux/sched/signal.h>

#include "io.h"
#include <trace/events/ublk.h>

/* A WRITE of which no byte can be copied is tried again. */
#define UBLK_COPY_RETRY_MS	3

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

static struct ublk_io_pdu *ublk_io_pdu_of(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct ublk_io_pdu);
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
 *
 * Context: any; task work completes it.
 */
void ublk_cmd_abort(struct io_uring_cmd *cmd)
{
	io_uring_cmd_complete_in_task(cmd, ublk_cmd_abort_tw);
}

static void ublk_slot_hold(struct ublk_queue *q, struct ublk_slot *slot,
			   struct io_uring_cmd *cmd, u64 buf, unsigned int issue_flags)
{
	*ublk_io_pdu_of(cmd) = (struct ublk_io_pdu) { q, slot };
	slot->cmd = cmd;
	slot->ring = io_uring_cmd_ctx_handle(cmd);
	slot->buf = buf;
	io_uring_cmd_mark_cancelable(cmd, issue_flags);
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
 * Context: under the lock of the ring of the command; turns preemption off meanwhile.
 * Return: what ublk_slot_leave() returns.
 */
bool ublk_slot_rearm(struct ublk_session *s, struct ublk_queue *q,
		     struct ublk_slot *slot, bool owing, unsigned int issue_flags)
{
	struct io_uring_cmd *cmd = slot->cmd;
	bool finish;

	/* With preemption off this is an RCU read-side section, and a cheap one. */
	scoped_guard(preempt) {
		if (ublk_session_is_open(s))
			return ublk_slot_leave(q, slot, UBLK_SLOT_ARMED, owing);
	}
	slot->cmd = NULL;
	finish = ublk_slot_leave(q, slot, UBLK_SLOT_CANCELED, owing);
	if (cmd)
		io_uring_cmd_done(cmd, UBLK_IO_RES_ABORT, issue_flags);
	return finish;
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
	slot->end = UBLK_END_UNDELIVERED;
	ublk_slot_pass(q, slot, UBLK_SLOT_CANCELED, 0);
	ublk_cmd_complete(cmd, UBLK_IO_RES_ABORT);
	ublk_slot_finish(q, slot);
}

/* The data of a WRITE could not be copied: keep the command, try again later. */
static void ublk_deliver_retry(struct ublk_session *s, struct ublk_queue *q,
			       struct ublk_slot *slot, unsigned int issue_flags)
{
	struct request *rq = slot->rq;

	/* Copy mode has no references, so there is nothing to finish. */
	ublk_slot_rearm(s, q, slot, false, issue_flags);
	ublk_rq_requeue_rest(rq, UBLK_COPY_RETRY_MS);
}

/*
 * Copy the data of a WRITE, or as many whole blocks of it as can be, and tell
 * the server how much that is. Returns false if it is nothing, or if the server is
 * killed over it: it will not hear of the request.
 */
static bool ublk_deliver_data(struct ublk_queue *q, struct ublk_slot *slot, u64 addr)
{
	struct request *rq = slot->rq;
	unsigned int copied;

	copied = ublk_copy_to_server(rq, addr, slot->len, !q->unprivileged);
	if (likely(copied == slot->len))
		return true;

	copied = round_down(copied, queue_logical_block_size(rq->q));
	if (!copied || fatal_signal_pending(current))
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
 * ublk_touch_buf - have the memory for the data of a WRITE brought in
 * @slot:	slot that only a sweep can take from the current task
 * @addr:	the memory
 *
 * An unprivileged server's may be in a file of its own FUSE, see ublk_touch_answer():
 * so this comes before the slot is BUSY, and then the copy does not fault.
 */
void ublk_touch_buf(const struct ublk_slot *slot, u64 addr)
{
	if (slot->op == UBLK_IO_OP_WRITE && !slot->in_shmem)
		fault_in_safe_writeable(u64_to_user_ptr(addr), slot->len);
}

/**
 * ublk_deliver_prepare_data - copy or register the data of a request before the server
 * is told; see ublk_deliver_prepare()
 * @s:		the session
 * @q:		queue of the slot
 * @slot:	BUSY slot
 * @cmd:	command that the request is delivered with
 * @issue_flags: io_uring's
 *
 * Context: in the server's task, under the lock of its ring; may fault.
 * Return: true if the slot may be passed on to the server, with a reference if it
 * is lent. False if that did not work: the request then comes again or has failed, and
 * the slot was handed on.
 */
bool ublk_deliver_prepare_data(struct ublk_session *s, struct ublk_queue *q,
			       struct ublk_slot *slot, struct io_uring_cmd *cmd,
			       unsigned int issue_flags)
{
	if (q->mode == UBLK_MODE_AUTO)
		return ublk_deliver_auto(s, q, slot, cmd, issue_flags);
	if (slot->in_shmem || ublk_slot_wants_get_data(q, slot) ||
	    ublk_deliver_data(q, slot, slot->buf))
		return true;
	ublk_deliver_retry(s, q, slot, issue_flags);
	return false;
}

static void ublk_deliver(struct ublk_session *s, struct ublk_queue *q,
			 struct ublk_slot *slot, bool late)
{
	const unsigned int flags = IO_URING_CMD_TASK_WORK_ISSUE_FLAGS;
	struct io_uring_cmd *cmd = slot->cmd;
	bool get_data;

	if (unlikely(q->unprivileged) && !late && !q->get_data)
		ublk_touch_buf(slot, slot->buf);
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
		       slot->lent ? 1 : 0);
	io_uring_cmd_done(cmd, get_data ? UBLK_IO_RES_NEED_GET_DATA : UBLK_IO_RES_OK, flags);
}

/**
 * ublk_deliver_tw - deliver a chain of slots, of any queues, to the current task
 * @tw_req:	command of the first; all belong to the same task and ring
 * @tw:		what io_uring says of the task
 *
 * The next slot is read first: a delivered one is the server's, and may be in
 * another chain at once.
 */
void ublk_deliver_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	struct ublk_session *s = cmd->file->private_data;
	struct ublk_slot *slot = ublk_io_pdu_of(cmd)->slot;
	struct ublk_queue *q = ublk_io_pdu_of(cmd)->q;
	bool late = ublk_tw_is_late(tw);

	ublk_coalesce_server_runs(q);
	/* Nobody has to wake this task for what waits there. */
	if (!llist_empty(&q->coalesce.waiting)) {
		guard(rcu)();
		ublk_queue_push_pending(q);
	}

	while (slot) {
		struct ublk_slot *next = slot->next;

		q = ublk_io_pdu_of(slot->cmd)->q;
		ublk_deliver(s, q, slot, late || fatal_signal_pending(current));
		slot = next;
	}
}

/*
 * Commands of the server. Every check comes before the first change, so a
 * command that fails has changed nothing and its tag is what it was.
 */

/*
 * Is the address that a command names right for the mode? With @any_addr it is not
 * looked at.
 */
static bool ublk_io_buf_ok(const struct ublk_queue *q, const struct ublk_io_args *args,
			   bool any_addr)
{
	switch (q->mode) {
	case UBLK_MODE_COPY:
		return any_addr || args->addr;
	case UBLK_MODE_AUTO:
		return (any_addr || !args->addr) && ublk_auto_word_ok(args->auto_word);
	default:
		return any_addr || !args->addr;
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
	int ret;

	if (!ublk_io_buf_ok(q, args, q->get_data))
		return -EINVAL;
	ret = ublk_session_fetch_slot(s, q, slot, 0);
	if (ret)
		return ret;

	ublk_slot_hold(q, slot, cmd, ublk_io_buf(q, args), issue_flags);
	WRITE_ONCE(slot->task, get_task_struct(current));
	ublk_session_note_process(s);
	ublk_session_note_user(s);
	/* A request that an earlier session left may have lost its last reference. */
	if (ublk_slot_rearm(s, q, slot, false, issue_flags))
		ublk_slot_finish(q, slot);
	ublk_session_count_fetches(s, q, 1);
	return -EIOCBQUEUED;
}

/*
 * Is the address of this commit no buffer? With NEED_GET_DATA only a READ needs one, and
 * an append has its sector there.
 */
static bool ublk_commit_takes_any_addr(const struct ublk_queue *q,
				       const struct ublk_slot *slot)
{
	return (q->get_data && slot->op != UBLK_IO_OP_READ) ||
		slot->op == UBLK_IO_OP_ZONE_APPEND;
}

/* Does the current task own the tag, and the server its request? */
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
	if (!ublk_io_buf_ok(q, args, ublk_commit_takes_any_addr(q, slot)))
		return -EINVAL;
	if (!ublk_slot_take_answer(q, slot, args->result, args->addr, NULL))
		return -EBUSY;

	if (q->mode == UBLK_MODE_AUTO)
		ublk_auto_take_back(slot, cmd, issue_flags);

	ublk_slot_hold(q, slot, cmd, ublk_io_buf(q, args), issue_flags);
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
	if (unlikely(q->unprivileged))
		ublk_touch_buf(slot, args->addr);
	if (!ublk_slot_take(q, slot, UBLK_SLOT_NEED_DATA))
		return -EBUSY;

	ublk_slot_desc(q, slot)->addr = args->addr;
	if (ublk_deliver_data(q, slot, args->addr)) {
		slot->buf = args->addr;
		ublk_slot_pass(q, slot, UBLK_SLOT_SERVER, 0);
		return UBLK_IO_RES_OK;
	}

	ublk_slot_hold(q, slot, cmd, args->addr, issue_flags);
	ublk_deliver_retry(s, q, slot, issue_flags);
	return -EIOCBQUEUED;
}

/*
 * Any task may register. If the server does not own the request, the tag's own task
 * gets -EBUSY, any other -EINVAL.
 */
static int ublk_io_register(struct ublk_queue *q, struct ublk_slot *slot,
			    struct io_uring_cmd *cmd, const struct ublk_io_args *args,
			    unsigned int issue_flags)
{
	if (ublk_io_check_owner(slot) == -EBUSY)
		return -EBUSY;
	return ublk_reg_lend(q, slot, cmd, args->addr, issue_flags);
}

/* No such command: -EINVAL, but -EBUSY for the task of a tag that has no request. */
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
	struct ublk_io_pdu *pdu = ublk_io_pdu_of(cmd);

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
