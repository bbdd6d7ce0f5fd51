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
 * udev and others read the start and the end of every new disk. Reads outside
 * of the TD_AREA are therefore answered on the side, with zeroes, and a test
 * sees only what its own client sent into the area.
 */
#ifndef UBLK_TESTDEV_H
#define UBLK_TESTDEV_H

#include <stdio.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include "ublk.h"

#define TD_DEADLINE_MS	12000
/* For a device to go: behind a hundred others it has to wait its turn. */
#define TD_REAP_MS	60000
#define TD_SIZE		(64ULL << 20)
#define TD_AREA		(16ULL << 20)	/* byte offset where tests do their I/O */
#define TD_AREA_END	(48ULL << 20)
#define TD_BUF_BYTES	(64U << 10)
#define TD_CLIENTS	256		/* I/Os that a test can have sent */
#define TD_PENDING	1		/* td_io_cmd(): accepted, no answer yet */

struct tb;

enum td_state {
	TD_NEW,			/* no command was accepted for this tag */
	TD_ARMED,		/* the driver holds a command of this tag */
	TD_ARRIVED,		/* a request is here, the test has not taken it */
	TD_TAKEN,		/* td_next() gave it to the test */
	TD_ENDED,		/* the last command came back with an error */
};

struct td_tag {
	enum td_state state;
	int res;		/* of the last command */
	__u64 cookie;		/* of the pending command */
};

/* What a server may learn of a request. */
struct td_req {
	__u16 queue;
	__u16 tag;
	int res;		/* of the command: 0 or UBLK_IO_RES_NEED_GET_DATA */
	__u8 op;
	__u32 flags;		/* UBLK_IO_F_* */
	__u32 sectors;
	__u64 start;
	__u64 addr;
	char *buf;		/* the server's memory for this tag */
};

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

/* From nothing to a live disk, one step at a time; 0 or a negative errno. */
int td_add(struct testdev *td);
int td_set_params(struct testdev *td);
int td_attach(struct testdev *td);
int td_fetch_all(struct testdev *td);
int td_start(struct testdev *td);
/*
 * The device had a server, and a disk, before: the server may be on its way out,
 * and udev may have the old disk open.
 */
int td_attach_again(struct testdev *td);
int td_serve_again(struct testdev *td);
int td_open_disk(struct testdev *td);
int td_close_disk(struct testdev *td);
int td_detach(struct testdev *td);
/* All of it. */
int td_go_live(struct testdev *td);
void td_drop(struct testdev *td);

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
/* Cancels the command in flight; its result arrives like any other. */
void td_ctl_cancel(struct testdev *td);
/* A second way to send control commands while the first is asleep. */
int td_ctl_beside(struct testdev *td, __u32 op);
int td_ctl_buf(struct testdev *td, __u32 op, const void *buf, __u16 len,
	       __u64 data);
int td_state(struct testdev *td);
/* A state that comes without a command to wait for. */
bool td_wait_state(struct testdev *td, int state);

/* An I/O command: its immediate error, or TD_PENDING. */
int td_io_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag, int result,
	      __u64 addr);
/*
 * On a ring of one's own: whatever comes first is taken for the answer, so once
 * requests may arrive there, only the one that does not look.
 */
int td_io_cmd_on(struct io_uring *ring, int cdev, __u32 op, __u16 queue,
		 __u16 tag, int result, __u64 addr);
void td_send_io_cmd_on(struct io_uring *ring, int cdev, __u32 op, __u16 queue,
		       __u16 tag, int result, __u64 addr);
int td_fetch(struct testdev *td, __u16 queue, __u16 tag);
int td_next(struct testdev *td, struct td_req *req);
/* Is there one by now? */
bool td_peek(struct testdev *td, struct td_req *req);
int td_answer(struct testdev *td, const struct td_req *req, int result);
/* A command that does not concern the fetch of a tag: its result. */
int td_side_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag,
		__u64 addr);
