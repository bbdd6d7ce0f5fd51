// SPDX-License-Identifier: GPL-2.0
/*
 * The device under test: see testdev.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/blkdev.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "testbatch.h"

__u64 td_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

/* For what has no event, such as a file of sysfs: look again after a moment. */
bool td_poll_until(bool (*cond)(void *arg), void *arg)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (!cond(arg)) {
		if (td_now_ms() > deadline)
			return false;
		poll(NULL, 0, 5);
	}
	return true;
}

bool td_init(struct testdev *td)
{
	unsigned int workers[2] = { 2 * TD_CLIENTS, 0 };

	memset(td, 0, sizeof(*td));
	td->id = -1;
	td->cdev = -1;
	td->bdev = -1;
	td->held = -1;
	if (ublk_ctrl_open(&td->ctrl))
		return false;
	/*
	 * A client that waits for a tag sits in a worker of io_uring, which a
	 * control command needs, too: there shall be enough for all of them.
	 */
	io_uring_register_iowq_max_workers(&td->ctrl.ring, workers);

	td->info = (struct ublksrv_ctrl_dev_info) {
		.dev_id = UBLK_AUTO_ID,
		.nr_hw_queues = 1,
		.queue_depth = 4,
		.max_io_buf_bytes = TD_BUF_BYTES,
		.flags = UBLK_F_NO_AUTO_PART_SCAN,
	};
	td->params = (struct ublk_params) {
		.len = sizeof(td->params),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 9,
			.io_min_shift = 9,
			.io_opt_shift = 9,
			.max_sectors = TD_BUF_BYTES >> UBLK_SECTOR_SHIFT,
			.dev_sectors = TD_SIZE >> UBLK_SECTOR_SHIFT,
		},
	};
	return true;
}

static bool is_gone(void *arg)
{
	struct testdev *td = arg;
	char path[64];

	snprintf(path, sizeof(path), "/sys/class/ublk-char/ublkc%d", td->id);
	if (!access(path, F_OK))
		return false;
	snprintf(path, sizeof(path), "/sys/block/ublkb%d", td->id);
	return access(path, F_OK) != 0;
}

/* The path has to outlive the caller: a command may take its time. */
static void name_node(struct testdev *td, struct ublksrv_ctrl_cmd *cmd)
{
	if (!td->ctrl.by_path || cmd->len)
		return;
	snprintf(td->node, sizeof(td->node), "/dev/ublkc%d", td->id);
	cmd->addr = (unsigned long)td->node;
	cmd->len = sizeof(td->node);
	cmd->dev_path_len = sizeof(td->node);
}

/*
 * For the parent of a test, when all its processes are gone: no matter how the
 * test went, its device must let itself be deleted, and leave nothing behind.
 */
int td_reap(struct testdev *td)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = td->id, .queue_id = -1 };
	struct ublk_ctrl ctrl;
	int ret, res = 0;

	if (td->server > 0)
		kill(td->server, SIGKILL);
	if (td->heir_pid > 0)
		kill(td->heir_pid, SIGKILL);
	if (td->id < 0)
		return 0;
	ret = ublk_ctrl_open(&ctrl);
	if (ret)
		return ret;
	name_node(td, &cmd);
	ret = ublk_ctrl_submit(&ctrl, UBLK_U_CMD_DEL_DEV, &cmd);
	if (!ret)
		ret = ublk_ctrl_wait(&ctrl, TD_REAP_MS, &res);
	/* A ring with a stuck command would keep this process from exiting. */
	if (ret)
		return ret;
	ublk_ctrl_close(&ctrl);
	/* Deleted by the test: the device is gone, or its node. */
	if (res && res != -ENODEV && res != -ENOENT)
		return res;
	return td_poll_until(is_gone, td) ? 0 : -ETIME;
}

/* -- waiting --------------------------------------------------------------- */

/* NULL for a tag that only a test of refusals knows. */
static struct td_tag *get_tag(struct testdev *td, __u16 queue, __u16 tag)
{
	if (queue >= td->info.nr_hw_queues || tag >= td->info.queue_depth)
		return NULL;
	return &td->tags[queue * td->info.queue_depth + tag];
}

const struct ublksrv_io_desc *td_desc(struct testdev *td, __u16 queue,
				      __u16 tag)
{
	return (void *)(td->descs + queue * ublk_queue_map_stride(&td->info) +
			tag * sizeof(struct ublksrv_io_desc));
}

char *td_buf(struct testdev *td, __u16 queue, __u16 tag)
{
	size_t slot = queue * td->info.queue_depth + tag;

	return td->bufs + slot * td->info.max_io_buf_bytes;
}

