// SPDX-License-Identifier: GPL-2.0
/*
 * Servers that die at random moments and in many ways, in every recovery mode,
 * while clients verify what they read. Each death is followed by a recovery, in
 * which the next server may die as well, or by a deletion.
 *
 * The contents of the disk are in memory that outlives the servers, so at the
 * end of a round the clients read everything once more, and then this process
 * looks for each acknowledged write where the server had to put it. Half of
 * the rounds without clients have somebody send control commands meanwhile. Before
 * its clients begin, a disk gets an I/O scheduler, or none, so that deaths meet
 * requests in there as well.
 *
 * What a round does follows from the seed and the number of the round; when
 * exactly it does it does not.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "campaign.h"

#define MAX_DEATHS	3

/* The first ones end the process, the last ones leave it, or a part of it. */
enum death {
	KILL_PROCESS,		/* SIGKILL */
	KILL_THREAD,		/* SIGKILL, aimed at one thread */
	EXIT,
	EXEC,
	CLOSE_ALL,		/* each ring, /dev/ublkcN and what is mapped of it */
	END_THREAD,		/* one thread ends and leaves its ring behind */
	CLOSE_RING,		/* of one thread */
	CLOSE_CHAR,		/* /dev/ublkcN, but none of the rings */
	QUIESCE,		/* no death: QUIESCE_DEV sends the server home */
	DEATHS
};

static const char *const death_names[DEATHS] = {
	"process", "thread", "exit", "exec", "close", "thread-exit",
	"ring-close", "char-close", "quiesce",
};

static const struct mode {
	const char *name;
	__u64 flags;
} modes[] = {
	{ "none", 0 },
	{ "recovery", UBLK_F_USER_RECOVERY },
	{ "reissue", UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_REISSUE },
	{ "fail-io", UBLK_F_USER_RECOVERY | UBLK_F_USER_RECOVERY_FAIL_IO },
};

#define MODES		((int)ARRAY_SIZE(modes))
#define PLAIN_RECOVERY	1

/* Where the kernel has no such scheduler, the one before it takes its place. */
static const char *const schedulers[] = { "none", "mq-deadline", "bfq" };

#define SCHEDULERS	((int)ARRAY_SIZE(schedulers))

struct round {
	unsigned int number;
	unsigned int seed;
	__u32 id;
	int mode;
	struct ublk_options opts;
	unsigned int late;	/* see struct camp_server */
	bool clients;		/* else the first server may die at any stage */
	int scheduler;		/* of their disk */
	bool meddle;
	bool deletes;		/* the server deletes its device itself */
	unsigned int deaths;	/* that are planned */
	enum death death;	/* the next one */
	unsigned int strikes;	/* moments at which I/O may have been lost */
	pid_t server;
	bool serves;		/* is known to have come so far */
	bool leaves;		/* by itself */
	int report;		/* the server says here that the disk is live */
	pid_t client;
	pid_t meddler;
};

static struct campaign campaign = {
	.name = "kill", .unit = "rounds", .rounds = 1000, .seconds = 35,
};

static struct {
	unsigned int rounds, recovered, deleted, longest;
	unsigned int deaths[MODES][DEATHS];
	unsigned int schedulers[SCHEDULERS];
	__u64 verified, failed;
} sum;

static struct camp_io *io;
static char *mem;
static struct ublk_ctrl ctrl;

