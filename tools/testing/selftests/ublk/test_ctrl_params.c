// SPDX-License-Identifier: GPL-2.0
/*
 * SET_PARAMS and GET_PARAMS: which parameters are refused, what a refusal does
 * to those stored before, and what comes back.
 */
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fixture.h"

#define LARGEST_DISK	((1ULL << 54) - 1)	/* sectors: 8 EiB, but for one */

TD_FIXTURE(added, td_add);
TD_FIXTURE(live, td_go_live);

static int set_len(struct testdev *td, const void *buf, __u16 len)
{
	return td_ctl_buf(td, UBLK_U_CMD_SET_PARAMS, buf, len, 0);
}

static int get_len(struct testdev *td, const void *buf, __u16 len)
{
	return td_ctl_buf(td, UBLK_U_CMD_GET_PARAMS, buf, len, 0);
}

/* One change to good parameters each, and what SET_PARAMS says to it. */
TD_FIXTURE(good, td_add);
TD_FIXTURE(bad, td_add);

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

static void with_discard(struct ublk_params *p)
{
	p->types |= UBLK_PARAM_TYPE_DISCARD;
	p->discard.discard_granularity = 4096;
	p->discard.max_discard_sectors = 2048;
	p->discard.max_write_zeroes_sectors = 2048;
	p->discard.max_discard_segments = 1;
}

static void with_dma(struct ublk_params *p, __u32 alignment)
{
	p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
	p->dma.alignment = alignment;
}

static void with_segment(struct ublk_params *p, __u64 boundary, __u32 size)
{
	p->types |= UBLK_PARAM_TYPE_SEGMENT;
	p->seg.seg_boundary_mask = boundary;
	p->seg.max_segment_size = size;
	p->seg.max_segments = 32;
}

GOOD(unchanged, (void)p);
BAD(logical_shift_0, p->basic.logical_bs_shift = 0);
BAD(logical_shift_8, p->basic.logical_bs_shift = 8);
GOOD(logical_shift_12, p->basic.logical_bs_shift =
	p->basic.physical_bs_shift = 12);
BAD(logical_shift_13, p->basic.logical_bs_shift =
	p->basic.physical_bs_shift = 13);
BAD(logical_shift_63, p->basic.logical_bs_shift =
	p->basic.physical_bs_shift = 63);
BAD(logical_shift_255, p->basic.logical_bs_shift =
	p->basic.physical_bs_shift = 255);
BAD(logical_above_physical, p->basic.logical_bs_shift = 10);
GOOD(physical_shift_28, p->basic.physical_bs_shift = 28);
BAD(physical_shift_29, p->basic.physical_bs_shift = 29);
BAD(physical_shift_64, p->basic.physical_bs_shift = 64);
GOOD(io_min_shift_28, p->basic.io_min_shift = 28);
BAD(io_min_shift_29, p->basic.io_min_shift = 29);
GOOD(io_opt_shift_28, p->basic.io_opt_shift = 28);
BAD(io_opt_shift_29, p->basic.io_opt_shift = 29);
BAD(max_sectors_0, p->basic.max_sectors = 0);
BAD(max_sectors_below_a_page, p->basic.max_sectors = 7);
GOOD(max_sectors_one_page, p->basic.max_sectors = 8);
BAD(max_sectors_above_the_buffer,
	p->basic.max_sectors = (TD_BUF_BYTES >> 9) + 1);
GOOD(capacity_0, p->basic.dev_sectors = 0);
GOOD(capacity_largest, p->basic.dev_sectors = LARGEST_DISK);
BAD(capacity_beyond_the_largest, p->basic.dev_sectors = LARGEST_DISK + 1);
BAD(capacity_all_ones, p->basic.dev_sectors = -1);
GOOD(chunk_of_any_length, p->basic.chunk_sectors = 3);
GOOD(chunk_largest, p->basic.chunk_sectors = -1);
GOOD(virt_boundary_1, p->basic.virt_boundary_mask = 1);
GOOD(virt_boundary_largest, p->basic.virt_boundary_mask = -1);
BAD(virt_boundary_2, p->basic.virt_boundary_mask = 2);
BAD(virt_boundary_topmost, p->basic.virt_boundary_mask = 1ULL << 63);
GOOD(unknown_attributes, p->basic.attrs = -1);
BAD(no_basic_type, p->types = 0; with_discard(p));
BAD(no_type, p->types = 0);
GOOD(unknown_type_beside_basic, p->types |= 1U << 15);
BAD(devt_type, p->types |= UBLK_PARAM_TYPE_DEVT);
GOOD(discard, with_discard(p));
GOOD(discard_granularity_1, with_discard(p);
	p->discard.discard_granularity = 1);
