// SPDX-License-Identifier: GPL-2.0
/*
 * ADD_DEV: what it refuses, what it grants, and what it leaves behind.
 */
#include <sched.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fixture.h"

TD_FIXTURE(driver, td_no_device);

/* A device of the defaults except for what the row says. */
FIXTURE(refused)
{
	struct testdev td;
};

FIXTURE_VARIANT(refused)
{
	__u16 queues;
	__u16 depth;
	__u32 id;		/* 0: automatic */
	__u64 flags;
	__u16 desc_size;
	int err;
};

#define REFUSED(name, ...)						\
FIXTURE_VARIANT_ADD(refused, name)					\
{									\
	.queues = 1, .depth = 4, .err = -EINVAL, ##__VA_ARGS__		\
}

REFUSED(depth_0, .depth = 0);
REFUSED(depth_4097, .depth = 4097);
REFUSED(depth_65535, .depth = 65535);
REFUSED(queues_0, .queues = 0);
REFUSED(queues_4097, .queues = 4097);
REFUSED(queues_65535, .queues = 65535);
REFUSED(id_past_the_last, .id = 1 << 20);
REFUSED(id_minus_two, .id = -2);
REFUSED(reissue_alone, .flags = UBLK_F_USER_RECOVERY_REISSUE);
REFUSED(fail_io_alone, .flags = UBLK_F_USER_RECOVERY_FAIL_IO);
REFUSED(reissue_and_fail_io,
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
		 UBLK_F_USER_RECOVERY_FAIL_IO);
REFUSED(quiesce_without_recovery, .flags = UBLK_F_QUIESCE);
REFUSED(integrity_without_user_copy, .flags = UBLK_F_INTEGRITY);
REFUSED(desc_size_16, .flags = UBLK_F_IO_DESC_SIZE, .desc_size = 16);
REFUSED(desc_size_28, .flags = UBLK_F_IO_DESC_SIZE, .desc_size = 28);
REFUSED(desc_size_264, .flags = UBLK_F_IO_DESC_SIZE, .desc_size = 264);

TD_FIXTURE_OPS(refused, td_no_device);

TEST_F(refused, add_fails)
{
	struct testdev *td = &self->td;

	td->info.nr_hw_queues = variant->queues;
	td->info.queue_depth = variant->depth;
	td->info.flags = variant->flags;
	td->info.io_desc_size = variant->desc_size;
	if (variant->id)
		td->info.dev_id = variant->id;
	EXPECT_EQ(variant->err, td_add(td));
}

static int add_with(struct testdev *td, __u32 id, __u16 queue, const void *buf,
		    __u16 len)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = id,
		.queue_id = queue,
		.addr = (unsigned long)buf,
		.len = len,
	};

	return ublk_ctrl_run(&td->ctrl, UBLK_U_CMD_ADD_DEV, &cmd);
}

TEST_F(driver, add_refuses_a_short_buffer)
{
	EXPECT_EQ(-EINVAL, add_with(&self->td, -1, -1, &self->td.info,
				    sizeof(self->td.info) - 1));
}

TEST_F(driver, add_refuses_a_null_buffer)
{
	EXPECT_EQ(-EINVAL, add_with(&self->td, -1, -1, NULL,
				    sizeof(self->td.info)));
}

TEST_F(driver, add_refuses_a_queue_id)
{
	EXPECT_EQ(-EINVAL, add_with(&self->td, -1, 0, &self->td.info,
				    sizeof(self->td.info)));
}

TEST_F(driver, add_fails_on_an_unmapped_buffer)
{
	EXPECT_EQ(-EFAULT, add_with(&self->td, -1, -1, (void *)4096,
				    sizeof(self->td.info)));
}

TEST_F(driver, add_refuses_two_different_ids)
{
	self->td.info.dev_id = 7;
	EXPECT_EQ(-EINVAL, add_with(&self->td, 8, -1, &self->td.info,
				    sizeof(self->td.info)));
}

