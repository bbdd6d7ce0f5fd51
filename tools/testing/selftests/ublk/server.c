// SPDX-License-Identifier: GPL-2.0
/*
 * The server's side of /dev/ublkcN: worker threads that fetch requests, hand
 * them to the target and commit its answers.
 *
 * Each tag of a queue is a slot for one request. A worker arms a tag with a
 * FETCH_REQ command, which completes when a request takes the tag. It answers
 * with COMMIT_AND_FETCH_REQ, which also arms the tag for the next request. A
 * command that completes with an error is the last one of its tag.
 *
 * Between the two the data of the request has to be moved. In copy mode the
 * driver does that; in the others see begin_request() and ublk_complete_io().
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server.h"

/* How long udev may take to hand over a node, and a server to be quite gone. */
#define NODE_MS		10000

static size_t page_align(size_t bytes)
{
	size_t page = sysconf(_SC_PAGESIZE);

	return (bytes + page - 1) / page * page;
}

static size_t desc_bytes(const struct ublksrv_ctrl_dev_info *info)
{
	if (info->flags & UBLK_F_IO_DESC_SIZE)
		return info->io_desc_size;
	return sizeof(struct ublksrv_io_desc);
}

/* Queues lie as far apart as if each had the largest depth there is. */
size_t ublk_queue_map_stride(const struct ublksrv_ctrl_dev_info *info)
{
	return page_align(UBLK_MAX_QUEUE_DEPTH * desc_bytes(info));
}

size_t ublk_queue_map_len(const struct ublksrv_ctrl_dev_info *info)
{
	return page_align(info->queue_depth * desc_bytes(info));
}

struct io_uring_sqe *worker_sqe(struct ublk_worker *w)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&w->ring)))
		io_uring_submit(&w->ring);
	return sqe;
}

static bool uses_pages(const struct ublk_server *srv)
{
	return srv->opts.mode == UBLK_MODE_ZERO_COPY ||
	       srv->opts.mode == UBLK_MODE_AUTO_BUF;
}

/* Each tag has a place of its own in the ring's table of buffers. */
static __u64 auto_buf_reg(const struct ublk_io *io)
{
	struct ublk_auto_buf_reg reg = { .index = io->tag };

	return ublk_auto_buf_reg_to_sqe_addr(&reg);
}

static struct io_uring_sqe *queue_io_cmd(struct ublk_worker *w,
					 struct ublk_io *io, __u32 op,
					 int result, __u64 addr)
{
	struct ublksrv_io_cmd cmd = {
		.q_id = w->queue,
		.tag = io->tag,
		.result = result,
		.addr = addr,
	};
	struct io_uring_sqe *sqe = worker_sqe(w);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = w->srv->cdev;
	sqe->cmd_op = op;
	sqe->user_data = io->tag;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	return sqe;
}

/* A command that is about the next request, too: it says where the data goes. */
static void queue_command(struct ublk_worker *w, struct ublk_io *io, __u32 op,
			  int result)
{
	enum ublk_mode mode = w->srv->opts.mode;
	struct io_uring_sqe *sqe;
	__u64 addr = 0;

	if (mode == UBLK_MODE_COPY)
		addr = (unsigned long)io->buf;
	else if (op == UBLK_U_IO_COMMIT_AND_FETCH_REQ &&
		 ublksrv_get_op(io->desc) == UBLK_IO_OP_ZONE_APPEND)
		addr = io->lba;
	sqe = queue_io_cmd(w, io, op, result, addr);
	if (mode == UBLK_MODE_AUTO_BUF)
		sqe->addr = auto_buf_reg(io);
}

/* Data that the server has to bring, or to take. */
static bool wants_data(const struct ublk_io *io)
{
	return ublksrv_get_op(io->desc) == UBLK_IO_OP_READ ||
	       ublksrv_get_op(io->desc) == UBLK_IO_OP_REPORT_ZONES;
}

static bool gives_data(const struct ublk_io *io)
{
	return ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE ||
	       ublksrv_get_op(io->desc) == UBLK_IO_OP_ZONE_APPEND;
}

static bool has_data(const struct ublk_io *io)
{
	return wants_data(io) || gives_data(io);
}

