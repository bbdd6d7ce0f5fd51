// SPDX-License-Identifier: GPL-2.0
/*
 * USER_COPY: the server reads the data of a WRITE from /dev/ublkcN, and writes
 * that of a READ to it.
 */
#include <sys/syscall.h>

#include "fixture.h"

#define BIG	(1024U << 10)	/* more than is copied without waiting */

static int live_with_user_copy(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_COPY;
	td->info.max_io_buf_bytes = BIG;
	td->params.basic.max_sectors = BIG >> UBLK_SECTOR_SHIFT;
	return td_go_live(td);
}

TD_FIXTURE_WITH(live, UBLK_F_USER_COPY, live_with_user_copy);

/* -- what it is for -------------------------------------------------------- */

TEST_F(live, server_takes_the_data_of_a_write)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, req.addr);
	EXPECT_EQ(8192, td_take(td, &req, mine, 8192, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	EXPECT_EQ(8192, td_wait(td, client));
}

TEST_F(live, server_brings_the_data_of_a_read)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 0), *mine = td_page_buf(8192, 1);
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	EXPECT_EQ(8192, td_bring(td, &req, mine, 8192, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	EXPECT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

TEST_F(live, data_is_brought_in_parts_of_any_size)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 0), *mine = td_page_buf(8192, 1);
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	EXPECT_EQ(8191 - 4097, td_bring(td, &req, mine + 4097, 8191 - 4097, 4097));
	EXPECT_EQ(4097, td_bring(td, &req, mine, 4097, 0));
	EXPECT_EQ(1, td_bring(td, &req, mine + 8191, 1, 8191));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	ASSERT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

/* Pieces of memory that do not lie side by side: as many bio_vecs. */
TEST_F(live, data_in_several_pieces_is_taken_as_one)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(5 * 4096, 3), *mine = td_page_buf(8192, 0);
	struct iovec iov[] = {
		{ buf, 512 }, { buf + 8192, 4096 }, { buf + 4096, 1024 },
	};
	struct td_req req;
	int client;

	client = td_writev(td, iov, 3, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(5632, td_take(td, &req, mine, 5632, 0));
	EXPECT_EQ(0, memcmp(mine, buf, 512));
	EXPECT_EQ(0, memcmp(mine + 512, buf + 8192, 4096));
	EXPECT_EQ(0, memcmp(mine + 4608, buf + 4096, 1024));
	EXPECT_EQ(5120, td_take(td, &req, mine, 8192, 512));
	EXPECT_EQ(0, memcmp(mine + 4096, buf + 4096, 1024));
	td_answer(td, &req, 5632);
	EXPECT_EQ(5632, td_wait(td, client));
}

struct other {
	struct testdev *td;
	struct td_req *req;
	void *buf;
};

static int take_from_here(void *arg)
{
	struct other *o = arg;

	return td_take(o->td, o->req, o->buf, 4096, 0);
}

TEST_F(live, any_thread_takes_the_data)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	struct td_req req;
	struct other other = { td, &req, mine };

	ASSERT_LE(0, td_write_arrived(td, &req, buf, 4096));
	EXPECT_EQ(4096, td_in_thread(take_from_here, &other));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
	td_answer(td, &req, 4096);
}

/* -- bounds ---------------------------------------------------------------- */

TEST_F(live, copy_ends_with_the_request)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(8192, 0);
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(4096, td_take(td, &req, mine, 8192, 0));
	EXPECT_EQ(96, td_take(td, &req, mine, 8192, 4000));
	EXPECT_EQ(0, td_take(td, &req, mine, 8192, 4096));
	td_answer(td, &req, 4096);
}

TEST_F(live, copy_beyond_the_request_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	char c;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EINVAL, td_take(td, &req, &c, 1, 4097));
	EXPECT_EQ(-EINVAL, td_take(td, &req, &c, 1, (1U << 25) - 1));
	td_answer(td, &req, 4096);
}

TEST_F(live, fault_makes_a_copy_short)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(8192, 0);
	struct td_req req;

	mprotect(mine + 4096, 4096, PROT_NONE);
	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(8192, 1), 8192));
	EXPECT_EQ(4096, td_take(td, &req, mine, 8192, 0));
	EXPECT_EQ(0, td_take(td, &req, mine + 4096, 4096, 0));
	td_answer(td, &req, 8192);
}

TEST_F(live, copy_in_the_wrong_direction_is_refused)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(4096, 0);
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EACCES, td_bring(td, &req, mine, 4096, 0));
	td_answer(td, &req, 4096);
	ASSERT_LE(0, td_read_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EACCES, td_take(td, &req, mine, 4096, 0));
	EXPECT_EQ(-EINVAL, td_take(td, &req, mine, 4096, 4097));
	td_answer(td, &req, 4096);
}

