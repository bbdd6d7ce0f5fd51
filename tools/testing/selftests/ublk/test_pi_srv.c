// SPDX-License-Identifier: GPL-2.0
/*
 * Protection information that ublk_srv keeps beside the data of a loop disk: the
 * kernel makes and checks it, and whatever changes behind the disk's back shows.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "testfs.h"

#define BLOCK		512U
#define TUPLE		8U
#define LEN		16384U
#define AREA_TUPLE	(TD_AREA / BLOCK * TUPLE)

/* Data and metadata lie in memory, outlive servers, and the test gets at them. */
FIXTURE(served)
{
	struct testdev td;
	struct ublk_options opts;
	int data;
	int meta;
	char data_path[32];
	char meta_path[32];
	char dev[32];
};

FIXTURE_VARIANT(served)
{
	unsigned int queues;
	unsigned int threads;
	__u64 flags;
};

FIXTURE_VARIANT_ADD(served, by_one_thread) {
	.queues = 1, .threads = 1,
};

FIXTURE_VARIANT_ADD(served, in_batches) {
	.queues = 2, .threads = 2, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_SETUP(served)
{
	struct ublk_options *opts = &self->opts;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, UBLK_F_INTEGRITY | variant->flags);
	self->data = memfd_create("data", 0);
	self->meta = memfd_create("meta", 0);
	sprintf(self->data_path, "/proc/self/fd/%d", self->data);
	sprintf(self->meta_path, "/proc/self/fd/%d", self->meta);

	ublk_options_init(opts);
	opts->target = &ublk_loop_target;
	opts->file = self->data_path;
	opts->integrity = self->meta_path;
	opts->size = TD_SIZE;
	opts->queues = variant->queues;
	opts->threads = variant->threads;
	opts->depth = 16;
	opts->flags = variant->flags | UBLK_F_USER_RECOVERY;
	ASSERT_EQ(0, td_spawn(&self->td, opts));
	sprintf(self->dev, "/dev/ublkb%d", self->td.id);
}

FIXTURE_TEARDOWN_PARENT(served)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* -- what is right is believed --------------------------------------------- */

TEST_F(served, kernel_checks_what_it_reads)
{
	struct testdev *td = &self->td;
	char format[32];

	EXPECT_EQ(1, td_sysfs_number(td, "integrity/read_verify"));
	EXPECT_EQ(1, td_sysfs_number(td, "integrity/write_generate"));
	ASSERT_EQ(0, td_sysfs_string(td, "integrity/format", format, sizeof(format)));
	EXPECT_EQ(0, strcmp("T10-DIF-TYPE1-CRC", format));
}

TEST_F_TIMEOUT(served, fio_finds_every_block_as_it_wrote_it, 120)
{
	char file[48];
	const char *const argv[] = {
		"fio", "--name=verify", "--thread", "--direct=1", "--minimal",
		"--ioengine=io_uring", "--iodepth=16", "--bsrange=512-64k",
		"--bs_unaligned=0", "--size=4M", "--verify=crc32c",
		"--verify_fatal=1", "--verify_state_save=0", "--randseed=7",
		"--rw=randwrite", "--do_verify=1", file, NULL,
	};
	int ret;

	snprintf(file, sizeof(file), "--filename=%s", self->dev);
	ret = td_run(argv);
	if (ret == -ENOENT)
		SKIP(return, "fio is not installed");
	EXPECT_EQ(0, ret);
}

TEST_F_TIMEOUT(served, ext4_keeps_its_files_and_stays_clean, 120)
{
	char dir[32];

	snprintf(dir, sizeof(dir), "/tmp/ublk-test-%d", self->td.id);
	mkdir(dir, 0700);
	td_close_disk(&self->td);
	CHECK_FS(self->dev, dir, &fs_ext4);
	rmdir(dir);
}

TEST_F(served, what_nobody_wrote_is_not_checked)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LEN, 1);

	ASSERT_EQ(LEN, td_wait(td, td_read(td, buf, LEN, TD_AREA)));
	EXPECT_TRUE(td_is_zero(buf, LEN));
}

TEST_F(served, what_was_discarded_is_not_checked)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LEN, 1);

	ASSERT_EQ(LEN, td_wait(td, td_write(td, buf, LEN, TD_AREA, 0)));
	ASSERT_EQ(0, td_wait(td, td_discard(td, TD_AREA, LEN)));
	ASSERT_EQ(LEN, td_wait(td, td_read(td, buf, LEN, TD_AREA)));
	EXPECT_TRUE(td_is_zero(buf, LEN));
}

