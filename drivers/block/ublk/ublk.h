/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ublk driver's objects and who owns them. A file calls those to the right of it;
 * files with a comma between them do not call each other:
 *
 *   ublk_drv -> ctrl -> dev, quiesce -> char -> disk, ucopy -> state -> sweep
 *   -> batch_cmd -> batch_fetch -> batch_fifo -> submit -> coalesce, io
 *   -> session, reg -> desc, finish, params -> shmem, zoned, integrity -> copy, op, info
 *
 * Four ways lead back. The block layer's timeouts are for sweep, fetch commands are
 * woken for batch_fetch, and requests that have waited are pushed for coalesce and io,
 * by submit or batch_fifo. zoned has sweep stop a server that keeps START_DEV waiting.
 * The workqueues and the control node are ublk_drv's.
 *
 *   ublk_device   one ublkcN/ublkbN pair. Found by its id until the last
 *                 reference is gone. References: each running control command,
 *                 each queued op, each session, each gendisk.
 *   ublk_queue    one hardware queue of a device; lives as long as it. Its gate is
 *                 armed_word: the one slot word that a submitter may claim, or
 *                 UBLK_GATE_CLOSED.
 *   ublk_slot     one tag of a queue. Its state word (slot.h) says who owns
 *                 the tag's request and its uring_cmd.
 *   ublk_session  one open of ublkcN, that is one server. What dies with a
 *                 server is kept here. A uring_cmd on ublkcN pins the file,
 *                 so a released session has no command left.
 *   ublk_op       one operation of the control plane that may wait for I/O. The
 *                 ops of a device run one after the other in its own work item.
 */

/**
 * DOC: locks
 *
 * ======================== ====================== ================ ===================
 * Lock                     Protects               Taken inside     Held across
 * ======================== ====================== ================ ===================
 * device->lock (spinlock)  see struct ublk_device nothing          nothing
 * batch->lock (spinlock)   see struct ublk_batch  nothing          nothing
 * shmem->lock (mutex)      buffers and their tree xa_lock of       a grace period,
 *                                                 shmem->bufs      memory (noio)
 * the id table's xa_lock   ublk_ids               nothing          nothing
 * uring_lock (io_uring's)  commands of a ring     device->lock,    page faults of a
 *                                                 batch->lock, the copy
 *                                                 id table's
 * disk->open_mutex (block  opens against          device->lock,    reads of the
 * layer's)                 TRY_STOP_DEV           batch->lock      partition scan
 * ======================== ====================== ================ ===================
 *
 * "Taken inside" names the locks of ours that are taken while this one is held.
 * The paths that carry I/O take none of them but batch->lock, once for a list of
 * requests. They meet the control plane through RCU: ->queue_rq and everything that
 * arms a tag are read-side sections, so whoever closes a gate and waits for a grace
 * period knows that nobody who saw it open is still under way. The driver waits for a
 * uring_lock in one place: a worker thread that commits a batch takes registrations
 * back. A control command that runs where it is submitted can drop the last reference
 * to its device, and then frees it under a uring_lock.
 *
 * Adding, stopping and removing a disk may wait for I/O, and do so in ublk_op_wq only.
 * Two waits for the server are elsewhere: a zone report waits in its caller, UNREG_BUF
 * in the worker that runs it. Neither holds a lock of ours, and a signal that kills the
 * caller ends both.
 */
#ifndef _UBLK_H
#define _UBLK_H

#include <linux/blk-mq.h>
#include <linux/cdev.h>
#include <linux/completion.h>
#include <linux/device.h>
#include <linux/hrtimer.h>
#include <linux/io_uring/cmd.h>
#include <linux/kref.h>
#include <linux/llist.h>
#include <linux/miscdevice.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <uapi/linux/ublk_cmd.h>

#define UBLK_MAX_DEVICES	BIT(MINORBITS)

/* ADD_DEV: any id; in a device: none yet. */
#define UBLK_ID_AUTO		U32_MAX