/* A reply that cannot be written must not leave a device nobody knows of. */
TEST_F(driver, add_is_undone_if_the_reply_faults)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info *info = td_page_buf(4096, 0);

	td->info.dev_id = 4321;
	*info = td->info;
	ASSERT_EQ(0, mprotect(info, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, add_with(td, 4321, -1, info, sizeof(*info)));
	EXPECT_EQ(0, td_add(td));
}

TEST_F(driver, add_refuses_an_id_in_use)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info again;

	ASSERT_EQ(0, td_add(td));
	again = td->info;
	EXPECT_EQ(-EEXIST, ublk_add_dev(&td->ctrl, &again));
}

/* An open /dev/ublkcN keeps a deleted device, and with it its number. */
TEST_F(driver, add_refuses_the_id_of_a_device_being_deleted)
{
	struct testdev *td = &self->td;
	struct ublksrv_ctrl_dev_info again;

	ASSERT_EQ(0, td_add(td));
	ASSERT_EQ(0, td_attach(td));
	ASSERT_EQ(0, ublk_del_dev_async(&td->ctrl, td->id));
	again = td->info;
	EXPECT_EQ(-EEXIST, ublk_add_dev(&td->ctrl, &again));
}

TEST_F(driver, add_needs_a_capability)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, setresuid(65534, 65534, 65534));
	EXPECT_EQ(-EPERM, td_add(td));
}

TEST_F(driver, add_grants_the_highest_id)
{
	self->td.info.dev_id = (1 << 20) - 1;
	EXPECT_EQ(0, td_add(&self->td));
	EXPECT_EQ((1 << 20) - 1, self->td.id);
}

TEST_F(driver, add_replies_with_a_dead_device)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td->info.state);
	EXPECT_EQ(-1, td->info.ublksrv_pid);
}

TEST_F(driver, add_replies_with_the_owner)
{
	struct testdev *td = &self->td;

	td->info.owner_uid = 12;
	td->info.owner_gid = 34;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(getuid(), td->info.owner_uid);
	EXPECT_EQ(getgid(), td->info.owner_gid);
}

TEST_F(driver, add_replies_with_the_usual_descriptor_size)
{
	self->td.info.io_desc_size = 64;
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_EQ(sizeof(struct ublksrv_io_desc), self->td.info.io_desc_size);
}

TEST_F(driver, add_drops_unknown_flags)
{
	self->td.info.flags = 1ULL << 63 | 1ULL << 40;
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_EQ(0, self->td.info.flags & (1ULL << 63 | 1ULL << 40));
}

TEST_F(driver, add_grants_only_what_features_tell)
{
	struct testdev *td = &self->td;

	/* One that needs no other flag. */
	td->info.flags = UBLK_F_UPDATE_SIZE | UBLK_F_SHMEM_ZC |
			 UBLK_F_USER_RECOVERY;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(0, td->info.flags & ~td_features(td));
}

TEST_F(driver, add_turns_on_what_every_device_has)
{
	struct testdev *td = &self->td;
	__u64 always = UBLK_F_CMD_IOCTL_ENCODE | UBLK_F_URING_CMD_COMP_IN_TASK |
		       UBLK_F_PER_IO_DAEMON | UBLK_F_SAFE_STOP_DEV |
		       UBLK_F_BUF_REG_OFF_DAEMON;

	always &= td_features(td);
	td->info.flags = 0;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(always, td->info.flags);
}

TEST_F(driver, add_clamps_the_queues_to_the_cpus)
{
	struct testdev *td = &self->td;

	td->info.nr_hw_queues = 4096;
	ASSERT_EQ(0, td_add(td));
	EXPECT_LT(0, td->info.nr_hw_queues);
	EXPECT_GE(sysconf(_SC_NPROCESSORS_CONF), td->info.nr_hw_queues);
}

TEST_F(driver, add_rounds_the_buffer_size_down_to_pages)
{
	long page = sysconf(_SC_PAGESIZE);

	self->td.info.max_io_buf_bytes = 3 * page - 1;
	ASSERT_EQ(0, td_add(&self->td));
	EXPECT_EQ(2 * page, self->td.info.max_io_buf_bytes);
}

