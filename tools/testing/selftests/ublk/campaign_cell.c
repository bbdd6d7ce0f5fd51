// SPDX-License-Identifier: GPL-2.0
/*
 * A disk under verified I/O whose server is killed and replaced: what
 * campaign_matrix does in every way of the data, and campaign_stress beside a
 * noise. See struct camp_cell.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "campaign.h"

#define CLIENTS		3
#define BLOCKS		32	/* that are to be verified before the next step */

const struct camp_way camp_ways[CAMP_WAYS] = {
	{ "copy" },
	{ "get-data", UBLK_MODE_COPY, UBLK_F_NEED_GET_DATA },
	{ "user-copy", UBLK_MODE_USER_COPY },
	{ "zero-copy", UBLK_MODE_ZERO_COPY },
	{ "auto-buf", UBLK_MODE_AUTO_BUF },
	{ "batch", UBLK_MODE_COPY, UBLK_F_BATCH_IO },
	{ "batch user-copy", UBLK_MODE_USER_COPY, UBLK_F_BATCH_IO },
	{ "batch zero-copy", UBLK_MODE_ZERO_COPY, UBLK_F_BATCH_IO },
	{ "batch auto-buf", UBLK_MODE_AUTO_BUF, UBLK_F_BATCH_IO },
};

const __u64 camp_recoveries[CAMP_RECOVERIES] = {
	0, UBLK_F_USER_RECOVERY,
	UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE,
	UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO,
};

struct camp_cells camp_cells;

static struct camp_io *io;
static struct calls {
	bool quiet;		/* to the noise */
	bool calm;		/* from it */
	unsigned int noises;
	unsigned int heard;
} *calls;
static struct ublk_ctrl ctrl;
static char path[32];		/* of the file behind the disk */
static int file;

/* Anything that is random in it is up to the caller. */
void camp_cell_plan(struct camp_cell *r, unsigned int number, unsigned int way,
		    unsigned int recovery)
{
	struct ublk_options *o = &r->opts;

	*r = (struct camp_cell){ .number = number, .way = &camp_ways[way] };
	ublk_options_init(o);
	o->target = &ublk_loop_target;
	o->file = path;
	o->id = 2000 + number % 50000;
	o->depth = 8;
	o->buf_bytes = TD_BUF_BYTES;
	o->mode = r->way->mode;
	o->flags = r->way->flags | camp_recoveries[recovery] |
		   UBLK_F_NO_AUTO_PART_SCAN;
}

static bool complain(const struct camp_cell *r, const char *what)
{
	camp_say("cell %u: %s", r->number, what);
	camp_say("that was: %s, %u queues, %u threads, flags 0x%llx",
		 r->way->name, r->opts.queues, r->opts.threads,
		 (unsigned long long)r->opts.flags);
	return false;
}

/* -- processes ------------------------------------------------------------- */

static void serve(const struct camp_cell *r, bool recover, int report)
{
	struct ublk_server srv;
	int ret;

	ret = recover ? ublk_server_recover(&srv, &r->opts) :
			ublk_server_start(&srv, &r->opts);
	if (ret || write(report, "x", 1) != 1)
		_exit(1);
	close(report);
	if (r->beside && !recover) {
		r->beside(r, &srv);
		__atomic_store_n(&calls->calm, true, __ATOMIC_RELEASE);
	}
	ublk_server_join(&srv);
	_exit(0);
}

/* True when it serves. */
static bool spawn_server(struct camp_cell *r, bool recover)
{
	bool serves;
	int fds[2];
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return complain(r, "no pipe");
	r->server = camp_fork();
	if (!r->server)
		serve(r, recover, fds[1]);
	close(fds[1]);
	serves = camp_wait_input(fds[0], CAMP_LIMIT_MS) && read(fds[0], &c, 1) == 1;
	close(fds[0]);
	return serves || complain(r, recover ? "no recovery" : "no start");
}

static bool await_exit(const struct camp_cell *r, pid_t pid, const char *what)
{
	if (camp_wait_exit(pid, CAMP_LIMIT_MS) != -ETIME)
		return true;
	camp_show_sleepers();
	return complain(r, what);
}

static void start_clients(struct camp_cell *r)
{
	memset(io, 0, sizeof(*io));
	io->id = r->opts.id;
	io->seed = r->seed;
	io->threads = CLIENTS;
	io->noise = 1;
	/* Noise may make I/O fail. */
	io->epoch = !!r->beside;
	io->patient = r->opts.flags & UBLK_F_USER_RECOVERY_REISSUE;
	r->client = camp_fork();
	if (!r->client) {
		camp_io_run(io);
		_exit(0);
	}
}

/* -- one cell -------------------------------------------------------------- */

