// SPDX-License-Identifier: GPL-2.0
/*
 * How long shared memory is shared: through the lives of disks and servers, and
 * with requests under way. UNREG_BUF returns when the server has nothing in its
 * hands that it was told to find there, and nothing else waits for that.
 */
#include <signal.h>

#include "testshmem.h"

static int live_with_shmem(struct testdev *td)
{
	return go_live_shared(td, 0);
}

static int live_with_reissue(struct testdev *td)
{
	return go_live_shared(td, UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
}

TD_FIXTURE_WITH(live, UBLK_F_SHMEM_ZC, live_with_shmem);
TD_FIXTURE_WITH(reissue, UBLK_F_SHMEM_ZC, live_with_reissue);

/* -- the lives of disks and servers ---------------------------------------- */

TEST_F(live, buffer_outlives_the_disk)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	ASSERT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	td_close_disk(td);
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_STOP_DEV, 0));
	td_detach(td);
	ASSERT_EQ(0, td_serve_again(td));
	ASSERT_EQ(0, td_open_disk(td));
	EXPECT_EQ(0, write_is_found(td, sh.client + PAGE, PAGE, 0, PAGE));
	EXPECT_EQ(-EEXIST, reg_shared(td, &sh));
}

TEST_F(reissue, buffer_outlives_the_server)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, td_recover(td));
	EXPECT_EQ(0, write_is_found(td, sh.client + PAGE, PAGE, 0, PAGE));
}

struct in_child {
	struct testdev *td;
	char *mem;
};

static int reg_in_child(void *arg)
{
	struct in_child *c = arg;
	struct testdev mine = *c->td;

	if (ublk_ctrl_open(&mine.ctrl))
		return 1;
	return reg_memory(&mine, c->mem, SHARED_BYTES, 0) ? 2 : 0;
}

TEST_F(live, buffer_outlives_who_registered_it)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	ASSERT_EQ(0, td_in_child(reg_in_child, &(struct in_child) { td, sh.client }));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	EXPECT_EQ(0, unreg(td, 0));
}

TEST_F(live, buffer_outlives_its_mapping)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	ASSERT_EQ(0, munmap(sh.server, sh.len));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
}

/* Pages that the file has got rid of are not those that come in their place. */
TEST_F(live, new_pages_of_a_file_are_not_in_the_buffer)
{
	struct testdev *td = &self->td;
	struct shared sh;

	ASSERT_EQ(0, share_buffer(td, &sh));
	ASSERT_EQ(0, ftruncate(sh.fd, PAGE));
	ASSERT_EQ(0, ftruncate(sh.fd, SHARED_BYTES));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
	EXPECT_EQ(0, write_is_copied(td, sh.client + PAGE, PAGE));
}

/* -- without a server ------------------------------------------------------ */

/* Neither waits for requests that wait for a server. */
TEST_F(reissue, request_that_was_held_is_found_in_a_new_buffer)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	client = td_write(td, sh.client, PAGE, TD_AREA, 0);
	td_settle(td, 20);
	ASSERT_EQ(0, reg_shared(td, &sh));
	ASSERT_EQ(0, unreg(td, 0));
	ASSERT_EQ(0, reg_shared(td, &sh));
	EXPECT_FALSE(td_done(td, client));
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_TRUE(is_at(&req, 0, 0));
	EXPECT_EQ(0, finish(td, &req, client));
}

/* A request that is repeated is looked for anew. */
TEST_F(reissue, request_that_was_found_is_copied_for_the_next_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	fill(sh.client, PAGE, 5);
	client = write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 0));
	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	EXPECT_EQ(0, unreg(td, 0));
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_FALSE(is_shared(&req));
	EXPECT_TRUE(is_filled(req.buf, PAGE, 5));
	EXPECT_EQ(0, finish(td, &req, client));
}

TEST_F(reissue, request_that_was_found_is_so_again)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 0));
	td_detach(td);
	ASSERT_EQ(0, td_recover(td));
	ASSERT_EQ(0, td_next(td, &req));
	EXPECT_TRUE(is_at(&req, 0, 0));
	fill(sh.server, PAGE, 9);
	EXPECT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 9));
}

/* -- with requests under way ----------------------------------------------- */

TEST_F(live, register_does_not_wait_for_requests)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share(&sh, SHARED_BYTES));
	fill(sh.client, PAGE, 5);
	client = write_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, reg_shared(td, &sh));
	/* This one was copied, and the next is found. */
	EXPECT_TRUE(is_filled(req.buf, PAGE, 5));
	EXPECT_EQ(0, finish(td, &req, client));
	EXPECT_EQ(0, write_is_found(td, sh.client, PAGE, 0, 0));
}

/* Sends UNREG_BUF 0, and waits until requests for @mem are no longer found. */
static int begin_unreg(struct testdev *td, char *mem)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	int ret = td_ctl_send(td, UBLK_U_CMD_UNREG_BUF, 0);

	if (ret)
		return ret;
	do {
		struct td_req req;
		int client = td_write_arrived(td, &req, mem, PAGE);

		if (client < 0)
			return client;
		ret = finish(td, &req, client);
		if (ret || !is_shared(&req))
			return ret;
	} while (td_now_ms() < deadline);
	return -ETIME;
}