static bool copy_mode(const struct testdev *td)
{
	return !(td->info.flags & (UBLK_F_USER_COPY | UBLK_F_SUPPORT_ZERO_COPY |
				   UBLK_F_AUTO_BUF_REG));
}

__u64 td_addr(const struct testdev *td, const void *buf)
{
	return copy_mode(td) ? (unsigned long)buf : 0;
}

__u64 td_auto_word(const struct testdev *td, __u16 queue, __u16 tag)
{
	struct ublk_auto_buf_reg reg = {
		.index = queue * td->info.queue_depth + tag,
	};

	return ublk_auto_buf_reg_to_sqe_addr(&reg) | td->auto_bits;
}

static struct io_uring_sqe *next_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(ring)))
		io_uring_submit(ring);
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static void prep_io_cmd(struct io_uring_sqe *sqe, int cdev, __u32 op,
			const struct ublksrv_io_cmd *cmd)
{
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = cdev;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, cmd, sizeof(*cmd));
}

static void send_io_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag,
			int result, __u64 addr)
{
	struct io_uring_sqe *sqe = next_sqe(&td->ring);
	struct ublksrv_io_cmd cmd = {
		.q_id = queue, .tag = tag, .result = result, .addr = addr,
	};

	prep_io_cmd(sqe, td->cdev, op, &cmd);
	if (td->info.flags & UBLK_F_AUTO_BUF_REG)
		sqe->addr = td_auto_word(td, queue, tag);
	sqe->flags = td->sqe_flags;
	sqe->user_data = ++td->cookie << 32 | (__u32)queue << 16 | tag;
	io_uring_submit(&td->ring);
}

static bool is_background(const struct testdev *td,
			  const struct ublksrv_io_desc *d)
{
	__u64 offset = d->start_sector << UBLK_SECTOR_SHIFT;

	if (td->answer_all)
		return true;
	return ublksrv_get_op(d) == UBLK_IO_OP_READ &&
	       (offset < TD_AREA || offset >= TD_AREA_END);
}

/* All ones: a tuple that says that it is not to be checked. */
static void bring_unchecked(struct testdev *td, __u16 queue, __u16 tag)
{
	const struct ublk_param_integrity *format = &td->params.integrity;
	const struct ublksrv_io_desc *d = td_desc(td, queue, tag);
	size_t len = d->nr_sectors << UBLK_SECTOR_SHIFT >> format->interval_exp;
	char meta[len * format->metadata_size];

	memset(meta, 0xff, sizeof(meta));
	/* The device may have been stopped. */
	if (pwrite(td->cdev, meta, sizeof(meta),
		   UBLKSRV_IO_INTEGRITY_FLAG | td_pos(queue, tag, 0)) < 0)
		return;
}

static void answer_background(struct testdev *td, struct td_tag *t, __u16 queue,
			      __u16 tag)
{
	const struct ublksrv_io_desc *d = td_desc(td, queue, tag);
	char *buf = td_buf(td, queue, tag);
	__u64 addr = td_addr(td, buf);

	t->state = TD_ARMED;
	if (t->res == UBLK_IO_RES_NEED_GET_DATA) {
		send_io_cmd(td, UBLK_U_IO_NEED_GET_DATA, queue, tag, 0, addr);
	} else {
		if (ublksrv_get_op(d) == UBLK_IO_OP_READ && !td->answer_all)
			memset(buf, 0, d->nr_sectors << UBLK_SECTOR_SHIFT);
		if (ublksrv_get_op(d) == UBLK_IO_OP_READ &&
		    d->op_flags & UBLK_IO_F_INTEGRITY)
			bring_unchecked(td, queue, tag);
		send_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, queue, tag,
			    d->nr_sectors << UBLK_SECTOR_SHIFT, addr);
	}
	t->cookie = td->cookie;
}

static void read_request(struct testdev *td, __u16 queue, __u16 tag,
			 struct td_req *req)
{
	const struct ublksrv_io_desc *d = td_desc(td, queue, tag);

	*req = (struct td_req) {
		.queue = queue,
		.tag = tag,
		.res = get_tag(td, queue, tag)->res,
		.op = ublksrv_get_op(d),
		.flags = d->op_flags & ~0xffU,
		.sectors = d->nr_sectors,
		.start = d->start_sector,
		.addr = d->addr,
		.buf = td_buf(td, queue, tag),
	};
}

static bool answer_aside(struct testdev *td, __u16 queue, __u16 tag)
{
	struct td_req req;

	if (!td->aside)
		return false;
	read_request(td, queue, tag, &req);
	return td->aside(td, &req);
}

