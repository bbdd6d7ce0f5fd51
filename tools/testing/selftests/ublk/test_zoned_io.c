// SPDX-License-Identifier: GPL-2.0
/*
 * A live zoned disk: reports, operations on zones, data; and what becomes of them
 * when the server or the caller goes.
 */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

#include "fixture.h"
#include "testzoned.h"

static int live_for_the_test(struct testdev *td)
{
	int ret = tz_go_live(td);

	tz_hold = true;
	return ret;
}

static int live_with(struct testdev *td, __u64 recovery)
{
	td->info.flags |= recovery;
	return live_for_the_test(td);
}

static int live_recoverable(struct testdev *td)
{
	return live_with(td, UBLK_F_USER_RECOVERY);
}

static int live_reissue(struct testdev *td)
{
	return live_with(td, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
}

static int live_fail_io(struct testdev *td)
{
	return live_with(td, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO);
}

TD_FIXTURE_WITH(live, UBLK_F_ZONED, live_for_the_test);
TD_FIXTURE_WITH(recoverable, UBLK_F_ZONED, live_recoverable);
TD_FIXTURE_WITH(reissue, UBLK_F_ZONED, live_reissue);
TD_FIXTURE_WITH(fail_io, UBLK_F_ZONED, live_fail_io);

/* -- reports --------------------------------------------------------------- */

/* A report that the server has been asked for, and has to answer. */
static int report_arrived(struct testdev *td, struct tz_call *call, struct td_req *req,
			  unsigned int first, unsigned int nr)
{
	int ret = tz_report(td, call, first, nr);

	return ret ? ret : td_next(td, req);
}

TEST_F(live, report_brings_what_the_server_says)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	tz_zones[7].wp += 8;
	tz_zones[7].cond = BLK_ZONE_COND_IMP_OPEN;
	ASSERT_EQ(0, report_arrived(td, &call, &req, 0, TZ_NR));
	EXPECT_EQ(UBLK_IO_OP_REPORT_ZONES, req.op);
	EXPECT_EQ(TZ_NR, req.sectors);
	tz_tell(td, &req, tz_zones, TZ_NR);
	ASSERT_EQ(0, tz_wait(td, &call));
	ASSERT_EQ(TZ_NR, tz_nr_reported(&call));
	EXPECT_EQ(0, memcmp(tz_zones, tz_reported(&call), sizeof(tz_zones)));
}

TEST_F(live, report_asks_for_what_is_wanted)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 20, 3));
	EXPECT_EQ(20 * TZ_SECTORS, req.start);
	EXPECT_EQ(3, req.sectors);
	tz_tell(td, &req, &tz_zones[20], 3);
	ASSERT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(3, tz_nr_reported(&call));
}

TEST_F(live, report_ends_with_the_disk)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, TZ_NR - 2, 100));
	EXPECT_EQ(2, req.sectors);
	tz_tell(td, &req, &tz_zones[TZ_NR - 2], 2);
	ASSERT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(2, tz_nr_reported(&call));
}

TEST_F(live, report_from_inside_a_zone_begins_with_that_zone)
{
	struct {
		struct blk_zone_report report;
		struct blk_zone zone;
	} arg = {
		.report = { .sector = 20 * TZ_SECTORS + 5, .nr_zones = 1 },
	};
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_ioctl(td, &call, BLKREPORTZONE, &arg));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(20 * TZ_SECTORS, req.start);
	tz_tell(td, &req, &tz_zones[20], 1);
	ASSERT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(20 * TZ_SECTORS, arg.zone.start);
}

TEST_F(live, short_report_is_continued)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 20, 5));
	tz_tell(td, &req, &tz_zones[20], 2);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(22 * TZ_SECTORS, req.start);
	EXPECT_EQ(3, req.sectors);
	tz_tell(td, &req, &tz_zones[22], 3);
	ASSERT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(0, memcmp(&tz_zones[20], tz_reported(&call), 5 * sizeof(tz_zones[0])));
}

TEST_F(live, report_without_a_zone_fails)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 20, 5));
	tz_tell(td, &req, NULL, 0);
	EXPECT_EQ(-ENODEV, tz_wait(td, &call));
}

TEST_F(live, report_of_other_zones_than_asked_for_fails)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 20, 5));
	tz_tell(td, &req, &tz_zones[21], 5);
	EXPECT_EQ(-ENODEV, tz_wait(td, &call));
}

TEST_F(live, report_has_the_error_of_the_server)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 0, TZ_NR));
	td_answer(td, &req, -ENODATA);
	EXPECT_EQ(-ENODATA, tz_wait(td, &call));
}

