// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: how requests come to a server and go back, in which order, and
 * what becomes of them when a fetch command cannot report them.
 */
#include "fixture.h"

#define DEPTH	32
#define BYTES	4096

static int attach_prepared(struct tb *tb, struct testdev *td)
{
	td->info.queue_depth = DEPTH;
	return tb_attach_prepared(tb, td);
}

static int go_live(struct tb *tb, struct testdev *td)
{
	td->info.queue_depth = DEPTH;
	return tb_go_live(tb, td);
}

TB_FIXTURE(prepared, attach_prepared);
TB_FIXTURE(live, go_live);

static void send_reads(struct testdev *td, int *clients, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES,
				     TD_AREA + i * 65536);
}

/* All of them were served: the clients are happy. */
static void expect_served(struct __test_metadata *_metadata, struct tb *tb,
			  const int *clients, unsigned int nr)
{
	unsigned int i;

	EXPECT_EQ(0, tb_answer_all(tb, 0));
	for (i = 0; i < nr; i++)
		EXPECT_EQ(BYTES, tb_wait_client(tb, clients[i]));
}

/* The tags that came name the reads of send_reads(), the first one first. */
static bool in_order(struct tb *tb, unsigned int nr)
{
	unsigned int i;

	if (tb->nr_tags != nr)
		return false;
	for (i = 0; i < nr; i++) {
		__u64 start = td_desc(tb->td, 0, tb->tags[i])->start_sector;

		if (start != (TD_AREA + i * 65536) >> UBLK_SECTOR_SHIFT)
			return false;
	}
	return true;
}

/* For what was sent to be on its way, as far as it goes without the server. */
static bool wait_inflight(struct tb *tb, unsigned int nr)
{
	return td_wait_inflight(tb->td, nr);
}

/* -- data ------------------------------------------------------------------- */

TEST_F(live, read_returns_what_the_server_has)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BYTES, 0), *want = td_page_buf(BYTES, 3);
	int client = td_read(td, buf, BYTES, TD_AREA);
	struct tb *tb = &self->tb;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	memcpy(td_buf(td, 0, tb->tags[0]), want, BYTES);
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	ASSERT_EQ(BYTES, tb_wait_client(tb, client));
	EXPECT_EQ(0, memcmp(want, buf, BYTES));
}

TEST_F(live, write_comes_with_its_data)
{
	struct testdev *td = &self->td;
	char *want = td_page_buf(BYTES, 4);
	int client = td_write(td, want, BYTES, TD_AREA, 0);
	struct tb *tb = &self->tb;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(UBLK_IO_OP_WRITE, ublksrv_get_op(td_desc(td, 0, tb->tags[0])));
	EXPECT_EQ(0, memcmp(want, td_buf(td, 0, tb->tags[0]), BYTES));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

/* A write is in the server's hands: answers it, and moves the tag's buffer. */
static int answer_and_move(struct tb *tb, int client, char *buf)
{
	struct tb_elem elem = tb_elem(tb, 0, tb->tags[0], BYTES);

	elem.addr = (unsigned long)buf;
	tb->nr_tags = 0;
	if (tb_commit(tb, 0, &elem, 1) != sizeof(elem))
		return -EINVAL;
	return tb_wait_client(tb, client);
}

/* Sooner or later a tag comes for the second time. */
TEST_F(live, commit_names_the_next_buffer)
{
	struct testdev *td = &self->td;
	char *elsewhere = td_page_buf(BYTES, 0), *want = td_page_buf(BYTES, 5);
	struct tb *tb = &self->tb;
	bool moved[DEPTH] = { };
	int client;

	tb_fetch(tb, 0);
	for (;;) {
		memset(elsewhere, 0, BYTES);
		client = td_write(td, want, BYTES, TD_AREA, 0);
		ASSERT_EQ(0, tb_wait_tags(tb, 1));
		if (moved[tb->tags[0]])
			break;
		ASSERT_TRUE(td_is_zero(elsewhere, BYTES));
		moved[tb->tags[0]] = true;
		ASSERT_EQ(BYTES, answer_and_move(tb, client, elsewhere));
	}
	EXPECT_EQ(0, memcmp(want, elsewhere, BYTES));
	EXPECT_EQ(BYTES, answer_and_move(tb, client, elsewhere));
}

TEST_F(live, negative_result_fails_the_request)
{
	struct tb *tb = &self->tb;
	struct tb_elem elem;
	int client;

	tb_fetch(tb, 0);
	send_reads(&self->td, &client, 1);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	elem = tb_elem(tb, 0, tb->tags[0], -ENOSPC);
	ASSERT_EQ(sizeof(elem), tb_commit(tb, 0, &elem, 1));
	EXPECT_EQ(-ENOSPC, tb_wait_client(tb, client));
}

TEST_F(live, rest_of_a_short_read_comes_again)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct tb_elem elem;
	int client;

	tb_fetch(tb, 0);
	send_reads(td, &client, 1);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	elem = tb_elem(tb, 0, tb->tags[0], 1024);
	tb->nr_tags = 0;
	ASSERT_EQ(sizeof(elem), tb_commit(tb, 0, &elem, 1));
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ((TD_AREA + 1024) >> 9, td_desc(td, 0, tb->tags[0])->start_sector);
	EXPECT_EQ(6, td_desc(td, 0, tb->tags[0])->nr_sectors);
	expect_served(_metadata, tb, &client, 1);
}

