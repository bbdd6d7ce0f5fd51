/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a test tells /dev/ublk-hold, and its module (ublk_hold.c). Each open file is one
 * point at which the driver is to be held, once.
 */
#ifndef UBLK_HOLD_H
#define UBLK_HOLD_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* The driver goes on by itself after this: no stall or hang is ever reported. */
#define UBLK_HOLD_MAX_MS	10000

#define UBLK_HOLD_ANY		0xffffffffU

/**
 * enum ublk_hold_event - trace events at which the driver can be held
 * @UBLK_HOLD_SLOT:	ublk_slot: a tag moves. Out of BUSY and to EMPTY it has not moved
 *			yet, any other move is done
 * @UBLK_HOLD_SESSION:	ublk_session: a session has reached state @to
 * @UBLK_HOLD_DISPOSE:	ublk_dispose: a request is about to be repeated (@to is 1) or to
 *			fail (0)
 * @UBLK_HOLD_REQUEUE:	block_rq_requeue: a request is about to be put aside
 */
enum ublk_hold_event {
	UBLK_HOLD_SLOT,
	UBLK_HOLD_SESSION,
	UBLK_HOLD_DISPOSE,
	UBLK_HOLD_REQUEUE,
};

/**
 * struct ublk_hold_point - where to hold; UBLK_HOLD_ANY stands for every value
 * @event:	enum ublk_hold_event
 * @dev_id:	number of the device
 * @tag:	tag, unless it is UBLK_HOLD_SESSION
 * @from:	UBLK_HOLD_SLOT: state that the tag leaves
 * @to:		see the events
 * @skip:	let so many pass first
 * @watch:	do not hold, only tell
 */
struct ublk_hold_point {
	__u32	event;
	__u32	dev_id;
	__u32	tag;
	__u32	from;
	__u32	to;
	__u32	skip;
	__u32	watch;
};

/* Forget what was, and wait for this point. */
#define UBLK_HOLD_ARM		_IOW('H', 0xb0, struct ublk_hold_point)
/* Wait until the point is reached, for so many milliseconds: else -ETIME. */
#define UBLK_HOLD_WAIT		_IO('H', 0xb1)
/*
 * Let go; closing the file does, too. -ETIME if the driver has gone on by itself, -ENOENT
 * if the point was not reached, and will not be.
 */
#define UBLK_HOLD_RELEASE	_IO('H', 0xb2)

#endif
