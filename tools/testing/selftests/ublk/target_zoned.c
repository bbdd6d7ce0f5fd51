// SPDX-License-Identifier: GPL-2.0
/*
 * The zoned target: a disk made of zones, of which the first are conventional and
 * all others have to be written in order.
 *
 * Zones and data lie in one file, the zones in front; without --file it is one
 * that has no name and goes with the server. What is mapped of a file stays there
 * when its process is killed, so the next server finds the zones as they were.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ublk.h"

#define ZONED_DEFAULT_SIZE	(1024ULL << 20)
#define ZONED_MAGIC		0x656e6f7a6b6c6275ULL
#define ZONED_HEADER_BYTES	4096U

/* What the file begins with, and what comes behind it. */
struct zoned_file {
	__u64 magic;
	__u64 zone_sectors;
	__u32 nr_zones;
	__u32 conventional;
	__u32 max_open;
	__u32 max_active;
	char pad[ZONED_HEADER_BYTES - 32];
	struct blk_zone zones[];
};

/* A process serves one disk. Zones change under the lock only. */
static struct zoned_file *disk;
static pthread_mutex_t zones_lock = PTHREAD_MUTEX_INITIALIZER;

/* -- the file -------------------------------------------------------------- */

static size_t zones_end(__u32 nr_zones)
{
	size_t end = sizeof(*disk) + nr_zones * sizeof(disk->zones[0]);

	return (end + ZONED_HEADER_BYTES - 1) & -(size_t)ZONED_HEADER_BYTES;
}

/* Where a sector of the disk lies in the file. */
static __u64 data_at(__u64 sector)
{
	return zones_end(disk->nr_zones) + (sector << UBLK_SECTOR_SHIFT);
}

static int map_zones(struct ublk_server *srv, __u32 nr_zones)
{
	void *p = mmap(NULL, zones_end(nr_zones), PROT_READ | PROT_WRITE,
		       MAP_SHARED, srv->backing, 0);

	if (p == MAP_FAILED)
		return -errno;
	disk = p;
	return 0;
}

static void init_zone(struct blk_zone *zone, __u32 i)
{
	bool conventional = i < disk->conventional;

	*zone = (struct blk_zone) {
		.start = i * disk->zone_sectors,
		.len = disk->zone_sectors,
		.capacity = disk->zone_sectors,
		.wp = i * disk->zone_sectors,
		.type = conventional ? BLK_ZONE_TYPE_CONVENTIONAL :
				       BLK_ZONE_TYPE_SEQWRITE_REQ,
		.cond = conventional ? BLK_ZONE_COND_NOT_WP : BLK_ZONE_COND_EMPTY,
	};
}

static int format_file(struct ublk_server *srv)
{
	const struct ublk_options *o = &srv->opts;
	__u64 size = o->size ? o->size : ZONED_DEFAULT_SIZE;
	__u32 i, nr_zones = size / o->zoned.zone_bytes;
	int ret;

	if (nr_zones <= o->zoned.conventional)
		return -EINVAL;
	if (ftruncate(srv->backing,
		      zones_end(nr_zones) + nr_zones * o->zoned.zone_bytes))
		return -errno;
	ret = map_zones(srv, nr_zones);
	if (ret)
		return ret;

	disk->zone_sectors = o->zoned.zone_bytes >> UBLK_SECTOR_SHIFT;
	disk->nr_zones = nr_zones;
	disk->conventional = o->zoned.conventional;
	disk->max_open = o->zoned.max_open;
	disk->max_active = o->zoned.max_active;
	for (i = 0; i < nr_zones; i++)
		init_zone(&disk->zones[i], i);
	disk->magic = ZONED_MAGIC;
	return 0;
}

static int open_file(struct ublk_server *srv)
{
	const char *name = srv->opts.file;
	struct zoned_file header = { };

	srv->backing = name ? open(name, O_RDWR | O_CLOEXEC | O_CREAT, 0600) :
			      memfd_create("zoned", MFD_CLOEXEC);
	if (srv->backing < 0)
		return -errno;
	if (pread(srv->backing, &header, sizeof(header), 0) < 0)
		return -errno;
	if (header.magic == ZONED_MAGIC)
		return map_zones(srv, header.nr_zones);
	return format_file(srv);
}

