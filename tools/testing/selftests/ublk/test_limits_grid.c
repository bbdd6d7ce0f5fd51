// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters of all types at once, in combinations that a fixed seed picks, and
 * the limits that the block layer has to make of them.
 */
#include "fixture.h"

#define ROUNDS		4
#define MAX_BUF		(32U << 20)
#define SOFT_SECTORS	8192	/* 4 MiB, unless the disk wants more */
#define LARGEST		((1ULL << 54) - 8)

FIXTURE(grid)
{
	struct testdev td;
};

FIXTURE_VARIANT(grid)
{
	__u64 seed;
};

TD_FIXTURE_OPS(grid, td_no_device);

FIXTURE_VARIANT_ADD(grid, a) { .seed = 1 };
FIXTURE_VARIANT_ADD(grid, b) { .seed = 2 };
FIXTURE_VARIANT_ADD(grid, c) { .seed = 3 };
FIXTURE_VARIANT_ADD(grid, d) { .seed = 4 };
FIXTURE_VARIANT_ADD(grid, e) { .seed = 5 };
FIXTURE_VARIANT_ADD(grid, f) { .seed = 6 };
FIXTURE_VARIANT_ADD(grid, g) { .seed = 7 };
FIXTURE_VARIANT_ADD(grid, h) { .seed = 8 };

static __u32 next_random(__u64 *state)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return *state >> 33;
}

/* One of the values. */
#define PICK(state, ...)						\
({									\
	static const __u64 values[] = { __VA_ARGS__ };			\
	values[next_random(state) % (sizeof(values) / sizeof(*values))];\
})

static void pick_basic(struct ublk_param_basic *p, __u64 *state)
{
	p->logical_bs_shift = PICK(state, 9, 10, 11, 12);
	p->physical_bs_shift = PICK(state, 9, 12, 14, 16, 28);
	if (p->physical_bs_shift < p->logical_bs_shift)
		p->physical_bs_shift = p->logical_bs_shift;
	p->io_min_shift = PICK(state, 0, 9, 12, 16, 23, 28);
	p->io_opt_shift = PICK(state, 0, 9, 12, 20, 23, 25, 28);
	p->max_sectors = PICK(state, 8, 9, 71, 128, 1023, 8192, 8193, 20000, 65536);
	p->chunk_sectors = PICK(state, 0, 8, 24, 128, 4096);
	p->virt_boundary_mask = PICK(state, 0, 511, 4095, 65535);
	p->attrs = PICK(state, 0, 1, 2, 4, 8, 12, 15);
	p->dev_sectors = PICK(state, 0, 8, TD_SIZE >> 9, LARGEST);
}

static void pick_others(struct ublk_params *p, __u64 *state)
{
	if (PICK(state, 0, 1)) {
		p->types |= UBLK_PARAM_TYPE_DISCARD;
		p->discard.discard_granularity = PICK(state, 1, 512, 4096, 1 << 20);
		p->discard.max_discard_sectors = PICK(state, 0, 8, 2048, 1 << 22);
		p->discard.max_write_zeroes_sectors = PICK(state, 0, 1, 4096, 1 << 22);
		p->discard.max_discard_segments = 1;
	}
	if (PICK(state, 0, 1)) {
		p->types |= UBLK_PARAM_TYPE_DMA_ALIGN;
		p->dma.alignment = PICK(state, 0, 1, 3, 511, 4095);
	}
	if (PICK(state, 0, 1)) {
		p->types |= UBLK_PARAM_TYPE_SEGMENT;
		p->seg.seg_boundary_mask = PICK(state, 4095, 65535, 0xffffffff);
		p->seg.max_segment_size = PICK(state, 4096, 65536, 0xffffffff);
		p->seg.max_segments = PICK(state, 0, 1, 17, 65535);
	}
}

static __u64 larger(__u64 a, __u64 b)
{
	return a > b ? a : b;
}

static __u64 smaller(__u64 a, __u64 b)
{
	return a < b ? a : b;
}

struct limit {
	const char *attr;
	long value;
};

#define NR_LIMITS	24

static void expect(struct limit **l, const char *attr, __u64 value)
{
	*(*l)++ = (struct limit) { attr, value };
}