TEST_F(live, stop_lets_a_report_end)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 0, TZ_NR));
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_STOP_DEV, 0));
	td_settle(td, 50);
	tz_tell(td, &req, tz_zones, TZ_NR);
	EXPECT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- a report whose caller or server goes ---------------------------------- */

static pid_t fork_reporter(struct testdev *td)
{
	struct blk_zone_report *report = calloc(1, sizeof(*report) +
						TZ_NR * sizeof(struct blk_zone));
	pid_t pid;

	report->nr_zones = TZ_NR;
	pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(ioctl(td->bdev, BLKREPORTZONE, report) ? 1 : 0);
}

TEST_F(live, killed_reporter_does_not_wait_for_the_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	pid_t pid;

	pid = fork_reporter(td);
	ASSERT_EQ(0, td_next(td, &req));
	kill(pid, SIGKILL);
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_EQ(sizeof(tz_zones), td_bring(td, &req, tz_zones, sizeof(tz_zones), 0));
	EXPECT_EQ(TD_PENDING, td_answer(td, &req, 0));
}

TEST_F(live, server_may_go_after_a_killed_reporter)
{
	struct testdev *td = &self->td;
	struct td_req req;
	pid_t pid;

	pid = fork_reporter(td);
	ASSERT_EQ(0, td_next(td, &req));
	kill(pid, SIGKILL);
	ASSERT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	td_detach(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_DEAD));
}

TEST_F(live, report_fails_when_its_server_goes)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 0, TZ_NR));
	td_detach(td);
	EXPECT_EQ(-EIO, tz_wait(td, &call));
}

TEST_F(recoverable, report_that_was_seen_fails_when_its_server_goes)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 0, TZ_NR));
	td_detach(td);
	EXPECT_EQ(-EIO, tz_wait(td, &call));
}

TEST_F(reissue, next_server_is_asked_again)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, report_arrived(td, &call, &req, 20, 5));
	td_detach(td);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_REPORT_ZONES, req.op);
	EXPECT_EQ(20 * TZ_SECTORS, req.start);
	EXPECT_EQ(5, req.sectors);
	tz_tell(td, &req, &tz_zones[20], 5);
	EXPECT_EQ(0, tz_wait(td, &call));
}

TEST_F(recoverable, report_waits_for_the_next_server)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, tz_report(td, &call, 0, TZ_NR));
	ASSERT_TRUE(tz_wait_asleep(&call.tid));
	EXPECT_FALSE(tz_done(&call));
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	tz_tell(td, &req, tz_zones, TZ_NR);
	EXPECT_EQ(0, tz_wait(td, &call));
}

TEST_F(recoverable, reporter_that_waits_for_a_server_can_be_killed)
{
	struct testdev *td = &self->td;
	pid_t pid;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	pid = fork_reporter(td);
	ASSERT_TRUE(tz_wait_asleep(&pid));
	kill(pid, SIGKILL);
	EXPECT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
}

TEST_F(recoverable, stop_fails_a_report_that_waits_for_a_server)
{
	struct testdev *td = &self->td;
	struct tz_call call;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, tz_report(td, &call, 0, TZ_NR));
	ASSERT_TRUE(tz_wait_asleep(&call.tid));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-EIO, tz_wait(td, &call));
}

TEST_F(fail_io, report_fails_without_a_server)
{
	struct testdev *td = &self->td;
	struct tz_call call;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_FAIL_IO));
	ASSERT_EQ(0, tz_report(td, &call, 0, TZ_NR));
	EXPECT_EQ(-EREMOTEIO, tz_wait(td, &call));
}

TEST_F(recoverable, recovery_asks_for_no_zones)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_detach(td);
	ASSERT_EQ(0, td_recover(td));
	EXPECT_FALSE(td_peek(td, &req));
}

/* -- operations on zones --------------------------------------------------- */

FIXTURE(operation)
{
	struct testdev td;
};

FIXTURE_VARIANT(operation)
{
	unsigned long call;
	__u8 op;
};

TD_FIXTURE_OPS_WITH(operation, UBLK_F_ZONED, live_for_the_test);

FIXTURE_VARIANT_ADD(operation, open) {
	.call = BLKOPENZONE, .op = UBLK_IO_OP_ZONE_OPEN,
};

FIXTURE_VARIANT_ADD(operation, close) {
	.call = BLKCLOSEZONE, .op = UBLK_IO_OP_ZONE_CLOSE,
};

FIXTURE_VARIANT_ADD(operation, finish) {
	.call = BLKFINISHZONE, .op = UBLK_IO_OP_ZONE_FINISH,
};

FIXTURE_VARIANT_ADD(operation, reset) {
	.call = BLKRESETZONE, .op = UBLK_IO_OP_ZONE_RESET,
};

