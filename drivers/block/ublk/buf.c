// SPDX-License-Identifier: GPL-2.0
/*
 * Copy mode: the data of a request to and from the server's memory.
 *
 * The caller owns the slot, so the request cannot go away, and runs in the task
 * whose address space the buffer belongs to. A fault ends a copy early; what was
 * copied until then counts.
 */
#include <linux/bvec.h>
#include <linux/highmem.h>
#include <linux/uio.h>

#include "ublk.h"

/*
 * Where all memory is mapped, one bio_vec is one run of addresses however many
 * pages it spans; with highmem each page is mapped by itself.
 */
#ifdef CONFIG_HIGHMEM
#define ublk_for_each_run(bv, rq, it)	rq_for_each_segment(bv, rq, it)
#else
#define ublk_for_each_run(bv, rq, it)	rq_for_each_bvec(bv, rq, it)
#endif

/* The page cache may look at what was filled through another mapping. */
static void ublk_flush_dcache(const struct bio_vec *bv)
{
	struct page *page = bv->bv_page;
	unsigned int end = bv->bv_offset + bv->bv_len;

	for (unsigned int at = 0; at < end; at += PAGE_SIZE)
		flush_dcache_page(page++);
}

/**
 * ublk_copy_to_server - give the server the data of a WRITE
 * @rq:		request whose data is copied, from its first byte on
 * @addr:	address in the current task's memory
 * @len:	bytes to copy, at most the length of @rq
 *
 * Context: may fault and so sleep, for as long as the memory's owner likes.
 * Return: bytes copied.
 */
unsigned int ublk_copy_to_server(struct request *rq, u64 addr, unsigned int len)
{
	struct req_iterator it;
	struct iov_iter iter;
	struct bio_vec bv;

	len = min(len, MAX_RW_COUNT);
	if (import_ubuf(ITER_DEST, u64_to_user_ptr(addr), len, &iter))
		return 0;

	ublk_for_each_run(bv, rq, it) {
		size_t want = min_t(size_t, bv.bv_len, iov_iter_count(&iter));
		void *data = bvec_kmap_local(&bv);
		size_t got = _copy_to_iter(data, want, &iter);

		kunmap_local(data);
		if (got < bv.bv_len)
			break;
	}
	return len - iov_iter_count(&iter);
}

/**
 * ublk_copy_from_server - take the data of a READ from the server
 * @rq:		request whose memory is filled, from its first byte on
 * @addr:	address in the current task's memory
 * @len:	bytes to copy, at most the length of @rq
 *
 * Context: may fault and so sleep, for as long as the memory's owner likes.
 * Return: bytes copied.
 */
unsigned int ublk_copy_from_server(struct request *rq, u64 addr, unsigned int len)
{
	struct req_iterator it;
	struct iov_iter iter;
	struct bio_vec bv;

	len = min(len, MAX_RW_COUNT);
	if (import_ubuf(ITER_SOURCE, u64_to_user_ptr(addr), len, &iter))
		return 0;

	ublk_for_each_run(bv, rq, it) {
		size_t want = min_t(size_t, bv.bv_len, iov_iter_count(&iter));
		void *data = bvec_kmap_local(&bv);
		size_t got = _copy_from_iter(data, want, &iter);

		kunmap_local(data);
		ublk_flush_dcache(&bv);
		if (got < bv.bv_len)
			break;
	}
	return len - iov_iter_count(&iter);
}
