/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The life of a tag: one atomic word decides who owns the slot.
 *
 *            FETCH                 submitter            task work
 *   EMPTY ----------> ARMED ----------------> QUEUED ------------> SERVER
 *     ^                | ^                      |                   |  |
 *     |                | +----------------------|---- COMMIT -------+  |
 *     |                v                        v                      |
 *     +--- session -- CANCELED <----------------+---- sweep -----------+
 *            end
 *
 * NEED_DATA stands beside SERVER: the server has seen a WRITE, but not yet its
 * data, and GET_DATA moves it on to SERVER. Every move that looks at a request
 * or at the server's memory passes through BUSY, which is why a loser never
 * waits: it fails, takes another path, or is asked again by io_uring.
 *
 * Rules:
 *  - A slot enters BUSY, and goes from ARMED to CANCELED, by a cmpxchg that
 *    names the whole expected word: who loses has changed nothing.
 *  - A slot leaves BUSY by a store-release of its owner, who hands over the slot
 *    first and finishes the request last: afterwards its tag may be used again.
 *  - Nothing becomes ARMED but in an RCU read-side section that has seen
 *    ublk_session_may_arm().
 *  - Who moves a slot to CANCELED completes the slot's command with -ENODEV. The
 *    command of a QUEUED slot is completed by the task work that it waits for.
 */
#ifndef _UBLK_SLOT_H
#define _UBLK_SLOT_H

#include <linux/atomic.h>
#include "ublk.h"
#include <trace/events/ublk.h>

/**
 * enum ublk_slot_state - who owns a tag
 * @UBLK_SLOT_EMPTY:	no server has fetched it
 * @UBLK_SLOT_ARMED:	a command waits here; a submitter may dispatch to it
 * @UBLK_SLOT_BUSY:	one context of the kernel owns slot and request
 * @UBLK_SLOT_QUEUED:	handed to task work that will deliver the request
 * @UBLK_SLOT_SERVER:	the server works on the request
 * @UBLK_SLOT_NEED_DATA: the server has the request and has to ask for its data
 * @UBLK_SLOT_CANCELED:	not used again in this session
 */
enum ublk_slot_state {
	UBLK_SLOT_EMPTY		= 0,
	UBLK_SLOT_ARMED		= 1,
	UBLK_SLOT_BUSY		= 2,
	UBLK_SLOT_QUEUED	= 3,
	UBLK_SLOT_SERVER	= 4,
	UBLK_SLOT_NEED_DATA	= 5,
	UBLK_SLOT_CANCELED	= 6,
};

#define UBLK_WORD_STATE		0xfU
#define UBLK_WORD_GEN_SHIFT	8

/* An armed_word that no slot can have. */
#define UBLK_GATE_CLOSED	0xfU

static __always_inline u32 ublk_word(enum ublk_slot_state state, u8 gen)
{
	return state | (u32)gen << UBLK_WORD_GEN_SHIFT;
}

static __always_inline enum ublk_slot_state ublk_word_state(u32 word)
{
	return word & UBLK_WORD_STATE;
}

/* A glance: true only for as long as nobody else may move the slot. */
static __always_inline enum ublk_slot_state ublk_slot_state(const struct ublk_slot *slot)
{
	return ublk_word_state(atomic_read(&slot->word));
}

static __always_inline void ublk_slot_moved(const struct ublk_queue *q,
					    const struct ublk_slot *slot,
					    enum ublk_slot_state from,
					    enum ublk_slot_state to)
{
	static const u8 legal[] = {
		[UBLK_SLOT_EMPTY]	= BIT(UBLK_SLOT_BUSY),
		[UBLK_SLOT_ARMED]	= BIT(UBLK_SLOT_BUSY) | BIT(UBLK_SLOT_CANCELED),
		[UBLK_SLOT_BUSY]	= (u8)~BIT(UBLK_SLOT_BUSY),
		[UBLK_SLOT_QUEUED]	= BIT(UBLK_SLOT_BUSY),
		[UBLK_SLOT_SERVER]	= BIT(UBLK_SLOT_BUSY),
		[UBLK_SLOT_NEED_DATA]	= BIT(UBLK_SLOT_BUSY),
		[UBLK_SLOT_CANCELED]	= BIT(UBLK_SLOT_EMPTY),
	};

