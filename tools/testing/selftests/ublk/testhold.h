/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Holding the driver at a point, to do what might happen meanwhile: so each interleaving
 * that a test is about happens, in each run. The module ublk_hold does it.
 *
 * What is held may keep its CPU to itself. So the test stays on one, and starts on another
 * what is to be held, if that is a thread of its own.
 */
#ifndef UBLK_TESTHOLD_H
#define UBLK_TESTHOLD_H

#include <pthread.h>

#include "testdev.h"
#include "test_modules/ublk_hold.h"

#define TD_ANY		UBLK_HOLD_ANY

/* The states of a tag and of a session, as drivers/block/ublk numbers them. */
enum td_slot_state {
	TD_SLOT_EMPTY,
	TD_SLOT_ARMED,
	TD_SLOT_BUSY,
	TD_SLOT_QUEUED,
	TD_SLOT_SERVER,
	TD_SLOT_NEED_DATA,
	TD_SLOT_CANCELED,
};

enum td_session_state {
	TD_SESSION_OPEN,
	TD_SESSION_STOPPING,
	TD_SESSION_DEAD,
	TD_SESSION_RELEASED,
	TD_SESSION_ENDED,
};

/* See td_module_load(). */
int td_hold_load(void);
int td_hold_unload(void);

/*
 * A hold, or a watch, which only tells that a point was reached: a number for the rest,
 * -1 if that fails.
 */
int td_hold_slot(struct testdev *td, __u32 tag, __u32 from, __u32 to);
int td_hold_slot_after(struct testdev *td, __u32 tag, __u32 from, __u32 to, __u32 skip);
int td_hold_session(struct testdev *td, __u32 state);
int td_hold_dispose(struct testdev *td, bool again);
int td_hold_requeue(struct testdev *td);
int td_watch_slot(struct testdev *td, __u32 tag, __u32 from, __u32 to);
int td_watch_slots(struct testdev *td, __u32 from, __u32 to, __u32 nr);
int td_watch_session(struct testdev *td, __u32 state);
int td_watch_requeues(struct testdev *td, __u32 nr);

/* Until somebody is held, or seen: 0 or -ETIME. */
int td_hold_wait(int hold);
bool td_hold_is_reached(int hold);
/* 0; -ETIME if it took so long that the driver went on; -ENOENT if nobody was held. */
int td_hold_release(int hold);

/* Something that is to be held, in a thread of its own, on a CPU of its own. */
struct td_aside {
	pthread_t thread;
	int (*fn)(void *arg);
	void *arg;
	int ret;
};

/* A process stays on the first CPU, 0 is this one: 0 or -ENODEV if there is no other. */
int td_take_cpu(pid_t pid);
int td_take_other_cpu(void);
int td_aside_start(struct td_aside *a, int (*fn)(void *arg), void *arg);
/* What it returned, or -ETIME. */
int td_aside_join(struct td_aside *a);

#endif
