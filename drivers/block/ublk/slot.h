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
 *  - A slot enters BUSY, and goes from ARMED to CANCELED, by a cmpxchg of the
 *    whole word, expected in a given state: the loser has changed nothing.
 *  - The owner of a BUSY slot hands over the slot first and finishes the request
 *    last: afterwards its tag may be used again.
 *  - Others than the server may use the memory of a request that the server owns:
 *    a copy under way, a buffer of a ring. Each is a reference in the word. Where
 *    none can be, a slot leaves BUSY by a store-release; else by a cmpxchg that
 *    tells its owner whether to finish the request, or leave that to the last of
 *    them, by UBLK_WORD_OWED.
 *  - Who finishes a request reads @rq and how it ends from the slot. Nobody writes
 *    these until the tag is used again, not even the next session.
 *  - Nothing becomes ARMED but in an RCU read-side section that has seen
 *    ublk_session_is_open().
 *  - Who moves a slot to CANCELED completes the slot's command with -ENODEV. The
 *    command of a QUEUED slot is completed by the task work that it waits for.
 */
#ifndef _UBLK_SLOT_H
#define _UBLK_SLOT_H

#include <linux/atomic.h>
#include <linux/rcupdate.h>
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

/* include/trace/events/ublk.h spells these out. */
static_assert(UBLK_SLOT_CANCELED == 6 && UBLK_SESSION_ENDED == 4);

#define UBLK_WORD_STATE		0xfU
#define UBLK_WORD_OWED		0x10U	/* the last reference finishes @rq */
#define UBLK_WORD_GEN_SHIFT	8
#define UBLK_WORD_GEN		(0xffU << UBLK_WORD_GEN_SHIFT)
#define UBLK_WORD_REFS_SHIFT	16
#define UBLK_WORD_REF		((u32)BIT(UBLK_WORD_REFS_SHIFT))
#define UBLK_WORD_MAX_REFS	0xffffU

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

static __always_inline u32 ublk_word_refs(u32 word)
{
	return word >> UBLK_WORD_REFS_SHIFT;
}

/* The same word in another state. */
static __always_inline u32 ublk_word_to(u32 word, enum ublk_slot_state state)
{
	return (word & ~UBLK_WORD_STATE) | state;
}

/* Holds only for as long as nobody else may move the slot. */
static __always_inline enum ublk_slot_state ublk_slot_state(const struct ublk_slot *slot)
{
	return ublk_word_state(atomic_read(&slot->word));
}

/*
 * Check and trace a move. For moves out of BUSY this comes before the store: afterwards
 * others own the slot.
 */
static __always_inline void ublk_slot_note_move(const struct ublk_queue *q,
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
	RCU_LOCKDEP_WARN(to == UBLK_SLOT_ARMED && !rcu_read_lock_any_held(),
			 "a slot is armed outside of RCU");
	trace_ublk_slot(q->dev->id, q->q_id, slot->tag, from, to);
}

/* Loses only to a change of state, not to references that come and go. */
static __always_inline bool ublk_slot_try_move(struct ublk_queue *q,
					       struct ublk_slot *slot,
					       enum ublk_slot_state from,
					       enum ublk_slot_state to)
{
	int word = atomic_read(&slot->word);

	do {
		if (ublk_word_state(word) != from)
			return false;
	} while (!atomic_try_cmpxchg_acquire(&slot->word, &word,
					     ublk_word_to(word, to)));
	ublk_slot_note_move(q, slot, from, to);
	return true;
}

/**
 * ublk_slot_claim - a submitter claims an armed slot for its request
 * @q:		queue of the slot
 * @slot:	slot of the request's tag
 *
 * One load of the gate is both the permission and the expected word, so a claim
 * cannot see an open gate and a slot of another session. Nor can it meet a
 * reference: those of the last request were gone before its tag could come again.
 *
 * Context: RCU read-side section.
 * Return: false if the gate is closed or nobody serves the tag.
 */
static __always_inline bool ublk_slot_claim(struct ublk_queue *q,
					    struct ublk_slot *slot)
{
	int word = READ_ONCE(q->armed_word);

	RCU_LOCKDEP_WARN(!rcu_read_lock_any_held(), "a slot is claimed outside of RCU");
	if (!atomic_try_cmpxchg_acquire(&slot->word, &word,
					ublk_word_to(word, UBLK_SLOT_BUSY)))
		return false;
	ublk_slot_note_move(q, slot, UBLK_SLOT_ARMED, UBLK_SLOT_BUSY);
	return true;
}

/*
 * FETCH: the first move of a slot in session @gen. A request of an earlier one may
 * still be owed.
 */
static __always_inline bool ublk_slot_fetch(struct ublk_queue *q,
					    struct ublk_slot *slot, u8 gen)
{
	int word = atomic_read(&slot->word);

	do {
		if (ublk_word_state(word) != UBLK_SLOT_EMPTY)
			return false;
	} while (!atomic_try_cmpxchg_acquire(&slot->word, &word,
					     (word & ~UBLK_WORD_GEN) |
					     ublk_word(UBLK_SLOT_BUSY, gen)));
	ublk_slot_note_move(q, slot, UBLK_SLOT_EMPTY, UBLK_SLOT_BUSY);
	return true;
}

