// SPDX-License-Identifier: GPL-2.0
/*
 * Writes that come together, and the memory for the data of one of them is not there
 * when they are delivered, or not yet: it waits, or goes its own way. The others
 * arrive all the same, each ends once, and what is acknowledged was stored.
 */
#include "fixture.h"

#define DEPTH	8
#define BYTES	4096U
#define ALL	(DEPTH * BYTES)

/* No larger than that, so that the writes do not become one. */
static void limit_requests(struct testdev *td)
{
	td->info.queue_depth = DEPTH;
	td->params.basic.max_sectors = BYTES >> UBLK_SECTOR_SHIFT;
}

/* One for each tag, side by side, in one submission. */
static void write_all(struct testdev *td, char *data, __u64 offset, int *clients)
{
	struct iovec parts[DEPTH];
	unsigned int i;

	for (i = 0; i < DEPTH; i++)
		parts[i] = (struct iovec) { data + i * BYTES, BYTES };
	td_rw_all(td, IORING_OP_WRITE, parts, DEPTH, offset, clients);
}

/* -- memory that nobody may touch ------------------------------------------ */

static int go_live(struct testdev *td)
{
	limit_requests(td);
	return td_go_live(td);
}

static int go_live_in_batches(struct tb *tb, struct testdev *td)
{
	limit_requests(td);
	return tb_go_live(tb, td);
}

TD_FIXTURE(live, go_live);
TB_FIXTURE(batch, go_live_in_batches);

static int protect(struct testdev *td, __u16 tag, int prot)
{
	return mprotect(td_buf(td, 0, tag), TD_BUF_BYTES, prot);
}

/* Which write of write_all() a tag has; -1 if its data is that of another. */
static int which_write(struct testdev *td, __u16 tag, const char *data)
{
	const struct ublksrv_io_desc *d = td_desc(td, 0, tag);
	__u64 at = (d->start_sector << UBLK_SECTOR_SHIFT) - TD_AREA;

	if (at >= ALL || d->nr_sectors != BYTES >> UBLK_SECTOR_SHIFT ||
	    memcmp(td_buf(td, 0, tag), data + at, BYTES))
		return -1;
	return at / BYTES;
}

/* Whichever tag it is, so whether it is delivered first, last or in between. */
TEST_F(live, write_without_memory_keeps_no_other_from_its_server)
{
	struct testdev *td = &self->td;
	int clients[DEPTH], write, i;
	struct td_req req;
	__u16 bad;

	for (bad = 0; bad < DEPTH; bad++) {
		char *data = td_page_buf(ALL, bad + 1);
		__u64 seen = 0;

		ASSERT_EQ(0, protect(td, bad, PROT_NONE));
		write_all(td, data, TD_AREA, clients);
		for (i = 0; i < DEPTH; i++) {
			bool last = i == DEPTH - 1;

			ASSERT_EQ(0, last ? protect(td, bad, PROT_READ | PROT_WRITE) : 0);
			ASSERT_EQ(0, td_next(td, &req));
			ASSERT_EQ(last, req.tag == bad);
			write = which_write(td, req.tag, data);
			ASSERT_LE(0, write);
			ASSERT_FALSE(td_done(td, clients[write]));
			seen |= 1 << write;
			ASSERT_EQ(TD_PENDING, td_answer(td, &req, BYTES));
			ASSERT_EQ(BYTES, td_wait(td, clients[write]));
		}
		ASSERT_EQ((1 << DEPTH) - 1, seen);
	}
}

TEST_F(batch, write_without_memory_keeps_no_other_from_its_server)
{
	struct testdev *td = &self->td;
	int clients[DEPTH], write, i;
	struct tb *tb = &self->tb;
	__u16 bad, tag;

	tb_fetch(tb, 0);
	for (bad = 0; bad < DEPTH; bad++) {
		char *data = td_page_buf(ALL, bad + 1);
		__u64 seen = 0;

		ASSERT_EQ(0, protect(td, bad, PROT_NONE));
		write_all(td, data, TD_AREA, clients);
		for (i = 0; i < DEPTH; i++) {
			bool last = i == DEPTH - 1;

			ASSERT_EQ(0, last ? protect(td, bad, PROT_READ | PROT_WRITE) : 0);
			ASSERT_EQ(0, tb_wait_tags(tb, 1));
			tag = tb->tags[--tb->nr_tags];
			ASSERT_EQ(last, tag == bad);
			write = which_write(td, tag, data);
			ASSERT_LE(0, write);
			ASSERT_FALSE(td_done(td, clients[write]));
			seen |= 1 << write;
			ASSERT_LT(0, tb_answer(tb, 0, tag));
			ASSERT_EQ(BYTES, tb_wait_client(tb, clients[write]));
		}
		ASSERT_EQ((1 << DEPTH) - 1, seen);
	}
}

