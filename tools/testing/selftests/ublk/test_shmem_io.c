// SPDX-License-Identifier: GPL-2.0
/*
 * SHMEM_ZC: which requests are found in shared memory, what the server is told of
 * them, and that their data is not copied.
 */
#include <sys/wait.h>

#include "testshmem.h"

static int live_with_shmem(struct testdev *td)
{
	td->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE;
	td->params.types |= UBLK_PARAM_TYPE_DISCARD;
	td->params.discard.discard_granularity = PAGE;
	td->params.discard.max_discard_sectors = 2048;
	td->params.discard.max_discard_segments = 1;
	return go_live_shared(td, 0);
}

TD_FIXTURE_WITH(live, UBLK_F_SHMEM_ZC, live_with_shmem);

/* -- what it is for -------------------------------------------------------- */

TEST_F(live, write_is_found_where_the_client_has_it)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client + 3 * PAGE, PAGE, 5);
	client = write_arrived(td, &req, sh.client + 3 * PAGE, PAGE);
	ASSERT_LE(0, client);
	EXPECT_EQ(UBLK_IO_OP_WRITE, req.op);
	EXPECT_EQ(8, req.sectors);
	EXPECT_TRUE(is_at(&req, 0, 3 * PAGE));
	EXPECT_TRUE(is_filled(sh.server + 3 * PAGE, PAGE, 5));
	/* It was not copied as well. */
	EXPECT_TRUE(is_poisoned(&req));
	EXPECT_EQ(0, finish(td, &req, client));
}

TEST_F(live, read_is_filled_where_the_client_has_it)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client + 5 * PAGE, PAGE);
	ASSERT_LE(0, client);
	EXPECT_EQ(UBLK_IO_OP_READ, req.op);
	EXPECT_TRUE(is_at(&req, 0, 5 * PAGE));
	fill(sh.server + 5 * PAGE, PAGE, 6);
	/* What is here must not be copied over it. */
	fill(req.buf, PAGE, 7);
	ASSERT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(sh.client + 5 * PAGE, PAGE, 6));
}

TEST_F(live, data_may_begin_anywhere_and_span_pages)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	EXPECT_EQ(0, write_is_found(td, sh.client, 512, 0, 0));
	EXPECT_EQ(0, write_is_found(td, sh.client + 512, 512, 0, 512));
	EXPECT_EQ(0, write_is_found(td, sh.client + PAGE - 512, 1024, 0, PAGE - 512));
	EXPECT_EQ(0, write_is_found(td, sh.client + 1536, TD_BUF_BYTES, 0, 1536));
	EXPECT_EQ(0, write_is_found(td, sh.client + SHARED_BYTES - TD_BUF_BYTES,
				    TD_BUF_BYTES, 0, SHARED_BYTES - TD_BUF_BYTES));
	EXPECT_EQ(0, write_is_found(td, sh.client + SHARED_BYTES - 512, 512, 0,
				    SHARED_BYTES - 512));
}

TEST_F(live, data_of_many_pages_is_all_there)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client + 512, TD_BUF_BYTES);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 512));
	fill(sh.server + 512, TD_BUF_BYTES, 8);
	ASSERT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(sh.client + 512, TD_BUF_BYTES, 8));
	EXPECT_TRUE(td_is_zero(sh.client, 512));
	EXPECT_TRUE(td_is_zero(sh.client + 512 + TD_BUF_BYTES, PAGE));
}

TEST_F(live, each_buffer_has_its_index)
{
	struct testdev *td = &self->td;
	struct shared a, b;

	ASSERT_EQ(0, share_buffer(td, &a));
	ASSERT_EQ(1, share_buffer(td, &b));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, write_is_found(td, a.client + i * PAGE, PAGE, 0, i * PAGE));
		ASSERT_EQ(0, write_is_found(td, b.client + i * PAGE, PAGE, 1, i * PAGE));
	}
}

/* Buffers are made of pages; where they are mapped is everybody's own affair. */
TEST_F(live, part_of_a_file_is_a_buffer)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_EQ(0, reg_memory(td, sh.server + 8 * PAGE, 8 * PAGE, 0));
	EXPECT_EQ(0, write_is_found(td, sh.client + 9 * PAGE, PAGE, 0, PAGE));
	EXPECT_EQ(0, write_is_copied(td, sh.client + 7 * PAGE, PAGE));
	EXPECT_EQ(0, write_is_copied(td, sh.client + 16 * PAGE, PAGE));
	/* One that begins in it, or ends in it, is not in it. */
	EXPECT_EQ(0, write_is_copied(td, sh.client + 15 * PAGE, 2 * PAGE));
	EXPECT_EQ(0, write_is_copied(td, sh.client + 8 * PAGE - 512, 1024));
}

