// SPDX-License-Identifier: GPL-2.0
/*
 * bench_server: a null disk, served with as little as a server can do.
 *
 * The server library is made to be read and serves any target. This one knows
 * that there is nothing to do for a request but to move its data in the way of
 * the mode, so that what is left to measure is the driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "ublk.h"

static const char usage[] =
"Usage: bench_server [OPTION]...\n"
"Serve a null disk until SIGTERM; its path is printed once it is live.\n"
"\n"
"  -m MODE   the way of the data: copy (default), user-copy (pread and pwrite),\n"
"            ring-copy (the same by io_uring), zero-copy (register commands),\n"
"            auto-buf, batch, batch-auto\n"
"  -q N      queues; default 1\n"
"  -d N      depth of each; default 128\n"
"  -t N      threads for each queue; default 1\n"
"  -b BYTES  largest request; default 1048576\n";

enum mode {
	COPY, USER_COPY, RING_COPY, ZERO_COPY, AUTO_BUF, BATCH, BATCH_AUTO,
	NR_MODES
};

static const struct {
	const char *name;
	__u64 flags;
} modes[NR_MODES] = {
	[COPY] = { "copy", 0 },
	[USER_COPY] = { "user-copy", UBLK_F_USER_COPY },
	[RING_COPY] = { "ring-copy", UBLK_F_USER_COPY },
	[ZERO_COPY] = { "zero-copy", UBLK_F_SUPPORT_ZERO_COPY },
	[AUTO_BUF] = { "auto-buf", UBLK_F_AUTO_BUF_REG },
	[BATCH] = { "batch", UBLK_F_BATCH_IO },
	[BATCH_AUTO] = { "batch-auto", UBLK_F_BATCH_IO | UBLK_F_AUTO_BUF_REG },
};

#define TAG_BUFFERS	16	/* a power of 2 */
#define BUFFER_TAGS	64

/* user_data of commands that are not one tag's */
#define UD_PREP		0x10000
#define UD_COMMIT	0x20000
#define UD_TAGS		0x30000

/* An element of a batch; without a buffer it is only the header. */
struct elem {
	struct ublk_elem_header header;
	__u64 addr;
};

/**
 * struct lane - a thread and the tags that it serves
 * @thread: the thread
 * @ring: its commands; ublkcN is file number 0
 * @queue: number of the queue
 * @first: serves this tag and every (threads per queue)th after it
 * @live: commands that wait for requests
 * @descs: descriptors of the queue
 * @bufs: memory for the data, by tag
 * @tags: batch: where the driver puts tags
 * @tag_ring: batch: of these buffers
 * @elems: batch: answers, or tags to offer; the driver reads them on submission
 * @nr: batch: so many
 * @sent: batch: those of the last submission
 */
struct lane {
	pthread_t thread;
	struct io_uring ring;
	unsigned int queue;
	unsigned int first;
	unsigned int live;
	const struct ublksrv_io_desc *descs;
	char *bufs;
	__u16 tags[TAG_BUFFERS][BUFFER_TAGS];
	struct io_uring_buf_ring *tag_ring;
	char *elems;
	unsigned int nr;
	unsigned int sent;
};

static enum mode mode;
static unsigned int threads = 1;
static int cdev;
static sem_t fetched;
static struct ublksrv_ctrl_dev_info info = {
	.dev_id = UBLK_AUTO_ID, .nr_hw_queues = 1, .queue_depth = 128,
	.max_io_buf_bytes = 1 << 20, .flags = UBLK_F_NO_AUTO_PART_SCAN,
};

static bool is_batch(void)
{
	return mode == BATCH || mode == BATCH_AUTO;
}

static bool uses_pages(void)
{
	return mode == ZERO_COPY || mode == AUTO_BUF || mode == BATCH_AUTO;
}

static char *tag_buf(const struct lane *l, __u16 tag)
{
	return l->bufs + (size_t)tag * info.max_io_buf_bytes;
}

static __u64 data_pos(const struct lane *l, __u16 tag)
{
	return UBLKSRV_IO_BUF_OFFSET + ((__u64)l->queue << UBLK_QID_OFF) +
	       ((__u64)tag << UBLK_TAG_OFF);
}

static struct io_uring_sqe *get_sqe(struct lane *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	bench_check(sqe ? 0 : -ENOBUFS, "ring");
	return sqe;
}

static struct io_uring_sqe *queue_sqe(struct lane *l, __u32 op, __u64 user_data)
{
	struct io_uring_sqe *sqe = get_sqe(l);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->cmd_op = op;
	sqe->user_data = user_data;
	return sqe;
}