TEST_F(live, unregister_waits_for_the_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_TRUE(is_at(&req, 0, 0));
	ASSERT_EQ(0, begin_unreg(td, sh.client + PAGE));
	td_settle(td, 50);
	EXPECT_FALSE(ctl_is_answered(td));
	/* The server does as it was told, and what it says counts. */
	fill(sh.server, PAGE, 5);
	fill(req.buf, PAGE, 6);
	EXPECT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 5));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* Of other buffers, of none. */
TEST_F(live, unregister_does_not_wait_for_other_requests)
{
	struct testdev *td = &self->td;
	struct td_req other, none;
	struct shared a, b;
	int first, second;

	ASSERT_EQ(0, share_buffer(td, &a));
	ASSERT_EQ(1, share_buffer(td, &b));
	/* Every tag has served one of this buffer. */
	for (int i = 0; i < 16; i++)
		ASSERT_EQ(0, write_is_found(td, a.client, PAGE, 0, 0));
	first = td_write_arrived(td, &other, b.client, PAGE);
	ASSERT_LE(0, first);
	ASSERT_TRUE(is_at(&other, 1, 0));
	second = td_write(td, td_page_buf(PAGE, 1), PAGE, TD_AREA + 65536, 0);
	ASSERT_EQ(0, td_next(td, &none));
	ASSERT_FALSE(is_shared(&none));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(0, finish(td, &none, second));
	EXPECT_EQ(0, finish(td, &other, first));
}

TEST_F(live, unregister_can_be_interrupted_and_repeated)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_EQ(-EINTR, unreg_and_interrupt(td, 0));
	EXPECT_EQ(-EINTR, unreg_and_interrupt(td, 0));
	/* The memory is free, the index is not: the server still means that one. */
	EXPECT_EQ(1, reg_shared(td, &sh));
	EXPECT_EQ(0, write_is_found(td, sh.client + PAGE, PAGE, 1, PAGE));
	fill(sh.server, PAGE, 5);
	fill(req.buf, PAGE, 6);
	EXPECT_EQ(0, finish(td, &req, client));
	EXPECT_TRUE(is_filled(sh.client, PAGE, 5));
	EXPECT_EQ(0, unreg(td, 0));
	EXPECT_EQ(-ENOENT, unreg(td, 0));
	EXPECT_EQ(0, reg_memory(td, td_page_buf(PAGE, 1), PAGE, 0));
}

TEST_F(live, unregister_ends_with_the_server)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	ASSERT_EQ(0, begin_unreg(td, sh.client + PAGE));
	td_detach(td);
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

static pid_t start_unreg(struct testdev *td)
{
	pid_t pid = fork();
	struct testdev mine = *td;

	if (pid)
		return pid;
	if (ublk_ctrl_open(&mine.ctrl))
		_exit(1);
	_exit(ublk_unreg_buf(&mine.ctrl, mine.id, 0) ? 2 : 0);
}

TEST_F(live, unregister_lets_its_process_die)
{
	struct testdev *td = &self->td;
	struct td_req req;
	struct shared sh;
	int client;
	pid_t pid;

	ASSERT_EQ(0, share_buffer(td, &sh));
	client = td_read_arrived(td, &req, sh.client, PAGE);
	ASSERT_LE(0, client);
	pid = start_unreg(td);
	ASSERT_LT(0, pid);
	/* Two wait for the same, and one of them is killed. */
	ASSERT_EQ(0, begin_unreg(td, sh.client + PAGE));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-EINTR, td_wait_exit(pid, TD_DEADLINE_MS));
	EXPECT_FALSE(ctl_is_answered(td));
	EXPECT_EQ(0, finish(td, &req, client));
	EXPECT_EQ(0, td_ctl_wait(td));
	EXPECT_EQ(-ENOENT, unreg(td, 0));
}

/* -- all at once ----------------------------------------------------------- */

#define REGIONS		4
#define REGION_PAGES	16U
#define ROUNDS		300
#define SEED		20240u

struct churn {
	struct testdev *td;
	struct shared sh;
	int region_of[REGIONS];		/* by index of the buffer, -1 for none */
	bool stop;
	int changes;
	int error;
};