/* The place in /dev/ublkcN where the data of the request can be got at. */
__u64 worker_data_pos(const struct ublk_worker *w, const struct ublk_io *io)
{
	return UBLKSRV_IO_BUF_OFFSET + ((__u64)w->queue << UBLK_QID_OFF) +
	       ((__u64)io->tag << UBLK_TAG_OFF);
}

/* What has to be done before the target can be asked. */
static void begin_request(struct ublk_worker *w, struct ublk_io *io)
{
	enum ublk_mode mode = w->srv->opts.mode;
	struct io_uring_sqe *sqe;

	if (mode == UBLK_MODE_USER_COPY && gives_data(io)) {
		sqe = worker_sqe(w);
		io_uring_prep_read(sqe, w->srv->cdev, io->buf,
				   ublk_io_bytes(io), worker_data_pos(w, io));
	} else if (mode == UBLK_MODE_ZERO_COPY && has_data(io)) {
		sqe = queue_io_cmd(w, io, UBLK_U_IO_REGISTER_IO_BUF, 0, io->tag);
	} else {
		w->srv->opts.target->queue_io(w, io);
		return;
	}
	sqe->user_data = UD_DATA | io->tag;
}

void worker_commit(struct ublk_worker *w, struct ublk_io *io, int result)
{
	if (worker_is_batch(w))
		batch_complete(w, io, result);
	else
		queue_command(w, io, UBLK_U_IO_COMMIT_AND_FETCH_REQ, result);
}

/* The data is where it belongs. */
static void data_done(struct ublk_worker *w, struct ublk_io *io, int result)
{
	if (result >= 0 && w->srv->meta >= 0)
		meta_begin(w, io, result);
	else
		worker_commit(w, io, result);
}

/*
 * @result is an errno, or what became of the request: bytes moved by one that has
 * data (the kernel asks again for the rest of a short READ or WRITE), else 0.
 */
void ublk_complete_io(struct ublk_worker *w, struct ublk_io *io, int result)
{
	enum ublk_mode mode = w->srv->opts.mode;
	struct io_uring_sqe *sqe;

	if (mode == UBLK_MODE_USER_COPY && result > 0 && wants_data(io)) {
		sqe = worker_sqe(w);
		io_uring_prep_write(sqe, w->srv->cdev, io->buf, result,
				    worker_data_pos(w, io));
		sqe->user_data = UD_DATA | io->tag;
		return;
	}
	if (mode == UBLK_MODE_ZERO_COPY && has_data(io)) {
		sqe = queue_io_cmd(w, io, UBLK_U_IO_UNREGISTER_IO_BUF, 0, io->tag);
		sqe->user_data = UD_IGNORE | io->tag;
	}
	data_done(w, io, result);
}

/* The data of a READ was brought, that of a WRITE taken, or pages registered. */
static void handle_data(struct ublk_worker *w, struct ublk_io *io, int res)
{
	enum ublk_mode mode = w->srv->opts.mode;

	if (mode == UBLK_MODE_USER_COPY && wants_data(io))
		data_done(w, io, res ? res : -EIO);
	else if (res < 0)
		worker_commit(w, io, res);
	else if (mode == UBLK_MODE_USER_COPY && res < (int)ublk_io_bytes(io))
		worker_commit(w, io, -EFAULT);
	else
		w->srv->opts.target->queue_io(w, io);
}

/* An entry for the target's own I/O, which comes back through ->io_done(). */
struct io_uring_sqe *ublk_target_sqe(struct ublk_worker *w, struct ublk_io *io)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	/* Stays through io_uring_prep_*(), which leave user_data alone. */
	sqe->user_data = UD_TARGET | io->tag;
	return sqe;
}

/*
 * The target's I/O for @len bytes of the request after the first @from, at
 * @offset of @fd. Pages of the kernel have no address, only a number and a first
 * byte 0.
 */
struct io_uring_sqe *ublk_target_rw_part(struct ublk_worker *w, struct ublk_io *io,
					 int fd, __u64 offset, __u32 from,
					 __u32 len)
{
	bool is_read = wants_data(io);
	struct io_uring_sqe *sqe = ublk_target_sqe(w, io);

	if (uses_pages(w->srv)) {
		io_uring_prep_rw(is_read ? IORING_OP_READ_FIXED :
					   IORING_OP_WRITE_FIXED,
				 sqe, fd, (void *)(unsigned long)from, len,
				 offset);
		sqe->buf_index = io->tag;
	} else {
		io_uring_prep_rw(is_read ? IORING_OP_READ : IORING_OP_WRITE,
				 sqe, fd, io->buf + from, len, offset);
	}
	return sqe;
}

