// SPDX-License-Identifier: GPL-2.0
/*
 * The commands of batch mode: what each of them refuses, in which order, and
 * what it has done when it stops half way.
 */
#include "fixture.h"
#include "testzoned.h"

#define DEPTH	4
#define ADDR	4096	/* not looked at by the commands that fail before */

TB_FIXTURE(attached, tb_attach);

static int go_live(struct tb *tb, struct testdev *td)
{
	int ret = tb_attach_prepared(tb, td);

	if (!ret)
		ret = td_start(td);
	if (!ret && !tb_fetch(tb, 0))
		ret = -EIO;
	return ret ? ret : tb_open_disk(tb);
}

static int attach_zoned(struct tb *tb, struct testdev *td)
{
	if (td_features(td) & UBLK_F_ZONED)
		tz_init(td);
	return tb_attach(tb, td);
}

TB_FIXTURE(zoned, attach_zoned);
TB_FIXTURE(prepared, tb_attach_prepared);
TB_FIXTURE(live, go_live);
TD_FIXTURE(driver, td_no_device);

/* Good arguments, for tests to spoil one of them. */
static struct ublk_batch_io good_args(__u16 nr)
{
	return (struct ublk_batch_io) {
		.flags = UBLK_BATCH_F_HAS_BUF_ADDR,
		.nr_elem = nr,
		.elem_bytes = sizeof(struct tb_elem),
	};
}

/* -- what a device in this mode is ------------------------------------------ */

TEST_F(attached, device_has_no_task_per_tag)
{
	EXPECT_EQ(UBLK_F_BATCH_IO, self->td.info.flags &
				   (UBLK_F_BATCH_IO | UBLK_F_PER_IO_DAEMON));
}

TEST_F(driver, batch_device_is_not_given_get_data)
{
	struct testdev *td = &self->td;

	REQUIRE_FEATURE(td, UBLK_F_BATCH_IO);
	td->info.flags |= UBLK_F_BATCH_IO | UBLK_F_NEED_GET_DATA;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(UBLK_F_BATCH_IO, td->info.flags &
				   (UBLK_F_BATCH_IO | UBLK_F_NEED_GET_DATA));
}

TEST_F(driver, device_with_get_data_alone_keeps_it)
{
	struct testdev *td = &self->td;

	td->info.flags |= UBLK_F_NEED_GET_DATA;
	ASSERT_EQ(0, td_add(td));
	EXPECT_EQ(UBLK_F_NEED_GET_DATA, td->info.flags &
					(UBLK_F_BATCH_IO | UBLK_F_NEED_GET_DATA));
}

/* -- commands of one tag ---------------------------------------------------- */

static const __u32 one_tag_ops[] = {
	UBLK_U_IO_FETCH_REQ, UBLK_U_IO_COMMIT_AND_FETCH_REQ,
	UBLK_U_IO_NEED_GET_DATA, UBLK_IO_FETCH_REQ,
	UBLK_IO_COMMIT_AND_FETCH_REQ, UBLK_IO_NEED_GET_DATA,
	_IOWR('u', 0x5f, struct ublksrv_io_cmd),
};

TEST_F(attached, commands_of_one_tag_are_not_supported)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(one_tag_ops); i++)
		EXPECT_EQ(-EOPNOTSUPP, td_io_cmd(&self->td, one_tag_ops[i], 0, 0,
						 0, ADDR))
			TH_LOG("command 0x%x", one_tag_ops[i]);
}

TEST_F(attached, commands_of_one_tag_need_a_queue_and_a_tag_all_the_same)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(one_tag_ops); i++) {
		EXPECT_EQ(-EINVAL, td_io_cmd(&self->td, one_tag_ops[i], 1, 0, 0,
					     ADDR));
		EXPECT_EQ(-EINVAL, td_io_cmd(&self->td, one_tag_ops[i], 0, DEPTH,
					     0, ADDR));
	}
}

