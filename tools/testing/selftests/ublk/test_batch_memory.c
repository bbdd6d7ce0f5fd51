// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: buffers of the server that have to be read in from a disk when they
 * are touched. Nobody but who touches one has to wait for it.
 */
#include "fixture.h"

#define DEPTH	4
#define BYTES	4096

/* Pages of @other, which this process serves, too, one for each tag. */
FIXTURE(slow)
{
	struct testdev td;
	struct testdev other;
	struct tb tb;
	char *pages;
};

FIXTURE_SETUP(slow)
{
	if (!td_init(&self->td) || !td_init(&self->other))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_BATCH_IO);
	ASSERT_EQ(0, td_go_live(&self->other));
	self->pages = td_map_disk(&self->other, TD_AREA, DEPTH * BYTES);
	ASSERT_NE(NULL, self->pages);
	ASSERT_EQ(0, tb_go_live(&self->tb, &self->td));
}

FIXTURE_TEARDOWN_PARENT(slow)
{
	EXPECT_EQ(0, td_reap(&self->td));
	EXPECT_EQ(0, td_reap(&self->other));
}

/* Gives every tag its buffer in @pages; they are not touched for that. */
static int move_buffers(struct tb *tb, char *pages)
{
	struct tb_elem elems[DEPTH];
	int clients[DEPTH], i, ret;

	for (i = 0; i < DEPTH; i++)
		clients[i] = td_write(tb->td, td_page_buf(BYTES, 1), BYTES,
				      TD_AREA + i * BYTES, 0);
	ret = tb_wait_tags(tb, DEPTH);
	for (i = 0; i < DEPTH && !ret; i++) {
		elems[i] = tb_elem(tb, 0, tb->tags[i], BYTES);
		elems[i].addr = (unsigned long)(pages + tb->tags[i] * BYTES);
	}
	tb->nr_tags = 0;
	if (!ret && tb_commit(tb, 0, elems, DEPTH) != sizeof(elems))
		ret = -EINVAL;
	for (i = 0; i < DEPTH && !ret; i++)
		ret = tb_wait_client(tb, clients[i]) == BYTES ? 0 : -EIO;
	return ret;
}

/* A thread of the server, with a fetch command of its own. */
static void *serve_one(void *arg)
{
	struct tb *tb = arg;

	tb_fetch(tb, 0);
	if (!tb_wait_tags(tb, 1))
		tb_answer_all(tb, 0);
	return NULL;
}

/* The page of one write is still on its way when the other one is answered. */
TEST_F(slow, data_of_two_fetches_is_copied_at_the_same_time)
{
	struct testdev *td = &self->td, *other = &self->other;
	char *want = td_page_buf(BYTES, 7);
	int clients[2], i, first;
	struct tb tbs[2] = { };
	struct td_req reqs[2];
	pthread_t threads[2];

	tb_fetch(&self->tb, 0);
	ASSERT_EQ(0, move_buffers(&self->tb, self->pages));
	tb_exit(&self->tb);

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tb_init(&tbs[i], td, 0, TB_BUFFERS, TB_BUF_BYTES));
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, serve_one, &tbs[i]));
	}
	for (i = 0; i < 2; i++) {
		clients[i] = td_write(td, want, BYTES, TD_AREA + i * BYTES, 0);
		ASSERT_EQ(0, td_next(other, &reqs[i]));
	}
	ASSERT_EQ(TD_PENDING, td_answer(other, &reqs[1], BYTES));
	EXPECT_EQ(BYTES, td_wait(td, clients[1]));
	EXPECT_FALSE(td_done(td, clients[0]));
	ASSERT_EQ(TD_PENDING, td_answer(other, &reqs[0], BYTES));
	EXPECT_EQ(BYTES, td_wait(td, clients[0]));

	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		first = tbs[i].tags[0];
		EXPECT_EQ(0, memcmp(want, self->pages + first * BYTES, BYTES));
	}
}

static void *touch(void *page)
{
	madvise(page, BYTES, MADV_POPULATE_READ);
	return NULL;
}

/*
 * The data of the second answer is on the disk itself, in a page that the first
 * answer is about.
 */
TEST_F(slow, answer_may_be_what_the_data_of_the_next_one_waits_for)
{
	struct testdev *td = &self->td;
	char *page = td_map_disk(td, TD_AREA, BYTES);
	char *buf = td_page_buf(BYTES, 0), *want = td_page_buf(BYTES, 9);
	struct tb *tb = &self->tb;
	struct tb_elem elems[2];
	pthread_t toucher;
	int client;

	ASSERT_NE(NULL, page);
	tb_fetch(tb, 0);
	ASSERT_EQ(0, pthread_create(&toucher, NULL, touch, page));
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	client = td_read(td, buf, BYTES, TD_AREA + 65536);
	ASSERT_EQ(0, tb_wait_tags(tb, 2));

	memcpy(td_buf(td, 0, tb->tags[0]), want, BYTES);
	elems[0] = tb_elem(tb, 0, tb->tags[0], BYTES);
	elems[1] = tb_elem(tb, 0, tb->tags[1], BYTES);
	elems[1].addr = (unsigned long)page;
	EXPECT_EQ(sizeof(elems), tb_commit(tb, 0, elems, 2));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
	EXPECT_EQ(0, memcmp(want, buf, BYTES));
	pthread_join(toucher, NULL);
}

TEST_HARNESS_MAIN
