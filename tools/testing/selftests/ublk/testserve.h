/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The server of a device under test, driven by hand: one command per tag, on a
 * ring of the test's own process.
 */
#ifndef UBLK_TESTSERVE_H
#define UBLK_TESTSERVE_H

#include "testdev.h"

#define TD_PENDING	1		/* td_io_cmd(): accepted, no answer yet */

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

int td_attach(struct testdev *td);
int td_detach(struct testdev *td);
int td_fetch_all(struct testdev *td);

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
/*
 * Answers a request outside of the area, for udev looks at each disk. False for one in
 * the area, which the test wants to be sat on.
 */
bool td_answer_outside(struct testdev *td, struct io_uring *ring, __u16 queue,
		       __u16 tag);
int td_fetch(struct testdev *td, __u16 queue, __u16 tag);
int td_next(struct testdev *td, struct td_req *req);
/* Is there one by now? */
bool td_peek(struct testdev *td, struct td_req *req);
int td_answer(struct testdev *td, const struct td_req *req, int result);
/* A command that does not concern the fetch of a tag: its result. */
int td_side_cmd(struct testdev *td, __u32 op, __u16 queue, __u16 tag,
		__u64 addr);
int td_wait_end(struct testdev *td, __u16 queue, __u16 tag);
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
/* Memory of the test's own in some places of a ring's table: they are taken. */
int td_occupy(struct io_uring *ring, unsigned int first, unsigned int n);

const struct ublksrv_io_desc *td_desc(struct testdev *td, __u16 queue,
				      __u16 tag);

/* A request of the client that the server has in its hands: the client's number. */
int td_write_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len);
int td_read_arrived(struct testdev *td, struct td_req *req, void *buf, __u32 len);

/*
 * A read of its own there and back, for claims that something has not happened:
 * what the driver had for the server or for clients before has arrived.
 */
int td_round_trip(struct testdev *td);

/* One of two threads that want the same tags at the same time. */
struct td_racer {
	struct testdev *td;
	pthread_barrier_t *barrier;
	unsigned int won;	/* tags */
	int other;		/* an error that is not a loser's */
};

int td_race(struct testdev *td, struct td_racer racers[2], void *(*fn)(void *arg));
void td_count_try(struct td_racer *r, int ret);

/* For whatever waits: takes what has come, answers what is not for the test. */
void td_drain_server(struct testdev *td);
/* Did td->aside take this request? */
bool td_is_aside(struct testdev *td, __u16 queue, __u16 tag);
/* Never NULL: what is in a full queue goes first. */
struct io_uring_sqe *td_next_sqe(struct io_uring *ring);

#endif