static void drain_server(struct testdev *td)
{
	struct io_uring_cqe *cqe;

	if (!td->serving)
		return;
	while (!io_uring_peek_cqe(&td->ring, &cqe)) {
		__u16 queue = cqe->user_data >> 16, tag = cqe->user_data;
		struct td_tag *t = get_tag(td, queue, tag);
		__u64 cookie = cqe->user_data >> 32;
		int res = cqe->res;

		io_uring_cqe_seen(&td->ring, cqe);
		/* Not the pending one: refused, td_io_cmd() has told. */
		if (!t || cookie != t->cookie)
			continue;
		t->res = res;
		t->state = res < 0 ? TD_ENDED : TD_ARRIVED;
		if (res >= 0 && !answer_aside(td, queue, tag) &&
		    is_background(td, td_desc(td, queue, tag)))
			answer_background(td, t, queue, tag);
	}
}

static void drain_clients(struct testdev *td)
{
	struct io_uring_cqe *cqe;

	if (!td->has_clients)
		return;
	while (!io_uring_peek_cqe(&td->client_ring, &cqe)) {
		struct td_client *c = &td->clients[cqe->user_data];

		c->done = true;
		c->res = cqe->res;
		io_uring_cqe_seen(&td->client_ring, cqe);
	}
}

/* One round: handle what is there, or sleep until something comes. */
static bool pump(struct testdev *td, __u64 deadline)
{
	struct pollfd fds[] = {
		{ .fd = td->ctrl.ring.ring_fd, .events = POLLIN },
		{ .fd = td->serving ? td->ring.ring_fd : -1, .events = POLLIN },
		{ .fd = td->has_clients ? td->client_ring.ring_fd : -1,
		  .events = POLLIN },
		{ .fd = td->batch ? td->batch->ring.ring_fd : -1,
		  .events = POLLIN },
	};
	__u64 now = td_now_ms();

	if (now >= deadline)
		return false;
	poll(fds, sizeof(fds) / sizeof(*fds), deadline - now);
	drain_server(td);
	if (td->batch)
		tb_serve(td->batch);
	drain_clients(td);
	return true;
}

/* Lets everything go on for @ms: for claims that something does not happen. */
int td_settle(struct testdev *td, int ms)
{
	__u64 deadline = td_now_ms() + ms;

	while (pump(td, deadline))
		;
	return 0;
}

/* -- control --------------------------------------------------------------- */

static int ctl_send(struct testdev *td, __u32 op, const void *buf, __u16 len,
		    __u64 data)
{
	struct ublksrv_ctrl_cmd cmd = {
		.dev_id = td->id,
		.queue_id = -1,
		.addr = (unsigned long)buf,
		.len = len,
		.data[0] = data,
	};

	name_node(td, &cmd);
	return ublk_ctrl_submit(&td->ctrl, op, &cmd);
}

int td_ctl_send(struct testdev *td, __u32 op, __u64 data)
{
	return ctl_send(td, op, NULL, 0, data);
}

int td_ctl_wait(struct testdev *td)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct io_uring_cqe *cqe;
	int res;

	while (io_uring_peek_cqe(&td->ctrl.ring, &cqe))
		if (!pump(td, deadline))
			return -ETIME;
	res = cqe->res;
	io_uring_cqe_seen(&td->ctrl.ring, cqe);
	return res;
}

void td_ctl_cancel(struct testdev *td)
{
	struct io_uring_sync_cancel_reg reg = {
		.fd = td->ctrl.fd,
		.flags = IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL,
		.timeout = { .tv_sec = -1, .tv_nsec = -1 },
	};

	io_uring_register_sync_cancel(&td->ctrl.ring, &reg);
}

int td_ctl_beside(struct testdev *td, __u32 op)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = td->id, .queue_id = -1 };
	struct ublk_ctrl ctrl;
	int ret, res;

	ret = ublk_ctrl_open(&ctrl);
	if (!ret)
		ret = ublk_ctrl_submit(&ctrl, op, &cmd);
	if (!ret)
		ret = ublk_ctrl_wait(&ctrl, TD_DEADLINE_MS, &res);
	return ret ? ret : res;
}

int td_ctl(struct testdev *td, __u32 op, __u64 data)
{
	int ret = td_ctl_send(td, op, data);

	return ret ? ret : td_ctl_wait(td);
}

int td_ctl_buf(struct testdev *td, __u32 op, const void *buf, __u16 len,
	       __u64 data)
{
	int ret = ctl_send(td, op, buf, len, data);

	return ret ? ret : td_ctl_wait(td);
}

int td_state(struct testdev *td)
{
	struct ublksrv_ctrl_dev_info info;
	int ret = ublk_get_info(&td->ctrl, td->id, &info);

	return ret ? ret : info.state;
}

struct awaited {
	struct testdev *td;
	unsigned int value;
};