/* The features that work; GET_FEATURES answers this. */
#define UBLK_FEATURES		(UBLK_F_SUPPORT_ZERO_COPY |		\
				 UBLK_F_URING_CMD_COMP_IN_TASK |	\
				 UBLK_F_NEED_GET_DATA |			\
				 UBLK_F_USER_RECOVERY |			\
				 UBLK_F_USER_RECOVERY_REISSUE |		\
				 UBLK_F_UNPRIVILEGED_DEV |		\
				 UBLK_F_CMD_IOCTL_ENCODE |		\
				 UBLK_F_USER_COPY |			\
				 UBLK_F_USER_RECOVERY_FAIL_IO |		\
				 UBLK_F_UPDATE_SIZE |			\
				 UBLK_F_AUTO_BUF_REG |			\
				 UBLK_F_QUIESCE |			\
				 UBLK_F_PER_IO_DAEMON |			\
				 UBLK_F_BUF_REG_OFF_DAEMON |		\
				 UBLK_F_BATCH_IO |			\
				 UBLK_F_SAFE_STOP_DEV |			\
				 UBLK_F_NO_AUTO_PART_SCAN |		\
				 UBLK_F_SHMEM_ZC |			\
				 (IS_ENABLED(CONFIG_BLK_DEV_INTEGRITY) ?	\
				  UBLK_F_INTEGRITY : 0) |		\
				 (IS_ENABLED(CONFIG_BLK_DEV_ZONED) ?	\
				  UBLK_F_ZONED : 0) |			\
				 UBLK_F_IO_DESC_SIZE)

/* What every device has, asked for or not, but see UBLK_F_BATCH_IO. */
#define UBLK_FEATURES_ALWAYS	(UBLK_F_URING_CMD_COMP_IN_TASK |	\
				 UBLK_F_CMD_IOCTL_ENCODE |		\
				 UBLK_F_PER_IO_DAEMON |			\
				 UBLK_F_BUF_REG_OFF_DAEMON |		\
				 UBLK_F_SAFE_STOP_DEV)

/* Any of them takes the data out of the driver's hands. */
#define UBLK_FEATURES_NO_COPY	(UBLK_F_USER_COPY |			\
				 UBLK_F_SUPPORT_ZERO_COPY |		\
				 UBLK_F_AUTO_BUF_REG)

#define UBLK_PARAM_TYPES	(UBLK_PARAM_TYPE_BASIC |		\
				 UBLK_PARAM_TYPE_DISCARD |		\
				 UBLK_PARAM_TYPE_DEVT |			\
				 UBLK_PARAM_TYPE_ZONED |		\
				 UBLK_PARAM_TYPE_DMA_ALIGN |		\
				 UBLK_PARAM_TYPE_SEGMENT |		\
				 UBLK_PARAM_TYPE_INTEGRITY)

struct ublk_batch;
struct ublk_device;
struct ublk_shmem;
struct ublk_shmem_run;

/**
 * enum ublk_end - how a request ends
 * @UBLK_END_ANSWERED:	by its server: a number of bytes, with a status; what is
 *			left goes through the queue again
 * @UBLK_END_UNDELIVERED: without its server, which has not heard of it
 * @UBLK_END_DELIVERED:	without its server, which may have carried it out
 * @UBLK_END_UNSETTLED: not settled yet: the data of the answer first has to be faulted in
 */
enum ublk_end {
	UBLK_END_ANSWERED,
	UBLK_END_UNDELIVERED,
	UBLK_END_DELIVERED,
	UBLK_END_UNSETTLED,
};

/**
 * enum ublk_mode - who moves the data of a request
 * @UBLK_MODE_COPY:	the driver, to and from the buffer that the server names
 *			(copy.c)
 * @UBLK_MODE_SERVER:	the server, by reading and writing ublkcN (ucopy.c) or by
 *			having pages registered with a ring (reg.c), whichever
 *			the device allows
 * @UBLK_MODE_AUTO:	likewise, but the pages are registered before the server
 *			hears of the request (reg.c)
 *
 * Except in copy mode, others than the driver use the memory of requests, so
 * slots have references.
 */
