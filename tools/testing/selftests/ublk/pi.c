// SPDX-License-Identifier: GPL-2.0
/*
 * Protection information: see pi.h. The checksums are computed bit by bit, as
 * their standards define them.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "pi.h"
#include "testclient.h"
#include "testhost.h"
#include "testserve.h"

static __u64 crc16_t10dif(__u64 crc, const __u8 *p, size_t len)
{
	int bit;

	while (len--) {
		crc ^= *p++ << 8;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 0x8000 ? crc << 1 ^ 0x8bb7 : crc << 1;
		crc &= 0xffff;
	}
	return crc;
}

static __u64 crc64_nvme(__u64 crc, const __u8 *p, size_t len)
{
	int bit;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x9a6c9329ac4bc9b5ULL : crc >> 1;
	}
	return ~crc;
}

/* The sum so far, not yet folded; each piece begins with a high byte. */
static __u64 ip_sum(__u64 sum, const __u8 *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		sum += i % 2 ? p[i] : p[i] << 8;
	return sum;
}

static __u64 ip_fold(__u64 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum ^ 0xffff;
}

static __u64 get_be(const __u8 *p, unsigned int len)
{
	__u64 value = 0;

	while (len--)
		value = value << 8 | *p++;
	return value;
}

static void put_be(__u8 *p, unsigned int len, __u64 value)
{
	while (len--) {
		p[len] = value;
		value >>= 8;
	}
}

static bool is_crc64(const struct ublk_param_integrity *format)
{
	return format->csum_type == LBMD_PI_CSUM_CRC64_NVME;
}

unsigned int pi_tuple_size(const struct ublk_param_integrity *format)
{
	if (format->csum_type == LBMD_PI_CSUM_NONE)
		return 0;
	return is_crc64(format) ? 16 : 8;
}

unsigned int pi_bytes(const struct ublk_param_integrity *format, __u32 len)
{
	return (len >> format->interval_exp) * format->metadata_size;
}

static const __u8 *tuple_at(const struct ublk_param_integrity *format,
			    const void *meta, unsigned int nr)
{
	return (const __u8 *)meta + nr * format->metadata_size + format->pi_offset;
}

struct pi_tuple pi_get(const struct ublk_param_integrity *format,
		       const void *meta, unsigned int nr)
{
	unsigned int guard = is_crc64(format) ? 8 : 2;
	const __u8 *p = tuple_at(format, meta, nr);

	return (struct pi_tuple) {
		.guard = get_be(p, guard),
		.app = get_be(p + guard, 2),
		.ref = get_be(p + guard + 2, is_crc64(format) ? 6 : 4),
	};
}

void pi_put(const struct ublk_param_integrity *format, void *meta,
	    unsigned int nr, struct pi_tuple tuple)
{
	unsigned int guard = is_crc64(format) ? 8 : 2;
	__u8 *p = (__u8 *)tuple_at(format, meta, nr);

	put_be(p, guard, tuple.guard);
	put_be(p + guard, 2, tuple.app);
	put_be(p + guard + 2, is_crc64(format) ? 6 : 4, tuple.ref);
}

/* What stands before the tuple is guarded with the data. */
__u64 pi_guard(const struct ublk_param_integrity *format, const void *data,
	       const void *meta, unsigned int nr)
{
	const __u8 *front = tuple_at(format, meta, nr) - format->pi_offset;
	size_t interval = 1U << format->interval_exp;
	const __u8 *p = (const __u8 *)data + nr * interval;

	switch (format->csum_type) {
	case LBMD_PI_CSUM_IP:
		return ip_fold(ip_sum(ip_sum(0, p, interval), front,
				      format->pi_offset));
	case LBMD_PI_CSUM_CRC16_T10DIF:
		return crc16_t10dif(crc16_t10dif(0, p, interval), front,
				    format->pi_offset);
	default:
		return crc64_nvme(crc64_nvme(0, p, interval), front,
				  format->pi_offset);
	}
}

