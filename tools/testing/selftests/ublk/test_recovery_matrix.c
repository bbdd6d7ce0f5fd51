// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of each kind of request when its server dies, in each recovery
 * mode: it fails, or waits for the next server and is then done.
 */
#include <signal.h>

#include "fixture.h"

#define DEPTH	4
#define BYTES	4096

/* A request that the next server completes. */
#define SERVED	BYTES

FIXTURE(mode)
{
	struct testdev td;
	struct ublk_options opts;
};

/* What a client is told, by how far the server had got with its request. */
FIXTURE_VARIANT(mode)
{
	__u64 flags;
	int delivered;
	int undelivered;
	int later;	/* 0: the disk is gone, any error will do */
	int state;
};

/* A write that the server was told of before it had the data. */
FIXTURE(announced)
{
	struct testdev td;
};

FIXTURE_VARIANT(announced)
{
	__u64 flags;
	int delivered;
};

/*
 * Each mode, with one command per tag and with batches. These bring their data
 * with them: there are no announced writes.
 */
#define MODE_VARIANT(name, mode_flags, result, ...)			\
FIXTURE_VARIANT_ADD(mode, name) {					\
	.flags = mode_flags, .delivered = result, __VA_ARGS__		\
};									\
FIXTURE_VARIANT_ADD(mode, name ## _batch) {				\
	.flags = (mode_flags) | UBLK_F_BATCH_IO, .delivered = result,	\
	__VA_ARGS__							\
};									\
FIXTURE_VARIANT_ADD(announced, name) {					\
	.flags = mode_flags, .delivered = result,			\
}

MODE_VARIANT(none, 0,
	     -EIO, .undelivered = -EIO, .later = 0,
	     .state = UBLK_S_DEV_DEAD);

MODE_VARIANT(recovery, UBLK_F_USER_RECOVERY,
	     -EIO, .undelivered = SERVED, .later = SERVED,
	     .state = UBLK_S_DEV_QUIESCED);

MODE_VARIANT(reissue, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	     SERVED, .undelivered = SERVED, .later = SERVED,
	     .state = UBLK_S_DEV_QUIESCED);

MODE_VARIANT(fail_io, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	     -EIO, .undelivered = -EIO, .later = -EREMOTEIO,
	     .state = UBLK_S_DEV_FAIL_IO);

/* For a server that sits on what goes into the area. */
static void hold_options(struct ublk_options *opts, __u64 flags)
{
	ublk_options_init(opts);
	opts->target = &td_hold_target;
	opts->depth = DEPTH;
	opts->flags = UBLK_F_NO_AUTO_PART_SCAN | flags;
}

FIXTURE_SETUP(mode)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	hold_options(&self->opts, variant->flags);
}

FIXTURE_TEARDOWN_PARENT(mode)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* The next server, which answers everything: this process, if it can. */
static int recover(struct testdev *td, bool batch)
{
	struct ublk_options opts;

	if (!batch) {
		td->answer_all = true;
		return td_recover(td);
	}
	ublk_options_init(&opts);
	return td_spawn_recovery(td, &opts);
}

/*
 * What the client is told. If it is not to fail, then it must not end before
 * the next server is there.
 */
static int outcome_of(struct testdev *td, int client, int expected, bool batch)
{
	int ret;

	if (expected < 0)
		return td_wait(td, client);
	if (!td_wait_state(td, UBLK_S_DEV_QUIESCED))
		return -ETIME;
	td_settle(td, 100);
	if (td_done(td, client))
		return -EALREADY;
	ret = recover(td, batch);
	return ret ? ret : td_wait(td, client);
}

#define IS_BATCH	(variant->flags & UBLK_F_BATCH_IO)
#define outcome(td, client, expected)					\
	outcome_of(td, client, expected, IS_BATCH)

TEST_F(mode, device_is_in_the_state_of_its_mode)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_TRUE(td_wait_state(td, variant->state));
}

TEST_F(mode, device_gets_there_with_requests_of_every_kind)
{
	struct testdev *td = &self->td;
	int i;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	for (i = 0; i < DEPTH / 2; i++)
		td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_EQ(0, td_wait_held(td, DEPTH / 2));
	ASSERT_EQ(0, td_freeze_server(td));
	for (; i < 3 * DEPTH; i++)
		td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_TRUE(td_wait_state(td, variant->state));
	/* No client shall hold this process up. */
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
}

/* -- delivered, not committed ---------------------------------------------- */

TEST_F(mode, delivered_read_ends_as_its_mode_says)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->delivered, outcome(td, client, variant->delivered));
}

TEST_F(mode, delivered_write_ends_as_its_mode_says)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->delivered, outcome(td, client, variant->delivered));
}

TEST_F(mode, delivered_discard_ends_as_its_mode_says)
{
	struct testdev *td = &self->td;
	int client;
	int expected = variant->delivered == SERVED ? 0 : variant->delivered;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	client = td_discard(td, TD_AREA, 65536);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(expected, outcome(td, client, expected));
}

TEST_F(mode, delivered_flush_ends_as_its_mode_says)
{
	int expected = variant->delivered == SERVED ? 0 : variant->delivered;
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	client = td_fsync(td);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(expected, outcome(td, client, expected));
}

TEST_F(mode, delivered_requests_of_all_tags_end_alike)
{
	struct testdev *td = &self->td;
	int clients[DEPTH], i;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	for (i = 0; i < DEPTH; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES,
				     TD_AREA + i * 65536);
	ASSERT_EQ(0, td_wait_held(td, DEPTH));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->delivered,
		  outcome(td, clients[0], variant->delivered));
	for (i = 1; i < DEPTH; i++)
		EXPECT_EQ(variant->delivered, td_wait(td, clients[i]));
}

