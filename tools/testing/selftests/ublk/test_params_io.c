// SPDX-License-Identifier: GPL-2.0
/*
 * What the parameters do to I/O: how it is split, how large it may be, and where a
 * disk ends.
 */
#include <linux/falloc.h>

#include "fixture.h"

#define LEN		16384
#define LARGEST_IO	(32U << 20)
#define LARGEST_DISK	((1ULL << 54) - 8)	/* sectors, of 4 KiB blocks */

TD_FIXTURE(driver, td_no_device);

/*
 * Answers all of an I/O of @len bytes in the area. Returns how many requests it
 * was; -ERANGE if one begins or ends off a multiple of @grain sectors, or is longer
 * than @most.
 */
static int serve(struct testdev *td, __u32 len, __u32 grain, __u32 most)
{
	struct td_req req;
	__u32 sum = 0;
	int nr;

	for (nr = 0; sum < len; nr++) {
		if (td_next(td, &req))
			return -ETIME;
		sum += req.sectors << 9;
		if (req.start % grain || req.sectors % grain || req.sectors > most)
			return -ERANGE;
		td_answer(td, &req, req.sectors << 9);
	}
	return nr;
}

/* -- blocks ---------------------------------------------------------------- */

FIXTURE(block)
{
	struct testdev td;
};

FIXTURE_VARIANT(block)
{
	int shift;
};

TD_FIXTURE_OPS(block, td_no_device);

FIXTURE_VARIANT_ADD(block, of_512) { .shift = 9 };
FIXTURE_VARIANT_ADD(block, of_1024) { .shift = 10 };
FIXTURE_VARIANT_ADD(block, of_2048) { .shift = 11 };
FIXTURE_VARIANT_ADD(block, of_4096) { .shift = 12 };

TEST_F(block, is_the_least_that_is_carried)
{
	struct testdev *td = &self->td;
	__u32 block = 1U << variant->shift;
	char *buf = td_page_buf(8192, 1);
	struct td_req req;
	int client;

	td->params.basic.logical_bs_shift = variant->shift;
	td->params.basic.physical_bs_shift = variant->shift;
	ASSERT_EQ(0, td_go_live(td));
	client = td_write(td, buf, block, TD_AREA + block, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + block) >> 9, req.start);
	EXPECT_EQ(block >> 9, req.sectors);
	EXPECT_EQ(0, memcmp(req.buf, buf, block));
	td_answer(td, &req, block);
	EXPECT_EQ(block, td_wait(td, client));

	EXPECT_EQ(-EINVAL, td_wait(td, td_write(td, buf, block / 2, TD_AREA, 0)));
	EXPECT_EQ(-EINVAL, td_wait(td, td_write(td, buf, block,
						TD_AREA + block / 2, 0)));
}

/* -- splitting ------------------------------------------------------------- */

TEST_F(driver, io_crosses_no_chunk)
{
	struct testdev *td = &self->td;
	struct td_req req;
	__u32 sum = 0;
	int client;

	td->params.basic.chunk_sectors = 16;
	ASSERT_EQ(0, td_go_live(td));
	client = td_write(td, td_page_buf(LEN, 1), LEN, TD_AREA + 4096, 0);
	while (sum < LEN) {
		ASSERT_EQ(0, td_next(td, &req));
		EXPECT_EQ(req.start / 16, (req.start + req.sectors - 1) / 16);
		sum += req.sectors << 9;
		td_answer(td, &req, req.sectors << 9);
	}
	EXPECT_EQ(LEN, td_wait(td, client));
}

TEST_F(driver, memory_with_a_gap_is_not_in_one_request)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LEN, 1);
	struct iovec iov[] = { { buf, 512 }, { buf + 4096, 4096 } };
	int client;

	td->params.basic.virt_boundary_mask = 4095;
	ASSERT_EQ(0, td_go_live(td));
	client = td_writev(td, iov, 2, TD_AREA);
	EXPECT_EQ(2, serve(td, 4608, 1, 8));
	EXPECT_EQ(4608, td_wait(td, client));
}

TEST_F(driver, request_has_no_more_segments_than_allowed)
{
	struct testdev *td = &self->td;
	int client;

	td->params.types |= UBLK_PARAM_TYPE_SEGMENT;
	td->params.seg.seg_boundary_mask = 4095;
	td->params.seg.max_segment_size = 4096;
	td->params.seg.max_segments = 2;
	ASSERT_EQ(0, td_go_live(td));
	client = td_write(td, td_page_buf(LEN, 1), LEN, TD_AREA, 0);
	EXPECT_EQ(LEN / 8192, serve(td, LEN, 16, 16));
	EXPECT_EQ(LEN, td_wait(td, client));
}

static void add_discard(struct ublk_params *p)
{
	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard.discard_granularity = 4096;
	p->discard.max_discard_sectors = 16;
	p->discard.max_write_zeroes_sectors = 8;
	p->discard.max_discard_segments = 1;
}

TEST_F(driver, discard_is_cut_to_the_largest)
{
	struct testdev *td = &self->td;
	int client;

	add_discard(&td->params);
	ASSERT_EQ(0, td_go_live(td));
	client = td_discard(td, TD_AREA, LEN);
	EXPECT_EQ(LEN / 8192, serve(td, LEN, 16, 16));
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(driver, write_zeroes_is_cut_to_the_largest)
{
	struct testdev *td = &self->td;
	int client;

	add_discard(&td->params);
	ASSERT_EQ(0, td_go_live(td));
	client = td_fallocate(td, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			      TD_AREA, LEN);
	EXPECT_EQ(LEN / 4096, serve(td, LEN, 8, 8));
	EXPECT_EQ(0, td_wait(td, client));
}

/* -- size ------------------------------------------------------------------ */

/* How many requests it becomes depends on how memory happens to lie. */
TEST_F(driver, io_of_32_mib_is_carried)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LARGEST_IO, 1);
	struct td_req req;
	__u32 sum = 0;
	int client;

	td->info.max_io_buf_bytes = LARGEST_IO;
	td->params.basic.max_sectors = LARGEST_IO >> 9;
	td->params.basic.io_opt_shift = 25;
	ASSERT_EQ(0, td_go_live(td));
	client = td_write(td, buf, LARGEST_IO, TD_AREA, 0);
	while (sum < LARGEST_IO) {
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ(0, memcmp(req.buf, buf + (req.start << 9) - TD_AREA,
				    req.sectors << 9));
		sum += req.sectors << 9;
		td_answer(td, &req, req.sectors << 9);
	}
	EXPECT_EQ(LARGEST_IO, td_wait(td, client));
}

TEST_F(driver, disk_of_8_eib_ends_with_its_last_block)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req;
	int client;

	td->params.basic.logical_bs_shift = 12;
	td->params.basic.physical_bs_shift = 12;
	td->params.basic.dev_sectors = LARGEST_DISK;
	ASSERT_EQ(0, td_go_live(td));
	client = td_write(td, buf, 4096, (LARGEST_DISK - 8) << 9, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(LARGEST_DISK - 8, req.start);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(driver, disk_beyond_8_eib_is_refused)
{
	struct testdev *td = &self->td;

	td->params.basic.dev_sectors = 1ULL << 54;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(-EINVAL, td_set_params(td));
}

/* What the server has in hand is answered; there is no more behind the end. */
TEST_F(driver, disk_shrinks_under_io)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_go_live(td));
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, TD_AREA >> 9));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(-ENOSPC, td_wait(td, td_write(td, buf, 4096, TD_AREA, 0)));
}

TEST_HARNESS_MAIN