static void plan(struct round *r, unsigned int number, __u64 features,
		 int nr_modes)
{
	memset(r, 0, sizeof(*r));
	r->number = number;
	r->seed = camp_seed(&campaign, number);
	r->id = 1000 + number % 50000;
	r->mode = camp_pick(&r->seed, nr_modes);
	ublk_options_init(&r->opts);
	r->opts.target = &camp_mem_target;
	r->opts.id = r->id;
	r->opts.queues = 1 + camp_pick(&r->seed, 2);
	r->opts.depth = 1 + camp_pick(&r->seed, 16);
	r->opts.threads = 1 + camp_pick(&r->seed, 3);
	r->opts.buf_bytes = TD_BUF_BYTES;
	r->opts.flags = modes[r->mode].flags;
	if (camp_pick(&r->seed, 4) == 0)
		r->opts.flags |= UBLK_F_NEED_GET_DATA;
	if (camp_pick(&r->seed, 3) == 0)
		r->opts.flags |= UBLK_F_BATCH_IO & features;
	if (camp_pick(&r->seed, 2))
		r->opts.flags |= UBLK_F_NO_AUTO_PART_SCAN;
	if (r->mode && camp_pick(&r->seed, 2))
		r->opts.flags |= UBLK_F_QUIESCE & features;
	r->late = camp_pick(&r->seed, 4);
	r->clients = camp_pick(&r->seed, 4);
	r->scheduler = camp_pick(&r->seed, SCHEDULERS);
	r->meddle = !r->clients && camp_pick(&r->seed, 2);
	r->deletes = !r->clients && camp_pick(&r->seed, 2);
	r->deaths = 1 + camp_pick(&r->seed, MAX_DEATHS);
	if (features & UBLK_F_USER_COPY && camp_pick(&r->seed, 3) == 0)
		r->opts.mode = UBLK_MODE_USER_COPY;
}

/* -- the server ------------------------------------------------------------ */

static struct camp_server victim;
static enum death victims_death;

static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* False in a thread that is no worker, or not yet one with a ring. */
static bool close_my_ring(void)
{
	struct ublk_server *srv = &victim.srv;
	unsigned int i;

	for (i = 0; i < srv->nr_workers; i++) {
		struct ublk_worker *w = &srv->workers[i];

		if (!pthread_equal(w->thread, pthread_self()))
			continue;
		if (w->ring.ring_fd > 0)
			io_uring_queue_exit(&w->ring);
		if (w->descs)
			munmap((void *)w->descs, ublk_queue_map_len(&srv->info));
		return true;
	}
	return false;
}

/*
 * Runs in the thread that was picked, between any two of its instructions, and
 * never returns to them. Only CLOSE_ALL comes to every thread.
 */
static void die(int sig)
{
	switch (victims_death) {
	case EXIT:
		_exit(0);
	case EXEC:
		execl("/proc/self/exe", "campaign_kill", "--linger", NULL);
		_exit(1);
	case END_THREAD:
		syscall(SYS_exit, 0);
		break;
	case CLOSE_RING:
		close_my_ring();
		break;
	case CLOSE_ALL:
		if (close_my_ring())
			break;
		if (victim.srv.ctrl.fd > 0)
			ublk_ctrl_close(&victim.srv.ctrl);
		close(victim.srv.cdev);
		break;
	default:
		close(victim.srv.cdev);
	}
	wait_for_the_end();
}

static void expect_death(enum death death)
{
	struct sigaction sa = { .sa_handler = die };

	victims_death = death;
	sigfillset(&sa.sa_mask);
	sigaction(SIGUSR1, &sa, NULL);
}

static void serve(struct round *r, bool recover)
{
	unsigned int delay = camp_pick(&r->seed, 20000);
	int ret;

	expect_death(r->death);
	victim = (struct camp_server){
		.mem = mem, .size = CAMP_DISK, .late = r->late,
	};
	ret = recover ? ublk_server_recover(&victim.srv, &r->opts) :
			ublk_server_start(&victim.srv, &r->opts);
	if (ret || write(r->report, "x", 1) != 1)
		_exit(1);
	if (r->deletes && !recover) {
		camp_nap(delay);
		_exit(ublk_server_delete(&victim.srv) != 0);
	}
	ublk_server_join(&victim.srv);
	_exit(0);
}

/* -- somebody else --------------------------------------------------------- */