TEST_F(operation, names_the_zone_and_has_no_sectors)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_manage(td, &call, variant->call, TZ_FIRST, 1));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(variant->op, req.op);
	EXPECT_EQ(TZ_FIRST * TZ_SECTORS, req.start);
	EXPECT_EQ(0, req.sectors);
	td_answer(td, &req, 0);
	EXPECT_EQ(0, tz_wait(td, &call));
}

TEST_F(operation, has_no_data)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_manage(td, &call, variant->call, TZ_FIRST, 1));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EINVAL, td_take(td, &req, req.buf, 512, 0));
	EXPECT_EQ(-EINVAL, td_bring(td, &req, req.buf, 512, 0));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, tz_wait(td, &call));
}

TEST_F(operation, has_the_error_of_the_server)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_manage(td, &call, variant->call, TZ_FIRST, 1));
	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, -EOVERFLOW);
	EXPECT_EQ(-EOVERFLOW, tz_wait(td, &call));
}

TEST_F(operation, commit_has_no_address)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_manage(td, &call, variant->call, TZ_FIRST, 1));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EINVAL, td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0, req.tag,
				     0, req.start));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, tz_wait(td, &call));
}

TEST_F(operation, comes_for_each_zone)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;
	unsigned int i;
	__u32 seen = 0;

	ASSERT_EQ(0, tz_manage(td, &call, variant->call, TZ_FIRST, 3));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ(variant->op, req.op);
		seen |= 1U << (req.start / TZ_SECTORS - TZ_FIRST);
		td_answer(td, &req, 0);
	}
	EXPECT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(7, seen);
}

TEST_F(live, reset_of_the_whole_disk_is_one_operation)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, tz_manage(td, &call, BLKRESETZONE, 0, TZ_NR));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_ZONE_RESET_ALL, req.op);
	EXPECT_EQ(0, req.start);
	EXPECT_EQ(0, req.sectors);
	td_answer(td, &req, 0);
	EXPECT_EQ(0, tz_wait(td, &call));
}

/* -- data ------------------------------------------------------------------ */

TEST_F(live, write_goes_to_the_write_pointer)
{
	char *data = td_page_buf(8192, 1), *mine = td_page_buf(8192, 0);
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, data, 8192);
	ASSERT_LE(0, client);
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(TD_AREA >> 9, req.start);
	EXPECT_EQ(16, req.sectors);
	EXPECT_EQ(8192, td_take(td, &req, mine, 8192, 0));
	EXPECT_EQ(0, memcmp(mine, data, 8192));
	td_answer(td, &req, 8192);
	EXPECT_EQ(8192, td_wait(td, client));
}

TEST_F(live, rest_of_a_short_write_comes_before_the_next_write)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int first, second;

	first = td_write_arrived(td, &req, td_page_buf(8192, 1), 8192);
	ASSERT_LE(0, first);
	second = td_write(td, td_page_buf(8192, 1), 8192, TD_AREA + 8192, 0);
	td_answer(td, &req, 512);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + 512) >> 9, req.start);
	td_answer(td, &req, 8192 - 512);
	EXPECT_EQ(8192, td_wait(td, first));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ((TD_AREA + 8192) >> 9, req.start);
	td_answer(td, &req, 8192);
	EXPECT_EQ(8192, td_wait(td, second));
}

TEST_F(live, last_sectors_of_a_zone_can_be_written_in_parts)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client, i;

	for (i = 0; i < (int)(TZ_BYTES / TD_BUF_BYTES); i++) {
		client = td_write(td, td_page_buf(TD_BUF_BYTES, 1), TD_BUF_BYTES,
				  TD_AREA + i * TD_BUF_BYTES, 0);
		ASSERT_EQ(0, td_next(td, &req));
		td_answer(td, &req, 4096);
		ASSERT_EQ(0, td_next(td, &req));
		td_answer(td, &req, TD_BUF_BYTES - 4096);
		ASSERT_EQ(TD_BUF_BYTES, td_wait(td, client));
	}
}

TEST_F(live, write_that_failed_leaves_the_zone_usable)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;
	int client;

	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	td_answer(td, &req, -EIO);
	ASSERT_EQ(-EIO, td_wait(td, client));
	/* The block layer wants to know where the zone stands. */
	tz_hold = false;
	ASSERT_EQ(0, tz_report(td, &call, TZ_FIRST, 1));
	ASSERT_EQ(0, tz_wait(td, &call));
	client = td_write_arrived(td, &req, td_page_buf(4096, 1), 4096);
	ASSERT_LE(0, client);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(recoverable, write_waits_for_the_next_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client;

	td_detach(td);
	client = td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_HARNESS_MAIN
