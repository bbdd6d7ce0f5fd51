// SPDX-License-Identifier: GPL-2.0
/*
 * Data across the death of servers: what a client was told is written is there
 * when the next server has come.
 */
#include <signal.h>

#include "fixture.h"

#define BYTES	4096
#define BLOCKS	64
#define ROUNDS	4

FIXTURE(served)
{
	struct testdev td;
	struct ublk_options opts;
	char path[32];
	/* What each block holds, and what was sent while nobody could tell. */
	unsigned int known[BLOCKS];
	unsigned int maybe[BLOCKS];
	unsigned int seed;
	int writes[BLOCKS];
};

FIXTURE_VARIANT(served)
{
	__u64 flags;
	__u16 queues;
	bool may_fail;
};

FIXTURE_VARIANT_ADD(served, recovery) {
	.flags = UBLK_F_USER_RECOVERY, .queues = 1, .may_fail = true,
};

FIXTURE_VARIANT_ADD(served, reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.queues = 1,
};

FIXTURE_VARIANT_ADD(served, reissue_two_queues) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.queues = 2,
};

FIXTURE_VARIANT_ADD(served, reissue_get_data) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
		 UBLK_F_NEED_GET_DATA,
	.queues = 1,
};

FIXTURE_VARIANT_ADD(served, fail_io) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	.queues = 1, .may_fail = true,
};

FIXTURE_SETUP(served)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	snprintf(self->path, sizeof(self->path), "/proc/self/fd/%d",
		 memfd_create("disk", 0));
	ublk_options_init(&self->opts);
	self->opts.target = &ublk_loop_target;
	self->opts.file = self->path;
	self->opts.size = TD_SIZE;
	self->opts.depth = 16;
	self->opts.queues = variant->queues;
	self->opts.flags = UBLK_F_NO_AUTO_PART_SCAN | variant->flags;
	ASSERT_EQ(0, td_spawn(&self->td, &self->opts));
}

FIXTURE_TEARDOWN_PARENT(served)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* Below, struct _test_data_served is FIXTURE_DATA(served), which checkpatch misreads. */

static int send_write(struct _test_data_served *d, int block)
{
	d->maybe[block] = ++d->seed;
	d->writes[block] = td_write(&d->td, td_page_buf(BYTES, d->seed), BYTES,
				    TD_AREA + block * BYTES, 0);
	return d->writes[block];
}

/* Takes note of what the client was told. */
static int finish_write(struct _test_data_served *d, int block)
{
	int res = td_wait(&d->td, d->writes[block]);

	if (res == BYTES)
		d->known[block] = d->maybe[block];
	return res;
}

static bool block_is(const void *block, unsigned int seed)
{
	void *want = td_page_buf(BYTES, seed);
	bool same = !memcmp(block, want, BYTES);

	munmap(want, BYTES);
	return same;
}

/*
 * A block may be newer than what its client was told, never older. What it is now
 * that no write is under way, it is from then on.
 */
static int wrong_blocks(struct _test_data_served *d)
{
	void *buf = td_page_buf(BYTES, 0);
	int i, wrong = 0;

	for (i = 0; i < BLOCKS; i++) {
		if (td_wait(&d->td, td_read(&d->td, buf, BYTES,
					    TD_AREA + i * BYTES)) != BYTES)
			return -EIO;
		if (block_is(buf, d->maybe[i]))
			d->known[i] = d->maybe[i];
		else if (!block_is(buf, d->known[i]))
			wrong++;
	}
	return wrong;
}

static int next_server(struct _test_data_served *d)
{
	return td_spawn_recovery(&d->td, &d->opts);
}

TEST_F(served, write_that_was_acknowledged_is_there)
{
	int i;

	for (i = 0; i < BLOCKS; i++)
		send_write(self, i);
	for (i = 0; i < BLOCKS; i++)
		ASSERT_EQ(BYTES, finish_write(self, i));
	ASSERT_EQ(0, td_kill_server(&self->td));
	ASSERT_EQ(0, next_server(self));
	EXPECT_EQ(0, wrong_blocks(self));
}

TEST_F(served, write_that_was_synced_is_there)
{
	struct testdev *td = &self->td;
	int i;

	for (i = 0; i < BLOCKS; i++)
		send_write(self, i);
	for (i = 0; i < BLOCKS; i++)
		ASSERT_EQ(BYTES, finish_write(self, i));
	ASSERT_EQ(0, td_wait(td, td_fsync(td)));
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, next_server(self));
	EXPECT_EQ(0, wrong_blocks(self));
}

/* Killed in the middle, again and again. */
TEST_F_TIMEOUT(served, acknowledged_writes_survive_death_under_load, 120)
{
	struct testdev *td = &self->td;
	int round, i, fsync;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < BLOCKS; i++)
			send_write(self, i);
		fsync = td_fsync(td);
		/* Some are done then, some in hand, some on their way. */
		for (i = 0; i < BLOCKS / (1 + round); i += 5)
			finish_write(self, i);
		ASSERT_EQ(0, td_kill_server(td));
		ASSERT_EQ(0, next_server(self));
		for (i = 0; i < BLOCKS; i++)
			EXPECT_TRUE(finish_write(self, i) == BYTES ||
				    variant->may_fail);
		EXPECT_TRUE(td_wait(td, fsync) == 0 || variant->may_fail);
		EXPECT_EQ(0, wrong_blocks(self));
	}
}