/* The same for all of the request after io->done bytes. */
struct io_uring_sqe *ublk_target_rw(struct ublk_worker *w, struct ublk_io *io,
				    int fd, __u64 offset)
{
	return ublk_target_rw_part(w, io, fd, offset, io->done,
				   ublk_io_bytes(io) - io->done);
}

/* The driver has given us the request of this tag. */
void worker_serve(struct ublk_worker *w, struct ublk_io *io)
{
	io->done = 0;
	io->step = 0;
	io->err = 0;
	io->lba = 0;
	begin_request(w, io);
}

static void handle_command(struct ublk_worker *w, struct ublk_io *io, int res)
{
	switch (res) {
	case UBLK_IO_RES_OK:
		worker_serve(w, io);
		break;
	case UBLK_IO_RES_NEED_GET_DATA:
		queue_command(w, io, UBLK_U_IO_NEED_GET_DATA, 0);
		break;
	default:
		if (res != UBLK_IO_RES_ABORT)
			w->err = res;
		w->live--;
	}
}

static void handle_completions(struct ublk_worker *w)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&w->ring, head, cqe) {
		struct ublk_io *io = &w->ios[UD_TAG(cqe->user_data)];

		if (cqe->user_data & UD_LEAVE)
			w->left = true;
		else if (cqe->user_data & UD_BATCH)
			batch_cqe(w, cqe);
		else if (cqe->user_data & UD_TARGET)
			w->srv->opts.target->io_done(w, io, cqe->res);
		else if (cqe->user_data & UD_DATA)
			handle_data(w, io, cqe->res);
		else if (cqe->user_data & UD_META)
			meta_done(w, io, cqe->res);
		else if (!(cqe->user_data & UD_IGNORE))
			handle_command(w, io, cqe->res);
		n++;
	}
	io_uring_cq_advance(&w->ring, n);
}

/* Lets the worker hear of it when the server leaves a device that lives on. */
static void watch_leave(struct ublk_worker *w)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	io_uring_prep_poll_add(sqe, w->srv->leave, POLLIN);
	sqe->user_data = UD_LEAVE;
}

static void fetch_tags(struct ublk_worker *w)
{
	unsigned int tag;

	for (tag = w->first; tag < w->srv->info.queue_depth;
	     tag += w->srv->opts.threads) {
		queue_command(w, &w->ios[tag], UBLK_U_IO_FETCH_REQ, 0);
		w->live++;
	}
}

static void begin_to_serve(struct ublk_worker *w)
{
	if (worker_is_batch(w))
		batch_begin(w);
	else
		fetch_tags(w);
	io_uring_submit(&w->ring);
	/* A refused fetch has completed by now. */
	handle_completions(w);
}

/* In batch mode any worker of a queue may be given any of its tags. */
static bool shares_memory(const struct ublk_worker *w)
{
	return worker_is_batch(w) && w->first;
}

static void share_memory(struct ublk_worker *w)
{
	const struct ublk_worker *owner = w - w->first;

	w->ios = owner->ios;
	w->descs = owner->descs;
	w->bufs = owner->bufs;
	w->metas = owner->metas;
}

static void init_ios(struct ublk_worker *w)
{
	const struct ublksrv_ctrl_dev_info *info = &w->srv->info;
	unsigned int tag;

	for (tag = 0; tag < info->queue_depth; tag++) {
		struct ublk_io *io = &w->ios[tag];

		io->tag = tag;
		io->desc = (void *)((char *)w->descs + tag * desc_bytes(info));
		if (w->bufs)
			io->buf = w->bufs + (size_t)tag * info->max_io_buf_bytes;
		if (w->metas)
			io->meta = w->metas + tag * meta_buf_bytes(w->srv);
	}
}

