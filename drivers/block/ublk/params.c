// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters of a device: what SET_PARAMS accepts, and the queue limits that
 * START_DEV makes of it.
 *
 * Each type that is present is validated, whatever the others say, so that
 * nothing reaches the block layer that it would have to warn about.
 */
#include <linux/blkdev.h>
#include <linux/uaccess.h>

#include "ublk.h"

/* 256 MiB: far above any use, and no overflow in 32 bits. */
#define UBLK_MAX_BLOCK_SHIFT	28

/* What fits a block device, whose size in bytes is a signed number. */
#define UBLK_MAX_SECTORS	((u64)LLONG_MAX >> SECTOR_SHIFT)

/* Is @mask of the form 2^n - 1? All ones are. */
static bool ublk_is_low_mask(u64 mask)
{
	return !(mask & (mask + 1));
}

static int ublk_basic_validate(const struct ublk_device *dev,
			       const struct ublk_params *params)
{
	const struct ublk_param_basic *p = &params->basic;
	u32 block_sectors;

	if (p->logical_bs_shift < SECTOR_SHIFT || p->logical_bs_shift > PAGE_SHIFT)
		return -EINVAL;
	if (p->physical_bs_shift > UBLK_MAX_BLOCK_SHIFT ||
	    p->io_min_shift > UBLK_MAX_BLOCK_SHIFT ||
	    p->io_opt_shift > UBLK_MAX_BLOCK_SHIFT)
		return -EINVAL;
	if (p->logical_bs_shift > p->physical_bs_shift)
		return -EINVAL;
	if (p->max_sectors < PAGE_SECTORS ||
	    p->max_sectors > dev->info.max_io_buf_bytes >> SECTOR_SHIFT)
		return -EINVAL;

	block_sectors = 1U << (p->logical_bs_shift - SECTOR_SHIFT);
	if (p->chunk_sectors & (block_sectors - 1))
		return -EINVAL;
	if (p->dev_sectors & (block_sectors - 1) || p->dev_sectors > UBLK_MAX_SECTORS)
		return -EINVAL;
	if (!ublk_is_low_mask(p->virt_boundary_mask) ||
	    p->virt_boundary_mask > ULONG_MAX)
		return -EINVAL;
	return 0;
}

static int ublk_discard_validate(const struct ublk_device *dev,
				 const struct ublk_params *params)
{
	const struct ublk_param_discard *p = &params->discard;

	if (!p->discard_granularity)
		return -EINVAL;
	if (p->max_discard_sectors && p->max_discard_segments != 1)
		return -EINVAL;
	return 0;
}

static int ublk_dma_align_validate(const struct ublk_device *dev,
				   const struct ublk_params *params)
{
	const struct ublk_param_dma_align *p = &params->dma;

	if (p->alignment >= PAGE_SIZE || !ublk_is_low_mask(p->alignment))
		return -EINVAL;
	return 0;
}

static int ublk_segment_validate(const struct ublk_device *dev,
				 const struct ublk_params *params)
{
	const struct ublk_param_segment *p = &params->seg;

	if (!ublk_is_low_mask(p->seg_boundary_mask) || p->seg_boundary_mask == U64_MAX ||
	    p->seg_boundary_mask < UBLK_MIN_SEGMENT_SIZE - 1)
		return -EINVAL;
	if (p->max_segment_size < UBLK_MIN_SEGMENT_SIZE)
		return -EINVAL;
	return 0;
}

/* For types that a server may read but not set, or whose feature is not there. */
static int ublk_refuse(const struct ublk_device *dev, const struct ublk_params *params)
{
	return -EINVAL;
}

