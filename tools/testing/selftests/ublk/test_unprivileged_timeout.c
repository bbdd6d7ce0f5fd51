// SPDX-License-Identifier: GPL-2.0
/*
 * A server has all the time it wants, unless it is an ordinary user's: then a
 * request that is older than the queue's timeout is its end.
 */
#include <linux/fuse.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fixture.h"
#include "user.h"

#define TIMEOUT_MS	1000
/* The block layer looks at its requests in steps of a second or more. */
#define KILL_MS		(TIMEOUT_MS + TD_DEADLINE_MS)

/* A server in a process of its own, which sits on what goes into the area. */
static int spawn_holding(struct testdev *td, bool admin)
{
	struct ublk_options opts;
	int ret;

	ublk_options_init(&opts);
	opts.target = &td_hold_target;
	opts.depth = 8;
	opts.flags = UBLK_F_NO_AUTO_PART_SCAN | UBLK_F_UNPRIVILEGED_DEV;
	set_admin(admin);
	ret = td_spawn(td, &opts);
	set_admin(true);
	return ret ? ret : td_set_io_timeout(td, TIMEOUT_MS);
}

static int spawn_users(struct testdev *td)
{
	return spawn_holding(td, false);
}

static int spawn_roots(struct testdev *td)
{
	return spawn_holding(td, true);
}

TD_FIXTURE(driver, td_no_device);
TD_FIXTURE(user, spawn_users);
TD_FIXTURE(root, spawn_roots);

/* Was the process, a child of ours, ended by a signal in time? */
static bool is_killed(pid_t *pid, int timeout_ms)
{
	if (td_wait_exit(*pid, timeout_ms) != -EINTR)
		return false;
	*pid = 0;
	return true;
}

/* -- a request in hand ----------------------------------------------------- */

TEST_F_TIMEOUT(user, server_that_sits_on_a_request_is_killed, 60)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	EXPECT_TRUE(is_killed(&td->server, KILL_MS));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F_TIMEOUT(user, device_of_a_killed_server_is_dead, 60)
{
	struct testdev *td = &self->td;

	td_write(td, td_page_buf(4096, 1), 4096, TD_AREA, 0);
	ASSERT_TRUE(is_killed(&td->server, KILL_MS));
	td_close_disk(td);
	EXPECT_TRUE(td_wait_state(td, UBLK_S_DEV_DEAD));
}

/* It has not even seen the request. */
TEST_F_TIMEOUT(user, stopped_server_is_killed, 60)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, td_freeze_server(td));
	client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	EXPECT_TRUE(is_killed(&td->server, KILL_MS));
	EXPECT_EQ(-EIO, td_wait(td, client));
}

TEST_F_TIMEOUT(user, idle_server_lives, 60)
{
	struct testdev *td = &self->td;

	td_settle(td, 4 * TIMEOUT_MS);
	EXPECT_EQ(0, waitpid(td->server, NULL, WNOHANG));
}

/* No request of it is old, though there is always one. */
TEST_F_TIMEOUT(user, busy_server_lives, 60)
{
	struct testdev *td = &self->td;
	__u64 end = td_now_ms() + 4 * TIMEOUT_MS, begin;
	void *buf = td_page_buf(4096, 0);
	bool old = false;
	int res = 4096;

	while (res == 4096 && !old && td_now_ms() < end) {
		begin = td_now_ms();
		res = td_wait(td, td_read(td, buf, 4096, 0));
		old = td_now_ms() - begin > TIMEOUT_MS / 2;
	}
	if (old)
		SKIP(return, "the machine stood still: a request was old");
	EXPECT_EQ(4096, res);
	EXPECT_EQ(0, waitpid(td->server, NULL, WNOHANG));
}

TEST_F_TIMEOUT(root, privileged_server_may_sit_on_a_request, 60)
{
	struct testdev *td = &self->td;
	int client = td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);

	ASSERT_EQ(0, td_wait_held(td, 1));
	td_settle(td, 4 * TIMEOUT_MS);
	EXPECT_EQ(0, waitpid(td->server, NULL, WNOHANG));
	EXPECT_FALSE(td_done(td, client));
}

/* -- who fetched the tag --------------------------------------------------- */

/* Fetches every tag of a device that another process has open. */
static void fetch_for(struct testdev *td, int ready)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	unsigned int tag;
	char byte = 0;
	int res;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_admin(false);
	if (io_uring_queue_init(td->info.queue_depth, &ring, 0))
		_exit(1);
	for (tag = 0; tag < td->info.queue_depth; tag++)
		if (td_io_cmd_on(&ring, td->cdev, UBLK_U_IO_FETCH_REQ, 0, tag, 0,
				 (unsigned long)td_buf(td, 0, tag)) != TD_PENDING)
			_exit(1);
	if (write(ready, &byte, 1) != 1)
		_exit(1);
	for (;;) {
		if (io_uring_wait_cqe(&ring, &cqe))
			continue;
		tag = cqe->user_data;
		res = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		if (!res)
			td_answer_outside(td, &ring, 0, tag);
	}
}

