// SPDX-License-Identifier: GPL-2.0
/*
 * User copy: the server reads and writes ublkcN, and the position says which
 * bytes of which request it means, of its data or of its metadata.
 *
 * Any task that has the file open may do so while the server owns the request. A
 * reference keeps the request as it is until the copy is through, even if its
 * commit comes first.
 */
#include <linux/blk-integrity.h>
#include <linux/blk-mq.h>
#include <linux/fs.h>
#include <linux/nospec.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "io.h"

/*
 * Largest copy made in place for IOCB_NOWAIT. Handing it to an io_uring worker costs
 * about as much as copying this; more would hold up the ring.
 */
#define UBLK_NOWAIT_BYTES	SZ_256K

static size_t ublk_ucopy(struct request *rq, bool meta, size_t offset,
			 struct iov_iter *iter)
{
	return meta ? ublk_integrity_copy(rq, offset, iter) : ublk_copy(rq, offset, iter);
}

/*
 * Must not fault: the server may have its memory on its own disk, and be the one task
 * that could serve the fault. -EAGAIN sends the copy to an io_uring worker.
 */
static ssize_t ublk_ucopy_nowait(struct request *rq, bool meta, size_t offset,
				 size_t len, struct iov_iter *iter)
{
	size_t copied;

	if (len > UBLK_NOWAIT_BYTES)
		return -EAGAIN;
	pagefault_disable();
	copied = ublk_ucopy(rq, meta, offset, iter);
	pagefault_enable();
	return copied < len ? -EAGAIN : copied;
}

static ssize_t ublk_ucopy_rq(struct request *rq, bool meta, size_t offset,
			     struct kiocb *iocb, struct iov_iter *iter)
{
	size_t size = meta ? ublk_integrity_bytes(rq) : blk_rq_bytes(rq);
	bool to_server = iov_iter_rw(iter) == READ;
	size_t len;

	if (!ublk_rq_has_data(rq) || offset > size)
		return -EINVAL;
	if (to_server != op_is_write(req_op(rq)))
		return -EACCES;
	if (meta && !blk_integrity_rq(rq))
		return 0;

	len = min(size - offset, iov_iter_count(iter));
	if (iocb->ki_flags & IOCB_NOWAIT)
		return ublk_ucopy_nowait(rq, meta, offset, len, iter);
	return ublk_ucopy(rq, meta, offset, iter);
}

static ssize_t ublk_ucopy_tag(struct ublk_queue *q, unsigned int tag, bool meta,
			      size_t offset, struct kiocb *iocb, struct iov_iter *iter)
{
	struct ublk_slot *slot;
	ssize_t ret;

	if (tag >= q->depth)
		return -EINVAL;
	slot = &q->slots[array_index_nospec(tag, q->depth)];
	if (!ublk_slot_get(slot))
		return -EINVAL;
	ret = ublk_ucopy_rq(slot->rq, meta, offset, iocb, iter);
	if (ublk_slot_put(slot))
		ublk_slot_finish(q, slot);
	return ret;
}

/**
 * ublk_ch_rw - read or write ublkcN: copy the data of a request
 * @iocb:	its position names queue, tag, and the first byte
 * @iter:	the server's memory
 *
 * A read takes the data of a WRITE, a write brings that of a READ. With
 * UBLKSRV_IO_INTEGRITY_FLAG the position is one in the metadata instead. One below
 * UBLKSRV_IO_BUF_OFFSET wraps around, to a queue with a high number.
 *
 * Context: may fault and so sleep.
 * Return: bytes copied, fewer at the end of the request or at a fault, none of
 * metadata that the request does not have; -EACCES for memory that is not the
 * user's, for a device that is DEAD or without UBLK_F_USER_COPY, and in the wrong
 * direction; -EINVAL for a queue or tag that is not there, for one that the server
 * does not own, beyond the end of the request, and for metadata without
 * UBLK_F_INTEGRITY; -EAGAIN if IOCB_NOWAIT is set for too much, or for memory that
 * is not there at once.
 */
ssize_t ublk_ch_rw(struct kiocb *iocb, struct iov_iter *iter)
{
	struct ublk_session *s = iocb->ki_filp->private_data;
	struct ublk_device *dev = s->dev;
	u64 pos = iocb->ki_pos - UBLKSRV_IO_BUF_OFFSET;
	unsigned int q_id = (pos >> UBLK_QID_OFF) & UBLK_QID_BITS_MASK;
	bool meta = iocb->ki_pos & UBLKSRV_IO_INTEGRITY_FLAG;

	if (!user_backed_iter(iter) || READ_ONCE(dev->state) == UBLK_S_DEV_DEAD)
		return -EACCES;
	if (meta && !ublk_dev_has(dev, UBLK_F_INTEGRITY))
		return -EINVAL;
	if (q_id >= dev->nr_queues)
		return -EINVAL;
	if (!ublk_dev_has(dev, UBLK_F_USER_COPY))
		return -EACCES;

	return ublk_ucopy_tag(dev->queues[array_index_nospec(q_id, dev->nr_queues)],
			      (pos >> UBLK_TAG_OFF) & UBLK_TAG_BITS_MASK, meta,
			      pos & UBLK_IO_BUF_BITS_MASK, iocb, iter);
}