static bool is_in_state(void *arg)
{
	struct awaited *a = arg;

	return td_state(a->td) == (int)a->value;
}

bool td_wait_state(struct testdev *td, int state)
{
	struct awaited a = { .td = td, .value = state };

	return td_poll_until(is_in_state, &a);
}

/* -- the server, step by step ---------------------------------------------- */

int td_add(struct testdev *td)
{
	int ret = ublk_add_dev(&td->ctrl, &td->info);

	if (!ret)
		td->id = td->info.dev_id;
	return ret;
}

int td_set_params(struct testdev *td)
{
	return ublk_set_params(&td->ctrl, td->id, &td->params);
}

static int map_queues(struct testdev *td)
{
	size_t stride = ublk_queue_map_stride(&td->info);
	size_t len = ublk_queue_map_len(&td->info);
	unsigned int q;

	/* Side by side, as far apart as in the file. */
	td->descs = mmap(NULL, stride * td->info.nr_hw_queues, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (td->descs == MAP_FAILED)
		return -errno;
	for (q = 0; q < td->info.nr_hw_queues; q++)
		if (mmap(td->descs + q * stride, len, PROT_READ,
			 MAP_SHARED | MAP_FIXED, td->cdev, q * stride) ==
		    MAP_FAILED)
			return -errno;
	return 0;
}

int td_attach(struct testdev *td)
{
	size_t tags = td->info.nr_hw_queues * td->info.queue_depth;
	char path[32];
	int ret;

	snprintf(path, sizeof(path), "/dev/ublkc%d", td->id);
	td->cdev = open(path, O_RDWR | O_CLOEXEC);
	if (td->cdev < 0)
		return -errno;
	ret = map_queues(td);
	if (ret)
		return ret;
	td->bufs = mmap(NULL, tags * td->info.max_io_buf_bytes,
			PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	td->tags = calloc(tags, sizeof(*td->tags));
	if (td->bufs == MAP_FAILED || !td->tags)
		return -ENOMEM;
	ret = io_uring_queue_init(tags < 8192 ? tags : 8192, &td->ring, 0);
	if (ret < 0)
		return ret;
	io_uring_ring_dontfork(&td->ring);
	td->serving = true;
	if (copy_mode(td))
		return 0;
	return io_uring_register_buffers_sparse(&td->ring, tags);
}

/* The end of the server: nothing of it holds /dev/ublkcN any more. */
int td_detach(struct testdev *td)
{
	size_t tags = td->info.nr_hw_queues * td->info.queue_depth;

	td->serving = false;
	io_uring_queue_exit(&td->ring);
	munmap(td->descs, ublk_queue_map_stride(&td->info) *
			  td->info.nr_hw_queues);
	munmap(td->bufs, tags * td->info.max_io_buf_bytes);
	free(td->tags);
	close(td->cdev);
	td->cdev = -1;
	return 0;
}

int td_io_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag, int result,
	      __u64 addr)
{
	struct td_tag saved, *t = get_tag(td, queue, tag);
	struct io_uring_cqe *cqe;
	unsigned int head;
	int ret = TD_PENDING;

	drain_server(td);
	send_io_cmd(td, op, queue, tag, result, addr);
	if (t) {
		saved = *t;
		t->state = TD_ARMED;
		t->cookie = td->cookie;
	}
	/* A refusal is there when the submission returns. */
	io_uring_for_each_cqe(&td->ring, head, cqe) {
		if (cqe->user_data >> 32 == td->cookie && cqe->res < 0)
			ret = cqe->res;
	}
	if (ret != TD_PENDING && t)
		*t = saved;
	drain_server(td);
	return ret;
}

/* Waits for a result that no tag is waiting for, past those that are. */
static int wait_result(struct io_uring *ring, __u64 user_data)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct io_uring_cqe *cqe, *first;
	unsigned int head;

	do {
		io_uring_for_each_cqe(ring, head, cqe) {
			int res = cqe->res;

			if (cqe->user_data != user_data)
				continue;
			/* Elsewhere it stays, and is skipped when it comes up. */
			if (!io_uring_peek_cqe(ring, &first) && first == cqe)
				io_uring_cqe_seen(ring, cqe);
			return res;
		}
		io_uring_submit_and_get_events(ring);
	} while (td_now_ms() < deadline);
	return -ETIME;
}

int td_side_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag,
		__u64 addr)
{
	drain_server(td);
	send_io_cmd(td, op, queue, tag, 0, addr);
	return wait_result(&td->ring,
			   td->cookie << 32 | (__u32)queue << 16 | tag);
}