/* A buffer that appears later: until then, nothing can be copied. */
TEST_F(live, write_waits_until_its_buffer_can_be_written)
{
	struct testdev *td = &self->td;
	char *want = td_page_buf(BYTES, 6);
	struct tb *tb = &self->tb;
	int client, i;

	for (i = 0; i < DEPTH; i++)
		mprotect(td_buf(td, 0, i), TD_BUF_BYTES, PROT_READ);
	tb_fetch(tb, 0);
	client = td_write(td, want, BYTES, TD_AREA, 0);
	tb_settle(tb, 100);
	ASSERT_EQ(0, tb->nr_tags);
	for (i = 0; i < DEPTH; i++)
		mprotect(td_buf(td, 0, i), TD_BUF_BYTES, PROT_READ | PROT_WRITE);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(0, memcmp(want, td_buf(td, 0, tb->tags[0]), BYTES));
	expect_served(_metadata, tb, &client, 1);
}

/* -- reports ---------------------------------------------------------------- */

TEST_F(live, one_report_names_what_has_come)
{
	struct tb *tb = &self->tb;
	int clients[DEPTH / 2];

	send_reads(&self->td, clients, DEPTH / 2);
	ASSERT_TRUE(wait_inflight(tb, DEPTH / 2));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, DEPTH / 2));
	EXPECT_EQ(1, tb->nr_reports);
	expect_served(_metadata, tb, clients, DEPTH / 2);
}

TEST_F(live, tags_come_in_the_order_of_their_requests)
{
	struct tb *tb = &self->tb;
	int clients[DEPTH / 2];

	send_reads(&self->td, clients, DEPTH / 2);
	ASSERT_TRUE(wait_inflight(tb, DEPTH / 2));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, DEPTH / 2));
	EXPECT_TRUE(in_order(tb, DEPTH / 2));
	expect_served(_metadata, tb, clients, DEPTH / 2);
}

TEST_F(live, idle_fetch_reports_each_request_as_it_comes)
{
	struct tb *tb = &self->tb;
	int clients[4], i;

	tb_fetch(tb, 0);
	for (i = 0; i < 4; i++) {
		send_reads(&self->td, &clients[i], 1);
		ASSERT_EQ(0, tb_wait_tags(tb, i + 1));
	}
	EXPECT_EQ(4, tb->nr_reports);
	expect_served(_metadata, tb, clients, 4);
}

/* Room for two tags in a buffer. */
static int go_live_small(struct tb *tb, struct testdev *td)
{
	int ret = go_live(tb, td);

	tb_exit(tb);
	tb->keep_bufs = true;
	return ret ? ret : tb_init(tb, td, 0, TB_BUFFERS, 2 * sizeof(__u16));
}

TB_FIXTURE(small, go_live_small);

TEST_F(small, report_has_as_many_tags_as_its_buffer_holds)
{
	struct tb *tb = &self->tb;
	int clients[8];

	send_reads(&self->td, clients, 8);
	ASSERT_TRUE(wait_inflight(tb, 8));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 8));
	EXPECT_LE(4, tb->nr_reports);
	EXPECT_TRUE(in_order(tb, 8));
	expect_served(_metadata, tb, clients, 8);
}

/* -- what cannot be reported ------------------------------------------------ */

