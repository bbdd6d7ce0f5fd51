// SPDX-License-Identifier: GPL-2.0
/*
 * SHMEM_ZC: what the answer to a request in shared memory means, and how such
 * requests get on with the other ways to the data.
 */
#include "testshmem.h"

static int live_with_shmem(struct testdev *td)
{
	return go_live_shared(td, 0);
}

TD_FIXTURE_WITH(live, UBLK_F_SHMEM_ZC, live_with_shmem);

/* -- answers --------------------------------------------------------------- */

TEST_F(live, rest_of_a_short_write_is_found_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = write_arrived(td, &req, sh.client + PAGE, 4 * PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, PAGE));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE + 512));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + PAGE + 512) >> 9, req.start);
	EXPECT_TRUE(is_at(&req, 0, 2 * PAGE + 512));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 3 * PAGE - 512));
	EXPECT_EQ(4 * PAGE, td_wait(td, client));
}

TEST_F(live, rest_of_a_short_read_is_found_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, 2 * PAGE);
	ASSERT_LE(0, client);
	fill(sh.server, PAGE, 1);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_TRUE(is_at(&req, 0, PAGE));
	fill(sh.server + PAGE, PAGE, 2);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	EXPECT_EQ(2 * PAGE, td_wait(td, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 1));
	EXPECT_TRUE(is_filled(sh.client + PAGE, PAGE, 2));
}

/* The rest is looked for anew, and may have to be copied. */
TEST_F(live, rest_is_copied_if_its_memory_was_taken_back)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, 2 * PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 0));
	ASSERT_EQ(-EINTR, unreg_and_interrupt(td, 0));
	fill(sh.server, PAGE, 1);
	fill(req.buf, PAGE, 2);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_FALSE(is_shared(&req));
	fill(req.buf, PAGE, 3);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	EXPECT_EQ(2 * PAGE, td_wait(td, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 1));
	EXPECT_TRUE(is_filled(sh.client + PAGE, PAGE, 3));
}

/* The rest is looked for anew, and may be found. */
TEST_F(live, rest_is_found_if_only_that_is_shared)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_EQ(0, reg_memory(td, sh.server + PAGE, PAGE, 0));
	fill(sh.client, 2 * PAGE, 4);
	client = write_arrived(td, &req, sh.client, 2 * PAGE);
	ASSERT_LE(0, client);
	ASSERT_FALSE(is_shared(&req));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_TRUE(is_at(&req, 0, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	EXPECT_EQ(2 * PAGE, td_wait(td, client));
}

FIXTURE(answer)
{
	struct testdev td;
};

FIXTURE_VARIANT(answer)
{
	bool write;
	int result;
	int client;
};

TD_FIXTURE_OPS_WITH(answer, UBLK_F_SHMEM_ZC, live_with_shmem);

FIXTURE_VARIANT_ADD(answer, nothing_to_a_read) { .client = -EIO };
FIXTURE_VARIANT_ADD(answer, nothing_to_a_write) { .write = true, .client = 8192 };
FIXTURE_VARIANT_ADD(answer, error_to_a_read) { .result = -ENOSPC, .client = -ENOSPC };
FIXTURE_VARIANT_ADD(answer, error_to_a_write) {
	.write = true, .result = -ENOSPC, .client = -ENOSPC };
FIXTURE_VARIANT_ADD(answer, too_much_to_a_read) { .result = 8704, .client = -EIO };
FIXTURE_VARIANT_ADD(answer, part_of_a_block_to_a_read) { .result = 700, .client = -EIO };

TEST_F(answer, means_the_same_as_without_shared_memory)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = variant->write ? td_write_arrived(td, &req, sh.client, 8192) :
				  td_read_arrived(td, &req, sh.client, 8192);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_shared(&req));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, variant->result));
	EXPECT_EQ(variant->client, td_wait(td, client));
}

/* -- other modes ----------------------------------------------------------- */

static int live_with_get_data(struct testdev *td)
{
	return go_live_shared(td, UBLK_F_NEED_GET_DATA);
}

TD_FIXTURE_WITH(get_data, UBLK_F_SHMEM_ZC, live_with_get_data);

TEST_F(get_data, found_write_is_not_announced)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client, PAGE, 4);
	client = write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	EXPECT_EQ(UBLK_IO_RES_OK, req.res);
	EXPECT_TRUE(is_at(&req, 0, 0));
	EXPECT_TRUE(is_poisoned(&req));
	EXPECT_TRUE(is_filled(sh.server, PAGE, 4));
	/* There is nothing to ask for, and no need of a buffer. */
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, 0, req.tag, 0,
				     (unsigned long)req.buf));
	EXPECT_TRUE(is_poisoned(&req));
	ASSERT_EQ(TD_PENDING, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0,
					req.tag, PAGE, 0));
	EXPECT_EQ(PAGE, td_wait(td, client));
}

