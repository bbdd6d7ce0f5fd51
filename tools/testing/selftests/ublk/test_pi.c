// SPDX-License-Identifier: GPL-2.0
/*
 * INTEGRITY: the metadata that the kernel makes of what clients write and checks
 * on what they read, as the server sees it.
 */
#include "fixture.h"
#include "pi.h"

#define PART	4096

FIXTURE(disk)
{
	struct pi_disk d;
};

FIXTURE_VARIANT(disk)
{
	struct ublk_param_integrity format;
	int shift;
};

FIXTURE_SETUP(disk)
{
	int ret;

	if (!td_init(&self->d.td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ret = pi_go_live(&self->d, &variant->format, variant->shift);
	if (ret > 0)
		SKIP(return, "driver without metadata");
	ASSERT_EQ(0, ret);
}

FIXTURE_TEARDOWN_PARENT(disk)
{
	EXPECT_EQ(0, td_reap(&self->d.td));
}

#define FORMAT(name, block_shift, ...)					\
FIXTURE_VARIANT_ADD(disk, name)						\
{									\
	.shift = block_shift, .format = { __VA_ARGS__ },		\
}

/* Flags, segments, interval, size, offset, checksum. */
FORMAT(crc, 9, PI_BOTH, 0, 9, 8, 0, LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(crc_without_reftag, 9, LBMD_PI_CAP_INTEGRITY, 0, 9, 8, 0,
	LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(crc_first_of_64, 9, PI_BOTH, 0, 9, 64, 0, LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(crc_within_13, 9, PI_BOTH, 0, 9, 13, 3, LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(crc_of_512_in_4k, 12, PI_BOTH, 0, 9, 8, 0, LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(crc_of_4k, 12, PI_BOTH, 0, 12, 8, 0, LBMD_PI_CSUM_CRC16_T10DIF);
FORMAT(ip, 9, PI_BOTH, 0, 9, 8, 0, LBMD_PI_CSUM_IP);
FORMAT(ip_within_32_of_4k, 12, PI_BOTH, 0, 12, 32, 16, LBMD_PI_CSUM_IP);
FORMAT(crc64, 9, PI_BOTH, 0, 9, 16, 0, LBMD_PI_CSUM_CRC64_NVME);
FORMAT(crc64_without_reftag, 9, LBMD_PI_CAP_INTEGRITY, 0, 9, 16, 0,
	LBMD_PI_CSUM_CRC64_NVME);
FORMAT(crc64_last_of_64_of_4k, 12, PI_BOTH, 0, 12, 64, 48, LBMD_PI_CSUM_CRC64_NVME);
FORMAT(opaque, 9, LBMD_PI_CAP_INTEGRITY, 0, 9, 8, 0, LBMD_PI_CSUM_NONE);

/* -- what is written ------------------------------------------------------- */

/* How many intervals, of @len bytes at @offset, are not protected as they should? */
static unsigned int count_wrong(const struct ublk_param_integrity *format,
				const char *data, __u32 len, const char *meta,
				__u64 offset)
{
	unsigned int i, wrong = 0;

	for (i = 0; i < len >> format->interval_exp; i++) {
		struct pi_tuple tuple = pi_get(format, meta, i);

		wrong += tuple.guard != pi_guard(format, data, meta, i) ||
			 tuple.app || (pi_has_ref(format) &&
				       tuple.ref != pi_ref_at(format, offset) + i);
	}
	return wrong;
}

TEST_F(disk, write_carries_what_protects_its_data)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	int client;

	pi_reset(d);
	client = td_write_arrived(&d->td, &req, d->data, PI_LEN);
	ASSERT_LE(0, client);
	EXPECT_EQ(UBLK_IO_F_INTEGRITY, req.flags & UBLK_IO_F_INTEGRITY);
	ASSERT_EQ(d->bytes, pi_take(&d->td, &req, d->meta, PI_MAX_META, 0));
	if (pi_has_csum(d->format)) {
		EXPECT_EQ(0, count_wrong(d->format, d->data, PI_LEN, d->meta,
					 TD_AREA));
	} else {
		EXPECT_TRUE(td_is_zero(d->meta, d->bytes));
	}
	td_answer(&d->td, &req, PI_LEN);
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

TEST_F(disk, rest_of_a_write_carries_its_own_metadata)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	__u32 at, rest;
	int client;

	pi_reset(d);
	client = td_write(&d->td, d->data, PI_LEN, TD_AREA, 0);
	for (at = 0; at < PI_LEN; at += PART) {
		rest = PI_LEN - at;
		ASSERT_EQ(0, td_next(&d->td, &req));
		ASSERT_EQ(rest, req.sectors << 9);
		EXPECT_EQ(UBLK_IO_F_INTEGRITY, req.flags & UBLK_IO_F_INTEGRITY);
		ASSERT_EQ(pi_bytes(d->format, rest),
			  pi_take(&d->td, &req, d->meta, PI_MAX_META, 0));
		if (pi_has_csum(d->format)) {
			EXPECT_EQ(0, count_wrong(d->format, d->data + at, rest,
						 d->meta, TD_AREA + at));
		}
		td_answer(&d->td, &req, PART);
	}
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

/* -- what is read ---------------------------------------------------------- */

static bool corrupt_nothing(struct pi_disk *d)
{
	return false;
}

static bool corrupt_first_byte(struct pi_disk *d)
{
	d->data[0] ^= 1;
	return pi_has_csum(d->format);
}

static bool corrupt_last_byte(struct pi_disk *d)
{
	d->data[PI_LEN - 1] ^= 0x80;
	return pi_has_csum(d->format);
}

static bool corrupt_guard(struct pi_disk *d)
{
	if (pi_has_csum(d->format))
		pi_flip(d, d->meta, (struct pi_tuple) { .guard = 0x8000 });
	return pi_has_csum(d->format);
}

static bool corrupt_reference(struct pi_disk *d)
{
	if (pi_has_csum(d->format))
		pi_flip(d, d->meta, (struct pi_tuple) { .ref = 0x80000000 });
	return pi_has_ref(d->format);
}

/* Application tags are their owner's, but for the one that ends all checks. */
static bool change_application(struct pi_disk *d)
{
	if (pi_has_csum(d->format))
		pi_flip(d, d->meta, (struct pi_tuple) { .app = 0x4321 });
	return false;
}

static bool corrupt_unchecked(struct pi_disk *d)
{
	struct pi_tuple unchecked = { .guard = 1, .app = 0xffff, .ref = -1 };

	if (pi_has_csum(d->format))
		pi_put(d->format, d->meta, d->intervals - 1, unchecked);
	return false;
}

/* What stands before the tuple is guarded like data; what comes after it is not. */
static bool corrupt_front(struct pi_disk *d)
{
	if (d->format->pi_offset)
		d->meta[0] ^= 1;
	return d->format->pi_offset;
}

static bool change_back(struct pi_disk *d)
{
	unsigned int end = d->format->pi_offset + pi_tuple_size(d->format);

	if (end < d->format->metadata_size)
		d->meta[d->bytes - 1] ^= 1;
	return false;
}

/* Each returns whether the kernel has to notice. */
static const struct {
	const char *name;
	bool (*change)(struct pi_disk *d);
} changes[] = {
	{ "nothing", corrupt_nothing },
	{ "first byte", corrupt_first_byte },
	{ "last byte", corrupt_last_byte },
	{ "guard", corrupt_guard },
	{ "reference tag", corrupt_reference },
	{ "application tag", change_application },
	{ "unchecked tuple", corrupt_unchecked },
	{ "before the tuple", corrupt_front },
	{ "after the tuple", change_back },
};

#define NR_CHANGES	(sizeof(changes) / sizeof(*changes))

static int read_area(struct pi_disk *d)
{
	struct td_req req;
	int client = td_read_arrived(&d->td, &req, d->mine, PI_LEN);

	return client < 0 ? client : pi_serve_read(d, &req, client);
}

/*
 * Part by part; of each request there is as much metadata as the rest has. What
 * lies behind a part is brought, too, but it is the next answer that counts.
 */
static int read_area_in_parts(struct pi_disk *d)
{
	int client = td_read(&d->td, d->mine, PI_LEN, TD_AREA);
	struct td_req req;
	__u32 at;

	for (at = 0; at < PI_LEN; at += PART) {
		char *meta = d->meta + pi_bytes(d->format, at);
		int rest = d->bytes - pi_bytes(d->format, at);

		if (td_next(&d->td, &req) || req.sectors << 9 != PI_LEN - at)
			return -ENODATA;
		if (td_bring(&d->td, &req, d->data + at, PART, 0) != PART ||
		    pi_bring(&d->td, &req, meta, PI_MAX_META / 2 + rest, 0) != rest)
			return -ENODATA;
		td_answer(&d->td, &req, PART);
	}
	return td_wait(&d->td, client);
}

/* Each change in turn, and what a read in this way makes of it. */
static void expect_notice(struct __test_metadata *_metadata, struct pi_disk *d,
			  int (*read)(struct pi_disk *d))
{
	unsigned int i;
	bool notice;

	for (i = 0; i < NR_CHANGES; i++) {
		pi_reset(d);
		notice = changes[i].change(d);
		EXPECT_EQ(notice ? -EILSEQ : PI_LEN, read(d))
			TH_LOG("%s", changes[i].name);
	}
	EXPECT_EQ(0, memcmp(d->mine, d->data, PI_LEN));
}

TEST_F(disk, read_of_what_is_corrupted_fails)
{
	expect_notice(_metadata, &self->d, read_area);
}

TEST_F(disk, read_in_parts_of_what_is_corrupted_fails)
{
	expect_notice(_metadata, &self->d, read_area_in_parts);
}

TEST_HARNESS_MAIN