/* The next fetch command reports what this one could not, the first one first. */
static void expect_nothing_lost(struct __test_metadata *_metadata, struct tb *tb,
				const int *clients, unsigned int nr)
{
	tb_exit(tb);
	tb->keep_bufs = false;
	ASSERT_EQ(0, tb_init(tb, tb->td, 0, TB_BUFFERS, TB_BUF_BYTES));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, nr));
	EXPECT_TRUE(in_order(tb, nr));
	expect_served(_metadata, tb, clients, nr);
}

/* Another ring for the fetch: this many buffers, of that many bytes. */
static void refit(struct __test_metadata *_metadata, struct tb *tb,
		  unsigned int buffers, unsigned int bytes)
{
	tb_exit(tb);
	tb->keep_bufs = true;
	ASSERT_EQ(0, tb_init(tb, tb->td, 0, buffers, bytes));
}

static void expect_no_room(struct __test_metadata *_metadata, struct tb *tb)
{
	__u32 seq = tb_fetch(tb, 0);
	int clients[3];

	send_reads(tb->td, clients, 3);
	EXPECT_EQ(-ENOBUFS, tb_result(tb, seq));
	ASSERT_TRUE(wait_inflight(tb, 3));
	expect_nothing_lost(_metadata, tb, clients, 3);
}

TEST_F(live, fetch_without_a_buffer_ends_with_the_first_request)
{
	refit(_metadata, &self->tb, 0, 0);
	expect_no_room(_metadata, &self->tb);
}

TEST_F(live, fetch_with_a_buffer_too_small_for_a_tag_ends)
{
	refit(_metadata, &self->tb, 4, 1);
	expect_no_room(_metadata, &self->tb);
}

/* Reads and writes, as their data must not be lost, either. */
TEST_F(live, fetch_with_a_buffer_that_is_not_there_ends)
{
	struct testdev *td = &self->td;
	void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	char *want = td_page_buf(BYTES, 7);
	struct tb *tb = &self->tb;
	int client;
	__u32 seq;

	refit(_metadata, tb, 0, 0);
	io_uring_buf_ring_add(tb->br, nowhere, 64, 0,
			      io_uring_buf_ring_mask(TB_BUFFERS), 0);
	io_uring_buf_ring_advance(tb->br, 1);
	seq = tb_fetch(tb, 0);
	client = td_write(td, want, BYTES, TD_AREA, 0);
	EXPECT_EQ(-ENOBUFS, tb_result(tb, seq));
	tb_exit(tb);
	ASSERT_EQ(0, tb_init(tb, td, 0, TB_BUFFERS, TB_BUF_BYTES));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(0, memcmp(want, td_buf(td, 0, tb->tags[0]), BYTES));
	expect_served(_metadata, tb, &client, 1);
}

TEST_F(live, fetch_that_runs_out_of_buffers_leaves_the_rest_in_order)
{
	struct tb *tb = &self->tb;
	int clients[6];
	__u32 seq;

	refit(_metadata, tb, 2, 4);
	send_reads(&self->td, clients, 6);
	ASSERT_TRUE(wait_inflight(tb, 6));
	seq = tb_fetch(tb, 0);
	EXPECT_EQ(-ENOBUFS, tb_result(tb, seq));
	EXPECT_TRUE(in_order(tb, 4));
	EXPECT_EQ(0, tb_answer_all(tb, 0));

	tb_give_buffer(tb, 0);
	tb_give_buffer(tb, 1);
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 2));
	EXPECT_EQ((TD_AREA + 4 * 65536) >> 9,
		  td_desc(tb->td, 0, tb->tags[0])->start_sector);
	expect_served(_metadata, tb, clients, 6);
}

/* Its completions are not read while requests come. */
TEST_F(live, fetch_that_finds_the_cq_full_leaves_the_requests)
{
	struct tb *tb = &self->tb;
	int clients[4], i;
	__u32 seq;

	tb_exit(tb);
	tb->entries = 1;
	ASSERT_EQ(0, tb_init(tb, &self->td, 0, TB_BUFFERS, TB_BUF_BYTES));
	seq = tb_fetch(tb, 0);
	for (i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&tb->ring);

		io_uring_prep_nop(sqe);
		sqe->user_data = 0xffff;
		ASSERT_EQ(1, io_uring_submit(&tb->ring));
	}
	send_reads(&self->td, clients, 4);
	ASSERT_TRUE(wait_inflight(tb, 4));
	EXPECT_EQ(-ENOBUFS, tb_result(tb, seq));
	tb->entries = 0;
	expect_nothing_lost(_metadata, tb, clients, 4);
}

