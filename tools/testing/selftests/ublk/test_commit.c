// SPDX-License-Identifier: GPL-2.0
/*
 * COMMIT_AND_FETCH_REQ: who may commit which tag, and which results mean what.
 */
#include "fixture.h"

TD_FIXTURE(attached, td_add_attached);
TD_FIXTURE(live, td_go_live);

static int commit(struct testdev *td, __u16 queue, __u16 tag, __u64 addr)
{
	return td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, queue, tag, 0,
			 addr);
}

TEST_F(live, commit_refuses_a_queue_that_is_not_there)
{
	EXPECT_EQ(-EINVAL, commit(&self->td, 1, 0, 4096));
}

TEST_F(live, commit_refuses_a_tag_that_is_not_there)
{
	EXPECT_EQ(-EINVAL, commit(&self->td, 0, 4, 4096));
}

TEST_F(attached, commit_refuses_a_tag_never_fetched)
{
	EXPECT_EQ(-EINVAL, commit(&self->td, 0, 0, 4096));
}

TEST_F(live, commit_refuses_an_idle_tag)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-EBUSY, commit(td, 0, 3,
				 (unsigned long)td_buf(td, 0, 3)));
}

TEST_F(live, commit_refuses_no_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_read_arrived(td, &req, td_page_buf(4096, 0), 4096));
	EXPECT_EQ(-EINVAL, commit(td, req.queue, req.tag, 0));
	td_answer(td, &req, 4096);
}

TEST_F(live, commit_that_was_refused_completes_nothing)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, td_page_buf(4096, 0), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(-EINVAL, commit(td, req.queue, req.tag, 0));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, second_commit_of_a_tag_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, td_page_buf(4096, 0), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(-EBUSY, td_answer(td, &req, 4096));
}

struct foreign {
	struct testdev *td;
	struct td_req *req;
	__u32 op;
};

static int command_from_here(void *arg)
{
	struct foreign *f = arg;
	struct io_uring ring;
	int ret;

	if (io_uring_queue_init(4, &ring, 0))
		return 1;
	ret = td_io_cmd_on(&ring, f->td->cdev, f->op, f->req->queue,
			   f->req->tag, 4096, (unsigned long)f->req->buf);
	io_uring_queue_exit(&ring);
	return ret;
}

TEST_F(live, commit_from_another_thread_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { td, &req, UBLK_U_IO_COMMIT_AND_FETCH_REQ };
	int client;

	client = td_read_arrived(td, &req, td_page_buf(4096, 0), 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(-EINVAL, td_in_thread(command_from_here, &f));
	EXPECT_FALSE(td_done(td, client));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

/* The task is looked at before the tag's state. */
TEST_F(live, commit_of_an_idle_tag_from_another_thread_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req = { .tag = 3, .buf = td_buf(td, 0, 3) };
	struct foreign f = { td, &req, UBLK_U_IO_COMMIT_AND_FETCH_REQ };

	EXPECT_EQ(-EINVAL, td_in_thread(command_from_here, &f));
}

static int commit_from_child(void *arg)
{
	return -command_from_here(arg);
}

TEST_F(live, commit_from_another_process_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { td, &req, UBLK_U_IO_COMMIT_AND_FETCH_REQ };

	ASSERT_LE(0, td_read_arrived(td, &req, td_page_buf(4096, 0), 4096));
	EXPECT_EQ(EINVAL, td_in_child(commit_from_child, &f));
	td_answer(td, &req, 4096);
}

TEST_F(live, get_data_that_was_not_asked_for_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_read_arrived(td, &req, td_page_buf(4096, 0), 4096));
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, req.queue,
				     req.tag, 0, (unsigned long)req.buf));
	td_answer(td, &req, 4096);
}

TEST_F(live, register_without_zero_copy_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_read_arrived(td, &req, td_page_buf(4096, 0), 4096));
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, req.queue,
				     req.tag, 0, 0));
	td_answer(td, &req, 4096);
}

/* -- results --------------------------------------------------------------- */

