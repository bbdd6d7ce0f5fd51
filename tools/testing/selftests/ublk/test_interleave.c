// SPDX-License-Identifier: GPL-2.0
/*
 * Interleavings of a request's way: somebody is held in the middle of a move, and another
 * does meanwhile what it must not trip over. Those of the end of servers are in
 * test_interleave_end.c; Documentation/block/ublk.rst has a table of all.
 */
#include <poll.h>
#include <sys/eventfd.h>

#include "fixture.h"

#define BYTES	4096
#define FAR	(TD_AREA + (8ULL << 20))	/* where the other CPU's client reads */

static int go_live_quiescable(struct testdev *td)
{
	td->info.flags |= UBLK_F_QUIESCE;
	return td_go_live_recoverable(td);
}

static int go_quiesced_cached(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	return td_go_quiesced(td);
}

static int go_live_recoverable_batch(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY;
	return tb_go_live(tb, td);
}

HOLD_FIXTURE(driver, 0, td_no_device);
HOLD_FIXTURE(recoverable, UBLK_F_USER_RECOVERY, td_go_live_recoverable);
HOLD_FIXTURE(quiescable, UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE, go_live_quiescable);
HOLD_FIXTURE(quiesced, UBLK_F_USER_RECOVERY, td_go_quiesced);
HOLD_FIXTURE(quiesced_cached, UBLK_F_USER_RECOVERY, go_quiesced_cached);
HOLD_TB_FIXTURE(attached_batch, 0, tb_attach);
HOLD_TB_FIXTURE(recoverable_batch, UBLK_F_USER_RECOVERY, go_live_recoverable_batch);

/* A client on the other CPU: its read is to be held. */
static int read_far(void *arg)
{
	struct testdev *td = arg;
	ssize_t n = pread(td->bdev, td_page_buf(BYTES, 0), BYTES, FAR);

	return n < 0 ? -errno : n;
}

/* -- a server on the other CPU --------------------------------------------- */

/* It fetches the tags from @first on, and answers @want requests when it is told to. */
struct far_server {
	struct testdev *td;
	struct io_uring ring;
	struct td_aside aside;
	int told;		/* eventfd: it has fetched; the requests are there */
	int go;			/* eventfd: answer them, in one submission */
	unsigned int first;
	unsigned int want;
	unsigned int nr;
	__u16 tags[8];
};

static int far_fetch(struct far_server *f)
{
	struct testdev *td = f->td;
	unsigned int tag;
	int ret = 0;

	for (tag = f->first; tag < td->info.queue_depth; tag++) {
		ret = td_io_cmd_on(&f->ring, td->cdev, UBLK_U_IO_FETCH_REQ, 0, tag, 0,
				   td_addr(td, td_buf(td, 0, tag)));
		if (ret != TD_PENDING)
			return ret;
	}
	return 0;
}

static int far_next(struct far_server *f, __u16 *tag)
{
	struct io_uring_cqe *cqe;
	int ret;

	do {
		ret = io_uring_wait_cqe(&f->ring, &cqe);
	} while (ret == -EINTR);
	if (ret)
		return ret;
	*tag = cqe->user_data;
	ret = cqe->res;
	io_uring_cqe_seen(&f->ring, cqe);
	return ret;
}

static int far_take(struct far_server *f)
{
	__u16 tag;
	int ret;

	while (f->nr < f->want) {
		ret = far_next(f, &tag);
		if (ret < 0)
			return ret;
		if (!td_answer_outside(f->td, &f->ring, 0, tag))
			f->tags[f->nr++] = tag;
	}
	return 0;
}

static void far_answer(struct far_server *f)
{
	struct testdev *td = f->td;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		struct io_uring_sqe *sqe = td_next_sqe(&f->ring);
		struct ublksrv_io_cmd cmd = {
			.tag = f->tags[i], .result = BYTES,
			.addr = td_addr(td, td_buf(td, 0, f->tags[i])),
		};

		sqe->opcode = IORING_OP_URING_CMD;
		sqe->fd = td->cdev;
		sqe->cmd_op = UBLK_U_IO_COMMIT_AND_FETCH_REQ;
		memcpy(sqe->cmd, &cmd, sizeof(cmd));
		sqe->user_data = f->tags[i];
	}
	io_uring_submit(&f->ring);
}

