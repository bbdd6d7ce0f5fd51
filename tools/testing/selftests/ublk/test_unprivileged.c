// SPDX-License-Identifier: GPL-2.0
/*
 * Devices of ordinary users: who may add them, how many, with which features,
 * and who may open their disks.
 */
#include <sys/ioctl.h>
#include <linux/fs.h>

#include "fixture.h"
#include "user.h"

#define RECOVERY	UBLK_F_USER_RECOVERY
#define REISSUE		(UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE)
#define FAIL_IO		(UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO)
#define QUIESCE		(UBLK_F_USER_RECOVERY | UBLK_F_QUIESCE)

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(user, add_unprivileged);

/* -- ADD_DEV --------------------------------------------------------------- */

TEST_F(driver, user_has_to_ask_for_an_unprivileged_device)
{
	EXPECT_EQ(-EPERM, add_as(&self->td, USER, 0));
}

TEST_F(driver, root_gets_a_privileged_device)
{
	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_FALSE(self->td.info.flags & UBLK_F_UNPRIVILEGED_DEV);
}

TEST_F(driver, root_without_the_capability_is_a_user)
{
	int ret;

	set_admin(false);
	ret = td_add(&self->td);
	set_admin(true);
	EXPECT_EQ(-EPERM, ret);
}

TEST_F(driver, user_with_the_capability_gets_a_privileged_device)
{
	int ret;

	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	become(USER, USER);
	set_admin(true);
	ret = td_add(&self->td);
	become_root();
	ASSERT_EQ(0, ret);
	EXPECT_FALSE(self->td.info.flags & UBLK_F_UNPRIVILEGED_DEV);
}

TEST_F(driver, device_is_marked_and_owned)
{
	struct testdev *td = &self->td;
	int ret;

	td->info.flags = UBLK_F_UNPRIVILEGED_DEV;
	become(USER, OTHER_USER);
	ret = td_add(td);
	become_root();
	ASSERT_EQ(0, ret);
	EXPECT_TRUE(td->info.flags & UBLK_F_UNPRIVILEGED_DEV);
	EXPECT_EQ(USER, td->info.owner_uid);
	EXPECT_EQ(OTHER_USER, td->info.owner_gid);
}

FIXTURE(refused)
{
	struct testdev td;
};

FIXTURE_VARIANT(refused)
{
	__u64 flags;
};

TD_FIXTURE_OPS(refused, td_no_device);

/* What a server does not fill in would be memory of the kernel's. */
FIXTURE_VARIANT_ADD(refused, user_copy) { .flags = UBLK_F_USER_COPY };
FIXTURE_VARIANT_ADD(refused, zero_copy) { .flags = UBLK_F_SUPPORT_ZERO_COPY };
FIXTURE_VARIANT_ADD(refused, auto_buf_reg) { .flags = UBLK_F_AUTO_BUF_REG };

/* Nor does what is dropped for users make sense of what does not go together. */
FIXTURE_VARIANT_ADD(refused, reissue_alone) {
	.flags = UBLK_F_USER_RECOVERY_REISSUE };
FIXTURE_VARIANT_ADD(refused, fail_io_alone) {
	.flags = UBLK_F_USER_RECOVERY_FAIL_IO };
FIXTURE_VARIANT_ADD(refused, reissue_and_fail_io) { .flags = REISSUE | FAIL_IO };
FIXTURE_VARIANT_ADD(refused, quiesce_alone) { .flags = UBLK_F_QUIESCE };

TEST_F(refused, flags_are_invalid)
{
	EXPECT_EQ(-EINVAL, add_as(&self->td, USER, UBLK_F_UNPRIVILEGED_DEV |
						   variant->flags));
}

FIXTURE(asked)
{
	struct testdev td;
};

FIXTURE_VARIANT(asked)
{
	__u64 flags;
	__u64 left;
};

static int ask_nothing(struct testdev *td)
{
	td->info.io_desc_size = sizeof(struct ublksrv_io_desc);
	return 0;
}

TD_FIXTURE_OPS(asked, ask_nothing);

