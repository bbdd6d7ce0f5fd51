// SPDX-License-Identifier: GPL-2.0
/*
 * Zoned disks. Zones are opened, closed, finished, reset and appended to by
 * ordinary requests. What is left for this file: how the driver asks its server
 * for the state of the zones, and what it believes.
 *
 * A question is a request of the driver's own, with memory of the kernel as its
 * data, and shares the fate of all requests: it is held and repeated, or fails,
 * as the recovery mode of the device has it. Who asks can be killed meanwhile;
 * then the memory belongs to the request. START_DEV asks, too, before there is a
 * disk to stop, see ublk_report_wait_in_op().
 */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "ublk.h"

/* Zones come by the hundred; more at a time would be no faster. */
#define UBLK_MAX_REPORT_BYTES	SZ_32K

/**
 * struct ublk_report - one question to the server
 * @sector:	where the first zone begins
 * @end:	where the last zone of the disk ends
 * @nr_zones:	how many zones it may tell of
 * @size:	bytes at @zones
 * @zones:	its answer, one of length 0 ends it
 * @status:	how the request ended
 * @done:	the request has ended
 * @first_gone:	set by the first of two to leave, the request or the asker; the
 *		second frees
 */
struct ublk_report {
	sector_t		sector;
	sector_t		end;
	unsigned int		nr_zones;
	size_t			size;
	struct blk_zone		*zones;
	blk_status_t		status;
	struct completion	done;
	atomic_t		first_gone;
};

/* The memory begins with a page, so its segments are as large as the limits let them. */
static size_t ublk_report_size(const struct queue_limits *lim, unsigned int nr_zones)
{
	u64 size = min((u64)nr_zones * sizeof(struct blk_zone), UBLK_MAX_REPORT_BYTES);
	u64 segment = min3((u64)lim->max_segment_size, PAGE_SIZE,
			   min(lim->seg_boundary_mask, PAGE_SIZE - 1) + 1);

	/* Segments of other sizes would not fill what is between two boundaries. */
	segment = rounddown_pow_of_two(segment);
	size = min(PAGE_ALIGN(size), lim->max_segments * segment);
	return min(size, round_down((u64)lim->max_hw_sectors << SECTOR_SHIFT, segment));
}

static void ublk_report_free(struct ublk_report *r)
{
	if (r->zones)
		free_pages_exact(r->zones, r->size);
	kfree(r);
}

/* Zeroed, or a server that fills in nothing would show the caller kernel memory. */
static struct ublk_report *ublk_report_alloc(const struct queue_limits *lim,
					     sector_t sector, sector_t end,
					     unsigned int nr_zones)
{
	struct ublk_report *r;

	r = kzalloc_obj(*r);
	if (!r)
		return NULL;

	r->sector = sector;
	r->end = end;
	r->size = ublk_report_size(lim, nr_zones);
	r->nr_zones = min(nr_zones, r->size / sizeof(*r->zones));
	init_completion(&r->done);
	r->zones = alloc_pages_exact(r->size, GFP_KERNEL | __GFP_ZERO);
	if (!r->zones) {
		ublk_report_free(r);
		return NULL;
	}
	return r;
}

static enum rq_end_io_ret ublk_report_end(struct request *rq, blk_status_t status,
					  const struct io_comp_batch *iob)
{
	struct ublk_report *r = rq->end_io_data;

	r->status = status;
	if (atomic_xchg(&r->first_gone, true)) {
		ublk_report_free(r);
		return RQ_END_IO_FREE;
	}
	complete(&r->done);
	return RQ_END_IO_NONE;
}

/*
 * START_DEV. The server has to answer, and may take its time; its death ends the
 * request. But STOP_DEV and DEL_DEV wait for this op, and must not depend on the
 * server: for them it is asked to leave, and the request is taken back. Pages that it has
 * registered with a ring stay in use until the ring lets go.
 */
static void ublk_report_wait_in_op(struct ublk_device *dev, struct ublk_report *r)
{
	while (!wait_for_completion_timeout(&r->done, UBLK_POLL_JIFFIES)) {
		if (!ublk_dev_is_to_stop(dev))
			continue;
		ublk_session_stop(ublk_dev_session(dev));
		ublk_session_sweep(ublk_dev_session(dev));
	}
}

