// SPDX-License-Identifier: GPL-2.0
/*
 * SUPPORT_ZERO_COPY: the pages of a request as a buffer of a ring, for as long
 * as the ring keeps it.
 */
#include "fixture.h"

#define RING_BUFS	4	/* places in the server's ring, one for each tag */

static int live_with_zero_copy(struct testdev *td)
{
	td->info.flags |= UBLK_F_SUPPORT_ZERO_COPY;
	return td_go_live(td);
}

TD_FIXTURE_WITH(live, UBLK_F_SUPPORT_ZERO_COPY, live_with_zero_copy);

static int reg(struct testdev *td, const struct td_req *req, __u64 index)
{
	return td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, req->queue, req->tag,
			   index);
}

static int unreg(struct testdev *td, __u64 index)
{
	/* Queue and tag are not looked at. */
	return td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, 0xeeee, 0xeeee,
			   index);
}

/* -- what it is for -------------------------------------------------------- */

TEST_F(live, pages_of_a_write_go_to_a_file)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	client = td_write_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, req.addr);
	ASSERT_EQ(0, reg(td, &req, 0));
	EXPECT_EQ(8192, td_fixed_io(&td->ring, IORING_OP_WRITE_FIXED, file, 0,
				    0, 8192, 0));
	EXPECT_EQ(0, unreg(td, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	EXPECT_EQ(8192, td_wait(td, client));
	ASSERT_EQ(8192, pread(file, mine, 8192, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

TEST_F(live, pages_of_a_read_come_from_a_file)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(8192, 0), *mine = td_page_buf(8192, 1);
	int file = memfd_create("data", MFD_CLOEXEC), client;
	struct td_req req;

	ASSERT_EQ(8192, pwrite(file, mine, 8192, 0));
	client = td_read_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 3));
	EXPECT_EQ(4096, td_fixed_io(&td->ring, IORING_OP_READ_FIXED, file, 3,
				    4096, 4096, 4096));
	EXPECT_EQ(4096, td_fixed_io(&td->ring, IORING_OP_READ_FIXED, file, 3,
				    0, 4096, 0));
	EXPECT_EQ(0, unreg(td, 3));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	EXPECT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

TEST_F(live, pages_serve_in_one_direction_only)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC);
	struct td_req req;

	ASSERT_EQ(0, ftruncate(file, 4096));
	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	ASSERT_EQ(0, reg(td, &req, 0));
	EXPECT_EQ(-EFAULT, td_fixed_io(&td->ring, IORING_OP_READ_FIXED, file, 0,
				       0, 4096, 0));
	EXPECT_EQ(-EFAULT, td_fixed_io(&td->ring, IORING_OP_WRITE_FIXED, file, 0,
				       0, 4097, 0));
	EXPECT_EQ(0, unreg(td, 0));
	td_answer(td, &req, 4096);
}

TEST_F(live, command_from_a_worker_registers_too)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	td->sqe_flags = IOSQE_ASYNC;
	EXPECT_EQ(0, reg(td, &req, 0));
	EXPECT_EQ(-EBUSY, reg(td, &req, 0));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(-EINVAL, unreg(td, 0));
	td->sqe_flags = 0;
	td_answer(td, &req, 4096);
}

/* -- how long it lasts ----------------------------------------------------- */

TEST_F(live, request_waits_for_its_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, request_waits_for_all_its_buffers)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	for (i = 0; i < RING_BUFS; i++)
		ASSERT_EQ(0, reg(td, &req, i));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	for (i = 0; i < RING_BUFS; i++) {
		ASSERT_EQ(0, td_round_trip(td));
		EXPECT_FALSE(td_done(td, client));
		EXPECT_EQ(0, unreg(td, i));
	}
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, tag_serves_again_after_its_buffer_is_gone)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	for (i = 0; i < 20; i++) {
		client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
		ASSERT_LE(0, client);
		ASSERT_EQ(0, reg(td, &req, 0));
		ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
		ASSERT_EQ(0, unreg(td, 0));
		ASSERT_EQ(4096, td_wait(td, client));
	}
}

TEST_F(live, error_waits_for_the_buffer_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_read_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, -ENOSPC));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(-ENOSPC, td_wait(td, client));
}