GOOD(discard_of_all_at_once, with_discard(p);
	p->discard.max_discard_sectors = -1;
	p->discard.max_write_zeroes_sectors = -1);
GOOD(discard_aligned_anyhow, with_discard(p);
	p->discard.discard_alignment = -1);
BAD(discard_granularity_0, with_discard(p);
	p->discard.discard_granularity = 0);
BAD(discard_segments_0, with_discard(p);
	p->discard.max_discard_segments = 0);
BAD(discard_segments_2, with_discard(p);
	p->discard.max_discard_segments = 2);
GOOD(discard_off_segments_2, with_discard(p);
	p->discard.max_discard_sectors = 0;
	p->discard.max_discard_segments = 2);
BAD(zoned_without_the_feature,
	p->types |= UBLK_PARAM_TYPE_ZONED;
	p->zoned.max_zone_append_sectors = 8);
BAD(integrity_without_the_feature,
	p->types |= UBLK_PARAM_TYPE_INTEGRITY;
	p->integrity.metadata_size = 8);
GOOD(dma_align_0, with_dma(p, 0));
GOOD(dma_align_1, with_dma(p, 1));
BAD(dma_align_2, with_dma(p, 2));
GOOD(dma_align_511, with_dma(p, 511));
GOOD(dma_align_4095, with_dma(p, 4095));
BAD(dma_align_512, with_dma(p, 512));
BAD(dma_align_8191, with_dma(p, 8191));
BAD(dma_align_all_ones, with_dma(p, -1));
GOOD(segment, with_segment(p, 4095, 4096));
GOOD(segment_boundary_largest, with_segment(p, -1ULL >> 1, 4096));
GOOD(segment_size_largest, with_segment(p, 4095, -1));
GOOD(segments_0, with_segment(p, 4095, 4096); p->seg.max_segments = 0);
GOOD(segments_65535, with_segment(p, 4095, 4096); p->seg.max_segments = -1);
BAD(segment_boundary_0, with_segment(p, 0, 4096));
BAD(segment_boundary_odd, with_segment(p, 4096, 4096));
BAD(segment_boundary_small, with_segment(p, 2047, 4096));
BAD(segment_boundary_all_ones, with_segment(p, -1, 4096));
BAD(segment_size_0, with_segment(p, 4095, 0));
BAD(segment_size_small, with_segment(p, 4095, 4095));

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

/* Shifts of every width: none may reach a shift by more than a type holds. */
TEST_F(added, set_takes_logical_shifts_from_512_bytes_to_a_page_only)
{
	int shift, page_shift = __builtin_ctzl(sysconf(_SC_PAGESIZE));
	struct testdev *td = &self->td;

	for (shift = 0; shift < 64; shift++) {
		bool good = shift >= 9 && shift <= page_shift;

		td->params.basic.logical_bs_shift = shift;
		td->params.basic.physical_bs_shift = shift < 9 ? 9 : shift;
		EXPECT_EQ(good ? 0 : -EINVAL, td_set_params(td))
			TH_LOG("shift %d", shift);
	}
}

/* What the block layer would only warn about is refused here. */
FIXTURE(odd)
{
	struct testdev td;
};

FIXTURE_VARIANT(odd)
{
	void (*change)(struct ublk_params *p);
};

TD_FIXTURE_OPS(odd, td_add);

