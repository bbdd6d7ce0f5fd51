// SPDX-License-Identifier: GPL-2.0
/*
 * SHMEM_ZC in batch mode: data is found there as elsewhere, and not copied.
 */
#include "testshmem.h"

static int live_with_shmem(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_SHMEM_ZC;
	return tb_go_live(tb, td);
}

TB_FIXTURE_WITH(live, UBLK_F_SHMEM_ZC, live_with_shmem);

/* What the server was told of the one request that it has. */
static struct td_req told(struct tb *tb)
{
	__u16 tag = tb->tags[0];
	const struct ublksrv_io_desc *d = td_desc(tb->td, 0, tag);

	return (struct td_req) {
		.tag = tag,
		.op = ublksrv_get_op(d),
		.flags = d->op_flags & ~0xffU,
		.sectors = d->nr_sectors,
		.start = d->start_sector,
		.addr = d->addr,
		.buf = td_buf(tb->td, 0, tag),
	};
}

TEST_F(live, write_is_found)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct td_req req;
	struct shared sh;
	int client;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client + PAGE, PAGE, 5);
	poison(td, PAGE);
	client = td_write(td, sh.client + PAGE, PAGE, TD_AREA, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	req = told(tb);
	EXPECT_TRUE(is_at(&req, 0, PAGE));
	EXPECT_TRUE(is_poisoned(&req));
	EXPECT_TRUE(is_filled(sh.server + PAGE, PAGE, 5));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(PAGE, tb_wait_client(tb, client));
}

TEST_F(live, read_is_found)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct td_req req;
	struct shared sh;
	int client;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read(td, sh.client, PAGE, TD_AREA);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	req = told(tb);
	EXPECT_TRUE(is_at(&req, 0, 0));
	fill(sh.server, PAGE, 6);
	fill(req.buf, PAGE, 7);
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(PAGE, tb_wait_client(tb, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 6));
}

TEST_F(live, memory_elsewhere_is_copied)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PAGE, 1);
	struct tb *tb = &self->tb;
	struct td_req req;
	struct shared sh;
	int client;

	tb_fetch(tb, 0);
	ASSERT_EQ(0, share_buffer(td, &sh));
	/* Every tag serves one that is found, and then one that is not. */
	for (int i = 0; i < 16; i++) {
		client = td_write(td, i % 2 ? mem : sh.client, PAGE, TD_AREA, 0);
		ASSERT_EQ(0, tb_wait_tags(tb, 1));
		req = told(tb);
		ASSERT_EQ(i % 2, !is_shared(&req));
		if (i % 2)
			ASSERT_EQ(0, memcmp(req.buf, mem, PAGE));
		ASSERT_EQ(0, tb_answer_all(tb, 0));
		ASSERT_EQ(PAGE, tb_wait_client(tb, client));
	}
}

/* Nobody has fetched it yet: the server will hear of the buffer. */
TEST_F(live, unregister_waits_for_a_tag_in_the_queue)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read(td, sh.client, PAGE, TD_AREA);
	ASSERT_TRUE(td_wait_inflight(td, 1));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_UNREG_BUF, 0));
	tb_settle(tb, 50);
	EXPECT_FALSE(ctl_is_answered(td));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	req = told(tb);
	EXPECT_TRUE(is_at(&req, 0, 0));
	tb_settle(tb, 50);
	EXPECT_FALSE(ctl_is_answered(td));
	fill(sh.server, PAGE, 6);
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(PAGE, tb_wait_client(tb, client));
	EXPECT_EQ(0, tb_ctl_wait(tb));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 6));
}

TEST_HARNESS_MAIN
