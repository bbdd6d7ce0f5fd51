/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inside of the library: what the files server*.c have in common.
 */
#ifndef UBLK_SERVER_H
#define UBLK_SERVER_H

#include "ublk.h"

/* user_data: a tag, marked if the entry is not the tag's fetch or commit. */
#define UD_TARGET	0x10000		/* the target's */
#define UD_DATA		0x20000		/* moves data in the way of the mode */
#define UD_IGNORE	0x40000		/* its end is of no interest */
#define UD_LEAVE	0x80000		/* the worker has to end */
#define UD_BATCH	0x100000	/* a command of batch mode */
#define UD_META		0x200000	/* moves metadata */
#define UD_TAG(ud)	((__u16)(ud))

struct io_uring_sqe *worker_sqe(struct ublk_worker *w);
void worker_serve(struct ublk_worker *w, struct ublk_io *io);
void worker_commit(struct ublk_worker *w, struct ublk_io *io, int result);
__u64 worker_data_pos(const struct ublk_worker *w, const struct ublk_io *io);

/* server_batch.c */
int batch_setup(struct ublk_worker *w);
void batch_teardown(struct ublk_worker *w);
void batch_begin(struct ublk_worker *w);
void batch_complete(struct ublk_worker *w, struct ublk_io *io, int result);
void batch_flush(struct ublk_worker *w);
void batch_cqe(struct ublk_worker *w, const struct io_uring_cqe *cqe);

/* server_meta.c */
int meta_open(struct ublk_server *srv);
bool meta_is_as_agreed(const struct ublk_server *srv);
size_t meta_buf_bytes(const struct ublk_server *srv);
void meta_begin(struct ublk_worker *w, struct ublk_io *io, int result);
void meta_done(struct ublk_worker *w, struct ublk_io *io, int res);

static inline bool worker_is_batch(const struct ublk_worker *w)
{
	return w->srv->info.flags & UBLK_F_BATCH_IO;
}

#endif
