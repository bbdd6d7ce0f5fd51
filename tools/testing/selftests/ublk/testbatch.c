// SPDX-License-Identifier: GPL-2.0
/*
 * Batch mode by hand: see testbatch.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "testbatch.h"
#include "testclient.h"
#include "testhost.h"
#include "testserve.h"

#define ENTRIES		64

/* user_data: the number of the command, and what it is. */
#define UD_FETCH	0x8000000000000000ULL
#define UD_SIDE		0x4000000000000000ULL	/* answers something outside of the area */
#define UD_QUEUE(ud)	((__u16)((ud) >> 32))
#define UD_SEQ(ud)	((__u32)(ud))

void tb_give_buffer(struct tb *tb, unsigned int number)
{
	io_uring_buf_ring_add(tb->br, tb->bufs[number], tb->buf_bytes, number,
			      io_uring_buf_ring_mask(TB_BUFFERS), 0);
	io_uring_buf_ring_advance(tb->br, 1);
}

/*
 * A ring is closed long before it has gone, and its fetch commands with it. The
 * last it gives back are its files: so it is given the end of a pipe to keep.
 */
static int keep_pipe(struct tb *tb)
{
	int fds[2], ret;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	tb->gone = fds[0];
	ret = io_uring_register_files(&tb->ring, &fds[1], 1);
	close(fds[1]);
	return ret;
}

/* Room for the pages of every tag, and once more as much. */
static int make_places(struct tb *tb)
{
	const struct ublksrv_ctrl_dev_info *info = &tb->td->info;

	if (!(info->flags & UBLK_F_AUTO_BUF_REG))
		return 0;
	return io_uring_register_buffers_sparse(&tb->ring, 2 * info->nr_hw_queues *
							   info->queue_depth);
}

int tb_init(struct tb *tb, struct testdev *td, unsigned int ring_flags,
	    unsigned int buffers, unsigned int bytes)
{
	unsigned int i, entries = tb->entries ? tb->entries : ENTRIES;
	bool keep = tb->keep_bufs;
	__u16 flags = tb->flags;
	int ret;

	memset(tb, 0, sizeof(*tb));
	tb->td = td;
	tb->keep_bufs = keep;
	tb->flags = flags;
	tb->entries = entries;
	tb->buf_bytes = bytes;
	ret = io_uring_queue_init(entries, &tb->ring, ring_flags);
	if (ret < 0)
		return ret;
	io_uring_ring_dontfork(&tb->ring);
	tb->bufs = calloc(TB_BUFFERS, sizeof(*tb->bufs));
	tb->br = io_uring_setup_buf_ring(&tb->ring, TB_BUFFERS, 0, 0, &ret);
	if (!tb->br || !tb->bufs)
		return tb->br ? -ENOMEM : ret;
	for (i = 0; i < buffers; i++)
		tb_give_buffer(tb, i);
	ret = keep_pipe(tb);
	return ret ? ret : make_places(tb);
}

int tb_attach(struct tb *tb, struct testdev *td)
{
	int ret;

	td->info.flags |= UBLK_F_BATCH_IO;
	ret = td_add(td);
	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	if (!ret)
		ret = tb_init(tb, td, 0, TB_BUFFERS, TB_BUF_BYTES);
	return ret;
}

int tb_open_disk(struct tb *tb)
{
	int ret;

	tb->td->batch = tb;
	ret = td_open_disk(tb->td);
	tb->td->batch = NULL;
	return ret;
}

int tb_attach_prepared(struct tb *tb, struct testdev *td)
{
	int ret = tb_attach(tb, td);

	return ret ? ret : tb_prep_all(tb);
}

/* The fetch command that serves while the disk is opened goes with its ring. */
int tb_go_live(struct tb *tb, struct testdev *td)
{
	struct tb meanwhile = { .flags = tb->flags };
	int ret = tb_attach_prepared(tb, td);

	if (!ret)
		ret = tb_init(&meanwhile, td, 0, TB_BUFFERS, TB_BUF_BYTES);
	if (ret)
		return ret;
	tb_fetch(&meanwhile, 0);
	ret = td_start(td);
	if (!ret)
		ret = tb_open_disk(&meanwhile);
	tb_exit(&meanwhile);
	return ret;
}

