// SPDX-License-Identifier: GPL-2.0
/*
 * Kills servers at random moments: while they add, fetch, start, serve, get
 * stopped or deleted, with clients at work and without. After each kill every
 * client must come back and the device must let itself be deleted.
 *
 * What a round does follows from the seed and the number of the round, so a
 * failure is tried again with -s SEED -f ROUND.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "testdev.h"

#define MAX_CLIENTS	3
#define LAST_MS		30000	/* for a process to come back after the kill */

struct round {
	unsigned int seed;	/* of its random choices */
	__u32 id;
	struct ublk_options opts;
	bool wait_live;		/* kill a live server, or one at any stage */
	unsigned int delay_us;
	int clients;
	bool meddle;		/* somebody sends control commands meanwhile */
};

static unsigned int pick(struct round *r, unsigned int below)
{
	return rand_r(&r->seed) % below;
}

static void nap(unsigned int us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000L };

	nanosleep(&ts, NULL);
}

static void plan(struct round *r, unsigned int seed, unsigned int number)
{
	static const struct ublk_target *const targets[] = {
		&ublk_null_target, &td_hold_target, &ublk_loop_target,
	};

	memset(r, 0, sizeof(*r));
	r->seed = seed * 2654435761u + number;
	r->id = 1000 + number % 50000;
	ublk_options_init(&r->opts);
	r->opts.target = targets[pick(r, 3)];
	r->opts.id = r->id;
	r->opts.size = TD_SIZE;
	r->opts.queues = 1 + pick(r, 2);
	r->opts.depth = 1 + pick(r, 32);
	r->opts.threads = 1 + pick(r, 3);
	r->opts.buf_bytes = TD_BUF_BYTES;
	if (pick(r, 4) == 0)
		r->opts.flags |= UBLK_F_NEED_GET_DATA;
	if (pick(r, 2))
		r->opts.flags |= UBLK_F_NO_AUTO_PART_SCAN;
	r->wait_live = pick(r, 3);
	r->delay_us = pick(r, 40000);
	r->clients = r->wait_live ? pick(r, MAX_CLIENTS + 1) : 0;
	r->meddle = pick(r, 3) == 0;
}

static pid_t spawn(void (*fn)(struct round *r, int fd), struct round *r, int fd)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fn(r, fd);
		_exit(0);
	}
	return pid;
}

static void serve(struct round *r, int report)
{
	struct ublk_server srv;
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d",
		 memfd_create("disk", 0));
	if (r->opts.target == &ublk_loop_target)
		r->opts.file = path;
	if (!ublk_server_start(&srv, &r->opts)) {
		if (write(report, "x", 1) != 1)
			_exit(1);
		ublk_server_join(&srv);
	}
}

/* One random operation; false when the disk is no more. */
static bool disturb_disk(struct round *r, int fd, char *buf)
{
	__u64 offset = (__u64)pick(r, TD_SIZE / TD_BUF_BYTES) * TD_BUF_BYTES;
	__u32 len = (1 + pick(r, TD_BUF_BYTES / 4096)) * 4096;
	__u64 range[2] = { offset, len };

	switch (pick(r, 12)) {
	case 0:
		return !fsync(fd);
	case 1:
		return !ioctl(fd, BLKDISCARD, range) || errno == EOPNOTSUPP;
	case 2:
		return !ioctl(fd, BLKZEROOUT, range);
	case 3:
		return !ioctl(fd, BLKRRPART) || errno == EBUSY;
	case 4 ... 7:
		return pwrite(fd, buf, len, offset) > 0;
	default:
		return pread(fd, buf, len, offset) > 0;
	}
}

static void be_client(struct round *r, int number)
{
	char path[32], *buf = td_page_buf(TD_BUF_BYTES, 1);
	bool alive = true;
	int fd, i;

	r->seed += number;
	snprintf(path, sizeof(path), "/dev/ublkb%u", r->id);
	/* A disk of the page cache, too, as dirty pages die in other ways. */
	while (alive) {
		fd = open(path, O_RDWR | (pick(r, 4) ? O_DIRECT : 0));
		if (fd < 0)
			return;
		for (i = 0; i < 50 && alive; i++)
			alive = disturb_disk(r, fd, buf);
		close(fd);
	}
}