/* Returns how many tags were taken back with -ENODEV, when all of them were. */
static int far_end(struct far_server *f)
{
	int left = f->td->info.queue_depth - f->first, ended = 0;
	__u16 tag;
	int ret;

	while (left) {
		ret = far_next(f, &tag);
		if (ret >= 0) {
			f->tags[0] = tag;
			f->nr = 1;
			far_answer(f);
			continue;
		}
		ended += ret == -ENODEV;
		left--;
	}
	return ended;
}

static int far_main(void *arg)
{
	struct far_server *f = arg;
	int ret = io_uring_queue_init(16, &f->ring, 0);
	eventfd_t one;

	if (!ret)
		ret = far_fetch(f);
	eventfd_write(f->told, 1);
	if (!ret)
		ret = far_take(f);
	eventfd_write(f->told, 1);
	if (ret)
		return ret;
	eventfd_read(f->go, &one);
	far_answer(f);
	return far_end(f);
}

static int far_wait(struct far_server *f)
{
	struct pollfd fd = { .fd = f->told, .events = POLLIN };
	eventfd_t one;

	if (poll(&fd, 1, TD_DEADLINE_MS) != 1)
		return -ETIME;
	return eventfd_read(f->told, &one);
}

/* A live disk; the tags before @first are this thread's. */
static int far_go_live(struct far_server *f, struct testdev *td, unsigned int first,
		       unsigned int want)
{
	unsigned int tag;
	int ret;

	*f = (struct far_server) { .td = td, .first = first, .want = want };
	f->told = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	f->go = eventfd(0, EFD_CLOEXEC);
	ret = td_add_attached(td);
	for (tag = 0; !ret && tag < first; tag++)
		ret = td_fetch(td, 0, tag) == TD_PENDING ? 0 : -EINVAL;
	if (!ret)
		ret = td_aside_start(&f->aside, far_main, f);
	if (!ret)
		ret = far_wait(f);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

/* -- claimed, and the server's ring is closed ------------------------------- */

/*
 * The command of a tag that is BUSY cannot be cancelled: it comes back by the task work
 * that the submitter has still to push.
 */
TEST_F(recoverable, request_claimed_while_the_ring_is_closed_goes_to_the_next_server)
{
	struct testdev *td = &self->td;
	struct td_aside client;
	int hold, canceled;
	struct td_req req;

	hold = td_hold_slot(td, TD_ANY, TD_SLOT_BUSY, TD_SLOT_QUEUED);
	canceled = td_watch_slots(td, TD_SLOT_ARMED, TD_SLOT_CANCELED, 3);
	ASSERT_LE(0, hold);
	ASSERT_LE(0, canceled);
	ASSERT_EQ(0, td_aside_start(&client, read_far, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	td_detach(td);
	/* Every other tag was looked at, and so was this one. */
	EXPECT_EQ(0, td_hold_wait(canceled));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	EXPECT_EQ(0, td_hold_release(hold));

	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(FAR >> 9, req.start);
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, BYTES));
	EXPECT_EQ(BYTES, td_aside_join(&client));
}

/* -- a tag that is armed while the server is told to leave ------------------ */

TEST_F(driver, quiesce_takes_back_a_tag_that_is_committed_meanwhile)
{
	struct testdev *td = &self->td;
	int clients[2], hold, stopping, canceled, i;
	struct far_server f;
	struct td_req req;

	REQUIRE_FEATURE(td, UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE);
	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE;
	td->info.queue_depth = 2;
	ASSERT_EQ(0, far_go_live(&f, td, 1, 1));
	for (i = 0; i < 2; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, far_wait(&f));
	/* It waits for an idle tag, past its first grace periods. */
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_QUIESCE_DEV, 0));

	hold = td_hold_slot(td, 1, TD_SLOT_BUSY, TD_SLOT_ARMED);
	stopping = td_watch_session(td, TD_SESSION_STOPPING);
	canceled = td_watch_slot(td, TD_ANY, TD_SLOT_ARMED, TD_SLOT_CANCELED);
	ASSERT_LE(0, hold);
	ASSERT_LE(0, stopping);
	ASSERT_LE(0, canceled);
	eventfd_write(f.go, 1);
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, BYTES));
	EXPECT_EQ(0, td_hold_wait(stopping));
	td_settle(td, 50);
	EXPECT_FALSE(td_hold_is_reached(canceled));
	EXPECT_EQ(0, td_hold_release(hold));

	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(-ENODEV, td_wait_end(td, 0, 0));
	EXPECT_EQ(1, td_aside_join(&f.aside));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(BYTES, td_wait(td, clients[i]));
}