/* -- several fetch commands ------------------------------------------------- */

/* @first is to fail: what it leaves goes to the next without a new request. */
TEST_F(live, next_fetch_takes_over_from_one_that_ends)
{
	struct tb *tb = &self->tb, first = { };
	int clients[3];
	__u32 seq;

	first.keep_bufs = true;
	ASSERT_EQ(0, tb_init(&first, &self->td, 0, 0, 0));
	seq = tb_fetch(&first, 0);
	tb_fetch(tb, 0);
	send_reads(&self->td, clients, 3);
	EXPECT_EQ(-ENOBUFS, tb_result(&first, seq));
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	EXPECT_TRUE(in_order(tb, 3));
	expect_served(_metadata, tb, clients, 3);
}

/* Of all tags that either ring was told of. */
struct pair {
	struct tb *a;
	struct tb *b;
	unsigned int nr;
};

static bool pair_has_come(void *arg)
{
	struct pair *p = arg;

	tb_serve(p->a);
	tb_serve(p->b);
	return p->a->nr_tags + p->b->nr_tags >= p->nr;
}

/* The first request of what a ring was told of is the oldest, and so on. */
static bool in_any_order(const struct tb *tb)
{
	unsigned int i;

	for (i = 1; i < tb->nr_tags; i++)
		if (td_desc(tb->td, 0, tb->tags[i - 1])->start_sector >=
		    td_desc(tb->td, 0, tb->tags[i])->start_sector)
			return false;
	return true;
}

TEST_F(live, each_of_several_fetches_keeps_the_order)
{
	struct tb *tb = &self->tb, other = { };
	struct pair pair = { tb, &other, DEPTH / 2 };
	struct testdev *td = &self->td;
	int clients[DEPTH / 2], i;

	ASSERT_EQ(0, tb_init(&other, td, 0, TB_BUFFERS, 2 * sizeof(__u16)));
	tb_fetch(tb, 0);
	tb_fetch(&other, 0);
	for (i = 0; i < DEPTH / 2; i++)
		clients[i] = td_write(td, td_page_buf(BYTES, i + 1), BYTES,
				      TD_AREA + i * 65536, 0);
	ASSERT_TRUE(td_poll_until(pair_has_come, &pair));
	EXPECT_TRUE(in_any_order(tb));
	EXPECT_TRUE(in_any_order(&other));
	EXPECT_EQ(0, tb_answer_all(&other, 0));
	expect_served(_metadata, tb, clients, DEPTH / 2);
}

/*
 * Whoever would have to look after the requests does not run; in time, the driver
 * finds that somebody else has nothing to do.
 */
TEST_F(live, requests_that_a_fetch_does_not_come_for_go_to_another)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb, other = { };
	struct pair pair = { tb, &other, 3 };
	int clients[3], i;

	ASSERT_EQ(0, td_set_io_timeout(td, 1000));
	ASSERT_EQ(0, tb_init(&other, td, IORING_SETUP_SINGLE_ISSUER |
			     IORING_SETUP_DEFER_TASKRUN, TB_BUFFERS,
			     TB_BUF_BYTES));
	tb_fetch(&other, 0);
	tb_fetch(tb, 0);
	send_reads(td, clients, 3);
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	EXPECT_EQ(0, other.nr_tags);
	expect_served(_metadata, tb, clients, 3);

	/* That was no reason to forget the one that was late. */
	for (i = 0; i < 3; i++) {
		pair.nr = 1;
		tb->nr_tags = 0;
		other.nr_tags = 0;
		send_reads(td, clients, 1);
		ASSERT_TRUE(td_poll_until(pair_has_come, &pair));
		EXPECT_EQ(0, tb_answer_all(&other, 0));
		expect_served(_metadata, tb, clients, 1);
	}
}

TEST_F(live, fetch_goes_on_when_another_ring_is_closed)
{
	struct tb *tb = &self->tb, other = { };
	int clients[3];

	ASSERT_EQ(0, tb_init(&other, &self->td, 0, TB_BUFFERS, TB_BUF_BYTES));
	tb_fetch(&other, 0);
	tb_fetch(tb, 0);
	tb_exit(&other);
	send_reads(&self->td, clients, 3);
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	expect_served(_metadata, tb, clients, 3);
}

