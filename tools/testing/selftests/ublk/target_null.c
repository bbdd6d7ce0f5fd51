// SPDX-License-Identifier: GPL-2.0
/*
 * The null target: a disk that answers at once. It forgets what is written
 * and reads as whatever the buffers hold, zeroes at first.
 */
#include "ublk.h"

#define NULL_DEFAULT_SIZE	(250ULL << 30)

static int null_init(struct ublk_server *srv)
{
	__u64 size = srv->opts.size ? srv->opts.size : NULL_DEFAULT_SIZE;

	srv->params = (struct ublk_params) {
		.len = sizeof(srv->params),
		.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_DISCARD,
		.basic = {
			.logical_bs_shift = 9,
			.physical_bs_shift = 12,
			.io_min_shift = 9,
			.io_opt_shift = 12,
			.max_sectors = srv->opts.buf_bytes >> UBLK_SECTOR_SHIFT,
			.dev_sectors = size >> UBLK_SECTOR_SHIFT,
		},
		.discard = {
			.discard_granularity = 4096,
			.max_discard_sectors = 1U << 21,
			.max_write_zeroes_sectors = 1U << 21,
			.max_discard_segments = 1,
		},
	};
	return 0;
}

static void null_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	ublk_complete_io(w, io, ublk_io_bytes(io));
}

const struct ublk_target ublk_null_target = {
	.name = "null",
	.init = null_init,
	.queue_io = null_queue_io,
};
