// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ublkcN as a file: its mapping is read only for ever, of one length and
 * for one process; its data cannot be read or written in copy mode.
 */
#include "fixture.h"

static int attach_two_queues(struct testdev *td)
{
	td->info.nr_hw_queues = 2;
	return td_add_attached(td);
}

TD_FIXTURE(attached, attach_two_queues);

static int open_unmapped(struct testdev *td)
{
	char path[32];
	int ret = td_add(td);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	td->cdev = open(path, O_RDWR | O_CLOEXEC);
	return td->cdev < 0 ? -errno : 0;
}

TD_FIXTURE(opened, open_unmapped);

static void *map(struct testdev *td, size_t len, int prot, off_t offset)
{
	errno = 0;
	return mmap(NULL, len, prot, MAP_SHARED | MAP_POPULATE, td->cdev,
		    offset);
}

TEST_F(attached, queue_maps_read_only)
{
	EXPECT_NE(MAP_FAILED, map(&self->td, 4096, PROT_READ, 0));
}

TEST_F(attached, last_queue_maps)
{
	size_t stride = ublk_queue_map_stride(&self->td.info);

	EXPECT_NE(MAP_FAILED, map(&self->td, 4096, PROT_READ,
				  (self->td.info.nr_hw_queues - 1) * stride));
}

TEST_F(attached, stride_is_that_of_the_largest_queue)
{
	EXPECT_EQ(98304, ublk_queue_map_stride(&self->td.info));
}

TEST_F(attached, offset_inside_a_queue_is_ignored)
{
	EXPECT_NE(MAP_FAILED, map(&self->td, 4096, PROT_READ, 4096));
}

/* The first offset past the queues is taken for one more, and refused. */
TEST_F(attached, offset_past_the_queues_is_refused)
{
	size_t stride = ublk_queue_map_stride(&self->td.info);

	EXPECT_EQ(MAP_FAILED, map(&self->td, 4096, PROT_READ,
				  (self->td.info.nr_hw_queues + 1) * stride));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(attached, shorter_length_is_refused)
{
	struct testdev *td = &self->td;

	EXPECT_EQ(MAP_FAILED, map(td, 8192, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
}

static int deep(struct testdev *td)
{
	td->info.queue_depth = 512;
	return td_add_attached(td);
}

TD_FIXTURE(deep, deep);

TEST_F(deep, length_covers_all_descriptors)
{
	EXPECT_EQ(12288, ublk_queue_map_len(&self->td.info));
	EXPECT_NE(MAP_FAILED, map(&self->td, 12288, PROT_READ, 0));
}

TEST_F(deep, part_of_the_descriptors_is_refused)
{
	EXPECT_EQ(MAP_FAILED, map(&self->td, 4096, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(attached, writable_mapping_is_refused)
{
	EXPECT_EQ(MAP_FAILED, map(&self->td, 4096, PROT_READ | PROT_WRITE, 0));
	EXPECT_EQ(EPERM, errno);
}

TEST_F(attached, mapping_cannot_be_made_writable)
{
	void *p = map(&self->td, 4096, PROT_READ, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, mprotect(p, 4096, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
}

/* There is nothing that could bring the pages back. */
TEST_F(attached, mapping_does_not_lose_its_pages)
{
	char *p = map(&self->td, 4096, PROT_READ, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, madvise(p, 4096, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(td_is_zero(p, 4096));
}

static int map_here(void *arg)
{
	struct testdev *td = arg;

	return map(td, 4096, PROT_READ, 0) == MAP_FAILED ? errno : 0;
}

TEST_F(attached, other_process_cannot_map)
{
	EXPECT_EQ(EINVAL, td_in_child(map_here, &self->td));
}

TEST_F(opened, first_process_that_maps_is_the_only_one)
{
	ASSERT_EQ(0, td_in_child(map_here, &self->td));
	EXPECT_EQ(MAP_FAILED, map(&self->td, 4096, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
}

static int map_badly_here(void *arg)
{
	struct testdev *td = arg;

	return map(td, 8192, PROT_READ, 0) == MAP_FAILED ? errno : 0;
}

TEST_F(opened, even_a_refused_mapping_makes_its_process_the_only_one)
{
	ASSERT_EQ(EINVAL, td_in_child(map_badly_here, &self->td));
	EXPECT_EQ(MAP_FAILED, map(&self->td, 4096, PROT_READ, 0));
	EXPECT_EQ(EINVAL, errno);
}

static bool can_open(void *arg)
{
	struct testdev *td = arg;
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	td->cdev = open(path, O_RDWR | O_CLOEXEC);
	return td->cdev >= 0;
}

TEST_F(opened, next_open_forgets_the_process)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_in_child(map_here, td));
	close(td->cdev);
	ASSERT_TRUE(td_poll_until(can_open, td));
	EXPECT_NE(MAP_FAILED, map(td, 4096, PROT_READ, 0));
}

TEST_F(opened, mapping_keeps_the_node_open)
{
	struct testdev *td = &self->td;

	ASSERT_NE(MAP_FAILED, map(td, 4096, PROT_READ, 0));
	close(td->cdev);
	td_settle(td, 100);
	EXPECT_FALSE(can_open(td));
}

TEST_F(attached, descriptors_are_zero_at_first)
{
	EXPECT_TRUE(td_is_zero(td_desc(&self->td, 0, 0),
			       4 * sizeof(struct ublksrv_io_desc)));
}

/* -- pread and pwrite ------------------------------------------------------ */

TD_FIXTURE(live, td_go_live);

static int try_pread(struct testdev *td, __u16 queue, __u16 tag)
{
	off_t pos = UBLKSRV_IO_BUF_OFFSET + ((__u64)queue << UBLK_QID_OFF) +
		    ((__u64)tag << UBLK_TAG_OFF);
	char buf[512];

	return pread(td->cdev, buf, sizeof(buf), pos) < 0 ? -errno : 0;
}

TEST_F(live, data_cannot_be_read_in_copy_mode)
{
	struct testdev *td = &self->td;
	struct td_req req;

	td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(-EACCES, try_pread(td, req.queue, req.tag));
	td_answer(td, &req, 4096);
}

TEST_F(live, data_of_a_queue_that_is_not_there_cannot_be_read)
{
	EXPECT_EQ(-EINVAL, try_pread(&self->td, 9, 0));
}

TEST_F(attached, data_cannot_be_read_on_a_dead_device)
{
	EXPECT_EQ(-EACCES, try_pread(&self->td, 0, 0));
}

TEST_F(live, data_cannot_be_written_in_copy_mode)
{
	char buf[512] = { };

	EXPECT_EQ(-1, pwrite(self->td.cdev, buf, sizeof(buf),
			     UBLKSRV_IO_BUF_OFFSET));
	EXPECT_EQ(EACCES, errno);
}

TEST_HARNESS_MAIN