TEST_F(driver, add_echoes_the_fields_of_the_server)
{
	struct testdev *td = &self->td;

	td->info.ublksrv_flags = 0x1122334455667788;
	td->info.pad1 = 0x99aabbcc;
	td->info.reserved1 = 0xfedcba9876543210;
	td->info.reserved2 = 0x0123456789abcdef;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(0x1122334455667788, td->info.ublksrv_flags);
	EXPECT_EQ(0x99aabbcc, td->info.pad1);
	EXPECT_EQ(0xfedcba9876543210, td->info.reserved1);
	EXPECT_EQ(0x0123456789abcdef, td->info.reserved2);
}

/* The largest device there can be; its queues are clamped to the CPUs. */
TEST_F(driver, add_takes_4096_queues_of_4096_tags)
{
	struct testdev *td = &self->td;

	td->info.nr_hw_queues = 4096;
	td->info.queue_depth = 4096;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(4096, td->info.queue_depth);
	EXPECT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
}

TEST_F(driver, add_makes_a_node_with_the_id_as_its_minor)
{
	struct stat st;
	char path[32];

	ASSERT_EQ(0, td_add(&self->td));
	snprintf(path, sizeof(path), "/dev/ublkc%d", self->td.id);
	ASSERT_EQ(0, stat(path, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(self->td.id, minor(st.st_rdev));
}

TEST_F(driver, add_puts_the_node_below_the_control_node)
{
	char path[96], real[256];
	char *p;

	ASSERT_EQ(0, td_add(&self->td));
	snprintf(path, sizeof(path), "/sys/class/ublk-char/ublkc%d",
		 self->td.id);
	p = realpath(path, real);
	ASSERT_NE(NULL, p);
	EXPECT_NE(NULL, strstr(p, "/virtual/misc/ublk-control/"));
}

TEST_F(driver, deleted_id_can_be_added_again)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, td_add(td));
	ASSERT_EQ(0, ublk_del_dev(&td->ctrl, td->id));
	EXPECT_EQ(0, td_add(td));
}

/* Asks without a pause: the memory of a device takes a moment longer to go. */
static bool is_soon_not_found(struct testdev *td)
{
	struct ublksrv_ctrl_dev_info info;
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	int ret;

	do {
		ret = ublk_get_info(&td->ctrl, td->id, &info);
	} while (!ret && td_now_ms() < deadline);
	return ret == -ENODEV;
}

TEST_F(driver, id_can_be_added_as_soon_as_it_is_not_found)
{
	struct testdev *td = &self->td;
	int ret, i;

	for (i = 0; i < 32; i++) {
		ret = td_add(td);
		ASSERT_EQ(0, ret)
			TH_LOG("round %d: %s", i, strerror(-ret));
		ASSERT_EQ(0, td_attach(td));
		ASSERT_EQ(0, td_detach(td));
		ASSERT_EQ(0, ublk_del_dev_async(&td->ctrl, td->id));
		ASSERT_TRUE(is_soon_not_found(td));
	}
}

/* A server may fill in what only the kernel may say. */
FIXTURE(forged)
{
	struct testdev td;
};

FIXTURE_VARIANT(forged)
{
	__u16 state;
};

FIXTURE_VARIANT_ADD(forged, live) { .state = UBLK_S_DEV_LIVE };
FIXTURE_VARIANT_ADD(forged, quiesced) { .state = UBLK_S_DEV_QUIESCED };
FIXTURE_VARIANT_ADD(forged, fail_io) { .state = UBLK_S_DEV_FAIL_IO };

TD_FIXTURE_OPS(forged, td_no_device);

TEST_F(forged, add_ignores_state_and_pid)
{
	struct testdev *td = &self->td;

	td->info.state = variant->state;
	td->info.ublksrv_pid = 1;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(UBLK_S_DEV_DEAD, td->info.state);
	EXPECT_EQ(-1, td->info.ublksrv_pid);
	EXPECT_EQ(UBLK_S_DEV_DEAD, td_state(td));
}

TEST_F(forged, device_starts_like_any_other)
{
	self->td.info.state = variant->state;
	self->td.info.ublksrv_pid = 1;
	EXPECT_EQ(0, td_go_live(&self->td));
}

TEST_HARNESS_MAIN