static int worker_map(struct ublk_worker *w)
{
	const struct ublksrv_ctrl_dev_info *info = &w->srv->info;
	size_t stride = ublk_queue_map_stride(info);
	void *p;

	w->ios = calloc(info->queue_depth, sizeof(*w->ios));
	if (!w->ios)
		return -ENOMEM;

	p = mmap(NULL, ublk_queue_map_len(info), PROT_READ,
		 MAP_SHARED | MAP_POPULATE, w->srv->cdev,
		 UBLKSRV_CMD_BUF_OFFSET + w->queue * stride);
	if (p == MAP_FAILED)
		return -errno;
	w->descs = p;

	if (uses_pages(w->srv)) {
		init_ios(w);
		return 0;
	}
	p = mmap(NULL, (size_t)info->queue_depth * info->max_io_buf_bytes,
		 PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	w->bufs = p;
	if (w->srv->meta >= 0) {
		w->metas = calloc(info->queue_depth, meta_buf_bytes(w->srv));
		if (!w->metas)
			return -ENOMEM;
	}
	init_ios(w);
	return 0;
}

static void worker_unmap(struct ublk_worker *w)
{
	const struct ublksrv_ctrl_dev_info *info = &w->srv->info;

	if (shares_memory(w))
		return;
	if (w->descs)
		munmap((void *)w->descs, ublk_queue_map_len(info));
	if (w->bufs)
		munmap(w->bufs, (size_t)info->queue_depth *
				info->max_io_buf_bytes);
	free(w->metas);
	free(w->ios);
}

static int worker_setup(struct ublk_worker *w)
{
	/* Room for completions of all kinds at once. */
	unsigned int entries = w->srv->info.queue_depth < 16 ? 16 :
			       w->srv->info.queue_depth;
	struct io_uring_params p = {
		.flags = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
	};
	int ret;

	ret = io_uring_queue_init_params(entries, &w->ring, &p);
	if (ret < 0)
		return ret;
	io_uring_ring_dontfork(&w->ring);
	if (uses_pages(w->srv))
		ret = io_uring_register_buffers_sparse(&w->ring,
						       w->srv->info.queue_depth);
	if (ret < 0)
		return ret;
	return worker_is_batch(w) ? batch_setup(w) : 0;
}

static void worker_teardown(struct ublk_worker *w)
{
	if (w->ring.ring_fd <= 0)
		return;
	batch_teardown(w);
	io_uring_queue_exit(&w->ring);
}

static void *worker_run(void *arg)
{
	struct ublk_worker *w = arg;
	struct ublk_server *srv = w->srv;
	int ret;

	w->err = worker_setup(w);
	if (!w->err) {
		watch_leave(w);
		begin_to_serve(w);
	}
	sem_post(&srv->started);

	while (w->live && !w->left) {
		if (worker_is_batch(w))
			batch_flush(w);
		ret = io_uring_submit_and_wait(&w->ring, 1);
		if (ret < 0 && ret != -EINTR)
			break;
		handle_completions(w);
	}

	worker_teardown(w);
	eventfd_write(srv->ended, 1);
	return NULL;
}

static int worker_init(struct ublk_worker *w, struct ublk_server *srv,
		       unsigned int number)
{
	w->srv = srv;
	w->queue = number / srv->opts.threads;
	w->first = number % srv->opts.threads;
	if (!shares_memory(w))
		return worker_map(w);
	share_memory(w);
	return 0;
}

/* Returns the first error that kept a worker from fetching its tags. */
static int start_workers(struct ublk_server *srv)
{
	unsigned int i, n = srv->info.nr_hw_queues * srv->opts.threads;
	int err = 0;

	srv->workers = calloc(n, sizeof(*srv->workers));
	if (!srv->workers)
		return -ENOMEM;

	for (i = 0; i < n && !err; i++) {
		struct ublk_worker *w = &srv->workers[i];

		err = worker_init(w, srv, i);
		if (!err)
			err = -pthread_create(&w->thread, NULL, worker_run, w);
		if (!err)
			srv->nr_workers++;
	}
	for (i = 0; i < srv->nr_workers; i++)
		while (sem_wait(&srv->started) && errno == EINTR)
			;
	for (i = 0; i < srv->nr_workers && !err; i++)
		err = srv->workers[i].err;
	return err;
}

/* Returns when every tag has seen its last command: after a STOP or DEL. */
void ublk_server_join(struct ublk_server *srv)
{
	unsigned int i;

	for (i = 0; i < srv->nr_workers; i++)
		pthread_join(srv->workers[i].thread, NULL);
	srv->nr_workers = 0;
}

static void server_release(struct ublk_server *srv)
{
	unsigned int i, n = srv->info.nr_hw_queues * srv->opts.threads;

	ublk_server_join(srv);
	for (i = 0; srv->workers && i < n && srv->workers[i].srv; i++)
		worker_unmap(&srv->workers[i]);
	free(srv->workers);
	if (srv->cdev >= 0)
		close(srv->cdev);
	if (srv->opts.target->exit)
		srv->opts.target->exit(srv);
	if (srv->meta >= 0)
		close(srv->meta);
	sem_destroy(&srv->started);
	close(srv->ended);
	close(srv->leave);
}

static const __u64 mode_flags[] = {
	[UBLK_MODE_COPY] = 0,
	[UBLK_MODE_USER_COPY] = UBLK_F_USER_COPY,
	[UBLK_MODE_ZERO_COPY] = UBLK_F_SUPPORT_ZERO_COPY,
	[UBLK_MODE_AUTO_BUF] = UBLK_F_AUTO_BUF_REG,
};

static enum ublk_mode mode_of_device(const struct ublk_server *srv)
{
	enum ublk_mode mode = UBLK_MODE_AUTO_BUF;

	while (mode && !(srv->info.flags & mode_flags[mode]))
		mode--;
	return mode;
}

static int add_device(struct ublk_server *srv)
{
	const struct ublk_options *o = &srv->opts;
	__u64 wanted = mode_flags[o->mode] | (srv->meta >= 0 ? UBLK_F_INTEGRITY : 0);
	int ret;

	srv->info = (struct ublksrv_ctrl_dev_info) {
		.dev_id = o->id,
		.nr_hw_queues = o->queues,
		.queue_depth = o->depth,
		.max_io_buf_bytes = o->buf_bytes,
		.flags = o->flags | wanted,
	};
	ret = ublk_add_dev(&srv->ctrl, &srv->info);
	if (ret || (srv->info.flags & wanted) == wanted)
		return ret;
	/* The driver is older than that. */
	ublk_del_dev(&srv->ctrl, srv->info.dev_id);
	return -EOPNOTSUPP;
}

/*
 * A node is root's at first. With the rules for unprivileged devices, udev hands
 * it over a moment later.
 */
static int wait_for_node(const struct ublk_server *srv, const char *kind)
{
	int tries = NODE_MS / 10;
	char path[32];

	if (!srv->ctrl.by_path)
		return 0;
	snprintf(path, sizeof(path), "/dev/ublk%s%u", kind, srv->info.dev_id);
	while (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS)) {
		if (errno != EACCES || !tries--)
			return -errno;
		poll(NULL, 0, 10);
	}
	return 0;
}

