// SPDX-License-Identifier: GPL-2.0
/*
 * AUTO_BUF_REG: the driver registers the pages of a request with the ring of its
 * fetch, at a place that the fetch names, and takes them back at the commit.
 */
#include "fixture.h"

static int add_with_auto_buf(struct testdev *td, __u64 more)
{
	td->info.flags |= UBLK_F_AUTO_BUF_REG | more;
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return td_add_attached(td);
}

static int go_live(struct testdev *td, __u64 more)
{
	int ret = add_with_auto_buf(td, more);

	if (!ret)
		ret = td_fetch_all(td);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

static int live_with_auto_buf(struct testdev *td)
{
	return go_live(td, 0);
}

TD_FIXTURE_WITH(live, UBLK_F_AUTO_BUF_REG, live_with_auto_buf);

/* The pages of the request, if they are there, into @file. */
static int save_pages(struct testdev *td, __u16 index, int file)
{
	return td_fixed_io(&td->ring, IORING_OP_WRITE_FIXED, file, index, 0,
			   4096, 0);
}

/* -- what it is for -------------------------------------------------------- */

TEST_F(live, pages_of_a_write_are_there)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(td_auto_word(td, 0, req.tag), req.addr);
	EXPECT_EQ(4096, save_pages(td, req.tag, file));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	ASSERT_EQ(4096, pread(file, mine, 4096, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
}

TEST_F(live, pages_of_a_read_are_there)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0), *mine = td_page_buf(4096, 1);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	ASSERT_EQ(4096, pwrite(file, mine, 4096, 0));
	client = td_read_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(4096, td_fixed_io(&td->ring, IORING_OP_READ_FIXED, file,
				    req.tag, 0, 4096, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
}

TEST_F(live, commit_takes_the_pages_back)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(-EFAULT, save_pages(td, req.tag, file));
}

TEST_F(live, tag_serves_again_and_again)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	for (i = 0; i < 20; i++) {
		client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
		ASSERT_LE(0, client);
		ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
		ASSERT_EQ(4096, td_wait(td, client));
	}
}

TEST_F(live, flush_has_no_pages)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	client = td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_FLUSH, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(-EFAULT, save_pages(td, req.tag, file));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 0));
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, request_waits_for_io_that_uses_its_pages)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0), *data = td_page_buf(4096, 5);
	struct io_uring_sqe *sqe;
	int fds[2], client;
	struct td_req req;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	client = td_read_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	sqe = io_uring_get_sqe(&td->ring);
	io_uring_prep_read_fixed(sqe, fds[0], NULL, 4096, 0, req.tag);
	sqe->user_data = 0xffffffffULL;
	ASSERT_EQ(1, io_uring_submit(&td->ring));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(4096, write(fds[1], data, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, data, 4096));
}

TEST_F(live, pages_are_not_for_the_commands_of_zero_copy)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EINVAL, td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, 0,
				       req.tag, 3));
	EXPECT_EQ(-EINVAL, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0,
				       req.tag, req.tag));
	td_answer(td, &req, 4096);
}

/* -- words that make no sense ---------------------------------------------- */

static int attached_with_auto_buf(struct testdev *td)
{
	return add_with_auto_buf(td, 0);
}

FIXTURE(word)
{
	struct testdev td;
};

FIXTURE_VARIANT(word)
{
	__u64 bits;
};

FIXTURE_VARIANT_ADD(word, with_unknown_flag) { .bits = 1ULL << 17 };
FIXTURE_VARIANT_ADD(word, with_another_unknown_flag) { .bits = 1ULL << 23 };
FIXTURE_VARIANT_ADD(word, with_reserved_byte) { .bits = 1ULL << 24 };
FIXTURE_VARIANT_ADD(word, with_reserved_word) { .bits = 1ULL << 32 };
FIXTURE_VARIANT_ADD(word, with_the_highest_bit) { .bits = 1ULL << 63 };

TD_FIXTURE_OPS_WITH(word, UBLK_F_AUTO_BUF_REG, attached_with_auto_buf);

TEST_F(word, is_refused_by_fetch_and_leaves_the_tag)
{
	struct testdev *td = &self->td;

	td->auto_bits = variant->bits;
	EXPECT_EQ(-EINVAL, td_fetch(td, 0, 0));
	td->auto_bits = 0;
	EXPECT_EQ(TD_PENDING, td_fetch(td, 0, 0));
}

TEST_F(word, is_refused_by_commit_and_leaves_the_request)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, td_start(td));
	ASSERT_EQ(0, td_open_disk(td));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	td->auto_bits = variant->bits;
	EXPECT_EQ(-EINVAL, td_answer(td, &req, 4096));
	td->auto_bits = 0;
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

/* The tag must not be left in a state that its end waits for. */
TEST_F(word, that_was_refused_does_not_delay_the_end)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_fetch_all(td));
	ASSERT_EQ(0, td_start(td));
	ASSERT_EQ(0, td_open_disk(td));
	td->auto_bits = variant->bits;
	ASSERT_EQ(-EINVAL, td_fetch(td, 0, 0));
	td_close_disk(td);
	td_detach(td);
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV, 0));
}

TEST_F(live, buffer_beside_the_word_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0,
				     req.tag, 4096, (unsigned long)req.buf));
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, 4096));
}

