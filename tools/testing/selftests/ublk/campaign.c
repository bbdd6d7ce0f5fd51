// SPDX-License-Identifier: GPL-2.0
/*
 * What the campaigns share: see campaign.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "campaign.h"

void camp_say(const char *fmt, ...)
{
	va_list ap;

	printf("# campaign: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

unsigned int camp_seed(const struct campaign *c, unsigned int round)
{
	return c->seed * 2654435761u + round;
}

unsigned int camp_pick(unsigned int *seed, unsigned int below)
{
	return rand_r(seed) % below;
}

void camp_nap(unsigned int us)
{
	struct timespec ts = { us / 1000000, us % 1000000 * 1000L };

	nanosleep(&ts, NULL);
}

/* Memory that processes forked later have in common with this one. */
void *camp_share(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		camp_say("no memory");
		exit(1);
	}
	return p;
}

/* -- a clock that starves with everybody else ------------------------------ */

/*
 * A limit in seconds means nothing on a machine that has no time for the
 * guest, or in a guest that has none for its processes. So a process of its
 * own works for a moment, again and again, compares with the best time it ever
 * needed for the same, and lets the campaign's clock run slower by that factor.
 * A task that waits for the driver does not slow it down. A clock that does
 * not come to tick at all is no reason to wait for ever: a tenth of real time
 * always counts.
 */
#define BEAT_MS		100
#define WORK_NS		8000000

static struct camp_clock {
	__u64 us;
	__u64 begin_ms;
} *camp_clock;

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static __u64 work(unsigned int loops)
{
	__u64 begin = now_ns();
	unsigned int i;

	for (i = 0; i < loops; i++)
		asm volatile("" : "+r" (i));
	return now_ns() - begin;
}

static void keep_time(void)
{
	unsigned int loops = 1 << 14;
	__u64 took, best, last, passed;

	while ((best = work(loops)) < WORK_NS)
		loops *= 2;
	for (last = now_ns();;) {
		camp_nap(BEAT_MS * 1000);
		took = work(loops);
		if (took < best)
			best = took;
		passed = (now_ns() - last) / 1000;
		last += passed * 1000;
		if (passed > 2000 * BEAT_MS)
			passed = 2000 * BEAT_MS;
		__atomic_add_fetch(&camp_clock->us, passed * best / took,
				   __ATOMIC_RELAXED);
	}
}

/* Milliseconds since the campaign began, as far as the guest had them. */
__u64 camp_ms(void)
{
	__u64 fair = __atomic_load_n(&camp_clock->us, __ATOMIC_RELAXED) / 1000;
	__u64 least = (td_now_ms() - camp_clock->begin_ms) / 10;

	return fair > least ? fair : least;
}

/* -- from the command line to the numbers ---------------------------------- */

static void refuse(const struct campaign *c, const char *why, const char *what)
{
	fprintf(stderr, "campaign_%s: %s%s; options: ", c->name, why, what);
	fprintf(stderr, "[-n COUNT] [-t SECONDS] [-s SEED] [-f FIRST]\n");
	exit(2);
}

static unsigned int number_of(const struct campaign *c, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);

	if (*text < '0' || *text > '9' || *end || n > 0xffffffff)
		refuse(c, "not a number: ", text);
	return n;
}

static void parse(struct campaign *c, int argc, char **argv)
{
	int opt;

	opterr = 0;
	while ((opt = getopt(argc, argv, "n:t:s:f:")) != -1) {
		switch (opt) {
		case 'n':
			c->rounds = number_of(c, optarg);
			c->seconds = 0;
			break;
		case 't':
			c->seconds = number_of(c, optarg);
			break;
		case 's':
			c->seed = number_of(c, optarg);
			break;
		case 'f':
			c->first = number_of(c, optarg);
			break;
		default:
			refuse(c, "no such option, or nothing behind it: ",
			       argv[optind - 1]);
		}
	}
	if (optind < argc)
		refuse(c, "not understood: ", argv[optind]);
	if (!c->rounds)
		refuse(c, "nothing to do: -n 0", "");
}

