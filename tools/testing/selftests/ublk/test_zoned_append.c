// SPDX-License-Identifier: GPL-2.0
/*
 * ZONE_APPEND. Only file systems and drivers send it; a program can have it sent
 * by a local NVMe target (nvmet, nvme-loop), which makes a namespace of the disk.
 * For disks that NVMe does not have, see test_zoned_bio.c.
 */
#include <glob.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "fixture.h"
#include "testbatch.h"
#include "testzoned.h"

#define CONFIG		"/sys/kernel/config/nvmet"
#define NVME_APPEND	0x7d
#define BYTES		8192U
#define SECTORS		(BYTES >> UBLK_SECTOR_SHIFT)

/* $1 is the disk, $2 a name for the subsystem. */
static const char connect_script[] =
	"set -e; d=" CONFIG "/subsystems/$2; p=" CONFIG "/ports/77\n"
	"mkdir $d; echo 1 >$d/attr_allow_any_host\n"
	"mkdir $d/namespaces/1; echo $1 >$d/namespaces/1/device_path\n"
	"echo 1 >$d/namespaces/1/enable\n"
	"mkdir $p; echo loop >$p/addr_trtype; ln -s $d $p/subsystems/$2\n"
	"echo transport=loop,nqn=$2 >/dev/nvme-fabrics\n";

static const char disconnect_script[] =
	"d=" CONFIG "/subsystems/$2; p=" CONFIG "/ports/77\n"
	"for c in /sys/class/nvme/nvme*; do\n"
	"  [ \"$(cat $c/subsysnqn 2>/dev/null)\" != $2 ] ||\n"
	"    echo 1 >$c/delete_controller\n"
	"done\n"
	"rm -f $p/subsystems/$2; rmdir $p\n"
	"echo 0 >$d/namespaces/1/enable; rmdir $d/namespaces/1 $d\n"
	"true\n";

/* A live disk as a namespace of NVMe. */
struct nvme {
	struct testdev *td;
	int node;		/* of the namespace; -1 without one */
	bool connected;
	__u32 block;
	char name[32];
	char dev[32];
};

/* Runs a script while the server goes on. */
static int run_script(struct testdev *td, const char *script, const char *dev,
		      const char *name)
{
	const char *const argv[] = { "sh", "-c", script, "sh", dev, name, NULL };
	__u64 deadline = td_now_ms() + 2 * TD_DEADLINE_MS;
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(td_run(argv) ? 1 : 0);
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (td_now_ms() > deadline)
			return -ETIME;
		td_settle(td, 5);
	}
	return status ? -EIO : 0;
}

static bool has_target(void)
{
	const char *const argv[] = {
		"modprobe", "-a", "-q", "nvme-loop", "nvmet", "nvme-core", NULL,
	};

	if (td_run(argv))
		return false;
	mount("none", "/sys/kernel/config", "configfs", 0, NULL);
	return !access(CONFIG, F_OK) && !access("/dev/nvme-fabrics", F_OK);
}

/* The namespace comes a moment after its controller, which asks for its zones. */
static int open_namespace(struct testdev *td)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	glob_t nodes;
	int fd = -1;

	while (fd < 0 && td_now_ms() < deadline) {
		if (!glob("/dev/ng*n1", 0, NULL, &nodes)) {
			fd = open(nodes.gl_pathv[0], O_RDWR | O_CLOEXEC);
			globfree(&nodes);
		}
		td_settle(td, 5);
	}
	return fd;
}

static int connect_disk(struct nvme *nvme, struct testdev *td)
{
	int ret;

	nvme->td = td;
	nvme->block = 1U << td->params.basic.logical_bs_shift;
	sprintf(nvme->dev, "/dev/ublkb%d", td->id);
	sprintf(nvme->name, "ublk-test-%d", td->id);
	nvme->connected = true;
	ret = run_script(td, connect_script, nvme->dev, nvme->name);
	if (ret)
		return ret;
	nvme->node = open_namespace(td);
	return nvme->node < 0 ? -ENODEV : 0;
}

static void disconnect_disk(struct nvme *nvme)
{
	if (nvme->node >= 0)
		close(nvme->node);
	if (nvme->connected)
		run_script(nvme->td, disconnect_script, nvme->dev, nvme->name);
}

/* -- what the driver believes ---------------------------------------------- */

