// SPDX-License-Identifier: GPL-2.0
/*
 * UPDATE_SIZE: a disk grows and shrinks while it is in use.
 */
#include <linux/fs.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "fixture.h"

TD_FIXTURE(added, td_add_attached);
TD_FIXTURE(live, td_go_live);

static int live_4k(struct testdev *td)
{
	td->params.basic.logical_bs_shift = 12;
	td->params.basic.physical_bs_shift = 12;
	return td_go_live(td);
}

TD_FIXTURE(blocks_of_4k, live_4k);

static int resize(struct testdev *td, __u64 sectors)
{
	return td_ctl(td, UBLK_U_CMD_UPDATE_SIZE, sectors);
}

static __u64 disk_sectors(struct testdev *td)
{
	__u64 bytes = 0;

	if (ioctl(td->bdev, BLKGETSIZE64, &bytes))
		return ~0ULL;
	return bytes >> 9;
}

TEST_F(live, resize_grows_the_disk)
{
	ASSERT_EQ(0, resize(&self->td, 2 * TD_SIZE >> 9));
	EXPECT_EQ(2 * TD_SIZE >> 9, disk_sectors(&self->td));
}

TEST_F(live, resize_shrinks_the_disk)
{
	ASSERT_EQ(0, resize(&self->td, TD_SIZE >> 10));
	EXPECT_EQ(TD_SIZE >> 10, disk_sectors(&self->td));
}

TEST_F(live, resize_makes_room_for_io)
{
	struct testdev *td = &self->td;

	td->answer_all = true;
	ASSERT_EQ(0, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					 TD_SIZE)));
	ASSERT_EQ(0, resize(td, 2 * TD_SIZE >> 9));
	EXPECT_EQ(4096, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_SIZE)));
}

TEST_F(live, resize_changes_the_stored_parameters)
{
	struct testdev *td = &self->td;
	struct ublk_params p;

	ASSERT_EQ(0, resize(td, 4096));
	ASSERT_EQ(0, ublk_get_params(&td->ctrl, td->id, &p));
	EXPECT_EQ(4096, p.basic.dev_sectors);
}

/* Servers never ask for the feature before they use the command. */
TEST_F(live, resize_needs_no_flag)
{
	ASSERT_EQ(0, self->td.info.flags & UBLK_F_UPDATE_SIZE);
	EXPECT_EQ(0, resize(&self->td, 4096));
}

TEST_F(live, resize_works_while_requests_are_in_hand)
{
	struct testdev *td = &self->td;
	struct td_req req;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_EQ(0, resize(td, 2 * TD_SIZE >> 9));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_F(added, resize_finds_no_disk_before_start)
{
	EXPECT_EQ(-ENODEV, resize(&self->td, 4096));
}

TEST_F(live, resize_finds_no_disk_after_stop)
{
	td_close_disk(&self->td);
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, resize(&self->td, 4096));
}

TEST_F(live, resize_to_nothing_is_refused)
{
	EXPECT_EQ(-EINVAL, resize(&self->td, 0));
	EXPECT_EQ(TD_SIZE >> 9, disk_sectors(&self->td));
}

TEST_F(blocks_of_4k, resize_off_the_block_is_refused)
{
	EXPECT_EQ(-EINVAL, resize(&self->td, 4097));
	EXPECT_EQ(TD_SIZE >> 9, disk_sectors(&self->td));
}

/* 8 EiB, but for a sector. */
TEST_F(live, resize_ends_where_sizes_in_bytes_do)
{
	__u64 largest = (1ULL << 54) - 1;

	EXPECT_EQ(-EINVAL, resize(&self->td, largest + 1));
	EXPECT_EQ(-EINVAL, resize(&self->td, -1));
	EXPECT_EQ(TD_SIZE >> 9, disk_sectors(&self->td));
	ASSERT_EQ(0, resize(&self->td, largest));
	EXPECT_EQ(largest, disk_sectors(&self->td));
}

TEST_F(blocks_of_4k, resize_to_a_single_block_works)
{
	ASSERT_EQ(0, resize(&self->td, 8));
	EXPECT_EQ(8, disk_sectors(&self->td));
}

TEST_F(live, resize_needs_a_capability)
{
	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, resize(&self->td, 4096));
}

/* -- uevents --------------------------------------------------------------- */

static int open_uevents(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (void *)&addr, sizeof(addr))) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool has_line(const char *msg, ssize_t len, const char *line)
{
	const char *p;

	for (p = msg; p < msg + len; p += strlen(p) + 1)
		if (!strcmp(p, line))
			return true;
	return false;
}

/* Whether the resize event of the disk comes within @timeout_ms. */
static bool saw_resize(struct testdev *td, int fd, int timeout_ms)
{
	__u64 deadline = td_now_ms() + timeout_ms;
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char msg[8192], name[32];
	ssize_t len;

	snprintf(name, sizeof(name), "DEVNAME=ublkb%d", td->id);
	while (td_now_ms() < deadline) {
		if (poll(&pfd, 1, deadline - td_now_ms()) <= 0)
			continue;
		len = recv(fd, msg, sizeof(msg) - 1, 0);
		if (len <= 0)
			continue;
		msg[len] = '\0';
		if (has_line(msg, len, name) && has_line(msg, len, "RESIZE=1"))
			return true;
	}
	return false;
}

TEST_F(live, resize_sends_a_uevent)
{
	int fd = open_uevents();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, resize(&self->td, 2 * TD_SIZE >> 9));
	EXPECT_TRUE(saw_resize(&self->td, fd, TD_DEADLINE_MS));
}

TEST_F(live, resize_to_the_same_size_sends_no_uevent)
{
	int fd = open_uevents();

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, resize(&self->td, TD_SIZE >> 9));
	EXPECT_FALSE(saw_resize(&self->td, fd, 200));
}

FIXTURE(in_use)
{
	struct testdev td;
};

FIXTURE_VARIANT(in_use)
{
	__u64 size;
};

TD_FIXTURE_OPS(in_use, td_go_live);

FIXTURE_VARIANT_ADD(in_use, growing) { .size = 2 * TD_SIZE };
FIXTURE_VARIANT_ADD(in_use, shrinking) { .size = TD_AREA_END };

/* The event does not wait for the request, nor does the new end of the disk. */
TEST_F(in_use, disk_is_resized_and_says_so)
{
	struct testdev *td = &self->td;
	void *buf = td_page_buf(4096, 1);
	int fd = open_uevents(), client, last;
	struct td_req req, end;

	ASSERT_LE(0, fd);
	client = td_write_arrived(td, &req, buf, 4096);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, resize(td, variant->size >> 9));
	EXPECT_TRUE(saw_resize(td, fd, TD_DEADLINE_MS));
	EXPECT_EQ(variant->size >> 9, disk_sectors(td));

	last = td_write(td, buf, 4096, variant->size - 4096, 0);
	ASSERT_EQ(0, td_next(td, &end));
	EXPECT_EQ((variant->size - 4096) >> 9, end.start);
	td_answer(td, &end, 4096);
	EXPECT_EQ(4096, td_wait(td, last));
	EXPECT_EQ(-ENOSPC, td_wait(td, td_write(td, buf, 4096, variant->size, 0)));
	td_answer(td, &req, 4096);
	EXPECT_EQ(4096, td_wait(td, client));
}

TEST_HARNESS_MAIN
