/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface between a ublk server and the ublk driver.
 *
 * A server is a process that acts as the disk behind a block device
 * /dev/ublkbN. It talks to the driver through two nodes, always with
 * IORING_OP_URING_CMD:
 *
 *   /dev/ublk-control  control commands: make, start, stop, delete a device
 *   /dev/ublkcN        I/O commands: take requests, give results; and mmap()
 *                      for the request descriptors
 *
 * The order of this file is the order of a device's life: control commands,
 * features, parameters, then what the server sees of every request.
 *
 * A name in this file says what a bit or a number means, not that the running
 * driver implements it: ask UBLK_U_CMD_GET_FEATURES.
 */
#ifndef USER_BLK_DRV_CMD_INC_H
#define USER_BLK_DRV_CMD_INC_H

#include <linux/types.h>

/**
 * DOC: control commands
 *
 * A control command is a 128-byte SQE (IORING_SETUP_SQE128, or
 * IORING_OP_URING_CMD128) on /dev/ublk-control. sqe->cmd_op holds the command,
 * sqe->cmd a &struct ublksrv_ctrl_cmd, read once. The CQE's res is 0 or a
 * positive answer, or a negative errno.
 *
 * Errors every command can give, in the order of the checks:
 *
 * ============ ==============================================================
 * -EAGAIN      the command may sleep and was issued nonblocking; io_uring
 *              retries it in a worker, so the server never sees this one
 * -EINVAL      the SQE is 64 bytes long
 * -EOPNOTSUPP  the command is encoded neither with type 'u' nor, where the
 *              driver takes the historical plain numbers, with type 0
 * -ENODEV      there is no device dev_id
 * -EPERM       the device is privileged and the caller lacks CAP_SYS_ADMIN in
 *              the initial user namespace
 * -EINVAL      the device is unprivileged (or the command is
 *              UBLK_U_CMD_GET_DEV_INFO2) and dev_path_len is 0, above 4096 or
 *              above len
 * -EFAULT      that path cannot be read; -ENOMEM; and what looking it up gives,
 *              -ENOENT for one
 * -EPERM       the path names something else than this device's /dev/ublkcN,
 *              one that was removed, or one on a mount without device nodes
 * -EACCES      the caller may not read that node, or, for a command that
 *              changes the device, not read and write it
 * -EOPNOTSUPP  there is no such command (-EINVAL on an unprivileged device)
 * -EINTR       a signal ended a wait; the comment of the command says what
 *              has happened by then
 * ============ ==============================================================
 *
 * UBLK_U_CMD_GET_FEATURES and UBLK_U_CMD_ADD_DEV concern no existing device and
 * skip the device and path checks. The comments below list what is specific to
 * a command. After the type only the number of an encoding counts, except for
 * UBLK_U_CMD_GET_FEATURES, which is compared whole.
 */

/*
 * Plain command numbers. A driver built with CONFIG_BLKDEV_UBLK_LEGACY_OPCODES
 * takes them as sqe->cmd_op; use the UBLK_U_CMD_* encodings in servers.
 */
#define UBLK_CMD_GET_QUEUE_AFFINITY	0x01
#define UBLK_CMD_GET_DEV_INFO		0x02
#define UBLK_CMD_ADD_DEV		0x04
#define UBLK_CMD_DEL_DEV		0x05
#define UBLK_CMD_START_DEV		0x06
#define UBLK_CMD_STOP_DEV		0x07
#define UBLK_CMD_SET_PARAMS		0x08
#define UBLK_CMD_GET_PARAMS		0x09
#define UBLK_CMD_START_USER_RECOVERY	0x10
#define UBLK_CMD_END_USER_RECOVERY	0x11
#define UBLK_CMD_GET_DEV_INFO2		0x12

/**
 * define UBLK_U_CMD_GET_QUEUE_AFFINITY - which CPUs feed a queue
 *
 * Input: data[0] = queue, addr/len = buffer for a CPU bitmap. The tail of the
 * buffer is zeroed. Works from UBLK_U_CMD_ADD_DEV on. Runs where it is
 * submitted, without a worker.
 *
 * Errors: -EINVAL for a buffer of fewer bits than the system has CPU ids, a
 * length that is no multiple of sizeof(long), addr 0, or no such queue;
 * -ENOMEM; -EFAULT.
 */