/* For a thread with a ring of its own, which sees what comes of it there. */
void td_send_io_cmd_on(struct io_uring *ring, int cdev, __u32 op, __u16 queue,
		       __u16 tag, int result, __u64 addr)
{
	struct ublksrv_io_cmd cmd = {
		.q_id = queue, .tag = tag, .result = result, .addr = addr,
	};
	struct io_uring_sqe *sqe = next_sqe(ring);

	prep_io_cmd(sqe, cdev, op, &cmd);
	sqe->user_data = tag;
	io_uring_submit(ring);
}

int td_io_cmd_on(struct io_uring *ring, int cdev, __u32 op, __u16 queue,
		 __u16 tag, int result, __u64 addr)
{
	struct io_uring_cqe *cqe;
	int res;

	td_send_io_cmd_on(ring, cdev, op, queue, tag, result, addr);
	if (io_uring_peek_cqe(ring, &cqe))
		return TD_PENDING;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

int td_fetch(struct testdev *td, __u16 queue, __u16 tag)
{
	return td_io_cmd(td, UBLK_U_IO_FETCH_REQ, queue, tag, 0,
			 td_addr(td, td_buf(td, queue, tag)));
}

int td_fetch_all(struct testdev *td)
{
	unsigned int q, tag;
	int ret;

	for (q = 0; q < td->info.nr_hw_queues; q++) {
		for (tag = 0; tag < td->info.queue_depth; tag++) {
			ret = td_fetch(td, q, tag);
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}

int td_start(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_START_DEV, getpid());
}

struct start {
	struct testdev *td;
	int ret;
};

/* Or failed for another reason than a disk that is there. */
static bool is_started(void *arg)
{
	struct start *start = arg;

	start->ret = td_start(start->td);
	return start->ret != -EEXIST;
}

static bool can_attach(void *arg)
{
	return td_attach(arg) == 0;
}

int td_attach_again(struct testdev *td)
{
	return td_poll_until(can_attach, td) ? 0 : -EBUSY;
}

int td_serve_again(struct testdev *td)
{
	struct start start = { .td = td };
	int ret = td_attach_again(td);

	if (!ret)
		ret = td_fetch_all(td);
	if (ret)
		return ret;
	td_poll_until(is_started, &start);
	return start.ret;
}

static struct io_uring_sqe *client_sqe(struct testdev *td, int *client)
{
	struct io_uring_sqe *sqe = next_sqe(&td->client_ring);

	*client = td->nr_clients++ % TD_CLIENTS;
	td->clients[*client].done = false;
	return sqe;
}

static int client_send(struct testdev *td, struct io_uring_sqe *sqe, int client)
{
	sqe->user_data = client;
	io_uring_submit(&td->client_ring);
	return client;
}

/*
 * Whoever has the partition table read holds the disk's mutex meanwhile: what an
 * open waits for may have to be served by this very thread.
 */
static int open_served(struct testdev *td)
{
	struct io_uring_sqe *sqe;
	char path[32];
	int client;

	snprintf(path, sizeof(path), "/dev/ublkb%d", td->id);
	sqe = client_sqe(td, &client);
	io_uring_prep_openat(sqe, AT_FDCWD, path, O_RDWR | O_DIRECT | O_CLOEXEC, 0);
	sqe->flags = IOSQE_ASYNC;
	return td_wait(td, client_send(td, sqe, client));
}

/*
 * Keeps udev away, which respects such a lock. A read of its own that nobody
 * answers, with the disk's mutex held, would be in everybody's way.
 */
static int lock_disk(struct testdev *td, int fd)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (flock(fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK || td_now_ms() > deadline)
			return -errno;
		td_settle(td, 5);
	}
	return 0;
}

static void close_clients(struct testdev *td)
{
	td->has_clients = false;
	io_uring_queue_exit(&td->client_ring);
}

int td_open_disk(struct testdev *td)
{
	int fd, ret;

	ret = io_uring_queue_init(TD_CLIENTS, &td->client_ring, 0);
	if (ret < 0)
		return ret;
	io_uring_ring_dontfork(&td->client_ring);
	td->has_clients = true;

	fd = open_served(td);
	ret = fd < 0 ? fd : lock_disk(td, fd);
	if (!ret) {
		td->bdev = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	close_clients(td);
	return ret;
}

int td_close_disk(struct testdev *td)
{
	close_clients(td);
	close(td->bdev);
	td->bdev = -1;
	return 0;
}

int td_go_live(struct testdev *td)
{
	int ret;

	ret = td_add(td);
	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	if (!ret)
		ret = td_fetch_all(td);
	if (!ret)
		ret = td_start(td);
	if (!ret)
		ret = td_open_disk(td);
	return ret;
}

static bool is_vacant(void *arg)
{
	struct testdev *td = arg;

	return td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0) != -EBUSY;
}

/* The device may be another process's: its shape is read anew. */
int td_reattach(struct testdev *td)
{
	int ret;

	if (!td_poll_until(is_vacant, td))
		return -EBUSY;
	ret = td_ctl(td, UBLK_U_CMD_START_USER_RECOVERY, 0);
	if (!ret)
		ret = ublk_get_info(&td->ctrl, td->id, &td->info);
	return ret ? ret : td_attach(td);
}

int td_end_recovery(struct testdev *td)
{
	return td_ctl(td, UBLK_U_CMD_END_USER_RECOVERY, getpid());
}

int td_recover(struct testdev *td)
{
	int ret = td_reattach(td);

	if (!ret)
		ret = td_fetch_all(td);
	return ret ? ret : td_end_recovery(td);
}

/* For a set-up that failed half way: the device goes when the test has gone. */
void td_drop(struct testdev *td)
{
	if (td->id >= 0)
		ublk_del_dev_async(&td->ctrl, td->id);
}

static bool take_request(struct testdev *td, struct td_req *req)
{
	unsigned int i, n = td->info.nr_hw_queues * td->info.queue_depth;

	for (i = 0; i < n; i++) {
		__u16 q = i / td->info.queue_depth, tag = i % td->info.queue_depth;

		if (td->tags[i].state != TD_ARRIVED)
			continue;
		td->tags[i].state = TD_TAKEN;
		read_request(td, q, tag, req);
		return true;
	}
	return false;
}

/* Waits for the next request that belongs to the test. */
int td_next(struct testdev *td, struct td_req *req)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	drain_server(td);
	while (!take_request(td, req))
		if (!pump(td, deadline))
			return -ETIME;
	return 0;
}

