// SPDX-License-Identifier: GPL-2.0
/*
 * The loop target: a disk whose data lies in a file or in another block
 * device. Its I/O runs on the worker's own ring, so a worker never blocks.
 *
 * It tells the truth about durability: a FLUSH ends after an fdatasync(), a
 * WRITE with FUA is a synchronous one, and everything else may sit in the
 * page cache.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ublk.h"

enum loop_step {
	LOOP_FIRST,		/* the request's own operation */
	LOOP_ZERO_RANGE,	/* no holes in this file: zero the range */
	LOOP_PUNCH,		/* no zeroing in this file: make a hole ... */
	LOOP_ALLOCATE,		/* ... and fill it again, for NOUNMAP */
	LOOP_SYNC,		/* FUA of an operation without such a flag */
};

/* Of a disk of @size bytes in blocks of 1 << @shift whose data lies in files. */
void ublk_file_params(struct ublk_server *srv, __u64 size, __u8 shift)
{
	srv->params = (struct ublk_params) {
		.len = sizeof(srv->params),
		.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD,
		.basic = {
			.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA,
			.logical_bs_shift = shift,
			.physical_bs_shift = 12,
			.io_min_shift = shift,
			.io_opt_shift = 12,
			.max_sectors = srv->opts.buf_bytes >> UBLK_SECTOR_SHIFT,
			.dev_sectors = (size >> shift) << (shift - UBLK_SECTOR_SHIFT),
		},
		.discard = {
			.discard_granularity = 4096,
			.max_discard_sectors = 1U << 21,
			.max_write_zeroes_sectors = 1U << 21,
			.max_discard_segments = 1,
		},
	};
}

static int setup_bdev(struct ublk_server *srv)
{
	int block_size;
	__u64 size;

	if (ioctl(srv->backing, BLKGETSIZE64, &size) ||
	    ioctl(srv->backing, BLKSSZGET, &block_size))
		return -errno;
	if (srv->opts.size && srv->opts.size > size)
		return -ENOSPC;
	if (srv->opts.size)
		size = srv->opts.size;
	ublk_file_params(srv, size, __builtin_ctz(block_size));
	return 0;
}

/* A file smaller than the disk grows; the new part reads as zeroes. */
static int setup_file(struct ublk_server *srv, const struct stat *st)
{
	__u64 size = srv->opts.size ? srv->opts.size : (__u64)st->st_size;

	if (!S_ISREG(st->st_mode))
		return -ENOTBLK;
	if (size > (__u64)st->st_size && ftruncate(srv->backing, size))
		return -errno;
	/* Direct I/O is aligned to the block size of the file system. */
	ublk_file_params(srv, size, srv->opts.direct ? 12 : 9);
	return 0;
}

static int loop_init(struct ublk_server *srv)
{
	const struct ublk_options *o = &srv->opts;
	int flags = O_RDWR | O_CLOEXEC;
	struct stat st;

	if (!o->file)
		return -EINVAL;
	if (o->direct)
		flags |= O_DIRECT;
	if (o->size)
		flags |= O_CREAT;
	srv->backing = open(o->file, flags, 0600);
	if (srv->backing < 0 || fstat(srv->backing, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return setup_bdev(srv);
	return setup_file(srv, &st);
}

static void loop_exit(struct ublk_server *srv)
{
	if (srv->backing >= 0)
		close(srv->backing);
}

/* Moves what is left of the request after io->done bytes. */
static void loop_rw(struct ublk_worker *w, struct ublk_io *io)
{
	struct io_uring_sqe *sqe;

	sqe = ublk_target_rw(w, io, w->srv->backing,
			     ublk_io_offset(io) + io->done);
	if (io->desc->op_flags & UBLK_IO_F_FUA &&
	    ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE)
		sqe->rw_flags = RWF_DSYNC;
}

static void loop_sync(struct ublk_worker *w, struct ublk_io *io)
{
	io_uring_prep_fsync(ublk_target_sqe(w, io), w->srv->backing,
			    IORING_FSYNC_DATASYNC);
}

static void loop_fallocate(struct ublk_worker *w, struct ublk_io *io, int mode)
{
	io_uring_prep_fallocate(ublk_target_sqe(w, io), w->srv->backing,
				mode | FALLOC_FL_KEEP_SIZE, ublk_io_offset(io),
				ublk_io_bytes(io));
}

static void loop_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_WRITE:
		loop_rw(w, io);
		break;
	case UBLK_IO_OP_FLUSH:
		loop_sync(w, io);
		break;
	case UBLK_IO_OP_DISCARD:
		loop_fallocate(w, io, FALLOC_FL_PUNCH_HOLE);
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		/* NOUNMAP: the blocks are to stay allocated. */
		loop_fallocate(w, io, io->desc->op_flags & UBLK_IO_F_NOUNMAP ?
			       FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
		break;
	default:
		ublk_complete_io(w, io, -EOPNOTSUPP);
	}
}

static void loop_rw_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	__u32 len = ublk_io_bytes(io);

	if (res < 0) {
		ublk_complete_io(w, io, res);
		return;
	}
	if (res == 0 && io->buf && ublksrv_get_op(io->desc) == UBLK_IO_OP_READ) {
		/* Past the end of a file that was cut short behind us. */
		memset(io->buf + io->done, 0, len - io->done);
		res = len - io->done;
	} else if (res == 0) {
		ublk_complete_io(w, io, -EIO);
		return;
	}

	io->done += res;
	if (io->done < len)
		loop_rw(w, io);
	else
		ublk_complete_io(w, io, len);
}

static void loop_zeroes_step(struct ublk_worker *w, struct ublk_io *io,
			     enum loop_step step)
{
	io->step = step;
	switch (step) {
	case LOOP_ZERO_RANGE:
		loop_fallocate(w, io, FALLOC_FL_ZERO_RANGE);
		break;
	case LOOP_ALLOCATE:
		loop_fallocate(w, io, 0);
		break;
	case LOOP_SYNC:
		loop_sync(w, io);
		break;
	default:
		loop_fallocate(w, io, FALLOC_FL_PUNCH_HOLE);
	}
}

/* File systems differ in what they support; each way ends in zeroes. */
static void loop_zeroes_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	__u32 flags = io->desc->op_flags;
	bool keep = flags & UBLK_IO_F_NOUNMAP;

	if (res == -EOPNOTSUPP && io->step == LOOP_FIRST)
		loop_zeroes_step(w, io, keep ? LOOP_PUNCH : LOOP_ZERO_RANGE);
	else if (!res && io->step == LOOP_PUNCH)
		loop_zeroes_step(w, io, LOOP_ALLOCATE);
	else if (!res && (flags & UBLK_IO_F_FUA) && io->step != LOOP_SYNC)
		loop_zeroes_step(w, io, LOOP_SYNC);
	else
		ublk_complete_io(w, io, res);
}

static void loop_io_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	if (res == -EAGAIN || res == -EINTR) {
		io->step = LOOP_FIRST;
		loop_queue_io(w, io);
		return;
	}

	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_WRITE:
		loop_rw_done(w, io, res);
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		loop_zeroes_done(w, io, res);
		break;
	default:
		ublk_complete_io(w, io, res);
	}
}

const struct ublk_target ublk_loop_target = {
	.name = "loop",
	.init = loop_init,
	.exit = loop_exit,
	.queue_io = loop_queue_io,
	.io_done = loop_io_done,
};