/* Returns if there is a driver; the clock runs then. */
void camp_begin(struct campaign *c, int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	struct ublk_ctrl ctrl;

	c->seed = time(NULL);
	parse(c, argc, argv);
	if (ublk_ctrl_open(&ctrl)) {
		printf("1..0 # SKIP no /dev/ublk-control: load ublk_drv\n");
		exit(4);
	}
	ublk_ctrl_close(&ctrl);
	setrlimit(RLIMIT_NOFILE, &files);

	printf("TAP version 13\n1..1\n");
	camp_say("%s: seed %u, %u %s%s", c->name, c->seed, c->rounds, c->unit,
		 c->seconds ? " at most" : "");
	camp_clock = camp_share(sizeof(*camp_clock));
	camp_clock->begin_ms = td_now_ms();
	if (!camp_fork())
		keep_time();
}

/* Is there to be a round of this number? */
bool camp_goes_on(const struct campaign *c, unsigned int round)
{
	if (round - c->first >= c->rounds)
		return false;
	return !c->seconds ||
	       td_now_ms() - camp_clock->begin_ms < c->seconds * 1000;
}

/* The numbers, and the exit status. */
int camp_end(const struct campaign *c, bool failed, const char *fmt, ...)
{
	char numbers[1000];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(numbers, sizeof(numbers), fmt, ap);
	va_end(ap);
	camp_say("%s: seed %u: %s, %llu s (%llu s of the guest's own)",
		 c->name, c->seed, numbers,
		 (td_now_ms() - camp_clock->begin_ms) / 1000, camp_ms() / 1000);
	printf("%sok 1 %s\n", failed ? "not " : "", c->name);
	return failed;
}

/* -- processes ------------------------------------------------------------- */

/* Like fork(); a child goes with its parent. */
pid_t camp_fork(void)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
	}
	return pid;
}

/* False if nothing can be read from @fd in that time, not even its end. */
bool camp_wait_input(int fd, unsigned int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	__u64 deadline = camp_ms() + ms;

	while (poll(&p, 1, BEAT_MS) <= 0)
		if (camp_ms() > deadline)
			return false;
	return true;
}

/* Like td_wait_exit(), by the campaign's clock. */
int camp_wait_exit(pid_t pid, unsigned int ms)
{
	int fd = syscall(SYS_pidfd_open, pid, 0);
	bool ended;

	if (fd < 0)
		return -errno;
	ended = camp_wait_input(fd, ms);
	close(fd);
	return ended ? td_wait_exit(pid, 0) : -ETIME;
}

/* Like ublk_ctrl_wait(), likewise. */
int camp_ctrl_wait(struct ublk_ctrl *ctrl, unsigned int ms, int *res)
{
	__u64 deadline = camp_ms() + ms;
	int ret;

	do {
		ret = ublk_ctrl_wait(ctrl, BEAT_MS, res);
	} while (ret == -ETIME && camp_ms() <= deadline);
	return ret;
}

/* -- tasks in D state ------------------------------------------------------ */

#define SLEEPERS	64

static struct sleeper {
	int tid;
	__u64 since;
	__u64 sleeps;		/* of the task in all its life */
	bool told;
} sleepers[SLEEPERS];

static void show_file(const char *dir, const char *name)
{
	char path[320], line[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		printf("# campaign:     %s", line);
	if (f)
		fclose(f);
}

/* A number that the kernel has of a task, @none if it has not. */
__u64 camp_status(const char *dir, const char *field, int base, __u64 none)
{
	size_t len = strlen(field);
	char path[320], line[128];
	__u64 value = none;
	FILE *f;

	snprintf(path, sizeof(path), "%s/status", dir);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, field, len) && line[len] == ':')
			value = strtoull(line + len + 1, NULL, base);
	if (f)
		fclose(f);
	return value;
}

