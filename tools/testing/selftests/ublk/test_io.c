// SPDX-License-Identifier: GPL-2.0
/*
 * Requests on their way: what stands in the descriptor of each operation, and
 * that the data arrives where it belongs, in both directions.
 */
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "fixture.h"

static void with_discard(struct testdev *td)
{
	td->params.types |= UBLK_PARAM_TYPE_DISCARD;
	td->params.discard.discard_granularity = 4096;
	td->params.discard.max_discard_sectors = 2048;
	td->params.discard.max_write_zeroes_sectors = 2048;
	td->params.discard.max_discard_segments = 1;
}

static int live_with_everything(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	with_discard(td);
	return td_go_live(td);
}

static int live_with_cache(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return td_go_live(td);
}

TD_FIXTURE(live, live_with_everything);
TD_FIXTURE(plain, td_go_live);
TD_FIXTURE(cached, live_with_cache);

/* -- descriptors ----------------------------------------------------------- */

TEST_F(live, read_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_read(td, td_page_buf(8192, 0), 8192, TD_AREA + 4096);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_READ, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_FUA);
	EXPECT_EQ(16, req.sectors);
	EXPECT_EQ((TD_AREA + 4096) >> 9, req.start);
	EXPECT_EQ((unsigned long)req.buf, req.addr);
	td_answer(td, &req, 8192);
}

TEST_F(live, write_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_FUA);
	EXPECT_EQ(8, req.sectors);
	EXPECT_EQ(TD_AREA >> 9, req.start);
	EXPECT_EQ((unsigned long)req.buf, req.addr);
	td_answer(td, &req, 4096);
}

TEST_F(live, write_with_fua_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, RWF_DSYNC);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_NE(0, req.flags & UBLK_IO_F_FUA);
	td->answer_all = true;
	td_answer(td, &req, 4096);
}

TEST_F(live, flush_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_fsync(td);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_FLUSH, req.op);
	EXPECT_EQ(0, req.sectors);
	EXPECT_EQ(~0ULL, req.start);
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, discard_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_discard(td, TD_AREA, 65536);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_DISCARD, req.op);
	EXPECT_EQ(128, req.sectors);
	EXPECT_EQ(TD_AREA >> 9, req.start);
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, write_zeroes_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_fallocate(td, FALLOC_FL_PUNCH_HOLE |
				  FALLOC_FL_KEEP_SIZE, TD_AREA, 65536);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE_ZEROES, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_NOUNMAP);
	EXPECT_EQ(128, req.sectors);
	EXPECT_EQ(TD_AREA >> 9, req.start);
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, write_zeroes_that_keeps_the_blocks_is_described)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_fallocate(td, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, TD_AREA,
		     65536);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE_ZEROES, req.op);
	EXPECT_NE(0, req.flags & UBLK_IO_F_NOUNMAP);
	td_answer(td, &req, 0);
}

TEST_F(live, error_of_a_flush_reaches_the_client)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_fsync(td);

	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, -ENOSPC);
	EXPECT_EQ(-ENOSPC, td_wait(td, client));
}

TEST_F(live, error_of_a_discard_reaches_the_client)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_discard(td, TD_AREA, 4096);

	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, -EOPNOTSUPP);
	EXPECT_EQ(-EOPNOTSUPP, td_wait(td, client));
}

/* -- caches ---------------------------------------------------------------- */

/* A disk without a write cache has nothing to flush. */
TEST_F(plain, fsync_reaches_no_server)
{
	EXPECT_EQ(0, td_wait(&self->td, td_fsync(&self->td)));
}

TEST_F(plain, fua_reaches_no_server)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, RWF_DSYNC);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, req.flags & UBLK_IO_F_FUA);
	td_answer(td, &req, 4096);
}

TEST_F(cached, fua_becomes_a_flush_after_the_write)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, RWF_DSYNC);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_FUA);
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_FLUSH, req.op);
	td->answer_all = true;
	td_answer(td, &req, 0);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(plain, discard_is_not_supported_unless_told)
{
	EXPECT_EQ(-EOPNOTSUPP, td_wait(&self->td,
				       td_discard(&self->td, TD_AREA, 4096)));
}

/* -- data ------------------------------------------------------------------ */

TEST_F(plain, written_data_reaches_the_server_before_its_command_ends)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(65536, 3);
	struct td_req req;
	int client;

	client = td_write(td, buf, 65536, TD_AREA, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, memcmp(req.buf, buf, 65536));
	td_answer(td, &req, 65536);
	EXPECT_EQ(65536, td_wait(td, client));
}