static int live_with_cache(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return live_with_user_copy(td);
}

TD_FIXTURE_WITH(cached, UBLK_F_USER_COPY, live_with_cache);

TEST_F(cached, flush_has_no_data)
{
	struct testdev *td = &self->td;
	struct td_req req;
	char c;

	td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_FLUSH, req.op);
	EXPECT_EQ(-EINVAL, td_take(td, &req, &c, 1, 0));
	EXPECT_EQ(-EINVAL, td_bring(td, &req, &c, 0, 0));
	td_answer(td, &req, 0);
}

/* Somebody else's request may be there for a moment. */
static int take_when_idle(struct testdev *td, const struct td_req *req)
{
	int ret, tries = 100;
	char c;

	while ((ret = td_take(td, req, &c, 1, 0)) != -EINVAL && --tries)
		td_settle(td, 10);
	return ret;
}

static int bring_when_idle(struct testdev *td, const struct td_req *req)
{
	int ret, tries = 100;

	while ((ret = td_bring(td, req, "", 1, 0)) != -EINVAL && --tries)
		td_settle(td, 10);
	return ret;
}

TEST_F(live, idle_tag_has_no_data)
{
	struct td_req req = { .tag = 3 };

	EXPECT_EQ(-EINVAL, take_when_idle(&self->td, &req));
	EXPECT_EQ(-EINVAL, bring_when_idle(&self->td, &req));
}

TEST_F(live, committed_request_has_no_data)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(-EINVAL, take_when_idle(td, &req));
}

TEST_F(live, place_that_is_not_there_has_no_data)
{
	struct testdev *td = &self->td;
	struct td_req no_tag = { .tag = 4 }, no_queue = { .queue = 1 };
	char c;

	EXPECT_EQ(-EINVAL, td_take(td, &no_tag, &c, 1, 0));
	EXPECT_EQ(-EINVAL, td_take(td, &no_queue, &c, 1, 0));
	EXPECT_EQ(-1, pread(td->cdev, &c, 1, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(td->cdev, &c, 1,
			    td_pos(0, 0, 0) | UBLKSRV_IO_INTEGRITY_FLAG));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(live, stopped_device_has_no_data)
{
	struct testdev *td = &self->td;
	struct td_req req = { };
	char c;

	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EACCES, td_take(td, &req, &c, 1, 0));
}

TEST_F(live, memory_of_a_ring_is_refused)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(4096, 0);
	struct iovec iov = { mine, 4096 };
	struct io_uring ring;
	struct td_req req;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_EQ(0, io_uring_register_buffers(&ring, &iov, 1));
	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EACCES, td_fixed_io(&ring, IORING_OP_READ_FIXED, td->cdev, 0,
				       (unsigned long)mine, 4096,
				       td_pos(req.queue, req.tag, 0)));
	td_answer(td, &req, 4096);
	io_uring_queue_exit(&ring);
}

/* -- without waiting ------------------------------------------------------- */

static int take_nowait(struct testdev *td, const struct td_req *req, void *buf,
		       __u32 len, __u32 offset)
{
	struct iovec iov = { buf, len };
	ssize_t n = preadv2(td->cdev, &iov, 1,
			    td_pos(req->queue, req->tag, offset), RWF_NOWAIT);

	return n < 0 ? -errno : n;
}

TEST_F(live, small_copy_needs_no_waiting)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BIG, 1), *mine = td_page_buf(BIG, 2);
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, buf, BIG));
	EXPECT_EQ(16384, take_nowait(td, &req, mine, 16384, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 16384));
	td_answer(td, &req, BIG);
}

TEST_F(live, large_copy_without_waiting_is_refused)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(BIG, 2);
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(BIG, 1), BIG));
	EXPECT_EQ(-EAGAIN, take_nowait(td, &req, mine, BIG, 0));
	/* Little of the request is left, or of the memory. */
	EXPECT_EQ(4096, take_nowait(td, &req, mine, BIG, BIG - 4096));
	EXPECT_EQ(BIG, td_take(td, &req, mine, BIG, 0));
	td_answer(td, &req, BIG);
}

/* Such memory may have to come from the very disk that the caller serves. */
TEST_F(live, copy_that_faults_without_waiting_is_refused)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	struct td_req req;

	mine[0] = 1;
	ASSERT_LE(0, td_write_arrived(td, &req, buf, 8192));
	EXPECT_EQ(-EAGAIN, take_nowait(td, &req, mine, 8192, 0));
	EXPECT_EQ(4096, take_nowait(td, &req, mine, 4096, 0));
	EXPECT_EQ(8192, td_take(td, &req, mine, 8192, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
	td_answer(td, &req, 8192);
}

TEST_F(live, io_uring_copies_to_memory_that_is_not_there_yet)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct td_req req;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_LE(0, td_write_arrived(td, &req, buf, 8192));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, td->cdev, mine, 8192,
			   td_pos(req.queue, req.tag, 0));
	ASSERT_EQ(1, io_uring_submit(&ring));
	ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
	EXPECT_EQ(8192, cqe->res);
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
	io_uring_queue_exit(&ring);
	td_answer(td, &req, 8192);
}

