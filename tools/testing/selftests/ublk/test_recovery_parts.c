// SPDX-License-Identifier: GPL-2.0
/*
 * A part of a server goes and the rest lives on: one ring of two is closed, or
 * one thread of two has died. What was its own follows the rule for devices
 * without a server; all else goes on.
 */
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "fixture.h"

#define HELD	4096		/* until the next server answers */

FIXTURE(part)
{
	struct testdev td;
	struct io_uring ring;
};

FIXTURE_VARIANT(part)
{
	__u64 flags;
	int delivered;		/* to the part that goes */
	int later;
};

FIXTURE_VARIANT_ADD(part, none) {
	.delivered = -EIO, .later = -EIO,
};

FIXTURE_VARIANT_ADD(part, recovery) {
	.flags = UBLK_F_USER_RECOVERY,
	.delivered = -EIO, .later = HELD,
};

FIXTURE_VARIANT_ADD(part, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.delivered = HELD, .later = HELD,
};

FIXTURE_VARIANT_ADD(part, fail_io) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	.delivered = -EIO, .later = -EIO,
};

FIXTURE_SETUP(part)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	self->td.info.flags |= variant->flags;
	self->td.info.nr_hw_queues = 2;
	ASSERT_EQ(0, td_add_attached(&self->td));
	if (self->td.info.nr_hw_queues < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, io_uring_queue_init(4, &self->ring, 0));
	io_uring_ring_dontfork(&self->ring);
}

FIXTURE_TEARDOWN_PARENT(part)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* The thread that serves queue 1 until it is told to go. */
struct helper {
	struct testdev *td;
	struct io_uring *ring;
	pthread_t thread;
	bool closes;		/* its ring, when it goes */
	int ready;		/* eventfds */
	int held;
	int go;
	int err;
};

#define UD_GO	(~0ULL)

static int helper_fetch(struct helper *h)
{
	struct testdev *td = h->td;
	struct io_uring_sqe *sqe;
	int tag;

	for (tag = 0; tag < td->info.queue_depth; tag++)
		if (td_io_cmd_on(h->ring, td->cdev, UBLK_U_IO_FETCH_REQ, 1, tag,
				 0, (unsigned long)td_buf(td, 1, tag)) !=
		    TD_PENDING)
			return -EINVAL;
	sqe = io_uring_get_sqe(h->ring);
	io_uring_prep_poll_add(sqe, h->go, POLLIN);
	sqe->user_data = UD_GO;
	io_uring_submit(h->ring);
	return 0;
}

static void *helper_main(void *arg)
{
	struct helper *h = arg;
	struct io_uring_cqe *cqe;
	__u64 what = 0;
	int res;

	h->err = helper_fetch(h);
	eventfd_write(h->ready, 1);
	while (!h->err && what != UD_GO) {
		if (io_uring_wait_cqe(h->ring, &cqe))
			continue;
		what = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(h->ring, cqe);
		if (what != UD_GO && !res && !td_answer_outside(h->td, h->ring, 1, what))
			eventfd_write(h->held, 1);
	}
	if (h->closes)
		io_uring_queue_exit(h->ring);
	return NULL;
}

/* A live disk, queue 0 served by the device under test, queue 1 by @h. */
static int start(struct testdev *td, struct helper *h)
{
	eventfd_t one;
	int tag, ret;

	h->td = td;
	h->ready = eventfd(0, 0);
	h->held = eventfd(0, 0);
	h->go = eventfd(0, 0);
	for (tag = 0; tag < td->info.queue_depth; tag++)
		if (td_fetch(td, 0, tag) != TD_PENDING)
			return -EINVAL;
	if (pthread_create(&h->thread, NULL, helper_main, h))
		return -EAGAIN;
	eventfd_read(h->ready, &one);
	ret = h->err ? h->err : td_start(td);
	return ret ? ret : td_open_disk(td);
}

static void leave(struct helper *h)
{
	eventfd_write(h->go, 1);
	pthread_join(h->thread, NULL);
}

/* A read that goes through this queue. */
static int send_read(struct testdev *td, __u16 queue)
{
	cpu_set_t cpus;

	if (ublk_get_affinity(&td->ctrl, td->id, queue, &cpus, sizeof(cpus)) ||
	    sched_setaffinity(0, sizeof(cpus), &cpus))
		return -EINVAL;
	return td_read(td, td_page_buf(4096, 0), 4096,
		       TD_AREA + queue * 65536);
}