TEST_F(attached, plain_numbers_of_batch_commands_are_not_supported)
{
	unsigned int nr;

	for (nr = 0x25; nr <= 0x27; nr++)
		EXPECT_EQ(-EOPNOTSUPP, td_io_cmd(&self->td, nr, 0, 0, 0, 0));
}

TEST_F(attached, buffers_cannot_be_registered_in_copy_mode)
{
	EXPECT_EQ(-EINVAL, td_io_cmd(&self->td, UBLK_U_IO_REGISTER_IO_BUF, 0, 0,
				     0, 0));
	EXPECT_EQ(-EINVAL, td_io_cmd(&self->td, UBLK_U_IO_UNREGISTER_IO_BUF, 0, 0,
				     0, 0));
}

/* -- PREP and COMMIT: the argument ------------------------------------------ */

static const __u32 elem_ops[] = {
	UBLK_U_IO_PREP_IO_CMDS, UBLK_U_IO_COMMIT_IO_CMDS,
};

TEST_F(attached, elements_need_a_queue_that_is_there)
{
	struct tb_elem elem = tb_elem(&self->tb, 0, 0, 0);
	struct ublk_batch_io args = good_args(1);
	unsigned int i;

	for (i = 0; i < 2; i++) {
		args.q_id = 1;
		EXPECT_EQ(-EINVAL, tb_run(&self->tb, elem_ops[i], &args, &elem));
		args.q_id = 0xffff;
		EXPECT_EQ(-EINVAL, tb_run(&self->tb, elem_ops[i], &args, &elem));
	}
}

TEST_F(attached, elements_are_no_more_than_tags)
{
	struct tb_elem elems[DEPTH + 1] = { };
	struct ublk_batch_io args = good_args(DEPTH + 1);
	unsigned int i;

	for (i = 0; i < 2; i++)
		EXPECT_EQ(-E2BIG, tb_run(&self->tb, elem_ops[i], &args, elems));
}

TEST_F(attached, number_of_elements_is_looked_at_before_flags)
{
	struct ublk_batch_io args = good_args(DEPTH + 1);
	unsigned int i;

	args.flags = 0xffff;
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-E2BIG, tb_run(&self->tb, elem_ops[i], &args, NULL));
}

TEST_F(attached, flags_without_a_meaning_here_are_refused)
{
	static const __u16 flags[] = {
		UBLK_BATCH_F_HAS_ZONE_LBA, UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK,
		1 << 3, 1 << 15,
	};
	struct ublk_batch_io args = good_args(1);
	unsigned int i, j;

	/* Room for the option that a flag announces, so that only it is wrong. */
	for (i = 0; i < 2; i++) {
		for (j = 0; j < ARRAY_SIZE(flags); j++) {
			args.flags = flags[j] | UBLK_BATCH_F_HAS_BUF_ADDR;
			args.elem_bytes = j ? 16 : 24;
			EXPECT_EQ(-EINVAL, tb_run(&self->tb, elem_ops[i], &args,
						  NULL))
				TH_LOG("flag 0x%x", flags[j]);
		}
	}
}

TEST_F(attached, elements_have_the_size_that_their_flags_say)
{
	static const __u8 sizes[] = { 0, 8, 12, 15, 17, 24, 32, 255 };
	struct ublk_batch_io args = good_args(1);
	unsigned int i, j;

	for (i = 0; i < 2; i++) {
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			args.elem_bytes = sizes[j];
			EXPECT_EQ(-EINVAL, tb_run(&self->tb, elem_ops[i], &args,
						  NULL))
				TH_LOG("size %u", sizes[j]);
		}
		args.flags = 0;
		args.elem_bytes = 16;
		EXPECT_EQ(-EINVAL, tb_run(&self->tb, elem_ops[i], &args, NULL));
		args.flags = UBLK_BATCH_F_HAS_BUF_ADDR;
	}
}

