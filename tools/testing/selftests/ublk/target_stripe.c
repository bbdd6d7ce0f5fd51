// SPDX-License-Identifier: GPL-2.0
/*
 * The stripe target: a disk whose data lies in several files, a chunk in each by
 * turns. The first chunk of the disk is the first of the first file, the next
 * one the first of the second file, and so on round.
 *
 * A request may cover many chunks. Its data is moved chunk by chunk, all of
 * them at once. A range, of which no data is moved, is one piece in each
 * file. When the last piece is done, the request is.
 *
 * What it says of durability is what the loop target says: a FLUSH ends after an
 * fdatasync() of each file, FUA holds for each piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ublk.h"

/* A process serves one such disk. */
static struct {
	int fds[UBLK_STRIPE_FILES];
	unsigned int nr;
	__u32 chunk;
} stripe;

/* -- where things are ------------------------------------------------------ */

static int fd_of(__u64 offset)
{
	return stripe.fds[offset / stripe.chunk % stripe.nr];
}

static __u64 place_of(__u64 offset)
{
	__u64 row = offset / stripe.chunk / stripe.nr;

	return row * stripe.chunk + offset % stripe.chunk;
}

/* How much of a file, by its number, belongs to what is below @offset. */
static __u64 bytes_below(unsigned int file, __u64 offset)
{
	__u64 chunks = offset / stripe.chunk;
	__u64 row = chunks / stripe.nr * stripe.chunk;

	if (chunks % stripe.nr > file)
		return row + stripe.chunk;
	if (chunks % stripe.nr < file)
		return row;
	return row + offset % stripe.chunk;
}

/* -- from the files to the disk -------------------------------------------- */

/* Opens a file that is to have @size bytes, 0 for as many as it has. */
static int open_file(const struct ublk_options *o, unsigned int file, __u64 size,
		     __u64 *has)
{
	int fd, flags = O_RDWR | O_CLOEXEC;
	struct stat st;

	if (o->direct)
		flags |= O_DIRECT;
	if (size)
		flags |= O_CREAT;
	fd = open(o->stripe.files[file], flags, 0600);
	stripe.fds[file] = fd;
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (size > (__u64)st.st_size && ftruncate(fd, size))
		return -errno;
	*has = size ? size : (__u64)st.st_size;
	return 0;
}

/* The smallest file says how many rows of chunks there are. */
static int open_files(struct ublk_server *srv, __u64 *size)
{
	__u64 width = (__u64)stripe.chunk * stripe.nr;
	__u64 rows = (srv->opts.size + width - 1) / width, least = ~0ULL, has = 0;
	unsigned int i;
	int ret;

	for (i = 0; i < stripe.nr; i++) {
		ret = open_file(&srv->opts, i, rows * stripe.chunk, &has);
		if (ret)
			return ret;
		if (has < least)
			least = has;
	}
	*size = srv->opts.size ? srv->opts.size : least / stripe.chunk * width;
	return 0;
}

static int stripe_init(struct ublk_server *srv)
{
	const struct ublk_options *o = &srv->opts;
	unsigned int i;
	__u64 size;
	int ret;

	if (o->stripe.nr < 2 || o->stripe.nr > UBLK_STRIPE_FILES ||
	    o->stripe.chunk < 4096 || o->stripe.chunk & (o->stripe.chunk - 1))
		return -EINVAL;
	stripe.nr = o->stripe.nr;
	stripe.chunk = o->stripe.chunk;
	for (i = 0; i < stripe.nr; i++)
		stripe.fds[i] = -1;
	ret = open_files(srv, &size);
	if (ret)
		return ret;
	ublk_file_params(srv, size, o->direct ? 12 : 9);
	srv->params.basic.io_min_shift = __builtin_ctz(stripe.chunk);
	srv->params.basic.io_opt_shift = srv->params.basic.io_min_shift;
	return 0;
}

static void stripe_exit(struct ublk_server *srv)
{
	unsigned int i;

	for (i = 0; i < stripe.nr; i++)
		if (stripe.fds[i] >= 0)
			close(stripe.fds[i]);
	stripe.nr = 0;
}