static void expect_sizes(struct limit **l, const struct ublk_param_basic *p)
{
	__u64 physical = 1U << p->physical_bs_shift;
	__u64 io_min = larger(1U << p->io_min_shift, physical);
	__u64 io_opt = (1U << p->io_opt_shift) & ~(physical - 1);
	__u64 block_mask = (1U << p->logical_bs_shift >> 9) - 1;
	__u64 hard = p->max_sectors & ~block_mask, soft = SOFT_SECTORS;

	if (io_opt >> 9 > SOFT_SECTORS)
		soft = io_opt >> 9;
	else if (io_min >> 9 > SOFT_SECTORS)
		soft = io_min >> 9;

	expect(l, "size", p->dev_sectors);
	expect(l, "queue/logical_block_size", 1U << p->logical_bs_shift);
	expect(l, "queue/physical_block_size", physical);
	expect(l, "queue/minimum_io_size", io_min);
	expect(l, "queue/optimal_io_size", io_opt);
	expect(l, "queue/max_hw_sectors_kb", hard / 2);
	expect(l, "queue/max_sectors_kb", smaller(hard, soft) / 2);
	expect(l, "queue/chunk_sectors", p->chunk_sectors);
	expect(l, "queue/virt_boundary_mask", p->virt_boundary_mask);
}

static void expect_attrs(struct limit **l, __u32 attrs)
{
	bool cache = attrs & UBLK_ATTR_VOLATILE_CACHE;

	expect(l, "ro", !!(attrs & UBLK_ATTR_READ_ONLY));
	expect(l, "queue/rotational", !!(attrs & UBLK_ATTR_ROTATIONAL));
	expect(l, "queue/fua", cache && attrs & UBLK_ATTR_FUA);
	expect(l, "queue/iostats", 1);
}

static void expect_discard(struct limit **l, const struct ublk_params *p)
{
	__u64 physical = 1U << p->basic.physical_bs_shift;
	struct ublk_param_discard d = { };

	if (p->types & UBLK_PARAM_TYPE_DISCARD)
		d = p->discard;
	expect(l, "queue/discard_max_hw_bytes", (__u64)d.max_discard_sectors << 9);
	expect(l, "queue/discard_max_bytes", (__u64)d.max_discard_sectors << 9);
	expect(l, "queue/discard_granularity", d.max_discard_sectors ?
	       larger(d.discard_granularity, physical) : 0);
	expect(l, "queue/write_zeroes_max_bytes",
	       (__u64)d.max_write_zeroes_sectors << 9);
}

static void expect_memory(struct limit **l, const struct ublk_params *p)
{
	bool segment = p->types & UBLK_PARAM_TYPE_SEGMENT;
	bool dma = p->types & UBLK_PARAM_TYPE_DMA_ALIGN;

	expect(l, "queue/dma_alignment", dma ? p->dma.alignment ?: 511 : 3);
	expect(l, "queue/max_segments", segment ? p->seg.max_segments ?: 128 : 65535);
	expect(l, "queue/max_segment_size",
	       segment ? p->seg.max_segment_size : 0xffffffff);
}

static int start_picked(struct testdev *td, __u64 *state)
{
	int ret;

	td->info.max_io_buf_bytes = MAX_BUF;
	pick_basic(&td->params.basic, state);
	pick_others(&td->params, state);
	ret = td_add_fetched(td);
	return ret ? ret : td_start(td);
}

TEST_F(grid, disk_shows_what_the_parameters_say)
{
	struct limit limits[NR_LIMITS] = { }, *l;
	struct testdev *td = &self->td;
	__u64 state = variant->seed;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, start_picked(td, &state))
			TH_LOG("round %d", i);
		l = limits;
		expect_sizes(&l, &td->params.basic);
		expect_attrs(&l, td->params.basic.attrs);
		expect_discard(&l, &td->params);
		expect_memory(&l, &td->params);
		l->attr = NULL;
		for (l = limits; l->attr; l++) {
			EXPECT_EQ(l->value, td_sysfs_number(td, l->attr))
				TH_LOG("round %d: %s", i, l->attr);
		}
		td_detach(td);
		td_drop(td);
		ublk_ctrl_close(&td->ctrl);
		ASSERT_TRUE(td_init(td));
	}
}

TEST_HARNESS_MAIN
