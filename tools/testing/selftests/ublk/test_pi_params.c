// SPDX-License-Identifier: GPL-2.0
/*
 * The INTEGRITY parameters: which are refused, and what the disk says of those
 * that are not.
 */
#include <sys/ioctl.h>

#include "fixture.h"
#include "pi.h"

static const struct ublk_param_integrity t10 = {
	.flags = PI_BOTH,
	.interval_exp = 9,
	.metadata_size = 8,
	.csum_type = LBMD_PI_CSUM_CRC16_T10DIF,
	.tag_size = 2,
};

static void set_block(struct ublk_params *p, int shift)
{
	p->basic.logical_bs_shift = shift;
	p->basic.physical_bs_shift = shift;
}

/* -- one change to good parameters each, and what SET_PARAMS says to it ---- */

static int add_with_integrity(struct testdev *td)
{
	pi_describe(td, &t10);
	return td_add(td);
}

TD_FIXTURE_WITH(good, UBLK_F_INTEGRITY, add_with_integrity);
TD_FIXTURE_WITH(bad, UBLK_F_INTEGRITY, add_with_integrity);

FIXTURE_VARIANT(good)
{
	void (*change)(struct ublk_params *p, struct ublk_param_integrity *i);
};

FIXTURE_VARIANT(bad)
{
	void (*change)(struct ublk_params *p, struct ublk_param_integrity *i);
};