/* A frozen server has requests of all kinds: seen, unseen, waiting for a tag. */
TEST_F(served, acknowledged_writes_survive_the_death_of_a_frozen_server)
{
	struct testdev *td = &self->td;
	int i;

	for (i = 0; i < BLOCKS / 2; i++)
		send_write(self, i);
	ASSERT_EQ(BYTES, finish_write(self, 0));
	ASSERT_EQ(0, td_freeze_server(td));
	for (; i < BLOCKS; i++)
		send_write(self, i);
	ASSERT_EQ(0, td_kill_server(td));
	ASSERT_EQ(0, next_server(self));
	for (i = 0; i < BLOCKS; i++)
		EXPECT_TRUE(finish_write(self, i) == BYTES ||
			    variant->may_fail);
	EXPECT_EQ(0, wrong_blocks(self));
}

/* -- a server that is killed while the driver copies from or to its memory -- */

FIXTURE(slow)
{
	struct testdev td;
	struct testdev other;	/* which this process serves */
};

FIXTURE_VARIANT(slow)
{
	__u32 before;		/* bytes of the memory that are there at once */
};

FIXTURE_VARIANT_ADD(slow, no_byte) {
	.before = 0,
};

FIXTURE_VARIANT_ADD(slow, less_than_a_block) {
	.before = 16,
};

FIXTURE_VARIANT_ADD(slow, some_blocks) {
	.before = BYTES,
};

/* For the server that will be forked; all but its first bytes are on @other. */
static char *slow_buf;

static char *map_slowly(struct testdev *other, __u32 before)
{
	char *disk = td_map_disk(other, TD_AREA, 2 * BYTES);
	char *buf = td_page_buf(3 * BYTES, 0);

	if (!disk || !buf ||
	    mremap(disk, 2 * BYTES, 2 * BYTES, MREMAP_MAYMOVE | MREMAP_FIXED,
		   buf + BYTES) == MAP_FAILED)
		return NULL;
	return buf + BYTES - before;
}

FIXTURE_SETUP(slow)
{
	if (!td_init(&self->td) || !td_init(&self->other))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	ASSERT_EQ(0, td_go_live(&self->other));
	slow_buf = map_slowly(&self->other, variant->before);
	ASSERT_NE(NULL, slow_buf);
}

FIXTURE_TEARDOWN_PARENT(slow)
{
	EXPECT_EQ(0, td_reap(&self->td));
	EXPECT_EQ(0, td_reap(&self->other));
}

static void answer_slowly(struct ublk_worker *w, struct ublk_io *io)
{
	if (ublk_io_offset(io) == TD_AREA)
		io->buf = slow_buf;
	ublk_complete_io(w, io, ublk_io_bytes(io));
}

TEST_F(slow, read_whose_data_cannot_be_taken_goes_to_the_next_server)
{
	struct testdev *td = &self->td, *other = &self->other;
	char *buf = td_page_buf(2 * BYTES, 1);
	struct ublk_target target = ublk_null_target;
	struct ublk_options opts;
	struct td_req fault;
	int client;

	target.queue_io = answer_slowly;
	ublk_options_init(&opts);
	opts.target = &target;
	opts.flags = UBLK_F_NO_AUTO_PART_SCAN | UBLK_F_USER_RECOVERY |
		     UBLK_F_USER_RECOVERY_REISSUE;
	ASSERT_EQ(0, td_spawn(td, &opts));
	client = td_read(td, buf, 2 * BYTES, TD_AREA);
	ASSERT_EQ(0, td_next(other, &fault));
	ASSERT_EQ(0, td_kill_server(td));

	opts.target = &ublk_null_target;
	ASSERT_EQ(0, td_spawn_recovery(td, &opts));
	EXPECT_EQ(2 * BYTES, td_wait(td, client));
	EXPECT_EQ(TD_PENDING, td_answer(other, &fault, BYTES));
}

/* After a WRITE to the area, the buffer of the tag is the slow one. */
static void take_slowly(struct ublk_worker *w, struct ublk_io *io)
{
	static char *usual_buf;

	if (!usual_buf)
		usual_buf = io->buf;
	io->buf = ublk_io_offset(io) == TD_AREA ? slow_buf : usual_buf;
	ublk_complete_io(w, io, ublk_io_bytes(io));
}

/* Writes until the server's memory is needed for it. Returns the last client. */
static int write_slowly(struct testdev *td, struct testdev *other, struct td_req *fault)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	char *buf = td_page_buf(2 * BYTES, 1);
	int client = -1;

	while (!td_peek(other, fault)) {
		if (td_now_ms() > deadline)
			return -ETIME;
		if (client < 0 || td_done(td, client))
			client = td_write(td, buf, 2 * BYTES, TD_AREA, 0);
		td_settle(other, 5);
	}
	return client;
}

/* The server is told of no data, and so of no request. */
TEST_F(slow, write_whose_data_cannot_be_given_goes_to_the_next_server)
{
	struct testdev *td = &self->td, *other = &self->other;
	struct ublk_target target = ublk_null_target;
	struct ublk_options opts;
	struct td_req fault;
	int client;

	target.queue_io = take_slowly;
	ublk_options_init(&opts);
	opts.target = &target;
	opts.depth = 1;
	opts.flags = UBLK_F_NO_AUTO_PART_SCAN | UBLK_F_USER_RECOVERY;
	ASSERT_EQ(0, td_spawn(td, &opts));
	client = write_slowly(td, other, &fault);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, td_kill_server(td));

	opts.target = &ublk_null_target;
	ASSERT_EQ(0, td_spawn_recovery(td, &opts));
	EXPECT_EQ(2 * BYTES, td_wait(td, client));
	EXPECT_EQ(TD_PENDING, td_answer(other, &fault, BYTES));
}

TEST_HARNESS_MAIN