/* Returns -EINTR if the caller has to go, and @r belongs to its request. */
static int ublk_report_wait(struct ublk_device *dev, struct ublk_report *r)
{
	if (ublk_op_current(dev)) {
		ublk_report_wait_in_op(dev, r);
		return 0;
	}
	if (!wait_for_completion_killable(&r->done))
		return 0;
	if (!atomic_xchg(&r->first_gone, true))
		return -EINTR;
	wait_for_completion(&r->done);
	return 0;
}

/*
 * Returns -EINTR if the caller has to go, and @r belongs to its request. Any other
 * error comes from the server, or is -ENOMEM and the like.
 */
static int ublk_report_ask(struct gendisk *disk, struct ublk_report *r)
{
	struct request *rq;
	int ret;

	rq = blk_mq_alloc_request(disk->queue, REQ_OP_DRV_IN, 0);
	if (IS_ERR(rq))
		return PTR_ERR(rq);
	ret = blk_rq_map_kern(rq, r->zones, r->size, GFP_KERNEL);
	if (ret) {
		blk_mq_free_request(rq);
		return ret;
	}

	rq->end_io = ublk_report_end;
	rq->end_io_data = r;
	blk_execute_rq_nowait(rq, false);
	ret = ublk_report_wait(disk->private_data, r);
	if (ret)
		return ret;
	blk_mq_free_request(rq);
	return blk_status_to_errno(r->status);
}

/*
 * The block layer takes a write pointer for the number of a zone, and that for an
 * index, so it must not leave its zone. In other conditions a zone has none.
 */
static bool ublk_zone_wp_is_inside(const struct blk_zone *zone)
{
	switch (zone->cond) {
	case BLK_ZONE_COND_IMP_OPEN:
	case BLK_ZONE_COND_EXP_OPEN:
	case BLK_ZONE_COND_CLOSED:
	case BLK_ZONE_COND_ACTIVE:
		return zone->wp >= zone->start && zone->wp - zone->start <= zone->len;
	default:
		return true;
	}
}

/* Is it the zone that begins at @start and has @len sectors? */
static bool ublk_zone_is_valid(const struct blk_zone *zone, sector_t start, u64 len)
{
	return zone->start == start && zone->len == len && zone->capacity <= len &&
		ublk_zone_wp_is_inside(zone);
}

/*
 * Pass the zones on. Their users rely on what they say of place and length, so any
 * other zone is -ENODEV; so is an answer without one, as asking again would not help.
 * Returns the number of zones.
 */
static int ublk_report_tell(struct gendisk *disk, const struct ublk_report *r,
			    unsigned int idx, struct blk_report_zones_args *args)
{
	u64 zone_size = disk->queue->limits.chunk_sectors;
	sector_t at = r->sector;
	unsigned int i;
	int ret;

	for (i = 0; i < r->nr_zones && r->zones[i].len; i++) {
		struct blk_zone *zone = &r->zones[i];

		if (!ublk_zone_is_valid(zone, at, min(zone_size, r->end - at)))
			return -ENODEV;
		ret = disk_report_zone(disk, zone, idx + i, args);
		if (ret)
			return ret;
		at += zone->len;
	}
	return i ?: -ENODEV;
}

static int ublk_report_some(struct gendisk *disk, sector_t sector, sector_t end,
			    unsigned int nr_zones, unsigned int idx,
			    struct blk_report_zones_args *args)
{
	struct ublk_report *r;
	int ret;

	r = ublk_report_alloc(&disk->queue->limits, sector, end, nr_zones);
	if (!r)
		return -ENOMEM;
	ret = ublk_report_ask(disk, r);
	if (ret == -EINTR)
		return ret;
	if (!ret)
		ret = ublk_report_tell(disk, r, idx, args);
	ublk_report_free(r);
	return ret;
}

/**
 * ublk_zoned_report - ask the server for the state of zones
 * @disk:	the disk
 * @sector:	sector of the first zone
 * @nr_zones:	how many at most
 * @args:	what to do with each
 *
 * The server may tell of fewer zones than it was asked for, and is asked again,
 * as long as there is one.
 *
 * Context: sleeps until the server answers or the caller is killed.
 * Return: number of zones; -ENODEV for an answer that makes no sense; the
 * server's error; -EIO without a server; -EINTR, -ENOMEM; an error of @args.
 */
