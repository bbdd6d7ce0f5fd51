// SPDX-License-Identifier: GPL-2.0
/*
 * INTEGRITY: the way of the metadata between server and request, and clients that
 * bring their own.
 */
#include "fixture.h"
#include "pi.h"
#include "testbatch.h"

#define PART	4096

static const struct ublk_param_integrity t10 = {
	.flags = PI_BOTH,
	.interval_exp = 9,
	.metadata_size = 8,
	.csum_type = LBMD_PI_CSUM_CRC16_T10DIF,
};

FIXTURE(disk)
{
	struct pi_disk d;
};

FIXTURE_SETUP(disk)
{
	struct testdev *td = &self->d.td;
	int ret;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	td->params.types |= UBLK_PARAM_TYPE_DISCARD;
	td->params.discard.discard_granularity = 512;
	td->params.discard.max_discard_sectors = 128;
	td->params.discard.max_discard_segments = 1;
	ret = pi_go_live(&self->d, &t10, 9);
	if (ret > 0)
		SKIP(return, "driver without metadata");
	ASSERT_EQ(0, ret);
	pi_reset(&self->d);
}

FIXTURE_TEARDOWN_PARENT(disk)
{
	EXPECT_EQ(0, td_reap(&self->d.td));
}

/* -- the window ------------------------------------------------------------ */

TEST_F(disk, metadata_is_taken_in_parts_of_any_size)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	int bytes = d->bytes;

	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	ASSERT_EQ(bytes, pi_take(&d->td, &req, d->meta, bytes, 0));
	EXPECT_EQ(bytes - 13, pi_take(&d->td, &req, d->my_meta + 13, PI_MAX_META / 2, 13));
	EXPECT_EQ(12, pi_take(&d->td, &req, d->my_meta + 1, 12, 1));
	EXPECT_EQ(1, pi_take(&d->td, &req, d->my_meta, 1, 0));
	EXPECT_EQ(0, memcmp(d->meta, d->my_meta, bytes));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, metadata_ends_where_that_of_the_request_does)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	int bytes = d->bytes;

	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	EXPECT_EQ(3, pi_take(&d->td, &req, d->meta, PI_MAX_META, bytes - 3));
	EXPECT_EQ(0, pi_take(&d->td, &req, d->meta, PI_MAX_META, bytes));
	EXPECT_EQ(-EINVAL, pi_take(&d->td, &req, d->meta, PI_MAX_META, bytes + 1));
	EXPECT_EQ(-EINVAL, pi_take(&d->td, &req, d->meta, 1, (1U << 25) - 1));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, metadata_in_the_wrong_direction_is_refused)
{
	struct pi_disk *d = &self->d;
	struct td_req req;

	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	EXPECT_EQ(-EACCES, pi_bring(&d->td, &req, d->meta, 8, 0));
	td_answer(&d->td, &req, PI_LEN);
	ASSERT_LE(0, td_read_arrived(&d->td, &req, d->mine, PI_LEN));
	EXPECT_EQ(-EACCES, pi_take(&d->td, &req, d->meta, 8, 0));
	EXPECT_EQ(-EINVAL, pi_take(&d->td, &req, d->meta, 8, d->bytes + 1));
	td_answer(&d->td, &req, -EIO);
}

TEST_F(disk, fault_makes_a_copy_of_metadata_short)
{
	struct pi_disk *d = &self->d;
	char *two = td_page_buf(8192, 0);
	struct td_req req;

	mprotect(two + 4096, 4096, PROT_NONE);
	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	EXPECT_EQ(100, pi_take(&d->td, &req, two + 3996, d->bytes, 0));
	EXPECT_EQ(0, pi_take(&d->td, &req, two + 4096, d->bytes, 0));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, spare_bits_of_the_position_do_not_matter)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	loff_t pos;

	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	pos = td_pos(req.queue, req.tag, 0) | UBLKSRV_IO_INTEGRITY_FLAG | 0x1ffULL << 53;
	EXPECT_EQ(d->bytes, pread(d->td.cdev, d->meta, PI_MAX_META, pos));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, metadata_is_copied_with_nowait)
{
	struct pi_disk *d = &self->d;
	struct iovec iov = { d->meta, PI_MAX_META };
	struct td_req req;

	/* The page is there. */
	d->meta[0] = 1;
	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	EXPECT_EQ(d->bytes, preadv2(d->td.cdev, &iov, 1, UBLKSRV_IO_INTEGRITY_FLAG |
				    td_pos(req.queue, req.tag, 0), RWF_NOWAIT));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, discard_has_no_metadata)
{
	struct pi_disk *d = &self->d;
	struct td_req req;

	td_discard(&d->td, TD_AREA, PI_LEN);
	ASSERT_EQ(0, td_next(&d->td, &req));
	ASSERT_EQ(UBLK_IO_OP_DISCARD, req.op);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_INTEGRITY);
	EXPECT_EQ(-EINVAL, pi_take(&d->td, &req, d->meta, 8, 0));
	td_answer(&d->td, &req, 0);
}

