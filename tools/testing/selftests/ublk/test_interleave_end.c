// SPDX-License-Identifier: GPL-2.0
/*
 * Interleavings of the end: of the pages that a ring has, of a request that nobody will
 * answer, of a server and of its session. See test_interleave.c.
 */
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fixture.h"

#define BYTES	4096

/* -- the last buffer goes while the tag is in somebody's hands -------------- */

/* A request in the hands of the server; its pages are in a ring that outlives it. */
struct lent {
	struct io_uring ring;
	struct td_req req;
	int client;
};

static int take_from_batch(struct tb *tb, struct td_req *req)
{
	int ret;

	tb_fetch(tb, 0);
	ret = tb_wait_tags(tb, 1);
	req->tag = tb->tags[0];
	return ret;
}

/* In batch mode if there is a @tb. */
static int lend(struct lent *l, struct testdev *td, struct tb *tb, __u64 flags)
{
	int ret;

	td->info.flags |= UBLK_F_USER_RECOVERY | UBLK_F_SUPPORT_ZERO_COPY | flags;
	ret = tb ? tb_go_live(tb, td) : td_go_live(td);
	if (!ret)
		ret = io_uring_queue_init(4, &l->ring, 0);
	if (!ret)
		ret = io_uring_register_buffers_sparse(&l->ring, 1);
	if (ret)
		return ret;
	l->client = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA);
	ret = tb ? take_from_batch(tb, &l->req) : td_next(td, &l->req);
	return ret ? ret : td_io_cmd_on(&l->ring, td->cdev, UBLK_U_IO_REGISTER_IO_BUF, 0,
					l->req.tag, 0, 0);
}

static int give_back(void *arg)
{
	struct lent *l = arg;

	return io_uring_unregister_buffers(&l->ring);
}

#define LENT_FIXTURE(name, batch, features)				\
FIXTURE(name)								\
{									\
	struct testdev td;						\
	struct tb tb;							\
	struct lent lent;						\
};									\
HOLD_SETUP(name, UBLK_F_USER_RECOVERY | UBLK_F_SUPPORT_ZERO_COPY | (features), \
	   lend(&self->lent, &self->td, batch, features))

LENT_FIXTURE(lent, NULL, 0);
LENT_FIXTURE(lent_reissue, NULL, UBLK_F_USER_RECOVERY_REISSUE);
LENT_FIXTURE(lent_batch, &self->tb, UBLK_F_BATCH_IO);

struct answer {
	struct tb *tb;
	__u16 tag;
};

static int answer_far(void *arg)
{
	const struct answer *a = arg;

	return tb_answer(a->tb, 0, a->tag);
}

/* In batch mode any task may commit, so also the one that is to be held. */
TEST_F(lent_batch, request_ends_if_its_last_buffer_goes_during_the_commit)
{
	struct answer answer = { &self->tb, self->lent.req.tag };
	struct testdev *td = &self->td;
	struct td_aside commit;
	int hold;

	hold = td_hold_slot(td, answer.tag, TD_SLOT_BUSY, TD_SLOT_ARMED);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&commit, answer_far, &answer));
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, give_back(&self->lent));
	EXPECT_FALSE(td_done(td, self->lent.client));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_LT(0, td_aside_join(&commit));
	EXPECT_EQ(BYTES, tb_wait_client(&self->tb, self->lent.client));
}

TEST_F(lent, request_ends_if_its_last_buffer_goes_during_the_sweep)
{
	struct testdev *td = &self->td;
	int hold;

	hold = td_hold_slot(td, self->lent.req.tag, TD_SLOT_BUSY, TD_SLOT_CANCELED);
	ASSERT_LE(0, hold);
	td_detach(td);
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, give_back(&self->lent));
	EXPECT_FALSE(td_done(td, self->lent.client));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(-EIO, td_wait(td, self->lent.client));
}

static int fetch_far(void *arg)
{
	return td_fetch_all(arg);
}