TEST_F(quiescable, tag_committed_after_the_gates_closed_ends_at_once)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, hold;

	client = td_read_arrived(td, &req, td_page_buf(BYTES, 0), BYTES);
	ASSERT_LE(0, client);
	hold = td_hold_session(td, TD_SESSION_STOPPING);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(-ENODEV, td_answer(td, &req, BYTES));
	EXPECT_EQ(BYTES, td_wait(td, client));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(0, td_ctl_wait(td));
}

static int prep_far(void *arg)
{
	return tb_prep_all(arg);
}

TEST_F(attached_batch, stop_takes_back_tags_that_are_offered_meanwhile)
{
	struct testdev *td = &self->td;
	int hold, stopping, canceled;
	struct td_aside prep;

	hold = td_hold_slot(td, 0, TD_SLOT_BUSY, TD_SLOT_ARMED);
	stopping = td_watch_session(td, TD_SESSION_STOPPING);
	canceled = td_watch_slots(td, TD_SLOT_ARMED, TD_SLOT_CANCELED, td->info.queue_depth);
	ASSERT_LE(0, hold);
	ASSERT_LE(0, canceled);
	ASSERT_EQ(0, td_aside_start(&prep, prep_far, &self->tb));
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(0, td_hold_wait(stopping));
	EXPECT_EQ(0, td_hold_release(hold));

	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(0, td_aside_join(&prep));
	EXPECT_TRUE(td_hold_is_reached(canceled));
}

/* -- a submitter that comes between the gates and the sweep ----------------- */

/*
 * No command keeps the file of a server in batch mode, so the sweep has to wait for who
 * saw the gates open; who comes later must not get in.
 */
TEST_F(recoverable_batch, sweep_waits_for_who_has_claimed_and_nobody_claims_after_that)
{
	struct testdev *td = &self->td;
	int hold, claimed, released, client;
	struct tb *tb = &self->tb;
	struct td_aside first;

	hold = td_hold_slot(td, TD_ANY, TD_SLOT_BUSY, TD_SLOT_QUEUED);
	released = td_watch_session(td, TD_SESSION_RELEASED);
	ASSERT_LE(0, hold);
	ASSERT_LE(0, released);
	ASSERT_EQ(0, td_aside_start(&first, read_far, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	claimed = td_watch_slot(td, TD_ANY, TD_SLOT_ARMED, TD_SLOT_BUSY);
	ASSERT_LE(0, claimed);
	td_detach(td);
	ASSERT_EQ(0, td_hold_wait(released));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	td_settle(td, 50);
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	EXPECT_FALSE(td_hold_is_reached(claimed));
	EXPECT_EQ(0, td_hold_release(hold));

	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	tb_exit(tb);
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, tb_init(tb, td, 0, TB_BUFFERS, TB_BUF_BYTES));
	ASSERT_EQ(0, tb_prep_all(tb));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_ctl(tb, UBLK_U_CMD_END_USER_RECOVERY, getpid()));
	ASSERT_EQ(0, tb_wait_tags(tb, 2));
	EXPECT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, client));
	EXPECT_EQ(BYTES, td_aside_join(&first));
}

/* -- a tag of a chain that is armed again while the chain is delivered ------ */

/* Blocks as large as the disk allows do not merge. */
static void send_four(struct testdev *td, int *clients)
{
	struct iovec bufs[4];
	int i;

	for (i = 0; i < 4; i++)
		bufs[i] = (struct iovec) { td_page_buf(TD_BUF_BYTES, 0), TD_BUF_BYTES };
	td_rw_all(td, IORING_OP_READ, bufs, 4, TD_AREA, clients);
}