static unsigned int next_random(unsigned int *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/* Shares a region: its index is known before the first request tells of it. */
static int churn_reg(struct churn *c, struct ublk_ctrl *ctrl, int region)
{
	struct ublk_shmem_buf_reg reg = {
		.addr = (unsigned long)c->sh.server + region * REGION_PAGES * PAGE,
		.len = REGION_PAGES * PAGE,
	};
	int index = 0;

	while (c->region_of[index] >= 0)
		index++;
	__atomic_store_n(&c->region_of[index], region, __ATOMIC_SEQ_CST);
	return ublk_reg_buf(ctrl, c->td->id, &reg) == index ? index : -EBADSLT;
}

/* After this, nobody may be told of the index. */
static int churn_unreg(struct churn *c, struct ublk_ctrl *ctrl, int index)
{
	int ret = ublk_unreg_buf(ctrl, c->td->id, index);

	__atomic_store_n(&c->region_of[index], -1, __ATOMIC_SEQ_CST);
	return ret;
}

static void *churn_buffers(void *arg)
{
	struct churn *c = arg;
	int index[REGIONS] = { -1, -1, -1, -1 };
	unsigned int random = SEED;
	struct ublk_ctrl ctrl;

	c->error = ublk_ctrl_open(&ctrl);
	while (!c->error && !__atomic_load_n(&c->stop, __ATOMIC_SEQ_CST)) {
		int region = next_random(&random) % REGIONS, ret;

		if (index[region] < 0) {
			ret = churn_reg(c, &ctrl, region);
			index[region] = ret;
		} else {
			ret = churn_unreg(c, &ctrl, index[region]);
			index[region] = -1;
		}
		if (ret < 0)
			c->error = ret;
		c->changes++;
	}
	return NULL;
}

/* Where the server finds the data of a request; NULL if it was misled. */
static char *churn_data(struct churn *c, const struct td_req *req, const char *client)
{
	unsigned int index = ublk_shmem_zc_index(req->addr);
	char *data;
	int region;

	if (!is_shared(req))
		return req->buf;
	if (index >= REGIONS)
		return NULL;
	region = __atomic_load_n(&c->region_of[index], __ATOMIC_SEQ_CST);
	if (region < 0)
		return NULL;
	data = c->sh.server + region * REGION_PAGES * PAGE +
		ublk_shmem_zc_offset(req->addr);
	return data - c->sh.server == client - c->sh.client ? data : NULL;
}

struct flight {
	char *mem;
	__u32 len;
	bool write;
	unsigned int seed;
	int client;
};

/* Anything from a block to some pages, of one half of the memory. */
static void take_off(struct churn *c, struct flight *f, int half, unsigned int *random)
{
	__u32 half_bytes = c->sh.len / 2;
	__u64 offset = TD_AREA + half * TD_BUF_BYTES;

	f->len = (1 + next_random(random) % 32) * 512;
	f->mem = c->sh.client + half * half_bytes +
		next_random(random) % ((half_bytes - f->len) / 512) * 512;
	f->write = next_random(random) % 2;
	f->seed = next_random(random) % 4000 + 1;
	fill(f->mem, f->len, f->write ? f->seed : 0);
	f->client = f->write ? td_write(c->td, f->mem, f->len, offset, 0) :
			       td_read(c->td, f->mem, f->len, offset);
}

/* The server's part, but for the answer. */
static int serve(struct churn *c, const struct flight *f, const struct td_req *req)
{
	char *data = churn_data(c, req, f->mem);

	if (!data)
		return -EMEDIUMTYPE;
	if (!f->write)
		fill(data, f->len, f->seed);
	else if (!is_filled(data, f->len, f->seed))
		return -EBADMSG;
	return 0;
}

static int land(struct churn *c, const struct flight *f, const struct td_req *req)
{
	int ret = finish(c->td, req, f->client);

	return ret || is_filled(f->mem, f->len, f->seed) ? ret : -EILSEQ;
}

/* Two requests, so that a command finds them at any point of their lives. */
static int fly(struct churn *c, unsigned int *random)
{
	int first = next_random(random) % 2, ret = 0;
	struct flight flights[2];
	struct td_req req[2], next;

	for (int half = 0; half < 2; half++)
		take_off(c, &flights[half], half, random);
	for (int i = 0; !ret && i < 2; i++) {
		int half;

		ret = td_next(c->td, &next);
		if (ret)
			break;
		half = next.start >= (TD_AREA + TD_BUF_BYTES) >> 9;
		req[half] = next;
		ret = serve(c, &flights[half], &next);
	}
	if (!ret)
		ret = land(c, &flights[first], &req[first]);
	return ret ? ret : land(c, &flights[!first], &req[!first]);
}

TEST_F(live, data_is_right_while_buffers_come_and_go)
{
	struct testdev *td = &self->td;
	struct churn c = { .td = td, .region_of = { -1, -1, -1, -1 } };
	unsigned int random = SEED + 1;
	pthread_t thread;
	int ret = 0, round;

	ASSERT_EQ(0, share(&c.sh, REGIONS * REGION_PAGES * PAGE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, churn_buffers, &c));
	for (round = 0; !ret && round < ROUNDS; round++)
		ret = fly(&c, &random);
	ASSERT_EQ(0, ret)
		TH_LOG("seed %u, round %d, after %d changes", SEED, round, c.changes);
	__atomic_store_n(&c.stop, true, __ATOMIC_SEQ_CST);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, c.error)
		TH_LOG("after %d changes", c.changes);
}

TEST_HARNESS_MAIN