/* The task's entry, which begins anew if it has been awake since the last look. */
static struct sleeper *find_sleeper(int tid, __u64 sleeps)
{
	struct sleeper *s, *found = NULL;

	for (s = sleepers; s < sleepers + SLEEPERS; s++) {
		if (s->tid == tid && s->sleeps == sleeps)
			return s;
		if (!s->tid || s->tid == tid)
			found = s;
		if (s->tid == tid)
			break;
	}
	if (found)
		*found = (struct sleeper){
			.tid = tid, .since = camp_ms(), .sleeps = sleeps,
		};
	return found;
}

/* Calls @fn for each task in D state. */
static void each_sleeper(void (*fn)(int tid, const char *dir, const char *name))
{
	char path[300], line[200];
	struct dirent *p, *t;
	DIR *proc, *tasks;

	proc = opendir("/proc");
	while (proc && (p = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%.20s/task", p->d_name);
		tasks = atoi(p->d_name) ? opendir(path) : NULL;
		while (tasks && (t = readdir(tasks))) {
			snprintf(path, sizeof(path), "/proc/%.20s/task/%.20s",
				 p->d_name, t->d_name);
			if (atoi(t->d_name) &&
			    td_task_state(path, line, sizeof(line)) == 'D')
				fn(atoi(t->d_name), path, line);
		}
		if (tasks)
			closedir(tasks);
	}
	if (proc)
		closedir(proc);
}

static void show_sleeper(int tid, const char *dir, const char *name)
{
	camp_say("  in D state: %s", name);
	show_file(dir, "stack");
}

void camp_show_sleepers(void)
{
	each_sleeper(show_sleeper);
}

/*
 * How long a grace period takes is for the kernel to watch, which complains after 21
 * seconds. One task may have to wait while others get on.
 */
static bool waits_for_grace_period(const char *dir)
{
	return td_stack_has(dir, "synchronize_rcu") || td_stack_has(dir, "rcu_barrier");
}

static unsigned int too_long;
static int seen[SLEEPERS], nr_seen;

static void watch_sleeper(int tid, const char *dir, const char *name)
{
	struct sleeper *s = find_sleeper(tid, camp_status(dir, "voluntary_ctxt_switches",
							 10, 0));

	if (nr_seen < SLEEPERS)
		seen[nr_seen++] = tid;
	if (!s || s->told || camp_ms() - s->since <= CAMP_LIMIT_MS ||
	    waits_for_grace_period(dir))
		return;
	s->told = true;
	too_long++;
	show_sleeper(tid, dir, name);
}

/*
 * To be called every second or so: how many tasks were seen in D state every
 * time, for longer than the limit, and have not been awake in between. Each sleep
 * counts once. Who waits in naps, as in STOP_DEV, is for the limit of its lane.
 */
static unsigned int watch_sleepers(void)
{
	struct sleeper *s;
	int i;

	too_long = 0;
	nr_seen = 0;
	each_sleeper(watch_sleeper);
	for (s = sleepers; s < sleepers + SLEEPERS; s++) {
		for (i = 0; i < nr_seen && seen[i] != s->tid; i++)
			;
		if (i == nr_seen)
			s->tid = 0;
	}
	return too_long;
}

/* -- lanes ----------------------------------------------------------------- */

void camp_lane_begin(struct camp_lane *l, unsigned int round)
{
	l->round = round;
	l->begin = td_now_ms();
	__atomic_store_n(&l->since, camp_ms() + 1, __ATOMIC_RELEASE);
}

void camp_lane_end(struct camp_lane *l)
{
	unsigned int took = camp_ms() + 1 - l->since;
	unsigned int real = td_now_ms() - l->begin;

	if (took > l->longest)
		l->longest = took;
	if (real > l->longest_real)
		l->longest_real = real;
	__atomic_store_n(&l->since, 0, __ATOMIC_RELEASE);
	__atomic_add_fetch(&l->ops, 1, __ATOMIC_RELEASE);
}

/* Keeps the first thing that went wrong, and passes @ret on. */
int camp_lane_refused(struct camp_lane *l, int ret)
{
	if (ret && !l->what[0])
		snprintf(l->what, sizeof(l->what), "%s: %s", l->step,
			 strerror(-ret));
	return ret;
}

static bool lane_is_late(const struct camp_lane *l, unsigned int limit_ms)
{
	__u64 since = __atomic_load_n(&l->since, __ATOMIC_ACQUIRE);

	if (!since || camp_ms() - since + 1 <= limit_ms)
		return false;
	camp_say("round %u has been going on for %llu ms, now in %s", l->round,
		 camp_ms() - since, l->step);
	return true;
}

void camp_sum_lanes(struct camp_lane *sum, const struct camp_lane *lanes,
		    unsigned int nr)
{
	const struct camp_lane *l;

	*sum = (struct camp_lane){ };
	for (l = lanes; l < lanes + nr; l++) {
		sum->ops += l->ops;
		if (l->longest > sum->longest)
			sum->longest = l->longest;
		if (l->longest_real > sum->longest_real)
			sum->longest_real = l->longest_real;
	}
}

static bool watch_lanes(struct camp_lane *lanes, unsigned int nr,
			unsigned int limit_ms)
{
	static __u64 told;
	struct camp_lane sum;
	bool good = true;
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (lane_is_late(&lanes[i], limit_ms))
			good = false;
	if (td_now_ms() - camp_clock->begin_ms < told + 60000)
		return good;
	told = td_now_ms() - camp_clock->begin_ms;
	camp_sum_lanes(&sum, lanes, nr);
	camp_say("%u operations", sum.ops);
	return good;
}

static void end_processes(const pid_t *pids, unsigned int nr)
{
	unsigned int i;

	camp_show_sleepers();
	for (i = 0; i < nr; i++)
		kill(pids[i], SIGKILL);
	for (i = 0; i < nr; i++)
		if (camp_wait_exit(pids[i], CAMP_LIMIT_MS) == -ETIME)
			camp_say("process %d cannot even be killed", pids[i]);
}

/*
 * Returns when the processes have ended, all is well then, or when it is known
 * that they do not. With @sleepers, a task in D state is a failure, too.
 */
bool camp_watch(const pid_t *pids, unsigned int nr_pids,
		struct camp_lane *lanes, unsigned int nr_lanes,
		unsigned int limit_ms, bool sleepers)
{
	bool good = true;
	unsigned int i;
	int ret;

	for (i = 0; i < nr_pids; i++) {
		while ((ret = camp_wait_exit(pids[i], 1000)) == -ETIME) {
			good = watch_lanes(lanes, nr_lanes, limit_ms);
			if (sleepers && watch_sleepers())
				good = false;
			if (!good) {
				end_processes(pids + i, nr_pids - i);
				return false;
			}
		}
		if (ret) {
			camp_say("process %d crashed", pids[i]);
			good = false;
		}
	}
	for (i = 0; i < nr_lanes; i++) {
		if (!lanes[i].what[0])
			continue;
		camp_say("round %u: %s", lanes[i].round, lanes[i].what);
		good = false;
	}
	return good;
}

/* -- blocks ---------------------------------------------------------------- */

#define BLOCK_MAGIC	0x6b6c6275

struct block_head {
	__u32 magic;
	__u32 block;
	__u32 gen;
	__u32 sum;
};

#define BODY_WORDS \
	((CAMP_BLOCK - sizeof(struct block_head)) / sizeof(__u32))

static __u32 sum_body(const __u32 *body)
{
	__u32 sum = 0;
	size_t i;

	for (i = 0; i < BODY_WORDS; i++)
		sum = (sum ^ body[i]) * 16777619;
	return sum;
}

/* A block that says where it belongs and which write it was. */
void camp_fill(void *buf, __u32 block, __u32 gen)
{
	struct block_head *head = buf;
	__u32 *body = (__u32 *)(head + 1);
	__u32 word = block * 2654435761u ^ gen;
	size_t i;

	for (i = 0; i < BODY_WORDS; i++) {
		word = word * 1664525 + 1013904223;
		body[i] = word;
	}
	*head = (struct block_head) {
		.magic = BLOCK_MAGIC, .block = block, .gen = gen,
		.sum = sum_body(body),
	};
}

/* False, with a description in @what, if this is another block or none. */
bool camp_check(const void *buf, __u32 block, __u32 gen, char *what,
		size_t len)
{
	const struct block_head *head = buf;
	bool sound = head->sum == sum_body((const __u32 *)(head + 1));
	char wanted[CAMP_BLOCK];

	camp_fill(wanted, block, gen);
	if (!memcmp(buf, wanted, CAMP_BLOCK))
		return true;
	if (td_is_zero(buf, CAMP_BLOCK))
		snprintf(what, len, "block %u, generation %u: all zeroes",
			 block, gen);
	else if (head->magic != BLOCK_MAGIC)
		snprintf(what, len, "block %u, generation %u: no block of ours",
			 block, gen);
	else
		snprintf(what, len, "block %u, generation %u: is block %u, generation %u%s",
			 block, gen, head->block, head->gen,
			 sound ? "" : ", torn");
	return false;
}

/* -- a server of memory ---------------------------------------------------- */

static struct camp_server *camp_server_of(struct ublk_worker *w)
{
	return (struct camp_server *)w->srv;
}

static int mem_init(struct ublk_server *srv)
{
	srv->opts.size = ((struct camp_server *)srv)->size;
	ublk_null_target.init(srv);
	srv->params.basic.attrs = UBLK_ATTR_VOLATILE_CACHE | UBLK_ATTR_FUA;
	return 0;
}

static void mem_answer(struct ublk_worker *w, struct ublk_io *io)
{
	char *mem = camp_server_of(w)->mem + ublk_io_offset(io);
	__u32 len = ublk_io_bytes(io);

	switch (ublksrv_get_op(io->desc)) {
	case UBLK_IO_OP_READ:
		memcpy(io->buf, mem, len);
		break;
	case UBLK_IO_OP_WRITE:
		memcpy(mem, io->buf, len);
		break;
	case UBLK_IO_OP_FLUSH:
		len = 0;
		break;
	default:
		memset(mem, 0, len);
	}
	ublk_complete_io(w, io, len);
}

static __thread unsigned int late_seed;

/* Requests that are answered late are more likely to meet a death. */
static void mem_queue_io(struct ublk_worker *w, struct ublk_io *io)
{
	static struct __kernel_timespec pause = { .tv_nsec = 3000000 };
	unsigned int late = camp_server_of(w)->late;

	if (!late_seed)
		late_seed = w->srv->info.dev_id * 64 + w->queue * 8 + w->first + 1;
	if (late && camp_pick(&late_seed, late) == 0)
		io_uring_prep_timeout(ublk_target_sqe(w, io), &pause, 0, 0);
	else
		mem_answer(w, io);
}

static void mem_io_done(struct ublk_worker *w, struct ublk_io *io, int res)
{
	mem_answer(w, io);
}

const struct ublk_target camp_mem_target = {
	.name = "memory",
	.init = mem_init,
	.queue_io = mem_queue_io,
	.io_done = mem_io_done,
};

/* A table with one partition, from 1 MiB on, 1 MiB long. */
void camp_write_partition(char *mem)
{
	unsigned char *entry = (unsigned char *)mem + 446;
	__u32 start = 2048, sectors = 2048;

	memset(mem, 0, 512);
	entry[4] = 0x83;
	memcpy(entry + 8, &start, 4);
	memcpy(entry + 12, &sectors, 4);
	mem[510] = 0x55;
	mem[511] = (char)0xaa;
}
