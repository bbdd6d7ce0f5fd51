// SPDX-License-Identifier: GPL-2.0
/*
 * The commands that only ask: GET_FEATURES, GET_DEV_INFO, GET_DEV_INFO2 and
 * GET_QUEUE_AFFINITY; and what every command says of a device that is not there
 * or lacks the feature.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"

#define KNOWN_FEATURES	0x1fffffULL

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(added, td_add);
TD_FIXTURE(live, td_go_live);

static int two_queues(struct testdev *td)
{
	td->info.nr_hw_queues = 2;
	return td_add(td);
}

TD_FIXTURE(queues, two_queues);

static int features_len(struct testdev *td, void *buf, __u16 len)
{
	return td_ctl_buf(td, UBLK_U_CMD_GET_FEATURES, buf, len, 0);
}

TEST_F(driver, features_have_no_unknown_bit)
{
	__u64 features = ~0ULL;

	ASSERT_EQ(0, ublk_get_features(&self->td.ctrl, &features));
	EXPECT_EQ(0, features & ~KNOWN_FEATURES);
}

TEST_F(driver, features_tell_the_ioctl_encoding)
{
	__u64 features = 0;

	ASSERT_EQ(0, ublk_get_features(&self->td.ctrl, &features));
	EXPECT_NE(0, features & UBLK_F_CMD_IOCTL_ENCODE);
}

TEST_F(driver, features_refuse_a_short_buffer)
{
	__u64 features;

	EXPECT_EQ(-EINVAL, features_len(&self->td, &features, 7));
}

TEST_F(driver, features_refuse_a_longer_buffer)
{
	char buf[16];

	EXPECT_EQ(-EINVAL, features_len(&self->td, buf, 9));
	EXPECT_EQ(-EINVAL, features_len(&self->td, buf, 16));
}

TEST_F(driver, features_refuse_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, features_len(&self->td, NULL, 8));
}

TEST_F(driver, features_fail_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, features_len(&self->td, (void *)4096, 8));
}

TEST_F(driver, features_need_no_capability)
{
	__u64 features = 0;

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(0, ublk_get_features(&self->td.ctrl, &features));
}

/* -- GET_DEV_INFO ---------------------------------------------------------- */

static int info_len(struct testdev *td, const void *buf, __u16 len)
{
	return td_ctl_buf(td, UBLK_U_CMD_GET_DEV_INFO, buf, len, 0);
}

TEST_F(added, info_refuses_a_short_buffer)
{
	struct ublksrv_ctrl_dev_info info;

	EXPECT_EQ(-EINVAL, info_len(&self->td, &info, sizeof(info) - 1));
}

TEST_F(added, info_refuses_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, info_len(&self->td, NULL,
				    sizeof(struct ublksrv_ctrl_dev_info)));
}

TEST_F(added, info_fails_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, info_len(&self->td, (void *)4096,
				    sizeof(struct ublksrv_ctrl_dev_info)));
}

TEST_F(added, info_takes_a_longer_buffer)
{
	struct { struct ublksrv_ctrl_dev_info info; char more[32]; } longer;

	memset(&longer, 0xaa, sizeof(longer));
	ASSERT_EQ(0, info_len(&self->td, &longer, sizeof(longer)));
	EXPECT_EQ(self->td.id, longer.info.dev_id);
	EXPECT_EQ((char)0xaa, longer.more[0]);
}

TEST_F(added, info_returns_what_add_replied)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info info;

	memset(&info, 0xaa, sizeof(info));
	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &info));
	EXPECT_EQ(0, memcmp(&info, &td->info, sizeof(info)));
}

TEST_F(added, info_does_not_show_a_server_before_start)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info info;

	ASSERT_EQ(0, td_attach(td));
	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &info));
	EXPECT_EQ(-1, info.ublksrv_pid);
}

TEST_F(live, info_shows_the_server)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info info;

	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &info));
	EXPECT_EQ(getpid(), info.ublksrv_pid);
	EXPECT_EQ(UBLK_S_DEV_LIVE, info.state);
}

TEST_F(live, info_shows_no_server_after_stop)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info info;

	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	ASSERT_EQ(0, ublk_get_info(&td->ctrl, td->id, &info));
	EXPECT_EQ(-1, info.ublksrv_pid);
	EXPECT_EQ(UBLK_S_DEV_DEAD, info.state);
}

TEST_F(added, info_needs_a_capability)
{
	struct ublksrv_ctrl_dev_info info;

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, ublk_get_info(&self->td.ctrl, self->td.id, &info));
}

/* -- GET_DEV_INFO2: the path of the node stands before the reply ------------ */

struct path_and_info {
	char path[64];
	struct ublksrv_ctrl_dev_info info;
};

static int info2(struct testdev *td, struct path_and_info *buf, __u16 path_len,
		 __u16 len)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id,
		.queue_id = -1,
		.addr = (unsigned long)buf,
		.len = len,
		.dev_path_len = path_len,
	};

	return ublk_ctrl_run(&td->ctrl, UBLK_U_CMD_GET_DEV_INFO2, &cmd);
}

