// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode with AUTO_BUF_REG: the pages of a request are registered with the ring
 * of the fetch command that reports it, where its element says.
 */
#include "fixture.h"

#define BYTES	4096

static int go_live(struct tb *tb, struct testdev *td)
{
	int ret;

	td->info.queue_depth = 1;
	td->info.flags |= UBLK_F_AUTO_BUF_REG;
	ret = tb_go_live(tb, td);
	if (!ret)
		tb_fetch(tb, 0);
	return ret;
}

static int go_live_with_fallback(struct tb *tb, struct testdev *td)
{
	tb->flags = UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK;
	return go_live(tb, td);
}

static int attach_auto(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_AUTO_BUF_REG;
	return tb_attach(tb, td);
}

static int attach_user_copy(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_COPY;
	return tb_attach(tb, td);
}

TB_FIXTURE(live, go_live);
TB_FIXTURE(fallback, go_live_with_fallback);
TB_FIXTURE(attached, attach_auto);
TB_FIXTURE(user_copy, attach_user_copy);

/* The pages at a place of the ring, if there are any, into @file. */
static int save_pages(struct tb *tb, __u16 index, int file)
{
	return td_fixed_io(&tb->ring, IORING_OP_WRITE_FIXED, file, index, 0,
			   BYTES, 0);
}

/* -- elements ---------------------------------------------------------------- */

static int prep_one(struct tb *tb, __u16 flags, __u8 bytes)
{
	struct tb_elem elem = tb_elem(tb, 0, 0, 0);
	struct ublk_batch_io args = {
		.flags = flags, .nr_elem = 1, .elem_bytes = bytes,
	};

	return tb_run(tb, UBLK_U_IO_PREP_IO_CMDS, &args, &elem);
}

TEST_F(attached, element_has_no_address)
{
	EXPECT_EQ(-EINVAL, prep_one(&self->tb, UBLK_BATCH_F_HAS_BUF_ADDR, 16));
	EXPECT_EQ(-EINVAL, prep_one(&self->tb, UBLK_BATCH_F_HAS_BUF_ADDR |
				    UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK, 16));
	EXPECT_EQ(-EINVAL, prep_one(&self->tb, 0, 16));
	EXPECT_EQ(0, prep_one(&self->tb, 0, 8));
}

TEST_F(attached, element_may_offer_to_do_without_registration)
{
	EXPECT_EQ(0, prep_one(&self->tb, UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK, 8));
}

TEST_F(user_copy, element_has_neither_address_nor_place)
{
	EXPECT_EQ(-EINVAL, prep_one(&self->tb, UBLK_BATCH_F_HAS_BUF_ADDR, 16));
	EXPECT_EQ(-EINVAL, prep_one(&self->tb,
				    UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK, 8));
	EXPECT_EQ(0, prep_one(&self->tb, 0, 8));
}

/* -- registration ------------------------------------------------------------ */

TEST_F(live, pages_of_a_write_are_there)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BYTES, 1), *mine = td_page_buf(BYTES, 0);
	int file = memfd_create("data", MFD_CLOEXEC);
	int client = td_write(td, buf, BYTES, TD_AREA, 0);
	struct tb *tb = &self->tb;

	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(0, td_desc(td, 0, 0)->op_flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(BYTES, save_pages(tb, 0, file));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
	ASSERT_EQ(BYTES, pread(file, mine, BYTES, 0));
	EXPECT_EQ(0, memcmp(buf, mine, BYTES));
}

TEST_F(live, pages_of_a_read_are_there)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BYTES, 0), *mine = td_page_buf(BYTES, 1);
	int file = memfd_create("data", MFD_CLOEXEC);
	int client = td_read(td, buf, BYTES, TD_AREA);
	struct tb *tb = &self->tb;

	ASSERT_EQ(BYTES, pwrite(file, mine, BYTES, 0));
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(BYTES, td_fixed_io(&tb->ring, IORING_OP_READ_FIXED, file, 0, 0,
				     BYTES, 0));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
	EXPECT_EQ(0, memcmp(buf, mine, BYTES));
}