int td_wait_end(struct testdev *td, __u16 queue, __u16 tag);
int td_settle(struct testdev *td, int ms);
char *td_buf(struct testdev *td, __u16 queue, __u16 tag);
/* What a fetch says about its data: @buf in copy mode, else nothing. */
__u64 td_addr(const struct testdev *td, const void *buf);
/* AUTO_BUF_REG: tag t of queue q has its place at q * depth + t. */
__u64 td_auto_word(const struct testdev *td, __u16 queue, __u16 tag);

/* USER_COPY: bytes, or a negative errno. */
loff_t td_pos(__u16 queue, __u16 tag, __u32 offset);
int td_take(struct testdev *td, const struct td_req *req, void *buf, __u32 len,
	    __u32 offset);
int td_bring(struct testdev *td, const struct td_req *req, const void *buf,
	     __u32 len, __u32 offset);
/* I/O of a file with the buffer at @index of a ring, from its byte @offset on. */
int td_fixed_io(struct io_uring *ring, int op, int fd, __u16 index,
		__u64 offset, __u32 len, loff_t pos);

const struct ublksrv_io_desc *td_desc(struct testdev *td, __u16 queue,
				      __u16 tag);

/* A client's I/O: send returns a number for wait, wait returns the result. */
int td_read(struct testdev *td, void *buf, __u32 len, __u64 offset);
int td_write(struct testdev *td, const void *buf, __u32 len, __u64 offset,
	     int rw_flags);
/* The same with an attribute of io_uring's, of which there is one type. */
int td_rw_attr(struct testdev *td, int op, void *buf, __u32 len, __u64 offset,
	       const void *attr, __u64 type);
int td_fsync(struct testdev *td);
int td_writev(struct testdev *td, const struct iovec *iov, unsigned int nr,
	      __u64 offset);
int td_fallocate(struct testdev *td, int mode, __u64 offset, __u64 len);
int td_discard(struct testdev *td, __u64 offset, __u64 len);
/* A request of the client that the server has in its hands: the client's number. */
int td_write_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len);
int td_read_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len);
int td_wait(struct testdev *td, int client);
bool td_done(struct testdev *td, int client);

/* Memory fit for direct I/O, filled with a pattern that depends on @seed. */
void *td_page_buf(__u32 len, unsigned int seed);
bool td_is_zero(const void *buf, __u32 len);

/* A server in a process of its own, made with the library. */
int td_spawn(struct testdev *td, const struct ublk_options *opts);
int td_spawn_recovery(struct testdev *td, const struct ublk_options *opts);
int td_kill_server(struct testdev *td);
/* Stops it like ^Z: from then on requests are on their way to it. */
int td_freeze_server(struct testdev *td);
bool td_wait_inflight(struct testdev *td, unsigned int count);
int td_wait_held(struct testdev *td, unsigned int count);
extern const struct ublk_target td_hold_target;

/* Runs @fn in another thread of this process. */
int td_in_thread(int (*fn)(void *arg), void *arg);
/* Runs @fn in a child process; its return value must be 0..255. */
int td_in_child(int (*fn)(void *arg), void *arg);

/* Reaps a process: its exit status, or -ETIME if it does not end. */
int td_wait_exit(pid_t pid, int timeout_ms);

/*
 * Runs a program; its output goes to the log only if it fails. Returns the
 * exit status, or -ENOENT if the program is not installed.
 */
int td_run(const char *const argv[]);

long td_sysfs_number(const struct testdev *td, const char *attr);
int td_sysfs_string(const struct testdev *td, const char *attr, char *buf,
		    size_t len);
int td_sysfs_set(const struct testdev *td, const char *attr, unsigned int value);
int td_module_refs(void);
/* Polls a condition whose event cannot be waited for; false at the deadline. */
bool td_poll_until(bool (*cond)(void *arg), void *arg);
__u64 td_now_ms(void);

#endif
