// SPDX-License-Identifier: GPL-2.0
/*
 * All I/O commands there are, legal and illegal, from several tasks and rings,
 * on a device whose server does its work beside them and whose clients verify
 * what they read. Rings come and go with what they have in the driver, and
 * threads die without closing theirs.
 *
 * The noise does nothing that a driver may take for the server's own answer: it
 * gives no data and no result for a request that it was not given. So nothing
 * that was acknowledged may be wrong, and once it is quiet the server, or the
 * next one, must get along as if nothing had been.
 *
 * The choices of a task follow from the seed and the number of the round.
 */
#include <errno.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>

#include "campaign.h"
#include "testserve.h"

#define TASKS		3	/* threads of the server, and as many of another process */
#define RING_OPS	40	/* at most, of one ring */
#define BUFS		16	/* places in the table of a ring */
#define BUF_GROUP	1
#define TAG_BUFS	4

static struct campaign campaign = {
	.name = "stress", .unit = "rounds", .rounds = 100000, .seconds = 30,
};

static int null;

/* A task that makes noise, with the ring that it has at this moment. */
struct noise {
	const struct camp_cell *cell;
	struct ublk_server *srv;
	pthread_t thread;
	unsigned int seed;
	bool inside;		/* a thread of the server */
	bool rings;
	struct io_uring ring;
	struct io_uring_buf_ring *br;
	__u16 tags[TAG_BUFS][16];
	char buf[4096];
};

static unsigned int pick(struct noise *n, unsigned int below)
{
	return camp_pick(&n->seed, below);
}

/* Most of the time one that there is. */
static __u16 some_queue(struct noise *n)
{
	return pick(n, 8) ? pick(n, n->srv->info.nr_hw_queues) : pick(n, 65536);
}

static __u16 some_tag(struct noise *n)
{
	return pick(n, 8) ? pick(n, n->srv->info.queue_depth) : pick(n, 65536);
}

static struct io_uring_sqe *some_sqe(struct noise *n)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&n->ring)))
		io_uring_submit(&n->ring);
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static void put(struct noise *n, struct io_uring_sqe *sqe)
{
	if (pick(n, 3) == 0)
		sqe->flags |= IOSQE_ASYNC;
	sqe->user_data = 0;
}

static void send_command(struct noise *n, __u32 op, const void *args, size_t len,
			 __u64 addr)
{
	struct io_uring_sqe *sqe = some_sqe(n);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = n->srv->cdev;
	sqe->cmd_op = op;
	sqe->addr = addr;
	memcpy(sqe->cmd, args, len);
	put(n, sqe);
}

/* -- commands of one tag --------------------------------------------------- */

/* All refused to those who are not the tag's task, but REGISTER. */
static void one_tag(struct noise *n)
{
	static const __u32 ops[] = {
		UBLK_U_IO_FETCH_REQ, UBLK_U_IO_COMMIT_AND_FETCH_REQ,
		UBLK_U_IO_NEED_GET_DATA, UBLK_U_IO_REGISTER_IO_BUF,
		UBLK_U_IO_REGISTER_IO_BUF, UBLK_U_IO_UNREGISTER_IO_BUF,
		UBLK_U_IO_UNREGISTER_IO_BUF, UBLK_IO_FETCH_REQ,
		UBLK_IO_COMMIT_AND_FETCH_REQ, UBLK_IO_NEED_GET_DATA,
	};
	struct ublksrv_io_cmd cmd = {
		.q_id = some_queue(n),
		.tag = some_tag(n),
		.result = -EIO,
		.addr = pick(n, BUFS + 1),
	};
	__u32 op = ops[pick(n, ARRAY_SIZE(ops))];

	if (pick(n, 8) == 0)
		op = _IOC(pick(n, 4), 'u', 0x20 + pick(n, 16), sizeof(cmd));
	send_command(n, op, &cmd, sizeof(cmd), pick(n, 4) ? 0 : ~0ULL);
}