enum ublk_mode {
	UBLK_MODE_COPY,
	UBLK_MODE_SERVER,
	UBLK_MODE_AUTO,
};

/**
 * struct ublk_slot - one tag
 * @word:	state, session generation, references; only slot.h touches it
 * @len:	bytes of the request that the server was given; once it has
 *		answered, those that the answer is about
 * @cmd:	the server's command, while the driver holds one; batch mode has
 *		none per tag
 * @rq:		the request, from the submitter's claim until it is finished
 * @buf:	for the data of the next request: the server's address, or in
 *		UBLK_MODE_AUTO a &struct ublk_auto_buf_reg as one number
 * @task:	the task that fetched the tag and alone may commit it; a reference
 *		is held from FETCH to the end of the session. NULL in batch mode
 * @ring:	the ring of @cmd, or that the pages are registered with; to compare,
 *		never to follow
 * @next:	next slot of a chain handed to the same task
 * @pending:	the same place, while on ublk_queue::pending
 * @tag:	the tag
 * @op:		UBLK_IO_OP_* of @rq
 * @end:	how @rq ends, enum ublk_end
 * @status:	how, if it is answered
 * @lent:	UBLK_MODE_AUTO: the driver has registered the pages of @rq
 * @in_shmem:	the server has been told where in shared memory the data of @rq is
 * @shmem_index: in which buffer of it
 *
 * @word apart, a field is written by whoever moved the slot to UBLK_SLOT_BUSY. Others
 * write these:
 *  - the submitter: @next and @pending, until the chain is pushed;
 *  - who cancels an armed slot: @cmd; also the task work of a QUEUED one, even if a
 *    sweep has taken the slot;
 *  - the op that empties the slots: @task and @cmd.
 *
 * These may be read by others:
 *  - @cmd, @task and @ring, by the submitter and the task work of a QUEUED slot; they
 *    stay as they are, even if the slot is swept;
 *  - @rq, @len, @op and @in_shmem with a reference, or as the server's task in
 *    UBLK_SLOT_SERVER and UBLK_SLOT_NEED_DATA; also by the task work of a QUEUED slot,
 *    with @buf;
 *  - @rq, @end, @status and @len to finish the request, until its tag is used again;
 *  - @task by timeouts, @in_shmem and @shmem_index by UNREG_BUF, at any time, as they
 *    may be out of date.
 */
struct ublk_slot {
	atomic_t		word;
	u32			len;
	struct io_uring_cmd	*cmd;
	struct request		*rq;
	u64			buf;
	struct task_struct	*task;
	void			*ring;
	union {
		struct ublk_slot	*next;
		struct llist_node	pending;
	};
	u16			tag;
	u8			op;
	u8			end;
	blk_status_t		status;
	bool			lent : 1;
	bool			in_shmem : 1;
	u16			shmem_index;
} __aligned(64);

/**
 * struct ublk_rq_pdu - what is known of a request while it has no slot
 * @since:	jiffies when an unprivileged server first made it go through the
 *		queue again; on such a device, valid with RQF_DONTPREP
 */
struct ublk_rq_pdu {
	unsigned long		since;
};

/**
 * struct ublk_coalesce - requests that wait for others to wake the server with
 * @cpu:	where the server ran last, or -1
 * @nr:		number of requests that wait
 * @limit:	number of waiting requests at which they are pushed
 * @expired:	@nr when the timer last expired
 * @patience:	how many times in a row @limit has to be reached before it grows
 * @reached:	how many times it has been
 * @client:	task that sent the last request; only compared
 * @sleeps:	how often that task had slept by then
 * @waiting:	slots that wait; in batch mode their tags are in the FIFO
 * @timer:	has them pushed if the limit is not reached in time
 * @work:	pushes them for the timer, which runs in a hard interrupt
 */
struct ublk_coalesce {
	int			cpu;
	u8			nr;
	u8			limit;
	u8			expired;
	u16			patience;
	u16			reached;
	const void		*client;
	unsigned long		sleeps;
	struct llist_head	waiting;
	struct hrtimer		timer;
	struct work_struct	work;
};

