/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small library for writing ublk servers on liburing.
 *
 * A server lives through the following steps, each one function here:
 *
 *   ublk_ctrl_open()	a ring to /dev/ublk-control for the commands below
 *   ublk_add_dev()	the kernel makes /dev/ublkcN, the server's end
 *   ublk_set_params()	size, limits and features of the disk
 *   (workers)		open /dev/ublkcN, map the descriptors, fetch each tag
 *   ublk_start_dev()	the kernel makes /dev/ublkbN, the users' end
 *   ublk_stop_dev()	/dev/ublkbN goes, the fetch commands end in -ENODEV
 *   ublk_del_dev()	/dev/ublkcN goes
 *
 * With a UBLK_F_USER_RECOVERY device, the disk stays when its server has gone,
 * and the next server lives through these steps:
 *
 *   ublk_start_user_recovery()	is the old server gone?
 *   (workers)			as above
 *   ublk_end_user_recovery()	what waits for a server comes now
 *
 * ctrl.c sends control commands, server.c and server_batch.c run the workers,
 * target_*.c turn a request into an answer, server_meta.c keeps what protects the
 * data. A target never sees a command of the driver, and server.c looks into a
 * request only to move its data, in the way of its mode.
 * Functions return 0 or a negative errno.
 */
#ifndef UBLK_LIB_H
#define UBLK_LIB_H

#include <liburing.h>
#include <linux/blkzoned.h>
#include <linux/types.h>
#include <linux/ublk_cmd.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>

/* Younger than some versions of liburing. */
#ifndef IORING_URING_CMD_MULTISHOT
#define IORING_URING_CMD_MULTISHOT	2U
#endif

#define UBLK_AUTO_ID		(~0U)
#define UBLK_SECTOR_SHIFT	9
#define UBLK_DEFAULT_BUF	(512U << 10)
#define UBLK_STRIPE_FILES	16

/* -- ctrl.c: one function for each control command ----------------------- */

/**
 * struct ublk_ctrl - a way to send control commands
 * @fd: /dev/ublk-control
 * @ring: takes 128-byte entries, as control commands do not fit in 64
 * @by_path: the device is an unprivileged one, which commands have to name by
 *	the path of /dev/ublkcN: ublk_add_dev() and ublk_get_info2() find out
 *
 * Belongs to one thread.
 */
struct ublk_ctrl {
	int fd;
	struct io_uring ring;
	bool by_path;
};

int ublk_ctrl_open(struct ublk_ctrl *ctrl);
void ublk_ctrl_close(struct ublk_ctrl *ctrl);

int ublk_ctrl_submit(struct ublk_ctrl *ctrl, __u32 op,
		     const struct ublksrv_ctrl_cmd *cmd);
int ublk_ctrl_wait(struct ublk_ctrl *ctrl, int timeout_ms, int *res);
int ublk_ctrl_run(struct ublk_ctrl *ctrl, __u32 op,
		  const struct ublksrv_ctrl_cmd *cmd);

int ublk_get_features(struct ublk_ctrl *ctrl, __u64 *features);
int ublk_add_dev(struct ublk_ctrl *ctrl, struct ublksrv_ctrl_dev_info *info);
int ublk_del_dev(struct ublk_ctrl *ctrl, __u32 id);
int ublk_del_dev_async(struct ublk_ctrl *ctrl, __u32 id);
int ublk_get_info(struct ublk_ctrl *ctrl, __u32 id,
		  struct ublksrv_ctrl_dev_info *info);
int ublk_get_info2(struct ublk_ctrl *ctrl, __u32 id,
		   struct ublksrv_ctrl_dev_info *info);
int ublk_set_params(struct ublk_ctrl *ctrl, __u32 id,
		    const struct ublk_params *params);
int ublk_get_params(struct ublk_ctrl *ctrl, __u32 id,
		    struct ublk_params *params);
int ublk_start_dev(struct ublk_ctrl *ctrl, __u32 id, pid_t pid);
int ublk_stop_dev(struct ublk_ctrl *ctrl, __u32 id);
int ublk_try_stop_dev(struct ublk_ctrl *ctrl, __u32 id);
int ublk_update_size(struct ublk_ctrl *ctrl, __u32 id, __u64 sectors);
int ublk_start_user_recovery(struct ublk_ctrl *ctrl, __u32 id);
int ublk_end_user_recovery(struct ublk_ctrl *ctrl, __u32 id, pid_t pid);
int ublk_quiesce_dev(struct ublk_ctrl *ctrl, __u32 id, __u64 timeout_ms);
int ublk_reg_buf(struct ublk_ctrl *ctrl, __u32 id,
		 const struct ublk_shmem_buf_reg *reg);