#define ODD(name, statement)						\
static void odd_##name(struct ublk_params *p) { statement; }		\
FIXTURE_VARIANT_ADD(odd, name) { .change = odd_##name }

ODD(virt_boundary, p->basic.virt_boundary_mask = 4096);
ODD(capacity, p->basic.logical_bs_shift = p->basic.physical_bs_shift = 12;
	p->basic.dev_sectors = 4097);
ODD(chunk, p->basic.logical_bs_shift = p->basic.physical_bs_shift = 12;
	p->basic.chunk_sectors = 9);
ODD(chunk_below_a_block, p->basic.logical_bs_shift = p->basic.physical_bs_shift = 12;
	p->basic.chunk_sectors = 7);

GOOD(chunk_of_4k, p->basic.logical_bs_shift = p->basic.physical_bs_shift = 12;
	p->basic.chunk_sectors = 8);
GOOD(capacity_of_4k, p->basic.logical_bs_shift = p->basic.physical_bs_shift = 12;
	p->basic.dev_sectors = 8);

TEST_F(odd, set_refuses_the_value)
{
	struct testdev *td = &self->td;

	variant->change(&td->params);
	EXPECT_EQ(-EINVAL, td_set_params(td));
}

/* -- lengths --------------------------------------------------------------- */

TEST_F(added, set_refuses_a_buffer_of_a_bare_header)
{
	EXPECT_EQ(-EINVAL, set_len(&self->td, &self->td.params, 8));
}

/* One byte more; the structure in there names its own length all the same. */
TEST_F(added, set_takes_a_buffer_of_9_bytes)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_set_params(td));
	td->params.len = 9;
	EXPECT_EQ(0, set_len(td, &td->params, 9));
	td->params.len = 10;
	EXPECT_EQ(-EINVAL, set_len(td, &td->params, 9));
}

TEST_F(added, set_refuses_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, set_len(&self->td, NULL, sizeof(struct ublk_params)));
}

TEST_F(added, set_fails_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, set_len(&self->td, (void *)4096,
				   sizeof(struct ublk_params)));
}

TEST_F(added, set_refuses_an_inner_length_of_0)
{
	self->td.params.len = 0;
	EXPECT_EQ(-EINVAL, td_set_params(&self->td));
}

TEST_F(added, set_refuses_an_inner_length_above_the_outer)
{
	self->td.params.len = sizeof(struct ublk_params) + 1;
	EXPECT_EQ(-EINVAL, td_set_params(&self->td));
}

TEST_F(added, set_takes_a_longer_structure_of_a_later_header)
{
	struct { struct ublk_params p; char more[64]; } longer = { };

	longer.p = self->td.params;
	longer.p.len = sizeof(longer);
	EXPECT_EQ(0, set_len(&self->td, &longer, sizeof(longer)));
}

TEST_F(added, set_takes_a_structure_that_ends_after_basic)
{
	__u16 len = offsetof(struct ublk_params, discard);

	self->td.params.len = len;
	EXPECT_EQ(0, set_len(&self->td, &self->td.params, len));
}

TEST_F(added, set_fails_if_the_structure_faults_after_its_header)
{
	char *page = td_page_buf(8192, 0);
	struct ublk_params *p = (void *)(page + 4096 - 8);

	p->len = sizeof(*p);
	p->types = UBLK_PARAM_TYPE_BASIC;
	ASSERT_EQ(0, munmap(page + 4096, 4096));
	EXPECT_EQ(-EFAULT, set_len(&self->td, p, sizeof(*p)));
}

TEST_F(added, get_refuses_a_buffer_of_a_bare_header)
{
	EXPECT_EQ(-EINVAL, get_len(&self->td, &self->td.params, 8));
}

TEST_F(added, get_takes_a_buffer_of_9_bytes)
{
	struct ublk_params p = { .len = 9 };

	ASSERT_EQ(0, td_set_params(&self->td));
	ASSERT_EQ(0, get_len(&self->td, &p, 9));
	EXPECT_EQ(UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DEVT, p.types);
}

TEST_F(added, get_refuses_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, get_len(&self->td, NULL, sizeof(struct ublk_params)));
}

TEST_F(added, get_refuses_an_inner_length_of_0)
{
	struct ublk_params p = { };

	EXPECT_EQ(-EINVAL, get_len(&self->td, &p, sizeof(p)));
}

TEST_F(added, get_refuses_an_inner_length_above_the_outer)
{
	struct ublk_params p = { .len = sizeof(p) + 1 };

	EXPECT_EQ(-EINVAL, get_len(&self->td, &p, sizeof(p)));
}

TEST_F(added, get_fails_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, get_len(&self->td, (void *)4096,
				   sizeof(struct ublk_params)));
}

TEST_F(added, get_writes_no_more_than_the_inner_length)
{
	struct ublk_params p;

	memset(&p, 0xaa, sizeof(p));
	ASSERT_EQ(0, td_set_params(&self->td));
	p.len = offsetof(struct ublk_params, discard);
	ASSERT_EQ(0, get_len(&self->td, &p, sizeof(p)));
	EXPECT_EQ(0xaaaaaaaa, p.discard.discard_alignment);
}

