// SPDX-License-Identifier: GPL-2.0
/*
 * Threads: each tag belongs to the one that fetched it, and a queue's tags may
 * belong to different ones.
 */
#include <sys/eventfd.h>

#include "fixture.h"

static int two_tags(struct testdev *td)
{
	td->info.queue_depth = 2;
	return td_add_attached(td);
}

TD_FIXTURE(shared, two_tags);

/* Another thread that serves tag 1; the test's own serves tag 0. */
struct other {
	struct testdev *td;
	pthread_t thread;
	int fetched;		/* eventfd */
	int result;		/* of the fetch */
	int commit_of_ours;	/* of a commit of tag 0 */
	int served;
};

static void serve_tag_1(struct other *o, struct io_uring *ring)
{
	struct testdev *td = o->td;
	struct io_uring_cqe *cqe;
	int res;

	for (;;) {
		if (io_uring_wait_cqe(ring, &cqe))
			continue;
		res = cqe->res;
		io_uring_cqe_seen(ring, cqe);
		if (res < 0)
			return;
		o->served++;
		td_send_io_cmd_on(ring, td->cdev, UBLK_U_IO_COMMIT_AND_FETCH_REQ,
				  0, 1, td_desc(td, 0, 1)->nr_sectors << 9,
				  (unsigned long)td_buf(td, 0, 1));
	}
}

static void *other_main(void *arg)
{
	struct other *o = arg;
	struct io_uring ring;

	if (io_uring_queue_init(4, &ring, 0))
		return NULL;
	o->result = td_io_cmd_on(&ring, o->td->cdev, UBLK_U_IO_FETCH_REQ, 0, 1,
				 0, (unsigned long)td_buf(o->td, 0, 1));
	o->commit_of_ours =
		td_io_cmd_on(&ring, o->td->cdev, UBLK_U_IO_COMMIT_AND_FETCH_REQ,
			     0, 0, 0, (unsigned long)td_buf(o->td, 0, 0));
	eventfd_write(o->fetched, 1);
	if (o->result == TD_PENDING)
		serve_tag_1(o, &ring);
	io_uring_queue_exit(&ring);
	return NULL;
}

static int start_both(struct testdev *td, struct other *o)
{
	eventfd_t one;
	int ret;

	o->td = td;
	o->fetched = eventfd(0, EFD_CLOEXEC);
	if (td_fetch(td, 0, 0) != TD_PENDING)
		return -EINVAL;
	if (pthread_create(&o->thread, NULL, other_main, o))
		return -EAGAIN;
	eventfd_read(o->fetched, &one);
	ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

TEST_F(shared, tags_of_a_queue_may_belong_to_two_threads)
{
	struct other o = { };

	ASSERT_EQ(0, start_both(&self->td, &o));
	EXPECT_EQ(TD_PENDING, o.result);
}

/* Two requests at once: one for each thread. */
TEST_F(shared, each_thread_serves_its_own_tag)
{
	struct testdev *td = &self->td;
	struct other o = { };
	struct td_req req;
	int a, b;

	ASSERT_EQ(0, start_both(td, &o));
	a = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	b = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA + 65536);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, req.tag);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, a));
	td->answer_all = true;
	EXPECT_EQ(4096, td_wait(td, b));
}

TEST_F(shared, commit_of_the_other_threads_tag_is_refused)
{
	struct testdev *td = &self->td;
	struct other o = { };

	ASSERT_EQ(0, start_both(td, &o));
	EXPECT_EQ(-EINVAL, o.commit_of_ours);
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0, 1,
				     0, (unsigned long)td_buf(td, 0, 1)));
}

TEST_F(shared, stop_ends_the_fetches_of_both)
{
	struct testdev *td = &self->td;
	struct other o = { };

	ASSERT_EQ(0, start_both(td, &o));
	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, 0));
	/* Its loop ends on the abort. */
	EXPECT_EQ(0, pthread_join(o.thread, NULL));
}

/* -- the library's threads ------------------------------------------------- */

FIXTURE(pool)
{
	struct testdev td;
};

FIXTURE_VARIANT(pool)
{
	unsigned int queues;
	unsigned int depth;
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(pool, one_thread) {
	.queues = 1, .depth = 16, .threads = 1,
};

FIXTURE_VARIANT_ADD(pool, thread_for_each_tag) {
	.queues = 1, .depth = 16, .threads = 16,
};

FIXTURE_VARIANT_ADD(pool, three_threads_for_16_tags) {
	.queues = 1, .depth = 16, .threads = 3,
};

FIXTURE_VARIANT_ADD(pool, two_queues_of_two_threads) {
	.queues = 2, .depth = 8, .threads = 2,
};

FIXTURE_VARIANT_ADD(pool, as_many_queues_as_there_can_be) {
	.queues = 4096, .depth = 4, .threads = 1,
};

TD_FIXTURE_OPS(pool, td_no_device);

/* Several I/Os in flight all along, each with data of its own. */
TEST_F(pool, data_comes_back_as_it_was_written)
{
	enum { IOS = 64, BYTES = 16384 };
	struct testdev *td = &self->td;
	struct ublk_options opts;
	int clients[IOS], i;
	char *out[IOS], *in[IOS];
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d",
		 memfd_create("disk", 0));
	ublk_options_init(&opts);
	opts.target = &ublk_loop_target;
	opts.file = path;
	opts.size = TD_SIZE;
	opts.queues = variant->queues;
	opts.depth = variant->depth;
	opts.threads = variant->threads;
	ASSERT_EQ(0, td_spawn(td, &opts));

	for (i = 0; i < IOS; i++) {
		out[i] = td_page_buf(BYTES, i + 1);
		in[i] = td_page_buf(BYTES, 0);
		clients[i] = td_write(td, out[i], BYTES, TD_AREA + i * BYTES, 0);
	}
	for (i = 0; i < IOS; i++)
		ASSERT_EQ(BYTES, td_wait(td, clients[i]));
	for (i = 0; i < IOS; i++)
		clients[i] = td_read(td, in[i], BYTES, TD_AREA + i * BYTES);
	for (i = 0; i < IOS; i++) {
		ASSERT_EQ(BYTES, td_wait(td, clients[i]));
		EXPECT_EQ(0, memcmp(in[i], out[i], BYTES));
	}
}

TEST_HARNESS_MAIN
