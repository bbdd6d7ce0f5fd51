// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode (UBLK_F_BATCH_IO): many tags per command.
 *
 *   PREP_IO_CMDS	offers tags:     EMPTY -> BUSY, all of them -> ARMED
 *   FETCH_IO_CMDS	reports tags:    QUEUED -> BUSY -> SERVER (batch_fetch.c)
 *   COMMIT_IO_CMDS	answers them:    SERVER -> BUSY -> ARMED
 *
 * A tag has no command and no task of its own: any task may offer or answer it.
 */
#include <linux/nospec.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "batch.h"
#include "io.h"
#include <trace/events/ublk.h>

/* Elements of a commit are read through a window of this size. */
#define UBLK_COMMIT_WINDOW	512

/* The answer of an append that names no sector: no zone has it, so it fails. */
#define UBLK_NO_LBA		U64_MAX

/* The tag that a trace shows of a command for many. */
#define UBLK_NO_TAG		U16_MAX

/*
 * An element of PREP or COMMIT; @buf is what a slot remembers, @addr what an answer
 * needs to know besides: that buffer, or where an append went.
 */
struct ublk_elem {
	u16	tag;
	s32	result;
	u64	buf;
	u64	addr;
};

/*
 * The elements of PREP and COMMIT.
 */

static u64 ublk_elem_auto_word(const struct ublk_batch_args *args,
			       const struct ublk_elem_header *header)
{
	struct ublk_auto_buf_reg reg = { .index = header->buf_index };

	if (args->flags & UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK)
		reg.flags = UBLK_AUTO_BUF_REG_FALLBACK;
	return ublk_auto_buf_reg_to_sqe_addr(&reg);
}

static void ublk_elem_read(const struct ublk_queue *q, const struct ublk_batch_args *args,
			   const void *p, struct ublk_elem *elem)
{
	const struct ublk_elem_header *header = p;
	const u64 *option = p + sizeof(*header);

	elem->tag = header->tag;
	elem->result = header->result;
	elem->buf = 0;
	elem->addr = UBLK_NO_LBA;
	if (q->mode == UBLK_MODE_AUTO)
		elem->buf = ublk_elem_auto_word(args, header);
	else if (args->flags & UBLK_BATCH_F_HAS_BUF_ADDR)
		elem->buf = *option;
	/* One of them at most: a zoned disk is not in copy mode. */
	if (args->flags & (UBLK_BATCH_F_HAS_BUF_ADDR | UBLK_BATCH_F_HAS_ZONE_LBA))
		elem->addr = *option;
}

/* NULL for a tag that is not there, or without the buffer that copy mode needs. */
static struct ublk_slot *ublk_elem_slot(struct ublk_queue *q,
					const struct ublk_elem *elem)
{
	if (elem->tag >= q->depth || (q->mode == UBLK_MODE_COPY && !elem->buf))
		return NULL;
	return &q->slots[array_index_nospec(elem->tag, q->depth)];
}

static u16 ublk_batch_flags(const struct ublk_queue *q)
{
	u16 flags = ublk_dev_has(q->dev, UBLK_F_ZONED) ? UBLK_BATCH_F_HAS_ZONE_LBA : 0;

	switch (q->mode) {
	case UBLK_MODE_COPY:
		return UBLK_BATCH_F_HAS_BUF_ADDR;
	case UBLK_MODE_AUTO:
		return flags | UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK;
	default:
		return flags;
	}
}

static int ublk_batch_check_args(const struct ublk_queue *q,
				 const struct ublk_batch_args *args)
{
	unsigned int bytes = sizeof(struct ublk_elem_header);

	if (args->nr_elem > q->depth)
		return -E2BIG;
	if (args->flags & ~ublk_batch_flags(q))
		return -EINVAL;
	if (args->flags & (UBLK_BATCH_F_HAS_BUF_ADDR | UBLK_BATCH_F_HAS_ZONE_LBA))
		bytes += sizeof(u64);
	return args->elem_bytes == bytes ? 0 : -EINVAL;
}