static bool is_gone(void *arg)
{
	struct pollfd fd = { .fd = *(int *)arg };

	return poll(&fd, 1, 0) == 1;
}

void tb_exit(struct tb *tb)
{
	io_uring_free_buf_ring(&tb->ring, tb->br, TB_BUFFERS, 0);
	io_uring_queue_exit(&tb->ring);
	td_poll_until(is_gone, &tb->gone);
	close(tb->gone);
	free(tb->bufs);
}

static struct io_uring_sqe *new_sqe(struct tb *tb)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&tb->ring)))
		io_uring_submit(&tb->ring);
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static __u32 send_cmd(struct tb *tb, __u32 op, const struct ublk_batch_io *args,
		      const void *payload, __u8 sqe_flags, __u64 mark)
{
	struct io_uring_sqe *sqe = new_sqe(tb);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = tb->td->cdev;
	sqe->cmd_op = op;
	sqe->flags = sqe_flags;
	sqe->addr = (unsigned long)payload;
	if (sqe_flags & IOSQE_BUFFER_SELECT)
		sqe->uring_cmd_flags = IORING_URING_CMD_MULTISHOT;
	memcpy(sqe->cmd, args, sizeof(*args));
	sqe->user_data = mark | (__u64)args->q_id << 32 | ++tb->seq;
	io_uring_submit(&tb->ring);
	return tb->seq;
}

__u32 tb_send(struct tb *tb, __u32 op, const struct ublk_batch_io *args,
	      const void *payload, __u8 sqe_flags)
{
	return send_cmd(tb, op, args, payload, sqe_flags,
			op == UBLK_U_IO_FETCH_IO_CMDS ? UD_FETCH : 0);
}

/* -- what the driver says -------------------------------------------------- */

static bool is_side(struct tb *tb, __u16 queue, __u16 tag)
{
	const struct ublksrv_io_desc *d = td_desc(tb->td, queue, tag);
	__u64 offset = d->start_sector << UBLK_SECTOR_SHIFT;

	return ublksrv_get_op(d) == UBLK_IO_OP_READ &&
	       (offset < TD_AREA || offset >= TD_AREA_END);
}

/* The argument of a command with @nr elements, as the mode wants them. */
static struct ublk_batch_io elem_args(struct tb *tb, __u16 queue, __u16 nr)
{
	bool addr = td_addr(tb->td, tb);

	return (struct ublk_batch_io) {
		.q_id = queue,
		.flags = tb->flags | (addr ? UBLK_BATCH_F_HAS_BUF_ADDR : 0),
		.nr_elem = nr,
		.elem_bytes = addr ? sizeof(struct tb_elem) :
				     sizeof(struct ublk_elem_header),
	};
}

void tb_answer_aside(struct tb *tb, __u16 queue, __u16 tag, int result)
{
	struct tb_elem elem = tb_elem(tb, queue, tag, result);
	struct ublk_batch_io args = elem_args(tb, queue, 1);

	/* Runs before the submission returns, so @elem may be local. */
	send_cmd(tb, UBLK_U_IO_COMMIT_IO_CMDS, &args, &elem, 0, UD_SIDE);
}

static void answer_side(struct tb *tb, __u16 queue, __u16 tag)
{
	__u32 bytes = td_desc(tb->td, queue, tag)->nr_sectors << UBLK_SECTOR_SHIFT;

	memset(td_buf(tb->td, queue, tag), 0, bytes);
	tb_answer_aside(tb, queue, tag, bytes);
}