#define REQUIRE_TARGET(td, features)					\
do {									\
	if (!td_init(td))						\
		SKIP(return, "no /dev/ublk-control: load ublk_drv");	\
	REQUIRE_FEATURE(td, UBLK_F_ZONED | (features));			\
	if (!has_target())						\
		SKIP(return, "kernel without an NVMe target (nvme-loop)"); \
} while (0)

/* A server by hand. It has to be there when the namespace goes. */
#define TARGET_FIXTURE(name, features, prepare)				\
FIXTURE(name)								\
{									\
	struct testdev td;						\
	struct tb tb;							\
	struct nvme nvme;						\
};									\
FIXTURE_SETUP(name)							\
{									\
	self->nvme.node = -1;						\
	REQUIRE_TARGET(&self->td, features);				\
	ASSERT_EQ(0, prepare(&self->tb, &self->td));			\
	ASSERT_EQ(0, connect_disk(&self->nvme, &self->td));		\
}									\
FIXTURE_TEARDOWN(name)							\
{									\
	disconnect_disk(&self->nvme);					\
	if (self->td.id >= 0)						\
		td_drop(&self->td);					\
}

/* NVMe knows no conventional zones. */
static void init_for_nvme(struct testdev *td)
{
	tz_init(td);
	for (unsigned int i = 0; i < TZ_CONVENTIONAL; i++) {
		tz_zones[i].type = BLK_ZONE_TYPE_SEQWRITE_REQ;
		tz_zones[i].cond = BLK_ZONE_COND_EMPTY;
	}
}

static int serve_by_tag(struct tb *tb, struct testdev *td)
{
	init_for_nvme(td);
	return td_go_live(td);
}

static int serve_blocks_of_4k(struct tb *tb, struct testdev *td)
{
	td->params.basic.logical_bs_shift = 12;
	td->params.basic.physical_bs_shift = 12;
	return serve_by_tag(tb, td);
}

static int serve_in_batches(struct tb *tb, struct testdev *td)
{
	int ret;

	init_for_nvme(td);
	ret = tb_attach_prepared(tb, td);
	if (ret)
		return ret;
	tb_fetch(tb, 0);
	td->batch = tb;
	ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

TARGET_FIXTURE(target, 0, serve_by_tag);
TARGET_FIXTURE(blocks_of_4k, 0, serve_blocks_of_4k);
TARGET_FIXTURE(batch, UBLK_F_BATCH_IO, serve_in_batches);

static struct nvme_passthru_cmd64 *append_cmd(void *data, __u64 sector, __u32 block)
{
	struct nvme_passthru_cmd64 *cmd = calloc(1, sizeof(*cmd));
	__u64 start = sector * 512 / block;

	cmd->opcode = NVME_APPEND;
	cmd->nsid = 1;
	cmd->addr = (unsigned long)data;
	cmd->data_len = BYTES;
	cmd->cdw10 = start;
	cmd->cdw11 = start >> 32;
	cmd->cdw12 = BYTES / block - 1;
	return cmd;
}

static int send_append(struct nvme *nvme, struct tz_call *call, void *data)
{
	return tz_ioctl_on(nvme->node, call, NVME_IOCTL_IO64_CMD,
			   append_cmd(data, TZ_FIRST * TZ_SECTORS, nvme->block));
}

/* Where the client was told that its append has begun, in sectors. */
static __u64 append_began(const struct nvme *nvme, const struct tz_call *call)
{
	const struct nvme_passthru_cmd64 *cmd = call->arg;

	return cmd->result * (nvme->block >> UBLK_SECTOR_SHIFT);
}

/* Sends an append, and waits until the server has it. */
static int append_arrived(struct nvme *nvme, struct tz_call *call, struct td_req *req,
			  void *data)
{
	int ret = send_append(nvme, call, data);

	return ret ? ret : td_next(nvme->td, req);
}

TEST_F(target, append_names_its_zone_and_brings_data)
{
	char *data = td_page_buf(BYTES, 1), *mine = td_page_buf(BYTES, 0);
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, append_arrived(&self->nvme, &call, &req, data));
	EXPECT_EQ(UBLK_IO_OP_ZONE_APPEND, req.op);
	EXPECT_EQ(TZ_FIRST * TZ_SECTORS, req.start);
	EXPECT_EQ(SECTORS, req.sectors);
	EXPECT_EQ(-EACCES, td_bring(td, &req, mine, BYTES, 0));
	EXPECT_EQ(BYTES, td_take(td, &req, mine, BYTES, 0));
	EXPECT_EQ(0, memcmp(data, mine, BYTES));
	EXPECT_EQ(TD_PENDING, tz_answer_at(td, &req, BYTES, req.start));
	EXPECT_EQ(0, tz_wait(td, &call));
}

