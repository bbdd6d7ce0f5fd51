// SPDX-License-Identifier: GPL-2.0
/*
 * FETCH_REQ: what it refuses, strays, two at once, and the I/O tag numbers at
 * the edges of a device.
 */
#include "fixture.h"

TD_FIXTURE(attached, td_add_attached);
TD_FIXTURE(fetched, td_add_fetched);
TD_FIXTURE(live, td_go_live);

static int fetch_addr(struct testdev *td, __u16 queue, __u16 tag, __u64 addr)
{
	return td_io_cmd(td, UBLK_U_IO_FETCH_REQ, queue, tag, 0, addr);
}

TEST_F(attached, fetch_stays_pending)
{
	EXPECT_EQ(TD_PENDING, td_fetch(&self->td, 0, 0));
}

TEST_F(attached, fetch_refuses_a_queue_that_is_not_there)
{
	EXPECT_EQ(-EINVAL, fetch_addr(&self->td, 1, 0, 4096));
	EXPECT_EQ(-EINVAL, fetch_addr(&self->td, 0xffff, 0, 4096));
}

TEST_F(attached, fetch_refuses_a_tag_that_is_not_there)
{
	EXPECT_EQ(-EINVAL, fetch_addr(&self->td, 0, 4, 4096));
	EXPECT_EQ(-EINVAL, fetch_addr(&self->td, 0, 0xffff, 4096));
}

TEST_F(attached, fetch_refuses_no_buffer)
{
	EXPECT_EQ(-EINVAL, fetch_addr(&self->td, 0, 0, 0));
}

TEST_F(attached, fetch_that_was_refused_can_be_repeated)
{
	ASSERT_EQ(-EINVAL, fetch_addr(&self->td, 0, 0, 0));
	EXPECT_EQ(TD_PENDING, td_fetch(&self->td, 0, 0));
}

TEST_F(attached, fetch_refuses_an_armed_tag)
{
	ASSERT_EQ(TD_PENDING, td_fetch(&self->td, 0, 0));
	EXPECT_EQ(-EINVAL, td_fetch(&self->td, 0, 0));
}

TEST_F(fetched, stray_fetch_finds_all_tags_fetched)
{
	EXPECT_EQ(-EBUSY, td_fetch(&self->td, 0, 0));
}

TEST_F(live, stray_fetch_is_refused_on_a_live_device)
{
	EXPECT_EQ(-EBUSY, td_fetch(&self->td, 0, 3));
}

TEST_F(live, stray_fetch_does_not_disturb_the_tag)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	int tag;

	td->answer_all = true;
	for (tag = 0; tag < 4; tag++)
		ASSERT_EQ(-EBUSY, td_fetch(td, 0, tag));
	EXPECT_EQ(4096, td_wait(td, td_read(td, buf, 4096, TD_AREA)));
}

TEST_F(live, stray_fetch_of_a_tag_in_the_servers_hands_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EBUSY, td_fetch(td, req.queue, req.tag));
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(attached, aborted_fetch_cannot_be_repeated)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(TD_PENDING, td_fetch(td, 0, 0));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	ASSERT_EQ(-ENODEV, td_wait_end(td, 0, 0));
	EXPECT_EQ(-ENODEV, td_fetch(td, 0, 0));
}

/* Through a worker thread of io_uring, which hands it to the submitter. */
TEST_F(attached, fetch_forced_into_a_worker_works)
{
	struct testdev *td = &self->td;

	td->sqe_flags = IOSQE_ASYNC;
	ASSERT_EQ(0, td_fetch_all(td));
	td->sqe_flags = 0;
	ASSERT_EQ(0, td_start(td));
	ASSERT_EQ(0, td_open_disk(td));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
}

TEST_F(live, commit_forced_into_a_worker_works)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	td->sqe_flags = IOSQE_ASYNC;
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

/* -- two threads fetch one tag --------------------------------------------- */

static void *race_for_tags(void *arg)
{
	/* With what it holds, it outlives the thread. */
	struct io_uring *ring = malloc(sizeof(*ring));
	struct td_racer *r = arg;
	unsigned int tag;

	if (io_uring_queue_init(64, ring, 0))
		return NULL;
	pthread_barrier_wait(r->barrier);
	for (tag = 0; tag < r->td->info.queue_depth; tag++)
		td_count_try(r, td_io_cmd_on(ring, r->td->cdev,
					     UBLK_U_IO_FETCH_REQ, 0, tag, 0,
					     (unsigned long)td_buf(r->td, 0, tag)));
	return NULL;
}

static int deep_attached(struct testdev *td)
{
	td->info.queue_depth = 64;
	return td_add_attached(td);
}

TD_FIXTURE(deep, deep_attached);

TEST_F(deep, concurrent_fetches_of_a_tag_have_one_winner)
{
	struct td_racer racers[2];

	ASSERT_EQ(0, td_race(&self->td, racers, race_for_tags));
	EXPECT_EQ(64, racers[0].won + racers[1].won);
	EXPECT_EQ(0, racers[0].other);
	EXPECT_EQ(0, racers[1].other);
}

/* -- the edges ------------------------------------------------------------- */

static int depth_4096(struct testdev *td)
{
	td->info.queue_depth = 4096;
	td->info.max_io_buf_bytes = 4096;
	td->params.basic.max_sectors = 8;
	td->info.nr_hw_queues = 2;
	return td_go_live(td);
}

TD_FIXTURE(deepest, depth_4096);

/* Holds request after request until the last tag of a queue gets one. */
TEST_F_TIMEOUT(deepest, last_tag_of_the_last_queue_carries_data, 60)
{
	struct testdev *td = &self->td;
	char *want = td_page_buf(4096, 9), *buf = td_page_buf(4096, 0);
	__u16 queue = td->info.nr_hw_queues - 1;
	struct td_req req = { };
	int client = 0, i;

	for (i = 0; i < 9000 && req.tag != 4095; i++) {
		client = td_read(td, buf, 4096, TD_AREA + (i % 4096) * 4096);
		ASSERT_EQ(0, td_next(td, &req));
	}
	ASSERT_EQ(4095, req.tag);
	ASSERT_GE(queue, req.queue);
	memcpy(req.buf, want, 4096);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(want, buf, 4096));
}

static int two_queues_attached(struct testdev *td)
{
	td->info.nr_hw_queues = 2;
	return td_add_attached(td);
}

TD_FIXTURE(queues, two_queues_attached);

TEST_F(queues, each_queue_needs_its_own_fetches)
{
	struct testdev *td = &self->td;
	int tag;

	if (td->info.nr_hw_queues < 2)
		SKIP(return, "needs two CPUs");
	for (tag = 0; tag < 4; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 1, tag));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_START_DEV, getpid()));
	for (tag = 0; tag < 4; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_HARNESS_MAIN
