// SPDX-License-Identifier: GPL-2.0
/*
 * Requests that are answered in one go, each by a command of its own, end together,
 * which costs less than to end each.
 *
 * Around commands that are submitted together, io_uring puts a plug, and what
 * waits on it ends with it. A task that has to sleep gives its plug away first, so
 * that no request waits for what its server waits for.
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/slab.h>

#include "io.h"

/* Fewer commands are not worth the trouble. */
#define UBLK_PLUG_MIN		4

/* So many requests do not wait for more; a client may want to go on. */
#define UBLK_PLUG_MAX		32

/* A larger request does not wait: who serves such ones takes his time. */
#define UBLK_PLUG_MAX_BYTES	SZ_64K

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

/* May @rq be on a list of requests to end? */
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
	struct blk_plug_cb *cb = NULL;
	struct ublk_plugged *p;

	if (current->plug && current->plug->nr_ios >= UBLK_PLUG_MIN &&
	    ublk_rq_may_wait(slot->rq))
		cb = blk_check_plugged(ublk_unplug, NULL, sizeof(*p));
	if (!cb) {
		ublk_slot_finish(q, slot);
		return;
	}

	p = container_of(cb, struct ublk_plugged, cb);
	ublk_slot_finish_soon(q, slot, &p->ends);
	if (++p->nr == UBLK_PLUG_MAX) {
		list_del(&cb->list);
		ublk_unplug(cb, false);
	}
}