TEST_F(live, requests_wait_for_the_next_fetch_when_the_only_ring_is_closed)
{
	struct tb *tb = &self->tb;
	int clients[3];

	tb_fetch(tb, 0);
	tb_exit(tb);
	ASSERT_EQ(0, tb_init(tb, &self->td, 0, TB_BUFFERS, TB_BUF_BYTES));
	send_reads(&self->td, clients, 3);
	ASSERT_TRUE(wait_inflight(tb, 3));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	EXPECT_TRUE(in_order(tb, 3));
	expect_served(_metadata, tb, clients, 3);
}

/*
 * Its task work waits for a task that never comes: it runs when the ring goes,
 * in a worker of the kernel's, where the server's memory is not.
 */
TEST_F(live, work_pending_at_the_close_of_its_ring_is_left_to_the_next_fetch)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb, other = { };
	char *want = td_page_buf(BYTES, 8);
	int client;

	ASSERT_EQ(0, tb_init(&other, td, IORING_SETUP_SINGLE_ISSUER |
			     IORING_SETUP_DEFER_TASKRUN, TB_BUFFERS,
			     TB_BUF_BYTES));
	tb_fetch(&other, 0);
	client = td_write(td, want, BYTES, TD_AREA, 0);
	ASSERT_TRUE(wait_inflight(tb, 1));
	tb_exit(&other);
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(0, memcmp(want, td_buf(td, 0, tb->tags[0]), BYTES));
	expect_served(_metadata, tb, &client, 1);
}

TEST_F(live, work_pending_at_the_close_of_its_ring_goes_to_an_idle_fetch)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb, other = { };
	int client;

	ASSERT_EQ(0, tb_init(&other, td, IORING_SETUP_SINGLE_ISSUER |
			     IORING_SETUP_DEFER_TASKRUN, TB_BUFFERS,
			     TB_BUF_BYTES));
	tb_fetch(&other, 0);
	tb_fetch(tb, 0);
	send_reads(td, &client, 1);
	ASSERT_TRUE(wait_inflight(tb, 1));
	tb_exit(&other);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	expect_served(_metadata, tb, &client, 1);
}

TEST_F(live, fetch_forced_into_a_worker_works)
{
	struct tb *tb = &self->tb;
	int clients[3];

	self->td.sqe_flags = IOSQE_ASYNC;
	tb_fetch(tb, 0);
	self->td.sqe_flags = 0;
	send_reads(&self->td, clients, 3);
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	expect_served(_metadata, tb, clients, 3);
}

TEST_F(live, fetch_on_a_polled_ring_works)
{
	struct tb *tb = &self->tb, other = { };
	int clients[3];

	/* A kernel thread submits, and its task work is run by that. */
	if (tb_init(&other, &self->td, IORING_SETUP_SQPOLL, TB_BUFFERS,
		    TB_BUF_BYTES))
		SKIP(return, "no SQPOLL ring");
	tb_fetch(&other, 0);
	send_reads(&self->td, clients, 3);
	ASSERT_EQ(0, tb_wait_tags(&other, 3));
	tb->nr_tags = other.nr_tags;
	memcpy(tb->tags, other.tags, sizeof(tb->tags));
	expect_served(_metadata, tb, clients, 3);
}

/* Before its tags are offered. */
static int attach_and_fetch(struct tb *tb, struct testdev *td)
{
	int ret;

	td->info.queue_depth = DEPTH;
	ret = tb_attach(tb, td);
	if (!ret && !tb_fetch(tb, 0))
		ret = -EIO;
	if (!ret)
		ret = tb_prep_all(tb);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : tb_open_disk(tb);
}

TB_FIXTURE(fetched_first, attach_and_fetch);

TEST_F(fetched_first, fetch_may_come_before_prep)
{
	struct tb *tb = &self->tb;
	int client;

	send_reads(&self->td, &client, 1);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	expect_served(_metadata, tb, &client, 1);
}

/* -- the end of a server ---------------------------------------------------- */

TEST_F(prepared, stop_ends_an_idle_fetch)
{
	__u32 seq = tb_fetch(&self->tb, 0);

	ASSERT_EQ(0, tb_ctl(&self->tb, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, tb_result(&self->tb, seq));
}

TEST_F(prepared, stop_ends_every_fetch_that_waits)
{
	struct tb *tb = &self->tb;
	__u32 seq[3];
	int i;

	for (i = 0; i < 3; i++)
		seq[i] = tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_STOP_DEV, 0));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-ENODEV, tb_result(tb, seq[i]));
}

