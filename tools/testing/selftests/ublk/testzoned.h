/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A zoned device under test: what a hand-driven server knows of zones, and the
 * client's calls that are about them.
 *
 * The first zones are conventional, all others empty to begin with. Reports are
 * answered on the side, from tz_zones, except while tz_hold is set: then they are
 * for the test.
 */
#ifndef UBLK_TESTZONED_H
#define UBLK_TESTZONED_H

#include <linux/blkzoned.h>
#include "testdev.h"

#define TZ_SECTORS	2048U			/* a zone: 1 MiB */
#define TZ_BYTES	(TZ_SECTORS << UBLK_SECTOR_SHIFT)
#define TZ_NR		((unsigned int)(TD_SIZE / TZ_BYTES))
#define TZ_CONVENTIONAL	4U
#define TZ_OPEN		8U			/* zones that may be open, or active */
#define TZ_FIRST	((unsigned int)(TD_AREA / TZ_BYTES)) /* in the TD_AREA */

extern struct blk_zone tz_zones[TZ_NR];
extern bool tz_hold;

/* @nr zones of @sectors each, as they are at first. */
void tz_make_zones(struct blk_zone *zones, __u32 sectors, unsigned int nr);
/* Makes @td one of a zoned device, before it is added. */
void tz_init(struct testdev *td);
/*
 * That, and as much of the way to a live disk as the names of their like in
 * testdev.h say.
 */
int tz_add(struct testdev *td);
int tz_add_fetched(struct testdev *td);
int tz_go_live(struct testdev *td);
/* Put these into the memory of a report, or answer it with them. */
int tz_bring(struct testdev *td, const struct td_req *req,
	     const struct blk_zone *zones, unsigned int nr);
int tz_tell(struct testdev *td, const struct td_req *req,
	    const struct blk_zone *zones, unsigned int nr);

/* The answer to an append: where it went. */
int tz_answer_at(struct testdev *td, const struct td_req *req, int result, __u64 lba);

/* A call that sleeps until the server has answered, in a thread of its own. */
struct tz_call {
	pthread_t thread;
	pid_t tid;
	int fd;
	unsigned long op;
	void *arg;
	int ret;
	int done;		/* eventfd */
};

int tz_ioctl_on(int fd, struct tz_call *call, unsigned long op, void *arg);
int tz_ioctl(struct testdev *td, struct tz_call *call, unsigned long op, void *arg);
/* What BLK*ZONE do, to @nr zones from number @first on. */
int tz_manage(struct testdev *td, struct tz_call *call, unsigned long op,
	      unsigned int first, unsigned int nr);
/* A report of @nr zones; the memory for them stays where @call->arg is. */
int tz_report(struct testdev *td, struct tz_call *call, unsigned int first,
	      unsigned int nr);
/* Its result once it has one, while the server goes on; -ETIME. */
int tz_wait(struct testdev *td, struct tz_call *call);
bool tz_done(struct tz_call *call);
/* Until a thread, or a process, is asleep in a call that no signal interrupts. */
bool tz_wait_asleep(pid_t *tid);

static inline struct blk_zone *tz_reported(const struct tz_call *call)
{
	return ((struct blk_zone_report *)call->arg)->zones;
}

static inline unsigned int tz_nr_reported(const struct tz_call *call)
{
	return ((struct blk_zone_report *)call->arg)->nr_zones;
}

#endif