/* Else a process that opens the node for others would be the one to go. */
TEST_F_TIMEOUT(driver, who_fetched_the_tag_is_killed_not_who_opened_the_node, 60)
{
	struct testdev *td = &self->td;
	int fds[2];
	pid_t pid;
	char byte;

	ASSERT_EQ(0, add_unprivileged(td));
	ASSERT_EQ(0, td_set_params(td));
	ASSERT_EQ(0, td_attach(td));
	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	/* *td is shared with the child, which must leave it alone. */
	pid = fork();
	if (!pid)
		fetch_for(td, fds[1]);
	td->heir_pid = pid;
	close(fds[1]);
	ASSERT_EQ(1, read(fds[0], &byte, 1));
	ASSERT_EQ(0, td_start(td));
	ASSERT_EQ(0, td_open_disk(td));
	ASSERT_EQ(0, td_set_io_timeout(td, TIMEOUT_MS));
	td_read(td, td_page_buf(4096, 0), 4096, TD_AREA);
	EXPECT_TRUE(is_killed(&td->heir_pid, KILL_MS));
}

/* -- requests that begin anew ---------------------------------------------- */

/* The way of a server to keep a request without ever having it for long. */
struct dodge {
	__u64 flags;
	int (*prepare)(struct testdev *td);
	void (*serve)(struct testdev *td);
};

/* Its memory can be read, so READs are answered, but takes no data. */
static int lock_bufs(struct testdev *td)
{
	size_t tags = td->info.nr_hw_queues * td->info.queue_depth;

	td->answer_all = true;
	return mprotect(td->bufs, tags * td->info.max_io_buf_bytes, PROT_READ);
}

static void do_nothing(struct testdev *td)
{
	td_settle(td, TD_DEADLINE_MS);
}

static int take_all(struct testdev *td)
{
	return 0;
}

/* Does one block of a request at a time, and none of them soon. */
static void do_little(struct testdev *td)
{
	struct td_req req;

	if (td_next(td, &req))
		return;
	td_settle(td, TIMEOUT_MS / 4);
	td_answer(td, &req, 512);
}

static void run_dodger(const struct dodge *d, int report)
{
	static struct testdev mine;
	struct testdev *td = &mine;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!td_init(td))
		_exit(1);
	td->info.flags = UBLK_F_UNPRIVILEGED_DEV | UBLK_F_NO_AUTO_PART_SCAN |
		d->flags;
	set_admin(false);
	if (td_add(td) || td_set_params(td) || td_attach(td) ||
	    d->prepare(td) || td_fetch_all(td) || td_start(td))
		_exit(1);
	if (write(report, &td->id, sizeof(td->id)) != sizeof(td->id))
		_exit(1);
	for (;;)
		d->serve(td);
}

static int spawn_dodger(struct testdev *td, const struct dodge *d)
{
	int fds[2], id, ret;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid)
		run_dodger(d, fds[1]);
	td->server = pid;
	close(fds[1]);
	if (read(fds[0], &id, sizeof(id)) != sizeof(id))
		return -ESRCH;
	close(fds[0]);
	td->id = id;
	td->ctrl.by_path = true;
	/* Now udev is out: nobody is killed for a request of its. */
	ret = td_open_disk(td);
	return ret ? ret : td_set_io_timeout(td, TIMEOUT_MS);
}

FIXTURE(dodger)
{
	struct testdev td;
};

FIXTURE_VARIANT(dodger)
{
	struct dodge dodge;
};

TD_FIXTURE_OPS(dodger, td_no_device);

FIXTURE_VARIANT_ADD(dodger, without_writable_memory) {
	.dodge = { 0, lock_bufs, do_nothing } };
FIXTURE_VARIANT_ADD(dodger, without_writable_memory_for_get_data) {
	.dodge = { UBLK_F_NEED_GET_DATA, lock_bufs, do_nothing } };
FIXTURE_VARIANT_ADD(dodger, who_does_a_block_at_a_time) {
	.dodge = { 0, take_all, do_little } };

TEST_F_TIMEOUT(dodger, is_killed, 60)
{
	struct testdev *td = &self->td;
	int client;

	ASSERT_EQ(0, spawn_dodger(td, &variant->dodge));
	client = td_write(td, td_page_buf(TD_BUF_BYTES, 1), TD_BUF_BYTES,
			  TD_AREA, 0);
	EXPECT_TRUE(is_killed(&td->server, KILL_MS));
	EXPECT_GT(0, td_wait(td, client));
}

/* -- a server that cannot be killed ---------------------------------------- */

/*
 * Its memory is in a file of a FUSE whose daemon does not answer. Who waits for that,
 * in a page fault, is not woken by any signal. Shared with the server: where the file
 * is, when it is wanted for memory, and that it is there.
 */