static void meddle(struct round *r)
{
	static const __u32 ops[] = {
		UBLK_U_CMD_STOP_DEV, UBLK_U_CMD_DEL_DEV_ASYNC,
		UBLK_U_CMD_TRY_STOP_DEV, UBLK_U_CMD_START_DEV,
		UBLK_U_CMD_UPDATE_SIZE, UBLK_U_CMD_GET_DEV_INFO,
		UBLK_U_CMD_START_USER_RECOVERY, UBLK_U_CMD_END_USER_RECOVERY,
		UBLK_U_CMD_QUIESCE_DEV,
	};
	struct ublksrv_ctrl_cmd cmd = { .dev_id = r->id, .queue_id = -1 };
	struct ublk_ctrl mine;
	int res, i;

	if (ublk_ctrl_open(&mine))
		_exit(0);
	for (i = 0; i < 4; i++) {
		camp_nap(camp_pick(&r->seed, 20000));
		cmd.data[0] = 1 + camp_pick(&r->seed, 1000);
		ublk_ctrl_submit(&mine, ops[camp_pick(&r->seed, ARRAY_SIZE(ops))], &cmd);
		/* A command that waits is cut off by the exit. */
		if (ublk_ctrl_wait(&mine, 200, &res))
			_exit(0);
	}
	_exit(0);
}

/* -- one round ------------------------------------------------------------- */

static bool complain(const struct round *r, const char *what)
{
	const struct ublk_options *o = &r->opts;

	camp_say("round %u: %s", r->number, what);
	camp_say("that was: mode %s, last death %s, %s%s%s%s",
		 modes[r->mode].name, death_names[r->death],
		 r->clients ? "verified with scheduler " : "any stage",
		 r->clients ? schedulers[r->scheduler] : "",
		 r->meddle ? ", meddled with" : "",
		 r->deletes ? ", deletes itself" : "");
	camp_say("with %u queues, depth %u, %u threads, flags 0x%llx%s",
		 o->queues, o->depth, o->threads, (unsigned long long)o->flags,
		 o->mode == UBLK_MODE_USER_COPY ? ", user copy" : "");
	return false;
}

/* Without clients nobody knows in which state the device is. */
static bool is_loose(const struct round *r)
{
	return !r->clients;
}

static bool spawn_server(struct round *r, bool recover)
{
	int fds[2];

	r->serves = false;
	r->leaves = false;
	r->death = camp_pick(&r->seed, QUIESCE);
	if (r->opts.flags & UBLK_F_QUIESCE && camp_pick(&r->seed, 4) == 0)
		r->death = QUIESCE;
	if (pipe2(fds, O_CLOEXEC))
		return complain(r, "no pipe");
	r->report = fds[1];
	r->server = camp_fork();
	if (!r->server)
		serve(r, recover);
	close(fds[1]);
	r->report = fds[0];
	return true;
}

/* Sees whether the disk is there. With @must it has to be. */
static bool await_live(struct round *r, bool must)
{
	char c;

	if (!camp_wait_input(r->report, CAMP_LIMIT_MS))
		return complain(r, "the server does not come to an end with its start");
	r->serves = read(r->report, &c, 1) == 1;
	return r->serves || !must || complain(r, "the server did not start");
}

/* In a process of its own: it waits for the I/O that is under way, if only udev's. */
static void set_scheduler(const struct round *r)
{
	char path[64];
	int i;

	snprintf(path, sizeof(path), "/sys/block/ublkb%u/queue/scheduler", r->id);
	for (i = r->scheduler; i >= 0; i--)
		if (!td_write_text(path, schedulers[i]))
			_exit(i);
	_exit(SCHEDULERS);
}

static bool choose_scheduler(struct round *r)
{
	pid_t pid = camp_fork();
	int ret;

	if (!pid)
		set_scheduler(r);
	ret = camp_wait_exit(pid, CAMP_LIMIT_MS);
	if (ret < 0 || ret >= SCHEDULERS)
		return complain(r, "the disk does not take a scheduler");
	r->scheduler = ret;
	sum.schedulers[ret]++;
	return true;
}