TEST_F(lent, request_ends_if_its_last_buffer_goes_during_the_next_fetch)
{
	struct testdev *td = &self->td;
	struct td_aside fetch;
	int hold;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, td_reattach(td));
	hold = td_hold_slot(td, self->lent.req.tag, TD_SLOT_BUSY, TD_SLOT_ARMED);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&fetch, fetch_far, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, give_back(&self->lent));
	EXPECT_FALSE(td_done(td, self->lent.client));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(0, td_aside_join(&fetch));
	EXPECT_EQ(-EIO, td_wait(td, self->lent.client));
}

/* The second element is bad, so the first tag goes back to EMPTY. */
static int prep_in_vain(void *arg)
{
	const struct answer *a = arg;
	struct tb_elem elems[] = {
		tb_elem(a->tb, 0, a->tag, 0), tb_elem(a->tb, 0, a->tag, 0),
	};

	return tb_prep(a->tb, 0, elems, 2);
}

TEST_F(lent_batch, request_ends_if_its_last_buffer_goes_during_an_offer_that_fails)
{
	struct answer answer = { &self->tb, self->lent.req.tag };
	struct testdev *td = &self->td;
	struct td_aside prep;
	int hold;

	tb_exit(&self->tb);
	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	ASSERT_EQ(0, td_reattach(td));
	ASSERT_EQ(0, tb_init(&self->tb, td, 0, TB_BUFFERS, TB_BUF_BYTES));
	hold = td_hold_slot(td, answer.tag, TD_SLOT_BUSY, TD_SLOT_EMPTY);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&prep, prep_in_vain, &answer));
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, give_back(&self->lent));
	EXPECT_FALSE(td_done(td, self->lent.client));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(-EINVAL, td_aside_join(&prep));
	EXPECT_EQ(-EIO, tb_wait_client(&self->tb, self->lent.client));
}

/*
 * It is to be repeated, by the policy that STOP_DEV changes. So the disk stays until it is
 * back in its queue, and then it fails there.
 */
TEST_F(lent_reissue, stop_waits_for_who_has_read_the_policy)
{
	struct testdev *td = &self->td;
	struct td_aside put;
	int hold;

	td_detach(td);
	ASSERT_TRUE(td_wait_state(td, UBLK_S_DEV_QUIESCED));
	hold = td_hold_dispose(td, true);
	ASSERT_LE(0, hold);
	ASSERT_EQ(0, td_aside_start(&put, give_back, &self->lent));
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(0, td_ctl_send_to_wait(td, UBLK_U_CMD_STOP_DEV, 0));
	EXPECT_LT(0, td_sysfs_number(td, "size"));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(0, td_aside_join(&put));
	EXPECT_EQ(-EIO, td_wait(td, self->lent.client));
	EXPECT_EQ(0, td_ctl_wait(td));
}

/* -- tags that a server in batch mode has not taken ------------------------- */

HOLD_TB_FIXTURE(live_batch, 0, tb_go_live);

static bool can_open(void *arg)
{
	return td_attach(arg) == 0;
}

/*
 * Their requests were taken back, but they are in the FIFO until the session ends, and so
 * long there is no next one. A fetch without a buffer ends as soon as there is a tag.
 */
TEST_F(live_batch, tags_that_nobody_took_do_not_come_to_the_next_server)
{
	struct testdev *td = &self->td;
	struct tb *tb = &self->tb;
	unsigned int ended;
	int clients[3], hold, i;

	for (i = 0; i < 3; i++)
		clients[i] = td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA + i * 65536);
	ASSERT_TRUE(td_wait_inflight(td, 3));
	hold = td_hold_slot(td, 0, TD_SLOT_CANCELED, TD_SLOT_EMPTY);
	ASSERT_LE(0, hold);
	tb_exit(tb);
	td_detach(td);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-EIO, td_wait(td, clients[i]));
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(-EBUSY, td_attach(td));
	EXPECT_EQ(0, td_hold_release(hold));

	ASSERT_TRUE(td_poll_until(can_open, td));
	ASSERT_EQ(0, tb_init(tb, td, 0, 0, 0));
	ASSERT_EQ(0, tb_prep_all(tb));
	ended = tb->nr_cqes;
	tb_fetch(tb, 0);
	tb_settle(tb, 50);
	EXPECT_EQ(ended, tb->nr_cqes);
}

/* -- a server that is killed, and held on its way --------------------------- */

HOLD_FIXTURE(driver, 0, td_no_device);

