// SPDX-License-Identifier: GPL-2.0
/*
 * Answers and copies that cover a part of a request: the part is completed,
 * the rest comes again, and no client ever takes a part for the whole.
 */
#include "fixture.h"

#define MAX_TAGS	16

FIXTURE(partial)
{
	struct testdev td;
};

FIXTURE_VARIANT(partial)
{
	bool write;
};

FIXTURE_VARIANT_ADD(partial, read) { .write = false };
FIXTURE_VARIANT_ADD(partial, write) { .write = true };

TD_FIXTURE_OPS(partial, td_go_live);

static int send_io(struct testdev *td, bool write, char *buf, __u32 len)
{
	return write ? td_write(td, buf, len, TD_AREA, 0) :
		       td_read(td, buf, len, TD_AREA);
}

TEST_F(partial, rest_comes_as_a_request_of_its_own)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = send_io(td, variant->write, td_page_buf(8192, 1), 8192);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(variant->write ? UBLK_IO_OP_WRITE : UBLK_IO_OP_READ, req.op);
	EXPECT_EQ(8, req.sectors);
	EXPECT_EQ((TD_AREA + 4096) >> 9, req.start);
	td_answer(td, &req, 4096);
	EXPECT_EQ(8192, td_wait(td, client));
}

TEST_F(partial, client_waits_for_the_rest)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = send_io(td, variant->write, td_page_buf(8192, 1), 8192);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 512);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_FALSE(td_done(td, client));
	td_answer(td, &req, 8192 - 512);
	EXPECT_EQ(8192, td_wait(td, client));
}

/* Moves the data of one request into or out of an image of the disk. */
static void serve(const struct td_req *req, char *image, __u32 len)
{
	char *at = image + (req->start << 9) - TD_AREA;

	if (req->op == UBLK_IO_OP_WRITE)
		memcpy(at, req->buf, len);
	else
		memcpy(req->buf, at, len);
}

TEST_F(partial, data_of_all_parts_is_put_together)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(16384, variant->write ? 2 : 0);
	char *image = td_page_buf(16384, variant->write ? 0 : 3);
	__u32 parts[] = { 512, 4096, 1024, 16384 - 512 - 4096 - 1024 };
	struct td_req req;
	unsigned int i;
	int client;

	client = send_io(td, variant->write, buf, 16384);
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		ASSERT_EQ(0, td_next(td, &req));
		serve(&req, image, parts[i]);
		td_answer(td, &req, parts[i]);
	}
	ASSERT_EQ(16384, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, image, 16384));
}

TEST_F(partial, many_small_parts_end_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	client = send_io(td, variant->write, td_page_buf(65536, 1), 65536);
	for (i = 0; i < 128; i++) {
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ(128 - i, req.sectors);
		td_answer(td, &req, 512);
	}
	EXPECT_EQ(65536, td_wait(td, client));
}

TEST_F(partial, error_after_a_part_fails_the_io)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = send_io(td, variant->write, td_page_buf(8192, 1), 8192);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, -EIO);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

FIXTURE(wrong)
{
	struct testdev td;
};

FIXTURE_VARIANT(wrong)
{
	bool write;
	int result;
};

FIXTURE_VARIANT_ADD(wrong, part_of_a_sector_of_a_read) { false, 4096 + 100 };
FIXTURE_VARIANT_ADD(wrong, part_of_a_sector_of_a_write) { true, 4096 + 100 };
FIXTURE_VARIANT_ADD(wrong, one_byte_of_a_read) { false, 1 };
FIXTURE_VARIANT_ADD(wrong, one_byte_of_a_write) { true, 1 };
FIXTURE_VARIANT_ADD(wrong, more_than_all_of_a_read) { false, 8192 + 512 };
FIXTURE_VARIANT_ADD(wrong, more_than_all_of_a_write) { true, 8192 + 512 };

TD_FIXTURE_OPS(wrong, td_go_live);

TEST_F(wrong, result_is_an_error)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = send_io(td, variant->write, td_page_buf(8192, 1), 8192);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, variant->result);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

static int live_4k(struct testdev *td)
{
	td->params.basic.logical_bs_shift = 12;
	td->params.basic.physical_bs_shift = 12;
	return td_go_live(td);
}

