// SPDX-License-Identifier: GPL-2.0
/*
 * NEED_GET_DATA: a write is announced first and its data fetched by a command
 * of its own, into a buffer that the server chooses only then.
 */
#include "fixture.h"

static int live_without_buffers(struct testdev *td)
{
	int ret, tag;

	td->info.flags |= UBLK_F_NEED_GET_DATA;
	ret = td_add_attached(td);
	for (tag = 0; !ret && tag < td->info.queue_depth; tag++) {
		ret = td_io_cmd(td, UBLK_U_IO_FETCH_REQ, 0, tag, 0, 0);
		ret = ret == TD_PENDING ? 0 : ret;
	}
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

TD_FIXTURE(live, live_without_buffers);

static int get_data(struct testdev *td, const struct td_req *req, void *buf)
{
	return td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, req->queue, req->tag, 0,
			 (unsigned long)buf);
}

/* A write of 4 KiB that the server has been told of, without its data. */
static int announced(struct testdev *td, struct td_req *req, const char *buf)
{
	int client = td_write(td, buf, 4096, TD_AREA, 0);
	int ret = td_next(td, req);

	return ret ? ret : client;
}

TEST_F(live, write_is_announced)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, announced(td, &req, td_page_buf(4096, 1)));
	EXPECT_EQ(UBLK_IO_RES_NEED_GET_DATA, req.res);
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(8, req.sectors);
}

TEST_F(live, data_comes_into_the_buffer_given_then)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	client = announced(td, &req, buf);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, get_data(td, &req, mine));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, req.res);
	EXPECT_EQ((unsigned long)mine, req.addr);
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, read_is_not_announced)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, req.res);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, commit_of_an_announced_write_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, announced(td, &req, td_page_buf(4096, 1)));
	EXPECT_EQ(-EINVAL, td_answer(td, &req, 4096));
}

TEST_F(live, second_get_data_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, announced(td, &req, td_page_buf(4096, 1)));
	ASSERT_EQ(TD_PENDING, get_data(td, &req, req.buf));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EINVAL, get_data(td, &req, req.buf));
	td_answer(td, &req, 4096);
}

TEST_F(live, get_data_of_a_read_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EINVAL, get_data(td, &req, req.buf));
	td_answer(td, &req, 4096);
}

TEST_F(live, get_data_of_an_idle_tag_is_refused)
{
	struct td_req req = { .tag = 3 };

	EXPECT_EQ(-EBUSY, get_data(&self->td, &req, td_buf(&self->td, 0, 3)));
}

TEST_F(live, get_data_of_a_tag_that_is_not_there_is_refused)
{
	struct td_req req = { .tag = 4 };

	EXPECT_EQ(-EINVAL, get_data(&self->td, &req, td_buf(&self->td, 0, 3)));
}

struct foreign {
	struct testdev *td;
	struct td_req *req;
};

static int get_data_from_here(void *arg)
{
	struct foreign *f = arg;
	struct io_uring ring;
	int ret;

	if (io_uring_queue_init(4, &ring, 0))
		return 1;
	ret = td_io_cmd_on(&ring, f->td->cdev, UBLK_U_IO_NEED_GET_DATA,
			   f->req->queue, f->req->tag, 0,
			   (unsigned long)f->req->buf);
	io_uring_queue_exit(&ring);
	return ret;
}

TEST_F(live, get_data_from_another_thread_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { td, &req };

	ASSERT_LE(0, announced(td, &req, td_page_buf(4096, 1)));
	EXPECT_EQ(-EINVAL, td_in_thread(get_data_from_here, &f));
}

TEST_F(live, write_is_announced_again_if_nothing_could_be_copied)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1);
	struct td_req req;
	int client;

	client = announced(td, &req, buf);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, get_data(td, &req, (void *)4096));
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_RES_NEED_GET_DATA, req.res);
	ASSERT_EQ(TD_PENDING, get_data(td, &req, req.buf));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, memcmp(buf, req.buf, 4096));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

static int commit_at(struct testdev *td, const struct td_req *req, __u64 addr)
{
	return td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req->queue,
			 req->tag, 4096, addr);
}

TEST_F(live, commit_of_a_write_needs_no_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = announced(td, &req, td_page_buf(4096, 1));
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, get_data(td, &req, req.buf));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(TD_PENDING, commit_at(td, &req, 0));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, commit_of_a_read_needs_a_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EINVAL, commit_at(td, &req, 0));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, announced_write_fails_when_the_server_leaves)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = announced(td, &req, td_page_buf(4096, 1));
	ASSERT_LE(0, client);
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_HARNESS_MAIN
