// SPDX-License-Identifier: GPL-2.0
/*
 * Servers that do what no server should: change a command while it is read, or
 * become another program.
 */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>

#include "fixture.h"

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(attached, td_add_attached);

/* -- a command that changes while it is read ------------------------------- */

/* Writes over one entry of a submission queue for as long as it may. */
struct scribbler {
	void *entry;
	size_t len;
	atomic_bool stop;
	pthread_t thread;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	unsigned char *bytes = s->entry;
	unsigned int seed = 1;

	while (!atomic_load(&s->stop)) {
		seed = seed * 1103515245 + 12345;
		bytes[(seed >> 8) % s->len] = (seed >> 24) & 0x7;
	}
	return NULL;
}

static int start_scribbler(struct scribbler *s, void *entry, size_t len)
{
	s->entry = entry;
	s->len = len;
	atomic_store(&s->stop, false);
	return pthread_create(&s->thread, NULL, scribble, s);
}

static void stop_scribbler(struct scribbler *s)
{
	atomic_store(&s->stop, true);
	pthread_join(s->thread, NULL);
}

static bool is_known_answer(int res)
{
	return res >= 0 || res == -EINVAL || res == -EFAULT ||
		res == -ENODEV || res == -EOPNOTSUPP;
}

FIXTURE(scribbled)
{
	struct testdev td;
};

FIXTURE_VARIANT(scribbled)
{
	__u32 op;
};

#define SCRIBBLED(name)							\
FIXTURE_VARIANT_ADD(scribbled, name)					\
{									\
	.op = UBLK_U_CMD_##name						\
}

SCRIBBLED(GET_FEATURES);
SCRIBBLED(GET_DEV_INFO);
SCRIBBLED(GET_DEV_INFO2);
SCRIBBLED(GET_QUEUE_AFFINITY);
SCRIBBLED(GET_PARAMS);

TD_FIXTURE_OPS(scribbled, td_add);

/*
 * Before it, each submission makes the command valid. The buffer is at an
 * address of its own, so that whatever the scribbler makes of the address or
 * the length, nothing but that buffer can be hit.
 */
TEST_F(scribbled, control_command_is_read_once)
{
	enum { BUF = 128 << 10 };
	struct testdev *td = &self->td;
	struct io_uring *ring = &td->ctrl.ring;
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id, .queue_id = -1, .len = 64,
		.addr = 0x200000000000ULL,
	};
	struct scribbler s;
	void *buf;
	int i, res;

	buf = mmap((void *)cmd.addr, BUF, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_EQ((void *)cmd.addr, buf);
	/* All of them land in one of a few entries; this is the first. */
	ASSERT_EQ(0, start_scribbler(&s, (char *)ring->sq.sqes + 48,
				     sizeof(cmd)));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, ublk_ctrl_submit(&td->ctrl, variant->op, &cmd));
		ASSERT_EQ(0, ublk_ctrl_wait(&td->ctrl, TD_DEADLINE_MS, &res));
		EXPECT_TRUE(is_known_answer(res)) TH_LOG("answer %d", res);
	}
	stop_scribbler(&s);
}

static bool is_known_refusal(int res)
{
	return res == -EINVAL || res == -EBUSY || res == -EOPNOTSUPP;
}

/* No tag is fetched, so there is no commit that could succeed. */
TEST_F(attached, io_command_is_read_once)
{
	struct testdev *td = &self->td;
	struct scribbler s;
	int i, res;

	ASSERT_EQ(0, start_scribbler(&s, (char *)td->ring.sq.sqes + 48,
				     sizeof(struct ublksrv_io_cmd)));
	for (i = 0; i < 1000; i++) {
		res = td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, 0, i % 4, 0,
				(unsigned long)td_buf(td, 0, 0));
		EXPECT_TRUE(is_known_refusal(res)) TH_LOG("answer %d", res);
	}
	stop_scribbler(&s);
}

/* -- a server that becomes another program --------------------------------- */

struct exec_server {
	pid_t pid;
	int ready;		/* it has told its id */
	int go;			/* it may exec now */
};

static void keep_on_exec(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

/* Serves by hand until told, then lives on as a sleep(1) with its files. */
static void serve_and_exec(int ready, int go, bool keep)
{
	static struct testdev mine;
	struct testdev *td = &mine;
	struct pollfd fd = { .fd = go, .events = POLLIN };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!td_init(td) || td_add_fetched(td) || td_start(td))
		_exit(1);
	if (keep) {
		keep_on_exec(td->cdev);
		keep_on_exec(td->ring.ring_fd);
	}
	if (write(ready, &td->id, sizeof(td->id)) != sizeof(td->id))
		_exit(1);
	while (!poll(&fd, 1, 0))
		td_settle(td, 20);
	execlp("sleep", "sleep", "1000", NULL);
	_exit(1);
}

static int spawn_exec_server(struct testdev *td, struct exec_server *e, bool keep)
{
	int ready[2], go[2], id;

	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC))
		return -errno;
	e->pid = fork();
	if (!e->pid) {
		close(ready[0]);
		close(go[1]);
		serve_and_exec(ready[1], go[0], keep);
	}
	td->server = e->pid;
	close(ready[1]);
	close(go[0]);
	e->ready = ready[0];
	e->go = go[1];
	if (read(e->ready, &id, sizeof(id)) != sizeof(id))
		return -ECHILD;
	td->id = id;
	td->info.dev_id = id;
	return td_open_disk(td);
}

/* The end of its pipe closes with the old program. */
static int exec_now(struct exec_server *e)
{
	char c;

	close(e->go);
	return read(e->ready, &c, 1) ? -EIO : 0;
}

TEST_F(driver, disk_goes_when_the_server_executes_another_program)
{
	struct testdev *td = &self->td;
	struct exec_server e;

	ASSERT_EQ(0, spawn_exec_server(td, &e, false));
	ASSERT_EQ(0, exec_now(&e));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

TEST_F(driver, read_in_the_hands_of_a_server_that_executes_fails)
{
	struct testdev *td = &self->td;
	struct exec_server e;
	int client;

	ASSERT_EQ(0, spawn_exec_server(td, &e, false));
	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	td_settle(td, 200);
	ASSERT_EQ(0, exec_now(&e));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

/* Its memory is gone: nothing may be copied into that of the new program. */
TEST_F(driver, read_for_a_program_that_inherited_the_server_fails)
{
	struct testdev *td = &self->td;
	struct exec_server e;

	ASSERT_EQ(0, spawn_exec_server(td, &e, true));
	ASSERT_EQ(0, exec_now(&e));
	EXPECT_EQ(-EIO, td_wait(td, td_read(td, td_page_buf(4096, 0), 4096,
					    TD_AREA)));
	EXPECT_EQ(-EIO, td_wait(td, td_write(td, td_page_buf(4096, 1), 4096,
					     TD_AREA, 0)));
}

TEST_F(driver, read_that_such_a_program_inherited_fails_when_it_is_killed)
{
	struct testdev *td = &self->td;
	struct exec_server e;
	int client;

	ASSERT_EQ(0, spawn_exec_server(td, &e, true));
	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	td_settle(td, 200);
	ASSERT_EQ(0, exec_now(&e));
	ASSERT_EQ(0, td_kill_server(td));
	EXPECT_EQ(-EIO, td_wait(td, client));
	EXPECT_TRUE(td_poll_until(td_disk_is_gone, td));
}

TEST_HARNESS_MAIN
