// SPDX-License-Identifier: GPL-2.0
/*
 * Descriptors: what a server is told of a request.
 */
#include <linux/blk-mq.h>

#include "io.h"

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

/* What a server hears of. Few requests have any of it. */
#define UBLK_REQ_FLAGS	(REQ_FAILFAST_MASK | REQ_META | REQ_FUA | REQ_NOUNMAP |	\
			 REQ_SWAP | REQ_INTEGRITY)

static noinline u32 ublk_desc_flags(blk_opf_t opf)
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

/**
 * ublk_desc_op_flags - the first field of a descriptor
 * @slot:	BUSY slot that says which operation it is, and where its data is
 *
 * Return: the UBLK_IO_OP_* with those UBLK_IO_F_* that come from the request.
 */
u32 ublk_desc_op_flags(const struct ublk_slot *slot)
{
	blk_opf_t opf = slot->rq->cmd_flags;
	u32 op_flags = slot->op;

	if (unlikely(opf & UBLK_REQ_FLAGS))
		op_flags |= ublk_desc_flags(opf);
	if (slot->in_shmem)
		op_flags |= UBLK_IO_F_SHMEM_ZC;
	return op_flags;
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

	desc->addr = q->shmem ? ublk_shmem_match(q, slot) : slot->buf;
	slot->len = blk_rq_bytes(rq);
	desc->op_flags = ublk_desc_op_flags(slot);
	desc->nr_sectors = blk_rq_sectors(rq);
	desc->start_sector = blk_rq_pos(rq);
	if (unlikely(slot->op == UBLK_IO_OP_REPORT_ZONES))
		ublk_zoned_describe(rq, desc);
}