static const struct {
	u32 type;
	int (*validate)(const struct ublk_device *dev, const struct ublk_params *params);
} ublk_param_types[] = {
	{ UBLK_PARAM_TYPE_BASIC,	ublk_basic_validate },
	{ UBLK_PARAM_TYPE_DISCARD,	ublk_discard_validate },
	{ UBLK_PARAM_TYPE_DEVT,		ublk_refuse },
	{ UBLK_PARAM_TYPE_ZONED,	ublk_zoned_validate },
	{ UBLK_PARAM_TYPE_DMA_ALIGN,	ublk_dma_align_validate },
	{ UBLK_PARAM_TYPE_SEGMENT,	ublk_segment_validate },
	{ UBLK_PARAM_TYPE_INTEGRITY,	ublk_integrity_validate },
};

/**
 * ublk_params_validate - may a disk be made of these?
 * @dev:	the device
 * @p:		parameters
 *
 * Return: 0, -EINVAL, or -EOPNOTSUPP for zones on a kernel that has none.
 */
int ublk_params_validate(const struct ublk_device *dev, const struct ublk_params *p)
{
	int ret;

	if (!(p->types & UBLK_PARAM_TYPE_BASIC))
		return -EINVAL;
	if (ublk_dev_has(dev, UBLK_F_ZONED) && !(p->types & UBLK_PARAM_TYPE_ZONED))
		return -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(ublk_param_types); i++) {
		if (!(p->types & ublk_param_types[i].type))
			continue;
		ret = ublk_param_types[i].validate(dev, p);
		if (ret)
			return ret;
	}
	return 0;
}

/* The length and types that both commands begin with; reads @arg once. */
static int ublk_params_header(void __user *arg, u32 len, struct ublk_params *p)
{
	if (len <= offsetofend(struct ublk_params, types) || !arg)
		return -EINVAL;
	if (copy_from_user(p, arg, offsetofend(struct ublk_params, types)))
		return -EFAULT;
	if (!p->len || p->len > len)
		return -EINVAL;
	return 0;
}

static int ublk_params_store(struct ublk_device *dev, const struct ublk_params *p)
{
	guard(spinlock)(&dev->lock);
	if (dev->disk_used)
		return -EACCES;
	dev->params = *p;
	return 0;
}

/**
 * ublk_params_set - SET_PARAMS
 * @dev:	the device
 * @arg:	struct ublk_params, or the beginning of one
 * @len:	bytes at @arg
 *
 * What lies beyond the length that the structure itself names keeps its value: so a
 * set that is shorter than the types leaves them as stored. A refused set of parameters
 * leaves the device without any.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL, -EFAULT, -EOPNOTSUPP; -EACCES while there is a disk.
 */
int ublk_params_set(struct ublk_device *dev, void __user *arg, u32 len)
{
	struct ublk_params header, p;
	bool used;
	int ret;

	ret = ublk_params_header(arg, len, &header);
	if (ret)
		return ret;
	if (!header.types)
		return -EINVAL;

	scoped_guard(spinlock, &dev->lock) {
		used = dev->disk_used;
		p = dev->params;
	}
	if (used)
		return -EACCES;

	if (copy_from_user(&p, arg, min_t(size_t, header.len, sizeof(p)))) {
		ret = -EFAULT;
	} else {
		/* The header was read first: what @arg holds by now does not count. */
		p.len = header.len;
		if (p.len >= offsetofend(struct ublk_params, types))
			p.types = header.types;
		p.types &= UBLK_PARAM_TYPES;
		ret = ublk_params_validate(dev, &p);
	}
	if (ret)
		p = (struct ublk_params) { };
	return ublk_params_store(dev, &p) ?: ret;
}

/**
 * ublk_params_get - GET_PARAMS
 * @dev:	the device
 * @arg:	struct ublk_params, or the beginning of one; its length is read
 * @len:	bytes at @arg
 *
 * UBLK_PARAM_TYPE_DEVT stays among the stored types until the next SET_PARAMS.
 *
 * Context: may sleep.
 * Return: 0; -EINVAL, -EFAULT.
 */