TEST_F(get_data, other_write_is_announced)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(PAGE, 1);
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	for (int i = 0; i < 8; i++)
		ASSERT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	client = write_arrived(td, &req, buf, PAGE);
	ASSERT_LE(0, client);
	ASSERT_EQ(UBLK_IO_RES_NEED_GET_DATA, req.res);
	EXPECT_FALSE(is_shared(&req));
	ASSERT_EQ(TD_PENDING, td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, 0, req.tag, 0,
					(unsigned long)req.buf));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, memcmp(buf, req.buf, PAGE));
	EXPECT_EQ(0, finish(td, &req, client));
}

static int live_with_user_copy(struct testdev *td)
{
	return go_live_shared(td, UBLK_F_USER_COPY);
}

TD_FIXTURE_WITH(user_copy, UBLK_F_SHMEM_ZC | UBLK_F_USER_COPY, live_with_user_copy);

TEST_F(user_copy, server_may_use_either_way)
{
	struct testdev *td = &self->td;
	char *mine = td_page_buf(PAGE, 0);
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client, PAGE, 4);
	client = td_write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	EXPECT_TRUE(is_at(&req, 0, 0));
	EXPECT_EQ(PAGE, td_take(td, &req, mine, PAGE, 0));
	EXPECT_TRUE(is_filled(mine, PAGE, 4));
	EXPECT_EQ(0, finish(td, &req, client));

	client = td_write_arrived(td, &req, mine, PAGE);
	ASSERT_LE(0, client);
	EXPECT_FALSE(is_shared(&req));
	EXPECT_EQ(0, req.addr);
	EXPECT_EQ(0, finish(td, &req, client));
}

static int live_with_zero_copy(struct testdev *td)
{
	return go_live_shared(td, UBLK_F_SUPPORT_ZERO_COPY);
}

TD_FIXTURE_WITH(zero_copy, UBLK_F_SHMEM_ZC | UBLK_F_SUPPORT_ZERO_COPY, live_with_zero_copy);

TEST_F(zero_copy, server_may_use_either_way)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	char *mine = td_page_buf(PAGE, 0);
	struct td_req req;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client, PAGE, 4);
	client = td_write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	EXPECT_TRUE(is_at(&req, 0, 0));
	ASSERT_EQ(0, td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, 0, req.tag, 0));
	EXPECT_EQ(PAGE, td_fixed_io(&td->ring, IORING_OP_WRITE_FIXED, file, 0, 0,
				    PAGE, 0));
	EXPECT_EQ(0, td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0, 0));
	EXPECT_EQ(0, finish(td, &req, client));
	ASSERT_EQ(PAGE, pread(file, mine, PAGE, 0));
	EXPECT_TRUE(is_filled(mine, PAGE, 4));
}

static int live_with_auto_buf(struct testdev *td)
{
	td->auto_bits = UBLK_AUTO_BUF_REG_FALLBACK << 16;
	return go_live_shared(td, UBLK_F_AUTO_BUF_REG);
}

TD_FIXTURE_WITH(auto_buf, UBLK_F_SHMEM_ZC | UBLK_F_AUTO_BUF_REG, live_with_auto_buf);

TEST_F(auto_buf, pages_are_registered_all_the_same)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	char *mine = td_page_buf(PAGE, 0);
	struct td_req req;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client, PAGE, 4);
	client = td_write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	EXPECT_TRUE(is_at(&req, 0, 0));
	EXPECT_EQ(PAGE, td_fixed_io(&td->ring, IORING_OP_WRITE_FIXED, file, req.tag,
				    0, PAGE, 0));
	EXPECT_EQ(0, finish(td, &req, client));
	ASSERT_EQ(PAGE, pread(file, mine, PAGE, 0));
	EXPECT_TRUE(is_filled(mine, PAGE, 4));

	client = td_write_arrived(td, &req, mine, PAGE);
	ASSERT_LE(0, client);
	EXPECT_FALSE(is_shared(&req));
	EXPECT_EQ(td_auto_word(td, 0, req.tag), req.addr);
	EXPECT_EQ(0, finish(td, &req, client));
}

TEST_F(auto_buf, request_without_a_place_is_found_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	ASSERT_EQ(0, io_uring_unregister_buffers(&td->ring));
	client = td_write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	EXPECT_TRUE(is_at(&req, 0, 0));
	EXPECT_NE(0, req.flags & UBLK_IO_F_NEED_REG_BUF);
	EXPECT_EQ(0, finish(td, &req, client));
}

TEST_HARNESS_MAIN