/* Pages that this task has registered, if it has, go to where nobody looks. */
static void use_pages(struct noise *n)
{
	struct io_uring_sqe *sqe = some_sqe(n);

	io_uring_prep_rw(IORING_OP_WRITE_FIXED, sqe, null,
			 (void *)(unsigned long)pick(n, 8192), 1 + pick(n, 8192), 0);
	sqe->buf_index = pick(n, BUFS);
	put(n, sqe);
}

/* -- reads and writes of /dev/ublkcN --------------------------------------- */

/* What it writes comes from nowhere: a place without memory. */
static void read_or_write(struct noise *n)
{
	struct io_uring_sqe *sqe = NULL;
	bool reads = pick(n, 2);
	void *buf = reads && pick(n, 4) ? n->buf : (void *)8;
	unsigned int len = pick(n, sizeof(n->buf) + 1);
	loff_t pos = pick(n, 8) ? td_pos(some_queue(n), some_tag(n), pick(n, 70000)) :
				  (loff_t)pick(n, 1 << 30) << pick(n, 33);

	if (pick(n, 2))
		sqe = some_sqe(n);
	if (!sqe && (reads ? pread(n->srv->cdev, buf, len, pos) :
			     pwrite(n->srv->cdev, buf, len, pos)) < 0)
		return;
	if (!sqe)
		return;
	io_uring_prep_rw(reads ? IORING_OP_READ : IORING_OP_WRITE, sqe,
			 n->srv->cdev, buf, len, pos);
	put(n, sqe);
}

/* -- batch mode ------------------------------------------------------------ */

/* PREP and COMMIT with at least one mistake in them. */
static void bad_batch(struct noise *n)
{
	static const struct ublk_elem_header elems[4] = {
		{ .tag = 0xffff }, { .tag = 0xffff }, { .tag = 0xffff }, { .tag = 0xffff },
	};
	struct ublk_batch_io args = {
		.q_id = some_queue(n),
		.nr_elem = 1 + pick(n, 4),
		.elem_bytes = sizeof(elems[0]),
	};
	__u64 addr = (unsigned long)elems;

	switch (pick(n, 5)) {
	case 0:
		args.elem_bytes = pick(n, 256);
		break;
	case 1:
		args.flags = pick(n, 65536);
		break;
	case 2:
		args.nr_elem = pick(n, 65536);
		addr = 8;
		break;
	case 3:
		addr = 8;
		break;
	}
	send_command(n, pick(n, 2) ? UBLK_U_IO_PREP_IO_CMDS : UBLK_U_IO_COMMIT_IO_CMDS,
		     &args, sizeof(args), addr);
}

/*
 * Tags that this command is given are lost until the server dies: their answer
 * would be for whom they are given to next.
 */
static void fetch(struct noise *n, bool legal)
{
	struct ublk_batch_io args = {
		.q_id = legal ? pick(n, n->srv->info.nr_hw_queues) : some_queue(n),
		.elem_bytes = legal ? 2 : pick(n, 256),
	};
	struct io_uring_sqe *sqe = some_sqe(n);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = n->srv->cdev;
	sqe->cmd_op = UBLK_U_IO_FETCH_IO_CMDS;
	sqe->buf_group = legal || pick(n, 2) ? BUF_GROUP : pick(n, 4);
	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->uring_cmd_flags = IORING_URING_CMD_MULTISHOT;
	if (!legal && args.elem_bytes == 2)
		args.flags = 1;
	memcpy(sqe->cmd, &args, sizeof(args));
	put(n, sqe);
}

/* -- rings and tasks ------------------------------------------------------- */