/* From a device without a server to one whose tags are all fetched. */
static int attach_server(struct ublk_server *srv)
{
	char path[32];

	/* A worker for every tag is as far as a queue can be divided. */
	if (srv->opts.threads > srv->info.queue_depth)
		srv->opts.threads = srv->info.queue_depth;

	snprintf(path, sizeof(path), "/dev/ublkc%u", srv->info.dev_id);
	srv->cdev = open(path, O_RDWR | O_CLOEXEC);
	if (srv->cdev < 0)
		return -errno;
	return start_workers(srv);
}

/* From an added device to a live disk. */
static int start_device(struct ublk_server *srv)
{
	int ret;

	ret = wait_for_node(srv, "c");
	if (!ret)
		ret = ublk_set_params(&srv->ctrl, srv->info.dev_id,
				      &srv->params);
	if (!ret)
		ret = attach_server(srv);
	if (!ret)
		ret = ublk_start_dev(&srv->ctrl, srv->info.dev_id, getpid());
	return ret ? ret : wait_for_node(srv, "b");
}

/* The last server may need a moment to be quite gone. */
static int wait_for_vacancy(struct ublk_server *srv)
{
	int tries = NODE_MS / 10, ret;

	while ((ret = ublk_start_user_recovery(&srv->ctrl, srv->opts.id)) ==
	       -EBUSY && --tries)
		poll(NULL, 0, 10);
	return ret;
}

/*
 * The disk is older than this server: what was agreed on with the first one
 * stands, whatever the target thinks of its size.
 */