TEST_F(zoned, elements_may_have_room_for_a_sector)
{
	static const struct {
		__u16 flags;
		__u8 bytes;
		int ret;
	} forms[] = {
		{ UBLK_BATCH_F_HAS_ZONE_LBA, 16, 0 },
		{ 0, 8, 0 },
		{ UBLK_BATCH_F_HAS_ZONE_LBA, 8, -EINVAL },
		{ 0, 16, -EINVAL },
		{ UBLK_BATCH_F_HAS_ZONE_LBA | UBLK_BATCH_F_HAS_BUF_ADDR, 24, -EINVAL },
		{ UBLK_BATCH_F_HAS_BUF_ADDR, 16, -EINVAL },
	};
	struct tb_elem elem = { };
	unsigned int i;

	REQUIRE_FEATURE(&self->td, UBLK_F_ZONED);
	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		struct ublk_batch_io args = {
			.flags = forms[i].flags, .nr_elem = 1,
			.elem_bytes = forms[i].bytes,
		};

		elem.tag = i;
		EXPECT_EQ(forms[i].ret, tb_run(&self->tb, UBLK_U_IO_PREP_IO_CMDS,
					       &args, &elem))
			TH_LOG("form %u", i);
	}
}

TEST_F(attached, no_element_is_fine)
{
	struct ublk_batch_io args = good_args(0);
	unsigned int i;

	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, tb_run(&self->tb, elem_ops[i], &args, NULL));
}

TEST_F(attached, elements_have_to_be_readable)
{
	void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	struct ublk_batch_io args = good_args(1);
	unsigned int i;

	for (i = 0; i < 2; i++)
		EXPECT_EQ(-EFAULT, tb_run(&self->tb, elem_ops[i], &args, nowhere));
}

TEST_F(attached, reserved_fields_are_not_looked_at)
{
	struct tb_elem elem = tb_elem(&self->tb, 0, 0, 0);
	struct ublk_batch_io args = good_args(1);

	args.reserved = 0xff;
	args.reserved2 = ~0ULL;
	elem.buf_index = 77;
	EXPECT_EQ(0, tb_run(&self->tb, UBLK_U_IO_PREP_IO_CMDS, &args, &elem));
}

/* -- PREP ------------------------------------------------------------------- */

/* Elements for @nr tags, by their numbers. */
static void set_elems(struct tb *tb, struct tb_elem *elems, const __u16 *tags,
		      unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		elems[i] = tb_elem(tb, 0, tags[i] % DEPTH, 0);
		elems[i].tag = tags[i];
	}
}

static int prep_tags(struct tb *tb, const __u16 *tags, unsigned int nr)
{
	struct tb_elem elems[DEPTH];

	set_elems(tb, elems, tags, nr);
	return tb_prep(tb, 0, elems, nr);
}

#define PREP(tb, ...)							\
	prep_tags(tb, (__u16[]) { __VA_ARGS__ },			\
		  sizeof((__u16[]) { __VA_ARGS__ }) / sizeof(__u16))

TEST_F(attached, prep_of_all_tags_makes_the_device_ready)
{
	ASSERT_EQ(0, PREP(&self->tb, 0, 1, 2, 3));
	EXPECT_EQ(0, td_start(&self->td));
}

TEST_F(attached, prep_of_parts_in_any_order_makes_the_device_ready)
{
	ASSERT_EQ(0, PREP(&self->tb, 3));
	ASSERT_EQ(0, PREP(&self->tb, 1, 0));
	ASSERT_EQ(0, PREP(&self->tb, 2));
	EXPECT_EQ(0, td_start(&self->td));
}

TEST_F(attached, start_waits_for_tags_that_prep_left_out)
{
	struct testdev *td = &self->td;

	ASSERT_EQ(0, PREP(&self->tb, 0, 1, 3));
	ASSERT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_START_DEV, getpid()));
	ASSERT_EQ(0, PREP(&self->tb, 2));
	EXPECT_EQ(0, td_ctl_wait(td));
}

TEST_F(attached, prep_refuses_a_tag_that_is_not_there)
{
	EXPECT_EQ(-EINVAL, PREP(&self->tb, DEPTH));
	EXPECT_EQ(-EINVAL, PREP(&self->tb, 0xffff));
}