#define SCATTERED	512U

/* The pages of a buffer may be anywhere: here, each is by itself. */
TEST_F(live, scattered_pages_are_one_buffer)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(SCATTERED * PAGE, 0);
	struct shared sh;

	ASSERT_EQ(0, share(&sh, SCATTERED * PAGE));
	fill(sh.client, sh.len, 1);
	for (unsigned int i = 0; i < SCATTERED; i++)
		ASSERT_EQ(mem + i * PAGE,
			  mmap(mem + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, sh.fd,
			       (SCATTERED - 1 - i) * (off_t)PAGE));
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, reg_memory(td, mem, sh.len, 0));
		EXPECT_EQ(0, write_is_found(td, mem + 100 * PAGE + 512, TD_BUF_BYTES, 0,
					    100 * PAGE + 512));
		EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, sh.len - PAGE));
		EXPECT_EQ(0, write_is_copied(td, sh.client, 2 * PAGE));
		ASSERT_EQ(0, unreg(td, 0));
		EXPECT_EQ(0, write_is_copied(td, sh.client, PAGE));
	}
	/* The device goes with a large tree. */
	EXPECT_EQ(0, reg_memory(td, mem, sh.len, 0));
}

TEST_F(live, memory_elsewhere_is_copied)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	EXPECT_EQ(0, write_is_copied(td, td_page_buf(2 * PAGE, 9), 2 * PAGE));
	EXPECT_EQ(0, read_is_copied(td, td_page_buf(2 * PAGE, 0), 2 * PAGE));
}

TEST_F(live, memory_that_was_taken_back_is_copied)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	ASSERT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	ASSERT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, write_is_copied(td, sh.client, PAGE));
	EXPECT_EQ(0, read_is_copied(td, sh.client, PAGE));
	ASSERT_EQ(0, reg_shared(td, &sh));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
}

TEST_F(live, requests_without_data_are_in_no_memory)
{
	struct testdev *td = &self->td;
	struct shared sh;
	struct td_req req;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	/* Every tag has served one that was. */
	for (int i = 0; i < 16; i++)
		ASSERT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	client = td_fsync(td);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_FLUSH, req.op);
	EXPECT_FALSE(is_shared(&req));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
	client = td_discard(td, TD_AREA, 65536);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(UBLK_IO_OP_DISCARD, req.op);
	EXPECT_FALSE(is_shared(&req));
	td_answer(td, &req, 0);
	EXPECT_EQ(0, td_wait(td, client));
}

/* -- data in several pieces ------------------------------------------------ */

FIXTURE(pieces)
{
	struct testdev td;
};

/* Up to three pages of two buffers, numbered from 0 and 100, or 200 for others. */
FIXTURE_VARIANT(pieces)
{
	unsigned int page[3];
	unsigned int nr;
	bool found;
};

TD_FIXTURE_OPS_WITH(pieces, UBLK_F_SHMEM_ZC, live_with_shmem);

FIXTURE_VARIANT_ADD(pieces, that_follow_each_other) {
	.page = { 1, 2, 3 }, .nr = 3, .found = true };
FIXTURE_VARIANT_ADD(pieces, one) { .page = { 101 }, .nr = 1, .found = true };
FIXTURE_VARIANT_ADD(pieces, in_reverse) { .page = { 2, 1 }, .nr = 2 };
FIXTURE_VARIANT_ADD(pieces, with_a_gap) { .page = { 1, 2, 4 }, .nr = 3 };
FIXTURE_VARIANT_ADD(pieces, with_a_page_twice) { .page = { 1, 1 }, .nr = 2 };
FIXTURE_VARIANT_ADD(pieces, of_two_buffers) { .page = { 3, 100 }, .nr = 2 };
FIXTURE_VARIANT_ADD(pieces, of_two_buffers_in_step) { .page = { 1, 102 }, .nr = 2 };
FIXTURE_VARIANT_ADD(pieces, that_end_elsewhere) { .page = { 1, 2, 200 }, .nr = 3 };
FIXTURE_VARIANT_ADD(pieces, that_begin_elsewhere) { .page = { 200, 1, 2 }, .nr = 3 };
FIXTURE_VARIANT_ADD(pieces, with_others_between) { .page = { 1, 200, 3 }, .nr = 3 };

/* Two buffers side by side in one file, which is as near as they can be. */
#define PART	4U

static int reg_two_parts(struct testdev *td, const struct shared *sh)
{
	int ret = reg_memory(td, sh->server, PART * PAGE, 0);

	if (ret)
		return -EINVAL;
	ret = reg_memory(td, sh->server + PART * PAGE, PART * PAGE, 0);
	return ret == 1 ? 0 : -EINVAL;
}

