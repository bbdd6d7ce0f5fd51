// SPDX-License-Identifier: GPL-2.0
/*
 * Commands on an unprivileged device name it by the path of its node. The path
 * has to lead to the node, and the node has to be the caller's to use.
 */
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include "fixture.h"
#include "user.h"

#define PATH_BYTES	64

/* What the address of a command points at. */
struct named {
	char path[PATH_BYTES];
	union {
		struct ublksrv_ctrl_dev_info info;
		struct ublk_params params;
		char mask[128];
	};
};

TD_FIXTURE(user, add_unprivileged);

/* @path_len bytes of path at the start of @len bytes at @arg. */
static int issue(struct testdev *td, __u32 op, void *arg, __u16 len,
		 __u16 path_len)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id,
		.queue_id = -1,
		.addr = (unsigned long)arg,
		.len = len,
		.dev_path_len = path_len,
	};

	return ublk_ctrl_run(&td->ctrl, op, &cmd);
}

/* STOP_DEV does nothing to a device that was not started. */
static int stop(struct testdev *td, const char *path)
{
	char buf[PATH_BYTES] = "";

	snprintf(buf, sizeof(buf), "%s", path);
	return issue(td, UBLK_U_CMD_STOP_DEV, buf, sizeof(buf), sizeof(buf));
}

static void name_node(struct testdev *td, char *path)
{
	snprintf(path, PATH_BYTES, "/dev/ublkc%d", td->id);
}

/* -- the path itself ------------------------------------------------------- */

TEST_F(user, path_may_be_missing_in_no_command)
{
	char path[PATH_BYTES];

	name_node(&self->td, path);
	EXPECT_EQ(-EINVAL, issue(&self->td, UBLK_U_CMD_STOP_DEV, path,
				 sizeof(path), 0));
}

TEST_F(user, path_may_fill_4096_bytes)
{
	static char path[4096];

	name_node(&self->td, path);
	EXPECT_EQ(0, issue(&self->td, UBLK_U_CMD_STOP_DEV, path, 4096, 4096));
}

TEST_F(user, path_may_not_fill_4097_bytes)
{
	static char path[8192];

	name_node(&self->td, path);
	EXPECT_EQ(-EINVAL, issue(&self->td, UBLK_U_CMD_STOP_DEV, path, 8192,
				 4097));
}

TEST_F(user, path_has_to_lie_within_the_payload)
{
	char path[PATH_BYTES];

	name_node(&self->td, path);
	EXPECT_EQ(-EINVAL, issue(&self->td, UBLK_U_CMD_STOP_DEV, path,
				 sizeof(path) - 1, sizeof(path)));
}

TEST_F(user, path_needs_no_end_of_its_own)
{
	char path[PATH_BYTES];
	size_t len;

	name_node(&self->td, path);
	len = strlen(path);
	memset(path + len, 'x', sizeof(path) - len);
	EXPECT_EQ(0, issue(&self->td, UBLK_U_CMD_STOP_DEV, path, len, len));
}

TEST_F(user, path_has_to_be_readable_memory)
{
	EXPECT_EQ(-EFAULT, issue(&self->td, UBLK_U_CMD_STOP_DEV, (void *)4096,
				 64, 64));
}

TEST_F(user, path_of_nothing_is_not_found)
{
	EXPECT_EQ(-ENOENT, stop(&self->td, "/dev/ublkc-none"));
}

TEST_F(user, path_through_a_file_is_no_folder)
{
	EXPECT_EQ(-ENOTDIR, stop(&self->td, "/dev/null/ublkc0"));
}

TEST_F(user, path_counts_from_the_callers_folder)
{
	char path[PATH_BYTES];

	name_node(&self->td, path);
	ASSERT_EQ(0, chdir("/dev"));
	EXPECT_EQ(0, stop(&self->td, path + strlen("/dev/")));
}

/* -- what it leads to ------------------------------------------------------ */

TEST_F(user, folder_is_no_node)
{
	EXPECT_EQ(-EPERM, stop(&self->td, "/dev"));
}

TEST_F(user, node_of_something_else_does_not_count)
{
	EXPECT_EQ(-EPERM, stop(&self->td, "/dev/null"));
}

