// SPDX-License-Identifier: GPL-2.0
/*
 * Waking the server once for several requests that come one by one.
 *
 * A client that keeps sending, because earlier requests of its have ended, loses its
 * CPU to a server that is woken there: the server finds one request, answers it and
 * sleeps, and switching back and forth costs more than all the rest. On that CPU the
 * server could not have run anyway, so such requests wait for more: at most
 * UBLK_COALESCE_MAX of them, and not for long.
 *
 * If the client sleeps before the limit is reached, nobody works until the timer wakes
 * the server. The limit then drops to what the client managed to send. It grows again,
 * the more slowly the more often it was too high.
 *
 * All of this is a guess about who runs where, made without a lock: an update that gets
 * lost makes it a worse guess. What counts is this: who adds the first request that
 * waits starts the timer, and who stops the timer then pushes all that wait.
 */
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/rt.h>

#include "io.h"

/* At most this many requests wait, the one that wakes the server included. */
#define UBLK_COALESCE_MAX	32

/* The first of them waits no longer than this. */
#define UBLK_COALESCE_NS	(300 * NSEC_PER_USEC)

/* How many times in a row the limit has to be reached before it grows. */
#define UBLK_PATIENCE_MIN	8
#define UBLK_PATIENCE_MAX	1024

/* Push the requests that wait for others to come. */
static void ublk_queue_wake_server(struct ublk_queue *q)
{
	if (q->batch)
		ublk_batch_wake(q);
	else
		ublk_queue_push_pending(q);
}

static void ublk_coalesce_work(struct work_struct *work)
{
	struct ublk_coalesce *c = container_of(work, struct ublk_coalesce, work);

	ublk_queue_wake_server(container_of(c, struct ublk_queue, coalesce));
}

/* A client that still runs may only be slow, unless it has sent as many once more. */
static bool ublk_coalesce_was_in_vain(const struct ublk_coalesce *c)
{
	u8 nr = READ_ONCE(c->nr);

	return nr && nr < READ_ONCE(c->limit) &&
		(READ_ONCE(c->client) != current || nr == c->expired);
}

static enum hrtimer_restart ublk_coalesce_expired(struct hrtimer *timer)
{
	struct ublk_coalesce *c = container_of(timer, struct ublk_coalesce, timer);

	if (ublk_coalesce_was_in_vain(c)) {
		WRITE_ONCE(c->limit, READ_ONCE(c->nr));
		WRITE_ONCE(c->reached, 0);
		WRITE_ONCE(c->patience, min(2 * c->patience, UBLK_PATIENCE_MAX));
	}
	c->expired = READ_ONCE(c->nr);
	queue_work(ublk_sweep_wq, &c->work);
	return HRTIMER_NORESTART;
}

/**
 * ublk_coalesce_init - prepare a queue
 * @c:	the queue's
 */
void ublk_coalesce_init(struct ublk_coalesce *c)
{
	c->cpu = -1;
	c->limit = UBLK_COALESCE_MAX;
	c->patience = UBLK_PATIENCE_MIN;
	init_llist_head(&c->waiting);
	INIT_WORK(&c->work, ublk_coalesce_work);
	hrtimer_setup(&c->timer, ublk_coalesce_expired, CLOCK_MONOTONIC,
		      HRTIMER_MODE_REL_PINNED);
}

/**
 * ublk_coalesce_exit - nothing comes any more
 * @c:	that of a queue without requests
 *
 * Context: may sleep.
 */
void ublk_coalesce_exit(struct ublk_coalesce *c)
{
	hrtimer_cancel(&c->timer);
	cancel_work_sync(&c->work);
}

/**
 * ublk_coalesce_flush - push what waits, before the server is asked to leave
 * @q:		queue that gets no more requests
 *
 * Context: may sleep.
 */
void ublk_coalesce_flush(struct ublk_queue *q)
{
	ublk_queue_wake_server(q);
	flush_work(&q->coalesce.work);
}

/**
 * ublk_coalesce_start - the first request waits: see to it that the server is woken
 * @c:	the queue's
 *
 * Context: submission.
 */
void ublk_coalesce_start(struct ublk_coalesce *c)
{
	hrtimer_start(&c->timer, UBLK_COALESCE_NS, HRTIMER_MODE_REL_PINNED);
}

static void ublk_coalesce_stop(struct ublk_coalesce *c)
{
	if (READ_ONCE(c->nr))
		hrtimer_try_to_cancel(&c->timer);
	WRITE_ONCE(c->nr, 0);
}

/**
 * ublk_coalesce_count - count a request by a client on the server's CPU
 * @c:	the queue's
 *
 * Context: submission.
 * Return: true if the caller's request was counted among those that wait; false if the
 * caller has to push it, and all that wait.
 */
bool ublk_coalesce_count(struct ublk_coalesce *c)
{
	unsigned int nr, limit, reached;

	/* A client that lets nobody run would not let our work run, either. */
	if (rt_or_dl_task(current))
		return false;
	/* Who has slept since may sleep again, for this request. */
	if (READ_ONCE(c->client) != current || READ_ONCE(c->sleeps) != current->nvcsw) {
		WRITE_ONCE(c->client, current);
		WRITE_ONCE(c->sleeps, current->nvcsw);
		ublk_coalesce_stop(c);
		return false;
	}
	nr = READ_ONCE(c->nr);
	limit = READ_ONCE(c->limit);
	if (nr + 1 < limit) {
		WRITE_ONCE(c->nr, nr + 1);
		return true;
	}

	ublk_coalesce_stop(c);
	reached = READ_ONCE(c->reached) + 1;
	if (reached >= READ_ONCE(c->patience)) {
		reached = 0;
		WRITE_ONCE(c->limit, min(limit + 1, UBLK_COALESCE_MAX));
	}
	WRITE_ONCE(c->reached, reached);
	return false;
}