TEST_F(live, rest_of_a_short_write_waits_for_the_buffer_too)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(8192, 1), 8192);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, unreg(td, 0));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(8, req.sectors);
	EXPECT_EQ((TD_AREA + 4096) >> 9, req.start);
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(0, unreg(td, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(8192, td_wait(td, client));
}

/* A buffer that I/O is using is out of the table, but not gone. */
TEST_F(live, request_waits_for_io_that_uses_its_buffer)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0), *data = td_page_buf(4096, 5);
	struct io_uring_sqe *sqe;
	int fds[2], client;
	struct td_req req;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	client = td_read_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	sqe = io_uring_get_sqe(&td->ring);
	io_uring_prep_read_fixed(sqe, fds[0], NULL, 4096, 0, 0);
	sqe->user_data = 0xffffffffULL;
	ASSERT_EQ(1, io_uring_submit(&td->ring));
	ASSERT_EQ(0, unreg(td, 0));
	EXPECT_EQ(-EINVAL, unreg(td, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(4096, write(fds[1], data, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, data, 4096));
}

TEST_F(live, stop_waits_for_the_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_STOP_DEV, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	td_settle(td, 50);
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(4096, td_wait(td, client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- who, where and what --------------------------------------------------- */

struct foreign {
	struct testdev *td;
	struct td_req *req;
	struct io_uring ring;
	__u64 index;
};

static int foreign_ring(struct foreign *f)
{
	int ret = io_uring_queue_init(4, &f->ring, 0);

	return ret ? ret : io_uring_register_buffers_sparse(&f->ring, 2);
}

static int reg_from_here(void *arg)
{
	struct foreign *f = arg;

	return td_io_cmd_on(&f->ring, f->td->cdev, UBLK_U_IO_REGISTER_IO_BUF,
			    f->req->queue, f->req->tag, 0, f->index);
}

static int unreg_from_here(void *arg)
{
	struct foreign *f = arg;

	return td_io_cmd_on(&f->ring, f->td->cdev, UBLK_U_IO_UNREGISTER_IO_BUF,
			    f->req->queue, f->req->tag, 0, f->index);
}

TEST_F(live, any_task_registers_on_its_ring)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { .td = td, .req = &req };
	int client;

	REQUIRE_FEATURE(td, UBLK_F_BUF_REG_OFF_DAEMON);
	ASSERT_EQ(0, foreign_ring(&f));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, td_in_thread(reg_from_here, &f));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	ASSERT_EQ(0, td_round_trip(td));
	EXPECT_FALSE(td_done(td, client));
	EXPECT_EQ(0, td_in_thread(unreg_from_here, &f));
	EXPECT_EQ(4096, td_wait(td, client));
	io_uring_queue_exit(&f.ring);
}

TEST_F(live, end_of_a_ring_gives_its_buffers_back)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { .td = td, .req = &req };
	int client;

	REQUIRE_FEATURE(td, UBLK_F_BUF_REG_OFF_DAEMON);
	ASSERT_EQ(0, foreign_ring(&f));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, td_in_thread(reg_from_here, &f));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_FALSE(td_done(td, client));
	io_uring_queue_exit(&f.ring);
	EXPECT_EQ(4096, td_wait(td, client));
}

/* Without a disk, nobody comes in between with a request. */
static int fetched_with_zero_copy(struct testdev *td)
{
	td->info.flags |= UBLK_F_SUPPORT_ZERO_COPY;
	return td_add_fetched(td);
}

TD_FIXTURE_WITH(fetched, UBLK_F_SUPPORT_ZERO_COPY, fetched_with_zero_copy);

TEST_F(fetched, other_task_cannot_register_what_the_server_does_not_own)
{
	struct td_req req = { .tag = 3 };
	struct foreign f = { .td = &self->td, .req = &req };

	REQUIRE_FEATURE(&self->td, UBLK_F_BUF_REG_OFF_DAEMON);
	ASSERT_EQ(0, foreign_ring(&f));
	EXPECT_EQ(-EINVAL, td_in_thread(reg_from_here, &f));
	io_uring_queue_exit(&f.ring);
}

TEST_F(fetched, server_cannot_register_what_it_does_not_own)
{
	struct td_req req = { .tag = 3 };

	EXPECT_EQ(-EBUSY, reg(&self->td, &req, 0));
}