static void start_clients(struct round *r)
{
	memset(io, 0, sizeof(*io));
	io->id = r->id;
	io->seed = r->seed;
	io->threads = 1 + camp_pick(&r->seed, CAMP_IO_THREADS);
	io->noise = camp_pick(&r->seed, 3);
	io->patient = r->opts.flags & UBLK_F_USER_RECOVERY_REISSUE;
	r->client = camp_fork();
	if (!r->client) {
		camp_io_run(io);
		_exit(0);
	}
}

/*
 * Workers of io_uring are threads that take no signal but SIGKILL; they have the
 * name of their maker for a moment, but block signals from the first.
 */
static bool takes_signals(pid_t pid, int tid, int sig)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "/proc/%d/task/%d", pid, tid);
	return !(camp_status(dir, "SigBlk", 16, ~0ULL) >> (sig - 1) & 1);
}

#define MAX_THREADS	32

/* Those of the server that take the signal, the first one first. */
static unsigned int find_threads(const struct round *r, int sig, int *tids)
{
	unsigned int nr = 0;
	struct dirent *d;
	char path[32];
	int tid;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", r->server);
	dir = opendir(path);
	while (dir && nr < MAX_THREADS && (d = readdir(dir))) {
		tid = atoi(d->d_name);
		if (tid && (sig == SIGKILL || takes_signals(r->server, tid, sig)))
			tids[nr++] = tid;
	}
	if (dir)
		closedir(dir);
	return nr;
}

static void signal_one(struct round *r, int sig)
{
	int tids[MAX_THREADS];
	unsigned int nr = find_threads(r, sig, tids);

	if (nr)
		syscall(SYS_tgkill, r->server, tids[camp_pick(&r->seed, nr)], sig);
}

static bool is_among(int tid, const int *tids, unsigned int nr)
{
	while (nr-- > 0)
		if (tids[nr] == tid)
			return true;
	return false;
}

/*
 * The first one last: it closes ublkcN, and a worker that found it closed would end
 * by itself, and leave its mapping there. It may make more of them until it gets the
 * signal, so look again. Both block it for a moment when one makes another: the last
 * look is some milliseconds after there was nobody new.
 */
static void signal_all(struct round *r, int sig)
{
	int tids[MAX_THREADS], told[MAX_THREADS];
	unsigned int nr, nr_told = 0, vain = 0;

	while (vain++ < 5) {
		nr = find_threads(r, sig, tids);
		while (nr-- > 0 && nr_told < MAX_THREADS) {
			if (is_among(tids[nr], told, nr_told))
				continue;
			told[nr_told++] = tids[nr];
			syscall(SYS_tgkill, r->server, tids[nr], sig);
			vain = 0;
		}
		camp_nap(1000);
	}
}

/* Does something of the server live on, without serving? */
static bool leaves_half(enum death death)
{
	return death == END_THREAD || death == CLOSE_RING ||
	       death == CLOSE_CHAR;
}

static void strike(struct round *r)
{
	if (!(io->epoch & 1))
		__atomic_add_fetch(&io->epoch, 1, __ATOMIC_RELEASE);
	sum.deaths[r->mode][r->death]++;
	/*
	 * One that is sent home answers what it was given. If it is not there
	 * yet, the command succeeds as well, but does not keep it from coming.
	 */
	r->leaves = r->death == QUIESCE &&
		    !ublk_quiesce_dev(&ctrl, r->id, CAMP_LIMIT_MS) && r->serves;
	if (r->leaves)
		return;
	r->strikes++;
	if (r->death == KILL_PROCESS || r->death == QUIESCE)
		kill(r->server, SIGKILL);
	else if (r->death == CLOSE_ALL)
		signal_all(r, SIGUSR1);
	else
		signal_one(r, r->death == KILL_THREAD ? SIGKILL : SIGUSR1);
	if (!leaves_half(r->death))
		return;
	camp_nap(camp_pick(&r->seed, 40000));
	r->strikes++;
	kill(r->server, SIGKILL);
}