TEST_F(attached, prep_refuses_no_buffer)
{
	struct tb_elem elem = { .tag = 0 };
	struct ublk_batch_io args = good_args(1);

	EXPECT_EQ(-EINVAL, tb_prep(&self->tb, 0, &elem, 1));
	args.flags = 0;
	args.elem_bytes = 8;
	EXPECT_EQ(-EINVAL, tb_run(&self->tb, UBLK_U_IO_PREP_IO_CMDS, &args,
				  &elem));
}

TEST_F(attached, prep_refuses_a_tag_that_was_offered)
{
	ASSERT_EQ(0, PREP(&self->tb, 1));
	EXPECT_EQ(-EINVAL, PREP(&self->tb, 1));
}

TEST_F(attached, prep_refuses_a_tag_that_is_named_twice)
{
	EXPECT_EQ(-EINVAL, PREP(&self->tb, 0, 2, 0));
}

TEST_F(attached, prep_that_fails_at_any_element_has_taken_none)
{
	struct tb *tb = &self->tb;

	ASSERT_EQ(-EINVAL, PREP(tb, 0, 1, 2, DEPTH));
	ASSERT_EQ(-EINVAL, PREP(tb, 0, 1, 1));
	ASSERT_EQ(0, PREP(tb, 3));
	ASSERT_EQ(-EINVAL, PREP(tb, 0, 1, 3));
	/* Before the last one, all are there. */
	ASSERT_EQ(-EBUSY, PREP(tb, 0, 1, 2, 3));
	EXPECT_EQ(0, PREP(tb, 0, 1, 2));
	EXPECT_EQ(0, td_start(&self->td));
}

TEST_F(attached, prep_without_all_of_its_elements_has_taken_none)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ublk_batch_io args = good_args(DEPTH);
	struct tb_elem *elems = (void *)(page + 4096);
	struct tb *tb = &self->tb;

	munmap(page + 4096, 4096);
	set_elems(tb, elems - 2, (__u16[]) { 0, 1 }, 2);
	EXPECT_EQ(-EFAULT, tb_run(tb, UBLK_U_IO_PREP_IO_CMDS, &args, elems - 2));
	EXPECT_EQ(0, PREP(tb, 0, 1, 2, 3));
}

TEST_F(live, prep_of_a_device_that_has_all_is_busy)
{
	EXPECT_EQ(-EBUSY, PREP(&self->tb, 0));
}

TEST_F(attached, prep_after_stop_finds_no_device)
{
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, PREP(&self->tb, 0));
}

TEST_F(attached, prep_forced_into_a_worker_works)
{
	self->td.sqe_flags = IOSQE_ASYNC;
	ASSERT_EQ(0, PREP(&self->tb, 0, 1, 2, 3));
	EXPECT_EQ(0, td_start(&self->td));
}

/* -- two threads offer the same tags ---------------------------------------- */

#define DEEP	256

static int attach_deep(struct tb *tb, struct testdev *td)
{
	td->info.queue_depth = DEEP;
	return tb_attach(tb, td);
}

TB_FIXTURE(deep, attach_deep);

/* One tag per command, so that each race has its own result. */
static void *race_for_tags(void *arg)
{
	struct td_racer *r = arg;
	struct tb tb = { };
	struct tb_elem elem;
	unsigned int tag;

	if (tb_init(&tb, r->td, 0, 0, 0))
		return NULL;
	pthread_barrier_wait(r->barrier);
	for (tag = 0; tag < DEEP; tag++) {
		elem = tb_elem(&tb, 0, tag, 0);
		td_count_try(r, tb_prep(&tb, 0, &elem, 1));
	}
	tb_exit(&tb);
	return NULL;
}

TEST_F(deep, concurrent_preps_of_a_tag_have_one_winner)
{
	struct td_racer racers[2];

	ASSERT_EQ(0, td_race(&self->td, racers, race_for_tags));
	EXPECT_EQ(DEEP, racers[0].won + racers[1].won);
	EXPECT_EQ(0, racers[0].other);
	EXPECT_EQ(0, racers[1].other);
	EXPECT_EQ(0, td_start(&self->td));
}

