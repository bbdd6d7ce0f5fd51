// SPDX-License-Identifier: GPL-2.0
/*
 * Holding the driver at a point: see testhold.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "testhold.h"
#include "testhost.h"

#define NODE	"/dev/ublk-hold"

/* -- the module ------------------------------------------------------------ */

int td_hold_load(void)
{
	return td_module_load("ublk_hold", NODE);
}

int td_hold_unload(void)
{
	return td_module_unload("ublk_hold");
}

/* -- points ---------------------------------------------------------------- */

static int arm(const struct ublk_hold_point *point)
{
	int fd = open(NODE, O_RDWR | O_CLOEXEC);

	if (fd >= 0 && ioctl(fd, UBLK_HOLD_ARM, point)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int td_hold_slot_after(struct testdev *td, __u32 tag, __u32 from, __u32 to, __u32 skip)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_SLOT, .dev_id = td->id, .tag = tag,
		.from = from, .to = to, .skip = skip,
	};

	return arm(&point);
}

int td_hold_slot(struct testdev *td, __u32 tag, __u32 from, __u32 to)
{
	return td_hold_slot_after(td, tag, from, to, 0);
}

int td_watch_slot(struct testdev *td, __u32 tag, __u32 from, __u32 to)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_SLOT, .dev_id = td->id, .tag = tag,
		.from = from, .to = to, .watch = 1,
	};

	return arm(&point);
}

/* Tells of the last of so many. */
int td_watch_slots(struct testdev *td, __u32 from, __u32 to, __u32 nr)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_SLOT, .dev_id = td->id, .tag = TD_ANY,
		.from = from, .to = to, .skip = nr - 1, .watch = 1,
	};

	return arm(&point);
}

static int arm_session(struct testdev *td, __u32 state, bool watch)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_SESSION, .dev_id = td->id, .tag = TD_ANY,
		.from = TD_ANY, .to = state, .watch = watch,
	};

	return arm(&point);
}

int td_hold_session(struct testdev *td, __u32 state)
{
	return arm_session(td, state, false);
}

int td_watch_session(struct testdev *td, __u32 state)
{
	return arm_session(td, state, true);
}

int td_hold_dispose(struct testdev *td, bool again)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_DISPOSE, .dev_id = td->id, .tag = TD_ANY,
		.from = TD_ANY, .to = again,
	};

	return arm(&point);
}

int td_hold_requeue(struct testdev *td)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_REQUEUE, .dev_id = td->id, .tag = TD_ANY,
		.from = TD_ANY, .to = TD_ANY,
	};

	return arm(&point);
}

/* Tells of the last of so many. */
int td_watch_requeues(struct testdev *td, __u32 nr)
{
	struct ublk_hold_point point = {
		.event = UBLK_HOLD_REQUEUE, .dev_id = td->id, .tag = TD_ANY,
		.from = TD_ANY, .to = TD_ANY, .skip = nr - 1, .watch = 1,
	};

	return arm(&point);
}

int td_hold_wait(int hold)
{
	return ioctl(hold, UBLK_HOLD_WAIT, (unsigned long)TD_DEADLINE_MS) ? -errno : 0;
}

bool td_hold_is_reached(int hold)
{
	return ioctl(hold, UBLK_HOLD_WAIT, 0UL) == 0;
}

int td_hold_release(int hold)
{
	int ret = ioctl(hold, UBLK_HOLD_RELEASE, 0UL) ? -errno : 0;

	close(hold);
	return ret;
}

/* -- the other CPU --------------------------------------------------------- */

static int pin(pid_t pid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(pid, sizeof(set), &set) ? -errno : 0;
}

/* The first CPU of those that this process may use, and the one after it. */
static int nth_cpu(int n)
{
	static cpu_set_t all;
	int cpu;

	if (!CPU_COUNT(&all) && sched_getaffinity(0, sizeof(all), &all))
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !n--)
			return cpu;
	return -1;
}

int td_take_cpu(pid_t pid)
{
	int cpu = nth_cpu(0);

	return cpu < 0 || nth_cpu(1) < 0 ? -ENODEV : pin(pid, cpu);
}

int td_take_other_cpu(void)
{
	return pin(0, nth_cpu(1));
}

static void *run_aside(void *arg)
{
	struct td_aside *a = arg;

	a->ret = td_take_other_cpu();
	if (!a->ret)
		a->ret = a->fn(a->arg);
	return NULL;
}

int td_aside_start(struct td_aside *a, int (*fn)(void *arg), void *arg)
{
	*a = (struct td_aside) { .fn = fn, .arg = arg };
	return pthread_create(&a->thread, NULL, run_aside, a) ? -EAGAIN : 0;
}

int td_aside_join(struct td_aside *a)
{
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += TD_DEADLINE_MS / 1000;
	return pthread_timedjoin_np(a->thread, NULL, &end) ? -ETIME : a->ret;
}