TEST_F(live, delete_ends_an_idle_fetch)
{
	struct tb *tb = &self->tb;
	__u32 seq = tb_fetch(tb, 0);

	td_close_disk(&self->td);
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
}

/* What the server has not been told of it is still given. */
TEST_F(live, stop_waits_for_requests_that_nobody_has_fetched)
{
	struct tb *tb = &self->tb;
	int clients[3];
	__u32 seq;

	send_reads(&self->td, clients, 3);
	ASSERT_TRUE(wait_inflight(tb, 3));
	ASSERT_EQ(0, td_ctl_send(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	tb_settle(tb, 100);
	ASSERT_EQ(0, io_uring_cq_ready(&self->td.ctrl.ring));
	seq = tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 3));
	expect_served(_metadata, tb, clients, 3);
	EXPECT_EQ(0, tb_ctl_wait(tb));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
}

static int go_live_recoverable(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE;
	return go_live(tb, td);
}

TB_FIXTURE(recoverable, go_live_recoverable);

TEST_F(recoverable, quiesce_ends_an_idle_fetch)
{
	struct tb *tb = &self->tb;
	__u32 seq = tb_fetch(tb, 0);

	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_QUIESCE_DEV, 10000));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
}

TEST_F(recoverable, quiesce_waits_for_a_fetch_that_can_tell_the_server)
{
	struct tb *tb = &self->tb;
	__u32 seq;

	ASSERT_EQ(0, td_ctl_send(&self->td, UBLK_U_CMD_QUIESCE_DEV, 0));
	tb_settle(tb, 100);
	ASSERT_EQ(0, io_uring_cq_ready(&self->td.ctrl.ring));
	seq = tb_fetch(tb, 0);
	EXPECT_EQ(0, tb_ctl_wait(tb));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
}

TEST_F(recoverable, quiesce_that_gives_up_has_changed_nothing)
{
	struct tb *tb = &self->tb;
	int client;

	ASSERT_EQ(-EBUSY, tb_ctl(tb, UBLK_U_CMD_QUIESCE_DEV, 50));
	send_reads(&self->td, &client, 1);
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	expect_served(_metadata, tb, &client, 1);
}

TEST_F(recoverable, request_in_hand_at_quiesce_may_be_answered)
{
	struct tb *tb = &self->tb;
	int client;
	__u32 seq;

	seq = tb_fetch(tb, 0);
	send_reads(&self->td, &client, 1);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_QUIESCE_DEV, 10000));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
	expect_served(_metadata, tb, &client, 1);
}

/* The next server of a disk, which has offered nothing yet. */
static int attach_next(struct tb *tb, struct testdev *td)
{
	int ret = go_live_recoverable(tb, td);

	if (ret)
		return ret;
	tb_exit(tb);
	td_detach(td);
	ret = td_reattach(td);
	return ret ? ret : tb_init(tb, td, 0, TB_BUFFERS, TB_BUF_BYTES);
}

TB_FIXTURE(unprepared, attach_next);

TEST_F(unprepared, fetch_may_come_before_prep)
{
	struct tb *tb = &self->tb;
	int client;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_prep_all(tb));
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_END_USER_RECOVERY, getpid()));
	send_reads(&self->td, &client, 1);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	expect_served(_metadata, tb, &client, 1);
}

/* It has offered its tags, but has not ended the recovery. */
static int prepare_recovery(struct tb *tb, struct testdev *td)
{
	int ret = attach_next(tb, td);

	return ret ? ret : tb_prep_all(tb);
}

TB_FIXTURE(next, prepare_recovery);

TEST_F(next, stop_fails_requests_that_nobody_has_fetched)
{
	struct tb *tb = &self->tb;
	int client;

	send_reads(&self->td, &client, 1);
	ASSERT_TRUE(wait_inflight(tb, 1));
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, tb_wait_client(tb, client));
}

TEST_F(next, delete_fails_requests_that_nobody_has_fetched)
{
	struct tb *tb = &self->tb;
	int client;

	send_reads(&self->td, &client, 1);
	ASSERT_TRUE(wait_inflight(tb, 1));
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(-EIO, tb_wait_client(tb, client));
}

TEST_HARNESS_MAIN
