// SPDX-License-Identifier: GPL-2.0
/*
 * The stripe target, in each mode: what is written comes back, and lies in the
 * files where it belongs.
 */
#include <linux/falloc.h>

#include "fixture.h"

#define FILES	3
#define CHUNK	8192
#define SIZE	(32ULL << 20)
#define BYTES	(64U << 10)

FIXTURE(stripe)
{
	struct testdev td;
	struct ublk_options opts;
	int fds[FILES];
	char paths[FILES][32];
	char dev[32];
};

MODE_VARIANTS(stripe);

FIXTURE_SETUP(stripe)
{
	struct ublk_options *o = &self->opts;
	int i;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	ublk_options_init(o);
	o->target = &ublk_stripe_target;
	o->size = SIZE;
	o->queues = 2;
	o->threads = 2;
	o->depth = 16;
	o->mode = variant->mode;
	o->flags = variant->flags | UBLK_F_NO_AUTO_PART_SCAN;
	o->stripe.nr = FILES;
	o->stripe.chunk = CHUNK;
	for (i = 0; i < FILES; i++) {
		self->fds[i] = memfd_create("stripe", 0);
		snprintf(self->paths[i], sizeof(self->paths[i]),
			 "/proc/self/fd/%d", self->fds[i]);
		o->stripe.files[i] = self->paths[i];
	}
	ASSERT_EQ(0, td_spawn(&self->td, o));
	sprintf(self->dev, "/dev/ublkb%d", self->td.id);
}

FIXTURE_TEARDOWN_PARENT(stripe)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* What the files hold of the disk from @offset on, as told by the rule. */
static int gather(const int fds[FILES], char *buf, __u32 len, __u64 offset)
{
	__u32 i;

	for (i = 0; i < len; i++, offset++) {
		__u64 chunk = offset / CHUNK;

		if (pread(fds[chunk % FILES], buf + i, 1,
			  chunk / FILES * CHUNK + offset % CHUNK) != 1)
			return -EIO;
	}
	return 0;
}

/* In several rows, beginning and ending in the middle of a chunk. */
TEST_F(stripe, data_lies_where_it_belongs)
{
	__u32 len = 7 * CHUNK - 1024;
	__u64 at = TD_AREA + CHUNK + 512;
	char *data = td_page_buf(BYTES, 1), *got = td_page_buf(BYTES, 0);
	struct testdev *td = &self->td;

	ASSERT_EQ((int)len, td_wait(td, td_write(td, data, len, at, RWF_DSYNC)));
	ASSERT_EQ(0, td_wait(td, td_fsync(td)));
	ASSERT_EQ(0, gather(self->fds, got, len, at));
	EXPECT_EQ(0, memcmp(data, got, len));
	memset(got, 0, len);
	ASSERT_EQ((int)len, td_wait(td, td_read(td, got, len, at)));
	EXPECT_EQ(0, memcmp(data, got, len));
}

/* Is a part of the data gone by @how, and no more than that? */
static void check_clearing(struct __test_metadata *_metadata, struct testdev *td,
			   int how)
{
	char *data = td_page_buf(BYTES, 1), *got = td_page_buf(BYTES, 0);
	__u32 from = CHUNK - 4096, len = 5 * CHUNK;
	int ret;

	ASSERT_EQ((int)BYTES, td_wait(td, td_write(td, data, BYTES, TD_AREA, 0)));
	ret = how < 0 ? td_discard(td, TD_AREA + from, len) :
		td_fallocate(td, how | FALLOC_FL_KEEP_SIZE, TD_AREA + from, len);
	ASSERT_EQ(0, td_wait(td, ret));
	ASSERT_EQ((int)BYTES, td_wait(td, td_read(td, got, BYTES, TD_AREA)));
	EXPECT_EQ(0, memcmp(data, got, from));
	EXPECT_TRUE(td_is_zero(got + from, len));
	EXPECT_EQ(0, memcmp(data + from + len, got + from + len, BYTES - from - len));
}

/* tmpfs has no way to zero a range: then the kernel does. */
TEST_F(stripe, what_is_cleared_is_a_range_across_files)
{
	check_clearing(_metadata, &self->td, -1);
	check_clearing(_metadata, &self->td, FALLOC_FL_PUNCH_HOLE);
	check_clearing(_metadata, &self->td, FALLOC_FL_ZERO_RANGE);
}

TEST_F_TIMEOUT(stripe, fio_finds_every_block_as_it_wrote_it, 120)
{
	int ret;

	td_close_disk(&self->td);
	ret = td_fio(self->dev, "randwrite", "--do_verify=1");
	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

/* -- what cannot be -------------------------------------------------------- */

TD_FIXTURE(nothing, td_no_device);

static int start_with(unsigned int files, __u32 chunk)
{
	struct ublk_server srv;
	struct ublk_options o;
	char path[32];
	unsigned int i;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd_create("stripe", 0));
	ublk_options_init(&o);
	o.target = &ublk_stripe_target;
	o.size = SIZE;
	o.stripe.nr = files;
	o.stripe.chunk = chunk;
	for (i = 0; i < files; i++)
		o.stripe.files[i] = path;
	return ublk_server_start(&srv, &o);
}

TEST_F(nothing, one_file_is_refused)
{
	EXPECT_EQ(-EINVAL, start_with(1, CHUNK));
}

TEST_F(nothing, odd_chunk_is_refused)
{
	EXPECT_EQ(-EINVAL, start_with(2, 0));
	EXPECT_EQ(-EINVAL, start_with(2, 512));
	EXPECT_EQ(-EINVAL, start_with(2, 12288));
}

TEST_HARNESS_MAIN