/* -- contents -------------------------------------------------------------- */

TEST_F(added, get_returns_what_was_set)
{
	struct testdev *td = &self->td;
	struct ublk_params p = { };

	with_discard(&td->params);
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(0, memcmp(&p.basic, &td->params.basic, sizeof(p.basic)));
	EXPECT_EQ(0, memcmp(&p.discard, &td->params.discard,
			    sizeof(p.discard)));
	EXPECT_EQ(td->params.types | UBLK_PARAM_TYPE_DEVT, p.types);
}

TEST_F(added, get_returns_nothing_but_devt_before_a_set)
{
	struct ublk_params p;

	memset(&p, 0xaa, sizeof(p));
	ASSERT_EQ(0, ublk_get_params(&self->td.ctrl, self->td.id, &p));
	EXPECT_EQ(0, p.len);
	EXPECT_EQ(UBLK_PARAM_TYPE_DEVT, p.types);
}

TEST_F(added, unknown_types_are_not_stored)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	td->params.types |= 1U << 14;
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DEVT, p.types);
}

TEST_F(added, failed_set_forgets_what_was_stored)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(0, td_set_params(td));
	td->params.basic.logical_bs_shift = 33;
	ASSERT_EQ(-EINVAL, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(0, p.basic.dev_sectors);
	EXPECT_EQ(UBLK_PARAM_TYPE_DEVT, p.types);
}

TEST_F(added, badly_shaped_set_keeps_what_was_stored)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(-EINVAL, set_len(td, &td->params, 8));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(td->params.basic.dev_sectors, p.basic.dev_sectors);
}

TEST_F(added, short_set_keeps_what_lies_behind_it)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	with_discard(&td->params);
	ASSERT_EQ(0, td_set_params(td));
	td->params.types = UBLK_PARAM_TYPE_BASIC;
	td->params.len = offsetof(struct ublk_params, discard);
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(td->params.len, p.len);
	EXPECT_EQ(4096, p.discard.discard_granularity);
}

/* The types lie behind it, too. */
TEST_F(added, set_of_a_bare_length_keeps_the_types)
{
	struct testdev *td = &self->td;
	__u64 sectors = td->params.basic.dev_sectors;
	struct ublk_params p;

	ASSERT_EQ(0, td_set_params(td));
	td->params.types |= UBLK_PARAM_TYPE_DISCARD;
	td->params.basic.dev_sectors = 8;
	td->params.len = sizeof(td->params.len);
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DEVT, p.types);
	EXPECT_EQ(sectors, p.basic.dev_sectors);
}

TEST_F(added, dma_alignment_0_is_stored_as_given)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	with_dma(&td->params, 0);
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(0, p.dma.alignment);
}

TEST_F(added, what_get_returned_cannot_be_set)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(-EINVAL, ublk_set_params(&td->ctrl, td->id, &p));
}

TEST_F(added, get_returns_the_number_of_the_node)
{
	struct testdev *td = &self->td;
	struct ublk_params p;
	struct stat st;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	ASSERT_EQ(0, stat(path, &st));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(major(st.st_rdev), p.devt.char_major);
	EXPECT_EQ(minor(st.st_rdev), p.devt.char_minor);
	EXPECT_EQ(0, p.devt.disk_major);
	EXPECT_EQ(0, p.devt.disk_minor);
}

TEST_F(live, get_returns_the_number_of_the_disk)
{
	struct testdev *td = &self->td;
	struct ublk_params p;
	struct stat st;

	ASSERT_EQ(0, fstat(td->bdev, &st));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(major(st.st_rdev), p.devt.disk_major);
	EXPECT_EQ(minor(st.st_rdev), p.devt.disk_minor);
}

TEST_F(live, set_is_refused)
{
	EXPECT_EQ(-EACCES, td_set_params(&self->td));
}

TEST_F(live, refused_set_keeps_what_was_stored)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(-EACCES, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(TD_SIZE >> 9, p.basic.dev_sectors);
}

static bool can_set(void *arg)
{
	return td_set_params(arg) == 0;
}

/* The last opener of the disk may be udev, hence the patience. */
TEST_F(live, set_is_allowed_again_after_stop)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_TRUE(td_poll_until(can_set, td));
}

TEST_HARNESS_MAIN