int ublk_zoned_report(struct gendisk *disk, sector_t sector, unsigned int nr_zones,
		      struct blk_report_zones_args *args)
{
	unsigned int shift = ilog2(disk->queue->limits.chunk_sectors);
	sector_t end = get_capacity(disk), first = sector >> shift;
	unsigned int wanted, done = 0;
	int ret;

	/* It is 0 when the disk is being removed. */
	if (sector >= end)
		return 0;
	wanted = min3(((end - 1) >> shift) + 1 - first, (sector_t)nr_zones,
		      (sector_t)INT_MAX);
	while (done < wanted) {
		ret = ublk_report_some(disk, (first + done) << shift, end,
				       wanted - done, done, args);
		if (ret < 0)
			return ret;
		done += ret;
	}
	return done;
}

/**
 * ublk_zoned_describe - tell the server what a report is to be about
 * @rq:		request of ublk_zoned_report()
 * @desc:	its descriptor
 */
void ublk_zoned_describe(const struct request *rq, struct ublksrv_io_desc *desc)
{
	const struct ublk_report *r = rq->end_io_data;

	desc->nr_zones = r->nr_zones;
	desc->start_sector = r->sector;
}

/**
 * ublk_zoned_take_append - take the server's answer to a ZONE_APPEND
 * @rq:		the request
 * @result:	what it says, not negative
 * @lba:	sector at which it says to have begun
 *
 * A part of an append cannot be asked for again: it would not go where the first
 * part has ended. So one that is not whole has failed.
 *
 * Return: false if the request has failed.
 */
bool ublk_zoned_take_append(struct request *rq, s32 result, u64 lba)
{
	sector_t end = get_capacity(rq->q->disk);
	u64 offset = lba - blk_rq_pos(rq);

	if (result && result != blk_rq_bytes(rq))
		return false;
	if (lba < blk_rq_pos(rq) ||
	    offset > rq->q->limits.chunk_sectors - blk_rq_sectors(rq) ||
	    !IS_ALIGNED(offset, queue_logical_block_size(rq->q) >> SECTOR_SHIFT))
		return false;
	/* The last zone may be a smaller one. A disk that is being removed ends at 0. */
	if (end && lba + blk_rq_sectors(rq) > end)
		return false;
	rq->__sector = lba;
	return true;
}

/**
 * ublk_zoned_validate - are these parameters those of a zoned disk?
 * @dev:	the device
 * @params:	its parameters, with UBLK_PARAM_TYPE_ZONED
 *
 * Return: 0 or -EINVAL.
 */
int ublk_zoned_validate(const struct ublk_device *dev, const struct ublk_params *params)
{
	const struct ublk_param_zoned *p = &params->zoned;
	u64 nr_zones;

	if (!ublk_dev_has(dev, UBLK_F_ZONED) ||
	    !is_power_of_2(params->basic.chunk_sectors))
		return -EINVAL;
	nr_zones = params->basic.dev_sectors >> ilog2(params->basic.chunk_sectors);
	if (!p->max_zone_append_sectors || p->max_open_zones > nr_zones ||
	    p->max_active_zones > nr_zones)
		return -EINVAL;
	/* The block layer has a byte for each zone, and a pointer for each open one. */
	if (nr_zones >= KMALLOC_MAX_SIZE ||
	    max(p->max_open_zones, p->max_active_zones) > KMALLOC_MAX_SIZE / sizeof(void *))
		return -EINVAL;
	return 0;
}

/**
 * ublk_zoned_prepare - learn the zones of a disk that is about to be added
 * @disk:	the disk; its server serves already
 *
 * Context: op; waits for the server.
 * Return: 0, also for a disk without zones; -ENODEV for one without capacity or
 * whose server does not know its zones; an error of ublk_zoned_report().
 */
int ublk_zoned_prepare(struct gendisk *disk)
{
	if (!blk_queue_is_zoned(disk->queue))
		return 0;
	/* No partitions: their table could not be rewritten in place. */
	disk->flags |= GENHD_FL_NO_PART;
	return blk_revalidate_disk_zones(disk);
}