void pi_make(const struct ublk_param_integrity *format, const void *data,
	     __u32 len, void *meta, __u16 app, __u64 ref)
{
	unsigned int nr;

	for (nr = 0; nr < len >> format->interval_exp; nr++) {
		struct pi_tuple tuple = {
			.guard = pi_guard(format, data, meta, nr),
			.app = app,
			.ref = ref + nr,
		};

		pi_put(format, meta, nr, tuple);
	}
}

int pi_take(struct testdev *td, const struct td_req *req, void *meta,
	    __u32 len, __u32 offset)
{
	ssize_t n = pread(td->cdev, meta, len, UBLKSRV_IO_INTEGRITY_FLAG |
			  td_pos(req->queue, req->tag, offset));

	return n < 0 ? -errno : n;
}

int pi_bring(struct testdev *td, const struct td_req *req, const void *meta,
	     __u32 len, __u32 offset)
{
	ssize_t n = pwrite(td->cdev, meta, len, UBLKSRV_IO_INTEGRITY_FLAG |
			   td_pos(req->queue, req->tag, offset));

	return n < 0 ? -errno : n;
}

void pi_describe(struct testdev *td, const struct ublk_param_integrity *format)
{
	td->info.flags |= UBLK_F_USER_COPY | UBLK_F_INTEGRITY;
	td->params.types |= UBLK_PARAM_TYPE_INTEGRITY;
	td->params.integrity = *format;
}

bool pi_has_csum(const struct ublk_param_integrity *format)
{
	return format->csum_type != LBMD_PI_CSUM_NONE;
}

bool pi_has_ref(const struct ublk_param_integrity *format)
{
	return format->flags & LBMD_PI_CAP_REFTAG;
}

__u64 pi_ref_at(const struct ublk_param_integrity *format, __u64 offset)
{
	return offset >> format->interval_exp;
}

int pi_go_live(struct pi_disk *d, const struct ublk_param_integrity *format,
	       int block_shift)
{
	struct ublk_param_basic *basic = &d->td.params.basic;
	__u64 features = 0;

	ublk_get_features(&d->td.ctrl, &features);
	if (!(features & UBLK_F_INTEGRITY))
		return 1;

	d->format = format;
	d->intervals = PI_LEN >> format->interval_exp;
	d->bytes = pi_bytes(format, PI_LEN);
	d->data = td_page_buf(PI_LEN, 0);
	d->meta = td_page_buf(PI_MAX_META, 0);
	d->mine = td_page_buf(PI_LEN, 0);
	d->my_meta = td_page_buf(PI_MAX_META, 0);
	basic->logical_bs_shift = block_shift;
	basic->physical_bs_shift = block_shift;
	pi_describe(&d->td, format);
	return d->bytes > PI_MAX_META ? -E2BIG : td_go_live(&d->td);
}

void pi_reset(struct pi_disk *d)
{
	unsigned int i;

	for (i = 0; i < PI_LEN; i++)
		d->data[i] = i * 3 + (i >> 9);
	for (i = 0; i < d->bytes; i++)
		d->meta[i] = i * 7;
	if (pi_has_csum(d->format))
		pi_make(d->format, d->data, PI_LEN, d->meta, 0x1234,
			pi_ref_at(d->format, TD_AREA));
}

void pi_flip(const struct pi_disk *d, void *meta, struct pi_tuple bits)
{
	struct pi_tuple tuple = pi_get(d->format, meta, d->intervals - 1);

	tuple.guard ^= bits.guard;
	tuple.app ^= bits.app;
	tuple.ref ^= bits.ref;
	pi_put(d->format, meta, d->intervals - 1, tuple);
}

int pi_serve_read(struct pi_disk *d, const struct td_req *req, int client)
{
	if (td_bring(&d->td, req, d->data, PI_LEN, 0) != PI_LEN)
		return -ENODATA;
	if (pi_bring(&d->td, req, d->meta, d->bytes, 0) != (int)d->bytes)
		return -ENODATA;
	td_answer(&d->td, req, PI_LEN);
	return td_wait(&d->td, client);
}