static int zoned_init(struct ublk_server *srv)
{
	__u32 io_sectors = srv->opts.buf_bytes >> UBLK_SECTOR_SHIFT;
	int ret = open_file(srv);

	if (ret)
		return ret;

	srv->opts.flags |= UBLK_F_ZONED;
	if (srv->opts.mode == UBLK_MODE_COPY)
		srv->opts.mode = UBLK_MODE_USER_COPY;
	/* That alone moves no zones. */
	if (srv->opts.mode == UBLK_MODE_AUTO_BUF)
		srv->opts.flags |= UBLK_F_SUPPORT_ZERO_COPY;
	srv->params = (struct ublk_params) {
		.len = sizeof(srv->params),
		.types = UBLK_PARAM_TYPE_BASIC | UBLK_PARAM_TYPE_ZONED,
		.basic = {
			.attrs = UBLK_ATTR_VOLATILE_CACHE,
			.logical_bs_shift = 12,
			.physical_bs_shift = 12,
			.io_min_shift = 12,
			.io_opt_shift = 12,
			.max_sectors = io_sectors,
			.chunk_sectors = disk->zone_sectors,
			.dev_sectors = disk->nr_zones * disk->zone_sectors,
		},
		.zoned = {
			.max_open_zones = disk->max_open,
			.max_active_zones = disk->max_active,
			.max_zone_append_sectors = io_sectors,
		},
	};
	return 0;
}

static void zoned_exit(struct ublk_server *srv)
{
	if (disk)
		munmap(disk, zones_end(disk->nr_zones));
	disk = NULL;
	if (srv->backing >= 0)
		close(srv->backing);
}

/* -- zones; all of it under the lock --------------------------------------- */

static struct blk_zone *zone_of(__u64 sector)
{
	__u64 i = sector / disk->zone_sectors;

	return i < disk->nr_zones ? &disk->zones[i] : NULL;
}

static bool is_sequential(const struct blk_zone *zone)
{
	return zone->type == BLK_ZONE_TYPE_SEQWRITE_REQ;
}

static bool is_open(const struct blk_zone *zone)
{
	return zone->cond == BLK_ZONE_COND_IMP_OPEN ||
	       zone->cond == BLK_ZONE_COND_EXP_OPEN;
}

/* Counts zones in a condition; active ones are open or closed. */
static unsigned int count_open(bool closed_too)
{
	unsigned int i, n = 0;

	for (i = disk->conventional; i < disk->nr_zones; i++)
		n += is_open(&disk->zones[i]) ||
		     (closed_too && disk->zones[i].cond == BLK_ZONE_COND_CLOSED);
	return n;
}

static void close_zone(struct blk_zone *zone)
{
	zone->cond = zone->wp == zone->start ? BLK_ZONE_COND_EMPTY :
					       BLK_ZONE_COND_CLOSED;
}

/* One that was opened by writing may be closed to make room for another. */
static bool close_any(void)
{
	unsigned int i;

	for (i = disk->conventional; i < disk->nr_zones; i++) {
		if (disk->zones[i].cond == BLK_ZONE_COND_IMP_OPEN) {
			close_zone(&disk->zones[i]);
			return true;
		}
	}
	return false;
}

static int open_zone(struct blk_zone *zone, enum blk_zone_cond cond)
{
	if (zone->cond == BLK_ZONE_COND_FULL)
		return -EIO;
	if (zone->cond == BLK_ZONE_COND_EMPTY && disk->max_active &&
	    count_open(true) >= disk->max_active)
		return -EOVERFLOW;
	if (!is_open(zone) && disk->max_open &&
	    count_open(false) >= disk->max_open && !close_any())
		return -ETOOMANYREFS;
	if (zone->cond != BLK_ZONE_COND_EXP_OPEN)
		zone->cond = cond;
	return 0;
}

static void finish_zone(struct blk_zone *zone)
{
	zone->wp = zone->start + zone->len;
	zone->cond = BLK_ZONE_COND_FULL;
}

static int reset_zone(struct ublk_server *srv, struct blk_zone *zone)
{
	if (zone->cond == BLK_ZONE_COND_EMPTY)
		return 0;
	if (fallocate(srv->backing, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      data_at(zone->start), zone->len << UBLK_SECTOR_SHIFT))
		return -errno;
	zone->wp = zone->start;
	zone->cond = BLK_ZONE_COND_EMPTY;
	return 0;
}

static int reset_all(struct ublk_server *srv)
{
	unsigned int i;
	int ret = 0;

	for (i = disk->conventional; i < disk->nr_zones && !ret; i++)
		ret = reset_zone(srv, &disk->zones[i]);
	return ret;
}

