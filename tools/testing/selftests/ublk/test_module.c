// SPDX-License-Identifier: GPL-2.0
/*
 * The module: what pins it, and what does not.
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

/* What the partition scan, or udev, reads first. */
static struct td_req kept;

static bool keep(struct testdev *td, const struct td_req *req)
{
	kept = *req;
	return true;
}

/* A live disk that nobody has open; the pages of a request are lent to @ring. */
static int lend_to(struct io_uring *ring, struct testdev *td)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	int ret = io_uring_queue_init(4, ring, 0);

	if (!ret)
		ret = io_uring_register_buffers_sparse(ring, 1);
	td->info.flags = UBLK_F_SUPPORT_ZERO_COPY;
	td->aside = keep;
	if (!ret)
		ret = td_add_fetched(td);
	if (!ret)
		ret = td_start(td);
	while (!ret && !kept.sectors)
		ret = td_pump(td, deadline) ? 0 : -ETIME;
	return ret ? ret : td_io_cmd_on(ring, td->cdev, UBLK_U_IO_REGISTER_IO_BUF,
					kept.queue, kept.tag, 0, 0);
}

/* The server is gone, its control node and ublkcN are closed. */
TEST_F(driver, end_of_a_server_that_waits_pins_the_module)
{
	struct testdev *td = &self->td;
	struct io_uring ring;
	int one = 1, none = 0;

	REQUIRE_MODULE();
	REQUIRE_FEATURE(td, UBLK_F_SUPPORT_ZERO_COPY);
	ASSERT_EQ(0, lend_to(&ring, td));
	td_detach(td);
	ublk_ctrl_close(&td->ctrl);
	/* More if it is udev that reads. */
	td_poll_until(is_back_to, &one);
	EXPECT_EQ(-1, syscall(SYS_delete_module, "ublk_drv", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	io_uring_queue_exit(&ring);
	EXPECT_TRUE(td_poll_until(is_back_to, &none));
}

/* Or fails for another reason than a user, which may be udev for a moment. */
static bool is_unloaded(void *arg)
{
	int *ret = arg;

	*ret = syscall(SYS_delete_module, "ublk_drv", O_NONBLOCK) ? -errno : 0;
	return *ret != -EWOULDBLOCK && *ret != -EBUSY;
}

/*
 * Takes the module away and brings it back from the file that UBLK_MODULE
 * names, as only its owner knows which file that is.
 */
static int reload(const char *file)
{
	int fd, ret;

	td_poll_until(is_unloaded, &ret);
	if (ret)
		return ret;
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

	REQUIRE_MODULE();
	if (!file)
		SKIP(return, "UBLK_MODULE does not name the module's file");
	ASSERT_EQ(0, td_add(td));
	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	ublk_ctrl_close(&td->ctrl);
	ASSERT_EQ(0, reload(file));
	EXPECT_EQ(-1, access(path, F_OK));
}

/*
 * Its next server will not come, and nobody has it open. With FAIL_IO, as udev would
 * wait with the disk open where reads are held.
 */
TEST_F(driver, unloading_deletes_a_disk_that_waits_for_a_server)
{
	const char *file = getenv("UBLK_MODULE");
	struct testdev *td = &self->td;
	char path[32];

	REQUIRE_MODULE();
	REQUIRE_FEATURE(td, UBLK_F_USER_RECOVERY_FAIL_IO);
	if (!file)
		SKIP(return, "UBLK_MODULE does not name the module's file");
	ASSERT_EQ(0, td_go_fail_io(td));
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	td_close_disk(td);
	ublk_ctrl_close(&td->ctrl);
	ASSERT_EQ(0, reload(file));
	EXPECT_EQ(-1, access(path, F_OK));
}

TEST_HARNESS_MAIN
