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

FIXTURE(value)
{
	struct testdev td;
};

FIXTURE_VARIANT(value)
{
	void (*change)(struct ublk_params *p, struct ublk_param_integrity *i);
	int err;
};

static int add_with_integrity(struct testdev *td)
{
	pi_describe(td, &t10);
	return td_add(td);
}

TD_FIXTURE_OPS_WITH(value, UBLK_F_INTEGRITY, add_with_integrity);

#define VALUE(name, result, statement)					\
static void change_##name(struct ublk_params *p,			\
			  struct ublk_param_integrity *i)		\
{									\
	(void)p;							\
	(void)i;							\
	statement;							\
}									\
FIXTURE_VARIANT_ADD(value, name)					\
{									\
	.change = change_##name, .err = result,				\
}

#define CSUM(type, size, offset)					\
	i->csum_type = LBMD_PI_CSUM_##type;				\
	i->metadata_size = size;					\
	i->pi_offset = offset

VALUE(unchanged, 0, (void)i);
VALUE(flags_none, 0, i->flags = 0);
VALUE(flags_capable, 0, i->flags = LBMD_PI_CAP_INTEGRITY);
VALUE(flags_reftag, 0, i->flags = LBMD_PI_CAP_REFTAG);
VALUE(flags_unknown, -EINVAL, i->flags = PI_BOTH | 4);
VALUE(flags_topmost, -EINVAL, i->flags = 1U << 31);
VALUE(csum_none, 0, i->flags = 0; CSUM(NONE, 8, 0));
VALUE(csum_none_of_one_byte, 0, i->flags = 0; CSUM(NONE, 1, 0));
VALUE(csum_none_at_the_end, 0, i->flags = 0; CSUM(NONE, 8, 8));
VALUE(csum_none_behind_the_end, -EINVAL, i->flags = 0; CSUM(NONE, 8, 9));
VALUE(csum_none_with_reftag, -EINVAL, CSUM(NONE, 8, 0));
VALUE(csum_ip, 0, CSUM(IP, 8, 0));
VALUE(csum_crc64, 0, CSUM(CRC64_NVME, 16, 0));
VALUE(csum_3, -EINVAL, i->csum_type = 3);
VALUE(csum_5, -EINVAL, i->csum_type = 5);
VALUE(csum_255, -EINVAL, i->csum_type = 255);
VALUE(metadata_0, -EINVAL, i->metadata_size = 0);
VALUE(metadata_0_without_csum, -EINVAL, i->flags = 0; CSUM(NONE, 0, 0));
VALUE(crc_of_7_bytes, -EINVAL, CSUM(CRC16_T10DIF, 7, 0));
VALUE(ip_of_7_bytes, -EINVAL, CSUM(IP, 7, 0));
VALUE(crc64_of_15_bytes, -EINVAL, CSUM(CRC64_NVME, 15, 0));
VALUE(crc_before_the_end, 0, CSUM(CRC16_T10DIF, 64, 56));
VALUE(crc_over_the_end, -EINVAL, CSUM(CRC16_T10DIF, 64, 57));
VALUE(crc64_before_the_end, 0, CSUM(CRC64_NVME, 64, 48));
VALUE(crc64_over_the_end, -EINVAL, CSUM(CRC64_NVME, 64, 49));
VALUE(metadata_255, 0, i->metadata_size = 255);
VALUE(offset_255, -EINVAL, i->metadata_size = 255; i->pi_offset = 255);
VALUE(interval_0, -EINVAL, i->interval_exp = 0);
VALUE(interval_8, -EINVAL, i->interval_exp = 8);
VALUE(interval_above_the_block, -EINVAL, i->interval_exp = 10);
VALUE(interval_255, -EINVAL, i->interval_exp = 255);
VALUE(interval_of_a_4k_block, 0, set_block(p, 12); i->interval_exp = 12);
VALUE(interval_below_a_4k_block, 0, set_block(p, 12));
VALUE(interval_above_a_4k_block, -EINVAL, set_block(p, 12); i->interval_exp = 13);
VALUE(segments_1, 0, i->max_integrity_segments = 1);
VALUE(segments_65535, 0, i->max_integrity_segments = 65535);
VALUE(tag_size_255, 0, i->tag_size = 255);
VALUE(padding_in_use, 0, memset(i->pad, 0xff, sizeof(i->pad)));

TEST_F(value, set_gives_the_expected_result)
{
	struct testdev *td = &self->td;

	variant->change(&td->params, &td->params.integrity);
	EXPECT_EQ(variant->err, td_set_params(td));
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