/* A server by hand in a process of its own, on the other CPU unless it is to exec. */
struct mortal {
	pid_t pid;
	int ready;	/* it has told its id; ends with its program */
	int go;		/* eventfd: answer the first request, or what follows */
	bool execs;
	bool reads;	/* from its own disk, in another thread, without an answer */
};

static void *read_own_disk(void *arg)
{
	const struct testdev *td = arg;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (pread(fd, td_page_buf(BYTES, 0), BYTES, TD_AREA_END - BYTES) < 0)
		return NULL;
	return NULL;
}

static void wait_and_serve(struct testdev *td, int go)
{
	eventfd_t one;

	while (eventfd_read(go, &one))
		td_settle(td, 20);
}

static void mortal_main(const struct mortal *m, int ready)
{
	static struct testdev mine;
	struct testdev *td = &mine;
	struct td_req req;
	pthread_t thread;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!m->execs && td_take_other_cpu())
		_exit(1);
	if (!td_init(td) || td_add_fetched(td) || td_start(td))
		_exit(1);
	if (write(ready, &td->id, sizeof(td->id)) != sizeof(td->id))
		_exit(1);
	wait_and_serve(td, m->go);
	if (m->execs)
		execlp("sleep", "sleep", "1000", NULL);
	if (m->reads) {
		pthread_create(&thread, NULL, read_own_disk, td);
	} else if (!td_next(td, &req)) {
		memset(req.buf, 0x5a, BYTES);
		td_answer(td, &req, BYTES);
	}
	td_settle(td, 10 * TD_DEADLINE_MS);
	_exit(1);
}

/* Its requests time out after a second. */
static int spawn_mortal(struct testdev *td, struct mortal *m)
{
	int ready[2], id;

	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	m->go = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m->ready = ready[0];
	m->pid = fork();
	if (!m->pid)
		mortal_main(m, ready[1]);
	td->server = m->pid;
	close(ready[1]);
	if (read(m->ready, &id, sizeof(id)) != sizeof(id))
		return -ECHILD;
	td->id = id;
	td->info.dev_id = id;
	id = td_open_disk(td);
	return id ? id : td_set_io_timeout(td, 1000);
}

static int end_mortal(struct testdev *td, const struct mortal *m)
{
	int ret = td_wait_exit(m->pid, TD_DEADLINE_MS);

	if (ret != -ETIME)
		td->server = 0;
	return ret;
}

/* As for test_interleave.c: blocks that do not merge. */
static void send_reads(struct testdev *td, char **bufs, int *clients, unsigned int nr)
{
	struct iovec iov[8];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		bufs[i] = td_page_buf(TD_BUF_BYTES, 0);
		iov[i] = (struct iovec) { bufs[i], TD_BUF_BYTES };
	}
	td_rw_all(td, IORING_OP_READ, iov, nr, TD_AREA, clients);
}

/*
 * A chain of four is in pending task work when its task is killed. That hands back the
 * first, and while it has the second, the timeout takes the rest out of its way.
 */
TEST_F(driver, chain_goes_on_behind_a_tag_that_was_taken_out_of_it)
{
	struct testdev *td = &self->td;
	struct mortal m = { };
	int clients[4], hold, i;
	char *bufs[4];

	ASSERT_EQ(0, spawn_mortal(td, &m));
	ASSERT_EQ(0, td_freeze_server(td));
	hold = td_hold_slot_after(td, TD_ANY, TD_SLOT_QUEUED, TD_SLOT_BUSY, 1);
	ASSERT_LE(0, hold);
	send_reads(td, bufs, clients, 4);
	ASSERT_TRUE(td_wait_inflight(td, 4));
	ASSERT_EQ(0, kill(m.pid, SIGKILL));
	ASSERT_EQ(0, td_hold_wait(hold));
	EXPECT_EQ(-EIO, td_wait(td, clients[2]));
	EXPECT_EQ(-EIO, td_wait(td, clients[3]));
	EXPECT_FALSE(td_done(td, clients[1]));
	EXPECT_EQ(0, td_hold_release(hold));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-EIO, td_wait(td, clients[i]));
	EXPECT_EQ(-EINTR, end_mortal(td, &m));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

