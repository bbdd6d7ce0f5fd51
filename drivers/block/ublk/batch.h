/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Between batch.c and fetch.c.
 */
#ifndef _UBLK_BATCH_H
#define _UBLK_BATCH_H

#include "ublk.h"

/* The argument of a command, read once: the ring is shared with userspace. */
struct ublk_batch_args {
	u16		q_id;
	u16		flags;
	u16		nr_elem;
	u8		elem_bytes;
	void __user	*elems;
};

int ublk_batch_fetch(struct ublk_session *s, struct ublk_queue *q,
		     struct io_uring_cmd *cmd, const struct ublk_batch_args *args,
		     unsigned int issue_flags);
void ublk_batch_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags);

#endif
