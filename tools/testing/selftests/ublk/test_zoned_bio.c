// SPDX-License-Identifier: GPL-2.0
/*
 * ZONE_APPEND from inside of the kernel, by the module ublk_append: what a server may say
 * of one that goes to a last zone that is smaller than the others.
 */
#include "fixture.h"
#include "testzoned.h"
#include "test_modules/ublk_append.h"

#define NODE		"/dev/ublk-append"
#define BYTES		8192U
#define SECTORS		(BYTES >> UBLK_SECTOR_SHIFT)
#define LAST		(TZ_NR - 1)
#define LAST_SECTORS	(TZ_SECTORS / 2)

FIXTURE(small_end)
{
	struct testdev td;
	int node;
};

static int go_live_with_small_end(struct testdev *td)
{
	int ret;

	tz_init(td);
	td->params.basic.dev_sectors -= TZ_SECTORS - LAST_SECTORS;
	tz_zones[LAST].len = LAST_SECTORS;
	tz_zones[LAST].capacity = LAST_SECTORS;
	ret = td_add_fetched(td);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

FIXTURE_SETUP(small_end)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_ZONED);
	if (td_module_load("ublk_append", NODE))
		SKIP(return, "no module ublk_append for this kernel");
	ASSERT_EQ(0, go_live_with_small_end(&self->td));
	self->node = open(NODE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->node);
}

FIXTURE_TEARDOWN_PARENT(small_end)
{
	EXPECT_EQ(0, td_reap(&self->td));
	EXPECT_EQ(0, td_module_unload("ublk_append"));
}

/* Sends one to zone @zone, answers that it went to @lba, and returns its result. */
static int append(struct testdev *td, int node, unsigned int zone, __u64 lba,
		  struct ublk_append *args)
{
	struct tz_call call;
	struct td_req req;
	int ret;

	*args = (struct ublk_append) {
		.disk = td->bdev, .bytes = BYTES, .sector = (__u64)zone * TZ_SECTORS,
	};
	ret = tz_ioctl_on(node, &call, UBLK_APPEND, args);
	if (!ret)
		ret = td_next(td, &req);
	if (ret)
		return ret;
	if (req.op != UBLK_IO_OP_ZONE_APPEND || req.start != zone * (__u64)TZ_SECTORS)
		return -EPROTO;
	ret = tz_answer_at(td, &req, BYTES, lba);
	return ret == TD_PENDING ? tz_wait(td, &call) : -EPROTO;
}

TEST_F(small_end, append_is_believed_up_to_the_end_of_the_last_zone)
{
	const __u64 start = (__u64)LAST * TZ_SECTORS, end = start + LAST_SECTORS;
	struct testdev *td = &self->td;
	struct ublk_append args;

	EXPECT_EQ(0, append(td, self->node, LAST, start, &args));
	EXPECT_EQ(start, args.sector);
	EXPECT_EQ(0, append(td, self->node, LAST, end - SECTORS, &args));
	EXPECT_EQ(end - SECTORS, args.sector);
	EXPECT_EQ(-EIO, append(td, self->node, LAST, end - SECTORS + 1, &args));
	EXPECT_EQ(-EIO, append(td, self->node, LAST, end, &args));
	EXPECT_EQ(-EIO, append(td, self->node, LAST, start + TZ_SECTORS - SECTORS, &args));
}

TEST_F(small_end, append_to_another_zone_goes_to_all_of_that)
{
	const __u64 start = (__u64)TZ_FIRST * TZ_SECTORS;
	struct testdev *td = &self->td;
	struct ublk_append args;

	EXPECT_EQ(0, append(td, self->node, TZ_FIRST, start + TZ_SECTORS - SECTORS, &args));
	EXPECT_EQ(start + TZ_SECTORS - SECTORS, args.sector);
	EXPECT_EQ(-EIO, append(td, self->node, TZ_FIRST, start + TZ_SECTORS - SECTORS + 1,
			       &args));
}

TEST_HARNESS_MAIN