/**
 * struct ublk_queue - one hardware queue
 * @armed_word:	the word of a slot that may be claimed; UBLK_GATE_CLOSED until
 *		every tag has been fetched and after the session is over. Written
 *		under device->lock
 * @q_id:	index of the hardware queue
 * @depth:	number of tags
 * @mode:	who moves the data
 * @get_data:	WRITEs are delivered in two steps (UBLK_F_NEED_GET_DATA)
 * @unprivileged: no copy waits for a fault (UBLK_F_UNPRIVILEGED_DEV)
 * @stride:	bytes from one descriptor to the next
 * @descs:	descriptors, vmalloc'ed, mapped read-only by the server; the
 *		driver never reads them
 * @slots:	one per tag; an allocation of their own, as 64 bytes times a usual depth
 *		are a power of two, which anything more would double
 * @dev:	the device
 * @batch:	tags and fetch commands of batch mode; NULL without it
 * @shmem:	memory shared with the server; NULL without UBLK_F_SHMEM_ZC
 * @shmem_hit:	where data was found last
 * @pending:	slots that wait for ->commit_rqs
 * @coalesce:	what becomes of a request that comes alone
 */
struct ublk_queue {
	u32			armed_word;
	u16			q_id;
	u16			depth;
	enum ublk_mode		mode;
	bool			get_data;
	bool			unprivileged;
	u32			stride;
	void			*descs;
	struct ublk_slot	*slots __counted_by_ptr(depth);
	struct ublk_device	*dev;
	struct ublk_batch	*batch;
	struct ublk_shmem	*shmem;

	struct llist_head	pending ____cacheline_aligned_in_smp;
	struct ublk_shmem_run __rcu *shmem_hit;
	struct ublk_coalesce	coalesce;
};

/**
 * enum ublk_unserved - what becomes of a request whose tag nobody serves
 * @UBLK_UNSERVED_FAIL:	it fails with an I/O error
 * @UBLK_UNSERVED_FAIL_TARGET: it fails with BLK_STS_TARGET (EREMOTEIO), so that a client
 *			can tell a lost server from a bad medium
 * @UBLK_UNSERVED_HOLD:	it waits for the next server
 */
enum ublk_unserved {
	UBLK_UNSERVED_FAIL,
	UBLK_UNSERVED_FAIL_TARGET,
	UBLK_UNSERVED_HOLD,
};

/**
 * enum ublk_session_state - how far a server is on its way out
 * @UBLK_SESSION_OPEN:		ublkcN is open; tags may be fetched and armed
 * @UBLK_SESSION_STOPPING:	the device was stopped or quiesced: what the server
 *				owns it may commit, but nothing is armed any more
 * @UBLK_SESSION_DEAD:		the server's process is gone, its files may not be
 * @UBLK_SESSION_RELEASED:	ublkcN was released: no command is left
 * @UBLK_SESSION_ENDED:		its slots are empty, the next open may come
 *
 * The state only grows.
 */
enum ublk_session_state {
	UBLK_SESSION_OPEN,
	UBLK_SESSION_STOPPING,
	UBLK_SESSION_DEAD,
	UBLK_SESSION_RELEASED,
	UBLK_SESSION_ENDED,
};

/**
 * struct ublk_op - one operation of the control plane
 * @node:	on ublk_device::ops until it begins
 * @ref:	one for the queue, one for the waiter
 * @run:	what it does; runs in ublk_op_wq and may wait for I/O of the disk
 * @free:	called with the last reference
 * @done:	completed when @run has returned
 * @must_run:	run even if the caller was interrupted and left, unless one of its
 *		kind is queued ahead of it
 * @urgent:	stops the device: an op that waits for the server gives way to it
 * @abandoned:	the caller was; under device->lock
 * @result:	what @run returned
 * @pid:	START_DEV, END_USER_RECOVERY: process that serves; a reference is held
 * @arg:	UPDATE_SIZE: new capacity, in units of 512 bytes; QUIESCE_DEV:
 *		when to give up, by ktime_get() in milliseconds
 */
