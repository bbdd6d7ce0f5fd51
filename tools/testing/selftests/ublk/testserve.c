// SPDX-License-Identifier: GPL-2.0
/*
 * The server of a device under test, driven by hand: see testserve.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testclient.h"
#include "testhost.h"
#include "testserve.h"

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

struct io_uring_sqe *td_next_sqe(struct io_uring *ring)
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
	struct io_uring_sqe *sqe = td_next_sqe(&td->ring);
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

static bool is_in_area(const struct ublksrv_io_desc *d)
{
	__u64 offset = d->start_sector << UBLK_SECTOR_SHIFT;

	return offset >= TD_AREA && offset < TD_AREA_END;
}

static bool is_background(const struct testdev *td,
			  const struct ublksrv_io_desc *d)
{
	return td->answer_all ||
	       (ublksrv_get_op(d) == UBLK_IO_OP_READ && !is_in_area(d));
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

bool td_is_aside(struct testdev *td, __u16 queue, __u16 tag)
{
	struct td_req req;

	if (!td->aside)
		return false;
	read_request(td, queue, tag, &req);
	return td->aside(td, &req);
}

void td_drain_server(struct testdev *td)
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
		if (res >= 0 && !td_is_aside(td, queue, tag) &&
		    is_background(td, td_desc(td, queue, tag)))
			answer_background(td, t, queue, tag);
	}
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

	td_drain_server(td);
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
	td_drain_server(td);
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
	td_drain_server(td);
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
	struct io_uring_sqe *sqe = td_next_sqe(ring);

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

bool td_answer_outside(struct testdev *td, struct io_uring *ring, __u16 queue,
		       __u16 tag)
{
	const struct ublksrv_io_desc *d = td_desc(td, queue, tag);

	if (is_in_area(d))
		return false;
	td_send_io_cmd_on(ring, td->cdev, UBLK_U_IO_COMMIT_AND_FETCH_REQ, queue, tag,
			  d->nr_sectors << UBLK_SECTOR_SHIFT,
			  td_addr(td, td_buf(td, queue, tag)));
	return true;
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

	td_drain_server(td);
	while (!take_request(td, req))
		if (!td_pump(td, deadline))
			return -ETIME;
	return 0;
}

bool td_peek(struct testdev *td, struct td_req *req)
{
	td_drain_server(td);
	return take_request(td, req);
}

int td_answer(struct testdev *td, const struct td_req *req, int result)
{
	return td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req->queue,
			 req->tag, result, td_addr(td, req->buf));
}

/* Waits until the pending command of a tag comes back with an error. */
int td_wait_end(struct testdev *td, __u16 queue, __u16 tag)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;
	struct td_tag *t = get_tag(td, queue, tag);

	td_drain_server(td);
	while (t->state != TD_ENDED)
		if (!td_pump(td, deadline))
			return -ETIME;
	return t->res;
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

int td_round_trip(struct testdev *td)
{
	const __u64 offset = TD_AREA_END - 4096;
	int client = td_read(td, td_page_buf(4096, 0), 4096, offset);
	struct td_req req;
	int ret = td_next(td, &req);

	if (ret)
		return ret;
	if (req.start != offset >> UBLK_SECTOR_SHIFT)
		return -EBADMSG;
	ret = td_answer(td, &req, 4096);
	if (ret != TD_PENDING)
		return ret;
	ret = td_wait(td, client);
	return ret == 4096 ? 0 : -EIO;
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
	struct io_uring_sqe *sqe = td_next_sqe(ring);
	/* No tag is waiting in a queue with this number. */
	__u64 user_data = 0xffff0000ULL | ++number;

	io_uring_prep_rw(op, sqe, fd, (void *)(uintptr_t)offset, len, pos);
	sqe->buf_index = index;
	sqe->user_data = user_data;
	io_uring_submit(ring);
	return wait_result(ring, user_data);
}

int td_occupy(struct io_uring *ring, unsigned int first, unsigned int n)
{
	struct iovec iov = { td_page_buf(4096, 0), 4096 };
	__u64 tag = 0;
	int ret;

	for (; n; n--, first++) {
		ret = io_uring_register_buffers_update_tag(ring, first, &iov, &tag, 1);
		if (ret != 1)
			return ret;
	}
	return 0;
}

int td_race(struct testdev *td, struct td_racer racers[2], void *(*fn)(void *arg))
{
	pthread_barrier_t barrier;
	pthread_t threads[2];
	int i;

	pthread_barrier_init(&barrier, NULL, 2);
	for (i = 0; i < 2; i++) {
		racers[i] = (struct td_racer) { .td = td, .barrier = &barrier };
		if (pthread_create(&threads[i], NULL, fn, &racers[i]))
			return -EAGAIN;
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

/* The losers know it by their errno. */
void td_count_try(struct td_racer *r, int ret)
{
	if (ret >= 0)
		r->won++;
	else if (ret != -EINVAL && ret != -EBUSY)
		r->other = ret;
}
