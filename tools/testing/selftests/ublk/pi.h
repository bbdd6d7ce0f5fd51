/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Protection information: computed here a second time, to be compared with the
 * kernel's, and disks whose blocks carry it.
 */
#ifndef UBLK_PI_H
#define UBLK_PI_H

#include <linux/fs.h>

#include "testdev.h"

#define PI_BOTH		(LBMD_PI_CAP_INTEGRITY | LBMD_PI_CAP_REFTAG)
#define PI_LEN		16384	/* of a test's I/O */
#define PI_MAX_META	4096	/* room for the metadata that comes with it */

/* What a tuple says, whatever its size. */
struct pi_tuple {
	__u64 guard;
	__u16 app;
	__u64 ref;
};

/* Bytes of a tuple; 0 without a checksum. */
unsigned int pi_tuple_size(const struct ublk_param_integrity *format);
/* Bytes of metadata for @len bytes of data. */
unsigned int pi_bytes(const struct ublk_param_integrity *format, __u32 len);
/* The tuple of interval @nr of some metadata. */
struct pi_tuple pi_get(const struct ublk_param_integrity *format,
		       const void *meta, unsigned int nr);
void pi_put(const struct ublk_param_integrity *format, void *meta,
	    unsigned int nr, struct pi_tuple tuple);
/* The guard that interval @nr should have. */
__u64 pi_guard(const struct ublk_param_integrity *format, const void *data,
	       const void *meta, unsigned int nr);
/* Writes all tuples: right guards, @app, and references from @ref on. */
void pi_make(const struct ublk_param_integrity *format, const void *data,
	     __u32 len, void *meta, __u16 app, __u64 ref);

/* The metadata of a request: bytes, or a negative errno. */
int pi_take(struct testdev *td, const struct td_req *req, void *meta,
	    __u32 len, __u32 offset);
int pi_bring(struct testdev *td, const struct td_req *req, const void *meta,
	     __u32 len, __u32 offset);

/* A live disk with metadata, and what a test's I/O there has to do with. */
struct pi_disk {
	struct testdev td;
	const struct ublk_param_integrity *format;
	unsigned int intervals;		/* in PI_LEN bytes */
	unsigned int bytes;		/* of metadata for them */
	char *data;			/* what is on the disk */
	char *meta;			/* what comes with it */
	char *mine;			/* the client's memory */
	char *my_meta;
};

/* 0, a negative errno, or 1 if the driver has no such disks. */
int pi_go_live(struct pi_disk *d, const struct ublk_param_integrity *format,
	       int block_shift);
/* Data and metadata as they should be, for an I/O at the start of the area. */
void pi_reset(struct pi_disk *d);
/* The reference tag of the interval at @offset bytes. */
__u64 pi_ref_at(const struct ublk_param_integrity *format, __u64 offset);
bool pi_has_csum(const struct ublk_param_integrity *format);
bool pi_has_ref(const struct ublk_param_integrity *format);
/* Flips these bits in the last tuple of the metadata for PI_LEN bytes. */
void pi_flip(const struct pi_disk *d, void *meta, struct pi_tuple bits);
/* Answers a READ of the area with what is on the disk: the client's result. */
int pi_serve_read(struct pi_disk *d, const struct td_req *req, int client);

/* Adds the type to the parameters; call it before td_set_params(). */
void pi_describe(struct testdev *td, const struct ublk_param_integrity *format);

#endif
