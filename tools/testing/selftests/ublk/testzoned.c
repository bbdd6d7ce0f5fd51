// SPDX-License-Identifier: GPL-2.0
/*
 * The zoned device under test: see testzoned.h.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testbatch.h"
#include "testclient.h"
#include "testhost.h"
#include "testserve.h"
#include "testzoned.h"

struct blk_zone tz_zones[TZ_NR];
bool tz_hold;

void tz_make_zones(struct blk_zone *zones, __u32 sectors, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		bool conventional = i < TZ_CONVENTIONAL;

		zones[i] = (struct blk_zone) {
			.start = (__u64)i * sectors,
			.len = sectors,
			.capacity = sectors,
			.wp = (__u64)i * sectors,
			.type = conventional ? BLK_ZONE_TYPE_CONVENTIONAL :
					       BLK_ZONE_TYPE_SEQWRITE_REQ,
			.cond = conventional ? BLK_ZONE_COND_NOT_WP :
					       BLK_ZONE_COND_EMPTY,
		};
	}
}

/* Where there is no user copy, the zones come from a file, as a disk's would. */
static int bring_by_file(struct testdev *td, const struct td_req *req,
			 const void *zones, __u32 len)
{
	bool lent = td->info.flags & UBLK_F_AUTO_BUF_REG;
	__u16 index = req->queue * td->info.queue_depth + req->tag;
	int fd = memfd_create("zones", MFD_CLOEXEC), ret = 0;

	if (fd < 0 || write(fd, zones, len) != (ssize_t)len)
		return -errno;
	if (!lent)
		ret = td_side_cmd(td, UBLK_U_IO_REGISTER_IO_BUF, req->queue,
				  req->tag, index);
	if (!ret)
		ret = td_fixed_io(&td->ring, IORING_OP_READ_FIXED, fd, index, 0,
				  len, 0);
	if (!lent)
		td_side_cmd(td, UBLK_U_IO_UNREGISTER_IO_BUF, req->queue, req->tag,
			    index);
	close(fd);
	return ret;
}

/* Returns bytes, or a negative errno. */
int tz_bring(struct testdev *td, const struct td_req *req,
	     const struct blk_zone *zones, unsigned int nr)
{
	__u32 len = nr * sizeof(*zones);

	if (!nr)
		return 0;
	if (td->info.flags & UBLK_F_USER_COPY)
		return td_bring(td, req, zones, len, 0);
	return bring_by_file(td, req, zones, len);
}

int tz_tell(struct testdev *td, const struct td_req *req,
	    const struct blk_zone *zones, unsigned int nr)
{
	int ret = tz_bring(td, req, zones, nr);

	if (ret > 0)
		ret = 0;
	if (!td->batch)
		return td_answer(td, req, ret);
	tb_answer_aside(td->batch, req->queue, req->tag, ret);
	return 0;
}

int tz_answer_at(struct testdev *td, const struct td_req *req, int result, __u64 lba)
{
	return td_io_cmd(td, UBLK_U_IO_COMMIT_AND_FETCH_REQ, req->queue, req->tag, result,
			 lba);
}

static bool answer_report(struct testdev *td, const struct td_req *req)
{
	unsigned int first = req->start / TZ_SECTORS;

	if (req->op != UBLK_IO_OP_REPORT_ZONES || tz_hold)
		return false;
	tz_tell(td, req, &tz_zones[first], req->sectors);
	return true;
}

void tz_init(struct testdev *td)
{
	if (!(td->info.flags & UBLK_F_SUPPORT_ZERO_COPY))
		td->info.flags |= UBLK_F_USER_COPY;
	td->info.flags |= UBLK_F_ZONED;
	td->params.types |= UBLK_PARAM_TYPE_ZONED;
	td->params.basic.chunk_sectors = TZ_SECTORS;
	td->params.zoned = (struct ublk_param_zoned) {
		.max_open_zones = TZ_OPEN,
		.max_active_zones = TZ_OPEN,
		.max_zone_append_sectors = TD_BUF_BYTES >> UBLK_SECTOR_SHIFT,
	};
	tz_make_zones(tz_zones, TZ_SECTORS, TZ_NR);
	tz_hold = false;
	td->aside = answer_report;
}

int tz_add(struct testdev *td)
{
	tz_init(td);
	return td_add(td);
}

int tz_add_fetched(struct testdev *td)
{
	int ret = tz_add(td);

	if (!ret)
		ret = td_set_params(td);
	if (!ret)
		ret = td_attach(td);
	return ret ? ret : td_fetch_all(td);
}

int tz_go_live(struct testdev *td)
{
	int ret = tz_add_fetched(td);

	if (!ret)
		ret = td_start(td);
	return ret ? ret : td_open_disk(td);
}

static void *run_call(void *arg)
{
	struct tz_call *call = arg;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_RELEASE);
	call->ret = ioctl(call->fd, call->op, call->arg);
	if (call->ret < 0)
		call->ret = -errno;
	eventfd_write(call->done, 1);
	return NULL;
}

int tz_ioctl_on(int fd, struct tz_call *call, unsigned long op, void *arg)
{
	*call = (struct tz_call) {
		.fd = fd, .op = op, .arg = arg, .done = eventfd(0, EFD_CLOEXEC),
	};
	return -pthread_create(&call->thread, NULL, run_call, call);
}

int tz_ioctl(struct testdev *td, struct tz_call *call, unsigned long op, void *arg)
{
	return tz_ioctl_on(td->bdev, call, op, arg);
}

int tz_manage(struct testdev *td, struct tz_call *call, unsigned long op,
	      unsigned int first, unsigned int nr)
{
	struct blk_zone_range *range = malloc(sizeof(*range));

	range->sector = (__u64)first * TZ_SECTORS;
	range->nr_sectors = (__u64)nr * TZ_SECTORS;
	return tz_ioctl(td, call, op, range);
}

int tz_report(struct testdev *td, struct tz_call *call, unsigned int first,
	      unsigned int nr)
{
	struct blk_zone_report *report;

	report = calloc(1, sizeof(*report) + nr * sizeof(report->zones[0]));
	report->sector = (__u64)first * TZ_SECTORS;
	report->nr_zones = nr;
	return tz_ioctl(td, call, BLKREPORTZONE, report);
}

bool tz_done(struct tz_call *call)
{
	struct pollfd fd = { .fd = call->done, .events = POLLIN };

	return poll(&fd, 1, 0) == 1;
}

int tz_wait(struct testdev *td, struct tz_call *call)
{
	__u64 deadline = td_now_ms() + TD_DEADLINE_MS;

	while (!tz_done(call)) {
		if (td_now_ms() > deadline)
			return -ETIME;
		td_settle(td, 2);
	}
	pthread_join(call->thread, NULL);
	close(call->done);
	return call->ret;
}

static bool is_asleep(void *arg)
{
	pid_t tid = __atomic_load_n((pid_t *)arg, __ATOMIC_ACQUIRE);
	char path[32], stat[64], state = 0;

	if (!tid)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	return !td_read_text(path, stat, sizeof(stat)) &&
		sscanf(stat, "%*d (%*[^)]) %c", &state) == 1 && state == 'D';
}

bool tz_wait_asleep(pid_t *tid)
{
	return td_poll_until(is_asleep, tid);
}