/*
 * The pages of no request can be registered, so each fails on its way to the server, and
 * its tag is armed again. The first is used again while the second is delivered, and its
 * command is pushed while its own task work runs.
 */
TEST_F(driver, tag_that_its_chain_has_armed_again_serves_before_the_chain_is_through)
{
	struct testdev *td = &self->td;
	int clients[5], hold, queued, i;
	struct far_server f;

	REQUIRE_FEATURE(td, UBLK_F_AUTO_BUF_REG);
	td->info.flags |= UBLK_F_AUTO_BUF_REG;
	ASSERT_EQ(0, far_go_live(&f, td, 0, 2));
	hold = td_hold_slot_after(td, TD_ANY, TD_SLOT_QUEUED, TD_SLOT_BUSY, 1);
	ASSERT_LE(0, hold);
	send_four(td, clients);
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(-EIO, td_wait(td, clients[0]));
	queued = td_watch_slot(td, TD_ANY, TD_SLOT_BUSY, TD_SLOT_QUEUED);
	ASSERT_LE(0, queued);
	/* It gets the only tag that is not in use. */
	clients[4] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	EXPECT_EQ(0, td_hold_wait(queued));
	EXPECT_EQ(0, td_hold_release(hold));
	for (i = 1; i < 5; i++)
		EXPECT_EQ(-EIO, td_wait(td, clients[i]));

	/* Nobody has lost a command. */
	send_four(td, clients);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(-EIO, td_wait(td, clients[i]));
}

/* -- a report that fails, and a server that guesses ------------------------- */

FIXTURE(guess)
{
	struct testdev td;
	struct tb tb;
};

FIXTURE_VARIANT(guess)
{
	bool lends;
};

FIXTURE_VARIANT_ADD(guess, commits) { };
FIXTURE_VARIANT_ADD(guess, registers) { .lends = true };

static int go_live_zero_copy_batch(struct tb *tb, struct testdev *td)
{
	td->info.flags |= UBLK_F_SUPPORT_ZERO_COPY;
	return tb_go_live(tb, td);
}

HOLD_SETUP(guess, UBLK_F_BATCH_IO | UBLK_F_SUPPORT_ZERO_COPY,
	   go_live_zero_copy_batch(&self->tb, &self->td));

/* Fetches with a buffer that cannot be written, so that its report fails. */
static int fetch_to_nowhere(void *arg)
{
	void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct tb tb = { };
	int ret = tb_init(&tb, arg, 0, 0, 0);

	if (ret)
		return ret;
	io_uring_buf_ring_add(tb.br, nowhere, 64, 0, io_uring_buf_ring_mask(TB_BUFFERS), 0);
	io_uring_buf_ring_advance(tb.br, 1);
	ret = tb_result(&tb, tb_fetch(&tb, 0));
	tb_exit(&tb);
	return ret;
}

static int tag_of(struct testdev *td, __u64 offset)
{
	unsigned int tag;

	for (tag = 0; tag < td->info.queue_depth; tag++)
		if (td_desc(td, 0, tag)->start_sector == offset >> UBLK_SECTOR_SHIFT)
			return tag;
	return -1;
}