/* -- started, not delivered ------------------------------------------------ */

/* The server is stopped first, so that nothing is delivered to it any more. */
TEST_F(mode, undelivered_read_ends_as_its_mode_says)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_freeze_server(td));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_TRUE(td_wait_inflight(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->undelivered,
		  outcome(td, client, variant->undelivered));
}

TEST_F(mode, undelivered_write_ends_as_its_mode_says)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_freeze_server(td));
	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	ASSERT_TRUE(td_wait_inflight(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->undelivered,
		  outcome(td, client, variant->undelivered));
}

TEST_F(mode, undelivered_requests_are_told_from_delivered_ones)
{
	struct testdev *td = &self->td;
	int seen, unseen;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	seen = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_EQ(0, td_wait_held(td, 1));
	ASSERT_EQ(0, td_freeze_server(td));
	unseen = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + 65536);
	ASSERT_TRUE(td_wait_inflight(td, 2));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(variant->undelivered,
		  outcome(td, unseen, variant->undelivered));
	EXPECT_EQ(variant->delivered, td_wait(td, seen));
}

/* -- NEED_GET_DATA --------------------------------------------------------- */

FIXTURE_SETUP(announced)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_NEED_GET_DATA | variant->flags);
}

TD_FIXTURE_TEARDOWN(announced)

/*
 * Here the server is the test's own process, which closes and lives on. It was
 * told of the write, and has asked for the data or not yet.
 */
static int announced_write(struct testdev *td, struct td_req *req, __u64 flags)
{
	int client, ret;

	td->info.flags |= UBLK_F_NEED_GET_DATA | flags;
	ret = td_go_live(td);
	if (ret)
		return ret;
	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	ret = td_next(td, req);
	if (!ret && req->res != UBLK_IO_RES_NEED_GET_DATA)
		ret = -EINVAL;
	return ret ? ret : client;
}

TEST_F(announced, write_whose_data_was_not_taken_counts_as_delivered)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = announced_write(td, &req, variant->flags);
	ASSERT_LE(0, client);
	td_detach(td);
	EXPECT_EQ(variant->delivered, outcome(td, client, variant->delivered));
}

TEST_F(announced, write_whose_data_was_taken_counts_as_delivered)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = announced_write(td, &req, variant->flags);
	ASSERT_LE(0, client);
	ASSERT_EQ(TD_PENDING, td_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, req.queue,
					req.tag, 0, (unsigned long)req.buf));
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, req.res);
	td_detach(td);
	EXPECT_EQ(variant->delivered, outcome(td, client, variant->delivered));
}

/* -- sent while there is no server ----------------------------------------- */

#define outcome_later(td, client)					\
	(variant->later ? outcome(td, client, variant->later) : td_wait(td, client))

/* A disk that is gone ends where it begins: there, a read may also return 0. */
TEST_F(mode, read_sent_without_a_server_waits_or_fails)
{
	struct testdev *td = &self->td;
	int client, res;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, variant->state));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	res = outcome_later(td, client);
	EXPECT_TRUE(variant->later ? res == variant->later : res <= 0)
		TH_LOG("READ: %d", res);
}

TEST_F(mode, write_sent_without_a_server_waits_or_fails)
{
	struct testdev *td = &self->td;
	int client, res;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, variant->state));
	client = td_write(td, td_page_buf(BYTES, 1), BYTES, TD_AREA, 0);
	res = outcome_later(td, client);
	EXPECT_TRUE(variant->later ? res == variant->later : res < 0)
		TH_LOG("WRITE: %d", res);
}

/* More than there are tags: some wait for one at the death. */
TEST_F(mode, reads_that_wait_for_a_tag_all_end)
{
	enum { READS = 6 * DEPTH };
	struct testdev *td = &self->td;
	int clients[READS], i, res;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_freeze_server(td));
	for (i = 0; i < READS; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES,
				     TD_AREA + i * 65536);
	ASSERT_TRUE(td_wait_inflight(td, DEPTH));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, variant->state));
	ASSERT_EQ(0, variant->later == SERVED ? recover(td, IS_BATCH) : 0);
	for (i = 0; i < READS; i++) {
		res = td_wait(td, clients[i]);
		EXPECT_TRUE(variant->later == SERVED ? res == SERVED : res <= 0)
			TH_LOG("read %d: %d", i, res);
	}
}

/* -- modes in which requests wait for the next server ---------------------- */

FIXTURE(holding)
{
	struct testdev td;
	struct ublk_options opts;
};

FIXTURE_VARIANT(holding)
{
	__u64 flags;
};

FIXTURE_VARIANT_ADD(holding, recovery) {
	.flags = UBLK_F_USER_RECOVERY,
};

FIXTURE_VARIANT_ADD(holding, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
};

FIXTURE_SETUP(holding)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	hold_options(&self->opts, variant->flags);
}

FIXTURE_TEARDOWN_PARENT(holding)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F(holding, stop_fails_what_waits_for_a_server)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	td_settle(td, 100);
	ASSERT_FALSE(td_done(td, client));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(holding, delete_fails_what_waits_for_a_server)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	td_settle(td, 100);
	ASSERT_FALSE(td_done(td, client));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

/* What was requeued at the death is held in the same way as what came later. */
TEST_F(holding, stop_fails_what_was_taken_back_at_the_death)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ(0, td_freeze_server(td));
	client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ASSERT_TRUE(td_wait_inflight(td, 1));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_HARNESS_MAIN