struct ublk_op {
	struct list_head	node;
	struct kref		ref;
	int			(*run)(struct ublk_device *dev, struct ublk_op *op);
	void			(*free)(struct kref *ref);
	struct completion	done;
	bool			must_run;
	bool			urgent;
	bool			abandoned;
	int			result;
	struct pid		*pid;
	u64			arg;
};

/**
 * struct ublk_session - one open of ublkcN
 * @dev:	the device; a reference is held
 * @pid:	process that opened it; a reference is held
 * @io_tgid:	first process that fetched, in batch mode by FETCH_IO_CMDS; a
 *		reference is held. Death of the server means its death
 * @shared:	another process fetched or answered, so neither is the server
 * @mm:		who mapped the descriptors first; mmgrab'ed
 * @gen:	generation, part of every slot word of this session; may wrap, as slots
 *		are emptied between two sessions
 * @user_serves: a task without CAP_SYS_ADMIN fetched a tag
 * @state:	written under device->lock, read by everyone
 * @nr_ready:	queues with all tags fetched; under device->lock
 * @nr_fetched:	tags fetched, all queues; commands look at it without the lock
 * @dead_work:	sweeps the slots after UBLK_SESSION_DEAD
 * @release_work: sweeps the slots after UBLK_SESSION_RELEASED
 * @end_op:	empties the slots and takes the disk down, after @release_work; its @ref
 *		counts the references to the session
 * @rcu:	the timeout handler looks at a session without a reference
 * @fetched:	tags fetched, by queue
 */
struct ublk_session {
	struct ublk_device	*dev;
	struct pid		*pid;
	struct pid		*io_tgid;
	bool			shared;
	struct mm_struct	*mm;
	u8			gen;
	bool			user_serves;
	enum ublk_session_state	state;
	unsigned int		nr_ready;
	atomic_t		nr_fetched;
	struct rcu_work		dead_work;
	struct rcu_work		release_work;
	struct ublk_op		end_op;
	struct rcu_head		rcu;
	atomic_t		fetched[];
};

/**
 * struct ublk_tombstone - tells waiters that a device's id is free
 * @ref:	one for the device, one for each DEL_DEV or ADD_DEV that waits
 * @gone:	completed when the device is
 */
struct ublk_tombstone {
	struct kref		ref;
	struct completion	gone;
};

/**
 * struct ublk_device - one ublkcN/ublkbN pair
 * @dev:	node of ublkcN; holds the reference count
 * @cdev:	its character device
 * @id:		N; like @nr_queues and @flags a copy of what @info says, for the driver
 * @nr_queues:	hardware queues
 * @flags:	granted UBLK_F_* bits
 * @owner_uid:	who added the device; may open the disk if unprivileged
 * @owner_gid:	likewise
 * @info:	what ADD_DEV answered; state and pid are filled in when it is read
 * @tag_set:	blk-mq's
 * @queues:	the queues
 * @shmem:	memory shared with the server; NULL without UBLK_F_SHMEM_ZC
 * @unserved:	what becomes of requests that nobody serves; read in RCU read-side
 *		sections, written by ops
 * @tombstone:	completed by the release of the device
 * @lock:	protects the fields from @session to @ops_held
 * @session:	the server; RCU for the timeout handler
 * @disk:	the disk, while it is added; ops may read it without the lock, for only
 *		they change it, and so may @scan_work, which they cancel first
 * @disk_used:	a disk exists, or is about to: from START_DEV until the last opener
 *		of a removed disk has gone; see below
 * @deleted:	the device is on its way out: no session begins, no disk is added
 * @gen:	generation of the newest session
 * @nr_stops:	stops carried out so far; a wait for a server ends when this grows
 * @state:	UBLK_S_DEV_*; only ops write it, so they may read it without the lock
 * @server_pid:	who serves the disk, or did until it was lost; a reference is held
 * @params:	what SET_PARAMS stored
 * @ops:	ops that have not begun
 * @ops_held:	ADD_DEV has not returned, no op may begin
 * @wq:		who waits for the server to come, to stop or to die waits here
 * @ops_work:	runs @ops
 * @scan_work:	reads the partition table after START_DEV
 * @scanning:	@scan_work has not finished; TRY_STOP_DEV waits for it on @wq
 * @free_work:	frees what outlives the last reference
 * @no_opens:	TRY_STOP_DEV bans opens of the disk; under disk->open_mutex, but cleared
 *		before there is a disk to open
 *
 * Three fields tell how far the disk is:
 *
 * ========= ==== ======================= =========================================
 * disk_used disk state                   the disk
 * ========= ==== ======================= =========================================
 * false     NULL DEAD                    there is none
 * true      NULL LIVE                    START_DEV makes it
 * true      set  LIVE, QUIESCED, FAIL_IO is there
 * true      NULL DEAD                    was removed, but somebody has it open
 * ========= ==== ======================= =========================================
 */