static bool await_exit(struct round *r, pid_t *pid, const char *what)
{
	pid_t gone = *pid;

	*pid = 0;
	if (!gone || camp_wait_exit(gone, CAMP_LIMIT_MS) != -ETIME)
		return true;
	return complain(r, what);
}

/* The state of the device once it is no more live; -1 if it stays so. */
static int await_down(struct round *r)
{
	__u64 deadline = camp_ms() + CAMP_LIMIT_MS;
	struct ublksrv_ctrl_dev_info info;

	do {
		if (ublk_get_info(&ctrl, r->id, &info))
			return UBLK_S_DEV_DEAD;
		if (info.state != UBLK_S_DEV_LIVE)
			return info.state;
		camp_nap(1000);
	} while (camp_ms() < deadline);
	complain(r, "the device is live without a server");
	return -1;
}

/* A process that has let go of the device does not have to die for it. */
static bool bury(struct round *r, int *state)
{
	bool lives_on = r->death == EXEC || r->death == CLOSE_ALL;

	if (lives_on && !is_loose(r))
		*state = await_down(r);
	if (!r->leaves || is_loose(r))
		kill(r->server, SIGKILL);
	close(r->report);
	if (!await_exit(r, &r->server, "the server does not die"))
		return false;
	if (!lives_on || is_loose(r))
		*state = await_down(r);
	return *state >= 0;
}

/* One death after the other; true with a live disk, if it is to go on so. */
static bool die_and_recover(struct round *r, bool *good)
{
	bool recover = r->mode && camp_pick(&r->seed, 5);
	unsigned int i;
	int state = UBLK_S_DEV_DEAD;

	for (i = 0; i < r->deaths; i++) {
		camp_nap(camp_pick(&r->seed, 40000));
		strike(r);
		*good = bury(r, &state);
		if (!*good || !recover || state == UBLK_S_DEV_DEAD)
			return false;
		*good = spawn_server(r, true);
		/* The next one may die before it can serve. */
		if (!*good || i + 1 == r->deaths || camp_pick(&r->seed, 2) == 0)
			*good = *good && await_live(r, !r->meddle);
		if (!*good)
			return false;
		if (i + 1 == r->deaths)
			break;
	}
	/* A command of somebody else's may have stopped the device meanwhile. */
	if (!r->serves)
		return false;
	sum.recovered++;
	__atomic_add_fetch(&io->epoch, 1, __ATOMIC_RELEASE);
	camp_nap(camp_pick(&r->seed, 40000));
	return true;
}

/* With a server that lives, or without one; clients may have the disk open. */
static bool delete_device(struct round *r)
{
	struct ublksrv_ctrl_cmd cmd = { .dev_id = r->id, .queue_id = -1 };
	int ret, res;

	__atomic_store_n(&io->ending, true, __ATOMIC_RELEASE);
	ret = ublk_ctrl_submit(&ctrl, UBLK_U_CMD_DEL_DEV, &cmd);
	if (ret)
		return complain(r, "DEL_DEV cannot be sent");
	__atomic_store_n(&io->stop, true, __ATOMIC_RELEASE);
	if (!await_exit(r, &r->client, "a client hangs in the deletion"))
		return false;
	ret = camp_ctrl_wait(&ctrl, CAMP_LIMIT_MS, &res);
	if (ret == -ETIME)
		return complain(r, "the device cannot be deleted");
	if (ret || (res && res != -ENODEV))
		return complain(r, "the deletion is refused");
	sum.deleted++;
	if (r->server)
		close(r->report);
	return await_exit(r, &r->server, "the server outlives its device");
}

/* Clients that are not told of an end verify all they have written. */
static bool end_clients(struct round *r)
{
	__atomic_store_n(&io->stop, true, __ATOMIC_RELEASE);
	return await_exit(r, &r->client, "a client hangs after the recovery");
}

/*
 * What was on its way to a server that died is lost, at most one I/O of each
 * client; the others have to wait for the next server.
 */