/* Take a slot that is in state @from; its generation does not matter. */
static __always_inline bool ublk_slot_take(struct ublk_queue *q,
					   struct ublk_slot *slot,
					   enum ublk_slot_state from)
{
	return ublk_slot_try_move(q, slot, from, UBLK_SLOT_BUSY);
}

/* An armed slot is given up; the caller completes its command. */
static __always_inline bool ublk_slot_cancel(struct ublk_queue *q,
					     struct ublk_slot *slot)
{
	return ublk_slot_try_move(q, slot, UBLK_SLOT_ARMED, UBLK_SLOT_CANCELED);
}

/*
 * The owner of a BUSY slot hands it on, with @refs references to begin with. This
 * cannot fail and finishes nothing: it is for slots that nobody can have a reference
 * to, ublk_slot_leave() for the others. Pairs with the cmpxchg of the next owner.
 */
static __always_inline void ublk_slot_pass(struct ublk_queue *q,
					   struct ublk_slot *slot,
					   enum ublk_slot_state to, u32 refs)
{
	u32 word = atomic_read(&slot->word);

	ublk_check(ublk_word_state(word) == UBLK_SLOT_BUSY);
	ublk_check(!ublk_word_refs(word) && !(word & UBLK_WORD_OWED));
	ublk_slot_note_move(q, slot, UBLK_SLOT_BUSY, to);
	atomic_set_release(&slot->word,
			   ublk_word_to(word, to) + refs * UBLK_WORD_REF);
}

/**
 * ublk_slot_leave - the owner of a BUSY slot that may have references hands it on
 * @q:		queue of the slot
 * @slot:	the slot
 * @to:		its next state
 * @owing:	the owner has settled how the request ends
 *
 * While the slot was BUSY the last reference may have gone, of this request or of
 * one that an earlier session left behind; whoever dropped it has left the rest
 * to the owner.
 *
 * Return: whether the caller has to finish the request.
 */
static __always_inline bool ublk_slot_leave(struct ublk_queue *q,
					    struct ublk_slot *slot,
					    enum ublk_slot_state to, bool owing)
{
	int word = atomic_read(&slot->word);
	bool owed;
	u32 new;

	if (q->mode == UBLK_MODE_COPY) {
		ublk_slot_pass(q, slot, to, 0);
		return owing;
	}

	ublk_check(ublk_word_state(word) == UBLK_SLOT_BUSY);
	ublk_slot_note_move(q, slot, UBLK_SLOT_BUSY, to);
	do {
		owed = owing || (word & UBLK_WORD_OWED);
		new = ublk_word_to(word, to) & ~UBLK_WORD_OWED;
		if (owed && ublk_word_refs(word))
			new |= UBLK_WORD_OWED;
	} while (!atomic_try_cmpxchg(&slot->word, &word, new));
	return owed && !ublk_word_refs(new);
}

/**
 * ublk_slot_get - take a reference to the memory of the slot's request
 * @slot:	the slot
 *
 * With a reference, @rq and the length of the request stay as they are.
 *
 * Return: false unless the server owns the request, or at UBLK_WORD_MAX_REFS.
 */
static inline bool ublk_slot_get(struct ublk_slot *slot)
{
	int word = atomic_read(&slot->word);

	do {
		if (ublk_word_state(word) != UBLK_SLOT_SERVER ||
		    ublk_word_refs(word) == UBLK_WORD_MAX_REFS)
			return false;
	} while (!atomic_try_cmpxchg_acquire(&slot->word, &word,
					     word + UBLK_WORD_REF));
	return true;
}

/**
 * ublk_slot_put - drop a reference
 * @slot:	the slot; not the caller's any more, unless it has to finish
 *
 * Return: whether the caller has to finish the request.
 */
static inline bool ublk_slot_put(struct ublk_slot *slot)
{
	int word = atomic_read(&slot->word);
	bool last;
	u32 new;

	do {
		ublk_check(ublk_word_refs(word));
		new = word - UBLK_WORD_REF;
		last = !ublk_word_refs(new) && (word & UBLK_WORD_OWED) &&
			ublk_word_state(word) != UBLK_SLOT_BUSY;
		if (last)
			new &= ~UBLK_WORD_OWED;
	} while (!atomic_try_cmpxchg(&slot->word, &word, new));
	return last;
}

/* Has anybody a reference to the memory of a BUSY slot's request? They only go. */
static inline bool ublk_slot_is_used(const struct ublk_slot *slot)
{
	return ublk_word_refs(atomic_read(&slot->word));
}

/*
 * The session is over, its slots are in nobody's hands. A request that is owed
 * stays so: it keeps its tag, and the next session its slot.
 */
static inline void ublk_slot_reset(struct ublk_queue *q, struct ublk_slot *slot)
{
	int word = atomic_read(&slot->word);

	if (ublk_word_state(word) == UBLK_SLOT_EMPTY)
		return;
	ublk_check(ublk_word_state(word) != UBLK_SLOT_BUSY);
	ublk_slot_note_move(q, slot, ublk_word_state(word), UBLK_SLOT_EMPTY);
	while (!atomic_try_cmpxchg(&slot->word, &word,
				   word & ~(UBLK_WORD_STATE | UBLK_WORD_GEN)))
		;
}

#endif