/* The place of the next request, too, for the commit says nothing else. */
static void check_taken_back(struct __test_metadata *_metadata, struct tb *tb,
			     __u8 sqe_flags)
{
	int file = memfd_create("data", MFD_CLOEXEC), client, i;

	for (i = 0; i < 3; i++) {
		client = td_write(tb->td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
		ASSERT_EQ(0, tb_wait_tags(tb, 1));
		EXPECT_EQ(BYTES, save_pages(tb, 0, file));
		tb->td->sqe_flags = sqe_flags;
		EXPECT_EQ(0, tb_answer_all(tb, 0));
		tb->td->sqe_flags = 0;
		EXPECT_EQ(BYTES, tb_wait_client(tb, client));
		EXPECT_EQ(-EFAULT, save_pages(tb, 0, file));
	}
}

TEST_F(live, commit_takes_the_pages_back)
{
	check_taken_back(_metadata, &self->tb, 0);
}

TEST_F(live, commit_forced_into_a_worker_takes_the_pages_back)
{
	check_taken_back(_metadata, &self->tb, IOSQE_ASYNC);
}

TEST_F(live, commit_names_the_next_place)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct tb *tb = &self->tb;
	struct tb_elem elem;

	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	elem = tb_elem(tb, 0, 0, BYTES);
	elem.buf_index = 1;
	tb->nr_tags = 0;
	ASSERT_EQ(sizeof(struct ublk_elem_header), tb_commit(tb, 0, &elem, 1));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));

	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(-EFAULT, save_pages(tb, 0, file));
	EXPECT_EQ(BYTES, save_pages(tb, 1, file));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

/* -- pages that have no place ------------------------------------------------ */

TEST_F(live, request_fails_if_its_place_is_taken)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct iovec none = { };
	__u64 tag = 0;
	int client;

	ASSERT_EQ(0, td_occupy(&tb->ring, 0, 1));
	EXPECT_EQ(-EIO, tb_wait_client(tb, td_read(td, td_page_buf(BYTES, 0),
						   BYTES, TD_AREA)));
	EXPECT_EQ(0, tb->nr_tags);

	/* Its tag is as good as before. */
	ASSERT_EQ(1, io_uring_register_buffers_update_tag(&tb->ring, 0, &none,
							  &tag, 1));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

TEST_F(fallback, server_hears_that_the_place_is_taken)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	int client;

	ASSERT_EQ(0, td_occupy(&tb->ring, 0, 1));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_TRUE(td_desc(td, 0, 0)->op_flags & UBLK_IO_F_NEED_REG_BUF);
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

TEST_F(fallback, pages_have_their_place_if_it_is_free)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC);
	int client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	struct tb *tb = &self->tb;

	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_FALSE(td_desc(td, 0, 0)->op_flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(BYTES, save_pages(tb, 0, file));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

/* The buffer for the tags cannot be written, so the server hears of nothing. */
TEST_F(live, pages_that_were_not_reported_are_taken_back)
{
	void *nowhere = mmap(NULL, BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	__u32 seq;

	tb_exit(tb);
	ASSERT_EQ(0, tb_init(tb, td, 0, 0, 0));
	io_uring_buf_ring_add(tb->br, nowhere, 64, 0,
			      io_uring_buf_ring_mask(TB_BUFFERS), 0);
	io_uring_buf_ring_advance(tb->br, 1);
	seq = tb_fetch(tb, 0);
	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	EXPECT_EQ(-ENOBUFS, tb_result(tb, seq));
	EXPECT_EQ(-EFAULT, save_pages(tb, 0, file));

	tb_exit(tb);
	ASSERT_EQ(0, tb_init(tb, td, 0, TB_BUFFERS, TB_BUF_BYTES));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(BYTES, save_pages(tb, 0, file));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
}

TEST_HARNESS_MAIN