#define UBLK_U_CMD_GET_QUEUE_AFFINITY	\
	_IOR('u', UBLK_CMD_GET_QUEUE_AFFINITY, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_GET_DEV_INFO - read a device's description
 *
 * Input: addr/len = buffer for one &struct ublksrv_ctrl_dev_info; what lies
 * beyond the structure stays untouched. Any state. Runs where it is submitted,
 * without a worker.
 *
 * Errors: -EINVAL for a shorter buffer or addr 0; -EFAULT.
 */
#define UBLK_U_CMD_GET_DEV_INFO		\
	_IOR('u', UBLK_CMD_GET_DEV_INFO, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_ADD_DEV - make a device
 *
 * Input: queue_id = 0xffff, addr/len = a &struct ublksrv_ctrl_dev_info with
 * the wishes of the server, dev_id equal in both structures (0xffffffff: the
 * driver picks a free one). The granted values are written back: the id, flags,
 * queue count and buffer size may differ from the request, and a server must
 * read them. /dev/ublkcN appears; the device is UBLK_S_DEV_DEAD and has no
 * parameters yet.
 *
 * Errors, in order: -EINVAL for a short buffer or another queue_id; -EFAULT;
 * -EINVAL for a depth or queue count outside of 1 to 4096; -EPERM without
 * CAP_SYS_ADMIN, unless UBLK_F_UNPRIVILEGED_DEV is asked for; -EINVAL for
 * recovery flags that do not go together, for UBLK_F_QUIESCE without
 * UBLK_F_USER_RECOVERY, for a flag that an unprivileged device may not have,
 * for UBLK_F_INTEGRITY without UBLK_F_USER_COPY, for an io_desc_size out of
 * bounds, for an id that differs or is not below 2^20; -EACCES for an
 * unprivileged device above the limit (module parameter ublks_max); -EEXIST
 * for an id in use, also by a device whose deletion is not over; -ENOSPC
 * without a free id; -EINVAL for UBLK_F_ZONED without UBLK_F_USER_COPY or
 * UBLK_F_SUPPORT_ZERO_COPY; -ENOMEM, which can also come earlier, from before
 * -EEXIST on; -EFAULT for the answer, with the device removed again.
 */
#define UBLK_U_CMD_ADD_DEV		\
	_IOWR('u', UBLK_CMD_ADD_DEV, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_DEL_DEV - delete a device and wait until its id is free
 *
 * Stops the device as UBLK_U_CMD_STOP_DEV does, takes /dev/ublkcN away, then
 * waits for the last user: the server's open file, an opener of the disk.
 *
 * Errors: -EINTR when a signal ends the wait; the deletion goes on by itself.
 */
#define UBLK_U_CMD_DEL_DEV		\
	_IOWR('u', UBLK_CMD_DEL_DEV, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_START_DEV - make the disk appear
 *
 * Input: data[0] = pid of the server, in the low 32 bits; a process and not a
 * thread of it, in the caller's pid namespace. Waits until the server has
 * fetched every tag of every queue, then creates /dev/ublkbN with the
 * parameters that are stored by then. A failed start may be repeated: the
 * fetched tags stay fetched. After -EINTR it may still succeed.
 *
 * Errors, in order: -EINVAL for a pid <= 0 or of nobody, or with no basic
 * parameters set; -EINTR while waiting; -ENODEV when the wait cannot end any
 * more, because the server has died or the device is stopped or deleted without
 * one; -EINVAL when pid is not the process that opened /dev/ublkcN; -EEXIST
 * when live, or when an old disk still has users; -EBUSY when stopping;
 * -ENOMEM; errors of the block layer as they are.
 */
#define UBLK_U_CMD_START_DEV		\
	_IOWR('u', UBLK_CMD_START_DEV, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_STOP_DEV - take the disk away
 *
 * Removes /dev/ublkbN if there is one. With a living server, dirty data is
 * written and the requests in flight are finished by it; then every waiting
 * fetch command ends with UBLK_IO_RES_ABORT. To be started again, the device
 * must be closed and reopened by a server. Succeeds in every state.
 *
 * Errors: -EINTR when the caller is killed or its ring goes while it waits;
 * the stop goes on by itself.
 */
#define UBLK_U_CMD_STOP_DEV		\
	_IOWR('u', UBLK_CMD_STOP_DEV, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_SET_PARAMS - store the parameters of the next disk
 *
 * Input: addr/len = a &struct ublk_params, of which the first params.len bytes
 * are taken; what lies behind them keeps the value that is stored. Unknown bits
 * of params.types are dropped, params.len above the structure's size is cut.
 *
 * Errors, in order: -EINVAL for len <= 8 or addr 0; -EFAULT; -EINVAL for
 * params.len 0 or above len, or types 0; -EACCES while a disk exists, which
 * includes one that is only kept by an opener; -EFAULT, or -EINVAL for a value
 * out of bounds (-EOPNOTSUPP for zones on a kernel without them). The last two
 * clear everything stored before.
 */
#define UBLK_U_CMD_SET_PARAMS		\
	_IOWR('u', UBLK_CMD_SET_PARAMS, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_GET_PARAMS - read the stored parameters
 *
 * Input: addr/len as for UBLK_U_CMD_SET_PARAMS; params.len says how much to
 * return. Adds UBLK_PARAM_TYPE_DEVT with the device numbers. A server that
 * sends the answer back must clear that bit. Any state.
 *
 * Errors: -EINVAL for len <= 8, addr 0, params.len 0 or above len; -EFAULT.
 */
#define UBLK_U_CMD_GET_PARAMS		\
	_IOR('u', UBLK_CMD_GET_PARAMS, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_START_USER_RECOVERY - may a new server take over?
 *
 * Only asks; nothing changes. 0: the old server is gone, open /dev/ublkcN,
 * fetch every tag and send UBLK_U_CMD_END_USER_RECOVERY.
 *
 * Errors: -EINVAL without UBLK_F_USER_RECOVERY; -EBUSY while /dev/ublkcN is
 * open, or when the state is neither UBLK_S_DEV_QUIESCED nor
 * UBLK_S_DEV_FAIL_IO.
 */
#define UBLK_U_CMD_START_USER_RECOVERY	\
	_IOWR('u', UBLK_CMD_START_USER_RECOVERY, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_END_USER_RECOVERY - a new server has taken over
 *
 * Input: data[0] = pid of the new server, as for UBLK_U_CMD_START_DEV. Waits
 * until it has fetched every tag, makes the device live and sends it the
 * requests that were held.
 *
 * Errors, in order: -EINVAL for a pid <= 0 or of nobody, or without
 * UBLK_F_USER_RECOVERY; -EINTR while waiting; -ENODEV when the wait cannot end,
 * as for UBLK_U_CMD_START_DEV; -EINVAL when pid is not the process that opened
 * /dev/ublkcN; -EBUSY when the state is neither UBLK_S_DEV_QUIESCED nor
 * UBLK_S_DEV_FAIL_IO, or when stopping; -ENOMEM.
 */
#define UBLK_U_CMD_END_USER_RECOVERY	\
	_IOWR('u', UBLK_CMD_END_USER_RECOVERY, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_GET_DEV_INFO2 - UBLK_U_CMD_GET_DEV_INFO with a path
 *
 * For a caller that does not know whether the device is privileged: the path
 * of /dev/ublkcN comes first in the buffer in either case. Who may ask is as
 * for other commands.
 *
 * Errors: those of a path, then those of UBLK_U_CMD_GET_DEV_INFO.
 */
#define UBLK_U_CMD_GET_DEV_INFO2	\
	_IOR('u', UBLK_CMD_GET_DEV_INFO2, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_GET_FEATURES - which UBLK_F_* bits the driver implements
 *
 * Input: addr/len = buffer of exactly UBLK_FEATURES_LEN bytes for one __u64.
 * There is no second word. Bits of what the kernel was built without are not
 * set, see UBLK_F_INTEGRITY and UBLK_F_ZONED. Needs no device and no privilege.
 * Runs where it is submitted, without a worker.
 *
 * Errors: -EINVAL for another length or addr 0; -EFAULT. Number 0x13 in any
 * other encoding than this one is -EOPNOTSUPP, after the checks of the device.
 */
#define UBLK_U_CMD_GET_FEATURES		\
	_IOR('u', 0x13, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_DEL_DEV_ASYNC - delete a device without waiting
 *
 * As UBLK_U_CMD_DEL_DEV, but returns once the device is stopped and its node
 * is gone. The id may stay taken for a while.
 */
#define UBLK_U_CMD_DEL_DEV_ASYNC	\
	_IOR('u', 0x14, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_UPDATE_SIZE - give a disk another size
 *
 * Input: data[0] = new size in sectors of 512 bytes. Users of the disk hear
 * of it by a change uevent with RESIZE=1.
 *
 * Errors: -ENODEV without a disk; -EINVAL for a zoned device, size 0, a size
 * that is no multiple of the logical block, or one of 2^63 bytes or more;
 * -EINTR; -ENOMEM. After any of them but -EINTR the disk has its old size.
 */
#define UBLK_U_CMD_UPDATE_SIZE		\
	_IOWR('u', 0x15, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_QUIESCE_DEV - ask a living server to leave its device
 *
 * Input: data[0] = timeout in milliseconds, 0 for none. Waits until every
 * queue has a fetch command to answer, holds new requests, and ends all idle
 * fetch commands with UBLK_IO_RES_ABORT. The server finishes what it holds and
 * closes /dev/ublkcN; only then the state becomes UBLK_S_DEV_QUIESCED or
 * UBLK_S_DEV_FAIL_IO. An unprivileged device has no recovery: it becomes
 * UBLK_S_DEV_DEAD.
 *
 * Errors: -EOPNOTSUPP without UBLK_F_QUIESCE; -ENODEV without a disk; -EBUSY
 * when the time is up or another command needs its turn; -EINTR; -ENOMEM. After
 * any of them but -EINTR the device is as before. On an unprivileged device 30
 * seconds are the most, and what 0 stands for.
 *
 * A disk without a server stays as it is. If the next one has opened
 * /dev/ublkcN, it is asked to leave like one that serves: its idle fetch
 * commands end, more of them are -ENODEV, and its UBLK_U_CMD_END_USER_RECOVERY
 * is -EBUSY until it, or another, has opened /dev/ublkcN anew.
 */
#define UBLK_U_CMD_QUIESCE_DEV		\
	_IOWR('u', 0x16, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_TRY_STOP_DEV - stop a device that nobody uses
 *
 * Errors: -ENODEV without a disk; -EBUSY when the disk or a partition of it is
 * open. Otherwise opening is forbidden in the same step, until the next start,
 * and the device is stopped. -EINTR when the caller is killed or its ring goes
 * while it waits; the command goes on by itself.
 */
#define UBLK_U_CMD_TRY_STOP_DEV		\
	_IOWR('u', 0x17, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_REG_BUF - share memory of the caller with the device
 *
 * Input: addr/len = a &struct ublk_shmem_buf_reg (missing tail bytes count as
 * 0). Pins the pages of the caller. A request whose data lies in them is
 * delivered with UBLK_IO_F_SHMEM_ZC and not copied. The answer is the index of
 * the buffer, the lowest free one. Any state; the buffer lives until
 * UBLK_U_CMD_UNREG_BUF or the end of the device, whatever becomes of servers.
 *
 * Errors: -EOPNOTSUPP without UBLK_F_SHMEM_ZC; -EFAULT; -EINVAL for unknown
 * flags, reserved bits, a length of 0 or above 4 GiB, or values off the page;
 * -ENOMEM, also above RLIMIT_MEMLOCK without CAP_IPC_LOCK; what pinning the
 * first pages gives, such as -EFAULT, and -EFAULT for later ones; -ENOSPC with
 * 65536 buffers in place; -EEXIST for a page that is registered already, or
 * twice in this buffer; -EINTR. After an error nothing is kept.
 */
#define UBLK_U_CMD_REG_BUF		\
	_IOWR('u', 0x18, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_U_CMD_UNREG_BUF - take back memory shared by UBLK_U_CMD_REG_BUF
 *
 * Input: data[0] = index, in the low 32 bits; the others are not looked at.
 * Requests that come from then on are not found in the buffer. The answer comes
 * when the server has none in its hands that was.
 *
 * Errors: -EOPNOTSUPP without UBLK_F_SHMEM_ZC; -EINVAL for an index above
 * 65535; -ENOENT for one that is not in use; -EINTR, while the server still has
 * such requests: the memory is free, and the same command again frees the
 * index.
 */
#define UBLK_U_CMD_UNREG_BUF		\
	_IOWR('u', 0x19, struct ublksrv_ctrl_cmd)

/**
 * define UBLK_FEATURES_LEN - bytes of UBLK_U_CMD_GET_FEATURES's answer
 */
#define UBLK_FEATURES_LEN  8

/**
 * struct ublksrv_ctrl_cmd - argument of every control command, in sqe->cmd
 * @dev_id: device, the N of /dev/ublkcN
 * @queue_id: 0xffff for UBLK_U_CMD_ADD_DEV, not looked at by other commands
 * @len: bytes at @addr, the path included
 * @addr: user buffer of the command
 * @data: one number, where the command takes one
 * @dev_path_len: bytes, final NUL included, of the path of /dev/ublkcN that
 *	precede the payload at @addr; used for an unprivileged device and for
 *	UBLK_U_CMD_GET_DEV_INFO2, else ignored
 * @pad: not looked at
 * @reserved: not looked at
 */
struct ublksrv_ctrl_cmd {
	__u32	dev_id;
	__u16	queue_id;
	__u16	len;
	__u64	addr;
	__u64	data[1];
	__u16	dev_path_len;
	__u16	pad;
	__u32	reserved;
};

/**
 * struct ublksrv_ctrl_dev_info - description of a device
 * @nr_hw_queues: queues, 1 to 4096; granted at most one per CPU id
 * @queue_depth: tags of each queue, 1 to 4096
 * @state: one of UBLK_S_DEV_*; ignored by UBLK_U_CMD_ADD_DEV
 * @io_desc_size: bytes from one request descriptor to the next, a multiple of
 *	8 from 24 to 256; 24 unless UBLK_F_IO_DESC_SIZE is set
 * @max_io_buf_bytes: the largest request in bytes, rounded down to a page
 * @dev_id: device, the N of /dev/ublkcN; 0xffffffff asks for any
 * @ublksrv_pid: pid of the server named at the last UBLK_U_CMD_START_DEV or
 *	UBLK_U_CMD_END_USER_RECOVERY, as the reader's pid namespace sees it; -1
 *	without one, when it is dead, or when the reader cannot see it. Ignored
 *	by UBLK_U_CMD_ADD_DEV
 * @pad1: kept and returned, never looked at
 * @flags: UBLK_F_* bits: asked for, then granted
 * @ublksrv_flags: belongs to the server; kept and returned, never looked at
 * @owner_uid: real user id of who made the device, as the initial user namespace
 *	sees it; written by the driver
 * @owner_gid: real group id of the same
 * @reserved1: kept and returned, never looked at
 * @reserved2: kept and returned, never looked at
 */
struct ublksrv_ctrl_dev_info {
	__u16	nr_hw_queues;
	__u16	queue_depth;
	__u16	state;
	__u16	io_desc_size;
	__u32	max_io_buf_bytes;
	__u32	dev_id;
	__s32	ublksrv_pid;
	__u32	pad1;
	__u64	flags;
	__u64	ublksrv_flags;
	__u32	owner_uid;
	__u32	owner_gid;
	__u64	reserved1;
	__u64	reserved2;
};

/**
 * define UBLK_S_DEV_DEAD - state of a device without a disk
 *
 * After UBLK_U_CMD_ADD_DEV, after a stop, and after the death of a server whose
 * device is not recoverable.
 */
#define UBLK_S_DEV_DEAD		0

/**
 * define UBLK_S_DEV_LIVE - state of a device whose server serves the disk
 */
#define UBLK_S_DEV_LIVE		1

/**
 * define UBLK_S_DEV_QUIESCED - state of a disk without a server, I/O waits
 */
#define UBLK_S_DEV_QUIESCED	2

/**
 * define UBLK_S_DEV_FAIL_IO - state of a disk without a server, I/O fails
 */
#define UBLK_S_DEV_FAIL_IO	3

/**
 * struct ublk_shmem_buf_reg - memory to share, for UBLK_U_CMD_REG_BUF
 * @addr: start in the caller's address space, page aligned
 * @len: bytes, whole pages, at most 4 GiB
 * @flags: UBLK_SHMEM_BUF_READ_ONLY or 0
 * @reserved: must be 0
 */
struct ublk_shmem_buf_reg {
	__u64	addr;
	__u64	len;
	__u32	flags;
	__u32	reserved;
};

/**
 * define UBLK_SHMEM_BUF_READ_ONLY - the server only reads this memory
 *
 * It then serves WRITE and ZONE_APPEND requests alone, and may be mapped
 * read-only.
 */
#define UBLK_SHMEM_BUF_READ_ONLY	(1U << 0)

/**
 * DOC: features
 *
 * UBLK_F_* bits are asked for in &struct ublksrv_ctrl_dev_info.flags of
 * UBLK_U_CMD_ADD_DEV. The driver clears what it does not know or does not
 * grant, sets what holds for all its devices, and returns the result: those
 * are the features of this device for its whole life. Unless one of
 * UBLK_F_USER_COPY, UBLK_F_SUPPORT_ZERO_COPY and UBLK_F_AUTO_BUF_REG is set,
 * the device is in copy mode: the driver copies data to and from the buffer
 * that the server names for each tag.
 */

/**
 * define UBLK_F_SUPPORT_ZERO_COPY - lend request pages to the server's rings
 *
 * Enables UBLK_U_IO_REGISTER_IO_BUF and UBLK_U_IO_UNREGISTER_IO_BUF: the pages
 * become a fixed buffer of an io_uring, for I/O of that ring, and are never
 * mapped into the server. Not for unprivileged devices, as a server could
 * leave the pages unfilled and so hand out stale kernel memory.
 */
#define UBLK_F_SUPPORT_ZERO_COPY	(1ULL << 0)

/**
 * define UBLK_F_URING_CMD_COMP_IN_TASK - commands complete in the task's context
 *
 * Describes the driver; set on every device.
 */
#define UBLK_F_URING_CMD_COMP_IN_TASK	(1ULL << 1)

/**
 * define UBLK_F_NEED_GET_DATA - ask the server for a buffer for each WRITE
 *
 * A WRITE is announced by UBLK_IO_RES_NEED_GET_DATA; the server names a buffer
 * with UBLK_U_IO_NEED_GET_DATA and gets the data then. Copy mode only: not
 * granted together with another mode or with UBLK_F_BATCH_IO.
 */
#define UBLK_F_NEED_GET_DATA		(1UL << 2)

/**
 * define UBLK_F_USER_RECOVERY - the disk outlives its server
 *
 * When the server goes, requests it has seen fail, all others wait for the
 * next server. Not granted to unprivileged devices.
 */
#define UBLK_F_USER_RECOVERY		(1UL << 3)

/**
 * define UBLK_F_USER_RECOVERY_REISSUE - requests outlive the server, too
 *
 * With UBLK_F_USER_RECOVERY: requests that the old server has seen and not
 * answered go to the next one. Its backend must not mind doing them twice. Not
 * granted to unprivileged devices.
 */
#define UBLK_F_USER_RECOVERY_REISSUE	(1UL << 4)

/**
 * define UBLK_F_UNPRIVILEGED_DEV - a device of an ordinary user
 *
 * The right to open /dev/ublkcN, proven by its path with each control command,
 * takes the place of CAP_SYS_ADMIN. The disk opens for its owner and for
 * administrators. udev rules must hand the nodes to owner_uid and owner_gid.
 * Dropped without notice when the caller has CAP_SYS_ADMIN.
 */
#define UBLK_F_UNPRIVILEGED_DEV		(1UL << 5)

/**
 * define UBLK_F_CMD_IOCTL_ENCODE - UBLK_U_* encodings are understood
 *
 * Describes the driver; set on every device.
 */
#define UBLK_F_CMD_IOCTL_ENCODE		(1UL << 6)

/**
 * define UBLK_F_USER_COPY - the server copies data by pread() and pwrite()
 *
 * Positions in /dev/ublkcN name a byte of a request, see
 * UBLKSRV_IO_BUF_OFFSET. Not for unprivileged devices.
 */
#define UBLK_F_USER_COPY		(1UL << 7)

/**
 * define UBLK_F_ZONED - a zoned disk
 *
 * Needs UBLK_F_USER_COPY or UBLK_F_SUPPORT_ZERO_COPY, UBLK_PARAM_TYPE_ZONED,
 * and a kernel with CONFIG_BLK_DEV_ZONED.
 */
#define UBLK_F_ZONED			(1ULL << 8)

/**
 * define UBLK_F_USER_RECOVERY_FAIL_IO - without a server, I/O fails
 *
 * With UBLK_F_USER_RECOVERY: the disk stays, but requests fail until the next
 * server has taken over, those the old server held included.
 */
#define UBLK_F_USER_RECOVERY_FAIL_IO	(1ULL << 9)

/**
 * define UBLK_F_UPDATE_SIZE - UBLK_U_CMD_UPDATE_SIZE is understood
 */
#define UBLK_F_UPDATE_SIZE		(1ULL << 10)

/**
 * define UBLK_F_AUTO_BUF_REG - lend request pages without a command
 *
 * The driver registers the pages of each request as a fixed buffer of the ring
 * of its fetch command before the server sees the request, and takes them back
 * when the request is committed on the same ring. The index comes with the
 * fetch, as a &struct ublk_auto_buf_reg in sqe->addr. A server that commits on
 * another ring must unregister the buffer itself. Not for unprivileged devices.
 */
#define UBLK_F_AUTO_BUF_REG		(1ULL << 11)

/**
 * define UBLK_F_QUIESCE - UBLK_U_CMD_QUIESCE_DEV is understood
 *
 * Has to be asked for together with UBLK_F_USER_RECOVERY.
 */
#define UBLK_F_QUIESCE			(1ULL << 12)

/**
 * define UBLK_F_PER_IO_DAEMON - each tag may have a task of its own
 *
 * Where a driver lacks it, one task must fetch all tags of a queue. Describes
 * the driver; set on every device but those of UBLK_F_BATCH_IO, whose tags have
 * no task.
 */
#define UBLK_F_PER_IO_DAEMON		(1ULL << 13)

/**
 * define UBLK_F_BUF_REG_OFF_DAEMON - any task may lend and take back pages
 *
 * UBLK_U_IO_REGISTER_IO_BUF and UBLK_U_IO_UNREGISTER_IO_BUF then need not come
 * from the task of the tag, and the second looks at the index alone. Describes
 * the driver; set on every device.
 */
#define UBLK_F_BUF_REG_OFF_DAEMON	(1ULL << 14)

/**
 * define UBLK_F_BATCH_IO - many tags per command
 *
 * UBLK_U_IO_PREP_IO_CMDS, UBLK_U_IO_COMMIT_IO_CMDS and UBLK_U_IO_FETCH_IO_CMDS
 * replace UBLK_U_IO_FETCH_REQ, UBLK_U_IO_COMMIT_AND_FETCH_REQ and
 * UBLK_U_IO_NEED_GET_DATA, which then give -EOPNOTSUPP.
 */
#define UBLK_F_BATCH_IO			(1ULL << 15)

/**
 * define UBLK_F_INTEGRITY - requests may carry metadata
 *
 * Needs UBLK_F_USER_COPY: metadata is read and written with
 * UBLKSRV_IO_INTEGRITY_FLAG in the position. UBLK_PARAM_TYPE_INTEGRITY
 * describes its format. Needs CONFIG_BLK_DEV_INTEGRITY.
 */
#define UBLK_F_INTEGRITY		(1ULL << 16)

/**
 * define UBLK_F_SAFE_STOP_DEV - UBLK_U_CMD_TRY_STOP_DEV is understood
 *
 * Describes the driver; set on every device.
 */
#define UBLK_F_SAFE_STOP_DEV		(1ULL << 17)

/**
 * define UBLK_F_NO_AUTO_PART_SCAN - do not look for partitions at the start
 *
 * Partitions still appear when somebody asks for them (BLKRRPART).
 */
#define UBLK_F_NO_AUTO_PART_SCAN	(1ULL << 18)

/**
 * define UBLK_F_SHMEM_ZC - no copy for data in memory shared with the server
 *
 * Enables UBLK_U_CMD_REG_BUF and UBLK_U_CMD_UNREG_BUF. Goes with every mode;
 * data elsewhere takes the way of that mode.
 */
#define UBLK_F_SHMEM_ZC			(1ULL << 19)

/**
 * define UBLK_F_IO_DESC_SIZE - the server chooses the descriptors' distance
 *
 * The size comes in &struct ublksrv_ctrl_dev_info.io_desc_size. The bytes after
 * &struct ublksrv_io_desc read as 0.
 */
#define UBLK_F_IO_DESC_SIZE		(1ULL << 20)

/**
 * DOC: parameters
 *
 * &struct ublk_params holds what the next disk looks like. Each block of it
 * counts only when its UBLK_PARAM_TYPE_* bit is set; basic is mandatory.
 * Lengths in sectors are in units of 512 bytes, shifts are powers of two in
 * bytes. Every block that is present is checked when it is set, and what the
 * block layer rejects in addition fails the start.
 */

/**
 * define UBLK_ATTR_READ_ONLY - the disk starts out read-only
 */
#define UBLK_ATTR_READ_ONLY		(1 << 0)

/**
 * define UBLK_ATTR_ROTATIONAL - the disk is slow at seeking
 */
#define UBLK_ATTR_ROTATIONAL		(1 << 1)

/**
 * define UBLK_ATTR_VOLATILE_CACHE - a finished WRITE may be lost with the power
 *
 * The server then gets UBLK_IO_OP_FLUSH, and must bring to stable storage what
 * was written before.
 */
#define UBLK_ATTR_VOLATILE_CACHE	(1 << 2)

/**
 * define UBLK_ATTR_FUA - the server honours UBLK_IO_F_FUA
 *
 * Counts only with UBLK_ATTR_VOLATILE_CACHE. Without it the block layer sends
 * a flush after such a WRITE.
 */
#define UBLK_ATTR_FUA			(1 << 3)

/**
 * struct ublk_param_basic - size and shape of the disk
 * @attrs: UBLK_ATTR_* bits
 * @logical_bs_shift: logical block, 9 to the shift of a page, not above
 *	@physical_bs_shift
 * @physical_bs_shift: physical block, at most 28
 * @io_opt_shift: preferred size of a request, at most 28
 * @io_min_shift: smallest efficient size of a request, at most 28
 * @max_sectors: largest request, from one page to max_io_buf_bytes
 * @chunk_sectors: no request crosses a multiple of this; 0 for no such border.
 *	The zone size of a zoned disk, a power of two
 * @dev_sectors: size of the disk, whole logical blocks; may be 0
 * @virt_boundary_mask: one less than a power of two: data segments start and
 *	end on that boundary in memory; 0 for no rule
 */
struct ublk_param_basic {
	__u32	attrs;
	__u8	logical_bs_shift;
	__u8	physical_bs_shift;
	__u8	io_opt_shift;
	__u8	io_min_shift;
	__u32	max_sectors;
	__u32	chunk_sectors;
	__u64	dev_sectors;
	__u64	virt_boundary_mask;
};

/**
 * struct ublk_param_discard - DISCARD and WRITE_ZEROES
 * @discard_alignment: bytes from the start of the disk to its first unit
 * @discard_granularity: bytes of a unit, not 0
 * @max_discard_sectors: largest DISCARD; 0 for none
 * @max_write_zeroes_sectors: largest WRITE_ZEROES; 0 for none
 * @max_discard_segments: 1 when @max_discard_sectors is set
 * @reserved0: not looked at
 *
 * Without this block the disk knows neither operation.
 */
struct ublk_param_discard {
	__u32	discard_alignment;
	__u32	discard_granularity;
	__u32	max_discard_sectors;
	__u32	max_write_zeroes_sectors;
	__u16	max_discard_segments;
	__u16	reserved0;
};

/**
 * struct ublk_param_devt - device numbers, filled by UBLK_U_CMD_GET_PARAMS
 * @char_major: of /dev/ublkcN
 * @char_minor: of /dev/ublkcN
 * @disk_major: of /dev/ublkbN, 0 without a disk
 * @disk_minor: of /dev/ublkbN, 0 without a disk
 */
struct ublk_param_devt {
	__u32	char_major;
	__u32	char_minor;
	__u32	disk_major;
	__u32	disk_minor;
};

/**
 * struct ublk_param_zoned - a zoned disk
 * @max_open_zones: at most the number of zones; 0 for no limit
 * @max_active_zones: at most the number of zones; 0 for no limit
 * @max_zone_append_sectors: largest ZONE_APPEND, not 0
 * @reserved: not looked at
 */
struct ublk_param_zoned {
	__u32	max_open_zones;
	__u32	max_active_zones;
	__u32	max_zone_append_sectors;
	__u8	reserved[20];
};

/**
 * struct ublk_param_dma_align - where data may start in memory
 * @alignment: one less than a power of two, below the size of a page; data of a
 *	request starts at a multiple of that power. 0 counts as 511; without
 *	this block it is 3
 * @pad: not looked at
 */
struct ublk_param_dma_align {
	__u32	alignment;
	__u8	pad[4];
};

/**
 * define UBLK_MIN_SEGMENT_SIZE - smallest limits of &struct ublk_param_segment
 */
#define UBLK_MIN_SEGMENT_SIZE	4096

/**
 * struct ublk_param_segment - how the data of a request may be scattered
 * @seg_boundary_mask: one less than a power of two of at least
 *	UBLK_MIN_SEGMENT_SIZE; no segment crosses such a boundary in memory
 * @max_segment_size: bytes, at least UBLK_MIN_SEGMENT_SIZE
 * @max_segments: segments of a request; 0 counts as 128
 * @pad: not looked at
 */
struct ublk_param_segment {
	__u64	seg_boundary_mask;
	__u32	max_segment_size;
	__u16	max_segments;
	__u8	pad[2];
};

/**
 * struct ublk_param_integrity - format of a request's metadata
 * @flags: LBMD_PI_CAP_INTEGRITY and LBMD_PI_CAP_REFTAG of linux/fs.h
 * @max_integrity_segments: segments of metadata in a request; 0 for no limit
 * @interval_exp: data bytes that one tuple covers, 9 to the logical block's
 *	shift
 * @metadata_size: bytes of metadata per interval, not 0
 * @pi_offset: of the protection tuple in the metadata; the tuple must fit
 * @csum_type: LBMD_PI_CSUM_* of linux/fs.h; not NONE with LBMD_PI_CAP_REFTAG
 * @tag_size: bytes of the application tag
 * @pad: not looked at
 */
struct ublk_param_integrity {
	__u32	flags;
	__u16	max_integrity_segments;
	__u8	interval_exp;
	__u8	metadata_size;
	__u8	pi_offset;
	__u8	csum_type;
	__u8	tag_size;
	__u8	pad[5];
};

/**
 * define UBLK_PARAM_TYPE_BASIC - &struct ublk_param_basic is present
 */
#define UBLK_PARAM_TYPE_BASIC		(1 << 0)

/**
 * define UBLK_PARAM_TYPE_DISCARD - &struct ublk_param_discard is present
 */
#define UBLK_PARAM_TYPE_DISCARD		(1 << 1)

/**
 * define UBLK_PARAM_TYPE_DEVT - &struct ublk_param_devt is present
 *
 * In answers only: UBLK_U_CMD_SET_PARAMS rejects it.
 */
#define UBLK_PARAM_TYPE_DEVT		(1 << 2)

/**
 * define UBLK_PARAM_TYPE_ZONED - &struct ublk_param_zoned is present
 *
 * Present if and only if the device has UBLK_F_ZONED.
 */
#define UBLK_PARAM_TYPE_ZONED		(1 << 3)

/**
 * define UBLK_PARAM_TYPE_DMA_ALIGN - &struct ublk_param_dma_align is present
 */
#define UBLK_PARAM_TYPE_DMA_ALIGN	(1 << 4)

/**
 * define UBLK_PARAM_TYPE_SEGMENT - &struct ublk_param_segment is present
 */
#define UBLK_PARAM_TYPE_SEGMENT		(1 << 5)

/**
 * define UBLK_PARAM_TYPE_INTEGRITY - &struct ublk_param_integrity is present
 *
 * Needs UBLK_F_INTEGRITY.
 */
#define UBLK_PARAM_TYPE_INTEGRITY	(1 << 6)

/**
 * struct ublk_params - everything about the next disk
 * @len: bytes of this structure that the caller knows
 * @types: UBLK_PARAM_TYPE_* bits of the blocks that count
 * @basic: mandatory
 * @discard: for UBLK_PARAM_TYPE_DISCARD
 * @devt: for UBLK_PARAM_TYPE_DEVT
 * @zoned: for UBLK_PARAM_TYPE_ZONED
 * @dma: for UBLK_PARAM_TYPE_DMA_ALIGN
 * @seg: for UBLK_PARAM_TYPE_SEGMENT
 * @integrity: for UBLK_PARAM_TYPE_INTEGRITY
 */
struct ublk_params {
	__u32	len;
	__u32	types;
	struct ublk_param_basic		basic;
	struct ublk_param_discard	discard;
	struct ublk_param_devt		devt;
	struct ublk_param_zoned		zoned;
	struct ublk_param_dma_align	dma;
	struct ublk_param_segment	seg;
	struct ublk_param_integrity	integrity;
};

/**
 * DOC: I/O commands
 *
 * I/O commands are sent on an open /dev/ublkcN, on rings of any kind. All but
 * the batch commands carry a &struct ublksrv_io_cmd in sqe->cmd and concern one
 * tag of one queue. A fetch waits until a request uses its tag; then its CQE
 * tells the server to read the descriptor of the tag (UBLKSRV_CMD_BUF_OFFSET)
 * and to work. Tag t of queue q is tag t of the disk's hardware queue q.
 *
 * Errors every command of one tag can give, in the order of the checks:
 *
 * ============ ==============================================================
 * -EOPNOTSUPP  neither type 'u' nor, where the driver takes plain numbers,
 *              type 0; in batch mode, after the next check
 * -EINVAL      no such queue or tag
 * -EOPNOTSUPP  the device is in batch mode, except for
 *              UBLK_U_IO_REGISTER_IO_BUF
 * -EBUSY       no such command, if it comes from the task of the tag while the
 *              server has no request; else -EINVAL
 * ============ ==============================================================
 *
 * UBLK_U_IO_UNREGISTER_IO_BUF looks at neither queue nor tag. An error of a
 * command completes no request and leaves the tag as it is.
 */

/*
 * Plain command numbers. A driver built with CONFIG_BLKDEV_UBLK_LEGACY_OPCODES
 * takes them as sqe->cmd_op; use the UBLK_U_IO_* encodings in servers.
 */
#define UBLK_IO_FETCH_REQ		0x20
#define UBLK_IO_COMMIT_AND_FETCH_REQ	0x21
#define UBLK_IO_NEED_GET_DATA		0x22

/**
 * define UBLK_U_IO_FETCH_REQ - offer a tag for the first time
 *
 * Input: addr = buffer of the tag in copy mode, else 0. The sending task
 * becomes the task of this tag: only it may commit. Each tag is fetched once
 * between opening and closing /dev/ublkcN. Stays pending until a request
 * comes, or until the device or the ring goes.
 *
 * Errors, in order: -EINVAL for addr 0 in copy mode without
 * UBLK_F_NEED_GET_DATA, for addr set in another mode, or for a bad
 * &struct ublk_auto_buf_reg; -ENODEV when the device is stopping; -EBUSY when
 * all tags are fetched; -EINVAL when this one is.
 */
#define UBLK_U_IO_FETCH_REQ		\
	_IOWR('u', UBLK_IO_FETCH_REQ, struct ublksrv_io_cmd)

/**
 * define UBLK_U_IO_COMMIT_AND_FETCH_REQ - answer a request, offer its tag again
 *
 * Input: result = bytes done or a negative errno, addr = buffer of the tag for
 * this READ's data and for the next request, in copy mode. A result between 0
 * and the length of a READ or WRITE completes that part and sends the rest
 * again; it must be whole logical blocks. A READ that gives 0, and any result
 * above the length, is an I/O error; a WRITE that gives 0 counts as done. A
 * ZONE_APPEND is done with 0 or all bytes, if zone_append_lba is a place in its
 * zone with room for them; else it is an I/O error. Any other request is done
 * with 0 or more.
 *
 * Errors, in order: -EINVAL when another task fetched the tag; -EBUSY when the
 * server has no request to answer; -EINVAL while UBLK_U_IO_NEED_GET_DATA is
 * due, for addr 0 in copy mode (with UBLK_F_NEED_GET_DATA only for a READ), for
 * addr set in another mode (but see zone_append_lba), or for a bad
 * &struct ublk_auto_buf_reg.
 */
#define UBLK_U_IO_COMMIT_AND_FETCH_REQ	\
	_IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, struct ublksrv_io_cmd)

/**
 * define UBLK_U_IO_NEED_GET_DATA - name the buffer of a WRITE, get its data
 *
 * Input: addr = buffer. Due after UBLK_IO_RES_NEED_GET_DATA, and only then.
 * Completes with UBLK_IO_RES_OK when the data is there. A buffer to which
 * nothing can be copied is no error: the command stays pending, and the WRITE
 * is announced again.
 *
 * Errors, in order: -EINVAL when another task fetched the tag; -EBUSY when the
 * server has no request; -EINVAL when no data is due.
 */
#define UBLK_U_IO_NEED_GET_DATA		\
	_IOWR('u', UBLK_IO_NEED_GET_DATA, struct ublksrv_io_cmd)

/**
 * define UBLK_U_IO_REGISTER_IO_BUF - lend a request's pages to a ring
 *
 * Input: addr = index in the buffer table of the ring that this command is
 * sent on. The request ends when it is committed and every registration of it
 * is gone.
 *
 * Errors: -EBUSY for the task of the tag when the server has no request,
 * -EINVAL for another task; -EINVAL without UBLK_F_SUPPORT_ZERO_COPY, for a
 * request without data, or for an index outside of the table; -EBUSY for an
 * index in use; -ENOMEM.
 */
#define UBLK_U_IO_REGISTER_IO_BUF	\
	_IOWR('u', 0x23, struct ublksrv_io_cmd)

/**
 * define UBLK_U_IO_UNREGISTER_IO_BUF - take a request's pages back from a ring
 *
 * Input: addr = index. Queue and tag are not looked at.
 *
 * Errors: -EINVAL without UBLK_F_SUPPORT_ZERO_COPY, or for an index that is
 * empty or outside of the table; -EBUSY when the index holds memory of the
 * user.
 */
#define UBLK_U_IO_UNREGISTER_IO_BUF	\
	_IOWR('u', 0x24, struct ublksrv_io_cmd)

/**
 * define UBLK_U_IO_PREP_IO_CMDS - offer many tags for the first time
 *
 * Input: a &struct ublk_batch_io in sqe->cmd, its elements at sqe->addr. All
 * tags are taken, or none. From any task.
 *
 * Errors, in order: -EINVAL for the queue; -E2BIG for more elements than tags;
 * -EINVAL for flags or element size; -ENOMEM; -EFAULT; then, element by
 * element, -EINVAL for a tag that does not exist or a missing buffer; -ENODEV
 * when the device is stopping; -EBUSY when all tags are offered; -EINVAL when
 * this one is.
 */
#define UBLK_U_IO_PREP_IO_CMDS		\
	_IOWR('u', 0x25, struct ublk_batch_io)

/**
 * define UBLK_U_IO_COMMIT_IO_CMDS - answer many requests
 *
 * Input: as UBLK_U_IO_PREP_IO_CMDS. Works through the elements in order up to
 * the first bad one. The CQE's res is the number of payload bytes used up; the
 * rest has to be sent again. From any task.
 *
 * Errors, in order: as UBLK_U_IO_PREP_IO_CMDS up to the element size; then,
 * when it is the first element that is bad, -EFAULT; -EINVAL for a tag that
 * does not exist or a missing buffer; -EBUSY for a tag without a request.
 */
#define UBLK_U_IO_COMMIT_IO_CMDS	\
	_IOWR('u', 0x26, struct ublk_batch_io)

/**
 * define UBLK_U_IO_FETCH_IO_CMDS - receive the tags of new requests
 *
 * A multishot command (IORING_URING_CMD_MULTISHOT) with a buffer group. Each
 * CQE has put tags, as __u16, into one buffer; res counts their bytes.
 *
 * Errors, in order: -EINVAL for the queue, for a command that is not multishot,
 * for flags, or for elem_bytes other than 2; -ENODEV when the device is
 * stopping. The last CQE has -ENOBUFS when buffers or CQ entries have run out,
 * -ENODEV when the device is stopping or the ring goes.
 */
#define UBLK_U_IO_FETCH_IO_CMDS		\
	_IOWR('u', 0x27, struct ublk_batch_io)

/**
 * define UBLK_IO_RES_OK - a fetch ends with this: there is a request to serve
 */
#define UBLK_IO_RES_OK			0

/**
 * define UBLK_IO_RES_NEED_GET_DATA - a fetch ends with this: a WRITE has come
 *
 * Send UBLK_U_IO_NEED_GET_DATA next.
 */
#define UBLK_IO_RES_NEED_GET_DATA	1

/**
 * define UBLK_IO_RES_ABORT - a fetch ends with this: do not fetch again
 */
#define UBLK_IO_RES_ABORT		(-ENODEV)

/**
 * define UBLKSRV_CMD_BUF_OFFSET - mmap() offset of the descriptors of queue 0
 *
 * Those of queue q are q * round_up(UBLK_MAX_QUEUE_DEPTH * io_desc_size, page)
 * bytes further. Map round_up(queue_depth * io_desc_size, page) bytes,
 * read-only.
 */
#define UBLKSRV_CMD_BUF_OFFSET	0

/**
 * define UBLKSRV_IO_BUF_OFFSET - first pread() and pwrite() position of data
 *
 * For UBLK_F_USER_COPY. Byte b of the request of tag t in queue q is at
 * UBLKSRV_IO_BUF_OFFSET + (q << UBLK_QID_OFF | t << UBLK_TAG_OFF | b). Such a
 * device gets no request of more than 1 << UBLK_IO_BUF_BITS bytes, whatever
 * max_sectors says.
 */
#define UBLKSRV_IO_BUF_OFFSET	0x80000000

/**
 * define UBLK_MAX_QUEUE_DEPTH - most tags of a queue
 */
#define UBLK_MAX_QUEUE_DEPTH	4096

/* The byte, tag and queue fields of a position */
#define UBLK_IO_BUF_OFF		0
#define UBLK_IO_BUF_BITS	25
#define UBLK_IO_BUF_BITS_MASK	((1ULL << UBLK_IO_BUF_BITS) - 1)

#define UBLK_TAG_OFF		UBLK_IO_BUF_BITS
#define UBLK_TAG_BITS		16
#define UBLK_TAG_BITS_MASK	((1ULL << UBLK_TAG_BITS) - 1)

#define UBLK_QID_OFF		(UBLK_TAG_OFF + UBLK_TAG_BITS)
#define UBLK_QID_BITS		12
#define UBLK_QID_BITS_MASK	((1ULL << UBLK_QID_BITS) - 1)

/**
 * define UBLK_MAX_NR_QUEUES - most queues of a device
 */
#define UBLK_MAX_NR_QUEUES	(1U << UBLK_QID_BITS)

/* All positions fit into this many bits and bytes */
#define UBLKSRV_IO_BUF_TOTAL_BITS	(UBLK_QID_OFF + UBLK_QID_BITS)
#define UBLKSRV_IO_BUF_TOTAL_SIZE	(1ULL << UBLKSRV_IO_BUF_TOTAL_BITS)

#define UBLK_INTEGRITY_FLAG_OFF		62

/**
 * define UBLKSRV_IO_INTEGRITY_FLAG - the position is one in the metadata
 *
 * Added to a position, it selects the metadata of the request instead of its
 * data. Needs UBLK_F_INTEGRITY.
 */
#define UBLKSRV_IO_INTEGRITY_FLAG	(1ULL << UBLK_INTEGRITY_FLAG_OFF)

/**
 * DOC: operations
 *
 * The low byte of &struct ublksrv_io_desc.op_flags is one of UBLK_IO_OP_*, the
 * bits above are UBLK_IO_F_*. The ZONE operations and REPORT_ZONES come on
 * zoned devices only; WRITE_SAME never comes.
 *
 * READ, WRITE and ZONE_APPEND carry nr_sectors of data. FLUSH has nr_sectors 0
 * and start_sector all ones. DISCARD and WRITE_ZEROES have a range and no data.
 * ZONE_OPEN, ZONE_CLOSE, ZONE_FINISH and ZONE_RESET name the zone that starts
 * at start_sector, ZONE_RESET_ALL names none.
 *
 * REPORT_ZONES wants the state of nr_zones zones from start_sector on, as an
 * array of struct blk_zone (linux/blkzoned.h) written into the request's data.
 * A zone of length 0 ends a shorter answer.
 */
#define UBLK_IO_OP_READ			0
#define UBLK_IO_OP_WRITE		1
#define UBLK_IO_OP_FLUSH		2
#define UBLK_IO_OP_DISCARD		3
#define UBLK_IO_OP_WRITE_SAME		4
#define UBLK_IO_OP_WRITE_ZEROES		5
#define UBLK_IO_OP_ZONE_OPEN		10
#define UBLK_IO_OP_ZONE_CLOSE		11
#define UBLK_IO_OP_ZONE_FINISH		12
#define UBLK_IO_OP_ZONE_APPEND		13
#define UBLK_IO_OP_ZONE_RESET_ALL	14
#define UBLK_IO_OP_ZONE_RESET		15
#define UBLK_IO_OP_REPORT_ZONES		18

/**
 * define UBLK_IO_F_FAILFAST_DEV - do not retry errors of the medium
 */
#define UBLK_IO_F_FAILFAST_DEV		(1U << 8)

/**
 * define UBLK_IO_F_FAILFAST_TRANSPORT - do not retry errors of the transport
 */
#define UBLK_IO_F_FAILFAST_TRANSPORT	(1U << 9)

/**
 * define UBLK_IO_F_FAILFAST_DRIVER - do not retry errors of the driver
 */
#define UBLK_IO_F_FAILFAST_DRIVER	(1U << 10)

/**
 * define UBLK_IO_F_META - the data is metadata of a filesystem
 */
#define UBLK_IO_F_META			(1U << 11)

/**
 * define UBLK_IO_F_FUA - this WRITE must be on stable storage when it is done
 */
#define UBLK_IO_F_FUA			(1U << 13)

/**
 * define UBLK_IO_F_NOUNMAP - WRITE_ZEROES: keep the space allocated
 */
#define UBLK_IO_F_NOUNMAP		(1U << 15)

/**
 * define UBLK_IO_F_SWAP - the request belongs to swapping
 *
 * Memory may be short until it is done.
 */
#define UBLK_IO_F_SWAP			(1U << 16)

/**
 * define UBLK_IO_F_NEED_REG_BUF - the pages could not be registered
 *
 * Comes instead of an I/O error when UBLK_AUTO_BUF_REG_FALLBACK was asked for:
 * the server must register, or copy, by itself.
 */
#define UBLK_IO_F_NEED_REG_BUF		(1U << 17)

/**
 * define UBLK_IO_F_INTEGRITY - the request carries metadata
 */
#define UBLK_IO_F_INTEGRITY		(1UL << 18)

/**
 * define UBLK_IO_F_SHMEM_ZC - the data lies in memory shared with the server
 *
 * addr is then a buffer and an offset, see ublk_shmem_zc_index() and
 * ublk_shmem_zc_offset().
 */
#define UBLK_IO_F_SHMEM_ZC		(1U << 19)

/**
 * struct ublksrv_io_desc - a request, as the server finds it in the mapping
 * @op_flags: UBLK_IO_OP_* and UBLK_IO_F_*
 * @nr_sectors: length in units of 512 bytes
 * @nr_zones: zones wanted, for UBLK_IO_OP_REPORT_ZONES
 * @start_sector: where it starts, in units of 512 bytes
 * @addr: buffer of the tag in copy mode; what the fetch gave as
 *	&struct ublk_auto_buf_reg with UBLK_F_AUTO_BUF_REG; a place in shared
 *	memory with UBLK_IO_F_SHMEM_ZC
 *
 * Written before the fetch command completes. Valid for the server from then
 * until it commits; the driver never reads it back.
 */
struct ublksrv_io_desc {
	__u32	op_flags;
	union {
		__u32	nr_sectors;
		__u32	nr_zones;
	};
	__u64	start_sector;
	__u64	addr;
};

/**
 * ublksrv_get_op() - operation of a request
 * @iod: descriptor
 *
 * Return: one of UBLK_IO_OP_*.
 */
static inline __u8 ublksrv_get_op(const struct ublksrv_io_desc *iod)
{
	return (__u8)iod->op_flags;
}

/**
 * ublksrv_get_flags() - flags of a request, shifted down
 * @iod: descriptor
 *
 * Return: the UBLK_IO_F_* bits, each 8 bits lower than its constant.
 */
static inline __u32 ublksrv_get_flags(const struct ublksrv_io_desc *iod)
{
	return iod->op_flags >> 8;
}

/**
 * define UBLK_AUTO_BUF_REG_FALLBACK - deliver a request that is not registered
 *
 * Such a request has UBLK_IO_F_NEED_REG_BUF. Without this flag it fails.
 */
#define UBLK_AUTO_BUF_REG_FALLBACK	(1 << 0)

/**
 * define UBLK_AUTO_BUF_REG_F_MASK - all flags of &struct ublk_auto_buf_reg
 */
#define UBLK_AUTO_BUF_REG_F_MASK	UBLK_AUTO_BUF_REG_FALLBACK

/**
 * struct ublk_auto_buf_reg - where UBLK_F_AUTO_BUF_REG puts a tag's pages
 * @index: in the buffer table of the command's ring
 * @flags: UBLK_AUTO_BUF_REG_FALLBACK or 0
 * @reserved0: must be 0
 * @reserved1: must be 0
 *
 * Travels packed in sqe->addr, the first member in the lowest bits.
 */
struct ublk_auto_buf_reg {
	__u16	index;
	__u8	flags;
	__u8	reserved0;
	__u32	reserved1;
};

/**
 * ublk_sqe_addr_to_auto_buf_reg() - unpack sqe->addr
 * @sqe_addr: value of the field
 *
 * Return: the registration it describes, not validated.
 */
static inline struct ublk_auto_buf_reg
ublk_sqe_addr_to_auto_buf_reg(__u64 sqe_addr)
{
	struct ublk_auto_buf_reg reg;

	reg.index = (__u16)(sqe_addr & 0xffff);
	reg.flags = (__u8)((sqe_addr >> 16) & 0xff);
	reg.reserved0 = (__u8)((sqe_addr >> 24) & 0xff);
	reg.reserved1 = (__u32)(sqe_addr >> 32);
	return reg;
}

/**
 * ublk_auto_buf_reg_to_sqe_addr() - pack a registration for sqe->addr
 * @buf: registration
 *
 * Return: value of the field.
 */
static inline __u64
ublk_auto_buf_reg_to_sqe_addr(const struct ublk_auto_buf_reg *buf)
{
	__u64 word = buf->reserved1;

	word = word << 8 | buf->reserved0;
	word = word << 8 | buf->flags;
	return word << 16 | buf->index;
}

/**
 * struct ublksrv_io_cmd - argument of a one-tag I/O command, in sqe->cmd
 * @q_id: queue
 * @tag: tag
 * @result: of a commit: bytes done, or a negative errno
 * @addr: buffer of the tag, or index of a registration; see the commands
 * @zone_append_lba: of a commit: the sector where ZONE_APPEND has put its data
 */
struct ublksrv_io_cmd {
	__u16	q_id;
	__u16	tag;
	__s32	result;
	union {
		__u64	addr;
		__u64	zone_append_lba;
	};
};

/**
 * struct ublk_elem_header - start of each element of a batch
 * @tag: tag
 * @buf_index: buffer index for UBLK_F_AUTO_BUF_REG
 * @result: of a commit: bytes done, or a negative errno
 *
 * One __u64 follows per flag, in this order: the tag's buffer for
 * UBLK_BATCH_F_HAS_BUF_ADDR, the sector of a ZONE_APPEND for
 * UBLK_BATCH_F_HAS_ZONE_LBA.
 */
struct ublk_elem_header {
	__u16	tag;
	__u16	buf_index;
	__s32	result;
};

/**
 * define UBLK_BATCH_F_HAS_ZONE_LBA - elements hold a sector; zoned devices only
 */
#define UBLK_BATCH_F_HAS_ZONE_LBA		(1 << 0)

/**
 * define UBLK_BATCH_F_HAS_BUF_ADDR - elements hold a buffer; copy mode only
 */
#define UBLK_BATCH_F_HAS_BUF_ADDR		(1 << 1)

/**
 * define UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK - see UBLK_AUTO_BUF_REG_FALLBACK
 *
 * For all elements. Needs UBLK_F_AUTO_BUF_REG.
 */
#define UBLK_BATCH_F_AUTO_BUF_REG_FALLBACK	(1 << 2)

/**
 * struct ublk_batch_io - argument of a batch command, in sqe->cmd
 * @q_id: queue
 * @flags: UBLK_BATCH_F_* bits; 0 for UBLK_U_IO_FETCH_IO_CMDS
 * @nr_elem: elements at sqe->addr, at most the depth of the queue
 * @elem_bytes: of one element: 8, and 8 for each of its options;
 *	2 for UBLK_U_IO_FETCH_IO_CMDS
 * @reserved: not looked at
 * @reserved2: not looked at
 */
struct ublk_batch_io {
	__u16	q_id;
	__u16	flags;
	__u16	nr_elem;
	__u8	elem_bytes;
	__u8	reserved;
	__u64	reserved2;
};

/* A place in shared memory: offset in the low 32 bits, buffer index above */
#define UBLK_SHMEM_ZC_OFF_MASK		0xffffffffULL
#define UBLK_SHMEM_ZC_IDX_OFF		32
#define UBLK_SHMEM_ZC_IDX_MASK		0xffffULL

/**
 * ublk_shmem_zc_addr() - pack a place in shared memory
 * @index: buffer, as returned by UBLK_U_CMD_REG_BUF
 * @offset: bytes from its start
 *
 * Return: the addr of a request with UBLK_IO_F_SHMEM_ZC.
 */
static inline __u64 ublk_shmem_zc_addr(__u16 index, __u32 offset)
{
	return (__u64)index << UBLK_SHMEM_ZC_IDX_OFF | offset;
}

/**
 * ublk_shmem_zc_index() - buffer of a place in shared memory
 * @addr: of a request with UBLK_IO_F_SHMEM_ZC
 *
 * Return: index of the buffer.
 */
static inline __u16 ublk_shmem_zc_index(__u64 addr)
{
	return (__u16)(addr >> UBLK_SHMEM_ZC_IDX_OFF & UBLK_SHMEM_ZC_IDX_MASK);
}

/**
 * ublk_shmem_zc_offset() - offset of a place in shared memory
 * @addr: of a request with UBLK_IO_F_SHMEM_ZC
 *
 * Return: bytes from the start of the buffer.
 */
static inline __u32 ublk_shmem_zc_offset(__u64 addr)
{
	return (__u32)(addr & UBLK_SHMEM_ZC_OFF_MASK);
}

#endif /* USER_BLK_DRV_CMD_INC_H */