/* What the client is told; what is held has to wait for the next server. */
static int outcome(struct helper *h, int client, int expected)
{
	struct testdev *td = h->td;
	int ret;

	if (expected < 0)
		return td_wait(td, client);
	td_settle(td, 200);
	if (td_done(td, client))
		return -EALREADY;
	if (!h->closes)
		io_uring_queue_exit(h->ring);
	td_detach(td);
	td->answer_all = true;
	ret = td_recover(td);
	return ret ? ret : td_wait(td, client);
}

static bool queue_0_works(struct testdev *td)
{
	int i;

	td->answer_all = true;
	for (i = 0; i < 20; i++)
		if (td_wait(td, send_read(td, 0)) != 4096)
			return false;
	return td_state(td) == UBLK_S_DEV_LIVE;
}

/* -- one ring of two ------------------------------------------------------- */

TEST_F(part, queue_of_the_other_ring_goes_on)
{
	struct helper h = { .ring = &self->ring, .closes = true };

	ASSERT_EQ(0, start(&self->td, &h));
	leave(&h);
	EXPECT_TRUE(queue_0_works(&self->td));
}

TEST_F(part, queue_of_the_other_ring_goes_on_beside_a_request_without_a_server)
{
	struct helper h = { .ring = &self->ring, .closes = true };
	int client;

	ASSERT_EQ(0, start(&self->td, &h));
	leave(&h);
	client = send_read(&self->td, 1);
	EXPECT_TRUE(queue_0_works(&self->td));
	EXPECT_EQ(variant->later, outcome(&h, client, variant->later));
}

TEST_F(part, read_for_a_closed_ring_has_no_server)
{
	struct helper h = { .ring = &self->ring, .closes = true };
	int client;

	ASSERT_EQ(0, start(&self->td, &h));
	leave(&h);
	client = send_read(&self->td, 1);
	EXPECT_EQ(variant->later, outcome(&h, client, variant->later));
}

TEST_F(part, stop_fails_what_a_closed_ring_left_behind)
{
	struct helper h = { .ring = &self->ring, .closes = true };
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, start(td, &h));
	leave(&h);
	client = send_read(td, 1);
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

/* What it sorts for both queues at once, still goes to each. */
TEST_F(part, queue_of_the_other_ring_goes_on_behind_a_scheduler)
{
	struct helper h = { .ring = &self->ring, .closes = true };
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, start(td, &h));
	if (td_sysfs_write(td, "queue/scheduler", "mq-deadline"))
		SKIP(return, "kernel without mq-deadline");
	leave(&h);
	client = send_read(td, 1);
	EXPECT_TRUE(queue_0_works(td));
	EXPECT_EQ(variant->later, outcome(&h, client, variant->later));
}

/* -- one thread of two, whose ring stays ----------------------------------- */

TEST_F(part, queue_of_the_other_thread_goes_on)
{
	struct helper h = { .ring = &self->ring };

	ASSERT_EQ(0, start(&self->td, &h));
	leave(&h);
	EXPECT_TRUE(queue_0_works(&self->td));
}

TEST_F(part, read_for_a_dead_thread_has_no_server)
{
	struct helper h = { .ring = &self->ring };
	int client;

	ASSERT_EQ(0, start(&self->td, &h));
	leave(&h);
	client = send_read(&self->td, 1);
	EXPECT_EQ(variant->later, outcome(&h, client, variant->later));
}

/* It had the request in hand; the driver notices at the next tick. */
TEST_F(part, read_in_the_hands_of_a_dead_thread_ends_at_the_tick)
{
	struct helper h = { .ring = &self->ring };
	struct testdev *td = &self->td;
	eventfd_t one;
	int client;

	ASSERT_EQ(0, start(td, &h));
	ASSERT_EQ(0, td_set_io_timeout(td, 1000));
	client = send_read(td, 1);
	ASSERT_EQ(0, eventfd_read(h.held, &one));
	leave(&h);
	EXPECT_TRUE(queue_0_works(td));
	EXPECT_EQ(variant->delivered, outcome(&h, client, variant->delivered));
}

/* A tick is no reason to take a request from a thread that lives. */
TEST_F(part, read_in_the_hands_of_a_living_thread_outlives_the_tick)
{
	struct helper h = { .ring = &self->ring };
	struct testdev *td = &self->td;
	int client;
	struct td_req req;

	ASSERT_EQ(0, start(td, &h));
	ASSERT_EQ(0, td_set_io_timeout(td, 1000));
	client = send_read(td, 0);
	ASSERT_EQ(0, td_next(td, &req));
	td_settle(td, 2500);
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	leave(&h);
}

TEST_HARNESS_MAIN