static struct io_uring_sqe *queue_tag(struct lane *l, __u32 op, __u16 tag,
				      int result, __u64 addr)
{
	struct io_uring_sqe *sqe = queue_sqe(l, op, tag);
	struct ublksrv_io_cmd *cmd = (struct ublksrv_io_cmd *)sqe->cmd;

	cmd->q_id = l->queue;
	cmd->tag = tag;
	cmd->result = result;
	cmd->addr = addr;
	return sqe;
}

/* A command that waits for the next request of the tag. */
static void queue_wait(struct lane *l, __u32 op, __u16 tag, int result)
{
	const struct ublk_auto_buf_reg reg = { .index = tag };
	struct io_uring_sqe *sqe;

	sqe = queue_tag(l, op, tag, result, mode == COPY ?
			(unsigned long)tag_buf(l, tag) : 0);
	if (mode == AUTO_BUF)
		sqe->addr = ublk_auto_buf_reg_to_sqe_addr(&reg);
}

/* No word is wanted of what goes before the commit, unless it fails. */
static void queue_lend(struct lane *l, __u16 tag)
{
	queue_tag(l, UBLK_U_IO_REGISTER_IO_BUF, tag, 0, tag)->flags |=
		IOSQE_CQE_SKIP_SUCCESS;
	queue_tag(l, UBLK_U_IO_UNREGISTER_IO_BUF, tag, 0, tag)->flags |=
		IOSQE_CQE_SKIP_SUCCESS;
}

static void queue_copy(struct lane *l, __u16 tag, bool is_read, __u32 len)
{
	struct io_uring_sqe *sqe = get_sqe(l);

	io_uring_prep_rw(is_read ? IORING_OP_WRITE : IORING_OP_READ, sqe, 0,
			 tag_buf(l, tag), len, data_pos(l, tag));
	sqe->flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = tag;
}

static void copy_now(struct lane *l, __u16 tag, bool is_read, __u32 len)
{
	ssize_t ret;

	if (is_read)
		ret = pwrite(cdev, tag_buf(l, tag), len, data_pos(l, tag));
	else
		ret = pread(cdev, tag_buf(l, tag), len, data_pos(l, tag));
	bench_check(ret < 0 ? -errno : 0, "user copy");
}

static size_t elem_bytes(void)
{
	return mode == BATCH ? sizeof(struct elem) : sizeof(struct ublk_elem_header);
}

static void add_elem(struct lane *l, __u16 tag, int result)
{
	struct elem *e = (void *)(l->elems + l->nr++ * elem_bytes());

	e->header.tag = tag;
	e->header.buf_index = tag;
	e->header.result = result;
	if (mode == BATCH)
		e->addr = (unsigned long)tag_buf(l, tag);
}

static void serve(struct lane *l, __u16 tag)
{
	const struct ublksrv_io_desc *desc = &l->descs[tag];
	__u32 len = desc->nr_sectors << UBLK_SECTOR_SHIFT;
	bool is_read = ublksrv_get_op(desc) == UBLK_IO_OP_READ;
	bool has_data = is_read || ublksrv_get_op(desc) == UBLK_IO_OP_WRITE;

	if (is_batch()) {
		add_elem(l, tag, len);
		return;
	}
	if (mode == USER_COPY && has_data)
		copy_now(l, tag, is_read, len);
	else if (mode == RING_COPY && has_data)
		queue_copy(l, tag, is_read, len);
	else if (mode == ZERO_COPY && has_data)
		queue_lend(l, tag);
	queue_wait(l, UBLK_U_IO_COMMIT_AND_FETCH_REQ, tag, len);
}

static struct io_uring_sqe *queue_batch(struct lane *l, __u32 op, __u64 user_data,
					__u16 nr, __u8 bytes)
{
	struct io_uring_sqe *sqe = queue_sqe(l, op, user_data);
	struct ublk_batch_io *args = (struct ublk_batch_io *)sqe->cmd;

	args->q_id = l->queue;
	args->nr_elem = nr;
	args->elem_bytes = bytes;
	return sqe;
}

static void queue_elems(struct lane *l, __u32 op, __u64 user_data)
{
	struct io_uring_sqe *sqe = queue_batch(l, op, user_data, l->nr, elem_bytes());

	if (mode == BATCH)
		((struct ublk_batch_io *)sqe->cmd)->flags = UBLK_BATCH_F_HAS_BUF_ADDR;
	sqe->addr = (unsigned long)l->elems;
}

static void queue_fetch_tags(struct lane *l)
{
	struct io_uring_sqe *sqe = queue_batch(l, UBLK_U_IO_FETCH_IO_CMDS, UD_TAGS,
					       0, sizeof(__u16));

	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->uring_cmd_flags = IORING_URING_CMD_MULTISHOT;
	l->live++;
}