FIXTURE_VARIANT_ADD(asked, recovery) { .flags = RECOVERY };
FIXTURE_VARIANT_ADD(asked, reissue) { .flags = REISSUE };
FIXTURE_VARIANT_ADD(asked, fail_io) {
	.flags = FAIL_IO, .left = UBLK_F_USER_RECOVERY_FAIL_IO };
FIXTURE_VARIANT_ADD(asked, quiesce) {
	.flags = QUIESCE, .left = UBLK_F_QUIESCE };
FIXTURE_VARIANT_ADD(asked, get_data) {
	.flags = UBLK_F_NEED_GET_DATA, .left = UBLK_F_NEED_GET_DATA };
FIXTURE_VARIANT_ADD(asked, update_size) {
	.flags = UBLK_F_UPDATE_SIZE, .left = UBLK_F_UPDATE_SIZE };
FIXTURE_VARIANT_ADD(asked, no_partscan) {
	.flags = UBLK_F_NO_AUTO_PART_SCAN, .left = UBLK_F_NO_AUTO_PART_SCAN };
FIXTURE_VARIANT_ADD(asked, desc_size) {
	.flags = UBLK_F_IO_DESC_SIZE, .left = UBLK_F_IO_DESC_SIZE };

/* A user's device that waits for a server could wait for ever. */
TEST_F(asked, flags_are_granted_but_recovery)
{
	REQUIRE_FEATURE(&self->td, variant->flags);
	ASSERT_EQ(0, add_as(&self->td, USER, UBLK_F_UNPRIVILEGED_DEV |
					     variant->flags));
	EXPECT_EQ(variant->left, self->td.info.flags & variant->flags);
}

TEST_F(user, start_recovery_finds_no_recovery)
{
	EXPECT_EQ(-EINVAL, td_ctl(&self->td, UBLK_U_CMD_START_USER_RECOVERY, 0));
}

TEST_F(user, end_recovery_finds_no_recovery)
{
	EXPECT_EQ(-EINVAL, td_ctl(&self->td, UBLK_U_CMD_END_USER_RECOVERY,
				  getpid()));
}

/* -- ublks_max ------------------------------------------------------------- */

#define LIMIT	"/sys/module/ublk_drv/parameters/ublks_max"

static int set_limit(const char *text)
{
	return td_write_text(LIMIT, text);
}

static int get_limit(void)
{
	char text[16];
	int ret = td_read_text(LIMIT, text, sizeof(text));

	return ret ? ret : atoi(text);
}

FIXTURE(limit)
{
	struct testdev td;
	struct testdev second;
	char before[16];
};

FIXTURE_SETUP(limit)
{
	if (!td_init(&self->td) || !td_init(&self->second))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ASSERT_EQ(0, td_read_text(LIMIT, self->before, sizeof(self->before)));
}

FIXTURE_TEARDOWN_PARENT(limit)
{
	EXPECT_EQ(0, td_reap(&self->td));
	EXPECT_EQ(0, td_reap(&self->second));
	EXPECT_EQ(0, set_limit(self->before));
}

static int add_user(struct testdev *td)
{
	return add_as(td, USER, UBLK_F_UNPRIVILEGED_DEV);
}

TEST_F(limit, default_is_64)
{
	EXPECT_EQ(64, atoi(self->before));
}

TEST_F(limit, zero_forbids_all)
{
	ASSERT_EQ(0, set_limit("0"));
	EXPECT_EQ(-EACCES, add_user(&self->td));
}

TEST_F(limit, refuses_one_more)
{
	ASSERT_EQ(0, set_limit("1"));
	ASSERT_EQ(0, add_user(&self->td));
	EXPECT_EQ(-EACCES, add_user(&self->second));
}

TEST_F(limit, is_not_for_root)
{
	ASSERT_EQ(0, set_limit("0"));
	EXPECT_EQ(0, td_add(&self->td));
}

TEST_F(limit, does_not_count_devices_of_root)
{
	ASSERT_EQ(0, set_limit("1"));
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_EQ(0, add_user(&self->second));
}

