// SPDX-License-Identifier: GPL-2.0
/*
 * Zoned devices under control commands: what they have to ask for, which
 * parameters they may have, and what becomes of these.
 */
#include <sys/ioctl.h>
#include <linux/fs.h>

#include "fixture.h"
#include "testzoned.h"

TD_FIXTURE_WITH(driver, UBLK_F_ZONED, td_no_device);
TD_FIXTURE_WITH(added, UBLK_F_ZONED, tz_add);
TD_FIXTURE_WITH(fetched, UBLK_F_ZONED, tz_add_fetched);
TD_FIXTURE_WITH(live, UBLK_F_ZONED, tz_go_live);

/* -- ADD_DEV --------------------------------------------------------------- */

FIXTURE(wish)
{
	struct testdev td;
};

FIXTURE_VARIANT(wish)
{
	__u64 flags;
	int err;
};

TD_FIXTURE_OPS_WITH(wish, UBLK_F_ZONED, td_no_device);

FIXTURE_VARIANT_ADD(wish, nothing_else) {
	.flags = 0, .err = -EINVAL,
};

FIXTURE_VARIANT_ADD(wish, auto_buf_alone) {
	.flags = UBLK_F_AUTO_BUF_REG, .err = -EINVAL,
};

FIXTURE_VARIANT_ADD(wish, user_copy) {
	.flags = UBLK_F_USER_COPY, .err = 0,
};

FIXTURE_VARIANT_ADD(wish, zero_copy) {
	.flags = UBLK_F_SUPPORT_ZERO_COPY, .err = 0,
};

FIXTURE_VARIANT_ADD(wish, auto_buf_and_user_copy) {
	.flags = UBLK_F_AUTO_BUF_REG | UBLK_F_USER_COPY, .err = 0,
};

TEST_F(wish, add_of_a_zoned_device_needs_a_way_for_the_zones)
{
	struct testdev *td = &self->td;

	td->info.flags = UBLK_F_ZONED | variant->flags;
	ASSERT_EQ(variant->err, td_add(td));
	if (!variant->err) {
		EXPECT_EQ(UBLK_F_ZONED | variant->flags,
			  td->info.flags & (UBLK_F_ZONED | variant->flags));
	}
}

TEST_F(driver, refused_add_leaves_the_id_free)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_add(td));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV, 0));
	td->info.dev_id = td->id;
	td->info.flags = UBLK_F_ZONED;
	ASSERT_EQ(-EINVAL, td_add(td));
	td->info.flags = 0;
	EXPECT_EQ(0, td_add(td));
}

TEST_F(added, taken_id_is_told_before_what_is_missing)
{
	struct ublksrv_ctrl_dev_info info = self->td.info;
	struct testdev *td = &self->td;

	info.flags = UBLK_F_ZONED;
	EXPECT_EQ(-EEXIST, ublk_add_dev(&td->ctrl, &info));
}

/* -- SET_PARAMS ------------------------------------------------------------ */

/* One change to good parameters each, and what SET_PARAMS says to it. */
TD_FIXTURE_WITH(good, UBLK_F_ZONED, tz_add);
TD_FIXTURE_WITH(bad, UBLK_F_ZONED, tz_add);

FIXTURE_VARIANT(good)
{
	void (*change)(struct ublk_params *p);
};

FIXTURE_VARIANT(bad)
{
	void (*change)(struct ublk_params *p);
};

#define VALUE(fixture, name, statement)					\
static void change_##name(struct ublk_params *p) { statement; }	\
FIXTURE_VARIANT_ADD(fixture, name) { .change = change_##name }

#define GOOD(name, statement) VALUE(good, name, statement)
#define BAD(name, statement) VALUE(bad, name, statement)

static void without_capacity(struct ublk_params *p)
{
	p->basic.dev_sectors = 0;
	p->zoned.max_open_zones = 0;
	p->zoned.max_active_zones = 0;
}

/* The block layer cannot have more than there are bytes in one kmalloc(). */
#define MOST_ZONES	((4U << 20) - 1)
#define MOST_OPEN	((4U << 20) / sizeof(void *))

static void many_zones(struct ublk_params *p, __u64 nr)
{
	p->basic.chunk_sectors = 1;
	p->basic.dev_sectors = nr;
}

GOOD(unchanged, (void)p);
BAD(zoned_type_missing, p->types &= ~UBLK_PARAM_TYPE_ZONED);
BAD(zone_size_0, p->basic.chunk_sectors = 0);
BAD(zone_size_odd, p->basic.chunk_sectors = 3 << 10);
GOOD(zone_size_one_block, p->basic.chunk_sectors = 1);
BAD(zone_size_below_a_block, p->basic.chunk_sectors = 4;
	p->basic.logical_bs_shift = 12;
	p->basic.physical_bs_shift = 12);
BAD(zone_size_2_terabytes, p->basic.chunk_sectors = 1U << 31);
BAD(append_0, p->zoned.max_zone_append_sectors = 0);
GOOD(append_of_a_sector, p->zoned.max_zone_append_sectors = 1);
GOOD(append_larger_than_a_zone, p->zoned.max_zone_append_sectors = -1);
GOOD(open_all, p->zoned.max_open_zones = TZ_NR);
BAD(open_one_too_many, p->zoned.max_open_zones = TZ_NR + 1);
GOOD(active_all, p->zoned.max_active_zones = TZ_NR);
BAD(active_one_too_many, p->zoned.max_active_zones = TZ_NR + 1);
GOOD(smaller_last_zone, p->basic.dev_sectors -= TZ_SECTORS / 2);
BAD(smaller_last_zone_does_not_count,
	p->basic.dev_sectors -= TZ_SECTORS / 2;
	p->zoned.max_open_zones = TZ_NR);
GOOD(most_zones, many_zones(p, MOST_ZONES));
BAD(too_many_zones, many_zones(p, MOST_ZONES + 1));
BAD(far_too_many_zones, many_zones(p, 1ULL << 33));
GOOD(most_open_zones, many_zones(p, MOST_ZONES);
	p->zoned.max_open_zones = MOST_OPEN);
BAD(too_many_open_zones, many_zones(p, MOST_ZONES);
	p->zoned.max_open_zones = MOST_OPEN + 1);
GOOD(most_active_zones, many_zones(p, MOST_ZONES);
	p->zoned.max_active_zones = MOST_OPEN);
BAD(too_many_active_zones, many_zones(p, MOST_ZONES);
	p->zoned.max_active_zones = MOST_OPEN + 1);
GOOD(capacity_0, without_capacity(p));
BAD(capacity_0_with_an_open_zone, without_capacity(p);
	p->zoned.max_open_zones = 1);
BAD(bad_logical_shift, p->basic.logical_bs_shift = 8);
BAD(bad_discard, p->types |= UBLK_PARAM_TYPE_DISCARD);
BAD(bad_dma_align, p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
	p->dma.alignment = 12);
BAD(bad_segment, p->types |= UBLK_PARAM_TYPE_SEGMENT;
	p->seg.seg_boundary_mask = 12);
BAD(devt_too, p->types |= UBLK_PARAM_TYPE_DEVT);

TEST_F(good, set_takes_it)
{
	struct testdev *td = &self->td;

	variant->change(&td->params);
	EXPECT_EQ(0, td_set_params(td));
}

TEST_F(bad, set_refuses_it)
{
	struct testdev *td = &self->td;

	variant->change(&td->params);
	EXPECT_EQ(-EINVAL, td_set_params(td));
}

TEST_F(added, refused_zones_leave_no_parameters)
{
	struct ublk_params got = { .len = sizeof(got) };
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_set_params(td));
	td->params.zoned.max_zone_append_sectors = 0;
	ASSERT_EQ(-EINVAL, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &got));
	EXPECT_EQ(UBLK_PARAM_TYPE_DEVT, got.types);
}

