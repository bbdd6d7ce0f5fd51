// SPDX-License-Identifier: GPL-2.0
/*
 * A file system that knows zones, on a zoned disk of ublk_srv.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "testfs.h"

/* What f2fs writes in place needs conventional zones. */
#define ZONE		(2ULL << 20)
#define ZONES		128
#define CONVENTIONAL	32

static const struct fs_kind f2fs = {
	"f2fs", { "mkfs.f2fs", "-q", "-f", "-m" }, { "fsck.f2fs", "--dry-run" },
};

FIXTURE(served)
{
	struct testdev td;
	char dev[32];
	char dir[32];
};

FIXTURE_VARIANT(served)
{
	enum ublk_mode mode;
	__u64 flags;
};

FIXTURE_VARIANT_ADD(served, with_user_copy) {
	.mode = UBLK_MODE_USER_COPY,
};

FIXTURE_VARIANT_ADD(served, in_batches_with_auto_buf) {
	.mode = UBLK_MODE_AUTO_BUF, .flags = UBLK_F_BATCH_IO,
};

FIXTURE_SETUP(served)
{
	struct testdev *td = &self->td;
	struct ublk_options opts;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, UBLK_F_ZONED | variant->flags);
	ublk_options_init(&opts);
	opts.target = &ublk_zoned_target;
	opts.size = ZONES * ZONE;
	opts.zoned.zone_bytes = ZONE;
	opts.zoned.conventional = CONVENTIONAL;
	opts.queues = 2;
	opts.depth = 32;
	opts.mode = variant->mode;
	opts.flags = variant->flags;
	ASSERT_EQ(0, td_spawn(td, &opts));
	td_close_disk(td);
	sprintf(self->dev, "/dev/ublkb%d", td->id);
	snprintf(self->dir, sizeof(self->dir), "/tmp/ublk-test-%d", td->id);
	mkdir(self->dir, 0700);
}

FIXTURE_TEARDOWN_PARENT(served)
{
	while (!umount2(self->dir, MNT_DETACH))
		;
	rmdir(self->dir);
	EXPECT_EQ(0, td_reap(&self->td));
}

TEST_F_TIMEOUT(served, f2fs_keeps_its_files_and_stays_clean, 120)
{
	CHECK_FS(self->dev, self->dir, &f2fs);
}

TEST_HARNESS_MAIN
