// SPDX-License-Identifier: GPL-2.0
/*
 * What START_DEV makes of the parameters: each variant changes some and lists
 * what the disk then shows in sysfs.
 */
#include "fixture.h"

#define MAX_SHOWN	10

struct shown {
	const char *attr;
	long value;
};

FIXTURE(disk)
{
	struct testdev td;
};

FIXTURE_VARIANT(disk)
{
	void (*change)(struct testdev *td);
	struct shown shown[MAX_SHOWN];
};

TD_FIXTURE_OPS(disk, td_no_device);

/* SHOWS(name, { change; }, { attr, value }, ...) */
#define SHOWS(name, statement, ...)					\
static void change_##name(struct testdev *td)				\
{									\
	struct ublk_params *p = &td->params;				\
									\
	(void)p;							\
	statement							\
}									\
FIXTURE_VARIANT_ADD(disk, name)						\
{									\
	.change = change_##name, .shown = { __VA_ARGS__ },		\
}

static void add_discard(struct ublk_params *p)
{
	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard.discard_granularity = 8192;
	p->discard.discard_alignment = 4096;
	p->discard.max_discard_sectors = 2048;
	p->discard.max_write_zeroes_sectors = 512;
	p->discard.max_discard_segments = 1;
}

SHOWS(plain, {},
	{ "size", TD_SIZE >> 9 },
	{ "ro", 0 },
	{ "queue/logical_block_size", 512 },
	{ "queue/physical_block_size", 512 },
	{ "queue/rotational", 0 },
	{ "queue/fua", 0 },
	{ "queue/iostats", 1 },
	{ "queue/max_hw_sectors_kb", TD_BUF_BYTES >> 10 },
	{ "queue/max_sectors_kb", TD_BUF_BYTES >> 10 });

SHOWS(plain_segments, {},
	{ "queue/max_segments", 65535 },
	{ "queue/max_segment_size", 4294967295 },
	{ "queue/dma_alignment", 3 },
	{ "queue/virt_boundary_mask", 0 },
	{ "queue/chunk_sectors", 0 });

SHOWS(without_discard, {},
	{ "queue/discard_max_bytes", 0 },
	{ "queue/write_zeroes_max_bytes", 0 });

SHOWS(blocks_of_4k, {
		p->basic.logical_bs_shift = 12;
		p->basic.physical_bs_shift = 14;
	},
	{ "queue/logical_block_size", 4096 },
	{ "queue/physical_block_size", 16384 },
	{ "queue/minimum_io_size", 16384 });

SHOWS(minimum_io_size, { p->basic.io_min_shift = 13; },
	{ "queue/minimum_io_size", 8192 });

SHOWS(optimal_io_size, { p->basic.io_opt_shift = 16; },
	{ "queue/optimal_io_size", 65536 });

SHOWS(optimal_below_physical, {
		p->basic.physical_bs_shift = 12;
		p->basic.io_opt_shift = 9;
	},
	{ "queue/optimal_io_size", 0 });

SHOWS(max_sectors_off_the_block, {
		p->basic.logical_bs_shift = 12;
		p->basic.physical_bs_shift = 12;
		p->basic.max_sectors = 71;
	},
	{ "queue/max_hw_sectors_kb", 32 });

SHOWS(large_requests, {
		td->info.max_io_buf_bytes = 32U << 20;
		p->basic.max_sectors = 65536;
	},
	{ "queue/max_hw_sectors_kb", 32768 },
	{ "queue/max_sectors_kb", 4096 });

SHOWS(large_requests_wanted, {
		td->info.max_io_buf_bytes = 32U << 20;
		p->basic.max_sectors = 65536;
		p->basic.io_opt_shift = 23;
	},
	{ "queue/max_sectors_kb", 8192 });

/* Requests that other modes can have, and those that user copy has positions for. */
SHOWS(huge_requests, {
		td->info.max_io_buf_bytes = 64U << 20;
		p->basic.max_sectors = 131072;
	},
	{ "queue/max_hw_sectors_kb", 65536 });

SHOWS(huge_requests_with_user_copy, {
		td->info.flags |= UBLK_F_USER_COPY;
		td->info.max_io_buf_bytes = 64U << 20;
		p->basic.max_sectors = 131072;
	},
	{ "queue/max_hw_sectors_kb", 32768 });

SHOWS(chunks, { p->basic.chunk_sectors = 64; },
	{ "queue/chunk_sectors", 64 });

SHOWS(virt_boundary, { p->basic.virt_boundary_mask = 4095; },
	{ "queue/virt_boundary_mask", 4095 });

SHOWS(fua, { p->basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA; },
	{ "queue/fua", 1 });

SHOWS(fua_without_cache, { p->basic.attrs = UBLK_ATTR_FUA; },
	{ "queue/fua", 0 });

SHOWS(rotational, { p->basic.attrs = UBLK_ATTR_ROTATIONAL; },
	{ "queue/rotational", 1 });

SHOWS(read_only, { p->basic.attrs = UBLK_ATTR_READ_ONLY; },
	{ "ro", 1 });

SHOWS(no_capacity, { p->basic.dev_sectors = 0; },
	{ "size", 0 });