static void give_buffer(struct lane *l, unsigned int nr)
{
	io_uring_buf_ring_add(l->tag_ring, l->tags[nr], sizeof(l->tags[nr]), nr,
			      io_uring_buf_ring_mask(TAG_BUFFERS), 0);
	io_uring_buf_ring_advance(l->tag_ring, 1);
}

static void handle_tags(struct lane *l, const struct io_uring_cqe *cqe)
{
	unsigned int i, nr = cqe->flags >> IORING_CQE_BUFFER_SHIFT;

	if (cqe->flags & IORING_CQE_F_BUFFER) {
		for (i = 0; i < cqe->res / sizeof(__u16); i++)
			serve(l, l->tags[nr][i]);
		give_buffer(l, nr);
	}
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	l->live--;
	if (cqe->res == -ENOBUFS)
		queue_fetch_tags(l);
	else if (cqe->res != UBLK_IO_RES_ABORT)
		bench_check(cqe->res, "tags");
}

static void handle(struct lane *l, const struct io_uring_cqe *cqe)
{
	switch (cqe->user_data) {
	case UD_PREP:
		bench_check(cqe->res, "offering tags");
		break;
	case UD_COMMIT:
		if (cqe->res != (int)(l->sent * elem_bytes()))
			bench_check(cqe->res < 0 ? cqe->res : -EIO, "answers");
		break;
	case UD_TAGS:
		handle_tags(l, cqe);
		break;
	default:
		if (cqe->res == UBLK_IO_RES_OK)
			serve(l, cqe->user_data);
		else if (cqe->res == UBLK_IO_RES_ABORT)
			l->live--;
		else
			bench_check(cqe->res, "request");
	}
}

/* Sends what is queued and waits for a request; all else is done by then. */
static void submit(struct lane *l)
{
	unsigned int wait = 1;
	int ret;

	if (l->nr) {
		queue_elems(l, UBLK_U_IO_COMMIT_IO_CMDS, UD_COMMIT);
		wait++;
	}
	l->sent = l->nr;
	l->nr = 0;
	ret = io_uring_submit_and_wait(&l->ring, wait);
	bench_check(ret == -EINTR ? 0 : ret, "ring");
}

static void take_completions(struct lane *l)
{
	struct io_uring_cqe *cqe;
	unsigned int head, n = 0;

	io_uring_for_each_cqe(&l->ring, head, cqe) {
		handle(l, cqe);
		n++;
	}
	io_uring_cq_advance(&l->ring, n);
}

static void begin_batch(struct lane *l)
{
	unsigned int i, tag;
	int ret;

	l->elems = calloc(info.queue_depth, sizeof(struct elem));
	bench_check(l->elems ? 0 : -ENOMEM, "memory");
	l->tag_ring = io_uring_setup_buf_ring(&l->ring, TAG_BUFFERS, 0, 0, &ret);
	bench_check(l->tag_ring ? 0 : ret, "buffers");
	for (i = 0; i < TAG_BUFFERS; i++)
		give_buffer(l, i);

	for (tag = l->first; tag < info.queue_depth; tag += threads)
		add_elem(l, tag, 0);
	queue_elems(l, UBLK_U_IO_PREP_IO_CMDS, UD_PREP);
	l->nr = 0;
	queue_fetch_tags(l);
}

static void begin_tags(struct lane *l)
{
	unsigned int tag;

	for (tag = l->first; tag < info.queue_depth; tag += threads) {
		queue_wait(l, UBLK_U_IO_FETCH_REQ, tag, 0);
		l->live++;
	}
}

static void *map(size_t len, int prot, int flags, int fd, off_t pos)
{
	void *p = mmap(NULL, len, prot, flags, fd, pos);

	bench_check(p == MAP_FAILED ? -errno : 0, "memory");
	return p;
}