struct ublk_device {
	struct device		dev;
	struct cdev		cdev;
	u32			id;
	u32			nr_queues;
	u64			flags;
	kuid_t			owner_uid;
	kgid_t			owner_gid;
	struct ublksrv_ctrl_dev_info info;
	struct blk_mq_tag_set	tag_set;
	struct ublk_queue	**queues;
	struct ublk_shmem	*shmem;
	enum ublk_unserved	unserved;
	struct ublk_tombstone	*tombstone;

	/* Leaf; process context; never held across a wait. */
	spinlock_t		lock;
	struct ublk_session __rcu *session;
	struct gendisk		*disk;
	bool			disk_used;
	bool			deleted;
	u8			gen;
	unsigned int		nr_stops;
	u8			state;
	struct pid		*server_pid;
	struct ublk_params	params;
	struct list_head	ops;
	bool			ops_held;

	wait_queue_head_t	wq;
	struct work_struct	ops_work;
	struct work_struct	scan_work;
	struct work_struct	free_work;
	bool			scanning;
	bool			no_opens;
};

static inline bool ublk_dev_has(const struct ublk_device *dev, u64 feature)
{
	return dev->flags & feature;
}

static inline struct ublksrv_io_desc *ublk_slot_desc(const struct ublk_queue *q,
						     const struct ublk_slot *slot)
{
	return q->descs + (size_t)slot->tag * q->stride;
}

/* Has the request memory that somebody has to fill or to read? */
static inline bool ublk_rq_has_data(const struct request *rq)
{
	return bio_has_data(rq->bio);
}

bool ublk_op_current(struct ublk_device *dev);

/* Under device->lock, or in an op: only an op takes a session away. */
static inline struct ublk_session *ublk_dev_session(struct ublk_device *dev)
{
	return rcu_dereference_protected(dev->session, lockdep_is_held(&dev->lock) ||
							ublk_op_current(dev));
}

/* May tags be fetched, armed and claimed? */
static inline bool ublk_session_is_open(const struct ublk_session *s)
{
	return READ_ONCE(s->state) == UBLK_SESSION_OPEN;
}

/* Is it encoded as a ublk command, or a raw number where those are taken? */
static inline bool ublk_cmd_is_ours(u32 cmd_op)
{
	if (_IOC_TYPE(cmd_op) == 'u')
		return true;
	return IS_ENABLED(CONFIG_BLKDEV_UBLK_LEGACY_OPCODES) && !_IOC_TYPE(cmd_op);
}

/*
 * How often waits look at what nobody announces: slots (QUIESCE_DEV, UNREG_BUF), and
 * ops that are queued behind a zone report.
 */
#define UBLK_POLL_JIFFIES	max(HZ / 100, 1)

/* Checked with CONFIG_BLK_DEV_UBLK_DEBUG; else it only documents. */
#define ublk_check(cond)						\
	((void)(IS_ENABLED(CONFIG_BLK_DEV_UBLK_DEBUG) && WARN_ON_ONCE(!(cond))))

/* ublk_drv.c */
extern struct workqueue_struct *ublk_op_wq;
extern struct workqueue_struct *ublk_sweep_wq;
extern struct miscdevice ublk_misc;

/* ctrl.c */
int ublk_ctrl_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* info.c */
int ublk_info_check(const struct ublksrv_ctrl_dev_info *info, u32 header_id,
		    bool privileged);