static int recover_device(struct ublk_server *srv)
{
	__u32 id = srv->opts.id;
	int ret;

	ret = ublk_get_info2(&srv->ctrl, id, &srv->info);
	if (!ret && !meta_is_as_agreed(srv))
		ret = -EINVAL;
	if (!ret)
		ret = wait_for_vacancy(srv);
	if (!ret)
		ret = ublk_get_params(&srv->ctrl, id, &srv->params);
	if (ret)
		return ret;
	srv->opts.mode = mode_of_device(srv);
	ret = attach_server(srv);
	if (ret)
		return ret;
	return ublk_end_user_recovery(&srv->ctrl, id, getpid());
}

void ublk_options_init(struct ublk_options *opts)
{
	*opts = (struct ublk_options) {
		.target = &ublk_null_target,
		.id = UBLK_AUTO_ID,
		.queues = 1,
		.depth = 128,
		.buf_bytes = UBLK_DEFAULT_BUF,
		.threads = 1,
		.zoned = {
			.zone_bytes = 4U << 20,
			.max_open = 14,
		},
		.stripe.chunk = 64U << 10,
		.fault = { .delay_ms = 10, .end = ~0ULL },
	};
}

static int server_init(struct ublk_server *srv, const struct ublk_options *opts)
{
	int ret;

	memset(srv, 0, sizeof(*srv));
	srv->opts = *opts;
	srv->cdev = -1;
	srv->backing = -1;
	srv->meta = -1;
	sem_init(&srv->started, 0, 0);
	srv->ended = eventfd(0, EFD_CLOEXEC);
	srv->leave = eventfd(0, EFD_CLOEXEC);

	ret = srv->opts.target->init(srv);
	if (!ret)
		ret = meta_open(srv);
	if (!ret)
		ret = ublk_ctrl_open(&srv->ctrl);
	if (ret)
		server_release(srv);
	return ret;
}

/* On success /dev/ublkbN is there and served; on failure nothing is left. */
int ublk_server_start(struct ublk_server *srv, const struct ublk_options *opts)
{
	int ret;

	ret = server_init(srv, opts);
	if (ret)
		return ret;
	ret = add_device(srv);
	if (ret) {
		ublk_server_leave(srv);
		return ret;
	}
	ret = start_device(srv);
	if (ret)
		ublk_server_delete(srv);
	return ret;
}

/*
 * Serves the device opts->id, whose server has gone. The target has to be the
 * same. On failure the disk is as before: it waits for a server.
 */
int ublk_server_recover(struct ublk_server *srv,
			const struct ublk_options *opts)
{
	int ret;

	ret = server_init(srv, opts);
	if (ret)
		return ret;
	ret = recover_device(srv);
	if (ret)
		ublk_server_leave(srv);
	return ret;
}

/*
 * Did the workers end because of QUIESCE_DEV? STOP_DEV and DEL_DEV change the
 * state before they end the fetches.
 */
bool ublk_server_is_quiesced(struct ublk_server *srv)
{
	struct ublksrv_ctrl_dev_info info;
	unsigned int i;

	for (i = 0; i < srv->nr_workers; i++)
		if (srv->workers[i].err)
			return false;
	return !ublk_get_info(&srv->ctrl, srv->info.dev_id, &info) &&
		info.state == UBLK_S_DEV_LIVE;
}

/* Goes without a word to the driver: what becomes of the disk, its flags say. */
void ublk_server_leave(struct ublk_server *srv)
{
	eventfd_write(srv->leave, 1);
	server_release(srv);
	ublk_ctrl_close(&srv->ctrl);
}

/*
 * STOP_DEV ends the workers, which must be gone before DEL_DEV: it waits for
 * the last user of /dev/ublkcN. A device that someone else deleted is fine; of
 * an unprivileged one it is the node that is missing.
 */
int ublk_server_delete(struct ublk_server *srv)
{
	int ret;

	ublk_stop_dev(&srv->ctrl, srv->info.dev_id);
	server_release(srv);
	ret = ublk_del_dev(&srv->ctrl, srv->info.dev_id);
	ublk_ctrl_close(&srv->ctrl);
	return ret == -ENODEV || ret == -ENOENT ? 0 : ret;
}