TEST_F(live, server_cannot_register_what_it_has_committed)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	ASSERT_EQ(0, reg(td, &req, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	/* The request is not over, but the server's part in it is. */
	EXPECT_EQ(-EBUSY, reg(td, &req, 1));
	EXPECT_EQ(0, unreg(td, 0));
}

TEST_F(live, place_has_to_be_there_and_empty)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EINVAL, reg(td, &req, RING_BUFS));
	EXPECT_EQ(-EINVAL, reg(td, &req, 0xffffffffULL));
	ASSERT_EQ(0, reg(td, &req, 1));
	EXPECT_EQ(-EBUSY, reg(td, &req, 1));
	EXPECT_EQ(-EINVAL, unreg(td, RING_BUFS));
	EXPECT_EQ(-EINVAL, unreg(td, 0));
	EXPECT_EQ(0, unreg(td, 1));
	td_answer(td, &req, 4096);
}

TEST_F(live, memory_of_the_user_is_not_unregistered)
{
	struct testdev *td = &self->td;
	struct iovec iov = { td_page_buf(4096, 0), 4096 };
	__u64 tag = 0;

	ASSERT_EQ(1, io_uring_register_buffers_update_tag(&td->ring, 0, &iov,
							  &tag, 1));
	EXPECT_EQ(-EBUSY, unreg(td, 0));
}

TEST_F(live, tag_has_to_be_there)
{
	struct testdev *td = &self->td;
	struct td_req no_tag = { .tag = 4 }, no_queue = { .queue = 1 };

	EXPECT_EQ(-EINVAL, reg(td, &no_tag, 0));
	EXPECT_EQ(-EINVAL, reg(td, &no_queue, 0));
}

static int live_with_cache(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return live_with_zero_copy(td);
}

TD_FIXTURE_WITH(cached, UBLK_F_SUPPORT_ZERO_COPY, live_with_cache);

TEST_F(cached, flush_has_no_pages)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_FLUSH, req.op);
	EXPECT_EQ(-EINVAL, reg(td, &req, 0));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
}

TEST_F(live, commit_with_a_buffer_is_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0,
				     req.tag, 4096, (unsigned long)req.buf));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(live, data_cannot_be_taken_without_user_copy)
{
	struct testdev *td = &self->td;
	struct td_req req;
	char c;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EACCES, td_take(td, &req, &c, 1, 0));
	td_answer(td, &req, 4096);
}

/* -- other modes ----------------------------------------------------------- */

FIXTURE(plain)
{
	struct testdev td;
};

FIXTURE_VARIANT(plain)
{
	__u64 flags;
};

FIXTURE_VARIANT_ADD(plain, copy) { .flags = 0 };
FIXTURE_VARIANT_ADD(plain, user_copy) { .flags = UBLK_F_USER_COPY };

FIXTURE_SETUP(plain)
{
	struct testdev *td = &self->td;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, variant->flags);
	td->info.flags |= variant->flags;
	ASSERT_EQ(0, td_go_live(td));
}

FIXTURE_TEARDOWN_PARENT(plain)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F(plain, register_and_unregister_are_refused)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(4096, 1), 4096));
	EXPECT_EQ(-EINVAL, reg(td, &req, 0));
	EXPECT_EQ(-EINVAL, unreg(td, 0));
	td_answer(td, &req, 4096);
}

static int live_with_both(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_COPY;
	return live_with_zero_copy(td);
}

TD_FIXTURE_WITH(both, UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_USER_COPY, live_with_both);

TEST_F(both, ways_to_the_data_can_be_mixed)
{
	struct testdev *td = &self->td;
	int file = memfd_create("data", MFD_CLOEXEC), client;
	char *buf = td_page_buf(8192, 0), *mine = td_page_buf(8192, 1);
	struct td_req req;

	ASSERT_EQ(8192, pwrite(file, mine, 8192, 0));
	client = td_read_arrived(td, &req, buf, 8192);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg(td, &req, 0));
	EXPECT_EQ(4096, td_fixed_io(&td->ring, IORING_OP_READ_FIXED, file, 0,
				    0, 4096, 0));
	EXPECT_EQ(4096, td_bring(td, &req, mine + 4096, 8192, 4096));
	EXPECT_EQ(0, unreg(td, 0));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 8192));
	EXPECT_EQ(8192, td_wait(td, client));
	EXPECT_EQ(0, memcmp(buf, mine, 8192));
}

/* -- death ----------------------------------------------------------------- */