/* -- requests without ------------------------------------------------------ */

TEST_F(disk, write_without_metadata_says_so)
{
	struct pi_disk *d = &self->d;
	struct td_req req;

	ASSERT_EQ(0, td_sysfs_write(&d->td, "integrity/write_generate", "0"));
	ASSERT_LE(0, td_write_arrived(&d->td, &req, d->data, PI_LEN));
	EXPECT_EQ(0, req.flags & UBLK_IO_F_INTEGRITY);
	EXPECT_EQ(0, pi_take(&d->td, &req, d->meta, PI_MAX_META, 0));
	EXPECT_EQ(0, pi_take(&d->td, &req, d->meta, PI_MAX_META, d->bytes));
	EXPECT_EQ(-EINVAL, pi_take(&d->td, &req, d->meta, 8, d->bytes + 1));
	td_answer(&d->td, &req, PI_LEN);
}

TEST_F(disk, read_without_metadata_is_not_checked)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	int client;

	ASSERT_EQ(0, td_sysfs_write(&d->td, "integrity/read_verify", "0"));
	client = td_read_arrived(&d->td, &req, d->mine, PI_LEN);
	ASSERT_LE(0, client);
	EXPECT_EQ(0, req.flags & UBLK_IO_F_INTEGRITY);
	EXPECT_EQ(0, pi_bring(&d->td, &req, d->meta, d->bytes, 0));
	td_answer(&d->td, &req, PI_LEN);
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

static int live_without_a_format(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_COPY | UBLK_F_INTEGRITY;
	return td_go_live(td);
}

TD_FIXTURE(bare, live_without_a_format);

TEST_F(bare, disk_without_a_format_has_no_metadata)
{
	struct testdev *td = &self->td;
	struct td_req req;
	char c;

	REQUIRE_FEATURE(td, UBLK_F_INTEGRITY);
	ASSERT_LE(0, td_write_arrived(td, &req, td_page_buf(PART, 1), PART));
	EXPECT_EQ(0, req.flags & UBLK_IO_F_INTEGRITY);
	EXPECT_EQ(0, pi_take(td, &req, &c, 1, 0));
	EXPECT_EQ(-EINVAL, pi_take(td, &req, &c, 1, 1));
	td_answer(td, &req, PART);
}

/* -- requests that the kernel puts together -------------------------------- */

static unsigned int wrong_tuples(const struct td_req *req, const char *data,
				 const char *meta)
{
	unsigned int i, wrong = 0;

	for (i = 0; i < req->sectors; i++) {
		struct pi_tuple tuple = pi_get(&t10, meta, i);

		wrong += tuple.guard != pi_guard(&t10, data, meta, i) ||
			 tuple.ref != req->start + i;
	}
	return wrong;
}

/* Pages that are written back one by one may share a request. */
TEST_F(disk, written_back_pages_carry_the_metadata_of_each)
{
	struct pi_disk *d = &self->d;
	char *got = td_page_buf(PI_LEN, 0);
	struct td_req req;
	char path[32];
	__u32 len, sum = 0;
	int fd, client;

	snprintf(path, sizeof(path), "/dev/ublkb%d", d->td.id);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ASSERT_EQ(PI_LEN, pwrite(fd, d->data, PI_LEN, TD_AREA));
	client = td_fsync(&d->td);
	while (sum < PI_LEN) {
		ASSERT_EQ(0, td_next(&d->td, &req));
		len = req.sectors << 9;
		ASSERT_EQ(len, td_take(&d->td, &req, got, len, 0));
		ASSERT_EQ(pi_bytes(&t10, len),
			  pi_take(&d->td, &req, d->meta, PI_MAX_META, 0));
		EXPECT_EQ(0, wrong_tuples(&req, got, d->meta));
		td_answer(&d->td, &req, len);
		sum += len;
	}
	EXPECT_EQ(0, td_wait(&d->td, client));
	close(fd);
}

