// SPDX-License-Identifier: GPL-2.0
/*
 * Workers of a device in batch mode (UBLK_F_BATCH_IO).
 *
 * A worker offers its share of the tags with one PREP_IO_CMDS. Then it has one
 * FETCH_IO_CMDS in the driver, which completes again and again, each time with a
 * buffer full of tags: any tags of the queue, for in this mode they belong to
 * nobody. The answers of one round go back in one COMMIT_IO_CMDS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

#define TAG_BUFFERS	8	/* a power of 2 */
#define BUFFER_TAGS	64

enum batch_command { BATCH_PREP = UD_BATCH, BATCH_FETCH, BATCH_COMMIT };

/*
 * With an address in copy mode, or with the sector of a ZONE_APPEND on zoned disks,
 * which have no copy mode; else an element is only the header.
 */
struct batch_elem {
	struct ublk_elem_header header;
	__u64 option;
};

/* Elements that are collected, or that a command has, one behind the other. */
struct batch_elems {
	char *elem;
	unsigned int nr;
};

/**
 * struct ublk_batch - what a worker has in batch mode
 * @ring: of the buffers that the driver puts tags into
 * @tags: these buffers
 * @next: answers for the next COMMIT
 * @sent: those of the COMMIT, or the PREP, that is in the driver
 */
struct ublk_batch {
	struct io_uring_buf_ring *ring;
	__u16 tags[TAG_BUFFERS][BUFFER_TAGS];
	struct batch_elems next;
	struct batch_elems sent;
};

static bool is_copy(const struct ublk_worker *w)
{
	return w->srv->opts.mode == UBLK_MODE_COPY;
}

static bool is_zoned(const struct ublk_worker *w)
{
	return w->srv->info.flags & UBLK_F_ZONED;
}

static __u16 elem_flags(const struct ublk_worker *w)
{
	if (is_copy(w))
		return UBLK_BATCH_F_HAS_BUF_ADDR;
	return is_zoned(w) ? UBLK_BATCH_F_HAS_ZONE_LBA : 0;
}

static size_t elem_bytes(const struct ublk_worker *w)
{
	return elem_flags(w) ? sizeof(struct batch_elem) :
			    sizeof(struct ublk_elem_header);
}

static void give_buffer(struct ublk_batch *b, unsigned int number)
{
	io_uring_buf_ring_add(b->ring, b->tags[number], sizeof(b->tags[number]),
			      number, io_uring_buf_ring_mask(TAG_BUFFERS), 0);
	io_uring_buf_ring_advance(b->ring, 1);
}

int batch_setup(struct ublk_worker *w)
{
	unsigned int i, depth = w->srv->info.queue_depth;
	struct ublk_batch *b = calloc(1, sizeof(*b));
	int ret;

	w->batch = b;
	if (!b)
		return -ENOMEM;
	b->next.elem = calloc(depth, sizeof(struct batch_elem));
	b->sent.elem = calloc(depth, sizeof(struct batch_elem));
	if (!b->next.elem || !b->sent.elem)
		return -ENOMEM;
	b->ring = io_uring_setup_buf_ring(&w->ring, TAG_BUFFERS, 0, 0, &ret);
	if (!b->ring)
		return ret;
	for (i = 0; i < TAG_BUFFERS; i++)
		give_buffer(b, i);
	return 0;
}

/* The buffers' ring goes with the worker's. */
void batch_teardown(struct ublk_worker *w)
{
	struct ublk_batch *b = w->batch;

	if (!b)
		return;
	if (b->ring)
		io_uring_free_buf_ring(&w->ring, b->ring, TAG_BUFFERS, 0);
	free(b->next.elem);
	free(b->sent.elem);
	free(b);
}

static struct io_uring_sqe *command_sqe(struct ublk_worker *w,
					enum batch_command command, __u32 op,
					const struct ublk_batch_io *args)
{
	struct io_uring_sqe *sqe = worker_sqe(w);

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = w->srv->cdev;
	sqe->cmd_op = op;
	sqe->user_data = command;
	memcpy(sqe->cmd, args, sizeof(*args));
	return sqe;
}