/* What a server answers to an operation of 4 KiB, and what the client gets. */
FIXTURE(result)
{
	struct testdev td;
};

FIXTURE_VARIANT(result)
{
	bool write;
	int answer;
	int seen;
};

#define RESULT(name, w, a, s)						\
	FIXTURE_VARIANT_ADD(result, name) { .write = w, .answer = a, .seen = s }

RESULT(all_of_a_read_is_done, false, 4096, 4096);
RESULT(none_of_a_read_is_eio, false, 0, -EIO);
RESULT(eio_of_a_read_is_eio, false, -EIO, -EIO);
RESULT(enospc_of_a_read_is_enospc, false, -ENOSPC, -ENOSPC);
RESULT(etimedout_of_a_read_is_etimedout, false, -ETIMEDOUT, -ETIMEDOUT);
RESULT(enomem_of_a_read_is_enomem, false, -ENOMEM, -ENOMEM);
RESULT(unknown_errno_of_a_read_is_eio, false, -ENOTTY, -EIO);
RESULT(no_errno_of_a_read_is_eio, false, -100000, -EIO);
RESULT(all_of_a_write_is_done, true, 4096, 4096);
RESULT(none_of_a_write_is_done, true, 0, 4096);
RESULT(eio_of_a_write_is_eio, true, -EIO, -EIO);
RESULT(enospc_of_a_write_is_enospc, true, -ENOSPC, -ENOSPC);

TD_FIXTURE_OPS(result, td_go_live);

TEST_F(result, client_sees_it)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	client = variant->write ? td_write(td, buf, 4096, TD_AREA, 0) :
				  td_read(td, buf, 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, variant->answer);
	EXPECT_EQ(variant->seen, td_wait(td, client));
}

TEST_F(result, tag_is_armed_again)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	struct td_req req;
	int client;

	client = variant->write ? td_write(td, buf, 4096, TD_AREA, 0) :
				  td_read(td, buf, 4096, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, variant->answer);
	td_wait(td, client);
	EXPECT_EQ(-EBUSY, commit(td, req.queue, req.tag,
				 (unsigned long)req.buf));
}

/* -- where the data comes from --------------------------------------------- */

TEST_F(live, read_takes_the_data_from_the_buffer_of_the_commit)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0), *other = td_page_buf(4096, 7);
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING,
		  td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req.queue,
			    req.tag, 4096, (unsigned long)other));
	ASSERT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, other, 4096));
}

static int live_with_one_tag(struct testdev *td)
{
	td->info.queue_depth = 1;
	return td_go_live(td);
}

TD_FIXTURE(one_tag, live_with_one_tag);

/* Commits a READ with @next for the WRITE of @data that follows. */
static int commit_with_buffer(struct testdev *td, const void *data, char *next,
			      struct td_req *req)
{
	int client = td_read_arrived(td, req, td_page_buf(4096, 0), 4096);

	if (client < 0)
		return client;
	td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req->queue, req->tag,
		  4096, (unsigned long)next);
	td_wait(td, client);

	client = td_write(td, data, 4096, TD_AREA, 0);
	if (td_next(td, req))
		return -ETIME;
	td_answer(td, req, 4096);
	return td_wait(td, client);
}

TEST_F(one_tag, buffer_of_the_commit_serves_the_next_request)
{
	char *data = td_page_buf(4096, 5), *next = td_page_buf(4096, 0);
	struct td_req req = { };
	int i;

	/* udev may look at the disk in between, and take the buffer. */
	for (i = 0; i < 64 && req.addr != (unsigned long)next; i++)
		ASSERT_EQ(4096, commit_with_buffer(&self->td, data, next, &req));
	EXPECT_EQ((unsigned long)next, req.addr);
	EXPECT_EQ(0, memcmp(data, next, 4096));
}

TEST_F(live, read_from_an_unmapped_buffer_fails)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, td_page_buf(4096, 0), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING,
		  td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req.queue,
			    req.tag, 4096, 4096));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_HARNESS_MAIN
