// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: how requests come to the server.
 *
 * A fetch command (FETCH_IO_CMDS) stays with the driver for as long as its ring and
 * the device live. Its task work takes tags out of the FIFO (batch_fifo.c), copies the
 * data of WRITEs, posts the tags in one CQE, and goes on until the FIFO is empty. Only
 * its task work ends an active command.
 */
#include <linux/blk-mq.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "io.h"

/* Tags that one CQE reports at most, and one look into the FIFO takes. */
#define UBLK_FETCH_TAGS		128

/* Buffers that one task work fills, before others of its task have their turn. */
#define UBLK_FETCH_ROUNDS	32

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
	ublk_slot_pass(q, slot, UBLK_SLOT_SERVER, slot->lent ? 1 : 0);
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
	ublk_batch_unpop(f, tags, left);
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
	ublk_batch_unpop(f, tags + i, nr - i);
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
 * Returns false if that
 * failed, and the command has to end.
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
	ublk_batch_leave(f);
	io_uring_cmd_done(ublk_fetch_cmd(f), result, issue_flags);
}

/* False if the session takes no more requests. */
static bool ublk_fetch_try_park(struct ublk_session *s, struct ublk_fetch *f)
{
	guard(rcu)();
	if (!ublk_session_is_open(s))
		return false;
	ublk_batch_park(f);
	return true;
}

/* Wait for tags, or end if the session takes no more requests. */
static void ublk_fetch_park(struct ublk_session *s, struct ublk_fetch *f,
			    unsigned int issue_flags)
{
	if (!ublk_fetch_try_park(s, f))
		ublk_fetch_end(f, UBLK_IO_RES_ABORT, issue_flags);
}

/**
 * ublk_fetch_tw - task work of an active fetch command
 * @tw_req:	the command
 * @tw:		what io_uring says of the task
 *
 * Context: in the task of the command, under the lock of its ring.
 */
void ublk_fetch_tw(struct io_tw_req tw_req, io_tw_token_t tw)
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
			io_uring_cmd_complete_in_task(cmd, ublk_fetch_tw);
			return;
		}
		if (!ublk_fetch_round(s, f, flags)) {
			ublk_fetch_end(f, -ENOBUFS, flags);
			return;
		}
	} while (ublk_batch_claim(f));
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

	if (ublk_batch_unpark(f))
		io_uring_cmd_done(cmd, UBLK_IO_RES_ABORT, issue_flags);
	else
		f->canceled = true;
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