/* A ring that is not the server's keeps what it has, and no more than that. */
TEST_F(live, buffer_outlives_its_server)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 1), *mine = td_page_buf(4096, 0);
	int file = memfd_create("data", MFD_CLOEXEC), held, other;
	struct td_req req;
	struct foreign f = { .td = td, .req = &req };

	REQUIRE_FEATURE(td, UBLK_F_BUF_REG_OFF_DAEMON);
	ASSERT_EQ(0, foreign_ring(&f));
	held = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, held);
	ASSERT_EQ(0, td_in_thread(reg_from_here, &f));
	other = td_write(td, buf, 4096, TD_AREA + 4096, 0);
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, other));
	EXPECT_FALSE(td_done(td, held));
	EXPECT_EQ(4096, td_fixed_io(&f.ring, IORING_OP_WRITE_FIXED, file, 0, 0,
				    4096, 0));
	io_uring_queue_exit(&f.ring);
	EXPECT_EQ(-EIO, td_wait(td, held));
	ASSERT_EQ(4096, pread(file, mine, 4096, 0));
	EXPECT_EQ(0, memcmp(buf, mine, 4096));
}

TEST_F(live, committed_result_stands_after_the_death)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct foreign f = { .td = td, .req = &req };
	int client;

	REQUIRE_FEATURE(td, UBLK_F_BUF_REG_OFF_DAEMON);
	ASSERT_EQ(0, foreign_ring(&f));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, td_in_thread(reg_from_here, &f));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, 4096));
	td_detach(td);
	td_settle(td, 50);
	EXPECT_FALSE(td_done(td, client));
	io_uring_queue_exit(&f.ring);
	EXPECT_EQ(4096, td_wait(td, client));
}

FIXTURE(held)
{
	struct testdev td;
};

FIXTURE_VARIANT(held)
{
	enum ublk_mode mode;
	__u64 feature;
};

FIXTURE_VARIANT_ADD(held, zero_copy) {
	UBLK_MODE_ZERO_COPY, UBLK_F_SUPPORT_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(held, auto_buf) {
	UBLK_MODE_AUTO_BUF, UBLK_F_AUTO_BUF_REG,
};

FIXTURE_SETUP(held)
{
	struct testdev *td = &self->td;
	struct ublk_options opts;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, variant->feature);
	ublk_options_init(&opts);
	opts.target = &td_hold_target;
	opts.mode = variant->mode;
	opts.queues = 2;
	opts.threads = 2;
	ASSERT_EQ(0, td_spawn(td, &opts));
}

FIXTURE_TEARDOWN_PARENT(held)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F(held, killed_servers_buffers_end_with_it)
{
	struct testdev *td = &self->td;
	int client[32], i;

	for (i = 0; i < 32; i++)
		client[i] = td_write(td, td_page_buf(4096, 1), 4096,
				     TD_AREA + i * 8192, 0);
	ASSERT_EQ(0, td_wait_held(td, 32));
	ASSERT_EQ(0, td_kill_server(td));
	for (i = 0; i < 32; i++)
		EXPECT_EQ(-EIO, td_wait(td, client[i]));
}

/* -- recovery -------------------------------------------------------------- */

FIXTURE(next)
{
	struct testdev td;
	struct td_req req;
	struct foreign f;
	int client;
};

FIXTURE_VARIANT(next)
{
	__u64 flags;
	int state;	/* without a server */
	int lost;	/* what the client is told that lost its server */
};

FIXTURE_VARIANT_ADD(next, recovery) {
	.flags = UBLK_F_USER_RECOVERY,
	.state = UBLK_S_DEV_QUIESCED, .lost = -EIO,
};

FIXTURE_VARIANT_ADD(next, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.state = UBLK_S_DEV_QUIESCED, .lost = 4096,
};

FIXTURE_VARIANT_ADD(next, fail_io) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	.state = UBLK_S_DEV_FAIL_IO, .lost = -EIO,
};

/* A write whose pages a ring has that is not the server's. */
FIXTURE_SETUP(next)
{
	struct testdev *td = &self->td;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, UBLK_F_SUPPORT_ZERO_COPY | variant->flags);
	td->info.flags |= UBLK_F_SUPPORT_ZERO_COPY | variant->flags;
	ASSERT_EQ(0, td_go_live(td));
	self->f = (struct foreign) { .td = td, .req = &self->req };
	ASSERT_EQ(0, foreign_ring(&self->f));
	self->client = td_write_arrived(td, &self->req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, self->client);
	ASSERT_EQ(0, td_in_thread(reg_from_here, &self->f));
}

FIXTURE_TEARDOWN_PARENT(next)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