TEST_F(plain, data_of_a_read_reaches_the_client)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(65536, 0), *want = td_page_buf(65536, 4);
	struct td_req req;
	int client;

	client = td_read(td, buf, 65536, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	memcpy(req.buf, want, 65536);
	td_answer(td, &req, 65536);
	ASSERT_EQ(65536, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, want, 65536));
}

TEST_F(plain, failed_read_gives_no_data)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	client = td_read(td, buf, 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	memset(req.buf, 0x5a, 4096);
	td_answer(td, &req, -EIO);
	ASSERT_EQ(-EIO, td_wait(td, client));
	EXPECT_TRUE(td_is_zero(buf, 4096));
}

TEST_F(plain, single_sector_is_carried)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 6);
	struct td_req req;
	int client;

	client = td_write(td, buf + 512, 512, TD_AREA + 512, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(1, req.sectors);
	EXPECT_EQ(0, memcmp(req.buf, buf + 512, 512));
	td_answer(td, &req, 512);
	EXPECT_EQ(512, td_wait(td, client));
}

/* The client's memory is 32 pieces with gaps between them. */
TEST_F(plain, scattered_memory_is_gathered_in_order)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(65536, 8);
	struct iovec iov[32];
	struct td_req req;
	int client, i;

	for (i = 0; i < 32; i++) {
		iov[i].iov_base = buf + i * 2048;
		iov[i].iov_len = 512;
	}
	client = td_writev(td, iov, 32, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(32, req.sectors);
	for (i = 0; i < 32; i++)
		EXPECT_EQ(0, memcmp(req.buf + i * 512, buf + i * 2048, 512));
	td_answer(td, &req, 16384);
	EXPECT_EQ(16384, td_wait(td, client));
}

TEST_F(plain, large_io_is_split_at_the_largest_request)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	client = td_read(td, td_page_buf(4 * TD_BUF_BYTES, 0),
			 4 * TD_BUF_BYTES, TD_AREA);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, td_next(td, &req));
		EXPECT_EQ(TD_BUF_BYTES >> 9, req.sectors);
		td_answer(td, &req, TD_BUF_BYTES);
	}
	EXPECT_EQ(4 * TD_BUF_BYTES, td_wait(td, client));
}

TEST_F(plain, answers_may_come_in_any_order)
{
	struct testdev *td = &self->td;
	int clients[4], i;
	struct td_req req[4];

	for (i = 0; i < 4; i++)
		clients[i] = td_read(td, td_page_buf(4096, 0), 4096,
				     TD_AREA + i * 65536);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, td_next(td, &req[i]));
	for (i = 3; i >= 0; i--)
		td_answer(td, &req[i], 4096);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
}

/* More I/O than tags waits in the block layer. */
TEST_F(plain, no_more_requests_than_tags_are_in_hand)
{
	struct testdev *td = &self->td;
	struct td_req req[4];
	int clients[8], i;

	for (i = 0; i < 8; i++)
		clients[i] = td_read(td, td_page_buf(4096, 0), 4096,
				     TD_AREA + i * 65536);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, td_next(td, &req[i]));
	td->answer_all = true;
	for (i = 0; i < 4; i++)
		td_answer(td, &req[i], 4096);
	for (i = 0; i < 8; i++)
		EXPECT_EQ(4096, td_wait(td, clients[i]));
}

TEST_F(plain, io_past_the_end_reaches_no_server)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(0, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					 TD_SIZE)));
	EXPECT_EQ(-ENOSPC, td_wait(td, td_write(td, td_page_buf(4096, 0), 4096,
						TD_SIZE, 0)));
}

/* -- read only ------------------------------------------------------------- */

static int read_only(struct testdev *td)
{
	int ret;

	td->params.basic.attrs = UBLK_ATTR_READ_ONLY;
	ret = td_add_fetched(td);
	return ret ? ret : td_start(td);
}

TD_FIXTURE(readonly, read_only);

TEST_F(readonly, disk_is_read_only)
{
	EXPECT_EQ(1, td_sysfs_number(&self->td, "ro"));
}

TEST_F(readonly, write_reaches_no_server)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_open_disk(td));
	EXPECT_EQ(-EPERM, td_wait(td, td_write(td, td_page_buf(4096, 1), 4096,
					       TD_AREA, 0)));
}

TEST_HARNESS_MAIN
