// SPDX-License-Identifier: GPL-2.0
/*
 * Metadata of requests: what SET_PARAMS says of its format, and the way it takes
 * between a request and its server.
 *
 * Generating and checking what protects the data is the block layer's, or that of
 * who sent the I/O. To this driver metadata is bytes.
 */
#include <linux/blk-integrity.h>
#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/t10-pi.h>

#include "io.h"

static const struct ublk_csum {
	u8				type;
	enum blk_integrity_checksum	csum;
	u8				tuple_size;
} ublk_csums[] = {
	{ LBMD_PI_CSUM_NONE,		BLK_INTEGRITY_CSUM_NONE, 0 },
	{ LBMD_PI_CSUM_IP,		BLK_INTEGRITY_CSUM_IP,
	  sizeof(struct t10_pi_tuple) },
	{ LBMD_PI_CSUM_CRC16_T10DIF,	BLK_INTEGRITY_CSUM_CRC,
	  sizeof(struct t10_pi_tuple) },
	{ LBMD_PI_CSUM_CRC64_NVME,	BLK_INTEGRITY_CSUM_CRC64,
	  sizeof(struct crc64_pi_tuple) },
};

static const struct ublk_csum *ublk_csum_find(u8 type)
{
	for (size_t i = 0; i < ARRAY_SIZE(ublk_csums); i++)
		if (ublk_csums[i].type == type)
			return &ublk_csums[i];
	return NULL;
}

/**
 * ublk_integrity_validate - may a disk have metadata of this format?
 * @dev:	the device
 * @params:	parameters, those of the basic type among them
 *
 * Return: 0 or -EINVAL.
 */
int ublk_integrity_validate(const struct ublk_device *dev,
			    const struct ublk_params *params)
{
	const struct ublk_param_integrity *p = &params->integrity;
	const struct ublk_csum *csum = ublk_csum_find(p->csum_type);

	if (!ublk_dev_has(dev, UBLK_F_INTEGRITY) || !csum)
		return -EINVAL;
	if (p->flags & ~(LBMD_PI_CAP_INTEGRITY | LBMD_PI_CAP_REFTAG))
		return -EINVAL;
	if ((p->flags & LBMD_PI_CAP_REFTAG) && !csum->tuple_size)
		return -EINVAL;
	if (!p->metadata_size || p->pi_offset + csum->tuple_size > p->metadata_size)
		return -EINVAL;
	if (p->interval_exp < SECTOR_SHIFT ||
	    p->interval_exp > params->basic.logical_bs_shift)
		return -EINVAL;
	return 0;
}

/**
 * ublk_integrity_limits - what the block layer is told of the metadata
 * @p:		validated parameters
 * @lim:	limits to add to
 */
void ublk_integrity_limits(const struct ublk_param_integrity *p,
			   struct queue_limits *lim)
{
	const struct ublk_csum *csum = ublk_csum_find(p->csum_type);
	struct blk_integrity *bi = &lim->integrity;

	/* A copy does not care how intervals lie in memory. */
	bi->flags = BLK_SPLIT_INTERVAL_CAPABLE;
	if (p->flags & LBMD_PI_CAP_INTEGRITY)
		bi->flags |= BLK_INTEGRITY_DEVICE_CAPABLE;
	if (p->flags & LBMD_PI_CAP_REFTAG)
		bi->flags |= BLK_INTEGRITY_REF_TAG;
	bi->csum_type = csum->csum;
	bi->pi_tuple_size = csum->tuple_size;
	bi->metadata_size = p->metadata_size;
	bi->pi_offset = p->pi_offset;
	bi->interval_exp = p->interval_exp;
	bi->tag_size = p->tag_size;
	lim->max_integrity_segments = p->max_integrity_segments ?: USHRT_MAX;
}

/**
 * ublk_integrity_bytes - metadata that goes with the data of a request
 * @rq:		the request; it may have come without any
 *
 * Return: bytes, 0 if the disk has no metadata.
 */
size_t ublk_integrity_bytes(const struct request *rq)
{
	struct blk_integrity *bi = blk_get_integrity(rq->q->disk);

	return bi ? bio_integrity_bytes(bi, blk_rq_sectors(rq)) : 0;
}

/**
 * ublk_integrity_copy - copy between the metadata of a request and a user's memory
 * @rq:		the request
 * @skip:	where in its metadata to begin
 * @iter:	the memory; it knows in which direction
 *
 * Context: may fault and so sleep, for as long as the memory's owner likes.
 * Return: bytes copied.
 */
size_t ublk_integrity_copy(const struct request *rq, size_t skip,
			   struct iov_iter *iter)
{
	size_t before = iov_iter_count(iter);
	struct bvec_iter it;
	struct bio_vec bv;
	struct bio *bio;

	__rq_for_each_bio(bio, rq)
		bip_for_each_vec(bv, bio->bi_integrity, it)
			if (!ublk_copy_part(bv, &skip, iter))
				goto out;
out:
	return before - iov_iter_count(iter);
}

/*
 * What the block layer checks is the metadata from bip_iter on, against all of the
 * data. For a READ that was answered in parts, that is where the last part began.
 */
static bool ublk_integrity_is_behind(const struct request *rq, unsigned int bytes)
{
	struct bio *bio = rq->bio;
	struct bio_integrity_payload *bip = bio->bi_integrity;

	return req_op(rq) == REQ_OP_READ && bytes >= bio->bi_iter.bi_size &&
		(bip->bip_flags & BIP_BLOCK_INTEGRITY) &&
		bip->bip_iter.bi_size < bip->bip_vec->bv_len;
}

/**
 * ublk_integrity_update - blk_update_request() for a request with metadata
 * @rq:		the request
 * @status:	how its part ended
 * @bytes:	of data, that part
 *
 * Return: whether there is more of @rq.
 */
bool ublk_integrity_update(struct request *rq, blk_status_t status, unsigned int bytes)
{
	struct bio *bio = rq->bio;
	struct bio_integrity_payload *bip = bio->bi_integrity;
	bool more;

	if (!ublk_integrity_is_behind(rq, bytes))
		return blk_update_request(rq, status, bytes);

	/* Keep the end of the bio, which is when it is checked, for later. */
	bio_inc_remaining(bio);
	more = blk_update_request(rq, status, bytes);
	bip->bip_iter.bi_idx = 0;
	bip->bip_iter.bi_offset = 0;
	bip->bip_iter.bi_size = bip->bip_vec->bv_len;
	bio_endio(bio);
	return more;
}