static void send_elems(struct ublk_worker *w, enum batch_command command, __u32 op,
		       unsigned int first)
{
	struct batch_elems *sent = &w->batch->sent;
	struct ublk_batch_io args = {
		.q_id = w->queue,
		.flags = elem_flags(w),
		.nr_elem = sent->nr - first,
		.elem_bytes = elem_bytes(w),
	};
	struct io_uring_sqe *sqe = command_sqe(w, command, op, &args);

	memmove(sent->elem, sent->elem + first * elem_bytes(w),
		args.nr_elem * elem_bytes(w));
	sent->nr = args.nr_elem;
	sqe->addr = (unsigned long)sent->elem;
}

static void send_fetch(struct ublk_worker *w)
{
	struct ublk_batch_io args = {
		.q_id = w->queue, .elem_bytes = sizeof(__u16),
	};
	struct io_uring_sqe *sqe = command_sqe(w, BATCH_FETCH,
					       UBLK_U_IO_FETCH_IO_CMDS, &args);

	sqe->flags = IOSQE_BUFFER_SELECT;
	sqe->uring_cmd_flags = IORING_URING_CMD_MULTISHOT;
}

/* As with one command per tag, each tag has its own place for its pages. */
static void add_elem(struct ublk_worker *w, struct batch_elems *elems,
		     const struct ublk_io *io, int result)
{
	struct batch_elem elem = {
		.header = {
			.tag = io->tag, .buf_index = io->tag, .result = result,
		},
		.option = is_zoned(w) ? io->lba : (unsigned long)io->buf,
	};

	memcpy(elems->elem + elems->nr++ * elem_bytes(w), &elem, elem_bytes(w));
}

/* Offers the worker's share of the tags; all of w->ios is filled in. */
void batch_begin(struct ublk_worker *w)
{
	unsigned int tag;

	for (tag = w->first; tag < w->srv->info.queue_depth;
	     tag += w->srv->opts.threads)
		add_elem(w, &w->batch->sent, &w->ios[tag], 0);
	send_elems(w, BATCH_PREP, UBLK_U_IO_PREP_IO_CMDS, 0);
	send_fetch(w);
	w->live++;
}

void batch_complete(struct ublk_worker *w, struct ublk_io *io, int result)
{
	add_elem(w, &w->batch->next, io, result);
}

/* Sends the answers collected, unless those sent before are still on the way. */
void batch_flush(struct ublk_worker *w)
{
	struct ublk_batch *b = w->batch;
	struct batch_elems tmp = b->sent;

	if (b->sent.nr || !b->next.nr)
		return;
	b->sent = b->next;
	b->next = tmp;
	send_elems(w, BATCH_COMMIT, UBLK_U_IO_COMMIT_IO_CMDS, 0);
}

/* A tag that the driver refuses is no longer ours; the others are tried again. */
static void commit_done(struct ublk_worker *w, int res)
{
	struct batch_elems *sent = &w->batch->sent;
	unsigned int done = res < 0 ? 0 : res / elem_bytes(w);

	if (done < sent->nr)
		done++;
	w->live -= done;
	if (done < sent->nr)
		send_elems(w, BATCH_COMMIT, UBLK_U_IO_COMMIT_IO_CMDS, done);
	else
		sent->nr = 0;
}

static void serve_tags(struct ublk_worker *w, const struct io_uring_cqe *cqe)
{
	unsigned int number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	__u16 *tags = w->batch->tags[number];
	unsigned int i, nr = cqe->res / sizeof(*tags);

	w->live += nr;
	for (i = 0; i < nr; i++)
		worker_serve(w, &w->ios[tags[i]]);
	give_buffer(w->batch, number);
}

static void fetch_done(struct ublk_worker *w, const struct io_uring_cqe *cqe)
{
	if (cqe->flags & IORING_CQE_F_BUFFER)
		serve_tags(w, cqe);
	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	if (cqe->res == -ENOBUFS) {
		send_fetch(w);
		return;
	}
	if (cqe->res != UBLK_IO_RES_ABORT && !w->err)
		w->err = cqe->res;
	w->live--;
}

void batch_cqe(struct ublk_worker *w, const struct io_uring_cqe *cqe)
{
	switch ((enum batch_command)cqe->user_data) {
	case BATCH_PREP:
		w->batch->sent.nr = 0;
		if (cqe->res < 0)
			w->err = cqe->res;
		break;
	case BATCH_FETCH:
		fetch_done(w, cqe);
		break;
	case BATCH_COMMIT:
		commit_done(w, cqe->res);
		break;
	}
}
