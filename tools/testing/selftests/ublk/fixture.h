/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fixtures of the tests: a device, brought to the point where a test starts.
 *
 * The parent of a test process tears down, after that process has gone in
 * whatever way, and fails the test if its device cannot be deleted.
 */
#ifndef UBLK_FIXTURE_H
#define UBLK_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "testbatch.h"
#include "testclient.h"
#include "testhold.h"
#include "testhost.h"
#include "testserve.h"
#include "testspawn.h"
#include "kselftest_harness.h"

/* Features of the driver, 0 on error. */
static inline __u64 td_features(struct testdev *td)
{
	__u64 features = 0;

	return ublk_get_features(&td->ctrl, &features) ? 0 : features;
}

/* The numbers are those of UBLK_F_*. */
#define REQUIRE_FEATURE(td, bits)					\
do {									\
	__u64 missing = (bits) & ~td_features(td);			\
									\
	if (missing)							\
		SKIP(return, "driver without UBLK_F_* of 0x%llx",	\
		     (unsigned long long)missing);			\
} while (0)

#define TD_FIXTURE_TEARDOWN(name)					\
FIXTURE_TEARDOWN_PARENT(name)						\
{									\
	int ret = td_reap(&self->td);					\
									\
	EXPECT_EQ(0, ret);						\
	if (ret)							\
		TH_LOG("device %d stays: %s", self->td.id, strerror(-ret)); \
}

/*
 * Set-up of @name: skips without a driver, or if the driver lacks one of @features;
 * @step must succeed.
 */
#define TD_SETUP(name, features, step)					\
FIXTURE_SETUP(name)							\
{									\
	int ret;							\
									\
	if (!td_init(&self->td))					\
		SKIP(return, "no /dev/ublk-control: load ublk_drv");	\
	REQUIRE_FEATURE(&self->td, features);				\
	ret = step;							\
	if (ret) {							\
		td_drop(&self->td);					\
		td_hold_unload();					\
	}								\
	ASSERT_EQ(0, ret)						\
		TH_LOG(#step ": %s", strerror(-ret));			\
}									\
TD_FIXTURE_TEARDOWN(name)

#define TD_FIXTURE_OPS_WITH(name, features, prepare)			\
TD_SETUP(name, features, prepare(&self->td))

#define TD_FIXTURE_OPS(name, prepare)					\
TD_FIXTURE_OPS_WITH(name, 0, prepare)

#define TD_FIXTURE_WITH(name, features, prepare)			\
FIXTURE(name)								\
{									\
	struct testdev td;						\
};									\
TD_FIXTURE_OPS_WITH(name, features, prepare)

#define TD_FIXTURE(name, prepare)					\
TD_FIXTURE_WITH(name, 0, prepare)

/*
 * The same where the driver is held: the test is on the first CPU. @self has testdev td.
 */
#define HOLD_SETUP(name, features, step)				\
FIXTURE_SETUP(name)							\
{									\
	int ret;							\
									\
	if (!td_init(&self->td))					\
		SKIP(return, "no /dev/ublk-control: load ublk_drv");	\
	REQUIRE_FEATURE(&self->td, features);				\
	if (td_take_cpu(0))						\
		SKIP(return, "one CPU: who is held needs another");	\
	if (td_hold_load())						\
		SKIP(return, "no module ublk_hold for this kernel");	\
	ret = step;							\
	if (ret) {							\
		td_drop(&self->td);					\
		td_hold_unload();					\
	}								\
	ASSERT_EQ(0, ret)						\
		TH_LOG(#step ": %s", strerror(-ret));			\
}									\
FIXTURE_TEARDOWN_PARENT(name)						\
{									\
	EXPECT_EQ(0, td_hold_unload());					\
	EXPECT_EQ(0, td_reap(&self->td));				\
}

#define HOLD_FIXTURE(name, features, prepare)				\
FIXTURE(name)								\
{									\
	struct testdev td;						\
};									\
HOLD_SETUP(name, features, prepare(&self->td))

#define HOLD_TB_FIXTURE(name, features, prepare)			\
FIXTURE(name)								\
{									\
	struct testdev td;						\
	struct tb tb;							\
};									\
HOLD_SETUP(name, UBLK_F_BATCH_IO | (features), prepare(&self->tb, &self->td))

/* A variant of @name for each way of the data of a server like ublk_srv. */
#define MODE_VARIANTS(name)						\
FIXTURE_VARIANT(name)							\
{									\
	enum ublk_mode mode;						\
	__u64 flags;							\
};									\
FIXTURE_VARIANT_ADD(name, copy) { };					\
FIXTURE_VARIANT_ADD(name, user_copy) { .mode = UBLK_MODE_USER_COPY };	\
FIXTURE_VARIANT_ADD(name, zero_copy) { .mode = UBLK_MODE_ZERO_COPY };	\
FIXTURE_VARIANT_ADD(name, auto_buf) { .mode = UBLK_MODE_AUTO_BUF };	\
FIXTURE_VARIANT_ADD(name, batch) { .flags = UBLK_F_BATCH_IO };		\
FIXTURE_VARIANT_ADD(name, batch_auto_buf) {				\
	.mode = UBLK_MODE_AUTO_BUF, .flags = UBLK_F_BATCH_IO,		\
}

static inline int td_no_device(struct testdev *td)
{
	return 0;
}

static inline int td_add_attached(struct testdev *td)
{
	int ret = td_add(td);

	if (!ret)
		ret = td_set_params(td);
	return ret ? ret : td_attach(td);
}

/* Everything but START. */
static inline int td_add_fetched(struct testdev *td)
{
	int ret = td_add_attached(td);

	return ret ? ret : td_fetch_all(td);
}

/* A live disk that outlives its server, this process. */
static inline int td_go_live_recoverable(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY;
	return td_go_live(td);
}

/* The disk is there and open; its server is gone, this process lives on. */
static inline int td_lose_server(struct testdev *td, int state)
{
	int ret = td_go_live_recoverable(td);

	if (ret)
		return ret;
	td_detach(td);
	return td_wait_state(td, state) ? 0 : -ETIME;
}

static inline int td_go_quiesced(struct testdev *td)
{
	return td_lose_server(td, UBLK_S_DEV_QUIESCED);
}

static inline int td_go_fail_io(struct testdev *td)
{
	td->info.flags |= UBLK_F_USER_RECOVERY_FAIL_IO;
	return td_lose_server(td, UBLK_S_DEV_FAIL_IO);
}

/* The same for a device in batch mode, with a ring for its commands. */
#define TB_FIXTURE_WITH(name, features, prepare)			\
FIXTURE(name)								\
{									\
	struct testdev td;						\
	struct tb tb;							\
};									\
TD_SETUP(name, UBLK_F_BATCH_IO | (features), prepare(&self->tb, &self->td))

#define TB_FIXTURE(name, prepare)					\
TB_FIXTURE_WITH(name, 0, prepare)

#endif
