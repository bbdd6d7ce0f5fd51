// SPDX-License-Identifier: GPL-2.0
/*
 * Copies that fail in the middle of a request whose data lies in several bios, at
 * each place where they can: what is acknowledged is right.
 *
 * Needs a kernel with CONFIG_FAULT_INJECTION_USERCOPY.
 */
#include "fixture.h"

#define MARK		"/proc/thread-self/make-it-fail"
#define KNOBS		"/sys/kernel/debug/fail_usercopy/"
#define LEN		16384
#define PARTS		3
#define COPIES		8	/* more than there are in a step of the server */

/* Of this task's copies, none fails yet. */
static int prepare_to_fail(void)
{
	return td_write_text(KNOBS "task-filter", "Y") ?:
	       td_write_text(KNOBS "interval", "1") ?:
	       td_write_text(KNOBS "verbose", "0") ?:
	       td_write_text(KNOBS "times", "0") ?:
	       td_write_text(KNOBS "probability", "100") ?:
	       td_write_text(MARK, "1");
}

/* The @nth copy from now on fails; 0 for none. */
static void fail_copy(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	/* The first try may be the one that fails. */
	while (td_write_text(KNOBS "times", "0"))
		;
	if (nth && !td_write_text(KNOBS "space", text))
		td_write_text(KNOBS "times", "1");
}

FIXTURE(merged)
{
	struct testdev td;
	char *theirs;		/* the client's memory */
	char *disk;		/* that of the server */
	char *staging;		/* for data on its way there */
	int clients[PARTS];
	struct iovec parts[PARTS];
	int cut;		/* signs of a copy that did not do all */
};

FIXTURE_VARIANT(merged)
{
	__u64 flags;
	int op;			/* of io_uring */
};

FIXTURE_VARIANT_ADD(merged, read) {
	.op = IORING_OP_READ,
};

FIXTURE_VARIANT_ADD(merged, write) {
	.flags = UBLK_F_NEED_GET_DATA, .op = IORING_OP_WRITE,
};

FIXTURE_VARIANT_ADD(merged, user_copy_read) {
	.flags = UBLK_F_USER_COPY, .op = IORING_OP_READ,
};

FIXTURE_VARIANT_ADD(merged, user_copy_write) {
	.flags = UBLK_F_USER_COPY, .op = IORING_OP_WRITE,
};