/* The first of two is the server's already when the report of both fails. */
TEST_F(guess, tag_that_the_server_guessed_is_not_reported_again)
{
	struct testdev *td = &self->td;
	struct io_uring ring;
	int clients[3], hold, first, i, ret;
	struct tb *tb = &self->tb;
	struct td_aside fetch;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_EQ(0, io_uring_register_buffers_sparse(&ring, 1));
	for (i = 0; i < 2; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_TRUE(td_wait_inflight(td, 2));
	first = tag_of(td, TD_AREA);
	ASSERT_LE(0, first);
	hold = td_hold_slot_after(td, TD_ANY, TD_SLOT_QUEUED, TD_SLOT_BUSY, 1);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&fetch, fetch_to_nowhere, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	ret = variant->lends ? td_io_cmd_on(&ring, td->cdev, UBLK_U_IO_REGISTER_IO_BUF, 0,
					    first, 0, 0) : tb_answer(tb, 0, first);
	EXPECT_LE(0, ret);
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(-ENOBUFS, td_aside_join(&fetch));

	/*
	 * Only the second comes again, before a third, which as a rule has the first tag:
	 * that would come too early if it were in the FIFO twice.
	 */
	clients[2] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + 2 * 65536);
	ASSERT_TRUE(td_wait_inflight(td, variant->lends ? 3 : 2));
	tb_fetch(tb, 0);
	ASSERT_EQ(0, tb_wait_tags(tb, 2));
	EXPECT_EQ(tag_of(td, TD_AREA + 65536), tb->tags[0]);
	EXPECT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(BYTES, tb_wait_client(tb, clients[1]));
	EXPECT_EQ(BYTES, tb_wait_client(tb, clients[2]));
	if (variant->lends) {
		EXPECT_LT(0, tb_answer(tb, 0, first));
		EXPECT_EQ(0, td_io_cmd_on(&ring, td->cdev, UBLK_U_IO_UNREGISTER_IO_BUF, 0,
					  first, 0, 0));
	}
	EXPECT_EQ(BYTES, tb_wait_client(tb, clients[0]));
	EXPECT_EQ(0, tb_round_trip(tb, 0));
	EXPECT_EQ(0, tb->nr_tags);
}

/* -- held while the next server takes over ---------------------------------- */

/* It has found nobody, but is not put aside yet when the disk is served again. */
TEST_F(quiesced, end_of_recovery_waits_for_a_request_that_is_being_put_aside)
{
	struct testdev *td = &self->td;
	struct td_aside client;
	struct td_req req;
	int hold;

	hold = td_hold_requeue(td);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&client, read_far, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	EXPECT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_END_USER_RECOVERY, getpid()));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(0, td_ctl_wait(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(FAR >> 9, req.start);
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, BYTES));
	EXPECT_EQ(BYTES, td_aside_join(&client));
}

/* A flush kicks the list on which held requests wait. Both are put aside then. */
TEST_F(quiesced_cached, request_that_a_flush_lets_try_again_is_held_again)
{
	struct testdev *td = &self->td;
	int aside, read, sync;

	aside = td_watch_requeues(td, 1);
	ASSERT_LE(0, aside);
	read = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_EQ(0, td_hold_wait(aside));
	aside = td_watch_requeues(td, 2);
	ASSERT_LE(0, aside);
	sync = td_fsync(td);
	ASSERT_EQ(0, td_hold_wait(aside));
	EXPECT_FALSE(td_done(td, read));
	EXPECT_FALSE(td_done(td, sync));
	td->answer_all = true;
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(BYTES, td_wait(td, read));
	EXPECT_EQ(0, td_wait(td, sync));
}

/* -- requests that end together, after their tags are armed ----------------- */

/*
 * Five commits in one submission: four requests wait in its plug while the fifth is taken.
 * Their tags are idle, and QUIESCE_DEV takes those back, but not the requests.
 */
TEST_F(driver, requests_that_wait_to_end_together_outlive_the_stop_of_their_tags)
{
	struct testdev *td = &self->td;
	int clients[5], hold, i;
	struct far_server f;

	REQUIRE_FEATURE(td, UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE);
	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE;
	td->info.queue_depth = 8;
	ASSERT_EQ(0, far_go_live(&f, td, 0, 5));
	for (i = 0; i < 5; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_EQ(0, far_wait(&f));
	hold = td_hold_slot_after(td, TD_ANY, TD_SLOT_SERVER, TD_SLOT_BUSY, 4);
	ASSERT_LE(0, hold);
	eventfd_write(f.go, 1);
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	for (i = 0; i < 5; i++)
		EXPECT_FALSE(td_done(td, clients[i]));
	EXPECT_EQ(0, td_hold_release(hold));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(BYTES, td_wait(td, clients[i]));
	EXPECT_EQ(8, td_aside_join(&f.aside));
}

TEST_HARNESS_MAIN