static bool open_ring(struct noise *n)
{
	static const unsigned int flags[] = {
		0, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SINGLE_ISSUER,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	int i, ret;

	if (io_uring_queue_init(8, &n->ring, flags[pick(n, ARRAY_SIZE(flags))]))
		return false;
	io_uring_register_buffers_sparse(&n->ring, BUFS);
	n->br = io_uring_setup_buf_ring(&n->ring, TAG_BUFS, BUF_GROUP, 0, &ret);
	for (i = 0; n->br && i < TAG_BUFS; i++)
		io_uring_buf_ring_add(n->br, n->tags[i], sizeof(n->tags[i]), i,
				      io_uring_buf_ring_mask(TAG_BUFS), i);
	if (n->br)
		io_uring_buf_ring_advance(n->br, TAG_BUFS);
	return true;
}

static void close_ring(struct noise *n)
{
	if (n->br)
		io_uring_free_buf_ring(&n->ring, n->br, TAG_BUFS, BUF_GROUP);
	io_uring_queue_exit(&n->ring);
}

static void one_op(struct noise *n)
{
	struct io_uring_cqe *cqe;

	switch (pick(n, 10)) {
	case 0 ... 3:
		one_tag(n);
		break;
	case 4:
		use_pages(n);
		break;
	case 5 ... 6:
		read_or_write(n);
		break;
	case 7:
		fetch(n, false);
		break;
	case 8:
		if (n->cell->lossy && n->inside && pick(n, 8) == 0)
			fetch(n, true);
		break;
	default:
		bad_batch(n);
	}
	if (pick(n, 3))
		io_uring_submit(&n->ring);
	if (pick(n, 4) == 0)
		camp_nap(pick(n, 2000));
	while (!io_uring_peek_cqe(&n->ring, &cqe)) {
		camp_cell_noise(cqe->res >= 0);
		io_uring_cqe_seen(&n->ring, cqe);
	}
}

static void *make_noise(void *arg)
{
	struct noise *n = arg;
	unsigned int ops;

	while (!camp_cell_is_quiet() && open_ring(n)) {
		for (ops = pick(n, RING_OPS); ops && !camp_cell_is_quiet(); ops--)
			one_op(n);
		io_uring_submit(&n->ring);
		/* Its ring, with all that is in it, then waits for the process. */
		if (n->cell->lossy && pick(n, 16) == 0)
			return NULL;
		close_ring(n);
	}
	return NULL;
}

static void run_tasks(const struct camp_cell *r, struct ublk_server *srv, bool inside)
{
	static struct noise noises[TASKS];
	unsigned int i;

	for (i = 0; i < TASKS; i++) {
		noises[i] = (struct noise){
			.cell = r, .srv = srv, .inside = inside,
			.seed = r->seed + 1000 * (i + 1 + inside * TASKS),
		};
		pthread_create(&noises[i].thread, NULL, make_noise, &noises[i]);
	}
	for (i = 0; i < TASKS; i++)
		pthread_join(noises[i].thread, NULL);
}

static void beside(const struct camp_cell *r, struct ublk_server *srv)
{
	pid_t other;

	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	other = camp_fork();
	if (!other) {
		run_tasks(r, srv, false);
		_exit(0);
	}
	run_tasks(r, srv, true);
	/* If it hangs, the campaign does not wait for ever. */
	while (camp_wait_exit(other, CAMP_LIMIT_MS) == -ETIME)
		;
}

static void plan(struct camp_cell *r, unsigned int number)
{
	unsigned int seed = camp_seed(&campaign, number);
	unsigned int way = camp_pick(&seed, CAMP_WAYS);

	camp_cell_plan(r, number, way, camp_pick(&seed, CAMP_RECOVERIES));
	r->seed = seed;
	r->beside = beside;
	r->noise_ms = 100 + camp_pick(&seed, 400);
	r->lossy = camp_pick(&seed, 2);
	r->opts.target = &ublk_fault_target;
	r->opts.queues = 1 + camp_pick(&seed, 2);
	r->opts.threads = 1 + camp_pick(&seed, 2);
	r->opts.fault.seed = seed;
	r->opts.fault.delay = 40;
	r->opts.fault.reorder = 10;
	r->opts.fault.shorten = 20;
	r->opts.fault.delay_ms = 5;
}

int main(int argc, char **argv)
{
	bool good;

	camp_begin(&campaign, argc, argv);
	good = camp_cells_run(&campaign, plan);
	return camp_end(&campaign, !good,
			"%u rounds, %u recovered, %llu commands beside, of which %llu did something, %llu blocks verified, %llu failures as they had to be",
			camp_cells.cells, camp_cells.recovered,
			(unsigned long long)camp_cells.noises,
			(unsigned long long)camp_cells.heard,
			(unsigned long long)camp_cells.verified,
			(unsigned long long)camp_cells.failed);
}