static void take_report(struct tb *tb, __u16 queue, const struct io_uring_cqe *cqe)
{
	unsigned int number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	unsigned int i, nr = cqe->res / sizeof(__u16), before = tb->nr_tags;
	__u16 tags[TB_BUF_BYTES / sizeof(__u16)];

	memcpy(tags, tb->bufs[number], cqe->res);
	for (i = 0; i < nr; i++) {
		if (td_is_aside(tb->td, queue, tags[i]))
			continue;
		if (is_side(tb, queue, tags[i]))
			answer_side(tb, queue, tags[i]);
		else if (tb->nr_tags < TB_MAX_TAGS)
			tb->tags[tb->nr_tags++] = tags[i];
	}
	if (tb->nr_tags != before)
		tb->nr_reports++;
	/* One that the test does not hear of must not be missing, either. */
	if (!tb->keep_bufs || tb->nr_tags == before)
		tb_give_buffer(tb, number);
}

void tb_serve(struct tb *tb)
{
	struct io_uring_cqe *entry, cqe;

	io_uring_get_events(&tb->ring);
	while (!io_uring_peek_cqe(&tb->ring, &entry)) {
		cqe = *entry;
		io_uring_cqe_seen(&tb->ring, entry);
		if (cqe.user_data & UD_SIDE)
			continue;
		if (cqe.user_data & UD_FETCH && cqe.flags & IORING_CQE_F_BUFFER)
			take_report(tb, UD_QUEUE(cqe.user_data), &cqe);
		else if (tb->nr_cqes < TB_MAX_CQES)
			tb->cqes[tb->nr_cqes++] = (struct tb_cqe) {
				UD_SEQ(cqe.user_data), cqe.res, cqe.flags,
			};
	}
}

/* One round: handle what is there, or sleep until something comes. */
static bool pump(struct tb *tb, __u64 deadline)
{
	struct testdev *td = tb->td;
	struct pollfd fds[] = {
		{ .fd = td->ctrl.ring.ring_fd, .events = POLLIN },
		{ .fd = tb->ring.ring_fd, .events = POLLIN },
		{ .fd = td->has_clients ? td->client_ring.ring_fd : -1,
		  .events = POLLIN },
	};
	__u64 now = td_now_ms();

	if (now >= deadline)
		return false;
	poll(fds, 3, deadline - now);
	tb_serve(tb);
	return true;
}

static __u64 in_time(void)
{
	return td_now_ms() + TD_DEADLINE_MS;
}

static struct tb_cqe *find_cqe(struct tb *tb, __u32 seq)
{
	unsigned int i;

	for (i = 0; i < tb->nr_cqes; i++)
		if (tb->cqes[i].seq == seq)
			return &tb->cqes[i];
	return NULL;
}

int tb_result(struct tb *tb, __u32 seq)
{
	__u64 deadline = in_time();
	struct tb_cqe *cqe;

	tb_serve(tb);
	while (!(cqe = find_cqe(tb, seq)))
		if (!pump(tb, deadline))
			return -ETIME;
	cqe->seq = 0;
	return cqe->res;
}

int tb_wait_tags(struct tb *tb, unsigned int nr)
{
	__u64 deadline = in_time();

	tb_serve(tb);
	while (tb->nr_tags < nr)
		if (!pump(tb, deadline))
			return -ETIME;
	return 0;
}

void tb_settle(struct tb *tb, int ms)
{
	__u64 deadline = td_now_ms() + ms;

	while (pump(tb, deadline))
		;
}

int tb_wait_client(struct tb *tb, int client)
{
	__u64 deadline = in_time();

	tb_serve(tb);
	while (!td_done(tb->td, client))
		if (!pump(tb, deadline))
			return -ETIME;
	return tb->td->clients[client].res;
}

