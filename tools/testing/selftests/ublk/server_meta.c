// SPDX-License-Identifier: GPL-2.0
/*
 * A disk whose blocks carry protection information: the kernel makes it when it
 * writes and checks it when it reads. To the server it is bytes, which it keeps in
 * a file of their own; targets know nothing of it.
 *
 * The file holds the complement of each byte. Then a hole reads as a tuple of
 * ones, which the kernel takes for "do not check": so are blocks that nobody has
 * written, or that were discarded.
 *
 * Metadata is moved once the target is done with the data. Who is killed between
 * the two leaves blocks that cannot be read until they are written again.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server.h"

#define TUPLE_BYTES	8

enum meta_step {
	META_TAKE,		/* of a WRITE, from the kernel ... */
	META_STORE,		/* ... into the file */
	META_LOAD,		/* of a READ, from the file ... */
	META_BRING,		/* ... to the kernel */
	META_FORGET,		/* make a hole in the file */
	META_SYNC,		/* what was written there, or forgotten, is to stay so */
};

static __u64 tuples_at(const struct ublk_server *srv, __u64 offset)
{
	return (offset >> srv->params.basic.logical_bs_shift) * TUPLE_BYTES;
}

/* Prepares @srv->params for the metadata, if the user has named a file for it. */
int meta_open(struct ublk_server *srv)
{
	const struct ublk_param_basic *basic = &srv->params.basic;
	struct stat st;
	off_t size;

	if (!srv->opts.integrity)
		return 0;
	if (srv->opts.mode == UBLK_MODE_COPY)
		srv->opts.mode = UBLK_MODE_USER_COPY;
	if (srv->opts.mode != UBLK_MODE_USER_COPY)
		return -EINVAL;

	srv->meta = open(srv->opts.integrity, O_RDWR | O_CLOEXEC | O_CREAT, 0600);
	if (srv->meta < 0 || fstat(srv->meta, &st))
		return -errno;
	size = tuples_at(srv, basic->dev_sectors << UBLK_SECTOR_SHIFT);
	if (st.st_size < size && ftruncate(srv->meta, size))
		return -errno;

	srv->params.types |= UBLK_PARAM_TYPE_INTEGRITY;
	srv->params.integrity = (struct ublk_param_integrity) {
		.flags = LBMD_PI_CAP_REFTAG,
		.interval_exp = basic->logical_bs_shift,
		.metadata_size = TUPLE_BYTES,
		.csum_type = LBMD_PI_CSUM_CRC16_T10DIF,
	};
	return 0;
}

/* Once the device is known: has its disk metadata if, and only if, this server has? */
bool meta_is_as_agreed(const struct ublk_server *srv)
{
	bool wanted = srv->info.flags & UBLK_F_INTEGRITY;

	return wanted == (srv->meta >= 0);
}

/* For one request of any size; 0 without metadata. */
size_t meta_buf_bytes(const struct ublk_server *srv)
{
	return srv->meta < 0 ? 0 : tuples_at(srv, srv->info.max_io_buf_bytes);
}

static unsigned int meta_bytes(const struct ublk_worker *w, const struct ublk_io *io)
{
	return tuples_at(w->srv, io->result);
}

static void complement(char *p, unsigned int len)
{
	while (len--)
		p[len] = ~p[len];
}

static void forget(struct ublk_worker *w, struct ublk_io *io, struct io_uring_sqe *sqe)
{
	io_uring_prep_fallocate(sqe, w->srv->meta,
				FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				tuples_at(w->srv, ublk_io_offset(io)),
				tuples_at(w->srv, ublk_io_bytes(io)));
}

static void start_step(struct ublk_worker *w, struct ublk_io *io, enum meta_step step)
{
	__u64 window = UBLKSRV_IO_INTEGRITY_FLAG | worker_data_pos(w, io);
	__u64 at = tuples_at(w->srv, ublk_io_offset(io));
	struct io_uring_sqe *sqe = worker_sqe(w);
	unsigned int len = meta_bytes(w, io);

	io->meta_step = step;
	switch (step) {
	case META_TAKE:
		io_uring_prep_read(sqe, w->srv->cdev, io->meta, len, window);
		break;
	case META_STORE:
		complement(io->meta, len);
		io_uring_prep_write(sqe, w->srv->meta, io->meta, len, at);
		break;
	case META_LOAD:
		io_uring_prep_read(sqe, w->srv->meta, io->meta, len, at);
		break;
	case META_BRING:
		complement(io->meta, len);
		io_uring_prep_write(sqe, w->srv->cdev, io->meta, len, window);
		break;
	case META_FORGET:
		forget(w, io, sqe);
		break;
	case META_SYNC:
		io_uring_prep_fsync(sqe, w->srv->meta, IORING_FSYNC_DATASYNC);
		break;
	}
	sqe->user_data = UD_META | io->tag;
}

/* The target has answered @io with @result, which is no error. */
void meta_begin(struct ublk_worker *w, struct ublk_io *io, int result)
{
	bool has_meta = io->desc->op_flags & UBLK_IO_F_INTEGRITY;

	io->result = result;
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
		if (has_meta)
			start_step(w, io, META_LOAD);
		else
			worker_commit(w, io, result);
		break;
	case UBLK_IO_OP_WRITE:
		start_step(w, io, has_meta ? META_TAKE : META_FORGET);
		break;
	case UBLK_IO_OP_FLUSH:
		start_step(w, io, META_SYNC);
		break;
	default:
		start_step(w, io, META_FORGET);
	}
}

static bool was_moved_whole(const struct ublk_worker *w, const struct ublk_io *io,
			    int res)
{
	return io->meta_step > META_BRING || res == (int)meta_bytes(w, io);
}

/* A step has ended with @res. */
void meta_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	bool sync = io->desc->op_flags & UBLK_IO_F_FUA;

	if (res < 0 || !was_moved_whole(w, io, res))
		worker_commit(w, io, res < 0 ? res : -EIO);
	else if (io->meta_step == META_TAKE || io->meta_step == META_LOAD)
		start_step(w, io, io->meta_step + 1);
	else if (sync && io->meta_step != META_BRING && io->meta_step != META_SYNC)
		start_step(w, io, META_SYNC);
	else
		worker_commit(w, io, io->result);
}
