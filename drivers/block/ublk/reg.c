// SPDX-License-Identifier: GPL-2.0
/*
 * Zero copy: the pages of a request as a fixed buffer of an io_uring, by command
 * or without being asked.
 *
 * A registration is a reference to the request. The ring gives it back when the
 * buffer is unregistered and the last I/O that uses it is done, or when the ring
 * goes away. That may be long after the commit, and in another session; the
 * request waits for it, and nothing else does.
 */
#include <linux/blk-mq.h>
#include <linux/io_uring/cmd.h>
#include <linux/sched/mm.h>

#include "io.h"
#include <trace/events/ublk.h>

/* Called under the lock of some ring, not always that of the server. */
static void ublk_reg_release(void *priv)
{
	struct request *rq = priv;
	struct ublk_queue *q = rq->mq_hctx->driver_data;
	struct ublk_slot *slot = &q->slots[rq->tag];

	if (ublk_slot_put(slot))
		ublk_slot_finish(q, slot);
}

/*
 * The ring gets a reference, which the caller has taken or will hand over with the slot.
 * Memory that io_uring needs for this must not wait for I/O: it could be that of
 * this very request.
 */
static int ublk_reg_register(struct io_uring_cmd *cmd, struct request *rq, u32 index,
			     unsigned int issue_flags)
{
	unsigned int noio = memalloc_noio_save();
	int ret;

	ret = io_buffer_register_request(cmd, rq, ublk_reg_release, index, issue_flags);
	memalloc_noio_restore(noio);
	return ret;
}

/**
 * ublk_reg_lend - REGISTER_IO_BUF: make a request's pages a buffer of a ring
 * @q:		queue of the request
 * @slot:	its slot
 * @cmd:	command on the ring
 * @index:	place in the ring's table of buffers
 * @issue_flags: io_uring's
 *
 * Context: under the ring's lock.
 * Return: 0; -EINVAL without UBLK_F_SUPPORT_ZERO_COPY, unless the server owns the
 * request, if it has no data, or without such a place; -EBUSY if the place is
 * taken; -ENOMEM.
 */
int ublk_reg_lend(struct ublk_queue *q, struct ublk_slot *slot,
		  struct io_uring_cmd *cmd, u32 index, unsigned int issue_flags)
{
	int ret = -EINVAL;

	if (!ublk_dev_has(q->dev, UBLK_F_SUPPORT_ZERO_COPY) || !ublk_slot_get(slot))
		return ret;
	if (ublk_rq_has_data(slot->rq))
		ret = ublk_reg_register(cmd, slot->rq, index, issue_flags);
	if (ret && ublk_slot_put(slot))
		ublk_slot_finish(q, slot);
	return ret;
}

/**
 * ublk_reg_take_back - UNREGISTER_IO_BUF: take a buffer out of a ring's table
 * @dev:	the device
 * @cmd:	command on the ring
 * @index:	place in the table
 * @issue_flags: io_uring's
 *
 * The buffer may be that of a request of any device.
 *
 * Context: under the ring's lock.
 * Return: 0; -EINVAL without UBLK_F_SUPPORT_ZERO_COPY or if there is no buffer;
 * -EBUSY if the buffer is the user's own memory.
 */
int ublk_reg_take_back(struct ublk_device *dev, struct io_uring_cmd *cmd, u32 index,
		       unsigned int issue_flags)
{
	if (!ublk_dev_has(dev, UBLK_F_SUPPORT_ZERO_COPY))
		return -EINVAL;
	return io_buffer_unregister(cmd, index, issue_flags);
}

/**
 * ublk_auto_word_ok - is it a well-formed &struct ublk_auto_buf_reg?
 * @word:	sqe->addr of a fetch
 *
 * Return: false if reserved bits are set or flags unknown.
 */
bool ublk_auto_word_ok(u64 word)
{
	struct ublk_auto_buf_reg reg = ublk_sqe_addr_to_auto_buf_reg(word);

	return !reg.reserved0 && !reg.reserved1 &&
		!(reg.flags & ~UBLK_AUTO_BUF_REG_F_MASK);
}

/**
 * ublk_auto_lend - register the pages of a request that is about to be delivered
 * @q:		queue of the request
 * @slot:	its slot, BUSY; @lent becomes whether there is a registration, which
 *		has to be among the references that the slot is passed on with
 * @cmd:	command that the request is delivered with
 * @issue_flags: io_uring's
 *
 * Context: under the lock of the ring of @cmd, so that nobody can give the
 * registration back yet.
 * Return: 0, also if there is nothing to register; -EINVAL, -EBUSY, -ENOMEM as
 * for REGISTER_IO_BUF.
 */
int ublk_auto_lend(struct ublk_queue *q, struct ublk_slot *slot,
		   struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	struct ublk_auto_buf_reg reg = ublk_sqe_addr_to_auto_buf_reg(slot->buf);
	int ret;

	slot->lent = false;
	if (!ublk_rq_has_data(slot->rq))
		return 0;

	slot->ring = io_uring_cmd_ctx_handle(cmd);
	ret = ublk_reg_register(cmd, slot->rq, reg.index, issue_flags);
	if (ret)
		trace_ublk_auto_failed(q->dev->id, q->q_id, slot->tag, reg.index, ret);
	slot->lent = !ret;
	return ret;
}

/**
 * ublk_auto_has_fallback - does the server take a request that is not registered?
 * @slot:	the slot, BUSY
 *
 * Return: true if it asked for that.
 */
bool ublk_auto_has_fallback(const struct ublk_slot *slot)
{
	return ublk_sqe_addr_to_auto_buf_reg(slot->buf).flags & UBLK_AUTO_BUF_REG_FALLBACK;
}

/**
 * ublk_auto_take_back - undo ublk_auto_lend() when the answer comes
 * @slot:	the slot, BUSY
 * @cmd:	the answer
 * @issue_flags: io_uring's
 *
 * Only on the ring of the registration. Its place may hold another buffer by now;
 * then that one goes, as references belong to requests and not to places.
 *
 * Context: process; under the lock of the ring of @cmd, or without it if @issue_flags
 * has IO_URING_F_UNLOCKED: then this waits for that lock.
 */
void ublk_auto_take_back(struct ublk_slot *slot, struct io_uring_cmd *cmd,
			 unsigned int issue_flags)
{
	struct ublk_auto_buf_reg reg = ublk_sqe_addr_to_auto_buf_reg(slot->buf);

	if (slot->lent && slot->ring == io_uring_cmd_ctx_handle(cmd))
		io_buffer_unregister(cmd, reg.index, issue_flags);
}