/*
 * PREP: first all slots are taken, then all are armed. So no request can meet a
 * tag of a command that fails in the end.
 */

/* The command has @taken slots so far: they count as if they were armed. */
static int ublk_prep_take(struct ublk_session *s, struct ublk_queue *q,
			  const struct ublk_elem *elem, unsigned int taken)
{
	struct ublk_slot *slot = ublk_elem_slot(q, elem);

	int ret;

	if (!slot)
		return -EINVAL;
	ret = ublk_session_fetch_slot(s, q, slot, taken);
	if (!ret)
		slot->buf = elem->buf;
	return ret;
}

static void ublk_prep_leave(struct ublk_queue *q, const struct ublk_batch_args *args,
			    const void *elems, unsigned int nr, enum ublk_slot_state to)
{
	struct ublk_elem elem;

	for (unsigned int i = 0; i < nr; i++) {
		ublk_elem_read(q, args, elems + i * args->elem_bytes, &elem);
		/* A request that an earlier session left may be due now. */
		if (ublk_slot_leave(q, &q->slots[elem.tag], to, false))
			ublk_slot_finish(q, &q->slots[elem.tag]);
	}
}

static int ublk_prep_elems(struct ublk_session *s, struct ublk_queue *q,
			   const struct ublk_batch_args *args, const void *elems)
{
	struct ublk_elem elem;
	unsigned int nr;
	int ret = 0;

	for (nr = 0; nr < args->nr_elem; nr++) {
		ublk_elem_read(q, args, elems + nr * args->elem_bytes, &elem);
		ret = ublk_prep_take(s, q, &elem, nr);
		if (ret)
			break;
	}

	scoped_guard(rcu) {
		if (!ret && !ublk_session_is_open(s))
			ret = -ENODEV;
		ublk_prep_leave(q, args, elems, nr,
				ret ? UBLK_SLOT_EMPTY : UBLK_SLOT_ARMED);
	}
	return ret;
}

static int ublk_batch_prep(struct ublk_session *s, struct ublk_queue *q,
			   const struct ublk_batch_args *args)
{
	unsigned int noio;
	void *elems;
	int ret;

	ret = ublk_batch_check_args(q, args);
	if (ret || !args->nr_elem)
		return ret;
	/* Memory must not wait for I/O, which could be that of these very tags. */
	noio = memalloc_noio_save();
	elems = vmemdup_array_user(args->elems, args->nr_elem, args->elem_bytes);
	memalloc_noio_restore(noio);
	if (IS_ERR(elems))
		return PTR_ERR(elems);

	ret = ublk_prep_elems(s, q, args, elems);
	kvfree(elems);
	if (ret)
		return ret;
	ublk_session_note_user(s);
	ublk_session_count_fetches(s, q, args->nr_elem);
	return 0;
}

/*
 * COMMIT: element by element, up to the first bad one. Requests that have succeeded
 * end together, when the window is done.
 */

/**
 * struct ublk_commit - a COMMIT that is carried out
 * @s:		the session
 * @q:		the queue
 * @cmd:	the command
 * @args:	its argument
 * @issue_flags: io_uring's
 * @ends:	requests to end; NULL in a worker thread, which waits for the lock of
 *		its ring when it takes a registration back
 */
struct ublk_commit {
	struct ublk_session		*s;
	struct ublk_queue		*q;
	struct io_uring_cmd		*cmd;
	const struct ublk_batch_args	*args;
	unsigned int			issue_flags;
	struct io_comp_batch		*ends;
};