int tb_ctl_wait(struct tb *tb)
{
	struct io_uring *ring = &tb->td->ctrl.ring;
	__u64 deadline = in_time();
	struct io_uring_cqe *cqe;
	int res;

	while (io_uring_peek_cqe(ring, &cqe))
		if (!pump(tb, deadline))
			return -ETIME;
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

int tb_ctl(struct tb *tb, __u32 op, __u64 data)
{
	int ret = td_ctl_send(tb->td, op, data);

	return ret ? ret : tb_ctl_wait(tb);
}

/* -- commands -------------------------------------------------------------- */

int tb_run(struct tb *tb, __u32 op, const struct ublk_batch_io *args,
	   const void *payload)
{
	return tb_result(tb, tb_send(tb, op, args, payload, tb->td->sqe_flags));
}

struct tb_elem tb_elem(struct tb *tb, __u16 queue, __u16 tag, int result)
{
	return (struct tb_elem) {
		.tag = tag,
		.buf_index = queue * tb->td->info.queue_depth + tag,
		.result = result,
		.addr = td_addr(tb->td, td_buf(tb->td, queue, tag)),
	};
}

static int run_elems(struct tb *tb, __u32 op, __u16 queue,
		     const struct tb_elem *elems, __u16 nr)
{
	struct ublk_batch_io args = elem_args(tb, queue, nr);
	char *payload = malloc(nr * sizeof(*elems));
	unsigned int i;
	int ret;

	for (i = 0; i < nr; i++)
		memcpy(payload + i * args.elem_bytes, elems + i, args.elem_bytes);
	ret = tb_run(tb, op, &args, payload);
	free(payload);
	return ret;
}

int tb_prep(struct tb *tb, __u16 queue, const struct tb_elem *elems, __u16 nr)
{
	return run_elems(tb, UBLK_U_IO_PREP_IO_CMDS, queue, elems, nr);
}

int tb_prep_all(struct tb *tb)
{
	unsigned int depth = tb->td->info.queue_depth, queue, tag;
	struct tb_elem *elems = calloc(depth, sizeof(*elems));
	int ret = 0;

	for (queue = 0; queue < tb->td->info.nr_hw_queues && !ret; queue++) {
		for (tag = 0; tag < depth; tag++)
			elems[tag] = tb_elem(tb, queue, tag, 0);
		ret = tb_prep(tb, queue, elems, depth);
	}
	free(elems);
	return ret;
}

int tb_commit(struct tb *tb, __u16 queue, const struct tb_elem *elems, __u16 nr)
{
	return run_elems(tb, UBLK_U_IO_COMMIT_IO_CMDS, queue, elems, nr);
}

__u32 tb_fetch(struct tb *tb, __u16 queue)
{
	struct ublk_batch_io args = {
		.q_id = queue, .elem_bytes = sizeof(__u16),
	};

	return tb_send(tb, UBLK_U_IO_FETCH_IO_CMDS, &args, NULL,
		       IOSQE_BUFFER_SELECT | tb->td->sqe_flags);
}

int tb_answer(struct tb *tb, __u16 queue, __u16 tag)
{
	const struct ublksrv_io_desc *d = td_desc(tb->td, queue, tag);
	struct tb_elem elem = tb_elem(tb, queue, tag,
				      d->nr_sectors << UBLK_SECTOR_SHIFT);

	return tb_commit(tb, queue, &elem, 1);
}

int tb_round_trip(struct tb *tb, __u16 queue)
{
	const __u64 offset = TD_AREA_END - 4096;
	int client = td_read(tb->td, td_page_buf(4096, 0), 4096, offset);
	int ret = tb_wait_tags(tb, tb->nr_tags + 1);
	__u16 tag;

	if (ret)
		return ret;
	tag = tb->tags[--tb->nr_tags];
	if (td_desc(tb->td, queue, tag)->start_sector != offset >> UBLK_SECTOR_SHIFT)
		return -EBADMSG;
	ret = tb_answer(tb, queue, tag);
	if (ret < 0)
		return ret;
	ret = tb_wait_client(tb, client);
	return ret == 4096 ? 0 : -EIO;
}

/* Forgets them, too. Returns 0 if each of them was taken. */
int tb_answer_all(struct tb *tb, __u16 queue)
{
	int ret = 0;

	while (tb->nr_tags && ret >= 0)
		ret = tb_answer(tb, queue, tb->tags[--tb->nr_tags]);
	return ret < 0 ? ret : 0;
}