static bool await_blocks(const struct camp_cell *r)
{
	__u64 then = __atomic_load_n(&io->verified, __ATOMIC_RELAXED);
	__u64 deadline = camp_ms() + CAMP_LIMIT_MS;

	while (__atomic_load_n(&io->verified, __ATOMIC_RELAXED) < then + BLOCKS) {
		if (__atomic_load_n(&io->complaints, __ATOMIC_RELAXED))
			return complain(r, io->what);
		if (camp_ms() > deadline)
			return complain(r, "the clients come to nothing");
		camp_nap(1000);
	}
	return true;
}

static bool kill_server(struct camp_cell *r)
{
	kill(r->server, SIGKILL);
	return await_exit(r, r->server, "the server does not die");
}

/* The clients go on throughout. */
static bool replace_server(struct camp_cell *r)
{
	if (!(io->epoch & 1))
		__atomic_add_fetch(&io->epoch, 1, __ATOMIC_RELEASE);
	if (!kill_server(r) || !spawn_server(r, true))
		return false;
	__atomic_add_fetch(&io->epoch, 1, __ATOMIC_RELEASE);
	camp_cells.recovered++;
	return await_blocks(r);
}

/* To be asked by the noise. */
bool camp_cell_is_quiet(void)
{
	return __atomic_load_n(&calls->quiet, __ATOMIC_ACQUIRE);
}

/* Something of the noise came to an end, in success or not. */
void camp_cell_noise(bool heard)
{
	__atomic_add_fetch(&calls->noises, 1, __ATOMIC_RELAXED);
	if (heard)
		__atomic_add_fetch(&calls->heard, 1, __ATOMIC_RELAXED);
}

static bool end_noise(struct camp_cell *r)
{
	__u64 deadline = camp_ms() + CAMP_LIMIT_MS;

	camp_nap(r->noise_ms * 1000);
	__atomic_store_n(&calls->quiet, true, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&calls->calm, __ATOMIC_ACQUIRE)) {
		if (camp_ms() > deadline)
			return complain(r, "the noise does not end");
		camp_nap(1000);
	}
	if (r->lossy)
		return true;
	/* From now on the disk is as good as new. */
	__atomic_add_fetch(&io->epoch, 1, __ATOMIC_RELEASE);
	return await_blocks(r);
}

static bool run_clients(struct camp_cell *r)
{
	bool recovers = r->opts.flags & UBLK_F_USER_RECOVERY;

	if (r->beside ? !end_noise(r) : !await_blocks(r))
		return false;
	if (recovers && !replace_server(r))
		return false;
	if (!recovers) {
		__atomic_store_n(&io->ending, true, __ATOMIC_RELEASE);
		if (!kill_server(r))
			return false;
	}
	__atomic_store_n(&io->stop, true, __ATOMIC_RELEASE);
	return await_exit(r, r->client, "a client hangs");
}

/* Mapped only now: User-mode Linux warns when it punches holes into a mapping. */
static void check_file(void)
{
	char *mem = mmap(NULL, CAMP_DISK, PROT_READ, MAP_SHARED, file, 0);

	if (mem == MAP_FAILED)
		return;
	camp_io_check_memory(io, mem);
	munmap(mem, CAMP_DISK);
}

static bool run_cell(struct camp_cell *r)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = r->opts.id, .queue_id = -1 };
	int ret, res = 0;

	camp_cells.cells++;
	memset(calls, 0, sizeof(*calls));
	if (ftruncate(file, 0) || ftruncate(file, CAMP_DISK))
		return complain(r, "no memory");
	if (!spawn_server(r, false))
		return false;
	start_clients(r);
	if (!run_clients(r))
		return false;
	ret = ublk_ctrl_submit(&ctrl, UBLK_U_CMD_DEL_DEV, &cmd);
	if (!ret)
		ret = camp_ctrl_wait(&ctrl, CAMP_LIMIT_MS, &res);
	if (ret || res)
		return complain(r, strerror(ret ? -ret : -res));
	if (r->opts.flags & UBLK_F_USER_RECOVERY &&
	    !await_exit(r, r->server, "the server outlives its device"))
		return false;
	check_file();
	camp_cells.noises += calls->noises;
	camp_cells.heard += calls->heard;
	camp_cells.verified += io->verified;
	camp_cells.failed += io->failed;
	return !io->complaints || complain(r, io->what);
}

static bool begin(__u64 *features)
{
	file = memfd_create("cell", 0);
	if (file < 0 || ublk_ctrl_open(&ctrl))
		return false;
	ublk_get_features(&ctrl, features);
	io = camp_share(sizeof(*io));
	calls = camp_share(sizeof(*calls));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return true;
}

/* All rounds of a campaign, as @plan makes them, but what the driver has not. */
bool camp_cells_run(const struct campaign *c,
		    void (*plan)(struct camp_cell *r, unsigned int number))
{
	unsigned int number;
	struct camp_cell r;
	__u64 features = 0;
	bool good = begin(&features);

	for (number = c->first; good && camp_goes_on(c, number); number++) {
		plan(&r, number);
		if (!(r.opts.flags & ~features))
			good = run_cell(&r);
	}
	return good;
}
