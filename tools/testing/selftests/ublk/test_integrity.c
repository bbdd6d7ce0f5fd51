// SPDX-License-Identifier: GPL-2.0
/*
 * Data that went through a disk and back, judged by programs that know nothing
 * of ublk: fio with checksums, and the checkers of ext4 and xfs.
 */
#include <dirent.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "testfs.h"

#define DISK_SIZE	(320ULL << 20)	/* the least that mkfs.xfs takes */

/* The file behind the disk is memory, and the test can look into it. */
static int spawn_on_memory(struct testdev *td, struct ublk_options *opts,
			   char *dev, int *backing)
{
	char path[32];
	int ret;

	*backing = memfd_create("disk", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", *backing);
	opts->target = &ublk_loop_target;
	opts->file = path;
	opts->size = DISK_SIZE;
	ret = td_spawn(td, opts);
	if (ret)
		return ret;
	td_close_disk(td);
	sprintf(dev, "/dev/ublkb%d", td->id);
	return 0;
}

/* -- fio ------------------------------------------------------------------- */

FIXTURE(served)
{
	struct testdev td;
	int backing;
	char dev[32];
};

FIXTURE_VARIANT(served)
{
	unsigned int queues;
	unsigned int depth;
	unsigned int threads;
	__u64 flags;
	enum ublk_mode mode;
};

FIXTURE_VARIANT_ADD(served, by_one_queue) {
	.queues = 1, .depth = 64, .threads = 1,
};

FIXTURE_VARIANT_ADD(served, by_one_tag) {
	.queues = 1, .depth = 1, .threads = 1,
};

FIXTURE_VARIANT_ADD(served, by_two_queues_of_two_threads) {
	.queues = 2, .depth = 16, .threads = 2,
};

FIXTURE_VARIANT_ADD(served, with_get_data) {
	.queues = 1, .depth = 16, .threads = 1, .flags = UBLK_F_NEED_GET_DATA,
};

FIXTURE_VARIANT_ADD(served, with_user_copy) {
	.queues = 1, .depth = 16, .threads = 1, .mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, with_user_copy_by_four_threads) {
	.queues = 2, .depth = 16, .threads = 2, .mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, with_zero_copy) {
	.queues = 1, .depth = 16, .threads = 1, .mode = UBLK_MODE_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(served, with_zero_copy_by_four_threads) {
	.queues = 2, .depth = 16, .threads = 2, .mode = UBLK_MODE_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(served, with_auto_buf) {
	.queues = 1, .depth = 16, .threads = 1, .mode = UBLK_MODE_AUTO_BUF,
};

FIXTURE_VARIANT_ADD(served, with_auto_buf_by_four_threads) {
	.queues = 2, .depth = 16, .threads = 2, .mode = UBLK_MODE_AUTO_BUF,
};

FIXTURE_VARIANT_ADD(served, in_batches) {
	.queues = 1, .depth = 64, .threads = 1, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(served, in_batches_of_one) {
	.queues = 1, .depth = 1, .threads = 1, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(served, in_batches_by_six_threads) {
	.queues = 2, .depth = 32, .threads = 3, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_user_copy) {
	.queues = 1, .depth = 16, .threads = 2, .flags = UBLK_F_BATCH_IO,
	.mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_zero_copy) {
	.queues = 1, .depth = 16, .threads = 2, .flags = UBLK_F_BATCH_IO,
	.mode = UBLK_MODE_ZERO_COPY,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_auto_buf) {
	.queues = 1, .depth = 16, .threads = 2, .flags = UBLK_F_BATCH_IO,
	.mode = UBLK_MODE_AUTO_BUF,
};

FIXTURE_SETUP(served)
{
	struct ublk_options opts;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	ublk_options_init(&opts);
	opts.queues = variant->queues;
	opts.depth = variant->depth;
	opts.threads = variant->threads;
	opts.flags = variant->flags;
	opts.mode = variant->mode;
	ASSERT_EQ(0, spawn_on_memory(&self->td, &opts, self->dev,
				     &self->backing));
}

FIXTURE_TEARDOWN_PARENT(served)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F_TIMEOUT(served, fio_finds_every_block_as_it_wrote_it, 120)
{
	int ret = td_fio(self->dev, "randwrite", "--do_verify=1");

	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

/* -- file systems ---------------------------------------------------------- */

FIXTURE(disk)
{
	struct testdev td;
	int backing;
	char dev[32];
	char dir[32];
};

FIXTURE_SETUP(disk)
{
	struct ublk_options opts;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ublk_options_init(&opts);
	opts.queues = 2;
	ASSERT_EQ(0, spawn_on_memory(&self->td, &opts, self->dev,
				     &self->backing));
	snprintf(self->dir, sizeof(self->dir), "/tmp/ublk-test-%d",
		 self->td.id);
	mkdir(self->dir, 0700);
}

FIXTURE_TEARDOWN_PARENT(disk)
{
	while (!umount2(self->dir, MNT_DETACH))
		;
	rmdir(self->dir);
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F_TIMEOUT(disk, ext4_keeps_its_files_and_stays_clean, 120)
{
	CHECK_FS(self->dev, self->dir, &fs_ext4);
}

TEST_F_TIMEOUT(disk, xfs_keeps_its_files_and_stays_clean, 120)
{
	CHECK_FS(self->dev, self->dir, &fs_xfs);
}

static __u64 backing_bytes(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_blocks * 512ULL;
}

/* What is deleted and trimmed gives its memory back. */
TEST_F_TIMEOUT(disk, trimmed_space_is_given_back, 120)
{
	struct fstrim_range range = { .len = ~0ULL };
	__u64 full;
	int fd, i, ret;
	char path[64];

	ret = fs_run(fs_ext4.mkfs, self->dev);
	if (ret == -ENOENT)
		SKIP(return, "mkfs.ext4 is not installed");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, mount(self->dev, self->dir, "ext4", 0, NULL));
	ASSERT_EQ(0, fs_write_files(self->dir));
	sync();
	full = backing_bytes(self->backing);
	for (i = 0; i < FS_FILES; i++) {
		snprintf(path, sizeof(path), "%s/%d", self->dir, i);
		unlink(path);
	}
	sync();
	fd = open(self->dir, O_RDONLY);
	ASSERT_EQ(0, ioctl(fd, FITRIM, &range));
	close(fd);
	EXPECT_LT(backing_bytes(self->backing), full - (1 << 20));
	EXPECT_EQ(0, umount(self->dir));
}

/* -- the judges themselves ------------------------------------------------- */

/* One byte, changed behind the disk's back. */
static int plant_corruption(int fd)
{
	char c;

	if (pread(fd, &c, 1, 1 << 20) != 1)
		return -errno;
	c ^= 0x40;
	return pwrite(fd, &c, 1, 1 << 20) == 1 ? 0 : -errno;
}

TEST_F_TIMEOUT(disk, fio_sees_a_planted_corruption, 120)
{
	int ret = td_fio(self->dev, "write", "--do_verify=1");

	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, plant_corruption(self->backing));
	EXPECT_NE(0, td_fio(self->dev, "write", "--verify_only"));
}

TEST_HARNESS_MAIN