FIXTURE_SETUP(merged)
{
	if (!td_init(&self->td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(&self->td, variant->flags);
	if (access(KNOBS, F_OK) || access(MARK, F_OK))
		SKIP(return, "kernel without CONFIG_FAULT_INJECTION_USERCOPY");
	self->td.info.flags |= variant->flags;
	ASSERT_EQ(0, td_go_live(&self->td));
	ASSERT_EQ(0, prepare_to_fail());
	self->theirs = td_page_buf(LEN, 0);
	self->disk = td_page_buf(LEN, 0);
	self->staging = td_page_buf(LEN, 0);
	self->parts[0] = (struct iovec){ self->theirs, 8192 };
	self->parts[1] = (struct iovec){ self->theirs + 8192, 4096 };
	self->parts[2] = (struct iovec){ self->theirs + 12288, 4096 };
}

FIXTURE_TEARDOWN_PARENT(merged)
{
	td_write_text(KNOBS "probability", "0");
	td_write_text(KNOBS "task-filter", "N");
	EXPECT_EQ(0, td_reap(&self->td));
}

/* Below, struct _test_data_merged is FIXTURE_DATA(merged), which checkpatch misreads. */

static char *disk_at(struct _test_data_merged *m, const struct td_req *req)
{
	return m->disk + (req->start << UBLK_SECTOR_SHIFT) - TD_AREA;
}

static int get_data(struct _test_data_merged *m, const struct td_req *req)
{
	return td_io_cmd(&m->td, UBLK_U_IO_NEED_GET_DATA, req->queue, req->tag, 0,
			 (unsigned long)m->staging);
}

/* By pread() or pwrite() of ublkcN, where a short count is not the end. */
static int copy_all(struct _test_data_merged *m, const struct td_req *req,
		    unsigned int nth)
{
	__u32 len = req->sectors << UBLK_SECTOR_SHIFT, done = 0;
	char *at = disk_at(m, req);
	int ret;

	while (done < len) {
		fail_copy(nth);
		ret = req->op == UBLK_IO_OP_READ ?
			td_bring(&m->td, req, at + done, len - done, done) :
			td_take(&m->td, req, at + done, len - done, done);
		fail_copy(0);
		m->cut += ret != (int)(len - done);
		if (ret > 0)
			done += ret;
		else if (!nth)
			return ret;
		nth = 0;
	}
	return 0;
}

/* One step of the server with a request; something in it fails if @nth is not 0. */
static int serve(struct _test_data_merged *m, const struct td_req *req,
		 unsigned int nth)
{
	__u32 len = req->sectors << UBLK_SECTOR_SHIFT;
	int ret = 0;

	if (m->td.info.flags & UBLK_F_USER_COPY) {
		ret = copy_all(m, req, nth);
		nth = 0;
	} else if (req->op == UBLK_IO_OP_READ) {
		memcpy(req->buf, disk_at(m, req), len);
	} else if (!req->res) {
		memcpy(disk_at(m, req), m->staging, len);
	}

	fail_copy(nth);
	if (!ret && req->res)
		ret = get_data(m, req);
	else if (!ret)
		ret = td_answer(&m->td, req, len);
	fail_copy(0);
	return ret == TD_PENDING ? 0 : ret;
}

static bool all_done(struct _test_data_merged *m)
{
	int i;

	for (i = 0; i < PARTS; i++)
		if (!td_done(&m->td, m->clients[i]))
			return false;
	return true;
}

/* The server's next steps, until the clients have their answers. */
static int serve_rest(struct _test_data_merged *m)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct td_req req;
	int ret = 0;

	while (!ret && !all_done(m)) {
		if (td_peek(&m->td, &req)) {
			m->cut += req.res || req.sectors < LEN >> UBLK_SECTOR_SHIFT;
			ret = serve(m, &req, 0);
		} else if (!td_pump(&m->td, deadline)) {
			ret = -ETIME;
		}
	}
	return ret;
}

/* Returns how many clients were told that all is well when it was not. */
static int count_wrong(struct _test_data_merged *m)
{
	int i, wrong = 0;

	for (i = 0; i < PARTS; i++) {
		char *mine = m->parts[i].iov_base;
		char *there = m->disk + (mine - m->theirs);
		int len = m->parts[i].iov_len, res = td_wait(&m->td, m->clients[i]);

		m->cut += res != len;
		wrong += res == len && memcmp(mine, there, len);
	}
	return wrong;
}

TEST_F(merged, data_keeps_its_place_whichever_copy_fails)
{
	struct testdev *td = &self->td;
	bool reads = variant->op == IORING_OP_READ;
	struct td_req req;
	unsigned int nth;

	for (nth = 1; nth <= COPIES; nth++) {
		memcpy(reads ? self->disk : self->theirs, td_page_buf(LEN, nth), LEN);
		memset(reads ? self->theirs : self->disk, 0, LEN);
		td_rw_all(td, variant->op, self->parts, PARTS, TD_AREA, self->clients);
		ASSERT_EQ(0, td_next(td, &req));
		ASSERT_EQ(LEN >> UBLK_SECTOR_SHIFT, req.sectors);
		ASSERT_EQ(0, serve(self, &req, nth));
		ASSERT_EQ(0, serve_rest(self));
		EXPECT_EQ(0, count_wrong(self));
	}
	/* Else nothing has failed, and nothing was tested. */
	EXPECT_LT(0, self->cut);
}

TEST_HARNESS_MAIN
