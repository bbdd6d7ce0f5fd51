/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A device under test: a client of the disk and a server driven by hand, in
 * one thread.
 *
 * The test says each step of the server itself: fetch this tag, wait for a
 * request, answer it with that result. Whatever waits here (for a request, a
 * client's I/O or a control command) keeps the other two going and ends at a
 * deadline, so a driver that hangs fails a test instead of stopping the run.
 *
 * Here are the device and its life. testserve.h has the server and testclient.h
 * the client, testspawn.h a server to kill and testhost.h what is around them.
 *
 * udev and others read the start and the end of every new disk. Reads outside
 * of the TD_AREA are therefore answered on the side, with zeroes, and a test
 * sees only what its own client sent into the area.
 */
#ifndef UBLK_TESTDEV_H
#define UBLK_TESTDEV_H

#include "ublk.h"

#define TD_DEADLINE_MS	12000
/* For a device to go: behind a hundred others it has to wait its turn. */
#define TD_REAP_MS	60000
#define TD_SIZE		(64ULL << 20)
#define TD_AREA		(16ULL << 20)	/* byte offset where tests do their I/O */
#define TD_AREA_END	(48ULL << 20)
#define TD_BUF_BYTES	(64U << 10)
#define TD_CLIENTS	256		/* I/Os that a test can have sent */

struct tb;
struct td_req;
struct td_tag;

struct td_client {
	bool done;
	int res;
};

struct testdev {
	int id;			/* -1 while there is no device */
	struct ublksrv_ctrl_dev_info info;
	struct ublk_params params;
	struct ublk_ctrl ctrl;
	char node[32];		/* path, for commands that name it */

	int cdev;
	bool serving;		/* ring, tags and bufs are there */
	struct io_uring ring;
	struct td_tag *tags;
	char *descs;
	char *bufs;
	__u64 cookie;
	__u8 sqe_flags;		/* for the server's commands, IOSQE_* */
	__u64 auto_bits;	/* set in every auto registration, see td_auto_word() */
	bool answer_all;	/* answer what is in the area too, with success */
	/* Answers a request that is not for the test, or returns false. */
	bool (*aside)(struct testdev *td, const struct td_req *req);

	struct tb *batch;	/* serves in all that waits here; see testbatch.h */

	int bdev;
	int bdev_lock;		/* another file of the disk, which keeps udev away */
	bool has_clients;	/* client_ring is there */
	struct io_uring client_ring;
	struct td_client clients[TD_CLIENTS];
	unsigned int nr_clients;

	pid_t server;		/* of td_spawn() */
	int held;		/* eventfd: requests that the server sits on */
	pid_t *heir;		/* shared memory, if somebody is to inherit its files */
	pid_t heir_pid;
};

/* td_init() returns false if there is no driver to test. */
bool td_init(struct testdev *td);
int td_reap(struct testdev *td);

/*
 * From nothing to a live disk, one step at a time; 0 or a negative errno. The
 * others are td_attach(), td_fetch_all() and td_open_disk().
 */
int td_add(struct testdev *td);
int td_set_params(struct testdev *td);
int td_start(struct testdev *td);
/* All of it. */
int td_go_live(struct testdev *td);
void td_drop(struct testdev *td);
/*
 * The device had a server, and a disk, before: the server may be on its way out,
 * and udev may have the old disk open.
 */
int td_attach_again(struct testdev *td);
int td_serve_again(struct testdev *td);

/*
 * From a disk without a server to a live one, likewise. The first step waits
 * until the old server is gone; td_recover() is all of it.
 */
int td_reattach(struct testdev *td);
int td_end_recovery(struct testdev *td);
int td_recover(struct testdev *td);

/* A control command; the server and the clients go on meanwhile. */
int td_ctl(struct testdev *td, __u32 op, __u64 data);
int td_ctl_send(struct testdev *td, __u32 op, __u64 data);
int td_ctl_wait(struct testdev *td);
/*
 * Sends a command that is to wait: 0 if it sleeps in the driver and does not return
 * within a moment, so that what comes next comes after it has begun.
 */
int td_ctl_send_to_wait(struct testdev *td, __u32 op, __u64 data);
/* Cancels the command in flight; its result arrives like any other. */
void td_ctl_cancel(struct testdev *td);
/* A second way to send control commands while the first is asleep. */
int td_ctl_beside(struct testdev *td, __u32 op);
/* A child that waits for a command, or has opened the node: its pid, to kill. */
pid_t td_ctl_in_child(struct testdev *td, __u32 op, __u64 data);
pid_t td_open_in_child(struct testdev *td);
int td_ctl_buf(struct testdev *td, __u32 op, const void *buf, __u16 len,
	       __u64 data);
int td_state(struct testdev *td);
/* A state that comes without a command to wait for. */
bool td_wait_state(struct testdev *td, int state);
/* For td_poll_until(). */
bool td_disk_is_gone(void *td);
bool td_wait_inflight(struct testdev *td, unsigned int count);

/*
 * Gives what must not happen @ms to happen: a test that relies on it can miss a
 * fault, never report a false one. Where the disk is served and has a tag to spare,
 * td_round_trip() is better.
 */
int td_settle(struct testdev *td, int ms);
bool td_pump(struct testdev *td, __u64 deadline);
/* Until td_sleeps_in(); false at the deadline. */
bool td_wait_asleep(struct testdev *td, pid_t pid, const char *what);

#endif