/* -- COMMIT ----------------------------------------------------------------- */

/* Sends reads until @nr of them are in the server's hands. */
static int reads_in_hand(struct tb *tb, int *clients, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		clients[i] = td_read(tb->td, td_page_buf(4096, 0), 4096,
				     TD_AREA + i * 65536);
	return tb_wait_tags(tb, nr);
}

TEST_F(live, commit_refuses_a_tag_that_is_not_there)
{
	struct tb_elem elem = tb_elem(&self->tb, 0, 0, 0);

	elem.tag = DEPTH;
	EXPECT_EQ(-EINVAL, tb_commit(&self->tb, 0, &elem, 1));
	elem.tag = 0xffff;
	EXPECT_EQ(-EINVAL, tb_commit(&self->tb, 0, &elem, 1));
}

TEST_F(attached, commit_refuses_a_tag_never_offered)
{
	struct tb_elem elem = tb_elem(&self->tb, 0, 0, 0);

	EXPECT_EQ(-EBUSY, tb_commit(&self->tb, 0, &elem, 1));
}

TEST_F(prepared, commit_refuses_an_idle_tag)
{
	struct tb_elem elem = tb_elem(&self->tb, 0, DEPTH - 1, 0);

	EXPECT_EQ(-EBUSY, tb_commit(&self->tb, 0, &elem, 1));
}

TEST_F(live, commit_refuses_no_buffer_and_completes_nothing)
{
	struct tb *tb = &self->tb;
	struct tb_elem elem;
	int client;

	ASSERT_EQ(0, reads_in_hand(tb, &client, 1));
	elem = tb_elem(tb, 0, tb->tags[0], 4096);
	elem.addr = 0;
	EXPECT_EQ(-EINVAL, tb_commit(tb, 0, &elem, 1));
	ASSERT_EQ(0, tb_round_trip(tb, 0));
	EXPECT_FALSE(td_done(&self->td, client));
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(4096, tb_wait_client(tb, client));
}

TEST_F(live, commit_says_how_many_bytes_it_has_used)
{
	struct tb *tb = &self->tb;
	struct tb_elem elems[2];
	int clients[2];

	ASSERT_EQ(0, reads_in_hand(tb, clients, 2));
	elems[0] = tb_elem(tb, 0, tb->tags[0], 4096);
	elems[1] = tb_elem(tb, 0, tb->tags[1], 4096);
	EXPECT_EQ(sizeof(elems), tb_commit(tb, 0, elems, 2));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[0]));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[1]));
}

/* Good, bad, good: the last one is not looked at. */
static void check_partial(struct __test_metadata *_metadata, struct tb *tb,
			  struct tb_elem bad, int errno_alone)
{
	struct tb_elem elems[3];
	int clients[2];

	ASSERT_EQ(0, reads_in_hand(tb, clients, 2));
	elems[0] = tb_elem(tb, 0, tb->tags[0], 4096);
	elems[1] = bad;
	elems[2] = tb_elem(tb, 0, tb->tags[1], 4096);
	EXPECT_EQ(sizeof(elems[0]), tb_commit(tb, 0, elems, 3));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[0]));
	ASSERT_EQ(0, tb_round_trip(tb, 0));
	EXPECT_FALSE(td_done(tb->td, clients[1]));

	EXPECT_EQ(errno_alone, tb_commit(tb, 0, elems + 1, 2));
	EXPECT_EQ(sizeof(elems[2]), tb_commit(tb, 0, elems + 2, 1));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[1]));
}

TEST_F(live, commit_stops_at_a_tag_that_is_not_there)
{
	struct tb_elem bad = tb_elem(&self->tb, 0, 0, 4096);

	bad.tag = DEPTH;
	check_partial(_metadata, &self->tb, bad, -EINVAL);
}