bool td_peek(struct testdev *td, struct td_req *req)
{
	drain_server(td);
	return take_request(td, req);
}

int td_answer(struct testdev *td, const struct td_req *req, int result)
{
	return td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req->queue,
			 req->tag, result, td_addr(td, req->buf));
}

int td_write_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len)
{
	int client = td_write(td, buf, len, TD_AREA, 0);
	int ret = td_next(td, req);

	return ret ? ret : client;
}

int td_read_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len)
{
	int client = td_read(td, buf, len, TD_AREA);
	int ret = td_next(td, req);

	return ret ? ret : client;
}

loff_t td_pos(__u16 queue, __u16 tag, __u32 offset)
{
	return UBLKSRV_IO_BUF_OFFSET + ((__u64)queue << UBLK_QID_OFF) +
	       ((__u64)tag << UBLK_TAG_OFF) + offset;
}

int td_take(struct testdev *td, const struct td_req *req, void *buf, __u32 len,
	    __u32 offset)
{
	ssize_t n = pread(td->cdev, buf, len,
			  td_pos(req->queue, req->tag, offset));

	return n < 0 ? -errno : n;
}

int td_bring(struct testdev *td, const struct td_req *req, const void *buf,
	     __u32 len, __u32 offset)
{
	ssize_t n = pwrite(td->cdev, buf, len,
			   td_pos(req->queue, req->tag, offset));

	return n < 0 ? -errno : n;
}

int td_fixed_io(struct io_uring *ring, int op, int fd, __u16 index,
		__u64 offset, __u32 len, loff_t pos)
{
	static __u16 number;
	struct io_uring_sqe *sqe = next_sqe(ring);
	/* No tag is waiting in a queue with this number. */
	__u64 user_data = 0xffff0000ULL | ++number;

	io_uring_prep_rw(op, sqe, fd, (void *)(uintptr_t)offset, len, pos);
	sqe->buf_index = index;
	sqe->user_data = user_data;
	io_uring_submit(ring);
	return wait_result(ring, user_data);
}

/* Waits until the pending command of a tag comes back with an error. */
int td_wait_end(struct testdev *td, __u16 queue, __u16 tag)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct td_tag *t = get_tag(td, queue, tag);

	drain_server(td);
	while (t->state != TD_ENDED)
		if (!pump(td, deadline))
			return -ETIME;
	return t->res;
}

/* -- clients --------------------------------------------------------------- */

int td_read(struct testdev *td, void *buf, __u32 len, __u64 offset)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_read(sqe, td->bdev, buf, len, offset);
	return client_send(td, sqe, client);
}

int td_write(struct testdev *td, const void *buf, __u32 len, __u64 offset,
	     int rw_flags)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_write(sqe, td->bdev, buf, len, offset);
	sqe->rw_flags = rw_flags;
	return client_send(td, sqe, client);
}