TEST_F(limit, lowered_leaves_devices_alone)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, add_user(td));
	ASSERT_EQ(0, set_limit("0"));
	EXPECT_EQ(0, ublk_get_info(&td->ctrl, td->id, &td->info));
}

TEST_F(limit, does_not_count_what_could_not_be_added)
{
	struct ublksrv_ctrl_dev_info *info = &self->td.info;

	ASSERT_EQ(0, set_limit("1"));
	ASSERT_EQ(0, td_add(&self->second));
	info->dev_id = self->second.id;
	ASSERT_EQ(-EEXIST, add_user(&self->td));
	info->dev_id = UBLK_AUTO_ID;
	EXPECT_EQ(0, add_user(&self->td));
}

static bool can_add(void *arg)
{
	return add_user(arg) == 0;
}

TEST_F(limit, gives_the_place_back_when_the_device_is_gone)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, set_limit("1"));
	ASSERT_EQ(0, add_user(td));
	ASSERT_EQ(0, td_attach(td));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_DEL_DEV_ASYNC, 0));
	EXPECT_EQ(-EACCES, add_user(&self->second));
	td_detach(td);
	EXPECT_TRUE(td_poll_until(can_add, &self->second));
}

TEST_F(limit, takes_0)
{
	EXPECT_EQ(0, set_limit("0"));
	EXPECT_EQ(0, get_limit());
}

TEST_F(limit, takes_as_many_as_there_can_be)
{
	EXPECT_EQ(0, set_limit("1048576"));
	EXPECT_EQ(1048576, get_limit());
}

TEST_F(limit, refuses_more_than_there_can_be)
{
	EXPECT_EQ(-EINVAL, set_limit("1048577"));
}

TEST_F(limit, refuses_a_negative_number)
{
	EXPECT_EQ(-EINVAL, set_limit("-1"));
}

TEST_F(limit, stays_after_a_refusal)
{
	ASSERT_EQ(-EINVAL, set_limit("1048577"));
	EXPECT_EQ(atoi(self->before), get_limit());
}

/* -- the disk -------------------------------------------------------------- */

/* Served by a task without privilege, as is usual for such a device. */
static int go_live(struct testdev *td)
{
	int ret = add_unprivileged(td);

	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	if (ret)
		return ret;
	set_admin(false);
	ret = td_fetch_all(td);
	set_admin(true);
	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

FIXTURE(opener)
{
	struct testdev td;
};

FIXTURE_VARIANT(opener)
{
	uid_t uid;
	gid_t gid;
	bool admin;
	int ret;
};

TD_FIXTURE_OPS(opener, go_live);

FIXTURE_VARIANT_ADD(opener, owner) { USER, USER, false, 0 };
FIXTURE_VARIANT_ADD(opener, owners_group) { OTHER_USER, USER, false, -EPERM };
FIXTURE_VARIANT_ADD(opener, owner_in_another_group) {
	USER, OTHER_USER, false, -EPERM };
FIXTURE_VARIANT_ADD(opener, stranger) {
	OTHER_USER, OTHER_USER, false, -EPERM };
FIXTURE_VARIANT_ADD(opener, root_without_the_capability) { 0, 0, false, -EPERM };
FIXTURE_VARIANT_ADD(opener, root) { 0, 0, true, 0 };
FIXTURE_VARIANT_ADD(opener, stranger_with_the_capability) {
	OTHER_USER, OTHER_USER, true, 0 };

TEST_F(opener, gets_the_disk_if_it_is_his)
{
	int ret;

	ASSERT_EQ(0, td_make_node(&self->td, 0666));
	become(variant->uid, variant->gid);
	set_admin(variant->admin);
	ret = open_disk(&self->td);
	set_admin(true);
	become_root();
	td_remove_node(&self->td);
	EXPECT_EQ(variant->ret, ret);
}

FIXTURE(live)
{
	struct testdev td;
};

FIXTURE_VARIANT(live)
{
	__u64 flags;
};

FIXTURE_SETUP(live)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	self->td.info.flags = variant->flags;
	ASSERT_EQ(0, go_live(&self->td));
}