static int ublk_commit_elem(const struct ublk_commit *c, const struct ublk_elem *elem)
{
	struct ublk_queue *q = c->q;
	struct ublk_slot *slot = ublk_elem_slot(q, elem);

	if (!slot)
		return -EINVAL;
	if (!ublk_slot_take_answer(q, slot, elem->result, elem->addr, c->ends))
		return -EBUSY;

	if (q->mode == UBLK_MODE_AUTO)
		ublk_auto_take_back(slot, c->cmd, c->issue_flags);
	slot->buf = elem->buf;
	if (ublk_slot_rearm(c->s, q, slot, true, c->issue_flags))
		ublk_slot_finish_soon(q, slot, c->ends);
	return 0;
}

/* Returns the number of elements committed; *@ret says why not all. */
static unsigned int ublk_commit_window(const struct ublk_commit *c, const void *elems,
				       unsigned int nr, int *ret)
{
	struct ublk_elem elem;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		ublk_elem_read(c->q, c->args, elems + i * c->args->elem_bytes, &elem);
		*ret = ublk_commit_elem(c, &elem);
		if (*ret)
			break;
	}
	if (c->ends)
		ublk_ends_flush(c->ends);
	return i;
}

/*
 * Read elements, from number @done on. Those that can be read before a fault count.
 * Returns their number.
 */
static unsigned int ublk_commit_read(const struct ublk_batch_args *args, unsigned int done,
				     void *window, size_t size)
{
	unsigned int nr = min(args->nr_elem - done, size / args->elem_bytes);
	unsigned long left;

	left = copy_from_user(window, args->elems + done * args->elem_bytes,
			      nr * args->elem_bytes);
	return nr - DIV_ROUND_UP(left, args->elem_bytes);
}

static int ublk_commit_elems(const struct ublk_commit *c)
{
	u64 window[UBLK_COMMIT_WINDOW / sizeof(u64)] __uninitialized;
	unsigned int done = 0, nr;
	int ret = 0;

	while (!ret && done < c->args->nr_elem) {
		nr = ublk_commit_read(c->args, done, window, sizeof(window));
		if (!nr)
			ret = -EFAULT;
		done += ublk_commit_window(c, window, nr, &ret);
		cond_resched();
	}
	return done ? done * c->args->elem_bytes : ret;
}

static int ublk_batch_commit(struct ublk_session *s, struct ublk_queue *q,
			     struct io_uring_cmd *cmd, const struct ublk_batch_args *args,
			     unsigned int issue_flags)
{
	DEFINE_IO_COMP_BATCH(ends);
	struct ublk_commit commit = {
		.s = s,
		.q = q,
		.cmd = cmd,
		.args = args,
		.issue_flags = issue_flags,
		.ends = issue_flags & IO_URING_F_UNLOCKED ? NULL : &ends,
	};
	int ret;

	ret = ublk_batch_check_args(q, args);
	if (!ret)
		ret = ublk_commit_elems(&commit);
	if (ret > 0)
		ublk_session_note_process(s);
	return ret;
}

/*
 * Commands of the server.
 */

/* Of the commands for one tag there is REGISTER_IO_BUF only. A bad tag comes first. */
static int ublk_batch_run_on_tag(struct ublk_queue *q, struct io_uring_cmd *cmd,
				 unsigned int issue_flags)
{
	const struct ublksrv_io_cmd *sqe = io_uring_sqe_cmd(cmd->sqe, struct ublksrv_io_cmd);
	u16 tag = READ_ONCE(sqe->tag);
	struct ublk_slot *slot;

	if (tag >= q->depth)
		return -EINVAL;
	slot = &q->slots[array_index_nospec(tag, q->depth)];
	if (cmd->cmd_op != UBLK_U_IO_REGISTER_IO_BUF)
		return -EOPNOTSUPP;
	return ublk_reg_lend(q, slot, cmd, READ_ONCE(sqe->addr), issue_flags);
}

static int ublk_batch_take_back(struct ublk_device *dev, struct io_uring_cmd *cmd,
				unsigned int issue_flags)
{
	const struct ublksrv_io_cmd *sqe = io_uring_sqe_cmd(cmd->sqe, struct ublksrv_io_cmd);

	return ublk_reg_take_back(dev, cmd, READ_ONCE(sqe->addr), issue_flags);
}

