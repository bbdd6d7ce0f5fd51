// SPDX-License-Identifier: GPL-2.0
/*
 * How commands are encoded: ioctl numbers, the raw numbers of old servers,
 * unknown ones, and submission entries of the wrong size.
 */
#include <sys/ioctl.h>

#include "fixture.h"

TD_FIXTURE(added, td_add);
TD_FIXTURE(attached, td_add_attached);

static int get_info_by(struct testdev *td, __u32 op)
{
	struct ublksrv_ctrl_dev_info info = { .dev_id = -2 };
	int ret = td_ctl_buf(td, op, &info, sizeof(info), 0);

	if (!ret && info.dev_id != (__u32)td->id)
		return -EBADMSG;
	return ret;
}

static bool has_legacy(struct testdev *td)
{
	return get_info_by(td, UBLK_CMD_GET_DEV_INFO) != -EOPNOTSUPP;
}

TEST_F(added, ioctl_encoding_is_understood)
{
	EXPECT_EQ(0, get_info_by(&self->td, UBLK_U_CMD_GET_DEV_INFO));
}

TEST_F(added, raw_number_is_understood)
{
	if (!has_legacy(&self->td))
		SKIP(return, "driver without BLKDEV_UBLK_LEGACY_OPCODES");
	EXPECT_EQ(0, get_info_by(&self->td, UBLK_CMD_GET_DEV_INFO));
}

TEST_F(added, direction_and_size_do_not_matter)
{
	EXPECT_EQ(0, get_info_by(&self->td,
				 _IO('u', UBLK_CMD_GET_DEV_INFO)));
	EXPECT_EQ(0, get_info_by(&self->td,
				 _IOWR('u', UBLK_CMD_GET_DEV_INFO, char[99])));
}

TEST_F(added, raw_number_of_a_later_command_is_understood)
{
	if (!has_legacy(&self->td))
		SKIP(return, "driver without BLKDEV_UBLK_LEGACY_OPCODES");
	EXPECT_EQ(0, td_ctl(&self->td, _IOC_NR(UBLK_U_CMD_DEL_DEV_ASYNC), 0));
}

TEST_F(added, foreign_type_is_refused)
{
	EXPECT_EQ(-EOPNOTSUPP, get_info_by(&self->td,
					   _IOR('v', UBLK_CMD_GET_DEV_INFO,
						struct ublksrv_ctrl_cmd)));
}

TEST_F(added, foreign_type_is_refused_before_the_device_is_looked_up)
{
	self->td.id = 999999;
	EXPECT_EQ(-EOPNOTSUPP, td_ctl(&self->td,
				      _IO('v', UBLK_CMD_STOP_DEV), 0));
	self->td.id = self->td.info.dev_id;
}

TEST_F(added, features_go_by_the_full_number)
{
	__u64 features;

	EXPECT_EQ(-EOPNOTSUPP, td_ctl_buf(&self->td, _IO('u', 0x13), &features,
					  8, 0));
}

FIXTURE(unknown)
{
	struct testdev td;
};

FIXTURE_VARIANT(unknown)
{
	__u8 nr;
};

FIXTURE_VARIANT_ADD(unknown, nr_0x00) { .nr = 0x00 };
FIXTURE_VARIANT_ADD(unknown, nr_0x03) { .nr = 0x03 };
FIXTURE_VARIANT_ADD(unknown, nr_0x0a) { .nr = 0x0a };
FIXTURE_VARIANT_ADD(unknown, nr_0x1a) { .nr = 0x1a };
FIXTURE_VARIANT_ADD(unknown, nr_0x20) { .nr = 0x20 };
FIXTURE_VARIANT_ADD(unknown, nr_0x40) { .nr = 0x40 };
FIXTURE_VARIANT_ADD(unknown, nr_0xff) { .nr = 0xff };

TD_FIXTURE_OPS(unknown, td_add);

TEST_F(unknown, control_command_is_not_supported)
{
	EXPECT_EQ(-EOPNOTSUPP, td_ctl(&self->td, _IO('u', variant->nr), 0));
}

