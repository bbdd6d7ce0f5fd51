// SPDX-License-Identifier: GPL-2.0
/*
 * Partitions: found by themselves, not found if the server asked so, and no
 * obstacle when the server dies or the disk is stopped during the scan.
 */
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fixture.h"
#include "user.h"

TD_FIXTURE(driver, td_no_device);

/* One primary partition: 8 MiB from 1 MiB on. */
static void write_mbr(char *sector)
{
	unsigned char *entry = (unsigned char *)sector + 446;
	__u32 start = 2048, sectors = 16384;

	memset(sector, 0, 512);
	entry[4] = 0x83;
	memcpy(entry + 8, &start, 4);
	memcpy(entry + 12, &sectors, 4);
	sector[510] = 0x55;
	sector[511] = (char)0xaa;
}

/* A loop disk, in a process of its own, on memory with a partition table. */
static int spawn_partitioned(struct testdev *td, __u64 flags)
{
	struct ublk_options opts;
	char path[32], sector[512];
	int fd = memfd_create("partitioned", 0);

	write_mbr(sector);
	if (fd < 0 || ftruncate(fd, TD_SIZE) || pwrite(fd, sector, 512, 0) != 512)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ublk_options_init(&opts);
	opts.target = &ublk_loop_target;
	opts.file = path;
	opts.flags = flags;
	return td_spawn(td, &opts);
}

static bool has_partition(void *arg)
{
	struct testdev *td = arg;
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/ublkb%d/ublkb%dp1", td->id,
		 td->id);
	return access(path, F_OK) == 0;
}

/* The folder comes first: what is in it, the node and the open come a moment later. */
static bool opens_partition(void *arg)
{
	struct testdev *td = arg;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkb%dp1", td->id);
	return open(path, O_RDONLY | O_CLOEXEC) >= 0;
}

TEST_F(driver, partition_is_found_after_start)
{
	ASSERT_EQ(0, spawn_partitioned(&self->td, 0));
	EXPECT_TRUE(td_poll_until(has_partition, &self->td));
}

TEST_F(driver, partition_shows_its_place)
{
	struct testdev *td = &self->td;
	char attr[32];

	ASSERT_EQ(0, spawn_partitioned(td, 0));
	ASSERT_TRUE(td_poll_until(opens_partition, td));
	snprintf(attr, sizeof(attr), "ublkb%dp1/start", td->id);
	EXPECT_EQ(2048, td_sysfs_number(td, attr));
	snprintf(attr, sizeof(attr), "ublkb%dp1/size", td->id);
	EXPECT_EQ(16384, td_sysfs_number(td, attr));
}

TEST_F(driver, partition_is_not_looked_for_if_the_server_says_so)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, spawn_partitioned(td, UBLK_F_NO_AUTO_PART_SCAN));
	td_settle(td, 500);
	EXPECT_FALSE(has_partition(td));
}

TEST_F(driver, partition_is_found_on_demand)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, spawn_partitioned(td, UBLK_F_NO_AUTO_PART_SCAN));
	ASSERT_EQ(0, ioctl(td->bdev, BLKRRPART));
	EXPECT_TRUE(has_partition(td));
}

TEST_F(driver, partitions_go_with_the_disk)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, spawn_partitioned(td, 0));
	ASSERT_TRUE(td_poll_until(has_partition, td));
	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_FALSE(has_partition(td));
}

/* An open partition is an open disk. */
TEST_F(driver, try_stop_refuses_a_disk_with_an_open_partition)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, spawn_partitioned(td, 0));
	ASSERT_TRUE(td_poll_until(opens_partition, td));
	td_close_disk(td);
	EXPECT_EQ(-EBUSY, td_ctl(td, UBLK_U_CMD_TRY_STOP_DEV, 0));
}

/* -- servers with tasks that may not have partitions ----------------------- */

TD_FIXTURE(attached, td_add_attached);
TB_FIXTURE(batch, tb_attach);

/* Asks for partitions from another process, while this one serves. */
static int rescan(struct testdev *td)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	pid_t pid = fork();
	char path[32];
	int status;

	if (!pid) {
		snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
		_exit(ioctl(open(path, O_RDONLY), BLKRRPART) ? errno : 0);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (td_now_ms() > deadline)
			return -ETIME;
		td_settle(td, 5);
	}
	return -WEXITSTATUS(status);
}

static int fetch_without_admin(struct testdev *td, __u16 tag)
{
	int ret;

	set_admin(false);
	ret = td_fetch(td, 0, tag);
	set_admin(true);
	return ret;
}

TEST_F(attached, partitions_are_not_looked_for_if_one_tag_is_a_users)
{
	struct testdev *td = &self->td;
	int tag;

	for (tag = 1; tag < td->info.queue_depth; tag++)
		ASSERT_EQ(TD_PENDING, td_fetch(td, 0, tag));
	ASSERT_EQ(TD_PENDING, fetch_without_admin(td, 0));
	ASSERT_EQ(0, td_start(td));
	EXPECT_EQ(-EINVAL, rescan(td));

	/* It is the server that counts, and not the device. */
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	EXPECT_EQ(0, rescan(td));
}