static bool check_numbers(struct round *r, bool recovered)
{
	sum.verified += io->verified;
	sum.failed += io->failed;
	if (io->complaints)
		return complain(r, io->what);
	if (recovered && r->mode == PLAIN_RECOVERY &&
	    io->failed > (__u64)r->strikes * io->threads)
		return complain(r, "more I/O failed than the servers can have had");
	return true;
}

static bool run_round(struct round *r)
{
	bool good, recovered;

	memset(io, 0, sizeof(*io));
	madvise(mem, CAMP_DISK, MADV_REMOVE);
	good = spawn_server(r, false) && (is_loose(r) || await_live(r, true));
	good = good && (!r->clients || choose_scheduler(r));
	if (good && r->clients)
		start_clients(r);
	if (good && r->meddle) {
		r->meddler = camp_fork();
		if (!r->meddler)
			meddle(r);
	}
	recovered = good && die_and_recover(r, &good);
	if (good && recovered && r->clients)
		good = end_clients(r);
	good = good && await_exit(r, &r->meddler, "a control command hangs") &&
	       delete_device(r);
	if (good && r->clients)
		camp_io_check_memory(io, mem);
	return good && check_numbers(r, recovered);
}

/* -- the campaign ---------------------------------------------------------- */

static int supported_modes(__u64 features)
{
	int n = 0;

	while (n < MODES && (features & modes[n].flags) == modes[n].flags)
		n++;
	return n;
}

/* "process thread ...: none 1 2 ..., recovery 0 3 ..." */
static void name_deaths(char *buf, size_t len)
{
	int mode, death;
	size_t at = 0;

	for (death = 0; death < DEATHS; death++)
		at += snprintf(buf + at, len - at, "%s%s", death ? " " : "",
			       death_names[death]);
	for (mode = 0; mode < MODES; mode++) {
		at += snprintf(buf + at, len - at, "%s %s", mode ? "," : ":",
			       modes[mode].name);
		for (death = 0; death < DEATHS; death++)
			at += snprintf(buf + at, len - at, " %u",
				       sum.deaths[mode][death]);
	}
}

/* "none 10 mq-deadline 20 ..." */
static void name_schedulers(char *buf, size_t len)
{
	size_t at = 0;
	int i;

	for (i = 0; i < SCHEDULERS; i++)
		at += snprintf(buf + at, len - at, "%s%s %u", i ? " " : "",
			       schedulers[i], sum.schedulers[i]);
}

int main(int argc, char **argv)
{
	__u64 begin, told = td_now_ms(), features = 0;
	char deaths[600], behind[100];
	bool good = true;
	struct round r;
	int nr_modes;

	if (argc == 2 && !strcmp(argv[1], "--linger"))
		wait_for_the_end();
	camp_begin(&campaign, argc, argv);
	io = camp_share(sizeof(*io));
	mem = camp_share(CAMP_DISK);
	if (ublk_ctrl_open(&ctrl))
		return 1;
	ublk_get_features(&ctrl, &features);
	td_load_schedulers();
	nr_modes = supported_modes(features);
	r.number = campaign.first;
	for (; good && camp_goes_on(&campaign, r.number); r.number++) {
		begin = camp_ms();
		plan(&r, r.number, features, nr_modes);
		good = run_round(&r);
		sum.rounds++;
		if (camp_ms() - begin > sum.longest)
			sum.longest = camp_ms() - begin;
		if (td_now_ms() - told > 60000) {
			told = td_now_ms();
			camp_say("%u rounds", sum.rounds);
		}
	}
	if (!good)
		camp_show_sleepers();
	name_deaths(deaths, sizeof(deaths));
	name_schedulers(behind, sizeof(behind));
	return camp_end(&campaign, !good,
			"%u rounds, deaths by %s; schedulers %s; %u recovered, %u deleted, %llu blocks verified, %llu failures as they had to be, longest round %u ms",
			sum.rounds, deaths, behind, sum.recovered, sum.deleted,
			(unsigned long long)sum.verified,
			(unsigned long long)sum.failed, sum.longest);
}
