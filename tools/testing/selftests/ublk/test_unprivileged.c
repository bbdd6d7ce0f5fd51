// SPDX-License-Identifier: GPL-2.0
/*
 * Devices of ordinary users: who may add them, how their node vouches for a
 * command, and who may open their disks.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "fixture.h"

#define USER		65534
#define OTHER_USER	65533

/* The path of the node, as commands on such a device begin with it. */
struct node {
	char path[32];
	union {
		struct ublksrv_ctrl_dev_info info;
		struct ublk_params params;
	};
};

FIXTURE(user)
{
	struct testdev td;
};

static void become(uid_t id)
{
	/* Root stays the saved id, to come back to. */
	if (setresgid(id, id, 0) || setresuid(id, id, 0))
		abort();
}

static void become_root(void)
{
	if (setresuid(0, 0, 0) || setresgid(0, 0, 0))
		abort();
}

static int add_as(struct testdev *td, uid_t id, __u64 flags)
{
	int ret;

	td->info.flags = flags;
	become(id);
	ret = td_add(td);
	become_root();
	return ret;
}

/* Give the node to @id with these mode bits. */
static int hand_over(const char *kind, int dev, uid_t id, mode_t mode)
{
	char path[32];

	snprintf(path, sizeof(path), "/dev/ublk%s%d", kind, dev);
	return chown(path, id, id) || chmod(path, mode) ? -errno : 0;
}

/* A command with @len bytes of payload behind the node's path. */
static int on_node(struct testdev *td, __u32 op, struct node *node, __u16 len,
		   __u64 data)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id,
		.queue_id = -1,
		.addr = (unsigned long)node,
		.len = sizeof(node->path) + len,
		.data[0] = data,
		.dev_path_len = sizeof(node->path),
	};

	snprintf(node->path, sizeof(node->path), "/dev/ublkc%d", td->id);
	return ublk_ctrl_run(&td->ctrl, op, &cmd);
}

static int get_info(struct testdev *td)
{
	struct node node = { };

	return on_node(td, UBLK_U_CMD_GET_DEV_INFO, &node, sizeof(node.info), 0);
}

static int stop(struct testdev *td)
{
	struct node node = { };

	return on_node(td, UBLK_U_CMD_STOP_DEV, &node, 0, 0);
}

static int is_gone(struct testdev *td)
{
	return ublk_get_info(&td->ctrl, td->id, &td->info) == -ENODEV;
}

FIXTURE_SETUP(user)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ASSERT_EQ(0, add_as(&self->td, USER, UBLK_F_UNPRIVILEGED_DEV |
				     UBLK_F_NO_AUTO_PART_SCAN));
}

FIXTURE_TEARDOWN_PARENT(user)
{
	struct node node = { };
	struct testdev td;

	if (self->td.id < 0 || !td_init(&td))
		return;
	td.id = self->td.id;
	on_node(&td, UBLK_U_CMD_DEL_DEV, &node, 0, 0);
	EXPECT_TRUE(is_gone(&td));
	td.id = -1;
	td_drop(&td);
}

TEST_F(user, device_is_marked_and_owned)
{
	EXPECT_TRUE(self->td.info.flags & UBLK_F_UNPRIVILEGED_DEV);
	EXPECT_EQ(USER, self->td.info.owner_uid);
	EXPECT_EQ(USER, self->td.info.owner_gid);
}

TEST_F(user, command_without_a_path_is_refused_for_root_too)
{
	struct ublksrv_ctrl_dev_info info;

	EXPECT_EQ(-EINVAL, ublk_get_info(&self->td.ctrl, self->td.id, &info));
	EXPECT_EQ(-EINVAL, ublk_stop_dev(&self->td.ctrl, self->td.id));
}

TEST_F(user, command_of_an_unknown_number_is_invalid)
{
	struct node node = { };

	EXPECT_EQ(-EINVAL, on_node(&self->td, _IOWR('u', 0x3f,
						    struct ublksrv_ctrl_cmd),
				   &node, 0, 0));
}

TEST_F(user, owner_of_the_node_commands)
{
	ASSERT_EQ(0, hand_over("c", self->td.id, USER, 0600));
	become(USER);
	EXPECT_EQ(0, get_info(&self->td));
	EXPECT_EQ(0, stop(&self->td));
	become_root();
}

TEST_F(user, stranger_does_not_command)
{
	ASSERT_EQ(0, hand_over("c", self->td.id, USER, 0600));
	become(OTHER_USER);
	EXPECT_EQ(-EACCES, get_info(&self->td));
	EXPECT_EQ(-EACCES, stop(&self->td));
	become_root();
}

TEST_F(user, reader_of_the_node_only_asks)
{
	ASSERT_EQ(0, hand_over("c", self->td.id, USER, 0644));
	become(OTHER_USER);
	EXPECT_EQ(0, get_info(&self->td));
	EXPECT_EQ(-EACCES, stop(&self->td));
	become_root();
}

TEST_F(user, owner_deletes_without_waiting)
{
	struct node node = { };

	ASSERT_EQ(0, hand_over("c", self->td.id, USER, 0600));
	become(USER);
	EXPECT_EQ(0, on_node(&self->td, UBLK_U_CMD_DEL_DEV_ASYNC, &node, 0, 0));
	become_root();
}

static int go_live(struct testdev *td)
{
	struct node node = { .params = td->params };
	int ret;

	ret = on_node(td, UBLK_U_CMD_SET_PARAMS, &node, sizeof(node.params), 0);
	if (!ret)
		ret = td_attach(td);
	if (!ret)
		ret = td_fetch_all(td);
	return ret ? ret : on_node(td, UBLK_U_CMD_START_DEV, &node, 0, getpid());
}

static int open_disk_as(struct testdev *td, uid_t id)
{
	char path[32];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	become(id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		ret = -errno;
	else
		close(fd);
	become_root();
	return ret;
}

TEST_F(user, disk_opens_for_its_owner_only)
{
	ASSERT_EQ(0, go_live(&self->td));
	ASSERT_EQ(0, hand_over("b", self->td.id, USER, 0666));
	EXPECT_EQ(0, open_disk_as(&self->td, USER));
	EXPECT_EQ(-EPERM, open_disk_as(&self->td, OTHER_USER));
	EXPECT_EQ(0, open_disk_as(&self->td, 0));
	td_detach(&self->td);
}

/* -- ADD_DEV ---------------------------------------------------------------- */

TD_FIXTURE(driver, td_no_device);

TEST_F(driver, root_gets_a_privileged_device)
{
	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_FALSE(self->td.info.flags & UBLK_F_UNPRIVILEGED_DEV);
}

FIXTURE(leak)
{
	struct testdev td;
};

FIXTURE_VARIANT(leak)
{
	__u64 flags;
};

TD_FIXTURE_OPS(leak, td_no_device);

FIXTURE_VARIANT_ADD(leak, user_copy) { .flags = UBLK_F_USER_COPY };
FIXTURE_VARIANT_ADD(leak, zero_copy) { .flags = UBLK_F_SUPPORT_ZERO_COPY };
FIXTURE_VARIANT_ADD(leak, auto_buf_reg) { .flags = UBLK_F_AUTO_BUF_REG };

/* What a server does not fill in would be memory of the kernel's. */
TEST_F(leak, user_is_refused)
{
	EXPECT_EQ(-EINVAL, add_as(&self->td, USER, UBLK_F_UNPRIVILEGED_DEV |
						   variant->flags));
}

TEST_HARNESS_MAIN