int ublk_unreg_buf(struct ublk_ctrl *ctrl, __u32 id, int index);
int ublk_get_affinity(struct ublk_ctrl *ctrl, __u32 id, __u16 queue,
		      void *mask, __u16 len);

/* -- server*.c: workers, queues and tags --------------------------------- */

struct ublk_batch;
struct ublk_worker;
struct ublk_server;

/**
 * struct ublk_io - one tag, as its worker sees it
 * @tag: number within the queue
 * @done: bytes a target has moved so far, for continuing a short transfer
 * @step: for targets that answer a request in several steps, or pieces
 * @meta_step: likewise, for server_meta.c
 * @err: of one of these pieces
 * @result: the target's answer, while metadata is moved
 * @lba: sector at which a ZONE_APPEND begins, for the target to say
 * @desc: what the kernel asks for, valid until the tag is completed
 * @buf: memory of the worker that the data of the request passes through; NULL
 *	if it stays in pages of the kernel, see ublk_target_rw()
 * @meta: the same for its metadata; NULL if the disk has none
 */
struct ublk_io {
	__u16 tag;
	__u16 step;
	__u16 meta_step;
	int result;
	__u32 done;
	int err;
	__u64 lba;
	const struct ublksrv_io_desc *desc;
	char *buf;
	char *meta;
};

/**
 * struct ublk_target - what stands behind a disk
 * @name: as given to "ublk_srv add -t"
 * @init: open the backing store, fill in srv->params
 * @exit: undo @init
 * @queue_io: start to answer a request; ends in ublk_complete_io(), at once
 *	or from @io_done
 * @io_done: an entry taken with ublk_target_sqe() has completed with @res
 */
struct ublk_target {
	const char *name;
	int (*init)(struct ublk_server *srv);
	void (*exit)(struct ublk_server *srv);
	void (*queue_io)(struct ublk_worker *w, struct ublk_io *io);
	void (*io_done)(struct ublk_worker *w, struct ublk_io *io, int res);
};

extern const struct ublk_target ublk_null_target;
extern const struct ublk_target ublk_loop_target;
extern const struct ublk_target ublk_stripe_target;
extern const struct ublk_target ublk_zoned_target;
extern const struct ublk_target ublk_fault_target;

/**
 * enum ublk_mode - the way of the data of a request
 * @UBLK_MODE_COPY: the driver copies it to and from ublk_io.buf
 * @UBLK_MODE_USER_COPY: the worker does, by reading and writing /dev/ublkcN
 * @UBLK_MODE_ZERO_COPY: its pages become a buffer of the worker's ring, on
 *	demand, and I/O of the target goes to and from them
 * @UBLK_MODE_AUTO_BUF: the same, and the driver does it without being asked
 */
enum ublk_mode {
	UBLK_MODE_COPY,
	UBLK_MODE_USER_COPY,
	UBLK_MODE_ZERO_COPY,
	UBLK_MODE_AUTO_BUF,
};

/**
 * struct ublk_faults - what the fault target does to requests
 * @error: percentage that fails; each of these is asked of those that are left
 * @drop: percentage that is never answered
 * @delay: percentage that is begun @delay_ms later
 * @reorder: percentage that is begun when one that came later is done, or after
 *	@delay_ms
 * @shorten: percentage of which only a part is done
 * @delay_ms: milliseconds
 * @seed: of what is random
 * @begin: first byte of the disk where requests may meet such a fate
 * @end: behind the last one
 */
struct ublk_faults {
	unsigned int error;
	unsigned int drop;
	unsigned int delay;
	unsigned int reorder;
	unsigned int shorten;
	unsigned int delay_ms;
	unsigned int seed;
	__u64 begin;
	__u64 end;
};

/**
 * struct ublk_options - what the user asks for
 * @target: behind the disk
 * @file: the file or block device of the loop and fault targets, the zoned
 *	target's file
 * @direct: open @file with O_DIRECT
 * @integrity: file for protection information of each block, NULL for none
 * @size: of the disk in bytes, 0 for the size of @file
 * @id: wanted device number, or UBLK_AUTO_ID
 * @queues: number of queues
 * @depth: tags for each queue
 * @buf_bytes: largest request in bytes
 * @flags: UBLK_F_* to ask for, besides that of @mode
 * @mode: the way of the data
 * @threads: worker threads for each queue, they share out its tags
 * @zoned: for the zoned target, see there
 * @stripe: files of the stripe target, which has no @file, and how much of the
 *	disk lies in one before the next one's turn comes, a power of 2
 * @fault: for the fault target
 */