static char *find_page(const struct shared *sh, char *other, unsigned int page)
{
	if (page >= 200)
		return other;
	return sh->client + (page >= 100 ? PART + page - 100 : page) * PAGE;
}

TEST_F(pieces, are_found_if_they_are_one)
{
	struct testdev *td = &self->td;
	char *other = td_page_buf(PAGE, 0);
	__u32 len = variant->nr * PAGE;
	struct iovec iov[3];
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_EQ(0, reg_two_parts(td, &sh));
	for (unsigned int i = 0; i < variant->nr; i++) {
		char *page = find_page(&sh, other, variant->page[i]);

		fill(page, PAGE, 10 + variant->page[i]);
		iov[i] = (struct iovec) { page, PAGE };
	}
	client = td_writev(td, iov, variant->nr, TD_AREA);
	ASSERT_EQ(0, td_next(td, &req));
	ASSERT_EQ(len, req.sectors << 9);
	EXPECT_EQ(variant->found, is_shared(&req));
	for (unsigned int i = 0; i < variant->nr; i++) {
		char *data = is_shared(&req) ?
			sh.server + (ublk_shmem_zc_index(req.addr) * PART * PAGE) +
			ublk_shmem_zc_offset(req.addr) : req.buf;

		EXPECT_TRUE(is_filled(data + i * PAGE, PAGE, 10 + variant->page[i]));
	}
	EXPECT_EQ(0, finish(td, &req, client));
}

/* -- which memory ---------------------------------------------------------- */

TEST_F(live, memory_that_cannot_be_written_serves_writes_only)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_EQ(0, mprotect(sh.server, sh.len, PROT_READ));
	ASSERT_EQ(0, reg_memory(td, sh.server, sh.len, UBLK_SHMEM_BUF_READ_ONLY));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	EXPECT_EQ(0, read_is_copied(td, sh.client, PAGE));
	EXPECT_EQ(0, write_is_found(td, sh.client + PAGE, PAGE, 0, PAGE));
}

/* A server that is its own client. */
TEST_F(live, private_memory_is_shared_within_a_process)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(4 * PAGE, 1);
	struct td_req req;
	int client;

	ASSERT_EQ(0, reg_memory(td, mem, 4 * PAGE, 0));
	EXPECT_EQ(0, write_is_found(td, mem + PAGE, 2 * PAGE, 0, PAGE));
	client = td_read_arrived(td, &req, mem, PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 0));
	fill(mem, PAGE, 3);
	ASSERT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(mem, PAGE, 3));
}

/* What was one page of zeroes for all is not what the server sees later. */
TEST_F(live, untouched_memory_stays_that_of_its_owner)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(PAGE, 0), *other = td_page_buf(PAGE, 0);

	ASSERT_EQ(0, reg_memory(td, mem, PAGE, UBLK_SHMEM_BUF_READ_ONLY));
	EXPECT_EQ(0, write_is_copied(td, other, PAGE));
	fill(mem, PAGE, 3);
	EXPECT_EQ(0, write_is_copied(td, other, PAGE));
	EXPECT_EQ(0, write_is_found(td, mem, PAGE, 0, 0));
}

struct in_child {
	const char *disk;
	char *mem;
	bool scribble;
};

/* A client in a process of its own, with no part in the server. */
static int write_in_child(void *arg)
{
	struct in_child *c = arg;
	int fd = open(c->disk, O_RDWR | O_DIRECT | O_CLOEXEC);

	if (fd < 0)
		return 2;
	if (c->scribble)
		fill(c->mem, PAGE, 21);
	return pwrite(fd, c->mem, PAGE, TD_AREA) == PAGE ? 0 : 1;
}

static pid_t start_client(struct in_child *c)
{
	pid_t pid = fork();

	if (!pid)
		_exit(write_in_child(c));
	return pid;
}

TEST_F(live, clients_memory_is_found_in_another_process)
{
	struct testdev *td = &self->td;
	char path[32];
	struct td_req req;
	struct shared sh;
	pid_t pid;

	ASSERT_EQ(0, share_buffer(td, &sh));
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	pid = start_client(&(struct in_child) { path, sh.client + PAGE, true });
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_TRUE(is_at(&req, 0, PAGE));
	EXPECT_TRUE(is_filled(sh.server + PAGE, PAGE, 21));
	ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
	EXPECT_EQ(0, td_wait_exit(pid, TD_DEADLINE_MS));
}