static int start_batch(struct tb *tb)
{
	tb->td->batch = tb;
	tb_fetch(tb, 0);
	return td_start(tb->td);
}

TEST_F(batch, partitions_are_not_looked_for_if_the_tags_are_a_users)
{
	struct tb *tb = &self->tb;

	set_admin(false);
	ASSERT_EQ(0, tb_prep_all(tb));
	set_admin(true);
	ASSERT_EQ(0, start_batch(tb));
	EXPECT_EQ(-EINVAL, rescan(&self->td));
}

/* Who only hears of requests has not offered anything. */
TEST_F(batch, partitions_are_looked_for_whoever_fetches)
{
	struct tb *tb = &self->tb;

	ASSERT_EQ(0, tb_prep_all(tb));
	set_admin(false);
	tb_fetch(tb, 0);
	set_admin(true);
	ASSERT_EQ(0, start_batch(tb));
	EXPECT_EQ(0, rescan(&self->td));
}

/* -- a scan that gets no answer -------------------------------------------- */

static int live_unanswered(struct testdev *td)
{
	int ret;

	td->info.flags = 0;
	ret = td_add_fetched(td);
	/* From here on reads of the scan are left lying. */
	return ret ? ret : td_start(td);
}

TD_FIXTURE(scanned, live_unanswered);

/* Control commands without the pump, which would answer the scan. */
static int ctl_only(struct testdev *td, __u32 op)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = td->id, .queue_id = -1 };
	int ret, res;

	ret = ublk_ctrl_submit(&td->ctrl, op, &cmd);
	if (!ret)
		ret = ublk_ctrl_wait(&td->ctrl, TD_DEADLINE_MS, &res);
	return ret ? ret : res;
}

TEST_F(scanned, server_that_leaves_during_the_scan_leaves_a_dead_device)
{
	struct testdev *td = &self->td;

	td_detach(td);
	EXPECT_EQ(0, ctl_only(td, UBLK_U_CMD_DEL_DEV));
}

TEST_F(driver, start_and_delete_in_a_loop_leave_nothing)
{
	struct testdev *td = &self->td;
	int i;

	for (i = 0; i < 20; i++) {
		td->info.dev_id = UBLK_AUTO_ID;
		td->info.flags = 0;
		ASSERT_EQ(0, td_add_fetched(td));
		ASSERT_EQ(0, td_start(td));
		if (i % 2)
			ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
		ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_DEL_DEV, 0));
		ASSERT_EQ(-ENODEV, td_wait_end(td, 0, 0));
		td_detach(td);
		ASSERT_EQ(0, td_ctl_wait(td));
	}
}

/* Closing the disk while its table is read again must not lock anyone up. */
TEST_F(driver, rescan_and_close_in_a_loop_end)
{
	struct testdev *td = &self->td;
	int i;

	ASSERT_EQ(0, spawn_partitioned(td, 0));
	for (i = 0; i < 20; i++) {
		td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
		ioctl(td->bdev, BLKRRPART);
		td_close_disk(td);
		ASSERT_EQ(0, td_open_disk(td));
	}
}

/* Has the partition table read again, over and over. */
static pid_t rescan_in_child(struct testdev *td)
{
	char path[32];
	pid_t pid = fork();
	int fd, i;

	if (pid)
		return pid;
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	for (i = 0; i < 40; i++) {
		fd = open(path, O_RDONLY);
		ioctl(fd, BLKRRPART);
		close(fd);
	}
	_exit(0);
}

/*
 * Here the request holds the last reference to the open file, so that what ends
 * the request closes the disk, for which it needs the mutex that a scan holds.
 */
static int read_and_close(struct testdev *td, aio_context_t ctx, void *buf)
{
	char path[32];
	struct iocb cb = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_buf = (unsigned long)buf,
		.aio_nbytes = 4096,
		.aio_offset = TD_AREA,
	}, *cbs = &cb;
	struct io_event event;
	int ret;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	cb.aio_fildes = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (syscall(SYS_io_submit, ctx, 1, &cbs) != 1)
		return -errno;
	close(cb.aio_fildes);
	do {
		ret = syscall(SYS_io_getevents, ctx, 1, 1, &event, NULL);
	} while (ret < 0 && errno == EINTR);
	return ret == 1 ? event.res : -errno;
}

TEST_F(driver, last_close_by_a_request_beside_a_rescan_ends)
{
	struct testdev *td = &self->td;
	void *buf = td_page_buf(4096, 0);
	aio_context_t ctx = 0;
	pid_t pid;
	int i;

	ASSERT_EQ(0, spawn_partitioned(td, 0));
	td_close_disk(td);
	ASSERT_EQ(0, syscall(SYS_io_setup, 8, &ctx));
	pid = rescan_in_child(td);
	for (i = 0; i < 100; i++)
		ASSERT_EQ(4096, read_and_close(td, ctx, buf));
	EXPECT_EQ(0, td_wait_exit(pid, TD_DEADLINE_MS));
}

TEST_HARNESS_MAIN