static void name_node(struct path_and_info *buf, int id)
{
	memset(buf, 0, sizeof(*buf));
	snprintf(buf->path, sizeof(buf->path), "/dev/ublkc%d", id);
}

TEST_F(added, info2_returns_the_device_of_the_path)
{
	struct path_and_info buf;

	name_node(&buf, self->td.id);
	ASSERT_EQ(0, info2(&self->td, &buf, sizeof(buf.path), sizeof(buf)));
	EXPECT_EQ(self->td.id, buf.info.dev_id);
	EXPECT_EQ(4, buf.info.queue_depth);
}

TEST_F(added, info2_refuses_no_path)
{
	struct path_and_info buf;

	name_node(&buf, self->td.id);
	EXPECT_EQ(-EINVAL, info2(&self->td, &buf, 0, sizeof(buf)));
}

TEST_F(added, info2_refuses_a_path_longer_than_the_buffer)
{
	struct path_and_info buf;

	name_node(&buf, self->td.id);
	EXPECT_EQ(-EINVAL, info2(&self->td, &buf, sizeof(buf.path), 32));
}

TEST_F(added, info2_refuses_a_path_longer_than_4096)
{
	struct path_and_info *buf = td_page_buf(8192, 0);

	name_node(buf, self->td.id);
	EXPECT_EQ(-EINVAL, info2(&self->td, buf, 4097, 8192));
}

TEST_F(added, info2_fails_on_an_unmapped_path)
{
	EXPECT_EQ(-EFAULT, info2(&self->td, (void *)4096, 64, 128));
}

TEST_F(added, info2_passes_on_that_the_path_is_missing)
{
	struct path_and_info buf = { .path = "/dev/ublkc-none" };

	EXPECT_EQ(-ENOENT, info2(&self->td, &buf, sizeof(buf.path),
				 sizeof(buf)));
}

TEST_F(added, info2_refuses_a_node_of_something_else)
{
	struct path_and_info buf = { .path = "/dev/null" };

	EXPECT_EQ(-EPERM, info2(&self->td, &buf, sizeof(buf.path),
				sizeof(buf)));
}

TEST_F(added, info2_refuses_a_folder)
{
	struct path_and_info buf = { .path = "/dev" };

	EXPECT_EQ(-EPERM, info2(&self->td, &buf, sizeof(buf.path),
				sizeof(buf)));
}

TEST_F(added, info2_refuses_a_reply_that_does_not_fit)
{
	struct path_and_info buf;

	name_node(&buf, self->td.id);
	EXPECT_EQ(-EINVAL, info2(&self->td, &buf, sizeof(buf.path),
				 sizeof(buf) - 1));
}

/* Leaves @path naming a node with @dev's number, on a mount of @flags. */
static int node_on_a_mount(char *path, size_t len, int id, unsigned long flags)
{
	char dir[] = "/tmp/ublk-node-XXXXXX", dev[32];
	struct stat st;

	snprintf(dev, sizeof(dev), "/dev/ublkc%d", id);
	if (stat(dev, &st) || !mkdtemp(dir) || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", flags, NULL))
		return -errno;
	snprintf(path, len, "%s/node", dir);
	return mknod(path, S_IFCHR | 0600, st.st_rdev) ? -errno : 0;
}

TEST_F(added, info2_takes_a_node_elsewhere)
{
	struct path_and_info buf = { };

	ASSERT_EQ(0, node_on_a_mount(buf.path, sizeof(buf.path), self->td.id, 0));
	EXPECT_EQ(0, info2(&self->td, &buf, sizeof(buf.path), sizeof(buf)));
}

/* Anybody can mount a file system that calls its files nodes. */
TEST_F(added, info2_refuses_a_node_on_a_nodev_mount)
{
	struct path_and_info buf = { };

	ASSERT_EQ(0, node_on_a_mount(buf.path, sizeof(buf.path), self->td.id,
				     MS_NODEV));
	EXPECT_EQ(-EPERM, info2(&self->td, &buf, sizeof(buf.path), sizeof(buf)));
}

/* -- GET_QUEUE_AFFINITY ---------------------------------------------------- */

TEST_F(queues, affinity_covers_each_cpu_once)
{
	struct testdev *td = &self->td;
	cpu_set_t masks[2], both, common;

	if (td->info.nr_hw_queues < 2)
		SKIP(return, "needs two CPUs");
	ASSERT_EQ(0, ublk_get_affinity(&td->ctrl, td->id, 0, &masks[0],
				       sizeof(masks[0])));
	ASSERT_EQ(0, ublk_get_affinity(&td->ctrl, td->id, 1, &masks[1],
				       sizeof(masks[1])));
	CPU_OR(&both, &masks[0], &masks[1]);
	CPU_AND(&common, &masks[0], &masks[1]);
	EXPECT_LE(sysconf(_SC_NPROCESSORS_CONF), CPU_COUNT(&both));
	EXPECT_EQ(0, CPU_COUNT(&common));
}

TEST_F(queues, affinity_zeroes_the_tail_of_the_buffer)
{
	unsigned char mask[1024];

	memset(mask, 0xff, sizeof(mask));
	ASSERT_EQ(0, ublk_get_affinity(&self->td.ctrl, self->td.id, 0, mask,
				       sizeof(mask)));
	EXPECT_EQ(0, mask[sizeof(mask) - 1]);
}

TEST_F(queues, affinity_refuses_a_queue_that_is_not_there)
{
	cpu_set_t mask;

	EXPECT_EQ(-EINVAL, ublk_get_affinity(&self->td.ctrl, self->td.id,
					     self->td.info.nr_hw_queues, &mask,
					     sizeof(mask)));
}

TEST_F(queues, affinity_refuses_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, ublk_get_affinity(&self->td.ctrl, self->td.id, 0,
					     NULL, sizeof(cpu_set_t)));
}

