// SPDX-License-Identifier: GPL-2.0
/*
 * The module: what pins it, what does not, and its parameter.
 */
#include <sys/syscall.h>

#include "fixture.h"

TD_FIXTURE(driver, td_no_device);

/* One open file may count for several users, so only the trend is told. */
static bool has_users(void *arg)
{
	return td_module_refs() > *(int *)arg;
}

static bool is_back_to(void *arg)
{
	return td_module_refs() == *(int *)arg;
}

#define REQUIRE_MODULE()						\
	if (td_module_refs() < 0)					\
		SKIP(return, "the driver is not a module")

TEST_F(driver, control_node_pins_the_module)
{
	struct ublk_ctrl ctrl;
	int refs = td_module_refs();

	REQUIRE_MODULE();
	ASSERT_EQ(0, ublk_ctrl_open(&ctrl));
	EXPECT_TRUE(has_users(&refs));
	ublk_ctrl_close(&ctrl);
	EXPECT_TRUE(td_poll_until(is_back_to, &refs));
}

TEST_F(driver, device_does_not_pin_the_module)
{
	int refs = td_module_refs();

	REQUIRE_MODULE();
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_TRUE(td_poll_until(is_back_to, &refs));
}

TEST_F(driver, node_pins_the_module)
{
	struct testdev *td = &self->td;
	int refs = td_module_refs();

	REQUIRE_MODULE();
	ASSERT_EQ(0, td_add_attached(td));
	EXPECT_TRUE(has_users(&refs));
	td_detach(td);
	EXPECT_TRUE(td_poll_until(is_back_to, &refs));
}

/* The server goes first, so that nothing but the disk is left to count. */
TEST_F(driver, open_disk_pins_the_module)
{
	struct testdev *td = &self->td;
	int refs = td_module_refs();

	REQUIRE_MODULE();
	ASSERT_EQ(0, td_go_live(td));
	td_detach(td);
	td_settle(td, 200);
	EXPECT_TRUE(has_users(&refs));
	td_close_disk(td);
	EXPECT_TRUE(td_poll_until(is_back_to, &refs));
}

TEST_F(driver, live_device_without_its_server_does_not_pin_the_module)
{
	struct testdev *td = &self->td;
	int refs = td_module_refs();

	REQUIRE_MODULE();
	ASSERT_EQ(0, td_go_live(td));
	td_close_disk(td);
	td_detach(td);
	EXPECT_TRUE(td_poll_until(is_back_to, &refs));
}

TEST_F(driver, pinned_module_cannot_be_unloaded)
{
	REQUIRE_MODULE();
	EXPECT_EQ(-1, syscall(SYS_delete_module, "ublk_drv", O_NONBLOCK));
	EXPECT_TRUE(errno == EAGAIN || errno == EBUSY || errno == EWOULDBLOCK);
}

/*
 * Takes the module away and brings it back from the file that UBLK_MODULE
 * names, as only its owner knows which file that is.
 */
static int reload(const char *file)
{
	int fd, ret;

	if (syscall(SYS_delete_module, "ublk_drv", O_NONBLOCK))
		return -errno;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret;
}

TEST_F(driver, unloading_deletes_an_idle_device)
{
	const char *file = getenv("UBLK_MODULE");
	struct testdev *td = &self->td;
	char path[32];
	int none = 0;

	REQUIRE_MODULE();
	if (!file)
		SKIP(return, "UBLK_MODULE does not name the module's file");
	ASSERT_EQ(0, td_add(td));
	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	ublk_ctrl_close(&td->ctrl);
	ASSERT_TRUE(td_poll_until(is_back_to, &none));
	ASSERT_EQ(0, reload(file));
	EXPECT_EQ(-1, access(path, F_OK));
}

/* Its next server will not come, and nobody has it open. */
TEST_F(driver, unloading_deletes_a_disk_that_waits_for_a_server)
{
	const char *file = getenv("UBLK_MODULE");
	struct testdev *td = &self->td;
	char path[32];
	int none = 0;

	REQUIRE_MODULE();
	REQUIRE_FEATURE(td, UBLK_F_USER_RECOVERY);
	if (!file)
		SKIP(return, "UBLK_MODULE does not name the module's file");
	ASSERT_EQ(0, td_go_quiesced(td));
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	td_close_disk(td);
	ublk_ctrl_close(&td->ctrl);
	ASSERT_TRUE(td_poll_until(is_back_to, &none));
	ASSERT_EQ(0, reload(file));
	EXPECT_EQ(-1, access(path, F_OK));
}

/* -- ublks_max ------------------------------------------------------------- */

#define UBLKS_MAX	"/sys/module/ublk_drv/parameters/ublks_max"

/* 0, or the errno of the write. */
static int set_max(const char *text)
{
	int fd = open(UBLKS_MAX, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = errno;
	close(fd);
	return ret;
}

static int get_max(void)
{
	char text[32] = "";
	int fd = open(UBLKS_MAX, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atoi(text);
}

FIXTURE(limit)
{
	struct testdev td;
	int old;
};

FIXTURE_SETUP(limit)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	self->old = get_max();
	ASSERT_LE(0, self->old);
}

FIXTURE_TEARDOWN_PARENT(limit)
{
	char text[32];

	snprintf(text, sizeof(text), "%d", self->old);
	EXPECT_EQ(0, set_max(text));
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F(limit, is_64_by_default)
{
	EXPECT_EQ(64, get_max());
}

TEST_F(limit, takes_0)
{
	EXPECT_EQ(0, set_max("0"));
	EXPECT_EQ(0, get_max());
}

TEST_F(limit, takes_the_number_of_ids)
{
	EXPECT_EQ(0, set_max("1048576"));
	EXPECT_EQ(1048576, get_max());
}

TEST_F(limit, refuses_more_than_there_are_ids)
{
	EXPECT_EQ(EINVAL, set_max("1048577"));
	EXPECT_EQ(self->old, get_max());
}

TEST_F(limit, refuses_a_negative_number)
{
	EXPECT_EQ(EINVAL, set_max("-1"));
}

TEST_F(limit, refuses_a_device_of_an_ordinary_user_at_0)
{
	ASSERT_EQ(0, set_max("0"));
	self->td.info.flags = UBLK_F_UNPRIVILEGED_DEV;
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EACCES, td_add(&self->td));
}

TEST_F(limit, does_not_count_privileged_devices)
{
	ASSERT_EQ(0, set_max("0"));
	EXPECT_EQ(0, td_add(&self->td));
}

TEST_HARNESS_MAIN