/* -- memory that has to be read in ------------------------------------------ */

#define FIRST	TD_AREA		/* where the buffers change */
#define SECOND	(TD_AREA + (1 << 20))

/* A server of its own process; one of its tags has its memory on @other. */
struct sleeper {
	struct testdev td;
	struct testdev other;	/* which this process serves */
	struct ublk_options opts;
	struct td_req fault;	/* of the server's */
	char *data;
	int clients[DEPTH];
};

FIXTURE(late)
{
	struct sleeper s;
};

FIXTURE_VARIANT(late)
{
	__u64 flags;
};

FIXTURE_VARIANT_ADD(late, by_tag) { };
FIXTURE_VARIANT_ADD(late, in_batches) { .flags = UBLK_F_BATCH_IO };

FIXTURE(slow)
{
	struct sleeper s;
};

FIXTURE_VARIANT(slow)
{
	__u64 flags;
	__u16 tag;
	int least;		/* writes that the next server gets, so that succeed */
	int most;
};

FIXTURE_VARIANT_ADD(slow, without_recovery) {
	.tag = 3, .least = 0, .most = 0,
};

FIXTURE_VARIANT_ADD(slow, with_fail_io) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
	.tag = 3, .least = 0, .most = 0,
};

FIXTURE_VARIANT_ADD(slow, with_recovery) {
	.flags = UBLK_F_USER_RECOVERY,
	.tag = 3, .least = 1, .most = DEPTH,
};

FIXTURE_VARIANT_ADD(slow, with_recovery_last_tag) {
	.flags = UBLK_F_USER_RECOVERY,
	.tag = DEPTH - 1, .least = 1, .most = DEPTH,
};

FIXTURE_VARIANT_ADD(slow, with_reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	.tag = 3, .least = DEPTH, .most = DEPTH,
};

/* The server has told nobody of any of them yet. */
FIXTURE_VARIANT_ADD(slow, in_batches_with_recovery) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_BATCH_IO,
	.tag = 3, .least = 1, .most = DEPTH,
};

FIXTURE_VARIANT_ADD(slow, in_batches_with_reissue) {
	.flags = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE | UBLK_F_BATCH_IO,
	.tag = 3, .least = DEPTH, .most = DEPTH,
};

/* For the servers that will be forked. */
static char *slow_page, *stored;
static __u16 slow_tag;

static void store(struct ublk_worker *w, struct ublk_io *io)
{
	__u64 at = ublk_io_offset(io) - SECOND;

	if (ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE && at < ALL)
		memcpy(stored + at, io->buf, ublk_io_bytes(io));
	else if (ublksrv_get_op(io->desc) == UBLK_IO_OP_READ)
		memset(io->buf, 0, ublk_io_bytes(io));
	ublk_complete_io(w, io, ublk_io_bytes(io));
}

/* The first writes use every tag; with their answers, one has another buffer. */
static void store_slowly(struct ublk_worker *w, struct ublk_io *io)
{
	static struct ublk_io *held[DEPTH];
	static unsigned int nr;

	if (ublksrv_get_op(io->desc) != UBLK_IO_OP_WRITE ||
	    ublk_io_offset(io) >= SECOND) {
		store(w, io);
		return;
	}
	held[nr++] = io;
	if (nr < DEPTH)
		return;
	while (nr) {
		io = held[--nr];
		if (io->tag == slow_tag)
			io->buf = slow_page;
		ublk_complete_io(w, io, BYTES);
	}
}

static int init_store(struct ublk_server *srv)
{
	ublk_file_params(srv, TD_SIZE, UBLK_SECTOR_SHIFT);
	return 0;
}