/* The answer to one of two requests is being copied when the server is killed. */
TEST_F(driver, timeout_leaves_a_request_alone_whose_answer_is_being_taken)
{
	struct testdev *td = &self->td;
	int clients[2], hold, there, i, kept;
	struct mortal m = { };
	__u64 deadline;
	char *bufs[2];

	ASSERT_EQ(0, spawn_mortal(td, &m));
	there = td_watch_slots(td, TD_SLOT_BUSY, TD_SLOT_SERVER, 2);
	hold = td_hold_slot(td, TD_ANY, TD_SLOT_SERVER, TD_SLOT_BUSY);
	ASSERT_LE(0, hold);
	for (i = 0; i < 2; i++) {
		bufs[i] = td_page_buf(BYTES, 0);
		clients[i] = td_read(td, bufs[i], BYTES, TD_AREA + i * 65536);
	}
	ASSERT_EQ(0, td_hold_wait(there));
	eventfd_write(m.go, 1);
	ASSERT_EQ(0, td_hold_wait(hold));
	ASSERT_EQ(0, kill(m.pid, SIGKILL));
	/* It takes the other one. */
	deadline = td_now_ms() + TD_DEADLINE_MS;
	while (!td_done(td, clients[0]) && !td_done(td, clients[1]))
		ASSERT_TRUE(td_pump(td, deadline));
	kept = td_done(td, clients[0]) ? 1 : 0;
	EXPECT_EQ(-EIO, td_wait(td, clients[!kept]));
	EXPECT_FALSE(td_done(td, clients[kept]));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(BYTES, td_wait(td, clients[kept]));
	EXPECT_EQ(0x5a, bufs[kept][BYTES - 1]);
	EXPECT_EQ(-EINTR, end_mortal(td, &m));
}

static int read_at(const struct testdev *td, off_t offset)
{
	ssize_t n = pread(td->bdev, td_page_buf(BYTES, 0), BYTES, offset);

	return n < 0 ? -errno : n;
}

static int read_first(void *arg)
{
	return read_at(arg, TD_AREA);
}

static int read_second(void *arg)
{
	return read_at(arg, TD_AREA + 65536);
}

/*
 * One of two requests keeps the killed server alive until the timeout is about to take the
 * other. Both come from the other CPU, and so does the timeout.
 */
TEST_F(driver, session_does_not_end_while_a_timeout_takes_a_request)
{
	struct testdev *td = &self->td;
	struct td_aside first, second;
	int dying, taking, there, released;
	struct mortal m = { };

	ASSERT_EQ(0, spawn_mortal(td, &m));
	there = td_watch_slots(td, TD_SLOT_BUSY, TD_SLOT_SERVER, 2);
	dying = td_hold_slot(td, TD_ANY, TD_SLOT_SERVER, TD_SLOT_BUSY);
	released = td_watch_session(td, TD_SESSION_RELEASED);
	ASSERT_LE(0, dying);
	ASSERT_EQ(0, td_aside_start(&first, read_first, td));
	ASSERT_EQ(0, td_aside_start(&second, read_second, td));
	ASSERT_EQ(0, td_hold_wait(there));
	eventfd_write(m.go, 1);
	ASSERT_EQ(0, td_hold_wait(dying));
	taking = td_hold_slot(td, TD_ANY, TD_SLOT_SERVER, TD_SLOT_BUSY);
	ASSERT_LE(0, taking);
	ASSERT_EQ(0, kill(m.pid, SIGKILL));
	ASSERT_EQ(0, td_hold_wait(taking));

	ASSERT_EQ(0, td_take_cpu(m.pid));
	EXPECT_EQ(0, td_hold_release(dying));
	EXPECT_EQ(0, td_hold_wait(released));
	td_settle(td, 50);
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
	EXPECT_EQ(0, td_hold_release(taking));
	EXPECT_EQ(BYTES - EIO, td_aside_join(&first) + td_aside_join(&second));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
	EXPECT_EQ(-EINTR, end_mortal(td, &m));
}