/* The length decides whether a worker of io_uring copies. */
TEST_F(live, io_uring_copies_any_length)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BIG, 1), *mine = td_page_buf(BIG, 2);
	struct io_uring ring;
	struct td_req req;
	__u32 len;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_LE(0, td_write_arrived(td, &req, buf, BIG));
	for (len = 4096; len <= BIG; len *= 2) {
		struct io_uring_cqe *cqe;
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		memset(mine, 0, BIG);
		io_uring_prep_read(sqe, td->cdev, mine, len,
				   td_pos(req.queue, req.tag, 0));
		ASSERT_EQ(1, io_uring_submit(&ring));
		ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
		EXPECT_EQ(len, cqe->res);
		io_uring_cqe_seen(&ring, cqe);
		EXPECT_EQ(0, memcmp(buf, mine, len));
	}
	io_uring_queue_exit(&ring);
	td_answer(td, &req, BIG);
}

TEST_F(live, io_uring_copies_a_page_inline)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(4096, 2);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct td_req req;

	/* What is not done at once is refused, and not given to a worker. */
	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_read(sqe, td->cdev, mine, 4096,
			   td_pos(req.queue, req.tag, 0));
	sqe->rw_flags = RWF_NOWAIT;
	ASSERT_EQ(1, io_uring_submit(&ring));
	ASSERT_EQ(0, io_uring_peek_cqe(&ring, &cqe));
	EXPECT_EQ(4096, cqe->res);
	io_uring_queue_exit(&ring);
	td_answer(td, &req, 4096);
}

/* -- commands -------------------------------------------------------------- */

TEST_F(live, commit_with_a_buffer_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0,
				     req.tag, 4096, (unsigned long)req.buf));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

static int attached_with_user_copy(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_COPY | UBLK_F_NEED_GET_DATA;
	return td_add_attached(td);
}

TD_FIXTURE_WITH(attached, UBLK_F_USER_COPY, attached_with_user_copy);

TEST_F(attached, fetch_with_a_buffer_is_refused)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_FETCH_REQ, 0, 0, 0,
				     (unsigned long)td_buf(td, 0, 0)));
	EXPECT_EQ(TD_PENDING, td_fetch(td, 0, 0));
}

TEST_F(attached, get_data_is_not_granted_too)
{
	EXPECT_EQ(0, self->td.info.flags & UBLK_F_NEED_GET_DATA);
	EXPECT_NE(0, self->td.info.flags & UBLK_F_USER_COPY);
}

TEST_F(live, get_data_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(UBLK_IO_RES_OK, req.res);
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, 0, req.tag, 0,
				     (unsigned long)req.buf));
	td_answer(td, &req, 4096);
}

/* -- short results --------------------------------------------------------- */

TEST_F(live, rest_of_a_short_read_comes_again)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 0), *mine = td_page_buf(8192, 1);
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	ASSERT_EQ(4096, td_bring(td, &req, mine, 4096, 0));
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(8, req.sectors);
	ASSERT_EQ(4096, td_bring(td, &req, mine + 4096, 8192, 0));
	td_answer(td, &req, 4096);
	EXPECT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

TEST_F(live, rest_of_a_short_write_comes_again)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	ASSERT_EQ(512, td_take(td, &req, mine, 512, 0));
	td_answer(td, &req, 512);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(7680, td_take(td, &req, mine + 512, 8192, 0));
	td_answer(td, &req, 7680);
	EXPECT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

FIXTURE(odd)
{
	struct testdev td;
};

FIXTURE_VARIANT(odd)
{
	bool write;
	int result;
	int seen;
};

FIXTURE_VARIANT_ADD(odd, read_of_nothing) { false, 0, -EIO };
FIXTURE_VARIANT_ADD(odd, read_of_half_a_block) { false, 256, -EIO };
FIXTURE_VARIANT_ADD(odd, read_of_too_much) { false, 8192, -EIO };
FIXTURE_VARIANT_ADD(odd, write_of_half_a_block) { true, 256, -EIO };
FIXTURE_VARIANT_ADD(odd, write_of_too_much) { true, 8192, -EIO };
FIXTURE_VARIANT_ADD(odd, write_of_all) { true, 0, 4096 };

TD_FIXTURE_OPS_WITH(odd, UBLK_F_USER_COPY, live_with_user_copy);