TEST_F(live, commit_stops_at_a_tag_without_a_request)
{
	struct tb *tb = &self->tb;
	struct tb_elem elems[2];
	int client;

	ASSERT_EQ(0, reads_in_hand(tb, &client, 1));
	elems[0] = tb_elem(tb, 0, tb->tags[0], 4096);
	elems[1] = elems[0];
	EXPECT_EQ(sizeof(elems[0]), tb_commit(tb, 0, elems, 2));
	EXPECT_EQ(4096, tb_wait_client(tb, client));
	EXPECT_EQ(-EBUSY, tb_commit(tb, 0, elems + 1, 1));
}

TEST_F(live, commit_stops_at_an_element_without_a_buffer)
{
	struct tb_elem bad = tb_elem(&self->tb, 0, 0, 4096);

	bad.addr = 0;
	check_partial(_metadata, &self->tb, bad, -EINVAL);
}

TEST_F(live, commit_stops_where_it_cannot_read)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ublk_batch_io args = good_args(2);
	struct tb_elem *end = (void *)(page + 4096);
	struct tb *tb = &self->tb;
	int client;

	munmap(page + 4096, 4096);
	ASSERT_EQ(0, reads_in_hand(tb, &client, 1));
	end[-1] = tb_elem(tb, 0, tb->tags[0], 4096);
	EXPECT_EQ(sizeof(*end), tb_run(tb, UBLK_U_IO_COMMIT_IO_CMDS, &args,
				       end - 1));
	EXPECT_EQ(4096, tb_wait_client(tb, client));
}

/* Some succeed together with others, and some alone. */
TEST_F(live, one_commit_ends_each_request_in_its_own_way)
{
	static const int results[DEPTH] = { 4096, 4096, 1024, -ENOSPC };
	void *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			     -1, 0);
	struct tb *tb = &self->tb;
	struct tb_elem elems[DEPTH];
	int clients[DEPTH], i;

	ASSERT_EQ(0, reads_in_hand(tb, clients, DEPTH));
	for (i = 0; i < DEPTH; i++)
		elems[i] = tb_elem(tb, 0, tb->tags[i], results[i]);
	elems[1].addr = (unsigned long)nowhere;
	tb->nr_tags = 0;
	EXPECT_EQ(sizeof(elems), tb_commit(tb, 0, elems, DEPTH));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[0]));
	EXPECT_EQ(-EIO, tb_wait_client(tb, clients[1]));
	EXPECT_EQ(-ENOSPC, tb_wait_client(tb, clients[3]));
	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	EXPECT_EQ(6, td_desc(tb->td, 0, tb->tags[0])->nr_sectors);
	ASSERT_EQ(0, tb_answer_all(tb, 0));
	EXPECT_EQ(4096, tb_wait_client(tb, clients[2]));
}

TEST_F(live, commit_after_stop_finds_no_request)
{
	struct testdev *td = &self->td;
	struct tb_elem elem;

	td_close_disk(td);
	ASSERT_EQ(0, tb_ctl(&self->tb, UBLK_U_CMD_STOP_DEV, 0));
	elem = tb_elem(&self->tb, 0, 0, 0);
	EXPECT_EQ(-EBUSY, tb_commit(&self->tb, 0, &elem, 1));
}

TEST_F(live, commit_forced_into_a_worker_works)
{
	struct testdev *td = &self->td;
	char *buf = td_page_buf(4096, 0);
	struct tb *tb = &self->tb;
	int client = td_read(td, buf, 4096, TD_AREA);

	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	memset(td_buf(td, 0, tb->tags[0]), 0x5a, 4096);
	td->sqe_flags = IOSQE_ASYNC;
	ASSERT_EQ(sizeof(struct tb_elem), tb_answer(tb, 0, tb->tags[0]));
	td->sqe_flags = 0;
	ASSERT_EQ(4096, tb_wait_client(tb, client));
	EXPECT_EQ(0, memcmp(buf, td_buf(td, 0, tb->tags[0]), 4096));
}

struct elsewhere {
	struct testdev *td;
	__u16 tag;
};