static void meddle(struct round *r, int unused)
{
	static const __u32 ops[] = {
		UBLK_U_CMD_STOP_DEV, UBLK_U_CMD_DEL_DEV_ASYNC,
		UBLK_U_CMD_TRY_STOP_DEV, UBLK_U_CMD_START_DEV,
		UBLK_U_CMD_UPDATE_SIZE, UBLK_U_CMD_GET_DEV_INFO,
	};
	struct ublksrv_ctrl_cmd cmd = { .dev_id = r->id, .queue_id = -1 };
	struct ublk_ctrl ctrl;
	int res, i;

	if (ublk_ctrl_open(&ctrl))
		return;
	for (i = 0; i < 3; i++) {
		nap(pick(r, r->delay_us + 10000));
		cmd.data[0] = 1 + pick(r, 1000);
		ublk_ctrl_submit(&ctrl, ops[pick(r, 6)], &cmd);
		/* A START that waits is cut off by the exit. */
		if (ublk_ctrl_wait(&ctrl, 200, &res))
			return;
	}
}

static int delete_device(__u32 id)
{
	struct testdev td = { .id = id };

	return td_reap(&td);
}

static int complain(const struct round *r, const char *fmt, ...)
{
	va_list ap;

	printf("# device %u: %s, %u queues, depth %u, %u threads, flags 0x%llx, ",
	       r->id, r->opts.target->name, r->opts.queues, r->opts.depth,
	       r->opts.threads, (unsigned long long)r->opts.flags);
	printf("%s, %d clients%s: ",
	       r->wait_live ? "live" : "any stage", r->clients,
	       r->meddle ? ", meddled with" : "");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return 1;
}

/* 0 if every process came back and the device is gone. */
static int run_round(struct round *r)
{
	pid_t server, meddler = 0, clients[MAX_CLIENTS];
	int fds[2], i, ret, failed = 0;
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return complain(r, "pipe: %s", strerror(errno));
	server = spawn(serve, r, fds[1]);
	close(fds[1]);
	if (r->wait_live && read(fds[0], &c, 1) != 1)
		failed = complain(r, "the server did not start");
	close(fds[0]);

	for (i = 0; i < r->clients; i++)
		clients[i] = spawn(be_client, r, i);
	if (r->meddle)
		meddler = spawn(meddle, r, 0);
	nap(r->delay_us);
	kill(server, SIGKILL);

	if (td_wait_exit(server, LAST_MS) == -ETIME)
		failed = complain(r, "the server does not die");
	for (i = 0; i < r->clients; i++)
		if (td_wait_exit(clients[i], LAST_MS) == -ETIME)
			failed = complain(r, "client %d hangs", i);
	if (meddler && td_wait_exit(meddler, LAST_MS) == -ETIME)
		failed = complain(r, "a control command hangs");
	ret = delete_device(r->id);
	if (ret)
		failed = complain(r, "cannot be deleted: %s", strerror(-ret));
	return failed;
}

static unsigned int number_of(const char *name, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (end == text || *end) {
		fprintf(stderr, "kill_campaign: %s: \"%s\" is no number\n",
			name, text);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	unsigned int rounds = 100, first = 0, seed = time(NULL), i, failed = 0;
	struct ublk_ctrl ctrl;
	struct round r;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:f:")) != -1) {
		switch (opt) {
		case 'n':
			rounds = number_of("-n", optarg);
			break;
		case 's':
			seed = number_of("-s", optarg);
			break;
		case 'f':
			first = number_of("-f", optarg);
			break;
		default:
			fprintf(stderr, "usage: kill_campaign [-n ROUNDS] [-s SEED] [-f FIRST]\n");
			return 2;
		}
	}
	if (ublk_ctrl_open(&ctrl)) {
		printf("1..0 # SKIP no /dev/ublk-control: load ublk_drv\n");
		return 4;
	}
	ublk_ctrl_close(&ctrl);

	printf("TAP version 13\n1..1\n# seed %u, %u rounds\n", seed, rounds);
	fflush(stdout);
	for (i = first; i < first + rounds && failed < 5; i++) {
		plan(&r, seed, i);
		if (run_round(&r)) {
			printf("# that was round %u: -s %u -f %u -n 1\n", i,
			       seed, i);
			failed++;
		}
		if ((i + 1) % 50 == 0)
			printf("# %u rounds\n", i + 1 - first);
		fflush(stdout);
	}
	printf("%sok 1 killed servers leave nothing behind\n",
	       failed ? "not " : "");
	return failed ? 1 : 0;
}
