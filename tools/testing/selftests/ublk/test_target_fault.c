// SPDX-License-Identifier: GPL-2.0
/*
 * A server that does not do what it should, in each mode, and what the clients of
 * its disk see of that. (campaign_matrix goes through all there is.)
 */
#include "fixture.h"

#define SIZE	(64ULL << 20)
#define BYTES	(64U << 10)

FIXTURE(fault)
{
	struct testdev td;
	struct ublk_options opts;
	int fd;
	char path[32];
	char dev[32];
};

MODE_VARIANTS(fault);

FIXTURE_SETUP(fault)
{
	struct ublk_options *o = &self->opts;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	self->fd = memfd_create("fault", 0);
	snprintf(self->path, sizeof(self->path), "/proc/self/fd/%d", self->fd);
	ublk_options_init(o);
	o->target = &ublk_fault_target;
	o->file = self->path;
	o->size = SIZE;
	o->depth = 16;
	o->mode = variant->mode;
	o->flags = variant->flags | UBLK_F_NO_AUTO_PART_SCAN;
	o->fault.seed = 7;
	o->fault.begin = TD_AREA;
	o->fault.end = TD_AREA_END;
}

FIXTURE_TEARDOWN_PARENT(fault)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F(fault, error_of_the_server_is_the_clients)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(BYTES, 1);

	self->opts.fault.error = 100;
	ASSERT_EQ(0, td_spawn(td, &self->opts));
	EXPECT_EQ(-EIO, td_wait(td, td_read(td, buf, BYTES, TD_AREA)));
	EXPECT_EQ(-EIO, td_wait(td, td_write(td, buf, BYTES, TD_AREA, 0)));
	EXPECT_EQ(-EIO, td_wait(td, td_discard(td, TD_AREA, BYTES)));
	EXPECT_EQ(-EIO, td_wait(td, td_fsync(td)));
}

/* Each is asked for again and again, until a last block cannot be shortened. */
TEST_F(fault, short_results_end_in_whole_data)
{
	char *data = td_page_buf(BYTES, 1), *got = td_page_buf(BYTES, 0);
	struct testdev *td = &self->td;

	self->opts.fault.shorten = 100;
	ASSERT_EQ(0, td_spawn(td, &self->opts));
	ASSERT_EQ((int)BYTES, td_wait(td, td_write(td, data, BYTES, TD_AREA, 0)));
	ASSERT_EQ((int)BYTES, pread(self->fd, got, BYTES, TD_AREA));
	EXPECT_EQ(0, memcmp(data, got, BYTES));
	memset(got, 0, BYTES);
	ASSERT_EQ((int)BYTES, td_wait(td, td_read(td, got, BYTES, TD_AREA)));
	EXPECT_EQ(0, memcmp(data, got, BYTES));
}

/* One that came first stands back for one that comes later. */
TEST_F(fault, requests_are_answered_in_another_order)
{
	char *data = td_page_buf(BYTES, 1), *got = td_page_buf(BYTES, 0);
	struct testdev *td = &self->td;
	int first, second;

	self->opts.fault.reorder = 100;
	self->opts.fault.delay_ms = 1000 * TD_DEADLINE_MS;
	ASSERT_EQ(0, pwrite(self->fd, data, BYTES, TD_AREA) != BYTES);
	ASSERT_EQ(0, td_spawn(td, &self->opts));
	first = td_read(td, got, BYTES / 2, TD_AREA);
	td_settle(td, 50);
	ASSERT_FALSE(td_done(td, first));
	second = td_read(td, got + BYTES / 2, BYTES / 2, TD_AREA + BYTES / 2);
	ASSERT_EQ((int)BYTES / 2, td_wait(td, second));
	ASSERT_EQ((int)BYTES / 2, td_wait(td, first));
	EXPECT_EQ(0, memcmp(data, got, BYTES));
}

/* That it fails in the other modes of recovery is test_recovery_matrix's. */
TEST_F(fault, what_is_dropped_is_sent_to_the_next_server)
{
	char *data = td_page_buf(BYTES, 1), *got = td_page_buf(BYTES, 0);
	struct testdev *td = &self->td;
	int client;

	self->opts.fault.drop = 100;
	self->opts.flags |= UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE;
	ASSERT_EQ(0, td_spawn(td, &self->opts));
	client = td_write(td, data, BYTES, TD_AREA, 0);
	td_settle(td, 50);
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_FALSE(td_done(td, client));
	self->opts.fault.drop = 0;
	ASSERT_EQ(0, td_spawn_recovery(td, &self->opts));
	ASSERT_EQ((int)BYTES, td_wait(td, client));
	ASSERT_EQ((int)BYTES, pread(self->fd, got, BYTES, TD_AREA));
	EXPECT_EQ(0, memcmp(data, got, BYTES));
}

/* Nothing of this is lost, so nothing may be wrong. */
TEST_F_TIMEOUT(fault, fio_finds_every_block_behind_late_and_partial_answers, 120)
{
	int ret;

	self->opts.fault.begin = 0;
	self->opts.fault.delay = 10;
	self->opts.fault.reorder = 30;
	self->opts.fault.shorten = 30;
	self->opts.fault.delay_ms = 2;
	self->opts.threads = 2;
	ASSERT_EQ(0, td_spawn(&self->td, &self->opts));
	sprintf(self->dev, "/dev/ublkb%d", self->td.id);
	td_close_disk(&self->td);
	ret = td_fio(self->dev, "randwrite", "--do_verify=1");
	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

TEST_HARNESS_MAIN