/* -- what START_DEV makes of them ------------------------------------------ */

TEST_F(live, disk_has_the_limits_of_the_parameters)
{
	struct testdev *td = &self->td;
	char text[32];

	ASSERT_EQ(0, td_sysfs_string(td, "queue/zoned", text, sizeof(text)));
	EXPECT_STREQ("host-managed", text);
	EXPECT_EQ(TZ_SECTORS, td_sysfs_number(td, "queue/chunk_sectors"));
	EXPECT_EQ(TZ_NR, td_sysfs_number(td, "queue/nr_zones"));
	EXPECT_EQ(TZ_OPEN, td_sysfs_number(td, "queue/max_open_zones"));
	EXPECT_EQ(TZ_OPEN, td_sysfs_number(td, "queue/max_active_zones"));
	EXPECT_EQ(TD_BUF_BYTES, td_sysfs_number(td, "queue/zone_append_max_bytes"));
}

TEST_F(live, there_are_no_partitions)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-1, ioctl(td->bdev, BLKRRPART));
	EXPECT_EQ(EINVAL, errno);
}

static int live_with_partscan(struct testdev *td)
{
	td->info.flags &= ~UBLK_F_NO_AUTO_PART_SCAN;
	return tz_go_live(td);
}

TD_FIXTURE_WITH(scanned, UBLK_F_ZONED, live_with_partscan);

TEST_F(scanned, there_are_no_partitions_to_scan_for)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-1, ioctl(td->bdev, BLKRRPART));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(live, size_cannot_be_changed)
{
	struct testdev *td = &self->td;
	__u64 sectors = td->params.basic.dev_sectors;

	EXPECT_EQ(-EINVAL, td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, 2 * sectors));
	EXPECT_EQ(-EINVAL, td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, sectors));
	EXPECT_EQ((long)sectors, td_sysfs_number(td, "size"));
}

TEST_F(fetched, resize_without_a_disk_tells_of_that_first)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(-ENODEV, td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, TZ_SECTORS));
}

TEST_F(fetched, start_refuses_no_capacity)
{
	struct testdev *td = &self->td;

	without_capacity(&td->params);
	ASSERT_EQ(0, td_set_params(td));
	EXPECT_EQ(-ENODEV, td_start(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(fetched, start_refuses_more_open_zones_than_active_ones)
{
	struct testdev *td = &self->td;

	td->params.zoned.max_active_zones = TZ_OPEN - 1;
	ASSERT_EQ(0, td_set_params(td));
	EXPECT_EQ(-EINVAL, td_start(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(fetched, start_takes_a_smaller_last_zone)
{
	struct testdev *td = &self->td;

	td->params.basic.dev_sectors -= TZ_SECTORS / 2;
	tz_zones[TZ_NR - 1].len = TZ_SECTORS / 2;
	tz_zones[TZ_NR - 1].capacity = TZ_SECTORS / 2;
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, td_start(td));
	EXPECT_EQ(TZ_NR, td_sysfs_number(td, "queue/nr_zones"));
}

TEST_F(fetched, start_takes_a_rotational_disk)
{
	struct testdev *td = &self->td;

	td->params.basic.attrs |= UBLK_ATTR_ROTATIONAL;
	ASSERT_EQ(0, td_set_params(td));
	EXPECT_EQ(0, td_start(td));
}

TEST_F(fetched, start_again_after_stop_is_another_disk)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_start(td));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	EXPECT_EQ(TZ_NR, td_sysfs_number(td, "queue/nr_zones"));
}

TEST_HARNESS_MAIN
