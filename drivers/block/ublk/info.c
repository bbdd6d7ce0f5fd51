// SPDX-License-Identifier: GPL-2.0
/*
 * What ADD_DEV is asked for, and what it grants.
 */
#include <linux/align.h>
#include <linux/cpumask.h>
#include <linux/minmax.h>

#include "ublk.h"

/* Ten times what there is to say of a request; 4096 of them are still only 1 MiB. */
#define UBLK_MAX_DESC_SIZE	256

/* Combinations that make no sense are refused. */
static int ublk_features_check(u64 f)
{
	const u64 recovery = UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE |
			     UBLK_F_USER_RECOVERY_FAIL_IO;

	switch (f & recovery) {
	case 0:
	case UBLK_F_USER_RECOVERY:
	case UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE:
	case UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO:
		break;
	default:
		return -EINVAL;
	}
	if ((f & UBLK_F_QUIESCE) && !(f & UBLK_F_USER_RECOVERY))
		return -EINVAL;
	if ((f & UBLK_F_INTEGRITY) && !(f & UBLK_F_USER_COPY))
		return -EINVAL;
	/* A server could leave a READ unfilled, and so hand out stale kernel memory. */
	if ((f & UBLK_F_UNPRIVILEGED_DEV) && (f & UBLK_FEATURES_NO_COPY))
		return -EINVAL;
	return 0;
}

/* What is unknown or of no use is dropped: the answer of ADD_DEV tells. */
static u64 ublk_features_grant(u64 f)
{
	/* Zones are refused later, not dropped: a disk without them is another disk. */
	f = (f & (UBLK_FEATURES | UBLK_F_ZONED)) | UBLK_FEATURES_ALWAYS;
	/*
	 * Requests must not wait for a next server that a user may never start. What
	 * is left is of little use: FAIL_IO does nothing, QUIESCE ends the server.
	 */
	if (f & UBLK_F_UNPRIVILEGED_DEV)
		f &= ~(UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE);
	/* Only copy mode has a buffer to ask for. */
	if (f & UBLK_FEATURES_NO_COPY)
		f &= ~UBLK_F_NEED_GET_DATA;
	/* A tag of batch mode has no task, and no command that could name a buffer. */
	if (f & UBLK_F_BATCH_IO)
		f &= ~(UBLK_F_PER_IO_DAEMON | UBLK_F_NEED_GET_DATA);
	return f;
}

static bool ublk_desc_size_ok(const struct ublksrv_ctrl_dev_info *info)
{
	if (!(info->flags & UBLK_F_IO_DESC_SIZE))
		return true;
	return info->io_desc_size >= sizeof(struct ublksrv_io_desc) &&
		info->io_desc_size <= UBLK_MAX_DESC_SIZE && !(info->io_desc_size % 8);
}

/**
 * ublk_info_check - may the caller of ADD_DEV have what it asks for?
 * @info:	what it asks for
 * @header_id:	id in the command itself
 * @privileged:	it has CAP_SYS_ADMIN
 *
 * Return: 0; -EINVAL; -EPERM without privilege for any but an unprivileged device.
 */
int ublk_info_check(const struct ublksrv_ctrl_dev_info *info, u32 header_id,
		    bool privileged)
{
	u64 flags = info->flags;
	int ret;

	if (!info->queue_depth || info->queue_depth > UBLK_MAX_QUEUE_DEPTH ||
	    !info->nr_hw_queues || info->nr_hw_queues > UBLK_MAX_NR_QUEUES)
		return -EINVAL;

	if (privileged)
		flags &= ~UBLK_F_UNPRIVILEGED_DEV;
	else if (!(flags & UBLK_F_UNPRIVILEGED_DEV))
		return -EPERM;
	ret = ublk_features_check(flags);
	if (ret)
		return ret;
	if (!ublk_desc_size_ok(info) || header_id != info->dev_id)
		return -EINVAL;
	if (info->dev_id != UBLK_ID_AUTO && info->dev_id >= UBLK_MAX_DEVICES)
		return -EINVAL;
	return 0;
}

/**
 * ublk_info_grant - turn what the caller of ADD_DEV asks for into what it gets
 * @info:	what ublk_info_check() has passed
 * @privileged:	the caller has CAP_SYS_ADMIN
 */
void ublk_info_grant(struct ublksrv_ctrl_dev_info *info, bool privileged)
{
	if (privileged)
		info->flags &= ~UBLK_F_UNPRIVILEGED_DEV;
	info->flags = ublk_features_grant(info->flags);
	if (!(info->flags & UBLK_F_IO_DESC_SIZE))
		info->io_desc_size = sizeof(struct ublksrv_io_desc);
	info->nr_hw_queues = min_t(unsigned int, info->nr_hw_queues, nr_cpu_ids);
	info->max_io_buf_bytes = round_down(info->max_io_buf_bytes, PAGE_SIZE);
}