TEST_F(queues, affinity_refuses_half_a_word)
{
	cpu_set_t mask;

	EXPECT_EQ(-EINVAL, ublk_get_affinity(&self->td.ctrl, self->td.id, 0,
					     &mask, sizeof(mask) - 4));
}

TEST_F(queues, affinity_refuses_an_empty_buffer)
{
	cpu_set_t mask;

	EXPECT_EQ(-EINVAL, ublk_get_affinity(&self->td.ctrl, self->td.id, 0,
					     &mask, 0));
}

TEST_F(queues, affinity_fails_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, ublk_get_affinity(&self->td.ctrl, self->td.id, 0,
					     (void *)4096, sizeof(cpu_set_t)));
}

/* -- where commands run ---------------------------------------------------- */

/* Commands that never sleep are done when the submission returns. */
FIXTURE(asking)
{
	struct testdev td;
};

FIXTURE_VARIANT(asking)
{
	__u32 op;
	__u16 len;
};

FIXTURE_VARIANT_ADD(asking, features) {
	.op = UBLK_U_CMD_GET_FEATURES, .len = 8,
};

FIXTURE_VARIANT_ADD(asking, info) {
	.op = UBLK_U_CMD_GET_DEV_INFO,
	.len = sizeof(struct ublksrv_ctrl_dev_info),
};

FIXTURE_VARIANT_ADD(asking, affinity) {
	.op = UBLK_U_CMD_GET_QUEUE_AFFINITY, .len = 128,
};

TD_FIXTURE_OPS(asking, td_add);

TEST_F(asking, command_completes_at_its_submission)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = self->td.id,
		.queue_id = -1,
		.addr = (unsigned long)td_page_buf(4096, 0),
		.len = variant->len,
	};
	struct io_uring_cqe *cqe;

	ASSERT_EQ(0, ublk_ctrl_submit(&self->td.ctrl, variant->op, &cmd));
	ASSERT_EQ(0, io_uring_peek_cqe(&self->td.ctrl.ring, &cqe));
	EXPECT_EQ(0, cqe->res);
}

/* -- a device that is not there -------------------------------------------- */

FIXTURE(nobody)
{
	struct testdev td;
};

FIXTURE_VARIANT(nobody)
{
	__u32 op;
};

TD_FIXTURE_OPS(nobody, td_no_device);

#define NOBODY(name) \
	FIXTURE_VARIANT_ADD(nobody, name) { .op = UBLK_U_CMD_##name }

NOBODY(DEL_DEV);
NOBODY(DEL_DEV_ASYNC);
NOBODY(START_DEV);
NOBODY(STOP_DEV);
NOBODY(TRY_STOP_DEV);
NOBODY(SET_PARAMS);
NOBODY(GET_PARAMS);
NOBODY(GET_DEV_INFO);
NOBODY(GET_DEV_INFO2);
NOBODY(GET_QUEUE_AFFINITY);
NOBODY(UPDATE_SIZE);
NOBODY(START_USER_RECOVERY);
NOBODY(END_USER_RECOVERY);
NOBODY(QUIESCE_DEV);

TEST_F(nobody, command_finds_no_device)
{
	self->td.id = 999999;
	EXPECT_EQ(-ENODEV, td_ctl(&self->td, variant->op, 0));
	self->td.id = -1;
}

/* -- commands of features that the device does not have -------------------- */

FIXTURE(unoffered)
{
	struct testdev td;
};

FIXTURE_VARIANT(unoffered)
{
	__u32 op;
	int err;
};

TD_FIXTURE_OPS(unoffered, td_add);

FIXTURE_VARIANT_ADD(unoffered, START_USER_RECOVERY)
{
	.op = UBLK_U_CMD_START_USER_RECOVERY, .err = -EINVAL,
};

FIXTURE_VARIANT_ADD(unoffered, QUIESCE_DEV)
{
	.op = UBLK_U_CMD_QUIESCE_DEV, .err = -EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(unoffered, REG_BUF)
{
	.op = UBLK_U_CMD_REG_BUF, .err = -EOPNOTSUPP,
};

FIXTURE_VARIANT_ADD(unoffered, UNREG_BUF)
{
	.op = UBLK_U_CMD_UNREG_BUF, .err = -EOPNOTSUPP,
};

TEST_F(unoffered, command_is_refused)
{
	EXPECT_EQ(variant->err, td_ctl(&self->td, variant->op, 0));
}

TEST_HARNESS_MAIN