TD_FIXTURE(blocks_of_4k, live_4k);

TEST_F(blocks_of_4k, part_of_a_block_is_an_error)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read(td, td_page_buf(8192, 0), 8192, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 4096 + 512);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F(blocks_of_4k, one_block_is_a_part)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read(td, td_page_buf(8192, 0), 8192, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 4096);
	EXPECT_EQ(8192, td_wait(td, client));
}

/* -- operations without bytes ---------------------------------------------- */

static int live_with_everything(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	td->params.types |= UBLK_PARAM_TYPE_DISCARD;
	td->params.discard.discard_granularity = 4096;
	td->params.discard.max_discard_sectors = 2048;
	td->params.discard.max_discard_segments = 1;
	return td_go_live(td);
}

TD_FIXTURE(live, live_with_everything);

TEST_F(live, discard_with_any_positive_answer_succeeds)
{
	struct testdev *td = &self->td;
	int client = td_discard(td, TD_AREA, 65536);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 7);
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, flush_with_any_positive_answer_succeeds)
{
	struct testdev *td = &self->td;
	int client = td_fsync(td);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, 7);
	EXPECT_EQ(0, td_wait(td, client));
}

/* -- copies that fault ----------------------------------------------------- */

/* An address with one good page, and nothing after it. */
static char *page_before_a_hole(void)
{
	char *p = td_page_buf(65536, 0);

	mprotect(p + 4096, 65536 - 4096, PROT_NONE);
	return p;
}

TEST_F(live, read_is_completed_as_far_as_it_could_be_copied)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 0);
	struct td_req req;
	int client;

	client = td_read(td, buf, 8192, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	req.buf = page_before_a_hole();
	memset(req.buf, 0x11, 4096);
	td_answer(td, &req, 8192);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + 4096) >> 9, req.start);
	memset(req.buf, 0x22, 4096);
	td_answer(td, &req, 4096);
	ASSERT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0x11, buf[4095]);
	EXPECT_EQ(0x22, buf[4096]);
}

/*
 * Gives the next request of every tag @addr as its buffer: by a read on each of
 * them, once the disk is open and nobody else has read from it any more.
 */
static int live_at(struct testdev *td, char *addr)
{
	struct td_req req[MAX_TAGS];
	int ret = td_go_live(td), client[MAX_TAGS], i;

	for (i = 0; !ret && i < td->info.queue_depth; i++) {
		client[i] = td_read(td, td_page_buf(4096, 0), 4096,
				    TD_AREA + (i << 16));
		ret = td_next(td, &req[i]);
	}
	for (i = 0; !ret && i < td->info.queue_depth; i++) {
		req[i].buf = addr;
		ret = td_answer(td, &req[i], 4096) < 0;
		td_wait(td, client[i]);
	}
	return ret;
}

TD_FIXTURE(driver, td_no_device);

TEST_F(driver, write_is_cut_to_what_could_be_copied)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 4), *page = page_before_a_hole();
	struct td_req req;
	int client;

	ASSERT_EQ(0, live_at(td, page));
	client = td_write(td, buf, 8192, TD_AREA, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(8, req.sectors);
	EXPECT_EQ(0, memcmp(page, buf, 4096));
	td_answer(td, &req, 4096);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + 4096) >> 9, req.start);
	EXPECT_EQ(8, req.sectors);
	td->answer_all = true;
	td_answer(td, &req, 4096);
	EXPECT_EQ(8192, td_wait(td, client));
}

TEST_F(driver, write_waits_until_its_buffer_can_be_written)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 4), *hole = td_page_buf(65536, 0);
	struct td_req req;
	int client;

	/* Kept out of the way of other mappings, but nobody may touch it. */
	ASSERT_EQ(0, mprotect(hole, 65536, PROT_NONE));
	ASSERT_EQ(0, live_at(td, hole));
	client = td_write(td, buf, 4096, TD_AREA, 0);
	td_settle(td, 100);
	ASSERT_FALSE(td_done(td, client));
	ASSERT_EQ(0, mprotect(hole, 65536, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, memcmp(hole, buf, 4096));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_HARNESS_MAIN
