/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The commands of batch mode, one at a time, on a ring and buffers of their own.
 *
 * A test that is about the commands themselves uses these on a device of
 * testdev.h that is attached, but whose own ring it leaves alone. tb_serve() and
 * everything that waits answers what is outside of the TD_AREA on the side.
 */
#ifndef UBLK_TESTBATCH_H
#define UBLK_TESTBATCH_H

#include "testdev.h"

#define TB_BUFFERS	16	/* a power of 2 */
#define TB_BUF_BYTES	256
#define TB_MAX_CQES	256
#define TB_MAX_TAGS	4096

/* A completion, as far as a test has not taken it. */
struct tb_cqe {
	__u32 seq;		/* of its command, 0 once it was taken */
	int res;
	__u32 flags;
};

struct tb {
	struct testdev *td;
	struct io_uring ring;
	int gone;		/* a pipe that ends with the ring */
	unsigned int entries;	/* of the ring, if it shall not be the usual */
	struct io_uring_buf_ring *br;
	__u16 (*bufs)[TB_BUF_BYTES / sizeof(__u16)];
	unsigned int buf_bytes;	/* that the driver is told of */
	__u16 flags;		/* of PREP and COMMIT, beside that for buffers */
	bool keep_bufs;		/* do not give buffers back when they were read */
	__u32 seq;		/* of the last command */
	struct tb_cqe cqes[TB_MAX_CQES];
	unsigned int nr_cqes;
	__u16 tags[TB_MAX_TAGS];	/* of the area, in the order of their coming */
	unsigned int nr_tags;
	unsigned int nr_reports;	/* CQEs that brought them */
};

/* An element with a buffer; outside of copy mode, the driver is given no address. */
struct tb_elem {
	__u16 tag;
	__u16 buf_index;
	__s32 result;
	__u64 addr;
};

/* @bytes is the size of each buffer; 0 buffers for a ring without any. */
int tb_init(struct tb *tb, struct testdev *td, unsigned int ring_flags,
	    unsigned int buffers, unsigned int bytes);
/* Afterwards the driver has none of its commands. */
void tb_exit(struct tb *tb);
void tb_give_buffer(struct tb *tb, unsigned int number);
/* A device in batch mode, attached, none of its tags offered. */
int tb_attach(struct tb *tb, struct testdev *td);
/* All of them offered. */
int tb_attach_prepared(struct tb *tb, struct testdev *td);
/* A live disk, open, without a fetch command. */
int tb_go_live(struct tb *tb, struct testdev *td);
/* While @tb serves, as udev may be in the way: so it has to have a fetch command. */
int tb_open_disk(struct tb *tb);

/* A command: its number, to wait for. */
__u32 tb_send(struct tb *tb, __u32 op, const struct ublk_batch_io *args,
	      const void *payload, __u8 sqe_flags);
/* The result of a command, or -ETIME. */
int tb_result(struct tb *tb, __u32 seq);
int tb_run(struct tb *tb, __u32 op, const struct ublk_batch_io *args,
	   const void *payload);

/* The usual forms. */
struct tb_elem tb_elem(struct tb *tb, __u16 queue, __u16 tag, int result);
int tb_prep(struct tb *tb, __u16 queue, const struct tb_elem *elems, __u16 nr);
int tb_prep_all(struct tb *tb);
int tb_commit(struct tb *tb, __u16 queue, const struct tb_elem *elems, __u16 nr);
__u32 tb_fetch(struct tb *tb, __u16 queue);

/* Takes in what is there; waits until @nr tags of the area have come. */
void tb_serve(struct tb *tb);
int tb_wait_tags(struct tb *tb, unsigned int nr);
/* See td_settle() and td_round_trip(); the latter needs a fetch command. */
void tb_settle(struct tb *tb, int ms);
int tb_round_trip(struct tb *tb, __u16 queue);
/* Answers one tag, or all that have come, with success. */
int tb_answer(struct tb *tb, __u16 queue, __u16 tag);
int tb_answer_all(struct tb *tb, __u16 queue);
/* That of a request for td->aside: nobody waits for the command. */
void tb_answer_aside(struct tb *tb, __u16 queue, __u16 tag, int result);
int tb_wait_client(struct tb *tb, int client);
/* A control command, while tags are served. */
int tb_ctl(struct tb *tb, __u32 op, __u64 data);
int tb_ctl_wait(struct tb *tb);

#endif