/* Takes the room for a write, which says where it wants to go, or learns it. */
static int advance(struct ublk_io *io, struct blk_zone *zone)
{
	__u32 sectors = io->desc->nr_sectors;
	int ret;

	if (ublksrv_get_op(io->desc) == UBLK_IO_OP_ZONE_APPEND)
		io->lba = zone->wp;
	else if (io->desc->start_sector != zone->wp)
		return -EIO;
	if (zone->wp + sectors > zone->start + zone->capacity)
		return -EIO;
	ret = open_zone(zone, BLK_ZONE_COND_IMP_OPEN);
	if (ret)
		return ret;
	zone->wp += sectors;
	if (zone->wp == zone->start + zone->capacity)
		finish_zone(zone);
	return 0;
}

static int manage(struct ublk_server *srv, struct ublk_io *io, struct blk_zone *zone)
{
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_ZONE_RESET_ALL:
		return reset_all(srv);
	case UBLK_IO_OP_ZONE_OPEN:
		return open_zone(zone, BLK_ZONE_COND_EXP_OPEN);
	case UBLK_IO_OP_ZONE_CLOSE:
		if (is_open(zone))
			close_zone(zone);
		return zone->cond == BLK_ZONE_COND_FULL ? -EIO : 0;
	case UBLK_IO_OP_ZONE_FINISH:
		finish_zone(zone);
		return 0;
	case UBLK_IO_OP_ZONE_RESET:
		return reset_zone(srv, zone);
	default:
		return -EOPNOTSUPP;
	}
}

/* -- requests -------------------------------------------------------------- */

static void zoned_rw(struct ublk_worker *w, struct ublk_io *io)
{
	__u64 at = data_at(io->desc->start_sector);

	if (ublksrv_get_op(io->desc) == UBLK_IO_OP_REPORT_ZONES)
		at = (char *)zone_of(io->desc->start_sector) - (char *)disk;
	else if (ublksrv_get_op(io->desc) == UBLK_IO_OP_ZONE_APPEND)
		at = data_at(io->lba);
	ublk_target_rw(w, io, w->srv->backing, at + io->done);
}

static void zoned_write(struct ublk_worker *w, struct ublk_io *io)
{
	struct blk_zone *zone = zone_of(io->desc->start_sector);
	int ret = 0;

	pthread_mutex_lock(&zones_lock);
	if (is_sequential(zone))
		ret = advance(io, zone);
	pthread_mutex_unlock(&zones_lock);
	if (ret)
		ublk_complete_io(w, io, ret);
	else
		zoned_rw(w, io);
}

static void zoned_manage(struct ublk_worker *w, struct ublk_io *io)
{
	struct blk_zone *zone = zone_of(io->desc->start_sector);
	bool all = ublksrv_get_op(io->desc) == UBLK_IO_OP_ZONE_RESET_ALL;
	int ret = -EIO;

	pthread_mutex_lock(&zones_lock);
	if (all || is_sequential(zone))
		ret = manage(w->srv, io, zone);
	pthread_mutex_unlock(&zones_lock);
	ublk_complete_io(w, io, ret);
}

static void zoned_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
	case UBLK_IO_OP_REPORT_ZONES:
		zoned_rw(w, io);
		break;
	case UBLK_IO_OP_WRITE:
	case UBLK_IO_OP_ZONE_APPEND:
		zoned_write(w, io);
		break;
	case UBLK_IO_OP_FLUSH:
		io_uring_prep_fsync(ublk_target_sqe(w, io), w->srv->backing,
				    IORING_FSYNC_DATASYNC);
		break;
	default:
		zoned_manage(w, io);
	}
}

static void zoned_io_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	if (ublksrv_get_op(io->desc) == UBLK_IO_OP_FLUSH) {
		ublk_complete_io(w, io, res);
		return;
	}
	if (res <= 0 && res != -EAGAIN && res != -EINTR) {
		ublk_complete_io(w, io, res ? res : -EIO);
		return;
	}
	io->done += res > 0 ? res : 0;
	if (io->done < ublk_io_bytes(io))
		zoned_rw(w, io);
	else
		ublk_complete_io(w, io, io->done);
}

const struct ublk_target ublk_zoned_target = {
	.name = "zoned",
	.init = zoned_init,
	.exit = zoned_exit,
	.queue_io = zoned_queue_io,
	.io_done = zoned_io_done,
};