static int ublk_batch_run(struct ublk_session *s, struct io_uring_cmd *cmd,
			  const struct ublk_batch_args *args, unsigned int issue_flags)
{
	struct ublk_device *dev = s->dev;
	struct ublk_queue *q;

	if (cmd->cmd_op == UBLK_U_IO_UNREGISTER_IO_BUF)
		return ublk_batch_take_back(dev, cmd, issue_flags);
	if (args->q_id >= dev->nr_queues)
		return -EINVAL;
	q = dev->queues[array_index_nospec(args->q_id, dev->nr_queues)];

	switch (cmd->cmd_op) {
	case UBLK_U_IO_PREP_IO_CMDS:
		return ublk_batch_prep(s, q, args);
	case UBLK_U_IO_COMMIT_IO_CMDS:
		return ublk_batch_commit(s, q, cmd, args, issue_flags);
	case UBLK_U_IO_FETCH_IO_CMDS:
		return ublk_batch_fetch(s, q, cmd, args, issue_flags);
	default:
		return ublk_batch_run_on_tag(q, cmd, issue_flags);
	}
}

static int ublk_batch_issue(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct ublk_batch_io *sqe = io_uring_sqe_cmd(cmd->sqe, struct ublk_batch_io);
	struct ublk_session *s = cmd->file->private_data;
	struct ublk_batch_args args = {
		.q_id		= READ_ONCE(sqe->q_id),
		.flags		= READ_ONCE(sqe->flags),
		.nr_elem	= READ_ONCE(sqe->nr_elem),
		.elem_bytes	= READ_ONCE(sqe->elem_bytes),
		.elems		= u64_to_user_ptr(READ_ONCE(cmd->sqe->addr)),
	};
	int ret;

	ret = ublk_batch_run(s, cmd, &args, issue_flags);
	if (ret < 0 && ret != -EIOCBQUEUED)
		trace_ublk_io_refused(s->dev->id, args.q_id, UBLK_NO_TAG, cmd->cmd_op, ret);
	return ret;
}

static void ublk_batch_issue_tw(struct io_tw_req tw_req, io_tw_token_t tw)
{
	const unsigned int flags = IO_URING_CMD_TASK_WORK_ISSUE_FLAGS;
	struct io_uring_cmd *cmd = io_uring_cmd_from_tw(tw_req);
	int ret = -ECANCELED;

	if (!tw.cancel)
		ret = ublk_batch_issue(cmd, flags);
	if (ret != -EIOCBQUEUED)
		io_uring_cmd_done(cmd, ret, flags);
}

/* PREP and COMMIT need neither a task nor a ring, so a worker thread may run them. */
static bool ublk_batch_runs_anywhere(const struct io_uring_cmd *cmd)
{
	return cmd->cmd_op == UBLK_U_IO_PREP_IO_CMDS ||
		cmd->cmd_op == UBLK_U_IO_COMMIT_IO_CMDS;
}

/**
 * ublk_batch_uring_cmd - a command of a server in batch mode, or its cancellation
 * @cmd:	command on ublkcN
 * @issue_flags: io_uring's
 *
 * What has to do with a ring is sent back to its task by a worker thread.
 *
 * Context: may fault and so sleep.
 * Return: -EIOCBQUEUED while the driver holds @cmd, else its result.
 */
int ublk_batch_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	if (unlikely(issue_flags & IO_URING_F_CANCEL)) {
		ublk_batch_cancel_fetch(cmd, issue_flags);
		return 0;
	}
	if (unlikely(issue_flags & IO_URING_F_UNLOCKED) && !ublk_batch_runs_anywhere(cmd)) {
		io_uring_cmd_complete_in_task(cmd, ublk_batch_issue_tw);
		return -EIOCBQUEUED;
	}
	return ublk_batch_issue(cmd, issue_flags);
}