int ublk_params_get(struct ublk_device *dev, void __user *arg, u32 len)
{
	struct ublk_params header, p;
	dev_t devt = dev->dev.devt;
	int ret;

	ret = ublk_params_header(arg, len, &header);
	if (ret)
		return ret;

	scoped_guard(spinlock, &dev->lock) {
		dev_t disk = dev->disk ? disk_devt(dev->disk) : 0;

		dev->params.devt = (struct ublk_param_devt) {
			.char_major	= MAJOR(devt),
			.char_minor	= MINOR(devt),
			.disk_major	= MAJOR(disk),
			.disk_minor	= MINOR(disk),
		};
		dev->params.types |= UBLK_PARAM_TYPE_DEVT;
		p = dev->params;
	}
	if (copy_to_user(arg, &p, min_t(size_t, header.len, sizeof(p))))
		return -EFAULT;
	return 0;
}

static blk_features_t ublk_params_features(u32 attrs)
{
	blk_features_t features = 0;

	if (attrs & UBLK_ATTR_VOLATILE_CACHE)
		features |= BLK_FEAT_WRITE_CACHE;
	if (attrs & UBLK_ATTR_FUA)
		features |= BLK_FEAT_FUA;
	if (attrs & UBLK_ATTR_ROTATIONAL)
		features |= BLK_FEAT_ROTATIONAL;
	return features;
}

/* With USER_COPY, what lies further in a request is the next tag's position. */
static u32 ublk_params_max_sectors(const struct ublk_device *dev,
				   const struct ublk_param_basic *basic)
{
	if (!ublk_dev_has(dev, UBLK_F_USER_COPY))
		return basic->max_sectors;
	return min_t(u32, basic->max_sectors, BIT(UBLK_IO_BUF_BITS - SECTOR_SHIFT));
}

/**
 * ublk_params_to_limits - what the block layer is told
 * @dev:	the device
 * @p:		validated parameters
 * @lim:	limits to fill in, zeroed by the caller
 */
void ublk_params_to_limits(const struct ublk_device *dev, const struct ublk_params *p,
			   struct queue_limits *lim)
{
	const struct ublk_param_basic *basic = &p->basic;

	lim->logical_block_size = 1U << basic->logical_bs_shift;
	lim->physical_block_size = 1U << basic->physical_bs_shift;
	lim->io_min = 1U << basic->io_min_shift;
	lim->io_opt = 1U << basic->io_opt_shift;
	lim->max_hw_sectors = ublk_params_max_sectors(dev, basic);
	lim->chunk_sectors = basic->chunk_sectors;
	lim->virt_boundary_mask = basic->virt_boundary_mask;
	lim->features = ublk_params_features(basic->attrs);
	lim->max_segments = USHRT_MAX;
	lim->max_segment_size = UINT_MAX;
	/* 0 would count as 511, which no way of the data needs. */
	lim->dma_alignment = 3;

	if (p->types & UBLK_PARAM_TYPE_DISCARD) {
		lim->discard_alignment = p->discard.discard_alignment;
		lim->discard_granularity = p->discard.discard_granularity;
		lim->max_hw_discard_sectors = p->discard.max_discard_sectors;
		lim->max_discard_segments = p->discard.max_discard_segments;
		lim->max_write_zeroes_sectors = p->discard.max_write_zeroes_sectors;
	}
	if (p->types & UBLK_PARAM_TYPE_ZONED) {
		lim->features |= BLK_FEAT_ZONED;
		lim->max_open_zones = p->zoned.max_open_zones;
		lim->max_active_zones = p->zoned.max_active_zones;
		lim->max_hw_zone_append_sectors = p->zoned.max_zone_append_sectors;
	}
	if (p->types & UBLK_PARAM_TYPE_DMA_ALIGN)
		lim->dma_alignment = p->dma.alignment;
	if (p->types & UBLK_PARAM_TYPE_SEGMENT) {
		lim->seg_boundary_mask = p->seg.seg_boundary_mask;
		lim->max_segment_size = p->seg.max_segment_size;
		lim->max_segments = p->seg.max_segments;
	}
	if (p->types & UBLK_PARAM_TYPE_INTEGRITY)
		ublk_integrity_limits(&p->integrity, lim);
}