FIXTURE_TEARDOWN_PARENT(live)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

FIXTURE_VARIANT_ADD(live, plain) { };
FIXTURE_VARIANT_ADD(live, no_partscan) { .flags = UBLK_F_NO_AUTO_PART_SCAN };
FIXTURE_VARIANT_ADD(live, recovery) { .flags = RECOVERY };
FIXTURE_VARIANT_ADD(live, reissue) { .flags = REISSUE };
FIXTURE_VARIANT_ADD(live, fail_io) { .flags = FAIL_IO };
FIXTURE_VARIANT_ADD(live, quiesce) { .flags = QUIESCE };

TEST_F(live, device_dies_with_its_server)
{
	struct testdev *td = &self->td;

	td_close_disk(td);
	td_detach(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_DEAD));
}

TEST_F(live, request_in_hand_fails_with_its_server)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	struct td_req req;

	ASSERT_EQ(0, td_next(td, &req));
	td_detach(td);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

/* Or the kernel would take apart what any user has put together. */
TEST_F(live, partitions_are_not_looked_for_on_demand_either)
{
	EXPECT_EQ(-1, ioctl(self->td.bdev, BLKRRPART));
	EXPECT_EQ(EINVAL, errno);
}

/* -- QUIESCE_DEV ----------------------------------------------------------- */

static int go_live_to_quiesce(struct testdev *td)
{
	td->info.flags |= QUIESCE;
	return go_live(td);
}

TD_FIXTURE(quiesced, go_live_to_quiesce);

TEST_F(quiesced, fetches_come_back)
{
	struct testdev *td = &self->td;

	REQUIRE_FEATURE(td, QUIESCE);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, TD_DEADLINE_MS));
	EXPECT_EQ(UBLK_IO_RES_ABORT, td_wait_end(td, 0, 0));
}

TEST_F(quiesced, new_io_fails)
{
	struct testdev *td = &self->td;

	REQUIRE_FEATURE(td, QUIESCE);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, TD_DEADLINE_MS));
	EXPECT_EQ(-EIO, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
}

TEST_F(quiesced, request_in_hand_is_answered)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	struct td_req req;

	REQUIRE_FEATURE(td, QUIESCE);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, TD_DEADLINE_MS));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(quiesced, io_does_not_wait_for_a_server_that_cannot_be_told)
{
	struct testdev *td = &self->td;
	int client;

	REQUIRE_FEATURE(td, QUIESCE);
	io_uring_queue_exit(&td->ring);
	td->serving = false;
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	td_settle(td, 200);
	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	EXPECT_EQ(-EIO, td_wait(td, client));
}

static bool ctl_answers(void *arg)
{
	struct testdev *td = arg;

	return io_uring_cq_ready(&td->ctrl.ring);
}

/*
 * Requests are held meanwhile, and those of a file system would keep everybody's
 * sync(2): half a minute is enough.
 */
TEST_F_TIMEOUT(quiesced, quiesce_does_not_wait_for_ever, 120)
{
	struct testdev *td = &self->td;
	struct td_req req;
	unsigned int i;

	REQUIRE_FEATURE(td, QUIESCE);
	/* Of this very process, that is. */
	ASSERT_EQ(0, td_set_io_timeout(td, 600000));
	for (i = 0; i < td->info.queue_depth; i++) {
		td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
		ASSERT_EQ(0, td_next(td, &req));
	}
	ASSERT_EQ(0, td_ctl_send(td, UBLK_U_CMD_QUIESCE_DEV, 0));
	for (i = 0; i < 5 && !td_poll_until(ctl_answers, td); i++)
		;
	EXPECT_EQ(-EBUSY, td_ctl_wait(td));
}

TEST_F(quiesced, device_dies_when_its_server_leaves)
{
	struct testdev *td = &self->td;

	REQUIRE_FEATURE(td, QUIESCE);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_QUIESCE_DEV, TD_DEADLINE_MS));
	td_close_disk(td);
	td_detach(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_DEAD));
}

TEST_HARNESS_MAIN