struct ublk_options {
	const struct ublk_target *target;
	const char *file;
	bool direct;
	const char *integrity;
	__u64 size;
	__u32 id;
	__u16 queues;
	__u16 depth;
	__u32 buf_bytes;
	__u64 flags;
	enum ublk_mode mode;
	unsigned int threads;
	struct {
		__u64 zone_bytes;
		__u32 conventional;
		__u32 max_open;
		__u32 max_active;
	} zoned;
	struct {
		const char *files[UBLK_STRIPE_FILES];
		unsigned int nr;
		__u32 chunk;
	} stripe;
	struct ublk_faults fault;
};

/**
 * struct ublk_worker - a thread that serves some tags of one queue, in batch mode
 *	those that come its way
 * @srv: its server
 * @thread: the thread
 * @ring: commands of the driver and I/O of the target, side by side
 * @queue: number of the queue
 * @first: serves this tag and every (threads per queue)th after it
 * @live: tags that still have a command in the driver or a request here; in
 *	batch mode, the command that fetches and requests that are here
 * @left: the server goes, whatever is live
 * @err: why the worker could not start
 * @descs: descriptors of the whole queue, written by the driver
 * @ios: tags of the whole queue, of which this worker uses its own
 * @bufs: memory behind ios[].buf
 * @metas: memory behind ios[].meta
 * @batch: what only server_batch.c looks into
 */
struct ublk_worker {
	struct ublk_server *srv;
	pthread_t thread;
	struct io_uring ring;
	__u16 queue;
	__u16 first;
	unsigned int live;
	bool left;
	int err;
	const struct ublksrv_io_desc *descs;
	struct ublk_io *ios;
	char *bufs;
	char *metas;
	struct ublk_batch *batch;
};

/**
 * struct ublk_server - a disk and everything that serves it
 * @opts: what the user asked for
 * @info: what the kernel granted
 * @params: of the disk
 * @ctrl: for control commands of the thread that runs the server
 * @cdev: /dev/ublkcN
 * @backing: the target's file
 * @meta: the file for metadata, -1 if the disk has none
 * @workers: nr_workers of them
 * @nr_workers: queues times threads for each queue
 * @started: posted by each worker once its tags are fetched, or it failed
 * @ended: eventfd, counts workers that have ended
 * @leave: eventfd, tells the workers to end
 */
struct ublk_server {
	struct ublk_options opts;
	struct ublksrv_ctrl_dev_info info;
	struct ublk_params params;
	struct ublk_ctrl ctrl;
	int cdev;
	int backing;
	int meta;
	struct ublk_worker *workers;
	unsigned int nr_workers;
	sem_t started;
	int ended;
	int leave;
};

void ublk_options_init(struct ublk_options *opts);
int ublk_server_start(struct ublk_server *srv, const struct ublk_options *opts);
int ublk_server_recover(struct ublk_server *srv,
			const struct ublk_options *opts);
void ublk_server_join(struct ublk_server *srv);
bool ublk_server_is_quiesced(struct ublk_server *srv);
void ublk_server_leave(struct ublk_server *srv);
int ublk_server_delete(struct ublk_server *srv);

struct io_uring_sqe *ublk_target_sqe(struct ublk_worker *w, struct ublk_io *io);
struct io_uring_sqe *ublk_target_rw(struct ublk_worker *w, struct ublk_io *io,
				    int fd, __u64 offset);
struct io_uring_sqe *ublk_target_rw_part(struct ublk_worker *w, struct ublk_io *io,
					 int fd, __u64 offset, __u32 from,
					 __u32 len);
void ublk_complete_io(struct ublk_worker *w, struct ublk_io *io, int result);
void ublk_file_params(struct ublk_server *srv, __u64 size, __u8 shift);

/* Bytes between the descriptors of two queues in the mapping of ublkcN. */
size_t ublk_queue_map_stride(const struct ublksrv_ctrl_dev_info *info);
size_t ublk_queue_map_len(const struct ublksrv_ctrl_dev_info *info);

/* Of the data that the request has, or of its range. */
static inline __u32 ublk_io_bytes(const struct ublk_io *io)
{
	if (ublksrv_get_op(io->desc) == UBLK_IO_OP_REPORT_ZONES)
		return io->desc->nr_zones * sizeof(struct blk_zone);
	return io->desc->nr_sectors << UBLK_SECTOR_SHIFT;
}

static inline __u64 ublk_io_offset(const struct ublk_io *io)
{
	return io->desc->start_sector << UBLK_SECTOR_SHIFT;
}

#endif