/* The number of a device goes to another one, and with it goes the old node. */
TEST_F(user, node_of_an_earlier_device_does_not_count)
{
	char path[PATH_BYTES];
	int fd;

	name_node(&self->td, path);
	fd = open(path, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	EXPECT_EQ(0, stop(&self->td, path));
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_DEL_DEV, 0));
	ASSERT_EQ(0, add_unprivileged(&self->td));
	EXPECT_EQ(-EPERM, stop(&self->td, path));
	close(fd);
}

/* A path in memory that has to be read from a disk, which this process serves. */
FIXTURE(slow)
{
	struct testdev td;
	struct testdev disk;
	char *page;
};

FIXTURE_SETUP(slow)
{
	if (!td_init(&self->td) || !td_init(&self->disk))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ASSERT_EQ(0, add_unprivileged(&self->td));
	ASSERT_EQ(0, td_go_live(&self->disk));
	self->page = td_map_disk(&self->disk, TD_AREA, 4096);
	ASSERT_NE(NULL, self->page);
}

FIXTURE_TEARDOWN_PARENT(slow)
{
	EXPECT_EQ(0, td_reap(&self->td));
	EXPECT_EQ(0, td_reap(&self->disk));
}

struct stranger {
	struct testdev td;	/* of which it has only the name */
	char *path;
	int ret;
};

static void *name_slowly(void *arg)
{
	struct stranger *s = arg;

	s->ret = ublk_ctrl_open(&s->td.ctrl);
	if (!s->ret)
		s->ret = issue(&s->td, UBLK_U_CMD_STOP_DEV, s->path, 4096, 4096);
	return NULL;
}

TEST_F(slow, path_that_does_not_come_keeps_no_device)
{
	struct stranger stranger = { .td = self->td, .path = self->page };
	struct testdev *disk = &self->disk;
	struct td_req req;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, name_slowly, &stranger));
	ASSERT_EQ(0, td_next(disk, &req));
	EXPECT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_DEL_DEV, 0));
	memcpy(td_buf(disk, 0, req.tag), "/dev/null", sizeof("/dev/null"));
	EXPECT_EQ(TD_PENDING, td_answer(disk, &req, 4096));
	pthread_join(thread, NULL);
	EXPECT_EQ(-ENODEV, stranger.ret);
}

FIXTURE(place)
{
	struct testdev td;
	char dir[PATH_BYTES];
	char file[PATH_BYTES];
	dev_t rdev;
};

/*
 * A mount of our own, before the first command is sent: the workers of io_uring
 * stay in the mount namespace that they were made in.
 */