/* -- failure and fallback -------------------------------------------------- */

TEST_F(live, request_fails_if_its_place_is_taken)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	int i;

	ASSERT_EQ(0, td_occupy(&td->ring, 0, 4));
	/* More than there are tags: each is there for the next. */
	for (i = 0; i < 6; i++)
		EXPECT_EQ(-EIO, td_wait(td, td_write(td, buf, 4096, TD_AREA, 0)));
}

TEST_F(live, tag_serves_on_after_a_failure)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_occupy(&td->ring, 0, 4));
	ASSERT_EQ(-EIO, td_wait(td, td_write(td, buf, 4096, TD_AREA, 0)));
	ASSERT_EQ(0, io_uring_unregister_buffers(&td->ring));
	ASSERT_EQ(0, io_uring_register_buffers_sparse(&td->ring, 4));
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, request_fails_if_its_place_is_not_there)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);

	ASSERT_EQ(0, io_uring_unregister_buffers(&td->ring));
	EXPECT_EQ(-EIO, td_wait(td, td_write(td, buf, 4096, TD_AREA, 0)));
}

TEST_F(live, flush_does_not_mind_a_taken_place)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_occupy(&td->ring, 0, 4));
	client = td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 0));
	EXPECT_EQ(0, td_wait(td, client));
}

static int live_with_fallback(struct testdev *td)
{
	td->auto_bits = UBLK_AUTO_BUF_REG_FALLBACK << 16;
	return go_live(td, UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY);
}

TD_FIXTURE_WITH(fallback, UBLK_F_AUTO_BUF_REG, live_with_fallback);

TEST_F(fallback, is_not_used_without_need)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(td_auto_word(td, 0, req.tag), req.addr);
	td_answer(td, &req, 4096);
}

TEST_F(fallback, server_copies_by_itself)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	REQUIRE_FEATURE(td, UBLK_F_USER_COPY);
	ASSERT_EQ(0, td_occupy(&td->ring, 0, 4));
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	EXPECT_NE(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(4096, td_take(td, &req, mine, 4096, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	/* What was in the place is still there. */
	EXPECT_EQ(-EBUSY, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0,
				      req.tag));
}

/* The place of the next tag is as good as any. */
TEST_F(fallback, server_registers_by_itself)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct iovec none = { };
	struct td_req req;
	__u64 tag = 0;

	REQUIRE_FEATURE(td, UBLK_F_SUPPORT_ZERO_COPY);
	ASSERT_EQ(0, td_occupy(&td->ring, 0, 4));
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	EXPECT_NE(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	ASSERT_EQ(1, io_uring_register_buffers_update_tag(&td->ring, req.tag,
							  &none, &tag, 1));
	ASSERT_EQ(0, td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, 0, req.tag,
				 req.tag));
	EXPECT_EQ(4096, save_pages(td, req.tag, file));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	/* Who registers by himself has to undo it by himself. */
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0, req.tag));
	EXPECT_EQ(4096, td_wait(td, client));
	ASSERT_EQ(4096, pread(file, mine, 4096, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
}

/* -- another ring ---------------------------------------------------------- */

TEST_F(fallback, commit_on_another_ring_leaves_the_pages)
{
	struct testdev *td = &self->td;
	struct ublksrv_io_cmd cmd = { .result = 4096 };
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	struct td_req req;
	int client;

	REQUIRE_FEATURE(td, UBLK_F_SUPPORT_ZERO_COPY);
	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_EQ(0, io_uring_register_buffers_sparse(&ring, 4));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);

	cmd.tag = req.tag;
	sqe = td_next_sqe(&ring);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = td->cdev;
	sqe->cmd_op = UBLK_U_IO_COMMIT_AND_FETCH_REQ;
	sqe->addr = td_auto_word(td, 0, req.tag);
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	ASSERT_EQ(1, io_uring_submit(&ring));
	EXPECT_NE(0, io_uring_peek_cqe(&ring, &cqe));

	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0, req.tag));
	EXPECT_EQ(4096, td_wait(td, client));
	io_uring_queue_exit(&ring);
}

/* A server that mixes up its places harms itself, and loses no request. */
TEST_F(fallback, commit_takes_whatever_is_in_the_place)
{
	struct testdev *td = &self->td;
	struct td_req first, second;
	int a, b;

	REQUIRE_FEATURE(td, UBLK_F_SUPPORT_ZERO_COPY);
	a = td_write_arrived(td, &first, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, a);
	b = td_write(td, td_page_buf(4096, 2), 4096, TD_AREA + 8192, 0);
	ASSERT_EQ(0, td_next(td, &second));

	/* The second request, in its own place and in that of the first. */
	ASSERT_EQ(0, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0, first.tag));
	ASSERT_EQ(0, td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, 0, second.tag,
				 first.tag));
	ASSERT_EQ(TD_PENDING, td_answer(td, &second, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, b));
	ASSERT_EQ(TD_PENDING, td_answer(td, &first, 4096));
	EXPECT_EQ(4096, td_wait(td, a));
	EXPECT_EQ(4096, td_wait(td, b));
}

/* -- death ----------------------------------------------------------------- */

TEST_F(live, request_ends_with_the_ring_that_has_its_pages)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_HARNESS_MAIN
