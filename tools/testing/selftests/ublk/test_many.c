// SPDX-License-Identifier: GPL-2.0
/*
 * A hundred devices at once, and a process that dies with many.
 */
#include "fixture.h"

#define DEVICES		100
#define DYING_AT_ONCE	25

FIXTURE(crowd)
{
	int ids[DEVICES];
};

FIXTURE_SETUP(crowd)
{
	struct ublk_ctrl ctrl;

	memset(self->ids, 0xff, sizeof(self->ids));
	if (ublk_ctrl_open(&ctrl))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ublk_ctrl_close(&ctrl);
}

FIXTURE_TEARDOWN_PARENT(crowd)
{
	struct testdev td = { };
	int i;

	for (i = 0; i < DEVICES; i++) {
		td.id = self->ids[i];
		EXPECT_EQ(0, td_reap(&td));
	}
}

static int start_server(struct ublk_server *srv)
{
	struct ublk_options opts;

	ublk_options_init(&opts);
	opts.size = TD_SIZE;
	opts.depth = 2;
	opts.buf_bytes = TD_BUF_BYTES;
	return ublk_server_start(srv, &opts);
}

static int read_disk(int id)
{
	char path[32], *buf = td_page_buf(4096, 0);
	int fd, ret;

	snprintf(path, sizeof(path), "/dev/ublkb%d", id);
	fd = open(path, O_RDONLY | O_DIRECT);
	if (fd < 0)
		return -errno;
	ret = pread(fd, buf, 4096, TD_AREA);
	close(fd);
	munmap(buf, 4096);
	return ret;
}

TEST_F_TIMEOUT(crowd, hundred_disks_are_served_and_deleted, 180)
{
	struct ublk_server *servers = calloc(DEVICES, sizeof(*servers));
	int i;

	for (i = 0; i < DEVICES; i++) {
		ASSERT_EQ(0, start_server(&servers[i]));
		self->ids[i] = servers[i].info.dev_id;
	}
	for (i = 0; i < DEVICES; i++)
		EXPECT_EQ(4096, read_disk(self->ids[i]));
	for (i = 0; i < DEVICES; i++)
		EXPECT_EQ(0, ublk_server_delete(&servers[i]));
}

/* No server is stopped in order; each disk has to find out for itself. */
TEST_F_TIMEOUT(crowd, many_disks_go_with_their_process, 180)
{
	struct ublk_server *servers = calloc(DYING_AT_ONCE, sizeof(*servers));
	int i;

	for (i = 0; i < DYING_AT_ONCE; i++) {
		ASSERT_EQ(0, start_server(&servers[i]));
		self->ids[i] = servers[i].info.dev_id;
	}
	EXPECT_EQ(4096, read_disk(self->ids[DYING_AT_ONCE - 1]));
}

TEST_HARNESS_MAIN