TEST_F(odd, result_is_taken_as_in_copy_mode)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req;
	int client;

	client = variant->write ? td_write_arrived(td, &req, buf, 4096) :
				  td_read_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	td_answer(td, &req, variant->result);
	EXPECT_EQ(variant->seen, td_wait(td, client));
}

/* -- a copy that takes its time -------------------------------------------- */

/* Copies into a page of the disk itself, which has to be read first. */
struct slow_copy {
	struct testdev *td;
	struct td_req *req;
	char *page;
	int res;
};

static void *copy_slowly(void *arg)
{
	struct slow_copy *c = arg;

	c->res = td_take(c->td, c->req, c->page, 4096, 0);
	return NULL;
}

TEST_F(live, request_waits_for_a_copy_under_way)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req, fault;
	struct slow_copy copy = { td, &req };
	pthread_t thread;
	int client;

	copy.page = td_map_disk(td, TD_AREA + (1 << 20), 4096);
	ASSERT_NE(NULL, copy.page);
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);

	ASSERT_EQ(0, pthread_create(&thread, NULL, copy_slowly, &copy));
	ASSERT_EQ(0, td_next(td, &fault));
	ASSERT_EQ(UBLK_IO_OP_READ, fault.op);
	/* The copier waits for its page. The answer comes before the data. */
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));

	ASSERT_EQ(TD_PENDING, td_answer(td, &fault, fault.sectors << 9));
	EXPECT_EQ(4096, td_wait(td, client));
	pthread_join(thread, NULL);
	EXPECT_EQ(4096, copy.res);
	EXPECT_EQ(0, memcmp(buf, copy.page, 4096));
}

/* How much the copier may take is not what the answer says. */
TEST_F(live, short_answer_does_not_cut_a_copy_under_way)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req, fault, rest;
	struct slow_copy copy = { td, &req };
	pthread_t thread;
	int client;

	copy.page = td_map_disk(td, TD_AREA + (1 << 20), 4096);
	ASSERT_NE(NULL, copy.page);
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);

	ASSERT_EQ(0, pthread_create(&thread, NULL, copy_slowly, &copy));
	ASSERT_EQ(0, td_next(td, &fault));
	ASSERT_EQ(UBLK_IO_OP_READ, fault.op);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 512));
	ASSERT_EQ(TD_PENDING, td_answer(td, &fault, fault.sectors << 9));
	pthread_join(thread, NULL);
	EXPECT_EQ(4096, copy.res);
	EXPECT_EQ(0, memcmp(buf, copy.page, 4096));

	ASSERT_EQ(0, td_next(td, &rest));
	EXPECT_EQ(7, rest.sectors);
	ASSERT_EQ(TD_PENDING, td_answer(td, &rest, 7 * 512));
	EXPECT_EQ(4096, td_wait(td, client));
}

/* -- death ----------------------------------------------------------------- */

FIXTURE(held)
{
	struct testdev td;
};

FIXTURE_SETUP(held)
{
	struct testdev *td = &self->td;
	struct ublk_options opts;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, UBLK_F_USER_COPY);
	ublk_options_init(&opts);
	opts.target = &td_hold_target;
	opts.mode = UBLK_MODE_USER_COPY;
	td->heir = mmap(NULL, sizeof(*td->heir), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(0, td_spawn(td, &opts));
}

FIXTURE_TEARDOWN_PARENT(held)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* The descriptor of /dev/ublkcN in another process, for this one. */
static int steal_cdev(const struct testdev *td, pid_t pid)
{
	char dir[32], path[64], want[32], got[32] = "";
	int fd, pidfd = syscall(SYS_pidfd_open, pid, 0);

	snprintf(dir, sizeof(dir), "/proc/%d/fd", pid);
	snprintf(want, sizeof(want), "/dev/ublkc%d", td->id);
	for (fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%d", dir, fd);
		n = readlink(path, got, sizeof(got) - 1);
		if (n <= 0)
			continue;
		got[n] = '\0';
		if (!strcmp(got, want))
			return syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	}
	return -ENOENT;
}

TEST_F(held, dead_servers_requests_have_no_data)
{
	struct testdev *td = &self->td;
	struct td_req req = { };
	unsigned int tag;
	int client;
	char c;

	client = td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);
	ASSERT_EQ(0, td_wait_held(td, 1));
	td->cdev = steal_cdev(td, td->heir_pid);
	ASSERT_LE(0, td->cdev);
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
	for (tag = 0; tag < 128; tag++) {
		req.tag = tag;
		EXPECT_EQ(-EINVAL, td_take(td, &req, &c, 1, 0));
	}
	close(td->cdev);
}

TEST_HARNESS_MAIN