/* -- clients that bring their own ------------------------------------------ */

/* struct io_uring_attr_pi, which not every liburing has. */
struct own_pi {
	__u16 flags;
	__u16 app_tag;
	__u32 len;
	__u64 addr;
	__u64 seed;
	__u64 rsvd;
};

#define SEED	100	/* the first reference tag in the client's eyes */
#define ATTR_PI	1

static int own_io(struct pi_disk *d, int op, char *buf, char *meta, __u32 len)
{
	struct own_pi pi = {
		.len = len, .addr = (unsigned long)meta, .seed = SEED,
	};

	return td_rw_attr(&d->td, op, buf, PI_LEN, TD_AREA, &pi, ATTR_PI);
}

#define APP	0x1234	/* that of pi_reset() */

/* The client counts from SEED, the disk from where the data lies. */
static void make_own(struct pi_disk *d)
{
	pi_reset(d);
	pi_make(d->format, d->data, PI_LEN, d->my_meta, APP, SEED);
}

TEST_F(disk, own_metadata_of_a_write_reaches_the_server)
{
	struct pi_disk *d = &self->d;
	char *got = td_page_buf(PI_MAX_META, 0);
	struct td_req req;
	int client;

	make_own(d);
	client = own_io(d, IORING_OP_WRITE, d->data, d->my_meta, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	EXPECT_EQ(UBLK_IO_F_INTEGRITY, req.flags & UBLK_IO_F_INTEGRITY);
	ASSERT_EQ(d->bytes, pi_take(&d->td, &req, got, PI_MAX_META, 0));
	EXPECT_EQ(0, memcmp(got, d->meta, d->bytes));
	td_answer(&d->td, &req, PI_LEN);
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

/* In the kernel's hands metadata is bytes: who made it may know better. */
TEST_F(disk, own_metadata_of_a_write_is_not_judged)
{
	struct pi_disk *d = &self->d;
	char *got = td_page_buf(PI_MAX_META, 0);
	struct td_req req;
	int client;

	memset(d->my_meta, 0x5a, d->bytes);
	client = own_io(d, IORING_OP_WRITE, d->data, d->my_meta, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	ASSERT_EQ(d->bytes, pi_take(&d->td, &req, got, PI_MAX_META, 0));
	EXPECT_EQ(0, memcmp(got, d->my_meta, d->bytes));
	td_answer(&d->td, &req, PI_LEN);
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

TEST_F(disk, metadata_of_a_read_reaches_who_asks_for_it)
{
	struct pi_disk *d = &self->d;
	char *expected = td_page_buf(PI_MAX_META, 0);
	struct td_req req;
	int client;

	make_own(d);
	memcpy(expected, d->my_meta, d->bytes);
	memset(d->my_meta, 0, d->bytes);
	client = own_io(d, IORING_OP_READ, d->mine, d->my_meta, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	EXPECT_EQ(UBLK_IO_F_INTEGRITY, req.flags & UBLK_IO_F_INTEGRITY);
	EXPECT_EQ(PI_LEN, pi_serve_read(d, &req, client));
	EXPECT_EQ(0, memcmp(d->mine, d->data, PI_LEN));
	EXPECT_EQ(0, memcmp(d->my_meta, expected, d->bytes));
}

/* What may happen on the way between a client and the disk. */
static const struct harm {
	const char *to;
	char data;		/* bits that are flipped */
	struct pi_tuple tuple;
} harms[] = {
	{ .to = "nothing" },
	{ .to = "data", .data = 1 },
	{ .to = "guard", .tuple.guard = 0x8000 },
	{ .to = "application tag", .tuple.app = 1 },
	{ .to = "reference tag", .tuple.ref = 0x80000000 },
};

static bool does_harm(const struct harm *harm)
{
	return harm != harms;
}

/* Is that the metadata that belongs to the data, with references from @ref on? */
static bool fits(const struct pi_disk *d, const void *data, const void *meta, __u64 ref)
{
	char *want = td_page_buf(PI_MAX_META, 0);

	pi_make(d->format, data, PI_LEN, want, APP, ref);
	return !memcmp(want, meta, d->bytes);
}

TEST_F(disk, harm_to_a_write_is_seen_by_the_server)
{
	struct pi_disk *d = &self->d;
	char *meta = td_page_buf(PI_MAX_META, 0);
	const struct harm *harm;
	struct td_req req;
	int client, res;

	for (harm = harms; harm < harms + ARRAY_SIZE(harms); harm++) {
		make_own(d);
		d->data[PI_LEN - 1] ^= harm->data;
		pi_flip(d, d->my_meta, harm->tuple);
		client = own_io(d, IORING_OP_WRITE, d->data, d->my_meta, d->bytes);
		ASSERT_EQ(0, td_next(&d->td, &req));
		ASSERT_EQ(PI_LEN, td_take(&d->td, &req, d->mine, PI_LEN, 0));
		ASSERT_EQ(d->bytes, pi_take(&d->td, &req, meta, PI_MAX_META, 0));
		res = fits(d, d->mine, meta, pi_ref_at(d->format, TD_AREA)) ?
		      PI_LEN : -EILSEQ;
		td_answer(&d->td, &req, res);
		EXPECT_EQ(does_harm(harm) ? -EILSEQ : PI_LEN, td_wait(&d->td, client))
			TH_LOG("%s", harm->to);
	}
}

TEST_F(disk, harm_to_a_read_is_seen_by_the_client)
{
	struct pi_disk *d = &self->d;
	const struct harm *harm;
	struct td_req req;
	int client;

	for (harm = harms; harm < harms + ARRAY_SIZE(harms); harm++) {
		pi_reset(d);
		d->data[PI_LEN - 1] ^= harm->data;
		pi_flip(d, d->meta, harm->tuple);
		client = own_io(d, IORING_OP_READ, d->mine, d->my_meta, d->bytes);
		ASSERT_EQ(0, td_next(&d->td, &req));
		ASSERT_EQ(PI_LEN, pi_serve_read(d, &req, client));
		EXPECT_EQ(does_harm(harm), !fits(d, d->mine, d->my_meta, SEED))
			TH_LOG("%s", harm->to);
	}
}

/* Tuples then lie across the pages of the client's memory. */
TEST_F(disk, own_metadata_lies_where_its_owner_likes)
{
	struct pi_disk *d = &self->d;
	char *two = td_page_buf(2 * 4096, 0) + 4096 - 20;
	char *got = td_page_buf(PI_MAX_META, 0);
	struct td_req req;
	int client;

	make_own(d);
	memcpy(two, d->my_meta, d->bytes);
	client = own_io(d, IORING_OP_WRITE, d->data, two, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	ASSERT_EQ(d->bytes, pi_take(&d->td, &req, got, PI_MAX_META, 0));
	EXPECT_EQ(0, memcmp(got, d->meta, d->bytes));
	td_answer(&d->td, &req, PI_LEN);
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));

	memset(two, 0, d->bytes);
	client = own_io(d, IORING_OP_READ, d->mine, two, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	EXPECT_EQ(PI_LEN, pi_serve_read(d, &req, client));
	EXPECT_EQ(0, memcmp(two, d->my_meta, d->bytes));
}

TEST_F(disk, own_metadata_of_a_write_comes_part_by_part)
{
	struct pi_disk *d = &self->d;
	char *got = td_page_buf(PI_MAX_META, 0);
	struct td_req req;
	__u32 at, rest;
	int client;

	make_own(d);
	client = own_io(d, IORING_OP_WRITE, d->data, d->my_meta, d->bytes);
	for (at = 0; at < PI_LEN; at += PART) {
		rest = pi_bytes(d->format, PI_LEN - at);
		ASSERT_EQ(0, td_next(&d->td, &req));
		ASSERT_EQ(rest, pi_take(&d->td, &req, got, PI_MAX_META, 0));
		EXPECT_EQ(0, memcmp(got, d->meta + d->bytes - rest, rest));
		td_answer(&d->td, &req, PART);
	}
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
}

TEST_F(disk, metadata_of_a_read_is_put_together)
{
	struct pi_disk *d = &self->d;
	char *expected = td_page_buf(PI_MAX_META, 0);
	__u32 at, part = pi_bytes(d->format, PART);
	struct td_req req;
	int client;

	make_own(d);
	memcpy(expected, d->my_meta, d->bytes);
	memset(d->my_meta, 0, d->bytes);
	client = own_io(d, IORING_OP_READ, d->mine, d->my_meta, d->bytes);
	for (at = 0; at < PI_LEN; at += PART) {
		ASSERT_EQ(0, td_next(&d->td, &req));
		ASSERT_EQ(PART, td_bring(&d->td, &req, d->data + at, PART, 0));
		ASSERT_EQ(part, pi_bring(&d->td, &req,
					 d->meta + pi_bytes(d->format, at), part, 0));
		td_answer(&d->td, &req, PART);
	}
	EXPECT_EQ(PI_LEN, td_wait(&d->td, client));
	EXPECT_EQ(0, memcmp(d->mine, d->data, PI_LEN));
	EXPECT_EQ(0, memcmp(d->my_meta, expected, d->bytes));
}

/* Only the disk, that is its server, can check those; and so it says. */
TEST_F(disk, complaint_of_the_server_reaches_the_client)
{
	struct pi_disk *d = &self->d;
	struct td_req req;
	int client;

	client = own_io(d, IORING_OP_WRITE, d->data, d->my_meta, d->bytes);
	ASSERT_EQ(0, td_next(&d->td, &req));
	td_answer(&d->td, &req, -EILSEQ);
	EXPECT_EQ(-EILSEQ, td_wait(&d->td, client));
}

TEST_F(disk, too_little_metadata_is_refused)
{
	struct pi_disk *d = &self->d;

	EXPECT_EQ(-EINVAL, td_wait(&d->td, own_io(d, IORING_OP_WRITE, d->data,
						  d->my_meta, d->bytes - 1)));
}

/* -- many tags per command ------------------------------------------------- */

FIXTURE(batch)
{
	struct testdev td;
	struct tb tb;
};

FIXTURE_SETUP(batch)
{
	__u64 features;

	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	features = td_features(&self->td);
	if (!(features & UBLK_F_INTEGRITY) || !(features & UBLK_F_BATCH_IO))
		SKIP(return, "driver without metadata or batch mode");
	pi_describe(&self->td, &t10);
	ASSERT_EQ(0, tb_go_live(&self->tb, &self->td));
}

FIXTURE_TEARDOWN_PARENT(batch)
{
	EXPECT_EQ(0, td_reap(&self->td));
}

/* The end of a request, too, may be one of many: it has to be checked whole. */
TEST_F(batch, read_in_parts_is_checked_from_its_beginning)
{
	char *data = td_page_buf(2 * PART, 1), *mine = td_page_buf(2 * PART, 0);
	__u32 at, part = pi_bytes(&t10, PART);
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	struct td_req req = { };
	struct tb_elem elem;
	char meta[PI_MAX_META];
	int client;

	pi_make(&t10, data, 2 * PART, meta, 0x1234, TD_AREA >> 9);
	tb_fetch(tb, 0);
	client = td_read(td, mine, 2 * PART, TD_AREA);
	for (at = 0; at < 2 * PART; at += PART) {
		ASSERT_EQ(0, tb_wait_tags(tb, 1));
		tb->nr_tags = 0;
		req.tag = tb->tags[0];
		ASSERT_EQ(PART, td_bring(td, &req, data + at, PART, 0));
		ASSERT_EQ(part, pi_bring(td, &req, meta + pi_bytes(&t10, at), part, 0));
		elem = tb_elem(tb, 0, req.tag, PART);
		ASSERT_LT(0, tb_commit(tb, 0, &elem, 1));
	}
	EXPECT_EQ(2 * PART, tb_wait_client(tb, client));
	EXPECT_EQ(0, memcmp(mine, data, 2 * PART));
}

TEST_HARNESS_MAIN