int td_rw_attr(struct testdev *td, int op, void *buf, __u32 len, __u64 offset,
	       const void *attr, __u64 type)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_rw(op, sqe, td->bdev, buf, len, offset);
	/* From a worker, which waits for a tag; without one this would fail. */
	sqe->flags = IOSQE_ASYNC;
	/* What later headers call attr_ptr and attr_type_mask. */
	sqe->addr3 = (unsigned long)attr;
	sqe->__pad2[0] = type;
	return client_send(td, sqe, client);
}

int td_fsync(struct testdev *td)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_fsync(sqe, td->bdev, 0);
	return client_send(td, sqe, client);
}

int td_fallocate(struct testdev *td, int mode, __u64 offset, __u64 len)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_fallocate(sqe, td->bdev, mode, offset, len);
	return client_send(td, sqe, client);
}

int td_writev(struct testdev *td, const struct iovec *iov, unsigned int nr,
	      __u64 offset)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	io_uring_prep_writev(sqe, td->bdev, iov, nr, offset);
	return client_send(td, sqe, client);
}

int td_discard(struct testdev *td, __u64 offset, __u64 len)
{
	struct io_uring_sqe *sqe;
	int client;

	sqe = client_sqe(td, &client);
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = td->bdev;
	sqe->cmd_op = BLOCK_URING_CMD_DISCARD;
	sqe->addr = offset;
	sqe->addr3 = len;
	return client_send(td, sqe, client);
}

int td_wait(struct testdev *td, int client)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	drain_clients(td);
	while (!td->clients[client].done)
		if (!pump(td, deadline))
			return -ETIME;
	return td->clients[client].res;
}

bool td_done(struct testdev *td, int client)
{
	drain_clients(td);
	return td->clients[client].done;
}

void *td_page_buf(__u32 len, unsigned int seed)
{
	__u32 i, *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	for (i = 0; seed && i < len / sizeof(*p); i++)
		p[i] = (seed << 20) + i;
	return p;
}

bool td_is_zero(const void *buf, __u32 len)
{
	const char *p = buf;

	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

/* -- a server to kill ------------------------------------------------------ */

static int held_requests;

/* Sits on everything that goes into the area, and counts it. */
static void hold_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	__u64 offset = ublk_io_offset(io);

	if (offset >= TD_AREA && offset < TD_AREA_END)
		eventfd_write(held_requests, 1);
	else
		ublk_complete_io(w, io, ublk_io_bytes(io));
}

static int hold_init(struct ublk_server *srv)
{
	int ret = ublk_null_target.init(srv);

	srv->params.basic.dev_sectors = TD_SIZE >> UBLK_SECTOR_SHIFT;
	return ret;
}

const struct ublk_target td_hold_target = {
	.name = "hold",
	.init = hold_init,
	.queue_io = hold_queue_io,
};

/* A process that does nothing but hold the server's files, /dev/ublkcN too. */
static pid_t spawn_heir(void)
{
	pid_t pid = fork();

	if (!pid) {
		pause();
		_exit(0);
	}
	return pid;
}

typedef int (*server_fn)(struct ublk_server *srv,
			 const struct ublk_options *opts);

static void server_main(const struct ublk_options *opts, server_fn begin,
			int report, pid_t *heir)
{
	struct ublk_server srv;
	int number;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	number = begin(&srv, opts);
	if (!number)
		number = srv.info.dev_id;
	if (heir && number >= 0)
		*heir = spawn_heir();
	if (write(report, &number, sizeof(number)) < 0 || number < 0)
		_exit(1);
	close(report);
	ublk_server_join(&srv);
	_exit(0);
}

/* Returns the number of the device that the new process serves. */
static int spawn_server(struct testdev *td, const struct ublk_options *opts,
			server_fn begin)
{
	int fds[2], number;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	/* The child must leave *td alone: it may be shared with this process. */
	pid = fork();
	if (!pid) {
		close(fds[0]);
		server_main(opts, begin, fds[1], td->heir);
	}
	td->server = pid;
	close(fds[1]);
	if (read(fds[0], &number, sizeof(number)) != sizeof(number))
		return -ESRCH;
	close(fds[0]);
	if (td->heir)
		td->heir_pid = *td->heir;
	return number;
}

/* Also opens the disk, for the client. */
int td_spawn(struct testdev *td, const struct ublk_options *opts)
{
	struct ublksrv_ctrl_dev_info info;
	int number, ret;

	td->held = eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE);
	held_requests = td->held;
	number = spawn_server(td, opts, ublk_server_start);
	if (number < 0)
		return number;
	td->id = number;
	td->info.dev_id = number;
	ret = ublk_get_info2(&td->ctrl, number, &info);
	return ret ? ret : td_open_disk(td);
}