static const struct ublk_target slow_target = {
	.name = "slow", .init = init_store, .queue_io = store_slowly,
};

static const struct ublk_target store_target = {
	.name = "store", .init = init_store, .queue_io = store,
};

static int spawn_slow(struct testdev *td, struct ublk_options *opts, __u64 flags)
{
	ublk_options_init(opts);
	opts->target = &slow_target;
	opts->depth = DEPTH;
	opts->buf_bytes = BYTES;
	opts->flags = UBLK_F_NO_AUTO_PART_SCAN | flags;
	return td_spawn(td, opts);
}

/* When it returns, the server is asleep in the middle of its delivery. */
static int put_to_sleep(struct sleeper *s, __u64 flags, __u16 tag)
{
	int i, ret = td_go_live(&s->other);

	if (ret)
		return ret;
	slow_tag = tag;
	slow_page = td_map_disk(&s->other, TD_AREA, BYTES);
	stored = mmap(NULL, ALL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (!slow_page || stored == MAP_FAILED)
		return -ENOMEM;
	ret = spawn_slow(&s->td, &s->opts, flags);
	if (ret)
		return ret;

	s->data = td_page_buf(ALL, 1);
	write_all(&s->td, s->data, FIRST, s->clients);
	for (i = 0; i < DEPTH; i++)
		if (td_wait(&s->td, s->clients[i]) != BYTES)
			return -EIO;
	/* Tags that end together are free after that; this waits until all are. */
	ret = td_sysfs_write(&s->td, "queue/max_sectors_kb", "4");
	if (ret)
		return ret;
	write_all(&s->td, s->data, SECOND, s->clients);
	return td_next(&s->other, &s->fault);
}

#define SLEEPER_FIXTURE(name, flags, tag)				\
FIXTURE_SETUP(name)							\
{									\
	int ret;							\
									\
	if (!td_init(&self->s.td) || !td_init(&self->s.other))		\
		SKIP(return, "no /dev/ublk-control: load ublk_drv");	\
	REQUIRE_FEATURE(&self->s.td, flags);				\
	ret = put_to_sleep(&self->s, flags, tag);			\
	if (ret) {							\
		td_drop(&self->s.td);					\
		td_drop(&self->s.other);				\
	}								\
	ASSERT_EQ(0, ret);						\
}									\
FIXTURE_TEARDOWN_PARENT(name)						\
{									\
	EXPECT_EQ(0, td_reap(&self->s.td));				\
	EXPECT_EQ(0, td_reap(&self->s.other));				\
}

SLEEPER_FIXTURE(late, variant->flags, DEPTH / 2)
SLEEPER_FIXTURE(slow, variant->flags, variant->tag)

/*
 * Returns how many have succeeded; -EBADMSG if one of them was not stored, or one that
 * has failed was, or hangs.
 */
static int count_stored(struct sleeper *s)
{
	int i, res, nr = 0;

	for (i = 0; i < DEPTH; i++) {
		const char *there = stored + i * BYTES;

		res = td_wait(&s->td, s->clients[i]);
		if (res < 0 && res != -ETIME && td_is_zero(there, BYTES))
			continue;
		if (res != BYTES || memcmp(there, s->data + i * BYTES, BYTES))
			return -EBADMSG;
		nr++;
	}
	return nr;
}

TEST_F(late, writes_arrive_when_the_memory_is_there)
{
	struct sleeper *s = &self->s;

	ASSERT_EQ(TD_PENDING, td_answer(&s->other, &s->fault, BYTES));
	EXPECT_EQ(DEPTH, count_stored(s));
}

TEST_F(slow, death_of_the_server_loses_and_repeats_no_write)
{
	struct sleeper *s = &self->s;
	int nr;

	ASSERT_EQ(0, td_kill_server(&s->td));
	s->opts.target = &store_target;
	ASSERT_EQ(0, variant->most ? td_spawn_recovery(&s->td, &s->opts) : 0);
	nr = count_stored(s);
	EXPECT_LE(variant->least, nr);
	EXPECT_GE(variant->most, nr);
	EXPECT_EQ(TD_PENDING, td_answer(&s->other, &s->fault, BYTES));
}

TEST_HARNESS_MAIN
