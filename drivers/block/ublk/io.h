/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The path of a request, which io.c and batch mode share: they differ in who holds
 * the commands, not in what becomes of a request.
 */
#ifndef _UBLK_IO_H
#define _UBLK_IO_H

#include "slot.h"

/* submit.c */
bool ublk_rq_dispatch(struct ublk_queue *q, struct request *rq, int op);
blk_status_t ublk_rq_unserved(struct ublk_queue *q, struct request *rq);
void ublk_queue_push_pending(struct ublk_queue *q);
int ublk_mq_init_hctx(struct blk_mq_hw_ctx *hctx, void *driver_data, unsigned int index);

/* coalesce.c */
void ublk_coalesce_start(struct ublk_coalesce *c);
bool ublk_coalesce_count(struct ublk_coalesce *c);

/* io.c */
void ublk_cmd_abort(struct io_uring_cmd *cmd);
void ublk_deliver_tw(struct io_tw_req tw_req, io_tw_token_t tw);
bool ublk_tw_is_late(io_tw_token_t tw);
void ublk_touch_buf(const struct ublk_slot *slot, u64 addr);
bool ublk_deliver_prepare_data(struct ublk_session *s, struct ublk_queue *q,
			       struct ublk_slot *slot, struct io_uring_cmd *cmd,
			       unsigned int issue_flags);
bool ublk_slot_rearm(struct ublk_session *s, struct ublk_queue *q,
		     struct ublk_slot *slot, bool owing, unsigned int issue_flags);

/* desc.c */
int ublk_desc_op(const struct request *rq);
u32 ublk_desc_op_flags(const struct ublk_slot *slot);
void ublk_slot_describe(struct ublk_queue *q, struct ublk_slot *slot);

/* finish.c */
bool ublk_slot_take_answer(struct ublk_queue *q, struct ublk_slot *slot, s32 result,
			   u64 addr, struct io_comp_batch *ends);
void ublk_slot_fail(struct ublk_slot *slot, blk_status_t status);
void ublk_slot_finish(struct ublk_queue *q, struct ublk_slot *slot);
void ublk_rq_requeue_rest(struct request *rq, unsigned int delay_ms);
void ublk_slot_finish_soon(struct ublk_queue *q, struct ublk_slot *slot,
			   struct io_comp_batch *ends);
void ublk_ends_flush(struct io_comp_batch *ends);
void ublk_slot_finish_plugged(struct ublk_queue *q, struct ublk_slot *slot);

/* reg.c */
int ublk_reg_lend(struct ublk_queue *q, struct ublk_slot *slot,
		  struct io_uring_cmd *cmd, u32 index, unsigned int issue_flags);
int ublk_reg_take_back(struct ublk_device *dev, struct io_uring_cmd *cmd, u32 index,
		       unsigned int issue_flags);
bool ublk_auto_word_ok(u64 word);
int ublk_auto_lend(struct ublk_queue *q, struct ublk_slot *slot,
		   struct io_uring_cmd *cmd, unsigned int issue_flags);
bool ublk_auto_has_fallback(const struct ublk_slot *slot);
void ublk_auto_take_back(struct ublk_slot *slot, struct io_uring_cmd *cmd,
			 unsigned int issue_flags);

/* copy.c */
bool ublk_copy_part(struct bio_vec bv, size_t *skip, struct iov_iter *iter);
size_t ublk_copy(struct request *rq, size_t skip, struct iov_iter *iter);
unsigned int ublk_copy_to_server(struct request *rq, u64 addr, unsigned int len,
				 bool may_fault);
unsigned int ublk_copy_from_server(struct request *rq, u64 addr, unsigned int len,
				   bool may_fault);

/*
 * Have a request that comes alone wait for others. False if it must not: the caller has
 * to push it, and all that wait.
 */
static __always_inline bool ublk_coalesce_try_wait(struct ublk_queue *q)
{
	return READ_ONCE(q->coalesce.cpu) == raw_smp_processor_id() &&
		ublk_coalesce_count(&q->coalesce);
}

/* The server runs, here, and is about to take all that waits. */
static inline void ublk_coalesce_server_runs(struct ublk_queue *q)
{
	struct ublk_coalesce *c = &q->coalesce;
	int cpu = raw_smp_processor_id();

	if (READ_ONCE(c->cpu) != cpu)
		WRITE_ONCE(c->cpu, cpu);
	if (READ_ONCE(c->nr))
		WRITE_ONCE(c->nr, 0);
}

/* For most requests there is nothing to do before the server hears of them. */
static inline bool ublk_deliver_prepare(struct ublk_session *s, struct ublk_queue *q,
					struct ublk_slot *slot, struct io_uring_cmd *cmd,
					unsigned int issue_flags)
{
	if (q->mode == UBLK_MODE_SERVER ||
	    (q->mode == UBLK_MODE_COPY && slot->op != UBLK_IO_OP_WRITE))
		return true;
	return ublk_deliver_prepare_data(s, q, slot, cmd, issue_flags);
}

#endif