/* After a fork it is the parent that keeps the pages, whoever writes first. */
TEST_F(live, private_memory_is_not_that_of_a_child)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(2 * PAGE, 1), path[32];
	struct td_req req;
	pid_t pid;

	ASSERT_EQ(0, reg_memory(td, mem, 2 * PAGE, 0));
	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	for (int scribble = 0; scribble < 2; scribble++) {
		pid = start_client(&(struct in_child) { path, mem, scribble });
		ASSERT_LT(0, pid);
		ASSERT_EQ(0, td_next(td, &req));
		EXPECT_FALSE(is_shared(&req));
		EXPECT_TRUE(is_filled(req.buf, PAGE, scribble ? 21 : 1));
		ASSERT_EQ(TD_PENDING, td_answer(td, &req, PAGE));
		EXPECT_EQ(0, td_wait_exit(pid, TD_DEADLINE_MS));
		/* Here everything is as it was. */
		fill(mem + PAGE, PAGE, 30 + scribble);
		EXPECT_EQ(0, write_is_found(td, mem, 2 * PAGE, 0, 0));
	}
}

TEST_F(live, memory_belongs_to_one_device)
{
	struct testdev *td = &self->td;
	struct testdev other;
	struct shared sh;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_TRUE(td_init(&other));
	other.info.flags |= UBLK_F_SHMEM_ZC;
	ASSERT_EQ(0, td_add(&other));
	EXPECT_EQ(0, reg_memory(&other, sh.server, PAGE, 0));
	EXPECT_EQ(0, write_is_copied(td, sh.client, PAGE));
	EXPECT_EQ(0, reg_shared(td, &sh));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	EXPECT_EQ(0, td_reap(&other));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
}

/* -- huge pages ------------------------------------------------------------ */

#define HUGE	(2U << 20)

static long read_knob(const char *path)
{
	char text[32];

	return td_read_text(path, text, sizeof(text)) ? -1 : atol(text);
}

static void write_knob(const char *path, long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", value);
	td_write_text(path, text);
}

#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"

TEST_F(live, huge_page_is_one_piece)
{
	struct testdev *td = &self->td;
	long before = read_knob(HUGE_PAGES);
	struct shared sh;
	int ret;

	if (before < 0)
		SKIP(return, "kernel without hugetlb");
	write_knob(HUGE_PAGES, before + 2);
	ret = share_fd(&sh, memfd_create("huge", MFD_HUGETLB | (21 << 26)), 2 * HUGE);
	if (!ret)
		ret = reg_shared(td, &sh);
	write_knob(HUGE_PAGES, before);
	if (ret == -ENOMEM || ret == -EFAULT)
		SKIP(return, "no free huge pages");
	ASSERT_EQ(0, ret);
	EXPECT_EQ(0, write_is_found(td, sh.client, TD_BUF_BYTES, 0, 0));
	EXPECT_EQ(0, write_is_found(td, sh.client + HUGE / 2 + 512, TD_BUF_BYTES, 0,
				    HUGE / 2 + 512));
	EXPECT_EQ(0, write_is_found(td, sh.client + HUGE - PAGE, 2 * PAGE, 0,
				    HUGE - PAGE));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, write_is_copied(td, sh.client, PAGE));
	/* A part of one will do. */
	ASSERT_EQ(0, reg_memory(td, sh.server + HUGE / 2, 16 * PAGE, 0));
	EXPECT_EQ(0, write_is_found(td, sh.client + HUGE / 2 + PAGE, TD_BUF_BYTES - PAGE,
				    0, PAGE));
	EXPECT_EQ(0, write_is_copied(td, sh.client + HUGE / 2 + PAGE, TD_BUF_BYTES));
}

/* Whether the kernel makes them huge is its own decision, and makes no difference. */
TEST_F(live, pages_may_be_in_huge_ones)
{
	struct testdev *td = &self->td;
	char *mem = td_page_buf(2 * HUGE, 0);

	mem = (void *)(((uintptr_t)mem + HUGE - 1) & -(uintptr_t)HUGE);
	madvise(mem, HUGE, MADV_HUGEPAGE);
	fill(mem, HUGE, 1);
	ASSERT_EQ(0, reg_memory(td, mem, HUGE, 0));
	EXPECT_EQ(0, write_is_found(td, mem + HUGE / 2 + 512, TD_BUF_BYTES, 0,
				    HUGE / 2 + 512));
	/* To split them does not move them. */
	ASSERT_EQ(0, mprotect(mem, HUGE / 2, PROT_READ));
	EXPECT_EQ(0, write_is_found(td, mem + HUGE / 2 - PAGE, 2 * PAGE, 0,
				    HUGE / 2 - PAGE));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, write_is_copied(td, mem, PAGE));
}

TEST_HARNESS_MAIN
