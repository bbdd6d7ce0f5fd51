/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the three files of batch mode call of each other.
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

/**
 * enum ublk_fetch_state - where a fetch command is
 * @UBLK_FETCH_IDLE:	on ublk_batch::idle
 * @UBLK_FETCH_ACTIVE:	its task work, or whoever took it off the list, owns it
 */
enum ublk_fetch_state {
	UBLK_FETCH_IDLE,
	UBLK_FETCH_ACTIVE,
};

/**
 * struct ublk_fetch - what a fetch command remembers while the driver holds it
 * @node:	on ublk_batch::idle; under ublk_batch::lock
 * @q:		its queue
 * @group:	its buffer group
 * @state:	enum ublk_fetch_state; under ublk_batch::lock
 * @canceled:	io_uring wants it back; under the lock of its ring
 */
struct ublk_fetch {
	struct list_head	node;
	struct ublk_queue	*q;
	u16			group;
	u8			state;
	bool			canceled;
};

static inline struct ublk_fetch *ublk_fetch_of(struct io_uring_cmd *cmd)
{
	return io_uring_cmd_to_pdu(cmd, struct ublk_fetch);
}

static inline struct io_uring_cmd *ublk_fetch_cmd(struct ublk_fetch *f)
{
	return container_of((void *)f, struct io_uring_cmd, pdu);
}

/* batch_fifo.c */
unsigned int ublk_batch_pop(struct ublk_fetch *f, u16 *tags, unsigned int max);
void ublk_batch_unpop(struct ublk_fetch *f, const u16 *tags, unsigned int nr);
bool ublk_batch_claim(struct ublk_fetch *f);
void ublk_batch_leave(struct ublk_fetch *f);
void ublk_batch_park(struct ublk_fetch *f);
bool ublk_batch_unpark(struct ublk_fetch *f);

/* batch_fetch.c */
void ublk_fetch_tw(struct io_tw_req tw_req, io_tw_token_t tw);
int ublk_batch_fetch(struct ublk_session *s, struct ublk_queue *q,
		     struct io_uring_cmd *cmd, const struct ublk_batch_args *args,
		     unsigned int issue_flags);
void ublk_batch_cancel_fetch(struct io_uring_cmd *cmd, unsigned int issue_flags);

#endif