void ublk_info_grant(struct ublksrv_ctrl_dev_info *info, bool privileged);

/* dev.c */
extern unsigned int ublk_max_unprivileged;
int ublk_dev_register_class(void);
void ublk_dev_unregister_class(void);
int ublk_dev_add(struct ublksrv_ctrl_dev_info *info, u32 header_id, void __user *reply);
struct ublk_device *ublk_dev_find(u32 id);
int ublk_dev_delete(struct ublk_device *dev);
void ublk_dev_delete_all(void);
struct ublk_tombstone *ublk_tombstone_get(struct ublk_device *dev);
int ublk_tombstone_wait(struct ublk_tombstone *t);
void ublk_dev_get_info(struct ublk_device *dev, struct ublksrv_ctrl_dev_info *info);

/* disk.c */
int ublk_disk_start(struct ublk_device *dev, struct pid *pid);
int ublk_disk_stop(struct ublk_device *dev);
int ublk_disk_try_stop(struct ublk_device *dev);
int ublk_disk_resize(struct ublk_device *dev, u64 sectors);
void ublk_disk_take_down(struct ublk_device *dev);
void ublk_disk_remove(struct ublk_device *dev, bool served);
void ublk_disk_scan_work(struct work_struct *work);

/* quiesce.c */
int ublk_dev_quiesce(struct ublk_device *dev, u64 timeout_ms);

/* state.c */
void ublk_dev_set_state(struct ublk_device *dev, u8 state, struct pid *server);
enum ublk_unserved ublk_unserved_policy(const struct ublk_device *dev);
void ublk_unserved_apply(struct ublk_device *dev, enum ublk_unserved policy);
int ublk_server_check_pid(struct ublk_device *dev, struct pid *pid);
int ublk_server_check_ready(struct ublk_device *dev);
int ublk_server_wait(struct ublk_device *dev, struct pid *pid, unsigned int before);
bool ublk_server_lost(struct ublk_device *dev);
int ublk_recovery_start(struct ublk_device *dev);
int ublk_recovery_end(struct ublk_device *dev, struct pid *pid);

/* char.c */
extern const struct file_operations ublk_ch_fops;
extern const struct file_operations ublk_batch_fops;

/* session.c */
bool ublk_pid_is_gone(struct pid *pid);
bool ublk_pid_is_dying(struct pid *pid);
bool ublk_task_is_dying(struct task_struct *task);
struct ublk_session *ublk_session_alloc(struct ublk_device *dev);
void ublk_session_put(struct ublk_session *s);
int ublk_session_publish(struct ublk_session *s);
void ublk_session_retire(struct ublk_session *s);
bool ublk_session_advance(struct ublk_session *s, enum ublk_session_state to);
void ublk_session_pause(struct ublk_session *s);
void ublk_session_resume(struct ublk_session *s);
int ublk_session_fetch_slot(struct ublk_session *s, struct ublk_queue *q,
			    struct ublk_slot *slot, unsigned int taken);
void ublk_session_count_fetches(struct ublk_session *s, struct ublk_queue *q, int nr);
void ublk_session_note_process(struct ublk_session *s);
void ublk_session_note_user(struct ublk_session *s);

/* sweep.c */
void ublk_session_stop(struct ublk_session *s);
void ublk_session_sweep(struct ublk_session *s);
void ublk_session_reset(struct ublk_session *s);
enum blk_eh_timer_return ublk_mq_timeout(struct request *rq);

/* batch_cmd.c */
int ublk_batch_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* batch_fifo.c */
extern const struct blk_mq_ops ublk_batch_mq_ops;
struct ublk_batch *ublk_batch_alloc(unsigned int depth, int node);
void ublk_batch_reset(struct ublk_queue *q);
void ublk_batch_nudge(struct ublk_queue *q);
void ublk_batch_wake(struct ublk_queue *q);
bool ublk_batch_has_idle_fetch(const struct ublk_queue *q);
void ublk_batch_abort_idle(struct ublk_queue *q);