SHOWS(discard, { add_discard(p); },
	{ "queue/discard_granularity", 8192 },
	{ "queue/discard_max_hw_bytes", 1 << 20 },
	{ "queue/write_zeroes_max_bytes", 512 << 9 });

SHOWS(discard_granularity_below_physical, {
		add_discard(p);
		p->basic.physical_bs_shift = 14;
	},
	{ "queue/discard_granularity", 16384 });

SHOWS(write_zeroes_only, {
		add_discard(p);
		p->discard.max_discard_sectors = 0;
	},
	{ "queue/discard_max_hw_bytes", 0 },
	{ "queue/discard_granularity", 0 },
	{ "queue/write_zeroes_max_bytes", 512 << 9 });

SHOWS(dma_alignment, {
		p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
		p->dma.alignment = 4095;
	},
	{ "queue/dma_alignment", 4095 });

SHOWS(dma_alignment_0, { p->types |= UBLK_PARAM_TYPE_DMA_ALIGN; },
	{ "queue/dma_alignment", 511 });

SHOWS(segments, {
		p->types |= UBLK_PARAM_TYPE_SEGMENT;
		p->seg.seg_boundary_mask = 65535;
		p->seg.max_segment_size = 32768;
		p->seg.max_segments = 17;
	},
	{ "queue/max_segments", 17 },
	{ "queue/max_segment_size", 32768 });

SHOWS(segments_0, {
		p->types |= UBLK_PARAM_TYPE_SEGMENT;
		p->seg.seg_boundary_mask = 65535;
		p->seg.max_segment_size = 32768;
	},
	{ "queue/max_segments", 128 });

TEST_F(disk, sysfs_shows_the_limits)
{
	struct testdev *td = &self->td;
	const struct shown *s;

	variant->change(td);
	ASSERT_EQ(0, td_add_fetched(td));
	ASSERT_EQ(0, td_start(td));
	for (s = variant->shown; s->attr; s++) {
		EXPECT_EQ(s->value, td_sysfs_number(td, s->attr))
			TH_LOG("%s", s->attr);
	}
}

/* -- what is no number ----------------------------------------------------- */

TD_FIXTURE(driver, td_no_device);

static int start_with_attrs(struct testdev *td, __u32 attrs)
{
	int ret;

	td->params.basic.attrs = attrs;
	ret = td_add_fetched(td);
	return ret ? ret : td_start(td);
}

TEST_F(driver, disk_without_a_cache_writes_through)
{
	char text[64];

	ASSERT_EQ(0, start_with_attrs(&self->td, 0));
	ASSERT_EQ(0, td_sysfs_string(&self->td, "queue/write_cache", text,
				     sizeof(text)));
	EXPECT_STREQ("write through", text);
}

TEST_F(driver, disk_with_a_cache_writes_back)
{
	char text[64];

	ASSERT_EQ(0, start_with_attrs(&self->td, UBLK_ATTR_VOLATILE_CACHE));
	ASSERT_EQ(0, td_sysfs_string(&self->td, "queue/write_cache", text,
				     sizeof(text)));
	EXPECT_STREQ("write back", text);
}

TEST_F(driver, disk_of_one_queue_has_no_scheduler)
{
	char text[64];

	ASSERT_EQ(0, start_with_attrs(&self->td, 0));
	ASSERT_EQ(0, td_sysfs_string(&self->td, "queue/scheduler", text,
				     sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "[none]")) TH_LOG("%s", text);
}

TEST_F(driver, rotational_disk_has_the_scheduler_of_the_kernel)
{
	char text[64];

	ASSERT_EQ(0, start_with_attrs(&self->td, UBLK_ATTR_ROTATIONAL));
	ASSERT_EQ(0, td_sysfs_string(&self->td, "queue/scheduler", text,
				     sizeof(text)));
	if (!strstr(text, "mq-deadline"))
		SKIP(return, "kernel without mq-deadline");
	EXPECT_NE(NULL, strstr(text, "[mq-deadline]")) TH_LOG("%s", text);
}

TEST_F(driver, disk_has_no_writeback_throttling_unless_asked)
{
	const char *attr = "queue/wbt_lat_usec";
	char text[64];
	int ret;

	ASSERT_EQ(0, start_with_attrs(&self->td, 0));
	ret = td_sysfs_string(&self->td, attr, text, sizeof(text));
	if (ret == -ENOENT)
		SKIP(return, "kernel without writeback throttling");
	/* That is how it says that it never was. */
	EXPECT_EQ(-EINVAL, ret);
	ASSERT_EQ(0, td_sysfs_write(&self->td, attr, "3000"));
	ASSERT_EQ(0, td_sysfs_string(&self->td, attr, text, sizeof(text)));
	EXPECT_STREQ("3000", text);
}

TEST_F(driver, rotational_disk_has_the_writeback_throttling_of_the_kernel)
{
	char text[64];
	int ret;

	ASSERT_EQ(0, start_with_attrs(&self->td, UBLK_ATTR_ROTATIONAL));
	ret = td_sysfs_string(&self->td, "queue/wbt_lat_usec", text, sizeof(text));
	if (ret == -ENOENT)
		SKIP(return, "kernel without writeback throttling");
	ASSERT_EQ(0, ret);
	EXPECT_STRNE("0", text);
}

TEST_HARNESS_MAIN