TEST_F(unknown, control_command_finds_no_device_first)
{
	self->td.id = 999999;
	EXPECT_EQ(-ENODEV, td_ctl(&self->td, _IO('u', variant->nr), 0));
	self->td.id = self->td.info.dev_id;
}

/* -- submission entries ---------------------------------------------------- */

/* Through a ring of 64-byte entries; what follows is another entry. */
static int ctl_on_small_ring(struct testdev *td, __u32 op)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int res;

	if (io_uring_queue_init(4, &ring, 0))
		return -EIO;
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, td->ctrl.fd, NULL, 0, 0);
	sqe->cmd_op = op;
	io_uring_submit(&ring);
	if (io_uring_wait_cqe(&ring, &cqe))
		return -EIO;
	res = cqe->res;
	io_uring_queue_exit(&ring);
	return res;
}

TEST_F(added, command_in_64_bytes_is_refused_inline)
{
	EXPECT_EQ(-EINVAL, ctl_on_small_ring(&self->td,
					     UBLK_U_CMD_GET_FEATURES));
}

TEST_F(added, command_in_64_bytes_is_refused_in_a_worker)
{
	EXPECT_EQ(-EINVAL, ctl_on_small_ring(&self->td, UBLK_U_CMD_STOP_DEV));
}

TEST_F(added, command_in_64_bytes_is_refused_before_its_type)
{
	EXPECT_EQ(-EINVAL, ctl_on_small_ring(&self->td, _IO('v', 1)));
}

/* -- no other way in ------------------------------------------------------- */

TEST_F(added, control_node_has_no_ioctl)
{
	EXPECT_EQ(-1, ioctl(self->td.ctrl.fd, UBLK_U_CMD_GET_FEATURES, 0));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(added, control_node_has_no_read)
{
	char c;

	EXPECT_EQ(-1, read(self->td.ctrl.fd, &c, 1));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(added, control_node_does_not_seek)
{
	EXPECT_EQ(-1, lseek(self->td.ctrl.fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
}

/* -- I/O commands ---------------------------------------------------------- */

static int io_cmd(struct testdev *td, __u32 op)
{
	return td_io_cmd(td, op, 0, 0, 0, (unsigned long)td_buf(td, 0, 0));
}

TEST_F(attached, io_command_takes_the_raw_number)
{
	if (!has_legacy(&self->td))
		SKIP(return, "driver without BLKDEV_UBLK_LEGACY_OPCODES");
	EXPECT_EQ(TD_PENDING, io_cmd(&self->td, UBLK_IO_FETCH_REQ));
}

TEST_F(attached, io_command_takes_any_direction_and_size)
{
	EXPECT_EQ(TD_PENDING, io_cmd(&self->td, _IO('u', UBLK_IO_FETCH_REQ)));
}

TEST_F(attached, io_command_of_a_foreign_type_is_not_supported)
{
	EXPECT_EQ(-EOPNOTSUPP, io_cmd(&self->td,
				      _IOWR('v', UBLK_IO_FETCH_REQ,
					    struct ublksrv_io_cmd)));
}

TEST_F(attached, io_command_type_is_checked_before_the_tag)
{
	EXPECT_EQ(-EOPNOTSUPP, td_io_cmd(&self->td, _IO('v', 0x20), 99, 99, 0,
					 4096));
}

TEST_F(attached, unknown_io_command_is_refused)
{
	EXPECT_EQ(-EINVAL, io_cmd(&self->td, _IO('u', 0x2f)));
}

TEST_F(attached, io_command_of_batch_mode_is_refused)
{
	EXPECT_EQ(-EINVAL, io_cmd(&self->td, UBLK_U_IO_PREP_IO_CMDS));
	EXPECT_EQ(-EINVAL, io_cmd(&self->td, UBLK_U_IO_COMMIT_IO_CMDS));
}

TEST_F(attached, unknown_io_command_on_an_armed_tag_finds_it_busy)
{
	ASSERT_EQ(TD_PENDING, td_fetch(&self->td, 0, 0));
	EXPECT_EQ(-EBUSY, io_cmd(&self->td, _IO('u', 0x2f)));
}

TEST_HARNESS_MAIN
