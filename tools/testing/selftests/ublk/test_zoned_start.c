// SPDX-License-Identifier: GPL-2.0
/*
 * START_DEV of a zoned disk: it asks the server for all zones first. What it
 * asks, what answers it takes, and what ends it when none comes.
 */
#include "fixture.h"
#include "testzoned.h"

#define DEPTH	4

/* The server is there, START_DEV has been sent; the test answers what it asks. */
static int start_asking(struct testdev *td)
{
	int ret = tz_add_fetched(td);

	if (ret)
		return ret;
	tz_hold = true;
	return td_ctl_send(td, UBLK_U_CMD_START_DEV, getpid());
}

TD_FIXTURE_WITH(starting, UBLK_F_ZONED, start_asking);

/* -- questions ------------------------------------------------------------- */

TEST_F(starting, first_question_is_for_all_zones)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_IO_OP_REPORT_ZONES, req.op);
	EXPECT_EQ(0, req.start);
	EXPECT_EQ(TZ_NR, req.sectors);
	EXPECT_EQ(0, req.addr);
	tz_tell(td, &req, tz_zones, TZ_NR);
	ASSERT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(TZ_NR, td_sysfs_number(td, "queue/nr_zones"));
}

TEST_F(starting, state_is_live_while_it_asks)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

TEST_F(starting, there_is_no_disk_while_it_asks)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-ENOENT, td_sysfs_number(td, "size"));
}

TEST_F(starting, zone_of_length_0_ends_an_answer_and_the_rest_is_asked_for)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	tz_tell(td, &req, tz_zones, 10);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(10 * TZ_SECTORS, req.start);
	EXPECT_EQ(TZ_NR - 10, req.sectors);
	tz_tell(td, &req, tz_zones + 10, TZ_NR - 10);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(starting, zones_behind_one_of_length_0_do_not_count)
{
	struct blk_zone zones[TZ_NR];
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	memcpy(zones, tz_zones, sizeof(zones));
	zones[3].len = 0;
	tz_tell(td, &req, zones, TZ_NR);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(3 * TZ_SECTORS, req.start);
	tz_tell(td, &req, tz_zones + 3, TZ_NR - 3);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(starting, zones_may_come_one_by_one)
{
	struct testdev *td = &self->td;
	struct td_req req;
	unsigned int i;

	for (i = 0; i < TZ_NR; i++) {
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ(i * TZ_SECTORS, req.start);
		ASSERT_EQ(TZ_NR - i, req.sectors);
		tz_tell(td, &req, tz_zones + i, 1);
	}
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(starting, zones_may_be_written_in_parts)
{
	const char *bytes = (const char *)tz_zones;
	struct testdev *td = &self->td;
	const __u32 cut = 100;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(cut, td_bring(td, &req, bytes, cut, 0));
	ASSERT_EQ(sizeof(tz_zones) - cut,
		  td_bring(td, &req, bytes + cut, sizeof(tz_zones) - cut, cut));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(starting, zones_are_not_for_reading)
{
	struct testdev *td = &self->td;
	struct blk_zone zone;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EACCES, td_take(td, &req, &zone, sizeof(zone), 0));
}

TEST_F(starting, positive_result_is_a_success)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	tz_bring(td, &req, tz_zones, TZ_NR);
	td_answer(td, &req, 64);
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- limits ---------------------------------------------------------------- */

#define MANY		1024U
#define MANY_SECTORS	((__u32)(TD_SIZE >> UBLK_SECTOR_SHIFT) / MANY)

FIXTURE(limit)
{
	struct testdev td;
};

FIXTURE_VARIANT(limit)
{
	void (*change)(struct ublk_params *p);
	unsigned int at_once;	/* zones that one request has room for */
};

TD_FIXTURE_OPS_WITH(limit, UBLK_F_ZONED, tz_add);

static void small_requests(struct ublk_params *p)
{
	p->basic.max_sectors = 8;
}

static void one_small_segment(struct ublk_params *p)
{
	p->types |= UBLK_PARAM_TYPE_SEGMENT;
	p->seg.seg_boundary_mask = 4095;
	p->seg.max_segment_size = 4096;
	p->seg.max_segments = 1;
}

static void pages_only(struct ublk_params *p)
{
	p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
	p->dma.alignment = 4095;
	p->basic.virt_boundary_mask = 65535;
}

static void blocks_of_4k(struct ublk_params *p)
{
	p->basic.logical_bs_shift = 12;
	p->basic.physical_bs_shift = 12;
}

FIXTURE_VARIANT_ADD(limit, small_requests) {
	.change = small_requests, .at_once = 64,
};

FIXTURE_VARIANT_ADD(limit, one_small_segment) {
	.change = one_small_segment, .at_once = 64,
};

FIXTURE_VARIANT_ADD(limit, pages_only) {
	.change = pages_only, .at_once = MANY,
};

FIXTURE_VARIANT_ADD(limit, blocks_of_4k) {
	.change = blocks_of_4k, .at_once = MANY,
};

TEST_F(limit, questions_fit_the_requests_of_the_disk)
{
	static struct blk_zone zones[MANY];
	struct testdev *td = &self->td;
	unsigned int at = 0;
	struct td_req req;

	tz_make_zones(zones, MANY_SECTORS, MANY);
	td->params.basic.chunk_sectors = MANY_SECTORS;
	variant->change(&td->params);
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, td_attach(td));
	ASSERT_EQ(0, td_fetch_all(td));
	tz_hold = true;
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_START_DEV, getpid()));
	while (at < MANY) {
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ((__u64)at * MANY_SECTORS, req.start);
		ASSERT_GE(variant->at_once, req.sectors);
		ASSERT_LT(0, req.sectors);
		tz_tell(td, &req, zones + at, req.sectors);
		at += req.sectors;
	}
	ASSERT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(MANY, td_sysfs_number(td, "queue/nr_zones"));
}