/* Data and descriptors are in memory, so that no request has to wait for a page. */
static void set_up(struct lane *l)
{
	/* A request can take three entries. */
	bench_check(io_uring_queue_init(info.queue_depth * 3 + 2, &l->ring,
				  IORING_SETUP_SINGLE_ISSUER |
				  IORING_SETUP_DEFER_TASKRUN), "ring");
	bench_check(io_uring_register_ring_fd(&l->ring), "ring");
	bench_check(io_uring_register_files(&l->ring, &cdev, 1), "file");
	l->descs = map(ublk_queue_map_len(&info), PROT_READ, MAP_SHARED | MAP_POPULATE,
		       cdev, UBLKSRV_CMD_BUF_OFFSET +
		       l->queue * ublk_queue_map_stride(&info));
	if (uses_pages())
		bench_check(io_uring_register_buffers_sparse(&l->ring, info.queue_depth),
		      "buffers");
	else
		l->bufs = map((size_t)info.queue_depth * info.max_io_buf_bytes,
			      PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void *lane_run(void *arg)
{
	struct lane *l = arg;

	set_up(l);
	if (is_batch())
		begin_batch(l);
	else
		begin_tags(l);
	bench_check(io_uring_submit(&l->ring), "ring");
	sem_post(&fetched);

	do {
		take_completions(l);
		if (l->live)
			submit(l);
	} while (l->live);
	/* DEL_DEV waits for whoever has ublkcN open, and so for the mapping. */
	munmap((void *)l->descs, ublk_queue_map_len(&info));
	io_uring_queue_exit(&l->ring);
	return NULL;
}

static void start_lanes(struct lane *lanes)
{
	unsigned int i, nr = info.nr_hw_queues * threads;

	for (i = 0; i < nr; i++) {
		lanes[i].queue = i / threads;
		lanes[i].first = i % threads;
		bench_check(-pthread_create(&lanes[i].thread, NULL, lane_run, &lanes[i]),
		      "thread");
	}
	for (i = 0; i < nr; i++)
		while (sem_wait(&fetched) && errno == EINTR)
			;
}

static void add_device(struct ublk_ctrl *ctrl)
{
	struct ublk_params params = {
		.len = sizeof(params),
		.types = UBLK_PARAM_TYPE_BASIC,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 12,
			.io_opt_shift = 12,
			.io_min_shift = 9,
			.max_sectors = info.max_io_buf_bytes >> UBLK_SECTOR_SHIFT,
			.dev_sectors = 250ULL << (30 - UBLK_SECTOR_SHIFT),
		},
	};
	char path[32];
	__u64 wanted;

	wanted = modes[mode].flags;
	info.flags |= wanted;
	bench_check(ublk_ctrl_open(ctrl), "/dev/ublk-control");
	bench_check(ublk_add_dev(ctrl, &info), "ADD_DEV");
	if ((info.flags & wanted) != wanted) {
		ublk_del_dev(ctrl, info.dev_id);
		bench_check(-EOPNOTSUPP, modes[mode].name);
	}
	bench_check(ublk_set_params(ctrl, info.dev_id, &params), "SET_PARAMS");
	snprintf(path, sizeof(path), "/dev/ublkc%u", info.dev_id);
	cdev = open(path, O_RDWR | O_CLOEXEC);
	bench_check(cdev < 0 ? -errno : 0, path);
}

static void run(const sigset_t *ends)
{
	unsigned int i, nr = info.nr_hw_queues * threads;
	struct lane *lanes = calloc(nr, sizeof(*lanes));
	struct ublk_ctrl ctrl;
	int sig;

	bench_check(lanes ? 0 : -ENOMEM, "memory");
	add_device(&ctrl);
	start_lanes(lanes);
	bench_check(ublk_start_dev(&ctrl, info.dev_id, getpid()), "START_DEV");
	printf("/dev/ublkb%u\n", info.dev_id);
	fflush(stdout);

	sigwait(ends, &sig);
	ublk_stop_dev(&ctrl, info.dev_id);
	for (i = 0; i < nr; i++)
		pthread_join(lanes[i].thread, NULL);
	close(cdev);
	bench_check(ublk_del_dev(&ctrl, info.dev_id), "DEL_DEV");
}

static enum mode parse_mode(const char *name)
{
	enum mode m;

	for (m = 0; m < NR_MODES; m++)
		if (!strcmp(name, modes[m].name))
			return m;
	bench_check(-EINVAL, name);
	return COPY;
}

int main(int argc, char **argv)
{
	sigset_t ends;
	int c;

	while ((c = getopt(argc, argv, "m:q:d:t:b:h")) >= 0) {
		switch (c) {
		case 'm':
			mode = parse_mode(optarg);
			break;
		case 'q':
			info.nr_hw_queues = bench_number(optarg);
			break;
		case 'd':
			info.queue_depth = bench_number(optarg);
			break;
		case 't':
			threads = bench_number(optarg);
			break;
		case 'b':
			info.max_io_buf_bytes = bench_number(optarg);
			break;
		default:
			fputs(usage, c == 'h' ? stdout : stderr);
			return c != 'h';
		}
	}
	if (!threads || threads > info.queue_depth)
		bench_check(-EINVAL, "-t");

	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	sem_init(&fetched, 0, 0);
	run(&ends);
	return 0;
}