/* Old tuples would accuse it. */
TEST_F(served, what_was_written_without_metadata_is_not_checked)
{
	char *buf = td_page_buf(LEN, 1), *got = td_page_buf(LEN, 0);
	struct testdev *td = &self->td;

	ASSERT_EQ(LEN, td_wait(td, td_write(td, td_page_buf(LEN, 2), LEN, TD_AREA, 0)));
	ASSERT_EQ(0, td_sysfs_set(td, "integrity/write_generate", 0));
	ASSERT_EQ(LEN, td_wait(td, td_write(td, buf, LEN, TD_AREA, RWF_DSYNC)));
	ASSERT_EQ(LEN, td_wait(td, td_read(td, got, LEN, TD_AREA)));
	EXPECT_EQ(0, memcmp(buf, got, LEN));
}

TEST_F(served, metadata_outlives_the_server)
{
	char *buf = td_page_buf(LEN, 1), *got = td_page_buf(LEN, 0);
	struct testdev *td = &self->td;

	ASSERT_EQ(LEN, td_wait(td, td_write(td, buf, LEN, TD_AREA, 0)));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, td_spawn_recovery(td, &self->opts));
	ASSERT_EQ(LEN, td_wait(td, td_read(td, got, LEN, TD_AREA)));
	EXPECT_EQ(0, memcmp(buf, got, LEN));
}

TEST_F(served, server_without_its_metadata_may_not_recover_the_disk)
{
	struct ublk_options opts = self->opts;
	struct testdev *td = &self->td;

	opts.integrity = NULL;
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EINVAL, td_spawn_recovery(td, &opts));
	EXPECT_EQ(0, td_spawn_recovery(td, &self->opts));
}

/* -- what is wrong is seen ------------------------------------------------- */

static int flip(int fd, off_t at)
{
	char c;

	if (pread(fd, &c, 1, at) != 1)
		return -errno;
	c ^= 0x40;
	return pwrite(fd, &c, 1, at) == 1 ? 0 : -errno;
}

/* Only the last block of four is changed: those before it stay readable. */
static void expect_seen(struct __test_metadata *_metadata, struct testdev *td,
			int fd, off_t at)
{
	char *buf = td_page_buf(4 * BLOCK, 1);

	ASSERT_EQ(4 * BLOCK, td_wait(td, td_write(td, buf, 4 * BLOCK, TD_AREA, 0)));
	ASSERT_EQ(0, flip(fd, at));
	EXPECT_EQ(-EILSEQ, td_wait(td, td_read(td, buf, 4 * BLOCK, TD_AREA)));
	EXPECT_EQ(3 * BLOCK, td_wait(td, td_read(td, buf, 3 * BLOCK, TD_AREA)));
	ASSERT_EQ(0, flip(fd, at));
	EXPECT_EQ(4 * BLOCK, td_wait(td, td_read(td, buf, 4 * BLOCK, TD_AREA)));
}

TEST_F(served, changed_data_is_seen)
{
	expect_seen(_metadata, &self->td, self->data, TD_AREA + 4 * BLOCK - 1);
}

TEST_F(served, changed_guard_is_seen)
{
	expect_seen(_metadata, &self->td, self->meta, AREA_TUPLE + 3 * TUPLE);
}

TEST_F(served, changed_reference_is_seen)
{
	expect_seen(_metadata, &self->td, self->meta, AREA_TUPLE + 4 * TUPLE - 1);
}

static int copy_bytes(int fd, off_t to, off_t from, size_t len)
{
	char buf[BLOCK];

	if (pread(fd, buf, len, from) != (ssize_t)len)
		return -EIO;
	return pwrite(fd, buf, len, to) == (ssize_t)len ? 0 : -EIO;
}

/* Each half of it is in order: only the place is wrong. */
TEST_F(served, block_in_the_wrong_place_is_seen)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LEN, 1);

	ASSERT_EQ(LEN, td_wait(td, td_write(td, buf, LEN, TD_AREA, 0)));
	ASSERT_EQ(0, copy_bytes(self->data, TD_AREA, TD_AREA + BLOCK, BLOCK));
	ASSERT_EQ(0, copy_bytes(self->meta, AREA_TUPLE, AREA_TUPLE + TUPLE, TUPLE));
	EXPECT_EQ(-EILSEQ, td_wait(td, td_read(td, buf, BLOCK, TD_AREA)));
}

TEST_F(served, changed_data_is_not_read_into_the_page_cache)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(LEN, 1);
	int fd;

	ASSERT_EQ(LEN, td_wait(td, td_write(td, buf, LEN, TD_AREA, 0)));
	ASSERT_EQ(0, flip(self->data, TD_AREA));
	fd = open(self->dev, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, pread(fd, buf, BLOCK, TD_AREA));
	EXPECT_EQ(EIO, errno);
	close(fd);
}

TEST_HARNESS_MAIN