#define VALUE(fixture, name, statement)					\
static void change_##name(struct ublk_params *p,			\
			  struct ublk_param_integrity *i)		\
{									\
	(void)p;							\
	(void)i;							\
	statement;							\
}									\
FIXTURE_VARIANT_ADD(fixture, name) { .change = change_##name }

#define GOOD(name, statement) VALUE(good, name, statement)
#define BAD(name, statement) VALUE(bad, name, statement)

#define CSUM(type, size, offset)					\
	i->csum_type = LBMD_PI_CSUM_##type;				\
	i->metadata_size = size;					\
	i->pi_offset = offset

GOOD(unchanged, (void)i);
GOOD(flags_none, i->flags = 0);
GOOD(flags_capable, i->flags = LBMD_PI_CAP_INTEGRITY);
GOOD(flags_reftag, i->flags = LBMD_PI_CAP_REFTAG);
BAD(flags_unknown, i->flags = PI_BOTH | 4);
BAD(flags_topmost, i->flags = 1U << 31);
GOOD(csum_none, i->flags = 0; CSUM(NONE, 8, 0));
GOOD(csum_none_of_one_byte, i->flags = 0; CSUM(NONE, 1, 0));
GOOD(csum_none_at_the_end, i->flags = 0; CSUM(NONE, 8, 8));
BAD(csum_none_behind_the_end, i->flags = 0; CSUM(NONE, 8, 9));
BAD(csum_none_with_reftag, CSUM(NONE, 8, 0));
GOOD(csum_ip, CSUM(IP, 8, 0));
GOOD(csum_crc64, CSUM(CRC64_NVME, 16, 0));
BAD(csum_3, i->csum_type = 3);
BAD(csum_5, i->csum_type = 5);
BAD(csum_255, i->csum_type = 255);
BAD(metadata_0, i->metadata_size = 0);
BAD(metadata_0_without_csum, i->flags = 0; CSUM(NONE, 0, 0));
BAD(crc_of_7_bytes, CSUM(CRC16_T10DIF, 7, 0));
BAD(ip_of_7_bytes, CSUM(IP, 7, 0));
BAD(crc64_of_15_bytes, CSUM(CRC64_NVME, 15, 0));
GOOD(crc_before_the_end, CSUM(CRC16_T10DIF, 64, 56));
BAD(crc_over_the_end, CSUM(CRC16_T10DIF, 64, 57));
GOOD(crc64_before_the_end, CSUM(CRC64_NVME, 64, 48));
BAD(crc64_over_the_end, CSUM(CRC64_NVME, 64, 49));
GOOD(metadata_255, i->metadata_size = 255);
BAD(offset_255, i->metadata_size = 255; i->pi_offset = 255);
BAD(interval_0, i->interval_exp = 0);
BAD(interval_8, i->interval_exp = 8);
BAD(interval_above_the_block, i->interval_exp = 10);
BAD(interval_255, i->interval_exp = 255);
GOOD(interval_of_a_4k_block, set_block(p, 12); i->interval_exp = 12);
GOOD(interval_below_a_4k_block, set_block(p, 12));
BAD(interval_above_a_4k_block, set_block(p, 12); i->interval_exp = 13);
GOOD(segments_1, i->max_integrity_segments = 1);
GOOD(segments_65535, i->max_integrity_segments = 65535);
GOOD(tag_size_255, i->tag_size = 255);
GOOD(padding_in_use, memset(i->pad, 0xff, sizeof(i->pad)));

TEST_F(good, set_takes_it)
{
	struct testdev *td = &self->td;

	variant->change(&td->params, &td->params.integrity);
	EXPECT_EQ(0, td_set_params(td));
}

TEST_F(bad, set_refuses_it)
{
	struct testdev *td = &self->td;

	variant->change(&td->params, &td->params.integrity);
	EXPECT_EQ(-EINVAL, td_set_params(td));
}

TD_FIXTURE(driver, td_no_device);

TEST_F(driver, feature_is_granted_if_it_is_offered)
{
	struct testdev *td = &self->td;
	__u64 offered = td_features(td) & UBLK_F_INTEGRITY;

	td->info.flags |= UBLK_F_USER_COPY | UBLK_F_INTEGRITY;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(offered, td->info.flags & UBLK_F_INTEGRITY);
}

TEST_F(driver, get_returns_what_was_set)
{
	struct testdev *td = &self->td;
	struct ublk_params p = { };

	REQUIRE_FEATURE(td, UBLK_F_INTEGRITY);
	ASSERT_EQ(0, add_with_integrity(td));
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(0, memcmp(&p.integrity, &t10, sizeof(t10)));
	EXPECT_EQ(UBLK_PARAM_TYPE_INTEGRITY, p.types & UBLK_PARAM_TYPE_INTEGRITY);
}

/* -- what the disk says ---------------------------------------------------- */

FIXTURE(disk)
{
	struct testdev td;
};

FIXTURE_VARIANT(disk)
{
	struct ublk_param_integrity format;
	int shift;
	const char *name;
};

TD_FIXTURE_OPS_WITH(disk, UBLK_F_INTEGRITY, td_no_device);

#define DISK(name_, block_shift, text, ...)				\
FIXTURE_VARIANT_ADD(disk, name_)					\
{									\
	.shift = block_shift, .name = text, .format = { __VA_ARGS__ },	\
}

DISK(crc, 9, "T10-DIF-TYPE1-CRC", PI_BOTH, 3, 9, 8, 0,
	LBMD_PI_CSUM_CRC16_T10DIF, 2);
DISK(crc_without_reftag, 9, "T10-DIF-TYPE3-CRC", LBMD_PI_CAP_INTEGRITY, 0, 9, 8, 0,
	LBMD_PI_CSUM_CRC16_T10DIF, 6);
DISK(crc_not_capable, 9, "T10-DIF-TYPE1-CRC", LBMD_PI_CAP_REFTAG, 0, 9, 8, 0,
	LBMD_PI_CSUM_CRC16_T10DIF, 0);
DISK(ip, 12, "T10-DIF-TYPE1-IP", PI_BOTH, 65535, 12, 16, 8, LBMD_PI_CSUM_IP, 2);
DISK(ip_without_reftag, 12, "T10-DIF-TYPE3-IP", LBMD_PI_CAP_INTEGRITY, 1, 9, 8, 0,
	LBMD_PI_CSUM_IP, 2);
DISK(crc64, 12, "EXT-DIF-TYPE1-CRC64", PI_BOTH, 0, 12, 64, 48,
	LBMD_PI_CSUM_CRC64_NVME, 2);
DISK(crc64_without_reftag, 9, "EXT-DIF-TYPE3-CRC64", LBMD_PI_CAP_INTEGRITY, 0, 9, 16,
	0, LBMD_PI_CSUM_CRC64_NVME, 2);
DISK(opaque, 9, "nop", LBMD_PI_CAP_INTEGRITY, 0, 9, 255, 0, LBMD_PI_CSUM_NONE, 0);

static int start_formatted(struct testdev *td, int shift,
			   const struct ublk_param_integrity *format)
{
	pi_describe(td, format);
	set_block(&td->params, shift);
	return td_go_live(td);
}

TEST_F(disk, sysfs_shows_the_format)
{
	const struct ublk_param_integrity *format = &variant->format;
	struct testdev *td = &self->td;
	char text[64];

	ASSERT_EQ(0, start_formatted(td, variant->shift, format));
	ASSERT_EQ(0, td_sysfs_string(td, "integrity/format", text, sizeof(text)));
	EXPECT_STREQ(variant->name, text);
	EXPECT_EQ(format->tag_size, td_sysfs_number(td, "integrity/tag_size"));
	EXPECT_EQ(1 << format->interval_exp,
		  td_sysfs_number(td, "integrity/protection_interval_bytes"));
	EXPECT_EQ(format->flags & LBMD_PI_CAP_INTEGRITY ? 1 : 0,
		  td_sysfs_number(td, "integrity/device_is_integrity_capable"));
	EXPECT_EQ(format->max_integrity_segments ?: 65535,
		  td_sysfs_number(td, "queue/max_integrity_segments"));
	EXPECT_EQ(1, td_sysfs_number(td, "integrity/read_verify"));
	EXPECT_EQ(1, td_sysfs_number(td, "integrity/write_generate"));
	/* Intervals may lie across pieces of memory: that need not be aligned. */
	EXPECT_EQ(3, td_sysfs_number(td, "queue/dma_alignment"));
}

TEST_F(disk, ioctl_tells_the_format)
{
	const struct ublk_param_integrity *format = &variant->format;
	struct logical_block_metadata_cap cap = { };
	struct testdev *td = &self->td;

	ASSERT_EQ(0, start_formatted(td, variant->shift, format));
	ASSERT_EQ(0, ioctl(td->bdev, FS_IOC_GETLBMD_CAP, &cap));
	EXPECT_EQ(format->flags, cap.lbmd_flags);
	EXPECT_EQ(1 << format->interval_exp, cap.lbmd_interval);
	EXPECT_EQ(format->metadata_size, cap.lbmd_size);
	EXPECT_EQ(pi_tuple_size(format), cap.lbmd_pi_size);
	EXPECT_EQ(format->pi_offset, cap.lbmd_pi_offset);
	EXPECT_EQ(format->csum_type, cap.lbmd_guard_tag_type);
}

/* One piece of metadata of the block layer's, of 2 MiB at most, covers an I/O. */
TEST_F(driver, large_metadata_makes_requests_small)
{
	struct ublk_param_integrity format = t10;
	struct testdev *td = &self->td;

	REQUIRE_FEATURE(td, UBLK_F_INTEGRITY);
	format.metadata_size = 255;
	td->info.max_io_buf_bytes = 32U << 20;
	td->params.basic.max_sectors = 65536;
	td->params.basic.io_opt_shift = 24;
	pi_describe(td, &format);
	ASSERT_EQ(0, td_add_fetched(td));
	ASSERT_EQ(0, td_start(td));
	EXPECT_EQ((2 << 20) / 255 / 2, td_sysfs_number(td, "queue/max_sectors_kb"));
}

TEST_F(driver, disk_without_the_parameters_has_no_metadata)
{
	struct testdev *td = &self->td;
	char text[64];

	REQUIRE_FEATURE(td, UBLK_F_INTEGRITY);
	td->info.flags |= UBLK_F_USER_COPY | UBLK_F_INTEGRITY;
	ASSERT_EQ(0, td_go_live(td));
	ASSERT_EQ(0, td_sysfs_string(td, "integrity/format", text, sizeof(text)));
	EXPECT_STREQ("none", text);
}

TEST_HARNESS_MAIN