static int lose_server(struct testdev *td, int state)
{
	td_detach(td);
	return td_wait_state(td, state) ? 0 : -ETIME;
}

/* Every tag is served again, the one of the old request behind it. */
TEST_F(next, server_is_not_kept_waiting_by_an_old_buffer)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 2);
	int i;

	ASSERT_EQ(0, lose_server(td, variant->state));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(4096, td_wait(td, td_write(td, buf, 4096,
						     TD_AREA + i * 4096, 0)));
	EXPECT_FALSE(td_done(td, self->client));
	io_uring_queue_exit(&self->f.ring);
	EXPECT_EQ(variant->lost, td_wait(td, self->client));
	for (i = 0; i < 8; i++)
		EXPECT_EQ(4096, td_wait(td, td_write(td, buf, 4096,
						     TD_AREA + i * 4096, 0)));
}

TEST_F(next, server_is_told_of_what_lost_its_buffer_before)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, lose_server(td, variant->state));
	EXPECT_FALSE(td_done(td, self->client));
	io_uring_queue_exit(&self->f.ring);
	if (variant->lost < 0)
		EXPECT_EQ(variant->lost, td_wait(td, self->client));
	td_settle(td, 50);
	EXPECT_EQ(variant->lost < 0, td_done(td, self->client));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(variant->lost, td_wait(td, self->client));
}

TEST_F(next, server_leaves_a_committed_result_alone)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(TD_PENDING, td_answer(td, &self->req, -ENOSPC));
	ASSERT_EQ(0, lose_server(td, variant->state));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_FALSE(td_done(td, self->client));
	io_uring_queue_exit(&self->f.ring);
	EXPECT_EQ(-ENOSPC, td_wait(td, self->client));
}

TEST_F(next, server_and_the_one_after_it_leave_the_tag_of_an_old_buffer)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, lose_server(td, variant->state));
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, lose_server(td, variant->state));
	EXPECT_FALSE(td_done(td, self->client));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	io_uring_queue_exit(&self->f.ring);
	EXPECT_EQ(variant->lost, td_wait(td, self->client));
}

TEST_F(next, stop_waits_for_the_old_buffer_and_fails_its_request)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, lose_server(td, variant->state));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_STOP_DEV, 0));
	td_settle(td, 50);
	EXPECT_FALSE(td_done(td, self->client));
	io_uring_queue_exit(&self->f.ring);
	EXPECT_EQ(-EIO, td_wait(td, self->client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- death under load ------------------------------------------------------ */

FIXTURE(loaded)
{
	struct testdev td;
	struct ublk_options opts;
};

FIXTURE_VARIANT(loaded)
{
	enum ublk_mode mode;
	__u64 feature;
};

FIXTURE_VARIANT_ADD(loaded, user_copy) {
	UBLK_MODE_USER_COPY, UBLK_F_USER_COPY,
};

FIXTURE_VARIANT_ADD(loaded, zero_copy) {
	UBLK_MODE_ZERO_COPY, UBLK_F_SUPPORT_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(loaded, auto_buf) {
	UBLK_MODE_AUTO_BUF, UBLK_F_AUTO_BUF_REG,
};

FIXTURE_SETUP(loaded)
{
	const __u64 recovery = UBLK_F_USER_RECOVERY |
			       UBLK_F_USER_RECOVERY_REISSUE;
	struct testdev *td = &self->td;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, recovery | variant->feature);
	ublk_options_init(&self->opts);
	self->opts.mode = variant->mode;
	self->opts.flags = recovery;
	self->opts.queues = 2;
	self->opts.depth = 16;
	self->opts.threads = 2;
	ASSERT_EQ(0, td_spawn(td, &self->opts));
}

FIXTURE_TEARDOWN_PARENT(loaded)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* Killed in whatever it does with pages; the next server repeats it. */
TEST_F_TIMEOUT(loaded, servers_can_be_killed_one_after_the_other, 120)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(65536, 1);
	int client[64], round, i;

	for (round = 0; round < 5; round++) {
		for (i = 0; i < 64; i++)
			client[i] = td_write(td, buf, 65536,
					     TD_AREA + i * 65536, 0);
		td_settle(td, 3 * round);
		ASSERT_EQ(0, td_kill_server(td));
		ASSERT_EQ(0, td_spawn_recovery(td, &self->opts));
		for (i = 0; i < 64; i++)
			EXPECT_EQ(65536, td_wait(td, client[i]));
	}
}

TEST_HARNESS_MAIN