/* The next server of a device; the disk is open already. */
int td_spawn_recovery(struct testdev *td, const struct ublk_options *opts)
{
	struct ublk_options mine = *opts;
	int number;

	mine.id = td->id;
	number = spawn_server(td, &mine, ublk_server_recover);
	return number < 0 ? number : 0;
}

int td_kill_server(struct testdev *td)
{
	int status;

	if (kill(td->server, SIGKILL))
		return -errno;
	if (waitpid(td->server, &status, 0) != td->server)
		return -errno;
	td->server = 0;
	return WIFSIGNALED(status) ? 0 : -EINVAL;
}

int td_freeze_server(struct testdev *td)
{
	int status;

	if (kill(td->server, SIGSTOP))
		return -errno;
	if (waitpid(td->server, &status, WUNTRACED) != td->server)
		return -errno;
	return WIFSTOPPED(status) ? 0 : -EINVAL;
}

/* At least; udev may be reading the disk, too. */
static bool has_inflight(void *arg)
{
	struct awaited *a = arg;
	unsigned int reads, writes;
	char text[64];

	return !td_sysfs_string(a->td, "inflight", text, sizeof(text)) &&
		sscanf(text, "%u %u", &reads, &writes) == 2 &&
		reads + writes >= a->value;
}

bool td_wait_inflight(struct testdev *td, unsigned int count)
{
	struct awaited a = { .td = td, .value = count };

	return td_poll_until(has_inflight, &a);
}

/* Waits until @count more requests are in the hands of the holding server. */
int td_wait_held(struct testdev *td, unsigned int count)
{
	struct pollfd fd = { .fd = td->held, .events = POLLIN };
	eventfd_t one;

	while (count) {
		if (poll(&fd, 1, TD_DEADLINE_MS) == 0)
			return -ETIME;
		if (!eventfd_read(td->held, &one))
			count--;
	}
	return 0;
}

/* -- odds and ends --------------------------------------------------------- */

struct call {
	int (*fn)(void *arg);
	void *arg;
	int ret;
};

static void *call_thread(void *arg)
{
	struct call *c = arg;

	c->ret = c->fn(c->arg);
	return NULL;
}

int td_in_thread(int (*fn)(void *arg), void *arg)
{
	struct call c = { .fn = fn, .arg = arg };
	pthread_t thread;

	if (pthread_create(&thread, NULL, call_thread, &c))
		return -EAGAIN;
	pthread_join(thread, NULL);
	return c.ret;
}

int td_in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		_exit(fn(arg));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

int td_wait_exit(pid_t pid, int timeout_ms)
{
	struct pollfd fd = {
		.fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN,
	};
	int ret, status;

	if (fd.fd < 0)
		return -errno;
	do {
		ret = poll(&fd, 1, timeout_ms);
	} while (ret < 0 && errno == EINTR);
	close(fd.fd);
	if (ret <= 0)
		return -ETIME;
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static void exec_quietly(const char *const argv[], int log)
{
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	execvp(argv[0], (char *const *)argv);
	_exit(errno == ENOENT ? 127 : 126);
}

/* Each line as a comment, which is what diagnostics are in KTAP. */
static void show_log(int log)
{
	FILE *f = fdopen(log, "r");
	char line[256];

	if (!f)
		return;
	rewind(f);
	while (fgets(line, sizeof(line), f))
		fprintf(stderr, "# | %s", line);
	fclose(f);
}

int td_run(const char *const argv[])
{
	int log = memfd_create("log", MFD_CLOEXEC);
	pid_t pid = fork();
	int ret;

	if (!pid)
		exec_quietly(argv, log);
	ret = td_wait_exit(pid, 10 * TD_DEADLINE_MS);
	if (ret == 127)
		ret = -ENOENT;
	else if (ret)
		show_log(log);
	close(log);
	return ret;
}

static int read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return 0;
}

/* @attr is below /sys/block/ublkbN. */
int td_sysfs_string(const struct testdev *td, const char *attr, char *buf,
		    size_t len)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/block/ublkb%d/%s", td->id, attr);
	return read_text(path, buf, len);
}

int td_sysfs_set(const struct testdev *td, const char *attr, unsigned int value)
{
	char path[128];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/sys/block/ublkb%d/%s", td->id, attr);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (dprintf(fd, "%u", value) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

long td_sysfs_number(const struct testdev *td, const char *attr)
{
	char text[64];
	int ret = td_sysfs_string(td, attr, text, sizeof(text));

	return ret ? ret : strtol(text, NULL, 0);
}

/* -ENOENT if the driver is built in. */
int td_module_refs(void)
{
	char text[32];
	int ret = read_text("/sys/module/ublk_drv/refcnt", text, sizeof(text));

	return ret ? ret : atoi(text);
}