/* Nobody but the timeout can end the request that a thread of it waits for. */
TEST_F(driver, server_that_waits_for_its_own_disk_can_be_killed)
{
	struct mortal m = { .reads = true };
	struct testdev *td = &self->td;
	int there;

	ASSERT_EQ(0, spawn_mortal(td, &m));
	there = td_watch_slot(td, TD_ANY, TD_SLOT_BUSY, TD_SLOT_SERVER);
	ASSERT_LE(0, there);
	eventfd_write(m.go, 1);
	ASSERT_EQ(0, td_hold_wait(there));
	ASSERT_EQ(0, kill(m.pid, SIGKILL));
	EXPECT_EQ(-EINTR, end_mortal(td, &m));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

/* -- a server whose parent has offered its tags ----------------------------- */

/* In the child, when the other end of the pipe is gone, and with it the parent. */
static void serve_after(struct testdev *td, int parent)
{
	struct tb tb = { };
	char c;

	if (read(parent, &c, 1) || tb_init(&tb, td, 0, TB_BUFFERS, TB_BUF_BYTES))
		_exit(1);
	tb_fetch(&tb, 0);
	for (;;) {
		if (tb_wait_tags(&tb, 1) == 0)
			tb_answer_all(&tb, 0);
	}
}

/* Tells its device and its child, and exits. */
static void prepare_and_leave(int report)
{
	static struct testdev mine;
	struct tb tb = { };
	int alive[2], said[2];

	if (pipe2(alive, O_CLOEXEC) || !td_init(&mine) || tb_attach_prepared(&tb, &mine))
		_exit(1);
	said[0] = mine.id;
	said[1] = fork();
	if (!said[1]) {
		close(alive[1]);
		serve_after(&mine, alive[0]);
	}
	_exit(write(report, said, sizeof(said)) != sizeof(said));
}

/* Only who fetches is the server, so the first to go was none. */
TEST_F(driver, server_outlives_the_parent_that_has_offered_its_tags)
{
	struct testdev *td = &self->td;
	int report[2], said[2];
	siginfo_t info;
	pid_t parent;

	REQUIRE_FEATURE(td, UBLK_F_BATCH_IO);
	ASSERT_EQ(0, pipe2(report, O_CLOEXEC));
	parent = fork();
	if (!parent)
		prepare_and_leave(report[1]);
	ASSERT_EQ(sizeof(said), read(report[0], said, sizeof(said)));
	td->id = said[0];
	td->info.dev_id = said[0];
	td->heir_pid = said[1];
	/* START_DEV names it, so it has to stay a zombie. */
	ASSERT_EQ(0, waitid(P_PID, parent, &info, WEXITED | WNOWAIT));
	ASSERT_EQ(0, td_ctl(td, UBLK_U_CMD_START_DEV, parent));
	ASSERT_EQ(0, td_open_disk(td));
	EXPECT_EQ(BYTES, td_wait(td, td_read(td, td_page_buf(BYTES, 0), BYTES, TD_AREA)));
	EXPECT_EQ(UBLK_S_DEV_LIVE, td_state(td));
}

/* -- a server that becomes another program ---------------------------------- */

/* The tag is in the submitter's hands, so exec waits for its command. */
TEST_F(driver, exec_waits_for_a_tag_that_is_claimed)
{
	struct mortal m = { .execs = true };
	struct testdev *td = &self->td;
	struct pollfd gone;
	struct td_aside client;
	int hold, canceled;

	ASSERT_EQ(0, spawn_mortal(td, &m));
	gone = (struct pollfd) { .fd = m.ready };
	hold = td_hold_slot(td, TD_ANY, TD_SLOT_BUSY, TD_SLOT_QUEUED);
	canceled = td_watch_slots(td, TD_SLOT_ARMED, TD_SLOT_CANCELED, 3);
	ASSERT_LE(0, hold);
	ASSERT_LE(0, canceled);
	ASSERT_EQ(0, td_aside_start(&client, read_first, td));
	ASSERT_EQ(0, td_hold_wait(hold));
	eventfd_write(m.go, 1);
	EXPECT_EQ(0, td_hold_wait(canceled));
	td_settle(td, 50);
	EXPECT_EQ(0, poll(&gone, 1, 0));
	EXPECT_EQ(0, td_hold_release(hold));
	EXPECT_EQ(-EIO, td_aside_join(&client));
	EXPECT_EQ(1, poll(&gone, 1, TD_DEADLINE_MS));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

TEST_HARNESS_MAIN