static int make_place(char *dir)
{
	snprintf(dir, PATH_BYTES, "/tmp/ublk-path-XXXXXX");
	if (!mkdtemp(dir) || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", dir, "tmpfs", 0, "mode=755"))
		return -errno;
	return 0;
}

/* Leaves self->file as the name of a file that can be made. */
FIXTURE_SETUP(place)
{
	char node[PATH_BYTES];
	struct stat st;

	ASSERT_EQ(0, make_place(self->dir));
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ASSERT_EQ(0, add_unprivileged(&self->td));
	name_node(&self->td, node);
	ASSERT_EQ(0, stat(node, &st));
	self->rdev = st.st_rdev;
	snprintf(self->file, sizeof(self->file), "%.32s/node", self->dir);
}

FIXTURE_TEARDOWN_PARENT(place)
{
	EXPECT_EQ(0, td_reap(&self->td));
	rmdir(self->dir);
}

TEST_F(place, node_elsewhere_counts)
{
	ASSERT_EQ(0, mknod(self->file, S_IFCHR | 0600, self->rdev));
	EXPECT_EQ(0, stop(&self->td, self->file));
}

/* Anybody can mount a file system that calls its files nodes. */
TEST_F(place, node_on_a_nodev_mount_does_not_count)
{
	ASSERT_EQ(0, mount("none", self->dir, NULL, MS_REMOUNT | MS_NODEV, NULL));
	ASSERT_EQ(0, mknod(self->file, S_IFCHR | 0600, self->rdev));
	EXPECT_EQ(-EPERM, stop(&self->td, self->file));
}

TEST_F(place, node_of_the_next_device_does_not_count)
{
	ASSERT_EQ(0, mknod(self->file, S_IFCHR | 0600,
			   makedev(major(self->rdev), minor(self->rdev) + 1)));
	EXPECT_EQ(-EPERM, stop(&self->td, self->file));
}

TEST_F(place, block_node_of_the_same_number_does_not_count)
{
	ASSERT_EQ(0, mknod(self->file, S_IFBLK | 0600, self->rdev));
	EXPECT_EQ(-EPERM, stop(&self->td, self->file));
}

TEST_F(place, file_does_not_count)
{
	ASSERT_EQ(0, mknod(self->file, S_IFREG | 0600, 0));
	EXPECT_EQ(-EPERM, stop(&self->td, self->file));
}

TEST_F(place, link_to_the_node_counts)
{
	char node[PATH_BYTES];

	name_node(&self->td, node);
	ASSERT_EQ(0, symlink(node, self->file));
	EXPECT_EQ(0, stop(&self->td, self->file));
}

TEST_F(place, link_to_itself_leads_nowhere)
{
	ASSERT_EQ(0, symlink(self->file, self->file));
	EXPECT_EQ(-ELOOP, stop(&self->td, self->file));
}

/* Whose folder it is in decides, before whose node it is. */
TEST_F(place, node_out_of_reach_does_not_count)
{
	int ret;

	ASSERT_EQ(0, mknod(self->file, S_IFCHR | 0666, self->rdev));
	ASSERT_EQ(0, chmod(self->file, 0666));
	ASSERT_EQ(0, chmod(self->dir, 0700));
	become(USER, USER);
	ret = stop(&self->td, self->file);
	become_root();
	EXPECT_EQ(-EACCES, ret);
}

/* -- the payload behind it ------------------------------------------------- */

TEST_F(user, payload_begins_behind_the_path)
{
	struct named buf = { };

	name_node(&self->td, buf.path);
	ASSERT_EQ(0, issue(&self->td, UBLK_U_CMD_GET_DEV_INFO, &buf,
			   PATH_BYTES + sizeof(buf.info), PATH_BYTES));
	EXPECT_EQ(self->td.id, buf.info.dev_id);
	EXPECT_EQ(self->td.info.flags, buf.info.flags);
}

TEST_F(user, path_does_not_count_as_payload)
{
	struct named buf = { };

	name_node(&self->td, buf.path);
	EXPECT_EQ(-EINVAL, issue(&self->td, UBLK_U_CMD_GET_DEV_INFO, &buf,
				 PATH_BYTES + sizeof(buf.info) - 1, PATH_BYTES));
}

TEST_F(user, unknown_command_is_invalid)
{
	char path[PATH_BYTES];

	name_node(&self->td, path);
	EXPECT_EQ(-EINVAL, issue(&self->td, _IOWR('u', 0x3f,
						  struct ublksrv_ctrl_cmd),
				 path, sizeof(path), sizeof(path)));
}

/* Nobody learns from it what there is and what not. */
TEST_F(user, unknown_command_is_invalid_before_its_path_is_looked_up)
{
	char path[PATH_BYTES] = "/dev/ublkc-none";

	EXPECT_EQ(-EINVAL, issue(&self->td, _IOWR('u', 0x3f,
						  struct ublksrv_ctrl_cmd),
				 path, sizeof(path), sizeof(path)));
}

/* -- what each command takes ----------------------------------------------- */

FIXTURE(command)
{
	struct testdev td;
};

FIXTURE_VARIANT(command)
{
	__u32 op;
	bool asks;		/* and changes nothing */
	__u16 len;
	int ret;		/* of a device that was just added */
};

TD_FIXTURE_OPS(command, add_unprivileged);

FIXTURE_VARIANT_ADD(command, get_dev_info) {
	UBLK_U_CMD_GET_DEV_INFO, true, sizeof(struct ublksrv_ctrl_dev_info), 0 };
FIXTURE_VARIANT_ADD(command, get_dev_info2) {
	UBLK_U_CMD_GET_DEV_INFO2, true, sizeof(struct ublksrv_ctrl_dev_info), 0 };
FIXTURE_VARIANT_ADD(command, get_params) {
	UBLK_U_CMD_GET_PARAMS, true, sizeof(struct ublk_params), 0 };
FIXTURE_VARIANT_ADD(command, get_queue_affinity) {
	UBLK_U_CMD_GET_QUEUE_AFFINITY, true, 128, 0 };
FIXTURE_VARIANT_ADD(command, set_params) {
	UBLK_U_CMD_SET_PARAMS, false, sizeof(struct ublk_params), 0 };
FIXTURE_VARIANT_ADD(command, start_dev) {
	UBLK_U_CMD_START_DEV, false, 0, -EINVAL };
FIXTURE_VARIANT_ADD(command, stop_dev) { UBLK_U_CMD_STOP_DEV, false, 0, 0 };
FIXTURE_VARIANT_ADD(command, del_dev) { UBLK_U_CMD_DEL_DEV, false, 0, 0 };
FIXTURE_VARIANT_ADD(command, del_dev_async) {
	UBLK_U_CMD_DEL_DEV_ASYNC, false, 0, 0 };
FIXTURE_VARIANT_ADD(command, start_user_recovery) {
	UBLK_U_CMD_START_USER_RECOVERY, false, 0, -EINVAL };
FIXTURE_VARIANT_ADD(command, end_user_recovery) {
	UBLK_U_CMD_END_USER_RECOVERY, false, 0, -EINVAL };
FIXTURE_VARIANT_ADD(command, update_size) {
	UBLK_U_CMD_UPDATE_SIZE, false, 0, -ENODEV };
FIXTURE_VARIANT_ADD(command, quiesce_dev) {
	UBLK_U_CMD_QUIESCE_DEV, false, 0, -EOPNOTSUPP };
FIXTURE_VARIANT_ADD(command, try_stop_dev) {
	UBLK_U_CMD_TRY_STOP_DEV, false, 0, -ENODEV };
FIXTURE_VARIANT_ADD(command, reg_buf) {
	UBLK_U_CMD_REG_BUF, false, 0, -EOPNOTSUPP };
FIXTURE_VARIANT_ADD(command, unreg_buf) {
	UBLK_U_CMD_UNREG_BUF, false, 0, -EOPNOTSUPP };

static int issue_as(struct testdev *td, uid_t id, __u32 op, __u16 len)
{
	struct named buf = { };
	int ret;

	/* Fine to get, and with types to set. */
	buf.params = td->params;
	name_node(td, buf.path);
	become(id, id);
	ret = issue(td, op, &buf, PATH_BYTES + len, PATH_BYTES);
	become_root();
	return ret;
}

TEST_F(command, works_for_who_may_read_and_write_the_node)
{
	ASSERT_EQ(0, hand_over(&self->td, USER, 0600));
	EXPECT_EQ(variant->ret, issue_as(&self->td, USER, variant->op,
					 variant->len));
}

TEST_F(command, works_for_who_may_only_read_if_it_only_asks)
{
	ASSERT_EQ(0, hand_over(&self->td, USER, 0644));
	EXPECT_EQ(variant->asks ? 0 : -EACCES,
		  issue_as(&self->td, OTHER_USER, variant->op, variant->len));
}

TEST_F(command, fails_for_who_may_only_write)
{
	ASSERT_EQ(0, hand_over(&self->td, USER, 0622));
	EXPECT_EQ(-EACCES, issue_as(&self->td, OTHER_USER, variant->op,
				    variant->len));
}

TEST_F(command, fails_without_a_path_for_root_too)
{
	struct named buf = { };

	EXPECT_EQ(-EINVAL, issue(&self->td, variant->op, &buf, sizeof(buf), 0));
}

/* It is the node that counts, and not who has made the device. */
TEST_F(user, owner_without_the_node_commands_nothing)
{
	EXPECT_EQ(-EACCES, issue_as(&self->td, USER, UBLK_U_CMD_STOP_DEV, 0));
}

TEST_HARNESS_MAIN