static int commit_elsewhere(void *arg)
{
	struct elsewhere *e = arg;
	struct tb tb = { };
	int ret;

	if (tb_init(&tb, e->td, 0, 0, 0))
		return 1;
	memset(td_buf(e->td, 0, e->tag), 0xa5, 4096);
	ret = tb_answer(&tb, 0, e->tag);
	tb_exit(&tb);
	return ret == sizeof(struct tb_elem) ? 0 : 2;
}

static void check_elsewhere(struct __test_metadata *_metadata, struct tb *tb,
			    int (*run)(int (*fn)(void *arg), void *arg))
{
	char *buf = td_page_buf(4096, 0);
	struct elsewhere e = { .td = tb->td };
	int client = td_read(tb->td, buf, 4096, TD_AREA);

	ASSERT_EQ(0, tb_wait_tags(tb, 1));
	e.tag = tb->tags[0];
	ASSERT_EQ(0, run(commit_elsewhere, &e));
	ASSERT_EQ(4096, tb_wait_client(tb, client));
	EXPECT_EQ((char)0xa5, buf[0]);
	EXPECT_EQ((char)0xa5, buf[4095]);
}

TEST_F(live, commit_may_come_from_another_thread)
{
	check_elsewhere(_metadata, &self->tb, td_in_thread);
}

/* Its memory is where the data of a READ comes from. */
TEST_F(live, commit_may_come_from_another_process)
{
	check_elsewhere(_metadata, &self->tb, td_in_child);
}

/* -- FETCH ------------------------------------------------------------------ */

static int fetch_with(struct tb *tb, struct ublk_batch_io args, __u8 sqe_flags)
{
	return tb_result(tb, tb_send(tb, UBLK_U_IO_FETCH_IO_CMDS, &args, NULL,
				     sqe_flags));
}

TEST_F(attached, fetch_refuses_a_queue_that_is_not_there)
{
	struct ublk_batch_io args = { .q_id = 1, .elem_bytes = 2 };

	EXPECT_EQ(-EINVAL, fetch_with(&self->tb, args, IOSQE_BUFFER_SELECT));
}

TEST_F(attached, fetch_refuses_to_be_for_once)
{
	struct ublk_batch_io args = { .elem_bytes = 2 };

	EXPECT_EQ(-EINVAL, fetch_with(&self->tb, args, 0));
}

TEST_F(attached, fetch_refuses_elements_that_are_no_tags)
{
	struct ublk_batch_io args = { };

	EXPECT_EQ(-EINVAL, fetch_with(&self->tb, args, IOSQE_BUFFER_SELECT));
	args.elem_bytes = 8;
	EXPECT_EQ(-EINVAL, fetch_with(&self->tb, args, IOSQE_BUFFER_SELECT));
}

TEST_F(attached, fetch_refuses_flags)
{
	struct ublk_batch_io args = {
		.elem_bytes = 2, .flags = UBLK_BATCH_F_HAS_BUF_ADDR,
	};

	EXPECT_EQ(-EINVAL, fetch_with(&self->tb, args, IOSQE_BUFFER_SELECT));
}

TEST_F(attached, fetch_after_stop_finds_no_device)
{
	struct ublk_batch_io args = { .elem_bytes = 2 };

	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, fetch_with(&self->tb, args, IOSQE_BUFFER_SELECT));
}

TEST_F(attached, fetch_does_not_look_at_the_number_of_elements)
{
	struct ublk_batch_io args = { .elem_bytes = 2, .nr_elem = 0xffff };
	struct tb *tb = &self->tb;
	__u32 seq = tb_send(tb, UBLK_U_IO_FETCH_IO_CMDS, &args, NULL,
			    IOSQE_BUFFER_SELECT);

	tb_settle(tb, 100);
	EXPECT_EQ(0, tb->nr_cqes);
	ASSERT_EQ(0, td_ctl(&self->td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_EQ(-ENODEV, tb_result(tb, seq));
}

TEST_HARNESS_MAIN