/* What a server may say of an append, and whether it is believed. */
static const struct {
	const char *what;
	int result;
	__s64 offset;		/* in sectors, from the start of the zone */
	bool good;
} answers[] = {
	{ "first sector", BYTES, 0, true },
	{ "result 0", 0, 8, true },
	{ "last place", BYTES, TZ_SECTORS - SECTORS, true },
	{ "half of it", BYTES / 2, 0, false },
	{ "more than all", 2 * BYTES, 0, false },
	{ "beyond the zone", BYTES, TZ_SECTORS - SECTORS + 1, false },
	{ "in the next zone", BYTES, TZ_SECTORS, false },
	{ "in the zone before", BYTES, -(__s64)SECTORS, false },
	{ "nowhere", BYTES, -1 - (__s64)TZ_FIRST * TZ_SECTORS, false },
	{ "an error", -EIO, 0, false },
};

TEST_F(target, append_is_done_only_if_all_of_it_is_in_its_zone)
{
	struct testdev *td = &self->td;
	void *data = td_page_buf(BYTES, 1);
	struct tz_call call;
	struct td_req req;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(answers); i++) {
		ASSERT_EQ(0, append_arrived(&self->nvme, &call, &req, data));
		ASSERT_EQ(TD_PENDING, tz_answer_at(td, &req, answers[i].result,
						req.start + answers[i].offset));
		ASSERT_EQ(answers[i].good, !tz_wait(td, &call))
			TH_LOG("%s: %d", answers[i].what, call.ret);
		if (!answers[i].good)
			continue;
		ASSERT_EQ(req.start + answers[i].offset,
			  append_began(&self->nvme, &call));
	}
}

TEST_F(blocks_of_4k, append_that_begins_inside_a_block_fails)
{
	void *data = td_page_buf(BYTES, 1);
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;
	__u32 offset;

	for (offset = 0; offset <= 9; offset++) {
		ASSERT_EQ(0, append_arrived(&self->nvme, &call, &req, data));
		ASSERT_EQ(TD_PENDING, tz_answer_at(td, &req, BYTES, req.start + offset));
		ASSERT_EQ(offset % 8 == 0, !tz_wait(td, &call))
			TH_LOG("offset %u: %d", offset, call.ret);
	}
}

struct lba_elem {
	struct ublk_elem_header header;
	__u64 lba;
};

/* The answer to an append, with the sector or as if there were no room for it. */
static int commit_append(struct tb *tb, __u16 tag, bool with_lba, __u64 lba)
{
	struct lba_elem elem = {
		.header = { .tag = tag, .result = BYTES }, .lba = lba,
	};
	struct ublk_batch_io args = {
		.flags = with_lba ? UBLK_BATCH_F_HAS_ZONE_LBA : 0,
		.nr_elem = 1,
		.elem_bytes = with_lba ? sizeof(elem) : sizeof(elem.header),
	};

	return tb_run(tb, UBLK_U_IO_COMMIT_IO_CMDS, &args, &elem);
}

TEST_F(batch, append_needs_an_answer_with_its_sector)
{
	const __u64 lba = TZ_FIRST * TZ_SECTORS + 8;
	void *data = td_page_buf(BYTES, 1);
	struct nvme *nvme = &self->nvme;
	struct tb *tb = &self->tb;
	struct tz_call call;
	int i;

	for (i = 0; i < 4; i++) {
		bool with_lba = i % 2;

		ASSERT_EQ(0, send_append(nvme, &call, data));
		ASSERT_EQ(0, tb_wait_tags(tb, 1));
		ASSERT_LT(0, commit_append(tb, tb->tags[--tb->nr_tags], with_lba, lba));
		ASSERT_EQ(with_lba, !tz_wait(&self->td, &call));
		ASSERT_EQ(lba, with_lba ? append_began(nvme, &call) : lba);
	}
}