static struct {
	char path[32];
	bool wanted;
	bool there;
} *slow;

static void fuse_reply(int fd, __u64 unique, int error, void *data, size_t len)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + len, .error = error, .unique = unique,
	};
	struct iovec iov[] = { { &out, sizeof(out) }, { data, len } };

	if (writev(fd, iov, 2) < 0)
		_exit(1);
}

static void fuse_answer(int fd, const struct fuse_in_header *in)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096,
	};
	struct fuse_attr_out attr = {
		.attr_valid = 3600,
		.attr = { .ino = 1, .size = TD_SIZE, .mode = S_IFREG | 0600, .nlink = 1 },
	};
	struct fuse_open_out open = { };

	switch (in->opcode) {
	case FUSE_INIT:
		fuse_reply(fd, in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_GETATTR:
		fuse_reply(fd, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		fuse_reply(fd, in->unique, 0, &open, sizeof(open));
		break;
	case FUSE_READ:
	case FUSE_INTERRUPT:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		fuse_reply(fd, in->unique, -EOPNOTSUPP, NULL, 0);
	}
}

static void run_fuse(int fd)
{
	static char request[FUSE_MIN_READ_BUFFER];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, request, sizeof(request)) > 0)
		fuse_answer(fd, (void *)request);
	_exit(0);
}

/* The daemon goes with the device, and everything that waits for it. */
static int mount_slow_file(struct testdev *td)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), ret;
	char options[64];

	if (fd < 0)
		return -errno;
	sprintf(options, "fd=%d,rootmode=100000,user_id=0,group_id=0", fd);
	sprintf(slow->path, "/tmp/ublk-slow-XXXXXX");
	close(mkstemp(slow->path));
	ret = mount("ublk-test", slow->path, "fuse", 0, options) ? -errno : 0;
	if (!ret)
		td->heir_pid = fork();
	if (!ret && !td->heir_pid)
		run_fuse(fd);
	close(fd);
	return ret;
}

/* All but the end of each buffer is there, so that small requests can be served. */
static int map_slow_bufs(struct testdev *td)
{
	int fd = open(slow->path, O_RDONLY | O_CLOEXEC), tag;
	struct stat st;

	/* Or nobody has asked how long it is. */
	if (fstat(fd, &st) || !st.st_size)
		return -EIO;
	for (tag = 0; tag < td->info.queue_depth; tag++) {
		char *end = td_buf(td, 0, tag) + TD_BUF_BYTES - 4096;

		if (mmap(end, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			 tag * 4096) == MAP_FAILED)
			return -errno;
		madvise(end, 4096, MADV_RANDOM);
	}
	return 0;
}

static int answer_all(struct testdev *td)
{
	td->answer_all = true;
	return 0;
}

static void serve_until_stuck(struct testdev *td)
{
	if (slow->wanted && !slow->there) {
		if (map_slow_bufs(td))
			_exit(1);
		slow->there = true;
	}
	td_settle(td, 10);
}

static bool is_slow(void *arg)
{
	return slow->there;
}

FIXTURE(stuck)
{
	struct testdev td;
};

FIXTURE_VARIANT(stuck)
{
	__u64 flags;
	bool reads;
};

TD_FIXTURE_OPS(stuck, td_no_device);

FIXTURE_VARIANT_ADD(stuck, read) { .reads = true };
FIXTURE_VARIANT_ADD(stuck, write) { };
FIXTURE_VARIANT_ADD(stuck, get_data) { .flags = UBLK_F_NEED_GET_DATA };

TEST_F_TIMEOUT(stuck, server_does_not_keep_a_request, 60)
{
	struct dodge dodge = { variant->flags, answer_all, serve_until_stuck };
	char *buf = td_page_buf(TD_BUF_BYTES, 1);
	struct testdev *td = &self->td;
	int client, ret;

	slow = mmap(NULL, sizeof(*slow), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, slow);
	ret = mount_slow_file(td);
	if (ret == -ENOENT || ret == -ENODEV)
		SKIP(return, "kernel without FUSE");
	ASSERT_EQ(0, ret);
	ret = spawn_dodger(td, &dodge);
	slow->wanted = true;
	if (!ret && !td_poll_until(is_slow, NULL))
		ret = -ETIME;
	umount2(slow->path, MNT_DETACH);
	unlink(slow->path);
	ASSERT_EQ(0, ret);
	client = variant->reads ? td_read(td, buf, TD_BUF_BYTES, TD_AREA) :
				  td_write(td, buf, TD_BUF_BYTES, TD_AREA, 0);
	EXPECT_EQ(-EIO, td_wait(td, client));
	/* It was told to die, and cannot. */
	EXPECT_EQ(0, waitpid(td->server, NULL, WNOHANG));
}

TEST_HARNESS_MAIN
