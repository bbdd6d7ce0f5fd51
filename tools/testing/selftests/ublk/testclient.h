/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The client of a device under test: I/O of the test's own process on the disk.
 */
#ifndef UBLK_TESTCLIENT_H
#define UBLK_TESTCLIENT_H

#include <sys/uio.h>

#include "testdev.h"

int td_open_disk(struct testdev *td);
int td_close_disk(struct testdev *td);
/*
 * A node of the disk for tests alone, with @mode. The other one is udev's, which
 * watches it, and may set its owner and mode at any moment: also for an earlier disk
 * of that number, which it comes back to when it could not lock it at first.
 */
int td_make_node(const struct testdev *td, mode_t mode);
int td_open_node(const struct testdev *td, int flags);
void td_remove_node(const struct testdev *td);
/*
 * Private memory that has the contents of the disk, which is read when the memory
 * is touched, a page at a time; NULL if it fails.
 */
char *td_map_disk(struct testdev *td, __u64 offset, __u32 len);

/* I/O: send returns a number for wait, wait returns the result. */
int td_read(struct testdev *td, void *buf, __u32 len, __u64 offset);
int td_write(struct testdev *td, const void *buf, __u32 len, __u64 offset,
	     int rw_flags);
/* The same with an attribute of io_uring's, of which there is one type. */
int td_rw_attr(struct testdev *td, int op, void *buf, __u32 len, __u64 offset,
	       const void *attr, __u64 type);
/* READs or WRITEs that are sent together; if they are three or more, they merge. */
void td_rw_all(struct testdev *td, int op, const struct iovec *bufs, unsigned int nr,
	       __u64 offset, int *clients);
int td_fsync(struct testdev *td);
int td_writev(struct testdev *td, const struct iovec *iov, unsigned int nr,
	      __u64 offset);
int td_fallocate(struct testdev *td, int mode, __u64 offset, __u64 len);
int td_discard(struct testdev *td, __u64 offset, __u64 len);
int td_wait(struct testdev *td, int client);
bool td_done(struct testdev *td, int client);

/* For whatever waits: notes what has ended. */
void td_drain_clients(struct testdev *td);

#endif
