// SPDX-License-Identifier: GPL-2.0
/*
 * Copying the data of a request to and from the server's memory.
 *
 * The caller sees to it that the request does not go away, and runs in the task
 * whose address space the buffer belongs to. A fault ends a copy early; what was
 * copied until then counts.
 */
#include <linux/bvec.h>
#include <linux/highmem.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "io.h"

/*
 * Where all memory is mapped, one bio_vec is one run of addresses however many
 * pages it spans; with highmem each page is mapped by itself.
 *
 * These are two loops, over bios and over their memory: "break" would go on with
 * the next bio.
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

	if (!ARCH_IMPLEMENTS_FLUSH_DCACHE_PAGE)
		return;
	for (unsigned int at = 0; at < end; at += PAGE_SIZE)
		flush_dcache_page(page++);
}

static size_t ublk_copy_run(struct bio_vec *bv, struct iov_iter *iter)
{
	void *data = bvec_kmap_local(bv);
	size_t copied;

	if (iov_iter_rw(iter) == READ) {
		copied = _copy_to_iter(data, bv->bv_len, iter);
		kunmap_local(data);
	} else {
		copied = _copy_from_iter(data, bv->bv_len, iter);
		kunmap_local(data);
		ublk_flush_dcache(bv);
	}
	return copied;
}

/**
 * ublk_copy_part - copy between one piece of a request's memory and a user's
 * @bv:		the piece
 * @skip:	bytes that are not to be copied; less those of this piece on return
 * @iter:	the user's memory; it knows in which direction
 *
 * Context: may fault and so sleep, for as long as the memory's owner likes.
 * Return: false if the copy ends here, by a fault or because @iter is full.
 */
bool ublk_copy_part(struct bio_vec bv, size_t *skip, struct iov_iter *iter)
{
	if (*skip >= bv.bv_len) {
		*skip -= bv.bv_len;
		return true;
	}
	bv.bv_offset += *skip;
	bv.bv_len -= *skip;
	*skip = 0;
	return ublk_copy_run(&bv, iter) == bv.bv_len;
}

/**
 * ublk_copy - copy between a request and a user's memory
 * @rq:		the request
 * @skip:	where in its data to begin
 * @iter:	the memory; it knows in which direction
 *
 * Context: may fault and so sleep, for as long as the memory's owner likes.
 * Return: bytes copied.
 */
size_t ublk_copy(struct request *rq, size_t skip, struct iov_iter *iter)
{
	size_t before = iov_iter_count(iter);
	struct req_iterator it;
	struct bio_vec bv;

	ublk_for_each_run(bv, rq, it)
		if (!ublk_copy_part(bv, &skip, iter))
			goto out;
out:
	return before - iov_iter_count(iter);
}

/*
 * A single user buffer needs no iov_iter. The underscore variants skip the check of
 * hardened usercopy that the kernel side is one whole object: pages of a request
 * need not be.
 */
static size_t ublk_copy_run_ubuf(struct bio_vec *bv, int direction,
				 void __user *buf)
{
	void *data = bvec_kmap_local(bv);
	size_t left;

	if (direction == ITER_DEST) {
		left = _copy_to_user(buf, data, bv->bv_len);
		kunmap_local(data);
	} else {
		left = _copy_from_user(data, buf, bv->bv_len);
		kunmap_local(data);
		ublk_flush_dcache(bv);
	}
	return bv->bv_len - left;
}

static unsigned int ublk_copy_ubuf(struct request *rq, int direction, u64 addr,
				   unsigned int len)
{
	unsigned int done = 0, copied;
	struct req_iterator it;
	struct bio_vec bv;

	ublk_for_each_run(bv, rq, it) {
		bv.bv_len = min(bv.bv_len, len - done);
		copied = ublk_copy_run_ubuf(&bv, direction, u64_to_user_ptr(addr + done));
		done += copied;
		if (copied < bv.bv_len || done == len)
			return done;
	}
	return done;
}

static unsigned int ublk_copy_server(struct request *rq, int direction, u64 addr,
				     unsigned int len, bool may_fault)
{
	unsigned int copied;

	if (may_fault)
		return ublk_copy_ubuf(rq, direction, addr, len);
	pagefault_disable();
	copied = ublk_copy_ubuf(rq, direction, addr, len);
	pagefault_enable();
	return copied;
}

/**
 * ublk_copy_to_server - give the server the data of a WRITE
 * @rq:		request whose data is copied, from its first byte on
 * @addr:	address in the current task's memory
 * @len:	bytes to copy, at most the length of @rq
 * @may_fault:	take page faults; else stop at memory that is not present
 *
 * Context: with @may_fault sleeps for as long as the memory's owner likes.
 * Return: bytes copied.
 */
unsigned int ublk_copy_to_server(struct request *rq, u64 addr, unsigned int len,
				 bool may_fault)
{
	return ublk_copy_server(rq, ITER_DEST, addr, len, may_fault);
}

/**
 * ublk_copy_from_server - take the data of a READ from the server
 * @rq:		request whose memory is filled, from its first byte on
 * @addr:	address in the current task's memory
 * @len:	bytes to copy, at most the length of @rq
 * @may_fault:	take page faults; else stop at memory that is not present
 *
 * What follows the bytes copied may be zeroed.
 *
 * Context: with @may_fault sleeps for as long as the memory's owner likes.
 * Return: bytes copied.
 */
unsigned int ublk_copy_from_server(struct request *rq, u64 addr, unsigned int len,
				   bool may_fault)
{
	return ublk_copy_server(rq, ITER_SOURCE, addr, len, may_fault);
}