/* -- the ways for the zones ------------------------------------------------ */

FIXTURE(way)
{
	struct testdev td;
};

FIXTURE_VARIANT(way)
{
	__u64 flags;
};

TD_FIXTURE_OPS_WITH(way, UBLK_F_ZONED | variant->flags, td_no_device);

FIXTURE_VARIANT_ADD(way, zero_copy) {
	.flags = UBLK_F_SUPPORT_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(way, auto_buf_and_zero_copy) {
	.flags = UBLK_F_SUPPORT_ZERO_COPY | UBLK_F_AUTO_BUF_REG,
};

FIXTURE_VARIANT_ADD(way, auto_buf_and_user_copy) {
	.flags = UBLK_F_USER_COPY | UBLK_F_AUTO_BUF_REG,
};

TEST_F(way, zones_come_in_the_way_of_the_data)
{
	struct testdev *td = &self->td;

	td->info.flags |= variant->flags;
	ASSERT_EQ(0, tz_go_live(td));
	EXPECT_EQ(TZ_NR, td_sysfs_number(td, "queue/nr_zones"));
}

/* -- answers that make no sense -------------------------------------------- */

FIXTURE(answer)
{
	struct testdev td;
};

FIXTURE_VARIANT(answer)
{
	void (*change)(struct blk_zone *zones);
};

TD_FIXTURE_OPS_WITH(answer, UBLK_F_ZONED, start_asking);

static void open_at(struct blk_zone *zone, __s64 offset)
{
	zone->cond = BLK_ZONE_COND_EXP_OPEN;
	zone->wp = zone->start + offset;
}

#define ANSWER(name, statement)						\
static void change_##name(struct blk_zone *zones) { statement; }	\
FIXTURE_VARIANT_ADD(answer, name) { .change = change_##name }

ANSWER(no_zone, zones[0].len = 0);
ANSWER(gap, memmove(&zones[20], &zones[21], (TZ_NR - 21) * sizeof(*zones)));
ANSWER(the_same_zone_twice, zones[20] = zones[19]);
ANSWER(zone_too_short, zones[20].len = TZ_SECTORS / 2);
ANSWER(zone_too_long, zones[20].len = TZ_SECTORS * 2);
ANSWER(last_zone_beyond_the_end, zones[TZ_NR - 1].len = TZ_SECTORS * 2);
ANSWER(zone_far_away, zones[20].start = ~0ULL << 20);
ANSWER(no_capacity, zones[20].capacity = 0);
ANSWER(capacity_beyond_the_zone, zones[20].capacity = TZ_SECTORS + 1);
ANSWER(write_pointer_before_the_zone, open_at(&zones[20], -1));
ANSWER(write_pointer_behind_the_zone, open_at(&zones[20], TZ_SECTORS + 1));
ANSWER(write_pointer_far_away, open_at(&zones[20], (1LL << 32) + 8));
ANSWER(unknown_type, zones[20].type = 99);
ANSWER(unknown_condition, zones[20].cond = 99);
ANSWER(conventional_with_a_write_pointer, zones[0].cond = BLK_ZONE_COND_EMPTY);

TEST_F(answer, start_fails_and_can_be_repeated)
{
	struct blk_zone zones[TZ_NR];
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	memcpy(zones, tz_zones, sizeof(zones));
	variant->change(zones);
	tz_tell(td, &req, zones, TZ_NR);
	ASSERT_EQ(-ENODEV, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
	tz_hold = false;
	EXPECT_EQ(0, td_start(td));
}

/* The first place and the one behind the last, in each condition that has one. */
TEST_F(starting, write_pointers_may_be_at_both_ends_of_their_zones)
{
	static const __u8 conds[] = {
		BLK_ZONE_COND_IMP_OPEN, BLK_ZONE_COND_EXP_OPEN, BLK_ZONE_COND_CLOSED,
	};
	struct testdev *td = &self->td;
	struct td_req req;
	unsigned int i;

	ASSERT_EQ(0, td_next(td, &req));
	for (i = 0; i < 2 * ARRAY_SIZE(conds); i++) {
		struct blk_zone *zone = &tz_zones[TZ_CONVENTIONAL + i];

		open_at(zone, i % 2 ? TZ_SECTORS : 0);
		zone->cond = conds[i / 2];
	}
	tz_tell(td, &req, tz_zones, TZ_NR);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(starting, start_fails_after_an_answer_without_zones)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	tz_tell(td, &req, tz_zones, 10);
	ASSERT_EQ(0, td_next(td, &req));
	tz_tell(td, &req, tz_zones, 0);
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(starting, error_of_the_server_is_that_of_start)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_answer(td, &req, -ENODATA);
	EXPECT_EQ(-ENODATA, td_ctl_wait(td));
	tz_hold = false;
	EXPECT_EQ(0, td_start(td));
}

/* -- no answer ------------------------------------------------------------- */

FIXTURE(end)
{
	struct testdev td;
};

FIXTURE_VARIANT(end)
{
	__u32 op;
};

TD_FIXTURE_OPS_WITH(end, UBLK_F_ZONED, start_asking);

FIXTURE_VARIANT_ADD(end, stop) { .op = UBLK_U_CMD_STOP_DEV };
FIXTURE_VARIANT_ADD(end, del) { .op = UBLK_U_CMD_DEL_DEV_ASYNC };

TEST_F(end, server_that_does_not_answer_is_sent_home)
{
	struct testdev *td = &self->td;
	struct td_req req;
	unsigned int tag;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl_beside(td, variant->op));
	EXPECT_EQ(-EBUSY, td_ctl_wait(td));
	for (tag = 0; tag < DEPTH; tag++) {
		if (tag == req.tag)
			continue;
		EXPECT_EQ(-ENODEV, td_wait_end(td, 0, tag));
	}
	EXPECT_EQ(-EACCES, td_bring(td, &req, tz_zones, sizeof(tz_zones), 0));
	EXPECT_EQ(-EBUSY, td_answer(td, &req, 0));
}

TEST_F(starting, stopped_start_can_be_repeated_by_the_next_server)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl_beside(td, UBLK_U_CMD_STOP_DEV));
	ASSERT_EQ(-EBUSY, td_ctl_wait(td));
	td_detach(td);
	tz_hold = false;
	EXPECT_EQ(0, td_serve_again(td));
}

TEST_F(starting, end_of_the_server_ends_start)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	EXPECT_EQ(-ENODEV, td_ctl_wait(td));
	tz_hold = false;
	EXPECT_EQ(0, td_serve_again(td));
}

static bool has_disk(void *arg)
{
	return td_sysfs_number(arg, "queue/nr_zones") == TZ_NR;
}

/* Its caller has gone, but nothing is wrong with the device. */
TEST_F(starting, interrupted_start_goes_on)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_ctl_cancel(td);
	ASSERT_EQ(-EINTR, td_ctl_wait(td));
	tz_tell(td, &req, tz_zones, TZ_NR);
	EXPECT_TRUE(td_poll_until(has_disk, td));
}

TEST_F(starting, interrupted_start_is_ended_by_stop)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_ctl_cancel(td);
	ASSERT_EQ(-EINTR, td_ctl_wait(td));
	EXPECT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(starting, parameters_cannot_be_changed_meanwhile)
{
	struct testdev *td = &self->td;
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EACCES, td_set_params(td));
	tz_tell(td, &req, tz_zones, TZ_NR);
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_HARNESS_MAIN
