// SPDX-License-Identifier: GPL-2.0
/*
 * Requests that wait for others to come, to wake the server together: those of a
 * client that shares a CPU with the server, and sends one after the other. None of
 * them is forgotten, however few there are.
 */
#include <sched.h>

#include "fixture.h"

#define MOST	80	/* more than wait together */

FIXTURE(beside)
{
	struct testdev td;
};

FIXTURE_VARIANT(beside)
{
	__u64 flags;
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(beside, one_server) { .threads = 1 };
FIXTURE_VARIANT_ADD(beside, two_servers_of_a_queue) { .threads = 2 };
FIXTURE_VARIANT_ADD(beside, in_batches) { .flags = UBLK_F_BATCH_IO, .threads = 1 };

/* With all that this process starts. */
static int stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(sched_getcpu(), &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

FIXTURE_SETUP(beside)
{
	struct testdev *td = &self->td;
	struct ublk_options opts;

	if (!td_init(td))
		SKIP(return, "no /dev/ublk-control: load ublk_drv");
	REQUIRE_FEATURE(td, variant->flags);
	ublk_options_init(&opts);
	opts.target = &ublk_null_target;
	opts.size = TD_SIZE;
	opts.depth = 128;
	opts.threads = variant->threads;
	opts.flags = variant->flags;
	ASSERT_EQ(0, stay_on_this_cpu());
	ASSERT_EQ(0, td_spawn(td, &opts));
}

TD_FIXTURE_TEARDOWN(beside)

/* Without a sleep between the first and the last of them. */
static int send_burst(struct testdev *td, void *buf, unsigned int nr)
{
	int clients[MOST], ret = 0;
	unsigned int i;

	for (i = 0; i < nr; i++)
		clients[i] = td_read(td, buf, 4096, i * 4096);
	for (i = 0; i < nr; i++)
		ret |= td_wait(td, clients[i]) ^ 4096;
	return ret;
}

TEST_F_TIMEOUT(beside, requests_of_a_burst_all_end, 120)
{
	void *buf = td_page_buf(4096, 0);
	unsigned int nr;

	for (nr = 1; nr <= MOST; nr++)
		ASSERT_EQ(0, send_burst(&self->td, buf, nr)) TH_LOG("of %u", nr);
}

/* The limit follows what comes, down and up. */
TEST_F_TIMEOUT(beside, requests_of_short_bursts_between_long_ones_end, 120)
{
	void *buf = td_page_buf(4096, 0);
	int round;

	for (round = 0; round < 40; round++) {
		ASSERT_EQ(0, send_burst(&self->td, buf, MOST));
		ASSERT_EQ(0, send_burst(&self->td, buf, 1 + round % 5));
	}
}

TEST_HARNESS_MAIN