/* submit.c */
extern const struct blk_mq_ops ublk_mq_ops;

/* coalesce.c */
void ublk_coalesce_init(struct ublk_coalesce *c);
void ublk_coalesce_exit(struct ublk_coalesce *c);
void ublk_coalesce_flush(struct ublk_queue *q);

/* io.c */
int ublk_ch_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* ucopy.c */
ssize_t ublk_ch_rw(struct kiocb *iocb, struct iov_iter *iter);

/* integrity.c */
#ifdef CONFIG_BLK_DEV_INTEGRITY
int ublk_integrity_validate(const struct ublk_device *dev,
			    const struct ublk_params *params);
void ublk_integrity_limits(const struct ublk_param_integrity *p,
			   struct queue_limits *lim);
size_t ublk_integrity_bytes(const struct request *rq);
size_t ublk_integrity_copy(const struct request *rq, size_t skip,
			   struct iov_iter *iter);
bool ublk_integrity_update(struct request *rq, blk_status_t status,
			   unsigned int bytes);
#else
static inline int ublk_integrity_validate(const struct ublk_device *dev,
					  const struct ublk_params *params)
{
	return -EINVAL;
}

static inline void ublk_integrity_limits(const struct ublk_param_integrity *p,
					 struct queue_limits *lim)
{
}

static inline size_t ublk_integrity_bytes(const struct request *rq)
{
	return 0;
}

static inline size_t ublk_integrity_copy(const struct request *rq, size_t skip,
					 struct iov_iter *iter)
{
	return 0;
}

static inline bool ublk_integrity_update(struct request *rq, blk_status_t status,
					 unsigned int bytes)
{
	return false;
}
#endif

/* shmem.c */
struct ublk_shmem *ublk_shmem_alloc(void);
void ublk_shmem_free(struct ublk_shmem *sh);
int ublk_shmem_register(struct ublk_device *dev, void __user *arg, u32 len);
int ublk_shmem_unregister(struct ublk_device *dev, int index);
u64 ublk_shmem_match(struct ublk_queue *q, struct ublk_slot *slot);

/* params.c */
int ublk_params_validate(const struct ublk_device *dev, const struct ublk_params *p);
int ublk_params_set(struct ublk_device *dev, void __user *arg, u32 len);
int ublk_params_get(struct ublk_device *dev, void __user *arg, u32 len);
void ublk_params_to_limits(const struct ublk_device *dev, const struct ublk_params *p,
			   struct queue_limits *lim);

/* zoned.c */
#ifdef CONFIG_BLK_DEV_ZONED
int ublk_zoned_report(struct gendisk *disk, sector_t sector, unsigned int nr_zones,
		      struct blk_report_zones_args *args);
void ublk_zoned_describe(const struct request *rq, struct ublksrv_io_desc *desc);
bool ublk_zoned_take_append(struct request *rq, s32 result, u64 lba);
int ublk_zoned_validate(const struct ublk_device *dev, const struct ublk_params *params);
int ublk_zoned_prepare(struct gendisk *disk);
#else
#define ublk_zoned_report	NULL

static inline void ublk_zoned_describe(const struct request *rq,
				       struct ublksrv_io_desc *desc)
{
}

static inline bool ublk_zoned_take_append(struct request *rq, s32 result, u64 lba)
{
	return false;
}

static inline int ublk_zoned_validate(const struct ublk_device *dev,
				      const struct ublk_params *params)
{
	return -EOPNOTSUPP;
}

static inline int ublk_zoned_prepare(struct gendisk *disk)
{
	return 0;
}
#endif

/* op.c */
void ublk_op_init(struct ublk_op *op);
void ublk_op_post(struct ublk_device *dev, struct ublk_op *op);
int ublk_op_call(struct ublk_device *dev, const struct ublk_op *template);
void ublk_ops_work(struct work_struct *work);
void ublk_ops_release(struct ublk_device *dev);
bool ublk_op_is_unwanted(struct ublk_device *dev, const struct ublk_op *op);
bool ublk_dev_is_to_stop(struct ublk_device *dev);

#endif