TEST_F(target, append_in_hand_succeeds_while_the_disk_goes)
{
	struct testdev *td = &self->td;
	struct tz_call call;
	struct td_req req;

	ASSERT_EQ(0, append_arrived(&self->nvme, &call, &req, td_page_buf(BYTES, 1)));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));
	tz_answer_at(td, &req, BYTES, req.start);
	EXPECT_EQ(0, tz_wait(td, &call));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- the zoned target of the library --------------------------------------- */

#define JOBS		4
#define ROUNDS		6
#define SRV_BLOCK	4096U

FIXTURE(served)
{
	struct testdev td;
	struct nvme nvme;
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

	self->nvme.node = -1;
	REQUIRE_TARGET(td, variant->flags);
	ublk_options_init(&opts);
	opts.target = &ublk_zoned_target;
	opts.size = TD_SIZE;
	opts.zoned.zone_bytes = TZ_BYTES;
	opts.queues = 2;
	opts.threads = 2;
	opts.depth = 16;
	opts.mode = variant->mode;
	opts.flags = variant->flags;
	ASSERT_EQ(0, td_spawn(td, &opts));
	ASSERT_EQ(0, connect_disk(&self->nvme, td));
}

/* NVMe has to let go of the disk while somebody serves it. */
FIXTURE_TEARDOWN(served)
{
	disconnect_disk(&self->nvme);
	td_close_disk(&self->td);
	EXPECT_EQ(0, td_reap(&self->td));
}

struct job {
	pthread_t thread;
	int node;
	unsigned int number;
	int failed;
	__u64 at[ROUNDS];	/* in bytes */
};

static void *run_job(void *arg)
{
	struct job *job = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		struct nvme_passthru_cmd64 *cmd;

		cmd = append_cmd(td_page_buf(BYTES, job->number * ROUNDS + i),
				 TZ_FIRST * TZ_SECTORS, SRV_BLOCK);
		job->failed |= ioctl(job->node, NVME_IOCTL_IO64_CMD, cmd);
		job->at[i] = cmd->result * SRV_BLOCK;
	}
	return NULL;
}

/* Each append said where it went; it is there, and nowhere else. */
static unsigned int count_wrong(struct testdev *td, const struct job *job)
{
	char *got = td_page_buf(BYTES, 0);
	unsigned int i, wrong = 0;

	for (i = 0; i < ROUNDS; i++) {
		void *want = td_page_buf(BYTES, job->number * ROUNDS + i);

		wrong += job->at[i] < TD_AREA ||
			 job->at[i] >= TD_AREA + JOBS * ROUNDS * BYTES ||
			 td_wait(td, td_read(td, got, BYTES, job->at[i])) != BYTES ||
			 memcmp(want, got, BYTES);
	}
	return wrong;
}

TEST_F(served, appends_of_several_jobs_go_where_they_say)
{
	struct job jobs[JOBS] = { };
	unsigned int i;

	for (i = 0; i < JOBS; i++) {
		jobs[i].node = self->nvme.node;
		jobs[i].number = i;
		ASSERT_EQ(0, pthread_create(&jobs[i].thread, NULL, run_job, &jobs[i]));
	}
	for (i = 0; i < JOBS; i++)
		pthread_join(jobs[i].thread, NULL);
	for (i = 0; i < JOBS; i++) {
		EXPECT_EQ(0, jobs[i].failed);
		EXPECT_EQ(0, count_wrong(&self->td, &jobs[i]));
	}
}

TEST_F(served, append_to_a_full_zone_fails)
{
	struct testdev *td = &self->td;
	struct blk_zone_range range = {
		.sector = TZ_FIRST * TZ_SECTORS, .nr_sectors = TZ_SECTORS,
	};
	struct nvme_passthru_cmd64 *cmd;

	cmd = append_cmd(td_page_buf(BYTES, 1), range.sector, SRV_BLOCK);
	ASSERT_EQ(0, ioctl(td->bdev, BLKFINISHZONE, &range));
	EXPECT_NE(0, ioctl(self->nvme.node, NVME_IOCTL_IO64_CMD, cmd));
	ASSERT_EQ(0, ioctl(td->bdev, BLKRESETZONE, &range));
	EXPECT_EQ(0, ioctl(self->nvme.node, NVME_IOCTL_IO64_CMD, cmd));
	EXPECT_EQ(TD_AREA / SRV_BLOCK, cmd->result);
}

TEST_HARNESS_MAIN
