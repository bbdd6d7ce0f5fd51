// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode: servers of several threads, killed while clients keep them busy, in
 * each recovery mode. No request is left behind, and what the mode promises holds.
 */
#include "fixture.h"

#define IOS		96
#define ROUNDS		5

FIXTURE(mode)
{
	struct testdev td;
	struct ublk_options opts;
};

FIXTURE_VARIANT(mode)
{
	__u64 flags;
	bool recovers;		/* a next server can take over */
	bool may_fail;		/* requests that the old one had may fail */
};

FIXTURE_VARIANT_ADD(mode, none) {
	.may_fail = true,
};

FIXTURE_VARIANT_ADD(mode, recovery) {
	.flags = UBLK_F_USER_RECOVERY,
	.recovers = true, .may_fail = true,
};

FIXTURE_VARIANT_ADD(mode, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.recovers = true,
};

FIXTURE_VARIANT_ADD(mode, fail_io) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	.recovers = true, .may_fail = true,
};

/* The modes in which a server can be sent home, and the disk stays. */
FIXTURE(quiesce)
{
	struct testdev td;
	struct ublk_options opts;
};

FIXTURE_VARIANT(quiesce)
{
	__u64 flags;
};

FIXTURE_VARIANT_ADD(quiesce, recovery) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE,
};

FIXTURE_VARIANT_ADD(quiesce, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
		 UBLK_F_QUIESCE,
};

static int spawn(struct testdev *td, struct ublk_options *opts, __u64 flags)
{
	ublk_options_init(opts);
	opts->size = TD_SIZE;
	opts->depth = 16;
	opts->queues = 2;
	opts->threads = 3;
	opts->buf_bytes = TD_BUF_BYTES;
	opts->flags = UBLK_F_NO_AUTO_PART_SCAN | UBLK_F_BATCH_IO | flags;
	return td_spawn(td, opts);
}

#define SPAWN_FIXTURE(name)						\
FIXTURE_SETUP(name)							\
{									\
	if (!td_init(&self->td))					\
		SKIP(return, "no /dev/ublk-control: load ublk_drv");	\
	REQUIRE_FEATURE(&self->td, variant->flags | UBLK_F_BATCH_IO);	\
	ASSERT_EQ(0, spawn(&self->td, &self->opts, variant->flags));	\
}									\
TD_FIXTURE_TEARDOWN(name)

SPAWN_FIXTURE(mode)
SPAWN_FIXTURE(quiesce)

static __u32 len_of(int i)
{
	return (1 + i % 16) * 4096;
}

static void send_load(struct testdev *td, int *clients, char *buf)
{
	int i;

	for (i = 0; i < IOS; i++) {
		__u64 offset = TD_AREA + i * 65536ULL;

		clients[i] = i % 3 ? td_write(td, buf, len_of(i), offset, 0) :
				     td_read(td, buf, len_of(i), offset);
	}
}

/* Each round ends with nothing to do: whoever has to wake up has to be woken. */
TEST_F(mode, no_request_is_forgotten)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(TD_BUF_BYTES, 1);
	int clients[IOS], round, i;

	for (round = 0; round < 4 * ROUNDS; round++) {
		send_load(td, clients, buf);
		for (i = 0; i < IOS; i++)
			ASSERT_EQ(len_of(i), td_wait(td, clients[i]));
	}
}

/* Sends the load and kills the server somewhere in the middle of it. */
static void kill_under_load(struct __test_metadata *_metadata, struct testdev *td,
			    int *clients, char *buf, int round)
{
	int after = round * IOS / ROUNDS;

	send_load(td, clients, buf);
	ASSERT_EQ(len_of(after), td_wait(td, clients[after]));
	ASSERT_EQ(0, td_kill_server(td));
}

TEST_F_TIMEOUT(mode, server_killed_under_load_leaves_nothing_behind, 120)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(TD_BUF_BYTES, 1);
	int clients[IOS], round, i, res, bad = 0;

	for (round = 0; round < (variant->recovers ? ROUNDS : 1); round++) {
		kill_under_load(_metadata, td, clients, buf, round);
		res = variant->recovers ? td_spawn_recovery(td, &self->opts) : 0;
		ASSERT_EQ(0, res);
		for (i = 0; i < IOS; i++) {
			res = td_wait(td, clients[i]);
			if (res == -ETIME ||
			    (res != (int)len_of(i) && !variant->may_fail))
				bad++;
		}
		ASSERT_EQ(0, bad) TH_LOG("round %d", round);
	}
}

/* Sent home, the server answers what it has, and nothing fails. */
TEST_F_TIMEOUT(quiesce, server_sent_home_under_load_ends_and_loses_nothing, 120)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(TD_BUF_BYTES, 1);
	int clients[IOS], round, i;

	for (round = 0; round < ROUNDS; round++) {
		send_load(td, clients, buf);
		i = round * IOS / ROUNDS;
		ASSERT_EQ(len_of(i), td_wait(td, clients[i]));
		ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, TD_DEADLINE_MS));
		ASSERT_EQ(0, td_wait_exit(td->server, TD_DEADLINE_MS));
		ASSERT_EQ(0, td_spawn_recovery(td, &self->opts));
		for (i = 0; i < IOS; i++)
			EXPECT_EQ(len_of(i), td_wait(td, clients[i]));
	}
}

TEST_HARNESS_MAIN
