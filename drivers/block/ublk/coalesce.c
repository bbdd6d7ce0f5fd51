// SPDX-License-Identifier: GPL-2.0
/*
 * Waking the server once for several requests that come one by one.
 *
 * A client that sends a request, and need not wait because earlier ones have ended,
 * loses its CPU to a server that is woken there: that finds one request, answers it,
 * and sleeps. Switching back and forth then costs more than all the rest. The server
 * could do nothing without this CPU, so there such requests wait for more to come, a
 * few of them, and not for long.
 *
 * Does the client sleep before there are enough, then nobody works until the timer has
 * woken the server. So the limit becomes what the client was able to send, and grows
 * again the more slowly the more often that was too much.
 *
 * All of this is a guess about who runs where, made without a lock: updates that get
 * lost make it a worse one. What counts is this: who adds the first request that waits
 * starts the timer, and who stops the timer then pushes all that wait.
 */
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/rt.h>

#include "io.h"

/* So many wake the server at the latest. */
#define UBLK_COALESCE_MAX	32

/* No request waits for more of them for longer than this. */
#define UBLK_COALESCE_NS	(300 * NSEC_PER_USEC)

/* So often in a row the limit is reached before it grows. */
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
	return c->nr && c->nr < c->limit && (c->client != current || c->nr == c->expired);
}

static enum hrtimer_restart ublk_coalesce_expired(struct hrtimer *timer)
{
	struct ublk_coalesce *c = container_of(timer, struct ublk_coalesce, timer);

	if (ublk_coalesce_was_in_vain(c)) {
		c->limit = c->nr;
		c->reached = 0;
		c->patience = min(2 * c->patience, UBLK_PATIENCE_MAX);
	}
	c->expired = c->nr;
	queue_work(ublk_sweep_wq, &c->work);
	return HRTIMER_NORESTART;
}

/**
 * ublk_coalesce_init - prepare a queue
 * @c:	of the queue
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
 * @c:	of a queue without requests
 *
 * Context: may sleep.
 */
void ublk_coalesce_exit(struct ublk_coalesce *c)
{
	hrtimer_cancel(&c->timer);
	cancel_work_sync(&c->work);
}

/**
 * ublk_coalesce_flush - push what waits, before the server is told to go
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
 * @c:	of the queue
 */
void ublk_coalesce_start(struct ublk_coalesce *c)
{
	hrtimer_start(&c->timer, UBLK_COALESCE_NS, HRTIMER_MODE_REL_PINNED);
}

static void ublk_coalesce_stop(struct ublk_coalesce *c)
{
	if (c->nr)
		hrtimer_try_to_cancel(&c->timer);
	c->nr = 0;
}

/**
 * ublk_coalesce_count - may more come, by a client on the server's CPU?
 * @c:	of the queue
 *
 * Context: submission.
 * Return: true if the request of the caller may wait; false if the caller has to push
 * it, and all that wait.
 */
bool ublk_coalesce_count(struct ublk_coalesce *c)
{
	/* A client that lets nobody run would not let our work run, either. */
	if (rt_or_dl_task(current))
		return false;
	/* Who has slept since may sleep again, for this request. */
	if (c->client != current || c->sleeps != current->nvcsw) {
		c->client = current;
		c->sleeps = current->nvcsw;
		ublk_coalesce_stop(c);
		return false;
	}
	if (c->nr + 1 < c->limit) {
		c->nr++;
		return true;
	}

	ublk_coalesce_stop(c);
	if (++c->reached >= c->patience) {
		c->reached = 0;
		c->limit = min(c->limit + 1, UBLK_COALESCE_MAX);
	}
	return false;
}