/* -- requests, each in io->step pieces ------------------------------------- */

static void stripe_rw(struct ublk_worker *w, struct ublk_io *io)
{
	bool fua = io->desc->op_flags & UBLK_IO_F_FUA &&
		   ublksrv_get_op(io->desc) == UBLK_IO_OP_WRITE;
	__u32 from, piece, len = ublk_io_bytes(io);
	struct io_uring_sqe *sqe;

	for (from = 0; from < len; from += piece) {
		__u64 at = ublk_io_offset(io) + from;

		piece = stripe.chunk - at % stripe.chunk;
		if (piece > len - from)
			piece = len - from;
		sqe = ublk_target_rw_part(w, io, fd_of(at), place_of(at), from, piece);
		if (fua)
			sqe->rw_flags = RWF_DSYNC;
		io->step++;
	}
}

static void stripe_sync(struct ublk_worker *w, struct ublk_io *io)
{
	unsigned int i;

	for (i = 0; i < stripe.nr; i++) {
		io_uring_prep_fsync(ublk_target_sqe(w, io), stripe.fds[i],
				    IORING_FSYNC_DATASYNC);
		io->step++;
	}
}

static void stripe_fallocate(struct ublk_worker *w, struct ublk_io *io, int mode)
{
	__u64 first, end, at = ublk_io_offset(io);
	unsigned int i;

	for (i = 0; i < stripe.nr; i++) {
		first = bytes_below(i, at);
		end = bytes_below(i, at + ublk_io_bytes(io));
		if (first == end)
			continue;
		io_uring_prep_fallocate(ublk_target_sqe(w, io), stripe.fds[i],
					mode | FALLOC_FL_KEEP_SIZE, first, end - first);
		io->step++;
	}
}

static void stripe_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	io->done = 0;
	io->err = 0;
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_WRITE:
		stripe_rw(w, io);
		break;
	case UBLK_IO_OP_FLUSH:
		stripe_sync(w, io);
		break;
	case UBLK_IO_OP_DISCARD:
		stripe_fallocate(w, io, FALLOC_FL_PUNCH_HOLE);
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		/*
		 * Without NOUNMAP there may be holes. A file system that cannot
		 * do it says so, and the kernel writes the zeroes as data.
		 */
		stripe_fallocate(w, io, io->desc->op_flags & UBLK_IO_F_NOUNMAP ?
				 FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE);
		break;
	default:
		ublk_complete_io(w, io, -EOPNOTSUPP);
	}
}

/* All pieces are done. io_uring goes on by itself until it meets an end. */
static void stripe_rw_done(struct ublk_worker *w, struct ublk_io *io)
{
	__u32 len = ublk_io_bytes(io);

	ublk_complete_io(w, io, io->done == len ? (int)len : -EIO);
}

/* There is no way to have a range zeroed and synchronous at once. */
static void stripe_zeroes_done(struct ublk_worker *w, struct ublk_io *io)
{
	if (!(io->desc->op_flags & UBLK_IO_F_FUA) || io->done) {
		ublk_complete_io(w, io, 0);
		return;
	}
	io->done = ublk_io_bytes(io);
	stripe_sync(w, io);
}

static void stripe_io_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	if (res > 0)
		io->done += res;
	else if (res < 0 && !io->err)
		io->err = res;
	if (--io->step)
		return;

	/* Every piece may be done twice. */
	if (io->err == -EAGAIN || io->err == -EINTR) {
		stripe_queue_io(w, io);
		return;
	}
	if (io->err) {
		ublk_complete_io(w, io, io->err);
		return;
	}
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_WRITE:
		stripe_rw_done(w, io);
		break;
	case UBLK_IO_OP_WRITE_ZEROES:
		stripe_zeroes_done(w, io);
		break;
	default:
		ublk_complete_io(w, io, 0);
	}
}

const struct ublk_target ublk_stripe_target = {
	.name = "stripe",
	.init = stripe_init,
	.exit = stripe_exit,
	.queue_io = stripe_queue_io,
	.io_done = stripe_io_done,
};
