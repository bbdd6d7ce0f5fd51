// SPDX-License-Identifier: GPL-2.0
/*
 * The fault target: a loop disk, in memory if it has no file, that does not do
 * all it is asked for, or not in the best of ways. Which request meets which
 * fate is random, and follows from a seed and the order in which requests come.
 */
#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "server.h"

#define FAULT_DEFAULT_SIZE	(64ULL << 20)

/* In io->step, beside the steps of the loop target, which are few. */
enum fault_step {
	FAULT_WAITS = 100,	/* for its timer, or to be overtaken */
	FAULT_SHORT,		/* a part of it is being done */
};

/* What a worker, which is a thread, has to remember. */
static __thread struct {
	bool seeded;
	unsigned int seed;
	struct ublk_io *behind;	/* comes after the next request */
} mine;

static int fault_init(struct ublk_server *srv)
{
	char path[32];
	int ret, fd;

	if (srv->opts.file)
		return ublk_loop_target.init(srv);
	fd = memfd_create("fault", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	srv->opts.file = path;
	if (!srv->opts.size)
		srv->opts.size = FAULT_DEFAULT_SIZE;
	ret = ublk_loop_target.init(srv);
	srv->opts.file = NULL;
	close(fd);
	return ret;
}

static void fault_exit(struct ublk_server *srv)
{
	ublk_loop_target.exit(srv);
}

/* -- fates ----------------------------------------------------------------- */

static unsigned int pick(struct ublk_worker *w, unsigned int below)
{
	if (!mine.seeded)
		mine.seed = w->srv->opts.fault.seed + w->queue * 4096 + w->first;
	mine.seeded = true;
	return rand_r(&mine.seed) % below;
}

static bool happens(struct ublk_worker *w, unsigned int percent)
{
	return percent && pick(w, 100) < percent;
}

static void go_on(struct ublk_worker *w, struct ublk_io *io)
{
	io->step = 0;
	ublk_loop_target.queue_io(w, io);
}

static void wait_for_timer(struct ublk_worker *w, struct ublk_io *io)
{
	/* Read when the entry is submitted. */
	static struct __kernel_timespec pause;

	pause.tv_sec = w->srv->opts.fault.delay_ms / 1000;
	pause.tv_nsec = w->srv->opts.fault.delay_ms % 1000 * 1000000;
	io->step = FAULT_WAITS;
	io_uring_prep_timeout(ublk_target_sqe(w, io), &pause, 0, 0);
}

static bool moves_data(const struct ublk_io *io)
{
	return ublksrv_get_op(io->desc) == UBLK_IO_OP_READ ||
	       ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE;
}

/* Some blocks less, but one at least; false if it has no more than that. */
static bool shorten(struct ublk_worker *w, struct ublk_io *io)
{
	__u8 shift = w->srv->params.basic.logical_bs_shift;
	unsigned int blocks = ublk_io_bytes(io) >> shift;
	struct io_uring_sqe *sqe;

	if (!moves_data(io) || blocks < 2)
		return false;
	io->step = FAULT_SHORT;
	blocks = 1 + pick(w, blocks - 1);
	sqe = ublk_target_rw_part(w, io, w->srv->backing, ublk_io_offset(io), 0,
				  blocks << shift);
	if (io->desc->op_flags & UBLK_IO_F_FUA &&
	    ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE)
		sqe->rw_flags = RWF_DSYNC;
	return true;
}

/* A FLUSH is for the whole disk. */
static bool is_spared(const struct ublk_server *srv, const struct ublk_io *io)
{
	return ublksrv_get_op(io->desc) != UBLK_IO_OP_FLUSH &&
	       (ublk_io_offset(io) < srv->opts.fault.begin ||
		ublk_io_offset(io) >= srv->opts.fault.end);
}

static void fault_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	const struct ublk_faults *f = &w->srv->opts.fault;

	if (is_spared(w->srv, io)) {
		go_on(w, io);
	} else if (happens(w, f->error)) {
		ublk_complete_io(w, io, -EIO);
	} else if (happens(w, f->drop)) {
		/* Never to be heard of again. */
	} else if (happens(w, f->delay)) {
		wait_for_timer(w, io);
	} else if (!mine.behind && happens(w, f->reorder)) {
		/* The next one may be long in coming. */
		mine.behind = io;
		wait_for_timer(w, io);
	} else if (!happens(w, f->shorten) || !shorten(w, io)) {
		go_on(w, io);
	}
}

static void timer_rings(struct ublk_worker *w, struct ublk_io *io)
{
	if (io->step != FAULT_WAITS)
		return;
	if (mine.behind == io)
		mine.behind = NULL;
	go_on(w, io);
}

/*
 * Its tag may be in another worker's hands when it rings, and what that one does
 * with it is none of our business.
 */
static void stop_timer(struct ublk_worker *w, struct ublk_io *io)
{
	struct io_uring_sqe *sqe = ublk_target_sqe(w, io);

	io_uring_prep_timeout_remove(sqe, sqe->user_data, 0);
	sqe->user_data = UD_IGNORE;
}

/* Another request has been done: the one that stood back may come now. */
static void bring_up(struct ublk_worker *w)
{
	struct ublk_io *io = mine.behind;

	mine.behind = NULL;
	if (!io)
		return;
	stop_timer(w, io);
	go_on(w, io);
}

static void fault_io_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	bool spared = is_spared(w->srv, io);

	/* No file answers so; a timer that was stopped is cancelled. */
	if (res == -ETIME) {
		timer_rings(w, io);
		return;
	}
	if (res == -ECANCELED)
		return;
	if (io->step == FAULT_SHORT)
		ublk_complete_io(w, io, res ? res : -EIO);
	else
		ublk_loop_target.io_done(w, io, res);
	if (!spared)
		bring_up(w);
}

const struct ublk_target ublk_fault_target = {
	.name = "fault",
	.init = fault_init,
	.exit = fault_exit,
	.queue_io = fault_queue_io,
	.io_done = fault_io_done,
};