	ublk_check(legal[from] & BIT(to));
	trace_ublk_slot(q->dev->id, q->q_id, slot->tag, from, to);
}

static __always_inline bool ublk_slot_try_move(struct ublk_queue *q,
					       struct ublk_slot *slot, u32 old,
					       enum ublk_slot_state to)
{
	u32 new = (old & ~UBLK_WORD_STATE) | to;
	int expected = old;

	if (!atomic_try_cmpxchg_acquire(&slot->word, &expected, new))
		return false;
	ublk_slot_moved(q, slot, ublk_word_state(old), to);
	return true;
}

/**
 * ublk_slot_dispatch - a submitter claims an armed slot for its request
 * @q:		queue of the slot
 * @slot:	slot of the request's tag
 *
 * One load of the gate is both the permission and the expected word, so a claim
 * cannot see an open gate and a slot of another session.
 *
 * Context: RCU read-side section.
 * Return: false if the gate is closed or nobody serves the tag.
 */
static __always_inline bool ublk_slot_dispatch(struct ublk_queue *q,
					       struct ublk_slot *slot)
{
	return ublk_slot_try_move(q, slot, READ_ONCE(q->armed_word),
				  UBLK_SLOT_BUSY);
}

/* FETCH: the first move of a slot in session @gen. */
static __always_inline bool ublk_slot_fetch(struct ublk_queue *q,
					    struct ublk_slot *slot, u8 gen)
{
	int expected = UBLK_SLOT_EMPTY;

	if (!atomic_try_cmpxchg_acquire(&slot->word, &expected,
					ublk_word(UBLK_SLOT_BUSY, gen)))
		return false;
	ublk_slot_moved(q, slot, UBLK_SLOT_EMPTY, UBLK_SLOT_BUSY);
	return true;
}

/* Take a slot that is in state @from; its generation does not matter. */
static __always_inline bool ublk_slot_take(struct ublk_queue *q,
					   struct ublk_slot *slot,
					   enum ublk_slot_state from)
{
	u32 word = atomic_read(&slot->word);

	return ublk_word_state(word) == from &&
		ublk_slot_try_move(q, slot, word, UBLK_SLOT_BUSY);
}

/* An armed slot is given up; the caller completes its command. */
static __always_inline bool ublk_slot_cancel(struct ublk_queue *q,
					     struct ublk_slot *slot)
{
	u32 word = atomic_read(&slot->word);

	return ublk_word_state(word) == UBLK_SLOT_ARMED &&
		ublk_slot_try_move(q, slot, word, UBLK_SLOT_CANCELED);
}

/* The owner of a BUSY slot hands it on. Pairs with the cmpxchg of the next one. */
static __always_inline void ublk_slot_leave(struct ublk_queue *q,
					    struct ublk_slot *slot,
					    enum ublk_slot_state to)
{
	u32 word = atomic_read(&slot->word);

	ublk_check(ublk_word_state(word) == UBLK_SLOT_BUSY);
	ublk_slot_moved(q, slot, UBLK_SLOT_BUSY, to);
	if (to == UBLK_SLOT_EMPTY)
		word = 0;
	atomic_set_release(&slot->word, (word & ~UBLK_WORD_STATE) | to);
}

/* The session is over, nobody else can reach the slot. */
static inline void ublk_slot_reset(struct ublk_queue *q, struct ublk_slot *slot)
{
	enum ublk_slot_state state = ublk_slot_state(slot);

	if (state == UBLK_SLOT_EMPTY)
		return;
	ublk_slot_moved(q, slot, state, UBLK_SLOT_EMPTY);
	atomic_set(&slot->word, 0);
}

#endif
